//! A fleet: three watched hosts, one scanner that stays below the threshold on each of them, and one place where all comes
//! together: Prometheus, and VictoriaMetrics with vmalert beside it.

use crate::lab::{Ended, HERE, Lab, PATIENCE, eventually, in_room, journal};
use serde_json::Value;
use std::fs::File;

/// Where an exporter runs, and how Prometheus, on `t`, reaches it.
const FLEET: [(&str, &str); 3] = [("t", "192.0.2.10"), ("srv", "192.0.2.20"), ("s2", "198.51.100.8")];

fn start(lab: &Lab, host: &str, program: &str, arguments: &[&str]) -> Ended {
    let name = program.rsplit('/').next().unwrap();
    let log = File::create(lab.directory.path().join(format!("{name}-{host}.log"))).unwrap();
    let mut command = lab.on(host, program);
    command.args(arguments).current_dir(lab.directory.path()).stdout(log.try_clone().unwrap()).stderr(log);
    Ended(command.spawn().unwrap_or_else(|error| panic!("this test needs {program}: {error}")))
}

/// The rules as they are, in files for Prometheus and for vmalert.
fn configure(lab: &Lab) {
    let write = |name: &str, text: &str| std::fs::write(lab.directory.path().join(name), text).unwrap();
    let rules = std::fs::read_to_string(format!("{HERE}/alerts/portscan.rules.yml")).unwrap();
    write("portscan.rules.yml", &rules);
    // vmalert 1.79, Debian 12's, does not know keep_firing_for; nothing else is in its way.
    let lines = rules.lines().filter(|line| !line.trim_start().starts_with("keep_firing_for:"));
    write("vmalert.rules.yml", &lines.collect::<Vec<_>>().join("\n"));
    let targets: Vec<_> = FLEET.iter().map(|(_, address)| format!("'{address}:10220'")).collect();
    let scrape = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
         scrape_configs: [{{job_name: portscan, static_configs: [{{targets: [{}]}}]}}]\n",
        targets.join(", ")
    );
    write("scrape.yml", &scrape);
    write(
        "prometheus.yml",
        &scrape.replace("500ms}", "500ms, evaluation_interval: 500ms}\nrule_files: [portscan.rules.yml]"),
    );
}

fn query(lab: &Lab, port: u16, path: &str) -> Option<Vec<Value>> {
    let answer: Value = serde_json::from_str(&lab.get(&format!("http://127.0.0.1:{port}{path}"))?).unwrap();
    let data = &answer["data"];
    data["result"].as_array().or(data["alerts"].as_array()).cloned()
}

