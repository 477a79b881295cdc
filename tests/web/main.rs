//! The HTTP side over real loopback sockets: what each path answers, and what a hostile client cannot do.
//!
//! - here: pages, limits, listening, questions
//! - `matrix`: `--web.config.file`, held against promtool
//! - `secure`: TLS, certificates and passwords, with curl, openssl, nmap and a real Prometheus
//! - `hostile`: handshakes left open, floods of HTTP/2
//! - `scans`: the API of scans, its schema, events
//! - `formats`: text, OpenMetrics and protobuf, as Prometheus and its Python library read them
//! - `browser`: the page in Chromium
//! - `load`: two hundred scrapes a second during a scan
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured")]

#[path = "../support/snapshot.rs"]
mod fixture;
mod browser;
mod formats;
mod hostile;

mod load;
mod matrix;
mod pki;
mod scans;
mod secure;

use flate2::read::GzDecoder;
use portscan_exporter::capture::{CaptureStatus, FrameSink as _};
use portscan_exporter::detect;
use portscan_exporter::packet::Timestamp;
use portscan_exporter::pipeline::{LiveSink, Pipeline, Publisher, QUESTIONS, Question};
use portscan_exporter::publish::metrics::ProcessState;
use portscan_exporter::publish::snapshot::InterfaceSnapshot;
use portscan_exporter::publish::store::SnapshotStore;
use portscan_exporter::web::{self, Accept, App, ClientLimits, Options, Stream};
use rustix::net::{AddressFamily, SocketType};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

/// No answer may take longer; a test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn quiet(interface: &str, up: bool) -> Arc<InterfaceSnapshot> {
    let capture = CaptureStatus { up, ..CaptureStatus::default() };
    Arc::new(InterfaceSnapshot { capture, packets: 42, ..fixture::quiet(interface) })
}

fn options() -> Options {
    Options {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        systemd_socket: false,
        telemetry_path: String::from("/metrics"),
        max_requests: 40,
        enable_lifecycle: false,
        config_file: None,
    }
}

struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(store: SnapshotStore, options: Options, limits: ClientLimits) -> Self {
        Self::start_with(store, options, limits, || Ok(String::from("configuration reloaded")))
    }

    fn start_with(
        store: SnapshotStore,
        options: Options,
        limits: ClientLimits,
        reload: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        Self::start_asked(Arc::new(store), options, limits, reload, Vec::new())
    }

    fn start_asked(
        store: Arc<SnapshotStore>,
        options: Options,
        limits: ClientLimits,
        reload: impl Fn() -> Result<String, String> + Send + Sync + 'static,
        threads: Vec<SyncSender<Question>>,
    ) -> Self {
        Self::start_app(options, limits, move |options| {
            let reload = move || std::future::ready(reload());
            App::new(options, store, ProcessState::default, reload).with_questions(threads)
        })
    }

    fn start_app(
        options: Options,
        limits: ClientLimits,
        app: impl FnOnce(Options) -> App + Send + 'static,
    ) -> Self {
        let (bound, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listeners = web::bind(&options, Vec::new()).unwrap();
                bound.send(listeners.addresses().next().unwrap()).unwrap();
                web::serve_within(listeners, app(options), limits, async {
                    let _ = stopped.await;
                })
                .await
                .unwrap();
            });
        });
        let address = address.recv_timeout(PATIENCE).unwrap();
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        let mut stream = self.connect();
        send(&mut stream, method, path, headers);
        Reply::read(&mut stream, method == "HEAD")
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "")
    }

    fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn send(stream: &mut TcpStream, method: &str, path: &str, headers: &str) {
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n").unwrap();
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn read(stream: &mut TcpStream, head_only: bool) -> Self {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("a whole header");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Self { status, headers, body: Vec::new() };
        if !head_only {
            let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
            reply.body = vec![0; length];
            stream.read_exact(&mut reply.body).expect("a whole body");
        }
        reply
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Whether the server has closed: the end of the stream, or a reset for what it did not read.
fn is_cut(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
    }
}

fn one_ready_interface() -> SnapshotStore {
    let store = SnapshotStore::new(["eth0"]);
    store.publish(0, quiet("eth0", true));
    store
}

#[test]
fn every_path_by_every_method() {
    let server = Server::start(one_ready_interface(), options(), ClientLimits::default());
    let exposition = "text/plain; version=0.0.4; charset=utf-8";
    let (text, html) = ("text/plain; charset=utf-8", "text/html; charset=utf-8");
    for (method, path, status, kind, allow) in [
        ("GET", "/", 200, html, None),
        ("GET", "/?x=1", 200, html, None),
        ("GET", "/metrics", 200, exposition, None),
        ("GET", "/metrics?name[]=x", 200, exposition, None),
        ("GET", "/-/healthy", 200, text, None),
        ("GET", "/-/ready", 200, text, None),
        ("GET", "/-/reload", 405, text, Some("POST")),
        ("POST", "/-/reload", 403, text, None),
        ("GET", "/nowhere", 404, text, None),
        ("GET", "/metrics/", 404, text, None),
        ("GET", "//", 404, text, None),
        ("POST", "/nowhere", 404, text, None),
        ("POST", "/", 405, text, Some("GET, HEAD")),
        ("POST", "/metrics", 405, text, Some("GET, HEAD")),
        ("PUT", "/-/healthy", 405, text, Some("GET, HEAD")),
        ("DELETE", "/-/ready", 405, text, Some("GET, HEAD")),
        ("OPTIONS", "/metrics", 405, text, Some("GET, HEAD")),
        ("HEAD", "/", 200, html, None),
        ("HEAD", "/metrics", 200, exposition, None),
        ("HEAD", "/-/ready", 200, text, None),
        ("HEAD", "/nowhere", 404, text, None),
    ] {
        let reply = server.ask(method, path, "");
        let case = format!("{method} {path}");
        assert_eq!(reply.status, status, "{case}");
        assert_eq!(reply.header("content-type"), Some(kind), "{case}");
        assert_eq!(reply.header("allow"), allow, "{case}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{case}");
        assert!(reply.header("content-security-policy").unwrap().contains("default-src 'none'"), "{case}");
        assert!(reply.header("content-length").unwrap().parse::<u32>().unwrap() > 0, "{case}");
    }
}

/// The list of routes is the server's own: a new one is asked for here without another word.
#[test]
fn every_route_takes_its_methods_and_no_others() {
    let server = Server::start(one_ready_interface(), options(), ClientLimits::default());
    let landing = server.get("/");
    for (path, methods) in web::paths("/metrics") {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let reply = server.ask(method, &path, "");
            let takes = methods.split(", ").any(|one| one == method);
            assert_eq!(reply.status == 405, !takes, "{method} {path}: {}", reply.status);
            assert_ne!(reply.status, 404, "{method} {path}");
            assert_eq!(reply.header("allow"), (!takes).then_some(methods), "{method} {path}");
        }
        assert!(landing.text().contains(&path), "the landing page does not name {path}");
    }
}

