//! Real scanners, live: each run is one scan of its technique, with exactly as many ports as it asked for; and who only answers is no
//! scanner.
//!
//! Needs root, nmap, masscan, hping3, scan6, zmap, curl, python3 and systemd's journald, and fails without them.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]
#![allow(clippy::print_stdout, reason = "what was measured")]

use lab::exporter::{Exporter, ends_well};
use lab::room::{Lab, WATCHED, WATCHED_V6, in_room, journal};
use lab::sender::{CLUMP, FRAME, Out};
use lab::spaces::{Ended, Pair, run_in};
use lab::{PATIENCE, eventually, frames, mmdb};
use portscan_exporter::system::clock;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// A source, the command that scans from it, and what comes of it: the technique, the distinct ports and the tool.
struct Run {
    source: &'static str,
    command: String,
    technique: &'static str,
    ports: f64,
    tool: &'static str,
}

/// Every scanner with an address of its own, so that each is a scan of its own.
fn runs(router: &str) -> Vec<Run> {
    let nmap = |source: &'static str, words: &str, technique, ports, tool| Run {
        source,
        command: format!("nmap -n -Pn -T4 --max-retries=0 -e eth0 -S {source} {words} --send-eth {WATCHED}"),
        technique,
        ports,
        tool,
    };
    let other =
        |source, command: String, technique, ports, tool| Run { source, command, technique, ports, tool };
    let mac = router.replace(':', "-");
    let masscan =
        |words: String| format!("timeout 5 masscan {words} --rate 1000 --wait 0 -e eth0 || [ $? = 124 ]");
    vec![
        nmap("198.51.100.31", "-sS -p1-100", "syn", 100.0, "nmap"),
        nmap("198.51.100.32", "-sF -p1-60", "fin", 60.0, "nmap"),
        nmap("198.51.100.33", "-sN -p1-60", "null", 60.0, "nmap"),
        nmap("198.51.100.34", "-sX -p1-60", "xmas", 60.0, "nmap"),
        nmap("198.51.100.35", "-sS --scanflags SYNFIN -p1-60", "odd", 60.0, "nmap"),
        nmap("198.51.100.36", "-sU -p1-60", "udp", 60.0, "unknown"),
        nmap("198.51.100.37", "-sY -p1-60", "sctp", 60.0, "unknown"),
        nmap("198.51.100.38", "-sO", "protocol", 252.0, "unknown"),
        // The kernel puts the pieces together.
        nmap("198.51.100.39", "-sS -f -p1-60", "syn", 60.0, "nmap"),
        other("198.51.100.7", format!("nmap -n -Pn -T4 -sT -p1-50 {WATCHED}"), "syn", 50.0, "unknown"),
        other(
            "2001:db8:54::/64",
            format!("nmap -6 -n -Pn -T4 --max-retries=0 -e eth0 -S 2001:db8:54::7 -sS -p1-60 {WATCHED_V6}"),
            "syn",
            60.0,
            "nmap",
        ),
        other(
            "198.51.100.41",
            masscan(format!("--range {WATCHED} -p1-100 --source-ip 198.51.100.41 --router-mac {mac}")),
            "syn",
            100.0,
            "masscan",
        ),
        other(
            "2001:db8:53::/64",
            masscan(format!(
                "--range {WATCHED_V6} -p1-100 --source-ip 2001:db8:53::7 --router-mac-ipv6 {mac}"
            )),
            "syn",
            100.0,
            "masscan",
        ),
        other(
            "198.51.100.42",
            format!("hping3 -a 198.51.100.42 -S -p ++1 -c 60 -i u2000 {WATCHED} || :"),
            "syn",
            60.0,
            "hping3",
        ),
        other(
            "198.51.100.43",
            format!("hping3 -a 198.51.100.43 -F -P -U -p ++1 -c 60 -i u2000 {WATCHED} || :"),
            "xmas",
            60.0,
            "hping3",
        ),
        other("2001:db8:51::/64", format!("scan6 -i eth0 -d {WATCHED_V6} -j tcp:1-60"), "syn", 60.0, "scan6"),
    ]
}

fn is_scanned_by(lab: &Lab, exporter: &Exporter, run: &Run) {
    lab.run("s1", "sh", &["-c", &run.command]);
    let of_source = format!("source=\"{}\"", run.source);
    exporter.wait_for("portscan_source_peak_distinct_ports", &[&of_source], run.ports);
    let matches = [&*format!("PORTSCAN_SOURCE={}", run.source), "PORTSCAN_EVENT=hit"];
    let hits = eventually("the hit in the journal", PATIENCE, || {
        Some(journal(&matches)).filter(|hits| !hits.is_empty())
    });
    let fields = ["PORTSCAN_TECHNIQUE", "PORTSCAN_KIND", "PORTSCAN_TOOL"];
    let told: Vec<_> = hits.iter().map(|hit| fields.map(|field| hit[field].as_str().unwrap())).collect();
    assert_eq!(told, [[run.technique, "vertical", run.tool]], "{}", run.command);
}

/// The records of a source at the end of its scans by this window: kind, ports, hosts, sources and tool.
fn ended(source: &str, window: &str) -> Vec<[String; 5]> {
    let matches = [format!("PORTSCAN_SOURCE={source}"), format!("PORTSCAN_WINDOW_SECONDS={window}")];
    let matches = [&*matches[0], &matches[1], "PORTSCAN_EVENT=ended"];
    let records = eventually("the end in the journal", PATIENCE, || {
        Some(journal(&matches)).filter(|records| !records.is_empty())
    });
    let fields = ["KIND", "PORTS", "HOSTS", "SOURCES", "TOOL"].map(|name| format!("PORTSCAN_{name}"));
    let text = |record: &Value, field: &String| record[field].as_str().unwrap_or_default().to_owned();
    records.iter().map(|record| std::array::from_fn(|n| text(record, &fields[n]))).collect()
}

#[test]
fn every_scanner_is_one_scan_of_its_technique() {
    in_room("every_scanner_is_one_scan_of_its_technique", |lab| {
        let exporter = lab.exporter(&["--detection.techniques=all"]);
        for last in 31..=43 {
            lab.run("s1", "ip", &["addr", "add", &format!("198.51.100.{last}/24"), "dev", "eth0"]);
        }
        let router = lab.run("gw", "cat", &["/sys/class/net/a0/address"]).stdout;
        let runs = runs(String::from_utf8(router).unwrap().trim());
        runs.iter().for_each(|run| is_scanned_by(lab, &exporter, run));

        // One port of many hosts, and what looks like packets of a connection, are no scans of ports.
        let hits = exporter.value("portscan_hits_total", &["kind=\"vertical\""]);
        lab.run(
            "s1",
            "sh",
            &["-c", &format!("for scan in M A W; do nmap -n -Pn -T4 -s$scan -p1-60 {WATCHED}; done")],
        );
        lab.run("s1", "nmap", &["-n", "-sn", "-PE", WATCHED]);
        exporter.wait_for("portscan_probes_total", &["technique=\"icmp\"", "family=\"ipv4\""], 1.0);
        assert_eq!(exporter.value("portscan_hits_total", &["kind=\"vertical\""]), hits);
        assert_eq!(hits, Some(runs.len() as f64), "one for each");
        ends_well(exporter);
    });
}

