//! What the README says in numbers and lists, against the program. (Metrics and fields: `architecture.rs`; the tables of Grafana's
//! files: `dashboard.rs`.)

use assert_cmd::cargo::cargo_bin;
use std::process::Command;

const README: &str = include_str!("../README.md");
/// Held to the code by `exposition.rs`.
const PAGE: &str = include_str!("exposition.prom");

fn parts() -> (&'static str, &'static str) {
    README.split_once("\n# Reference\n").expect("a reference part")
}

#[test]
fn an_operator_reads_fifteen_hundred_words_before_the_reference() {
    let words = parts().0.split_whitespace().count();
    assert!((1_000..1_600).contains(&words), "{words}");
}

#[test]
fn the_series_are_as_many_as_it_says() {
    let samples: Vec<&str> = PAGE.lines().filter(|line| !line.starts_with('#')).collect();
    let (fleet, others): (Vec<&str>, Vec<&str>) =
        samples.into_iter().partition(|line| line.starts_with("portscan_fleet_"));
    let of_interface = |line: &&str| line.contains("interface=\"eth0\"");
    let of_source = |line: &&str| line.contains("source=\"198.51.100.7\"");
    let exporter = others.iter().filter(|line| !line.contains("interface=")).count();
    let interface = others.iter().filter(|line| of_interface(line) && !line.contains("source=")).count();
    let source = others.iter().filter(|line| of_interface(line) && of_source(line)).count();
    let said =
        format!("{exporter} for the exporter, {interface} for each interface and {source} for each source");
    assert!(README.contains(&said), "the README does not say: {said}");
    let most = exporter + interface + 100 * source;
    assert!(README.contains(&format!("comes to {most} at most")), "{most}");
    // Of the fleet's sample: as many as have series, and those that say how full it is.
    let more = 32 + fleet.iter().filter(|line| !line.contains("wlan0") && !line.contains("source=")).count();
    assert!(README.contains(&format!("at most {more} series for each host with one interface")), "{more}");
}

/// What follows a command in its usage: long flags.
fn flags(words: &[&str]) -> Vec<String> {
    let help =
        Command::new(cargo_bin!("portscan_exporter")).args(words).arg("--help").output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let words = help.split(|c: char| c.is_whitespace() || "[],=".contains(c));
    let mut flags: Vec<_> =
        words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect();
    flags.sort();
    flags.dedup();
    flags
}

#[test]
fn every_flag_and_every_key_is_in_the_reference() {
    let mut missing = Vec::new();
    let mut wanted: Vec<String> = [&[][..], &["replay"], &["explain"]].into_iter().flat_map(flags).collect();
    assert!(wanted.len() > 25, "does this test still read the help? {wanted:?}");
    wanted.retain(|flag| flag != "--help");
    let example = include_str!("../deploy/config.example.yml");
    let mut section = "";
    for line in example.lines().filter(|line| !line.trim_start().starts_with(['#', '-'])) {
        match line.split_once(':') {
            Some((key, _)) if !key.starts_with(' ') => section = key,
            Some((key, _)) => wanted.push(format!("{section}.{}", key.trim())),
            None => {}
        }
    }
    for name in wanted {
        let ends = |c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-' && c != '_';
        let named =
            parts().1.match_indices(&name).any(|(at, _)| parts().1[at + name.len()..].starts_with(ends));
        if !named {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "the reference does not name {missing:?}");
}

#[test]
fn the_first_screen_shows_what_a_replay_shows() {
    let golden = include_str!("goldens/split-9.9s.pcap.txt");
    let table: Vec<&str> = golden.lines().take(2).collect();
    assert!(README.contains(&table.join("\n")), "the README does not show:\n{golden}");
}

/// With thousands apart, as people write it.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let group = |(at, digit): (usize, char)| {
        let comma = (at > 0 && (digits.len() - at).is_multiple_of(3)).then_some(',');
        comma.into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(group).collect()
}

#[test]
fn the_memory_has_room_for_as_many_sources_as_it_says() {
    for (memory, said) in [("8MiB", "which has room for N sources"), ("48MiB", "N with the default")] {
        let page = Command::new(cargo_bin!("portscan_exporter"))
            .args(["replay", "--format=metrics", &format!("--detection.memory={memory}")])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/split-9.9s.pcap"))
            .output()
            .expect("it runs");
        let page = String::from_utf8(page.stdout).expect("UTF-8");
        let limit = page.lines().find(|line| line.starts_with("portscan_tracked_sources_limit{"));
        let limit = limit.and_then(|line| line.rsplit(' ').next()).expect("the limit");
        let said = said.replace('N', &grouped(limit.parse().expect("a number")));
        assert!(README.contains(&said), "the README does not say: {said}");
    }
}
