//! What a slower rule gets of a batch: the probes that the faster ones hand down to it. Of an open scan they hand down none, for
//! one scan is reported once.

use super::Tracker;
use super::replies::Replied;
use super::thinning::Thinning;
use crate::detect::batch::Batch;
use crate::detect::probe::Probe;
use crate::detect::rows::Seen;
use crate::detect::sink::EventSink;
use crate::detect::snapshot::Evicted;
use crate::detect::table::Found;
use crate::detect::tuning::BATCH;

/// A probe of a batch that a rule hands down to the next slower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handed {
    /// Its number in the batch.
    pub at: usize,
    /// When it came, by the detector's time.
    pub now: u64,
    /// What to do with it.
    pub what: What,
}

/// What a slower rule does with a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It counts it; the source has a row by the faster rule.
    Count,
    /// It counts it; the source may be a forged one that never comes back.
    CountNew,
    /// It forgets its source: a faster rule has found the scan.
    Forget,
}

impl What {
    /// What the next rule does with a probe that was this to one that counted it.
    #[inline]
    pub(crate) fn after(seen: Seen) -> Option<Self> {
        match seen {
            Seen::Below => Some(Self::Count),
            Seen::AtDoor => Some(Self::CountNew),
            Seen::Hit => Some(Self::Forget),
            Seen::Scanning => None,
        }
    }
}

impl Tracker {
    /// The same, for a rule behind the first.
    pub(crate) fn behind(mut self) -> Self {
        self.thinning = Thinning::of(self.directory.capacity());
        self.rows.is_behind = true;
        self
    }

    /// Whether it is about networks, and not about the sources in them.
    pub(crate) fn are_networks(&self) -> bool {
        self.rows.are_networks()
    }

    /// Observes what it was handed, and leaves in the list what it hands down in its turn.
    pub(crate) fn observe_handed(
        &mut self,
        batch: &Batch,
        list: &mut Vec<Handed>,
        replied: &[Replied],
        sink: &mut EventSink<'_>,
    ) {
        let mut replied = if self.rows.keeps_replies() { replied } else { &[] };
        if self.rows.are_networks() {
            return self.observe_networks(batch, list, replied, sink);
        }
        if self.is_among_few_hosts(batch, list, sink) {
            return;
        }
        self.look_ahead_of(batch, list);
        let mut at = 0;
        list.retain_mut(|handed| {
            let looked_up = at;
            at += 1;
            self.answer_before(handed.at, batch, &mut replied, sink);
            // Nearly all of a flood.
            if handed.what == What::CountNew && self.passes_over(looked_up, handed.now) {
                return true;
            }
            let Some(probe) = batch.at(handed.at) else { return false };
            sink.now = handed.now;
            let what = self.act(looked_up, probe, handed.what, sink);
            handed.what = what.unwrap_or(handed.what);
            what.is_some()
        });
        self.answer_before(BATCH, batch, &mut replied, sink);
        self.end_batch();
    }

    /// Begins to fetch what the probes of a list will need. A source that has no row by a faster rule seldom has one by this: its set is
    /// enough, and in a flood that is half of the work.
    fn look_ahead_of(&mut self, batch: &Batch, list: &[Handed]) {
        let may_have_row = |at: usize| list.get(at).is_some_and(|handed| handed.what != What::CountNew);
        let mut last = None;
        for handed in list {
            let hash = batch.hash(handed.at);
            if let Some(arrived) = self.fetch(hash, last == Some(hash))
                && may_have_row(arrived)
            {
                self.look_up(arrived);
            }
            last = Some(hash);
        }
        for arrived in self.lookups.rest().filter(|&at| may_have_row(at)) {
            self.look_up(arrived);
        }
    }

