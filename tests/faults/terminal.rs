//! A terminal that nobody reads.

use crate::http::scrape;
use crate::support::{PATIENCE, PROMPT, hit_is_recorded, scan};
use lab::{ends_well, eventually, in_room};
use rustix::fs::OFlags;
use rustix::process::{Signal, kill_process};
use std::fs;
use std::fs::File;

/// A terminal that nobody reads, as a dead ssh session leaves one, and its other end.
fn terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, rustix::fs::Mode::empty()).unwrap();
    (File::from(master), File::from(slave))
}

#[test]
fn a_terminal_that_nobody_reads_holds_nothing_up() {
    in_room("terminal::a_terminal_that_nobody_reads_holds_nothing_up", |lab| {
        // A terminal's devices are not in the room's /dev.
        fs::create_dir_all("/dev/pts").unwrap();
        let mount = ["-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts", "/dev/pts"];
        assert!(std::process::Command::new("mount").args(mount).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/pts/ptmx", "/dev/ptmx").unwrap();
        for format in ["auto", "logfmt"] {
            let (_master, slave) = terminal();
            let mut command = lab.exporter_command(&[&format!("--log.format={format}")]);
            command.stderr(slave);
            let exporter = lab.exporter_of(command);
            // Far more than the terminal takes.
            let sources: Vec<String> = (0..60).map(|_| scan()).collect();
            let waiting = || exporter.value("portscan_log_records_waiting", &[]).filter(|n| *n > 10.0);
            eventually("records to wait for the terminal", PATIENCE, waiting);
            if format == "auto" {
                let last = sources.last().unwrap();
                eventually("the journal to have them all", PATIENCE, || hit_is_recorded(last).then_some(()));
                assert!(sources.iter().all(|source| hit_is_recorded(source)));
            }
            kill_process(exporter.pid(), Signal::HUP).unwrap();
            let slowest = (0..5).map(|_| scrape(lab, "127.0.0.1")).max().unwrap();
            println!("{format}: a scrape beside a terminal that nobody reads: {} ms", slowest.as_millis());
            assert!(slowest < PROMPT, "{slowest:?}");
            ends_well(exporter);
        }
    });
}
