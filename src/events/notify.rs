//! Scan events become log records: one each, with the same fields in every format, until a flood of them is
//! cut to what a journal and its reader can bear (`flood`).
//!
//! Runs on a thread of its own at the end of a bounded queue, so that a slow journal costs records (counted by
//! the sender) and never packets.

use crate::detect::{EventKind, PortSample, Replies, Scan, ScanEvent, Source};
use crate::events::flood::{BURST, FloodLimit, RATE, Withheld};
use crate::events::record::{Record, Value, left_out};
use crate::events::storm::{Fate, Feature, Report, Storm, Storms};
use crate::logger::{self, MEMBER_KEY, MESSAGE_ID_KEY, TITLE_KEY};
use crate::publish::recent::Recent;
use crate::system::clock;
use crate::text::units::write_nanos;
use log::kv::{self, Key, VisitSource};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

/// `MESSAGE_ID` of a hit: `journalctl MESSAGE_ID=…` lists every hit, and only hits.
pub const HIT_ID: &str = "77723d15ac7a46e48ee0333a766d69d4";
/// `MESSAGE_ID` of a scan that grew tenfold.
pub const GROWN_ID: &str = "7cacbf96245e43258675f351bf03e2f3";
/// `MESSAGE_ID` of a scan that ended.
pub const ENDED_ID: &str = "6c149a0603b84d2f9fee5b12c40e7d7d";
/// `MESSAGE_ID` of the summary of a flood.
pub const SUPPRESSED_ID: &str = "b972b20b34cf4395a04213d911037b05";

/// `MESSAGE_ID` of a storm that begins.
pub const STORM_ID: &str = "514875d2d9e6479d97cf15a13aa00705";
/// `MESSAGE_ID` of a storm that grew.
pub const STORM_GROWN_ID: &str = "d3e99595483d4156924eb4f935b5efbf";
/// `MESSAGE_ID` of a storm that ended.
pub const STORM_ENDED_ID: &str = "0dbf1d997f8e4668b7b843b65034bd85";

/// Ports shown in the message; the field has all of the sample.
const MESSAGE_PORTS: usize = 5;

/// Ranges of ports shown in the message of a scan that goes on or has ended; the field has more.
const MESSAGE_RANGES: usize = 8;

/// Sources of a storm shown in the message; the field has more.
const MESSAGE_SOURCES: usize = 5;

/// A scan event and the interface it was seen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The interface's name.
    pub interface: Arc<str>,
    /// What happened.
    pub event: ScanEvent,
}

