//! The life of a row: what its source did on probation comes into it, what it counts leaves the window, a scan ends, a run of probes
//! is over.

use super::Rows;
use crate::detect::distinct::PortStore;
use crate::detect::distinct::peaks::OverallPeak;
use crate::detect::distinct::peers::PeerStore;
use crate::detect::scan::{EventKind, Scan};
use crate::detect::sink::EventSink;
use crate::detect::table::Probation;
use crate::detect::time::quantum;
use crate::detect::verdict::{self, Counts};

impl Rows {
    /// Counts the ports that a source asked for on probation, for its new row; of hosts, what the doorkeeper kept of them.
    pub(crate) fn put_earlier(&mut self, at: u32, source: Probation, now: u64) {
        let (present, row) = (&self.present, &mut self.rows[at as usize]);
        let age = u64::from(quantum::age(present.stamp, source.stamp())).min(present.quantum);
        row.since = now.saturating_sub(age * present.quantum_nanos);
        row.probes = source.count();
        row.burst_peak = source.count();
        // A burst sends all it has at once and is gone; a scanner comes back.
        row.returns = u8::from(source.gap() > 0);
        let older = present.quantum - age;
        for (mark, then) in source.ports().into_iter().zip([older, older + u64::from(source.gap())]) {
            match &mut self.peers {
                // A short list holds two.
                None => drop(self.store.record(&mut row.ports, at, mark, 0, then)),
                Some(peers) => peers.record_short(at, mark, then),
            }
            row.quantum = then;
        }
        // That it comes now is no further time that it came back: a flood of sources that pace their ports would keep its youngest
        // for as long as scanners, and there are more of them.
        row.last_probe = now;
    }

    /// Brings a row to the present: ports leave the window, a scan may end, a burst may finish.
    #[inline]
    pub(crate) fn expire(&mut self, at: u32, sink: &mut EventSink<'_>) {
        let (from, to) = (self.rows[at as usize].quantum, self.present.quantum);
        if from != to && self.keeps_answers() {
            self.note_replies(at, from, to);
        }
        let row = &mut self.rows[at as usize];
        if !row.episode.is_below() && (from == to || PortStore::none_leaves(&row.ports, from, to)) {
            let none_leaves = |peers: &PeerStore| from == to || peers.none_leaves(at, from, to);
            if self.peers.as_ref().is_none_or(none_leaves) {
                row.quantum = to;
                return;
            }
        }
        let over = self.ended(at, sink.now()).map(|ended| {
            // The record says how things stood when the scan ended, whenever that is noticed.
            let then = (ended / self.present.quantum_nanos).clamp(from, to);
            let ports = self.store.count_at(&self.rows[at as usize].ports, at, from, then);
            let scan = self.scan(at, sink.timeline);
            Scan { ports, ended: Some(sink.to_capture(ended).max(scan.last_probe)), ..scan }
        });
        let row = &mut self.rows[at as usize];
        row.note_busiest(&self.store, at);
        let mut counted = self.store.expire(&mut row.ports, at, from, to);
        row.quantum = to;
        if let Some(peers) = &mut self.peers {
            counted = peers.expire(at, from, to);
        }
        if counted == 0 {
            self.finish_burst(at);
        }
        if let Some(scan) = over {
            self.close(at, scan, sink);
        }
    }

    /// Whether a row has something to report, no open scan, and loses nothing by the present quantum, to which it is brought then. One
    /// look says so of most rows, and a sweep looks at all.
    #[inline]
    pub(crate) fn stays(&mut self, at: u32) -> bool {
        let keeps_answers = self.keeps_answers();
        let row = &mut self.rows[at as usize];
        let (from, to) = (row.quantum, self.present.quantum);
        // Ports grow old without an answer, even where none leaves.
        let stays = row.burst_peak > 0
            && !row.episode.is_open()
            && (from == to
                || !keeps_answers
                    && PortStore::none_leaves(&row.ports, from, to)
                    && self.peers.as_ref().is_none_or(|peers| peers.none_leaves(at, from, to)));
        if stays {
            row.quantum = to;
        }
        stays
    }

    /// Notes whether an open scan has fallen below the threshold by now. When it ended, if it has.
    pub(crate) fn ended(&mut self, at: u32, now: u64) -> Option<u64> {
        let row = &mut self.rows[at as usize];
        let (from, to) = (row.quantum, self.present.quantum);
        if row.episode.is_above() && from != to {
            let (threshold, peers) = (self.rule.threshold(), self.peers.as_ref());
            let counts = Counts {
                ports: self.store.count_at(&row.ports, at, from, to),
                peers: peers.map_or(0, |peers| peers.count_at(at, from, to)),
            };
            if verdict::kind(&self.rule, counts).is_none() {
                let fell = match peers {
                    None => self.store.falls_below(&row.ports, at, threshold, from),
                    Some(peers) => peers.falls_below(at, threshold, from),
                };
                row.episode.fall(fell.min(to));
            }
        }
        let ended = row.episode.ends_at(self.present.quantum_nanos, self.rule.quiet_nanos)?;
        (ended <= now).then_some(ended)
    }

    /// Ends an open scan.
    fn close(&mut self, at: u32, scan: Scan, sink: &mut EventSink<'_>) {
        sink.report(EventKind::Ended, scan);
        let row = &mut self.rows[at as usize];
        self.open_scans[row.episode.kind() as usize] -= 1;
        row.episode.end();
        self.store.end_union(&mut row.ports, at, row.quantum);
        self.forget_attribution(at);
        // What comes next is a new run of probes, even if the last port has not left the window yet.
        self.finish_burst(at);
    }

    /// The run of probes of a row is over.
    fn finish_burst(&mut self, at: u32) {
        let peak = std::mem::take(&mut self.rows[at as usize].burst_peak);
        if peak > 0 {
            self.counters.finish_burst(peak);
        }
    }

    /// Ends what goes on in a row that is given up: an open scan is reported as ended now.
    pub(crate) fn end(&mut self, at: u32, sink: &mut EventSink<'_>) {
        if self.rows[at as usize].episode.is_open() {
            let ended = Some(sink.to_capture(sink.now()));
            let scan = Scan { ended, ..self.scan(at, sink.timeline) };
            self.close(at, scan, sink);
        }
        self.finish_burst(at);
    }

    /// Frees a row in which nothing goes on.
    pub(crate) fn free(&mut self, at: u32) {
        let row = &mut self.rows[at as usize];
        self.store.release(&mut row.ports, at);
        if let Some(peers) = &mut self.peers {
            peers.release(at);
        }
        row.is_used = false;
    }

    /// Whether a row has nothing left to report: no burst, no scan, and no peak that earns a series.
    pub(crate) fn is_idle(&self, at: u32) -> bool {
        let row = &self.rows[at as usize];
        row.burst_peak == 0
            && !row.episode.is_open()
            && self.size(at) == 0
            && row.peaks.peak(self.present.epoch) < self.least_published()
    }

    /// Another hold from now on: peaks that were kept by the old one mean nothing then.
    pub(crate) fn set_hold(&mut self, hold_nanos: u64) {
        self.present.set_hold(hold_nanos);
        self.overall = OverallPeak::NONE;
    }

    /// Takes other memory in place of its own, in which nothing is left.
    pub(crate) fn take_memory(&mut self, other: Self) {
        (self.rows, self.store, self.peers) = (other.rows, other.store, other.peers);
        self.replies = other.replies;
    }
}
