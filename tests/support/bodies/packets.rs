//! The detector under any sequence of packets: exactly the oracle's answers while there is room, and no lie when
//! there is none.

use super::oracle::{Oracle, Published};
use portscan_exporter::detect::{
    BATCH, BURST_BOUNDS, Detector, EventKind, Limits, Origin, Policy, Probe, Scan, ScanEvent, ScanId,
    Snapshot, Source, Technique, Techniques,
};
use portscan_exporter::packet::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SECOND: u64 = 1_000_000_000;

/// Bytes taken from the front; zeros once there are no more.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A span with few bits for many orders of magnitude: up to `most`, of any size below it.
    fn span(&mut self, most: u64) -> u64 {
        let (scale, value) = (self.byte(), self.word());
        ((u128::from(most) * u128::from(value) / 65_535) >> (scale % 40)) as u64
    }
}

enum Step {
    Probe(Probe),
    /// Time passes without a packet, until here.
    Wait(Timestamp),
    /// The shell saw the clock step.
    Stepped(i64),
    Reload(Policy),
}

/// The first byte chooses how; the rest is policy, limits and steps.
pub fn detector(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    match bytes.byte() % 4 {
        0 | 1 => exact(&mut bytes),
        2 => crowded(&mut bytes),
        _ => shell(&mut bytes),
    }
}

fn policy(bytes: &mut Bytes<'_>) -> Policy {
    let window_nanos = match bytes.byte() % 4 {
        0 => 10 * SECOND,
        1 => SECOND,
        _ => SECOND + bytes.span(20 * SECOND),
    };
    let quirks = bytes.byte();
    let threshold = 2 + u32::from(bytes.byte()) % 30;
    // Of any size up to all ports, each order of magnitude as likely.
    let is_any = quirks & 64 != 0;
    Policy {
        window_nanos,
        threshold: if is_any { 2 + bytes.span(65_534) as u32 } else { threshold },
        quiet_nanos: (1 + u64::from(bytes.byte()) % 90) * SECOND,
        ipv6_prefix: [64, 64, 128, 48][usize::from(quirks % 4)],
        techniques: Techniques::DEFAULT,
        ignored_ports: if quirks & 16 == 0 { vec![] } else { vec![443, 7] },
        ignored_sources: if quirks & 32 == 0 {
            vec![]
        } else {
            vec!["198.51.100.0/31".parse().expect("a network")]
        },
        ..Policy::default()
    }
}

fn limits(bytes: &mut Bytes<'_>, window_nanos: u64, memory_bytes: usize) -> Limits {
    Limits {
        memory_bytes,
        max_sources: usize::from(bytes.byte() % 6),
        min_ports: 2 + u32::from(bytes.byte() % 7),
        hold_nanos: window_nanos + u64::from(bytes.byte() % 60) * SECOND,
    }
}

/// Sources: IPv4, and several addresses of few IPv6 networks.
fn source(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    if n % 3 < 2 {
        IpAddr::V4(Ipv4Addr::new(198, 51, 100 + high, low))
    } else {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, n / 6, 0, 0, 0, n))
    }
}

