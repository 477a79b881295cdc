//! All memory of one rule: which sources are tracked in a row, which are on probation, which are evicted. `rows` counts what
//! they do.

use crate::detect::batch::{Lookup, Lookups, NO_ROW};
use crate::detect::distinct::{Plan, PortStore};
use crate::detect::memory::{OutOfMemory, room_for};
use crate::detect::probe::Probe;
use crate::detect::retired::{Candidate, Retired, Top};
use crate::detect::row::Row;
use crate::detect::rows::Rows;
use crate::detect::rule::{Limits, Rule};
use crate::detect::scan::{Scan, Source};
use crate::detect::sink::EventSink;
use crate::detect::snapshot::{Evicted, PublishedSource, Snapshot};
use crate::detect::table::eviction::{Due, EvictionQueue, Rank, UNITS};
use crate::detect::table::{Directory, Found, Probation, Ruling, Spot, Vacated};
use crate::detect::time::quantum::QUANTA;
use crate::detect::time::timeline::{Origin, Timeline};
use crate::detect::tuning::{CROWDED, DOORKEEPER, KEY_NANOS, LEAST_ROWS};
use std::hash::BuildHasher;
use std::net::IpAddr;

/// Tracks sources by one rule. All memory is reserved by `new`.
#[derive(Debug)]
pub struct Tracker {
    limits: Limits,
    /// Quanta between the ports of an even scan that just reaches the threshold.
    pace: u8,
    /// The quantum of the latest sweep.
    swept: u64,
    /// When the latest key of the directory was replaced.
    rekeyed: u64,
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
}

/// Quanta between the ports of an even scan that just reaches the threshold.
fn pace(rule: &Rule) -> u8 {
    QUANTA.div_ceil(u64::from(rule.threshold.max(2)) - 1) as u8
}

impl Tracker {
    /// With all its memory, or an error if the system refuses any of it. `seed` keys the hash of what comes from the wire.
    pub fn new(
        rule: Rule,
        ipv6_prefix: u8,
        limits: Limits,
        seed: u64,
        origin: Origin,
    ) -> Result<Self, OutOfMemory> {
        let plan = Plan::new(rule.threshold, limits.memory_bytes);
        let hasher = foldhash::quality::FixedState::with_seed(seed);
        let directory =
            Directory::new(limits.memory_bytes / DOORKEEPER.1 * DOORKEEPER.0, hasher.hash_one(seed))?;
        let row_bytes = size_of::<Row>()
            + size_of::<u32>()
            + EvictionQueue::ROW_BYTES
            + PortStore::list_bytes(plan.list_ports);
        let capacity = (limits.memory_bytes.saturating_sub(directory.bytes() + plan.block_bytes) / row_bytes)
            .clamp(LEAST_ROWS, directory.capacity() as usize);
        let host_hasher = match origin {
            Origin::Live => hasher.clone(),
            Origin::File | Origin::Sorted => foldhash::quality::FixedState::with_seed(0),
        };
        let queue = EvictionQueue::new(capacity)?;
        let ports = (capacity, PortStore::new(capacity, &plan)?);
        Ok(Self {
            limits,
            pace: pace(&rule),
            swept: 0,
            rekeyed: 0,
            hasher,
            directory,
            free: room_for(capacity)?,
            capacity,
            queue,
            rows: Rows::new(rule, ipv6_prefix, limits.hold_nanos, ports, host_hasher)?,
            plan,
            retired: Retired::new(limits.max_sources)?,
            lookups: Lookups::NONE,
        })
    }

    /// The greatest threshold that `reload` may set: the short lists were sized for it. A greater one takes `resize`.
    pub fn greatest_threshold(&self) -> u32 {
        self.plan.greatest_threshold
    }

    // ---- A probe comes.

    /// A probe was gathered: begins to fetch what it will need. `is_again` says that it comes from the source of the last one.
    #[inline]
    pub fn look_ahead(&mut self, source: IpAddr, is_again: bool) {
        let spot = if is_again {
            self.lookups.latest().spot
        } else {
            let spot = self.spot(source);
            self.directory.prefetch(spot);
            spot
        };
        if let Some(arrived) = self.lookups.push(spot) {
            self.look_up(arrived);
        }
    }

    /// No more probes are gathered: looks up the rest.
    pub fn look_up_rest(&mut self) {
        for arrived in self.lookups.rest() {
            self.look_up(arrived);
        }
    }

