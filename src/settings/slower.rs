//! The rules behind the first: for sweeps, for sources that hop, a slow one, and one for scans by many.

use super::bounds::{
    Bound, DISTRIBUTED_SOURCES, DISTRIBUTED_THRESHOLD, DISTRIBUTED_WINDOW, HOP_PREFIX, HOP_THRESHOLD,
    HOP_WINDOW, SLOW_THRESHOLD, SLOW_WINDOW, SWEEP_THRESHOLD, SWEEP_WINDOW,
};
use super::checks::{bits, choose, nanos};
use super::error::{SettingsError, invalid};
use super::file::{Detection, Located};
use super::flags::DetectionFlags;
use crate::detect::{Rule, Subject};
use crate::text::printable;
use crate::text::units::write_nanos;
use std::path::Path;
use std::time::Duration;

/// A sweep that asks for more ports than this is a block whatever the threshold is: they fit a short list.
const MOST_BLOCK_PORTS: u32 = 128;

/// What the first rule is, and the sources that it judges.
pub(super) struct First {
    pub(super) window_nanos: u64,
    pub(super) threshold: u32,
    pub(super) ipv6_prefix: u8,
}

/// The rules that flags and file ask for behind the first one, the faster before the slower.
pub(super) fn rules(
    first: &First,
    flags: &DetectionFlags,
    file: &Detection,
    path: Option<&Path>,
) -> Result<Vec<Rule>, SettingsError> {
    let mut rules = Vec::new();
    let hosts = number(&SWEEP_THRESHOLD, flags.sweep_threshold, file.sweep_threshold, path)?;
    let window_of = |bound, flag, file| window(bound, flag, file, first.window_nanos, path);
    let window = window_of(&SWEEP_WINDOW, flags.sweep_window, file.sweep_window)?;
    if let Some((hosts, window_nanos)) = hosts.zip(window) {
        rules.push(Rule {
            window_nanos,
            ports: Some(first.threshold.min(MOST_BLOCK_PORTS)),
            peers: Some(hosts),
            ..Rule::SWEEP
        });
    }
    let ports = ports(&SLOW_THRESHOLD, first, flags.slow_threshold, file.slow_threshold, path)?;
    let window = window_of(&SLOW_WINDOW, flags.slow_window, file.slow_window)?;
    if let Some((ports, window_nanos)) = ports.zip(window) {
        // A scanner that asks once a minute falls below the threshold now and then.
        rules.push(Rule::of_ports(ports, window_nanos, window_nanos / 6));
    }
    let ports = self::ports(&HOP_THRESHOLD, first, flags.hop_threshold, file.hop_threshold, path)?;
    let window = window_of(&HOP_WINDOW, flags.hop_window, file.hop_window)?;
    let prefix = hop_prefix(first, file, path)?;
    if let (Some(ports), Some(window_nanos), Some(prefix)) = (ports, window, prefix) {
        let is_asked_for = flags.hop_window.is_some() || file.hop_window.is_some();
        let window_nanos = if is_asked_for { window_nanos } else { own_window(window_nanos, &rules) };
        let rule = Rule::of_ports(ports, window_nanos, window_nanos / 6);
        rules.push(Rule { subject: Subject::Network(prefix), ..rule });
    }
    rules.sort_by_key(|rule| rule.window_nanos);
    // The window is their label.
    match rules.windows(2).find(|pair| pair[0].window_nanos == pair[1].window_nanos) {
        Some(pair) => invalid(differ(pair[0].window_nanos)),
        None => Ok(rules),
    }
}

/// The rule for scans of one host by many, if there is one. Threads share the sources, so none sees all of one host.
pub(super) fn distributed(
    first: &First,
    others: &[Rule],
    threads: u32,
    flags: &DetectionFlags,
    file: &Detection,
    path: Option<&Path>,
) -> Result<Option<Rule>, SettingsError> {
    let (flag, in_file) = (flags.distributed_threshold, file.distributed_threshold);
    let ports = number(&DISTRIBUTED_THRESHOLD, flag, in_file, path)?;
    let (window_flag, in_file) = (flags.distributed_window, file.distributed_window);
    let window = window(&DISTRIBUTED_WINDOW, window_flag, in_file, first.window_nanos, path)?;
    let sources = choose(&DISTRIBUTED_SOURCES, None, file.distributed_sources, path)?;
    let Some((ports, window_nanos)) = ports.zip(window) else { return Ok(None) };
    if threads > 1 {
        let is_asked_for = flag.is_some() || file.distributed_threshold.is_some();
        return match is_asked_for {
            true => invalid(format!(
                "{} finds scans by many sources, and --capture.threads={threads} splits sources among threads, of which none sees all: one thread, or a threshold of 0",
                named(&DISTRIBUTED_THRESHOLD, flag, file.distributed_threshold, path)
            )),
            false => Ok(None),
        };
    }
    let is_asked_for = window_flag.is_some() || in_file.is_some();
    let window_nanos = if is_asked_for { window_nanos } else { own_window(window_nanos, others) };
    if others.iter().any(|rule| rule.window_nanos == window_nanos) {
        return invalid(differ(window_nanos));
    }
    let quiet_nanos = window_nanos / 3;
    let rule =
        Rule { window_nanos, ports: Some(ports), peers: Some(sources), quiet_nanos, ..Rule::DISTRIBUTED };
    Ok(Some(rule))
}

