//! Who gets a row, and who must go for it.

use super::Tracker;
use crate::detect::probe::Probe;
use crate::detect::row::Row;
use crate::detect::rows::Rows;
use crate::detect::rule::Rule;
use crate::detect::sink::EventSink;
use crate::detect::snapshot::Evicted;
use crate::detect::table::eviction::{Due, Evidence, Rank};
use crate::detect::table::{Spot, Vacated};
use crate::detect::tuning::{CROWDED, QUANTA, UNITS};

/// Quanta between the ports of an even scan that just reaches the threshold.
pub(super) fn pace(rule: &Rule) -> u8 {
    QUANTA.div_ceil(u64::from(rule.threshold().max(2)) - 1) as u8
}

/// Quanta within which a scan that just reaches the threshold asks for three ports somewhere, however it paces them: the spans from each
/// port to the next but one take up no more than two windows. Not fewer than for the threshold 20: time is kept in quanta.
pub(super) fn patience(rule: &Rule) -> u8 {
    (2 * QUANTA / u64::from(rule.threshold().max(3) - 2)).clamp(QUANTA / 10, QUANTA) as u8
}

impl Tracker {
    /// A slot for a new source. If another is evicted for it, that is counted by what it was; if it may be a forged one that never
    /// comes back, fewer such are looked at.
    #[inline]
    pub(super) fn make_room(&mut self, spot: Spot, is_known: bool, sink: &mut EventSink<'_>) -> usize {
        let (rows, now) = (&self.rows, self.rows.present.stamp);
        let (slot, displaced) = self.directory.make_room(spot, now, self.pace, |row| rank(rows, row));
        match displaced {
            Vacated::Free => {}
            Vacated::Over(source) => self.rows.counters.finish_burst(source.count()),
            Vacated::Probation(source) => {
                let may_return = source.age(now) <= self.pace;
                if may_return && !is_known {
                    self.thinning.lose(sink.now(), &self.rows.present);
                }
                self.count_evicted(if may_return { Evicted::Evidence } else { Evicted::Doorkeeper });
            }
            Vacated::Row(row) => {
                self.evict(row, sink);
                self.free.push(row);
            }
        }
        slot
    }

    /// Gives a source a row; if none is free, that of the source whose turn it is.
    pub(super) fn admit(&mut self, slot: usize, spot: Spot, probe: &Probe, sink: &mut EventSink<'_>) -> u32 {
        let row = match self.free.pop() {
            Some(row) => row,
            None if self.rows.len() < self.capacity => self.rows.len() as u32,
            None => {
                if !self.queue.is_active() {
                    self.rebuild(sink.now());
                }
                let row = self.weakest();
                self.evict(row, sink);
                row
            }
        };
        let now = sink.now();
        self.rows.put(row, Row::new(probe, slot as u32, now, self.rows.present.quantum));
        self.directory.put_row(slot, spot, row);
        self.queue.insert(row, Rank::fresh(now / unit_nanos(&self.rows.rule)));
        row
    }

    /// The row that a full table must give up.
    fn weakest(&mut self) -> u32 {
        let threshold = self.rows.rule.threshold();
        // A row that was moved to the reserve is not moved again, so each turn brings the end nearer.
        for _ in 0..=self.rows.len() {
            let rows = &self.rows;
            match self.queue.pop(|row| rank(rows, row)) {
                Some(Due::Evict(row)) => return row,
                Some(Due::EvictOrReserve(row)) => {
                    if !evidence(rows, row).is_strong(threshold) {
                        return row;
                    }
                    self.rows.row_mut(row).is_reserved = true;
                    self.queue.insert(row, rank(&self.rows, row));
                }
                None => break,
            }
        }
        debug_assert!(false, "every row of a full table is queued");
        0
    }

    /// Counts a source as given up, by what it was, and empties its row.
    fn evict(&mut self, row: u32, sink: &mut EventSink<'_>) {
        let given_up = self.rows.row(row);
        let silent = self.rows.present.quanta_since(given_up.last_probe);
        let reason = if given_up.episode.is_open() {
            Evicted::Scan
        } else if silent <= u64::from(self.pace)
            || evidence(&self.rows, row).is_strong(self.rows.rule.threshold())
        {
            Evicted::Evidence
        } else {
            Evicted::Table
        };
        self.count_evicted(reason);
        self.vacate(row, sink);
    }

    pub(super) fn count_evicted(&mut self, reason: Evicted) {
        self.rows.counters.evicted[reason as usize] += 1;
    }

    /// Empties a row: an open scan is reported as ended, a peak worth a series is kept apart.
    pub(super) fn vacate(&mut self, row: u32, sink: &mut EventSink<'_>) {
        self.rows.end(row, sink);
        self.rows.judge_replies(row);
        let candidate = self.rows.candidate(row);
        if self.is_worth_a_series(&candidate) {
            self.retired.keep(candidate, self.rows.present.epoch, self.rows.rule.threshold());
        }
        self.directory.clear(self.rows.row(row).slot as usize);
        self.rows.free(row);
    }

    #[inline]
    pub(super) fn is_crowded(&self) -> bool {
        self.used() * CROWDED.1 >= self.capacity * CROWDED.0
    }

    /// Whether a new row takes an eviction.
    pub(super) fn is_full(&self) -> bool {
        self.used() == self.capacity
    }

    /// Rows that somebody has.
    #[inline]
    pub(super) fn used(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// Replaces one of the keys that decide which sources share a set of the directory, and puts those of its part where
    /// they belong now. Nothing that is reported changes by it; where chance brings too many to one set, the one that must go is
    /// counted as ever.
    pub(crate) fn rekey(&mut self, sink: &mut EventSink<'_>) {
        debug_assert!(self.lookups.is_empty(), "what was looked up is where it was");
        self.rekeyed = sink.now();
        let moving = self.directory.rekey(self.rows.present.stamp);
        for &moved in &moving {
            let slot = self.make_room(moved.spot(), true, sink);
            if let Some(row) = self.directory.put_moved(slot, moved) {
                self.rows.row_mut(row).slot = slot as u32;
            }
        }
        self.directory.end_rekey(moving);
    }

    /// Queues every row anew.
    pub(super) fn rebuild(&mut self, now: u64) {
        self.rebuilt = self.rows.present.quantum;
        let (rows, unit_nanos) = (&self.rows, unit_nanos(&self.rows.rule));
        let oldest = (now / unit_nanos).saturating_sub(UNITS);
        self.queue.rebuild(oldest, rows.used().map(|(at, _)| (at, rank(rows, at))));
    }
}

/// A unit of deadlines, by which a row's turn is reckoned when somebody must go: a probe writes down none of it.
fn unit_nanos(rule: &Rule) -> u64 {
    (rule.window_nanos / UNITS).max(1)
}

fn evidence(rows: &Rows, row: u32) -> Evidence {
    let kept = rows.row(row);
    // A burst is no slow scan, however many ports it has: by a slower rule it counts for little until its source comes back.
    let is_burst = rows.is_behind && kept.returns == 0;
    kept.evidence(if is_burst { 1 } else { rows.size(row) }, unit_nanos(&rows.rule))
}

fn rank(rows: &Rows, row: u32) -> Rank {
    evidence(rows, row).rank(rows.rule.threshold())
}
