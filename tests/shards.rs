//! Threads that share an interface, and IPv4 fragments: what is found does not depend on either.
//!
//! Network namespaces, nmap, masscan, python3, curl; needs root, and fails without them.
#![allow(clippy::unwrap_used, reason = "a test")]

use lab::spaces::{command_in, run_in};
use lab::tun::Tun;
use lab::{Exporter, PATIENCE, Pair, eventually, frames, inject, inside, ip, program};
use pcap::Capture;
use portscan_exporter::capture::{
    CaptureStatus, Direction, Fragments, FrameSink, Live, LiveOptions, Tunnels, Wake,
};
use portscan_exporter::detect::Probe;
use portscan_exporter::packet::{LinkType, Skipped, Techniques, Timestamp, decode};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// The exporter on the watched host, capturing, with its log in a file of a directory that goes away.
fn exporter(lab: &Pair, directory: &TempDir, port: u16, interface: &str, flags: &[&str]) -> Exporter {
    let mut command = command_in(&lab.watched, program());
    command.args(["-i", interface, &format!("--web.listen-address=127.0.0.1:{port}")]);
    command.args(["--log.format=logfmt", "--publish.min-ports=2"]).args(flags);
    Exporter::start_with_log(&lab.watched, port, command, directory.path().join(format!("{port}.log")))
        .ready()
}

/// What its log has of hits, without times and identities, which are each process's own.
fn hits(exporter: &Exporter) -> Vec<String> {
    let own = ["ts=", "scan=", "started=", "detected=", "last_probe=", "duration_seconds="];
    let common = |line: String| {
        let fields = line.split(' ').filter(|field| !own.iter().any(|name| field.starts_with(name)));
        fields.collect::<Vec<_>>().join(" ")
    };
    let mut hits: Vec<String> = exporter.lines("msg=\"portscan hit\"").into_iter().map(common).collect();
    hits.sort();
    hits
}

/// A SYN behind VLAN tags.
fn syn(tags: &[u16], source: IpAddr, port: u16) -> Vec<u8> {
    frames::syn(source, tags, port)
}

fn v4(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(0xc612_0000 + n).into()
}

/// A host of the n-th /64.
fn v6(n: u128, host: u128) -> IpAddr {
    std::net::Ipv6Addr::from_bits(0x2001_0db8_0001 << 80 | n << 64 | host).into()
}

/// Series that must not depend on the number of threads.
const SAME: [&str; 10] = [
    "portscan_hits_total",
    "portscan_open_scans",
    "portscan_probes_total",
    "portscan_source_peak_distinct_ports",
    "portscan_source_distinct_hosts",
    "portscan_peak_distinct_ports",
    "portscan_published_sources",
    "portscan_suppressed_sources",
    "portscan_tracked_sources",
    "portscan_capture_up",
];