/// Which ports answered, live: whichever way they are asked for, records and series name the open ones and no other; and a client of many
/// services has none that did not. Who connects has proved to be there; whose kernel resets what it did not ask for has not.
#[test]
fn what_answered_is_told() {
    in_room("what_answered_is_told", |lab| {
        let services: Vec<String> = (9100..9125).map(|port| port.to_string()).collect();
        let ports = ["serve", "22", "80", "253"].into_iter().chain(services.iter().map(String::as_str));
        let _open = lab.serving("t", &ports.collect::<Vec<_>>());
        let exporter = lab.exporter(&["--detection.replies"]);
        lab.run("s1", "ip", &["addr", "add", "198.51.100.51/24", "dev", "eth0"]);
        let scans: [(&str, &[&str]); 3] = [
            ("198.51.100.7", &["-sT", WATCHED]),
            ("198.51.100.51", &["-sS", "-e", "eth0", "-S", "198.51.100.51", WATCHED]),
            ("2001:db8:51::/64", &["-6", "-sT", WATCHED_V6]),
        ];
        let spoofable = "198.51.100.51";
        for (source, words) in scans {
            lab.nmap(&[&["-p1-300", "--max-retries=0"], words].concat());
            let of_source = [&*format!("source=\"{source}\""), "window=\"10s\""];
            exporter.wait_for("portscan_source_answered_ports", &of_source, 3.0);
            exporter.wait_for("portscan_source_peak_unanswered_ports", &of_source, 297.0);
            assert_eq!(exporter.value("portscan_source_peak_distinct_ports", &of_source), Some(300.0));
            let proof = [of_source[0], "evidence=\"handshake\""];
            if source != spoofable {
                exporter.wait_for("portscan_source_info", &proof, 1.0);
            } else {
                assert_eq!(exporter.value("portscan_source_info", &proof), None);
            }
        }
        let words = ["rounds", WATCHED, "0", "1"].into_iter().chain(services.iter().map(String::as_str));
        assert!(lab.actor("srv", &words.collect::<Vec<_>>()).status().unwrap().success());
        let of_client = ["source=\"192.0.2.20\"", "window=\"10s\""];
        exporter.wait_for("portscan_source_answered_ports", &of_client, 25.0);
        // Once they have left the window they were judged.
        exporter.wait_for("portscan_source_distinct_ports", &of_client, 0.0);
        assert_eq!(exporter.value("portscan_source_peak_unanswered_ports", &of_client), Some(0.0));
        assert_eq!(exporter.value("portscan_source_peak_distinct_ports", &of_client), Some(25.0));
        // Whoever wants a host cut off forges the address of its gateway: it is called by what it is, and its kernel proves nothing.
        lab.run("gw", "nmap", &["-n", "-Pn", "-T4", "-sS", "-p1-30", WATCHED]);
        let gateway = ["name=\"gateway\"", "source=\"192.0.2.1\"", "evidence=\"spoofable\""];
        exporter.wait_for("portscan_source_info", &gateway, 1.0);
        ends_well(exporter);
        for (source, answered, refused) in scans
            .map(|(source, _)| (source, "22,80,253", "297"))
            .into_iter()
            .chain([("192.0.2.20", "9100-9124", "0")])
        {
            let matches = [&*format!("PORTSCAN_SOURCE={source}"), "PORTSCAN_EVENT=ended"];
            let ended = eventually("the end in the journal", PATIENCE, || {
                journal(&matches).into_iter().find(|ended| ended["PORTSCAN_WINDOW_SECONDS"] == "10")
            });
            assert_eq!(ended["PORTSCAN_ANSWERED_PORTS"], answered, "{source}");
            assert_eq!(ended["PORTSCAN_REFUSED"], refused, "{source}");
            assert_eq!(ended["PORTSCAN_SILENT_PORTS"], "", "{source}");
            let grade = if source == spoofable { "spoofable" } else { "handshake" };
            assert_eq!(ended["PORTSCAN_EVIDENCE"], grade, "{source}");
        }
    });
}

/// What looks like the packets of a connection, live: the host's own refusals tell, once they are looked for.
#[test]
fn an_acknowledgement_of_nothing_is_a_scan_where_the_host_is_seen_to_refuse_it() {
    in_room("an_acknowledgement_of_nothing_is_a_scan_where_the_host_is_seen_to_refuse_it", |lab| {
        let exporter = lab.exporter(&["--detection.techniques=all", "--detection.replies"]);
        let scans = [("198.51.100.71", "-sA"), ("198.51.100.72", "-sW"), ("198.51.100.73", "-sM")];
        for (source, way) in scans {
            lab.run("s1", "ip", &["addr", "add", &format!("{source}/24"), "dev", "eth0"]);
            let command = format!(
                "nmap -n -Pn -T4 --max-retries=0 -e eth0 -S {source} --send-eth {way} -p1-60 {WATCHED}"
            );
            is_scanned_by(
                lab,
                &exporter,
                &Run { source, command, technique: "ack", ports: 60.0, tool: "unknown" },
            );
        }
        let way6 = format!("nmap -6 -n -Pn -T4 --max-retries=0 -sA -p1-60 {WATCHED_V6}");
        let run =
            Run { source: "2001:db8:51::/64", command: way6, technique: "ack", ports: 60.0, tool: "unknown" };
        is_scanned_by(lab, &exporter, &run);
        // The scanner's kernel refuses the host's SYN-ACKs, and the host is no scanner for it.
        let _open = lab.serving("t", &["serve", "80", "443", "8080"]);
        lab.nmap(&["-sS", "-p80,443,8080", WATCHED]);
        assert_eq!(
            exporter.value("portscan_hits_total", &["kind=\"vertical\"", "window=\"10s\""]),
            Some(4.0)
        );
        assert_eq!(exporter.value("portscan_probes_ignored_total", &["reason=\"martian\""]), Some(0.0));
        ends_well(exporter);
    });
}

