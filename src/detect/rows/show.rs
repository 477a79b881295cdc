//! What a row shows: its open scan as it stands, and what it has for a series.

use super::Rows;
use crate::detect::retired::Candidate;
use crate::detect::row::Row;
use crate::detect::scan::{Kind, Scan, ScanId, Source, SourceSample};
use crate::detect::time::timeline::Timeline;
use crate::detect::tuning::EPOCHS;
use crate::packet::Timestamp;

impl Rows {
    /// The open scan of a row as it stands.
    pub(crate) fn scan(&self, at: u32, timeline: &Timeline) -> Scan {
        let row = &self.rows[at as usize];
        let source = self.source(row);
        let started = timeline.to_capture(row.since);
        let detected = self.detected(row, timeline);
        let (sample_ports, asked) = self.store.named(&row.ports, at);
        let (tool, tool_confidence) = row.tool.told();
        let (name, provenance) = self.attribution(at, row);
        Scan {
            id: ScanId::of(source, row.class(), detected),
            source,
            source_address: row.address,
            name,
            provenance,
            kind: row.episode.kind(),
            technique: row.technique.winner(),
            window_nanos: self.rule.window_nanos,
            started,
            detected,
            last_probe: timeline.to_capture(row.last_probe).max(detected),
            ended: None,
            probes: u64::from(row.probes),
            ports: row.ports.count(),
            distinct_ports: row.ports.union(),
            lower_bound: row.ports.is_lower_bound(),
            peak_distinct_ports: row.episode.peak(),
            distinct_sources: if self.are_networks() { row.hosts.count() } else { 1 },
            distinct_hosts: self.hosts(at),
            busiest_host_ports: self.store.ports_by_host(&row.ports, at).into_iter().max().unwrap_or(0),
            target: row.target(),
            first_target: row.first_target(),
            sample_ports,
            asked,
            sample_sources: SourceSample::NONE,
            tool,
            tool_confidence,
            signature: row.signature,
            replies: self.replies_of_scan(at),
            evidence: self.grades(at).0,
        }
    }

    /// When the open scan of a row was detected. A clock that was set back meanwhile must not say that it was before it began.
    fn detected(&self, row: &Row, timeline: &Timeline) -> Timestamp {
        timeline.to_capture(row.detected()).max(timeline.to_capture(row.since))
    }

    /// Whose row it is.
    pub(crate) fn source(&self, row: &Row) -> Source {
        Source::by(row.address, &self.parties)
    }

    /// Hands over the open scans by the time of their hit, ties by source and class, one by one: there can be as many as rows.
    pub(crate) fn each_open_scan(&self, timeline: &Timeline, take: &mut dyn FnMut(Scan)) {
        let mut open: Vec<_> = self
            .used()
            .filter(|(_, row)| row.episode.is_open())
            .map(|(at, row)| ((self.detected(row, timeline), self.source(row), row.class()), at))
            .collect();
        open.sort_unstable();
        open.into_iter().for_each(|(_, at)| take(self.scan(at, timeline)));
    }

    /// Hosts asked since the run of probes began: all of them, as far as that was counted, or an estimate.
    fn hosts(&self, at: u32) -> u32 {
        let row = &self.rows[at as usize];
        if self.are_networks() {
            // Which hosts were asked is not counted there: of two it is known.
            return 1 + u32::from(row.first_target().0 != row.target().0);
        }
        match self.peers.as_ref().map(|peers| peers.since_begin(at)) {
            Some((hosts, true)) => hosts,
            Some((most, false)) => most.max(row.hosts.count()),
            None => row.hosts.count(),
        }
    }

    /// What a row has for a series.
    pub(crate) fn candidate(&self, at: u32) -> Candidate {
        let row = &self.rows[at as usize];
        let (answered, unanswered) = self.replies_to(at).unzip();
        let peak = row.peaks.peak(self.present.epoch);
        let has_scanned = row.last_hit.is_some() && peak >= self.rule.threshold();
        Candidate {
            source: self.source(row),
            peak,
            peaks: row.peaks,
            ports: self.size(at),
            hosts: self.hosts(at),
            busiest: row.busiest(&self.store, at),
            // Shown as long as the peak that came with it.
            last_hit: row.last_hit.filter(|&hit| self.present.epoch_of(hit) + EPOCHS >= self.present.epoch),
            scans: row.episode.is_open() || has_scanned,
            last_probe: row.last_probe,
            tool: row.tool.told().0,
            answered,
            unanswered,
            evidence: self.grades(at).1,
        }
    }

    /// The greatest count of any source within the hold.
    pub(crate) fn greatest_peak(&self) -> u32 {
        self.overall.peak(self.present.epoch)
    }

    /// Open scans by `Kind as usize`.
    pub(crate) fn open_scans(&self) -> [u64; Kind::ALL.len()] {
        self.open_scans
    }
}
