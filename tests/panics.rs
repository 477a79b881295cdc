//! A thread that panics ends the process, with exit code 1 and its name in the journal, after the others have reported their open
//! scans: nobody would hear of scans any more, and systemd starts it anew.
//!
//! No input is known that makes one of them panic; so the exporter here is this very program, which puts into the
//! real shell a notifier or a publisher that does. It has no test harness: privileges are given up while there is one thread.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]
#![allow(clippy::print_stdout, reason = "the tests that ran")]

use lab::{Lab, eventually, in_room, journal, journal_text};
use portscan_exporter::app::{self, ShardPublisher, Shell};
use portscan_exporter::detect::ScanEvent;
use portscan_exporter::events::notify::Notifier;
use portscan_exporter::pipeline::Publisher;
use portscan_exporter::publish::snapshot::InterfaceSnapshot;
use portscan_exporter::settings::{Settings, flags};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which thread of the exporter panics at the first scan: this program is the exporter then.
const PANICS: &str = "PORTSCAN_TEST_PANICS";

type Test = (&'static str, fn(&Lab));

const TESTS: [Test; 2] = [
    ("a_notifier_that_panics_ends_the_process", a_notifier_that_panics_ends_the_process),
    ("a_capture_that_panics_ends_the_process", a_capture_that_panics_ends_the_process),
];

fn main() -> ExitCode {
    if let Ok(who) = std::env::var(PANICS) {
        return exporter(&who);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, body) in TESTS {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            in_room(name, body);
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

/// The exporter, as `main.rs` runs it.
fn exporter(who: &str) -> ExitCode {
    let settings = Settings::of(flags::parse(std::env::args_os()).unwrap()).unwrap();
    let shell = Shell::new(false).unwrap();
    let outcome = match who {
        "notifier" => app::run_with(
            shell,
            settings,
            |notices, _| panic!("at {:?}", notices.recv()),
            |publisher| publisher,
        ),
        "capture" => {
            let first = AtomicBool::new(true);
            let publisher =
                |publisher| PanicsAtAScan { publisher, panics: first.swap(false, Ordering::Relaxed) };
            app::run_with(shell, settings, |notices, _| Notifier::new().run(notices), publisher)
        }
        other => panic!("{other} does not panic"),
    };
    outcome.map_or_else(
        |why| {
            portscan_exporter::logger::last_words(&why);
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// A publisher whose thread panics at a scan, if it is the one that shall.
struct PanicsAtAScan {
    publisher: ShardPublisher,
    panics: bool,
}

impl Publisher for PanicsAtAScan {
    fn scan(&mut self, event: ScanEvent) -> bool {
        assert!(!self.panics, "at a scan");
        self.publisher.scan(event)
    }

    fn capture_changed(&mut self, lost: Option<&str>) {
        self.publisher.capture_changed(lost);
    }

    fn publish(&mut self, snapshot: InterfaceSnapshot) {
        self.publisher.publish(snapshot);
    }
}

/// Starts it on eth0 and on all interfaces, scans, and waits for its end.
fn ends_with_1(lab: &Lab, who: &str, records: &[&str]) {
    let mut command = lab.on("t", std::env::current_exe().unwrap().to_str().unwrap());
    command.args([
        "-i",
        "eth0",
        "-i",
        "any",
        "--web.listen-address=127.0.0.1:10220",
        "--log.format=journald",
    ]);
    command.env(PANICS, who);
    let mut exporter = lab.exporter_of(command);
    let source = Ipv4Addr::new(203, 0, 113, 1);
    lab::inject("lab-srv", (1..26).map(|port| lab::frames::syn(source, &[], port)).collect());
    let status = eventually("the end", lab::PATIENCE, || exporter.program.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(1), "{}", journal_text());
    for record in records {
        eventually(record, lab::PATIENCE, || journal_text().contains(record).then_some(()));
    }
}

fn a_notifier_that_panics_ends_the_process(lab: &Lab) {
    let stopped = "stopped: the notifier ended by itself; the notifier panicked";
    ends_with_1(lab, "notifier", &["panic in thread notify at tests/panics.rs", stopped]);
}

fn a_capture_that_panics_ends_the_process(lab: &Lab) {
    let stopped = "stopped: the capture on eth0 ended by itself; the capture on eth0 panicked";
    ends_with_1(lab, "capture", &["panic in thread capture-eth0 at tests/panics.rs", stopped]);
    let ended =
        |interface: &str| journal(&["PORTSCAN_EVENT=ended", &format!("PORTSCAN_INTERFACE={interface}")]);
    assert_eq!(ended("any").len(), 1, "the others report their open scans: {}", journal_text());
}
