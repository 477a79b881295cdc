//! The contract with whoever reads the metrics: every family's name, with its labels. What rules and dashboards may use.

use std::collections::BTreeSet;

/// Families and their labels.
pub const FAMILIES: &[(&str, &[&str])] = &[
    ("portscan_exporter_build_info", &["version", "revision", "rustversion", "libpcap"]),
    ("portscan_threshold_ports", &["window"]),
    ("portscan_threshold_hosts", &["window"]),
    ("portscan_threshold_block_ports", &["window"]),
    ("portscan_hold_seconds", &[]),
    ("portscan_config_last_reload_successful", &[]),
    ("portscan_config_last_reload_success_timestamp_seconds", &[]),
    ("portscan_ignored_addresses_ratio", &["family"]),
    ("portscan_ignored_ports", &[]),
    ("portscan_capture_up", &["interface"]),
    ("portscan_capture_received_packets_total", &["interface"]),
    ("portscan_capture_dropped_packets_total", &["interface"]),
    ("portscan_capture_interface_dropped_packets_total", &["interface"]),
    ("portscan_capture_restarts_total", &["interface"]),
    ("portscan_capture_pauses_total", &["interface"]),
    ("portscan_capture_last_tick_timestamp_seconds", &["interface"]),
    ("portscan_capture_interfaces_refused_total", &[]),
    ("portscan_capture_places", &[]),
    ("portscan_capture_places_limit", &[]),
    ("portscan_capture_unplaced_interfaces", &[]),
    ("portscan_packets_total", &["interface"]),
    ("portscan_packets_skipped_total", &["interface", "reason"]),
    ("portscan_probes_total", &["interface", "family", "technique"]),
    ("portscan_probes_ignored_total", &["interface", "reason"]),
    ("portscan_muted_probes_total", &["interface"]),
    ("portscan_clock_steps_total", &["interface"]),
    ("portscan_hits_total", &["interface", "kind", "window"]),
    ("portscan_open_scans", &["interface", "kind"]),
    ("portscan_named_hits_total", &["interface", "name"]),
    ("portscan_port_sources", &["interface", "port"]),
    ("portscan_scanned_ports", &["interface"]),
    ("portscan_peak_distinct_ports", &["interface", "window"]),
    ("portscan_peak_distinct_hosts", &["interface", "window"]),
    ("portscan_burst_distinct_ports_bucket", &["interface", "le"]),
    ("portscan_burst_distinct_ports_sum", &["interface"]),
    ("portscan_burst_distinct_ports_count", &["interface"]),
    ("portscan_source_distinct_ports", &["interface", "source", "window"]),
    ("portscan_source_peak_distinct_ports", &["interface", "source", "window"]),
    ("portscan_source_distinct_hosts", &["interface", "source"]),
    ("portscan_source_peak_distinct_hosts", &["interface", "source", "window"]),
    ("portscan_source_peak_ports_per_host", &["interface", "source"]),
    ("portscan_source_last_hit_timestamp_seconds", &["interface", "source"]),
    ("portscan_source_alert_threshold_ports", &["interface", "name", "source"]),
    (
        "portscan_source_info",
        &["interface", "source", "name", "tool", "evidence", "country", "known_scanner"],
    ),
    ("portscan_source_answered_ports", &["interface", "source", "window"]),
    ("portscan_source_peak_unanswered_ports", &["interface", "source", "window"]),
    ("portscan_tracked_sources", &["interface"]),
    ("portscan_tracked_sources_limit", &["interface"]),
    ("portscan_saturated_sources", &["interface"]),
    ("portscan_rule_tracked_sources", &["interface", "window"]),
    ("portscan_rule_tracked_sources_limit", &["interface", "window"]),
    ("portscan_rule_sources_evicted_total", &["interface", "reason", "window"]),
    ("portscan_sources_evicted_total", &["interface", "reason"]),
    ("portscan_sources_cut_short_total", &["interface"]),
    ("portscan_published_sources", &["interface"]),
    ("portscan_published_sources_limit", &["interface"]),
    ("portscan_suppressed_sources", &["interface"]),
    ("portscan_fleet_sample_source", &["interface", "source"]),
    ("portscan_fleet_sample_sources", &["interface"]),
    ("portscan_fleet_sample_sources_limit", &["interface"]),
    ("portscan_fleet_sample_suppressed_total", &["interface", "reason"]),
    ("portscan_fleet_sample_share_ratio", &["key"]),
    ("portscan_recent_scans", &[]),
    ("portscan_recent_scans_limit", &[]),
    ("portscan_recent_scans_evicted_total", &[]),
    ("portscan_web_requests_refused_total", &["reason"]),
    ("portscan_web_tls_handshakes_failed_total", &[]),
    ("portscan_log_records_total", &["level"]),
    ("portscan_log_records_suppressed_total", &[]),
    ("portscan_log_records_folded_total", &[]),
    ("portscan_storms_total", &[]),
    ("portscan_log_records_redirected_total", &[]),
    ("portscan_log_records_lost_total", &[]),
    ("portscan_events_lost_total", &["interface"]),
    ("portscan_log_records_waiting", &[]),
    ("portscan_web_connections_cut_total", &["reason"]),
    ("portscan_web_scrapes_refused_total", &[]),
    ("portscan_web_questions_refused_total", &[]),
    ("portscan_web_accept_failures_total", &[]),
    ("process_start_time_seconds", &[]),
    ("process_cpu_seconds_total", &[]),
    ("process_resident_memory_bytes", &[]),
    ("process_virtual_memory_bytes", &[]),
    ("process_open_fds", &[]),
    ("process_max_fds", &[]),
    ("process_threads", &[]),
];

