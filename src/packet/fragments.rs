//! Puts IPv4 datagrams of a file together, as far as their TCP header goes. (Live the kernel does it, before we see them, but for those
//! that it does not find.)
//!
//! A stranger decides how many datagrams stay incomplete, so everything has a limit: how many are kept, and how
//! much of each: a TCP header, and two bits for each eight bytes. Pieces are what the kernel makes of them
//! (`ip_frag_queue`, `inet_frag_queue_insert`): one that brings nothing new is ignored, one that overlaps in part ends the
//! datagram, one that says "more follows" counts in whole eights. Where we differed, somebody would show us another port
//! than the one he asks for, or none. Pieces of what is not put together stay counted as pieces.

use crate::packet::ip::{IPV4_HEADER, Ipv4Piece, TCP};
use crate::packet::tcp::{MAX as HEAD, TO_FLAGS};
use crate::packet::{LinkType, Packet, Skipped, Timestamp, decode};
use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

/// Names of datagrams that are incomplete at the same time; beyond that the oldest is given up. At most two datagrams each,
/// of some 2 KiB if they reach up to 64 KiB: 5 MiB in all.
const MOST_DATAGRAMS: usize = 1_024;

/// The same live, where the kernel puts most of them together: 1 MiB in all.
const FEW_DATAGRAMS: usize = 256;

/// How far apart the stamps of a datagram's pieces may be, as long as the kernel waits (`net.ipv4.ipfrag_time`).
const PATIENCE_NANOS: u64 = 30_000_000_000;

/// Places of pieces are counted in eights of bytes.
const UNIT: u32 = 8;

/// What names a datagram (RFC 791).
type Name = (Ipv4Addr, Ipv4Addr, u16, u8);

/// Which eights of bytes are there, and where the kernel's runs begin: pieces that came one behind the other at the end.
#[derive(Debug, Default)]
struct Units {
    there: Vec<u64>,
    begins: Vec<u64>,
    /// How many bytes are there.
    bytes: u32,
    /// Where the last of them ends.
    end: u32,
}

/// What adding a piece to units made of it.
#[derive(Debug, PartialEq, Eq)]
enum Fits {
    New,
    Twice,
    Overlaps,
}

impl Units {
    /// Words and masks of the units from one on and before another.
    fn words(from: u32, to: u32) -> impl Iterator<Item = (usize, u64)> {
        (from / 64..to.div_ceil(64)).map(move |word| {
            let low = u64::MAX << (from.max(word * 64) % 64);
            let high = u64::MAX >> (63 - (to.min(word * 64 + 64) - 1) % 64);
            (word as usize, low & high)
        })
    }

    fn add(&mut self, start: u32, end: u32) -> Fits {
        let (from, to) = (start / UNIT, end.div_ceil(UNIT));
        let word = |words: &[u64], word| words.get(word).copied().unwrap_or(0);
        let any = Self::words(from, to).any(|(at, mask)| word(&self.there, at) & mask != 0);
        if any {
            let all = Self::words(from, to).all(|(at, mask)| word(&self.there, at) & mask == mask);
            let in_two = Self::words(from + 1, to).any(|(at, mask)| word(&self.begins, at) & mask != 0);
            return if all && !in_two { Fits::Twice } else { Fits::Overlaps };
        }
        let words = to.div_ceil(64) as usize;
        if self.there.len() < words {
            self.there.resize(words, 0);
            self.begins.resize(words, 0);
        }
        for (at, mask) in Self::words(from, to) {
            self.there[at] |= mask;
        }
        let goes_on = start > 0 && start == self.end;
        self.begins[from as usize / 64] |= u64::from(!goes_on) << (from % 64);
        self.bytes += end - start;
        self.end = self.end.max(end);
        Fits::New
    }
}

#[derive(Debug)]
struct Datagram {
    since: Timestamp,
    head: [u8; HEAD],
    units: Units,
    /// Where it ends at least, and whether it is known that it ends there.
    length: u32,
    last_is_in: bool,
    /// Pieces so far, of either kind.
    pieces: u64,
    tiny: u64,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is kept, or good for nothing.
    Piece,
    /// The datagram is complete: the packet in it, how many pieces came before this one, and how many of those were tiny.
    Whole(Result<Packet, Skipped>, u64, u64),
    /// The same of what is not TCP.
    WholeDatagram(Beginning, u64, u64),
}

