//! The answer in words: the reason in one sentence, and what is known in lines for people.

use super::answer::{Answer, ByMany, Interface, Known, KnownRule};
use crate::detect::{self, Explanation, Ignored, Subject, Tracked};
use crate::text::printable;
use crate::text::units::write_duration;
use std::fmt::Write as _;
use std::time::Duration;

/// So many hosts are counted exactly, more are estimated (`detect::distinct::hosts`).
const EXACT_HOSTS: u32 = 7;

impl Answer {
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

fn span(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(|_| String::from("?"), write_duration)
}

fn plural(count: u32) -> String {
    if count == 1 { String::from("1 port") } else { format!("{count} ports") }
}

impl KnownRule {
    /// `60 ports within 1h`, of a network `60 ports within 10m by 2001:db8:5::/48`.
    fn words(&self) -> String {
        let by = if self.is_of_network() { format!(" by {}", self.source) } else { String::new() };
        format!("{} {} within {}{by}", self.threshold, self.counts, span(self.window_seconds))
    }

    /// `25 hosts within 5m: 3 now, 44 at most, a scan is open, last hit 2026-01-01T00:00:00Z; PortScanSweep (warning) fires`.
    fn line(&self) -> String {
        let open = if self.open_scan { ", a scan is open" } else { "" };
        let hit = self.last_hit.as_ref().map(|time| format!(", last hit {time}")).unwrap_or_default();
        let fires = self.alert.as_ref().zip(self.severity.as_ref());
        let fires =
            fires.map(|(alert, severity)| format!("; {alert} ({severity}) fires")).unwrap_or_default();
        format!("{}: {} now, {} at most{open}{hit}{fires}", self.words(), self.count, self.peak)
    }

    fn is_of_network(&self) -> bool {
        self.subject == Subject::Network(0).label()
    }
}

impl ByMany {
    /// `152 ports of 192.0.2.10 by 32 sources, since 2026-01-01T00:00:00Z; 5 count for it`.
    fn words(&self) -> String {
        let Self { host, distinct_ports, distinct_sources, started, ended, counted_ports, .. } = self;
        let until = match (ended, counted_ports) {
            (Some(ended), _) => format!(" until {ended}"),
            (None, Some(ports)) => format!("; {ports} of these count for it now"),
            (None, None) => String::new(),
        };
        format!(
            "{} of {host} by {distinct_sources} sources, from {started} on{until}",
            plural(*distinct_ports)
        )
    }
}

impl Known {
    /// What it did together with others: `; it takes part in a scan of 192.0.2.10 by many sources (PortScanDistributed)`.
    fn with_many(&self) -> String {
        let Some(one) = self.by_many.first() else { return String::new() };
        let more = if self.by_many.len() > 1 { " and in others" } else { "" };
        let (takes, alert) = match &one.ended {
            None => ("takes", ", for which PortScanDistributed fires"),
            Some(_) => ("took", ", which has ended"),
        };
        format!("; but it {takes} part in a scan of {} by many sources{alert}{more}", one.host)
    }

    /// The rules behind the first.
    fn slower(&self) -> &[KnownRule] {
        self.rules.get(1..).unwrap_or_default()
    }

    /// What slower rules count of it: `; 45 of 60 ports within 1h`.
    fn by_slower(&self) -> String {
        let counted = self.slower().iter().filter(|rule| rule.peak > 0);
        counted.map(|rule| format!("; {} of {}", rule.peak, rule.words())).collect()
    }

    /// Whether a whole network was asked for, and not a source.
    fn is_network(&self) -> bool {
        self.rules.first().is_some_and(KnownRule::is_of_network)
    }

    /// What is so of a rule that fires: `it probed 25 ports, and 20 within 10s are a scan`.
    fn scanned(rule: &KnownRule, asked: &str) -> String {
        let KnownRule { source, peak, counts, threshold, .. } = rule;
        let who = if source == asked { String::from("it") } else { format!("its network {source}") };
        let what = if counts == "hosts" { "sweep" } else { "scan" };
        let window = span(rule.window_seconds);
        format!("{who} probed {peak} {counts}, and {threshold} within {window} are a {what}")
    }

