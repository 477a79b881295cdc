//! Receivers of live traffic side by side: one at a time, in a network of its own, under the same frames.
//!
//! CPU is what the scheduler charges the receiver's process for. The kernel's work for a frame is done on the sender's core
//! and charged to whoever runs there, which may be a receiver that was put on that core: part of the noise.

mod goals;
mod host;
mod receive;
mod send;

pub use receive::receive;
pub use send::{Kind, send};

use lab::spaces::command_in;
use lab::{Ended, Pair, inside};
use portscan_exporter::system::clock;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Frames a second; 0 is as fast as the sender can.
const RATES: [u64; 4] = [100_000, 200_000, 400_000, 0];

/// The rate at which the others lose packets, and at which we are compared with them.
const COMPARED: u64 = 200_000;

/// How long each run sends.
const SECONDS: u64 = 5;

/// The exporter's default, for the bare receiver as well.
const BUFFER_BYTES: i32 = 16 << 20;

/// Between two scrapes.
const SCRAPE_EVERY: Duration = Duration::from_millis(50);

/// Longest wait for a receiver to be ready, or to have done with what it was sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that is sent frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    Exporter,
    /// While somebody scrapes it 20 times a second.
    Scraped,
    /// With `--capture.fragments=count`.
    Unassembled,
    /// With `--capture.threads=2`.
    TwoThreads,
    Bare,
    Scanlogd,
    Suricata,
}

impl Receiver {
    const fn label(self) -> &'static str {
        match self {
            Receiver::Exporter => "portscan_exporter",
            Receiver::Scraped => "the same, 20 scrapes/s",
            Receiver::Unassembled => "the same, --capture.fragments=count",
            Receiver::TwoThreads => "the same, --capture.threads=2",
            Receiver::Bare => "bare libpcap receiver",
            Receiver::Scanlogd => "scanlogd",
            Receiver::Suricata => "suricata",
        }
    }

    /// Besides what every exporter gets.
    const fn flags(self) -> &'static [&'static str] {
        match self {
            Receiver::Unassembled => &["--capture.fragments=count"],
            Receiver::TwoThreads => &["--capture.threads=2"],
            _ => &[],
        }
    }

    /// Its program if it is not ours: where it is installed, if it is.
    fn installed(self) -> io::Result<PathBuf> {
        let name = self.label();
        ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
            .iter()
            .map(|place| Path::new(place).join(name))
            .find(|path| path.exists())
            .ok_or_else(|| io::Error::other("not installed"))
    }

    fn start(self, lab: &Pair, place: &Path) -> io::Result<Running> {
        let space = &lab.watched;
        match self {
            Receiver::Bare => {
                let mut command = command_in(space, &std::env::current_exe()?);
                command.arg("receive").arg(BUFFER_BYTES.to_string());
                let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
                let mut said =
                    BufReader::new(program.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?);
                said.read_line(&mut String::new())?;
                Ok(Running::Bare(Ended(program), said))
            }
            Receiver::Scanlogd => {
                // It gives up everything but its socket, and wants a place to do so.
                fs::create_dir_all("/run/scanlogd/empty")?;
                let status = command_in(space, &self.installed()?).status()?;
                if !status.success() {
                    return Err(io::Error::other(format!("ended with {status}")));
                }
                let find = || {
                    let pids = host::processes(lab);
                    let named = |pid: &i32| name_of(*pid).is_some_and(|name| name == "scanlogd");
                    pids.into_iter().find(named).ok_or_else(|| io::Error::other("no process of that name"))
                };
                let pid = eventually("the daemon to be there", find)?;
                let daemon = Daemon(pid);
                eventually("its socket", || raw_socket(pid))?;
                Ok(Running::Scanlogd(daemon))
            }
            Receiver::Suricata => {
                let (program, rules) = (self.installed()?, place.join("suricata.rules"));
                let logs = place.join("suricata");
                let _ = fs::remove_dir_all(&logs);
                fs::create_dir_all(&logs)?;
                fs::write(&rules, SURICATA_RULE)?;
                let mut command = command_in(space, &program);
                command.args(["--af-packet=eth0", "-k", "none", "-S"]).arg(&rules).arg("-l").arg(&logs);
                // The second output of Debian's configuration tells every flow: it would fill the disk, and wait for it.
                command.args(["--set", "outputs.1.eve-log.enabled=no"]);
                command.stdin(Stdio::null()).stdout(File::create(logs.join("stdout"))?).stderr(Stdio::null());
                let mut program = Ended(command.spawn()?);
                let log = logs.join("suricata.log");
                eventually("suricata to start", || {
                    if let Some(status) = program.0.try_wait()? {
                        return Err(io::Error::other(format!("ended with {status}")));
                    }
                    let said = fs::read_to_string(&log)?;
                    said.contains("ngine started").then_some(()).ok_or_else(|| io::Error::other("not yet"))
                })?;
                Ok(Running::Suricata(program, log))
            }
            _ => {
                let mut command = command_in(space, env!("CARGO_BIN_EXE_portscan_exporter"));
                command.args(["-i", "eth0", "--log.format=logfmt"]).args(self.flags());
                command.arg(format!("--web.listen-address={}", host::METRICS));
                command.stdin(Stdio::null()).stderr(File::create(place.join("exporter.log"))?);
                let program = Ended(command.spawn()?);
                eventually("the exporter to capture", || {
                    let up = sum(&host::page(lab)?, "portscan_capture_up");
                    if up == 1 { Ok(()) } else { Err(io::Error::other("portscan_capture_up is 0")) }
                })?;
                Ok(Running::Exporter(program))
            }
        }
    }
}