/// Writes notices to the log, within the flood limit.
#[derive(Debug)]
pub struct Notifier {
    flood: FloodLimit,
    storms: Storms,
    /// Takes in every scan, also those that have no record of their own.
    recent: Option<Arc<Recent>>,
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Notifier {
    /// A notifier that has written nothing yet.
    pub fn new() -> Self {
        Self { flood: FloodLimit::new(clock::steady()), storms: Storms::new(), recent: None }
    }

    /// The same that puts every scan among the recent ones, too.
    #[must_use]
    pub fn with_recent(self, recent: Arc<Recent>) -> Self {
        Self { recent: Some(recent), ..self }
    }

    /// Write what arrives until every sender is gone and the queue is empty.
    pub fn run(mut self, notices: Receiver<Notice>) {
        loop {
            let due = [self.flood.summary_due(), self.storms.due_at()].into_iter().flatten().min();
            let notice = match due {
                None => notices.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => notices.recv_timeout(due.saturating_duration_since(clock::steady())),
            };
            let now = clock::steady();
            if let (Ok(Notice { interface, event }), Some(recent)) = (&notice, &self.recent) {
                recent.put(interface, *event);
            }
            match notice {
                Ok(notice) => self.take_in(&notice, now),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.settle(now, false);
            self.storms.report(now, write_storm);
            if self.flood.summary_due().is_some_and(|due| due <= now) {
                self.summarise();
            }
        }
        let now = clock::steady();
        self.settle(now, true);
        self.storms.end(now, write_storm);
        self.summarise();
    }

    fn take_in(&mut self, notice: &Notice, now: Instant) {
        match self.storms.fold(&notice.interface, &notice.event, now) {
            Fate::Own => write(&mut self.flood, notice, now),
            Fate::Waits => {}
            Fate::Folded => logger::count_folded(1),
        }
    }

    /// Writes what stands out of the storms.
    fn settle(&mut self, now: Instant, is_last: bool) {
        let Self { flood, storms, .. } = self;
        logger::count_folded(storms.settle(now, is_last, |interface, event| {
            write(flood, &Notice { interface: Arc::clone(interface), event }, now);
        }));
    }

    fn summarise(&mut self) {
        if let Some(withheld) = self.flood.take() {
            summary(withheld).write();
        }
    }
}

/// The record of a scan, within the flood limit.
fn write(flood: &mut FloodLimit, notice: &Notice, now: Instant) {
    if flood.admits(&notice.event, now) {
        entry(notice).write();
    } else {
        logger::count_suppressed(1);
    }
}

/// One log record before it is written.
#[derive(Debug, PartialEq)]
struct Entry<'a> {
    message_id: &'static str,
    title: String,
    event: &'static str,
    message: String,
    fields: Vec<(&'static str, Value<'a>)>,
    /// Fields that are text of the record's own.
    texts: Vec<(&'static str, String)>,
}

/// The record of a scan.
fn entry(Notice { interface, event: ScanEvent { kind, scan } }: &Notice) -> Entry<'_> {
    let message_id = match kind {
        EventKind::Hit => HIT_ID,
        EventKind::Grown => GROWN_ID,
        EventKind::Ended => ENDED_ID,
    };
    Entry {
        message_id,
        title: format!("portscan {}", kind.label()),
        event: kind.label(),
        message: message(*kind, scan, interface),
        fields: Record { scan, interface, clock_steps: 0 }.logged().collect(),
        texts: Vec::new(),
    }
}

/// The record of a flood.
fn summary(withheld: Withheld) -> Entry<'static> {
    let Withheld { records, hits, grown, ended, answered, handshake } = withheld;
    Entry {
        message_id: SUPPRESSED_ID,
        title: String::from("portscan records withheld"),
        event: "suppressed",
        message: format!(
            "portscan records withheld records={records} hits={hits} burst={BURST} rate={RATE}/s grown={grown} ended={ended} \
             answered={answered} handshake={handshake}"
        ),
        fields: suppressed(withheld).to_vec(),
        texts: Vec::new(),
    }
}

/// What has no records of its own.
fn suppressed(withheld: Withheld) -> [(&'static str, Value<'static>); 6] {
    let Withheld { records, hits, grown, ended, answered, handshake } = withheld;
    [
        ("suppressed", Value::Count(records)),
        ("suppressed_hits", Value::Count(hits)),
        ("suppressed_grown", Value::Count(grown)),
        ("suppressed_ended", Value::Count(ended)),
        ("suppressed_answered", Value::Count(answered)),
        ("suppressed_handshake", Value::Count(handshake)),
    ]
}

fn write_storm(report: Report, storm: &Storm, withheld: Withheld) {
    if report == Report::Began {
        logger::count_storm();
    }
    storm_entry(report, storm, withheld).write();
}