/// As much of a whole datagram as is kept, behind an IPv4 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beginning {
    packet: [u8; IPV4_HEADER + HEAD],
    length: usize,
}

impl Beginning {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.packet[..self.length]
    }
}

/// Incomplete datagrams of one name. Stamps of a file may be wrong, so what is stamped long after the first is taken for a
/// piece of it and for the beginning of another one: whichever is completed counts.
#[derive(Debug)]
struct Namesakes {
    first: Option<Datagram>,
    second: Option<Datagram>,
    /// Which of those that had the name it is.
    number: u64,
}

/// Incomplete datagrams.
#[derive(Debug)]
pub(crate) struct Fragments {
    most: usize,
    datagrams: HashMap<Name, Namesakes>,
    /// In the order they began; some may have been completed since.
    began: VecDeque<(Name, u64)>,
    numbers: u64,
}

impl Default for Fragments {
    fn default() -> Self {
        Self::at_most(MOST_DATAGRAMS)
    }
}

impl Fragments {
    /// Where few come.
    pub(crate) fn few() -> Self {
        Self::at_most(FEW_DATAGRAMS)
    }

    fn at_most(most: usize) -> Self {
        Self { most, datagrams: HashMap::new(), began: VecDeque::new(), numbers: 0 }
    }

    /// Takes a piece that was skipped for this reason.
    pub(crate) fn put(&mut self, time: Timestamp, piece: &Ipv4Piece<'_>, reason: Skipped) -> Outcome {
        let name = (piece.source, piece.destination, piece.identification, piece.protocol);
        if !self.datagrams.contains_key(&name) {
            self.begin(name, time);
        }
        let Some(namesakes) = self.datagrams.get_mut(&name) else { return Outcome::Piece };
        let outcome = namesakes.put(time, piece, reason);
        if namesakes.first.is_none() && namesakes.second.is_none() {
            self.datagrams.remove(&name);
        }
        outcome
    }

    fn begin(&mut self, name: Name, time: Timestamp) {
        // Each has its place in the queue: the loop ends when as many are gone.
        while self.datagrams.len() >= self.most || self.began.len() >= 2 * self.most {
            self.give_up_oldest();
        }
        self.numbers += 1;
        let number = self.numbers;
        self.began.push_back((name, number));
        let first = Some(Datagram::begun(time));
        self.datagrams.insert(name, Namesakes { first, second: None, number });
    }

    fn give_up_oldest(&mut self) {
        if let Some((name, number)) = self.began.pop_front()
            && self.datagrams.get(&name).is_some_and(|namesakes| namesakes.number == number)
        {
            self.datagrams.remove(&name);
        }
    }
}

impl Namesakes {
    fn put(&mut self, time: Timestamp, piece: &Ipv4Piece<'_>, reason: Skipped) -> Outcome {
        let near = |datagram: &Datagram| datagram.since.nanos().abs_diff(time.nanos()) <= PATIENCE_NANOS;
        let is_second = !self.first.as_ref().is_some_and(near);
        if is_second {
            if !self.second.as_ref().is_some_and(near) {
                self.second = Some(Datagram::begun(time));
            }
            // If its stamps are right, this is what the host sees.
            let outcome = Datagram::put(&mut self.second, time, piece, reason);
            if outcome != Outcome::Piece {
                self.first = None;
                return outcome;
            }
        }
        let outcome = Datagram::put(&mut self.first, time, piece, reason);
        if is_second
            && outcome != Outcome::Piece
            && let Some(second) = &mut self.second
        {
            // Its pieces were counted as those of the first.
            (second.pieces, second.tiny) = (0, 0);
        }
        outcome
    }
}

enum Added {
    Waiting,
    Ignored,
    Contradiction,
    Complete,
}

impl Datagram {
    fn begun(since: Timestamp) -> Self {
        let units = Units::default();
        Self { since, head: [0; HEAD], units, length: 0, last_is_in: false, pieces: 0, tiny: 0 }
    }

