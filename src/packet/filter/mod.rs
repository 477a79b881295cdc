//! The kernel filter for the enabled techniques: what reaches user space at all, and how much of it.
//!
//! It takes what `decode` turns into probes, what only `decode` can judge (long chains of IPv6 extension headers, more tags
//! than it steps over itself), TCP fragments so that they can be counted, and for the same end a sample of what carries packets
//! and is not looked into. Everything else stays in the kernel, where dropping a frame costs least.
//!
//! It is a program of its own and not an expression of pcap-filter(7), which can neither step over a number of tags that it
//! does not know, nor follow extension headers, nor look behind a tag on `any`, nor take more of one packet than of another.

mod cooked;
mod datagrams;
mod ipv6;
mod left;
mod replies;
mod simulate;

pub use self::cooked::for_socket;
use self::datagrams::NotIp;
pub use self::replies::Replies;
pub(crate) use self::simulate::is_sampled;
pub use self::simulate::simulate;
use crate::packet::bpf::{
    A_IS, A_TO_X, ADD, ADD_X, AND, Assembler, IF_ANY_BIT, IF_EQUAL, LOAD_BYTE_AT_X, LOAD_HALF,
    LOAD_HALF_AT_X, LOAD_MEMORY, Label, RETURN, SHIFT_LEFT, SHIFT_RIGHT, SHIFT_RIGHT_BY_X, STORE, X_IS,
    X_TO_A,
};
use crate::packet::ip::TCP;
use crate::packet::link::{
    IPV4, IPV6, MPLS, MPLS_UPSTREAM, PPP_CONTROL, PPP_IPV4, PPP_IPV6, PPPOE_SESSION, TAGS,
};
use crate::packet::tcp::FLAGS;
use crate::packet::tunnel::Tunnels;
use crate::packet::{LinkType, TcpFlags, Techniques};

pub use crate::packet::bpf::Instruction;

/// How much of a packet is captured: all tags and labels, IPv4 options and TCP.
const SNAPLEN: u32 = 256;

/// How much of a packet with extension headers, and of a tunnel that is looked into, whose options and inner headers may be as long as it is.
/// The kernel follows them as long as the packet goes on, so here is all of the largest frame of ordinary cards (a jumbo frame). Only
/// such packets take this room in the ring.
const SNAPLEN_EXTENDED: u32 = 9_216;

/// Flags of nearly every segment.
const USUAL: [u8; 2] = [TcpFlags::ACK, TcpFlags::ACK | TcpFlags::PSH];

/// The most that is taken of any packet.
pub const SNAPLEN_MAX: u32 = SNAPLEN_EXTENDED;

/// Tags, labels and extension headers that the program steps over by itself; what has more is for `decode` to judge. Nobody
/// has more but somebody who hides, and each costs every filter instructions.
const OWN_TAGS: usize = 4;
const OWN_LABELS: usize = 4;
const OWN_EXTENSIONS: usize = 4;

/// Writes the program. X is where the header in question begins, counted from behind the link header.
#[derive(Debug)]
struct Writer {
    code: Assembler,
    /// The length of the link header.
    link: u32,
    /// What is looked for.
    techniques: Techniques,
    /// The combinations of TCP flags that are taken besides: what comes of them.
    replies: u64,
    /// Whether it is looked for inside tunnels.
    tunnels: Tunnels,
}

impl Writer {
    /// A is the byte so far behind X.
    fn byte(&mut self, at: u32) {
        self.code.put(LOAD_BYTE_AT_X, self.link + at);
    }

    /// A is the two bytes so far behind X.
    fn half(&mut self, at: u32) {
        self.code.put(LOAD_HALF_AT_X, self.link + at);
    }

    /// X moves on; A is lost.
    fn step(&mut self, bytes: u32) {
        self.code.put(X_TO_A, 0);
        self.code.put(ADD, bytes);
        self.code.put(A_TO_X, 0);
    }

    /// X moves on, and A stays.
    fn step_with(&mut self, bytes: u32) {
        self.code.put(STORE, 0);
        self.step(bytes);
        self.code.put(LOAD_MEMORY, 0);
    }

