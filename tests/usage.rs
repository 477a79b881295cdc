//! Bad usage: what is typed or written wrongly, the one line that says so, and exit code 2.

use assert_cmd::Command;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn exporter(words: &[&str], directory: &Path) -> (i32, String, String) {
    let output = Command::cargo_bin("portscan_exporter")
        .expect("the binary under test")
        .args(words)
        .current_dir(directory)
        .env("COLUMNS", "110")
        .output()
        .expect("the exporter runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn expect_refused(words: &[&str], directory: &Path, message: &str) {
    let (code, stdout, stderr) = exporter(words, directory);
    assert_eq!(stderr, format!("portscan_exporter: {message}\n"), "{words:?}");
    assert_eq!((code, stdout.as_str()), (2, ""), "{words:?}");
}

#[test]
fn bad_flags_are_refused() {
    let directory = TempDir::new().unwrap();
    for (words, message) in [
        // Words that are no flags.
        ("--detection.treshold=7", "x"),
        ("--detection", "x"),
        ("--web.config.file=web.yml", "x"),
        ("--config.chek", "x"),
        ("eth0", "x"),
        ("repaly a.pcap", "x"),
        ("replay", "x"),
        ("replay a.pcap --format=xml", "x"),
        ("replay a.pcap -i eth0", "x"),
        ("-i eth0 replay a.pcap", "x"),
        ("replay - a.pcap -", "x"),
        // Values that are no values.
        ("-i", "x"),
        ("--capture.direction=both", "x"),
        ("--capture.buffer-size=16M", "x"),
        ("--capture.promiscuous=yes", "x"),
        ("--detection.window=10", "x"),
        ("--detection.window=-1s", "x"),
        ("--detection.threshold=many", "x"),
        ("--detection.threshold=-5", "x"),
        ("--detection.threshold=5 --detection.threshold=6", "x"),
        ("--detection.memory=99999999999999999999", "x"),
        ("--log.level=loud", "x"),
        ("--log.format=xml", "x"),
        ("--web.systemd-socket --web.listen-address=:1", "x"),
        // Values out of bounds.
        ("-i eth0 -i lo -i eth0", "x"),
        ("-i ../eth0", "x"),
        ("--capture.buffer-size=1023KiB", "x"),
        ("--capture.buffer-size=3GiB", "x"),
        ("--detection.window=500ms", "x"),
        ("--detection.window=2h", "x"),
        ("--detection.threshold=1", "x"),
        ("--detection.threshold=65537", "x"),
        ("--detection.memory=1MiB", "x"),
        ("--detection.memory=65GiB", "x"),
        ("--publish.max-sources=10001", "x"),
        ("--publish.min-ports=1", "x"),
        ("--publish.min-ports=65537", "x"),
        ("--publish.hold=5s", "x"),
        ("--publish.hold=25h", "x"),
        ("--publish.hold=100ms", "x"),
        ("--web.max-requests=0", "x"),
        ("--web.telemetry-path=metrics", "x"),
        ("--web.telemetry-path=/", "x"),
        ("--web.telemetry-path=/-/healthy", "x"),
        ("--web.telemetry-path=/a?b", "x"),
        ("--config.check --detection.threshold=1", "x"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        expect_refused(&words, directory.path(), message);
    }
}
