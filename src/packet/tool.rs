//! The tool that made a TCP probe, as far as one packet tells: by marks that scanners leave in headers which they write themselves.
//! One packet can have a mark by chance; who believes it asks for several (`detect::majority`).

use crate::packet::LinkType;
use crate::packet::ip::{IPV4_HEADER, IPV6_HEADER, TCP};
use crate::packet::link::{ETHERNET_HEADER, Version, strip_link};
use crate::packet::tcp;

/// What sends probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Tool {
    /// Any other, and every ordinary stack.
    #[default]
    Unknown,
    /// hping3: a window of 512, no options.
    Hping3,
    /// masscan: IPv4's identification is target, port and sequence number, one XOR the other.
    Masscan,
    /// Mirai, and what came of it: the sequence number is the target's address.
    Mirai,
    /// nmap's own packets: a window of 1024, and of the options the segment size only.
    Nmap,
    /// scan6 of the IPv6 toolkit: next to no sequence number, a window of whole 4096s, no options.
    Scan6,
    /// ZMap before 4.1: IPv4's identification is 54321.
    Zmap,
}

impl Tool {
    /// Every tool, in label order but for the first.
    pub const ALL: [Tool; 7] =
        [Tool::Unknown, Tool::Hping3, Tool::Masscan, Tool::Mirai, Tool::Nmap, Tool::Scan6, Tool::Zmap];

    /// The label in metrics, records and reports.
    pub const fn label(self) -> &'static str {
        match self {
            Tool::Unknown => "unknown",
            Tool::Hping3 => "hping3",
            Tool::Masscan => "masscan",
            Tool::Mirai => "mirai",
            Tool::Nmap => "nmap",
            Tool::Scan6 => "scan6",
            Tool::Zmap => "zmap",
        }
    }

    /// The tool whose mark a TCP probe has. What is not plain (options of IPv4, extension headers, a piece) has none.
    #[inline]
    pub fn of(link: LinkType, frame: &[u8]) -> Self {
        match strip_link(link, frame) {
            Ok((Version::Four, packet)) => of_ipv4(packet),
            Ok((Version::Six, packet)) => of_ipv6(packet),
            Err(_) => None,
        }
        .unwrap_or_default()
    }
}

impl Tool {
    /// The same of a frame that `decode_plain` took.
    #[inline(always)]
    pub(crate) fn of_plain(frame: &[u8]) -> Self {
        let packet = frame.get(ETHERNET_HEADER..).and_then(<[u8]>::split_first_chunk);
        packet.and_then(|(head, behind)| of_plain_ipv4(head, behind)).unwrap_or_default()
    }
}

/// Flags of a segment that asks by SYN.
const SYN: u8 = 0x02;
const ASKING: u8 = 0x17;

/// The TCP header at the start of a segment, and what is behind it.
#[derive(Clone, Copy)]
struct Segment<'a> {
    head: &'a [u8; tcp::MIN],
    behind: &'a [u8],
}

impl<'a> Segment<'a> {
    #[inline(always)]
    fn of(bytes: &'a [u8]) -> Option<Self> {
        bytes.split_first_chunk().map(|(head, behind)| Self { head, behind })
    }

    #[inline(always)]
    fn port(&self) -> u32 {
        u32::from(u16::from_be_bytes([self.head[2], self.head[3]]))
    }

    #[inline(always)]
    fn sequence(&self) -> u32 {
        u32::from_be_bytes([self.head[4], self.head[5], self.head[6], self.head[7]])
    }

    #[inline(always)]
    fn is_syn(&self) -> bool {
        self.head[tcp::FLAGS] & ASKING == SYN
    }

    #[inline(always)]
    fn window(&self) -> u16 {
        u16::from_be_bytes([self.head[14], self.head[15]])
    }

    /// Bytes of options.
    fn options(&self) -> usize {
        (usize::from(self.head[12] >> 4) * 4).saturating_sub(tcp::MIN)
    }

    /// Whether the segment size is the only option.
    fn has_size_only(&self) -> bool {
        self.options() == 4 && self.behind.starts_with(&[2, 4])
    }

    /// The tool by the shape of the header alone.
    #[inline(always)]
    fn tool(&self) -> Option<Tool> {
        match self.window() {
            // Without SYN nmap sends no options.
            1024 if self.has_size_only() || !self.is_syn() && self.options() == 0 => Some(Tool::Nmap),
            512 if self.options() == 0 => Some(Tool::Hping3),
            _ => None,
        }
    }
}

fn of_ipv4(packet: &[u8]) -> Option<Tool> {
    let (head, behind) = packet.split_first_chunk::<IPV4_HEADER>()?;
    let is_piece = u16::from_be_bytes([head[6], head[7]]) & 0x3fff != 0;
    if head[0] != 0x45 || head[9] != TCP || is_piece { None } else { of_plain_ipv4(head, behind) }
}

