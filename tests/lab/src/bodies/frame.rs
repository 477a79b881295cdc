//! `decode` against a reading of the RFCs with nothing fast in it.

use portscan_exporter::detect::Probe;
use portscan_exporter::packet::filter::{self, Instruction};
use portscan_exporter::packet::tunnel::{self, Tunnels};
use portscan_exporter::packet::{LinkType, Packet, TcpFlags, Techniques, Timestamp, datagram};
use portscan_exporter::packet::{Skipped, decode as decode_frame};
use std::net::IpAddr;

const LINKS: [LinkType; 6] = [
    LinkType::Ethernet,
    LinkType::LinuxSll,
    LinkType::LinuxSll2,
    LinkType::RawIp,
    LinkType::Null,
    LinkType::Loop,
];

/// The first byte chooses the link type, the rest is the frame.
pub fn decode(bytes: &[u8]) {
    let Some((&link, frame)) = bytes.split_first() else { return };
    let link = LINKS[usize::from(link) % LINKS.len()];
    let time = Timestamp::new(5, 7);
    let decoded = decode_frame(link, time, frame);

    match (reference(link, time, frame), decoded) {
        (Exactly(expected), decoded) => assert_eq!(decoded, expected, "{link:?}"),
        (NoPacket, Err(_)) => {}
        (NoPacket, Ok(packet)) => panic!("{link:?}: {packet:?} is no packet"),
    }
    if decoded.is_ok() {
        // What was cut off can hide a packet, but not make another one of it.
        for end in 0..frame.len() {
            let cut = decode_frame(link, time, &frame[..end]);
            let hidden = matches!(cut, Err(Skipped::Truncated | Skipped::ExtensionHeaders));
            assert!(hidden || cut == decoded, "{end}: {cut:?}");
        }
    }
    datagrams(link, frame);
    let asks = decoded.is_ok_and(|packet| asks(packet.flags));
    assert_eq!(decoded.is_ok_and(|packet| Probe::of(&packet).is_some()), asks, "{decoded:?}");
    // The kernel lets through whatever would be a probe, and enough of it.
    if asks {
        let taken = filter::simulate(&program(link), frame).0 as usize;
        let captured = &frame[..taken.min(frame.len())];
        let longer = frame.len() > filter::SNAPLEN_MAX as usize;
        assert!(taken > 0, "{link:?}: the kernel filter loses {decoded:?}");
        assert!(longer || decode_frame(link, time, captured) == decoded, "{link:?}: it cuts {decoded:?}");
    }
}

/// What asks without TCP, and what is in tunnels: the kernel lets it through, and enough of it.
fn datagrams(link: LinkType, frame: &[u8]) {
    let asked = datagram::look(link, frame);
    let inside = tunnel::inside(link, frame);
    assert_eq!(inside.is_some(), tunnel::is_tunnel(link, frame), "{link:?}");
    if frame.len() > filter::SNAPLEN_MAX as usize || asked.is_err() && inside.is_none() {
        return;
    }
    thread_local! {
        static PROGRAMS: [Vec<Instruction>; 6] =
            LINKS.map(|link| filter::program(link, Techniques::ALL, Tunnels::Follow));
    }
    let at = LINKS.iter().position(|known| *known == link).expect("one of them");
    let taken = PROGRAMS.with(|programs| filter::simulate(&programs[at], frame).0 as usize);
    let captured = &frame[..taken.min(frame.len())];
    if asked.is_ok() {
        assert_eq!(datagram::look(link, captured), asked, "{link:?}: the kernel filter takes {taken}");
    } else if let Some(Ok(_)) = inside {
        assert!(taken > 0, "{link:?}: the kernel filter loses a tunnel");
    }
}

/// RFC 9293, section 3.1, read anew: what begins a connection, and what no state of one sends.
fn asks(flags: TcpFlags) -> bool {
    let [fin, syn, rst, ack] = [1, 2, 4, 16].map(|flag| flags.0 & flag != 0);
    if syn {
        // A SYN may be acknowledged; it neither ends nor resets what it begins.
        return !ack || fin || rst;
    }
    if rst {
        return fin && !ack;
    }
    // Only a SYN and a RST may come without ACK.
    !ack
}

fn program(link: LinkType) -> Vec<Instruction> {
    thread_local! {
        static PROGRAMS: [Vec<Instruction>; 6] = LINKS.map(|link| filter::program(link, Techniques::DEFAULT, Tunnels::Count));
    }
    let at = LINKS.iter().position(|known| *known == link).expect("one of them");
    PROGRAMS.with(|programs| programs[at].clone())
}

