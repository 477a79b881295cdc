//! The client of our own pages: one question to an exporter that runs here or elsewhere.

use super::address::ListenAddress;
use super::credentials::Credentials;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// Longer than an exporter takes for any answer; a host that is not there does not say so.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The most that is kept of an answer: something else may listen there.
const MOST_BYTES: usize = 1 << 20;

/// What a page of the exporter at this address answers, `localhost` if it names no host; an error says why there is none.
pub fn get(
    address: &ListenAddress,
    path: &str,
    credentials: &Credentials,
) -> Result<(StatusCode, String), String> {
    let (host, port) = (address.host().unwrap_or("localhost"), address.port());
    let scheme = if credentials.tls.is_some() { "https" } else { "http" };
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
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
        Ok(Err(why)) => Err(format!("no answer from the exporter at {url}: {why}; {try_this}")),
        Err(_) => Err(format!(
            "no answer from the exporter at {url} within {} s; {try_this}",
            ANSWER_WITHIN.as_secs()
        )),
    }
}

async fn connect(
    (host, port): (&str, u16),
    authority: &str,
    path: &str,
    credentials: &Credentials,
) -> Result<(StatusCode, String), String> {
    let socket = TcpStream::connect((host, port)).await.map_err(|error| reason(&error))?;
    let Some((config, name)) = &credentials.tls else {
        return ask(socket, authority, path, credentials).await;
    };
    let name = name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(std::sync::Arc::clone(config));
    let stream = connector.connect(name, socket).await.map_err(|error| reason(&error))?;
    ask(stream, authority, path, credentials).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    authority: &str,
    path: &str,
    credentials: &Credentials,
) -> Result<(StatusCode, String), String> {
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let mut request = Request::get(path).header(HOST, authority).header(CONNECTION, "close");
    if let Some(authorization) = &credentials.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn reason(error: &io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or("").to_lowercase()
}
