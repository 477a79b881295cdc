//! What came back to the sources of the rows: how many ports answered each, and how many did not although they had time to.

use super::Rows;
use super::proof::Proof;
use crate::detect::distinct::Answer;
use crate::detect::distinct::peaks::Peaks;
use crate::detect::probe::{Class, Reply};
use crate::detect::scan::{Grade, Replies};
use crate::detect::tuning::{PATIENCE, QUANTA};

/// What is kept of the replies to one row's source, besides the answer of each port.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowReplies {
    /// The most ports without an answer, by epoch.
    unanswered: Peaks,
    /// The most ports within a window that answered, since there was no peak.
    answered: u32,
    /// Whether the source is at its address.
    proof: Proof,
}

impl RowReplies {
    /// Nothing came back.
    pub(super) const NONE: RowReplies =
        RowReplies { unanswered: Peaks::NONE, answered: 0, proof: Proof::NONE };
}

/// Ages that a port has while it counts.
const AGES: usize = QUANTA as usize + 1;

/// The most ports that were without an answer and had had time for one, at the start of any quantum after `from` up to `to`, if
/// `by_age` were without one at `from`; and when it was.
fn most_unanswered(by_age: &[u32; AGES], from: u64, to: u64) -> (u32, u64) {
    let mut younger = [0; AGES + 1];
    for (age, count) in by_age.iter().enumerate() {
        younger[age + 1] = younger[age] + count;
    }
    let mut most = (0, to);
    for later in 1..=(to - from).min(QUANTA) {
        let (least, greatest) = (PATIENCE.saturating_sub(later), QUANTA - later);
        if least <= greatest {
            let count = younger[greatest as usize + 1] - younger[least as usize];
            if count > most.0 {
                most = (count, from + later);
            }
        }
    }
    most
}

impl Rows {
    /// Bytes that a row takes for it, besides the answers of its ports.
    pub(crate) const REPLY_BYTES: usize = size_of::<RowReplies>();

    /// Whether it is looked for.
    pub(crate) fn keeps_replies(&self) -> bool {
        !self.replies.is_empty()
    }

    /// Something came of a probe for a port of a row, which was expired.
    pub(crate) fn answer(&mut self, at: u32, port: u16, reply: Reply) {
        let Some(replies) = self.replies.get_mut(at as usize) else { return };
        let answer = match reply {
            Reply::Answered { sequence, to } => {
                replies.proof.answered(sequence, (port, to));
                Answer::Answered
            }
            Reply::Refused => Answer::Refused,
            Reply::Acknowledged { number, from } => return replies.proof.acknowledged(number, (port, from)),
        };
        self.store.answer(&mut self.rows[at as usize].ports, at, port, answer);
    }

    /// Time passes for a row, from one quantum to another, and nothing came meanwhile.
    #[inline(never)]
    pub(super) fn note_replies(&mut self, at: u32, from: u64, to: u64) {
        let row = &self.rows[at as usize];
        if row.ports.count() < self.least_published() {
            return;
        }
        let by_age = self.store.unanswered_by_age(&row.ports, at, from);
        let answered = row.ports.count() - by_age.iter().sum::<u32>();
        let (most, when) = most_unanswered(&by_age, from, to);
        let epoch = self.present.epoch_of(when.saturating_mul(self.present.quantum_nanos));
        let replies = &mut self.replies[at as usize];
        replies.unanswered.reach(epoch, most);
        replies.answered = replies.answered.max(answered);
    }

    /// A row is given up: what was not answered by now will not be. Who turns the table over before a scan is judged must not make it look
    /// answered.
    pub(crate) fn judge_replies(&mut self, at: u32) {
        if self.keeps_replies() {
            let now = self.rows[at as usize].quantum;
            self.note_replies(at, now, now + PATIENCE);
        }
    }

    /// A probe comes, which may be the first of a run.
    #[inline]
    pub(super) fn begin_replies(&mut self, at: u32) {
        let (row, least_published) = (&self.rows[at as usize], self.least_published());
        if row.begins() {
            let replies = &mut self.replies[at as usize];
            match row.begins_without_peak(&self.present, least_published) {
                true => (replies.answered, replies.proof) = (0, Proof::NONE),
                false => replies.proof.begin(),
            }
        }
    }

    /// Whether the source of a row proved to be at its address: since its run of probes began, and since there is a peak.
    pub(super) fn grades(&self, at: u32) -> (Grade, Grade) {
        let proof = self.replies.get(at as usize).map_or(Proof::NONE, |replies| replies.proof);
        (proof.of_run(), proof.shown())
    }

    /// The most ports of a row within a window that answered, and the most that did not by epoch; if that is looked for.
    pub(super) fn replies_to(&self, at: u32) -> Option<(u32, Peaks)> {
        let (replies, row) = (self.replies.get(at as usize)?, &self.rows[at as usize]);
        let now = if row.ports.count() < self.least_published() {
            0
        } else {
            let unanswered = self.store.unanswered_by_age(&row.ports, at, row.quantum);
            row.ports.count() - unanswered.iter().sum::<u32>()
        };
        Some((replies.answered.max(now), replies.unanswered))
    }

    /// What became of the ports of an open scan, if that is looked for.
    pub(super) fn replies_of_scan(&self, at: u32) -> Option<Replies> {
        let row = &self.rows[at as usize];
        if self.replies.is_empty() || row.class() != Class::Syn {
            return None;
        }
        let of = |answer| self.store.answered_so(&row.ports, at, answer);
        let ((answered, answered_count), (refused, refused_count)) =
            (of(Answer::Answered), of(Answer::Refused));
        Some(Replies { answered, answered_count, refused, refused_count, silent: of(Answer::Silent).0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_time_to_answer_and_then_counts_for_the_rest_of_the_window() {
        let mut by_age = [0; AGES];
        (by_age[0], by_age[3], by_age[50]) = (7, 5, 2);
        let told = |to| most_unanswered(&by_age, 1_000, 1_000 + to);
        assert_eq!(told(1).0, 2, "the others may still be answered");
        assert_eq!(told(PATIENCE - 3), (7, 1_000 + PATIENCE - 3));
        assert_eq!(told(PATIENCE), (14, 1_000 + PATIENCE));
        assert_eq!(told(10_000), (14, 1_000 + PATIENCE));
        let mut old = [0; AGES];
        old[AGES - 1] = 9;
        assert_eq!(most_unanswered(&old, 1_000, 1_001).0, 0, "they leave the window");
    }
}
