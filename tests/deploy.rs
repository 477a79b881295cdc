//! What is in deploy/, judged by the programs that read it.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

use std::path::Path;
use std::process::Command;

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
fn the_unit_exposes_little() {
    // 1.8 of 10 when this was written; what is left is the network it is there to read.
    with_unit(|unit| {
        drop(run(
            "systemd-analyze",
            &["security", "--no-pager", "--offline=true", "--threshold=20", unit.to_str().unwrap()],
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

#[test]
fn alertmanager_accepts_its_configuration_and_routes_a_scan() {
    let file = deploy("alertmanager.yml");
    assert!(run("amtool", &["check-config", &file]).contains("SUCCESS"));
    let receivers = |labels: &[&str]| {
        let route = ["config", "routes", "test", "--config.file", &file];
        run("amtool", &[&route[..], labels].concat()).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(receivers(&["alertname=PortScanDetected", "severity=warning"]), "mail");
    assert_eq!(receivers(&["alertname=PortScanDetected", "severity=critical"]), "pager,mail");
}

#[test]
fn alertmanager_speaks_of_alerts_that_exist() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts/portscan.rules.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let config = std::fs::read_to_string(deploy("alertmanager.yml")).unwrap();
    let named: Vec<_> =
        config.split("alertname = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(!named.is_empty());
    for name in named {
        assert!(rules.contains(&format!("- alert: {name}\n")), "no alert is called {name}");
    }
}
