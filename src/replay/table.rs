//! The table that `replay` prints for people.

use crate::detect::{PortRanges, Scan, Source};
use crate::events::record::{COLUMNS, Field, Record, Value, left_out};
use crate::packet::Timestamp;
use crate::text::printable;
use std::collections::BTreeSet;
use std::fmt;

/// The most scans a table shows: beyond that nobody reads it, and it must be kept whole to be aligned.
pub(crate) const MAX_ROWS: usize = 10_000;

/// What a capture held: a file, or several that continue each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
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

/// Columns that are there only if one of the scans has something in them.
const IF_KNOWN: [&str; 2] = ["TOOL", "ANSWERED"];

/// The table of `replay --format text`: give it scans and captures, in any order, then show it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// The names of all files, and how many scans were detected in each.
    files: Vec<(String, u64)>,
    /// By file, then by the time of the hit, whatever the order they come in.
    scans: Vec<(usize, Scan)>,
    captures: Vec<Totals>,
}

impl Table {
    /// For these files.
    pub(crate) fn new(files: &[String]) -> Self {
        let files = files.iter().map(|name| (name.clone(), 0)).collect();
        Self { files, ..Self::default() }
    }

    /// A scan that was detected in a file, as it ended or as it stands at the end.
    pub(crate) fn scan(&mut self, file: usize, scan: &Scan) {
        self.files[file].1 += 1;
        if self.scans.len() < MAX_ROWS {
            self.scans.push((file, *scan));
        }
    }

