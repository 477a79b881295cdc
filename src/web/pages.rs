//! The pages: the table of routes, and what each answers.

use super::api::Api;
use super::config::ConfigFile;
use super::connection::Turn;
use super::encoding::Encoding;
use super::exposition::Exposition;
use super::fair::Places;
use super::gate::{self, Gate};
use super::options::Options;
use super::question::Questions;
use super::reply::{self, Reply};
use super::routes::{Call, Methods, Route};
use super::status;
use super::{guard, page, scans};
use crate::pipeline::Question;
use crate::publish::metrics::{self, Exemplar, Format, ProcessState};
use crate::publish::recent::{Kept, Recent};
use crate::publish::store::{CaptureState, STALLED, SnapshotStore};
use crate::system::clock;
use crate::system::counters::{Counter, Counters};
use crate::text::units::write_nanos;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderValue, VARY};
use hyper::{Method, Request, StatusCode};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Every route. A new one is one entry in one of the two lists; the landing page shows it, and the tests ask for it by every method.
fn table(telemetry_path: &str) -> Vec<Route<App>> {
    let mut routes = own(telemetry_path);
    routes.extend(api());
    routes
}

/// What every exporter has.
fn own(telemetry_path: &str) -> Vec<Route<App>> {
    vec![
        Route {
            name: "Metrics",
            path: telemetry_path.to_owned(),
            methods: Methods::Read,
            about: "for Prometheus, gzip if asked; 503 beyond --web.max-requests at once",
            answer: |app, call| Box::pin(async move { app.metrics(call) }),
        },
        Route {
            name: "Portscan Exporter",
            path: String::from("/"),
            methods: Methods::Read,
            about: "this page",
            answer: |app, _| Box::pin(async { app.landing() }),
        },
        Route {
            name: "Health",
            path: String::from("/-/healthy"),
            methods: Methods::Read,
            about: "200 while every capture has ticked in the last 10 s, else 503",
            answer: |app, _| Box::pin(async { app.healthy() }),
        },
        Route {
            name: "Readiness",
            path: String::from("/-/ready"),
            methods: Methods::Read,
            about: "200 when every interface captures and has published, else 503",
            answer: |app, _| Box::pin(async { app.ready() }),
        },
        Route {
            name: "Reload",
            path: String::from("/-/reload"),
            methods: Methods::Change,
            about: "reads the configuration file again; with --web.enable-lifecycle, and not for other sites' pages",
            answer: |app, call| Box::pin(app.reload(call)),
        },
    ]
}

/// What programs ask.
fn api() -> Vec<Route<App>> {
    vec![
        Route {
            name: "Scans",
            path: String::from("/api/v1/scans"),
            methods: Methods::Read,
            about: "open and recent scans, in JSON; ?source=, since=, open=, limit=, cursor=, kind=, evidence= and other fields of theirs",
            answer: |app, call| Box::pin(async move { app.api.scans(call) }),
        },
        Route {
            name: "Schema",
            path: String::from("/api/v1/scans/schema"),
            methods: Methods::Read,
            about: "what describes that JSON",
            answer: |_, call| {
                Box::pin(async move {
                    reply::kept(call.request.headers(), "application/schema+json", scans::SCHEMA.into())
                })
            },
        },
        Route {
            name: "Events",
            path: String::from("/api/v1/events"),
            methods: Methods::Read,
            about: "the same scans as they come (server-sent events), with the same filters; for 8 clients at once",
            answer: |app, call| Box::pin(async move { app.api.events(call, &app.counters) }),
        },
        Route {
            name: "Status",
            path: String::from("/api/v1/status"),
            methods: Methods::Read,
            about: "rule, interfaces, losses and tables, in JSON",
            answer: |app, call| Box::pin(async move { app.api.status(call, app.protection()) }),
        },
        Route {
            name: "Explain",
            path: String::from("/api/v1/explain"),
            methods: Methods::Read,
            about: "?source=ADDRESS: what the captures know of a source, in JSON; 503 beyond 8 questions at once",
            answer: |app, call| Box::pin(app.api.explain(call, &app.counters)),
        },
    ]
}