/// One threshold rule, the nearest that it has to ours.
const SURICATA_RULE: &str = "alert tcp any any -> any any (msg:\"scan\"; flags:S,CE; \
     threshold:type both,track by_src,count 20,seconds 10; sid:1000001;)\n";

/// A receiver that captures. It was started for one run, in a network where nothing else is sent: its counters begin
/// with that run.
enum Running {
    Exporter(Ended),
    Bare(Ended, BufReader<std::process::ChildStdout>),
    Scanlogd(Daemon),
    Suricata(Ended, PathBuf),
}

/// What a receiver, or the kernel for it, counted.
#[derive(Debug, Clone, Copy)]
struct Account {
    received: u64,
    dropped: u64,
}

impl Running {
    fn pid(&self) -> i32 {
        match self {
            Running::Exporter(program) | Running::Bare(program, _) | Running::Suricata(program, _) => {
                i32::try_from(program.0.id()).expect("process ids are positive ints")
            }
            Running::Scanlogd(daemon) => daemon.0,
        }
    }

    /// Ends it; what it counted of so many frames that arrived.
    fn end(self, lab: &Pair, arrived: u64) -> io::Result<Account> {
        match self {
            Running::Exporter(_program) => {
                // What was counted shows from the next tick on, a second later at most.
                std::thread::sleep(Duration::from_millis(1_200));
                let page = host::page(lab)?;
                Ok(Account {
                    received: sum(&page, "portscan_packets_total"),
                    dropped: sum(&page, "portscan_capture_dropped_packets_total"),
                })
            }
            Running::Bare(mut program, mut said) => {
                drop(program.0.stdin.take());
                let mut counts = String::new();
                said.read_to_string(&mut counts)?;
                program.0.wait()?;
                match numbers(&counts)[..] {
                    [received, _, dropped] => Ok(Account { received, dropped }),
                    _ => Err(io::Error::other(format!("the bare receiver said {counts:?}"))),
                }
            }
            Running::Scanlogd(daemon) => {
                // It counts nothing itself. A raw socket gets every TCP segment for this host, or drops it.
                let dropped = raw_socket(daemon.0)?;
                Ok(Account { received: arrived.saturating_sub(dropped), dropped })
            }
            Running::Suricata(mut program, log) => {
                terminate(program.0.id());
                program.0.wait()?;
                // 6: "Stats for 'eth0':  pkts: 1000, drop: 0 (0.00%), …"; 7: "eth0: packets: 1000, drops: 0 (0.00%), …"
                let said = fs::read_to_string(log)?;
                let line =
                    said.lines().rev().find(|line| line.contains("invalid chksum")).unwrap_or_default();
                let after = |words: [&str; 2]| {
                    let (_, rest) = words.iter().find_map(|word| line.split_once(word))?;
                    rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
                };
                match (after(["packets: ", "pkts: "]), after(["drops: ", "drop: "])) {
                    (Some(packets), Some(dropped)) => {
                        Ok(Account { received: packets.saturating_sub(dropped), dropped })
                    }
                    _ => Err(io::Error::other(format!("it did not tell what it dropped: {line:?}"))),
                }
            }
        }
    }
}

