//! The HTTP side. Endpoints:
//!
//! | path | method | answers |
//! |---|---|---|
//! | `/` | GET | landing page |
//! | the telemetry path, `/metrics` | GET | the exposition, gzip if asked; 503 beyond `--web.max-requests` at once |
//! | `/-/healthy` | GET | 200 while every capture loop has ticked in the last 10 s, else 503 |
//! | `/-/ready` | GET | 200 when every interface captures and has published, else 503 |
//! | `/api/v1/explain?source=ADDRESS` | GET | what the captures know of a source, JSON; 503 beyond 8 questions at once |
//! | `/-/reload` | POST | reads the configuration file again; only with `--web.enable-lifecycle`, and not for other sites' pages |
//!
//! A client may be slow or hostile: `Limits` says how long it may take and how much it may hold, `fair` who gives way when
//! places are short, and no request body is read. A page of metrics is made once for many scrapes. The server has a
//! thread of its own.

mod client;
mod connection;
mod exposition;
mod fair;
mod guard;
mod listen;
mod page;
mod question;
mod server;

pub use client::get;
pub use listen::{BindError, ListenAddress, Listeners, bind};
pub use server::{Limits, Server, serve, serve_within};

use crate::pipeline::Question;
use crate::publish::board::{Board, Standing};
use crate::publish::metrics::{self, ProcessState};
use crate::system::clock;
use crate::system::counters::{Counter, Counters};
use connection::Watch;
use exposition::Exposition;
use fair::Scrapes;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    VARY,
};
use hyper::{Method, Request, Response, StatusCode};
use question::{NoAnswer, Questions};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// Listen on the sockets systemd passed instead.
    pub systemd_socket: bool,
    /// Path of the exposition.
    pub telemetry_path: String,
    /// Scrapes that may be answered at once; 0 is no limit.
    pub max_requests: usize,
    /// Whether `POST /-/reload` works.
    pub enable_lifecycle: bool,
}

// No page runs a script or fetches anything, whatever an interface is called.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                              form-action 'none'; frame-ancestors 'none'";

type StateSource = dyn Fn() -> ProcessState + Send + Sync;
type Reload = dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync;

/// A page, where it is, and how it may be asked for.
#[derive(Debug)]
struct Route {
    path: String,
    methods: Methods,
    page: Page,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Methods {
    /// GET and HEAD.
    Read,
    /// POST: it changes something.
    Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Landing,
    Metrics,
    Healthy,
    Ready,
    Explain,
    Reload,
}

impl Methods {
    fn include(self, method: &Method) -> bool {
        match self {
            Methods::Read => [Method::GET, Method::HEAD].contains(method),
            Methods::Change => *method == Method::POST,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Methods::Read => "GET, HEAD",
            Methods::Change => "POST",
        }
    }
}

fn routes(telemetry_path: &str) -> Vec<Route> {
    let route = |path: &str, methods, page| Route { path: path.to_owned(), methods, page };
    vec![
        route(telemetry_path, Methods::Read, Page::Metrics),
        route("/", Methods::Read, Page::Landing),
        route("/-/healthy", Methods::Read, Page::Healthy),
        route("/-/ready", Methods::Read, Page::Ready),
        route("/api/v1/explain", Methods::Read, Page::Explain),
        route("/-/reload", Methods::Change, Page::Reload),
    ]
}

/// What the pages show, and what they may do.
pub struct App {
    options: Options,
    routes: Vec<Route>,
    /// Host names under which something may be changed.
    names: Vec<String>,
    board: Arc<Board>,
    state: Box<StateSource>,
    reload: Box<Reload>,
    scrapes: Arc<Scrapes>,
    questions: Questions,
    exposition: Exposition,
    counters: Counters,
}

impl App {
    /// Pages over a board; `state` and `reload` are the shell's. A reload gives what is to be said of it.
    pub fn new<R>(
        options: Options,
        board: Arc<Board>,
        state: impl Fn() -> ProcessState + Send + Sync + 'static,
        reload: impl Fn() -> R + Send + Sync + 'static,
    ) -> Self
    where
        R: Future<Output = Result<String, String>> + Send + 'static,
    {
        Self {
            routes: routes(&options.telemetry_path),
            names: guard::own_names(&options.listen),
            scrapes: Scrapes::at_most(options.max_requests),
            options,
            board,
            state: Box::new(state),
            reload: Box::new(move || Box::pin(reload())),
            questions: Questions::to(Vec::new()),
            exposition: Exposition::default(),
            counters: Counters::new(),
        }
    }

