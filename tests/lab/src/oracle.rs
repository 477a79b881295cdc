//! The slow and obvious oracle: keeps every probe and recounts at every step.
#![allow(clippy::cast_sign_loss, reason = "times of a test are positive")]

use portscan_exporter::detect::{
    EventKind, Family, Kind, Limits, Pair, PairTo, Policy, PortRanges, PortSample, PortSources, Probe, Scan,
    ScanEvent, Source, SourceSample, Technique, WANTED_EPOCHS,
};
use portscan_exporter::packet::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One source, with everything it ever did.
#[derive(Default)]
struct History {
    /// Time, port, host of every probe.
    probes: Vec<(u64, u16, IpAddr)>,
    /// Full addresses, beside `probes`.
    addresses: Vec<IpAddr>,
    /// The quantum of each port's latest probe, and the ports of each quantum.
    latest: BTreeMap<u16, u64>,
    by_quantum: BTreeMap<u64, BTreeSet<u16>>,
    /// Index of the first probe of the run that goes on.
    run: Option<usize>,
    /// Counts reached, with their times.
    reached: Vec<(u64, u32)>,
    open: Option<Open>,
    run_peak: u32,
    last_hit: Option<u64>,
    settled: u64,
}

struct Open {
    run: usize,
    detected: u64,
    address: IpAddr,
    union: BTreeSet<u16>,
    peak: u32,
    tell_at: u32,
    /// When the count fell below the threshold, if it is below.
    fell: Option<u64>,
}

/// Whether a policy leaves a probe out: a walk through each of its lists.
pub fn ignores(policy: &Policy, probe: &Probe) -> bool {
    let is_pair = |pair: &Pair| {
        let to = match pair.to {
            PairTo::Ports(first, last) => (first..=last).contains(&probe.port),
            PairTo::Hosts(hosts) => hosts.contains(&probe.host),
        };
        to && pair.source.contains(&probe.source)
    };
    policy.ignored_ports.contains(&probe.port)
        || policy.ignored_sources.iter().any(|network| network.contains(&probe.source))
        || policy.ignored_destinations.iter().any(|network| network.contains(&probe.host))
        || policy.ignored_pairs.all().iter().any(is_pair)
}

pub struct Oracle {
    policy: Policy,
    limits: Limits,
    quantum: u64,
    sources: BTreeMap<Source, History>,
    now: u64,
    offset: i128,
    /// Moments of steps and the offsets before them.
    before: Vec<(u64, i128)>,
    started: bool,
    pub steps: u64,
    pub bursts: Vec<u32>,
    pub events: Vec<ScanEvent>,
    pub probes: [u64; 2],
    /// Each port that a scan asked for, with the time at which it was new to the scan; at the hit those before.
    wanted: Vec<(u64, u16)>,
}

/// A source's numbers at a moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    pub source: Source,
    pub count: u32,
    pub peak: u32,
    pub hosts: u32,
    pub last_hit: Option<Timestamp>,
    pub last_probe: Timestamp,
}

impl Oracle {
    pub fn new(policy: Policy, limits: Limits) -> Self {
        Self {
            quantum: policy.window_nanos.div_ceil(60),
            policy,
            limits,
            sources: BTreeMap::new(),
            now: 0,
            offset: 0,
            before: Vec::new(),
            started: false,
            steps: 0,
            bursts: Vec::new(),
            events: Vec::new(),
            probes: [0; 2],
            wanted: Vec::new(),
        }
    }

    fn outside(&self, inside: u64) -> Timestamp {
        let then = self.before.iter().find(|step| inside < step.0).map_or(self.offset, |step| step.1);
        Timestamp((i128::from(inside) - then) as u64)
    }

    /// Ports whose latest probe is at most 60 quanta before the quantum of `at`.
    fn counted(&self, history: &History, at: u64) -> BTreeSet<u16> {
        self.counting(history, at).flatten().copied().collect()
    }

