//! Traffic of an attack, probe by probe: scanners hidden among spoofed sources. No address is drawn twice by chance
//! (two bursts of one address would be one source, and its hit a true one), so addresses are bijections of a counter.

use portscan_exporter::detect::{
    BATCH, Detector, EventKind, Limits, Origin, Policy, Probe, Snapshot, Technique,
};
use portscan_exporter::packet::Timestamp;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const SECOND: u64 = 1_000_000_000;
pub const START: u64 = 1_700_000_000 * SECOND;

/// A small generator with a fixed seed: the finaliser of SplitMix64 over a counter.
#[derive(Debug, Clone)]
pub struct Draw(pub u64);

impl Draw {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}

/// A bijection of the numbers below 2^30: rounds of multiplying by an odd number and folding the high bits down.
pub fn scatter(n: u64) -> u32 {
    const MASK: u64 = (1 << 30) - 1;
    assert!(n <= MASK, "more sources than the bijection has");
    let mut z = n;
    z = z.wrapping_mul(0x2c1b_3c6d) & MASK;
    z ^= z >> 15;
    z = z.wrapping_mul(0x297a_2d39) & MASK;
    z ^= z >> 15;
    z as u32
}

/// Where spoofed sources and scanners come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6: every spoofed source is a /64 of its own; a scanner hops inside its own /64.
    Ipv6,
    /// IPv6: every spoofed packet has a new address in one and the same /64; a scanner hops likewise.
    OneNetwork,
}

impl Space {
    /// The n-th spoofed source.
    pub fn spoofed(self, n: u64) -> IpAddr {
        let bits = scatter(n);
        match self {
            Space::Ipv4 => IpAddr::V4(Ipv4Addr::from_bits(0x4000_0000 | bits)),
            Space::Ipv6 => {
                let network = 0x2001_0db8_u128 << 96 | u128::from(0x4000_0000 | bits) << 64;
                IpAddr::V6(Ipv6Addr::from_bits(network | u128::from(Draw(n).number())))
            }
            Space::OneNetwork => {
                IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | 1 << 95 | u128::from(bits)))
            }
        }
    }

    /// An address of the n-th scanner; `packet` tells where in its network.
    pub fn scanner(self, n: u64, packet: u64) -> IpAddr {
        match self {
            Space::Ipv4 => IpAddr::V4(Ipv4Addr::from_bits(0xc633_6400 + 1 + n as u32)),
            Space::Ipv6 | Space::OneNetwork => {
                let network = 0x2001_0db8_u128 << 96 | u128::from(n + 1) << 64;
                IpAddr::V6(Ipv6Addr::from_bits(network | u128::from(Draw(n << 32 | packet).number())))
            }
        }
    }
}

/// How spoofed sources spend their ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// Each source sends so many distinct ports at once and is never seen again.
    Burst(u64),
    /// Each source spreads so many distinct ports evenly over a window and is then replaced.
    Paced(u64),
}

/// When a scanner sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At even distances.
    Even,
    /// At random moments.
    Random,
    /// As slowly as the rule allows: 20 ports at even distances over 0.99 of a window.
    Slowest,
    /// 19 ports at once, nothing for 0.95 of a window, then 19 others.
    Silent,
}

/// An attack: so many scanners of 25 to 60 ports each over 0.8 of a window, hidden among spoofed sources.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    pub space: Space,
    pub flood: Flood,
    pub pace: Pace,
    /// The window of the rule, in nanoseconds.
    pub window: u64,
    /// Spoofed packets, and how many come in a second of packet time.
    pub packets: u64,
    pub rate: u64,
    pub scanners: u64,
    /// When the scanners begin, after the flood has.
    pub scan_after: u64,
    /// Keys the detector's hash, and so decides by chance who shares a set with whom.
    pub seed: u64,
}

impl Attack {
    /// The attack of the goals: 200 scanners from the first second on, 10 M packets at 1 M/s.
    pub fn of(flood: Flood) -> Self {
        Self {
            space: Space::Ipv4,
            flood,
            pace: Pace::Even,
            window: 10 * SECOND,
            packets: 10_000_000,
            rate: 1_000_000,
            scanners: 200,
            scan_after: SECOND,
            seed: 1,
        }
    }

