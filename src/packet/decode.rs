//! Bytes of a frame → the TCP segment in it, or why there is none. It says what a packet is; whether it asks anything, and
//! how, is `Technique`'s to say.

use crate::packet::ip::{ICMPV6, IPV4_HEADER, IPV6_HEADER, TCP, UDP, strip_ipv4, strip_ipv6};
use crate::packet::link::{ETHERNET_HEADER, IPV4, IPV6, Version, strip_link};
use crate::packet::tcp::{self, Segment};
use crate::packet::{LinkType, Packet, Skipped, TcpFlags, Timestamp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The TCP segment in a frame captured at `time`; anything else says why it is skipped.
///
/// Most frames of most captures are ordinary segments on Ethernet: those are read here from a handful of bytes. Whatever is
/// not plain (tags, options, extension headers, fragments, cut or contradictory headers) is read one header after the other.
/// Both must agree, with each other and with etherparse, which property tests hold.
///
/// It has a second caller, for tunnels, and the compiler would make a call of it on the hot path: a tenth of its instructions.
#[inline(always)]
pub fn decode(link: LinkType, time: Timestamp, frame: &[u8]) -> Result<Packet, Skipped> {
    match decode_plain(link, frame) {
        Some(segment) => segment.map(|segment| segment.packet(time)),
        None => decode_otherwise(link, time, frame),
    }
}

/// A segment over IPv4, the plainest and nearly all there is. It stays in registers, for it has no address of one family or the other:
/// such a one is written to memory in pieces and read again at once as a whole, for which the processor waits longer than decoding
/// takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ipv4Segment {
    /// Who sent it.
    pub source: Ipv4Addr,
    /// The host that was asked.
    pub destination: Ipv4Addr,
    /// From its port to the one that was asked for.
    pub ports: (u16, u16),
    /// Its sequence number, and what it acknowledges. Who looks for probes alone never reads them.
    pub numbers: (u32, u32),
    /// The TCP flags.
    pub flags: TcpFlags,
}

impl Ipv4Segment {
    #[inline]
    fn packet(self, time: Timestamp) -> Packet {
        Packet {
            time,
            source: IpAddr::V4(self.source),
            destination: IpAddr::V4(self.destination),
            source_port: self.ports.0,
            destination_port: self.ports.1,
            sequence: self.numbers.0,
            acknowledgement: self.numbers.1,
            flags: self.flags,
        }
    }
}

/// The segment in the plainest of frames, and `None` for others.
#[inline(always)]
pub(crate) fn decode_plain(link: LinkType, frame: &[u8]) -> Option<Result<Ipv4Segment, Skipped>> {
    let (ethernet, ip) = frame.split_first_chunk::<ETHERNET_HEADER>()?;
    if link != LinkType::Ethernet || u16::from_be_bytes([ethernet[12], ethernet[13]]) != IPV4 {
        return None;
    }
    plain_ipv4(ip.first_chunk::<{ IPV4_HEADER + tcp::MIN }>()?)
}

/// The same of all others.
#[inline(never)]
fn decode_otherwise(link: LinkType, time: Timestamp, frame: &[u8]) -> Result<Packet, Skipped> {
    if link == LinkType::Ethernet
        && let Some((ethernet, ip)) = frame.split_first_chunk::<ETHERNET_HEADER>()
        && u16::from_be_bytes([ethernet[12], ethernet[13]]) == IPV6
        && let Some(head) = ip.first_chunk::<{ IPV6_HEADER + tcp::MIN }>()
        && let Some(result) = plain_ipv6(time, head)
    {
        return result;
    }
    decode_any(link, time, frame)
}

/// An IPv4 header without options and the TCP header behind it; `None` if it is not as plain as that.
#[inline(always)]
fn plain_ipv4(head: &[u8; IPV4_HEADER + tcp::MIN]) -> Option<Result<Ipv4Segment, Skipped>> {
    let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[0] != 0x45 || total < IPV4_HEADER {
        return None;
    }
    if head[9] != TCP {
        return Some(Err(Skipped::NotTcp));
    }
    let fragment = u16::from_be_bytes([head[6], head[7]]) & 0x3fff;
    let data_offset = usize::from(head[32] >> 4) * 4;
    if fragment != 0 || data_offset < tcp::MIN || IPV4_HEADER + data_offset > total {
        return None;
    }
    Some(Ok(Ipv4Segment {
        source: Ipv4Addr::new(head[12], head[13], head[14], head[15]),
        destination: Ipv4Addr::new(head[16], head[17], head[18], head[19]),
        ports: (u16::from_be_bytes([head[20], head[21]]), u16::from_be_bytes([head[22], head[23]])),
        numbers: (
            u32::from_be_bytes([head[24], head[25], head[26], head[27]]),
            u32::from_be_bytes([head[28], head[29], head[30], head[31]]),
        ),
        flags: TcpFlags(head[IPV4_HEADER + tcp::FLAGS]),
    }))
}

