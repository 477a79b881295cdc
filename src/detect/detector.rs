//! Probes in, scan events out: the rule "threshold distinct ports within the window", per source.

// A child, since it reads what nobody else may.
#[path = "explain.rs"]
mod explain;

pub use explain::{Explanation, NAMED_RANGES, Tracked};

use crate::detect::distinct::block::Ring;
use crate::detect::distinct::hosts::{Hosts, NOWHERE};
use crate::detect::distinct::peaks::{self, Peaks};
use crate::detect::distinct::{Plan, PortStore, Ports};
use crate::detect::memory::{OutOfMemory, prefetch, room_for};
use crate::detect::policy::{Limits, Policy};
use crate::detect::probe::{Family, Probe};
use crate::detect::scan::{Kind, Moment, Scan, ScanEvent, ScanId, Source};
use crate::detect::snapshot::{BURST_BOUNDS, Evicted, Ignored, PublishedSource, Snapshot, Tally};
use crate::detect::table::eviction::{Evidence, Order, Rank, SPREAD, Turn, UNITS};
use crate::detect::table::{Asked, Directory, Displaced, Guest, Place, Spot};
use crate::detect::time::quantum::{self, QUANTA, Stamp, quantum_nanos, stamp};
use crate::detect::time::timeline::{Origin, Timeline};
use crate::packet::Timestamp;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::net::IpAddr;

/// Probes are taken in batches of at most this many, so that the cache misses of a batch overlap.
pub const BATCH: usize = 32;

/// Probes gathered between the two steps in which the cache fetches what one will need: its place in the directory, and what that
/// place points at. Spread over the batch, for a processor waits for no more than some twenty lines at a time.
const AHEAD: usize = 16;

/// What is known of a source that has a place in the table, besides its ports. The order is that of need: an
/// ordinary probe touches the first cache line, and one epoch's, one scan's and one host's worth of the second.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Entry {
    address: IpAddr,
    state: State,
    /// Quanta in which it probed since `since`, after the first; up to `SPREAD`.
    spread: u8,
    /// Its turn to go came and it was moved to the reserve; until it probes.
    is_reserved: bool,
    /// Port of the first probe since `since`.
    first_port: u16,
    /// A port that `target_host` was asked for.
    target_port: u16,
    /// Quantum up to which `ports` is settled.
    quantum: u64,
    last_probe: u64,
    ports: Ports,
    probes: u32,
    /// The greatest count of the run of probes that is going on; 0 if none is.
    burst_peak: u32,
    // ---- The second line.
    peaks: Peaks,
    /// The greatest count of the open scan.
    scan_peak: u32,
    /// Distinct ports at which the open scan is next told of.
    tell_at: u32,
    hosts: Hosts,
    // ---- The rest.
    /// First probe of the unbroken run of probes; nanoseconds of the detector's time, as all times here.
    since: u64,
    /// The latest hit.
    detected: Option<u64>,
    /// While a scan is open and below the threshold: the quantum in which the count fell.
    fell: u64,
    slot: u32,
    first_host: IpAddr,
    /// The host with most ports.
    target_host: IpAddr,
}

const _: () =
    assert!(std::mem::offset_of!(Entry, peaks) == 64, "what every probe touches fills the first line");
const _: () = assert!(size_of::<Entry>() == 256, "four lines");

/// Whether a source scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The entry is not in use.
    Vacant,
    /// No open scan.
    Calm,
    /// An open scan, the count at or above the threshold.
    Above,
    /// An open scan, the count below the threshold since `fell`.
    Below,
}

impl State {
    fn is_open(self) -> bool {
        matches!(self, State::Above | State::Below)
    }
}

/// A source that lost its place while its peak was still worth a series, or might get one.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    source: Source,
    /// The greatest count within the hold, as of the latest sweep.
    peak: u32,
    peaks: Peaks,
    counted: u32,
    hosts: u32,
    detected: Option<u64>,
    last_probe: u64,
}

impl Candidate {
    /// Publishing order, the least first: by peak, then recency, then address.
    fn rank(&self) -> (u32, u64, Reverse<Source>) {
        (self.peak, self.last_probe, Reverse(self.source))
    }

    /// What two residences of one source come to.
    fn merge(&mut self, earlier: &Candidate, epoch: u64) {
        self.peaks.merge(earlier.peaks);
        self.peak = self.peaks.peak(epoch);
        self.detected = self.detected.or(earlier.detected);
    }
}

/// A probe that waits for its batch to be full.
#[derive(Debug, Clone, Copy)]
struct Gathered {
    /// Where its source belongs.
    spot: Spot,
    /// The entry that its source had when that was looked up, or `NOBODY`.
    likely: u32,
    probe: Probe,
}

/// A probe for a port that counts already seldom makes its host the busiest: of these, one in so many is looked at.
const COMPARE: u32 = 8;

/// No entry.
const NOBODY: u32 = u32::MAX;

/// Counts the distinct ports of every source and tells of scans. All memory is reserved by `new`.
#[derive(Debug)]
pub struct Detector {
    policy: Policy,
    limits: Limits,
    hasher: foldhash::quality::FixedState,
    /// Hosts are estimated by their hashes, and what is told of a file must not depend on the seed. (Who writes a file can
    /// make the estimate of his own hosts wrong, and nobody's else.)
    host_hasher: foldhash::quality::FixedState,
    timeline: Timeline,
    quantum_nanos: u64,
    epoch_nanos: u64,
    unit_nanos: u64,
    /// Quanta between the ports of an even scan that just reaches the threshold.
    pace: u8,
    quantum: u64,
    /// When the next quantum or epoch begins: most packets need no division.
    turn_at: u64,
    stamp: Stamp,
    epoch: u64,
    swept: u64,
    directory: Directory,
    order: Order,
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    capacity: usize,
    plan: Plan,
    store: PortStore,
    /// The greatest peaks of sources that were evicted, at most `max_sources`.
    retired: Vec<Candidate>,
    /// Probes that were not looked at yet.
    batch: Vec<Gathered>,
    /// The greatest count of any source.
    greatest: Peaks,
    /// The same within this epoch.
    greatest_now: u32,
    tally: Tally,
    open_scans: [u64; Kind::ALL.len()],
}

