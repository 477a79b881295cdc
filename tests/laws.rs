//! The laws of the core, against a slow and obvious oracle, over random traffic.

mod oracle;

use oracle::{Oracle, Published};
use portscan_exporter::detect::{
    BURST_BOUNDS, Class, Detector, EventKind, Limits, Origin, Policy, Probe, Scan, ScanEvent, ScanId, Source,
    Technique,
};
use portscan_exporter::packet::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SECOND: u64 = 1_000_000_000;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// A probe, so long after (or before) the one before it.
    Probe { after: i64, source: u8, port: u16, host: u8 },
    /// Time passes without a packet.
    Wait { nanos: u64 },
    /// A run of probes of one source on rising ports.
    Sweep { source: u8, first: u16, ports: u32, every: u64 },
}

/// Any accepted threshold; small ones are the most likely, and all sizes of numbers.
fn threshold() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 2..30_u32, 2 => (2..=65_536_u32, 0..12_u32).prop_map(|(n, scale)| (n >> scale).max(2))]
}

fn step(window: u64) -> impl Strategy<Value = Step> {
    let after = prop_oneof![
        30 => 0..(window / 20) as i64,
        4 => 0..(window * 2) as i64,
        1 => 0..(window * 20) as i64,
        2 => -900_000_000_i64..0,
        1 => -(100 * SECOND as i64)..0,
    ];
    let port = prop_oneof![3 => 1..40_u16, 1 => any::<u16>()];
    prop_oneof![
        20 => (after, 0..4_u8, port, 0..6_u8).prop_map(|(after, source, port, host)| Step::Probe {
            after, source, port, host
        }),
        1 => (0..window * 8).prop_map(|nanos| Step::Wait { nanos }),
        2 => (0..4_u8, any::<u16>(), 1..260_u32, 0..window / 12).prop_map(|(source, first, ports, every)| Step::Sweep {
            source, first, ports, every
        }),
        // All within about a window, or half of them.
        1 => (0..4_u8, any::<u16>(), 1..=65_536_u32, 2..12_u32, 0..8_u64).prop_map(move |(source, first, n, scale, pace)| {
            let ports = (n >> scale).max(1);
            Step::Sweep { source, first, ports, every: window * pace / 4 / u64::from(ports) }
        }),
    ]
}

/// Sources: two IPv4 addresses, two addresses of one IPv6 /64.
fn source(n: u8) -> IpAddr {
    match n {
        0 | 1 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, n + 1)),
        n => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n))),
    }
}

fn case() -> impl Strategy<Value = (Policy, Limits, Vec<Step>)> {
    let window = prop_oneof![Just(SECOND), Just(10 * SECOND), SECOND..20 * SECOND];
    (window, threshold(), 1..90_u64, 2..8_u32, 1..40_u64).prop_flat_map(
        |(window, threshold, quiet, min_ports, hold)| {
            let policy = Policy {
                window_nanos: window,
                threshold,
                quiet_nanos: quiet * SECOND,
                ignored_ports: vec![7],
                ..Policy::default()
            };
            let limits = Limits {
                // Blocks for all sources at once: what happens when they are spent is a law of its own.
                memory_bytes: 64 << 20,
                min_ports,
                hold_nanos: window + hold * SECOND,
                max_sources: 3,
            };
            (Just(policy), Just(limits), prop::collection::vec(step(window), 1..120))
        },
    )
}

/// Turns steps into probes and waits with absolute times.
fn unroll(steps: &[Step]) -> Vec<Result<Probe, Timestamp>> {
    let mut time = 1_700_000_000 * SECOND;
    let mut out = Vec::new();
    let probe = |time: u64, from: u8, port: u16, host: u8| {
        Ok(Probe {
            time: Timestamp(time),
            source: source(from),
            host: IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)),
            port,
            technique: Technique::Syn,
        })
    };
    for step in steps {
        match *step {
            Step::Probe { after, source, port, host } => {
                time = time.saturating_add_signed(after);
                out.push(probe(time, source, port, host));
            }
            Step::Wait { nanos } => {
                time += nanos;
                out.push(Err(Timestamp(time)));
            }
            Step::Sweep { source, first, ports, every } => {
                for n in 0..ports {
                    time += every;
                    out.push(probe(time, source, first.wrapping_add(n as u16), 1));
                }
            }
        }
    }
    out
}

