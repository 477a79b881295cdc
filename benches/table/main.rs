//! Readers of capture files side by side, in one run, on files it makes itself.
//!
//! `cargo bench --bench table` prints all but the attacks; name sections to choose: `-- files sources live attacks`.
//! `live` needs root, iproute2, tcpdump and python3, takes seven minutes and sends only inside networks it makes.
//! Every program is a process of its own, the files are in the page cache, and programs that are compared take turns.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod live;

use etherparse::{SlicedPacket, TransportSlice};
use lab::frames::{self, ACK, SYN};
use lab::traffic::{Attack, Draw, Flood, Pace, SECOND, START};
use portscan_exporter::detect::{Detector, Limits, Origin, Policy, Probe};
use portscan_exporter::system::clock;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Rounds of programs that take turns; the median is told.
const ROUNDS: usize = 5;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count", file] => count(file, false),
        ["slice", file] => count(file, true),
        ["send", rate, seconds, kind] => {
            let bad = |what: &str| io::Error::other(format!("send RATE SECONDS KIND: {what:?}"));
            let number = |text: &str| text.parse().map_err(|_| bad(text));
            live::send(number(rate)?, number(seconds)?, live::Kind::of(kind).ok_or_else(|| bad(kind))?)?;
        }
        ["receive", buffer] => live::receive(buffer.parse().map_err(io::Error::other)?)?,
        ref sections => {
            let wants = |section| sections.contains(&section) || sections.is_empty() && section != "attacks";
            let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
            fs::create_dir_all(&place)?;
            machine()?;
            if wants("files") {
                files(&place)?;
            }
            if wants("sources") {
                sources(&place)?;
            }
            if wants("live")
                && let Err(error) = live::live(&place)
            {
                println!("\n**The live table did not run: {error}**");
            }
            if wants("attacks") {
                attacks();
            }
        }
    }
    Ok(())
}

/// What the figures depend on besides the programs.
fn machine() -> io::Result<()> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("\t: unknown");
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    println!(
        "{}, {cores} cores, Linux {}, {}, load {}",
        model.trim_start_matches(['\t', ' ', ':']),
        kernel.trim(),
        portscan_exporter::capture::libpcap_version(),
        load.split(' ').next().unwrap_or_default(),
    );
    Ok(())
}

// ---- The files.

/// A classic pcap file of Ethernet frames, microseconds, cut at 128 bytes.
struct Writer {
    out: BufWriter<File>,
    /// What all frames have in common.
    frame: Vec<u8>,
}

/// The shortest Ethernet frame, without its checksum.
const FRAME: usize = 60;

/// Where a TCP segment goes, and what it is.
#[derive(Clone, Copy)]
struct Segment {
    source: IpAddr,
    host: IpAddr,
    ports: (u16, u16),
    flags: u8,
    payload: u16,
}

impl Writer {
    fn create(path: &Path) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
        out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        out.write_all(&128_u32.to_le_bytes())?;
        out.write_all(&1_u32.to_le_bytes())?;
        let frame = frames::ethernet(frames::IPV4, &frames::ipv4(frames::TCP, &frames::tcp(SYN)));
        Ok(Self { out, frame })
    }

    fn segment(&mut self, nanos: u64, segment: Segment) -> io::Result<()> {
        let (IpAddr::V4(source), IpAddr::V4(host)) = (segment.source, segment.host) else {
            return Err(io::Error::other("only IPv4 is written"));
        };
        let length = 54 + u32::from(segment.payload);
        let wire = length.max(60);
        let kept = wire.min(128);
        let mut record = [0; 16 + 128];
        record[..4].copy_from_slice(&((nanos / SECOND) as u32).to_le_bytes());
        record[4..8].copy_from_slice(&((nanos % SECOND / 1_000) as u32).to_le_bytes());
        record[8..12].copy_from_slice(&kept.to_le_bytes());
        record[12..16].copy_from_slice(&wire.to_le_bytes());
        let frame = &mut record[16..];
        frame[..FRAME].copy_from_slice(&self.frame);
        frame[16..18].copy_from_slice(&((length - 14) as u16).to_be_bytes());
        frame[26..30].copy_from_slice(&source.octets());
        frame[30..34].copy_from_slice(&host.octets());
        frame[34..36].copy_from_slice(&segment.ports.0.to_be_bytes());
        frame[36..38].copy_from_slice(&segment.ports.1.to_be_bytes());
        frame[47] = segment.flags;
        self.out.write_all(&record[..16 + kept as usize])
    }

    fn probe(&mut self, probe: Probe) -> io::Result<()> {
        let ports = (40_000, probe.port);
        let segment = Segment { source: probe.source, host: probe.host, ports, flags: SYN, payload: 0 };
        self.segment(probe.time.nanos(), segment)
    }
}

