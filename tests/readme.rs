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
    // One more for each name of the operator, and for each source whose name has a threshold.
    let by_name = ["portscan_named_hits_total", "portscan_source_alert_threshold_ports"];
    let is_counted =
        |line: &&str| !line.starts_with('#') && !by_name.iter().any(|family| line.starts_with(family));
    let samples: Vec<&str> = PAGE.lines().filter(is_counted).collect();
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

/// A pattern would take whatever else lies beside it.
#[test]
fn the_package_to_install_is_the_one_that_is_made() {
    let cargo = include_str!("../Cargo.toml");
    let (_, deb) = cargo.split_once("[package.metadata.deb]\nname = \"").expect("a package");
    let name = deb.split('"').next().unwrap_or_default();
    let file = format!("apt install ./target/debian/{name}_{}-1_amd64.deb`", env!("CARGO_PKG_VERSION"));
    assert!(README.contains(&file), "the README does not say: {file}");
    assert!(!README.contains("*.deb") && !README.contains("*.rpm"));
}

/// To a heading of the page, or to a file.
#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for (folder, page) in [(".", README), ("docs", MIGRATION)] {
        // As GitHub makes them of headings.
        let anchor = |heading: &str| {
            let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
            heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
        };
        let headings = page.lines().filter(|line| line.starts_with('#'));
        let anchors: Vec<String> =
            headings.map(|line| anchor(line.trim_start_matches('#').trim_start())).collect();
        for link in page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default()) {
            match link.strip_prefix('#') {
                Some(to) => assert!(anchors.iter().any(|anchor| anchor == to), "no heading for #{to}"),
                None if link.starts_with("https://") => continue,
                None => {
                    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(link);
                    assert!(file.exists(), "no {}", file.display());
                }
            }
            followed += 1;
        }
    }
    assert!(followed > 30, "does this test still read the pages? {followed}");
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
    let mut wanted: Vec<String> =
        [&[][..], &["replay"], &["explain"], &["health"]].into_iter().flat_map(flags).collect();
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
    // The rules for hopping and for an hour, alone and beside three slow ones.
    let three = ["--detection.slow-window=10m,1h,24h", "--detection.slow-threshold=40,60,200"];
    for (flags, hop, said) in [
        (&[][..], "10m", "Each slower rule has N places (that for hopping M)"),
        (&three, "15m", "those for sweeps and slow scans have N each and that for hopping M"),
    ] {
        let page = Command::new(cargo_bin!("portscan_exporter"))
            .args(["replay", "--format=metrics"])
            .args(flags)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/split-9.9s.pcap"))
            .output()
            .expect("it runs");
        let page = String::from_utf8(page.stdout).expect("UTF-8");
        let limit = |window: &str| {
            let of = |line: &&str| line.contains(&format!("window=\"{window}\""));
            let mut lines =
                page.lines().filter(|line| line.starts_with("portscan_rule_tracked_sources_limit{"));
            let limit = lines.find(of).and_then(|line| line.rsplit(' ').next()).expect("the limit");
            grouped(limit.parse().expect("a number"))
        };
        assert_eq!(limit("5m"), limit("1h"), "sweeps and slow scans");
        let said = said.replace('N', &limit("1h")).replace('M', &limit(hop));
        assert!(README.contains(&said), "the README does not say: {said}");
    }
}

const MIGRATION: &str = include_str!("../docs/migration.md");

/// The commands in a page's blocks of shell.
fn commands(page: &str) -> impl Iterator<Item = &str> {
    page.split("```sh\n").skip(1).flat_map(|block| block.split("```").next().unwrap_or_default().lines())
}

/// Whether the exporter takes these words; it starts nothing.
fn takes(words: &[&str]) -> Result<(), String> {
    let output = Command::new(cargo_bin!("portscan_exporter")).args(words).arg("--config.check").output();
    let output = output.expect("it runs");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn the_way_from_another_detector_is_made_of_flags_and_fields_that_exist() {
    let mut tried = 0;
    // Those in tables stand between backticks.
    let quoted = MIGRATION.split('`').filter(|words| !words.contains('\n'));
    for command in commands(MIGRATION).chain(quoted) {
        let command = command.replace("ADDRESS", "198.51.100.7");
        let words: Vec<&str> = command.split_whitespace().filter(|word| *word != "--config.check").collect();
        match words[..] {
            ["portscan_exporter", ref words @ ..] => takes(words),
            // Flags by themselves; what ends in a dot or a bracket is prose.
            [first, ..] if first.starts_with("--detection") && first.contains('=') => takes(&words),
            _ => continue,
        }
        .unwrap_or_else(|error| panic!("{command}: {error}"));
        tried += 1;
    }
    assert!(tried > 8, "does this test still read the page? {tried}");
    let fields = MIGRATION.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    for field in fields.filter(|word| word.starts_with("PORTSCAN_")) {
        assert!(parts().1.contains(&format!("`{field}`")), "no field is called {field}");
    }
}

#[test]
fn what_the_others_ignored_becomes_a_list_that_is_taken() {
    for (program, file, old, list) in [
        (
            "awk ",
            "/etc/psad/auto_dl",
            "#\n#  127.0.0.1   0;  # an example\n192.0.2.53   0;  # the scanner\n198.51.100.0/28 0;\n203.0.113.7  5;\n\
             203.0.113.8  0  tcp/22;\n",
            "    - 192.0.2.53\n    - 198.51.100.0/28\n",
        ),
        (
            "sed ",
            "/etc/portsentry/portsentry.ignore.static",
            "# Put hosts in here\n127.0.0.1/32\n0.0.0.0\n192.0.2.53  # the scanner\n198.51.100.0/28\n\n",
            "    - 127.0.0.1/32\n    - 0.0.0.0\n    - 192.0.2.53\n    - 198.51.100.0/28\n",
        ),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("old"), old).expect("written");
        let command =
            commands(MIGRATION).find(|command| command.starts_with(program) && command.ends_with(file));
        let command = command.unwrap_or_else(|| panic!("no {program}")).replace(file, &path("old"));
        let output = Command::new("sh").args(["-c", &command]).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&output.stdout), list, "{command}");
        std::fs::write(path("config.yml"), format!("ignore:\n  sources:\n{list}")).expect("written");
        assert_eq!(takes(&[&format!("--config.file={}", path("config.yml"))]), Ok(()));
    }
}