enum Expected {
    /// This and nothing else.
    Exactly(Result<Packet, Skipped>),
    /// No packet; which of several faults is told first is a matter of taste.
    NoPacket,
}
use Expected::{Exactly, NoPacket};

fn number(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])
}

fn reference(link: LinkType, time: Timestamp, frame: &[u8]) -> Expected {
    match strip_link(link, frame) {
        Err(skipped) => Exactly(Err(skipped)),
        Ok((4, packet)) => Exactly(ipv4(time, packet)),
        Ok((_, packet)) => ipv6(time, packet),
    }
}

/// The IP version and the packet.
fn strip_link(link: LinkType, frame: &[u8]) -> Result<(u8, &[u8]), Skipped> {
    let (header, protocol) = match link {
        LinkType::Ethernet => (14, 12),
        LinkType::LinuxSll => (16, 14),
        LinkType::LinuxSll2 => (20, 0),
        LinkType::RawIp => {
            return match frame.first().map(|byte| byte >> 4) {
                None => Err(Skipped::Truncated),
                Some(version @ (4 | 6)) => Ok((version, frame)),
                Some(_) => Err(Skipped::Malformed),
            };
        }
        LinkType::Null | LinkType::Loop => {
            if frame.len() < 4 {
                return Err(Skipped::Truncated);
            }
            let big = frame[..2] == [0, 0];
            let little = link == LinkType::Null && frame[2..4] == [0, 0] && !big;
            let family = if big {
                number(frame, 2)
            } else if little {
                usize::from(frame[1]) << 8 | usize::from(frame[0])
            } else {
                0
            };
            return match family {
                2 => Ok((4, &frame[4..])),
                10 | 24 | 28 | 30 => Ok((6, &frame[4..])),
                _ => Err(Skipped::NotIp),
            };
        }
    };
    if frame.len() < header {
        return Err(Skipped::Truncated);
    }
    let (mut ether_type, mut at) = (number(frame, protocol), header);
    let mut steps = 0;
    while [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300].contains(&ether_type) {
        steps += 1;
        if steps > 16 {
            return Err(Skipped::Tags);
        }
        if frame.len() < at + 4 {
            return Err(Skipped::Truncated);
        }
        (ether_type, at) = (number(frame, at + 2), at + 4);
    }
    if matches!(link, LinkType::LinuxSll | LinkType::LinuxSll2) {
        // Tags that newer kernels leave behind a cooked header that names what they lead to, or, if they are many, nothing.
        let (mut end, mut walked) = (at, steps);
        let mut found = ether_type;
        let mut is_tag = true;
        while is_tag && walked < 16 && frame.len() >= end + 4 {
            (found, end, walked) = (number(frame, end + 2), end + 4, walked + 1);
            is_tag = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300].contains(&found);
        }
        let right = frame.get(end).is_some_and(|first| match found {
            0x0800 => first >> 4 == 4,
            0x86dd => first >> 4 == 6,
            0x8864 => *first == 0x11,
            0x8847 | 0x8848 => true,
            _ => false,
        });
        let unnamed = ether_type == 0 && end >= at + 8;
        if end > at && right && (found == ether_type || unnamed) {
            (ether_type, at, steps) = (found, end, walked);
        } else if ether_type == 0 && is_tag && end > at && walked >= 16 {
            return Err(Skipped::Tags);
        }
    }
    match ether_type {
        0x0800 => Ok((4, &frame[at..])),
        0x86dd => Ok((6, &frame[at..])),
        0x8864 if frame.len() < at + 8 => Err(Skipped::Truncated),
        0x8864 => match number(frame, at + 6) {
            0x0021 => Ok((4, &frame[at + 8..])),
            0x0057 => Ok((6, &frame[at + 8..])),
            0x8000.. => Err(Skipped::NotIp),
            _ => Err(Skipped::Tunnel),
        },
        0x8847 | 0x8848 => loop {
            steps += 1;
            if steps > 16 {
                return Err(Skipped::Tags);
            }
            if frame.len() < at + 4 {
                return Err(Skipped::Truncated);
            }
            at += 4;
            if frame[at - 2] & 1 == 1 {
                return match frame.get(at).map(|byte| byte >> 4) {
                    None => Err(Skipped::Truncated),
                    Some(version @ (4 | 6)) => Ok((version, &frame[at..])),
                    Some(_) => Err(Skipped::Tunnel),
                };
            }
        },
        0x88e5 | 0x88e7 | 0x894f | 0x22f3 | 0x892f | 0x8909 => Err(Skipped::Tunnel),
        // IEEE 802.2: its own access point of IP, or SNAP.
        0..0x600 if frame[at..].starts_with(&[6, 6]) => Err(Skipped::Tunnel),
        0..0x600
            if frame[at..].starts_with(&[0xaa, 0xaa])
                && frame.len() >= at + 8
                && [0x0800, 0x86dd].contains(&number(frame, at + 6)) =>
        {
            Err(Skipped::Tunnel)
        }
        _ => Err(Skipped::NotIp),
    }
}

