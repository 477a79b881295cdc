//! The slot of every source: where to find it, and what to evict for a new one.

use crate::detect::memory::{Lines, OutOfMemory, prefetch, room_for, zeros};
use crate::detect::table::keys::{Keys, Spot};
use crate::detect::table::moving::Moving;
use crate::detect::table::probation::{Fingerprint, Probation, Ruling};
use crate::detect::table::set::{self, AWAY, GAP, HAS_ROW, Head, OCCUPIED, STAMP, Set, TAG, TAG_SHIFT, WAYS};
use crate::detect::time::quantum::Stamp;
use crate::detect::tuning::QUANTA;

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

/// Every source's slot of eight bytes, in sets of one cache line. Those with rows are compared by address, those
/// on probation by a keyed hash: at least 49 bits of it while one port is kept, 33 with two, which is in a full table only.
///
/// Chance alone brings nine sources to one set while most others are empty, and the ninth must not be a scanner that goes
/// unseen: a source whose own set is full of rows, or full while there is room elsewhere, gets a slot *away*, in the
/// neighbouring set. If rows fill both, the weakest of the sixteen is evicted.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(super) sets: Lines,
    keys: Keys,
    on_probation: u64,
    /// Slots that are not free.
    taken: u64,
    /// One bit for each set: whether some of its sources live away, now. Only then the neighbour is asked for them: in a flood that
    /// spares each new source a cache line.
    overflowed: Vec<u64>,
    /// Two bits of each set for each kind of tag that its sources have, wherever they live; empty unless asked for by `with_hints`. They
    /// say of most sources that they are in no slot, and are so few that they stay in the cache.
    pub(super) hints: Vec<u64>,
    /// Room for all of a part while its key is replaced.
    moving: Vec<Moving>,
}

impl Directory {
    /// Room for at least 128 sources, in at most `bytes`, of which an eighth may stay unused. `secret` decides who
    /// shares a set.
    pub(crate) fn new(bytes: usize, secret: u64) -> Result<Self, OutOfMemory> {
        Self::with(bytes, secret, false)
    }

    /// The same, and beside it hints, an eighth as large.
    pub(crate) fn with_hints(bytes: usize, secret: u64) -> Result<Self, OutOfMemory> {
        Self::with(bytes, secret, true)
    }