    /// The n-th spoofed packet.
    pub fn spoofed(&self, n: u64) -> Probe {
        let (source, step) = match self.flood {
            Flood::Burst(ports) => (n / ports, n % ports),
            Flood::Paced(ports) => {
                // As many sources at once as the rate feeds; they are born and die one after another.
                let crowd = self.rate * (self.window / SECOND) / ports;
                let (turn, place) = (n / crowd, n % crowd);
                let step = turn + place * ports / crowd;
                (step / ports * crowd + place, step % ports)
            }
        };
        let first = Draw(source).number();
        Probe {
            time: Timestamp(START + n * SECOND / self.rate),
            source: self.space.spoofed(source),
            host: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
            // Distinct for a source: steps of an odd number.
            port: (first as u16).wrapping_add((step as u16).wrapping_mul(977)),
            technique: Technique::Syn,
            tool: Default::default(),
            signature: Default::default(),
            reply: None,
        }
    }

    /// The rule.
    fn policy(&self) -> Policy {
        Policy { window_nanos: self.window, ..Policy::default() }
    }

    /// Every probe of the scanners, in order of time.
    pub fn scans(&self) -> Vec<Probe> {
        let mut probes = Vec::new();
        let span = self.window * 8 / 10;
        for n in 0..self.scanners {
            let mut draw = Draw(0xace0_0000 + n);
            let ports = match self.pace {
                Pace::Even | Pace::Random => 25 + n * 35 / self.scanners.max(2).saturating_sub(1),
                Pace::Slowest => 20,
                Pace::Silent => 38,
            };
            let phase = draw.below(span / ports);
            let first = draw.number() as u16;
            for k in 0..ports {
                let at = match self.pace {
                    Pace::Even => phase + k * span / ports,
                    Pace::Random => draw.below(span),
                    Pace::Slowest => phase + k * (self.window * 99 / 100) / 19,
                    Pace::Silent => phase + k / 19 * (self.window * 95 / 100),
                };
                probes.push(Probe {
                    time: Timestamp(START + self.scan_after + at),
                    source: self.space.scanner(n, k),
                    host: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
                    port: first.wrapping_add(k as u16 * 31),
                    technique: Technique::Syn,
                    tool: Default::default(),
                    signature: Default::default(),
                    reply: None,
                });
            }
        }
        probes.sort_by_key(|probe| (probe.time, probe.port));
        probes
    }

    /// Runs it against a detector.
    pub fn run(&self, limits: Limits) -> Outcome {
        let mut detector = Detector::new(self.policy(), limits, self.seed, Origin::File);
        let mut found = BTreeSet::new();
        let mut others = BTreeSet::new();
        let scanners: BTreeSet<_> = (0..self.scanners)
            .map(|n| portscan_exporter::detect::Source::of(self.space.scanner(n, 0), 64))
            .collect();
        let mut batch = Vec::with_capacity(BATCH);
        let mut scans = self.scans().into_iter().peekable();
        let mut tick = START;
        let mut sent = 0;
        let mut told = |event: portscan_exporter::detect::ScanEvent| {
            if event.kind == EventKind::Hit {
                if scanners.contains(&event.scan.source) {
                    found.insert(event.scan.source);
                } else {
                    others.insert(event.scan.source);
                }
            }
        };
        for n in 0..self.packets {
            let probe = self.spoofed(n);
            while let Some(scan) = scans.next_if(|scan| scan.time <= probe.time) {
                batch.push(scan);
            }
            batch.push(probe);
            if batch.len() >= BATCH {
                detector.observe(&batch, &mut told);
                sent += batch.len() as u64;
                batch.clear();
                if probe.time.nanos() >= tick {
                    tick += self.window / 10;
                    detector.advance(probe.time, &mut told);
                }
            }
        }
        batch.extend(scans);
        detector.observe(&batch, &mut told);
        sent += batch.len() as u64;
        let snapshot = detector.snapshot();
        Outcome { found: found.len() as u64, others: others.len() as u64, sent, snapshot }
    }
}

/// What came of an attack.
#[derive(Debug)]
pub struct Outcome {
    /// Scanners that were found.
    pub found: u64,
    /// Sources that had a hit and are no scanners.
    pub others: u64,
    /// Probes sent.
    pub sent: u64,
    pub snapshot: Snapshot,
}
