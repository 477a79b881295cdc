//! Several sockets on one interface as one, by PACKET_FANOUT of packet(7): which of them gets a packet is decided by a
//! program on its source, so that one source always meets the same detector; and IPv4 is put together before that.
//!
//! The program is classic BPF (the kernel's Documentation/networking/filter.rst) and sees what `SKF_*` offsets see.
//!
//! Reassembly is the flag PACKET_FANOUT_FLAG_DEFRAG. What it costs is bounded by the kernel, not by us: incomplete
//! datagrams take at most `net.ipv4.ipfrag_high_thresh` (4 MiB) for `net.ipv4.ipfrag_time` (30 s), a queue is dropped when
//! pieces overlap (the kernel's Documentation/networking/ip-sysctl.rst). Whoever floods us with pieces fills that and
//! is back to not being reassembled; he gets no memory from this process. Seen on Linux 6.18, and told in the README: the
//! kernel answers a datagram for this host that stays incomplete once more than without us (ICMP "time exceeded"), and all
//! groups of a network namespace share one reassembly, so that only one of them gets the whole datagram.

use rustix::io;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Constants of the hash. Without them, whoever reads this file could choose sources that all come to one shard, and
/// fill its share of the tables alone; nothing that the process tells lets him guess them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    add: [u32; 2],
    multiply: [u32; 2],
}

impl Keys {
    /// Keys that nobody knows.
    pub(super) fn random() -> Self {
        let state = RandomState::new();
        let word = |n: u64| {
            let hash = state.hash_one(n);
            (hash ^ (hash >> 32)) as u32
        };
        // An odd factor loses no bit.
        Self { add: [word(0), word(1)], multiply: [word(2) | 1, word(3) | 1] }
    }
}

/// What a group does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// A group of one, only for the sake of reassembly: of all ways the one that looks at no packet.
    Alone,
    /// By the program that `steer` sets; until then everything goes to the first member.
    BySource,
}

impl Sharing {
    fn kind(self) -> u32 {
        match self {
            Sharing::Alone => libc::PACKET_FANOUT_CPU,
            Sharing::BySource => libc::PACKET_FANOUT_CBPF,
        }
    }
}

/// A group as its further members name it: the argument of PACKET_FANOUT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group(u32);

/// Makes a group of this socket, under a number that nobody else in the network namespace uses.
pub(super) fn found(socket: &impl AsFd, sharing: Sharing, reassemble: bool) -> io::Result<Group> {
    let flags = if reassemble { libc::PACKET_FANOUT_FLAG_DEFRAG } else { 0 };
    let kind = sharing.kind() | flags;
    set(
        socket.as_fd(),
        libc::SOL_PACKET,
        libc::PACKET_FANOUT,
        &((kind | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16),
    )?;
    let number = fanout(socket.as_fd())? & 0xffff;
    Ok(Group(number | kind << 16))
}

/// Adds a socket of the same interface to the group.
pub(super) fn join(socket: &impl AsFd, group: Group) -> io::Result<()> {
    set(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_FANOUT, &group.0)
}

/// Has the group of this socket share by source, of which IPv6 counts `ipv6_bits` (at most 64), and less where one party has
/// many networks.
pub(super) fn steer(socket: &impl AsFd, keys: &Keys, ipv6_bits: u8) -> io::Result<()> {
    give(socket, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &mut program(keys, ipv6_bits))
}

/// Lets nothing into this socket, until it gets another filter.
pub(super) fn close_to_all(socket: &impl AsFd) -> io::Result<()> {
    let mut nothing = [op(libc::BPF_RET | libc::BPF_K, 0)];
    give(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &mut nothing)
}

fn give(socket: &impl AsFd, level: i32, option: i32, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Errno::INVAL)?;
    // The kernel copies the instructions before the call returns.
    set(socket.as_fd(), level, option, &libc::sock_fprog { len, filter: program.as_mut_ptr() })
}

/// setsockopt(2) for options that rustix does not know.
fn set<T>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel only reads, and no more than the size given.
    #[allow(unsafe_code, reason = "packet(7) options have no safe wrapper")]
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(last_error()) }
}

/// The group of a socket: its number, and above it kind and flags.
fn fanout(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let (mut value, mut size) = (0_u32, size_of::<u32>() as libc::socklen_t);
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes at most the four bytes of `value`.
    #[allow(unsafe_code, reason = "packet(7) options have no safe wrapper")]
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw mut value).cast(),
            &raw mut size,
        )
    };
    if failed == 0 { Ok(value) } else { Err(last_error()) }
}

fn last_error() -> io::Errno {
    io::Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(io::Errno::INVAL)
}

