//! The sample of a fleet: what it finds of sweeps that no host alone can see, what it costs in series, and the whole way
//! from a frame to the page. `cargo test --test fleet -- --nocapture` prints the table of `benches/RESULTS.md`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured")]

use assert_cmd::cargo::cargo_bin;
use lab::traffic::Draw;
use portscan_exporter::capture::{CaptureStatus, FrameSink as _};
use portscan_exporter::detect::{Limits, Networks, Origin, Policy, Probe, ScanEvent, Technique};
use portscan_exporter::packet::{LinkType, Timestamp};
use portscan_exporter::pipeline::{LiveSink, Pipeline, Publisher, Reload};
use portscan_exporter::publish::sample::{Key, Sample, SampleSnapshot, Sampling};
use portscan_exporter::publish::snapshot::InterfaceSnapshot;
use portscan_exporter::system::clock::StepWatch;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

const KEY: &str = "6b1f0c6f2d3e4a59b8c7d6e5f4a3b2c1";
const SECOND: u64 = 1_000_000_000;
const HOLD: u64 = 300;
/// Addresses that sweep, one after the other.
const SWEEPS: u32 = 20_000;

fn sampling(one_in: u32) -> Sampling {
    let key = Key::parse(KEY).unwrap();
    Sampling { key, one_in, max_sources: 32, hold_nanos: HOLD * SECOND }
}

/// A random address.
fn address(draw: &mut Draw) -> IpAddr {
    Ipv4Addr::from_bits((draw.number() >> 32) as u32).into()
}

fn see(host: &mut Sample, source: IpAddr, time: Timestamp) {
    let host_asked = IpAddr::from([192, 0, 2, 10]);
    host.gather(&Probe {
        time,
        source,
        host: host_asked,
        port: 22,
        technique: Technique::Syn,
        tool: Default::default(),
        signature: Default::default(),
        reply: None,
    });
    host.flush();
}

fn shows(snapshot: &SampleSnapshot, source: IpAddr) -> bool {
    snapshot.sources.iter().any(|shown| shown.source.address == source)
}

/// What one row of the table says.
struct Found {
    /// Sources of the sample that a host shows at a time.
    series: f64,
    most: usize,
    /// Of random addresses, the share whose sweep shows on 25 of the 200 hosts or more.
    one: f64,
}

/// Hosts that each see so many sources a day of their own, and then sweeps over all of them.
fn simulate(sources_a_day: u64, one_in: u32) -> Found {
    const HOSTS: usize = 200;
    let mut draw = Draw(sources_a_day * 1_000 + u64::from(one_in));
    let mut hosts = vec![Sample::new(sampling(one_in), Policy::default()); HOSTS];
    // What came before the hold is forgotten; where little comes, more of it evens out.
    let span = HOLD * if sources_a_day < 10_000 { 20 } else { 2 };
    let (arrivals, end) = (sources_a_day * span / 86_400, Timestamp::new(span, 0));
    let apart = span * SECOND / arrivals;
    for host in &mut hosts {
        for nth in 0..arrivals {
            let time = Timestamp(nth * apart + draw.number() % apart);
            host.advance(time);
            see(host, address(&mut draw), time);
        }
        host.advance(end);
    }
    let shown: Vec<usize> = hosts.iter().map(|host| host.snapshot().sources.len()).collect();
    let swept = |source: IpAddr| {
        let sees = |host: &&Sample| {
            let mut host = (*host).clone();
            see(&mut host, source, end);
            shows(&host.snapshot(), source)
        };
        sampling(one_in).place(portscan_exporter::detect::Source::of(source, 64)).is_some()
            && hosts.iter().filter(sees).count() >= 25
    };
    let found = (0..SWEEPS).filter(|_| swept(address(&mut draw))).count();
    Found {
        series: shown.iter().sum::<usize>() as f64 / HOSTS as f64,
        most: shown.into_iter().max().unwrap_or(0),
        one: found as f64 / f64::from(SWEEPS),
    }
}

