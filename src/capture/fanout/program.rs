//! The program by which the kernel shares packets: a hash of the source, whatever is before it. It sees what `SKF_*` offsets
//! see.

use crate::packet::bpf::{
    A_TO_X, ADD, AND, Assembler, IF_EQUAL, Instruction, LOAD_HALF, LOAD_HALF_AT_X, LOAD_MEMORY, LOAD_WORD,
    LOAD_WORD_AT_X, Label, MULTIPLY, RETURN, RETURN_A, SHIFT_RIGHT, STORE, X_IS, X_IS_MEMORY, X_TO_A, XOR,
    XOR_X,
};
use crate::packet::link::{IPV4, IPV6, TAGS};
use std::hash::{BuildHasher, RandomState};

/// Constants of the hash. Without them, a reader of this file could choose sources that all come to one shard, and
/// fill its share of the tables alone; nothing that the process shows lets him guess them.
#[derive(Debug, Clone, Copy)]
pub(in crate::capture) struct HashKeys {
    add: [u32; 2],
    multiply: [u32; 2],
}

impl HashKeys {
    /// Keys that nobody knows.
    pub(in crate::capture) fn random() -> Self {
        let state = RandomState::new();
        let word = |n: u64| {
            let hash = state.hash_one(n);
            (hash ^ (hash >> 32)) as u32
        };
        // An odd factor loses no bit.
        Self { add: [word(0), word(1)], multiply: [word(2) | 1, word(3) | 1] }
    }
}

/// `SKF_AD_*`: what the kernel knows of a packet besides its bytes.
const fn known(what: i32) -> u32 {
    (libc::SKF_AD_OFF + what).cast_unsigned()
}

/// Of the tags that `decode` looks behind, so many are stepped over. The kernel has taken the outermost off already, unless it
/// is a 0x9100.
const MOST_TAGS: usize = 2;

const ETHERNET_HEADER: u32 = 14;

/// 2001::/32, and 2002::/16 by its first 16 bits.
const TEREDO: u32 = 0x2001_0000;
const SIX_TO_FOUR: u32 = 0x2002;

/// PACKET_OUTGOING of packet(7).
const OUTGOING: u32 = 4;

/// A hash of the source address, for the kernel to take modulo the number of members. Anything that is not IP goes to
/// the first of them.
pub(super) fn program(keys: &HashKeys, ipv6_bits: u8) -> Vec<Instruction> {
    let mut code = Assembler::default();
    let (ipv4, ipv6) = (code.label(), code.label());
    find_begin(&mut code);
    find_ip(&mut code, ipv4, ipv6);
    code.place(ipv4);
    hash_ipv4(&mut code, keys);
    code.place(ipv6);
    hash_ipv6(&mut code, keys, ipv6_bits);
    code.finish()
}

/// A becomes the ether type, X where what it is the type of begins. Of what arrives that is the first byte a program sees,
/// whether or not the packet lies in one piece. What leaves begins with the link's header; where there are tags in it, the
/// kernel's own idea of the network header is before or behind them, depending on who made the packet.
fn find_begin(code: &mut Assembler) {
    let (arrives, ethernet, known_type, end) = (code.label(), code.label(), code.label(), code.label());
    code.put(LOAD_WORD, known(libc::SKF_AD_PKTTYPE));
    code.unless(IF_EQUAL, OUTGOING, arrives);
    code.put(LOAD_WORD, known(libc::SKF_AD_HATYPE));
    code.when(IF_EQUAL, libc::ARPHRD_ETHER.into(), ethernet);
    code.when(IF_EQUAL, libc::ARPHRD_LOOPBACK.into(), ethernet);
    code.put(X_IS, libc::SKF_NET_OFF.cast_unsigned());
    code.go(known_type);
    code.place(ethernet);
    code.put(X_IS, ETHERNET_HEADER);
    code.put(LOAD_HALF, ETHERNET_HEADER - 2);
    code.go(end);
    code.place(arrives);
    code.put(X_IS, 0);
    code.place(known_type);
    code.put(LOAD_WORD, known(libc::SKF_AD_PROTOCOL));
    code.place(end);
}

/// Steps over tags. X is at the IP header then.
fn find_ip(code: &mut Assembler, ipv4: Label, ipv6: Label) {
    for level in 0..=MOST_TAGS {
        let tag = (level < MOST_TAGS).then(|| code.label());
        code.when(IF_EQUAL, IPV4.into(), ipv4);
        code.when(IF_EQUAL, IPV6.into(), ipv6);
        for (tag, tag_type) in tag.into_iter().flat_map(|tag| TAGS.map(|tag_type| (tag, tag_type))) {
            code.when(IF_EQUAL, tag_type.into(), tag);
        }
        code.put(RETURN, 0);
        if let Some(tag) = tag {
            code.place(tag);
            code.put(LOAD_HALF_AT_X, 2);
            code.put(STORE, 0);
            code.put(X_TO_A, 0);
            code.put(ADD, 4);
            code.put(A_TO_X, 0);
            code.put(LOAD_MEMORY, 0);
        }
    }
}

