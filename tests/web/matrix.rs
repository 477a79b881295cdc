//! Web configurations, as `promtool check web-config` judges them and as we do. Where the two differ, the reason is here.

use super::pki::Pki;
use portscan_exporter::web::ConfigFile;
use std::process::Command;

/// Who takes it.
enum Taken {
    Both,
    Neither,
    /// promtool does. We refuse what cannot work, what protects nobody, and what is weak.
    OnlyPromtool(&'static str),
    /// We do: the exporter-toolkit has it since, and Debian's promtool 2.42 is older.
    OnlyNewer,
}
use Taken::{Both, Neither, OnlyNewer, OnlyPromtool};

const HASH: &str = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

/// What follows the certificate and key of a server.
fn tls(rest: &str) -> String {
    format!("tls_server_config: {{cert_file: server.pem, key_file: server.key{rest}}}\n")
}

fn cases() -> Vec<(String, Taken)> {
    let mut cases = general();
    cases.extend(servers());
    cases.extend(clients());
    cases.extend(words());
    cases.extend(users());
    cases
}

fn general() -> Vec<(String, Taken)> {
    let own = |text: &str, taken| (text.to_owned(), taken);
    vec![
        own("", Both),
        own("# nothing\n", Both),
        own("{}\n", Both),
        own("tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n", Both),
        own("junk\n", Neither),
        own("- tls_server_config\n", Neither),
        own("tls_config: {}\n", Neither),
        own("http_server_config: {http3: true}\n", Neither),
        own("http_server_config: {http2: true}\nhttp_server_config: {http2: true}\n", Neither),
        own("http_server_config: {http2: true\n", Neither),
        own("http_server_config:\n\thttp2: true\n", Neither),
        own(
            "{}\n---\n{}\n",
            OnlyPromtool("it reads the first document and leaves out the rest without a word"),
        ),
        own("http_server_config: {<<: {http2: true}}\n", OnlyPromtool("merge keys hide what is in force")),
        own("http_server_config: &a {http2: true}\n", Both),
        // Words and headers of HTTP.
        own("http_server_config: {http2: false}\n", Both),
        own("http_server_config: {http2: off}\n", Both),
        own("http_server_config: {http2: No}\n", Both),
        own("http_server_config: {http2: 1}\n", Neither),
        own("http_server_config: {http2: maybe}\n", Neither),
        own("http_server_config: {headers: {}}\n", Both),
        own(
            "http_server_config: {headers: {X-Frame-Options: deny, X-Content-Type-Options: nosniff}}\n",
            Both,
        ),
        own("http_server_config: {headers: {X-Frame-Options: sameorigin, X-XSS-Protection: 0}}\n", Both),
        own("http_server_config: {headers: {Strict-Transport-Security: max-age=3600}}\n", Both),
        own("http_server_config: {headers: {Content-Security-Policy: \"default-src 'self'\"}}\n", Both),
        own("http_server_config: {headers: {Strict-Transport-Security: }}\n", Both),
        own("http_server_config: {headers: {X-Frame-Options: DENY}}\n", Neither),
        own("http_server_config: {headers: {X-Frame-Options: }}\n", Neither),
        own("http_server_config: {headers: {X-Content-Type-Options: sniff}}\n", Neither),
        own("http_server_config: {headers: {x-frame-options: deny}}\n", Neither),
        own("http_server_config: {headers: {Server: us}}\n", Neither),
        own("http_server_config: {headers: [X-Frame-Options]}\n", Neither),
        own(
            "http_server_config: {headers: {Content-Security-Policy: \"a\\nb\"}}\n",
            OnlyPromtool("a header has one line; Go sends it with spaces instead"),
        ),
        // A rate.
        own("rate_limit: {interval: 1s, burst: 10}\n", OnlyNewer),
        own("rate_limit: {interval: 0, burst: 0}\n", OnlyNewer),
        own("rate_limit: {interval: 1m30s, burst: 1}\n", OnlyNewer),
        own("rate_limit: {interval: soon, burst: 1}\n", Neither),
        own("rate_limit: {interval: 1s, burst: -1}\n", Neither),
        own("rate_limit: {interval: 1s, burst: 0}\n", Neither),
    ]
}

fn servers() -> Vec<(String, Taken)> {
    let own = |text: &str, taken| (text.to_owned(), taken);
    vec![
        (tls(""), Both),
        own("tls_server_config: {cert_file: server.pem}\n", Neither),
        own("tls_server_config: {key_file: server.key}\n", Neither),
        own("tls_server_config: {cert_file: '', key_file: ''}\n", OnlyPromtool("it serves without TLS")),
        own("tls_server_config: {cert_file: gone.pem, key_file: server.key}\n", Neither),
        own("tls_server_config: {cert_file: server.pem, key_file: gone.key}\n", Neither),
        own("tls_server_config: {cert_file: server.key, key_file: server.key}\n", Neither),
        own("tls_server_config: {cert_file: server.pem, key_file: server.pem}\n", Neither),
        own("tls_server_config: {cert_file: server.pem, key_file: client.key}\n", Neither),
        own("tls_server_config: {cert_file: chain.pem, key_file: server.key}\n", Both),
        own("tls_server_config: {cert_file: rsa.pem, key_file: rsa.key}\n", Both),
        own("tls_server_config: {cert_file: ed25519.pem, key_file: ed25519.key}\n", Both),
        own("tls_server_config: {cert_file: inline.yml, key_file: server.key}\n", Neither),
        own(
            "tls_server_config: {cert_file: p521.pem, key_file: p521.key}\n",
            OnlyPromtool("ring signs with P-256 and P-384 only"),
        ),
        own(
            "tls_server_config: {min_version: TLS13}\n",
            OnlyPromtool("there is no certificate: it serves without TLS although TLS is spoken of"),
        ),
        own("tls_server_config: {cert: nonsense, key: nonsense}\n", Neither),
        (String::from("INLINE"), OnlyNewer),
    ]
}

fn clients() -> Vec<(String, Taken)> {
    vec![
        (tls(", client_auth_type: NoClientCert"), Both),
        (tls(", client_auth_type: ''"), Both),
        (tls(", client_auth_type: RequestClientCert"), Both),
        (tls(", client_auth_type: RequireAnyClientCert"), Both),
        (tls(", client_auth_type: RequireClientCert"), Both),
        (tls(", client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem"), Both),
        (tls(", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"), Both),
        (tls(", client_auth_type: RequestClientCert, client_ca_file: ca.pem"), Both),
        (tls(", client_auth_type: requireandverifyclientcert, client_ca_file: ca.pem"), Neither),
        (tls(", client_auth_type: Everybody"), Neither),
        (tls(", client_ca_file: ca.pem"), Neither),
        (tls(", client_ca_file: ca.pem, client_auth_type: NoClientCert"), Neither),
        (tls(", client_ca_file: gone.pem, client_auth_type: RequireAndVerifyClientCert"), Neither),
        (
            tls(", client_auth_type: RequireAndVerifyClientCert"),
            OnlyPromtool("without client_ca_file any certificate of a public authority lets in"),
        ),
        (
            tls(", client_ca_file: server.key, client_auth_type: RequireAndVerifyClientCert"),
            OnlyPromtool("the file holds no certificate: nobody is ever let in"),
        ),
        (
            tls(
                ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, client_allowed_sans: [a.example]",
            ),
            OnlyNewer,
        ),
        // The newer toolkit takes it, and never looks at a name.
        (tls(", client_allowed_sans: [a.example]"), Neither),
    ]
}

fn words() -> Vec<(String, Taken)> {
    let weak = "rustls has no suite without forward secrecy and authenticated encryption";
    let old = "TLS 1.0 and 1.1 are broken (RFC 8996)";
    vec![
        (tls(", min_version: TLS12, max_version: TLS13"), Both),
        (tls(", min_version: TLS13"), Both),
        (tls(", max_version: TLS12"), Both),
        (tls(", min_version: TLS14"), Neither),
        (tls(", min_version: 1.2"), Neither),
        (tls(", min_version: TLS10"), OnlyPromtool(old)),
        (tls(", min_version: TLS11"), OnlyPromtool(old)),
        (tls(", max_version: TLS11"), OnlyPromtool(old)),
        (tls(", min_version: TLS13, max_version: TLS12"), OnlyPromtool("no client can connect")),
        (tls(", cipher_suites: []"), Both),
        (tls(", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]"), Both),
        (
            tls(
                ", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]",
            ),
            Both,
        ),
        (tls(", cipher_suites: [TLS_AES_128_GCM_SHA256]"), Both),
        (tls(", cipher_suites: [TLS_INVENTED]"), Neither),
        (tls(", cipher_suites: TLS_AES_128_GCM_SHA256"), Neither),
        (tls(", cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]"), Neither),
        (tls(", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]"), OnlyPromtool(weak)),
        (tls(", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]"), OnlyPromtool(weak)),
        (tls(", curve_preferences: [X25519, CurveP256, CurveP384]"), Both),
        (tls(", curve_preferences: [CurveP521]"), OnlyPromtool("ring has no P-521")),
        (tls(", curve_preferences: [P-256]"), Neither),
        (tls(", prefer_server_cipher_suites: true"), Both),
        (tls(", prefer_server_cipher_suites: false"), Both),
        (tls(", prefer_server_cipher_suites: 1"), Neither),
    ]
}

fn users() -> Vec<(String, Taken)> {
    let user = |hash: &str| format!("basic_auth_users: {{alice: '{hash}'}}\n");
    let never = "no password can match it";
    vec![
        (user(HASH), Both),
        (format!("basic_auth_users: {{alice: '{HASH}', bob: '{HASH}'}}\n"), Both),
        (format!("basic_auth_users: {{1: '{HASH}', '': '{HASH}'}}\n"), Both),
        (user(&HASH.replace("$2y$", "$2a$")), Both),
        (user(&HASH.replace("$2y$", "$2b$")), Both),
        (user(&HASH.replace("$10$", "$04$")), Both),
        (user(&HASH.replace("$10$", "$18$")), Both),
        (user("secret"), Neither),
        (user(""), Neither),
        (user(&HASH.replace("$10$", "$03$")), Neither),
        (user(&HASH.replace("$10$", "$32$")), Neither),
        (user(&HASH.replace("$2y$", "$3y$")), Neither),
        (user(&HASH[..50]), Neither),
        (String::from("basic_auth_users: {alice: }\n"), Neither),
        (String::from("basic_auth_users: [alice]\n"), Neither),
        (String::from("basic_auth_users: alice\n"), Neither),
        (format!("basic_auth_users: {{alice: '{HASH}', alice: '{HASH}'}}\n"), Neither),
        (user(&HASH.replace("$10$", "$31$")), OnlyPromtool("one check takes hours; a request may take 30 s")),
        (user(&HASH.replace("$2y$", "$1$")), OnlyPromtool(never)),
        (user(&format!("{HASH}xx")), OnlyPromtool(never)),
        (user(&HASH.replace("zoubFi", "z!ubFi")), OnlyPromtool(never)),
    ]
}

/// Other kinds of keys, and a file that has all of it in itself.
fn prepare(pki: &Pki) -> String {
    for (name, kind) in [("rsa", "rsa:2048"), ("ed25519", "ed25519"), ("p521", "ec")] {
        let mut openssl = Command::new("openssl");
        openssl
            .current_dir(pki.path())
            .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=x", "-newkey", kind]);
        if name == "p521" {
            openssl.args(["-pkeyopt", "ec_paramgen_curve:P-521"]);
        }
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        assert!(openssl.args(["-keyout", &key, "-out", &pem]).output().unwrap().status.success(), "{name}");
    }
    let read = |name: &str| std::fs::read_to_string(pki.path().join(name)).unwrap();
    pki.write("chain.pem", &(read("server.pem") + &read("ca.pem")));
    let indented = |name: &str| read(name).lines().map(|line| format!("    {line}\n")).collect::<String>();
    let inline = format!(
        "tls_server_config:\n  cert: |\n{}  key: |\n{}",
        indented("server.pem"),
        indented("server.key")
    );
    pki.write("inline.yml", &inline);
    inline
}

#[test]
fn what_promtool_takes_we_take_and_what_it_refuses_we_refuse() {
    let pki = Pki::new();
    let inline = prepare(&pki);
    let mut wrong = Vec::new();
    for (text, taken) in cases() {
        let text = if text == "INLINE" { inline.clone() } else { text };
        let path = pki.write("web.yml", &text);
        let ours = ConfigFile::open(&path);
        let promtool = Command::new("promtool").args(["check", "web-config"]).arg(&path).output();
        let promtool = promtool.expect("needs promtool (Debian: prometheus)");
        let expected = match taken {
            Both => (true, true),
            Neither => (false, false),
            OnlyPromtool(_) => (false, true),
            OnlyNewer => (true, false),
        };
        let said = ours.as_ref().err().cloned().unwrap_or_default();
        if (ours.is_ok(), promtool.status.success()) != expected {
            let theirs = [promtool.stdout, promtool.stderr].concat();
            wrong.push(format!("{text}  we: {said:?}\n  promtool: {}", String::from_utf8_lossy(&theirs)));
        }
        assert!(!said.contains(HASH) && !said.contains("PRIVATE KEY-----\nM"), "a secret in {said}");
        if let OnlyPromtool(why) = taken {
            println!("only promtool takes {}: {why}\n  we say: {said}", text.trim());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A table of bad configurations with their exact errors: they name the file and the line where there is one.
#[test]
fn what_is_wrong_is_said_with_its_place() {
    let pki = Pki::new();
    for (text, expected) in [
        (
            "tls_config: {}\n",
            "invalid web configuration WEB: line 1: unknown key \"tls_config\" (known: tls_server_config, http_server_config, basic_auth_users, rate_limit)",
        ),
        (
            "tls_server_config:\n  cert_file: gone.pem\n  key_file: server.key\n",
            "invalid web configuration WEB: cannot read cert_file DIR/gone.pem: no such file",
        ),
        (
            "tls_server_config:\n  cert_file: server.pem\n  key_file: client.key\n",
            "invalid web configuration WEB: cert and key do not belong together: keys may not be consistent: KeyMismatch",
        ),
        (
            "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  min_version: TLS11\n",
            "invalid web configuration WEB: line 4: TLS11 is not offered: it is broken (RFC 8996); write TLS12 or TLS13",
        ),
        (
            "tls_server_config:\n  cipher_suites:\n    - TLS_RSA_WITH_AES_128_CBC_SHA\n",
            "invalid web configuration WEB: line 3: the cipher suite \"TLS_RSA_WITH_AES_128_CBC_SHA\" is not offered: it is weak; leave it out",
        ),
        (
            "basic_auth_users:\n  alice: secret\n",
            "invalid web configuration WEB: the password of the user \"alice\" is no bcrypt hash (as `htpasswd -nBC 10 NAME` makes them: $2y$10$ and 53 characters)",
        ),
        (
            "http_server_config:\n  headers:\n    Server: us\n",
            "invalid web configuration WEB: the header \"Server\" cannot be set (known: Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection, Content-Security-Policy)",
        ),
    ] {
        let path = pki.write("web.yml", text);
        let said = ConfigFile::open(&path).unwrap_err();
        let place = |text: &str| {
            text.replace("WEB", &path.display().to_string()).replace("DIR", &pki.path().display().to_string())
        };
        assert_eq!(said, place(expected), "{text}");
    }
}
