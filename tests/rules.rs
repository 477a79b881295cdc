//! Several rules at once: each counts exactly what an oracle counts, and none changes anything of a faster one.

use lab::oracle::Oracle;
use portscan_exporter::detect::{
    self, Detector, EventKind, Kind, Limits, MOST_SLOW_RULES, Networks, Origin, Policy, Probe, Reply, Rule,
    Scan, ScanEvent, ScanId, Source, Subject, Technique,
};
use portscan_exporter::packet::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SECOND: u64 = 1_000_000_000;

/// Probes in order, and how long after each the next comes.
#[derive(Debug, Clone)]
struct Step {
    after: u64,
    source: u8,
    port: u16,
    host: u8,
}

fn source(n: u8) -> IpAddr {
    match n {
        0 | 1 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, n + 1)),
        n => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n))),
    }
}

/// Hosts of two IPv4 networks, or of two IPv6 ones.
fn host(of: IpAddr, n: u8) -> IpAddr {
    match of {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2 + n / 40, n % 40)),
        IpAddr::V6(_) => {
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, u16::from(n / 40), 0, 0, 0, u16::from(n % 40)))
        }
    }
}

/// Mostly fast probes, seldom a pause of any of the windows.
fn steps(pace: u64, hosts: u8) -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![30 => 0..pace, 6 => 0..pace * 20, 1 => 0..pace * 1_000];
    // Runs on rising ports or hosts make counts; the rest is noise.
    let run = (0..4_u8, 0..40_u16, 0..60_u8, 1..30_usize, any::<bool>(), after);
    prop::collection::vec(run, 1..60).prop_map(move |runs| {
        let steps = runs.into_iter().flat_map(|(source, port, host, len, is_sweep, after)| {
            (0..len).map(move |n| Step {
                after: if n == 0 { after } else { after / 30 },
                source,
                port: if is_sweep { port } else { port + n as u16 },
                host: (if is_sweep { host + n as u8 } else { host }) % hosts,
            })
        });
        steps.collect()
    })
}

fn probes(steps: &[Step]) -> Vec<Probe> {
    let mut time = 1_700_000_000 * SECOND;
    let probe = |step: &Step| {
        time += step.after;
        let source = source(step.source);
        Probe {
            time: Timestamp(time),
            source,
            host: host(source, step.host),
            port: step.port,
            technique: Technique::Syn,
            tool: Default::default(),
            signature: Default::default(),
            reply: None,
        }
    };
    steps.iter().map(probe).collect()
}

/// The same, and what some of the hosts answer at once: a third of them answers, a third refuses, or does one after the other.
fn with_replies(probes: &[Probe], which: u8) -> Vec<Probe> {
    let answered = Reply::Answered { sequence: 7, to: 40_000 };
    let answers = |probe: &Probe| match (probe.host, (probe.port + u16::from(which)) % 4) {
        (IpAddr::V4(host), by_port) => match ((host.octets()[3] + which) % 3, by_port) {
            (0, _) => vec![answered],
            (1, 0) => vec![answered, Reply::Refused],
            (1, 1) => vec![Reply::Refused, answered],
            (1, _) => vec![Reply::Refused],
            _ => Vec::new(),
        },
        (IpAddr::V6(host), _) if (host.segments()[7] + u16::from(which)) % 3 == 0 => vec![answered],
        _ => Vec::new(),
    };
    let with = |probe: &Probe| {
        let replies = answers(probe).into_iter().map(|reply| Probe { reply: Some(reply), ..*probe });
        std::iter::once(*probe).chain(replies).collect::<Vec<_>>()
    };
    probes.iter().flat_map(with).collect()
}

fn limits() -> Limits {
    Limits { memory_bytes: 12 << 20, hold_nanos: 100 * SECOND, ..Limits::default() }
}

/// The first rule has a window of a second or more, the slow ones, of which there are up to three, of a minute or more.
fn policy() -> impl Strategy<Value = Policy> {
    let slow = prop::collection::vec((60..400_u64, 2..30_u32, 1..90_u64), 1..=MOST_SLOW_RULES);
    (1..4_u64, 2..8_u32, 1..90_u64, slow).prop_map(|(window, threshold, quiet, slow)| {
        let rule = |(window, ports, quiet)| Rule::of_ports(ports, window * SECOND, quiet * SECOND);
        Policy {
            window_nanos: window * SECOND,
            threshold,
            quiet_nanos: quiet * SECOND,
            slower: told_apart(slow.into_iter().map(rule).collect()),
            ..Policy::default()
        }
    })
}

