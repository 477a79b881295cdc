//! The eviction queue: the order in which rows are given up.
//!
//! The adversary fills the table with sources of his own to push out a scanner. The row with the least deadline goes: the latest
//! probe, plus credit for each distinct port and for coming back. Recency counts most, because a scanner must come back
//! twice a second to reach 20 ports in 10 s and a dead burst never does; evidence counts a little, so that a young scanner
//! outlasts a fresh burst of few ports.
//!
//! But a source with 19 ports may be silent for nearly a window and then send one more. So a row with half of the
//! threshold's ports when its turn comes is not given up, but moved to a *reserve*, where only others with as much evidence
//! can push it out: noise of few ports never does, at whatever rate. A flood of bursts has as much, so sources that
//! never came back have a reserve of their own, and leave the ordinary order and the others' reserve alone.

use crate::detect::memory::{OutOfMemory, room_for, zeros};
use crate::detect::tuning::{CREDIT, MOST_RETURNS, RESERVE, RETURN_CREDIT, RETURNING, STRONG, UNITS};

/// Where a row is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// The ordinary order.
    Ordinary,
    /// The reserve for bursts.
    Bursts,
    /// The reserve for sources that came back.
    Returning,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Ordinary, Self::Bursts, Self::Returning];

    /// How many of so many rows may be there.
    fn limit(self, rows: usize) -> usize {
        match self {
            Self::Ordinary => rows,
            Self::Bursts | Self::Returning => rows / RESERVE.1 * RESERVE.0,
        }
    }
}

/// What decides when a row is given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    /// Its latest probe, in units of window/1024.
    pub last_probe: u64,
    /// Distinct ports within the window.
    pub ports: u32,
    /// Further quanta in which it probed.
    pub returns: u8,
    /// It was moved to the reserve, and has not probed since.
    pub is_reserved: bool,
}

impl Evidence {
    /// Whether it has too many ports to be given up for a source of a few.
    pub(crate) fn is_strong(&self, threshold: u32) -> bool {
        u64::from(self.ports) * u64::from(STRONG.1) >= u64::from(threshold) * u64::from(STRONG.0)
    }

    /// Where it is queued, and when its turn comes there; the least first.
    pub(crate) fn rank(&self, threshold: u32) -> Rank {
        if self.is_reserved && self.is_strong(threshold) {
            // As long as a scan that just reaches the threshold may be silent: a window, if one port is missing.
            let missing = threshold.saturating_sub(self.ports).max(1);
            let lane = if self.returns >= RETURNING { Lane::Returning } else { Lane::Bursts };
            return Rank { lane, deadline: self.last_probe + UNITS / u64::from(missing) };
        }
        // More ports than this say no more, and no credit outlasts the window.
        let ports = u64::from(self.ports.min(threshold.saturating_mul(2)));
        let credit = (CREDIT * ports).min(UNITS) + RETURN_CREDIT * u64::from(self.returns);
        let deadline = self.last_probe + credit;
        Rank { lane: Lane::Ordinary, deadline }
    }
}

/// When a row is given up; the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    lane: Lane,
    /// In units of window/1024.
    deadline: u64,
}

impl Rank {
    /// Of one that was never seen before.
    pub(crate) fn fresh(now: u64) -> Self {
        Self { lane: Lane::Ordinary, deadline: now }
    }
}

/// The row whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// To be given up.
    Evict(u32),
    /// To be given up, or moved to a reserve and queued there.
    EvictOrReserve(u32),
}

/// Links name a row by its number plus one. This one ends a bucket.
const NONE: u32 = u32::MAX;
/// The link of a row in no bucket.
const UNQUEUED: u32 = 0;
/// Of deadlines: a window back, a window and a half until all are queued anew, and the greatest credit fit.
const BUCKETS: usize = 4096;
const _: () = assert!(BUCKETS as u64 > 3 * UNITS + UNITS / 2 + RETURN_CREDIT * MOST_RETURNS as u64);

/// Rows in buckets by deadline.
#[derive(Debug)]
struct Queue {
    buckets: Vec<u32>,
    frontier: u64,
    queued: usize,
}

