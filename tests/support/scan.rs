//! A scan for tests. What a test is about, it says by name:
//! `Scan { probes: 2011, ..scan("198.51.100.7", "192.0.2.10:22") }`.

use portscan_exporter::detect::{
    Kind, PortRanges, PortSample, Scan, ScanId, Source, SourceSample, Technique,
};
use portscan_exporter::packet::Timestamp;
use std::net::SocketAddr;

/// When it starts: 2026-11-23T10:00:00Z.
pub(crate) const START: Timestamp = Timestamp(1_795_428_000_000_000_000);

/// So many milliseconds after its start.
pub(crate) fn after(millis: u64) -> Timestamp {
    START.saturating_add(millis * 1_000_000)
}

/// Twenty ports of one host within 0.21 s, as the default rule finds them.
pub(crate) fn scan(source: &str, target: &str) -> Scan {
    let address = source.parse().expect("an address");
    let target: SocketAddr = target.parse().expect("an address with a port");
    let target = (target.ip(), target.port());
    Scan {
        id: ScanId(0x1f),
        source: Source::of(address, 64),
        source_address: address,
        kind: Kind::Vertical,
        technique: Technique::Syn,
        window_nanos: 10_000_000_000,
        started: START,
        detected: after(210),
        last_probe: after(210),
        ended: None,
        probes: 21,
        ports: 20,
        distinct_ports: 20,
        name: None,
        lower_bound: false,
        peak_distinct_ports: 20,
        distinct_sources: 1,
        distinct_hosts: 1,
        busiest_host_ports: 20,
        first_target: target,
        target,
        sample_ports: PortSample::lowest([80, 22, 25, 21, 23, 110, 443]),
        asked: PortRanges::of([21, 22, 23, 25, 80, 110, 443]),
        sample_sources: SourceSample::NONE,
        tool: Default::default(),
        provenance: Default::default(),
        tool_confidence: None,
        signature: Default::default(),
        evidence: Default::default(),
        replies: None,
    }
}