fn op(code: u32, k: u32) -> libc::sock_filter {
    // Codes have at most eight bits.
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// `SKF_AD_*`: what the kernel knows of a packet besides its bytes.
const fn known(what: i32) -> u32 {
    (libc::SKF_AD_OFF + what).cast_unsigned()
}

const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;

/// The tags that `decode` looks behind. The kernel has taken the outermost off already, unless it is a 0x9100.
const TAGS: [u32; 3] = [0x8100, 0x88a8, 0x9100];
const MOST_TAGS: usize = 2;

const ETHERNET_HEADER: u32 = 14;

/// 2001::/32, and 2002::/16 by its first 16 bits.
const TEREDO: u32 = 0x2001_0000;
const SIX_TO_FOUR: u32 = 0x2002;

/// PACKET_OUTGOING of packet(7).
const OUTGOING: u32 = 4;

/// A hash of the source address, for the kernel to take modulo the number of members. Anything that is not IP goes to
/// the first of them.
fn program(keys: &Keys, ipv6_bits: u8) -> Vec<libc::sock_filter> {
    use libc::{
        BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD,
        BPF_LDX, BPF_MEM, BPF_MISC, BPF_MUL, BPF_RET, BPF_RSH, BPF_ST, BPF_TAX, BPF_TXA, BPF_W, BPF_X,
        BPF_XOR,
    };
    const BPF_A: u32 = 0x10;
    let alu = |operation: u32, k: u32| op(BPF_ALU | operation | BPF_K, k);
    let tax = op(BPF_MISC | BPF_TAX, 0);
    let with_x = op(BPF_ALU | BPF_XOR | BPF_X, 0);
    let word = |offset: u32| op(BPF_LD | BPF_W | BPF_IND, offset);
    // The high bits of a product know all bits of the factors: fold them down.
    let fold = |bits: u32| [tax, alu(BPF_RSH, bits), with_x];
    // Any key is as good as another: the end of MurmurHash3, whose constants were sought for that every bit of what goes in
    // changes half of what comes out.
    let finish = [
        &fold(16)[..],
        &[alu(BPF_MUL, 0x85eb_ca6b)],
        &fold(13),
        &[alu(BPF_MUL, 0xc2b2_ae35)],
        &fold(16),
        &[op(BPF_RET | BPF_A, 0)],
    ]
    .concat();
    let mask = u64::MAX.checked_shl(64 - u32::from(ipv6_bits.min(64))).unwrap_or(0);

    let mut ipv4 = vec![word(12), alu(BPF_XOR, keys.add[0]), alu(BPF_MUL, keys.multiply[0])];
    ipv4.extend(&finish);

    let skip_unless = |value: u32, jf: u8| libc::sock_filter { jf, ..op(BPF_JMP | BPF_JEQ | BPF_K, value) };
    let load = op(BPF_LD | BPF_W | BPF_MEM, 0);
    let mut ipv6 = vec![
        word(12),
        alu(BPF_AND, mask as u32),
        op(BPF_ST, 0),
        // Never finer than what one party is (`detect::Source`): of 6to4 the first 48 bits, of Teredo the first 32.
        word(8),
        skip_unless(TEREDO, 4),
        load,
        alu(BPF_AND, 0),
        op(BPF_ST, 0),
        op(BPF_JMP | BPF_JA, 5),
        alu(BPF_RSH, 16),
        skip_unless(SIX_TO_FOUR, 3),
        load,
        alu(BPF_AND, 0xffff_0000),
        op(BPF_ST, 0),
        word(8),
        alu(BPF_AND, (mask >> 32) as u32),
        alu(BPF_XOR, keys.add[1]),
        alu(BPF_MUL, keys.multiply[1]),
    ];
    ipv6.extend(fold(16));
    ipv6.extend([op(BPF_LDX | BPF_W | BPF_MEM, 0), with_x]);
    ipv6.extend([alu(BPF_XOR, keys.add[0]), alu(BPF_MUL, keys.multiply[0])]);
    ipv6.extend(&finish);

    // A is the ether type, X where what it is the type of begins. Of what arrives that is the first byte a program sees,
    // whether or not the packet lies in one piece. What leaves begins with the link's header; where there are tags in it, the
    // kernel's own idea of the network header is before or behind them, depending on who made the packet.
    let jump =
        |ether_type: u32, jt: u8| libc::sock_filter { jt, ..op(BPF_JMP | BPF_JEQ | BPF_K, ether_type) };
    let begin_at = |offset: u32| op(BPF_LDX | BPF_W | BPF_IMM, offset);
    let mut program = vec![
        op(BPF_LD | BPF_W | BPF_ABS, known(libc::SKF_AD_PKTTYPE)),
        libc::sock_filter { jf: 8, ..jump(OUTGOING, 0) },
        op(BPF_LD | BPF_W | BPF_ABS, known(libc::SKF_AD_HATYPE)),
        jump(libc::ARPHRD_ETHER.into(), 3),
        jump(libc::ARPHRD_LOOPBACK.into(), 2),
        begin_at(libc::SKF_NET_OFF.cast_unsigned()),
        op(BPF_JMP | BPF_JA, 4),
        begin_at(ETHERNET_HEADER),
        op(BPF_LD | BPF_H | BPF_ABS, ETHERNET_HEADER - 2),
        op(BPF_JMP | BPF_JA, 2),
        begin_at(0),
        op(BPF_LD | BPF_W | BPF_ABS, known(libc::SKF_AD_PROTOCOL)),
    ];
    // At each level two questions, one for each tag, the end, six steps behind the tag.
    const LEVEL: usize = 2 + TAGS.len() + 1 + 6;
    let ipv4_at = program.len() + MOST_TAGS * LEVEL + 3;
    let ipv6_at = ipv4_at + ipv4.len();
    for level in 0..=MOST_TAGS {
        let tag_at = program.len() + 2 + TAGS.len() + 1;
        let mut ask = |ether_type: u32, then: usize| {
            // The whole program has fewer than 255 steps.
            let jt = (then - program.len() - 1) as u8;
            program.push(libc::sock_filter { jt, jf: 0, ..op(BPF_JMP | BPF_JEQ | BPF_K, ether_type) });
        };
        ask(IPV4, ipv4_at);
        ask(IPV6, ipv6_at);
        if level < MOST_TAGS {
            for tag in TAGS {
                ask(tag, tag_at);
            }
        }
        program.push(op(BPF_RET | BPF_K, 0));
        if level < MOST_TAGS {
            program.extend([
                op(BPF_LD | BPF_H | BPF_IND, 2),
                op(BPF_ST, 0),
                op(BPF_MISC | BPF_TXA, 0),
                alu(BPF_ADD, 4),
                tax,
                op(BPF_LD | BPF_W | BPF_MEM, 0),
            ]);
        }
    }
    program.extend(ipv4);
    program.extend(ipv6);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel knows of a packet besides its bytes.
    #[derive(Clone, Copy)]
    enum Way {
        /// The bytes begin with what `ether_type` is the type of.
        In,
        /// They begin with an Ethernet header.
        OutOfEthernet,
        /// There is no header of the link.
        OutOfTunnel,
    }

    /// What the kernel would make of the program: the few instructions it is made of.
    fn run(program: &[libc::sock_filter], ether_type: u32, way: Way, packet: &[u8]) -> u32 {
        let (mut a, mut x, mut memory, mut pc) = (0_u32, 0_u32, [0_u32; 16], 0);
        let (pkttype, hatype, start) = match way {
            Way::In => (0, 1, 0),
            Way::OutOfEthernet => (OUTGOING, 1, 0),
            Way::OutOfTunnel => (OUTGOING, 65534, libc::SKF_NET_OFF.cast_unsigned()),
        };
        let mut bytes = Vec::new();
        if let Way::OutOfEthernet = way {
            bytes.extend([0; 12]);
            bytes.extend((ether_type as u16).to_be_bytes());
        }
        bytes.extend(packet);
        let byte = |at: u32| u32::from(bytes[at as usize]);
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[pc];
            pc += 1;
            let at = x.wrapping_add(k).wrapping_sub(start);
            match code {
                0x20 if k == known(libc::SKF_AD_PKTTYPE) => a = pkttype,
                0x20 if k == known(libc::SKF_AD_HATYPE) => a = hatype,
                0x20 if k == known(libc::SKF_AD_PROTOCOL) => a = ether_type,
                0x28 => a = byte(k) << 8 | byte(k + 1),
                0x40 => a = byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3),
                0x48 => a = byte(at) << 8 | byte(at + 1),
                0x60 => a = memory[k as usize],
                0x61 => x = memory[k as usize],
                0x01 => x = k,
                0x02 => memory[k as usize] = a,
                0x04 => a = a.wrapping_add(k),
                0x24 => a = a.wrapping_mul(k),
                0x54 => a &= k,
                0x74 => a >>= k,
                0xa4 => a ^= k,
                0xac => a ^= x,
                0x05 => pc += k as usize,
                0x15 => pc += usize::from(if a == k { jt } else { jf }),
                0x07 => x = a,
                0x87 => a = x,
                0x06 => return k,
                0x16 => return a,
                _ => panic!("instruction {code:#x} with {k:#x} has no meaning here"),
            }
        }
    }

    fn ipv4(source: u32) -> Vec<u8> {
        let mut packet = vec![0x45; 40];
        packet[12..16].copy_from_slice(&source.to_be_bytes());
        packet
    }

    fn ipv6(source: u128) -> Vec<u8> {
        let mut packet = vec![0x60; 60];
        packet[8..24].copy_from_slice(&source.to_be_bytes());
        packet
    }

    fn tagged(tags: &[u16], ether_type: u16, packet: &[u8]) -> Vec<u8> {
        // The first tag's type is the ether type of the whole; each tag is followed by the type of what it carries.
        let carried = tags.iter().skip(1).chain([&ether_type]);
        let mut bytes: Vec<u8> =
            carried.flat_map(|t| [0, 7, t.to_be_bytes()[0], t.to_be_bytes()[1]]).collect();
        bytes.extend(packet);
        bytes
    }

    #[test]
    fn a_source_has_one_place_whatever_is_around_it() {
        let keys = Keys::random();
        let program = program(&keys, 64);
        assert!(program.len() < 255, "{}", program.len());
        for (ether_type, packet) in [(IPV4, ipv4(0xc633_6407)), (IPV6, ipv6(0x2001_0db8 << 96 | 7))] {
            let place = run(&program, ether_type, Way::In, &packet);
            for way in [Way::OutOfEthernet, Way::OutOfTunnel] {
                assert_eq!(run(&program, ether_type, way, &packet), place);
            }
            for tags in
                [&[0x8100][..], &[0x88a8], &[0x9100], &[0x88a8, 0x8100], &[0x8100, 0x8100], &[0x9100, 0x8100]]
            {
                let bytes = tagged(tags, ether_type as u16, &packet);
                for way in [Way::In, Way::OutOfEthernet] {
                    assert_eq!(run(&program, tags[0].into(), way, &bytes), place, "{tags:04x?}");
                }
            }
        }
        assert_eq!(run(&program, 0x0806, Way::In, &[0; 28]), 0, "ARP");
        assert_eq!(run(&program, 0x8100, Way::In, &tagged(&[0x8100], 0x0806, &[0; 28])), 0, "tagged ARP");
    }

    #[test]
    fn ipv6_counts_by_the_prefix() {
        let keys = Keys::random();
        let host = 0x2001_0db8_0051_0007_u128 << 64;
        for (bits, same, other) in [(64, 64, 65), (48, 80, 81), (16, 112, 113), (128, 64, 65)] {
            let program = program(&keys, bits);
            let place = |source| run(&program, IPV6, Way::In, &ipv6(source));
            assert_eq!(place(host), place(host | ((1 << same) - 1)), "/{bits}");
            assert_ne!(place(host), place(host ^ 1 << (other - 1)), "/{bits}");
        }
    }

    #[test]
    fn one_party_has_one_place_though_it_has_many_networks() {
        let keys = Keys::random();
        for bits in [32, 48, 64, 128] {
            let program = program(&keys, bits);
            let place = |source| run(&program, IPV6, Way::In, &ipv6(source));
            let six_to_four = 0x2002_c633_6407_u128 << 80;
            let teredo = 0x2001_0000_u128 << 96 | 0x39cc_9bf8;
            for n in 0..1_000_u128 {
                // Any of its networks; any server and any ports of its own.
                assert_eq!(place(six_to_four | ((n * 60) << 64) | n), place(six_to_four), "6to4 by /{bits}");
                assert_eq!(place(teredo | (n * n) << 64 | (n << 32)), place(teredo), "Teredo by /{bits}");
            }
            if bits >= 48 {
                let clients = (0..64_u128).map(|n| place(six_to_four ^ (n << 80)));
                assert!(clients.collect::<std::collections::BTreeSet<_>>().len() > 60, "6to4 spreads");
            }
        }
    }

    #[test]
    fn neighbours_spread_evenly_whatever_the_keys() {
        for _ in 0..20 {
            let keys = Keys::random();
            let program = program(&keys, 64);
            for members in [2, 3, 4, 64] {
                for stride in [1, 2, 256, 1 << 16] {
                    let (mut v4, mut v6) = (vec![0; members], vec![0; members]);
                    let each = 4096 / members;
                    for n in 0..4096_u32 {
                        let place = |hash: u32| hash as usize % members;
                        v4[place(run(&program, IPV4, Way::In, &ipv4((10 << 24) + n * stride)))] += 1;
                        let network = (0x2001_0db8_u128 << 96) + (u128::from(n * stride) << 64);
                        v6[place(run(&program, IPV6, Way::In, &ipv6(network)))] += 1;
                    }
                    for (name, counts) in [("IPv4", v4), ("IPv6", v6)] {
                        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                        assert!(
                            *least * 4 > each && *most < each * 4,
                            "{name} by {stride} over {members}: {counts:?} with {keys:?}"
                        );
                    }
                }
            }
        }
    }
}
