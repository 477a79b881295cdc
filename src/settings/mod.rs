//! What the flags and the configuration file mean together: fills each module's own options, and rejects
//! nonsense before anything starts. A flag beats the file, the file beats the default.

pub mod file;
pub mod flags;

use crate::capture::LiveOptions;
use crate::detect::{Limits, Policy};
use crate::publish::sample::{Key, Sampling};
use crate::settings::file::{ConfigError, Located};
use crate::settings::flags::Flags;
use crate::system::memory::Wanted;
use crate::text::units::{ByteSize, write_duration};
use crate::text::{printable, quote};
use crate::web;
use ipnet::{IpNet, Ipv6Net};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

/// What to do, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What counts as a scan, now; `reload` reads it anew.
    pub policy: Policy,
    /// How much may be kept; fixed at start.
    pub limits: Limits,
    /// What a host of a fleet samples; fixed at start.
    pub sampling: Option<Sampling>,
    /// How to serve.
    pub web: web::Options,
    /// The flags, each within its bounds.
    pub flags: Flags,
}

/// Why the flags or the file make no sense; shows as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsError {
    /// The file cannot be read or understood.
    Config(ConfigError),
    /// A value that cannot be meant: which, the bounds, and what was given.
    Nonsense(String),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::Config(error) => error.fmt(f),
            SettingsError::Nonsense(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for SettingsError {}

impl From<ConfigError> for SettingsError {
    fn from(error: ConfigError) -> Self {
        SettingsError::Config(error)
    }
}

/// The most threads for an interface: more would wait for one another's memory.
const MAX_THREADS: u32 = 64;
/// The least of each, for every thread.
const LEAST_BUFFER: ByteSize = ByteSize(1 << 20);
const LEAST_MEMORY: ByteSize = ByteSize(4 << 20);

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Settings {
    /// What these flags mean; reads the configuration file if they name one.
    pub fn of(flags: Flags) -> Result<Self, SettingsError> {
        check_command(&flags)?;
        let policy = read_policy(&flags)?;
        // What the tables are made for stays when a reload brings a longer window.
        let mut flags = flags;
        let window = Duration::from_nanos(policy.window_nanos);
        flags.publish.hold.get_or_insert(HOLD.max(window));
        let limits = limits(&flags, &policy)?;
        check_capture(&flags.capture)?;
        check_shares(&flags)?;
        let sampling = sampling(&flags, &limits)?;
        let web = web(&flags.web)?;
        Ok(Self { policy, limits, sampling, web, flags })
    }

    /// The policy after another look at the file; everything else stays as it was at the start.
    pub fn reload(&self) -> Result<Policy, SettingsError> {
        let policy = read_policy(&self.flags)?;
        // They stay as they are, and must fit the new policy as if it were started with it.
        limits(&self.flags, &policy)?;
        Ok(policy)
    }

    /// What tables and rings will want, of all interfaces together.
    pub fn memory(&self) -> Wanted {
        Wanted {
            interfaces: interfaces(&self.flags.capture),
            tables: self.limits.memory_bytes as u64,
            rings: buffer_of_each(&self.flags.capture).0,
        }
    }

    /// How to capture on each interface; `default_interface` is asked only if no flag names one.
    pub fn captures<E>(
        &self,
        default_interface: impl FnOnce() -> Result<String, E>,
    ) -> Result<Vec<LiveOptions>, E> {
        let flags = &self.flags.capture;
        let interfaces = match flags.interfaces.as_slice() {
            [] => vec![default_interface()?],
            named => named.to_vec(),
        };
        let options = |interface| LiveOptions {
            interface,
            direction: flags.direction,
            promiscuous: flags.promiscuous,
            buffer_bytes: bytes(buffer_of_each(flags)),
            threads: flags.threads as usize,
            fragments: flags.fragments,
        };
        Ok(interfaces.into_iter().map(options).collect())
    }
}

/// How many interfaces are captured; without a flag it is that of the default route.
fn interfaces(flags: &flags::CaptureFlags) -> u64 {
    flags.interfaces.len().max(1) as u64
}

/// The kernel's rings for one interface.
fn buffer_of_each(flags: &flags::CaptureFlags) -> ByteSize {
    flags.buffer_total.map_or(flags.buffer_size, |total| ByteSize(total.0 / interfaces(flags)))
}

/// Whether the configuration file can be read, by whoever the process is now.
pub fn may_read(path: &Path) -> Result<(), String> {
    file::load(path).map(drop).map_err(|error| error.to_string())
}

/// How much a policy leaves out of sight, whoever scans.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ignored {
    /// The share of all IPv4 addresses that are ignored as sources.
    pub ipv4: f64,
    /// The same of the IPv6 addresses that are in use (2000::/3).
    pub ipv6: f64,
    /// Ports that are ignored, of 65,536.
    pub ports: u32,
}

