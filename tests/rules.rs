//! Several rules at once: each counts exactly what an oracle counts, and none changes anything of a faster one.

use lab::oracle::Oracle;
use portscan_exporter::detect::{
    Detector, EventKind, Limits, Origin, Policy, Probe, Rule, Scan, ScanEvent, ScanId, Source, Technique,
};
use portscan_exporter::packet::Timestamp;
use proptest::prelude::*;
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
        }
    };
    steps.iter().map(probe).collect()
}

fn limits() -> Limits {
    Limits { memory_bytes: 12 << 20, hold_nanos: 100 * SECOND, ..Limits::default() }
}

/// The first rule has a window of a second or more, the slow one of a minute or more.
fn policy() -> impl Strategy<Value = Policy> {
    (1..4_u64, 2..8_u32, 60..400_u64, 2..30_u32, 1..90_u64, 1..90_u64).prop_map(
        |(window, threshold, slow_window, slow_threshold, quiet, slow_quiet)| Policy {
            window_nanos: window * SECOND,
            threshold,
            quiet_nanos: quiet * SECOND,
            slower: vec![Rule::of_ports(slow_threshold, slow_window * SECOND, slow_quiet * SECOND)],
            ..Policy::default()
        },
    )
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

/// The oracle of the first rule, and one of a slower rule behind it, which gets no probe of a source that has an open scan by the first.
fn oracles(policy: &Policy, probes: &[Probe]) -> [Oracle; 2] {
    let mut first = Oracle::new(Policy { slower: Vec::new(), ..policy.clone() }, limits());
    let Rule { window_nanos, ports, quiet_nanos, .. } = policy.slower[0];
    let slow = Policy {
        window_nanos,
        threshold: ports.expect("it counts ports"),
        quiet_nanos,
        slower: Vec::new(),
        ..policy.clone()
    };
    let mut slow = Oracle::new(slow, limits());
    for probe in probes {
        let source = Source::of(probe.source, 64);
        let hits = |oracle: &Oracle| oracle.events.iter().filter(|e| e.kind == EventKind::Hit).count();
        let before = hits(&first);
        first.observe(probe);
        match first.is_open(source) {
            true if hits(&first) > before => slow.forget(source, probe.time),
            true => {}
            false => slow.observe(probe),
        }
    }
    let end = probes.last().map_or(Timestamp(0), |probe| probe.time).saturating_add(100_000 * SECOND);
    first.advance(end);
    slow.advance(end);
    [first, slow]
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
            window_nanos: window * SECOND,
            ports: is_block.then_some(3),
            peers: Some(hosts),
            quiet_nanos: 60 * SECOND,
        };
        let mut slower = vec![policy.slower[0], sweep];
        slower.sort_by_key(|rule| rule.window_nanos);
        slower[1].window_nanos += 1;
        for slower in [policy.slower.clone(), slower] {
            let policy = Policy { slower, ..policy.clone() };
            let (among, events) = events_of(&policy, &probes);
            prop_assert_eq!(by_window(&events, policy.window_nanos), expected.clone());
            let mut snapshot = among.snapshot();
            snapshot.slower.clear();
            prop_assert_eq!(snapshot, alone.snapshot());
        }
    }

    /// Law 3 for a slower rule, behind the first: what that has found it leaves alone, all else it counts exactly.
    #[test]
    fn a_slower_rule_is_exact(policy in policy(), steps in steps(SECOND, 7)) {
        let probes = probes(&steps);
        let (_, events) = events_of(&policy, &probes);
        let [first, slow] = oracles(&policy, &probes);
        prop_assert_eq!(canonical(by_window(&events, policy.window_nanos)), canonical(first.events));
        prop_assert_eq!(canonical(by_window(&events, policy.slower[0].window_nanos)), canonical(slow.events));
    }
}
