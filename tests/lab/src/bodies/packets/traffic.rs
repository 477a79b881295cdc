//! Traffic made of bytes: a policy, limits, seeds, then steps.

use portscan_exporter::detect::{
    Limits, Networks, Pair, PairTo, Pairs, Parties, Policy, Prefixes, Probe, Technique, Techniques,
};
use portscan_exporter::packet::Timestamp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const SECOND: u64 = 1_000_000_000;

/// When all traffic begins.
pub const START: u64 = 1_700_000_000 * SECOND;

/// What a law wants of its traffic.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Different sources, at most.
    sources: u16,
    /// Probes, at most, if the threshold is small and if it is not: the oracle recounts at every one.
    probes: [usize; 2],
    /// Sizes of the tables.
    memory_bytes: [usize; 4],
    /// Whether the shell has its say.
    shell: bool,
}

/// Every detail is compared: with one block of each size, and with as many as 4 MiB hold or more.
pub const FEW: Want = Want {
    sources: 6,
    probes: [400, 70_000],
    memory_bytes: [4 << 20, 4 << 10, 16 << 20, 64 << 20],
    shell: false,
};

/// In a table that is full of others.
pub const SOME: Want = Want { sources: 40, probes: [200, 1_000], memory_bytes: [4 << 20; 4], shell: false };

/// More than there are places.
pub const MANY: Want = Want { sources: 509, probes: [400; 2], memory_bytes: [16 << 10; 4], shell: false };

/// The same, and clocks and policies change.
pub const OF_THE_SHELL: Want =
    Want { sources: 200, probes: [600; 2], memory_bytes: [32 << 10; 4], shell: true };

/// All that a law needs to know.
#[derive(Debug, Clone)]
pub struct Case {
    pub policy: Policy,
    pub limits: Limits,
    pub seeds: [u64; 2],
    /// What the law likes to choose by chance.
    pub choice: u16,
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a case has a few hundred steps")]
pub enum Step {
    Probe(Probe),
    /// Time passes without a packet, until here.
    Wait(Timestamp),
    /// The shell saw the clock step.
    Stepped(i64),
    Reload(Policy),
}

impl Case {
    /// The traffic of these bytes.
    pub fn of(bytes: &[u8], want: Want) -> Self {
        let mut bytes = Bytes { rest: bytes, spells_out: false };
        let policy = policy(&mut bytes);
        let limits = limits(&mut bytes, policy.window_nanos, want);
        let choice = bytes.word();
        let seeds = [bytes.seed(), bytes.seed()];
        let mut traffic = Traffic {
            window: policy.window_nanos,
            is_wide: is_wide(&policy),
            want,
            time: START,
            steps: Vec::new(),
            probes: 0,
        };
        while traffic.has_room() && !bytes.rest.is_empty() {
            traffic.add(&mut bytes);
        }
        Self { policy, limits, seeds, choice, steps: traffic.steps }
    }