/// In order, each with a window of its own: it is their label.
fn told_apart(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.sort_by_key(|rule| rule.window_nanos);
    for at in 1..rules.len() {
        rules[at].window_nanos = rules[at].window_nanos.max(rules[at - 1].window_nanos + 1);
    }
    rules
}

/// What a detector reports of these probes, in batches of all sizes.
fn events_of(policy: &Policy, probes: &[Probe]) -> (Detector, Vec<ScanEvent>) {
    let mut detector = Detector::new(policy.clone(), limits(), 1, Origin::Sorted);
    let mut events = Vec::new();
    for (n, batch) in probes.chunks(7).enumerate() {
        detector.observe(batch, &mut |event| events.push(event));
        if n % 3 == 0 {
            detector.advance(batch[batch.len() - 1].time, &mut |event| events.push(event));
        }
    }
    let end = probes.last().map_or(Timestamp(0), |probe| probe.time);
    detector.advance(end.saturating_add(100_000 * SECOND), &mut |event| events.push(event));
    (detector, events)
}

fn by_window(events: &[ScanEvent], window_nanos: u64) -> Vec<ScanEvent> {
    events.iter().filter(|event| event.scan.window_nanos == window_nanos).copied().collect()
}

/// In an order that does not depend on when they were handed out, without names, and without the host that became the busiest
/// first: ties are the detector's business.
fn canonical(events: Vec<ScanEvent>) -> Vec<ScanEvent> {
    let nameless = |scan: Scan| Scan { id: ScanId(0), target: scan.first_target, ..scan };
    let mut events: Vec<_> =
        events.into_iter().map(|event| ScanEvent { scan: nameless(event.scan), ..event }).collect();
    let rank = |kind| [EventKind::Hit, EventKind::Grown, EventKind::Ended].iter().position(|&k| k == kind);
    events.sort_by_key(|e| {
        (e.scan.source, e.scan.detected, e.scan.probes, rank(e.kind), e.scan.distinct_ports)
    });
    events
}

/// The oracle of the first rule, and one of each slower rule behind it, which gets no probe of a source that has an open scan by a faster one.
fn oracles(policy: &Policy, probes: &[Probe]) -> Vec<Oracle> {
    let mut oracles = oracles_of(policy, probes);
    let end = probes.last().map_or(Timestamp(0), |probe| probe.time).saturating_add(100_000 * SECOND);
    oracles.iter_mut().for_each(|oracle| oracle.advance(end));
    oracles
}

