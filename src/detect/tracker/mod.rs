//! All memory of one rule: which sources are tracked in a row, which are on probation, which are evicted. `rows` counts what
//! they do.

mod admission;
mod few_hosts;
mod handed;
mod reload;
mod replies;
mod show;
mod thinning;

pub(crate) use handed::{Handed, What};
pub(crate) use replies::Replied;

use self::admission::{pace, patience};
use self::few_hosts::FewHosts;
use self::thinning::Thinning;
use crate::detect::batch::{Lookup, Lookups, NO_ROW};
use crate::detect::distinct::peers::PeerStore;
use crate::detect::distinct::{Plan, PortStore};
use crate::detect::ground::Ground;
use crate::detect::memory::{OutOfMemory, room_for};
use crate::detect::probe::{Class, Probe};
use crate::detect::retired::Retired;
use crate::detect::row::Row;
use crate::detect::rows::{Rows, Seen};
use crate::detect::rule::{Limits, Rule};
use crate::detect::scan::Source;
use crate::detect::sink::EventSink;
use crate::detect::snapshot::Evicted;
use crate::detect::table::eviction::EvictionQueue;
use crate::detect::table::{Directory, Found, Probation, Ruling, Spot};
use crate::detect::tuning::{BATCH, DOORKEEPER, FEW_HOSTS, KEY_NANOS, LEAST_ROWS, QUANTA, SWEPT_AHEAD};
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};

/// Tracks sources by one rule. All memory is reserved by `new`.
#[derive(Debug)]
pub(super) struct Tracker {
    limits: Limits,
    /// Quanta between the ports of an even scan that just reaches the threshold.
    pace: u8,
    /// Quanta within which a scan that just reaches the threshold asks for three ports somewhere.
    patience: u8,
    /// The quantum and the epoch of the latest sweep.
    swept: u64,
    swept_epoch: Option<u64>,
    /// The quantum in which all rows were queued anew.
    rebuilt: u64,
    /// When the latest key of the directory was replaced.
    rekeyed: u64,
    /// All trackers of a detector hash alike, so that each source is hashed once.
    hasher: foldhash::quality::FixedState,
    directory: Directory,
    /// Free rows; behind the last row there is room for more, up to `capacity`.
    free: Vec<u32>,
    capacity: usize,
    queue: EvictionQueue,
    rows: Rows,
    plan: Plan,
    /// The greatest peaks of sources that lost their row.
    retired: Retired,
    /// Where the sources of the probes are that were gathered.
    lookups: Lookups,
    /// Which new sources it looks at.
    thinning: Thinning,
    /// In a flood: where the sources of a batch belong that the faster rules look at now; and whether that is so.
    awaited: [Spot; BATCH],
    is_awaited: bool,
    /// The hosts that were asked, for a rule that counts hosts.
    few_hosts: Option<FewHosts>,
}

impl Tracker {
    /// That of the first rule, with all its memory, or an error if the system refuses any of it.
    pub(super) fn new(rule: Rule, ground: &Ground<'_>) -> Result<Self, OutOfMemory> {
        Self::with(Directory::new, rule, ground)
    }

