//! Who holds a place: a directory of guests and residents, and the order in which residents must go.
//!
//! The adversary spoofs a new source with every packet, or gives each a few ports, to push a scanner out. So while
//! the table is crowded a new source is only a *guest*: eight bytes in the directory, with up to two ports in them.
//! A further port earns it an entry. Residents are given up by least deadline: the latest probe, plus credit for each
//! distinct port. Recency counts most, because a scanner must come back twice a second to reach 20 ports in 10 s and a
//! dead burst never does; evidence counts a little, so that a young scanner outlasts a fresh burst of few ports.

use super::cache::prefetch;
use super::quantum::{self, Stamp};

const WAYS: usize = 8;
const OCCUPIED: u64 = 1 << 63;
const RESIDENT: u64 = 1 << 62;
const TAG_SHIFT: u32 = 40;
const TAG_MASK: u64 = (1 << 22) - 1;
const IDENTITY: u64 = OCCUPIED | TAG_MASK << TAG_SHIFT;

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
    fn slot(self, tag: u64) -> u64 {
        OCCUPIED
            | tag << TAG_SHIFT
            | u64::from(self.stamp) << 32
            | u64::from(self.ports[0]) << 16
            | u64::from(self.ports[1])
    }

    fn of(slot: u64) -> Self {
        Self { ports: [(slot >> 16) as u16, slot as u16], stamp: (slot >> 32) as Stamp }
    }

    /// Whether its two ports came apart, in different quanta: a burst sends all it has at once and is gone, a
    /// scanner comes back.
    pub fn came_apart(&self) -> bool {
        self.ports[0] > self.ports[1]
    }

    /// When it goes, among guests: the greatest first.
    fn expendable(&self, now: Stamp) -> i16 {
        i16::from(quantum::age(now, self.stamp)) - if self.came_apart() { APART } else { 0 }
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
    /// Eight residents share the set: this one must go first.
    Resident(u32),
}

/// The slots that share a hash: one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Set([u64; WAYS]);

impl Set {
    /// The ways that hold a source of this identity: one bit each, as a loop with exits would be mispredicted.
    #[inline]
    fn ways(&self, wanted: u64) -> u32 {
        let mut found = 0;
        for (way, &slot) in self.0.iter().enumerate() {
            found |= u32::from((slot ^ wanted) & IDENTITY == 0) << way;
        }
        found
    }
}

/// Every source's slot of eight bytes, in sets of one cache line. 38 bits of a keyed hash tell guests apart (two in
/// three hundred thousand million pairs are taken for one); residents are compared by address.
#[derive(Debug)]
pub struct Directory {
    sets: Vec<Set>,
    mask: u64,
    guests: u64,
}

/// Guests keep a second port only if it follows the first within this many quanta, a tenth of the window.
const GUEST_SPAN: u8 = 6;

/// Quanta by which a guest whose ports came apart outstays the others: a slow scanner's third port is as far from
/// its second as that from the first.
const APART: i16 = 6;

impl Directory {
    /// Room for at least 64 sources, in about `bytes`.
    pub fn new(bytes: usize) -> Self {
        let sets = (bytes / size_of::<Set>()).max(8);
        let sets = 1 << sets.ilog2();
        Self { sets: vec![Set([0; WAYS]); sets], mask: sets as u64 - 1, guests: 0 }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.sets.len() * size_of::<Set>()
    }

    /// Slots in all.
    pub fn capacity(&self) -> u64 {
        (self.sets.len() * WAYS) as u64
    }

    /// Sources that wait at the door.
    pub fn guests(&self) -> u64 {
        self.guests
    }

    #[inline]
    fn set(&self, hash: u64) -> usize {
        (hash & self.mask) as usize
    }

    #[inline]
    fn tag(hash: u64) -> u64 {
        hash >> 42
    }

    #[inline]
    fn slot(&self, at: usize) -> u64 {
        self.sets[at / WAYS].0[at % WAYS]
    }

    #[inline]
    fn slot_mut(&mut self, at: usize) -> &mut u64 {
        &mut self.sets[at / WAYS].0[at % WAYS]
    }