    /// Puts a piece into the datagram that is there, and takes that away when it is complete or spoiled.
    fn put(there: &mut Option<Self>, time: Timestamp, piece: &Ipv4Piece<'_>, reason: Skipped) -> Outcome {
        let Some(datagram) = there else { return Outcome::Piece };
        match datagram.add(piece) {
            Added::Waiting => {
                datagram.pieces += 1;
                datagram.tiny += u64::from(reason == Skipped::TinyFragment);
                Outcome::Piece
            }
            Added::Ignored => Outcome::Piece,
            Added::Contradiction => {
                *there = None;
                Outcome::Piece
            }
            Added::Complete => {
                let (beginning, pieces, tiny) = (datagram.beginning(piece), datagram.pieces, datagram.tiny);
                let outcome = if piece.protocol == TCP {
                    let packet = decode(LinkType::RawIp, time, beginning.bytes());
                    Outcome::Whole(packet, pieces, tiny)
                } else {
                    Outcome::WholeDatagram(beginning, pieces, tiny)
                };
                *there = None;
                outcome
            }
        }
    }

    /// What `ip_frag_queue` does, in its order.
    fn add(&mut self, piece: &Ipv4Piece<'_>) -> Added {
        let start = u32::from(piece.offset);
        let mut end = start + piece.length;
        if piece.more_follows {
            end -= end % UNIT;
            if end > self.length {
                if self.last_is_in {
                    return Added::Contradiction;
                }
                self.length = end;
            }
        } else {
            if end < self.length || self.last_is_in && end != self.length {
                return Added::Contradiction;
            }
            (self.last_is_in, self.length) = (true, end);
        }
        // Beyond 64 KiB the kernel never completes it.
        if end <= start || end > 65_535 {
            return Added::Contradiction;
        }
        match self.units.add(start, end) {
            Fits::New => {}
            Fits::Twice => return Added::Ignored,
            Fits::Overlaps => return Added::Contradiction,
        }
        if let Some(head) = self.head.get_mut(start as usize..) {
            let length = (end - start) as usize;
            let kept = piece.bytes.len().min(length).min(head.len());
            head[..kept].copy_from_slice(&piece.bytes[..kept]);
            // What the capture cut off is not known; the ports and flags must not be taken for zeros.
            if kept < length && (start as usize) + kept < TO_FLAGS {
                return Added::Contradiction;
            }
        }
        if self.last_is_in && self.units.bytes == self.length { Added::Complete } else { Added::Waiting }
    }