#[test]
fn the_landing_page_links_and_shows_the_interfaces() {
    let store = SnapshotStore::new(["eth0", "<b>", "eth2"]);
    store.publish(0, quiet("eth0", true));
    store.publish(1, quiet("<b>", false));
    let mut options = options();
    options.telemetry_path = String::from("/probe-counts");
    let server = Server::start(store, options, ClientLimits::default());
    let page = server.get("/");
    for part in [
        "<a href=\"/probe-counts\">Metrics</a>",
        "<a href=\"/-/healthy\">",
        "<a href=\"/-/ready\">",
        "<div>eth0</div></td><td data-label=\"State\"><span class=\"good\">capturing</span>",
        "<div>&lt;b&gt;</div></td><td data-label=\"State\"><span class=\"bad\">not capturing</span>",
        "<div>eth2</div></td><td data-label=\"State\"><span class=\"bad\">starting</span>",
        "the interface is missing, down or without carrier",
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(page.text().contains(part), "no {part} in {}", page.text());
    }
    assert_eq!(page.text().matches("<script").count(), 1);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(server.get("/metrics").status, 404);
    assert_eq!(server.get("/probe-counts").status, 200);
}

#[test]
fn ready_is_every_interface_and_healthy_is_every_tick() {
    let store = SnapshotStore::new(["eth0", "eth1", "eth2"]);
    store.publish(0, quiet("eth0", true));
    store.publish(1, quiet("eth1", false));
    let server = Server::start(store, options(), ClientLimits::default());
    let ready = server.get("/-/ready");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.text(), "eth1 does not capture now\neth2 has not published yet\n");
    assert_eq!(server.get("/-/healthy").status, 200);
    drop(server);

    let store = SnapshotStore::new(["eth0", "eth1"]);
    store.publish(0, quiet("eth0", true));
    #[allow(clippy::disallowed_methods, reason = "a tick of the past")]
    let past = std::time::Instant::now() - Duration::from_secs(12);
    store.publish_at(1, quiet("eth1", true), past);
    let server = Server::start(store, options(), ClientLimits::default());
    let healthy = server.get("/-/healthy");
    assert_eq!(healthy.status, 503);
    assert!(healthy.text().starts_with("the capture on eth1 has not ticked for 12 s"), "{}", healthy.text());
}

/// What a container's health check runs: its exit code is all that is read.
#[test]
fn health_is_an_exit_code_with_its_reason() {
    let health = |address: SocketAddr, flags: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
            .args(["health", &format!("--web.listen-address={address}")])
            .args(flags)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let store = SnapshotStore::new(["eth0", "eth1", "eth2"]);
    store.publish(0, quiet("eth0", true));
    store.publish(1, quiet("eth1", false));
    let server = Server::start(store, options(), ClientLimits::default());
    let address = server.address;
    let healthy = (0, format!("the exporter at {address} is healthy\n"), String::new());
    assert_eq!(
        health(address, &[]),
        healthy,
        "it is alive though its interface is down: no reason to restart it"
    );
    let not_ready = format!(
        "portscan_exporter: the exporter at {address} is not ready: 503 eth1 does not capture now; eth2 has not \
         published yet\n"
    );
    assert_eq!(health(address, &["--ready"]), (1, String::new(), not_ready));
    drop(server);
    let (code, _, said) = health(address, &[]);
    assert!(code == 1 && said.contains("no answer from the exporter"), "{said}");

    let server = Server::start(one_ready_interface(), options(), ClientLimits::default());
    let ready = format!("the exporter at {} is ready\n", server.address);
    assert_eq!(health(server.address, &["--ready"]), (0, ready, String::new()));
}

