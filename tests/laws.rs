//! The laws of the core, against a slow and obvious oracle, over random traffic. What they say, and how traffic is made of
//! bytes, is `lab::bodies::packets`; the fuzzer runs the same code.

use lab::bodies::packets::Law;
use lab::bodies::packets::traffic::{Case, SECOND, SOME, Step};
use lab::oracle::ignores;
use portscan_exporter::detect::{
    Class, Detector, EventKind, Limits, Networks, Origin, Pair, PairTo, Pairs, Policy, Probe, Rule,
    ScanEvent, Technique,
};
use portscan_exporter::packet::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// Bytes for a policy, limits, seeds and up to some hundred steps.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 30..700)
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: 3000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(300))]

    /// Laws 1, 2, 3, 4 and 6: whatever the seed, the ticks, the batches and the keys; and where blocks are spent.
    #[test]
    fn told_is_the_truth_or_a_lower_bound_that_says_so(bytes in bytes()) {
        Law::Exact.holds_for(&bytes);
    }
}

proptest! {
    #![proptest_config(cases(100))]

    /// Law 3 while others hold none, half, nearly all or all of the table.
    #[test]
    fn exact_however_full_the_table_is_or_the_doubt_is_counted(bytes in bytes()) {
        Law::Filled.holds_for(&bytes);
    }

    /// Laws 1, 4 and 5.
    #[test]
    fn true_with_more_sources_than_places(bytes in bytes()) {
        Law::Crowded.holds_for(&bytes);
    }

    /// Law 6.
    #[test]
    fn the_numbers_fit_whatever_the_shell_says(bytes in bytes()) {
        Law::Shell.holds_for(&bytes);
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
                source: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
                host: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
                // An odd step meets every port once.
                port: (n as u16).wrapping_mul(40_503),
                technique: Technique::Syn,
                tool: Default::default(),
                signature: Default::default(),
                reply: None,
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
    #![proptest_config(cases(100))]

    /// What is ignored is only counted: the rest is told as if it had never been captured.
    #[test]
    fn ignoring_is_the_capture_without_those_packets(bytes in bytes()) {
        let Case { mut policy, limits, seeds, steps, .. } = Case::of(&bytes, SOME);
        let network = |text: &str| text.parse().expect("a network");
        policy.slower = vec![Rule::SWEEP];
        policy.ignored_sources = Networks::new(&[network("198.51.100.1/32"), network("2001:db8:0:1::/65")]);
        policy.ignored_ports = vec![3, 1001];
        policy.ignored_destinations = Networks::new(&[network("192.0.2.4/32")]);
        policy.ignored_pairs = Pairs::new(vec![
            Pair { source: network("198.51.100.0/30"), to: PairTo::Ports(10, 2000) },
            Pair { source: network("2001:db8::/32"), to: PairTo::Hosts(network("192.0.2.1/32")) },
        ]);
        let all = Policy {
            ignored_sources: Networks::default(),
            ignored_ports: vec![],
            ignored_destinations: Networks::default(),
            ignored_pairs: Pairs::default(),
            ..policy.clone()
        };
        let mut ignoring = Detector::new(policy.clone(), limits, seeds[0], Origin::File);
        let mut without = Detector::new(all, limits, seeds[0], Origin::File);
        let (mut told, mut expected) = (Vec::new(), Vec::new());
        let (mut time, mut left_out) = (Timestamp(0), 0);
        for step in steps {
            let (at, probe) = match step {
                Step::Probe(probe) => (probe.time, Some(probe)),
                Step::Wait(at) => (at, None),
                Step::Stepped(_) | Step::Reload(_) => continue,
            };
            // In order: what is late counts as now, and that is not the same without what came before.
            time = time.max(at);
            if let Some(probe) = probe {
                let probe = Probe { time, ..probe };
                ignoring.observe(&[probe], &mut |event| told.push(event));
                if ignores(&policy, &probe) {
                    left_out += 1;
                } else {
                    without.observe(&[probe], &mut |event| expected.push(event));
                }
            }
        }
        ignoring.advance(time, &mut |event| told.push(event));
        without.advance(time, &mut |event| expected.push(event));
        let key = |event: &ScanEvent| (event.scan.source, event.scan.window_nanos, event.scan.id, event.kind.label());
        told.sort_by_key(key);
        expected.sort_by_key(key);
        prop_assert_eq!(told, expected);
        let (mut shown, without) = (ignoring.snapshot(), without.snapshot());
        prop_assert_eq!(shown.counters.ignored.iter().sum::<u64>(), left_out);
        (shown.counters.ignored, shown.counters.probes) = (without.counters.ignored, without.counters.probes);
        prop_assert_eq!(shown, without);
    }
}

proptest! {
    /// Law 9, of classes: what a source asks in one changes no event and no count in another, and its series show the greatest.
    #[test]
    fn classes_do_not_add_up(bytes in bytes()) {
        let Case { policy, limits, seeds, steps, .. } = Case::of(&bytes, SOME);

        let technique = |probe: &Probe| {
            let all = Technique::ALL;
            all[usize::from(probe.port) * 7 % all.len()]
        };
        let limits = Limits { max_sources: 100, ..limits };
        let new = || Detector::new(policy.clone(), limits, seeds[0], Origin::File);
        let (mut all, mut each) = (new(), Class::ALL.map(|_| new()));
        let (mut told, mut alone) = (Vec::new(), Vec::new());
        let mut time = Timestamp(0);
        for step in steps {
            let (at, probe) = match step {
                Step::Probe(probe) => (probe.time, Some(probe)),
                Step::Wait(at) => (at, None),
                Step::Stepped(_) | Step::Reload(_) => continue,
            };
            // In order: what is late counts as now, and that is not the same for one of them.
            time = time.max(at);
            if let Some(probe) = probe {
                let probe = Probe { time, technique: technique(&probe), ..probe };
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
