//! Bad usage: what is typed or written wrongly, the one line that says so, and exit code 2.

use assert_cmd::Command;
use portscan_exporter::settings::bounds::{Row, rows};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
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

/// An alternative name (`ip link property add … altname`) may be longer than what the kernel calls an interface by itself.
#[test]
fn an_interface_may_be_given_by_a_long_name() {
    let directory = TempDir::new().unwrap();
    let longest = "x".repeat(127);
    assert_eq!(exporter(&["-i", &longest, "--config.check"], directory.path()).0, 0);
    let longer = "x".repeat(128);
    let (code, _, said) = exporter(&["-i", &longer, "--config.check"], directory.path());
    assert_eq!(code, 2);
    assert!(said.ends_with("is longer than the name of any interface (127 bytes)\n"), "{said}");
}

#[test]
fn bad_flags_are_refused() {
    let directory = TempDir::new().unwrap();
    for (words, message) in [
        // Words that are no flags.
        (
            "--detection.treshold=7",
            "unexpected argument '--detection.treshold' found (did you mean --detection.threshold?)",
        ),
        ("--detection", "unexpected argument '--detection' found (did you mean --detection.home?)"),
        ("--web.config.file=web.yml", "--web.config.file: cannot read web.yml: no such file"),
        ("--config.chek", "unexpected argument '--config.chek' found (did you mean --config.check?)"),
        ("eth0", "unrecognized subcommand 'eth0' (try --help)"),
        ("repaly a.pcap", "unrecognized subcommand 'repaly' (did you mean replay?)"),
        ("replay", "the following required arguments were not provided: <FILE>... (try --help)"),
        (
            "replay a.pcap --format=xml",
            "invalid value 'xml' for '--format <text|json|metrics>' (possible values: text, json, metrics)",
        ),
        ("replay a.pcap -i eth0", "unexpected argument '-i' found (try --help)"),
        ("-i eth0 replay a.pcap", "--capture.interface has no meaning for replay"),
        ("--capture.threads=2 replay a.pcap", "--capture.threads has no meaning for replay"),
        ("--web.max-requests=40 replay a.pcap", "--web.max-requests has no meaning for replay"),
        ("--user=nobody replay a.pcap", "--user has no meaning for replay"),
        ("explain 198.51.100.7 --detection.window=5s", "--detection.window has no meaning for explain"),
        ("--config.file=c.yml health", "--config.file has no meaning for health"),
        ("scans --publish.hold=1m", "--publish.hold has no meaning for scans"),
        ("replay - a.pcap -", "standard input (-) can be read only once"),
        ("explain", "the following required arguments were not provided: <ADDRESS> (try --help)"),
        (
            "explain host.example",
            "invalid value 'host.example' for '<ADDRESS>': expected an address like 198.51.100.7 or 2001:db8::7, or an IPv6 source like 2001:db8::/64 (host names are not looked up)",
        ),
        (
            "explain 198.51.100.0/24",
            "invalid value '198.51.100.0/24' for '<ADDRESS>': 198.51.100.0/24 is a network: ask for one address of it",
        ),
        (
            "explain many",
            "invalid value 'many' for '<ADDRESS>': many is no address: it stands for all sources of a scan by many. `scans --source many` lists such scans with some of their sources; ask for one of these",
        ),
        (
            "scans --source=host",
            "invalid value 'host' for '--source <CIDR|many>': expected an address, a network like 192.0.2.0/24, or many",
        ),
        (
            "explain 198.51.100.7 --format=metrics",
            "invalid value 'metrics' for '--format <text|json>' (possible values: text, json)",
        ),
        ("-i eth0 explain 198.51.100.7", "--capture.interface has no meaning for explain"),
        ("-i eth0 health", "--capture.interface has no meaning for health"),
        ("--web.listen-address=:9 health", "give --web.listen-address after health: whom to ask"),
        (
            "health --web.listen-address=9",
            "--web.listen-address: no port in \"9\" (write :10220, 127.0.0.1:10220 or [::1]:10220)",
        ),
        (
            "--web.listen-address=:9 explain 198.51.100.7",
            "give --web.listen-address after explain: whom to ask",
        ),
        (
            "explain 198.51.100.7 --web.listen-address=9",
            "--web.listen-address: no port in \"9\" (write :10220, 127.0.0.1:10220 or [::1]:10220)",
        ),
        // Values that are no values.
        ("-i", "a value is required for '--capture.interface <NAME>' but none was supplied"),
        (
            "--capture.direction=both",
            "invalid value 'both' for '--capture.direction <in|out|inout>' (possible values: in, out, inout)",
        ),
        ("--fleet.share=0.1", "invalid value '0.1' for '--fleet.share <1/N>': expected a share like 1/64"),
        ("--fleet.share=1/+4", "invalid value '1/+4' for '--fleet.share <1/N>': expected a share like 1/64"),
        ("--fleet.share=1/16", "--fleet.share has no meaning without --fleet.key-file"),
        ("--fleet.key-file=gone.key", "cannot read gone.key (--fleet.key-file): no such file"),
        (
            "--capture.buffer-size=16M",
            "invalid value '16M' for '--capture.buffer-size <SIZE>': expected a size like 48MiB, 16MB or 1048576",
        ),
        (
            "--capture.promiscuous=yes",
            "unexpected value 'yes' for '--capture.promiscuous' found; no more were expected (try --help)",
        ),
        (
            "--detection.window=10",
            "invalid value '10' for '--detection.window <DURATION>': expected a duration like 10s, 5m or 1m30s",
        ),
        (
            "--detection.window=-1s",
            "invalid value '-1s' for '--detection.window <DURATION>': expected a duration like 10s, 5m or 1m30s",
        ),
        (
            "--detection.threshold=many",
            "invalid value 'many' for '--detection.threshold <PORTS>': expected a whole number like 20",
        ),
        (
            "--detection.threshold=-5",
            "invalid value '-5' for '--detection.threshold <PORTS>': expected a whole number like 20",
        ),
        (
            "--detection.threshold=5 --detection.threshold=6",
            "the argument '--detection.threshold <PORTS>' cannot be used multiple times (try --help)",
        ),
        (
            "--detection.memory=99999999999999999999",
            "invalid value '99999999999999999999' for '--detection.memory <SIZE>': expected a size like 48MiB, 16MB or 1048576",
        ),
        (
            "--log.level=loud",
            "invalid value 'loud' for '--log.level <debug|info|warn|error>' (possible values: debug, info, warn, error)",
        ),
        (
            "--log.format=xml",
            "invalid value 'xml' for '--log.format <auto|journald|logfmt|json>' (possible values: auto, journald, logfmt, json)",
        ),
        (
            "--web.systemd-socket --web.listen-address=:1",
            "the argument '--web.systemd-socket' cannot be used with '--web.listen-address <ADDRESS>' (try --help)",
        ),
        // Values out of bounds.
        ("-i eth0 -i lo -i eth0", "--capture.interface eth0 is given twice"),
        ("-i !", "--capture.interface \"!\" excludes nothing: name what, as in '!docker*'"),
        (
            "-i averyvery?longname",
            "--capture.interface \"averyvery?longname\" is longer than the name of any interface (15 bytes)",
        ),
        (
            "-i !averyvery*longname",
            "--capture.interface \"!averyvery*longname\" is longer than the name of any interface (15 bytes)",
        ),
        ("-i ../eth0", "--capture.interface \"../eth0\" cannot be the name of an interface"),
        ("--capture.buffer-size=1023KiB", "--capture.buffer-size must be from 1MiB to 2GiB, not 1023KiB"),
        ("--capture.buffer-size=3GiB", "--capture.buffer-size must be from 1MiB to 2GiB, not 3GiB"),
        ("--capture.threads=0", "--capture.threads must be from 1 to 64, not 0"),
        (
            "--capture.threads=16",
            "--capture.threads=16 need --detection.memory of at least 64MiB, which they share, not 48MiB",
        ),
        // What cannot be beside another.
        (
            "--detection.replies --capture.direction=out",
            "--detection.replies has no effect with --capture.direction=out: what answers to a packet that leaves comes in, and is not captured; use in, or inout",
        ),
        (
            "--detection.replies --detection.techniques=ack,syn --capture.direction=out",
            "--detection.replies has no effect with --capture.direction=out: what answers to a packet that leaves comes in, and is not captured; use in, or inout",
        ),
        (
            "--detection.techniques=ack,syn --capture.direction=out",
            "the technique ack needs --detection.replies: what it is shows by the host's answer",
        ),
        (
            "--detection.replies --detection.techniques=udp",
            "--detection.replies has no effect: it looks for what answers to syn and ack, and neither is in detection.techniques",
        ),
        (
            "--fleet.key-file=gone.key --detection.techniques=udp",
            "--fleet.key-file has no effect: a fleet samples sources of SYN, and syn is not in detection.techniques",
        ),
        ("--detection.window=500ms", "--detection.window must be from 1s to 1h, not 500ms"),
        ("--detection.window=2h", "--detection.window must be from 1s to 1h, not 2h"),
        ("--detection.threshold=1", "--detection.threshold must be from 2 to 65536, not 1"),
        ("--detection.threshold=65537", "--detection.threshold must be from 2 to 65536, not 65537"),
        ("--detection.memory=1MiB", "--detection.memory must be from 4MiB to 64GiB, not 1MiB"),
        ("--detection.memory=65GiB", "--detection.memory must be from 4MiB to 64GiB, not 65GiB"),
        ("--publish.max-sources=10001", "--publish.max-sources must be from 0 to 10000, not 10001"),
        ("--publish.min-ports=1", "--publish.min-ports must be from 2 to 65536, not 1"),
        ("--publish.min-ports=65537", "--publish.min-ports must be from 2 to 65536, not 65537"),
        (
            "--publish.min-ports=21",
            "--publish.min-ports must be at most the detection threshold (20), or scans are hidden, not 21",
        ),
        ("--publish.hold=5s", "a detection window of 10s is longer than --publish.hold (5s)"),
        (
            "--detection.window=10m --publish.hold=5m",
            "a detection window of 10m is longer than --publish.hold (5m)",
        ),
        ("--publish.hold=25h", "--publish.hold must be from 1s to 24h, not 25h"),
        ("--publish.hold=100ms", "--publish.hold must be from 1s to 24h, not 100ms"),
        ("--web.max-requests=0", "--web.max-requests must be from 1 to 10000, not 0"),
        ("--web.telemetry-path=metrics", "--web.telemetry-path must begin with a slash, not \"metrics\""),
        (
            "--web.telemetry-path=/",
            "--web.telemetry-path must leave /, /-/ and /api/v1/ to the exporter's own pages, not \"/\"",
        ),
        (
            "--web.telemetry-path=/-/healthy",
            "--web.telemetry-path must leave /, /-/ and /api/v1/ to the exporter's own pages, not \"/-/healthy\"",
        ),
        (
            "--web.telemetry-path=/api/v1/explain",
            "--web.telemetry-path must leave /, /-/ and /api/v1/ to the exporter's own pages, not \"/api/v1/explain\"",
        ),
        (
            "--web.telemetry-path=/a?b",
            "--web.telemetry-path must be made of letters, digits and -._~/, not \"/a?b\"",
        ),
        ("--config.check --detection.threshold=1", "--detection.threshold must be from 2 to 65536, not 1"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        expect_refused(&words, directory.path(), message);
    }
}

#[test]
fn bad_files_are_refused_with_the_line_at_fault() {
    let directory = TempDir::new().unwrap();
    for (text, message) in [
        // Not the YAML that is meant.
        (
            "detection:\n  window: 10s\n  treshold: 20\n",
            "invalid configuration config.yml: line 3: unknown key \"treshold\" (known: window, threshold, slow_window, slow_threshold, sweep_window, sweep_threshold, block_threshold, hop_window, hop_threshold, hop_prefix, distributed_window, distributed_threshold, distributed_sources, home, quiet, techniques, ipv6_prefix, ipv6_prefixes)",
        ),
        (
            "ignored:\n",
            "invalid configuration config.yml: line 1: unknown key \"ignored\" (known: detection, names, databases, ignore)",
        ),
        (
            "# two rules\ndetection: {threshold: 20}\nignore: {}\ndetection: {threshold: 30}\n",
            "invalid configuration config.yml: line 4: key \"detection\" is given twice",
        ),
        ("- window: 10s\n", "invalid configuration config.yml: line 1: expected a mapping (key: value)"),
        ("ignore:\n  ports: 22\n", "invalid configuration config.yml: line 2: expected a list"),
        ("ignore:\n  ports: [22\n", "invalid configuration config.yml: line 2: unclosed bracket '['"),
        (
            "detection:\n\twindow: 10s\n",
            "invalid configuration config.yml: line 2: tabs disallowed within this context (block indentation)",
        ),
        ("{}\n---\n{}\n", "invalid configuration config.yml: line 3: a second document; one file holds one"),
        // Not the values that are meant.
        (
            "detection:\n  window: 10\n",
            "invalid configuration config.yml: line 2: expected a duration like 10s, 5m or 1m30s, found \"10\"",
        ),
        (
            "detection:\n  threshold: 20 ports\n",
            "invalid configuration config.yml: line 2: expected a whole number like 20, found \"20 ports\"",
        ),
        // Numbers as YAML knows them, and as nobody means them here.
        (
            "detection:\n  threshold: 0x14\n",
            "invalid configuration config.yml: line 2: expected a whole number like 20, found \"0x14\"",
        ),
        (
            "detection:\n  threshold: 0o24\n",
            "invalid configuration config.yml: line 2: expected a whole number like 20, found \"0o24\"",
        ),
        (
            "detection:\n  threshold: 020\n",
            "invalid configuration config.yml: line 2: expected a whole number like 20, found \"020\"",
        ),
        (
            "ignore:\n  ports: [8000-08100]\n",
            "invalid configuration config.yml: line 2: expected a port or a range of ports like 8000-8100, found \"8000-08100\"",
        ),
        (
            "detection:\n  threshold: 1_000\n",
            "invalid configuration config.yml: line 2: expected a whole number like 20, found \"1_000\"",
        ),
        (
            "detection:\n  ipv6_prefix: +64\n",
            "invalid configuration config.yml: line 2: expected a whole number like 20, found \"+64\"",
        ),
        (
            "ignore:\n  ports: [0x16]\n",
            "invalid configuration config.yml: line 2: expected a port or a range of ports like 8000-8100, found \"0x16\"",
        ),
        (
            "ignore:\n  sources:\n    - 192.0.2.1\n    - 192.0.2.300\n",
            "invalid configuration config.yml: line 4: expected an address or a network like 192.0.2.0/24, found \"192.0.2.300\"",
        ),
        (
            "ignore:\n  sources:\n    - 2001:db8::1/64\n",
            "invalid configuration config.yml: line 3: \"2001:db8::1/64\" has bits set beyond its prefix (did you mean 2001:db8::/64?)",
        ),
        (
            "names:\n  our scanner: [192.0.2.1]\n",
            "invalid configuration config.yml: line 2: expected a name of at most 31 letters, digits and _, found \"our scanner\"",
        ),
        (
            "names:\n  one: [192.0.2.1]\n  two: [192.0.2.1]\n",
            "invalid configuration config.yml: line 3: 192.0.2.1/32 is called one (line 2), and two as well",
        ),
        (
            "ignore:\n  pairs:\n    - {source: 192.0.2.1, ports: 22, destination: 192.0.2.2}\n",
            "invalid configuration config.yml: line 3: a pair is a source, and either ports or a destination",
        ),
        (
            "ignore:\n  pairs:\n    - {source: 192.0.2.1, port: 22}\n",
            "invalid configuration config.yml: line 3: unknown key \"port\" (known: source, ports, destination)",
        ),
        (
            "ignore:\n  pairs:\n    - {ports: 22}\n",
            "invalid configuration config.yml: line 3: missing field `source`",
        ),
        (
            "ignore:\n  ports:\n    - 22\n    - ssh\n",
            "invalid configuration config.yml: line 4: expected a port or a range of ports like 8000-8100, found \"ssh\"",
        ),
        // Values out of bounds.
        (
            "detection:\n  threshold: 1\n",
            "invalid configuration config.yml: line 2: detection.threshold must be from 2 to 65536, not 1",
        ),
        (
            "detection:\n  window: 2h\n",
            "invalid configuration config.yml: line 2: detection.window must be from 1s to 1h, not 2h",
        ),
        (
            "detection:\n  quiet: 100ms\n",
            "invalid configuration config.yml: line 2: detection.quiet must be from 1s to 24h, not 100ms",
        ),
        (
            "\ndetection:\n  ipv6_prefix: 8\n",
            "invalid configuration config.yml: line 3: detection.ipv6_prefix must be from 16 to 128, not 8",
        ),
    ] {
        fs::write(directory.path().join("config.yml"), text).unwrap();
        for words in [&["--config.file=config.yml"][..], &["--config.file=config.yml", "--config.check"]] {
            expect_refused(words, directory.path(), message);
        }
    }
}

#[test]
fn what_is_no_configuration_file_is_refused() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    fs::create_dir(directory.path().join("directory.yml")).unwrap();
    file("latin1.yml", b"# caf\xe9\n");
    file("latin1-later.yml", b"detection:\n  window: 10s # \xfc\n");
    file("large.yml", &vec![b'#'; (1 << 20) + 1]);
    file("bomb.yml", format!("ignore:\n  ports: [&a 22{}]\n", ", *a".repeat(2000)).as_bytes());
    for (name, message) in [
        ("missing.yml", "no such file"),
        ("directory.yml", "it is a directory"),
        ("latin1.yml", "line 1: it is not UTF-8 text"),
        ("latin1-later.yml", "line 2: it is not UTF-8 text"),
        ("large.yml", "it is larger than 1024 KiB"),
        ("bomb.yml", "line 2: too much nesting or repetition for a configuration file"),
    ] {
        let flag = format!("--config.file={name}");
        let refused = if message.starts_with("line") { "invalid configuration" } else { "cannot read" };
        expect_refused(&[&flag], directory.path(), &format!("{refused} {name}: {message}"));
    }
}

