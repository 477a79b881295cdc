//! Bytes of a frame → the TCP segment in it, or why there is none.

use crate::packet::{LinkType, Packet, TcpFlags, Timestamp};
use etherparse::{EtherType, IpNumber, Ipv4HeaderSlice, LaxIpv6Slice, LenSource, SingleVlanSlice, err};
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
    /// A piece of a fragmented datagram: its ports and flags cannot be trusted.
    Fragment,
    /// The capture cut it before the end of the TCP header.
    Truncated,
    /// Its headers contradict themselves.
    Malformed,
}

impl Skipped {
    /// Every reason, in label order.
    pub const ALL: [Skipped; 6] = [
        Skipped::NotIp,
        Skipped::NotTcp,
        Skipped::NotProbe,
        Skipped::Fragment,
        Skipped::Truncated,
        Skipped::Malformed,
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Skipped::NotIp => "not_ip",
            Skipped::NotTcp => "not_tcp",
            Skipped::NotProbe => "not_probe",
            Skipped::Fragment => "fragment",
            Skipped::Truncated => "truncated",
            Skipped::Malformed => "malformed",
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
        && let Some((ethernet, ip)) = frame.split_first_chunk::<ETHERNET>()
    {
        match [ethernet[12], ethernet[13]] {
            [0x08, 0x00] => {
                if let Some(head) = ip.first_chunk::<{ IPV4 + TCP_MIN }>()
                    && let Some(result) = plain_ipv4(time, head)
                {
                    return result;
                }
            }
            [0x86, 0xdd] => {
                if let Some(head) = ip.first_chunk::<{ IPV6 + TCP_MIN }>()
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
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;

/// A TCP header without options.
const TCP_MIN: usize = 20;

/// How much of a TCP header must have been captured: up to its flags.
const TCP_TO_FLAGS: usize = 14;

/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// An IPv4 header without options and the TCP header behind it; `None` if it is not as plain as that.
#[inline]
fn plain_ipv4(time: Timestamp, head: &[u8; IPV4 + TCP_MIN]) -> Option<Result<Packet, Skipped>> {
    let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[0] != 0x45 || total < IPV4 {
        return None;
    }
    if head[9] != TCP {
        return Some(Err(Skipped::NotTcp));
    }
    let fragment = u16::from_be_bytes([head[6], head[7]]) & 0x3fff;
    let data_offset = usize::from(head[32] >> 4) * 4;
    if fragment != 0 || data_offset < TCP_MIN || IPV4 + data_offset > total {
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
fn plain_ipv6(time: Timestamp, head: &[u8; IPV6 + TCP_MIN]) -> Option<Result<Packet, Skipped>> {
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

/// Any frame of any link type: the link header is stripped here, the rest is sliced by etherparse.
#[cold]
#[inline(never)]
fn decode_any(link: LinkType, time: Timestamp, frame: &[u8]) -> Result<Packet, Skipped> {
    let (version, ip) = strip_link(link, frame)?;
    let (source, destination, segment, length) = match version {
        Version::Four => strip_ipv4(ip)?,
        Version::Six => strip_ipv6(ip)?,
    };
    // What the IP header promises must hold a TCP header; what was captured of it must reach the flags.
    if length < TCP_MIN {
        return Err(Skipped::Malformed);
    }
    let Some(tcp) = segment.first_chunk::<TCP_TO_FLAGS>() else {
        return Err(Skipped::Truncated);
    };
    let data_offset = usize::from(tcp[12] >> 4) * 4;
    if data_offset < TCP_MIN || data_offset > length {
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

/// What lies behind the link header. etherparse knows neither SLL2 nor NULL, nor SLL for cut frames.
fn strip_link(link: LinkType, frame: &[u8]) -> Result<(Version, &[u8]), Skipped> {
    let ether_type = |at: usize, header: usize| {
        let rest = frame.get(header..).ok_or(Skipped::Truncated)?;
        strip_tags(EtherType(u16::from_be_bytes([frame[at], frame[at + 1]])), rest)
    };
    match link {
        LinkType::Ethernet => ether_type(12, ETHERNET),
        LinkType::LinuxSll => ether_type(14, 16),
        LinkType::LinuxSll2 => ether_type(0, 20),
        LinkType::RawIp => match frame.first().ok_or(Skipped::Truncated)? >> 4 {
            4 => Ok((Version::Four, frame)),
            6 => Ok((Version::Six, frame)),
            _ => Err(Skipped::Malformed),
        },
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

/// Steps over any number of 802.1Q, 802.1ad and pre-standard QinQ tags.
fn strip_tags(mut ether_type: EtherType, mut rest: &[u8]) -> Result<(Version, &[u8]), Skipped> {
    loop {
        match ether_type {
            EtherType::IPV4 => return Ok((Version::Four, rest)),
            EtherType::IPV6 => return Ok((Version::Six, rest)),
            EtherType::VLAN_TAGGED_FRAME
            | EtherType::PROVIDER_BRIDGING
            | EtherType::VLAN_DOUBLE_TAGGED_FRAME => {
                let tag = SingleVlanSlice::from_slice(rest).map_err(|_| Skipped::Truncated)?;
                ether_type = tag.ether_type();
                rest = tag.payload_slice();
            }
            _ => return Err(Skipped::NotIp),
        }
    }
}

/// Addresses, the captured part of the TCP segment, and its length as the IP header tells it.
type Segment<'a> = (IpAddr, IpAddr, &'a [u8], usize);

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
        return Err(Skipped::Fragment);
    }
    // Ethernet pads short frames: what is behind the datagram is not part of it.
    let segment = &packet[own..packet.len().min(total)];
    Ok((header.source_addr().into(), header.destination_addr().into(), segment, total - own))
}

fn strip_ipv6(packet: &[u8]) -> Result<Segment<'_>, Skipped> {
    let (sliced, stopped) = LaxIpv6Slice::from_slice(packet).map_err(|error| match error {
        err::ipv6::HeaderSliceError::Len(_) => Skipped::Truncated,
        err::ipv6::HeaderSliceError::Content(_) => Skipped::Malformed,
    })?;
    let (header, payload) = (sliced.header(), sliced.payload());
    let cut = payload.incomplete || payload.len_source == LenSource::Slice;
    if payload.fragmented {
        // Behind the first piece's headers comes data: a later piece shows no header that could be trusted.
        let known = stopped.is_none() && !payload.ip_number.is_ipv6_ext_header_value();
        return Err(if known && payload.ip_number != IpNumber::TCP {
            Skipped::NotTcp
        } else {
            Skipped::Fragment
        });
    }
    match stopped {
        None => {}
        Some((err::ipv6_exts::HeaderSliceError::Len(_), _)) if cut => return Err(Skipped::Truncated),
        Some(_) => return Err(Skipped::Malformed),
    }
    if payload.ip_number != IpNumber::TCP {
        return Err(Skipped::NotTcp);
    }
    // A payload length of 0 is a jumbogram's if a hop-by-hop header explains it (RFC 2675), else a contradiction.
    let extensions = sliced.extensions();
    let length = match usize::from(header.payload_length()) {
        0 if extensions.first_header() == Some(IpNumber::IPV6_HEADER_HOP_BY_HOP) => payload.payload.len(),
        declared => declared.saturating_sub(extensions.slice().len()),
    };
    Ok((header.source_addr().into(), header.destination_addr().into(), payload.payload, length))
}
