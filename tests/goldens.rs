//! One small capture per behaviour, made by real tools, and what `replay` says of it. What must stay silent is a golden too.
//! `UPDATE_GOLDENS=1 cargo test --test goldens` writes them anew; review what changes.

use assert_cmd::cargo::cargo_bin;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each capture holds, said by hand and independent of the goldens: the scanning source and its distinct ports, or
/// nothing. How each was made is in `tests/captures/make.sh`.
const EXPECTED: &[(&str, Option<(&str, u64)>)] = &[
    ("syn-scan.pcap", Some(("198.51.100.7", 1000))),
    ("connect-scan.pcap", Some(("198.51.100.7", 600))),
    ("ipv6-scan.pcap", Some(("2001:db8:51::/64", 600))),
    ("masscan.pcap", Some(("198.51.100.7", 500))),
    ("horizontal-and-vertical.pcap", Some(("198.51.100.7", 30))),
    ("slow-over.pcap", Some(("198.51.100.7", 116))),
    ("split-9.9s.pcap", Some(("198.51.100.7", 20))),
    ("vlan.pcap", Some(("198.51.100.7", 30))),
    ("qinq.pcap", Some(("198.51.100.7", 30))),
    ("cooked-v1.pcap", Some(("198.51.100.7", 60))),
    ("cooked-v2.pcap", Some(("198.51.100.7", 60))),
    ("raw.pcap", Some(("203.0.113.7", 60))),
    ("null.pcap", Some(("203.0.113.7", 60))),
    ("loop.pcap", Some(("203.0.113.7", 60))),
    ("nanoseconds.pcap", Some(("198.51.100.7", 60))),
    ("pcapng.pcapng", Some(("198.51.100.7", 198))),
    ("slow-under.pcap", None),
    ("split-10.3s.pcap", None),
    ("connections-server.pcap", None),
    ("connections-client.pcap", None),
    ("backscatter.pcap", None),
    ("passive-ftp.pcap", None),
    ("http-load.pcap", None),
    ("browser.pcap", None),
    ("rst-fin.pcap", None),
    ("aborted.pcap", None),
    ("fragments.pcap", None),
    // In fragments of eight bytes, put together.
    ("fragmented-scan.pcap", Some(("198.51.100.7", 100))),
];

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

fn replay(file: &str, format: &str) -> String {
    let out = Command::new(cargo_bin!("portscan_exporter"))
        .current_dir(captures())
        .args(["replay", file, "--format", format])
        .output()
        .expect("the program runs");
    assert!(out.status.success(), "{file}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("reports are UTF-8")
}

fn check(name: &str, told: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&golden, told).expect("goldens can be written");
    }
    let wanted =
        std::fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
    assert!(told == wanted, "{name} differs.\n--- golden\n{wanted}\n--- now\n{told}");
}

#[test]
fn every_capture_is_listed() {
    let mut found: Vec<String> = std::fs::read_dir(captures())
        .expect("captures are there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".pcap"))
        .collect();
    found.sort();
    let mut listed: Vec<&str> = EXPECTED.iter().map(|(file, _)| *file).collect();
    listed.sort();
    assert_eq!(found, listed);
}

#[test]
fn captures_are_told_as_their_makers_meant_them() {
    for (file, expected) in EXPECTED {
        let scans: Vec<serde_json::Value> = replay(file, "json")
            .lines()
            .map(|line| serde_json::from_str(line).expect("every line is JSON"))
            .collect();
        let told: Vec<(&str, u64)> = scans
            .iter()
            .map(|scan| {
                (scan["source"].as_str().expect("text"), scan["distinct_ports"].as_u64().expect("number"))
            })
            .collect();
        assert_eq!(told, expected.iter().copied().collect::<Vec<_>>(), "{file}");
    }
}

#[test]
fn text_and_json_are_as_reviewed() {
    for (file, _) in EXPECTED {
        check(&format!("{file}.txt"), &replay(file, "text"));
        check(&format!("{file}.jsonl"), &replay(file, "json"));
    }
}

#[test]
fn the_whole_exposition_is_as_reviewed() {
    check("syn-scan.metrics", &replay("syn-scan.pcap", "metrics"));
}

#[test]
fn standard_input_reads_the_same() {
    let file = std::fs::File::open(captures().join("syn-scan.pcap")).expect("it is there");
    let out = Command::new(cargo_bin!("portscan_exporter"))
        .args(["replay", "-", "--format", "json"])
        .stdin(file)
        .output()
        .expect("the program runs");
    let told = String::from_utf8(out.stdout).expect("UTF-8");
    assert_eq!(
        told.replace("\"interface\":\"-\"", "\"interface\":\"syn-scan.pcap\""),
        replay("syn-scan.pcap", "json")
    );
}

#[test]
fn a_truncated_file_is_told_up_to_the_break_and_fails() {
    let whole = std::fs::read(captures().join("syn-scan.pcap")).expect("it is there");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("cut.pcap"), &whole[..whole.len() / 2 + 3]).expect("writable");
    let out = Command::new(cargo_bin!("portscan_exporter"))
        .current_dir(folder.path())
        .args(["replay", "cut.pcap", "--format", "json"])
        .output()
        .expect("the program runs");
    assert_eq!(out.status.code(), Some(1));
    let told = String::from_utf8_lossy(&out.stdout);
    assert!(told.contains("\"source\":\"198.51.100.7\""), "{told}");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.starts_with("portscan_exporter: cannot read cut.pcap: "), "{said}");
}