/// Somebody else's child that does not outlive its run.
struct Daemon(i32);

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.0)
            && let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty())
        {
            let _ = kill_process(pid, Signal::KILL);
            let mut ended = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
            let _ = rustix::event::poll(&mut ended, None);
        }
    }
}

fn terminate(child: u32) {
    if let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn name_of(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
}

/// What the raw IP socket in a process's network has dropped so far: the last column of its table.
fn raw_socket(pid: i32) -> io::Result<u64> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/raw"))?;
    let line = table.lines().nth(1).ok_or_else(|| io::Error::other("it has no raw socket"))?;
    let last = line.split_whitespace().last().unwrap_or_default();
    last.parse().map_err(|_| io::Error::other(format!("no count of drops in {line:?}")))
}

/// CPU time of all threads of a process, to the nanosecond: /proc/PID/stat would tell the same in steps of 10 ms.
fn cpu_of(pid: i32) -> io::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has just ended is no loss: those that work stay.
        let spent = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanos += numbers(&spent).first().copied().unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// Waits until a process does next to nothing: it has done with what it was sent.
fn settle(pid: i32) -> io::Result<Duration> {
    const LOOK: Duration = Duration::from_millis(300);
    let start = clock::steady();
    let mut before = cpu_of(pid)?;
    loop {
        std::thread::sleep(LOOK);
        let now = cpu_of(pid)?;
        if now.saturating_sub(before) < LOOK / 50 || start.elapsed() > PATIENCE {
            return Ok(now);
        }
        before = now;
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The series of a family on a page, added up; they are counts.
fn sum(page: &str, family: &str) -> u64 {
    let series = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(family));
    let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum::<f64>().round().to_string().parse().unwrap_or(0)
}

/// Asks until there is an answer.
fn eventually<T>(what: &str, mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let start = clock::steady();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(io::Error::other(format!("waited in vain for {what}: {error}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Scrapes at a steady rate, until told to stop.
struct Scraper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Vec<Duration>>>,
}

impl Scraper {
    fn start(lab: &Pair) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = inside(&lab.watched, move || {
            let mut latencies = Vec::new();
            let mut next = clock::steady();
            while !stopped.load(Ordering::Relaxed) {
                let start = clock::steady();
                host::scrape()?;
                latencies.push(start.elapsed());
                next += SCRAPE_EVERY;
                std::thread::sleep(next.saturating_duration_since(clock::steady()));
            }
            Ok(latencies)
        });
        Self { stop, thread }
    }

    fn stop(self) -> io::Result<Vec<Duration>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut latencies = self.thread.join().map_err(|_| io::Error::other("the scraper panicked"))??;
        latencies.sort_unstable();
        Ok(latencies)
    }
}

/// The least latency that so many per cent of the scrapes did not exceed (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// One run.
#[derive(Debug, Clone)]
struct Row {
    receiver: Receiver,
    kind: Kind,
    rate: u64,
    sent: u64,
    arrived: u64,
    elapsed: Duration,
    account: Account,
    cpu: Duration,
    /// Of the scrapes during the flood, sorted.
    latencies: Vec<Duration>,
}

impl Row {
    fn offered(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64()
    }

    /// What arrived and is in no count; only of traffic that the receiver's filter takes.
    fn unaccounted(&self) -> u64 {
        self.arrived.saturating_sub(self.account.received + self.account.dropped)
    }

    fn cpu_nanos(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.sent as f64
    }

    fn core_percent(&self) -> f64 {
        self.cpu.as_secs_f64() / self.elapsed.as_secs_f64() * 100.0
    }

    fn print(&self) {
        let scrapes = match &self.latencies[..] {
            [] => String::new(),
            sorted => {
                let [p50, p99, max] =
                    [50, 99, 100].map(|percent| percentile(sorted, percent).as_secs_f64() * 1e3);
                format!("{p50:.2} / {p99:.2} / {max:.2} ({})", sorted.len())
            }
        };
        let lost = self.sent.saturating_sub(self.arrived);
        println!(
            "| {} | {} | {:.0} | {} | {}{} | {} | {:.0} | {:.1} | {:.2} | {scrapes} |",
            self.receiver.label(),
            traffic(self.kind, self.rate),
            self.offered(),
            self.sent,
            self.account.received,
            if lost > 0 { format!(" ({lost} did not arrive)") } else { String::new() },
            self.account.dropped,
            self.cpu.as_secs_f64() * 1e3,
            self.cpu_nanos(),
            self.core_percent(),
        );
    }
}

fn traffic(kind: Kind, rate: u64) -> String {
    match rate {
        0 => format!("{}, as fast as it can", kind.label()),
        rate => format!("{}, {} k/s", kind.label(), rate / 1_000),
    }
}

/// The sender, to its end: frames sent, and in what time.
fn flood(lab: &Pair, rate: u64, seconds: u64, kind: Kind) -> io::Result<(u64, Duration)> {
    let mut command = command_in(&lab.source, &std::env::current_exe()?);
    command.args(["send", &rate.to_string(), &seconds.to_string(), kind.label()]);
    let output = command.stderr(Stdio::inherit()).output()?;
    match numbers(&String::from_utf8_lossy(&output.stdout))[..] {
        [sent, nanos] => Ok((sent, Duration::from_nanos(nanos))),
        _ => Err(io::Error::other(format!("the sender ended with {}", output.status))),
    }
}

fn measure(lab: &Pair, place: &Path, receiver: Receiver, kind: Kind, rate: u64) -> io::Result<Row> {
    let running = receiver.start(lab, place)?;
    let pid = running.pid();
    let cpu = settle(pid)?;
    let arrived = host::arrived(lab)?;
    let scraper = (receiver == Receiver::Scraped).then(|| Scraper::start(lab));
    let sent = flood(lab, rate, SECONDS, kind);
    let latencies = scraper.map_or_else(|| Ok(Vec::new()), Scraper::stop)?;
    let (sent, elapsed) = sent?;
    let cpu = settle(pid)?.saturating_sub(cpu);
    let arrived = host::arrived(lab)? - arrived;
    let account = running.end(lab, arrived)?;
    Ok(Row { receiver, kind, rate, sent, arrived, elapsed, account, cpu, latencies })
}

/// What is sent to whom, in order: those that are compared directly follow one another.
fn runs() -> Vec<(Kind, u64, Vec<Receiver>)> {
    use Receiver::*;
    let mut runs = Vec::new();
    for kind in [Kind::Syn, Kind::Ack] {
        for rate in RATES {
            let mut receivers = vec![Bare, Exporter];
            if kind == Kind::Syn {
                receivers.push(Scraped);
            }
            // The variants where they differ: at the rate of the comparison and at the limit.
            if rate == 0 || rate == COMPARED {
                receivers.extend([Unassembled, TwoThreads]);
            }
            receivers.extend([Scanlogd, Suricata]);
            runs.push((kind, rate, receivers));
        }
    }
    // What scanlogd listens to does not get these.
    runs.push((Kind::Mirrored, 0, vec![Bare, Exporter, Scraped, Unassembled, TwoThreads, Suricata]));
    runs
}

/// Both tables.
pub fn live(place: &Path) -> io::Result<()> {
    let lab = host::pair()?;
    println!(
        "\nCPU is that of the receiver's process; the kernel's part is done on the sender's core and charged to whoever runs there."
    );
    println!(
        "\n| receiver | traffic | offered packets/s | sent | received | dropped for want of room | CPU ms | CPU ns a packet | % of a core | scrape ms, p50 / p99 / max (scrapes) |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut rows = Vec::new();
    for (kind, rate, receivers) in runs() {
        for receiver in receivers {
            match measure(&lab, place, receiver, kind, rate) {
                Ok(row) => {
                    row.print();
                    rows.push(row);
                }
                Err(error) => println!(
                    "| {} | {} | **did not run: {error}** | | | | | | | |",
                    receiver.label(),
                    traffic(kind, rate)
                ),
            }
        }
    }
    goals::tell(&rows);
    quiet(&lab, place)?;
    steady(&lab, place)
}

/// What the exporter costs while nothing comes: with empty tables, and with those that a flood has left full.
fn quiet(lab: &Pair, place: &Path) -> io::Result<()> {
    const SPAN: Duration = Duration::from_secs(5);
    let exporter = Receiver::Exporter.start(lab, place)?;
    let rest = || {
        let before = settle(exporter.pid())?;
        std::thread::sleep(SPAN);
        let cpu = cpu_of(exporter.pid())?.saturating_sub(before);
        io::Result::Ok(cpu.as_secs_f64() / SPAN.as_secs_f64())
    };
    println!("\n| portscan_exporter, nothing sent for 5 s | CPU ms a second | % of a core |\n|---|---|---|");
    for after in ["after the start", "after a flood"] {
        if after == "after a flood" {
            flood(lab, COMPARED, SECONDS, Kind::Syn)?;
        }
        let share = rest()?;
        println!("| {after} | {:.2} | {:.2} |", share * 1e3, share * 1e2);
    }
    Ok(())
}

/// A steady scan, and who misses how much of it: the ancestor, blind from the end of one file to the start of the next,
/// and the exporter beside it.
fn steady(lab: &Pair, place: &Path) -> io::Result<()> {
    const RATE: u64 = 100;
    const SCAN_SECONDS: u64 = 60;
    let exporter = Receiver::Exporter.start(lab, place)?;
    let over = AtomicBool::new(false);
    let (sent, theirs) = std::thread::scope(|scope| {
        let ancestor = scope.spawn(|| rounds(lab, place, &over));
        let sent = flood(lab, RATE, SCAN_SECONDS, Kind::Scan);
        over.store(true, Ordering::Relaxed);
        (sent, ancestor.join().unwrap_or_else(|_| Err(io::Error::other("it panicked"))))
    });
    let (sent, elapsed) = sent?;
    std::thread::sleep(Duration::from_millis(1_200));
    let hits = sum(&host::page(lab)?, "portscan_hits_total");
    let ours = exporter.end(lab, sent)?;
    println!("\n| a scan of {RATE} SYN/s for {:.0} s | sent | seen | missed | |", elapsed.as_secs_f64());
    println!("|---|---|---|---|---|");
    let line = |who: &str, seen: u64, remark: String| {
        let missed = sent.saturating_sub(seen);
        println!(
            "| {who} | {sent} | {seen} | {missed} ({:.1} %) | {remark} |",
            missed as f64 * 100.0 / sent as f64
        );
    };
    line("portscan_exporter", ours.received, format!("{hits} hit"));
    match theirs {
        Ok((seen, rounds)) => line("the ancestor's loop", seen, format!("{rounds} rounds")),
        Err(error) => println!("| the ancestor's loop | **did not run: {error}** | | | |"),
    }
    Ok(())
}

/// The ancestor's loop until told that the scan is over: SYNs in its files, and rounds.
fn rounds(lab: &Pair, place: &Path, over: &AtomicBool) -> io::Result<(u64, usize)> {
    const FILTER: &str = "(tcp[13] & 2) != 0";
    let mut files = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let file = place.join(format!("round-{}.pcap", files.len()));
        let mut command = command_in(&lab.watched, "tcpdump");
        // `-Z root`: else it gives up the right to write there.
        command.args(["-i", "eth0", "-Z", "root", "-G", "10", "-W", "1", "-w"]).arg(&file).arg(FILTER);
        let mut capture = Ended(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?);
        // It ends with the first packet after ten seconds; when the scan is over, there is none.
        while capture.0.try_wait()?.is_none() {
            if over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(1));
                terminate(capture.0.id());
                capture.0.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        crate::ancestor(&file, "").stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        files.push(file);
    }
    // Counted now, since in the loop it would make the blind time longer.
    let mut seen = 0;
    for file in &files {
        seen += count(file)?;
        fs::remove_file(file)?;
    }
    Ok((seen, files.len()))
}

fn count(file: &Path) -> io::Result<u64> {
    let mut packets = 0;
    let mut capture = pcap::Capture::from_file(file).map_err(io::Error::other)?;
    while capture.dispatch(None, |_| packets += 1).map_err(io::Error::other)? > 0 {}
    Ok(packets)
}
