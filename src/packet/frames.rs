//! Hand-made frames for the tests of `decode` and `filter`: 198.51.100.7:40000 asks 192.0.2.10:80, and the same in IPv6.

use crate::packet::LinkType;

pub(crate) const SYN: u8 = 0x02;
pub(crate) const SYN_ACK: u8 = 0x12;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const AUTHENTICATION: u8 = 51;
pub(crate) const DESTINATION: u8 = 60;

/// A TCP header of 20 bytes.
pub(crate) fn tcp(flags: u8) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    segment[12..14].copy_from_slice(&[5 << 4, flags]);
    segment
}

/// An IPv4 packet without options.
pub(crate) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_options(protocol, &[], payload)
}

/// An IPv4 packet with options (a multiple of four bytes).
pub(crate) fn ipv4_options(protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
    packet.extend(u16::try_from(header + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 198, 51, 100, 7, 192, 0, 2, 10]);
    [&packet, options, payload].concat()
}

/// A piece of a fragmented IPv4 datagram; the offset counts units of eight bytes.
pub(crate) fn ipv4_fragment(protocol: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(protocol, payload);
    packet[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
    packet
}

/// An IPv6 packet whose payload starts with the header `next`.
pub(crate) fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next, 64, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
    packet.extend(payload);
    packet
}

/// An extension header of eight bytes (hop-by-hop, routing, destination options) before `payload`.
pub(crate) fn extension(next: u8, payload: &[u8]) -> Vec<u8> {
    [&[next, 0, 1, 4, 0, 0, 0, 0], payload].concat()
}

/// A fragment header before `payload`; the offset counts units of eight bytes.
pub(crate) fn fragment(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    [&[next, 0, high, low, 0, 0, 0, 9], payload].concat()
}

/// An authentication header of twelve bytes before `payload`.
pub(crate) fn authentication(next: u8, payload: &[u8]) -> Vec<u8> {
    [&[next, 1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1], payload].concat()
}

/// An Ethernet frame, padded to 60 bytes as on the wire.
pub(crate) fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    tagged(&[], ether_type, payload)
}

/// An Ethernet frame with tags of these types, outermost first.
pub(crate) fn tagged(tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
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
pub(crate) fn unpadded(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(ether_type, payload);
    frame.truncate(14 + payload.len());
    frame
}

/// An IP packet in a frame of any link type.
pub(crate) fn link(link: LinkType, packet: &[u8]) -> Vec<u8> {
    let six = packet[0] >> 4 == 6;
    let ether_type = if six { IPV6 } else { IPV4 };
    let mut frame = match link {
        LinkType::Ethernet => return ethernet(ether_type, packet),
        LinkType::LinuxSll => {
            let mut header = vec![0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
            header.extend(ether_type.to_be_bytes());
            header
        }
        LinkType::LinuxSll2 => {
            let mut header = ether_type.to_be_bytes().to_vec();
            header.extend([0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
            header
        }
        LinkType::RawIp => Vec::new(),
        // The address families of Linux, which libpcap's filter expects on Linux.
        LinkType::Null => if six { 10u32 } else { 2 }.to_ne_bytes().to_vec(),
        LinkType::Loop => if six { 10u32 } else { 2 }.to_be_bytes().to_vec(),
    };
    frame.extend(packet);
    frame
}

/// Every link type with the number libpcap gives it.
pub(crate) const LINKS: [(LinkType, i32); 6] = [
    (LinkType::Ethernet, 1),
    (LinkType::LinuxSll, 113),
    (LinkType::LinuxSll2, 276),
    (LinkType::RawIp, 12),
    (LinkType::Null, 0),
    (LinkType::Loop, 108),
];

/// Tags that networks, and those who hide in them, put before IP.
pub(crate) const TAGGINGS: [&[u16]; 8] = [
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
pub(crate) fn pppoe(packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len() + 2).unwrap().to_be_bytes();
    let protocol = if packet[0] >> 4 == 6 { 0x57 } else { 0x21 };
    [&[0x11, 0, 0, 1, length[0], length[1], 0, protocol], packet].concat()
}

/// So many MPLS labels before an IP packet.
pub(crate) fn mpls(labels: usize, packet: &[u8]) -> Vec<u8> {
    let mut stack = [0, 1, 0, 64].repeat(labels);
    let bottom = stack.len() - 2;
    stack[bottom] = 1;
    [&stack, packet].concat()
}
