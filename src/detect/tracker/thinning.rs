//! Which new sources a slower rule looks at in a flood.
//!
//! The adversary spoofs a new source with every packet, for longer than a slow scanner waits between two ports: it would be forgotten
//! at the door each time, and nobody found. So while the doorkeeper loses sources that could come back, only a share of the new
//! ones is looked at, by their hashes: of these it remembers each for long enough. The others are counted as given up.

use crate::detect::table::Spot;
use crate::detect::tuning::{MOST_THINNED_BITS, THINNED_AFTER};

/// The share of the new sources that is looked at: one in two to this power.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thinning {
    bits: u32,
    /// Sources that were lost since the share changed.
    lost: u64,
    /// That many more, and the share is halved; never by the first rule, which has the greater doorkeeper and the shorter memory.
    most_lost: u64,
    /// The quantum of the latest change.
    quantum: u64,
}

impl Thinning {
    /// All sources are looked at, whatever comes.
    pub(super) const NEVER: Self = Self { bits: 0, lost: 0, most_lost: u64::MAX, quantum: 0 };

    /// For a doorkeeper of so many slots.
    pub(super) fn of(slots: u64) -> Self {
        Self { most_lost: (slots / THINNED_AFTER).max(1), ..Self::NEVER }
    }

    /// Whether a new source is looked at.
    #[inline]
    pub(super) fn takes(&self, spot: Spot) -> bool {
        self.bits == 0 || spot.is_in_share(self.bits)
    }

    /// A source that could have come back was given up at the door.
    #[inline]
    pub(super) fn lose(&mut self, quantum: u64) {
        self.lost += 1;
        if self.lost >= self.most_lost {
            (self.lost, self.quantum) = (0, quantum);
            self.bits = (self.bits + 1).min(MOST_THINNED_BITS);
        }
    }

    /// Time passed. Where there is room again all sources are looked at; where nobody was lost for a quantum, twice as many.
    pub(super) fn pass(&mut self, quantum: u64, has_room: bool) {
        if has_room {
            self.bits = 0;
        } else if quantum > self.quantum {
            self.bits -= u32::from(self.bits > 0 && self.lost == 0);
            (self.lost, self.quantum) = (0, quantum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_halved_by_losses_and_doubled_by_peace() {
        let mut thinning = Thinning::of(80);
        let lose = |thinning: &mut Thinning, lost: u64| (0..lost).for_each(|_| thinning.lose(5));
        lose(&mut thinning, 9);
        assert_eq!(thinning.bits, 0);
        lose(&mut thinning, 11);
        assert_eq!(thinning.bits, 2);
        thinning.pass(5, false);
        assert_eq!(thinning.bits, 2, "within the same quantum nothing changes");
        thinning.pass(6, false);
        assert_eq!(thinning.bits, 1);
        lose(&mut thinning, 1);
        thinning.pass(7, false);
        assert_eq!(thinning.bits, 1, "somebody was lost");
        thinning.pass(7, true);
        assert_eq!(thinning.bits, 0, "there is room");
        lose(&mut thinning, 1_000_000);
        assert_eq!(thinning.bits, MOST_THINNED_BITS);
        let mut never = Thinning::NEVER;
        lose(&mut never, 1_000_000);
        assert_eq!(never.bits, 0);
    }
}