    fn with(bytes: usize, secret: u64, has_hints: bool) -> Result<Self, OutOfMemory> {
        let keys = Keys::new(bytes, secret)?;
        Ok(Self {
            hints: zeros(if has_hints { keys.sets() } else { 0 })?,
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
        self.keys.sets() * size_of::<Set>()
            + self.hints.len() * size_of::<u64>()
            + self.moving.capacity() * size_of::<Moving>()
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
    #[inline(always)]
    pub(crate) fn spot(&self, hash: u64) -> Spot {
        self.keys.spot(hash)
    }

    #[inline]
    pub(super) fn set(&self, spot: Spot) -> (usize, &Set) {
        let at = spot.set as usize;
        (at, &self.sets.as_slice()[at])
    }

    #[inline]
    pub(super) fn has_overflowed(&self, set: usize) -> bool {
        self.overflowed[set / 64] >> (set % 64) & 1 != 0
    }

    /// The head that a source has in its own set, but for what kind it is.
    #[inline]
    pub(super) fn wanted(spot: Spot) -> Head {
        OCCUPIED | spot.tag << TAG_SHIFT
    }

    /// The same for a slot wherever it is.
    #[inline]
    fn wanted_at(at: usize, spot: Spot) -> Head {
        Self::wanted(spot) | if at / WAYS == spot.set as usize { 0 } else { AWAY }
    }

    #[inline]
    pub(super) fn slot(&self, at: usize) -> (Head, u32) {
        let set = &self.sets.as_slice()[at / WAYS];
        (set[at % WAYS], set[WAYS + at % WAYS])
    }

    /// Writes a slot. The head that it had.
    #[inline]
    fn write(&mut self, at: usize, head: Head, tail: u32) -> Head {
        let set = &mut self.sets.as_mut_slice()[at / WAYS];
        let before = std::mem::replace(&mut set[at % WAYS], head);
        set[WAYS + at % WAYS] = tail;
        if (before | head) & AWAY != 0 {
            self.note_overflow(at / WAYS);
        }
        if !self.hints.is_empty() {
            self.note_hints(at / WAYS, before, head);
        }
        before
    }

    /// A source from next door was put in a set, or is no longer there.
    fn note_overflow(&mut self, set: usize) {
        let has_away = self.sets.as_slice()[set][..WAYS].iter().fold(0, |all, head| all | head) & AWAY != 0;
        let (word, bit) = ((set ^ 1) / 64, 1 << ((set ^ 1) % 64));
        if has_away { self.overflowed[word] |= bit } else { self.overflowed[word] &= !bit }
    }

    /// Has the set of a source brought into the cache. (What says whether the source may be next door is so little that it is there.)
    #[inline(always)]
    pub(crate) fn prefetch(&self, spot: Spot) {
        prefetch(self.set(spot).1);
    }

    /// A while later: has the neighbouring set brought into the cache, if the source may be there. (Without a branch: it could be
    /// mispredicted.)
    #[inline(always)]
    pub(crate) fn prefetch_next_door(&self, spot: Spot) {
        let home = self.set(spot).0;
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

    /// Finds a source. `is` compares a row with it. Most are nowhere, or are alone with their tag.
    #[inline]
    pub(crate) fn find(&self, spot: Spot, is: impl Fn(u32) -> bool) -> (usize, Found) {
        let (home, set) = self.set(spot);
        let held = set::holding(set, Self::wanted(spot));
        let mut found = None;
        if held != 0 {
            found = self.found_among(home, held, spot.fingerprint, &is);
        }
        if found.is_none() && self.has_overflowed(home) {
            let held = set::holding(&self.sets.as_slice()[home ^ 1], Self::wanted(spot) | AWAY);
            if held != 0 {
                found = self.found_among(home ^ 1, held, spot.fingerprint, &is);
            }
        }
        found.unwrap_or((home * WAYS, Found::Nothing))
    }

    /// The source itself, among these ways of a set that hold its tag.
    fn found_among(
        &self,
        at: usize,
        mut found: u32,
        fingerprint: Fingerprint,
        is: &impl Fn(u32) -> bool,
    ) -> Option<(usize, Found)> {
        let set = &self.sets.as_slice()[at];
        while found != 0 {
            let way = found.trailing_zeros() as usize;
            let (head, tail) = (set[way], set[WAYS + way]);
            let found_here = match head & HAS_ROW {
                0 => Probation::of(head, tail).may_be(fingerprint).then_some(Found::Probation),
                _ => is(tail).then_some(Found::Row(tail)),
            };
            if let Some(place) = found_here {
                return Some((at * WAYS + way, place));
            }
            found &= found - 1;
        }
        None
    }

    /// Puts a source on probation where there is room, or in its own slot.
    #[inline]
    pub(crate) fn put_on_probation(&mut self, at: usize, spot: Spot, source: Probation) {
        let before = self.write(at, Self::wanted_at(at, spot) | source.times(), source.tail());
        let was_free = u64::from(before == 0);
        self.on_probation += was_free;
        self.taken += was_free;
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
        let head = self.write(at, 0, 0);
        self.on_probation -= u64::from(head != 0 && head & HAS_ROW == 0);
        self.taken -= u64::from(head != 0);
    }

    /// Frees the slots of sources on probation whose time is over, before their stamps could come round again.
    pub(crate) fn sweep(&mut self, now: Stamp, all: bool, mut finished: impl FnMut(Probation)) {
        if self.on_probation == 0 {
            return;
        }
        for at in 0..self.sets.as_slice().len() {
            let set = &mut self.sets.as_mut_slice()[at];
            if !all && !set::holds_one_longer_than(QUANTA as u8, set, now) {
                continue;
            }
            let (heads, tails) = set.split_at_mut(WAYS);
            let mut gone = 0;
            for (head, tail) in heads.iter_mut().zip(tails) {
                if *head & (OCCUPIED | HAS_ROW) != OCCUPIED {
                    continue;
                }
                let source = Probation::of(*head, *tail);
                if all || source.is_over(now) {
                    finished(source);
                    gone |= *head;
                    (*head, *tail) = (0, 0);
                    self.on_probation -= 1;
                    self.taken -= 1;
                }
            }
            if gone & AWAY != 0 {
                self.note_overflow(at);
            }
        }
        self.renew_hints();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::table::Vacated;
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
