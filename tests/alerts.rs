//! The alerting rules: promtool finds them sound, each is proven to fire and to be silent, and the proofs can fail.

#[path = "support/snapshot.rs"]
mod support;

use lab::contract::{assert_within, promtool};
use portscan_exporter::detect::{
    Alerts, ByRule, Detector, Kind, Limits, Name, Names, Origin, Policy, PublishedSource, Source, Subject,
    Tracked,
};
use portscan_exporter::packet::Timestamp;
use portscan_exporter::publish::explain::{Answer, Reply};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const RULES: &str = include_str!("../alerts/portscan.rules.yml");
const TESTS: [(&str, &str); 2] = [
    ("scans.test.yml", include_str!("alerts/scans.test.yml")),
    ("health.test.yml", include_str!("alerts/health.test.yml")),
];
const RUNBOOKS: &str = "file:///usr/share/doc/portscan_exporter/runbooks/";

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

/// Where the folder is that an operator copies.
fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/alerts"))
}

/// Runs unit tests against these rules.
fn unit_tests(files: &[(&str, &str)], rules: &str) -> (bool, String) {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("portscan.rules.yml"), rules).expect("a file");
    let mut words = vec!["test", "rules"];
    for (name, tests) in files {
        let tests = tests.replace("../../alerts/", "");
        fs::write(directory.path().join(name), tests).expect("a file");
        words.push(name);
    }
    promtool(&words, directory.path())
}

/// The rules that differ from ours, with every rule that reads them.
fn changed(mutated: &str) -> BTreeSet<String> {
    let (ours, mutated) = (yaml(RULES), yaml(mutated));
    let pairs = || rules(&ours).into_iter().zip(rules(&mutated));
    let mut names: BTreeSet<_> =
        pairs().filter(|(ours, mutated)| ours != mutated).map(|(rule, _)| name(rule).to_owned()).collect();
    loop {
        let reads = |rule: &Value| names.iter().any(|name| mentions(expression(rule), name));
        let readers: BTreeSet<_> =
            pairs().filter(|(rule, _)| reads(rule)).map(|(rule, _)| name(rule).to_owned()).collect();
        if readers.is_subset(&names) {
            return names;
        }
        names.extend(readers);
    }
}

/// These rules and what they read: to evaluate all of them for each fault took minutes.
fn only_rules(file: &str, names: &BTreeSet<String>) -> String {
    let mut file = yaml(file);
    let mut kept = names.clone();
    loop {
        let read: Vec<_> = rules(&file)
            .into_iter()
            .filter(|rule| kept.iter().any(|name| *name == self::name(rule)))
            .flat_map(|reader| {
                let records = rules(&file).into_iter().filter_map(|rule| rule["record"].as_str());
                records.filter(|record| mentions(expression(reader), record)).collect::<Vec<_>>()
            })
            .map(str::to_owned)
            .collect();
        if read.iter().all(|name| kept.contains(name)) {
            break;
        }
        kept.extend(read);
    }
    for group in file["groups"].as_array_mut().expect("groups") {
        group["rules"].as_array_mut().expect("rules").retain(|rule| kept.contains(name(rule)));
    }
    file.to_string()
}

/// What the unit tests expect of these rules, and of others with them.
fn only_tests(file: &str, names: &BTreeSet<String>) -> String {
    let mut file = yaml(file);
    let tests = file["tests"].as_array_mut().expect("tests");
    for test in &mut *tests {
        for (kind, key) in [("alert_rule_test", "alertname"), ("promql_expr_test", "expr")] {
            if let Some(cases) = test[kind].as_array_mut() {
                let text = |case: &Value| case[key].as_str().expect("a name or an expression").to_owned();
                cases.retain(|case| names.iter().any(|name| mentions(&text(case), name)));
            }
        }
    }
    let empty = |cases: &Value| cases.as_array().is_none_or(Vec::is_empty);
    tests.retain(|test| !empty(&test["alert_rule_test"]) || !empty(&test["promql_expr_test"]));
    assert!(!tests.is_empty(), "no test names any of {names:?}");
    file.to_string()
}

