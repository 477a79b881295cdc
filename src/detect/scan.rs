//! The scan: an episode that a hit opens and quiet closes, and the events that report it.

use crate::detect::majority::Confidence;
use crate::detect::names::Name;
use crate::detect::party::{Parties, Party};
use crate::detect::probe::{Class, Signature, Technique, Tool};
use crate::detect::provenance::Provenance;
use crate::detect::ranges::PortRanges;
use crate::detect::tuning::{SAMPLE_PORTS, SAMPLE_SOURCES};
use crate::packet::Timestamp;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who scans: an IPv4 address, or an IPv6 network (a /64 by default). Ordered IPv4 first, then by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The address, or the first address of the network.
    pub address: IpAddr,
    /// 32 for IPv4; for IPv6 the length of the prefix that is one party.
    pub prefix: u8,
}

impl Source {
    /// Not one source but many: those of a scan that is known by its target. It has no address, so that who takes one from a record
    /// to block it finds none.
    pub const MANY: Source = Source { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };

    /// The source an address counts for, where an IPv6 network of so many bits is one party, but for the exceptions of the standards.
    pub fn of(address: IpAddr, ipv6_prefix: u8) -> Self {
        Self::by(address, &Parties::of(ipv6_prefix))
    }

    /// The source an address counts for; IPv6 is cut to what is one party.
    #[inline]
    pub fn by(address: IpAddr, parties: &Parties) -> Self {
        match address {
            IpAddr::V4(_) => Self { address, prefix: 32 },
            IpAddr::V6(v6) => {
                let Party { mask, prefix, .. } = parties.party(v6);
                Self { address: IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)), prefix }
            }
        }
    }

    /// Whether two addresses belong to one source.
    #[inline]
    pub fn is_one(one: IpAddr, other: IpAddr, parties: &Parties) -> bool {
        match (one, other) {
            (IpAddr::V4(one), IpAddr::V4(other)) => one == other,
            (IpAddr::V6(one), IpAddr::V6(other)) => parties.is_one(one, other),
            _ => false,
        }
    }

    /// All addresses that count for it.
    pub fn network(&self) -> IpNet {
        IpNet::new_assert(self.address, self.prefix)
    }

    /// Whether an address is in a network that can have many sources in it: not where something else than the ordinary prefix is one
    /// party.
    #[inline]
    pub(super) fn may_hop(address: IpAddr, parties: &Parties) -> bool {
        matches!(address, IpAddr::V6(v6) if !parties.party(v6).is_exception)
    }

    /// Whether more than one address counts for this source.
    pub fn is_network(&self) -> bool {
        self.address.is_ipv6() && self.prefix < 128
    }
}

/// `198.51.100.7`, or `2001:db8::/64` for an aggregated IPv6 source, or `many`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MANY {
            f.write_str("many")
        } else if self.is_network() {
            write!(f, "{}/{}", self.address, self.prefix)
        } else {
            write!(f, "{}", self.address)
        }
    }
}

/// What a scan spreads over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Many ports.
    Vertical,
    /// Many hosts.
    Horizontal,
    /// Many of both.
    Block,
    /// Many ports of one host, each source few of them.
    Distributed,
}

impl Kind {
    /// Every kind that is detected.
    pub const ALL: [Kind; 4] = [Kind::Vertical, Kind::Horizontal, Kind::Block, Kind::Distributed];

    /// The label in metrics, records and reports.
    pub const fn label(self) -> &'static str {
        match self {
            Kind::Vertical => "vertical",
            Kind::Horizontal => "horizontal",
            Kind::Block => "block",
            Kind::Distributed => "distributed",
        }
    }
}

/// The lowest ports of a scan, ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortSample {
    ports: [u16; SAMPLE_PORTS],
    len: u8,
}

impl PortSample {
    /// The `SAMPLE_PORTS` lowest of some distinct ports, given in any order.
    pub fn lowest(ports: impl IntoIterator<Item = u16>) -> Self {
        let mut sample = Self::default();
        for port in ports {
            let kept = usize::from(sample.len);
            let at = sample.ports[..kept].partition_point(|&p| p < port);
            if at == SAMPLE_PORTS {
                continue;
            }
            let end = kept.min(SAMPLE_PORTS - 1);
            sample.ports.copy_within(at..end, at + 1);
            sample.ports[at] = port;
            sample.len = (end + 1) as u8;
        }
        sample
    }

    /// The ports, ascending.
    pub fn as_slice(&self) -> &[u16] {
        &self.ports[..usize::from(self.len)]
    }
}