/// As polite as `-T2`, by IPv4 and IPv6: record, API and metrics name exactly the open ports as answered.
#[test]
fn what_answered_a_polite_scan_is_told() {
    in_room("what_answered_a_polite_scan_is_told", |lab| {
        let _open = lab.serving("t", &["serve", "22", "80", "253"]);
        let exporter = lab.exporter(&["--detection.replies"]);
        let scan = |words: &[&str]| {
            let polite = ["-n", "-Pn", "-T2", "-sS", "--max-retries=0", "-p22,80,253,1001-1022"];
            Ended(lab.on("s1", "nmap").args(polite).args(words).spawn().unwrap())
        };
        let mut scans = [scan(&[WATCHED]), scan(&["-6", WATCHED_V6])];
        for scan in &mut scans {
            assert!(scan.0.wait().unwrap().success());
        }
        let sources = ["198.51.100.7", "2001:db8:51::/64"];
        for source in sources {
            let of_source = [&*format!("source=\"{source}\""), "window=\"10s\""];
            exporter.wait_for("portscan_source_answered_ports", &of_source, 3.0);
            let page = exporter.get(&format!("/api/v1/scans?source={source}")).unwrap();
            let page: Value = serde_json::from_str(&page).unwrap();
            let scans = page["scans"].as_array().unwrap();
            let told: Vec<_> = scans.iter().map(|scan| &scan["answered_ports"]).collect();
            assert_eq!(told, ["22,80,253"], "{source}");
            assert_eq!(scans[0]["tool"], "nmap", "{source}");
        }
        ends_well(exporter);
        for source in sources {
            let matches = [&*format!("PORTSCAN_SOURCE={source}"), "PORTSCAN_EVENT=ended"];
            let ended = eventually("the end in the journal", PATIENCE, || journal(&matches).pop());
            assert_eq!(ended["PORTSCAN_ANSWERED_PORTS"], "22,80,253", "{source}");
            assert_eq!(ended["PORTSCAN_REFUSED_PORTS"], "1001-1022", "{source}");
            assert_eq!(
                (&ended["PORTSCAN_PORTS"], &ended["PORTSCAN_SILENT_PORTS"]),
                (&"25".into(), &"".into())
            );
        }
    });
}

/// Who takes his time, who hides among others, and who changes his address with each probe: one scan each, or one for each address.
/// The rules are shorter than by default, so that the slowest, a port every 15 s, is found within a minute.
#[test]
fn who_hides_is_one_scan() {
    in_room("who_hides_is_one_scan", |lab| {
        let exporter = lab.exporter(&[
            "--detection.threshold=3",
            "--detection.slow-window=1m",
            "--detection.slow-threshold=3",
            "--detection.hop-threshold=20",
        ]);
        for last in 61..=63 {
            lab.run("s1", "ip", &["addr", "add", &format!("198.51.100.{last}/24"), "dev", "eth0"]);
        }
        let nmap = |source: &str, words: &str| {
            let command = format!(
                "exec nmap -n -Pn --max-retries=0 -e eth0 -S {source} --send-eth -sS {words} {WATCHED}"
            );
            Ended(lab.on("s1", "sh").args(["-c", &command]).spawn().unwrap())
        };
        let mut scans = [
            nmap("198.51.100.61", "-T1 -p1-4"),
            nmap("198.51.100.62", "-T4 --scan-delay 400ms -p1-30"),
            nmap("198.51.100.63", "-T4 -p1-30 -D 198.51.100.101,198.51.100.102,203.0.113.5,ME"),
        ];
        // Each probe from another /64.
        let hop = format!(
            "seq 1 24 | xargs -P4 -I% timeout 20 nmap -6 -n -Pn -T4 --max-retries=0 --host-timeout=2s -e eth0 -S 2001:db8:60:%::7 \
             -sS -p% {WATCHED_V6}"
        );
        lab.run("s1", "sh", &["-c", &hop]);
        exporter.wait_for("portscan_hits_total", &["window=\"10m\""], 1.0);
        for scan in &mut scans {
            assert!(scan.0.wait().unwrap().success());
        }
        exporter.wait_for("portscan_hits_total", &["window=\"1m\""], 1.0);
        // --scan-delay, and the decoys.
        exporter.wait_for("portscan_hits_total", &["window=\"10s\""], 5.0);
        ends_well(exporter);
        let scan = |ports: &str, sources: &str, tool: &str| {
            [["vertical", ports, "1", sources, tool].map(str::to_owned)].to_vec()
        };
        assert_eq!(ended("198.51.100.61", "60"), scan("4", "", "nmap"));
        assert_eq!(ended("198.51.100.62", "10"), scan("30", "", "nmap"));
        for decoy in ["198.51.100.63", "198.51.100.101", "198.51.100.102", "203.0.113.5"] {
            assert_eq!(ended(decoy, "10"), scan("30", "", "nmap"), "{decoy}");
        }
        // How many sources a network had is an estimate: within three standard errors, of 18 %.
        let hopped = ended("2001:db8:60::/48", "600");
        assert_eq!(hopped, scan("24", &hopped[0][3], "nmap"));
        assert!((11..=37).contains(&hopped[0][3].parse::<u32>().unwrap()), "{hopped:?}");
    });
}

/// Thirty sources that ask for four ports each: none of them is a scanner, and all of them together are one.
#[test]
fn a_scan_that_many_sources_share_is_one() {
    in_room("a_scan_that_many_sources_share_is_one", |lab| {
        let exporter = lab.exporter(&[]);
        for last in 100..130 {
            lab.run("s1", "ip", &["addr", "add", &format!("198.51.100.{last}/24"), "dev", "eth0"]);
        }
        let nmap = "nmap -n -Pn -T4 --max-retries=0 -e eth0 -S 198.51.100.$((100+n)) --send-eth -sS -p$((4*n+1))-$((4*n+4))";
        let command =
            format!("seq 0 29 | xargs -P6 -I% sh -c 'n=%; exec timeout 20 {nmap} {WATCHED} >/dev/null'");
        lab.run("s1", "sh", &["-c", &command]);
        exporter.wait_for("portscan_hits_total", &["kind=\"distributed\""], 1.0);
        exporter.wait_for("portscan_probes_total", &["technique=\"syn\"", "family=\"ipv4\""], 120.0);
        assert_eq!(exporter.sum("portscan_hits_total"), 1.0);
        ends_well(exporter);
        let shared = ended("many", "180");
        let expected = ["distributed", "120", "1", &*shared[0][3], "nmap"].map(str::to_owned);
        assert_eq!(shared, [expected]);
        // How many sources there were is an estimate.
        assert!((29..=31).contains(&shared[0][3].parse::<u32>().unwrap()), "{shared:?}");
    });
}