fn address(bits: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(bits))
}

/// The host that everybody asks.
const HOST: u32 = 0xc000_020a;

/// 5 % SYN of 20,000 sources that open connections, 50 of them scanners with 100 ports; the rest is payload.
fn mixed(path: &Path, packets: u64) -> io::Result<()> {
    let mut writer = Writer::create(path)?;
    let mut draw = Draw(1);
    for n in 0..packets {
        let nanos = START + n * 10_000;
        let who = draw.below(20_000);
        let source = address(0x4000_0000 + who as u32 * 7);
        let segment = Segment { source, host: address(HOST), ports: (50_000, 443), flags: SYN, payload: 0 };
        let segment = match draw.below(20) {
            0 if n % 10 == 0 => {
                let scanner = draw.below(50);
                let port = 1 + draw.below(100) as u16;
                Segment { source: address(0xc633_6401 + scanner as u32), ports: (50_000, port), ..segment }
            }
            0 => segment,
            _ => Segment { flags: ACK, payload: draw.below(1_460) as u16, ..segment },
        };
        writer.segment(nanos, segment)?;
    }
    writer.out.flush()
}

/// SYNs, each from a new source, at a million a second.
fn flood(path: &Path, packets: u64) -> io::Result<()> {
    let mut writer = Writer::create(path)?;
    let attack = Attack::of(Flood::Burst(1));
    (0..packets).try_for_each(|n| writer.probe(attack.spoofed(n)))?;
    writer.out.flush()
}

/// 100,000 sources ask for 100 ports each, all at the same time, within 10 s.
fn crowd(path: &Path, packets: u64) -> io::Result<()> {
    let mut writer = Writer::create(path)?;
    let attack = Attack::of(Flood::Burst(1));
    for n in 0..packets {
        let probe = attack.spoofed(n % 100_000);
        let (source, port) = (probe.source, 1 + (n / 100_000) as u16);
        writer.probe(Probe { source, port, ..attack.spoofed(n) })?;
    }
    writer.out.flush()
}

/// One source asks for 65,535 ports, round after round: one round would measure how a process starts.
fn one(path: &Path, packets: u64) -> io::Result<()> {
    let mut writer = Writer::create(path)?;
    let attack = Attack::of(Flood::Burst(1));
    for n in 0..packets {
        let port = 1 + (n % 65_535) as u16;
        writer.probe(Probe { source: address(0xc633_6407), port, ..attack.spoofed(n) })?;
    }
    writer.out.flush()
}

/// So many clients on one port each, in no order.
fn clients(path: &Path, packets: u64, sources: u64) -> io::Result<()> {
    let mut writer = Writer::create(path)?;
    let attack = Attack::of(Flood::Burst(1));
    let mut draw = Draw(3);
    for n in 0..packets {
        let source = attack.spoofed(draw.below(sources)).source;
        writer.probe(Probe { source, port: 443, ..attack.spoofed(n) })?;
    }
    writer.out.flush()
}

type Make = fn(&Path, u64) -> io::Result<()>;

