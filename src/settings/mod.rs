//! What the flags and the configuration file mean together: fills each module's own options, and rejects what cannot be
//! meant before anything starts. A flag beats the file, the file beats the default.

pub mod bounds;
mod checks;
mod databases;
mod error;
pub mod file;
pub mod flags;
mod idle;
mod ignored;
mod named;
mod several;
mod slow;
mod slower;
mod syntax;

pub use error::SettingsError;
pub use ignored::{Ignored, Share};

use crate::capture::{LiveOptions, Patterns, REQUEST_RING_BYTES, Tunnels};
use crate::detect::{Limits, Networks, Parties, Policy, Technique, Techniques};
use crate::pipeline;
use crate::publish::sample::Sampling;
use crate::settings::bounds::{HOLD, IPV6_PREFIX, MAX_SOURCES, MEMORY, MIN_PORTS, QUIET, THRESHOLD, WINDOW};
use crate::settings::checks::{bits, choose, nanos};
use crate::settings::error::invalid;
use crate::settings::flags::Flags;
use crate::system::memory::Wanted;
use crate::text::units::{ByteSize, write_duration};
use crate::web;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to do, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What counts as a scan, now; `reload` reads it anew.
    pub policy: Policy,
    /// How much may be kept; fixed at start, but for a hold that follows the window.
    pub limits: Limits,
    /// What a host of a fleet samples; fixed at start.
    pub sampling: Option<Sampling>,
    /// How to serve.
    pub web: web::Options,
    /// The flags, each within its bounds.
    pub flags: Flags,
}

impl Settings {
    /// What these flags mean; reads the configuration file if they name one.
    pub fn of(flags: Flags) -> Result<Self, SettingsError> {
        checks::command(&flags)?;
        let policy = policy(&flags)?;
        let limits = limits(&flags, &policy)?;
        checks::capture(&flags.capture)?;
        checks::shares(&flags)?;
        let sampling = checks::sampling(&flags, &limits)?;
        let web = checks::web(&flags.web)?;
        Ok(Self { policy, limits, sampling, web, flags })
    }

    /// The policy after another look at the file, and the limits as if it were started with it: a hold that was not asked for
    /// follows the window. Everything else stays as it was at the start.
    pub fn reload(&self) -> Result<(Policy, Limits), SettingsError> {
        let policy = policy(&self.flags)?;
        let limits = limits(&self.flags, &policy)?;
        Ok((policy, limits))
    }

    /// Warnings of what has no effect beside this policy.
    pub fn idle(&self, policy: &Policy) -> Vec<String> {
        idle::warnings(&self.flags, policy)
    }

    /// Which of the files that the settings name the user that the process is now may not read, or not use, and why.
    pub fn unreadable(&self) -> Vec<String> {
        let config = self.flags.config.file.as_deref().map(may_read);
        let web = self.web.config_file.as_deref().map(|path| web::ConfigFile::open(path).map(drop));
        let key = self.flags.fleet.key_file.as_deref();
        let key =
            key.map(|path| file::text(path, "--fleet.key-file").map(drop).map_err(|error| error.to_string()));
        [config, web, key].into_iter().flatten().filter_map(Result::err).collect()
    }

    /// What becomes of tunnels.
    pub fn tunnels(&self) -> Tunnels {
        if self.flags.tunnels { Tunnels::Follow } else { Tunnels::Count }
    }

    /// What tables and rings will want, of all interfaces together. To tell answers by UDP from probes each thread has a table and
    /// a ring of its own beside them, and to tell what is of no connection a table.
    pub fn memory(&self) -> Wanted {
        let is_udp = self.policy.techniques.contains(Technique::Udp);
        let is_ack = self.policy.techniques.contains(Technique::Ack);
        let threads = u64::from(self.flags.capture.threads);
        let (tables, rings) =
            (threads * (u64::from(is_udp) + u64::from(is_ack)), threads * u64::from(is_udp));
        Wanted {
            interfaces: checks::interfaces(&self.flags.capture),
            tables: self.limits.total_bytes(&self.policy) as u64 + tables * pipeline::KNOWN_BYTES as u64,
            rings: checks::buffer_of_each(&self.flags.capture).0 + rings * u64::from(REQUEST_RING_BYTES),
        }
    }