/// The same as of the last probe.
fn oracles_of(policy: &Policy, probes: &[Probe]) -> Vec<Oracle> {
    let oracle = |rule: Rule| {
        let Rule { window_nanos, ports, quiet_nanos, .. } = rule;
        let threshold = ports.expect("it counts ports");
        let alone = Policy { window_nanos, threshold, quiet_nanos, slower: Vec::new(), ..policy.clone() };
        Oracle::new(alone, limits())
    };
    let mut oracles: Vec<Oracle> = policy.rules().map(oracle).collect();
    for probe in probes {
        let source = Source::of(probe.source, 64);
        let hits = |oracle: &Oracle| oracle.events.iter().filter(|e| e.kind == EventKind::Hit).count();
        for at in 0..oracles.len() {
            let before = hits(&oracles[at]);
            oracles[at].observe(probe);
            if oracles[at].is_open(source) {
                if hits(&oracles[at]) > before {
                    oracles[at + 1..].iter_mut().for_each(|slower| slower.forget(source, probe.time));
                }
                break;
            }
        }
    }
    oracles
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// Law 9: a slower rule changes no event and no count of a faster one.
    #[test]
    fn a_slower_rule_changes_nothing_of_a_faster_one(
        policy in policy(),
        sweeps in (60..400_u64, 2..30_u32, any::<bool>()),
        steps in steps(SECOND, 80),
    ) {
        let probes = probes(&steps);
        let (alone, expected) = events_of(&Policy { slower: Vec::new(), ..policy.clone() }, &probes);
        let (window, hosts, is_block) = sweeps;
        let sweep = Rule {
            subject: Subject::Source,
            window_nanos: window * SECOND,
            ports: is_block.then_some(3),
            peers: Some(hosts),
            quiet_nanos: 60 * SECOND,
        };
        let slower = told_apart([policy.slower.clone(), vec![sweep]].concat());
        let hop = Rule { window_nanos: (window + 7) * SECOND, ..hop(hosts) };
        let with_hop = told_apart([slower.clone(), vec![hop]].concat());
        for slower in [policy.slower.clone(), slower, with_hop] {
            let policy = Policy { slower, ..policy.clone() };
            let (among, events) = events_of(&policy, &probes);
            prop_assert_eq!(by_window(&events, policy.window_nanos), expected.clone());
            let mut snapshot = among.snapshot();
            snapshot.slower.clear();
            prop_assert_eq!(snapshot, alone.snapshot());
        }
        // Nor does the slowest of the slow ones anything of those before it.
        let before = Policy { slower: policy.slower[..policy.slower.len() - 1].to_vec(), ..policy.clone() };
        let ((fewer, expected), (all, events)) = (events_of(&before, &probes), events_of(&policy, &probes));
        for (rule, (expected_rule, shown)) in before.slower.iter().zip(fewer.snapshot().slower.iter().zip(&all.snapshot().slower)) {
            // Each has less room, with one more.
            let counted = detect::Snapshot { tracked_sources_limit: expected_rule.tracked_sources_limit, ..shown.clone() };
            prop_assert_eq!(&counted, expected_rule);
            prop_assert_eq!(by_window(&events, rule.window_nanos), by_window(&expected, rule.window_nanos));
        }
    }

    /// Laws 2 and 3: for which ports scans ask, by whichever rule, is the same however many ticks came before.
    #[test]
    fn the_ports_of_scans_are_exact_whenever_ticks_come(
        policy in policy(),
        steps in steps(SECOND, 7),
        wait in 0..200_u64,
    ) {
        let probes = probes(&steps);
        let end = probes.last().map_or(Timestamp(0), |probe| probe.time).saturating_add(wait * SECOND);
        let mut oracles = oracles_of(&policy, &probes);
        oracles.iter_mut().for_each(|oracle| oracle.advance(end));
        let mut each = oracles.iter().map(Oracle::port_sources);
        let mut expected = each.next().expect("the first");
        each.for_each(|slow| expected.merge(&slow));
        for ticks in [1, 2, 5, 1_000] {
            let mut detector = Detector::new(policy.clone(), limits(), ticks, Origin::Sorted);
            for batch in probes.chunks(ticks as usize) {
                detector.observe(batch, &mut |_| {});
                detector.advance(batch[batch.len() - 1].time, &mut |_| {});
            }
            detector.advance(end, &mut |_| {});
            prop_assert_eq!(detector.snapshot().port_sources, expected.clone(), "a tick after {} probes", ticks);
        }
    }

    /// Law 3 for slower rules, behind the first: what a faster one has found they leave alone, all else they count exactly. Who is said to
    /// find nothing beside a faster one does not.
    #[test]
    fn a_slower_rule_is_exact(policy in policy(), steps in steps(SECOND, 7)) {
        let probes = probes(&steps);
        let (_, events) = events_of(&policy, &probes);
        let rules: Vec<Rule> = policy.rules().collect();
        for (at, (rule, oracle)) in rules.iter().zip(oracles(&policy, &probes)).enumerate() {
            let told = by_window(&events, rule.window_nanos);
            if rules[..at].iter().any(|faster| rule.is_in_vain_beside(faster)) {
                prop_assert!(told.is_empty(), "{told:?}");
            }
            prop_assert_eq!(canonical(told), canonical(oracle.events));
        }
    }
}

/// What a rule that counts hosts must say, from every probe that there was: whether a probe opens a sweep, of which kind, and with how
/// many hosts.
#[derive(Default)]
struct SweepOracle {
    /// The quantum of the latest probe, by host and by port.
    hosts: BTreeMap<IpAddr, u64>,
    /// What hosts answered that were within the window ever since.
    answers: BTreeMap<IpAddr, BTreeSet<bool>>,
    ports: BTreeMap<u16, u64>,
    /// Since when the count is below the threshold, if a sweep is open.
    open: Option<Option<u64>>,
}

const QUANTA: u64 = 60;

impl SweepOracle {
    fn count<T>(latest: &BTreeMap<T, u64>, quantum: u64) -> u32 {
        latest.values().filter(|&&then| quantum - then <= QUANTA).count() as u32
    }

