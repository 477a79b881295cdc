//! The API of scans.

use super::{ClientLimits, PATIENCE, Server, one_ready_interface, options, send};
use portscan_exporter::detect::{EventKind, Grade, Scan, ScanEvent, ScanId};
use portscan_exporter::events::record::JSON;
use portscan_exporter::publish::metrics::ProcessState;
use portscan_exporter::publish::recent::Recent;
use portscan_exporter::publish::snapshot::InterfaceSnapshot;
use portscan_exporter::publish::store::SnapshotStore;
use portscan_exporter::system::clock;
use portscan_exporter::web::App;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

#[path = "../support/scan.rs"]
mod fixture;

/// A scan of so many ports, by the n-th source.
pub fn event(kind: EventKind, n: u32, ports: u32) -> ScanEvent {
    let mut scan = fixture::scan(&format!("198.51.100.{n}"), "192.0.2.10:22");
    (scan.id, scan.distinct_ports) = (ScanId(n.into()), ports);
    scan.ended = (kind == EventKind::Ended).then(|| fixture::after(60_000));
    ScanEvent { kind, scan }
}

pub fn over(recent: &Arc<Recent>) -> Server {
    beside(recent, one_ready_interface())
}

/// The same beside what the captures show.
fn beside(recent: &Arc<Recent>, store: SnapshotStore) -> Server {
    let recent = Arc::clone(recent);
    Server::start_app(options(), ClientLimits::default(), |options| {
        let reload = || std::future::ready(Ok(String::new()));
        App::new(options, Arc::new(store), ProcessState::default, reload).with_recent(recent)
    })
}

