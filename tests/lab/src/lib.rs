//! What the tests and benchmarks share: the laboratory in which the exporter meets real packets, and the packets.
//!
//! | module | is |
//! |---|---|
//! | [`frames`] | the one writer of frames: link layers, tags, tunnels, IP, TCP, fragments |
//! | [`files`] | capture files of them |
//! | [`captures`] | the recorded ones of `tests/captures`, and their goldens |
//! | [`mmdb`] | databases of countries and autonomous systems |
//! | [`traffic`] | attacks, probe by probe |
//! | [`sender`] | a sender of more frames a second than one system call each allows |
//! | [`spaces`] | network namespaces: a pair with a cable between, threads and commands in them |
//! | [`tun`] | an interface of any kind, whose other end is the test |
//! | [`room`] | a whole host: a room with a real journald, two networks and a router |
//! | [`exporter`] | the program under test, at work in a namespace |
//! | [`oracle`] | the rule again, slow and obvious |
//! | [`handshakes`] | so is who proved to be at his address |
//! | [`bodies`] | what each fuzz target does with its bytes, the laws of the core among them |
//! | [`contract`] | every family's name and labels: what rules and dashboards may use |
//!
//! A crate of its own: each test uses the part that it needs, and the compiler looks at all of it once. `netlab.sh`,
//! `journald.sh` and `systemd.sh` beside it build namespaces, a room and a whole system. What needs them needs root, and
//! fails without it.

#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]
#![allow(clippy::print_stdout, reason = "what was measured")]
#![allow(missing_docs, reason = "a name is enough where no operator reads")]

use portscan_exporter::system::clock;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

pub mod bodies;
pub mod captures;
pub mod contract;
pub mod exporter;
pub mod files;
pub mod frames;
pub mod handshakes;
pub mod mmdb;
pub mod oracle;
pub mod room;
pub mod sender;
pub mod spaces;
pub mod traffic;
pub mod tun;

pub use exporter::{Exporter, assert_confined, ends_well};
pub use room::{Lab, WATCHED, WATCHED_V6, in_room, journal, journal_text, written};
pub use spaces::{Ended, Pair, inject, inside, ip};

/// Where the project is.
pub const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Longest wait for anything that has no limit of its own: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test: cargo puts it one folder above the tests and benchmarks.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    own.ancestors().nth(2).expect("cargo's folder").join("portscan_exporter")
}

/// An answer, or why there is none yet.
pub trait Attempt {
    type Answer;
    fn answer(self) -> Result<Self::Answer, String>;
}

impl<T> Attempt for Option<T> {
    type Answer = T;
    fn answer(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

impl<T> Attempt for Result<T, String> {
    type Answer = T;
    fn answer(self) -> Self {
        self
    }
}

/// Asks until there is an answer.
pub fn eventually<A: Attempt>(what: &str, within: Duration, mut ask: impl FnMut() -> A) -> A::Answer {
    let start = clock::steady();
    loop {
        match ask().answer() {
            Ok(answer) => return answer,
            Err(instead) => assert!(
                start.elapsed() < within,
                "waited in vain for {what}: {instead}\n{}",
                if room::is_inside() { room::journal_text() } else { String::new() }
            ),
        }
        thread::sleep(Duration::from_millis(20));
    }
}