    fn when(&mut self, code: u16, k: impl Into<u32>, then: Label) {
        self.code.when(code, k.into(), then);
    }

    fn label(&mut self) -> Label {
        self.code.label()
    }

    fn place(&mut self, label: Label) {
        self.code.place(label);
    }

    fn give(&mut self, bytes: u32) {
        self.code.put(RETURN, bytes);
    }

    fn drop(&mut self) {
        self.give(0);
    }

    /// A is an ether type, X where what it is the type of begins. Goes on at the IP header, whatever is before it.
    fn tags(&mut self, ipv4: Label, ipv6: Label, not_ip: NotIp) {
        let (pppoe, mpls, more) = (self.label(), self.label(), self.label());
        for level in 0..=OWN_TAGS {
            let tag = if level < OWN_TAGS { self.label() } else { more };
            self.when(IF_EQUAL, IPV4, ipv4);
            self.when(IF_EQUAL, IPV6, ipv6);
            for tag_type in TAGS {
                self.when(IF_EQUAL, tag_type, tag);
            }
            self.when(IF_EQUAL, PPPOE_SESSION, pppoe);
            self.when(IF_EQUAL, MPLS, mpls);
            self.when(IF_EQUAL, MPLS_UPSTREAM, mpls);
            self.code.go(not_ip.types);
            if level < OWN_TAGS {
                self.place(tag);
                self.half(2);
                self.step_with(4);
            }
        }
        self.place(pppoe);
        self.half(6);
        self.step_with(8);
        self.when(IF_EQUAL, PPP_IPV4, ipv4);
        self.when(IF_EQUAL, PPP_IPV6, ipv6);
        let control = self.label();
        self.when(IF_ANY_BIT, PPP_CONTROL, control);
        self.code.go(not_ip.sample);
        self.place(control);
        self.drop();

        self.place(mpls);
        let bottom = self.label();
        for _ in 0..OWN_LABELS {
            self.byte(2);
            self.when(IF_ANY_BIT, 1_u32, bottom);
            self.step(4);
        }
        self.place(more);
        // What is behind them may have long extension headers.
        self.give(SNAPLEN_EXTENDED);
        self.place(bottom);
        self.step(4);
        self.by_version(ipv4, ipv6);
        // A frame in a pseudowire.
        self.code.go(not_ip.sample);
    }

    /// By the version in the first byte of the packet; goes on if it is neither.
    fn by_version(&mut self, ipv4: Label, ipv6: Label) {
        self.byte(0);
        self.code.put(SHIFT_RIGHT, 4);
        self.when(IF_EQUAL, 4_u32, ipv4);
        self.when(IF_EQUAL, 6_u32, ipv6);
    }

    /// X is at an IPv4 header.
    fn ipv4(&mut self) {
        let (tcp, piece) = (self.label(), self.label());
        self.byte(9);
        self.when(IF_EQUAL, TCP, tcp);
        self.datagrams_of_ipv4();
        self.place(tcp);
        // Fragments first: looking for flags behind the end of a short first fragment (`nmap -f`) rejects the frame at once.
        self.half(6);
        self.when(IF_ANY_BIT, 0x3fff_u32, piece);
        self.byte(0);
        self.code.put(AND, 0x0f);
        self.code.put(SHIFT_LEFT, 2);
        self.code.put(ADD_X, 0);
        self.code.put(A_TO_X, 0);
        self.flags(0, SNAPLEN);
        self.place(piece);
        self.give(SNAPLEN);
    }

    /// A TCP header begins so far behind X.
    fn flags(&mut self, at: u32, snaplen: u32) {
        let (urgent, look_up, unasked) = (self.label(), self.label(), self.label());
        let asked = self.techniques.flags() | self.replies;
        self.byte(at + FLAGS as u32);
        // Nearly every segment acknowledges something, and begins nothing: it leaves here.
        self.code.put(AND, 0x3f);
        for flags in USUAL.into_iter().filter(|flags| asked >> flags & 1 == 0) {
            self.when(IF_EQUAL, flags, unasked);
        }
        // The flags are the number of a bit among 64, in two words.
        self.code.put(A_TO_X, 0);
        self.when(IF_ANY_BIT, 32_u32, urgent);
        self.code.put(A_IS, asked as u32);
        self.code.go(look_up);
        self.place(urgent);
        self.code.put(AND, 31);
        self.code.put(A_TO_X, 0);
        self.code.put(A_IS, (asked >> 32) as u32);
        self.place(look_up);
        self.code.put(SHIFT_RIGHT_BY_X, 0);
        let probe = self.label();
        self.when(IF_ANY_BIT, 1_u32, probe);
        self.place(unasked);
        self.drop();
        self.place(probe);
        self.give(snaplen);
    }
}