    /// Has the set of a hash brought into the cache.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.sets[self.set(hash)]);
    }

    /// The entry of a likely resident.
    #[inline]
    pub fn likely(&self, hash: u64) -> Option<u32> {
        let set = &self.sets[self.set(hash)];
        let found = set.ways(OCCUPIED | Self::tag(hash) << TAG_SHIFT);
        if found == 0 {
            return None;
        }
        let slot = set.0[found.trailing_zeros() as usize];
        (slot & RESIDENT != 0).then_some(slot as u32)
    }

    /// Finds a source. `is` compares an entry with it.
    #[inline]
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> (usize, Place) {
        let at = self.set(hash);
        let set = &self.sets[at];
        let mut found = set.ways(OCCUPIED | Self::tag(hash) << TAG_SHIFT);
        while found != 0 {
            let way = found.trailing_zeros() as usize;
            let slot = set.0[way];
            if slot & RESIDENT == 0 {
                return (at * WAYS + way, Place::Guest);
            }
            if is(slot as u32) {
                return (at * WAYS + way, Place::Resident(slot as u32));
            }
            found &= found - 1;
        }
        (at * WAYS, Place::Nowhere)
    }

    /// A slot for a new source: a free one, a guest's whose time is over, the oldest guest's, or that of the resident
    /// with the least `deadline`. Guests never push out a resident while there is one of themselves to push.
    pub fn make_room(&mut self, hash: u64, now: Stamp, deadline: impl Fn(u32) -> u64) -> (usize, Displaced) {
        let set = self.set(hash);
        let ways = &mut self.sets[set].0;
        // The least of: a free slot, the guests, the oldest first, and the residents.
        let mut least = (i32::MAX, 0);
        for (way, &slot) in ways.iter().enumerate() {
            let rank = match slot {
                0 => i32::MIN,
                _ if slot & RESIDENT != 0 => i32::MAX,
                _ => -i32::from(Guest::of(slot).expendable(now)),
            };
            if rank < least.0 {
                least = (rank, way);
            }
        }
        let at = |way| set * WAYS + way;
        match least {
            (i32::MIN, way) => (at(way), Displaced::Nobody),
            (i32::MAX, _) => {
                let way = (0..WAYS).min_by_key(|&way| deadline(ways[way] as u32)).expect("a set has ways");
                (at(way), Displaced::Resident(ways[way] as u32))
            }
            (_, way) => {
                let guest = Guest::of(ways[way]);
                ways[way] = 0;
                self.guests -= 1;
                let gone = !quantum::counts(now, guest.stamp);
                (at(way), if gone { Displaced::Gone(guest) } else { Displaced::Guest(guest) })
            }
        }
    }

    /// Puts a guest into a free slot.
    pub fn put_guest(&mut self, slot: usize, hash: u64, guest: Guest) {
        let slot = self.slot_mut(slot);
        let free = *slot == 0;
        *slot = guest.slot(Self::tag(hash));
        self.guests += u64::from(free);
    }

    /// A guest asks again. Returns it if this port is the third and earns it an entry.
    #[inline]
    pub fn greet(&mut self, slot: usize, port: u16, now: Stamp) -> Result<Guest, Option<Guest>> {
        let mut guest = Guest::of(self.slot(slot));
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
        let slot = self.slot_mut(slot);
        *slot = guest.slot(*slot >> TAG_SHIFT & TAG_MASK);
        Err(finished)
    }

    /// Puts a resident into a slot, its own as a guest or a free one.
    pub fn put_resident(&mut self, slot: usize, hash: u64, entry: u32) {
        let old = self.slot(slot);
        if old != 0 && old & RESIDENT == 0 {
            self.guests -= 1;
        }
        *self.slot_mut(slot) = OCCUPIED | RESIDENT | Self::tag(hash) << TAG_SHIFT | u64::from(entry);
    }

    /// Frees a slot.
    pub fn clear(&mut self, slot: usize) {
        let old = std::mem::take(self.slot_mut(slot));
        if old != 0 && old & RESIDENT == 0 {
            self.guests -= 1;
        }
    }

    /// Lets go of the guests whose time is over, before their stamps could come round again.
    pub fn sweep(&mut self, now: Stamp, all: bool, mut finished: impl FnMut(Guest)) {
        if self.guests == 0 {
            return;
        }
        for slot in self.sets.iter_mut().flat_map(|set| &mut set.0) {
            if *slot != 0 && *slot & RESIDENT == 0 {
                let guest = Guest::of(*slot);
                if all || !quantum::counts(now, guest.stamp) {
                    finished(guest);
                    *slot = 0;
                    self.guests -= 1;
                }
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
    pub fn new(entries: usize) -> Self {
        Self { next: vec![0; entries], buckets: vec![NONE; BUCKETS], frontier: 0, is_kept: false }
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