/// A FIFO without a writer would wait for one: at start, and at each reload.
#[test]
fn only_a_regular_file_is_a_configuration() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    expect_refused(&["--config.file=fifo"], directory.path(), "cannot read fifo: it is not a regular file");
    let zero = "cannot read /dev/zero: it is not a regular file";
    expect_refused(&["--config.file=/dev/zero"], directory.path(), zero);
}

/// Who reads the error line is at a terminal.
#[test]
fn an_error_line_cannot_steer_a_terminal_and_is_not_long() {
    let directory = TempDir::new().unwrap();
    let megabyte = "x".repeat(100_000);
    for (words, start) in [
        (
            &["-i", "e\u{1b}[31m"][..],
            "--capture.interface \"e\\u{1b}[31m\" cannot be the name of an interface",
        ),
        (&["-i", "e\u{202e}0", "-i", "e\u{202e}0"], "--capture.interface e\\u{202e}0 is given twice"),
        (&["--config.file=\u{1b}]0;x\u{7}"], "cannot read \\u{1b}]0;x\\u{7}: no such file"),
        (&["--\u{202e}gol"], "unexpected argument '--\\u{202e}gol' found"),
        (&["--log.level", &megabyte], "invalid value 'xxxx"),
        (
            &["-i", "eth0:1"],
            "--capture.interface \"eth0:1\" names an address, not an interface: give the interface \"eth0\"",
        ),
    ] {
        let (code, _, stderr) = exporter(words, directory.path());
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.starts_with(&format!("portscan_exporter: {start}")), "{stderr:?}");
        let line = stderr.strip_suffix('\n').unwrap();
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{202e}') && line.len() < 1_100,
            "{line:?}"
        );
    }
    let escape = "detection: {\"\\e[31m\\u202e\": 1}\n";
    fs::write(directory.path().join("config.yml"), escape).unwrap();
    expect_refused(
        &["--config.file=config.yml"],
        directory.path(),
        "invalid configuration config.yml: line 1: unknown key \"\\u{1b}[31m\\u{202e}\" (known: window, threshold, slow_window, slow_threshold, sweep_window, sweep_threshold, block_threshold, hop_window, hop_threshold, hop_prefix, distributed_window, distributed_threshold, distributed_sources, home, quiet, techniques, ipv6_prefix, ipv6_prefixes)",
    );
    let long = format!("ignore:\n  sources: [{}]\n", "y".repeat(500_000));
    fs::write(directory.path().join("config.yml"), long).unwrap();
    let (_, _, stderr) = exporter(&["--config.file=config.yml"], directory.path());
    assert!(stderr.ends_with("yyy\" and 499920 characters more\n") && stderr.len() < 300, "{stderr}");
}