/// Makes a file unless it is there, and reads it once, so that it is in the page cache.
fn made(place: &Path, name: &str, packets: u64, make: Make) -> io::Result<PathBuf> {
    let path = place.join(format!("{name}-{packets}.pcap"));
    if !path.exists() {
        let unfinished = path.with_extension("part");
        make(&unfinished, packets)?;
        fs::rename(&unfinished, &path)?;
    }
    warm(&path)?;
    Ok(path)
}

fn warm(path: &Path) -> io::Result<()> {
    io::copy(&mut File::open(path)?, &mut io::sink()).map(|_| ())
}

// ---- The programs.

/// What a run of a program took.
#[derive(Debug, Clone, Copy)]
struct Run {
    seconds: f64,
    /// CPU time of its processes: tells more than the clock on the wall while others use the cores.
    cpu_seconds: f64,
    /// Greatest resident memory of its processes together, in bytes.
    peak_bytes: u64,
}

/// Runs a command to its end in a process group of its own, and watches the memory of the group.
fn run(mut command: Command) -> io::Result<Run> {
    let (from, cpu_from) = (clock::steady(), cpu_of_children()?);
    let mut child =
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let over = Arc::new(AtomicBool::new(false));
    let watch = {
        let (over, group) = (Arc::clone(&over), child.id());
        std::thread::spawn(move || {
            let mut peaks = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                for process in group_of(group) {
                    if let Some(peak) = peak(process) {
                        peaks.insert(process, peak);
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            peaks.values().sum()
        })
    };
    let status = child.wait()?;
    let seconds = from.elapsed().as_secs_f64();
    let cpu_seconds = cpu_of_children()? - cpu_from;
    over.store(true, Ordering::Relaxed);
    let peak_bytes = watch.join().map_err(|_| io::Error::other("the watch of the memory panicked"))?;
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(Run { seconds, cpu_seconds, peak_bytes })
}

/// CPU seconds of the children that were waited for, in steps of 10 ms: fields 16 and 17 of proc_pid_stat(5).
fn cpu_of_children() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let ticks: f64 = fields.split_whitespace().skip(13).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

/// The greatest resident memory of a process so far.
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kibibytes: u64| kibibytes << 10)
}

/// The processes of a group: its leader and the leader's descendants.
fn group_of(leader: u32) -> Vec<u32> {
    let mut all = vec![leader];
    let mut next = 0;
    while let Some(&process) = all.get(next) {
        next += 1;
        let children =
            fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    all
}

/// The bare loop, or the same with slicing: the least that a reader of files can do.
fn count(file: &str, slice: bool) {
    let mut capture =
        pcap::Capture::from_file_with_precision(file, pcap::Precision::Nano).expect("a capture file");
    let (mut packets, mut bytes, mut syns) = (0_u64, 0_u64, 0_u64);
    loop {
        let read = capture.dispatch(Some(65_536), |packet| {
            packets += 1;
            bytes += u64::from(packet.header.caplen);
            if slice
                && let Ok(sliced) = SlicedPacket::from_ethernet(packet.data)
                && let Some(TransportSlice::Tcp(tcp)) = sliced.transport
            {
                syns += u64::from(tcp.syn() && !tcp.ack());
            }
        });
        if read.expect("a whole file") == 0 {
            break;
        }
    }
    println!("{packets} {bytes} {syns}");
}

fn this(mode: &str, file: &Path) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(mode).arg(file);
    Ok(command)
}

fn replay(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portscan_exporter"));
    command.args(["replay", "--format", "json"]).arg(file);
    command
}

/// What the ancestor did with each of its files, here as one shell command.
fn ancestor(file: &Path, filter: &str) -> Command {
    let parse = r#"
import re, sys
line = re.compile(r'IP (\d+\.\d+\.\d+\.\d+)\.\d+ > \d+\.\d+\.\d+\.\d+\.(\d+): Flags \[S')
for text in sys.stdin:
    found = line.search(text)
    if found:
        print(found.group(1), found.group(2))
"#;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!(
        "tcpdump -nn -r '{}' {filter} | python3 -c \"$PARSE\" | sort | uniq | awk '{{print $1}}' | uniq -c | awk '$1 >= 20'",
        file.display()
    ));
    command.env("PARSE", parse);
    command
}

