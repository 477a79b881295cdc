//! What the command prints: a table for people, or one JSON object for each scan.

use super::{Found, MOST, Told};
use crate::packet::Timestamp;
use crate::text::printable;
use crate::text::time::{parse_rfc3339, rfc3339};
use crate::text::units::write_duration;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// The columns from the left, each a field of the record; those that no scan has are left out. The last one may be long.
const COLUMNS: [(&str, &[&str]); 15] = [
    ("STARTED (UTC)", &["started"]),
    ("DURATION", &[]),
    ("SOURCE", &["source"]),
    ("NAME", &["source_name", "known_scanner"]),
    ("COUNTRY", &["country"]),
    ("AS", &["asn"]),
    ("KIND", &["kind"]),
    ("TECHNIQUE", &["technique"]),
    ("TOOL", &["tool"]),
    ("EVIDENCE", &["evidence"]),
    ("PORTS", &["distinct_ports"]),
    ("ANSWERED", &["answered_ports"]),
    ("HOSTS", &["distinct_hosts"]),
    ("INTERFACE", &["interface"]),
    ("WHICH PORTS", &["ports", "sample_ports"]),
];

/// One object for each scan, one a line.
pub(super) fn json(scans: &[Told]) -> String {
    let mut text = String::new();
    for scan in scans {
        let _ = writeln!(text, "{}", Value::Object(scan.clone()));
    }
    text
}

/// The table, and how many there are. By the unit, if one is named, further records are looked for.
pub(super) fn text(found: &Found, since: Timestamp, teller: &str, unit: &str) -> String {
    let mut text = table(&found.scans);
    let sources: BTreeSet<_> = found.scans.iter().map(|scan| cell(scan, &["source"])).collect();
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let since = rfc3339(since);
    let since = since.split('.').next().unwrap_or_default().replace('T', " ");
    let _ = match found.scans.len() {
        0 => writeln!(text, "no scans since {since} UTC in what {teller} has"),
        scans => writeln!(
            text,
            "\n{} by {} since {since} UTC: what {teller} has",
            counted(scans, "scan"),
            counted(sources.len(), "source")
        ),
    };
    if found.is_cut {
        let _ = writeln!(text, "these are the latest {MOST}; there are more");
    }
    if found.withheld > 0 {
        let _ = writeln!(
            text,
            "{} more were not written: they came in a flood or a storm",
            counted(usize::try_from(found.withheld).unwrap_or(usize::MAX), "hit")
        );
    }
    // A name in the journal is a stranger's: anybody can write a field there.
    if let Some(storm) = found.storms.first() {
        let which = match found.storms.len() {
            1 => format!("PORTSCAN_STORM={}", printable(storm)),
            _ => String::from("PORTSCAN_EVENT=storm_ended"),
        };
        let storms = counted(found.storms.len(), "storm");
        let unit = if unit.is_empty() { String::new() } else { format!("-u {} ", printable(unit)) };
        let _ = writeln!(text, "{storms} of sources that look alike: journalctl {unit}{which}");
    }
    text
}