fn json(server: &Server, path: &str) -> Value {
    let reply = server.get(path);
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

#[test]
fn scans_are_found_by_page_by_filter_and_by_tag() {
    let recent = Arc::new(Recent::new(7));
    for n in 1..=5 {
        recent.put(&Arc::from("eth0"), event(EventKind::Hit, n, 20));
    }
    recent.put(&Arc::from("eth1"), event(EventKind::Ended, 2, 1000));
    let server = over(&recent);
    let all = json(&server, "/api/v1/scans");
    let sources = |answer: &Value| -> Vec<String> {
        answer["scans"]
            .as_array()
            .unwrap()
            .iter()
            .map(|scan| scan["source"].as_str().unwrap().to_owned())
            .collect()
    };
    let of = |numbers: &[u32]| numbers.iter().map(|n| format!("198.51.100.{n}")).collect::<Vec<_>>();
    assert_eq!(sources(&all), of(&[2, 5, 4, 3, 2, 1]));
    assert_eq!((&all["cursor"], &all["kept"], &all["limit"]), (&Value::Null, &6.into(), &1024.into()));
    assert_eq!(sources(&json(&server, "/api/v1/scans?open=false")), of(&[2]));
    assert_eq!(sources(&json(&server, "/api/v1/scans?source=198.51.100.4")), of(&[4]));
    assert_eq!(sources(&json(&server, "/api/v1/scans?interface=eth1&kind=vertical")), of(&[2]));
    assert_eq!(sources(&json(&server, "/api/v1/scans?since=1s")), of(&[]));
    // Whom one may ban: who completed a handshake.
    let mut proved = event(EventKind::Hit, 6, 20);
    proved.scan.evidence = Grade::Handshake;
    recent.put(&Arc::from("eth2"), proved);
    let answer = json(&server, "/api/v1/scans?evidence=handshake");
    assert_eq!((sources(&answer), &answer["scans"][0]["evidence"]), (of(&[6]), &"handshake".into()));
    assert_eq!(sources(&json(&server, "/api/v1/scans?evidence=spoofable")), of(&[2, 5, 4, 3, 2, 1]));
    assert_eq!(sources(&json(&server, "/api/v1/scans?evidence=handshake&interface=eth0")), of(&[]));
    let all = json(&server, "/api/v1/scans");
    // Page by page.
    let (mut path, mut seen) = (String::from("/api/v1/scans?limit=2"), Vec::new());
    loop {
        let page = json(&server, &path);
        seen.extend(sources(&page));
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/api/v1/scans?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, sources(&all));
    let reply = server.get("/api/v1/scans?sauce=1");
    assert_eq!((reply.status, reply.text().starts_with("unknown parameter \"sauce\"")), (400, true));
    // Nothing new, nothing sent.
    let tag = server.get("/api/v1/scans").header("etag").unwrap().to_owned();
    let again = server.ask("GET", "/api/v1/scans", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((again.status, again.body.len()), (304, 0));
    recent.put(&Arc::from("eth0"), event(EventKind::Ended, 1, 20));
    assert_eq!(server.ask("GET", "/api/v1/scans", &format!("If-None-Match: {tag}\r\n")).status, 200);
    let packed = server.ask("GET", "/api/v1/scans", "Accept-Encoding: gzip\r\n");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
}

/// A scan has two or three records, and what an operator asks in between is how far it is now.
#[test]
fn a_scan_that_is_open_has_the_numbers_of_now() {
    let recent = Arc::new(Recent::new(7));
    let eth0 = Arc::from("eth0");
    recent.put(&eth0, event(EventKind::Hit, 1, 20));
    recent.put(&eth0, event(EventKind::Hit, 2, 20));
    recent.put(&eth0, event(EventKind::Ended, 2, 200));
    recent.put(&eth0, event(EventKind::Grown, 3, 900));
    recent.put(&Arc::from("eth1"), event(EventKind::Hit, 1, 20));
    let mut snapshot = InterfaceSnapshot::clone(&super::quiet("eth0", true));
    let now = |n, ports, probes| {
        let scan = event(EventKind::Hit, n, ports).scan;
        Scan { probes, last_probe: fixture::after(5_000), ..scan }
    };
    // The third one was shown before it was last reported.
    snapshot.detection.scans = vec![now(1, 150, 150), now(2, 777, 777), now(3, 100, 1)];
    let store = SnapshotStore::new(["eth0"]);
    store.publish(0, Arc::new(snapshot));
    let server = beside(&recent, store);
    let ports = |query: &str| {
        let answer = json(&server, &format!("/api/v1/scans?{query}"));
        answer["scans"][0]["distinct_ports"].as_u64().unwrap()
    };
    assert_eq!(ports("source=198.51.100.1&interface=eth0"), 150);
    assert_eq!(ports("source=198.51.100.1&interface=eth1"), 20, "another scan");
    assert_eq!(ports("source=198.51.100.2"), 200, "it has ended");
    assert_eq!(ports("source=198.51.100.3"), 900, "what was reported later");
    assert!(server.get("/").text().contains("150 "), "the page, too");
}

/// The schema is served, names every field of a scan, and describes what is answered.
#[test]
fn the_schema_describes_the_answer() {
    let recent = Arc::new(Recent::new(7));
    recent.put(&Arc::from("eth0"), event(EventKind::Hit, 1, 20));
    recent.put(&Arc::from("eth0"), event(EventKind::Ended, 2, 1000));
    let server = over(&recent);
    let schema = json(&server, "/api/v1/scans/schema");
    let described = schema["$defs"]["scan"]["properties"].as_object().unwrap();
    // Of files only.
    let fields = JSON.iter().map(|(name, _)| *name).filter(|name| *name != "clock_steps");
    let missing: Vec<_> = fields.filter(|name| !described.contains_key(*name)).collect();
    assert!(missing.is_empty(), "docs/scans.schema.json does not describe {missing:?}");
    let script = "import json, sys, jsonschema\ns, a = json.load(sys.stdin)\njsonschema.Draft202012Validator.check_schema(s)\n\
                  jsonschema.Draft202012Validator(s).validate(a)";
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("needs python3 and python3-jsonschema");
    let both = Value::Array(vec![schema, json(&server, "/api/v1/scans")]);
    python.stdin.take().unwrap().write_all(both.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn events_come_as_they_happen_to_a_few_clients() {
    let recent = Arc::new(Recent::new(7));
    let server = over(&recent);
    let follow = |headers: &str| {
        let mut stream = server.connect();
        send(&mut stream, "GET", "/api/v1/events?source=198.51.100.0/24", headers);
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        (lines, line)
    };
    let until = |lines: &mut BufReader<std::net::TcpStream>, what: &str| {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert!(lines.read_line(&mut line).expect("an event in time") > 0, "it ended before {what}");
        }
        line
    };
    let (mut lines, status) = follow("");
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    until(&mut lines, "retry: ");
    recent.put(&Arc::from("eth0"), event(EventKind::Hit, 1, 20));
    until(&mut lines, "event: hit");
    assert!(until(&mut lines, "data: ").contains("\"source\":\"198.51.100.1\""));
    // One that comes back gets what it missed.
    recent.put(&Arc::from("eth0"), event(EventKind::Ended, 1, 20));
    let (mut back, _) = follow("Last-Event-ID: 1\r\n");
    until(&mut back, "id: 2");
    until(&mut back, "event: ended");
    // Eight at once; one more of the same client is sent away, one of another client takes a place.
    let others: Vec<_> = (0..6).map(|_| follow("")).collect();
    assert!(others.iter().all(|(_, status)| status.starts_with("HTTP/1.1 200")));
    let (_, status) = follow("");
    assert!(status.starts_with("HTTP/1.1 503"), "{status}");
    let mut other = super::connect_from("127.0.0.2", &server);
    send(&mut other, "GET", "/api/v1/events", "");
    let mut line = String::new();
    BufReader::new(other).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    assert!(PATIENCE.as_secs() > 10);
}

/// A browser that is closed, a curl that is stopped: their places are free at once, plain and under TLS, and so nobody who comes
/// instead is sent away.
#[test]
fn a_client_that_went_follows_no_more() {
    let server = over(&Arc::new(Recent::new(7)));
    let follow = || {
        let mut stream = server.connect();
        send(&mut stream, "GET", "/api/v1/events", "");
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        (lines, line)
    };
    // As often as it must until there is a place.
    let follow_in_the_end = || {
        let start = clock::steady();
        loop {
            let (lines, status) = follow();
            if status.starts_with("HTTP/1.1 200") {
                return lines;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "still taken: {status}");
        }
    };
    for _ in 0..3 {
        let all: Vec<_> = (0..8).map(|_| follow_in_the_end()).collect();
        let (mut refused, status) = follow();
        assert!(status.starts_with("HTTP/1.1 503"), "{status}");
        let mut rest = String::new();
        while !rest.ends_with("8 clients follow events, and no more can\n") {
            assert!(refused.read_line(&mut rest).unwrap() > 0, "{rest}");
        }
        drop(all);
    }
    for query in ["limit=1", "cursor=1", "since=1h", "kind=block&kind=vertical"] {
        assert_eq!(server.get(&format!("/api/v1/events?{query}")).status, 400, "{query}");
    }
}

/// The same under TLS, where the end of the connection is announced in a record before it comes.
#[test]
fn a_client_that_went_under_tls_follows_no_more() {
    let pki = super::pki::Pki::new();
    let config = pki.write("web.yml", "tls_server_config: {cert_file: server.pem, key_file: server.key}\n");
    let server = super::secure::guarded(&config, ClientLimits::default());
    let site = format!("https://localhost:{}/api/v1/events", server.address.port());
    let follow = |version: &str| {
        let mut curl = Command::new("curl")
            .args(["-sN", version, "--cacert", "ca.pem", "-w", "%{http_code}", &site])
            .current_dir(pki.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(curl.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (curl, line)
    };
    for version in ["--http1.1", "--http2", "--http1.1"] {
        let mut all = Vec::new();
        let start = clock::steady();
        while all.len() < 8 {
            let (mut curl, line) = follow(version);
            if line.starts_with("retry:") {
                all.push(curl);
            } else {
                curl.wait().unwrap();
                assert!(start.elapsed() < Duration::from_secs(5), "still taken: {line}");
            }
        }
        for curl in &mut all {
            curl.kill().unwrap();
            curl.wait().unwrap();
        }
    }
}

/// The command, asking a running exporter: every page of what it remembers.
#[test]
fn the_command_lists_what_an_exporter_remembers() {
    let recent = Arc::new(Recent::new(7));
    for n in 1..=250 {
        recent.put(&Arc::from("eth0"), event(EventKind::Hit, n % 250, 20));
    }
    let server = over(&recent);
    let scans = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
            .args(["scans", &format!("--web.listen-address={}", server.address)])
            .args(words)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = scans(&["--format=json", "--since=2026-01-01T00:00:00Z"]);
    let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, told.len()), (Some(0), 250), "{said}");
    let mut all = json(&server, "/api/v1/scans?limit=1")["scans"][0].clone();
    assert_eq!(told[249], all.take(), "the latest change comes last");
    let (_, said) = scans(&["--source=198.51.100.7", "--since=2026-01-01T00:00:00Z"]);
    assert!(
        said.contains("\n1 scan by 1 source since 2026-01-01 00:00:00 UTC: what the exporter at "),
        "{said}"
    );
    let (code, said) = scans(&["--since=1s"]);
    assert!(code == Some(0) && said.starts_with("no scans since "), "{said}");
    let address = server.address;
    drop(server);
    let output = Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
        .args(["scans", &format!("--web.listen-address={address}")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_status_says_what_is_in_force_and_what_is_not_well() {
    let server = over(&Arc::new(Recent::new(7)));
    let status = json(&server, "/api/v1/status");
    assert_eq!(status["policy"]["threshold"], 20);
    assert_eq!(status["interfaces"][0]["interface"], "eth0");
    assert_eq!(status["interfaces"][0]["state"], "capturing");
    assert_eq!(status["interfaces"][0]["reasons"], Value::Array(Vec::new()));
    assert_eq!(status["recent_scans"]["limit"], 1024);
    let rule = &status["interfaces"][0]["rules"][0];
    for (name, value) in [
        ("threshold", Value::from(20)),
        ("counts", Value::from("ports")),
        ("window_seconds", Value::from(10.0)),
    ] {
        assert_eq!(rule[name], value, "{name}");
    }
    assert_eq!((&rule["kinds"][0], &rule["peak"], &rule["hits"]), (&"vertical".into(), &0.into(), &0.into()));
    let page = server.get("/");
    let row =
        "<div>20 ports within 10s</div></td><td data-label=\"Finds\" class=\"number\"><div>vertical</div>";
    assert!(page.text().contains(row), "{}", page.text());
    assert_eq!((&status["web"]["tls"], &status["web"]["authentication"]), (&false.into(), &false.into()));
}
