//! The fuzz corpus, and what fuzzing once found, through the bodies of the fuzz targets: stable Rust, every test run.
#![allow(clippy::print_stderr, reason = "a test tells which input it fails on")]

#[path = "support/bodies.rs"]
mod bodies;

use portscan_exporter::capture::Wake;
use portscan_exporter::detect::{Limits, Policy};
use portscan_exporter::replay;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Runs a target over its corpus. An empty or missing corpus is no success.
fn run(target: &str, body: fn(&[u8])) {
    let mut inputs = 0;
    for folder in ["corpus", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder that can be listed").path();
            let bytes = fs::read(&path).expect("an input that can be read");
            let held = std::panic::catch_unwind(|| body(&bytes));
            assert!(held.is_ok(), "the input is {}", path.display());
            inputs += 1;
        }
    }
    assert!(inputs >= 10, "fuzz/corpus/{target} holds only {inputs} inputs");
}

#[test]
fn decode() {
    run("decode", bodies::decode);
}

#[test]
fn detector() {
    run("detector", bodies::detector);
}

#[test]
fn file() {
    run("file", bodies::file);
}

#[test]
fn config() {
    run("config", bodies::config);
}

#[test]
fn http() {
    run("http", bodies::http);
}

/// The fuzzer ran out of descriptors: each file that libpcap refused kept one, and after a thousand no file could be read.
#[test]
fn a_refused_file_is_closed() {
    let mut refused = tempfile::NamedTempFile::new().expect("a file");
    refused.write_all(b"neither pcap nor pcapng").expect("can be written");
    let path = refused.path();
    let open = || {
        let descriptors = fs::read_dir("/proc/self/fd").expect("descriptors");
        descriptors.flatten().filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == path)).count()
    };
    assert_eq!(open(), 1, "the test's own");
    let wake = Wake::new().expect("an eventfd");
    let (_, error) = replay::replay(path, Policy::default(), Limits::default(), &wake, &mut |_| {});
    assert!(error.is_some_and(|error| error.contains("neither a pcap nor a pcapng file")));
    assert_eq!(open(), 1, "the test's own");
}
