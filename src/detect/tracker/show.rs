//! What a tracker shows: open scans, the snapshot of each tick, and what it has of one source.

use super::Tracker;
use crate::detect::probe::Class;
use crate::detect::retired::{Candidate, Top};
use crate::detect::row::Row;
use crate::detect::rule::{Rule, Subject};
use crate::detect::scan::{Replies, Scan, Source};
use crate::detect::snapshot::{PublishedSource, Snapshot};
use crate::detect::table::Found;
use crate::detect::time::timeline::Timeline;
use crate::detect::tuning::SCANS_SHOWN;
use crate::detect::verdict;
use crate::detect::wanted::PortSources;
use std::collections::HashSet;
use std::net::IpAddr;

impl Tracker {
    /// The rule by which it judges.
    pub(crate) fn rule(&self) -> &Rule {
        &self.rows.rule
    }

    /// Whether its rule judges the source of an address: that for hopping leaves out IPv4, and what is one party by more than a prefix.
    pub(crate) fn judges(&self, address: IpAddr) -> bool {
        match self.rows.rule.subject {
            Subject::Source | Subject::Target => true,
            Subject::Network(_) => Source::may_hop(address, &self.rows.parties),
        }
    }

    /// The source that an address counts for.
    pub(crate) fn source(&self, address: IpAddr) -> Source {
        Source::by(address, &self.rows.parties)
    }

    /// Hands over the open scans by the time of their hit, ties by source and class, one by one: there can be as many as rows.
    pub(crate) fn each_open_scan(&self, timeline: &Timeline, take: &mut dyn FnMut(Scan)) {
        self.rows.each_open_scan(timeline, take);
    }

    /// What it shows of itself, as of the latest sweep.
    pub(crate) fn snapshot(&self, timeline: &Timeline) -> Snapshot {
        let (greatest, suppressed_sources, saturated) = self.greatest();
        let rows = greatest.iter().flat_map(|candidate| self.rows_of(candidate.source));
        let open = rows.filter(|&at| self.row(at).episode.is_open()).take(SCANS_SHOWN);
        let mut scans: Vec<Scan> = open.map(|at| self.rows.scan(at, timeline)).collect();
        scans.sort_unstable_by_key(|scan| scan.id);
        let epoch = self.rows.present.epoch;
        let published = |candidate: Candidate| PublishedSource {
            source: candidate.source,
            name: self.rows.names.of(candidate.source.network()),
            provenance: self.rows.databases.of(candidate.source.address),
            distinct_ports: candidate.ports,
            peak_distinct_ports: candidate.peak,
            distinct_hosts: candidate.hosts,
            ports_of_busiest_host: candidate.busiest,
            last_hit: candidate.last_hit.map(|at| timeline.to_capture(at)),
            last_probe: timeline.to_capture(candidate.last_probe),
            tool: candidate.tool,
            answered_ports: candidate.answered,
            peak_unanswered_ports: candidate.unanswered.map(|peaks| peaks.peak(epoch)),
            evidence: candidate.evidence,
        };
        Snapshot {
            time: timeline.to_capture(timeline.now()),
            window_nanos: self.rows.rule.window_nanos,
            threshold: self.rows.rule.threshold(),
            block_ports: self.rows.rule.ports.filter(|_| self.rows.rule.counts_peers()),
            subject: self.rows.rule.subject,
            kinds: verdict::kinds(&self.rows.rule),
            parties: self.rows.parts.clone(),
            hold_nanos: self.limits.hold_nanos,
            counters: self.rows.counters,
            names: self.rows.names.clone(),
            named_hits: self.rows.named_hits.clone(),
            open_scans: self.rows.open_scans(),
            scans,
            peak_distinct_ports: self.rows.greatest_peak(),
            tracked_sources: self.used() as u64 + self.directory.on_probation(),
            tracked_sources_limit: self.directory.capacity(),
            saturated_sources: saturated,
            suppressed_sources,
            sources: greatest.into_iter().map(published).collect(),
            published_sources_limit: self.limits.max_sources as u64,
            port_sources: PortSources::default(),
            slower: Vec::new(),
        }
    }

