//! The pages: the table of routes, and what each answers.

use super::connection::Watch;
use super::encoding::Encoding;
use super::exposition::Exposition;
use super::fair::Places;
use super::options::Options;
use super::question::{NoAnswer, Questions};
use super::reply::{self, Reply};
use super::routes::{Call, Methods, Route};
use super::{guard, landing};
use crate::pipeline::Question;
use crate::publish::metrics::{self, ProcessState};
use crate::publish::store::{CaptureState, STALLED, SnapshotStore};
use crate::system::clock;
use crate::system::counters::{Counter, Counters};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Every route. A new one is one entry here; the landing page lists it, and tests/web.rs asks for it by every method.
fn table(telemetry_path: &str) -> Vec<Route<App>> {
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
            name: "Explain",
            path: String::from("/api/v1/explain"),
            methods: Methods::Read,
            about: "?source=ADDRESS: what the captures know of a source, in JSON; 503 beyond 8 questions at once",
            answer: |app, call| Box::pin(app.explain(call)),
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
    questions: Questions,
    exposition: Exposition,
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
            store,
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

    /// The answer to any request.
    pub(super) async fn answer(&self, request: &Request<Incoming>, watch: &Watch) -> Reply {
        if !guard::names_one_host(request) {
            return reply::bad_request("a request has one Host header, and it is valid\n");
        }
        let path = request.uri().path();
        let Some(route) = self.routes.iter().find(|route| route.path == path) else {
            return reply::text(StatusCode::NOT_FOUND, "no such page\n");
        };
        if !route.methods.include(request.method()) {
            return reply::not_allowed(route.methods.label());
        }
        (route.answer)(self, Call { request, watch }).await
    }

    fn landing(&self) -> Reply {
        reply::html(landing::page(&self.routes, &self.store.states()))
    }

    fn metrics(&self, call: Call<'_>) -> Reply {
        match call.watch.take_place(&self.scrapes) {
            Some(true) => self.counters.count(Counter::CutCrowded),
            Some(false) => {}
            None => {
                self.counters.count(Counter::ScrapesRefused);
                let why = "too many scrapes at once (--web.max-requests)\n";
                return reply::text(StatusCode::SERVICE_UNAVAILABLE, why);
            }
        }
        let encoding = Encoding::accepted(call.request.headers());
        let page = self.exposition.page(encoding, || {
            let mut state = (self.state)();
            state.counts = state.counts.and(&self.counters.counts());
            metrics::render(&self.store.all(), Some(&state))
        });
        let mut reply = reply::of(StatusCode::OK, metrics::CONTENT_TYPE, page);
        encoding.describe(reply.headers_mut());
        reply
    }

    async fn explain(&self, call: Call<'_>) -> Reply {
        match call.watch.take_place(&self.questions.places) {
            Some(true) => self.counters.count(Counter::CutCrowded),
            Some(false) => {}
            None => return self.refuse_question("too many questions at once\n"),
        }
        match self.questions.ask(call.request.uri().query(), &self.store).await {
            Ok(answer) => reply::json(&answer),
            Err(NoAnswer::Bad(why)) => reply::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
            Err(NoAnswer::Silence) => self.refuse_question(
                "no capture answered in time: it starts, stands still, or is asked too much\n",
            ),
        }
    }

    /// A question that gets no answer now.
    fn refuse_question(&self, why: &'static str) -> Reply {
        self.counters.count(Counter::QuestionsRefused);
        reply::try_again(why)
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
