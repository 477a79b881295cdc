//! Records through the notifier and the logger into a real systemd-journald, read back with `journalctl`.
//!
//! Each test runs itself again inside `tests/lab/journald.sh` (root; a namespace where journald may die), and
//! there starts `program` below: what the exporter does with its events, without a capture.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

#[path = "support/scan.rs"]
mod fixture;

use fixture::{after, scan};
use lab::room::{in_bare_room, journald};
use lab::{PATIENCE, eventually, journal};
use portscan_exporter::detect::{EventKind, Scan, ScanEvent};
use portscan_exporter::events::notify::{
    ENDED_ID, GROWN_ID, HIT_ID, Notice, Notifier, STORM_ENDED_ID, STORM_ID, SUPPRESSED_ID,
};
use portscan_exporter::events::{BURST, RATE};
use portscan_exporter::logger::{self, Format, Options};
use portscan_exporter::packet::Signature;
use portscan_exporter::system::clock;
use portscan_exporter::system::counters::Counter;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;

const FORMAT: &str = "PORTSCAN_TEST_LOG_FORMAT";

/// As many records as that, or the test fails.
fn journal_of(count: usize, matches: &[&str]) -> Vec<Value> {
    eventually(&format!("{count} records of {matches:?}"), PATIENCE, || {
        Some(journal(matches)).filter(|records| records.len() >= count)
    })
}

/// The child that logs, told what to do line by line.
struct Program {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Program {
    fn start(format: Format, stderr: impl Into<Stdio>, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "program", "--nocapture"])
            .env(FORMAT, format.label())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        Self { child, orders }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    /// Let it come to its end: its log counts, and what it wrote on stderr.
    fn finish(mut self) -> (Value, String) {
        drop(self.orders.take());
        let output = self.child.wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stdout}{stderr}");
        let counts = stdout.lines().find(|line| line.starts_with('{')).expect(&stdout);
        (serde_json::from_str(counts).unwrap(), stderr)
    }
}

fn event(kind: EventKind, source: &str) -> ScanEvent {
    let at = |seconds: u64| after(1_000 * seconds + 250);
    let (ports, distinct_ports, probes, last_probe) = match kind {
        // A scan is often over within a moment.
        EventKind::Hit => (20, 20, 21, at(0)),
        EventKind::Grown => (200, 200, 215, at(1).saturating_add(345_000)),
        EventKind::Ended => (0, 1000, 2011, at(83).saturating_add(345_000)),
    };
    let scan = Scan {
        started: at(0),
        detected: at(0),
        last_probe,
        ended: (kind == EventKind::Ended).then_some(at(143)),
        probes,
        ports,
        distinct_ports,
        peak_distinct_ports: distinct_ports,
        busiest_host_ports: distinct_ports,
        ..scan(source, "192.0.2.10:22")
    };
    ScanEvent { kind, scan }
}

/// The hit of a scanner that one machine forges, of this number.
fn decoy(number: u32) -> ScanEvent {
    let hit = event(EventKind::Hit, &format!("203.0.113.{number}"));
    let signature = Signature { ttl: 52, window: 1024 };
    let detected = hit.scan.detected.saturating_add(u64::from(number));
    // All that it asked for is known, and the same as of the others.
    let distinct_ports = hit.scan.asked.count();
    ScanEvent { scan: Scan { signature, detected, distinct_ports, ..hit.scan }, ..hit }
}

