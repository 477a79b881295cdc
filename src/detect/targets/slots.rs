//! The ports that a host was asked for within the window, each with a source that owns it: a port that everybody asks for has one owner,
//! however many come.
//!
//! Who asks first owns it. But who owns several gives one up to a source that has none and asks for it: else a few forged sources that ask
//! for each port first would own all, and nobody saw the many behind them. So there are always as many owners as sources could be given a
//! port of their own in this way, and further probes only make it more.

use crate::detect::tuning::{MOST_SLOTS, QUANTA, SLOTS};

/// Words of the bits that say which places are taken.
const WORDS: usize = SLOTS / 64;

/// Words of the bits that say which ports may be there, two bits for each as in a Bloom filter: of the ports that are not there three in
/// a hundred are looked for. With half as many it is one in ten, which a flood of all ports feels.
const HINTS: usize = 32;

/// A port within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// The port.
    pub port: u16,
    /// The quantum of its latest probe, as far as a byte has it. Who has a row keeps none longer than a window.
    stamp: u8,
    /// Whether its owner is known to have no other: then nothing need be counted when somebody else asks for it.
    is_only: bool,
    /// Whose it is.
    pub owner: u32,
}

impl Slot {
    const FREE: Slot = Slot { port: 0, stamp: 0, is_only: false, owner: 0 };

    /// Quanta since its latest probe.
    #[inline]
    fn age(&self, quantum: u64) -> u8 {
        (quantum as u8).wrapping_sub(self.stamp)
    }
}

/// What became of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It counts already, and is this source's.
    Again,
    /// It counts already, and is this source's from now on, which had none; the owner so far has others.
    Taken,
    /// It counts already, and is another's.
    Visited,
    /// It counts from now on.
    Fresh,
    /// There is no room for it.
    Full,
}

/// A hash table of ports. The adversary chooses the ports, but not the key by which they are spread; and there are never more than
/// `MOST_SLOTS` steps to one.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    taken: [u64; WORDS],
    /// Where the bit of a port is not set, it is not there: in a flood of all ports a full table need not be searched for each.
    hints: [u64; HINTS],
    slots: [Slot; SLOTS],
    len: usize,
}

impl Slots {
    /// None.
    pub(super) const NONE: Slots =
        Slots { taken: [0; WORDS], hints: [0; HINTS], slots: [Slot::FREE; SLOTS], len: 0 };

