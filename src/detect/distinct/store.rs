//! The ports of all rows: which are in a short list and which in a block, and how they move from one to the other.

use crate::detect::distinct::answers::{Answer, Answers};
use crate::detect::distinct::block::{AGES, Block, Cell, Header, Pool, cell, hosts_of, port_of, stamp_of};
use crate::detect::distinct::list::{Lists, sighted_at, sighting};
use crate::detect::distinct::plan::Plan;
use crate::detect::distinct::ports::Ports;
use crate::detect::memory::{OutOfMemory, room_for};
use crate::detect::time::quantum::{EXPIRED, age, before, counts, falls_below, stamp};
use crate::detect::tuning::{BLOCK_CELLS, QUANTA, TRACKED_HOSTS};

/// The ports of all rows of a table.
#[derive(Debug)]
pub(crate) struct PortStore {
    pub(super) lists: Lists,
    pub(super) pools: [Pool; 3],
    /// For a block while its cells are put in order.
    scratch: Vec<(Cell, Answer)>,
}

impl PortStore {
    /// Room for the short lists of so many rows, and for blocks; with the answers of their ports, if these are kept.
    pub(crate) fn new(rows: usize, plan: &Plan, keeps_answers: bool) -> Result<Self, OutOfMemory> {
        let pool = |size: usize| Pool::new(BLOCK_CELLS[size], plan.blocks(size), keeps_answers);
        Ok(Self {
            lists: Lists::new(rows, plan.list_ports, keeps_answers)?,
            pools: [pool(0)?, pool(1)?, pool(2)?],
            scratch: room_for(BLOCK_CELLS[1])?,
        })
    }

    /// Ports of a short list.
    pub(crate) fn list_ports(&self) -> usize {
        self.lists.len()
    }

    /// Bytes of a short list.
    pub(crate) fn list_bytes(list_ports: usize) -> usize {
        Lists::bytes(list_ports)
    }

    /// Bytes of its answers.
    pub(crate) fn answer_bytes(list_ports: usize) -> usize {
        Answers::bytes(list_ports)
    }

    /// Has a row's list brought into the cache.
    #[inline]
    pub(crate) fn prefetch(&self, row: u32) {
        self.lists.prefetch(row);
    }

    // ---- Time passes.

    /// Lets ports leave the window as time goes from one quantum to another. Returns how many count.
    #[inline]
    pub(crate) fn expire(&mut self, ports: &mut Ports, row: u32, from: u64, to: u64) -> u32 {
        if from == to || ports.counted == 0 && ports.block.is_none() {
            return ports.counted;
        }
        ports.counted = match ports.block.map(Block::parts) {
            None if to - from > QUANTA => 0,
            None if counts(stamp(to), ports.oldest) => return ports.counted,
            None => self.lists.expire(ports, row, stamp(to)),
            Some((pool, at)) => self.pools[pool].expire(at, from, to),
        };
        if !ports.keeps_all() {
            self.forget_expired(ports, row);
        }
        ports.counted
    }

    /// Without an open scan, what no longer counts is of no use.
    fn forget_expired(&mut self, ports: &mut Ports, row: u32) {
        match ports.block.map(Block::parts) {
            None => {
                ports.listed = ports.counted as u8;
                if ports.counted == 0 {
                    self.forget_listed_answers(ports, row);
                }
            }
            Some((pool, at)) if ports.counted == 0 => {
                self.pools[pool].give_back(at);
                *ports = Ports::NONE;
            }
            Some(_) => {}
        }
        if ports.counted == 0 {
            ports.clear_doubts();
        }
    }

    /// Whether no port leaves the window between these quanta, as one look says.
    #[inline]
    pub(crate) fn none_leaves(ports: &Ports, from: u64, to: u64) -> bool {
        ports.block.is_none() && to - from <= QUANTA && counts(stamp(to), ports.oldest) && ports.counted > 0
    }

    /// How many of the ports that count at quantum `from` still do at `to`, if no probe comes.
    pub(crate) fn count_at(&self, ports: &Ports, row: u32, from: u64, to: u64) -> u32 {
        match ports.block.map(Block::parts) {
            _ if to - from > QUANTA => 0,
            None => self.lists.count_at(ports, row, stamp(to)),
            Some((pool, at)) => self.pools[pool].headers[at as usize].left_at(from, to),
        }
    }

