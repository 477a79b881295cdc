//! Everyday traffic by the programs that make it, in both directions (`tests/captures/benign`), and what comes of it with
//! `--detection.replies`: at most `info`, while every scan of the other captures still has its alert.
//! `UPDATE_GOLDENS=1 cargo test --test benign` writes the goldens anew; review what changes.

use lab::captures::{EXPECTED, REPLIES, SCANS, captures, check, listed, replay, scans};
use lab::contract::promtool;
use serde_json::{Value, json};
use std::fs;

/// Every technique is looked for, and what answered.
const FLAGS: &[&str] = &["--detection.techniques=all", "--detection.replies"];

/// A source that reaches the threshold all the same: its distinct ports, and how many of them answered and refused.
struct Busy {
    source: &'static str,
    ports: u64,
    answered: u64,
    refused: u64,
}

const fn busy(source: &'static str, ports: u64, answered: u64, refused: u64) -> Option<Busy> {
    Some(Busy { source, ports, answered, refused })
}

const CLIENT: &str = "198.51.100.7";

/// What each capture holds, said by hand. How each was made is in `tests/captures/benign.sh`.
const KINDS: &[(&str, Option<Busy>)] = &[
    ("browser", None),
    ("cut-off", None),
    ("dns-answers", None),
    ("file-server", None),
    ("filtered-retries", None),
    ("ftp-mget", busy(CLIENT, 41, 41, 0)),
    ("health-checker", busy(CLIENT, 25, 25, 0)),
    ("load-generator", None),
    ("own-connections", None),
    ("peer-to-peer", busy("192.0.2.10", 60, 40, 10)),
    ("prometheus-down", busy(CLIENT, 40, 28, 12)),
    ("prometheus-up", busy(CLIENT, 40, 40, 0)),
    ("rst-backscatter", None),
    ("spoofed-flood", None),
    ("syn-ack-backscatter", None),
];

fn file(kind: &str) -> String {
    format!("benign/{kind}.pcap")
}

#[test]
fn every_kind_is_listed() {
    let kinds: Vec<_> = KINDS.iter().map(|(kind, _)| format!("{kind}.pcap")).collect();
    assert_eq!(listed(&captures().join("benign")), kinds);
}

#[test]
fn who_is_busy_is_told_with_what_answered() {
    for (kind, busy) in KINDS {
        let told = scans(FLAGS, &file(kind));
        let number = |scan: &Value, field: &str| scan[field].as_u64().expect("a number");
        let told: Vec<_> = told
            .iter()
            .map(|scan| {
                assert_eq!((&scan["tool"], &scan["kind"]), (&json!("unknown"), &json!("vertical")), "{kind}");
                let source = scan["source"].as_str().expect("text").to_owned();
                (source, ["distinct_ports", "answered", "refused"].map(|field| number(scan, field)))
            })
            .collect();
        let wanted: Vec<_> =
            busy.iter().map(|it| (it.source.to_owned(), [it.ports, it.answered, it.refused])).collect();
        assert_eq!(told, wanted, "{kind}");
    }
}

#[test]
fn text_and_json_are_as_reviewed() {
    for (kind, _) in KINDS {
        for (format, ending) in [("text", "txt"), ("json", "jsonl")] {
            check(&format!("benign/{kind}.{ending}"), &replay(FLAGS, &file(kind), format));
        }
    }
}

/// No more is told with replies than without, and nothing is told otherwise.
#[test]
fn replies_change_no_count() {
    for (kind, _) in KINDS {
        let plain = scans(&["--detection.techniques=all"], &file(kind));
        let mut told = scans(FLAGS, &file(kind));
        for (scan, plain) in told.iter_mut().zip(&plain) {
            let scan = scan.as_object_mut().expect("an object");
            scan.retain(|field, _| plain.get(field).is_some());
            scan["evidence"] = json!("spoofable");
        }
        assert_eq!(told, plain, "{kind}");
    }
}

/// A page as the series of a simulated exporter: counters begin at 0, sources come with the third scrape and stay.
fn series(capture: &str, page: &str) -> Vec<Value> {
    let of = format!("job=\"portscan\",instance=\"{capture}\"");
    let values = |name: &str, value: &str| {
        if name.starts_with("portscan_source_") {
            format!("_ _ {value}x20")
        } else if name.ends_with("_total") {
            format!("0 0 {value}x20")
        } else {
            format!("{value}x22")
        }
    };
    // A file is no capture that could be down.
    let is_shown = |line: &&str| line.starts_with("portscan_") && !line.starts_with("portscan_capture_");
    let of_series = page.lines().filter(is_shown);
    let mut all: Vec<_> = of_series
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let comma = if labels == "}" { "" } else { "," };
            json!({
                "series": format!("{name}{{{of}{comma}{labels}"),
                "values": values(name, value),
            })
        })
        .collect();
    all.push(json!({"series": format!("up{{{of}}}"), "values": "1x22"}));
    all
}