#[test]
fn gzip_only_when_asked_and_it_is_the_same_page() {
    let server = Server::start(one_ready_interface(), options(), ClientLimits::default());
    let plain = server.get("/metrics");
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("Accept, Accept-Encoding"));
    assert!(plain.text().contains("\nportscan_packets_total{interface=\"eth0\"} 42\n"));
    let refused = server.ask("GET", "/metrics", "Accept-Encoding: gzip;q=0\r\n");
    assert_eq!(refused.header("content-encoding"), None);
    let packed = server.ask("GET", "/metrics", "Accept-Encoding: gzip;q=1.0,*;q=0.5\r\n");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < plain.body.len() / 2);
    let mut page = String::new();
    GzDecoder::new(packed.body.as_slice()).read_to_string(&mut page).unwrap();
    let of_ours = |page: &str| {
        let lines = page.lines().filter(|line| line.contains("portscan_"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of_ours(&page), of_ours(plain.text()));
    // HEAD tells the length a GET would have and sends nothing: the next answer follows at once.
    let mut stream = server.connect();
    send(&mut stream, "HEAD", "/metrics", "");
    assert!(Reply::read(&mut stream, true).header("content-length").unwrap().parse::<u32>().unwrap() > 1000);
    send(&mut stream, "GET", "/-/ready", "");
    assert_eq!(Reply::read(&mut stream, false).text(), "portscan_exporter is ready\n");
}

#[test]
fn reload_only_by_post_and_only_when_enabled() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let reload = move || match count.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(String::from("configuration reloaded")),
        _ => Err(String::from("config.yml, line 3: unknown key \"treshold\"")),
    };
    let enabled = Options { enable_lifecycle: true, ..options() };
    let server = Server::start_with(one_ready_interface(), enabled, ClientLimits::default(), reload);
    assert_eq!(server.get("/-/reload").status, 405);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    let post = || {
        let mut stream = server.connect();
        write!(stream, "POST /-/reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", server.address)
            .unwrap();
        Reply::read(&mut stream, false)
    };
    assert_eq!(post().text(), "configuration reloaded\n");
    let failed = post();
    assert_eq!(failed.status, 500);
    assert_eq!(failed.text(), "config.yml, line 3: unknown key \"treshold\"\n");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_request_body_is_not_read() {
    let server = Server::start(one_ready_interface(), options(), ClientLimits::default());
    let reply = server.ask("POST", "/metrics", "Content-Length: 1000000000000\r\n");
    assert_eq!(reply.status, 405);
}

