//! The clock steps, jumps and sleeps, and stamps are absurd: nothing is invented, and nobody is hidden. A live sink in a time of its
//! own, and files; no root is needed.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

use portscan_exporter::capture::{CaptureStatus, FrameSink as _};
use portscan_exporter::detect::{EventKind, Limits, Origin, Policy, ScanEvent};
use portscan_exporter::packet::{LinkType, Timestamp};
use portscan_exporter::pipeline::{LiveSink, Pipeline, Publisher};
use portscan_exporter::publish::snapshot::InterfaceSnapshot;
use portscan_exporter::system::clock::StepWatch;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// What a live sink told, driven by a clock that can be stepped.
#[derive(Default)]
struct Told {
    hits: Vec<String>,
    ended: usize,
    latest: Option<InterfaceSnapshot>,
}

struct Ear(Arc<Mutex<Told>>);

impl Publisher for Ear {
    fn scan(&mut self, event: ScanEvent) -> bool {
        let mut told = self.0.lock().unwrap();
        match event.kind {
            EventKind::Hit => told.hits.push(event.scan.source.to_string()),
            EventKind::Ended => told.ended += 1,
            EventKind::Grown => {}
        }
        true
    }

    fn capture_changed(&mut self, _: Option<&str>) {}

    fn publish(&mut self, snapshot: InterfaceSnapshot) {
        self.0.lock().unwrap().latest = Some(snapshot);
    }
}

/// A live sink in a time of its own: the kernel stamps frames by the wall clock, which may be stepped, and ticks come
/// once a second of the steady one.
struct Wire {
    sink: LiveSink<Ear>,
    told: Arc<Mutex<Told>>,
    clocks: Arc<Mutex<(Timestamp, Duration)>>,
    next_tick: Duration,
    slow_port: u16,
}

const SECOND: u64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND as i64;

impl Wire {
    fn new() -> Self {
        let start = Duration::from_secs(1_000);
        let clocks = Arc::new(Mutex::new((Timestamp::new(1_795_428_000, 0), start)));
        let read = Arc::clone(&clocks);
        let told = Arc::new(Mutex::new(Told::default()));
        let pipeline = Pipeline::new(Policy::default(), Limits::default(), 1, Origin::Live);
        let mut sink = LiveSink::with_clock(
            "eth0",
            pipeline,
            Ear(Arc::clone(&told)),
            mpsc::channel().1,
            StepWatch::over(move || *read.lock().unwrap()),
        );
        sink.opened(LinkType::Ethernet);
        Self { sink, told, clocks, next_tick: start, slow_port: 0 }
    }

    fn wall(&self) -> Timestamp {
        self.clocks.lock().unwrap().0
    }

    /// Time goes on by so many nanoseconds; ticks fall where they fall.
    fn pass(&mut self, nanos: u64) {
        self.sleep(nanos);
        let now = self.clocks.lock().unwrap().1;
        if now >= self.next_tick {
            self.next_tick = now + Duration::from_secs(1);
            self.sink.tick(&CaptureStatus { up: true, ..CaptureStatus::default() });
        }
    }

    /// Time goes on, and nobody ticks.
    fn sleep(&mut self, nanos: u64) {
        let mut clocks = self.clocks.lock().unwrap();
        *clocks = (clocks.0.saturating_add(nanos), clocks.1 + Duration::from_nanos(nanos));
    }

    fn step(&mut self, nanos: i64) {
        let mut clocks = self.clocks.lock().unwrap();
        clocks.0 = Timestamp(clocks.0.nanos().saturating_add_signed(nanos));
    }

    /// A SYN from 203.0.113.SOURCE with this stamp, handed over at once.
    fn syn_at(&mut self, time: Timestamp, source: u8, port: u16) {
        self.sink.frame(time, &lab::frames::syn(Ipv4Addr::new(203, 0, 113, source), &[], port));
        self.sink.batch_end();
    }

    /// Ports a tenth of a second apart, beside a source that probes a port a second: never 20 in 10 s.
    fn scan(&mut self, source: u8, ports: std::ops::Range<u16>) {
        for port in ports {
            self.pass(SECOND / 10);
            self.syn_at(self.wall(), source, port);
            if port % 10 == 0 {
                self.slow_port += 1;
                self.syn_at(self.wall(), 250, 1_000 + self.slow_port);
            }
        }
    }

    /// The slow source alone, for so many seconds.
    fn slow(&mut self, seconds: u16) {
        for _ in 0..seconds {
            self.pass(SECOND);
            self.slow_port += 1;
            self.syn_at(self.wall(), 250, 1_000 + self.slow_port);
        }
    }

