//! `/api/v1/status`: what the exporter does and how it fares, as JSON; and why it is not well, if it is not.

use crate::detect::{self, Alerts, Evicted, Kind, Names};
use crate::publish::recent::{Fill, SCANS};
use crate::publish::snapshot::InterfaceSnapshot;
use crate::publish::store::CaptureState;
use crate::system::version;
use crate::text::time::rfc3339;
use ipnet::Ipv6Net;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All of it.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    revision: &'static str,
    /// The rules, as far as a capture has published.
    policy: Option<Policy>,
    interfaces: Vec<Interface>,
    recent_scans: Kept,
    web: Web,
}

#[derive(Serialize)]
struct Policy {
    threshold: u32,
    window_seconds: f64,
    hold_seconds: f64,
    /// How many bits of an IPv6 address are a source, and in which networks it has another number.
    ipv6_prefix: u8,
    ipv6_prefixes: BTreeMap<String, u8>,
    /// All of them, the first one too.
    rules: Vec<Rule>,
    /// What networks are called.
    names: BTreeMap<String, Named>,
}

/// What stands behind a name of the configuration.
#[derive(Serialize, Default)]
struct Named {
    networks: Vec<String>,
    /// From how many ports on alerts are for it, where it has a threshold of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<u32>,
    muted: bool,
}

impl Named {
    fn all(names: &Names) -> BTreeMap<String, Self> {
        let mut all: BTreeMap<String, Self> = BTreeMap::new();
        for (network, name) in names.networks() {
            let named = all.entry(name.as_str().to_owned()).or_default();
            named.networks.push(network.to_string());
            match names.alerts(name) {
                Some(Alerts::From(ports)) => named.threshold = Some(ports),
                Some(Alerts::Muted) => named.muted = true,
                None => {}
            }
        }
        all
    }
}

/// A rule.
#[derive(Serialize)]
struct Rule {
    /// Of whom: `source`, `network` of IPv6, or `target`.
    subject: &'static str,
    threshold: u32,
    /// Of what.
    counts: &'static str,
    /// Of a rule for sweeps, with how many ports one is a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    block_threshold: Option<u32>,
    window_seconds: f64,
    kinds: Vec<&'static str>,
}

/// What a rule has found, and how full its tables are.
#[derive(Serialize)]
pub(super) struct ByRule {
    #[serde(skip)]
    pub(super) window_nanos: u64,
    pub(super) subject: &'static str,
    window_seconds: f64,
    pub(super) threshold: u32,
    pub(super) counts: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) block_threshold: Option<u32>,
    pub(super) kinds: Vec<&'static str>,
    pub(super) hits: u64,
    pub(super) open_scans: u64,
    /// The greatest count of any source within the hold.
    pub(super) peak: u32,
    pub(super) tracked_sources: u64,
    pub(super) tracked_sources_limit: u64,
    saturated_sources: u64,
    evicted_sources: u64,
}

#[derive(Serialize)]
struct Kept {
    kept: u64,
    limit: usize,
    evicted: u64,
}

/// How the pages themselves are protected.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Web {
    pub(super) tls: bool,
    pub(super) authentication: bool,
}

/// One interface.
#[derive(Serialize)]
pub(super) struct Interface {
    pub(super) interface: String,
    pub(super) state: &'static str,
    /// What is not well.
    pub(super) reasons: Vec<String>,
    last_tick: Option<String>,
    received_packets: u64,
    dropped_packets: u64,
    interface_dropped_packets: u64,
    restarts: u64,
    pauses: u64,
    packets: u64,
    pub(super) probes: u64,
    pub(super) hits: u64,
    pub(super) open_scans: u64,
    tracked_sources: u64,
    tracked_sources_limit: u64,
    saturated_sources: u64,
    published_sources: usize,
    suppressed_sources: u64,
    evicted_sources: u64,
    events_lost: u64,
    /// The same by each rule.
    pub(super) rules: Vec<ByRule>,
}

impl Status {
    pub(super) fn of(
        interfaces: Vec<Interface>,
        shown: &[Arc<InterfaceSnapshot>],
        fill: Fill,
        web: Web,
    ) -> Self {
        let policy = shown.first().map(|snapshot| Policy {
            threshold: snapshot.detection.threshold,
            window_seconds: snapshot.detection.window_nanos as f64 / 1e9,
            hold_seconds: snapshot.detection.hold_nanos as f64 / 1e9,
            ipv6_prefix: snapshot.detection.parties.ipv6_prefix(),
            ipv6_prefixes: snapshot.detection.parties.prefixes().iter().copied().map(by_network).collect(),
            rules: snapshot.detection.rules().map(Rule::of).collect(),
            names: Named::all(&snapshot.detection.names),
        });
        let recent_scans = Kept { kept: fill.scans, limit: SCANS, evicted: fill.evicted };
        Self { version: version::VERSION, revision: version::REVISION, policy, interfaces, recent_scans, web }
    }
}

fn by_network((network, bits): (Ipv6Net, u8)) -> (String, u8) {
    (network.to_string(), bits)
}

/// What a rule counts.
fn counts(rule: &detect::Snapshot) -> &'static str {
    if rule.counts_hosts() { "hosts" } else { "ports" }
}

