//! The whole way, for real: nmap's packets on a wire become a metric, a journal record and a page.
//!
//! Each test runs in a room of its own, with the lab of `tests/lab`: scanners in one network, the watched host in
//! another. Needs root, nmap, Prometheus, Alertmanager, systemd's
//! journald, curl and python3, and fails without them.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]
#![allow(clippy::print_stdout, reason = "what was measured")]

use lab::{
    Ended, HERE, Lab, PATIENCE, WATCHED, WATCHED_V6, ends_well, eventually, in_room, journal, journal_text,
    written,
};
use portscan_exporter::packet::Timestamp;
use portscan_exporter::system::clock;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

fn micros(time: Timestamp) -> u64 {
    time.nanos() / 1000
}

/// Notifications as Alertmanager posts them, newest last: (status of the group, its alerts).
#[derive(Default, Clone)]
struct Webhook(Arc<Mutex<Vec<Value>>>);

impl Webhook {
    /// Listens on the watched host, port 9099.
    fn listen() -> Self {
        let webhook = Webhook::default();
        let posts = webhook.0.clone();
        let (bound, is_bound) = std::sync::mpsc::channel();
        lab::inside("lab-t", move || {
            let listener = TcpListener::bind("127.0.0.1:9099").unwrap();
            bound.send(()).unwrap();
            for connection in listener.incoming() {
                let mut reader = BufReader::new(connection.unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let line = line.trim().to_ascii_lowercase();
                    if line.is_empty() {
                        break;
                    }
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                reader.get_mut().write_all(answer).unwrap();
                posts.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            }
        });
        is_bound.recv_timeout(PATIENCE).unwrap();
        webhook
    }

    /// The first alert posted with this name, source and status.
    fn alert(&self, name: &str, source: &str, status: &str) -> Option<Value> {
        let posts = self.0.lock().unwrap();
        let mut alerts = posts.iter().flat_map(|post| post["alerts"].as_array().unwrap());
        let wanted = |alert: &&Value| {
            let labels = &alert["labels"];
            labels["alertname"] == name && labels["source"] == source && alert["status"] == status
        };
        alerts.find(wanted).cloned()
    }
}

/// A real Prometheus with the rules of `alerts/`, and a real Alertmanager that posts to the webhook, both on the
/// watched host. What takes minutes in production takes a second here; the rules are otherwise as they are.
fn monitoring(lab: &Lab) -> [Ended; 2] {
    let directory = lab.directory.path();
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    let rules = std::fs::read_to_string(Path::new(HERE).join("alerts/portscan.rules.yml")).unwrap();
    let rules: Vec<String> = rules
        .lines()
        .map(|line| match line.split_once("keep_firing_for: ") {
            Some((indent, _)) if !line.trim_start().starts_with('#') => {
                format!("{indent}keep_firing_for: 1s")
            }
            _ => line.to_owned(),
        })
        .collect();
    write("portscan.rules.yml", &rules.join("\n"));
    write(
        "prometheus.yml",
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n\
         rule_files: [portscan.rules.yml]\n\
         alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9093']}]}]}\n\
         scrape_configs: [{job_name: portscan, static_configs: [{targets: ['127.0.0.1:10220']}]}]\n",
    );
    write(
        "alertmanager.yml",
        "route: {receiver: hook, group_by: [alertname, source], group_wait: 0s, group_interval: 1s, \
         repeat_interval: 1h}\n\
         receivers: [{name: hook, webhook_configs: [{url: 'http://127.0.0.1:9099/', send_resolved: true}]}]\n",
    );
    let start = |program: &str, arguments: &[&str]| {
        let log = File::create(directory.join(format!("{program}.log"))).unwrap();
        let mut command = lab.on("t", program);
        Ended(command.args(arguments).current_dir(directory).stderr(log).spawn().unwrap())
    };
    let alertmanager = start(
        "prometheus-alertmanager",
        &[
            "--config.file=alertmanager.yml",
            "--storage.path=am",
            "--web.listen-address=127.0.0.1:9093",
            "--cluster.listen-address=",
            "--log.level=warn",
        ],
    );
    let prometheus = start(
        "prometheus",
        &[
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:9090",
            "--rules.alert.resend-delay=1s",
            "--log.level=warn",
        ],
    );
    for port in [9093, 9090] {
        eventually(&format!("port {port} to be ready"), PATIENCE, || {
            lab.get(&format!("http://127.0.0.1:{port}/-/ready"))
        });
    }
    // The first scrape can take some seconds after the start.
    eventually("the first sample", PATIENCE, || {
        let answer = lab.get("http://127.0.0.1:9090/api/v1/query?query=portscan_hits_total")?;
        answer.contains("\"value\"").then_some(())
    });
    [alertmanager, prometheus]
}

/// A scan of 1000 ports, from the first packet to the alert that is resolved again.
fn from_packet_to_pager(lab: &Lab, scan: &[&str], source: &str) {
    let exporter = lab.exporter(&["--publish.hold=15s"]);
    let webhook = Webhook::listen();
    let _monitoring = monitoring(lab);
    let of_source = format!("source=\"{source}\"");

    let last_probe = lab.nmap(scan);
    eventually("a peak of 1000 ports", PATIENCE, || {
        exporter
            .value(
                "portscan_source_peak_distinct_ports",
                &[&of_source, "interface=\"eth0\"", "window=\"10s\""],
            )
            .filter(|peak| *peak == 1000.0)
    });
    let published = micros(clock::wall()) - micros(last_probe);
    println!("end of nmap to the peak on /metrics: {} ms", published / 1000);
    // One tick, and what a busy machine takes to answer.
    assert!(published < 2_000_000, "the peak came {published} us after the last probe");
    assert_eq!(exporter.value("portscan_hits_total", &[]), Some(1.0));
    assert_eq!(exporter.value("portscan_hits_total", &["kind=\"vertical\"", "window=\"10s\""]), Some(1.0));
    assert_eq!(exporter.value("portscan_open_scans", &["kind=\"vertical\""]), Some(1.0));

    let matches = [&*format!("PORTSCAN_SOURCE={source}"), "PORTSCAN_EVENT=hit"];
    let records = eventually("the hit in the journal", PATIENCE, || {
        Some(journal(&matches)).filter(|records| !records.is_empty())
    });
    assert_eq!(records.len(), 1, "{records:?}");
    let hit = &records[0];
    assert!(written(hit) < micros(last_probe) + 1_000_000, "the hit was written after {} us", written(hit));
    for (field, value) in [
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "portscan_exporter"),
        ("PORTSCAN_PORTS", "20"),
        ("PORTSCAN_KIND", "vertical"),
        ("PORTSCAN_TECHNIQUE", "syn"),
        ("PORTSCAN_INTERFACE", "eth0"),
        ("PORTSCAN_WINDOW_SECONDS", "10"),
    ] {
        assert_eq!(hit[field], value, "{field}");
    }
    println!("{}", hit["MESSAGE"].as_str().unwrap());