    fn hits(&self) -> Vec<String> {
        self.told.lock().unwrap().hits.clone()
    }

    fn pauses(&self) -> u64 {
        self.told.lock().unwrap().latest.as_ref().unwrap().capture.pauses
    }

    fn steps(&self) -> u64 {
        self.told.lock().unwrap().latest.as_ref().unwrap().detection.counters.clock_steps
    }

    /// Time goes on: scans end, a fresh one is found, nobody else is, and nothing is left in memory.
    fn goes_on(mut self, hits: &[&str], steps: u64) {
        assert_eq!(self.hits(), hits);
        self.slow(400);
        assert_eq!(self.hits(), hits, "a slow source is no scan, whatever the clock did");
        assert_eq!(self.told.lock().unwrap().ended, hits.len(), "a scan that is over has not ended");
        self.scan(200, 1..31);
        assert_eq!(self.hits().last().map(String::as_str), Some("203.0.113.200"));
        for _ in 0..800 {
            self.pass(SECOND);
        }
        assert_eq!(self.steps(), steps);
        let told = self.told.lock().unwrap();
        let detection = &told.latest.as_ref().unwrap().detection;
        assert_eq!((detection.tracked_sources, detection.open_scans), (0, [0; 4]), "{detection:?}");
        assert_eq!((detection.counters.evicted, told.hits.len()), ([0; 5], hits.len() + 1));
        // What is shown is in the clock's time, not in the detector's own.
        assert!(self.wall().nanos().abs_diff(detection.time.nanos()) < 2 * SECOND);
    }
}

/// A step in the middle of a scan, and in the middle of the second between two ticks.
fn stepped(by: i64) {
    let mut wire = Wire::new();
    wire.slow(15);
    wire.scan(1, 1..11);
    wire.pass(SECOND / 3);
    wire.step(by);
    wire.scan(1, 11..31);
    wire.goes_on(&["203.0.113.1"], 1);
}

#[test]
fn a_clock_set_back_a_day_neither_blinds_nor_invents() {
    stepped(-DAY);
}

#[test]
fn a_clock_set_forward_a_day_neither_blinds_nor_invents() {
    stepped(DAY);
}

#[test]
fn a_clock_that_jumps_to_and_fro_neither_blinds_nor_invents() {
    let mut wire = Wire::new();
    wire.scan(1, 1..11);
    for step in [DAY, -2 * DAY, DAY / 24, 300 * DAY, -299 * DAY] {
        wire.step(step);
        wire.pass(SECOND);
    }
    wire.scan(1, 11..31);
    wire.goes_on(&["203.0.113.1"], 5);
}

/// A stopped process, a frozen container: the capture hands over what waited, each with its own stamp, before it ticks again.
#[test]
fn a_pause_of_25_seconds_invents_nothing() {
    let mut wire = Wire::new();
    wire.slow(15);
    for _ in 0..25 {
        wire.sleep(SECOND);
        wire.slow_port += 1;
        let frame = lab::frames::syn(Ipv4Addr::new(203, 0, 113, 250), &[], 1_000 + wire.slow_port);
        wire.sink.frame(wire.wall(), &frame);
    }
    wire.sink.batch_end();
    wire.pass(0);
    assert_eq!(wire.pauses(), 1);
    wire.scan(1, 1..31);
    wire.goes_on(&["203.0.113.1"], 0);
}

/// The machine slept for an hour: the steady clock did as well, and neither is a step.
#[test]
fn a_machine_that_slept_has_paused_and_no_clock_stepped() {
    let mut wire = Wire::new();
    wire.slow(15);
    wire.scan(1, 1..11);
    wire.sleep(3_600 * SECOND);
    wire.pass(0);
    assert_eq!((wire.pauses(), wire.steps()), (1, 0));
    wire.scan(2, 1..31);
    wire.goes_on(&["203.0.113.2"], 0);
}

/// What the ring still holds when the step is noticed was stamped by the clock as it was.
#[test]
fn frames_stamped_before_a_step_and_seen_after_it_do_no_harm() {
    for by in [-DAY, DAY] {
        let mut wire = Wire::new();
        wire.scan(1, 1..11);
        let stale = wire.wall();
        wire.step(by);
        wire.pass(SECOND);
        for port in 11..21 {
            wire.syn_at(stale, 1, port);
        }
        wire.scan(1, 21..31);
        wire.goes_on(&["203.0.113.1"], 1);
    }
}

