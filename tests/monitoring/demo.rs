//! `make demo`: from it alone one can tell what the program does, and nothing is left behind.

use lab::HERE;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

#[test]
fn the_demo_shows_a_scan_from_the_packet_to_the_message_and_ends_at_ctrl_c() {
    let mut demo = Command::new("python3")
        .args([&format!("{HERE}/demo/demo.py"), env!("CARGO_BIN_EXE_portscan_exporter")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("needs python3");
    let mut said = String::new();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if line == "Everything stays up until Ctrl-C." {
            // The page is there, and shows the scan.
            let url = said.lines().find_map(|line| line.strip_prefix("exporter ")).unwrap().trim().to_owned();
            let page = Command::new("curl").args(["-sf", &format!("{url}metrics")]).output().unwrap().stdout;
            assert!(String::from_utf8(page).unwrap().contains("source=\"198.51.100.7\""));
            kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
        }
        said += &line;
        said.push('\n');
    }
    let status = demo.wait().unwrap();
    assert!(status.success(), "{status}: {said}");
    for shown in [
        "$ nmap -sS -p1-1000 198.51.100.10\n",
        "msg=\"portscan hit\" event=hit source=198.51.100.7 source_address=198.51.100.7 ports=20 ",
        "portscan_source_peak_distinct_ports{interface=\"eth0\",source=\"198.51.100.7\",window=\"10s\"} 1000\n",
        "Subject: Wide port scan from 198.51.100.7 on ",
        "198.51.100.7 asked for 1000 distinct ports within 10s on interface eth0",
    ] {
        assert!(said.contains(shown), "{shown}\nis not in\n{said}");
    }
    // Its directory is gone, and so is everybody who worked in it.
    for process in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let place = std::fs::read_link(process.path().join("cwd")).unwrap_or_default();
        assert!(!place.to_string_lossy().contains("portscan-demo."), "{place:?} still has {process:?}");
    }
}
