//! The flags as typed: names, help, defaults, and what each value must look like. `settings` says what
//! they mean together. The only module that knows clap.

mod commands;
mod early_exit;

pub use commands::{
    AnswerFormat, Command, CredentialFlags, ExplainFlags, ExporterFlags, HealthFlags, ReplayFlags,
    ReportFormat, ScansFlags,
};
pub use early_exit::EarlyExit;

use super::bounds::{
    self, BLOCK_THRESHOLD, BUFFER_SIZE, DISTRIBUTED_THRESHOLD, DISTRIBUTED_WINDOW, FLEET_MAX_SOURCES, HOLD,
    HOP_THRESHOLD, HOP_WINDOW, MAX_INTERFACES, MAX_REQUESTS, MAX_SOURCES, MEMORY, MIN_PORTS, Row, SHARE,
    SLOW_THRESHOLD, SLOW_WINDOW, SWEEP_THRESHOLD, SWEEP_WINDOW, THREADS, THRESHOLD, WINDOW,
};
use super::syntax::parse_network;
use crate::capture::{Direction, Fragments};
use crate::detect::Techniques;
use crate::logger::Format;
use crate::logger::level::LEVELS;
use crate::text::units::{ByteSize, OneIn, parse_duration};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use ipnet::IpNet;
use log::LevelFilter;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The command line, parsed. A flag that the configuration file may also set is `None` unless given.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "portscan_exporter",
    about = "Passive port-scan detector for people who run Prometheus. It listens, and sends nothing but answers to HTTP requests.",
    after_help = "Without a command it captures live and serves metrics until it is told to stop.",
    disable_help_subcommand = true,
    max_term_width = 110
)]
pub struct Flags {
    /// Show the version and what it was built with, and exit.
    #[arg(long)]
    pub version: bool,
    /// Unprivileged user to become when started as root, once all is open [default: nobody]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// `--capture.*`.
    #[command(flatten, next_help_heading = "Capture")]
    pub capture: CaptureFlags,
    /// Look into tunnels (IP in IP, GRE, ERSPAN, VXLAN, Geneve): the inner addresses count
    #[arg(long = "capture.tunnels", global = true, help_heading = "Capture")]
    pub tunnels: bool,
    /// `--detection.*`.
    #[command(flatten, next_help_heading = "Detection")]
    pub detection: DetectionFlags,
    /// Source whose probes do not count, beside those of the configuration file; repeat for several
    #[arg(long = "ignore.source", value_name = "CIDR", global = true, help_heading = "Detection", value_parser = parse_network)]
    pub ignored_sources: Vec<IpNet>,
    /// `--publish.*`.
    #[command(flatten, next_help_heading = "Publishing")]
    pub publish: PublishFlags,
    /// `--fleet.*`.
    #[command(flatten, next_help_heading = "Fleet")]
    pub fleet: FleetFlags,
    /// `--web.*`.
    #[command(flatten, next_help_heading = "Web")]
    pub web: WebFlags,
    /// `--config.*`.
    #[command(flatten, next_help_heading = "Configuration file")]
    pub config: ConfigFlags,
    /// `--log.*`.
    #[command(flatten, next_help_heading = "Log")]
    pub log: LogFlags,
    /// What to do instead of capturing live.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// `--capture.*`: what a live capture listens to.
#[derive(Debug, Clone, Args)]
pub struct CaptureFlags {
    /// Interface to capture on, or a pattern: `eth*`, `!docker*`; repeat for several [default: the one of the default route]
    #[arg(long = "capture.interface", short = 'i', value_name = "NAME")]
    pub interfaces: Vec<String>,
    /// Most interfaces that are captured because a pattern means them, as they come and go
    #[arg(long = MAX_INTERFACES.name, value_name = "INTERFACES", default_value_t = MAX_INTERFACES.default,
          value_parser = whole_number)]
    pub max_interfaces: u32,
    /// Packets to look at: `inout` is for mirror ports, where nothing is the host's own
    #[arg(long = "capture.direction", value_name = "in|out|inout", default_value = "in",
          hide_possible_values = true, value_parser = words(DIRECTIONS))]
    pub direction: Direction,
    /// Ask the network card for packets that are not for this host
    #[arg(long = "capture.promiscuous")]
    pub promiscuous: bool,
    /// Kernel buffer for each interface
    #[arg(long = BUFFER_SIZE.name, value_name = "SIZE", default_value_t = BUFFER_SIZE.default)]
    pub buffer_size: ByteSize,
    /// Kernel buffers of all interfaces together, in equal parts, instead of so much for each
    #[arg(long = "capture.buffer-total", value_name = "SIZE", conflicts_with = "buffer_size")]
    pub buffer_total: Option<ByteSize>,
    /// Threads for each interface; they share its packets by source, and its buffer and memory in equal parts
    #[arg(long = THREADS.name, value_name = "THREADS", default_value_t = THREADS.default, value_parser = whole_number)]
    pub threads: u32,
    /// IPv4 fragments: `reassemble` has the kernel put them together first, where it can; `count` only counts them
    #[arg(long = "capture.fragments", value_name = "reassemble|count", default_value = "reassemble",
          hide_possible_values = true, value_parser = words(FRAGMENTS))]
    pub fragments: Fragments,
}

