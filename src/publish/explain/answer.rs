//! The answer as JSON: what `web` writes, and the command `explain` reads.

use serde::{Deserialize, Serialize};

/// The answer to a question, over all interfaces. Fields may be added, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The address or network that was asked for.
    pub asked: String,
    /// One for each interface, in the order of the flags.
    pub interfaces: Vec<Interface>,
}

/// What one interface answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub interface: String,
    /// Whether it captures: `capturing`, `starting`, `down`, `stalled`.
    pub state: String,
    /// What it knows; `null` if it did not answer in time.
    pub known: Option<Known>,
    /// The reason in one sentence.
    pub why: String,
}

/// What a capture knows of a source, and by which rule it judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The source that the address counts for, as in the labels; or the network that was asked for, if a rule judges networks of this
    /// length. Then the numbers that follow are of that rule, else of the first.
    pub source: String,
    /// `table`, `door` (one or two ports, while the table is crowded), `peak` (it lost its place, its peak was kept), `no`.
    pub tracked: String,
    /// Distinct ports within the window, now.
    pub distinct_ports: u32,
    /// The greatest count within the hold.
    pub peak_distinct_ports: u32,
    /// Whether there may have been more, because memory was short.
    pub lower_bound: bool,
    /// Distinct hosts in its latest run of probes.
    pub distinct_hosts: u32,
    /// RFC 3339.
    pub last_probe: Option<String>,
    /// RFC 3339; as long as its peak is held.
    pub last_hit: Option<String>,
    /// Whether a scan is open.
    pub open_scan: bool,
    /// The rule: so many ports …
    pub threshold: u32,
    /// … within so long.
    pub window_seconds: f64,
    /// How long a peak is published.
    pub hold_seconds: f64,
    /// What the configuration calls it, else `gateway`, `resolver` or `own`.
    #[serde(default)]
    pub source_name: Option<String>,
    /// From how many ports on alerts are for it, where its name has a threshold of its own.
    #[serde(default)]
    pub alert_threshold_ports: Option<u32>,
    /// Whether its name is muted.
    #[serde(default)]
    pub muted: bool,
    /// `spoofable` or `handshake`, as long as its peak is kept.
    #[serde(default)]
    pub evidence: Option<String>,
    /// Whether it is inside (`--detection.home`), all of it; `null` where nobody said what is.
    #[serde(default)]
    pub home: Option<bool>,
    /// `source`, `own` or `martian`, if its probes do not count.
    pub ignored: Option<String>,
    /// The entry of `ignore.sources` that holds it.
    pub ignored_network: Option<String>,
    /// Ports that do not count, whoever asks.
    pub ignored_ports: u32,
    /// The lowest of them: `22`, `80-82`; at most 16.
    pub ignored_port_ranges: Vec<String>,
    /// Entries of `ignore.pairs` that are about it or a part of it: `198.51.100.7 to ports 9100-9110`; at most 16.
    #[serde(default)]
    pub ignored_pairs: Vec<String>,
    /// Entries of `ignore.destinations`; at most 16.
    #[serde(default)]
    pub ignored_destinations: Vec<String>,
    /// Ports that count now, or belong to its open scan, from which a SYN-ACK came, as ranges; where replies are looked for.
    #[serde(default)]
    pub answered_ports: Option<String>,
    /// Those from which only a RST came.
    #[serde(default)]
    pub refused_ports: Option<String>,
    /// Those from which nothing came.
    #[serde(default)]
    pub silent_ports: Option<String>,
    /// How many answered.
    #[serde(default)]
    pub answered: Option<u32>,
    /// How many refused.
    #[serde(default)]
    pub refused: Option<u32>,
    /// Whether it has series.
    pub published: bool,
    /// `published`, `below_min_ports`, `below_threshold` (a network that hops gets series once it scans), `beyond_max_sources`.
    pub publication: String,
    /// The least peak for a series.
    pub min_ports: u32,
    /// The most sources with series.
    pub max_sources: u64,
    /// The rule of `alerts/portscan.rules.yml` that fires on what is published, if one does.
    pub alert: Option<String>,
    /// Its severity.
    pub severity: Option<String>,
    /// What each rule that judges it knows, the first one too. (An exporter of an older version does not tell.)
    #[serde(default)]
    pub rules: Vec<KnownRule>,
    /// Scans by many in which it took part, as far as that is known: those that are open first, at most 16 of them.
    #[serde(default)]
    pub by_many: Vec<ByMany>,
}

/// A scan by many, in which a source took part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ByMany {
    /// The scan, as in its records.
    pub scan: String,
    /// The host that was scanned.
    pub host: String,
    /// How many of its ports.
    pub distinct_ports: u32,
    /// By how many sources, about.
    pub distinct_sources: u32,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339; `null` as long as it is open.
    pub ended: Option<String>,
    /// How many ports count for the source asked for, now; `null` of a scan that has ended.
    pub counted_ports: Option<u32>,
}

/// What one rule knows of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownRule {
    /// Whose counts it judges: `source`, or `network` of IPv6.
    #[serde(default)]
    pub subject: String,
    /// The source that the address counts for by this rule, as in the labels.
    pub source: String,
    /// So many …
    pub threshold: u32,
    /// … `ports` or `hosts` …
    pub counts: String,
    /// … within so long.
    pub window_seconds: f64,
    /// As above, by this rule.
    pub tracked: String,
    /// How many count now.
    pub count: u32,
    /// The greatest count that is kept.
    pub peak: u32,
    /// Whether a scan is open.
    pub open_scan: bool,
    /// RFC 3339; as long as its peak is kept.
    pub last_hit: Option<String>,
    /// Whether it has series by this rule.
    pub published: bool,
    /// Ports that answered, as its series has them; where replies are looked for.
    #[serde(default)]
    pub answered_ports: Option<u32>,
    /// Ports that were long without an answer.
    #[serde(default)]
    pub peak_unanswered_ports: Option<u32>,
    /// The rule of `alerts/portscan.rules.yml` that fires on them, if one does.
    pub alert: Option<String>,
    /// Its severity.
    pub severity: Option<String>,
}

impl Answer {
    /// Whether any interface answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.interfaces.iter().any(|interface| interface.known.is_some())
    }
}