impl Ignored {
    /// The share that a rule for the exception has no business to take away.
    const MOST: f64 = 0.5;

    /// What this policy ignores.
    pub fn by(policy: &Policy) -> Self {
        let in_use: Ipv6Net = "2000::/3".parse().expect("a network");
        let (mut ipv4, mut ipv6) = (0.0, 0.0);
        // They do not overlap: `config` has joined them.
        for network in &policy.ignored_sources {
            let share = |prefix: u8| 0.5_f64.powi(prefix.into());
            match network {
                IpNet::V4(network) => ipv4 += share(network.prefix_len()),
                IpNet::V6(network) if network.contains(&in_use) => ipv6 = 1.0,
                IpNet::V6(network) if in_use.contains(network) => ipv6 += share(network.prefix_len() - 3),
                IpNet::V6(_) => {}
            }
        }
        Self { ipv4, ipv6, ports: u32::try_from(policy.ignored_ports.len()).unwrap_or(u32::MAX) }
    }

    /// What an operator must be told of it, under this threshold: valid, and most likely not meant.
    pub fn warnings(&self, threshold: u32) -> Vec<String> {
        let mut warnings = Vec::new();
        for (share, family) in [(self.ipv4, "IPv4"), (self.ipv6, "IPv6")] {
            if share >= 1.0 {
                warnings
                    .push(format!("ignore.sources holds every {family} address: no {family} scan is seen"));
            } else if share >= Self::MOST {
                warnings.push(format!(
                    "ignore.sources holds {:.0} % of all {family} addresses: scans from there are not seen",
                    share * 100.0
                ));
            }
        }
        let left = 65_536_u32.saturating_sub(self.ports);
        if left < threshold {
            warnings.push(format!(
                "ignore.ports leaves {left} ports, and the threshold is {threshold}: no scan is seen"
            ));
        } else if f64::from(self.ports) > 65_536.0 * Self::MOST {
            warnings.push(format!(
                "ignore.ports holds {} of 65536 ports: scans of these are not seen",
                self.ports
            ));
        }
        warnings
    }
}

/// The policy that flags, file and defaults make.
fn read_policy(flags: &Flags) -> Result<Policy, SettingsError> {
    let path = flags.config.file.as_deref();
    let file = path.map(file::load).transpose()?.unwrap_or_default();
    let default = Policy::default();
    let place = Place { path };

    let window = place.meant("window", flags.detection.window, file.detection.window);
    let threshold = place.meant("threshold", flags.detection.threshold, file.detection.threshold);
    let quiet = place.meant("quiet", None, file.detection.quiet);
    let ipv6_prefix = place.meant("ipv6_prefix", None, file.detection.ipv6_prefix);
    Ok(Policy {
        window_nanos: window.within(SECOND..=HOUR, write_duration)?.map_or(default.window_nanos, nanos),
        threshold: threshold.within(2..=65_536, |n| n.to_string())?.unwrap_or(default.threshold),
        quiet_nanos: quiet.within(SECOND..=DAY, write_duration)?.map_or(default.quiet_nanos, nanos),
        ipv6_prefix: ipv6_prefix.within(16..=128, |n| n.to_string())?.unwrap_or(default.ipv6_prefix),
        ignored_sources: file.ignore.sources,
        ignored_ports: file.ignore.ports,
    })
}

/// How long a peak stays published unless somebody says otherwise, or the window is longer.
const HOLD: Duration = Duration::from_secs(300);