fn table(scans: &[Told]) -> String {
    let rows: Vec<[String; COLUMNS.len()]> = scans
        .iter()
        .map(|scan| {
            COLUMNS.map(|(_, names)| if names.is_empty() { duration(scan) } else { cell(scan, names) })
        })
        .collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    for row in std::iter::once(COLUMNS.map(|(header, _)| header.to_owned())).chain(rows) {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate().filter(|(at, _)| widths[*at] > 0) {
            let width = widths[at].max(COLUMNS[at].0.len());
            let _ = match COLUMNS[at].0 {
                "PORTS" | "ANSWERED" | "HOSTS" => write!(line, "{cell:>width$}  "),
                _ => write!(line, "{cell:<width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The first of these fields that the scan has, as text.
fn cell(scan: &Told, names: &[&str]) -> String {
    let Some((name, value)) = names.iter().find_map(|name| Some((*name, scan.get(*name)?))) else {
        return String::new();
    };
    // An open scan has asked for so many by its last record.
    let is_least = scan.get("lower_bound") == Some(&Value::Bool(true)) || is_open(scan);
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) if parse_rfc3339(text).is_some() => text.replace('T', " ").replace('Z', ""),
        Value::String(text) => text.clone(),
        Value::Number(number) if name == "distinct_ports" && is_least => format!("≥{number}"),
        Value::Array(all) => all.iter().map(Value::to_string).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let number = |name: &str| scan.get(name).and_then(Value::as_u64);
    let left_out = match name {
        "ports" => number("ports_left_out"),
        // The record says how many, and names as many as fit.
        "answered_ports" => number("answered").map(|all| all.saturating_sub(named(&text))),
        _ => None,
    };
    match left_out.filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", printable(&text)),
        None => printable(&text),
    }
}

/// How many ports are in ranges: 4 in `22,80-82`.
fn named(ranges: &str) -> u64 {
    let port = |text: &str| text.parse::<u64>().ok();
    let count = |range: &str| match range.split_once('-') {
        Some((first, last)) => Some(port(last)?.checked_sub(port(first)?)? + 1),
        None => port(range).map(|_| 1),
    };
    ranges.split(',').filter_map(count).sum()
}

/// From the first to the last probe that is told, and whether it may go on.
fn duration(scan: &Told) -> String {
    let time = |name: &str| scan.get(name).and_then(Value::as_str).and_then(parse_rfc3339);
    let (Some(started), Some(last)) = (time("started"), time("last_probe")) else { return String::new() };
    let nanos = last.nanos().saturating_sub(started.nanos());
    // Who reads minutes does not ask for milliseconds.
    let step = if nanos < 10_000_000_000 { 1_000_000 } else { 1_000_000_000 };
    let span = write_duration(Duration::from_nanos(nanos / step * step));
    if is_open(scan) { format!("{span}, open") } else { span }
}

fn is_open(scan: &Told) -> bool {
    scan.get("ended").is_none_or(Value::is_null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::record::Record;
    use crate::fixture::scan::{after, scan};

    fn told(record: &Record<'_>) -> Told {
        serde_json::from_str(&record.json()).unwrap()
    }

    #[test]
    fn a_table_has_the_fields_that_there_are() {
        let mut wide = scan("198.51.100.7", "192.0.2.10:22");
        (wide.distinct_ports, wide.lower_bound) = (1000, true);
        (wide.last_probe, wide.ended) = (after(83_345), Some(after(143_000)));
        let open = scan("2001:db8::7", "[2001:db8:1::10]:443");
        let mut scans: Vec<Told> = [&wide, &open]
            .map(|scan| told(&Record { scan, interface: "e\u{1b}[31m", clock_steps: 0 }))
            .into();
        scans[0].insert(String::from("tool"), "nmap".into());
        scans[0].insert(String::from("answered_ports"), "22,80-82".into());
        scans[0].insert(String::from("answered"), 40.into());
        let shown = text(
            &Found { scans, is_cut: false, withheld: 3, storms: std::iter::once("1f".into()).collect() },
            after(0),
            "the journal",
            "portscan_exporter",
        );
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[0],
            [
                "STARTED",
                "(UTC)",
                "DURATION",
                "SOURCE",
                "KIND",
                "TECHNIQUE",
                "TOOL",
                "EVIDENCE",
                "PORTS",
                "ANSWERED",
                "HOSTS",
                "INTERFACE",
                "WHICH",
                "PORTS"
            ]
        );
        assert_eq!(
            lines[1][..13],
            [
                "2026-11-23",
                "10:00:00.000000",
                "1m23s",
                "198.51.100.7",
                "vertical",
                "syn",
                "nmap",
                "spoofable",
                "≥1000",
                "22,80-82",
                "and",
                "36",
                "more"
            ]
        );
        assert!(shown.contains("210ms, open"), "{shown}");
        assert!(lines[2].contains(&"≥20"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert!(
            shown.contains("\n2 scans by 2 sources since 2026-11-23 10:00:00 UTC: what the journal has\n"),
            "{shown}"
        );
        assert!(
            shown.ends_with(
                "3 hits more were not written: they came in a flood or a storm\n\
                 1 storm of sources that look alike: journalctl -u portscan_exporter PORTSCAN_STORM=1f\n"
            ),
            "{shown}"
        );
        let none = text(&Found::default(), after(0), "the journal", "");
        assert_eq!(none, "no scans since 2026-11-23 10:00:00 UTC in what the journal has\n");
    }
}