/// On a gateway: one port of 32 hosts by two scanners, and 24 ports of 32 hosts, slowly.
#[test]
fn sweeps_and_blocks_are_seen_on_a_gateway() {
    in_room("sweeps_and_blocks_are_seen_on_a_gateway", |lab| {
        let mut command = lab.on("gw", lab::program());
        command.args(["-i", "a0", "--web.listen-address=127.0.0.1:10220", "--log.format=journald"]).args([
            "--detection.home=192.0.2.0/24",
            "--detection.window=1s",
            "--detection.sweep-window=1m",
        ]);
        let exporter = Exporter::start("lab-gw", 10220, command).ready();
        let mac = lab.run("gw", "cat", &["/sys/class/net/a0/address"]).stdout;
        let mac = String::from_utf8(mac).unwrap();
        let masscan = |source: &str, words: &str| {
            let mac = mac.trim().replace(':', "-");
            let command = format!(
                "timeout 100 masscan --range 192.0.2.0/27 {words} --wait 0 -e eth0 --source-ip {source} --router-mac {mac} || [ $? = 124 ]"
            );
            Ended(lab.on("s1", "sh").args(["-c", &command]).spawn().unwrap())
        };
        // In this order twenty ports come long before 25 hosts: else it would be a sweep first, and a block later.
        let _block = masscan("198.51.100.71", "-p1-24 --rate 16 --seed 31");
        let _sweep = masscan("198.51.100.72", "-p22 --rate 100");
        let zmap = "zmap -q -p 22 -B 1M --cooldown-time=1 -i eth0 -S 198.51.100.73 -G GATEWAY -o /dev/null --blacklist-file=/dev/null \
                    192.0.2.0/27";
        lab.run("s1", "sh", &["-c", &zmap.replace("GATEWAY", mac.trim())]);
        exporter.wait_for("portscan_hits_total", &["kind=\"horizontal\""], 2.0);
        exporter.wait_for("portscan_hits_total", &["kind=\"block\""], 1.0);
        // All 768 targets, and 32 hosts twice.
        exporter.wait_for("portscan_probes_total", &["technique=\"syn\"", "family=\"ipv4\""], 832.0);
        assert_eq!(exporter.value("portscan_hits_total", &[]), Some(3.0));
        ends_well(exporter);
        let scan =
            |kind: &str, ports: &str, tool: &str| [[kind, ports, "32", "", tool].map(str::to_owned)].to_vec();
        assert_eq!(ended("198.51.100.71", "60"), scan("block", "24", "masscan"));
        assert_eq!(ended("198.51.100.72", "60"), scan("horizontal", "1", "masscan"));
        assert_eq!(ended("198.51.100.73", "60"), scan("horizontal", "1", "zmap"));
    });
}

/// The rules as they are shipped: a port a second is too slow for the first and is found by the slow one; `-T2` is not too slow.
#[test]
fn a_port_a_second_is_found_by_the_slow_rule() {
    in_room("a_port_a_second_is_found_by_the_slow_rule", |lab| {
        let exporter = lab.exporter(&[]);
        lab.run("s1", "ip", &["addr", "add", "198.51.100.64/24", "dev", "eth0"]);
        let nmap = |words: &[&str]| {
            let always = ["-n", "-Pn", "-sS", "--max-retries=0", WATCHED];
            Ended(lab.on("s1", "nmap").args(always).args(words).spawn().unwrap())
        };
        let mut slow = nmap(&["-T4", "--scan-delay=1s", "-p1-65"]);
        let mut polite = nmap(&["-T2", "-p1-30", "-e", "eth0", "-S", "198.51.100.64", "--send-eth"]);
        assert!(polite.0.wait().unwrap().success());
        exporter.wait_for("portscan_hits_total", &["window=\"10s\"", "kind=\"vertical\""], 1.0);
        assert!(slow.0.wait().unwrap().success());
        exporter.wait_for("portscan_hits_total", &["window=\"1h\"", "kind=\"vertical\""], 1.0);
        let of_source = ["source=\"198.51.100.7\"", "window=\"1h\""];
        exporter.wait_for("portscan_source_peak_distinct_ports", &of_source, 65.0);
        assert_eq!(exporter.sum("portscan_hits_total"), 2.0);
        ends_well(exporter);
        let scan = |ports: &str| [["vertical", ports, "1", "", "nmap"].map(str::to_owned)].to_vec();
        assert_eq!(ended("198.51.100.7", "3600"), scan("65"));
        assert_eq!(ended("198.51.100.64", "10"), scan("30"));
    });
}

/// On a gateway, by the rules as they are shipped: many ports of sixteen hosts are one scan of ports; of 32, which are enough for a sweep,
/// a sweep until the first rule has its ports, and then a scan of ports. Who only asks which of them are there sweeps.
#[test]
fn what_a_small_network_is_asked() {
    in_room("what_a_small_network_is_asked", |lab| {
        let start = |flags: &[&str]| {
            let mut command = lab.on("gw", lab::program());
            let always = ["-i", "a0", "--web.listen-address=127.0.0.1:10220", "--log.format=journald"];
            command.args(always).args(flags);
            Exporter::start("lab-gw", 10220, command).ready()
        };
        for last in 71..=72 {
            lab.run("s1", "ip", &["addr", "add", &format!("198.51.100.{last}/24"), "dev", "eth0"]);
        }
        let nmap = |source: &str, words: &[&str]| {
            let from = ["-sS", "--max-retries=0", "-e", "eth0", "-S", source, "--send-eth"];
            lab.nmap(&[&from, words].concat());
        };
        let exporter = start(&[]);
        nmap("198.51.100.71", &["-p1-25", "192.0.2.0/28"]);
        exporter.wait_for("portscan_hits_total", &["kind=\"vertical\"", "window=\"10s\""], 1.0);
        exporter.wait_for("portscan_probes_total", &["technique=\"syn\"", "family=\"ipv4\""], 400.0);
        assert_eq!(exporter.sum("portscan_hits_total"), 1.0);
        nmap("198.51.100.72", &["-p1-25", "192.0.2.0/27"]);
        exporter.wait_for("portscan_probes_total", &["technique=\"syn\"", "family=\"ipv4\""], 1200.0);
        exporter.wait_for("portscan_hits_total", &["kind=\"vertical\"", "window=\"10s\""], 2.0);
        exporter.wait_for("portscan_hits_total", &["kind=\"horizontal\"", "window=\"5m\""], 1.0);
        assert_eq!(exporter.sum("portscan_hits_total"), 3.0);
        ends_well(exporter);
        // The first rule estimates more than seven hosts, with an error of 18 %.
        let ports = |source, hosts: std::ops::RangeInclusive<u32>| {
            let scans = ended(source, "10");
            assert_eq!(scans, [["vertical", "25", &*scans[0][2], "", "nmap"].map(str::to_owned)]);
            assert!(hosts.contains(&scans[0][2].parse().unwrap()), "{scans:?}");
        };
        ports("198.51.100.71", 8..=32);
        ports("198.51.100.72", 16..=64);
        let sweep = ended("198.51.100.72", "300");
        assert_eq!(sweep, [["horizontal", &*sweep[0][1], "32", "", "nmap"].map(str::to_owned)]);
        assert!((1..20).contains(&sweep[0][1].parse::<u32>().unwrap()), "{sweep:?}");

        let exporter = start(&["--detection.techniques=all"]);
        lab.run("s1", "nmap", &["-n", "-sn", "-PE", "192.0.2.0/27"]);
        exporter.wait_for("portscan_hits_total", &["kind=\"horizontal\"", "window=\"5m\""], 1.0);
        let of_source = ["source=\"198.51.100.7\"", "window=\"5m\""];
        exporter.wait_for("portscan_source_peak_distinct_hosts", &of_source, 32.0);
        assert_eq!(exporter.sum("portscan_hits_total"), 1.0);
        ends_well(exporter);
        let sweep = ["horizontal", "1", "32", "", "unknown"].map(str::to_owned);
        assert_eq!(ended("198.51.100.7", "300"), [sweep]);
        let hits = journal(&["PORTSCAN_SOURCE=198.51.100.7", "PORTSCAN_EVENT=hit"]);
        assert_eq!(hits.iter().map(|hit| &hit["PORTSCAN_TECHNIQUE"]).collect::<Vec<_>>(), ["icmp"]);
    });
}

