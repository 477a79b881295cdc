//! What the filter lets through besides TCP: datagrams that may ask, and tunnels, or as many as tell how many there are.

use super::{SNAPLEN, SNAPLEN_EXTENDED, Writer};
use crate::packet::Technique;
use crate::packet::bpf::{
    A_IS, A_TO_X, ADD_X, AND, IF_ABOVE, IF_ANY_BIT, IF_AT_LEAST, IF_EQUAL, LOAD_MEMORY, LOAD_WORD, Label,
    SHIFT_LEFT, STORE,
};
use crate::packet::datagram::{CHUNK, ECHO_V6, INIT, REQUESTS};
use crate::packet::ip::{ICMP, ICMPV6, SCTP, UDP};
use crate::packet::link::{CARRIERS, IPV4, IPV6, LLC_IP, LLC_SNAP, SNAP_TYPE, TYPES};
use crate::packet::tunnel::{CLOSED, CLOSED_PORTS, OPEN, OPEN_PORTS, PORTS, SAMPLE, Tunnels};

/// A random number of the kernel's: `SKF_AD_OFF + SKF_AD_RANDOM` of linux/filter.h. (libpcap's own machine, which runs over what
/// is left in the ring of a former filter, has none, and drops the frame.)
pub(super) const RANDOM: u32 = 0xffff_f000 + 56;

/// Where a protocol other than TCP leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datagrams {
    udp: Label,
    sctp: Label,
    icmp: Label,
    tunnel: Label,
    /// A tunnel that nobody looks into.
    sample: Label,
}

/// Where a frame leads that is not IP.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotIp {
    /// A is its ether type, X behind it.
    pub(super) types: Label,
    /// It carries another frame.
    pub(super) sample: Label,
}

impl Writer {
    /// A is the protocol of the IPv4 header at X, and not TCP.
    pub(super) fn datagrams_of_ipv4(&mut self) {
        let (first, labels) = (self.label(), self.datagram_labels());
        if !self.techniques.contains(Technique::Udp) {
            // Most of what is not TCP leaves here: no tunnel is over such a port. Behind options it is elsewhere.
            let (other, look, none) = (self.label(), self.label(), self.label());
            self.code.unless(IF_EQUAL, UDP.into(), other);
            self.byte(0);
            self.code.unless(IF_EQUAL, 0x45, look);
            self.half(20 + 2);
            self.when(IF_ABOVE, PORTS[1], none);
            self.when(IF_AT_LEAST, PORTS[0], look);
            self.place(none);
            self.drop();
            self.place(look);
            self.code.put(A_IS, UDP.into());
            self.code.go(first);
            self.place(other);
        }
        self.protocols(ICMP, first);
        self.other(SNAPLEN);
        self.place(first);
        // Where the others of its pieces begin, nothing is asked, but of SCTP.
        let (later, no_piece, whole) = (self.label(), self.label(), self.label());
        self.code.put(STORE, 0);
        self.half(6);
        self.when(IF_ANY_BIT, 0x1fff_u32, later);
        if self.techniques.contains(Technique::Sctp) {
            // What a first piece asks may be in another one.
            self.code.unless(IF_ANY_BIT, 0x2000, whole);
            self.code.put(LOAD_MEMORY, 0);
            self.code.unless(IF_EQUAL, SCTP.into(), whole);
            self.give(SNAPLEN);
        }
        self.place(whole);
        self.byte(0);
        self.code.put(AND, 0x0f);
        self.code.put(SHIFT_LEFT, 2);
        self.code.put(ADD_X, 0);
        self.code.put(A_TO_X, 0);
        self.code.put(LOAD_MEMORY, 0);
        self.each_datagram(labels, ICMP);
        self.place(later);
        if self.techniques.contains(Technique::Sctp) {
            self.code.put(LOAD_MEMORY, 0);
            self.code.unless(IF_EQUAL, SCTP.into(), no_piece);
            self.give(SNAPLEN);
        }
        self.place(no_piece);
        self.drop();
        self.datagrams(labels, SNAPLEN, &REQUESTS);
    }

    /// A is the protocol of an IPv6 packet, and not TCP; X is at what is behind all of its headers.
    pub(super) fn datagrams_of_ipv6(&mut self, snaplen: u32) {
        let (known, labels) = (self.label(), self.datagram_labels());
        self.protocols(ICMPV6, known);
        self.other(snaplen);
        self.place(known);
        self.each_datagram(labels, ICMPV6);
        self.datagrams(labels, snaplen, &[ECHO_V6]);
    }

