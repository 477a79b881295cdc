//! Reloads: in a storm, during the start, and to what the tables were not made for.

use crate::service_manager::ServiceManager;
use crate::support::{Holds, MARGIN_KIB, PATIENCE, finds_a_scan, is_well_again, scan, settled};
use lab::{ends_well, eventually, in_room, journal_text};
use portscan_exporter::system::clock;
use rustix::process::{Signal, kill_process};
use std::fs;
use std::net::Ipv4Addr;

#[test]
fn a_storm_of_hang_ups_ends_in_the_last_configuration() {
    in_room("reload::a_storm_of_hang_ups_ends_in_the_last_configuration", |lab| {
        let path = lab.directory.path().join("portscan.yml");
        let put = |text: &str| {
            let part = path.with_extension("part");
            fs::write(&part, text).unwrap();
            fs::rename(part, &path).unwrap();
        };
        put("detection: {threshold: 20}\n");
        let flag = format!("--config.file={}", path.display());
        let exporter = lab.exporter(&[&flag]);
        let before = settled(&exporter);
        let records = || exporter.value("portscan_log_records_total", &[]).unwrap();
        let told = records();
        let start = clock::steady();
        for n in 0..1_000 {
            put(if n % 2 == 0 { "detection: {treshold: 7}\n" } else { "detection: {threshold: 19}\n" });
            kill_process(exporter.pid(), Signal::HUP).unwrap();
        }
        let took = start.elapsed();
        put("detection: {threshold: 21}\n");
        kill_process(exporter.pid(), Signal::HUP).unwrap();
        exporter.wait_for("portscan_threshold_ports", &["window=\"10s\""], 21.0);
        exporter.wait_for("portscan_config_last_reload_successful", &[], 1.0);
        let more = records() - told;
        println!("1,001 hang-ups in {took:?}: {more} records");
        assert!(more <= 4.0 + took.as_secs_f64() * 2.0, "{more} records in {took:?}");
        is_well_again("a storm of hang-ups", &exporter, before);

        put("detection: {treshold: 7}\n");
        kill_process(exporter.pid(), Signal::HUP).unwrap();
        exporter.wait_for("portscan_config_last_reload_successful", &[], 0.0);
        assert_eq!(
            exporter.value("portscan_threshold_ports", &["window=\"10s\""]),
            Some(21.0),
            "{}",
            journal_text()
        );
        is_well_again("a configuration that is no good", &exporter, before);
        ends_well(exporter);
    });
}

/// A reload that is asked for while it starts is one, neither its end nor a sign that it is ready.
#[test]
fn a_hang_up_during_the_start_is_a_reload() {
    in_room("reload::a_hang_up_during_the_start_is_a_reload", |lab| {
        let path = lab.directory.path().join("portscan.yml");
        fs::write(&path, "detection: {threshold: 20}\n").unwrap();
        let systemd = ServiceManager::listen("notify");
        // Two threads: the sockets of a group are open for a third of a second before it runs.
        let config = format!("--config.file={}", path.display());
        let mut command = lab.exporter_command(&["--capture.threads=2", "--log.format=journald", &config]);
        command.env("NOTIFY_SOCKET", &systemd.path);
        let exporter = lab.starting(command);
        eventually("its first socket", PATIENCE, || {
            let sockets = fs::read_to_string(format!("/proc/{}/net/packet", exporter.pid().as_raw_pid()));
            (sockets.unwrap().lines().count() > 1).then_some(())
        });
        for threshold in 16..19 {
            fs::write(&path, format!("detection: {{threshold: {threshold}}}\n")).unwrap();
            kill_process(exporter.pid(), Signal::HUP).unwrap();
        }
        systemd.until_ready();
        let ready = lab.get("http://127.0.0.1:10220/-/ready");
        assert_eq!(ready.as_deref(), Some("portscan_exporter is ready\n"), "when it says so, it is");
        exporter.wait_for("portscan_threshold_ports", &["window=\"10s\""], 18.0);
        ends_well(exporter);
    });
}

