//! What is for Kubernetes, rendered by kubectl and helm and judged by the schemas; no cluster is asked. `make test` installs the
//! tools (tests/kubernetes/tools.sh).
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

use std::fs;
use std::process::Command;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_manifests_and_the_chart_are_of_their_schemas_and_alike() {
    let python = format!("{HERE}/target/tools/bin/python");
    assert!(fs::exists(&python).unwrap(), "this test needs what tests/kubernetes/tools.sh installs");
    let output = Command::new(python)
        .args([&format!("{HERE}/tests/kubernetes/check.py"), env!("CARGO_BIN_EXE_portscan_exporter")])
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_operators_rules_are_those_of_the_file() {
    let read = |file: &str| fs::read_to_string(format!("{HERE}/{file}")).unwrap();
    let rules = read("alerts/portscan.rules.yml");
    let rules = &rules[rules.find("\ngroups:").unwrap() + 1..];
    let made = read("deploy/kubernetes/prometheusrule.yaml");
    let made: Vec<&str> = made.split_once("\nspec:\n").unwrap().1.lines().collect();
    let expected: Vec<String> =
        rules.lines().map(|line| if line.is_empty() { String::new() } else { format!("  {line}") }).collect();
    assert!(made == expected, "they differ: run deploy/kubernetes/generate.sh");
}