/// `--detection.*`: what counts as a scan.
#[derive(Debug, Clone, Args)]
pub struct DetectionFlags {
    /// Sliding span in which a source's distinct ports are counted
    #[arg(long = WINDOW.name, value_name = "DURATION", global = true, value_parser = parse_duration)]
    pub window: Option<Duration>,
    /// Distinct ports within the window at which a source counts as scanning
    #[arg(long = THRESHOLD.name, value_name = "PORTS", global = true, value_parser = whole_number)]
    pub threshold: Option<u32>,
    /// Window of the slow rule, which finds who stays below the threshold; up to three with commas between for as many rules
    #[arg(long = SLOW_WINDOW.name, value_name = "DURATION", global = true, value_delimiter = ',', value_parser = parse_duration)]
    pub slow_window: Vec<Duration>,
    /// Distinct ports within it at which a source counts as scanning, for each window one; 0 turns the slow rule off
    #[arg(long = SLOW_THRESHOLD.name, value_name = "PORTS", global = true, value_delimiter = ',', value_parser = whole_number)]
    pub slow_threshold: Vec<u32>,
    /// Window of the rule for sweeps, which only gateways and mirror ports see
    #[arg(long = SWEEP_WINDOW.name, value_name = "DURATION", global = true, value_parser = parse_duration)]
    pub sweep_window: Option<Duration>,
    /// Distinct hosts within it at which a source counts as sweeping; 0 turns the rule off
    #[arg(long = SWEEP_THRESHOLD.name, value_name = "HOSTS", global = true, value_parser = whole_number)]
    pub sweep_threshold: Option<u32>,
    /// Distinct ports within it with which a sweep is a block
    #[arg(long = BLOCK_THRESHOLD.name, value_name = "PORTS", global = true, value_parser = whole_number)]
    pub block_threshold: Option<u32>,
    /// Window of the rule for who changes his IPv6 /64 with each probe
    #[arg(long = HOP_WINDOW.name, value_name = "DURATION", global = true, value_parser = parse_duration)]
    pub hop_window: Option<Duration>,
    /// Distinct ports within it of one network at which it counts as scanning; 0 turns the rule off
    #[arg(long = HOP_THRESHOLD.name, value_name = "PORTS", global = true, value_parser = whole_number)]
    pub hop_threshold: Option<u32>,
    /// Window of the rule for scans of one host by many sources of a few ports each
    #[arg(long = DISTRIBUTED_WINDOW.name, value_name = "DURATION", global = true, value_parser = parse_duration)]
    pub distributed_window: Option<Duration>,
    /// Distinct ports within it of one host at which many sources count as one scan; 0 turns the rule off
    #[arg(long = DISTRIBUTED_THRESHOLD.name, value_name = "PORTS", global = true, value_parser = whole_number)]
    pub distributed_threshold: Option<u32>,
    /// Techniques to look for: `all`, or some of ack, fin, icmp, null, odd, protocol, sctp, syn, udp, xmas;
    /// ack takes --detection.replies as well
    /// [default: fin,null,odd,sctp,syn,xmas]
    #[arg(long = "detection.techniques", value_name = "LIST", global = true)]
    pub techniques: Option<Techniques>,
    /// Look for what is answered, too (SYN-ACK and RST): which ports of a scan answered, refused and were silent
    #[arg(long = "detection.replies", global = true)]
    pub replies: bool,
    /// What is inside, on gateways and mirror ports: sweeps are looked for from outside to here [default: unknown]
    #[arg(long = "detection.home", value_name = "CIDR", global = true, value_delimiter = ',', value_parser = parse_network)]
    pub home: Vec<IpNet>,
    /// Memory for the first rule's tables of each interface, taken at start; what arrives cannot make them grow. The
    /// others have a third as much beside it
    #[arg(long = MEMORY.name, value_name = "SIZE", default_value_t = MEMORY.default, global = true)]
    pub memory: ByteSize,
}

