//! Scans by many sources of a few ports each: by source there is nothing to see, so here the hosts that are asked have rows.
//!
//! A host has for each port that it is asked for within the window a source that owns it (`slots` says who). A busy server has few ports
//! and many sources, so few owners; a client of many services that is not yet a scanner owns its ports alone. Only where many own many it
//! is a scan by many.
//!
//! It gets what no rule about sources has found: a source with an open scan does not feed it, and the ports of one that is found
//! are forgotten at the host where that was.
//!
//! The adversary chooses all sources, and on a gateway all hosts. There are only so many hosts; a new one takes the place of the one
//! of least ports, and of equals the one that was asked longest ago, among eight that a keyed hash puts together.

mod concerns;
mod flood;
mod lately;
mod life;
mod muted;
mod row;
mod show;
mod slots;
mod wide;

use self::concerns::Concerns;
use self::row::Target;
use self::slots::Recorded;
use self::wide::WidePool;
use crate::detect::batch::Batch;
use crate::detect::distinct::peaks::OverallPeak;
use crate::detect::ground::Ground;
use crate::detect::memory::{OutOfMemory, prefetch, vec_of};
use crate::detect::probe::{Class, Probe};
use crate::detect::rule::{Limits, Rule};
use crate::detect::scan::{EventKind, Kind};
use crate::detect::sink::EventSink;
use crate::detect::snapshot::{Counters, Evicted};
use crate::detect::time::present::Present;
use crate::detect::tracker::{Handed, What};
use crate::detect::tuning::{QUANTA, STRONG, TARGET_WAYS, WIDE_SHARE};
use crate::detect::verdict::{self, Counts};
use std::hash::BuildHasher;
use std::net::IpAddr;

/// In the place of a tag: no host has the row.
const FREE: u32 = 0;

/// The hosts that are asked, by one rule. All memory is reserved by `new`.
#[derive(Debug)]
pub(super) struct Targets {
    rule: Rule,
    limits: Limits,
    concerns: Concerns,
    present: Present,
    /// Finds hosts.
    hasher: foldhash::quality::FixedState,
    /// Tells sources apart. The report on a file must not depend on the seed.
    source_hasher: foldhash::quality::FixedState,
    /// Spreads the ports of a host.
    port_key: u32,
    /// Of each row the hash of its host, or `FREE`: a set is a few of them, side by side.
    tags: Vec<u32>,
    rows: Vec<Target>,
    /// The row of the latest probe: a flood is often one of one host.
    latest: usize,
    wide: WidePool,
    /// The quantum of the latest sweep.
    swept: u64,
    open: u64,
    counters: Counters,
    overall: OverallPeak,
}

impl Targets {
    /// With all its memory, or an error if the system refuses any of it.
    pub(super) fn new(rule: Rule, ground: &Ground<'_>) -> Result<Self, OutOfMemory> {
        let &Ground { policy, limits, seed, .. } = ground;
        let source_hasher = ground.counting_hasher();
        let wide_bytes = limits.memory_bytes / WIDE_SHARE.1 * WIDE_SHARE.0;
        let wide = (wide_bytes / WidePool::BYTES).max(1);
        let left = limits.memory_bytes.saturating_sub(wide * WidePool::BYTES);
        let sets = (left / (size_of::<Target>() + size_of::<u32>()) / TARGET_WAYS).max(1);
        Ok(Self {
            rule,
            limits,
            concerns: Concerns::of(policy),
            present: Present::new(rule.window_nanos, limits.hold_nanos),
            port_key: source_hasher.hash_one(seed) as u32 | 1,
            hasher: ground.hasher(),
            source_hasher,
            tags: vec_of(sets * TARGET_WAYS, FREE)?,
            rows: vec_of(sets * TARGET_WAYS, Target::NONE)?,
            latest: 0,
            wide: WidePool::new(wide)?,
            swept: 0,
            open: 0,
            counters: Counters::default(),
            overall: OverallPeak::NONE,
        })
    }