/// SYNs of a flood, each from a new source and each answered.
const FLOOD: u32 = 1_000_000;

/// A network in which a host answers every SYN to its port 80, whoever asks.
fn answering(mac: [u8; 6]) -> Pair {
    let pair = Pair::silent(mac);
    // With cookies it answers whatever waits.
    for words in [
        &["sysctl", "-qw", "net.ipv4.tcp_syncookies=2"][..],
        &["ip", "route", "add", "default", "via", "192.0.2.7"],
        &["ip", "neigh", "replace", "192.0.2.7", "lladdr", "02:00:00:00:00:07", "dev", "eth0"],
    ] {
        run_in(&pair.watched, words[0], &words[1..]);
    }
    let listening = lab::inside(&pair.watched, || {
        let listener = std::net::TcpListener::bind("192.0.2.10:80").unwrap();
        std::mem::forget(listener);
    });
    listening.join().unwrap();
    pair
}

/// Packets that the watched host sent.
fn sent_by(pair: &Pair) -> f64 {
    let counter = run_in(&pair.watched, "cat", &["/sys/class/net/eth0/statistics/tx_packets"]).stdout;
    String::from_utf8(counter).unwrap().trim().parse().unwrap()
}

/// Sends the flood as fast as it can; how many a second.
fn flood(pair: &Pair, mac: [u8; 6]) -> f64 {
    let sending = lab::inside(&pair.source, move || {
        let out = Out::open().unwrap();
        let syn = frames::ethernet(frames::IPV4, &frames::answerable_syn_packet([0; 4], 80));
        let mut clump: [[u8; FRAME]; CLUMP] = [syn.try_into().unwrap(); CLUMP];
        let start = clock::steady();
        for first in (0..FLOOD).step_by(CLUMP) {
            for (frame, n) in clump.iter_mut().zip(first..FLOOD) {
                let source = 0x6440_0000 + n;
                frame[..6].copy_from_slice(&mac);
                frame[26..30].copy_from_slice(&source.to_be_bytes());
                // The sequence number makes up for the address: the sum of the segment stays.
                frame[38..42].copy_from_slice(&(!source).to_be_bytes());
                frames::sum(&mut frame[14..]);
            }
            out.send(&clump[..CLUMP.min((FLOOD - first) as usize)]).unwrap();
        }
        start.elapsed()
    });
    f64::from(FLOOD) / sending.join().unwrap().as_secs_f64()
}