/// Steps out of bytes, of at most `sources` sources and `most` probes: the oracle recounts everything at every one.
fn steps(bytes: &mut Bytes<'_>, policy: &Policy, sources: u16, most: usize, shell: bool) -> Vec<Step> {
    let window = policy.window_nanos;
    let mut time = 1_700_000_000 * SECOND;
    let mut steps = Vec::new();
    // Beyond seven, hosts are estimated.
    let hosts = if sources <= 6 { 6 } else { 255 };
    let mut probes = 0;
    let mut push = |steps: &mut Vec<Step>, time: u64, from: u16, host: u8, port: u16| {
        probes += 1;
        steps.push(Step::Probe(Probe {
            time: Timestamp(time),
            source: source(from % sources),
            host: IpAddr::V4(Ipv4Addr::new(192, 0, 2, host % hosts)),
            port,
            technique: Technique::Syn,
        }));
        probes < most
    };
    let mut room = true;
    while room && !bytes.0.is_empty() {
        match bytes.byte() % 16 {
            // One probe, soon after the one before it.
            0..=4 => {
                time += bytes.span(window);
                let (from, place) = (u16::from(bytes.byte()), bytes.byte());
                room = push(&mut steps, time, from, place >> 5, u16::from(place & 31));
            }
            // Any port, any host, any source.
            5 | 6 => {
                time += bytes.span(window * 2);
                room = push(&mut steps, time, bytes.word(), bytes.byte(), bytes.word());
            }
            // Out of order.
            7 => {
                time -= bytes.span(SECOND);
                let (from, place) = (u16::from(bytes.byte()), bytes.byte());
                room = push(&mut steps, time, from, place >> 5, u16::from(place & 31));
            }
            // The clock steps back, which in a file shows with the next packet.
            8 => {
                time -= bytes.span(1_000 * SECOND);
                room = push(&mut steps, time, u16::from(bytes.byte()), 0, bytes.word());
            }
            // A sweep over ports.
            9 | 10 => {
                let (from, first, ports) = (bytes.byte(), bytes.word(), bytes.byte());
                let (every, host) = (bytes.span(window / 8), bytes.byte());
                // As many as the threshold may need, within about a window.
                let is_wide = policy.threshold > 32;
                let ports = if is_wide { bytes.span(65_535) as u16 } else { ports.into() };
                let every = if is_wide { every / (1 + u64::from(ports) / 8) } else { every };
                for n in 0..=ports {
                    time += every;
                    room = room && push(&mut steps, time, u16::from(from), host & 1, first.wrapping_add(n));
                }
            }
            // A flood of sources with some ports each.
            11 | 12 => {
                let (from, count, ports, every) =
                    (bytes.word(), bytes.byte(), bytes.byte() % 6, bytes.span(window / 16));
                for n in 0..=u16::from(count) {
                    for port in 0..=u16::from(ports) {
                        time += every;
                        room = room && push(&mut steps, time, from.wrapping_add(n), 1, 1000 + port);
                    }
                }
            }
            13 => {
                time += bytes.span(window * 8);
                steps.push(Step::Wait(Timestamp(time)));
            }
            // A long silence.
            14 => {
                time += bytes.span(10 * 24 * 3600 * SECOND);
                room = push(&mut steps, time, u16::from(bytes.byte()), 0, bytes.word());
            }
            _ if shell => {
                let step = match bytes.byte() % 4 {
                    0 => Step::Stepped(bytes.span(i64::MAX as u64) as i64),
                    1 => Step::Stepped(-(bytes.span(i64::MAX as u64) as i64)),
                    2 => Step::Reload(self::policy(bytes)),
                    _ => {
                        time = u64::from_be_bytes(std::array::from_fn(|_| bytes.byte()));
                        time = time.clamp(2_000 * SECOND, u64::MAX - 100_000_000 * SECOND);
                        Step::Wait(Timestamp(time))
                    }
                };
                steps.push(step);
            }
            _ => steps.push(Step::Wait(Timestamp(time))),
        }
        // Bytes cannot walk out of the years that a clock can show.
        time = time.clamp(2_000 * SECOND, u64::MAX - 100_000_000 * SECOND);
    }
    steps
}

/// Laws 1, 2 and 3: counts, peaks, hits and scans equal the oracle's, whatever the seed, the batches and the ticks.
fn exact(bytes: &mut Bytes<'_>) {
    let policy = policy(bytes);
    let is_wide = policy.threshold > 32;
    let limits = limits(bytes, policy.window_nanos, if is_wide { 64 << 20 } else { 1 << 20 });
    let ticks = bytes.word();
    let mut steps = steps(bytes, &policy, 6, if is_wide { 70_000 } else { 160 }, false);
    let latest = steps.iter().map(|step| match step {
        Step::Probe(probe) => probe.time,
        Step::Wait(time) => *time,
        Step::Stepped(_) | Step::Reload(_) => Timestamp(0),
    });
    steps.push(Step::Wait(latest.max().unwrap_or_default().saturating_add(1_000 * SECOND)));

    let mut detector = Detector::new(policy.clone(), limits, 1, Origin::File);
    let mut other = Detector::new(policy.clone(), limits, u64::from(ticks), Origin::File);
    let mut oracle = Oracle::new(policy.clone(), limits);
    let (mut events, mut other_events, mut batch) = (Vec::new(), Vec::new(), Vec::new());
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Probe(probe) => {
                let before = events.len();
                detector.observe(&[*probe], &mut |event| events.push(event));
                oracle.observe(probe);
                batch.push(*probe);
                if ticks >> (n % 16) & 1 == 1 || batch.len() == BATCH {
                    other.observe(&batch, &mut |event| other_events.push(event));
                    batch.clear();
                }
                if ticks >> (n * 7 % 16) & 1 == 1 {
                    other.observe(&batch, &mut |event| other_events.push(event));
                    batch.clear();
                    other.advance(probe.time, &mut |event| other_events.push(event));
                }
                if policy.ignored_ports.contains(&probe.port) || policy.ignores_source(probe.source) {
                    continue;
                }
                let source = Source::of(probe.source, policy.ipv6_prefix);
                let (asked, threshold) = (oracle.probes_of(source), policy.threshold as usize);
                // It looks at every probe there was: of a long history, now and then.
                let looks = asked < 300 || asked.is_multiple_of(997);
                if looks && oracle.counted_exactly(source, 1.0) >= threshold {
                    assert!(oracle.is_open(source), "missed");
                }
                if events[before..].iter().any(|e| e.kind == EventKind::Hit && e.scan.source == source) {
                    assert!(oracle.counted_exactly(source, 1.02) >= threshold, "false hit");
                }
            }
            Step::Wait(time) => {
                detector.advance(*time, &mut |event| events.push(event));
                other.observe(&batch, &mut |event| other_events.push(event));
                batch.clear();
                other.advance(*time, &mut |event| other_events.push(event));
                oracle.advance(*time);
                let snapshot = detector.snapshot();
                assert_eq!(snapshot, other.snapshot(), "another seed, other batches");
                compare(&snapshot, &oracle);
                assert_eq!(
                    detector.open_scans().into_iter().map(nameless).collect::<Vec<_>>(),
                    oracle.open()
                );
            }
            Step::Stepped(_) | Step::Reload(_) => {}
        }
    }
    assert_eq!(canonical(events.clone()), canonical(other_events), "another seed, other batches, more ticks");
    assert_eq!(canonical(events), canonical(oracle.events));
}

