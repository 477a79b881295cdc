//! The rules behind the first: for sweeps, for sources that hop, the slow ones (in `slow`), and one for scans by many.
//!
//! Who gives a number of a rule wants that rule: where it cannot be, that is an error, and not a rule that is silently missing. A threshold
//! of 0 is how to say that there is to be none, and then its other numbers need only be within their bounds. Where nobody gives one, the
//! rule gives way.

use super::bounds::{
    BLOCK_THRESHOLD, Bound, DISTRIBUTED_SOURCES, DISTRIBUTED_THRESHOLD, DISTRIBUTED_WINDOW, HOP_PREFIX,
    HOP_THRESHOLD, HOP_WINDOW, Quantity, SWEEP_THRESHOLD, SWEEP_WINDOW,
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

/// What the first rule is, and the sources that it judges.
pub(super) struct First {
    pub(super) window_nanos: u64,
    pub(super) threshold: u32,
    pub(super) ipv6_prefix: u8,
}

/// What flags and file say, beside which first rule.
pub(super) struct Said<'a> {
    pub(super) first: First,
    pub(super) flags: &'a DetectionFlags,
    pub(super) file: &'a Detection,
    pub(super) path: Option<&'a Path>,
}

impl<'a> Said<'a> {
    pub(super) fn of<T: 'static>(
        &self,
        bound: &'static Bound<T>,
        flag: Option<T>,
        file: Option<Located<T>>,
    ) -> Setting<'a, T> {
        Setting { bound, flag, file, path: self.path }
    }

    /// The rules that are asked for behind the first one, the faster before the slower; but for the one for scans by many.
    pub(super) fn rules(&self) -> Result<Vec<Rule>, SettingsError> {
        let mut rules: Vec<Rule> = self.sweep()?.into_iter().chain(self.slow()?).collect();
        rules.extend(self.hop(&rules)?);
        rules.sort_by_key(|rule| rule.window_nanos);
        // The window is their label.
        match rules.windows(2).find(|pair| pair[0].window_nanos == pair[1].window_nanos) {
            Some(pair) => invalid(differ(pair[0].window_nanos)),
            None => Ok(rules),
        }
    }

    fn sweep(&self) -> Result<Option<Rule>, SettingsError> {
        let threshold = self.of(&SWEEP_THRESHOLD, self.flags.sweep_threshold, self.file.sweep_threshold);
        let window = self.of(&SWEEP_WINDOW, self.flags.sweep_window, self.file.sweep_window);
        let block = self.of(&BLOCK_THRESHOLD, self.flags.block_threshold, self.file.block_threshold);
        let (hosts, _, ports) = (threshold.number()?, window.value()?, block.value()?);
        let Some(hosts) = hosts else { return Ok(None) };
        let window = window.longer_than(&self.first, threshold.given().or(block.given()))?;
        // Unless somebody says how many, as many as the first rule wants, if they can be.
        let ports = if block.is_given() { ports } else { self.first.threshold.min(BLOCK_THRESHOLD.greatest) };
        Ok(window.map(|window_nanos| Rule {
            window_nanos,
            ports: Some(ports),
            peers: Some(hosts),
            ..Rule::SWEEP
        }))
    }

    fn hop(&self, others: &[Rule]) -> Result<Option<Rule>, SettingsError> {
        let threshold = self.of(&HOP_THRESHOLD, self.flags.hop_threshold, self.file.hop_threshold);
        let window = self.of(&HOP_WINDOW, self.flags.hop_window, self.file.hop_window);
        let prefix = self.of(&HOP_PREFIX, None, self.file.hop_prefix);
        let (ports, _, _) = (threshold.ports(&self.first)?, window.value()?, prefix.value()?);
        let Some(ports) = ports else { return Ok(None) };
        let bits = prefix.shorter_than(&self.first, threshold.given().or(window.given()))?;
        let nanos = window.longer_than(&self.first, threshold.given().or(prefix.given()))?;
        let Some((bits, nanos)) = bits.zip(nanos) else { return Ok(None) };
        let window_nanos = if window.is_given() { nanos } else { own_window(nanos, others) };
        let rule = Rule::of_ports(ports, window_nanos, window_nanos / 6);
        Ok(Some(Rule { subject: Subject::Network(bits), ..rule }))
    }

    /// The rule for scans of one host by many, if there is one. Threads share the sources, so none sees all of one host.
    pub(super) fn distributed(&self, others: &[Rule], threads: u32) -> Result<Option<Rule>, SettingsError> {
        let (flags, file) = (self.flags, self.file);
        let threshold =
            self.of(&DISTRIBUTED_THRESHOLD, flags.distributed_threshold, file.distributed_threshold);
        let window = self.of(&DISTRIBUTED_WINDOW, flags.distributed_window, file.distributed_window);
        let sources = self.of(&DISTRIBUTED_SOURCES, None, file.distributed_sources);
        let (ports, _, fewest) = (threshold.number()?, window.value()?, sources.value()?);
        let Some(ports) = ports else { return Ok(None) };
        if threads > 1 {
            let given = threshold.given().or(window.given()).or(sources.given());
            return given.map_or(Ok(None), |name| {
                invalid(format!(
                    "{name} is of the rule for scans by many sources, and --capture.threads={threads} splits sources among \
                     threads, of which none sees all: use one thread, or turn the rule off (--detection.distributed-threshold=0)"
                ))
            });
        }
        let window_of = window.longer_than(&self.first, threshold.given().or(sources.given()))?;
        let Some(window_nanos) = window_of else { return Ok(None) };
        let window_nanos = if window.is_given() { window_nanos } else { own_window(window_nanos, others) };
        if others.iter().any(|rule| rule.window_nanos == window_nanos) {
            return invalid(differ(window_nanos));
        }
        if let Some(name) = sources.given().filter(|_| fewest > ports) {
            return invalid(format!(
                "{name} must be at most distributed_threshold ({ports}), or that has no effect: each source counts with a port \
                 or more, not {fewest}"
            ));
        }
        let (peers, quiet_nanos) = (Some(fewest.min(ports)), window_nanos / 3);
        Ok(Some(Rule { window_nanos, ports: Some(ports), peers, quiet_nanos, ..Rule::DISTRIBUTED }))
    }
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

