//! What each interface has found: scans, the sources that have series, the sample of a fleet, and what memory is left.

use super::super::family::{Family, Samples, counter, gauge, histogram_of_bursts};
use super::View;
use crate::detect::{Evicted, Grade, Kind, PublishedSource, Source, Subject, Tool};
use crate::publish::sample::Suppressed;
use std::collections::BTreeMap;

/// What is known of each source besides numbers: one series, by however many rules it is published. Its autonomous system is in the
/// records: there are too many for a label.
fn source_info(view: &View, samples: &mut Samples) {
    view.each(|interface, snapshot| {
        let mut known: BTreeMap<Source, PublishedSource> = BTreeMap::new();
        for source in snapshot.detection.rules().flat_map(|rule| &rule.sources) {
            let first = known.entry(source.source).or_insert(*source);
            first.evidence = source.evidence.max(first.evidence);
            if first.tool == Tool::Unknown {
                first.tool = source.tool;
            }
        }
        for PublishedSource { source, name, provenance, tool, evidence, .. } in known.into_values() {
            let country = provenance.country.as_ref().map_or("", |country| country.as_str());
            let scanner = provenance.scanner.as_ref().map_or("", |name| name.as_str());
            let name = name.as_ref().map_or("", |name| name.as_str());
            let says_nothing = [country, scanner, name].iter().all(|label| label.is_empty());
            if !says_nothing || tool != Tool::Unknown || evidence != Grade::Spoofable {
                let labels =
                    [country, evidence.label(), interface, scanner, name, &source.to_string(), tool.label()];
                samples.count(&labels, 1);
            }
        }
    });
}

/// Ports that have a series.
const PORTS_SHOWN: usize = 20;

