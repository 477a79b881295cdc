//! Who spoke with which port of whom, lately: a table of fixed size, in which the latest stay.

use crate::packet::Timestamp;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;

/// Pairs that are kept at a time, half of whose bytes say when.
const PAIRS: usize = 1 << 16;

/// What they take.
pub(crate) const BYTES: usize = PAIRS / WAYS * size_of::<Set>();
const _: () = assert!(BYTES == 512 << 10);

/// One line of the cache.
const WAYS: usize = 8;

/// One who spoke with a port of another: as much of a keyed hash as tells such pairs apart, and when.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Pair {
    tag: u32,
    /// In seconds since the epoch, one more; 0 is none.
    at: u32,
}

/// A set of pairs, which fills a line of the cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Set([Pair; WAYS]);

/// A port of a host, and with whom it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Speakers {
    pub(super) peer: IpAddr,
    pub(super) host: IpAddr,
    pub(super) port: u16,
}

/// The latest of them. What is hashed comes from the wire: the key is drawn by chance.
#[derive(Debug)]
pub(super) struct Known {
    sets: Box<[Set]>,
    hasher: RandomState,
    /// For how long they stay after they were last heard of.
    patience_seconds: u32,
}

impl Known {
    /// None yet.
    pub(super) fn new(patience_seconds: u32) -> Self {
        Self {
            sets: vec![Set::default(); PAIRS / WAYS].into_boxed_slice(),
            hasher: RandomState::new(),
            patience_seconds,
        }
    }

    /// They speak. Of a set the one that was silent longest makes room.
    pub(super) fn note(&mut self, time: Timestamp, speakers: Speakers) {
        let (set, tag) = self.place(speakers);
        let set = &mut self.sets[set].0;
        let at = set.iter().position(|known| known.tag == tag);
        let oldest = || (0..WAYS).min_by_key(|&way| set[way].at).unwrap_or(0);
        let way = at.unwrap_or_else(oldest);
        set[way] = Pair { tag, at: seconds(time) };
    }

    /// Whether they spoke before and speak still.
    pub(super) fn go_on(&mut self, time: Timestamp, speakers: Speakers) -> bool {
        let (set, tag) = self.place(speakers);
        let now = seconds(time);
        let known = self.sets[set].0.iter_mut().find(|known| known.tag == tag && known.at > 0);
        let Some(known) = known.filter(|known| now.abs_diff(known.at) <= self.patience_seconds) else {
            return false;
        };
        known.at = known.at.max(now);
        true
    }

    /// In which set they belong, and under which tag.
    fn place(&self, speakers: Speakers) -> (usize, u32) {
        let hash = self.hasher.hash_one(speakers);
        ((hash as usize) % self.sets.len(), (hash >> 32) as u32)
    }
}

impl Hash for Speakers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        state.write_u128(bits(self.peer));
        state.write_u128(bits(self.host));
        state.write_u16(self.port);
    }
}

/// As a pair keeps them, until 2106.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.nanos() / 1_000_000_000).unwrap_or(u32::MAX - 1).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::new(1_700_000_000 + seconds, 0)
    }

    fn speakers(peer: u32, port: u16) -> Speakers {
        let host = Ipv4Addr::new(192, 0, 2, 10).into();
        Speakers { peer: Ipv4Addr::from_bits(0x0a00_0000 + peer).into(), host, port }
    }

    #[test]
    fn patience_ends_and_each_word_renews_it() {
        let mut known = Known::new(120);
        assert!(!known.go_on(at(0), speakers(1, 443)));
        known.note(at(0), speakers(1, 443));
        assert!(known.go_on(at(100), speakers(1, 443)));
        assert!(known.go_on(at(220), speakers(1, 443)));
        assert!(!known.go_on(at(341), speakers(1, 443)));
    }

    /// Whoever brings as many as he likes keeps those that he brought last, and takes no more memory.
    #[test]
    fn the_latest_are_kept() {
        let mut known = Known::new(120);
        (0..200_000).for_each(|n| known.note(at(u64::from(n) / 10_000), speakers(n, 53)));
        assert!((180_000..200_000).filter(|n| known.go_on(at(20), speakers(*n, 53))).count() > 19_900);
    }
}