/// The limits, checked against the window they must hold.
fn limits(flags: &Flags, policy: &Policy) -> Result<Limits, SettingsError> {
    let (publish, memory) = (&flags.publish, flags.detection.memory);
    check("--detection.memory", memory, LEAST_MEMORY..=ByteSize(64 << 30), |size| size.to_string())?;
    check("--publish.max-sources", publish.max_sources, 0..=10_000, |n| n.to_string())?;
    // A source with one port holds no place in the table, so there is no peak of 1 to publish.
    let min_ports = publish.min_ports.unwrap_or(Limits::default().min_ports);
    check("--publish.min-ports", min_ports, 2..=65_536, |n| n.to_string())?;
    let window = Duration::from_nanos(policy.window_nanos);
    let hold = publish.hold.unwrap_or(HOLD.max(window));
    check("--publish.hold", hold, SECOND..=DAY, write_duration)?;
    if hold < window {
        return nonsense(format!(
            "a detection window of {} is longer than --publish.hold ({})",
            write_duration(window),
            write_duration(hold)
        ));
    }
    // What was not asked for gives way to a lower threshold by itself.
    publish.min_ports.map_or(Ok(()), |asked| check_min_ports(asked, policy))?;
    Ok(Limits {
        memory_bytes: bytes(memory),
        max_sources: publish.max_sources as usize,
        min_ports,
        hold_nanos: nanos(hold),
    })
}

/// What a host of a fleet samples. The key is read once: a reload reads no secret, and hosts change their keys by a restart.
fn sampling(flags: &Flags, limits: &Limits) -> Result<Option<Sampling>, SettingsError> {
    let fleet = &flags.fleet;
    let Some(path) = &fleet.key_file else {
        let given = [("--fleet.share", fleet.share), ("--fleet.max-sources", fleet.max_sources)];
        return match given.into_iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => nonsense(format!("{name} has no meaning without --fleet.key-file")),
            None => Ok(None),
        };
    };
    let one_in = fleet.share.unwrap_or(64);
    check("--fleet.share", one_in, 1..=65_536, |n| format!("1/{n}"))?;
    let max_sources = fleet.max_sources.unwrap_or_else(|| 32.max(flags.capture.threads));
    check("--fleet.max-sources", max_sources, 1..=256, |n| n.to_string())?;
    if max_sources < flags.capture.threads {
        return nonsense(format!(
            "--fleet.max-sources must be at least {threads} with --capture.threads={threads}, which share it, not \
             {max_sources}",
            threads = flags.capture.threads
        ));
    }
    // What the file holds is not repeated: it may be nearly right, and a log is no place for it.
    let Some(key) = Key::parse(&file::text(path)?) else {
        return nonsense(format!(
            "--fleet.key-file {} must hold 32 hexadecimal digits and nothing else, as `openssl rand -hex 16` writes them",
            printable(&path.to_string_lossy())
        ));
    };
    Ok(Some(Sampling { key, one_in, max_sources: max_sources as usize, hold_nanos: limits.hold_nanos }))
}

/// A scan that reaches the threshold must earn its source a series.
fn check_min_ports(min_ports: u32, policy: &Policy) -> Result<(), SettingsError> {
    if min_ports <= policy.threshold {
        return Ok(());
    }
    nonsense(format!(
        "--publish.min-ports must be at most the detection threshold ({}), or scans are hidden, not {min_ports}",
        policy.threshold
    ))
}

fn check_capture(flags: &flags::CaptureFlags) -> Result<(), SettingsError> {
    let mut named = BTreeSet::new();
    for interface in &flags.interfaces {
        // A name becomes a path under /sys/class/net and a label: what the kernel allows, and no more.
        let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
        if interface.is_empty()
            || !interface.chars().all(allowed)
            || [".", ".."].contains(&interface.as_str())
        {
            let interface = quote(interface);
            return nonsense(format!("--capture.interface {interface} cannot be the name of an interface"));
        }
        // The kernel itself takes `eth0:1` for eth0: two captures of one interface, under two names.
        if let Some((whole, _)) = interface.split_once(':') {
            return nonsense(format!(
                "--capture.interface {} names an address, not an interface: give the interface {}",
                quote(interface),
                quote(whole)
            ));
        }
        if !named.insert(interface) {
            let interface = printable(interface);
            return nonsense(format!("--capture.interface {interface} is given twice"));
        }
    }
    let sizes = LEAST_BUFFER..=ByteSize(2 << 30);
    if let Some(total) = flags.buffer_total {
        let all = |each: ByteSize| ByteSize(each.0 * interfaces(flags));
        let bounds = all(*sizes.start())..=all(*sizes.end());
        return check("--capture.buffer-total", total, bounds, |size| size.to_string());
    }
    check("--capture.buffer-size", flags.buffer_size, sizes, |size| size.to_string())
}

