//! TLS, certificates and passwords, with the clients that people use.

use super::pki::{Pki, SECRET};
use super::{ClientLimits, PATIENCE, Server, one_ready_interface, options};
use portscan_exporter::publish::metrics::ProcessState;
use portscan_exporter::system::clock;
use portscan_exporter::web::{App, ConfigFile};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A server behind this configuration, over one interface that captures.
pub fn guarded(path: &Path, limits: ClientLimits) -> Server {
    let path = path.to_owned();
    Server::start_app(options(), limits, move |options| {
        let reload = || std::future::ready(Ok(String::from("configuration reloaded")));
        let app = App::new(options, Arc::new(one_ready_interface()), ProcessState::default, reload);
        app.with_config(Some(ConfigFile::open(&path).unwrap()))
    })
}

/// What curl gets: the status and the version of HTTP, or curl's own exit code; and the body.
pub fn curl(pki: &Pki, server: &Server, path: &str, words: &[&str]) -> (String, String) {
    let port = server.address.port();
    let output = Command::new("curl")
        .args(["-s", "-m", "60", "--cacert", "ca.pem", "-w", "\n%{http_code} %{http_version} %{exitcode}"])
        .args(words)
        .arg(path.replace("PORT", &port.to_string()))
        .current_dir(pki.path())
        .output()
        .expect("needs curl");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, end) = said.rsplit_once('\n').unwrap();
    let parts: Vec<&str> = end.split(' ').collect();
    let code = if parts[2] == "0" {
        format!("{} HTTP/{}", parts[0], parts[1])
    } else {
        format!("exit {}", parts[2])
    };
    (code, body.to_owned())
}

const SITE: &str = "https://localhost:PORT/metrics";
const CLIENT: [&str; 4] = ["--cert", "client.pem", "--key", "client.key"];
const OTHER: [&str; 4] = ["--cert", "other.pem", "--key", "other.key"];
const TLS: &str = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";

#[test]
fn tls_with_http2_and_without_and_nothing_else_on_its_port() {
    let pki = Pki::new();
    let server = guarded(&pki.write("web.yml", TLS), ClientLimits::default());
    let code = |path: &str, words: &[&str]| curl(&pki, &server, path, words).0;
    assert_eq!(code(SITE, &[]), "200 HTTP/2");
    assert_eq!(code(SITE, &["--http1.1"]), "200 HTTP/1.1");
    assert_eq!(code(SITE, &["-I"]), "200 HTTP/2");
    assert_eq!(code(SITE, &["-I", "--http1.1"]), "200 HTTP/1.1");
    assert_eq!(code("https://localhost:PORT/nowhere", &[]), "404 HTTP/2");
    assert_eq!(code(SITE, &["-d", "x=1"]), "405 HTTP/2");
    assert_eq!(code(SITE, &["--tls-max", "1.2"]), "200 HTTP/2");
    assert_eq!(code(SITE, &["--tls-max", "1.1"]), "exit 35");
    // A scrape by HTTP/2 is whole, and its length is said.
    // The client may be gone before its failed handshake is counted.
    let failed = "\nportscan_web_tls_handshakes_failed_total 1\n";
    lab::eventually("the failed handshake to be counted", lab::PATIENCE, || {
        let (_, page) = curl(&pki, &server, SITE, &[]);
        if page.contains(failed) { Ok(()) } else { Err(page) }
    });
    let plain = curl(&pki, &server, "http://localhost:PORT/metrics", &[]);
    assert_eq!(
        plain,
        (String::from("400 HTTP/1"), String::from("this port speaks TLS: ask https:// instead\n"))
    );
    // Another request on the same connection.
    let twice = ["-o", "/dev/null", "https://localhost:PORT/-/ready"];
    let words: Vec<String> =
        twice.iter().map(|word| word.replace("PORT", &server.address.port().to_string())).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(code(SITE, &words), "200 HTTP/2");

    let off = format!("{TLS}http_server_config: {{http2: false}}\n");
    let server = guarded(&pki.write("off.yml", &off), ClientLimits::default());
    assert_eq!(curl(&pki, &server, SITE, &[]).0, "200 HTTP/1.1");
}