    /// How many ports there are.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.len as u32
    }

    /// The place of each of them, in no order.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        self.taken.into_iter().enumerate().flat_map(|(word, mut left)| {
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(word * 64 + bit)
            })
        })
    }

    /// Each of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> {
        self.places().map(|at| self.slots[at])
    }

    #[inline]
    fn is_taken(&self, at: usize) -> bool {
        self.taken[at / 64] >> (at % 64) & 1 == 1
    }

    /// A source asked for a port.
    #[inline]
    pub(super) fn record(&mut self, port: u16, owner: u32, quantum: u64, key: u32) -> Recorded {
        let is_full = self.is_full();
        if is_full && !self.may_have(port, key) {
            return Recorded::Full;
        }
        let stamp = quantum as u8;
        let mut at = place(port, key);
        while self.is_taken(at) {
            let slot = &mut self.slots[at];
            if slot.port == port {
                slot.stamp = stamp;
                return if slot.owner == owner { Recorded::Again } else { self.visit(at, owner) };
            }
            at = (at + 1) % SLOTS;
        }
        if is_full {
            return Recorded::Full;
        }
        if let Some(only) = self.places().find(|&at| self.slots[at].is_only && self.slots[at].owner == owner)
        {
            self.slots[only].is_only = false;
        }
        self.put(at, Slot { port, stamp, is_only: false, owner }, key);
        Recorded::Fresh
    }

    /// Another source than its owner asks for a port. The adversary can have the owners counted with each probe that visits a port of an
    /// owner of several: at most `MOST_SLOTS` steps.
    fn visit(&mut self, at: usize, visitor: u32) -> Recorded {
        let Slot { is_only, owner, .. } = self.slots[at];
        if is_only {
            return Recorded::Visited;
        }
        let (mut owned, mut has_one) = (0, false);
        for slot in self.iter() {
            owned += u32::from(slot.owner == owner);
            has_one |= slot.owner == visitor;
        }
        let is_taken = owned > 1 && !has_one;
        let slot = &mut self.slots[at];
        slot.is_only = owned == 1 || is_taken;
        if is_taken {
            slot.owner = visitor;
            return Recorded::Taken;
        }
        Recorded::Visited
    }

    /// Whether there is no room for another.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len == MOST_SLOTS
    }

    /// Whether a port may be there; if not, it is not.
    #[inline]
    pub(super) fn may_have(&self, port: u16, key: u32) -> bool {
        hints(port, key).iter().all(|(word, bit)| self.hints[*word] & bit != 0)
    }

    /// Whether a port is there.
    #[inline]
    pub(super) fn has(&self, port: u16, key: u32) -> bool {
        self.may_have(port, key) && self.is_there(port, key)
    }

    #[inline(never)]
    fn is_there(&self, port: u16, key: u32) -> bool {
        let mut at = place(port, key);
        while self.is_taken(at) && self.slots[at].port != port {
            at = (at + 1) % SLOTS;
        }
        self.is_taken(at)
    }

    fn put(&mut self, at: usize, slot: Slot, key: u32) {
        for (word, bit) in hints(slot.port, key) {
            self.hints[word] |= bit;
        }
        self.slots[at] = slot;
        self.taken[at / 64] |= 1 << (at % 64);
        self.len += 1;
    }

    /// Lets go of all.
    pub(super) fn clear(&mut self) {
        (self.taken, self.hints, self.len) = ([0; WORDS], [0; HINTS], 0);
    }

    /// Keeps only some.
    pub(super) fn retain(&mut self, key: u32, keep: impl Fn(&Slot) -> bool) {
        if self.iter().all(|slot| keep(&slot)) {
            return;
        }
        let mut kept = [Slot::FREE; MOST_SLOTS];
        let mut len = 0;
        for slot in self.iter().filter(keep) {
            kept[len] = slot;
            len += 1;
        }
        self.clear();
        for slot in &kept[..len] {
            let mut at = place(slot.port, key);
            while self.is_taken(at) {
                at = (at + 1) % SLOTS;
            }
            self.put(at, *slot, key);
        }
    }

    /// Lets go of those that have left the window by this quantum, after one in which none had.
    pub(super) fn expire(&mut self, from: u64, to: u64, key: u32) {
        if to - from > QUANTA {
            self.clear();
        } else {
            self.retain(key, |slot| u64::from(slot.age(to)) <= QUANTA);
        }
    }

    /// Lets go of the ports of a source.
    pub(super) fn forget(&mut self, owner: u32, key: u32) {
        self.retain(key, |slot| slot.owner != owner);
    }

    /// How many will still be within the window in this quantum, if nothing comes after the other, in which all were.
    pub(super) fn left_at(&self, from: u64, then: u64) -> u32 {
        let passed = then - from;
        self.iter().filter(|slot| u64::from(slot.age(from)) + passed <= QUANTA).count() as u32
    }

    /// How many own one of them or more.
    pub(super) fn owners(&self) -> u32 {
        let mut owners = [0; MOST_SLOTS];
        for (place, slot) in owners.iter_mut().zip(self.iter()) {
            *place = slot.owner;
        }
        let owners = &mut owners[..self.len];
        owners.sort_unstable();
        owners.chunk_by(|one, next| one == next).count() as u32
    }

    /// How many ports, and how many owners, were last seen so many quanta before this one, in which all are within the window.
    pub(super) fn by_age(&self, quantum: u64) -> [[u32; QUANTA as usize + 1]; 2] {
        let mut ages = [(0, 0); MOST_SLOTS];
        for (place, slot) in ages.iter_mut().zip(self.iter()) {
            *place = (slot.owner, slot.age(quantum));
        }
        let ages = &mut ages[..self.len];
        ages.sort_unstable();
        let mut counts = [[0; QUANTA as usize + 1]; 2];
        let of = |age: u8| usize::from(age).min(QUANTA as usize);
        for owner in ages.chunk_by(|one, next| one.0 == next.0) {
            owner.iter().for_each(|(_, age)| counts[0][of(*age)] += 1);
            counts[1][of(owner[0].1)] += 1;
        }
        counts
    }
}

/// Where a port belongs.
#[inline]
fn place(port: u16, key: u32) -> usize {
    (spread(port, key) >> 16) as usize % SLOTS
}

/// The words and the bits that say whether it may be there.
#[inline]
fn hints(port: u16, key: u32) -> [(usize, u64); 2] {
    let spread = spread(port, key);
    [11, 21].map(|shift| {
        let at = (spread >> shift) as usize % (64 * HINTS);
        (at / 64, 1 << (at % 64))
    })
}

