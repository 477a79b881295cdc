//! Hints: two bits of each set for each kind of tag that its sources have. A slow rule passes over nearly all forged sources of a flood,
//! and most by these alone.

use crate::detect::memory::prefetch;
use crate::detect::table::directory::Directory;
use crate::detect::table::keys::Spot;
use crate::detect::table::set::{AWAY, Head, TAG_SHIFT, WAYS};

impl Directory {
    /// Whether a source is certainly in no slot, as far as hints tell: its set need not be in the cache for that.
    #[inline(always)]
    pub(crate) fn is_nowhere(&self, spot: Spot) -> bool {
        let hint = hint(Self::wanted(spot));
        self.hints.get(spot.set as usize).is_some_and(|hints| hints & hint != hint)
    }

    /// Has what that looks at brought into the cache.
    #[inline(always)]
    pub(crate) fn prefetch_hints(&self, spot: Spot) {
        if let Some(hints) = self.hints.get(spot.set as usize) {
            prefetch(hints);
        }
    }

    /// A head was put in a set in the place of another.
    #[inline(never)]
    pub(super) fn note_hints(&mut self, set: usize, before: Head, head: Head) {
        let [(old, gone), (new, bits)] = [before, head].map(|head| (home(set, head), hint(head)));
        self.hints[new] |= bits;
        // In a flood one comes in the place of another all the time, and soon every bit would be set.
        if gone != 0 && (old, gone) != (new, bits) {
            self.renew_hints_of(old);
        }
    }

    /// A source that belongs to a set went: so do its bits, if no other has them.
    fn renew_hints_of(&mut self, set: usize) {
        let sets = self.sets.as_slice();
        let of = |at: usize, away: Head| {
            let belong = move |head: &&Head| **head & AWAY == away;
            sets[at][..WAYS].iter().filter(belong).fold(0, |hints, &head| hints | hint(head))
        };
        self.hints[set] = of(set, 0) | if self.has_overflowed(set) { of(set ^ 1, AWAY) } else { 0 };
    }

    /// The same of all sets.
    pub(super) fn renew_hints(&mut self) {
        if self.hints.is_empty() {
            return;
        }
        self.hints.fill(0);
        for (at, set) in self.sets.as_slice().iter().take(self.hints.len()).enumerate() {
            for &head in &set[..WAYS] {
                self.hints[home(at, head)] |= hint(head);
            }
        }
    }
}

/// The set to which the source of a slot belongs, which lives in this one.
#[inline(always)]
fn home(set: usize, head: Head) -> usize {
    set ^ usize::from(head & AWAY != 0)
}

/// The bits of a slot among the hints of its set, two as in a Bloom filter; a free one has none. Of the sources of a share of all
/// (`Spot::is_in_share`) one of them is nearly always the same, so that those who are not in it are told from them.
#[inline(always)]
fn hint(head: Head) -> u64 {
    let (is_taken, tag) = (u64::from(head != 0), head >> TAG_SHIFT);
    is_taken << (tag % u64::BITS) | is_taken << (tag / u64::BITS % u64::BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::table::Vacated;
    use crate::detect::table::directory::Found;
    use crate::detect::table::probation::Probation;
    use proptest::prelude::*;
    use std::hash::BuildHasher;

    proptest! {
        /// Whoever is said to be nowhere is nowhere, whatever came and went, and nothing is left of those who went.
        #[test]
        fn who_is_nowhere_by_the_hints_has_no_slot(steps in prop::collection::vec((0..4_u8, 0..300_u32), 1..600)) {
            let mut directory = Directory::with_hints(64 * 16, 3).unwrap();
            let spot = |directory: &Directory, n: u32| directory.spot(foldhash::quality::FixedState::with_seed(5).hash_one(n));
            for (step, n) in steps {
                let here = spot(&directory, n);
                match (step, directory.find(here, |row| row == n)) {
                    (0 | 1, (_, Found::Nothing)) => {
                        let (at, displaced) = directory.make_room(here, 1, 0, |row| row);
                        if let Vacated::Row(_) = displaced {
                            directory.clear(at);
                        }
                        match step {
                            0 => directory.put_row(at, here, n),
                            _ => directory.put_on_probation(at, here, Probation::new(80, here.fingerprint, 1)),
                        }
                    }
                    (2, (at, Found::Row(_) | Found::Probation)) => directory.clear(at),
                    (3, _) if n % 50 == 0 => directory.sweep(1, false, |_| ()),
                    _ => {}
                }
                let told = directory.hints.clone();
                directory.renew_hints();
                prop_assert_eq!(told, directory.hints.clone(), "nothing is left of those who went");
                for n in 0..300 {
                    let there = spot(&directory, n);
                    prop_assert!(!directory.is_nowhere(there) || directory.find(there, |row| row == n).1 == Found::Nothing);
                }
            }
            for at in 0..directory.capacity() as usize {
                directory.clear(at);
            }
            prop_assert!(directory.hints.iter().all(|&hints| hints == 0));
        }
    }

    #[test]
    fn without_hints_nobody_is_said_to_be_nowhere() {
        let directory = Directory::new(64 * 16, 1).unwrap();
        assert!(!directory.is_nowhere(Spot::at(0, 1)));
    }
}
