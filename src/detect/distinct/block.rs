//! Blocks: where the ports of a source lie once they outgrow its short list. Exact, and counted in constant time.
//!
//! A block is an open-addressed table of 192 or 1,984 cells, or one cell for each of the 65,536 ports. The blocks of one
//! size are a pool, which is fixed at start.

use crate::detect::distinct::answers::{Answer, Answers};
pub(crate) use crate::detect::distinct::header::{AGES, Header};
use crate::detect::memory::{Aligned, OutOfMemory, room_for};
use crate::detect::time::quantum::{Stamp, age, counts, stamp};
use crate::detect::tuning::{BLOCK_CELLS, BLOCK_LOOKS, QUANTA};
use std::num::NonZeroU32;

/// A port, the stamp of its latest probe, and which tracked hosts were asked for it:
/// `port << 16 | stamp << 8 | OCCUPIED | hosts`.
pub(crate) type Cell = u32;
const OCCUPIED: Cell = 0x80;

/// The bits of tracked hosts in a cell.
const HOSTS: Cell = 0x7f;

pub(crate) fn cell(port: u16, at: Stamp, hosts: u8) -> Cell {
    Cell::from(port) << 16 | Cell::from(at) << 8 | OCCUPIED | (Cell::from(hosts) & HOSTS)
}

#[inline]
pub(crate) fn port_of(cell: Cell) -> u16 {
    (cell >> 16) as u16
}

#[inline]
pub(crate) fn stamp_of(cell: Cell) -> Stamp {
    (cell >> 8) as Stamp
}

#[inline]
pub(crate) fn hosts_of(cell: Cell) -> u8 {
    (cell & HOSTS) as u8
}

/// Bytes of a block with so many cells.
pub(crate) const fn block_bytes(cells: usize) -> usize {
    cells * size_of::<Cell>() + size_of::<Header>() + size_of::<u32>()
}

/// Blocks of one size: open-addressed cells, or one cell for each port.
#[derive(Debug)]
pub(crate) struct Pool {
    block_cells: usize,
    cells: Aligned<Cell>,
    /// By block and cell. A block without answers has none in its cells.
    answers: Answers,
    pub headers: Vec<Header>,
    free: Vec<u32>,
    limit: usize,
    /// The block that was looked at last for one to take away.
    hand: usize,
    /// In this quantum so many looks found a block that had to stay.
    failed_looks: (u64, usize),
}

impl Pool {
    pub(crate) fn new(block_cells: usize, limit: usize, keeps_answers: bool) -> Result<Self, OutOfMemory> {
        Ok(Self {
            block_cells,
            answers: Answers::new(limit, block_cells, keeps_answers)?,
            // Zeroed by the kernel when first touched: memory at rest is what was used, never more than the limit.
            cells: Aligned::new(block_cells.saturating_mul(limit))?,
            headers: room_for(limit)?,
            free: room_for(limit)?,
            limit,
            hand: 0,
            failed_looks: (0, 0),
        })
    }

