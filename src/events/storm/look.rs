//! How scans look, and what those of one machine have in common.

use crate::detect::{Class, Kind, PortRanges, Scan, Source};
use crate::events::storm::outstanding::Worth;
use crate::packet::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;

/// Hits that are no further apart come at about the same time.
const SPAN_NANOS: u64 = 10_000_000_000;
/// Sources that it takes for a storm, by how much they have in common: two things, three, or all. One is too little, even if it is the
/// target: a forger who varies all else would have every scan of that host folded into his storm.
const NEEDED: [u32; 5] = [u32::MAX, u32::MAX, 12, MANY, MANY];
pub(super) const MANY: u32 = 6;
/// And where they asked the same host for the same ports, from the same first port on, and have a third thing in common: three. Two could
/// be an accident, and who scans from two addresses is told well by two records.
const NEEDED_OF_FEW: u32 = 3;
/// With fewer ports than this there is no order to speak of: who sweeps hosts for one port asks for the same as any other.
const ORDERED_PORTS: u32 = 5;

/// Something that scans can have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// The host that was asked first.
    Target,
    /// The hops that were left.
    Ttl,
    /// The TCP window.
    Window,
    /// The port that was asked for first.
    FirstPort,
    /// The ports that were asked for up to the hit: decoys ask for the same ports in the same order, and most scanners in one of
    /// their own. As a set: of the order within it nothing is known.
    FirstPorts,
}

impl Feature {
    pub(crate) const ALL: [Feature; 5] =
        [Feature::Target, Feature::Ttl, Feature::Window, Feature::FirstPort, Feature::FirstPorts];

    /// The word in records.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Feature::Target => "target_address",
            Feature::Ttl => "ttl",
            Feature::Window => "tcp_window",
            Feature::FirstPort => "first_port",
            Feature::FirstPorts => "first_ports",
        }
    }
}

/// Some of the features, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features(u8);

impl Features {
    pub(crate) fn has(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u8 != 0
    }

    pub(super) fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether all of `others` are among these.
    pub(super) fn have(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Sources that it takes for a storm with these in common.
    pub(super) fn needed(self) -> u32 {
        let (of_look, is_same_order) = (self.of_look().count(), self.have(Self(SAME_ORDER)));
        match self.has(Feature::FirstPorts) {
            false => NEEDED[of_look as usize],
            true if is_same_order && of_look > 2 => NEEDED_OF_FEW,
            true => u32::MAX,
        }
    }

    /// Those of these by which an end is known as well as a hit.
    pub(super) fn of_look(self) -> Self {
        Self(self.0 & !(1 << Feature::FirstPorts as u8))
    }

    /// These, and the ports up to the hit if they are known of both and equal.
    pub(super) fn and_ports(self, one: Option<&PortRanges>, other: Option<&PortRanges>) -> Self {
        let is_equal = one.is_some() && one == other;
        Self(self.0 | u8::from(is_equal) << Feature::FirstPorts as u8)
    }

    /// Those of these that are among others, too.
    pub(super) fn and(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Every set, the largest first; of those as large, those with the target first.
    pub(super) fn each() -> impl Iterator<Item = Features> {
        let sized = |size| {
            let with =
                |is_with| move |it: &Features| it.count() == size && it.has(Feature::Target) == is_with;
            let each = || (1..1 << Feature::ALL.len()).map(Features);
            each().filter(with(true)).chain(each().filter(with(false)))
        };
        (2..=Feature::ALL.len() as u32).rev().flat_map(sized)
    }
}

/// The same host, asked for the same ports, the same first.
const SAME_ORDER: u8 =
    1 << Feature::Target as u8 | 1 << Feature::FirstPort as u8 | 1 << Feature::FirstPorts as u8;

/// How a scan looks: what does not change while it goes on, so that its end is known by it as well as its hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) target: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) window: u16,
    pub(crate) first_port: u16,
}

impl Look {
    pub(super) fn of(scan: &Scan) -> Self {
        let ((target, first_port), signature) = (scan.first_target, scan.signature);
        Self { target, first_port, ttl: signature.ttl, window: signature.window }
    }

    /// What two have in common. What a packet does not tell is in common with nothing.
    pub(super) fn shared(&self, other: &Self) -> Features {
        let equal = [
            self.target == other.target,
            self.ttl == other.ttl && self.ttl > 0,
            self.window == other.window && self.window > 0,
            self.first_port == other.first_port,
        ];
        Features(equal.into_iter().zip(0..).fold(0, |bits, (equal, place)| bits | u8::from(equal) << place))
    }
}

/// A scan as it is compared with others: where it was seen, how it looks, and since when.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    pub(super) interface: Arc<str>,
    pub(super) class: Class,
    /// Of the rule that found it.
    pub(super) window_nanos: u64,
    pub(super) kind: Kind,
    pub(super) source: Source,
    pub(super) look: Look,
    /// The ports that it asked for, where all of them are known and there are enough to compare: of hits.
    pub(super) first_ports: Option<PortRanges>,
    pub(super) worth: Worth,
    pub(super) detected: Timestamp,
}

impl Sighting {
    pub(super) fn of(interface: &Arc<str>, scan: &Scan) -> Self {
        // Ranges that do not fit are left out: then some of the ports are not known.
        let is_known = scan.asked.count() == scan.distinct_ports && scan.distinct_ports >= ORDERED_PORTS;
        Self {
            interface: Arc::clone(interface),
            class: scan.technique.class(),
            window_nanos: scan.window_nanos,
            kind: scan.kind,
            source: scan.source,
            look: Look::of(scan),
            first_ports: is_known.then_some(scan.asked),
            worth: Worth::of(scan),
            detected: scan.detected,
        }
    }

    /// What two hits have in common.
    pub(super) fn shared(&self, other: &Self) -> Features {
        self.look.shared(&other.look).and_ports(self.first_ports.as_ref(), other.first_ports.as_ref())
    }

    /// Whether it came to the same place as another, at about the same time, and was found by the same rule.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        let apart = self.detected.nanos().abs_diff(other.detected.nanos());
        let found = |it: &Self| (it.class, it.window_nanos);
        self.interface == other.interface && found(self) == found(other) && apart <= SPAN_NANOS
    }
}
