//! What the page may have at most, whoever attacks.

use portscan_exporter::detect::Snapshot;
use portscan_exporter::publish::{metrics, snapshot::InterfaceSnapshot};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The page that is shown then: a hundred series of a family at most, and of ports twenty. How many sources have a series.
pub(crate) fn bounded(quiet: InterfaceSnapshot, detection: &Snapshot) -> usize {
    let interface = InterfaceSnapshot { detection: detection.clone(), ..quiet };
    let page = String::from_utf8(metrics::render(&[Arc::new(interface)], None)).expect("UTF-8");
    let mut series: BTreeMap<&str, usize> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        *series.entry(line.split(['{', ' ']).next().expect("a name")).or_default() += 1;
    }
    for (family, count) in &series {
        let most = if *family == "portscan_port_sources" { 20 } else { 100 };
        assert!(*count <= most, "{count} series of {family}");
    }
    let peaks = ["portscan_source_peak_distinct_ports", "portscan_source_peak_distinct_hosts"];
    peaks.iter().filter_map(|family| series.get(family)).sum()
}