/// Laws 3 and 4 with one block of each size for four sources: the first hits are the same, and what is told of a scan is true or a
/// lower bound that says so.
fn blocks_are_spent(policy: &Policy, steps: &[Step]) -> Result<(), TestCaseError> {
    let limits = Limits { memory_bytes: 4 << 10, hold_nanos: 40 * SECOND, ..Limits::default() };
    let mut detector = Detector::new(policy.clone(), limits, 1, Origin::File);
    let mut oracle = Oracle::new(policy.clone(), limits);
    let mut events = Vec::new();
    for step in unroll(steps) {
        match step {
            Ok(probe) => {
                detector.observe(&[probe], &mut |event| events.push(event));
                oracle.observe(&probe);
            }
            Err(time) => {
                detector.advance(time, &mut |event| events.push(event));
                oracle.advance(time);
            }
        }
    }
    let end = Timestamp(u64::MAX / 4);
    detector.advance(end, &mut |event| events.push(event));
    oracle.advance(end);
    let first_hits = |events: &[ScanEvent]| {
        let hits = events.iter().rev().filter(|event| event.kind == EventKind::Hit);
        hits.map(|event| (event.scan.source, (event.scan.detected, event.scan.ports)))
            .collect::<BTreeMap<_, _>>()
    };
    prop_assert_eq!(first_hits(&events), first_hits(&oracle.events));
    let key = |event: &ScanEvent| {
        let Scan { source, detected, probes, .. } = event.scan;
        (source, detected, probes, event.kind.label())
    };
    let truth: BTreeMap<_, _> =
        canonical(oracle.events).into_iter().map(|event| (key(&event), event.scan)).collect();
    for event in canonical(events) {
        let told = event.scan;
        prop_assert!(
            told.ports <= told.peak_distinct_ports && told.peak_distinct_ports <= told.distinct_ports
        );
        match truth.get(&key(&event)) {
            Some(scan) if told.lower_bound => {
                prop_assert!(told.distinct_ports <= scan.distinct_ports, "{told:?}, and not {scan:?}");
                prop_assert!(
                    told.busiest_host_ports <= scan.busiest_host_ports,
                    "{told:?}, and not {scan:?}"
                );
            }
            Some(scan) => prop_assert_eq!(told, *scan),
            // Scans of which ports were forgotten grow later, and may end a little sooner.
            None => prop_assert!(told.lower_bound, "{told:?}"),
        }
    }
    Ok(())
}

/// Events in an order that does not depend on when they were handed out, without the episode's name.
fn canonical(mut events: Vec<ScanEvent>) -> Vec<ScanEvent> {
    for event in &mut events {
        event.scan = nameless(event.scan);
    }
    let rank = |moment| match moment {
        EventKind::Hit => 0,
        EventKind::Grown => 1,
        EventKind::Ended => 2,
    };
    events.sort_by_key(|e| {
        (e.scan.source, e.scan.probes, rank(e.kind), e.scan.detected, e.scan.distinct_ports)
    });
    events
}

