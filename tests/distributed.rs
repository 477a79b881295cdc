//! Scans by many sources of a few ports each: exact against a slow oracle, one finding each, and silent where many ask a host for what it has.

use portscan_exporter::detect::{
    Alerts, Detector, EventKind, Kind, Limits, Name, Names, Networks, Origin, Policy, Probe, Rule, ScanEvent,
    Signature, Source, Technique, Tool,
};
use portscan_exporter::packet::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND;
const QUANTA: u64 = 60;
/// Ports of a host that count at once, at most.
const MOST_PORTS: usize = 192;

fn probe(time: u64, source: IpAddr, host: IpAddr, port: u16, technique: Technique) -> Probe {
    let (tool, signature) = Default::default();
    Probe { time: Timestamp(time), source, host, port, technique, tool, signature, reply: None }
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// The source of this number.
fn source(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(u32::from_be_bytes([198, 18, 0, 0]).wrapping_add(n)))
}

/// What a detector reports, in batches of some size and with ticks now and then.
fn events_of(policy: &Policy, probes: &[Probe], batch: usize, ticks: usize) -> (Detector, Vec<ScanEvent>) {
    let limits = Limits { memory_bytes: 12 << 20, hold_nanos: 100 * SECOND, ..Limits::default() };
    let mut detector = Detector::new(policy.clone(), limits, 1, Origin::Sorted);
    let mut events = Vec::new();
    for (n, batch) in probes.chunks(batch).enumerate() {
        detector.observe(batch, &mut |event| events.push(event));
        if n % ticks == 0 {
            detector.advance(batch[batch.len() - 1].time, &mut |event| events.push(event));
        }
    }
    let end = probes.last().map_or(Timestamp(0), |probe| probe.time);
    detector.advance(end.saturating_add(100_000 * SECOND), &mut |event| events.push(event));
    (detector, events)
}

fn by_many(events: &[ScanEvent]) -> Vec<ScanEvent> {
    events.iter().filter(|event| event.scan.kind == Kind::Distributed).copied().collect()
}