    /// What was gathered was observed.
    pub fn end_batch(&mut self) {
        self.lookups.clear();
    }

    /// Notes the likely row of a gathered probe, and has it brought into the cache. Its set of the directory should be there by
    /// now.
    #[inline]
    fn look_up(&mut self, at: usize) {
        let row = match self.lookups.before(at) {
            Some(row) => row,
            None => {
                let row = self.directory.likely_row(self.lookups.at(at).spot).unwrap_or(NO_ROW);
                self.rows.prefetch(row);
                row
            }
        };
        self.lookups.found(at, row);
    }

    /// Time passes.
    #[inline]
    pub fn pass(&mut self, sink: &mut EventSink<'_>) {
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

    /// Counts the gathered probe of this number.
    #[inline]
    pub fn observe(&mut self, at: usize, probe: &Probe, sink: &mut EventSink<'_>) {
        let Lookup { spot, row } = self.lookups.at(at);
        // Earlier probes of the batch may have given the row to another source: check.
        if self.rows.is_of(row, probe.source) {
            self.rows.expire(row, sink);
            return self.rows.count(row, probe, sink);
        }
        let rows = &self.rows;
        let (slot, place) = self.directory.find(spot, |row| rows.is_of_source(row, probe.source));
        let row = match place {
            Found::Row(row) => {
                self.rows.expire(row, sink);
                Some(row)
            }
            Found::Probation => self.ask_again(slot, spot, probe, sink),
            Found::Nothing => {
                let slot = self.make_room(spot, sink);
                if self.is_crowded() {
                    let source = Probation::new(probe.port, self.rows.present.stamp);
                    return self.directory.put_on_probation(slot, spot, source);
                }
                Some(self.admit(slot, spot, probe, sink))
            }
        };
        if let Some(row) = row {
            self.rows.count(row, probe, sink);
        }
    }

    /// A source on probation asks again. Its row, if it passes.
    #[inline]
    fn ask_again(&mut self, slot: usize, spot: Spot, probe: &Probe, sink: &mut EventSink<'_>) -> Option<u32> {
        let (now, is_full) = (self.rows.present.stamp, self.is_full());
        match self.directory.ask_again(slot, probe.port, now, !is_full) {
            Ruling::Stays(finished) => {
                if let Some(source) = finished {
                    self.rows.counters.finish_burst(source.count());
                }
                None
            }
            // Its row would take an eviction. A scan at the pace of the rule asks for three ports within a tenth of
            // a window somewhere; who does not may wait, less its oldest port.
            Ruling::Passed(source) if is_full && source.is_slow(now) => {
                self.count_evicted(Evicted::Evidence);
                self.directory.put_on_probation(slot, spot, source.without_oldest(probe.port, now));
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

    // ---- Which sources are tracked.

    /// A slot for a new source. If another is evicted for it, that is counted by what it was.
    fn make_room(&mut self, spot: Spot, sink: &mut EventSink<'_>) -> usize {
        let (rows, now) = (&self.rows, self.rows.present.stamp);
        let (slot, displaced) = self.directory.make_room(spot, now, self.pace, |row| rank(rows, row));
        match displaced {
            Vacated::Free => {}
            Vacated::Over(source) => self.rows.counters.finish_burst(source.count()),
            Vacated::Probation(source) => {
                let may_return = source.age(now) <= self.pace;
                self.count_evicted(if may_return { Evicted::Evidence } else { Evicted::Doorkeeper });
            }
            Vacated::Row(row) => {
                self.evict(row, sink);
                self.free.push(row);
            }
        }
        slot
    }

    /// Gives a source a row; if none is free, that of the source whose turn it is.
    fn admit(&mut self, slot: usize, spot: Spot, probe: &Probe, sink: &mut EventSink<'_>) -> u32 {
        let row = match self.free.pop() {
            Some(row) => row,
            None if self.rows.len() < self.capacity => self.rows.len() as u32,
            None => {
                if !self.queue.is_active() {
                    self.rebuild(sink.now());
                }
                let row = self.weakest();
                self.evict(row, sink);
                row
            }
        };
        let now = sink.now();
        self.rows.put(row, Row::new(probe, slot as u32, now, self.rows.present.quantum));
        self.directory.put_row(slot, spot, row);
        self.queue.insert(row, Rank::fresh(now / unit_nanos(&self.rows.rule)));
        row
    }

    /// The row that a full table must give up.
    fn weakest(&mut self) -> u32 {
        let threshold = self.rows.rule.threshold;
        // A row that was moved to the reserve is not moved again, so each turn brings the end nearer.
        for _ in 0..=self.rows.len() {
            let rows = &self.rows;
            match self.queue.pop(|row| rank(rows, row)) {
                Some(Due::Evict(row)) => return row,
                Some(Due::EvictOrReserve(row)) => {
                    if !evidence(rows, row).is_strong(threshold) {
                        return row;
                    }
                    self.rows.row_mut(row).is_reserved = true;
                    self.queue.insert(row, rank(&self.rows, row));
                }
                None => break,
            }
        }
        debug_assert!(false, "every row of a full table is queued");
        0
    }

    /// Counts a source as given up, by what it was, and empties its row.
    fn evict(&mut self, row: u32, sink: &mut EventSink<'_>) {
        let given_up = self.rows.row(row);
        let silent = self.rows.present.quanta_since(given_up.last_probe);
        let reason = if given_up.episode.is_open() {
            Evicted::Scan
        } else if silent <= u64::from(self.pace)
            || evidence(&self.rows, row).is_strong(self.rows.rule.threshold)
        {
            Evicted::Evidence
        } else {
            Evicted::Table
        };
        self.count_evicted(reason);
        self.vacate(row, sink);
    }

    fn count_evicted(&mut self, reason: Evicted) {
        self.rows.counters.evicted[reason as usize] += 1;
    }

    /// Empties a row: an open scan is reported as ended, a peak worth a series is kept apart.
    fn vacate(&mut self, row: u32, sink: &mut EventSink<'_>) {
        self.rows.end(row, sink);
        let candidate = self.rows.candidate(self.rows.row(row));
        if candidate.peak >= self.least_published() {
            self.retired.keep(candidate, self.rows.present.epoch);
        }
        self.directory.clear(self.rows.row(row).slot as usize);
        self.rows.free(row);
    }

    #[inline]
    fn is_crowded(&self) -> bool {
        self.used() * CROWDED.1 >= self.capacity * CROWDED.0
    }

    /// Whether a new row takes an eviction.
    fn is_full(&self) -> bool {
        self.used() == self.capacity
    }

    /// Rows that somebody has.
    #[inline]
    fn used(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// The least peak that earns a series: under a threshold below it, the threshold.
    fn least_published(&self) -> u32 {
        self.limits.min_ports.min(self.rows.rule.threshold)
    }

    // ---- Time passes.

    /// Expires every row, and frees those with nothing left to report. Runs once a window, before any
    /// stamp could come round again, and at each tick.
    pub fn sweep(&mut self, sink: &mut EventSink<'_>) {
        let present = self.rows.present;
        // Probation was swept at `swept`: none was older than a window then; after more than two, all are.
        let all = present.quantum - self.swept > 2 * QUANTA;
        let counters = &mut self.rows.counters;
        self.directory.sweep(present.stamp, all, |source| counters.finish_burst(source.count()));
        self.swept = present.quantum;
        // Of the scans that end, only the names are gathered: a flood can open as many as the table holds.
        let mut ending = Vec::new();
        for row in 0..self.rows.len() as u32 {
            if !self.rows.row(row).is_used {
                continue;
            }
            match self.rows.ended(row, sink.now()) {
                Some(at) => {
                    ending.push((sink.to_capture(at), self.rows.source(self.rows.row(row)), row));
                }
                None => self.expire_or_free(row, sink),
            }
        }
        ending.sort_unstable();
        for (_, _, row) in ending {
            self.expire_or_free(row, sink);
        }
        self.retired.expire(present.epoch, self.least_published());
        if self.is_crowded() { self.rebuild(sink.now()) } else { self.queue.suspend() }
    }

    /// Expires a row, and frees it if it has nothing left to report.
    fn expire_or_free(&mut self, row: u32, sink: &mut EventSink<'_>) {
        self.rows.expire(row, sink);
        if self.rows.is_idle(row, self.least_published()) {
            self.directory.clear(self.rows.row(row).slot as usize);
            self.rows.free(row);
            self.free.push(row);
        }
    }

    /// A tick: sweeps, and replaces a key of the directory if one has been in use for long.
    pub fn tick(&mut self, sink: &mut EventSink<'_>) {
        self.sweep(sink);
        if sink.now().saturating_sub(self.rekeyed) >= KEY_NANOS / self.directory.parts() {
            self.rekey(sink);
        }
    }

    /// Replaces one of the keys that decide which sources share a set of the directory, and puts those of its part where
    /// they belong now. Nothing that is reported changes by it; where chance brings too many to one set, the one that must go is
    /// counted as ever.
    pub fn rekey(&mut self, sink: &mut EventSink<'_>) {
        debug_assert!(self.lookups.is_empty(), "what was looked up is where it was");
        self.rekeyed = sink.now();
        let moving = self.directory.rekey(self.rows.present.stamp);
        for &moved in &moving {
            let slot = self.make_room(moved.spot(), sink);
            if let Some(row) = self.directory.put_moved(slot, moved) {
                self.rows.row_mut(row).slot = slot as u32;
            }
        }
        self.directory.end_rekey(moving);
    }

    /// Queues every row anew.
    fn rebuild(&mut self, now: u64) {
        let (rows, unit_nanos) = (&self.rows, unit_nanos(&self.rows.rule));
        let oldest = (now / unit_nanos).saturating_sub(UNITS);
        self.queue.rebuild(oldest, rows.used().map(|(at, _)| (at, rank(rows, at))));
    }

    // ---- Another rule.

    /// Takes a new rule. A new window or aggregation empties the table: open scans are reported as ended.
    pub fn reload(&mut self, rule: Rule, ipv6_prefix: u8, sink: &mut EventSink<'_>) {
        let is_other =
            rule.window_nanos != self.rows.rule.window_nanos || ipv6_prefix != self.rows.ipv6_prefix;
        if is_other {
            self.empty(sink);
        }
        self.take_rule(rule, ipv6_prefix);
        if is_other {
            self.start_over(sink.now());
        }
    }

    /// Takes the rule of another tracker, and its tables in place of its own, which are emptied: open scans are reported as
    /// ended. `other` has seen nothing yet, and may have another hold.
    pub fn resize(&mut self, other: Self, sink: &mut EventSink<'_>) {
        self.empty(sink);
        if self.limits.hold_nanos != other.limits.hold_nanos {
            self.rows.set_hold(other.limits.hold_nanos);
        }
        self.limits = other.limits;
        self.take_rule(other.rows.rule, other.rows.ipv6_prefix);
        // Places follow from the hash, so its keys come with them.
        (self.hasher, self.directory) = (other.hasher, other.directory);
        (self.free, self.capacity, self.queue) = (other.free, other.capacity, other.queue);
        self.plan = other.plan;
        self.rows.take_memory(other.rows);
        self.start_over(sink.now());
    }

    fn take_rule(&mut self, rule: Rule, ipv6_prefix: u8) {
        self.pace = pace(&rule);
        (self.rows.rule, self.rows.ipv6_prefix) = (rule, ipv6_prefix);
    }

    /// Gives up every source.
    fn empty(&mut self, sink: &mut EventSink<'_>) {
        for row in 0..self.rows.len() as u32 {
            if self.rows.row(row).is_used {
                self.count_evicted(Evicted::Reload);
                self.vacate(row, sink);
                self.free.push(row);
            }
        }
        self.rows.counters.evicted[Evicted::Reload as usize] += self.directory.on_probation();
        self.directory.sweep(self.rows.present.stamp, true, |_| {});
        self.retired.clear();
    }

    /// Nothing is kept any more: counts in the units of the rule from now on.
    fn start_over(&mut self, now: u64) {
        self.rows.present.set_window(self.rows.rule.window_nanos, now);
        self.swept = self.rows.present.quantum;
        self.queue.suspend();
    }

    // ---- What it shows.

    /// Hands over the open scans by the time of their hit, ties by source, one by one: there can be as many as rows.
    pub fn each_open_scan(&self, timeline: &Timeline, take: &mut dyn FnMut(Scan)) {
        self.rows.each_open_scan(timeline, take);
    }

    /// What it shows of itself, as of the latest sweep.
    pub fn snapshot(&self, timeline: &Timeline) -> Snapshot {
        let (greatest, saturated) = self.greatest();
        let suppressed_sources = greatest.suppressed();
        let published = |candidate: Candidate| PublishedSource {
            source: candidate.source,
            distinct_ports: candidate.ports,
            peak_distinct_ports: candidate.peak,
            distinct_hosts: candidate.hosts,
            last_hit: candidate.last_hit.map(|at| timeline.to_capture(at)),
            last_probe: timeline.to_capture(candidate.last_probe),
        };
        Snapshot {
            time: timeline.to_capture(timeline.now()),
            window_nanos: self.rows.rule.window_nanos,
            threshold: self.rows.rule.threshold,
            hold_nanos: self.limits.hold_nanos,
            counters: self.rows.counters,
            open_scans: self.rows.open_scans(),
            peak_distinct_ports: self.rows.greatest_peak(),
            tracked_sources: self.used() as u64 + self.directory.on_probation(),
            tracked_sources_limit: self.directory.capacity(),
            saturated_sources: saturated,
            suppressed_sources,
            sources: greatest.into_sorted().map(published).collect(),
            published_sources_limit: self.limits.max_sources as u64,
        }
    }

    /// The greatest of all that are worth a series, and how many sources are saturated.
    fn greatest(&self) -> (Top, u64) {
        let (mut greatest, least) = (Top::new(self.limits.max_sources), self.least_published());
        let (mut returned, epoch) = (Vec::new(), self.rows.present.epoch);
        for earlier in self.retired.iter() {
            let mut candidate = match self.place(earlier.source) {
                Found::Row(row) => {
                    returned.push(row);
                    self.rows.candidate(self.rows.row(row))
                }
                _ => *earlier,
            };
            candidate.merge(earlier, epoch);
            if candidate.peak >= least {
                greatest.offer(candidate);
            }
        }
        let mut saturated = 0;
        for (at, row) in self.rows.used() {
            saturated += u64::from(row.ports.is_saturated());
            if row.peaks.peak(epoch) >= least && !returned.contains(&at) {
                greatest.offer(self.rows.candidate(row));
            }
        }
        (greatest, saturated)
    }

    /// Where a source is.
    pub fn place(&self, source: Source) -> Found {
        let is_its = |row: u32| self.rows.is_of_source(row, source.address);
        self.directory.find(self.spot(source.address), is_its).1
    }

    /// The row of a source that has one, and what it has for a series.
    pub fn tracked(&self, at: u32) -> (&Row, Candidate) {
        let row = self.rows.row(at);
        let mut candidate = self.rows.candidate(row);
        if let Some(earlier) = self.retired.find(candidate.source) {
            candidate.merge(earlier, self.rows.present.epoch);
        }
        (row, candidate)
    }

    /// What was kept of a source that lost its row.
    pub fn retired(&self, source: Source) -> Option<&Candidate> {
        self.retired.find(source)
    }

    #[inline]
    fn spot(&self, address: IpAddr) -> Spot {
        self.directory.spot(match Source::of(address, self.rows.ipv6_prefix).address {
            IpAddr::V4(v4) => self.hasher.hash_one(v4.to_bits()),
            IpAddr::V6(v6) => self.hasher.hash_one(v6.to_bits()),
        })
    }
}

/// A unit of deadlines, by which a row's turn is reckoned when somebody must go: a probe writes down none of it.
fn unit_nanos(rule: &Rule) -> u64 {
    (rule.window_nanos / UNITS).max(1)
}

fn evidence(rows: &Rows, row: u32) -> crate::detect::table::eviction::Evidence {
    rows.row(row).evidence(unit_nanos(&rows.rule))
}

fn rank(rows: &Rows, row: u32) -> Rank {
    evidence(rows, row).rank(rows.rule.threshold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::explain::Tracked;
    use crate::detect::rule::Policy;
    use crate::detect::scan::EventKind;
    use crate::detect::world::{World, syn};
    use std::net::Ipv4Addr;

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

    /// Law 8. An attacker who knows the key chooses neighbours: as many as the two sets of a source hold, with three ports each, and again
    /// after each probe of the source. The source is seen all the same, and each that goes for it is counted.
    #[test]
    fn chosen_neighbours_hide_nobody() {
        let address = |n: u32| Ipv4Addr::from_bits(n).to_string();
        for from in [0x0a00_0000, 0x0a40_0000, 0x0a80_0000] {
            let mut world = World::new();
            let tracker = world.detector.tracker();
            let set = |address: IpAddr| tracker.spot(address).set();
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
