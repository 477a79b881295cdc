//! The distinct ports of a source: few in line, many in a compact exact form, all 65,536 countable.
//!
//! A source starts with a short list (`inline_ports`). Once it scans, its ports move to a block that counts in
//! constant time: an open-addressed table of 192 or 1,984 cells, or one cell for each of the 65,536 ports. Blocks come
//! from pools of fixed size. When a pool is spent, a set stops growing where it is ("saturated"): an attacker who opens
//! many wide scans makes others' counts stop above the threshold, and nobody's hit late.

use super::cache::{Aligned, prefetch};
use super::quantum::{DEAD, QUANTA, Stamp, age, before, counts, stamp};
use super::scan::PortSample;
use std::num::NonZeroU32;

/// A port, the stamp of its latest probe, and which known hosts were asked for it:
/// `port << 16 | stamp << 8 | OCCUPIED | hosts`.
type Cell = u32;
const OCCUPIED: Cell = 0x80;

/// The bits of known hosts in a cell.
const HOSTS: Cell = 0x7f;

fn cell(port: u16, at: Stamp, hosts: u8) -> Cell {
    Cell::from(port) << 16 | Cell::from(at) << 8 | OCCUPIED | (Cell::from(hosts) & HOSTS)
}

#[inline]
fn port_of(cell: Cell) -> u16 {
    (cell >> 16) as u16
}

#[inline]
fn stamp_of(cell: Cell) -> Stamp {
    (cell >> 8) as Stamp
}

/// Quanta in which a port can count: its own and the 60 after.
const RING: usize = QUANTA as usize + 1;

/// What a block knows beside its cells: how many ports count, by the quantum of their latest probe.
#[derive(Debug, Clone, Copy)]
struct Ring {
    by_quantum: [u32; RING],
    counted: u32,
    occupied: u32,
    /// Quantum up to which the dead were marked in the cells.
    marked: u64,
}

impl Ring {
    const EMPTY: Ring = Ring { by_quantum: [0; RING], counted: 0, occupied: 0, marked: 0 };

    fn slot(quantum: u64) -> usize {
        (quantum % RING as u64) as usize
    }

    /// Forgets what leaves the window between two quanta.
    fn expire(&mut self, from: u64, to: u64) {
        for gone in (from + 1)..=to.min(from + RING as u64) {
            let bucket = &mut self.by_quantum[Self::slot(gone)];
            self.counted -= *bucket;
            *bucket = 0;
        }
    }

    /// A port counts from now on; `was` is its old stamp if it counted before. `to` is now.
    fn count(&mut self, to: u64, was: Option<Stamp>) {
        match was {
            Some(then) => {
                let back = u64::from(age(stamp(to), then));
                self.by_quantum[Self::slot(to - back)] -= 1;
            }
            None => self.counted += 1,
        }
        self.by_quantum[Self::slot(to)] += 1;
    }
}

/// Blocks of one size: open-addressed cells, or one cell for each port.
#[derive(Debug)]
struct Pool {
    block_cells: usize,
    cells: Aligned<Cell>,
    rings: Vec<Ring>,
    free: Vec<u32>,
    limit: usize,
}

/// Cells of the three block sizes.
const BLOCK_CELLS: [usize; 3] = [192, 1_984, 65_536];

impl Pool {
    fn new(block_cells: usize, limit: usize) -> Self {
        Self {
            block_cells,
            // Zeroed by the kernel when first touched: memory at rest is what was used, never more than the limit.
            cells: Aligned::new(block_cells * limit, 0),
            rings: Vec::with_capacity(limit),
            free: Vec::with_capacity(limit),
            limit,
        }
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(at) = self.free.pop() {
            return Some(at);
        }
        if self.rings.len() == self.limit {
            return None;
        }
        self.rings.push(Ring::EMPTY);
        Some(self.rings.len() as u32 - 1)
    }

    fn give_back(&mut self, at: u32) {
        self.cells_mut(at).fill(0);
        self.rings[at as usize] = Ring::EMPTY;
        self.free.push(at);
    }