#[test]
fn oversized_headers_are_refused() {
    let server = Server::start(one_ready_interface(), options(), ClientLimits::default());
    let mut stream = server.connect();
    let long = format!("X-Long: {}\r\n", "x".repeat(64 << 10));
    // The server may close while this is still being written.
    let _ = write!(stream, "GET / HTTP/1.1\r\nHost: test\r\n{long}\r\n");
    let mut start = [0; 12];
    match stream.read_exact(&mut start) {
        Ok(()) => assert_eq!(&start, b"HTTP/1.1 431"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    assert_eq!(server.ask("GET", "/", &many).status, 431);
    let mut stream = server.connect();
    stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n").unwrap();
    assert_eq!(Reply::read(&mut stream, false).status, 400);
    assert_eq!(server.get("/-/ready").status, 200);
}

#[test]
fn a_client_that_dawdles_over_its_header_is_cut() {
    let limits = ClientLimits { header: Duration::from_millis(300), ..ClientLimits::default() };
    let server = Server::start(one_ready_interface(), options(), limits);
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: te").unwrap();
    // Also on a connection that has been answered before.
    let mut second = server.connect();
    send(&mut second, "GET", "/-/ready", "");
    assert_eq!(Reply::read(&mut second, false).status, 200);
    second.write_all(b"G").unwrap();
    for stream in [&mut silent, &mut slow, &mut second] {
        assert!(is_cut(stream));
    }
    let page = server.get("/metrics");
    assert!(page.text().contains("\nportscan_web_connections_cut_total{reason=\"header\"} 3\n"));
    assert_eq!(server.get("/-/ready").status, 200);
}

#[test]
fn a_kept_connection_outlives_the_header_limit_but_not_the_idle_one() {
    let limits = ClientLimits {
        header: Duration::from_millis(100),
        idle: Duration::from_millis(1500),
        ..ClientLimits::default()
    };
    let server = Server::start(one_ready_interface(), options(), limits);
    let mut stream = server.connect();
    send(&mut stream, "GET", "/-/ready", "");
    assert_eq!(Reply::read(&mut stream, false).status, 200);
    // Waiting is what is tested: four header limits of idleness.
    std::thread::sleep(Duration::from_millis(400));
    send(&mut stream, "GET", "/-/ready", "");
    assert_eq!(Reply::read(&mut stream, false).status, 200);
    assert!(is_cut(&mut stream));
}

#[test]
fn idle_connections_do_not_block_a_scrape() {
    let server = Server::start(one_ready_interface(), options(), ClientLimits::default());
    let idle: Vec<_> = (0..300).map(|_| server.connect()).collect();
    assert_eq!(server.get("/metrics").status, 200);
    // The first came first and went first; of the last, none had to go.
    let mut idle = idle.into_iter();
    assert!(is_cut(&mut idle.next().unwrap()));
    let mut last = idle.last().unwrap();
    send(&mut last, "GET", "/-/ready", "");
    assert_eq!(Reply::read(&mut last, false).status, 200);
}

/// A storm from one address pushes out its own connections, not the one Prometheus keeps between two scrapes.
#[test]
fn the_client_who_holds_most_gives_a_place_up_first() {
    let server = Server::start(
        one_ready_interface(),
        options(),
        ClientLimits { connections: 16, ..ClientLimits::default() },
    );
    let mut kept = connect_from("127.0.0.2", &server);
    send(&mut kept, "GET", "/-/ready", "");
    assert_eq!(Reply::read(&mut kept, false).status, 200);
    let _storm: Vec<_> = (0..100).map(|_| server.connect()).collect();
    // 101 connections for 16 places, once all have been accepted.
    let crowded = "\nportscan_web_connections_cut_total{reason=\"crowded\"} 85\n";
    #[allow(clippy::disallowed_methods, reason = "a deadline")]
    let give_up = std::time::Instant::now() + PATIENCE;
    loop {
        send(&mut kept, "GET", "/metrics", "");
        if Reply::read(&mut kept, false).text().contains(crowded) {
            break;
        }
        #[allow(clippy::disallowed_methods, reason = "a deadline")]
        let now = std::time::Instant::now();
        assert!(now < give_up, "not counted");
    }
}

#[test]
fn a_client_that_closes_its_side_still_gets_its_answer() {
    let server = Server::start(one_ready_interface(), options(), ClientLimits::default());
    for _ in 0..200 {
        let mut stream = server.connect();
        send(&mut stream, "GET", "/-/ready", "");
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(Reply::read(&mut stream, false).status, 200);
        assert!(is_cut(&mut stream));
    }
}

#[test]
fn scrapes_that_nobody_reads_are_bounded_and_cut() {
    let limits = ClientLimits { request: Duration::from_millis(1500), ..ClientLimits::default() };
    let server = with_a_large_page(Options { max_requests: 1, ..options() }, limits);
    let mut stalled = server.connect();
    send(&mut stalled, "GET", "/metrics", "");
    let mut start = [0; 12];
    stalled.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let busy = server.get("/metrics");
    assert_eq!(busy.status, 503);
    assert_eq!(busy.text(), "too many scrapes at once (--web.max-requests)\n");
    assert_eq!(server.get("/-/ready").status, 200);
    // Once the stalled one is cut, its place is free again.
    #[allow(clippy::disallowed_methods, reason = "a deadline")]
    let give_up = std::time::Instant::now() + PATIENCE;
    #[allow(clippy::disallowed_methods, reason = "a deadline")]
    while server.get("/metrics").status != 200 {
        assert!(std::time::Instant::now() < give_up, "the place of a cut scrape was never freed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A connection from another of loopback's addresses.
fn connect_from(address: &str, server: &Server) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &format!("{address}:0").parse::<SocketAddr>().unwrap()).unwrap();
    rustix::net::connect(&socket, &server.address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A server whose page of metrics is larger than what the kernel takes for a client who does not read.
fn with_a_large_page(options: Options, limits: ClientLimits) -> Server {
    let store = SnapshotStore::new(["eth0"]);
    let mut snapshot = (*quiet("eth0", true)).clone();
    snapshot.interface = "x".repeat(200_000);
    store.publish(0, Arc::new(snapshot));
    Server::start(store, options, limits)
}

#[test]
fn running_answers_give_way_to_another_client_and_not_to_their_own() {
    let server = with_a_large_page(options(), ClientLimits { connections: 3, ..ClientLimits::default() });
    let mut busy: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = server.connect();
            send(&mut stream, "GET", "/metrics", "");
            stream.read_exact(&mut [0; 12]).unwrap();
            stream
        })
        .collect();
    // The same client: its running answers are not disturbed.
    assert!(is_cut(&mut server.connect()));
    // Another one: the oldest gives way, although it is in the middle of an answer.
    let mut other = connect_from("127.0.0.2", &server);
    send(&mut other, "GET", "/-/ready", "");
    assert_eq!(Reply::read(&mut other, false).status, 200);
    let mut rest = Vec::new();
    let read = busy[0].read_to_end(&mut rest);
    assert!(read.is_err() || !rest.ends_with(b"\n"), "the oldest was not cut");
    rest.clear();
    busy[1].set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let _ = busy[1].read_to_end(&mut rest);
    assert!(rest.ends_with(b"\n") && rest.len() > 5_000_000, "{} bytes", rest.len());
}

/// Clients that ask for the page and never read it, on every place and every scrape that can be had.
#[test]
fn answers_that_nobody_reads_do_not_keep_another_client_out() {
    let limits = ClientLimits { connections: 64, ..ClientLimits::default() };
    let server = with_a_large_page(Options { max_requests: 4, ..options() }, limits);
    let mut unread = Vec::new();
    for _ in 0..80 {
        let mut stream = server.connect();
        let _ = stream.write_all("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(50).as_bytes());
        unread.push(stream);
    }
    for _ in 0..10 {
        let mut other = connect_from("127.0.0.2", &server);
        send(&mut other, "GET", "/metrics", "Accept-Encoding: gzip\r\n");
        assert_eq!(Reply::read(&mut other, false).status, 200, "neither its place nor its scrape");
    }
}

/// A connection that pipelines has one scrape under way, not as many as it has sent requests for.
#[test]
fn one_scrape_at_once_is_enough_for_a_connection_that_pipelines() {
    let server = Server::start(
        one_ready_interface(),
        Options { max_requests: 1, ..options() },
        ClientLimits::default(),
    );
    let mut stream = server.connect();
    for _ in 0..20 {
        send(&mut stream, "GET", "/metrics", "");
    }
    for _ in 0..20 {
        assert_eq!(Reply::read(&mut stream, false).status, 200);
    }
}

/// Clients that pipeline requests for a page of 10,000 sources and read the answers: a scrape from elsewhere has its turn.
#[test]
fn clients_that_pipeline_do_not_keep_another_client_waiting() {
    let store = SnapshotStore::new(["eth0"]);
    let mut snapshot = (*quiet("eth0", true)).clone();
    let source = |n: u32| detect::PublishedSource {
        name: None,
        source: detect::Source::of(std::net::Ipv4Addr::from(0xc633_0000 + n).into(), 64),
        distinct_ports: 20,
        peak_distinct_ports: 20,
        distinct_hosts: 1,
        ports_of_busiest_host: 20,
        last_hit: None,
        last_probe: Timestamp::new(1_700_000_000, 0),
        tool: Default::default(),
        evidence: Default::default(),
        provenance: Default::default(),
        answered_ports: None,
        peak_unanswered_ports: None,
    };
    snapshot.detection.sources = (0..10_000).map(source).collect();
    store.publish(0, Arc::new(snapshot));
    let server = Server::start(store, options(), ClientLimits::default());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let many = "GET /metrics HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n".repeat(50);
    let readers: Vec<_> = (0..40)
        .map(|_| {
            let (mut reader, mut writer, many) = (server.connect(), None, many.clone());
            let stopped = Arc::clone(&stop);
            writer.replace(reader.try_clone().unwrap());
            std::thread::spawn(move || {
                let mut writer = writer.unwrap();
                let pump = std::thread::spawn(move || while writer.write_all(many.as_bytes()).is_ok() {});
                let mut bytes = vec![0; 1 << 20];
                while !stopped.load(Ordering::Relaxed) && reader.read(&mut bytes).is_ok_and(|read| read > 0) {
                }
                let _ = reader.shutdown(std::net::Shutdown::Both);
                pump.join().unwrap();
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        #[allow(clippy::disallowed_methods, reason = "how long it takes")]
        let start = std::time::Instant::now();
        let mut other = connect_from("127.0.0.2", &server);
        send(&mut other, "GET", "/metrics", "Accept-Encoding: gzip\r\n");
        assert_eq!(Reply::read(&mut other, false).status, 200);
        slowest = slowest.max(start.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    println!("slowest scrape beside 40 pipelining readers: {slowest:?}");
    // Over ten seconds when every pipelined request was answered in one go.
    assert!(slowest < Duration::from_secs(6), "{slowest:?}");
}

#[test]
fn a_request_names_one_host() {
    let server = Server::start(one_ready_interface(), options(), ClientLimits::default());
    let ask = |request: &str| {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        Reply::read(&mut stream, false).status
    };
    assert_eq!(ask("GET /-/ready HTTP/1.1\r\nHost: test\r\n\r\n"), 200);
    assert_eq!(ask("GET /-/ready HTTP/1.0\r\n\r\n"), 200);
    assert_eq!(ask("GET /-/ready HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(ask("GET /-/ready HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
    assert_eq!(ask("GET /-/ready HTTP/1.1\r\nHost: a b\r\n\r\n"), 400);
    assert_eq!(ask("GET /metrics HTTP/1.1\r\n\r\n"), 400);
}

#[test]
fn a_page_of_another_site_cannot_reload() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let reload = move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(String::from("configuration reloaded"))
    };
    let enabled = Options { enable_lifecycle: true, ..options() };
    let server = Server::start_with(one_ready_interface(), enabled, ClientLimits::default(), reload);
    let post = |host: &str, headers: &str| {
        let mut stream = server.connect();
        write!(stream, "POST /-/reload HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: 0\r\n\r\n")
            .unwrap();
        Reply::read(&mut stream, false).status
    };
    assert_eq!(post("rebound.example:10220", ""), 403);
    assert_eq!(post("127.0.0.1:10220", "Origin: http://evil.example\r\n"), 403);
    assert_eq!(post("127.0.0.1:10220", "Origin: null\r\n"), 403);
    assert_eq!(post("127.0.0.1:10220", "Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(post("127.0.0.1:10220", "Origin: http://127.0.0.1:10220\r\n"), 200);
    assert_eq!(post("localhost:10220", ""), 200);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn stopping_closes_the_idle_and_lets_the_running_finish() {
    let server = with_a_large_page(options(), ClientLimits { drain: PATIENCE, ..ClientLimits::default() });
    let address = server.address;
    let mut idle = server.connect();
    send(&mut idle, "GET", "/-/ready", "");
    assert_eq!(Reply::read(&mut idle, false).status, 200);
    let mut running = server.connect();
    send(&mut running, "GET", "/metrics", "");
    running.read_exact(&mut [0; 12]).unwrap();
    let reader = std::thread::spawn(move || {
        let mut rest = Vec::new();
        running.read_to_end(&mut rest).unwrap();
        rest
    });
    server.stop();
    assert!(is_cut(&mut idle));
    assert!(reader.join().unwrap().ends_with(b"\n"));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_client_that_never_finishes_does_not_hold_up_the_stop() {
    let server = Server::start(
        one_ready_interface(),
        options(),
        ClientLimits { drain: Duration::from_millis(100), ..ClientLimits::default() },
    );
    let mut slow = server.connect();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: te").unwrap();
    server.stop();
    assert!(is_cut(&mut slow));
}

fn bind(addresses: &[&str]) -> Result<Vec<SocketAddr>, String> {
    let listen = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let bound = web::bind(&Options { listen, ..options() }, Vec::new()).map_err(|error| error.to_string())?;
    let addresses: Vec<_> = bound.addresses().collect();
    for address in &addresses {
        // `[::]` is reached through both families.
        let port = address.port();
        if address.ip().is_unspecified() {
            TcpStream::connect(("127.0.0.1", port)).unwrap();
            TcpStream::connect(("::1", port)).unwrap();
        } else {
            TcpStream::connect(address).unwrap();
        }
    }
    Ok(addresses)
}

#[test]
fn addresses_of_both_families_and_none() {
    let bound = bind(&[":0", "127.0.0.1:0", "[::1]:0", "localhost:0"]).unwrap();
    assert!(bound[0].ip().is_unspecified() && bound[0].is_ipv6());
    assert_eq!(bound[1].ip().to_string(), "127.0.0.1");
    assert_eq!(bound[2].ip().to_string(), "::1");
    assert!(bound[3].ip().is_loopback());
}

#[test]
fn what_cannot_be_listened_on_is_an_error_of_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_eq!(bind(&[&address]).unwrap_err(), format!("cannot listen on {address}: address in use"));
    assert_eq!(
        bind(&["192.0.2.1:10220"]).unwrap_err(),
        "cannot listen on 192.0.2.1:10220: this host has no such address"
    );
}

/// What systemd passes by mistake: without a word there would be nothing to accept, for ever. Another process of this
/// test takes the descriptor over, as systemd's children do.
#[test]
fn a_passed_socket_that_cannot_serve_is_an_error_of_start() {
    use std::os::fd::{AsFd, AsRawFd as _};
    use std::process::Command;
    let directory = tempfile::tempdir().unwrap();
    let unix = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let cases: [(&dyn AsFd, &str); 4] = [
        (&unix, "one is a unix socket"),
        (&udp, "one is a UDP socket"),
        (&connection, "one is a connection, not a listening socket"),
        (&file, "one is no socket at all"),
    ];
    for (socket, why) in cases {
        // The shell puts it where systemd would, in its own process, which becomes the exporter.
        let script = "exec 3<&0; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
        let output = Command::new("sh")
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_portscan_exporter")])
            .args(["-i", "lo", "--web.systemd-socket", "--log.format=logfmt"])
            .stdin(socket.as_fd().try_clone_to_owned().unwrap())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{} {said}", socket.as_fd().as_raw_fd());
        assert!(said.contains(&format!("cannot listen on the sockets of systemd: {why}")), "{said}");
    }
}

/// A capture's sink that publishes to a store, ticking when the test says so.
struct Capture {
    sink: LiveSink<ToStore>,
    given: Arc<AtomicU32>,
}

struct ToStore {
    store: Arc<SnapshotStore>,
    thread: usize,
    given: Arc<AtomicU32>,
}

impl Publisher for ToStore {
    fn scan(&mut self, _event: detect::ScanEvent) -> bool {
        true
    }
    fn capture_changed(&mut self, _lost: Option<&str>) {}
    fn publish(&mut self, snapshot: InterfaceSnapshot) {
        self.store.publish_shard(0, self.thread, Arc::new(snapshot));
    }
    fn answer(&mut self, question: u64, explanation: detect::Explanation) {
        self.given.fetch_add(1, Ordering::SeqCst);
        self.store.answer_shard(0, self.thread, question, explanation);
    }
}

impl Capture {
    fn new(store: &Arc<SnapshotStore>, thread: usize, questions: Receiver<Question>) -> Self {
        let policy = detect::Policy {
            ignored_sources: portscan_exporter::detect::Networks::new(&["203.0.113.0/24".parse().unwrap()]),
            ..detect::Policy::default()
        };
        let limits = detect::Limits { memory_bytes: 4 << 20, ..detect::Limits::default() };
        let pipeline = Pipeline::new(policy, limits, 7, detect::Origin::Live);
        let given = Arc::new(AtomicU32::new(0));
        let to_store = ToStore { store: Arc::clone(store), thread, given: Arc::clone(&given) };
        let (_, policies) = mpsc::channel();
        let mut sink = LiveSink::new("eth0", pipeline, to_store, policies).with_questions(questions);
        sink.tick(&CaptureStatus { up: true, ..CaptureStatus::default() });
        Self { sink, given }
    }

    /// Ticks; how many questions it answered.
    fn tick(&mut self) -> u32 {
        let before = self.given.load(Ordering::SeqCst);
        self.sink.tick(&CaptureStatus { up: true, ..CaptureStatus::default() });
        self.given.load(Ordering::SeqCst) - before
    }

    /// Ticks, much faster than life, until nobody holds the other end of `until`.
    fn run(mut self, until: mpsc::Receiver<()>) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let tick = Duration::from_millis(20);
            while until.recv_timeout(tick) == Err(mpsc::RecvTimeoutError::Timeout) {
                self.tick();
            }
        })
    }
}

/// A server over one interface of so many threads, and their captures.
fn asked_server(threads: usize) -> (Server, Vec<Capture>, Arc<SnapshotStore>) {
    let store = Arc::new(SnapshotStore::shared(["eth0"], threads));
    let (ways, ends): (Vec<_>, Vec<_>) = (0..threads).map(|_| sync_channel(QUESTIONS)).unzip();
    let captures =
        ends.into_iter().enumerate().map(|(thread, end)| Capture::new(&store, thread, end)).collect();
    let reload = || Ok(String::new());
    let server = Server::start_asked(Arc::clone(&store), options(), ClientLimits::default(), reload, ways);
    (server, captures, store)
}

const QUESTION: &str = "/api/v1/explain?source=198.51.100.7";

#[test]
fn a_question_is_answered_by_all_threads_of_an_interface() {
    let (server, captures, _board) = asked_server(2);
    let (stops, threads): (Vec<_>, Vec<_>) = captures
        .into_iter()
        .map(|capture| {
            let (stop, until) = mpsc::channel();
            (stop, capture.run(until))
        })
        .unzip();
    let reply = server.get(QUESTION);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let answer: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        (&answer["asked"], &answer["interfaces"][0]["interface"]),
        (&"198.51.100.7".into(), &"eth0".into())
    );
    let known = &answer["interfaces"][0]["known"];
    assert_eq!(
        (&known["tracked"], &known["threshold"], &known["alert"]),
        (&"no".into(), &20.into(), &().into())
    );

    let known = |source: &str| {
        let reply = server.get(&format!("/api/v1/explain?source={source}"));
        let answer: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        answer["interfaces"][0]["known"].clone()
    };
    assert_eq!(known("203.0.113.9")["ignored_network"], "203.0.113.0/24");
    assert_eq!(known("224.0.0.1")["ignored"], "martian");
    assert_eq!(known("2001:db8::7")["source"], "2001:db8::/64");

    for (path, why) in [
        ("/api/v1/explain", "ask for one source"),
        ("/api/v1/explain?source=host.example", "host names are not looked up"),
        ("/api/v1/explain?source=2001:db8::/48", "2001:db8::/48 is no source: here a source is a /64"),
    ] {
        let reply = server.get(path);
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.text().contains(why), "{}", reply.text());
    }
    let reply = server.ask("POST", QUESTION, "");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));

    // The command, over the same server.
    let command = |words: &[&str]| {
        let listen = format!("--web.listen-address={}", server.address);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
            .arg("explain")
            .args(words)
            .arg(listen)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, errors) = command(&["203.0.113.9"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let first = "203.0.113.9 on eth0 (capturing): no alert: its probes do not count, 203.0.113.0/24 is in ignore.sources\n";
    assert!(said.starts_with(first), "{said}");
    let (code, said, _) = command(&["203.0.113.9", "--format=json"]);
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &answer["interfaces"][0]["known"]["ignored"]), (Some(0), &"source".into()));
    let (code, said, errors) = command(&["2001:db8::/48"]);
    let why = "portscan_exporter: 2001:db8::/48 is no source: here a source is a /64\n";
    assert_eq!((code, said.as_str(), errors.as_str()), (Some(2), "", why));
    drop(stops);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Whoever reaches the port asks as fast as he can, and goes away: the capture answers a few at each tick, the rest of the
/// questions is refused or waits in a short channel, and another client still has its place.
#[test]
fn a_flood_of_questions_costs_the_capture_eight_answers_a_tick() {
    let (server, mut captures, _board) = asked_server(1);
    let capture = &mut captures[0];
    let ask = |from: &str| {
        let mut stream = connect_from(from, &server);
        send(&mut stream, "GET", QUESTION, "");
        stream
    };
    for _ in 0..20 {
        drop(ask("127.0.0.1"));
    }
    let crowd: Vec<_> = (0..4 * QUESTIONS).map(|_| ask("127.0.0.1")).collect();
    let refused = crowd.into_iter().enumerate().filter_map(|(n, mut stream)| {
        // The first places are taken by those who wait; all later ones are told at once.
        (n >= 2 * QUESTIONS).then(|| Reply::read(&mut stream, false)).map(|reply| (reply, stream))
    });
    let refused: Vec<_> = refused.collect();
    for (reply, _) in &refused {
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{}", reply.text());
    }
    let page = server.get("/metrics");
    let counted =
        page.text().lines().find_map(|line| line.strip_prefix("portscan_web_questions_refused_total "));
    assert!(counted.unwrap().parse::<usize>().unwrap() >= refused.len(), "{counted:?}");
    let mut other = ask("127.0.0.2");
    let (told, answered) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let reply = Reply::read(&mut other, false);
        told.send(reply.status).unwrap();
    });
    let mut status = None;
    while status.is_none() {
        let given = capture.tick();
        assert!(given as usize <= QUESTIONS, "{given} answers at one tick");
        status = answered.recv_timeout(Duration::from_millis(20)).ok();
    }
    reader.join().unwrap();
    assert_eq!(status, Some(200), "the other client");
}

/// A capture that stands still: the page says so after two seconds and does not wait for ever.
#[test]
fn a_capture_that_does_not_answer_is_said() {
    let (server, captures, _board) = asked_server(1);
    let reply = server.get(QUESTION);
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    assert!(reply.text().starts_with("no capture answered in time"), "{}", reply.text());
    drop(captures);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
        .args(["explain", "198.51.100.7", &format!("--web.listen-address={}", server.address)])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot answer now, try again: 503 no capture answered in time"), "{said}");
}

#[test]
fn an_exporter_that_is_not_there_is_exit_one_with_what_to_try() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
        .args(["explain", "198.51.100.7", &format!("--web.listen-address={free}")])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "portscan_exporter: no answer from the exporter at http://{free}: connection refused; is it running there? \
         (--web.listen-address says where)\n"
    );
    assert_eq!((output.status.code(), said), (Some(1), expected));
}

/// A connection that is only in memory.
struct InMemory(tokio::io::DuplexStream);

macro_rules! poll_inner {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(mut self: Pin<&mut Self>, cx: &mut Context<'_>, $($argument: $type),*) -> Poll<std::io::Result<$result>> {
            Pin::new(&mut self.0).$name(cx, $($argument),*)
        })*
    };
}