    /// Lets time pass: the sweep may end.
    fn settle(&mut self, rule: &Rule, now: u64) {
        let quantum_nanos = rule.window_nanos.div_ceil(QUANTA);
        let Some(fell) = &mut self.open else { return };
        if fell.is_none() {
            let latest = self.hosts.values().copied().max().unwrap_or(0);
            let falls =
                (latest..).find(|&q| Self::count(&self.hosts, q) < rule.peers.expect("a rule for hosts"));
            *fell = falls.map(|quantum| quantum * quantum_nanos).filter(|&at| at <= now);
        }
        if fell.is_some_and(|fell| fell + rule.quiet_nanos <= now) {
            self.open = None;
        }
    }

    /// The hosts and the kind, if the probe opens a sweep.
    fn observe(&mut self, policy: &Policy, rule: &Rule, probe: &Probe) -> Option<(u32, Kind)> {
        let home = &policy.home;
        if !home.is_empty() && !home.contains(probe.host) && !home.contains(probe.source) {
            return None;
        }
        let now = probe.time.nanos();
        self.settle(rule, now);
        let quantum = now / rule.window_nanos.div_ceil(QUANTA);
        self.answers.retain(|host, _| quantum - self.hosts[host] <= QUANTA);
        if let Some(reply) = probe.reply {
            if self.hosts.get(&probe.host).is_some_and(|then| quantum - then <= QUANTA) {
                self.answers.entry(probe.host).or_default().insert(reply != Reply::Refused);
            }
            return None;
        }
        self.hosts.insert(probe.host, quantum);
        self.ports.insert(probe.port, quantum);
        let hosts = Self::count(&self.hosts, quantum);
        let least = rule.peers.expect("a rule for hosts");
        if let Some(fell) = &mut self.open {
            if hosts >= least {
                *fell = None;
            }
            return None;
        }
        let network = |host: &IpAddr| match host {
            IpAddr::V4(v4) => u128::from(v4.to_bits() >> 8),
            IpAddr::V6(v6) => v6.to_bits() >> 64,
        };
        let near = self
            .hosts
            .iter()
            .filter(|(host, then)| network(host) == network(&probe.host) && quantum - **then <= QUANTA);
        let speak = match () {
            () if home.is_empty() => near.count() as u32,
            () if home.contains(probe.source) && policy.replies => {
                let did_answer = |(host, then): (&IpAddr, &u64)| match self.answers.get(host) {
                    Some(answers) => Some(answers.contains(&true)),
                    None => (quantum - then > 1).then_some(false),
                };
                let (answered, unanswered): (Vec<bool>, Vec<bool>) =
                    near.filter_map(did_answer).partition(|&answered| answered);
                let most = if unanswered.len() > answered.len() { unanswered.len() } else { 0 };
                (hosts / 10).max(most as u32)
            }
            () if home.contains(probe.source) => hosts / 10,
            () => hosts,
        };
        if speak < least {
            return None;
        }
        self.open = Some(None);
        let is_block = rule.ports.is_some_and(|ports| Self::count(&self.ports, quantum) >= ports);
        Some((hosts, if is_block { Kind::Block } else { Kind::Horizontal }))
    }
}

/// A rule for sources that hop, of so many ports.
fn hop(ports: u32) -> Rule {
    Rule { ports: Some(ports), ..Rule::HOP }
}

/// What such a rule must say of one network, from every probe that there was.
#[derive(Default)]
struct HopOracle {
    /// Of each port the quantum of the latest probe, and the sources that asked for it since it counts.
    ports: BTreeMap<u16, (u64, BTreeSet<Source>)>,
    /// Since when the count is below the threshold, if a scan is open.
    open: Option<Option<u64>>,
}

impl HopOracle {
    fn count(&self, quantum: u64) -> u32 {
        self.ports.values().filter(|(then, _)| quantum - then <= QUANTA).count() as u32
    }

    fn settle(&mut self, rule: &Rule, now: u64) {
        let quantum_nanos = rule.window_nanos.div_ceil(QUANTA);
        let latest = self.ports.values().map(|(then, _)| *then).max().unwrap_or(0);
        let falls = (latest..).find(|&quantum| self.count(quantum) < rule.threshold());
        let Some(fell) = &mut self.open else { return };
        if fell.is_none() {
            *fell = falls.map(|quantum| quantum * quantum_nanos).filter(|&at| at <= now);
        }
        if fell.is_some_and(|fell| fell + rule.quiet_nanos <= now) {
            self.open = None;
            // What comes next tells its own sources apart.
            self.ports.values_mut().for_each(|(_, by)| by.clear());
        }
    }

