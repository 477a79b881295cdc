//! What becomes of a host for which a list has no room.

use super::{Peer, PeerStore, Sighting, sighted_at};
use crate::detect::time::quantum::{age, stamp};
use crate::detect::tuning::{BY_AGE_EVERY, LIST_LOOKS, LONG_LIST_LOOKS, QUANTA, TAKE_EVERY};
use std::cmp::Reverse;

impl PeerStore {
    /// Moves a full list to a longer one, at quantum `to`. False if there is none left, and none may be taken from another.
    #[cold]
    pub(super) fn grow(&mut self, row: u32, to: u64, may_take: impl FnOnce() -> bool) -> bool {
        let longer = self.sets[row as usize].long.map_or(0, |(pool, _)| usize::from(pool) + 1);
        let mut lent = self.lend(row, longer);
        if lent.is_none() && longer == 0 && self.draw().is_multiple_of(TAKE_EVERY) && may_take() {
            self.take_from_another(to);
            lent = self.lend(row, longer);
        }
        let Some(lent) = lent else { return false };
        let counted = self.sets[row as usize].counted.into();
        for at in 0..counted {
            let (peers, sightings) = self.list(row);
            let (peer, sighting) = (peers[at], sightings[at]);
            self.put((row, Some(lent)), at, (peer, sighting));
        }
        if let Some((pool, at)) = self.sets[row as usize].long.replace(lent) {
            self.long[usize::from(pool)].give_back(at);
        }
        true
    }

    /// A list of the first pool that has one, from this pool on.
    fn lend(&mut self, row: u32, first: usize) -> Option<(u8, u32)> {
        let mut pools = (0..).zip(&mut self.long).skip(first);
        pools.find_map(|(number, pool)| Some((number, pool.lend(row)?)))
    }

    /// Takes a list away from the source with the fewest hosts, of some that are drawn by chance. (An attacker needs sources with
    /// more hosts than the one he hides, so many that none other is drawn, and has to keep them there.)
    fn take_from_another(&mut self, to: u64) {
        let drawn: [u64; LIST_LOOKS] = std::array::from_fn(|_| self.draw());
        let owners = drawn.into_iter().filter_map(|number| self.long[0].owner(number));
        if let Some(row) = owners.min_by_key(|&row| self.sets[row as usize].counted) {
            self.shrink(row, to);
            self.taken += 1;
        }
    }

    /// Leaves a row with its short list, and its latest hosts in it.
    fn shrink(&mut self, row: u32, to: u64) {
        let (now, most) = (stamp(to), self.short.len);
        let age_of = |sighting: Sighting| usize::from(age(now, sighted_at(sighting))).min(QUANTA as usize);
        let mut by_age = [0; QUANTA as usize + 1];
        self.list(row).1.iter().for_each(|&sighting| by_age[age_of(sighting)] += 1);
        // All that are younger than this fit, and some of this age.
        let (mut limit, mut younger) = (0, 0);
        while limit < by_age.len() && younger + by_age[limit] <= most {
            younger += by_age[limit];
            limit += 1;
        }
        let (mut kept, mut room_at_limit) = (0, most - younger);
        for at in 0..usize::from(self.sets[row as usize].counted) {
            let (peers, sightings) = self.list(row);
            let (peer, sighting) = (peers[at], sightings[at]);
            let age = age_of(sighting);
            if age < limit || age == limit && room_at_limit > 0 {
                room_at_limit -= usize::from(age == limit);
                self.put((row, None), kept, (peer, sighting));
                kept += 1;
            }
        }
        let set = &mut self.sets[row as usize];
        let long = set.long.take();
        let has_lost = kept < usize::from(set.counted);
        set.counted = kept as u16;
        set.has_lost |= has_lost;
        if let Some((pool, at)) = long {
            self.long[usize::from(pool)].give_back(at);
        }
    }

    /// Puts a host in a list of a row, which may be another than it has.
    fn put(&mut self, (row, list): (u32, Option<(u8, u32)>), at: usize, (peer, sighting): (u32, Sighting)) {
        let (peers, sightings) = match list {
            None => self.short.list_mut(row as usize),
            Some((pool, list)) => self.long[usize::from(pool)].list_mut(list),
        };
        (peers[at], sightings[at]) = (peer, sighting);
    }

    /// Counts a host for which there is no room, in the place of another.
    #[cold]
    pub(super) fn replace(&mut self, row: u32, peer: Peer, to: u64) -> u32 {
        let at = self.least_worth(row, peer, to);
        let (set, peers, sightings) = self.list_mut(row);
        (peers[at], sightings[at]) = (peer.bits, Sighting::from(stamp(to)) << 8);
        (set.is_saturated, set.has_lost, set.is_partial) = (true, true, true);
        set.counted.into()
    }

    /// A place of a full list, of some that are drawn by chance: that of a host whose network has the fewest hosts there, and of such the
    /// one that would leave first. So hosts of a network of which many are asked come together, whatever else is asked. In a
    /// short list it is now and then the one that would leave first, whatever its network: else one that was there first could keep all
    /// others out.
    fn least_worth(&mut self, row: u32, peer: Peer, to: u64) -> usize {
        let drawn: [u64; LIST_LOOKS] = std::array::from_fn(|_| self.draw());
        let (looks, by_age) = match self.sets[row as usize].long {
            None => (LIST_LOOKS, self.draw().is_multiple_of(BY_AGE_EVERY)),
            Some(_) => (LONG_LIST_LOOKS, false),
        };
        let (peers, sightings) = self.list(row);
        let mut least = (u32::MAX, Reverse(0), 0);
        for number in &drawn[..looks] {
            let at = (number % peers.len() as u64) as usize;
            let is_near = |other: u32| peer.are_neighbours(other, peers[at]);
            let near = if by_age { 0 } else { peers.iter().map(|&other| u32::from(is_near(other))).sum() };
            least = least.min((near, Reverse(age(stamp(to), sighted_at(sightings[at]))), at));
            // It is alone in its network: there is none with fewer.
            if near == 1 {
                break;
            }
        }
        least.2
    }

    /// A number by chance (xorshift64*, Vigna 2016), from a secret seed: an attacker cannot know whose list goes.
    fn draw(&mut self) -> u64 {
        self.drawn ^= self.drawn >> 12;
        self.drawn ^= self.drawn << 25;
        self.drawn ^= self.drawn >> 27;
        self.drawn.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}
