//! IP's own headers, and IPv6's extension headers, down to the TCP segment behind them.

pub(super) use crate::packet::link::{IPV4_HEADER, IPV6_HEADER};
use crate::packet::link::{Version, strip_link};
use crate::packet::tcp::{Segment, TO_FLAGS};
use crate::packet::{LinkType, Skipped};
use etherparse::{Ipv4HeaderSlice, err};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP protocol numbers, and those of IPv6 extension headers.
pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const TCP: u8 = 6;
pub(super) const ICMP: u8 = 1;
pub(super) const UDP: u8 = 17;
pub(super) const SCTP: u8 = 132;
pub(super) const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
pub(super) const AUTHENTICATION: u8 = 51;
pub(super) const ICMPV6: u8 = 58;
pub(super) const DESTINATION: u8 = 60;

/// The least payload of a jumbogram (RFC 2675, section 2).
const JUMBOGRAM_MIN: usize = 65_536;

/// An IPv4 packet, behind its options.
pub(super) fn strip_ipv4(packet: &[u8]) -> Result<Segment<'_>, Skipped> {
    let header = Ipv4HeaderSlice::from_slice(packet).map_err(|error| match error {
        err::ipv4::HeaderSliceError::Len(_) => Skipped::Truncated,
        err::ipv4::HeaderSliceError::Content(_) => Skipped::Malformed,
    })?;
    let (total, own) = (usize::from(header.total_len()), header.slice().len());
    if total < own {
        return Err(Skipped::Malformed);
    }
    let protocol = header.protocol().0;
    // Of another protocol the first piece tells all that is asked. (An authentication header of IPsec is one: it counts as a tunnel
    // that nobody looks into.)
    if protocol != TCP && header.fragments_offset().value() != 0 {
        return Err(Skipped::NotTcp);
    }
    if protocol == TCP && header.is_fragmenting_payload() {
        // The flags are cut off, or a second piece holds them (or writes over those of the first).
        let tiny = match header.fragments_offset().value() {
            0 => total - own < TO_FLAGS,
            offset => offset == 1,
        };
        return Err(if tiny { Skipped::TinyFragment } else { Skipped::Fragment });
    }
    // Ethernet pads short frames: what is behind the datagram is not part of it.
    Ok(Segment {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol,
        bytes: &packet[own..packet.len().min(total)],
        length: total - own,
        more_follows: header.more_fragments(),
        is_extended: false,
    })
}

/// A piece of an IPv4 datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ipv4Piece<'a> {
    /// Who sent it.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
    /// What it holds a piece of.
    pub protocol: u8,
    /// Which datagram it is of.
    pub identification: u16,
    /// Where in the datagram it belongs, in bytes.
    pub offset: u16,
    /// Whether it is not the last.
    pub more_follows: bool,
    /// Its length, by its header.
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
        protocol: header.protocol().0,
        identification: header.identification(),
        offset: header.fragments_offset().byte_offset(),
        more_follows: header.more_fragments(),
        length: u32::try_from(total.checked_sub(own)?).ok()?,
        bytes: packet.get(own..packet.len().min(total))?,
    })
}

/// An IPv6 packet, behind all its extension headers.
pub(super) fn strip_ipv6(packet: &[u8]) -> Result<Segment<'_>, Skipped> {
    let Some((header, behind)) = packet.split_first_chunk::<IPV6_HEADER>() else {
        // A wrong version is a contradiction however little there is.
        let wrong = packet.first().is_some_and(|first| first >> 4 != 6);
        return Err(if wrong { Skipped::Malformed } else { Skipped::Truncated });
    };
    if header[0] >> 4 != 6 {
        return Err(Skipped::Malformed);
    }
    // A payload length of 0 is a jumbogram's if a hop-by-hop header explains it (RFC 2675), else a contradiction. However
    // little of a jumbogram was captured, it is longer than any TCP header.
    let declared = match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        0 if header[6] == HOP_BY_HOP => JUMBOGRAM_MIN,
        declared => declared,
    };
    // Padding is not part of the packet.
    let payload = &behind[..behind.len().min(declared)];
    let Extensions { protocol, length, more_follows } = strip_extensions(header[6], payload, declared)?;
    let address = |start: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[start..start + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    Ok(Segment {
        source: address(8),
        destination: address(24),
        protocol,
        bytes: &payload[length..],
        length: declared - length,
        more_follows,
        is_extended: length > 0,
    })
}

/// IPv6 extension headers.
struct Extensions {
    /// To which protocol they lead.
    protocol: u8,
    /// How long they are, all together.
    length: usize,
    /// Among them is the header of a first piece.
    more_follows: bool,
}

/// Follows the extension headers as the kernel does: whatever their number, as long as there are bytes. Each takes eight of
/// them or more, so the steps are bounded by what was captured.
fn strip_extensions(mut next: u8, payload: &[u8], declared: usize) -> Result<Extensions, Skipped> {
    let (mut at, mut more_follows) = (0, false);
    while EXTENSIONS.contains(&next) {
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
            _ => 8,
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
    Ok(Extensions { protocol: next, length: at, more_follows })
}

/// The extension headers that are stepped over.
const EXTENSIONS: [u8; 5] = [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION];

/// The headers that are TCP, or may have TCP behind them.
pub(super) const LEAD_TO_TCP: [u8; 6] = [TCP, HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION];

fn leads_to_tcp(next: u8) -> bool {
    LEAD_TO_TCP.contains(&next)
}
