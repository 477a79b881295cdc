//! Laws 3 and 5 in a table that others fill to nothing, half, 99 of 100, all of it or more: hits and ports are the oracle's, unless
//! somebody was given up; then that is counted, and each hit is true.

use super::traffic::{Case, SECOND, START, Step};
use crate::oracle::Oracle;
use portscan_exporter::detect::{Detector, EventKind, Limits, Origin, Policy, Probe, ScanEvent, Technique};
use portscan_exporter::packet::Timestamp;
use std::net::{IpAddr, Ipv4Addr};

/// How full others make the table, in hundredths of its rows. Not one is 0.003 % of the rows there are by default, as the sources of
/// the case are.
const FILLED: [u32; 4] = [0, 50, 99, 130];

/// So many times the others come again; then the case is over. (There are thousands of them.)
const MOST_ROUNDS: u32 = 12;

pub fn holds(case: &Case) {
    let policy = Policy { ignored_ports: vec![], ..case.policy.clone() };
    let hundredths = FILLED[usize::from(case.choice % 4)];
    let others = Others::of(&policy, case.limits, hundredths);
    let mut detector = Detector::new(policy.clone(), case.limits, case.seeds[0], Origin::File);
    let mut oracle = Oracle::new(policy.clone(), case.limits);
    let mut events = Vec::new();
    let (mut now, mut came, mut rounds) = (START, 0, 0);
    for step in &case.steps {
        match step {
            Step::Probe(probe) => {
                let time = probe.time.nanos();
                if time >= now && time - came > policy.window_nanos / 2 {
                    (came, rounds) = (time, rounds + 1);
                    others.come(&mut detector, probe.time, &mut |event| events.push(event));
                }
                now = now.max(time);
                let before = events.len();
                detector.observe(&[*probe], &mut |event| events.push(event));
                oracle.observe(probe);
                let is_hit = |event: &&ScanEvent| {
                    event.kind == EventKind::Hit && !Others::is_one(event.scan.source_address)
                };
                for event in events[before..].iter().filter(is_hit) {
                    let counted = oracle.counted_exactly(event.scan.source, 1.02);
                    assert!(counted >= policy.threshold as usize, "false hit");
                }
            }
            Step::Wait(time) => {
                now = now.max(time.nanos());
                detector.advance(*time, &mut |event| events.push(event));
                detector.rekey(&mut |event| events.push(event));
                oracle.advance(*time);
            }
            Step::Stepped(_) | Step::Reload(_) => {}
        }
        if rounds == MOST_ROUNDS {
            break;
        }
    }
    let end = case.end().saturating_add(1_000 * SECOND);
    detector.advance(end, &mut |event| events.push(event));
    oracle.advance(end);
    // By the least threshold the others are scanners, too.
    events.retain(|event| !Others::is_one(event.scan.source_address));
    for event in &events {
        let asked = oracle.ports_of(event.scan.source);
        assert!(event.scan.distinct_ports as usize <= asked, "{asked} ports were asked for: {event:?}");
    }
    let counters = detector.snapshot().counters;
    if counters.evicted == [0; 5]
        && counters.cut_short == 0
        && !events.iter().any(|event| event.scan.lower_bound)
    {
        assert_eq!(in_short(&events, oracle.steps), in_short(&oracle.events, oracle.steps));
    } else {
        assert!(hundredths > 99 || counters.evicted == [0; 5], "there was room: {:?}", counters.evicted);
    }
}

/// What is known of a scan that began on probation. That knows when a source asked for which port, by the quantum, but not of which host:
/// the scan's start is as exact, and a step of the clock in between shows.
fn in_short(events: &[ScanEvent], steps: u64) -> Vec<impl Ord + std::fmt::Debug + use<>> {
    let short = |event: &ScanEvent| {
        let scan = &event.scan;
        let times = (steps == 0).then_some((scan.detected, scan.last_probe, scan.ended));
        (scan.source, scan.distinct_ports, event.kind.label(), scan.ports, scan.peak_distinct_ports, times)
    };
    let mut all: Vec<_> = events.iter().map(short).collect();
    all.sort_unstable();
    all
}

/// Sources that keep places in a table.
struct Others {
    count: u32,
    ports: u16,
}

impl Others {
    /// So many hundredths of the rows there are.
    fn of(policy: &Policy, limits: Limits, hundredths: u32) -> Self {
        // Two ports earn a place while one is free.
        let ports = 2;
        if hundredths == 0 {
            return Self { count: 0, ports };
        }
        // As many as there are rows: beyond, the one that comes takes the row of another.
        let mut detector = Detector::new(policy.clone(), limits, 1, Origin::File);
        let three = Self { count: 0, ports: 3 };
        let is_full = |detector: &Detector| detector.snapshot().counters.evicted != [0; 5];
        let mut rows = 0;
        const CHUNK: u32 = 32;
        while !is_full(&detector) {
            (rows..rows + CHUNK).for_each(|n| three.comes(n, &mut detector, Timestamp(START), &mut |_| {}));
            rows += CHUNK;
        }
        let count = (rows - CHUNK) * hundredths / 100;
        // The sources of the case have room beside them, unless they fill all.
        Self { count: if hundredths < 100 { count.min(rows - 3 * CHUNK) } else { count }, ports }
    }

    /// Whether it is one of them.
    fn is_one(address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10)
    }

    /// One of them comes.
    fn comes(&self, n: u32, detector: &mut Detector, time: Timestamp, told: &mut dyn FnMut(ScanEvent)) {
        let source = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
        let host = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let ports = 1..=self.ports;
        let probes: Vec<_> = ports
            .map(|port| Probe {
                time,
                source,
                host,
                port,
                technique: Technique::Syn,
                tool: Default::default(),
                signature: Default::default(),
                reply: None,
            })
            .collect();
        detector.observe(&probes, told);
    }

    /// All of them come, or come again.
    fn come(&self, detector: &mut Detector, time: Timestamp, told: &mut dyn FnMut(ScanEvent)) {
        (0..self.count).for_each(|n| self.comes(n, detector, time, told));
    }
}
