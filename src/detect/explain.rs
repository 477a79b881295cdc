//! What a detector knows of one source, for an operator who asks why there is an alert, or none. It only reads, and costs
//! some microseconds: a lookup in the directory, the list of ignored networks, and the retired peaks.

use crate::detect::ignore::Pair;
use crate::detect::names::{Alerts, Name};
use crate::detect::rule::{Limits, Policy, Subject};
use crate::detect::scan::{Grade, Replies, Scan, Source};
use crate::detect::snapshot::Ignored;
use crate::detect::table::Found;
use crate::detect::time::timeline::Timeline;
use crate::detect::tracker::Tracker;
use crate::detect::tuning::NAMED_RANGES;
use crate::packet::Timestamp;
use ipnet::IpNet;

/// Where a source is tracked. Ordered by how much is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tracked {
    /// Nowhere.
    No,
    /// On probation: one or two ports, as long as the table is crowded.
    Door,
    /// It lost its place, and only its peak was kept.
    Peak,
    /// In the table.
    Table,
}

impl Tracked {
    /// The word in answers.
    pub const fn label(self) -> &'static str {
        match self {
            Tracked::No => "no",
            Tracked::Door => "door",
            Tracked::Peak => "peak",
            Tracked::Table => "table",
        }
    }
}

/// What a slower rule knows of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByRule {
    /// Whose counts it judges.
    pub subject: Subject,
    /// The window, in nanoseconds.
    pub window_nanos: u64,
    /// The threshold, of what it counts.
    pub threshold: u32,
    /// Whether that is hosts, not ports.
    pub counts_hosts: bool,
    /// The source that the address counts for, by this rule.
    pub source: Source,
    /// Where the source is.
    pub tracked: Tracked,
    /// How many count, now.
    pub count: u32,
    /// The greatest count reached within the hold, or within the window if that is longer.
    pub peak: u32,
    /// Whether a scan is open.
    pub open_scan: bool,
    /// Its latest hit, as long as the peak that came with it is kept.
    pub last_hit: Option<Timestamp>,
    /// Whether it proved to be at its address, as far as this rule knows.
    pub evidence: Option<Grade>,
}

impl ByRule {
    /// What a tracker knows, as of the latest tick.
    pub(super) fn of(source: Source, tracker: &Tracker, timeline: &Timeline) -> Self {
        let rule = tracker.rule();
        let source = tracker.source(source.address);
        let candidate = tracker.candidate(source);
        let mut rows = tracker.rows_of(source).map(|at| tracker.row(at)).peekable();
        let tracked = match (rows.peek(), &candidate) {
            (Some(_), _) => Tracked::Table,
            (None, Some(_)) => Tracked::Peak,
            (None, None) if tracker.places(source).any(|place| place == Found::Probation) => Tracked::Door,
            (None, None) => Tracked::No,
        };
        Self {
            subject: rule.subject,
            window_nanos: rule.window_nanos,
            threshold: rule.threshold(),
            counts_hosts: rule.counts_peers(),
            source,
            tracked,
            open_scan: rows.any(|row| row.episode.is_open()),
            count: candidate.map_or(0, |candidate| candidate.ports),
            peak: candidate.map_or(0, |candidate| candidate.peak.max(candidate.ports)),
            last_hit: candidate.and_then(|candidate| candidate.last_hit).map(|at| timeline.to_capture(at)),
            evidence: candidate.map(|candidate| candidate.evidence),
        }
    }

    /// Takes in what another detector knows by the same rule.
    fn merge(&mut self, other: &Self) {
        self.tracked = self.tracked.max(other.tracked);
        self.count = self.count.max(other.count);
        self.peak = self.peak.max(other.peak);
        self.open_scan |= other.open_scan;
        self.last_hit = self.last_hit.max(other.last_hit);
        self.evidence = self.evidence.max(other.evidence);
    }
}