/// What is said of a scan by many: when, why, of whom, how many ports and probes now and in all, how many in one window, since when.
type Said = (u64, &'static str, IpAddr, [u64; 5], BTreeSet<u16>);

/// When a scan began is looked for among so many stretches of a fifteenth of the window.
const STRETCHES: u64 = 16;

/// A host, with every port and who asked first.
#[derive(Default)]
struct Host {
    ports: BTreeMap<u16, (IpAddr, u64)>,
    settled: u64,
    /// The probes that are for new ports or by who owns one, since the scan before: when, in which stretch, and whether the port or its owner is new.
    asked: Vec<(u64, u64, bool)>,
    open: Option<Open>,
}

#[derive(Default)]
struct Open {
    fell: Option<u64>,
    union: BTreeSet<u16>,
    peak: usize,
    tell_at: usize,
    started: u64,
    probes: usize,
    last_probe: u64,
}

/// The rule as it is meant: every port in a map, recounted with each probe.
struct Oracle {
    rule: Rule,
    quantum: u64,
    hosts: BTreeMap<IpAddr, Host>,
    said: Vec<Said>,
}

impl Oracle {
    fn new(rule: Rule) -> Self {
        Self { quantum: rule.window_nanos.div_ceil(QUANTA), rule, hosts: BTreeMap::new(), said: Vec::new() }
    }

    fn is_scan(&self, host: &Host, quantum: u64) -> bool {
        let live: Vec<_> = host.ports.values().filter(|(_, then)| quantum - then <= QUANTA).collect();
        let owners: BTreeSet<IpAddr> = live.iter().map(|(owner, _)| *owner).collect();
        live.len() >= self.rule.ports.expect("it is there") as usize
            && owners.len() >= self.rule.peers.expect("it is there") as usize
    }

    /// Lets time pass for a host, quantum by quantum.
    fn settle(&mut self, address: IpAddr, now: u64) {
        let Some(mut host) = self.hosts.remove(&address) else { return };
        let (from, to) = (host.settled / self.quantum, now / self.quantum);
        if from != to && host.open.as_ref().is_some_and(|open| open.fell.is_none()) {
            let fell = (from..=to.min(from + QUANTA + 1)).find(|&quantum| !self.is_scan(&host, quantum));
            host.open.as_mut().expect("it is there").fell = fell.map(|quantum| quantum * self.quantum);
        }
        let ended = host.open.as_ref().and_then(|open| open.fell).map(|fell| fell + self.rule.quiet_nanos);
        if let Some(ended) = ended.filter(|&ended| ended <= now) {
            let live = host.ports.values().filter(|(_, then)| ended / self.quantum - then <= QUANTA).count();
            let open = host.open.take().expect("it is there");
            let counts = [live, open.probes, open.union.len(), open.peak];
            self.say(ended.max(open.last_probe), "ended", address, counts, open.started, open.union);
            host.asked.clear();
        }
        host.ports.retain(|_, (_, then)| to - *then <= QUANTA);
        host.settled = now;
        self.hosts.insert(address, host);
    }

    fn say(
        &mut self,
        at: u64,
        what: &'static str,
        host: IpAddr,
        counts: [usize; 4],
        started: u64,
        union: BTreeSet<u16>,
    ) {
        let [ports, probes, all, peak] = counts.map(|count| count as u64);
        self.said.push((at, what, host, [ports, probes, all, peak, started], union));
    }

    /// When a scan that is found now began, and its probes since: with the first port or owner that was new within the window or up to a
    /// fifteenth earlier.
    fn beginning(host: &Host, stretch: u64) -> (u64, usize) {
        let is_first = |&(_, then, is_new): &(u64, u64, bool)| is_new && then + STRETCHES > stretch;
        let first = host.asked.iter().position(is_first).expect("what made it a scan was new");
        (host.asked[first].0, host.asked.len() - first)
    }

    fn observe(&mut self, probe: &Probe, of: Source) {
        let now = probe.time.nanos();
        self.settle(probe.host, now);
        let mut host = self.hosts.remove(&probe.host).unwrap_or_default();
        let quantum = now / self.quantum;
        host.settled = now;
        if host.ports.is_empty() && host.open.is_none() {
            host.asked.clear();
        }
        let is_full = host.ports.len() == MOST_PORTS;
        // Whether it is of the scan, and if so whether the port or its owner is new.
        let owned = |who| host.ports.values().filter(|(owner, _)| *owner == who).count();
        let asked = match host.ports.get(&probe.port) {
            Some(&(owner, _)) => {
                // Who has several gives one to who has none.
                let is_taken = owned(owner) > 1 && owned(of.address) == 0;
                let owner = if is_taken { of.address } else { owner };
                host.ports.insert(probe.port, (owner, quantum));
                (owner == of.address).then_some(is_taken)
            }
            None if is_full => Some(false),
            None => {
                host.ports.insert(probe.port, (of.address, quantum));
                Some(true)
            }
        };
        let stretch = quantum * (STRETCHES - 1) / QUANTA;
        match (&mut host.open, asked) {
            (Some(open), Some(_)) => (open.probes, open.last_probe) = (open.probes + 1, now),
            (None, Some(is_new)) => host.asked.push((now, stretch, is_new)),
            (_, None) => {}
        }
        let (ports, is_scan) = (host.ports.len(), self.is_scan(&host, quantum));
        let mut say = None;
        match &mut host.open {
            None if is_scan => {
                let union: BTreeSet<u16> = host.ports.keys().copied().collect();
                let (started, probes) = Self::beginning(&host, stretch);
                let tell_at = union.len() * 10;
                host.open =
                    Some(Open { fell: None, peak: ports, tell_at, union, started, probes, last_probe: now });
                say = Some("hit");
            }
            None => {}
            Some(open) => {
                open.union.insert(probe.port);
                open.peak = open.peak.max(ports);
                if is_scan {
                    open.fell = None;
                }
                if open.union.len() >= open.tell_at {
                    open.tell_at = open.union.len() * 10;
                    say = Some("grown");
                }
            }
        }
        if let (Some(what), Some(open)) = (say, &host.open) {
            let union = open.union.clone();
            let counts = [ports, open.probes, union.len(), open.peak];
            self.say(now, what, probe.host, counts, open.started, union);
        }
        self.hosts.insert(probe.host, host);
    }

    /// A source was found by itself.
    fn forget(&mut self, probe: &Probe, of: Source) {
        self.settle(probe.host, probe.time.nanos());
        if let Some(host) = self.hosts.get_mut(&probe.host) {
            host.ports.retain(|_, (owner, _)| *owner != of.address);
        }
    }
}

/// What a detector said in the same words.
fn said(events: &[ScanEvent]) -> Vec<Said> {
    let mut said: Vec<Said> = by_many(events)
        .iter()
        .map(|ScanEvent { kind, scan }| {
            let at = match kind {
                EventKind::Hit => scan.detected,
                EventKind::Grown => scan.last_probe,
                EventKind::Ended => scan.ended.expect("it is there"),
            };
            let ports = scan.asked.iter().flatten().collect();
            let counts = [
                u64::from(scan.ports),
                scan.probes,
                scan.distinct_ports.into(),
                scan.peak_distinct_ports.into(),
                scan.started.nanos(),
            ];
            (at.nanos(), kind.label(), scan.target.0, counts, ports)
        })
        .collect();
    said.sort();
    said
}

/// A run of probes: of some sources to some ports of a host, at a pace.
#[derive(Debug, Clone)]
struct Run {
    after: u64,
    pace: u64,
    host: u8,
    sources: (u32, u32),
    ports: (u16, u16),
    len: usize,
}

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let after = prop_oneof![4 => 0..SECOND, 2 => 0..30 * SECOND, 1 => 0..600 * SECOND];
    let pace = prop_oneof![4 => 0..SECOND / 10, 2 => 0..SECOND, 1 => 0..5 * SECOND];
    let run = (after, pace, 0..3_u8, (0..40_u32, 1..30_u32), (0..60_u16, 1..60_u16), 1..80_usize);
    let run = run.prop_map(|(after, pace, host, sources, ports, len)| Run {
        after,
        pace,
        host,
        sources,
        ports,
        len,
    });
    prop::collection::vec(run, 1..25)
}