    fn cells(&self, at: u32) -> &[Cell] {
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
    fn find(&self, at: u32, port: u16) -> Option<usize> {
        if self.is_direct() {
            return Some(usize::from(port));
        }
        let cells = self.cells(at);
        let (before, behind) = cells.split_at(self.home(port));
        let mut in_turn = (before.len()..cells.len()).zip(behind).chain((0..).zip(before));
        in_turn.find(|&(_, &cell)| cell == 0 || port_of(cell) == port).map(|(here, _)| here)
    }

    /// Whether a block takes no more than so many ports: searches in a fuller one would be long.
    fn is_filled_by(&self, ports: usize) -> bool {
        !self.is_direct() && ports * 4 >= self.block_cells * 3
    }

    fn is_full(&self, at: u32) -> bool {
        self.is_filled_by(self.rings[at as usize].occupied as usize)
    }

    /// Marks the ports that no longer count, before their stamps could come round again.
    fn mark_dead(&mut self, at: u32, to: u64, all: bool) {
        let now = stamp(to);
        for cell in self.cells_mut(at) {
            if *cell != 0 && (all || !counts(now, stamp_of(*cell))) {
                *cell &= !(0xff << 8);
            }
        }
        self.rings[at as usize].marked = to;
    }

    fn expire(&mut self, at: u32, from: u64, to: u64) -> u32 {
        let ring = &mut self.rings[at as usize];
        ring.expire(from, to);
        let (counted, marked) = (ring.counted, ring.marked);
        if to - marked > QUANTA {
            self.mark_dead(at, to, to - from > QUANTA);
        }
        counted
    }

    /// Counts a port now. Returns whether the block holds one more.
    fn record(&mut self, at: u32, port: u16, hosts: u8, to: u64) -> bool {
        let now = stamp(to);
        let found = self.find(at, port);
        // No larger block is left for a port more: it takes the place of the one at its home. The count stops growing, and
        // never falls while the source goes on.
        let here = match found {
            Some(here) if self.cells(at)[here] != 0 || !self.is_full(at) => here,
            _ => self.home(port),
        };
        let old = self.cells(at)[here];
        let known = if old != 0 && port_of(old) == port { old as u8 } else { 0 };
        let new = cell(port, now, known & HOSTS as u8 | hosts);
        if old == new {
            return false;
        }
        self.cells_mut(at)[here] = new;
        let ring = &mut self.rings[at as usize];
        ring.occupied += u32::from(old == 0);
        ring.count(to, (old != 0 && counts(now, stamp_of(old))).then(|| stamp_of(old)));
        old == 0
    }
}

/// A block of a pool: the pool's number in two bits, the block's in the rest, and one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block(NonZeroU32);

impl Block {
    fn new(pool: usize, at: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(at << 2 | pool as u32))
    }

    /// Pool and place.
    #[inline]
    fn parts(self) -> (usize, u32) {
        let bits = self.0.get() - 1;
        (bits as usize & 3, bits >> 2)
    }
}

/// The distinct ports of one source. The cells are in `PortStore`.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Where they are: in the source's own short list, or in a block.
    block: Option<Block>,
    /// Ports that count, as of the latest `expire` or `record`.
    counted: u32,
    /// Distinct ports since `widen`.
    union: u32,
    saturated: bool,
    /// In line: no port is older than this, so most quanta have nothing to let go.
    oldest: Stamp,
}

impl Ports {
    /// No ports.
    pub const NONE: Ports = Ports { block: None, counted: 0, union: 0, saturated: false, oldest: DEAD };

    /// Ports that count, as of the latest `expire` or `record`.
    #[inline]
    pub fn count(&self) -> u32 {
        self.counted
    }

    /// Distinct ports since the scan began.
    pub fn union(&self) -> u32 {
        self.union.max(self.counted)
    }

    /// A scan begins, but no block is left: from here on the union is a bound, not a count.
    pub fn begin_union(&mut self) {
        self.union = self.counted;
    }

    /// Whether the count has stopped growing for want of memory.
    pub fn is_saturated(&self) -> bool {
        self.saturated
    }
}

/// What is known of a port in a short list, besides its number: `stamp << 8 | hosts`.
type Mark = u16;

#[inline]
fn mark(at: Stamp, hosts: u8) -> Mark {
    Mark::from(at) << 8 | Mark::from(hosts)
}

#[inline]
fn mark_stamp(mark: Mark) -> Stamp {
    (mark >> 8) as Stamp
}

/// Ports of a short list that are compared at once, without an exit between: a line of them.
pub const AT_ONCE: usize = 32;

/// Where a port is in a list of whole lines, used up or not.
#[inline]
fn position(numbers: &[u16], port: u16) -> Option<usize> {
    let (lines, _) = numbers.as_chunks::<AT_ONCE>();
    for (n, line) in lines.iter().enumerate() {
        if line.iter().fold(false, |found, &known| found | (known == port)) {
            return line.iter().position(|&known| known == port).map(|at| n * AT_ONCE + at);
        }
    }
    None
}

