//! The program under test, at work in a network namespace.

use crate::spaces::{Ended, command_in};
use crate::{PATIENCE, eventually, room};
use portscan_exporter::system::clock;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// The exporter, until it is dropped.
pub struct Exporter {
    pub program: Ended,
    space: String,
    port: u16,
    /// Where its standard error goes, if that is a file.
    log: Option<PathBuf>,
}

impl Exporter {
    /// Starts it in a namespace, where it serves its pages on this port.
    pub fn start(space: &str, port: u16, mut command: Command) -> Self {
        let program = Ended(command.spawn().unwrap());
        Self { program, space: space.to_owned(), port, log: None }
    }

    /// The same, with its standard error in a file.
    pub fn start_with_log(space: &str, port: u16, mut command: Command, log: PathBuf) -> Self {
        command.stderr(File::create(&log).unwrap());
        Self { log: Some(log), ..Self::start(space, port, command) }
    }

    /// Waits until it captures and has published once.
    #[must_use]
    pub fn ready(mut self) -> Self {
        eventually("the exporter to be ready", PATIENCE, || {
            if let Some(status) = self.program.0.try_wait().unwrap() {
                panic!("the exporter ended with {status}\n{}{}", self.log(), room::journal_text());
            }
            self.get("/-/ready").ok_or_else(|| self.log())
        });
        self
    }

    /// A page, if there is one.
    pub fn get(&self, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let mut curl = command_in(&self.space, "curl");
        let output = curl.args(["-sf", "-m", "5", &url]).output().expect("needs curl");
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    pub fn metrics(&self) -> Option<String> {
        self.get("/metrics")
    }

    /// The series of these families and their values.
    pub fn series(&self, families: &[&str]) -> BTreeMap<String, f64> {
        let page = self.metrics().unwrap_or_default();
        page.lines()
            .filter(|line| families.iter().any(|family| line.split(['{', ' ']).next() == Some(family)))
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// The sum of the series of a family that carry these labels; no series, no answer.
    pub fn value(&self, family: &str, labels: &[&str]) -> Option<f64> {
        let series = self.series(&[family]);
        let of_labels = series.iter().filter(|(series, _)| labels.iter().all(|label| series.contains(label)));
        let values: Vec<f64> = of_labels.map(|(_, value)| *value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The same of all series; 0 if there is none.
    pub fn sum(&self, family: &str) -> f64 {
        self.value(family, &[]).unwrap_or_default()
    }

    pub fn wait_for(&self, family: &str, labels: &[&str], value: f64) {
        eventually(&format!("{family}{labels:?} to be {value}"), PATIENCE, || {
            let now = self.value(family, labels);
            if now == Some(value) { Ok(()) } else { Err(format!("it is {now:?}\n{}", self.log())) }
        });
    }

    /// What it wrote to its log, if that is a file.
    pub fn log(&self) -> String {
        self.log.as_ref().map(|log| fs::read_to_string(log).unwrap()).unwrap_or_default()
    }

    /// Log lines with this text.
    pub fn lines(&self, with: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
    }

    /// Its process, as the room numbers it.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.program.0)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Its /proc/PID/status.
    pub fn status_file(&self) -> String {
        fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_pid())).unwrap()
    }

    /// The value of a field there.
    pub fn status(&self, field: &str) -> String {
        let status = self.status_file();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Asks it to end, as systemd does; gives how it ended and after how long.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let start = clock::steady();
        self.signal(Signal::TERM);
        let status = eventually("the exporter to end", PATIENCE, || {
            self.program.0.try_wait().unwrap().ok_or_else(|| self.log())
        });
        (status, start.elapsed())
    }
}

/// Ends it, and holds it to its manners: exit 0 within two seconds.
pub fn ends_well(exporter: Exporter) {
    let (status, took) = exporter.terminate();
    println!("SIGTERM to end: {} ms", took.as_millis());
    assert_eq!(status.code(), Some(0), "{}", room::journal_text());
    assert!(took < Duration::from_secs(2), "took {took:?} to end");
}

/// The fields of /proc/PID/status of a process, or of a thread of it, that was started by root and gave up all it has no use
/// for: it is nobody, with the capability to capture.
const CONFINED: [&str; 10] = [
    "Uid:\t65534\t65534\t65534\t65534\n",
    "Gid:\t65534\t65534\t65534\t65534\n",
    "Groups:\t \n",
    "CapInh:\t0000000000000000\n",
    "CapPrm:\t0000000000002000\n",
    "CapEff:\t0000000000002000\n",
    "CapAmb:\t0000000000000000\n",
    "CapBnd:\t0000000000000000\n",
    "NoNewPrivs:\t1\n",
    "Seccomp:\t2\n",
];

/// Holds a process or a thread to that by its status, but for these fields.
pub fn assert_confined(status: &str, but: &[&str]) {
    for line in CONFINED.iter().filter(|line| !but.iter().any(|field| line.starts_with(field))) {
        assert!(status.contains(line), "{line:?} in {status}");
    }
}
