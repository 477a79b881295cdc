//! Who holds a place: a directory of guests and residents, and the order in which residents must go.
//!
//! The adversary spoofs a new source with every packet, or gives each a few ports, to push a scanner out. So while
//! the table is crowded a new source is only a *guest*: eight bytes in the directory, with up to two ports in them.
//! A further port earns it an entry. Residents are given up by least deadline: the latest probe, plus credit for each
//! distinct port. Recency counts most, because a scanner must come back twice a second to reach 20 ports in 10 s and a
//! dead burst never does; evidence counts a little, so that a young scanner outlasts a fresh burst of few ports.

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

/// Every source's slot of eight bytes, in sets of one cache line. 38 bits of a keyed hash tell guests apart (two in
/// three hundred thousand million pairs are taken for one); residents are compared by address.
#[derive(Debug)]
pub struct Directory {
    slots: Vec<u64>,
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
        let sets = (bytes / (WAYS * size_of::<u64>())).max(8);
        let sets = 1 << sets.ilog2();
        Self { slots: vec![0; sets * WAYS], mask: sets as u64 - 1, guests: 0 }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<u64>()
    }

    /// Slots in all.
    pub fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Sources that wait at the door.
    pub fn guests(&self) -> u64 {
        self.guests
    }

    #[inline]
    fn set(&self, hash: u64) -> usize {
        (hash & self.mask) as usize * WAYS
    }

    #[inline]
    fn tag(hash: u64) -> u64 {
        hash >> 42
    }

    /// Reads the set of a hash, so that it is in the cache when its turn comes; the entry of a likely resident.
    #[inline]
    pub fn touch(&self, hash: u64) -> Option<u32> {
        let set = self.set(hash);
        let wanted = OCCUPIED | Self::tag(hash) << TAG_SHIFT;
        self.slots[set..set + WAYS]
            .iter()
            .find(|&&slot| slot & (IDENTITY | RESIDENT) == wanted | RESIDENT)
            .map(|&slot| slot as u32)
    }

    /// Finds a source. `is` compares an entry with it.
    #[inline]
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> (usize, Place) {
        let set = self.set(hash);
        let wanted = OCCUPIED | Self::tag(hash) << TAG_SHIFT;
        for (way, &slot) in self.slots[set..set + WAYS].iter().enumerate() {
            if slot & IDENTITY != wanted {
                continue;
            }
            if slot & RESIDENT == 0 {
                return (set + way, Place::Guest);
            }
            if is(slot as u32) {
                return (set + way, Place::Resident(slot as u32));
            }
        }
        (set, Place::Nowhere)
    }

    /// A slot for a new source: a free one, a guest's whose time is over, the oldest guest's, or that of the resident
    /// with the least `deadline`. Guests never push out a resident while there is one of themselves to push.
    pub fn make_room(&mut self, hash: u64, now: Stamp, deadline: impl Fn(u32) -> u64) -> (usize, Displaced) {
        let set = self.set(hash);
        let ways = &self.slots[set..set + WAYS];
        if let Some(free) = ways.iter().position(|&slot| slot == 0) {
            return (set + free, Displaced::Nobody);
        }
        let oldest = (0..WAYS)
            .filter(|&way| ways[way] & RESIDENT == 0)
            .max_by_key(|&way| Guest::of(ways[way]).expendable(now));
        match oldest {
            Some(way) => {
                let guest = Guest::of(ways[way]);
                self.slots[set + way] = 0;
                self.guests -= 1;
                let gone = !quantum::counts(now, guest.stamp);
                (set + way, if gone { Displaced::Gone(guest) } else { Displaced::Guest(guest) })
            }
            None => {
                let way = (0..WAYS).min_by_key(|&way| deadline(ways[way] as u32)).expect("a set has ways");
                (set + way, Displaced::Resident(ways[way] as u32))
            }
        }
    }

    /// Puts a guest into a free slot.
    pub fn put_guest(&mut self, slot: usize, hash: u64, guest: Guest) {
        self.guests += u64::from(self.slots[slot] == 0);
        self.slots[slot] = guest.slot(Self::tag(hash));
    }

    /// A guest asks again. Returns it if this port is the third and earns it an entry.
    #[inline]
    pub fn greet(&mut self, slot: usize, port: u16, now: Stamp) -> Result<Guest, Option<Guest>> {
        let mut guest = Guest::of(self.slots[slot]);
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
        self.slots[slot] = guest.slot(self.slots[slot] >> TAG_SHIFT & TAG_MASK);
        Err(finished)
    }

    /// Puts a resident into a slot, its own as a guest or a free one.
    pub fn put_resident(&mut self, slot: usize, hash: u64, entry: u32) {
        let old = self.slots[slot];
        if old != 0 && old & RESIDENT == 0 {
            self.guests -= 1;
        }
        self.slots[slot] = OCCUPIED | RESIDENT | Self::tag(hash) << TAG_SHIFT | u64::from(entry);
    }

    /// Frees a slot.
    pub fn clear(&mut self, slot: usize) {
        if self.slots[slot] != 0 && self.slots[slot] & RESIDENT == 0 {
            self.guests -= 1;
        }
        self.slots[slot] = 0;
    }

    /// Lets go of the guests whose time is over, before their stamps could come round again.
    pub fn sweep(&mut self, now: Stamp, all: bool, mut finished: impl FnMut(Guest)) {
        if self.guests == 0 {
            return;
        }
        for slot in &mut self.slots {
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

/// The order in which residents must go: a queue of buckets by deadline. An entry that was seen again stays where it
/// is and is filed anew only when its old bucket comes up, so a probe costs one write here, and no search.
#[derive(Debug)]
pub struct Order {
    /// By entry: when it may go, in units of window/1024.
    deadline: Vec<u64>,
    next: Vec<u32>,
    buckets: Vec<u32>,
    frontier: u64,
}

impl Order {
    /// For so many entries.
    pub fn new(entries: usize) -> Self {
        Self { deadline: vec![0; entries], next: vec![0; entries], buckets: vec![NONE; BUCKETS], frontier: 0 }
    }

    /// Bytes of one entry.
    pub const ENTRY_BYTES: usize = size_of::<u64>() + size_of::<u32>();

    /// When an entry may go.
    #[inline]
    pub fn deadline(&self, entry: u32) -> u64 {
        self.deadline[entry as usize]
    }

    /// An entry was seen: it may go at `deadline`, not before.
    #[inline]
    pub fn extend(&mut self, entry: u32, deadline: u64) {
        self.deadline[entry as usize] = deadline;
    }

    /// Files a new entry.
    pub fn file(&mut self, entry: u32, deadline: u64) {
        self.deadline[entry as usize] = deadline;
        let bucket = deadline.clamp(self.frontier, self.frontier + BUCKETS as u64 - 1) as usize % BUCKETS;
        self.next[entry as usize] = self.buckets[bucket];
        self.buckets[bucket] = entry;
    }

    /// Takes out the entry that must go first. `None` only if there is none.
    pub fn pop(&mut self, filed: usize) -> Option<u32> {
        if filed == 0 {
            return None;
        }
        loop {
            let bucket = self.frontier as usize % BUCKETS;
            let entry = self.buckets[bucket];
            if entry == NONE {
                self.frontier += 1;
                continue;
            }
            self.buckets[bucket] = self.next[entry as usize];
            if self.deadline[entry as usize] <= self.frontier {
                return Some(entry);
            }
            self.file(entry, self.deadline[entry as usize]);
        }
    }

    /// Files everyone anew; what is older than `oldest` counts as that old.
    pub fn refile(&mut self, oldest: u64, entries: impl Iterator<Item = u32>) {
        self.buckets.fill(NONE);
        self.frontier = oldest;
        for entry in entries {
            self.file(entry, self.deadline[entry as usize]);
        }
    }
}
