//! What stands before IP: the link's own header, tags, PPPoE and MPLS labels.

use crate::packet::{LinkType, Skipped};

/// Ether types.
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(super) const PPPOE_SESSION: u16 = 0x8864;
pub(super) const MPLS: u16 = 0x8847;
pub(super) const MPLS_UPSTREAM: u16 = 0x8848;

/// What a kernel names that has lost its way among tags.
const UNNAMED: u16 = 0;

/// Tags: 802.1Q, 802.1ad, and what was used for the outer of two before that.
pub(crate) const TAGS: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];

/// Ether types that carry frames and are not looked behind: MACsec, provider backbone bridges (802.1ah), NSH (RFC 8300), TRILL
/// (RFC 6325), HSR (IEC 62439-3), Cisco MetaData.
pub(super) const CARRIERS: [u16; 6] = [0x88e5, 0x88e7, 0x894f, 0x22f3, 0x892f, 0x8909];

/// Below this a type is the length of an 802.3 frame, which begins with two service access points: IP's own ones, or those of SNAP
/// (RFC 1042), whose header names an ether type.
pub(super) const TYPES: u16 = 0x0600;
pub(super) const LLC_IP: u16 = 0x0606;
pub(super) const LLC_SNAP: u16 = 0xaaaa;
pub(super) const SNAP_TYPE: usize = 6;

/// PPP's numbers of IP.
pub(super) const PPP_IPV4: u16 = 0x0021;
pub(super) const PPP_IPV6: u16 = 0x0057;

/// The bit of PPP's numbers that negotiate; the others carry data (RFC 1661, section 2): compressed, encrypted, bridged.
pub(super) const PPP_CONTROL: u16 = 0x8000;

/// The length of Ethernet's header.
pub(super) const ETHERNET_HEADER: usize = 14;

/// Tags and labels that are stepped over, together. Networks use two or three; Linux itself steps over any number of
/// priority tags, and a sender may put as many as a frame holds.
pub(super) const MOST_TAGS: usize = 16;

/// The IP version that the link header (or, without one, the packet itself) announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Four,
    Six,
}

/// What lies behind the link header and all tags.
pub(super) fn strip_link(link: LinkType, frame: &[u8]) -> Result<(Version, &[u8]), Skipped> {
    let named = |at: usize, header: usize| {
        let rest = frame.get(header..).ok_or(Skipped::Truncated)?;
        Behind { ether_type: u16::from_be_bytes([frame[at], frame[at + 1]]), rest, left: MOST_TAGS }.tags()
    };
    match link {
        LinkType::Ethernet => named(12, ETHERNET_HEADER)?.ip(),
        LinkType::LinuxSll => named(14, 16)?.unnamed_tags()?.ip(),
        LinkType::LinuxSll2 => named(0, 20)?.unnamed_tags()?.ip(),
        LinkType::RawIp => by_version(frame)?.ok_or(Skipped::Malformed),
        LinkType::Null | LinkType::Loop => {
            let (family, rest) = frame.split_first_chunk().ok_or(Skipped::Truncated)?;
            let mut family = u32::from_be_bytes(*family);
            // NULL is in the byte order of the machine that wrote it: families are small numbers.
            if link == LinkType::Null && family > 0xffff {
                family = family.swap_bytes();
            }
            match family {
                2 => Ok((Version::Four, rest)),
                // AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
                10 | 24 | 28 | 30 => Ok((Version::Six, rest)),
                _ => Err(Skipped::NotIp),
            }
        }
    }
}

/// What the first half byte of an IP packet says; `None` if it is neither.
fn by_version(packet: &[u8]) -> Result<Option<(Version, &[u8])>, Skipped> {
    Ok(match packet.first().ok_or(Skipped::Truncated)? >> 4 {
        4 => Some((Version::Four, packet)),
        6 => Some((Version::Six, packet)),
        _ => None,
    })
}

/// What stands behind a header that names its ether type.
#[derive(Clone, Copy)]
struct Behind<'a> {
    ether_type: u16,
    rest: &'a [u8],
    /// Tags and labels that may still be stepped over.
    left: usize,
}

