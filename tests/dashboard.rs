//! The dashboard: it asks only for what the exporter has, in queries Prometheus understands, and its panels explain themselves.

mod contract;

use contract::{assert_within, promtool};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use tempfile::TempDir;

const DASHBOARD: &str = include_str!("../grafana/portscan.json");

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).expect("JSON")
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

/// Every panel that draws something: all but the rows.
fn drawing(dashboard: &Value) -> impl Iterator<Item = &Value> {
    panels(dashboard).iter().filter(|panel| panel["type"] != "row")
}

fn targets(dashboard: &Value) -> impl Iterator<Item = (&str, &Value)> {
    drawing(dashboard).flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title");
        panel["targets"].as_array().expect("targets").iter().map(move |target| (title, target))
    })
}

/// What Grafana would send, with its variables filled in.
fn query(target: &Value) -> String {
    let mut query = target["expr"].as_str().expect("a query").to_owned();
    for (variable, value) in
        [("$__rate_interval", "1m"), ("$__range", "6h"), ("$job", "portscan"), ("$instance", ".*")]
    {
        query = query.replace(variable, value);
    }
    query
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().filter(|text| !text.is_empty()).unwrap_or_else(|| panic!("no {key}: {value}"))
}

#[test]
fn it_has_a_fixed_name_and_the_variables_of_its_queries() {
    let dashboard = dashboard();
    assert_eq!((text(&dashboard, "uid"), text(&dashboard, "title")), ("portscan-exporter", "Port scans"));
    assert!(dashboard["id"].is_null(), "an id belongs to one Grafana");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let known: BTreeSet<_> = variables.iter().map(|variable| text(variable, "name")).collect();
    assert_eq!(known, BTreeSet::from(["datasource", "instance", "job"]));
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        assert_eq!((&variable["multi"], &variable["includeAll"]), (&json!(true), &json!(true)));
        let asked = variable["query"]["query"].as_str().unwrap();
        assert!(asked.starts_with("label_values(portscan_exporter_build_info"), "{asked}");
    }
    // Grafana's own, and ours; a name in a text is the run of letters after `$` or `${`.
    let mut used = BTreeSet::new();
    for part in DASHBOARD.split('$').skip(1) {
        let part = part.trim_start_matches('{');
        used.insert(&part[..part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap()]);
    }
    let built_in = BTreeSet::from(["__rate_interval", "__range", "__all"]);
    assert!(used.iter().all(|name| known.contains(name) || built_in.contains(name)), "{used:?}");
    assert!(known.iter().all(|name| used.contains(name)), "a variable nothing uses: {used:?}");
}

#[test]
fn every_panel_explains_itself_and_asks_the_chosen_data_source() {
    let dashboard = dashboard();
    for panel in drawing(&dashboard) {
        for key in ["title", "description"] {
            text(panel, key);
        }
        text(&panel["fieldConfig"]["defaults"], "unit");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{panel}");
        let references: BTreeSet<_> = targets.iter().map(|target| text(target, "refId")).collect();
        assert_eq!(references.len(), targets.len(), "two targets of one name: {panel}");
        for asking in targets.iter().chain([panel]) {
            assert_eq!(
                asking["datasource"],
                json!({"type": "prometheus", "uid": "${datasource}"}),
                "{panel}"
            );
        }
        for target in targets {
            text(target, "legendFormat");
            assert_ne!(target["range"], target["instant"], "{target}");
        }
    }
}

#[test]
fn panels_have_ids_of_their_own_and_do_not_overlap() {
    let dashboard = dashboard();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line))) {
            assert!(taken.insert(cell), "{} covers {cell:?} twice", panel["title"]);
        }
    }
}

#[test]
fn it_asks_only_for_metrics_of_the_contract() {
    let dashboard = dashboard();
    for (title, target) in targets(&dashboard) {
        let query = query(target);
        assert!(!query.contains('$'), "{title}: {query}");
        assert_within(&query, &[]);
        for (metric, labels) in contract::selectors(&query) {
            assert!(labels.contains(&"job".to_owned()), "{title}: {metric} of every job");
            assert!(labels.contains(&"instance".to_owned()), "{title}: {metric} of every instance");
        }
    }
}

/// promtool on the queries, each as a recording rule.
fn check(queries: &[String]) -> (bool, String) {
    let name = |index| format!("dashboard:query_{index}:checked");
    let rules: Vec<_> =
        queries.iter().enumerate().map(|(i, query)| json!({"record": name(i), "expr": query})).collect();
    let directory = TempDir::new().expect("a directory");
    let file = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    fs::write(directory.path().join("queries.yml"), file.to_string()).expect("a file");
    promtool(&["check", "rules", "queries.yml"], directory.path())
}

#[test]
fn prometheus_understands_every_query() {
    let dashboard = dashboard();
    let mut queries: Vec<_> = targets(&dashboard).map(|(_, target)| query(target)).collect();
    let (fine, said) = check(&queries);
    assert!(fine && said.contains(&format!("{} rules found", queries.len())), "{said}");
    queries.push("sum(portscan_hits_total".to_owned());
    assert!(!check(&queries).0, "a broken query must not pass");
}
