//! What is counted in the rows of one rule, and judged: a probe is counted for its row, ports leave the window, scans open and
//! end. Who gets a row is the tracker's business.

use crate::detect::distinct::block::Header;
use crate::detect::distinct::hosts::{Hosts, UNTRACKED};
use crate::detect::distinct::peaks::OverallPeak;
use crate::detect::distinct::{PortStore, Ports};
use crate::detect::memory::{OutOfMemory, prefetch, room_for};
use crate::detect::probe::{Class, Probe};
use crate::detect::retired::Candidate;
use crate::detect::row::Row;
use crate::detect::rule::Rule;
use crate::detect::scan::{EventKind, Kind, Scan, ScanId, Source};
use crate::detect::sink::EventSink;
use crate::detect::snapshot::Counters;
use crate::detect::table::Probation;
use crate::detect::time::present::Present;
use crate::detect::time::quantum;
use crate::detect::time::timeline::Timeline;
use crate::detect::tuning::EPOCHS;
use crate::detect::verdict::{self, Counts};
use std::hash::BuildHasher;
use std::net::IpAddr;

/// The rows of one rule, and the ports of each.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Vec<Row>,
    store: PortStore,
    /// The rule by which they are judged.
    pub rule: Rule,
    /// IPv6 sources are aggregated to a network of this many bits.
    pub ipv6_prefix: u8,
    /// Now, in the rule's units.
    pub present: Present,
    /// Hosts are told apart by their hashes, and the report on a file must not depend on the seed. (The author of a file can
    /// make the estimate of its own hosts wrong, and no other.)
    host_hasher: foldhash::quality::FixedState,
    overall: OverallPeak,
    /// What happened so far.
    pub counters: Counters,
    open_scans: [u64; Kind::ALL.len()],
}

