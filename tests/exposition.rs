//! The whole page: as a golden file, and as promtool judges it. `UPDATE_GOLDENS=1` writes the golden anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/snapshot.rs"]
mod support;

use portscan_exporter::capture::{CaptureStatus, PlaceCounts};
use portscan_exporter::detect::{
    self, ByName, Counters, Limits, Name, Names, PortSources, PublishedSource, Source, Technique,
};
use portscan_exporter::packet::Timestamp;
use portscan_exporter::publish::metrics::{self, Build, ProcessState, Usage};
use portscan_exporter::publish::recent::Fill;
use portscan_exporter::publish::sample::{SampleSnapshot, SampledSource};
use portscan_exporter::publish::snapshot::InterfaceSnapshot;
use portscan_exporter::system::counters::{Counter, Counts};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Probes by technique; 0 of those that are not named.
fn by_technique(counts: &[(&str, u64)]) -> [u64; Technique::ALL.len()] {
    Technique::ALL.map(|technique| {
        let count = counts.iter().find(|(label, _)| *label == technique.label());
        count.map_or(0, |(_, count)| *count)
    })
}

fn scanned() -> InterfaceSnapshot {
    let source = |address: &str, now, peak, hosts, last_hit| PublishedSource {
        source: Source::of(address.parse().unwrap(), 64),
        name: if peak == 1000 { Name::new("internal_scanner") } else { None },
        distinct_ports: now,
        peak_distinct_ports: peak,
        distinct_hosts: hosts,
        ports_of_busiest_host: peak / hosts,
        last_hit,
        last_probe: Timestamp::new(1_700_000_100, 0),
        tool: detect::Tool::Nmap,
        provenance: Default::default(),
        answered_ports: None,
        peak_unanswered_ports: None,
        evidence: detect::Grade::Spoofable,
    };
    let sampled = |address: &str, place, ports| SampledSource {
        source: Source::of(address.parse().unwrap(), 64),
        place,
        ports,
    };
    InterfaceSnapshot {
        interface: String::from("eth0"),
        capture: CaptureStatus {
            idle: false,
            up: true,
            received: 5210,
            dropped: 3,
            interface_dropped: 1,
            restarts: 2,
            pauses: 4,
            last_tick: Some(Timestamp::new(1_700_000_000, 0)),
        },
        packets: 5200,
        skipped: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        events_lost: 7,
        detection: detect::Snapshot {
            time: Timestamp::new(1_700_000_100, 0),
            window_nanos: 10_000_000_000,
            threshold: 20,
            block_ports: None,
            subject: detect::Subject::Source,
            kinds: &[detect::Kind::Vertical],
            parties: detect::Parties::of(64),
            hold_nanos: 300_000_000_000,
            counters: Counters {
                probes: [
                    by_technique(&[
                        ("fin", 1),
                        ("icmp", 2),
                        ("null", 3),
                        ("odd", 4),
                        ("protocol", 5),
                        ("sctp", 6),
                        ("syn", 5000),
                        ("udp", 7),
                        ("xmas", 8),
                    ]),
                    by_technique(&[("syn", 179)]),
                ],
                ignored: [8, 9, 10, 11, 12, 13, 14],
                hits: [2, 0, 0, 0],
                evicted: [10, 11, 12, 13, 14],
                clock_steps: 14,
                bursts: [40, 20, 5, 4, 3, 2, 1, 0, 1, 1],
                burst_ports: 4321,
                cut_short: 15,
                muted: 0,
            },
            open_scans: [1, 0, 0, 0],
            scans: Vec::new(),
            peak_distinct_ports: 1000,
            tracked_sources: 75,
            tracked_sources_limit: 100_000,
            saturated_sources: 15,
            sources: vec![
                source("198.51.100.7", 312, 1000, 3, Some(Timestamp::new(1_700_000_042, 500_000_000))),
                source("2001:db8:0:1::17", 0, 25, 1, Some(Timestamp::new(1_700_000_000, 0))),
                source("203.0.113.9", 6, 6, 2, None),
            ],
            published_sources_limit: 100,
            names: Names::default().with_alerts(
                Name::new("internal_scanner")
                    .map(|name| (name, detect::Alerts::From(100)))
                    .into_iter()
                    .collect(),
            ),
            named_hits: ByName::new(Name::new("internal_scanner").map(|name| (name, 3))),
            suppressed_sources: 16,
            port_sources: PortSources::of((1..=30).map(|port| (port, 1)).chain([(22, 8), (443, 1)])),
            slower: slower(),
        },
        sample: Some(SampleSnapshot {
            fingerprint: String::from("1b2c3d4e"),
            one_in: 64,
            sources: vec![
                sampled("203.0.113.9", 17, 1),
                sampled("2001:db8:0:1::17", 18, 8),
                sampled("198.51.100.7", 19, 3),
            ],
            limit: 32,
            suppressed: [20, 21],
        }),
    }
}