/// The page two seconds after the last packet, when the last ports have had their time to answer: a copy of the capture that ends with
/// a frame of no meaning.
fn page_after(flags: &[&str], capture: &str) -> String {
    let mut bytes = fs::read(captures().join(capture)).expect("it is there");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let (mut at, mut last) = (24, 0);
    while at < bytes.len() {
        last = word(at);
        at += 16 + word(at + 8) as usize;
    }
    for word in [last + 2, 0, 64, 64] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0; 64]);
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("later.pcap");
    fs::write(&copy, bytes).expect("a file");
    replay(flags, copy.to_str().expect("UTF-8"), "metrics")
}

/// A unit test for promtool: an exporter shows the page of this capture, and these samples are what a query finds then.
fn unit_test(flags: &[&str], capture: &str, query: &str, samples: &[Value]) -> Value {
    let queries = [json!({"expr": query, "eval_time": "1m", "exp_samples": samples})];
    json!({
        "name": capture,
        "interval": "15s",
        "input_series": series(capture, &page_after(flags, capture)),
        "promql_expr_test": queries,
    })
}

/// Holds the shipped rules against unit tests.
fn by_the_shipped_rules(tests: &[Value]) {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("a file");
    write("portscan.rules.yml", include_str!("../alerts/portscan.rules.yml"));
    let file = json!({"rule_files": ["portscan.rules.yml"], "evaluation_interval": "15s", "tests": tests});
    write("captures.test.yml", &file.to_string());
    let (fine, said) = promtool(&["test", "rules", "captures.test.yml"], directory.path());
    assert!(fine, "{said}");
}

#[test]
fn nobody_is_woken() {
    let query = "group by (alertname, severity, instance) (ALERTS{alertstate=\"firing\"})";
    let tests: Vec<_> = KINDS
        .iter()
        .map(|(kind, busy)| {
            let file = file(kind);
            let alert = format!("{{alertname=\"PortScanDetected\",severity=\"info\",instance={file:?}}}");
            let samples: Vec<_> = busy.iter().map(|_| json!({"labels": alert, "value": 1})).collect();
            unit_test(FLAGS, &file, query, &samples)
        })
        .collect();
    by_the_shipped_rules(&tests);
}

/// With replies each scan of the other captures is the same one, and its source is told by an alert that wakes somebody: silence is
/// unanswered.
#[test]
fn every_scan_still_wakes_somebody() {
    let query = "group by (source, instance) (ALERTS{alertstate=\"firing\",severity=~\"warning|critical\",source!=\"\"})";
    let expected =
        EXPECTED.iter().map(|(file, expected)| (*file, &[][..], expected.iter().map(|it| it.0).collect()));
    let scanners =
        SCANS.iter().map(|(file, flags, expected)| (*file, *flags, expected.iter().map(|it| it.0).collect()));
    let tests: Vec<_> = expected
        .chain(scanners)
        .filter(|(file, ..)| !file.ends_with(".pcapng"))
        .map(|(file, flags, mut sources): (_, _, Vec<_>)| {
            let flags = if flags.contains(&REPLIES[0]) { flags.to_vec() } else { [flags, REPLIES].concat() };
            assert_eq!(scans(&flags, file).len(), sources.len(), "{file}");
            // Two scans of one source.
            sources.dedup();
            // A scan by many has no series of a source.
            if sources == ["many"] {
                let query = "group by (alertname, instance) (ALERTS{alertstate=\"firing\",severity=\"warning\"})";
                let alert = format!("{{alertname=\"PortScanDistributed\",instance={file:?}}}");
                return unit_test(&flags, file, query, &[json!({"labels": alert, "value": 1})]);
            }
            let sample = |source: &&str| json!({"labels": format!("{{source={source:?},instance={file:?}}}"), "value": 1});
            unit_test(&flags, file, query, &sources.iter().map(sample).collect::<Vec<_>>())
        })
        .collect();
    by_the_shipped_rules(&tests);
}