/// What is for a whole interface must be enough for each of its threads.
fn check_shares(flags: &Flags) -> Result<(), SettingsError> {
    let threads = flags.capture.threads;
    check("--capture.threads", threads, 1..=MAX_THREADS, |n| n.to_string())?;
    let buffer = match flags.capture.buffer_total {
        Some(_) => "--capture.buffer-total for each interface",
        None => "--capture.buffer-size",
    };
    for (name, size, least) in [
        (buffer, buffer_of_each(&flags.capture), LEAST_BUFFER),
        ("--detection.memory", flags.detection.memory, LEAST_MEMORY),
    ] {
        let least = ByteSize(least.0 * u64::from(threads));
        if size < least {
            return nonsense(format!(
                "--capture.threads={threads} need {name} of at least {least}, which they share, not {size}"
            ));
        }
    }
    Ok(())
}

fn web(flags: &flags::WebFlags) -> Result<web::Options, SettingsError> {
    let path = flags.telemetry_path.as_str();
    let refuse = |why: &str| nonsense(format!("--web.telemetry-path {why}, not {}", quote(path)));
    if !path.starts_with('/') {
        return refuse("must begin with a slash");
    }
    if path == "/" || path == "/-" || path.starts_with("/-/") || path.starts_with("/api/v1/") {
        return refuse("must leave /, /-/ and /api/v1/ to the exporter's own pages");
    }
    if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte)) {
        return refuse("must be made of letters, digits and -._~/");
    }
    check("--web.max-requests", flags.max_requests, 1..=10_000, |n| n.to_string())?;
    let mut listen = Vec::new();
    for text in &flags.listen_addresses {
        match text.parse() {
            Ok(address) => listen.push(address),
            Err(why) => return nonsense(format!("--web.listen-address: {why}")),
        }
    }
    Ok(web::Options {
        listen,
        systemd_socket: flags.systemd_socket,
        telemetry_path: flags.telemetry_path.clone(),
        max_requests: flags.max_requests as usize,
        enable_lifecycle: flags.enable_lifecycle,
    })
}

fn check_command(flags: &Flags) -> Result<(), SettingsError> {
    let (command, replay) = match &flags.command {
        None => return Ok(()),
        Some(flags::Command::Explain(_)) => ("explain", None),
        Some(flags::Command::Replay(replay)) => ("replay", Some(replay)),
    };
    if !flags.capture.interfaces.is_empty() {
        return nonsense(format!("--capture.interface has no meaning for {command}"));
    }
    let Some(replay) = replay else {
        // Before the command it says where to listen, not whom to ask; taken for the other it would be ignored.
        if flags.web.systemd_socket || flags.web.listen_addresses != [":10220"] {
            return nonsense(String::from("give --web.listen-address after explain: whom to ask"));
        }
        return Ok(());
    };
    if replay.files.iter().filter(|file| *file == Path::new("-")).count() > 1 {
        return nonsense("standard input (-) can be read only once".to_owned());
    }
    Ok(())
}

/// Where a value of `detection:` may come from, to name it in an error.
struct Place<'a> {
    path: Option<&'a Path>,
}

/// A value that was given, and the name it was given under.
struct Meant<T> {
    value: Option<T>,
    name: String,
}

impl Place<'_> {
    /// The flag if it is given, else what the file says.
    fn meant<T>(&self, key: &str, flag: Option<T>, file: Option<Located<T>>) -> Meant<T> {
        match (flag, file, self.path) {
            (None, Some(Located { value, line }), Some(path)) => {
                let path = printable(&path.to_string_lossy());
                let name = format!("invalid configuration {path}: line {line}: detection.{key}");
                Meant { value: Some(value), name }
            }
            (value, _, _) => Meant { value, name: format!("--detection.{key}") },
        }
    }
}