/// Started by the other tests it is a program: it sends the orders of standard input through the notifier and the logger, and
/// prints what they counted. Run as a test it starts itself as that program.
#[test]
fn program() {
    let Ok(format) = std::env::var(FORMAT) else {
        return the_program_writes_and_counts_what_it_is_ordered();
    };
    let format = format.parse().unwrap();
    if let Err(error) = logger::start(Options { format, ..Options::default() }) {
        println!("{}", json!({ "start_error": error.to_string() }));
        return;
    }
    logger::begin();
    let (sender, notices) = sync_channel(1024);
    let notifier = thread::spawn(move || Notifier::new().run(notices));
    let send = |event| sender.send(Notice { interface: "eth0".into(), event }).unwrap();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (order, argument) = line.split_once(' ').unwrap();
        match order {
            "hit" => send(event(EventKind::Hit, argument)),
            "grown" => send(event(EventKind::Grown, argument)),
            "ended" => send(event(EventKind::Ended, argument)),
            "flood" => {
                (0..argument.parse().unwrap()).for_each(|_| send(event(EventKind::Hit, "203.0.113.9")))
            }
            // Of so many sources, which one machine forges.
            "storm" => (1..=argument.parse().unwrap()).for_each(|number| send(decoy(number))),
            "info" => log::info!("{argument}"),
            _ => panic!("unknown order {order}"),
        }
    }
    drop(sender);
    notifier.join().unwrap();
    while logger::waiting() > 0 {
        log::logger().flush();
    }
    let counts = logger::counts();
    let written: serde_json::Map<_, _> = Counter::ALL
        .into_iter()
        .filter_map(|counter| Some(((*counter.series().values.first()?).to_owned(), counter)))
        .filter(|(_, counter)| counter.series().labels == ["level"])
        .map(|(level, counter)| (level, json!(counts.of(counter))))
        .collect();
    println!(
        "\n{}",
        json!({
            "written": written,
            "redirected": counts.of(Counter::RecordsRedirected),
            "lost": counts.of(Counter::RecordsLost),
            "suppressed": counts.of(Counter::RecordsSuppressed),
            "folded": counts.of(Counter::RecordsFolded),
            "storms": counts.of(Counter::Storms),
        })
    );
}

fn the_program_writes_and_counts_what_it_is_ordered() {
    let mut program = Program::start(Format::Logfmt, Stdio::piped(), &[]);
    program.order("info up and listening");
    program.order("hit 198.51.100.7");
    let (counts, stderr) = program.finish();
    let lines: Vec<_> = stderr.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("up and listening"), "{stderr}");
    assert!(lines[1].contains("source=198.51.100.7"), "{stderr}");
    let written: u64 = counts["written"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!((written, &counts["lost"], &counts["redirected"]), (2, &json!(0), &json!(0)));
}

#[test]
fn the_history_of_an_address_is_one_journalctl_away() {
    in_bare_room("the_history_of_an_address_is_one_journalctl_away", || {
        let _journald = journald();
        let mut program = Program::start(Format::Journald, Stdio::piped(), &[]);
        for order in ["info up and listening", "hit 203.0.113.1", "hit 198.51.100.7", "grown 198.51.100.7"] {
            program.order(order);
        }
        program.order("ended 198.51.100.7");
        program.order("hit 2001:db8::7");
        let (counts, stderr) = program.finish();
        assert_eq!(stderr, "");
        assert_eq!(counts["written"], json!({ "error": 0, "warning": 5, "info": 1, "debug": 0 }));

        let records = journal_of(3, &["PORTSCAN_SOURCE=198.51.100.7"]);
        let column =
            |name| records.iter().map(|record| record[name].as_str().unwrap_or("-")).collect::<Vec<_>>();
        assert_eq!(column("PORTSCAN_EVENT"), ["hit", "grown", "ended"]);
        assert_eq!(column("MESSAGE_ID"), [HIT_ID, GROWN_ID, ENDED_ID]);
        assert_eq!(column("PORTSCAN_PORTS"), ["20", "200", "1000"]);
        assert_eq!(column("PORTSCAN_SCAN"), ["000000000000001f"; 3]);
        assert_eq!(column("PRIORITY"), ["4"; 3]);
        assert_eq!(column("_TRANSPORT"), ["journal"; 3]);
        assert_eq!(column("PORTSCAN_DURATION_SECONDS"), ["0", "1.000345", "83.000345"], "with its fraction");
        let hit = &records[0];
        let ours: serde_json::Map<_, _> = hit
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| !name.starts_with('_'))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        assert_eq!(
            Value::from(ours),
            json!({
                "MESSAGE": "portscan hit source=198.51.100.7 ports=20 window=10s kind=vertical technique=syn \
                            interface=eth0 target=192.0.2.10:22 sample=21,22,23,25,80",
                "MESSAGE_ID": HIT_ID,
                "PRIORITY": "4",
                "SYSLOG_IDENTIFIER": "portscan_exporter",
                "PORTSCAN_EVENT": "hit",
                "PORTSCAN_SOURCE": "198.51.100.7",
                "PORTSCAN_SOURCE_ADDRESS": "198.51.100.7",
                "PORTSCAN_PORTS": "20",
                "PORTSCAN_PEAK_PORTS": "20",
                "PORTSCAN_HOSTS": "1",
                "PORTSCAN_PROBES": "21",
                "PORTSCAN_WINDOW_SECONDS": "10",
                "PORTSCAN_INTERFACE": "eth0",
                "PORTSCAN_KIND": "vertical",
                "PORTSCAN_TECHNIQUE": "syn",
                "PORTSCAN_SCAN": "000000000000001f",
                "PORTSCAN_TARGET": "192.0.2.10:22",
                "PORTSCAN_SAMPLE_PORTS": "21,22,23,25,80,110,443",
                "PORTSCAN_PORT_RANGES": "21-23,25,80,110,443",
                "PORTSCAN_PORTS_LEFT_OUT": "13",
                "PORTSCAN_TOOL": "unknown",
                "PORTSCAN_EVIDENCE": "spoofable",
                "PORTSCAN_BUSIEST_HOST_PORTS": "20",
                "PORTSCAN_STARTED": "2026-11-23T10:00:00.250000Z",
                "PORTSCAN_DETECTED": "2026-11-23T10:00:00.250000Z",
                "PORTSCAN_LAST_PROBE": "2026-11-23T10:00:00.250000Z",
                "PORTSCAN_DURATION_SECONDS": "0",
            })
        );

        assert_eq!(journal(&["PORTSCAN_SOURCE=2001:db8::/64"])[0]["PORTSCAN_SOURCE_ADDRESS"], "2001:db8::7");
        assert_eq!(journal(&[&format!("MESSAGE_ID={HIT_ID}")]).len(), 3);
        let info = journal(&["-t", "portscan_exporter", "-p", "6..6"]);
        assert_eq!(info.len(), 1);
        assert_eq!(info[0]["MESSAGE"], "up and listening");
    });
}