/// How many SYNs a second a bare libpcap receiver takes with the exporter's buffer, and how many it loses.
fn bare_receiver(pair: &Pair, mac: [u8; 6]) -> (f64, u32) {
    let over = Arc::new(AtomicBool::new(false));
    let (is_over, (ready, opened)) = (Arc::clone(&over), mpsc::channel());
    let receiver = lab::inside(&pair.watched, move || {
        let capture = pcap::Capture::from_device("eth0").unwrap();
        let capture = capture.snaplen(256).timeout(100).buffer_size(16 << 20).open().unwrap();
        capture.direction(pcap::Direction::In).unwrap();
        let mut capture = capture.setnonblock().unwrap();
        capture.filter("tcp[13] & 0x17 == 2", true).unwrap();
        ready.send(()).unwrap();
        let mut taken = 0;
        while !is_over.load(Ordering::Relaxed) {
            if capture.dispatch(Some(8192), |_| taken += 1).unwrap() == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let dropped = capture.stats().unwrap().dropped;
        assert!(taken + dropped > FLOOD - 100_000, "it took {taken}: all but the last blocks");
        dropped
    });
    opened.recv().unwrap();
    let rate = flood(pair, mac);
    over.store(true, Ordering::Relaxed);
    (rate, receiver.join().unwrap())
}

/// The same of the exporter, and its CPU time for a SYN in nanoseconds, its answer included. What it does not lose it counts.
fn exporter_in_flood(pair: &Pair, mac: [u8; 6], flags: &[&str]) -> (f64, f64, f64) {
    let mut command = lab::spaces::command_in(&pair.watched, lab::program());
    command.args(["-i", "eth0", "--web.listen-address=127.0.0.1:10220", "--log.format=logfmt"]).args(flags);
    let exporter = Exporter::start(&pair.watched, 10220, command).ready();
    let cpu = || exporter.value("process_cpu_seconds_total", &[]).unwrap();
    let before = (sent_by(pair), cpu());
    let rate = flood(pair, mac);
    let answers = sent_by(pair) - before.0;
    assert!(answers > 0.99 * f64::from(FLOOD), "the host answered {answers}");
    let all = f64::from(FLOOD) + if flags.is_empty() { 0.0 } else { answers };
    let lost = eventually("all packets on an account", PATIENCE, || {
        let lost = exporter.value("portscan_capture_dropped_packets_total", &[])?;
        (exporter.value("portscan_packets_total", &[])? + lost == all).then_some(lost)
    });
    let nanos = (cpu() - before.1) * 1e9 / f64::from(FLOOD);
    if lost == 0.0 {
        let syn = ["technique=\"syn\"", "family=\"ipv4\""];
        assert_eq!(exporter.value("portscan_probes_total", &syn), Some(f64::from(FLOOD)));
    }
    ends_well(exporter);
    (rate, lost, nanos)
}

/// A flood of SYNs from new sources, as fast as one thread sends them and the host answers each: a bare libpcap receiver loses none, and
/// neither does the exporter, of neither direction. The cores may be taken by other work for a moment, so each may try three times.
#[test]
fn a_flood_that_is_answered_loses_nothing() {
    let mac = [2, 0, 0, 0, 0, 9];
    let pair = answering(mac);
    let bare = || {
        let (rate, lost) = bare_receiver(&pair, mac);
        println!("bare receiver: {rate:.0} SYN/s, {lost} lost");
        lost == 0
    };
    assert!((0..3).any(|_| bare()), "the bare receiver loses some");
    for flags in [&[][..], &["--detection.replies"]] {
        let exporter = || {
            let (rate, lost, nanos) = exporter_in_flood(&pair, mac, flags);
            println!("exporter {flags:?}: {rate:.0} SYN/s, {lost} lost, {nanos:.0} ns of CPU a SYN");
            lost == 0.0
        };
        assert!((0..3).any(|_| exporter()), "{flags:?} loses some");
    }
}

/// The adversary forges fifteen hundred scanners, each wider than the real one: more than there are series, records and places among the
/// recent scans. Who really connects is in all of them.
#[test]
fn a_storm_of_forged_scanners_hides_no_real_one() {
    in_room("a_storm_of_forged_scanners_hides_no_real_one", |lab| {
        const FORGED: u32 = 1_500;
        let _open = lab.serving("t", &["serve", "22"]);
        let exporter = lab.exporter(&["--detection.replies"]);
        let storm = std::thread::spawn(|| {
            let sources = (0..FORGED).map(|n| Ipv4Addr::from_bits(0xcb00_7100 + n));
            let scan = |source| (1..=60).map(move |port| frames::to_all(frames::syn(source, &[], port)));
            lab::inject("lab-srv", sources.flat_map(scan).collect());
        });
        let of_vertical = ["kind=\"vertical\"", "window=\"10s\""];
        eventually("the storm", PATIENCE, || {
            exporter.value("portscan_hits_total", &of_vertical).filter(|hits| *hits >= 200.0)
        });
        lab.nmap(&["-sT", "-p1-50", "--max-retries=0", WATCHED]);
        storm.join().unwrap();
        let source = "198.51.100.7";
        let of_source = format!("source=\"{source}\"");
        exporter.wait_for("portscan_source_info", &[&of_source, "evidence=\"handshake\""], 1.0);
        exporter.wait_for("portscan_hits_total", &of_vertical, f64::from(FORGED + 1));
        let of_window = [&*of_source, "window=\"10s\""];
        assert_eq!(exporter.value("portscan_source_peak_distinct_ports", &of_window), Some(50.0));
        assert!(
            exporter.sum("portscan_recent_scans_evicted_total") > 0.0,
            "the storm is greater than the ring"
        );
        let scans = exporter.get(&format!("/api/v1/scans?source={source}")).unwrap();
        let scans: Value = serde_json::from_str(&scans).unwrap();
        assert_eq!(scans["scans"].as_array().map(Vec::len), Some(1), "{scans}");
        assert_eq!(scans["scans"][0]["evidence"], "handshake", "{scans}");
        ends_well(exporter);
        let matches = [&*format!("PORTSCAN_SOURCE={source}"), "PORTSCAN_EVENT=ended"];
        let ended = eventually("its record", PATIENCE, || journal(&matches).into_iter().next());
        assert_eq!(
            [&ended["PORTSCAN_EVIDENCE"], &ended["PORTSCAN_PORTS"], &ended["PORTSCAN_ANSWERED_PORTS"]],
            ["handshake", "50", "22"]
        );
        // The forged ones are a storm, but for the few before it was recognised.
        let storms = journal(&["PORTSCAN_EVENT=storm_ended"]);
        assert_eq!(storms.len(), 1, "{storms:?}");
        // Their window is 0, which says nothing.
        assert_eq!(storms[0]["PORTSCAN_COMMON"], "target_address,ttl,first_port,first_ports");
        let told = journal(&["PORTSCAN_EVENT=hit"]).len();
        assert!(told <= 10, "{told} hits");
        let records = ["storm", "storm_grown", "storm_ended", "suppressed"]
            .map(|event| journal(&[&format!("PORTSCAN_EVENT={event}")]))
            .concat();
        assert!(records.iter().all(|it| it["PORTSCAN_SUPPRESSED_HANDSHAKE"] == "0"), "{records:?}");
    });
}

/// The packet of a scanner that is forged to look like one by nmap, as it comes from the other side of a router.
fn forged_nmap(source: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut segment = frames::segment(port, frames::SYN);
    // A window of 1024, and of the options the segment size.
    (segment[12], segment[14]) = (6 << 4, 4);
    segment.extend([2, 4, 5, 0xb4]);
    let mut packet = frames::ipv4(frames::TCP, &segment);
    packet[12..16].copy_from_slice(&source.octets());
    frames::sum(&mut packet);
    frames::to_all(frames::ethernet(frames::IPV4, &packet))
}

/// The adversary forges fifteen hundred scanners that look like his own scan in all that makes a storm, and in its tool. He completes no
/// handshake; but he asks for more ports than they do, or, with as many, a port answers him: he has a record of his own.
#[test]
fn who_does_more_than_the_storm_around_him_has_his_own_record() {
    in_room("who_does_more_than_the_storm_around_him_has_his_own_record", |lab| {
        const FORGED: u32 = 1_500;
        // It answers before the hit: until its next record a scan is kept among the recent ones for what it was at the last.
        let _open = lab.serving("t", &["serve", "5"]);
        lab.run("s1", "ip", &["addr", "add", "198.51.100.71/24", "dev", "eth0"]);
        let runs: [(&[&str], _, _, _); 2] = [
            (&[], "198.51.100.7", "-p1-1000", [json!("1000"), Value::Null]),
            (&["--detection.replies"], "198.51.100.71", "-p1-60", [json!("60"), json!("5")]),
        ];
        for (flags, source, ports, told) in runs {
            let peak = told[0].as_str().unwrap().parse().unwrap();
            let exporter = lab.exporter(flags);
            let storm = std::thread::spawn(|| {
                let sources = (0..FORGED).map(|n| Ipv4Addr::from_bits(0xcb00_7100 + n));
                let scan = |source| (1..=60).map(move |port| forged_nmap(source, port));
                lab::inject("lab-srv", sources.flat_map(scan).collect());
            });
            let of_vertical = ["kind=\"vertical\"", "window=\"10s\""];
            eventually("the storm", PATIENCE, || {
                exporter.value("portscan_hits_total", &of_vertical).filter(|hits| *hits >= 200.0)
            });
            // In order, with the TTL of the forged ones behind the router.
            let words =
                ["-sS", "-r", "--ttl=65", "--max-retries=0", "-e", "eth0", "-S", source, ports, WATCHED];
            lab.nmap(&words);
            storm.join().unwrap();
            exporter.wait_for("portscan_hits_total", &of_vertical, f64::from(FORGED + 1));
            let of_source = [&*format!("source=\"{source}\""), "window=\"10s\""];
            exporter.wait_for("portscan_source_peak_distinct_ports", &of_source, peak);
            let recent = exporter.get(&format!("/api/v1/scans?source={source}")).unwrap();
            let recent: Value = serde_json::from_str(&recent).unwrap();
            assert_eq!(recent["scans"].as_array().map(Vec::len), Some(1), "{recent}");
            ends_well(exporter);
            let matches = [&*format!("PORTSCAN_SOURCE={source}"), "PORTSCAN_EVENT=ended"];
            let ended = eventually("his record", PATIENCE, || journal(&matches).into_iter().next());
            assert_eq!([&ended["PORTSCAN_PORTS"], &ended["PORTSCAN_ANSWERED_PORTS"]], told.each_ref());
            let looks =
                ["TTL", "TCP_WINDOW", "TOOL", "EVIDENCE"].map(|name| &ended[format!("PORTSCAN_{name}")]);
            assert_eq!(looks, ["64", "1024", "nmap", "spoofable"]);
            let storm = journal(&["PORTSCAN_EVENT=storm_ended"]).pop().unwrap();
            let told =
                ["COMMON", "KIND", "WINDOW_SECONDS", "TOOL"].map(|name| &storm[format!("PORTSCAN_{name}")]);
            assert_eq!(
                told,
                ["target_address,ttl,tcp_window,first_port,first_ports", "vertical", "10", "nmap"]
            );
        }
        assert_eq!(journal(&["PORTSCAN_EVENT=storm"]).len(), 2);
        let others = journal(&["PORTSCAN_EVENT=ended"]).len() - 2;
        assert!(others <= 2 * 2 + 2, "{others} of those before a storm was recognised");
    });
}

/// `nmap -D` with two decoys, four or forty: one storm, and the two hits before it was recognised. The address of the real scanner finds
/// it. Who only scans the same host by the same tool at the same time, from the same port on, asks for others then, and has records of
/// his own.
#[test]
fn a_scan_with_decoys_is_one_storm() {
    in_room("a_scan_with_decoys_is_one_storm", |lab| {
        let of = |event: &str| journal(&[&format!("PORTSCAN_EVENT={event}")]);
        let of_vertical = ["kind=\"vertical\"", "window=\"10s\""];
        for (at, decoys) in [2, 4, 40].into_iter().enumerate() {
            let exporter = lab.exporter(&[]);
            lab.nmap(&["-sS", "-p1-100", "--max-retries=0", &format!("-DRND:{decoys}"), WATCHED]);
            exporter.wait_for("portscan_hits_total", &of_vertical, f64::from(decoys + 1));
            exporter.wait_for("portscan_storms_total", &[], 1.0);
            let of_source = ["source=\"198.51.100.7\"", "window=\"10s\""];
            exporter.wait_for("portscan_source_peak_distinct_ports", &of_source, 100.0);
            ends_well(exporter);
            let storms = eventually("the storm in the journal", PATIENCE, || {
                Some(of("storm_ended")).filter(|storms| storms.len() > at)
            });
            let storm = &storms[at];
            let told = [
                "SOURCES",
                "COMMON",
                "TARGET_ADDRESS",
                "TCP_WINDOW",
                "SAME_FIRST_PORT",
                "SAME_FIRST_PORTS",
                "TOOL",
            ]
            .map(|name| storm[format!("PORTSCAN_{name}")].as_str().unwrap_or_default().to_owned());
            let sources = (decoys + 1).to_string();
            // The hops are by chance.
            let common = told[1].replace("ttl,", "");
            assert_eq!(common, "target_address,tcp_window,first_port,first_ports");
            assert_eq!([&*told[0], &*told[2], &*told[3]], [&*sources, WATCHED, "1024"]);
            assert_eq!(told[4..], [&*sources, &*sources, "nmap"]);
            let told = ["storm", "storm_ended", "hit", "ended", "suppressed"].map(|event| of(event).len());
            assert_eq!(told, [at + 1, at + 1, 2 * (at + 1), 2 * (at + 1), 0]);
            let found = journal(&["PORTSCAN_SOURCE=198.51.100.7", "PORTSCAN_EVENT=storm_ended"]);
            assert_eq!(found, storms);
        }
        let exporter = lab.exporter(&[]);
        let nmap = "nmap -n -Pn -T4 --max-retries=0 --ttl=60 -e eth0 --send-eth -sS -r";
        let each = format!("{nmap} -S 198.51.100.7$n -p1,${{n}}01-${{n}}40 {WATCHED} >/dev/null &");
        for last in 71..=73 {
            lab.run("s1", "ip", &["addr", "add", &format!("198.51.100.{last}/24"), "dev", "eth0"]);
        }
        let command = format!("for n in 1 2 3; do {each} done; wait");
        lab.run("s1", "sh", &["-c", &command]);
        exporter.wait_for("portscan_hits_total", &of_vertical, 3.0);
        ends_well(exporter);
        eventually("their records", PATIENCE, || (of("ended").len() == 9).then_some(()));
        let ended = of("ended");
        let of = |name: &str| ended[6..].iter().map(|it| it[name].to_string()).collect::<BTreeSet<_>>().len();
        let looks = ["TCP_WINDOW", "TTL", "PORTS"].map(|name| of(&format!("PORTSCAN_{name}")));
        assert_eq!((looks, of("PORTSCAN_SOURCE")), ([1, 1, 1], 3));
        assert_eq!(journal(&["PORTSCAN_EVENT=storm_ended"]).len(), 3);
    });
}

/// A host that asks resolvers, time servers and QUIC servers from a thousand ports is answered on a thousand ports.
#[test]
fn who_answers_by_udp_is_no_scanner() {
    in_room("who_answers_by_udp_is_no_scanner", |lab| {
        let _services = lab.serving("srv", &["echo", "53", "123", "443", "4500", "7777"]);
        for threads in ["1", "2"] {
            let threads = format!("--capture.threads={threads}");
            let exporter = lab.exporter(&["--detection.techniques=all", "--publish.min-ports=2", &threads]);
            let asked =
                lab.actor("t", &["ask", "192.0.2.20", "200", "53", "123", "443", "4500", "7777"]).status();
            assert!(asked.unwrap().success());
            exporter.wait_for("portscan_packets_skipped_total", &["reason=\"not_probe\""], 1_000.0);
            let of_answerer = ["source=\"192.0.2.20\""];
            assert_eq!(exporter.value("portscan_source_peak_distinct_ports", &of_answerer), None);
            assert_eq!(exporter.value("portscan_probes_total", &["technique=\"udp\""]), Some(0.0));
            // The same host as a scanner, from the port of a resolver.
            lab.run(
                "srv",
                "nmap",
                &["-n", "-Pn", "-T4", "-sU", "-g53", "-p1-60", "--max-retries=0", WATCHED],
            );
            exporter.wait_for("portscan_source_peak_distinct_ports", &of_answerer, 60.0);
            ends_well(exporter);
        }
    });
}

/// A reload sets another filter, on each thread of a group as well.
#[test]
fn a_reload_changes_what_is_looked_for() {
    in_room("a_reload_changes_what_is_looked_for", |lab| {
        let file = lab.directory.path().join("config.yml");
        let write = |techniques: &str| {
            std::fs::write(&file, format!("detection:\n  techniques: {techniques}\n")).unwrap();
        };
        for threads in ["1", "2"] {
            write("syn");
            let flags =
                [&format!("--config.file={}", file.display()), &format!("--capture.threads={threads}")];
            let exporter = lab.exporter(&flags.map(String::as_str));
            let scan = |technique: &str| {
                lab.nmap(&[technique, "-p1-40", "--max-retries=0", WATCHED]);
            };
            scan("-sF");
            scan("-sS");
            let peak = |value| {
                exporter.wait_for("portscan_source_peak_distinct_ports", &["source=\"198.51.100.7\""], value);
            };
            peak(40.0);
            assert_eq!(exporter.value("portscan_probes_total", &["technique=\"fin\""]), Some(0.0));
            write("fin,udp");
            let reloaded = || exporter.value("portscan_config_last_reload_success_timestamp_seconds", &[]);
            let before = reloaded();
            exporter.signal(Signal::HUP);
            eventually("the reload", PATIENCE, || (reloaded() > before).then_some(()));
            let syn = exporter.value("portscan_probes_total", &["technique=\"syn\""]);
            // From each capture's next tick on.
            eventually("probes of the new techniques", PATIENCE, || {
                scan("-sF");
                let fin = exporter.value("portscan_probes_total", &["technique=\"fin\""]);
                (fin >= Some(40.0)).then_some(())
            });
            lab.nmap(&["-sS", "-p1-40", "--max-retries=0", WATCHED]);
            lab.nmap(&["-sU", "-p1-50", "--max-retries=0", WATCHED]);
            peak(50.0);
            assert_eq!(exporter.value("portscan_probes_total", &["technique=\"syn\""]), syn);
            ends_well(exporter);
        }
    });
}

/// What databases say of a source is shown; a reload reads them again, from where only the configuration's directory can be read, and a
/// wrong one changes nothing.
#[test]
fn databases_are_read_again_at_a_reload() {
    in_room("databases_are_read_again_at_a_reload", |lab| {
        let at = |name: &str| lab.directory.path().join(name);
        // As a new edition takes the place of the old one.
        let write = |name: &str, content: &[u8]| {
            std::fs::write(at("new"), content).unwrap();
            std::fs::rename(at("new"), at(name)).unwrap();
        };
        let countries = |code: &'static str| {
            let country = mmdb::Value::Map(vec![("iso_code", mmdb::Value::Text(code))]);
            let record = mmdb::Value::Map(vec![("country", country)]);
            mmdb::write("GeoLite2-Country", &[("198.51.100.0/24".parse().unwrap(), record)])
        };
        write("country.mmdb", &countries("DE"));
        write("scanners.csv", b"198.51.100.7,research\n");
        write(
            "config.yml",
            b"databases: {country: country.mmdb, scanners: scanners.csv}\nnames: {lab: [198.51.100.0/24]}\n",
        );
        let exporter = lab.exporter(&[&format!("--config.file={}", at("config.yml").display())]);
        lab.nmap(&["-sS", "-p1-40", "--max-retries=0", WATCHED]);
        let is_in = |country: &str| {
            let labels = [&*format!("country=\"{country}\""), "known_scanner=\"research\"", "name=\"lab\""];
            exporter.wait_for("portscan_source_info", &labels, 1.0);
        };
        is_in("DE");
        exporter.wait_for("portscan_named_hits_total", &["name=\"lab\""], 1.0);
        let scans = exporter.get("/api/v1/scans?country=DE&known_scanner=research").unwrap();
        assert!(scans.contains("\"source\":\"198.51.100.7\""), "{scans}");
        write("country.mmdb", &countries("FR"));
        exporter.signal(Signal::HUP);
        is_in("FR");
        write("country.mmdb", b"<html>404</html>");
        exporter.signal(Signal::HUP);
        exporter.wait_for("portscan_config_last_reload_successful", &[], 0.0);
        is_in("FR");
        ends_well(exporter);
        let matches = ["PORTSCAN_SOURCE=198.51.100.7", "PORTSCAN_EVENT=ended"];
        let ended = eventually("the end in the journal", PATIENCE, || journal(&matches).pop());
        assert_eq!(
            (&ended["PORTSCAN_COUNTRY"], &ended["PORTSCAN_KNOWN_SCANNER"]),
            (&"DE".into(), &"research".into()),
            "as it was when the scan began"
        );
    });
}

