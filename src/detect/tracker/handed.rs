//! What a slower rule gets of a batch: the probes that the faster ones hand down to it. Of an open scan they hand down none, for
//! one scan is reported once.

use super::Tracker;
use crate::detect::batch::Batch;
use crate::detect::probe::Probe;
use crate::detect::rows::Seen;
use crate::detect::scan::ScanEvent;
use crate::detect::sink::EventSink;
use crate::detect::table::Found;
use crate::detect::time::timeline::Timeline;

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
    /// It counts it.
    Count,
    /// It forgets its source: a faster rule has found the scan.
    Forget,
}

impl What {
    /// What the next rule does with a probe that was this to one that counted it.
    #[inline]
    pub(crate) fn after(seen: Seen) -> Option<Self> {
        match seen {
            Seen::Below => Some(Self::Count),
            Seen::Hit => Some(Self::Forget),
            Seen::Scanning => None,
        }
    }
}

impl Tracker {
    /// Observes what it was handed, and leaves in the list what it hands down in its turn.
    pub(crate) fn observe_handed(
        &mut self,
        batch: &Batch,
        list: &mut Vec<Handed>,
        timeline: &Timeline,
        events: &mut dyn FnMut(ScanEvent),
    ) {
        let mut last = None;
        for probe in list.iter().filter_map(|handed| batch.at(handed.at)) {
            let who = Some((probe.source, probe.technique.class()));
            self.look_ahead(probe, last == who);
            last = who;
        }
        self.look_up_rest();
        let mut at = 0;
        list.retain_mut(|handed| {
            let Some(probe) = batch.at(handed.at) else { return false };
            let mut sink = EventSink { timeline, now: handed.now, events };
            self.pass(&mut sink);
            let what = match handed.what {
                What::Forget => Some(self.forget(probe, &mut sink)),
                What::Count if self.rows.concerns(probe) => What::after(self.observe(at, probe, &mut sink)),
                What::Count => Some(What::Count),
            };
            at += 1;
            handed.what = what.unwrap_or(handed.what);
            what.is_some()
        });
        self.end_batch();
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
