//! A fleet: three watched hosts, a scanner that asks each of them for one port and then for eight, which stays below the threshold
//! on each, and one place where all comes together: Prometheus, and VictoriaMetrics with vmalert beside it.

use lab::{Ended, HERE, Lab, PATIENCE, eventually, in_room, journal};
use portscan_exporter::detect::Source;
use portscan_exporter::publish::sample::{Key, Sampling};
use serde_json::Value;
use std::fs::File;

/// Where an exporter runs, and how Prometheus, on `t`, reaches it.
const FLEET: [(&str, &str); 3] = [("t", "192.0.2.10"), ("srv", "192.0.2.20"), ("s2", "198.51.100.8")];

/// The scanner's address, which is in the sample of the fleet's key, and another one of the same host, which is not.
const SAMPLED: &str = "198.51.100.7";
const UNSAMPLED: &str = "198.51.100.9";

/// A key under which one source in 64 includes the one address, and neither the other nor Prometheus.
fn key() -> String {
    let samples = |key: &str, address: &str| {
        let key = Key::parse(key).unwrap();
        let sampling = Sampling { key, one_in: 64, max_sources: 32, hold_nanos: 0 };
        sampling.place(Source::of(address.parse().unwrap(), 64)).is_some()
    };
    let wanted =
        |key: &String| samples(key, SAMPLED) && !samples(key, UNSAMPLED) && !samples(key, FLEET[0].1);
    (0..).map(|number: u32| format!("{number:032x}")).find(wanted).unwrap()
}

fn start(lab: &Lab, host: &str, program: &str, arguments: &[&str]) -> Ended {
    let name = program.rsplit('/').next().unwrap();
    let log = File::create(lab.directory.path().join(format!("{name}-{host}.log"))).unwrap();
    let mut command = lab.on(host, program);
    command.args(arguments).current_dir(lab.directory.path()).stdout(log.try_clone().unwrap()).stderr(log);
    Ended(command.spawn().unwrap_or_else(|error| panic!("this test needs {program}: {error}")))
}

/// The rules as they are but for the number of hosts of a sweep, which is for greater fleets, in files for Prometheus and for vmalert.
fn configure(lab: &Lab) {
    let write = |name: &str, text: &str| std::fs::write(lab.directory.path().join(name), text).unwrap();
    write("fleet.key", &key());
    let rules = std::fs::read_to_string(format!("{HERE}/alerts/portscan.rules.yml")).unwrap();
    let (many, three) = (":count_hosts1h >= 25\n", ":count_hosts1h >= 3\n");
    assert!(rules.contains(many));
    let rules = rules.replace(many, three);
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

/// The only alert of this name, as soon as its description says so much; it is for the scanner.
fn described(lab: &Lab, port: u16, name: &str, says: &str) -> String {
    let named = |alert: &Value| alert["name"] == name || alert["labels"]["alertname"] == name;
    let alert = eventually(&format!("{name}: {says}"), PATIENCE, || {
        let alerts = query(lab, port, "/api/v1/alerts")?;
        let mut alerts: Vec<_> = alerts.into_iter().filter(named).collect();
        assert!(alerts.len() < 2, "one alert for all hosts: {alerts:#?}");
        alerts.pop().filter(|alert| alert["annotations"]["description"].as_str().unwrap().contains(says))
    });
    assert_eq!(alert["labels"]["source"], SAMPLED);
    alert["annotations"]["description"].as_str().unwrap().to_owned()
}

/// One port on each host: by an address of the sample, and by one that is not in it.
fn sweep_the_fleet(lab: &Lab) {
    lab.run("s1", "ip", &["addr", "add", &format!("{UNSAMPLED}/24"), "dev", "eth0"]);
    for source in [UNSAMPLED, SAMPLED] {
        let hosts = FLEET.map(|(_, address)| address);
        lab.nmap(&[&["-sS", "-p22", "-e", "eth0", "-S", source], &hosts[..]].concat());
    }
    let sweep = "198.51.100.7 asked 3 hosts of job portscan for a port or more within an hour";
    let description = described(lab, 9090, "PortScanFleetSweep", sweep);
    assert!(description.contains("in the fleet's sample of 1.562% of all sources"), "{description}");
    let alerts = query(lab, 9090, "/api/v1/alerts").unwrap();
    assert_eq!(alerts.len(), 1, "nothing else has an alert: {alerts:#?}");
    // The other address asked as often, and no host shows it.
    let probes =
        query(lab, 9090, "/api/v1/query?query=portscan_probes_total%7Bfamily=%22ipv4%22%7D%3E=2").unwrap();
    assert_eq!(probes.len(), FLEET.len(), "each host saw both: {probes:#?}");
    let shown = query(lab, 9090, "/api/v1/query?query=portscan_fleet_sample_source").unwrap();
    assert_eq!(shown.len(), FLEET.len(), "{shown:#?}");
    assert!(shown.iter().all(|series| series["metric"]["source"] == SAMPLED), "{shown:#?}");
    // vmalert finds the same.
    described(lab, 8880, "PortScanFleetSweep", sweep);
}

fn scan_the_fleet(lab: &Lab) {
    configure(lab);
    let _exporters = FLEET.map(|(host, address)| {
        let program = start(
            lab,
            host,
            env!("CARGO_BIN_EXE_portscan_exporter"),
            &["-i", "eth0", "--log.format=journald", "--fleet.key-file=fleet.key"],
        );
        eventually("an exporter to be ready", PATIENCE, || {
            lab.get(&format!("http://{address}:10220/-/ready"))
        });
        program
    });
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

    sweep_the_fleet(lab);

    // With the port of the sweep among them these are eight, whether or not that one still counts.
    lab.nmap(&["-sS", "-p22-29", "192.0.2.10", "192.0.2.20", "198.51.100.8"]);
    let fleet = "198.51.100.7 asked for 24 ports in all";
    let description = described(lab, 9090, "PortScanFleet", fleet);
    println!("{description}");
    for (_, address) in FLEET {
        assert!(description.contains(&format!("{address}:10220 (8)")), "{description}");
    }
    assert_eq!(
        journal(&["PORTSCAN_EVENT=hit"]),
        Vec::<Value>::new(),
        "it stayed below the threshold on each"
    );

    let description = described(lab, 8880, "PortScanFleet", fleet);
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
fn one_port_and_then_eight_on_each_of_three_hosts_are_an_alert_each() {
    in_room("fleet::one_port_and_then_eight_on_each_of_three_hosts_are_an_alert_each", scan_the_fleet);
}