    /// For the same decoder as any other packet.
    fn beginning(&self, piece: &Ipv4Piece<'_>) -> Beginning {
        let mut packet = [0; IPV4_HEADER + HEAD];
        packet[0] = 0x45;
        // A whole datagram may be as long as a header's length can say only without its header.
        let total = u16::try_from(self.length + IPV4_HEADER as u32).unwrap_or(u16::MAX);
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[9] = piece.protocol;
        packet[12..16].copy_from_slice(&piece.source.octets());
        packet[16..20].copy_from_slice(&piece.destination.octets());
        packet[IPV4_HEADER..].copy_from_slice(&self.head);
        let kept = IPV4_HEADER + HEAD.min(self.length as usize);
        Beginning { packet, length: kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::frames::{SYN, tcp};

    const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    /// Bytes of a datagram from `start` on, the last of it or not.
    fn piece(identification: u16, start: u16, bytes: &[u8], more_follows: bool) -> Ipv4Piece<'_> {
        let length = bytes.len() as u32;
        Ipv4Piece {
            source: SOURCE,
            destination: HOST,
            protocol: TCP,
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
                Outcome::Piece | Outcome::WholeDatagram(..) => false,
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
    fn a_piece_of_odd_length_that_is_not_the_last_counts_in_whole_eights() {
        let syn = tcp(SYN);
        let odd = |start: usize, tail: &[u8]| [&syn[start..start + 8], tail].concat();
        let (first, second) = (odd(0, b"x"), odd(8, b"xyz"));
        let mut fragments = Fragments::default();
        put(&mut fragments, 1, piece(1, 0, &first, true));
        put(&mut fragments, 1, piece(1, 8, &second, true));
        let whole = put(&mut fragments, 1, piece(1, 16, &syn[16..], false));
        assert!(matches!(whole, Outcome::Whole(Ok(_), 2, 2)), "{whole:?}");
        // Less than an eighth is nothing.
        put(&mut fragments, 1, piece(1, 0, &syn[..7], true));
        assert!(fragments.datagrams.is_empty());
    }

    #[test]
    fn a_datagram_may_have_any_number_of_gaps() {
        let long = [tcp(SYN), vec![0; 65_480]].concat();
        let mut fragments = Fragments::default();
        for start in (0..65_496).step_by(16).chain((8..65_496).step_by(16)) {
            let bytes = &long[usize::from(start)..usize::from(start) + 8];
            assert_eq!(put(&mut fragments, 1, piece(1, start, bytes, true)), Outcome::Piece);
        }
        let whole = put(&mut fragments, 1, piece(1, 65_496, &long[65_496..], false));
        assert!(matches!(whole, Outcome::Whole(Ok(_), 8_187, 8_187)), "{whole:?}");
    }

    /// The kernel gives such a datagram up, so the second one counts, not the first.
    #[test]
    fn a_piece_over_two_that_came_backwards_ends_the_datagram() {
        let (mut decoy, real) = (tcp(SYN), tcp(SYN));
        decoy[3] = 81;
        let mut fragments = Fragments::default();
        put(&mut fragments, 1, piece(1, 8, &decoy[8..16], true));
        put(&mut fragments, 1, piece(1, 0, &decoy[..8], true));
        put(&mut fragments, 1, piece(1, 0, &real[..16], true));
        put(&mut fragments, 1, piece(1, 0, &real[..16], true));
        let whole = put(&mut fragments, 1, piece(1, 16, &real[16..], false));
        assert!(
            matches!(whole, Outcome::Whole(Ok(packet), 1, 1) if packet.destination_port == 80),
            "{whole:?}"
        );
    }

    #[test]
    fn a_stray_stamp_does_not_tear_a_datagram_apart_and_an_old_piece_does_not_show_another_port() {
        let (mut decoy, real) = (tcp(SYN), tcp(SYN));
        decoy[3] = 81;
        let cuts = [(0_u16, 8_u16), (8, 16), (16, 20)];
        let whole = |times: [u64; 3], decoy_at: Option<u64>| {
            let mut fragments = Fragments::default();
            if let Some(second) = decoy_at {
                put(&mut fragments, second, piece(1, 0, &decoy[..8], true));
            }
            let mut found = Vec::new();
            for (second, (start, end)) in times.into_iter().zip(cuts) {
                let bytes = &real[usize::from(start)..usize::from(end)];
                if let Outcome::Whole(packet, pieces, tiny) =
                    put(&mut fragments, second, piece(1, start, bytes, end < 20))
                {
                    found.push((packet.unwrap().destination_port, pieces, tiny));
                }
            }
            found
        };
        for stray in 0..3 {
            for other in [10, 9_000] {
                let mut times = [5_000; 3];
                times[stray] = other;
                assert_eq!(whole(times, None), [(80, 2, 2)], "{times:?}");
            }
        }
        assert_eq!(whole([5_000; 3], Some(4_960)), [(80, 2, 2)], "what waits too long is gone");
        assert_eq!(whole([5_000; 3], Some(4_980)), [(81, 2, 2)], "as in the kernel");
    }

    #[test]
    fn a_sender_of_pieces_alone_gets_a_fixed_number_of_places() {
        let mut fragments = Fragments::default();
        for n in 0..u16::MAX {
            put(&mut fragments, u64::from(n), piece(n, 0, &[0; 8], true));
            put(&mut fragments, u64::from(n) + 100, piece(n, 8, &[0; 8], true));
        }
        assert_eq!(fragments.datagrams.len(), MOST_DATAGRAMS);
        assert!(fragments.began.len() <= 2 * MOST_DATAGRAMS);
        // Gaps and nothing else, at the far end, at any time: two datagrams of a name at most, 1 KiB of bits twice each.
        for n in 0..4_000 {
            put(&mut fragments, u64::from(n) * 7, piece(7, 65_496 - 16 * n, &[0; 8], true));
        }
        for datagram in fragments.datagrams.values().flat_map(|both| [&both.first, &both.second]).flatten() {
            assert!(datagram.units.there.len() <= 128 && datagram.units.begins.len() <= 128);
        }
    }
}
