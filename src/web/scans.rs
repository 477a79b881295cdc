//! `/api/v1/scans`: scans that are open or ended lately, as JSON; docs/scans.schema.json describes it.

use super::filter::Filter;
use crate::events::record::Record;
use crate::publish::recent::{Fill, Kept, Recent, SCANS};
use crate::publish::snapshot::InterfaceSnapshot;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// What describes an answer.
pub const SCHEMA: &str = include_str!("../../docs/scans.schema.json");

/// An answer.
#[derive(Serialize)]
struct Answer<'a> {
    scans: Vec<Record<'a>>,
    /// Where the next page begins; none if this is the last.
    cursor: Option<String>,
    kept: u64,
    limit: usize,
    evicted: u64,
}

/// Recent scans, the latest change first: those that are open as they stand, as far as the captures show them; the others as they were
/// last reported.
pub(super) fn of_now(recent: &Recent, shown: &[Arc<InterfaceSnapshot>]) -> Vec<Kept> {
    let mut all = recent.scans();
    let mut open = HashMap::new();
    for snapshot in shown {
        for scan in snapshot.detection.rules().flat_map(|rule| &rule.scans) {
            open.insert((&*snapshot.interface, scan.id), scan);
        }
    }
    for kept in all.iter_mut().filter(|kept| kept.scan.ended.is_none()) {
        // A record may be younger than the last tick.
        let now = open.get(&(&*kept.interface, kept.scan.id)).filter(|now| now.probes >= kept.scan.probes);
        if let Some(now) = now {
            kept.scan = **now;
        }
    }
    all
}

/// The answer to a question.
pub(super) fn answer(filter: &Filter, recent: &Recent, shown: &[Arc<InterfaceSnapshot>]) -> Vec<u8> {
    let all = of_now(recent, shown);
    let Fill { scans: kept, evicted } = recent.fill();
    let before = |kept: &&Kept| filter.cursor.is_none_or(|cursor| kept.number < cursor);
    let asked = all.iter().filter(before).map(|kept| (kept.number, record(kept)));
    let asked: Vec<_> = asked.filter(|(_, record)| filter.takes(record)).take(filter.limit + 1).collect();
    let (page, more) = asked.split_at(asked.len().min(filter.limit));
    let answer = Answer {
        scans: page.iter().map(|(_, record)| *record).collect(),
        cursor: page.last().filter(|_| !more.is_empty()).map(|(number, _)| number.to_string()),
        kept,
        limit: SCANS,
        evicted,
    };
    serde_json::to_vec(&answer).expect("text, numbers and lists are always JSON")
}

fn record(kept: &Kept) -> Record<'_> {
    Record { scan: &kept.scan, interface: &kept.interface, clock_steps: 0 }
}