/// The filter for frames of this link type, as libpcap sees them: it moves what it reads behind a cooked header to where
/// the kernel has it.
///
/// It does not look at the direction: libpcap also runs a new filter over its first ring of blocks in user space, where the
/// kernel's knowledge of the direction is missing, and would drop them all. The capture sets the direction instead.
pub fn program(link: LinkType, techniques: Techniques, tunnels: Tunnels) -> Vec<Instruction> {
    write(link, Taken { techniques, tunnels, replies: Replies::None })
}

/// The same with what comes of them.
pub fn program_with(
    link: LinkType,
    techniques: Techniques,
    tunnels: Tunnels,
    replies: Replies,
) -> Vec<Instruction> {
    write(link, Taken { techniques, tunnels, replies })
}

/// What a program takes.
struct Taken {
    techniques: Techniques,
    tunnels: Tunnels,
    replies: Replies,
}

fn write(link: LinkType, Taken { techniques, tunnels, replies }: Taken) -> Vec<Instruction> {
    let (header, ether_type) = match link {
        LinkType::Ethernet => (14, Some(12)),
        LinkType::LinuxSll => (16, Some(14)),
        LinkType::LinuxSll2 => (20, Some(0)),
        LinkType::RawIp => (0, None),
        LinkType::Null | LinkType::Loop => (4, None),
    };
    let mut write = Writer {
        code: Assembler::default(),
        link: header,
        techniques,
        tunnels,
        replies: replies.flags(techniques),
    };
    if replies == Replies::Leaving {
        write.replies_that_leave(ether_type);
    }
    let (ipv4, ipv6) = (write.label(), write.label());
    let not_ip = NotIp { types: write.label(), sample: write.label() };
    write.code.put(X_IS, 0);
    match ether_type {
        Some(at) => {
            if matches!(link, LinkType::LinuxSll | LinkType::LinuxSll2) {
                write.left_tags(at);
            } else {
                write.code.put(LOAD_HALF, at);
            }
            write.tags(ipv4, ipv6, not_ip);
        }
        None => {
            write.by_version(ipv4, ipv6);
            write.drop();
        }
    }
    write.place(ipv4);
    write.ipv4();
    write.place(ipv6);
    write.ipv6();
    if ether_type.is_some() {
        write.not_ip(not_ip);
    }
    write.code.finish()
}

#[cfg(test)]
mod tests {
    use super::{Instruction, OWN_LABELS, OWN_TAGS, Replies, Tunnels, simulate};
    use crate::packet::frames::*;
    use crate::packet::{LinkType, Skipped, Technique, Techniques, Timestamp, datagram, decode};
    use pcap::{Capture, Linktype};

    fn program(link: LinkType) -> Vec<Instruction> {
        super::program(link, Techniques::DEFAULT, Tunnels::Count)
    }