fn probes(runs: &[Run]) -> Vec<Probe> {
    let mut time = START;
    let mut probes = Vec::new();
    for run in runs {
        time += run.after;
        for n in 0..run.len {
            let port = 1 + run.ports.0 + n as u16 % run.ports.1;
            let of = run.sources.0 + n as u32 * 7 % run.sources.1;
            probes.push(probe(time, source(of), v4(192, 0, 2, run.host), port, Technique::Syn));
            time += run.pace;
        }
    }
    probes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// Law 3 for scans by many: exactly what the oracle finds, whatever the batches and ticks, behind a rule about sources that
    /// takes away what it finds.
    #[test]
    fn what_many_do_is_told_exactly(
        runs in runs(),
        (window, ports, sources, quiet) in (10..300_u64, 2..70_u32, 2..25_u32, 1..90_u64),
        threshold in 4..40_u32,
        (batch, ticks) in (1..40_usize, 1..5_usize),
    ) {
        let rule = Rule {
            window_nanos: window * SECOND,
            ports: Some(ports),
            peers: Some(sources),
            quiet_nanos: quiet * SECOND,
            ..Rule::DISTRIBUTED
        };
        let policy = Policy { threshold, distributed: Some(rule), ..Policy::default() };
        let probes = probes(&runs);
        let (alone, alone_events) = events_of(&Policy { distributed: None, ..policy.clone() }, &probes, batch, ticks);
        let (detector, events) = events_of(&policy, &probes, batch, ticks);
        // Law 9: the others say what they say without it.
        let others = |events: &[ScanEvent]| {
            events.iter().filter(|event| event.scan.kind != Kind::Distributed).copied().collect::<Vec<_>>()
        };
        prop_assert_eq!(others(&events), alone_events);
        let mut snapshot = detector.snapshot();
        prop_assert_eq!(snapshot.slower[0].counters.hits[Kind::Distributed as usize] as usize,
            by_many(&events).iter().filter(|event| event.kind == EventKind::Hit).count());
        prop_assert_eq!(snapshot.slower[0].counters.evicted, [0; 5]);
        snapshot.slower.clear();
        prop_assert_eq!(snapshot, alone.snapshot());

        // What the rule about sources does with each probe, one at a time.
        let mut first = Detector::new(Policy { distributed: None, ..policy.clone() }, Limits::default(), 1, Origin::Sorted);
        let mut oracle = Oracle::new(rule);
        for probe in &probes {
            let of = Source::of(probe.source, 64);
            let mut hits = false;
            first.observe(&[*probe], &mut |event| hits |= event.kind == EventKind::Hit);
            let is_open = first.open_scans().iter().any(|scan| scan.source == of);
            match (hits, is_open) {
                (true, _) => oracle.forget(probe, of),
                (false, true) => {}
                (false, false) => oracle.observe(probe, of),
            }
        }
        let end = probes.last().expect("it is there").time.nanos() + 100_000 * SECOND;
        for host in oracle.hosts.keys().copied().collect::<Vec<_>>() {
            oracle.settle(host, end);
        }
        oracle.said.sort();
        prop_assert_eq!(said(&events), oracle.said);
        for ScanEvent { scan, .. } in by_many(&events) {
            prop_assert!(scan.distinct_sources >= 2 && scan.distinct_sources <= 72, "{}", scan.distinct_sources);
            prop_assert_eq!((scan.source, scan.distinct_hosts), (Source::MANY, 1));
            prop_assert!(scan.sample_sources.as_slice().iter().all(|&address| probes.iter().any(|probe| probe.source == address)));
        }
    }
}

