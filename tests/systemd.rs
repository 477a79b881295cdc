//! The unit under a real systemd: it becomes ready, reloads, tells the journal of a scan, comes back after a
//! crash and stops cleanly. Needs root; `tests/lab/systemd.sh` boots the container.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

use portscan_exporter::clock;
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
        std::fs::write(flags.path(), "ARGS=-i lo --capture.threads=2 --web.listen-address=127.0.0.1:10220\n")
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

    // Type=notify: start returns when READY=1 has come.
    machine.run(&["systemctl", "start", "portscan_exporter"]);
    assert_eq!(machine.property("ActiveState"), "active");
    assert_ne!(machine.property("StatusText"), "");
    let first = machine.property("MainPID");
    let capabilities = machine.run(&["grep", "CapEff", &format!("/proc/{first}/status")]);
    assert_eq!(capabilities, "CapEff:\t0000000000002000", "CAP_NET_RAW and nothing else");
    let uid = machine.run(&["stat", "-c", "%u", &format!("/proc/{first}")]);
    assert_ne!(uid, "0");

    // Thirty ports of this machine from itself: a scan, told natively and under the unit.
    machine.run(&[
        "bash",
        "-c",
        "for p in {1001..1030}; do : </dev/tcp/127.0.0.1/$p; done 2>/dev/null; true",
    ]);
    machine.eventually("the hit in the journal", |machine| {
        let found = ["journalctl", "-u", "portscan_exporter", "-o", "cat", "PORTSCAN_EVENT=hit"];
        machine.run(&found).contains("portscan hit source=127.0.0.1 ports=20 window=10s ")
    });

    machine.run(&["systemctl", "reload", "portscan_exporter"]);
    machine.eventually("the end of the reload", |machine| machine.property("ActiveState") == "active");
    assert_eq!(machine.property("MainPID"), first);

    machine.run(&["kill", "-KILL", &first]);
    machine.eventually("the restart after a crash", |machine| {
        machine.property("NRestarts") == "1" && machine.property("ActiveState") == "active"
    });
    assert_ne!(machine.property("MainPID"), first);

    machine.run(&["systemctl", "stop", "portscan_exporter"]);
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.property("ExecMainStatus"), "0");
}
