//! What a host shows: its open scan as it stands, and what there is of all.

use super::Targets;
use super::row::Target;
use crate::detect::provenance::Provenance;
use crate::detect::ranges::PortRanges;
use crate::detect::scan::{Grade, Kind, PortSample, Scan, ScanId, Source};
use crate::detect::snapshot::Snapshot;
use crate::detect::time::timeline::Timeline;
use crate::detect::tuning::SCANS_SHOWN;
use crate::detect::verdict;
use crate::detect::wanted::PortSources;

impl Targets {
    /// The open scan of a row as it stands.
    pub(super) fn scan(&self, at: usize, timeline: &Timeline) -> Scan {
        let row = &self.rows[at];
        let started = timeline.to_capture(row.run.since);
        let detected = timeline.to_capture(row.detected.0).max(started);
        let (tool, tool_confidence) = row.run.tool.told();
        let mut listed = Vec::new();
        match row.wide {
            Some(place) => listed.extend(self.wide.each_port(place)),
            None => listed.extend(row.slots.iter().map(|slot| slot.port)),
        }
        listed.sort_unstable();
        let ports = listed.len() as u32;
        let sources = row.wide.map_or(0, |place| self.wide.sources(place)).max(row.slots.owners());
        Scan {
            id: ScanId::of_target(row.host, row.class, detected),
            source: Source::MANY,
            source_address: row.detected.1,
            name: None,
            provenance: Provenance::default(),
            kind: Kind::Distributed,
            technique: row.run.technique.winner(),
            window_nanos: self.rule.window_nanos,
            started,
            detected,
            last_probe: timeline.to_capture(row.last_of_scan).max(detected),
            ended: None,
            probes: row.probes,
            ports: row.slots.len(),
            distinct_ports: ports.max(row.episode.peak()),
            lower_bound: row.is_cut,
            peak_distinct_ports: row.episode.peak(),
            distinct_sources: sources,
            distinct_hosts: 1,
            busiest_host_ports: ports.max(row.episode.peak()),
            target: (row.host, row.run.first_port),
            first_target: (row.host, row.run.first_port),
            sample_ports: PortSample::lowest(listed.iter().copied()),
            asked: PortRanges::of(listed),
            sample_sources: row.sources.sorted(),
            tool,
            tool_confidence,
            signature: row.run.signature,
            evidence: Grade::default(),
            replies: None,
        }
    }

    /// The open scans in which a source owns a port at this moment, and how many it owns; at most so many, by the time of their hit.
    pub(crate) fn scans_with(&self, source: Source, timeline: &Timeline, most: usize) -> Vec<(Scan, u32)> {
        let owner = self.concerns.owner(source.address, &self.source_hasher);
        let owned = |row: &Target| row.slots.iter().filter(|slot| slot.owner == owner).count() as u32;
        let open = self.used().filter(|&at| self.rows[at].episode.is_open());
        let mut with: Vec<_> =
            open.map(|at| (at, owned(&self.rows[at]))).filter(|(_, ports)| *ports > 0).collect();
        with.sort_unstable_by_key(|&(at, _)| {
            (self.rows[at].detected.0, self.rows[at].host, self.rows[at].class)
        });
        with.into_iter().take(most).map(|(at, ports)| (self.scan(at, timeline), ports)).collect()
    }

    /// Hands over the open scans by the time of their hit, ties by host and class.
    pub(crate) fn each_open_scan(&self, timeline: &Timeline, take: &mut dyn FnMut(Scan)) {
        let mut open: Vec<_> = self
            .used()
            .filter(|&at| self.rows[at].episode.is_open())
            .map(|at| ((self.rows[at].detected.0, self.rows[at].host, self.rows[at].class), at))
            .collect();
        open.sort_unstable();
        open.into_iter().for_each(|(_, at)| take(self.scan(at, timeline)));
    }

    /// What it shows of itself, as of the latest tick.
    pub(crate) fn snapshot(&self, timeline: &Timeline) -> Snapshot {
        let mut scans = Vec::new();
        self.each_open_scan(timeline, &mut |scan| {
            if scans.len() < SCANS_SHOWN {
                scans.push(scan);
            }
        });
        scans.sort_unstable_by_key(|scan| scan.id);
        let mut open_scans = [0; Kind::ALL.len()];
        open_scans[Kind::Distributed as usize] = self.open;
        Snapshot {
            time: timeline.to_capture(timeline.now()),
            window_nanos: self.rule.window_nanos,
            threshold: self.rule.threshold(),
            block_ports: None,
            subject: self.rule.subject,
            kinds: verdict::kinds(&self.rule),
            hold_nanos: self.limits.hold_nanos,
            counters: self.counters,
            open_scans,
            scans,
            peak_distinct_ports: self.overall.peak(self.present.epoch),
            tracked_sources: self.used().count() as u64,
            tracked_sources_limit: self.rows.len() as u64,
            saturated_sources: 0,
            sources: Vec::new(),
            published_sources_limit: self.limits.max_sources as u64,
            suppressed_sources: 0,
            parties: self.concerns.parties().clone(),
            port_sources: PortSources::default(),
            names: Default::default(),
            named_hits: Default::default(),
            slower: Vec::new(),
        }
    }
}