    /// How to capture on each interface; `default_interface` is asked only if no flag names one.
    pub fn captures<E>(
        &self,
        default_interface: impl FnOnce() -> Result<String, E>,
    ) -> Result<Vec<LiveOptions>, E> {
        let flags = &self.flags.capture;
        let named: Vec<String> =
            flags.interfaces.iter().filter(|given| !Patterns::is_one(given)).cloned().collect();
        let interfaces = if flags.interfaces.is_empty() { vec![default_interface()?] } else { named };
        Ok(interfaces.into_iter().map(|interface| self.capture(interface)).collect())
    }

    /// Which interfaces are meant by patterns, how many of them are captured at most, and how; `None` without patterns.
    pub fn patterns(&self) -> Option<(Patterns, usize, LiveOptions)> {
        let flags = &self.flags.capture;
        let patterns = Patterns::of(&flags.interfaces)?;
        Some((patterns, flags.max_interfaces as usize, self.capture(String::new())))
    }

    fn capture(&self, interface: String) -> LiveOptions {
        let flags = &self.flags.capture;
        LiveOptions {
            interface,
            direction: flags.direction,
            promiscuous: flags.promiscuous,
            buffer_bytes: bytes(checks::buffer_of_each(flags)),
            threads: flags.threads as usize,
            fragments: flags.fragments,
            techniques: self.policy.techniques,
            tunnels: self.tunnels(),
            replies: self.policy.replies,
        }
    }
}

/// Whether the configuration file can be read, and what it names, by the user that the process is now.
pub(crate) fn may_read(path: &Path) -> Result<(), String> {
    let file = file::load(path);
    file.and_then(|file| databases::may_read(&file.databases, path)).map_err(|error| error.to_string())
}

/// The files that a configuration file names, if it can be read.
pub(crate) fn files_of(path: &Path) -> Vec<PathBuf> {
    let files = |file: file::File| databases::files(&file.databases, path);
    file::load(path)
        .map_or_else(|_| Vec::new(), |file| files(file).into_iter().map(|(_, path)| path).collect())
}

/// The policy that flags, file and defaults make.
fn policy(flags: &Flags) -> Result<Policy, SettingsError> {
    let (threads, is_of_fleet) = (flags.capture.threads, flags.fleet.key_file.is_some());
    let path = flags.config.file.as_deref();
    let file::File { detection: file, names, databases, ignore } =
        path.map(file::load).transpose()?.unwrap_or_default();
    let mut ignored_sources = ignore.sources;
    ignored_sources.extend(&flags.ignored_sources);
    let flags = &flags.detection;
    let window_nanos = nanos(choose(&WINDOW, flags.window, file.window, path)?);
    let threshold = choose(&THRESHOLD, flags.threshold, file.threshold, path)?;
    let ipv6_prefix = bits(choose(&IPV6_PREFIX, None, file.ipv6_prefix, path)?);
    let first = slower::First { window_nanos, threshold, ipv6_prefix };
    let said = slower::Said { first, flags, file: &file, path };
    let slower = said.rules()?;
    let distributed = said.distributed(&slower, threads)?;
    let home = if flags.home.is_empty() { &file.home } else { &flags.home };
    Ok(Policy {
        window_nanos,
        threshold,
        quiet_nanos: nanos(choose(&QUIET, None, file.quiet, path)?),
        parties: Parties::new(ipv6_prefix, file.ipv6_prefixes.clone()),
        techniques: techniques(flags.techniques.or(file.techniques), flags.replies, is_of_fleet)?,
        replies: flags.replies,
        slower,
        distributed,
        home: Networks::new(home),
        names: names.judged(threshold).map_err(|(line, what)| file::wrong(path, line, what))?,
        databases: databases::load(&databases, path)?,
        ignored_sources: Networks::new(&ignored_sources),
        ignored_ports: ignore.ports,
        ignored_destinations: Networks::new(&ignore.destinations),
        ignored_pairs: ignore.pairs,
    })
}