/// Who asks, in words, at the exporter's own rules: what is found of all.
fn found(probes: Vec<Probe>) -> Vec<String> {
    found_by(&Policy::standard(), probes)
}

fn found_by(policy: &Policy, mut probes: Vec<Probe>) -> Vec<String> {
    probes.sort_by_key(|probe| probe.time);
    let (_, events) = events_of(policy, &probes, 32, 3);
    let hits = events.iter().filter(|event| event.kind == EventKind::Hit);
    hits.map(|ScanEvent { scan, .. }| {
        let of =
            if scan.source == Source::MANY { scan.target.0.to_string() } else { scan.source.to_string() };
        format!("{} of {of}: {} ports by {}", scan.kind.label(), scan.distinct_ports, scan.distinct_sources)
    })
    .collect()
}

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

/// Numbers that look random and are the same in each run.
fn noise(n: u32) -> u32 {
    let mut x = n.wrapping_mul(0x9e37_79b1) ^ 0x85eb_ca6b;
    x ^= x >> 15;
    x = x.wrapping_mul(0x2c1b_3c6d);
    x ^ x >> 13
}

#[test]
fn a_thousand_ports_by_five_hundred_sources_of_two_each_are_one_scan() {
    let probes = (0..1_000).map(|n| {
        probe(START + u64::from(n) * SECOND / 10, source(n / 2), SERVER, 1 + n as u16, Technique::Syn)
    });
    let probes: Vec<_> = probes.collect();
    assert_eq!(found(probes.clone()), ["distributed of 192.0.2.10: 100 ports by 50"]);
    let (_, events) = events_of(&Policy::standard(), &probes, 32, 3);
    let told: Vec<_> = events
        .iter()
        .map(|ScanEvent { kind, scan }| {
            (kind.label(), scan.distinct_ports, scan.asked.to_string(), scan.lower_bound)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("hit", 100, "1-100".to_owned(), false),
            ("grown", 1_000, "1-1000".into(), true),
            ("ended", 1_000, "1-1000".into(), true)
        ]
    );
    let sources = events[2].scan.distinct_sources;
    assert!((450..=550).contains(&sources), "{sources}");
}

/// A public server has visitors, before a scan and while it is open: when that began, its probes, sources, last probe and tool are its own.
#[test]
fn a_scan_of_a_public_server_is_told_without_its_visitors() {
    const SCAN: u64 = START + 600 * SECOND;
    let mut probes: Vec<_> = (0..60_000_u32)
        .map(|n| {
            let port = if n % 3 == 0 { 80 } else { 443 };
            let of = source(1_000 + noise(n) % 20_000);
            probe(START + u64::from(n) * SECOND / 50, of, SERVER, port, Technique::Syn)
        })
        .collect();
    // Thirty sources ask for five ports each, twice.
    let scan = (0..300_u32).map(|n| Probe {
        tool: Tool::Nmap,
        signature: Signature { window: 1_024, ttl: 50 },
        ..probe(
            SCAN + u64::from(n) * SECOND / 2,
            source(n / 2 % 30),
            SERVER,
            1_000 + (n / 2) as u16,
            Technique::Syn,
        )
    });
    probes.extend(scan);
    probes.sort_by_key(|probe| probe.time);
    let (_, events) = events_of(&Policy::standard(), &probes, 32, 3);
    let told = by_many(&events);
    let told = told.iter().find(|event| event.kind == EventKind::Ended).expect("it ended").scan;
    assert_eq!(told.started, Timestamp(SCAN));
    assert_eq!((told.distinct_ports, told.probes), (152, 300), "with the two that are visited");
    assert_eq!(told.last_probe, Timestamp(SCAN + 299 * SECOND / 2));
    assert!((30..=33).contains(&told.distinct_sources), "{}", told.distinct_sources);
    assert_eq!((told.tool, told.signature.ttl, told.first_target.1), (Tool::Nmap, 50, 1_000));
    assert!(told.sample_sources.as_slice().iter().all(|&of| of < source(30)), "{:?}", told.sample_sources);
}

#[test]
fn sources_of_ipv6_count_by_their_networks() {
    let host = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1));
    let of = |net: u32, n: u32| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net as u16, 0, 0, 0, 0, n as u16));
    let ask = |nets: u32| {
        (0..150).map(move |n| {
            probe(START + u64::from(n) * SECOND, of(n % nets, n), host, 1 + n as u16, Technique::Syn)
        })
    };
    assert_eq!(found(ask(30).collect()), ["distributed of 2001:db8:ffff::1: 100 ports by 30"]);
    assert_eq!(found(ask(10).collect()), [""; 0]);
}