/// SYNs of a scan of 40 ports, over and over, each in a tunnel that ends nowhere: GRE, and VXLAN on Linux's port behind options.
fn tunnels(count: u16, to: [u8; 6]) -> Vec<Vec<u8>> {
    let around = |n: u16| {
        let inner = frames::syn_packet([203, 0, 113, 7], 1 + n % 40);
        let mut frame = if n.is_multiple_of(2) {
            frames::ethernet(0x0800, &frames::ipv4(47, &[&[0, 0, 8, 0], &inner[..]].concat()))
        } else {
            let inner = frames::ethernet(0x0800, &inner);
            let length = u16::try_from(16 + inner.len()).unwrap().to_be_bytes();
            let head = [&[0x9c, 0x40, 0x21, 0x18], &length[..], &[0, 0, 8, 0, 0, 0, 0, 0, 7, 0]].concat();
            frames::ethernet(0x0800, &frames::ipv4_options(17, &[1; 8], &[head, inner].concat()))
        };
        frame[..6].copy_from_slice(&to);
        frame
    };
    (0..count).map(around).collect()
}

/// The same in what nobody looks into: ESP, MACsec, a pseudowire, GTP-U.
fn closed(count: u16, to: [u8; 6]) -> Vec<Vec<u8>> {
    let inner = frames::syn_packet([203, 0, 113, 7], 80);
    let around = |n: u16| {
        let mut frame = match n % 4 {
            0 => frames::ethernet(0x0800, &frames::ipv4(50, &inner)),
            1 => frames::tagged(&[0x8100], 0x88e5, &inner),
            2 => frames::ethernet(0x8847, &frames::mpls(2, &[&[0; 16][..], &[8, 0], &inner].concat())),
            _ => frames::ethernet(
                0x0800,
                &frames::ipv4(17, &[&[8, 104, 8, 104, 0, 56, 0, 0], &inner[..]].concat()),
            ),
        };
        frame[..6].copy_from_slice(&to);
        frame
    };
    (0..count).map(around).collect()
}