/// The unit tests of a file find a fault in each of these: those that are concerned pass with ours and fail with it.
fn assert_each_fails((file, tests): (&str, &str), mutations: &[(String, String)]) {
    let mut pass = BTreeSet::new();
    for (fault, mutated) in mutations {
        let names = changed(mutated);
        let tests = only_tests(tests, &names);
        let asked = self::names(&yaml(RULES), "alert").into_iter().filter(|alert| mentions(&tests, alert));
        let kept = names.iter().cloned().chain(asked).collect();
        let (fine, said) = unit_tests(&[(file, &tests)], &only_rules(mutated, &kept));
        assert!(!fine && said.contains("FAILED"), "{fault} passes the tests: {said}");
        if !pass.contains(&names) {
            let (fine, said) = unit_tests(&[(file, &tests)], &only_rules(RULES, &kept));
            assert!(fine, "{names:?} as they are: {said}");
            pass.insert(names);
        }
    }
}

/// As a whole word: `PortScanFleetSweep` does not mention `PortScanFleet`.
fn mentions(text: &str, name: &str) -> bool {
    let goes_on = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || "_:".contains(c));
    text.match_indices(name).any(|(at, _)| {
        !goes_on(text[..at].chars().next_back()) && !goes_on(text[at + name.len()..].chars().next())
    })
}

fn name(rule: &Value) -> &str {
    rule["record"].as_str().or(rule["alert"].as_str()).expect("a name")
}

fn expression(rule: &Value) -> &str {
    rule["expr"].as_str().expect("an expression")
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
    let (fine, said) = promtool(&["check", "rules", "portscan.rules.yml"], folder());
    assert!(fine, "promtool check rules: {said}");
    let (fine, said) = unit_tests(&TESTS, RULES);
    assert!(fine, "promtool test rules: {said}");
}

/// Operators copy the folder to where `rule_files` looks. A file there that holds no rules keeps Prometheus from starting.
#[test]
fn the_folder_can_be_copied_whole_into_rule_files() {
    let directory = TempDir::new().expect("a directory");
    let copied = std::process::Command::new("cp").arg("-r").arg(folder()).arg(directory.path()).status();
    assert!(copied.expect("cp").success());
    let config = "rule_files: ['alerts/*.yml', 'alerts/*.yaml', 'alerts/*.rules', 'alerts/*.json']";
    fs::write(directory.path().join("prometheus.yml"), config).expect("a file");
    let (fine, said) = promtool(&["check", "config", "prometheus.yml"], directory.path());
    assert!(fine && said.contains("1 rule files found"), "{said}");
    // The same check finds what must not lie there.
    fs::write(directory.path().join("alerts/portscan.test.yml"), TESTS[0].1).expect("a file");
    assert!(!promtool(&["check", "config", "prometheus.yml"], directory.path()).0);
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
fn their_tests_name_only_series_that_there_can_be() {
    let recorded = names(&yaml(RULES), "record");
    for (_, tests) in TESTS {
        for test in yaml(tests)["tests"].as_array().expect("tests") {
            for series in test["input_series"].as_array().expect("series") {
                assert_within(series["series"].as_str().expect("a series"), &recorded);
            }
        }
    }
}

/// What was renamed in the code must not live on in a rule, a dashboard or a simulated exporter.
#[test]
fn a_metric_a_label_or_a_reason_that_there_is_not_is_found_out() {
    for (right, wrong) in [
        ("portscan_capture_up == 0", "portscan_capturing == 0"),
        ("portscan_hits_total{interface=\"eth0\"}", "portscan_hits_total{device=\"eth0\"}"),
        (
            "portscan_sources_evicted_total{reason=~\"evidence|scan\"}",
            "portscan_sources_evicted_total{reason=~\"proof|scan\"}",
        ),
    ] {
        assert_within(right, &[]);
        let refused = std::panic::catch_unwind(|| assert_within(wrong, &[]));
        assert!(refused.is_err(), "{wrong} passes");
    }
}

#[test]
fn every_alert_says_how_bad_where_what_and_what_to_do() {
    let file = yaml(RULES);
    let mut runbooks = BTreeSet::new();
    for rule in rules(&file).into_iter().filter(|rule| rule["alert"].is_string()) {
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("info" | "warning" | "critical")), "{rule}");
        let alert = rule["alert"].as_str().expect("a name");
        for part in ["summary", "description"] {
            let text = rule["annotations"][part].as_str().unwrap_or_else(|| panic!("no {part}: {rule}"));
            let says_where = text.contains("$labels.instance") || text.contains("$labels.job");
            assert!(says_where || alert == "PortScanExporterAbsent", "{part} does not say where: {rule}");
            // Any local user can write a record that calls itself ours; the unit's name is the system's to give.
            assert!(!text.contains("journalctl -t"), "{part} looks by identifier: {rule}");
        }
        assert_eq!(rule["annotations"]["runbook_url"], format!("{RUNBOOKS}{alert}.md"));
        runbooks.insert(alert.to_owned());
    }
    let found: BTreeSet<_> = fs::read_dir(folder().join("runbooks"))
        .expect("runbooks")
        .map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"))
        .map(|name| name.strip_suffix(".md").expect("a .md").to_owned())
        .collect();
    assert_eq!(found, runbooks, "one runbook for each alert");
}

