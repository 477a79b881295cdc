//! The one writer of frames. Unless a function takes another source or port, 198.51.100.7:40000 asks 192.0.2.10:80, and the
//! same in IPv6: 2001:db8::7 asks 2001:db8::10.

use std::net::IpAddr;

pub const SYN: u8 = 0x02;
pub const SYN_ACK: u8 = 0x12;
pub const ACK: u8 = 0x10;
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const AUTHENTICATION: u8 = 51;
pub const DESTINATION: u8 = 60;

/// A TCP header of 20 bytes.
pub fn tcp(flags: u8) -> Vec<u8> {
    segment(80, flags)
}

/// The same to another port.
pub fn segment(port: u16, flags: u8) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&[0x9c, 0x40]);
    segment[2..4].copy_from_slice(&port.to_be_bytes());
    segment[12..14].copy_from_slice(&[5 << 4, flags]);
    segment
}

/// A packet with a SYN from any source to a port. Its sum is right: a bridge that filters drops one whose is not.
pub fn syn_packet(source: impl Into<IpAddr>, port: u16) -> Vec<u8> {
    let segment = segment(port, SYN);
    match source.into() {
        IpAddr::V4(source) => {
            let mut packet = ipv4(TCP, &segment);
            packet[12..16].copy_from_slice(&source.octets());
            sum(&mut packet);
            packet
        }
        IpAddr::V6(source) => {
            let mut packet = ipv6(TCP, &segment);
            packet[8..24].copy_from_slice(&source.octets());
            packet
        }
    }
}

/// Writes the sum of an IPv4 header without options.
pub fn sum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let words = packet[..20].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The same over IPv4 with the sum of the segment, too: a host answers it.
pub fn answerable_syn_packet(source: [u8; 4], port: u16) -> Vec<u8> {
    answerable_syn(source, [192, 0, 2, 10], port)
}

/// The same to any host.
pub fn answerable_syn(source: [u8; 4], host: [u8; 4], port: u16) -> Vec<u8> {
    let mut packet = syn_packet(source, port);
    packet[16..20].copy_from_slice(&host);
    sum(&mut packet);
    let length = (packet.len() - 20) as u32;
    let words = packet[12..].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = words.sum::<u32>() + u32::from(TCP) + length;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A frame for every host of a network, with a SYN behind tags of these types.
pub fn syn(source: impl Into<IpAddr>, tags: &[u16], port: u16) -> Vec<u8> {
    let packet = syn_packet(source, port);
    to_all(tagged(tags, ether_type(&packet), &packet))
}

/// A frame with this packet, of which another number has another target and another TTL: so scanners have nothing in common.
pub fn apart(number: u8, mut packet: Vec<u8>, tags: &[u16]) -> Vec<u8> {
    let (ttl, last) = if packet[0] >> 4 == 6 { (7, 39) } else { (8, 19) };
    packet[ttl] = 30 + number % 200;
    packet[last] = number;
    if ttl == 8 {
        sum(&mut packet);
    }
    to_all(tagged(tags, ether_type(&packet), &packet))
}

/// A frame for every host of a network.
pub fn to_all(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].fill(0xff);
    frame
}

/// The ether type of an IP packet.
fn ether_type(packet: &[u8]) -> u16 {
    if packet[0] >> 4 == 6 { IPV6 } else { IPV4 }
}

/// An IPv4 packet without options.
pub fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_options(protocol, &[], payload)
}

/// An IPv4 packet with options (a multiple of four bytes).
pub fn ipv4_options(protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
    packet.extend(u16::try_from(header + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 198, 51, 100, 7, 192, 0, 2, 10]);
    [&packet, options, payload].concat()
}

/// A piece of a fragmented IPv4 datagram; the offset counts units of eight bytes.
pub fn ipv4_fragment(protocol: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(protocol, payload);
    packet[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
    packet
}

/// An IPv6 packet whose payload starts with the header `next`.
pub fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next, 64, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
    packet.extend(payload);
    packet
}

/// An extension header of eight bytes (hop-by-hop, routing, destination options) before `payload`.
pub fn extension(next: u8, payload: &[u8]) -> Vec<u8> {
    [&[next, 0, 1, 4, 0, 0, 0, 0], payload].concat()
}

/// A fragment header before `payload`; the offset counts units of eight bytes.
pub fn fragment(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    [&[next, 0, high, low, 0, 0, 0, 9], payload].concat()
}

/// An authentication header of twelve bytes before `payload`.
pub fn authentication(next: u8, payload: &[u8]) -> Vec<u8> {
    [&[next, 1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1], payload].concat()
}

/// An Ethernet frame, padded to 60 bytes as on the wire.
pub fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    tagged(&[], ether_type, payload)
}

/// An Ethernet frame with tags of these types, outermost first.
pub fn tagged(tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 10]);
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The same as a virtual card hands it over: nobody pads it.
pub fn unpadded(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(ether_type, payload);
    frame.truncate(14 + payload.len());
    frame
}

/// An IP packet in a frame of a link type, by libpcap's number.
pub fn link(link_type: i32, packet: &[u8]) -> Vec<u8> {
    let ether_type = ether_type(packet);
    // The address families of Linux, which libpcap's filter expects on Linux.
    let family: u32 = if ether_type == IPV6 { 10 } else { 2 };
    let mut frame = match link_type {
        ETHERNET => return ethernet(ether_type, packet),
        LINUX_SLL => {
            let mut header = vec![0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
            header.extend(ether_type.to_be_bytes());
            header
        }
        LINUX_SLL2 => {
            let mut header = ether_type.to_be_bytes().to_vec();
            header.extend([0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
            header
        }
        RAW_IP => Vec::new(),
        NULL => family.to_ne_bytes().to_vec(),
        LOOP => family.to_be_bytes().to_vec(),
        other => panic!("no frames of link type {other}"),
    };
    frame.extend(packet);
    frame
}

/// Link types by libpcap's numbers.
pub const ETHERNET: i32 = 1;
pub const LINUX_SLL: i32 = 113;
pub const LINUX_SLL2: i32 = 276;
pub const RAW_IP: i32 = 12;
pub const NULL: i32 = 0;
pub const LOOP: i32 = 108;

/// Tags that networks, and those who hide in them, put before IP.
pub const TAGGINGS: [&[u16]; 8] = [
    &[0x8100],
    &[0x88a8],
    &[0x9100],
    &[0x8100, 0x8100],
    &[0x88a8, 0x8100],
    &[0x9100, 0x8100],
    &[0x88a8, 0x8100, 0x8100],
    &[0x8100, 0x8100, 0x8100, 0x8100],
];

/// A PPPoE session header and PPP's protocol number before an IP packet.
pub fn pppoe(packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len() + 2).unwrap().to_be_bytes();
    let protocol = if packet[0] >> 4 == 6 { 0x57 } else { 0x21 };
    [&[0x11, 0, 0, 1, length[0], length[1], 0, protocol], packet].concat()
}

/// So many MPLS labels before an IP packet.
pub fn mpls(labels: usize, packet: &[u8]) -> Vec<u8> {
    let mut stack = [0, 1, 0, 64].repeat(labels);
    let bottom = stack.len() - 2;
    stack[bottom] = 1;
    [&stack, packet].concat()
}
