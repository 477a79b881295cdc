//! Events as they happen (server-sent events), for clients that follow them. They are looked up once a second, so a flood of scans
//! makes no more work than a page; a client that does not keep up is told how many it missed.

use super::filter::Filter;
use super::limits::{FOLLOW_EVERY, FOLLOW_FOR, HEARTBEAT};
use crate::events::record::Record;
use crate::publish::recent::{Event, Recent};
use crate::system::clock;
use hyper::body::Bytes;
use std::fmt::Write as _;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Events that are sent in one piece.
const MOST: usize = 64;

/// A client's place in the events.
pub(super) struct Following {
    recent: Arc<Recent>,
    filter: Filter,
    seen: u64,
    looks: Interval,
    started: Instant,
    sent: Option<Instant>,
}

impl Following {
    /// From after an event on; without one from now.
    pub(super) fn after(seen: Option<u64>, recent: Arc<Recent>, filter: Filter) -> Self {
        let mut looks = interval(FOLLOW_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = recent.number();
        // A number from before a restart is of no use.
        let seen = seen.filter(|seen| *seen <= now).unwrap_or(now);
        Self { recent, filter, seen, looks, started: clock::steady(), sent: None }
    }

    /// The next piece; `None` is the end.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if self.sent.is_none() {
                self.sent = Some(clock::steady());
                return Poll::Ready(Some(Bytes::from_static(b"retry: 5000\n\n")));
            }
            ready!(self.looks.poll_tick(cx));
            let now = clock::steady();
            if now.duration_since(self.started) > FOLLOW_FOR {
                return Poll::Ready(None);
            }
            let text = self.news();
            if !text.is_empty() {
                self.sent = Some(now);
                return Poll::Ready(Some(text.into()));
            }
            if self.sent.is_none_or(|sent| now.duration_since(sent) >= HEARTBEAT) {
                self.sent = Some(now);
                return Poll::Ready(Some(Bytes::from_static(b": still here\n\n")));
            }
        }
    }

    fn news(&mut self) -> String {
        let events = self.recent.after(self.seen, MOST);
        let Some(first) = events.first() else { return String::new() };
        let mut text = String::new();
        let missed = first.number - self.seen - 1;
        if missed > 0 {
            let _ = write!(text, "event: missed\ndata: {{\"missed\":{missed}}}\n\n");
        }
        for Event { number, interface, event } in &events {
            self.seen = *number;
            let record = Record { scan: &event.scan, interface, clock_steps: 0 };
            if self.filter.takes(&record) {
                let kind = event.kind.label();
                let _ = write!(text, "id: {number}\nevent: {kind}\ndata: {}\n\n", record.json());
            }
        }
        text
    }
}