#[test]
fn every_runbook_says_what_to_check_to_do_and_how_to_silence() {
    for alert in names(&yaml(RULES), "alert") {
        let text = fs::read_to_string(folder().join(format!("runbooks/{alert}.md"))).expect("a runbook");
        let headings: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(headings[0], format!("# {alert}"));
        assert_eq!(headings[1..], ["## Meaning", "## Check", "## Do", "## Silence"], "{alert}");
        assert!(text.contains(&format!("amtool silence add alertname={alert}")), "{alert}");
        // What it asks Prometheus names metrics that there are.
        for query in text.split("```promql\n").skip(1) {
            let query = query.split("```").next().expect("a block ends");
            query.lines().for_each(|line| assert_within(line, &names(&yaml(RULES), "record")));
        }
    }
}

#[test]
fn the_rules_are_for_this_version() {
    let [major, minor] = [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR")];
    assert!(RULES.contains(&format!("version!~\"{major}[.]{minor}[.].*\"")));
    assert!(RULES.contains(&format!("for portscan_exporter {major}.{minor}, and")));
}

/// `1m30s` in seconds.
fn seconds(duration: &str) -> u32 {
    let (mut sum, mut digits) = (0, 0);
    for c in duration.chars() {
        match c.to_digit(10) {
            Some(digit) => digits = 10 * digits + digit,
            None => {
                sum += digits
                    * [('s', 1), ('m', 60), ('h', 3600)]
                        .iter()
                        .find(|(unit, _)| *unit == c)
                        .expect("a unit")
                        .1;
                digits = 0;
            }
        }
    }
    sum
}

#[test]
fn every_alert_is_tested_silent_firing_and_silent_again() {
    let mut tested = BTreeSet::new();
    for (_, tests) in TESTS {
        for test in yaml(tests)["tests"].as_array().expect("tests") {
            // At the longer scrape interval; that the same holds at the shorter one is tested below.
            if test["interval"] != "1m" {
                continue;
            }
            let cases: Vec<_> = test["alert_rule_test"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|case| {
                    let name = case["alertname"].as_str().expect("an alert's name");
                    let at = seconds(case["eval_time"].as_str().expect("a time"));
                    (name, at, case["exp_alerts"].as_array().expect("the alerts expected").is_empty())
                })
                .collect();
            for &(name, fires, _) in cases.iter().filter(|(.., silent)| !silent) {
                let silent = |when: &dyn Fn(u32) -> bool| {
                    cases.iter().any(|&(of, at, silent)| of == name && silent && when(at))
                };
                if silent(&|at| at < fires) && silent(&|at| at > fires) {
                    tested.insert(name.to_owned());
                }
            }
        }
    }
    let alerts: BTreeSet<_> = names(&yaml(RULES), "alert").into_iter().collect();
    assert_eq!(tested, alerts);
}

/// The values of promtool's short forms: `0x3`, `0+60x30`, `_x2`, `stale`.
fn expand(values: &str) -> Vec<String> {
    let mut all = Vec::new();
    for word in values.split_whitespace() {
        let (first, times) = word.split_once('x').unwrap_or((word, "0"));
        let times: usize = times.parse().expect("how often");
        if first == "_" {
            all.extend(vec![first.to_owned(); times.max(1)]);
            continue;
        }
        let (start, step) = match first[1..].find(['+', '-']) {
            Some(at) => first.split_at(at + 1),
            None => (first, "0"),
        };
        let number = |text: &str| -> f64 { text.parse().expect("a number") };
        match first {
            "stale" => all.push(first.to_owned()),
            _ => all.extend((0..=times).map(|n| (number(start) + number(step) * n as f64).to_string())),
        }
    }
    all
}

/// The tests of one scrape a minute, at four scrapes a minute: what happens is the same, and so is what is expected.
fn at_fifteen_seconds(tests: &str) -> String {
    let mut file = yaml(tests);
    let tests = file["tests"].as_array_mut().expect("tests");
    tests.retain(|test| test["interval"] == "1m");
    assert!(tests.len() > 5, "does this still read the tests?");
    for test in tests {
        test["interval"] = json!("15s");
        for series in test["input_series"].as_array_mut().expect("series") {
            let values = expand(series["values"].as_str().expect("values"));
            let four: Vec<_> = values.iter().flat_map(|value| vec![value.as_str(); 4]).collect();
            series["values"] = json!(four.join(" "));
        }
    }
    file.to_string()
}

#[test]
fn the_same_fires_at_four_scrapes_a_minute_as_at_one() {
    assert_eq!(expand("0 1x2 5-2x1 _x2 stale"), ["0", "1", "1", "1", "5", "3", "_", "_", "stale"]);
    let faster = TESTS.map(|(name, tests)| (name, at_fifteen_seconds(tests)));
    let (fine, said) = unit_tests(&faster.each_ref().map(|(name, tests)| (*name, tests.as_str())), RULES);
    assert!(fine, "{said}");
}

#[test]
fn an_alert_that_never_or_always_fires_fails_the_tests() {
    // It is the same whenever one looks: four evaluations a minute would only take four times as long. And no record is read.
    let seldom = TESTS.map(|(name, tests)| {
        assert!(tests.contains("\nevaluation_interval: 15s\n"), "{name}");
        (name, tests.replace("\nevaluation_interval: 15s\n", "\nevaluation_interval: 1m\n"))
    });
    let seldom = seldom.each_ref().map(|(name, tests)| (*name, tests.as_str()));
    let alerts = names(&yaml(RULES), "alert").into_iter().collect();
    for expression in ["vector(1) > 1", "vector(1)"] {
        let rules = only_rules(&with_expression("alert", |_| true, expression), &alerts);
        let (fine, said) = unit_tests(&seldom, &rules);
        assert!(!fine);
        for alert in names(&yaml(RULES), "alert") {
            assert!(said.contains(&format!("alertname: {alert}, ")), "{alert} with {expression}: {said}");
        }
    }
}

#[test]
fn a_record_that_is_missing_fails_the_tests() {
    let file = yaml(RULES);
    let groups = file["groups"].as_array().expect("groups");
    for (group, tests) in groups.iter().zip(TESTS) {
        let records =
            group["rules"].as_array().expect("rules").iter().filter_map(|rule| rule["record"].as_str());
        let without = |record| with_expression("record", |name| name == record, "vector(1) > 1");
        let mutations: Vec<_> = records.map(|record| (record.to_owned(), without(record))).collect();
        assert_each_fails(tests, &mutations);
    }
}

fn assert_each_replaced_fails(file: (&str, &str), wrong: &[(&str, &str)]) {
    let mutations: Vec<_> = wrong
        .iter()
        .map(|(right, wrong)| (wrong.trim().to_owned(), RULES.replacen(right, wrong, 1)))
        .collect();
    assert_each_fails(file, &mutations);
}

/// What stands in the rules of scans, and what would be wrong.
#[test]
fn a_number_of_the_scan_rules_that_is_one_off_fails_the_tests() {
    assert_each_replaced_fails(
        TESTS[0],
        &[
            ("            )\n          ) > 10\n", "            )\n          ) > 9\n"),
            ("            )\n          ) > 10\n", "            )\n          ) > 11\n"),
            (
                "portscan_threshold_ports\n            or\n            portscan_source_peak_unanswered",
                "(portscan_threshold_ports + 1)\n            or\n            portscan_source_peak_unanswered",
            ),
            (
                "portscan_threshold_ports\n            or\n            portscan_source_peak_unanswered",
                "(portscan_threshold_ports - 1)\n            or\n            portscan_source_peak_unanswered",
            ),
            ("2 * portscan_source_answered_ports", "2.2 * portscan_source_answered_ports"),
            ("_per_host <= 2\n", "_per_host <= 3\n"),
            (
                "portscan_threshold_ports\n          unless",
                "(portscan_threshold_ports + 1)\n          unless",
            ),
            (
                "portscan_threshold_ports\n          unless",
                "(portscan_threshold_ports - 1)\n          unless",
            ),
            (
                "(10 * portscan_threshold_ports)\n          unless on (job, instance, interface, source, window)\n          instance",
                "(9.95 * portscan_threshold_ports)\n          unless on (job, instance, interface, source, window)\n          instance",
            ),
            (
                "(10 * portscan_threshold_ports)\n          unless on (job, instance, interface, source, window)\n          instance",
                "(10.05 * portscan_threshold_ports)\n          unless on (job, instance, interface, source, window)\n          instance",
            ),
            ("portscan_threshold_ports\n          and", "(portscan_threshold_ports + 300)\n          and"),
            ("(10 * portscan_threshold_ports)", "(9.95 * portscan_threshold_ports)"),
            ("(10 * portscan_threshold_ports)", "(10.05 * portscan_threshold_ports)"),
            ("(10 * max", "(10.01 * max"),
            (":count >= 3\n", ":count >= 4\n"),
            (":count >= 3\n", ":count >= 2\n"),
            (":count_hosts1h >= 25\n", ":count_hosts1h >= 26\n"),
            (":count_hosts1h >= 25\n", ":count_hosts1h >= 24\n"),
            ("portscan_fleet_sample_source[1h])))", "portscan_fleet_sample_source[30m])))"),
            ("portscan_fleet_sample_source[1h])))", "portscan_fleet_sample_source[2h])))"),
            ("group_left () (max by (job, window) (", "group_left () (1 + max by (job, window) ("),
            ("count[10m]", "count[1m]"),
            (" and portscan_published_sources_limit > 0", ""),
            ("        keep_firing_for: 2m\n", ""),
            ("        keep_firing_for: 10m\n", "        keep_firing_for: 2m\n"),
            ("process_start_time_seconds < 600", "process_start_time_seconds < 60000"),
            (
                "          < on (job, instance, interface, source) group_left ()",
                "          <= on (job, instance, interface, source) group_left ()",
            ),
            ("            10 * max by (job, instance", "            9.99 * max by (job, instance"),
            ("            10 * max by (job, instance", "            10.01 * max by (job, instance"),
            (
                "(max by (job, source) (portscan_source_alert",
                "(1 + max by (job, source) (portscan_source_alert",
            ),
            (
                "(max by (job, source) (portscan_source_alert",
                "(-1 + max by (job, source) (portscan_source_alert",
            ),
            (
                "(10 * max by (job, source) (portscan_source_alert",
                "(10.01 * max by (job, source) (portscan_source_alert",
            ),
            ("> 65536\n        keep", "> 65537\n        keep"),
            ("> 65536\n        keep", "> 99\n        keep"),
            (
                "              unless on (job, instance, interface, source, window)\n              instance_source:portscan_source_peak_distinct_ports:expected\n",
                "",
            ),
        ],
    );
}

/// What stands in the rules of health, and what would be wrong.
#[test]
fn a_number_of_the_health_rules_that_is_off_fails_the_tests() {
    assert_each_replaced_fails(
        TESTS[1],
        &[
            (" > 0.01\n", " > 0.001\n"),
            (" > 0.01\n", " > 0.1\n"),
            (" > 0.05\n", " > 0.03\n"),
            ("evidence|scan", "evidence|scan|doorkeeper"),
            ("evidence|scan", "evidence"),
            ("truncated|malformed", "malformed"),
            ("        for: 1m\n", ""),
            ("        for: 2m\n", "        for: 1m\n"),
            ("        for: 5m\n", "        for: 1m\n"),
            ("        for: 10m\n", ""),
            ("        for: 1h\n", ""),
            (" > 1\n        for: 30m\n", " > 2\n        for: 30m\n"),
            (" > 1\n        for: 30m\n", " > 1\n        for: 20m\n"),
            ("count_values by (job, key) (\"share\", portscan", "count by (job, key) (portscan"),
        ],
    );
}

/// A source as the alerts and `explain` see it.
struct Seen {
    source: Source,
    counts_hosts: bool,
    peak: u32,
    /// How many answered, how many did not, and the most of one host.
    replies: Option<(u32, u32, u32)>,
    alerts: Option<Alerts>,
}

impl Seen {
    /// Every combination of what the rules compare with the numbers around each.
    fn all() -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let mut put = |counts_hosts, peak, replies, alerts| {
            let source = Source::of(std::net::Ipv4Addr::from(0xc612_0000 + all.len() as u32).into(), 64);
            all.push(Self { source, counts_hosts, peak, replies, alerts });
        };
        for alerts in [None, Some(Alerts::From(20)), Some(Alerts::From(100)), Some(Alerts::Muted)] {
            for peak in [19, 20, 99, 100, 199, 200, 999, 1000, 65_536] {
                put(false, peak, None, alerts);
                for answered in [0, (peak - 1) / 2, peak.div_ceil(2), peak] {
                    for unanswered in [0, 19, 20, 199, 200].into_iter().filter(|ports| *ports <= peak) {
                        put(false, peak, Some((answered, unanswered, 2)), alerts);
                        put(false, peak, Some((answered, unanswered, 3)), alerts);
                    }
                }
            }
            [24, 25, 250].into_iter().for_each(|peak| put(true, peak, None, alerts));
        }
        all
    }

    /// What Prometheus has of it.
    fn series(&self) -> Vec<Value> {
        let source = self.source;
        let labels = format!("job=\"portscan\",instance=\"web1\",interface=\"eth0\",source=\"{source}\"");
        let window = if self.counts_hosts { "5m" } else { "10s" };
        let mut series = Vec::new();
        let mut put = |name: &str, more: &str, value: u32| {
            series.push(json!({"series": format!("{name}{{{labels}{more}}}"), "values": value.to_string()}));
        };
        let by_window = format!(",window=\"{window}\"");
        let peak = if self.counts_hosts { "hosts" } else { "ports" };
        put(&format!("portscan_source_peak_distinct_{peak}"), &by_window, self.peak);
        if let Some((answered, unanswered, per_host)) = self.replies {
            put("portscan_source_answered_ports", &by_window, answered);
            put("portscan_source_peak_unanswered_ports", &by_window, unanswered);
            put("portscan_source_peak_ports_per_host", "", per_host);
        }
        if let Some(alerts) = self.alerts {
            put("portscan_source_alert_threshold_ports", ",name=\"office\"", alerts.least_ports());
        }
        series
    }

    /// The alert that `explain` names, and its severity.
    fn explained(&self) -> Option<(String, String)> {
        let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
        thread_local! {
            static IDLE: Detector = Detector::new(Policy::default(), Limits { memory_bytes: 4 << 20, ..Limits::default() }, 7, Origin::Live);
        }
        let mut explanation = IDLE.with(|idle| idle.explain(self.source.address.into()));
        (explanation.alerts, explanation.tracked) = (self.alerts, Tracked::Table);
        let row = PublishedSource {
            source: self.source,
            name: Name::new("office"),
            provenance: Default::default(),
            distinct_ports: self.peak,
            peak_distinct_ports: self.peak,
            distinct_hosts: 1,
            ports_of_busiest_host: self.replies.map_or(0, |(.., per_host)| per_host),
            last_hit: None,
            last_probe: Timestamp::new(1_700_000_000, 0),
            tool: Default::default(),
            answered_ports: self.replies.map(|(answered, ..)| answered),
            peak_unanswered_ports: self.replies.map(|(_, unanswered, _)| unanswered),
            evidence: Default::default(),
        };
        let mut shown = support::quiet("eth0").detection;
        shown.names = Names::default();
        if self.counts_hosts {
            explanation.slower.push(ByRule {
                subject: Subject::Source,
                window_nanos: 300_000_000_000,
                threshold: 25,
                counts_hosts: true,
                source: self.source,
                tracked: Tracked::Table,
                count: self.peak,
                peak: self.peak,
                open_scan: true,
                last_hit: None,
                evidence: None,
            });
            let mut sweeps = support::quiet("eth0").detection;
            (sweeps.window_nanos, sweeps.threshold) = (300_000_000_000, 25);
            sweeps.kinds = &[Kind::Horizontal];
            sweeps.sources.push(row);
            shown.slower.push(sweeps);
        } else {
            explanation.peak_distinct_ports = self.peak;
            shown.sources.push(row);
        }
        assert_eq!(explanation.max_sources, limits.max_sources as u64);
        let reply = Reply {
            by_many: Vec::new(),
            interface: "eth0",
            state: "capturing",
            explanation: Some(explanation),
            snapshot: Some(&shown),
        };
        let mut answer = Answer::of(self.source.address.into(), [reply]);
        let known = answer.interfaces.pop().and_then(|interface| interface.known).expect("it answered");
        known.alert.zip(known.severity)
    }
}

