//! The order in which residents must go.
//!
//! The adversary fills the table with sources of his own to push out a scanner. The resident with the least deadline goes: the latest
//! probe, plus credit for each distinct port and for coming back. Recency counts most, because a scanner must come back
//! twice a second to reach 20 ports in 10 s and a dead burst never does; evidence counts a little, so that a young scanner
//! outlasts a fresh burst of few ports.
//!
//! But a source with 19 ports may be silent for nearly a window and then send one more. So whoever has half of the
//! threshold's ports when its turn comes is not given up, but moved to a *reserve*, where only others with as much evidence
//! can push it out: noise of few ports never does, at whatever rate. A flood of bursts has as much, so sources that
//! never came back have a reserve of their own, and leave the ordinary order and the others' reserve alone.

use crate::detect::memory::{OutOfMemory, room_for, zeros};

/// Units of deadlines in a window.
pub const UNITS: u64 = 1024;

/// Credit for each distinct port, in units of window/1024: about a hundredth of the window.
const CREDIT: u64 = 10;

/// Credit for each further quantum in which a source probed, in units of window/1024, up to `SPREAD`: a scanner
/// comes back, a burst does not, however many ports it has.
const SPREAD_CREDIT: u64 = 51;

/// Quanta that count for it.
pub const SPREAD: u8 = 4;

/// Further quanta in which a source probed, to count as one that comes back.
const COMES_BACK: u8 = 2;

/// Where an entry is filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shelf {
    /// The ordinary order.
    Open,
    /// The reserve for bursts.
    Bursts,
    /// The reserve for who came back.
    Returned,
}

impl Shelf {
    const ALL: [Self; 3] = [Self::Open, Self::Bursts, Self::Returned];

    /// How many of so many entries may be there.
    fn limit(self, entries: usize) -> usize {
        match self {
            Self::Open => entries,
            // More, and a flood of sources that stop short of the threshold leaves less of the table to scanners.
            Self::Bursts | Self::Returned => entries / 32,
        }
    }
}

/// What decides when a resident must go.
#[derive(Debug, Clone, Copy)]
pub struct Evidence {
    /// Its latest probe, in units of window/1024.
    pub last_probe: u64,
    /// Distinct ports within the window.
    pub ports: u32,
    /// Further quanta in which it probed.
    pub spread: u8,
    /// It was moved to the reserve, and has not probed since.
    pub is_reserved: bool,
}

impl Evidence {
    /// Half of the threshold's ports: too much to be given up for a source of a few.
    pub fn is_strong(&self, threshold: u32) -> bool {
        u64::from(self.ports) * 2 >= u64::from(threshold)
    }

    /// Where it is filed, and when its turn comes there; the least first.
    pub fn rank(&self, threshold: u32) -> Rank {
        if self.is_reserved && self.is_strong(threshold) {
            // As long as a scan that just reaches the threshold may be silent: a window, if one port is missing.
            let missing = threshold.saturating_sub(self.ports).max(1);
            let shelf = if self.spread >= COMES_BACK { Shelf::Returned } else { Shelf::Bursts };
            return Rank { shelf, deadline: self.last_probe + UNITS / u64::from(missing) };
        }
        // More ports than this say no more, and no credit outlasts the window.
        let ports = u64::from(self.ports.min(threshold.saturating_mul(2)));
        let credit = (CREDIT * ports).min(UNITS) + SPREAD_CREDIT * u64::from(self.spread);
        let deadline = self.last_probe + credit;
        Rank { shelf: Shelf::Open, deadline }
    }
}

/// When a resident must go; the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    shelf: Shelf,
    /// In units of window/1024.
    deadline: u64,
}