/// The golden page, which `exposition.rs` holds to the code: it has every value of a closed label.
const PAGE: &str = include_str!("../../exposition.prom");

/// Labels whose values are a closed list of the code.
const CLOSED: &[&str] = &["family", "kind", "level", "reason", "technique"];

/// The values that a closed label of a family has.
fn values(metric: &str, label: &str) -> BTreeSet<&'static str> {
    let of_metric = PAGE.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
    let value = |labels: &'static str| {
        let (_, rest) = labels.split_once(&format!("{label}=\""))?;
        rest.split('"').next()
    };
    of_metric.filter_map(value).collect()
}

/// A metric that a query names, and each label of its selector with what it is matched with.
pub struct Selector {
    pub metric: String,
    pub matchers: Vec<(String, String)>,
}

/// The metrics a query names; recorded names (with colons) are among them.
pub fn selectors(query: &str) -> Vec<Selector> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(start) = rest.find(|c: char| is_name(c) || c == '"') {
        rest = &rest[start..];
        if let Some(string) = rest.strip_prefix('"') {
            rest = &string[string.find('"').expect("a string ends") + 1..];
            continue;
        }
        let (word, after) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
        rest = after;
        if !(word == "up" || word.starts_with("process_") || word.contains("portscan_")) {
            continue;
        }
        let mut matchers = Vec::new();
        if let Some(inside) = after.strip_prefix('{') {
            let mut left = inside;
            loop {
                left = left.trim_start_matches([',', ' ']);
                if let Some(end) = left.strip_prefix('}') {
                    rest = end;
                    break;
                }
                let (label, value) = left.split_at(left.find(['=', '!']).expect("a matcher has an operator"));
                let string = &value[value.find('"').expect("a matcher has a string") + 1..];
                let (string, after) = string.split_at(string.find('"').expect("a string ends"));
                matchers.push((label.to_owned(), string.to_owned()));
                left = &after[1..];
            }
        }
        found.push(Selector { metric: word.to_owned(), matchers });
    }
    found
}

/// Asserts that a query names nothing but the contract, `up`, and `recorded` names: families, labels, and the values of closed
/// labels, so that a reason that was renamed in the code cannot live on in a rule, a dashboard or a simulated exporter.
pub fn assert_within(query: &str, recorded: &[String]) {
    let selectors = selectors(query);
    assert!(!selectors.is_empty(), "names no metric of ours: {query}");
    for Selector { metric, matchers } in selectors {
        if metric == "up" || recorded.contains(&metric) {
            continue;
        }
        let Some((_, known)) = FAMILIES.iter().find(|(name, _)| *name == metric) else {
            panic!("{metric} is no metric of the exporter: {query}");
        };
        for (label, value) in &matchers {
            assert!(
                ["job", "instance"].contains(&&**label) || known.contains(&&**label),
                "{metric} has no label {label}: {query}"
            );
            if CLOSED.contains(&&**label) {
                let known = values(&metric, label);
                for value in value.split('|') {
                    assert!(
                        known.contains(value),
                        "{metric} has no {label}=\"{value}\" (the code has {known:?}): {query}"
                    );
                }
            }
        }
    }
}

/// Runs promtool; whether it was content, and what it said. What it holds is little, and it would tidy up all the time (GOGC).
pub fn promtool(words: &[&str], directory: &std::path::Path) -> (bool, String) {
    let output = std::process::Command::new("promtool")
        .args(words)
        .current_dir(directory)
        .env("GOGC", "400")
        .output()
        .unwrap_or_else(|error| {
            panic!("cannot run promtool (Debian: apt install prometheus), which this test needs: {error}")
        });
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