    /// The same with ways to ask every capture thread.
    #[must_use]
    pub fn with_questions(self, threads: Vec<SyncSender<Question>>) -> Self {
        Self { questions: Questions::to(threads), ..self }
    }

    async fn answer(&self, request: &Request<Incoming>, watch: &Watch) -> Response<Full<Bytes>> {
        if !guard::names_one_host(request) {
            let mut response =
                text(StatusCode::BAD_REQUEST, "a request has one Host header, and it is valid\n");
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
        let path = request.uri().path();
        let Some(route) = self.routes.iter().find(|route| route.path == path) else {
            return text(StatusCode::NOT_FOUND, "no such page\n");
        };
        if !route.methods.include(request.method()) {
            return not_allowed(route.methods.label());
        }
        match route.page {
            Page::Landing => self.landing(),
            Page::Metrics => self.scrape(request.headers(), watch),
            Page::Healthy => self.healthy(),
            Page::Ready => self.ready(),
            Page::Explain => self.explain(request, watch).await,
            Page::Reload => self.reload(request).await,
        }
    }

    fn landing(&self) -> Response<Full<Bytes>> {
        let page = page::landing(&self.options.telemetry_path, &self.board.standings());
        respond(StatusCode::OK, "text/html; charset=utf-8", page)
    }

    fn scrape(&self, headers: &HeaderMap, watch: &Watch) -> Response<Full<Bytes>> {
        match watch.begin_scrape(&self.scrapes) {
            Some(true) => self.counters.count(Counter::CutCrowded),
            Some(false) => {}
            None => {
                self.counters.count(Counter::ScrapesRefused);
                let why = "too many scrapes at once (--web.max-requests)\n";
                return text(StatusCode::SERVICE_UNAVAILABLE, why);
            }
        }
        let zip = accepts_gzip(headers);
        let page = self.exposition.page(zip, || {
            let mut state = (self.state)();
            state.counts = state.counts.and(&self.counters.counts());
            metrics::render(&self.board.all(), Some(&state))
        });
        let mut response = respond(StatusCode::OK, metrics::CONTENT_TYPE, page);
        if zip {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        response
    }

    async fn explain(&self, request: &Request<Incoming>, watch: &Watch) -> Response<Full<Bytes>> {
        match watch.begin_scrape(&self.questions.places) {
            Some(true) => self.counters.count(Counter::CutCrowded),
            Some(false) => {}
            None => return self.refuse_question("too many questions at once\n"),
        }
        match self.questions.ask(request.uri().query(), &self.board).await {
            Ok(answer) => match serde_json::to_vec(&answer) {
                Ok(json) => respond(StatusCode::OK, "application/json", json),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            },
            Err(NoAnswer::Bad(why)) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
            Err(NoAnswer::Silence) => self.refuse_question(
                "no capture answered in time: it starts, stands still, or is asked too much\n",
            ),
        }
    }

    /// A question that gets no answer now.
    fn refuse_question(&self, why: &'static str) -> Response<Full<Bytes>> {
        self.counters.count(Counter::QuestionsRefused);
        let mut response = text(StatusCode::SERVICE_UNAVAILABLE, why);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }

    async fn reload(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !self.options.enable_lifecycle {
            return text(StatusCode::FORBIDDEN, "reloading needs --web.enable-lifecycle\n");
        }
        if let Err(why) = guard::may_change(request, &self.names) {
            return text(StatusCode::FORBIDDEN, format!("{why}\n"));
        }
        match (self.reload)().await {
            Ok(said) => text(StatusCode::OK, format!("{said}\n")),
            Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
        }
    }

    fn healthy(&self) -> Response<Full<Bytes>> {
        match self.board.stalled(clock::steady(), crate::publish::board::STALLED).as_slice() {
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
                Standing::Stalled => Some(format!("{interface} has not ticked for long\n")),
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
    response.headers_mut().insert("content-security-policy", HeaderValue::from_static(CONTENT_POLICY));
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
        let quality = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().unwrap_or(0.0))
        });
        let wanted = quality.unwrap_or(1.0) > 0.0;
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return wanted;
        }
        star |= name == "*" && wanted;
    }
    star
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
        assert!(with("x-gzip"));
        assert!(with("*;q=0, gzip"));
        assert!(!with("gzip;q=0"));
        assert!(!with("gzip; Q = 0.000"));
        assert!(!with("gzip;q=nonsense"));
        assert!(!with("gzippy"));
        assert!(!with(""));
        assert!(!with("gzip;q=0, *"));
        assert!(!with("identity"));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