/// The techniques that were chosen, as far as they can be seen: `all` is without the one that answers tell where none are seen. What
/// looks at SYN alone must have some.
fn techniques(
    chosen: Option<Techniques>,
    replies: bool,
    is_of_fleet: bool,
) -> Result<Techniques, SettingsError> {
    let chosen = chosen.unwrap_or(Techniques::DEFAULT);
    let has_syn = chosen.contains(Technique::Syn);
    if is_of_fleet && !has_syn {
        return invalid(
            "--fleet.key-file has no effect: a fleet samples sources of SYN, and syn is not in detection.techniques"
                .into(),
        );
    }
    if replies && !has_syn && !chosen.contains(Technique::Ack) {
        return invalid(
            "--detection.replies has no effect: it looks for what answers to syn and ack, and neither is in detection.techniques"
                .into(),
        );
    }
    if replies || !chosen.contains(Technique::Ack) {
        Ok(chosen)
    } else if chosen == Techniques::ALL {
        Ok(chosen.without(Technique::Ack))
    } else {
        invalid("the technique ack needs --detection.replies: what it is shows by the host's answer".into())
    }
}

/// The limits, checked against the policy that they must hold.
fn limits(flags: &Flags, policy: &Policy) -> Result<Limits, SettingsError> {
    let publish = &flags.publish;
    let memory = MEMORY.check(flags.detection.memory)?;
    let max_sources = MAX_SOURCES.check(publish.max_sources)?;
    let min_ports = MIN_PORTS.check(publish.min_ports.unwrap_or(MIN_PORTS.default))?;
    let window = Duration::from_nanos(policy.window_nanos);
    let hold = HOLD.check(publish.hold.unwrap_or(HOLD.default.max(window)))?;
    if hold < window {
        return invalid(format!(
            "a detection window of {} is longer than --publish.hold ({})",
            write_duration(window),
            write_duration(hold)
        ));
    }
    // A scan that reaches the threshold must earn its source a series. The default gives way by itself.
    if publish.min_ports.is_some_and(|asked| asked > policy.threshold) {
        return invalid(format!(
            "--publish.min-ports must be at most the detection threshold ({}), or scans are hidden, not {min_ports}",
            policy.threshold
        ));
    }
    Ok(Limits {
        memory_bytes: bytes(memory),
        max_sources: max_sources as usize,
        min_ports,
        hold_nanos: nanos(hold),
    })
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Direction, Fragments};
    use std::ffi::OsString;
    use std::io::Write;

    fn settings(words: &str) -> Result<Settings, String> {
        let words = std::iter::once("portscan_exporter").chain(words.split_whitespace()).map(OsString::from);
        Settings::of(flags::parse(words).expect("flags that parse")).map_err(|error| error.to_string())
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn nothing_given_is_the_default_of_every_module() {
        let settings = settings("").unwrap();
        assert_eq!(settings.policy, Policy::standard());
        assert_eq!(settings.limits, Limits::default());
        let captures = settings.captures(|| Ok::<_, ()>("eth0".to_owned())).unwrap();
        let [capture] = captures.as_slice() else { panic!("{captures:?}") };
        assert_eq!(capture.interface, "eth0");
        assert_eq!(capture.direction, Direction::In);
        assert!(!capture.promiscuous);
        assert_eq!(capture.buffer_bytes, 16 << 20);
        assert_eq!((capture.threads, capture.fragments), (1, Fragments::Reassemble));
    }

    #[test]
    fn flags_fill_the_options() {
        let settings = settings(
            "-i eth0 -i eth1 --capture.direction=inout --capture.promiscuous --capture.buffer-size=4MiB \
             --capture.threads=2 --capture.fragments=count \
             --detection.window=5s --detection.threshold=7 --detection.memory=8MiB \
             --publish.max-sources=0 --publish.min-ports=2 --publish.hold=5s",
        )
        .unwrap();
        assert_eq!(settings.policy.window_nanos, 5_000_000_000);
        assert_eq!(settings.policy.threshold, 7);
        let limits =
            Limits { memory_bytes: 8 << 20, max_sources: 0, min_ports: 2, hold_nanos: 5_000_000_000 };
        assert_eq!(settings.limits, limits);
        let captures = settings.captures(|| Err("not asked")).unwrap();
        let names: Vec<&str> = captures.iter().map(|capture| capture.interface.as_str()).collect();
        assert_eq!(names, ["eth0", "eth1"]);
        assert!(captures.iter().all(|capture| capture.promiscuous
            && capture.direction == Direction::InOut
            && capture.threads == 2
            && capture.fragments == Fragments::Count
            && capture.buffer_bytes == 4 << 20));
    }

    #[test]
    fn a_total_is_shared_by_all_interfaces() {
        let settings = settings("-i a -i b -i c -i d --capture.buffer-total=64MiB").unwrap();
        let captures = settings.captures(|| Err("not asked")).unwrap();
        assert!(captures.iter().all(|capture| capture.buffer_bytes == 16 << 20), "{captures:?}");
        assert_eq!(settings.memory(), Wanted { interfaces: 4, tables: 64 << 20, rings: 16 << 20 });
    }

    /// Each thread looks at what its share of the sources is asked by UDP, whatever the others do.
    #[test]
    fn udp_has_memory_of_its_own_for_each_thread() {
        let memory = |words: &str| settings(words).unwrap().memory();
        let (without, with) =
            (memory("--capture.threads=4"), memory("--capture.threads=4 --detection.techniques=all"));
        assert_eq!((with.tables - without.tables, with.rings - without.rings), (2 << 20, 8 << 20));
    }

    /// What patterns mean takes its memory at the start, whether or not it is there; what is named stands apart.
    #[test]
    fn patterns_have_places_beside_what_is_named() {
        let interfaces = |words: &str| settings(words).unwrap().memory().interfaces;
        assert_eq!(interfaces(""), 1);
        assert_eq!(interfaces("-i a -i b"), 2);
        assert_eq!(interfaces("-i eth*"), 4);
        assert_eq!(interfaces("-i a -i eth* -i !eth1 --capture.max-interfaces=9"), 10);
        let settings = settings("-i a -i eth* -i !eth1").unwrap();
        let named = settings.captures(|| Err("not asked")).unwrap();
        assert_eq!(named.iter().map(|one| one.interface.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(settings.patterns().map(|(_, places, _)| places), Some(4));
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let file = file(
            "detection: {window: 30s, threshold: 7, quiet: 2m, ipv6_prefix: 48}\nignore: {ports: [22]}\n",
        );
        let words = format!("--config.file={} --detection.threshold=9", file.path().display());
        let policy = settings(&words).unwrap().policy;
        assert_eq!(policy.window_nanos, 30_000_000_000, "the file's");
        assert_eq!(policy.threshold, 9, "the flag's");
        assert_eq!(policy.quiet_nanos, 120_000_000_000, "the file's");
        assert_eq!((policy.parties.ipv6_prefix(), policy.ignored_ports), (48, vec![22]), "the file's");
    }

    #[test]
    fn a_reload_reads_the_file_again_under_the_same_flags_and_refuses_nonsense() {
        let file = file("detection: {threshold: 7}\n");
        let path = file.path().display().to_string();
        let settings =
            settings(&format!("--config.file={path} --detection.window=5s --publish.hold=1m")).unwrap();
        assert_eq!(settings.policy.threshold, 7);

        std::fs::write(file.path(), "detection: {threshold: 9, window: 20s}\n").unwrap();
        let (policy, _) = settings.reload().unwrap();
        assert_eq!((policy.threshold, policy.window_nanos), (9, 5_000_000_000));

        std::fs::write(file.path(), "detection: {threshold: 1}\n").unwrap();
        assert_eq!(
            settings.reload().unwrap_err().to_string(),
            format!(
                "invalid configuration {path}: line 1: detection.threshold must be from 2 to 65536, not 1"
            )
        );
    }

    #[test]
    fn a_reload_cannot_bring_a_window_longer_than_the_hold() {
        let file = file("");
        let settings =
            settings(&format!("--config.file={} --publish.hold=1m", file.path().display())).unwrap();
        std::fs::write(file.path(), "detection: {window: 2m}\n").unwrap();
        assert_eq!(
            settings.reload().unwrap_err().to_string(),
            "a detection window of 2m is longer than --publish.hold (1m)"
        );
    }

    #[test]
    fn a_reload_cannot_bring_a_threshold_below_what_was_asked_to_be_published() {
        let file = file("");
        let words = format!("--config.file={} --publish.min-ports=5", file.path().display());
        let settings = settings(&words).unwrap();
        std::fs::write(file.path(), "detection: {threshold: 4}\n").unwrap();
        assert_eq!(
            settings.reload().unwrap_err().to_string(),
            "--publish.min-ports must be at most the detection threshold (4), or scans are hidden, not 5"
        );
    }

    /// Started with a policy or reloaded to it: the same is accepted, and means the same.
    #[test]
    fn what_a_start_takes_a_reload_takes() {
        for (flags, policy) in [
            ("", "{threshold: 2}"),
            ("", "{threshold: 4}"),
            ("--publish.min-ports=3", "{threshold: 2}"),
            ("--publish.min-ports=3", "{threshold: 3}"),
            ("--publish.hold=20s", "{window: 21s}"),
            ("", "{window: 6m}"),
            ("--detection.window=6m", "{threshold: 21}"),
        ] {
            let file = file("");
            let words = format!("{flags} --config.file={}", file.path().display());
            let running = settings(&words).unwrap();
            std::fs::write(file.path(), format!("detection: {policy}\n")).unwrap();
            let started = settings(&words);
            let reloaded = running.reload().map_err(|error| error.to_string());
            let started = started.map(|settings| (settings.policy, settings.limits));
            assert_eq!(started, reloaded, "{flags} {policy}");
        }
    }

    #[test]
    fn what_blinds_is_told_and_what_is_an_exception_is_not() {
        const MUTED: &str = "muted names hold 100 % of all IPv4 addresses: nobody is woken by a scan from there, and they take no \
                             part in scans by many";
        const HALF: &str = "muted names hold 50 % of all IPv4 addresses: nobody is woken by a scan from there, and they take no \
                            part in scans by many";
        let told = |ignore: &str| {
            let (ignore, names) = ignore.split_once(';').unwrap_or((ignore, "{}"));
            let file = file(&format!("ignore: {ignore}\nnames: {names}\n"));
            let policy = settings(&format!("--config.file={}", file.path().display())).unwrap().policy;
            let ignored = Ignored::by(&policy);
            let Share { ipv4, ipv6 } = ignored.sources;
            ([ipv4, ipv6], ignored.ports, ignored.warnings(&policy).join("; "))
        };
        let v4 =
            "ignored sources (ignore.sources, --ignore.source) hold every IPv4 address: no IPv4 scan is seen";
        let v6 =
            "ignored sources (ignore.sources, --ignore.source) hold every IPv6 address: no IPv6 scan is seen";
        for (ignore, shares, ports, warnings) in [
            ("{}", [0.0, 0.0], 0, ""),
            ("{sources: [10.0.0.0/8, 'fc00::/7', 'fe80::/10'], ports: [22]}", [1.0 / 256.0, 0.0], 1, ""),
            ("{sources: [0.0.0.0/0]}", [1.0, 0.0], 0, v4),
            ("{sources: [0.0.0.0/1, 128.0.0.0/1]}", [1.0, 0.0], 0, v4),
            ("{sources: ['::/0']}", [0.0, 1.0], 0, v6),
            ("{sources: ['2000::/3']}", [0.0, 1.0], 0, v6),
            ("{sources: ['2001:db8::/32']}", [0.0, 0.5_f64.powi(29)], 0, ""),
            (
                "{sources: [0.0.0.0/1, 192.0.0.0/2]}",
                [0.75, 0.0],
                0,
                "ignored sources (ignore.sources, --ignore.source) hold 75 % of all IPv4 addresses: scans from there are not seen",
            ),
            (
                "{ports: [0-65535]}",
                [0.0, 0.0],
                65_536,
                "ignore.ports leaves 0 ports, and the threshold is 20: no scan is seen",
            ),
            (
                "{ports: [0-65516]}",
                [0.0, 0.0],
                65_517,
                "ignore.ports leaves 19 ports, and the threshold is 20: no scan is seen",
            ),
            ("{ports: [32768-65535]}", [0.0, 0.0], 32_768, ""),
            (
                "{ports: [0-65505]}",
                [0.0, 0.0],
                65_506,
                "ignore.ports holds 65506 of 65536 ports: scans of these are not seen; \
                 ignore.ports leaves 30 ports, and the rule of 10m takes 60: it finds nothing; \
                 ignore.ports leaves 30 ports, and the rule of 1h takes 60: it finds nothing; \
                 ignore.ports leaves 30 ports, and the rule of 3m takes 100: it finds nothing",
            ),
            ("{};{all: {networks: [0.0.0.0/0], mute: true}}", [0.0, 0.0], 0, MUTED),
            ("{};{all: {networks: [0.0.0.0/1, 128.0.0.0/1], mute: true}}", [0.0, 0.0], 0, MUTED),
            ("{};{some: {networks: [0.0.0.0/2], mute: true}}", [0.0, 0.0], 0, ""),
            (
                "{};{all: {networks: [0.0.0.0/0], mute: true}, not: {networks: [0.0.0.0/1]}}",
                [0.0, 0.0],
                0,
                HALF,
            ),
            (
                "{ports: [1024-65535]}",
                [0.0, 0.0],
                64_512,
                "ignore.ports holds 64512 of 65536 ports: scans of these are not seen",
            ),
        ] {
            assert_eq!(told(ignore), (shares, ports, warnings.to_owned()), "{ignore}");
        }
    }

    #[test]
    fn a_fleet_needs_a_key_and_its_bounds_are_inclusive() {
        let key = file("000102030405060708090a0b0c0d0e0f\n");
        let with = |words: &str| settings(&format!("--fleet.key-file={} {words}", key.path().display()));
        assert_eq!(settings("").unwrap().sampling, None, "off by default");
        let sampling = with("--publish.hold=10m").unwrap().sampling.unwrap();
        assert_eq!((sampling.one_in, sampling.max_sources, sampling.hold_nanos), (64, 32, 600_000_000_000));
        for (good, bad) in [
            ("--fleet.share=1/1", "--fleet.share=1/0"),
            ("--fleet.share=1/65536", "--fleet.share=1/65537"),
            ("--fleet.max-sources=1", "--fleet.max-sources=0"),
            ("--fleet.max-sources=256", "--fleet.max-sources=257"),
            ("--capture.threads=4 --fleet.max-sources=4", "--capture.threads=4 --fleet.max-sources=3"),
        ] {
            assert!(with(good).is_ok(), "{good}: {:?}", with(good).err());
            assert!(with(bad).is_err(), "{bad}");
        }
        for words in ["--fleet.share=1/16", "--fleet.max-sources=9"] {
            let name = words.split('=').next().unwrap();
            assert_eq!(
                settings(words).unwrap_err(),
                format!("{name} has no meaning without --fleet.key-file")
            );
        }
        let short = file("000102030405060708090a0b0c0d0e\n");
        let error = settings(&format!("--fleet.key-file={}", short.path().display())).unwrap_err();
        assert!(error.contains("must hold 32 hexadecimal digits") && !error.contains("0405"), "{error}");
        let error = settings("--fleet.key-file=/nowhere/fleet.key").unwrap_err();
        assert_eq!(error, "cannot read /nowhere/fleet.key (--fleet.key-file): no such file");
    }

    #[test]
    fn no_default_interface_is_the_asker_s_error() {
        assert_eq!(settings("").unwrap().captures(|| Err("no default route")), Err("no default route"));
    }

    /// What the program then says is in tests/usage.rs; here the bounds themselves.
    #[test]
    fn the_bounds_are_inclusive() {
        for (good, bad) in [
            ("--detection.threshold=2", "--detection.threshold=1"),
            ("--detection.threshold=65536", "--detection.threshold=65537"),
            ("--detection.window=1s", "--detection.window=999ms"),
            ("--detection.window=1h --publish.hold=1h", "--detection.window=3601s --publish.hold=2h"),
            ("--detection.memory=4MiB", "--detection.memory=4095KiB"),
            ("--detection.memory=64GiB", "--detection.memory=65GiB"),
            ("--detection.window=1h", "--detection.window=1h --publish.hold=59m"),
            ("--publish.hold=10s", "--publish.hold=9s"),
            ("--publish.hold=24h", "--publish.hold=86401s"),
            ("--publish.min-ports=2", "--publish.min-ports=1"),
            ("--publish.min-ports=20", "--publish.min-ports=21"),
            (
                "--publish.min-ports=65536 --detection.threshold=65536",
                "--publish.min-ports=65537 --detection.threshold=65536",
            ),
            ("--publish.max-sources=10000", "--publish.max-sources=10001"),
            ("--capture.buffer-size=1MiB", "--capture.buffer-size=1023KiB"),
            ("--capture.buffer-size=2GiB", "--capture.buffer-size=3GiB"),
            ("-i a -i b --capture.buffer-total=2MiB", "-i a -i b --capture.buffer-total=2047KiB"),
            ("--capture.buffer-total=2GiB", "--capture.buffer-total=3GiB"),
            (
                "-i a -i b --capture.threads=2 --capture.buffer-total=4MiB",
                "-i a -i b --capture.threads=2 --capture.buffer-total=4095KiB",
            ),
            ("--capture.threads=1", "--capture.threads=0"),
            ("--detection.replies -i a -i b", "--detection.replies -i a -i lo"),
            ("--detection.replies -i any*", "--detection.replies -i any"),
            (
                "--capture.threads=64 --capture.buffer-size=64MiB --detection.memory=256MiB",
                "--capture.threads=65 --capture.buffer-size=1GiB --detection.memory=1GiB",
            ),
            ("--capture.threads=12", "--capture.threads=13"),
            (
                "--capture.threads=4 --capture.buffer-size=4MiB",
                "--capture.threads=4 --capture.buffer-size=4095KiB",
            ),
            ("-i eth* --capture.max-interfaces=1", "-i eth* --capture.max-interfaces=0"),
            ("-i eth* --capture.max-interfaces=100", "-i eth* --capture.max-interfaces=101"),
            ("--web.max-requests=1", "--web.max-requests=0"),
            ("--web.max-requests=10000", "--web.max-requests=10001"),
            ("--web.telemetry-path=/m", "--web.telemetry-path=/"),
            ("-i eth0.7@x", "-i ../eth0"),
        ] {
            assert!(settings(good).is_ok(), "{good}: {:?}", settings(good).err());
            assert!(settings(bad).is_err(), "{bad}");
        }
    }
}