/// It was somebody's own scanner after all: what is shown of it goes with the reload, not with the hold.
#[test]
fn a_source_that_a_reload_ignores_is_gone_at_once() {
    in_room("reload::a_source_that_a_reload_ignores_is_gone_at_once", |lab| {
        let path = lab.directory.path().join("portscan.yml");
        let names = "names: {monitoring: [203.0.113.8], others: [203.0.113.0/24]}\n";
        fs::write(&path, names).unwrap();
        let config = format!("--config.file={}", path.display());
        let exporter = lab.exporter(&[&config, "--capture.threads=2", "--ignore.source=203.0.113.99"]);
        let called = |source: &str, name: &str| {
            exporter.value(
                "portscan_source_info",
                &[&format!("source=\"{source}\""), &format!("name=\"{name}\"")],
            )
        };
        let shown = |source: &str| {
            exporter.value("portscan_source_peak_distinct_ports", &[&format!("source=\"{source}\"")])
        };
        let ask = |source: u8, first: u16| {
            let source = Ipv4Addr::new(203, 0, 113, source);
            let frames = (first..first + 30).map(|port| lab::frames::syn(source, &[], port)).collect();
            lab::inject("lab-srv", frames);
        };
        for source in [7, 8, 9, 99] {
            // Three that ask for the same ports would be a storm, without records of their own.
            ask(source, 1000 + 100 * u16::from(source % 10));
        }
        for source in ["203.0.113.7", "203.0.113.8", "203.0.113.9"] {
            eventually(source, PATIENCE, || shown(source).is_some_and(|peak| peak == 30.0).then_some(()));
        }
        let ignored = |reason: &str| {
            exporter.value("portscan_probes_ignored_total", &[&format!("reason=\"{reason}\"")])
        };
        assert_eq!((ignored("source"), shown("203.0.113.99")), (Some(30.0), None), "by the flag");

        assert_eq!(
            (called("203.0.113.7", "others"), called("203.0.113.8", "monitoring")),
            (Some(1.0), Some(1.0))
        );
        let hits = || lab::journal(&["PORTSCAN_EVENT=hit", "PORTSCAN_SOURCE_NAME=monitoring"]).len();
        eventually("the name in its record", PATIENCE, || (hits() == 1).then_some(()));
        let answer = lab.get("http://127.0.0.1:10220/api/v1/scans?source_name=monitoring").unwrap();
        assert!(answer.contains("203.0.113.8") && !answer.contains("203.0.113.7\""), "{answer}");

        let pairs = "[{source: 203.0.113.8, ports: 2000-2019}]";
        fs::write(&path, format!("ignore: {{sources: [203.0.113.7, 203.0.113.9], pairs: {pairs}}}\n"))
            .unwrap();
        kill_process(exporter.pid(), Signal::HUP).unwrap();
        eventually("the series to go", PATIENCE, || {
            (shown("203.0.113.7").is_none() && shown("203.0.113.9").is_none()).then_some(())
        });
        exporter.wait_for("portscan_open_scans", &["kind=\"vertical\""], 1.0);
        assert_eq!(shown("203.0.113.8"), Some(30.0), "its neighbour stays");
        assert_eq!(exporter.value("portscan_source_info", &[]), None, "and has no name any more");
        // One of two threads may have had both.
        eventually("the record of it", PATIENCE, || {
            let text = journal_text();
            let said = ["203.0.113.7", "203.0.113.9"].iter().all(|source| {
                text.lines().any(|line| {
                    line.contains("ignored from now on, and no longer shown on") && line.contains(source)
                })
            });
            said.then_some(()).ok_or(text)
        });
        for source in ["203.0.113.7", "203.0.113.9"] {
            let ended = lab::journal(&["PORTSCAN_EVENT=ended", &format!("PORTSCAN_SOURCE={source}")]);
            assert_eq!(ended.len(), 1, "{}", journal_text());
        }
        ask(7, 1000);
        ask(8, 2000);
        exporter.wait_for("portscan_probes_ignored_total", &["reason=\"source\""], 60.0);
        exporter.wait_for("portscan_probes_ignored_total", &["reason=\"source_port\""], 20.0);
        eventually("ten more ports", PATIENCE, || (shown("203.0.113.8") == Some(40.0)).then_some(()));
        finds_a_scan(&exporter);
        ends_well(exporter);
    });
}

