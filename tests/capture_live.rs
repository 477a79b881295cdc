//! Live capture in network namespaces: what arrives, what a quiet, lost or replaced interface does.
//!
//! Needs root and iproute2, and fails without them.
#![allow(clippy::unwrap_used, reason = "a test")]

use lab::spaces::knock_from;
use lab::tun::Tun;
use lab::{HERE, Pair, assert_confined, frames, inside, ip};
use portscan_exporter::capture::{
    CaptureError, CaptureStatus, Direction, Fragments, FrameSink, Live, LiveOptions, Tunnels, Wake,
    default_interface, interfaces,
};
use portscan_exporter::detect::Probe;
use portscan_exporter::packet::{LinkType, Packet, Skipped, Techniques, Timestamp, decode};
use portscan_exporter::system::{clock, privilege};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a capture told its sink.
#[derive(Debug, Default, Clone)]
struct Seen {
    links: Vec<LinkType>,
    probes: Vec<Packet>,
    skipped: Vec<Skipped>,
    ticks: Vec<CaptureStatus>,
    /// How many probes had been seen by each tick.
    probes_by_tick: Vec<usize>,
    lost: Vec<String>,
}

impl Seen {
    fn ports(&self) -> BTreeSet<u16> {
        self.probes.iter().map(|probe| probe.destination_port).collect()
    }

    fn status(&self) -> CaptureStatus {
        self.ticks.last().copied().unwrap_or_default()
    }
}

#[derive(Default)]
struct Recorder {
    seen: Arc<Mutex<Seen>>,
    link: Option<LinkType>,
    /// When there is one here, the next tick waits for it to be dropped.
    stall: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
}

impl FrameSink for Recorder {
    fn opened(&mut self, link: LinkType) {
        self.link = Some(link);
        self.seen.lock().unwrap().links.push(link);
    }

    fn frame(&mut self, time: Timestamp, bytes: &[u8]) {
        let mut seen = self.seen.lock().unwrap();
        match decode(self.link.expect("opened before the first frame"), time, bytes) {
            Ok(packet) if Probe::of(&packet).is_some() => seen.probes.push(packet),
            Ok(_) => seen.skipped.push(Skipped::NotProbe),
            Err(reason) => seen.skipped.push(reason),
        }
    }

    fn batch_end(&mut self) {}

    fn tick(&mut self, status: &CaptureStatus) {
        {
            let mut seen = self.seen.lock().unwrap();
            let probes = seen.probes.len();
            seen.ticks.push(*status);
            seen.probes_by_tick.push(probes);
        }
        let stall = self.stall.lock().unwrap().take();
        if let Some(stall) = stall {
            let _ = stall.recv();
        }
    }

    fn lost(&mut self, reason: &str) {
        self.seen.lock().unwrap().lost.push(reason.to_owned());
    }
}

/// A capture that runs in a namespace until it is dropped, on as many threads as it was told.
struct Running {
    seen: Arc<Mutex<Seen>>,
    wakes: Vec<Wake>,
    stall: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    fn start(space: &str, options: LiveOptions) -> Self {
        let (seen, stall) = (Arc::<Mutex<Seen>>::default(), Arc::default());
        let wakes: Vec<Wake> = (0..options.threads).map(|_| Wake::new().unwrap()).collect();
        let (opened, are_open) = mpsc::channel();
        inside(space, move || {
            let lives = Live::open_all(options, 64).unwrap_or_else(|error| panic!("{error}"));
            lives.into_iter().for_each(|live| opened.send(live).unwrap());
        });
        let threads = wakes.iter().map(|wake| {
            let mut live = are_open.recv().expect("the capture opens");
            let mut sink = Recorder { seen: Arc::clone(&seen), link: None, stall: Arc::clone(&stall) };
            let stop = wake.clone();
            inside(space, move || live.run(&mut sink, &stop))
        });
        let threads = threads.collect();
        Running { seen, wakes, stall, threads }
    }

