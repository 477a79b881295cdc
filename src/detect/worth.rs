//! Which of two sources rather has a series, where there is not one for each.

use crate::detect::scan::{Grade, Source};
use std::cmp::Reverse;

/// The greater first has a series. The adversary forges scanners by the hundred, each as wide as he likes and at ports that answer, to
/// push a real one out; what he cannot forge is that a source read an answer. So of those that scan such ones come first. Of those
/// that do not it says nothing: every client completes handshakes. Then the peak counts, then whether anything answered, then who
/// came last; the address makes the order total, so that nobody comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(Option<Grade>, u64, bool, u64, Reverse<Source>);

impl Rank {
    /// Of a source with this peak under a threshold, which probed last at a time.
    pub(super) fn of(
        source: Source,
        (peak, threshold): (u32, u32),
        evidence: Grade,
        is_answered: bool,
        last_probe: u64,
    ) -> Self {
        let scans = (peak >= threshold).then_some(evidence);
        // Peaks of several rules are compared as multiples of their thresholds. These are at most 65,536: no two different multiples are
        // closer than this.
        let multiple = (u64::from(peak) << 32) / u64::from(threshold.max(1));
        Self(scans, multiple, is_answered, last_probe, Reverse(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_proved_to_be_there_comes_first_if_he_scans() {
        let source = |n: u8| Source::of([198, 51, 100, n].into(), 64);
        let (forged, proved) = (Grade::Spoofable, Grade::Handshake);
        let order = [
            Rank::of(source(1), (20, 20), proved, true, 1),
            Rank::of(source(2), (1_000, 20), forged, true, 9),
            Rank::of(source(3), (1_000, 20), forged, false, 9),
            Rank::of(source(4), (1_000, 20), forged, false, 8),
            Rank::of(source(5), (1_000, 20), forged, false, 8),
            // By a rule of 60 ports.
            Rank::of(source(5), (61, 60), forged, true, 9),
            Rank::of(source(6), (20, 20), forged, true, 9),
            Rank::of(source(7), (19, 20), forged, false, 9),
            Rank::of(source(8), (18, 20), proved, true, 9),
        ];
        assert!(order.windows(2).all(|two| two[0] > two[1]), "{order:?}");
    }
}
