//! Sources that cannot be, or that are the host itself.

use crate::support::{PATIENCE, scan};
use lab::{ends_well, eventually, in_room, ip, journal_text};
use std::thread;
use std::time::Duration;

/// What the host sends to itself is nobody's scan, and what cannot have come from where it says is no one's.
#[test]
fn own_and_impossible_sources_are_counted_and_not_told() {
    in_room("sources::own_and_impossible_sources_are_counted_and_not_told", |lab| {
        let exporter = lab.exporter(&["-i", "any", "-i", "lo"]);
        for own in ["127.0.0.1", "192.0.2.10", "::1"] {
            let family: &[&str] = if own == "::1" { &["-6"] } else { &[] };
            lab.run("t", "nmap", &[family, &["-n", "-Pn", "-sT", "-p1-40", own]].concat());
        }
        let martians =
            [[0, 1, 2, 3], [224, 1, 2, 3], [255; 4], [127, 0, 0, 1], [192, 0, 2, 10], [192, 0, 2, 255]];
        for source in martians {
            lab::inject("lab-srv", (1..26).map(|port| lab::frames::syn(source, &[], port)).collect());
        }
        let source = scan();
        let of = |family: &str, interface: &str, more: &str| {
            exporter.value(family, &[&format!("interface=\"{interface}\""), more])
        };
        for interface in ["eth0", "any"] {
            let interface = format!("interface=\"{interface}\"");
            let labels = [&*interface, &*format!("source=\"{source}\"")];
            exporter.wait_for("portscan_source_peak_distinct_ports", &labels, 25.0);
            let martian =
                exporter.value("portscan_probes_ignored_total", &[&interface, "reason=\"martian\""]);
            assert_eq!(martian, Some(150.0), "{interface}");
            assert_eq!(exporter.value("portscan_hits_total", &[&interface]), Some(1.0), "{}", journal_text());
        }
        for interface in ["any", "lo"] {
            let own = of("portscan_probes_ignored_total", interface, "reason=\"own\"").unwrap();
            assert!(own >= 120.0, "{own} probes on {interface}");
        }
        assert_eq!(of("portscan_probes_ignored_total", "eth0", "reason=\"own\""), Some(0.0));
        assert_eq!(of("portscan_hits_total", "lo", ""), Some(0.0));

        // Addresses come and go while it runs.
        let ignored = || of("portscan_probes_ignored_total", "eth0", "reason=\"martian\"");
        let ask = |port| {
            lab::inject("lab-srv", vec![lab::frames::syn([192, 0, 2, 99], &[], port)]);
            thread::sleep(Duration::from_millis(300));
            ignored()
        };
        assert_eq!(ask(1), Some(150.0));
        ip(&["-n", "lab-t", "addr", "add", "192.0.2.99/24", "dev", "eth0"]);
        eventually("the new address", PATIENCE, || ask(1).filter(|ignored| *ignored > 150.0));
        ends_well(exporter);
    });
}
