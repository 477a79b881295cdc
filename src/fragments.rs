//! Puts IPv4 datagrams of a file together, as far as their TCP header goes. (Live the kernel does it, before we see them.)
//!
//! Whoever writes the file decides how many datagrams stay incomplete, so everything has a limit: how many are kept, how
//! long, how much of each (a TCP header), and how many gaps it may have. Overlaps are what the kernel makes of them
//! (`ip_frag_queue`): a piece that brings nothing new is ignored, one that overlaps in part ends the datagram, so that nobody
//! gets by with two versions of a port. Pieces of what is not put together stay counted as pieces.

use crate::decode::{Ipv4Piece, Skipped, decode};
use crate::packet::{LinkType, Packet, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

/// Datagrams that are incomplete at the same time; beyond that the oldest is given up. A quarter of a MiB in all.
const MOST_DATAGRAMS: usize = 1_024;

/// How long a datagram may stay incomplete, as long as in the kernel (`net.ipv4.ipfrag_time`).
const PATIENCE_NANOS: u64 = 30_000_000_000;

/// Stretches of a datagram with gaps between them; a sender has one or two, a shuffling network a few.
const MOST_STRETCHES: usize = 16;

/// The longest TCP header.
const HEAD: usize = 60;

/// How much of a TCP header must be known: up to its flags.
const TCP_TO_FLAGS: usize = 14;

/// An IPv4 header without options.
const IPV4_HEADER: usize = 20;

/// What names a datagram (RFC 791); that it is TCP is known.
type Name = (Ipv4Addr, Ipv4Addr, u16);

#[derive(Debug)]
struct Datagram {
    since: Timestamp,
    head: [u8; HEAD],
    /// What is there, in order, with gaps in between.
    stretches: Vec<(u32, u32)>,
    /// Where it ends, once its last piece is there.
    length: Option<u32>,
    /// Pieces so far, of either kind.
    pieces: u64,
    tiny: u64,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is kept, or good for nothing.
    Piece,
    /// The datagram is complete, and this is in it. The pieces before this one, all and those that were tiny, are told.
    Whole(Result<Packet, Skipped>, u64, u64),
}

/// Incomplete datagrams.
#[derive(Debug, Default)]
pub struct Fragments {
    datagrams: HashMap<Name, Datagram>,
    /// In the order they began; some may have been completed since.
    began: VecDeque<(Name, Timestamp)>,
}

impl Fragments {
    /// Takes a piece that `decode` skipped for this reason.
    pub fn put(&mut self, time: Timestamp, piece: &Ipv4Piece<'_>, reason: Skipped) -> Outcome {
        let name = (piece.source, piece.destination, piece.identification);
        self.forget(time);
        if !self.datagrams.contains_key(&name) {
            self.begin(name, time);
        }
        let Some(datagram) = self.datagrams.get_mut(&name) else { return Outcome::Piece };
        match datagram.add(piece) {
            Added::Waiting => {
                datagram.pieces += 1;
                datagram.tiny += u64::from(reason == Skipped::TinyFragment);
                Outcome::Piece
            }
            Added::Ignored => Outcome::Piece,
            Added::Contradiction => {
                self.datagrams.remove(&name);
                Outcome::Piece
            }
            Added::Complete(length) => {
                let packet = datagram.decode(time, piece, length);
                let (pieces, tiny) = (datagram.pieces, datagram.tiny);
                self.datagrams.remove(&name);
                Outcome::Whole(packet, pieces, tiny)
            }
        }
    }

    fn begin(&mut self, name: Name, time: Timestamp) {
        // Each datagram has its place in the queue: the loop ends when as many are gone.
        while self.datagrams.len() >= MOST_DATAGRAMS || self.began.len() >= 2 * MOST_DATAGRAMS {
            self.give_up_oldest();
        }
        self.began.push_back((name, time));
        let stretches = Vec::with_capacity(2);
        let datagram = Datagram { since: time, head: [0; HEAD], stretches, length: None, pieces: 0, tiny: 0 };
        self.datagrams.insert(name, datagram);
    }

    fn give_up_oldest(&mut self) {
        if let Some((name, since)) = self.began.pop_front()
            && self.datagrams.get(&name).is_some_and(|datagram| datagram.since == since)
        {
            self.datagrams.remove(&name);
        }
    }

    /// Gives up what has waited too long, whichever way the clock went.
    fn forget(&mut self, now: Timestamp) {
        while self
            .began
            .front()
            .is_some_and(|(_, since)| since.nanos().abs_diff(now.nanos()) > PATIENCE_NANOS)
        {
            self.give_up_oldest();
        }
    }
}

enum Added {
    Waiting,
    Ignored,
    Contradiction,
    Complete(u32),
}

impl Datagram {
    fn add(&mut self, piece: &Ipv4Piece<'_>) -> Added {
        let start = u32::from(piece.offset);
        let end = start + piece.length;
        // Only the last piece may be empty or of any length (RFC 791); beyond 64 KiB there is nothing.
        if piece.length == 0 || end > 65_535 || piece.more_follows && !piece.length.is_multiple_of(8) {
            return Added::Contradiction;
        }
        if self.stretches.iter().any(|&(from, to)| from <= start && end <= to) {
            return Added::Ignored;
        }
        let known = self.length.is_some_and(|length| end > length || !piece.more_follows && end != length);
        let beyond = !piece.more_follows && self.stretches.last().is_some_and(|&(_, to)| to > end);
        if known || beyond || self.stretches.iter().any(|&(from, to)| from < end && start < to) {
            return Added::Contradiction;
        }
        if !piece.more_follows {
            self.length = Some(end);
        }
        if let Some(head) = self.head.get_mut(start as usize..) {
            let kept = piece.bytes.len().min(head.len());
            head[..kept].copy_from_slice(&piece.bytes[..kept]);
            // What the capture cut off is not known; the ports and flags must not be taken for zeros.
            if kept < piece.length as usize && (start as usize) + kept < TCP_TO_FLAGS {
                return Added::Contradiction;
            }
        }
        let at = self.stretches.partition_point(|&(from, _)| from < start);
        self.stretches.insert(at, (start, end));
        self.stretches.dedup_by(|next, before| {
            let joined = before.1 == next.0;
            before.1 = if joined { next.1 } else { before.1 };
            joined
        });
        match (self.stretches.as_slice(), self.length) {
            (&[(0, to)], Some(length)) if to == length => Added::Complete(length),
            (stretches, _) if stretches.len() > MOST_STRETCHES => Added::Contradiction,
            _ => Added::Waiting,
        }
    }

    /// What is in it, by the same decoder as any other packet.
    fn decode(&self, time: Timestamp, piece: &Ipv4Piece<'_>, length: u32) -> Result<Packet, Skipped> {
        let mut packet = [0; IPV4_HEADER + HEAD];
        packet[0] = 0x45;
        // A whole datagram may be as long as a header's length can say only without its header.
        let total = u16::try_from(length + IPV4_HEADER as u32).unwrap_or(u16::MAX);
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[9] = 6;
        packet[12..16].copy_from_slice(&piece.source.octets());
        packet[16..20].copy_from_slice(&piece.destination.octets());
        packet[IPV4_HEADER..].copy_from_slice(&self.head);
        let kept = IPV4_HEADER + HEAD.min(length as usize);
        decode(LinkType::RawIp, time, &packet[..kept])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{SYN, tcp};

    const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    /// Bytes of a datagram from `start` on, the last of it or not.
    fn piece(identification: u16, start: u16, bytes: &[u8], more_follows: bool) -> Ipv4Piece<'_> {
        let length = bytes.len() as u32;
        Ipv4Piece {
            source: SOURCE,
            destination: HOST,
            identification,
            offset: start,
            more_follows,
            length,
            bytes,
        }
    }

    fn put(fragments: &mut Fragments, second: u64, piece: Ipv4Piece<'_>) -> Outcome {
        fragments.put(Timestamp::new(second, 0), &piece, Skipped::TinyFragment)
    }

    /// Puts pieces of a SYN, given by their ends and in this order, and says whether it came out whole.
    fn comes_out_whole(pieces: &[(u16, u16)]) -> bool {
        let syn = tcp(SYN);
        let mut fragments = Fragments::default();
        let whole = pieces.iter().filter(|&&(start, end)| {
            let more = usize::from(end) < syn.len();
            let bytes = &syn[usize::from(start)..usize::from(end)];
            match put(&mut fragments, 1, piece(1, start, bytes, more)) {
                Outcome::Whole(packet, ..) => packet.is_ok_and(|packet| packet.destination_port == 80),
                Outcome::Piece => false,
            }
        });
        whole.count() == 1
    }

    #[test]
    fn a_syn_in_pieces_is_put_together_in_any_order() {
        assert!(comes_out_whole(&[(0, 8), (8, 16), (16, 20)]));
        assert!(comes_out_whole(&[(16, 20), (8, 16), (0, 8)]));
        assert!(comes_out_whole(&[(8, 16), (0, 8), (8, 16), (0, 8), (16, 20)]), "pieces that come twice");
        assert!(!comes_out_whole(&[(0, 8), (16, 20)]));
    }

    #[test]
    fn the_pieces_before_the_last_are_told() {
        let syn = tcp(SYN);
        let mut fragments = Fragments::default();
        put(&mut fragments, 1, piece(1, 0, &syn[..8], true));
        put(&mut fragments, 1, piece(1, 8, &syn[8..16], true));
        let whole = put(&mut fragments, 1, piece(1, 16, &syn[16..], false));
        assert!(matches!(whole, Outcome::Whole(Ok(_), 2, 2)), "{whole:?}");
    }

    #[test]
    fn what_overlaps_in_part_ends_the_datagram_as_in_the_kernel() {
        assert!(!comes_out_whole(&[(0, 16), (8, 20)]));
        assert!(!comes_out_whole(&[(8, 20), (0, 16), (0, 8)]));
        let long = [0; 64];
        let mut fragments = Fragments::default();
        put(&mut fragments, 1, piece(1, 0, &long[..32], true));
        put(&mut fragments, 1, piece(1, 48, &long[..16], false));
        // Behind its end.
        put(&mut fragments, 1, piece(1, 64, &long[..8], true));
        assert!(fragments.datagrams.is_empty());
    }

    #[test]
    fn whoever_sends_only_pieces_gets_a_fixed_number_of_places_for_a_limited_time() {
        let mut fragments = Fragments::default();
        for n in 0..u16::MAX {
            put(&mut fragments, 1, piece(n, 0, &[0; 8], true));
        }
        assert_eq!(fragments.datagrams.len(), MOST_DATAGRAMS);
        assert!(fragments.began.len() <= 2 * MOST_DATAGRAMS);
        put(&mut fragments, 40, piece(7, 0, &[0; 8], true));
        assert_eq!((fragments.datagrams.len(), fragments.began.len()), (1, 1));
        // Gaps and nothing else.
        for n in 0..100 {
            put(&mut fragments, 40, piece(7, 16 + 16 * n, &[0; 8], true));
            assert!(fragments.datagrams.values().all(|datagram| datagram.stretches.len() <= MOST_STRETCHES));
        }
    }
}
