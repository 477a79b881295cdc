//! Detectors that shared the sources of one capture among them, as one. Each source was seen by one of them only, so
//! numbers of sources add up; what all of them saw alike (the clock) counts once.

use crate::detect::probe::Tool;
use crate::detect::snapshot::{Counters, PublishedSource, Snapshot};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Adds up numbers by place.
fn add<const N: usize>(sums: &mut [u64; N], more: &[u64; N]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

impl Counters {
    /// Takes in what another counted.
    pub fn merge(&mut self, other: &Self) {
        let Self { probes, ignored, hits, evicted, clock_steps, bursts, burst_ports, cut_short, muted } =
            self;
        for (sums, more) in probes.iter_mut().zip(&other.probes) {
            add(sums, more);
        }
        add(ignored, &other.ignored);
        add(hits, &other.hits);
        add(evicted, &other.evicted);
        add(bursts, &other.bursts);
        *burst_ports += other.burst_ports;
        *cut_short += other.cut_short;
        *muted += other.muted;
        // One clock: each detector counts every step.
        *clock_steps = other.clock_steps.max(*clock_steps);
    }
}

impl PublishedSource {
    /// What two detectors know of one source: so it can be for a while after a reload has them share in another way.
    fn merge(&mut self, other: &Self) {
        let Self {
            source: _,
            name: _,
            provenance: _,
            distinct_ports,
            peak_distinct_ports,
            distinct_hosts,
            ports_of_busiest_host,
            last_hit,
            last_probe,
            tool,
            answered_ports,
            peak_unanswered_ports,
            evidence,
        } = self;
        *tool = if *tool == Tool::Unknown { other.tool } else { *tool };
        *answered_ports = other.answered_ports.max(*answered_ports);
        *evidence = other.evidence.max(*evidence);
        *peak_unanswered_ports = other.peak_unanswered_ports.max(*peak_unanswered_ports);
        *ports_of_busiest_host = other.ports_of_busiest_host.max(*ports_of_busiest_host);
        *distinct_ports = other.distinct_ports.max(*distinct_ports);
        *peak_distinct_ports = other.peak_distinct_ports.max(*peak_distinct_ports);
        *distinct_hosts = other.distinct_hosts.max(*distinct_hosts);
        *last_hit = other.last_hit.max(*last_hit);
        *last_probe = other.last_probe.max(*last_probe);
    }
}

impl Snapshot {
    /// Takes in another detector of the same policy and limits.
    pub fn merge(&mut self, other: &Self) {
        self.merge_rule(other);
        // For a moment after a reload, one may have other slower rules.
        for (rule, other) in self.slower.iter_mut().zip(&other.slower) {
            if (rule.window_nanos, rule.kinds) == (other.window_nanos, other.kinds) {
                rule.merge_rule(other);
            }
        }
        self.share_series();
    }

    /// What two say of one rule. The sources stay as many as one detector may publish, and in
    /// publishing order: of each detector's greatest, the greatest of all are among them.
    fn merge_rule(&mut self, other: &Self) {
        let worth = self.worth() + other.worth();
        let Self {
            time,
            window_nanos: _,
            threshold,
            block_ports: _,
            kinds: _,
            subject: _,
            parties: _,
            hold_nanos: _,
            counters,
            named_hits,
            open_scans,
            scans,
            peak_distinct_ports,
            tracked_sources,
            tracked_sources_limit,
            saturated_sources,
            sources,
            published_sources_limit,
            suppressed_sources,
            port_sources,
            names: _,
            slower: _,
        } = self;
        port_sources.merge(&other.port_sources);
        *time = other.time.min(*time);
        counters.merge(&other.counters);
        named_hits.merge(&other.named_hits);
        add(open_scans, &other.open_scans);
        scans.extend(&other.scans);
        scans.sort_unstable_by_key(|scan| scan.id);
        scans.dedup_by_key(|scan| scan.id);
        *peak_distinct_ports = other.peak_distinct_ports.max(*peak_distinct_ports);
        *tracked_sources += other.tracked_sources;
        *tracked_sources_limit += other.tracked_sources_limit;
        *saturated_sources += other.saturated_sources;

        let mut by_source = BTreeMap::new();
        let mut twice = 0;
        for &source in sources.iter().chain(&other.sources) {
            by_source
                .entry(source.source)
                .and_modify(|held: &mut PublishedSource| {
                    held.merge(&source);
                    twice += 1;
                })
                .or_insert(source);
        }
        *sources = by_source.into_values().collect();
        sources.sort_by_key(|source| Reverse(source.rank(*threshold)));
        sources.truncate(usize::try_from(*published_sources_limit).unwrap_or(usize::MAX));
        *suppressed_sources = worth - twice - sources.len() as u64;
    }

    /// Sources with ports enough for a series.
    fn worth(&self) -> u64 {
        self.sources.len() as u64 + self.suppressed_sources
    }
}