/// A directory that any user can look into, as /etc is.
fn public() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    directory
}

/// What is valid, and leaves the exporter blind, is said before it runs like that.
#[test]
fn a_check_warns_of_lists_that_blind() {
    let directory = public();
    fs::write(directory.path().join("config.yml"), "ignore: {sources: [0.0.0.0/0, '::ffff:198.51.100.7']}\n")
        .unwrap();
    let said = exporter(&["--config.check", "--config.file=config.yml"], directory.path());
    let warning = "portscan_exporter: warning: the configuration blinds: ignored sources (ignore.sources, \
                   --ignore.source) hold every IPv4 address: no IPv4 scan is seen\n";
    assert_eq!(said, (0, "configuration is valid\n".to_owned(), warning.to_owned()));
    let said = exporter(&["--config.check", "-i", "eth0", "--capture.max-interfaces=9"], directory.path());
    let warning = "portscan_exporter: warning: --capture.max-interfaces has no effect: no --capture.interface is a pattern\n";
    assert_eq!(said, (0, "configuration is valid\n".to_owned(), warning.to_owned()));
}

/// The example asks for every rule by its number: a thread that sees a part of the sources cannot have one of them, and the line says so.
#[test]
fn the_example_asks_for_what_several_threads_cannot_have() {
    let directory = public();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/config.example.yml");
    fs::copy(example, directory.path().join("example.yml")).unwrap();
    let text = fs::read_to_string(example).unwrap();
    let line = 1 + text.lines().position(|line| line == "  distributed_threshold: 100").expect("it is there");
    let words = ["--config.check", "--config.file=example.yml", "--capture.threads=2"];
    expect_refused(
        &words,
        directory.path(),
        &format!(
            "invalid configuration example.yml: line {line}: detection.distributed_threshold is of the rule for scans by many \
             sources, and --capture.threads=2 splits sources among threads, of which none sees all: use one thread, or turn the rule \
             off (--detection.distributed-threshold=0)"
        ),
    );
    let words = [&words[..], &["--detection.distributed-threshold=0"]].concat();
    assert_eq!(exporter(&words, directory.path()).0, 0);
}