fn tshark(file: &Path) -> Command {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(file);
    command.args(["-Y", "tcp.flags.syn == 1 && tcp.flags.ack == 0", "-T", "fields"]);
    command.args(["-e", "ip.src", "-e", "tcp.dstport"]);
    command
}

// ---- The tables.

fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let peak_bytes = runs.iter().map(|run| run.peak_bytes).max().unwrap_or(0);
    Run { peak_bytes, ..runs[runs.len() / 2] }
}

fn line(file: &str, program: &str, packets: u64, run: Run, bare: Run) {
    println!(
        "| {file} | {program} | {:.3} | {:.2} | {:.3} | {:.3} | {:.1} |",
        run.seconds,
        run.cpu_seconds,
        packets as f64 / run.seconds / 1e6,
        bare.seconds / run.seconds,
        run.peak_bytes as f64 / f64::from(1 << 20),
    );
}

fn files(place: &Path) -> io::Result<()> {
    const WHOLE: [(&str, u64, Make); 4] = [
        ("mixed", 5_000_000, mixed),
        ("flood", 10_000_000, flood),
        ("crowd", 10_000_000, crowd),
        ("one", 65_535 * 60, one),
    ];
    println!(
        "\n| file | program | seconds | CPU seconds | M packets/s | of the bare loop | peak MiB |\n|---|---|---|---|---|---|---|"
    );
    for (name, packets, make) in WHOLE {
        let file = made(place, name, packets, make)?;
        let mut runs: [Vec<Run>; 3] = Default::default();
        for _ in 0..ROUNDS {
            runs[0].push(run(this("count", &file)?)?);
            runs[1].push(run(this("slice", &file)?)?);
            runs[2].push(run(replay(&file))?);
        }
        let [bare, sliced, ours] = runs.map(median);
        line(name, "bare libpcap loop", packets, bare, bare);
        line(name, "the same with etherparse", packets, sliced, bare);
        line(name, "portscan_exporter replay", packets, ours, bare);
    }
    const FIRST: u64 = 1_000_000;
    for (name, make, filter) in
        [("flood", flood as Make, ""), ("mixed", mixed as Make, "'(tcp[13] & 2) != 0'")]
    {
        let file = made(place, name, FIRST, make)?;
        let short = format!("{name}, 1 M packets");
        let mut runs: [Vec<Run>; 2] = Default::default();
        for _ in 0..ROUNDS {
            runs[0].push(run(this("count", &file)?)?);
            runs[1].push(run(replay(&file))?);
        }
        let [bare, ours] = runs.map(median);
        line(&short, "bare libpcap loop", FIRST, bare, bare);
        line(&short, "portscan_exporter replay", FIRST, ours, bare);
        let theirs = run(ancestor(&file, filter))?;
        line(&short, "the ancestor's pipeline", FIRST, theirs, bare);
        println!("| {short} | ancestor / ours | {:.0} times | | | | |", theirs.seconds / ours.seconds);
        match run(tshark(&file)) {
            Ok(theirs) => line(&short, "tshark", FIRST, theirs, bare),
            Err(error) => println!("| {short} | tshark did not run: {error} | | | | | |"),
        }
    }
    Ok(())
}

