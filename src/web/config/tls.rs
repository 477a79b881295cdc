//! `tls_server_config`, as far as rustls has it: TLS 1.2 and 1.3 with forward secrecy and authenticated encryption. What is weaker is
//! an error that says so.

use super::clients;
use super::format::{Secret, Tls};
use super::words::{ClientAuth, Curve, Suite, Switch, Version};
use crate::system::files;
use crate::text::printable;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

/// What a server is told to protect: none of it may be less later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Protection {
    pub(super) tls: bool,
    pub(super) asks_certificates: bool,
    pub(super) verifies_certificates: bool,
    pub(super) names_clients: bool,
}

/// How to speak TLS.
pub(super) struct Spoken {
    pub(super) config: Arc<ServerConfig>,
    pub(super) protection: Protection,
    /// The server's own.
    pub(super) certificate: CertificateDer<'static>,
}

/// How to speak TLS; `None` is not at all. Paths are whole by now.
pub(super) fn parse(written: Tls, http2: bool) -> Result<Option<Spoken>, String> {
    if is_empty(&written) {
        return Ok(None);
    }
    let Tls { client_auth_type, client_allowed_sans, .. } = &written;
    let auth = client_auth_type.as_ref().map_or(ClientAuth::None, |auth| auth.0);
    let certificates = pem_of("cert", written.cert.as_deref(), written.cert_file.as_deref())?;
    let certificates = certificates.ok_or("tls_server_config needs cert_file (or cert)")?;
    let key = written.key.as_ref().map(|Secret(text)| text.as_str());
    let key = pem_of("key", key, written.key_file.as_deref())?;
    let key = key.ok_or("tls_server_config needs key_file (or key)")?;
    let authorities = pem_of("client_ca", written.client_ca.as_deref(), written.client_ca_file.as_deref())?;
    if authorities.is_some() && auth == ClientAuth::None {
        return Err(String::from(
            "client_ca_file has no meaning without client_auth_type: RequireAndVerifyClientCert",
        ));
    }
    if authorities.is_none() && auth.verifies() {
        return Err(String::from(
            "client_auth_type needs client_ca_file: without it a certificate of any public authority would do",
        ));
    }
    if client_allowed_sans.is_some() && auth == ClientAuth::None {
        return Err(String::from(
            "client_allowed_sans has no meaning without client_auth_type: RequireAndVerifyClientCert",
        ));
    }
    let protection = Protection {
        tls: true,
        asks_certificates: auth.requires(),
        verifies_certificates: auth.verifies(),
        names_clients: client_allowed_sans.is_some(),
    };
    let roots = match authorities {
        Some(pem) => roots(&pem)?,
        None => RootCertStore::empty(),
    };
    let provider = Arc::new(provider(&written)?);
    let verifier = clients::verifier(auth, roots, client_allowed_sans.clone(), &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(&written)?)
        .map_err(|error| format!("the cipher suites and versions leave nothing to offer: {error}"))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let certified = certified(&certificates, &key, &provider)?;
    let certificate =
        certified.end_entity_cert().map_err(|error| format!("cert: {error}"))?.clone().into_owned();
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.ignore_client_order =
        written.prefer_server_cipher_suites.is_none_or(|prefer| prefer.0 == Switch(true));
    // No sessions are kept: a client is judged by the certificate that it shows now.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = match http2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    Ok(Some(Spoken { config: Arc::new(config), protection, certificate }))
}

/// Whether nothing is asked for, so that there is no TLS.
fn is_empty(written: &Tls) -> bool {
    let Tls {
        cert,
        key,
        client_ca,
        cert_file,
        key_file,
        client_ca_file,
        client_auth_type,
        client_allowed_sans,
        cipher_suites,
        curve_preferences,
        min_version,
        max_version,
        prefer_server_cipher_suites,
    } = written;
    let texts = [cert.is_some(), key.is_some(), client_ca.is_some()];
    let paths = [cert_file.is_some(), key_file.is_some(), client_ca_file.is_some()];
    let clients = [client_auth_type.is_some(), client_allowed_sans.is_some()];
    let words =
        [cipher_suites.is_some(), curve_preferences.is_some(), min_version.is_some(), max_version.is_some()];
    let order = prefer_server_cipher_suites.is_some();
    !(texts.contains(&true)
        || paths.contains(&true)
        || clients.contains(&true)
        || words.contains(&true)
        || order)
}

/// What stands in the file itself, or in one that it names.
fn pem_of(name: &str, text: Option<&str>, path: Option<&Path>) -> Result<Option<String>, String> {
    let text = text.filter(|text| !text.is_empty());
    let path = path.filter(|path| *path != Path::new(""));
    match (text, path) {
        (Some(_), Some(_)) => Err(format!("give {name} or {name}_file, not both")),
        (Some(text), None) => Ok(Some(text.to_owned())),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let text = files::text(path);
            let shown = || printable(&path.to_string_lossy());
            text.map(Some).map_err(|(_, why)| format!("cannot read {name}_file {}: {why}", shown()))
        }
    }
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("client_ca: {}", told(&error)))?;
        roots.add(certificate).map_err(|error| format!("client_ca: {error}"))?;
    }
    if roots.is_empty() {
        return Err(String::from("client_ca holds no certificate (PEM, BEGIN CERTIFICATE)"));
    }
    Ok(roots)
}

/// The server's own certificate with its key, which belong together.
fn certified(certificates: &str, key: &str, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("cert: {}", told(&error)))?;
    if chain.is_empty() {
        return Err(String::from("cert holds no certificate (PEM, BEGIN CERTIFICATE)"));
    }
    // The error of a key does not repeat it.
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| "key holds no private key (PEM, BEGIN PRIVATE KEY, without a passphrase)")?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|_| "key is of a kind that is not offered (known: RSA from 2048 bits, ECDSA P-256 and P-384, Ed25519)")?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| format!("cert and key do not belong together: {error}"))?;
    Ok(certified)
}

fn told(error: &pem::Error) -> String {
    format!("no valid PEM: {error}")
}

/// The suites and curves that were asked for, in that order; suites of TLS 1.3 are not chosen.
fn provider(written: &Tls) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if let Some(asked) = written.cipher_suites.as_ref().filter(|asked| !asked.is_empty()) {
        let offered = std::mem::take(&mut provider.cipher_suites);
        let (of_13, of_12): (Vec<_>, Vec<_>) =
            offered.into_iter().partition(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)));
        provider.cipher_suites = of_13;
        for suite in asked {
            let Suite(wanted) = suite.0;
            provider.cipher_suites.extend(of_12.iter().filter(|offered| offered.suite() == wanted));
        }
    }
    if let Some(asked) = written.curve_preferences.as_ref().filter(|asked| !asked.is_empty()) {
        let offered: Vec<&'static dyn SupportedKxGroup> = std::mem::take(&mut provider.kx_groups);
        for curve in asked {
            let Curve(wanted) = curve.0;
            provider.kx_groups.extend(offered.iter().filter(|offered| offered.name() == wanted));
        }
    }
    Ok(provider)
}

fn versions(written: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let least = written.min_version.as_ref().map_or(Version::Tls12, |version| version.0);
    let greatest = written.max_version.as_ref().map_or(Version::Tls13, |version| version.0);
    if least > greatest {
        return Err(String::from("min_version is greater than max_version: no client could connect"));
    }
    let all = [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)];
    Ok(all
        .into_iter()
        .filter(|(version, _)| (least..=greatest).contains(version))
        .map(|(_, it)| it)
        .collect())
}
