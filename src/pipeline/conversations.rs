//! Which UDP datagrams answer a request: those from a host to a port from which it was asked. A resolver, a time server or a
//! QUIC server answers to as many ports as it was asked from, and is no scanner.

use crate::packet::Timestamp;
use crate::packet::datagram::Datagram;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;

/// How long after the last datagram of a conversation an answer may come: as Linux' own connection tracking has it for a
/// conversation (`nf_conntrack_udp_timeout_stream`).
const PATIENCE_SECONDS: u32 = 120;

/// Conversations that are kept at a time, half of whose bytes say when.
const CONVERSATIONS: usize = 1 << 16;

/// What they take.
pub(crate) const BYTES: usize = CONVERSATIONS / WAYS * size_of::<Set>();
const _: () = assert!(BYTES == 512 << 10);

/// One line of the cache.
const WAYS: usize = 8;

/// Ports of services that answer to many ports: DNS, DHCP, NTP, NetBIOS, SNMP, HTTPS (QUIC), IKE, RADIUS, SSDP, STUN, IPsec
/// through NAT, mDNS, LLMNR.
const SERVICES: [u16; 14] = [53, 67, 68, 123, 137, 161, 443, 500, 1812, 1900, 3478, 4500, 5353, 5355];

/// From here on are the ports from which requests are sent.
const REQUESTS_FROM: u16 = 1024;

/// Who was asked, and from which port of whom: as much of a keyed hash as tells them apart, and when.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Conversation {
    tag: u32,
    /// In seconds since the epoch, one more; 0 is none.
    at: u32,
}

/// A set of conversations, which fills a line of the cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Set([Conversation; WAYS]);

/// The latest conversations. Live only what this host sends fills it, so an attacker pushes conversations out only with datagrams that
/// he makes the host send. Then answers are taken for probes, but never a probe for an answer. In a file or on a mirror port both
/// directions are seen, and any sender fills it, with the same effect.
#[derive(Debug)]
pub(super) struct Conversations {
    sets: Box<[Set]>,
    /// Keyed by chance: what is hashed comes from the wire.
    hasher: RandomState,
    /// Whether requests can be seen where the capture stands: one was, or an answer to one.
    are_seen: bool,
}

impl Conversations {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            sets: vec![Set::default(); CONVERSATIONS / WAYS].into_boxed_slice(),
            hasher: RandomState::new(),
            are_seen: false,
        }
    }

    /// A host that answers for itself sent this: what comes back to its port from there is an answer.
    pub(super) fn sent(&mut self, time: Timestamp, datagram: &Datagram) {
        self.are_seen = true;
        self.note(time, datagram);
    }

    /// Where all directions are seen: whether it is an answer; if it is none, it may be a request.
    pub(super) fn is_answer_or_request(&mut self, time: Timestamp, datagram: &Datagram) -> bool {
        let is_answer = self.is_answer(time, datagram);
        // What is sent in return goes on with the conversation, from either side.
        self.note(time, datagram);
        is_answer
    }

    /// Whether it answers.
    pub(super) fn is_answer(&mut self, time: Timestamp, datagram: &Datagram) -> bool {
        let &Datagram { source, destination, source_port, destination_port, .. } = datagram;
        let (set, tag) = self.place((source, destination, destination_port));
        let now = seconds(time);
        let known = self.sets[set].0.iter_mut().find(|known| known.tag == tag && known.at > 0);
        if let Some(known) = known
            && now.abs_diff(known.at) <= PATIENCE_SECONDS
        {
            known.at = known.at.max(now);
            self.are_seen = true;
            return true;
        }
        // Where no request is seen, the ports are all there is. An attacker who sends from such a port goes unseen there.
        !self.are_seen && SERVICES.contains(&source_port) && destination_port >= REQUESTS_FROM
    }

    fn note(&mut self, time: Timestamp, datagram: &Datagram) {
        let &Datagram { source, destination, source_port, .. } = datagram;
        let (set, tag) = self.place((destination, source, source_port));
        let set = &mut self.sets[set].0;
        let at = set.iter().position(|known| known.tag == tag);
        let oldest = || (0..WAYS).min_by_key(|&way| set[way].at).unwrap_or(0);
        let way = at.unwrap_or_else(oldest);
        set[way] = Conversation { tag, at: seconds(time) };
    }

    /// Whose answers to which port of whom belong in which set, and under which tag.
    fn place(&self, asked: (IpAddr, IpAddr, u16)) -> (usize, u32) {
        let hash = self.hasher.hash_one(Key(asked));
        ((hash as usize) % self.sets.len(), (hash >> 32) as u32)
    }
}

