//! The distinct ports of a source: few in line, many in a compact exact form, all 65,536 countable.
//!
//! A source starts with a short list. When that is full its ports move to a block, and to larger blocks as they grow in
//! number. While a scan is open, ports that left the window are kept too, so that its union is a count. When no block is left, a
//! set stops growing where it is ("saturated"): its numbers are lower bounds from then on, and say so. An attacker
//! who opens many wide scans makes others' counts stop above the threshold, and nobody's hit late: a short list holds half as
//! many ports again as the threshold. Only thresholds above `LISTED` need a block for the hit itself.

pub(super) mod block;
pub(super) mod hosts;
pub(super) mod peaks;

use crate::detect::distinct::block::{
    BLOCK_CELLS, Block, Cell, Pool, RING, Ring, block_bytes, cell, hosts_of, port_of, stamp_of,
};
use crate::detect::distinct::hosts::KNOWN;
use crate::detect::memory::{Aligned, OutOfMemory, prefetch, room_for};
use crate::detect::scan::PortSample;
use crate::detect::time::quantum::{DEAD, QUANTA, Stamp, age, before, counts, stamp};

/// The greatest threshold that short lists are made for: with longer ones a table would hold too few sources.
const LISTED: u32 = 128;

/// Ports of a short list for greater thresholds.
const INLINE_PORTS: usize = 96;

const _: () = assert!(
    LISTED as usize * 3 / 2 <= u8::MAX as usize && INLINE_PORTS <= u8::MAX as usize,
    "`listed` holds it"
);

/// How the memory for ports is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Ports of each short list; whole lines.
    pub inline_ports: usize,
    /// Bytes of all blocks together.
    pub block_bytes: usize,
    /// Eighths of `block_bytes` for each size of blocks.
    shares: [usize; BLOCK_CELLS.len()],
    /// The greatest threshold that may be set later on.
    pub greatest_threshold: u32,
}

impl Plan {
    /// For a threshold, out of so many bytes for all tables.
    pub fn new(threshold: u32, memory_bytes: usize) -> Self {
        if threshold <= LISTED {
            let inline_ports = (threshold as usize).max(2) * 3;
            let inline_ports = inline_ports.div_ceil(2).next_multiple_of(AT_ONCE);
            return Self {
                inline_ports,
                block_bytes: memory_bytes / 8,
                // Half for ordinary scans, a quarter each for nmap's 1,000 ports and for all ports.
                shares: [4, 2, 2],
                greatest_threshold: inline_ports as u32 * 2 / 3,
            };
        }
        // Most for the blocks in which a source reaches the threshold.
        let shares = match BLOCK_CELLS.iter().position(|&cells| Pool::most_ports(cells) >= threshold as usize)
        {
            Some(0) => [4, 2, 2],
            Some(1) => [2, 4, 2],
            _ => [1, 1, 6],
        };
        Self {
            inline_ports: INLINE_PORTS,
            block_bytes: memory_bytes / 2,
            shares,
            greatest_threshold: u32::from(u16::MAX) + 1,
        }
    }

    /// How many sources can reach the threshold at once, if each needs a block for it.
    pub fn sources_at_once(threshold: u32, memory_bytes: usize) -> Option<usize> {
        let plan = Self::new(threshold, memory_bytes);
        let large_enough = |&size: &usize| Pool::most_ports(BLOCK_CELLS[size]) >= threshold as usize;
        let blocks = || (0..BLOCK_CELLS.len()).filter(large_enough).map(|size| plan.blocks(size)).sum();
        (threshold > LISTED).then(blocks)
    }

    /// Blocks of a size.
    fn blocks(&self, size: usize) -> usize {
        (self.block_bytes / 8 * self.shares[size] / block_bytes(BLOCK_CELLS[size])).max(1)
    }
}

/// The distinct ports of one source. The cells are in `PortStore`.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Where they are: in the source's own short list, or in a block.
    block: Option<Block>,
    /// Ports that count, as of the latest `expire` or `record`.
    counted: u32,
    /// While a scan is open: distinct ports since it began. Else 0.
    union: u32,
    /// Ports of the short list: those that count, and behind them those that are kept for the union.
    listed: u8,
    /// The count has stopped growing for want of memory.
    saturated: bool,
    /// A port was forgotten that counted or was kept.
    lower_bound: bool,
    /// In line: no port that counts is older than this, so most quanta have nothing to let go.
    oldest: Stamp,
}

