//! Bytes of a frame → the TCP segment in it, or why there is none.

use crate::packet::{LinkType, Packet, TcpFlags, Timestamp};
use etherparse::{EtherType, IpNumber, Ipv4HeaderSlice, SingleVlanSlice, err};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a frame did not become a packet. A malformed packet is a fact to count, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Neither IPv4 nor IPv6 (ARP, LLDP, …).
    NotIp,
    /// IP, but not TCP.
    NotTcp,
    /// TCP, but no probe: established traffic and backscatter.
    NotProbe,
    /// A piece of a fragmented datagram whose TCP flags another piece holds: a router on the way made it, or an attacker.
    Fragment,
    /// A piece cut so that no piece holds the TCP header whole (RFC 1858, RFC 7112): no honest sender does that.
    TinyFragment,
    /// The capture cut it before the end of the TCP header.
    Truncated,
    /// IPv6 extension headers that go on beyond what was captured: live, no honest sender has so many.
    ExtensionHeaders,
    /// Behind more tags or labels than `decode` steps over.
    Tags,
    /// Its headers contradict themselves.
    Malformed,
    /// A probe of a file that does not say when it was (never live).
    NoTime,
    /// A piece of a datagram of a file that was put together (live, the kernel does it unseen); its last piece counts as
    /// the packet.
    Reassembled,
}

impl Skipped {
    /// Every reason.
    pub const ALL: [Skipped; 11] = [
        Skipped::NotIp,
        Skipped::NotTcp,
        Skipped::NotProbe,
        Skipped::Fragment,
        Skipped::TinyFragment,
        Skipped::Truncated,
        Skipped::ExtensionHeaders,
        Skipped::Tags,
        Skipped::Malformed,
        Skipped::NoTime,
        Skipped::Reassembled,
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Skipped::NotIp => "not_ip",
            Skipped::NotTcp => "not_tcp",
            Skipped::NotProbe => "not_probe",
            Skipped::Fragment => "fragment",
            Skipped::TinyFragment => "tiny_fragment",
            Skipped::Truncated => "truncated",
            Skipped::ExtensionHeaders => "extension_headers",
            Skipped::Tags => "tags",
            Skipped::Malformed => "malformed",
            Skipped::NoTime => "no_time",
            Skipped::Reassembled => "reassembled",
        }
    }
}

/// The probe-like TCP segment in a frame captured at `time`; anything else says why it is skipped.
///
/// Most frames of most captures are ordinary segments of established connections: those are told from a handful of bytes
/// here. Whatever is not plain (tags, options, extension headers, fragments, cut or contradictory headers) is left
/// to etherparse. Both must agree, which a property test holds.
#[inline]
pub fn decode(link: LinkType, time: Timestamp, frame: &[u8]) -> Result<Packet, Skipped> {
    if link == LinkType::Ethernet
        && let Some((ethernet, ip)) = frame.split_first_chunk::<ETHERNET_HEADER>()
    {
        match [ethernet[12], ethernet[13]] {
            [0x08, 0x00] => {
                if let Some(head) = ip.first_chunk::<{ IPV4_HEADER + TCP_MIN }>()
                    && let Some(result) = plain_ipv4(time, head)
                {
                    return result;
                }
            }
            [0x86, 0xdd] => {
                if let Some(head) = ip.first_chunk::<{ IPV6_HEADER + TCP_MIN }>()
                    && let Some(result) = plain_ipv6(time, head)
                {
                    return result;
                }
            }
            _ => {}
        }
    }
    decode_any(link, time, frame)
}

/// Lengths of the headers before TCP, in bytes; IPv4 without options.
const ETHERNET_HEADER: usize = 14;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// A TCP header without options.
const TCP_MIN: usize = 20;

/// How much of a TCP header must have been captured: up to its flags.
const TCP_TO_FLAGS: usize = 14;

/// The least payload of a jumbogram (RFC 2675, section 2).
const JUMBOGRAM_MIN: usize = 65_536;

/// IP protocol numbers, and those of IPv6 extension headers.
const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMPV6: u8 = 58;
const DESTINATION: u8 = 60;

/// Tags and labels that are stepped over, together. Networks use two or three; Linux itself steps over any number of
/// priority tags, and a sender may put as many as a frame holds.
const MOST_TAGS: usize = 16;

