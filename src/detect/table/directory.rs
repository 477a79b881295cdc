//! The slot of every source: where to find it, and what to evict for a new one.

use crate::detect::memory::{Lines, OutOfMemory, prefetch, room_for, zeros};
use crate::detect::table::keys::{Keys, Spot};
use crate::detect::table::moving::Moving;
use crate::detect::table::probation::{Fingerprint, Probation, Ruling};
use crate::detect::table::set::{
    self, AWAY, GAP, HAS_ROW, Head, OCCUPIED, STAMP, Set, SlotKind, TAG, TAG_SHIFT, WAYS,
};
use crate::detect::time::quantum::Stamp;

/// Where a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It has a row.
    Row(u32),
    /// It is on probation.
    Probation,
    /// It has no slot.
    Nothing,
}

impl Found {
    /// Its row, if it has one.
    pub(crate) fn row(self) -> Option<u32> {
        match self {
            Found::Row(row) => Some(row),
            Found::Probation | Found::Nothing => None,
        }
    }
}

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

/// Every source's slot of eight bytes, in sets of one cache line. Those with rows are compared by address, those
/// on probation by a keyed hash: at least 49 bits of it while one port is kept, 33 with two, which is in a full table only.
///
/// Chance alone brings nine sources to one set while most others are empty, and the ninth must not be a scanner that goes
/// unseen: a source whose own set is full of rows, or full while there is room elsewhere, gets a slot *away*, in the
/// neighbouring set. If rows fill both, the weakest of the sixteen is evicted.
#[derive(Debug)]
pub(crate) struct Directory {
    sets: Lines,
    keys: Keys,
    on_probation: u64,
    /// Slots that are not free.
    taken: u64,
    /// One bit for each set: whether some of its sources live away. Only then the neighbour is asked for them.
    overflowed: Vec<u64>,
    /// Room for all of a part while its key is replaced.
    moving: Vec<Moving>,
}

impl Directory {
    /// Room for at least 128 sources, in at most `bytes`, of which an eighth may stay unused. `secret` decides who
    /// shares a set.
    pub(crate) fn new(bytes: usize, secret: u64) -> Result<Self, OutOfMemory> {
        let keys = Keys::new(bytes, secret)?;
        Ok(Self {
            sets: Lines::new(keys.sets())?,
            on_probation: 0,
            taken: 0,
            overflowed: zeros(keys.sets().div_ceil(64))?,
            moving: room_for(WAYS * keys.sets_of_part())?,
            keys,
        })
    }

    /// Parts, each with a key of its own.
    pub(crate) fn parts(&self) -> u64 {
        self.keys.parts()
    }

    /// Replaces the key of the part whose turn it is and takes all of it out; each must be put in anew, in this order.
    pub(crate) fn rekey(&mut self, now: Stamp) -> Vec<Moving> {
        let replaced = self.keys.replace();
        let mut moving = std::mem::take(&mut self.moving);
        for set in self.keys.sets_in(replaced) {
            self.overflowed[set / 64] &= !(1 << (set % 64));
            for way in 0..WAYS {
                let (head, tail) = self.slot(set * WAYS + way);
                if head == 0 {
                    continue;
                }
                self.clear(set * WAYS + way);
                let tag = (head & TAG) >> TAG_SHIFT;
                let home = if head & AWAY == 0 { set } else { set ^ 1 };
                let set = self.keys.moved(home as u32, tag, replaced);
                moving.push(Moving { set, head: head & !AWAY, tail });
            }
        }
        moving.sort_unstable_by_key(|slot| (slot.turn(now), slot.set));
        moving
    }

    /// Puts a slot that was taken out where there is room. Returns the row of its source, if it has one.
    pub(crate) fn put_moved(&mut self, at: usize, moved: Moving) -> Option<u32> {
        let has_row = moved.head & HAS_ROW != 0;
        self.clear(at);
        self.taken += 1;
        self.on_probation += u64::from(!has_row);
        let away = if at / WAYS == moved.set as usize { 0 } else { AWAY };
        self.write(at, moved.head | away, moved.tail);
        has_row.then_some(moved.tail)
    }

