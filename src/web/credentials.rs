//! `--http.config.file`: how a client of ours shows who it is, and knows whom it asks; in the format of promtool and amtool, as far as
//! an exporter with `--web.config.file` needs it.

use super::config::ConfigFile;
use super::pinned::Trusted;
use crate::system::files;
use crate::text::{printable, yaml};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::ConfigBuilder;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What is shown and what is asked for.
#[derive(Default)]
pub struct Credentials {
    /// An `Authorization` header.
    pub(super) authorization: Option<String>,
    /// With TLS; and the name that the server's certificate must have, if it is not the host's.
    pub(super) tls: Option<(Arc<ClientConfig>, Option<String>)>,
    /// Whether that is what the exporter's own configuration says.
    pub(super) is_own: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    basic_auth: Option<BasicAuth>,
    tls_config: Option<Tls>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BasicAuth {
    username: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    ca_file: PathBuf,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    server_name: Option<String>,
}

impl Credentials {
    /// What a file says; an error says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = printable(&path.to_string_lossy());
        let wrong = |what: String| format!("invalid {shown}: {}", printable(&what));
        let at = |(line, what): files::Fault| match line {
            Some(line) => wrong(format!("line {line}: {what}")),
            None => format!("cannot read {shown}: {}", printable(&what)),
        };
        let text = files::text(path).map_err(at)?;
        let written = yaml::parse::<Written>(&text).map_err(at)?.unwrap_or_default();
        let directory = path.parent().unwrap_or(Path::new(""));
        let authorization =
            written.basic_auth.map(|auth| auth.header(directory)).transpose().map_err(wrong)?;
        let tls = written.tls_config.map(|tls| tls.config(directory)).transpose().map_err(wrong)?;
        Ok(Self { authorization, tls, is_own: false })
    }
}

impl Credentials {
    /// The same for the exporter that has this web configuration, on this host: with TLS if that has it, and exactly its certificate,
    /// whatever names are in it. What these credentials say of TLS themselves comes first.
    pub fn to_own(self, exporter: &ConfigFile) -> Result<Self, String> {
        let Some(certificate) = exporter.certificate()?.filter(|_| self.tls.is_none()) else {
            return Ok(self);
        };
        let config = trusting(vec![certificate], true)?.with_no_client_auth();
        Ok(Self { tls: Some((Arc::new(config), None)), is_own: true, ..self })
    }
}

/// TLS to servers with these certificates, or with those that they signed.
fn trusting(
    known: Vec<CertificateDer<'static>>,
    is_ours: bool,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let provider = Arc::new(ring::default_provider());
    let trusted = Trusted::new(known, is_ours, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    // It verifies certificates as webpki does, and takes one more kind.
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(trusted)))
}

impl BasicAuth {
    fn header(self, directory: &Path) -> Result<String, String> {
        let password = match (self.password, self.password_file) {
            (Some(password), None) => password,
            (None, Some(file)) => text(&directory.join(file))?.trim_end_matches(['\r', '\n']).to_owned(),
            _ => return Err(String::from("basic_auth needs password or password_file, and not both")),
        };
        Ok(format!("Basic {}", STANDARD.encode(format!("{}:{password}", self.username))))
    }
}

impl Tls {
    fn config(self, directory: &Path) -> Result<(Arc<ClientConfig>, Option<String>), String> {
        let known = certificates(&directory.join(self.ca_file))?;
        let builder = trusting(known, false).map_err(|error| format!("ca_file: {error}"))?;
        let config = match (self.cert_file, self.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let key = text(&directory.join(key))?;
                // The error of a key does not repeat it.
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                    .map_err(|_| "key_file holds no private key (PEM, without a passphrase)")?;
                let chain = certificates(&directory.join(certificate))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("cert_file and key_file: {error}"))?
            }
            _ => return Err(String::from("tls_config needs cert_file and key_file, or neither")),
        };
        Ok((Arc::new(config), self.server_name))
    }
}

fn text(path: &Path) -> Result<String, String> {
    files::text(path).map_err(|(_, why)| format!("cannot read {}: {why}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = text(path)?;
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    all.ok()
        .filter(|all| !all.is_empty())
        .ok_or_else(|| format!("{} holds no certificate (PEM, BEGIN CERTIFICATE)", path.display()))
}