/// `explain` says on a host what Prometheus makes of its numbers: the same alert, the most severe of those that fire.
#[test]
fn explain_names_the_alert_that_fires() {
    let all = Seen::all();
    let mut samples = Vec::new();
    for seen in &all {
        let Some((alert, severity)) = seen.explained() else { continue };
        let mut fires = |severity: &str| {
            let source = seen.source;
            let labels = format!("{{alertname=\"{alert}\",severity=\"{severity}\",source=\"{source}\"}}");
            samples.push(json!({"labels": labels, "value": 1}));
        };
        fires(&severity);
        if severity == "critical" {
            fires("warning");
        }
    }
    assert!(samples.len() > 300, "{} alerts", samples.len());
    let threshold = |what: &str, window: &str, value: u32| {
        let labels = format!("{{job=\"portscan\",instance=\"web1\",window=\"{window}\"}}");
        json!({"series": format!("portscan_threshold_{what}{labels}"), "values": value.to_string()})
    };
    let mut series: Vec<Value> = all.iter().flat_map(Seen::series).collect();
    series.extend([threshold("ports", "10s", 20), threshold("hosts", "5m", 25)]);
    let which = "alertstate=\"firing\",alertname=~\"PortScan(Detected|Sweep|Expected)\"";
    let file = json!({
        "rule_files": ["portscan.rules.yml"],
        "evaluation_interval": "15s",
        "tests": [{
            "name": "what explain says",
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [{
                "expr": format!("count by (alertname, severity, source) (ALERTS{{{which}}})"),
                "eval_time": "0s",
                "exp_samples": samples,
            }],
        }],
    });
    let (fine, said) = unit_tests(&[("explained.test.yml", &file.to_string())], RULES);
    assert!(fine, "{said}");
}
