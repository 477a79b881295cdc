//! `/api/v1/explain`: what the captures know of an address.
//!
//! The adversary reaches the port and asks as fast as he can, or asks and goes away. A question only waits in a short
//! channel to each capture thread, which answers a few of them at its tick and is not woken; so the most he can do is to
//! keep others' questions waiting. Clients share the places, as they share those of scrapes.

use super::fair::Places;
use super::limits::{ANSWER_WITHIN, LOOK_EVERY, QUERY_BYTES};
use crate::detect::{Scan, Source};
use crate::pipeline::{QUESTIONS, Question};
use crate::publish::explain::{Answer, Reply};
use crate::publish::recent::{Kept, Recent};
use crate::publish::store::{CaptureState, SnapshotStore};
use crate::text::units::parse_source;
use ipnet::IpNet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use tokio::time;

/// The way to the capture threads.
#[derive(Debug)]
pub(super) struct Questions {
    threads: Vec<SyncSender<Question>>,
    next: AtomicU64,
    /// Places for questions under way.
    pub(super) places: Arc<Places>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The question makes no sense, and why.
    Bad(String),
    /// No interface answered in time.
    Silence,
    /// There is no interface.
    Nobody,
}

impl Questions {
    pub(super) fn to(threads: Vec<SyncSender<Question>>) -> Self {
        Self { threads, next: AtomicU64::new(0), places: Places::at_most(QUESTIONS) }
    }

    /// Asks every capture, and waits for what the store shows of their answers.
    pub(super) async fn ask(
        &self,
        query: Option<&str>,
        store: &SnapshotStore,
        recent: &Recent,
    ) -> Result<Answer, NoAnswer> {
        let asked = asked(query).map_err(NoAnswer::Bad)?;
        let question = Question { id: self.next.fetch_add(1, Ordering::Relaxed), asked };
        let mut waiting: Vec<&SyncSender<Question>> = self.threads.iter().collect();
        let timeout = time::sleep(ANSWER_WITHIN);
        tokio::pin!(timeout);
        loop {
            // Where others' questions fill the channel, again a little later; a capture that has ended never answers.
            waiting.retain(|thread| matches!(thread.try_send(question), Err(TrySendError::Full(_))));
            if store.answers(question.id).iter().all(Option::is_some) {
                break;
            }
            tokio::select! {
                biased;
                () = &mut timeout => break,
                () = time::sleep(LOOK_EVERY) => {}
            }
        }
        let answer = answer(asked, question.id, store, recent)?;
        match answer.is_answered() {
            true => Ok(answer),
            false if answer.interfaces.is_empty() => Err(NoAnswer::Nobody),
            false => Err(NoAnswer::Silence),
        }
    }
}

/// What was asked for: `source=198.51.100.7`, also as browsers and curl encode it.
fn asked(query: Option<&str>) -> Result<IpNet, String> {
    const USAGE: &str = "ask for one source: /api/v1/explain?source=198.51.100.7";
    let mut parameters = query.unwrap_or("").split('&').filter_map(|pair| pair.strip_prefix("source="));
    let source = parameters.next().ok_or(USAGE)?;
    if parameters.next().is_some() || source.len() > QUERY_BYTES {
        return Err(USAGE.to_owned());
    }
    // Nothing else in an address is ever encoded.
    let decoded = [("%3A", ":"), ("%3a", ":"), ("%2F", "/"), ("%2f", "/")]
        .iter()
        .fold(source.to_owned(), |text, (code, sign)| text.replace(code, sign));
    parse_source(&decoded)
}

fn answer(asked: IpNet, question: u64, store: &SnapshotStore, recent: &Recent) -> Result<Answer, NoAnswer> {
    let (states, shown, answers) = (store.states(), store.each(), store.answers(question));
    let is_address = asked.prefix_len() == asked.max_prefix_len();
    for known in answers.iter().flatten() {
        let prefix = known.source.prefix;
        if !is_address && asked.prefix_len() != prefix {
            let hops = known.slower.iter().map(|rule| rule.source.prefix).find(|&hop| hop < prefix);
            let hops = hops.map(|hop| format!(", and one that hops a /{hop}")).unwrap_or_default();
            return Err(NoAnswer::Bad(format!("{asked} is no source: here a source is a /{prefix}{hops}")));
        }
    }
    let by_many = by_many(asked, recent);
    let on = |interface: &str| {
        by_many.iter().filter(|kept| &*kept.interface == interface).map(|kept| kept.scan).collect()
    };
    let replies =
        states.iter().zip(&shown).zip(answers).filter_map(|(((interface, state), shown), explanation)| {
            let state = match state {
                CaptureState::Ready => "capturing",
                CaptureState::Starting => "starting",
                CaptureState::Down => "down",
                CaptureState::Stalled => "stalled",
                CaptureState::Idle => return None,
            };
            let snapshot = shown.as_deref().map(|snapshot| &snapshot.detection);
            Some(Reply { interface, state, explanation, snapshot, by_many: on(interface) })
        });
    Ok(Answer::of(asked, replies))
}

/// Scans by many that have ended and name what is asked for among their sample, the latest first.
fn by_many(asked: IpNet, recent: &Recent) -> Vec<Kept> {
    let is_among = |kept: &Kept| {
        let Scan { source, ended, sample_sources, .. } = &kept.scan;
        *source == Source::MANY
            && ended.is_some()
            && sample_sources.as_slice().iter().any(|address| asked.contains(address))
    };
    recent.scans().into_iter().filter(is_among).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_and_a_valid_one() {
        for (query, expected) in [
            ("source=198.51.100.7", "198.51.100.7/32"),
            ("x=1&source=2001:db8::7", "2001:db8::7/128"),
            ("source=2001%3Adb8%3a%3A%2f64", "2001:db8::/64"),
        ] {
            assert_eq!(asked(Some(query)).map(|asked| asked.to_string()), Ok(expected.to_owned()), "{query}");
        }
        let long = format!("source={}", "1".repeat(101));
        for query in
            ["", "source=", "source=a&source=b", "source=host", "source=198.51.100.0/24", "source=%31", &long]
        {
            assert!(asked(Some(query)).is_err(), "{query}");
        }
        assert!(asked(None).is_err());
    }
}