    /// The quantum in which the count falls (fell) below `threshold` if no probe comes after quantum `latest`.
    pub(crate) fn falls_below(&self, ports: &Ports, row: u32, threshold: u32, latest: u64) -> u64 {
        let by_age = match ports.block.map(Block::parts) {
            None => self.lists.by_age(ports, row, stamp(latest)),
            Some((pool, at)) => {
                let header = &self.pools[pool].headers[at as usize];
                std::array::from_fn(|age| header.of_age(latest, age as u64))
            }
        };
        falls_below(&by_age, threshold, latest)
    }

    // ---- A port is asked for.

    /// Counts a port now (quantum `to`, to which the set was expired). False if there is no room for it: then `grow`.
    #[inline]
    pub(crate) fn record(&mut self, ports: &mut Ports, row: u32, port: u16, hosts: u8, to: u64) -> bool {
        let Some((pool, at)) = ports.block.map(Block::parts) else {
            return self.lists.record(ports, row, port, hosts, to);
        };
        let pool = &mut self.pools[pool];
        if !pool.record(at, port, hosts, to) {
            return false;
        }
        Self::read(ports, &pool.headers[at as usize]);
        true
    }

    /// What the header of a block says of its ports.
    #[inline]
    fn read(ports: &mut Ports, header: &Header) {
        ports.counted = header.counted;
        if ports.keeps_all() {
            ports.union = ports.union.max(header.occupied);
        }
    }

    /// Counts a port for which there is no room, in the place of another: the count stops growing, and never falls
    /// while the source goes on.
    pub(crate) fn replace(&mut self, ports: &mut Ports, row: u32, port: u16, hosts: u8, to: u64) {
        ports.lower_bound = true;
        let Some((pool, at)) = ports.block.map(Block::parts) else {
            return self.lists.replace(ports, row, port, hosts, to);
        };
        let pool = &mut self.pools[pool];
        if pool.is_worth_clearing(at) {
            pool.clear_expired(at, to, &mut self.scratch);
        }
        if !pool.record(at, port, hosts, to) {
            pool.replace(at, port, hosts, to);
            ports.set_saturated(true);
        }
        Self::read(ports, &pool.headers[at as usize]);
    }

    // ---- From a list to blocks, and back.

    /// Makes room for one port more: in a larger block, or in the same if much of it is of no use. False if no block is left.
    pub(crate) fn grow(&mut self, ports: &mut Ports, row: u32, to: u64) -> bool {
        if let Some((size, at)) = ports.block.map(Block::parts)
            && !ports.keeps_all()
            && self.pools[size].is_worth_clearing(at)
        {
            self.pools[size].clear_expired(at, to, &mut self.scratch);
            return true;
        }
        let keeps_all = ports.keeps_all();
        let free = self.larger(ports).find_map(|(size, pool)| Some((size, pool.take(row, to, keeps_all)?)));
        let Some((size, new)) = free else { return false };
        match ports.block.map(Block::parts) {
            None => self.spill(ports, row, (size, new), to),
            Some((old_size, old)) => {
                let (small, large) = self.pools.split_at_mut(size);
                let (small, large) = (&mut small[old_size], &mut large[0]);
                large.headers[new as usize].marked = small.headers[old as usize].marked;
                for (held, answer) in small.held(old) {
                    if keeps_all || counts(stamp(to), stamp_of(held)) {
                        large.insert(new, held, answer, to);
                    }
                }
                small.give_back(old);
            }
        }
        ports.block = Some(Block::new(size, new));
        ports.set_saturated(false);
        true
    }

    /// Moves a full list to a block.
    fn spill(&mut self, ports: &mut Ports, row: u32, (size, new): (usize, u32), to: u64) {
        let (numbers, sightings) = self.lists.first(row, usize::from(ports.listed));
        for (n, (&port, &sighting)) in (0..).zip(numbers.iter().zip(sightings)) {
            let stamp = if n < ports.counted { sighted_at(sighting) } else { EXPIRED };
            let answer = self.lists.answer_at(ports, row, n as usize);
            self.pools[size].insert(new, cell(port, stamp, sighting as u8), answer, to);
        }
        if ports.has_answers() {
            self.lists.answers.clear(row as usize);
        }
        ports.listed = 0;
    }

