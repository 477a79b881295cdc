//! Which rule of `alerts/portscan.rules.yml` fires for a source, by the same conditions. `tests/alerts.rs` compares the two.

use crate::detect::{Alerts, ByRule, PublishedSource};

/// An alert and its severity.
pub(super) type Fires = (&'static str, &'static str);

/// The rule that fires for a source, by what one rule of the detector knows of it and, if it has a series, what that shows: of several
/// with one name, the most severe.
pub(super) fn of(
    rule: &ByRule,
    row: Option<&PublishedSource>,
    alerts: Option<Alerts>,
    max_sources: u64,
) -> Option<Fires> {
    if rule.peak < rule.threshold {
        return None;
    }
    let Some(row) = row else {
        // With 0 it is as it was meant that none has series: then its hit has no explanation among the series.
        let name = if max_sources == 0 { "PortScanUnexplained" } else { "PortScanSourcesSuppressed" };
        return Some((name, "warning"));
    };
    // Of a sweep no ports are compared.
    let least = match alerts {
        Some(Alerts::From(_)) if rule.counts_hosts => 0,
        alerts => alerts.map_or(0, Alerts::least_ports),
    };
    Some(match (rule.counts_hosts, rule.peak) {
        (_, peak) if peak < least => ("PortScanExpected", "info"),
        (true, _) => ("PortScanSweep", "warning"),
        _ if is_a_busy_client(rule, row) => ("PortScanDetected", "info"),
        (false, peak) if is_wide(rule, row) && peak >= least.saturating_mul(10) => {
            ("PortScanDetected", "critical")
        }
        _ => ("PortScanDetected", "warning"),
    })
}

/// Half of its ports or more answered, and fewer than the threshold did not; or it asked each host for two ports at most.
fn is_a_busy_client(rule: &ByRule, row: &PublishedSource) -> bool {
    let (Some(answered), Some(unanswered)) = (row.answered_ports, row.peak_unanswered_ports) else {
        return false;
    };
    2 * answered >= rule.peak && (unanswered < rule.threshold || row.ports_of_busiest_host <= 2)
}

/// Ten times the threshold, of ports that did not answer where that is looked for.
fn is_wide(rule: &ByRule, row: &PublishedSource) -> bool {
    let ports = row.peak_unanswered_ports.map_or(rule.peak, |unanswered| unanswered.min(rule.peak));
    ports >= rule.threshold.saturating_mul(10)
}