/// `--publish.*`: which sources get series of their own, and for how long.
#[derive(Debug, Clone, Args)]
pub struct PublishFlags {
    /// Most sources of an interface that get series of their own
    #[arg(long = MAX_SOURCES.name, value_name = "SOURCES", default_value_t = MAX_SOURCES.default, value_parser = whole_number,
          global = true)]
    pub max_sources: u32,
    /// Least peak of distinct ports that earns a source its series
    #[arg(long = MIN_PORTS.name, value_name = "PORTS", value_parser = whole_number, global = true)]
    pub min_ports: Option<u32>,
    /// How long a peak stays published; at least twice the scrape interval, or scrapes miss it
    #[arg(long = HOLD.name, value_name = "DURATION", global = true,
          value_parser = parse_duration)]
    pub hold: Option<Duration>,
}

/// `--fleet.*`: the sources that every host of a fleet shows from their first probe on.
#[derive(Debug, Clone, Args)]
pub struct FleetFlags {
    /// File with the secret that all hosts of a fleet share, 32 hexadecimal digits; without it nothing is sampled
    #[arg(long = "fleet.key-file", value_name = "FILE", global = true)]
    pub key_file: Option<PathBuf>,
    /// Share of all sources that every host with the key shows from the first probe on
    #[arg(long = SHARE.name, value_name = "1/N", global = true)]
    pub share: Option<OneIn>,
    /// Most sources of the sample that get a series on an interface
    #[arg(
        id = "fleet.max_sources",
        long = FLEET_MAX_SOURCES.name,
        value_name = "SOURCES",
        global = true,
        value_parser = whole_number
    )]
    pub max_sources: Option<u32>,
}

/// `--web.*`: where and how metrics are served.
#[derive(Debug, Clone, Args)]
pub struct WebFlags {
    /// Address to serve on, `:PORT`, `HOST:PORT` or `[V6]:PORT`; repeat for several
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = ":10220")]
    pub listen_addresses: Vec<String>,
    /// Path under which metrics are served
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics")]
    pub telemetry_path: String,
    /// Serve on the sockets systemd passes instead of on addresses
    #[arg(long = "web.systemd-socket", conflicts_with = "listen_addresses")]
    pub systemd_socket: bool,
    /// Most scrapes answered at the same time
    #[arg(long = MAX_REQUESTS.name, value_name = "REQUESTS", default_value_t = MAX_REQUESTS.default,
          value_parser = whole_number)]
    pub max_requests: u32,
    /// YAML file with TLS, passwords, headers and a rate, as the Prometheus exporters have it
    #[arg(id = "web.config_file", long = "web.config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Let a POST to /-/reload re-read the configuration file
    #[arg(long = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,
}

/// `--config.*`: the YAML file.
#[derive(Debug, Clone, Args)]
pub struct ConfigFlags {
    /// YAML file with what is a list or can be reloaded; none is needed
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub file: Option<PathBuf>,
    /// Check the flags and the configuration file, start nothing
    #[arg(long = "config.check", global = true)]
    pub check: bool,
}

