//! What each fuzz target does with its bytes: the laws that hold whatever arrives. `cargo fuzz` hunts with them and
//! tests/corpus.rs replays the corpus through them.

mod capture_file;
mod configuration;
mod frame;
mod http;
pub mod packets;

pub use capture_file::file;
pub use configuration::config;
pub use frame::decode;
pub use http::http;
pub use packets::detector;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// A file that is only in memory, one for each thread, and the path by which anybody in this process can open it.
fn in_memory(bytes: &[u8]) -> PathBuf {
    thread_local! {
        static FILE: File = memfd_create("input", MemfdFlags::CLOEXEC).expect("a file in memory").into();
    }
    FILE.with(|mut file| {
        ftruncate(file, 0).expect("can be emptied");
        file.rewind().expect("can be rewound");
        file.write_all(bytes).expect("can be written");
        PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
    })
}

/// A message for people: one line, and nothing in it that could steer a terminal.
fn assert_one_line(text: &str) {
    assert!(!text.is_empty() && !text.chars().any(char::is_control), "not one line: {text:?}");
}
