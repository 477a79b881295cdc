//! The distinct ports of a source: few in line, many in a compact exact form, all 65,536 countable.
//!
//! A source starts with a short list (`inline_ports`). Once it scans, its ports move to a block that counts in
//! constant time: an open-addressed table of 192 or 1,984 cells, or one cell for each of the 65,536 ports. Blocks come
//! from pools of fixed size. When a pool is spent, a set stops growing where it is ("saturated"): an attacker who opens
//! many wide scans makes others' counts stop above the threshold, and nobody's hit late.

use super::quantum::{QUANTA, Stamp, counts, stamp};
use super::scan::PortSample;

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
                let back = u64::from(super::quantum::age(stamp(to), then));
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
    cells: Vec<Cell>,
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
            cells: vec![0; block_cells * limit],
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
        &self.cells[at as usize * self.block_cells..][..self.block_cells]
    }

    fn cells_mut(&mut self, at: u32) -> &mut [Cell] {
        &mut self.cells[at as usize * self.block_cells..][..self.block_cells]
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

    /// Where a port is or would be.
    fn find(&self, at: u32, port: u16) -> usize {
        if self.is_direct() {
            return usize::from(port);
        }
        let cells = self.cells(at);
        let mut here = self.home(port);
        loop {
            if cells[here] == 0 || port_of(cells[here]) == port {
                return here;
            }
            here += 1;
            if here == cells.len() {
                here = 0;
            }
        }
    }

    fn is_full(&self, at: u32) -> bool {
        !self.is_direct() && self.rings[at as usize].occupied as usize * 4 >= self.block_cells * 3
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

    /// Counts a port now. Returns whether it is new to the block.
    fn record(&mut self, at: u32, port: u16, hosts: u8, to: u64) -> bool {
        let now = stamp(to);
        let full = self.is_full(at);
        let here = self.find(at, port);
        let old = self.cells(at)[here];
        let ring_at = at as usize;
        if old != 0 {
            let was = counts(now, stamp_of(old)).then(|| stamp_of(old));
            self.cells_mut(at)[here] = cell(port, now, (old & HOSTS) as u8 | hosts);
            self.rings[ring_at].count(to, was);
            return false;
        }
        if full {
            // No larger block is left. The port takes the place of the one at its home: the count stops growing, and
            // never falls while the source goes on.
            let home = self.home(port);
            let victim = self.cells(at)[home];
            if victim == 0 && self.rings[ring_at].occupied as usize + 1 >= self.block_cells {
                return true;
            }
            let was = (victim != 0 && counts(now, stamp_of(victim))).then(|| stamp_of(victim));
            self.cells_mut(at)[home] = cell(port, now, hosts);
            let ring = &mut self.rings[ring_at];
            ring.occupied += u32::from(victim == 0);
            ring.count(to, was);
            return true;
        }
        self.cells_mut(at)[here] = cell(port, now, hosts);
        let ring = &mut self.rings[ring_at];
        ring.occupied += 1;
        ring.count(to, None);
        true
    }
}

/// Where a source's ports are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In the source's own short list.
    Inline,
    /// In a block: pool and place.
    Block(u8, u32),
}

/// The distinct ports of one source. The cells are in `PortStore`.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    form: Form,
    /// Ports that count, as of the latest `expire` or `record`.
    counted: u32,
    /// Distinct ports since `widen`.
    union: u32,
    saturated: bool,
}

