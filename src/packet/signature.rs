//! The signature of the stack that sent a packet, as far as its headers keep it on the way: what many forged sources have in common is
//! the one machine that forges them.

use crate::packet::LinkType;
use crate::packet::ip::{IPV4_HEADER, IPV6_HEADER, TCP};
use crate::packet::link::{ETHERNET_HEADER, Version, strip_link};
use crate::packet::tcp;

/// How many hops a packet had left, and what window its sender offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Signature {
    /// The TCP window; 0 where the frame does not tell.
    pub window: u16,
    /// The time to live, or IPv6's hop limit, as it arrived; 0 where the frame does not tell.
    pub ttl: u8,
}

impl Signature {
    /// That of a frame; of one that is no IP nothing.
    #[inline]
    pub fn of(link: LinkType, frame: &[u8]) -> Self {
        match strip_link(link, frame) {
            Ok((Version::Four, packet)) => of_ipv4(packet),
            Ok((Version::Six, packet)) => of_ipv6(packet),
            Err(_) => None,
        }
        .unwrap_or_default()
    }

    /// The same of a frame that `decode_plain` took.
    #[inline]
    pub(crate) fn of_plain(frame: &[u8]) -> Self {
        let read = |packet: &[u8]| {
            let (head, behind) = packet.split_first_chunk::<IPV4_HEADER>()?;
            Some(Self { ttl: head[8], window: window(behind)? })
        };
        frame.get(ETHERNET_HEADER..).and_then(read).unwrap_or_default()
    }
}

/// The window in a TCP header.
#[inline]
fn window(segment: &[u8]) -> Option<u16> {
    let head = segment.first_chunk::<{ tcp::MIN }>()?;
    Some(u16::from_be_bytes([head[14], head[15]]))
}

fn of_ipv4(packet: &[u8]) -> Option<Signature> {
    let head = packet.first_chunk::<IPV4_HEADER>()?;
    let has_segment = head[9] == TCP && u16::from_be_bytes([head[6], head[7]]) & 0x1fff == 0;
    let segment = packet.get(usize::from(head[0] & 0xf) * 4..).filter(|_| has_segment);
    Some(Signature { ttl: head[8], window: segment.and_then(window).unwrap_or(0) })
}

fn of_ipv6(packet: &[u8]) -> Option<Signature> {
    let (head, behind) = packet.split_first_chunk::<IPV6_HEADER>()?;
    let segment = Some(behind).filter(|_| head[6] == TCP);
    Some(Signature { ttl: head[7], window: segment.and_then(window).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::frames::{ethernet, ipv4, ipv6, tcp};
    use crate::packet::link::{IPV4, IPV6};

    fn segment(window: u16) -> Vec<u8> {
        let mut segment = tcp(2);
        segment[14..16].copy_from_slice(&window.to_be_bytes());
        segment
    }

    #[test]
    fn it_is_the_hops_that_are_left_and_the_window() {
        let signature = Signature { ttl: 52, window: 1024 };
        let mut four = ipv4(TCP, &segment(1024));
        four[8] = 52;
        let mut six = ipv6(TCP, &segment(1024));
        six[7] = 52;
        let frame = ethernet(IPV4, &four);
        assert_eq!(Signature::of(LinkType::Ethernet, &frame), signature);
        assert_eq!(Signature::of_plain(&frame), signature);
        assert_eq!(Signature::of(LinkType::Ethernet, &ethernet(IPV6, &six)), signature);
        // Behind options of IPv4.
        let mut behind = four.clone();
        behind[0] = 0x46;
        behind.splice(20..20, [1; 4]);
        assert_eq!(Signature::of(LinkType::Ethernet, &ethernet(IPV4, &behind)), signature);
        // A later piece has no TCP header.
        four[7] = 9;
        assert_eq!(
            Signature::of(LinkType::Ethernet, &ethernet(IPV4, &four)),
            Signature { window: 0, ..signature }
        );
    }

    #[test]
    fn what_is_cut_or_not_tcp_has_no_window_and_what_is_no_ip_nothing() {
        let whole = ethernet(IPV4, &ipv4(TCP, &segment(1024)));
        for length in 0..whole.len() {
            let signature = Signature::of(LinkType::Ethernet, &whole[..length]);
            assert_eq!(signature.ttl > 0, length >= ETHERNET_HEADER + IPV4_HEADER, "{length}");
            assert_eq!(signature.window > 0, length >= ETHERNET_HEADER + IPV4_HEADER + tcp::MIN, "{length}");
        }
        let datagram = ethernet(IPV4, &ipv4(17, &segment(1024)));
        assert_eq!(Signature::of(LinkType::Ethernet, &datagram).window, 0);
        assert_eq!(Signature::of(LinkType::Ethernet, &ethernet(0x0806, &[1; 60])), Signature::default());
    }
}