/// The record of a storm.
fn storm_entry(report: Report, storm: &Storm, withheld: Withheld) -> Entry<'_> {
    let (message_id, event) = match report {
        Report::Began => (STORM_ID, "storm"),
        Report::Grew => (STORM_GROWN_ID, "storm_grown"),
        Report::Ended => (STORM_ENDED_ID, "storm_ended"),
    };
    let named: Vec<String> = storm.named().iter().map(Source::to_string).collect();
    let common = Feature::ALL.into_iter().filter(|feature| storm.common.has(*feature));
    let common: Vec<&str> = common.map(Feature::label).collect();
    let mut fields = vec![
        ("storm", Value::Id(storm.id)),
        ("interface", Value::Text(&storm.interface)),
        ("window_seconds", Value::Seconds(storm.window_nanos)),
        ("kind", storm.kind.map_or(Value::Nothing, |kind| Value::Text(kind.label()))),
        ("technique", Value::Text(storm.technique.label())),
        ("tool", Value::Text(storm.tool.label())),
        ("sources", Value::Count(storm.sources)),
    ];
    fields.extend(
        in_common(storm)
            .into_iter()
            .flat_map(|(name, value, same, count)| [(name, value), (same, Value::Count(count))]),
    );
    fields.extend([
        ("port_ranges", Value::Ranges { ranges: &storm.asked, of: storm.asked.count() }),
        ("sources_left_out", Value::Rare(storm.sources.saturating_sub(named.len() as u64))),
        ("started", Value::Time(Some(storm.began))),
        ("latest_hit", Value::Time(Some(storm.latest))),
    ]);
    fields.extend(suppressed(withheld));
    fields.push(("suppressed_outstanding", Value::Rare(storm.left_out)));
    fields.retain(|(_, value)| !value.is_nothing());
    let mut texts = vec![("common", common.join(",")), ("sample_sources", named.join(","))];
    let message = storm_message(event, storm, withheld, &texts[0].1, &named);
    texts.extend(named.into_iter().map(|source| (MEMBER_KEY, source)));
    Entry { message_id, title: format!("portscan {event}"), event, message, fields, texts }
}

/// What the sources of a storm have in common, or most of them, and how many have it: each with the names of its fields.
fn in_common(storm: &Storm) -> Vec<(&'static str, Value<'static>, &'static str, u64)> {
    let look = &storm.look;
    let each = [
        (Feature::Target, Value::Address(look.target), "same_target_address"),
        (Feature::Ttl, Value::Count(look.ttl.into()), "same_ttl"),
        (Feature::Window, Value::Count(look.window.into()), "same_tcp_window"),
        (Feature::FirstPort, Value::Count(look.first_port.into()), "same_first_port"),
        // They are the ranges of the record.
        (Feature::FirstPorts, Value::Nothing, "same_first_ports"),
    ];
    let is_common = |feature, same| storm.common.has(feature) || 2 * same >= storm.sources;
    let common = each.into_iter().zip(storm.same).filter(|((feature, ..), same)| is_common(*feature, *same));
    common.map(|((feature, value, same), count)| (feature.label(), value, same, count)).collect()
}

/// The sentence about a storm.
fn storm_message(event: &str, storm: &Storm, withheld: Withheld, common: &str, named: &[String]) -> String {
    let (sources, window, technique) =
        (storm.sources, write_nanos(storm.window_nanos), storm.technique.label());
    let mut out = format!("portscan {event} sources={sources} withheld={} window={window}", withheld.records);
    if let Some(kind) = storm.kind {
        let _ = write!(out, " kind={}", kind.label());
    }
    let _ = write!(out, " technique={technique} interface=");
    logger::push_logfmt(&mut out, &storm.interface);
    let _ = write!(out, " common={common}");
    for (name, value, same, count) in in_common(storm) {
        if !value.is_nothing() {
            let _ = write!(out, " {name}={value}");
        }
        if count < sources {
            let _ = write!(out, " {same}={count}");
        }
    }
    if event != "storm" {
        let _ = write!(out, " duration={}s", seconds(storm.latest.nanos_since(storm.began)));
    }
    let shown = &named[..named.len().min(MESSAGE_SOURCES)];
    let _ = write!(out, " sample_sources={}", shown.join(","));
    out
}

impl Entry<'_> {
    fn write(&self) {
        log::logger().log(
            &log::Record::builder()
                .level(log::Level::Warn)
                .target(module_path!())
                .key_values(self)
                .args(format_args!("{}", self.message))
                .build(),
        );
    }
}