/// Some of the sources of a scan by many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceSample {
    addresses: [IpAddr; SAMPLE_SOURCES],
    len: u8,
    next: u8,
}

impl SourceSample {
    /// None of them.
    pub const NONE: Self =
        Self { addresses: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); SAMPLE_SOURCES], len: 0, next: 0 };

    /// One more; where there is no room, in place of the oldest.
    pub(super) fn push(&mut self, address: IpAddr) {
        if self.as_slice().contains(&address) {
            return;
        }
        self.addresses[usize::from(self.next)] = address;
        self.next = (self.next + 1) % SAMPLE_SOURCES as u8;
        self.len = (self.len + 1).min(SAMPLE_SOURCES as u8);
    }

    /// The same in ascending order.
    pub(super) fn sorted(mut self) -> Self {
        self.addresses[..usize::from(self.len)].sort_unstable();
        self.next = self.len % SAMPLE_SOURCES as u8;
        self
    }

    /// The addresses.
    pub fn as_slice(&self) -> &[IpAddr] {
        &self.addresses[..usize::from(self.len)]
    }
}

impl FromIterator<IpAddr> for SourceSample {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut sample = Self::NONE;
        addresses.into_iter().for_each(|address| sample.push(address));
        sample.sorted()
    }
}

/// The name of an episode, the same in every record of it: who, in which class, and when the hit came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanId(pub u64);

impl ScanId {
    /// The same for the same source, class and moment, in every process.
    pub fn of(source: Source, class: Class, detected: Timestamp) -> Self {
        let bits = match source.address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        // The finaliser of SplitMix64 (Steele, Lea, Flood 2014), over each half.
        let mix = |mut z: u64| {
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let class = (class as u64) << 56;
        Self(mix(mix(mix(bits as u64) ^ (bits >> 64) as u64 ^ class) ^ detected.nanos()))
    }

    /// The same of a scan by many, by the host that they ask: another than that of a scan by this host.
    pub(super) fn of_target(host: IpAddr, class: Class, detected: Timestamp) -> Self {
        Self(!Self::of(Source::of(host, 128), class, detected).0)
    }
}

impl fmt::Display for ScanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One episode as it stands when it is reported. Times are on the capture's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// The episode's name.
    pub id: ScanId,
    /// Who scans.
    pub source: Source,
    /// The full address that reached the threshold (differs from `source` for an IPv6 network). Of a scan by many it is one of them.
    pub source_address: IpAddr,
    /// What the operator calls the source.
    pub name: Option<Name>,
    /// What else the operator's databases say of its address.
    pub provenance: Provenance,
    /// What it spreads over.
    pub kind: Kind,
    /// How it asks.
    pub technique: Technique,
    /// The window of the rule, in nanoseconds.
    pub window_nanos: u64,
    /// First probe of the unbroken run of probes (no gap of a window) that led to the hit.
    pub started: Timestamp,
    /// The probe that reached the threshold.
    pub detected: Timestamp,
    /// The latest probe.
    pub last_probe: Timestamp,
    /// When the count had stayed below the threshold for the quiet time; `None` while open.
    pub ended: Option<Timestamp>,
    /// Probes since `started`, repeats included.
    pub probes: u64,
    /// Distinct ports within the window, now.
    pub ports: u32,
    /// Distinct ports over the whole scan: those counted at the hit, and every one since.
    pub distinct_ports: u32,
    /// Whether memory was short, so that there may have been more ports than `ports`, `distinct_ports` and the peak say.
    pub lower_bound: bool,
    /// The greatest count within one window.
    pub peak_distinct_ports: u32,
    /// Sources that took part: 1, or those of a network that hops (exact up to 7, an estimate, ± 18 %, above), or of a scan by many
    /// (an estimate, ± 3 %).
    pub distinct_sources: u32,
    /// Distinct hosts asked since `started`; exact up to 7, an estimate (± 18 %) above.
    pub distinct_hosts: u32,
    /// Distinct ports on the busiest host; at least, where more than 7 hosts were asked. Of a network that hops, those that its
    /// busiest source asked for.
    pub busiest_host_ports: u32,
    /// The busiest host, and a port that it was asked for: the first, if it was always the busiest.
    pub target: (IpAddr, u16),
    /// Target of the first probe since `started`.
    pub first_target: (IpAddr, u16),
    /// The lowest ports.
    pub sample_ports: PortSample,
    /// The ports as ranges: all of them, or those that say most.
    pub asked: PortRanges,
    /// Some of the sources of a scan by many.
    pub sample_sources: SourceSample,
    /// The tool, as its packets tell.
    pub tool: Tool,
    /// How sure that is; `None` if it is unknown.
    pub tool_confidence: Option<Confidence>,
    /// The signature of the first probe since `started`.
    pub signature: Signature,
    /// What became of them so far, where that is looked for.
    pub replies: Option<Replies>,
    /// Whether the source is known to be at its address, by what it sent in the run of probes that led here.
    pub evidence: Grade,
}

