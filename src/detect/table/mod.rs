//! Who holds a place: a directory of guests and residents.
//!
//! The adversary spoofs a new source with every packet, or gives each a few ports, to push a scanner out. So while
//! the table is crowded a new source is only a *guest*: eight bytes in the directory, with up to two ports in them.
//! A further port earns it an entry, whose order of leaving `eviction` knows.

pub(super) mod eviction;
pub(super) mod set;

use crate::detect::memory::{Aligned, OutOfMemory, prefetch, zeros};
use crate::detect::table::set::{
    AWAY, GAP, GAP_SHIFT, Head, Holder, OCCUPIED, RESIDENT, STAMP, Set, TAG_BITS, TAG_SHIFT, WAYS,
};
use crate::detect::time::quantum::{self, QUANTA, Stamp};

/// Where a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It has an entry.
    Resident(u32),
    /// It waits at the door.
    Guest,
    /// It is not known.
    Nowhere,
}

/// A source at the door: one or two ports, and when it asked for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    /// The ports, the older probe's first; the same twice if there is only one.
    pub ports: [u16; 2],
    /// Quantum of the older probe.
    pub stamp: Stamp,
    /// Quanta from the older probe to the younger, at most `GUEST_GAP`.
    pub gap: u8,
}

/// Quanta between the two ports of a guest, as far as three bits go. Who comes back with another port after more than that gets an
/// entry: the doorkeeper keeps no more than it can keep exactly.
const GUEST_GAP: u8 = 7;

/// A guest asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It waits on. Its earlier burst is finished if it was gone for a window.
    Waits(Option<Guest>),
    /// It has earned an entry: with a third port, or with a second so late that the door cannot keep both times.
    Earned(Guest),
}

impl Guest {
    /// One port, now.
    pub fn new(port: u16, now: Stamp) -> Self {
        Self { ports: [port; 2], stamp: now, gap: 0 }
    }

    fn of(head: Head, tail: u32) -> Self {
        Self {
            ports: [(tail >> 16) as u16, tail as u16],
            stamp: (head & STAMP) as Stamp,
            gap: ((head & GAP) >> GAP_SHIFT) as u8,
        }
    }

    fn tail(self) -> u32 {
        u32::from(self.ports[0]) << 16 | u32::from(self.ports[1])
    }

    fn times(self) -> Head {
        Head::from(self.stamp) | Head::from(self.gap) << GAP_SHIFT
    }

    /// Quanta since its latest probe.
    pub fn age(&self, now: Stamp) -> u8 {
        quantum::age(now, self.stamp).saturating_sub(self.gap)
    }

    /// How many distinct ports it showed.
    pub fn count(&self) -> u32 {
        1 + u32::from(self.ports[0] != self.ports[1])
    }

    /// Its older port is longer ago than the door counts as one go.
    pub fn is_slow(&self, now: Stamp) -> bool {
        quantum::age(now, self.stamp) > GUEST_GAP
    }

    /// What is left of it when it asks for another port and cannot have an entry: the younger port and this one.
    pub fn without_oldest(&self, port: u16, now: Stamp) -> Self {
        let gap = self.age(now);
        if self.count() == 2 && gap <= GUEST_GAP {
            return Self { ports: [self.ports[1], port], stamp: quantum::before(now, gap), gap };
        }
        Self::new(port, now)
    }

    fn is_over(&self, now: Stamp) -> bool {
        u64::from(self.age(now)) > QUANTA
    }

    /// Its older port no longer counts, its younger does.
    fn outlive(&mut self, now: Stamp) {
        if self.count() == 2 && !quantum::counts(now, self.stamp) {
            *self = Self::new(self.ports[1], quantum::before(now, self.age(now)));
        }
    }

    /// What it is after another probe; `None` if the door cannot keep that.
    fn with(mut self, port: u16, now: Stamp) -> Option<Self> {
        self.outlive(now);
        let [older, younger] = self.ports;
        let (since_older, since_younger) = (quantum::age(now, self.stamp), self.age(now));
        if older == younger && port == older {
            return Some(Self::new(port, now));
        }
        // Which port stays beside this one, and for how long it was there.
        let (kept, gap) = match port {
            _ if port == older => (younger, since_younger),
            _ if port == younger || older == younger => (older, since_older),
            _ => return None,
        };
        (gap <= GUEST_GAP).then(|| Self { ports: [kept, port], stamp: quantum::before(now, gap), gap })
    }
}

