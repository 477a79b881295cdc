//! Interfaces that go away, come late, have other names, or are no longer where the default route leads.

use crate::service_manager::ServiceManager;
use crate::support::{PATIENCE, UP, finds_a_scan, is_well_again, revive, settled};
use lab::{ends_well, eventually, in_room, ip, journal, journal_text};
use portscan_exporter::system::clock;

#[test]
fn an_interface_may_go_away_in_any_way() {
    in_room("interface::an_interface_may_go_away_in_any_way", |lab| {
        let exporter = lab.exporter(&[]);
        let before = settled(&exporter);
        let down = || exporter.wait_for(UP.0, UP.1, 0.0);

        lab.netlab("unplug");
        down();
        lab.netlab("plug");
        is_well_again("deleted and made again", &exporter, before);

        for name in [&["name", "moved0"], &["netns", "lab-sw"]] {
            ip(&["-n", "lab-t", "link", "set", "eth0", "down"]);
            ip(&[&["-n", "lab-t", "link", "set", "eth0"], &name[..]].concat());
            down();
            let back: &[&str] = match name[0] {
                "name" => &["-n", "lab-t", "link", "set", "moved0", "name", "eth0"],
                _ => &["-n", "lab-sw", "link", "set", "eth0", "netns", "lab-t"],
            };
            ip(back);
            revive();
            is_well_again(name[0], &exporter, before);
        }

        // Within one tick, so that the name never means nothing.
        lab.netlab("unplug");
        lab.netlab("plug");
        exporter.wait_for("portscan_capture_restarts_total", &[], 4.0);
        is_well_again("replaced in an instant", &exporter, before);

        // Renamed, and another one takes its name.
        ip(&["-n", "lab-t", "link", "set", "eth0", "down"]);
        ip(&["-n", "lab-t", "link", "set", "eth0", "name", "moved0"]);
        ip(&["-n", "lab-t", "link", "del", "moved0"]);
        lab.netlab("plug");
        exporter.wait_for("portscan_capture_restarts_total", &[], 5.0);
        is_well_again("another took its name", &exporter, before);

        // A storm of replacements; what counts is that the last one is captured.
        for _ in 0..10 {
            lab.netlab("unplug");
            lab.netlab("plug");
        }
        eventually("the storm to be over", PATIENCE, || {
            let restarts = exporter.value("portscan_capture_restarts_total", &[])?;
            (restarts > 5.0 && exporter.value(UP.0, UP.1) == Some(1.0)).then_some(())
        });
        is_well_again("replaced ten times", &exporter, before);
        assert_eq!(exporter.value("portscan_clock_steps_total", &[]), Some(0.0));
        ends_well(exporter);
    });
}