/// Law 7: what a host has is asked for by everybody, and each port has one owner.
#[test]
fn a_busy_public_server_is_silent() {
    let services = [22, 25, 80, 110, 143, 443, 465, 587, 993, 995];
    let visits = (0..100_000).map(|n| {
        let port = services[noise(n) as usize % services.len()];
        probe(
            START + u64::from(n) * SECOND / 100,
            source(noise(n + 7) % 50_000),
            SERVER,
            port,
            Technique::Syn,
        )
    });
    assert_eq!(found(visits.collect()), [""; 0]);
}

/// Clients of many services of one host, each below the threshold: few own all.
#[test]
fn a_few_clients_of_many_services_are_silent() {
    let asks = (0..20_000).map(|n| {
        probe(
            START + u64::from(n) * SECOND * 2,
            source(n % 24),
            SERVER,
            8_000 + (noise(n) % 190) as u16,
            Technique::Syn,
        )
    });
    let without = Policy { slower: Vec::new(), ..Policy::standard() };
    assert_eq!(found_by(&without, asks.collect()), [""; 0]);
}

/// The noise of a public address: other sources all the time, each asks for one port of all. It takes more than 33 new ports a minute to be a
/// finding; an address has some five (see the README).
#[test]
fn the_noise_of_a_public_address_is_silent_up_to_thirty_ports_a_minute() {
    let minutes = |a_minute: u64, hours: u64| {
        let probes = (0..hours * 60 * a_minute).map(|n| {
            let at = START + n * 60 * SECOND / a_minute;
            let port = if noise(n as u32).is_multiple_of(3) { 23 } else { noise(n as u32 + 9) as u16 };
            probe(at, source(noise(n as u32 + 5) % 1_000_000), SERVER, port, Technique::Syn)
        });
        found(probes.collect()).len()
    };
    // A third of the noise asks for one port, as it does in truth.
    assert_eq!((minutes(5, 48), minutes(15, 48), minutes(40, 24)), (0, 0, 0));
    assert_eq!(minutes(80, 2), 1);
}

/// The adversary forges a new source with each SYN: to one port that is a flood, which is none of ours; to random ports it is a scan by
/// many, and one finding, however many come.
#[test]
fn a_flood_of_forged_sources_is_one_finding_at_most() {
    let flood = |ports: u32| {
        (0..300_000_u32).map(move |n| {
            let port = 1 + noise(n) % ports;
            probe(START + u64::from(n) * 30_000, source(noise(n + 1)), SERVER, port as u16, Technique::Syn)
        })
    };
    assert_eq!(found(flood(1).collect()), [""; 0]);
    let told = found(flood(60_000).collect());
    assert!(told.len() == 1 && told[0].starts_with("distributed of 192.0.2.10: 100 ports by "), "{told:?}");
}

/// The adversary forges a few sources that ask for each port before the scanners do, and stay below every threshold themselves: so these
/// would be taken for clients of many services. Every source that has no port of its own gets one of theirs.
#[test]
fn forged_sources_that_ask_for_each_port_first_hide_nobody() {
    let ask = |n: u32, of: u32, after: u64| {
        let time = START + u64::from(n) * SECOND + after;
        probe(time, source(of), SERVER, 1_000 + n as u16, Technique::Syn)
    };
    let forged = |n: u32| ask(n, 1_000 + n % 4, 0);
    let scan = |n: u32| ask(n, n % 30, SECOND / 10);
    assert_eq!(found((0..150).map(forged).collect()), [""; 0], "a few clients of many services");
    let both = (0..150).flat_map(|n| [forged(n), scan(n)]).collect();
    assert_eq!(found(both), ["distributed of 192.0.2.10: 100 ports by 34"]);
    // They come back, with the ports that the others got: none of these is lost.
    let again = (0..150).flat_map(|n| {
        let others = (n < 80).then(|| ask(n, 1_000 + (n + 1) % 4, SECOND / 5));
        [forged(n), scan(n), forged(n)].into_iter().chain(others)
    });
    assert_eq!(found(again.collect()), ["distributed of 192.0.2.10: 100 ports by 34"]);
}