    pub(crate) fn take(&mut self, owner: u32, now: u64, keeps_all: bool) -> Option<u32> {
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.headers.len() == self.limit => return None,
            None => {
                self.headers.push(Header::EMPTY);
                self.headers.len() as u32 - 1
            }
        };
        self.headers[at as usize] = Header { owner, marked: now, keeps_all, ..Header::EMPTY };
        Some(at)
    }

    pub(crate) fn give_back(&mut self, at: u32) {
        self.cells_mut(at).fill(0);
        if self.headers[at as usize].has_answers {
            self.answers.clear(at as usize);
        }
        self.headers[at as usize] = Header::EMPTY;
        self.free.push(at);
    }

    /// Whether no block can be had for the rest of this quantum, unless one is given back: none is free, and as many looks as there
    /// are blocks found one that had to stay.
    #[inline]
    pub(crate) fn is_spent(&self, now: u64) -> bool {
        let (quantum, looks) = self.failed_looks;
        quantum == now && looks >= self.limit && self.free.is_empty()
    }

    /// Among the next few blocks, the owner of the one that is worth least; `worth` is `None` if it must stay. Call it only
    /// when no block is free.
    ///
    /// The adversary has a scan on every block and asks for more: what cannot be taken is looked at once a quantum.
    pub(crate) fn least_worth<W: Ord>(
        &mut self,
        now: u64,
        worth: impl Fn(&Header) -> Option<W>,
    ) -> Option<u32> {
        if self.failed_looks.0 != now {
            self.failed_looks = (now, 0);
        }
        let mut least: Option<(W, u32)> = None;
        for _ in 0..BLOCK_LOOKS.min(self.headers.len()) {
            if self.failed_looks.1 >= self.headers.len() {
                break;
            }
            self.hand = if self.hand + 1 < self.headers.len() { self.hand + 1 } else { 0 };
            let header = &self.headers[self.hand];
            match worth(header) {
                None => self.failed_looks.1 += 1,
                Some(worth) if least.as_ref().is_none_or(|(least, _)| worth < *least) => {
                    least = Some((worth, header.owner));
                }
                Some(_) => {}
            }
        }
        least.map(|(_, owner)| owner)
    }

    pub(crate) fn cells(&self, at: u32) -> &[Cell] {
        &self.cells.as_slice()[at as usize * self.block_cells..][..self.block_cells]
    }

    fn cells_mut(&mut self, at: u32) -> &mut [Cell] {
        &mut self.cells.as_mut_slice()[at as usize * self.block_cells..][..self.block_cells]
    }

    /// Whether a port can be looked up directly by its number.
    fn is_direct(&self) -> bool {
        self.block_cells == BLOCK_CELLS[2]
    }

    /// Where the search for a port starts (Fibonacci hashing). Ports are all a source can choose, and a block has
    /// few enough cells that the worst choice costs one pass over it.
    fn home(&self, port: u16) -> usize {
        ((u64::from(u32::from(port).wrapping_mul(0x9e37_79b9)) * self.block_cells as u64) >> 32) as usize
    }

    /// Where a port is or would be: one pass at most. `None` if every cell holds another port.
    #[inline]
    fn find(&self, at: u32, port: u16) -> Option<usize> {
        if self.is_direct() {
            return Some(usize::from(port));
        }
        let cells = self.cells(at);
        let home = self.home(port);
        let is_it = |&cell: &Cell| cell == 0 || port_of(cell) == port;
        match cells[home..].iter().position(is_it) {
            Some(behind) => Some(home + behind),
            None => cells[..home].iter().position(is_it),
        }
    }

    /// Whether a block takes no more than so many ports: searches in a fuller one would be long.
    pub(crate) fn is_filled_by(&self, ports: usize) -> bool {
        !self.is_direct() && ports * 4 >= self.block_cells * 3
    }

    /// The most ports that a block takes.
    pub(crate) fn most_ports(cells: usize) -> usize {
        if cells == BLOCK_CELLS[2] { cells } else { cells * 3 / 4 }
    }

    #[inline]
    fn is_full(&self, at: u32) -> bool {
        self.is_filled_by(self.headers[at as usize].occupied as usize)
    }

    /// Whether a quarter of a block is taken by ports that no longer count.
    pub(crate) fn is_worth_clearing(&self, at: u32) -> bool {
        let header = &self.headers[at as usize];
        (header.occupied - header.counted) as usize * 4 >= self.block_cells
    }

    /// Marks the ports that no longer count, before their stamps could come round again.
    fn mark_expired(&mut self, at: u32, to: u64, all: bool) {
        let now = stamp(to);
        for cell in self.cells_mut(at) {
            if *cell != 0 && (all || !counts(now, stamp_of(*cell))) {
                *cell &= !(0xff << 8);
            }
        }
        self.headers[at as usize].marked = to;
    }

    pub(crate) fn expire(&mut self, at: u32, from: u64, to: u64) -> u32 {
        let header = &mut self.headers[at as usize];
        header.expire(from, to);
        let (counted, marked) = (header.counted, header.marked);
        if to - marked > QUANTA {
            self.mark_expired(at, to, to - from > QUANTA);
        }
        counted
    }

    /// Counts a port now. False if it is not in the block and there is no room for it.
    #[inline]
    pub(crate) fn record(&mut self, at: u32, port: u16, hosts: u8, to: u64) -> bool {
        let Some(here) = self.find(at, port) else { return false };
        let old = self.cells(at)[here];
        if old == 0 && self.is_full(at) {
            return false;
        }
        let is_forgotten = !self.headers[at as usize].keeps_all && !counts(stamp(to), stamp_of(old));
        let held = if is_forgotten { 0 } else { hosts_of(old) };
        if self.headers[at as usize].has_answers && (is_forgotten || old == 0) {
            self.answers.set(at as usize, here, Answer::Silent);
        }
        self.write(at, here, cell(port, stamp(to), held | hosts), to);
        true
    }

    /// Counts a port in the place of the one at its home: the count stops growing, and never falls while the source goes on.
    pub(crate) fn replace(&mut self, at: u32, port: u16, hosts: u8, to: u64) {
        let here = self.home(port);
        if self.headers[at as usize].has_answers {
            self.answers.set(at as usize, here, Answer::Silent);
        }
        self.write(at, here, cell(port, stamp(to), hosts), to);
    }

    #[inline]
    fn write(&mut self, at: u32, here: usize, new: Cell, to: u64) {
        let old = std::mem::replace(&mut self.cells_mut(at)[here], new);
        if old == new {
            return;
        }
        let header = &mut self.headers[at as usize];
        header.occupied += u32::from(old == 0);
        header.until_new_host = header.until_new_host.saturating_sub(1);
        header.count(to, (old != 0 && counts(stamp(to), stamp_of(old))).then(|| stamp_of(old)));
        header.ask(hosts_of(old), hosts_of(new));
    }

    /// Puts a port into an empty block that has room for it, with its stamp, hosts and answer.
    pub(crate) fn insert(&mut self, at: u32, held: Cell, answer: Answer, to: u64) {
        let Some(here) = self.find(at, port_of(held)) else { return };
        self.cells_mut(at)[here] = held;
        if answer != Answer::Silent {
            self.answers.set(at as usize, here, answer);
        }
        let header = &mut self.headers[at as usize];
        header.has_answers |= answer != Answer::Silent;
        header.occupied += 1;
        header.ask(0, hosts_of(held));
        if counts(stamp(to), stamp_of(held)) {
            let back = u64::from(age(stamp(to), stamp_of(held)));
            header.by_quantum[Header::slot(to - back)] += 1;
            header.counted += 1;
        }
    }

    /// Lets go of the ports that no longer count.
    pub(crate) fn clear_expired(&mut self, at: u32, to: u64, scratch: &mut Vec<(Cell, Answer)>) {
        let now = stamp(to);
        let is_expired = |cell: Cell| cell != 0 && !counts(now, stamp_of(cell));
        if self.is_direct() {
            let range = at as usize * self.block_cells..(at as usize + 1) * self.block_cells;
            let header = &mut self.headers[at as usize];
            for (port, cell) in self.cells.as_mut_slice()[range].iter_mut().enumerate() {
                if is_expired(*cell) {
                    header.ask(hosts_of(*cell), 0);
                    header.occupied -= 1;
                    *cell = 0;
                    if header.has_answers {
                        self.answers.set(at as usize, port, Answer::Silent);
                    }
                }
            }
            return;
        }
        let Header { owner, keeps_all, .. } = self.headers[at as usize];
        scratch.clear();
        scratch.extend(self.held(at).filter(|&(cell, _)| !is_expired(cell)));
        self.cells_mut(at).fill(0);
        if self.headers[at as usize].has_answers {
            self.answers.clear(at as usize);
        }
        self.headers[at as usize] = Header { owner, keeps_all, marked: to, ..Header::EMPTY };
        for &(held, answer) in scratch.iter() {
            self.insert(at, held, answer, to);
        }
    }

    /// Its ports, each with its answer.
    pub(crate) fn held(&self, at: u32) -> impl Iterator<Item = (Cell, Answer)> + Clone {
        let has_answers = self.headers[at as usize].has_answers;
        let held = self.cells(at).iter().enumerate().filter(|&(_, &cell)| cell != 0);
        held.map(move |(here, &cell)| {
            (cell, if has_answers { self.answers.get(at as usize, here) } else { Answer::Silent })
        })
    }

    /// A port was answered. Says whether it is one of these.
    pub(crate) fn answer(&mut self, at: u32, port: u16, answer: Answer) -> bool {
        let Some(here) = self.find(at, port).filter(|&here| self.cells(at)[here] != 0) else { return false };
        self.answers.note(at as usize, here, answer);
        self.headers[at as usize].has_answers = true;
        true
    }

    /// How many of the ports that count and were not answered are how old, in quanta; `now` is the block's present.
    pub(crate) fn unanswered_by_age(&self, at: u32, now: u64) -> [u32; AGES] {
        let header = &self.headers[at as usize];
        let mut by_age = std::array::from_fn(|age| header.of_age(now, age as u64));
        if header.has_answers {
            let answered = self
                .held(at)
                .filter(|&(cell, answer)| answer == Answer::Answered && counts(stamp(now), stamp_of(cell)));
            answered.for_each(|(cell, _)| by_age[usize::from(age(stamp(now), stamp_of(cell)))] -= 1);
        }
        by_age
    }

    /// Forgets which ports were asked of some tracked hosts.
    pub(crate) fn forget_hosts(&mut self, at: u32, hosts: u8) {
        let pass = (self.block_cells / 64) as u32;
        for cell in self.cells_mut(at) {
            *cell &= !(Cell::from(hosts) & HOSTS);
        }
        let header = &mut self.headers[at as usize];
        header.until_new_host = pass;
        for (host, asked) in header.asked.iter_mut().enumerate() {
            *asked = if hosts >> host & 1 == 1 { 0 } else { *asked };
        }
    }
}

/// A block of a pool: the pool's number in two bits, the block's in the rest, and one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block(NonZeroU32);

impl Block {
    pub(crate) fn new(pool: usize, at: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(at << 2 | pool as u32))
    }

    /// Pool and place.
    #[inline]
    pub(crate) fn parts(self) -> (usize, u32) {
        let bits = self.0.get() - 1;
        (bits as usize & 3, bits >> 2)
    }
}