/// What a detector knows of one source, and by which rules it judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The detector's time.
    pub time: Timestamp,
    /// The source that the address counts for; or the network that was asked for, if a rule judges networks of this length.
    pub source: Source,
    /// Whose counts the rule judges that the next fields are of: the first rule, or that of the network.
    pub subject: Subject,
    /// The window, in nanoseconds.
    pub window_nanos: u64,
    /// The threshold.
    pub threshold: u32,
    /// How long a peak stays published, in nanoseconds.
    pub hold_nanos: u64,
    /// The least peak that earns a series.
    pub min_ports: u32,
    /// The most sources that get a series.
    pub max_sources: u64,
    /// What it is called.
    pub name: Option<Name>,
    /// What its name asks of alerts.
    pub alerts: Option<Alerts>,
    /// Whether it proved to be at its address, as long as its peak is kept; `None` if nothing is known of it.
    pub evidence: Option<Grade>,
    /// Whether it is inside, all of it; `None` if nobody said what is.
    pub is_home: Option<bool>,
    /// Why its probes do not count, if none does.
    pub ignored: Option<Ignored>,
    /// The network of the policy that ignores it.
    pub ignored_network: Option<IpNet>,
    /// How many ports are ignored, for all sources.
    pub ignored_ports: u32,
    /// The lowest of them as ranges, at most `NAMED_RANGES`.
    pub ignored_ranges: Vec<(u16, u16)>,
    /// What it may ask for without being counted, or a part of it may; at most `NAMED_RANGES`.
    pub ignored_pairs: Vec<Pair>,
    /// Hosts and networks of which anybody may ask without being counted; at most `NAMED_RANGES`.
    pub ignored_destinations: Vec<IpNet>,
    /// Where it is.
    pub tracked: Tracked,
    /// Distinct ports within the window, now; unknown on probation, and 0 then.
    pub distinct_ports: u32,
    /// The greatest count reached within the hold.
    pub peak_distinct_ports: u32,
    /// Whether memory was short, so that there may have been more ports.
    pub lower_bound: bool,
    /// Distinct hosts asked in its latest run of probes.
    pub distinct_hosts: u32,
    /// Its latest hit, as long as the peak that came with it is within the hold.
    pub last_hit: Option<Timestamp>,
    /// Its latest probe.
    pub last_probe: Option<Timestamp>,
    /// Whether a scan is open.
    pub open_scan: bool,
    /// What became of its ports that count now or belong to its open scan, by SYN; where replies are looked for.
    pub replies: Option<Replies>,
    /// The same by each slower rule that judges it, the faster before the slower.
    pub slower: Vec<ByRule>,
    /// The open scans by many in which it takes part, and how many ports count for it there now; at most `NAMED_RANGES`.
    pub by_many: Vec<(Scan, u32)>,
}

impl Explanation {
    /// Takes in what another detector knows that shares the sources of one capture: each source meets one of them, so the
    /// one that knows more is right, and both are where a reload had them share in another way.
    pub fn merge(&mut self, other: &Self) {
        // For a moment after a reload, one may have other slower rules.
        for (rule, other) in self.slower.iter_mut().zip(&other.slower) {
            if (rule.window_nanos, rule.counts_hosts) == (other.window_nanos, other.counts_hosts) {
                rule.merge(other);
            }
        }
        if other.tracked > self.tracked {
            let (peak, slower) = (self.peak_distinct_ports, std::mem::take(&mut self.slower));
            *self = Self { time: self.time.min(other.time), slower, ..other.clone() };
            self.peak_distinct_ports = self.peak_distinct_ports.max(peak);
            return;
        }
        self.time = self.time.min(other.time);
        self.distinct_ports = self.distinct_ports.max(other.distinct_ports);
        self.peak_distinct_ports = self.peak_distinct_ports.max(other.peak_distinct_ports);
        self.lower_bound |= other.lower_bound;
        self.distinct_hosts = self.distinct_hosts.max(other.distinct_hosts);
        self.last_hit = self.last_hit.max(other.last_hit);
        self.last_probe = self.last_probe.max(other.last_probe);
        self.open_scan |= other.open_scan;
        self.replies = self.replies.or(other.replies);
        self.evidence = self.evidence.max(other.evidence);
    }
}

/// What a tracker knows of an address, or of an IPv6 network, as of the latest tick.
pub(super) fn explain(
    asked: IpNet,
    policy: &Policy,
    limits: &Limits,
    tracker: &Tracker,
    timeline: &Timeline,
) -> Explanation {
    let mut explanation = untracked(asked, policy, limits, tracker, timeline);
    for (at, row) in tracker.rows_of(explanation.source).map(|at| (at, tracker.row(at))) {
        explanation.replies = explanation.replies.or(tracker.replies(at));
        explanation.tracked = Tracked::Table;
        explanation.lower_bound |= row.ports.is_lower_bound();
        explanation.open_scan |= row.episode.is_open();
    }
    let Some(candidate) = tracker.candidate(explanation.source) else {
        if tracker.places(explanation.source).any(|place| place == Found::Probation) {
            explanation.tracked = Tracked::Door;
        }
        return explanation;
    };
    explanation.tracked = explanation.tracked.max(Tracked::Peak);
    explanation.distinct_ports = candidate.ports;
    // A peak of one port is not kept.
    explanation.peak_distinct_ports = candidate.peak.max(candidate.ports);
    explanation.distinct_hosts = candidate.hosts;
    explanation.last_hit = candidate.last_hit.map(|at| timeline.to_capture(at));
    explanation.last_probe = Some(timeline.to_capture(candidate.last_probe));
    explanation.evidence = Some(candidate.evidence);
    explanation
}

