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
    // Never 20 within 10 s; the slow rule finds it.
    ("slow-under.pcap", Some(("198.51.100.7", 112))),
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

/// Sources, techniques and distinct ports.
type Scans = &'static [(&'static str, &'static str, u64)];

const ALL: &[&str] = &["--detection.techniques=all"];
const REPLIES: &[&str] = &["--detection.replies"];
const TUNNELS: &[&str] = &["--capture.tunnels"];
const SCANNER: &str = "198.51.100.7";
const IN_TUNNEL: &str = "203.0.113.129";

/// The same for techniques, scanners and tunnels, with the flags that each needs: sources, techniques and distinct ports. What stays
/// silent by its nature is here with all techniques looked for.
const SCANS: &[(&str, &[&str], Scans)] = &[
    ("fin-scan.pcap", &[], &[(SCANNER, "fin", 60)]),
    ("null-scan.pcap", &[], &[(SCANNER, "null", 60)]),
    ("xmas-scan.pcap", &[], &[(SCANNER, "xmas", 60)]),
    ("odd-scan.pcap", &[], &[(SCANNER, "odd", 60)]),
    ("odd-rst-scan.pcap", &[], &[(SCANNER, "odd", 60)]),
    ("sctp-scan.pcap", &[], &[(SCANNER, "sctp", 60)]),
    ("udp-scan.pcap", ALL, &[(SCANNER, "udp", 60)]),
    ("protocol-scan.pcap", ALL, &[(SCANNER, "protocol", PROTOCOLS)]),
    ("ipv6-fin-scan.pcap", &[], &[("2001:db8:51::/64", "fin", 60)]),
    ("ipv6-udp-scan.pcap", ALL, &[("2001:db8:51::/64", "udp", 60)]),
    ("masscan-ipv6.pcap", &[], &[("2001:db8:51::/64", "syn", 100)]),
    ("scan6.pcap", &[], &[("2001:db8:51::/64", "syn", 60)]),
    // Never 20 ports, or 25 hosts, within 10 s: a block.
    ("block.pcap", &[], &[(SCANNER, "syn", 24)]),
    // Never 20 ports by one /64.
    ("ipv6-hop.pcap", &[], &[("2001:db8:51::/48", "syn", 70)]),
    ("answered-syn-scan.pcap", REPLIES, &[(SCANNER, "syn", 30)]),
    ("answered-connect-scan.pcap", REPLIES, &[(SCANNER, "syn", 30)]),
    ("answered-ipv6-connect-scan.pcap", REPLIES, &[("2001:db8:51::/64", "syn", 30)]),
    ("hping3.pcap", &[], &[(SCANNER, "syn", 60)]),
    ("hping3-xmas.pcap", &[], &[(SCANNER, "xmas", 60)]),
    ("scan-delay.pcap", &[], &[(SCANNER, "syn", 40)]),
    (
        "decoys.pcap",
        &[],
        &[
            ("198.51.100.101", "syn", 30),
            ("198.51.100.102", "syn", 30),
            ("203.0.113.5", "syn", 30),
            (SCANNER, "syn", 30),
        ],
    ),
    ("tunnel-ipip.pcap", TUNNELS, &[(IN_TUNNEL, "syn", 40)]),
    ("tunnel-6in4.pcap", TUNNELS, &[("2001:db8:77::/64", "syn", 40)]),
    ("tunnel-gre.pcap", TUNNELS, &[(IN_TUNNEL, "syn", 40)]),
    ("tunnel-gretap.pcap", TUNNELS, &[(IN_TUNNEL, "syn", 40)]),
    ("tunnel-erspan.pcap", TUNNELS, &[(IN_TUNNEL, "syn", 40)]),
    ("tunnel-vxlan.pcap", TUNNELS, &[(IN_TUNNEL, "syn", 40)]),
    ("tunnel-geneve.pcap", TUNNELS, &[(IN_TUNNEL, "syn", 40)]),
    // They look like packets of a connection.
    ("maimon-scan.pcap", ALL, &[]),
    ("ack-scan.pcap", ALL, &[]),
    ("window-scan.pcap", ALL, &[]),
    // One port of many hosts is no scan of ports.
    ("zmap.pcap", ALL, &[("198.51.100.7", "syn", 1)]),
    // Who looks like a scanner, and is told from one.
    ("udp-answers.pcap", ALL, &[]),
    ("udp-answers-inbound.pcap", ALL, &[]),
    ("multicast.pcap", ALL, &[]),
    ("ntp-broadcast.pcap", ALL, &[]),
    ("prometheus-15.pcap", ALL, &[]),
    ("nfs-client.pcap", ALL, &[]),
    ("windows-client.pcap", ALL, &[]),
    ("retries.pcap", ALL, &[]),
    ("half-open-monitor.pcap", ALL, &[]),
    ("proxy.pcap", ALL, &[]),
    // Who asks for 20 ports within 10 s all the same: the README says what to set.
    ("health-checker.pcap", ALL, &[(SCANNER, "syn", 25)]),
    ("prometheus-40.pcap", ALL, &[(SCANNER, "syn", 40)]),
    ("peer-to-peer.pcap", ALL, &[("192.0.2.10", "syn", 40)]),
];