    /// All of a part is put in: its room is kept for the next.
    pub(crate) fn end_rekey(&mut self, mut moving: Vec<Moving>) {
        moving.clear();
        self.moving = moving;
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.sets() * size_of::<Set>() + self.moving.capacity() * size_of::<Moving>()
    }

    /// Slots in all.
    pub(crate) fn capacity(&self) -> u64 {
        (self.keys.sets() * WAYS) as u64
    }

    /// Whether half of the slots are free.
    pub(crate) fn has_room(&self) -> bool {
        self.taken * 2 < self.capacity()
    }

    /// Sources on probation.
    pub(crate) fn on_probation(&self) -> u64 {
        self.on_probation
    }

    /// Where the source of a hash belongs. All parts of the hash must be good.
    #[inline]
    pub(crate) fn spot(&self, hash: u64) -> Spot {
        self.keys.spot(hash)
    }

    #[inline]
    fn set(&self, spot: Spot) -> (usize, &Set) {
        let at = spot.set as usize;
        (at, &self.sets.as_slice()[at])
    }

    #[inline]
    fn has_overflowed(&self, set: usize) -> bool {
        self.overflowed[set / 64] >> (set % 64) & 1 != 0
    }

    /// The head that a source has in its own set, but for what kind it is.
    #[inline]
    fn wanted(spot: Spot) -> Head {
        OCCUPIED | spot.tag << TAG_SHIFT
    }

    /// The same for a slot wherever it is.
    #[inline]
    fn wanted_at(at: usize, spot: Spot) -> Head {
        Self::wanted(spot) | if at / WAYS == spot.set as usize { 0 } else { AWAY }
    }

    #[inline]
    fn slot(&self, at: usize) -> (Head, u32) {
        let set = &self.sets.as_slice()[at / WAYS];
        (set[at % WAYS], set[WAYS + at % WAYS])
    }

    #[inline]
    fn write(&mut self, at: usize, head: Head, tail: u32) {
        let set = &mut self.sets.as_mut_slice()[at / WAYS];
        (set[at % WAYS], set[WAYS + at % WAYS]) = (head, tail);
    }

    /// Has the set of a source brought into the cache, and the neighbouring one if the source may be there: in a flood most sets have
    /// overflowed, and each new source is looked for in both. (Without a branch: it could be mispredicted.)
    #[inline]
    pub(crate) fn prefetch(&self, spot: Spot) {
        let (home, set) = self.set(spot);
        prefetch(set);
        prefetch(&self.sets.as_slice()[home ^ usize::from(self.has_overflowed(home))]);
    }

    /// The row that a source has, most likely: only the tag is compared.
    #[inline]
    pub(crate) fn likely_row(&self, spot: Spot) -> Option<u32> {
        let set = self.set(spot).1;
        let found = set::holding(set, Self::wanted(spot));
        if found == 0 {
            return None;
        }
        let way = found.trailing_zeros() as usize;
        (set[way] & HAS_ROW != 0).then_some(set[WAYS + way])
    }

    /// Finds a source. `is` compares a row with it.
    #[inline]
    pub(crate) fn find(&self, spot: Spot, is: impl Fn(u32) -> bool) -> (usize, Found) {
        let home = spot.set as usize;
        match self.find_in(home, Self::wanted(spot), spot.fingerprint, &is) {
            (_, Found::Nothing) if self.has_overflowed(home) => {
                self.find_in(home ^ 1, Self::wanted(spot) | AWAY, spot.fingerprint, &is)
            }
            found => found,
        }
    }

