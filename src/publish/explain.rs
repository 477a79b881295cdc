//! Why there is, or is no, alert for an address: what the captures know of it, as JSON and in words. `web` asks them, and the
//! command `explain` prints what it answers.

use crate::detect::{self, Explanation, Ignored, Tracked};
use crate::text::printable;
use crate::text::time::rfc3339;
use crate::text::units::write_duration;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::time::Duration;

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
    /// The source that the address counts for, as in the labels.
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
    /// `source`, `own` or `martian`, if its probes do not count.
    pub ignored: Option<String>,
    /// The entry of `ignore.sources` that holds it.
    pub ignored_network: Option<String>,
    /// Ports that do not count, whoever asks.
    pub ignored_ports: u32,
    /// The lowest of them: `22`, `80-82`; at most 16.
    pub ignored_port_ranges: Vec<String>,
    /// Whether it has series.
    pub published: bool,
    /// `published`, `below_min_ports`, `beyond_max_sources`.
    pub publication: String,
    /// The least peak for a series.
    pub min_ports: u32,
    /// The most sources with series.
    pub max_sources: u64,
    /// The rule of `alerts/portscan.rules.yml` that fires on what is published, if one does.
    pub alert: Option<String>,
    /// Its severity.
    pub severity: Option<String>,
}

/// What one interface knows and shows.
#[derive(Debug)]
pub struct Told<'a> {
    /// Its name.
    pub interface: &'a str,
    /// How it stands.
    pub state: &'a str,
    /// What it answered.
    pub explanation: Option<Explanation>,
    /// What it publishes.
    pub snapshot: Option<&'a detect::Snapshot>,
}

impl Answer {
    /// The answer made of what each interface told.
    pub fn of<'a>(asked: IpNet, told: impl IntoIterator<Item = Told<'a>>) -> Self {
        Self { asked: written(asked), interfaces: told.into_iter().map(Interface::of).collect() }
    }

    /// Whether any interface answered.
    pub fn is_answered(&self) -> bool {
        self.interfaces.iter().any(|interface| interface.known.is_some())
    }

    /// For people. What came over the network cannot steer a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Interface { interface, state, known, why } in &self.interfaces {
            let _ = writeln!(
                text,
                "{} on {} ({}): {}",
                printable(&self.asked),
                printable(interface),
                printable(state),
                printable(why)
            );
            let rows = known.iter().flat_map(Known::rows);
            for (name, value) in rows {
                let _ = writeln!(text, "  {name:<12}{}", printable(&value));
            }
        }
        text
    }
}

/// An address without its length.
fn written(asked: IpNet) -> String {
    if asked.prefix_len() == asked.max_prefix_len() { asked.addr().to_string() } else { asked.to_string() }
}

