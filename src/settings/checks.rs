//! What flags must mean together, beyond the bounds of each.

use super::bounds::{
    BUFFER_SIZE, Bound, FLEET_MAX_SOURCES, MAX_INTERFACES, MAX_REQUESTS, MEMORY, Quantity, SHARE, THREADS,
};
use super::error::{SettingsError, invalid};
use super::file::{self, Located};
use super::flags::{CaptureFlags, Command, Flags, WebFlags};
use crate::capture::{Direction, Patterns};
use crate::detect::Limits;
use crate::publish::sample::{Key, Sampling};
use crate::text::units::{ByteSize, OneIn};
use crate::text::{printable, quote};
use crate::web;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

impl<T: Quantity> Bound<T> {
    /// An error that names the setting as `name` if the value is out of bounds.
    pub(super) fn check_as(&self, name: &str, value: T) -> Result<T, SettingsError> {
        if self.least <= value && value <= self.greatest {
            return Ok(value);
        }
        let (least, greatest, value) = (self.least.write(), self.greatest.write(), value.write());
        invalid(format!("{name} must be from {least} to {greatest}, not {value}"))
    }

    /// The value of a flag, or an error if it is out of bounds.
    pub(super) fn check(&self, value: T) -> Result<T, SettingsError> {
        self.check_as(&format!("--{}", self.name), value)
    }
}

/// The flag if it is given, else what the file says, else the default. An error says where the value stands; one in the file is an error
/// even where the flag stands in its place, for the flag may be gone tomorrow.
pub(super) fn choose<T: Quantity>(
    bound: &Bound<T>,
    flag: Option<T>,
    file: Option<Located<T>>,
    path: Option<&Path>,
) -> Result<T, SettingsError> {
    let in_file = file.zip(path).map(|(Located { value, line }, path)| {
        let path = printable(&path.to_string_lossy());
        bound.check_as(&format!("invalid configuration {path}: line {line}: {}", bound.key()), value)
    });
    let of_flag = flag.map(|value| bound.check(value)).transpose()?;
    let of_file = in_file.transpose()?;
    Ok(of_flag.or(of_file).unwrap_or(bound.default))
}

/// As the core counts time.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A length of prefixes, within its bounds.
pub(super) fn bits(checked: u32) -> u8 {
    u8::try_from(checked).unwrap_or(u8::MAX)
}

/// How many interfaces are captured at most; without a flag it is that of the default route.
pub(super) fn interfaces(flags: &CaptureFlags) -> u64 {
    let patterns = flags.interfaces.iter().filter(|given| Patterns::is_one(given)).count();
    let named = (flags.interfaces.len() - patterns).max(usize::from(patterns == 0)) as u64;
    named + if patterns > 0 { u64::from(flags.max_interfaces) } else { 0 }
}

/// The kernel's rings for one interface.
pub(super) fn buffer_of_each(flags: &CaptureFlags) -> ByteSize {
    flags.buffer_total.map_or(flags.buffer_size, |total| ByteSize(total.0 / interfaces(flags)))
}

/// The longest name that the kernel gives an interface (IFNAMSIZ, less its end): that is what a pattern is compared with.
const NAME_BYTES: usize = 15;

/// The longest alternative name, by which an interface may be given, too (ALTIFNAMSIZ, less its end).
const ALTERNATIVE_NAME_BYTES: usize = 127;

/// `--capture.*`.
pub(super) fn capture(flags: &CaptureFlags) -> Result<(), SettingsError> {
    MAX_INTERFACES.check(flags.max_interfaces)?;
    let mut named = BTreeSet::new();
    for interface in &flags.interfaces {
        // A name becomes a label, and a path in /sys/class/net of `capture`: what the kernel allows, and no more.
        let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
        if interface.is_empty()
            || !interface.chars().all(allowed)
            || [".", ".."].contains(&interface.as_str())
        {
            let interface = quote(interface);
            return invalid(format!("--capture.interface {interface} cannot be the name of an interface"));
        }
        // Nothing would ever match.
        if interface == "!" {
            return invalid(String::from(
                "--capture.interface \"!\" excludes nothing: name what, as in '!docker*'",
            ));
        }
        let least = interface.trim_start_matches('!').bytes().filter(|byte| *byte != b'*').count();
        let most = if Patterns::is_one(interface) { NAME_BYTES } else { ALTERNATIVE_NAME_BYTES };
        if least > most {
            return invalid(format!(
                "--capture.interface {} is longer than the name of any interface ({most} bytes)",
                quote(interface)
            ));
        }
        // The kernel itself takes `eth0:1` for eth0: two captures of one interface, under two names.
        if let Some((whole, _)) = interface.split_once(':') {
            return invalid(format!(
                "--capture.interface {} names an address, not an interface: give the interface {}",
                quote(interface),
                quote(whole)
            ));
        }
        if !named.insert(interface) {
            let interface = printable(interface);
            return invalid(format!("--capture.interface {interface} is given twice"));
        }
    }
    match flags.buffer_total {
        None => BUFFER_SIZE.check(flags.buffer_size)?,
        Some(total) => {
            let all = |each: ByteSize| ByteSize(each.0 * interfaces(flags));
            let (least, greatest) = (all(BUFFER_SIZE.least), all(BUFFER_SIZE.greatest));
            Bound { name: "capture.buffer-total", least, greatest, ..BUFFER_SIZE }.check(total)?
        }
    };
    Ok(())
}