    #[inline]
    fn find_in(
        &self,
        at: usize,
        wanted: Head,
        fingerprint: Fingerprint,
        is: &impl Fn(u32) -> bool,
    ) -> (usize, Found) {
        let set = &self.sets.as_slice()[at];
        let mut found = set::holding(set, wanted);
        while found != 0 {
            let way = found.trailing_zeros() as usize;
            let (head, tail) = (set[way], set[WAYS + way]);
            let found_here = match head & HAS_ROW {
                0 => Probation::of(head, tail).may_be(fingerprint).then_some(Found::Probation),
                _ => is(tail).then_some(Found::Row(tail)),
            };
            if let Some(place) = found_here {
                return (at * WAYS + way, place);
            }
            found &= found - 1;
        }
        (at * WAYS, Found::Nothing)
    }

    /// A slot for a new source, to be written next: a free one, or that of the oldest source on probation, or that of the row
    /// with the least `rank`. No row is evicted while there is a source on probation, here or next door; one that may come back within
    /// `pace` quanta goes only if it is the oldest of both sets.
    pub(crate) fn make_room<R: Ord>(
        &mut self,
        spot: Spot,
        now: Stamp,
        pace: u8,
        rank: impl Fn(u32) -> R,
    ) -> (usize, Vacated) {
        let (home, slots) = self.set(spot);
        let (mut index, (mut way, mut kind)) = (home, set::expendable(slots, now));
        let age = |set: &Set, way: usize| Probation::of(set[way], set[WAYS + way]).age(now);
        // In an ordinary flood every set is full of sources on probation that are long gone: to look next door would only cost time.
        let asks_next_door = match kind {
            SlotKind::Free => false,
            SlotKind::Probation => age(slots, way) <= pace || self.has_room(),
            SlotKind::Row => true,
        };
        if asks_next_door {
            let next = &self.sets.as_slice()[home ^ 1];
            let (next_way, next_kind) = set::expendable(next, now);
            let is_better = match next_kind {
                SlotKind::Free => true,
                SlotKind::Probation => kind == SlotKind::Row || age(next, next_way) > age(slots, way),
                SlotKind::Row => false,
            };
            if is_better {
                self.overflowed[home / 64] |= 1 << (home % 64);
                (index, way, kind) = (home ^ 1, next_way, next_kind);
            }
        }
        let slots = &self.sets.as_slice()[index];
        let at = index * WAYS + way;
        match kind {
            SlotKind::Free => (at, Vacated::Free),
            SlotKind::Probation => {
                let source = Probation::of(slots[way], slots[WAYS + way]);
                (at, if source.is_over(now) { Vacated::Over(source) } else { Vacated::Probation(source) })
            }
            SlotKind::Row => {
                let slots = (0..2 * WAYS).map(|n| (home ^ (n / WAYS)) * WAYS + n % WAYS);
                let weakest = slots.min_by_key(|&at| rank(self.slot(at).1)).unwrap_or(at);
                if weakest / WAYS != home {
                    self.overflowed[home / 64] |= 1 << (home % 64);
                }
                (weakest, Vacated::Row(self.slot(weakest).1))
            }
        }
    }

    /// Puts a source on probation where there is room, or in its own slot.
    pub(crate) fn put_on_probation(&mut self, at: usize, spot: Spot, source: Probation) {
        let is_free = u64::from(self.slot(at).0 == 0);
        self.on_probation += is_free;
        self.taken += is_free;
        self.write(at, Self::wanted_at(at, spot) | source.times(), source.tail());
    }

    /// A source on probation asks again. It passes with a third port, or with a second if two are enough.
    #[inline]
    pub(crate) fn ask_again(
        &mut self,
        at: usize,
        spot: Spot,
        port: u16,
        now: Stamp,
        two_are_enough: bool,
    ) -> Ruling {
        let (head, tail) = self.slot(at);
        let source = Probation::of(head, tail);
        let (ruling, source) = if source.is_over(now) {
            (Ruling::Stays(Some(source)), Probation::new(port, spot.fingerprint, now))
        } else {
            match source.with(port, spot.fingerprint, now) {
                Some(source) if source.count() == 1 || !two_are_enough => (Ruling::Stays(None), source),
                _ => return Ruling::Passed(source),
            }
        };
        self.write(at, head & !(STAMP | GAP) | source.times(), source.tail());
        ruling
    }