pub(super) static FAMILIES: &[Family] = &[
    // Scans.
    counter(
        "portscan_hits_total",
        &["interface", "kind", "window"],
        "Scans found: times a source without an open scan reached the threshold.",
        |view, samples| {
            view.each_rule(|name, window, rule| {
                for &kind in rule.kinds {
                    samples.count(&[name, kind.label(), window], rule.counters.hits[kind as usize]);
                }
            });
        },
    ),
    counter(
        "portscan_named_hits_total",
        &["interface", "name"],
        "Scans found of sources that the configuration has a name for (names), by any rule.",
        |view, samples| {
            view.each_rule(|interface, _, rule| {
                rule.named_hits.iter().for_each(|(name, hits)| samples.count(&[interface, name], hits));
            });
        },
    ),
    gauge("portscan_open_scans", &["interface", "kind"], "Scans that have not ended.", |view, samples| {
        view.each(|name, s| {
            for kind in Kind::ALL {
                let can = s.detection.rules().any(|rule| rule.kinds.contains(&kind));
                let open = s.detection.rules().map(|rule| rule.open_scans[kind as usize]).sum();
                if can {
                    samples.count(&[name, kind.label()], open);
                }
            }
        });
    }),
    gauge(
        "portscan_peak_distinct_ports",
        &["interface", "window"],
        "The most distinct ports any source probed within the window, at any time within the hold.",
        |view, samples| {
            view.each_rule(|name, window, rule| {
                if rule.counts_ports() {
                    samples.count(&[name, window], rule.peak_distinct_ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_peak_distinct_hosts",
        &["interface", "window"],
        "The most distinct hosts any source probed within the window, at any time within the hold.",
        |view, samples| {
            view.each_rule(|name, window, rule| {
                if rule.counts_hosts() {
                    samples.count(&[name, window], rule.peak_distinct_ports.into());
                }
            });
        },
    ),
    histogram_of_bursts(
        "portscan_burst_distinct_ports",
        &["interface"],
        "The most distinct ports within the window, for each finished burst of probes from one source.",
        |view, samples| {
            view.each(|name, s| {
                let counters = &s.detection.counters;
                samples.bursts(&[name], counters.bursts, counters.burst_ports as f64);
            });
        },
    ),
    // Ports: `PORTS_SHOWN` of them per interface at most, whatever arrives.
    gauge(
        "portscan_port_sources",
        &["interface", "port"],
        "Sources that asked for the TCP port in a scan by SYN, within the hold, each once for each of its scans; of the 20 ports that most asked for.",
        |view, samples| {
            view.each(|name, s| {
                for (port, sources) in s.detection.port_sources.most(PORTS_SHOWN) {
                    samples.count(&[name, &port.to_string()], sources.into());
                }
            });
        },
    ),
    gauge(
        "portscan_scanned_ports",
        &["interface"],
        "Distinct TCP ports that scans by SYN asked for within the hold.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.port_sources.ports())),
    ),
    counter(
        "portscan_events_lost_total",
        &["interface"],
        "Scan events that were not logged because the queue to the log was full.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.events_lost)),
    ),
    // Sources: at most `portscan_published_sources_limit` of them per interface, whatever arrives.
    gauge(
        "portscan_source_distinct_ports",
        &["interface", "source", "window"],
        "Distinct ports the source probed within the window, now.",
        |view, samples| {
            view.each_source(|name, window, rule, source| {
                if !rule.counts_hosts() {
                    let labels = [name, &source.source.to_string(), window];
                    samples.count(&labels, source.distinct_ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_source_peak_distinct_ports",
        &["interface", "source", "window"],
        "The most distinct ports the source probed within the window, at any time within the hold.",
        |view, samples| {
            view.each_source(|name, window, rule, source| {
                if !rule.counts_hosts() {
                    let labels = [name, &source.source.to_string(), window];
                    samples.count(&labels, source.peak_distinct_ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_source_peak_distinct_hosts",
        &["interface", "source", "window"],
        "The most distinct hosts a source that swept them probed within the window, at any time within the hold.",
        |view, samples| {
            view.each_source(|name, window, rule, source| {
                if rule.counts_hosts() {
                    let labels = [name, &source.source.to_string(), window];
                    samples.count(&labels, source.peak_distinct_ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_source_peak_ports_per_host",
        &["interface", "source"],
        "The most distinct ports of one host that the source probed within a window, as long as it has a peak.",
        |view, samples| {
            view.each_source(|name, _, _, source| {
                samples.count(&[name, &source.source.to_string()], source.ports_of_busiest_host.into());
            });
        },
    ),
    gauge(
        "portscan_source_answered_ports",
        &["interface", "source", "window"],
        "The most distinct ports the source probed within the window that answered it, as long as it has a peak.",
        |view, samples| {
            view.each_source(|name, window, _, source| {
                if let Some(ports) = source.answered_ports {
                    samples.count(&[name, &source.source.to_string(), window], ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_source_peak_unanswered_ports",
        &["interface", "source", "window"],
        "The most distinct ports the source probed within the window that had not answered after a tenth of it, at any time within the hold; until then after a hit, that have not answered yet.",
        |view, samples| {
            view.each_source(|name, window, _, source| {
                if let Some(ports) = source.peak_unanswered_ports {
                    samples.count(&[name, &source.source.to_string(), window], ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_source_distinct_hosts",
        &["interface", "source"],
        "Distinct hosts the source probed in its latest run of probes.",
        |view, samples| {
            view.each_source(|name, _, _, source| {
                samples.count(&[name, &source.source.to_string()], source.distinct_hosts.into());
            });
        },
    ),
    gauge(
        "portscan_source_last_hit_timestamp_seconds",
        &["interface", "source"],
        "When the source last reached the threshold, in seconds since the Unix epoch.",
        |view, samples| {
            view.each_source(|name, _, _, source| {
                if let Some(time) = source.last_hit {
                    samples.number(&[name, &source.source.to_string()], time.as_secs_f64());
                }
            });
        },
    ),
    gauge(
        "portscan_source_alert_threshold_ports",
        &["interface", "name", "source"],
        "From how many ports on alerts are for the source, by the configuration (names); 65537, more than there are: it is muted.",
        |view, samples| {
            view.each_source(|interface, _, rule, source| {
                if let (Some(name), Some(alerts)) = (source.name, rule.alerts(source)) {
                    let labels = [interface, name.as_str(), &source.source.to_string()];
                    samples.count(&labels, alerts.least_ports().into());
                }
            });
        },
    ),
    gauge(
        "portscan_source_info",
        &["country", "evidence", "interface", "known_scanner", "name", "source", "tool"],
        "What the configuration calls the source (names), what its databases say of it, by which tool it scans, as its packets tell, and whether it completed a handshake; always 1, and only where any of these is known.",
        source_info,
    ),
    gauge(
        "portscan_published_sources",
        &["interface"],
        "Sources that have series of their own.",
        |view, samples| {
            view.each(|name, s| {
                let published = s.detection.rules().map(|rule| rule.sources.len() as u64).sum();
                samples.count(&[name], published);
            });
        },
    ),
    gauge(
        "portscan_published_sources_limit",
        &["interface"],
        "The most sources that get series of their own.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.published_sources_limit)),
    ),
    gauge(
        "portscan_suppressed_sources",
        &["interface"],
        "Sources with enough ports for series of their own that got none because of the limit; always 0 with a limit of 0.",
        |view, samples| {
            view.each(|name, s| {
                // A limit of 0 is a choice, not a shortage that someone must be woken for.
                let wanted = s.detection.published_sources_limit > 0;
                let suppressed = s.detection.rules().map(|rule| rule.suppressed_sources).sum();
                samples.count(&[name], if wanted { suppressed } else { 0 });
            });
        },
    ),
    // The sample of a fleet: at most `portscan_fleet_sample_sources_limit` sources per interface, whatever arrives.
    gauge(
        "portscan_fleet_sample_source",
        &["interface", "source"],
        "Distinct ports (8 means 8 or more) of a source that every host of the fleet shows from its first probe on.",
        |view, samples| {
            view.each_sample(|name, sample| {
                for shown in &sample.sources {
                    samples.count(&[name, &shown.source.to_string()], shown.ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_fleet_sample_sources",
        &["interface"],
        "Sources of the fleet's sample that have a series.",
        |view, samples| {
            view.each_sample(|name, sample| samples.count(&[name], sample.sources.len() as u64));
        },
    ),
    gauge(
        "portscan_fleet_sample_sources_limit",
        &["interface"],
        "The most sources of the fleet's sample that get a series.",
        |view, samples| view.each_sample(|name, sample| samples.count(&[name], sample.limit)),
    ),
    counter(
        "portscan_fleet_sample_suppressed_total",
        &["interface", "reason"],
        "Sources of the fleet's sample that lost their series (replaced), and probes of those that got none (refused).",
        |view, samples| {
            view.each_sample(|name, sample| {
                for reason in Suppressed::ALL {
                    samples.count(&[name, reason.label()], sample.suppressed[reason as usize]);
                }
            });
        },
    ),
    gauge(
        "portscan_fleet_sample_share_ratio",
        &["key"],
        "Share of all sources that is in the fleet's sample; hosts with the same key have the same label.",
        |view, samples| {
            view.each_sample(|_, sample| {
                samples.number(&[&sample.fingerprint], 1.0 / f64::from(sample.one_in));
            });
        },
    ),
    // Memory.
    gauge(
        "portscan_tracked_sources",
        &["interface"],
        "Sources that hold a place in memory.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.tracked_sources)),
    ),
    gauge(
        "portscan_tracked_sources_limit",
        &["interface"],
        "The most sources that can hold a place in memory.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.tracked_sources_limit)),
    ),
    gauge(
        "portscan_rule_tracked_sources",
        &["interface", "window"],
        "Sources that hold a place in the memory of a rule behind the first.",
        |view, samples| {
            view.each_slower(|name, window, rule| samples.count(&[name, window], rule.tracked_sources));
        },
    ),
    gauge(
        "portscan_rule_tracked_sources_limit",
        &["interface", "window"],
        "The most sources that can hold a place in the memory of a rule behind the first.",
        |view, samples| {
            view.each_slower(|name, window, rule| samples.count(&[name, window], rule.tracked_sources_limit));
        },
    ),
    counter(
        "portscan_rule_sources_evicted_total",
        &["interface", "reason", "window"],
        "Sources given up, or not looked at, by a rule behind the first that may have been scanning; table: hosts that many may have scanned.",
        |view, samples| {
            view.each_slower(|name, window, rule| {
                // Sources that were silent for long are no loss; hosts that many ask have so few places that each can be.
                let may_have = if rule.subject == Subject::Target { 3 } else { 2 };
                for reason in &[Evicted::Scan, Evicted::Evidence, Evicted::Table][..may_have] {
                    let evicted = rule.counters.evicted[*reason as usize];
                    samples.count(&[name, reason.label(), window], evicted);
                }
            });
        },
    ),
    gauge(
        "portscan_saturated_sources",
        &["interface"],
        "Sources whose count has stopped growing because the memory for wide sources is spent.",
        |view, samples| {
            view.each(|name, s| {
                let saturated = s.detection.rules().map(|rule| rule.saturated_sources).sum();
                samples.count(&[name], saturated);
            });
        },
    ),
    counter(
        "portscan_sources_evicted_total",
        &["interface", "reason"],
        "Sources evicted before their time, by the reason.",
        |view, samples| {
            view.each(|name, s| {
                for reason in Evicted::ALL {
                    samples.count(&[name, reason.label()], s.detection.counters.evicted[reason as usize]);
                }
            });
        },
    ),
    counter(
        "portscan_sources_cut_short_total",
        &["interface"],
        "Times a source could not be counted up to the threshold because the memory for wide sources was spent.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.cut_short().iter().sum())),
    ),
];
