//! Which hosts answered: a host that did has a bit beside its stamp.

use super::{ANSWERED, Peer, PeerStore, REFUSED, SHORT, sighted_at};
use crate::detect::distinct::Answer;
use crate::detect::time::quantum::{age, stamp};

impl PeerStore {
    /// A host answered. One of which only `Peer::short` is known is of a time from which no answers are.
    pub(crate) fn answer(&mut self, row: u32, peer: Peer, answer: Answer) {
        let (set, peers, sightings) = self.list_mut(row);
        let is_it = |&at: &usize| peers[at] == peer.bits && sightings[at] & SHORT == 0;
        if let Some(at) = (0..usize::from(set.counted)).find(is_it) {
            sightings[at] |= match answer {
                Answer::Silent => 0,
                Answer::Answered => ANSWERED,
                Answer::Refused => REFUSED,
            };
        }
    }

    /// Nobody looked for the answers of the hosts that a row has so far: they are taken to have come.
    pub(crate) fn take_as_answered(&mut self, row: u32) {
        let (set, _, sightings) = self.list_mut(row);
        sightings[..usize::from(set.counted)].iter_mut().for_each(|sighting| *sighting |= ANSWERED);
    }

    /// How many hosts of the network of this one (an IPv4 /24, or an IPv6 /64) refused, or did not answer although they had a whole
    /// quantum for it, as of a quantum to which the set was expired; none if as many answered.
    pub(crate) fn unanswered_neighbours(&self, row: u32, peer: Peer, to: u64) -> u32 {
        let (peers, sightings) = self.list(row);
        let (mut answered, mut unanswered) = (0, 0);
        for (&other, &sighting) in peers.iter().zip(sightings) {
            if !peer.are_neighbours(other, peer.bits) || sighting & SHORT != 0 {
                continue;
            }
            let had_time = age(stamp(to), sighted_at(sighting)) > 1;
            if sighting & ANSWERED != 0 {
                answered += 1;
            } else if had_time || sighting & REFUSED != 0 {
                unanswered += 1;
            }
        }
        if unanswered > answered { unanswered } else { 0 }
    }
}
