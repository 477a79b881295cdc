//! Why there is, or is no, alert for an address: what the captures know of it, as JSON (`answer`) and in words (`words`).

mod alert;
mod answer;
mod words;

pub use answer::{Answer, ByMany, Interface, Known, KnownRule};

use crate::detect::{self, Alerts, ByRule, Explanation, Scan, Subject};
use crate::text::time::rfc3339;
use ipnet::IpNet;
use std::time::Duration;

/// What one interface knows and shows.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Its name.
    pub interface: &'a str,
    /// How it stands.
    pub state: &'a str,
    /// What it answered.
    pub explanation: Option<Explanation>,
    /// What it publishes.
    pub snapshot: Option<&'a detect::Snapshot>,
    /// Scans by many there that have ended and name the source among their sample, the latest first.
    pub by_many: Vec<Scan>,
}

impl Answer {
    /// The answer made of the reply of each interface.
    pub fn of<'a>(asked: IpNet, replies: impl IntoIterator<Item = Reply<'a>>) -> Self {
        Self { asked: written(asked), interfaces: replies.into_iter().map(Interface::of).collect() }
    }
}

/// An address without its length.
fn written(asked: IpNet) -> String {
    if asked.prefix_len() == asked.max_prefix_len() { asked.addr().to_string() } else { asked.to_string() }
}

impl Interface {
    fn of(reply: Reply<'_>) -> Self {
        let Reply { interface, state, explanation, snapshot, by_many } = reply;
        let (interface, state) = (interface.to_owned(), state.to_owned());
        let Some(explanation) = explanation else {
            let why = String::from(
                "its capture did not answer in time: it is starting, has stalled, or got too many questions at once",
            );
            return Self { interface, state, known: None, why };
        };
        let mut known = Known::of(&explanation, snapshot);
        known.by_many.extend(by_many.iter().map(|scan| ByMany::of(scan, None)));
        known.by_many.truncate(detect::NAMED_RANGES);
        let why = captured(state.as_str(), known.why(&explanation));
        Self { interface, state, known: Some(known), why }
    }
}