    fn eth0(lab: &Pair) -> Self {
        Self::start(&lab.watched, on("eth0"))
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until what was seen is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let start = clock::steady();
        loop {
            let seen = self.seen();
            if wanted(&seen) {
                return seen;
            }
            let ended = self.threads.iter().any(JoinHandle::is_finished);
            assert!(!ended, "the capture ended before {what}");
            assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}: {seen:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Stops it and waits for its end; how long that took.
    fn stop(&mut self) -> Duration {
        let start = clock::steady();
        self.wakes.iter().for_each(Wake::stop);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        start.elapsed()
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

fn on(interface: &str) -> LiveOptions {
    LiveOptions {
        interface: interface.to_owned(),
        direction: Direction::In,
        promiscuous: false,
        buffer_bytes: 1 << 20,
        threads: 1,
        fragments: Fragments::Reassemble,
        techniques: Techniques::DEFAULT,
        tunnels: Tunnels::Count,
        replies: false,
    }
}

/// What opening says in a namespace.
fn refusal(space: &str, options: LiveOptions) -> CaptureError {
    inside(space, move || Live::open(options).err()).join().unwrap().expect("it must be refused")
}

/// A SYN from 192.0.2.7 to a port of 192.0.2.10, with VLAN tags.
fn syn(tags: &[u16], port: u16) -> Vec<u8> {
    frames::syn([192, 0, 2, 7], tags, port)
}

/// The same, with an ether type of its own and what it begins with before the IP packet.
fn syn_behind(ether_type: u16, before: &[u8], port: u16) -> Vec<u8> {
    let packet = frames::syn_packet([192, 0, 2, 7], port);
    frames::to_all(frames::ethernet(ether_type, &[before, &packet].concat()))
}

#[test]
fn probes_arrive_and_nothing_else_does() {
    let lab = Pair::new();
    let capture = Running::eth0(&lab);
    // The watched host's own connections, and the resets they are answered with.
    knock_from(&lab.watched, "192.0.2.7", 1..30);
    lab.knock("192.0.2.10", 1..51);
    lab.knock("2001:db8::10", 51..101);
    let seen = capture.until("100 ports", |seen| seen.ports().len() == 100);
    assert_eq!(seen.links, [LinkType::Ethernet]);
    assert_eq!(seen.ports(), (1..101).collect());
    assert!(seen.skipped.is_empty(), "the kernel keeps the rest: {:?}", seen.skipped);
    let first = seen.probes[0];
    assert_eq!(first.source, "192.0.2.7".parse::<IpAddr>().unwrap());
    assert!(seen.probes.windows(2).all(|pair| pair[0].time <= pair[1].time));
    let age = clock::wall().nanos_since(first.time);
    assert!((1..60_000_000_000).contains(&age), "nanoseconds of the wall clock, {age} ns ago");
    // The kernel counts the 29 that left as well.
    let filtered = seen.probes.len() as u64 + 29;
    let status = capture.until("all counted", |seen| seen.status().received >= filtered).status();
    // At least: the kernel's own multicast listener reports (hop-by-hop header) pass the filter as well.
    assert!(status.received >= filtered, "{status:?}");
    assert_eq!((status.up, status.dropped, status.restarts), (true, 0, 0));
}

#[test]
fn both_directions_are_seen_when_asked_for() {
    let lab = Pair::new();
    let outbound = LiveOptions { direction: Direction::Out, ..on("eth0") };
    let both = LiveOptions { direction: Direction::InOut, ..on("eth0") };
    let (outbound, both) = (Running::start(&lab.watched, outbound), Running::start(&lab.watched, both));
    lab.knock("192.0.2.10", 1..6);
    knock_from(&lab.watched, "192.0.2.7", 6..11);
    assert_eq!(both.until("ten ports", |seen| seen.ports().len() == 10).ports(), (1..11).collect());
    assert_eq!(outbound.until("five ports", |seen| seen.ports().len() == 5).ports(), (6..11).collect());
}

#[test]
fn tagged_frames_and_fragments_arrive() {
    let lab = Pair::new();
    let counting = LiveOptions { fragments: Fragments::Count, ..on("eth0") };
    let capture = Running::start(&lab.watched, counting);
    // As `nmap -f` sends it: eight bytes of TCP, more to follow.
    let mut fragment = syn(&[], 9);
    fragment[17] = 28;
    fragment[20] = 0x20;
    fragment.truncate(14 + 28);
    let mut ack = syn(&[0x8100], 8);
    ack[18 + 33] = 0x10;
    lab.inject(vec![
        syn(&[], 1),
        syn(&[0x8100], 2),
        syn(&[0x88a8], 3),
        syn(&[0x8100, 0x8100], 4),
        syn(&[0x88a8, 0x8100], 5),
        syn(&[0x8100, 0x8100, 0x8100], 7),
        syn(&[0x9100, 0x88a8, 0x8100], 8),
        syn_behind(0x8864, &[0x11, 0, 0, 1, 0, 42, 0, 0x21], 9),
        syn_behind(0x8847, &[0, 1, 0, 64, 0, 2, 1, 64], 10),
        syn(&[0x8100; 18], 11),
        ack,
        fragment,
        syn(&[], 6),
    ]);
    let seen = capture.until("the last port", |seen| seen.ports().contains(&6));
    assert_eq!(seen.ports(), (1..11).collect());
    assert_eq!(seen.skipped, [Skipped::Tags, Skipped::TinyFragment], "and no ACK");
}

/// On `any` the kernel keeps the outermost tag, and what is behind it may be another.
#[test]
fn tagged_frames_arrive_on_any() {
    let lab = Pair::new();
    let capture = Running::start(&lab.watched, on("any"));
    lab.inject(vec![
        syn(&[0x8100], 1),
        syn(&[0x8100, 0x8100], 2),
        syn(&[0x88a8, 0x8100], 3),
        syn(&[0x9100, 0x8100], 4),
        syn(&[0x8100, 0x8100, 0x8100], 5),
        syn_behind(0x8864, &[0x11, 0, 0, 1, 0, 42, 0, 0x21], 6),
        syn_behind(0x8847, &[0, 1, 1, 64], 7),
        // The kernel names what is behind seven tags, and of more nothing.
        syn(&[0x8100; 7], 8),
        syn(&[0x8100; 8], 9),
        syn(&[0x8100; 12], 10),
        syn_behind(
            0x8100,
            &[0, 10, 0x81, 0, 0, 10, 0x81, 0, 0, 10, 0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x21],
            11,
        ),
        syn_behind(0x8100, &[0, 10, 0x81, 0, 0, 10, 0x81, 0, 0, 10, 0x88, 0x47, 0, 1, 1, 64], 12),
        syn(&[0x8100; 20], 13),
        syn(&[], 14),
    ]);
    let seen = capture.until("the last port", |seen| seen.ports().contains(&14));
    assert_eq!(seen.ports(), (1..13).chain([14]).collect(), "{:?}", seen.skipped);
    assert_eq!(seen.skipped, [Skipped::Tags]);
}

/// A connect scan of ordinary sockets with one option set (IPV6_DSTOPTS): the host answers each, however long the header.
#[test]
fn a_scan_behind_long_extension_headers_is_seen() {
    let lab = Pair::new();
    let capture = Running::eth0(&lab);
    let script = &format!("{HERE}/tests/lab/dstopts.py");
    for words in [["1", "20", "8"], ["21", "40", "192"], ["41", "60", "1024"]] {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lab.source, "python3", script, "2001:db8::10"]).args(words);
        let output = command.output().expect("this test needs iproute2");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "every SYN must be answered: {said}");
    }
    let seen = capture.until("60 ports", |seen| seen.ports().len() == 60);
    assert_eq!(seen.ports(), (1..61).collect());
    assert!(seen.skipped.is_empty(), "{:?}", seen.skipped);
}

#[test]
fn a_quiet_interface_ticks_and_stops_at_once() {
    let lab = Pair::new();
    let mut capture = Running::eth0(&lab);
    let start = clock::steady();
    let seen = capture.until("three ticks after the first", |seen| seen.ticks.len() >= 4);
    let took = start.elapsed();
    assert!((Duration::from_millis(1500)..Duration::from_secs(8)).contains(&took), "{took:?}");
    assert!(seen.ticks.iter().all(|status| status.up) && seen.ports().is_empty(), "{seen:?}");
    assert!(capture.stop() < Duration::from_secs(2));
}

#[test]
fn a_call_ticks_at_once() {
    let lab = Pair::new();
    let capture = Running::eth0(&lab);
    capture.until("the first tick", |seen| !seen.ticks.is_empty());
    let start = clock::steady();
    for _ in 0..20 {
        let before = capture.seen().ticks.len();
        capture.wakes[0].wake();
        capture.until("a tick", |seen| seen.ticks.len() > before);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "twenty ticks take twenty seconds by themselves");
}

/// Ticks move time: what waited in the ring meanwhile (a stopped process finds it full) must not count as now.
#[test]
fn what_waits_is_handed_over_before_the_next_tick() {
    let lab = Pair::new();
    let capture = Running::start(&lab.watched, LiveOptions { buffer_bytes: 16 << 20, ..on("eth0") });
    capture.until("the first tick", |seen| !seen.ticks.is_empty());
    let (release, stall) = mpsc::channel();
    *capture.stall.lock().unwrap() = Some(stall);
    let stalls_at =
        capture.until("the sink to stall", |_| capture.stall.lock().unwrap().is_none()).ticks.len();
    // More than is handed over at once.
    lab.inject((1..20_001).map(|port| syn(&[], port)).collect());
    // Its tick is overdue by now.
    std::thread::sleep(Duration::from_millis(1500));
    drop(release);
    let seen = capture.until("the next tick", |seen| seen.ticks.len() > stalls_at);
    assert_eq!(seen.probes_by_tick[stalls_at], 20_000, "{:?}", seen.probes_by_tick);
}

#[test]
fn what_came_before_the_stop_is_handed_over() {
    let lab = Pair::new();
    let mut capture = Running::eth0(&lab);
    lab.inject((1..201).map(|port| syn(&[], port)).collect());
    assert!(capture.stop() < Duration::from_secs(2));
    let seen = capture.seen();
    assert_eq!(seen.ports().len(), 200);
    // At least: the kernel's own multicast listener reports (hop-by-hop header) pass the filter as well.
    assert!(seen.status().received >= 200, "the last tick has the final numbers: {:?}", seen.status());
}

#[test]
fn a_recreated_interface_is_captured_again() {
    let lab = Pair::new();
    let mut capture = Running::eth0(&lab);
    lab.knock("192.0.2.10", 1..11);
    capture.until("ten ports", |seen| seen.ports().len() == 10 && seen.status().received >= 10);
    lab.unplug();
    let seen = capture.until("the loss", |seen| !seen.lost.is_empty() && !seen.status().up);
    assert_eq!(seen.links.len(), 1);
    let ticks = seen.ticks.len();
    capture.until("ticks without an interface", |seen| seen.ticks.len() >= ticks + 2 && !seen.status().up);
    lab.plug();
    capture.until("the capture to be back", |seen| seen.status().up && seen.status().restarts == 1);
    lab.knock("192.0.2.10", 11..21);
    let seen =
        capture.until("ten more ports", |seen| seen.ports().len() == 20 && seen.status().received >= 20);
    assert_eq!(seen.links, [LinkType::Ethernet; 2]);
    assert_eq!(seen.lost.len(), 1, "told once: {:?}", seen.lost);
    assert!(seen.ticks.windows(2).all(|pair| pair[0].received <= pair[1].received), "counters only grow");
    lab.unplug();
    capture.until("the second loss", |seen| seen.lost.len() == 2);
    assert!(capture.stop() < Duration::from_secs(2), "also while the interface is away");
}

#[test]
fn an_interface_replaced_in_an_instant_is_noticed() {
    let lab = Pair::new();
    let capture = Running::eth0(&lab);
    capture.until("the first tick", |seen| seen.status().up);
    lab.unplug();
    lab.plug();
    capture.until("the new one", |seen| seen.status().up && seen.status().restarts == 1);
    lab.knock("192.0.2.10", 1..11);
    capture.until("ten ports", |seen| seen.ports().len() == 10);
}

#[test]
fn a_renamed_interface_is_lost_until_its_name_is_back() {
    let lab = Pair::new();
    let capture = Running::eth0(&lab);
    capture.until("the first tick", |seen| seen.status().up);
    lab.set_watched(&["eth0", "down"]);
    lab.set_watched(&["eth0", "name", "moved0"]);
    lab.set_watched(&["moved0", "up"]);
    capture.until("the loss", |seen| !seen.lost.is_empty() && !seen.status().up);
    lab.set_watched(&["moved0", "down"]);
    lab.set_watched(&["moved0", "name", "eth0"]);
    lab.set_watched(&["eth0", "up"]);
    capture.until("its return", |seen| seen.status().up && seen.status().restarts == 1);
}

#[test]
fn an_interface_that_goes_down_is_not_up_and_needs_no_restart() {
    let lab = Pair::new();
    let capture = Running::eth0(&lab);
    capture.until("the first tick", |seen| seen.status().up);
    lab.set_watched(&["eth0", "down"]);
    capture.until("down", |seen| !seen.status().up);
    lab.set_watched(&["eth0", "up"]);
    capture.until("up again", |seen| seen.status().up);
    lab.knock("192.0.2.10", 1..11);
    let seen = capture.until("ten ports", |seen| seen.ports().len() == 10);
    assert_eq!((seen.lost.len(), seen.status().restarts), (0, 0), "{:?}", seen.lost);
}

#[test]
fn an_interface_without_carrier_is_not_up_and_needs_no_restart() {
    let lab = Pair::new();
    let capture = Running::eth0(&lab);
    let everywhere = Running::start(&lab.watched, on("any"));
    for capture in [&capture, &everywhere] {
        capture.until("the first tick", |seen| seen.status().up);
    }
    ip(&["-n", &lab.source, "link", "set", "eth0", "down"]);
    capture.until("down", |seen| !seen.status().up);
    assert!(everywhere.seen().status().up, "all interfaces together are never down");
    ip(&["-n", &lab.source, "link", "set", "eth0", "up"]);
    capture.until("up again", |seen| seen.status().up);
    lab.knock("192.0.2.10", 1..11);
    let seen = capture.until("ten ports", |seen| seen.ports().len() == 10);
    assert_eq!((seen.lost.len(), seen.status().restarts), (0, 0), "{:?}", seen.lost);
}

/// Their operational state is "unknown", and that is fine.
#[test]
fn devices_without_a_link_are_up_while_they_are_set_up() {
    let lab = Pair::new();
    for kind in ["dummy", "wireguard", "sit"] {
        let name = format!("{kind}0").replace("wireguard", "wg").replace("sit0", "sit7");
        let rest: &[&str] = if kind == "sit" { &["remote", "192.0.2.7", "local", "192.0.2.10"] } else { &[] };
        let added = Command::new("ip")
            .args([&["-n", &lab.watched, "link", "add", &name, "type", kind], rest].concat())
            .output()
            .unwrap();
        if !added.status.success() {
            eprintln!("NOT RUN: {kind}: {}", String::from_utf8_lossy(&added.stderr));
            continue;
        }
        lab.set_watched(&[&name, "up"]);
        let capture = Running::start(&lab.watched, on(&name));
        capture.until(kind, |seen| seen.status().up);
        lab.set_watched(&[&name, "down"]);
        capture.until("down", |seen| !seen.status().up);
    }
    let lo = Running::start(&lab.watched, on("lo"));
    lo.until("lo", |seen| seen.status().up);
}

#[test]
fn any_and_lo_work() {
    let lab = Pair::new();
    let all = LiveOptions { promiscuous: true, ..on("any") };
    let (any, lo) = (Running::start(&lab.watched, all), Running::start(&lab.watched, on("lo")));
    lab.knock("192.0.2.10", 1..11);
    knock_from(&lab.watched, "127.0.0.1", 11..21);
    let seen = any.until("ports of both", |seen| seen.ports().len() == 20);
    assert!(matches!(seen.links[..], [LinkType::LinuxSll | LinkType::LinuxSll2]), "{:?}", seen.links);
    assert_eq!(seen.probes.len(), 20, "each once, though those on lo also leave");
    let seen = lo.until("ports on lo", |seen| seen.ports().len() == 10 && seen.status().received >= 20);
    assert_eq!((seen.probes.len(), seen.status().up), (10, true));
    assert!(any.until("a tick", |seen| seen.status().received >= 30).status().up);
}

#[test]
fn a_tunnel_without_link_header_is_captured() {
    let lab = Pair::new();
    ip(&["-n", &lab.watched, "tuntap", "add", "tun0", "mode", "tun"]);
    lab.set_watched(&["tun0", "up"]);
    let capture = Running::start(&lab.watched, on("tun0"));
    assert_eq!(capture.until("the first tick", |seen| !seen.ticks.is_empty()).links, [LinkType::RawIp]);
}

/// PPP and GRE have no header that libpcap knows: it makes one up (cooked), which the kernel does not see. Whatever is asked of the
/// capture, it must see the same scan there as on a plain tunnel.
#[test]
fn every_kind_of_interface_is_seen_with_replies_and_without() {
    let lab = Pair::new();
    let of = |interface: &str, direction, replies, threads| {
        let options =
            LiveOptions { direction, replies, threads, buffer_bytes: threads << 20, ..on(interface) };
        let said = format!("{interface}, {direction:?}, replies {replies}, {threads} threads");
        (said, direction, replies, Running::start(&lab.watched, options))
    };
    const PPP: u16 = 512;
    const GRE: u16 = 778;
    const NONE: u16 = 0xfffe;
    for (last, (name, kind)) in [("ppp0", PPP), ("gre7", GRE), ("tun0", NONE)].into_iter().enumerate() {
        let last = 4 * u8::try_from(last).unwrap();
        let mut tun = Tun::new(&lab.watched, name, kind);
        ip(&["-n", &lab.watched, "addr", "add", &format!("198.51.100.{}/30", last + 1), "dev", name]);
        lab.set_watched(&[name, "up"]);
        let mut captures = vec![of("any", Direction::In, false, 1), of("any", Direction::In, true, 2)];
        for direction in [Direction::In, Direction::InOut, Direction::Out] {
            for replies in [false, true] {
                for threads in [1, 2] {
                    captures.push(of(name, direction, replies, threads));
                }
            }
        }
        // The host answers them: its ports are closed.
        let (source, host) = ([198, 51, 100, last + 2], [198, 51, 100, last + 1]);
        tun.inject((1..31).map(|port| frames::answerable_syn(source, host, port)));
        for (said, direction, replies, capture) in &captures {
            let answers =
                |seen: &Seen| seen.skipped.iter().filter(|reason| **reason == Skipped::NotProbe).count();
            let seen = capture.until(said, |seen| match direction {
                Direction::Out => seen.ticks.len() > 2,
                _ => seen.ports().len() == 30 && (!replies || said.starts_with("any") || answers(seen) == 30),
            });
            let expected = if *direction == Direction::Out { 0 } else { 30 };
            assert_eq!(seen.probes.len(), expected, "{said}: {:?}", seen.skipped);
        }
    }
}

#[test]
fn a_missing_interface_lists_those_of_its_namespace() {
    let lab = Pair::new();
    let message = refusal(&lab.watched, on("eth7")).to_string();
    assert_eq!(message, "cannot capture on eth7: no such device (interfaces: lo, eth0)");
}

#[test]
fn an_interface_that_is_down_says_so() {
    let lab = Pair::new();
    lab.set_watched(&["eth0", "down"]);
    let message = refusal(&lab.watched, on("eth0")).to_string();
    assert_eq!(message, "cannot capture on eth0: the interface is down (try: sudo ip link set eth0 up)");
}

#[test]
fn without_privilege_it_says_what_to_do_but_a_missing_interface_is_still_missing() {
    let lab = Pair::new();
    let messages = inside(&lab.watched, || {
        use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
            .unwrap();
        ["eth0", "any", "eth7"].map(|name| Live::open(on(name)).err().expect("refused").to_string())
    })
    .join()
    .unwrap();
    assert_eq!(
        messages[0],
        "cannot capture on eth0: no privilege, it needs CAP_NET_RAW (run it with sudo, or grant it once: \
         sudo setcap cap_net_raw+ep \"$(command -v portscan_exporter)\")"
    );
    assert!(messages[1].starts_with("cannot capture on any: no privilege"), "{}", messages[1]);
    assert!(messages[2].starts_with("cannot capture on eth7: no such device"), "{}", messages[2]);
}

#[test]
fn a_confined_process_can_capture_and_nothing_else() {
    let lab = Pair::new();
    inside(&lab.watched, || {
        let confined = privilege::confine_thread(&privilege::Options::default()).unwrap();
        assert_eq!((confined.became.as_deref(), confined.still_root), (Some("nobody"), None));
        assert!(confined.calls && confined.files != privilege::Files::Free, "{:?}", confined.files);
        let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert_confined(&own, &[]);
        Live::open(LiveOptions { promiscuous: true, ..on("eth0") }).unwrap();
        assert!(
            interfaces().iter().any(|interface| interface.name == "eth0" && !interface.addresses.is_empty())
        );
        for path in ["/etc/shadow", "/etc/passwd", "/root/.profile"] {
            let kind = std::fs::File::open(path).expect_err(path).kind();
            assert_eq!(kind, std::io::ErrorKind::PermissionDenied, "{path}");
        }
        assert!(std::fs::File::options().write(true).open("/proc/sys/kernel/core_pattern").is_err());
        assert!(Command::new("/bin/true").spawn().is_err());
        assert!(rustix::thread::set_thread_uid(rustix::process::Uid::ROOT).is_err());
    })
    .join()
    .unwrap();
}

#[test]
fn the_default_interface_and_the_addresses_are_those_of_the_namespace() {
    let lab = Pair::new();
    let look = || (default_interface(), interfaces());
    let (none, all) = inside(&lab.watched, look).join().unwrap();
    assert_eq!(none, None);
    let eth0 = all.iter().find(|interface| interface.name == "eth0").expect("eth0 is there");
    for address in ["192.0.2.10", "2001:db8::10"] {
        assert!(eth0.addresses.contains(&address.parse().unwrap()), "{address} in {eth0:?}");
    }
    ip(&["-n", &lab.watched, "-6", "route", "add", "default", "via", "2001:db8::7"]);
    assert_eq!(inside(&lab.watched, look).join().unwrap().0.as_deref(), Some("eth0"));
    ip(&["-n", &lab.watched, "-6", "route", "del", "default"]);
    ip(&["-n", &lab.watched, "route", "add", "default", "via", "192.0.2.7"]);
    assert_eq!(inside(&lab.watched, look).join().unwrap().0.as_deref(), Some("eth0"));
}