/// Where the oldest port of a full list is.
#[inline]
fn oldest(marks: &[Mark], now: Stamp) -> usize {
    let age_of = |mark: Mark| age(now, mark_stamp(mark));
    let (lines, _) = marks.as_chunks::<AT_ONCE>();
    let greatest = |line: &[Mark; AT_ONCE]| line.iter().fold(0, |greatest, &mark| greatest.max(age_of(mark)));
    let of_all = lines.iter().map(greatest).max().unwrap_or(0);
    marks.iter().position(|&mark| age_of(mark) == of_all).unwrap_or(0)
}

/// The cells of all sources of a table.
#[derive(Debug)]
pub struct PortStore {
    inline_ports: usize,
    /// The short lists: port numbers apart from what is known of them, because every probe compares the former. A list of
    /// 32 is one cache line of each.
    ports: Aligned<u16>,
    marks: Aligned<Mark>,
    pools: [Pool; 3],
}

impl PortStore {
    /// Room for `sources` short lists of `inline_ports`, and for blocks in about `block_bytes`.
    pub fn new(sources: usize, inline_ports: usize, block_bytes: usize) -> Self {
        let bytes = |cells: usize| cells * size_of::<Cell>() + size_of::<Ring>();
        // Half of the bytes for ordinary scans, a quarter each for nmap's 1,000 ports and for all ports.
        let limit = |part: usize, cells: usize| (block_bytes / part / bytes(cells)).max(1);
        Self {
            inline_ports,
            ports: Aligned::new(sources * inline_ports, 0),
            marks: Aligned::new(sources * inline_ports, 0),
            pools: [
                Pool::new(BLOCK_CELLS[0], limit(2, BLOCK_CELLS[0])),
                Pool::new(BLOCK_CELLS[1], limit(4, BLOCK_CELLS[1])),
                Pool::new(BLOCK_CELLS[2], limit(4, BLOCK_CELLS[2])),
            ],
        }
    }

    /// Bytes of one source's short list.
    pub fn inline_bytes(inline_ports: usize) -> usize {
        inline_ports * (size_of::<u16>() + size_of::<Mark>())
    }

    #[inline]
    fn list(&self, source: u32, len: u32) -> (&[u16], &[Mark]) {
        let at = source as usize * self.inline_ports;
        let range = at..at + len as usize;
        (&self.ports.as_slice()[range.clone()], &self.marks.as_slice()[range])
    }

    #[inline]
    fn list_mut(&mut self, source: u32) -> (&mut [u16], &mut [Mark]) {
        let at = source as usize * self.inline_ports;
        let range = at..at + self.inline_ports;
        (&mut self.ports.as_mut_slice()[range.clone()], &mut self.marks.as_mut_slice()[range])
    }

    /// Has a source's list brought into the cache.
    #[inline]
    pub fn prefetch(&self, source: u32) {
        let at = source as usize * self.inline_ports;
        prefetch(&self.ports.as_slice()[at]);
        prefetch(&self.marks.as_slice()[at]);
    }

    /// Lets ports leave the window as time goes from one quantum to another. Returns how many count.
    #[inline]
    pub fn expire(&mut self, ports: &mut Ports, source: u32, from: u64, to: u64) -> u32 {
        if from == to || ports.counted == 0 && ports.block.is_none() {
            return ports.counted;
        }
        ports.counted = match ports.block.map(Block::parts) {
            None if to - from > QUANTA => 0,
            None if counts(stamp(to), ports.oldest) => ports.counted,
            None => self.expire_list(ports, source, stamp(to)),
            Some((pool, at)) => self.pools[pool].expire(at, from, to),
        };
        ports.counted
    }

    /// Closes the gaps that ports leave in a short list. Returns how many are left.
    fn expire_list(&mut self, ports: &mut Ports, source: u32, now: Stamp) -> u32 {
        let len = ports.counted as usize;
        let (numbers, marks) = self.list_mut(source);
        let (mut kept, mut greatest_age) = (0, 0);
        for at in 0..len {
            let stamp = mark_stamp(marks[at]);
            (numbers[kept], marks[kept]) = (numbers[at], marks[at]);
            if counts(now, stamp) {
                kept += 1;
                greatest_age = greatest_age.max(age(now, stamp));
            }
        }
        ports.oldest = before(now, greatest_age);
        kept as u32
    }

    /// Whether no port leaves the window between these quanta, as one look tells.
    #[inline]
    pub fn none_leaves(ports: &Ports, from: u64, to: u64) -> bool {
        ports.block.is_none() && to - from <= QUANTA && counts(stamp(to), ports.oldest) && ports.counted > 0
    }