#[test]
fn client_certificates_as_asked_for() {
    let pki = Pki::new();
    let asked = |rest: &str| {
        let text = format!("tls_server_config: {{cert_file: server.pem, key_file: server.key, {rest}}}\n");
        guarded(&pki.write("web.yml", &text), ClientLimits::default())
    };
    let self_signed = ["--cert", "ca.pem", "--key", "ca.key"];
    let stranger = Pki::new();
    let (pem, key) = (stranger.path().join("client.pem"), stranger.path().join("client.key"));
    let foreign = ["--cert", pem.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let ok = "200 HTTP/2";
    let code = |server: &Server, words: &[&str]| curl(&pki, server, SITE, words).0;
    let refused = |server: &Server, words: &[&str]| {
        let said = code(server, words);
        assert!(said.starts_with("exit "), "{words:?}: {said}");
    };

    let server = asked("client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem");
    assert_eq!(code(&server, &CLIENT), ok);
    refused(&server, &[]);
    refused(&server, &foreign);
    // A server's certificate is no client's.
    refused(&server, &["--cert", "server.pem", "--key", "server.key"]);

    let names = "client_allowed_sans: ['spiffe://example.org/prometheus', nobody]";
    let server =
        asked(&format!("client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, {names}"));
    assert_eq!(code(&server, &CLIENT), ok);
    refused(&server, &OTHER);

    let server = asked("client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem");
    assert_eq!((code(&server, &CLIENT), code(&server, &[])), (ok.into(), ok.into()));
    refused(&server, &foreign);

    let server = asked("client_auth_type: RequireAnyClientCert");
    assert_eq!((code(&server, &foreign), code(&server, &self_signed)), (ok.into(), ok.into()));
    refused(&server, &[]);

    let server = asked("client_auth_type: RequestClientCert");
    assert_eq!((code(&server, &foreign), code(&server, &[])), (ok.into(), ok.into()));
}

#[test]
fn passwords_guard_every_page() {
    let pki = Pki::new();
    let text = format!(
        "{TLS}basic_auth_users: {{alice: '{SECRET}'}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    );
    let server = guarded(&pki.write("web.yml", &text), ClientLimits::default());
    // First those that ask whether the capture ticked within ten seconds: here it does not tick again.
    for path in ["/-/ready", "/-/healthy", "/", "/metrics", "/api/v1/scans", "/api/v1/status", "/nowhere"] {
        let site = format!("https://localhost:PORT{path}");
        let code = |words: &[&str]| curl(&pki, &server, &site, words).0;
        let expected = if path == "/nowhere" { "404 HTTP/2" } else { "200 HTTP/2" };
        assert_eq!(code(&["-u", "alice:secret"]), expected, "{path}");
        for wrong in [
            &[][..],
            &["-u", "alice:wrong"],
            &["-u", "bob:secret"],
            &["-u", "alice:"],
            &["-H", "Authorization: Basic !"],
        ] {
            assert_eq!(code(wrong), "401 HTTP/2", "{path} {wrong:?}");
        }
    }
    let (_, head) = curl(&pki, &server, SITE, &["-I"]);
    assert!(
        head.contains("www-authenticate: Basic realm=") && head.contains("x-frame-options: deny"),
        "{head}"
    );
    let (_, page) = curl(&pki, &server, SITE, &["-u", "alice:secret"]);
    assert!(page.contains("\nportscan_web_requests_refused_total{reason=\"credentials\"} 36\n"), "{page}");
}

/// A file that gets broken, or that an editor has emptied before it writes, lets nobody in.
#[test]
fn a_file_that_is_broken_later_is_no_open_door() {
    let pki = Pki::new();
    let good = format!("{TLS}basic_auth_users: {{alice: '{SECRET}'}}\n");
    let server = guarded(&pki.write("web.yml", &good), ClientLimits::default());
    let code = |words: &[&str]| curl(&pki, &server, SITE, words).0;
    let right = ["-u", "alice:secret"];
    assert_eq!(code(&right), "200 HTTP/2");
    for broken in
        ["", "junk", TLS, &good[..good.len() - 20], "basic_auth_users: {}\n", "tls_server_config: {}\n"]
    {
        pki.write("web.yml", broken);
        for words in [&[][..], &right] {
            let said = code(words);
            assert!(said == "500 HTTP/2" || said.starts_with("exit "), "{broken:?}: {said}");
        }
    }
    pki.write("web.yml", &good);
    assert_eq!((code(&right), code(&[])), ("200 HTTP/2".into(), "401 HTTP/2".into()));
    // Another password, without a restart.
    pki.write("web.yml", &good.replace("alice", "carol"));
    assert_eq!((code(&right), code(&["-u", "carol:secret"])), ("401 HTTP/2".into(), "200 HTTP/2".into()));

    // On plain HTTP the answer is 500; one that asks for TLS needs a restart.
    let users = format!("basic_auth_users: {{alice: '{SECRET}'}}\n");
    let server = guarded(&pki.write("plain.yml", &users), ClientLimits::default());
    let code = |words: &[&str]| curl(&pki, &server, "http://localhost:PORT/metrics", words).0;
    assert_eq!((code(&right), code(&[])), ("200 HTTP/1.1".into(), "401 HTTP/1.1".into()));
    for broken in ["", "junk", "{}\n", &good] {
        pki.write("plain.yml", broken);
        assert_eq!((code(&right), code(&[])), ("500 HTTP/1.1".into(), "500 HTTP/1.1".into()), "{broken:?}");
    }
}

/// The serial number of the server's certificate, as a client sees it.
fn serial(pki: &Pki, server: &Server) -> String {
    let script = format!(
        "openssl s_client -connect {} -servername localhost </dev/null 2>/dev/null | openssl x509 -noout -serial",
        server.address
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(pki.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_renewed_certificate_needs_no_restart() {
    let pki = Pki::new();
    let server = guarded(&pki.write("web.yml", TLS), ClientLimits::default());
    let before = serial(&pki, &server);
    assert!(before.starts_with("serial="), "{before}");
    pki.issue("server", "DNS:localhost,IP:127.0.0.1", "serverAuth");
    let after = serial(&pki, &server);
    assert!(after.starts_with("serial=") && after != before, "{before} {after}");
    assert_eq!(curl(&pki, &server, SITE, &[]).0, "200 HTTP/2");
}

#[test]
fn a_rate_is_for_all_clients_together() {
    let pki = Pki::new();
    let text = "rate_limit: {interval: 1h, burst: 3}\n";
    let server = guarded(&pki.write("web.yml", text), ClientLimits::default());
    let codes: Vec<u16> = (0..5).map(|_| server.get("/-/ready").status).collect();
    assert_eq!(codes, [200, 200, 200, 429, 429]);
}

/// As testssl would: no old version, no weak suite, nothing but what rustls offers.
#[test]
fn scanners_of_tls_find_nothing_old_and_nothing_weak() {
    let pki = Pki::new();
    let server = guarded(&pki.write("web.yml", TLS), ClientLimits::default());
    let output = Command::new("nmap")
        .args([
            "-n",
            "-Pn",
            "--script",
            "ssl-enum-ciphers",
            "-p",
            &server.address.port().to_string(),
            "127.0.0.1",
        ])
        .output()
        .expect("needs nmap");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("TLSv1.2:") && said.contains("least strength: A"), "{said}");
    for weak in ["SSLv3", "TLSv1.0", "TLSv1.1", "CBC", "RC4", "3DES", "TLS_RSA_", "TLS_DHE_", "warnings"] {
        assert!(!said.contains(weak), "{weak} in {said}");
    }
    for (words, works) in [
        ("-tls1_3", true),
        ("-tls1_2", true),
        ("-tls1_2 -cipher AES128-SHA", false),
        ("-tls1_1 -cipher ALL:@SECLEVEL=0", false),
    ] {
        let script = format!("openssl s_client -connect {} {words} </dev/null", server.address);
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(output.status.success(), works, "{words}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

/// `explain` asks with a password over TLS; without it says what it needs.
#[test]
fn explain_shows_who_it_is() {
    let pki = Pki::new();
    let text = format!("{TLS}basic_auth_users: {{alice: '{SECRET}'}}\n");
    let server = guarded(&pki.write("web.yml", &text), ClientLimits::default());
    pki.write("password", "secret\n");
    pki.write(
        "client.yml",
        "basic_auth: {username: alice, password_file: password}\ntls_config: {ca_file: ca.pem}\n",
    );
    pki.write("nobody.yml", "tls_config: {ca_file: ca.pem, server_name: localhost}\n");
    let explain = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
            .args(["explain", "198.51.100.7", &format!("--web.listen-address={}", server.address)])
            .args(words)
            .current_dir(pki.path())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // This server has no captures to ask.
    let said = explain(&["--http.config.file=client.yml"]);
    assert!(said.contains("cannot answer now") || said.is_empty(), "{said}");
    let said = explain(&["--http.config.file=nobody.yml"]);
    assert!(said.contains("give a file with basic_auth (--http.config.file)"), "{said}");
    let said = explain(&[]);
    assert!(said.contains("it speaks TLS: give a file with tls_config (--http.config.file)"), "{said}");
    let said = explain(&["--http.config.file=web.yml"]);
    assert!(
        said.contains("--http.config.file: invalid web.yml: line 1: unknown key \"tls_server_config\""),
        "{said}"
    );
}

/// What `health` says of a server, and its exit code.
fn health(pki: &Pki, server: &Server, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
        .args(["health", &format!("--web.listen-address=localhost:{}", server.address.port())])
        .args(words)
        .current_dir(pki.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// What openssl makes by default calls itself an authority. Our client takes it where it is named, as Prometheus and curl do; and what
/// is wrong is said in words that help.
#[test]
fn health_believes_a_certificate_that_signed_itself_and_says_what_is_wrong_with_another() {
    let pki = Pki::new();
    pki.sign_itself("self", "DNS:localhost", "2");
    pki.sign_itself("elsewhere", "DNS:elsewhere.example.org", "2");
    for name in ["self", "elsewhere", "ca"] {
        pki.write(&format!("{name}.yml"), &format!("tls_config: {{ca_file: {name}.pem}}\n"));
    }
    let named = "tls_config: {ca_file: elsewhere.pem, server_name: elsewhere.example.org}\n";
    pki.write("named.yml", named);
    let file = |name: &str| format!("tls_server_config: {{cert_file: {name}.pem, key_file: {name}.key}}\n");

    let server = guarded(&pki.write("web.yml", &file("self")), ClientLimits::default());
    let asked = |words: &[&str]| health(&pki, &server, words);
    assert_eq!(asked(&["--http.config.file=self.yml"]).0, Some(0));
    assert_eq!(asked(&["--web.config.file=web.yml"]).0, Some(0), "as the exporter itself reads it");
    for (words, why) in [
        (&["--http.config.file=ca.yml"][..], "its certificate is neither in ca_file nor signed by"),
        (&[], "it speaks TLS: give a file with tls_config (--http.config.file)"),
    ] {
        let (code, said) = asked(words);
        assert!(code == Some(1) && said.contains(why) && !said.contains("is it running"), "{said}");
    }

    let server = guarded(&pki.write("elsewhere-web.yml", &file("elsewhere")), ClientLimits::default());
    assert_eq!(health(&pki, &server, &["--http.config.file=named.yml"]).0, Some(0));
    assert_eq!(
        health(&pki, &server, &["--web.config.file=elsewhere-web.yml"]).0,
        Some(0),
        "whatever its names"
    );
    let (_, said) = health(&pki, &server, &["--http.config.file=elsewhere.yml"]);
    assert!(said.contains("is not for localhost (server_name says which name to expect)"), "{said}");
    let (_, said) = health(&pki, &server, &["--web.config.file=web.yml"]);
    assert!(said.contains("is not that of --web.config.file"), "another exporter's file: {said}");
    // What openssl makes by default names no host.
    pki.sign_itself("nameless", "", "2");
    pki.write("nameless.yml", "tls_config: {ca_file: nameless.pem}\n");
    let server = guarded(&pki.write("nameless-web.yml", &file("nameless")), ClientLimits::default());
    let (code, said) = health(&pki, &server, &["--http.config.file=nameless.yml"]);
    assert!(
        code == Some(1) && said.contains("its certificate names no host, so no server_name fits"),
        "{said}"
    );
    assert_eq!(health(&pki, &server, &["--web.config.file=nameless-web.yml"]).0, Some(0));

    let plain = Server::start(one_ready_interface(), options(), ClientLimits::default());
    let (_, said) = health(&pki, &plain, &["--http.config.file=self.yml"]);
    assert!(said.contains("it does not speak TLS: leave tls_config out"), "{said}");
    let (_, said) = health(&pki, &plain, &["--web.config.file=web.yml"]);
    assert!(said.contains("it does not speak TLS, although --web.config.file asks for it"), "{said}");
    assert_eq!(health(&pki, &plain, &["--web.config.file=empty.yml"]).0, Some(2));
    pki.write("empty.yml", "");
    assert_eq!(health(&pki, &plain, &["--web.config.file=empty.yml"]).0, Some(0), "it asks for nothing");
}

#[test]
fn health_shows_a_password_and_a_certificate() {
    let pki = Pki::new();
    let users = format!("basic_auth_users: {{alice: '{SECRET}'}}\n");
    let server = guarded(&pki.write("web.yml", &format!("{TLS}{users}")), ClientLimits::default());
    pki.write("client.yml", "basic_auth: {username: alice, password: secret}\n");
    let both = ["--web.config.file=web.yml", "--http.config.file=client.yml"];
    assert_eq!(health(&pki, &server, &both).0, Some(0));
    let (code, said) = health(&pki, &server, &both[..1]);
    assert!(code == Some(1) && said.contains("asks for a password"), "{said}");

    let text = "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
                client_auth_type: RequireAndVerifyClientCert}\n";
    let server = guarded(&pki.write("strict.yml", text), ClientLimits::default());
    let tls = "tls_config: {ca_file: ca.pem, cert_file: client.pem, key_file: client.key}\n";
    pki.write("client.yml", tls);
    assert_eq!(health(&pki, &server, &["--http.config.file=client.yml"]).0, Some(0));
    let (code, said) = health(&pki, &server, &["--web.config.file=strict.yml"]);
    assert!(code == Some(1) && said.contains("it asks for a client certificate"), "{said}");
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prometheus scrapes with TLS, a client certificate and a password; without one of them it does not. With native histograms it asks
/// for protobuf.
#[test]
fn prometheus_scrapes_with_a_certificate_and_a_password() {
    let pki = Pki::new();
    let text = format!(
        "tls_server_config: {{cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
         client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [prometheus.example.org]}}\n\
         basic_auth_users: {{alice: '{SECRET}'}}\n"
    );
    let server = guarded(&pki.write("web.yml", &text), ClientLimits::default());
    let job = |name: &str, certificate: &str, password: &str| {
        format!(
            "  - job_name: {name}\n    scheme: https\n    basic_auth: {{username: alice, password: {password}}}\n    \
             tls_config: {{ca_file: ca.pem, cert_file: {certificate}.pem, key_file: {certificate}.key, server_name: localhost}}\n    \
             static_configs: [{{targets: ['{}']}}]\n",
            server.address
        )
    };
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n{}{}{}",
        job("good", "client", "secret"),
        job("password", "client", "wrong"),
        job("certificate", "other", "secret")
    );
    pki.write("prometheus.yml", &config);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _prometheus = Ended(
        Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .args(["--enable-feature=native-histograms,exemplar-storage"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(pki.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("needs prometheus"),
    );
    let ask = |query: &str| {
        let output = Command::new("curl")
            .args(["-s", "-m", "10", "--data-urlencode", &format!("query={query}")])
            .arg(format!("http://127.0.0.1:{port}/api/v1/query"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let start = clock::steady();
    loop {
        let up = ask("up");
        let value = |job: &str, value: &str| {
            up.split("{\"metric\"").any(|one| {
                one.contains(&format!("\"job\":\"{job}\"")) && one.contains(&format!("\"{value}\"]"))
            })
        };
        if value("good", "1") && value("password", "0") && value("certificate", "0") {
            break;
        }
        assert!(start.elapsed() < PATIENCE * 3, "not scraped: {up}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(ask("portscan_packets_total").contains("\"42\""), "{}", ask("portscan_packets_total"));
    assert!(ask("portscan_burst_distinct_ports_bucket").contains("\"le\""));
}