    /// The pools whose blocks have room for more than a set has now, the smallest first.
    fn larger(&mut self, ports: &Ports) -> impl Iterator<Item = (usize, &mut Pool)> {
        let (least, held) = match ports.block.map(Block::parts) {
            None => (0, u32::from(ports.listed)),
            Some((size, at)) => (size + 1, self.pools[size].headers[at as usize].occupied),
        };
        let from_least = self.pools.iter_mut().enumerate().skip(least);
        from_least.filter(move |(_, pool)| !pool.is_filled_by(held as usize))
    }

    /// Whether a row with a short list need not look for a block: in this quantum all were looked at in vain.
    #[inline]
    pub(crate) fn is_spent(&self, ports: &Ports, now: u64) -> bool {
        ports.block.is_none() && self.pools.iter().all(|pool| pool.is_spent(now))
    }

    /// The row that is worth least among a few of those whose blocks a set could grow into; `worth` is `None` for
    /// one that must keep its block.
    pub(crate) fn least_worth<W: Ord>(
        &mut self,
        ports: &Ports,
        now: u64,
        worth: impl Fn(&Header) -> Option<W>,
    ) -> Option<u32> {
        self.larger(ports).find_map(|(_, pool)| pool.least_worth(now, &worth))
    }

    /// Takes the block of a row away. Its youngest ports stay, as many as its short list holds.
    pub(crate) fn shrink(&mut self, ports: &mut Ports, row: u32, to: u64) {
        let Some((size, at)) = ports.block.take().map(Block::parts) else { return };
        let (pool, room) = (&mut self.pools[size], self.lists.len());
        let header = &pool.headers[at as usize];
        // Of the ports of this age some find room, of older ones none.
        let mut younger = 0;
        let last_age = (0..=QUANTA).find(|&age| {
            younger += header.of_age(to, age);
            younger as usize > room
        });
        let (held, had) = (header.occupied, header.counted);
        let rank = |held: Cell| {
            let age = u64::from(age(stamp(to), stamp_of(held)));
            match counts(stamp(to), stamp_of(held)) {
                true if last_age.is_none_or(|last| age < last) => 0,
                true if last_age == Some(age) => 1,
                false if ports.keeps_all() => 2,
                _ => 3,
            }
        };
        let has_answers = header.has_answers;
        let in_order = (0..3).flat_map(|turn| pool.held(at).filter(move |&(c, _)| rank(c) == turn));
        if has_answers {
            for (place, (_, answer)) in in_order.clone().take(room).enumerate() {
                self.lists.answers.set(row as usize, place, answer);
            }
        }
        let kept =
            self.lists.fill(row, in_order.map(|(c, _)| (port_of(c), sighting(stamp_of(c), hosts_of(c)))));
        let (mut counted, mut greatest_age) = (0, 0);
        for &sighting in kept {
            if counts(stamp(to), sighted_at(sighting)) {
                counted += 1;
                greatest_age = greatest_age.max(age(stamp(to), sighted_at(sighting)));
            }
        }
        let listed = kept.len() as u8;
        pool.give_back(at);
        ports.set_has_answers(has_answers);
        ports.set_saturated(counted < had);
        ports.lower_bound |= ports.is_saturated() || ports.keeps_all() && u32::from(listed) < held;
        (ports.counted, ports.listed, ports.oldest) = (counted, listed, before(stamp(to), greatest_age));
    }

    /// Forgets all ports of a row.
    pub(crate) fn release(&mut self, ports: &mut Ports, row: u32) {
        if let Some((pool, at)) = ports.block.map(Block::parts) {
            self.pools[pool].give_back(at);
        } else {
            self.forget_listed_answers(ports, row);
        }
        *ports = Ports::NONE;
    }

    // ---- Answers.

    /// A port was answered; only where answers are kept. One that the row does not have changes nothing.
    pub(crate) fn answer(&mut self, ports: &mut Ports, row: u32, port: u16, answer: Answer) {
        let is_its = match ports.block.map(Block::parts) {
            None => self.lists.answer(ports, row, port, answer),
            Some((pool, at)) => self.pools[pool].answer(at, port, answer),
        };
        if is_its {
            ports.set_has_answers(true);
        }
    }

    /// How many of the ports that count at quantum `now`, to which the set was expired, and were not answered are how old, in
    /// quanta.
    pub(crate) fn unanswered_by_age(&self, ports: &Ports, row: u32, now: u64) -> [u32; AGES] {
        match ports.block.map(Block::parts) {
            None => self.lists.unanswered_by_age(ports, row, stamp(now)),
            Some((pool, at)) => self.pools[pool].unanswered_by_age(at, now),
        }
    }