    /// That of any rule, with a directory of this make.
    fn with(
        directory: impl Fn(usize, u64) -> Result<Directory, OutOfMemory>,
        rule: Rule,
        ground: &Ground<'_>,
    ) -> Result<Self, OutOfMemory> {
        let &Ground { policy, limits, seed, .. } = ground;
        let plan = Plan::new(rule.ports.unwrap_or(2), limits.memory_bytes);
        let hasher = ground.hasher();
        let directory = directory(limits.memory_bytes / DOORKEEPER.1 * DOORKEEPER.0, hasher.hash_one(seed))?;
        let (peer_bytes, long_bytes) = rule.peers.map_or((0, 0), |peers| {
            (PeerStore::row_bytes(peers), PeerStore::long_bytes(limits.memory_bytes))
        });
        let keeps_answers = policy.keeps_answers(&rule);
        let row_bytes = size_of::<Row>()
            + size_of::<u32>()
            + EvictionQueue::ROW_BYTES
            + PortStore::list_bytes(plan.list_ports)
            + peer_bytes
            + if policy.replies { Rows::REPLY_BYTES } else { 0 }
            + if keeps_answers { PortStore::answer_bytes(plan.list_ports) } else { 0 };
        let taken = directory.bytes() + plan.block_bytes + long_bytes;
        let capacity = (limits.memory_bytes.saturating_sub(taken) / row_bytes)
            .clamp(LEAST_ROWS, directory.capacity() as usize);
        let queue = EvictionQueue::new(capacity)?;
        let drawn = hasher.hash_one(!seed);
        let peers = |threshold| PeerStore::new(capacity, threshold, limits.memory_bytes, drawn);
        let stores =
            (capacity, PortStore::new(capacity, &plan, keeps_answers)?, rule.peers.map(peers).transpose()?);
        Ok(Self {
            limits,
            pace: pace(&rule),
            patience: patience(&rule),
            swept: 0,
            swept_epoch: None,
            rebuilt: 0,
            rekeyed: 0,
            hasher,
            directory,
            free: room_for(capacity)?,
            capacity,
            queue,
            rows: Rows::new(rule, policy, &limits, stores, ground.counting_hasher())?,
            plan,
            retired: Retired::new(limits.max_sources)?,
            lookups: Lookups::NONE,
            thinning: Thinning::NEVER,
            awaited: [Spot::FIRST; BATCH],
            is_awaited: false,
            // A sweep of so few hosts would be found only when there are more.
            few_hosts: rule
                .peers
                .is_some_and(|peers| peers as usize > FEW_HOSTS)
                .then(FewHosts::new)
                .transpose()?,
        })
    }

    /// The greatest threshold that `reload` may set: the short lists were sized for it. A greater one takes `resize`.
    pub(super) fn greatest_threshold(&self) -> u32 {
        self.plan.greatest_threshold
    }

    // ---- A probe comes.

    /// A probe was gathered, whose source and class have this hash: begins to fetch what it will need. `is_again` says that it is of
    /// the source and class of the last one.
    #[inline(always)]
    pub(super) fn look_ahead(&mut self, hash: u64, is_again: bool) {
        let spot = if is_again {
            self.lookups.latest().spot
        } else {
            let spot = self.directory.spot(hash);
            self.directory.prefetch(spot);
            spot
        };
        if let Some(arrived) = self.lookups.push(spot) {
            self.look_up(arrived);
        }
    }

    /// No more probes are gathered: looks up the rest.
    pub(super) fn look_up_rest(&mut self) {
        for arrived in self.lookups.rest() {
            self.look_up(arrived);
        }
    }

    /// What was gathered was observed.
    pub(super) fn end_batch(&mut self) {
        self.lookups.clear();
    }

    /// Notes the likely row of a gathered probe, and has it brought into the cache. Its set of the directory should be there by
    /// now.
    #[inline(always)]
    fn look_up(&mut self, at: usize) {
        let row = match self.lookups.before(at) {
            Some(row) => row,
            None => {
                let spot = self.lookups.at(at).spot;
                self.directory.prefetch_next_door(spot);
                let row = self.directory.likely_row(spot).unwrap_or(NO_ROW);
                self.rows.prefetch(row);
                row
            }
        };
        self.lookups.found(at, row);
    }

    /// Time passes.
    #[inline]
    pub(super) fn pass(&mut self, sink: &mut EventSink<'_>) {
        if self.rows.present.is_over(sink.now()) {
            self.begin_quantum(sink);
        }
    }

    /// A new quantum or epoch begins.
    #[cold]
    fn begin_quantum(&mut self, sink: &mut EventSink<'_>) {
        self.rows.present.set(sink.now());
        if self.rows.present.quantum - self.swept >= QUANTA {
            self.sweep(sink);
        }
    }

