//! Short lists of ports, one for each row: those that count, and behind them those that are kept for the union of an open scan.

use crate::detect::distinct::block::RING;
use crate::detect::distinct::ports::Ports;
use crate::detect::memory::{Aligned, OutOfMemory, prefetch};
use crate::detect::time::quantum::{Stamp, age, before, counts, stamp};
use crate::detect::tuning::KNOWN;

/// What is kept of a port in a short list, besides its number: `stamp << 8 | hosts`.
pub type Mark = u16;

/// The mark of a port whose latest probe has this stamp, and which these hosts were asked for.
#[inline]
pub fn mark(at: Stamp, hosts: u8) -> Mark {
    Mark::from(at) << 8 | Mark::from(hosts)
}

/// The stamp of a port's latest probe.
#[inline]
pub fn mark_stamp(mark: Mark) -> Stamp {
    (mark >> 8) as Stamp
}

/// Ports of a short list that are compared at once, without an exit between: a line of them.
pub const AT_ONCE: usize = 32;

/// Where a port is in a list of whole lines, used up or not.
#[inline]
fn position(numbers: &[u16], port: u16) -> Option<usize> {
    let (lines, _) = numbers.as_chunks::<AT_ONCE>();
    for (n, line) in lines.iter().enumerate() {
        if line.iter().fold(false, |found, &listed| found | (listed == port)) {
            return line.iter().position(|&listed| listed == port).map(|at| n * AT_ONCE + at);
        }
    }
    None
}

/// Where the oldest of some ports is.
fn oldest(marks: &[Mark], now: Stamp) -> usize {
    let by_age = marks.iter().enumerate().rev().max_by_key(|&(_, &mark)| age(now, mark_stamp(mark)));
    by_age.map_or(0, |(at, _)| at)
}

/// The short lists of all rows: port numbers apart from their marks, because every probe compares the former. A list of 32 is
/// one cache line of each.
#[derive(Debug)]
pub struct Lists {
    len: usize,
    ports: Aligned<u16>,
    marks: Aligned<Mark>,
}

impl Lists {
    /// A list of so many ports for each of so many rows.
    pub fn new(rows: usize, len: usize) -> Result<Self, OutOfMemory> {
        let all = rows.saturating_mul(len);
        Ok(Self { len, ports: Aligned::new(all)?, marks: Aligned::new(all)? })
    }

    /// Bytes of a list of so many ports.
    pub fn bytes(len: usize) -> usize {
        len * (size_of::<u16>() + size_of::<Mark>())
    }

    /// Ports of a list.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Has the list of a row brought into the cache.
    #[inline]
    pub fn prefetch(&self, row: u32) {
        let at = row as usize * self.len;
        prefetch(&self.ports.as_slice()[at]);
        prefetch(&self.marks.as_slice()[at]);
    }

    /// The first ports of a list, and their marks.
    #[inline]
    pub fn first(&self, row: u32, len: usize) -> (&[u16], &[Mark]) {
        let at = row as usize * self.len;
        let range = at..at + len;
        (&self.ports.as_slice()[range.clone()], &self.marks.as_slice()[range])
    }

    /// All of a list.
    #[inline]
    fn list_mut(&mut self, row: u32) -> (&mut [u16], &mut [Mark]) {
        let at = row as usize * self.len;
        let range = at..at + self.len;
        (&mut self.ports.as_mut_slice()[range.clone()], &mut self.marks.as_mut_slice()[range])
    }

    /// Moves the ports that count to the front. Returns how many do.
    pub fn expire(&mut self, ports: &mut Ports, row: u32, now: Stamp) -> u32 {
        let len = ports.counted as usize;
        let (numbers, marks) = self.list_mut(row);
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

    /// Counts a port now. False if there is no room for it.
    #[inline]
    pub fn record(&mut self, ports: &mut Ports, row: u32, port: u16, hosts: u8, to: u64) -> bool {
        let (now, counted, listed) = (stamp(to), ports.counted as usize, usize::from(ports.listed));
        let (numbers, marks) = self.list_mut(row);
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

    /// Counts a port for which there is no room, in the place of one that no longer counts, or of the one that would leave first.
    pub fn replace(&mut self, ports: &mut Ports, row: u32, port: u16, hosts: u8, to: u64) {
        let (now, counted) = (stamp(to), ports.counted as usize);
        let (numbers, marks) = self.list_mut(row);
        let at = if counted < numbers.len() { counted } else { oldest(marks, now) };
        (numbers[at], marks[at]) = (port, mark(now, hosts));
        ports.saturated = counted == numbers.len();
        if counted < numbers.len() {
            ports.counted += 1;
            ports.oldest = if counted == 0 { now } else { ports.oldest };
        }
    }

    /// Writes a list anew, as far as it has room. Returns the marks of what it took.
    pub fn fill(&mut self, row: u32, cells: impl Iterator<Item = (u16, Mark)>) -> &[Mark] {
        let (numbers, marks) = self.list_mut(row);
        let mut listed = 0;
        for (cell, (number, mark)) in cells.zip(numbers.iter_mut().zip(marks.iter_mut())) {
            (*number, *mark) = cell;
            listed += 1;
        }
        &marks[..listed]
    }

    /// How many of the ports that count still do at a stamp less than a window ahead.
    pub fn count_at(&self, ports: &Ports, row: u32, now: Stamp) -> u32 {
        if counts(now, ports.oldest) {
            return ports.counted;
        }
        let (_, marks) = self.first(row, ports.counted as usize);
        marks.iter().map(|&mark| u32::from(counts(now, mark_stamp(mark)))).sum()
    }

    /// How many of the ports that count are how old, in quanta.
    pub fn by_age(&self, ports: &Ports, row: u32, now: Stamp) -> [u32; RING] {
        let mut by_age = [0; RING];
        for &mark in self.first(row, ports.counted as usize).1 {
            by_age[usize::from(age(now, mark_stamp(mark))).min(RING - 1)] += 1;
        }
        by_age
    }

    /// Distinct ports of each host that is told apart.
    #[inline]
    pub fn ports_by_host(&self, ports: &Ports, row: u32) -> [u32; KNOWN] {
        // The seven bits of a port are spread over seven bytes, and the bytes added up: a list has fewer than 256 ports.
        let marks = self.first(row, usize::from(ports.listed)).1;
        let spread = |&mark: &Mark| (u64::from(mark & 0x7f) * 0x0408_1020_4081) & 0x0101_0101_0101_0101;
        let sums = marks.iter().map(spread).sum::<u64>().to_le_bytes();
        std::array::from_fn(|host| u32::from(sums[host]))
    }

    /// Forgets which of the first ports some hosts were asked for.
    pub fn forget_hosts(&mut self, row: u32, len: usize, hosts: u8) {
        let (_, marks) = self.list_mut(row);
        marks[..len].iter_mut().for_each(|mark| *mark &= !Mark::from(hosts));
    }
}
