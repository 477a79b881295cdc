//! The captures of `tests/captures`, what each holds, and what `replay` says of them.

use crate::{HERE, program};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each capture holds, said by hand and independent of the goldens: the scanning source and its distinct ports, or
/// nothing. How each was made is in `tests/captures/make.sh`.
pub const EXPECTED: &[(&str, Option<(&str, u64)>)] = &[
    ("syn-scan.pcap", Some(("198.51.100.7", 1000))),
    ("connect-scan.pcap", Some(("198.51.100.7", 600))),
    ("ipv6-scan.pcap", Some(("2001:db8:51::/64", 600))),
    ("masscan.pcap", Some(("198.51.100.7", 500))),
    ("horizontal-and-vertical.pcap", Some(("198.51.100.7", 30))),
    ("slow-over.pcap", Some(("198.51.100.7", 116))),
    ("split-9.9s.pcap", Some(("198.51.100.7", 20))),
    ("vlan.pcap", Some((IN_TUNNEL, 30))),
    ("qinq.pcap", Some((IN_TUNNEL, 30))),
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
pub type Scans = &'static [(&'static str, &'static str, u64)];

pub const ALL: &[&str] = &["--detection.techniques=all"];
pub const REPLIES: &[&str] = &["--detection.replies"];
pub const ALL_AND_REPLIES: &[&str] = &["--detection.techniques=all", "--detection.replies"];
pub const TUNNELS: &[&str] = &["--capture.tunnels"];
pub const SCANNER: &str = "198.51.100.7";
pub const IN_TUNNEL: &str = "203.0.113.129";

/// The same for techniques, scanners and tunnels, with the flags that each needs: sources, techniques and distinct ports. What stays
/// silent by its nature is here with all techniques looked for.
pub const SCANS: &[(&str, &[&str], Scans)] = &[
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
    // Two or three ports by each of 59 sources.
    ("distributed.pcap", &[], &[("many", "syn", 160)]),
    ("answered-syn-scan.pcap", REPLIES, &[(SCANNER, "syn", 30)]),
    ("answered-connect-scan.pcap", REPLIES, &[(SCANNER, "syn", 30)]),
    ("answered-ipv6-connect-scan.pcap", REPLIES, &[("2001:db8:51::/64", "syn", 30)]),
    ("hping3.pcap", &[], &[(SCANNER, "syn", 60)]),
    ("hping3-xmas.pcap", &[], &[(SCANNER, "xmas", 60)]),
    ("scan-delay.pcap", &[], &[(SCANNER, "syn", 40)]),
    ("polite-scan.pcap", &[], &[(SCANNER, "syn", 30)]),
    // Never 20 ports within 10 s; the slow rule as it is shipped.
    ("slow-scan.pcap", &[], &[(SCANNER, "syn", 65)]),
    ("sneaky-scan.pcap", &[], &[(SCANNER, "syn", 60)]),
    // The zombie.
    ("idle-scan.pcap", &[], &[("203.0.113.66", "syn", 30)]),
    ("icmp-echo-sweep.pcap", ALL, &[(SCANNER, "icmp", 1)]),
    ("icmp-time-sweep.pcap", ALL, &[(SCANNER, "icmp", 1)]),
    ("icmp-netmask-sweep.pcap", ALL, &[(SCANNER, "icmp", 1)]),
    ("icmp-ipv6-sweep.pcap", ALL, &[("2001:db8:51::/64", "icmp", 1)]),
    ("network-scan.pcap", &[], &[(SCANNER, "syn", 25)]),
    // A sweep, until the first rule has 20 ports.
    ("wider-network-scan.pcap", &[], &[(SCANNER, "syn", 19), (SCANNER, "syn", 20)]),
    ("mpls.pcap", &[], &[(IN_TUNNEL, "syn", 30)]),
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
    // Unless the host is seen to refuse them.
    ("answered-maimon-scan.pcap", ALL_AND_REPLIES, &[(SCANNER, "ack", 60)]),
    ("answered-ack-scan.pcap", ALL_AND_REPLIES, &[(SCANNER, "ack", 60)]),
    ("answered-window-scan.pcap", ALL_AND_REPLIES, &[(SCANNER, "ack", 60)]),
    ("answered-ipv6-ack-scan.pcap", ALL_AND_REPLIES, &[("2001:db8:51::/64", "ack", 60)]),
    // One port of many hosts is no scan of ports.
    ("zmap.pcap", ALL, &[("198.51.100.7", "syn", 1)]),
    // Who looks like a scanner, and is told from one.
    ("udp-answers.pcap", ALL, &[]),
    ("udp-answers-inbound.pcap", ALL, &[]),
    ("multicast.pcap", ALL, &[]),
    ("ntp-broadcast.pcap", ALL, &[]),
    ("traceroute.pcap", ALL, &[]),
    ("traceroute-wide.pcap", ALL, &[(SCANNER, "udp", 29)]),
    ("prometheus-15.pcap", ALL, &[]),
    ("nfs-client.pcap", ALL, &[]),
    ("windows-client.pcap", ALL, &[]),
    // Twenty-one ports, asked for by as many Windows hosts and more, as behind one address.
    ("windows-stacks.pcap", &[], &[(SCANNER, "syn", 21)]),
    ("retries.pcap", ALL, &[]),
    ("half-open-monitor.pcap", ALL, &[]),
    ("proxy.pcap", ALL, &[]),
    // Who asks for 20 ports within 10 s all the same: the README says what to set.
    ("health-checker.pcap", ALL, &[(SCANNER, "syn", 25)]),
    ("prometheus-40.pcap", ALL, &[(SCANNER, "syn", 40)]),
    ("peer-to-peer.pcap", ALL, &[("192.0.2.10", "syn", 40)]),
];

/// Those of IP but TCP, UDP, SCTP and ICMP, which nmap asks in their own ways.
const PROTOCOLS: u64 = 252;

/// Where they are.
pub fn captures() -> PathBuf {
    Path::new(HERE).join("tests/captures")
}

/// The captures of a directory, by name, in order.
pub fn listed(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).expect("captures are there");
    let mut names: Vec<String> = names
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".pcap"))
        .collect();
    names.sort();
    names
}

/// What `replay` says of a capture.
pub fn replay(flags: &[&str], file: &str, format: &str) -> String {
    let out = Command::new(program())
        .current_dir(captures())
        .args(["replay", file, "--format", format])
        .args(flags)
        .output()
        .expect("the program runs");
    assert!(out.status.success(), "{file}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("reports are UTF-8")
}

/// The scans of a capture.
pub fn scans(flags: &[&str], file: &str) -> Vec<serde_json::Value> {
    let report = replay(flags, file, "json");
    report.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

/// Holds what was said against the golden of this name.
pub fn check(name: &str, told: &str) {
    let golden = Path::new(HERE).join("tests/goldens").join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&golden, told).expect("goldens can be written");
    }
    let wanted =
        std::fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
    assert!(told == wanted, "{name} differs.\n--- golden\n{wanted}\n--- now\n{told}");
}