    /// The same for a rule about networks. It comes behind the others, and what they find of one source is not forgotten of its
    /// network. It hands down what is no scan by it.
    fn observe_networks(
        &mut self,
        batch: &Batch,
        list: &mut Vec<Handed>,
        mut replied: &[Replied],
        sink: &mut EventSink<'_>,
    ) {
        let mut mine = [0; BATCH];
        let mut len = 0;
        let mut is_found = [false; BATCH];
        for (at, handed) in list.iter().enumerate() {
            let Some(probe) = batch.at(handed.at).filter(|_| handed.what != What::Forget) else { continue };
            if self.rows.concerns(probe) {
                self.look_ahead(self.hash(probe.source, probe.technique.class()), false);
                mine[len % BATCH] = at;
                len += 1;
            }
        }
        self.look_up_rest();
        for (at, &listed) in mine.iter().take(len).enumerate() {
            let handed = list[listed];
            let Some(probe) = batch.at(handed.at) else { continue };
            self.answer_before(handed.at, batch, &mut replied, sink);
            sink.now = handed.now;
            self.pass(sink);
            let seen = self.observe(at, probe, handed.what == What::Count, sink);
            is_found[listed % BATCH] = matches!(seen, Seen::Hit | Seen::Scanning);
        }
        self.answer_before(BATCH, batch, &mut replied, sink);
        self.end_batch();
        let mut found = is_found.iter();
        list.retain(|_| found.next() != Some(&true));
    }

    /// Does with a probe, which was looked up under this number, what is to be done. What the next rule does with it.
    fn act(&mut self, at: usize, probe: &Probe, what: What, sink: &mut EventSink<'_>) -> Option<What> {
        self.pass(sink);
        match what {
            What::Forget => Some(self.forget(probe, sink)),
            _ if !self.rows.concerns(probe) => Some(what),
            _ => match self.observe(at, probe, what == What::Count, sink) {
                Seen::AtDoor => Some(what),
                seen => What::after(seen),
            },
        }
    }

    /// Whether a source that may be a forged one is new here, and in a flood not looked at: then it is counted as given up.
    #[inline(always)]
    fn passes_over(&mut self, at: usize, now: u64) -> bool {
        let spot = self.lookups.at(at).spot;
        let is_passed_over = !self.thinning.takes(spot)
            && self.directory.is_nowhere(spot)
            && self.rows.concerns_all()
            && !self.rows.present.is_over(now);
        if is_passed_over {
            self.count_evicted(Evicted::Evidence);
        }
        is_passed_over
    }

    /// Whether so few hosts are asked that nobody can sweep them. Then the probes are only kept; once there are more, those that
    /// were kept are counted.
    fn is_among_few_hosts(&mut self, batch: &Batch, list: &[Handed], sink: &mut EventSink<'_>) -> bool {
        let window_nanos = self.rows.rule.window_nanos;
        let Some(few) = self.few_hosts.as_mut().filter(|few| !few.are_many()) else { return false };
        let mut are_few = true;
        for handed in list {
            let Some(probe) = batch.at(handed.at) else { continue };
            are_few &= few.take(probe, handed.now, handed.what, window_nanos);
        }
        if are_few {
            return true;
        }
        // Of this batch all is kept; it is counted behind the others, and what is handed down of it goes on from there.
        let mut kept = few.kept();
        kept.truncate(kept.len().saturating_sub(list.len()));
        if let Some((_, now, _)) = kept.first() {
            // Nothing is tracked: time goes back to where the first of them came.
            self.start_over(*now);
        }
        for (probe, now, what) in &kept {
            sink.now = *now;
            self.look_ahead(self.hash(probe.source, probe.technique.class()), false);
            self.look_up_rest();
            self.act(0, probe, *what, sink);
            self.end_batch();
        }
        if let Some(few) = &mut self.few_hosts {
            few.begin(kept);
        }
        false
    }

    /// Where nobody is tracked any more, a rule that counts hosts rests until there are many hosts again.
    pub(super) fn rest_among_few_hosts(&mut self) {
        let is_empty = self.used() == 0 && self.directory.on_probation() == 0;
        if let Some(few) = self.few_hosts.as_mut().filter(|_| is_empty) {
            few.are_few();
        }
    }

    /// A faster rule has found the scan of a source: what this one counted of it is part of that, and its own scan is over. So it
    /// is for those behind it.
    fn forget(&mut self, probe: &Probe, sink: &mut EventSink<'_>) -> What {
        let class = probe.technique.class();
        let spot = self.spot(probe.source, class);
        let is_its = |row: u32| self.rows.is_of_source(row, probe.source, class);
        match self.directory.find(spot, is_its) {
            (_, Found::Row(row)) => {
                self.rows.expire(row, sink);
                self.vacate(row, sink);
                self.free.push(row);
            }
            (slot, Found::Probation) => self.directory.clear(slot),
            (_, Found::Nothing) => {}
        }
        What::Forget
    }
}
