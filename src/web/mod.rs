//! The HTTP side. Endpoints:
//!
//! | path | method | answers |
//! |---|---|---|
//! | `/` | GET | landing page |
//! | the telemetry path, `/metrics` | GET | the exposition, gzip if asked; 503 beyond `--web.max-requests` at once |
//! | `/-/healthy` | GET | 200 while every capture loop has ticked in the last 10 s, else 503 |
//! | `/-/ready` | GET | 200 when every interface captures and has published, else 503 |
//! | `/-/reload` | POST | reads the configuration file again; only with `--web.enable-lifecycle` |
//!
//! A client may be slow or hostile: headers must come within `HEADER_TIMEOUT`, a connection lives no longer than
//! `CONNECTION_LIFE`, at most `MAX_CONNECTIONS` are open, and no request body is read.

mod listen;
mod page;

pub use listen::{BindError, ListenAddress, Listeners, bind};

use crate::board::{Board, Standing};
use crate::clock;
use crate::metrics::{self, ProcessState};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// Listen on the sockets systemd passed instead.
    pub systemd_socket: bool,
    /// Path of the exposition.
    pub telemetry_path: String,
    /// Scrapes that may be answered at once.
    pub max_requests: usize,
    /// Whether `POST /-/reload` works.
    pub enable_lifecycle: bool,
}

/// A client that has not sent its headers by then is cut (slowloris).
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is closed after this, whatever it does; Prometheus opens a new one.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// Connections open at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;
/// Bytes of headers.
const MAX_HEADERS: usize = 16 * 1024;
/// How long running answers may take once it is time to stop.
const GRACE: Duration = Duration::from_secs(1);
/// Wait after a failed `accept` (no descriptor left), instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type StateSource = dyn Fn() -> ProcessState + Send + Sync;
type Reload = dyn Fn() -> Result<(), String> + Send + Sync;

/// What the pages show, and what they may do.
pub struct App {
    options: Options,
    board: Arc<Board>,
    state: Box<StateSource>,
    reload: Box<Reload>,
    scrapes: Semaphore,
}

impl App {
    /// Pages over a board; `state` and `reload` are the shell's.
    pub fn new(
        options: Options,
        board: Arc<Board>,
        state: impl Fn() -> ProcessState + Send + Sync + 'static,
        reload: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let scrapes = Semaphore::new(options.max_requests);
        Self { options, board, state: Box::new(state), reload: Box::new(reload), scrapes }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let reading = [Method::GET, Method::HEAD].contains(request.method());
        let path = request.uri().path();
        match path {
            "/-/reload" if self.options.enable_lifecycle => match *request.method() {
                Method::POST => match (self.reload)() {
                    Ok(()) => text(StatusCode::OK, "configuration reloaded\n"),
                    Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
                },
                _ => not_allowed("POST"),
            },
            "/-/reload" => text(StatusCode::FORBIDDEN, "reloading needs --web.enable-lifecycle\n"),
            _ if path == self.options.telemetry_path => match self.scrapes.try_acquire() {
                _ if !reading => not_allowed("GET, HEAD"),
                Ok(_permit) => self.scrape(request.headers()),
                Err(_) => {
                    text(StatusCode::SERVICE_UNAVAILABLE, "too many scrapes at once (--web.max-requests)\n")
                }
            },
            "/" | "/-/healthy" | "/-/ready" if !reading => not_allowed("GET, HEAD"),
            "/" => self.landing(),
            "/-/healthy" => self.healthy(),
            "/-/ready" => self.ready(),
            _ => text(StatusCode::NOT_FOUND, "no such page\n"),
        }
    }

    fn landing(&self) -> Response<Full<Bytes>> {
        let page = page::landing(&self.options.telemetry_path, &self.board.standings());
        let mut response = respond(StatusCode::OK, "text/html; charset=utf-8", page);
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        response.headers_mut().insert("content-security-policy", HeaderValue::from_static(policy));
        response
    }

    fn scrape(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let page = metrics::render(&self.board.all(), Some(&(self.state)()));
        let zip = accepts_gzip(headers);
        let mut response = if zip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&page).expect("writing to memory does not fail");
            respond(
                StatusCode::OK,
                metrics::CONTENT_TYPE,
                encoder.finish().expect("writing to memory does not fail"),
            )
        } else {
            respond(StatusCode::OK, metrics::CONTENT_TYPE, page)
        };
        if zip {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        response
    }

    fn healthy(&self) -> Response<Full<Bytes>> {
        match self.board.stalled(clock::steady(), crate::board::STALLED).as_slice() {
            [] => text(StatusCode::OK, "portscan_exporter is healthy\n"),
            stalled => {
                let lines = stalled.iter().map(|(interface, silence)| {
                    format!("the capture on {interface} has not ticked for {} s\n", silence.as_secs())
                });
                text(StatusCode::SERVICE_UNAVAILABLE, lines.collect::<String>())
            }
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let lines: String = self
            .board
            .standings()
            .iter()
            .filter_map(|(interface, standing)| match standing {
                Standing::Ready => None,
                Standing::Starting => Some(format!("{interface} has not published yet\n")),
                Standing::Down => Some(format!("{interface} does not capture now\n")),
            })
            .collect();
        match lines.is_empty() {
            true => text(StatusCode::OK, "portscan_exporter is ready\n"),
            false => text(StatusCode::SERVICE_UNAVAILABLE, lines),
        }
    }
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Whether the client takes gzip (RFC 9110, section 12.5.3): named, or `*`, with a quality above zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut star = false;
    for coding in values.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or("");
        let quality =
            parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if name.eq_ignore_ascii_case("gzip") {
            return quality > 0.0;
        }
        star |= name == "*" && quality > 0.0;
    }
    star
}

/// Serves until `stop` is done, then lets running answers finish for a moment.
pub async fn serve(listeners: Listeners, app: App, stop: impl Future<Output = ()>) {
    let app = Arc::new(app);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut acceptors = JoinSet::new();
    let (streams, mut accepted) = tokio::sync::mpsc::channel(1);
    for listener in listeners.into_inner() {
        let (streams, places) = (streams.clone(), Arc::clone(&places));
        acceptors.spawn(async move {
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        if streams.send((stream, place)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        log::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some((stream, place)) = accepted.recv() => {
                let (app, closed) = (Arc::clone(&app), closed.clone());
                connections.spawn(async move {
                    let _ = tokio::time::timeout(CONNECTION_LIFE, attend(stream, app, closed)).await;
                    drop(place);
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    acceptors.abort_all();
    let _ = closing.send(true);
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    connections.abort_all();
}

/// One connection, until the client leaves, is too slow, or it is time to stop.
async fn attend(stream: TcpStream, app: Arc<App>, mut closed: watch::Receiver<bool>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(app.answer(&request)) }
    });
    let connection = http1::Builder::new()
        // Without a timer the timeout does nothing.
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // What a client does wrong is its own affair: nothing to log, it could fill the journal.
        _ = connection.as_mut() => {}
        _ = closed.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_only_when_the_client_takes_it() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            accepts_gzip(&headers)
        };
        assert!(with("gzip"));
        assert!(with("deflate, GZIP;q=0.5"));
        assert!(with("*"));
        assert!(!with("gzip;q=0"));
        assert!(!with("gzip;q=0, *"));
        assert!(!with("identity"));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