impl kv::Source for Entry<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        for (key, text) in
            [(MESSAGE_ID_KEY, self.message_id), (TITLE_KEY, self.title.as_str()), ("event", self.event)]
        {
            visitor.visit_pair(Key::from(key), text.into())?;
        }
        self.fields
            .iter()
            .try_for_each(|(key, value)| visitor.visit_pair(Key::from(*key), value.as_log()))?;
        self.texts
            .iter()
            .try_for_each(|(key, text)| visitor.visit_pair(Key::from(*key), text.as_str().into()))
    }
}

/// The sentence people read and grep for, whose words are a contract. A hit says what the rule saw; later records add the
/// totals.
fn message(event: EventKind, scan: &Scan, interface: &str) -> String {
    let ports = scan.distinct_ports;
    let mut out = format!("portscan {} source={} ports={ports}", event.label(), scan.source);
    if event != EventKind::Hit {
        let Scan { peak_distinct_ports: peak, distinct_hosts: hosts, probes, .. } = scan;
        let lasted = seconds(scan.last_probe.nanos_since(scan.started));
        let _ = write!(out, " peak={peak} hosts={hosts} probes={probes} duration={lasted}s");
    }
    let window = write_nanos(scan.window_nanos);
    let (kind, technique) = (scan.kind.label(), scan.technique.label());
    let _ = write!(out, " window={window} kind={kind} technique={technique} interface=");
    // The name comes from the system, not from the wire; but the user who makes an interface chooses it.
    logger::push_logfmt(&mut out, interface);
    let sample = PortSample::lowest(scan.sample_ports.as_slice().iter().copied().take(MESSAGE_PORTS));
    let sample = Value::Sample { lowest: &sample, of: ports };
    let _ = write!(out, " target={} sample={sample}", Value::Target(scan.target));
    if event != EventKind::Hit {
        let ranges = scan.asked.at_most(MESSAGE_RANGES);
        let _ = write!(out, " port_ranges={ranges}");
        match left_out(&ranges, ports) {
            0 => {}
            more => out.push_str(&format!(" ports_left_out={more}")),
        }
        if let Some(Replies { answered, answered_count, refused_count, .. }) = &scan.replies {
            let _ = write!(out, " answered={answered_count} refused={refused_count}");
            if !answered.is_empty() {
                let _ = write!(out, " answered_ports={}", answered.at_most(MESSAGE_RANGES));
            }
        }
    }
    if scan.lower_bound {
        out.push_str(" lower_bound=true");
    }
    if scan.source == Source::MANY {
        let sample = Value::Sources(&scan.sample_sources);
        let _ = write!(out, " sources={} sample_sources={sample}", scan.distinct_sources);
    } else if scan.source.is_network() || scan.source.address != scan.source_address {
        let _ = write!(out, " address={}", scan.source_address);
    }
    out
}