/// What is for a whole interface must be enough for each of its threads.
pub(super) fn shares(flags: &Flags) -> Result<(), SettingsError> {
    let threads = THREADS.check(flags.capture.threads)?;
    if flags.tunnels && threads > 1 {
        // The kernel shares packets by the outer source, and an inner one can come in many tunnels.
        return invalid(
            "--capture.tunnels needs --capture.threads=1: sources in tunnels cannot be shared among threads"
                .into(),
        );
    }
    if flags.detection.replies && threads > 1 {
        // The kernel shares packets by their source, and that of an answer is the host.
        return invalid(
            "--detection.replies needs --capture.threads=1: answers cannot be shared among threads by whom they are for"
                .into(),
        );
    }
    if flags.detection.replies && flags.capture.direction == Direction::Out {
        return invalid(
            "--detection.replies has no effect with --capture.direction=out: what answers to a packet that leaves comes in, and is \
             not captured; use in, or inout"
                .into(),
        );
    }
    let shows_none = |interface: &&String| ["any", "lo"].contains(&interface.as_str());
    if let Some(interface) =
        flags.capture.interfaces.iter().find(shows_none).filter(|_| flags.detection.replies)
    {
        // Every port would be called silent.
        return invalid(format!("--detection.replies sees no answers on {interface}: name the interfaces"));
    }
    let buffer = match flags.capture.buffer_total {
        Some(_) => "--capture.buffer-total for each interface",
        None => "--capture.buffer-size",
    };
    for (name, size, least) in [
        (buffer, buffer_of_each(&flags.capture), BUFFER_SIZE.least),
        ("--detection.memory", flags.detection.memory, MEMORY.least),
    ] {
        let least = ByteSize(least.0 * u64::from(threads));
        if size < least {
            return invalid(format!(
                "--capture.threads={threads} need {name} of at least {least}, which they share, not {size}"
            ));
        }
    }
    Ok(())
}

/// What a host of a fleet samples. The key is read once: a reload reads no secret, and hosts change their keys by a restart.
pub(super) fn sampling(flags: &Flags, limits: &Limits) -> Result<Option<Sampling>, SettingsError> {
    let fleet = &flags.fleet;
    let Some(path) = &fleet.key_file else {
        let given =
            [("--fleet.share", fleet.share.is_some()), ("--fleet.max-sources", fleet.max_sources.is_some())];
        return match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => invalid(format!("{name} has no meaning without --fleet.key-file")),
            None => Ok(None),
        };
    };
    let OneIn(one_in) = SHARE.check(fleet.share.unwrap_or(SHARE.default))?;
    let threads = flags.capture.threads;
    let max_sources =
        FLEET_MAX_SOURCES.check(fleet.max_sources.unwrap_or(FLEET_MAX_SOURCES.default.max(threads)))?;
    if max_sources < threads {
        return invalid(format!(
            "--fleet.max-sources must be at least {threads} with --capture.threads={threads}, which share it, not \
             {max_sources}"
        ));
    }
    // The file's text is not repeated: it may be nearly right, and a log is no place for it.
    let Some(key) = Key::parse(&file::text(path, "--fleet.key-file")?) else {
        return invalid(format!(
            "--fleet.key-file {} must hold 32 hexadecimal digits and nothing else, as `openssl rand -hex 16` writes them",
            printable(&path.to_string_lossy())
        ));
    };
    Ok(Some(Sampling { key, one_in, max_sources: max_sources as usize, hold_nanos: limits.hold_nanos }))
}

/// `--web.*`.
pub(super) fn web(flags: &WebFlags) -> Result<web::Options, SettingsError> {
    let path = flags.telemetry_path.as_str();
    let refuse = |why: &str| invalid(format!("--web.telemetry-path {why}, not {}", quote(path)));
    if !path.starts_with('/') {
        return refuse("must begin with a slash");
    }
    if path == "/" || path == "/-" || path.starts_with("/-/") || path.starts_with("/api/v1/") {
        return refuse("must leave /, /-/ and /api/v1/ to the exporter's own pages");
    }
    if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte)) {
        return refuse("must be made of letters, digits and -._~/");
    }
    MAX_REQUESTS.check(flags.max_requests)?;
    let mut listen = Vec::new();
    for text in &flags.listen_addresses {
        match text.parse() {
            Ok(address) => listen.push(address),
            Err(why) => return invalid(format!("--web.listen-address: {why}")),
        }
    }
    if let Some(path) = &flags.config_file {
        web::ConfigFile::open(path).map(drop).or_else(|why| invalid(format!("--web.config.file: {why}")))?;
    }
    Ok(web::Options {
        config_file: flags.config_file.clone(),
        listen,
        systemd_socket: flags.systemd_socket,
        telemetry_path: flags.telemetry_path.clone(),
        max_requests: flags.max_requests as usize,
        enable_lifecycle: flags.enable_lifecycle,
    })
}

/// Flags that have no meaning for the command.
pub(super) fn command(flags: &Flags) -> Result<(), SettingsError> {
    let (command, replay) = match &flags.command {
        None => return Ok(()),
        Some(Command::Explain(_)) => ("explain", None),
        Some(Command::Health(_)) => ("health", None),
        Some(Command::Scans(_)) => ("scans", None),
        Some(Command::Replay(replay)) => ("replay", Some(replay)),
    };
    let Some(replay) = replay else {
        // Before the command it says where to listen, not whom to ask; taken for the other it would be ignored.
        if flags.web.systemd_socket || flags.web.listen_addresses != [":10220"] {
            return invalid(format!("give --web.listen-address after {command}: whom to ask"));
        }
        if flags.web.config_file.is_some() {
            return invalid(format!("give --web.config.file after {command}: that of the exporter to ask"));
        }
        return Ok(());
    };
    if replay.files.iter().filter(|file| *file == Path::new("-")).count() > 1 {
        return invalid("standard input (-) can be read only once".to_owned());
    }
    Ok(())
}
