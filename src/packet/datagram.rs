//! What asks without TCP: UDP, SCTP, ICMP and other protocols. Looked at only where one of their techniques is enabled, so
//! the way of TCP costs nothing more.

use crate::packet::decode::segment;
use crate::packet::ip::{ICMP, ICMPV6, IPV4_HEADER, IPV6_HEADER, SCTP, TCP, UDP, ipv4_piece};
use crate::packet::link::{ETHERNET_HEADER, IPV4, IPV6};
use crate::packet::tcp::Segment;
use crate::packet::tunnel::is_over_udp;
use crate::packet::{LinkType, Skipped, Technique};
use std::net::IpAddr;

/// Lengths of headers; SCTP's with that of its first chunk (RFC 9260, section 3).
const UDP_HEADER: usize = 8;
const SCTP_HEADER: usize = 16;

/// Where the type of SCTP's first chunk is, and what begins an association.
pub(super) const CHUNK: usize = 12;
pub(super) const INIT: u8 = 1;

/// ICMP's requests: echo, time, netmask (RFC 792, RFC 950), and IPv6's only one (RFC 4443).
pub(super) const REQUESTS: [u8; 3] = [8, 13, 17];
pub(super) const ECHO_V6: u8 = 128;

/// An IP packet that is not TCP and asks for something, if it is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub source: IpAddr,
    /// The host that was asked.
    pub destination: IpAddr,
    /// The sender's port; 0 where there are none.
    pub source_port: u16,
    /// The port that was asked for; of another protocol its number, of ICMP 0.
    pub destination_port: u16,
    /// How it asks.
    pub technique: Technique,
}

/// Whether a frame that `decode` called "not TCP" is plain UDP, and no tunnel, or plain ICMP: so are nearly all of a file, and
/// nobody need look at them again unless one of these is looked for.
#[inline]
pub fn is_ordinary(link: LinkType, frame: &[u8]) -> bool {
    const IP: usize = ETHERNET_HEADER;
    let Some(head) = frame.first_chunk::<{ IP + IPV6_HEADER + 4 }>() else { return false };
    if link != LinkType::Ethernet {
        return false;
    }
    // Where the next header is named, and where it begins.
    let (protocol, at, icmp) = match u16::from_be_bytes([head[IP - 2], head[IP - 1]]) {
        IPV4 if head[IP] == 0x45 => (head[IP + 9], IP + IPV4_HEADER, ICMP),
        IPV6 => (head[IP + 6], IP + IPV6_HEADER, ICMPV6),
        _ => return false,
    };
    protocol == icmp || protocol == UDP && !is_over_udp(u16::from_be_bytes([head[at + 2], head[at + 3]]))
}

/// The datagram in a frame that `decode` called "not TCP".
pub fn look(link: LinkType, frame: &[u8]) -> Result<Datagram, Skipped> {
    let segment = segment(link, frame)?;
    let (icmp, requests) =
        if segment.source.is_ipv4() { (ICMP, &REQUESTS[..]) } else { (ICMPV6, &[ECHO_V6][..]) };
    match segment.protocol {
        TCP => Err(Skipped::NotTcp),
        UDP => with_ports(&segment, Technique::Udp, UDP_HEADER),
        SCTP => match segment.bytes.get(CHUNK) {
            Some(&INIT) => with_ports(&segment, Technique::Sctp, SCTP_HEADER),
            Some(_) => Err(Skipped::NotProbe),
            None => Err(short(&segment, SCTP_HEADER)),
        },
        protocol if protocol == icmp => match segment.bytes.first() {
            Some(kind) if requests.contains(kind) => Ok(datagram(&segment, Technique::Icmp, [0, 0])),
            Some(_) => Err(Skipped::NotTcp),
            None => Err(short(&segment, 1)),
        },
        other => Ok(datagram(&segment, Technique::Protocol, [0, other.into()])),
    }
}

fn datagram(
    segment: &Segment<'_>,
    technique: Technique,
    [source_port, destination_port]: [u16; 2],
) -> Datagram {
    let &Segment { source, destination, .. } = segment;
    Datagram { source, destination, source_port, destination_port, technique }
}

/// Why a frame is a piece of an IPv4 datagram that holds SCTP, if it is: tiny, if it is the first and does not hold the kind of the first
/// chunk, or the one that does then.
pub(crate) fn sctp_piece(link: LinkType, frame: &[u8]) -> Option<Skipped> {
    let piece = ipv4_piece(link, frame)?;
    if piece.protocol != SCTP || piece.offset == 0 && !piece.more_follows {
        return None;
    }
    let is_tiny = match piece.offset {
        0 => piece.length as usize <= CHUNK,
        offset => usize::from(offset) <= CHUNK,
    };
    Some(if is_tiny { Skipped::TinyFragment } else { Skipped::Fragment })
}