/// What anybody adds to a scan that is found hides nothing of it, as long as nobody is found by himself: the sooner it is found.
#[test]
fn more_probes_hide_no_scan() {
    for seed in 0..200_u32 {
        let random = |n: u32, of: u32| noise(n.wrapping_mul(7_919).wrapping_add(seed * 104_729)) % of;
        let scan: Vec<_> = (0..140)
            .map(|n| {
                let at = START + u64::from(n) * SECOND + u64::from(random(n, 1_000_000_000));
                probe(at, source(n % 28), SERVER, 1 + n as u16, Technique::Syn)
            })
            .collect();
        assert_eq!(found(scan.clone()).len(), 1);
        let few = 1 + random(9, 8);
        let mut both = scan;
        both.extend((0..150).map(|n| {
            let at =
                START + u64::from(random(n + 500, 140)) * SECOND + u64::from(random(n + 900, 1_000_000_000));
            probe(at, source(500 + n % few), SERVER, 1 + random(n + 300, 140) as u16, Technique::Syn)
        }));
        let without = Policy { slower: Vec::new(), threshold: 200, ..Policy::standard() };
        let told = found_by(&without, both);
        assert!(told.len() == 1 && told[0].starts_with("distributed of 192.0.2.10"), "{seed}: {told:?}");
    }
}

/// Forty addresses that each ask for all ports, as with the decoys of nmap: each is a scanner, and together they are one finding that names the target.
#[test]
fn decoys_are_one_finding_beside_their_own() {
    let probes = (0..40 * 1_000_u32).map(|n| {
        let port = 1 + n / 40;
        probe(START + u64::from(n) * SECOND / 10_000, source(n % 40), SERVER, port as u16, Technique::Syn)
    });
    let told = found(probes.collect());
    assert_eq!(told.iter().filter(|it| it.starts_with("vertical")).count(), 40);
    assert!(told.iter().filter(|it| it.starts_with("distributed")).count() <= 1, "{told:?}");
}

#[test]
fn only_hosts_that_are_inside_count_where_that_is_known() {
    let asks = |host: IpAddr| {
        (0..300)
            .map(move |n| {
                probe(START + u64::from(n) * SECOND / 10, source(n), host, 1 + n as u16, Technique::Syn)
            })
            .collect::<Vec<_>>()
    };
    let home = Networks::new(&["192.0.2.0/24".parse().expect("it is there")]);
    let policy = Policy { home, ..Policy::standard() };
    assert_eq!(found_by(&policy, asks(SERVER)), ["distributed of 192.0.2.10: 100 ports by 100"]);
    assert_eq!(found_by(&policy, asks(v4(203, 0, 113, 9))), [""; 0]);
}

