//! The fuzz corpus, and what fuzzing once found, through the bodies of the fuzz targets: stable Rust, every test run.
#![allow(clippy::print_stderr, reason = "a test tells which input it fails on")]

#[path = "support/bodies.rs"]
mod bodies;

use std::fs;
use std::path::Path;

/// Runs a target over its corpus. An empty or missing corpus is no success.
fn replay(target: &str, body: fn(&[u8])) {
    let mut inputs = 0;
    for folder in ["corpus", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder that can be listed").path();
            let bytes = fs::read(&path).expect("an input that can be read");
            if let Err(panic) = std::panic::catch_unwind(|| body(&bytes)) {
                eprintln!("the input is {}", path.display());
                std::panic::resume_unwind(panic);
            }
            inputs += 1;
        }
    }
    assert!(inputs >= 10, "fuzz/corpus/{target} holds only {inputs} inputs");
}

#[test]
fn decode() {
    replay("decode", bodies::decode);
}

#[test]
fn detector() {
    replay("detector", bodies::detector);
}

#[test]
fn file() {
    replay("file", bodies::file);
}

#[test]
fn config() {
    replay("config", bodies::config);
}

#[test]
fn http() {
    replay("http", bodies::http);
}