    /// Notes the row of a source where there is room, or in the slot that it had on probation.
    pub(crate) fn put_row(&mut self, at: usize, spot: Spot, row: u32) {
        self.clear(at);
        self.taken += 1;
        self.write(at, Self::wanted_at(at, spot) | HAS_ROW, row);
    }

    /// Frees a slot.
    pub(crate) fn clear(&mut self, at: usize) {
        let (head, _) = self.slot(at);
        self.on_probation -= u64::from(head != 0 && head & HAS_ROW == 0);
        self.taken -= u64::from(head != 0);
        self.write(at, 0, 0);
    }

    /// Frees the slots of sources on probation whose time is over, before their stamps could come round again.
    pub(crate) fn sweep(&mut self, now: Stamp, all: bool, mut finished: impl FnMut(Probation)) {
        self.clear_overflow();
        if self.on_probation == 0 {
            return;
        }
        for set in self.sets.as_mut_slice() {
            let (heads, tails) = set.split_at_mut(WAYS);
            for (head, tail) in heads.iter_mut().zip(tails) {
                if *head & (OCCUPIED | HAS_ROW) != OCCUPIED {
                    continue;
                }
                let source = Probation::of(*head, *tail);
                if all || source.is_over(now) {
                    finished(source);
                    (*head, *tail) = (0, 0);
                    self.on_probation -= 1;
                    self.taken -= 1;
                }
            }
        }
    }