    /// How many ports, if the probe opens a scan.
    fn observe(&mut self, rule: &Rule, probe: &Probe) -> Option<u32> {
        let now = probe.time.nanos();
        self.settle(rule, now);
        let quantum = now / rule.window_nanos.div_ceil(QUANTA);
        let (then, by) = self.ports.entry(probe.port).or_insert((quantum, BTreeSet::new()));
        if quantum - *then > QUANTA {
            by.clear();
        }
        *then = quantum;
        by.insert(Source::of(probe.source, 64));
        let ports = self.count(quantum);
        let of = |source: &Source| {
            let counts =
                |(then, by): &&(u64, BTreeSet<Source>)| quantum - then <= QUANTA && by.contains(source);
            self.ports.values().filter(counts).count() as u32
        };
        let sources: BTreeSet<Source> = self.ports.values().flat_map(|(_, by)| by.iter().copied()).collect();
        let most = sources.iter().map(of).max().unwrap_or(0);
        if let Some(fell) = &mut self.open {
            if ports >= rule.threshold() {
                *fell = None;
            }
            return None;
        }
        if ports < rule.threshold() || most * 2 > ports {
            return None;
        }
        self.open = Some(None);
        Some(ports)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// Law 3 for a rule about networks: it finds each source that hops at the probe at which its ports are enough, and nothing that one
    /// source of the network does alone.
    #[test]
    fn a_rule_about_networks_is_exact(
        hops in (5..300_u64, 2..30_u32, 1..90_u64),
        steps in steps(SECOND / 2, 7),
    ) {
        let (window, ports, quiet) = hops;
        let rule = Rule { window_nanos: window * SECOND, quiet_nanos: quiet * SECOND, ..hop(ports) };
        let policy =
            Policy { window_nanos: SECOND, threshold: 60_000, slower: vec![rule], ..Policy::default() };
        // Two networks of seven sources each.
        let hopping = |(step, probe): (&Step, Probe)| {
            let source = Ipv6Addr::new(0x2001, 0xdb8, u16::from(step.source % 2), u16::from(step.host), 0, 0, 0, 1);
            Probe { source: source.into(), host: host(source.into(), 0), ..probe }
        };
        let probes: Vec<_> = steps.iter().zip(probes(&steps)).map(hopping).collect();
        let (detector, events) = events_of(&policy, &probes);
        let hits = events.iter().filter(|event| event.kind == EventKind::Hit);
        let told: Vec<_> = hits.map(|e| (e.scan.source, e.scan.detected, e.scan.distinct_ports)).collect();
        let mut networks: BTreeMap<Source, HopOracle> = BTreeMap::new();
        let mut expected = Vec::new();
        for probe in &probes {
            let network = Source::of(probe.source, 48);
            if let Some(ports) = networks.entry(network).or_default().observe(&rule, probe) {
                expected.push((network, probe.time, ports));
            }
        }
        prop_assert_eq!(told, expected);
        prop_assert_eq!(detector.snapshot().slower[0].open_scans.iter().sum::<u64>(), 0);
    }
}

/// So many probes a second apart, each for a port of its own.
fn each_second(ports: std::ops::RangeInclusive<u16>, source: impl Fn(u16) -> Ipv6Addr) -> Vec<Probe> {
    let probe = |port: u16| Probe {
        time: Timestamp((1_700_000_000 + u64::from(port)) * SECOND),
        source: source(port).into(),
        host: host(source(port).into(), 0),
        port,
        technique: Technique::Syn,
        tool: Default::default(),
        signature: Default::default(),
        reply: None,
    };
    ports.map(probe).collect()
}

#[test]
fn who_changes_his_network_with_each_probe_is_one_scanner() {
    let standard = Policy::standard();
    let told = |probes: &[Probe]| {
        let (_, events) = events_of(&standard, probes);
        let hits = events.iter().filter(|event| event.kind == EventKind::Hit);
        hits.map(|e| format!("{} {}", e.scan.source, e.scan.distinct_ports)).collect::<Vec<_>>()
    };
    let of = |a, b, c, d| Ipv6Addr::new(a, b, c, d, 0, 0, 0, 1);
    assert_eq!(told(&each_second(1..=70, |n| of(0x2001, 0xdb8, 7, n))), ["2001:db8:7::/48 60"]);
    assert_eq!(told(&each_second(1..=70, |n| of(0x2001, 0xdb8, 7, 0xab00 + n % 7))), ["2001:db8:7::/48 60"]);
    // One of them alone is a slow scan, and no second one of its network.
    assert_eq!(told(&each_second(1..=70, |_| of(0x2001, 0xdb8, 7, 7))), ["2001:db8:7:7::/64 60"]);
    assert!(told(&each_second(1..=59, |n| of(0x2001, 0xdb8, 7, n))).is_empty());
    // Where something else than a prefix is one party nobody hops: Teredo, NAT64, neighbours; and another site is somebody else.
    assert!(told(&each_second(1..=70, |n| Ipv6Addr::new(0x2001, 0, 1, 2, 0, 0, n, n))).is_empty());
    assert!(told(&each_second(1..=70, |n| Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, n, n))).is_empty());
    assert!(told(&each_second(1..=70, |n| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, n, n))).is_empty());
    assert!(told(&each_second(1..=70, |n| of(0x2001, 0xdb8, n, 7))).is_empty());
    // 6to4: its /48 is a host, and that is the source.
    assert_eq!(told(&each_second(1..=70, |n| of(0x2002, 0xc633, 0x6407, n))), ["2002:c633:6407::/48 60"]);
}