fn compare(snapshot: &Snapshot, oracle: &Oracle) {
    let told: Vec<Published> = snapshot
        .sources
        .iter()
        .map(|s| Published {
            source: s.source,
            count: s.distinct_ports,
            peak: s.peak_distinct_ports,
            hosts: 0,
            last_hit: s.last_hit,
            last_probe: s.last_probe,
        })
        .collect();
    assert_eq!(told, oracle.published());
    let mut bursts = [0; BURST_BOUNDS.len() + 1];
    for &peak in &oracle.bursts {
        bursts[BURST_BOUNDS.iter().filter(|&&bound| f64::from(peak) > bound).count()] += 1;
    }
    assert_eq!(snapshot.counters.bursts, bursts);
    assert_eq!(snapshot.counters.clock_steps, oracle.steps);
    assert_eq!(snapshot.counters.probes.map(|probes| probes.iter().sum::<u64>()), oracle.probes);
    assert_eq!((snapshot.counters.evicted, snapshot.saturated_sources), ([0; 5], 0), "there was room");
}

/// Events in an order that does not depend on when they were handed out, without the episode's name.
fn canonical(mut events: Vec<ScanEvent>) -> Vec<ScanEvent> {
    for event in &mut events {
        event.scan = nameless(event.scan);
    }
    let rank =
        |moment| [EventKind::Hit, EventKind::Grown, EventKind::Ended].iter().position(|&m| m == moment);
    events.sort_by_key(|e| {
        (e.scan.source, e.scan.probes, rank(e.kind), e.scan.detected, e.scan.distinct_ports)
    });
    events
}

/// A scan without the episode's name, and without the host that became the busiest first: ties are the detector's business.
fn nameless(scan: Scan) -> Scan {
    Scan { id: ScanId(0), target: scan.first_target, ..scan }
}

/// Laws 1, 4 and 5 with far more sources than places: whoever is evicted, every hit is true, and all the numbers fit.
fn crowded(bytes: &mut Bytes<'_>) {
    let policy = policy(bytes);
    let limits = limits(bytes, policy.window_nanos, 16 << 10);
    let steps = steps(bytes, &policy, 509, 400, false);
    let mut detector = Detector::new(policy.clone(), limits, 1, Origin::File);
    let mut oracle = Oracle::new(policy.clone(), limits);
    let mut events = Vec::new();
    let mut account = Account::default();
    for step in &steps {
        let before = events.len();
        match step {
            Step::Probe(probe) => {
                detector.observe(&[*probe], &mut |event| events.push(event));
                oracle.observe(probe);
                for event in events[before..].iter().filter(|event| event.kind == EventKind::Hit) {
                    assert!(
                        oracle.counted_exactly(event.scan.source, 1.02) >= policy.threshold as usize,
                        "false hit"
                    );
                }
            }
            Step::Wait(time) => {
                detector.advance(*time, &mut |event| events.push(event));
                oracle.advance(*time);
            }
            Step::Stepped(_) | Step::Reload(_) => {}
        }
        for ScanEvent { scan, .. } in &events[before..] {
            let asked = oracle.ports_of(scan.source);
            assert!(scan.distinct_ports as usize <= asked, "{asked} ports were asked for: {scan:?}");
            assert!(scan.busiest_host_ports <= scan.distinct_ports, "{scan:?}");
        }
        events[before..].iter().for_each(|event| account.enter(event));
        if !matches!(step, Step::Probe(_)) {
            account.check(&detector, &limits);
        }
    }
    account.check(&detector, &limits);

    // All at once, by batches: the same.
    let (mut again, mut batch) = (Vec::new(), Vec::new());
    let mut detector = Detector::new(policy, limits, 1, Origin::File);
    for step in &steps {
        match step {
            Step::Probe(probe) => batch.push(*probe),
            Step::Wait(time) => {
                detector.observe(&batch, &mut |event| again.push(event));
                batch.clear();
                detector.advance(*time, &mut |event| again.push(event));
            }
            Step::Stepped(_) | Step::Reload(_) => {}
        }
    }
    detector.observe(&batch, &mut |event| again.push(event));
    assert_eq!(events, again, "in batches");
}