    /// Counts the gathered probe of this number. `is_known`: a faster rule has a row for its source, so it is no forged one.
    #[inline]
    pub(crate) fn observe(
        &mut self,
        at: usize,
        probe: &Probe,
        is_known: bool,
        sink: &mut EventSink<'_>,
    ) -> Seen {
        let Lookup { spot, row } = self.lookups.at(at);
        // Earlier probes of the batch may have given the row to another source: check.
        let class = probe.technique.class();
        if self.rows.is_of(row, probe.source, class) {
            self.rows.expire(row, sink);
            return self.rows.count(row, probe, sink);
        }
        let rows = &self.rows;
        let (slot, place) = self.directory.find(spot, |row| rows.is_of_source(row, probe.source, class));
        let row = match place {
            Found::Row(row) => {
                self.rows.expire(row, sink);
                Some(row)
            }
            Found::Probation => self.ask_again(slot, spot, probe, sink),
            Found::Nothing if !is_known && !self.thinning.takes(spot) => {
                self.count_evicted(Evicted::Evidence);
                return Seen::AtDoor;
            }
            Found::Nothing => {
                let slot = self.make_room(spot, is_known, sink);
                if self.is_crowded() {
                    let source =
                        Probation::new(self.rows.door_mark(probe), spot.fingerprint, self.rows.present.stamp);
                    self.directory.put_on_probation(slot, spot, source);
                    return Seen::AtDoor;
                }
                Some(self.admit(slot, spot, probe, sink))
            }
        };
        row.map_or(Seen::AtDoor, |row| self.rows.count(row, probe, sink))
    }

    /// A source on probation asks again. Its row, if it passes.
    #[inline]
    fn ask_again(&mut self, slot: usize, spot: Spot, probe: &Probe, sink: &mut EventSink<'_>) -> Option<u32> {
        let (now, is_full, mark) = (self.rows.present.stamp, self.is_full(), self.rows.door_mark(probe));
        // Two ports are as many as probation keeps, and a scan by the least threshold.
        let two_are_enough = !is_full || self.rows.rule.threshold() <= 2;
        match self.directory.ask_again(slot, spot, mark, now, two_are_enough) {
            Ruling::Stays(finished) => {
                if let Some(source) = finished {
                    self.rows.counters.finish_burst(source.count());
                }
                None
            }
            // Its row would take an eviction. Who is slower than a scan by the rule may wait, less its oldest port.
            Ruling::Passed(source) if is_full && source.since_older(now) > self.patience => {
                self.count_evicted(Evicted::Evidence);
                self.directory.put_on_probation(
                    slot,
                    spot,
                    source.without_oldest(mark, spot.fingerprint, now),
                );
                None
            }
            Ruling::Passed(source) => {
                let row = self.admit(slot, spot, probe, sink);
                self.rows.put_earlier(row, source, sink.now());
                self.rows.expire(row, sink);
                Some(row)
            }
        }
    }

    // ---- Time passes.

    /// Expires every row, and frees those with nothing left to report. Runs once a window, before any
    /// stamp could come round again, and at each tick.
    pub(super) fn sweep(&mut self, sink: &mut EventSink<'_>) {
        let present = self.rows.present;
        // Of a slow rule nothing leaves the window between most ticks; only a scan may end.
        let is_as_it_was = (present.quantum, Some(present.epoch)) == (self.swept, self.swept_epoch);
        if !is_as_it_was || self.rows.has_open_scan() {
            self.sweep_all(sink);
        }
        self.retired.expire(present.epoch, self.rows.least_published());
        self.thinning.pass(sink.now(), present.quantum, self.directory.has_room());
    }

