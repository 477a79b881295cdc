//! The fuzz corpus, and what fuzzing once found, through the bodies of the fuzz targets: stable Rust, every test run.
#![allow(clippy::print_stderr, reason = "a test tells which input it fails on")]

use lab::bodies;
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

/// Captures as a broken disk or an attacker leaves them: bytes changed, cut, doubled, each file read as libpcap reads it and no
/// worse. What is drawn is always the same.
#[test]
fn mutated_captures() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["tests/cases", "tests/captures"] {
        let entries = fs::read_dir(root.join(folder)).expect("a folder that can be listed");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        files.extend(paths.filter(|path| path.to_string_lossy().contains(".pcap")));
    }
    files.sort();
    assert!(files.len() > 40, "only {} captures", files.len());
    for round in 0..2_000 {
        let path = &files[round % files.len()];
        let mut bytes = fs::read(path).expect("a capture");
        // Some frames are enough.
        bytes.truncate(4_000 + draw(4_000));
        for _ in 0..=draw(6) {
            if bytes.len() < 8 {
                break;
            }
            let at = draw(bytes.len());
            match draw(5) {
                0 => bytes[at] ^= 1 << draw(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][draw(5)],
                2 => bytes.truncate(at.max(8)),
                3 => {
                    let end = (at + draw(400)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let end = (at + draw(64)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
        let held = std::panic::catch_unwind(|| bodies::file(&bytes));
        if held.is_err() {
            let kept = std::env::temp_dir().join("mutated-capture");
            fs::write(&kept, &bytes).expect("can be written");
            panic!("round {round}, made of {}: the input is {}", path.display(), kept.display());
        }
    }
}
