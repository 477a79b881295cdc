//! `replay` as people use it: a live pipe, signals, rotated files, and files out of order.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

use assert_cmd::cargo::cargo_bin;
use lab::files::{header, record};
use portscan_exporter::capture::Wake;
use portscan_exporter::detect::{Limits, Policy, Scan, ScanId};
use portscan_exporter::packet::Timestamp;
use portscan_exporter::replay::replay;
use portscan_exporter::system::clock;
use proptest::prelude::*;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const START: u64 = 1_700_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A SYN of 198.51.100.`source` to a port of 192.0.2.10, as a record of a file.
fn syn(time: u64, source: u8, port: u16) -> Vec<u8> {
    record(time, &lab::frames::syn([198, 51, 100, source], &[], port))
}

/// A scan of 30 ports in 3 seconds.
fn scan(start: u64) -> Vec<u8> {
    (0..30).flat_map(|n| syn(start + n * SECOND / 10, 7, 1000 + n as u16)).collect()
}

struct Running(Child);

impl Running {
    fn start(format: &str) -> Self {
        Self::of(Path::new("-"), format)
    }

    fn of(file: &Path, format: &str) -> Self {
        let mut command = Command::new(cargo_bin!("portscan_exporter"));
        command.arg("replay").arg(file).args(["--format", format]);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until it listens to a signal.
    fn until_it_listens(&self, signal: Signal) {
        let bit = 1_u64 << (signal.as_raw() - 1);
        let deadline = clock::steady() + Duration::from_secs(20);
        loop {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            if u64::from_str_radix(caught.trim(), 16).unwrap() & bit != 0 {
                return;
            }
            assert!(clock::steady() < deadline, "it never listens to {signal:?}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Its exit code, and what it said on standard error. It has 20 s to end.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = clock::steady() + Duration::from_secs(20);
        let status = loop {
            match self.0.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(clock::steady() < deadline, "it does not end"),
            }
            std::thread::park_timeout(Duration::from_millis(10));
        };
        let mut said = String::new();
        self.0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), said)
    }

    fn feed(&mut self, bytes: &[u8]) {
        let pipe = self.0.stdin.as_mut().unwrap();
        pipe.write_all(bytes).unwrap();
        pipe.flush().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn on_a_live_pipe_a_scan_is_told_when_it_has_ended_and_not_at_the_end() {
    let mut running = Running::start("json");
    running.feed(&[header(), scan(START)].concat());
    // A minute of quiet later, on the packets' time, somebody else asks for a port.
    running.feed(&(0..10).flat_map(|n| syn(START + (80 + 2 * n) * SECOND, 9, 443)).collect::<Vec<_>>());
    let mut line = String::new();
    // The pipe is open: without a line this waits until the harness gives up.
    BufReader::new(running.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&told["distinct_ports"], &told["source"]), (&30.into(), &"198.51.100.7".into()));
    assert!(told["ended"].is_string(), "{line}");
}

#[test]
fn sigint_and_sigterm_end_the_reading_and_the_report_follows() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut running = Running::start("json");
        // What has been told shows that all before it was read.
        let last = (0..10).flat_map(|n| syn(START + (80 + 2 * n) * SECOND, 9, 443)).collect::<Vec<_>>();
        running.feed(&[header(), scan(START), last, scan(START + 100 * SECOND)].concat());
        let mut out = BufReader::new(running.0.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        kill_process(Pid::from_child(&running.0), signal).unwrap();
        let (mut told, mut said) = (String::new(), String::new());
        out.read_to_string(&mut told).unwrap();
        running.0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        assert!(told.contains("\"ended\":null"), "{signal:?}: {told}");
        assert!(said.contains("stopped by a signal"), "{signal:?}: {said}");
        assert_eq!(running.0.wait().unwrap().code(), Some(0), "{signal:?}");
    }
}

/// A source that asks 192.0.2.10 for a new port each so often, in nanoseconds.
fn slowly(source: u8, ports: u64, pace: u64) -> Vec<(u64, Vec<u8>)> {
    (0..ports).map(|n| (START + n * pace, syn(START + n * pace, source, 1000 + n as u16))).collect()
}

/// What is told with these flags of what came at these times: of each scan the last number of its source, its ports, and the window.
fn told(flags: &[&str], mut records: Vec<(u64, Vec<u8>)>) -> Vec<String> {
    records.sort_by_key(|(time, _)| *time);
    let file = tempfile::NamedTempFile::new().unwrap();
    let records: Vec<u8> = records.into_iter().flat_map(|(_, record)| record).collect();
    std::fs::write(file.path(), [header(), records].concat()).unwrap();
    let mut command = Command::new(cargo_bin!("portscan_exporter"));
    let output = command.args(["replay", "--format=json"]).args(flags).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let scan = |line: &str| {
        let scan: serde_json::Value = serde_json::from_str(line).unwrap();
        let source = scan["source"].as_str().unwrap().strip_prefix("198.51.100.").unwrap().to_owned();
        format!("{source}: {} within {} s", scan["distinct_ports"], scan["window_seconds"])
    };
    let mut scans: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(scan).collect();
    scans.sort();
    scans
}