/// What the command says, and its exit code.
fn scans(words: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_portscan_exporter")).arg("scans").args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Forty decoys are two records of their own and those of the storm, which each source finds.
#[test]
fn a_storm_is_one_record_and_each_of_its_sources_finds_it() {
    in_bare_room("a_storm_is_one_record_and_each_of_its_sources_finds_it", || {
        let _journald = journald();
        let mut program = Program::start(Format::Journald, Stdio::piped(), &[]);
        program.order("storm 40");
        let (counts, stderr) = program.finish();
        assert_eq!(stderr, "");
        let told =
            [&counts["written"]["warning"], &counts["folded"], &counts["storms"], &counts["suppressed"]];
        assert_eq!(told, [4, 38, 1, 0].map(|count| json!(count)).each_ref());

        assert_eq!(journal_of(2, &[&format!("MESSAGE_ID={HIT_ID}")]).len(), 2);
        let began = &journal_of(1, &[&format!("MESSAGE_ID={STORM_ID}")])[0];
        let ended = &journal_of(1, &[&format!("MESSAGE_ID={STORM_ENDED_ID}")])[0];
        assert_eq!(began["PORTSCAN_STORM"], ended["PORTSCAN_STORM"]);
        let named = |names: std::ops::RangeInclusive<u32>| -> Vec<String> {
            names.map(|number| format!("203.0.113.{number}")).collect()
        };
        for (record, event, sources) in [(began, "storm", 3), (ended, "storm_ended", 40)] {
            for (field, value) in [
                ("PORTSCAN_EVENT", event),
                ("PORTSCAN_SOURCES", &sources.to_string()),
                ("PORTSCAN_COMMON", "target_address,ttl,tcp_window,first_port,first_ports"),
                ("PORTSCAN_TARGET_ADDRESS", "192.0.2.10"),
                ("PORTSCAN_TTL", "52"),
                ("PORTSCAN_SAME_TTL", &sources.to_string()),
                ("PORTSCAN_SAME_FIRST_PORTS", &sources.to_string()),
                ("PORTSCAN_SAMPLE_SOURCES", &named(1..=sources).join(",")),
            ] {
                assert_eq!(record[field], value, "{field}");
            }
            assert_eq!(record["PORTSCAN_SOURCE"], json!(named(1..=sources)));
        }
        assert_eq!([&began["PORTSCAN_SUPPRESSED_HITS"], &ended["PORTSCAN_SUPPRESSED_HITS"]], ["1", "37"]);
        // Who is one of them is found.
        let of_one = journal(&["PORTSCAN_SOURCE=203.0.113.33"]);
        assert_eq!(
            of_one.iter().map(|record| &record["PORTSCAN_EVENT"]).collect::<Vec<_>>(),
            ["storm_ended"]
        );
        let (code, said, errors) = scans(&["--unit="]);
        assert_eq!((code, said.matches("  vertical  syn").count(), &*errors), (Some(0), 2, ""), "{said}");
        assert!(said.contains("38 hits more were not written"), "{said}");
        let storm = format!("journalctl PORTSCAN_STORM={}\n", began["PORTSCAN_STORM"].as_str().unwrap());
        let line = format!("1 storm of sources that look alike: {storm}");
        for (source, is_in) in [("203.0.113.33", true), ("203.0.113.0/24", true), ("198.51.100.0/24", false)]
        {
            let (_, said, _) = scans(&["--unit=", "--source", source]);
            assert_eq!(said.contains(&line), is_in, "{source}: {said}");
        }
    });
}

/// Who scanned me, and which ports: one command, of what the journal has.
#[test]
fn who_scanned_me_is_one_command() {
    in_bare_room("who_scanned_me_is_one_command", || {
        let _journald = journald();
        let mut program = Program::start(Format::Journald, Stdio::piped(), &[]);
        for order in ["hit 203.0.113.1", "hit 198.51.100.7", "grown 198.51.100.7", "ended 198.51.100.7"] {
            program.order(order);
        }
        program.order("hit 2001:db8::7");
        program.order("flood 200");
        program.finish();
        journal_of(1, &[&format!("MESSAGE_ID={SUPPRESSED_ID}")]);

        // Nothing here runs as a unit.
        let (code, said, errors) = scans(&["--unit=", "--format=json", "--source=198.51.100.0/24"]);
        assert_eq!((code, &*errors), (Some(0), ""));
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1, "one scan is one line: {said}");
        let Scan { id, .. } = event(EventKind::Ended, "198.51.100.7").scan;
        for (name, value) in [
            ("source", json!("198.51.100.7")),
            ("scan", json!(id.to_string())),
            ("distinct_ports", json!(1000)),
            ("probes", json!(2011)),
            ("ports", json!("21-23,25,80,110,443")),
            ("sample_ports", json!([21, 22, 23, 25, 80, 110, 443])),
            ("ended", json!("2026-11-23T10:02:23.250000Z")),
            ("window_seconds", json!(10)),
            ("lower_bound", json!(false)),
        ] {
            assert_eq!(lines[0][name], value, "{name}");
        }

        let (_, said, _) = scans(&["--unit="]);
        assert!(said.contains("198.51.100.7   vertical  syn") && said.contains("2001:db8::/64"), "{said}");
        assert!(said.contains("21-23,25,80,110,443 and 993 more"), "{said}");
        assert!(said.contains("hits more were not written: they came in a flood or a storm"), "{said}");
        assert!(said.contains(" UTC: what the journal has\n"), "{said}");
        // Others' records are not those of the exporter, whatever their fields say: journald names the unit.
        // And where it has written nothing, that it found no scan means nothing.
        let (code, said, errors) = scans(&[]);
        assert_eq!((code, &*said), (Some(1), ""), "{errors}");
        let why = "the journal has no record of portscan_exporter.service that this user may read: another unit (--unit)? or ask";
        assert!(errors.contains(why), "{errors}");
        // A user who may not read it is told so, and by whom it may be read.
        let other = Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                env!("CARGO_BIN_EXE_portscan_exporter"),
                "scans",
            ])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&other.stderr).into_owned();
        assert_eq!((other.status.code(), other.stdout.len()), (Some(1), 0), "{errors}");
        assert!(
            errors.contains("that this user may read") || errors.contains("insufficient permissions"),
            "{errors}"
        );
        let (_, said, _) = scans(&["--unit=", "--since=2100-01-01T00:00:00Z"]);
        assert!(said.starts_with("no scans since 2100-01-01 00:00:00 UTC"), "{said}");
        let (code, _, errors) = scans(&["--since=yesterday"]);
        assert!(code == Some(2) && errors.contains("expected a duration like 24h or 7d, a date"), "{errors}");
        for (words, why) in [
            (&["--since=0"][..], "nothing has happened since 0 ago"),
            (&["--unit=x", "--web.listen-address=:10220"], "cannot be used with"),
            (
                &["--http.config.file=/x"],
                "are for asking an exporter, and the journal is read: add --web.listen-address",
            ),
            (&["--web.config.file=/x"], "are for asking an exporter, and the journal is read"),
        ] {
            let (code, _, errors) = scans(words);
            assert!(code == Some(2) && errors.contains(why), "{errors}");
        }
    });
}

