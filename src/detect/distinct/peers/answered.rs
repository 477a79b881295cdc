//! Which hosts answered: a host that did has a bit beside its stamp.

use super::{ANSWERED, Peer, PeerStore, REFUSED, SHORT, Sighting, sighted_at};
use crate::detect::distinct::Answer;
use crate::detect::time::quantum::{age, stamp};

impl PeerStore {
    /// A host answered. One of which only `Peer::short` is known is of a time from which no answers are.
    pub(crate) fn answer(&mut self, row: u32, peer: Peer, answer: Answer) {
        let (set, peers, sightings) = self.list_mut(row);
        let is_it = |&at: &usize| peers[at] == peer.0 && sightings[at] & SHORT == 0;
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

    /// How many of the hosts that count at a quantum, to which the set was expired, refused, or did not answer although they had a whole
    /// quantum for it.
    pub(crate) fn unanswered(&self, row: u32, to: u64) -> u32 {
        let is_unanswered = |&&sighting: &&Sighting| {
            let had_time = age(stamp(to), sighted_at(sighting)) > 1;
            sighting & (SHORT | ANSWERED) == 0 && (had_time || sighting & REFUSED != 0)
        };
        self.list(row).1.iter().filter(is_unanswered).count() as u32
    }
}
