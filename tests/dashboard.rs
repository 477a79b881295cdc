//! The dashboards: of the types Grafana publishes, asking only for what the exporter has, in queries Prometheus understands, with
//! panels that explain themselves. Whether there is data behind each query is in `monitoring/fleet.rs`.

use lab::contract::{assert_within, promtool};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use tempfile::TempDir;

const OVERVIEW: &str = include_str!("../grafana/portscan.json");
const FLEET: &str = include_str!("../grafana/fleet.json");

fn dashboards() -> [Value; 2] {
    [OVERVIEW, FLEET].map(|text| serde_json::from_str(text).expect("JSON"))
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

/// Every panel that draws data.
fn drawing(dashboard: &Value) -> impl Iterator<Item = &Value> {
    panels(dashboard).iter().filter(|panel| panel["type"] != "row" && panel["type"] != "text")
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
    for (variable, value) in [
        ("$__rate_interval", "1m"),
        ("$__range", "6h"),
        ("$job", "portscan"),
        ("$instance", ".*"),
        ("$source", ".*"),
    ] {
        query = query.replace(variable, value);
    }
    query
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().filter(|text| !text.is_empty()).unwrap_or_else(|| panic!("no {key}: {value}"))
}

#[test]
fn they_have_fixed_names_and_the_variables_of_their_queries() {
    let names = [("portscan-exporter", "Port scans"), ("portscan-fleet", "Port scans of a fleet")];
    for (dashboard, name) in dashboards().iter().zip(names) {
        assert_eq!((text(dashboard, "uid"), text(dashboard, "title")), name);
        assert!(dashboard["id"].is_null(), "an id belongs to one Grafana");
        assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let known: BTreeSet<_> = variables.iter().map(|variable| text(variable, "name")).collect();
        for variable in variables.iter().filter(|variable| variable["type"] == "query") {
            assert_eq!((&variable["multi"], &variable["includeAll"]), (&json!(true), &json!(true)));
            assert_within(variable["query"]["query"].as_str().unwrap(), &[]);
        }
        // Grafana's own, and ours; a name in a text is the run of letters after `$` or `${`.
        let mut used = BTreeSet::new();
        let everything = dashboard.to_string();
        for part in everything.split('$').skip(1) {
            let part = part.trim_start_matches('{');
            used.insert(&part[..part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap()]);
        }
        let built_in = BTreeSet::from(["__rate_interval", "__range", "__all", "__value", "__url_time_range"]);
        assert!(used.iter().all(|name| known.contains(name) || built_in.contains(name)), "{used:?}");
        assert!(known.iter().all(|name| used.contains(name)), "a variable nothing uses: {used:?}");
    }
}

/// `@grafana/schema`, as JSON Schema: see tests/grafana/README.md.
#[test]
fn they_are_of_the_types_that_grafana_publishes() {
    let check = |files: &[&str]| {
        let here = env!("CARGO_MANIFEST_DIR");
        let output = std::process::Command::new("python3")
            .arg(format!("{here}/tests/grafana/check.py"))
            .args(files)
            .current_dir(format!("{here}/grafana"))
            .output()
            .expect("python3");
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    let (fine, said) = check(&["portscan.json", "fleet.json"]);
    assert!(fine, "{said}");
    // The check can fail: a panel, an option and a field of a time series that Grafana does not know.
    let directory = TempDir::new().expect("a directory");
    for (right, wrong) in [
        ("\"gridPos\"", "\"gridpos\""),
        ("\"cellHeight\": \"sm\"", "\"cellHeight\": \"tiny\""),
        ("\"lineInterpolation\": \"stepAfter\"", "\"lineInterpolation\": \"steps\""),
    ] {
        let file = directory.path().join("wrong.json");
        assert!(OVERVIEW.contains(right), "{right}");
        fs::write(&file, OVERVIEW.replacen(right, wrong, 1)).expect("a file");
        let (fine, said) = check(&[file.to_str().expect("UTF-8")]);
        assert!(!fine && said.contains("wrong.json"), "{wrong} passes: {said}");
    }
}

/// The rules of Grafana's dashboard-linter that apply, and two of ours: where sources or hosts multiply there is a limit, and a
/// threshold is read, not written.
#[test]
fn no_query_can_draw_a_hundred_lines_and_no_threshold_is_a_number() {
    for dashboard in dashboards() {
        for panel in drawing(&dashboard).filter(|panel| panel["type"] == "timeseries") {
            for target in panel["targets"].as_array().expect("targets") {
                let (query, legend) = (text(target, "expr"), text(target, "legendFormat"));
                let multiplies =
                    ["source", "instance", "interface"].iter().any(|label| legend.contains(label));
                assert!(!multiplies || query.contains("topk(10, "), "{}: {query}", panel["title"]);
                assert!(!query.contains("rate(") || query.contains("[$__rate_interval]"), "{query}");
            }
        }
        for (title, target) in targets(&dashboard) {
            let query = text(target, "expr");
            assert!(!query.contains(">= 20") && !query.contains("> 19"), "{title}: {query}");
        }
    }
}

#[test]
fn every_panel_explains_itself_and_asks_the_chosen_data_source() {
    for panel in dashboards().iter().flat_map(drawing) {
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
fn panels_have_ids_and_titles_of_their_own_and_do_not_overlap() {
    for dashboard in dashboards() {
        let (mut ids, mut titles, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for panel in panels(&dashboard) {
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
            let is_row = panel["type"] == "row";
            assert!(
                is_row || titles.insert(text(panel, "title").to_owned()),
                "two panels of one title: {panel}"
            );
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
            assert!(w > 0 && h > 0 && x + w <= 24, "{panel}");
            for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line))) {
                assert!(taken.insert(cell), "{} covers {cell:?} twice", panel["title"]);
            }
        }
    }
}

#[test]
fn they_ask_only_for_metrics_of_the_contract() {
    for (index, dashboard) in dashboards().iter().enumerate() {
        for (title, target) in targets(dashboard) {
            let query = query(target);
            assert!(!query.contains('$'), "{title}: {query}");
            assert_within(&query, &[]);
            for lab::contract::Selector { metric, matchers } in lab::contract::selectors(&query) {
                let chosen = |wanted: &str| matchers.iter().any(|(label, _)| label == wanted);
                assert!(chosen("job"), "{title}: {metric} of every job");
                assert!(index == 1 || chosen("instance"), "{title}: {metric} of every instance");
            }
        }
        for annotation in dashboard["annotations"]["list"].as_array().expect("annotations").iter().skip(1) {
            let query = query(annotation);
            assert!(query.starts_with("ALERTS{") || !lab::contract::selectors(&query).is_empty(), "{query}");
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
    let dashboards = dashboards();
    let mut queries: Vec<_> = dashboards.iter().flat_map(targets).map(|(_, target)| query(target)).collect();
    let (fine, said) = check(&queries);
    assert!(fine && said.contains(&format!("{} rules found", queries.len())), "{said}");
    queries.push("sum(portscan_hits_total".to_owned());
    assert!(!check(&queries).0, "a broken query must not pass");
}

/// Grafana's keys of a provisioning file, as its documentation lists them; it ignores any other without a word.
fn assert_known(part: &Value, keys: &[&str]) {
    for key in part.as_object().expect("a mapping").keys() {
        assert!(keys.contains(&key.as_str()), "Grafana has no {key}: {part}");
    }
}

#[test]
fn provisioning_names_what_there_is() {
    let read = |file: &str| {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let yaml = |file: &str| -> Value { serde_saphyr::from_str(&read(file)).expect("YAML") };

    let dashboards = yaml("grafana/provisioning/dashboards.yml");
    assert_known(&dashboards, &["apiVersion", "providers"]);
    assert_eq!(dashboards["apiVersion"], 1);
    let [provider] = &dashboards["providers"].as_array().expect("providers")[..] else {
        panic!("one provider: {dashboards}")
    };
    let known = ["name", "orgId", "folder", "folderUid", "type", "disableDeletion", "updateIntervalSeconds"];
    assert_known(provider, &[&known[..], &["allowUiUpdates", "options"]].concat());
    assert_known(&provider["options"], &["path", "foldersFromFilesStructure"]);
    assert_eq!(provider["type"], "file");
    // Grafana takes every .json of the folder; the README says which go there.
    let folder = text(&provider["options"], "path");
    let readme = read("README.md");
    for said in [
        folder,
        "`grafana/*.json`",
        "/etc/grafana/provisioning/dashboards/",
        "/etc/grafana/provisioning/datasources/",
    ] {
        assert!(readme.contains(said), "the README does not say {said}");
    }

    let sources = yaml("grafana/provisioning/datasources.yml");
    assert_known(&sources, &["apiVersion", "datasources", "deleteDatasources", "prune"]);
    assert_eq!(sources["apiVersion"], 1);
    let [source] = &sources["datasources"].as_array().expect("data sources")[..] else {
        panic!("one data source: {sources}")
    };
    assert_known(
        source,
        &["name", "uid", "type", "access", "orgId", "url", "isDefault", "jsonData", "editable"],
    );
    assert_known(&source["jsonData"], &["timeInterval", "httpMethod", "prometheusType", "prometheusVersion"]);
    assert_eq!(source["access"], "proxy");
    // The dashboards ask for a source of this type, by default the default one; it is scraped as deploy/prometheus.yml says.
    for dashboard in &self::dashboards() {
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        let variable = variables.iter().find(|variable| variable["type"] == "datasource");
        assert_eq!(variable.expect("a variable for the data source")["query"], source["type"]);
    }
    assert_eq!(source["isDefault"], true);
    let prometheus = yaml("deploy/prometheus.yml");
    assert_eq!(source["jsonData"]["timeInterval"], prometheus["scrape_configs"][0]["scrape_interval"]);
}
