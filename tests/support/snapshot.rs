//! A snapshot for tests. What a test is about, it says by name.

use portscan_exporter::capture::CaptureStatus;
use portscan_exporter::detect;
use portscan_exporter::packet::Timestamp;
use portscan_exporter::publish::snapshot::InterfaceSnapshot;

/// An interface that captures by the default rule and has seen nothing.
pub(crate) fn quiet(interface: &str) -> InterfaceSnapshot {
    InterfaceSnapshot {
        interface: interface.to_owned(),
        capture: CaptureStatus { up: true, ..CaptureStatus::default() },
        packets: 0,
        skipped: Default::default(),
        events_lost: 0,
        detection: detect::Snapshot {
            time: Timestamp::new(1_700_000_000, 0),
            window_nanos: 10_000_000_000,
            threshold: 20,
            block_ports: None,
            subject: detect::Subject::Source,
            kinds: &[detect::Kind::Vertical],
            parties: detect::Parties::of(64),
            hold_nanos: 300_000_000_000,
            counters: detect::Counters::default(),
            open_scans: Default::default(),
            scans: Vec::new(),
            peak_distinct_ports: 0,
            tracked_sources: 0,
            tracked_sources_limit: 100_000,
            saturated_sources: 0,
            sources: Vec::new(),
            published_sources_limit: 100,
            names: Default::default(),
            named_hits: Default::default(),
            suppressed_sources: 0,
            port_sources: Default::default(),
            slower: Vec::new(),
        },
        sample: None,
    }
}
