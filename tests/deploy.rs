//! What is in deploy/, judged by the programs that read it.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

use lab::{Ended, PATIENCE, eventually};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

fn deploy(file: &str) -> String {
    format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// What the command says, on both streams; it must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) => panic!("this test needs {program}: {error}"),
    };
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// The unit, with the built binary in the place of the installed one.
fn with_unit(judge: impl FnOnce(&Path)) {
    let unit = std::fs::read_to_string(deploy("portscan_exporter.service")).unwrap();
    let installed = "/usr/local/bin/portscan_exporter";
    assert!(unit.contains(installed));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portscan_exporter.service");
    std::fs::write(&path, unit.replace(installed, env!("CARGO_BIN_EXE_portscan_exporter"))).unwrap();
    judge(&path);
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    with_unit(|unit| {
        let said = run("systemd-analyze", &["verify", "--man=no", unit.to_str().unwrap()]);
        // It loads what the unit depends on as well, and may have opinions on those.
        let ours: Vec<_> = said.lines().filter(|line| line.contains("portscan_exporter")).collect();
        assert!(ours.is_empty(), "{ours:#?}");
    });
}

#[test]
fn the_socket_is_on_the_port_of_the_exporter() {
    let socket = std::fs::read_to_string(deploy("portscan_exporter.socket")).unwrap();
    assert!(socket.contains("\nListenStream=10220\n"), "{socket}");
    with_unit(|unit| {
        let beside = unit.with_extension("socket");
        std::fs::write(&beside, &socket).unwrap();
        let said = run("systemd-analyze", &["verify", "--man=no", beside.to_str().unwrap()]);
        assert!(!said.contains("portscan_exporter"), "{said}");
    });
}

#[test]
fn the_unit_exposes_little() {
    // Of the file alone, 1.9 of 10 by systemd 252, which gives it the clock's device; tests/systemd.rs asks for the unit as it
    // runs. What is left is the network it is there to read.
    with_unit(|unit| {
        drop(run(
            "systemd-analyze",
            &["security", "--no-pager", "--offline=true", "--threshold=19", unit.to_str().unwrap()],
        ));
    });
}

#[test]
fn the_flags_shown_for_the_unit_are_flags() {
    let shown = std::fs::read_to_string(deploy("portscan_exporter.default")).unwrap();
    let flags = shown.lines().find_map(|line| line.strip_prefix("#ARGS=")).unwrap();
    let mut flags: Vec<_> = flags.split(' ').filter(|flag| !flag.starts_with("--config.file")).collect();
    flags.push("--config.check");
    run(env!("CARGO_BIN_EXE_portscan_exporter"), &flags);
}

#[test]
fn prometheus_accepts_its_configuration() {
    let said = run("promtool", &["check", "config", &deploy("prometheus.yml")]);
    assert!(said.contains("SUCCESS"), "{said}");
}

