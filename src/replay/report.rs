//! What `replay` prints of the scans it found: a table for people or one JSON object per scan. (The
//! exposition is `metrics`' own.) And a progress bar for when reading takes long.

use crate::detect::{PortSample, Scan, ScanId, Source};
use crate::packet::Timestamp;
use crate::system::clock;
use crate::text::time::{Rfc3339, rfc3339};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// The most scans a table shows: beyond that nobody reads it, and it must be kept whole to be aligned.
pub const MAX_ROWS: usize = 10_000;

/// A scan as `replay --format json` prints it. The order of the keys is a contract; fields may be added.
#[derive(Serialize)]
struct ScanLine<'a> {
    #[serde(serialize_with = "text")]
    source: Source,
    interface: &'a str,
    kind: &'static str,
    technique: &'static str,
    window_seconds: Number,
    started: Rfc3339,
    detected: Rfc3339,
    last_probe: Rfc3339,
    ended: Option<Rfc3339>,
    probes: u64,
    distinct_ports: u32,
    peak_distinct_ports: u32,
    distinct_hosts: u32,
    first_target: String,
    sample_ports: &'a [u16],
    source_address: IpAddr,
    #[serde(serialize_with = "text")]
    scan: ScanId,
    busiest_host_ports: u32,
    target: String,
    lower_bound: bool,
    #[serde(skip_serializing_if = "is_zero")]
    clock_steps: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Writes what can be displayed as text, without a string in between.
fn text<T: fmt::Display, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Seconds, without a fraction when there is none: `10`, `0.5`.
#[derive(Serialize)]
#[serde(untagged)]
enum Number {
    Whole(u64),
    Fraction(f64),
}

impl Number {
    fn seconds(nanos: u64) -> Self {
        match nanos % 1_000_000_000 {
            0 => Number::Whole(nanos / 1_000_000_000),
            _ => Number::Fraction(nanos as f64 / 1e9),
        }
    }
}

/// A scan as one JSON object on one line, without the line's end; `interface` is the file's name. `clock_steps` is in it if the
/// file's clock has stepped.
pub fn json_line(scan: &Scan, interface: &str, clock_steps: u64) -> String {
    let line = ScanLine {
        source: scan.source,
        interface,
        kind: scan.kind.label(),
        technique: scan.technique.label(),
        window_seconds: Number::seconds(scan.window_nanos),
        started: Rfc3339(scan.started),
        detected: Rfc3339(scan.detected),
        last_probe: Rfc3339(scan.last_probe),
        ended: scan.ended.map(Rfc3339),
        probes: scan.probes,
        distinct_ports: scan.distinct_ports,
        peak_distinct_ports: scan.peak_distinct_ports,
        distinct_hosts: scan.distinct_hosts,
        first_target: target(scan.first_target),
        sample_ports: scan.sample_ports.as_slice(),
        source_address: scan.source_address,
        scan: scan.id,
        busiest_host_ports: scan.busiest_host_ports,
        target: target(scan.target),
        lower_bound: scan.lower_bound,
        clock_steps,
    };
    // A flood of scans is a flood of lines: one allocation each.
    let mut json = Vec::with_capacity(768);
    serde_json::to_writer(&mut json, &line).expect("text, numbers and lists are always JSON");
    String::from_utf8(json).expect("JSON is UTF-8")
}

/// `192.0.2.10:22`, `[2001:db8::1]:22`.
fn target((host, port): (IpAddr, u16)) -> String {
    SocketAddr::new(host, port).to_string()
}

/// What a capture held: a file, or several that continue each other.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Its files, by their index.
    pub files: Vec<usize>,
    /// All its frames.
    pub packets: u64,
    /// Those that are probes.
    pub probes: u64,
    /// From its earliest to its latest packet.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What else there is to know, a line each.
    pub remarks: Vec<String>,
}

/// The table of `replay --format text`: give it scans and captures, in any order, then show it.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The names of all files, and how many scans were detected in each.
    files: Vec<(String, u64)>,
    /// By file, then by the time of the hit, whatever the order they come in.
    scans: Vec<(usize, Scan)>,
    captures: Vec<Totals>,
}

impl Table {
    /// For these files.
    pub fn new(files: &[String]) -> Self {
        let files = files.iter().map(|name| (name.clone(), 0)).collect();
        Self { files, ..Self::default() }
    }

    /// A scan that was detected in a file, as it ended or as it stands at the end.
    pub fn scan(&mut self, file: usize, scan: &Scan) {
        self.files[file].1 += 1;
        if self.scans.len() < MAX_ROWS {
            self.scans.push((file, *scan));
        }
    }