    /// The latest time of its steps.
    pub fn end(&self) -> Timestamp {
        let times = self.steps.iter().map(|step| match step {
            Step::Probe(probe) => probe.time,
            Step::Wait(time) => *time,
            Step::Stepped(_) | Step::Reload(_) => Timestamp(START),
        });
        times.max().unwrap_or(Timestamp(START))
    }
}

/// Bytes taken from the front; zeros once there are no more.
struct Bytes<'a> {
    rest: &'a [u8],
    /// Spans are written in full: a case that was found once, and must stay as it was.
    spells_out: bool,
}

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn long(&mut self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// What keys a hash.
    fn seed(&mut self) -> u64 {
        let (high, low) = (self.word(), self.word());
        (u64::from(high) << 16 | u64::from(low)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// A span with few bits for many orders of magnitude: up to `most`, of any size below it.
    fn span(&mut self, most: u64) -> u64 {
        if self.spells_out {
            return self.long().min(most);
        }
        let (scale, value) = (self.byte(), self.word());
        ((u128::from(most) * u128::from(value) / 65_535) >> (scale % 40)) as u64
    }
}

/// Whether it takes more probes than a few to reach the threshold.
fn is_wide(policy: &Policy) -> bool {
    policy.threshold > 32
}

fn policy(bytes: &mut Bytes<'_>) -> Policy {
    let kind = bytes.byte();
    bytes.spells_out |= kind == u8::MAX;
    let window_nanos = match kind % 4 {
        0 => 10 * SECOND,
        1 => SECOND,
        _ => SECOND + bytes.span(20 * SECOND),
    };
    let quirks = bytes.byte();
    let threshold = 2 + u32::from(bytes.byte()) % 30;
    // Of any size up to all ports, each order of magnitude as likely.
    let is_any = quirks & 64 != 0;
    let ignored = ["198.51.100.0/31", "192.0.2.4/32", "198.51.100.0/29", "2001:db8::/46", "192.0.2.0/31"]
        .map(|network| network.parse().expect("a network"));
    // Two networks, one in the other, and both begin where others do.
    let prefixes = [("2001:db8::/59", 62), ("2001:db8::/61", 64), ("2001:db8:0:10::/60", 128)]
        .map(|(network, bits)| (network.parse().expect("a network"), bits));
    Policy {
        window_nanos,
        threshold: if is_any { 2 + bytes.span(65_534) as u32 } else { threshold },
        quiet_nanos: (1 + u64::from(bytes.byte()) % 90) * SECOND,
        parties: match quirks % 4 {
            0 => Parties::of(64),
            1 => Parties::new(64, Prefixes::new(prefixes)),
            2 => Parties::of(128),
            _ => Parties::of(48),
        },
        techniques: Techniques::DEFAULT,
        ignored_ports: if quirks & 16 == 0 { vec![] } else { vec![443, 7] },
        ignored_sources: Networks::new(if quirks & 32 == 0 { &[] } else { &ignored[..1] }),
        ignored_destinations: Networks::new(if quirks & 12 == 12 { &ignored[1..2] } else { &[] }),
        ignored_pairs: Pairs::new(if quirks & 12 == 12 {
            vec![
                Pair { source: ignored[2], to: PairTo::Ports(10, 20) },
                Pair { source: ignored[3], to: PairTo::Hosts(ignored[4]) },
            ]
        } else {
            vec![]
        }),
        ..Policy::default()
    }
}

fn limits(bytes: &mut Bytes<'_>, window_nanos: u64, want: Want) -> Limits {
    Limits {
        memory_bytes: want.memory_bytes[usize::from(bytes.byte() % 4)],
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

/// Steps that become more.
struct Traffic {
    window: u64,
    is_wide: bool,
    want: Want,
    time: u64,
    steps: Vec<Step>,
    probes: usize,
}

impl Traffic {
    fn has_room(&self) -> bool {
        self.probes < self.want.probes[usize::from(self.is_wide)]
    }

    fn probe(&mut self, from: u16, host: u8, port: u16) {
        if !self.has_room() {
            return;
        }
        self.probes += 1;
        // Beyond seven, hosts are estimated.
        let hosts = if self.want.sources <= 6 { 6 } else { 255 };
        self.steps.push(Step::Probe(Probe {
            time: Timestamp(self.time),
            source: source(from % self.want.sources),
            host: IpAddr::V4(Ipv4Addr::new(192, 0, 2, host % hosts)),
            port,
            technique: Technique::Syn,
            tool: Default::default(),
            signature: Default::default(),
            reply: None,
        }));
    }

    /// One probe for one of a few ports.
    fn familiar(&mut self, bytes: &mut Bytes<'_>) {
        let (from, place) = (u16::from(bytes.byte()), bytes.byte());
        self.probe(from, place >> 5, u16::from(place & 31));
    }

    fn add(&mut self, bytes: &mut Bytes<'_>) {
        let window = self.window;
        match bytes.byte() % 16 {
            // Soon after the one before it.
            0..=4 => {
                self.time += bytes.span(window);
                self.familiar(bytes);
            }
            // Any port, any host, any source.
            5 | 6 => {
                self.time += bytes.span(window * 2);
                self.probe(bytes.word(), bytes.byte(), bytes.word());
            }
            // Out of order.
            7 => {
                self.time -= bytes.span(SECOND);
                self.familiar(bytes);
            }
            // The clock steps back, which in a file shows with the next packet.
            8 => {
                self.time -= bytes.span(1_000 * SECOND);
                self.probe(u16::from(bytes.byte()), 0, bytes.word());
            }
            9 | 10 => self.sweep(bytes),
            11 => self.flood(bytes),
            12 => self.ends_of_a_window(bytes),
            13 => {
                self.time += bytes.span(window * 8);
                self.steps.push(Step::Wait(Timestamp(self.time)));
            }
            // A long silence.
            14 => {
                self.time += bytes.span(10 * 24 * 3600 * SECOND);
                self.probe(u16::from(bytes.byte()), 0, bytes.word());
            }
            _ if self.want.shell => self.shell(bytes),
            _ => self.steps.push(Step::Wait(Timestamp(self.time))),
        }
        // Bytes cannot walk out of the years that a clock can show.
        self.time = self.time.clamp(2_000 * SECOND, u64::MAX - 100_000_000 * SECOND);
    }

    /// Rising ports of one source, as many as the threshold may need, within about a window.
    fn sweep(&mut self, bytes: &mut Bytes<'_>) {
        let (from, first, ports) = (u16::from(bytes.byte()), bytes.word(), bytes.byte());
        let (every, host) = (bytes.span(self.window / 8), bytes.byte());
        let ports = if self.is_wide { bytes.span(65_535) as u16 } else { ports.into() };
        let every = if self.is_wide { every / (1 + u64::from(ports) / 8) } else { every };
        for n in 0..=ports {
            self.time += every;
            self.probe(from, host & 1, first.wrapping_add(n));
        }
    }

    /// Many sources with some ports each.
    fn flood(&mut self, bytes: &mut Bytes<'_>) {
        let (from, count, ports) = (bytes.word(), bytes.byte(), bytes.byte() % 6);
        let every = bytes.span(self.window / 16);
        for n in 0..=u16::from(count) {
            for port in 0..=u16::from(ports) {
                self.time += every;
                self.probe(from.wrapping_add(n), 1, 1000 + port);
            }
        }
    }

    /// Ports at once, and as many others a window later: a little less, or a little more.
    fn ends_of_a_window(&mut self, bytes: &mut Bytes<'_>) {
        let (from, first, ports) = (u16::from(bytes.byte()), bytes.word(), u16::from(bytes.byte() % 40));
        let (is_late, off) = (bytes.byte() & 1 == 1, bytes.span(self.window / 20));
        let gap = if is_late { self.window + off } else { self.window - off };
        for n in 0..=ports {
            self.time += if n == ports / 2 + 1 { gap } else { 0 };
            self.probe(from, 0, first.wrapping_add(n));
        }
    }

    /// What the shell says.
    fn shell(&mut self, bytes: &mut Bytes<'_>) {
        let step = match bytes.byte() % 4 {
            0 => Step::Stepped(bytes.span(i64::MAX as u64) as i64),
            1 => Step::Stepped(-(bytes.span(i64::MAX as u64) as i64)),
            2 => Step::Reload(policy(bytes)),
            _ => {
                self.time = bytes.long().clamp(2_000 * SECOND, u64::MAX - 100_000_000 * SECOND);
                Step::Wait(Timestamp(self.time))
            }
        };
        self.steps.push(step);
    }
}
