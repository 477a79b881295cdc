//! The HTTP server, over a real connection: bytes in, whole answers out, and it goes on.

use flate2::read::GzDecoder;
use portscan_exporter::publish::metrics::ProcessState;
use portscan_exporter::publish::store::SnapshotStore;
use portscan_exporter::web::{App, Options, bind, serve};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::Duration;

/// What a client sends, until it closes its side.
pub fn http(bytes: &[u8]) {
    // Its answer goes on for ever; tests/web follows it.
    if bytes.windows(14).any(|path| path == b"/api/v1/events") {
        return;
    }
    let answered = exchange(bytes, true);
    let mut rest = answered.as_slice();
    while !rest.is_empty() {
        rest = answer(rest);
    }
    // Whatever that was, the next client is served.
    let page = exchange(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", false);
    assert!(page.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&page));
}

/// The server of this process, on loopback.
static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let options = Options {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            systemd_socket: false,
            telemetry_path: String::from("/metrics"),
            max_requests: 4,
            enable_lifecycle: true,
            config_file: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listeners = bind(&options, Vec::new()).expect("a port");
            tell.send(listeners.addresses().next().expect("an address")).expect("somebody waits");
            let app =
                App::new(options, Arc::new(SnapshotStore::new(["eth0"])), ProcessState::default, || {
                    std::future::ready(Ok(String::new()))
                });
            serve(listeners, app, std::future::pending()).await.expect("it serves");
        });
    });
    told.recv().expect("the server starts")
});

/// Everything the server answers. It must close when the client has nothing more to say, which `end` tells it; a client
/// that closes its side too early may get no answer.
fn exchange(bytes: &[u8], end: bool) -> Vec<u8> {
    assert_eq!(SERVER.ip(), Ipv4Addr::LOCALHOST);
    let mut stream = TcpStream::connect(*SERVER).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(8))).expect("a timeout");
    // The server may be done with the client before the client is: then the rest cannot be sent.
    let sent = stream.write_all(bytes);
    if end && sent.is_ok() {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answered = Vec::new();
    match stream.read_to_end(&mut answered) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            panic!("the server does not close: {error}")
        }
        // A reset may have overtaken the end of an answer.
        Err(_) => Vec::new(),
        Ok(_) => answered,
    }
}

/// Checks the first answer and returns what follows it.
fn answer(bytes: &[u8]) -> &[u8] {
    let text = String::from_utf8_lossy(bytes);
    let end =
        bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("no end: {text}"));
    let head = std::str::from_utf8(&bytes[..end]).expect("a header in ASCII");
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let code: u16 = status
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| status.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no status: {status}"));
    assert!([100, 200, 304, 400, 403, 404, 405, 414, 431, 503].contains(&code), "{head}");
    let (mut length, mut zipped) = (None, false);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line}"));
        match name {
            "content-length" => length = value.parse().ok(),
            "content-encoding" => zipped = value == "gzip",
            // Nothing that a client sends comes back as a field.
            "allow"
            | "cache-control"
            | "connection"
            | "content-security-policy"
            | "content-type"
            | "date"
            | "etag"
            | "referrer-policy"
            | "retry-after"
            | "vary"
            | "x-content-type-options" => {}
            _ => panic!("a field out of nowhere: {line}"),
        }
    }
    let body = &bytes[end + 4..];
    // The answer to HEAD tells the length of a body that does not follow.
    if body.is_empty() || body.starts_with(b"HTTP/1.") || code == 100 {
        return body;
    }
    let length: usize = length.unwrap_or_else(|| panic!("no length: {head}"));
    let (body, rest) = body.split_at_checked(length).unwrap_or_else(|| panic!("cut: {head}"));
    if zipped {
        let mut page = String::new();
        GzDecoder::new(body).read_to_string(&mut page).expect("gzip");
        assert!(page.starts_with("# HELP "), "{page}");
    }
    rest
}
