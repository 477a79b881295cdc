//! What a detector shows of itself at a tick: plain values, immutable once made.

use crate::detect::names::{Alerts, ByName, Name, Names};
use crate::detect::party::Parties;
use crate::detect::probe::{Family, Probe, Technique, Tool};
use crate::detect::provenance::Provenance;
use crate::detect::scan::{Grade, Kind, Scan, Source};
use crate::detect::subject::Subject;
use crate::detect::tuning::BURST_BOUNDS;
use crate::detect::wanted::PortSources;
use crate::detect::worth::Rank;
use crate::packet::Timestamp;
use std::cmp::Reverse;

/// Why a probe was not counted for its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// The policy ignores the source's network.
    Source,
    /// The policy ignores the port.
    Port,
    /// This host's connection to itself.
    Own,
    /// No packet can come from there: what answers would never arrive.
    Martian,
    /// The policy ignores the host that was asked.
    Destination,
    /// The policy ignores this port where this source asks for it.
    SourcePort,
    /// The policy ignores this host where this source asks it.
    SourceDestination,
}

impl Ignored {
    /// Every reason.
    pub const ALL: [Ignored; 7] = [
        Ignored::Source,
        Ignored::Port,
        Ignored::Own,
        Ignored::Martian,
        Ignored::Destination,
        Ignored::SourcePort,
        Ignored::SourceDestination,
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Ignored::Source => "source",
            Ignored::Port => "port",
            Ignored::Own => "own",
            Ignored::Martian => "martian",
            Ignored::Destination => "destination",
            Ignored::SourcePort => "source_port",
            Ignored::SourceDestination => "source_destination",
        }
    }
}

/// Why a source was given up before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evicted {
    /// A source of one or two ports, pushed out of the doorkeeper by newer ones. An even scan at the pace of the rule
    /// would have come back sooner.
    Doorkeeper,
    /// A source with a place in the table, of few ports, that was silent for longer than an even scan at the pace of the
    /// rule.
    Table,
    /// A source with an open scan; the scan was reported as ended.
    Scan,
    /// A reload changed the window or the aggregation, which empties the table; or it ignores the source.
    Reload,
    /// A source that could have been on its way to a hit: it had half of the threshold's ports, or had asked so lately that a
    /// scan at the pace of the rule would still come back. A scan may have been missed.
    Evidence,
}

impl Evicted {
    /// Every reason.
    pub const ALL: [Evicted; 5] =
        [Evicted::Doorkeeper, Evicted::Table, Evicted::Scan, Evicted::Reload, Evicted::Evidence];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Evicted::Doorkeeper => "doorkeeper",
            Evicted::Table => "table",
            Evicted::Scan => "scan",
            Evicted::Reload => "reload",
            Evicted::Evidence => "evidence",
        }
    }
}

/// What a reload took back: sources that are ignored from then on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Withdrawn {
    /// Who, in order.
    pub sources: Vec<Source>,
    /// Their scans that were open.
    pub scans: u64,
}

/// Totals since the start; they never go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Probes by `Family as usize`, `Technique as usize`.
    pub probes: [[u64; Technique::ALL.len()]; Family::ALL.len()],
    /// Probes not counted for their source, by `Ignored as usize`.
    pub ignored: [u64; Ignored::ALL.len()],
    /// Hits by `Kind as usize`.
    pub hits: [u64; Kind::ALL.len()],
    /// Sources given up, by `Evicted as usize`.
    pub evicted: [u64; Evicted::ALL.len()],
    /// Steps of the capture's clock that were bridged.
    pub clock_steps: u64,
    /// Finished bursts by bucket of `BURST_BOUNDS`, not cumulative; the last is "above all bounds".
    pub bursts: [u64; BURST_BOUNDS.len() + 1],
    /// Sum of the peaks of finished bursts.
    pub burst_ports: u64,
    /// Times a source without an open scan had no room for ports up to the threshold, because the blocks were spent.
    pub cut_short: u64,
    /// Probes of sources that are muted, which a rule for scans by many would have counted.
    pub muted: u64,
}

impl Counters {
    /// A probe came.
    #[inline]
    pub fn count(&mut self, probe: &Probe) {
        self.probes[Family::of(probe.source) as usize][probe.technique as usize] += 1;
    }

    /// A run of probes is over, in which this was the greatest count.
    pub fn finish_burst(&mut self, peak: u32) {
        let bucket = BURST_BOUNDS.iter().position(|&bound| f64::from(peak) < bound);
        self.bursts[bucket.unwrap_or(BURST_BOUNDS.len())] += 1;
        self.burst_ports += u64::from(peak);
    }
}

