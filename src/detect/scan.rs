//! The scan: an episode that a hit opens and quiet closes, and the events that tell of it.

use super::probe::Technique;
use crate::packet::Timestamp;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Who scans: an IPv4 address, or an IPv6 network (a /64 by default). Ordered IPv4 first, then by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The address, or the first address of the network.
    pub address: IpAddr,
    /// 32 for IPv4; for IPv6 the prefix length sources are aggregated to.
    pub prefix: u8,
}

impl Source {
    /// The source an address counts for; IPv6 is cut to its first `ipv6_prefix` bits.
    pub fn of(address: IpAddr, ipv6_prefix: u8) -> Self {
        match address {
            IpAddr::V4(_) => Self { address, prefix: 32 },
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix.min(128))).unwrap_or(0);
                let network = Ipv6Addr::from_bits(v6.to_bits() & mask);
                Self { address: IpAddr::V6(network), prefix: ipv6_prefix }
            }
        }
    }

    /// Whether two addresses belong to one source.
    #[inline]
    pub fn is_one(one: IpAddr, other: IpAddr, ipv6_prefix: u8) -> bool {
        match (one, other) {
            (IpAddr::V4(one), IpAddr::V4(other)) => one == other,
            (IpAddr::V6(_), IpAddr::V6(_)) => Self::of(one, ipv6_prefix) == Self::of(other, ipv6_prefix),
            _ => false,
        }
    }

    /// Whether more than one address counts for this source.
    pub fn is_network(&self) -> bool {
        self.address.is_ipv6() && self.prefix < 128
    }
}

/// `198.51.100.7`, or `2001:db8::/64` for an aggregated IPv6 source.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_network() {
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
}

impl Kind {
    /// Every kind that is detected, in label order.
    pub const ALL: [Kind; 1] = [Kind::Vertical];

    /// The label in metrics, records and reports.
    pub const fn label(self) -> &'static str {
        match self {
            Kind::Vertical => "vertical",
        }
    }
}

/// How many of a scan's ports are kept as a sample: the lowest.
pub const SAMPLE_PORTS: usize = 16;

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

/// The name of an episode, the same in every record of it: who, and when the hit came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanId(pub u64);

impl fmt::Display for ScanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One episode as it stands when it is told of. Times are on the capture's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// The episode's name.
    pub id: ScanId,
    /// Who scans.
    pub source: Source,
    /// The full address that reached the threshold (differs from `source` for an IPv6 network).
    pub source_address: IpAddr,
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
    /// The greatest count within one window.
    pub peak_distinct_ports: u32,
    /// Distinct hosts asked since `started`; exact up to 7, an estimate (± 18 %) above.
    pub distinct_hosts: u32,
    /// Distinct ports on the busiest of the first 7 hosts asked.
    pub busiest_host_ports: u32,
    /// Target of the first probe since `started`.
    pub first_target: (IpAddr, u16),
    /// The lowest ports.
    pub sample_ports: PortSample,
}

/// Why a scan is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The source reached the threshold.
    Hit,
    /// Its distinct ports grew tenfold since it was last told of.
    Grown,
    /// It stayed below the threshold for the quiet time, was evicted, or the capture stops.
    Ended,
}

impl Moment {
    /// The word in records.
    pub const fn label(self) -> &'static str {
        match self {
            Moment::Hit => "hit",
            Moment::Grown => "grown",
            Moment::Ended => "ended",
        }
    }
}

/// A scan at a moment worth a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanEvent {
    /// Why it is told.
    pub moment: Moment,
    /// The scan as it stands.
    pub scan: Scan,
}
