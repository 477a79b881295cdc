//! The alerting rules: promtool finds them sound, each is proven to fire and to be silent, and the proofs can fail.

mod contract;

use contract::{assert_within, promtool};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const RULES: &str = include_str!("../alerts/portscan.rules.yml");
const TESTS: &str = include_str!("../alerts/portscan.test.yml");

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

/// What runs the shipped unit tests against other rules.
fn unit_tests(rules: &str) -> (bool, String) {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("portscan.rules.yml"), rules).expect("a file");
    fs::write(directory.path().join("portscan.test.yml"), TESTS).expect("a file");
    promtool(&["test", "rules", "portscan.test.yml"], directory.path())
}

fn rules(file: &Value) -> Vec<&Value> {
    let groups = file["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect()
}

fn names(file: &Value, key: &str) -> Vec<String> {
    rules(file).iter().filter_map(|rule| rule[key].as_str()).map(str::to_owned).collect()
}

/// The rules with the expression of some of them replaced, as JSON, which is YAML.
fn with_expression(key: &str, chosen: impl Fn(&str) -> bool, expression: &str) -> String {
    let mut file = yaml(RULES);
    for group in file["groups"].as_array_mut().expect("groups") {
        for rule in group["rules"].as_array_mut().expect("rules") {
            if rule[key].as_str().is_some_and(&chosen) {
                rule["expr"] = json!(expression);
            }
        }
    }
    file.to_string()
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
    for words in [["check", "rules", "portscan.rules.yml"], ["test", "rules", "portscan.test.yml"]] {
        let (fine, said) = promtool(&words, &directory);
        assert!(fine, "promtool {words:?}: {said}");
    }
}

#[test]
fn the_rules_name_only_metrics_of_the_contract() {
    let file = yaml(RULES);
    let recorded = names(&file, "record");
    for rule in rules(&file) {
        assert_within(rule["expr"].as_str().expect("an expression"), &recorded);
    }
    for name in recorded {
        assert_eq!(name.split(':').count(), 3, "{name} is not level:metric:operation");
    }
}

#[test]
fn every_alert_says_how_bad_where_and_what() {
    let file = yaml(RULES);
    for rule in rules(&file).into_iter().filter(|rule| rule["alert"].is_string()) {
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("info" | "warning" | "critical")), "{rule}");
        for part in ["summary", "description"] {
            let text = rule["annotations"][part].as_str().unwrap_or_else(|| panic!("no {part}: {rule}"));
            assert!(text.contains("$labels.instance"), "{part} does not say where: {rule}");
        }
    }
}

#[test]
fn every_alert_is_tested_firing_and_silent() {
    let tests = yaml(TESTS);
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_array().unwrap() {
        for case in test["alert_rule_test"].as_array().into_iter().flatten() {
            let name = case["alertname"].as_str().expect("an alert's name").to_owned();
            let expected = case["exp_alerts"].as_array().expect("the alerts expected");
            if expected.is_empty() { &mut silent } else { &mut firing }.insert(name);
        }
    }
    let alerts: BTreeSet<_> = names(&yaml(RULES), "alert").into_iter().collect();
    assert_eq!(firing, alerts);
    assert_eq!(silent, alerts);
}

#[test]
fn a_wrong_threshold_fails_the_tests() {
    assert_eq!(RULES.matches(">= 20\n").count(), 1, "the rule is written once");
    for wrong in [">= 2000\n", ">= 21\n", ">= 19\n", "> 20\n"] {
        let (fine, said) = unit_tests(&RULES.replace(">= 20\n", wrong));
        assert!(!fine && said.contains("PortScanDetected"), "{wrong}: {said}");
    }
}

#[test]
fn an_alert_that_never_or_always_fires_fails_the_tests() {
    assert!(unit_tests(&yaml(RULES).to_string()).0, "as JSON the rules are the same");
    for expression in ["vector(1) > 1", "vector(1)"] {
        let (fine, said) = unit_tests(&with_expression("alert", |_| true, expression));
        assert!(!fine);
        for alert in names(&yaml(RULES), "alert") {
            assert!(said.contains(&format!("alertname: {alert}, ")), "{alert} with {expression}: {said}");
        }
    }
}

#[test]
fn a_record_that_is_missing_fails_the_tests() {
    for record in names(&yaml(RULES), "record") {
        let (fine, said) = unit_tests(&with_expression("record", |name| name == record, "vector(1) > 1"));
        assert!(!fine, "{record}: {said}");
    }
}

#[test]
fn flapping_fails_the_tests() {
    let (fine, said) = unit_tests(&RULES.replace("        keep_firing_for: 2m\n", ""));
    assert!(!fine && said.contains("ALERTS"), "{said}");
}