/// RFC 791.
fn ipv4(time: Timestamp, packet: &[u8]) -> Result<Packet, Skipped> {
    if packet.len() < 20 {
        return Err(Skipped::Truncated);
    }
    let own = usize::from(packet[0] & 0xf) * 4;
    if packet[0] >> 4 != 4 || own < 20 {
        return Err(Skipped::Malformed);
    }
    if packet.len() < own {
        return Err(Skipped::Truncated);
    }
    let total = number(packet, 2);
    if total < own {
        return Err(Skipped::Malformed);
    }
    if packet[9] != 6 {
        return Err(Skipped::NotTcp);
    }
    match (number(packet, 6) & 0x1fff, number(packet, 6) & 0x2000) {
        (0, 0) => {}
        (0, _) if total - own < 14 => return Err(Skipped::TinyFragment),
        (1, _) => return Err(Skipped::TinyFragment),
        _ => return Err(Skipped::Fragment),
    }
    let address = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes").into();
    let captured = &packet[own..total.min(packet.len())];
    tcp(time, address(12), address(16), captured, total - own, false)
}

/// RFC 8200 and, for packets longer than their length says, RFC 2675.
fn ipv6(time: Timestamp, packet: &[u8]) -> Expected {
    if packet.len() < 40 {
        return Exactly(Err(Skipped::Truncated));
    }
    if packet[0] >> 4 != 6 {
        return Exactly(Err(Skipped::Malformed));
    }
    let declared = number(packet, 4);
    let jumbogram = declared == 0 && packet[6] == 0;
    let mut rest = match declared {
        0 => &packet[40..],
        length => &packet[40..packet.len().min(40 + length)],
    };
    let mut first_piece = false;
    let (mut next, mut extensions) = (packet[6], 0);
    while [0, 43, 44, 51, 60].contains(&next) {
        if next == 0 && extensions > 0 || rest.len() < 8 {
            return NoPacket;
        }
        let length = match next {
            44 if number(rest, 2) & 0xfff8 != 0 => return NoPacket,
            44 => {
                first_piece |= number(rest, 2) & 1 == 1;
                8
            }
            51 if rest[1] == 0 => return NoPacket,
            51 => usize::from(rest[1]) * 4 + 8,
            _ => usize::from(rest[1]) * 8 + 8,
        };
        if rest.len() < length {
            return NoPacket;
        }
        (next, rest, extensions) = (rest[0], &rest[length..], extensions + length);
    }
    let address = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen bytes").into();
    let length = if jumbogram { 65_536 } else { declared.saturating_sub(extensions) };
    let read = match next {
        6 => tcp(time, address(8), address(24), rest, length, first_piece),
        _ => Err(Skipped::NotTcp),
    };
    if extensions == 0 || read.is_ok() { Exactly(read) } else { NoPacket }
}

/// RFC 9293, section 3.1; `length` is what the IP header tells of the segment, or of its first piece.
fn tcp(
    time: Timestamp,
    source: IpAddr,
    destination: IpAddr,
    segment: &[u8],
    length: usize,
    first_piece: bool,
) -> Result<Packet, Skipped> {
    if length < 20 {
        return Err(Skipped::Malformed);
    }
    if segment.len() < 14 {
        return Err(Skipped::Truncated);
    }
    let header = usize::from(segment[12] >> 4) * 4;
    if header < 20 || header > length && !first_piece {
        return Err(Skipped::Malformed);
    }
    Ok(Packet {
        time,
        source,
        destination,
        source_port: number(segment, 0) as u16,
        destination_port: number(segment, 2) as u16,
        sequence: (number(segment, 4) << 16 | number(segment, 6)) as u32,
        acknowledgement: (number(segment, 8) << 16 | number(segment, 10)) as u32,
        flags: TcpFlags(segment[13]),
    })
}