    /// A capture, as far as it could be read. A file without a capture has no line.
    pub(crate) fn capture(&mut self, totals: Totals) {
        self.captures.push(totals);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut scans = self.scans.clone();
        scans.sort_by_key(|(file, scan)| (*file, scan.detected, scan.source, scan.id));
        // The file's name, the first column, is worth one only where there is more than one.
        let columns = &COLUMNS[usize::from(self.files.len() < 2)..];
        if !scans.is_empty() {
            let records: Vec<Record<'_>> = scans
                .iter()
                .map(|(file, scan)| Record { scan, interface: &self.files[*file].0, clock_steps: 0 })
                .collect();
            write_aligned(f, columns, &records)?;
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

/// A header and a line for each record. Numbers read best from the right.
fn write_aligned(
    f: &mut fmt::Formatter<'_>,
    columns: &[(&'static str, &'static Field)],
    records: &[Record<'_>],
) -> fmt::Result {
    // What is known of few captures has a column where it is known.
    let says = |field: &Field| records.iter().any(|it| !["", "unknown"].contains(&&*cell(field.of(it))));
    let columns: Vec<_> =
        columns.iter().filter(|(name, field)| !IF_KNOWN.contains(name) || says(field)).collect();
    let of = |record| columns.iter().map(|(_, field)| cell(field.of(record))).collect::<Vec<_>>();
    let mut rows = vec![columns.iter().map(|(header, _)| (*header).to_owned()).collect()];
    rows.extend(records.iter().map(of));
    let is_right: Vec<bool> = columns
        .iter()
        .map(|(_, field)| records.first().is_some_and(|record| field.of(record).is_number()))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for ((cell, width), is_right) in row.iter().zip(&widths).zip(&is_right) {
            line.push_str(&match is_right {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            });
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A value as a table shows it.
fn cell(value: Value<'_>) -> String {
    match value {
        Value::Text(text) => printable(text),
        // Memory was short, and there may have been more.
        Value::Ports { count, is_least: true } => format!("≥{count}"),
        Value::Time(Some(_)) => value.to_string().replace('T', " ").replace('Z', ""),
        Value::Duration { nanos, is_over: true } => span(nanos),
        Value::Duration { nanos, is_over: false } => format!("{}, open", span(nanos)),
        Value::Ranges { ranges, of } => sample(ranges, of),
        other => other.to_string(),
    }
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
        // Of a scan by many nobody knows which of them somebody else's are, too.
        if !sources.contains(&Source::MANY) {
            write!(f, " by {}", counted(sources.len() as u64, "source"))?;
        }
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

/// Ranges of ports in a line.
const MOST_RANGES: usize = 8;

/// The ports of a scan, or those that say most: `21-23,25,80,…`.
fn sample(ranges: &PortRanges, distinct_ports: u32) -> String {
    let shown = ranges.at_most(MOST_RANGES);
    let more = if left_out(&shown, distinct_ports) > 0 { ",…" } else { "" };
    format!("{shown}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Replies, Tool};
    use crate::fixture::scan::{START, after, scan};
    use std::time::Duration;

    /// A thousand ports in five seconds.
    fn ended(source: &str) -> Scan {
        Scan {
            detected: after(1_000),
            last_probe: after(5_000),
            ended: Some(after(65_000)),
            probes: 1200,
            distinct_ports: 1000,
            peak_distinct_ports: 990,
            asked: PortRanges::of([21, 22, 23, 25, 80, 443]),
            ..scan(source, "192.0.2.10:22")
        }
    }

    #[test]
    fn tool_and_answers_have_a_column_where_they_are_known() {
        let table = |scan: Scan| {
            let mut table = Table::new(&[String::from("a.pcap")]);
            table.scan(0, &scan);
            table.to_string()
        };
        let header = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        let bare = table(ended("198.51.100.7"));
        assert!(header(&bare).ends_with("FIRST TARGET   SAMPLE"), "{bare}");
        let replies = Replies { answered: PortRanges::of([22, 80]), answered_count: 2, ..Replies::default() };
        let full = table(Scan { tool: Tool::Nmap, replies: Some(replies), ..ended("198.51.100.7") });
        assert!(header(&full).ends_with("FIRST TARGET   TOOL  SAMPLE             ANSWERED"), "{full}");
        assert!(full.contains("  nmap  21-23,25,80,443,…  22,80\n"), "{full}");
        let none = table(Scan { replies: Some(Replies::default()), ..ended("198.51.100.7") });
        assert_eq!(header(&none), header(&bare), "nothing answered");
    }

    #[test]
    fn the_table_is_aligned_and_ordered_by_the_time_of_the_hit() {
        let mut table = Table::new(&[String::from("a.pcap")]);
        let asked = PortRanges::of([1, 2, 9]);
        let later =
            Scan { detected: after(2_000), ended: None, distinct_ports: 3, asked, ..ended("2001:db8::7") };
        table.scan(0, &later);
        table.scan(0, &ended("198.51.100.7"));
        let span = Some((START, after(65_000)));
        table.capture(Totals { files: vec![0], packets: 3000, probes: 2400, span, remarks: Vec::new() });
        assert_eq!(
            table.to_string(),
            "\
SOURCE         KIND      TECHNIQUE  PORTS  PEAK  HOSTS  PROBES  STARTED (UTC)                   DURATION  FIRST TARGET   SAMPLE
198.51.100.7   vertical  syn         1000   990      1    1200  2026-11-23 10:00:00.000000        5.000s  192.0.2.10:22  21-23,25,80,443,…
2001:db8::/64  vertical  syn            3   990      1    1200  2026-11-23 10:00:00.000000  5.000s, open  192.0.2.10:22  1-2,9

2 scans by 2 sources in a.pcap (3000 packets, 2400 probes, 1m05s)
"
        );
    }

    #[test]
    fn several_files_get_a_column_and_a_line_each() {
        let names = ["a.pcap", "b\u{1b}[2J.pcap", "c.pcap0", "c.pcap1", "c.pcap2"];
        let mut table = Table::new(&names.map(str::to_owned));
        let remarks = vec![String::from("why no probe: 1 not_ip")];
        let span = Some((START, START));
        table.capture(Totals { files: vec![0], packets: 1, probes: 0, span, remarks });
        table.scan(1, &ended("198.51.100.7"));
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
            table.scan(0, &ended("198.51.100.7"));
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
}