/// How sure it is that what bears a source's address is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Grade {
    /// Only probes were seen: anybody can have sent them.
    #[default]
    Spoofable,
    /// It completed a handshake: it read the answer to one of them.
    Handshake,
}

impl Grade {
    /// Both, the weaker first.
    pub const ALL: [Grade; 2] = [Grade::Spoofable, Grade::Handshake];

    /// The word in metrics, records and reports.
    pub const fn label(self) -> &'static str {
        match self {
            Grade::Spoofable => "spoofable",
            Grade::Handshake => "handshake",
        }
    }
}

/// What became of the ports of a scan, each as ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replies {
    /// Those from which a SYN-ACK came.
    pub answered: PortRanges,
    /// How many they are.
    pub answered_count: u32,
    /// Those from which only a RST came.
    pub refused: PortRanges,
    /// How many they are.
    pub refused_count: u32,
    /// Those from which nothing came.
    pub silent: PortRanges,
}

/// Why a scan is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The source reached the threshold.
    Hit,
    /// Its distinct ports grew tenfold since the last report.
    Grown,
    /// It stayed below the threshold for the quiet time, was evicted, or the capture stops.
    Ended,
}

impl EventKind {
    /// The word in records.
    pub const fn label(self) -> &'static str {
        match self {
            EventKind::Hit => "hit",
            EventKind::Grown => "grown",
            EventKind::Ended => "ended",
        }
    }
}

/// A scan at a moment that is worth a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanEvent {
    /// Why it is reported.
    pub kind: EventKind,
    /// The scan as it stands.
    pub scan: Scan,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> String {
        Source::of(address.parse().expect("an address"), 64).to_string()
    }

    #[test]
    fn a_source_is_what_is_one_party_there() {
        for (address, expected) in [
            ("198.51.100.7", "198.51.100.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2a00:1::7", "2a00:1::/64"),
            ("fd00:1:2:3::7", "fd00:1:2:3::/64"),
            // Neighbours on the link.
            ("fe80::1", "fe80::1"),
            ("febf::1", "febf::1"),
            ("fec0::1", "fec0::/64"),
            // IPv4 hosts behind translators.
            ("64:ff9b::198.51.100.7", "64:ff9b::c633:6407"),
            ("64:ff9b:1:fffe::198.51.100.7", "64:ff9b:1:fffe::c633:6407"),
            ("64:ff9b:2::7", "64:ff9b:2::/64"),
            ("::ffff:198.51.100.7", "::ffff:198.51.100.7"),
            ("::ffff:0:198.51.100.7", "::ffff:0:c633:6407"),
            ("::1", "::1"),
            // An IPv4 host with a /48 of its own.
            ("2002:c633:6407:1::7", "2002:c633:6407::/48"),
            // A client behind NAT: 198.51.100.7, each bit turned over.
            ("2001:0:cb00:7107:8000:63bf:39cc:9bf8", "2001::39cc:9bf8"),
            ("2001:1::7", "2001:1::/64"),
        ] {
            assert_eq!(source(address), expected, "{address}");
        }
    }

    #[test]
    fn one_source_is_one_whichever_way_it_is_asked() {
        let addresses = [
            "198.51.100.7",
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8:0:1::1",
            "fe80::1",
            "fe80::2",
            "64:ff9b::1",
            "64:ff9b::2",
            "64:ff9b:1::1",
            "64:ff9b:1:1::1",
            "2002:c633:6407::1",
            "2002:c633:6407:ffff::1",
            "2002:c633:6408::1",
            "2001:0:cb00:7107::39cc:9bf8",
            "2001:0:cb00:7108:1::39cc:9bf8",
            "2001:0:cb00:7107::39cc:9bf9",
            "::1",
            "::2",
        ]
        .map(|address| address.parse::<IpAddr>().expect("an address"));
        for prefix in [32, 48, 56, 64, 128] {
            for one in addresses {
                for other in addresses {
                    let is_one = Source::of(one, prefix).address == Source::of(other, prefix).address;
                    assert_eq!(
                        Source::is_one(one, other, &Parties::of(prefix)),
                        is_one,
                        "{one}, {other} by {prefix}"
                    );
                }
            }
        }
    }
}