/// Where a source belongs: its own set, and the tag that tells it from others there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    set: u32,
    tag: u32,
}

#[cfg(test)]
impl Spot {
    /// The number of its set.
    pub fn set(self) -> u32 {
        self.set
    }
}

/// What became of a slot that was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Displaced {
    /// It was free.
    Nobody,
    /// A guest whose time was over; its burst is finished.
    Gone(Guest),
    /// A guest who might have come back.
    Guest(Guest),
    /// Residents have all sixteen slots that it could have, and this is the weakest of them: its slot is taken once it
    /// is vacated.
    Resident(u32),
}

/// Every source's slot of eight bytes, in sets of one cache line. At least 33 bits of a keyed hash tell guests apart; residents
/// are compared by address.
///
/// Chance alone brings nine sources to one set while most others are empty, and the ninth must not be a scanner that nobody
/// sees: whoever finds its own set full of residents, or full while there is room elsewhere, lives *away*, in the
/// neighbouring one. Who finds both full of residents displaces the weakest of the sixteen.
///
/// An attacker who learns which addresses share a set could fill it with better scanners than the one he hides. So who
/// shares a set is decided by a key that nobody knows.
#[derive(Debug)]
pub struct Directory {
    sets: Aligned<Set>,
    /// The sets are `groups` times a power of two, so that any size is used well. Nobody changes the group.
    groups: u64,
    /// Bits of a set's number within its group.
    bits: u32,
    key: u64,
    guests: u64,
    /// Slots that are not free.
    taken: u64,
    /// One bit for each set: whether some of its sources live away. Only then the neighbour is asked for them.
    overflowed: Vec<u64>,
}

/// Groups of sets, at least; at most twice as many.
const LEAST_GROUPS_BITS: u32 = 3;

impl Directory {
    /// Room for at least 128 sources, in at most `bytes`, of which an eighth may stay unused. `key` says who shares a
    /// set.
    pub fn new(bytes: usize, key: u64) -> Result<Self, OutOfMemory> {
        let sets = (bytes / size_of::<Set>()).max(2 << LEAST_GROUPS_BITS);
        let bits = sets.ilog2() - LEAST_GROUPS_BITS;
        let groups = sets >> bits;
        let sets = groups << bits;
        Ok(Self {
            sets: Aligned::new(sets)?,
            groups: groups as u64,
            bits,
            key: key | 1,
            guests: 0,
            taken: 0,
            overflowed: zeros(sets.div_ceil(64))?,
        })
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.count() * size_of::<Set>()
    }

    /// Sets in all.
    fn count(&self) -> usize {
        (self.groups << self.bits) as usize
    }

    /// Slots in all.
    pub fn capacity(&self) -> u64 {
        (self.count() * WAYS) as u64
    }

    /// Whether half of the slots are free.
    fn has_room(&self) -> bool {
        self.taken * 2 < self.capacity()
    }

    /// Sources that wait at the door.
    pub fn guests(&self) -> u64 {
        self.guests
    }

    /// Where the source of a hash belongs. All parts of the hash must be good: group, set and tag take different ones.
    #[inline]
    pub fn spot(&self, hash: u64) -> Spot {
        const GROUP_BITS: u32 = 14;
        let tag = (hash >> (64 - TAG_BITS)) as u32;
        let group = ((hash >> 32 & ((1 << GROUP_BITS) - 1)) * self.groups) >> GROUP_BITS;
        let within = (hash ^ self.fold(tag)) & ((1 << self.bits) - 1);
        Spot { set: (group << self.bits | within) as u32, tag }
    }