/// Where nothing is captured, that is the first reason why there is no alert.
fn captured(state: &str, why: String) -> String {
    let stands = match state {
        "starting" => "it does not capture yet",
        "down" => "nothing is captured on it now: it is missing, down or without carrier",
        "stalled" => "its capture stands still",
        _ => return why,
    };
    match why.strip_prefix("no alert: ") {
        Some(rest) => format!("no alert: {stands}; before that: {rest}"),
        None => why,
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

impl KnownRule {
    fn of(rule: &ByRule, explanation: &Explanation, snapshot: Option<&detect::Snapshot>) -> Self {
        let is_it = |shown: &&detect::Snapshot| {
            let shown = (shown.subject, shown.window_nanos, shown.counts_hosts());
            shown == (rule.subject, rule.window_nanos, rule.counts_hosts)
        };
        let shown = snapshot.and_then(|snapshot| snapshot.rules().find(is_it));
        let row = shown.and_then(|shown| shown.sources.iter().find(|row| row.source == rule.source));
        let fires = alert::of(rule, row, explanation.alerts, explanation.max_sources);
        Self {
            subject: rule.subject.label().to_owned(),
            source: rule.source.to_string(),
            threshold: rule.threshold,
            counts: String::from(if rule.counts_hosts { "hosts" } else { "ports" }),
            window_seconds: seconds(rule.window_nanos),
            tracked: rule.tracked.label().to_owned(),
            count: rule.count,
            peak: rule.peak,
            open_scan: rule.open_scan,
            last_hit: rule.last_hit.map(rfc3339),
            published: row.is_some(),
            answered_ports: row.and_then(|row| row.answered_ports),
            peak_unanswered_ports: row.and_then(|row| row.peak_unanswered_ports),
            alert: fires.map(|(name, _)| name.to_owned()),
            severity: fires.map(|(_, severity)| severity.to_owned()),
        }
    }

    /// The one of which the alert is most severe, of equals the fastest.
    fn firing(rules: &[Self]) -> Option<&Self> {
        let how_bad = |rule: &&Self| {
            let severity = rule.severity.as_deref();
            ["info", "warning", "critical"].iter().position(|&known| Some(known) == severity)
        };
        rules.iter().rev().filter(|rule| rule.alert.is_some()).max_by_key(how_bad)
    }

    /// All rules of a detector, the first one too.
    fn all(explanation: &Explanation, snapshot: Option<&detect::Snapshot>) -> Vec<Self> {
        let first = ByRule {
            subject: explanation.subject,
            window_nanos: explanation.window_nanos,
            threshold: explanation.threshold,
            counts_hosts: false,
            source: explanation.source,
            tracked: explanation.tracked,
            count: explanation.distinct_ports,
            peak: explanation.peak_distinct_ports,
            open_scan: explanation.open_scan,
            last_hit: explanation.last_hit,
            evidence: explanation.evidence,
        };
        let all = std::iter::once(&first).chain(&explanation.slower);
        all.map(|rule| Self::of(rule, explanation, snapshot)).collect()
    }
}

impl Known {
    fn of(explanation: &Explanation, snapshot: Option<&detect::Snapshot>) -> Self {
        let rules = KnownRule::all(explanation, snapshot);
        let published = rules.iter().any(|rule| rule.published);
        let fires = KnownRule::firing(&rules);
        let (alert, severity) =
            fires.map_or((None, None), |rule| (rule.alert.clone(), rule.severity.clone()));
        let peak = explanation.peak_distinct_ports;
        let publication = match published {
            true => "published",
            false if alert.is_none() && explanation.subject != Subject::Source => "below_threshold",
            false if alert.is_none() && peak < explanation.min_ports => "below_min_ports",
            false => "beyond_max_sources",
        };
        let replies = explanation.replies.as_ref();
        let by_rules = explanation.slower.iter().map(|rule| rule.evidence);
        let evidence = by_rules.chain([explanation.evidence]).flatten().max();
        let range = |&(first, last): &(u16, u16)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        Self {
            source: explanation.source.to_string(),
            tracked: explanation.tracked.label().to_owned(),
            distinct_ports: explanation.distinct_ports,
            peak_distinct_ports: peak,
            lower_bound: explanation.lower_bound,
            distinct_hosts: explanation.distinct_hosts,
            last_probe: explanation.last_probe.map(rfc3339),
            last_hit: explanation.last_hit.map(rfc3339),
            open_scan: explanation.open_scan,
            threshold: explanation.threshold,
            window_seconds: seconds(explanation.window_nanos),
            hold_seconds: seconds(explanation.hold_nanos),
            source_name: explanation.name.map(|name| name.as_str().to_owned()),
            alert_threshold_ports: match explanation.alerts {
                Some(Alerts::From(ports)) => Some(ports),
                _ => None,
            },
            muted: explanation.alerts == Some(Alerts::Muted),
            evidence: evidence.map(|evidence| evidence.label().to_owned()),
            home: explanation.is_home,
            ignored: explanation.ignored.map(|reason| reason.label().to_owned()),
            ignored_network: explanation.ignored_network.map(written),
            ignored_ports: explanation.ignored_ports,
            ignored_port_ranges: explanation.ignored_ranges.iter().map(range).collect(),
            ignored_pairs: explanation.ignored_pairs.iter().map(ToString::to_string).collect(),
            ignored_destinations: explanation.ignored_destinations.iter().copied().map(written).collect(),
            answered_ports: replies.map(|replies| replies.answered.to_string()),
            refused_ports: replies.map(|replies| replies.refused.to_string()),
            silent_ports: replies.map(|replies| replies.silent.to_string()),
            answered: replies.map(|replies| replies.answered_count),
            refused: replies.map(|replies| replies.refused_count),
            published,
            publication: publication.to_owned(),
            min_ports: explanation.min_ports,
            max_sources: explanation.max_sources,
            alert,
            severity,
            rules,
            by_many: explanation.by_many.iter().map(|(scan, ports)| ByMany::of(scan, Some(*ports))).collect(),
        }
    }
}

impl ByMany {
    fn of(scan: &Scan, counted_ports: Option<u32>) -> Self {
        Self {
            scan: scan.id.to_string(),
            host: scan.target.0.to_string(),
            distinct_ports: scan.distinct_ports,
            distinct_sources: scan.distinct_sources,
            started: rfc3339(scan.started),
            ended: scan.ended.map(rfc3339),
            counted_ports,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Grade, Ignored, Limits, Name, Pair, PairTo, PortRanges, Replies, Source, Tracked};
    use crate::fixture::snapshot as fixture;
    use crate::packet::Timestamp;

    fn explanation(peak: u32) -> Explanation {
        let limits = Limits::default();
        Explanation {
            time: Timestamp::new(1_700_000_000, 0),
            source: Source::of([198, 51, 100, 7].into(), 64),
            subject: Subject::Source,
            window_nanos: 10_000_000_000,
            threshold: 20,
            hold_nanos: limits.hold_nanos,
            min_ports: limits.min_ports,
            max_sources: limits.max_sources as u64,
            name: None,
            alerts: None,
            evidence: None,
            is_home: None,
            ignored: None,
            ignored_network: None,
            ignored_ports: 0,
            ignored_ranges: Vec::new(),
            ignored_pairs: Vec::new(),
            ignored_destinations: Vec::new(),
            tracked: if peak > 0 { Tracked::Table } else { Tracked::No },
            distinct_ports: peak / 2,
            peak_distinct_ports: peak,
            lower_bound: false,
            distinct_hosts: 1,
            last_hit: None,
            last_probe: None,
            open_scan: false,
            replies: None,
            slower: Vec::new(),
            by_many: Vec::new(),
        }
    }

    fn published(explanation: &Explanation) -> detect::PublishedSource {
        detect::PublishedSource {
            name: None,
            source: explanation.source,
            distinct_ports: explanation.distinct_ports,
            peak_distinct_ports: explanation.peak_distinct_ports,
            distinct_hosts: 1,
            ports_of_busiest_host: 5,
            last_hit: None,
            last_probe: explanation.time,
            tool: Default::default(),
            provenance: Default::default(),
            answered_ports: None,
            peak_unanswered_ports: None,
            evidence: Default::default(),
        }
    }

    /// The answer of one interface that publishes the source, or not.
    fn answer(explanation: Explanation, is_published: bool) -> Interface {
        let mut snapshot = fixture::quiet("eth0").detection;
        snapshot.sources.extend(is_published.then_some(published(&explanation)));
        let snapshot = Some(&snapshot);
        Interface::of(Reply {
            interface: "eth0",
            state: "capturing",
            explanation: Some(explanation),
            snapshot,
            by_many: Vec::new(),
        })
    }

    #[test]
    fn each_case_has_its_reason_and_its_rule() {
        let network = "198.51.100.0/24".parse().ok();
        let ignored = |ignored, ignored_network| Explanation {
            ignored: Some(ignored),
            ignored_network,
            ..explanation(0)
        };
        let none = Explanation { max_sources: 0, ..explanation(25) };
        for (explanation, published, alert, publication, why) in [
            (
                explanation(25),
                true,
                Some("PortScanDetected warning"),
                "published",
                "PortScanDetected (warning) fires: it probed 25 ports",
            ),
            (
                explanation(200),
                true,
                Some("PortScanDetected critical"),
                "published",
                "PortScanDetected (critical) fires",
            ),
            (
                explanation(25),
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
                explanation(19),
                true,
                None,
                "published",
                "it probed 19 ports at most, and 20 within 10s are a scan (PortScanFleet",
            ),
            (
                explanation(1),
                false,
                None,
                "below_min_ports",
                "it probed 1 port at most, and 20 within 10s are a scan",
            ),
            (explanation(0), false, None, "below_min_ports", "it is not tracked"),
            (
                Explanation { tracked: Tracked::Door, ..explanation(0) },
                false,
                None,
                "below_min_ports",
                "on probation",
            ),
            (
                ignored(Ignored::Source, network),
                false,
                None,
                "below_min_ports",
                "198.51.100.0/24 is in ignore.sources",
            ),
            (ignored(Ignored::Own, None), false, None, "below_min_ports", "connections to itself"),
            (ignored(Ignored::Martian, None), false, None, "below_min_ports", "it is a martian"),
            (
                Explanation { name: Name::new("own"), ..ignored(Ignored::Martian, None) },
                false,
                None,
                "below_min_ports",
                "it is the host's own address",
            ),
        ] {
            let Interface { known, why: sentence, .. } = answer(explanation, published);
            let known = known.expect("it answered");
            assert!(sentence.contains(why), "{sentence}");
            let fires =
                known.alert.zip(known.severity).map(|(alert, severity)| format!("{alert} {severity}"));
            assert_eq!((fires.as_deref(), known.publication.as_str()), (alert, publication), "{sentence}");
            assert_eq!(sentence.starts_with("no alert: "), alert.is_none(), "{sentence}");
        }
    }

    /// By itself it did little; what it did with others is said behind that.
    #[test]
    fn who_took_part_in_a_scan_by_many_is_told_so() {
        let mut many = crate::fixture::scan::scan("198.51.100.7", "192.0.2.10:22");
        (many.source, many.distinct_ports, many.distinct_sources) = (Source::MANY, 152, 32);
        let told = |open: &[Scan], ended: &[Scan]| {
            let by_many = open.iter().map(|scan| (*scan, 5)).collect();
            let reply = Reply {
                interface: "eth0",
                state: "capturing",
                explanation: Some(Explanation { by_many, ..explanation(5) }),
                snapshot: None,
                by_many: ended.to_vec(),
            };
            Interface::of(reply)
        };
        let takes = told(&[many], &[]);
        let (why, known) = (takes.why.clone(), takes.known.clone().expect("it answered"));
        assert!(
            why.starts_with(
                "no alert: it probed 5 ports at most, and 20 within 10s are a scan; but it takes part in "
            ),
            "{why}"
        );
        assert!(
            why.ends_with("a scan of 192.0.2.10 by many sources, for which PortScanDistributed fires"),
            "{why}"
        );
        assert_eq!((known.by_many.len(), known.by_many[0].counted_ports), (1, Some(5)));
        let text = Answer { asked: String::from("198.51.100.7"), interfaces: vec![takes] }.text();
        assert!(text.contains("  by many     152 ports of 192.0.2.10 by 32 sources, from "), "{text}");
        assert!(text.contains(" on; 5 of these count for it now\n"), "{text}");
        let ended = Scan { ended: Some(many.last_probe), ..many };
        let why = told(&[], &[ended]).why;
        assert!(
            why.ends_with("; but it took part in a scan of 192.0.2.10 by many sources, which has ended"),
            "{why}"
        );
        let why = told(&[many], &[ended]).why;
        assert!(why.ends_with("PortScanDistributed fires and in others"), "{why}");
        assert!(!told(&[], &[]).why.contains("many"));
    }

    #[test]
    fn where_the_operator_said_what_is_inside_there_is_a_row_of_it() {
        for (is_home, row) in [(None, None), (Some(true), Some("inside")), (Some(false), Some("not inside"))]
        {
            let told = answer(Explanation { is_home, ..explanation(25) }, true);
            assert_eq!(told.known.as_ref().and_then(|known| known.home), is_home);
            let json = serde_json::to_value(&told).unwrap();
            assert_eq!(json["known"]["home"], serde_json::json!(is_home));
            let text = Answer { asked: String::from("198.51.100.7"), interfaces: vec![told] }.text();
            let told = text.lines().find_map(|line| line.strip_prefix("  home        "));
            assert_eq!(told, row, "{text}");
        }
    }

    #[test]
    fn a_slower_rule_has_its_own_word() {
        let by_rule = |counts_hosts, threshold, window: u64, peak| ByRule {
            subject: Subject::Source,
            window_nanos: window * 1_000_000_000,
            threshold,
            counts_hosts,
            source: explanation(0).source,
            tracked: Tracked::Table,
            count: peak,
            peak,
            open_scan: peak >= threshold,
            last_hit: (peak >= threshold).then(|| explanation(0).time),
            evidence: None,
        };
        let told = |hosts, ports| {
            let slower = vec![by_rule(true, 25, 300, hosts), by_rule(false, 60, 3600, ports)];
            let explanation =
                Explanation { slower, tracked: Tracked::No, distinct_hosts: hosts, ..explanation(0) };
            let mut snapshot = fixture::quiet("eth0").detection;
            for rule in &explanation.slower {
                let mut shown = fixture::quiet("eth0").detection;
                (shown.window_nanos, shown.threshold) = (rule.window_nanos, rule.threshold);
                shown.kinds =
                    if rule.counts_hosts { &[detect::Kind::Horizontal] } else { &[detect::Kind::Vertical] };
                let row =
                    detect::PublishedSource { peak_distinct_ports: rule.peak, ..published(&explanation) };
                shown.sources.extend((rule.peak >= rule.threshold).then_some(row));
                snapshot.slower.push(shown);
            }
            let explanation = Some(explanation);
            let snapshot = Some(&snapshot);
            Interface::of(Reply {
                interface: "eth0",
                state: "capturing",
                explanation,
                snapshot,
                by_many: Vec::new(),
            })
        };
        for (hosts, ports, why) in [
            (
                3,
                45,
                "no alert: it probed 0 ports at most, and 20 within 10s are a scan; 3 of 25 hosts within 5m; 45 of 60 ports within 1h",
            ),
            (30, 1, "PortScanSweep (warning) fires: it probed 30 hosts, and 25 within 5m are a sweep"),
            (1, 61, "PortScanDetected (warning) fires: it probed 61 ports, and 60 within 1h are a scan"),
            (
                30,
                61,
                "PortScanSweep (warning) fires: it probed 30 hosts, and 25 within 5m are a sweep; and PortScanDetected (warning): it probed 61 ports, and 60 within 1h are a scan",
            ),
            (0, 0, "no alert: it is not tracked"),
        ] {
            let told = told(hosts, ports);
            assert!(told.why.starts_with(why), "{}", told.why);
            let rules = &told.known.as_ref().expect("it answered").rules;
            let counts: Vec<_> = rules.iter().map(|rule| (rule.counts.as_str(), rule.count)).collect();
            assert_eq!(counts, [("ports", 0), ("hosts", hosts), ("ports", ports)]);
            let text = Answer { asked: String::from("198.51.100.7"), interfaces: vec![told] }.text();
            assert!(text.contains(&format!("  slower rule 60 ports within 1h: {ports} now")), "{text}");
            // What the lines before say is of the first rule.
            assert!(text.contains("  last hit    none known, by the first rule\n"), "{text}");
            assert!(text.contains("  open scan   no, by the first rule\n"), "{text}");
            if hosts == 30 {
                let time = rfc3339(explanation(0).time);
                let line =
                    format!("30 at most, a scan is open, last hit {time}; PortScanSweep (warning) fires\n");
                assert!(text.contains(&line), "{text}");
                assert!(text.contains("  hosts       about 30, by the first rule\n"), "{text}");
            }
        }
    }

    /// The alert names the /48; an operator asks for it, or for an address that sent a probe.
    #[test]
    fn a_network_that_hops_is_named() {
        let network = Source::of(std::net::Ipv6Addr::new(0x2001, 0xdb8, 5, 3, 0, 0, 0, 7).into(), 48);
        let hop = ByRule {
            subject: Subject::Network(48),
            window_nanos: 600_000_000_000,
            threshold: 60,
            counts_hosts: false,
            source: network,
            tracked: Tracked::Table,
            count: 70,
            peak: 70,
            open_scan: true,
            last_hit: None,
            evidence: None,
        };
        let mut snapshot = fixture::quiet("eth0").detection;
        let mut shown = fixture::quiet("eth0").detection;
        (shown.subject, shown.window_nanos, shown.threshold) = (hop.subject, hop.window_nanos, hop.threshold);
        shown.kinds = &[detect::Kind::Vertical];
        let mut row = published(&explanation(70));
        row.source = network;
        shown.sources.push(row);
        snapshot.slower.push(shown);
        let whole = Explanation {
            source: network,
            subject: hop.subject,
            window_nanos: hop.window_nanos,
            threshold: 60,
            open_scan: true,
            ..explanation(70)
        };
        let part = Explanation {
            source: Source::of(network.address, 64),
            slower: vec![hop.clone()],
            ..explanation(0)
        };
        let told = |explanation| {
            let reply = Reply {
                by_many: Vec::new(),
                interface: "eth0",
                state: "capturing",
                explanation: Some(explanation),
                snapshot: Some(&snapshot),
            };
            Answer { asked: String::from("asked"), interfaces: vec![Interface::of(reply)] }.text()
        };
        let whole = told(whole);
        let fires = "PortScanDetected (warning) fires: it probed 70 ports, and 60 within 10m are a scan\n";
        assert!(whole.contains(fires) && whole.contains("counts as   2001:db8:5::/48\n"), "{whole}");
        assert!(!whole.contains("hosts"), "of a network they are not counted: {whole}");
        let part = told(part);
        let fires = "fires: its network 2001:db8:5::/48 probed 70 ports, and 60 within 10m are a scan\n";
        assert!(part.contains(fires), "{part}");
        assert!(part.contains("slower rule 60 ports within 10m by 2001:db8:5::/48: 70 now"), "{part}");

        let few = ByRule { peak: 40, count: 40, open_scan: false, ..hop };
        let quiet = told(Explanation { slower: vec![few.clone()], ..explanation(1) });
        assert!(quiet.contains("; 40 of 60 ports within 10m by 2001:db8:5::/48"), "{quiet}");
        let whole = Explanation { source: network, subject: few.subject, threshold: 60, ..explanation(40) };
        let known = answer(whole, false).known.expect("it answered");
        assert_eq!(known.publication, "below_threshold");
    }

    #[test]
    fn where_nothing_is_captured_that_is_the_reason() {
        for (state, why) in [
            ("capturing", "no alert: it probed 8 ports at most"),
            (
                "down",
                "no alert: nothing is captured on it now: it is missing, down or without carrier; before that: it probed 8",
            ),
            ("starting", "no alert: it does not capture yet; before that: it probed 8"),
            ("stalled", "no alert: its capture stands still; before that: it probed 8"),
        ] {
            let reply = Reply {
                interface: "eth0",
                state,
                explanation: Some(explanation(8)),
                snapshot: None,
                by_many: Vec::new(),
            };
            let told = Interface::of(reply).why;
            assert!(told.starts_with(why), "{told}");
        }
    }

    #[test]
    fn what_answered_and_what_it_may_ask_for_is_told() {
        let pair = |to| Pair { source: "198.51.100.7/32".parse().expect("a network"), to };
        let replies = Replies {
            answered: PortRanges::of([22, 80]),
            answered_count: 2,
            refused: PortRanges::of(1000..=1004),
            refused_count: 5,
            silent: PortRanges::default(),
        };
        let told = Explanation {
            ignored_pairs: vec![pair(PairTo::Ports(9100, 9110)), pair(PairTo::Ports(22, 22))],
            ignored_destinations: vec!["192.0.2.128/25".parse().expect("a network")],
            replies: Some(replies),
            ..explanation(8)
        };
        let interface = answer(told, true);
        assert!(
            interface
                .why
                .ends_with("; 198.51.100.7 to ports 9100-9110 and more does not count (ignore.pairs)")
        );
        let text = Answer { asked: String::from("198.51.100.7"), interfaces: vec![interface] }.text();
        for line in [
            "  pairs       do not count: 198.51.100.7 to ports 9100-9110; 198.51.100.7 to port 22\n",
            "  all hosts   do not count: 192.0.2.128/25\n",
            "  answered    2: 22,80\n",
            "  refused     5: 1000-1004\n",
            "  silent      none\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    /// Who half of the ports answered is no scanner most often, and who is expected has a name: the answer says which.
    #[test]
    fn it_says_why_an_alert_is_only_info_and_whether_to_act_on_the_address() {
        let told = |alerts, name: &str, answered: Option<(u32, u32)>, evidence| {
            let explanation =
                Explanation { name: Name::new(name), alerts, evidence: Some(evidence), ..explanation(25) };
            let mut row = published(&explanation);
            (row.answered_ports, row.peak_unanswered_ports) = answered.unzip();
            let mut snapshot = fixture::quiet("eth0").detection;
            snapshot.sources.push(row);
            let snapshot = Some(&snapshot);
            let explanation = Some(explanation);
            let told = Interface::of(Reply {
                interface: "eth0",
                state: "capturing",
                explanation,
                snapshot,
                by_many: Vec::new(),
            });
            Answer { asked: String::from("198.51.100.7"), interfaces: vec![told] }
        };
        let (forged, proved) = (Grade::Spoofable, Grade::Handshake);
        for (answer, why, lines) in [
            (
                told(None, "", Some((12, 13)), forged),
                "PortScanDetected (warning) fires: it probed 25 ports, and 20 within 10s are a scan\n",
                "",
            ),
            (
                told(None, "", Some((13, 12)), proved),
                "PortScanDetected (info) fires: it probed 25 ports, and 20 within 10s are a scan; but half of them or more answered",
                "  address     handshake: it read an answer, so it is no forgery\n",
            ),
            (
                told(Some(Alerts::From(26)), "office", None, forged),
                "PortScanExpected (info) fires: it probed 25 ports, and 20 within 10s are a scan; but office has a threshold of 26 ports (names)\n",
                "  called      office: alerts from 26 ports on\n",
            ),
            (told(Some(Alerts::From(25)), "office", None, forged), "PortScanDetected (warning) fires", ""),
            (
                told(Some(Alerts::Muted), "scanner", None, forged),
                "a scan; but scanner is muted (names)\n",
                "  called      scanner: muted, and takes no part in scans by many\n",
            ),
            (
                told(None, "gateway", None, forged),
                "PortScanDetected (warning) fires",
                "  address     spoofable: only probes were seen, and anybody can have sent them; do not block by it; this host's gateway: \
                 blocking it cuts the host off\n",
            ),
            (told(None, "own", None, forged), "fires", "do not block by it; this host's own address\n"),
        ] {
            let text = answer.text();
            assert!(text.contains(why) && text.contains(lines), "{text}");
        }
        let json = serde_json::to_value(told(Some(Alerts::From(26)), "office", Some((25, 0)), proved))
            .expect("JSON");
        let known = &json["interfaces"][0]["known"];
        let fields =
            ["source_name", "alert_threshold_ports", "muted", "evidence"].map(|field| known[field].clone());
        assert_eq!(serde_json::json!(fields), serde_json::json!(["office", 26, false, "handshake"]));
        let rule = &known["rules"][0];
        let fields =
            ["answered_ports", "peak_unanswered_ports", "alert", "severity"].map(|field| rule[field].clone());
        assert_eq!(serde_json::json!(fields), serde_json::json!([25, 0, "PortScanExpected", "info"]));
    }

    #[test]
    fn the_alerts_it_names_exist() {
        let rules = include_str!("../../../alerts/portscan.rules.yml");
        for name in [
            "PortScanDetected",
            "PortScanSweep",
            "PortScanExpected",
            "PortScanUnexplained",
            "PortScanSourcesSuppressed",
            "PortScanFleet",
        ] {
            assert!(rules.contains(&format!("- alert: {name}\n")), "{name}");
        }
        let wide = "group_left () (10 * portscan_threshold_ports)";
        assert!(rules.contains(wide), "ten times the threshold is critical");
    }

    #[test]
    fn one_that_does_not_answer_says_so() {
        let silent = Reply {
            interface: "eth1",
            state: "stalled",
            explanation: None,
            snapshot: None,
            by_many: Vec::new(),
        };
        let answer = Answer::of("198.51.100.7/32".parse().expect("a network"), [silent]);
        assert!(!answer.is_answered());
        assert!(
            answer.text().starts_with("198.51.100.7 on eth1 (stalled): its capture did not answer in time")
        );
    }

    #[test]
    fn the_text_tells_all_and_steers_no_terminal() {
        let ignored_ranges = vec![(22, 22), (80, 82)];
        let mut interface = answer(Explanation { ignored_ports: 4, ignored_ranges, ..explanation(8) }, true);
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