    fn sweep_all(&mut self, sink: &mut EventSink<'_>) {
        let present = self.rows.present;
        // Probation was swept at `swept`: none was older than a window then; after more than two, all are.
        let all = present.quantum - self.swept > 2 * QUANTA;
        let counters = &mut self.rows.counters;
        self.directory.sweep(present.stamp, all, |source| counters.finish_burst(source.count()));
        (self.swept, self.swept_epoch) = (present.quantum, Some(present.epoch));
        // Of the scans that end, only the names are gathered: a flood can open as many as the table holds.
        let mut ending = Vec::new();
        for row in 0..self.rows.len() as u32 {
            self.rows.prefetch_row(row + SWEPT_AHEAD);
            if !self.rows.row(row).is_used || self.rows.stays(row) {
                continue;
            }
            match self.rows.ended(row, sink.now()) {
                Some(at) => {
                    let (source, class) = (self.rows.source(self.rows.row(row)), self.rows.row(row).class());
                    ending.push((sink.to_capture(at), source, class, row));
                }
                None => self.expire_or_free(row, sink),
            }
        }
        ending.sort_unstable();
        for (.., row) in ending {
            self.expire_or_free(row, sink);
        }
        let is_queued = self.queue.is_active() && present.quantum.wrapping_sub(self.rebuilt) < QUANTA / 2;
        match self.is_crowded() {
            false => self.queue.suspend(),
            true if is_queued => {}
            true => self.rebuild(sink.now()),
        }
    }

    /// Expires a row, and frees it if it has nothing left to report.
    fn expire_or_free(&mut self, row: u32, sink: &mut EventSink<'_>) {
        self.rows.expire(row, sink);
        if self.rows.is_idle(row) {
            self.directory.clear(self.rows.row(row).slot as usize);
            self.rows.free(row);
            self.free.push(row);
        }
    }

    /// A tick: sweeps, and replaces a key of the directory if one has been in use for long.
    pub(super) fn tick(&mut self, sink: &mut EventSink<'_>) {
        self.sweep(sink);
        self.rest_among_few_hosts();
        if sink.now().saturating_sub(self.rekeyed) >= KEY_NANOS / self.directory.parts() {
            self.rekey(sink);
        }
    }

    /// The hash of a source and a class, by which it is found.
    #[inline]
    pub(super) fn hash(&self, address: IpAddr, class: Class) -> u64 {
        self.hash_source(Source::by(address, &self.rows.parties), class)
    }

    /// The same of a source. One may begin where another does, and have another length.
    #[inline]
    fn hash_source(&self, source: Source, class: Class) -> u64 {
        match source.address {
            IpAddr::V4(v4) => self.hash_ipv4(v4, class),
            IpAddr::V6(v6) => {
                let hash = self.hasher.hash_one(v6.to_bits());
                let is_ordinary = source.prefix == self.rows.parties.ipv6_prefix();
                let hash =
                    if is_ordinary { hash } else { self.hasher.hash_one(hash ^ u64::from(source.prefix)) };
                self.hash_of_class(hash, class)
            }
        }
    }

    /// The same of an IPv4 source.
    #[inline(always)]
    pub(super) fn hash_ipv4(&self, address: Ipv4Addr, class: Class) -> u64 {
        self.hash_of_class(self.hasher.hash_one(address.to_bits()), class)
    }

    #[inline(always)]
    fn hash_of_class(&self, hash: u64, class: Class) -> u64 {
        match class {
            Class::Syn => hash,
            // Another class of the source is elsewhere, wherever that is.
            other => self.hasher.hash_one(hash ^ other as u64),
        }
    }