impl Queue {
    fn new() -> Result<Self, OutOfMemory> {
        let mut buckets = room_for(BUCKETS)?;
        buckets.resize(BUCKETS, NONE);
        Ok(Self { buckets, frontier: 0, queued: 0 })
    }
}

/// Rows in the order in which they are given up. The caller knows their ranks. A row whose source probes again stays where
/// it is and is queued anew only when its old bucket comes up, so a probe costs nothing here. While no row need be given
/// up the queue is suspended: `rebuild` makes it from nothing.
#[derive(Debug)]
pub(crate) struct EvictionQueue {
    next: Vec<u32>,
    /// One for each lane.
    queues: [Queue; Lane::ALL.len()],
    is_active: bool,
}

impl EvictionQueue {
    /// For so many rows.
    pub(crate) fn new(rows: usize) -> Result<Self, OutOfMemory> {
        let queues = [Queue::new()?, Queue::new()?, Queue::new()?];
        Ok(Self { next: zeros(rows)?, queues, is_active: false })
    }

    /// Bytes of one row.
    pub(crate) const ROW_BYTES: usize = size_of::<u32>();

    /// Whether every row is queued; if not, `rebuild` comes before `pop`.
    pub(crate) fn is_active(&self) -> bool {
        self.is_active
    }

    /// No row need be given up for now.
    pub(crate) fn suspend(&mut self) {
        self.is_active = false;
    }

    /// Queues a row, unless suspended. One that is queued already stays where it is.
    #[inline]
    pub(crate) fn insert(&mut self, row: u32, rank: Rank) {
        if !self.is_active || self.next[row as usize] != UNQUEUED {
            return;
        }
        let queue = &mut self.queues[rank.lane as usize];
        let latest = queue.frontier + BUCKETS as u64 - 1;
        let bucket = rank.deadline.clamp(queue.frontier, latest) as usize % BUCKETS;
        self.next[row as usize] = queue.buckets[bucket];
        queue.buckets[bucket] = row + 1;
        queue.queued += 1;
    }

    /// Takes out the row whose turn it is, if any is queued.
    pub(crate) fn pop(&mut self, rank: impl Fn(u32) -> Rank) -> Option<Due> {
        debug_assert!(self.is_active, "only rows that are queued can be found");
        // Each turn moves a frontier on, or a row to where it belongs: from one lane to another at most once, and within
        // one at most once, for its deadline stands still while this runs.
        for _ in 0..Lane::ALL.len() * BUCKETS + 2 * self.next.len() {
            let is_full = |lane: &Lane| self.queues[*lane as usize].queued > lane.limit(self.next.len());
            let lane = [Lane::Bursts, Lane::Returning].into_iter().find(is_full).unwrap_or(Lane::Ordinary);
            let queue = &mut self.queues[lane as usize];
            if queue.queued == 0 {
                return None;
            }
            let bucket = queue.frontier as usize % BUCKETS;
            let link = queue.buckets[bucket];
            if link == NONE {
                queue.frontier += 1;
                continue;
            }
            let row = link - 1;
            queue.buckets[bucket] = self.next[row as usize];
            self.next[row as usize] = UNQUEUED;
            queue.queued -= 1;
            let rank = rank(row);
            if rank.lane == lane && rank.deadline <= queue.frontier {
                return Some(if lane == Lane::Ordinary { Due::EvictOrReserve(row) } else { Due::Evict(row) });
            }
            self.insert(row, rank);
        }
        None
    }

    /// Queues every row anew, each with a rank; what is older than `oldest` counts as that old.
    pub(crate) fn rebuild(&mut self, oldest: u64, rows: impl Iterator<Item = (u32, Rank)>) {
        self.next.fill(UNQUEUED);
        for queue in &mut self.queues {
            queue.buckets.fill(NONE);
            queue.frontier = oldest;
            queue.queued = 0;
        }
        self.is_active = true;
        for (row, rank) in rows {
            self.insert(row, rank);
        }
    }
}