/// No clock stepped, but a stamp is wrong: what a broken driver or a program on this host can put on a frame.
#[test]
fn a_live_frame_with_an_absurd_time_counts_as_now() {
    for absurd in [Timestamp(0), Timestamp(1), Timestamp::new(u32::MAX.into(), 0), Timestamp(u64::MAX)] {
        let mut wire = Wire::new();
        wire.scan(1, 1..26);
        wire.syn_at(absurd, 2, 1);
        wire.scan(1, 26..31);
        wire.scan(3, 1..26);
        wire.goes_on(&["203.0.113.1", "203.0.113.3"], 0);
    }
    // Disorder within a batch: each counts, none later than now.
    let mut wire = Wire::new();
    let now = wire.wall().nanos();
    for port in 1..31 {
        let time = now + u64::from(port * 7 % 31) * SECOND / 10 - 2 * SECOND;
        wire.sink.frame(Timestamp(time), &lab::frames::syn(Ipv4Addr::new(203, 0, 113, 1), &[], port));
    }
    wire.sink.batch_end();
    wire.goes_on(&["203.0.113.1"], 0);
}

/// A capture file of these frames.
fn file_of(frames: &[(u32, Ipv4Addr, u16)]) -> tempfile::NamedTempFile {
    let frames = frames
        .iter()
        .map(|&(seconds, source, port)| (u64::from(seconds) * SECOND, lab::frames::syn(source, &[], port)));
    let file = tempfile::NamedTempFile::new().unwrap();
    lab::files::write(file.path(), frames);
    file
}

/// Broken stamps, many of them, between a scan and another: both are found, and nobody else.
#[test]
fn a_file_with_absurd_times_is_read_to_its_end() {
    let address = |last| Ipv4Addr::new(203, 0, 113, last);
    for rounds in [1, 50, 1_000] {
        let mut frames: Vec<(u32, Ipv4Addr, u16)> = Vec::new();
        let start = 1_795_428_000;
        let scan = |at: u32, last| (1..26).map(move |port| (at + u32::from(port) / 10, address(last), port));
        frames.extend(scan(start, 1));
        for n in 0..rounds {
            let stamp = [u32::MAX, 0, 1, u32::MAX - 1][n % 4];
            frames.push((stamp, address(2), 80));
            frames.push((start + 10, address(2), 80));
        }
        frames.extend(scan(start + 100, 3));
        // A port every 20 s, too few for the slow rule: were time to stand still, a scan.
        frames.extend((0..50).map(|n| (start + 200 + u32::from(n) * 20, address(4), n + 1)));
        frames.extend(scan(start + 2_000, 5));
        let file = file_of(&frames);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
            .args(["replay", "--format=json"])
            .arg(file.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let found: Vec<(String, u64, String)> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|scan| {
                let text = |name: &str| scan[name].as_str().unwrap().to_owned();
                (text("source"), scan["distinct_ports"].as_u64().unwrap(), text("started"))
            })
            .collect();
        let scan =
            |last: u8, time: &str| (address(last).to_string(), 25, format!("2026-11-23T{time}.000000Z"));
        assert_eq!(found, [scan(1, "10:00:00"), scan(3, "10:01:40"), scan(5, "10:33:20")], "{rounds} rounds");
    }
}

/// Times no file or driver gives: the detector itself does not stop, panic or invent at the end of time.
#[test]
fn the_end_of_time_is_not_the_end() {
    let mut pipeline = Pipeline::new(Policy::default(), Limits::default(), 1, Origin::File);
    pipeline.opened(LinkType::Ethernet);
    let mut hits = Vec::new();
    let mut tell = |event: ScanEvent| {
        if event.kind == EventKind::Hit {
            hits.push(event.scan.source.to_string());
        }
    };
    let mut put = |time: u64, last: u8, port: u16| {
        let _ =
            pipeline.frame(Timestamp(time), &lab::frames::syn(Ipv4Addr::new(203, 0, 113, last), &[], port));
        pipeline.flush(&mut tell);
    };
    for round in 0..200 {
        put(u64::MAX - round, 1, 1);
        put(round, 1, 2);
    }
    for port in 1..100 {
        put(u64::from(port) * 20 * SECOND, 2, port);
    }
    for port in 1..26 {
        put(3_000 * SECOND, 3, port);
    }
    put(u64::MAX, 1, 1);
    for port in 1..26 {
        put(4_000 * SECOND, 4, port);
    }
    assert_eq!(hits, ["203.0.113.3", "203.0.113.4"]);
}