/// An IPv4 header without options and the TCP header behind it; `None` if it is not as plain as that.
#[inline]
fn plain_ipv4(time: Timestamp, head: &[u8; IPV4_HEADER + TCP_MIN]) -> Option<Result<Packet, Skipped>> {
    let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[0] != 0x45 || total < IPV4_HEADER {
        return None;
    }
    if head[9] != TCP {
        return Some(Err(Skipped::NotTcp));
    }
    let fragment = u16::from_be_bytes([head[6], head[7]]) & 0x3fff;
    let data_offset = usize::from(head[32] >> 4) * 4;
    if fragment != 0 || data_offset < TCP_MIN || IPV4_HEADER + data_offset > total {
        return None;
    }
    let flags = TcpFlags(head[33]);
    if !flags.is_syn_probe() {
        return Some(Err(Skipped::NotProbe));
    }
    Some(Ok(Packet {
        time,
        source: IpAddr::V4(Ipv4Addr::new(head[12], head[13], head[14], head[15])),
        destination: IpAddr::V4(Ipv4Addr::new(head[16], head[17], head[18], head[19])),
        source_port: u16::from_be_bytes([head[20], head[21]]),
        destination_port: u16::from_be_bytes([head[22], head[23]]),
        flags,
    }))
}

/// An IPv6 header and the TCP header directly behind it; `None` if it is not as plain as that.
#[inline]
fn plain_ipv6(time: Timestamp, head: &[u8; IPV6_HEADER + TCP_MIN]) -> Option<Result<Packet, Skipped>> {
    if head[0] >> 4 != 6 {
        return None;
    }
    match head[6] {
        TCP => {}
        UDP | ICMPV6 => return Some(Err(Skipped::NotTcp)),
        _ => return None,
    }
    let payload = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let data_offset = usize::from(head[52] >> 4) * 4;
    if data_offset < TCP_MIN || data_offset > payload {
        return None;
    }
    let flags = TcpFlags(head[53]);
    if !flags.is_syn_probe() {
        return Some(Err(Skipped::NotProbe));
    }
    let address = |start: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&head[start..start + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    Some(Ok(Packet {
        time,
        source: address(8),
        destination: address(24),
        source_port: u16::from_be_bytes([head[40], head[41]]),
        destination_port: u16::from_be_bytes([head[42], head[43]]),
        flags,
    }))
}

/// Any frame of any link type, one header after the other.
#[cold]
#[inline(never)]
fn decode_any(link: LinkType, time: Timestamp, frame: &[u8]) -> Result<Packet, Skipped> {
    let (version, ip) = strip_link(link, frame)?;
    let Segment { source, destination, bytes, length, more_follows, is_extended } = match version {
        Version::Four => strip_ipv4(ip)?,
        Version::Six => strip_ipv6(ip)?,
    };
    // What the IP header promises must hold a TCP header; what was captured of it must reach the flags.
    if length < TCP_MIN {
        return Err(if more_follows { Skipped::TinyFragment } else { Skipped::Malformed });
    }
    let Some(tcp) = bytes.first_chunk::<TCP_TO_FLAGS>() else {
        return Err(if is_extended { Skipped::ExtensionHeaders } else { Skipped::Truncated });
    };
    let data_offset = usize::from(tcp[12] >> 4) * 4;
    if data_offset < TCP_MIN || data_offset > length && !more_follows {
        return Err(Skipped::Malformed);
    }
    let flags = TcpFlags(tcp[13]);
    if !flags.is_syn_probe() {
        return Err(Skipped::NotProbe);
    }
    Ok(Packet {
        time,
        source,
        destination,
        source_port: u16::from_be_bytes([tcp[0], tcp[1]]),
        destination_port: u16::from_be_bytes([tcp[2], tcp[3]]),
        flags,
    })
}

/// The IP version that the link header (or, without one, the packet itself) announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Four,
    Six,
}