    fn counting<'a>(
        &self,
        history: &'a History,
        at: u64,
    ) -> impl Iterator<Item = &'a BTreeSet<u16>> + use<'a> {
        let now = at / self.quantum;
        history.by_quantum.range(now.saturating_sub(60)..=now).map(|(_, ports)| ports)
    }

    /// How many.
    fn count(&self, history: &History, at: u64) -> u32 {
        self.counting(history, at).map(|ports| ports.len() as u32).sum()
    }

    /// The same by the definition, without quanta: latest probe in (at − window × factor, at].
    pub fn counted_exactly(&self, source: Source, factor: f64) -> usize {
        let span = (self.policy.window_nanos as f64 * factor) as u64;
        let history = &self.sources[&source];
        let within = history.probes.iter().filter(|(time, ..)| self.now - time < span);
        within.map(|&(_, port, _)| port).collect::<BTreeSet<_>>().len()
    }

    /// Probes of a source so far.
    pub fn probes_of(&self, source: Source) -> usize {
        self.sources.get(&source).map_or(0, |history| history.probes.len())
    }

    /// Distinct ports that a source ever asked for.
    pub fn ports_of(&self, source: Source) -> usize {
        self.sources.get(&source).map_or(0, |history| history.latest.len())
    }

    pub fn is_open(&self, source: Source) -> bool {
        self.sources.get(&source).is_some_and(|history| history.open.is_some())
    }

    fn moment(&self, source: Source, history: &History, at: u64) -> Scan {
        let open = history.open.as_ref().expect("a scan is open");
        let run = &history.probes[open.run..];
        let hosts: BTreeSet<IpAddr> = run.iter().map(|probe| probe.2).collect();
        // Hosts asked for a port while it counted, or since the hit.
        let mut asked: BTreeMap<u16, (u64, BTreeSet<IpAddr>)> = BTreeMap::new();
        for &(time, port, host) in &history.probes[open.run..] {
            let (last, by) = asked.entry(port).or_default();
            let until = time.min(open.detected.max(*last));
            if until / self.quantum - *last / self.quantum > 60 {
                by.clear();
            }
            *last = time;
            by.insert(host);
        }
        let on = |host: &IpAddr| {
            open.union.iter().filter(|port| asked.get(port).is_some_and(|a| a.1.contains(host))).count()
        };
        let busiest = hosts.iter().map(|host| on(host) as u32).max();
        // A clock that was set back meanwhile does not turn the order of a scan's times round.
        let started = self.outside(run[0].0);
        let detected = self.outside(open.detected).max(started);
        Scan {
            id: portscan_exporter::detect::ScanId(0),
            source,
            source_address: open.address,
            kind: Kind::Vertical,
            technique: Technique::Syn,
            window_nanos: self.policy.window_nanos,
            started,
            detected,
            last_probe: self.outside(run[run.len() - 1].0).max(detected),
            ended: None,
            probes: run.len() as u64,
            ports: self.count(history, at),
            distinct_ports: open.union.len() as u32,
            peak_distinct_ports: open.peak,
            distinct_sources: 1,
            distinct_hosts: hosts.len() as u32,
            busiest_host_ports: busiest.unwrap_or(0),
            first_target: (run[0].2, run[0].1),
            target: (run[0].2, run[0].1),
            name: None,
            lower_bound: false,
            sample_ports: PortSample::lowest(open.union.iter().copied()),
            asked: PortRanges::of(open.union.iter().copied()),
            sample_sources: SourceSample::NONE,
            tool: Default::default(),
            provenance: Default::default(),
            tool_confidence: None,
            signature: Default::default(),
            evidence: Default::default(),
            replies: None,
        }
    }

    /// Lets time pass for one source, quantum by quantum.
    fn settle(&mut self, source: Source) {
        let Some(mut history) = self.sources.remove(&source) else { return };
        let (first, last) = (history.settled / self.quantum + 1, self.now / self.quantum);
        // Nothing changes by itself once all ports are gone and the scan is over: 61 quanta are enough.
        for quantum in first..=last.min(first + 61) {
            let count = self.count(&history, quantum * self.quantum);
            if let Some(open) = &mut history.open
                && open.fell.is_none()
                && count < self.policy.threshold
            {
                open.fell = Some(quantum * self.quantum);
            }
            if count == 0 && history.run_peak > 0 {
                self.bursts.push(std::mem::take(&mut history.run_peak));
                history.run = None;
            }
        }
        let ended =
            history.open.as_ref().and_then(|open| open.fell).map(|fell| fell + self.policy.quiet_nanos);
        if let Some(ended) = ended.filter(|&ended| ended <= self.now) {
            let scan = self.moment(source, &history, ended);
            let scan = Scan { ended: Some(self.outside(ended).max(scan.last_probe)), ..scan };
            self.events.push(ScanEvent { kind: EventKind::Ended, scan });
            history.open = None;
            history.run = None;
            if history.run_peak > 0 {
                self.bursts.push(std::mem::take(&mut history.run_peak));
            }
        }
        history.settled = self.now;
        self.sources.insert(source, history);
    }

    pub fn advance(&mut self, at: Timestamp) {
        self.now = self.now.max((i128::from(at.nanos()) + self.offset) as u64);
        self.started = true;
        for source in self.sources.keys().copied().collect::<Vec<_>>() {
            self.settle(source);
        }
    }

    pub fn observe(&mut self, probe: &Probe) {
        let at = i128::from(probe.time.nanos()) + self.offset;
        let behind = i128::from(self.now) - at;
        if !self.started || behind <= 0 {
            self.started = true;
            self.now = at as u64;
        } else if behind > 1_000_000_000 {
            self.now += 1;
            self.before.push((self.now, self.offset));
            // Times are told exactly as far as that: detect::tuning::REMEMBERED_STEPS.
            if self.before.len() > 32 {
                self.before.remove(0);
            }
            self.offset += behind + 1;
            self.steps += 1;
        }
        self.probes[Family::of(probe.source) as usize] += 1;
        if ignores(&self.policy, probe) {
            return;
        }
        let source = Source::by(probe.source, &self.policy.parties);
        self.settle(source);
        let mut history = self.sources.remove(&source).unwrap_or_default();
        let index = history.probes.len();
        history.probes.push((self.now, probe.port, probe.host));
        history.addresses.push(probe.source);
        if history.run.is_none() && history.open.is_none() {
            history.run = Some(index);
        }
        history.settled = self.now;
        let quantum = self.now / self.quantum;
        if let Some(before) = history.latest.insert(probe.port, quantum) {
            history.by_quantum.get_mut(&before).expect("it is there").remove(&probe.port);
        }
        history.by_quantum.entry(quantum).or_default().insert(probe.port);
        let count = self.count(&history, self.now);
        history.run_peak = history.run_peak.max(count);
        history.reached.push((self.now, count));
        let mut kind = None;
        let hits = history.open.is_none() && count >= self.policy.threshold;
        let counted = if hits { self.counted(&history, self.now) } else { BTreeSet::new() };
        match &mut history.open {
            None if hits => {
                history.last_hit = Some(self.now);
                self.wanted.extend(counted.iter().map(|&port| (self.now, port)));
                history.open = Some(Open {
                    run: history.run.expect("a probe begins a run"),
                    detected: self.now,
                    address: probe.source,
                    union: counted,
                    peak: count,
                    tell_at: count * 10,
                    fell: None,
                });
                kind = Some(EventKind::Hit);
            }
            None => {}
            Some(open) => {
                if open.union.insert(probe.port) {
                    self.wanted.push((self.now, probe.port));
                }
                open.peak = open.peak.max(count);
                if count >= self.policy.threshold {
                    open.fell = None;
                }
                let union = open.union.len() as u32;
                if union >= open.tell_at {
                    open.tell_at = union * 10;
                    kind = Some(EventKind::Grown);
                }
            }
        }
        if let Some(kind) = kind {
            self.events.push(ScanEvent { kind, scan: self.moment(source, &history, self.now) });
        }
        self.sources.insert(source, history);
    }

    /// A faster rule has found the scan of a source: its own is over, and what it did before is part of the other.
    pub fn forget(&mut self, source: Source, at: Timestamp) {
        self.now = self.now.max((i128::from(at.nanos()) + self.offset) as u64);
        self.settle(source);
        let Some(history) = self.sources.remove(&source) else { return };
        if history.open.is_some() {
            let scan = Scan { ended: Some(at), ..self.moment(source, &history, self.now) };
            self.events.push(ScanEvent { kind: EventKind::Ended, scan });
        }
    }

    /// How many scans asked for each port within the hold.
    pub fn port_sources(&self) -> PortSources {
        let epoch = self.limits.hold_nanos.div_ceil(WANTED_EPOCHS);
        let is_held = |wanted: &&(u64, u16)| wanted.0 / epoch + WANTED_EPOCHS >= self.now / epoch;
        PortSources::of(self.wanted.iter().filter(is_held).map(|&(_, port)| (port, 1)))
    }

    /// Publishing order; call after `advance`.
    pub fn published(&self) -> Vec<Published> {
        let epoch = self.limits.hold_nanos.div_ceil(16);
        let held = |at: u64| at / epoch + 16 >= self.now / epoch;
        let mut all: Vec<Published> = self
            .sources
            .iter()
            .map(|(source, history)| {
                let last = history.probes.len() - 1;
                let peak = history.reached.iter().filter(|r| held(r.0)).map(|r| r.1).max().unwrap_or(0);
                Published {
                    source: *source,
                    count: self.count(history, self.now),
                    peak: if peak < 2 { 0 } else { peak },
                    hosts: 0,
                    last_hit: history.last_hit.filter(|&at| held(at)).map(|at| self.outside(at)),
                    last_probe: self.outside(history.probes[last].0),
                }
            })
            .filter(|source| source.peak >= self.limits.min_ports.min(self.policy.threshold))
            .collect();
        all.sort_by(|a, b| {
            let latest = |p: &Published| self.sources[&p.source].probes.last().map(|probe| probe.0);
            b.peak.cmp(&a.peak).then(latest(b).cmp(&latest(a))).then(a.source.cmp(&b.source))
        });
        all.truncate(self.limits.max_sources);
        all
    }

    pub fn open(&self) -> Vec<Scan> {
        let open = self.sources.iter().filter(|(_, history)| history.open.is_some());
        let mut scans: Vec<Scan> =
            open.map(|(source, history)| self.moment(*source, history, self.now)).collect();
        scans.sort_by_key(|scan| (scan.detected, scan.source));
        scans
    }
}
