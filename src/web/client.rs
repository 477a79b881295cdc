//! The client of our own pages: one question to an exporter that runs here or elsewhere.

use super::address::ListenAddress;
use super::credentials::Credentials;
use super::secure::SPEAKS_TLS;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

/// Longer than an exporter takes for any answer; a host that is not there does not say so.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The most that is kept of an answer: something else may listen there.
const MOST_BYTES: usize = 8 << 20;

/// What is said of an exporter that does not know who asks.
pub const ASKS_PASSWORD: &str =
    "asks for a password, or for another one: give a file with basic_auth (--http.config.file)";

/// Why there is no answer.
enum Silence {
    /// Nothing listens there, or nothing that is reached.
    Unreached(String),
    /// Something listens there, and does not answer the question.
    Refused(String),
}

/// What a page of the exporter at this address answers, on this host if it names none; an error says why there is none.
pub fn get(
    address: &ListenAddress,
    path: &str,
    credentials: &Credentials,
) -> Result<(StatusCode, String), String> {
    let (host, port) = (address.host().unwrap_or(LOCALHOST), address.port());
    let scheme = if credentials.tls.is_some() { "https" } else { "http" };
    // The interface of a link-local address is this host's affair (RFC 6874).
    let bare = host.split('%').next().unwrap_or(host);
    let authority = if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") };
    let url = format!("{scheme}://{authority}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let answer = runtime.block_on(async {
        time::timeout(ANSWER_WITHIN, connect((host, port), &authority, path, credentials)).await
    });
    // A lookup of a name that hangs must not keep the program.
    runtime.shutdown_background();
    let try_this = "is it running there? (--web.listen-address says where)";
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Silence::Unreached(why))) => {
            Err(format!("no answer from the exporter at {url}: {why}; {try_this}"))
        }
        Ok(Err(Silence::Refused(why))) => Err(format!("no answer from the exporter at {url}: {why}")),
        Err(_) => Err(format!(
            "no answer from the exporter at {url} within {} s; {try_this}",
            ANSWER_WITHIN.as_secs()
        )),
    }
}

const LOCALHOST: &str = "localhost";

/// A connection. `localhost` is this host whatever a name server says, or fails to say (RFC 6761): a container has none.
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    if !host.trim_end_matches('.').eq_ignore_ascii_case(LOCALHOST) {
        return TcpStream::connect((host, port)).await;
    }
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => Ok(stream),
        // It may listen on `[::1]` alone.
        Err(error) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| error),
    }
}

async fn connect(
    (host, port): (&str, u16),
    authority: &str,
    path: &str,
    credentials: &Credentials,
) -> Result<(StatusCode, String), Silence> {
    let socket = reach(host, port).await.map_err(|error| Silence::Unreached(reason(&error)))?;
    let Some((config, name)) = &credentials.tls else {
        let answer = ask(socket, authority, path, credentials).await?;
        if answer.0 == StatusCode::BAD_REQUEST && answer.1.trim() == SPEAKS_TLS {
            return Err(Silence::Refused(String::from(
                "it speaks TLS: give a file with tls_config (--http.config.file), or on its own host its --web.config.file",
            )));
        }
        return Ok(answer);
    };
    let name = name.as_deref().unwrap_or(host.split('%').next().unwrap_or(host)).to_owned();
    let wrong = |_| Silence::Refused(format!("{name} cannot be the name in a certificate (server_name)"));
    let server = ServerName::try_from(name.clone()).map_err(wrong)?;
    let connector = TlsConnector::from(Arc::clone(config));
    let is_own = credentials.is_own;
    let stream = connector.connect(server, socket).await.map_err(|error| refused(&error, &name, is_own))?;
    ask(stream, authority, path, credentials).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    authority: &str,
    path: &str,
    credentials: &Credentials,
) -> Result<(StatusCode, String), Silence> {
    let failed = |error: hyper::Error| refused(&error, authority, credentials.is_own);
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let mut request = Request::get(path).header(HOST, authority).header(CONNECTION, "close");
    if let Some(authorization) = &credentials.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::new()).map_err(|error| Silence::Refused(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| refused(error.as_ref(), authority, credentials.is_own))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Why the exporter did not answer, although it was reached; `name` is that which was expected of its certificate, and `is_own` whether
/// the certificate is known from its own `--web.config.file`.
fn refused(error: &(dyn Error + 'static), name: &str, is_own: bool) -> Silence {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An `io::Error` passes for its content: what is in it is not its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.map(|inner| inner as &(dyn Error + 'static));
        if let Some(fault) = inner.unwrap_or(error).downcast_ref::<rustls::Error>() {
            return Silence::Refused(tls_fault(fault, name, is_own));
        }
        cause = inner.or_else(|| error.source());
    }
    let why = error.to_string();
    let why = why.split(" (os error").next().unwrap_or("").to_lowercase();
    Silence::Refused(match error.source() {
        Some(source) => format!("{why}: {source}"),
        None => why,
    })
}

/// What is wrong with TLS, and what to change.
fn tls_fault(fault: &rustls::Error, name: &str, is_own: bool) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        UnknownIssuer,
    };
    match fault {
        rustls::Error::InvalidCertificate(why) => match why {
            UnknownIssuer if is_own => String::from(
                "its certificate is not that of --web.config.file: is this the file of that exporter?",
            ),
            NotValidForNameContext { presented, .. } if presented.is_empty() => String::from(
                "its certificate names no host, so no server_name fits: make one that does (openssl req … -addext \
                 subjectAltName=DNS:HOST), or on its own host give its --web.config.file",
            ),
            UnknownIssuer => {
                String::from("its certificate is neither in ca_file nor signed by an authority of it")
            }
            NotValidForName | NotValidForNameContext { .. } => {
                format!("its certificate is not for {name} (server_name says which name to expect)")
            }
            Expired | ExpiredContext { .. } => String::from("its certificate has expired"),
            NotValidYet | NotValidYetContext { .. } => {
                String::from("its certificate is not valid yet (are the clocks right?)")
            }
            other => format!("its certificate is not accepted: {other}"),
        },
        rustls::Error::InvalidMessage(_) if is_own => String::from(
            "it does not speak TLS, although --web.config.file asks for it: was it started with another file, or before?",
        ),
        rustls::Error::InvalidMessage(_) => {
            String::from("it does not speak TLS: leave tls_config out of the file")
        }
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::HandshakeFailure,
        ) => String::from(
            "it asks for a client certificate that it knows (tls_config: cert_file, key_file, in --http.config.file)",
        ),
        other => format!("TLS failed: {other}"),
    }
}

fn reason(error: &io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or("").to_lowercase()
}
