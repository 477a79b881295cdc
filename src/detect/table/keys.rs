//! Which set of the directory a source belongs to, and the secret keys that decide it.

use crate::detect::memory::{OutOfMemory, room_for};
use crate::detect::table::probation::Fingerprint;
use crate::detect::table::set::{self, Set};
use crate::detect::tuning::{LEAST_GROUPS_BITS, PARTS_BITS};
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

/// Where a source belongs: its own set, and the tag and the fingerprint that tell it from others there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(super) set: u32,
    pub(super) tag: u32,
    /// What a slot has room for only sometimes.
    pub(crate) fingerprint: Fingerprint,
}

impl Spot {
    /// The first of all.
    pub(crate) const FIRST: Spot = Spot { set: 0, tag: 0, fingerprint: 0 };

    /// Whether its source is in a share of all, one in two to this power, which its hash decides.
    #[inline]
    pub(crate) fn is_in_share(self, bits: u32) -> bool {
        self.tag & ((1 << bits) - 1) == 0
    }
}

#[cfg(test)]
impl Spot {
    /// The number of its set.
    pub(crate) fn set(self) -> u32 {
        self.set
    }

    /// The tag.
    pub(crate) fn tag(self) -> u32 {
        self.tag
    }

    /// In this set, with this tag.
    pub(crate) fn at(set: u32, tag: u32) -> Self {
        Self { set, tag, fingerprint: 0 }
    }
}

/// The sets of a directory in groups of parts, and a key for each part.
///
/// An attacker who learns which addresses share a set could fill it with better scanners than the one he hides. So secret
/// keys decide which share one, and each of them is replaced from time to time: what he learned from outside, hour by hour,
/// is void before it is of use.
#[derive(Debug)]
pub(super) struct Keys {
    /// The sets are `groups` times a power of two, so that any size is used well. Nobody changes the group.
    groups: u64,
    /// Bits of a set's number within its group.
    bits: u32,
    /// One for each part of a group. Nobody changes the part.
    keys: Vec<u64>,
    /// Bits of a set's number within its part.
    key_bits: u32,
    /// From which all keys are drawn, and how many were.
    secret: u64,
    drawn: u64,
}

/// A part whose key was replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replaced {
    part: usize,
    old: u64,
    new: u64,
}

impl Keys {
    /// For at most so many bytes of sets, of which an eighth may stay unused, and for 16 sets at least.
    pub(super) fn new(bytes: usize, secret: u64) -> Result<Self, OutOfMemory> {
        let sets = (bytes / size_of::<Set>()).max(2 << LEAST_GROUPS_BITS);
        let bits = sets.ilog2() - LEAST_GROUPS_BITS;
        let groups = sets >> bits;
        // A set and its neighbour are of one part.
        let key_bits = bits - PARTS_BITS.min(bits - 1);
        let parts = (groups << bits) >> key_bits;
        let mut keys =
            Self { groups: groups as u64, bits, keys: room_for(parts)?, key_bits, secret, drawn: 0 };
        for _ in 0..parts {
            let key = keys.draw();
            keys.keys.push(key);
        }
        Ok(keys)
    }

    /// The next key. SipHash, so that an attacker who learned one knows nothing of the others.
    fn draw(&mut self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.secret);
        hasher.write_u64(self.drawn);
        self.drawn += 1;
        hasher.finish() | 1
    }

    /// Sets in all.
    pub(super) fn sets(&self) -> usize {
        (self.groups << self.bits) as usize
    }

    /// Parts of the directory, each with a key of its own.
    pub(super) fn parts(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Sets of a part.
    pub(super) fn sets_of_part(&self) -> usize {
        1 << self.key_bits
    }

    /// Where the source of a hash belongs. All parts of the hash must be good: group, set, tag and fingerprint take
    /// different ones (up to half a million sets; with more, the fingerprint says less).
    #[inline(always)]
    pub(super) fn spot(&self, hash: u64) -> Spot {
        const GROUP_BITS: u32 = 14;
        const FINGERPRINT_SHIFT: u32 = 16;
        let tag = (hash >> (64 - set::TAG_BITS)) as u32;
        let group = ((hash >> 32 & ((1 << GROUP_BITS) - 1)) * self.groups) >> GROUP_BITS;
        let set = group << self.bits | hash & ((1 << self.bits) - 1);
        let key = self.keys[(set >> self.key_bits) as usize];
        let fingerprint = (hash >> FINGERPRINT_SHIFT) as Fingerprint;
        Spot { set: (set ^ self.fold(tag, key)) as u32, tag, fingerprint }
    }

    /// What the number of a set within its part is folded with, by the tag and the key of the part.
    #[inline]
    fn fold(&self, tag: u32, key: u64) -> u64 {
        u64::from(tag).wrapping_mul(key) >> (64 - self.key_bits)
    }

    /// Replaces the key of the part whose turn it is.
    pub(super) fn replace(&mut self) -> Replaced {
        let part = (self.drawn % self.parts()) as usize;
        let old = self.keys[part];
        self.keys[part] = self.draw();
        Replaced { part, old, new: self.keys[part] }
    }

    /// The sets of a part whose key was replaced.
    pub(super) fn sets_in(&self, replaced: Replaced) -> Range<usize> {
        replaced.part << self.key_bits..(replaced.part + 1) << self.key_bits
    }

    /// The set that a source belongs to by the new key, which belonged to `home` by the old one.
    pub(super) fn moved(&self, home: u32, tag: u32, replaced: Replaced) -> u32 {
        home ^ (self.fold(tag, replaced.old) ^ self.fold(tag, replaced.new)) as u32
    }
}