/// Law 6 and reloads: whatever the shell tells of clocks and policies, the numbers fit.
fn shell(bytes: &mut Bytes<'_>) {
    let policy = policy(bytes);
    let limits = limits(bytes, 30 * SECOND, 32 << 10);
    let origin = if bytes.byte() & 1 == 0 { Origin::Live } else { Origin::File };
    let steps = steps(bytes, &policy, 200, 600, true);
    let mut detector = Detector::new(policy, limits, 1, origin);
    let greatest = detector.greatest_threshold();
    let mut account = Account::default();
    for step in steps {
        let mut enter = |event: ScanEvent| account.enter(&event);
        match step {
            Step::Probe(probe) => detector.observe(&[probe], &mut enter),
            Step::Wait(time) => detector.advance(time, &mut enter),
            Step::Stepped(nanos) => detector.clock_stepped(nanos),
            Step::Reload(policy) => {
                let threshold = policy.threshold.min(greatest);
                detector.reload(Policy { threshold, ..policy }, &mut enter);
            }
        }
        account.check(&detector, &limits);
    }
}

/// What the events came to so far.
#[derive(Default)]
struct Account {
    hits: u64,
    ended: u64,
    open: BTreeMap<Source, u32>,
    before: Option<Snapshot>,
}

impl Account {
    fn enter(&mut self, event: &ScanEvent) {
        let scan = &event.scan;
        assert!(scan.probes > 0 && scan.distinct_hosts > 0, "{scan:?}");
        assert!(
            scan.ports <= scan.peak_distinct_ports && scan.peak_distinct_ports <= scan.distinct_ports,
            "{scan:?}"
        );
        match event.kind {
            EventKind::Hit => {
                self.hits += 1;
                assert_eq!(
                    self.open.insert(scan.source, scan.distinct_ports),
                    None,
                    "an open scan is hit again"
                );
            }
            EventKind::Grown => {
                let before = self.open.insert(scan.source, scan.distinct_ports).expect("grown, but not open");
                assert!(scan.distinct_ports >= before * 10, "grown from {before}: {scan:?}");
            }
            EventKind::Ended => {
                self.ended += 1;
                let before = self.open.remove(&scan.source).expect("ended, but not open");
                assert!(scan.ended.is_some() && scan.distinct_ports >= before, "{scan:?}");
            }
        }
    }

    fn check(&mut self, detector: &Detector, limits: &Limits) {
        let snapshot = detector.snapshot();
        let open: BTreeSet<Source> = detector.open_scans().iter().map(|scan| scan.source).collect();
        assert_eq!(open, self.open.keys().copied().collect(), "open scans");
        assert_eq!(snapshot.counters.hits.iter().sum::<u64>(), self.hits);
        assert_eq!(snapshot.open_scans.iter().sum::<u64>(), self.hits - self.ended);
        assert!(snapshot.sources.len() <= limits.max_sources);
        assert!(snapshot.tracked_sources <= snapshot.tracked_sources_limit);
        assert!(snapshot.sources.is_sorted_by(|a, b| a.peak_distinct_ports >= b.peak_distinct_ports));
        assert_eq!(
            snapshot.sources.iter().map(|s| s.source).collect::<BTreeSet<_>>().len(),
            snapshot.sources.len()
        );
        for source in &snapshot.sources {
            assert!(
                source.peak_distinct_ports >= limits.min_ports.min(snapshot.threshold)
                    && source.peak_distinct_ports <= snapshot.peak_distinct_ports,
                "{source:?}"
            );
        }
        if let Some(before) = self.before.replace(snapshot) {
            let now = self.before.as_ref().expect("just put there");
            let grows =
                |before: &[u64], now: &[u64]| before.iter().zip(now).all(|(before, now)| before <= now);
            assert!(grows(&before.counters.hits, &now.counters.hits));
            assert!(
                grows(&before.counters.evicted, &now.counters.evicted)
                    && grows(&before.counters.bursts, &now.counters.bursts)
            );
            assert!(
                grows(&before.counters.ignored, &now.counters.ignored)
                    && before.counters.clock_steps <= now.counters.clock_steps
            );
        }
    }
}