/// Every path that answers, and the methods it takes, as an `Allow` header lists them.
pub fn paths(telemetry_path: &str) -> Vec<(String, &'static str)> {
    table(telemetry_path).into_iter().map(|route| (route.path, route.methods.label())).collect()
}

type StateSource = dyn Fn() -> ProcessState + Send + Sync;
type Reload = dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync;

/// What the pages show, and what they may do.
pub struct App {
    options: Options,
    routes: Vec<Route<App>>,
    /// Host names under which something may be changed.
    names: Vec<String>,
    store: Arc<SnapshotStore>,
    state: Box<StateSource>,
    reload: Box<Reload>,
    scrapes: Arc<Places>,
    api: Api,
    gate: Gate,
    /// One for each form, in their order.
    expositions: [Exposition; Format::ALL.len()],
    pub(super) counters: Counters,
}

impl App {
    /// Pages over a store; `state` and `reload` are the shell's. A reload gives the line to answer with.
    pub fn new<R>(
        options: Options,
        store: Arc<SnapshotStore>,
        state: impl Fn() -> ProcessState + Send + Sync + 'static,
        reload: impl Fn() -> R + Send + Sync + 'static,
    ) -> Self
    where
        R: Future<Output = Result<String, String>> + Send + 'static,
    {
        Self {
            routes: table(&options.telemetry_path),
            names: guard::own_names(&options.listen),
            scrapes: Places::at_most(options.max_requests),
            options,
            state: Box::new(state),
            reload: Box::new(move || Box::pin(reload())),
            api: Api::over(Arc::clone(&store)),
            store,
            gate: Gate::default(),
            expositions: Default::default(),
            counters: Counters::new(),
        }
    }

    /// The same with ways to ask every capture thread.
    #[must_use]
    pub fn with_questions(mut self, threads: Vec<SyncSender<Question>>) -> Self {
        self.api.questions = Questions::to(threads);
        self
    }

    /// The same with the scans of these captures.
    #[must_use]
    pub fn with_recent(mut self, recent: Arc<Recent>) -> Self {
        self.api.recent = recent;
        self
    }

    /// The same behind what `--web.config.file` asks for.
    #[must_use]
    pub fn with_config(self, file: Option<ConfigFile>) -> Self {
        Self { gate: file.map_or_else(Gate::default, |file| Gate::of(Arc::new(file))), ..self }
    }

    /// How to speak TLS, if it is to be spoken.
    pub(super) fn tls(&self) -> Option<Arc<ConfigFile>> {
        self.gate.file().filter(|file| file.is_tls()).cloned()
    }

    /// The answer to any request.
    pub(super) async fn answer(&self, request: &Request<Incoming>, turn: &Turn) -> Reply {
        let answer = self.guarded(request, turn).await;
        if request.method() == Method::HEAD { reply::head(answer) } else { answer }
    }

    async fn guarded(&self, request: &Request<Incoming>, turn: &Turn) -> Reply {
        if !guard::names_one_host(request) {
            return reply::bad_request("a request has one Host header, and it is valid\n");
        }
        let extra = match self.gate.admit(request.headers(), turn, &self.counters).await {
            Ok(extra) => extra,
            Err(refusal) => return refusal,
        };
        let mut answer = self.routed(request, turn).await;
        gate::add(&mut answer, extra);
        answer
    }

    async fn routed(&self, request: &Request<Incoming>, turn: &Turn) -> Reply {
        let path = request.uri().path();
        let Some(route) = self.routes.iter().find(|route| route.path == path) else {
            return reply::text(StatusCode::NOT_FOUND, "no such page\n");
        };
        if !route.methods.include(request.method()) {
            return reply::not_allowed(route.methods.label());
        }
        (route.answer)(self, Call { request, turn }).await
    }

    fn protection(&self) -> status::Web {
        let file = self.gate.file();
        status::Web {
            tls: file.is_some_and(|file| file.is_tls()),
            authentication: file.is_some_and(|file| file.authenticates()),
        }
    }

    fn landing(&self) -> Reply {
        let interfaces = status::interfaces(self.store.states(), &self.store.each());
        let now = clock::wall();
        let view = page::View {
            interfaces: &interfaces,
            scans: &scans::of_now(&self.api.recent, &self.store.all()),
            hits: self.api.recent.hits(now.nanos()),
            now,
        };
        reply::html(page::page(&self.routes, &view), &page::POLICY)
    }

