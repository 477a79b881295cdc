//! File descriptors that run out.

use crate::attack::{Attack, fill, scraped_during};
use crate::http::{ask, connect};
use crate::support::{PATIENCE, UP, cpu_seconds, is_well_again, settled};
use lab::{Exporter, ends_well, eventually, in_room};
use portscan_exporter::system::clock;
use rustix::process::{Resource, Rlimit, prlimit};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// Lets a process open no descriptor above `limit`.
fn limit_descriptors(exporter: &Exporter, limit: u64) {
    prlimit(Some(exporter.pid()), Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(20_000) })
        .unwrap();
}

#[test]
fn without_a_descriptor_left_it_waits_and_comes_back() {
    in_room("descriptors::without_a_descriptor_left_it_waits_and_comes_back", |lab| {
        // Root without further privileges may set the limits of its own user's processes only.
        let exporter = lab.exporter(&["--web.listen-address=192.0.2.10:10220", "--user=root"]);
        let before = settled(&exporter);
        let to: SocketAddr = "127.0.0.1:10220".parse().unwrap();
        // A connection from before, as Prometheus keeps one.
        let mut kept = lab::inside("lab-t", move || connect(to).unwrap()).join().unwrap();
        let mut value = move |series: &str| -> f64 {
            let (_, page) = ask(&mut kept, true).unwrap();
            let line = page.lines().find_map(|line| line.strip_prefix(series)).expect(series).trim();
            line.parse().unwrap()
        };
        assert_eq!(value("portscan_capture_up{interface=\"eth0\"}"), 1.0);

        limit_descriptors(&exporter, 3);
        lab.netlab("unplug");
        eventually("the loss", PATIENCE, || {
            (value("portscan_capture_up{interface=\"eth0\"}") == 0.0).then_some(())
        });
        lab.netlab("plug");
        // Twenty connections wait in vain to be accepted.
        let waiting = lab::inside("lab-t", move || {
            (0..20).map(|_| TcpStream::connect(to).unwrap()).collect::<Vec<_>>()
        })
        .join()
        .unwrap();
        let records = |value: &mut dyn FnMut(&str) -> f64| {
            ["debug", "error", "info", "warning"]
                .map(|level| value(&format!("portscan_log_records_total{{level=\"{level}\"}}")))
                .iter()
                .sum::<f64>()
        };
        let (told, used, start) = (records(&mut value), cpu_seconds(&exporter), clock::steady());
        let refused = value("portscan_web_accept_failures_total");
        eventually("three seconds without a descriptor", PATIENCE, || {
            thread::sleep(Duration::from_millis(200));
            assert_eq!(value("portscan_capture_up{interface=\"eth0\"}"), 0.0);
            (start.elapsed() > Duration::from_secs(3)).then_some(())
        });
        let share = (cpu_seconds(&exporter) - used) / start.elapsed().as_secs_f64();
        let more = records(&mut value) - told;
        let failures = value("portscan_web_accept_failures_total") - refused;
        println!(
            "without a descriptor: {:.1} % of a core, {more} records, {failures} failures",
            share * 100.0
        );
        assert!(share < 0.3, "it spins: {share}");
        assert!(failures > 0.0);
        assert!(more <= 2.0, "{more} records in three seconds: whoever connects fills the journal");

        limit_descriptors(&exporter, 1_024);
        drop(waiting);
        drop(value);
        is_well_again("no descriptor left", &exporter, before);
        assert_eq!(exporter.value("portscan_capture_restarts_total", &[]), Some(1.0));
        ends_well(exporter);
    });
}

#[test]
fn connections_leave_descriptors_to_the_capture() {
    in_room("descriptors::connections_leave_descriptors_to_the_capture", |lab| {
        let mut command = lab.on("t", "prlimit");
        command.args(["--nofile=40:40", env!("CARGO_BIN_EXE_portscan_exporter"), "-i", "eth0"]);
        command.args(["--web.listen-address=127.0.0.1:10220", "--web.listen-address=192.0.2.10:10220"]);
        command.arg("--log.format=journald");
        let exporter = lab.exporter_of(command);
        let before = settled(&exporter);
        let idle = Attack::start(|to, open| {
            fill(open, 100, to);
            // Whoever was cut comes again.
            open.retain_mut(|stream| {
                stream.set_nonblocking(true).unwrap();
                let state = stream.peek(&mut [0]);
                state.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
            });
            thread::sleep(Duration::from_millis(10));
        });
        scraped_during(lab, "100 connections to 40 descriptors", &idle);
        lab.netlab("unplug");
        exporter.wait_for(UP.0, UP.1, 0.0);
        lab.netlab("plug");
        exporter.wait_for(UP.0, UP.1, 1.0);
        assert!(idle.rounds() > 0);
        drop(idle);
        is_well_again("connections for every descriptor", &exporter, before);
        ends_well(exporter);
    });
}
