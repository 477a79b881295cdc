//! The forms of the page, as Prometheus' own library for Python reads them. (Prometheus itself reads OpenMetrics and protobuf in
//! `secure`.)

use super::scans::{event, over};
use portscan_exporter::detect::EventKind;
use portscan_exporter::publish::recent::Recent;
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Reads a page and prints samples: name, labels, value, exemplar.
const READ: &str = "
import json, sys
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics
read = {'text': parser, 'openmetrics': openmetrics}[sys.argv[1]].text_string_to_metric_families
samples = [(s.name, s.labels, s.value, s.exemplar and (s.exemplar.labels, s.exemplar.timestamp))
           for f in read(sys.stdin.read()) for s in f.samples]
json.dump(samples, sys.stdout, default=str)
";

fn samples(form: &str, page: &[u8]) -> Vec<Value> {
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", READ, form])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("needs python3 and python3-prometheus-client");
    python.stdin.take().unwrap().write_all(page).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_form_says_the_same_and_openmetrics_names_the_scan() {
    let recent = Arc::new(Recent::new(7));
    recent.put(&Arc::from("eth0"), event(EventKind::Hit, 1, 20));
    let server = over(&recent);
    let ask = |path: &str, accept: &str| server.ask("GET", path, &format!("Accept: {accept}\r\n"));
    let text = ask("/metrics", "text/plain;version=0.0.4");
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let open = ask("/metrics", "application/openmetrics-text;version=1.0.0");
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.text().ends_with("# EOF\n"));
    let (plain, rich) = (samples("text", &text.body), samples("openmetrics", &open.body));
    let values = |samples: &[Value]| {
        // What the process uses changes from page to page.
        let ours = samples.iter().filter(|sample| sample[0].as_str().unwrap().starts_with("portscan_"));
        let mut values: Vec<String> =
            ours.map(|sample| format!("{} {} {}", sample[0], sample[1], sample[2])).collect();
        values.sort();
        values
    };
    assert!(values(&plain).len() > 50);
    assert_eq!(values(&plain), values(&rich));
    let exemplars: Vec<_> = rich.iter().filter(|sample| !sample[3].is_null()).collect();
    let [exemplar] = &exemplars[..] else { panic!("{exemplars:?}") };
    assert_eq!(
        (&exemplar[0], &exemplar[3][0]["scan"]),
        (&"portscan_hits_total".into(), &"0000000000000001".into())
    );
    assert!(!open.text().contains("_created"));
    // Only where it is asked for.
    let created = ask("/metrics?created=true", "application/openmetrics-text;version=1.0.0");
    let created = samples("openmetrics", &created.body);
    let of = |name: &str| created.iter().any(|sample| sample[0] == name);
    assert!(of("portscan_hits_created") && of("portscan_burst_distinct_ports_created"));

    let protobuf =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let reply = ask("/metrics", protobuf);
    assert_eq!(reply.header("content-type").unwrap().replace("; ", ";"), protobuf);
    assert!(reply.body.windows(19).any(|bytes| bytes == b"portscan_hits_total"));
    let zipped =
        server.ask("GET", "/metrics", "Accept: application/openmetrics-text\r\nAccept-Encoding: gzip\r\n");
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(ask("/metrics", "application/json").header("content-type"), text.header("content-type"));
}
