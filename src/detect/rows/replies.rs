//! What came back to the sources of the rows: how many ports answered each, and how many did not although they had time to.

use super::Rows;
use super::proof::Proof;
use crate::detect::distinct::Answer;
use crate::detect::distinct::peaks::Peaks;
use crate::detect::distinct::peers::Peer;
use crate::detect::probe::{Class, Probe, Reply};
use crate::detect::scan::{Grade, Replies};
use crate::detect::tuning::{PATIENCE, QUANTA};

/// What is kept of the replies to one row's source, besides the answer of each port.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowReplies {
    /// The most ports without an answer, by epoch.
    unanswered: Peaks,
    /// How many left the window without one, in each of the latest quanta, the latest first. The last of a scan are judged when the first have
    /// left: both are of one window.
    left: [u16; PATIENCE as usize],
    /// The most ports within a window that answered, since there was no peak.
    answered: u32,
    /// Whether the source is at its address.
    proof: Proof,
}

impl RowReplies {
    /// Nothing came back.
    pub(super) const NONE: RowReplies =
        RowReplies { unanswered: Peaks::NONE, left: [0; PATIENCE as usize], answered: 0, proof: Proof::NONE };
}

/// Ages that a port has while it counts, and those until the youngest of its window are judged.
const COUNTED: usize = QUANTA as usize + 1;
const AGES: usize = COUNTED + PATIENCE as usize;

/// Ports without an answer, by their age in quanta.
struct Unanswered([u32; AGES]);

impl Unanswered {
    fn of(counted: [u32; COUNTED], left: [u16; PATIENCE as usize]) -> Self {
        let mut by_age = [0; AGES];
        by_age[..COUNTED].copy_from_slice(&counted);
        by_age[COUNTED..].iter_mut().zip(left).for_each(|(count, left)| *count = left.into());
        Self(by_age)
    }

    /// The most that were without an answer and had had time for one, of those asked for within a window, at the start of any quantum
    /// after `from` up to `to`, if it was so at `from`; and when it was.
    fn most(&self, from: u64, to: u64) -> (u32, u64) {
        let mut younger = [0; AGES + 1];
        for (age, count) in self.0.iter().enumerate() {
            younger[age + 1] = younger[age] + count;
        }
        let mut most = (0, to);
        for later in 1..=(to - from).min(AGES as u64 - 1) {
            let (least, greatest) = (PATIENCE.saturating_sub(later), AGES as u64 - 1 - later);
            if least <= greatest {
                let count = younger[greatest as usize + 1] - younger[least as usize];
                if count > most.0 {
                    most = (count, from + later);
                }
            }
        }
        most
    }

    /// Those that have left the window so many quanta later.
    fn left(&self, later: u64) -> [u16; PATIENCE as usize] {
        std::array::from_fn(|at| {
            let age = ((COUNTED + at) as u64).checked_sub(later);
            age.map_or(0, |age| self.0[age as usize].min(u16::MAX.into()) as u16)
        })
    }
}

impl Rows {
    /// Bytes that a row takes for it, besides the answers of its ports.
    pub(crate) const REPLY_BYTES: usize = size_of::<RowReplies>();

    /// Whether it is looked for.
    pub(crate) fn keeps_replies(&self) -> bool {
        !self.replies.is_empty()
    }

    /// Whether it is looked for which ports answer: a rule that counts hosts keeps which of those do, and whether the source is at its address.
    #[inline]
    pub(super) fn keeps_answers(&self) -> bool {
        self.keeps_replies() && self.peers.is_none()
    }

    /// Something came of a probe of a row, which was expired.
    pub(crate) fn answer(&mut self, at: u32, probe: &Probe, reply: Reply) {
        let port = probe.port;
        let Some(replies) = self.replies.get_mut(at as usize) else { return };
        let answer = match reply {
            Reply::Answered { sequence, to } => {
                replies.proof.answered(sequence, (port, to));
                Answer::Answered
            }
            Reply::Refused => Answer::Refused,
            Reply::Acknowledged { number, from } => return replies.proof.acknowledged(number, (port, from)),
        };
        match &mut self.peers {
            None => self.store.answer(&mut self.rows[at as usize].ports, at, port, answer),
            Some(peers) => peers.answer(at, Peer::of(probe.host, &self.host_hasher), answer),
        }
    }

