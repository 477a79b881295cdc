//! What stands before IP: the link's own header, tags, PPPoE and MPLS labels.

use crate::packet::{LinkType, Skipped};

/// Ether types.
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(super) const PPPOE_SESSION: u16 = 0x8864;
pub(super) const MPLS: u16 = 0x8847;
pub(super) const MPLS_UPSTREAM: u16 = 0x8848;

/// Tags: 802.1Q, 802.1ad, and what was used for the outer of two before that.
pub(crate) const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// PPP's numbers of IP.
pub(super) const PPP_IPV4: u16 = 0x0021;
pub(super) const PPP_IPV6: u16 = 0x0057;

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
    let ether_type = |at: usize, header: usize| {
        let rest = frame.get(header..).ok_or(Skipped::Truncated)?;
        strip_tags(u16::from_be_bytes([frame[at], frame[at + 1]]), rest)
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

/// Steps over tags, over PPPoE (RFC 2516) and MPLS labels (RFC 3032).
fn strip_tags(mut ether_type: u16, mut rest: &[u8]) -> Result<(Version, &[u8]), Skipped> {
    for left in (0..=MOST_TAGS).rev() {
        match ether_type {
            IPV4 => return Ok((Version::Four, rest)),
            IPV6 => return Ok((Version::Six, rest)),
            PPPOE_SESSION => return strip_pppoe(rest),
            MPLS | MPLS_UPSTREAM => return strip_labels(rest, left),
            tag if TAGS.contains(&tag) && left == 0 => break,
            tag if TAGS.contains(&tag) => {
                let (header, behind) = rest.split_first_chunk::<4>().ok_or(Skipped::Truncated)?;
                ether_type = u16::from_be_bytes([header[2], header[3]]);
                rest = behind;
            }
            _ => return Err(Skipped::NotIp),
        }
    }
    Err(Skipped::Tags)
}

/// On `any` a kernel of 6.10 or newer names in the cooked header what is behind all tags, and leaves the inner tags where they
/// are: if they lead to just what was named, they are there.
fn strip_left_tags((version, packet): (Version, &[u8])) -> (Version, &[u8]) {
    let (named, first) = match version {
        Version::Four => (IPV4, 4),
        Version::Six => (IPV6, 6),
    };
    for tag in 0..MOST_TAGS {
        let behind = packet.get(4 * tag..).unwrap_or_default();
        match *behind {
            [_, _, a, b, next, ..] if u16::from_be_bytes([a, b]) == named && next >> 4 == first => {
                return (version, &behind[4..]);
            }
            [_, _, a, b, ..] if TAGS.contains(&u16::from_be_bytes([a, b])) => {}
            _ => break,
        }
    }
    (version, packet)
}

/// Six bytes of PPPoE and the PPP protocol number. Links are negotiated in frames that are not IP.
fn strip_pppoe(rest: &[u8]) -> Result<(Version, &[u8]), Skipped> {
    let (header, packet) = rest.split_first_chunk::<8>().ok_or(Skipped::Truncated)?;
    match u16::from_be_bytes([header[6], header[7]]) {
        PPP_IPV4 => Ok((Version::Four, packet)),
        PPP_IPV6 => Ok((Version::Six, packet)),
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
