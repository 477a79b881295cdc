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

/// Floods of HTTP/2 for some seconds, from four connections at a time: requests that are taken back at once (CVE-2023-44487), settings and
/// pings. Whoever is cut comes again.
const FLOOD: &str = "
import socket, ssl, sys, threading, time
until = time.monotonic() + float(sys.argv[1])
context = ssl.create_default_context(cafile=sys.argv[2])
context.set_alpn_protocols(['h2'])
def frame(kind, flags, stream, payload=b''):
    return len(payload).to_bytes(3, 'big') + bytes([kind, flags]) + stream.to_bytes(4, 'big') + payload
get = b'\\x82\\x87\\x04\\x08/metrics\\x01\\x04test'
def requests(n):
    return b''.join(frame(1, 5, 2 * (n * 50 + m) + 1, get) + frame(3, 0, 2 * (n * 50 + m) + 1, bytes([0, 0, 0, 8])) for m in range(50))
floods = [requests, lambda n: frame(4, 0, 0, bytes([0, 3, 0, 0, 0, 9])) * 100, lambda n: frame(6, 0, 0, b'pingping') * 100]
connections = [0]
def attack(flood):
    while time.monotonic() < until:
        try:
            with context.wrap_socket(socket.create_connection(('127.0.0.1', 10220), 5), server_hostname='localhost') as tls:
                connections[0] += 1
                tls.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + frame(4, 0, 0))
                tls.settimeout(1)
                n = 0
                while time.monotonic() < until:
                    tls.sendall(flood(n))
                    n += 1
        except OSError:
            pass
all = [threading.Thread(target=attack, args=(floods[n % 3],)) for n in range(4)]
for one in all: one.start()
for one in all: one.join()
print(connections[0], 'connections')
sys.exit(0 if connections[0] else 1)
";

/// The attacker reaches the port and speaks HTTP/2. The capture has threads of its own, and feels nothing.
#[test]
fn a_flood_of_http2_during_a_scan_loses_nothing() {
    in_room("load::a_flood_of_http2_during_a_scan_loses_nothing", |lab| {
        let pki = Pki::new();
        pki.write("web.yml", "tls_server_config: {cert_file: server.pem, key_file: server.key}\n");
        under(lab, &pki, "https", |seconds, authority| {
            let mut flood = lab.on("t", "/usr/bin/python3");
            flood.args(["-c", FLOOD, seconds, authority]);
            flood
        });
    });
}

#[test]
fn a_load_of_scrapes_during_a_scan_loses_nothing() {
    in_room("load::a_load_of_scrapes_during_a_scan_loses_nothing", |lab| {
        let pki = Pki::new();
        pki.write("web.yml", "tls_server_config: {cert_file: server.pem, key_file: server.key}\n");
        for scheme in ["http", "https"] {
            under(lab, &pki, scheme, |seconds, authority| {
                let mut load = lab.on("t", "/usr/bin/python3");
                load.args(["-c", LOAD, scheme, seconds, authority]);
                load
            });
        }
    });
}

/// An exporter during scans, under what a program does to its pages for so many seconds.
fn under(lab: &Lab, pki: &Pki, scheme: &str, load: impl Fn(&str, &str) -> Command) {
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
    let mut load = Ended(load(&seconds, &authority).stdout(Stdio::piped()).spawn().unwrap());
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