    let fired = eventually("the alert", PATIENCE, || webhook.alert("PortScanDetected", source, "firing"));
    assert_eq!(fired["labels"]["interface"], "eth0");
    println!("{}", fired["annotations"]["description"].as_str().unwrap());
    eventually("the alert to resolve after the hold", PATIENCE, || {
        webhook.alert("PortScanDetected", source, "resolved")
    });
    assert_eq!(exporter.value("portscan_source_peak_distinct_ports", &[&of_source]), None);
    assert_eq!(exporter.value("portscan_hits_total", &[]), Some(1.0), "the same scan was counted again");

    // The scan is still open (quiet for less than a minute): the end of the program is the end of its report.
    ends_well(exporter);
    let matches = [&*format!("PORTSCAN_SOURCE={source}"), "PORTSCAN_EVENT=ended"];
    let ended = eventually("the end in the journal", PATIENCE, || journal(&matches).pop());
    assert_eq!(ended["PORTSCAN_SCAN"], hit["PORTSCAN_SCAN"]);
    assert_eq!(ended["PORTSCAN_PORTS"], "1000");
    // Who scanned, and which ports: one command. Here the exporter is no unit.
    let told = Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
        .args(["scans", "--unit=", "--source", source])
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    print!("{told}");
    assert!(
        told.contains(source) && told.contains(" 1000 ") && told.contains("\n1 scan by 1 source since "),
        "{told}"
    );
}

#[test]
fn a_scan_travels_from_packet_to_pager() {
    in_room("a_scan_travels_from_packet_to_pager", |lab| {
        from_packet_to_pager(lab, &["-sS", "-p1-1000", WATCHED], "198.51.100.7");
    });
}

#[test]
fn an_ipv6_scan_travels_from_packet_to_pager() {
    in_room("an_ipv6_scan_travels_from_packet_to_pager", |lab| {
        from_packet_to_pager(lab, &["-6", "-sS", "-p1-1000", WATCHED_V6], "2001:db8:51::/64");
    });
}

/// The ancestor reported the server here: it counted SYN-ACKs.
#[test]
fn a_host_that_makes_a_thousand_connections_is_not_scanned_by_its_server() {
    in_room("a_host_that_makes_a_thousand_connections_is_not_scanned_by_its_server", |lab| {
        let exporter = lab.exporter(&["--publish.min-ports=2"]);
        let _server = lab.serving("srv", &["serve-closing", "7001"]);
        let status = lab.actor("t", &["connect", "192.0.2.20", "7001", "1000"]).status().unwrap();
        assert!(status.success());
        // A scan behind them, on the same wire: when it is seen, they have been.
        lab.nmap(&["-sS", "-p1-25", WATCHED]);
        exporter.wait_for("portscan_source_peak_distinct_ports", &["source=\"198.51.100.7\""], 25.0);
        assert_eq!(exporter.value("portscan_hits_total", &[]), Some(1.0));
        assert_eq!(exporter.value("portscan_source_peak_distinct_ports", &["source=\"192.0.2.20\""]), None);
        assert_eq!(journal(&["PORTSCAN_SOURCE=192.0.2.20"]), Vec::<Value>::new());
        ends_well(exporter);
    });
}

