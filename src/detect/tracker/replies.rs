//! What came back to the sources that are tracked.

use super::Tracker;
use crate::detect::batch::{Batch, Lookup};
use crate::detect::probe::{Class, Probe, Reply};
use crate::detect::sink::EventSink;
use crate::detect::table::Spot;

impl Tracker {
    /// Notes the answer to a probe, the gathered one of this number. Where its source has no row, nothing is kept of it: a flood
    /// that the host answers costs no more than a look.
    #[inline]
    pub(crate) fn answer(&mut self, at: usize, probe: &Probe, reply: Reply, sink: &mut EventSink<'_>) {
        let Lookup { spot, row } = self.lookups.at(at);
        if self.rows.is_of(row, probe.source, Class::Syn) {
            self.rows.expire(row, sink);
            self.rows.answer(row, probe.port, reply);
        } else {
            self.answer_at(spot, probe, reply, sink);
        }
    }

    fn answer_at(&mut self, spot: Spot, probe: &Probe, reply: Reply, sink: &mut EventSink<'_>) {
        let rows = &self.rows;
        let is_its = |row: u32| rows.is_of_source(row, probe.source, Class::Syn);
        if let Some(row) = self.directory.find(spot, is_its).1.row() {
            self.rows.expire(row, sink);
            self.rows.answer(row, probe.port, reply);
        }
    }

    /// Notes the answers in a batch whose probes it was handed.
    pub(crate) fn observe_replies(&mut self, batch: &Batch, sink: &mut EventSink<'_>) {
        if !self.rows.keeps_replies() {
            return;
        }
        self.pass(sink);
        for probe in batch.iter() {
            if let Some(reply) = probe.reply {
                self.answer_at(self.spot(probe.source, Class::Syn), probe, reply, sink);
            }
        }
    }
}