/// The same of a header without options and what is behind it, a whole segment.
#[inline(always)]
fn of_plain_ipv4(head: &[u8; IPV4_HEADER], behind: &[u8]) -> Option<Tool> {
    const ZMAP: u16 = 54_321;
    let segment = Segment::of(behind)?;
    if !segment.is_syn() {
        return segment.tool();
    }
    let identification = u16::from_be_bytes([head[4], head[5]]);
    let target = u32::from_be_bytes([head[16], head[17], head[18], head[19]]);
    match identification {
        _ if segment.sequence() == target => Some(Tool::Mirai),
        ZMAP => Some(Tool::Zmap),
        // The lower half of it.
        it if it == (target ^ segment.port() ^ segment.sequence()) as u16 => Some(Tool::Masscan),
        _ => segment.tool(),
    }
}

fn of_ipv6(packet: &[u8]) -> Option<Tool> {
    /// masscan sends with 255, and few routers lie between.
    const FAR_HOPS: u8 = 224;
    let (head, behind) = packet.split_first_chunk::<IPV6_HEADER>()?;
    if head[0] >> 4 != 6 || head[6] != TCP {
        return None;
    }
    let segment = Segment::of(behind)?;
    let is_bare = segment.is_syn() && segment.options() == 0;
    match segment.window() {
        1024 if is_bare && head[7] >= FAR_HOPS => Some(Tool::Masscan),
        window if is_bare && segment.sequence() <= 1 && window % 4096 == 0 => Some(Tool::Scan6),
        _ => segment.tool(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::frames::{ethernet, ipv4, ipv6, tcp};
    use crate::packet::link::{IPV4, IPV6};

    /// A SYN from 198.51.100.7 to 192.0.2.10, port 80, with these sequence number, window and options.
    fn segment(sequence: u32, window: u16, options: &[u8]) -> Vec<u8> {
        let mut segment = tcp(SYN);
        segment.truncate(tcp::MIN);
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
        segment[12] = (((tcp::MIN + options.len()) / 4) << 4) as u8;
        segment[14..16].copy_from_slice(&window.to_be_bytes());
        [&segment, options].concat()
    }

    fn by_ipv4(identification: u16, segment: &[u8]) -> Tool {
        let mut packet = ipv4(TCP, segment);
        packet[4..6].copy_from_slice(&identification.to_be_bytes());
        Tool::of(LinkType::Ethernet, &ethernet(IPV4, &packet))
    }

    fn by_ipv6(hops: u8, segment: &[u8]) -> Tool {
        let mut packet = ipv6(TCP, segment);
        packet[7] = hops;
        Tool::of(LinkType::Ethernet, &ethernet(IPV6, &packet))
    }

    const SIZE: [u8; 4] = [2, 4, 5, 180];
    const TARGET: u32 = 0xc000_020a;

    #[test]
    fn each_tool_is_known_by_its_mark() {
        assert_eq!(by_ipv4(7, &segment(1_000, 1024, &SIZE)), Tool::Nmap);
        assert_eq!(by_ipv4(54_321, &segment(1_000, 65_535, &[])), Tool::Zmap);
        assert_eq!(by_ipv4(7, &segment(TARGET, 1_234, &[])), Tool::Mirai);
        assert_eq!(by_ipv4(7, &segment(1_000, 512, &[])), Tool::Hping3);
        let mark = (TARGET ^ 80 ^ 0x8e41_1234) as u16;
        assert_eq!(by_ipv4(mark, &segment(0x8e41_1234, 1024, &[])), Tool::Masscan);
        assert_eq!(by_ipv6(52, &segment(1_000, 1024, &SIZE)), Tool::Nmap);
        assert_eq!(by_ipv6(254, &segment(1_000, 1024, &[])), Tool::Masscan);
        assert_eq!(by_ipv6(254, &segment(0, 8_192, &[])), Tool::Scan6);
    }

    #[test]
    fn what_is_almost_a_mark_is_none() {
        let linux = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 10];
        for (identification, segment) in [
            (7, segment(1_000, 64_240, &linux)),
            (7, segment(1_000, 1024, &[])),
            (7, segment(1_000, 1024, &[2, 4, 5, 180, 1, 1, 1, 1])),
            (7, segment(1_000, 1024, &[3, 3, 10, 0])),
            (7, segment(1_000, 512, &SIZE)),
            (54_320, segment(1_000, 65_535, &[])),
            (7, segment(TARGET + 1, 1_234, &[])),
        ] {
            assert_eq!(by_ipv4(identification, &segment), Tool::Unknown, "{segment:?}");
        }
        for (hops, segment) in
            [(64, segment(1_000, 1024, &[])), (64, segment(2, 8_192, &[])), (64, segment(0, 8_191, &[]))]
        {
            assert_eq!(by_ipv6(hops, &segment), Tool::Unknown, "{segment:?}");
        }
    }

    #[test]
    fn what_is_cut_or_in_pieces_has_no_mark() {
        let whole = ethernet(IPV4, &ipv4(TCP, &segment(TARGET, 1024, &SIZE)));
        for length in 0..34 + tcp::MIN {
            assert_eq!(Tool::of(LinkType::Ethernet, &whole[..length]), Tool::Unknown, "{length}");
        }
        let mut piece = whole.clone();
        piece[20] = 0x20;
        assert_eq!(Tool::of(LinkType::Ethernet, &piece), Tool::Unknown);
        assert_eq!(Tool::of(LinkType::Ethernet, &whole), Tool::Mirai);
    }
}
