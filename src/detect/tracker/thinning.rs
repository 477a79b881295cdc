//! Which new sources a slower rule looks at in a flood.
//!
//! The adversary spoofs a new source with every packet, for longer than a slow scanner waits between two ports: it would be forgotten
//! at the door each time, and nobody found. So while the doorkeeper loses sources that could come back, only a share of the new
//! ones is looked at, by their hashes: of these it remembers each for long enough. The others are counted as given up.

use crate::detect::table::Spot;
use crate::detect::time::present::Present;
use crate::detect::tuning::{LEAST_FLOOD, MOST_THINNED_BITS, THINNED_AFTER};

/// The share of the new sources that is looked at: one in two to this power.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thinning {
    bits: u32,
    /// Sources that were lost since this moment, in nanoseconds.
    lost: u64,
    since: u64,
    /// That many more, and the share is made smaller; never by the first rule, which has the greater doorkeeper and the shorter memory.
    most_lost: u64,
    /// The quantum of the latest change.
    quantum: u64,
}

impl Thinning {
    /// All sources are looked at, whatever comes.
    pub(super) const NEVER: Self = Self { bits: 0, lost: 0, since: 0, most_lost: u64::MAX, quantum: 0 };

    /// For a doorkeeper of so many slots.
    pub(super) fn of(slots: u64) -> Self {
        Self { most_lost: (slots / THINNED_AFTER).max(1), ..Self::NEVER }
    }

    /// Whether it looks at a share only.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.bits > 0
    }

    /// Whether a new source is looked at.
    #[inline]
    pub(super) fn takes(&self, spot: Spot) -> bool {
        self.bits == 0 || spot.is_in_share(self.bits)
    }

    /// A source that could have come back was given up at the door. The share is halved for that; and the faster so many were lost, the more
    /// often, as if the flood went on for a part of a quantum at least: else it would be over before the share is small enough.
    #[inline]
    pub(super) fn lose(&mut self, now: u64, present: &Present) {
        self.lost += 1;
        if self.lost >= self.most_lost {
            let took = now.saturating_sub(self.since).max(1);
            let too_many = present.quantum_nanos / LEAST_FLOOD / took;
            self.bits = (self.bits + 1 + too_many.max(1).ilog2()).min(MOST_THINNED_BITS);
            (self.lost, self.since, self.quantum) = (0, now, present.quantum);
        }
    }

    /// Time passed. Where there is room again all sources are looked at; where nobody was lost for a quantum, twice as many.
    pub(super) fn pass(&mut self, now: u64, quantum: u64, has_room: bool) {
        if has_room {
            (self.bits, self.lost, self.since) = (0, 0, now);
        } else if quantum > self.quantum {
            self.bits -= u32::from(self.bits > 0 && self.lost == 0);
            (self.lost, self.since, self.quantum) = (0, now, quantum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTUM: u64 = 60_000_000_000;

    /// So many are lost in this time, in nanoseconds, from this moment on.
    fn lose(thinning: &mut Thinning, lost: u64, from: u64, over: u64) {
        let mut present = Present::new(60 * QUANTUM, QUANTUM);
        for n in 1..=lost {
            let now = from + over * n / lost;
            present.set(now);
            thinning.lose(now, &present);
        }
    }

    #[test]
    fn the_share_is_halved_by_losses_and_doubled_by_peace() {
        let mut thinning = Thinning::of(80);
        thinning.pass(5 * QUANTUM, 5, true);
        lose(&mut thinning, 9, 5 * QUANTUM, QUANTUM / 3);
        assert_eq!(thinning.bits, 0);
        lose(&mut thinning, 11, 5 * QUANTUM + QUANTUM / 3, QUANTUM / 2);
        assert_eq!(thinning.bits, 2);
        thinning.pass(6 * QUANTUM - 1, 5, false);
        assert_eq!(thinning.bits, 2, "within the same quantum nothing changes");
        thinning.pass(6 * QUANTUM, 6, false);
        assert_eq!(thinning.bits, 1);
        lose(&mut thinning, 1, 6 * QUANTUM, QUANTUM / 2);
        thinning.pass(7 * QUANTUM, 7, false);
        assert_eq!(thinning.bits, 1, "somebody was lost");
        thinning.pass(7 * QUANTUM, 7, true);
        assert_eq!(thinning.bits, 0, "there is room");
        lose(&mut thinning, 1_000_000, 7 * QUANTUM, QUANTUM);
        assert_eq!(thinning.bits, MOST_THINNED_BITS);
        let mut never = Thinning::NEVER;
        lose(&mut never, 1_000_000, 0, QUANTUM);
        assert_eq!(never.bits, 0);
    }

    #[test]
    fn a_fast_flood_has_its_share_at_once_and_a_slow_one_by_halves() {
        // The quantum divided by this is how long it took to lose ten: bits for that.
        for (part, bits) in
            [(1, 1), (16, 1), (31, 1), (32, 2), (64, 3), (16 << 7, 8), (16 << 20, MOST_THINNED_BITS)]
        {
            let mut thinning = Thinning::of(80);
            thinning.pass(5 * QUANTUM, 5, true);
            lose(&mut thinning, 10, 5 * QUANTUM, QUANTUM / part);
            assert_eq!(thinning.bits, bits, "in a part of {part}");
        }
    }
}