#[test]
fn one_two_and_four_threads_find_the_same() {
    let lab = Pair::new();
    let directory = tempfile::tempdir().unwrap();
    // On the same wire at the same time; fewer series than sources, so that some must be left out.
    let start = |threads: u16| {
        let threads_flag = format!("--capture.threads={threads}");
        let flags = [&threads_flag, "--publish.max-sources=60"];
        exporter(&lab, &directory, 10220 + threads, "eth0", &flags)
    };
    let exporters = [start(1), start(2), start(4)];

    // Every source has another number of ports, and so another rank: no two orders are right.
    let mut frames = Vec::new();
    for n in 0..48_u16 {
        // They have nothing in common, so each has a record of its own, in whatever order they are found.
        let alone = |tags: &[u16], source: IpAddr, port| {
            frames::apart(n as u8, frames::syn_packet(source, port), tags)
        };
        frames.extend((0..n + 2).map(|port| alone(&[], v4(n.into()), 1000 + port)));
        // Different hosts of one /64 are one source.
        frames.extend((0..n + 52).map(|port| {
            let tags: &[u16] = [&[][..], &[0x8100], &[0x88a8, 0x8100], &[0x9100]][usize::from(n) % 4];
            alone(tags, v6(n.into(), u128::from(port) + 1), 2000 + port)
        }));
    }
    let injected = frames.len();
    lab.inject(frames);
    lab.nmap(&["-p1-300", "192.0.2.10"]);
    lab.nmap(&["-6", "-p1-250", "2001:db8::10"]);
    let masscan = ["-p", "5001-5200", "192.0.2.10", "--rate=2000", "--wait=0", "-e", "eth0"];
    let forged = ["--adapter-ip", "192.0.2.99", "--router-mac", "ff-ff-ff-ff-ff-ff"];
    run_in(&lab.source, "masscan", &[&masscan[..], &forged].concat());

    let probes = (injected + 300 + 250 + 200) as f64;
    // 30 of the IPv4 (20 to 49 ports), all 48 of IPv6, and three scanners.
    for exporter in &exporters {
        exporter.wait_for("portscan_probes_total", &[], probes);
        exporter.wait_for("portscan_hits_total", &[], 81.0);
        exporter.wait_for("portscan_published_sources", &[], 60.0);
    }
    let [one, others @ ..] = &exporters;
    // Scans by many sources are looked for by a single thread only.
    let shown = |exporter: &Exporter| {
        let mut series = exporter.series(&SAME);
        series.retain(|name, _| !name.contains("kind=\"distributed\""));
        series
    };
    let expected = shown(one);
    let records = eventually("81 records", PATIENCE, || {
        let hits = hits(one);
        if hits.len() == 81 { Ok(hits) } else { Err(format!("{}", hits.len())) }
    });
    assert_eq!(one.sum("portscan_suppressed_sources"), 39.0, "{expected:#?}");
    for (exporter, threads) in others.iter().zip([2, 4]) {
        eventually(&format!("{threads} threads to find what one finds"), PATIENCE, || {
            let found = shown(exporter);
            if found == expected { Ok(()) } else { Err(format!("{found:#?} instead of {expected:#?}")) }
        });
        eventually("its records", PATIENCE, || {
            if hits(exporter) == records { Ok(()) } else { Err(exporter.log()) }
        });
        assert_eq!(exporter.sum("portscan_capture_dropped_packets_total"), 0.0);
    }
    for exporter in exporters {
        assert_eq!(exporter.terminate().0.code(), Some(0));
    }
}

/// What the captures of one interface hand over, by shard.
#[derive(Default)]
struct Seen {
    probes: Vec<(usize, IpAddr, u16)>,
    fragments: usize,
    up: BTreeMap<usize, CaptureStatus>,
    lost: Vec<usize>,
}

struct Recorder {
    shard: usize,
    link: LinkType,
    seen: Arc<Mutex<Seen>>,
}

impl FrameSink for Recorder {
    fn opened(&mut self, link: LinkType) {
        self.link = link;
    }

    fn frame(&mut self, time: Timestamp, bytes: &[u8]) {
        let mut seen = self.seen.lock().unwrap();
        match decode(self.link, time, bytes) {
            Ok(packet) if Probe::of(&packet).is_some() => {
                seen.probes.push((self.shard, packet.source, packet.destination_port));
            }
            Err(Skipped::Fragment) => seen.fragments += 1,
            Ok(_) | Err(_) => {}
        }
    }

    fn batch_end(&mut self) {}

    fn tick(&mut self, status: &CaptureStatus) {
        self.seen.lock().unwrap().up.insert(self.shard, *status);
    }

    fn lost(&mut self, _reason: &str) {
        self.seen.lock().unwrap().lost.push(self.shard);
    }
}

