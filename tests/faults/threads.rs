//! A thread that hangs or panics, and a process that is stopped. (`tests/panics.rs` has the panics that no input causes.)

use crate::support::{PATIENCE, UP, finds_a_scan, scan};
use lab::{Exporter, ends_well, eventually, in_room, journal, journal_text};
use portscan_exporter::system::clock;
use rustix::process::{Signal, kill_process};
use std::fs;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

/// The kernel tells the web server something absurd, and it panics: nobody would hear of scans any more, so all ends with 1,
/// and systemd starts it again. (Captures and the notifier ask the kernel for nothing that can make them panic: `tests/panics.rs`
/// makes them.)
#[test]
fn a_web_server_that_panics_ends_the_process() {
    in_room("threads::a_web_server_that_panics_ends_the_process", |lab| {
        let mut exporter = lab.exporter(&[]);
        finds_a_scan(&exporter);
        let tasks = format!("/proc/{}/task", exporter.pid().as_raw_pid());
        let web = fs::read_dir(tasks)
            .unwrap()
            .map(|task| task.unwrap())
            .find(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "web"));
        let thread = web.expect("the thread of the web server").file_name().into_string().unwrap();
        let strace = std::process::Command::new("strace")
            .args([
                "-q",
                "-e",
                "trace=epoll_wait,epoll_pwait",
                "-e",
                "inject=epoll_wait,epoll_pwait:error=EBADF",
            ])
            .args(["-p", &thread])
            .stderr(std::process::Stdio::null())
            .spawn();
        let _strace = lab::Ended(strace.expect("needs strace"));
        let status = eventually("the end", PATIENCE, || {
            let _ = lab.get("http://127.0.0.1:10220/-/healthy");
            exporter.program.0.try_wait().unwrap()
        });
        assert_eq!(status.code(), Some(1), "{}", journal_text());
        for said in ["panic in thread web at ", "stopped: the web server ended by itself"] {
            eventually(said, PATIENCE, || journal_text().contains(said).then_some(()));
        }
    });
}

/// Sends a port of 192.0.2.10 each `every` from an address, on the watched host's own network.
fn drip(source: Ipv4Addr, ports: std::ops::Range<u16>, every: Duration) -> JoinHandle<()> {
    lab::inside("lab-srv", move || {
        let mut out = pcap::Capture::from_device("eth0").unwrap().open().unwrap();
        for port in ports {
            out.sendpacket(lab::frames::syn(source, &[], port)).unwrap();
            thread::sleep(every);
        }
    })
}

/// A container that is frozen, a laptop that sleeps: the ring is full of the past when it wakes up.
#[test]
fn a_process_that_was_stopped_invents_no_scan_and_misses_none() {
    in_room("threads::a_process_that_was_stopped_invents_no_scan_and_misses_none", |lab| {
        let exporter = lab.exporter(&["--detection.window=2s"]);
        finds_a_scan(&exporter);
        // Five ports a second, so ten in a window; 59 while nobody looks, one less than the slow rule asks for.
        let slow = Ipv4Addr::new(203, 0, 113, 250);
        let dripping = drip(slow, 1..60, Duration::from_millis(200));
        let probes = || exporter.value("portscan_probes_total", &["family=\"ipv4\""]);
        let before = probes().unwrap();
        eventually("the first of them", PATIENCE, || probes().filter(|now| *now > before));
        kill_process(exporter.pid(), Signal::STOP).unwrap();
        thread::sleep(Duration::from_secs(4));
        let fast = scan();
        thread::sleep(Duration::from_secs(4));
        kill_process(exporter.pid(), Signal::CONT).unwrap();
        dripping.join().unwrap();
        eventually("all of them", PATIENCE, || probes().filter(|now| *now == before.max(25.0) + 59.0 + 25.0));
        let peak = |source: &str| {
            exporter.value(
                "portscan_source_peak_distinct_ports",
                &[&format!("source=\"{source}\""), "window=\"2s\""],
            )
        };
        eventually("the scan meanwhile", PATIENCE, || peak(&fast).filter(|peak| *peak == 25.0));
        let most = peak(&slow.to_string()).unwrap();
        assert!((5.0..20.0).contains(&most), "{most} ports of a slow source in a window");
        assert_eq!(exporter.value("portscan_hits_total", &[]), Some(2.0), "{}", journal_text());
        assert_eq!(exporter.value("portscan_clock_steps_total", &[]), Some(0.0));
        exporter.wait_for("portscan_capture_pauses_total", &["interface=\"eth0\""], 1.0);
        let said = |record: &serde_json::Value| {
            record["MESSAGE"].as_str().is_some_and(|said| said.contains("eth0 did not run for"))
        };
        eventually("the pause in the journal", PATIENCE, || {
            journal(&["PRIORITY=4"]).iter().any(said).then_some(())
        });
        ends_well(exporter);
    });
}

/// A thread of the exporter that stands still until this is dropped.
struct Held(std::process::Child);

impl Held {
    fn capture_of(exporter: &Exporter) -> Self {
        let tasks = format!("/proc/{}/task", exporter.pid().as_raw_pid());
        let thread = fs::read_dir(tasks).unwrap().map(|task| task.unwrap().path()).find(|task| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "capture-eth0")
        });
        let thread = thread.expect("the thread has a name").file_name().unwrap().to_owned();
        let mut holder = std::process::Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/hold_thread.py"))
            .arg(thread)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 5];
        holder.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"held\n");
        Self(holder)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn a_capture_thread_that_hangs_is_seen_on_every_side_and_ends_with_the_rest() {
    in_room("threads::a_capture_thread_that_hangs_is_seen_on_every_side_and_ends_with_the_rest", |lab| {
        let exporter = lab.exporter(&[]);
        finds_a_scan(&exporter);
        let healthy = || lab.get("http://127.0.0.1:10220/-/healthy").is_some();
        let told = |what: &str, priority: &str| {
            let matches = [priority];
            let says = |record: &serde_json::Value| {
                record["MESSAGE"].as_str().is_some_and(|said| said.contains(what))
            };
            eventually(what, PATIENCE, || journal(&matches).iter().any(says).then_some(()));
        };
        assert!(healthy());
        let held = Held::capture_of(&exporter);
        exporter.wait_for(UP.0, UP.1, 0.0);
        assert!(!healthy());
        let ticked = exporter.value("portscan_capture_last_tick_timestamp_seconds", &[UP.1[0]]).unwrap();
        let age = clock::wall().as_secs_f64() - ticked;
        assert!((9.0..60.0).contains(&age), "{age} s since the last tick");
        told("capture on eth0 has stalled", "PRIORITY=3");
        let meanwhile = scan();
        drop(held);
        exporter.wait_for(UP.0, UP.1, 1.0);
        let of_source = format!("source=\"{meanwhile}\"");
        exporter.wait_for("portscan_source_peak_distinct_ports", &[&of_source], 25.0);
        told("capture on eth0 ticks again", "PRIORITY=6");
        assert!(healthy());
        finds_a_scan(&exporter);

        let held = Held::capture_of(&exporter);
        let (status, took) = exporter.terminate();
        assert_eq!(status.code(), Some(1), "{}", journal_text());
        assert!(took < Duration::from_secs(20), "took {took:?} to end");
        told_anywhere("the capture on eth0 does not end");
        drop(held);
    });
}

fn told_anywhere(what: &str) {
    let says =
        |record: &serde_json::Value| record["MESSAGE"].as_str().is_some_and(|said| said.contains(what));
    eventually(what, PATIENCE, || journal(&["PRIORITY=3"]).iter().any(says).then_some(()));
}