    /// What was read, as far as it could be. A file without a capture has no line.
    pub fn capture(&mut self, totals: Totals) {
        self.captures.push(totals);
    }
}

const HEADER: [&str; 12] = [
    "FILE",
    "SOURCE",
    "KIND",
    "TECHNIQUE",
    "PORTS",
    "PEAK",
    "HOSTS",
    "PROBES",
    "STARTED (UTC)",
    "DURATION",
    "FIRST TARGET",
    "SAMPLE",
];
/// Columns of numbers, which read best from the right.
const RIGHT: [usize; 5] = [4, 5, 6, 7, 9];

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut scans = self.scans.clone();
        scans.sort_by_key(|(file, scan)| (*file, scan.detected, scan.source, scan.id));
        // The file's name is worth a column only where there is more than one.
        let first = usize::from(self.files.len() < 2);
        if !scans.is_empty() {
            let mut rows = vec![HEADER.map(str::to_owned)];
            rows.extend(scans.iter().map(|(file, scan)| row(&self.files[*file].0, scan)));
            write_aligned(f, &rows, first)?;
            let found: u64 = self.files.iter().map(|(_, scans)| scans).sum();
            let not_shown = found - scans.len() as u64;
            if not_shown > 0 {
                writeln!(f, "… and {not_shown} more: --format json prints them all")?;
            }
            writeln!(f)?;
        }
        for capture in &self.captures {
            let shown = scans.iter().filter(|(of, _)| capture.files.contains(of)).map(|(_, scan)| scan);
            write_totals(f, &self.files, capture, &shown.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

fn row(file: &str, scan: &Scan) -> [String; 12] {
    let lasted = span(scan.last_probe.nanos_since(scan.started));
    [
        printable(file),
        scan.source.to_string(),
        scan.kind.label().to_owned(),
        scan.technique.label().to_owned(),
        at_least(scan.distinct_ports, scan),
        at_least(scan.peak_distinct_ports, scan),
        scan.distinct_hosts.to_string(),
        scan.probes.to_string(),
        rfc3339(scan.started).replace('T', " ").replace('Z', ""),
        if scan.ended.is_some() { lasted } else { format!("{lasted}, open") },
        target(scan.first_target),
        sample(&scan.sample_ports, scan.distinct_ports),
    ]
}

/// A number of ports, marked where memory was short and there may have been more.
fn at_least(ports: u32, scan: &Scan) -> String {
    if scan.lower_bound { format!("≥{ports}") } else { ports.to_string() }
}

fn write_aligned(f: &mut fmt::Formatter<'_>, rows: &[[String; 12]], first: usize) -> fmt::Result {
    let mut widths = [0; HEADER.len()];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate().skip(first) {
            let width = widths[column];
            line.push_str(&if RIGHT.contains(&column) {
                format!("{cell:>width$}  ")
            } else {
                format!("{cell:<width$}  ")
            });
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

fn write_totals(
    f: &mut fmt::Formatter<'_>,
    files: &[(String, u64)],
    capture: &Totals,
    shown: &[&Scan],
) -> fmt::Result {
    let found: u64 = capture.files.iter().map(|file| files[*file].1).sum();
    match found {
        0 => f.write_str("no scans")?,
        scans => f.write_str(&counted(scans, "scan"))?,
    }
    if found > 0 && found == shown.len() as u64 {
        let sources: BTreeSet<_> = shown.iter().map(|scan| scan.source).collect();
        write!(f, " by {}", counted(sources.len() as u64, "source"))?;
    }
    let name = |file: &usize| printable(&files[*file].0);
    let names = match capture.files.as_slice() {
        [] => String::new(),
        [file] => name(file),
        [first, .., last] => {
            format!("{} to {}, {} files as one capture", name(first), name(last), capture.files.len())
        }
    };
    let length = capture.span.map_or(0, |(first, last)| last.nanos_since(first));
    let (packets, probes) = (counted(capture.packets, "packet"), counted(capture.probes, "probe"));
    writeln!(f, " in {names} ({packets}, {probes}, {})", span(length))?;
    capture.remarks.iter().try_for_each(|remark| writeln!(f, "  {}", printable(remark)))
}

fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A span in about three digits: `0.213s`, `12.3s`, `1m05s`, `2h05m`.
fn span(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    match seconds {
        0..10 => format!("{:.3}s", nanos as f64 / 1e9),
        10..60 => format!("{:.1}s", nanos as f64 / 1e9),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// The lowest ports of a scan, three and more in a row as a range: `21-23,25,80,…`.
fn sample(ports: &PortSample, distinct_ports: u32) -> String {
    const MOST: usize = 8;
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for &port in ports.as_slice() {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => runs.push((port, port)),
        }
    }
    let mut words: Vec<String> = Vec::new();
    for (first, last) in runs {
        match last - first {
            0 => words.push(first.to_string()),
            1 => words.extend([first.to_string(), last.to_string()]),
            _ => words.push(format!("{first}-{last}")),
        }
    }
    let all = words.len() <= MOST && ports.as_slice().len() as u64 >= u64::from(distinct_ports);
    words.truncate(MOST);
    let mut text = words.join(",");
    if !all {
        text.push_str(",…");
    }
    text
}

/// A file's name without what could steer a terminal.
fn printable(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

/// How far the reading has come, shown on standard error once it has taken a second; on a terminal only.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    name: String,
    since: Instant,
    shown: bool,
    calls: u32,
}

impl Progress {
    /// Begins reading `file` of `total_bytes`, if that is known.
    pub fn of(file: &str, total_bytes: Option<u64>) -> Self {
        let bar = match total_bytes {
            Some(bytes) => ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden()),
            None => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
        };
        let known = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
        let unknown = "{msg} {spinner} {bytes} {bytes_per_sec}";
        let template = if total_bytes.is_some() { known } else { unknown };
        bar.set_style(ProgressStyle::with_template(template).expect("a template of known keys"));
        Self { bar, name: printable(file), since: clock::steady(), shown: false, calls: 0 }
    }

    /// `bytes` of the file have been read by now. Cheap enough to be called for every batch of packets.
    pub fn reached(&mut self, bytes: u64) {
        self.calls = self.calls.wrapping_add(1);
        // The clock is worth asking once in a while only.
        if !self.shown
            && self.calls.is_multiple_of(64)
            && clock::steady() - self.since >= Duration::from_secs(1)
        {
            self.shown = true;
            if std::io::stderr().is_terminal() {
                self.bar.set_message(self.name.clone());
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
        }
        if self.shown {
            self.bar.set_position(bytes);
        }
    }

    /// Prints something of one's own without the bar running through it.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

/// The bar leaves no trace.
impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Kind, ScanId, Source, Technique};

    const START: u64 = 1_795_428_000_123_456_789; // 2026-11-23T10:00:00.123456789Z

    fn scan(source: &str) -> Scan {
        let address: IpAddr = source.parse().unwrap();
        let at = |seconds: u64| Timestamp(START + seconds * 1_000_000_000);
        Scan {
            id: ScanId(0xabc),
            source: Source::of(address, 64),
            source_address: address,
            kind: Kind::Vertical,
            technique: Technique::Syn,
            window_nanos: 10_000_000_000,
            started: at(0),
            detected: at(1),
            last_probe: at(5),
            ended: Some(at(65)),
            probes: 1200,
            ports: 0,
            distinct_ports: 1000,
            lower_bound: false,
            peak_distinct_ports: 990,
            distinct_hosts: 1,
            busiest_host_ports: 1000,
            first_target: ("192.0.2.10".parse().unwrap(), 22),
            target: ("192.0.2.10".parse().unwrap(), 22),
            sample_ports: PortSample::lowest([80, 21, 22, 23, 25, 443]),
        }
    }

    #[test]
    fn a_scan_is_one_json_object_with_its_keys_in_the_order_of_the_contract() {
        assert_eq!(
            json_line(&scan("198.51.100.7"), "a \"b\".pcap", 0),
            concat!(
                r#"{"source":"198.51.100.7","interface":"a \"b\".pcap","kind":"vertical","technique":"syn","#,
                r#""window_seconds":10,"started":"2026-11-23T10:00:00.123456Z","#,
                r#""detected":"2026-11-23T10:00:01.123456Z","last_probe":"2026-11-23T10:00:05.123456Z","#,
                r#""ended":"2026-11-23T10:01:05.123456Z","probes":1200,"distinct_ports":1000,"#,
                r#""peak_distinct_ports":990,"distinct_hosts":1,"first_target":"192.0.2.10:22","#,
                r#""sample_ports":[21,22,23,25,80,443],"source_address":"198.51.100.7","#,
                r#""scan":"0000000000000abc","busiest_host_ports":1000,"target":"192.0.2.10:22","lower_bound":false}"#
            )
        );
    }

    #[test]
    fn an_open_scan_of_an_ipv6_network_is_told_with_the_address_that_was_seen() {
        let mut scan = scan("2001:db8::7");
        scan.ended = None;
        scan.window_nanos = 500_000_000;
        scan.first_target = ("2001:db8:1::10".parse().unwrap(), 443);
        let value: serde_json::Value = serde_json::from_str(&json_line(&scan, "-", 3)).unwrap();
        assert_eq!(value["source"], "2001:db8::/64");
        assert_eq!(value["clock_steps"], 3);
        assert_eq!(value["source_address"], "2001:db8::7");
        assert_eq!(value["ended"], serde_json::Value::Null);
        assert_eq!(value["window_seconds"], 0.5);
        assert_eq!(value["first_target"], "[2001:db8:1::10]:443");
    }

    #[test]
    fn the_table_is_aligned_and_ordered_by_the_time_of_the_hit() {
        let mut table = Table::new(&[String::from("a.pcap")]);
        let mut later = scan("2001:db8::7");
        later.detected = Timestamp(START + 2_000_000_000);
        later.ended = None;
        later.distinct_ports = 3;
        later.sample_ports = PortSample::lowest([1, 2, 9]);
        table.scan(0, &later);
        table.scan(0, &scan("198.51.100.7"));
        let span = Some((Timestamp(START), Timestamp(START + 65_000_000_000)));
        table.capture(Totals { files: vec![0], packets: 3000, probes: 2400, span, remarks: Vec::new() });
        assert_eq!(
            table.to_string(),
            "\
SOURCE         KIND      TECHNIQUE  PORTS  PEAK  HOSTS  PROBES  STARTED (UTC)                   DURATION  FIRST TARGET   SAMPLE
198.51.100.7   vertical  syn         1000   990      1    1200  2026-11-23 10:00:00.123456        5.000s  192.0.2.10:22  21-23,25,80,443,…
2001:db8::/64  vertical  syn            3   990      1    1200  2026-11-23 10:00:00.123456  5.000s, open  192.0.2.10:22  1,2,9

2 scans by 2 sources in a.pcap (3000 packets, 2400 probes, 1m05s)
"
        );
    }

    #[test]
    fn several_files_get_a_column_and_a_line_each() {
        let names = ["a.pcap", "b\u{1b}[2J.pcap", "c.pcap0", "c.pcap1", "c.pcap2"];
        let mut table = Table::new(&names.map(str::to_owned));
        let remarks = vec![String::from("why no probe: 1 not_ip")];
        let span = Some((Timestamp(START), Timestamp(START)));
        table.capture(Totals { files: vec![0], packets: 1, probes: 0, span, remarks });
        table.scan(1, &scan("198.51.100.7"));
        table.capture(Totals { files: vec![1], packets: 3000, probes: 1, ..Totals::default() });
        table.capture(Totals { files: vec![2, 3, 4], packets: 9, ..Totals::default() });
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("FILE             SOURCE        KIND"), "{text}");
        assert!(lines[1].starts_with("b\\u{1b}[2J.pcap  198.51.100.7  vertical"), "{text}");
        assert_eq!(lines[3], "no scans in a.pcap (1 packet, 0 probes, 0.000s)");
        assert_eq!(lines[4], "  why no probe: 1 not_ip");
        assert_eq!(
            lines[6],
            "no scans in c.pcap0 to c.pcap2, 3 files as one capture (9 packets, 0 probes, 0.000s)"
        );
        assert_eq!(lines[5], "1 scan by 1 source in b\\u{1b}[2J.pcap (3000 packets, 1 probe, 0.000s)");
    }

    #[test]
    fn a_table_too_long_to_read_says_how_much_it_leaves_out() {
        let mut table = Table::new(&[String::from("a.pcap")]);
        table.capture(Totals { files: vec![0], ..Totals::default() });
        for _ in 0..MAX_ROWS + 3 {
            table.scan(0, &scan("198.51.100.7"));
        }
        let text = table.to_string();
        assert!(text.contains("\n… and 3 more: --format json prints them all\n"));
        assert!(text.ends_with("\n10003 scans in a.pcap (0 packets, 0 probes, 0.000s)\n"));
    }

    #[test]
    fn spans_are_short() {
        let of = |seconds: f64| span(Duration::from_secs_f64(seconds).as_nanos() as u64);
        assert_eq!(
            [of(0.2134), of(12.34), of(59.99), of(65.9), of(7500.0)],
            ["0.213s", "12.3s", "60.0s", "1m05s", "2h05m"]
        );
    }

    #[test]
    fn a_bar_that_is_never_shown_costs_nothing_and_says_nothing() {
        let mut progress = Progress::of("a.pcap", Some(100));
        for bytes in 0..100 {
            progress.reached(bytes);
        }
        assert_eq!(progress.aside(|| 7), 7);
        assert!(!progress.shown);
    }
}