    /// With replies: what answers passes either way or only when it leaves, and then no probe with it; what ends a connection passes
    /// either way or only when it arrives.
    #[test]
    fn what_comes_of_probes_passes_if_it_is_asked_for() {
        let frames = |flags: u8| {
            [
                ethernet(IPV4, &ipv4(TCP, &tcp(flags))),
                ethernet(IPV6, &ipv6(TCP, &tcp(flags))),
                tagged(&[0x8100], IPV4, &ipv4(TCP, &tcp(flags))),
            ]
        };
        let [none, all, leaving] = [Replies::None, Replies::All, Replies::Leaving].map(|replies| {
            super::program_with(LinkType::Ethernet, Techniques::DEFAULT, Tunnels::Count, replies)
        });
        const RST_ACK: u8 = 0x14;
        const FIN_ACK: u8 = 0x11;
        for (flags, by_none, by_all, arrives, leaves) in [
            (SYN, true, true, true, false),
            (SYN | 0xc0, true, true, true, false),
            (SYN_ACK, false, true, false, true),
            (SYN_ACK | 0x40, false, true, false, true),
            (RST_ACK, false, true, true, true),
            (FIN_ACK, false, true, true, false),
            (FIN_ACK | 0x80, false, true, true, false),
            (0x04, false, false, false, false),
            (ACK, false, false, false, false),
            (0x18, false, false, false, false),
            (0x19, false, false, false, false),
            (0, true, true, true, false),
        ] {
            for frame in frames(flags) {
                assert_eq!(passes(&none, &frame), by_none, "{flags:02x}");
                assert_eq!(passes(&all, &frame), by_all, "{flags:02x}");
                assert_eq!(passes(&leaving, &frame), arrives, "{flags:02x} arrives");
                let passes = super::simulate::simulate_by(&leaving, &frame, 4).0 > 0;
                assert_eq!(passes, leaves, "{flags:02x} leaves");
            }
        }
    }

    fn passes(program: &[Instruction], frame: &[u8]) -> bool {
        simulate(program, frame).0 > 0
    }

    /// Every kind of packet, and whether user space should see it.
    fn packets() -> Vec<(&'static str, Vec<u8>, bool)> {
        let syn = tcp(SYN);
        let padded = |bytes: usize| {
            let mut header = vec![0; bytes];
            header[..2].copy_from_slice(&[TCP, u8::try_from(bytes / 8 - 1).unwrap()]);
            ipv6(DESTINATION, &[header, syn.clone()].concat())
        };
        let chain = |length: usize, flags: u8| {
            let chain =
                (1..length).fold(extension(TCP, &tcp(flags)), |behind, _| extension(DESTINATION, &behind));
            ipv6(DESTINATION, &chain)
        };
        vec![
            ("SYN", ipv4(TCP, &syn), true),
            ("SYN with ECE and CWR", ipv4(TCP, &tcp(SYN | 0xc0)), true),
            ("SYN-ACK", ipv4(TCP, &tcp(SYN_ACK)), false),
            ("ACK", ipv4(TCP, &tcp(ACK)), false),
            ("FIN and ACK", ipv4(TCP, &tcp(ACK | 1)), false),
            ("FIN", ipv4(TCP, &tcp(1)), true),
            ("no flag", ipv4(TCP, &tcp(0)), true),
            ("SYN and FIN", ipv4(TCP, &tcp(SYN | 1)), true),
            ("SYN and RST", ipv4(TCP, &tcp(SYN | 4)), true),
            ("SYN behind IPv4 options", ipv4_options(TCP, &[1; 8], &syn), true),
            ("ACK behind IPv4 options", ipv4_options(TCP, &[1; 8], &tcp(ACK)), false),
            ("first TCP fragment", ipv4_fragment(TCP, 0, true, &syn[..8]), true),
            ("middle TCP fragment", ipv4_fragment(TCP, 1, true, &syn[..8]), true),
            ("last TCP fragment", ipv4_fragment(TCP, 2, false, &syn[..8]), true),
            ("UDP", ipv4(UDP, &syn), false),
            ("UDP fragment", ipv4_fragment(UDP, 1, true, &syn), false),
            ("first SCTP fragment", ipv4_fragment(132, 0, true, &syn), true),
            ("later SCTP fragment", ipv4_fragment(132, 1, false, &syn), true),
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
            ("IPv6 ACK behind destination options", ipv6(DESTINATION, &extension(TCP, &tcp(ACK))), false),
            ("IPv6 SYN behind 192 bytes of options", padded(192), true),
            ("IPv6 SYN behind 1024 bytes of options", padded(1024), true),
            ("IPv6 SYN behind AH", ipv6(AUTHENTICATION, &authentication(TCP, &syn)), true),
            ("IPv6 ACK behind AH", ipv6(AUTHENTICATION, &authentication(TCP, &tcp(ACK))), false),
            ("IPv6 TCP fragment", ipv6(FRAGMENT, &fragment(TCP, 0, true, &syn)), true),
            ("IPv6 first fragment of eight bytes", ipv6(FRAGMENT, &fragment(TCP, 0, true, &syn[..8])), true),
            ("IPv6 later TCP fragment", ipv6(FRAGMENT, &fragment(TCP, 3, false, &syn)), true),
            ("IPv6 fragment of options", ipv6(FRAGMENT, &fragment(DESTINATION, 0, true, &syn)), true),
            ("IPv6 SYN in the only fragment", ipv6(FRAGMENT, &fragment(TCP, 0, false, &syn)), true),
            ("IPv6 ACK in the only fragment", ipv6(FRAGMENT, &fragment(TCP, 0, false, &tcp(ACK))), false),
            ("IPv6 SYN behind two", ipv6(HOP_BY_HOP, &extension(DESTINATION, &extension(TCP, &syn))), true),
            ("IPv6 SYN behind three", chain(3, SYN), true),
            ("IPv6 ACK behind three", chain(3, ACK), false),
            ("IPv6 SYN behind thirty", chain(30, SYN), true),
            ("IPv6 multicast listener report", ipv6(HOP_BY_HOP, &extension(58, &[143; 16])), false),
            ("IPv6 UDP fragment", ipv6(FRAGMENT, &fragment(UDP, 0, true, &syn)), false),
        ]
    }

