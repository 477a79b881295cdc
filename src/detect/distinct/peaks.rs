//! The greatest count reached within the hold: what alerts read.
//!
//! The hold is cut into 16 epochs; a peak stays for at least the hold and at most 17/16 of it.

use crate::detect::tuning::EPOCHS;

const SLOTS: usize = EPOCHS as usize + 1;

/// The greatest counts by epoch. Counts are kept less one, so that 65,536 fits; 0 and 1 read as 0 and are never
/// published. Packed, so that a row has room for the episode beside them in one cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed(2))]
pub(crate) struct Peaks {
    epoch: u64,
    greatest: [u16; SLOTS],
}

impl Peaks {
    /// Nothing reached yet.
    pub(crate) const NONE: Peaks = Peaks { epoch: 0, greatest: [0; SLOTS] };

    /// A count was reached.
    #[inline]
    pub(crate) fn reach(&mut self, epoch: u64, count: u32) {
        self.roll(epoch);
        let slot = &mut self.greatest[(self.epoch % SLOTS as u64) as usize];
        *slot = (*slot).max(count.saturating_sub(1).min(0xffff) as u16);
    }

    /// The greatest count within the hold before `epoch` ends.
    pub(crate) fn peak(mut self, epoch: u64) -> u32 {
        self.roll(epoch);
        match self.greatest.into_iter().max() {
            None | Some(0) => 0,
            Some(kept) => u32::from(kept) + 1,
        }
    }

    /// Takes the greater of both, epoch by epoch.
    pub(crate) fn merge(&mut self, mut other: Peaks) {
        let epoch = self.epoch.max(other.epoch);
        self.roll(epoch);
        other.roll(epoch);
        for (mine, theirs) in self.greatest.iter_mut().zip(other.greatest) {
            *mine = (*mine).max(theirs);
        }
    }

    #[inline]
    fn roll(&mut self, epoch: u64) {
        if epoch <= self.epoch {
            return;
        }
        let gone = (epoch - self.epoch).min(SLOTS as u64);
        for step in 0..gone {
            self.greatest[((epoch - step) % SLOTS as u64) as usize] = 0;
        }
        self.epoch = epoch;
    }
}

/// The greatest count of any source: it changes seldom, so it is compared with what this epoch has reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverallPeak {
    peaks: Peaks,
    epoch: u64,
    reached: u32,
}

impl OverallPeak {
    /// Nothing reached yet.
    pub(crate) const NONE: OverallPeak = OverallPeak { peaks: Peaks::NONE, epoch: 0, reached: 0 };

    /// A count was reached.
    #[inline]
    pub(crate) fn reach(&mut self, epoch: u64, count: u32) {
        if count > self.reached || epoch != self.epoch {
            (self.epoch, self.reached) = (epoch, count);
            self.peaks.reach(epoch, count);
        }
    }

    /// The greatest count within the hold before `epoch` ends.
    pub(crate) fn peak(&self, epoch: u64) -> u32 {
        self.peaks.peak(epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_stays_for_the_hold_and_then_the_next_greatest_shows() {
        let mut peaks = Peaks::NONE;
        peaks.reach(100, 1000);
        peaks.reach(110, 30);
        assert_eq!(peaks.peak(116), 1000);
        assert_eq!(peaks.peak(117), 30);
        assert_eq!(peaks.peak(127), 0);
    }

    #[test]
    fn every_count_up_to_all_ports_is_told() {
        for count in [2, 20, 65_535, 65_536] {
            let mut peaks = Peaks::NONE;
            peaks.reach(5, count);
            assert_eq!(peaks.peak(5), count);
        }
    }

    #[test]
    fn the_summit_is_the_greatest_of_all_sources() {
        let mut overall = OverallPeak::NONE;
        for (epoch, count) in [(100, 7), (100, 30), (100, 20), (101, 5)] {
            overall.reach(epoch, count);
        }
        assert_eq!((overall.peak(101), overall.peak(116), overall.peak(117)), (30, 30, 5));
    }
}
