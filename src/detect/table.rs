//! Who holds a place: a directory of guests and residents, and the order in which residents must go.
//!
//! The adversary spoofs a new source with every packet, or gives each a few ports, to push a scanner out. So while
//! the table is crowded a new source is only a *guest*: eight bytes in the directory, with up to two ports in them.
//! A further port earns it an entry. Residents are given up by least deadline: the latest probe, plus credit for each
//! distinct port. Recency counts most, because a scanner must come back twice a second to reach 20 ports in 10 s and a
//! dead burst never does; evidence counts a little, so that a young scanner outlasts a fresh burst of few ports.

use super::cache::{Aligned, OutOfMemory, prefetch, room_for, zeros};
use super::quantum::{self, Stamp};
use super::set::{self, AWAY, Head, Holder, OCCUPIED, RESIDENT, STAMP, Set, TAG, TAG_SHIFT, WAYS};

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

/// A source at the door: one or two ports, and the stamp of the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    /// The ports; the same twice if there is only one. Their order is a bit to spare: the greater first if they came
    /// in different quanta.
    pub ports: [u16; 2],
    /// Quantum of the older probe. The younger port counts as just as old: a guest may be undervalued, never
    /// overvalued.
    pub stamp: Stamp,
}

impl Guest {
    fn of(head: Head, tail: u32) -> Self {
        Self { ports: [(tail >> 16) as u16, tail as u16], stamp: (head & STAMP) as Stamp }
    }

    fn tail(self) -> u32 {
        u32::from(self.ports[0]) << 16 | u32::from(self.ports[1])
    }

    /// Whether its two ports came apart, in different quanta: a burst sends all it has at once and is gone, a
    /// scanner comes back.
    pub fn came_apart(&self) -> bool {
        self.ports[0] > self.ports[1]
    }

    /// How many distinct ports it showed.
    pub fn count(&self) -> u32 {
        1 + u32::from(self.ports[0] != self.ports[1])
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
    /// Residents have all sixteen slots that it could have: this one must go first.
    Resident(u32),
}

/// Every source's slot of eight bytes, in sets of one cache line. 37 bits of a keyed hash tell guests apart (two in
/// a hundred thousand million pairs are taken for one); residents are compared by address.
///
/// Chance alone brings nine sources to one set while most others are empty, and the ninth must not be a scanner that nobody
/// sees: whoever finds its own set full of residents, or full while there is room elsewhere, lives *away*, in the
/// neighbouring one.
#[derive(Debug)]
pub struct Directory {
    sets: Aligned<Set>,
    mask: u64,
    guests: u64,
    /// Slots that are not free.
    taken: u64,
    /// One bit for each set: whether some of its sources live away. Only then the neighbour is asked for them.
    overflowed: Vec<u64>,
}

/// Guests keep a second port only if it follows the first within this many quanta, a tenth of the window.
const GUEST_SPAN: u8 = 6;

impl Directory {
    /// Room for at least 64 sources, in about `bytes`.
    pub fn new(bytes: usize) -> Result<Self, OutOfMemory> {
        let sets: usize = 1 << (bytes / size_of::<Set>()).max(8).ilog2();
        Ok(Self {
            sets: Aligned::new(sets)?,
            mask: sets as u64 - 1,
            guests: 0,
            taken: 0,
            overflowed: zeros(sets.div_ceil(64))?,
        })
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        (self.mask as usize + 1) * size_of::<Set>()
    }

    /// Slots in all.
    pub fn capacity(&self) -> u64 {
        (self.mask + 1) * WAYS as u64
    }

    /// Whether half of the slots are free.
    fn has_room(&self) -> bool {
        self.taken * 2 < self.capacity()
    }

    /// Sources that wait at the door.
    pub fn guests(&self) -> u64 {
        self.guests
    }

    /// The number of a source's own set.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash & self.mask) as usize
    }

    #[inline]
    fn set(&self, hash: u64) -> (usize, &Set) {
        let at = self.home(hash);
        (at, &self.sets.as_slice()[at])
    }

    #[inline]
    fn has_overflowed(&self, set: usize) -> bool {
        self.overflowed[set / 64] >> (set % 64) & 1 != 0
    }

    /// The head that a source of this hash has in its own set, but for what kind it is.
    #[inline]
    fn wanted(hash: u64) -> Head {
        OCCUPIED | ((hash >> 42) as Head) << TAG_SHIFT & TAG
    }

    /// The same for a slot wherever it is.
    #[inline]
    fn wanted_at(&self, at: usize, hash: u64) -> Head {
        Self::wanted(hash) | if at / WAYS == self.home(hash) { 0 } else { AWAY }
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

    /// Has the set of a hash brought into the cache.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(self.set(hash).1);
    }

