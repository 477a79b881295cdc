//! What is lost on an interface, kind by kind: frames, sources, records. An attacker can cause most of it, so each kind has one
//! record a minute and interface at most, with the number since the one before.

use crate::detect::Evicted;
use crate::publish::snapshot::InterfaceSnapshot;
use std::time::{Duration, Instant};

/// `MESSAGE_ID` of dropped frames.
pub(crate) const DROPPED_ID: &str = "0538b52895f447e69ec0aa6be52e0e3f";
/// `MESSAGE_ID` of sources that were given up.
pub(crate) const EVICTED_ID: &str = "5d2b168f935448558ca9bc9ee058ff8e";
/// `MESSAGE_ID` of records that were lost.
pub(crate) const LOST_ID: &str = "b4467548b27c4898b3bd851b89e493ed";

/// The least time between two records of one kind.
pub(super) const AGAIN: Duration = Duration::from_secs(60);

/// A kind of loss: its total, what that is a part of (or 0), and the record of it.
struct Kind {
    total: fn(&InterfaceSnapshot) -> (u64, u64),
    record: fn(&InterfaceSnapshot, &str, Loss),
}

/// Every kind there is on an interface.
const KINDS: [Kind; 6] = [
    Kind { total: |seen| (seen.capture.dropped, seen.capture.received), record: record_dropped },
    Kind { total: |seen| (seen.capture.interface_dropped, 0), record: record_interface_dropped },
    Kind { total: |seen| (for_want_of_memory(seen).iter().sum(), 0), record: record_evicted },
    Kind { total: |seen| (seen.detection.cut_short()[0], 0), record: record_cut_short },
    Kind { total: |seen| (seen.detection.cut_short()[1], 0), record: record_cut_short_behind },
    Kind { total: |seen| (seen.events_lost, 0), record: record_events },
];

/// The losses of one interface, as far as they were reported.
#[derive(Debug)]
pub(super) struct Losses([Reported; KINDS.len()]);

impl Losses {
    pub(super) fn none(now: Instant) -> Self {
        Self([Reported::none(now); KINDS.len()])
    }

    /// Writes the records that are due.
    pub(super) fn look(&mut self, snapshot: &InterfaceSnapshot, interface: &str, now: Instant) {
        for (reported, kind) in self.0.iter_mut().zip(&KINDS) {
            let (lost, of) = (kind.total)(snapshot);
            if let Some(loss) = reported.look(lost, of, now) {
                (kind.record)(snapshot, interface, loss);
            }
        }
    }
}

fn record_dropped(_: &InterfaceSnapshot, interface: &str, loss: Loss) {
    let (Loss { lost, of, .. }, seconds) = (loss, loss.seconds());
    let percent = (100 * lost).div_ceil(of.max(lost));
    log::warn!(
        message_id = DROPPED_ID, title = "frames dropped", event = "frames_dropped", interface, dropped = lost,
        received = of, percent, seconds;
        "{percent} % of the frames on {interface} dropped because the buffer was full, {lost} of {of} within {seconds} s: \
         scans may be missed (--capture.buffer-size, --capture.threads)"
    );
}

fn record_interface_dropped(_: &InterfaceSnapshot, interface: &str, loss: Loss) {
    let (lost, seconds) = (loss.lost, loss.seconds());
    log::warn!(
        message_id = DROPPED_ID, title = "frames dropped by the interface", event = "frames_dropped", interface,
        interface_dropped = lost, seconds;
        "{lost} frames dropped by {interface} or its driver within {seconds} s"
    );
}

/// Sources evicted for want of memory, by the reasons that the record names. (A reload was asked for.)
fn for_want_of_memory(snapshot: &InterfaceSnapshot) -> [u64; 4] {
    [Evicted::Doorkeeper, Evicted::Table, Evicted::Scan, Evicted::Evidence]
        .map(|reason| snapshot.detection.counters.evicted[reason as usize])
}

fn record_evicted(snapshot: &InterfaceSnapshot, interface: &str, loss: Loss) {
    let (lost, seconds) = (loss.lost, loss.seconds());
    let [doorkeeper, table, scan, evidence] = for_want_of_memory(snapshot);
    log::warn!(
        message_id = EVICTED_ID, title = "sources evicted", event = "sources_evicted", interface, evicted = lost,
        seconds, doorkeeper_total = doorkeeper, table_total = table, scan_total = scan,
        evidence_total = evidence;
        "{lost} sources on {interface} evicted for want of memory within {seconds} s: scans may be missed \
         (--detection.memory)"
    );
}