impl<T: PartialOrd + Copy> Meant<T> {
    fn within(
        &self,
        bounds: RangeInclusive<T>,
        write: impl Fn(T) -> String,
    ) -> Result<Option<T>, SettingsError> {
        if let Some(value) = self.value {
            check(&self.name, value, bounds, write)?;
        }
        Ok(self.value)
    }
}

fn check<T: PartialOrd + Copy>(
    name: &str,
    value: T,
    bounds: RangeInclusive<T>,
    write: impl Fn(T) -> String,
) -> Result<(), SettingsError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let (least, most) = (write(*bounds.start()), write(*bounds.end()));
    nonsense(format!("{name} must be from {least} to {most}, not {}", write(value)))
}

fn nonsense<T>(what: String) -> Result<T, SettingsError> {
    Err(SettingsError::Nonsense(what))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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
        assert_eq!(settings.policy, Policy::default());
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
        assert_eq!(settings.memory(), Wanted { interfaces: 4, tables: 48 << 20, rings: 16 << 20 });
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
        assert_eq!((policy.ipv6_prefix, policy.ignored_ports), (48, vec![22]), "the file's");
    }

    #[test]
    fn a_reload_reads_the_file_again_under_the_same_flags_and_refuses_nonsense() {
        let file = file("detection: {threshold: 7}\n");
        let path = file.path().display().to_string();
        let settings =
            settings(&format!("--config.file={path} --detection.window=5s --publish.hold=1m")).unwrap();
        assert_eq!(settings.policy.threshold, 7);

        std::fs::write(file.path(), "detection: {threshold: 9, window: 20s}\n").unwrap();
        let policy = settings.reload().unwrap();
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

    /// Started with a policy or reloaded to it: the same is accepted. But for the window: the hold that was not asked for follows
    /// it at start only.
    #[test]
    fn what_a_start_takes_a_reload_takes() {
        for (flags, policy) in [
            ("", "{threshold: 2}"),
            ("", "{threshold: 4}"),
            ("--publish.min-ports=3", "{threshold: 2}"),
            ("--publish.min-ports=3", "{threshold: 3}"),
            ("--publish.hold=20s", "{window: 21s}"),
        ] {
            let file = file("");
            let words = format!("{flags} --config.file={}", file.path().display());
            let running = settings(&words).unwrap();
            std::fs::write(file.path(), format!("detection: {policy}\n")).unwrap();
            let started = settings(&words);
            let reloaded = running.reload().map_err(|error| error.to_string());
            assert_eq!(
                started.as_ref().map(|settings| &settings.policy),
                reloaded.as_ref(),
                "{flags} {policy}"
            );
            if let Ok(started) = started {
                assert_eq!(started.limits, running.limits, "{flags} {policy}");
            }
        }
    }

    #[test]
    fn what_blinds_is_told_and_what_is_an_exception_is_not() {
        let told = |ignore: &str| {
            let file = file(&format!("ignore: {ignore}\n"));
            let policy = settings(&format!("--config.file={}", file.path().display())).unwrap().policy;
            let ignored = Ignored::by(&policy);
            ([ignored.ipv4, ignored.ipv6], ignored.ports, ignored.warnings(policy.threshold).join("; "))
        };
        let v4 = "ignore.sources holds every IPv4 address: no IPv4 scan is seen";
        let v6 = "ignore.sources holds every IPv6 address: no IPv6 scan is seen";
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
                "ignore.sources holds 75 % of all IPv4 addresses: scans from there are not seen",
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
        assert_eq!(error, "cannot read /nowhere/fleet.key: no such file");
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
            (
                "--capture.threads=64 --capture.buffer-size=64MiB --detection.memory=256MiB",
                "--capture.threads=65 --capture.buffer-size=1GiB --detection.memory=1GiB",
            ),
            ("--capture.threads=12", "--capture.threads=13"),
            (
                "--capture.threads=4 --capture.buffer-size=4MiB",
                "--capture.threads=4 --capture.buffer-size=4095KiB",
            ),
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