    /// The entry of a likely resident.
    #[inline]
    pub fn likely(&self, hash: u64) -> Option<u32> {
        let set = self.set(hash).1;
        let found = set::holding(set, Self::wanted(hash));
        if found == 0 {
            return None;
        }
        let way = found.trailing_zeros() as usize;
        (set[way] & RESIDENT != 0).then_some(set[WAYS + way])
    }

    /// Finds a source. `is` compares an entry with it.
    #[inline]
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> (usize, Place) {
        let home = self.home(hash);
        match self.find_in(home, Self::wanted(hash), &is) {
            (_, Place::Nowhere) if self.has_overflowed(home) => {
                self.find_in(home ^ 1, Self::wanted(hash) | AWAY, &is)
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
    /// with the least `deadline`. Guests never push out a resident while there is one of themselves to push, here or next
    /// door.
    pub fn make_room(&mut self, hash: u64, now: Stamp, deadline: impl Fn(u32) -> u64) -> (usize, Displaced) {
        let (home, slots) = self.set(hash);
        let (mut index, (mut way, mut holder)) = (home, set::expendable(slots, now));
        // In a flood every set is full, and to look next door would only cost time.
        if holder == Holder::Resident || holder == Holder::Guest && self.has_room() {
            let (next_way, next) = set::expendable(&self.sets.as_slice()[home ^ 1], now);
            if next == Holder::Nobody || holder == Holder::Resident && next == Holder::Guest {
                self.overflowed[home / 64] |= 1 << (home % 64);
                (index, way, holder) = (home ^ 1, next_way, next);
            }
        }
        let slots = &self.sets.as_slice()[index];
        let at = index * WAYS + way;
        match holder {
            Holder::Nobody => (at, Displaced::Nobody),
            Holder::Guest => {
                let guest = Guest::of(slots[way], slots[WAYS + way]);
                self.clear(at);
                let gone = !quantum::counts(now, guest.stamp);
                (at, if gone { Displaced::Gone(guest) } else { Displaced::Guest(guest) })
            }
            Holder::Resident => {
                let way = (0..WAYS).min_by_key(|&way| deadline(slots[WAYS + way])).unwrap_or(way);
                (index * WAYS + way, Displaced::Resident(slots[WAYS + way]))
            }
        }
    }

    /// Puts a guest into a free slot.
    pub fn put_guest(&mut self, at: usize, hash: u64, guest: Guest) {
        let is_free = u64::from(self.slot(at).0 == 0);
        self.guests += is_free;
        self.taken += is_free;
        self.write(at, self.wanted_at(at, hash) | Head::from(guest.stamp), guest.tail());
    }

    /// A guest asks again. Returns it if this port is the third and earns it an entry.
    #[inline]
    pub fn greet(&mut self, at: usize, port: u16, now: Stamp) -> Result<Guest, Option<Guest>> {
        let (head, tail) = self.slot(at);
        let mut guest = Guest::of(head, tail);
        let age = quantum::age(now, guest.stamp);
        let mut finished = None;
        if !quantum::counts(now, guest.stamp) {
            finished = Some(guest);
            guest = Guest { ports: [port; 2], stamp: now };
        } else if guest.count() == 1 {
            if guest.ports[0] == port || age > GUEST_SPAN {
                guest = Guest { ports: [port; 2], stamp: now };
            } else {
                let (less, greater) = (guest.ports[0].min(port), guest.ports[0].max(port));
                guest.ports = if age > 0 { [greater, less] } else { [less, greater] };
            }
        } else if !guest.ports.contains(&port) {
            return Ok(guest);
        }
        self.write(at, head & !STAMP | Head::from(guest.stamp), guest.tail());
        Err(finished)
    }

    /// Puts a resident into a slot, its own as a guest or a free one.
    pub fn put_resident(&mut self, at: usize, hash: u64, entry: u32) {
        self.clear(at);
        self.taken += 1;
        self.write(at, self.wanted_at(at, hash) | RESIDENT, entry);
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
                if all || !quantum::counts(now, guest.stamp) {
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

const NONE: u32 = u32::MAX;
const BUCKETS: usize = 4096;

/// Units of deadlines in a window.
pub const UNITS: u64 = 1024;

/// The order in which residents must go: a queue of buckets by deadline. Whoever uses it knows the deadlines. An entry
/// that was seen again stays where it is and is filed anew only when its old bucket comes up, so a probe costs nothing
/// here. While nobody has to go it need not be kept: `refile` makes it from nothing.
#[derive(Debug)]
pub struct Order {
    next: Vec<u32>,
    buckets: Vec<u32>,
    frontier: u64,
    is_kept: bool,
}

impl Order {
    /// For so many entries.
    pub fn new(entries: usize) -> Result<Self, OutOfMemory> {
        let mut buckets = room_for(BUCKETS)?;
        buckets.resize(BUCKETS, NONE);
        Ok(Self { next: zeros(entries)?, buckets, frontier: 0, is_kept: false })
    }

    /// Bytes of one entry.
    pub const ENTRY_BYTES: usize = size_of::<u32>();

    /// Whether everyone is filed; if not, `refile` comes before `pop`.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Nobody has to go for now.
    pub fn rest(&mut self) {
        self.is_kept = false;
    }

    /// Files a new entry, while the order is kept.
    #[inline]
    pub fn file(&mut self, entry: u32, deadline: u64) {
        if !self.is_kept {
            return;
        }
        let bucket = deadline.clamp(self.frontier, self.frontier + BUCKETS as u64 - 1) as usize % BUCKETS;
        self.next[entry as usize] = self.buckets[bucket];
        self.buckets[bucket] = entry;
    }

    /// Takes out the entry that must go first. There must be one.
    pub fn pop(&mut self, deadline: impl Fn(u32) -> u64) -> u32 {
        debug_assert!(self.is_kept, "only who is filed can be found");
        loop {
            let bucket = self.frontier as usize % BUCKETS;
            let entry = self.buckets[bucket];
            if entry == NONE {
                self.frontier += 1;
                continue;
            }
            self.buckets[bucket] = self.next[entry as usize];
            let deadline = deadline(entry);
            if deadline <= self.frontier {
                return entry;
            }
            self.file(entry, deadline);
        }
    }

    /// Files everyone anew, each with a deadline; what is older than `oldest` counts as that old.
    pub fn refile(&mut self, oldest: u64, entries: impl Iterator<Item = (u32, u64)>) {
        self.buckets.fill(NONE);
        self.frontier = oldest;
        self.is_kept = true;
        for (entry, deadline) in entries {
            self.file(entry, deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of one set, with different tags.
    fn hashes(set: u64, count: u64) -> Vec<u64> {
        (0..count).map(|tag| set | tag << 42).collect()
    }

    /// Gives a source an entry, if there is a slot for it.
    fn settle(directory: &mut Directory, hash: u64, entry: u32) -> bool {
        let (at, displaced) = directory.make_room(hash, 1, |_| 0);
        let is_free = displaced == Displaced::Nobody;
        if is_free {
            directory.put_resident(at, hash, entry);
        }
        is_free
    }

    fn place(directory: &Directory, hash: u64, entry: u32) -> Option<usize> {
        match directory.find(hash, |other| other == entry) {
            (at, Place::Resident(_)) => Some(at),
            _ => None,
        }
    }

    #[test]
    fn a_full_set_sends_its_sources_next_door_and_finds_them_there() {
        let mut directory = Directory::new(64 * 8).unwrap();
        let crowd = hashes(4, 16);
        for (&hash, entry) in crowd.iter().zip(0..) {
            assert!(settle(&mut directory, hash, entry));
        }
        assert!(!settle(&mut directory, hashes(4, 17)[16], 16), "sixteen is all");
        assert!(!settle(&mut directory, hashes(5, 1)[0], 16), "the neighbour's own have no more room either");
        for (&hash, entry) in crowd.iter().zip(0..) {
            let at = place(&directory, hash, entry).expect("a resident is found");
            assert_eq!(at / WAYS == 4, entry < 8);
        }
        // Those at home leave, and those away are still found, also after a sweep.
        for (&hash, entry) in crowd.iter().zip(0..8) {
            let at = place(&directory, hash, entry).expect("a resident is found");
            directory.clear(at);
        }
        directory.sweep(1, false, |_| ());
        for (&hash, entry) in crowd.iter().zip(0..).skip(8) {
            assert_eq!(place(&directory, hash, entry).map(|at| at / WAYS), Some(5));
        }
        for (&hash, entry) in crowd.iter().zip(0..).skip(8) {
            let at = place(&directory, hash, entry).expect("a resident is found");
            assert!(directory.has_overflowed(4));
            directory.clear(at);
        }
        directory.sweep(1, false, |_| ());
        assert!(!directory.has_overflowed(4), "nobody is away any more");
    }

    #[test]
    fn a_guest_away_earns_its_place_there_and_is_nobody_else() {
        let mut directory = Directory::new(64 * 8).unwrap();
        for (&hash, entry) in hashes(2, 8).iter().zip(0..) {
            assert!(settle(&mut directory, hash, entry));
        }
        let hash = hashes(2, 9)[8];
        let (at, displaced) = directory.make_room(hash, 7, |_| 0);
        assert_eq!((at / WAYS, displaced), (3, Displaced::Nobody));
        directory.put_guest(at, hash, Guest { ports: [80; 2], stamp: 7 });
        assert_eq!(directory.find(hash, |_| false), (at, Place::Guest));
        // The neighbour's own source of the same tag is another one.
        assert_eq!(directory.find(hash ^ 1, |_| false).1, Place::Nowhere);
        assert_eq!(directory.greet(at, 81, 7), Err(None));
        assert!(directory.greet(at, 82, 7).is_ok());
        directory.put_resident(at, hash, 8);
        assert_eq!(place(&directory, hash, 8), Some(at));
        assert_eq!(directory.guests(), 0);
    }
}
