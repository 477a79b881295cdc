//! The kernel filter for the enabled techniques: what reaches user space at all.
//!
//! It takes what `decode` turns into probes, what only `decode` can judge (IPv6 extension headers), and TCP fragments so that
//! they can be counted. Everything else stays in the kernel, where dropping a frame costs least.

use crate::capture::Direction;
use crate::packet::LinkType;

/// `tcp[…]` is IPv4 only, and only the first piece of a datagram. ECE and CWR may be set (RFC 3168).
const SYN_IPV4: &str = "tcp[13] & 0x17 == 0x02";

/// Any piece of an IPv4 datagram that was TCP: more fragments, or an offset.
const FRAGMENT_IPV4: &str = "(ip[9] == 6 and ip[6:2] & 0x3fff != 0)";

/// TCP directly after the IPv6 header.
const SYN_IPV6: &str = "(ip6[6] == 6 and ip6[53] & 0x17 == 0x02)";

/// TCP behind extension headers, whose lengths a filter cannot follow: hop-by-hop 0, routing 43, fragment 44, AH 51,
/// destination options 60. The second header decides, so that neighbour discovery and fragmented UDP stay out.
const EXTENDED_IPV6: &str = "((ip6[6] == 0 or ip6[6] == 43 or ip6[6] == 44 or ip6[6] == 51 or ip6[6] == 60) and \
     (ip6[40] == 6 or ip6[40] == 43 or ip6[40] == 44 or ip6[40] == 51 or ip6[40] == 60))";

/// The filter, in pcap-filter(7), for frames of this link type.
pub fn expression(link: LinkType) -> String {
    let untagged = format!("{SYN_IPV4} or {FRAGMENT_IPV4} or {SYN_IPV6} or {EXTENDED_IPV6}");
    match link {
        // `vlan` shifts every offset after it: it must come last, and once for each tag.
        LinkType::Ethernet => format!("{untagged} or (vlan and ({untagged} or (vlan and ({untagged}))))"),
        // libpcap refuses `vlan` on cooked links, and the others have no tags.
        _ => untagged,
    }
}

/// The same for a live capture, where the kernel knows which way a frame goes: what is not wanted need not fill the ring.
pub fn live_expression(link: LinkType, direction: Direction) -> String {
    let wanted = expression(link);
    match direction {
        Direction::In => format!("inbound and ({wanted})"),
        Direction::Out => format!("outbound and ({wanted})"),
        Direction::InOut => wanted,
    }
}
