//! What the filter lets through besides TCP: datagrams that may ask, and tunnels, or as many as tell how many there are.

use super::{SNAPLEN, Writer};
use crate::packet::Technique;
use crate::packet::bpf::{
    A_TO_X, ADD_X, AND, IF_ANY_BIT, IF_EQUAL, LOAD_MEMORY, LOAD_WORD, Label, SHIFT_LEFT, STORE,
};
use crate::packet::datagram::{CHUNK, INIT, REQUESTS};
use crate::packet::ip::{ICMP, ICMPV6, SCTP, UDP};
use crate::packet::tunnel::{GENEVE, GRE, IP_IN_IP, IPV6_IN_IP, SAMPLE, Tunnels, VXLAN};

/// A random number of the kernel's: `SKF_AD_OFF + SKF_AD_RANDOM` of linux/filter.h. (libpcap's own machine, which runs over what
/// is left in the ring of a former filter, has none, and drops the frame.)
pub(super) const RANDOM: u32 = 0xffff_f000 + 56;

/// Where a protocol other than TCP leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datagrams {
    pub(super) udp: Label,
    pub(super) sctp: Label,
    pub(super) icmp: Label,
    pub(super) tunnel: Label,
    /// A tunnel over UDP that nobody looks into.
    sample: Label,
}

impl Writer {
    /// A is the protocol of the IPv4 header at X, and not TCP.
    pub(super) fn datagrams_of_ipv4(&mut self) {
        let (first, labels) = (self.label(), self.datagram_labels());
        if self.tunnels == Tunnels::Count && !self.techniques.contains(Technique::Udp) {
            // Most of what is not TCP leaves here. Nobody but somebody who hides puts options before a tunnel.
            let other = self.label();
            self.code.unless(IF_EQUAL, UDP.into(), other);
            self.half(20 + 2);
            self.when(IF_EQUAL, VXLAN, labels.sample);
            self.when(IF_EQUAL, GENEVE, labels.sample);
            self.drop();
            self.place(other);
        }
        for protocol in self.protocols(ICMP) {
            self.when(IF_EQUAL, protocol, first);
        }
        self.other(SNAPLEN);
        self.place(first);
        // Where the others of its pieces begin, nothing is asked.
        let later = self.label();
        self.code.put(STORE, 0);
        self.half(6);
        self.when(IF_ANY_BIT, 0x1fff_u32, later);
        self.byte(0);
        self.code.put(AND, 0x0f);
        self.code.put(SHIFT_LEFT, 2);
        self.code.put(ADD_X, 0);
        self.code.put(A_TO_X, 0);
        self.code.put(LOAD_MEMORY, 0);
        self.each_datagram(labels, ICMP);
        self.place(later);
        self.drop();
        self.datagrams(labels, SNAPLEN, &REQUESTS);
    }

    /// The protocols other than TCP that are worth a look, with this one for ICMP.
    pub(super) fn protocols(&self, icmp: u8) -> Vec<u8> {
        let has = |technique, protocol| self.techniques.contains(technique).then_some(protocol);
        let asked = [(Technique::Sctp, SCTP), (Technique::Icmp, icmp)];
        let asked = asked.into_iter().filter_map(|(technique, protocol)| has(technique, protocol));
        // UDP may be a tunnel, whatever is looked for.
        [UDP, IP_IN_IP, IPV6_IN_IP, GRE].into_iter().chain(asked).collect()
    }

    pub(super) fn datagram_labels(&mut self) -> Datagrams {
        let [udp, sctp, icmp, tunnel, sample] = std::array::from_fn(|_| self.label());
        Datagrams { udp, sctp, icmp, tunnel, sample }
    }

    /// A is the protocol, one of `protocols`: leads each to its label.
    fn each_datagram(&mut self, to: Datagrams, icmp: u8) {
        self.when(IF_EQUAL, UDP, to.udp);
        self.when(IF_EQUAL, SCTP, to.sctp);
        self.when(IF_EQUAL, icmp, to.icmp);
        self.code.go(to.tunnel);
    }

    /// X is at what is behind the IP headers: takes what asks, and what is a tunnel as those are to be taken.
    pub(super) fn datagrams(&mut self, from: Datagrams, snaplen: u32, requests: &[u8]) {
        let take = self.label();
        let follow = self.tunnels == Tunnels::Follow;
        self.place(from.udp);
        if self.techniques.contains(Technique::Udp) {
            self.give(snaplen);
        } else {
            let tunnel = if follow { take } else { from.sample };
            self.half(2);
            self.when(IF_EQUAL, VXLAN, tunnel);
            self.when(IF_EQUAL, GENEVE, tunnel);
            self.drop();
        }
        self.place(from.sctp);
        self.byte(CHUNK as u32);
        self.when(IF_EQUAL, INIT, take);
        self.drop();
        self.place(from.icmp);
        self.byte(0);
        for request in requests {
            self.when(IF_EQUAL, *request, take);
        }
        self.drop();
        self.place(from.tunnel);
        if follow || self.techniques.contains(Technique::Protocol) {
            self.give(snaplen);
        }
        self.place(from.sample);
        self.code.put(LOAD_WORD, RANDOM);
        self.code.put(AND, SAMPLE - 1);
        self.when(IF_EQUAL, 0_u32, take);
        self.drop();
        self.place(take);
        self.give(snaplen);
    }

    /// A protocol that nothing else is known of.
    pub(super) fn other(&mut self, snaplen: u32) {
        self.give(if self.techniques.contains(Technique::Protocol) { snaplen } else { 0 });
    }

    /// What may ask in the first piece of an IPv6 packet, besides TCP; `None` if anything may.
    pub(super) fn asks_in_pieces(&self) -> Option<Vec<u8>> {
        let is_any = self.tunnels == Tunnels::Follow || self.techniques.contains(Technique::Protocol);
        let asked = [(Technique::Udp, UDP), (Technique::Sctp, SCTP), (Technique::Icmp, ICMPV6)];
        let asked = asked.into_iter().filter(|(technique, _)| self.techniques.contains(*technique));
        (!is_any).then(|| asked.map(|(_, protocol)| protocol).collect())
    }
}