/// The table counts as crowded when this share of it is taken: then new sources wait at the door.
const CROWDED: (usize, usize) = (1, 2);

/// The doorkeeper gets this part of the memory, 8 bytes a source. A greater one remembers a scanner's first port for longer in
/// a flood of one-port sources; a smaller one leaves more entries, and lets fewer of those in that pace their ports. With
/// this one 48 MiB hold 100,000 entries.
const DOORKEEPER: (usize, usize) = (3, 32);

/// By what a resident's turn is reckoned, when somebody must go: a probe writes down none of it.
#[derive(Clone, Copy)]
struct Terms {
    unit_nanos: u64,
    threshold: u32,
}

impl Terms {
    fn evidence(self, known: &Entry) -> Evidence {
        Evidence {
            last_probe: known.last_probe / self.unit_nanos,
            ports: known.ports.count(),
            spread: known.spread,
            is_reserved: known.is_reserved,
        }
    }

    fn rank(self, known: &Entry) -> Rank {
        self.evidence(known).rank(self.threshold)
    }
}

impl Detector {
    /// The same as `try_new`, where there is memory.
    ///
    /// # Panics
    /// If there is not.
    pub fn new(policy: Policy, limits: Limits, seed: u64, origin: Origin) -> Self {
        Self::try_new(policy, limits, seed, origin).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A detector with all its memory, or an error if the system refuses any of it. `seed` keys the hash of what comes from the
    /// wire; `origin` says whose clock wrote the timestamps.
    pub fn try_new(policy: Policy, limits: Limits, seed: u64, origin: Origin) -> Result<Self, OutOfMemory> {
        let plan = Plan::new(policy.threshold, limits.memory_bytes);
        let hasher = foldhash::quality::FixedState::with_seed(seed);
        let directory =
            Directory::new(limits.memory_bytes / DOORKEEPER.1 * DOORKEEPER.0, hasher.hash_one(seed))?;
        let entry_bytes = size_of::<Entry>()
            + size_of::<u32>()
            + Order::ENTRY_BYTES
            + PortStore::inline_bytes(plan.inline_ports);
        let capacity = (limits.memory_bytes.saturating_sub(directory.bytes() + plan.block_bytes)
            / entry_bytes)
            .clamp(64, directory.capacity() as usize);
        let mut detector = Self {
            quantum_nanos: 0,
            epoch_nanos: peaks::epoch_nanos(limits.hold_nanos),
            unit_nanos: 0,
            pace: 0,
            host_hasher: match origin {
                Origin::Live => hasher.clone(),
                Origin::File | Origin::Sorted => foldhash::quality::FixedState::with_seed(0),
            },
            hasher,
            timeline: Timeline::new(origin),
            quantum: 0,
            turn_at: 0,
            stamp: stamp(0),
            epoch: 0,
            swept: 0,
            directory,
            order: Order::new(capacity)?,
            entries: room_for(capacity)?,
            vacant: room_for(capacity)?,
            capacity,
            store: PortStore::new(capacity, &plan)?,
            plan,
            retired: room_for(limits.max_sources)?,
            batch: room_for(BATCH)?,
            greatest: Peaks::NONE,
            greatest_now: 0,
            tally: Tally::default(),
            open_scans: [0; Kind::ALL.len()],
            policy,
            limits,
        };
        detector.measure();
        Ok(detector)
    }

    /// The greatest threshold that `reload` may set: the short lists were sized for it. A greater one takes `resize`.
    pub fn greatest_threshold(&self) -> u32 {
        self.plan.greatest_threshold
    }

    /// Derives the spans that follow from the window.
    fn measure(&mut self) {
        self.quantum_nanos = quantum_nanos(self.policy.window_nanos);
        self.unit_nanos = (self.policy.window_nanos / UNITS).max(1);
        self.pace = QUANTA.div_ceil(u64::from(self.policy.threshold.max(2)) - 1) as u8;
        self.policy.ignored_ports.sort_unstable();
    }

    /// Takes a probe, in the order of capture. True once a batch is full: then `flush` it.
    ///
    /// It is not looked at before: until the batch is full, the cache fetches what it will need.
    #[inline]
    #[must_use]
    pub fn gather(&mut self, probe: Probe) -> bool {
        let spot = match self.batch.last() {
            // A scan is often a burst of one source.
            Some(last) if last.probe.source == probe.source => last.spot,
            _ => {
                let spot = self.spot(probe.source);
                self.directory.prefetch(spot);
                spot
            }
        };
        self.batch.push(Gathered { spot, likely: NOBODY, probe });
        if let Some(arrived) = self.batch.len().checked_sub(AHEAD) {
            self.batch[arrived].likely = self.look_ahead(&self.batch, arrived);
        }
        self.batch.len() == BATCH
    }

    /// The likely entry of a gathered probe; what it holds is brought into the cache. Its place in the directory should be
    /// there by now.
    #[inline]
    fn look_ahead(&self, batch: &[Gathered], at: usize) -> u32 {
        let spot = batch[at].spot;
        if let Some(before) = at.checked_sub(1)
            && batch[before].spot == spot
        {
            return batch[before].likely;
        }
        let Some(entry) = self.directory.likely(spot) else { return NOBODY };
        if let Some(known) = self.entries.get(entry as usize) {
            prefetch(known);
            prefetch(&known.peaks);
            self.store.prefetch(entry);
        }
        entry
    }

    /// Counts a probe that says nothing of a scanner, wherever its source is.
    pub fn ignore(&mut self, probe: &Probe, reason: Ignored) {
        self.tally.probes[Family::of(probe.source) as usize][probe.technique as usize] += 1;
        self.tally.ignored[reason as usize] += 1;
    }

    /// The latest time in the batch, on the capture's clock.
    pub fn batch_time(&self) -> Option<Timestamp> {
        self.batch.iter().map(|gathered| gathered.probe.time).max()
    }

    /// No probe of the batch is later than this.
    pub fn cap_batch(&mut self, latest: Timestamp) {
        for Gathered { probe, .. } in &mut self.batch {
            probe.time = probe.time.min(latest);
        }
    }

    /// Counts what was gathered.
    pub fn flush(&mut self, events: &mut dyn FnMut(ScanEvent)) {
        let mut batch = std::mem::take(&mut self.batch);
        for at in batch.len().saturating_sub(AHEAD - 1)..batch.len() {
            batch[at].likely = self.look_ahead(&batch, at);
        }
        for gathered in &batch {
            self.probe(gathered, events);
        }
        batch.clear();
        self.batch = batch;
    }

    /// Takes probes in the order of their capture and counts them.
    pub fn observe(&mut self, probes: &[Probe], events: &mut dyn FnMut(ScanEvent)) {
        for probe in probes {
            if self.gather(*probe) {
                self.flush(events);
            }
        }
        self.flush(events);
    }

    #[inline]
    fn probe(&mut self, gathered: &Gathered, events: &mut dyn FnMut(ScanEvent)) {
        let &Gathered { spot, likely, ref probe } = gathered;
        self.timeline.packet(probe.time);
        if self.timeline.now() >= self.turn_at {
            self.turn(events);
        }
        self.tally.probes[Family::of(probe.source) as usize][probe.technique as usize] += 1;
        if !self.policy.ignored_ports.is_empty()
            && self.policy.ignored_ports.binary_search(&probe.port).is_ok()
        {
            self.tally.ignored[Ignored::Port as usize] += 1;
            return;
        }
        if !self.policy.ignored_sources.is_empty() && self.policy.ignores_source(probe.source) {
            self.tally.ignored[Ignored::Source as usize] += 1;
            return;
        }
        // Probes before it may have moved others in or out: what was likely is asked again.
        if let Some(known) = self.entries.get(likely as usize)
            && known.address == probe.source
            && known.state != State::Vacant
        {
            self.settle(likely, events);
            return self.count(likely, probe, events);
        }
        let (prefix, entries) = (self.policy.ipv6_prefix, &self.entries);
        let (slot, place) = self
            .directory
            .find(spot, |entry| Source::is_one(entries[entry as usize].address, probe.source, prefix));
        match place {
            Place::Resident(entry) => self.settle(entry, events),
            Place::Guest => match self.directory.greet(slot, probe.port, self.stamp, !self.is_full()) {
                Asked::Waits(finished) => {
                    if let Some(guest) = finished {
                        self.finish_burst(guest.count());
                    }
                    return;
                }
                // Somebody would have to go for it. A scan at the pace of the rule asks for three ports within a tenth of
                // a window somewhere; who does not may wait, less its oldest port.
                Asked::Earned(guest) if self.is_full() && guest.is_slow(self.stamp) => {
                    self.tally.evicted[Evicted::Evidence as usize] += 1;
                    return self.directory.put_guest(
                        slot,
                        spot,
                        guest.without_oldest(probe.port, self.stamp),
                    );
                }
                Asked::Earned(guest) => {
                    let entry = self.promote(slot, spot, guest, probe, events);
                    return self.count(entry, probe, events);
                }
            },
            Place::Nowhere => {
                let slot = self.make_room(spot, events);
                if self.is_crowded() {
                    return self.directory.put_guest(slot, spot, Guest::new(probe.port, self.stamp));
                }
                let entry = self.admit(slot, spot, probe, events);
                return self.count(entry, probe, events);
            }
        }
        if let Place::Resident(entry) = place {
            self.count(entry, probe, events);
        }
    }

    /// A slot for a new source. Whoever must make room for it is counted as what it is.
    fn make_room(&mut self, spot: Spot, events: &mut dyn FnMut(ScanEvent)) -> usize {
        let (terms, entries) = (self.terms(), &self.entries);
        let rank = |entry: u32| terms.rank(&entries[entry as usize]);
        let (slot, displaced) = self.directory.make_room(spot, self.stamp, self.pace, rank);
        match displaced {
            Displaced::Nobody => {}
            Displaced::Gone(guest) => self.finish_burst(guest.count()),
            Displaced::Guest(guest) => {
                let may_return = guest.age(self.stamp) <= self.pace;
                let reason = if may_return { Evicted::Evidence } else { Evicted::Doorkeeper };
                self.tally.evicted[reason as usize] += 1;
            }
            Displaced::Resident(entry) => {
                self.evict(entry, events);
                self.vacant.push(entry);
            }
        }
        slot
    }

    /// Gives a guest an entry, with all that the door knew of it.
    fn promote(
        &mut self,
        slot: usize,
        spot: Spot,
        guest: Guest,
        probe: &Probe,
        events: &mut dyn FnMut(ScanEvent),
    ) -> u32 {
        let entry = self.admit(slot, spot, probe, events);
        let age = u64::from(quantum::age(self.stamp, guest.stamp)).min(self.quantum);
        let known = &mut self.entries[entry as usize];
        known.since = self.timeline.now().saturating_sub(age * self.quantum_nanos);
        known.probes = guest.count();
        known.burst_peak = guest.count();
        // A burst sends all it has at once and is gone; a scanner comes back.
        known.spread = u8::from(guest.gap > 0);
        let older = self.quantum - age;
        for (port, then) in guest.ports.into_iter().zip([older, older + u64::from(guest.gap)]) {
            // A short list holds two.
            let _ = self.store.record(&mut known.ports, entry, port, 0, then);
            known.quantum = then;
        }
        // The probe that earned the entry may be a further time that it came back.
        known.last_probe = known.quantum * self.quantum_nanos;
        self.settle(entry, events);
        entry
    }

    /// Whom a full table must give up.
    fn weakest(&mut self) -> u32 {
        let terms = self.terms();
        // Whoever is moved to the reserve is not moved again, so each turn brings the end nearer.
        for _ in 0..=self.entries.len() {
            let entries = &self.entries;
            match self.order.pop(|entry| terms.rank(&entries[entry as usize])) {
                Some(Turn::Leaves(entry)) => return entry,
                Some(Turn::LeavesOrRests(entry)) => {
                    let known = &mut self.entries[entry as usize];
                    if !terms.evidence(known).is_strong(terms.threshold) {
                        return entry;
                    }
                    known.is_reserved = true;
                    self.order.file(entry, terms.rank(known));
                }
                None => break,
            }
        }
        debug_assert!(false, "everyone in a full table is filed");
        0
    }

    /// Counts a resident as given up, by what it was, and vacates its entry.
    fn evict(&mut self, entry: u32, events: &mut dyn FnMut(ScanEvent)) {
        let known = &self.entries[entry as usize];
        let silent = self.quantum - (known.last_probe / self.quantum_nanos).min(self.quantum);
        let reason = if known.state.is_open() {
            Evicted::Scan
        } else if silent <= u64::from(self.pace)
            || self.terms().evidence(known).is_strong(self.policy.threshold)
        {
            Evicted::Evidence
        } else {
            Evicted::Table
        };
        self.tally.evicted[reason as usize] += 1;
        self.vacate(entry, events);
    }

    fn terms(&self) -> Terms {
        Terms { unit_nanos: self.unit_nanos, threshold: self.policy.threshold }
    }

    #[inline]
    fn is_crowded(&self) -> bool {
        (self.entries.len() - self.vacant.len()) * CROWDED.1 >= self.capacity * CROWDED.0
    }

    /// Whether somebody must go for whoever gets an entry.
    fn is_full(&self) -> bool {
        self.vacant.is_empty() && self.entries.len() == self.capacity
    }

    /// Gives a source an entry, if need be that of the resident who must go first.
    fn admit(&mut self, slot: usize, spot: Spot, probe: &Probe, events: &mut dyn FnMut(ScanEvent)) -> u32 {
        let entry = match self.vacant.pop() {
            Some(entry) => entry,
            None if self.entries.len() < self.capacity => self.entries.len() as u32,
            None => {
                if !self.order.is_kept() {
                    self.refile();
                }
                let entry = self.weakest();
                self.evict(entry, events);
                entry
            }
        };
        let now = self.timeline.now();
        let fresh = Entry {
            since: now,
            last_probe: now,
            detected: None,
            quantum: self.quantum,
            fell: 0,
            slot: slot as u32,
            address: probe.source,
            first_host: probe.host,
            first_port: probe.port,
            target_host: probe.host,
            target_port: probe.port,
            probes: 0,
            ports: Ports::NONE,
            hosts: Hosts::NONE,
            peaks: Peaks::NONE,
            burst_peak: 0,
            spread: 0,
            is_reserved: false,
            scan_peak: 0,
            tell_at: 0,
            state: State::Calm,
        };
        match self.entries.get_mut(entry as usize) {
            Some(old) => *old = fresh,
            None => self.entries.push(fresh),
        }
        self.directory.put_resident(slot, spot, entry);
        self.order.file(entry, Rank::fresh(now / self.unit_nanos));
        entry
    }

    /// Counts a probe for a settled entry.
    #[inline]
    fn count(&mut self, entry: u32, probe: &Probe, events: &mut dyn FnMut(ScanEvent)) {
        let now = self.timeline.now();
        let host = match probe.host {
            IpAddr::V4(v4) => self.host_hasher.hash_one(v4.to_bits()),
            IpAddr::V6(v6) => self.host_hasher.hash_one(v6.to_bits()),
        };
        let mut known = &mut self.entries[entry as usize];
        if known.burst_peak == 0 && !known.state.is_open() {
            known.begin(now, probe);
        }
        if known.spread < SPREAD && known.last_probe < self.quantum * self.quantum_nanos {
            known.spread += 1;
        }
        known.last_probe = now;
        known.is_reserved = false;
        known.probes = known.probes.saturating_add(1);
        let place = known.hosts.find(host).unwrap_or_else(|| known.hosts.note(host));
        let (bit, before) = (Hosts::bit(place), known.ports.count());
        if !self.store.record(&mut known.ports, entry, probe.port, bit, self.quantum) {
            self.record_outgrown(entry, probe.port, bit, events);
            known = &mut self.entries[entry as usize];
        }
        let count = known.ports.count();
        if place != known.hosts.busiest() {
            let is_fresh = count > before;
            if place == NOWHERE {
                if is_fresh {
                    self.adopt_host(entry, host, probe.port);
                }
            } else if is_fresh || known.probes.is_multiple_of(COMPARE) {
                self.compare_with_busiest(entry, place, probe);
            }
            known = &mut self.entries[entry as usize];
        }
        known.burst_peak = known.burst_peak.max(count);
        known.peaks.reach(self.epoch, count);
        if count > self.greatest_now {
            self.greatest_now = count;
            self.greatest.reach(self.epoch, count);
        }
        let above = count >= self.policy.threshold;
        match known.state {
            State::Calm if above => {
                known.address = probe.source;
                known.state = State::Above;
                known.detected = Some(now);
                known.scan_peak = count;
                known.tell_at = count.saturating_mul(10);
                self.store.begin_union(&mut known.ports, self.quantum);
                self.tally.hits[Kind::Vertical as usize] += 1;
                self.open_scans[Kind::Vertical as usize] += 1;
                let scan = self.scan(entry);
                events(ScanEvent { moment: Moment::Hit, scan });
            }
            State::Above | State::Below => {
                if above {
                    known.state = State::Above;
                }
                known.scan_peak = known.scan_peak.max(count);
                let union = known.ports.union();
                if union >= known.tell_at {
                    known.tell_at = union.saturating_mul(10);
                    let scan = self.scan(entry);
                    events(ScanEvent { moment: Moment::Grown, scan });
                }
            }
            State::Calm | State::Vacant => {}
        }
    }

    /// A host without a place was asked for a port that did not count: it takes the place of the one with fewest ports.
    #[cold]
    fn adopt_host(&mut self, entry: u32, hash: u64, port: u16) {
        let known = &mut self.entries[entry as usize];
        if !self.store.may_forget_host(&known.ports) {
            return;
        }
        let place = known.hosts.least(&self.store.ports_by_host(&known.ports, entry), known.probes);
        self.store.forget_host(&known.ports, entry, place);
        known.hosts.put(place, hash);
        // It was counted just now: this only notes its host.
        let _ = self.store.record(&mut known.ports, entry, port, Hosts::bit(place), self.quantum);
    }

    /// A host was asked: has it most ports now?
    fn compare_with_busiest(&mut self, entry: u32, place: usize, probe: &Probe) {
        let known = &mut self.entries[entry as usize];
        let ports = self.store.ports_by_host(&known.ports, entry);
        if ports[place] > ports[known.hosts.busiest()] {
            known.hosts.set_busiest(place);
            (known.target_host, known.target_port) = (probe.host, probe.port);
        }
    }

    /// Counts a port for which a source has no room where its ports are: in a larger block, which may be one that another can
    /// do without. If there is none, another port is forgotten for it.
    #[cold]
    fn record_outgrown(&mut self, entry: u32, port: u16, bit: u8, events: &mut dyn FnMut(ScanEvent)) {
        let mut ports = self.entries[entry as usize].ports;
        let grows = self.store.grow(&mut ports, entry, self.quantum)
            || self.take_block(entry, &ports, events) && self.store.grow(&mut ports, entry, self.quantum);
        if !(grows && self.store.record(&mut ports, entry, port, bit, self.quantum)) {
            let was_saturated = ports.is_saturated();
            self.store.replace(&mut ports, entry, port, bit, self.quantum);
            let is_open = self.entries[entry as usize].state.is_open();
            self.tally.cut_short += u64::from(!is_open && !was_saturated && ports.is_saturated());
        }
        self.entries[entry as usize].ports = ports;
    }

    /// Frees a block that would be larger than what a source has. A scan that fell silent can do without: what still
    /// counts of it goes into its short list, only the union can then not grow on. Where hits depend on blocks, a source
    /// without an open scan must give way too, and who was silent longest goes first: a scanner comes back, a burst of
    /// spoofed probes does not.
    fn take_block(&mut self, entry: u32, ports: &Ports, events: &mut dyn FnMut(ScanEvent)) -> bool {
        let (entries, now, listed) = (&self.entries, self.quantum, self.plan.inline_ports as u32);
        let hits_need_blocks = self.policy.threshold > listed;
        let worth = |ring: &Ring| {
            let known = &entries[ring.owner as usize];
            let fits = ring.left_at(known.quantum, now) <= listed;
            let may_go = fits || hits_need_blocks && !known.state.is_open();
            (may_go && ring.owner != entry).then_some((!fits, known.last_probe, ring.owner))
        };
        let Some(owner) = self.store.least_worth(ports, now, worth) else { return false };
        self.settle(owner, events);
        let known = &mut self.entries[owner as usize];
        self.store.shrink(&mut known.ports, owner, self.quantum);
        self.tally.cut_short += u64::from(!known.state.is_open() && known.ports.is_saturated());
        true
    }

    /// Brings an entry to the present: ports leave the window, a scan may end, a burst may finish.
    #[inline]
    fn settle(&mut self, entry: u32, events: &mut dyn FnMut(ScanEvent)) {
        let known = &mut self.entries[entry as usize];
        let (from, to) = (known.quantum, self.quantum);
        if known.state != State::Below && (from == to || PortStore::none_leaves(&known.ports, from, to)) {
            known.quantum = to;
            return;
        }
        let over = self.ended(entry).map(|ended| {
            // What is told is how things stood when it ended, whenever that is noticed.
            let then = (ended / self.quantum_nanos).clamp(from, to);
            let ports = self.store.count_at(&self.entries[entry as usize].ports, entry, from, then);
            let scan = self.scan(entry);
            Scan { ports, ended: Some(self.timeline.to_capture(ended).max(scan.last_probe)), ..scan }
        });
        let known = &mut self.entries[entry as usize];
        let counted = self.store.expire(&mut known.ports, entry, from, to);
        known.quantum = to;
        if counted == 0 {
            self.finish_burst_of(entry);
        }
        if let Some(scan) = over {
            self.close(entry, scan, events);
        }
    }

    /// Notes whether an open scan has fallen below the threshold by now. When it ended, if it has.
    fn ended(&mut self, entry: u32) -> Option<u64> {
        let known = &mut self.entries[entry as usize];
        let (from, to) = (known.quantum, self.quantum);
        if known.state == State::Above
            && from != to
            && self.store.count_at(&known.ports, entry, from, to) < self.policy.threshold
        {
            known.fell = self.store.falls_below(&known.ports, entry, self.policy.threshold, from).min(to);
            known.state = State::Below;
        }
        if known.state != State::Below {
            return None;
        }
        let ended = (known.fell * self.quantum_nanos).saturating_add(self.policy.quiet_nanos);
        (ended <= self.timeline.now()).then_some(ended)
    }

    /// Ends an open scan.
    fn close(&mut self, entry: u32, scan: Scan, events: &mut dyn FnMut(ScanEvent)) {
        events(ScanEvent { moment: Moment::Ended, scan });
        self.open_scans[Kind::Vertical as usize] -= 1;
        let known = &mut self.entries[entry as usize];
        known.state = State::Calm;
        self.store.end_union(&mut known.ports, entry, known.quantum);
        // What comes next is a new run of probes, even if the last port has not left the window yet.
        self.finish_burst_of(entry);
    }

    fn finish_burst_of(&mut self, entry: u32) {
        let peak = std::mem::take(&mut self.entries[entry as usize].burst_peak);
        if peak > 0 {
            self.finish_burst(peak);
        }
    }

    fn finish_burst(&mut self, peak: u32) {
        let bucket =
            BURST_BOUNDS.iter().position(|&bound| f64::from(peak) < bound).unwrap_or(BURST_BOUNDS.len());
        self.tally.bursts[bucket] += 1;
        self.tally.burst_ports += u64::from(peak);
    }

    /// Empties an entry: an open scan is told as ended, a peak worth a series is kept apart.
    fn vacate(&mut self, entry: u32, events: &mut dyn FnMut(ScanEvent)) {
        if self.entries[entry as usize].state.is_open() {
            let scan = Scan { ended: Some(self.now()), ..self.scan(entry) };
            self.close(entry, scan, events);
        }
        self.finish_burst_of(entry);
        let known = self.entries[entry as usize];
        self.retire(&known);
        self.directory.clear(known.slot as usize);
        let known = &mut self.entries[entry as usize];
        self.store.release(&mut known.ports);
        known.state = State::Vacant;
    }

    /// The least peak that earns a series: under a threshold below it, the threshold.
    fn least_published(&self) -> u32 {
        self.limits.min_ports.min(self.policy.threshold)
    }

    /// Keeps the peak of a source that loses its entry, if it is among the greatest: a flood that turns the table
    /// over must not take a scanner's series from under an alert.
    fn retire(&mut self, known: &Entry) {
        let mut candidate = self.candidate(known);
        if candidate.peak < self.least_published() {
            return;
        }
        candidate.counted = 0;
        if let Some(earlier) = self.retired.iter_mut().find(|earlier| earlier.source == candidate.source) {
            candidate.merge(earlier, self.epoch);
            *earlier = candidate;
        } else if self.retired.len() < self.limits.max_sources {
            self.retired.push(candidate);
        } else if let Some(least) = self.retired.iter_mut().min_by_key(|other| other.rank())
            && least.rank() < candidate.rank()
        {
            *least = candidate;
        }
    }

    fn candidate(&self, known: &Entry) -> Candidate {
        Candidate {
            source: Source::of(known.address, self.policy.ipv6_prefix),
            peak: known.peaks.peak(self.epoch),
            peaks: known.peaks,
            counted: known.ports.count(),
            hosts: known.hosts.count(),
            // Told for as long as the peak that came with it.
            detected: known.detected.filter(|&at| at / self.epoch_nanos + peaks::EPOCHS >= self.epoch),
            last_probe: known.last_probe,
        }
    }

    /// Derives the units of time in force from the detector's time.
    fn set_time(&mut self, now: u64) {
        self.quantum = now / self.quantum_nanos;
        self.stamp = stamp(self.quantum);
        let epoch = now / self.epoch_nanos;
        if epoch != self.epoch {
            self.epoch = epoch;
            self.greatest_now = 0;
        }
        let (quantum, epoch) = (self.quantum + 1, self.epoch + 1);
        self.turn_at = quantum.saturating_mul(self.quantum_nanos).min(epoch.saturating_mul(self.epoch_nanos));
    }

    /// A new quantum or epoch begins.
    #[cold]
    fn turn(&mut self, events: &mut dyn FnMut(ScanEvent)) {
        self.set_time(self.timeline.now());
        if self.quantum - self.swept >= QUANTA {
            self.sweep(events);
        }
    }

    /// Brings every source to the present and lets go of those with nothing to tell. Runs once a window, before any
    /// stamp could come round again, and at each tick.
    fn sweep(&mut self, events: &mut dyn FnMut(ScanEvent)) {
        // Guests were all swept at `swept`, so none is older than a window then; after more than two, all are.
        let all = self.quantum - self.swept > 2 * QUANTA;
        let tally = &mut self.tally;
        self.directory.sweep(self.stamp, all, |guest| {
            let bucket = usize::from(guest.count() > 1);
            tally.bursts[bucket] += 1;
            tally.burst_ports += u64::from(guest.count());
        });
        self.swept = self.quantum;
        // Of the scans that end, only the names are gathered: a flood can open as many as the table holds.
        let mut ending = Vec::new();
        for entry in 0..self.entries.len() as u32 {
            if self.entries[entry as usize].state == State::Vacant {
                continue;
            }
            match self.ended(entry) {
                Some(at) => {
                    let source = Source::of(self.entries[entry as usize].address, self.policy.ipv6_prefix);
                    ending.push((self.timeline.to_capture(at), source, entry));
                }
                None => self.review(entry, events),
            }
        }
        ending.sort_unstable();
        for (_, _, entry) in ending {
            self.review(entry, events);
        }
        let (epoch, least) = (self.epoch, self.least_published());
        self.retired.retain_mut(|retired| {
            retired.peak = retired.peaks.peak(epoch);
            retired.peak >= least
        });
        if self.is_crowded() { self.refile() } else { self.order.rest() }
    }

    /// Puts everyone in the order in which they must go.
    fn refile(&mut self) {
        let oldest = (self.timeline.now() / self.unit_nanos).saturating_sub(UNITS);
        let filed = (0_u32..).zip(&self.entries).filter(|(_, known)| known.state != State::Vacant);
        let terms = self.terms();
        self.order.refile(oldest, filed.map(|(entry, known)| (entry, terms.rank(known))));
    }

    /// Brings an entry to the present and lets it go if it has nothing left to tell.
    fn review(&mut self, entry: u32, events: &mut dyn FnMut(ScanEvent)) {
        self.settle(entry, events);
        let known = &self.entries[entry as usize];
        if known.burst_peak == 0
            && known.state == State::Calm
            && known.ports.count() == 0
            && known.peaks.peak(self.epoch) < self.least_published()
        {
            self.directory.clear(known.slot as usize);
            let known = &mut self.entries[entry as usize];
            self.store.release(&mut known.ports);
            known.state = State::Vacant;
            self.vacant.push(entry);
        }
    }

    /// Moves time on without a packet; hands out the scans that end by it.
    pub fn advance(&mut self, now: Timestamp, events: &mut dyn FnMut(ScanEvent)) {
        self.flush(events);
        self.timeline.advance(now);
        if self.timeline.now() >= self.turn_at {
            self.turn(events);
        }
        self.sweep(events);
    }

    /// The shell saw the capture's clock step by this many nanoseconds; what comes is stamped by the new clock.
    pub fn clock_stepped(&mut self, nanos: i64) {
        self.timeline.step(nanos);
    }

    /// What counts as a scan, as of the latest reload.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes a new policy. A new window or aggregation empties the table: open scans are told as ended.
    pub fn reload(&mut self, policy: Policy, events: &mut dyn FnMut(ScanEvent)) {
        self.take(policy, None, events);
    }

    /// Takes the policy of another detector, and its tables in place of its own, which are emptied: open scans are told as
    /// ended. `other` has seen nothing yet, and is under the same limits.
    pub fn resize(&mut self, other: Self, events: &mut dyn FnMut(ScanEvent)) {
        let policy = other.policy.clone();
        self.take(policy, Some(other), events);
    }

    fn take(&mut self, policy: Policy, tables: Option<Self>, events: &mut dyn FnMut(ScanEvent)) {
        self.flush(events);
        let empties = tables.is_some()
            || policy.window_nanos != self.policy.window_nanos
            || policy.ipv6_prefix != self.policy.ipv6_prefix;
        if empties {
            for entry in 0..self.entries.len() as u32 {
                if self.entries[entry as usize].state != State::Vacant {
                    self.tally.evicted[Evicted::Reload as usize] += 1;
                    self.vacate(entry, events);
                    self.vacant.push(entry);
                }
            }
            self.tally.evicted[Evicted::Reload as usize] += self.directory.guests();
            self.directory.sweep(self.stamp, true, |_| {});
            self.retired.clear();
        }
        if let Some(other) = tables {
            // Places follow from the hash, so its keys come with them.
            let Self { hasher, directory, order, entries, vacant, capacity, plan, store, .. } = other;
            (self.hasher, self.directory, self.order) = (hasher, directory, order);
            (self.entries, self.vacant, self.capacity) = (entries, vacant, capacity);
            (self.plan, self.store) = (plan, store);
        }
        self.policy = policy;
        self.measure();
        if empties {
            let now = self.timeline.now();
            self.set_time(now);
            self.swept = self.quantum;
            self.order.rest();
        }
    }

    /// The open scans, by the time of their hit, ties by source.
    pub fn open_scans(&self) -> Vec<Scan> {
        let mut scans = Vec::new();
        self.each_open_scan(&mut |scan| scans.push(scan));
        scans
    }

    /// The same one by one: there can be as many as the table holds.
    pub fn each_open_scan(&self, told: &mut dyn FnMut(Scan)) {
        let mut open: Vec<_> = (0_u32..)
            .zip(&self.entries)
            .filter(|(_, known)| known.state.is_open())
            .map(|(entry, known)| {
                let started = self.timeline.to_capture(known.since);
                let detected = self.timeline.to_capture(known.detected.unwrap_or(known.since)).max(started);
                (detected, Source::of(known.address, self.policy.ipv6_prefix), entry)
            })
            .collect();
        open.sort_unstable();
        open.into_iter().for_each(|(_, _, entry)| told(self.scan(entry)));
    }

    /// The open scan of an entry as it stands.
    fn scan(&self, entry: u32) -> Scan {
        let known = &self.entries[entry as usize];
        let source = Source::of(known.address, self.policy.ipv6_prefix);
        let started = self.timeline.to_capture(known.since);
        // A clock that was set back meanwhile must not tell that it was detected before it began.
        let detected = self.timeline.to_capture(known.detected.unwrap_or(known.since)).max(started);
        Scan {
            id: scan_id(source, detected),
            source,
            source_address: known.address,
            kind: Kind::Vertical,
            technique: crate::detect::probe::Technique::Syn,
            window_nanos: self.policy.window_nanos,
            started,
            detected,
            last_probe: self.timeline.to_capture(known.last_probe).max(detected),
            ended: None,
            probes: u64::from(known.probes),
            ports: known.ports.count(),
            distinct_ports: known.ports.union(),
            lower_bound: known.ports.is_lower_bound(),
            peak_distinct_ports: known.scan_peak,
            distinct_hosts: known.hosts.count(),
            busiest_host_ports: self.store.ports_by_host(&known.ports, entry).into_iter().max().unwrap_or(0),
            target: (known.target_host, known.target_port),
            first_target: (known.first_host, known.first_port),
            sample_ports: self.store.sample(&known.ports, entry),
        }
    }

    /// The detector's time, on the capture's clock; the epoch's start before the first packet.
    pub fn now(&self) -> Timestamp {
        self.timeline.to_capture(self.timeline.now())
    }

    /// What it shows of itself, as of the latest `advance`.
    pub fn snapshot(&self) -> Snapshot {
        let (mut saturated, mut worth) = (0, 0);
        // The `max_sources` greatest, the least of them on top.
        let mut greatest = BinaryHeap::with_capacity(self.limits.max_sources + 1);
        let mut offer = |candidate: Candidate| {
            worth += 1;
            greatest.push(Reverse(ByRank(candidate)));
            if greatest.len() > self.limits.max_sources {
                greatest.pop();
            }
        };
        let (mut returned, least) = (Vec::new(), self.least_published());
        for earlier in &self.retired {
            let mut candidate = match self.resident(earlier.source) {
                Some(entry) => {
                    returned.push(entry);
                    self.candidate(&self.entries[entry as usize])
                }
                None => *earlier,
            };
            candidate.merge(earlier, self.epoch);
            if candidate.peak >= least {
                offer(candidate);
            }
        }
        for (entry, known) in (0_u32..).zip(&self.entries) {
            if known.state == State::Vacant {
                continue;
            }
            saturated += u64::from(known.ports.is_saturated());
            if known.peaks.peak(self.epoch) >= least && !returned.contains(&entry) {
                offer(self.candidate(known));
            }
        }
        let sources: Vec<PublishedSource> = greatest
            .into_sorted_vec()
            .into_iter()
            .map(|Reverse(ByRank(known))| PublishedSource {
                source: known.source,
                distinct_ports: known.counted,
                peak_distinct_ports: known.peak,
                distinct_hosts: known.hosts,
                last_hit: known.detected.map(|at| self.timeline.to_capture(at)),
                last_probe: self.timeline.to_capture(known.last_probe),
            })
            .collect();
        Snapshot {
            time: self.now(),
            window_nanos: self.policy.window_nanos,
            threshold: self.policy.threshold,
            hold_nanos: self.limits.hold_nanos,
            tally: Tally { clock_steps: self.timeline.steps(), ..self.tally },
            open_scans: self.open_scans,
            peak_distinct_ports: self.greatest.peak(self.epoch),
            tracked_sources: (self.entries.len() - self.vacant.len()) as u64 + self.directory.guests(),
            tracked_sources_limit: self.directory.capacity(),
            saturated_sources: saturated,
            suppressed_sources: worth - sources.len() as u64,
            sources,
            published_sources_limit: self.limits.max_sources as u64,
        }
    }

    /// The entry of a source, if it has one.
    fn resident(&self, source: Source) -> Option<u32> {
        match self.place(source) {
            Place::Resident(entry) => Some(entry),
            _ => None,
        }
    }

    /// Where a source is.
    fn place(&self, source: Source) -> Place {
        let prefix = self.policy.ipv6_prefix;
        let is = |entry: u32| Source::is_one(self.entries[entry as usize].address, source.address, prefix);
        self.directory.find(self.spot(source.address), is).1
    }

    #[inline]
    fn spot(&self, address: IpAddr) -> Spot {
        self.directory.spot(match Source::of(address, self.policy.ipv6_prefix).address {
            IpAddr::V4(v4) => self.hasher.hash_one(v4.to_bits()),
            IpAddr::V6(v6) => self.hasher.hash_one(v6.to_bits()),
        })
    }
}

/// A candidate in publishing order.
struct ByRank(Candidate);

impl PartialEq for ByRank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByRank {}

impl PartialOrd for ByRank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByRank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.rank().cmp(&other.0.rank())
    }
}

