//! What the tests share: a scan, and what the exporter holds before and after.

use lab::{Exporter, ip, journal};
use portscan_exporter::system::clock;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

/// Longest wait for anything that has no limit of its own.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const UP: (&str, &[&str]) = ("portscan_capture_up", &["interface=\"eth0\""]);
/// Memory that a fault may leave behind, in KiB: what the allocator keeps of the connections and pages it once held.
pub const MARGIN_KIB: u64 = 8 << 10;
/// No proper scrape may take longer while others attack: half of Prometheus' own patience, on a busy machine.
pub const PROMPT: Duration = Duration::from_secs(5);

/// What a process holds of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    pub rss_kib: u64,
    pub threads: u64,
    descriptors: usize,
}

impl Holds {
    pub fn of(exporter: &Exporter) -> Self {
        let field = |name: &str| exporter.status(name).trim_end_matches(" kB").parse().unwrap();
        let descriptors = fs::read_dir(format!("/proc/{}/fd", exporter.pid().as_raw_pid())).unwrap().count();
        Self { rss_kib: field("VmRSS"), threads: field("Threads"), descriptors }
    }
}

/// CPU time a process has used, in seconds.
pub fn cpu_seconds(exporter: &Exporter) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", exporter.pid().as_raw_pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// A scan of 25 ports from an address that has not scanned before, put on the watched host's own network.
pub fn scan() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let source = Ipv4Addr::new(203, 0, 113, number);
    // It has nothing in common with others, so it has a record of its own, however many there are.
    let ports = u16::from(number)..u16::from(number) + 25;
    lab::inject(
        "lab-srv",
        ports.map(|port| lab::frames::apart(number, lab::frames::syn_packet(source, port), &[])).collect(),
    );
    source.to_string()
}

/// A fresh scan is found.
pub fn finds_a_scan(exporter: &Exporter) -> String {
    let before = exporter.value("portscan_hits_total", &[]);
    let source = scan();
    let series = ["portscan_source_peak_distinct_ports", &format!("source=\"{source}\"")];
    exporter.wait_for(series[0], &[series[1]], 25.0);
    assert_eq!(exporter.value("portscan_hits_total", &[]), before.map(|hits| hits + 1.0));
    source
}

/// It captures, finds a fresh scan, and holds what it held before.
pub fn is_well_again(what: &str, exporter: &Exporter, before: Holds) {
    exporter.wait_for(UP.0, UP.1, 1.0);
    finds_a_scan(exporter);
    let mut now = before;
    let start = clock::steady();
    // The scrape that was just answered may still be closing.
    while start.elapsed() < PATIENCE {
        now = Holds::of(exporter);
        if (now.threads, now.descriptors) == (before.threads, before.descriptors) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((now.threads, now.descriptors), (before.threads, before.descriptors), "{what}: {now:?}");
    println!("{what}: RSS {} KiB before, {} KiB after", before.rss_kib, now.rss_kib);
    assert!(now.rss_kib <= before.rss_kib + MARGIN_KIB, "{what}: {before:?}, then {now:?}");
}

/// An exporter that has found a scan, so that all the memory it will want has been touched; and what it holds.
pub fn settled(exporter: &Exporter) -> Holds {
    // Each asks a host of its own, which takes other pages of the tables.
    (0..3).for_each(|_| {
        finds_a_scan(exporter);
    });
    let mut held = Holds::of(exporter);
    // A connection of the last scrape may still be closing.
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(20));
        let now = Holds::of(exporter);
        held = Holds { descriptors: held.descriptors.min(now.descriptors), ..now };
    }
    held
}

/// Whether the journal has the hit of a source.
pub fn hit_is_recorded(source: &str) -> bool {
    !journal(&[&format!("PORTSCAN_SOURCE={source}"), "PORTSCAN_EVENT=hit"]).is_empty()
}

/// Brings the watched host's interface up with its address, after it was taken away.
pub fn revive() {
    ip(&["-n", "lab-t", "link", "set", "eth0", "up"]);
    ip(&["-n", "lab-t", "addr", "replace", "192.0.2.10/24", "dev", "eth0"]);
}