    /// Time passes for a row, from one quantum to another, and nothing came meanwhile.
    #[inline(never)]
    pub(super) fn note_replies(&mut self, at: u32, from: u64, to: u64) {
        let (row, left) = (&self.rows[at as usize], self.replies[at as usize].left);
        if row.ports.count() + left.into_iter().map(u32::from).sum::<u32>() < self.least_published() {
            // What comes from now on is of no window with those that left.
            self.replies[at as usize].left = [0; PATIENCE as usize];
            return;
        }
        let counted = self.store.unanswered_by_age(&row.ports, at, from);
        let answered = match row.ports.count() {
            count if count >= self.least_published() => count - counted.iter().sum::<u32>(),
            _ => 0,
        };
        let unanswered = Unanswered::of(counted, left);
        let (most, when) = unanswered.most(from, to);
        let epoch = self.present.epoch_of(when.saturating_mul(self.present.quantum_nanos));
        let replies = &mut self.replies[at as usize];
        replies.left = unanswered.left(to - from);
        replies.unanswered.reach(epoch, most);
        replies.answered = replies.answered.max(answered);
    }

    /// A row is given up: what was not answered by now will not be. Who turns the table over before a scan is judged must not make it look
    /// answered.
    pub(crate) fn judge_replies(&mut self, at: u32) {
        if self.keeps_answers() {
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
    ///
    /// At a hit no port had time to answer. An alert that read that nobody was silent would take a fast scan for a client of many services; so
    /// until they had time, those that have not answered yet count.
    pub(super) fn replies_to(&self, at: u32) -> Option<(u32, Peaks)> {
        let row = &self.rows[at as usize];
        let replies = self.replies.get(at as usize).filter(|_| self.keeps_answers())?;
        let (mut now, mut peaks) = (0, replies.unanswered);
        if row.ports.count() >= self.least_published() {
            let unanswered = self.store.unanswered_by_age(&row.ports, at, row.quantum).iter().sum::<u32>();
            now = row.ports.count() - unanswered;
            let is_fresh = row.last_hit.is_some_and(|hit| self.present.quanta_since(hit) < PATIENCE);
            if row.episode.is_open() && is_fresh {
                peaks.reach(self.present.epoch, unanswered);
            }
        }
        Some((replies.answered.max(now), peaks))
    }

    /// What became of the ports that count now, or of all those of an open scan; if that is looked for.
    pub(crate) fn replies_of_scan(&self, at: u32) -> Option<Replies> {
        let row = &self.rows[at as usize];
        if !self.keeps_answers() || row.class() != Class::Syn {
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
    fn a_port_has_time_to_answer_and_then_counts_for_a_window() {
        let mut counted = [0; COUNTED];
        (counted[0], counted[3], counted[50]) = (7, 5, 2);
        let unanswered = Unanswered::of(counted, [0; PATIENCE as usize]);
        let most = |to| unanswered.most(1_000, 1_000 + to);
        assert_eq!(most(1).0, 2, "the others may still be answered");
        assert_eq!(most(PATIENCE - 3), (7, 1_000 + PATIENCE - 3));
        assert_eq!(most(PATIENCE), (14, 1_000 + PATIENCE));
        assert_eq!(most(10_000), (14, 1_000 + PATIENCE));
    }

    /// Half of a scan at the start of a window and half at its end: when these are judged, the others have left it.
    #[test]
    fn who_asks_at_both_ends_of_a_window_is_judged_by_all_of_it() {
        let mut counted = [0; COUNTED];
        (counted[1], counted[COUNTED - 1]) = (10, 10);
        let unanswered = Unanswered::of(counted, [0; PATIENCE as usize]);
        assert_eq!(unanswered.most(1_000, 1_000 + PATIENCE), (20, 1_000 + PATIENCE - 1));
        let later = Unanswered::of([0; COUNTED], unanswered.left(2));
        assert_eq!(later.0[COUNTED + 1], 10, "two quanta ago the oldest left");
        assert_eq!(later.most(1_002, 1_003).0, 10);
        assert_eq!(later.most(1_000 + PATIENCE, 2_000).0, 10);
        assert_eq!(unanswered.left(QUANTA + PATIENCE - 1), [0, 0, 0, 0, 0, 10], "only the youngest are left");
    }
}