/// A scan without the episode's name, and without the host that became the busiest first: ties are the detector's business.
fn nameless(scan: Scan) -> Scan {
    Scan { id: ScanId(0), target: scan.first_target, ..scan }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 3000, ..ProptestConfig::default() })]

    /// Law 3: counts, peaks, hits and scans equal the oracle's, at every wait.
    #[test]
    fn exact((policy, limits, steps) in case()) {
        let mut detector = Detector::new(policy.clone(), limits, 1, Origin::File);
        let mut oracle = Oracle::new(policy.clone(), limits);
        let mut events = Vec::new();
        let mut last = Timestamp(0);
        for step in unroll(&steps).into_iter().chain([Err(Timestamp(0))]) {
            match step {
                Ok(probe) => {
                    last = probe.time;
                    let before = events.len();
                    detector.observe(&[probe], &mut |event| events.push(event));
                    oracle.observe(&probe);
                    if probe.port == 7 { continue; }
                    // The definition itself, without quanta: nothing missed within a window, nothing told beyond 1.02.
                    let source = Source::of(probe.source, 64);
                    let (asked, threshold) = (oracle.probes_of(source), policy.threshold as usize);
                    // It looks at every probe there was: of a long history, now and then.
                    let looks = asked < 600 || asked.is_multiple_of(997);
                    if looks && oracle.counted_exactly(source, 1.0) >= threshold {
                        prop_assert!(oracle.is_open(source), "missed");
                    }
                    if events[before..].iter().any(|e| e.kind == EventKind::Hit && e.scan.source == source) {
                        prop_assert!(oracle.counted_exactly(source, 1.02) >= threshold, "false hit");
                    }
                }
                Err(time) => {
                    let time = time.max(last);
                    detector.advance(time, &mut |event| events.push(event));
                    oracle.advance(time);
                    let snapshot = detector.snapshot();
                    let told: Vec<Published> = snapshot.sources.iter().map(|s| Published {
                        source: s.source,
                        count: s.distinct_ports,
                        peak: s.peak_distinct_ports,
                        hosts: 0,
                        last_hit: s.last_hit,
                        last_probe: s.last_probe,
                    }).collect();
                    prop_assert_eq!(told, oracle.published());
                    prop_assert_eq!(detector.open_scans().into_iter().map(nameless).collect::<Vec<_>>(), oracle.open());
                    let mut bursts = [0; BURST_BOUNDS.len() + 1];
                    for &peak in &oracle.bursts {
                        bursts[BURST_BOUNDS.iter().filter(|&&b| f64::from(peak) > b).count()] += 1;
                    }
                    prop_assert_eq!(snapshot.counters.bursts, bursts);
                    prop_assert_eq!(snapshot.counters.clock_steps, oracle.steps);
                    prop_assert_eq!(snapshot.counters.probes.map(|probes| probes.iter().sum::<u64>()), oracle.probes);
                    let hits = events.iter().filter(|e| e.kind == EventKind::Hit).count() as u64;
                    prop_assert_eq!(snapshot.counters.hits[0], hits);
                }
            }
        }
        prop_assert_eq!(canonical(events), canonical(oracle.events));
    }

    #[test]
    fn what_is_told_is_true_or_a_lower_bound_that_says_so((policy, _, steps) in case(), threshold in 2..=128_u32) {
        blocks_are_spent(&Policy { threshold, ..policy }, &steps)?;
    }

    /// Laws 1 and 2: extra ticks, batches of any size and another seed change nothing that is told.
    #[test]
    fn deterministic_and_tick_invariant((policy, limits, steps) in case(), ticks in any::<u64>(), seed in any::<u64>()) {
        let all = unroll(&steps);
        let end = all.iter().map(|s| match s { Ok(p) => p.time, Err(t) => *t }).max().expect("steps");
        let mut plain = Detector::new(policy.clone(), limits, 1, Origin::File);
        let mut busy = Detector::new(policy, limits, seed, Origin::File);
        let (mut told, mut told_busy) = (Vec::new(), Vec::new());
        let mut batch = Vec::new();
        for (n, step) in all.iter().enumerate() {
            let Ok(probe) = step else { continue };
            batch.push(*probe);
            busy.observe(&[*probe], &mut |event| told_busy.push(event));
            if ticks >> (n % 64) & 1 == 1 {
                busy.advance(probe.time, &mut |event| told_busy.push(event));
            }
        }
        plain.observe(&batch, &mut |event| told.push(event));
        let end = end.saturating_add(1000 * SECOND);
        plain.advance(end, &mut |event| told.push(event));
        busy.advance(end, &mut |event| told_busy.push(event));
        let by_time = |events: &mut Vec<ScanEvent>| {
            let rank = |e: &ScanEvent| (e.scan.source, e.scan.id, e.kind != EventKind::Hit, e.kind == EventKind::Ended, e.scan.distinct_ports);
            events.sort_by_key(rank);
        };
        by_time(&mut told);
        by_time(&mut told_busy);
        prop_assert_eq!(told, told_busy);
        prop_assert_eq!(plain.snapshot(), busy.snapshot());
    }
}