#[test]
fn what_it_finds_and_what_it_costs() {
    println!(
        "| sources a day and host | share | series of a host: mean, most | of 10,000 hosts | new series a day and host, at most | \
         a sweep by 1 address shows | by 16 | by 64 | by 256 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for sources_a_day in [1_000_u64, 10_000, 100_000, 1_000_000] {
        for one_in in [16, 64, 256] {
            let Found { series, most, one } = simulate(sources_a_day, one_in);
            let by = |addresses: i32| format!("{:.1} %", 100.0 * (1.0 - (1.0 - one).powi(addresses)));
            println!(
                "| {sources_a_day} | 1/{one_in} | {series:.2}, {most} | {:.0} | {:.0} | {} | {} | {} | {} |",
                series * 10_000.0,
                sources_a_day as f64 / f64::from(one_in),
                by(1),
                by(16),
                by(64),
                by(256),
            );
            assert!(most <= 32, "whatever comes");
            let within_hold = sources_a_day as f64 * HOLD as f64 / 86_400.0 / f64::from(one_in);
            let share = 1.0 / f64::from(one_in);
            if within_hold < 16.0 {
                // There is room: the share is what the flag says, within five deviations.
                let deviation = (share * (1.0 - share) / f64::from(SWEEPS)).sqrt();
                assert!((one - share).abs() <= 5.0 * deviation, "1/{one_in}: {one}");
                assert!((series - within_hold).abs() <= 0.1 + within_hold / 4.0, "{series}, {within_hold}");
            } else {
                // Full: fewer sweeps show, but those that do show on all hosts alike.
                let left = share * (32.0 / within_hold).min(1.0);
                assert!(one >= left / 3.0 && one <= share * 1.25, "1/{one_in}: {one}, {left}");
            }
        }
    }
}

#[test]
fn two_hundred_hosts_show_the_same_sources_from_one_probe_each() {
    let mut draw = Draw(7);
    let mut hosts = vec![Sample::new(sampling(64), Policy::default()); 200];
    let sweepers: Vec<IpAddr> = (0..640).map(|_| address(&mut draw)).collect();
    for host in &mut hosts {
        sweepers.iter().for_each(|&source| see(host, source, Timestamp::new(1, 0)));
    }
    let first = hosts[0].snapshot();
    assert!((3..=20).contains(&first.sources.len()), "{}", first.sources.len());
    assert!(hosts.iter().all(|host| host.snapshot() == first));
    // With another key it is another sample.
    let other = Key::parse(&KEY.replace('6', "7")).unwrap();
    let mut stranger = Sample::new(Sampling { key: other, ..sampling(64) }, Policy::default());
    sweepers.iter().for_each(|&source| see(&mut stranger, source, Timestamp::new(1, 0)));
    assert_ne!(stranger.snapshot().sources, first.sources);
    assert_ne!(stranger.snapshot().fingerprint, first.fingerprint);
}

/// Keeps the latest snapshot of a live capture.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Option<InterfaceSnapshot>>>);

impl Publisher for Ear {
    fn scan(&mut self, _: ScanEvent) -> bool {
        true
    }
    fn capture_changed(&mut self, _: Option<&str>) {}
    fn publish(&mut self, snapshot: InterfaceSnapshot) {
        *self.0.lock().unwrap() = Some(snapshot);
    }
}

/// A live capture in a time of its own.
struct Host {
    sink: LiveSink<Ear>,
    ear: Ear,
    clocks: Arc<Mutex<(Timestamp, Duration)>>,
    reloads: mpsc::Sender<Reload>,
}

impl Host {
    fn new() -> Self {
        let clocks = Arc::new(Mutex::new((Timestamp::new(1_795_428_000, 0), Duration::from_secs(1_000))));
        let (ear, read) = (Ear::default(), Arc::clone(&clocks));
        let (reloads, new) = mpsc::channel();
        let pipeline = Pipeline::new(Policy::default(), Limits::default(), 1, Origin::Live)
            .with_sample(Some(Sample::new(sampling(1), Policy::default())));
        let watch = StepWatch::over(move || *read.lock().unwrap());
        let mut sink = LiveSink::with_clock("eth0", pipeline, ear.clone(), new, watch);
        sink.opened(LinkType::Ethernet);
        Self { sink, ear, clocks, reloads }
    }