    /// What fires beside that, by other rules: `; and PortScanSweep (warning): it probed 44 hosts, and 25 within 5m are a sweep`.
    fn by_others(&self, first: Option<&KnownRule>) -> String {
        let others = self.rules.iter().filter(|rule| first.is_none_or(|first| !std::ptr::eq(*rule, first)));
        let fires = |rule: &KnownRule| {
            let (alert, severity) = (rule.alert.as_ref()?, rule.severity.as_ref()?);
            Some(format!("; and {alert} ({severity}): {}", Self::scanned(rule, &self.source)))
        };
        others.filter_map(fires).collect()
    }

    /// Why it is not as bad as that.
    fn but(&self, alert: &str, severity: &str) -> String {
        let name = self.source_name.as_deref().unwrap_or_default();
        match (alert, severity, self.alert_threshold_ports) {
            ("PortScanExpected", _, Some(ports)) => {
                format!("; but {name} has a threshold of {ports} ports (names)")
            }
            ("PortScanExpected", ..) => format!("; but {name} is muted (names)"),
            (_, "info", _) => {
                String::from("; but half of them or more answered, as a client of many services has it")
            }
            _ => String::new(),
        }
    }

    /// Its name, and what that asks of alerts.
    fn called(&self) -> Option<String> {
        let alerts = match self.alert_threshold_ports {
            Some(ports) => format!(": alerts from {ports} ports on"),
            None if self.muted => String::from(": muted, and takes no part in scans by many"),
            None => String::new(),
        };
        self.source_name.as_ref().map(|name| format!("{name}{alerts}"))
    }

    /// Whether it has series, or why not.
    fn series(&self) -> String {
        match self.publication.as_str() {
            "published" => String::from("published"),
            "below_threshold" => String::from("none: a network that hops gets series once it scans"),
            "below_min_ports" => format!("none: its peak is below --publish.min-ports ({})", self.min_ports),
            _ => format!("none: it is beyond --publish.max-sources ({})", self.max_sources),
        }
    }

