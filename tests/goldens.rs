//! One small capture per behaviour, made by real tools, and what `replay` says of it. What must stay silent is a golden too.
//! `UPDATE_GOLDENS=1 cargo test --test goldens` writes them anew; review what changes.

use assert_cmd::cargo::cargo_bin;
use lab::captures::{
    ALL, ALL_AND_REPLIES, EXPECTED, REPLIES, SCANS, TUNNELS, captures, check, listed, replay, scans,
};
use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

/// The tool of each scan by a real scanner is told, of all others none.
#[test]
fn each_tool_is_told_by_its_packets() {
    for &(capture, flags, expected) in SCANS {
        let known =
            match capture {
                _ if expected.is_empty() => continue,
                "fin-scan.pcap" | "null-scan.pcap" | "xmas-scan.pcap" | "odd-scan.pcap"
                | "odd-rst-scan.pcap" => "nmap",
                "ipv6-fin-scan.pcap" | "scan-delay.pcap" | "decoys.pcap" => "nmap",
                "polite-scan.pcap" | "slow-scan.pcap" | "sneaky-scan.pcap" | "idle-scan.pcap"
                | "mpls.pcap" => "nmap",
                "answered-syn-scan.pcap" | "network-scan.pcap" | "wider-network-scan.pcap" => "nmap",
                "masscan-ipv6.pcap" | "block.pcap" | "distributed.pcap" => "masscan",
                "scan6.pcap" => "scan6",
                "hping3.pcap" | "hping3-xmas.pcap" => "hping3",
                "zmap.pcap" => "zmap",
                _ if capture.starts_with("tunnel-") => "nmap",
                _ => "unknown",
            };
        for scan in scans(flags, capture) {
            assert_eq!(scan["tool"], known, "{capture}");
        }
    }
    for (capture, known) in [
        ("syn-scan.pcap", "nmap"),
        ("ipv6-scan.pcap", "nmap"),
        ("masscan.pcap", "masscan"),
        ("fragmented-scan.pcap", "unknown"),
        ("connect-scan.pcap", "unknown"),
    ] {
        assert_eq!(scans(&[], capture)[0]["tool"], known, "{capture}");
    }
}

#[test]
fn every_capture_is_listed() {
    let scans = SCANS.iter().map(|(file, ..)| *file);
    let mut told: Vec<&str> = EXPECTED.iter().map(|(file, _)| *file).chain(scans).collect();
    told.sort();
    assert_eq!(listed(&captures()), told);
}

#[test]
fn captures_are_told_as_their_makers_meant_them() {
    for (file, expected) in EXPECTED {
        let scans = scans(&[], file);
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
fn scanners_are_told_by_technique_and_others_not_at_all() {
    for (file, flags, expected) in SCANS {
        let scans = scans(flags, file);
        let text = |scan: &serde_json::Value, field: &str| scan[field].as_str().expect("text").to_owned();
        let ports = |scan: &serde_json::Value| scan["distinct_ports"].as_u64().expect("number");
        let mut told: Vec<_> =
            scans.iter().map(|scan| (text(scan, "source"), text(scan, "technique"), ports(scan))).collect();
        told.sort();
        let mut wanted: Vec<_> =
            expected.iter().map(|(s, t, n)| (s.to_string(), t.to_string(), *n)).collect();
        wanted.sort();
        assert_eq!(told, wanted, "{file}");
    }
}

/// Which rule finds a scan, and what it calls it: what is fast is `vertical` of however many hosts.
#[test]
fn the_kind_is_that_of_the_rule_that_finds_it() {
    type Scans = &'static [(&'static str, u64, u64)];
    let wanted: &[(&str, Scans)] = &[
        ("syn-scan.pcap", &[("vertical", 10, 1)]),
        ("polite-scan.pcap", &[("vertical", 10, 1)]),
        ("slow-scan.pcap", &[("vertical", 3_600, 1)]),
        ("sneaky-scan.pcap", &[("vertical", 3_600, 1)]),
        ("zmap.pcap", &[("horizontal", 300, 256)]),
        ("icmp-echo-sweep.pcap", &[("horizontal", 300, 32)]),
        ("icmp-time-sweep.pcap", &[("horizontal", 300, 32)]),
        ("icmp-netmask-sweep.pcap", &[("horizontal", 300, 32)]),
        ("icmp-ipv6-sweep.pcap", &[("horizontal", 300, 32)]),
        ("block.pcap", &[("block", 300, 31)]),
        // Of more than seven hosts an estimate: of 16, and of 32.
        ("network-scan.pcap", &[("vertical", 10, 15)]),
        ("wider-network-scan.pcap", &[("horizontal", 300, 32), ("vertical", 10, 29)]),
        ("ipv6-hop.pcap", &[("vertical", 600, 1)]),
        ("distributed.pcap", &[("distributed", 180, 1)]),
    ];
    for (file, wanted) in wanted {
        let scans = scans(ALL, file);
        let number = |scan: &serde_json::Value, field: &str| scan[field].as_u64().expect("a number");
        let told: Vec<_> = scans
            .iter()
            .map(|scan| {
                let kind = scan["kind"].as_str().expect("text");
                (kind, number(scan, "window_seconds"), number(scan, "distinct_hosts"))
            })
            .collect();
        assert_eq!(told, *wanted, "{file}");
    }
}