#[test]
fn tunnels_are_counted_or_looked_into() {
    let mac = [2, 0, 0, 0, 0, 9];
    let pair = Pair::silent(mac);
    let start = |flags: &[&str]| {
        let mut command = lab::spaces::command_in(&pair.watched, lab::program());
        command
            .args(["-i", "eth0", "--web.listen-address=127.0.0.1:10220", "--log.format=logfmt"])
            .args(flags);
        Exporter::start(&pair.watched, 10220, command).ready()
    };
    let exporter = start(&[]);
    // libpcap's own machine filters the first block of the ring, and drops the sample: the scan has it.
    pair.nmap(&["-p1-25", WATCHED]);
    exporter.wait_for("portscan_source_peak_distinct_ports", &["source=\"192.0.2.7\""], 25.0);
    pair.inject(tunnels(3_200, mac));
    pair.inject(closed(3_200, mac));
    // One in 64 stands for 64: the standard deviation is 640.
    eventually("the tunnels to be counted", PATIENCE, || {
        let counted = exporter.value("portscan_packets_skipped_total", &["reason=\"tunnel\""]).unwrap();
        if (3_200.0..9_600.0).contains(&counted) && counted % 64.0 == 0.0 {
            Ok(())
        } else {
            Err(format!("{counted}"))
        }
    });
    assert_eq!(exporter.value("portscan_source_peak_distinct_ports", &["source=\"203.0.113.7\""]), None);
    ends_well(exporter);

    let exporter = start(&["--capture.tunnels"]);
    pair.inject(tunnels(40, mac));
    exporter.wait_for("portscan_source_peak_distinct_ports", &["source=\"203.0.113.7\""], 40.0);
    ends_well(exporter);
}