/// The key is odd: an attacker who does not know it cannot have ports in one place.
#[inline]
fn spread(port: u16, key: u32) -> u32 {
    u32::from(port).wrapping_add(1).wrapping_mul(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const KEY: u32 = 0x9e37_79b1;

    #[test]
    fn who_owns_several_ports_gives_one_to_a_source_that_has_none() {
        let mut slots = Slots::NONE;
        for port in 1..=4 {
            assert_eq!(slots.record(port, 1, 0, KEY), Recorded::Fresh);
        }
        assert_eq!(slots.record(1, 2, 0, KEY), Recorded::Taken);
        assert_eq!(slots.record(2, 2, 0, KEY), Recorded::Visited, "it has one");
        assert_eq!(slots.record(1, 3, 0, KEY), Recorded::Visited, "its owner has no other");
        assert_eq!(slots.record(1, 1, 0, KEY), Recorded::Visited, "it is another's now");
        assert_eq!(slots.record(5, 2, 0, KEY), Recorded::Fresh);
        assert_eq!(slots.record(1, 3, 0, KEY), Recorded::Taken, "now its owner has another");
        assert_eq!((slots.len(), slots.owners()), (5, 3));
    }

    #[test]
    fn who_asks_first_has_the_port_until_it_leaves_the_window() {
        let mut slots = Slots::NONE;
        assert_eq!(slots.record(443, 1, 0, KEY), Recorded::Fresh);
        assert_eq!(slots.record(443, 1, 60, KEY), Recorded::Again);
        assert_eq!(slots.record(443, 2, 60, KEY), Recorded::Visited);
        slots.expire(60, 120, KEY);
        assert_eq!((slots.len(), slots.owners()), (1, 1));
        slots.expire(120, 121, KEY);
        assert_eq!((slots.len(), slots.owners()), (0, 0));
        assert_eq!(slots.record(443, 2, 121, KEY), Recorded::Fresh);
    }

    #[test]
    fn there_are_only_so_many() {
        let mut slots = Slots::NONE;
        for port in 0..MOST_SLOTS as u16 {
            assert_eq!(slots.record(port, u32::from(port / 2), 7, KEY), Recorded::Fresh, "{port}");
        }
        assert_eq!(slots.record(9_999, 5, 7, KEY), Recorded::Full);
        assert_eq!(slots.record(5, 5, 7, KEY), Recorded::Visited);
        assert_eq!((slots.len(), slots.owners()), (MOST_SLOTS as u32, MOST_SLOTS as u32 / 2));
        slots.forget(0, KEY);
        assert_eq!((slots.len(), slots.owners()), (MOST_SLOTS as u32 - 2, MOST_SLOTS as u32 / 2 - 1));
        assert_eq!(slots.record(9_999, 5, 7, KEY), Recorded::Fresh);
    }

    proptest! {
        /// Against a map.
        #[test]
        fn it_is_a_map_of_ports(
            // Time passes seldom, so that there are often as many as there is room for.
            steps in prop::collection::vec(
                (prop_oneof![60 => Just(0), 1 => 0..40_u64], 0..300_u16, 0..20_u32, any::<bool>()), 1..800),
            key in any::<u32>(),
        ) {
            let key = key | 1;
            let (mut slots, mut map, mut quantum) = (Slots::NONE, BTreeMap::<u16, (u64, u32)>::new(), 0);
            for (after, port, owner, forgets) in steps {
                let to = quantum + after * after / 60;
                slots.expire(quantum, to, key);
                quantum = to;
                map.retain(|_, (then, _)| quantum - *then <= QUANTA);
                if forgets && port < 9 {
                    slots.forget(owner, key);
                    map.retain(|_, (_, of)| *of != owner);
                }
                let is_full = map.len() == MOST_SLOTS;
                let expected = match map.get_mut(&port) {
                    Some((then, _)) => {
                        *then = quantum;
                        let owned = |who| map.values().filter(|(_, of)| *of == who).count();
                        match map[&port].1 {
                            of if of == owner => Recorded::Again,
                            of if owned(of) > 1 && owned(owner) == 0 => {
                                map.insert(port, (quantum, owner));
                                Recorded::Taken
                            }
                            _ => Recorded::Visited,
                        }
                    }
                    None if is_full => Recorded::Full,
                    None => { map.insert(port, (quantum, owner)); Recorded::Fresh }
                };
                prop_assert_eq!(slots.record(port, owner, quantum, key), expected);
                let owners: BTreeSet<u32> = map.values().map(|(_, owner)| *owner).collect();
                prop_assert_eq!((slots.len() as usize, slots.owners() as usize), (map.len(), owners.len()));
                prop_assert_eq!(slots.iter().map(|slot| slot.port).collect::<BTreeSet<_>>(), map.keys().copied().collect());
                let left = map.values().filter(|(then, _)| quantum + 30 - then <= QUANTA).count();
                prop_assert_eq!(slots.left_at(quantum, quantum + 30) as usize, left);
                let [ports, by_owner] = slots.by_age(quantum);
                prop_assert_eq!(ports.iter().sum::<u32>() as usize, map.len());
                prop_assert_eq!(by_owner.iter().sum::<u32>() as usize, owners.len());
            }
        }
    }
}