/// One is for scans that take minutes, one for hours, one for a day: each finds its own and nothing of the others, and no scan is two.
#[test]
fn three_slow_rules_find_a_scan_each() {
    let mut records = slowly(1, 30, SECOND / 10);
    // Each lasts longer than it takes to be found, and none reaches the threshold of another: 45 ports within 10 minutes and in all, 13
    // within 10 minutes and 70 in all, 13 within an hour and 230 in all; and nobody finds 190 within a day. The last would be found by all
    // three.
    for (source, ports, seconds) in [(2, 45, 12), (3, 70, 45), (4, 230, 300), (5, 190, 330), (6, 250, 12)] {
        records.extend(slowly(source, ports, seconds * SECOND));
    }
    let told = |flags: &[&str]| told(flags, records.clone());
    let (fast, hour) = ("1: 30 within 10 s", "3: 70 within 3600 s");
    assert_eq!(told(&[]), [fast, hour, "6: 250 within 3600 s"]);
    assert_eq!(told(&["--detection.slow-threshold=0"]), [fast]);
    assert_eq!(
        told(&["--detection.slow-window=10m,1h,24h", "--detection.slow-threshold=40,60,200"]),
        [fast, "2: 45 within 600 s", hour, "4: 230 within 86400 s", "6: 250 within 600 s"]
    );
}

/// The slowest even scan that a rule finds asks for a port each window / (ports - 1); one that is a fiftieth slower is never found.
#[test]
fn the_slowest_scan_that_a_slow_rule_finds() {
    for (window, minutes, ports) in [("10m", 10, 40), ("1h", 60, 60), ("24h", 1_440, 200)] {
        let flags =
            [format!("--detection.slow-window={window}"), format!("--detection.slow-threshold={ports}")];
        let pace = minutes * 60 * SECOND / (ports - 1);
        let records = [slowly(1, ports + 5, pace), slowly(2, 3 * ports, pace / 50 * 51)].concat();
        let scan = format!("1: {} within {} s", ports + 5, minutes * 60);
        assert_eq!(told(&flags.each_ref().map(String::as_str), records), [scan], "{window}");
    }
}

/// A pipe that says nothing yet, and a FIFO that nobody writes to yet.
#[test]
fn a_signal_is_heard_before_the_first_byte() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for file in [Path::new("-"), &fifo] {
        for signal in [Signal::INT, Signal::TERM] {
            let running = Running::of(file, "text");
            running.until_it_listens(signal);
            kill_process(Pid::from_child(&running.0), signal).unwrap();
            let (code, said) = running.end();
            assert_eq!(code, Some(0), "{file:?}, {signal:?}: {said}");
            assert!(said.contains("stopped by a signal: nothing had been read"), "{file:?}: {said}");
        }
    }
}