/// What is known of a source that is not tracked: by which rule it would be judged.
fn untracked(
    asked: IpNet,
    policy: &Policy,
    limits: &Limits,
    tracker: &Tracker,
    timeline: &Timeline,
) -> Explanation {
    let ignored_network = policy.ignored_sources.holding(asked);
    let (rule, source) = (tracker.rule(), tracker.source(asked.addr()));
    let name = policy.names.of(source.network());
    Explanation {
        time: timeline.to_capture(timeline.now()),
        source,
        subject: rule.subject,
        window_nanos: rule.window_nanos,
        threshold: rule.threshold(),
        hold_nanos: limits.hold_nanos,
        min_ports: limits.min_ports,
        max_sources: limits.max_sources as u64,
        name,
        alerts: name.and_then(|name| policy.names.alerts(name)),
        evidence: None,
        is_home: (!policy.home.is_empty()).then(|| policy.home.holding(asked).is_some()),
        ignored: ignored_network.map(|_| Ignored::Source),
        ignored_network,
        ignored_ports: distinct(policy),
        ignored_ranges: lowest_ranges(policy),
        ignored_pairs: policy.ignored_pairs.of(asked).take(NAMED_RANGES).copied().collect(),
        ignored_destinations: policy.ignored_destinations.iter().take(NAMED_RANGES).copied().collect(),
        tracked: Tracked::No,
        distinct_ports: 0,
        peak_distinct_ports: 0,
        lower_bound: false,
        distinct_hosts: 0,
        last_hit: None,
        last_probe: None,
        open_scan: false,
        replies: None,
        slower: Vec::new(),
        by_many: Vec::new(),
    }
}

/// The policy's ports are sorted, and may be there twice.
fn distinct(policy: &Policy) -> u32 {
    policy.ignored_ports.chunk_by(|one, other| one == other).count() as u32
}