    fn syn(&mut self, source: [u8; 4], port: u16) {
        let now = self.clocks.lock().unwrap().0;
        self.sink.frame(now, &lab::frames::syn(source, &[], port));
        self.sink.batch_end();
    }

    /// Ticks for so many seconds; what is shown then.
    fn pass(&mut self, seconds: u64) -> Vec<String> {
        for _ in 0..seconds {
            let mut clocks = self.clocks.lock().unwrap();
            *clocks = (clocks.0.saturating_add(SECOND), clocks.1 + Duration::from_secs(1));
            drop(clocks);
            self.sink.tick(&CaptureStatus { up: true, ..CaptureStatus::default() });
        }
        let snapshot = self.ear.0.lock().unwrap().clone().unwrap();
        snapshot.sample.unwrap().sources.iter().map(|shown| shown.source.to_string()).collect()
    }

    fn step(&mut self, nanos: i64) {
        let mut clocks = self.clocks.lock().unwrap();
        clocks.0 = Timestamp(clocks.0.nanos().saturating_add_signed(nanos));
    }
}

#[test]
fn a_live_capture_shows_one_port_for_the_hold_whatever_the_clock_does() {
    for step in [0, 7_200, -7_200_i64] {
        let mut host = Host::new();
        host.syn([203, 0, 113, 7], 22);
        assert_eq!(host.pass(1), ["203.0.113.7"], "after one probe");
        host.step(step * 1_000_000_000);
        assert_eq!(host.pass(290), ["203.0.113.7"], "{step}");
        assert!(host.pass(15).is_empty(), "{step}");
    }
}

#[test]
fn martians_and_what_a_reload_ignores_are_not_sampled() {
    let mut host = Host::new();
    host.syn([203, 0, 113, 7], 22);
    host.syn([203, 0, 113, 8], 22);
    host.syn([0, 0, 0, 5], 22);
    assert_eq!(host.pass(1).len(), 2, "0.0.0.5 is none");
    let ignored_sources = Networks::new(&["203.0.113.7/32".parse().unwrap()]);
    let policy = Policy { ignored_sources, ..Policy::default() };
    host.reloads.send(Reload::Policy(Box::new(policy))).unwrap();
    assert_eq!(host.pass(1), ["203.0.113.8"]);
    host.syn([203, 0, 113, 7], 23);
    assert_eq!(host.pass(1), ["203.0.113.8"]);
}

/// The series of the fleet in what `replay` prints.
fn replayed(words: &[&str]) -> Vec<String> {
    let out = Command::new(cargo_bin!("portscan_exporter"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures"))
        .args(["replay", "syn-scan.pcap", "--format=metrics"])
        .args(words)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let page = String::from_utf8(out.stdout).unwrap();
    page.lines().filter(|line| line.starts_with("portscan_fleet_")).map(str::to_owned).collect()
}

#[test]
fn a_file_shows_what_the_host_would_have_shown_and_without_a_key_there_is_nothing() {
    assert_eq!(replayed(&[]), [""; 0]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{KEY}").unwrap();
    let key = format!("--fleet.key-file={}", file.path().display());
    let fingerprint = Key::parse(KEY).unwrap().fingerprint();
    assert_eq!(
        replayed(&[&key, "--fleet.share=1/1", "--fleet.max-sources=9"]),
        [
            "portscan_fleet_sample_share_ratio{key=\"FINGERPRINT\"} 1".replace("FINGERPRINT", &fingerprint),
            "portscan_fleet_sample_source{interface=\"syn-scan.pcap\",source=\"198.51.100.7\"} 8".to_owned(),
            "portscan_fleet_sample_sources{interface=\"syn-scan.pcap\"} 1".to_owned(),
            "portscan_fleet_sample_sources_limit{interface=\"syn-scan.pcap\"} 9".to_owned(),
            "portscan_fleet_sample_suppressed_total{interface=\"syn-scan.pcap\",reason=\"refused\"} 0"
                .to_owned(),
            "portscan_fleet_sample_suppressed_total{interface=\"syn-scan.pcap\",reason=\"replaced\"} 0"
                .to_owned(),
        ]
    );
}
