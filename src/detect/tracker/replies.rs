//! What came back to the sources that are tracked.

use super::Tracker;
use crate::detect::batch::{Batch, Lookup};
use crate::detect::probe::{Class, Probe, Reply};
use crate::detect::sink::EventSink;
use crate::detect::table::Spot;

/// A reply of a batch. A slower rule looks at it between the probes before it and those behind: in a file the next one may come minutes
/// later, and until then the answer is missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replied {
    /// Its number in the batch.
    pub at: usize,
    /// When it came, by the detector's time.
    pub now: u64,
}

impl Tracker {
    /// Notes the answer to a probe, the gathered one of this number. Where its source has no row, nothing is kept of it: a flood
    /// that the host answers costs no more than a look.
    #[inline]
    pub(crate) fn answer(&mut self, at: usize, probe: &Probe, reply: Reply, sink: &mut EventSink<'_>) {
        let Lookup { spot, row } = self.lookups.at(at);
        if self.rows.is_of(row, probe.source, Class::Syn) {
            self.rows.expire(row, sink);
            self.rows.answer(row, probe, reply);
        } else {
            self.answer_at(spot, probe, reply, sink);
        }
    }

    fn answer_at(&mut self, spot: Spot, probe: &Probe, reply: Reply, sink: &mut EventSink<'_>) {
        let rows = &self.rows;
        let is_its = |row: u32| rows.is_of_source(row, probe.source, Class::Syn);
        if let Some(row) = self.directory.find(spot, is_its).1.row() {
            self.rows.expire(row, sink);
            self.rows.answer(row, probe, reply);
        }
    }

    /// Notes what came before the probe of this number, of replies of whose batch the probes are handed to a rule behind the first.
    #[inline]
    pub(super) fn answer_before(
        &mut self,
        at: usize,
        batch: &Batch,
        replied: &mut &[Replied],
        sink: &mut EventSink<'_>,
    ) {
        while let Some((next, rest)) = replied.split_first().filter(|(next, _)| next.at < at) {
            *replied = rest;
            if let Some((probe, reply)) = batch.at(next.at).and_then(|probe| Some((probe, probe.reply?)))
                && self.rows.concerns(probe)
            {
                sink.now = next.now;
                self.pass(sink);
                self.answer_at(self.spot(probe.source, Class::Syn), probe, reply, sink);
            }
        }
    }
}