    /// A is the protocol: leads to `known` those other than TCP that are worth a look, with this one for ICMP.
    fn protocols(&mut self, icmp: u8, known: Label) {
        let [has_icmp, has_protocol] =
            [Technique::Icmp, Technique::Protocol].map(|technique| self.techniques.contains(technique));
        // UDP may be a tunnel, whatever is looked for.
        self.when(IF_EQUAL, UDP, known);
        if has_icmp {
            self.when(IF_EQUAL, icmp, known);
        } else if !has_protocol {
            let not = self.label();
            self.code.unless(IF_EQUAL, icmp.into(), not);
            self.drop();
            self.place(not);
        }
        if self.techniques.contains(Technique::Sctp) {
            self.when(IF_EQUAL, SCTP, known);
        }
        for protocol in OPEN.into_iter().chain(self.closed()) {
            self.when(IF_EQUAL, protocol, known);
        }
    }

    /// Tunnels that nobody looks into. Where any protocol asks, they are packets as others.
    fn closed(&self) -> impl Iterator<Item = u8> + use<> {
        let has_protocol = self.techniques.contains(Technique::Protocol);
        CLOSED.into_iter().filter(move |_| !has_protocol)
    }

    fn datagram_labels(&mut self) -> Datagrams {
        let [udp, sctp, icmp, tunnel, sample] = std::array::from_fn(|_| self.label());
        Datagrams { udp, sctp, icmp, tunnel, sample }
    }

    /// A is the protocol, one of `protocols`: leads each to its label.
    fn each_datagram(&mut self, to: Datagrams, icmp: u8) {
        self.when(IF_EQUAL, UDP, to.udp);
        self.when(IF_EQUAL, SCTP, to.sctp);
        self.when(IF_EQUAL, icmp, to.icmp);
        for protocol in OPEN {
            self.when(IF_EQUAL, protocol, to.tunnel);
        }
        self.code.go(to.sample);
    }

    /// X is at what is behind the IP headers: takes what asks, and what is a tunnel as those are to be taken.
    fn datagrams(&mut self, from: Datagrams, snaplen: u32, requests: &[u8]) {
        let (take, inside) = (self.label(), self.label());
        let follow = self.tunnels == Tunnels::Follow;
        let has_udp = self.techniques.contains(Technique::Udp);
        self.place(from.udp);
        if follow || !has_udp {
            let (none, tunnel) = (self.label(), if follow { inside } else { from.sample });
            self.half(2);
            self.when(IF_ABOVE, PORTS[1], none);
            self.code.unless(IF_AT_LEAST, PORTS[0].into(), none);
            for port in OPEN_PORTS {
                self.when(IF_EQUAL, port, tunnel);
            }
            for port in CLOSED_PORTS.into_iter().filter(|_| !has_udp) {
                self.when(IF_EQUAL, port, from.sample);
            }
            self.place(none);
        }
        self.give(if has_udp { snaplen } else { 0 });
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
        if follow {
            self.code.go(inside);
        } else if self.techniques.contains(Technique::Protocol) {
            self.give(snaplen);
        }
        self.place(from.sample);
        self.sample(take);
        self.place(take);
        self.give(snaplen);
        self.place(inside);
        self.give(SNAPLEN_EXTENDED);
    }

    /// Takes one of so many, by chance.
    fn sample(&mut self, take: Label) {
        self.code.put(LOAD_WORD, RANDOM);
        self.code.put(AND, SAMPLE - 1);
        self.when(IF_EQUAL, 0_u32, take);
        self.drop();
    }

    /// A protocol that nothing else is known of.
    fn other(&mut self, snaplen: u32) {
        self.give(if self.techniques.contains(Technique::Protocol) { snaplen } else { 0 });
    }

    /// Of what is not IP a sample of what carries frames.
    pub(super) fn not_ip(&mut self, from: NotIp) {
        let (short, none, take) = (self.label(), self.label(), self.label());
        self.place(from.types);
        self.code.unless(IF_AT_LEAST, TYPES.into(), short);
        for carrier in CARRIERS {
            self.when(IF_EQUAL, carrier, from.sample);
        }
        self.drop();
        self.place(short);
        self.half(0);
        self.when(IF_EQUAL, LLC_IP, from.sample);
        self.code.unless(IF_EQUAL, LLC_SNAP.into(), none);
        self.half(SNAP_TYPE as u32);
        self.when(IF_EQUAL, IPV4, from.sample);
        self.when(IF_EQUAL, IPV6, from.sample);
        self.place(none);
        self.drop();
        self.place(from.sample);
        self.sample(take);
        self.place(take);
        self.give(SNAPLEN);
    }
}
