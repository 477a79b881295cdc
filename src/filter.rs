//! The kernel filter for the enabled techniques: what reaches user space at all.
//!
//! It takes what `decode` turns into probes, what only `decode` can judge (IPv6 extension headers), and TCP fragments so that
//! they can be counted. Everything else stays in the kernel, where dropping a frame costs least.

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
///
/// It cannot say `inbound`: libpcap also runs a new filter over its first ring of blocks in user space, where the
/// kernel's knowledge of the direction is missing, and would drop them all. The capture sets the direction instead.
pub fn expression(link: LinkType) -> String {
    // Fragments first: looking for flags behind the end of a short first fragment (`nmap -f`) rejects the frame at once.
    let untagged = format!("{FRAGMENT_IPV4} or {SYN_IPV4} or {SYN_IPV6} or {EXTENDED_IPV6}");
    match link {
        // `vlan` shifts every offset after it: it must come last, and once for each tag.
        LinkType::Ethernet => format!("{untagged} or (vlan and ({untagged} or (vlan and ({untagged}))))"),
        // libpcap refuses `vlan` on cooked links, and the others have no tags.
        _ => untagged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Skipped, decode};
    use crate::frames::*;
    use crate::packet::Timestamp;
    use pcap::{BpfProgram, Capture, Linktype};

    fn compiled(number: i32, link: LinkType) -> BpfProgram {
        let dead = Capture::dead(Linktype(number)).unwrap();
        dead.compile(&expression(link), true).unwrap_or_else(|error| panic!("{link:?}: {error}"))
    }

    /// Every kind of packet, and whether user space should see it.
    fn packets() -> Vec<(&'static str, Vec<u8>, bool)> {
        let syn = tcp(SYN);
        vec![
            ("SYN", ipv4(TCP, &syn), true),
            ("SYN with ECE and CWR", ipv4(TCP, &tcp(SYN | 0xc0)), true),
            ("SYN-ACK", ipv4(TCP, &tcp(SYN_ACK)), false),
            ("ACK", ipv4(TCP, &tcp(ACK)), false),
            ("SYN and FIN", ipv4(TCP, &tcp(SYN | 1)), false),
            ("SYN and RST", ipv4(TCP, &tcp(SYN | 4)), false),
            ("SYN behind IPv4 options", ipv4_options(TCP, &[1; 8], &syn), true),
            ("ACK behind IPv4 options", ipv4_options(TCP, &[1; 8], &tcp(ACK)), false),
            ("first TCP fragment", ipv4_fragment(TCP, 0, true, &syn[..8]), true),
            ("middle TCP fragment", ipv4_fragment(TCP, 1, true, &syn[..8]), true),
            ("last TCP fragment", ipv4_fragment(TCP, 2, false, &syn[..8]), true),
            ("UDP", ipv4(UDP, &syn), false),
            ("UDP fragment", ipv4_fragment(UDP, 1, true, &syn), false),
            ("ICMP", ipv4(1, &[8; 32]), false),
            ("IPv6 SYN", ipv6(TCP, &syn), true),
            ("IPv6 SYN with ECE and CWR", ipv6(TCP, &tcp(SYN | 0xc0)), true),
            ("IPv6 SYN-ACK", ipv6(TCP, &tcp(SYN_ACK)), false),
            ("IPv6 ACK", ipv6(TCP, &tcp(ACK)), false),
            ("IPv6 UDP", ipv6(UDP, &syn), false),
            ("IPv6 neighbour discovery", ipv6(58, &[135; 32]), false),
            ("IPv6 SYN behind hop-by-hop", ipv6(HOP_BY_HOP, &extension(TCP, &syn)), true),
            ("IPv6 SYN behind routing", ipv6(ROUTING, &extension(TCP, &syn)), true),
            ("IPv6 SYN behind destination options", ipv6(DESTINATION, &extension(TCP, &syn)), true),
            ("IPv6 SYN behind AH", ipv6(AUTHENTICATION, &authentication(TCP, &syn)), true),
            ("IPv6 TCP fragment", ipv6(FRAGMENT, &fragment(TCP, 0, true, &syn)), true),
            ("IPv6 SYN behind two", ipv6(HOP_BY_HOP, &extension(DESTINATION, &extension(TCP, &syn))), true),
            ("IPv6 multicast listener report", ipv6(HOP_BY_HOP, &extension(58, &[143; 16])), false),
            ("IPv6 UDP fragment", ipv6(FRAGMENT, &fragment(UDP, 0, true, &syn)), false),
        ]
    }

    #[test]
    fn every_link_type_passes_what_decode_needs_and_nothing_else() {
        for (kind, number) in LINKS {
            let program = compiled(number, kind);
            for (name, packet, wanted) in packets() {
                // A NULL header is in the byte order of the capturing machine, which is this one.
                assert_eq!(program.filter(&link(kind, &packet)), wanted, "{kind:?}: {name}");
            }
        }
    }

    #[test]
    fn unpadded_frames_pass_by_the_same_rules() {
        let program = compiled(1, LinkType::Ethernet);
        for (name, packet, wanted) in packets() {
            let ether_type = if packet[0] >> 4 == 6 { IPV6 } else { IPV4 };
            assert_eq!(program.filter(&unpadded(ether_type, &packet)), wanted, "{name}");
        }
    }

    #[test]
    fn tagged_frames_pass_by_the_same_rules() {
        let program = compiled(1, LinkType::Ethernet);
        for tags in [&[0x8100][..], &[0x88a8], &[0x8100, 0x8100], &[0x88a8, 0x8100], &[0x9100, 0x8100]] {
            for (name, packet, wanted) in packets() {
                let ether_type = if packet[0] >> 4 == 6 { IPV6 } else { IPV4 };
                assert_eq!(program.filter(&tagged(tags, ether_type, &packet)), wanted, "{tags:04x?}: {name}");
            }
            assert!(!program.filter(&tagged(tags, 0x0806, &[0; 28])), "tagged ARP");
        }
        assert!(!program.filter(&ethernet(0x0806, &[0; 28])), "ARP");
        assert!(!program.filter(&ethernet(0x88cc, &[0; 28])), "LLDP");
    }

    #[test]
    fn no_probe_that_decode_finds_is_lost_in_the_kernel() {
        for (kind, number) in LINKS {
            let program = compiled(number, kind);
            for (name, packet, _) in packets() {
                let frame = link(kind, &packet);
                let decoded = decode(kind, Timestamp::default(), &frame);
                if matches!(decoded, Ok(_) | Err(Skipped::Fragment)) {
                    assert!(program.filter(&frame), "{kind:?}: {name} is {decoded:?}");
                }
            }
        }
    }
}
