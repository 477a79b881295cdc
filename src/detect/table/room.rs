//! A slot for a new source: which one, and whose it was.

use crate::detect::table::directory::Directory;
use crate::detect::table::keys::Spot;
use crate::detect::table::probation::Probation;
use crate::detect::table::set::{self, Set, SlotKind, WAYS};
use crate::detect::time::quantum::Stamp;

/// What became of a slot that was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vacated {
    /// It was free.
    Free,
    /// A source on probation had it, whose time was over; its burst is finished.
    Over(Probation),
    /// A source on probation had it that might have come back.
    Probation(Probation),
    /// Sources with rows have all sixteen slots, and this row is the weakest of them: its slot can be taken once the row is
    /// freed.
    Row(u32),
}

impl Vacated {
    /// A source on probation had it.
    #[inline]
    fn of(source: Probation, now: Stamp) -> Self {
        if source.is_over(now) { Self::Over(source) } else { Self::Probation(source) }
    }
}

impl Directory {
    /// A slot for a new source, to be written next: a free one, or that of the oldest source on probation, or that of the row
    /// with the least `rank`. No row is evicted while there is a source on probation, here or next door; one that may come back within
    /// `pace` quanta goes only if it is the oldest of both sets.
    #[inline]
    pub(crate) fn make_room<R: Ord>(
        &mut self,
        spot: Spot,
        now: Stamp,
        pace: u8,
        rank: impl Fn(u32) -> R,
    ) -> (usize, Vacated) {
        let (home, slots) = self.set(spot);
        let (way, kind) = set::expendable(slots, now);
        let source = Probation::of(slots[way], slots[WAYS + way]);
        match kind {
            SlotKind::Free => (home * WAYS + way, Vacated::Free),
            // In an ordinary flood every set is full of sources on probation that are long gone: to look next door would only cost
            // time.
            SlotKind::Probation if source.age(now) > pace && !self.has_room() => {
                (home * WAYS + way, Vacated::of(source, now))
            }
            SlotKind::Probation | SlotKind::Row => self.make_room_next_door(spot, now, (way, kind), rank),
        }
    }

    /// The same where the neighbouring set may have a better slot than this one of its own.
    #[inline(never)]
    fn make_room_next_door<R: Ord>(
        &mut self,
        spot: Spot,
        now: Stamp,
        own: (usize, SlotKind),
        rank: impl Fn(u32) -> R,
    ) -> (usize, Vacated) {
        let (home, slots) = self.set(spot);
        let (mut index, (mut way, mut kind)) = (home, own);
        let next = &self.sets.as_slice()[home ^ 1];
        let age = |set: &Set, way: usize| Probation::of(set[way], set[WAYS + way]).age(now);
        let (next_way, next_kind) = set::expendable(next, now);
        let is_better = match next_kind {
            SlotKind::Free => true,
            SlotKind::Probation => kind == SlotKind::Row || age(next, next_way) > age(slots, way),
            SlotKind::Row => false,
        };
        if is_better {
            (index, way, kind) = (home ^ 1, next_way, next_kind);
        }
        let slots = &self.sets.as_slice()[index];
        let at = index * WAYS + way;
        match kind {
            SlotKind::Free => (at, Vacated::Free),
            SlotKind::Probation => (at, Vacated::of(Probation::of(slots[way], slots[WAYS + way]), now)),
            SlotKind::Row => {
                let slots = (0..2 * WAYS).map(|n| (home ^ (n / WAYS)) * WAYS + n % WAYS);
                let weakest = slots.min_by_key(|&at| rank(self.slot(at).1)).unwrap_or(at);
                (weakest, Vacated::Row(self.slot(weakest).1))
            }
        }
    }
}