impl Ports {
    /// No ports.
    pub const NONE: Ports = Ports { form: Form::Inline, counted: 0, union: 0, saturated: false };

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

/// The cells of all sources of a table.
#[derive(Debug)]
pub struct PortStore {
    inline_ports: usize,
    inline: Vec<Cell>,
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
            inline: vec![0; sources * inline_ports],
            pools: [
                Pool::new(BLOCK_CELLS[0], limit(2, BLOCK_CELLS[0])),
                Pool::new(BLOCK_CELLS[1], limit(4, BLOCK_CELLS[1])),
                Pool::new(BLOCK_CELLS[2], limit(4, BLOCK_CELLS[2])),
            ],
        }
    }

    /// Bytes of one source's short list.
    pub fn inline_bytes(inline_ports: usize) -> usize {
        inline_ports * size_of::<Cell>()
    }

    #[inline]
    fn list(&mut self, source: u32) -> &mut [Cell] {
        &mut self.inline[source as usize * self.inline_ports..][..self.inline_ports]
    }

    /// Reads the start of a source's list, so that it is in the cache when its turn comes.
    #[inline]
    pub fn touch(&self, source: u32) -> u32 {
        self.inline[source as usize * self.inline_ports]
    }

    /// Lets ports leave the window as time goes from one quantum to another. Returns how many count.
    #[inline]
    pub fn expire(&mut self, ports: &mut Ports, source: u32, from: u64, to: u64) -> u32 {
        if from == to || ports.counted == 0 && ports.form == Form::Inline {
            return ports.counted;
        }
        ports.counted = match ports.form {
            Form::Inline if to - from > QUANTA => 0,
            Form::Inline => {
                let (now, len) = (stamp(to), ports.counted as usize);
                let list = &mut self.list(source)[..len];
                let mut kept = 0;
                for at in 0..len {
                    let cell = list[at];
                    list[kept] = cell;
                    kept += usize::from(counts(now, stamp_of(cell)));
                }
                kept as u32
            }
            Form::Block(pool, at) => self.pools[usize::from(pool)].expire(at, from, to),
        };
        ports.counted
    }

    /// Counts a port now (quantum `to`, to which the set was expired). Returns how many count.
    #[inline]
    pub fn record(&mut self, ports: &mut Ports, source: u32, port: u16, hosts: u8, to: u64) -> u32 {
        match ports.form {
            Form::Inline => {
                let (now, len) = (stamp(to), ports.counted as usize);
                let list = self.list(source);
                if let Some(known) = list[..len].iter_mut().find(|cell| port_of(**cell) == port) {
                    *known = cell(port, now, (*known & HOSTS) as u8 | hosts);
                    return ports.counted;
                }
                ports.union = ports.union.saturating_add(1);
                if len < list.len() {
                    list[len] = cell(port, now, hosts);
                    ports.counted += 1;
                    return ports.counted;
                }
                let union = ports.union;
                if self.widen(ports, source, to) {
                    ports.union = union - 1;
                    return self.record(ports, source, port, hosts, to);
                }
                // Saturated: the port takes the place of the one that would leave first.
                ports.saturated = true;
                let list = self.list(source);
                let oldest = (0..list.len()).max_by_key(|&at| super::quantum::age(now, stamp_of(list[at])));
                list[oldest.expect("a list has at least one cell")] = cell(port, now, hosts);
                ports.counted
            }
            Form::Block(pool, at) => {
                let index = usize::from(pool);
                if self.pools[index].is_full(at) && !self.grow(ports, to) {
                    ports.saturated = true;
                }
                let Form::Block(pool, at) = ports.form else { return ports.counted };
                let pool = &mut self.pools[usize::from(pool)];
                ports.union += u32::from(pool.record(at, port, hosts, to));
                ports.counted = pool.rings[at as usize].counted;
                ports.counted
            }
        }
    }

    /// Moves a short list to a block, so that the union can be told and the count can grow. False if none is left.
    pub fn widen(&mut self, ports: &mut Ports, source: u32, to: u64) -> bool {
        if ports.form != Form::Inline {
            return true;
        }
        let Some(at) = self.pools[0].take() else { return false };
        let start = source as usize * self.inline_ports;
        let pool = &mut self.pools[0];
        pool.rings[at as usize].marked = to;
        for &old in &self.inline[start..start + ports.counted as usize] {
            insert(pool, at, old, to);
        }
        ports.form = Form::Block(0, at);
        ports.union = ports.counted;
        ports.saturated = false;
        true
    }

    /// Moves a block to one of the next size. False if there is none, or none left.
    fn grow(&mut self, ports: &mut Ports, to: u64) -> bool {
        let Form::Block(pool, at) = ports.form else { return false };
        let next = usize::from(pool) + 1;
        let Some(new) = self.pools.get_mut(next).and_then(Pool::take) else { return false };
        let (small, large) = self.pools.split_at_mut(next);
        let (small, large) = (&mut small[next - 1], &mut large[0]);
        large.rings[new as usize].marked = small.rings[at as usize].marked;
        for &old in small.cells(at) {
            if old != 0 {
                insert(large, new, old, to);
            }
        }
        small.give_back(at);
        ports.form = Form::Block(next as u8, new);
        ports.saturated = false;
        true
    }

    /// Ends the union: gives the block back and keeps the ports that count, if a short list holds them.
    pub fn narrow(&mut self, ports: &mut Ports, source: u32, to: u64) {
        if let Form::Block(pool, at) = ports.form {
            if ports.counted as usize > self.inline_ports {
                ports.union = ports.counted;
                return;
            }
            let start = source as usize * self.inline_ports;
            let pool = &mut self.pools[usize::from(pool)];
            let now = stamp(to);
            let mut kept = 0;
            for &cell in pool.cells(at) {
                if cell != 0 && counts(now, stamp_of(cell)) && kept < self.inline_ports {
                    // The next run of probes tells its own hosts apart.
                    self.inline[start + kept] = cell & !HOSTS;
                    kept += 1;
                }
            }
            pool.give_back(at);
            ports.form = Form::Inline;
            ports.counted = kept as u32;
        }
        ports.saturated = false;
        ports.union = 0;
    }

    /// Forgets all ports of a source.
    pub fn release(&mut self, ports: &mut Ports) {
        if let Form::Block(pool, at) = ports.form {
            self.pools[usize::from(pool)].give_back(at);
        }
        *ports = Ports::NONE;
    }

    /// How many of the ports that count at quantum `from` still do at `to`, if no probe comes.
    pub fn count_at(&self, ports: &Ports, source: u32, from: u64, to: u64) -> u32 {
        match ports.form {
            _ if to - from > QUANTA => 0,
            Form::Inline => {
                let now = stamp(to);
                self.cells_of(ports, source).iter().map(|&cell| u32::from(counts(now, stamp_of(cell)))).sum()
            }
            Form::Block(pool, at) => {
                let ring = &self.pools[usize::from(pool)].rings[at as usize];
                ring.counted - ((from + 1)..=to).map(|gone| ring.by_quantum[Ring::slot(gone)]).sum::<u32>()
            }
        }
    }

    /// The quantum in which the count falls (fell) below `threshold` if no probe comes after quantum `latest`.
    pub fn falls_below(&self, ports: &Ports, source: u32, threshold: u32, latest: u64) -> u64 {
        let now = stamp(latest);
        let mut by_age = [0_u32; RING];
        match ports.form {
            Form::Inline => {
                let start = source as usize * self.inline_ports;
                for &cell in &self.inline[start..start + ports.counted as usize] {
                    by_age[usize::from(super::quantum::age(now, stamp_of(cell))).min(RING - 1)] += 1;
                }
            }
            Form::Block(pool, at) => {
                let ring = &self.pools[usize::from(pool)].rings[at as usize];
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

    fn cells_of(&self, ports: &Ports, source: u32) -> &[Cell] {
        match ports.form {
            Form::Inline => &self.inline[source as usize * self.inline_ports..][..ports.counted as usize],
            Form::Block(pool, at) => self.pools[usize::from(pool)].cells(at),
        }
    }

    /// The lowest ports.
    pub fn sample(&self, ports: &Ports, source: u32) -> PortSample {
        PortSample::lowest(
            self.cells_of(ports, source).iter().filter(|&&cell| cell != 0).map(|&cell| port_of(cell)),
        )
    }

    /// Distinct ports on the busiest known host.
    pub fn busiest_host_ports(&self, ports: &Ports, source: u32) -> u32 {
        let mut asked = [0_u32; super::hosts::KNOWN];
        for &cell in self.cells_of(ports, source) {
            for (host, count) in asked.iter_mut().enumerate() {
                *count += cell >> host & 1;
            }
        }
        asked.into_iter().max().unwrap_or(0)
    }
}

/// Puts a cell of another form into a block, keeping what it knows.
fn insert(pool: &mut Pool, at: u32, old: Cell, to: u64) {
    let here = pool.find(at, port_of(old));
    pool.cells_mut(at)[here] = old;
    let ring = &mut pool.rings[at as usize];
    ring.occupied += 1;
    if counts(stamp(to), stamp_of(old)) {
        let back = u64::from(super::quantum::age(stamp(to), stamp_of(old)));
        ring.by_quantum[Ring::slot(to - back)] += 1;
        ring.counted += 1;
    }
}
