use super::*;
use crate::detect::{PublishedSource, Source};
use crate::fixture::snapshot as fixture;

fn page(interfaces: Vec<InterfaceSnapshot>) -> String {
    let interfaces: Vec<_> = interfaces.into_iter().map(Arc::new).collect();
    String::from_utf8(render(&interfaces, None)).unwrap()
}

fn scanner(address: &str) -> PublishedSource {
    PublishedSource {
        source: Source::of(address.parse().unwrap(), 64),
        name: None,
        distinct_ports: 5,
        peak_distinct_ports: 6,
        distinct_hosts: 1,
        ports_of_busiest_host: 5,
        last_hit: None,
        last_probe: Timestamp::new(1_700_000_000, 0),
        tool: Default::default(),
        provenance: Default::default(),
        answered_ports: None,
        peak_unanswered_ports: None,
        evidence: Default::default(),
    }
}

#[test]
fn names_are_unique_and_labels_are_sorted() {
    let names = family_names();
    let mut once = names.clone();
    once.dedup();
    assert_eq!(names, once);
    for (name, labels) in family_labels() {
        assert!(labels.is_sorted(), "{name}");
        assert!(name.starts_with("portscan_") || name.starts_with("process_"));
    }
}

#[test]
fn addresses_and_interfaces_do_not_run_together() {
    let mut one = fixture::quiet("eth1");
    one.detection.sources = vec![scanner("12.3.4.5")];
    let mut eleven = fixture::quiet("eth11");
    eleven.detection.sources = vec![scanner("2.3.4.5")];
    let page = page(vec![one, eleven]);
    assert!(page.contains("{interface=\"eth1\",source=\"12.3.4.5\"} 1\n"), "{page}");
    assert!(page.contains("{interface=\"eth11\",source=\"2.3.4.5\"} 1\n"), "{page}");
}

#[test]
fn a_name_from_outside_cannot_write_a_line() {
    let page = page(vec![fixture::quiet("e\"} 1\nevil{x=\"\\")]);
    assert!(page.contains("portscan_packets_total{interface=\"e\\\"} 1\\nevil{x=\\\"\\\\\"} 0\n"), "{page}");
    assert!(!page.lines().any(|line| line.starts_with("evil")));
}

#[test]
fn one_name_twice_is_one_series() {
    let mut first = fixture::quiet("scan.pcap");
    first.packets = 2;
    first.detection.peak_distinct_ports = 7;
    let mut second = fixture::quiet("scan.pcap");
    second.packets = 3;
    second.detection.peak_distinct_ports = 5;
    let page = page(vec![first, second]);
    assert!(page.contains("\nportscan_packets_total{interface=\"scan.pcap\"} 5\n"));
    assert!(page.contains("\nportscan_peak_distinct_ports{interface=\"scan.pcap\",window=\"10s\"} 7\n"));
    let mut series: Vec<_> =
        page.lines().filter_map(|line| line.rsplit_once(' ')).map(|(id, _)| id).collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all);
}

#[test]
fn what_is_finite_is_created_at_0() {
    let page = page(vec![fixture::quiet("eth0")]);
    for line in [
        "portscan_hits_total{interface=\"eth0\",kind=\"vertical\",window=\"10s\"} 0",
        "portscan_probes_total{family=\"ipv4\",interface=\"eth0\",technique=\"syn\"} 0",
        "portscan_probes_total{family=\"ipv6\",interface=\"eth0\",technique=\"syn\"} 0",
        "portscan_packets_skipped_total{interface=\"eth0\",reason=\"malformed\"} 0",
        "portscan_sources_evicted_total{interface=\"eth0\",reason=\"scan\"} 0",
        "portscan_events_lost_total{interface=\"eth0\"} 0",
        "portscan_peak_distinct_ports{interface=\"eth0\",window=\"10s\"} 0",
        "portscan_burst_distinct_ports_bucket{interface=\"eth0\",le=\"+Inf\"} 0",
    ] {
        assert!(page.lines().any(|shown| shown == line), "no {line} in {page}");
    }
    assert!(!page.contains("portscan_source_"));
    // A replay shows no process: the same file gives the same page.
    assert!(!page.contains("process_") && !page.contains("build_info") && !page.contains("log_records"));
}

#[test]
fn a_source_without_a_hit_has_no_time_of_one_and_no_other_source_has_series() {
    let mut snapshot = fixture::quiet("eth0");
    let mut hit = scanner("198.51.100.7");
    hit.last_hit = Some(Timestamp::new(1_700_000_001, 250_000_000));
    snapshot.detection.sources = vec![hit, scanner("2001:db8::7")];
    let page = page(vec![snapshot]);
    let hits: Vec<_> =
        page.lines().filter(|line| line.starts_with("portscan_source_last_hit_timestamp_seconds{")).collect();
    assert_eq!(
        hits,
        [
            "portscan_source_last_hit_timestamp_seconds{interface=\"eth0\",source=\"198.51.100.7\"} 1700000001.25"
        ]
    );
    assert!(page.contains("source=\"2001:db8::/64\""));
    let of_sources = page.lines().filter(|line| line.contains("source=\"")).count();
    assert_eq!(of_sources, 4 + 5);
}
