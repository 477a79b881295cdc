//! The laboratory of the tests that need a whole host: a room with a real journald, two networks and a router, and
//! the exporter on the watched host `t`.
//!
//! Each test runs itself again inside `journald.sh`, a room of its own mounts and processes, and builds there the lab
//! of `netlab.sh`. Whatever a test leaves behind ends with its room; names in it clash with nobody's.

use crate::exporter::Exporter;
use crate::spaces::{Ended, command_in, run_in};
use crate::{HERE, PATIENCE, eventually, program};
use portscan_exporter::logger::JOURNAL_SOCKET;
use portscan_exporter::packet::Timestamp;
use portscan_exporter::system::clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::cell::RefCell;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

const INSIDE: &str = "PORTSCAN_TEST_INSIDE_LAB";

/// The port of the exporter's pages.
const PORT: u16 = 10220;

/// Whether this process is in a room.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The watched host.
pub const WATCHED: &str = "192.0.2.10";
/// The same host, by IPv6.
pub const WATCHED_V6: &str = "2001:db8:2::10";

/// Runs `body` in a room of its own, with a journald and the networks.
pub fn in_room(test: &str, body: fn(&Lab)) {
    in_bare_room(test, || body(&Lab::new()));
}

/// Runs `body` in a room of its own in which nothing runs yet: this test, again, under journald.sh.
pub fn in_bare_room(test: &str, body: impl FnOnce()) {
    if is_inside() {
        return body();
    }
    let output = Command::new(format!("{HERE}/tests/lab/journald.sh"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .env_remove("JOURNAL_STREAM")
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "in the room:\n{said}");
    println!("{said}");
}

/// A journald that listens, until it is dropped.
pub fn journald() -> Ended {
    let journald =
        Ended(Command::new("/lib/systemd/systemd-journald").spawn().expect("needs systemd's journald"));
    eventually("journald to listen", PATIENCE, || {
        let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
        socket.connect(JOURNAL_SOCKET).ok()
    });
    journald
}

/// Two networks and a router, the journal, and a directory that goes away.
pub struct Lab {
    pub directory: tempfile::TempDir,
    journald: RefCell<Option<Ended>>,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Started as root, the exporter reads its configuration again as nobody.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let lab = Lab { directory, journald: RefCell::new(None) };
        lab.start_journald();
        lab.netlab("up");
        lab
    }

    /// Starts a journald and waits until it listens.
    pub fn start_journald(&self) {
        self.journald.replace(Some(journald()));
    }

    /// Kills journald as the kernel would (SIGKILL): its socket stays, and nobody listens.
    pub fn kill_journald(&self) {
        drop(self.journald.take());
    }

    /// Sends journald a signal.
    pub fn signal_journald(&self, signal: Signal) {
        let journald = self.journald.borrow();
        kill_process(Pid::from_child(&journald.as_ref().expect("it runs").0), signal).unwrap();
    }

    pub fn netlab(&self, operation: &str) {
        let output =
            Command::new(format!("{HERE}/tests/lab/netlab.sh")).args([operation, "lab"]).output().unwrap();
        assert!(
            output.status.success(),
            "netlab.sh {operation}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// A command in the network of one of the hosts.
    pub fn on(&self, host: &str, program: impl AsRef<std::path::Path>) -> Command {
        command_in(&format!("lab-{host}"), program)
    }

    /// Runs a command on a host to its end, which must be a good one.
    pub fn run(&self, host: &str, program: &str, arguments: &[&str]) -> Output {
        run_in(&format!("lab-{host}"), program, arguments)
    }

    /// nmap scans from `s1`; gives the time of its end, which is after its last probe.
    pub fn nmap(&self, arguments: &[&str]) -> Timestamp {
        self.run("s1", "nmap", &[&["-n", "-Pn", "-T4"], arguments].concat());
        clock::wall()
    }

    /// One of the actors of `tests/captures/traffic.py`.
    pub fn actor(&self, host: &str, arguments: &[&str]) -> Command {
        let mut command = self.on(host, "python3");
        command.arg(format!("{HERE}/tests/captures/traffic.py")).args(arguments);
        command
    }

    /// An actor that serves, ready when this returns.
    pub fn serving(&self, host: &str, arguments: &[&str]) -> Ended {
        let mut server = Ended(self.actor(host, arguments).stdout(Stdio::piped()).spawn().unwrap());
        let mut said = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        server
    }

    /// What a URL on the watched host answers, if anything does.
    pub fn get(&self, url: &str) -> Option<String> {
        let output = self.on("t", "curl").args(["-sf", "-m", "5", url]).output().expect("needs curl");
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// The exporter on the watched host, capturing and published once.
    pub fn exporter(&self, flags: &[&str]) -> Exporter {
        self.exporter_of(self.exporter_command(&[&["--log.format=journald"], flags].concat()))
    }

    /// How the exporter is started on the watched host.
    pub fn exporter_command(&self, flags: &[&str]) -> Command {
        let mut command = self.on("t", program());
        command.args(["-i", "eth0", "--web.listen-address=127.0.0.1:10220"]).args(flags);
        command
    }

    /// An exporter started in its own way, capturing and published once.
    pub fn exporter_of(&self, command: Command) -> Exporter {
        self.starting(command).ready()
    }

    /// The same, that need not be ready.
    pub fn starting(&self, command: Command) -> Exporter {
        Exporter::start("lab-t", PORT, command)
    }
}

/// Records of the journal with these matches, oldest first.
pub fn journal(matches: &[&str]) -> Vec<Value> {
    let output =
        Command::new("journalctl").args(["-o", "json", "--no-pager"]).args(matches).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The journal as people read it, for the message of a failed test.
pub fn journal_text() -> String {
    let output =
        Command::new("journalctl").args(["-o", "short-precise", "--no-pager", "-n", "60"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// When a record was written, in microseconds.
pub fn written(record: &Value) -> u64 {
    record["__REALTIME_TIMESTAMP"].as_str().unwrap().parse().unwrap()
}
