//! Tells the program what it is built from: the revision of the sources and the compiler.
#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=PORTSCAN_REVISION");
    // The file that every commit, checkout and reset writes; outside a repository there is none to watch.
    match words("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        Some(head) => println!("cargo::rerun-if-changed={head}"),
        None => println!("cargo::rerun-if-changed=src/build.rs"),
    }
    let revision = std::env::var("PORTSCAN_REVISION")
        .ok()
        .filter(|given| !given.is_empty())
        .or_else(|| words("git", &["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=PORTSCAN_REVISION={revision}");

    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let printed = words(&rustc, &["--version"]).unwrap_or_default();
    let version = printed.split_whitespace().nth(1).unwrap_or("unknown");
    println!("cargo::rustc-env=PORTSCAN_RUST_VERSION={version}");
}

/// What a command prints, if it can be run and succeeds.
fn words(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
