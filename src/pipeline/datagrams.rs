//! What is looked for besides TCP: datagrams that ask, and packets in tunnels.

use crate::detect::{Probe, Technique, Techniques};
use crate::packet::filter::{self, Instruction};
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
    /// Live, what the kernel hands over: of the tunnels that are not looked into a sample, mostly.
    program: Option<Vec<Instruction>>,
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
            program: None,
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
            let is_file = self.datagrams.program.is_none();
            self.connections = has_ack.then(|| Connections::new(is_file));
        }
        let has_udp = techniques.contains(Technique::Udp);
        let conversations = &mut self.datagrams.conversations;
        if has_udp != conversations.is_some() {
            *conversations = has_udp.then(Conversations::new);
        }
        self.filtered();
    }

    /// The same for a live capture, to which the kernel hands over a sample of the tunnels.
    #[must_use]
    pub(crate) fn sampled(mut self, is_inbound: bool) -> Self {
        self.datagrams.is_inbound = is_inbound;
        self.datagrams.program = Some(Vec::new());
        self.connections = None;
        self.look_for(self.techniques);
        self
    }

    /// The kernel runs another program from now on: for another link, or for other techniques.
    pub(super) fn filtered(&mut self) {
        if let Some(program) = &mut self.datagrams.program {
            *program = filter::program(self.link, self.techniques, self.datagrams.tunnels);
        }
    }

    /// For so many tunnels one stands that is seen and not looked into. What the kernel did not draw by chance, because it leaves it to
    /// `decode` to see what it is, stands for itself.
    pub(super) fn stands_for(&self, bytes: &[u8]) -> u64 {
        match &self.datagrams.program {
            Some(program) if filter::is_sampled(program, bytes) => SAMPLE.into(),
            _ => 1,
        }
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
        if let Some(reason) = self.other_piece(bytes) {
            return self.piece(time, bytes, reason);
        }
        if self.datagrams.tunnels == Tunnels::Follow && tunnel::is_tunnel(self.link, bytes) {
            return self.inside(time, bytes);
        }
        self.datagram(time, self.link, bytes, true)
    }

    /// It is no probe: a tunnel that is not looked into may carry one, and is counted as such, for as many as it stands for.
    fn skip_not_tcp(&mut self, link: LinkType, bytes: &[u8], is_outer: bool) {
        if tunnel::is_carrier(link, bytes) {
            self.skipped[Skipped::Tunnel as usize] += if is_outer { self.stands_for(bytes) } else { 1 };
        } else {
            self.skipped[Skipped::NotTcp as usize] += 1;
        }
    }

    /// A datagram: the probe in it, if it is one of those that are looked for.
    pub(super) fn datagram(
        &mut self,
        time: Timestamp,
        link: LinkType,
        bytes: &[u8],
        is_outer: bool,
    ) -> Option<Probe> {
        let datagram = match datagram::look(link, bytes) {
            Ok(datagram) if self.techniques.contains(datagram.technique) => datagram,
            Ok(_) | Err(Skipped::NotTcp) => {
                self.skip_not_tcp(link, bytes, is_outer);
                return None;
            }
            // No other header is longer than the least piece.
            Err(Skipped::TinyFragment) if !self.techniques.contains(Technique::Sctp) => {
                self.skip_not_tcp(link, bytes, is_outer);
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
                // What is in a tunnel that is looked into was no sample.
                None => return self.datagram(time, link, bytes, false),
            };
            self.skipped[skipped as usize] += 1;
            return None;
        }
        // Deeper than anyone needs.
        let is_deeper = tunnel::is_carrier(link, bytes);
        self.skipped[if is_deeper { Skipped::Tunnel } else { Skipped::NotTcp } as usize] += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Limits, Origin, Policy};
    use crate::packet::frames::*;
    use crate::packet::link::TAGS;
    use crate::pipeline::Plain;
    use proptest::prelude::*;
    use proptest::sample::select;

    const TIME: Timestamp = Timestamp::new(1_700_000_000, 0);

    /// A pipeline of these settings that remembers nothing of former frames.
    fn pipeline(techniques: Techniques, tunnels: Tunnels) -> Pipeline {
        let policy = Policy { techniques, ..Policy::default() };
        let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
        without_memory(Pipeline::new(policy, limits, 1, Origin::File).with_tunnels(tunnels))
    }

    fn without_memory(mut pipeline: Pipeline) -> Pipeline {
        pipeline.fragments = None;
        pipeline.datagrams.conversations = None;
        pipeline
    }

    /// What a pipeline makes of a frame: the reason that it is counted under, and for how many; `None` if it is a probe.
    fn made(pipeline: &mut Pipeline, link: LinkType, frame: &[u8]) -> Option<(Skipped, u64)> {
        pipeline.opened(link);
        pipeline.skipped = [0; Skipped::ALL.len()];
        if let Plain::Otherwise = pipeline.probe(TIME, frame) {
            let _ = pipeline.probe_otherwise(TIME, frame);
        }
        let counted = Skipped::ALL.into_iter().map(|reason| (reason, pipeline.skipped[reason as usize]));
        let counted: Vec<_> = counted.filter(|(_, times)| *times > 0).collect();
        assert!(counted.len() < 2, "{counted:?}");
        counted.first().copied()
    }

    /// No host takes a malformed packet, and only a file cuts one.
    fn asks_nothing(made: Option<(Skipped, u64)>) -> bool {
        use Skipped::{Malformed, NotIp, NotProbe, NotTcp, Truncated};
        matches!(made, Some((NotIp | NotTcp | NotProbe | Malformed | Truncated, _)))
    }

    struct Setting {
        file: Pipeline,
        /// One for each link, with the program that the kernel runs there.
        live: Vec<(LinkType, Pipeline, Vec<Instruction>)>,
    }

    fn settings() -> Vec<Setting> {
        let one = |technique| Techniques::of(&[technique]);
        let sets = [
            Techniques::DEFAULT,
            Techniques::ALL,
            one(Technique::Syn),
            one(Technique::Udp),
            one(Technique::Icmp),
            one(Technique::Protocol),
        ];
        let both = sets.into_iter().flat_map(|set| [(set, Tunnels::Count), (set, Tunnels::Follow)]);
        let setting = |(set, tunnels)| Setting {
            file: pipeline(set, tunnels),
            live: LINKS
                .map(|(link, _)| {
                    let live = pipeline(set, tunnels).sampled(false);
                    (link, without_memory(live), filter::program(link, set, tunnels))
                })
                .into(),
        };
        both.map(setting).collect()
    }

    fn udp_to(port: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
        [&[0x9c, 0x40], &port.to_be_bytes()[..], &length, &[0, 0], payload].concat()
    }

    /// Protocols and what is in them: probes, what asks, tunnels in which there is a probe.
    fn payload() -> impl Strategy<Value = (u8, Vec<u8>)> {
        let packet = select(vec![ipv4(TCP, &tcp(SYN)), ipv6(TCP, &tcp(SYN)), ipv4(50, &[0; 24])]);
        let frame = packet.clone().prop_map(|packet| {
            let ether_type = if packet[0] >> 4 == 6 { IPV6 } else { IPV4 };
            (ether_type, ethernet(ether_type, &packet))
        });
        let known = select(vec![53, 443, 1701, 2152, 3544, 4341, 4500, 4789, 4790, 6080, 6081, 6635, 8472]);
        let port = prop_oneof![4 => known, 1 => any::<u16>()];
        let number =
            select(vec![1, 4, 17, 41, 47, 50, 51, 55, 58, 89, 97, 108, 115, 132, 137, 143, 0, 43, 44, 60]);
        let number = prop_oneof![4 => number, 1 => any::<u8>()];
        prop_oneof![
            any::<u8>().prop_map(|flags| (TCP, tcp(flags))),
            Just((TCP, tcp(SYN))),
            (port, frame.clone()).prop_map(|(port, (_, inner))| (
                UDP,
                udp_to(port, &[&[8, 0, 0, 0, 0, 0, 7, 0], &inner[..]].concat())
            )),
            frame.prop_map(|(_, inner)| (47, [&[0, 0, 0x65, 0x58], &inner[..]].concat())),
            any::<u8>().prop_map(|chunk| (
                132,
                [&[0x9c, 0x40, 0, 53], &[0; 8][..], &[chunk % 3, 0, 0, 20], &[0; 16]].concat()
            )),
            (number.clone(), packet).prop_map(|(number, packet)| (number, packet)),
            (number, prop::collection::vec(select(vec![0, 1, 8, 13, 128, 0x45]), 8..80)),
        ]
    }

    /// In an IP packet: plain, behind options, in pieces, behind extension headers.
    fn packet() -> impl Strategy<Value = Vec<u8>> {
        let place = (select(vec![0, 0, 0, 1, 3]), any::<bool>());
        (payload(), 0..12u8, 1..11usize, place, 1..8usize).prop_map(
            |((protocol, payload), shape, some, (offset, more), units)| {
                let mut piece = payload.clone();
                if more {
                    piece.resize(8 * units, 0);
                }
                let options = vec![1; 4 * some];
                let extended = (1..some % 8 + 1)
                    .fold(extension(protocol, &payload), |behind, _| extension(DESTINATION, &behind));
                match shape {
                    0 | 1 => ipv4(protocol, &payload),
                    2 => ipv4_options(protocol, &options, &payload),
                    3 => ipv4_fragment(protocol, offset, more, &piece),
                    4 => {
                        let mut packet = ipv4_options(protocol, &options, &piece);
                        packet[6..8].copy_from_slice(&(offset | u16::from(more) << 13).to_be_bytes());
                        packet
                    }
                    5 => ipv4(AUTHENTICATION, &authentication(protocol, &payload)),
                    6 | 7 => ipv6(protocol, &payload),
                    8 => ipv6(DESTINATION, &extended),
                    9 => ipv6(AUTHENTICATION, &authentication(protocol, &payload)),
                    10 => ipv6(FRAGMENT, &fragment(protocol, offset, more, &piece)),
                    _ => ipv6(
                        HOP_BY_HOP,
                        &extension(
                            FRAGMENT,
                            &fragment(DESTINATION, offset, more, &extension(protocol, &piece)),
                        ),
                    ),
                }
            },
        )
    }

    /// In a frame of any link: behind tags and labels, in what carries frames, in what does not.
    fn frame() -> impl Strategy<Value = (LinkType, Vec<u8>)> {
        let tags = prop::collection::vec(select(TAGS.to_vec()), 0..8);
        let links = select(vec![0, 0, 0, 0, 1, 2, 3]);
        let carrier = select(vec![0x88e5, 0x88e7, 0x894f, 0x22f3, 0x892f, 0x8909, 0x0806, 0x88cc]);
        let carrier = prop_oneof![4 => carrier, 1 => any::<u16>()];
        (packet(), tags, 0..14u8, links, carrier, 1..7usize).prop_map(
            |(packet, tags, wrap, to, other, labels)| {
                let ether_type = if packet[0] >> 4 == 6 { IPV6 } else { IPV4 };
                let [high, low] = other.to_be_bytes();
                let frame = match wrap {
                    0..5 => tagged(&tags, ether_type, &packet),
                    5 => tagged(&tags, 0x8864, &pppoe(&packet)),
                    6 => tagged(&tags, 0x8864, &[&[0x11, 0, 0, 1, 0, 60, high, low], &packet[..]].concat()),
                    7 => tagged(&tags, 0x8847, &mpls(labels, &packet)),
                    8 => tagged(
                        &tags,
                        0x8847,
                        &mpls(labels, &[&[0; 4], &ethernet(ether_type, &packet)[..]].concat()),
                    ),
                    9 => tagged(&tags, 0x8848, &mpls(labels, &[&[2; 12], &packet[..]].concat())),
                    10 => tagged(&tags, 80, &[&[0xaa, 0xaa, 3, 0, 0, 0, high, low], &packet[..]].concat()),
                    11 => {
                        let [high, low] = ether_type.to_be_bytes();
                        tagged(&tags, 80, &[&[0xaa, 0xaa, 3, 0, 0, 0, high, low], &packet[..]].concat())
                    }
                    12 => tagged(&tags, 80, &[&[6, 6, 3], &packet[..]].concat()),
                    _ => tagged(&tags, other, &packet),
                };
                let cooked = |header: usize, at: usize| {
                    let mut cooked = vec![0; header];
                    cooked[at..at + 2].copy_from_slice(&frame[12..14]);
                    [&cooked, &frame[14..]].concat()
                };
                match to {
                    0 => (LinkType::Ethernet, frame.clone()),
                    1 => (LinkType::LinuxSll, cooked(16, 14)),
                    2 => (LinkType::LinuxSll2, cooked(20, 0)),
                    _ => (LinkType::RawIp, packet),
                }
            },
        )
    }

    /// Whatever is counted in a file, as a probe or because it is not looked into, the kernel hands over, or a sample of it that
    /// stands for as many as there are.
    #[test]
    fn nothing_that_may_carry_a_probe_is_lost_in_the_kernel_unseen() {
        let settings = std::cell::RefCell::new(settings());
        proptest!(ProptestConfig::with_cases(40_000), |((link, frame) in frame())| {
            for setting in settings.borrow_mut().iter_mut() {
                let told = made(&mut setting.file, link, &frame);
                let (_, live, program) = setting.live.iter_mut().find(|(known, ..)| *known == link).unwrap();
                let taken = filter::simulate(program, &frame).0 as usize;
                if asks_nothing(told) {
                    continue;
                }
                prop_assert!(taken > 0, "{:?}, {:?}: {told:?} in a file", setting.file.techniques, setting.file.datagrams.tunnels);
                // Of the whole frame, which only the kernel sees.
                let stands_for = match told {
                    Some((Skipped::Tunnel, _)) if filter::is_sampled(program, &frame) => SAMPLE.into(),
                    _ => 1,
                };
                let live = made(live, link, &frame[..taken.min(frame.len())]);
                prop_assert_eq!(live.map(|(reason, _)| reason), told.map(|(reason, _)| reason));
                prop_assert!(live.is_none_or(|(_, times)| times == stands_for), "{live:?} for {stands_for}");
            }
        });
    }
}