/// The tool of each scan by a real scanner is told, of all others none.
#[test]
fn each_tool_is_told_by_its_packets() {
    for &(capture, flags, expected) in SCANS {
        let known = match capture {
            _ if expected.is_empty() => continue,
            "fin-scan.pcap" | "null-scan.pcap" | "xmas-scan.pcap" | "odd-scan.pcap" | "odd-rst-scan.pcap" => {
                "nmap"
            }
            "ipv6-fin-scan.pcap" | "scan-delay.pcap" | "decoys.pcap" => "nmap",
            "answered-syn-scan.pcap" => "nmap",
            "masscan-ipv6.pcap" | "block.pcap" => "masscan",
            "scan6.pcap" => "scan6",
            "hping3.pcap" | "hping3-xmas.pcap" => "hping3",
            "zmap.pcap" => "zmap",
            _ if capture.starts_with("tunnel-") => "nmap",
            _ => "unknown",
        };
        for line in replay_with(flags, capture, "json").lines() {
            let scan: serde_json::Value = serde_json::from_str(line).unwrap();
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
        let json = replay(capture, "json");
        let scan: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(scan["tool"], known, "{capture}");
    }
}

/// Those of IP but TCP, UDP, SCTP and ICMP, which nmap asks in their own ways.
const PROTOCOLS: u64 = 252;

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

fn replay(file: &str, format: &str) -> String {
    replay_with(&[], file, format)
}

fn replay_with(flags: &[&str], file: &str, format: &str) -> String {
    let out = Command::new(cargo_bin!("portscan_exporter"))
        .current_dir(captures())
        .args(["replay", file, "--format", format])
        .args(flags)
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
    let scans = SCANS.iter().map(|(file, ..)| *file);
    let mut listed: Vec<&str> = EXPECTED.iter().map(|(file, _)| *file).chain(scans).collect();
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
fn scanners_are_told_by_technique_and_others_not_at_all() {
    for (file, flags, expected) in SCANS {
        let report = replay_with(flags, file, "json");
        let scans = report.lines().map(|line| serde_json::from_str(line).expect("every line is JSON"));
        let scans: Vec<serde_json::Value> = scans.collect();
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
            let scan: serde_json::Value = serde_json::from_str(&replay_with(flags, file, "json")).unwrap();
            let told = (&scan["evidence"], scan["answered"].as_u64());
            assert_eq!(told, (&grade.into(), (flags == REPLIES).then_some(3)), "{file}");
            let page = replay_with(flags, file, "metrics");
            let is_shown = page.contains("portscan_source_info{evidence=\"handshake\"");
            assert_eq!(is_shown, grade == "handshake", "{file}");
        }
    }
}

/// What is not looked into is counted, and nothing is told of it.
#[test]
fn without_the_flag_tunnels_are_counted() {
    for (file, ..) in SCANS.iter().filter(|(_, flags, _)| *flags == TUNNELS) {
        assert_eq!(replay(file, "json"), "", "{file}");
        let page = replay(file, "metrics");
        let counted = page.lines().find(|line| line.contains("reason=\"tunnel\"")).expect("it is there");
        assert!(counted.ends_with(" 40"), "{file}: {counted}");
    }
}

#[test]
fn text_and_json_are_as_reviewed() {
    let scans = SCANS.iter().map(|(file, flags, _)| (*file, *flags));
    for (file, flags) in EXPECTED.iter().map(|(file, _)| (*file, &[][..])).chain(scans) {
        check(&format!("{file}.txt"), &replay_with(flags, file, "text"));
        check(&format!("{file}.jsonl"), &replay_with(flags, file, "json"));
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