/// What lies behind the link header and all tags. etherparse knows neither SLL2 nor NULL, nor SLL for cut frames.
fn strip_link(link: LinkType, frame: &[u8]) -> Result<(Version, &[u8]), Skipped> {
    let ether_type = |at: usize, header: usize| {
        let rest = frame.get(header..).ok_or(Skipped::Truncated)?;
        strip_tags(EtherType(u16::from_be_bytes([frame[at], frame[at + 1]])), rest)
    };
    match link {
        LinkType::Ethernet => ether_type(12, ETHERNET_HEADER),
        LinkType::LinuxSll => ether_type(14, 16).map(strip_left_tags),
        LinkType::LinuxSll2 => ether_type(0, 20).map(strip_left_tags),
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

/// Steps over 802.1Q, 802.1ad and pre-standard QinQ tags, over PPPoE (RFC 2516) and MPLS labels (RFC 3032).
fn strip_tags(mut ether_type: EtherType, mut rest: &[u8]) -> Result<(Version, &[u8]), Skipped> {
    const PPPOE_SESSION: EtherType = EtherType(0x8864);
    const MPLS: EtherType = EtherType(0x8847);
    const MPLS_UPSTREAM: EtherType = EtherType(0x8848);
    for left in (0..=MOST_TAGS).rev() {
        match ether_type {
            EtherType::IPV4 => return Ok((Version::Four, rest)),
            EtherType::IPV6 => return Ok((Version::Six, rest)),
            EtherType::VLAN_TAGGED_FRAME
            | EtherType::PROVIDER_BRIDGING
            | EtherType::VLAN_DOUBLE_TAGGED_FRAME
                if left > 0 =>
            {
                let tag = SingleVlanSlice::from_slice(rest).map_err(|_| Skipped::Truncated)?;
                ether_type = tag.ether_type();
                rest = tag.payload_slice();
            }
            PPPOE_SESSION => return strip_pppoe(rest),
            MPLS | MPLS_UPSTREAM => return strip_labels(rest, left),
            EtherType::VLAN_TAGGED_FRAME
            | EtherType::PROVIDER_BRIDGING
            | EtherType::VLAN_DOUBLE_TAGGED_FRAME => break,
            _ => return Err(Skipped::NotIp),
        }
    }
    Err(Skipped::Tags)
}

/// On `any` a kernel of 6.10 or newer names in the cooked header what is behind all tags, and leaves the inner tags where they
/// are: if they lead to just what was named, they are there.
fn strip_left_tags((version, packet): (Version, &[u8])) -> (Version, &[u8]) {
    let (named, first) = match version {
        Version::Four => ([0x08, 0x00], 4),
        Version::Six => ([0x86, 0xdd], 6),
    };
    for tag in 0..MOST_TAGS {
        let behind = packet.get(4 * tag..).unwrap_or_default();
        match *behind {
            [_, _, a, b, next, ..] if [a, b] == named && next >> 4 == first => {
                return (version, &behind[4..]);
            }
            [_, _, 0x81 | 0x91, 0x00, ..] | [_, _, 0x88, 0xa8, ..] => {}
            _ => break,
        }
    }
    (version, packet)
}

/// Six bytes of PPPoE and the PPP protocol number. Links are negotiated in frames that are not IP.
fn strip_pppoe(rest: &[u8]) -> Result<(Version, &[u8]), Skipped> {
    let (header, packet) = rest.split_first_chunk::<8>().ok_or(Skipped::Truncated)?;
    match [header[6], header[7]] {
        [0x00, 0x21] => Ok((Version::Four, packet)),
        [0x00, 0x57] => Ok((Version::Six, packet)),
        _ => Err(Skipped::NotIp),
    }
}

/// Labels up to the one that marks the bottom of the stack. What is behind it no label says: IP shows its version there,
/// and a pseudowire's control word is zero (RFC 4928).
fn strip_labels(mut rest: &[u8], most: usize) -> Result<(Version, &[u8]), Skipped> {
    for _ in 0..most {
        let (label, behind) = rest.split_first_chunk::<4>().ok_or(Skipped::Truncated)?;
        if label[2] & 1 == 1 {
            return by_version(behind)?.ok_or(Skipped::NotIp);
        }
        rest = behind;
    }
    Err(Skipped::Tags)
}

/// A TCP segment, or the beginning of one.
struct Segment<'a> {
    source: IpAddr,
    destination: IpAddr,
    /// What was captured of it.
    bytes: &'a [u8],
    /// How long it is (or its first piece), as the IP header tells.
    length: usize,
    /// It is the first piece of a fragmented datagram.
    more_follows: bool,
    /// It stands behind IPv6 extension headers.
    is_extended: bool,
}

fn strip_ipv4(packet: &[u8]) -> Result<Segment<'_>, Skipped> {
    let header = Ipv4HeaderSlice::from_slice(packet).map_err(|error| match error {
        err::ipv4::HeaderSliceError::Len(_) => Skipped::Truncated,
        err::ipv4::HeaderSliceError::Content(_) => Skipped::Malformed,
    })?;
    let (total, own) = (usize::from(header.total_len()), header.slice().len());
    if total < own {
        return Err(Skipped::Malformed);
    }
    // Not through the authentication header of IPsec either: the kernel filter does not pass it.
    if header.protocol() != IpNumber::TCP {
        return Err(Skipped::NotTcp);
    }
    if header.is_fragmenting_payload() {
        // The flags are cut off, or a second piece holds them (or writes over those of the first).
        let tiny = match header.fragments_offset().value() {
            0 => total - own < TCP_TO_FLAGS,
            offset => offset == 1,
        };
        return Err(if tiny { Skipped::TinyFragment } else { Skipped::Fragment });
    }
    // Ethernet pads short frames: what is behind the datagram is not part of it.
    Ok(Segment {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        bytes: &packet[own..packet.len().min(total)],
        length: total - own,
        more_follows: false,
        is_extended: false,
    })
}

