//! What programs ask: recent scans, events, how it fares, what is known of a source.

use super::body::Body;
use super::fair::Places;
use super::filter::Filter;
use super::follow::Following;
use super::limits::FOLLOWERS;
use super::question::{NoAnswer, Questions};
use super::reply::{self, Reply};
use super::routes::Call;
use super::scans;
use super::status::{self, Status};
use crate::publish::recent::Recent;
use crate::publish::store::SnapshotStore;
use crate::system::counters::{Counter, Counters};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use std::sync::{Arc, LazyLock};

const JSON: &str = "application/json";

/// What a client is told that comes too late.
static FULL: LazyLock<String> =
    LazyLock::new(|| format!("{FOLLOWERS} clients follow events, and no more can\n"));

/// What answers.
pub(super) struct Api {
    store: Arc<SnapshotStore>,
    pub(super) recent: Arc<Recent>,
    pub(super) questions: Questions,
    followers: Arc<Places>,
}

impl Api {
    /// With no way to ask the captures, and no scans.
    pub(super) fn over(store: Arc<SnapshotStore>) -> Self {
        Self {
            store,
            recent: Arc::new(Recent::new(1)),
            questions: Questions::to(Vec::new()),
            followers: Places::at_most(FOLLOWERS),
        }
    }

    pub(super) fn scans(&self, call: Call<'_>) -> Reply {
        match Filter::of(call.request.uri().query()) {
            Ok(filter) => {
                let json = scans::answer(&filter, &self.recent, &self.store.all());
                reply::kept(call.request.headers(), JSON, json)
            }
            Err(why) => reply::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        }
    }

    pub(super) fn events(&self, call: Call<'_>, counters: &Counters) -> Reply {
        let filter = match Filter::of_events(call.request.uri().query()) {
            Ok(filter) => filter,
            Err(why) => return reply::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        };
        match call.turn.take_place(&self.followers) {
            Some(true) => counters.count(Counter::CutCrowded),
            Some(false) => {}
            None => {
                counters.count(Counter::RefusedFollowers);
                return reply::try_again(&FULL);
            }
        }
        let seen = call.request.headers().get("last-event-id");
        let seen = seen.and_then(|seen| seen.to_str().ok()?.parse().ok());
        let following = Following::after(seen, Arc::clone(&self.recent), filter);
        let mut answer = reply::of(StatusCode::OK, "text/event-stream", "");
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer.map(|_| Body::from(following))
    }

    pub(super) fn status(&self, call: Call<'_>, web: status::Web) -> Reply {
        let interfaces = status::interfaces(self.store.states(), &self.store.each());
        let status = Status::of(interfaces, &self.store.all(), self.recent.fill(), web);
        let json = serde_json::to_vec(&status).expect("text and numbers are always JSON");
        reply::kept(call.request.headers(), JSON, json)
    }

    pub(super) async fn explain(&self, call: Call<'_>, counters: &Counters) -> Reply {
        match call.turn.take_place(&self.questions.places) {
            Some(true) => counters.count(Counter::CutCrowded),
            Some(false) => {}
            None => return refuse_question(counters, "too many questions at once\n"),
        }
        match self.questions.ask(call.request.uri().query(), &self.store, &self.recent).await {
            Ok(answer) => reply::json(&answer),
            Err(NoAnswer::Bad(why)) => reply::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
            Err(NoAnswer::Nobody) => {
                refuse_question(counters, "nothing is captured: no interface matches the patterns of -i\n")
            }
            Err(NoAnswer::Silence) => refuse_question(
                counters,
                "no capture answered in time: it starts, stands still, or is asked too much\n",
            ),
        }
    }
}

/// A question that gets no answer now.
fn refuse_question(counters: &Counters, why: &'static str) -> Reply {
    counters.count(Counter::QuestionsRefused);
    reply::try_again(why)
}