/// A capture with so much time from each target to the next, and each asked for once; answers follow at once.
fn paced(file: &str, pace: Duration) -> Vec<u8> {
    let bytes = std::fs::read(captures().join(file)).expect("it is there");
    let (mut paced, mut at, mut targets) = (Vec::new(), 24, HashSet::new());
    while let Some(length) = bytes.get(at + 8..at + 12) {
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        let frame = &bytes[at + 16..at + 16 + length];
        at += 16 + length;
        let has_port = [6, 17, 132].contains(&frame[23]);
        let target = (frame[23], &frame[30..34], if has_port { &frame[36..38] } else { &[] });
        if frame[26..30] == [198, 51, 100, 7] && !targets.insert(target) {
            continue;
        }
        let time = 1_700_000_000_000_000_000 + pace.as_nanos() as u64 * targets.len() as u64;
        paced.push((time, frame.to_vec()));
    }
    lab::files::pcap(paced)
}

/// The README's "slowest that is found", of each technique: a port a minute, and a host every 12.5 s.
#[test]
fn the_slowest_of_each_technique_is_found_and_a_slower_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |file: &str, pace: u64| -> Vec<(String, String, u64)> {
        let path = folder.path().join(file);
        std::fs::write(&path, paced(file, Duration::from_millis(pace))).expect("writable");
        let text = |scan: &serde_json::Value, field: &str| scan[field].as_str().expect("text").to_owned();
        scans(ALL_AND_REPLIES, path.to_str().expect("UTF-8"))
            .iter()
            .map(|it| {
                (text(it, "kind"), text(it, "technique"), it["window_seconds"].as_u64().expect("a number"))
            })
            .collect()
    };
    for (file, technique) in [
        ("hping3.pcap", "syn"),
        ("fin-scan.pcap", "fin"),
        ("null-scan.pcap", "null"),
        ("xmas-scan.pcap", "xmas"),
        ("odd-scan.pcap", "odd"),
        ("sctp-scan.pcap", "sctp"),
        ("udp-scan.pcap", "udp"),
        ("protocol-scan.pcap", "protocol"),
        ("answered-ack-scan.pcap", "ack"),
        ("answered-window-scan.pcap", "ack"),
        ("answered-maimon-scan.pcap", "ack"),
    ] {
        // Among the protocols are four that have techniques of their own: a pause, in which a scan may end and begin again.
        let mut scans = told(file, 60_000);
        if technique == "protocol" {
            scans.dedup();
        }
        assert_eq!(scans, [("vertical".into(), technique.into(), 3_600)], "{file}");
        assert_eq!(told(file, 63_000), [], "{file}");
    }
    for (file, technique) in [("icmp-echo-sweep.pcap", "icmp"), ("zmap.pcap", "syn")] {
        assert_eq!(told(file, 12_500), [("horizontal".into(), technique.into(), 300)], "{file}");
        assert_eq!(told(file, 13_000), [], "{file}");
    }
}

/// Who reads the answers proves to be there, over IPv4 and IPv6; a kernel that resets what it did not ask for proves nothing. Without
/// the flag nobody does.
#[test]
fn who_completes_a_handshake_is_no_forged_address() {
    for (file, grade) in [
        ("answered-syn-scan.pcap", "spoofable"),
        ("answered-connect-scan.pcap", "handshake"),
        ("answered-ipv6-connect-scan.pcap", "handshake"),
    ] {
        for (flags, grade) in [(REPLIES, grade), (&[], "spoofable")] {
            let scan = &scans(flags, file)[0];
            let told = (&scan["evidence"], scan["answered"].as_u64());
            assert_eq!(told, (&grade.into(), (flags == REPLIES).then_some(3)), "{file}");
            let page = replay(flags, file, "metrics");
            let is_shown = page.contains("evidence=\"handshake\"");
            assert_eq!(is_shown, grade == "handshake", "{file}");
        }
    }
}

/// What is not looked into is counted, and nothing is told of it.
#[test]
fn without_the_flag_tunnels_are_counted() {
    for (file, ..) in SCANS.iter().filter(|(_, flags, _)| *flags == TUNNELS) {
        assert_eq!(replay(&[], file, "json"), "", "{file}");
        let page = replay(&[], file, "metrics");
        let counted = page.lines().find(|line| line.contains("reason=\"tunnel\"")).expect("it is there");
        assert!(counted.ends_with(" 40"), "{file}: {counted}");
    }
}

#[test]
fn text_and_json_are_as_reviewed() {
    let scans = SCANS.iter().map(|(file, flags, _)| (*file, *flags));
    for (file, flags) in EXPECTED.iter().map(|(file, _)| (*file, &[][..])).chain(scans) {
        check(&format!("{file}.txt"), &replay(flags, file, "text"));
        check(&format!("{file}.jsonl"), &replay(flags, file, "json"));
    }
}

#[test]
fn the_whole_exposition_is_as_reviewed() {
    check("syn-scan.metrics", &replay(&[], "syn-scan.pcap", "metrics"));
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
        replay(&[], "syn-scan.pcap", "json")
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
