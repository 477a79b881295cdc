//! What is looked for besides TCP: datagrams that ask, and packets in tunnels.

use crate::detect::{Probe, Technique, Techniques};
use crate::packet::tunnel::{SAMPLE, Tunnels};
use crate::packet::{LinkType, Signature, Skipped, Timestamp, datagram, decode, tunnel};
use crate::pipeline::Pipeline;
use crate::pipeline::connections::Connections;
use crate::pipeline::conversations::{Conversations, is_for_all};

/// How it is looked for.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// Whether tunnels are looked into.
    pub(super) tunnels: Tunnels,
    /// For so many tunnels each stands that is seen and not looked into: live the kernel hands over a sample.
    pub(super) each_stands_for: u64,
    /// Whether only what arrives is seen, and what the hosts send is told apart from it.
    pub(super) is_inbound: bool,
    /// Where UDP is looked for.
    conversations: Option<Conversations>,
}

impl Datagrams {
    /// As these techniques need it.
    pub(super) fn new(techniques: Techniques) -> Self {
        let udp = techniques.contains(Technique::Udp);
        Self {
            tunnels: Tunnels::Count,
            each_stands_for: 1,
            is_inbound: false,
            conversations: udp.then(Conversations::new),
        }
    }
}

impl Pipeline {
    /// Other techniques from now on.
    pub(super) fn look_for(&mut self, techniques: Techniques) {
        self.techniques = techniques;
        let has_ack = self.replies && techniques.contains(Technique::Ack);
        if has_ack != self.connections.is_some() {
            self.connections = has_ack.then(Connections::new);
        }
        let has_udp = techniques.contains(Technique::Udp);
        let conversations = &mut self.datagrams.conversations;
        if has_udp != conversations.is_some() {
            *conversations = has_udp.then(Conversations::new);
        }
    }

    /// The same for a live capture, to which the kernel hands over a sample of the tunnels.
    #[must_use]
    pub(crate) fn sampled(mut self, is_inbound: bool) -> Self {
        (self.datagrams.each_stands_for, self.datagrams.is_inbound) = (SAMPLE.into(), is_inbound);
        self
    }

    /// A frame that `decode` called "not TCP".
    #[inline]
    pub(super) fn not_tcp(&mut self, time: Timestamp, bytes: &[u8]) -> Option<Probe> {
        if !self.techniques.has_ordinary() && datagram::is_ordinary(self.link, bytes) {
            self.skipped[Skipped::NotTcp as usize] += 1;
            return None;
        }
        self.look_again(time, bytes)
    }

    #[cold]
    #[inline(never)]
    fn look_again(&mut self, time: Timestamp, bytes: &[u8]) -> Option<Probe> {
        if self.datagrams.tunnels == Tunnels::Follow && tunnel::is_tunnel(self.link, bytes) {
            return self.inside(time, bytes);
        }
        self.datagram(time, self.link, bytes)
    }

    /// It is no probe: a tunnel that is not looked into may carry one, and is counted as such.
    fn skip_not_tcp(&mut self, link: LinkType, bytes: &[u8]) {
        if tunnel::is_tunnel(link, bytes) {
            self.skipped[Skipped::Tunnel as usize] += self.datagrams.each_stands_for;
        } else {
            self.skipped[Skipped::NotTcp as usize] += 1;
        }
    }

    /// A datagram: the probe in it, if it is one of those that are looked for.
    fn datagram(&mut self, time: Timestamp, link: LinkType, bytes: &[u8]) -> Option<Probe> {
        let datagram = match datagram::look(link, bytes) {
            Ok(datagram) if self.techniques.contains(datagram.technique) => datagram,
            Ok(_) | Err(Skipped::NotTcp) => {
                self.skip_not_tcp(link, bytes);
                return None;
            }
            Err(skipped) => {
                self.skipped[skipped as usize] += 1;
                return None;
            }
        };
        if datagram.technique == Technique::Udp && self.is_answer(time, &datagram) {
            self.skipped[Skipped::NotProbe as usize] += 1;
            return None;
        }
        let probe = Probe {
            time,
            source: datagram.source,
            host: datagram.destination,
            port: datagram.destination_port,
            technique: datagram.technique,
            tool: Default::default(),
            signature: Signature::of(link, bytes),
            reply: None,
        };
        self.place(link, bytes, probe)
    }

    /// Whether a UDP datagram answers a request, or asks nobody in particular.
    fn is_answer(&mut self, time: Timestamp, datagram: &datagram::Datagram) -> bool {
        let is_inbound = self.datagrams.is_inbound;
        let Some(conversations) = &mut self.datagrams.conversations else { return false };
        let is_answer = if is_inbound {
            conversations.is_answer(time, datagram)
        } else {
            conversations.is_answer_or_request(time, datagram)
        };
        is_answer || is_for_all(datagram.destination)
    }

    /// A frame that this host sent: answers to it are no probes.
    pub(crate) fn sent(&mut self, time: Timestamp, bytes: &[u8]) {
        if let Some(conversations) = &mut self.datagrams.conversations
            && let Ok(datagram) = datagram::look(self.link, bytes)
        {
            conversations.sent(time, &datagram);
        }
    }

    /// The probe in a tunnel: it is that of the inner source, and asks the inner host.
    fn inside(&mut self, time: Timestamp, bytes: &[u8]) -> Option<Probe> {
        let (mut link, mut bytes) = (self.link, bytes);
        for _ in 0..tunnel::MOST_NESTED {
            let skipped = match tunnel::inside(link, bytes) {
                Some(Ok((inner_link, inner))) => {
                    (link, bytes) = (inner_link, inner);
                    match decode(link, time, bytes) {
                        Ok(packet) => return self.judge_in(link, &packet, bytes),
                        Err(Skipped::NotTcp) => continue,
                        Err(skipped) => skipped,
                    }
                }
                Some(Err(skipped)) => skipped,
                None => return self.datagram(time, link, bytes),
            };
            self.skipped[skipped as usize] += 1;
            return None;
        }
        // Deeper than anyone needs.
        let is_deeper = tunnel::is_tunnel(link, bytes);
        self.skipped[if is_deeper { Skipped::Tunnel } else { Skipped::NotTcp } as usize] += 1;
        None
    }
}
