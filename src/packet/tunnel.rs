//! Tunnels that carry whole packets in the open: IP in IP, 6in4, GRE, VXLAN, Geneve, and what a switch mirrors in ERSPAN; and the
//! numbers of others, which are only counted.

use crate::packet::decode::segment;
use crate::packet::ip::{AUTHENTICATION, UDP};
use crate::packet::link::{IPV4, IPV6};
use crate::packet::tcp::Segment;
use crate::packet::{LinkType, Skipped};

/// Protocol numbers: IP in IP (RFC 2003), 6in4 (RFC 4213), GRE (RFC 2784).
const IP_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
pub(super) const OPEN: [u8; 3] = [IP_IN_IP, IPV6_IN_IP, GRE];

/// UDP ports of VXLAN (RFC 7348, and what Linux takes unless told otherwise) and Geneve (RFC 8926).
const VXLAN: u16 = 4789;
const VXLAN_OF_LINUX: u16 = 8472;
const GENEVE: u16 = 6081;
pub(super) const OPEN_PORTS: [u16; 3] = [VXLAN, VXLAN_OF_LINUX, GENEVE];

/// Protocols that carry packets and are never looked into: ESP, AH over IPv4, minimal encapsulation (RFC 2004), EtherIP, IPComp,
/// L2TP, MPLS in IP, Ethernet (RFC 8986).
pub(super) const CLOSED: [u8; 8] = [50, AUTHENTICATION, 55, 97, 108, 115, 137, 143];

/// The same over UDP: L2TP, GTP-U, Teredo, LISP, ESP (RFC 3948), VXLAN-GPE, GUE, MPLS.
pub(super) const CLOSED_PORTS: [u16; 8] = [1701, 2152, 3544, 4341, 4500, 4790, 6080, 6635];

/// The least and the greatest of all these ports: most datagrams go to one outside.
pub(super) const PORTS: [u16; 2] = [1701, 8472];

/// What becomes of tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tunnels {
    /// They are counted. Live only a part of them is handed over for that: one of `SAMPLE`.
    #[default]
    Count,
    /// They are looked into.
    Follow,
}

/// Of so many frames of tunnels that are not looked into the kernel hands over one, by chance.
pub const SAMPLE: u32 = 64;

/// Tunnels in tunnels that are followed. A sender that nests more hides, as behind tags.
pub const MOST_NESTED: usize = 4;

/// Ether types that tunnels name.
const ETHERNET: u16 = 0x6558;
const ERSPAN: u16 = 0x88be;
const ERSPAN_III: u16 = 0x22eb;

/// Whether a frame that `decode` called "not TCP" carries another packet in the open.
pub fn is_tunnel(link: LinkType, frame: &[u8]) -> bool {
    segment(link, frame).is_ok_and(|outer| carried(&outer).is_some())
}

/// Whether such a frame carries another packet in any way.
pub fn is_carrier(link: LinkType, frame: &[u8]) -> bool {
    segment(link, frame).is_ok_and(|outer| carried(&outer).is_some() || is_closed(&outer))
}

/// Whether UDP to this port is a tunnel.
#[inline]
pub(super) fn is_over_udp(port: u16) -> bool {
    let [least, greatest] = PORTS;
    (least..=greatest).contains(&port) && (OPEN_PORTS.contains(&port) || CLOSED_PORTS.contains(&port))
}

/// Whether it is one of those that are never looked into.
fn is_closed(outer: &Segment<'_>) -> bool {
    CLOSED.contains(&outer.protocol)
        || outer.protocol == UDP && port_of(outer).is_some_and(|port| CLOSED_PORTS.contains(&port))
}

fn port_of(outer: &Segment<'_>) -> Option<u16> {
    outer.bytes.get(2..4).map(|port| u16::from_be_bytes([port[0], port[1]]))
}

/// The packet that a frame carries, and what it begins with; `None` if it is no tunnel. A tunnel that is cut, or that
/// contradicts itself, carries nothing.
pub fn inside(link: LinkType, frame: &[u8]) -> Option<Result<(LinkType, &[u8]), Skipped>> {
    let outer = segment(link, frame).ok()?;
    carried(&outer)?;
    let inner = unwrap(&outer);
    Some(inner.ok_or(if outer.bytes.len() < outer.length { Skipped::Truncated } else { Skipped::Malformed }))
}