    fn ether_type(packet: &[u8]) -> u16 {
        if packet[0] >> 4 == 6 { IPV6 } else { IPV4 }
    }

    #[test]
    fn every_link_type_passes_what_decode_needs_and_nothing_else() {
        for (kind, _) in LINKS {
            let program = program(kind);
            for (name, packet, wanted) in packets() {
                // A NULL header is in the byte order of the capturing machine, which is this one.
                assert_eq!(passes(&program, &link(kind, &packet)), wanted, "{kind:?}: {name}");
            }
        }
    }

    #[test]
    fn unpadded_frames_pass_by_the_same_rules() {
        let program = program(LinkType::Ethernet);
        for (name, packet, wanted) in packets() {
            assert_eq!(passes(&program, &unpadded(ether_type(&packet), &packet)), wanted, "{name}");
        }
    }

    #[test]
    fn what_stands_before_ip_changes_nothing() {
        let program = program(LinkType::Ethernet);
        for tags in TAGGINGS {
            for (name, packet, wanted) in packets() {
                let frame = tagged(tags, ether_type(&packet), &packet);
                assert_eq!(passes(&program, &frame), wanted, "{tags:04x?}: {name}");
                let frame = tagged(tags, 0x8864, &pppoe(&packet));
                assert_eq!(passes(&program, &frame), wanted, "{tags:04x?}, PPPoE: {name}");
                for labels in 1..=4 {
                    let frame = tagged(tags, 0x8847, &mpls(labels, &packet));
                    assert_eq!(passes(&program, &frame), wanted, "{tags:04x?}, {labels} labels: {name}");
                }
            }
            assert!(!passes(&program, &tagged(tags, 0x0806, &[0; 28])), "tagged ARP");
        }
        assert!(!passes(&program, &ethernet(0x0806, &[0; 28])), "ARP");
        assert!(!passes(&program, &ethernet(0x88cc, &[0; 28])), "LLDP");
        assert!(!passes(&program, &ethernet(0x8863, &[0; 28])), "PPPoE discovery");
        let echo = [0x11, 0, 0, 1, 0, 10, 0xc0, 0x21, 9, 0, 0, 8];
        assert!(!passes(&program, &ethernet(0x8864, &echo)), "PPP link control");
        let ethernet_inside = [&[0, 0, 0x11, 64, 0, 0, 0, 0][..], &[2; 60]].concat();
        assert!(passes(&program, &ethernet(0x8847, &ethernet_inside)), "a pseudowire, in the sample");
    }

