//! The program as the kernel runs it where libpcap makes the link header up: such a header (cooked) is in no frame, so what the
//! program reads there is elsewhere.

use super::Instruction;
use crate::packet::LinkType;
use crate::packet::bpf::{LOAD_BYTE, LOAD_BYTE_AT_X, LOAD_HALF, LOAD_HALF_AT_X, LOAD_WORD, LOAD_WORD_AT_X};

/// From here on an offset means what the kernel knows of a packet besides its bytes: `SKF_AD_OFF` of linux/filter.h, and before it
/// `SKF_NET_OFF` and `SKF_LL_OFF`.
const KNOWN: u32 = 0xffe0_0000;

/// The ether type: `SKF_AD_OFF + SKF_AD_PROTOCOL`.
pub(super) const PROTOCOL: u32 = 0xffff_f000;

/// The program for the socket itself, of one for frames as libpcap sees them: what libpcap's own `pcap_setfilter` does with it before
/// it gives it to the kernel. An error says which instruction reads of the header what the kernel does not know.
pub fn for_socket(link: LinkType, program: &[Instruction]) -> Result<Vec<Instruction>, String> {
    let (header, ether_type) = match link {
        LinkType::LinuxSll => (16, 14),
        LinkType::LinuxSll2 => (20, 0),
        LinkType::Ethernet | LinkType::RawIp | LinkType::Null | LinkType::Loop => return Ok(program.to_vec()),
    };
    let moved = |(number, instruction): (usize, &Instruction)| {
        let Instruction { code, k, .. } = *instruction;
        let k = match code {
            LOAD_WORD | LOAD_HALF | LOAD_BYTE if k >= KNOWN => k,
            LOAD_HALF if k == ether_type => PROTOCOL,
            LOAD_WORD | LOAD_HALF | LOAD_BYTE | LOAD_WORD_AT_X | LOAD_HALF_AT_X | LOAD_BYTE_AT_X => k
                .checked_sub(header)
                .ok_or(format!("instruction {number} reads a header that is not there"))?,
            _ => k,
        };
        Ok(Instruction { k, ..*instruction })
    };
    program.iter().enumerate().map(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::bpf;
    use crate::packet::filter::simulate::run_socket;
    use crate::packet::filter::{Replies, program_with};
    use crate::packet::frames::*;
    use crate::packet::tunnel::Tunnels;
    use crate::packet::{Technique, Techniques};

    /// Whatever the program is for, whichever way the frame goes: the socket's program makes the same of the packet as libpcap's of
    /// the frame.
    #[test]
    fn the_socket_takes_what_libpcap_would() {
        let packets: Vec<_> = (0..=0x3f)
            .flat_map(|flags| [ipv4(TCP, &tcp(flags)), ipv6(TCP, &tcp(flags))])
            .chain([ipv4_options(TCP, &[1; 8], &tcp(SYN)), ipv6(DESTINATION, &extension(TCP, &tcp(SYN)))])
            .chain([ipv4(UDP, &[0xff; 20]), ipv4(50, &[0; 20]), ipv4_fragment(TCP, 0, true, &tcp(SYN))])
            .collect();
        let sets = [Techniques::DEFAULT, Techniques::ALL, Techniques::of(&[Technique::Ack])];
        for (link, _) in LINKS {
            for replies in [Replies::None, Replies::All, Replies::Leaving] {
                for techniques in sets {
                    let program = program_with(link, techniques, Tunnels::Count, replies);
                    let own = for_socket(link, &program).unwrap();
                    for packet in &packets {
                        let frame = self::link(link, packet);
                        let header = match link {
                            LinkType::LinuxSll => 16,
                            LinkType::LinuxSll2 => 20,
                            _ => 0,
                        };
                        let ether_type = if packet[0] >> 4 == 6 { IPV6 } else { IPV4 };
                        for direction in [0, 4] {
                            let theirs = super::super::simulate::simulate_by(&program, &frame, direction).0;
                            let ours = run_socket(&own, &frame[header..], ether_type, direction);
                            assert_eq!(ours, theirs, "{link:?} {replies:?} {direction} {packet:02x?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_kernel_does_not_know_is_refused() {
        let reads = |code, k| for_socket(LinkType::LinuxSll, &[Instruction { code, jt: 0, jf: 0, k }]);
        assert_eq!(reads(LOAD_HALF, 14).map(|program| program[0].k), Ok(PROTOCOL));
        assert_eq!(reads(LOAD_HALF, 16).map(|program| program[0].k), Ok(0));
        assert_eq!(reads(LOAD_WORD, 0xffff_f004).map(|program| program[0].k), Ok(0xffff_f004));
        assert_eq!(reads(bpf::RETURN, 3).map(|program| program[0].k), Ok(3));
        for (code, k) in [(LOAD_HALF, 2), (LOAD_BYTE, 14), (LOAD_WORD_AT_X, 15), (LOAD_WORD, 12)] {
            assert!(reads(code, k).is_err(), "{code:x} {k}");
        }
    }
}
