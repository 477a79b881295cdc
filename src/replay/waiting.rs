//! Probes of a file that wait until nothing that is stamped earlier can follow.

use crate::detect::Probe;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// How far apart frames may be out of order and still be sorted: two taps whose clocks nobody set, with margin.
pub(crate) const HORIZON_NANOS: u64 = 5_000_000_000;

/// Probes that wait to be sorted: 4 MiB.
pub(crate) const MOST_WAITING: usize = 65_536;

/// A file that was in order for so many probes is believed to be, and its probes wait for nothing any more. The first that
/// comes late after all is counted as such; from then on they wait again.
pub(crate) const BELIEVED: u32 = 65_536;

/// What `in_order` is once a probe came late.
const NEVER: u32 = u32::MAX;

/// A probe that came late. The greatest of a heap goes first, so the order is turned around.
#[derive(Debug)]
struct Late {
    key: Reverse<(u64, u64)>,
    probe: Probe,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Late {}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// Probes that wait, at most `MOST_WAITING`. Those that go on are handed to `out`.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Probes that came in order before any came late.
    in_order: u32,
    /// Probes that came in order, and those that did not.
    queue: VecDeque<Probe>,
    late: BinaryHeap<Late>,
    /// Late probes so far: of two with the same stamp the first goes first.
    arrivals: u64,
    /// The latest stamp that has gone on.
    gone: u64,
}

impl Waiting {
    /// Whether probes that come in order wait for nothing.
    #[inline(always)]
    pub(crate) fn is_believed(&self) -> bool {
        self.in_order == BELIEVED
    }

    /// A probe of this stamp, which waited for nothing, has gone on.
    #[inline(always)]
    pub(crate) fn went_on(&mut self, time: u64) {
        self.gone = time;
    }

    /// A probe that comes now, not earlier than any before it.
    #[inline]
    pub(crate) fn push(&mut self, probe: Probe, now: u64, out: &mut impl FnMut(Probe)) {
        if self.is_believed() {
            self.went_on(probe.time.nanos());
            out(probe);
        } else {
            self.wait(probe, now, out);
        }
    }

    fn wait(&mut self, probe: Probe, now: u64, out: &mut impl FnMut(Probe)) {
        self.queue.push_back(probe);
        self.release(now, out);
        if self.in_order != NEVER {
            self.in_order += 1;
            if self.in_order == BELIEVED {
                self.drain(out);
            }
        }
    }

    /// A probe that is earlier than one before it. Returns whether it comes too late to be sorted.
    pub(crate) fn push_late(&mut self, probe: Probe, now: u64, out: &mut impl FnMut(Probe)) -> bool {
        let time = probe.time.nanos();
        let is_too_late = time < self.gone;
        self.in_order = NEVER;
        self.arrivals += 1;
        self.late.push(Late { key: Reverse((time, self.arrivals)), probe });
        self.release(now, out);
        is_too_late
    }

    /// Lets go on what nothing can come before any more, and what there is no room for.
    #[inline]
    pub(crate) fn release(&mut self, now: u64, out: &mut impl FnMut(Probe)) {
        let until = now.saturating_sub(HORIZON_NANOS);
        loop {
            let is_crowded = self.queue.len() + self.late.len() > MOST_WAITING;
            let first = match (self.queue.front(), self.late.peek()) {
                (Some(first), None) => first.time.nanos(),
                (None, None) => return,
                (first, Some(late)) => late.key.0.0.min(first.map_or(u64::MAX, |probe| probe.time.nanos())),
            };
            if first > until && !is_crowded {
                return;
            }
            self.pass(out);
        }
    }

    /// The earliest goes on.
    #[inline]
    fn pass(&mut self, out: &mut impl FnMut(Probe)) {
        let queued = self.queue.front().map_or(u64::MAX, |probe| probe.time.nanos());
        // With the same stamp, what came in order came before what came late.
        let late = self.late.peek().is_some_and(|late| late.key.0.0 < queued);
        let probe = if late { self.late.pop().map(|late| late.probe) } else { self.queue.pop_front() };
        let Some(probe) = probe else { return };
        self.gone = probe.time.nanos();
        out(probe);
    }

    /// All go on: nothing follows.
    pub(crate) fn drain(&mut self, out: &mut impl FnMut(Probe)) {
        while !self.queue.is_empty() || !self.late.is_empty() {
            self.pass(out);
        }
    }

    /// All go on, and what follows is stamped by another clock.
    pub(crate) fn start_over(&mut self, out: &mut impl FnMut(Probe)) {
        self.drain(out);
        self.gone = 0;
    }
}
