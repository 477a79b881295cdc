//! pcap and pcapng files, from their bytes to the report.

use super::{assert_one_line, in_memory};
use portscan_exporter::detect::{Limits, Policy, Scan};
use portscan_exporter::replay::replay;
use portscan_exporter::report::json_line;
use std::sync::atomic::AtomicBool;

/// The bytes of a capture file.
pub fn file(bytes: &[u8]) {
    let path = in_memory(bytes);
    // So few ports and so little memory that a short file makes scans and evictions.
    let policy = Policy { threshold: 3, quiet_nanos: 5_000_000_000, ..Policy::default() };
    let limits = Limits { memory_bytes: 64 << 10, min_ports: 2, max_sources: 4, ..Limits::default() };
    let read = || {
        let mut scans: Vec<Scan> = Vec::new();
        let stop = AtomicBool::new(false);
        let outcome = replay(&path, policy.clone(), limits, &stop, &mut |scan| scans.push(*scan));
        (outcome, scans)
    };
    let (outcome, scans) = read();
    let (again, scans_again) = read();
    assert_eq!(
        (&outcome.snapshot, outcome.span, &outcome.error),
        (&again.snapshot, again.span, &again.error)
    );
    assert_eq!(scans, scans_again, "the same file reads the same twice");

    if let Some(error) = &outcome.error {
        assert_one_line(error);
    }
    let snapshot = &outcome.snapshot;
    let probes: u64 = snapshot.detection.tally.probes.iter().flatten().sum();
    assert_eq!(
        snapshot.packets,
        probes + snapshot.skipped.iter().sum::<u64>(),
        "every frame is counted once"
    );
    assert_eq!(snapshot.packets > 0, outcome.span.is_some());
    assert_eq!(
        snapshot.detection.tally.hits.iter().sum::<u64>(),
        scans.len() as u64,
        "one scan for each hit"
    );
    assert!(snapshot.detection.sources.len() <= limits.max_sources);
    for scan in &scans {
        // A source that goes on after its scan ended has ports in the window from before this scan: fewer probes than ports.
        assert!(scan.distinct_ports >= policy.threshold && scan.probes > 0);
        assert!(scan.peak_distinct_ports <= scan.distinct_ports && scan.ports <= scan.peak_distinct_ports);
        let line = json_line(scan, "input");
        assert_one_line(&line);
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(read["distinct_ports"], scan.distinct_ports);
    }
}