impl Interface {
    fn of(told: Told<'_>) -> Self {
        let Told { interface, state, explanation, snapshot } = told;
        let (interface, state) = (interface.to_owned(), state.to_owned());
        let Some(explanation) = explanation else {
            let why = String::from(
                "it did not answer in time: it starts, stands still, or was asked too much at once",
            );
            return Self { interface, state, known: None, why };
        };
        let known = Known::of(&explanation, snapshot);
        let why = known.why(&explanation);
        Self { interface, state, known: Some(known), why }
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

fn span(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(|_| String::from("?"), write_duration)
}

fn plural(count: u32) -> String {
    if count == 1 { String::from("1 port") } else { format!("{count} ports") }
}

/// The rule that fires for a peak: of two with one name, the more severe.
fn alert(
    peak: u32,
    threshold: u32,
    published: bool,
    max_sources: u64,
) -> Option<(&'static str, &'static str)> {
    match (published, peak >= threshold) {
        (_, false) => None,
        (true, true) if peak >= threshold.saturating_mul(10) => Some(("PortScanDetected", "critical")),
        (true, true) => Some(("PortScanDetected", "warning")),
        // With 0 it is as it was meant that none has series: then its hit has no explanation among the series.
        (false, true) if max_sources == 0 => Some(("PortScanUnexplained", "warning")),
        (false, true) => Some(("PortScanSourcesSuppressed", "warning")),
    }
}

impl Known {
    fn of(told: &Explanation, snapshot: Option<&detect::Snapshot>) -> Self {
        let published =
            snapshot.is_some_and(|snapshot| snapshot.sources.iter().any(|row| row.source == told.source));
        let publication = match published {
            true => "published",
            false if told.peak_distinct_ports < told.min_ports => "below_min_ports",
            false => "beyond_max_sources",
        };
        let alert = alert(told.peak_distinct_ports, told.threshold, published, told.max_sources);
        let range = |&(first, last): &(u16, u16)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        Self {
            source: told.source.to_string(),
            tracked: told.tracked.label().to_owned(),
            distinct_ports: told.distinct_ports,
            peak_distinct_ports: told.peak_distinct_ports,
            lower_bound: told.lower_bound,
            distinct_hosts: told.distinct_hosts,
            last_probe: told.last_probe.map(rfc3339),
            last_hit: told.last_hit.map(rfc3339),
            open_scan: told.open_scan,
            threshold: told.threshold,
            window_seconds: seconds(told.window_nanos),
            hold_seconds: seconds(told.hold_nanos),
            ignored: told.ignored.map(|reason| reason.label().to_owned()),
            ignored_network: told.ignored_network.map(written),
            ignored_ports: told.ignored_ports,
            ignored_port_ranges: told.ignored_ranges.iter().map(range).collect(),
            published,
            publication: publication.to_owned(),
            min_ports: told.min_ports,
            max_sources: told.max_sources,
            alert: alert.map(|(name, _)| name.to_owned()),
            severity: alert.map(|(_, severity)| severity.to_owned()),
        }
    }

    fn why(&self, told: &Explanation) -> String {
        let rule = format!("{} within {}", self.threshold, span(self.window_seconds));
        let peak = self.peak_distinct_ports;
        match (told.ignored, &self.alert, &self.severity) {
            (_, Some(alert), Some(severity)) if self.published => {
                format!("{alert} ({severity}) fires: it asked for {} ports, and {rule} are a scan", peak)
            }
            (_, Some(alert), _) if self.max_sources == 0 => {
                format!(
                    "it scanned, but no source gets series (--publish.max-sources=0); {alert} fires instead"
                )
            }
            (_, Some(alert), _) => format!(
                "it scanned, but {} sources with greater peaks have all the series (--publish.max-sources); {alert} fires",
                self.max_sources
            ),
            (Some(Ignored::Source), ..) => {
                let network = self.ignored_network.as_deref().unwrap_or("a network");
                format!("no alert: its probes do not count, {network} is in ignore.sources")
            }
            (Some(Ignored::Own), ..) => {
                String::from("no alert: the host's connections to itself do not count")
            }
            (Some(_), ..) => {
                String::from("no alert: no packet can really come from there (a martian), so it names nobody")
            }
            _ if told.tracked == Tracked::No => format!(
                "no alert: nothing is known of it; within the last {} it sent no TCP SYN to a port that counts, or its place \
                 went to others (portscan_sources_evicted_total)",
                span(self.window_seconds)
            ),
            _ if told.tracked == Tracked::Door => {
                format!(
                    "no alert: one or two ports, and {rule} are a scan; the table is crowded, so it waits for a place"
                )
            }
            _ => {
                let ports = plural(peak);
                let published =
                    if self.published { " (PortScanFleet adds up what several hosts see)" } else { "" };
                format!("no alert: it asked for {ports} at most, and {rule} are a scan{published}")
            }
        }
    }

    /// The lines for people.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let least = if self.lower_bound { "at least " } else { "" };
        let never = |time: &Option<String>| time.clone().unwrap_or_else(|| String::from("none known"));
        let publication = match self.publication.as_str() {
            "published" => String::from("published"),
            "below_min_ports" => format!("none: its peak is below --publish.min-ports ({})", self.min_ports),
            _ => format!("none: it is beyond --publish.max-sources ({})", self.max_sources),
        };
        let ignored = match (&self.ignored, &self.ignored_network) {
            (None, _) => String::from("no"),
            (Some(_), Some(network)) => format!("by {network} in ignore.sources"),
            (Some(reason), None) => reason.clone(),
        };
        let more = if self.ignored_port_ranges.len() == detect::NAMED_RANGES { ", …" } else { "" };
        let ports = match self.ignored_ports {
            0 => String::from("all count"),
            some => format!("{some} do not count: {}{more}", self.ignored_port_ranges.join(", ")),
        };
        vec![
            ("counts as", self.source.clone()),
            (
                "ports",
                format!(
                    "{least}{} now, {least}{} at most within {}",
                    self.distinct_ports,
                    self.peak_distinct_ports,
                    span(self.hold_seconds)
                ),
            ),
            ("rule", format!("{} ports within {}", self.threshold, span(self.window_seconds))),
            ("hosts", self.distinct_hosts.to_string()),
            ("last probe", never(&self.last_probe)),
            ("last hit", never(&self.last_hit)),
            ("open scan", String::from(if self.open_scan { "yes" } else { "no" })),
            ("tracked", self.tracked.clone()),
            ("series", publication),
            ("ignored", ignored),
            ("all ports", ports),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Limits, Source};
    use crate::fixture::snapshot as fixture;
    use crate::packet::Timestamp;

    fn told(peak: u32) -> Explanation {
        let limits = Limits::default();
        Explanation {
            time: Timestamp::new(1_700_000_000, 0),
            source: Source::of([198, 51, 100, 7].into(), 64),
            window_nanos: 10_000_000_000,
            threshold: 20,
            hold_nanos: limits.hold_nanos,
            min_ports: limits.min_ports,
            max_sources: limits.max_sources as u64,
            ignored: None,
            ignored_network: None,
            ignored_ports: 0,
            ignored_ranges: Vec::new(),
            tracked: if peak > 0 { Tracked::Table } else { Tracked::No },
            distinct_ports: peak / 2,
            peak_distinct_ports: peak,
            lower_bound: false,
            distinct_hosts: 1,
            last_hit: None,
            last_probe: None,
            open_scan: false,
        }
    }

    /// The answer of one interface that publishes the source, or not.
    fn answer(explanation: Explanation, published: bool) -> Interface {
        let mut snapshot = fixture::quiet("eth0").detection;
        snapshot.sources.extend(published.then_some(detect::PublishedSource {
            source: explanation.source,
            distinct_ports: 0,
            peak_distinct_ports: explanation.peak_distinct_ports,
            distinct_hosts: 1,
            last_hit: None,
            last_probe: snapshot.time,
        }));
        let snapshot = Some(&snapshot);
        Interface::of(Told {
            interface: "eth0",
            state: "capturing",
            explanation: Some(explanation),
            snapshot,
        })
    }

    #[test]
    fn each_case_has_its_reason_and_its_rule() {
        let network = "198.51.100.0/24".parse().ok();
        let ignored =
            |ignored, ignored_network| Explanation { ignored: Some(ignored), ignored_network, ..told(0) };
        let none = Explanation { max_sources: 0, ..told(25) };
        for (explanation, published, alert, publication, why) in [
            (
                told(25),
                true,
                Some("PortScanDetected warning"),
                "published",
                "PortScanDetected (warning) fires: it asked for 25 ports",
            ),
            (
                told(200),
                true,
                Some("PortScanDetected critical"),
                "published",
                "PortScanDetected (critical) fires",
            ),
            (
                told(25),
                false,
                Some("PortScanSourcesSuppressed warning"),
                "beyond_max_sources",
                "100 sources with greater peaks",
            ),
            (
                none,
                false,
                Some("PortScanUnexplained warning"),
                "beyond_max_sources",
                "--publish.max-sources=0",
            ),
            (
                told(19),
                true,
                None,
                "published",
                "it asked for 19 ports at most, and 20 within 10s are a scan (PortScanFleet",
            ),
            (
                told(1),
                false,
                None,
                "below_min_ports",
                "it asked for 1 port at most, and 20 within 10s are a scan",
            ),
            (told(0), false, None, "below_min_ports", "nothing is known of it"),
            (
                Explanation { tracked: Tracked::Door, ..told(0) },
                false,
                None,
                "below_min_ports",
                "waits for a place",
            ),
            (
                ignored(Ignored::Source, network),
                false,
                None,
                "below_min_ports",
                "198.51.100.0/24 is in ignore.sources",
            ),
            (ignored(Ignored::Own, None), false, None, "below_min_ports", "connections to itself"),
            (ignored(Ignored::Martian, None), false, None, "below_min_ports", "a martian"),
        ] {
            let Interface { known, why: said, .. } = answer(explanation, published);
            let known = known.expect("it answered");
            assert!(said.contains(why), "{said}");
            let fires =
                known.alert.zip(known.severity).map(|(alert, severity)| format!("{alert} {severity}"));
            assert_eq!((fires.as_deref(), known.publication.as_str()), (alert, publication), "{said}");
            assert_eq!(said.starts_with("no alert: "), alert.is_none(), "{said}");
        }
    }

    #[test]
    fn the_alerts_it_names_exist() {
        let rules = include_str!("../../alerts/portscan.rules.yml");
        for name in ["PortScanDetected", "PortScanUnexplained", "PortScanSourcesSuppressed", "PortScanFleet"]
        {
            assert!(rules.contains(&format!("- alert: {name}\n")), "{name}");
        }
        let wide = "group_left () (10 * portscan_threshold_ports)";
        assert!(rules.contains(wide), "ten times the threshold is critical");
    }

    #[test]
    fn one_that_does_not_answer_says_so() {
        let silent = Told { interface: "eth1", state: "stalled", explanation: None, snapshot: None };
        let answer = Answer::of("198.51.100.7/32".parse().expect("a network"), [silent]);
        assert!(!answer.is_answered());
        assert!(answer.text().starts_with("198.51.100.7 on eth1 (stalled): it did not answer in time"));
    }

    #[test]
    fn the_text_tells_all_and_steers_no_terminal() {
        let ignored_ranges = vec![(22, 22), (80, 82)];
        let mut interface = answer(Explanation { ignored_ports: 4, ignored_ranges, ..told(8) }, true);
        interface.interface = String::from("et\u{1b}[2Jh0");
        let text = Answer { asked: String::from("198.51.100.7"), interfaces: vec![interface] }.text();
        assert!(!text.contains('\u{1b}'), "{text}");
        for line in [
            "ports       4 now, 8 at most within 5m\n",
            "all ports   4 do not count: 22, 80-82\n",
            "series      published\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