/// Why two rules cannot have one window.
fn differ(window_nanos: u64) -> String {
    format!(
        "the windows of the slower rules (detection.slow_window, sweep_window, hop_window, distributed_window) must differ, and two are {}",
        write_nanos(window_nanos)
    )
}

/// A window that nobody asked for gives way to one that somebody did.
fn own_window(mut window_nanos: u64, others: &[Rule]) -> u64 {
    while others.iter().any(|rule| rule.window_nanos == window_nanos) {
        window_nanos = window_nanos / 2 * 3;
    }
    window_nanos
}

/// The bits of a network in which a source may hop; `None` if nobody asked for them and a source has no more.
fn hop_prefix(first: &First, file: &Detection, path: Option<&Path>) -> Result<Option<u8>, SettingsError> {
    let prefix = bits(choose(&HOP_PREFIX, None, file.hop_prefix, path)?);
    if file.hop_prefix.is_some() && prefix >= first.ipv6_prefix {
        let (name, source) = (named(&HOP_PREFIX, None, file.hop_prefix, path), first.ipv6_prefix);
        return invalid(format!("{name} must be less than detection.ipv6_prefix ({source}), not {prefix}"));
    }
    Ok((prefix < first.ipv6_prefix).then_some(prefix))
}

/// The ports of a slower rule. Fewer than those of the first would be there first in every fast scan, and it would be two.
fn ports(
    bound: &Bound<u32>,
    first: &First,
    flag: Option<u32>,
    file: Option<Located<u32>>,
    path: Option<&Path>,
) -> Result<Option<u32>, SettingsError> {
    let threshold = first.threshold;
    let Some(ports) = number(bound, flag, file, path)? else { return Ok(None) };
    match flag.is_some() || file.is_some() {
        // Who has raised the first threshold does not want to hear of fewer ports by another rule.
        false => Ok(Some(ports.max(3 * threshold).min(bound.greatest))),
        true if ports < threshold => invalid(format!(
            "{} must be at least the detection threshold ({threshold}), or each fast scan is two, not {ports}",
            named(bound, flag, file, path)
        )),
        true => Ok(Some(ports)),
    }
}

/// Where a setting was made, to begin a message with.
fn named<T>(bound: &Bound<T>, flag: Option<T>, file: Option<Located<T>>, path: Option<&Path>) -> String {
    match (flag, file, path) {
        (None, Some(Located { line, .. }), Some(path)) => {
            let path = printable(&path.to_string_lossy());
            format!("invalid configuration {path}: line {line}: {}", bound.key())
        }
        _ => format!("--{}", bound.name),
    }
}

/// A threshold, or `None` if it is 0. (One port or one host is no scan.)
fn number(
    bound: &Bound<u32>,
    flag: Option<u32>,
    file: Option<Located<u32>>,
    path: Option<&Path>,
) -> Result<Option<u32>, SettingsError> {
    match choose(bound, flag, file, path)? {
        1 => invalid(format!("{} must be 0, or 2 or more, not 1", named(bound, flag, file, path))),
        value => Ok((value > 0).then_some(value)),
    }
}

/// A window, in nanoseconds; `None` if nobody asked for it and that of the first rule is as long.
fn window(
    bound: &Bound<Duration>,
    flag: Option<Duration>,
    file: Option<Located<Duration>>,
    first_nanos: u64,
    path: Option<&Path>,
) -> Result<Option<u64>, SettingsError> {
    let nanos = nanos(choose(bound, flag, file, path)?);
    if nanos <= first_nanos && (flag.is_some() || file.is_some()) {
        let (name, window) = (named(bound, flag, file, path), write_nanos(first_nanos));
        return invalid(format!("{name} must be longer than the detection window ({window})"));
    }
    Ok((nanos > first_nanos).then_some(nanos))
}

#[cfg(test)]
mod tests {
    use crate::detect::Subject;
    use crate::settings::Settings;
    use crate::settings::flags;
    use crate::text::units::write_nanos;
    use std::ffi::OsString;

