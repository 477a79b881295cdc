//! Law 5 for the rules behind the first: two hundred sweepers, sweepers of blocks, slow scanners, networks that hop and hosts that many scan,
//! each among forged sources. What a rule cannot keep it gives up and counts, and of a flood that is too much for it, it looks at a share.

#![allow(clippy::print_stdout, reason = "figures are worth reading when they are asked for")]

#[path = "support/page.rs"]
mod page;
#[path = "support/snapshot.rs"]
mod support;

use lab::traffic::{Attack, Flood, SECOND, START, Space};
use portscan_exporter::detect::{
    BATCH, Detector, EventKind, Evicted, Kind, Limits, Origin, Policy, Probe, Rule, ScanEvent, Source,
    Subject,
};
use portscan_exporter::packet::Timestamp;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What each forged source asks for, at once.
#[derive(Debug, Clone, Copy)]
enum Forged {
    /// So many ports of one host.
    Ports(u64),
    /// So many hosts, one port.
    Hosts(u64),
}

const SCANNERS: u64 = 200;

/// Sources that share a scan by many.
const SHARING: u64 = 30;

/// A flood of so many packets over the window of a rule, and among them the scanners.
struct Among {
    rule: Rule,
    forged: Forged,
    packets: u64,
    /// Whether a sweep asks each host for another port.
    is_block: bool,
    /// `--detection.memory`. With all rules of a start the one in question has the share of it that it has there.
    mebibytes: usize,
}

/// Of an IPv6 /48, the so-manyth /64.
fn hop(network: u64, at: u64) -> IpAddr {
    Ipv6Addr::from_bits(u128::from(0x2400_u64 << 32 | network) << 80 | u128::from(at) << 64 | 1).into()
}

/// A host of many, as a gateway sees them.
fn inside(n: u64) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 | (n as u32 & 0x00ff_ffff)).into()
}

/// A host that many scan.
fn target(n: u64) -> IpAddr {
    Ipv4Addr::new(198, 18, 0, n as u8).into()
}

fn host(n: u64) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, (n % 250) as u8).into()
}

impl Among {
    fn forged(&self, n: u64) -> Probe {
        let (Forged::Ports(each) | Forged::Hosts(each)) = self.forged;
        let rate = (self.packets * SECOND / self.rule.window_nanos).max(1);
        let probe = Attack { rate, ..Attack::of(Flood::Burst(each)) }.spoofed(n);
        match (self.rule.subject, self.forged) {
            // A network that begins to hop with each of its ports, and a host that is asked for so many.
            (Subject::Network(_), _) => Probe {
                source: hop(0x4000_0000 | u64::from(lab::traffic::scatter(n / each)), n % each),
                ..probe
            },
            (Subject::Target, _) => {
                Probe { host: inside(u64::from(lab::traffic::scatter(n / each))), ..probe }
            }
            (_, Forged::Ports(_)) => Probe { host: host(n / each), ..probe },
            (_, Forged::Hosts(_)) => Probe { host: host(n), port: 22, ..probe },
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
            let is_sweep = self.rule.counts_peers();
            let (source, host) = match self.rule.subject {
                Subject::Source => (Space::Ipv4.scanner(n, 0), host(if is_sweep { k } else { n })),
                Subject::Network(_) => (hop(n, k), host(n)),
                Subject::Target => (Space::Ipv4.scanner(SHARING * n + k % SHARING, 0), target(n)),
            };
            let port = if is_sweep && !self.is_block { 22 } else { 1_000 + k as u16 };
            Probe { time: Timestamp(at), source, host, port, ..self.forged(0) }
        };
        let mut probes: Vec<_> =
            (0..SCANNERS).flat_map(|n| (0..each).map(move |k| (n, k))).map(|(n, k)| probe(n, k)).collect();
        probes.sort_by_key(|probe| probe.time);
        probes
    }

    /// Whom a finding names.
    fn scanner(&self, n: u64) -> IpAddr {
        match self.rule.subject {
            Subject::Source => Space::Ipv4.scanner(n, 0),
            Subject::Network(prefix) => Source::of(hop(n, 0), prefix).address,
            Subject::Target => target(n),
        }
    }