/// The tunnel that it is.
fn carried(outer: &Segment<'_>) -> Option<Tunnel> {
    match outer.protocol {
        IP_IN_IP | IPV6_IN_IP => Some(Tunnel::Ip),
        GRE => Some(Tunnel::Gre),
        UDP => match port_of(outer)? {
            VXLAN | VXLAN_OF_LINUX => Some(Tunnel::Vxlan),
            GENEVE => Some(Tunnel::Geneve),
            _ => None,
        },
        _ => None,
    }
}

enum Tunnel {
    Ip,
    Gre,
    Vxlan,
    Geneve,
}

fn unwrap<'a>(outer: &Segment<'a>) -> Option<(LinkType, &'a [u8])> {
    let bytes = outer.bytes;
    match carried(outer)? {
        Tunnel::Ip => Some((LinkType::RawIp, bytes)),
        Tunnel::Gre => {
            let flags = bytes.first()? >> 4;
            let ether_type = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
            // Checksum, key and sequence number (RFC 2784, RFC 2890): four bytes each.
            let header = 4 + 4 * (flags & 0b1011).count_ones() as usize;
            let mirrored = match ether_type {
                // Version II has a header only with a sequence number.
                ERSPAN if flags & 1 == 1 => 8,
                ERSPAN_III => 12,
                _ => 0,
            };
            named(ether_type, bytes.get(header + mirrored..)?)
        }
        // Behind UDP's header; the flag says that there is an identifier, as there must be.
        Tunnel::Vxlan if bytes.get(8)? & 0x08 != 0 => named(ETHERNET, bytes.get(16..)?),
        Tunnel::Vxlan => None,
        Tunnel::Geneve => {
            let options = 4 * usize::from(bytes.get(8)? & 0x3f);
            let ether_type = u16::from_be_bytes([*bytes.get(10)?, *bytes.get(11)?]);
            named(ether_type, bytes.get(16 + options..)?)
        }
    }
}