    /// Forgets that a set had sources away once they are gone.
    fn clear_overflow(&mut self) {
        let sets = self.sets.as_slice();
        for (word, bits) in self.overflowed.iter_mut().enumerate() {
            let mut left = *bits;
            while left != 0 {
                let set = word * 64 + left.trailing_zeros() as usize;
                if sets[set ^ 1][..WAYS].iter().all(|head| head & AWAY == 0) {
                    *bits &= !(1 << (set % 64));
                }
                left &= left - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    /// Sources of one set, with different tags.
    fn spots(set: u32, count: u32) -> Vec<Spot> {
        (0..count).map(|tag| Spot::at(set, tag)).collect()
    }

    /// Gives a source a row, if there is a slot for it.
    fn settle(directory: &mut Directory, spot: Spot, row: u32) -> bool {
        let (at, displaced) = directory.make_room(spot, 1, 0, |_| 0);
        let is_free = displaced == Vacated::Free;
        if is_free {
            directory.put_row(at, spot, row);
        }
        is_free
    }

    fn place(directory: &Directory, spot: Spot, row: u32) -> Option<usize> {
        match directory.find(spot, |other| other == row) {
            (at, Found::Row(_)) => Some(at),
            _ => None,
        }
    }

    #[test]
    fn a_full_set_sends_its_sources_next_door_and_finds_them_there() {
        let mut directory = Directory::new(64 * 16, 1).unwrap();
        let crowd = spots(4, 16);
        for (&spot, row) in crowd.iter().zip(0..) {
            assert!(settle(&mut directory, spot, row));
        }
        assert!(!settle(&mut directory, spots(4, 17)[16], 16), "sixteen is all");
        let (at, displaced) = directory.make_room(spots(4, 17)[16], 1, 0, |row| (row + 5) % 16);
        assert_eq!((at / WAYS, displaced), (5, Vacated::Row(11)), "the weakest of both sets must go");
        assert!(!settle(&mut directory, spots(5, 1)[0], 16), "the neighbour's own have no more room either");
        for (&spot, row) in crowd.iter().zip(0..) {
            let at = place(&directory, spot, row).expect("a row is found");
            assert_eq!(at / WAYS == 4, row < 8);
        }
        // Those at home leave, and those away are still found, also after a sweep.
        for (&spot, row) in crowd.iter().zip(0..8) {
            let at = place(&directory, spot, row).expect("a row is found");
            directory.clear(at);
        }
        directory.sweep(1, false, |_| ());
        for (&spot, row) in crowd.iter().zip(0..).skip(8) {
            assert_eq!(place(&directory, spot, row).map(|at| at / WAYS), Some(5));
        }
        for (&spot, row) in crowd.iter().zip(0..).skip(8) {
            let at = place(&directory, spot, row).expect("a row is found");
            assert!(directory.has_overflowed(4));
            directory.clear(at);
        }
        directory.sweep(1, false, |_| ());
        assert!(!directory.has_overflowed(4), "nobody is away any more");
    }

    #[test]
    fn a_source_away_passes_probation_there_and_is_no_other() {
        let mut directory = Directory::new(64 * 16, 1).unwrap();
        for (&spot, row) in spots(2, 8).iter().zip(0..) {
            assert!(settle(&mut directory, spot, row));
        }
        let spot = spots(2, 9)[8];
        let (at, displaced) = directory.make_room(spot, 7, 0, |_| 0);
        assert_eq!((at / WAYS, displaced), (3, Vacated::Free));
        directory.put_on_probation(at, spot, Probation::new(80, 0, 7));
        assert_eq!(directory.find(spot, |_| false), (at, Found::Probation));
        // The neighbour's own source of the same tag is another one.
        assert_eq!(directory.find(Spot { set: 3, ..spot }, |_| false).1, Found::Nothing);
        assert_eq!(directory.ask_again(at, spot, 81, 7, false), Ruling::Stays(None));
        assert_eq!(
            directory.ask_again(at, spot, 82, 7, false),
            Ruling::Passed(Probation::of_two([80, 81], 7, 0))
        );
        directory.put_row(at, spot, 8);
        assert_eq!(place(&directory, spot, 8), Some(at));
        assert_eq!(directory.on_probation(), 0);
    }

    /// Sources that shared a set do not for long, and everyone is found after any number of new keys.
    #[test]
    fn a_new_key_parts_neighbours_and_loses_none() {
        const SOURCES: u32 = 6_000;
        let mut directory = Directory::new(1 << 20, 7).unwrap();
        assert_eq!(directory.parts(), 64);
        let hash = |row: u32| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u32(row);
            hasher.finish()
        };
        let mut slots = Vec::new();
        for row in 0..SOURCES {
            let spot = directory.spot(hash(row));
            let (at, displaced) = directory.make_room(spot, 1, 0, |_| 0);
            assert_eq!(displaced, Vacated::Free);
            match row % 2 {
                0 => directory.put_row(at, spot, row),
                _ => directory.put_on_probation(at, spot, Probation::new(row as u16, spot.fingerprint, 1)),
            }
            slots.push(at);
        }
        let sets = |slots: &[usize]| slots.iter().map(|at| at / WAYS).collect::<Vec<_>>();
        let neighbours = |sets: &[usize]| {
            let pairs =
                (0..SOURCES as usize).flat_map(|a| (a + 1..(a + 400).min(sets.len())).map(move |b| (a, b)));
            pairs.filter(|&(a, b)| sets[a] == sets[b]).collect::<std::collections::BTreeSet<_>>()
        };
        let before = neighbours(&sets(&slots));
        for _ in 0..directory.parts() {
            let moving = directory.rekey(1);
            for &moved in &moving {
                let (at, displaced) = directory.make_room(moved.spot(), 1, 0, |_| 0);
                assert_eq!(displaced, Vacated::Free);
                if let Some(row) = directory.put_moved(at, moved) {
                    slots[row as usize] = at;
                }
            }
            directory.end_rekey(moving);
        }
        for row in 0..SOURCES {
            let (at, place) = directory.find(directory.spot(hash(row)), |other| other == row);
            if row % 2 == 0 {
                assert_eq!((at, place), (slots[row as usize], Found::Row(row)));
            } else {
                assert_eq!(place, Found::Probation);
                slots[row as usize] = at;
            }
        }
        assert_eq!((directory.on_probation(), directory.taken), (u64::from(SOURCES) / 2, u64::from(SOURCES)));
        let still = before.intersection(&neighbours(&sets(&slots))).count();
        assert!(before.len() > 50 && still * 20 < before.len(), "{still} of {}", before.len());
    }
}