/// A piece of an IPv4 datagram that holds TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Piece<'a> {
    /// Who sent it.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
    /// Which datagram it is of.
    pub identification: u16,
    /// Where in the datagram it belongs, in bytes.
    pub offset: u16,
    /// Whether it is not the last.
    pub more_follows: bool,
    /// Its length, as its header tells it.
    pub length: u32,
    /// As much of it as was captured.
    pub bytes: &'a [u8],
}

/// The piece in a frame that `decode` skipped as one, if it is of IPv4.
pub(crate) fn ipv4_piece(link: LinkType, frame: &[u8]) -> Option<Ipv4Piece<'_>> {
    let Ok((Version::Four, packet)) = strip_link(link, frame) else { return None };
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let (total, own) = (usize::from(header.total_len()), header.slice().len());
    Some(Ipv4Piece {
        source: header.source_addr(),
        destination: header.destination_addr(),
        identification: header.identification(),
        offset: header.fragments_offset().byte_offset(),
        more_follows: header.more_fragments(),
        length: u32::try_from(total.checked_sub(own)?).ok()?,
        bytes: packet.get(own..packet.len().min(total))?,
    })
}

/// Follows the extension headers as the kernel does: whatever their number, as long as there are bytes. Each takes eight of
/// them or more, so the steps are bounded by what was captured.
fn strip_ipv6(packet: &[u8]) -> Result<Segment<'_>, Skipped> {
    let Some((header, behind)) = packet.split_first_chunk::<IPV6_HEADER>() else {
        // A wrong version is a contradiction however little there is.
        let wrong = packet.first().is_some_and(|first| first >> 4 != 6);
        return Err(if wrong { Skipped::Malformed } else { Skipped::Truncated });
    };
    if header[0] >> 4 != 6 {
        return Err(Skipped::Malformed);
    }
    let mut next = header[6];
    // A payload length of 0 is a jumbogram's if a hop-by-hop header explains it (RFC 2675), else a contradiction. However
    // little of a jumbogram was captured, it is longer than any TCP header.
    let declared = match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        0 if next == HOP_BY_HOP => JUMBOGRAM_MIN,
        declared => declared,
    };
    // Padding is not part of the packet.
    let payload = &behind[..behind.len().min(declared)];
    let (mut at, mut more_follows) = (0, false);
    while next != TCP {
        let rest = &payload[at..];
        let too_short = || match (payload.len() < declared, more_follows) {
            (true, _) => Skipped::ExtensionHeaders,
            (false, true) => Skipped::TinyFragment,
            (false, false) => Skipped::Malformed,
        };
        let length = match next {
            HOP_BY_HOP if at > 0 => return Err(Skipped::Malformed),
            HOP_BY_HOP | ROUTING | DESTINATION => 8 + 8 * usize::from(*rest.get(1).ok_or_else(too_short)?),
            // RFC 4302: the length is in words of four bytes, and never 0.
            AUTHENTICATION => match *rest.get(1).ok_or_else(too_short)? {
                0 => return Err(Skipped::Malformed),
                words => 8 + 4 * usize::from(words),
            },
            FRAGMENT => 8,
            _ => return Err(Skipped::NotTcp),
        };
        if rest.len() < length {
            return Err(too_short());
        }
        if next == FRAGMENT {
            let place = u16::from_be_bytes([rest[2], rest[3]]);
            if place >> 3 != 0 {
                // What follows is data, not a header that could be trusted.
                return Err(if leads_to_tcp(rest[0]) { Skipped::Fragment } else { Skipped::NotTcp });
            }
            more_follows |= place & 1 == 1;
        }
        next = rest[0];
        at += length;
    }
    let address = |start: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[start..start + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    Ok(Segment {
        source: address(8),
        destination: address(24),
        bytes: &payload[at..],
        length: declared - at,
        more_follows,
        is_extended: at > 0,
    })
}