/// The same of the rules behind the first: two sources sweep, one scans slowly.
fn slower() -> Vec<detect::Snapshot> {
    let source = |address: &str, peak, hosts, per_host| PublishedSource {
        name: None,
        source: Source::of(address.parse().unwrap(), 64),
        distinct_ports: peak - 1,
        peak_distinct_ports: peak,
        distinct_hosts: hosts,
        ports_of_busiest_host: per_host,
        last_hit: Some(Timestamp::new(1_700_000_050, 0)),
        last_probe: Timestamp::new(1_700_000_100, 0),
        tool: Default::default(),
        provenance: Default::default(),
        answered_ports: Some(3),
        peak_unanswered_ports: Some(peak - 3),
        evidence: if hosts == 1 { detect::Grade::Handshake } else { detect::Grade::Spoofable },
    };
    let quiet = support::quiet("eth0").detection;
    let counters =
        |hits, scan, evidence| Counters { hits, evicted: [0, 0, scan, 0, evidence], ..Counters::default() };
    let sweeps = detect::Snapshot {
        window_nanos: 300_000_000_000,
        threshold: 25,
        block_ports: Some(30),
        kinds: &[detect::Kind::Horizontal, detect::Kind::Block],
        counters: counters([0, 5, 6, 0], 30, 31),
        open_scans: [0, 2, 3, 0],
        peak_distinct_ports: 254,
        tracked_sources: 32,
        tracked_sources_limit: 98_304,
        sources: vec![source("203.0.113.77", 254, 254, 1), source("203.0.113.78", 30, 30, 20)],
        ..quiet.clone()
    };
    let slow = detect::Snapshot {
        window_nanos: 3_600_000_000_000,
        threshold: 60,
        counters: counters([7, 0, 0, 0], 33, 34),
        open_scans: [4, 0, 0, 0],
        peak_distinct_ports: 61,
        tracked_sources: 35,
        tracked_sources_limit: 98_304,
        sources: vec![source("203.0.113.79", 61, 1, 61)],
        ..quiet.clone()
    };
    let hops = detect::Snapshot {
        window_nanos: 600_000_000_000,
        threshold: 60,
        subject: detect::Subject::Network(48),
        counters: counters([39, 0, 0, 0], 40, 41),
        open_scans: [5, 0, 0, 0],
        peak_distinct_ports: 62,
        tracked_sources: 42,
        tracked_sources_limit: 12_288,
        ..quiet.clone()
    };
    let many = detect::Snapshot {
        window_nanos: 180_000_000_000,
        threshold: 100,
        subject: detect::Subject::Target,
        kinds: &[detect::Kind::Distributed],
        counters: Counters { muted: 41, ..counters([0, 0, 0, 8], 36, 37) },
        open_scans: [0, 0, 0, 9],
        peak_distinct_ports: 192,
        tracked_sources: 38,
        tracked_sources_limit: 384,
        ..quiet
    };
    vec![sweeps, slow, hops, many]
}

fn lost() -> InterfaceSnapshot {
    let mut lost = scanned();
    lost.interface = String::from("wlan0");
    lost.capture.up = false;
    lost.packets = 0;
    lost.detection.counters = Counters::default();
    lost.detection.open_scans = [0; 4];
    lost.detection.peak_distinct_ports = 0;
    (lost.detection.named_hits, lost.detection.names) = (ByName::default(), Names::default());
    lost.detection.port_sources = PortSources::default();
    lost.detection.sources.clear();
    lost.detection.slower.clear();
    lost.sample = None;
    lost
}