    #[test]
    fn more_tags_than_it_steps_over_are_for_decode_to_judge() {
        let program = program(LinkType::Ethernet);
        let ack = ipv4(TCP, &tcp(ACK));
        assert!(passes(&program, &tagged(&[0x8100; OWN_TAGS + 1], IPV4, &ack)));
        assert!(passes(&program, &ethernet(0x8847, &mpls(OWN_LABELS + 1, &ack))));
        let chain =
            (0..40).fold(tcp(SYN), |behind, n| extension(if n == 0 { TCP } else { DESTINATION }, &behind));
        let syn = ipv6(DESTINATION, &chain);
        for frame in
            [tagged(&[0x8100; OWN_TAGS + 1], IPV6, &syn), ethernet(0x8847, &mpls(OWN_LABELS + 1, &syn))]
        {
            assert!(frame.len() > 256 && simulate(&program, &frame).0 as usize >= frame.len());
        }
    }

    /// On `any` what is behind the cooked header may be a tag as well, named there or not.
    #[test]
    fn cooked_frames_may_be_tagged() {
        for (kind, header, at) in [(LinkType::LinuxSll, 16, 14), (LinkType::LinuxSll2, 20, 0)] {
            let program = program(kind);
            for (name, packet, wanted) in packets() {
                let mut frame = link(kind, &packet);
                let [high, low] = ether_type(&packet).to_be_bytes();
                frame.splice(header..header, [0, 10, 0x81, 0, 0, 11, high, low]);
                frame[at..at + 2].copy_from_slice(&[0x88, 0xa8]);
                let mut unnamed = link(kind, &packet);
                unnamed.splice(header..header, [0, 11, high, low]);
                let mut three = unnamed.clone();
                three.splice(header..header, [0, 12, 0x81, 0]);
                for frame in [frame, unnamed, three] {
                    let taken = simulate(&program, &frame).0 as usize;
                    assert!(taken > 0 || !wanted, "{kind:?}: {name}");
                    let decoded = decode(kind, Timestamp::default(), &frame);
                    if wanted && decoded.is_ok() {
                        let captured = &frame[..taken.min(frame.len())];
                        assert_eq!(decode(kind, Timestamp::default(), captured), decoded, "{kind:?}: {name}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_probe_that_decode_finds_is_lost_in_the_kernel_nor_cut() {
        for (kind, _) in LINKS {
            let program = program(kind);
            for (name, packet, _) in packets() {
                let frame = link(kind, &packet);
                let decoded = decode(kind, Timestamp::default(), &frame);
                if decoded.is_ok_and(|packet| Technique::of(packet.flags).is_none()) {
                    continue;
                }
                let hidden = [Skipped::Fragment, Skipped::TinyFragment, Skipped::ExtensionHeaders];
                if decoded.is_err_and(|reason| !hidden.contains(&reason)) {
                    continue;
                }
                let taken = simulate(&program, &frame).0 as usize;
                assert!(taken > 0, "{kind:?}: {name} is {decoded:?}");
                let captured = &frame[..taken.min(frame.len())];
                assert_eq!(decode(kind, Timestamp::default(), captured), decoded, "{kind:?}: {name}");
            }
        }
    }

    #[test]
    fn libpcap_takes_the_program_and_agrees() {
        // libpcap's own check and its own machine, from a text of its own for the plainest of packets.
        for (number, kind) in [(1, LinkType::Ethernet), (113, LinkType::LinuxSll), (12, LinkType::RawIp)] {
            let dead = Capture::dead(Linktype(number)).unwrap();
            let theirs =
                dead.compile("tcp[13] & 0x17 == 0x02 or (ip6[6] == 6 and ip6[53] & 0x17 == 0x02)", true);
            let (theirs, ours) =
                (theirs.unwrap(), super::program(kind, Techniques::of(&[Technique::Syn]), Tunnels::Count));
            for flags in 0..=255 {
                for packet in [ipv4(TCP, &tcp(flags)), ipv6(TCP, &tcp(flags))] {
                    let frame = link(kind, &packet);
                    assert_eq!(passes(&ours, &frame), theirs.filter(&frame), "{kind:?}: {flags:02x}");
                }
            }
        }
    }

    /// Whatever is before it, in a piece or whole, long chains of extension headers among them.
    #[test]
    fn no_datagram_that_asks_is_lost_in_the_kernel_nor_cut() {
        let program = super::program(LinkType::Ethernet, Techniques::ALL, Tunnels::Follow);
        let ports = [0x9c, 0x40, 0, 53, 0, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4];
        let long = |next: u8, payload: &[u8]| {
            let mut header = vec![0; 2_048];
            header[..2].copy_from_slice(&[next, 255]);
            [&header, payload].concat()
        };
        for protocol in (0..=u8::MAX).filter(|protocol| *protocol != TCP) {
            let payload = if protocol == 58 {
                [128; 16]
            } else if protocol == 1 {
                [8; 16]
            } else {
                ports
            };
            for packet in [
                ipv4(protocol, &payload),
                ipv4_options(protocol, &[1; 8], &payload),
                ipv4_fragment(protocol, 0, true, &payload),
                ipv6(protocol, &payload),
                ipv6(DESTINATION, &extension(protocol, &payload)),
                ipv6(DESTINATION, &long(protocol, &payload)),
                ipv6(FRAGMENT, &fragment(protocol, 0, true, &payload)),
                ipv6(FRAGMENT, &fragment(protocol, 0, false, &payload)),
            ] {
                let frame = ethernet(ether_type(&packet), &packet);
                let asked = datagram::look(LinkType::Ethernet, &frame);
                let taken = simulate(&program, &frame).0 as usize;
                if asked.is_ok() {
                    let captured = &frame[..taken.min(frame.len())];
                    assert_eq!(datagram::look(LinkType::Ethernet, captured), asked, "{protocol}: {taken}");
                }
            }
        }
    }

    /// Whatever a sender writes before it, live a probe in a tunnel is what it is in a file.
    #[test]
    fn nothing_of_a_tunnel_that_is_looked_into_is_cut() {
        let udp = |payload: &[u8]| [&[0x9c, 0x40, 23, 193, 0, 0, 0, 0][..], payload].concat();
        let long = [&[TCP, 50][..], &[0; 406], &tcp(SYN)].concat();
        let inner = [ipv4(TCP, &tcp(SYN)), ipv6(DESTINATION, &long), ipv4_options(TCP, &[1; 40], &tcp(SYN))];
        for set in [Techniques::DEFAULT, Techniques::ALL] {
            for inner in &inner {
                let ether_type = if inner[0] >> 4 == 6 { IPV6 } else { IPV4 };
                let geneve = |words: u8| {
                    let [high, low] = ether_type.to_be_bytes();
                    let options = vec![0; 4 * usize::from(words)];
                    udp(&[&[words, 0, high, low, 0, 0, 7, 0], &options[..], inner].concat())
                };
                let gre = [&[0, 0][..], &ether_type.to_be_bytes(), inner].concat();
                let number = if ether_type == IPV6 { 41 } else { 4 };
                for (protocol, payload) in [
                    (UDP, geneve(0)),
                    (UDP, geneve(40)),
                    (UDP, geneve(63)),
                    (47, gre),
                    (number, inner.clone()),
                ] {
                    for (kind, _) in LINKS {
                        for outer in [ipv4(protocol, &payload), ipv6(protocol, &payload)] {
                            let frame = link(kind, &outer);
                            let program = super::program(kind, set, Tunnels::Follow);
                            let taken = simulate(&program, &frame).0 as usize;
                            assert!(taken >= frame.len(), "{kind:?}: {protocol} {taken} of {}", frame.len());
                        }
                    }
                }
            }
        }
    }

    /// Each comparison reaches its target, and the program is as far from the kernel's limits (4,096 instructions, and
    /// `net.core.optmem_max` for what it makes of them) whatever is looked for.
    #[test]
    fn every_combination_of_settings_makes_a_short_program() {
        let all = [
            Technique::Syn,
            Technique::Ack,
            Technique::Udp,
            Technique::Sctp,
            Technique::Icmp,
            Technique::Protocol,
        ];
        let mut longest = 0;
        for set in 0..1_u32 << all.len() {
            let one = |n: usize| (set >> n & 1 == 1).then_some(all[n]);
            let techniques: Vec<_> = (0..all.len()).filter_map(one).collect();
            for (kind, _) in LINKS {
                for tunnels in [Tunnels::Count, Tunnels::Follow] {
                    for replies in [Replies::None, Replies::All, Replies::Leaving] {
                        let techniques = Techniques::of(&techniques);
                        let program = super::program_with(kind, techniques, tunnels, replies);
                        longest = longest.max(program.len());
                    }
                }
            }
        }
        assert!(longest < 640, "{longest}");
    }

    /// What carries no probe, and of which there may be much: none of it is handed over, not even as a sample.
    #[test]
    fn ordinary_traffic_is_no_tunnel() {
        let to = |port: u16| [&[0xc3, 0x50], &port.to_be_bytes()[..], &[0, 48, 0, 0], &[0x45; 40]].concat();
        let mut frames = vec![
            ("ARP", ethernet(0x0806, &[0; 28])),
            ("LLDP", ethernet(0x88cc, &[2, 7, 4, 2, 0, 0, 0, 0, 1])),
            ("802.1X", ethernet(0x888e, &[1; 40])),
            ("spanning tree", ethernet(39, &[0x42, 0x42, 3, 0, 0, 0, 0, 0])),
            ("IS-IS", ethernet(1_400, &[0xfe, 0xfe, 3, 0x83])),
            ("CDP", ethernet(60, &[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0, 2])),
            ("PPPoE discovery", ethernet(0x8863, &[0x11; 28])),
            ("PPP link control", ethernet(0x8864, &[0x11, 0, 0, 1, 0, 10, 0xc0, 0x21, 9, 0, 0, 8])),
        ];
        for protocol in [1, 2, 46, 88, 89, 103, 112] {
            frames.push(("a protocol", ethernet(IPV4, &ipv4(protocol, &[8; 40]))));
            frames.push(("a protocol", ethernet(IPV6, &ipv6(protocol, &[8; 40]))));
        }
        for port in
            [53, 123, 443, 500, 1_812, 1_900, 3_478, 5_060, 5_353, 6_343, 8_125, 9_995, 33_000, 60_000]
        {
            let udp = to(port);
            frames.extend([
                ("UDP", ethernet(IPV4, &ipv4(UDP, &udp))),
                ("UDP behind options", ethernet(IPV4, &ipv4_options(UDP, &[1; 4], &udp))),
                ("a first piece", ethernet(IPV4, &ipv4_fragment(UDP, 0, true, &udp))),
                ("UDP over IPv6", ethernet(IPV6, &ipv6(UDP, &udp))),
                ("a first piece over IPv6", ethernet(IPV6, &ipv6(FRAGMENT, &fragment(UDP, 0, true, &udp)))),
            ]);
        }
        for later in [to(4_789), to(8_472)] {
            frames.push(("a later piece", ethernet(IPV6, &ipv6(FRAGMENT, &fragment(UDP, 9, true, &later)))));
        }
        for tunnels in [Tunnels::Count, Tunnels::Follow] {
            let program = super::program(LinkType::Ethernet, Techniques::DEFAULT, tunnels);
            for (name, frame) in &frames {
                assert!(!passes(&program, frame), "{name}: {:02x?}", &frame[12..]);
            }
        }
    }

    /// A mirror port runs this for each of its packets.
    #[test]
    fn ordinary_packets_leave_after_a_few_steps() {
        let program = program(LinkType::Ethernet);
        let steps = |ether_type, packet: &[u8]| simulate(&program, &ethernet(ether_type, packet)).1;
        assert_eq!(steps(IPV4, &ipv4(TCP, &tcp(ACK))), 16);
        assert_eq!(steps(IPV6, &ipv6(TCP, &tcp(ACK))), 10);
        assert_eq!(steps(IPV4, &ipv4(UDP, &[0; 8])), 12, "six to see that it is no tunnel");
        assert_eq!(steps(IPV4, &ipv4(UDP, &[0xff; 8])), 11, "five");
        assert_eq!(steps(IPV6, &ipv6(UDP, &[0xff; 8])), 23, "no extension header either");
        assert_eq!(steps(IPV4, &ipv4(1, &[8; 8])), 9);
        assert!(program.len() < 600, "{}", program.len());
    }
}