/// Law 3 at both ends of the accepted range and around every size in which ports are kept: the hit comes at the probe that
/// reaches the threshold, and all ports are counted.
#[test]
fn any_threshold_hits_at_its_own_port_and_counts_on() {
    for threshold in [
        2, 20, 21, 31, 32, 33, 96, 143, 144, 145, 191, 192, 193, 250, 1_000, 1_487, 1_488, 1_489, 1_984,
        1_985, 20_000, 65_535, 65_536,
    ] {
        let policy = Policy { threshold, ..Policy::default() };
        let mut detector =
            Detector::new(policy, Limits { memory_bytes: 4 << 20, ..Limits::default() }, 1, Origin::File);
        let ports = (threshold * 2).min(65_536);
        let mut events = Vec::new();
        for n in 0..ports {
            let probe = Probe {
                time: Timestamp(1_700_000_000 * SECOND + u64::from(n) * 100_000),
                source: source(0),
                host: source(1),
                // An odd step meets every port once.
                port: (n as u16).wrapping_mul(40_503),
                technique: Technique::Syn,
            };
            let before = events.len();
            detector.observe(&[probe], &mut |event| events.push(event));
            let hit = events[before..].iter().any(|event: &ScanEvent| event.kind == EventKind::Hit);
            assert_eq!(hit, n + 1 == threshold, "threshold {threshold}, port {}", n + 1);
        }
        let scan = detector.open_scans()[0];
        assert_eq!((scan.distinct_ports, scan.peak_distinct_ports), (ports, ports), "threshold {threshold}");
    }
}

proptest! {
    /// Law 9, of classes: what a source asks in one changes no event and no count in another, and its series show the greatest.
    #[test]
    fn classes_do_not_add_up((policy, limits, steps) in case()) {
        let technique = |probe: &Probe| {
            let all = Technique::ALL;
            all[usize::from(probe.port) * 7 % all.len()]
        };
        let limits = Limits { max_sources: 100, ..limits };
        let new = || Detector::new(policy.clone(), limits, 1, Origin::File);
        let (mut all, mut each) = (new(), Class::ALL.map(|_| new()));
        let (mut told, mut alone) = (Vec::new(), Vec::new());
        let mut time = Timestamp(0);
        for step in unroll(&steps) {
            // In order: what is late counts as now, and that is not the same for one of them.
            time = time.max(step.map_or_else(|time| time, |probe| probe.time));
            let probe = step.ok().map(|probe| Probe { time, technique: technique(&probe), ..probe });
            if let Some(probe) = probe {
                all.observe(&[probe], &mut |event| told.push(event));
                each[probe.technique.class() as usize].observe(&[probe], &mut |event| alone.push(event));
            }
            all.advance(time, &mut |event| told.push(event));
            for one in &mut each {
                one.advance(time, &mut |event| alone.push(event));
            }
        }
        let key = |event: &ScanEvent| {
            (event.scan.source, event.scan.technique.class(), event.scan.id, event.kind.label())
        };
        told.sort_by_key(key);
        alone.sort_by_key(key);
        prop_assert_eq!(told, alone);
        let shown = |detector: &Detector| detector.snapshot();
        let snapshots = each.each_ref().map(shown);
        for source in &shown(&all).sources {
            let alone = snapshots.iter().flat_map(|alone| &alone.sources);
            let alone: Vec<_> = alone.filter(|other| other.source == source.source).collect();
            let greatest = alone.iter().map(|other| other.peak_distinct_ports).max();
            prop_assert_eq!(Some(source.peak_distinct_ports), greatest);
            prop_assert_eq!(Some(source.last_hit), alone.iter().map(|other| other.last_hit).max());
        }
        let sources = snapshots.iter().flat_map(|alone| &alone.sources);
        let sources: BTreeSet<_> = sources.map(|source| source.source).collect();
        prop_assert_eq!(shown(&all).sources.len(), sources.len(), "each has one series");
        prop_assert_eq!(shown(&all).suppressed_sources, 0);
    }
}