    /// Counts a port now (quantum `to`, to which the set was expired). Returns how many count.
    #[inline]
    pub fn record(&mut self, ports: &mut Ports, source: u32, port: u16, hosts: u8, to: u64) -> u32 {
        match ports.block.map(Block::parts) {
            None => self.record_in_list(ports, source, port, hosts, to),
            Some((pool, at)) => {
                if self.pools[pool].is_full(at) && !self.grow(ports, to) {
                    ports.saturated = true;
                }
                let Some((pool, at)) = ports.block.map(Block::parts) else { return ports.counted };
                let pool = &mut self.pools[pool];
                ports.union += u32::from(pool.record(at, port, hosts, to));
                ports.counted = pool.rings[at as usize].counted;
                ports.counted
            }
        }
    }

    #[inline]
    fn record_in_list(&mut self, ports: &mut Ports, source: u32, port: u16, hosts: u8, to: u64) -> u32 {
        let (now, len) = (stamp(to), ports.counted as usize);
        let (numbers, marks) = self.list_mut(source);
        if let Some(at) = position(numbers, port).filter(|&at| at < len) {
            marks[at] = mark(now, marks[at] as u8 | hosts);
            return ports.counted;
        }
        if len < numbers.len() {
            (numbers[len], marks[len]) = (port, mark(now, hosts));
            if len == 0 {
                ports.oldest = now;
            }
            ports.counted += 1;
            return ports.counted;
        }
        if !ports.saturated {
            if self.widen(ports, source, to) {
                return self.record(ports, source, port, hosts, to);
            }
            ports.saturated = true;
        }
        // The port takes the place of the one that would leave first.
        let (numbers, marks) = self.list_mut(source);
        let at = oldest(marks, now);
        (numbers[at], marks[at]) = (port, mark(now, hosts));
        ports.counted
    }

    /// Moves a short list to a block, so that the union can be told and the count can grow. False if none is left.
    pub fn widen(&mut self, ports: &mut Ports, source: u32, to: u64) -> bool {
        if ports.block.is_some() {
            return true;
        }
        let Some((size, at)) = self.take(0, ports.counted) else { return false };
        let start = source as usize * self.inline_ports;
        let range = start..start + ports.counted as usize;
        let pool = &mut self.pools[size];
        pool.rings[at as usize].marked = to;
        for (&port, &mark) in self.ports.as_slice()[range.clone()].iter().zip(&self.marks.as_slice()[range]) {
            insert(pool, at, cell(port, mark_stamp(mark), mark as u8), to);
        }
        ports.block = Some(Block::new(size, at));
        ports.union = ports.counted;
        ports.saturated = false;
        true
    }

    /// The smallest block that is left, of this size or above, and takes one port more than so many.
    fn take(&mut self, least: usize, ports: u32) -> Option<(usize, u32)> {
        let from_least = self.pools.iter_mut().enumerate().skip(least);
        let mut fits = from_least.filter(|(_, pool)| !pool.is_filled_by(ports as usize));
        fits.find_map(|(size, pool)| Some((size, pool.take()?)))
    }

    /// Moves a block to a larger one. False if there is none, or none left.
    fn grow(&mut self, ports: &mut Ports, to: u64) -> bool {
        let Some((size, at)) = ports.block.map(Block::parts) else { return false };
        let occupied = self.pools[size].rings[at as usize].occupied;
        let Some((next, new)) = self.take(size + 1, occupied) else { return false };
        let (small, large) = self.pools.split_at_mut(next);
        let (small, large) = (&mut small[size], &mut large[0]);
        large.rings[new as usize].marked = small.rings[at as usize].marked;
        for &old in small.cells(at) {
            if old != 0 {
                insert(large, new, old, to);
            }
        }
        small.give_back(at);
        ports.block = Some(Block::new(next, new));
        ports.saturated = false;
        true
    }

    /// Ends the union: gives the block back and keeps the ports that count, if a short list holds them.
    pub fn narrow(&mut self, ports: &mut Ports, source: u32, to: u64) {
        if let Some((pool, at)) = ports.block.map(Block::parts) {
            if ports.counted as usize > self.inline_ports {
                ports.union = ports.counted;
                return;
            }
            let start = source as usize * self.inline_ports;
            let range = start..start + self.inline_ports;
            let pool = &mut self.pools[pool];
            let list = self.ports.as_mut_slice()[range.clone()].iter_mut();
            let list = list.zip(&mut self.marks.as_mut_slice()[range]);
            let now = stamp(to);
            let counting = pool.cells(at).iter().filter(|&&cell| cell != 0 && counts(now, stamp_of(cell)));
            let (mut kept, mut greatest_age) = (0, 0);
            for ((port, known), &cell) in list.zip(counting) {
                // The next run of probes tells its own hosts apart.
                (*port, *known) = (port_of(cell), mark(stamp_of(cell), 0));
                greatest_age = greatest_age.max(age(now, stamp_of(cell)));
                kept += 1;
            }
            ports.oldest = before(now, greatest_age);
            pool.give_back(at);
            ports.block = None;
            ports.counted = kept;
        }
        ports.saturated = false;
        ports.union = 0;
    }

