//! The rules behind the first: one for sweeps, and a slow one.

use super::bounds::{Bound, SLOW_THRESHOLD, SLOW_WINDOW, SWEEP_THRESHOLD, SWEEP_WINDOW};
use super::checks::{choose, nanos};
use super::error::{SettingsError, invalid};
use super::file::{Detection, Located};
use super::flags::DetectionFlags;
use crate::detect::Rule;
use crate::text::printable;
use crate::text::units::write_nanos;
use std::path::Path;
use std::time::Duration;

/// A sweep that asks for more ports than this is a block whatever the threshold is: they fit a short list.
const MOST_BLOCK_PORTS: u32 = 128;

/// The rules that flags and file ask for behind the first one, the faster before the slower.
pub(super) fn rules(
    window_nanos: u64,
    threshold: u32,
    flags: &DetectionFlags,
    file: &Detection,
    path: Option<&Path>,
) -> Result<Vec<Rule>, SettingsError> {
    let mut rules = Vec::new();
    let hosts = number(&SWEEP_THRESHOLD, flags.sweep_threshold, file.sweep_threshold, path)?;
    let window = window(&SWEEP_WINDOW, flags.sweep_window, file.sweep_window, window_nanos, path)?;
    if let Some((hosts, sweep_nanos)) = hosts.zip(window) {
        rules.push(Rule {
            window_nanos: sweep_nanos,
            ports: Some(threshold.min(MOST_BLOCK_PORTS)),
            peers: Some(hosts),
            ..Rule::SWEEP
        });
    }
    let ports = slow_ports(threshold, flags, file, path)?;
    let window = self::window(&SLOW_WINDOW, flags.slow_window, file.slow_window, window_nanos, path)?;
    if let Some((ports, slow_nanos)) = ports.zip(window) {
        // A scanner that asks once a minute falls below the threshold now and then.
        rules.push(Rule::of_ports(ports, slow_nanos, slow_nanos / 6));
    }
    rules.sort_by_key(|rule| rule.window_nanos);
    if let [one, other] = rules[..]
        && one.window_nanos == other.window_nanos
    {
        let window = write_nanos(one.window_nanos);
        return invalid(format!(
            "--detection.slow-window and --detection.sweep-window must differ, and are {window}"
        ));
    }
    Ok(rules)
}

/// The ports of the slow rule. Fewer than those of the first would be there first in every fast scan, and it would be two.
fn slow_ports(
    threshold: u32,
    flags: &DetectionFlags,
    file: &Detection,
    path: Option<&Path>,
) -> Result<Option<u32>, SettingsError> {
    let Some(ports) = number(&SLOW_THRESHOLD, flags.slow_threshold, file.slow_threshold, path)? else {
        return Ok(None);
    };
    match flags.slow_threshold.is_some() || file.slow_threshold.is_some() {
        // Who has raised the first threshold does not want to hear of fewer ports by another rule.
        false => Ok(Some(ports.max(3 * threshold).min(SLOW_THRESHOLD.greatest))),
        true if ports < threshold => {
            let name = named(&SLOW_THRESHOLD, flags.slow_threshold, file.slow_threshold, path);
            invalid(format!(
                "{name} must be at least the detection threshold ({threshold}), or each fast scan is two, not {ports}"
            ))
        }
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
    use crate::settings::Settings;
    use crate::settings::flags;
    use crate::text::units::write_nanos;
    use std::ffi::OsString;

    fn rules(words: &str) -> Result<Vec<String>, String> {
        let words = std::iter::once("portscan_exporter").chain(words.split_whitespace()).map(OsString::from);
        let settings = Settings::of(flags::parse(words).expect("flags that parse"));
        let policy = settings.map_err(|error| error.to_string())?.policy;
        let written = |rule: &crate::detect::Rule| {
            let what = if rule.counts_peers() { "hosts" } else { "ports" };
            format!("{} {what} within {}", rule.threshold(), write_nanos(rule.window_nanos))
        };
        Ok(policy.slower.iter().map(written).collect())
    }

    #[test]
    fn each_rule_can_be_set_and_turned_off() {
        let told = |words| rules(words).expect(words).join(", ");
        assert_eq!(told(""), "25 hosts within 5m, 60 ports within 1h");
        assert_eq!(told("--detection.slow-threshold=0"), "25 hosts within 5m");
        assert_eq!(told("--detection.sweep-threshold=0"), "60 ports within 1h");
        assert_eq!(told("--detection.sweep-threshold=0 --detection.slow-threshold=0"), "");
        assert_eq!(told("--detection.threshold=100"), "25 hosts within 5m, 300 ports within 1h");
        assert_eq!(told("--detection.slow-threshold=20"), "25 hosts within 5m, 20 ports within 1h");
        assert_eq!(
            told(
                "--detection.slow-window=2m --detection.slow-threshold=30 --detection.sweep-window=1h --detection.sweep-threshold=9"
            ),
            "30 ports within 2m, 9 hosts within 1h"
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
                "--detection.slow-window and --detection.sweep-window must differ, and are 5m",
            ),
            ("--detection.slow-window=59s", "--detection.slow-window must be from 1m to 24h, not 59s"),
        ] {
            assert_eq!(rules(words).expect_err(words), why);
        }
    }
}