/// `--log.*`: what is written, and how.
#[derive(Debug, Clone, Args)]
pub struct LogFlags {
    /// Least severe records to write
    #[arg(
        long = "log.level",
        value_name = "debug|info|warn|error",
        value_parser = levels(),
        default_value = "info",
        global = true,
        hide_possible_values = true
    )]
    pub level: LevelFilter,
    /// How to write records: `auto` is journald when it listens, else logfmt on standard error
    #[arg(
        long = "log.format",
        value_name = "auto|journald|logfmt|json",
        value_parser = PossibleValuesParser::new(Format::ALL.map(Format::label)).try_map(|word| word.parse::<Format>()),
        default_value = "auto",
        global = true,
        hide_possible_values = true
    )]
    pub format: Format,
}

fn whole_number(text: &str) -> Result<u32, String> {
    // `parse` alone would take a sign.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let digits = if is_number { text } else { "" };
    digits.parse().map_err(|_| match is_number {
        true => format!("expected a whole number of at most {}", u32::MAX),
        false => String::from("expected a whole number like 20"),
    })
}

/// The words of a list, and what each means: another variant is another row.
fn words<T: Copy + Send + Sync + 'static>(
    rows: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(rows.iter().map(|(word, _)| *word)).map(|word| {
        let row = rows.iter().find(|(known, _)| *known == word);
        row.expect("clap takes no other word").1
    })
}

fn levels() -> impl TypedValueParser<Value = LevelFilter> {
    PossibleValuesParser::new(LEVELS.map(|severity| severity.word)).try_map(|word| word.parse())
}

const DIRECTIONS: &[(&str, Direction)] =
    &[("in", Direction::In), ("out", Direction::Out), ("inout", Direction::InOut)];

const FRAGMENTS: &[(&str, Fragments)] = &[("reassemble", Fragments::Reassemble), ("count", Fragments::Count)];

/// The flags in a command line, of which the first word is the program's own name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Flags, EarlyExit> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(words).map_err(EarlyExit::of)?;
    match idle(&command, &matches) {
        Some(why) => Err(EarlyExit::BadUsage(why)),
        None => Flags::from_arg_matches(&matches).map_err(EarlyExit::of),
    }
}

/// Of the flags that stand before a command or are for all, those that it heeds; the others would be given in vain.
fn is_heeded(command: &str, long: &str) -> bool {
    const REPLAY: &[&str] =
        &["capture.tunnels", "config.", "detection.", "fleet.", "ignore.", "log.", "publish."];
    // Where to listen, and how: `checks` says that these belong behind the command.
    const CLIENT: &[&str] =
        &["config.check", "log.", "web.config.file", "web.listen-address", "web.systemd-socket"];
    let heeded = if CLIENTS.contains(&command) { CLIENT } else { REPLAY };
    heeded.iter().any(|start| long.starts_with(start))
}

/// Why a flag has no meaning, if one is given to a command that does not heed it.
fn idle(root: &clap::Command, matches: &ArgMatches) -> Option<String> {
    let name = matches.subcommand_name()?;
    let is_given = |arg: &&Arg| {
        matches.value_source(arg.get_id().as_str()) == Some(clap::parser::ValueSource::CommandLine)
    };
    let longs = root.get_arguments().filter(is_given).filter_map(Arg::get_long);
    let mut in_vain = longs.filter(|long| *long != "version" && !is_heeded(name, long));
    in_vain.next().map(|long| format!("--{long} has no meaning for {name}"))
}

/// The command as clap knows it: for the manual page and shell completions.
pub fn command() -> clap::Command {
    let mut rows: BTreeMap<&str, Row> =
        bounds::rows().into_iter().filter(|row| row.is_flag).map(|row| (row.name, row)).collect();
    let mut command =
        Flags::command().mut_args(|arg| match arg.get_long().and_then(|long| rows.remove(long)) {
            Some(row) => with_bounds(arg, &row),
            None => arg,
        });
    // From here on each command has the global flags, too.
    command.build();
    CLIENTS.iter().fold(command, |command, client| command.mut_subcommand(client, without_globals))
}

/// Commands that ask a running exporter, and detect nothing themselves.
const CLIENTS: [&str; 3] = ["explain", "health", "scans"];

/// The command with a help of its own flags only: the global ones say how to detect.
fn without_globals(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let is_global = arg.is_global_set() && arg.get_long() != Some("help");
        arg.hide(is_global)
    })
}