impl Ports {
    /// No ports.
    pub const NONE: Ports = Ports {
        block: None,
        counted: 0,
        union: 0,
        listed: 0,
        saturated: false,
        lower_bound: false,
        oldest: DEAD,
    };

    /// Ports that count, as of the latest `expire` or `record`.
    #[inline]
    pub fn count(&self) -> u32 {
        self.counted
    }

    /// Distinct ports since the scan began; never more than were asked for.
    #[inline]
    pub fn union(&self) -> u32 {
        self.union.max(self.counted)
    }

    /// Whether a scan is open, and ports are kept when they no longer count.
    #[inline]
    fn keeps_all(&self) -> bool {
        self.union > 0
    }

    /// Whether there may have been more ports than are counted, in the window or since the scan began.
    pub fn is_lower_bound(&self) -> bool {
        self.lower_bound
    }

    /// Whether the count has stopped growing for want of memory.
    pub fn is_saturated(&self) -> bool {
        self.saturated
    }

    /// Nothing is left that was in doubt.
    fn settle_doubts(&mut self) {
        self.saturated = false;
        self.lower_bound = false;
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

/// Where the oldest of some ports is.
fn oldest(marks: &[Mark], now: Stamp) -> usize {
    let by_age = marks.iter().enumerate().rev().max_by_key(|&(_, &mark)| age(now, mark_stamp(mark)));
    by_age.map_or(0, |(at, _)| at)
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
    /// For a block while its cells are put in order.
    scratch: Vec<Cell>,
}

impl PortStore {
    /// Room for the short lists of so many `sources`, and for blocks.
    pub fn new(sources: usize, plan: &Plan) -> Result<Self, OutOfMemory> {
        let pool = |size: usize| Pool::new(BLOCK_CELLS[size], plan.blocks(size));
        Ok(Self {
            inline_ports: plan.inline_ports,
            ports: Aligned::new(sources.saturating_mul(plan.inline_ports))?,
            marks: Aligned::new(sources.saturating_mul(plan.inline_ports))?,
            pools: [pool(0)?, pool(1)?, pool(2)?],
            scratch: room_for(BLOCK_CELLS[1])?,
        })
    }

    /// Bytes of one source's short list.
    pub fn inline_bytes(inline_ports: usize) -> usize {
        inline_ports * (size_of::<u16>() + size_of::<Mark>())
    }

    #[inline]
    fn list(&self, source: u32, len: usize) -> (&[u16], &[Mark]) {
        let at = source as usize * self.inline_ports;
        let range = at..at + len;
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
            None if counts(stamp(to), ports.oldest) => return ports.counted,
            None => self.expire_list(ports, source, stamp(to)),
            Some((pool, at)) => self.pools[pool].expire(at, from, to),
        };
        if !ports.keeps_all() {
            self.forget_dead(ports);
        }
        ports.counted
    }

    /// Without an open scan, what no longer counts is of no use.
    fn forget_dead(&mut self, ports: &mut Ports) {
        match ports.block.map(Block::parts) {
            None => ports.listed = ports.counted as u8,
            Some((pool, at)) if ports.counted == 0 => {
                self.pools[pool].give_back(at);
                *ports = Ports::NONE;
            }
            Some(_) => {}
        }
        if ports.counted == 0 {
            ports.settle_doubts();
        }
    }

    /// Moves the ports that count to the front of a short list. Returns how many do.
    fn expire_list(&mut self, ports: &mut Ports, source: u32, now: Stamp) -> u32 {
        let len = ports.counted as usize;
        let (numbers, marks) = self.list_mut(source);
        let (mut kept, mut greatest_age) = (0, 0);
        for at in 0..len {
            let stamp = mark_stamp(marks[at]);
            numbers.swap(kept, at);
            marks.swap(kept, at);
            if counts(now, stamp) {
                kept += 1;
                greatest_age = greatest_age.max(age(now, stamp));
            }
        }
        ports.oldest = before(now, greatest_age);
        ports.saturated &= kept == len;
        kept as u32
    }

    /// Whether no port leaves the window between these quanta, as one look tells.
    #[inline]
    pub fn none_leaves(ports: &Ports, from: u64, to: u64) -> bool {
        ports.block.is_none() && to - from <= QUANTA && counts(stamp(to), ports.oldest) && ports.counted > 0
    }

    /// Counts a port now (quantum `to`, to which the set was expired). False if there is no room for it: then `grow`.
    #[inline]
    pub fn record(&mut self, ports: &mut Ports, source: u32, port: u16, hosts: u8, to: u64) -> bool {
        let Some((pool, at)) = ports.block.map(Block::parts) else {
            return self.record_in_list(ports, source, port, hosts, to);
        };
        let pool = &mut self.pools[pool];
        if !pool.record(at, port, hosts, to) {
            return false;
        }
        Self::read(ports, &pool.rings[at as usize]);
        true
    }

    /// What the ring of a block says of its ports.
    #[inline]
    fn read(ports: &mut Ports, ring: &Ring) {
        ports.counted = ring.counted;
        if ports.keeps_all() {
            ports.union = ports.union.max(ring.occupied);
        }
    }

    #[inline]
    fn record_in_list(&mut self, ports: &mut Ports, source: u32, port: u16, hosts: u8, to: u64) -> bool {
        let (now, counted, listed) = (stamp(to), ports.counted as usize, usize::from(ports.listed));
        let (numbers, marks) = self.list_mut(source);
        match position(numbers, port).filter(|&at| at < listed) {
            Some(at) if at < counted => {
                marks[at] = mark(now, marks[at] as u8 | hosts);
                return true;
            }
            // It was kept for the union, and counts again.
            Some(at) => {
                numbers.swap(counted, at);
                marks.swap(counted, at);
                marks[counted] = mark(now, marks[counted] as u8 | hosts);
            }
            None if listed >= numbers.len() => return false,
            None => {
                if listed > counted {
                    (numbers[listed], marks[listed]) = (numbers[counted], marks[counted]);
                }
                (numbers[counted], marks[counted]) = (port, mark(now, hosts));
                ports.listed += 1;
            }
        }
        if counted == 0 {
            ports.oldest = now;
        }
        ports.counted += 1;
        if ports.keeps_all() {
            ports.union = ports.union.max(u32::from(ports.listed));
        }
        true
    }

    /// Counts a port for which there is no room, in the place of another: the count stops growing, and never falls
    /// while the source goes on.
    pub fn replace(&mut self, ports: &mut Ports, source: u32, port: u16, hosts: u8, to: u64) {
        ports.lower_bound = true;
        if let Some((pool, at)) = ports.block.map(Block::parts) {
            let pool = &mut self.pools[pool];
            if pool.is_worth_clearing(at) {
                pool.clear_dead(at, to, &mut self.scratch);
            }
            if !pool.record(at, port, hosts, to) {
                pool.replace(at, port, hosts, to);
                ports.saturated = true;
            }
            return Self::read(ports, &pool.rings[at as usize]);
        }
        let (now, counted) = (stamp(to), ports.counted as usize);
        let (numbers, marks) = self.list_mut(source);
        // One that no longer counts, or the one that would leave first.
        let at = if counted < numbers.len() { counted } else { oldest(marks, now) };
        (numbers[at], marks[at]) = (port, mark(now, hosts));
        ports.saturated = counted == numbers.len();
        if counted < numbers.len() {
            ports.counted += 1;
            ports.oldest = if counted == 0 { now } else { ports.oldest };
        }
    }

    /// Makes room for one port more: in a larger block, or in the same if much of it is of no use. False if no block is left.
    pub fn grow(&mut self, ports: &mut Ports, source: u32, to: u64) -> bool {
        if let Some((size, at)) = ports.block.map(Block::parts)
            && !ports.keeps_all()
            && self.pools[size].is_worth_clearing(at)
        {
            self.pools[size].clear_dead(at, to, &mut self.scratch);
            return true;
        }
        let keeps_all = ports.keeps_all();
        let free =
            self.larger(ports).find_map(|(size, pool)| Some((size, pool.take(source, to, keeps_all)?)));
        let Some((size, new)) = free else { return false };
        match ports.block.map(Block::parts) {
            None => self.fill_from_list(ports, source, (size, new), to),
            Some((old_size, old)) => {
                let (small, large) = self.pools.split_at_mut(size);
                let (small, large) = (&mut small[old_size], &mut large[0]);
                large.rings[new as usize].marked = small.rings[old as usize].marked;
                for &known in small.cells(old) {
                    if known != 0 && (keeps_all || counts(stamp(to), stamp_of(known))) {
                        large.insert(new, known, to);
                    }
                }
                small.give_back(old);
            }
        }
        ports.block = Some(Block::new(size, new));
        ports.saturated = false;
        true
    }

    fn fill_from_list(&mut self, ports: &mut Ports, source: u32, (size, new): (usize, u32), to: u64) {
        let start = source as usize * self.inline_ports;
        let range = start..start + usize::from(ports.listed);
        let list = self.ports.as_slice()[range.clone()].iter().zip(&self.marks.as_slice()[range]);
        for (n, (&port, &mark)) in (0..).zip(list) {
            let stamp = if n < ports.counted { mark_stamp(mark) } else { DEAD };
            self.pools[size].insert(new, cell(port, stamp, mark as u8), to);
        }
        ports.listed = 0;
    }

    /// The pools whose blocks have room for more than a set has now, the smallest first.
    fn larger(&mut self, ports: &Ports) -> impl Iterator<Item = (usize, &mut Pool)> {
        let (least, held) = match ports.block.map(Block::parts) {
            None => (0, u32::from(ports.listed)),
            Some((size, at)) => (size + 1, self.pools[size].rings[at as usize].occupied),
        };
        let from_least = self.pools.iter_mut().enumerate().skip(least);
        from_least.filter(move |(_, pool)| !pool.is_filled_by(held as usize))
    }

    /// The source that is worth least among a few of those whose blocks a set could grow into; `worth` is `None` for
    /// one that must keep its block.
    pub fn least_worth<W: Ord>(
        &mut self,
        ports: &Ports,
        now: u64,
        worth: impl Fn(&Ring) -> Option<W>,
    ) -> Option<u32> {
        self.larger(ports).find_map(|(_, pool)| pool.least_worth(now, &worth))
    }

    /// Takes the block of a source away. Its youngest ports stay, as many as its short list holds.
    pub fn shrink(&mut self, ports: &mut Ports, source: u32, to: u64) {
        let Some((size, at)) = ports.block.take().map(Block::parts) else { return };
        let start = source as usize * self.inline_ports;
        let range = start..start + self.inline_ports;
        let (numbers, marks) =
            (&mut self.ports.as_mut_slice()[range.clone()], &mut self.marks.as_mut_slice()[range]);
        let pool = &mut self.pools[size];
        let ring = &pool.rings[at as usize];
        // Of the ports of this age some find room, of older ones none.
        let mut younger = 0;
        let last_age = (0..=QUANTA).find(|&age| {
            younger += ring.of_age(to, age);
            younger as usize > numbers.len()
        });
        let (held, had) = (ring.occupied, ring.counted);
        let rank = |known: Cell| {
            let age = u64::from(age(stamp(to), stamp_of(known)));
            match counts(stamp(to), stamp_of(known)) {
                true if last_age.is_none_or(|last| age < last) => 0,
                true if last_age == Some(age) => 1,
                false if ports.keeps_all() => 2,
                _ => 3,
            }
        };
        let cells = pool.cells(at);
        let in_order = (0..3).flat_map(|turn| cells.iter().filter(move |&&c| c != 0 && rank(c) == turn));
        let (mut listed, mut counted, mut greatest_age) = (0, 0, 0);
        for (&known, (number, mark_of)) in in_order.zip(numbers.iter_mut().zip(marks.iter_mut())) {
            (*number, *mark_of) = (port_of(known), mark(stamp_of(known), hosts_of(known)));
            listed += 1;
            if rank(known) < 2 {
                counted += 1;
                greatest_age = greatest_age.max(age(stamp(to), stamp_of(known)));
            }
        }
        pool.give_back(at);
        ports.saturated = counted < had;
        ports.lower_bound |= ports.saturated || ports.keeps_all() && u32::from(listed) < held;
        (ports.counted, ports.listed, ports.oldest) = (counted, listed, before(stamp(to), greatest_age));
    }

    /// A scan begins: from here on the union is kept.
    pub fn begin_union(&mut self, ports: &mut Ports, to: u64) {
        if let Some((size, at)) = ports.block.map(Block::parts) {
            self.pools[size].clear_dead(at, to, &mut self.scratch);
            self.pools[size].rings[at as usize].keeps_all = true;
        }
        ports.union = ports.counted;
    }

    /// The scan ends, and with it the union: keeps the ports that count. The next run of probes tells its own hosts apart.
    pub fn end_union(&mut self, ports: &mut Ports, source: u32, to: u64) {
        ports.union = 0;
        if ports.counted as usize <= self.inline_ports {
            self.shrink(ports, source, to);
            ports.settle_doubts();
        }
        match ports.block.map(Block::parts) {
            Some((size, at)) => {
                self.pools[size].rings[at as usize].keeps_all = false;
                self.pools[size].forget_hosts(at, u8::MAX);
            }
            None => {
                ports.listed = ports.counted as u8;
                let (_, marks) = self.list_mut(source);
                marks[..ports.counted as usize].iter_mut().for_each(|known| *known &= 0xff << 8);
            }
        }
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
                let (_, marks) = self.list(source, ports.counted as usize);
                marks.iter().map(|&mark| u32::from(counts(now, mark_stamp(mark)))).sum()
            }
            Some((pool, at)) => self.pools[pool].rings[at as usize].left_at(from, to),
        }
    }

    /// The quantum in which the count falls (fell) below `threshold` if no probe comes after quantum `latest`.
    pub fn falls_below(&self, ports: &Ports, source: u32, threshold: u32, latest: u64) -> u64 {
        let now = stamp(latest);
        let mut by_age = [0_u32; RING];
        match ports.block.map(Block::parts) {
            None => {
                for &mark in self.list(source, ports.counted as usize).1 {
                    by_age[usize::from(age(now, mark_stamp(mark))).min(RING - 1)] += 1;
                }
            }
            Some((pool, at)) => {
                let ring = &self.pools[pool].rings[at as usize];
                by_age = std::array::from_fn(|age| ring.of_age(latest, age as u64));
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
            None => (self.list(source, usize::from(ports.listed)), &[][..]),
            Some((pool, at)) => (self.list(source, 0), self.pools[pool].cells(at)),
        };
        let list = list.0.iter().zip(list.1).map(|(&port, &mark)| (port, mark as u8));
        let block = block.iter().filter(|&&cell| cell != 0);
        list.chain(block.map(|&cell| (port_of(cell), hosts_of(cell))))
    }

    /// The lowest ports.
    pub fn sample(&self, ports: &Ports, source: u32) -> PortSample {
        PortSample::lowest(self.each(ports, source).map(|(port, _)| port))
    }

    /// Distinct ports of each known host.
    #[inline]
    pub fn ports_by_host(&self, ports: &Ports, source: u32) -> [u32; KNOWN] {
        if let Some((pool, at)) = ports.block.map(Block::parts) {
            return self.pools[pool].rings[at as usize].asked;
        }
        // The seven bits of a port are spread over seven bytes, and the bytes added up: a list has fewer than 256 ports.
        let marks = self.list(source, usize::from(ports.listed)).1;
        let spread = |&known: &Mark| (u64::from(known & 0x7f) * 0x0408_1020_4081) & 0x0101_0101_0101_0101;
        let sums = marks.iter().map(spread).sum::<u64>().to_le_bytes();
        std::array::from_fn(|host| u32::from(sums[host]))
    }

    /// Whether a known host may be forgotten now. In a block that takes a pass over it, so not with every probe: the adversary
    /// asks a new host each time.
    pub fn may_forget_host(&self, ports: &Ports) -> bool {
        match ports.block.map(Block::parts) {
            None => true,
            Some((pool, at)) => self.pools[pool].rings[at as usize].until_new_host == 0,
        }
    }

    /// Forgets which ports a known host was asked for.
    pub fn forget_host(&mut self, ports: &Ports, source: u32, host: usize) {
        if let Some((pool, at)) = ports.block.map(Block::parts) {
            return self.pools[pool].forget_hosts(at, 1 << host);
        }
        let listed = usize::from(ports.listed);
        let (_, marks) = self.list_mut(source);
        marks[..listed].iter_mut().for_each(|known| *known &= !(1 << host));
    }
}