/// One number: what a flag and the file say of it.
pub(super) struct Setting<'a, T: 'static> {
    pub(super) bound: &'static Bound<T>,
    flag: Option<T>,
    file: Option<Located<T>>,
    path: Option<&'a Path>,
}

impl<T: Quantity> Setting<'_, T> {
    /// What it is, within its bounds.
    pub(super) fn value(&self) -> Result<T, SettingsError> {
        choose(self.bound, self.flag, self.file, self.path)
    }

    /// Whether somebody asked for it.
    pub(super) fn is_given(&self) -> bool {
        self.flag.is_some() || self.file.is_some()
    }

    /// Where somebody asked for it, to begin a message with.
    pub(super) fn given(&self) -> Option<String> {
        self.is_given().then(|| self.name())
    }

    pub(super) fn name(&self) -> String {
        match (self.flag, self.file, self.path) {
            (None, Some(Located { line, .. }), Some(path)) => {
                let path = printable(&path.to_string_lossy());
                format!("invalid configuration {path}: line {line}: {}", self.bound.key())
            }
            _ => format!("--{}", self.bound.name),
        }
    }
}

impl Setting<'_, u32> {
    /// A threshold, or `None` if it is 0. (One port or one host is no scan, and that in the file is an error behind a flag, too.)
    pub(super) fn number(&self) -> Result<Option<u32>, SettingsError> {
        let value = self.value()?;
        let in_file = Self { flag: None, ..*self };
        for (setting, value) in [(self, Some(value)), (&in_file, self.file.map(|located| located.value))] {
            if value == Some(1) {
                return invalid(format!("{} must be 0, or 2 or more, not 1", setting.name()));
            }
        }
        Ok((value > 0).then_some(value))
    }

    /// The ports of a slower rule. Fewer than those of the first would be there first in every fast scan, and it would be two.
    pub(super) fn ports(&self, first: &First) -> Result<Option<u32>, SettingsError> {
        let threshold = first.threshold;
        let Some(ports) = self.number()? else { return Ok(None) };
        match self.given() {
            // Who has raised the first threshold does not want to hear of fewer ports by another rule.
            None => Ok(Some(ports.max(3 * threshold).min(self.bound.greatest))),
            Some(name) if ports < threshold => invalid(format!(
                "{name} must be at least the detection threshold ({threshold}), or each fast scan is two, not {ports}"
            )),
            Some(_) => Ok(Some(ports)),
        }
    }

    /// The bits of a network in which a source may hop; `None` if nobody asked for the rule and a source has no more.
    fn shorter_than(&self, first: &First, wanted: Option<String>) -> Result<Option<u8>, SettingsError> {
        let (prefix, of_source) = (bits(self.value()?), first.ipv6_prefix);
        if prefix < of_source {
            return Ok(Some(prefix));
        }
        match (self.given(), wanted) {
            (Some(name), _) => {
                invalid(format!("{name} must be less than detection.ipv6_prefix ({of_source}), not {prefix}"))
            }
            (None, Some(name)) => invalid(format!(
                "{name} has no effect: a network in which a source hops ({}, by default {prefix}) has no fewer bits than a source \
                 (detection.ipv6_prefix: {of_source}); give fewer",
                self.bound.key()
            )),
            (None, None) => Ok(None),
        }
    }
}