/// One of several interfaces is not there yet, or down: the others are watched meanwhile, and it is as soon as it can be.
#[test]
fn an_interface_that_is_missing_at_start_does_not_hold_up_the_others() {
    in_room("interface::an_interface_that_is_missing_at_start_does_not_hold_up_the_others", |lab| {
        ip(&["-n", "lab-t", "link", "add", "down0", "type", "veth", "peer", "name", "down1"]);
        for threads in ["1", "2"] {
            let systemd = ServiceManager::listen(threads);
            let mut command = lab.exporter_command(&["-i", "wg0", "-i", "down0", "--log.format=journald"]);
            command.arg(format!("--capture.threads={threads}"));
            command.env("NOTIFY_SOCKET", &systemd.path);
            let exporter = lab.starting(command);
            systemd.until_ready();
            exporter.wait_for(UP.0, UP.1, 1.0);
            let up = |name: &str, is: f64| exporter.wait_for(UP.0, &[&format!("interface=\"{name}\"")], is);
            up("wg0", 0.0);
            up("down0", 0.0);
            finds_a_scan(&exporter);
            for said in [
                "capture on wg0 lost: no such device (interfaces: ",
                "capture on down0 lost: the interface is down (try: ",
            ] {
                eventually(said, PATIENCE, || journal_text().contains(said).then_some(()));
            }

            ip(&["-n", "lab-t", "link", "set", "down0", "up"]);
            ip(&["-n", "lab-t", "link", "add", "wg0", "type", "veth", "peer", "name", "wg1"]);
            ip(&["-n", "lab-t", "link", "set", "wg0", "up"]);
            // The other ends too: without them there is no link.
            ip(&["-n", "lab-t", "link", "set", "down1", "up"]);
            ip(&["-n", "lab-t", "link", "set", "wg1", "up"]);
            up("wg0", 1.0);
            up("down0", 1.0);
            ip(&["-n", "lab-t", "link", "del", "wg0"]);
            ip(&["-n", "lab-t", "link", "set", "down0", "down"]);
            ends_well(exporter);
        }

        let mut command = lab.on("t", env!("CARGO_BIN_EXE_portscan_exporter"));
        let output = command.args(["-i", "wg0", "-i", "down0", "--log.format=logfmt"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot capture on wg0: no such device"), "{said}");
        assert!(said.contains("; cannot capture on down0: the interface is down"), "{said}");
    });
}

/// A host of many containers: every interface has its tables and its ring. A total keeps them within bounds.
#[test]
fn a_hundred_interfaces_start_within_a_total() {
    in_room("interface::a_hundred_interfaces_start_within_a_total", |lab| {
        let names: Vec<String> = (0..50).flat_map(|n| [format!("v{n}"), format!("w{n}")]).skip(1).collect();
        for n in 0..50 {
            let (one, other) = (&*format!("v{n}"), &*format!("w{n}"));
            ip(&["-n", "lab-t", "link", "add", one, "type", "veth", "peer", "name", other]);
            ip(&["-n", "lab-t", "link", "set", one, "up"]);
            ip(&["-n", "lab-t", "link", "set", other, "up"]);
        }
        let mut flags = vec!["--capture.buffer-total=128MiB", "--detection.memory=4MiB"];
        flags.extend(names.iter().flat_map(|name| ["-i", name]));
        let start = clock::steady();
        let exporter = lab.exporter(&flags);
        let took = start.elapsed();
        exporter.wait_for(UP.0, &[], 100.0);
        let held = settled(&exporter);
        println!(
            "100 interfaces: ready after {took:?}, {} threads, {} MiB",
            held.threads,
            held.rss_kib >> 10
        );
        let memory = "100 interfaces with 5.3MiB of tables and 1.3MiB of kernel rings each, 24MiB for the rest: 685.3MiB in all";
        assert!(
            journal(&["PRIORITY=6"]).iter().any(|record| record["MESSAGE"] == format!("memory: {memory}"))
        );
        assert!(held.rss_kib < 685 << 10, "{held:?}");
        ends_well(exporter);
    });
}

/// `ip link property add`: longer than what libpcap can ask for, and one interface whatever it is called.
#[test]
fn an_alternative_name_means_the_interface() {
    in_room("interface::an_alternative_name_means_the_interface", |lab| {
        let long = "enx-the-one-to-the-uplink-of-the-lab";
        ip(&["-n", "lab-t", "link", "property", "add", "dev", "eth0", "altname", long, "altname", "uplink0"]);
        for name in [long, "uplink0"] {
            let mut command = lab.on("t", env!("CARGO_BIN_EXE_portscan_exporter"));
            command.args(["-i", name, "--web.listen-address=127.0.0.1:10220", "--log.format=journald"]);
            let exporter = lab.exporter_of(command);
            exporter.wait_for(UP.0, UP.1, 1.0);
            finds_a_scan(&exporter);
            ends_well(exporter);
        }
        let output = lab.exporter_command(&["-i", long, "--log.format=logfmt"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!(
                "cannot capture on {long}: it is the same interface as eth0, by another name"
            )),
            "{said}"
        );
    });
}

/// Without `-i` it watches where the default route leads, also when that changes.
#[test]
fn the_default_route_is_followed() {
    in_room("interface::the_default_route_is_followed", |lab| {
        // A name that is not UTF-8 must not hide the route.
        let mut odd = std::process::Command::new("ip");
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"odd\xff0");
        odd.args(["-n", "lab-t", "link", "add"]).arg(name).args(["type", "veth", "peer", "name", "odd1"]);
        assert!(odd.status().unwrap().success());
        ip(&["-n", "lab-t", "link", "add", "other0", "type", "veth", "peer", "name", "other1"]);
        ip(&["-n", "lab-t", "link", "set", "other1", "up"]);
        ip(&["-n", "lab-t", "link", "set", "other0", "up"]);
        ip(&["-n", "lab-t", "route", "replace", "default", "dev", "eth0"]);
        for threads in ["1", "2"] {
            let mut command = lab.on("t", env!("CARGO_BIN_EXE_portscan_exporter"));
            command.args(["--web.listen-address=127.0.0.1:10220", "--log.format=journald"]);
            command.arg(format!("--capture.threads={threads}"));
            let exporter = lab.exporter_of(command);
            exporter.wait_for(UP.0, UP.1, 1.0);
            finds_a_scan(&exporter);
            ip(&["-n", "lab-t", "route", "replace", "default", "dev", "other0"]);
            let moved = [UP.0, "interface=\"other0\""];
            exporter.wait_for(moved[0], &[moved[1]], 1.0);
            assert_eq!(exporter.value(UP.0, UP.1), None, "it is one capture");
            for said in [
                "capture on eth0 lost: the default route leads through other0 now",
                "capturing on other0 now: the default route leads there",
            ] {
                eventually(said, PATIENCE, || journal_text().contains(said).then_some(()));
            }
            // No route is no reason to go away.
            ip(&["-n", "lab-t", "route", "del", "default"]);
            ip(&["-n", "lab-t", "route", "add", "default", "dev", "eth0"]);
            exporter.wait_for(UP.0, UP.1, 1.0);
            finds_a_scan(&exporter);
            ends_well(exporter);
        }
    });
}

/// A host that gets its first container an hour later: the exporter is there before it, and says that it sees nothing.
#[test]
fn a_pattern_that_finds_nothing_waits_for_an_interface() {
    in_room("interface::a_pattern_that_finds_nothing_waits_for_an_interface", |lab| {
        let mut command = lab.on("t", env!("CARGO_BIN_EXE_portscan_exporter"));
        command.args(["-i", "late*", "-i", "!later*", "--capture.max-interfaces=2", "--capture.threads=2"]);
        command.args([
            "--detection.memory=8MiB",
            "--web.listen-address=127.0.0.1:10220",
            "--log.format=journald",
        ]);
        let exporter = lab.starting(command);
        let up = "portscan_capture_up";
        let awaited = ["interface=\"late* !later*\""];
        exporter.wait_for(up, &awaited, 0.0);
        exporter.wait_for("portscan_capture_places_limit", &[], 2.0);
        assert_eq!(exporter.value("portscan_capture_places", &[]), Some(0.0));
        assert!(lab.get("http://127.0.0.1:10220/-/ready").is_none(), "nothing is captured");
        assert!(
            lab.get("http://127.0.0.1:10220/-/healthy").is_some(),
            "and nothing is wrong with the program"
        );
        for said in [
            "nothing is captured until an interface comes: cannot capture on late* !later*: no such device",
            "capture on late* !later* waits: no interface matches; it begins as soon as one does",
        ] {
            eventually(said, PATIENCE, || {
                journal_text().contains(said).then_some(()).ok_or_else(journal_text)
            });
        }

        let plug = || {
            ip(&[
                "-n", "lab-t", "link", "add", "late0", "type", "veth", "peer", "name", "far", "netns",
                "lab-s1",
            ]);
            for (host, end, last) in [("lab-t", "late0", 1), ("lab-s1", "far", 7)] {
                ip(&["-n", host, "addr", "add", &format!("203.0.113.{last}/28"), "dev", end]);
                ip(&["-n", host, "link", "set", end, "up"]);
            }
        };
        let late = ["interface=\"late0\""];
        for _ in 0..2 {
            plug();
            exporter.wait_for(up, &late, 1.0);
            // Another place may have taken it: the first one looks once a second.
            eventually("it to wait no more", PATIENCE, || {
                exporter.value(up, &awaited).is_none().then_some(())
            });
            exporter.wait_for("portscan_capture_places", &[], 1.0);
            assert!(lab.get("http://127.0.0.1:10220/-/ready").is_some());
            lab.nmap(&["-sS", "-p1-30", "203.0.113.1"]);
            exporter.wait_for("portscan_hits_total", &[late[0], "kind=\"vertical\"", "window=\"10s\""], 1.0);
            ip(&["-n", "lab-t", "link", "del", "late0"]);
            // Its place is kept for half a minute.
            eventually("it to wait again", 2 * PATIENCE, || exporter.value(up, &awaited).map(|_| ()));
            assert_eq!(exporter.value(up, &late), None);
            exporter.wait_for("portscan_capture_places", &[], 0.0);
        }
        ends_well(exporter);
    });
}

/// Who makes interfaces can have so many captured as there are places, and pushes none out. Each has series of its own, from nothing.
#[test]
fn interfaces_that_a_pattern_means_come_and_go() {
    in_room("interface::interfaces_that_a_pattern_means_come_and_go", |lab| {
        let mut command = lab.on("t", env!("CARGO_BIN_EXE_portscan_exporter"));
        command.args(["-i", "eth*", "-i", "!ethx*", "--capture.max-interfaces=2", "--capture.threads=2"]);
        command.args([
            "--detection.memory=8MiB",
            "--web.listen-address=127.0.0.1:10220",
            "--log.format=journald",
        ]);
        let exporter = lab.exporter_of(command);
        let shown = || -> Vec<String> {
            let page = exporter.metrics().unwrap();
            let names = page.lines().filter_map(|line| line.strip_prefix("portscan_capture_up{interface=\""));
            names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
        };
        // Longer than a place is kept for an interface that went.
        let settles_on = |expected: &[&str]| {
            eventually(&format!("{expected:?} to be shown"), 2 * PATIENCE, || {
                (shown() == expected).then_some(())
            });
        };
        // A cable to s1, which has the address .7 there.
        let plug = |name: &str, net: u8| {
            let far = format!("far{net}");
            ip(&[
                "-n", "lab-t", "link", "add", name, "type", "veth", "peer", "name", &far, "netns", "lab-s1",
            ]);
            for (host, end, last) in [("lab-t", name, 1), ("lab-s1", &far, 7)] {
                ip(&["-n", host, "addr", "add", &format!("203.0.113.{}/28", 16 * net + last), "dev", end]);
                ip(&["-n", host, "link", "set", end, "up"]);
            }
        };
        let unplug = |name: &str| ip(&["-n", "lab-t", "link", "del", name]);
        settles_on(&["eth0"]);

        plug("ethx1", 1);
        plug("eth1", 2);
        settles_on(&["eth0", "eth1"]);
        exporter.wait_for("portscan_capture_up", &["interface=\"eth1\""], 1.0);
        lab.nmap(&["-sS", "-p1-30", "203.0.113.33"]);
        exporter.wait_for("portscan_hits_total", &["interface=\"eth1\"", "kind=\"vertical\""], 1.0);

        // No place for these: counted, and nobody is pushed out.
        plug("eth2", 3);
        plug("eth3", 4);
        exporter.wait_for("portscan_capture_interfaces_refused_total", &[], 2.0);
        exporter.wait_for("portscan_capture_unplaced_interfaces", &[], 2.0);
        assert_eq!(exporter.value("portscan_capture_places", &[]), Some(2.0));
        assert_eq!(shown(), ["eth0", "eth1"]);

        // Away and back within the half minute: the same series go on.
        unplug("eth1");
        exporter.wait_for("portscan_capture_up", &["interface=\"eth1\""], 0.0);
        plug("eth1", 2);
        exporter.wait_for("portscan_capture_up", &["interface=\"eth1\""], 1.0);
        assert_eq!(exporter.value("portscan_hits_total", &["interface=\"eth1\""]), Some(1.0));

        // Away for good: its open scan has ended, and the next one begins with nothing of it.
        unplug("eth1");
        settles_on(&["eth0", "eth2"]);
        // The record comes by the queue of the notifier, the series by the snapshot.
        eventually("the end of its open scan", PATIENCE, || {
            let ended = journal(&["PORTSCAN_EVENT=ended", "PORTSCAN_INTERFACE=eth1"]);
            if ended.len() == 1 { Ok(()) } else { Err(journal_text()) }
        });
        assert_eq!(exporter.value("portscan_hits_total", &["interface=\"eth2\""]), Some(0.0));
        assert_eq!(exporter.value("portscan_packets_total", &["interface=\"eth2\""]), Some(0.0));
        assert_eq!(exporter.value("portscan_published_sources", &["interface=\"eth2\""]), Some(0.0));
        lab.nmap(&["-sS", "-p1-30", "203.0.113.49"]);
        exporter.wait_for("portscan_hits_total", &["interface=\"eth2\"", "kind=\"vertical\""], 1.0);

        // A place without an interface is nothing that is missing.
        unplug("eth3");
        unplug("eth2");
        settles_on(&["eth0"]);
        exporter.wait_for("portscan_capture_unplaced_interfaces", &[], 0.0);
        assert!(lab.get("http://127.0.0.1:10220/-/ready").is_some());
        assert!(lab.get("http://127.0.0.1:10220/-/healthy").is_some());
        let answer = lab.get("http://127.0.0.1:10220/api/v1/explain?source=203.0.113.55").unwrap();
        assert!(answer.contains("\"eth0\"") && !answer.contains("\"eth2\""), "{answer}");
        finds_a_scan(&exporter);
        ends_well(exporter);
    });
}