fn lowest_ranges(policy: &Policy) -> Vec<(u16, u16)> {
    let runs = policy.ignored_ports.chunk_by(|one, other| other - one <= 1);
    let ends = runs.filter_map(|run| Some((*run.first()?, *run.last()?)));
    ends.take(NAMED_RANGES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Detector, Limits, Networks, Origin, PairTo, Pairs, Probe, Technique};

    fn asked(text: &str) -> IpNet {
        text.parse().unwrap_or_else(|_| IpNet::from(text.parse::<std::net::IpAddr>().expect("an address")))
    }

    fn policy() -> Policy {
        Policy {
            ignored_sources: Networks::new(&[asked("192.0.2.0/24"), asked("2001:db8:1::/48")]),
            ignored_ports: vec![22, 80, 81, 82, 82, 443],
            ..Policy::default()
        }
    }

    /// Twenty-five ports of 198.51.100.7, seven of .8, two of an IPv6 host, at second 1000.
    fn detector(limits: Limits) -> Detector {
        let mut detector = Detector::new(policy(), limits, 7, Origin::Live);
        let mut events = |_| {};
        for (source, ports) in [("198.51.100.7", 25), ("198.51.100.8", 7), ("2001:db8:2::7", 2)] {
            for port in 1000..1000 + ports {
                let probe = Probe {
                    time: Timestamp::new(1000, 0),
                    source: source.parse().expect("an address"),
                    host: "192.0.2.10".parse().expect("an address"),
                    port,
                    technique: Technique::Syn,
                    tool: Default::default(),
                    signature: Default::default(),
                    reply: None,
                };
                detector.observe(&[probe], &mut events);
            }
        }
        detector.advance(Timestamp::new(1001, 0), &mut events);
        detector
    }

    #[test]
    fn it_tells_what_is_published_and_what_is_not() {
        let detector = detector(Limits { memory_bytes: 4 << 20, ..Limits::default() });
        let told = |text| {
            let told = detector.explain(asked(text));
            (told.tracked, told.distinct_ports, told.peak_distinct_ports, told.open_scan)
        };
        assert_eq!(told("198.51.100.7"), (Tracked::Table, 25, 25, true));
        assert_eq!(told("198.51.100.8"), (Tracked::Table, 7, 7, false));
        assert_eq!(told("2001:db8:2::ffff"), (Tracked::Table, 2, 2, false), "its /64");
        assert_eq!(told("2001:db8:2::/64"), (Tracked::Table, 2, 2, false));
        assert_eq!(told("198.51.100.9"), (Tracked::No, 0, 0, false));
        for row in detector.snapshot().sources {
            let told = detector.explain(row.source.address.into());
            let shown = (told.source, told.distinct_ports, told.peak_distinct_ports, told.last_probe);
            let published = (row.source, row.distinct_ports, row.peak_distinct_ports, Some(row.last_probe));
            assert_eq!((shown, told.last_hit), (published, row.last_hit), "what the series say");
        }
    }

    /// Who stays below the first threshold is counted by the slow rule all the same, and who swept by the rule for sweeps.
    #[test]
    fn it_tells_what_each_rule_knows() {
        let policy = Policy { slower: Policy::standard().slower, ..policy() };
        let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
        let mut detector = Detector::new(policy, limits, 7, Origin::Live);
        let mut events = |_| {};
        let mut probe = Probe {
            time: Timestamp::new(1000, 0),
            source: [198, 51, 100, 7].into(),
            host: [192, 0, 2, 1].into(),
            port: 1000,
            technique: Technique::Syn,
            tool: Default::default(),
            signature: Default::default(),
            reply: None,
        };
        for n in 1..=30 {
            probe.port += 1;
            probe.time = Timestamp::new(1000 + n, 0);
            detector.observe(&[probe], &mut events);
        }
        for n in 1..=30 {
            let sweep = Probe { source: [198, 51, 100, 8].into(), host: [192, 0, 2, n].into(), ..probe };
            detector.observe(&[sweep], &mut events);
        }
        detector.advance(Timestamp::new(1031, 0), &mut events);
        let told = |text| {
            let by_rule = |rule: ByRule| (rule.counts_hosts, rule.tracked, rule.count, rule.open_scan);
            detector.explain(asked(text)).slower.into_iter().map(by_rule).collect::<Vec<_>>()
        };
        let (hosts, ports) =
            (|count, open| (true, Tracked::Table, count, open), (false, Tracked::Table, 30, false));
        let none = (false, Tracked::No, 0, false);
        assert_eq!(told("198.51.100.7"), [hosts(1, false), ports], "IPv4 does not hop");
        assert_eq!(told("198.51.100.8"), [hosts(30, true), none]);
        assert_eq!(told("198.51.100.9"), [(true, Tracked::No, 0, false), none]);
        assert_eq!(told("2001:db8::7").len(), 3, "IPv6 may");
        assert_eq!(told("2002:c000:201::7").len(), 2, "a 6to4 host is one party");
    }

    /// Who changes his /64 with each probe is known as the /48, which the alert names; and from each /64 of it one finds it.
    #[test]
    fn a_network_that_hops_is_known_by_its_own_name() {
        let policy = Policy { slower: Policy::standard().slower, ..policy() };
        let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
        let mut detector = Detector::new(policy, limits, 7, Origin::Live);
        let mut events = |_| {};
        for n in 1..=70_u16 {
            let probe = Probe {
                time: Timestamp::new(1000 + u64::from(n), 0),
                source: std::net::Ipv6Addr::new(0x2001, 0xdb8, 5, n, 0, 0, 0, 7).into(),
                host: "2001:db8:1::10".parse().expect("an address"),
                port: 1000 + n,
                technique: Technique::Syn,
                tool: Default::default(),
                signature: Default::default(),
                reply: None,
            };
            detector.observe(&[probe], &mut events);
        }
        detector.advance(Timestamp::new(1071, 0), &mut events);
        let network = detector.explain(asked("2001:db8:5::/48"));
        let rule = (network.subject, network.threshold, network.window_nanos);
        assert_eq!(rule, (Subject::Network(48), 60, 600_000_000_000));
        assert_eq!((network.source.to_string().as_str(), network.distinct_ports), ("2001:db8:5::/48", 70));
        assert!(network.open_scan && network.slower.is_empty());
        let part = detector.explain(asked("2001:db8:5:3::/64"));
        assert_eq!((part.source.to_string().as_str(), part.subject), ("2001:db8:5:3::/64", Subject::Source));
        let hop = part.slower.iter().find(|rule| rule.subject == Subject::Network(48));
        let hop = hop.map(|rule| (rule.source, rule.count, rule.open_scan));
        assert_eq!(hop, Some((network.source, 70, true)));
        // A length that no rule judges: its first source.
        assert_eq!(detector.explain(asked("2001:db8:5::/47")).source.prefix, 64);
    }

    #[test]
    fn it_names_the_pairs_of_a_source_and_the_hosts_that_are_ignored() {
        let pair = |source, to| Pair { source: asked(source), to };
        let pairs = vec![
            pair("198.51.100.7", PairTo::Ports(9100, 9110)),
            pair("198.51.100.0/24", PairTo::Hosts(asked("192.0.2.5"))),
            pair("203.0.113.1", PairTo::Ports(22, 22)),
        ];
        let ignored_destinations = Networks::new(&[asked("192.0.2.128/25")]);
        let policy = Policy { ignored_pairs: Pairs::new(pairs), ignored_destinations, ..policy() };
        let detector =
            Detector::new(policy, Limits { memory_bytes: 4 << 20, ..Limits::default() }, 7, Origin::Live);
        let told = detector.explain(asked("198.51.100.7"));
        let pairs: Vec<_> = told.ignored_pairs.iter().map(ToString::to_string).collect();
        assert_eq!(pairs, ["198.51.100.0/24 to 192.0.2.5", "198.51.100.7 to ports 9100-9110"]);
        assert_eq!(told.ignored_destinations, [asked("192.0.2.128/25")]);
    }

    #[test]
    fn it_names_the_network_and_the_ports_that_are_ignored() {
        let detector = detector(Limits { memory_bytes: 4 << 20, ..Limits::default() });
        let network = |text| detector.explain(asked(text)).ignored_network;
        assert_eq!(network("192.0.2.200"), Some(asked("192.0.2.0/24")));
        assert_eq!(network("2001:db8:1:5::1"), Some(asked("2001:db8:1::/48")));
        assert_eq!(network("2001:db8:1:5::/64"), Some(asked("2001:db8:1::/48")));
        assert_eq!(network("198.51.100.7"), None);
        let told = detector.explain(asked("198.51.100.7"));
        assert_eq!((told.ignored_ports, told.ignored_ranges), (5, vec![(22, 22), (80, 82), (443, 443)]));
    }

    /// On a gateway thresholds depend on it. A network that is inside in part is not.
    #[test]
    fn it_says_what_is_inside_where_the_operator_did() {
        let detector = |home| {
            let policy = Policy { home, ..policy() };
            Detector::new(policy, Limits { memory_bytes: 4 << 20, ..Limits::default() }, 7, Origin::Live)
        };
        let some = detector(Networks::new(&[asked("10.0.0.0/8"), asked("2001:db8:2::/48")]));
        for (text, is_home) in [
            ("10.1.2.3", true),
            ("198.51.100.7", false),
            ("2001:db8:2::7", true),
            ("2001:db8:2:5::/64", true),
            ("2001:db8:2::/47", false),
            ("2001:db8:3::7", false),
        ] {
            assert_eq!(some.explain(asked(text)).is_home, Some(is_home), "{text}");
        }
        assert_eq!(detector(Networks::default()).explain(asked("10.1.2.3")).is_home, None);
    }

    /// An operator can write a long list; the answer stays short.
    #[test]
    fn of_many_ignored_ports_few_are_named() {
        let ignored_ports: Vec<u16> = (0..=u16::MAX).step_by(2).collect();
        let policy = Policy { ignored_ports, ..Policy::default() };
        let told = (distinct(&policy), lowest_ranges(&policy));
        assert_eq!((told.0, told.1.len(), told.1.last()), (32_768, NAMED_RANGES, Some(&(30, 30))));
    }

    #[test]
    fn of_two_threads_the_one_that_met_the_source_is_right() {
        let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
        let idle = Detector::new(policy(), limits, 8, Origin::Live);
        for other in [("198.51.100.7", 25), ("198.51.100.9", 0)] {
            let (met, not) = (detector(limits).explain(asked(other.0)), idle.explain(asked(other.0)));
            let (mut one, mut two) = (met.clone(), not.clone());
            one.merge(&not);
            two.merge(&met);
            assert_eq!(one, two, "in whichever order");
            assert_eq!(one.distinct_ports, other.1);
        }
    }
}