impl Rows {
    /// Room for so many rows, whose ports `store` keeps.
    pub(super) fn new(
        rule: Rule,
        ipv6_prefix: u8,
        hold_nanos: u64,
        (capacity, store): (usize, PortStore),
        host_hasher: foldhash::quality::FixedState,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            rows: room_for(capacity)?,
            store,
            rule,
            ipv6_prefix,
            present: Present::new(rule.window_nanos, hold_nanos),
            host_hasher,
            overall: OverallPeak::NONE,
            counters: Counters::default(),
            open_scans: [0; Kind::ALL.len()],
        })
    }

    /// How many rows there are, used or not.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A row that is there.
    #[inline]
    pub(super) fn row(&self, at: u32) -> &Row {
        &self.rows[at as usize]
    }

    /// The same, to change it.
    #[inline]
    pub(super) fn row_mut(&mut self, at: u32) -> &mut Row {
        &mut self.rows[at as usize]
    }

    /// Whether a row is that of an address and a class. A quick look: of a network it knows the address that asked last only.
    #[inline]
    pub(super) fn is_of(&self, at: u32, address: IpAddr, class: Class) -> bool {
        let is = |row: &Row| row.address == address && row.class() == class && row.is_used;
        self.rows.get(at as usize).is_some_and(is)
    }

    /// Whether a row is that of the source of an address, for a class.
    #[inline]
    pub(super) fn is_of_source(&self, at: u32, address: IpAddr, class: Class) -> bool {
        let row = &self.rows[at as usize];
        row.class() == class && Source::is_one(row.address, address, self.ipv6_prefix)
    }

    /// The rows that somebody has.
    pub(super) fn used(&self) -> impl Iterator<Item = (u32, &Row)> {
        (0..).zip(&self.rows).filter(|(_, row)| row.is_used)
    }

    /// Has a row and its ports brought into the cache.
    #[inline]
    pub(super) fn prefetch(&self, at: u32) {
        if let Some(row) = self.rows.get(at as usize) {
            prefetch(row);
            prefetch(&row.peaks);
            self.store.prefetch(at);
        }
    }

    /// Writes a new row: over one that is free, or behind the last.
    pub(super) fn put(&mut self, at: u32, row: Row) {
        match self.rows.get_mut(at as usize) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
    }

    /// Counts the ports that a source asked for on probation, for its new row.
    pub(super) fn put_earlier(&mut self, at: u32, source: Probation, now: u64) {
        let (present, row) = (&self.present, &mut self.rows[at as usize]);
        let age = u64::from(quantum::age(present.stamp, source.stamp)).min(present.quantum);
        row.since = now.saturating_sub(age * present.quantum_nanos);
        row.probes = source.count();
        row.burst_peak = source.count();
        // A burst sends all it has at once and is gone; a scanner comes back.
        row.returns = u8::from(source.gap > 0);
        let older = present.quantum - age;
        for (port, then) in source.ports.into_iter().zip([older, older + u64::from(source.gap)]) {
            // A short list holds two.
            let _ = self.store.record(&mut row.ports, at, port, 0, then);
            row.quantum = then;
        }
        // That it comes now is no further time that it came back: a flood of sources that pace their ports would keep its youngest
        // for as long as scanners, and there are more of them.
        row.last_probe = now;
    }

    /// Counts a probe for an expired row.
    #[inline]
    pub(super) fn count(&mut self, at: u32, probe: &Probe, sink: &mut EventSink<'_>) {
        let host = match probe.host {
            IpAddr::V4(v4) => self.host_hasher.hash_one(v4.to_bits()),
            IpAddr::V6(v6) => self.host_hasher.hash_one(v6.to_bits()),
        };
        let quantum = self.present.quantum;
        let mut row = &mut self.rows[at as usize];
        let place = row.note(probe, host, sink.now(), &self.present);
        let (bit, before) = (Hosts::bit(place), row.ports.count());
        if !self.store.record(&mut row.ports, at, probe.port, bit, quantum) {
            self.record_outgrown(at, probe.port, bit, sink);
            row = &mut self.rows[at as usize];
        }
        let count = row.ports.count();
        let is_fresh = count > before;
        if place == UNTRACKED {
            if is_fresh {
                row.adopt_host(host, probe.port, quantum, &mut self.store, at);
            }
        } else if place != row.hosts.busiest() && row.may_be_busiest(is_fresh) {
            row.compare_with_busiest(place, probe, &self.store, at);
        }
        row.burst_peak = row.burst_peak.max(count);
        row.peaks.reach(self.present.epoch, count);
        self.overall.reach(self.present.epoch, count);
        let verdict = verdict::kind(&self.rule, Counts { ports: count });
        if let Some(kind) = row.episode.observe(verdict, count, row.ports.union()) {
            self.report(at, kind, probe, sink);
        }
    }

    /// A probe opened the scan of a row, or made it grow.
    fn report(&mut self, at: u32, kind: EventKind, probe: &Probe, sink: &mut EventSink<'_>) {
        if kind == EventKind::Hit {
            let row = &mut self.rows[at as usize];
            row.address = probe.source;
            row.last_hit = Some(sink.now());
            self.store.begin_union(&mut row.ports, self.present.quantum);
            let kind = row.episode.kind() as usize;
            self.counters.hits[kind] += 1;
            self.open_scans[kind] += 1;
        }
        sink.report(kind, self.scan(at, sink.timeline));
    }

    /// Counts a port for which a source has no room where its ports are: in a larger block, which may be one that another can
    /// do without. If there is none, another port is forgotten for it.
    #[cold]
    fn record_outgrown(&mut self, at: u32, port: u16, bit: u8, sink: &mut EventSink<'_>) {
        let quantum = self.present.quantum;
        let mut ports = self.rows[at as usize].ports;
        let grows = self.store.grow(&mut ports, at, quantum)
            || self.take_block(at, &ports, sink) && self.store.grow(&mut ports, at, quantum);
        let row = &mut self.rows[at as usize];
        if !(grows && self.store.record(&mut ports, at, port, bit, quantum)) {
            let was_saturated = ports.is_saturated();
            self.store.replace(&mut ports, at, port, bit, quantum);
            let is_cut_short = !row.episode.is_open() && !was_saturated && ports.is_saturated();
            self.counters.cut_short += u64::from(is_cut_short);
        }
        row.ports = ports;
    }

    /// Frees a block that would be larger than what a source has. A scan that fell silent can do without: what still
    /// counts of it goes into its short list, only the union can then not grow on. Where hits depend on blocks, a source
    /// without an open scan must give way too, and who was silent longest goes first: a scanner comes back, a burst of
    /// spoofed probes does not.
    fn take_block(&mut self, at: u32, ports: &Ports, sink: &mut EventSink<'_>) -> bool {
        let (rows, now, listed) = (&self.rows, self.present.quantum, self.store.list_ports() as u32);
        let hits_need_blocks = self.rule.threshold > listed;
        let worth = |header: &Header| {
            let row = &rows[header.owner as usize];
            let fits = header.left_at(row.quantum, now) <= listed;
            let may_go = fits || hits_need_blocks && !row.episode.is_open();
            (may_go && header.owner != at).then_some((!fits, row.last_probe, header.owner))
        };
        let Some(owner) = self.store.least_worth(ports, now, worth) else { return false };
        self.expire(owner, sink);
        let row = &mut self.rows[owner as usize];
        self.store.shrink(&mut row.ports, owner, now);
        self.counters.cut_short += u64::from(!row.episode.is_open() && row.ports.is_saturated());
        true
    }

    /// Brings a row to the present: ports leave the window, a scan may end, a burst may finish.
    #[inline]
    pub(super) fn expire(&mut self, at: u32, sink: &mut EventSink<'_>) {
        let row = &mut self.rows[at as usize];
        let (from, to) = (row.quantum, self.present.quantum);
        if !row.episode.is_below() && (from == to || PortStore::none_leaves(&row.ports, from, to)) {
            row.quantum = to;
            return;
        }
        let over = self.ended(at, sink.now()).map(|ended| {
            // The record says how things stood when the scan ended, whenever that is noticed.
            let then = (ended / self.present.quantum_nanos).clamp(from, to);
            let ports = self.store.count_at(&self.rows[at as usize].ports, at, from, then);
            let scan = self.scan(at, sink.timeline);
            Scan { ports, ended: Some(sink.to_capture(ended).max(scan.last_probe)), ..scan }
        });
        let row = &mut self.rows[at as usize];
        let counted = self.store.expire(&mut row.ports, at, from, to);
        row.quantum = to;
        if counted == 0 {
            self.finish_burst(at);
        }
        if let Some(scan) = over {
            self.close(at, scan, sink);
        }
    }

    /// Notes whether an open scan has fallen below the threshold by now. When it ended, if it has.
    pub(super) fn ended(&mut self, at: u32, now: u64) -> Option<u64> {
        let row = &mut self.rows[at as usize];
        let (from, to) = (row.quantum, self.present.quantum);
        if row.episode.is_above() && from != to {
            let ports = self.store.count_at(&row.ports, at, from, to);
            if verdict::kind(&self.rule, Counts { ports }).is_none() {
                let fell = self.store.falls_below(&row.ports, at, self.rule.threshold, from);
                row.episode.fall(fell.min(to));
            }
        }
        let ended = row.episode.ends_at(self.present.quantum_nanos, self.rule.quiet_nanos)?;
        (ended <= now).then_some(ended)
    }

    /// Ends an open scan.
    fn close(&mut self, at: u32, scan: Scan, sink: &mut EventSink<'_>) {
        sink.report(EventKind::Ended, scan);
        let row = &mut self.rows[at as usize];
        self.open_scans[row.episode.kind() as usize] -= 1;
        row.episode.end();
        self.store.end_union(&mut row.ports, at, row.quantum);
        // What comes next is a new run of probes, even if the last port has not left the window yet.
        self.finish_burst(at);
    }

    /// The run of probes of a row is over.
    fn finish_burst(&mut self, at: u32) {
        let peak = std::mem::take(&mut self.rows[at as usize].burst_peak);
        if peak > 0 {
            self.counters.finish_burst(peak);
        }
    }

    /// Ends what goes on in a row that is given up: an open scan is reported as ended now.
    pub(super) fn end(&mut self, at: u32, sink: &mut EventSink<'_>) {
        if self.rows[at as usize].episode.is_open() {
            let ended = Some(sink.to_capture(sink.now()));
            let scan = Scan { ended, ..self.scan(at, sink.timeline) };
            self.close(at, scan, sink);
        }
        self.finish_burst(at);
    }

    /// Frees a row in which nothing goes on.
    pub(super) fn free(&mut self, at: u32) {
        let row = &mut self.rows[at as usize];
        self.store.release(&mut row.ports);
        row.is_used = false;
    }

    /// Whether a row has nothing left to report: no burst, no scan, and no peak that earns a series.
    pub(super) fn is_idle(&self, at: u32, least_published: u32) -> bool {
        let row = &self.rows[at as usize];
        row.burst_peak == 0
            && !row.episode.is_open()
            && row.ports.count() == 0
            && row.peaks.peak(self.present.epoch) < least_published
    }

    /// Another hold from now on: peaks that were kept by the old one mean nothing then.
    pub(super) fn set_hold(&mut self, hold_nanos: u64) {
        self.present.set_hold(hold_nanos);
        self.overall = OverallPeak::NONE;
    }

    /// Takes other memory in place of its own, in which nothing is left.
    pub(super) fn take_memory(&mut self, other: Self) {
        (self.rows, self.store) = (other.rows, other.store);
    }

    /// The open scan of a row as it stands.
    pub(super) fn scan(&self, at: u32, timeline: &Timeline) -> Scan {
        let row = &self.rows[at as usize];
        let source = self.source(row);
        let started = timeline.to_capture(row.since);
        let detected = self.detected(row, timeline);
        Scan {
            id: ScanId::of(source, row.class(), detected),
            source,
            source_address: row.address,
            kind: row.episode.kind(),
            technique: row.technique.winner(),
            window_nanos: self.rule.window_nanos,
            started,
            detected,
            last_probe: timeline.to_capture(row.last_probe).max(detected),
            ended: None,
            probes: u64::from(row.probes),
            ports: row.ports.count(),
            distinct_ports: row.ports.union(),
            lower_bound: row.ports.is_lower_bound(),
            peak_distinct_ports: row.episode.peak(),
            distinct_hosts: row.hosts.count(),
            busiest_host_ports: self.store.ports_by_host(&row.ports, at).into_iter().max().unwrap_or(0),
            target: row.target(),
            first_target: row.first_target(),
            sample_ports: self.store.sample(&row.ports, at),
        }
    }

    /// When the open scan of a row was detected. A clock that was set back meanwhile must not say that it was before it began.
    fn detected(&self, row: &Row, timeline: &Timeline) -> crate::packet::Timestamp {
        timeline.to_capture(row.detected()).max(timeline.to_capture(row.since))
    }

    /// Whose row it is.
    pub(super) fn source(&self, row: &Row) -> Source {
        Source::of(row.address, self.ipv6_prefix)
    }

    /// Hands over the open scans by the time of their hit, ties by source and class, one by one: there can be as many as rows.
    pub(super) fn each_open_scan(&self, timeline: &Timeline, take: &mut dyn FnMut(Scan)) {
        let mut open: Vec<_> = self
            .used()
            .filter(|(_, row)| row.episode.is_open())
            .map(|(at, row)| ((self.detected(row, timeline), self.source(row), row.class()), at))
            .collect();
        open.sort_unstable();
        open.into_iter().for_each(|(_, at)| take(self.scan(at, timeline)));
    }

    /// What a row has for a series.
    pub(super) fn candidate(&self, row: &Row) -> Candidate {
        Candidate {
            source: self.source(row),
            peak: row.peaks.peak(self.present.epoch),
            peaks: row.peaks,
            ports: row.ports.count(),
            hosts: row.hosts.count(),
            // Shown as long as the peak that came with it.
            last_hit: row.last_hit.filter(|&hit| self.present.epoch_of(hit) + EPOCHS >= self.present.epoch),
            last_probe: row.last_probe,
        }
    }

    /// The greatest count of any source within the hold.
    pub(super) fn greatest_peak(&self) -> u32 {
        self.overall.peak(self.present.epoch)
    }

    /// Open scans by `Kind as usize`.
    pub(super) fn open_scans(&self) -> [u64; Kind::ALL.len()] {
        self.open_scans
    }
}