    fn spot(&self, address: IpAddr, class: Class) -> Spot {
        self.directory.spot(self.hash(address, class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::explain::Tracked;
    use crate::detect::rule::Policy;
    use crate::detect::scan::EventKind;
    use crate::detect::world::{World, syn};

    const SCANNER: &str = "198.51.100.7";

    /// A source of a crowd.
    fn other(n: u16) -> String {
        format!("203.0.113.{n}")
    }

    /// A world with 64 rows in which so many sources have three ports each.
    fn crowd(sources: u16) -> World {
        (1..=sources).fold(World::tiny(), |world, n| world.scan(&other(n), 1..=3).at_once())
    }

    #[test]
    fn while_there_is_room_every_source_has_a_row() {
        assert_eq!(crowd(31).scan(SCANNER, [22]).at_once().tracked(SCANNER), Tracked::Table);
    }

    #[test]
    fn in_a_crowd_a_new_source_is_on_probation_and_a_second_port_earns_it_a_row() {
        let world = crowd(32).scan(SCANNER, [22]).at_once();
        assert_eq!(world.tracked(SCANNER), Tracked::Door);
        assert_eq!(world.scan(SCANNER, [23]).at_once().tracked(SCANNER), Tracked::Table);
    }

    #[test]
    fn what_was_kept_on_probation_counts() {
        let world = crowd(32).scan(SCANNER, 1..=20).over("1s");
        assert_eq!((world.reported(), world.scans(EventKind::Hit)[0].probes), (vec!["hit 20".into()], 20));
    }

    #[test]
    fn a_full_table_gives_up_who_was_silent_longest() {
        let world = World::tiny().scan(&other(1), 1..=3).at_once().wait("3s");
        let world = (2..=80).fold(world, |world, n| world.scan(&other(n), 1..=3).at_once());
        assert_eq!(world.tracked(&other(1)), Tracked::No);
        assert_eq!(world.evicted(Evicted::Table), 1, "it was silent for longer than a scan would be");
        assert!(world.evicted(Evicted::Evidence) > 0, "the others had only just come");
    }

    #[test]
    fn a_scan_that_loses_its_row_is_reported_as_ended_and_keeps_its_peak() {
        let world = World::tiny().scan(SCANNER, 1..=30).over("1s").wait("40s");
        let mut world = (1..=250).fold(world, |world, n| world.scan(&other(n), 1..=12).at_once());
        world.see(syn(&other(1), "192.0.2.10:80").at(41.0));
        assert_eq!(world.reported(), ["hit 20", "ended 30"]);
        assert_eq!((world.tracked(SCANNER), world.evicted(Evicted::Scan)), (Tracked::Peak, 1));
        let told = world.explain(SCANNER);
        assert_eq!((told.peak_distinct_ports, told.distinct_ports), (30, 0));
        assert!(told.last_hit.is_some());
    }

    #[test]
    fn who_has_nothing_left_to_report_is_let_go() {
        let world = crowd(32).scan(SCANNER, [22]).at_once();
        assert_eq!(world.snapshot().tracked_sources, 33);
        let world = world.wait("11s");
        let snapshot = world.snapshot();
        assert_eq!((snapshot.tracked_sources, snapshot.counters.evicted), (0, [0; 5]));
        assert_eq!(snapshot.counters.bursts, [1, 0, 32, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn another_window_ends_what_is_open_and_another_threshold_does_not() {
        let world = World::new().scan(SCANNER, 1..=25).over("1s");
        let world = world.reload(Policy { threshold: 10, ..Policy::default() });
        assert_eq!((world.reported(), world.evicted(Evicted::Reload)), (vec!["hit 20".into()], 0));
        let world = world.reload(Policy { window_nanos: 5_000_000_000, ..Policy::default() });
        assert_eq!(world.reported(), ["hit 20", "ended 25"]);
        assert_eq!((world.tracked(SCANNER), world.evicted(Evicted::Reload)), (Tracked::No, 1));
    }

    /// Laws 2 and 8. Whatever keys come and go, the same is reported, of rows and on probation.
    #[test]
    fn new_keys_change_nothing_that_is_reported() {
        for sources in [0, 32, 55] {
            let [plain, rekeyed] = [false, true].map(|rekeys| {
                let mut world = crowd(sources);
                for port in 1..=30_u16 {
                    world.see(syn(SCANNER, &format!("192.0.2.10:{port}")).at(f64::from(port) / 10.0));
                    for _ in 0..if rekeys { 20 } else { 0 } {
                        world.detector.rekey(&mut |event| panic!("{event:?}"));
                    }
                }
                assert_eq!(world.snapshot().counters.evicted, [0; 5]);
                world.wait("10m")
            });
            assert_eq!(plain.reported(), ["hit 20", "ended 30"]);
            assert_eq!(plain.reported(), rekeyed.reported());
            assert_eq!(plain.snapshot(), rekeyed.snapshot());
        }
    }

    /// A source on probation is known by bits of its hash. Another that has its set and its tag by chance adds no port to it, whoever
    /// comes first.
    #[test]
    fn a_source_of_the_same_set_and_tag_adds_no_port() {
        for world in [crowd(32), crowd(55)] {
            let mut world = world;
            let tracker = world.detector.tracker();
            let spot = |n: u32| tracker.spot(Ipv4Addr::from_bits(n).into(), Class::Syn);
            let scanner = tracker.spot(SCANNER.parse().expect("an address"), Class::Syn);
            let twin = (0x0a00_0000..0x0fff_ffff)
                .find(|&n| (spot(n).set(), spot(n).tag()) == (scanner.set(), scanner.tag()))
                .map(|n| Ipv4Addr::from_bits(n).to_string())
                .expect("one in four million");
            world.see(syn(&twin, "192.0.2.10:7").at(0.1));
            world.see(syn(SCANNER, "192.0.2.10:1").at(0.2));
            world.see(syn(&twin, "192.0.2.10:7").at(0.3));
            let world = world.scan(SCANNER, 2..=19).over("1s");
            assert!(world.reported().is_empty(), "{:?}", world.reported());
            assert_eq!(world.explain(SCANNER).distinct_ports, 19);
            assert_eq!((world.tracked(&twin), world.snapshot().counters.evicted), (Tracked::Door, [0; 5]));
            assert_eq!(world.scan(SCANNER, [20]).at_once().reported(), ["hit 20"]);
        }
    }

    /// Law 8. An attacker who knows the key chooses neighbours: as many as the two sets of a source hold, with three ports each, and again
    /// after each probe of the source. The source is seen all the same, and each that goes for it is counted.
    #[test]
    fn chosen_neighbours_hide_nobody() {
        let address = |n: u32| Ipv4Addr::from_bits(n).to_string();
        for from in [0x0a00_0000, 0x0a40_0000, 0x0a80_0000] {
            let mut world = World::new();
            let tracker = world.detector.tracker();
            let set = |address: IpAddr| tracker.spot(address, Class::Syn).set();
            let home = set(SCANNER.parse().expect("an address"));
            let neighbours: Vec<String> = (from..0x0aff_ffff_u32)
                .filter(|&n| set(Ipv4Addr::from_bits(n).into()) | 1 == home | 1)
                .take(16)
                .map(address)
                .collect();
            assert_eq!(neighbours.len(), 16);
            for neighbour in &neighbours {
                (1..4).for_each(|port| {
                    world.see(syn(neighbour, &format!("192.0.2.10:{port}")).at(0.0));
                });
            }
            assert_eq!(world.snapshot().counters.evicted, [0; 5]);
            for n in 0..100_u16 {
                let at = f64::from(n) / 10.0;
                world.see(syn(SCANNER, &format!("192.0.2.10:{n}")).at(at));
                // One of them comes anew: it takes the place of another of its kind.
                world.see(syn(&neighbours[usize::from(n) % 16], "192.0.2.10:9").at(at));
            }
            let hits: Vec<_> = world.scans(EventKind::Hit).iter().map(|hit| hit.source.to_string()).collect();
            assert_eq!(hits, [SCANNER]);
            let evicted: u64 = world.snapshot().counters.evicted.iter().sum();
            assert!(evicted > 0, "who had to go is counted");
        }
    }
}
