//! Law 5 for the rules behind the first: two hundred sweepers and two hundred slow scanners among forged sources. What a rule cannot keep it
//! gives up and counts, and of a flood that is too much for it, it looks at a share.

#![allow(clippy::print_stdout, reason = "figures are worth reading when they are asked for")]

#[path = "support/page.rs"]
mod page;
#[path = "support/snapshot.rs"]
mod support;

use lab::traffic::{Attack, Flood, SECOND, START, Space};
use portscan_exporter::detect::{
    BATCH, Detector, EventKind, Evicted, Limits, Origin, Policy, Probe, Rule, ScanEvent, Source,
};
use portscan_exporter::packet::Timestamp;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// What each forged source asks for, at once.
#[derive(Debug, Clone, Copy)]
enum Forged {
    /// So many ports of one host.
    Ports(u64),
    /// So many hosts, one port.
    Hosts(u64),
}

const SCANNERS: u64 = 200;

/// A flood of so many packets over the window of a rule, and among them the scanners.
struct Among {
    rule: Rule,
    forged: Forged,
    packets: u64,
    /// The default is 48; the first rule has less than half of it here, which changes nothing for these.
    mebibytes: usize,
}

fn host(n: u64) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, (n % 250) as u8).into()
}

impl Among {
    fn forged(&self, n: u64) -> Probe {
        let (Forged::Ports(each) | Forged::Hosts(each)) = self.forged;
        let rate = (self.packets * SECOND / self.rule.window_nanos).max(1);
        let probe = Attack { rate, ..Attack::of(Flood::Burst(each)) }.spoofed(n);
        match self.forged {
            Forged::Ports(_) => Probe { host: host(n / each), ..probe },
            Forged::Hosts(_) => Probe { host: host(n), port: 22, ..probe },
        }
    }

    /// A fifth more than the rule asks for, evenly over eight tenths of its window.
    fn scans(&self) -> Vec<Probe> {
        let each = u64::from(self.rule.threshold()) * 6 / 5;
        let window = self.rule.window_nanos;
        let probe = |n: u64, k: u64| {
            let at = START
                + window / 10
                + (k * SCANNERS + n * 7 % SCANNERS) * (window * 8 / 10) / (each * SCANNERS);
            let is_sweep = self.rule.peers.is_some();
            Probe {
                time: Timestamp(at),
                source: Space::Ipv4.scanner(n, 0),
                host: host(if is_sweep { k } else { n }),
                port: if is_sweep { 22 } else { 1_000 + k as u16 },
                ..self.forged(0)
            }
        };
        let mut probes: Vec<_> =
            (0..SCANNERS).flat_map(|n| (0..each).map(move |k| (n, k))).map(|(n, k)| probe(n, k)).collect();
        probes.sort_by_key(|probe| probe.time);
        probes
    }

    /// How many are found, how many others, and how many were given up that may have been scanning.
    fn run(&self) -> (usize, usize, u64) {
        let policy = Policy { slower: vec![self.rule], ..Policy::default() };
        // With the rules of a start this one has seven parts of sixteen.
        let limits = Limits { memory_bytes: (self.mebibytes << 20) * 7 / 16, ..Limits::default() };
        let mut detector = Detector::new(policy, limits, 1, Origin::File);
        let (mut found, mut others) = (BTreeSet::new(), BTreeSet::new());
        let scanners: BTreeSet<_> =
            (0..SCANNERS).map(|n| Source::of(Space::Ipv4.scanner(n, 0), 64)).collect();
        let mut told = |event: ScanEvent| {
            let is_hit = event.kind == EventKind::Hit && event.scan.window_nanos == self.rule.window_nanos;
            let source = event.scan.source;
            let _ = is_hit
                && if scanners.contains(&source) { found.insert(source) } else { others.insert(source) };
        };
        let mut scans = self.scans().into_iter().peekable();
        let mut batch = Vec::with_capacity(2 * BATCH);
        let mut tick = START;
        for n in 0..self.packets {
            let probe = self.forged(n);
            while let Some(scan) = scans.next_if(|scan| scan.time <= probe.time) {
                batch.push(scan);
            }
            batch.push(probe);
            if batch.len() >= BATCH {
                detector.observe(&batch, &mut told);
                batch.clear();
                if probe.time.nanos() >= tick {
                    tick += self.rule.window_nanos / 100;
                    detector.advance(probe.time, &mut told);
                }
            }
        }
        batch.extend(scans);
        detector.observe(&batch, &mut told);
        detector.advance(Timestamp(START + self.rule.window_nanos), &mut told);
        let snapshot = detector.snapshot();
        assert!(page::bounded(support::quiet("eth0"), &snapshot) > 0, "a scanner has its series");
        let evicted = snapshot.slower[0].counters.evicted;
        (found.len(), others.len(), evicted[Evicted::Evidence as usize] + evicted[Evicted::Scan as usize])
    }
}

const FLOODS: [Forged; 5] =
    [Forged::Ports(1), Forged::Ports(2), Forged::Ports(5), Forged::Ports(15), Forged::Hosts(2)];

/// At least so many are found, nobody else is, and who is lost is counted.
fn finds(name: &str, attack: &Among, least: usize) {
    let (found, others, lost) = attack.run();
    let Among { rule, forged, packets, mebibytes } = *attack;
    let rate = packets * SECOND / rule.window_nanos;
    println!(
        "{name} among {forged:?} at {rate}/s, {mebibytes} MiB: {found} of {SCANNERS} found, {lost} given up"
    );
    assert_eq!(others, 0, "false hits");
    assert!(found >= least, "{found} found, at least {least} were before");
    assert!(found == SCANNERS as usize || lost > 0, "a scanner was lost and nothing says so");
}

#[test]
fn scanners_are_found_or_the_loss_is_counted() {
    for (rule, name, packets, least) in [
        (Rule::SWEEP, "sweepers", 500_000, [200, 200, 200, 200, 200]),
        (Rule::SWEEP, "sweepers", 3_000_000, [50, 70, 190, 190, 100]),
        (Rule::SLOW, "slow scanners", 3_000_000, [195, 195, 195, 195, 195]),
    ] {
        for (forged, least) in FLOODS.into_iter().zip(least) {
            finds(name, &Among { rule, forged, packets, mebibytes: 48 }, least);
        }
    }
}

/// What the default memory does not hold, more of it does.
#[test]
fn with_more_memory_sweepers_are_found() {
    for (forged, mebibytes) in [(Forged::Ports(1), 192), (Forged::Ports(2), 96), (Forged::Hosts(2), 96)] {
        finds("sweepers", &Among { rule: Rule::SWEEP, forged, packets: 3_000_000, mebibytes }, 195);
    }
}