    fn metrics(&self, call: Call<'_>) -> Reply {
        match call.turn.take_place(&self.scrapes) {
            Some(true) => self.counters.count(Counter::CutCrowded),
            Some(false) => {}
            None => {
                self.counters.count(Counter::ScrapesRefused);
                let why = "too many scrapes at once (--web.max-requests)\n";
                return reply::text(StatusCode::SERVICE_UNAVAILABLE, why);
            }
        }
        let headers = call.request.headers();
        let accepts = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
        let format = Format::accepted(accepts, call.request.uri().query().is_some_and(asks_created));
        let encoding = Encoding::accepted(headers);
        let at = Format::ALL.iter().position(|one| *one == format).unwrap_or(0);
        let page = self.expositions[at].page(encoding, || {
            let mut state = (self.state)();
            state.counts = state.counts.and(&self.counters.counts());
            state.recent = self.api.recent.fill();
            metrics::render_as(format, &self.store.all(), &state, &exemplars(&self.api.recent.scans()))
        });
        let mut reply = reply::of(StatusCode::OK, format.content_type(), page);
        encoding.describe(reply.headers_mut());
        reply.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        reply
    }

    async fn reload(&self, call: Call<'_>) -> Reply {
        if !self.options.enable_lifecycle {
            return reply::text(StatusCode::FORBIDDEN, "reloading needs --web.enable-lifecycle\n");
        }
        if let Err(why) = guard::may_change(call.request, &self.names) {
            return reply::text(StatusCode::FORBIDDEN, format!("{why}\n"));
        }
        match (self.reload)().await {
            Ok(message) => reply::text(StatusCode::OK, format!("{message}\n")),
            Err(why) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
        }
    }

    fn healthy(&self) -> Reply {
        match self.store.stalled(clock::steady(), STALLED).as_slice() {
            [] => reply::text(StatusCode::OK, "portscan_exporter is healthy\n"),
            stalled => {
                let lines = stalled.iter().map(|(interface, silence)| {
                    format!("the capture on {interface} has not ticked for {} s\n", silence.as_secs())
                });
                reply::text(StatusCode::SERVICE_UNAVAILABLE, lines.collect::<String>())
            }
        }
    }

    fn ready(&self) -> Reply {
        let lines: String = self
            .store
            .states()
            .iter()
            .filter_map(|(interface, state)| match state {
                CaptureState::Ready | CaptureState::Idle => None,
                CaptureState::Starting => Some(format!("{interface} has not published yet\n")),
                CaptureState::Down => Some(format!("{interface} does not capture now\n")),
                CaptureState::Stalled => Some(format!("{interface} has not ticked for long\n")),
            })
            .collect();
        match lines.is_empty() {
            true => reply::text(StatusCode::OK, "portscan_exporter is ready\n"),
            false => reply::text(StatusCode::SERVICE_UNAVAILABLE, lines),
        }
    }
}

/// Whether `_created` series are asked for: in Prometheus `params: {created: ["true"]}`.
fn asks_created(query: &str) -> bool {
    query.split('&').any(|pair| pair == "created=true")
}

/// For each counter of hits the scan that raised it last.
fn exemplars(scans: &[Kept]) -> Vec<Exemplar> {
    let mut latest: BTreeMap<_, &Kept> = BTreeMap::new();
    for kept in scans {
        let series = (&*kept.interface, kept.scan.kind.label(), kept.scan.window_nanos);
        let held = latest.entry(series).or_insert(kept);
        if held.scan.detected < kept.scan.detected {
            *held = kept;
        }
    }
    let exemplar = |((interface, kind, window), kept): ((&str, &str, u64), &Kept)| Exemplar {
        labels: [
            ("interface", interface.to_owned()),
            ("kind", kind.to_owned()),
            ("window", write_nanos(window)),
        ],
        scan: kept.scan.id.to_string(),
        at: kept.scan.detected.as_secs_f64(),
    };
    latest.into_iter().map(exemplar).collect()
}