impl tokio::io::AsyncRead for InMemory {
    poll_inner! { poll_read(buf: &mut tokio::io::ReadBuf<'_>) -> (); }
}

impl tokio::io::AsyncWrite for InMemory {
    poll_inner! { poll_write(bytes: &[u8]) -> usize; poll_flush() -> (); poll_shutdown() -> (); }
}

impl Stream for InMemory {
    fn discard_unsent(&self) {}
}

/// Where they come from.
struct Arrivals(tokio::sync::mpsc::Receiver<InMemory>);

impl Accept for Arrivals {
    type Stream = InMemory;

    async fn accept(&mut self) -> std::io::Result<(InMemory, IpAddr)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream, [192, 0, 2, 1].into())),
            None => std::future::pending().await,
        }
    }
}

/// The server knows nothing of sockets: what carries a connection may be anything, TLS one day.
#[test]
fn it_serves_over_any_kind_of_stream() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let reload = || std::future::ready(Ok(String::new()));
        let app = App::new(options(), Arc::new(one_ready_interface()), ProcessState::default, reload);
        let (comes, arrivals) = tokio::sync::mpsc::channel(4);
        let (stop, stopped) = oneshot::channel::<()>();
        let limits = ClientLimits { header: Duration::from_millis(300), ..ClientLimits::default() };
        let server = tokio::spawn(web::serve_on(vec![Arrivals(arrivals)], app, limits, async {
            let _ = stopped.await;
        }));
        // Smaller than an answer: it is sent in many pieces.
        let (mut client, stream) = tokio::io::duplex(64);
        comes.send(InMemory(stream)).await.unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with('\n'), "{answer}");
        // The limits hold there, too.
        let (mut silent, stream) = tokio::io::duplex(64);
        comes.send(InMemory(stream)).await.unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "cut");
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    });
}

/// More announced than passed: what it opens itself must not be taken for a socket (it aborted on its own epoll).
#[test]
fn sockets_that_were_announced_and_not_passed_are_an_error_of_start() {
    use std::process::Command;
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for (count, why) in [
        ("2", "LISTEN_FDS announces 2, and descriptor 4 is not open"),
        ("99999", "LISTEN_FDS announces 99999, and descriptor 4 is not open"),
        ("4294967295", "LISTEN_FDS is no number of descriptors: \"4294967295\""),
        ("-1", "LISTEN_FDS is no number of descriptors: \"-1\""),
        ("0", "none were passed (is the .socket unit started?)"),
    ] {
        let script = "exec 3<&0 4<&-; export LISTEN_FDS=$0 LISTEN_PID=$$; exec \"$@\"";
        let output = Command::new("sh")
            .args(["-c", script, count, env!("CARGO_BIN_EXE_portscan_exporter")])
            .args(["-i", "lo", "--web.systemd-socket", "--log.format=logfmt"])
            .stdin(std::os::fd::OwnedFd::from(tcp.try_clone().unwrap()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{count}: {said}");
        assert!(said.contains(&format!("cannot listen on the sockets of systemd: {why}")), "{said}");
    }
}
