//! Clients that mean harm, under TLS: handshakes that stay open, floods of HTTP/2 frames. Another client is served all the while, and
//! what they hold is bounded.

use super::pki::{Pki, SECRET};
use super::secure::{curl, guarded};
use super::{ClientLimits, PATIENCE, Server};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const TLS: &str = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection that speaks HTTP/2, after its preface and an empty SETTINGS.
fn http2(pki: &Pki, server: &Server) -> Tls {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(pki.path().join("ca.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, server.connect());
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    stream
}

/// RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// GET of a path, as HPACK without compression (RFC 7541).
fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 4]);
    block.extend(b"test");
    frame(1, 0x5, stream, &block)
}

/// Writes until the server has had enough, or so often; whether it had.
fn flood(stream: &mut Tls, times: usize, mut piece: impl FnMut(usize) -> Vec<u8>) -> bool {
    stream.sock.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    (0..times).any(|n| stream.write_all(&piece(n)).is_err() || stream.flush().is_err())
}

/// Another client, from another address than the hostile one.
fn is_served(pki: &Pki, server: &Server) {
    let port = server.address.port();
    let site = format!("https://localhost:{port}/metrics");
    let words = ["--interface", "127.0.0.2", "--connect-to", &format!("localhost:{port}:127.0.0.1:{port}")];
    let (code, page) = curl(pki, server, &site, &words);
    assert_eq!(code, "200 HTTP/2", "{page}");
}

#[test]
fn handshakes_that_stay_open_are_bounded_and_cut() {
    let pki = Pki::new();
    let limits =
        ClientLimits { header: Duration::from_millis(1500), connections: 64, ..ClientLimits::default() };
    let server = guarded(&pki.write("web.yml", TLS), limits);
    let mut silent: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for stream in &mut silent {
        // The beginning of a record that never comes.
        let _ = stream.write_all(&[22, 3, 1, 2, 0, 1]);
    }
    is_served(&pki, &server);
    let mut rest = Vec::new();
    for stream in &mut silent {
        assert!(stream.read_to_end(&mut rest).is_ok() || !rest.is_empty() || stream.take_error().is_ok());
    }
    is_served(&pki, &server);
}

#[test]
fn a_flood_of_resets_ends_its_connection() {
    let pki = Pki::new();
    let server = guarded(&pki.write("web.yml", TLS), ClientLimits::default());
    let mut stream = http2(&pki, &server);
    // CVE-2023-44487: each request is taken back at once.
    let ended = flood(&mut stream, 200_000, |n| {
        let stream = 2 * n as u32 + 1;
        [get(stream, "/metrics"), frame(3, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    is_served(&pki, &server);
    assert!(ended, "nobody stopped it");
}

#[test]
fn floods_of_settings_pings_and_windows_are_answered_one_at_a_time() {
    let pki = Pki::new();
    let server = guarded(&pki.write("web.yml", TLS), ClientLimits::default());
    for (kind, payload, stream) in [
        (4, [0, 3, 0, 0, 0, 9].to_vec(), 0),
        (6, vec![7; 8], 0),
        (8, 1_u32.to_be_bytes().to_vec(), 0),
        (2, vec![0, 0, 0, 0, 1], 1),
    ] {
        let mut hostile = http2(&pki, &server);
        let many: Vec<u8> = (0..500).flat_map(|_| frame(kind, 0, stream, &payload)).collect();
        // It never reads what it is answered.
        flood(&mut hostile, 100, |_| many.clone());
        is_served(&pki, &server);
    }
}

#[test]
fn headers_without_end_and_without_bound_are_refused() {
    let pki = Pki::new();
    let server = guarded(&pki.write("web.yml", TLS), ClientLimits::default());
    let mut hostile = http2(&pki, &server);
    // CONTINUATION after CONTINUATION (CVE-2024-27316).
    hostile.write_all(&frame(1, 0, 1, &[0x82])).unwrap();
    let piece = [vec![0x00, 0x01, b'x', 0x7f, 0x81, 0x1e], vec![b'y'; 4000]].concat();
    let ended = flood(&mut hostile, 20_000, |_| frame(9, 0, 1, &piece));
    assert!(ended, "nobody stopped it");
    is_served(&pki, &server);
}

/// Eight answers at once and no more, and a client that takes none of them is cut as on HTTP/1.
#[test]
fn answers_that_nobody_takes_are_bounded_and_cut() {
    let pki = Pki::new();
    let limits = ClientLimits { request: Duration::from_millis(1500), ..ClientLimits::default() };
    let server = guarded(&pki.write("web.yml", TLS), limits);
    let mut hostile = http2(&pki, &server);
    // Its window is 0: nothing of a body can be sent.
    hostile.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).unwrap();
    for n in 0..8 {
        hostile.write_all(&get(2 * n + 1, "/metrics")).unwrap();
    }
    hostile.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    // Cut, however it shows.
    let _ = hostile.read_to_end(&mut rest);
    is_served(&pki, &server);
    let port = server.address.port();
    let (_, page) = curl(&pki, &server, &format!("https://localhost:{port}/metrics"), &[]);
    assert!(page.contains("\nportscan_web_connections_cut_total{reason=\"request\"} 1\n"), "{page}");
}

/// The attacker tries passwords, as fast as he can, from many connections. A client that was let in before is let in at once, and one
/// that comes for the first time finds its place.
#[test]
fn a_flood_of_wrong_passwords_keeps_nobody_out() {
    let pki = Pki::new();
    let text =
        format!("{TLS}basic_auth_users: {{alice: '{SECRET}', slow: '{}'}}\n", SECRET.replace("$04$", "$07$"));
    let server = guarded(&pki.write("web.yml", &text), ClientLimits::default());
    let port = server.address.port();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let attackers: Vec<_> = (0..6)
        .map(|n| {
            let (stop, directory) = (Arc::clone(&stop), pki.path().to_owned());
            std::thread::spawn(move || {
                for m in 0.. {
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                    let _ = std::process::Command::new("curl")
                        .args(["-s", "-m", "60", "-o", "/dev/null", "-k", "-u", &format!("slow:{n}-{m}")])
                        .arg(format!("https://127.0.0.1:{port}/metrics"))
                        .current_dir(&directory)
                        .status();
                }
            })
        })
        .collect();
    let words = [
        "--interface",
        "127.0.0.2",
        "--connect-to",
        &format!("localhost:{port}:127.0.0.1:{port}"),
        "-u",
        "alice:secret",
    ];
    for _ in 0..10 {
        let (code, _) = curl(&pki, &server, &format!("https://localhost:{port}/metrics"), &words);
        assert_eq!(code, "200 HTTP/2");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
}
