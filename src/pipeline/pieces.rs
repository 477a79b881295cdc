//! Pieces of IPv4 datagrams, where nobody else has put them together: in files, and live where the kernel does not find them.

use crate::detect::{Probe, Technique};
use crate::packet::fragments::{Fragments, Outcome};
use crate::packet::{LinkType, Skipped, Timestamp, ipv4_piece, sctp_piece};
use crate::pipeline::Pipeline;

impl Pipeline {
    /// The same, for frames of which nobody has put IPv4 datagrams together.
    pub(crate) fn with_fragments(self) -> Self {
        Self { fragments: Some(Fragments::default()), ..self }
    }

    /// The same for a live capture, where the kernel does it but for some: behind several tags, in PPPoE, behind labels, and on `lo`.
    pub(crate) fn with_few_fragments(self) -> Self {
        Self { fragments: Some(Fragments::few()), ..self }
    }

    /// A piece of a datagram: the probe in it, if it makes it whole.
    #[cold]
    pub(super) fn piece(&mut self, time: Timestamp, bytes: &[u8], reason: Skipped) -> Option<Probe> {
        let whole = self.fragments.as_mut().zip(ipv4_piece(self.link, bytes));
        let whole = whole.map(|(fragments, piece)| fragments.put(time, &piece, reason));
        match whole {
            None | Some(Outcome::Piece) => {
                self.skipped[reason as usize] += 1;
                None
            }
            Some(Outcome::Whole(packet, pieces, tiny)) => {
                self.count_reassembled(pieces, tiny);
                match packet {
                    Ok(packet) => self.judge(&packet, bytes),
                    Err(skipped) => {
                        self.skipped[skipped as usize] += 1;
                        None
                    }
                }
            }
            Some(Outcome::WholeDatagram(packet, pieces, tiny)) => {
                self.count_reassembled(pieces, tiny);
                self.datagram(time, LinkType::RawIp, packet.bytes(), false)
            }
        }
    }

    /// Pieces that were counted are a packet now.
    fn count_reassembled(&mut self, pieces: u64, tiny: u64) {
        self.skipped[Skipped::TinyFragment as usize] -= tiny;
        self.skipped[Skipped::Fragment as usize] -= pieces - tiny;
        self.skipped[Skipped::Reassembled as usize] += pieces;
    }

    /// Why a frame that `decode` called "not TCP" is a piece of what is to be put together all the same.
    pub(super) fn other_piece(&self, bytes: &[u8]) -> Option<Skipped> {
        let puts_together = self.fragments.is_some() && self.techniques.contains(Technique::Sctp);
        puts_together.then(|| sctp_piece(self.link, bytes)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Limits, Origin, Policy};
    use crate::packet::frames::*;

    const TIME: Timestamp = Timestamp::new(1_700_000_000, 0);
    const SCTP: u8 = 132;

    fn pipeline() -> Pipeline {
        let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
        Pipeline::new(Policy::default(), limits, 1, Origin::File)
    }

    fn counted(pipeline: &Pipeline) -> Vec<(Skipped, u64)> {
        let all = Skipped::ALL.into_iter().map(|reason| (reason, pipeline.skipped[reason as usize]));
        all.filter(|(_, times)| *times > 0).collect()
    }

    /// As the kernel does it, live: however small the pieces, one INIT is one probe.
    #[test]
    fn an_sctp_init_in_pieces_is_one_probe() {
        let init = [&[0x9c, 0x40, 0, 53][..], &[0; 8], &[1, 0, 0, 20], &[0; 16]].concat();
        for (size, tiny) in [(8_usize, 2), (16, 0), (24, 0)] {
            let frames: Vec<_> = init
                .chunks(size)
                .enumerate()
                .map(|(number, piece)| {
                    let offset = number * size / 8;
                    let more = number * size + piece.len() < init.len();
                    ethernet(IPV4, &ipv4_fragment(SCTP, u16::try_from(offset).unwrap(), more, piece))
                })
                .collect();
            let mut whole = pipeline().with_fragments();
            let probes: Vec<_> =
                frames.iter().filter_map(|frame| whole.probe_otherwise(TIME, frame)).collect();
            assert_eq!(probes.len(), 1, "{size}");
            assert_eq!((probes[0].port, probes[0].technique), (53, Technique::Sctp));
            assert_eq!(counted(&whole), [(Skipped::Reassembled, frames.len() as u64 - 1)], "{size}");
            // One piece is missing: no probe, and nothing is without a counter.
            let mut part = pipeline().with_fragments();
            assert!(frames[1..].iter().all(|frame| part.probe_otherwise(TIME, frame).is_none()));
            let told: u64 = counted(&part).iter().map(|(_, times)| times).sum();
            assert_eq!(told, frames.len() as u64 - 1, "{size}");
            let tiny_of_rest = u64::from(tiny > 0);
            assert_eq!(part.skipped[Skipped::TinyFragment as usize], tiny_of_rest, "{size}");
        }
    }

    /// The kernel puts nothing together that is behind several tags, PPPoE or labels.
    #[test]
    fn a_syn_in_pieces_behind_anything_is_one_probe() {
        let syn = [&tcp(SYN)[..], &[0; 12]].concat();
        let [first, last] =
            [ipv4_fragment(TCP, 0, true, &syn[..24]), ipv4_fragment(TCP, 3, false, &syn[24..])];
        let both = |frame: &dyn Fn(&[u8]) -> Vec<u8>| [frame(&first), frame(&last)];
        let ways = [
            both(&|packet| tagged(&[0x88a8, 0x8100], IPV4, packet)),
            both(&|packet| ethernet(0x8864, &pppoe(packet))),
            both(&|packet| ethernet(0x8847, &mpls(2, packet))),
        ];
        for frames in ways {
            let mut live = pipeline().sampled(true).with_few_fragments();
            live.opened(LinkType::Ethernet);
            let probes = frames.iter().filter(|frame| live.probe_otherwise(TIME, frame).is_some());
            assert_eq!(probes.count(), 1, "{:02x?}", &frames[0][12..]);
            assert_eq!(counted(&live), [(Skipped::Reassembled, 1)]);
        }
    }
}