fn scan_the_fleet(lab: &Lab) {
    let _exporters = FLEET.map(|(host, address)| {
        let program = start(
            lab,
            host,
            env!("CARGO_BIN_EXE_portscan_exporter"),
            &["-i", "eth0", "--log.format=journald"],
        );
        eventually("an exporter to be ready", PATIENCE, || {
            lab.get(&format!("http://{address}:10220/-/ready"))
        });
        program
    });
    configure(lab);
    let _prometheus = start(
        lab,
        "t",
        "prometheus",
        &["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:9090"],
    );
    let _victoria = start(
        lab,
        "t",
        "victoria-metrics",
        &[
            "-promscrape.config=scrape.yml",
            "-storageDataPath=victoria",
            "-httpListenAddr=127.0.0.1:8428",
            "-search.latencyOffset=0s",
            "-search.disableCache",
        ],
    );
    eventually("VictoriaMetrics", PATIENCE, || lab.get("http://127.0.0.1:8428/health"));
    let _vmalert = start(
        lab,
        "t",
        "vmalert",
        &[
            "-rule=vmalert.rules.yml",
            "-datasource.url=http://127.0.0.1:8428",
            "-remoteWrite.url=http://127.0.0.1:8428",
            "-notifier.url=http://127.0.0.1:1",
            "-evaluationInterval=1s",
            "-remoteWrite.flushInterval=200ms",
            "-httpListenAddr=127.0.0.1:8880",
        ],
    );
    for port in [9090, 8428] {
        eventually("a sample of every host", PATIENCE, || {
            query(lab, port, "/api/v1/query?query=portscan_capture_up")
                .filter(|hosts| hosts.len() == FLEET.len())
        });
    }

    lab.nmap(&["-sS", "-p1-8", "192.0.2.10", "192.0.2.20", "198.51.100.8"]);

    let source = "198.51.100.7";
    let fired = eventually("the alert of the fleet", PATIENCE, || {
        query(lab, 9090, "/api/v1/alerts").filter(|alerts| !alerts.is_empty())
    });
    assert_eq!(fired.len(), 1, "one alert for all hosts: {fired:#?}");
    assert_eq!(fired[0]["labels"]["alertname"], "PortScanFleet");
    assert_eq!(fired[0]["labels"]["source"], source);
    let description = fired[0]["annotations"]["description"].as_str().unwrap();
    println!("{description}");
    assert!(description.starts_with("198.51.100.7 asked for 24 ports in all"), "{description}");
    for (_, address) in FLEET {
        assert!(description.contains(&format!("{address}:10220 (8)")), "{description}");
    }
    assert_eq!(
        journal(&["PORTSCAN_EVENT=hit"]),
        Vec::<Value>::new(),
        "it stayed below the threshold on each"
    );

    let fired = eventually("the same alert of vmalert", PATIENCE, || {
        query(lab, 8880, "/api/v1/alerts").filter(|alerts| !alerts.is_empty())
    });
    assert_eq!(fired.len(), 1, "{fired:#?}");
    assert_eq!((&fired[0]["name"], &fired[0]["labels"]["source"]), (&"PortScanFleet".into(), &source.into()));
    let description = fired[0]["annotations"]["description"].as_str().unwrap();
    assert!(description.contains("192.0.2.20:10220 (8)"), "vmalert names the hosts: {description}");
    every_query_of_the_dashboards_has_data(lab);

    // A rule that fails there is written to its log.
    let log = std::fs::read_to_string(lab.directory.path().join("vmalert-t.log")).unwrap();
    assert!(!log.contains("failed to execute"), "{log}");
}

/// What Grafana would send, with its variables filled in; Prometheus has answered with data, for a scan of a second ago.
fn every_query_of_the_dashboards_has_data(lab: &Lab) {
    lab.nmap(&["-sS", "-p1-300", "192.0.2.10", "192.0.2.20", "198.51.100.8"]);
    eventually("hits on every host", PATIENCE, || {
        query(lab, 9090, "/api/v1/query?query=portscan_source_last_hit_timestamp_seconds")
            .filter(|hosts| hosts.len() == FLEET.len())
    });
    let mut asked = 0;
    for file in ["portscan.json", "fleet.json"] {
        let text = std::fs::read_to_string(format!("{HERE}/grafana/{file}")).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        let panels = dashboard["panels"].as_array().unwrap().iter();
        let queries = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        for target in queries.chain(dashboard["annotations"]["list"].as_array().unwrap().iter().skip(1)) {
            let mut expression = target["expr"].as_str().unwrap().to_owned();
            for (variable, value) in [("$__rate_interval", "30s"), ("$__range", "5m")] {
                expression = expression.replace(variable, value);
            }
            for variable in ["$job", "$instance", "$source"] {
                expression = expression.replace(variable, ".*");
            }
            let ask = lab
                .on("t", "curl")
                .args(["-sf", "-m", "5", "-G", "http://127.0.0.1:9090/api/v1/query"])
                .args(["--data-urlencode", &format!("query={expression}")])
                .output()
                .unwrap();
            let answer: Value = serde_json::from_slice(&ask.stdout).unwrap_or_default();
            let series = answer["data"]["result"].as_array().map_or(0, Vec::len);
            assert!(series > 0, "{file} has no data for {expression}: {answer}");
            asked += 1;
        }
    }
    println!("{asked} queries of dashboards have data");
    assert!(asked > 50, "does this test still read the dashboards?");
}

#[test]
fn eight_ports_on_each_of_three_hosts_are_one_alert() {
    in_room("fleet::eight_ports_on_each_of_three_hosts_are_one_alert", scan_the_fleet);
}