impl Rank {
    /// Of one that was never seen before.
    pub fn fresh(now: u64) -> Self {
        Self { shelf: Shelf::Open, deadline: now }
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This one must go.
    Leaves(u32),
    /// This one must go, or be moved to a reserve and filed there.
    LeavesOrRests(u32),
}

/// Links name an entry by its number plus one. This one ends a bucket.
const NONE: u32 = u32::MAX;
/// The link of an entry in no bucket.
const UNFILED: u32 = 0;
/// Of deadlines: a window back, a window until all are filed anew, and the greatest credit fit.
const BUCKETS: usize = 4096;
const _: () = assert!(BUCKETS as u64 > 3 * UNITS + SPREAD_CREDIT * SPREAD as u64);

/// Entries in buckets by deadline.
#[derive(Debug)]
struct Queue {
    buckets: Vec<u32>,
    frontier: u64,
    filed: usize,
}

impl Queue {
    fn new() -> Result<Self, OutOfMemory> {
        let mut buckets = room_for(BUCKETS)?;
        buckets.resize(BUCKETS, NONE);
        Ok(Self { buckets, frontier: 0, filed: 0 })
    }
}

/// Residents in the order in which they must go. Whoever uses it knows the ranks. An entry that was seen again stays where
/// it is and is filed anew only when its old bucket comes up, so a probe costs nothing here. While nobody has to go it
/// need not be kept: `refile` makes it from nothing.
#[derive(Debug)]
pub struct Order {
    next: Vec<u32>,
    /// One for each shelf.
    queues: [Queue; Shelf::ALL.len()],
    is_kept: bool,
}

impl Order {
    /// For so many entries.
    pub fn new(entries: usize) -> Result<Self, OutOfMemory> {
        let queues = [Queue::new()?, Queue::new()?, Queue::new()?];
        Ok(Self { next: zeros(entries)?, queues, is_kept: false })
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

    /// Files an entry, while the order is kept. One that is filed already stays where it is.
    #[inline]
    pub fn file(&mut self, entry: u32, rank: Rank) {
        if !self.is_kept || self.next[entry as usize] != UNFILED {
            return;
        }
        let queue = &mut self.queues[rank.shelf as usize];
        let latest = queue.frontier + BUCKETS as u64 - 1;
        let bucket = rank.deadline.clamp(queue.frontier, latest) as usize % BUCKETS;
        self.next[entry as usize] = queue.buckets[bucket];
        queue.buckets[bucket] = entry + 1;
        queue.filed += 1;
    }

    /// Takes out the entry whose turn it is, if any is filed.
    pub fn pop(&mut self, rank: impl Fn(u32) -> Rank) -> Option<Turn> {
        debug_assert!(self.is_kept, "only who is filed can be found");
        // Each turn moves a frontier on, or an entry to where it belongs: from one shelf to another at most once, and within
        // one at most once, for its deadline stands still while this runs.
        for _ in 0..Shelf::ALL.len() * BUCKETS + 2 * self.next.len() {
            let is_full = |shelf: &Shelf| self.queues[*shelf as usize].filed > shelf.limit(self.next.len());
            let shelf = [Shelf::Bursts, Shelf::Returned].into_iter().find(is_full).unwrap_or(Shelf::Open);
            let queue = &mut self.queues[shelf as usize];
            if queue.filed == 0 {
                return None;
            }
            let bucket = queue.frontier as usize % BUCKETS;
            let link = queue.buckets[bucket];
            if link == NONE {
                queue.frontier += 1;
                continue;
            }
            let entry = link - 1;
            queue.buckets[bucket] = self.next[entry as usize];
            self.next[entry as usize] = UNFILED;
            queue.filed -= 1;
            let rank = rank(entry);
            if rank.shelf == shelf && rank.deadline <= queue.frontier {
                return Some(if shelf == Shelf::Open {
                    Turn::LeavesOrRests(entry)
                } else {
                    Turn::Leaves(entry)
                });
            }
            self.file(entry, rank);
        }
        None
    }

    /// Files everyone anew, each with a rank; what is older than `oldest` counts as that old.
    pub fn refile(&mut self, oldest: u64, entries: impl Iterator<Item = (u32, Rank)>) {
        self.next.fill(UNFILED);
        for queue in &mut self.queues {
            queue.buckets.fill(NONE);
            queue.frontier = oldest;
            queue.filed = 0;
        }
        self.is_kept = true;
        for (entry, rank) in entries {
            self.file(entry, rank);
        }
    }
}