    /// Whether one may act on its address.
    fn address(&self) -> Option<String> {
        let mark = match self.source_name.as_deref() {
            Some("gateway") => Some("this host's gateway: blocking it cuts the host off"),
            Some("resolver") => Some("this host's resolver: blocking it takes its names away"),
            Some("own") => Some("this host's own address"),
            _ => None,
        };
        let evidence = match self.evidence.as_deref() {
            Some("handshake") => Some("handshake: it read an answer, so it is no forgery"),
            Some(_) => {
                Some("spoofable: only probes were seen, and anybody can have sent them; do not block by it")
            }
            None => None,
        };
        let said: Vec<&str> = evidence.into_iter().chain(mark).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// What it may ask for without being counted: `; 198.51.100.7 to port 9100 does not count (ignore.pairs)`.
    fn by_pairs(&self) -> String {
        match self.ignored_pairs.as_slice() {
            [] => String::new(),
            [one] => format!("; {one} does not count (ignore.pairs)"),
            [one, ..] => format!("; {one} and more does not count (ignore.pairs)"),
        }
    }

    /// The reason in one sentence.
    pub(super) fn why(&self, explanation: &Explanation) -> String {
        format!("{}{}", self.alone(explanation), self.with_many())
    }

    /// The same of what it did by itself.
    fn alone(&self, explanation: &Explanation) -> String {
        let rule = format!("{} within {}", self.threshold, span(self.window_seconds));
        let peak = self.peak_distinct_ports;
        let fires = KnownRule::firing(&self.rules);
        match (explanation.ignored, &self.alert, &self.severity) {
            (_, Some(alert), Some(severity)) if fires.is_some_and(|rule| rule.published) => {
                let scanned = fires.map(|rule| Self::scanned(rule, &self.source)).unwrap_or_default();
                format!(
                    "{alert} ({severity}) fires: {scanned}{}{}",
                    self.but(alert, severity),
                    self.by_others(fires)
                )
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
            (Some(_), ..) if self.source_name.as_deref() == Some("own") => String::from(
                "no alert: it is the host's own address, which nothing that comes in can really have (a martian), so it points to nobody",
            ),
            (Some(_), ..) => String::from(
                "no alert: it is a martian, an address that no packet can really come from, so it points to nobody",
            ),
            _ if explanation.tracked == Tracked::No && self.by_slower().is_empty() => format!(
                "no alert: it is not tracked; within the last {} it sent no TCP SYN to a port that counts, or it was evicted \
                 (portscan_sources_evicted_total){}",
                span(self.window_seconds),
                self.by_pairs()
            ),
            _ if explanation.tracked == Tracked::Door => {
                format!(
                    "no alert: it probed one or two ports, and {rule} are a scan; the table is full, so it is on probation"
                )
            }
            _ => {
                let ports = plural(peak);
                let published =
                    if self.published { " (PortScanFleet adds up what several hosts see)" } else { "" };
                let slower = self.by_slower();
                format!(
                    "no alert: it probed {ports} at most, and {rule} are a scan{slower}{published}{}",
                    self.by_pairs()
                )
            }
        }
    }

    /// What became of its ports, by lines: how many, and which.
    fn replied(&self) -> Vec<(&'static str, String)> {
        let (Some(answered), Some(refused)) = (self.answered, self.refused) else { return Vec::new() };
        let which = |count: u32, ports: &Option<String>| match (count, ports.as_deref().unwrap_or("")) {
            (0, _) | (_, "") => count.to_string(),
            (count, ports) => format!("{count}: {ports}"),
        };
        let silent = self.silent_ports.as_deref().filter(|ports| !ports.is_empty()).unwrap_or("none");
        vec![
            ("answered", which(answered, &self.answered_ports)),
            ("refused", which(refused, &self.refused_ports)),
            ("silent", silent.to_owned()),
        ]
    }

    /// The lines for people.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let least = if self.lower_bound { "at least " } else { "" };
        let never = |time: &Option<String>| time.clone().unwrap_or_else(|| String::from("none known"));
        // The others have lines of their own.
        let by_first = if self.slower().is_empty() { "" } else { ", by the first rule" };
        let ignored = match (&self.ignored, &self.ignored_network) {
            (None, _) => String::from("no"),
            (Some(_), Some(network)) => format!("by {network} in ignore.sources"),
            (Some(reason), None) => reason.clone(),
        };
        let some = |what: &[String], between: &str| {
            let more =
                if what.len() == detect::NAMED_RANGES { format!("{between}…") } else { String::new() };
            format!("{}{more}", what.join(between))
        };
        let ports = match self.ignored_ports {
            0 => String::from("all count"),
            ignored => format!("{ignored} do not count: {}", some(&self.ignored_port_ranges, ", ")),
        };
        let mut rows = vec![
            ("counts as", self.source.clone()),
            (
                "ports",
                format!(
                    "{least}{} now, {least}{} at most within {}{by_first}",
                    self.distinct_ports,
                    self.peak_distinct_ports,
                    span(self.hold_seconds)
                ),
            ),
            ("rule", format!("{} ports within {}", self.threshold, span(self.window_seconds))),
            ("last probe", never(&self.last_probe)),
            ("last hit", never(&self.last_hit) + by_first),
            ("open scan", String::from(if self.open_scan { "yes" } else { "no" }) + by_first),
            ("tracked", self.tracked.clone() + by_first),
            ("series", self.series()),
            ("ignored", ignored),
            ("all ports", ports),
        ];
        if let Some(is_home) = self.home {
            rows.insert(1, ("home", String::from(if is_home { "inside" } else { "not inside" })));
        }
        if let Some(called) = self.called() {
            rows.insert(1, ("called", called));
        }
        rows.extend(self.address().map(|said| ("address", said)));
        // Of a network no hosts are counted.
        if !self.is_network() {
            let after_rule = 1 + rows.iter().position(|(name, _)| *name == "rule").unwrap_or(0);
            let about = if self.distinct_hosts > EXACT_HOSTS { "about " } else { "" };
            rows.insert(after_rule, ("hosts", format!("{about}{}{by_first}", self.distinct_hosts)));
        }
        if !self.ignored_pairs.is_empty() {
            rows.push(("pairs", format!("do not count: {}", some(&self.ignored_pairs, "; "))));
        }
        if !self.ignored_destinations.is_empty() {
            rows.push(("all hosts", format!("do not count: {}", some(&self.ignored_destinations, ", "))));
        }
        rows.extend(self.by_many.iter().map(|scan| ("by many", scan.words())));
        rows.extend(self.replied());
        rows.extend(self.slower().iter().map(|rule| ("slower rule", rule.line())));
        rows
    }
}
