//! Where a rule counts hosts: how many a source asked, and how much that says of it.

use super::Rows;
use crate::detect::distinct::peers::Peer;
use crate::detect::probe::{Class, Probe};
use crate::detect::scan::Kind;
use crate::detect::tuning::INSIDE_FACTOR;
use crate::detect::verdict::{self, Counts};

impl Rows {
    /// Whether a source can be found by the hosts that did not answer.
    pub(crate) fn judges_answers(&self) -> bool {
        self.keeps_replies() && self.peers.is_some() && !self.home.is_empty()
    }

    /// Nobody looked for what came back to the rows so far.
    pub(crate) fn take_as_answered(&mut self) {
        if let Some(peers) = self.peers.as_mut().filter(|_| !self.replies.is_empty()) {
            (0..self.rows.len() as u32).for_each(|at| peers.take_as_answered(at));
        }
    }

    /// Counts the host of a probe. How many count, and the verdict on them.
    pub(super) fn count_peer(&mut self, at: u32, probe: &Probe) -> (u32, Option<Kind>) {
        let Some(peers) = &mut self.peers else { return (0, None) };
        let row = &mut self.rows[at as usize];
        let peer = Peer::of(probe.host, &self.host_hasher);
        let size = peers.record(at, peer, self.present.quantum);
        self.has_outgrown |= peers.is_saturated(at);
        let speak = match self.rule.peers {
            _ if row.episode.is_open() => size,
            Some(least) if size < least => size,
            // Clients of many services ask as many hosts, but no 25 of one network.
            _ if self.home.is_empty() => peers.neighbours(at, probe.host, peer),
            _ if self.home.contains(probe.source) => {
                let sees_answers = !self.replies.is_empty() && row.class() == Class::Syn;
                // Clients lose hosts, and an outage all of theirs: but no 25 of one network.
                let unanswered = match sees_answers {
                    true => peers.unanswered_neighbours(at, probe.host, peer, self.present.quantum),
                    false => 0,
                };
                unanswered.max(size / INSIDE_FACTOR)
            }
            _ => size,
        };
        let verdict = verdict::kind(&self.rule, Counts { ports: row.ports.count(), peers: speak });
        if verdict == Some(Kind::Block) && row.episode.is_open() && row.episode.kind() == Kind::Horizontal {
            row.episode.widen();
            self.open_scans[Kind::Horizontal as usize] -= 1;
            self.open_scans[Kind::Block as usize] += 1;
        }
        (size, verdict)
    }
}