fn state() -> ProcessState {
    ProcessState {
        build: Build {
            version: "0.1.0".into(),
            revision: "0123456789ab".into(),
            rustversion: "1.95.0".into(),
            libpcap: "1.10.3".into(),
        },
        config_last_reload_successful: true,
        config_last_reload_success: Some(Timestamp::new(1_699_999_999, 0)),
        ignored_addresses: [0.00390625, 0.0],
        ignored_ports: 2,
        places: PlaceCounts { taken: 4, limit: 4, unplaced: 3 },
        log_records_waiting: 5,
        counts: Counts::default().with([
            (Counter::RecordsError, 1),
            (Counter::RecordsWarning, 2),
            (Counter::RecordsInfo, 3),
            (Counter::RecordsDebug, 4),
            (Counter::RecordsSuppressed, 5),
            (Counter::RecordsFolded, 35),
            (Counter::Storms, 1),
            (Counter::RecordsRedirected, 6),
            (Counter::RecordsLost, 7),
            (Counter::CutCrowded, 8),
            (Counter::CutFull, 9),
            (Counter::CutHeader, 10),
            (Counter::CutIdle, 11),
            (Counter::CutRequest, 12),
            (Counter::ScrapesRefused, 13),
            (Counter::AcceptFailures, 14),
            (Counter::QuestionsRefused, 15),
            (Counter::InterfacesRefused, 16),
            (Counter::RefusedConfig, 16),
            (Counter::RefusedCredentials, 17),
            (Counter::RefusedFollowers, 18),
            (Counter::RefusedRate, 19),
            (Counter::HandshakesFailed, 20),
        ]),
        recent: Fill { scans: 21, evicted: 22 },
    }
}

fn page() -> String {
    let usage = Usage {
        cpu_seconds: Some(1.25),
        start_time_seconds: Some(1_699_999_998.75),
        resident_memory_bytes: Some(67_108_864.0),
        virtual_memory_bytes: Some(134_217_728.0),
        open_fds: Some(17.0),
        max_fds: Some(1024.0),
        threads: Some(3.0),
    };
    // Given in the wrong order, shown in the right one.
    let interfaces = [Arc::new(lost()), Arc::new(scanned())];
    String::from_utf8(metrics::render_with(&interfaces, Some((&state(), &usage)))).unwrap()
}

#[test]
fn the_whole_page_is_golden() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exposition.prom");
    let page = page();
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(golden, &page).unwrap();
    }
    let expected = std::fs::read_to_string(golden).unwrap();
    for (number, (shown, expected)) in page.lines().zip(expected.lines()).enumerate() {
        assert_eq!(shown, expected, "line {}; UPDATE_GOLDENS=1 takes the new page", number + 1);
    }
    assert_eq!(page, expected);
}

#[test]
fn every_family_is_on_the_page_in_order() {
    let page = page();
    let shown: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(shown, metrics::family_names());
}

/// The contract flattens histograms, as those who query do.
#[test]
fn the_contract_is_the_list_of_families() {
    let mut families = BTreeMap::new();
    for (name, labels) in metrics::family_labels() {
        let labels: BTreeSet<&str> = labels.iter().copied().collect();
        if page().contains(&format!("# TYPE {name} histogram\n")) {
            families.insert(format!("{name}_bucket"), &labels | &BTreeSet::from(["le"]));
            families.insert(format!("{name}_sum"), labels.clone());
            families.insert(format!("{name}_count"), labels);
        } else {
            families.insert(name.to_owned(), labels);
        }
    }
    let contract: BTreeMap<String, BTreeSet<&str>> = lab::contract::FAMILIES
        .iter()
        .map(|(name, labels)| ((*name).to_owned(), labels.iter().copied().collect()))
        .collect();
    assert_eq!(contract.len(), lab::contract::FAMILIES.len(), "a family twice");
    assert_eq!(contract, families);
}

/// The attacker: scans from more sources than get series, for as long as it takes.
#[test]
fn no_page_has_more_series_than_the_readme_says() {
    let most = Limits::default().max_sources;
    let mut full = scanned();
    let one = full.detection.sources[0];
    let source = |n| PublishedSource { source: Source::of(Ipv4Addr::from_bits(n).into(), 64), ..one };
    full.detection.sources = (0..most as u32).map(source).collect();
    full.detection.slower.iter_mut().for_each(|rule| rule.sources.clear());
    full.sample = None;
    // The operator's names, not an attacker's.
    (full.detection.named_hits, full.detection.names) = (ByName::default(), Names::default());
    let page = metrics::render(&[Arc::new(full)], Some(&state()));
    let series = String::from_utf8(page).unwrap().lines().filter(|line| !line.starts_with('#')).count();
    let readme = include_str!("../README.md");
    assert!(readme.contains(&format!("comes to {series} at most")), "{series} series");
}

