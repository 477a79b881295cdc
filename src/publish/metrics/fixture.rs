//! Hand-made snapshots for tests.

use crate::capture::CaptureStatus;
use crate::detect;
use crate::packet::Timestamp;
use crate::publish::snapshot::InterfaceSnapshot;

/// An interface that captures and has seen nothing.
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
            hold_nanos: 300_000_000_000,
            tally: detect::Tally::default(),
            open_scans: Default::default(),
            peak_distinct_ports: 0,
            tracked_sources: 0,
            tracked_sources_limit: 100_000,
            saturated_sources: 0,
            sources: Vec::new(),
            published_sources_limit: 100,
            suppressed_sources: 0,
        },
        sample: None,
    }
}