    fn rules(words: &str) -> Result<Vec<String>, String> {
        let words = std::iter::once("portscan_exporter").chain(words.split_whitespace()).map(OsString::from);
        let settings = Settings::of(flags::parse(words).expect("flags that parse"));
        let policy = settings.map_err(|error| error.to_string())?.policy;
        let written = |rule: &crate::detect::Rule| {
            let what = match (rule.subject, rule.counts_peers()) {
                (Subject::Network(prefix), _) => format!("ports of a /{prefix}"),
                (Subject::Source, true) => String::from("hosts"),
                (Subject::Source, false) => String::from("ports"),
                (Subject::Target, _) => format!("ports by {}", rule.peers.unwrap()),
            };
            format!("{} {what} within {}", rule.threshold(), write_nanos(rule.window_nanos))
        };
        Ok(policy.behind().map(|rule| written(&rule)).collect())
    }

    #[test]
    fn each_rule_can_be_set_and_turned_off() {
        let told = |words| rules(words).expect(words).join(", ");
        const SWEEP: &str = "25 hosts within 5m";
        const HOP: &str = "60 ports of a /48 within 10m";
        const SLOW: &str = "60 ports within 1h";
        const MANY: &str = "100 ports by 25 within 3m";
        assert_eq!(told(""), format!("{SWEEP}, {HOP}, {SLOW}, {MANY}"));
        assert_eq!(told("--detection.slow-threshold=0"), format!("{SWEEP}, {HOP}, {MANY}"));
        assert_eq!(told("--detection.sweep-threshold=0"), format!("{HOP}, {SLOW}, {MANY}"));
        assert_eq!(told("--detection.hop-threshold=0"), format!("{SWEEP}, {SLOW}, {MANY}"));
        assert_eq!(told("--detection.distributed-threshold=0"), format!("{SWEEP}, {HOP}, {SLOW}"));
        assert_eq!(told("--capture.threads=2"), format!("{SWEEP}, {HOP}, {SLOW}"));
        let none = "--detection.sweep-threshold=0 --detection.slow-threshold=0 --detection.hop-threshold=0 \
                    --detection.distributed-threshold=0";
        assert_eq!(told(none), "");
        assert_eq!(
            told("--detection.threshold=100"),
            format!("{SWEEP}, 300 ports of a /48 within 10m, 300 ports within 1h, {MANY}")
        );
        assert_eq!(
            told("--detection.slow-threshold=20"),
            format!("{SWEEP}, {HOP}, 20 ports within 1h, {MANY}")
        );
        assert_eq!(
            told(
                "--detection.slow-window=10m --detection.slow-threshold=30 --detection.sweep-window=1h --detection.sweep-threshold=9"
            ),
            format!("30 ports within 10m, 60 ports of a /48 within 15m, 9 hosts within 1h, {MANY}")
        );
        assert_eq!(
            told("--detection.hop-window=2m --detection.hop-threshold=30"),
            format!("30 ports of a /48 within 2m, {SWEEP}, {SLOW}, {MANY}")
        );
        assert_eq!(
            told("--detection.hop-window=3m --detection.distributed-threshold=50"),
            format!("60 ports of a /48 within 3m, {SWEEP}, {SLOW}, 50 ports by 25 within 4m30s")
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (words, why) in [
            (
                "--detection.slow-threshold=19",
                "--detection.slow-threshold must be at least the detection threshold (20), or each fast scan is two, not 19",
            ),
            ("--detection.sweep-threshold=1", "--detection.sweep-threshold must be 0, or 2 or more, not 1"),
            (
                "--detection.window=5m --detection.sweep-window=5m",
                "--detection.sweep-window must be longer than the detection window (5m)",
            ),
            (
                "--detection.slow-window=5m",
                "the windows of the slower rules (detection.slow_window, sweep_window, hop_window, distributed_window) must differ, and two are 5m",
            ),
            (
                "--detection.distributed-window=5m",
                "the windows of the slower rules (detection.slow_window, sweep_window, hop_window, distributed_window) must differ, \
                 and two are 5m",
            ),
            (
                "--detection.distributed-threshold=100 --capture.threads=2",
                "--detection.distributed-threshold finds scans by many sources, and --capture.threads=2 splits sources among \
                 threads, of which none sees all: one thread, or a threshold of 0",
            ),
            (
                "--detection.distributed-threshold=193",
                "--detection.distributed-threshold must be from 0 to 192, not 193",
            ),
            ("--detection.slow-window=59s", "--detection.slow-window must be from 1m to 24h, not 59s"),
        ] {
            assert_eq!(rules(words).expect_err(words), why);
        }
    }
}
