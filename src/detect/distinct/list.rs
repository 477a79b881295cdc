//! Short lists of ports, one for each row: those that count, and behind them those that are kept for the union of an open scan.

use crate::detect::distinct::answers::{Answer, Answers};
use crate::detect::distinct::block::AGES;
use crate::detect::distinct::ports::Ports;
use crate::detect::memory::{Aligned, OutOfMemory, prefetch};
use crate::detect::time::quantum::{Stamp, age, before, counts, stamp};
use crate::detect::tuning::TRACKED_HOSTS;

/// What is kept of a port in a short list, besides its number: `stamp << 8 | hosts`.
pub(super) type Sighting = u16;

/// The sighting of a port whose latest probe has this stamp, and which these hosts were asked for.
#[inline]
pub(super) fn sighting(at: Stamp, hosts: u8) -> Sighting {
    Sighting::from(at) << 8 | Sighting::from(hosts)
}

/// The stamp of a port's latest probe.
#[inline]
pub(super) fn sighted_at(sighting: Sighting) -> Stamp {
    (sighting >> 8) as Stamp
}

/// Ports of a short list that are compared at once, without an exit between: a line of them.
pub(super) const AT_ONCE: usize = 32;

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

/// Where the oldest port of a full list is, the first of them. A line is looked at as a whole: once the blocks are spent, each
/// new port of a wide source takes this search.
#[inline]
fn oldest(sightings: &[Sighting], now: Stamp) -> usize {
    let (lines, _) = sightings.as_chunks::<AT_ONCE>();
    let mut greatest = 0;
    for (n, line) in lines.iter().enumerate() {
        // An age, and below it how many places at most are behind: the first of the oldest has the greatest.
        let mut ranks = [0_u16; AT_ONCE];
        for (place, (rank, &seen)) in ranks.iter_mut().zip(line).enumerate() {
            let behind = u8::MAX as usize - (n * AT_ONCE + place);
            *rank = u16::from(age(now, sighted_at(seen))) << 8 | behind as u16;
        }
        greatest = ranks.into_iter().fold(greatest, u16::max);
    }
    u8::MAX as usize - usize::from(greatest & 0xff)
}

/// The short lists of all rows: port numbers apart from their sightings, because every probe compares the former. A list of 32 is
/// one cache line of each.
#[derive(Debug)]
pub(super) struct Lists {
    len: usize,
    ports: Aligned<u16>,
    sightings: Aligned<Sighting>,
    /// By row and place. A row without answers has none in its places.
    pub(super) answers: Answers,
}

impl Lists {
    /// A list of so many ports for each of so many rows, and of their answers if these are kept.
    pub(super) fn new(rows: usize, len: usize, keeps_answers: bool) -> Result<Self, OutOfMemory> {
        let all = rows.saturating_mul(len);
        let answers = Answers::new(rows, len, keeps_answers)?;
        Ok(Self { len, ports: Aligned::new(all)?, sightings: Aligned::new(all)?, answers })
    }

    /// Bytes of a list of so many ports.
    pub(super) fn bytes(len: usize) -> usize {
        len * (size_of::<u16>() + size_of::<Sighting>())
    }

    /// Ports of a list.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Has the list of a row brought into the cache.
    #[inline]
    pub(super) fn prefetch(&self, row: u32) {
        let at = row as usize * self.len;
        prefetch(&self.ports.as_slice()[at]);
        prefetch(&self.sightings.as_slice()[at]);
    }

    /// The first ports of a list, and their sightings.
    #[inline]
    pub(super) fn first(&self, row: u32, len: usize) -> (&[u16], &[Sighting]) {
        let at = row as usize * self.len;
        let range = at..at + len;
        (&self.ports.as_slice()[range.clone()], &self.sightings.as_slice()[range])
    }

    /// All of a list.
    #[inline]
    fn list_mut(&mut self, row: u32) -> (&mut [u16], &mut [Sighting]) {
        let at = row as usize * self.len;
        let range = at..at + self.len;
        (&mut self.ports.as_mut_slice()[range.clone()], &mut self.sightings.as_mut_slice()[range])
    }

    /// Moves the ports that count to the front. Returns how many do.
    pub(super) fn expire(&mut self, ports: &mut Ports, row: u32, now: Stamp) -> u32 {
        let len = ports.counted as usize;
        if ports.has_answers() {
            self.move_answers(row, len, now);
        }
        let (numbers, sightings) = self.list_mut(row);
        let (mut kept, mut greatest_age) = (0, 0);
        for at in 0..len {
            let stamp = sighted_at(sightings[at]);
            numbers.swap(kept, at);
            sightings.swap(kept, at);
            if counts(now, stamp) {
                kept += 1;
                greatest_age = greatest_age.max(age(now, stamp));
            }
        }
        ports.oldest = before(now, greatest_age);
        ports.set_saturated(ports.is_saturated() && kept == len);
        kept as u32
    }

    /// Moves the answers as `expire` is about to move their ports.
    #[cold]
    fn move_answers(&mut self, row: u32, len: usize, now: Stamp) {
        let mut kept = 0;
        for at in 0..len {
            self.answers.swap(row as usize, kept, at);
            kept += usize::from(counts(now, sighted_at(self.first(row, len).1[at])));
        }
    }