/// A protocol whose header begins with the ports, as long as this at least.
fn with_ports(segment: &Segment<'_>, technique: Technique, header: usize) -> Result<Datagram, Skipped> {
    let [a, b, c, d] = *segment.bytes.first_chunk::<4>().ok_or(short(segment, header))?;
    if segment.length < header && !segment.more_follows {
        return Err(Skipped::Malformed);
    }
    Ok(datagram(segment, technique, [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]))
}

/// Why there is less than a header.
fn short(segment: &Segment<'_>, header: usize) -> Skipped {
    match segment.length {
        length if length < header && segment.more_follows => Skipped::TinyFragment,
        length if length < header => Skipped::Malformed,
        _ => Skipped::Truncated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::frames::{self, LINKS};
    use crate::packet::{Timestamp, decode};

    fn seen(packet: &[u8]) -> Result<(Technique, u16, u16), Skipped> {
        let all = LINKS.map(|(link, _)| {
            let frame = frames::link(link, packet);
            assert_eq!(decode(link, Timestamp::default(), &frame), Err(Skipped::NotTcp));
            look(link, &frame).map(|told| (told.technique, told.source_port, told.destination_port))
        });
        all[1..].iter().for_each(|other| assert_eq!(*other, all[0]));
        all[0]
    }

    const PORTS: [u8; 4] = [0x9c, 0x40, 0, 53];

    fn udp() -> Vec<u8> {
        [&PORTS[..], &[0, 8, 0, 0]].concat()
    }

    fn sctp(chunk: u8) -> Vec<u8> {
        [&PORTS[..], &[0; 8], &[chunk, 0, 0, 20], &[0; 16]].concat()
    }

    #[test]
    fn what_asks_is_known_in_both_families() {
        for is_v6 in [false, true] {
            let ip = if is_v6 { frames::ipv6 } else { frames::ipv4 };
            assert_eq!(seen(&ip(UDP, &udp())), Ok((Technique::Udp, 40_000, 53)));
            assert_eq!(seen(&ip(SCTP, &sctp(1))), Ok((Technique::Sctp, 40_000, 53)));
            for chunk in [0, 2, 3, 6, 10, 14] {
                assert_eq!(seen(&ip(SCTP, &sctp(chunk))), Err(Skipped::NotProbe), "data, an answer, an end");
            }
            for protocol in [2, 47, 50, 89, 103, 255] {
                assert_eq!(seen(&ip(protocol, &[0; 8])), Ok((Technique::Protocol, 0, protocol.into())));
            }
        }
    }

    #[test]
    fn of_icmp_only_requests_ask() {
        for kind in 0..=u8::MAX {
            let asks = |asks| if asks { Ok((Technique::Icmp, 0, 0)) } else { Err(Skipped::NotTcp) };
            assert_eq!(seen(&frames::ipv4(ICMP, &[kind; 8])), asks(REQUESTS.contains(&kind)));
            assert_eq!(seen(&frames::ipv6(ICMPV6, &[kind; 8])), asks(kind == ECHO_V6));
        }
    }

    #[test]
    fn what_is_cut_or_too_short_is_said() {
        assert_eq!(seen(&frames::ipv4(UDP, &[0; 7])), Err(Skipped::Malformed));
        assert_eq!(seen(&frames::ipv4(SCTP, &[0; 12])), Err(Skipped::Malformed));
        let frame = frames::unpadded(0x0800, &frames::ipv4(UDP, &udp()));
        assert_eq!(look(LinkType::Ethernet, &frame[..36]), Err(Skipped::Truncated));
        let first = frames::ethernet(0x0800, &frames::ipv4_fragment(UDP, 0, true, &udp()));
        assert_eq!(look(LinkType::Ethernet, &first).map(|told| told.destination_port), Ok(53));
        let later = frames::ethernet(0x0800, &frames::ipv4_fragment(UDP, 3, false, &udp()));
        assert_eq!(look(LinkType::Ethernet, &later), Err(Skipped::NotTcp), "it has no ports");
    }

    #[test]
    fn plain_udp_and_icmp_are_ordinary_and_tunnels_are_not() {
        let to = |port: u16| [&[0x9c, 0x40], &port.to_be_bytes()[..], &[0; 60]].concat();
        for (ether_type, ip, icmp) in [
            (0x0800, frames::ipv4 as fn(u8, &[u8]) -> Vec<u8>, ICMP),
            (0x86dd, frames::ipv6 as fn(u8, &[u8]) -> Vec<u8>, ICMPV6),
        ] {
            for (protocol, port, ordinary) in [
                (UDP, 53, true),
                (icmp, 0, true),
                (UDP, 4789, false),
                (UDP, 6081, false),
                (SCTP, 53, false),
                (47, 0, false),
                (4, 0, false),
            ] {
                let frame = frames::ethernet(ether_type, &ip(protocol, &to(port)));
                assert_eq!(is_ordinary(LinkType::Ethernet, &frame), ordinary, "{protocol}: {port}");
                if ordinary {
                    assert!(!crate::packet::tunnel::is_tunnel(LinkType::Ethernet, &frame));
                }
            }
        }
    }
}
