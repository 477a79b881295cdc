//! Where the nanoseconds of one packet go: decode, observe, tick, snapshot; and those of one scrape.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lab::frames;
use lab::traffic::{Attack, Flood, SECOND, START, Space};
use portscan_exporter::capture::CaptureStatus;
use portscan_exporter::detect::{BATCH, Detector, Limits, Origin, Policy, Probe};
use portscan_exporter::packet::decode;
use portscan_exporter::packet::{LinkType, Timestamp};
use portscan_exporter::publish::metrics::{self, ProcessState};
use portscan_exporter::publish::snapshot::InterfaceSnapshot;
use std::sync::Arc;

fn main() {
    divan::main();
}

/// An Ethernet frame with a TCP segment of these flags; tags and family as asked.
fn frame(flags: u8, tags: usize, ipv6: bool) -> Vec<u8> {
    let (tags, segment) = (vec![0x8100; tags], frames::tcp(flags));
    if ipv6 {
        frames::tagged(&tags, frames::IPV6, &frames::ipv6(frames::TCP, &segment))
    } else {
        frames::tagged(&tags, frames::IPV4, &frames::ipv4(frames::TCP, &segment))
    }
}

#[divan::bench(args = ["syn", "ack", "syn tagged", "syn ipv6", "ack ipv6", "syn tagged ipv6"])]
fn decodes(bencher: Bencher, what: &str) {
    let flags = if what.starts_with("syn") { frames::SYN } else { frames::ACK };
    let frame = frame(flags, usize::from(what.contains("tagged")), what.ends_with("ipv6"));
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| black_box(decode(LinkType::Ethernet, Timestamp(START), black_box(&frame))).is_ok());
}

/// Probes in a batch of the benchmark.
const PROBES: u64 = 1 << 15;

fn detector() -> Detector {
    Detector::new(Policy::default(), Limits::default(), 1, Origin::File)
}

fn observe(detector: &mut Detector, probes: &[Probe]) {
    for batch in probes.chunks(BATCH) {
        detector.observe(batch, &mut |event| {
            black_box(event);
        });
    }
}

/// A detector under a flood of this kind, and what comes next of it: always new sources.
struct Flooded {
    detector: Detector,
    flood: Attack,
    next: u64,
}

impl Flooded {
    fn by(flood: Flood, before: u64) -> Self {
        let mut flooded = Self { detector: detector(), flood: Attack::of(flood), next: 0 };
        while flooded.next < before {
            let probes = flooded.take();
            observe(&mut flooded.detector, &probes);
        }
        flooded
    }

    fn take(&mut self) -> Vec<Probe> {
        let from = self.next;
        self.next += PROBES;
        (from..self.next).map(|n| self.flood.spoofed(n)).collect()
    }
}

/// A known source asks again: `hit`; one of so many known ones: sources.
#[divan::bench(args = [1, 1_000, 40_000])]
fn observe_known_sources(bencher: Bencher, sources: u64) {
    let mut detector = detector();
    let mut n = 0;
    let mut probes = || -> Vec<Probe> {
        (0..PROBES)
            .map(|_| {
                n += 1;
                let source = Space::Ipv4.spoofed(lab::traffic::Draw(n).below(sources));
                Probe { source, port: n as u16 % 10, ..Attack::of(Flood::Burst(1)).spoofed(0) }
            })
            .collect()
    };
    observe(&mut detector, &probes());
    let probes = probes();
    bencher.counter(ItemsCount::new(PROBES)).bench_local(|| observe(&mut detector, black_box(&probes)));
}

/// New sources, each with one packet: the table has room at first, then the doorkeeper has them.
#[divan::bench]
fn observe_new_sources_at_the_door(bencher: Bencher) {
    let mut flooded = Flooded::by(Flood::Burst(1), 4_000_000);
    bencher.counter(ItemsCount::new(PROBES)).with_inputs(|| flooded.take()).bench_local_values({
        let mut detector = Flooded::by(Flood::Burst(1), 4_000_000).detector;
        move |probes| observe(&mut detector, &probes)
    });
}

/// New sources of five ports each push one another out of a full table.
#[divan::bench]
fn observe_full_table(bencher: Bencher) {
    let mut flooded = Flooded::by(Flood::Burst(5), 4_000_000);
    bencher.counter(ItemsCount::new(PROBES)).with_inputs(|| flooded.take()).bench_local_values({
        let mut detector = Flooded::by(Flood::Burst(5), 4_000_000).detector;
        move |probes| observe(&mut detector, &probes)
    });
}

/// New sources while the table has room: each gets an entry.
#[divan::bench]
fn observe_first_sources(bencher: Bencher) {
    let flood = Attack::of(Flood::Burst(1));
    let probes: Vec<Probe> = (0..PROBES).map(|n| flood.spoofed(n)).collect();
    bencher
        .counter(ItemsCount::new(PROBES))
        .with_inputs(detector)
        .bench_local_refs(|detector| observe(detector, &probes));
}

/// A tick: every source is brought to the present.
#[divan::bench(args = ["empty", "full"])]
fn tick(bencher: Bencher, what: &str) {
    let mut detector =
        if what == "full" { Flooded::by(Flood::Burst(5), 2_000_000).detector } else { detector() };
    let mut now = START + 2 * SECOND;
    bencher.bench_local(|| {
        now += 1_000;
        detector.advance(Timestamp(now), &mut |_| {});
    });
}

/// What a tick publishes.
#[divan::bench(args = ["empty", "full"])]
fn snapshot(bencher: Bencher, what: &str) {
    let detector = if what == "full" { Flooded::by(Flood::Burst(5), 2_000_000).detector } else { detector() };
    bencher.bench_local(|| black_box(detector.snapshot()));
}

/// What a scrape renders: an interface without sources, or with as many as are published at most.
#[divan::bench(args = ["empty", "full"])]
fn page(bencher: Bencher, what: &str) {
    let detector =
        if what == "full" { Flooded::by(Flood::Burst(15), 2_000_000).detector } else { detector() };
    let detection = detector.snapshot();
    let published = if what == "full" { detection.published_sources_limit } else { 0 };
    assert_eq!(detection.sources.len() as u64, published, "else it measures another page than it says");
    let interfaces = [Arc::new(InterfaceSnapshot {
        interface: String::from("eth0"),
        capture: CaptureStatus { up: true, ..CaptureStatus::default() },
        packets: 2_000_000,
        skipped: Default::default(),
        events_lost: 0,
        detection,
        sample: None,
    })];
    let process = ProcessState::default();
    bencher.bench_local(|| black_box(metrics::render(black_box(&interfaces), Some(&process))));
}