impl Setting<'_, Duration> {
    /// A window, in nanoseconds; `None` if nobody asked for the rule and that of the first rule is as long.
    pub(super) fn longer_than(
        &self,
        first: &First,
        wanted: Option<String>,
    ) -> Result<Option<u64>, SettingsError> {
        let nanos = nanos(self.value()?);
        if nanos > first.window_nanos {
            return Ok(Some(nanos));
        }
        let window = write_nanos(first.window_nanos);
        match (self.given(), wanted) {
            (Some(name), _) => invalid(format!("{name} must be longer than the detection window ({window})")),
            (None, Some(name)) => invalid(format!(
                "{name} has no effect: the window of its rule (--{}, by default {}) is not longer than the detection window \
                 ({window}); give a longer one",
                self.bound.name,
                write_nanos(nanos)
            )),
            (None, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::detect::Subject;
    use crate::settings::Settings;
    use crate::settings::flags;
    use crate::text::units::write_nanos;
    use std::ffi::OsString;
    use std::io::Write as _;

    /// The same with a file of which this is `detection`, named `FILE` in what is said.
    fn rules_with(words: &str, detection: &str) -> Result<Vec<String>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "detection: {{{detection}}}").unwrap();
        let path = file.path().display().to_string();
        rules(&format!("{words} --config.file={path}")).map_err(|why| why.replace(&path, "FILE"))
    }

    fn rules(words: &str) -> Result<Vec<String>, String> {
        let words = std::iter::once("portscan_exporter").chain(words.split_whitespace()).map(OsString::from);
        let settings = Settings::of(flags::parse(words).expect("flags that parse"));
        let policy = settings.map_err(|error| error.to_string())?.policy;
        let written = |rule: &crate::detect::Rule| {
            let what = match (rule.subject, rule.counts_peers()) {
                (Subject::Network(prefix), _) => format!("ports of a /{prefix}"),
                (Subject::Source, true) if rule.ports != Some(20) => {
                    format!("hosts (block: {})", rule.ports.unwrap())
                }
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
            format!(
                "25 hosts (block: 100) within 5m, 300 ports of a /48 within 10m, 300 ports within 1h, {MANY}"
            )
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
                "--detection.distributed-threshold is of the rule for scans by many sources, and --capture.threads=2 splits sources \
                 among threads, of which none sees all: use one thread, or turn the rule off (--detection.distributed-threshold=0)",
            ),
            (
                "--detection.distributed-window=2m --capture.threads=2",
                "--detection.distributed-window is of the rule for scans by many sources, and --capture.threads=2 splits sources \
                 among threads, of which none sees all: use one thread, or turn the rule off (--detection.distributed-threshold=0)",
            ),
            (
                "--detection.sweep-threshold=30 --detection.window=10m",
                "--detection.sweep-threshold has no effect: the window of its rule (--detection.sweep-window, by default 5m) is not \
                 longer than the detection window (10m); give a longer one",
            ),
            (
                "--detection.slow-threshold=90 --detection.window=1h",
                "--detection.slow-threshold has no effect: the window of its rule (--detection.slow-window, by default 1h) is not \
                 longer than the detection window (1h); give a longer one",
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

    /// The file asks for a rule as the flags do, and names its line.
    #[test]
    fn a_file_that_asks_for_a_rule_that_cannot_be_is_refused() {
        const SPLIT: &str = "is of the rule for scans by many sources, and --capture.threads=2 splits sources among threads, of which \
                             none sees all: use one thread, or turn the rule off (--detection.distributed-threshold=0)";
        let split = |key: &str| format!("invalid configuration FILE: line 1: detection.{key} {SPLIT}");
        let shows = |words: &str, detection: &str, why: &str| {
            assert_eq!(rules_with(words, detection).expect_err(detection), why, "{words}");
        };
        for (key, value) in
            [("distributed_threshold", "100"), ("distributed_window", "2m"), ("distributed_sources", "30")]
        {
            shows("--capture.threads=2", &format!("{key}: {value}"), &split(key));
        }
        shows(
            "",
            "distributed_sources: 30, window: 3m",
            "invalid configuration FILE: line 1: detection.distributed_sources has no effect: the window of its rule \
             (--detection.distributed-window, by default 3m) is not longer than the detection window (3m); give a longer one",
        );
        shows(
            "--detection.distributed-threshold=20",
            "distributed_sources: 21",
            "invalid configuration FILE: line 1: detection.distributed_sources must be at most distributed_threshold (20), or \
             that has no effect: each source counts with a port or more, not 21",
        );
        for asked in ["hop_threshold: 70", "hop_window: 20m"] {
            let key = asked.split(':').next().unwrap();
            shows(
                "",
                &format!("{asked}, ipv6_prefix: 48"),
                &format!(
                    "invalid configuration FILE: line 1: detection.{key} has no effect: a network in which a source hops \
                     (detection.hop_prefix, by default 48) has no fewer bits than a source (detection.ipv6_prefix: 48); give fewer"
                ),
            );
        }
        shows(
            "",
            "hop_prefix: 48, ipv6_prefix: 48",
            "invalid configuration FILE: line 1: detection.hop_prefix must be less than detection.ipv6_prefix (48), not 48",
        );
    }

    /// The flag may be gone tomorrow.
    #[test]
    fn a_threshold_of_one_in_the_file_is_refused_behind_a_flag_too() {
        for rule in ["slow", "sweep", "hop", "distributed"] {
            let refused = format!(
                "invalid configuration FILE: line 1: detection.{rule}_threshold must be 0, or 2 or more, not 1"
            );
            for flag in [
                String::new(),
                format!("--detection.{rule}-threshold=60"),
                format!("--detection.{rule}-threshold=0"),
            ] {
                assert_eq!(
                    rules_with(&flag, &format!("{rule}_threshold: 1")),
                    Err(refused.clone()),
                    "{flag}"
                );
            }
        }
        let both = rules_with("--detection.slow-threshold=1", "slow_threshold: 1");
        assert_eq!(both, Err(String::from("--detection.slow-threshold must be 0, or 2 or more, not 1")));
    }

    /// A threshold of 0 turns a rule off, whatever else a file that several hosts share says of it. What is out of bounds is refused all
    /// the same.
    #[test]
    fn what_is_turned_off_is_not_asked_for() {
        let all = "sweep_window: 1m, slow_window: 2m, hop_window: 2m, hop_prefix: 64, distributed_window: 1m, \
                   distributed_sources: 30";
        let off = "--detection.window=5m --capture.threads=2 --detection.sweep-threshold=0 --detection.slow-threshold=0 \
                   --detection.hop-threshold=0 --detection.distributed-threshold=0";
        assert_eq!(rules_with(off, all), Ok(Vec::new()));
        for wrong in ["sweep_window: 9s", "slow_window: 59s", "hop_prefix: 15", "distributed_sources: 1"] {
            assert!(rules_with(off, wrong).is_err(), "{wrong}");
        }
    }

    /// The rules without those for sweeps, hopping and scans by many.
    const ONLY: &str =
        "--detection.sweep-threshold=0 --detection.hop-threshold=0 --detection.distributed-threshold=0";

    fn slow(words: &str, detection: &str) -> Result<String, String> {
        rules_with(&format!("{ONLY} {words}"), detection).map(|rules| rules.join(", "))
    }

    #[test]
    fn a_window_and_a_threshold_are_a_pair_by_their_places() {
        const THREE: &str = "40 ports within 10m, 60 ports within 1h, 200 ports within 24h";
        let flags = |windows: &str, thresholds: &str| {
            format!("--detection.slow-window={windows} --detection.slow-threshold={thresholds}")
        };
        for (words, detection, expected) in [
            ("", "", "60 ports within 1h"),
            ("--detection.slow-window=2h", "", "60 ports within 2h"),
            ("--detection.slow-threshold=70", "", "70 ports within 1h"),
            (&flags("10m,1h,24h", "40,60,200"), "", THREE),
            (&flags("24h,10m,1h", "200,40,60"), "", THREE),
            ("", "slow_window: [10m, 1h, 24h], slow_threshold: [40, 60, 200]", THREE),
            (&flags("10m,1h,24h", "40,60,200"), "slow_window: 2h, slow_threshold: 90", THREE),
            ("--detection.slow-threshold=40,60,200", "slow_window: [10m, 1h, 24h]", THREE),
            (
                "--detection.slow-window=10m --detection.slow-window=1h --detection.slow-threshold=40 \
                 --detection.slow-threshold=60",
                "",
                "40 ports within 10m, 60 ports within 1h",
            ),
            ("", "slow_window: [1h], slow_threshold: 60", "60 ports within 1h"),
            (&flags("1h,2h", "60,60"), "", "60 ports within 1h, 60 ports within 2h"),
            (&flags("1m", "65536"), "", "65536 ports within 1m"),
            (
                "--detection.slow-threshold=0",
                "slow_window: [10m, 1h, 24h], slow_threshold: [40, 60, 200]",
                "",
            ),
        ] {
            assert_eq!(slow(words, detection).as_deref(), Ok(expected), "{words} {detection}");
        }
        let all = rules(&flags("10m,1h,24h", "40,60,200")).unwrap();
        assert_eq!(all.len() + 1, crate::detect::MOST_RULES, "{all:?}");
    }

    #[test]
    fn lists_that_cannot_be_meant_are_refused() {
        const FILE: &str = "invalid configuration FILE: line 1: detection.slow_";
        for (words, detection, why) in [
            (
                "--detection.slow-window=10m,1h --detection.slow-threshold=40",
                "",
                "a slow rule is a window and a threshold, and there are 2 windows (--detection.slow-window) for 1 threshold \
                 (--detection.slow-threshold): give as many of both",
            ),
            (
                "--detection.slow-window=10m,1h",
                "",
                "a slow rule is a window and a threshold, and there are 2 windows (--detection.slow-window) for 1 threshold: give as many \
                 of both",
            ),
            (
                "--detection.slow-threshold=40",
                "slow_window: [10m, 1h]",
                "a slow rule is a window and a threshold, and there are 2 windows (invalid configuration FILE: line 1: \
                 detection.slow_window) for 1 threshold (--detection.slow-threshold): give as many of both",
            ),
            (
                "--detection.slow-window=10m,1h,2h,3h --detection.slow-threshold=40,60,80,90",
                "",
                "--detection.slow-threshold takes at most 3 values, not 4",
            ),
            (
                "--detection.slow-threshold=0",
                "slow_window: [10m, 1h, 2h, 3h]",
                &format!("{FILE}window takes at most 3 values, not 4"),
            ),
            (
                "--detection.slow-window=10m,1h --detection.slow-threshold=40,0",
                "",
                "--detection.slow-threshold must be 2 or more beside others, not 0",
            ),
            (
                "--detection.slow-window=10m,1h --detection.slow-threshold=0,0",
                "",
                "--detection.slow-threshold must be 2 or more beside others, not 0",
            ),
            (
                "",
                "slow_window: [10m, 1h], slow_threshold: [40, 1]",
                &format!("{FILE}threshold must be 0, or 2 or more, not 1"),
            ),
            (
                "",
                "slow_window: [10m, 1h], slow_threshold: [40, 65537]",
                &format!("{FILE}threshold must be from 0 to 65536, not 65537"),
            ),
            (
                "--detection.slow-window=59s,1h --detection.slow-threshold=40,60",
                "",
                "--detection.slow-window must be from 1m to 24h, not 59s",
            ),
            (
                "--detection.slow-window=1h,1441m --detection.slow-threshold=40,60",
                "",
                "--detection.slow-window must be from 1m to 24h, not 24h1m",
            ),
            (
                "--detection.slow-window=10m,1h --detection.slow-threshold=19,60",
                "",
                "--detection.slow-threshold must be at least the detection threshold (20), or each fast scan is two, not 19",
            ),
            (
                "--detection.slow-window=10m,1h --detection.window=10m",
                "slow_threshold: [40, 60]",
                "--detection.slow-window must be longer than the detection window (10m)",
            ),
            (
                "--detection.slow-window=1h,10m --detection.slow-threshold=40,60",
                "",
                "--detection.slow-threshold must be at least 60 for a window of 1h, as for one of 10m, or each scan by that is two, not 40",
            ),
            (
                "--detection.slow-window=10m,10m --detection.slow-threshold=60,40",
                "",
                "the windows of the slower rules (detection.slow_window, sweep_window, hop_window, distributed_window) must differ, and \
                 two are 10m",
            ),
        ] {
            assert_eq!(slow(words, detection).expect_err(words), why, "{words} {detection}");
        }
    }

    /// Unless somebody says with how many ports a sweep is a block, it is as many as the first rule wants, up to 128.
    #[test]
    fn a_block_has_a_threshold_of_its_own() {
        let block = |words: &str, detection: &str| {
            let rules = rules_with(&format!("{words} --detection.hop-threshold=0"), detection)?;
            Ok::<_, String>(rules.into_iter().find(|rule| rule.contains("hosts")).unwrap_or_default())
        };
        for (words, detection, expected) in [
            ("", "", "25 hosts within 5m"),
            ("--detection.threshold=7", "", "25 hosts (block: 7) within 5m"),
            ("--detection.threshold=128", "", "25 hosts (block: 128) within 5m"),
            ("--detection.threshold=129", "", "25 hosts (block: 128) within 5m"),
            ("--detection.threshold=7", "block_threshold: 20", "25 hosts within 5m"),
            ("--detection.block-threshold=2", "block_threshold: 3", "25 hosts (block: 2) within 5m"),
            (
                "--detection.threshold=500 --detection.block-threshold=128",
                "",
                "25 hosts (block: 128) within 5m",
            ),
            ("--detection.sweep-threshold=0 --detection.block-threshold=9", "", ""),
        ] {
            assert_eq!(block(words, detection).as_deref(), Ok(expected), "{words} {detection}");
        }
        for (words, detection, why) in [
            ("--detection.block-threshold=1", "", "--detection.block-threshold must be from 2 to 128, not 1"),
            (
                "--detection.block-threshold=129",
                "",
                "--detection.block-threshold must be from 2 to 128, not 129",
            ),
            (
                "--detection.block-threshold=9 --detection.sweep-threshold=0",
                "block_threshold: 0",
                "invalid configuration FILE: line 1: detection.block_threshold must be from 2 to 128, not 0",
            ),
            (
                "--detection.window=5m",
                "block_threshold: 9",
                "invalid configuration FILE: line 1: detection.block_threshold has no effect: the window of its rule \
                 (--detection.sweep-window, by default 5m) is not longer than the detection window (5m); give a longer one",
            ),
        ] {
            assert_eq!(block(words, detection).expect_err(words), why, "{words} {detection}");
        }
    }

    /// No more sources than ports can share a scan: a default gives way.
    #[test]
    fn fewer_ports_need_no_more_sources() {
        let many = |ports: u32| {
            let rules = rules(&format!("--detection.distributed-threshold={ports}")).unwrap();
            rules.into_iter().find(|rule| rule.contains(" by ")).unwrap()
        };
        assert_eq!(many(25), "25 ports by 25 within 3m");
        assert_eq!(many(20), "20 ports by 20 within 3m");
    }
}