    /// How many are found, how many others, and how many were given up that may have been scanning.
    fn run(&self) -> (usize, usize, u64) {
        let limits = Limits { memory_bytes: self.mebibytes << 20, ..Limits::default() };
        let mut detector = Detector::new(Policy::standard(), limits, 1, Origin::File);
        let (mut found, mut others) = (BTreeSet::new(), BTreeSet::new());
        let scanners: BTreeSet<_> = (0..SCANNERS).map(|n| self.scanner(n)).collect();
        let mut told = |event: ScanEvent| {
            let is_hit = event.kind == EventKind::Hit && event.scan.window_nanos == self.rule.window_nanos;
            let who = match self.rule.subject {
                Subject::Target => event.scan.target.0,
                Subject::Source | Subject::Network(_) => event.scan.source.address,
            };
            let is_meant = scanners.contains(&who) && (event.scan.kind == Kind::Block) == self.is_block;
            let _ = is_hit && if is_meant { found.insert(who) } else { others.insert(who) };
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
        let series = page::bounded(support::quiet("eth0"), &snapshot);
        assert!(series > 0 || self.rule.subject == Subject::Target, "a scanner has its series");
        let shown = snapshot.slower.iter().find(|shown| shown.window_nanos == self.rule.window_nanos);
        let shown = shown.expect("the rule is there");
        let evicted = shown.counters.evicted;
        let hosts = if self.rule.subject == Subject::Target { evicted[Evicted::Table as usize] } else { 0 };
        let lost = evicted[Evicted::Evidence as usize] + evicted[Evicted::Scan as usize] + hosts;
        (found.len(), others.len(), lost)
    }
}

const FLOODS: [Forged; 5] =
    [Forged::Ports(1), Forged::Ports(2), Forged::Ports(5), Forged::Ports(15), Forged::Hosts(2)];

/// At least so many are found, nobody else is, and who is lost is counted.
fn finds(name: &str, attack: &Among, least: usize) {
    let (found, others, lost) = attack.run();
    let Among { rule, forged, packets, mebibytes, .. } = *attack;
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
            finds(name, &Among { rule, forged, packets, is_block: false, mebibytes: 48 }, least);
        }
    }
}

/// A block is a sweep that asks for many ports.
#[test]
fn sweepers_of_blocks_are_found_or_the_loss_is_counted() {
    for (packets, least) in [(500_000, [200, 200, 200, 200, 200]), (3_000_000, [50, 70, 190, 190, 100])] {
        for (forged, least) in FLOODS.into_iter().zip(least) {
            finds(
                "blocks",
                &Among { rule: Rule::SWEEP, forged, packets, is_block: true, mebibytes: 48 },
                least,
            );
        }
    }
}

/// The flood hops itself: each forged network asks for some ports, each by another /64.
#[test]
fn networks_that_hop_are_found_or_the_loss_is_counted() {
    for (packets, least) in [(500_000, [195, 195, 150, 195]), (3_000_000, [180, 170, 80, 80])] {
        for (forged, least) in FLOODS.into_iter().zip(least) {
            let attack = Among { rule: Rule::HOP, forged, packets, is_block: false, mebibytes: 48 };
            finds("networks", &attack, least);
        }
    }
}

/// What the default memory does not hold, more of it does.
#[test]
fn with_more_memory_networks_that_hop_are_found() {
    for (forged, packets, mebibytes) in [
        (Forged::Ports(5), 500_000, 96),
        (Forged::Ports(1), 3_000_000, 96),
        (Forged::Ports(2), 3_000_000, 96),
        (Forged::Ports(5), 3_000_000, 384),
        (Forged::Ports(15), 3_000_000, 192),
    ] {
        let attack = Among { rule: Rule::HOP, forged, packets, is_block: false, mebibytes };
        finds("networks", &attack, 195);
    }
}

/// Behind a gateway the flood asks ever more hosts: there are places for some hundred, and none shows ports enough to keep one. That the
/// rule is blind then shows by the hosts that it gives up.
#[test]
fn hosts_that_many_scan_are_lost_where_the_flood_asks_for_thousands() {
    for forged in FLOODS {
        let attack =
            Among { rule: Rule::DISTRIBUTED, forged, packets: 300_000, is_block: false, mebibytes: 48 };
        finds("hosts", &attack, 0);
    }
}

/// What the default memory does not hold, more of it does.
#[test]
fn with_more_memory_hosts_that_many_scan_are_found() {
    for (forged, mebibytes, least) in [(Forged::Ports(1), 384, 195), (Forged::Ports(15), 768, 120)] {
        let attack = Among { rule: Rule::DISTRIBUTED, forged, packets: 300_000, is_block: false, mebibytes };
        finds("hosts", &attack, least);
    }
}

/// What the default memory does not hold, more of it does.
#[test]
fn with_more_memory_sweepers_are_found() {
    for (forged, mebibytes) in [(Forged::Ports(1), 192), (Forged::Ports(2), 96), (Forged::Hosts(2), 96)] {
        let attack = Among { rule: Rule::SWEEP, forged, packets: 3_000_000, is_block: false, mebibytes };
        finds("sweepers", &attack, 195);
    }
}