/// The receiver of an alert with these labels.
fn receiver(labels: &str) -> String {
    let file = deploy("alertmanager/alertmanager.yml");
    let route = ["config", "routes", "test", "--config.file", &file];
    let labels: Vec<_> = labels.split(' ').collect();
    // A warning about a default address stands on standard error, beside the answer.
    run("amtool", &[&route[..], &labels].concat()).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn alertmanager_accepts_its_configuration_and_routes_every_alert() {
    assert!(run("amtool", &["check-config", &deploy("alertmanager/alertmanager.yml")]).contains("SUCCESS"));
    for (labels, expected) in [
        ("alertname=PortScanDetected severity=warning source=198.51.100.7", "scans"),
        ("alertname=PortScanDetected severity=critical source=198.51.100.7", "wide-scans"),
        ("alertname=PortScanFleet severity=warning source=198.51.100.7", "scans"),
        ("alertname=PortScanFleet severity=critical source=198.51.100.7", "wide-scans"),
        ("alertname=PortScanSweep severity=warning source=198.51.100.7", "scans"),
        ("alertname=PortScanFleetSweep severity=warning source=198.51.100.7", "scans"),
        ("alertname=PortScanFleetSweep severity=warning source=203.0.113.191", "nobody"),
        ("alertname=PortScanFleetSampleDiffers severity=warning", "health"),
        ("alertname=PortScanStorm severity=critical", "scans"),
        ("alertname=PortScanDistributed severity=warning", "scans"),
        ("alertname=PortScanUnexplained severity=warning", "scans"),
        ("alertname=PortScanSourcesSuppressed severity=warning", "scans"),
        ("alertname=PortScanExporterDown severity=critical", "health"),
        ("alertname=PortScanTableUnderPressure severity=warning", "health"),
        ("alertname=PortScanClockStepped severity=info", "nobody"),
        // One's own scanner, which a time interval mutes, and a network nobody wants to read of: .128 to .191.
        ("alertname=PortScanDetected severity=critical source=203.0.113.53", "scans"),
        ("alertname=PortScanDetected severity=critical source=203.0.113.127", "wide-scans"),
        ("alertname=PortScanDetected severity=critical source=203.0.113.128", "nobody"),
        ("alertname=PortScanFleet severity=warning source=203.0.113.191", "nobody"),
        ("alertname=PortScanDetected severity=warning source=203.0.113.192", "scans"),
        ("alertname=NodeDown severity=critical", "mail"),
    ] {
        assert_eq!(receiver(labels), expected, "{labels}");
    }
}

#[test]
fn alertmanager_speaks_of_alerts_that_exist() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts/portscan.rules.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let config = std::fs::read_to_string(deploy("alertmanager/alertmanager.yml")).unwrap();
    let mut named = 0;
    for pattern in config.split("alertname ").skip(1).map(|rest| rest.split('"').nth(1).unwrap()) {
        let names = match pattern.strip_suffix(')').and_then(|pattern| pattern.split_once('(')) {
            Some((start, ends)) => ends.split('|').map(|end| format!("{start}{end}")).collect(),
            None if pattern == "PortScan.*" => continue,
            None => vec![pattern.to_owned()],
        };
        for name in names {
            named += 1;
            assert!(rules.contains(&format!("- alert: {name}\n")), "no alert is called {name}");
        }
    }
    assert!(named > 10, "does this test still read the configuration?");
}

/// What building says to those who miss something; with a program in the place of cargo, and nothing to install with.
fn build_needs(cargo: &str) -> (i32, String) {
    let output = Command::new(deploy("build-needs.sh")).env("CARGO", cargo).output().unwrap();
    assert!(output.stdout.is_empty(), "{output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn building_says_what_it_misses_before_it_begins() {
    use std::os::unix::fs::PermissionsExt as _;
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let directory = tempfile::tempdir().unwrap();
    let cargo = directory.path().join("cargo");
    let cargo = cargo.to_str().unwrap();
    let (code, said) = build_needs(cargo);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("Rust {wanted} or newer, and there is no {cargo} here")), "{said}");
    // As Debian 12's, the last one that is too old, the first that is not, and one whose digits are less as text.
    for (version, is_enough) in
        [("1.65.0", false), ("1.94.2", false), ("1.95.0", true), ("1.95.0-nightly", true), ("1.100.0", true)]
    {
        std::fs::write(cargo, format!("#!/bin/sh\necho 'cargo {version} (0 2026-01-01)'\n")).unwrap();
        std::fs::set_permissions(cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (code, said) = build_needs(cargo);
        assert_eq!(code, i32::from(!is_enough), "{version}: {said}");
        let mention = said.contains(&format!("is {version}"));
        assert!(mention != is_enough && said.contains("sh.rustup.rs") != is_enough, "{version}: {said}");
    }
}

#[test]
fn the_webhook_prints_what_alertmanager_posts_and_refuses_the_rest() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut webhook = Ended(
        Command::new("python3")
            .args([&deploy("response/webhook.py"), &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(webhook.0.stdout.take().unwrap()).lines();
    let post = |length: usize, body: &str| {
        let mut connection =
            eventually("the webhook", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
        write!(connection, "POST / HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(post(1 << 30, ""), "413");
    assert_eq!(post(2, "{}"), "400");
    let body = r#"{"alerts": [{"status": "firing", "labels": {"alertname": "PortScanDetected", "severity": "critical",
        "source": "198.51.100.7", "instance": "web1:10220"}}]}"#;
    assert_eq!(post(body.len(), body), "200");
    assert_eq!(lines.next().unwrap().unwrap(), "firing PortScanDetected critical 198.51.100.7 web1:10220");
    let body = r#"{"alerts": [{"status": "firing", "labels": {"alertname": "PortScanDistributed", "severity": "warning",
        "instance": "web1:10220"}}]}"#;
    assert_eq!(post(body.len(), body), "200");
    assert_eq!(lines.next().unwrap().unwrap(), "firing PortScanDistributed warning many web1:10220");
}