    /// Observes what the rules about sources leave of a batch.
    pub(super) fn observe_handed(&mut self, batch: &Batch, mut handed: &[Handed], sink: &mut EventSink<'_>) {
        loop {
            handed = &handed[self.count_flood(batch, handed)..];
            let Some((next, rest)) = handed.split_first() else { return };
            self.observe_one(batch, next, sink);
            handed = rest;
        }
    }

    fn observe_one(&mut self, batch: &Batch, next: &Handed, sink: &mut EventSink<'_>) {
        let Some(probe) = batch.at(next.at()) else { return };
        if !self.concerns.includes(probe) {
            let would_count = next.what != What::Forget && self.concerns.is_inside(probe);
            self.counters.muted += u64::from(would_count);
            return;
        }
        sink.now = next.now;
        self.pass(sink);
        match next.what {
            What::Forget => self.forget(probe, sink),
            What::Count | What::CountNew => self.observe(probe, sink),
        }
    }

    /// Time passes.
    #[inline]
    pub(super) fn pass(&mut self, sink: &EventSink<'_>) {
        if self.present.is_over(sink.now()) {
            self.present.set(sink.now());
        }
    }

    fn observe(&mut self, probe: &Probe, sink: &mut EventSink<'_>) {
        let class = probe.technique.class();
        let latest = &self.rows[self.latest];
        let at = if self.tags[self.latest] != FREE && latest.host == probe.host && latest.class == class {
            self.latest
        } else {
            self.find_or_admit(probe, class, sink)
        };
        self.latest = at;
        self.settle(at, sink);
        self.count(at, probe, sink);
    }

    /// Counts a probe for a row that was brought to the present.
    fn count(&mut self, at: usize, probe: &Probe, sink: &mut EventSink<'_>) {
        let (quantum, owner) = (self.present.quantum, self.concerns.owner(probe.source, &self.source_hasher));
        let row = &mut self.rows[at];
        row.last_probe = sink.now();
        if row.slots.len() == 0 && !row.episode.is_open() {
            row.start_over();
        }
        let recorded = row.slots.record(probe.port, owner, quantum, self.port_key);
        match recorded {
            // Visitors of what the host has are no part of a scan, before it and while it is open.
            Recorded::Visited => return,
            Recorded::Fresh | Recorded::Taken => row.sources.push(probe.source),
            Recorded::Again => {}
            Recorded::Full => row.full = Some(quantum),
        }
        let is_wider = self.belongs(at, (probe, owner), recorded, sink.now());
        let row = &mut self.rows[at];
        let ports = row.slots.len();
        self.overall.reach(self.present.epoch, ports);
        // In a flood of all ports nearly every probe ends here.
        if matches!(recorded, Recorded::Again | Recorded::Full) && !is_wider {
            return;
        }
        // Only a new port or owner can make it a scan, and only then are owners counted.
        let verdict = match recorded {
            Recorded::Fresh | Recorded::Taken if row.episode.is_above() => Some(Kind::Distributed),
            Recorded::Fresh | Recorded::Taken if self.rule.ports.is_some_and(|least| ports >= least) => {
                verdict::kind(&self.rule, Counts { ports, peers: row.slots.owners() })
            }
            _ => None,
        };
        let size = row.wide.map_or(ports, |place| self.wide.ports(place));
        match row.episode.observe(verdict, ports, size) {
            Some(EventKind::Hit) => self.open(at, probe, sink),
            Some(kind) => sink.report(kind, self.scan(at, sink.timeline)),
            None => {}
        }
    }

    /// A probe is of the scan of a row, or of one that may be found. Says whether its port is new to an open scan.
    #[inline]
    fn belongs(&mut self, at: usize, (probe, owner): (&Probe, u32), recorded: Recorded, now: u64) -> bool {
        let row = &mut self.rows[at];
        if row.episode.is_open() {
            row.run.push(probe);
            row.probes += 1;
            row.last_of_scan = now;
            row.is_cut |= recorded == Recorded::Full;
        } else if matches!(recorded, Recorded::Fresh | Recorded::Taken) {
            row.lately.news(probe, now, self.present.quantum_nanos);
        } else {
            row.lately.again(probe);
        }
        let Some(place) = row.wide.filter(|_| recorded != Recorded::Again) else { return false };
        self.wide.add(place, probe.port, self.source_hasher.hash_one(owner))
    }

