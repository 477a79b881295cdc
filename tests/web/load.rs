//! A load of scrapes during a scan, plain and under TLS: nothing is lost on the side of the capture, and memory stays where it is.
//! Here for some seconds; for a minute with PORTSCAN_LOAD_SECONDS=60.

use super::pki::Pki;
use lab::{Ended, Lab, PATIENCE, eventually, in_room};
use std::process::{Command, Stdio};

/// Four clients, each of which keeps its connection, ask for a page so often.
const LOAD: &str = "
import http.client, ssl, sys, threading, time
scheme, seconds, rate = sys.argv[1], float(sys.argv[2]), 200
made, wrong = [], []
def client():
    if scheme == 'https':
        tls = ssl.create_default_context(cafile=sys.argv[3])
        connection = http.client.HTTPSConnection('localhost', 10220, context=tls, timeout=30)
    else:
        connection = http.client.HTTPConnection('127.0.0.1', 10220, timeout=30)
    start = time.monotonic()
    for n in range(int(rate / 4 * seconds)):
        connection.request('GET', '/metrics', headers={'Accept-Encoding': 'gzip'})
        answer = connection.getresponse()
        answer.read()
        (made if answer.status == 200 else wrong).append(1)
        if time.monotonic() - start > seconds:
            break
        time.sleep(max(0, start + (n + 1) * 4 / rate - time.monotonic()))
clients = [threading.Thread(target=client) for _ in range(4)]
for one in clients: one.start()
for one in clients: one.join()
print(len(made) / seconds, 'requests a second', len(wrong), 'wrong')
sys.exit(1 if wrong or not made else 0)
";

#[test]
fn a_load_of_scrapes_during_a_scan_loses_nothing() {
    in_room("load::a_load_of_scrapes_during_a_scan_loses_nothing", |lab| {
        let pki = Pki::new();
        pki.write("web.yml", "tls_server_config: {cert_file: server.pem, key_file: server.key}\n");
        for scheme in ["http", "https"] {
            under_load(lab, &pki, scheme);
        }
    });
}

fn under_load(lab: &Lab, pki: &Pki, scheme: &str) {
    let seconds = std::env::var("PORTSCAN_LOAD_SECONDS").unwrap_or_else(|_| String::from("8"));
    let config = format!("--web.config.file={}", pki.path().join("web.yml").display());
    let mut command = lab.exporter_command(&["--log.format=journald"]);
    if scheme == "https" {
        command.arg(config);
    }
    let exporter = Ended(command.spawn().unwrap());
    let authority = pki.path().join("ca.pem").display().to_string();
    let page = || {
        let output = lab
            .on("t", "curl")
            .args(["-sf", "-m", "5", "--cacert", &authority, &format!("{scheme}://localhost:10220/metrics")])
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    let value = |page: &str, series: &str| -> f64 {
        let line =
            page.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    eventually("the exporter to capture", PATIENCE, || {
        page().filter(|page| page.contains("portscan_capture_up{interface=\"eth0\"} 1"))
    });
    let scan = || lab.nmap(&["-sS", "-p1-20000", "192.0.2.10"]);
    scan();
    let before = page().unwrap();
    let load: Command = {
        let mut load = lab.on("t", "/usr/bin/python3");
        load.args(["-c", LOAD, scheme, &seconds, &authority]).stdout(Stdio::piped());
        load
    };
    let mut load = Ended({ load }.spawn().unwrap());
    while load.0.try_wait().unwrap().is_none() {
        scan();
    }
    let mut said = String::new();
    std::io::Read::read_to_string(load.0.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert!(load.0.wait().unwrap().success(), "{said}");
    let after = page().unwrap();
    let grown =
        value(&after, "process_resident_memory_bytes") - value(&before, "process_resident_memory_bytes");
    println!("{scheme}: {} and {:.1} MiB more", said.trim(), grown / f64::from(1 << 20));
    assert_eq!(value(&after, "portscan_capture_dropped_packets_total"), 0.0);
    assert_eq!(value(&after, "portscan_capture_interface_dropped_packets_total"), 0.0);
    assert!(value(&after, "portscan_hits_total{interface=\"eth0\",kind=\"vertical\",window=\"10s\"}") >= 1.0);
    assert!(grown < 16.0 * f64::from(1 << 20), "{grown} bytes more");
    drop(exporter);
}
