//! Hostile clients: slow ones, greedy ones, ones that pipeline or never read, and all of them together.

use crate::attack::{Attack, fill, flood, never_read, pipeline, scraped_during};
use crate::http::{connect, connect_from, scrape};
use crate::service_manager::ServiceManager;
use crate::support::{PATIENCE, is_well_again, settled};
use lab::{ends_well, eventually, in_room, ip};
use portscan_exporter::system::clock;
use rustix::process::{Resource, Rlimit};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

#[test]
fn hostile_clients_do_not_keep_a_scrape_waiting() {
    in_room("clients::hostile_clients_do_not_keep_a_scrape_waiting", |lab| {
        // 2,000 connections need as many descriptors here; 256 of them in the exporter.
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(10_000), maximum: Some(10_000) })
            .unwrap();
        let exporter = lab.exporter(&["--web.listen-address=192.0.2.10:10220"]);
        let before = settled(&exporter);
        let attacked = |what: &str, attack: Attack| {
            scraped_during(lab, what, &attack);
            drop(attack);
            is_well_again(what, &exporter, before);
        };
        let cut = |reason: &str| {
            exporter.value("portscan_web_connections_cut_total", &[&format!("reason=\"{reason}\"")]).unwrap()
        };

        attacked(
            "slowloris",
            Attack::start(|to, open| {
                fill(open, 400, to);
                open.retain_mut(|stream| stream.write_all(b"X").is_ok());
                thread::sleep(Duration::from_millis(100));
            }),
        );
        assert!(cut("crowded") > 0.0, "400 connections are more than there are places");
        let crowded = cut("crowded");
        attacked(
            "2,000 idle connections",
            Attack::start(|to, open| {
                fill(open, 2_000, to);
                thread::sleep(Duration::from_millis(100));
            }),
        );
        assert!(cut("crowded") >= crowded + 1_700.0, "{crowded}, then {}", cut("crowded"));

        attacked(
            "huge headers, request lines and bodies",
            Attack::start(|to, _| {
                let long = "x".repeat(1 << 20);
                for request in [
                    format!("GET / HTTP/1.1\r\nHost: t\r\nX-Long: {long}\r\n\r\n"),
                    format!("GET /{long} HTTP/1.1\r\nHost: t\r\n\r\n"),
                    format!(
                        "POST /metrics HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000000000\r\n\r\n{long}"
                    ),
                    format!(
                        "POST /metrics HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n{long}"
                    ),
                    "GET / HTTP/1.1\r\n".to_owned() + &"A: b\r\n".repeat(100_000),
                ] {
                    if let Ok(mut stream) = connect(to) {
                        // It may close before all is written.
                        let _ = stream.write_all(request.as_bytes());
                    }
                }
            }),
        );
        attacked(
            "half-closed connections",
            Attack::start(|to, open| {
                if let Ok(mut stream) = connect(to) {
                    // Whoever has asked and then says no more still gets the answer.
                    let _ = stream.write_all(b"GET /-/ready HTTP/1.1\r\nHost: t\r\n\r\n");
                    let _ = stream.shutdown(Shutdown::Write);
                    let mut answer = String::new();
                    let read = stream.read_to_string(&mut answer);
                    assert!(answer.starts_with("HTTP/1.1 200"), "{read:?} {answer}");
                }
                if let Ok(mut stream) = connect(to) {
                    let _ = stream.write_all(b"GET /-/rea");
                    let _ = stream.shutdown(Shutdown::Write);
                    if open.len() < 500 {
                        open.push(stream);
                    }
                }
            }),
        );
        attacked(
            "a storm of connections and resets",
            Attack::start(|to, _| {
                for _ in 0..100 {
                    if let Ok(stream) = connect(to) {
                        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                    }
                }
            }),
        );
        ends_well(exporter);
    });
}

#[test]
fn answers_that_nobody_takes_cost_nobody_else_a_scrape() {
    in_room("clients::answers_that_nobody_takes_cost_nobody_else_a_scrape", |lab| {
        let exporter = lab.exporter(&["--web.listen-address=192.0.2.10:10220", "--web.max-requests=4"]);
        let before = settled(&exporter);
        // 256 connections that send requests, never read, and come again when they are cut.
        let unread = Attack::start(|to, open| never_read(open, 256, "192.0.2.20", to));
        scraped_during(lab, "answers that nobody takes", &unread);
        let crowded = exporter.value("portscan_web_connections_cut_total", &["reason=\"crowded\""]).unwrap();
        assert!(crowded >= 1.0, "nobody had to give way: they did not take every scrape");
        drop(unread);
        is_well_again("answers that nobody takes", &exporter, before);
        ends_well(exporter);
    });
}

/// All of it together: what the outside can do to the web side costs no frame, no scrape and no beat.
#[test]
fn all_attacks_together_cost_no_frame_no_scrape_and_no_beat() {
    in_room("clients::all_attacks_together_cost_no_frame_no_scrape_and_no_beat", |lab| {
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(10_000), maximum: Some(10_000) })
            .unwrap();
        for address in ["192.0.2.21/24", "192.0.2.22/24"] {
            ip(&["-n", "lab-srv", "addr", "add", address, "dev", "eth0"]);
        }
        let systemd = ServiceManager::listen("notify");
        let mut command =
            lab.exporter_command(&["--log.format=journald", "--web.listen-address=192.0.2.10:10220"]);
        command.env("NOTIFY_SOCKET", &systemd.path).env("WATCHDOG_USEC", "4000000");
        let exporter = lab.exporter_of(command);
        settled(&exporter);
        let attacks = [
            Attack::start(|to, open| pipeline(open, 60, "192.0.2.20", to)),
            Attack::start(|to, open| never_read(open, 256, "192.0.2.21", to)),
            Attack::start(|to, open| {
                for _ in open.len()..400 {
                    let Ok(stream) = connect_from("192.0.2.22", to) else { break };
                    open.push(stream);
                }
                open.retain_mut(|stream| stream.write_all(b"X").is_ok());
                thread::sleep(Duration::from_millis(50));
            }),
            flood(),
        ];
        for attack in &attacks {
            eventually("the attack to begin", PATIENCE, || (attack.rounds() > 2).then_some(()));
        }
        let start = clock::steady();
        let mut took = Vec::new();
        while start.elapsed() < Duration::from_secs(8) {
            // Each is answered, or this fails.
            took.push(scrape(lab, "127.0.0.1"));
            thread::sleep(Duration::from_millis(20));
        }
        took.sort_unstable();
        let (p50, p99, most) = (took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]);
        println!("{} scrapes beside all attacks: p50 {p50:?}, p99 {p99:?}, most {most:?}", took.len());
        println!("rounds: {:?}", attacks.each_ref().map(Attack::rounds));
        // A busy machine must not fail this; on a free one it is under 250 ms.
        assert!(p99 < Duration::from_secs(2), "{took:?}");
        let packets = exporter.value("portscan_capture_received_packets_total", &[]).unwrap();
        println!("{packets} frames");
        assert!(packets > 100_000.0, "the flood was a trickle");
        assert_eq!(exporter.value("portscan_capture_dropped_packets_total", &[]), Some(0.0));
        let silence = systemd.longest_silence();
        println!("the watchdog heard nothing for {silence:?} at most");
        assert!(silence < Duration::from_secs(4), "{silence:?}: systemd would have killed it");
        // While they go on.
        ends_well(exporter);
        drop(attacks);
    });
}