impl Entry {
    /// A run of probes begins.
    fn begin(&mut self, now: u64, probe: &Probe) {
        self.since = now;
        self.address = probe.source;
        (self.first_host, self.first_port) = (probe.host, probe.port);
        (self.target_host, self.target_port) = (probe.host, probe.port);
        self.probes = 0;
        self.spread = 0;
        self.last_probe = now;
        self.hosts = Hosts::NONE;
    }
}

/// The name of an episode: the same for the same source and moment, in every process.
fn scan_id(source: Source, detected: Timestamp) -> ScanId {
    let bits = match source.address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    // The finaliser of SplitMix64 (Steele, Lea, Flood 2014), over each half.
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    ScanId(mix(mix(mix(bits as u64) ^ (bits >> 64) as u64) ^ detected.nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::probe::Technique;
    use std::net::Ipv4Addr;

    fn syn(source: u32, port: u16, nanos: u64) -> Probe {
        Probe {
            time: Timestamp(1_700_000_000_000_000_000 + nanos),
            source: IpAddr::V4(Ipv4Addr::from_bits(source)),
            host: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
            port,
            technique: Technique::Syn,
        }
    }

    /// Whoever knows the key chooses neighbours: as many as the two sets of a source hold, with three ports each, and again after
    /// each probe of the source. The source is seen all the same, and each that goes for it is counted.
    #[test]
    fn chosen_neighbours_hide_nobody() {
        for seed in 1..4 {
            let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
            let mut detector = Detector::new(Policy::default(), limits, seed, Origin::File);
            let scanner = 0xc633_6407;
            let home = detector.spot(syn(scanner, 0, 0).source).set();
            let neighbours: Vec<u32> = (0x0a00_0000..0x0aff_ffff)
                .filter(|&source| detector.spot(syn(source, 0, 0).source).set() | 1 == home | 1)
                .take(16)
                .collect();
            assert_eq!(neighbours.len(), 16);
            let mut hits = Vec::new();
            let mut events = |event: ScanEvent| {
                if event.moment == Moment::Hit {
                    hits.push(event.scan.source_address);
                }
            };
            let settled: Vec<_> =
                neighbours.iter().flat_map(|&n| (1..4).map(move |port| syn(n, port, 0))).collect();
            detector.observe(&settled, &mut events);
            assert_eq!(detector.tally.evicted, [0; 5]);
            for n in 0..100 {
                let at = u64::from(n) * 100_000_000;
                detector.observe(&[syn(scanner, n, at)], &mut events);
                // One of them comes anew: it takes the place of another of its kind.
                detector.observe(&[syn(neighbours[usize::from(n) % 16], 9, at)], &mut events);
            }
            assert_eq!(hits, [syn(scanner, 0, 0).source]);
            let evicted: u64 = detector.tally.evicted.iter().sum();
            assert!(evicted > 0, "who had to go is counted");
        }
    }
}