/// A hold that nobody asked for follows the window, at a reload as at a start: it was refused, and blamed a flag that nobody gave.
#[test]
fn a_reload_may_bring_a_window_longer_than_the_hold() {
    in_room("reload::a_reload_may_bring_a_window_longer_than_the_hold", |lab| {
        let path = lab.directory.path().join("portscan.yml");
        fs::write(&path, "{}\n").unwrap();
        let exporter = lab.exporter(&[&format!("--config.file={}", path.display()), "--capture.threads=2"]);
        finds_a_scan(&exporter);
        for (window, hold) in [("6m", 360.0), ("10s", 300.0), ("1h", 3_600.0), ("10s", 300.0)] {
            fs::write(&path, format!("detection: {{window: {window}}}\n")).unwrap();
            kill_process(exporter.pid(), Signal::HUP).unwrap();
            exporter.wait_for("portscan_hold_seconds", &[], hold);
            exporter.wait_for("portscan_config_last_reload_successful", &[], 1.0);
            finds_a_scan(&exporter);
        }
        ends_well(exporter);
    });
}

/// Slow rules come and go with a reload, and find what is for them; those that stay keep their label.
#[test]
fn a_reload_may_bring_more_slow_rules_and_fewer() {
    in_room("reload::a_reload_may_bring_more_slow_rules_and_fewer", |lab| {
        let path = lab.directory.path().join("portscan.yml");
        let put = |slow: &str| fs::write(&path, format!("detection: {{window: 1s, {slow}}}\n")).unwrap();
        put("slow_window: 2m, slow_threshold: 30");
        let exporter = lab.exporter(&[&format!("--config.file={}", path.display())]);
        let threshold =
            |window: &str| exporter.value("portscan_threshold_ports", &[&format!("window=\"{window}\"")]);
        let hits = |window: &str| exporter.value("portscan_hits_total", &[&format!("window=\"{window}\"")]);
        // In three parts with a pause between, so that the first rule sees 18 at most.
        let mut next = 20;
        let mut ask_slowly = |ports: u16| {
            next += 1;
            let source = Ipv4Addr::new(203, 0, 113, next);
            let now = ["portscan_source_distinct_ports", &format!("source=\"{source}\""), "window=\"1s\""];
            for part in 0..3 {
                let ports = 1000 + part * ports / 3..1000 + (part + 1) * ports / 3;
                let seen = exporter.sum("portscan_probes_total") + f64::from(ports.len() as u16);
                lab::inject("lab-srv", ports.map(|port| lab::frames::syn(source, &[], port)).collect());
                exporter.wait_for("portscan_probes_total", &[], seen);
                exporter.wait_for(now[0], &now[1..], 0.0);
            }
        };
        let all = ["1m", "2m", "4m"];
        let shown = |windows: [Option<f64>; 3]| {
            eventually(&format!("{windows:?}"), PATIENCE, || {
                let now = all.map(threshold);
                (now == windows).then_some(()).ok_or(format!("{now:?}"))
            });
        };
        shown([None, Some(30.0), None]);
        for (slow, windows, ports, by) in [
            (
                "slow_window: [4m, 1m, 2m], slow_threshold: [50, 21, 40]",
                [Some(21.0), Some(40.0), Some(50.0)],
                24,
                Some("1m"),
            ),
            ("slow_window: [1m, 4m], slow_threshold: [51, 54]", [Some(51.0), None, Some(54.0)], 48, None),
            (
                "slow_window: [2m, 4m], slow_threshold: [45, 54]",
                [None, Some(45.0), Some(54.0)],
                51,
                Some("2m"),
            ),
            ("slow_threshold: 0", [None, None, None], 54, None),
            ("slow_window: 4m, slow_threshold: 50", [None, None, Some(50.0)], 54, Some("4m")),
        ] {
            put(slow);
            kill_process(exporter.pid(), Signal::HUP).unwrap();
            shown(windows);
            let before = all.map(|window| hits(window).unwrap_or(0.0));
            ask_slowly(ports);
            if let Some(by) = by {
                exporter.wait_for(
                    "portscan_hits_total",
                    &[&format!("window=\"{by}\"")],
                    1.0 + before[all.iter().position(|&one| one == by).unwrap()],
                );
            }
            let more = |at: usize| hits(all[at]).unwrap_or(0.0) - before[at];
            let expected = all.map(|window| f64::from(u8::from(by == Some(window))));
            assert_eq!([more(0), more(1), more(2)], expected, "{slow}: {}", journal_text());
        }
        put("slow_window: 4m, slow_threshold: 50, block_threshold: 7");
        kill_process(exporter.pid(), Signal::HUP).unwrap();
        exporter.wait_for("portscan_threshold_block_ports", &["window=\"5m\""], 7.0);
        let get = |path: &str| lab.get(&format!("http://127.0.0.1:10220{path}")).unwrap();
        let block = "25 hosts within 5m (a block with 7 ports)";
        let status: serde_json::Value = serde_json::from_str(&get("/api/v1/status")).unwrap();
        let rules = status["policy"]["rules"].as_array().unwrap();
        let blocks: Vec<_> = rules.iter().map(|rule| rule["block_threshold"].as_u64()).collect();
        assert!(blocks.iter().flatten().eq(&[7]) && blocks.len() == 5, "{rules:?}");
        assert!(get("/").contains(block));
        eventually("the record of its rules", PATIENCE, || {
            let text = journal_text();
            let said = text.lines().any(|line| {
                line.contains(block) && line.contains("share 16MiB of tables beside the 48MiB of the first")
            });
            said.then_some(()).ok_or(text)
        });

        put("slow_window: [1m, 2m], slow_threshold: [40, 30]");
        kill_process(exporter.pid(), Signal::HUP).unwrap();
        exporter.wait_for("portscan_config_last_reload_successful", &[], 0.0);
        shown([None, None, Some(50.0)]);
        ends_well(exporter);
    });
}