    /// Counts a port now. False if there is no room for it.
    #[inline]
    pub(super) fn record(&mut self, ports: &mut Ports, row: u32, port: u16, hosts: u8, to: u64) -> bool {
        let (now, counted, listed) = (stamp(to), ports.counted as usize, usize::from(ports.listed));
        let (numbers, sightings) = self.list_mut(row);
        match position(numbers, port).filter(|&at| at < listed) {
            Some(at) if at < counted => {
                sightings[at] = sighting(now, sightings[at] as u8 | hosts);
                return true;
            }
            // It was kept for the union, and counts again.
            Some(at) => {
                numbers.swap(counted, at);
                sightings.swap(counted, at);
                sightings[counted] = sighting(now, sightings[counted] as u8 | hosts);
                if ports.has_answers() {
                    self.answers.swap(row as usize, counted, at);
                }
            }
            None if listed >= numbers.len() => return false,
            None => {
                if listed > counted {
                    (numbers[listed], sightings[listed]) = (numbers[counted], sightings[counted]);
                }
                (numbers[counted], sightings[counted]) = (port, sighting(now, hosts));
                if ports.has_answers() {
                    self.answers.swap(row as usize, listed, counted);
                    self.answers.set(row as usize, counted, Answer::Silent);
                }
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
    pub(super) fn replace(&mut self, ports: &mut Ports, row: u32, port: u16, hosts: u8, to: u64) {
        let (now, counted) = (stamp(to), ports.counted as usize);
        let (numbers, sightings) = self.list_mut(row);
        let at = if counted < numbers.len() { counted } else { oldest(sightings, now) };
        (numbers[at], sightings[at]) = (port, sighting(now, hosts));
        ports.set_saturated(counted == numbers.len());
        if counted < numbers.len() {
            ports.counted += 1;
            ports.oldest = if counted == 0 { now } else { ports.oldest };
        }
        if ports.has_answers() {
            self.answers.set(row as usize, at, Answer::Silent);
        }
    }

    /// Writes a list anew, as far as it has room. Returns the sightings of what it took.
    pub(super) fn fill(&mut self, row: u32, cells: impl Iterator<Item = (u16, Sighting)>) -> &[Sighting] {
        let (numbers, sightings) = self.list_mut(row);
        let mut listed = 0;
        for (cell, (number, sighting)) in cells.zip(numbers.iter_mut().zip(sightings.iter_mut())) {
            (*number, *sighting) = cell;
            listed += 1;
        }
        &sightings[..listed]
    }

    /// How many of the ports that count still do at a stamp less than a window ahead.
    pub(super) fn count_at(&self, ports: &Ports, row: u32, now: Stamp) -> u32 {
        if counts(now, ports.oldest) {
            return ports.counted;
        }
        let (_, sightings) = self.first(row, ports.counted as usize);
        sightings.iter().map(|&sighting| u32::from(counts(now, sighted_at(sighting)))).sum()
    }

    /// How many of the ports that count are how old, in quanta.
    pub(super) fn by_age(&self, ports: &Ports, row: u32, now: Stamp) -> [u32; AGES] {
        let mut by_age = [0; AGES];
        for &sighting in self.first(row, ports.counted as usize).1 {
            by_age[usize::from(age(now, sighted_at(sighting))).min(AGES - 1)] += 1;
        }
        by_age
    }

    /// The same of those that were not answered.
    pub(super) fn unanswered_by_age(&self, ports: &Ports, row: u32, now: Stamp) -> [u32; AGES] {
        if !ports.has_answers() {
            return self.by_age(ports, row, now);
        }
        let mut by_age = [0; AGES];
        for (at, &sighting) in self.first(row, ports.counted as usize).1.iter().enumerate() {
            let is_unanswered = self.answers.get(row as usize, at) != Answer::Answered;
            by_age[usize::from(age(now, sighted_at(sighting))).min(AGES - 1)] += u32::from(is_unanswered);
        }
        by_age
    }

    /// What became of the port at a place.
    pub(super) fn answer_at(&self, ports: &Ports, row: u32, at: usize) -> Answer {
        if ports.has_answers() { self.answers.get(row as usize, at) } else { Answer::Silent }
    }

    /// A port was answered. Says whether it is one of these.
    pub(super) fn answer(&mut self, ports: &Ports, row: u32, port: u16, answer: Answer) -> bool {
        let here = position(self.first(row, self.len).0, port).filter(|&at| at < usize::from(ports.listed));
        if let Some(at) = here {
            self.answers.note(row as usize, at, answer);
        }
        here.is_some()
    }

    /// Distinct ports of each host that is told apart.
    #[inline]
    pub(super) fn ports_by_host(&self, ports: &Ports, row: u32) -> [u32; TRACKED_HOSTS] {
        // The seven bits of a port are spread over seven bytes, and the bytes added up: a list has fewer than 256 ports.
        let sightings = self.first(row, usize::from(ports.listed)).1;
        let spread =
            |&sighting: &Sighting| (u64::from(sighting & 0x7f) * 0x0408_1020_4081) & 0x0101_0101_0101_0101;
        let sums = sightings.iter().map(spread).sum::<u64>().to_le_bytes();
        std::array::from_fn(|host| u32::from(sums[host]))
    }

    /// Forgets which of the first ports some hosts were asked for.
    pub(super) fn forget_hosts(&mut self, row: u32, len: usize, hosts: u8) {
        let (_, sightings) = self.list_mut(row);
        sightings[..len].iter_mut().for_each(|sighting| *sighting &= !Sighting::from(hosts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_oldest_is_the_first_of_the_greatest_age(
            lines in 1..=6_usize,
            now in 1..=255_u8,
            ages in prop::collection::vec(0..=60_u8, 6 * AT_ONCE),
            span in 0..=60_u8,
        ) {
            let ages: Vec<u8> = ages[..lines * AT_ONCE].iter().map(|age| age.min(&span)).copied().collect();
            let sightings: Vec<_> = ages.iter().map(|&age| sighting(before(now, age), 0x7f)).collect();
            let greatest = *ages.iter().max().expect("a line");
            prop_assert_eq!(Some(oldest(&sightings, now)), ages.iter().position(|&age| age == greatest));
        }
    }
}