/// Root reads all, and the exporter that it starts is somebody else: each file of which he would complain, and only those.
#[test]
fn a_check_by_root_says_what_the_exporter_may_not_read() {
    assert!(rustix::process::geteuid().is_root(), "needs root");
    let directory = public();
    let write = |name: &str, text: &str, mode| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let files = ["config.yml", "list.csv", "web.yml", "fleet.key"];
    let texts =
        ["databases: {scanners: list.csv}", "192.0.2.0/24,a", "{}", "00112233445566778899aabbccddeeff"];
    let flags = ["--config.file=config.yml", "--web.config.file=web.yml", "--fleet.key-file=fleet.key"];
    let check = |more: &[&str]| exporter(&[&["--config.check"][..], &flags, more].concat(), directory.path());
    for secret in [None, Some(0), Some(1), Some(2), Some(3)] {
        for (index, (name, text)) in files.into_iter().zip(texts).enumerate() {
            write(name, text, if secret == Some(index) { 0o600 } else { 0o644 });
        }
        let (code, said, warned) = check(&[]);
        assert_eq!((code, said.as_str()), (0, "configuration is valid\n"), "{warned}");
        let Some(secret) = secret else {
            assert_eq!(warned, "");
            continue;
        };
        assert!(warned.lines().count() == 1 && warned.contains(files[secret]), "{warned}");
        assert!(warned.contains("permission denied"), "{warned}");
        assert!(
            warned.contains(" (as nobody, which root becomes at the start; the unit's own user"),
            "{warned}"
        );
        assert!(check(&["--user=daemon"]).2.contains(" (as daemon, which root"), "{secret}");
        assert_eq!(check(&["--user=root"]).2, "", "{secret}");
    }
    let (code, _, said) = check(&["--user=no such"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("there is no user \"no such\" (--user)"), "{said}");
}

#[test]
fn a_check_says_that_all_is_well_and_starts_nothing() {
    let directory = public();
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/config.example.yml"),
        directory.path().join("example.yml"),
    )
    .unwrap();
    let example = "--config.file=example.yml";
    for words in [
        &["--config.check"][..],
        &["--config.check", example],
        &["--config.check", "-i", "eth0", "--detection.threshold=7"],
        &["replay", "missing.pcap", "--config.check", example],
    ] {
        let said = exporter(words, directory.path());
        assert_eq!(said, (0, "configuration is valid\n".to_owned(), String::new()), "{words:?}");
    }
}