/// Seconds to the millisecond, as messages show them.
fn seconds(nanos: u64) -> f64 {
    (nanos / 1_000_000) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::scan::{after, scan};
    use crate::packet::Signature;
    use log::kv::Source as _;

    fn notice(kind: EventKind, scan: Scan, interface: &str) -> Notice {
        Notice { interface: interface.into(), event: ScanEvent { kind, scan } }
    }

    /// A record as a line has it: its key-values in their order.
    fn line(entry: &Entry<'_>) -> String {
        struct Line(String);
        impl<'kvs> VisitSource<'kvs> for Line {
            fn visit_pair(&mut self, key: Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
                write!(self.0, "{key}={value} ").map_err(kv::Error::from)
            }
        }
        let mut line = Line(String::new());
        entry.visit(&mut line).unwrap();
        line.0
    }

    #[test]
    fn a_hit_reads_as_the_contract_says() {
        let hit = notice(EventKind::Hit, scan("198.51.100.7", "192.0.2.10:22"), "eth0");
        let hit = entry(&hit);
        assert_eq!(
            hit.message,
            "portscan hit source=198.51.100.7 ports=20 window=10s kind=vertical technique=syn interface=eth0 \
             target=192.0.2.10:22 sample=21,22,23,25,80"
        );
        let start = format!("message_id={HIT_ID} title=portscan hit event=hit source=198.51.100.7 ");
        assert!(line(&hit).starts_with(&start), "{}", line(&hit));
    }

    #[test]
    fn an_ended_scan_has_its_totals() {
        let scan = Scan {
            ports: 0,
            distinct_ports: 1000,
            peak_distinct_ports: 990,
            probes: 2011,
            last_probe: after(83_000),
            ended: Some(after(143_000)),
            ..scan("198.51.100.7", "192.0.2.10:22")
        };
        let ended = notice(EventKind::Ended, scan, "eth0");
        let ended = entry(&ended);
        assert_eq!(
            ended.message,
            "portscan ended source=198.51.100.7 ports=1000 peak=990 hosts=1 probes=2011 duration=83s window=10s \
             kind=vertical technique=syn interface=eth0 target=192.0.2.10:22 sample=21,22,23,25,80 \
             port_ranges=21-23,25,80,110,443 ports_left_out=993"
        );
        let shown = line(&ended);
        assert!(
            shown.contains(" ports=1000 ") && shown.contains(" ended=2026-11-23T10:02:23.000000Z "),
            "{shown}"
        );
        let grown = notice(EventKind::Grown, scan, "eth0");
        let grown = entry(&grown);
        assert!(grown.message.starts_with("portscan grown source=198.51.100.7 ports=1000 peak=990 "));
        assert!(line(&grown).contains(" event=grown "));
    }

    #[test]
    fn an_ipv6_network_is_the_source_and_the_address_seen_is_named_too() {
        let hit = notice(EventKind::Hit, scan("2001:db8:0:1::7", "[2001:db8::1]:22"), "eth0");
        let hit = entry(&hit);
        assert_eq!(
            hit.message,
            "portscan hit source=2001:db8:0:1::/64 ports=20 window=10s kind=vertical technique=syn interface=eth0 \
             target=[2001:db8::1]:22 sample=21,22,23,25,80 address=2001:db8:0:1::7"
        );
        assert!(line(&hit).contains(" source_address=2001:db8:0:1::7 "));
    }

    #[test]
    fn an_interface_name_cannot_forge_a_field() {
        let hit = notice(EventKind::Hit, scan("198.51.100.7", "192.0.2.10:22"), "e\n x=1\x1b");
        let message = entry(&hit).message;
        assert!(message.contains(r#" interface="e\n x=1\u001b" target="#), "{message}");
    }

    #[test]
    fn a_summary_says_how_many_and_how_many_hits() {
        let withheld = Withheld { records: 900, hits: 450, grown: 30, ended: 420, answered: 7, handshake: 2 };
        let summary = summary(withheld);
        assert_eq!(
            summary.message,
            "portscan records withheld records=900 hits=450 burst=100 rate=20/s grown=30 ended=420 answered=7 handshake=2"
        );
        assert!(
            line(&summary)
                .contains(" event=suppressed suppressed=900 suppressed_hits=450 suppressed_grown=30 ")
        );
    }

    #[test]
    fn a_storm_says_how_many_and_what_they_have_in_common() {
        let (mut storms, now) = (Storms::new(), clock::steady());
        let mut told = Vec::new();
        for number in 1..=8 {
            let scan = Scan {
                // One took another way.
                signature: Signature { ttl: if number == 3 { 51 } else { 52 }, window: 1024 },
                detected: after(250 * number),
                ..scan(&format!("198.51.100.{number}"), "192.0.2.10:443")
            };
            let event = ScanEvent { kind: EventKind::Hit, scan };
            let fate = storms.fold(&"eth0".into(), &event, now);
            assert_eq!(fate, if number >= 6 { Fate::Folded } else { Fate::Own });
            let mut tell = |report, storm: &Storm, withheld: Withheld| {
                let entry = storm_entry(report, storm, withheld);
                told.push((entry.message.clone(), line(&entry)));
            };
            storms.report(now, &mut tell);
            if number == 8 {
                storms.end(now, &mut tell);
            }
        }
        assert_eq!(
            told[0].0,
            "portscan storm sources=6 withheld=1 window=10s kind=vertical technique=syn interface=eth0 \
             common=target_address,tcp_window,first_port target_address=192.0.2.10 ttl=52 same_ttl=5 \
             tcp_window=1024 first_port=443 sample_sources=198.51.100.1,198.51.100.2,198.51.100.3,198.51.100.4,198.51.100.5"
        );
        assert!(told[1].0.starts_with("portscan storm_ended sources=8 withheld=2 "), "{}", told[1].0);
        assert!(told[1].0.contains(" first_port=443 duration=1.75s sample_sources="), "{}", told[1].0);
        assert_eq!(
            told[1].1,
            format!(
                "message_id={STORM_ENDED_ID} title=portscan storm_ended event=storm_ended storm=000000000000001f \
                 interface=eth0 window_seconds=10 kind=vertical technique=syn tool=unknown sources=8 target_address=192.0.2.10 same_target_address=8 ttl=52 same_ttl=7 \
                 tcp_window=1024 same_tcp_window=8 first_port=443 same_first_port=8 port_ranges=21-23,25,80,110,443 \
                 started=2026-11-23T10:00:00.250000Z latest_hit=2026-11-23T10:00:02.000000Z suppressed=2 \
                 suppressed_hits=2 suppressed_grown=0 suppressed_ended=0 suppressed_answered=0 \
                 suppressed_handshake=0 common=target_address,tcp_window,first_port sample_sources={} {} ",
                (1..=8).map(|n| format!("198.51.100.{n}")).collect::<Vec<_>>().join(","),
                (1..=8).map(|n| format!("member=198.51.100.{n}")).collect::<Vec<_>>().join(" "),
            )
        );
    }

    /// Two decoys and the one who has them.
    #[test]
    fn a_storm_of_few_says_that_they_asked_for_the_same_ports() {
        let (mut storms, now) = (Storms::new(), clock::steady());
        let mut told = Vec::new();
        for number in 1..=3 {
            let scan = Scan {
                signature: Signature { ttl: 50 + number as u8, window: 1024 },
                detected: after(number),
                distinct_ports: 7,
                ..scan(&format!("198.51.100.{number}"), "192.0.2.10:443")
            };
            storms.fold(&"eth0".into(), &ScanEvent { kind: EventKind::Hit, scan }, now);
            storms.report(now, |report, storm, withheld| {
                let entry = storm_entry(report, storm, withheld);
                told.push((entry.message.clone(), line(&entry)));
            });
        }
        assert_eq!(told.len(), 1);
        assert_eq!(
            told[0].0,
            "portscan storm sources=3 withheld=1 window=10s kind=vertical technique=syn interface=eth0 \
             common=target_address,tcp_window,first_port,first_ports target_address=192.0.2.10 tcp_window=1024 \
             first_port=443 sample_sources=198.51.100.1,198.51.100.2,198.51.100.3"
        );
        let fields = " same_first_port=3 same_first_ports=3 port_ranges=21-23,25,80,110,443 started=";
        assert!(told[0].1.contains(fields), "{}", told[0].1);
    }

    #[test]
    fn the_notifier_ends_when_its_senders_are_gone_and_the_queue_is_empty() {
        let (sender, notices) = std::sync::mpsc::sync_channel(8);
        sender.try_send(notice(EventKind::Hit, scan("198.51.100.7", "192.0.2.10:22"), "eth0")).unwrap();
        drop(sender);
        Notifier::new().run(notices);
    }
}