/// Who is inside: nobody knows, the hosts that are asked, or these and two of the sources.
fn home() -> impl Strategy<Value = Networks> {
    let networks = |text: &[&str]| {
        let networks: Vec<_> = text.iter().map(|one| one.parse().expect("a network")).collect();
        Just(Networks::new(&networks))
    };
    prop_oneof![
        2 => Just(Networks::default()),
        1 => networks(&["192.0.2.0/23", "2001:db8:1::/48"]),
        1 => networks(&["192.0.2.0/24", "2001:db8:1:1::/64", "198.51.100.1/32", "2001:db8::/64"]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// Law 3 for a rule that counts hosts: it finds each sweep at the probe at which it is one, and says of which kind, and nothing else.
    #[test]
    fn a_rule_that_counts_hosts_is_exact(
        sweep in (5..300_u64, 2..30_u32, any::<bool>(), 1..90_u64),
        home in home(),
        steps in steps(SECOND / 2, 80),
        replies in prop::option::of(0..9_u8),
    ) {
        let (window, hosts, is_block, quiet) = sweep;
        let rule = Rule {
            subject: Subject::Source,
            window_nanos: window * SECOND,
            ports: is_block.then_some(5),
            peers: Some(hosts),
            quiet_nanos: quiet * SECOND,
        };
        // The first rule finds nothing here, so that all is for the other.
        let policy = Policy {
            window_nanos: SECOND,
            threshold: 60_000,
            slower: vec![rule],
            home,
            replies: replies.is_some(),
            ..Policy::default()
        };
        let probes = probes(&steps);
        let probes = replies.map_or(probes.clone(), |which| with_replies(&probes, which));
        let (detector, events) = events_of(&policy, &probes);
        let hits = events.iter().filter(|event| event.kind == EventKind::Hit);
        let told: Vec<_> =
            hits.map(|e| (e.scan.source, e.scan.detected, e.scan.distinct_hosts, e.scan.kind)).collect();
        let mut sources: BTreeMap<Source, SweepOracle> = BTreeMap::new();
        let mut expected = Vec::new();
        for probe in &probes {
            let source = Source::of(probe.source, 64);
            if let Some((hosts, kind)) = sources.entry(source).or_default().observe(&policy, &rule, probe) {
                expected.push((source, probe.time, hosts, kind));
            }
        }
        // Of more hosts than count at the hit, some of the run may have left the window.
        let told_hosts: Vec<_> = told.iter().zip(&expected).map(|(t, e)| t.2 >= e.2).collect();
        prop_assert!(told_hosts.iter().all(|&at_least| at_least), "{told:?}, and not {expected:?}");
        let without = |of: &[(Source, Timestamp, u32, Kind)]| of.iter().map(|t| (t.0, t.1, t.3)).collect::<Vec<_>>();
        prop_assert_eq!(without(&told), without(&expected));
        let shown = &detector.snapshot().slower[0];
        prop_assert_eq!(shown.counters.hits.iter().sum::<u64>(), expected.len() as u64);
        prop_assert_eq!(shown.open_scans, [0; 4]);
    }
}

/// A probe of somebody inside for the so-manyth host of a network or of the world, a second after the one before.
fn from_inside(n: u32, is_one_network: bool) -> Probe {
    let step = if is_one_network { 1 } else { 0x1_0001 };
    Probe {
        time: Timestamp((1_700_000_000 + u64::from(n)) * SECOND),
        source: Ipv4Addr::new(198, 18, 0, 1).into(),
        host: Ipv4Addr::from_bits(0xcb00_7100_u32.wrapping_add(n * step)).into(),
        port: 443,
        technique: Technique::Syn,
        tool: Default::default(),
        signature: Default::default(),
        reply: None,
    }
}

/// Who is inside asks many hosts by nature; where answers are seen, 25 of a network that give none tell a worm from its client.
#[test]
fn who_is_inside_is_judged_by_the_hosts_that_do_not_answer() {
    let home = Networks::new(&["198.18.0.0/15".parse().expect("a network")]);
    let policy = Policy { home, replies: true, ..Policy::standard() };
    let blind = Policy { replies: false, ..policy.clone() };
    let told = |policy: &Policy, is_one_network: bool, reply: fn(u32) -> Option<Reply>| {
        let ask = |n: u32| {
            let probe = from_inside(n, is_one_network);
            let reply = reply(n).map(|reply| Probe { reply: Some(reply), ..probe });
            std::iter::once(probe).chain(reply)
        };
        let probes: Vec<_> = (0..240).flat_map(ask).collect();
        let (_, events) = events_of(policy, &probes);
        let hits = events.into_iter().filter(|event| event.kind == EventKind::Hit);
        let seconds = |scan: &Scan| scan.detected.nanos() / SECOND - 1_700_000_000;
        hits.map(|e| format!("{:?} after {} s", e.scan.kind, seconds(&e.scan))).collect::<Vec<_>>()
    };
    assert_eq!(told(&policy, true, |_| None), ["Horizontal after 30 s"], "25 had time to answer");
    // One more: the answer of a host comes behind the probe for it.
    assert_eq!(told(&policy, true, |_| Some(Reply::Refused)), ["Horizontal after 25 s"]);
    assert_eq!(told(&blind, true, |_| None), [""; 0], "unseen without answers");
    let all = |_| Some(Reply::Answered { sequence: 1, to: 2 });
    assert_eq!(told(&policy, true, all), [""; 0], "a load balancer");
    let half = |n| if n % 2 == 0 { None } else { Some(Reply::Answered { sequence: 1, to: 2 }) };
    assert_eq!(told(&policy, true, half), [""; 0], "half of whose hosts are gone");
    assert_eq!(told(&policy, false, |_| None), [""; 0], "a client of the world in an outage");
}

/// What hosts answered before somebody said what is inside is not held against who asked them.
#[test]
fn a_reload_that_says_what_is_inside_finds_nobody_by_answers_that_nobody_looked_for() {
    let before = Policy { replies: true, ..Policy::standard() };
    let home = Networks::new(&["198.18.0.0/15".parse().expect("a network")]);
    let after = Policy { home, ..before.clone() };
    for hosts in [8, 24] {
        let mut detector = Detector::new(before.clone(), limits(), 1, Origin::Sorted);
        let mut hits = Vec::new();
        let mut ask = |detector: &mut Detector, n: u32, answers: bool| {
            let probe = from_inside(n, true);
            let reply = Probe { reply: Some(Reply::Answered { sequence: 1, to: 2 }), ..probe };
            let probes = if answers { vec![probe, reply] } else { vec![probe] };
            detector.observe(&probes, &mut |event| hits.push(event.kind == EventKind::Hit));
        };
        (0..hosts).for_each(|n| ask(&mut detector, n, true));
        detector.reload(after.clone(), &mut |_| {});
        // Seventeen that do not answer are too few, also with eight from before; and what answers goes on to count for nothing.
        (hosts..hosts + 60).for_each(|n| ask(&mut detector, n, n >= hosts + 17));
        assert!(!hits.contains(&true), "after {hosts} hosts");
    }
}