/// One source worth a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedSource {
    /// Who.
    pub source: Source,
    /// What the operator calls it.
    pub name: Option<Name>,
    /// What else the operator's databases say of its address.
    pub provenance: Provenance,
    /// Distinct ports within the window, now; by a rule that counts hosts, hosts.
    pub distinct_ports: u32,
    /// The greatest count reached within the hold.
    pub peak_distinct_ports: u32,
    /// Distinct hosts asked in its latest run of probes.
    pub distinct_hosts: u32,
    /// The most ports of one host within a window, as long as there is a peak.
    pub ports_of_busiest_host: u32,
    /// Its latest hit, if it ever had one while tracked.
    pub last_hit: Option<Timestamp>,
    /// Its latest probe.
    pub last_probe: Timestamp,
    /// The tool of its latest run of probes, as its packets tell.
    pub tool: Tool,
    /// The most ports within a window that answered, as long as there is a peak; where replies are looked for.
    pub answered_ports: Option<u32>,
    /// The most ports within a window that were without an answer for a tenth of it, reached within the hold; where replies are
    /// looked for.
    pub peak_unanswered_ports: Option<u32>,
    /// Whether it proved to be at its address, as long as there is a peak.
    pub evidence: Grade,
}

impl PublishedSource {
    /// Publishing order under a threshold, the least first.
    pub(super) fn rank(&self, threshold: u32) -> Rank {
        let is_answered = self.answered_ports.is_some_and(|ports| ports > 0);
        let peak = (self.peak_distinct_ports, threshold);
        Rank::of(self.source, peak, self.evidence, is_answered, self.last_probe.nanos())
    }
}

/// A detector at a tick. `sources` is in publishing order (`worth`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The detector's time; packets and ticks before it are in.
    pub time: Timestamp,
    /// The window, in nanoseconds.
    pub window_nanos: u64,
    /// The threshold.
    pub threshold: u32,
    /// Distinct ports at which a sweep is a block, by a rule that counts hosts.
    pub block_ports: Option<u32>,
    /// Whose counts the rule judges.
    pub subject: Subject,
    /// The kinds of scans that the rule can find.
    pub kinds: &'static [Kind],
    /// Which addresses of IPv6 are one source.
    pub parties: Parties,
    /// How long a peak stays published, in nanoseconds.
    pub hold_nanos: u64,
    /// Totals.
    pub counters: Counters,
    /// What sources are called.
    pub names: Names,
    /// Hits of sources that have a name, by it.
    pub named_hits: ByName,
    /// Open scans by `Kind as usize`.
    pub open_scans: [u64; Kind::ALL.len()],
    /// The open scans of sources that have series as they stand now, by their ids; at most `SCANS_SHOWN`, those of the greatest peaks.
    pub scans: Vec<Scan>,
    /// The greatest count any source reached within the hold; 0 if none.
    pub peak_distinct_ports: u32,
    /// Sources that hold a place, in the doorkeeper or the table.
    pub tracked_sources: u64,
    /// How many could.
    pub tracked_sources_limit: u64,
    /// Sources whose count has stopped growing because the memory for wide sources is spent.
    pub saturated_sources: u64,
    /// Sources worth a series, at most `published_sources_limit`.
    pub sources: Vec<PublishedSource>,
    /// The most sources that get a series.
    pub published_sources_limit: u64,
    /// Sources that reached the publishing minimum within the hold and got no series.
    pub suppressed_sources: u64,
    /// How many sources asked for each port in their scans, by whichever rule, within the hold.
    pub port_sources: PortSources,
    /// The same by each slower rule, the faster before the slower. What is counted before any rule is 0 there.
    pub slower: Vec<Snapshot>,
}

impl Snapshot {
    /// This rule and the slower ones.
    pub fn rules(&self) -> impl Iterator<Item = &Snapshot> {
        std::iter::once(self).chain(&self.slower)
    }

    /// Times a source could not be counted as far as some rule needs: by this one, and by those behind it.
    pub fn cut_short(&self) -> [u64; 2] {
        [self.counters.cut_short, self.slower.iter().map(|rule| rule.counters.cut_short).sum()]
    }

    /// Whether the rule counts the ports of a source.
    pub fn counts_ports(&self) -> bool {
        self.kinds.contains(&Kind::Vertical)
    }

    /// Whether the rule counts the hosts of a source.
    pub fn counts_hosts(&self) -> bool {
        self.kinds.contains(&Kind::Horizontal)
    }

    /// What the name of a source asks of alerts.
    pub fn alerts(&self, source: &PublishedSource) -> Option<Alerts> {
        source.name.and_then(|name| self.names.alerts(name))
    }

    /// Shares the series among the rules, by the rank of the sources. Under one rule all stay that it chose.
    pub(super) fn share_series(&mut self) {
        let limit = usize::try_from(self.published_sources_limit).unwrap_or(usize::MAX);
        let published: usize = self.rules().map(|rule| rule.sources.len()).sum();
        if published <= limit {
            return;
        }
        let mut all: Vec<_> = (0_usize..)
            .zip(self.rules())
            .flat_map(|(at, rule)| {
                rule.sources.iter().map(move |source| (Reverse(source.rank(rule.threshold)), at))
            })
            .collect();
        all.sort_unstable();
        let mut kept = vec![0; 1 + self.slower.len()];
        all.iter().take(limit).for_each(|&(_, at)| kept[at] += 1);
        self.keep_series(kept[0]);
        self.slower.iter_mut().zip(&kept[1..]).for_each(|(rule, &kept)| rule.keep_series(kept));
    }

    /// The first of the sources keep their series: within a rule the order is the same.
    fn keep_series(&mut self, kept: usize) {
        self.suppressed_sources += (self.sources.len() - kept) as u64;
        self.sources.truncate(kept);
    }
}