    /// A short list has no ports any more that could have been answered.
    fn forget_listed_answers(&mut self, ports: &mut Ports, row: u32) {
        if ports.has_answers() {
            self.lists.answers.clear(row as usize);
            ports.set_has_answers(false);
        }
    }

    // ---- The union of a scan.

    /// A scan begins: from here on the union is kept.
    pub(crate) fn begin_union(&mut self, ports: &mut Ports, to: u64) {
        if let Some((size, at)) = ports.block.map(Block::parts) {
            self.pools[size].clear_expired(at, to, &mut self.scratch);
            self.pools[size].headers[at as usize].keeps_all = true;
        }
        ports.union = ports.counted;
    }

    /// The scan ends, and with it the union: keeps the ports that count. The next run of probes tells its own hosts apart.
    pub(crate) fn end_union(&mut self, ports: &mut Ports, row: u32, to: u64) {
        ports.union = 0;
        if ports.counted as usize <= self.lists.len() {
            self.shrink(ports, row, to);
            ports.clear_doubts();
        }
        match ports.block.map(Block::parts) {
            Some((size, at)) => {
                self.pools[size].headers[at as usize].keeps_all = false;
                self.pools[size].forget_hosts(at, u8::MAX);
            }
            None => {
                ports.listed = ports.counted as u8;
                self.lists.forget_hosts(row, ports.counted as usize, u8::MAX);
            }
        }
    }

    // ---- Which ports, and of which hosts.

    /// Distinct ports of each host that is told apart.
    #[inline]
    pub(crate) fn ports_by_host(&self, ports: &Ports, row: u32) -> [u32; TRACKED_HOSTS] {
        match ports.block.map(Block::parts) {
            None => self.lists.ports_by_host(ports, row),
            Some((pool, at)) => self.pools[pool].headers[at as usize].asked,
        }
    }

    /// The most ports that count of one host. A block may also know of ports that left the window: there it takes a pass over it.
    pub(crate) fn most_of_one_host(&self, ports: &Ports, row: u32, to: u64) -> u32 {
        let asked = match ports.block.map(Block::parts) {
            None => self.lists.ports_by_host(ports, row),
            Some((pool, at)) => {
                let cells = self.pools[pool].cells(at).iter();
                let counted = cells.filter(|&&held| held != 0 && counts(stamp(to), stamp_of(held)));
                counted.fold([0; TRACKED_HOSTS], |mut asked: [u32; TRACKED_HOSTS], &held| {
                    for (host, asked) in asked.iter_mut().enumerate() {
                        *asked += u32::from(hosts_of(held) >> host & 1);
                    }
                    asked
                })
            }
        };
        asked.into_iter().max().unwrap_or(0)
    }

    /// Whether a host may be forgotten now. In a block that takes a pass over it, so not with every probe: the adversary
    /// asks a new host each time.
    pub(crate) fn may_forget_host(&self, ports: &Ports) -> bool {
        match ports.block.map(Block::parts) {
            None => true,
            Some((pool, at)) => self.pools[pool].headers[at as usize].until_new_host == 0,
        }
    }