fn named(ether_type: u16, inner: &[u8]) -> Option<(LinkType, &[u8])> {
    match ether_type {
        IPV4 | IPV6 => Some((LinkType::RawIp, inner)),
        ETHERNET | ERSPAN | ERSPAN_III => Some((LinkType::Ethernet, inner)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CLOSED, CLOSED_PORTS, ERSPAN, ERSPAN_III, ETHERNET, GENEVE, GRE, IP_IN_IP, IPV6_IN_IP, OPEN_PORTS,
        PORTS, VXLAN, VXLAN_OF_LINUX, inside, is_carrier, is_tunnel,
    };
    use crate::packet::frames::*;
    use crate::packet::link::CARRIERS;
    use crate::packet::{LinkType, Skipped, Timestamp, decode};

    fn udp_to(port: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
        [&[0x9c, 0x40], &port.to_be_bytes()[..], &length, &[0, 0], payload].concat()
    }

    /// Every tunnel around a packet, by its name.
    fn around(packet: &[u8]) -> Vec<(&'static str, u8, Vec<u8>)> {
        let is_v6 = packet[0] >> 4 == 6;
        let ether_type = if is_v6 { IPV6 } else { IPV4 };
        let gre = |flags: u8, ether_type: u16, rest: &[&[u8]]| {
            [&[&[flags, 0][..], &ether_type.to_be_bytes()], rest].concat().concat()
        };
        let frame = ethernet(ether_type, packet);
        let geneve = |options: u8, ether_type: u16, inner: &[u8]| {
            let head = [&[options, 0][..], &ether_type.to_be_bytes(), &[0, 0, 7, 0]].concat();
            udp_to(GENEVE, &[&head, &vec![0; usize::from(options) * 4][..], inner].concat())
        };
        vec![
            ("IP in IP", if is_v6 { IPV6_IN_IP } else { IP_IN_IP }, packet.to_vec()),
            ("GRE", GRE, gre(0, ether_type, &[packet])),
            ("GRE with a key", GRE, gre(0x20, ether_type, &[&[0; 4], packet])),
            ("GRE with all", GRE, gre(0xb0, ether_type, &[&[0; 12], packet])),
            ("Ethernet in GRE", GRE, gre(0, ETHERNET, &[&frame])),
            ("ERSPAN I", GRE, gre(0, ERSPAN, &[&frame])),
            ("ERSPAN II", GRE, gre(0x10, ERSPAN, &[&[0; 4], &[0; 8], &frame])),
            ("ERSPAN III", GRE, gre(0x10, ERSPAN_III, &[&[0; 4], &[0; 12], &frame])),
            ("VXLAN", UDP, udp_to(VXLAN, &[&[8, 0, 0, 0, 0, 0, 7, 0][..], &frame].concat())),
            (
                "VXLAN of Linux",
                UDP,
                udp_to(VXLAN_OF_LINUX, &[&[8, 0, 0, 0, 0, 0, 7, 0][..], &frame].concat()),
            ),
            ("Geneve", UDP, geneve(0, ETHERNET, &frame)),
            ("Geneve with options", UDP, geneve(3, ether_type, packet)),
        ]
    }

    #[test]
    fn what_a_tunnel_carries_is_found() {
        for packet in [ipv4(TCP, &tcp(SYN)), ipv6(TCP, &tcp(SYN))] {
            let bare = decode(LinkType::RawIp, Timestamp::default(), &packet);
            for (name, protocol, payload) in around(&packet) {
                for outer in [ipv4(protocol, &payload), ipv6(protocol, &payload)] {
                    for (kind, _) in LINKS {
                        let frame = link(kind, &outer);
                        assert_eq!(decode(kind, Timestamp::default(), &frame), Err(Skipped::NotTcp));
                        assert!(is_tunnel(kind, &frame), "{name}");
                        let (inner, bytes) = inside(kind, &frame).expect(name).expect(name);
                        assert_eq!(decode(inner, Timestamp::default(), bytes), bare, "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_tunnel_carries_nothing() {
        for (protocol, payload) in [(UDP, udp_to(53, &[0; 40])), (1, vec![8; 40]), (89, vec![0; 40])] {
            let frame = ethernet(IPV4, &ipv4(protocol, &payload));
            assert_eq!(inside(LinkType::Ethernet, &frame), None);
            assert!(!is_carrier(LinkType::Ethernet, &frame));
        }
        let ppp = ethernet(IPV4, &ipv4(GRE, &[0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(inside(LinkType::Ethernet, &ppp), Some(Err(Skipped::Malformed)), "PPTP");
    }

    #[test]
    fn what_nobody_looks_into_is_known_by_its_number() {
        let over_udp = CLOSED_PORTS.map(|port| (UDP, udp_to(port, &[0; 40])));
        for (protocol, payload) in over_udp.into_iter().chain(CLOSED.map(|one| (one, vec![0; 40]))) {
            let frame = ethernet(IPV4, &ipv4(protocol, &payload));
            assert_eq!(inside(LinkType::Ethernet, &frame), None);
            assert!(is_carrier(LinkType::Ethernet, &frame), "{protocol}");
        }
        let all = || CLOSED_PORTS.into_iter().chain(OPEN_PORTS);
        assert_eq!(PORTS.map(Some), [all().min(), all().max()], "no port is outside of it");
    }

    #[test]
    fn the_manual_names_what_nobody_looks_into() {
        let manual = include_str!("../../README.md");
        let (_, list) = manual.split_once("These are never looked into").expect("it has a list");
        let (list, _) = list.split_once("\n\n").expect("and goes on");
        let numbers =
            CLOSED.map(u16::from).into_iter().chain(CLOSED_PORTS).map(|number| format!("({number}"));
        for number in numbers.chain(CARRIERS.map(|carrier| format!("({carrier:#06x}"))) {
            assert!(list.contains(&format!("{number})")) || list.contains(&format!("{number};")), "{number}");
        }
        assert_eq!(
            list.matches('(').count(),
            CLOSED.len() + CLOSED_PORTS.len() + CARRIERS.len() + 2,
            "no other"
        );
    }

    #[test]
    fn however_it_is_cut_it_does_not_panic() {
        for (_, protocol, payload) in around(&ipv4(TCP, &tcp(SYN))) {
            let frame = ethernet(IPV4, &ipv4(protocol, &payload));
            for end in 0..frame.len() {
                let _ = inside(LinkType::Ethernet, &frame[..end]);
            }
        }
    }
}
