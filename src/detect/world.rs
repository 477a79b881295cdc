//! A small world for the tests of the core: a detector and its own clock, so that a test reads like a sentence.
//!
//! `World::new().scan("198.51.100.7", 1..=20).over("9.9s")`, and `syn("198.51.100.7", "192.0.2.10:22").at(3.5)`.

use crate::detect::detector::Detector;
use crate::detect::explain::{Explanation, Tracked};
use crate::detect::probe::{Probe, Technique};
use crate::detect::rule::{Limits, Policy};
use crate::detect::scan::{EventKind, Scan, ScanEvent};
use crate::detect::snapshot::{Evicted, Snapshot};
use crate::detect::time::timeline::Origin;
use crate::packet::Timestamp;
use std::net::SocketAddr;

const SECOND: f64 = 1e9;

/// When every world begins: within a minute, and a little after a quantum has begun.
const START: u64 = 1_700_000_000_000_000_000 + 5_017_000_000;

/// The host that is asked where a test does not say which.
const HOST: &str = "192.0.2.10";

/// A moment, in seconds since the world began.
fn moment(seconds: f64) -> Timestamp {
    #[allow(clippy::cast_sign_loss, reason = "no test begins before its world")]
    Timestamp(START + (seconds * SECOND).round() as u64)
}

/// A span: `9.9s`, `500ms`, `5m`.
fn span(text: &str) -> f64 {
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
    let (number, unit) = units
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .expect("a span has a unit");
    number.parse::<f64>().expect("a number before the unit") * unit
}

/// A SYN from a source to a target, which wants a moment.
pub(super) fn syn(source: &str, target: &str) -> Unsent {
    let target: SocketAddr = target.parse().expect("host:port");
    Unsent { source: source.parse().expect("an address"), target }
}

/// A probe without a moment.
#[derive(Clone, Copy)]
pub(super) struct Unsent {
    source: std::net::IpAddr,
    target: SocketAddr,
}

impl Unsent {
    /// Sent so many seconds after the world began.
    pub(super) fn at(self, seconds: f64) -> Probe {
        Probe {
            time: moment(seconds),
            source: self.source,
            host: self.target.ip(),
            port: self.target.port(),
            technique: Technique::Syn,
            tool: Default::default(),
            signature: Default::default(),
            reply: None,
        }
    }
}

/// A detector, its clock, and what it reported.
pub(super) struct World {
    pub detector: Detector,
    now: f64,
    events: Vec<ScanEvent>,
}

impl World {
    /// The rule "20 ports within 10 s", in 4 MiB.
    pub(super) fn new() -> Self {
        Self::by(Policy::default())
    }

    /// Another policy.
    pub(super) fn by(policy: Policy) -> Self {
        Self::within(policy, Limits { memory_bytes: 4 << 20, ..Limits::default() })
    }

    /// With 64 rows and 128 slots, which are soon full.
    pub(super) fn tiny() -> Self {
        Self::within(Policy::default(), Limits { memory_bytes: 8 << 10, ..Limits::default() })
    }

    /// Other limits.
    pub(super) fn within(policy: Policy, limits: Limits) -> Self {
        let detector = Detector::new(policy, limits, 7, Origin::File);
        Self { detector, now: 0.0, events: Vec::new() }
    }

    /// A probe comes, at its own time.
    pub(super) fn see(&mut self, probe: Probe) -> &mut Self {
        self.detector.observe(&[probe], &mut |event| self.events.push(event));
        self.now = self.now.max((probe.time.nanos().saturating_sub(START)) as f64 / SECOND);
        self
    }

    /// A source asks for these ports of one host, beginning now.
    pub(super) fn scan(self, source: &str, ports: impl IntoIterator<Item = u16>) -> Scanning {
        let targets = ports.into_iter().map(|port| format!("{HOST}:{port}"));
        let probes = targets.map(|target| syn(source, &target)).collect();
        Scanning { world: self, probes }
    }

    /// A source asks these targets, beginning now.
    pub(super) fn ask(self, source: &str, targets: impl IntoIterator<Item = String>) -> Scanning {
        let probes = targets.into_iter().map(|target| syn(source, &target)).collect();
        Scanning { world: self, probes }
    }

    /// Time passes in silence.
    pub(super) fn wait(mut self, time: &str) -> Self {
        self.now += span(time);
        self.detector.advance(moment(self.now), &mut |event| self.events.push(event));
        self
    }

    /// Another policy is loaded.
    pub(super) fn reload(mut self, policy: Policy) -> Self {
        self.detector.reload(policy, &mut |event| self.events.push(event));
        self
    }

    /// What was reported so far: `hit 20`, `grown 200`, `ended 250`, each with the distinct ports of the scan.
    pub(super) fn reported(&self) -> Vec<String> {
        let line = |event: &ScanEvent| format!("{} {}", event.kind.label(), event.scan.distinct_ports);
        self.events.iter().map(line).collect()
    }

    /// The scans of one kind of event.
    pub(super) fn scans(&self, kind: EventKind) -> Vec<Scan> {
        self.events.iter().filter(|event| event.kind == kind).map(|event| event.scan).collect()
    }

    /// What a tick shows now.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.detector.snapshot()
    }

    /// What the detector knows of an address.
    pub(super) fn explain(&self, address: &str) -> Explanation {
        self.detector.explain(address.parse::<std::net::IpAddr>().expect("an address").into())
    }

    /// Where an address is tracked.
    pub(super) fn tracked(&self, address: &str) -> Tracked {
        self.explain(address).tracked
    }

    /// Sources given up for a reason.
    pub(super) fn evicted(&self, reason: Evicted) -> u64 {
        self.snapshot().counters.evicted[reason as usize]
    }
}

/// Probes that want a pace.
pub(super) struct Scanning {
    world: World,
    probes: Vec<Unsent>,
}

impl Scanning {
    /// Evenly, the first now and the last after this time.
    pub(super) fn over(mut self, time: &str) -> World {
        let (start, gaps) = (self.world.now, self.probes.len().saturating_sub(1).max(1));
        let gap = span(time) / gaps as f64;
        for (n, probe) in self.probes.iter().enumerate() {
            self.world.see(probe.at(start + gap * n as f64));
        }
        self.world
    }

    /// All at this moment.
    pub(super) fn at_once(self) -> World {
        self.over("0s")
    }
}