/// A scan by many has no source to keep its alert quiet by: who is muted takes no part, and without him it must be one.
#[test]
fn who_is_muted_takes_no_part() {
    let scanner = Name::new("scanner").expect("a name");
    let muted = Names::new(vec![("198.18.0.0/26".parse().expect("a network"), scanner)])
        .with_alerts(BTreeMap::from([(scanner, Alerts::Muted)]));
    let policy = Policy { names: muted, ..Policy::standard() };
    let asks = |first: u32, sources: u32| {
        (0..150)
            .map(move |n| {
                let of = source(first + n % sources);
                probe(START + u64::from(n) * SECOND, of, SERVER, 1 + n as u16, Technique::Syn)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(found(asks(0, 30)), ["distributed of 192.0.2.10: 100 ports by 30"]);
    assert_eq!(found_by(&policy, asks(0, 30)), [""; 0]);
    assert_eq!(found_by(&policy, asks(40, 48)), [""; 0], "half of the ports are theirs");
    assert_eq!(found_by(&policy, asks(64, 30)), ["distributed of 192.0.2.10: 100 ports by 30"]);
    // Who is muted by a reload is out of what was counted, and others are not.
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let mut detector = Detector::new(Policy::standard(), limits, 1, Origin::Sorted);
    let mut events = Vec::new();
    detector.observe(&asks(0, 30)[..90], &mut |event| events.push(event.kind));
    detector.reload(policy.clone(), &mut |event| events.push(event.kind));
    detector.observe(&asks(0, 30)[90..], &mut |event| events.push(event.kind));
    assert_eq!(events, []);
    let mut detector = Detector::new(Policy::standard(), limits, 1, Origin::Sorted);
    let asks = [asks(0, 30), asks(64, 30)].map(|asks| asks[..99].to_vec());
    detector.observe(&asks[0], &mut |event| events.push(event.kind));
    detector.reload(policy.clone(), &mut |event| events.push(event.kind));
    detector.observe(&asks[1], &mut |event| events.push(event.kind));
    assert_eq!(events, [], "a port from those and 99 from these");
    let mut detector = Detector::new(Policy::standard(), limits, 1, Origin::Sorted);
    detector.observe(&asks[1], &mut |event| events.push(event.kind));
    detector.reload(policy, &mut |event| events.push(event.kind));
    let last = Probe { port: 1_000, ..asks[1][98] };
    detector.observe(&[last], &mut |event| events.push(event.kind));
    assert_eq!(events, [EventKind::Hit], "of these nothing is forgotten");
}

/// What takes no part is counted: probes of those who are muted, to hosts inside.
#[test]
fn what_the_muted_ask_is_counted() {
    let scanner = Name::new("scanner").expect("a name");
    let names = Names::new(vec![("198.18.0.0/26".parse().expect("a network"), scanner)])
        .with_alerts(BTreeMap::from([(scanner, Alerts::Muted)]));
    let home = Networks::new(&["192.0.2.0/24".parse().expect("it is there")]);
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let counted = |detector: &Detector| {
        let slower = detector.snapshot().slower;
        slower.iter().map(|rule| rule.counters.muted).sum::<u64>()
    };
    let muted = |policy: Policy| {
        let mut detector = Detector::new(policy, limits, 1, Origin::Sorted);
        let asks: Vec<_> = (0..90)
            .map(|n| {
                let host = if n < 80 { SERVER } else { v4(203, 0, 113, 9) };
                probe(START + u64::from(n) * SECOND, source(34 + n % 60), host, 1 + n as u16, Technique::Syn)
            })
            .collect();
        detector.observe(&asks, &mut |event| panic!("{event:?}"));
        counted(&detector)
    };
    let named = Policy { names, ..Policy::standard() };
    // Of sixty sources the first thirty are, each with a port or two.
    assert_eq!(muted(named.clone()), 60);
    assert_eq!(muted(Policy { home: home.clone(), ..named.clone() }), 50);
    assert_eq!(muted(Policy { home, ..Policy::standard() }), 0, "outside is not muted");
    // A scan by itself: what it asks from its hit on counts for no other scan, whoever it is.
    let mut detector = Detector::new(named, limits, 1, Origin::Sorted);
    let scan: Vec<_> =
        (0..90).map(|n| probe(START + n, source(1), SERVER, 1 + n as u16, Technique::Syn)).collect();
    detector.observe(&scan, &mut |_| {});
    assert_eq!(counted(&detector), 19);
}

/// Names of others, of other families, or written otherwise, take nothing of a scan by many over IPv6 away; one that mutes addresses of
/// IPv6 takes all of it.
#[test]
fn a_reload_of_names_forgets_only_who_is_muted_by_it() {
    let name = |text: &str| Name::new(text).expect("a name");
    let policy = |networks: &[(&str, &str)]| {
        let networks =
            networks.iter().map(|(network, of)| (network.parse().expect("a network"), name(of))).collect();
        let names = Names::new(networks).with_alerts(BTreeMap::from([(name("scanner"), Alerts::Muted)]));
        Policy { names, ..Policy::standard() }
    };
    let host = IpAddr::V6("2001:db8::1".parse().expect("an address"));
    let asks: Vec<_> = (0..150_u32)
        .map(|n| {
            let of = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(7 + n % 40) << 80 | 1);
            probe(START + u64::from(n) * SECOND / 10, of.into(), host, 1 + n as u16, Technique::Syn)
        })
        .collect();
    let muted = ("198.18.0.0/24", "scanner");
    for (before, after, is_found) in [
        (&[muted][..], &[muted, ("198.19.0.0/24", "office")][..], true),
        (&[muted], &[("198.18.0.0/25", "scanner"), ("198.18.0.128/25", "scanner")], true),
        (&[muted], &[muted, ("198.18.0.7/32", "scanner")], true),
        (&[muted], &[], true),
        (&[], &[muted], true),
        (&[("2001:db9::/32", "scanner")], &[], true),
        (&[], &[("2001:db9::/32", "scanner")], false),
    ] {
        let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
        let mut detector = Detector::new(policy(before), limits, 1, Origin::Sorted);
        let mut events = Vec::new();
        detector.observe(&asks[..90], &mut |event| events.push(event.kind));
        detector.reload(policy(after), &mut |event| events.push(event.kind));
        detector.observe(&asks[90..], &mut |event| events.push(event.kind));
        assert_eq!(events == [EventKind::Hit], is_found, "{before:?} {after:?}: {events:?}");
    }
}

/// Who took part can be asked for, as long as a port counts for him.
#[test]
fn a_source_knows_the_scans_that_it_takes_part_in() {
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let mut detector = Detector::new(Policy::standard(), limits, 1, Origin::Sorted);
    let asks: Vec<_> = (0..150)
        .map(|n| probe(START + u64::from(n) * SECOND, source(n % 30), SERVER, 1 + n as u16, Technique::Syn))
        .collect();
    let with = |detector: &Detector, n: u32| {
        let by_many = detector.explain(source(n).into()).by_many;
        by_many.iter().map(|(scan, ports)| (scan.target.0, scan.distinct_ports, *ports)).collect::<Vec<_>>()
    };
    detector.observe(&asks[..90], &mut |_| {});
    assert_eq!(with(&detector, 7), [], "it is no scan yet");
    detector.observe(&asks[90..], &mut |_| {});
    assert_eq!(with(&detector, 7), [(SERVER, 150, 5)]);
    assert_eq!(with(&detector, 30), []);
    detector.advance(Timestamp(START + 1_000 * SECOND), &mut |_| {});
    assert_eq!(with(&detector, 7), [], "it has ended");
}

#[test]
fn classes_count_apart() {
    let asks = (0..160).map(|n| {
        let technique = if n % 2 == 0 { Technique::Syn } else { Technique::Fin };
        probe(START + u64::from(n) * SECOND / 10, source(n), SERVER, 1 + n as u16, technique)
    });
    assert_eq!(found(asks.collect()), [""; 0]);
}

/// Law 4 for hosts: an attacker asks ever more of them, and what is given up is counted. A host that many ask for much is not among it.
#[test]
fn hosts_are_bounded_and_those_that_are_asked_for_much_stay() {
    let mut probes = Vec::new();
    for n in 0..400_000_u32 {
        let time = START + u64::from(n) * 100_000;
        let host =
            IpAddr::V4(Ipv4Addr::from_bits(u32::from_be_bytes([10, 0, 0, 0]) | (noise(n) % (1 << 24))));
        probes.push(probe(time, source(noise(n)), host, 1 + (n % 1_000) as u16, Technique::Syn));
        if n % 200 == 0 {
            // Twenty within the first second, and on.
            probes.push(probe(
                time,
                source((1 << 20) | (n / 200)),
                SERVER,
                1 + (n / 200) as u16,
                Technique::Syn,
            ));
        }
    }
    let policy = Policy { slower: Vec::new(), ..Policy::standard() };
    let (detector, events) = events_of(&policy, &probes, 32, 1_000);
    let hosts: BTreeSet<IpAddr> = by_many(&events).iter().map(|event| event.scan.target.0).collect();
    assert_eq!(hosts, BTreeSet::from([SERVER]));
    let shown = &detector.snapshot().slower[0];
    assert_eq!((shown.open_scans, shown.tracked_sources), ([0; Kind::ALL.len()], 0));
    assert!(shown.tracked_sources_limit < 400_000, "{}", shown.tracked_sources_limit);
    assert!(shown.counters.evicted.iter().sum::<u64>() > 300_000, "{:?}", shown.counters.evicted);
}

/// A scan that is open when its rule goes, or when what counts is changed, is reported as ended.
#[test]
fn a_reload_ends_it() {
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let mut detector = Detector::new(Policy::standard(), limits, 1, Origin::Sorted);
    let mut events = Vec::new();
    let ask = |from: u32| {
        (from..from + 150)
            .map(|n| {
                probe(START + u64::from(n) * SECOND / 10, source(n), SERVER, 1 + n as u16, Technique::Syn)
            })
            .collect::<Vec<_>>()
    };
    detector.observe(&ask(0), &mut |event| events.push(event.kind));
    assert_eq!(events, [EventKind::Hit]);
    let ignored_sources = Networks::new(&["203.0.113.0/24".parse().expect("it is there")]);
    detector.reload(Policy { ignored_sources, ..Policy::standard() }, &mut |event| events.push(event.kind));
    assert_eq!(events, [EventKind::Hit, EventKind::Ended]);
    detector.observe(&ask(200), &mut |event| events.push(event.kind));
    assert_eq!(events.len(), 3, "it counts anew");
    let without = Policy { distributed: None, ..Policy::standard() };
    let other = Detector::new(without.clone(), limits, 2, Origin::Sorted);
    detector.resize(other, &mut |event| events.push(event.kind));
    assert_eq!(events[3..], [EventKind::Ended]);
    assert_eq!(detector.open_scans(), []);
    let other = Detector::new(Policy::standard(), limits, 2, Origin::Sorted);
    detector.resize(other, &mut |event| events.push(event.kind));
    detector.observe(&ask(400), &mut |event| events.push(event.kind));
    assert_eq!(events[4..], [EventKind::Hit]);
}