    /// Forgets all ports of a source.
    pub fn release(&mut self, ports: &mut Ports) {
        if let Some((pool, at)) = ports.block.map(Block::parts) {
            self.pools[pool].give_back(at);
        }
        *ports = Ports::NONE;
    }

    /// How many of the ports that count at quantum `from` still do at `to`, if no probe comes.
    pub fn count_at(&self, ports: &Ports, source: u32, from: u64, to: u64) -> u32 {
        match ports.block.map(Block::parts) {
            _ if to - from > QUANTA => 0,
            None => {
                let now = stamp(to);
                if counts(now, ports.oldest) {
                    return ports.counted;
                }
                let (_, marks) = self.list(source, ports.counted);
                marks.iter().map(|&mark| u32::from(counts(now, mark_stamp(mark)))).sum()
            }
            Some((pool, at)) => {
                let ring = &self.pools[pool].rings[at as usize];
                ring.counted - ((from + 1)..=to).map(|gone| ring.by_quantum[Ring::slot(gone)]).sum::<u32>()
            }
        }
    }

    /// The quantum in which the count falls (fell) below `threshold` if no probe comes after quantum `latest`.
    pub fn falls_below(&self, ports: &Ports, source: u32, threshold: u32, latest: u64) -> u64 {
        let now = stamp(latest);
        let mut by_age = [0_u32; RING];
        match ports.block.map(Block::parts) {
            None => {
                for &mark in self.list(source, ports.counted).1 {
                    by_age[usize::from(age(now, mark_stamp(mark))).min(RING - 1)] += 1;
                }
            }
            Some((pool, at)) => {
                let ring = &self.pools[pool].rings[at as usize];
                for (age, count) in by_age.iter_mut().enumerate().take(latest as usize + 1) {
                    *count = ring.by_quantum[Ring::slot(latest - age as u64)];
                }
            }
        }
        let mut counted = 0;
        for (age, count) in by_age.into_iter().enumerate() {
            counted += count;
            if counted >= threshold {
                return latest - (age as u64).min(latest) + QUANTA + 1;
            }
        }
        latest
    }

    /// The ports, and which known hosts were asked for each.
    fn each(&self, ports: &Ports, source: u32) -> impl Iterator<Item = (u16, u8)> {
        let (list, block) = match ports.block.map(Block::parts) {
            None => (self.list(source, ports.counted), &[][..]),
            Some((pool, at)) => (self.list(source, 0), self.pools[pool].cells(at)),
        };
        let list = list.0.iter().zip(list.1).map(|(&port, &mark)| (port, mark as u8));
        let block = block.iter().filter(|&&cell| cell != 0);
        list.chain(block.map(|&cell| (port_of(cell), (cell & HOSTS) as u8)))
    }

    /// The lowest ports.
    pub fn sample(&self, ports: &Ports, source: u32) -> PortSample {
        PortSample::lowest(self.each(ports, source).map(|(port, _)| port))
    }

    /// Distinct ports on the busiest known host.
    pub fn busiest_host_ports(&self, ports: &Ports, source: u32) -> u32 {
        let mut asked = [0_u32; super::hosts::KNOWN];
        for (_, hosts) in self.each(ports, source) {
            for (host, count) in asked.iter_mut().enumerate() {
                *count += u32::from(hosts >> host & 1);
            }
        }
        asked.into_iter().max().unwrap_or(0)
    }
}

/// Puts a cell of another form into a block, keeping what it knows.
fn insert(pool: &mut Pool, at: u32, old: Cell, to: u64) {
    let Some(here) = pool.find(at, port_of(old)) else { return };
    pool.cells_mut(at)[here] = old;
    let ring = &mut pool.rings[at as usize];
    ring.occupied += 1;
    if counts(stamp(to), stamp_of(old)) {
        let back = u64::from(age(stamp(to), stamp_of(old)));
        ring.by_quantum[Ring::slot(to - back)] += 1;
        ring.counted += 1;
    }
}