#[test]
fn the_version_is_in_the_form_of_the_prometheus_exporters() {
    let (code, stdout, stderr) = exporter(&["--version"], Path::new("."));
    let first = format!("portscan_exporter, version {} (revision: ", env!("CARGO_PKG_VERSION"));
    assert!(stdout.starts_with(&first), "{stdout}");
    let names: Vec<&str> =
        stdout.lines().skip(1).filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name).collect();
    assert_eq!(names, ["rust version", "libpcap", "platform"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[test]
fn help_names_every_flag_on_standard_output() {
    for words in [&["--help"][..], &["-h"], &["replay", "--help"]] {
        let (code, stdout, stderr) = exporter(words, Path::new("."));
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(stdout.contains("--detection.threshold"), "{stdout}");
        assert!(stdout.lines().all(|line| line.chars().count() <= 110), "{stdout}");
    }
}

/// The checks, `--help` and the README are written from the same rows.
#[test]
fn the_bounds_are_said_wherever_a_number_is_explained() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let example =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/config.example.yml")).unwrap();
    let help = exporter(&["--help"], Path::new(".")).1;
    // Lines are broken where they get long.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let missing: Vec<_> = rows().iter().map(Row::markdown).filter(|row| !readme.contains(row)).collect();
    assert!(missing.is_empty(), "the README lacks\n{}", missing.join("\n"));
    for row in rows() {
        if row.is_flag {
            let flag =
                help.split(&format!("--{} <", row.name)).nth(1).unwrap_or_else(|| panic!("{}", row.name));
            let flag = flag.split(" --").next().unwrap();
            assert!(flag.contains(&format!("({})", row.bounds)), "{}: {flag}", row.name);
            assert!(flag.contains(&format!("[default: {}]", row.default)), "{}: {flag}", row.name);
        }
        if row.is_key {
            let key = &row.name.strip_prefix("detection.").unwrap().replace('-', "_");
            let (about, _) = example.split_once(&format!("\n  {key}: {}\n", row.default)).expect(key);
            let about = about.rsplit("\n  #").take_while(|line| !line.contains(": ")).collect::<String>();
            assert!(about.contains(&row.bounds), "{key}: {about}");
        }
    }
}

#[test]
fn each_file_that_cannot_be_read_has_a_line_and_no_result() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("text"), "neither of them, but long enough to be a header").unwrap();
    // A header and no frame: read, and empty.
    let mut header = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    header.extend([0; 12]);
    header.extend([1, 0, 0, 0]);
    fs::write(directory.path().join("empty.pcap"), header).unwrap();
    let (code, stdout, stderr) = exporter(&["replay", "gone", "empty.pcap", "text"], directory.path());
    assert_eq!(
        stderr,
        "portscan_exporter: cannot read gone: no such file or directory\n\
         portscan_exporter: cannot read text: it is neither a pcap nor a pcapng file\n"
    );
    assert_eq!((code, stdout.as_str()), (1, "no scans in empty.pcap (0 packets, 0 probes, 0.000s)\n"));
    let (code, stdout, _) = exporter(&["replay", "gone", "text", "--format=metrics"], directory.path());
    assert!(code == 1 && !stdout.contains("interface="), "{stdout}");
}
