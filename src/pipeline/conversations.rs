//! Which UDP datagrams answer a request: those from a host to a port from which it was asked. A resolver, a time server or a
//! QUIC server answers to as many ports as it was asked from, and is no scanner.

use crate::packet::Timestamp;
use crate::packet::datagram::Datagram;
use crate::pipeline::known::{Known, Speakers};
use std::net::IpAddr;

/// How long after the last datagram of a conversation an answer may come: as Linux' own connection tracking has it for a
/// conversation (`nf_conntrack_udp_timeout_stream`).
const PATIENCE_SECONDS: u32 = 120;

/// Ports of services that answer to many ports: DNS, DHCP, NTP, NetBIOS, SNMP, HTTPS (QUIC), IKE, RADIUS, SSDP, STUN, IPsec
/// through NAT, mDNS, LLMNR.
const SERVICES: [u16; 14] = [53, 67, 68, 123, 137, 161, 443, 500, 1812, 1900, 3478, 4500, 5353, 5355];

/// From here on are the ports from which requests are sent.
const REQUESTS_FROM: u16 = 1024;

/// The latest conversations. Live only what this host sends fills it, so an attacker pushes conversations out only with datagrams that
/// he makes the host send. Then answers are taken for probes, but never a probe for an answer. In a file or on a mirror port both
/// directions are seen, and any sender fills it, with the same effect.
#[derive(Debug)]
pub(super) struct Conversations {
    /// Who was asked, and from which port of whom.
    asked: Known,
    /// Whether requests can be seen where the capture stands: one was, or an answer to one.
    are_seen: bool,
}

impl Conversations {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { asked: Known::new(PATIENCE_SECONDS), are_seen: false }
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
        if self.asked.go_on(time, Speakers { peer: source, host: destination, port: destination_port }) {
            self.are_seen = true;
            return true;
        }
        // Where no request is seen, the ports are all there is. An attacker who sends from such a port goes unseen there.
        !self.are_seen && SERVICES.contains(&source_port) && destination_port >= REQUESTS_FROM
    }

    fn note(&mut self, time: Timestamp, datagram: &Datagram) {
        let &Datagram { source, destination, source_port, .. } = datagram;
        self.asked.note(time, Speakers { peer: destination, host: source, port: source_port });
    }
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
}