/// An IPv6 header and the TCP header directly behind it; `None` if it is not as plain as that.
#[inline]
fn plain_ipv6(time: Timestamp, head: &[u8; IPV6_HEADER + tcp::MIN]) -> Option<Result<Packet, Skipped>> {
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
    if data_offset < tcp::MIN || data_offset > payload {
        return None;
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
        sequence: u32::from_be_bytes([head[44], head[45], head[46], head[47]]),
        acknowledgement: u32::from_be_bytes([head[48], head[49], head[50], head[51]]),
        flags: TcpFlags(head[IPV6_HEADER + tcp::FLAGS]),
    }))
}

/// Any frame of any link type, one header after the other.
#[cold]
#[inline(never)]
fn decode_any(link: LinkType, time: Timestamp, frame: &[u8]) -> Result<Packet, Skipped> {
    match segment(link, frame)? {
        segment if segment.protocol == TCP => segment.packet(time),
        _ => Err(Skipped::NotTcp),
    }
}

/// What the IP packet in a frame carries.
pub(super) fn segment(link: LinkType, frame: &[u8]) -> Result<Segment<'_>, Skipped> {
    let (version, packet) = strip_link(link, frame)?;
    match version {
        Version::Four => strip_ipv4(packet),
        Version::Six => strip_ipv6(packet),
    }
}

#[cfg(test)]
mod tests {
    use super::{ICMPV6, decode, decode_any};
    use crate::packet::frames::*;
    use crate::packet::link::MOST_TAGS;
    use crate::packet::tcp::TO_FLAGS;
    use crate::packet::{LinkType, Packet, Skipped, TcpFlags, Timestamp};
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
            sequence: 0,
            acknowledgement: 0,
            flags: TcpFlags(SYN),
        })
    }

    fn probe4() -> Result<Packet, Skipped> {
        probe("198.51.100.7", "192.0.2.10")
    }

    fn probe6() -> Result<Packet, Skipped> {
        probe("2001:db8::7", "2001:db8::10")
    }

    /// The same with other flags.
    fn with(flags: u8, packet: Result<Packet, Skipped>) -> Result<Packet, Skipped> {
        packet.map(|packet| Packet { flags: TcpFlags(flags), ..packet })
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

    /// The kernel takes the outermost tag off, and names what is behind seven of them, and of more nothing.
    #[test]
    fn behind_a_cooked_header_any_number_of_tags_may_be_left() {
        let any = |kind: LinkType, tags: usize, ether_type: u16, packet: &[u8]| {
            let whole = tagged(&[0x8100].repeat(tags), ether_type, packet);
            let named = if tags < 8 { ether_type } else { 0 };
            let mut frame = link(kind, &syn4());
            let (header, at) = if kind == LinkType::LinuxSll { (16, 14) } else { (20, 0) };
            frame.truncate(header);
            frame[at..at + 2].copy_from_slice(&named.to_be_bytes());
            // Behind the addresses and the outermost tag, whose own type the kernel keeps.
            frame.extend(&whole[18..]);
            decode(kind, TIME, &frame)
        };
        for kind in [LinkType::LinuxSll, LinkType::LinuxSll2] {
            for tags in 1..=20 {
                for (ether_type, packet, probe) in [
                    (IPV4, syn4(), probe4()),
                    (IPV6, syn6(), probe6()),
                    (0x8864, pppoe(&syn4()), probe4()),
                    (0x8864, pppoe(&syn6()), probe6()),
                    (0x8847, mpls(1, &syn4()), probe4()),
                    (0x8847, mpls(2, &syn6()), probe6()),
                ] {
                    let labels = if ether_type == 0x8847 { (packet.len() - 40) % 20 / 4 } else { 0 };
                    let expected = if tags - 1 + labels > MOST_TAGS { Err(Skipped::Tags) } else { probe };
                    let decoded = any(kind, tags, ether_type, &packet);
                    assert_eq!(decoded, expected, "{kind:?}: {ether_type:04x} behind {tags} tags");
                }
            }
            assert_eq!(any(kind, 9, 0x0806, &[0; 28]), Err(Skipped::NotIp), "ARP");
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
    fn flags_are_read_whatever_they_are() {
        for flags in 0..=u8::MAX {
            assert_eq!(on_ethernet(&ethernet(IPV4, &ipv4(TCP, &tcp(flags)))), with(flags, probe4()));
            assert_eq!(on_ethernet(&ethernet(IPV6, &ipv6(TCP, &tcp(flags)))), with(flags, probe6()));
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
        assert_eq!(on_ethernet(&piece(&tcp(ACK))), with(ACK, probe6()));
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
                    if length < tcp_start + TO_FLAGS {
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
        assert_eq!(on_ethernet(&ethernet(IPV4, &packet)), with(ACK, probe4()));
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
            sequence: tcp.sequence_number(),
            acknowledgement: tcp.acknowledgment_number(),
            flags,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_fast_path_agrees_with_etherparse(frame in frames()) {
            let result = on_ethernet(&frame);
            if let Some(packet) = by_etherparse(&frame) {
                prop_assert_eq!(result, Ok(packet));
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