#[test]
fn a_fifo_is_read_from_its_first_writer_to_its_last() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut running = Running::of(&fifo, "json");
    let mut out = BufReader::new(running.0.stdout.take().unwrap());
    let mut writer = std::fs::File::options().write(true).open(&fifo).unwrap();
    writer.write_all(&header()).unwrap();
    writer.write_all(&scan(START)).unwrap();
    drop(writer);
    let mut told = String::new();
    out.read_line(&mut told).unwrap();
    assert!(told.contains("\"distinct_ports\":30,"), "{told}");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_reader_of_the_report_that_goes_away_ends_it() {
    let mut running = Running::start("json");
    drop(running.0.stdout.take());
    running.feed(&[header(), scan(START)].concat());
    running.feed(&(0..10).flat_map(|n| syn(START + (80 + 2 * n) * SECOND, 9, 443)).collect::<Vec<_>>());
    // The pipe is still open.
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

#[test]
fn files_that_continue_each_other_are_one_capture_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, frames: Vec<u8>| {
        std::fs::write(folder.path().join(name), [header(), frames].concat()).unwrap();
    };
    let half = |start: u64, first: u16| -> Vec<u8> {
        (0..15).flat_map(|n| syn(start + n * SECOND / 10, 7, first + n as u16)).collect()
    };
    file("first", half(START, 1000));
    file("second", half(START + 2 * SECOND, 1015));
    let last = [20, 26].map(|second| syn(START + second * SECOND, 9, 443));
    file("long", [half(START, 1000), last.concat()].concat());
    file("elsewhere", half(START + 2 * SECOND, 1030));
    file("ring1", half(START + 2 * SECOND, 1015));
    file("ring2", half(START, 1000));
    file("next-day", half(START + 86_400 * SECOND, 1015));
    let told = |files: &[&str]| {
        let out = Command::new(cargo_bin!("portscan_exporter"))
            .current_dir(folder.path())
            .arg("replay")
            .args(files)
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let one = told(&["first", "second"]);
    assert!(
        one.contains("1 scan by 1 source in first to second, 2 files as one capture (30 packets"),
        "{one}"
    );
    assert!(
        one.contains("\nsecond  198.51.100.7  vertical  syn           30"),
        "where it was detected: {one}"
    );
    let ring = told(&["ring1", "ring2"]);
    assert!(ring.contains("1 scan by 1 source in ring2 to ring1, 2 files as one capture"), "{ring}");
    assert!(told(&["second", "first"]).contains("begins 0.600 s after first ends"), "and how to give them");
    assert!(
        told(&["long", "elsewhere"]).contains("begins 24.000 s before long ends"),
        "and how to merge them"
    );
    for apart in [["second", "first"], ["long", "elsewhere"], ["first", "next-day"], ["first", "first"]] {
        let two = told(&apart);
        assert_eq!(two.matches("no scans in").count(), 2, "{apart:?}: {two}");
    }
}

/// Scans of a file without the names of their episodes, which are counted.
fn scans(file: &[u8]) -> (Vec<Scan>, u64) {
    scans_by(Policy { threshold: 5, quiet_nanos: 20 * SECOND, ..Policy::default() }, file)
}

fn scans_by(policy: Policy, file: &[u8]) -> (Vec<Scan>, u64) {
    let mut path = tempfile::NamedTempFile::new().unwrap();
    path.write_all(file).unwrap();
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let mut scans = Vec::new();
    let (outcome, error) =
        replay(path.path(), policy, limits, &Wake::new().unwrap(), &mut |scan| scans.push(*scan));
    assert_eq!(error, None);
    (scans.into_iter().map(|scan| Scan { id: ScanId(0), ..scan }).collect(), outcome.disorder.steps)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// However a file is shuffled within the horizon, and wherever a stray stamp is put, its scans are those of the file in
    /// order.
    #[test]
    fn disorder_changes_no_scan(
        probes in prop::collection::vec((0..4 * SECOND, 0..5 * SECOND, 0..3_u8, 0..30_u16), 1..200),
        stray in any::<prop::sample::Index>(),
        ahead in any::<bool>(),
    ) {
        let mut now = START;
        let mut frames: Vec<(u64, u64, Vec<u8>)> = probes.iter().map(|&(step, delay, source, port)| {
            // No two of the same moment, whose order a shuffle could change.
            now += step + 1;
            (now + delay, now, syn(now, source, port))
        }).collect();
        let file = |frames: &[(u64, u64, Vec<u8>)]| {
            let frames = frames.iter().flat_map(|(.., frame)| frame.clone());
            header().into_iter().chain(frames).collect::<Vec<u8>>()
        };
        let (in_order, steps) = scans(&file(&frames));
        prop_assert_eq!(steps, 0);
        frames.sort_by_key(|(arrives, ..)| *arrives);
        let (shuffled, steps) = scans(&file(&frames));
        prop_assert_eq!(steps, 0);
        prop_assert_eq!(&shuffled, &in_order);
        // Between two frames that are near each other, of somebody else: an hour off either way.
        frames.sort_by_key(|(_, time, _)| *time);
        let near: Vec<usize> =
            (1..frames.len()).filter(|&at| frames[at].1 - frames[at - 1].1 < 5 * SECOND).collect();
        if !near.is_empty() {
            let at = *stray.get(&near);
            let time = if ahead { frames[at].1 + 3600 * SECOND } else { frames[at].1 - 3600 * SECOND };
            frames.insert(at, (0, time, syn(time, 200, 80)));
            let (with_stray, steps) = scans(&file(&frames));
            prop_assert_eq!(steps, 1);
            prop_assert_eq!(&with_stray, &in_order);
        }
    }

    /// Whatever the stamps: a scan begins, is detected, goes on and ends in this order.
    #[test]
    fn no_scan_has_impossible_times(
        runs in prop::collection::vec(
            (prop_oneof![4 => 0..120_u64, 1 => 0..100_000_u64, 1 => Just(0_u64)], 1..40_u16, 0..3 * SECOND),
            1..12,
        ),
        short in any::<bool>(),
    ) {
        let mut file = header();
        for (begins, frames, step) in runs {
            let begins = if begins == 0 { 0 } else { START + begins * SECOND };
            (0..frames).for_each(|n| file.extend(syn(begins + u64::from(n) * step, (n % 2) as u8, n)));
        }
        let window_nanos = if short { 10 } else { 60 } * SECOND;
        let policy = Policy { threshold: 5, window_nanos, quiet_nanos: 60 * SECOND, ..Policy::default() };
        for scan in scans_by(policy, &file).0 {
            let times = [scan.started, scan.detected, scan.last_probe, scan.ended.unwrap_or(Timestamp(u64::MAX))];
            prop_assert!(times.is_sorted(), "{scan:?}");
        }
    }
}

/// Forty scanners that live would be one storm: a file has a line for each.
#[test]
fn a_file_folds_nothing_into_storms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("storm.pcap");
    let probe = |n: u64| {
        (
            START + n * SECOND / 1_000,
            lab::frames::syn([198, 51, 100, (n % 40) as u8], &[], 1 + (n / 40) as u16),
        )
    };
    lab::files::write(&path, (0..40 * 25).map(probe));
    let output = Command::new(cargo_bin!("portscan_exporter"))
        .args(["replay", "--format=json"])
        .arg(&path)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told.lines().filter(|line| line.contains("\"kind\":\"vertical\"")).count(), 40, "{told}");
    assert_eq!(told.lines().count(), 40);
}