/// `journalctl -x` explains every record; the catalog is one that systemd takes, and each field in it is there.
#[test]
fn the_catalog_explains_every_record() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("usr/lib/systemd/catalog");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(root.path().join("var/lib/systemd/catalog")).unwrap();
    let text = include_str!("../deploy/portscan_exporter.catalog");
    std::fs::write(folder.join("portscan_exporter.catalog"), text).unwrap();
    let journalctl = |word: &str| {
        let output = Command::new("journalctl")
            .arg(format!("--root={}", root.path().display()))
            .arg(word)
            .output()
            .expect("needs journalctl (Debian: systemd)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    journalctl("--update-catalog");
    let taken = journalctl("--dump-catalog");
    let sources = ["src/events/notify.rs", "src/events/outages.rs", "src/events/losses.rs"];
    let mut ids = 0;
    for source in sources {
        let code = std::fs::read_to_string(source).unwrap();
        for line in code.lines().filter(|line| line.contains("_ID: &str = ")) {
            let id = line.split('"').nth(1).unwrap();
            assert!(taken.contains(&format!("-- {id}\nSubject: ")), "{source}: {id}");
            ids += 1;
        }
    }
    assert_eq!(ids, text.lines().filter(|line| line.starts_with("-- ")).count());
    let known: Vec<String> = portscan_exporter::events::record::FIELDS
        .iter()
        .filter_map(|field| field.log)
        .chain(["suppressed", "suppressed_hits", "reason", "blind_seconds", "lost"])
        .chain(["storm", "common", "latest_hit"])
        .map(|name| format!("PORTSCAN_{}", name.to_uppercase()))
        .collect();
    // Any local user can forge the name, so it says by which unit; and a record can have one port, or one host.
    for line in text.lines().skip(1) {
        assert_eq!(line.contains("journalctl"), line.contains("journalctl -u portscan_exporter "), "{line}");
        let plural = ["_PORTS@ ", "_HOSTS@ ", "_PROBES@ ", "_SUPPRESSED@ ", "_LOST@ "];
        assert!(!plural.iter().any(|number| line.contains(number)), "{line}");
    }
    for name in text.split('@').filter(|word| word.starts_with("PORTSCAN_") && !word.contains(' ')) {
        assert!(known.iter().any(|known| known == name), "{name} is no field");
    }
}

#[test]
fn while_journald_is_dead_records_go_to_stderr() {
    in_bare_room("while_journald_is_dead_records_go_to_stderr", || {
        let first = journald();
        let mut program = Program::start(Format::Journald, Stdio::piped(), &[]);
        program.order("hit 203.0.113.1");
        journal_of(1, &["PORTSCAN_SOURCE=203.0.113.1"]);

        drop(first);
        program.order("hit 203.0.113.2");
        let mut stderr = BufReader::new(program.child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        // Each field once: the sentence of the journal repeats them.
        assert!(line.contains(" level=warn msg=\"portscan hit\" event=hit source=203.0.113.2 "), "{line}");
        for field in [" source=", " ports=", " target=", " kind=", " interface="] {
            assert_eq!(line.matches(field).count(), 1, "{field} in {line}");
        }

        let _journald = journald();
        program.order("hit 203.0.113.3");
        journal_of(1, &["PORTSCAN_SOURCE=203.0.113.3"]);
        assert!(journal(&["PORTSCAN_SOURCE=203.0.113.2"]).is_empty());

        let (counts, _) = program.finish();
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        assert_eq!(counts["written"]["warning"], 3);
        assert_eq!((&counts["redirected"], &counts["lost"]), (&json!(1), &json!(0)));
    });
}

#[test]
fn a_flood_of_events_is_cut_to_a_burst_a_rate_and_a_summary() {
    in_bare_room("a_flood_of_events_is_cut_to_a_burst_a_rate_and_a_summary", || {
        const EVENTS: u64 = 10_000;
        let _journald = journald();
        let start = clock::steady();
        let mut program = Program::start(Format::Journald, Stdio::piped(), &[]);
        program.order(&format!("flood {EVENTS}"));
        let (counts, stderr) = program.finish();
        let elapsed = start.elapsed();
        assert_eq!(stderr, "");

        let summaries = journal_of(1, &[&format!("MESSAGE_ID={SUPPRESSED_ID}")]);
        let hits = journal(&[&format!("MESSAGE_ID={HIT_ID}")]).len() as u64;
        // One, unless this machine took longer than the summary interval over it.
        assert!(summaries.len() as u64 <= 1 + elapsed.as_secs() / 10, "{summaries:?}");
        assert!(hits >= u64::from(BURST), "{hits}");
        assert!(
            hits <= u64::from(BURST) + u64::from(RATE) * (elapsed.as_secs() + 1),
            "{hits} in {elapsed:?}"
        );
        let sum = |name: &str| -> u64 {
            summaries.iter().map(|record| record[name].as_str().unwrap().parse::<u64>().unwrap()).sum()
        };
        assert_eq!(hits + sum("PORTSCAN_SUPPRESSED"), EVENTS);
        assert_eq!(sum("PORTSCAN_SUPPRESSED_HITS"), sum("PORTSCAN_SUPPRESSED"));
        assert_eq!(summaries[0]["PORTSCAN_EVENT"], "suppressed");
        assert_eq!(summaries[0]["PRIORITY"], "4");
        assert_eq!(counts["suppressed"], sum("PORTSCAN_SUPPRESSED"));
        assert_eq!(counts["written"]["warning"], hits + summaries.len() as u64);
    });
}

#[test]
fn auto_is_the_journal_where_journald_listens_and_stderr_elsewhere() {
    in_bare_room("auto_is_the_journal_where_journald_listens_and_stderr_elsewhere", || {
        let mut program = Program::start(Format::Auto, Stdio::piped(), &[]);
        program.order("hit 203.0.113.1");
        let (_, stderr) = program.finish();
        assert!(stderr.contains(" source=203.0.113.1 "), "{stderr}");

        let _journald = journald();
        let mut program = Program::start(Format::Auto, Stdio::piped(), &[]);
        program.order("hit 203.0.113.2");
        let (_, stderr) = program.finish();
        assert_eq!(journal_of(1, &["PORTSCAN_SOURCE=203.0.113.2"])[0]["_TRANSPORT"], "journal");
        assert!(!stderr.contains("203.0.113.2"), "a copy is for terminals: {stderr}");
    });
}

#[test]
fn a_journal_that_is_asked_for_and_missing_is_an_error_at_start() {
    in_bare_room("a_journal_that_is_asked_for_and_missing_is_an_error_at_start", || {
        let (answer, _) = Program::start(Format::Journald, Stdio::piped(), &[]).finish();
        assert_eq!(
            answer["start_error"],
            "cannot log to journald at /run/systemd/journal/socket: No such file or directory (os error 2) \
             (try --log.format=logfmt)"
        );
    });
}

/// Where journald reads standard error, a line says how urgent it is; elsewhere nothing stands before it.
#[test]
fn why_it_cannot_start_is_an_error_to_journald_and_a_plain_line_to_people() {
    use std::os::unix::fs::MetadataExt as _;
    for journald in [false, true] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let stat = std::fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer)));
        let stat = stat.unwrap();
        let inode = if journald { stat.ino() } else { 0 };
        let status = Command::new(env!("CARGO_BIN_EXE_portscan_exporter"))
            .args(["-i", "missing7", "--log.format=logfmt"])
            .env("JOURNAL_STREAM", format!("{}:{inode}", stat.dev()))
            .stderr(writer)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(1));
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        let start =
            format!("{}portscan_exporter: cannot capture on missing7: ", if journald { "<3>" } else { "" });
        assert!(said.lines().any(|line| line.starts_with(&start)), "{said}");
    }
}
