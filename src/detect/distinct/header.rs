//! The header of a block: what is counted of its ports.

use crate::detect::time::quantum::{Stamp, age, stamp};
use crate::detect::tuning::{QUANTA, TRACKED_HOSTS};

/// Quanta in which a port can count: its own and the 60 after.
pub(crate) const AGES: usize = QUANTA as usize + 1;

/// The header of a block: whose it is, and how many of its ports count, by the quantum of their latest probe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(super) by_quantum: [u32; AGES],
    pub counted: u32,
    /// Cells in use, by ports that count and by ports that no longer do.
    pub occupied: u32,
    /// Quantum up to which the dead were marked in the cells.
    pub marked: u64,
    /// The ports of each tracked host.
    pub asked: [u32; TRACKED_HOSTS],
    /// Probes until a new host may take the place of a tracked one: to forget that one takes a pass over the block.
    pub until_new_host: u32,
    /// The row that has the block.
    pub owner: u32,
    /// Whether ports that no longer count are kept, because a scan is open.
    pub keeps_all: bool,
    /// Whether some of the ports may have been answered.
    pub has_answers: bool,
}

impl Header {
    pub(super) const EMPTY: Header = Header {
        by_quantum: [0; AGES],
        counted: 0,
        occupied: 0,
        marked: 0,
        asked: [0; TRACKED_HOSTS],
        until_new_host: 0,
        owner: 0,
        keeps_all: false,
        has_answers: false,
    };

    pub(super) fn slot(quantum: u64) -> usize {
        (quantum % AGES as u64) as usize
    }

    /// Ports whose latest probe was so many quanta before `now`, the block's present.
    pub(crate) fn of_age(&self, now: u64, age: u64) -> u32 {
        if age > now { 0 } else { self.by_quantum[Self::slot(now - age)] }
    }

    /// How many of the ports that count at quantum `from`, the block's present, still do at `to`.
    pub(crate) fn left_at(&self, from: u64, to: u64) -> u32 {
        if to - from > QUANTA {
            return 0;
        }
        self.counted - ((from + 1)..=to).map(|gone| self.by_quantum[Self::slot(gone)]).sum::<u32>()
    }

    /// Forgets what leaves the window between two quanta.
    pub(super) fn expire(&mut self, from: u64, to: u64) {
        for gone in (from + 1)..=to.min(from + AGES as u64) {
            let bucket = &mut self.by_quantum[Self::slot(gone)];
            self.counted -= *bucket;
            *bucket = 0;
        }
    }

    /// A port counts from now on; `was` is its old stamp if it counted before. `to` is now.
    #[inline]
    pub(super) fn count(&mut self, to: u64, was: Option<Stamp>) {
        match was {
            Some(then) => {
                let back = u64::from(age(stamp(to), then));
                self.by_quantum[Self::slot(to - back)] -= 1;
            }
            None => self.counted += 1,
        }
        self.by_quantum[Self::slot(to)] += 1;
    }

    /// The hosts that were asked for a port are others now.
    #[inline]
    pub(super) fn ask(&mut self, before: u8, after: u8) {
        let mut changed = before ^ after;
        while changed != 0 {
            let host = changed.trailing_zeros() as usize;
            self.asked[host] =
                if after >> host & 1 == 1 { self.asked[host] + 1 } else { self.asked[host] - 1 };
            changed &= changed - 1;
        }
    }
}
