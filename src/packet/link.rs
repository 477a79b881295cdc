//! What stands before IP: the link's own header, tags, PPPoE and MPLS labels.

use crate::packet::{LinkType, Skipped};

/// Ether types.
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(super) const PPPOE_SESSION: u16 = 0x8864;
pub(super) const MPLS: u16 = 0x8847;
pub(super) const MPLS_UPSTREAM: u16 = 0x8848;

/// What a kernel names that has lost its way among tags.
pub(super) const UNNAMED: u16 = 0;

/// Version and type of PPPoE (RFC 2516).
pub(super) const PPPOE_FIRST: u8 = 0x11;

/// Behind a cooked header a live capture cuts no packet shorter than this that might begin with a tag.
const CUT: usize = 9_196;

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

/// Lengths of IP's headers, IPv4's without options.
pub(super) const IPV4_HEADER: usize = 20;
pub(super) const IPV6_HEADER: usize = 40;

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

/// Whether the sum of an IPv4 header is right (RFC 1071). No host takes one whose is not.
fn is_summed(header: &[u8]) -> bool {
    let words = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
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
    /// more), and leaves the inner tags where they are: if they lead to just what was named, they are there. But not if what was named
    /// begins at once, and is whole: anybody may write a packet in which that looks like a tag.
    fn unnamed_tags(self) -> Result<Self, Skipped> {
        let mut behind = self;
        for tag in 0..self.left {
            let Some(next) = behind.tag() else { break };
            behind = next;
            if !behind.is_tag() {
                let named = behind.ether_type == self.ether_type || self.ether_type == UNNAMED && tag > 0;
                let is_left = named && behind.begins_as_named() && !self.is_rather_whole(behind, tag > 0);
                return Ok(if is_left { behind } else { self });
            }
        }
        let lost = self.ether_type == UNNAMED && behind.is_tag() && behind.left == 0;
        if lost { Err(Skipped::Tags) } else { Ok(self) }
    }

    /// Whether it is what was named, and not what is behind the tags that its first bytes look like. In a frame that was cut both may be:
    /// then the one that is whole.
    fn is_rather_whole(self, behind: Self, are_several: bool) -> bool {
        // No protocol's number is where IPv6 would have the second of several tags.
        let length = if are_several && self.ether_type == IPV6 { None } else { self.length() };
        let is_cut = self.rest.len() >= CUT;
        length.is_some_and(|length| {
            length <= self.rest.len()
                || is_cut
                || behind.length().is_none_or(|length| length > behind.rest.len())
        })
    }

    /// How long the packet is by its own header, if that is one of the ether type and without a contradiction.
    fn length(self) -> Option<usize> {
        let half = |at: usize| usize::from(u16::from_be_bytes([self.rest[at], self.rest[at + 1]]));
        match (self.ether_type, self.rest.len()) {
            (IPV4, IPV4_HEADER..) if self.rest[0] >> 4 == 4 => {
                let own = usize::from(self.rest[0] & 0x0f) * 4;
                let header = self.rest.get(..own).filter(|_| own >= IPV4_HEADER)?;
                (is_summed(header) && half(2) >= own).then_some(half(2))
            }
            (IPV6, IPV6_HEADER..) if self.rest[0] >> 4 == 6 => Some(IPV6_HEADER + half(4)),
            (PPPOE_SESSION, 8..) if self.rest[..2] == [PPPOE_FIRST, 0] => {
                let is_ip = [PPP_IPV4, PPP_IPV6].map(usize::from).contains(&half(6));
                is_ip.then_some(6 + half(4))
            }
            _ => None,
        }
    }

    /// Whether what follows begins as its ether type would have it.
    fn begins_as_named(self) -> bool {
        match (self.ether_type, self.rest.first()) {
            (IPV4, Some(first)) => first >> 4 == 4,
            (IPV6, Some(first)) => first >> 4 == 6,
            (PPPOE_SESSION, Some(first)) => *first == PPPOE_FIRST,
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

#[cfg(test)]
mod tests {
    use super::CUT;
    use crate::packet::filter::{SNAPLEN_MAX, program, simulate};
    use crate::packet::frames::*;
    use crate::packet::link::TAGS;
    use crate::packet::tunnel::Tunnels;
    use crate::packet::{LinkType, Techniques, Timestamp, datagram, decode};
    use proptest::prelude::*;
    use proptest::sample::select;

    const COOKED: [(LinkType, usize, usize); 2] =
        [(LinkType::LinuxSll, 16, 14), (LinkType::LinuxSll2, 20, 0)];

    /// Numbers at which a packet looks as if it began with a tag, and any.
    fn number() -> impl Strategy<Value = u16> {
        let types =
            [&[0x0800, 0x86dd, 0x8864, 0x8847, 0x8848, 0x4500, 0x6000, 0x1100, 0][..], &TAGS].concat();
        prop_oneof![3 => select(types), 1 => any::<u16>()]
    }

    /// Packets whose every field a sender may choose but the sum, the protocols being those that are looked at.
    fn honest() -> impl Strategy<Value = Vec<u8>> {
        let protocols = select(vec![TCP, TCP, TCP, UDP, 132, 1, 58, 4, 41, 47, 50, 60, 0]);
        let fields = (any::<u8>(), number(), number(), any::<u8>(), protocols, any::<[u8; 32]>(), number());
        let ports = (number(), any::<u8>(), prop_oneof![Just(0_u16), Just(0x4000), number()]);
        (any::<bool>(), fields, ports).prop_map(|(is_v6, fields, (port, flags, place))| {
            let (traffic, length, name, hops, protocol, mut addresses, begin) = fields;
            addresses[..2].copy_from_slice(&begin.to_be_bytes());
            let mut payload = segment(port, flags);
            let header = if is_v6 { 40 } else { 20 };
            payload.resize(usize::from(length).max(header + 20) - if is_v6 { 0 } else { 20 }, 0);
            if is_v6 {
                let mut packet = ipv6(protocol, &payload);
                packet[0] |= traffic >> 4;
                packet[1] = traffic << 4;
                packet[2..4].copy_from_slice(&name.to_be_bytes());
                packet[7] = hops;
                packet[8..40].copy_from_slice(&addresses);
                packet
            } else {
                let mut packet = ipv4(protocol, &payload);
                packet[1] = traffic;
                packet[4..6].copy_from_slice(&name.to_be_bytes());
                packet[6..8].copy_from_slice(&place.to_be_bytes());
                packet[8] = hops;
                packet[12..20].copy_from_slice(&addresses[..8]);
                sum(&mut packet);
                packet
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Who sends a packet chooses its length, its name and more: none of that hides it behind a tag that nobody left. (An IPv4 packet
        /// of 2,048 bytes was taken for one.)
        #[test]
        fn an_honest_packet_is_never_taken_for_a_tagged_one(packet in honest()) {
            let time = Timestamp::default();
            let bare = decode(LinkType::RawIp, time, &packet);
            let asked = datagram::look(LinkType::RawIp, &packet);
            for (kind, _, _) in COOKED {
                let frame = link(kind, &packet);
                prop_assert_eq!(decode(kind, time, &frame), bare, "{:?}", kind);
                prop_assert_eq!(datagram::look(kind, &frame), asked, "{:?}", kind);
                for techniques in [Techniques::DEFAULT, Techniques::ALL] {
                    let program = program(kind, techniques, Tunnels::Count);
                    let taken = simulate(&program, &frame).0 as usize;
                    let is_probe = bare.is_ok_and(|packet| packet.flags.0 & 0x3f == SYN);
                    prop_assert!(taken > 0 || !is_probe, "{:?}", kind);
                    if taken > 0 && bare.is_ok() {
                        prop_assert_eq!(decode(kind, time, &frame[..taken.min(frame.len())]), bare, "{:?}", kind);
                    }
                }
            }
        }
    }

    /// The frame of somebody who hides behind tags that are left: however they begin, and whatever is behind the packet, there is no
    /// longer packet that they could be the header of.
    #[test]
    fn a_tagged_packet_is_never_taken_for_a_bare_one() {
        for (kind, header, at) in COOKED {
            let program = program(kind, Techniques::DEFAULT, Tunnels::Count);
            for (ether_type, packet) in [(IPV4, ipv4(TCP, &tcp(SYN))), (IPV6, ipv6(TCP, &tcp(SYN)))] {
                for first in 0..=u16::MAX {
                    let tag = [&first.to_be_bytes()[..], &ether_type.to_be_bytes()].concat();
                    for tags in
                        [tag.clone(), [&first.to_be_bytes()[..], &[0x81, 0, 0, 20], &tag[2..]].concat()]
                    {
                        let mut packet = packet.clone();
                        if ether_type == IPV4 {
                            // So the sum of the longer packet is right, too.
                            packet[16..20].copy_from_slice(&tag);
                            sum(&mut packet);
                        }
                        let bare = decode(LinkType::RawIp, Timestamp::default(), &packet);
                        let mut frame = vec![0; header];
                        frame[at..at + 2].copy_from_slice(&ether_type.to_be_bytes());
                        frame.extend([&tags, &packet[..], &[0; 400]].concat());
                        assert_eq!(decode(kind, Timestamp::default(), &frame), bare, "{tags:02x?}");
                        let taken = simulate(&program, &frame).0 as usize;
                        assert!(taken > 0, "{tags:02x?}");
                        let cut = &frame[..taken.min(frame.len())];
                        assert_eq!(decode(kind, Timestamp::default(), cut), bare, "{tags:02x?}");
                    }
                }
            }
        }
    }

    /// What ordinary networks put behind a cooked header stays in the kernel, however it is tagged, unless a tag begins as the packet does.
    #[test]
    fn ordinary_traffic_on_any_stays_in_the_kernel() {
        let packets = [
            (IPV4, ipv4(TCP, &tcp(ACK)), 2),
            (IPV6, ipv6(TCP, &tcp(ACK)), 3),
            (IPV4, ipv4(UDP, &[0xff; 24]), 2),
            (0x8864, pppoe(&ipv4(TCP, &tcp(ACK))), 8),
            (0x0806, [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[0; 20]].concat(), 8),
        ];
        for (kind, header, at) in COOKED {
            let program = program(kind, Techniques::DEFAULT, Tunnels::Count);
            for (named, packet, priority) in &packets {
                let taken = |named: u16, tags: &[u8]| {
                    let mut frame = vec![0; header];
                    frame[at..at + 2].copy_from_slice(&named.to_be_bytes());
                    simulate(&program, &[&frame, tags, packet].concat()).0
                };
                let [high, low] = named.to_be_bytes();
                assert_eq!(taken(*named, &[]), 0, "{named:04x}");
                for tag in TAGS {
                    assert_eq!(taken(tag, &[0, 10, high, low]), 0, "{tag:04x} {named:04x}");
                    for first in (0..8_u8).filter(|first| first != priority) {
                        let (one, two) = ([first << 5, 10, high, low], tag.to_be_bytes());
                        assert_eq!(taken(*named, &one), 0, "{named:04x} {first}");
                        let two = [&[first << 5, 10], &two[..], &one].concat();
                        assert_eq!(taken(*named, &two), 0, "{named:04x} {first}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_live_capture_cuts_nothing_shorter() {
        assert_eq!(SNAPLEN_MAX as usize - 20, CUT);
    }
}
