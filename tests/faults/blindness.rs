//! What is not seen is in the journal and in the status, too.

use crate::service_manager::ServiceManager;
use crate::support::{PATIENCE, UP, finds_a_scan, revive};
use lab::{ends_well, eventually, in_room, ip, journal, journal_text};
use rustix::process::{Signal, kill_process};
use std::net::Ipv4Addr;

/// What metrics show, the journal and `systemctl status` say too.
#[test]
fn blindness_is_told() {
    in_room("blindness::blindness_is_told", |lab| {
        let systemd = ServiceManager::listen("notify");
        let mut command = lab.exporter_command(&[
            "--log.format=journald",
            "--detection.memory=4MiB",
            "--capture.buffer-size=1MiB",
        ]);
        command.env("NOTIFY_SOCKET", &systemd.path);
        let exporter = lab.exporter_of(command);
        let status = |wanted: &str| {
            eventually(wanted, PATIENCE, || systemd.status().filter(|status| status == wanted));
        };
        let record = |event: &str| {
            let found = || journal(&[&format!("PORTSCAN_EVENT={event}")]).pop();
            eventually(&format!("a record of {event}"), PATIENCE, found)
        };
        status("capturing on eth0");
        let says_where = |record: &serde_json::Value| {
            record["MESSAGE"].as_str().unwrap().starts_with("capturing on eth0 (192.0.2.10,")
        };
        assert!(journal(&["PORTSCAN_INTERFACE=eth0"]).iter().any(says_where), "{}", journal_text());
        assert_eq!(journal(&["MESSAGE=listening on 127.0.0.1:10220"]).len(), 1, "{}", journal_text());

        ip(&["-n", "lab-t", "link", "set", "eth0", "down"]);
        status("capturing nothing; eth0: link down");
        let lost = record("capture_lost");
        assert_eq!(lost["MESSAGE"], "capture on eth0 stopped: link down; it goes on when the link is back");
        assert_eq!((&lost["PRIORITY"], &lost["PORTSCAN_REASON"]), (&"3".into(), &"link down".into()));
        revive();
        status("capturing on eth0");
        assert_eq!(record("capture_back")["PORTSCAN_INTERFACE"], "eth0");

        // The cable is pulled at the other end: libpcap gives no error, and no frame.
        exporter.wait_for(UP.0, UP.1, 1.0);
        ip(&["-n", "lab-sw", "link", "set", "to-teth0", "down"]);
        status("capturing nothing; eth0: link down");
        exporter.wait_for(UP.0, UP.1, 0.0);
        assert_eq!(lab.get("http://127.0.0.1:10220/-/ready"), None);
        let outages = journal(&["PORTSCAN_EVENT=capture_lost", "PORTSCAN_REASON=link down"]);
        assert_eq!(outages.len(), 2, "{outages:?}");
        let before = journal(&["PORTSCAN_EVENT=capture_back"]).len();
        ip(&["-n", "lab-sw", "link", "set", "to-teth0", "up"]);
        status("capturing on eth0");
        exporter.wait_for(UP.0, UP.1, 1.0);
        let back = journal(&["PORTSCAN_EVENT=capture_back"]).split_off(before).remove(0);
        assert_eq!((&back["PRIORITY"], &back["PORTSCAN_REASON"]), (&"4".into(), &"link down".into()));
        assert!(back["PORTSCAN_BLIND_SECONDS"].as_str().unwrap().parse::<u64>().is_ok(), "{back}");
        assert_eq!(exporter.value("portscan_capture_restarts_total", &[]), Some(0.0));
        finds_a_scan(&exporter);

        lab.netlab("unplug");
        eventually("the reason", PATIENCE, || {
            systemd.status().filter(|status| status.contains("disappeared"))
        });
        lab.netlab("plug");
        status("capturing on eth0");

        // Sources that ask for two ports each: more than there is room for.
        let address = |n: u32| Ipv4Addr::from(0xc612_0000 + n);
        lab::inject(
            "lab-srv",
            (0..200_000).map(|n| lab::frames::syn(address(n / 2), &[], 80 + (n % 2) as u16)).collect(),
        );
        let evicted = record("sources_evicted");
        assert!(evicted["MESSAGE"].as_str().unwrap().contains("evicted for want of memory"), "{evicted}");

        // A process that is held up finds its ring full.
        kill_process(exporter.pid(), Signal::STOP).unwrap();
        lab::inject("lab-srv", (0..50_000).map(|n| lab::frames::syn(address(n), &[], 80)).collect());
        kill_process(exporter.pid(), Signal::CONT).unwrap();
        let dropped = record("frames_dropped");
        let number = |field: &str| dropped[field].as_str().unwrap().parse::<u64>().unwrap();
        let counted = exporter.value("portscan_capture_dropped_packets_total", &[]).unwrap();
        assert!(number("PORTSCAN_DROPPED") > 0 && counted >= number("PORTSCAN_DROPPED") as f64, "{dropped}");
        assert!((1..=100).contains(&number("PORTSCAN_PERCENT")), "{dropped}");
        ends_well(exporter);
    });
}

/// A threshold that takes a block of memory, and more scanners than there are blocks: that scans may be missed is in the journal and
/// in the metrics.
#[test]
fn sources_that_cannot_be_counted_to_the_threshold_are_told() {
    in_room("blindness::sources_that_cannot_be_counted_to_the_threshold_are_told", |lab| {
        let flags = ["--log.format=journald", "--detection.memory=4MiB", "--detection.threshold=193"];
        let exporter = lab.exporter_of(lab.exporter_command(&flags));
        exporter.wait_for(UP.0, UP.1, 1.0);
        let address = |n: u32| Ipv4Addr::from(0xc612_0000 + n);
        let round = |port: u16| (0..200).map(move |n| lab::frames::syn(address(n), &[], port));
        lab::inject("lab-srv", (1..=194).flat_map(round).collect());
        // The slow rule has its own record.
        let of_first = |record: &serde_json::Value| {
            record["MESSAGE"].as_str().unwrap().contains("up to the threshold of 193")
        };
        let told = || journal(&["PORTSCAN_EVENT=sources_cut_short"]).into_iter().rfind(of_first);
        let told = eventually("a record of sources_cut_short", PATIENCE, told);
        let number = told["PORTSCAN_CUT_SHORT"].as_str().unwrap().parse::<u64>().unwrap();
        let counted = exporter.value("portscan_sources_cut_short_total", &[]).unwrap();
        assert!(number > 0 && counted >= number as f64, "{counted}: {told}");
        ends_well(exporter);
    });
}