/// Whether a header of this kind is TCP, or may have TCP behind it.
const fn leads_to_tcp(next: u8) -> bool {
    matches!(next, TCP | HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

#[cfg(test)]
mod tests {
    use super::{ICMPV6, MOST_TAGS, Skipped, TCP_TO_FLAGS, decode, decode_any};
    use crate::packet::frames::*;
    use crate::packet::{LinkType, Packet, TcpFlags, Timestamp};
    use proptest::prelude::*;
    use std::net::IpAddr;

    const TIME: Timestamp = Timestamp::new(5, 7);

    fn syn4() -> Vec<u8> {
        ipv4(TCP, &tcp(SYN))
    }

    fn syn6() -> Vec<u8> {
        ipv6(TCP, &tcp(SYN))
    }

    fn probe(source: &str, destination: &str) -> Result<Packet, Skipped> {
        Ok(Packet {
            time: TIME,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_port: 40000,
            destination_port: 80,
            flags: TcpFlags(SYN),
        })
    }

    fn probe4() -> Result<Packet, Skipped> {
        probe("198.51.100.7", "192.0.2.10")
    }

    fn probe6() -> Result<Packet, Skipped> {
        probe("2001:db8::7", "2001:db8::10")
    }

    /// Decodes an Ethernet frame, both ways.
    fn on_ethernet(frame: &[u8]) -> Result<Packet, Skipped> {
        let result = decode(LinkType::Ethernet, TIME, frame);
        assert_eq!(result, decode_any(LinkType::Ethernet, TIME, frame), "the fast path disagrees");
        result
    }

    #[test]
    fn a_syn_is_found_behind_every_link_header() {
        for (kind, number) in LINKS {
            assert_eq!(LinkType::from_dlt(number), Some(kind));
            assert_eq!(decode(kind, TIME, &link(kind, &syn4())), probe4(), "{kind:?}");
            assert_eq!(decode(kind, TIME, &link(kind, &syn6())), probe6(), "{kind:?}");
        }
        assert_eq!(LinkType::from_dlt(127), None, "802.11 with radiotap");
    }

    #[test]
    fn bsd_loopback_is_in_the_byte_order_of_its_writer() {
        for family in [2u32.to_le_bytes(), 2u32.to_be_bytes()] {
            let frame = [&family[..], &syn4()].concat();
            assert_eq!(decode(LinkType::Null, TIME, &frame), probe4());
        }
        for family in [10u32, 24, 28, 30] {
            for bytes in [family.to_le_bytes(), family.to_be_bytes()] {
                let frame = [&bytes[..], &syn6()].concat();
                assert_eq!(decode(LinkType::Null, TIME, &frame), probe6(), "{family}");
            }
        }
        let frame = [&2u32.to_le_bytes()[..], &syn4()].concat();
        assert_eq!(decode(LinkType::Loop, TIME, &frame), Err(Skipped::NotIp), "always network byte order");
    }

    #[test]
    fn tags_are_stepped_over() {
        for tags in TAGGINGS {
            for (ether_type, packet, probe) in [(IPV4, syn4(), probe4()), (IPV6, syn6(), probe6())] {
                assert_eq!(on_ethernet(&tagged(tags, ether_type, &packet)), probe, "{tags:04x?}");
                assert_eq!(on_ethernet(&tagged(tags, 0x8864, &pppoe(&packet))), probe, "{tags:04x?}, PPPoE");
                for labels in [1, 2, 5] {
                    let frame = tagged(tags, 0x8847, &mpls(labels, &packet));
                    assert_eq!(on_ethernet(&frame), probe, "{tags:04x?}, {labels} labels");
                }
            }
        }
        // On `any`, a tag that the card did not strip stands behind the cooked header.
        let mut cooked = link(LinkType::LinuxSll, &syn4());
        cooked.splice(14..16, [0x81, 0, 0, 10, 8, 0]);
        assert_eq!(decode(LinkType::LinuxSll, TIME, &cooked), probe4());
        // Newer kernels name IP there and leave the inner tags; priority 3 looks like the version of IPv6.
        for (packet, ether_type, probe) in [(syn4(), [8, 0], probe4()), (syn6(), [0x86, 0xdd], probe6())] {
            for (kind, header) in [(LinkType::LinuxSll, 16), (LinkType::LinuxSll2, 20)] {
                let mut cooked = link(kind, &packet);
                for tag in [[&[0x60, 0][..], &ether_type].concat(), vec![0x45, 10, 0x81, 0]] {
                    cooked.splice(header..header, tag);
                    assert_eq!(decode(kind, TIME, &cooked), probe, "{kind:?}");
                }
            }
        }
    }

    #[test]
    fn more_tags_than_anyone_needs_are_named() {
        let most = [0x8100; MOST_TAGS];
        assert_eq!(on_ethernet(&tagged(&most, IPV4, &syn4())), probe4());
        assert_eq!(on_ethernet(&tagged(&[0x8100; MOST_TAGS + 1], IPV4, &syn4())), Err(Skipped::Tags));
        let frame = tagged(&most[..14], 0x8847, &mpls(2, &syn4()));
        assert_eq!(on_ethernet(&frame), probe4());
        let frame = tagged(&most[..14], 0x8847, &mpls(3, &syn4()));
        assert_eq!(on_ethernet(&frame), Err(Skipped::Tags), "tags and labels count together");
    }

    #[test]
    fn options_and_extension_headers_are_stepped_over() {
        let record_route = [7, 7, 4, 0, 0, 0, 0, 0];
        assert_eq!(on_ethernet(&ethernet(IPV4, &ipv4_options(TCP, &record_route, &tcp(SYN)))), probe4());
        let syn = tcp(SYN);
        for (next, payload) in [
            (HOP_BY_HOP, extension(TCP, &syn)),
            (ROUTING, extension(TCP, &syn)),
            (DESTINATION, extension(TCP, &syn)),
            (AUTHENTICATION, authentication(TCP, &syn)),
            (HOP_BY_HOP, extension(DESTINATION, &extension(ROUTING, &extension(TCP, &syn)))),
            (FRAGMENT, fragment(TCP, 0, false, &syn)),
            (HOP_BY_HOP, extension(FRAGMENT, &fragment(TCP, 0, false, &syn))),
            // As many as a frame holds: so does the kernel that answers.
            (DESTINATION, (0..150).fold(extension(TCP, &syn), |behind, _| extension(DESTINATION, &behind))),
        ] {
            assert_eq!(on_ethernet(&ethernet(IPV6, &ipv6(next, &payload))), probe6(), "{next}");
        }
    }

    #[test]
    fn syn_with_congestion_bits_is_a_probe_and_replies_are_not() {
        for flags in [SYN, SYN | 0x40, SYN | 0x80, SYN | 0xc0, SYN | 0x08] {
            assert!(on_ethernet(&ethernet(IPV4, &ipv4(TCP, &tcp(flags)))).is_ok(), "{flags:02x}");
            assert!(on_ethernet(&ethernet(IPV6, &ipv6(TCP, &tcp(flags)))).is_ok(), "{flags:02x}");
        }
        for flags in [0, ACK, SYN_ACK, 0x01, 0x03, 0x04, 0x06, 0x14, 0x18, 0x29] {
            let expected = Err(Skipped::NotProbe);
            assert_eq!(on_ethernet(&ethernet(IPV4, &ipv4(TCP, &tcp(flags)))), expected, "{flags:02x}");
            assert_eq!(on_ethernet(&ethernet(IPV6, &ipv6(TCP, &tcp(flags)))), expected, "{flags:02x}");
        }
    }

    #[test]
    fn pieces_without_the_flags_are_counted_and_never_decoded() {
        let syn = tcp(SYN);
        for (offset, more, reason) in [
            (0, true, Skipped::Fragment),
            // The flags begin at the thirteenth byte: the second piece may write over them.
            (1, true, Skipped::TinyFragment),
            (3, false, Skipped::Fragment),
        ] {
            let fragment4 = ethernet(IPV4, &ipv4_fragment(TCP, offset, more, &syn));
            assert_eq!(on_ethernet(&fragment4), Err(reason), "{offset} {more}");
            let of_udp = ethernet(IPV4, &ipv4_fragment(UDP, offset, more, &syn));
            assert_eq!(on_ethernet(&of_udp), Err(Skipped::NotTcp));
            let of_udp = ethernet(IPV6, &ipv6(FRAGMENT, &fragment(UDP, offset, more, &syn)));
            assert_eq!(on_ethernet(&of_udp), Err(Skipped::NotTcp));
        }
        for (offset, more) in [(1, true), (3, false)] {
            let later = ethernet(IPV6, &ipv6(FRAGMENT, &fragment(TCP, offset, more, &syn)));
            assert_eq!(on_ethernet(&later), Err(Skipped::Fragment), "{offset} {more}");
        }
        // nmap -f sends eight bytes of TCP at a time: too few to hold the flags.
        let tiny = ethernet(IPV4, &ipv4_fragment(TCP, 0, true, &syn[..8]));
        assert_eq!(on_ethernet(&tiny), Err(Skipped::TinyFragment));
        let tiny = ethernet(IPV6, &ipv6(FRAGMENT, &fragment(TCP, 0, true, &syn[..8])));
        assert_eq!(on_ethernet(&tiny), Err(Skipped::TinyFragment));
        let mut chain = extension(TCP, &syn);
        chain[1] = 9;
        let split = ethernet(IPV6, &ipv6(FRAGMENT, &fragment(DESTINATION, 0, true, &chain)));
        assert_eq!(on_ethernet(&split), Err(Skipped::TinyFragment), "the headers end in another piece");
        // A later piece whose own header says "more extension headers" shows data, not headers.
        let later = ethernet(IPV6, &ipv6(FRAGMENT, &fragment(DESTINATION, 4, true, &[0xff; 16])));
        assert_eq!(on_ethernet(&later), Err(Skipped::Fragment));
    }

    /// The kernel answers it as soon as the rest is there, and refuses a first piece with less (RFC 7112).
    #[test]
    fn an_ipv6_first_piece_with_the_whole_tcp_header_is_a_probe() {
        let mut syn = tcp(SYN);
        let piece = |syn: &[u8]| ethernet(IPV6, &ipv6(FRAGMENT, &fragment(TCP, 0, true, syn)));
        assert_eq!(on_ethernet(&piece(&syn)), probe6());
        assert_eq!(on_ethernet(&piece(&tcp(ACK))), Err(Skipped::NotProbe));
        syn[12] = 10 << 4;
        assert_eq!(on_ethernet(&piece(&syn)), probe6(), "options may come in the second");
        let behind = ipv6(FRAGMENT, &fragment(DESTINATION, 0, true, &extension(TCP, &syn)));
        assert_eq!(on_ethernet(&ethernet(IPV6, &behind)), probe6());
        assert_eq!(on_ethernet(&piece(&syn[..16])), Err(Skipped::TinyFragment));
    }

    #[test]
    fn what_is_not_tcp_over_ip_says_so() {
        assert_eq!(on_ethernet(&ethernet(0x0806, &[0; 28])), Err(Skipped::NotIp), "ARP");
        assert_eq!(on_ethernet(&ethernet(0x0027, &[0x42; 39])), Err(Skipped::NotIp), "802.3 length");
        assert_eq!(on_ethernet(&tagged(&[0x8100], 0x0806, &[0; 28])), Err(Skipped::NotIp), "tagged ARP");
        assert_eq!(on_ethernet(&ethernet(IPV4, &ipv4(UDP, &[0; 8]))), Err(Skipped::NotTcp));
        assert_eq!(on_ethernet(&ethernet(IPV4, &ipv4(1, &[0; 64]))), Err(Skipped::NotTcp));
        assert_eq!(on_ethernet(&ethernet(IPV6, &ipv6(ICMPV6, &[0; 64]))), Err(Skipped::NotTcp));
        assert_eq!(
            on_ethernet(&ethernet(IPV6, &ipv6(HOP_BY_HOP, &extension(ICMPV6, &[0; 8])))),
            Err(Skipped::NotTcp)
        );
        let arp = [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 6][..], &[0; 28]].concat();
        assert_eq!(decode(LinkType::LinuxSll, TIME, &arp), Err(Skipped::NotIp));
    }

    #[test]
    fn a_frame_cut_before_the_flags_is_truncated_and_behind_them_is_not() {
        for (kind, _) in LINKS {
            for packet in [syn4(), syn6(), ipv6(HOP_BY_HOP, &extension(TCP, &tcp(SYN)))] {
                let frame = link(kind, &packet);
                let tcp_start = frame.windows(4).position(|ports| ports == [0x9c, 0x40, 0, 80]).unwrap();
                for length in 0..frame.len() {
                    let result = decode(kind, TIME, &frame[..length]);
                    // Behind the IPv6 header are more headers, of which the next one's kind is known.
                    let extended = packet[6] == HOP_BY_HOP && length >= tcp_start - 8;
                    if length < tcp_start + TCP_TO_FLAGS {
                        let reason = if extended { Skipped::ExtensionHeaders } else { Skipped::Truncated };
                        assert_eq!(result, Err(reason), "{kind:?} cut to {length}");
                    } else {
                        assert!(result.is_ok(), "{kind:?} cut to {length}");
                    }
                }
            }
        }
    }

    #[test]
    fn headers_that_contradict_themselves_are_malformed() {
        let spoil = |packet: Vec<u8>, at: usize, value: u8| {
            let mut packet = packet;
            packet[at] = value;
            let ether_type = if packet.len() < 60 { IPV4 } else { IPV6 };
            on_ethernet(&ethernet(ether_type, &packet))
        };
        for (at, value, why) in [
            (0, 0x44, "header length below 20"),
            (0, 0x65, "another version"),
            (3, 19, "total length below the header"),
            (3, 0, "no total length"),
            (3, 39, "no room for a TCP header"),
            (32, 0x40, "data offset below 20"),
            (32, 0xf0, "data offset beyond the packet"),
        ] {
            assert_eq!(spoil(syn4(), at, value), Err(Skipped::Malformed), "IPv4: {why}");
        }
        for (at, value, why) in [
            (0, 0x45, "another version"),
            (5, 19, "no room for a TCP header"),
            (5, 0, "no payload at all"),
            (52, 0x40, "data offset below 20"),
            (52, 0xf0, "data offset beyond the packet"),
        ] {
            assert_eq!(spoil(syn6(), at, value), Err(Skipped::Malformed), "IPv6: {why}");
        }
        let late = ipv6(DESTINATION, &extension(HOP_BY_HOP, &extension(TCP, &tcp(SYN))));
        assert_eq!(on_ethernet(&ethernet(IPV6, &late)), Err(Skipped::Malformed), "hop-by-hop not first");
        let mut long = ipv6(DESTINATION, &extension(TCP, &tcp(SYN)));
        long[41] = 9;
        assert_eq!(
            on_ethernet(&ethernet(IPV6, &long)),
            Err(Skipped::Malformed),
            "extension beyond the packet"
        );
        assert_eq!(decode(LinkType::RawIp, TIME, &[0x55; 60]), Err(Skipped::Malformed));
    }

    #[test]
    fn padding_is_not_part_of_the_segment() {
        // 40 bytes of datagram claiming a 24-byte TCP header: the padding must not stand in for options.
        let mut packet = syn4();
        packet[32] = 6 << 4;
        assert_eq!(on_ethernet(&ethernet(IPV4, &packet)), Err(Skipped::Malformed));
        assert_eq!(on_ethernet(&ethernet(IPV4, &syn4())), probe4());
    }

    #[test]
    fn a_large_offloaded_segment_longer_than_the_capture_is_read() {
        let mut packet = ipv4(TCP, &tcp(ACK));
        packet[2..4].copy_from_slice(&60_000u16.to_be_bytes());
        assert_eq!(on_ethernet(&ethernet(IPV4, &packet)), Err(Skipped::NotProbe));
    }

    /// Frames that look like traffic, then spoiled: bytes changed where headers are, and the end cut off.
    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let segment = prop_oneof![
            any::<u8>().prop_map(tcp),
            Just(tcp(SYN)),
            prop::collection::vec(any::<u8>(), 0..40),
        ];
        let protocol = prop_oneof![4 => Just(TCP), 1 => Just(UDP), 1 => any::<u8>()];
        let packet = (segment, protocol, 0..9u8, 0..4u16, any::<bool>()).prop_map(
            |(payload, protocol, shape, offset, more)| match shape {
                0 | 1 => (IPV4, ipv4(protocol, &payload)),
                2 => (IPV4, ipv4_options(protocol, &[1; 8], &payload)),
                3 => (IPV4, ipv4_fragment(protocol, offset, more, &payload)),
                4 => (IPV6, ipv6(HOP_BY_HOP, &extension(protocol, &payload))),
                5 => (IPV6, ipv6(FRAGMENT, &fragment(protocol, offset, more, &payload))),
                6 => (IPV6, ipv6(AUTHENTICATION, &authentication(protocol, &payload))),
                _ => (IPV6, ipv6(protocol, &payload)),
            },
        );
        let tags = prop::sample::select(vec![vec![], vec![], vec![0x8100], vec![0x88a8, 0x8100]]);
        let spoils = prop::collection::vec((12..80usize, any::<u8>()), 0..3);
        (packet, tags, spoils, any::<bool>(), 0..120usize).prop_map(
            |((ether_type, packet), tags, spoils, cut, length)| {
                let mut frame = tagged(&tags, ether_type, &packet);
                for (at, value) in spoils {
                    if let Some(byte) = frame.get_mut(at) {
                        *byte = value;
                    }
                }
                if cut {
                    frame.truncate(length);
                }
                frame
            },
        )
    }

    /// What etherparse alone makes of a whole Ethernet frame, where it has no doubts.
    fn by_etherparse(frame: &[u8]) -> Option<Packet> {
        use etherparse::{NetSlice, SlicedPacket, TransportSlice};
        let sliced = SlicedPacket::from_ethernet(frame).ok()?;
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
        let (source, destination): (IpAddr, IpAddr) = match sliced.net? {
            // IPsec over IPv4 and jumbograms are where we differ on purpose.
            NetSlice::Ipv4(ip) if ip.extensions().auth.is_none() => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            NetSlice::Ipv6(ip) if ip.header().payload_length() != 0 => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            _ => return None,
        };
        let flags = TcpFlags(tcp.slice()[13]);
        let ports = (tcp.source_port(), tcp.destination_port());
        Some(Packet {
            time: TIME,
            source,
            destination,
            source_port: ports.0,
            destination_port: ports.1,
            flags,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_fast_path_agrees_with_etherparse(frame in frames()) {
            let result = on_ethernet(&frame);
            if let Some(packet) = by_etherparse(&frame) {
                let expected = if packet.flags.is_syn_probe() { Ok(packet) } else { Err(Skipped::NotProbe) };
                prop_assert_eq!(result, expected);
            }
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
            for (kind, _) in LINKS {
                let _ = decode(kind, TIME, &bytes);
            }
        }
    }
}