/// The captures of eth0, until they are dropped.
struct Running {
    seen: Arc<Mutex<Seen>>,
    wakes: Vec<Wake>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    fn start(lab: &Pair, threads: usize, direction: Direction) -> Self {
        let options = LiveOptions {
            interface: String::from("eth0"),
            direction,
            promiscuous: false,
            buffer_bytes: threads << 20,
            threads,
            fragments: Fragments::Reassemble,
            techniques: Techniques::DEFAULT,
            tunnels: Tunnels::Count,
            replies: false,
        };
        let seen = Arc::<Mutex<Seen>>::default();
        let (opened, all) = mpsc::channel();
        inside(&lab.watched, move || opened.send(Live::open_all(options, 64).unwrap()).unwrap());
        let mut running = Running { seen, wakes: Vec::new(), threads: Vec::new() };
        for mut live in all.recv().unwrap() {
            let wake = Wake::new().unwrap();
            let (stop, seen, shard) = (wake.clone(), Arc::clone(&running.seen), live.shard());
            running.wakes.push(wake);
            let mut sink = Recorder { shard, link: LinkType::Ethernet, seen };
            running.threads.push(inside(&lab.watched, move || live.run(&mut sink, &stop)));
        }
        running
    }

    fn until<T>(&self, what: &str, wanted: impl Fn(&Seen) -> Result<T, String>) -> T {
        eventually(what, PATIENCE, || wanted(&self.seen.lock().unwrap()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.wakes.iter().for_each(Wake::stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Each source at one shard only, each probe once, and each shard with its part of the sources.
fn spread(seen: &Seen, shards: usize, sources: usize) -> BTreeMap<IpAddr, usize> {
    let mut place = BTreeMap::new();
    let mut once = BTreeSet::new();
    for &(shard, source, port) in &seen.probes {
        // A /64 counts as its first address.
        let source = match source {
            IpAddr::V4(_) => source,
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        };
        assert_eq!(*place.entry(source).or_insert(shard), shard, "{source} went to two");
        assert!(once.insert((source, port)), "{source} port {port} came twice");
    }
    assert_eq!(place.len(), sources);
    for shard in 0..shards {
        let part = place.values().filter(|&&of| of == shard).count();
        // The expectation is sources/shards; so far below it chance does not reach.
        assert!(part * shards * 3 > sources, "shard {shard} has {part} of {sources}");
    }
    place
}

#[test]
fn sources_spread_over_all_threads_and_each_stays_with_one_also_on_a_new_interface() {
    let lab = Pair::new();
    let running = Running::start(&lab, 4, Direction::In);
    let all_up = |seen: &Seen| {
        let up = (0..4).all(|shard| seen.up.get(&shard).is_some_and(|status| status.up));
        if up { Ok(()) } else { Err(format!("{:?}", seen.up)) }
    };
    running.until("all to be up", all_up);
    let frames = || {
        let mut frames = Vec::new();
        for port in 1..6_u16 {
            let tags: &[u16] =
                [&[][..], &[0x8100], &[0x88a8], &[0x88a8, 0x8100], &[0x9100, 0x8100]][usize::from(port) - 1];
            for n in 0..200 {
                frames.push(syn(tags, v4(n), port));
                frames.push(syn(tags, v6(n.into(), port.into()), port));
            }
        }
        frames
    };
    lab.inject(frames());
    let complete = |seen: &Seen| {
        if seen.probes.len() >= 2000 { Ok(()) } else { Err(format!("{}", seen.probes.len())) }
    };
    running.until("2000 probes", complete);
    let before = spread(&running.seen.lock().unwrap(), 4, 400);

    lab.unplug();
    running.until("all to be down", |seen| {
        if seen.up.values().all(|status| !status.up) { Ok(()) } else { Err(format!("{:?}", seen.up)) }
    });
    lab.plug();
    running.until("all to be up again", |seen| {
        all_up(seen)?;
        if seen.up.values().all(|status| status.restarts == 1) { Ok(()) } else { Err(String::new()) }
    });
    running.seen.lock().unwrap().probes.clear();
    lab.inject(frames());
    running.until("2000 more probes", complete);
    let seen = running.seen.lock().unwrap();
    assert_eq!(spread(&seen, 4, 400), before, "detectors meet the sources they know");
    assert_eq!(seen.lost, [0], "told once, by one");
}

#[test]
fn what_the_host_sends_is_shared_by_the_same_program() {
    let lab = Pair::new();
    let running = Running::start(&lab, 2, Direction::Out);
    let frames: Vec<_> = (0..100).flat_map(|n| [syn(&[], v4(n), 1), syn(&[0x8100], v4(n), 2)]).collect();
    inject(&lab.watched, frames);
    running.until("200 probes", |seen| {
        if seen.probes.len() == 200 { Ok(()) } else { Err(format!("{}", seen.probes.len())) }
    });
    spread(&running.seen.lock().unwrap(), 2, 100);
}

/// Until it has joined a socket gets everything: none of that may be counted.
#[test]
fn a_capture_opened_under_load_counts_nothing_twice() {
    let lab = Pair::new();
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
    let sender = inside(&lab.source, move || {
        let mut out = Capture::from_device("eth0").unwrap().open().unwrap();
        while !stopped.load(Ordering::Relaxed) {
            for _ in 0..50 {
                let n = count.fetch_add(1, Ordering::Relaxed);
                out.sendpacket(syn(&[], v4(n / 60_000), (n % 60_000) as u16)).unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    // Several sources, so that each thread has some.
    for _ in 0..3 {
        let running = Running::start(&lab, 4, Direction::In);
        running.until("a thousand probes", |seen| {
            if seen.probes.len() > 1000 { Ok(()) } else { Err(format!("{}", seen.probes.len())) }
        });
        let seen = running.seen.lock().unwrap();
        let once: BTreeSet<_> = seen.probes.iter().map(|&(_, source, port)| (source, port)).collect();
        assert_eq!(once.len(), seen.probes.len(), "some came twice");
    }
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
}

#[test]
fn a_recreated_interface_is_told_once_and_captured_by_all_threads_again() {
    let lab = Pair::new();
    let directory = tempfile::tempdir().unwrap();
    let exporter = exporter(&lab, &directory, 10220, "eth0", &["--capture.threads=2"]);
    lab.nmap(&["-p1-30", "192.0.2.10"]);
    exporter.wait_for("portscan_hits_total", &[], 1.0);
    lab.unplug();
    exporter.wait_for("portscan_capture_up", &[], 0.0);
    lab.plug();
    exporter.wait_for("portscan_capture_up", &[], 1.0);
    exporter.wait_for("portscan_capture_restarts_total", &[], 1.0);
    let frames = (0..40).flat_map(|n| (1..31).map(move |port| syn(&[], v4(n), port))).collect();
    lab.inject(frames);
    exporter.wait_for("portscan_hits_total", &[], 41.0);
    exporter.wait_for("portscan_probes_total", &[], 30.0 + 40.0 * 30.0);
    // Its link goes down before it disappears, and either can be noticed first.
    assert_eq!(exporter.lines("event=capture_lost").len(), 1, "{}", exporter.log());
    assert_eq!(exporter.lines("capture on eth0 is back").len(), 1, "{}", exporter.log());
}

#[test]
fn a_reload_reaches_every_thread_and_the_program_that_shares() {
    let lab = Pair::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yml");
    std::fs::write(&file, "detection: {threshold: 30}\n").unwrap();
    let flag = format!("--config.file={}", file.display());
    let exporter = exporter(&lab, &directory, 10220, "eth0", &["--capture.threads=4", &flag]);
    std::fs::write(&file, "detection: {threshold: 20, ipv6_prefix: 48}\n").unwrap();
    exporter.signal(Signal::HUP);
    exporter.wait_for("portscan_threshold_ports", &["window=\"10s\""], 20.0);
    // Too few ports for the old threshold; and a /48 that asks from a different /64 each time.
    let mut frames: Vec<_> = (0..40).flat_map(|n| (1..26).map(move |port| syn(&[], v4(n), port))).collect();
    frames.extend((1..26).map(|port| syn(&[], v6(port.into(), 1), port)));
    // Each thread takes the new policy in its own time: what it was asked before did not count.
    eventually("41 hits", PATIENCE, || {
        lab.inject(frames.clone());
        let hits = exporter.sum("portscan_hits_total");
        if hits == 41.0 { Ok(()) } else { Err(format!("{hits}\n{}", exporter.log())) }
    });
    assert!(!exporter.lines("configuration reloaded").is_empty(), "{}", exporter.log());
    eventually("the record of the /48", PATIENCE, || {
        let records = exporter.lines("event=hit source=2001:db8:1::/48 ").len();
        if records == 1 { Ok(()) } else { Err(exporter.log()) }
    });
}

/// Scans with `nmap`'s ways of fragmenting; each must be seen whole, once.
fn fragmented(threads: u16) {
    let lab = Pair::new();
    let directory = tempfile::tempdir().unwrap();
    let flag = format!("--capture.threads={threads}");
    let exporter = exporter(&lab, &directory, 10220, "eth0", &[&flag]);
    // nmap draws the numbers of its datagrams; scans apart from one another cannot be mixed up by them.
    let ways: [&[&str]; 4] = [&["-f"], &["-f", "-f"], &["--mtu", "8"], &["--mtu", "16"]];
    for (way, first) in ways.into_iter().zip([1, 101, 201, 301]) {
        let before = exporter.sum("portscan_probes_total");
        let ports = format!("-p{first}-{}", first + 29);
        lab.nmap(&[way, &[&ports, "192.0.2.10"]].concat());
        exporter.wait_for("portscan_probes_total", &[], before + 30.0);
    }
    assert_eq!(exporter.sum("portscan_hits_total"), 1.0);
    let skipped = exporter.series(&["portscan_packets_skipped_total"]);
    let fragments: Vec<_> = skipped.iter().filter(|(series, _)| series.contains("fragment")).collect();
    assert!(!fragments.is_empty() && fragments.iter().all(|(_, count)| **count == 0.0), "{fragments:?}");
}

#[test]
fn a_fragmented_scan_is_seen_whole() {
    fragmented(1);
}

#[test]
fn a_fragmented_scan_is_seen_whole_by_threads_that_share() {
    fragmented(2);
}

#[test]
fn a_fragmented_scan_is_seen_whole_on_any() {
    let lab = Pair::new();
    let directory = tempfile::tempdir().unwrap();
    let exporter = exporter(&lab, &directory, 10220, "any", &[]);
    lab.nmap(&["-f", "-p1-30", "192.0.2.10"]);
    // The questions of this test go through `lo`, and are seen as well.
    let family = "portscan_source_peak_distinct_ports";
    eventually("a peak of 30", PATIENCE, || {
        let peaks = exporter.series(&[family]);
        let peak = peaks.iter().find(|(series, _)| series.contains("source=\"192.0.2.7\""));
        if peak.is_some_and(|(_, peak)| *peak == 30.0) { Ok(()) } else { Err(format!("{peaks:?}")) }
    });
    assert_eq!(
        exporter.lines("event=hit source=192.0.2.7 source_address=192.0.2.7 ports=20 ").len(),
        1,
        "{}",
        exporter.log()
    );
}

/// A SYN with data, in two pieces, the first of them so long.
fn in_two(
    source: [u8; 4],
    host: [u8; 4],
    identification: u16,
    port: u16,
    (data, first): (usize, usize),
) -> [Vec<u8>; 2] {
    let mut segment = frames::segment(port, frames::SYN);
    segment.resize(20 + data, b'd');
    let piece = |offset: usize, more, bytes: &[u8]| {
        let mut packet = frames::ipv4_fragment(frames::TCP, u16::try_from(offset / 8).unwrap(), more, bytes);
        packet[4..6].copy_from_slice(&identification.to_be_bytes());
        packet[12..16].copy_from_slice(&source);
        packet[16..20].copy_from_slice(&host);
        frames::sum(&mut packet);
        packet
    };
    [piece(0, true, &segment[..first]), piece(first, false, &segment[first..])]
}

/// 2,048 is the ether type of IPv4 as well, and the first digit of the identification its version: behind a cooked header that looked
/// like a tag.
#[test]
fn a_fragmented_scan_is_seen_whatever_its_length_looks_like() {
    let lab = Pair::new();
    let directory = tempfile::tempdir().unwrap();
    const PPP: u16 = 512;
    let mut ppp = Tun::new(&lab.watched, "ppp0", PPP);
    ip(&["-n", &lab.watched, "addr", "add", "198.51.100.1/30", "dev", "ppp0"]);
    lab.set_watched(&["ppp0", "up"]);
    let any = exporter(&lab, &directory, 10220, "any", &[]);
    let pieces = |source, host| {
        (1..31).flat_map(move |port| in_two(source, host, 0x4500 + port, port, (2_008, 1_480)))
    };
    ppp.inject(pieces([198, 51, 100, 2], [198, 51, 100, 1]));
    lab.inject(
        pieces([192, 0, 2, 7], [192, 0, 2, 10])
            .map(|packet| frames::to_all(frames::ethernet(frames::IPV4, &packet)))
            .collect(),
    );
    let peak = "portscan_source_peak_distinct_ports";
    for source in ["198.51.100.2", "192.0.2.7"] {
        any.wait_for(peak, &["window=\"10s\"", &format!("source=\"{source}\"")], 30.0);
    }
    drop(any);
    let alone = exporter(&lab, &directory, 10221, "ppp0", &[]);
    ppp.inject(pieces([198, 51, 100, 2], [198, 51, 100, 1]));
    alone.wait_for(peak, &["window=\"10s\"", "source=\"198.51.100.2\""], 30.0);
}

/// There the kernel puts nothing together.
#[test]
fn a_fragmented_scan_is_seen_whole_behind_tags_and_labels() {
    let lab = Pair::new();
    let directory = tempfile::tempdir().unwrap();
    let exporter = exporter(&lab, &directory, 10220, "eth0", &[]);
    type Way = fn(&[u8]) -> Vec<u8>;
    let ways: [Way; 4] = [
        |packet| frames::tagged(&[0x8100], frames::IPV4, packet),
        |packet| frames::tagged(&[0x88a8, 0x8100], frames::IPV4, packet),
        |packet| frames::ethernet(0x8864, &frames::pppoe(packet)),
        |packet| frames::ethernet(0x8847, &frames::mpls(1, packet)),
    ];
    for (number, way) in (1_u16..).zip(ways) {
        let source = [192, 0, 2, 20 + number as u8];
        let pieces =
            (1..31).flat_map(|port| in_two(source, [192, 0, 2, 10], number << 8 | port, port, (24, 24)));
        lab.inject(pieces.map(|packet| frames::to_all(way(&packet))).collect());
        let wanted = 30.0 * f64::from(number);
        exporter.wait_for("portscan_probes_total", &[], wanted);
    }
    assert_eq!(exporter.sum("portscan_hits_total"), 4.0);
}

#[test]
fn fragments_are_only_counted_when_so_told() {
    let lab = Pair::new();
    let directory = tempfile::tempdir().unwrap();
    let exporter = exporter(&lab, &directory, 10220, "eth0", &["--capture.fragments=count"]);
    lab.nmap(&["-f", "-p1-30", "192.0.2.10"]);
    eventually("90 pieces", PATIENCE, || {
        let skipped = exporter.series(&["portscan_packets_skipped_total"]);
        let pieces: f64 =
            skipped.iter().filter(|(series, _)| series.contains("fragment")).map(|(_, count)| count).sum();
        if pieces == 90.0 { Ok(()) } else { Err(format!("{skipped:?}")) }
    });
    assert_eq!(exporter.sum("portscan_hits_total"), 0.0);
}