/// A host that was asked, and from which port of whom.
struct Key((IpAddr, IpAddr, u16));

impl Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let (asked, by, port) = self.0;
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        state.write_u128(bits(asked));
        state.write_u128(bits(by));
        state.write_u16(port);
    }
}

/// As a conversation keeps them, until 2106.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.nanos() / 1_000_000_000).unwrap_or(u32::MAX - 1).saturating_add(1)
}

/// Whether a datagram asks nobody in particular: multicast (mDNS, SSDP) and broadcast (DHCP).
pub(super) fn is_for_all(destination: IpAddr) -> bool {
    destination.is_multicast() || matches!(destination, IpAddr::V4(address) if address.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Technique;

    const HOST: &str = "192.0.2.10";
    const PEER: &str = "198.51.100.53";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::new(1_700_000_000 + seconds, 0)
    }

    fn datagram(from: (&str, u16), to: (&str, u16)) -> Datagram {
        Datagram {
            source: from.0.parse().unwrap(),
            destination: to.0.parse().unwrap(),
            source_port: from.1,
            destination_port: to.1,
            technique: Technique::Udp,
        }
    }

    #[test]
    fn who_was_asked_may_answer_and_nobody_else() {
        let mut known = Conversations::new();
        known.sent(at(0), &datagram((HOST, 40_000), (PEER, 53)));
        assert!(known.is_answer(at(1), &datagram((PEER, 53), (HOST, 40_000))));
        assert!(
            known.is_answer(at(1), &datagram((PEER, 1069), (HOST, 40_000))),
            "TFTP answers from another port"
        );
        for (from, to) in [
            ((PEER, 53), (HOST, 40_001)),
            (("198.51.100.54", 53), (HOST, 40_000)),
            ((PEER, 53), ("192.0.2.11", 40_000)),
        ] {
            assert!(!known.is_answer(at(1), &datagram(from, to)), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn patience_ends_and_each_answer_renews_it() {
        let mut known = Conversations::new();
        let (request, answer) =
            (datagram((HOST, 40_000), (PEER, 443)), datagram((PEER, 443), (HOST, 40_000)));
        known.sent(at(0), &request);
        assert!(known.is_answer(at(100), &answer));
        assert!(known.is_answer(at(220), &answer));
        assert!(!known.is_answer(at(341), &answer));
    }

    #[test]
    fn where_both_directions_are_seen_a_scan_is_no_conversation_and_its_answers_are() {
        let mut known = Conversations::new();
        for port in 1..1_000 {
            let probe = datagram((PEER, 40_000), (HOST, port));
            assert!(!known.is_answer_or_request(at(0), &probe));
            if port % 10 == 0 {
                assert!(known.is_answer_or_request(at(0), &datagram((HOST, port), (PEER, 40_000))));
            }
        }
    }

    #[test]
    fn ports_decide_only_as_long_as_no_request_was_seen() {
        let mut known = Conversations::new();
        let answer = datagram((PEER, 53), (HOST, 40_000));
        assert!(known.is_answer(at(0), &answer));
        assert!(!known.is_answer(at(0), &datagram((PEER, 53), (HOST, 53))));
        assert!(!known.is_answer(at(0), &datagram((PEER, 40_000), (HOST, 40_000))));
        known.sent(at(0), &datagram((HOST, 50_000), (PEER, 53)));
        assert!(!known.is_answer(at(0), &answer));
    }

    /// A host that asks as often as it likes keeps what it asked last, and takes no more memory.
    #[test]
    fn the_latest_are_kept() {
        let mut known = Conversations::new();
        for n in 0..200_000_u32 {
            let peer = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string();
            known.sent(at(u64::from(n) / 10_000), &datagram((HOST, 40_000), (&peer, 53)));
        }
        let lately = (180_000..200_000_u32).filter(|n| {
            let peer = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string();
            known.is_answer(at(20), &datagram((&peer, 53), (HOST, 40_000)))
        });
        assert!(lately.count() > 19_900);
    }
}
