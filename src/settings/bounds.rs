//! What each number may be: one row each, with its name, bounds, default, and why. The checks, `--help` and the README's table
//! are written from these rows.

use crate::detect::MOST_SLOTS;
use crate::text::units::{ByteSize, OneIn, write_duration};
use std::time::Duration;

/// The bounds of a setting, both inclusive.
#[derive(Debug)]
pub(super) struct Bound<T> {
    /// Its name; as a flag it has two dashes before it, in the file no dash (`key`).
    pub(super) name: &'static str,
    pub(super) least: T,
    pub(super) greatest: T,
    pub(super) default: T,
    /// When the default is another one; empty if never.
    pub(super) unless: &'static str,
    /// Why there are bounds, and what a smaller or greater value does.
    pub(super) why: &'static str,
    pub(super) set_by: SetBy,
}

/// Where a setting can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetBy {
    Flag,
    File,
    Both,
}

impl<T> Bound<T> {
    /// Its name in the file.
    pub(super) fn key(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// A number with a spelling.
pub(super) trait Quantity: PartialOrd + Copy {
    fn write(self) -> String;
}

impl Quantity for u32 {
    fn write(self) -> String {
        self.to_string()
    }
}

impl Quantity for ByteSize {
    fn write(self) -> String {
        self.to_string()
    }
}

impl Quantity for OneIn {
    fn write(self) -> String {
        self.to_string()
    }
}

impl Quantity for Duration {
    fn write(self) -> String {
        write_duration(self)
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) const BUFFER_SIZE: Bound<ByteSize> = Bound {
    name: "capture.buffer-size",
    least: ByteSize(1 << 20),
    greatest: ByteSize(2 << 30),
    default: ByteSize(16 << 20),
    unless: "",
    why: "for each thread of the interface at least 1MiB; a greater ring outlasts longer pauses, and is memory of the kernel",
    set_by: SetBy::Flag,
};

pub(super) const THREADS: Bound<u32> = Bound {
    name: "capture.threads",
    least: 1,
    greatest: 64,
    default: 1,
    unless: "",
    why: "one takes all that one core of the kernel delivers; more than the card has queues gain nothing",
    set_by: SetBy::Flag,
};

pub(super) const MAX_INTERFACES: Bound<u32> = Bound {
    name: "capture.max-interfaces",
    least: 1,
    greatest: 100,
    default: 4,
    unless: "",
    why: "each takes the memory of an interface from the start on; whoever makes interfaces can have no more of them captured",
    set_by: SetBy::Flag,
};

pub(super) const WINDOW: Bound<Duration> = Bound {
    name: "detection.window",
    least: SECOND,
    greatest: HOUR,
    default: Duration::from_secs(10),
    unless: "",
    why: "a longer one finds slower scans, and takes clients of many services for scanners",
    set_by: SetBy::Both,
};

pub(super) const THRESHOLD: Bound<u32> = Bound {
    name: "detection.threshold",
    least: 2,
    greatest: 65_536,
    default: 20,
    unless: "",
    why: "any client asks for one port; above 128 each source needs a block of memory",
    set_by: SetBy::Both,
};

pub(super) const SLOW_WINDOW: Bound<Duration> = Bound {
    name: "detection.slow-window",
    least: Duration::from_secs(60),
    greatest: DAY,
    default: Duration::from_secs(3600),
    unless: "",
    why: "of the slow rule, or up to three for as many slow rules (`10m,1h,24h`); longer than detection.window, and where the default is not, there is none; peaks of it stay published for as long",
    set_by: SetBy::Both,
};

pub(super) const SLOW_THRESHOLD: Bound<u32> = Bound {
    name: "detection.slow-threshold",
    least: 0,
    greatest: 65_536,
    default: 60,
    unless: "",
    why: "ports within it, or as many numbers as windows (`40,60,200`), for a longer one at least as many; 0: no slow rule; at least detection.threshold; unless it is given, three times detection.threshold where that is more than 60; a lower one takes monitoring for scanners",
    set_by: SetBy::Both,
};

pub(super) const SWEEP_WINDOW: Bound<Duration> = Bound {
    name: "detection.sweep-window",
    least: Duration::from_secs(10),
    greatest: DAY,
    default: Duration::from_secs(300),
    unless: "",
    why: "of the rule for sweeps; longer than detection.window, and where the default is not, there is none",
    set_by: SetBy::Both,
};

pub(super) const SWEEP_THRESHOLD: Bound<u32> = Bound {
    name: "detection.sweep-threshold",
    least: 0,
    greatest: 100,
    default: 25,
    unless: "",
    why: "hosts within it; 0: no rule for sweeps; sources inside of --detection.home need ten times as many, or as many of one network that do not answer",
    set_by: SetBy::Both,
};

pub(super) const BLOCK_THRESHOLD: Bound<u32> = Bound {
    name: "detection.block-threshold",
    least: 2,
    greatest: 128,
    default: 20,
    unless: "",
    why: "ports with which a sweep is a block; unless it is given, as many as detection.threshold, up to 128; they fit a short list",
    set_by: SetBy::Both,
};

pub(super) const HOP_WINDOW: Bound<Duration> = Bound {
    name: "detection.hop-window",
    least: Duration::from_secs(60),
    greatest: DAY,
    default: Duration::from_secs(600),
    unless: "",
    why: "of the rule for who changes his IPv6 /64; longer than detection.window, and where the default is not, there is none",
    set_by: SetBy::Both,
};

pub(super) const HOP_THRESHOLD: Bound<u32> = Bound {
    name: "detection.hop-threshold",
    least: 0,
    greatest: 65_536,
    default: 60,
    unless: "",
    why: "ports within it of one network, at most half of them by one source; 0: no such rule; at least detection.threshold; unless it is given, three times detection.threshold where that is more than 60",
    set_by: SetBy::Both,
};

pub(super) const HOP_PREFIX: Bound<u32> = Bound {
    name: "detection.hop-prefix",
    least: 16,
    greatest: 120,
    default: 48,
    unless: "",
    why: "bits of such a network; less than detection.ipv6_prefix, and where the default is not, there is no such rule; a shorter one takes customers of one provider together",
    set_by: SetBy::File,
};

pub(super) const DISTRIBUTED_WINDOW: Bound<Duration> = Bound {
    name: "detection.distributed-window",
    least: Duration::from_secs(10),
    greatest: HOUR,
    default: Duration::from_secs(180),
    unless: "",
    why: "of the rule for scans of one host by many; longer than detection.window, and where the default is not, there is none; a longer one takes the noise of a public address for a scan",
    set_by: SetBy::Both,
};

pub(super) const DISTRIBUTED_THRESHOLD: Bound<u32> = Bound {
    name: "detection.distributed-threshold",
    least: 0,
    greatest: MOST_SLOTS as u32,
    default: 100,
    unless: "",
    why: "ports within it of one host, each counted for one source; 0: no such rule; 0 with several threads, of which none sees all sources: asking for both is refused",
    set_by: SetBy::Both,
};

pub(super) const DISTRIBUTED_SOURCES: Bound<u32> = Bound {
    name: "detection.distributed-sources",
    least: 2,
    greatest: MOST_SLOTS as u32,
    default: 25,
    unless: "",
    why: "sources for which one of them counts or more, at most as many as ports: where the default is more, it gives way; fewer take a few busy clients for a scan",
    set_by: SetBy::File,
};

pub(super) const QUIET: Bound<Duration> = Bound {
    name: "detection.quiet",
    least: SECOND,
    greatest: DAY,
    default: Duration::from_secs(60),
    unless: "",
    why: "a shorter one makes several scans of one that pauses",
    set_by: SetBy::File,
};

pub(super) const IPV6_PREFIX: Bound<u32> = Bound {
    name: "detection.ipv6_prefix",
    least: 16,
    greatest: 128,
    default: 64,
    unless: "",
    why: "one host can send from every address of its /64; a shorter prefix takes several parties for one source",
    set_by: SetBy::File,
};

pub(super) const MEMORY: Bound<ByteSize> = Bound {
    name: "detection.memory",
    least: ByteSize(4 << 20),
    greatest: ByteSize(64 << 30),
    default: ByteSize(48 << 20),
    unless: "",
    why: "for each thread of the interface at least 4MiB; the more, the greater a flood must be before a source is given up",
    set_by: SetBy::Flag,
};

pub(super) const MAX_SOURCES: Bound<u32> = Bound {
    name: "publish.max-sources",
    least: 0,
    greatest: 10_000,
    default: 100,
    unless: "",
    why: "six series each; 0 publishes none by source",
    set_by: SetBy::Flag,
};

pub(super) const MIN_PORTS: Bound<u32> = Bound {
    name: "publish.min-ports",
    least: 2,
    greatest: 65_536,
    default: 5,
    unless: "or the threshold if that is lower",
    why: "at most the threshold, or scans are hidden; a source of one port has no place in the table",
    set_by: SetBy::Flag,
};

pub(super) const HOLD: Bound<Duration> = Bound {
    name: "publish.hold",
    least: SECOND,
    greatest: DAY,
    default: Duration::from_secs(300),
    unless: "or the window if that is longer",
    why: "at least twice the scrape interval, or scrapes miss a peak, and at least the window",
    set_by: SetBy::Flag,
};

pub(super) const SHARE: Bound<OneIn> = Bound {
    name: "fleet.share",
    least: OneIn(1),
    greatest: OneIn(65_536),
    default: OneIn(64),
    unless: "",
    why: "alike on all hosts; a greater share finds more sweeps and has more series",
    set_by: SetBy::Flag,
};

pub(super) const FLEET_MAX_SOURCES: Bound<u32> = Bound {
    name: "fleet.max-sources",
    least: 1,
    greatest: 256,
    default: 32,
    unless: "or one for each thread if those are more",
    why: "one series each; in a flood those with the least hashes have them",
    set_by: SetBy::Flag,
};

pub(super) const MAX_REQUESTS: Bound<u32> = Bound {
    name: "web.max-requests",
    least: 1,
    greatest: 10_000,
    default: 40,
    unless: "",
    why: "more scrapes at a time are refused with 503",
    set_by: SetBy::Flag,
};

/// A row in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The name, without dashes.
    pub name: &'static str,
    /// Whether a flag sets it.
    pub is_flag: bool,
    /// Whether the file sets it.
    pub is_key: bool,
    /// `1s to 1h`.
    pub bounds: String,
    /// `5m, or the window if that is longer`.
    pub default: String,
    /// Why.
    pub why: &'static str,
}

impl Row {
    fn of<T: Quantity>(bound: &Bound<T>) -> Self {
        let mut default = bound.default.write();
        if !bound.unless.is_empty() {
            default = format!("{default}, {}", bound.unless);
        }
        Self {
            name: bound.name,
            is_flag: bound.set_by != SetBy::File,
            is_key: bound.set_by != SetBy::Flag,
            bounds: format!("{} to {}", bound.least.write(), bound.greatest.write()),
            default,
            why: bound.why,
        }
    }

    /// The row as the README has it.
    pub fn markdown(&self) -> String {
        let dashes = if self.is_flag { "--" } else { "" };
        let name = if self.is_flag { self.name.to_owned() } else { self.name.replace('-', "_") };
        let Self { bounds, default, why, .. } = self;
        format!("| `{dashes}{name}` | {bounds} | {default} | {why} |")
    }
}

/// Every row, in the order of `--help`; those of the file only after their like.
pub fn rows() -> Vec<Row> {
    vec![
        Row::of(&BUFFER_SIZE),
        Row::of(&MAX_INTERFACES),
        Row::of(&THREADS),
        Row::of(&WINDOW),
        Row::of(&THRESHOLD),
        Row::of(&SLOW_WINDOW),
        Row::of(&SLOW_THRESHOLD),
        Row::of(&SWEEP_WINDOW),
        Row::of(&SWEEP_THRESHOLD),
        Row::of(&BLOCK_THRESHOLD),
        Row::of(&HOP_WINDOW),
        Row::of(&HOP_THRESHOLD),
        Row::of(&HOP_PREFIX),
        Row::of(&DISTRIBUTED_WINDOW),
        Row::of(&DISTRIBUTED_THRESHOLD),
        Row::of(&DISTRIBUTED_SOURCES),
        Row::of(&QUIET),
        Row::of(&IPV6_PREFIX),
        Row::of(&MEMORY),
        Row::of(&MAX_SOURCES),
        Row::of(&MIN_PORTS),
        Row::of(&HOLD),
        Row::of(&SHARE),
        Row::of(&FLEET_MAX_SOURCES),
        Row::of(&MAX_REQUESTS),
    ]
}