    /// What the number of a set is folded with, by the tag.
    #[inline]
    fn fold(&self, tag: u32) -> u64 {
        u64::from(tag).wrapping_mul(self.key) >> (64 - self.bits)
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

    /// Has the set of a source brought into the cache.
    #[inline]
    pub fn prefetch(&self, spot: Spot) {
        prefetch(self.set(spot).1);
    }

    /// The entry of a likely resident.
    #[inline]
    pub fn likely(&self, spot: Spot) -> Option<u32> {
        let set = self.set(spot).1;
        let found = set::holding(set, Self::wanted(spot));
        if found == 0 {
            return None;
        }
        let way = found.trailing_zeros() as usize;
        (set[way] & RESIDENT != 0).then_some(set[WAYS + way])
    }

    /// Finds a source. `is` compares an entry with it.
    #[inline]
    pub fn find(&self, spot: Spot, is: impl Fn(u32) -> bool) -> (usize, Place) {
        let home = spot.set as usize;
        match self.find_in(home, Self::wanted(spot), &is) {
            (_, Place::Nowhere) if self.has_overflowed(home) => {
                self.find_in(home ^ 1, Self::wanted(spot) | AWAY, &is)
            }
            found => found,
        }
    }

    #[inline]
    fn find_in(&self, at: usize, wanted: Head, is: &impl Fn(u32) -> bool) -> (usize, Place) {
        let set = &self.sets.as_slice()[at];
        let mut found = set::holding(set, wanted);
        while found != 0 {
            let way = found.trailing_zeros() as usize;
            let (head, tail) = (set[way], set[WAYS + way]);
            if head & RESIDENT == 0 {
                return (at * WAYS + way, Place::Guest);
            }
            if is(tail) {
                return (at * WAYS + way, Place::Resident(tail));
            }
            found &= found - 1;
        }
        (at * WAYS, Place::Nowhere)
    }

    /// A slot for a new source: a free one, a guest's whose time is over, the oldest guest's, or that of the resident
    /// with the least `rank`. Guests never push out a resident while there is one of themselves to push, here or next
    /// door; one who may come back within `pace` quanta goes only if he is the oldest of both.
    pub fn make_room<R: Ord>(
        &mut self,
        spot: Spot,
        now: Stamp,
        pace: u8,
        rank: impl Fn(u32) -> R,
    ) -> (usize, Displaced) {
        let (home, slots) = self.set(spot);
        let (mut index, (mut way, mut holder)) = (home, set::expendable(slots, now));
        let age = |set: &Set, way: usize| Guest::of(set[way], set[WAYS + way]).age(now);
        // In an ordinary flood every set is full of guests who are long gone, and to look next door would only cost time.
        let asks_next_door = match holder {
            Holder::Nobody => false,
            Holder::Guest => age(slots, way) <= pace || self.has_room(),
            Holder::Resident => true,
        };
        if asks_next_door {
            let next = &self.sets.as_slice()[home ^ 1];
            let (next_way, next_holder) = set::expendable(next, now);
            let is_better = match next_holder {
                Holder::Nobody => true,
                Holder::Guest => holder == Holder::Resident || age(next, next_way) > age(slots, way),
                Holder::Resident => false,
            };
            if is_better {
                self.overflowed[home / 64] |= 1 << (home % 64);
                (index, way, holder) = (home ^ 1, next_way, next_holder);
            }
        }
        let slots = &self.sets.as_slice()[index];
        let at = index * WAYS + way;
        match holder {
            Holder::Nobody => (at, Displaced::Nobody),
            Holder::Guest => {
                let guest = Guest::of(slots[way], slots[WAYS + way]);
                self.clear(at);
                (at, if guest.is_over(now) { Displaced::Gone(guest) } else { Displaced::Guest(guest) })
            }
            Holder::Resident => {
                let slots = (0..2 * WAYS).map(|n| (home ^ (n / WAYS)) * WAYS + n % WAYS);
                let weakest = slots.min_by_key(|&at| rank(self.slot(at).1)).unwrap_or(at);
                if weakest / WAYS != home {
                    self.overflowed[home / 64] |= 1 << (home % 64);
                }
                (weakest, Displaced::Resident(self.slot(weakest).1))
            }
        }
    }

    /// Puts a guest into a free slot, or its own.
    pub fn put_guest(&mut self, at: usize, spot: Spot, guest: Guest) {
        let is_free = u64::from(self.slot(at).0 == 0);
        self.guests += is_free;
        self.taken += is_free;
        self.write(at, Self::wanted_at(at, spot) | guest.times(), guest.tail());
    }

    /// A guest asks again. If there is room for it, a second port is enough.
    #[inline]
    pub fn greet(&mut self, at: usize, port: u16, now: Stamp, has_room: bool) -> Asked {
        let (head, tail) = self.slot(at);
        let guest = Guest::of(head, tail);
        let (asked, guest) = if guest.is_over(now) {
            (Asked::Waits(Some(guest)), Guest::new(port, now))
        } else {
            match guest.with(port, now) {
                Some(guest) if guest.count() == 1 || !has_room => (Asked::Waits(None), guest),
                _ => return Asked::Earned(guest),
            }
        };
        self.write(at, head & !(STAMP | GAP) | guest.times(), guest.tail());
        asked
    }

    /// Puts a resident into a slot, its own as a guest or a free one.
    pub fn put_resident(&mut self, at: usize, spot: Spot, entry: u32) {
        self.clear(at);
        self.taken += 1;
        self.write(at, Self::wanted_at(at, spot) | RESIDENT, entry);
    }

    /// Frees a slot.
    pub fn clear(&mut self, at: usize) {
        let (head, _) = self.slot(at);
        self.guests -= u64::from(head != 0 && head & RESIDENT == 0);
        self.taken -= u64::from(head != 0);
        self.write(at, 0, 0);
    }

    /// Lets go of the guests whose time is over, before their stamps could come round again.
    pub fn sweep(&mut self, now: Stamp, all: bool, mut finished: impl FnMut(Guest)) {
        self.settle_overflow();
        if self.guests == 0 {
            return;
        }
        for set in self.sets.as_mut_slice() {
            let (heads, tails) = set.split_at_mut(WAYS);
            for (head, tail) in heads.iter_mut().zip(tails) {
                if *head & (OCCUPIED | RESIDENT) != OCCUPIED {
                    continue;
                }
                let guest = Guest::of(*head, *tail);
                if all || guest.is_over(now) {
                    finished(guest);
                    (*head, *tail) = (0, 0);
                    self.guests -= 1;
                    self.taken -= 1;
                }
            }
        }
    }
}

impl Directory {
    /// Forgets that a set had sources away once they are gone.
    fn settle_overflow(&mut self) {
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

    /// Sources of one set, with different tags.
    fn spots(set: u32, count: u32) -> Vec<Spot> {
        (0..count).map(|tag| Spot { set, tag }).collect()
    }

    /// Gives a source an entry, if there is a slot for it.
    fn settle(directory: &mut Directory, spot: Spot, entry: u32) -> bool {
        let (at, displaced) = directory.make_room(spot, 1, 0, |_| 0);
        let is_free = displaced == Displaced::Nobody;
        if is_free {
            directory.put_resident(at, spot, entry);
        }
        is_free
    }

    fn place(directory: &Directory, spot: Spot, entry: u32) -> Option<usize> {
        match directory.find(spot, |other| other == entry) {
            (at, Place::Resident(_)) => Some(at),
            _ => None,
        }
    }

    #[test]
    fn a_full_set_sends_its_sources_next_door_and_finds_them_there() {
        let mut directory = Directory::new(64 * 16, 1).unwrap();
        let crowd = spots(4, 16);
        for (&spot, entry) in crowd.iter().zip(0..) {
            assert!(settle(&mut directory, spot, entry));
        }
        assert!(!settle(&mut directory, spots(4, 17)[16], 16), "sixteen is all");
        let (at, displaced) = directory.make_room(spots(4, 17)[16], 1, 0, |entry| (entry + 5) % 16);
        assert_eq!((at / WAYS, displaced), (5, Displaced::Resident(11)), "the weakest of both sets must go");
        assert!(!settle(&mut directory, spots(5, 1)[0], 16), "the neighbour's own have no more room either");
        for (&spot, entry) in crowd.iter().zip(0..) {
            let at = place(&directory, spot, entry).expect("a resident is found");
            assert_eq!(at / WAYS == 4, entry < 8);
        }
        // Those at home leave, and those away are still found, also after a sweep.
        for (&spot, entry) in crowd.iter().zip(0..8) {
            let at = place(&directory, spot, entry).expect("a resident is found");
            directory.clear(at);
        }
        directory.sweep(1, false, |_| ());
        for (&spot, entry) in crowd.iter().zip(0..).skip(8) {
            assert_eq!(place(&directory, spot, entry).map(|at| at / WAYS), Some(5));
        }
        for (&spot, entry) in crowd.iter().zip(0..).skip(8) {
            let at = place(&directory, spot, entry).expect("a resident is found");
            assert!(directory.has_overflowed(4));
            directory.clear(at);
        }
        directory.sweep(1, false, |_| ());
        assert!(!directory.has_overflowed(4), "nobody is away any more");
    }

    #[test]
    fn a_guest_away_earns_its_place_there_and_is_nobody_else() {
        let mut directory = Directory::new(64 * 16, 1).unwrap();
        for (&spot, entry) in spots(2, 8).iter().zip(0..) {
            assert!(settle(&mut directory, spot, entry));
        }
        let spot = spots(2, 9)[8];
        let (at, displaced) = directory.make_room(spot, 7, 0, |_| 0);
        assert_eq!((at / WAYS, displaced), (3, Displaced::Nobody));
        directory.put_guest(at, spot, Guest::new(80, 7));
        assert_eq!(directory.find(spot, |_| false), (at, Place::Guest));
        // The neighbour's own source of the same tag is another one.
        assert_eq!(directory.find(Spot { set: 3, ..spot }, |_| false).1, Place::Nowhere);
        assert_eq!(directory.greet(at, 81, 7, false), Asked::Waits(None));
        assert_eq!(
            directory.greet(at, 82, 7, false),
            Asked::Earned(Guest { ports: [80, 81], stamp: 7, gap: 0 })
        );
        directory.put_resident(at, spot, 8);
        assert_eq!(place(&directory, spot, 8), Some(at));
        assert_eq!(directory.guests(), 0);
    }

    /// What the door says of a source is what its probes say: ports within a window with their latest times, or more than it can keep.
    #[test]
    fn a_guest_is_exact_or_earns_its_entry() {
        let mut draw = 1_u64;
        let mut next = |bound: u64| {
            draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (draw >> 33) % bound
        };
        for _ in 0..20_000 {
            let mut quantum = next(1_000);
            let mut latest = std::collections::BTreeMap::from([(1, quantum)]);
            let mut directory = Directory::new(64 * 16, 1).unwrap();
            directory.put_guest(0, Spot { set: 0, tag: 0 }, Guest::new(1, quantum::stamp(quantum)));
            loop {
                let span = 1 << next(7);
                quantum += next(span);
                let port = 1 + next(3) as u16;
                latest.retain(|_, &mut at| quantum - at <= QUANTA);
                let alone = latest.is_empty();
                let now = quantum::stamp(quantum);
                let has_room = next(2) == 0;
                match directory.greet(0, port, now, has_room) {
                    Asked::Earned(mut guest) => {
                        guest.outlive(now);
                        let age = |at: &u64| (quantum - at) as u8;
                        let ages = [quantum::age(now, guest.stamp), guest.age(now)];
                        let told: Vec<_> =
                            guest.ports.into_iter().zip(ages).take(guest.count() as usize).collect();
                        let mut kept: Vec<_> = latest.iter().map(|(&port, at)| (port, age(at))).collect();
                        kept.sort_by_key(|&(port, age)| {
                            (std::cmp::Reverse(age), told.iter().position(|t| t.0 == port))
                        });
                        assert_eq!(told, kept);
                        assert!(has_room || latest.len() == 2 || age(&latest[&told[0].0]) > GUEST_GAP);
                        break;
                    }
                    Asked::Waits(finished) => {
                        assert_eq!(finished.is_some(), alone);
                        latest.insert(port, quantum);
                    }
                }
            }
        }
    }
}