fn hash_ipv4(code: &mut Assembler, keys: &HashKeys) {
    code.put(LOAD_WORD_AT_X, 12);
    code.put(XOR, keys.add[0]);
    code.put(MULTIPLY, keys.multiply[0]);
    finish(code);
}

/// Never finer than what one party is (`detect::Source`): of 6to4 the first 48 bits, of Teredo the first 32.
fn hash_ipv6(code: &mut Assembler, keys: &HashKeys, ipv6_bits: u8) {
    let mask = u64::MAX.checked_shl(64 - u32::from(ipv6_bits.min(64))).unwrap_or(0);
    let (no_teredo, hash) = (code.label(), code.label());
    // The second word of the network is kept, the first comes last.
    code.put(LOAD_WORD_AT_X, 12);
    code.put(AND, mask as u32);
    code.put(STORE, 0);
    code.put(LOAD_WORD_AT_X, 8);
    code.unless(IF_EQUAL, TEREDO, no_teredo);
    code.put(LOAD_MEMORY, 0);
    code.put(AND, 0);
    code.put(STORE, 0);
    code.go(hash);
    code.place(no_teredo);
    code.put(SHIFT_RIGHT, 16);
    code.unless(IF_EQUAL, SIX_TO_FOUR, hash);
    code.put(LOAD_MEMORY, 0);
    code.put(AND, 0xffff_0000);
    code.put(STORE, 0);
    code.place(hash);
    code.put(LOAD_WORD_AT_X, 8);
    code.put(AND, (mask >> 32) as u32);
    code.put(XOR, keys.add[1]);
    code.put(MULTIPLY, keys.multiply[1]);
    fold(code, 16);
    code.put(X_IS_MEMORY, 0);
    code.put(XOR_X, 0);
    code.put(XOR, keys.add[0]);
    code.put(MULTIPLY, keys.multiply[0]);
    finish(code);
}

/// The high bits of a product know all bits of the factors: fold them down.
fn fold(code: &mut Assembler, bits: u32) {
    code.put(A_TO_X, 0);
    code.put(SHIFT_RIGHT, bits);
    code.put(XOR_X, 0);
}

/// Any key is as good as another: the end of MurmurHash3, whose constants were sought for that every bit of what goes in
/// changes half of what comes out.
fn finish(code: &mut Assembler) {
    fold(code, 16);
    code.put(MULTIPLY, 0x85eb_ca6b);
    fold(code, 13);
    code.put(MULTIPLY, 0xc2b2_ae35);
    fold(code, 16);
    code.put(RETURN_A, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::bpf;

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

    /// What the kernel would make of the program.
    fn run(program: &[Instruction], ether_type: u16, way: Way, packet: &[u8]) -> u32 {
        let (pkttype, hatype, start) = match way {
            Way::In => (0, 1, 0),
            Way::OutOfEthernet => (OUTGOING, 1, 0),
            Way::OutOfTunnel => (OUTGOING, 65534, libc::SKF_NET_OFF.cast_unsigned()),
        };
        let mut bytes = Vec::new();
        if let Way::OutOfEthernet = way {
            bytes.extend([0; 12]);
            bytes.extend(ether_type.to_be_bytes());
        }
        bytes.extend(packet);
        let load = |at: u32, length: u32| match at {
            at if at == known(libc::SKF_AD_PKTTYPE) => Some(pkttype),
            at if at == known(libc::SKF_AD_HATYPE) => Some(hatype),
            at if at == known(libc::SKF_AD_PROTOCOL) => Some(ether_type.into()),
            at => {
                let at = at.wrapping_sub(start) as usize;
                let bytes = bytes.get(at..at + length as usize)?;
                Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
            }
        };
        bpf::run(program, load).0
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
        let keys = HashKeys::random();
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
                let bytes = tagged(tags, ether_type, &packet);
                for way in [Way::In, Way::OutOfEthernet] {
                    assert_eq!(run(&program, tags[0], way, &bytes), place, "{tags:04x?}");
                }
            }
        }
        assert_eq!(run(&program, 0x0806, Way::In, &[0; 28]), 0, "ARP");
        assert_eq!(run(&program, 0x8100, Way::In, &tagged(&[0x8100], 0x0806, &[0; 28])), 0, "tagged ARP");
    }

    #[test]
    fn ipv6_counts_by_the_prefix() {
        let keys = HashKeys::random();
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
        let keys = HashKeys::random();
        for bits in [16, 24, 31, 32, 33, 48, 63, 64, 128] {
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
            let keys = HashKeys::random();
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