impl<'a> Behind<'a> {
    /// Behind the next tag.
    fn tag(self) -> Option<Self> {
        let (tag, rest) = self.rest.split_first_chunk::<4>()?;
        let left = self.left.saturating_sub(1);
        Some(Self { ether_type: u16::from_be_bytes([tag[2], tag[3]]), rest, left })
    }

    fn is_tag(self) -> bool {
        TAGS.contains(&self.ether_type)
    }

    /// Behind all tags.
    fn tags(mut self) -> Result<Self, Skipped> {
        while self.is_tag() {
            if self.left == 0 {
                return Err(Skipped::Tags);
            }
            self = self.tag().ok_or(Skipped::Truncated)?;
        }
        Ok(self)
    }

    /// On `any` a kernel of 6.10 or newer names in the cooked header what is behind all tags (nothing, if they are eight or
    /// more), and leaves the inner tags where they are: if they lead to just what was named, they are there.
    fn unnamed_tags(self) -> Result<Self, Skipped> {
        let mut behind = self;
        for tag in 0..self.left {
            let Some(next) = behind.tag() else { break };
            behind = next;
            if !behind.is_tag() {
                let named = behind.ether_type == self.ether_type || self.ether_type == UNNAMED && tag > 0;
                return Ok(if named && behind.begins_as_named() { behind } else { self });
            }
        }
        let lost = self.ether_type == UNNAMED && behind.is_tag() && behind.left == 0;
        if lost { Err(Skipped::Tags) } else { Ok(self) }
    }

    /// Whether what follows begins as its ether type would have it.
    fn begins_as_named(self) -> bool {
        match (self.ether_type, self.rest.first()) {
            (IPV4, Some(first)) => first >> 4 == 4,
            (IPV6, Some(first)) => first >> 4 == 6,
            // Its version and type.
            (PPPOE_SESSION, Some(first)) => *first == 0x11,
            (MPLS | MPLS_UPSTREAM, first) => first.is_some(),
            _ => false,
        }
    }

    /// Whether it carries a packet where nobody looks.
    fn is_carrier(self) -> bool {
        let half = |at: usize| Some(u16::from_be_bytes([*self.rest.get(at)?, *self.rest.get(at + 1)?]));
        match half(0) {
            _ if self.ether_type >= TYPES => CARRIERS.contains(&self.ether_type),
            Some(LLC_SNAP) => matches!(half(SNAP_TYPE), Some(IPV4 | IPV6)),
            access => access == Some(LLC_IP),
        }
    }

    /// The IP packet, behind PPPoE (RFC 2516) or MPLS labels (RFC 3032).
    fn ip(self) -> Result<(Version, &'a [u8]), Skipped> {
        match self.ether_type {
            IPV4 => Ok((Version::Four, self.rest)),
            IPV6 => Ok((Version::Six, self.rest)),
            PPPOE_SESSION => strip_pppoe(self.rest),
            MPLS | MPLS_UPSTREAM => strip_labels(self.rest, self.left),
            _ => Err(if self.is_carrier() { Skipped::Tunnel } else { Skipped::NotIp }),
        }
    }
}

/// Six bytes of PPPoE and the PPP protocol number. Links are negotiated in frames that carry nothing.
fn strip_pppoe(rest: &[u8]) -> Result<(Version, &[u8]), Skipped> {
    let (header, packet) = rest.split_first_chunk::<8>().ok_or(Skipped::Truncated)?;
    match u16::from_be_bytes([header[6], header[7]]) {
        PPP_IPV4 => Ok((Version::Four, packet)),
        PPP_IPV6 => Ok((Version::Six, packet)),
        control if control & PPP_CONTROL != 0 => Err(Skipped::NotIp),
        _ => Err(Skipped::Tunnel),
    }
}

/// Labels up to the one that marks the bottom of the stack. What is behind it no label says: IP shows its version there,
/// and a pseudowire's control word is zero (RFC 4928): then it is a frame.
fn strip_labels(mut rest: &[u8], most: usize) -> Result<(Version, &[u8]), Skipped> {
    for _ in 0..most {
        let (label, behind) = rest.split_first_chunk::<4>().ok_or(Skipped::Truncated)?;
        if label[2] & 1 == 1 {
            return by_version(behind)?.ok_or(Skipped::Tunnel);
        }
        rest = behind;
    }
    Err(Skipped::Tags)
}