/// Cost per packet as distinct sources grow.
fn sources(place: &Path) -> io::Result<()> {
    const PACKETS: u64 = 10_000_000;
    println!(
        "\n| distinct sources | CPU ns a packet, replay | less the bare loop | ns a probe, detector alone | peak MiB |"
    );
    println!("|---|---|---|---|---|");
    for exponent in 3..=7 {
        let sources = 10_u64.pow(exponent);
        let file = place.join("clients.pcap");
        clients(&file, PACKETS, sources)?;
        warm(&file)?;
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            bare.push(run(this("count", &file)?)?);
            ours.push(run(replay(&file))?);
        }
        fs::remove_file(&file)?;
        let (bare, ours) = (median(bare), median(ours));
        let nanos = |seconds: f64| seconds * 1e9 / PACKETS as f64;
        println!(
            "| {sources} | {:.1} | {:.1} | {:.1} | {:.1} |",
            nanos(ours.cpu_seconds),
            nanos(ours.cpu_seconds - bare.cpu_seconds),
            alone(PACKETS, sources),
            ours.peak_bytes as f64 / f64::from(1 << 20),
        );
    }
    Ok(())
}

/// Nanoseconds a probe, the detector alone.
fn alone(packets: u64, sources: u64) -> f64 {
    let attack = Attack::of(Flood::Burst(1));
    let mut detector = Detector::new(Policy::default(), Limits::default(), 1, Origin::File);
    let mut draw = Draw(3);
    let mut spent = Duration::ZERO;
    let mut probes = Vec::with_capacity(1 << 15);
    for from in (0..packets).step_by(1 << 15) {
        probes.clear();
        probes.extend((from..packets.min(from + (1 << 15))).map(|n| {
            let source = attack.spoofed(draw.below(sources)).source;
            Probe { source, port: 443, ..attack.spoofed(n) }
        }));
        let start = clock::steady();
        detector.observe(&probes, &mut |_| {});
        spent += start.elapsed();
    }
    spent.as_secs_f64() * 1e9 / packets as f64
}

/// How many of 200 scanners are found where not all are: sources that pace their ports over the window, scanners that just
/// reach the threshold, and evidence that must outlast noise.
fn attacks() {
    println!(
        "\n| scanners | spoofed sources | window | packets/s | memory | found of 200 | door | table | evidence |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for pace in [Pace::Even, Pace::Random] {
        for flood in [1, 2, 3, 5, 7, 15, 19].map(Flood::Burst) {
            attack(Attack { pace, ..Attack::of(flood) }, 48);
        }
        for ports in [15, 19] {
            for rate in [100_000, 300_000, 1_000_000] {
                for mebibytes in [48, 96, 192, 384] {
                    let of = Attack { pace, rate, packets: rate * 18, ..Attack::of(Flood::Paced(ports)) };
                    if attack(Attack { scan_after: 9 * SECOND, ..of }, mebibytes) == of.scanners {
                        break;
                    }
                }
            }
        }
    }
    for rate in [100_000, 600_000, 1_000_000, 1_500_000] {
        let of = Attack { rate, packets: rate * 12, pace: Pace::Slowest, ..Attack::of(Flood::Burst(1)) };
        for mebibytes in [48, 64] {
            attack(of, mebibytes);
        }
    }
    for window in [10, 60, 600, 3_600] {
        let rate = 1_000_000 / window;
        let of = Attack {
            rate,
            packets: rate * window * 5 / 4,
            window: window * SECOND,
            ..Attack::of(Flood::Burst(3))
        };
        attack(Attack { pace: Pace::Silent, scan_after: of.window / 5, ..of }, 48);
    }
}

fn attack(attack: Attack, mebibytes: usize) -> u64 {
    let outcome = attack.run(Limits { memory_bytes: mebibytes << 20, ..Limits::default() });
    let [door, table, .., evidence] = outcome.snapshot.counters.evicted;
    let sources = match attack.flood {
        Flood::Burst(ports) => format!("{ports} ports at once"),
        Flood::Paced(ports) => format!("{ports} ports over 10 s"),
    };
    println!(
        "| {:?} | {sources} | {} s | {} | {mebibytes} MiB | {}{} | {door} | {table} | {evidence} |",
        attack.pace,
        attack.window / SECOND,
        attack.rate,
        outcome.found,
        if outcome.others > 0 { format!(" and {} others", outcome.others) } else { String::new() },
    );
    outcome.found
}