impl Rule {
    fn of(rule: &detect::Snapshot) -> Self {
        Self {
            subject: rule.subject.label(),
            threshold: rule.threshold,
            counts: counts(rule),
            block_threshold: rule.block_ports,
            window_seconds: rule.window_nanos as f64 / 1e9,
            kinds: rule.kinds.iter().copied().map(Kind::label).collect(),
        }
    }
}

impl ByRule {
    fn of(rule: &detect::Snapshot) -> Self {
        Self {
            window_nanos: rule.window_nanos,
            subject: rule.subject.label(),
            window_seconds: rule.window_nanos as f64 / 1e9,
            threshold: rule.threshold,
            counts: counts(rule),
            block_threshold: rule.block_ports,
            kinds: rule.kinds.iter().copied().map(Kind::label).collect(),
            hits: rule.counters.hits.iter().sum(),
            open_scans: rule.open_scans.iter().sum(),
            peak: rule.peak_distinct_ports,
            tracked_sources: rule.tracked_sources,
            tracked_sources_limit: rule.tracked_sources_limit,
            saturated_sources: rule.saturated_sources,
            evicted_sources: rule.counters.evicted.iter().sum(),
        }
    }
}

/// The word for a state.
pub(super) const fn word(state: CaptureState) -> &'static str {
    match state {
        CaptureState::Ready => "capturing",
        CaptureState::Starting => "starting",
        CaptureState::Down => "not capturing",
        CaptureState::Stalled => "stalled",
        CaptureState::Idle => "idle",
    }
}

/// How each interface fares.
pub(super) fn interfaces(
    states: Vec<(String, CaptureState)>,
    shown: &[Option<Arc<InterfaceSnapshot>>],
) -> Vec<Interface> {
    let one = |((interface, state), shown): ((String, CaptureState), &Option<Arc<InterfaceSnapshot>>)| {
        let shown = shown.as_deref();
        let detection = shown.map(|snapshot| &snapshot.detection);
        let counters = detection.map(|detection| &detection.counters);
        let capture = shown.map(|snapshot| &snapshot.capture);
        let rules: Vec<ByRule> =
            detection.into_iter().flat_map(detect::Snapshot::rules).map(ByRule::of).collect();
        Interface {
            reasons: reasons(state, shown),
            interface,
            state: word(state),
            last_tick: capture.and_then(|capture| capture.last_tick).map(rfc3339),
            received_packets: capture.map_or(0, |capture| capture.received),
            dropped_packets: capture.map_or(0, |capture| capture.dropped),
            interface_dropped_packets: capture.map_or(0, |capture| capture.interface_dropped),
            restarts: capture.map_or(0, |capture| capture.restarts),
            pauses: capture.map_or(0, |capture| capture.pauses),
            packets: shown.map_or(0, |snapshot| snapshot.packets),
            probes: counters.map_or(0, |counters| counters.probes.iter().flatten().sum()),
            hits: rules.iter().map(|rule| rule.hits).sum(),
            open_scans: rules.iter().map(|rule| rule.open_scans).sum(),
            tracked_sources: detection.map_or(0, |detection| detection.tracked_sources),
            tracked_sources_limit: detection.map_or(0, |detection| detection.tracked_sources_limit),
            saturated_sources: detection.map_or(0, |detection| detection.saturated_sources),
            published_sources: detection.map_or(0, |detection| detection.sources.len()),
            suppressed_sources: detection.map_or(0, |detection| detection.suppressed_sources),
            evicted_sources: counters.map_or(0, |counters| counters.evicted.iter().sum()),
            events_lost: shown.map_or(0, |snapshot| snapshot.events_lost),
            rules,
        }
    };
    // A place that waits for an interface is none.
    let there = states.into_iter().zip(shown).filter(|((_, state), _)| *state != CaptureState::Idle);
    there.map(one).collect()
}

/// Why an interface does not see all that it should, in sentences.
fn reasons(state: CaptureState, shown: Option<&InterfaceSnapshot>) -> Vec<String> {
    let mut reasons: Vec<String> = match state {
        CaptureState::Ready | CaptureState::Idle => None,
        CaptureState::Starting => Some("it has not published yet"),
        CaptureState::Down => Some("the interface is missing, down or without carrier"),
        CaptureState::Stalled => Some("its thread has not ticked for more than 10 s"),
    }
    .into_iter()
    .map(str::to_owned)
    .collect();
    let Some(InterfaceSnapshot { capture, detection, events_lost, .. }) = shown else { return reasons };
    let lost = capture.dropped + capture.interface_dropped;
    let may_scan = |rule: &detect::Snapshot| {
        rule.counters.evicted[Evicted::Evidence as usize] + rule.counters.evicted[Evicted::Scan as usize]
    };
    let scanning: u64 = detection.rules().map(may_scan).sum();
    let saturated: u64 = detection.rules().map(|rule| rule.saturated_sources).sum();
    for (count, what) in [
        (lost, "frames were lost since the start, and scans may have been in them (--capture.buffer-size)"),
        (scanning, "sources were given up that may have been scanning (--detection.memory)"),
        (saturated, "sources stopped being counted: memory for wide scans is spent"),
        (*events_lost, "records of scans were lost: they came faster than they could be written"),
    ] {
        if count > 0 {
            reasons.push(format!("{count} {what}"));
        }
    }
    reasons
}
