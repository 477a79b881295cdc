//! What a tracker shows: open scans, the snapshot of each tick, and what it has of one source.

use super::Tracker;
use crate::detect::retired::{Candidate, Top};
use crate::detect::row::Row;
use crate::detect::scan::{Scan, Source};
use crate::detect::snapshot::{PublishedSource, Snapshot};
use crate::detect::table::Found;
use crate::detect::time::timeline::Timeline;

impl Tracker {
    /// Hands over the open scans by the time of their hit, ties by source, one by one: there can be as many as rows.
    pub(crate) fn each_open_scan(&self, timeline: &Timeline, take: &mut dyn FnMut(Scan)) {
        self.rows.each_open_scan(timeline, take);
    }

    /// What it shows of itself, as of the latest sweep.
    pub(crate) fn snapshot(&self, timeline: &Timeline) -> Snapshot {
        let (greatest, saturated) = self.greatest();
        let suppressed_sources = greatest.suppressed();
        let published = |candidate: Candidate| PublishedSource {
            source: candidate.source,
            distinct_ports: candidate.ports,
            peak_distinct_ports: candidate.peak,
            distinct_hosts: candidate.hosts,
            last_hit: candidate.last_hit.map(|at| timeline.to_capture(at)),
            last_probe: timeline.to_capture(candidate.last_probe),
        };
        Snapshot {
            time: timeline.to_capture(timeline.now()),
            window_nanos: self.rows.rule.window_nanos,
            threshold: self.rows.rule.threshold,
            hold_nanos: self.limits.hold_nanos,
            counters: self.rows.counters,
            open_scans: self.rows.open_scans(),
            peak_distinct_ports: self.rows.greatest_peak(),
            tracked_sources: self.used() as u64 + self.directory.on_probation(),
            tracked_sources_limit: self.directory.capacity(),
            saturated_sources: saturated,
            suppressed_sources,
            sources: greatest.into_sorted().map(published).collect(),
            published_sources_limit: self.limits.max_sources as u64,
        }
    }

    /// The greatest of all that are worth a series, and how many sources are saturated.
    fn greatest(&self) -> (Top, u64) {
        let (mut greatest, least) = (Top::new(self.limits.max_sources), self.least_published());
        let (mut returned, epoch) = (Vec::new(), self.rows.present.epoch);
        for earlier in self.retired.iter() {
            let mut candidate = match self.place(earlier.source) {
                Found::Row(row) => {
                    returned.push(row);
                    self.rows.candidate(self.rows.row(row))
                }
                _ => *earlier,
            };
            candidate.merge(earlier, epoch);
            if candidate.peak >= least {
                greatest.offer(candidate);
            }
        }
        let mut saturated = 0;
        for (at, row) in self.rows.used() {
            saturated += u64::from(row.ports.is_saturated());
            if row.peaks.peak(epoch) >= least && !returned.contains(&at) {
                greatest.offer(self.rows.candidate(row));
            }
        }
        (greatest, saturated)
    }

    /// Where a source is.
    pub(crate) fn place(&self, source: Source) -> Found {
        let is_its = |row: u32| self.rows.is_of_source(row, source.address);
        self.directory.find(self.spot(source.address), is_its).1
    }

    /// The row of a source that has one, and what it has for a series.
    pub(crate) fn tracked(&self, at: u32) -> (&Row, Candidate) {
        let row = self.rows.row(at);
        let mut candidate = self.rows.candidate(row);
        if let Some(earlier) = self.retired.find(candidate.source) {
            candidate.merge(earlier, self.rows.present.epoch);
        }
        (row, candidate)
    }

    /// What was kept of a source that lost its row.
    pub(crate) fn retired(&self, source: Source) -> Option<&Candidate> {
        self.retired.find(source)
    }
}