#[test]
fn a_quiet_interface_ticks_and_ends_in_time() {
    in_room("a_quiet_interface_ticks_and_ends_in_time", |lab| {
        let exporter = lab.exporter(&[]);
        // Healthy is who ticked within the last ten seconds.
        let start = clock::steady();
        while start.elapsed() < Duration::from_secs(13) {
            assert!(lab.get("http://127.0.0.1:10220/-/healthy").is_some(), "{}", journal_text());
            thread::sleep(Duration::from_millis(250));
        }
        assert_eq!(exporter.value("portscan_probes_total", &[]), Some(0.0));
        assert_eq!(exporter.value("portscan_capture_up", &["interface=\"eth0\""]), Some(1.0));
        ends_well(exporter);
    });
}

#[test]
fn an_interface_deleted_and_made_again_is_captured_again() {
    in_room("an_interface_deleted_and_made_again_is_captured_again", |lab| {
        let exporter = lab.exporter(&[]);
        lab.nmap(&["-sS", "-p1-30", WATCHED]);
        exporter.wait_for("portscan_hits_total", &[], 1.0);
        let before = exporter.value("portscan_packets_total", &["interface=\"eth0\""]).unwrap();

        lab.netlab("unplug");
        exporter.wait_for("portscan_capture_up", &["interface=\"eth0\""], 0.0);
        lab.netlab("plug");
        exporter.wait_for("portscan_capture_up", &["interface=\"eth0\""], 1.0);

        // Another host, since the first one's scan is still open.
        lab.run("s2", "nmap", &["-n", "-Pn", "-T4", "-sS", "-p1-40", WATCHED]);
        exporter.wait_for("portscan_source_peak_distinct_ports", &["source=\"198.51.100.8\""], 40.0);
        assert_eq!(exporter.value("portscan_hits_total", &[]), Some(2.0));
        assert_eq!(journal(&["PORTSCAN_SOURCE=198.51.100.8", "PORTSCAN_EVENT=hit"]).len(), 1);
        let after = exporter.value("portscan_packets_total", &["interface=\"eth0\""]).unwrap();
        assert!(after >= before + 40.0, "counters fell or stood still: {before}, then {after}");
        ends_well(exporter);
    });
}

/// An operator asks why there is, or is no, alert: below the threshold, ignored, published, the host itself, unknown. With two
/// threads each answers for its share.
#[test]
fn explain_says_why_there_is_no_alert() {
    in_room("explain_says_why_there_is_no_alert", |lab| {
        let file = lab.directory.path().join("config.yml");
        std::fs::write(&file, "ignore:\n  sources: [198.51.100.8]\n  ports: [22, 80-82]\n").unwrap();
        let config = format!("--config.file={}", file.display());
        let explain = |address: &str, flags: &[&str]| {
            let words = [&["explain", address, "--web.listen-address=127.0.0.1:10220"], flags].concat();
            let output = lab.run("t", env!("CARGO_BIN_EXE_portscan_exporter"), &words);
            String::from_utf8(output.stdout).unwrap()
        };
        let expect = |address: &str, why: &str| {
            // What nmap sent is counted at the latest at the tick after the next.
            eventually(why, PATIENCE, || explain(address, &[]).contains(why).then_some(()));
        };
        for threads in ["1", "2"] {
            let exporter =
                lab.exporter(&[&config, &format!("--capture.threads={threads}"), "--detection.memory=16MiB"]);
            lab.nmap(&["-sS", "-p1-10,22,80-82", WATCHED]);
            expect("198.51.100.7", "no alert: it probed 10 ports at most, and 20 within 10s are a scan");
            lab.run("s2", "nmap", &["-n", "-Pn", "-T4", "-sS", "-p1-30", WATCHED]);
            expect("198.51.100.8", "no alert: its probes do not count, 198.51.100.8 is in ignore.sources");
            expect("192.0.2.99", "no alert: it is not tracked");
            expect(
                WATCHED,
                "no alert: it is the host's own address, which nothing that comes in can really have",
            );
            lab.nmap(&["-sS", "-p100-130", WATCHED]);
            expect("198.51.100.7", "PortScanDetected (warning) fires: it probed ");
            println!("{}", explain("198.51.100.7", &[]));

            let answer: Value = serde_json::from_str(&explain("198.51.100.7", &["--format=json"])).unwrap();
            let known = &answer["interfaces"][0]["known"];
            let of_source = ["source=\"198.51.100.7\""];
            let peak = exporter.value("portscan_source_peak_distinct_ports", &of_source);
            assert_eq!(known["peak_distinct_ports"].as_f64(), peak, "what the series say: {answer}");
            assert_eq!((&known["tracked"], &known["open_scan"]), (&"table".into(), &true.into()));
            assert_eq!((&known["published"], &known["severity"]), (&true.into(), &"warning".into()));
            assert_eq!(known["ignored_port_ranges"], serde_json::json!(["22", "80-82"]));
            ends_well(exporter);
        }
    });
}
