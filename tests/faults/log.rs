//! Where records go: a journald that dies, hangs or fills up, and a standard error that is closed, gone or full.

use crate::http::scrape;
use crate::support::{PATIENCE, PROMPT, finds_a_scan, hit_is_recorded, is_well_again, settled};
use lab::{Exporter, ends_well, eventually, in_room};
use rustix::fs::OFlags;
use rustix::process::Signal;
use std::fs;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixDatagram;
use std::thread;

#[test]
fn journald_may_die_hang_and_fill_up() {
    in_room("log::journald_may_die_hang_and_fill_up", |lab| {
        let said = lab.directory.path().join("stderr");
        let mut command = lab.exporter_command(&["--log.format=journald"]);
        command.stderr(File::create(&said).unwrap());
        let exporter = lab.exporter_of(command);
        let before = settled(&exporter);
        let told_instead = |source: &str| {
            eventually("the record on standard error", PATIENCE, || {
                let text = fs::read_to_string(&said).unwrap();
                text.contains(&format!("msg=\"portscan hit\" event=hit source={source} ")).then_some(())
            });
        };
        let is_back = |what: &str| {
            let source = finds_a_scan(&exporter);
            eventually("the record in the journal", PATIENCE, || hit_is_recorded(&source).then_some(()));
            is_well_again(what, &exporter, before);
        };
        let redirected = || exporter.value("portscan_log_records_redirected_total", &[]).unwrap();

        lab.kill_journald();
        told_instead(&finds_a_scan(&exporter));
        exporter.wait_for("portscan_log_records_redirected_total", &[], 1.0);
        lab.start_journald();
        is_back("journald killed");

        lab.kill_journald();
        fs::remove_file("/run/systemd/journal/socket").unwrap();
        told_instead(&finds_a_scan(&exporter));
        lab.start_journald();
        is_back("journald and its socket gone");

        // It hangs, and its queue fills up: a sender would wait for ever.
        lab.signal_journald(Signal::STOP);
        for _ in 0..100_000 {
            let filler = UnixDatagram::unbound().unwrap();
            filler.set_nonblocking(true).unwrap();
            let sent = filler.send_to(b"MESSAGE=filler\n", "/run/systemd/journal/socket");
            if sent.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                break;
            }
        }
        let counted = redirected();
        let slowest = (0..5).map(|_| scrape(lab, "127.0.0.1")).max().unwrap();
        for _ in 0..5 {
            told_instead(&finds_a_scan(&exporter));
        }
        println!("a scrape beside a hung journald: {} ms", slowest.as_millis());
        assert!(slowest < PROMPT, "{slowest:?}");
        exporter.wait_for("portscan_log_records_redirected_total", &[], counted + 5.0);
        lab.signal_journald(Signal::CONT);
        is_back("journald hung");

        // Its disk fills up while it runs.
        lab.kill_journald();
        // journald makes room by giving up old records where it can; what it drops nobody is told of.
        let mount = |arguments: &[&str]| {
            assert!(std::process::Command::new("mount").args(arguments).status().unwrap().success());
        };
        mount(&["-t", "tmpfs", "-o", "size=12m", "tmpfs", "/run/log/journal"]);
        lab.start_journald();
        let ballast = "/run/log/journal/ballast";
        let mut file = File::create(ballast).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let noise = UnixDatagram::unbound().unwrap();
        noise.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut random = File::open("/dev/urandom").unwrap();
        for _ in 0..1_000 {
            let mut bytes = [0; 8 << 10];
            random.read_exact(&mut bytes).unwrap();
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            match noise.send_to(format!("MESSAGE={text}\n").as_bytes(), "/run/systemd/journal/socket") {
                // It can die of it (a file that it has mapped has no room for a page): then it is one that was killed.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    println!("journald died of its full disk");
                    break;
                }
                sent => sent.map(drop).expect("journald takes it"),
            }
        }
        assert!(fs::write("/run/log/journal/more", [0; 64 << 10]).is_err(), "there is room");
        is_well_again("the journal's disk full", &exporter, before);
        // It does not come back by itself where it found no room: whoever runs it gives it another disk.
        lab.kill_journald();
        let status = std::process::Command::new("umount").args(["-l", "/run/log/journal"]).status();
        assert!(status.unwrap().success());
        lab.start_journald();
        is_back("the journal's disk has room again");
        assert_eq!(exporter.value("portscan_log_records_lost_total", &[]), Some(0.0));
        ends_well(exporter);
    });
}

/// A pipe that takes nothing any more, and the end that nobody reads.
fn full_pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    let mut writer = File::from(writer);
    while writer.write(&[0; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (File::from(reader), writer)
}

#[test]
fn standard_error_may_be_closed_gone_or_full() {
    in_room("log::standard_error_may_be_closed_gone_or_full", |lab| {
        let lost = |exporter: &Exporter| exporter.value("portscan_log_records_lost_total", &[]).unwrap();
        let logfmt = ["--log.format=logfmt"];

        let mut closed = lab.on("t", "sh");
        closed.args(["-c", "exec \"$@\" 2>&-", "sh", env!("CARGO_BIN_EXE_portscan_exporter")]);
        closed.args(["-i", "eth0", "--web.listen-address=127.0.0.1:10220"]).args(logfmt);
        let exporter = lab.exporter_of(closed);
        let before = settled(&exporter);
        is_well_again("standard error closed", &exporter, before);
        ends_well(exporter);

        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let mut gone = lab.exporter_command(&logfmt);
        gone.stderr(writer);
        let exporter = lab.exporter_of(gone);
        let before = settled(&exporter);
        is_well_again("the reader of standard error gone", &exporter, before);
        assert!(lost(&exporter) >= 2.0, "{} records lost", lost(&exporter));
        ends_well(exporter);

        // A file that may grow no more (`ulimit -f`): the signal for it would end the process.
        let path = lab.directory.path().join("stderr");
        let mut limited = lab.on("t", "prlimit");
        limited.args(["--fsize=100", env!("CARGO_BIN_EXE_portscan_exporter"), "-i", "eth0"]);
        limited.args(["--web.listen-address=127.0.0.1:10220"]).args(logfmt);
        limited.stderr(File::create(&path).unwrap());
        let exporter = lab.exporter_of(limited);
        let before = settled(&exporter);
        is_well_again("standard error at its limit", &exporter, before);
        assert!(lost(&exporter) >= 2.0, "{} records lost", lost(&exporter));
        assert_eq!(fs::metadata(&path).unwrap().len(), 100);
        ends_well(exporter);

        let (mut reader, writer) = full_pipe();
        let mut full = lab.exporter_command(&logfmt);
        full.stderr(writer);
        let exporter = lab.exporter_of(full);
        let before = settled(&exporter);
        let slowest = (0..5).map(|_| scrape(lab, "127.0.0.1")).max().unwrap();
        println!("a scrape beside a full pipe: {} ms", slowest.as_millis());
        assert!(slowest < PROMPT, "{slowest:?}");
        is_well_again("standard error full", &exporter, before);
        let waiting = || exporter.value("portscan_log_records_waiting", &[]).unwrap();
        assert!(waiting() >= 2.0, "{} records wait", waiting());
        assert_eq!(lost(&exporter), 0.0);
        // Someone reads again, and gets them all.
        thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        exporter.wait_for("portscan_log_records_waiting", &[], 0.0);
        assert_eq!(lost(&exporter), 0.0);
        ends_well(exporter);
    });
}
