//! The unit under a real systemd: it becomes ready, reloads, tells the journal of a scan, comes back after a
//! crash and stops cleanly. Needs root; `tests/lab/systemd.sh` boots the container.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

use portscan_exporter::system::clock;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

const LAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/systemd.sh");
const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/portscan_exporter.service");
const PATIENCE: Duration = Duration::from_secs(20);

/// A booted container with the unit, the built binary and flags for its loopback interface; two threads, so that the
/// unit's sandbox must let sockets be joined.
struct Machine {
    name: String,
    _flags: tempfile::NamedTempFile,
}

impl Machine {
    fn boot() -> Self {
        let flags = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            flags.path(),
            "ARGS=-i lo -i late0 --capture.threads=2 --web.listen-address=127.0.0.1:10220 \
             --config.file=/etc/portscan_exporter.yml\n",
        )
        .unwrap();
        let name = format!("portscan-{}", std::process::id());
        let machine = Self { name, _flags: flags };
        let bind = |from: &str, to: &str| format!("--bind-ro={from}:{to}");
        let output = machine.lab(
            "up",
            &[
                &bind(env!("CARGO_BIN_EXE_portscan_exporter"), "/usr/local/bin/portscan_exporter"),
                &bind(UNIT, "/etc/systemd/system/portscan_exporter.service"),
                &bind(machine._flags.path().to_str().unwrap(), "/etc/default/portscan_exporter"),
            ],
        );
        assert!(output.status.success(), "{}", text(&output));
        machine
    }

    fn lab(&self, verb: &str, arguments: &[&str]) -> Output {
        Command::new(LAB).args([verb, &self.name]).args(arguments).output().unwrap()
    }

    /// What a command inside says; it must succeed.
    fn run(&self, command: &[&str]) -> String {
        let output = self.lab("sh", command);
        if !output.status.success() {
            let journal = self.lab("sh", &["journalctl", "--no-pager", "-n", "40"]);
            panic!("{command:?}: {}\n{}", text(&output), text(&journal));
        }
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// A property of the unit.
    fn property(&self, name: &str) -> String {
        self.run(&["systemctl", "show", "--value", "-p", name, "portscan_exporter"])
    }

    /// What the journal has of the unit: these of its records, by `journalctl`'s own flags.
    fn journal(&self, which: &[&str]) -> String {
        self.run(&[&["journalctl", "-u", "portscan_exporter", "-o", "cat", "--no-pager"], which].concat())
    }

    /// The metrics, without a program that the container does not have.
    fn page(&self) -> String {
        let get = "exec 3<>/dev/tcp/127.0.0.1/10220; printf 'GET /metrics HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: \
                   close\\r\\n\\r\\n' >&3; cat <&3";
        self.run(&["bash", "-c", get])
    }

    fn eventually(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = clock::steady();
        while !holds(self) {
            if start.elapsed() > PATIENCE {
                panic!("waited in vain for {what}:\n{}", self.run(&["journalctl", "--no-pager", "-n", "40"]));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.lab("down", &[]);
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_unit_lives_under_a_real_systemd() {
    let machine = Machine::boot();

    let configure = |text: &str| {
        machine.run(&["bash", "-c", &format!("echo '{text}' >/etc/portscan_exporter.yml")]);
    };
    configure("detection: {threshold: 20}");
    // Type=notify: start returns when READY=1 has come.
    machine.run(&["systemctl", "start", "portscan_exporter"]);
    assert_eq!(machine.property("ActiveState"), "active");
    machine.eventually("the status", |machine| {
        machine.property("StatusText").starts_with("capturing on lo; late0: no such device")
    });
    let first = machine.property("MainPID");
    let capabilities = machine.run(&["grep", "CapEff", &format!("/proc/{first}/status")]);
    assert_eq!(capabilities, "CapEff:\t0000000000002000", "CAP_NET_RAW and nothing else");
    let uid = machine.run(&["stat", "-c", "%u", &format!("/proc/{first}")]);
    assert_ne!(uid, "0");

    // As it runs, by systemd 252: 1.7 of 10.
    machine.run(&["systemd-analyze", "security", "--no-pager", "--threshold=17", "portscan_exporter"]);
    let own = machine.run(&["cat", &format!("/proc/{first}/status")]);
    assert!(own.contains("NoNewPrivs:\t1\n") && own.contains("Seccomp:\t2\n"), "{own}");
    let journal = machine.journal(&[]);
    assert!(journal.contains("files are restricted, system calls restricted"), "{journal}");

    // /proc shows little, and still everything it tells of itself.
    let page = machine.page();
    for family in [
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
        "process_virtual_memory_bytes",
    ] {
        let shown = |line: &str| line.starts_with(family) && !line.ends_with(" 0");
        assert!(page.lines().any(shown), "{family} in {page}");
    }

    // An interface that comes after the start, goes and comes again.
    let up = |machine: &Machine, is: &str| {
        machine.eventually(&format!("late0 to be {is}"), |machine| {
            machine.page().contains(&format!("portscan_capture_up{{interface=\"late0\"}} {is}\n"))
        });
    };
    up(&machine, "0");
    // A host beyond it: what this machine asks of itself is nobody's scan.
    machine.run(&["ip", "netns", "add", "far"]);
    let far = |command: &str| {
        machine.run(&["nsenter", "--net=/run/netns/far", "bash", "-c", command]);
    };
    for scanner in ["198.51.100.7", "198.51.100.8"] {
        machine.run(&["ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1", "netns", "far"]);
        machine.run(&["ip", "addr", "add", "198.51.100.1/24", "dev", "late0"]);
        machine.run(&["ip", "link", "set", "late0", "up"]);
        far(&format!("ip addr add {scanner}/24 dev late1; ip link set late1 up"));
        up(&machine, "1");
        // Thirty closed ports: a scan, told natively and under the unit.
        far("for p in {1001..1030}; do : </dev/tcp/198.51.100.1/$p; done 2>/dev/null; true");
        machine.eventually("the hit in the journal", |machine| {
            let found = ["journalctl", "-u", "portscan_exporter", "-o", "cat", "PORTSCAN_EVENT=hit"];
            machine.run(&found).contains(&format!("portscan hit source={scanner} ports=20 window=10s "))
        });
        machine.run(&["ip", "link", "del", "late0"]);
        up(&machine, "0");
    }

    machine.run(&["systemctl", "reload", "portscan_exporter"]);
    machine.eventually("the end of the reload", |machine| machine.property("ActiveState") == "active");
    assert_eq!(machine.property("MainPID"), first);

    // A file that is refused fails the reload, says why as an error, and changes nothing.
    configure("detection: {treshold: 7}");
    let reload = machine.lab("sh", &["systemctl", "reload", "portscan_exporter"]);
    assert!(!reload.status.success(), "{}", text(&reload));
    machine.eventually("the reason, as an error", |machine| {
        let found = ["journalctl", "-u", "portscan_exporter", "-p", "err", "-o", "cat"];
        machine.run(&found).contains("treshold")
    });
    assert_eq!(machine.property("ActiveState"), "active");
    assert_eq!(machine.property("MainPID"), first);
    configure("detection: {threshold: 20}");

    machine.run(&["kill", "-KILL", &first]);
    machine.eventually("the restart after a crash", |machine| {
        machine.property("NRestarts") == "1" && machine.property("ActiveState") == "active"
    });
    assert_ne!(machine.property("MainPID"), first);

    machine.run(&["systemctl", "stop", "portscan_exporter"]);
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.property("ExecMainStatus"), "0");

    // Another port is refused until the unit allows it, as its comment says.
    std::fs::write(machine._flags.path(), "ARGS=-i lo --web.listen-address=127.0.0.1:10221\n").unwrap();
    let started = machine.lab("sh", &["systemctl", "start", "portscan_exporter"]);
    let built = machine.run(&["systemctl", "--version"]);
    if built.contains("+BPF_FRAMEWORK") {
        assert!(!started.status.success(), "SocketBindDeny= does not hold here: {}", text(&started));
        let journal = machine.journal(&[]);
        assert!(journal.contains("cannot listen on 127.0.0.1:10221: "), "{journal}");
    } else {
        // Debian 12 builds its systemd without: there it ignores SocketBindDeny= without a word, as the unit says. What is left is
        // that the exporter itself can bind no port beyond those of its start (Landlock; `system::privilege` tests that).
        assert!(built.contains("-BPF_FRAMEWORK") && started.status.success(), "{built}: {}", text(&started));
    }
    let dropin = "d=/etc/systemd/system/portscan_exporter.service.d; mkdir $d; printf '[Service]\\nSocketBindAllow=tcp:10221\\n\
                  WatchdogSec=2s\\n' >$d/port.conf; systemctl daemon-reload; systemctl restart portscan_exporter";
    machine.run(&["bash", "-c", dropin]);
    assert_eq!(machine.property("ActiveState"), "active");

    files_out_of_reach(&machine);
    a_key_that_only_root_can_read(&machine);

    // It hangs: the watchdog ends it, and it is started again.
    let hung = machine.property("MainPID");
    machine.run(&["kill", "-STOP", &hung]);
    machine.eventually("the restart by the watchdog", |machine| {
        machine.property("ActiveState") == "active"
            && ![hung.as_str(), "0"].contains(&machine.property("MainPID").as_str())
    });
    let journal = machine.journal(&[]);
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

/// Landlock holds the user of the unit, and root where a drop-in leaves it so: what that user may read, and the exporter need not, it
/// cannot read. Root is warned of.
fn files_out_of_reach(machine: &Machine) {
    const CONFIG: &str = "/etc/portscan_exporter.yml";
    std::fs::write(
        machine._flags.path(),
        format!("ARGS=-i lo --web.listen-address=127.0.0.1:10220 --config.file={CONFIG}\n"),
    )
    .unwrap();
    let refuses = |file: &str, mode: &str| {
        let link = format!(
            "rm -f {CONFIG}; echo 'detection: {{}}' >{file}; chmod {mode} {file}; ln -s {file} {CONFIG}"
        );
        machine.run(&["bash", "-c", &link]);
        machine.run(&["kill", "-HUP", &machine.property("MainPID")]);
        let why = format!(
            "not reloaded, the old one stays: cannot read {CONFIG}: permission denied (it is a link to {file})"
        );
        machine.eventually("the refusal", |machine| machine.journal(&["-p", "err"]).contains(&why));
    };
    let restart = |dropin: &str| {
        let commands = format!(
            "rm -f {CONFIG}; echo 'detection: {{}}' >{CONFIG}; d=/etc/systemd/system/portscan_exporter.service.d; \
             printf '[Service]\\n{dropin}\\n' >$d/user.conf; systemctl daemon-reload; systemctl restart portscan_exporter"
        );
        machine.run(&["bash", "-c", &commands]);
        let pid = machine.property("MainPID");
        machine.run(&["stat", "-c", "%u", &format!("/proc/{pid}")])
    };
    assert_ne!(restart(""), "0");
    refuses("/var/lib/anybodys", "644");
    assert_eq!(restart("DynamicUser=no"), "0");
    let warnings = machine.journal(&["-p", "warning"]);
    assert!(
        warnings.contains("it stays root, with no privilege but CAP_NET_RAW: cannot become nobody: "),
        "{warnings}"
    );
    refuses("/var/lib/roots", "600");
    restart("");
}

/// TLS with the key of a file that the unit's user cannot read: systemd hands it over, as the README says.
fn a_key_that_only_root_can_read(machine: &Machine) {
    let made = tempfile::tempdir().unwrap();
    let openssl = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.pem"])
        .current_dir(made.path())
        .output()
        .expect("needs openssl");
    assert!(openssl.status.success(), "{}", text(&openssl));
    machine.run(&["mkdir", "-m", "700", "/etc/portscan_exporter"]);
    let web = String::from("tls_server_config: {cert_file: server.pem, key_file: server.key}\n");
    let read = |name| std::fs::read_to_string(made.path().join(name)).unwrap();
    let files = [("web.yml", web), ("server.pem", read("server.pem")), ("server.key", read("server.key"))];
    for (name, content) in &files {
        let path = format!("/etc/portscan_exporter/{name}");
        machine.run(&["bash", "-c", &format!("umask 077; printf '%s' '{content}' >{path}")]);
    }
    let credentials =
        files.map(|(name, _)| format!("LoadCredential={name}:/etc/portscan_exporter/{name}")).join("\\n");
    std::fs::write(
        machine._flags.path(),
        "ARGS=-i lo --web.listen-address=127.0.0.1:10221 \
         --web.config.file=/run/credentials/portscan_exporter.service/web.yml\n",
    )
    .unwrap();
    let dropin = format!(
        "printf '[Service]\\n{credentials}\\n' >/etc/systemd/system/portscan_exporter.service.d/web.conf; \
         systemctl daemon-reload; systemctl restart portscan_exporter"
    );
    machine.run(&["bash", "-c", &dropin]);
    assert_eq!(machine.property("ActiveState"), "active");
    let health = ["/usr/local/bin/portscan_exporter", "health", "--web.listen-address=127.0.0.1:10221"];
    let said = machine.run(&[&health[..], &["--web.config.file=/etc/portscan_exporter/web.yml"]].concat());
    assert_eq!(said, "the exporter at 127.0.0.1:10221 is healthy");
    let plain = text(&machine.lab("sh", &health));
    assert!(plain.contains("it speaks TLS"), "{plain}");
    let pid = machine.property("MainPID");
    let uid = machine.run(&["stat", "-c", "%u", &format!("/proc/{pid}")]);
    assert_ne!(uid, "0", "it reads them as a user of its own");
}