    /// Forgets which ports a host was asked for.
    pub(crate) fn forget_host(&mut self, ports: &Ports, row: u32, host: usize) {
        match ports.block.map(Block::parts) {
            None => self.lists.forget_hosts(row, usize::from(ports.listed), 1 << host),
            Some((pool, at)) => self.pools[pool].forget_hosts(at, 1 << host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ports of one row under the threshold 20, in its own quanta.
    struct Set {
        store: PortStore,
        ports: Ports,
        quantum: u64,
    }

    impl Set {
        /// With a short list of 32 ports, and one block of each size.
        fn new() -> Self {
            let plan = Plan::new(20, 0);
            Self { store: PortStore::new(1, &plan, true).expect("room"), ports: Ports::NONE, quantum: 1_000 }
        }

        /// These ports are asked for now, of the first host.
        fn asks(&mut self, ports: std::ops::Range<u32>) -> &mut Self {
            for port in ports.map(|port| port as u16) {
                if !self.store.record(&mut self.ports, 0, port, 1, self.quantum) {
                    let grows = self.store.grow(&mut self.ports, 0, self.quantum);
                    if !(grows && self.store.record(&mut self.ports, 0, port, 1, self.quantum)) {
                        self.store.replace(&mut self.ports, 0, port, 1, self.quantum);
                    }
                }
            }
            self
        }

        fn waits(&mut self, quanta: u64) -> &mut Self {
            self.store.expire(&mut self.ports, 0, self.quantum, self.quantum + quanta);
            self.quantum += quanta;
            self
        }

        fn opens(&mut self) -> &mut Self {
            self.store.begin_union(&mut self.ports, self.quantum);
            self
        }

        fn counts(&self) -> (u32, u32) {
            (self.ports.count(), self.ports.union())
        }
    }

    #[test]
    fn a_port_counts_for_a_window_and_no_longer() {
        let mut set = Set::new();
        assert_eq!(set.asks(1..2).waits(QUANTA).counts().0, 1);
        assert_eq!(set.waits(1).counts().0, 0);
        assert_eq!(set.asks(1..2).waits(30).asks(1..2).waits(QUANTA).counts().0, 1, "asked for again");
    }

    #[test]
    fn all_ports_are_counted_in_a_list_and_in_every_block() {
        for most in [31, 32, 33, 144, 145, 1_488, 1_489, 65_536] {
            let mut set = Set::new();
            assert_eq!(set.asks(0..most).counts().0, most);
            assert!(!set.ports.is_lower_bound());
            assert_eq!(set.asks(0..most).counts().0, most, "again they are no more");
            assert_eq!(set.store.falls_below(&set.ports, 0, most, set.quantum), set.quantum + QUANTA + 1);
            assert_eq!(set.waits(QUANTA + 1).counts(), (0, 0));
            assert!(set.ports.block.is_none(), "the block is given back");
        }
    }

    #[test]
    fn an_open_scan_keeps_what_left_the_window() {
        for most in [30, 100, 3_000] {
            let mut set = Set::new();
            set.asks(0..20).opens().waits(QUANTA / 2).asks(20..most).waits(QUANTA / 2 + 1);
            assert_eq!(set.counts(), (most - 20, most));
            let (quantum, ports) = (set.quantum, &mut set.ports);
            set.store.end_union(ports, 0, quantum);
            assert_eq!(set.counts(), (most - 20, most - 20));
        }
    }

    #[test]
    fn who_loses_a_block_keeps_its_youngest_ports_and_says_so() {
        let mut set = Set::new();
        set.asks(0..50).waits(10).asks(50..70);
        let (quantum, ports) = (set.quantum, &mut set.ports);
        set.store.shrink(ports, 0, quantum);
        assert_eq!((set.counts().0, set.ports.is_saturated(), set.ports.is_lower_bound()), (32, true, true));
        assert_eq!(set.waits(QUANTA - 9).counts().0, 20, "the younger all stayed");
    }

    #[test]
    fn without_a_block_the_count_stops_and_does_not_fall() {
        let mut set = Set::new();
        for pool in &mut set.store.pools {
            assert!(pool.take(7, 0, false).is_some() && pool.take(7, 0, false).is_none(), "one block is all");
        }
        assert_eq!(set.asks(0..40).counts().0, 32);
        assert!(set.ports.is_saturated() && set.ports.is_lower_bound());
        assert_eq!(set.waits(30).asks(40..60).waits(QUANTA - 30).counts().0, 32);
        assert_eq!(set.waits(1).counts().0, 20);
        assert!(!set.ports.is_saturated(), "there is room again");
    }

    #[test]
    fn the_lowest_ports_are_the_sample_and_hosts_are_told_apart() {
        for most in [40, 400] {
            let mut set = Set::new();
            set.asks(7..most);
            assert_eq!(set.store.named(&set.ports, 0).0.as_slice(), (7..23).collect::<Vec<u16>>());
            assert_eq!(set.store.named(&set.ports, 0).1.to_string(), format!("7-{}", most - 1));
            assert!(set.store.record(&mut set.ports, 0, 9, 0b10, set.quantum));
            assert_eq!(set.store.ports_by_host(&set.ports, 0)[..3], [most - 7, 1, 0]);
            set.store.forget_host(&set.ports, 0, 0);
            assert_eq!(set.store.ports_by_host(&set.ports, 0)[..3], [0, 1, 0]);
        }
    }
}