/// A reload may ask for more than the tables were sized for: they are sized anew, and what is refused is refused by
/// `--config.check` too.
#[test]
fn a_reload_may_raise_the_threshold_and_lower_it_again() {
    in_room("reload::a_reload_may_raise_the_threshold_and_lower_it_again", |lab| {
        let path = lab.directory.path().join("portscan.yml");
        let config = format!("--config.file={}", path.display());
        fs::write(&path, "detection: {threshold: 20}\n").unwrap();
        let exporter = lab.exporter(&[&config, "--capture.threads=2"]);
        let before = settled(&exporter);
        let reload = |threshold: u32| {
            fs::write(&path, format!("detection: {{threshold: {threshold}}}\n")).unwrap();
            let check = lab.exporter_command(&[&config, "--config.check"]).output().unwrap();
            assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
            kill_process(exporter.pid(), Signal::HUP).unwrap();
            exporter.wait_for("portscan_threshold_ports", &["window=\"10s\""], f64::from(threshold));
            assert_eq!(exporter.value("portscan_config_last_reload_successful", &[]), Some(1.0));
        };
        let hits = || exporter.value("portscan_hits_total", &[]).unwrap();
        for threshold in [22, 300, 65_536, 4, 30] {
            reload(threshold);
            let hits_before = hits();
            let source = scan();
            let series = ["portscan_source_peak_distinct_ports", &format!("source=\"{source}\"")];
            exporter.wait_for(series[0], &[series[1]], 25.0);
            assert_eq!(hits() - hits_before, f64::from(u8::from(threshold <= 25)), "{threshold}");
        }
        reload(300);
        let hits_before = hits();
        let source = Ipv4Addr::new(203, 0, 113, 250);
        lab::inject("lab-srv", (1..=300).map(|port| lab::frames::syn(source, &[], port)).collect());
        eventually("a scan of 300 ports", PATIENCE, || (hits() - hits_before == 1.0).then_some(()));
        reload(20);
        finds_a_scan(&exporter);
        let now = Holds::of(&exporter);
        assert_eq!(now.threads, before.threads);
        assert!(
            now.rss_kib <= before.rss_kib + MARGIN_KIB,
            "the old tables are gone: {before:?}, then {now:?}"
        );
        ends_well(exporter);
    });
}