fn record_cut_short(snapshot: &InterfaceSnapshot, interface: &str, loss: Loss) {
    let (lost, seconds) = (loss.lost, loss.seconds());
    let threshold = snapshot.detection.threshold;
    log::warn!(
        message_id = EVICTED_ID, title = "sources not counted to the threshold", event = "sources_cut_short",
        interface, cut_short = lost, threshold, seconds;
        "{lost} sources on {interface} could not be counted up to the threshold of {threshold} within {seconds} s: \
         scans may be missed (--detection.memory)"
    );
}

fn record_cut_short_behind(_: &InterfaceSnapshot, interface: &str, loss: Loss) {
    let (lost, seconds) = (loss.lost, loss.seconds());
    log::warn!(
        message_id = EVICTED_ID, title = "sources not counted to a slower rule's threshold",
        event = "sources_cut_short", interface, cut_short = lost, seconds;
        "{lost} sources on {interface} could not be counted as far as a slower rule needs within {seconds} s: \
         slow scans or sweeps may be missed (--detection.memory)"
    );
}

fn record_events(_: &InterfaceSnapshot, interface: &str, loss: Loss) {
    let (lost, seconds) = (loss.lost, loss.seconds());
    log::warn!(
        message_id = LOST_ID, title = "records lost", event = "records_lost", interface, lost, seconds;
        "{lost} records of scans on {interface} lost within {seconds} s: they come faster than the log is written"
    );
}

/// A total that should not grow, and how much of it was reported.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reported {
    pub(super) lost: u64,
    /// What `lost` is a part of, and when, since there is nothing to report.
    of: u64,
    from: Instant,
    latest: Option<Instant>,
}

/// What was lost within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) lost: u64,
    of: u64,
    within: Duration,
}

impl Loss {
    pub(super) fn seconds(self) -> u64 {
        seconds(self.within)
    }
}

/// Whole seconds, and never 0 for what takes a moment.
pub(super) fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

impl Reported {
    pub(super) fn none(now: Instant) -> Self {
        Self { lost: 0, of: 0, from: now, latest: None }
    }

    /// What is to be reported now.
    pub(super) fn look(&mut self, lost: u64, of: u64, now: Instant) -> Option<Loss> {
        let grown = lost.saturating_sub(self.lost);
        if grown == 0 {
            (self.of, self.from) = (of, now);
            return None;
        }
        if self.latest.is_some_and(|latest| now.saturating_duration_since(latest) < AGAIN) {
            return None;
        }
        let within = now.saturating_duration_since(self.from);
        let loss = Loss { lost: grown, of: of.saturating_sub(self.of), within };
        *self = Self { lost, of, from: now, latest: Some(now) };
        Some(loss)
    }
}

#[cfg(test)]
impl Losses {
    /// Frames dropped, as far as they were reported.
    pub(super) fn dropped(&self) -> u64 {
        self.0[0].lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock;

    #[test]
    fn losses_are_reported_at_once_and_then_once_a_minute_with_all_since() {
        let start = clock::steady();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut dropped = Reported::none(start);
        assert_eq!(dropped.look(0, 1_000_000, at(99)), None, "what came before is no part of it");
        let second = Duration::from_secs(1);
        assert_eq!(dropped.look(79, 1_000_100, at(100)), Some(Loss { lost: 79, of: 100, within: second }));
        for n in 1..60 {
            assert_eq!(dropped.look(79 + n, 1_000_100 + 2 * n, at(100 + n)), None);
        }
        let minute = Loss { lost: 60, of: 120, within: 60 * second };
        assert_eq!(dropped.look(139, 1_000_220, at(160)), Some(minute));
        // It is over; the next time the quiet between does not count.
        assert_eq!(dropped.look(139, 2_000_000, at(1_000)), None);
        assert_eq!(dropped.look(140, 2_000_010, at(1_001)), Some(Loss { lost: 1, of: 10, within: second }));
        // Some of it came just before it was over: reported when its time has come.
        assert_eq!(dropped.look(145, 2_000_020, at(1_002)), None);
        assert_eq!(dropped.look(145, 2_000_020, at(1_061)).map(|loss| loss.lost), Some(5));
    }

    /// A storm on every kind of loss, every second for ten minutes: records stay few.
    #[test]
    fn an_attacker_cannot_fill_the_journal_with_losses() {
        let start = clock::steady();
        let mut losses = Reported::none(start);
        let reported =
            (1..=600).filter(|&n| losses.look(n, n, start + Duration::from_secs(n)).is_some()).count();
        assert_eq!(reported, 10);
    }
}
