//! The life of a scan: opened by a hit, grown, ended by quiet. A state machine without memory of its own: it takes counts and
//! quanta, and says what there is to report.

use crate::detect::scan::{EventKind, Kind};
use crate::detect::tuning::GROWN;

/// Whether a source scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No open scan.
    Closed,
    /// An open scan, the count at or above the threshold.
    Above,
    /// An open scan, the count below the threshold since `below_since`.
    Below,
}

/// The scan of one source: none, or the one that is open. Packed, because every probe reads it: with the peaks it fills a
/// cache line of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed(2))]
pub(super) struct Episode {
    /// While below: the quantum in which the count fell.
    below_since: u64,
    /// The greatest count so far, less one, so that 65,536 fits.
    peak: u16,
    /// How large it was when it was last reported, less one.
    reported: u16,
    state: State,
    kind: Kind,
}

/// A count as it is kept.
fn less_one(count: u32) -> u16 {
    count.saturating_sub(1).min(0xffff) as u16
}

impl Episode {
    /// No open scan.
    pub(super) const NONE: Episode =
        Episode { below_since: 0, peak: 0, reported: 0, state: State::Closed, kind: Kind::Vertical };

    /// Whether a scan is open.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// Whether a scan is open, and its count at or above the threshold when that was last looked at.
    #[inline]
    pub(super) fn is_above(&self) -> bool {
        self.state == State::Above
    }

    /// Whether a scan is open, and its count below the threshold.
    #[inline]
    pub(super) fn is_below(&self) -> bool {
        self.state == State::Below
    }

    /// What the scan spreads over.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// A sweep asked for so many ports that it is a block.
    pub(super) fn widen(&mut self) {
        self.kind = Kind::Block;
    }

    /// The greatest count of ports of the scan.
    pub(super) fn peak(&self) -> u32 {
        u32::from(self.peak) + 1
    }

    /// A probe was counted: what is the verdict, how many ports count, and how large is the scan, in what it grows by (ports since
    /// the hit, or hosts)? Says whether that is worth a record.
    #[inline]
    pub(super) fn observe(&mut self, verdict: Option<Kind>, count: u32, size: u32) -> Option<EventKind> {
        if !self.is_open() {
            let kind = verdict?;
            let (peak, reported) = (less_one(count), less_one(size));
            *self = Self { below_since: 0, peak, reported, state: State::Above, kind };
            return Some(EventKind::Hit);
        }
        if verdict.is_some() {
            self.state = State::Above;
        }
        self.peak = self.peak.max(less_one(count));
        if size < (u32::from(self.reported) + 1) * GROWN {
            return None;
        }
        self.reported = less_one(size);
        Some(EventKind::Grown)
    }

    /// Time passed without a probe: the count fell below the threshold in this quantum.
    pub(super) fn fall(&mut self, quantum: u64) {
        self.below_since = quantum;
        self.state = State::Below;
    }

    /// When the scan ends (ended), if no probe brings it back above the threshold; `None` if it is above, or none is open.
    #[inline]
    pub(super) fn ends_at(&self, quantum_nanos: u64, quiet_nanos: u64) -> Option<u64> {
        self.is_below().then(|| (self.below_since * quantum_nanos).saturating_add(quiet_nanos))
    }

    /// Ends the scan.
    pub(super) fn end(&mut self) {
        self.state = State::Closed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTUM: u64 = 1_000;
    const QUIET: u64 = 60_000;

    /// An episode under a threshold of 20, by a rule that counts ports.
    struct Watched(Episode);

    impl Watched {
        fn new() -> Self {
            Self(Episode::NONE)
        }

        /// So many ports count, of so many since the scan began.
        fn counts_of(&mut self, ports: u32, union: u32) -> Option<EventKind> {
            self.0.observe((ports >= 20).then_some(Kind::Vertical), ports, union)
        }

        fn counts(&mut self, ports: u32) -> Option<EventKind> {
            self.counts_of(ports, ports)
        }
    }

    #[test]
    fn a_hit_opens_it_once() {
        let mut source = Watched::new();
        assert_eq!(source.counts(19), None);
        assert!(!source.0.is_open());
        assert_eq!(source.counts(20), Some(EventKind::Hit));
        assert_eq!(source.counts(21), None);
        assert_eq!((source.0.is_open(), source.0.kind(), source.0.peak()), (true, Kind::Vertical, 21));
    }

    #[test]
    fn it_is_reported_again_at_tenfold_and_not_before() {
        let mut source = Watched::new();
        source.counts(20);
        assert_eq!(source.counts(199), None);
        assert_eq!(source.counts(200), Some(EventKind::Grown));
        assert_eq!(source.counts(1_999), None);
        assert_eq!(source.counts(2_000), Some(EventKind::Grown));
        assert_eq!(source.counts(65_536), Some(EventKind::Grown), "20,000 on the way were not looked at");
        assert_eq!(source.counts(65_536), None, "tenfold of that there is not");
        assert_eq!(source.0.peak(), 65_536);
    }

    #[test]
    fn what_grows_is_the_union_and_not_the_count() {
        let mut source = Watched::new();
        source.counts(20);
        assert_eq!(source.counts_of(25, 200), Some(EventKind::Grown));
        assert_eq!(source.0.peak(), 25);
    }

    #[test]
    fn quiet_ends_it() {
        let mut source = Watched::new();
        source.counts(20);
        assert_eq!(source.0.ends_at(QUANTUM, QUIET), None, "above the threshold it does not end");
        source.0.fall(7);
        assert!(source.0.is_open() && source.0.is_below());
        assert_eq!(source.0.ends_at(QUANTUM, QUIET), Some(7 * QUANTUM + QUIET));
        source.0.end();
        assert_eq!((source.0.is_open(), source.0.ends_at(QUANTUM, QUIET)), (false, None));
        assert_eq!(source.counts(20), Some(EventKind::Hit), "what comes next is another scan");
    }

    #[test]
    fn a_probe_below_the_threshold_does_not_stop_quiet_and_one_above_does() {
        let mut source = Watched::new();
        source.counts(20);
        source.0.fall(7);
        assert_eq!(source.counts(3), None);
        assert!(source.0.is_below(), "three ports are no scan that goes on");
        assert_eq!(source.counts(20), None, "the same scan");
        assert!(source.0.is_above() && !source.0.is_below());
    }

    #[test]
    fn time_that_runs_out_does_not_wrap() {
        let mut source = Watched::new();
        source.counts(20);
        source.0.fall(u64::MAX / QUANTUM);
        assert_eq!(source.0.ends_at(QUANTUM, u64::MAX), Some(u64::MAX));
    }
}