/// The most that the exporter can be told to publish: as many interfaces as patterns may mean, as many sources as may have series, all of
/// them named and answered. A page beyond a limit of Prometheus is lost whole, and all alerts with it.
#[test]
fn no_shipped_limit_cuts_off_a_page_that_the_exporter_can_have() {
    let series = |interfaces: usize, sources: usize| {
        let mut full = scanned();
        let one = PublishedSource {
            answered_ports: Some(3),
            peak_unanswered_ports: Some(4),
            name: Name::new("internal_scanner"),
            ..full.detection.sources[0]
        };
        let source = |n| PublishedSource { source: Source::of(Ipv4Addr::from_bits(n).into(), 64), ..one };
        full.detection.sources = (0..sources as u32).map(source).collect();
        full.detection.slower.iter_mut().for_each(|rule| rule.sources.clear());
        (full.detection.named_hits, full.sample) = (ByName::default(), None);
        let named = |n| Arc::new(InterfaceSnapshot { interface: format!("eth{n}"), ..full.clone() });
        let interfaces: Vec<_> = (0..interfaces).map(named).collect();
        let page = String::from_utf8(metrics::render(&interfaces, Some(&state()))).unwrap();
        page.lines().filter(|line| !line.starts_with('#')).count()
    };
    let (exporter, interface) = (2 * series(1, 0) - series(2, 0), series(2, 0) - series(1, 0));
    let source = series(1, 1) - series(1, 0);
    assert_eq!(series(3, 50), exporter + 3 * (interface + 50 * source), "the formula");
    let readme = include_str!("../README.md");
    let said = format!("{exporter} + interfaces × ({interface} + {source} × sources)");
    assert!(readme.contains(&said), "the README does not say: {said}");
    let runbook = include_str!("../alerts/runbooks/PortScanExporterDown.md");
    let said = said.replace("sources", "`--publish.max-sources`");
    assert!(runbook.contains(&said), "the runbook does not say: {said}");
    let bound = |number: &str| -> usize {
        let is_bound = |line: &&str| line.starts_with(&format!("| `{number}` |")) && line.contains(" to ");
        readme
            .lines()
            .find(is_bound)
            .unwrap()
            .split(" to ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let most =
        exporter + bound("--capture.max-interfaces") * (interface + bound("--publish.max-sources") * source);
    assert!(most > 1_000_000, "does this test still read the bounds? {most}");
    for file in
        ["prometheus.yml", "kubernetes/podmonitor.yaml", "helm/portscan-exporter/templates/podmonitor.yaml"]
    {
        let path = format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let is_set = |line: &&str| !line.trim_start().starts_with(['#', '{']);
        for (key, value) in text.lines().filter(is_set).filter_map(|line| line.split_once(':')) {
            let key = key.trim_start_matches([' ', '-']).to_lowercase().replace('_', "");
            // Of bytes, targets and labels there is none either.
            assert!(!key.ends_with("limit") || key == "samplelimit", "{file}: {key}");
            if key == "samplelimit" {
                let limit: usize = value.trim().parse().unwrap();
                assert!(limit == 0 || limit >= most, "{file}: a page can have {most} series, not {limit}");
            }
        }
    }
}

fn promtool_finds(page: &[u8]) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed for this test (Debian: prometheus)");
    promtool.stdin.take().unwrap().write_all(page).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let found = [output.stdout, output.stderr].concat();
    format!("{}{}", String::from_utf8_lossy(&found), if output.status.success() { "" } else { "failed" })
}

#[test]
fn promtool_finds_nothing() {
    assert_eq!(promtool_finds(page().as_bytes()), "");
    // The real process, and the page of a replay.
    let interfaces = [Arc::new(scanned())];
    assert_eq!(promtool_finds(&metrics::render(&interfaces, Some(&state()))), "");
    assert_eq!(promtool_finds(&metrics::render(&interfaces, None)), "");
    // It does look.
    assert_ne!(promtool_finds(b"# TYPE x_total gauge\nx_total 1\n"), "");
}

#[test]
fn process_numbers_are_not_cut_to_whole_seconds() {
    let page = String::from_utf8(metrics::render(&[], Some(&state()))).unwrap();
    let value = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert!(value("process_start_time_seconds ") > 1.7e9);
    assert!(value("process_cpu_seconds_total ") < 1000.0);
    assert!(value("process_open_fds ") >= 3.0);
    assert!(value("process_threads ") >= 1.0);
}