/// The help of a flag, with its bounds, and with its default where clap does not know it.
fn with_bounds(arg: Arg, row: &Row) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default = if arg.get_default_values().is_empty() {
        format!(" [default: {}]", row.default)
    } else {
        String::new()
    };
    arg.help(format!("{help} ({}){default}", row.bounds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &str) -> Flags {
        let words = std::iter::once("portscan_exporter").chain(words.split_whitespace()).map(OsString::from);
        parse(words).unwrap_or_else(|early_exit| panic!("{early_exit:?}"))
    }

    /// One row per flag: how it reads by default, a command line that sets it, and how it reads then.
    #[test]
    fn every_flag_has_its_default_and_takes_its_value() {
        type Read = fn(&Flags) -> String;
        let rows: &[(Read, &str, &str, &str)] = &[
            (|f| f.capture.interfaces.join(","), "", "-i eth0 --capture.interface=eth1", "eth0,eth1"),
            (|f| f.capture.max_interfaces.to_string(), "4", "--capture.max-interfaces=9", "9"),
            (|f| format!("{:?}", f.capture.direction), "In", "--capture.direction=inout", "InOut"),
            (|f| format!("{:?}", f.capture.direction), "In", "--capture.direction=out", "Out"),
            (|f| f.capture.promiscuous.to_string(), "false", "--capture.promiscuous", "true"),
            (|f| f.capture.buffer_size.to_string(), "16MiB", "--capture.buffer-size=64MiB", "64MiB"),
            (
                |f| format!("{:?}", f.capture.buffer_total),
                "None",
                "--capture.buffer-total=1GiB",
                "Some(ByteSize(1073741824))",
            ),
            (|f| f.capture.threads.to_string(), "1", "--capture.threads=4", "4"),
            (|f| format!("{:?}", f.capture.fragments), "Reassemble", "--capture.fragments=count", "Count"),
            (|f| format!("{:?}", f.detection.window), "None", "--detection.window=1m30s", "Some(90s)"),
            (|f| format!("{:?}", f.detection.threshold), "None", "--detection.threshold=7", "Some(7)"),
            (
                |f| format!("{:?}", f.detection.slow_window),
                "[]",
                "--detection.slow-window=10m,2h --detection.slow-window=24h",
                "[600s, 7200s, 86400s]",
            ),
            (
                |f| format!("{:?}", f.detection.slow_threshold),
                "[]",
                "--detection.slow-threshold=0 --detection.slow-threshold=60,200",
                "[0, 60, 200]",
            ),
            (
                |f| format!("{:?}", f.detection.sweep_window),
                "None",
                "--detection.sweep-window=2m",
                "Some(120s)",
            ),
            (
                |f| format!("{:?}", f.detection.sweep_threshold),
                "None",
                "--detection.sweep-threshold=9",
                "Some(9)",
            ),
            (
                |f| format!("{:?}", f.detection.block_threshold),
                "None",
                "--detection.block-threshold=9",
                "Some(9)",
            ),
            (|f| format!("{:?}", f.detection.hop_window), "None", "--detection.hop-window=2m", "Some(120s)"),
            (
                |f| format!("{:?}", f.detection.hop_threshold),
                "None",
                "--detection.hop-threshold=9",
                "Some(9)",
            ),
            (
                |f| format!("{:?}", f.detection.distributed_window),
                "None",
                "--detection.distributed-window=2m",
                "Some(120s)",
            ),
            (
                |f| format!("{:?}", f.detection.distributed_threshold),
                "None",
                "--detection.distributed-threshold=90",
                "Some(90)",
            ),
            (
                |f| f.detection.techniques.map_or("None".into(), |t| t.to_string()),
                "None",
                "--detection.techniques=syn,udp",
                "syn,udp",
            ),
            (|f| f.tunnels.to_string(), "false", "--capture.tunnels", "true"),
            (|f| f.detection.replies.to_string(), "false", "--detection.replies", "true"),
            (
                |f| format!("{:?}", f.detection.home),
                "[]",
                "--detection.home=192.0.2.0/24,2001:db8::/32",
                "[192.0.2.0/24, 2001:db8::/32]",
            ),
            (
                |f| format!("{:?}", f.ignored_sources),
                "[]",
                "--ignore.source=192.0.2.7 --ignore.source=2001:db8::/32",
                "[192.0.2.7/32, 2001:db8::/32]",
            ),
            (|f| f.detection.memory.to_string(), "48MiB", "--detection.memory=1GiB", "1GiB"),
            (|f| f.publish.max_sources.to_string(), "100", "--publish.max-sources=9", "9"),
            (|f| format!("{:?}", f.publish.min_ports), "None", "--publish.min-ports=2", "Some(2)"),
            (|f| format!("{:?}", f.publish.hold), "None", "--publish.hold=10m", "Some(600s)"),
            (
                |f| format!("{:?}", f.fleet.key_file),
                "None",
                "--fleet.key-file=fleet.key",
                "Some(\"fleet.key\")",
            ),
            (|f| format!("{:?}", f.fleet.share), "None", "--fleet.share=1/16", "Some(OneIn(16))"),
            (|f| format!("{:?}", f.fleet.max_sources), "None", "--fleet.max-sources=9", "Some(9)"),
            (
                |f| f.web.listen_addresses.join(" "),
                ":10220",
                "--web.listen-address=127.0.0.1:1 --web.listen-address=[::1]:2",
                "127.0.0.1:1 [::1]:2",
            ),
            (|f| f.web.telemetry_path.clone(), "/metrics", "--web.telemetry-path=/m", "/m"),
            (|f| f.web.systemd_socket.to_string(), "false", "--web.systemd-socket", "true"),
            (|f| f.web.max_requests.to_string(), "40", "--web.max-requests=3", "3"),
            (
                |f| format!("{:?}", f.web.config_file),
                "None",
                "--web.config.file=web.yml",
                "Some(\"web.yml\")",
            ),
            (|f| f.web.enable_lifecycle.to_string(), "false", "--web.enable-lifecycle", "true"),
            (|f| format!("{:?}", f.config.file), "None", "--config.file=a.yml", "Some(\"a.yml\")"),
            (|f| f.config.check.to_string(), "false", "--config.check", "true"),
            (|f| format!("{:?}", f.log.level), "Info", "--log.level=debug", "Debug"),
            (|f| format!("{:?}", f.log.format), "Auto", "--log.format=journald", "Journald"),
            (|f| f.version.to_string(), "false", "--version", "true"),
            (|f| format!("{:?}", f.user), "None", "--user=portscan", "Some(\"portscan\")"),
        ];
        let default = flags("");
        for (read, by_default, given, then) in rows {
            assert_eq!(read(&default), *by_default, "default of {given}");
            assert_eq!(read(&flags(given)), *then, "{given}");
        }
        // A new flag belongs in this table.
        let named: std::collections::BTreeSet<&str> = rows
            .iter()
            .flat_map(|row| row.2.split_whitespace())
            .filter_map(|word| word.strip_prefix("--"))
            .map(|word| word.split('=').next().unwrap())
            .collect();
        let mut command = command();
        command.build();
        let all = command.get_arguments().filter_map(|arg| arg.get_long()).filter(|long| *long != "help");
        for long in all {
            assert!(named.contains(long), "--{long} has no row");
        }
    }

    #[test]
    fn replay_takes_files_a_format_and_the_detection_and_publish_flags_on_either_side() {
        for words in [
            "replay a.pcap - --format json --detection.window=5s --detection.threshold 7 --publish.hold 1m",
            "--detection.window=5s --detection.threshold 7 --publish.hold 1m replay --format=json a.pcap -",
        ] {
            let flags = flags(words);
            let Some(Command::Replay(replay)) = &flags.command else { panic!("{words}: no replay") };
            assert_eq!(replay.files, [PathBuf::from("a.pcap"), PathBuf::from("-")]);
            assert_eq!(replay.format, ReportFormat::Json);
            assert_eq!(flags.detection.window, Some(Duration::from_secs(5)));
            assert_eq!(flags.detection.threshold, Some(7));
            assert_eq!(flags.publish.hold, Some(Duration::from_secs(60)));
        }
    }

    #[test]
    fn clap_finds_nothing_wrong_with_the_flags() {
        command().debug_assert();
    }
}