    /// The greatest of all that are worth a series, how many more are, and how many rows are saturated. A source that is worth it
    /// in several classes has one series; if it has none, it counts among the others once for each.
    fn greatest(&self) -> (Vec<Candidate>, u64, u64) {
        let (limit, least) = (self.limits.max_sources, self.rows.least_published());
        // So that they are enough if each comes in every class.
        let mut greatest = Top::new(limit * Class::ALL.len(), self.rows.rule.threshold());
        let (mut returned, epoch) = (Vec::new(), self.rows.present.epoch);
        for earlier in self.retired.iter() {
            returned.extend(self.rows_of(earlier.source));
            let candidate = self.candidate(earlier.source).unwrap_or(*earlier);
            if self.is_worth_a_series(&candidate) {
                greatest.offer(candidate);
            }
        }
        let mut saturated = 0;
        // In a flood a slower rule has a full table of which it shows nothing.
        let may_show = self.may_show_rows();
        for (at, row) in self.rows.used().take_while(|_| may_show) {
            saturated += u64::from(self.rows.is_saturated(at));
            if row.peaks.peak(epoch) >= least && !returned.contains(&at) {
                let candidate = self.rows.candidate(at);
                if self.is_worth_a_series(&candidate) {
                    greatest.offer(candidate);
                }
            }
        }
        let offered = greatest.offered();
        let (sources, again) = self.once_each(greatest);
        let suppressed = offered - again - sources.len() as u64;
        (sources, suppressed, saturated)
    }

    /// Whether a row can have earned a series, or be saturated, by what happened so far.
    fn may_show_rows(&self) -> bool {
        let has_found = self.rows.counters.hits.iter().any(|&hits| hits > 0);
        let may = self.limits.min_ports <= u16::MAX.into() || has_found || self.rows.has_outgrown;
        let shows = |at: u32| self.rows.is_saturated(at) || self.is_worth_a_series(&self.rows.candidate(at));
        debug_assert!(may || !self.rows.used().any(|(at, _)| shows(at)), "nothing is left out");
        may
    }

    /// Whether a source earns a series: by the first rule with its ports, by a slower one with a scan, however long that goes on.
    pub(super) fn is_worth_a_series(&self, candidate: &Candidate) -> bool {
        let has_scanned = self.limits.min_ports <= u16::MAX.into() || candidate.scans;
        candidate.peak >= self.rows.least_published() && has_scanned
    }

    /// As many of them as may have a series, each source once, and how many came again in another class.
    fn once_each(&self, greatest: Top) -> (Vec<Candidate>, u64) {
        let (mut sources, mut seen, mut again) = (Vec::new(), HashSet::new(), 0);
        for candidate in greatest.into_sorted() {
            if !seen.insert(candidate.source) {
                again += 1;
            } else if sources.len() < self.limits.max_sources {
                sources.push(self.candidate(candidate.source).unwrap_or(candidate));
            }
        }
        let threshold = self.rows.rule.threshold();
        sources.sort_unstable_by(|one, other| one.in_publishing_order(other, threshold));
        (sources, again)
    }

    /// Where a source is, by class.
    pub(crate) fn places(&self, source: Source) -> impl Iterator<Item = Found> {
        Class::ALL.into_iter().map(move |class| {
            let is_its = |at: u32| {
                let row = self.row(at);
                row.class() == class && self.rows.source(row) == source
            };
            self.directory.find(self.directory.spot(self.hash_source(source, class)), is_its).1
        })
    }

    /// The rows of a source, one for each class that it has asked in.
    pub(crate) fn rows_of(&self, source: Source) -> impl Iterator<Item = u32> {
        self.places(source).filter_map(Found::row)
    }

    /// What became of the ports of a row, where that is looked for.
    pub(crate) fn replies(&self, at: u32) -> Option<Replies> {
        self.rows.replies_of_scan(at)
    }

    /// A row that is there.
    pub(crate) fn row(&self, at: u32) -> &Row {
        self.rows.row(at)
    }

    /// What a source has for a series: the greatest of its classes, and what was kept of it when it lost a row.
    pub(crate) fn candidate(&self, source: Source) -> Option<Candidate> {
        let epoch = self.rows.present.epoch;
        let classes = self.rows_of(source).map(|row| self.rows.candidate(row));
        let candidate = classes.reduce(|mut all, class| {
            all.beside(&class, epoch);
            all
        });
        let Some(earlier) = self.retired.find(source) else { return candidate };
        let mut candidate = candidate.unwrap_or(*earlier);
        candidate.merge(earlier, epoch);
        Some(candidate)
    }
}
