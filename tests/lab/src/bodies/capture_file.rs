//! pcap and pcapng files, from their bytes to the report.

use super::{assert_one_line, in_memory};
use portscan_exporter::capture::Wake;
use portscan_exporter::capture::{CaptureStatus, FrameSink, read_file};
use portscan_exporter::detect::{Limits, Policy, Scan};
use portscan_exporter::events::record::Record;
use portscan_exporter::packet::{LinkType, Timestamp};
use portscan_exporter::replay::replay;
use std::path::Path;

/// The bytes of a capture file.
pub fn file(bytes: &[u8]) {
    let path = in_memory(bytes);
    every_frame_of_libpcap(&path, bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
    // So few ports and so little memory that a short file makes scans and evictions.
    let policy = Policy { threshold: 3, quiet_nanos: 5_000_000_000, ..Policy::default() };
    let limits = Limits { memory_bytes: 64 << 10, min_ports: 2, max_sources: 4, ..Limits::default() };
    let read = |limits: Limits| {
        let mut scans: Vec<Scan> = Vec::new();
        let wake = Wake::new().expect("an eventfd");
        let (outcome, error) = replay(&path, policy.clone(), limits, &wake, &mut |scan| scans.push(*scan));
        (outcome, error, scans)
    };
    // Sources are hashed with a random key: nothing depends on it while nobody has to go.
    let roomy = Limits { memory_bytes: 4 << 20, ..limits };
    let (outcome, error, scans) = read(roomy);
    let (again, error_again, scans_again) = read(roomy);
    assert_eq!(
        (&outcome.snapshot, outcome.span, outcome.disorder, &error),
        (&again.snapshot, again.span, again.disorder, &error_again)
    );
    assert_eq!(scans, scans_again, "the same file reads the same twice");
    let (outcome, error, scans) = read(limits);

    if let Some(error) = &error {
        assert_one_line(error);
    }
    let snapshot = &outcome.snapshot;
    let probes: u64 = snapshot.detection.counters.probes.iter().flatten().sum();
    assert_eq!(
        snapshot.packets,
        probes + snapshot.skipped.iter().sum::<u64>(),
        "every frame is counted once"
    );
    assert!(snapshot.packets > 0 || outcome.span.is_none());
    assert_eq!(
        snapshot.detection.counters.hits.iter().sum::<u64>(),
        scans.len() as u64,
        "one scan for each hit"
    );
    assert!(snapshot.detection.sources.len() <= limits.max_sources);
    for scan in &scans {
        // A source that goes on after its scan ended has ports in the window from before this scan: fewer probes than ports.
        assert!(scan.distinct_ports >= policy.threshold && scan.probes > 0);
        assert!(scan.peak_distinct_ports <= scan.distinct_ports && scan.ports <= scan.peak_distinct_ports);
        let line = Record { scan, interface: "input", clock_steps: outcome.disorder.steps }.json();
        assert_one_line(&line);
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(read["distinct_ports"], scan.distinct_ports);
    }
}

/// Frames as they are handed over, with the link type in force.
#[derive(Default)]
struct Frames {
    link: Option<LinkType>,
    frames: Vec<(LinkType, Timestamp, Vec<u8>)>,
}

impl FrameSink for Frames {
    fn opened(&mut self, link: LinkType) {
        self.link = Some(link);
    }
    fn frame(&mut self, time: Timestamp, bytes: &[u8]) {
        self.frames.push((self.link.expect("a link type comes first"), time, bytes.to_vec()));
    }
    fn batch_end(&mut self) {}
    fn tick(&mut self, _: &CaptureStatus) {
        panic!("files have no ticks");
    }
}

/// What libpcap's own reader gives, ours gives too: as many frames or more, the same bytes or more of each, and the same times.
pub fn every_frame_of_libpcap(path: &Path, pcapng: bool) {
    let mut ours = Frames::default();
    let (account, _) = read_file(path, &mut ours, &Wake::new().expect("an eventfd"), |_| {});
    assert_eq!(account.frames, ours.frames.len() as u64);
    let Ok(mut theirs) = pcap::Capture::from_file_with_precision(path, pcap::Precision::Nano) else { return };
    let Some(link) = LinkType::from_dlt(theirs.get_datalink().0) else { return };
    let mut frames = ours.frames.iter();
    while let Ok(wanted) = theirs.next_packet() {
        let (of, time, bytes) = frames.next().expect("a frame that libpcap gives");
        assert_eq!(*of, link);
        assert!(bytes.starts_with(wanted.data), "{bytes:x?} instead of {:x?}", wanted.data);
        let [seconds, nanos] = [wanted.header.ts.tv_sec, wanted.header.ts.tv_usec];
        // Beyond that a clock has no name for it; libpcap wraps around.
        if let (Ok(seconds @ 0..0x1_0000_0000), Ok(nanos @ 0..1_000_000_000)) =
            (u64::try_from(seconds), u32::try_from(nanos))
            && time.nanos() < u64::MAX
        {
            let wanted = Timestamp::new(seconds, nanos);
            // Fractions of fine powers of two overflow in libpcap.
            let fine = pcapng && *time != wanted;
            assert!(
                if fine { time.nanos() / 1_000_000_000 == seconds } else { *time == wanted },
                "{time:?} {wanted:?}"
            );
        }
    }
}