    /// A probe opened the scan of a row.
    fn open(&mut self, at: usize, probe: &Probe, sink: &mut EventSink<'_>) {
        let row = &mut self.rows[at];
        row.detected = (sink.now(), probe.source);
        row.run = row.lately.whole(sink.now(), self.present.quantum_nanos);
        (row.probes, row.last_of_scan) = (row.run.probes.into(), sink.now());
        row.wide = self.wide.take();
        // A port for which there was no room within the window is missing.
        let lacks = row.full.is_some_and(|full| self.present.quantum - full <= QUANTA);
        row.is_cut = lacks || row.wide.is_none();
        if let Some(place) = row.wide {
            for slot in row.slots.iter() {
                self.wide.add(place, slot.port, self.source_hasher.hash_one(slot.owner));
            }
        }
        self.counters.hits[Kind::Distributed as usize] += 1;
        self.open += 1;
        sink.report(EventKind::Hit, self.scan(at, sink.timeline));
    }

    /// A source was found by itself: the ports that it owns at this host are part of its own scan.
    fn forget(&mut self, probe: &Probe, sink: &mut EventSink<'_>) {
        let class = probe.technique.class();
        if let Some(at) = self.find(probe.host, class) {
            self.settle(at, sink);
            let owner = self.concerns.owner(probe.source, &self.source_hasher);
            self.rows[at].slots.forget(owner, self.port_key);
        }
    }

    // ---- Where a host is.

    /// The rows that hosts have.
    fn used(&self) -> impl Iterator<Item = usize> {
        self.tags.iter().enumerate().filter_map(|(at, tag)| (*tag != FREE).then_some(at))
    }

    /// The first row of its set, and its tag there.
    #[inline]
    fn set_of(&self, host: IpAddr, class: Class) -> (usize, u32) {
        let bits = match host {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let hash = self.hasher.hash_one((bits, class as u8));
        let sets = (self.tags.len() / TARGET_WAYS) as u64;
        let set = ((hash >> 32) * sets) >> 32;
        (set as usize * TARGET_WAYS, hash as u32 | 1)
    }

    fn find(&self, host: IpAddr, class: Class) -> Option<usize> {
        let (first, tag) = self.set_of(host, class);
        self.find_in(first, tag, host, class)
    }

    #[inline]
    fn find_in(&self, first: usize, tag: u32, host: IpAddr, class: Class) -> Option<usize> {
        let is_its = |row: &Target| row.host == host && row.class == class;
        (first..first + TARGET_WAYS).find(|&at| self.tags[at] == tag && is_its(&self.rows[at]))
    }

    fn find_or_admit(&mut self, probe: &Probe, class: Class, sink: &mut EventSink<'_>) -> usize {
        let (first, tag) = self.set_of(probe.host, class);
        prefetch(&self.tags[first]);
        if let Some(at) = self.find_in(first, tag, probe.host, class) {
            return at;
        }
        let set = first..first + TARGET_WAYS;
        let at = set.clone().find(|&at| self.tags[at] == FREE).unwrap_or_else(|| {
            let worth = |at: usize| {
                let row = &self.rows[at];
                let is_over = self.present.quantum - row.quantum > QUANTA;
                (row.episode.is_open(), if is_over { 0 } else { row.slots.len() }, row.last_probe)
            };
            set.min_by_key(|&at| worth(at)).unwrap_or(first)
        });
        self.evict(at, sink);
        self.rows[at].take(probe, self.present.quantum);
        self.tags[at] = tag;
        at
    }

    /// Gives up the host of a row, if it has one: an open scan is reported as ended now.
    fn evict(&mut self, at: usize, sink: &mut EventSink<'_>) {
        if self.tags[at] == FREE {
            return;
        }
        self.settle(at, sink);
        let row = &self.rows[at];
        let least = self.rule.ports.unwrap_or(u32::MAX);
        let reason = if row.episode.is_open() {
            Evicted::Scan
        } else if row.slots.len() * STRONG.1 >= least * STRONG.0 {
            Evicted::Evidence
        } else {
            Evicted::Table
        };
        self.counters.evicted[reason as usize] += 1;
        self.vacate(at, sink);
    }
}
