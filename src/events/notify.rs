//! Scan events become log records: one each, with the same fields in every format, until a flood of them is
//! cut to what a journal and its reader can bear.
//!
//! Runs on a thread of its own at the end of a bounded queue, so that a slow journal costs records (counted by
//! the sender) and never packets.

use crate::detect::{Moment, Scan, ScanEvent};
use crate::logger::{self, MESSAGE_ID_KEY, TITLE_KEY};
use crate::system::clock;
use crate::text::time::rfc3339;
use log::kv::{self, Key, Source, ToValue, Value, VisitSource};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// `MESSAGE_ID` of a hit: `journalctl MESSAGE_ID=…` lists every hit, and only hits.
pub const HIT_ID: &str = "77723d15ac7a46e48ee0333a766d69d4";
/// `MESSAGE_ID` of a scan that grew tenfold.
pub const GROWN_ID: &str = "7cacbf96245e43258675f351bf03e2f3";
/// `MESSAGE_ID` of a scan that ended.
pub const ENDED_ID: &str = "6c149a0603b84d2f9fee5b12c40e7d7d";
/// `MESSAGE_ID` of the summary of a flood.
pub const SUPPRESSED_ID: &str = "b972b20b34cf4395a04213d911037b05";

/// Records that may come at once.
pub const BURST: u32 = 100;
/// Records a second after that.
pub const RATE: u32 = 20;
/// A flood is over when nothing was withheld for this long.
const CALM: Duration = Duration::from_secs(1);
/// A flood that goes on is summarised this often.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Ports shown in the message; the field has all of the sample.
const MESSAGE_PORTS: usize = 5;

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
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Notifier {
    /// A notifier that has written nothing yet.
    pub fn new() -> Self {
        Self { flood: FloodLimit::new(clock::steady()) }
    }

    /// Write what arrives until every sender is gone and the queue is empty.
    pub fn run(mut self, notices: Receiver<Notice>) {
        loop {
            let notice = match self.flood.summary_due() {
                None => notices.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => notices.recv_timeout(due.saturating_duration_since(clock::steady())),
            };
            let now = clock::steady();
            match notice {
                Ok(notice) if self.flood.admits(notice.event.moment, now) => Entry::of(&notice).write(),
                Ok(_) => logger::count_suppressed(1),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.flood.summary_due().is_some_and(|due| due <= now) {
                self.summarise();
            }
        }
        self.summarise();
    }

    fn summarise(&mut self) {
        if let Some(withheld) = self.flood.take() {
            Entry::of_suppressed(withheld).write();
        }
    }
}

/// Records withheld since the last summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Withheld {
    records: u64,
    /// Of these, hits: with the hit records they add up to `portscan_hits_total`.
    hits: u64,
}

/// A token bucket, and an account of what it withheld. Anyone on the wire can make a scan event with twenty
/// packets and a forged address: without a limit the journal would be theirs to fill.
#[derive(Debug)]
struct FloodLimit {
    tokens: f64,
    refilled: Instant,
    withheld: Withheld,
    /// When the first and the latest of `withheld` came.
    span: Option<(Instant, Instant)>,
}

impl FloodLimit {
    fn new(now: Instant) -> Self {
        Self { tokens: f64::from(BURST), refilled: now, withheld: Withheld::default(), span: None }
    }

    /// Whether a record may be written now; if not, it is on the account.
    fn admits(&mut self, moment: Moment, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.refilled).as_secs_f64() * f64::from(RATE);
        self.tokens = (self.tokens + refill).min(f64::from(BURST));
        self.refilled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return true;
        }
        self.withheld.records += 1;
        self.withheld.hits += u64::from(moment == Moment::Hit);
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        false
    }

    /// When what was withheld is to be told: once the flood is over, or has gone on for long enough.
    fn summary_due(&self) -> Option<Instant> {
        self.span.map(|(first, latest)| (latest + CALM).min(first + SUMMARY_INTERVAL))
    }

    /// Settle the account: `None` if nothing was withheld.
    fn take(&mut self) -> Option<Withheld> {
        self.span.take().map(|_| std::mem::take(&mut self.withheld))
    }
}

/// One log record before it is written.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    message: String,
    fields: Vec<(&'static str, Field)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Field {
    Count(u64),
    Seconds(f64),
    Text(String),
}

impl From<u64> for Field {
    fn from(count: u64) -> Self {
        Field::Count(count)
    }
}

impl From<u32> for Field {
    fn from(count: u32) -> Self {
        Field::Count(count.into())
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Field::Text(text.to_owned())
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Field::Text(text)
    }
}

impl Entry {
    fn of(Notice { interface, event: ScanEvent { moment, scan } }: &Notice) -> Self {
        let ports = match moment {
            Moment::Hit => scan.ports,
            // In the window there may be none left: what counts now is the whole scan.
            Moment::Grown | Moment::Ended => scan.distinct_ports,
        };
        let target = SocketAddr::from(scan.target).to_string();
        let sample = comma_separated(scan.sample_ports.as_slice());
        let lasted = scan.last_probe.nanos_since(scan.started);

        let message_id = match moment {
            Moment::Hit => HIT_ID,
            Moment::Grown => GROWN_ID,
            Moment::Ended => ENDED_ID,
        };
        let mut fields: Vec<(&'static str, Field)> = vec![
            (MESSAGE_ID_KEY, message_id.into()),
            (TITLE_KEY, format!("portscan {}", moment.label()).into()),
            ("event", moment.label().into()),
            ("source", scan.source.to_string().into()),
            ("source_address", scan.source_address.to_string().into()),
            ("ports", ports.into()),
            ("peak_ports", scan.peak_distinct_ports.into()),
            ("hosts", scan.distinct_hosts.into()),
            ("probes", scan.probes.into()),
            ("window_seconds", Field::Seconds(seconds(scan.window_nanos))),
            ("interface", (&**interface).into()),
            ("kind", scan.kind.label().into()),
            ("technique", scan.technique.label().into()),
            ("scan", scan.id.to_string().into()),
            ("target", target.as_str().into()),
            ("sample_ports", sample.into()),
            ("busiest_host_ports", scan.busiest_host_ports.into()),
            ("started", rfc3339(scan.started).into()),
            ("detected", rfc3339(scan.detected).into()),
            ("last_probe", rfc3339(scan.last_probe).into()),
            ("duration_seconds", Field::Seconds((lasted / 1_000) as f64 / 1e6)),
        ];
        if scan.lower_bound {
            fields.push(("lower_bound", "true".into()));
        }
        if let Some(ended) = scan.ended {
            fields.push(("ended", rfc3339(ended).into()));
        }
        Self { message: message(*moment, scan, ports, interface, &target, seconds(lasted)), fields }
    }

    fn of_suppressed(Withheld { records, hits }: Withheld) -> Self {
        Self {
            message: format!(
                "portscan records withheld records={records} hits={hits} burst={BURST} rate={RATE}/s"
            ),
            fields: vec![
                (MESSAGE_ID_KEY, SUPPRESSED_ID.into()),
                (TITLE_KEY, "portscan records withheld".into()),
                ("event", "suppressed".into()),
                ("suppressed", records.into()),
                ("suppressed_hits", hits.into()),
            ],
        }
    }

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

impl Source for Entry {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        self.fields.iter().try_for_each(|(key, field)| visitor.visit_pair(Key::from(*key), field.to_value()))
    }
}

impl ToValue for Field {
    fn to_value(&self) -> Value<'_> {
        match self {
            Field::Count(count) => Value::from(*count),
            Field::Seconds(seconds) => Value::from(*seconds),
            Field::Text(text) => Value::from(text.as_str()),
        }
    }
}

/// The sentence people read and grep for. A hit says what the rule saw; later records add the totals.
fn message(moment: Moment, scan: &Scan, ports: u32, interface: &str, target: &str, duration: f64) -> String {
    let mut out = format!("portscan {} source={} ports={ports}", moment.label(), scan.source);
    if moment != Moment::Hit {
        let Scan { peak_distinct_ports: peak, distinct_hosts: hosts, probes, .. } = scan;
        let _ = write!(out, " peak={peak} hosts={hosts} probes={probes} duration={duration}s");
    }
    let window = span(scan.window_nanos);
    let (kind, technique) = (scan.kind.label(), scan.technique.label());
    let _ = write!(out, " window={window} kind={kind} technique={technique} interface=");
    // The system's word, not the wire's, but whoever makes an interface chooses its name.
    logger::push_logfmt(&mut out, interface);
    let sample = scan.sample_ports.as_slice();
    let sample = comma_separated(&sample[..sample.len().min(MESSAGE_PORTS)]);
    let _ = write!(out, " target={target} sample={sample}");
    if scan.lower_bound {
        out.push_str(" lower_bound=true");
    }
    if scan.source.is_network() || scan.source.address != scan.source_address {
        let _ = write!(out, " address={}", scan.source_address);
    }
    out
}

fn comma_separated(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// Seconds to the millisecond, as messages show them.
fn seconds(nanos: u64) -> f64 {
    (nanos / 1_000_000) as f64 / 1e3
}

/// `10s`, `5m`, `1m30s`: as on the command line.
fn span(nanos: u64) -> String {
    humantime::format_duration(Duration::from_nanos(nanos)).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Kind, PortSample, ScanId, Source as ScanSource, Technique};
    use crate::packet::Timestamp;
    use std::net::IpAddr;

    fn scan(source: &str, target: &str) -> Scan {
        let address: IpAddr = source.parse().unwrap();
        let target: SocketAddr = target.parse().unwrap();
        let at = |millis: u64| Timestamp(1_795_428_000_000_000_000 + millis * 1_000_000);
        Scan {
            id: ScanId(0x1f),
            source: ScanSource::of(address, 64),
            source_address: address,
            kind: Kind::Vertical,
            technique: Technique::Syn,
            window_nanos: 10_000_000_000,
            started: at(0),
            detected: at(210),
            last_probe: at(210),
            ended: None,
            probes: 21,
            ports: 20,
            distinct_ports: 20,
            lower_bound: false,
            peak_distinct_ports: 20,
            distinct_hosts: 1,
            busiest_host_ports: 20,
            first_target: (target.ip(), target.port()),
            target: (target.ip(), target.port()),
            sample_ports: PortSample::lowest([80, 22, 25, 21, 23, 110, 443]),
        }
    }

    fn entry(moment: Moment, scan: Scan, interface: &str) -> Entry {
        Entry::of(&Notice { interface: interface.into(), event: ScanEvent { moment, scan } })
    }

    fn field<'a>(entry: &'a Entry, name: &str) -> Option<&'a Field> {
        entry.fields.iter().find(|(key, _)| *key == name).map(|(_, field)| field)
    }

    #[test]
    fn a_hit_reads_as_the_contract_says() {
        let entry = entry(Moment::Hit, scan("198.51.100.7", "192.0.2.10:22"), "eth0");
        assert_eq!(
            entry.message,
            "portscan hit source=198.51.100.7 ports=20 window=10s kind=vertical technique=syn interface=eth0 \
             target=192.0.2.10:22 sample=21,22,23,25,80"
        );
        let text = |text: &str| Field::Text(text.to_owned());
        assert_eq!(
            entry.fields,
            [
                ("message_id", text(HIT_ID)),
                ("title", text("portscan hit")),
                ("event", text("hit")),
                ("source", text("198.51.100.7")),
                ("source_address", text("198.51.100.7")),
                ("ports", Field::Count(20)),
                ("peak_ports", Field::Count(20)),
                ("hosts", Field::Count(1)),
                ("probes", Field::Count(21)),
                ("window_seconds", Field::Seconds(10.0)),
                ("interface", text("eth0")),
                ("kind", text("vertical")),
                ("technique", text("syn")),
                ("scan", text("000000000000001f")),
                ("target", text("192.0.2.10:22")),
                ("sample_ports", text("21,22,23,25,80,110,443")),
                ("busiest_host_ports", Field::Count(20)),
                ("started", text("2026-11-23T10:00:00.000000Z")),
                ("detected", text("2026-11-23T10:00:00.210000Z")),
                ("last_probe", text("2026-11-23T10:00:00.210000Z")),
                ("duration_seconds", Field::Seconds(0.21)),
            ]
        );
    }

    #[test]
    fn an_ended_scan_tells_its_totals() {
        let mut scan = scan("198.51.100.7", "192.0.2.10:22");
        (scan.ports, scan.distinct_ports, scan.peak_distinct_ports, scan.probes) = (0, 1000, 990, 2011);
        scan.last_probe = scan.started.saturating_add(83_000_000_000);
        scan.ended = Some(scan.started.saturating_add(143_000_000_000));
        let ended = entry(Moment::Ended, scan, "eth0");
        assert_eq!(
            ended.message,
            "portscan ended source=198.51.100.7 ports=1000 peak=990 hosts=1 probes=2011 duration=83s window=10s \
             kind=vertical technique=syn interface=eth0 target=192.0.2.10:22 sample=21,22,23,25,80"
        );
        assert_eq!(field(&ended, "ports"), Some(&Field::Count(1000)));
        assert_eq!(field(&ended, "ended"), Some(&Field::Text("2026-11-23T10:02:23.000000Z".to_owned())));
        let grown = entry(Moment::Grown, scan, "eth0");
        assert!(grown.message.starts_with("portscan grown source=198.51.100.7 ports=1000 peak=990 "));
        assert_eq!(field(&grown, "event"), Some(&Field::Text("grown".to_owned())));
    }

    #[test]
    fn an_ipv6_network_is_the_source_and_the_address_seen_is_told_too() {
        let entry = entry(Moment::Hit, scan("2001:db8:0:1::7", "[2001:db8::1]:22"), "eth0");
        assert_eq!(
            entry.message,
            "portscan hit source=2001:db8:0:1::/64 ports=20 window=10s kind=vertical technique=syn interface=eth0 \
             target=[2001:db8::1]:22 sample=21,22,23,25,80 address=2001:db8:0:1::7"
        );
        assert_eq!(field(&entry, "source_address"), Some(&Field::Text("2001:db8:0:1::7".to_owned())));
    }

    #[test]
    fn an_interface_name_cannot_forge_a_field() {
        let entry = entry(Moment::Hit, scan("198.51.100.7", "192.0.2.10:22"), "e\n x=1\x1b");
        assert!(entry.message.contains(r#" interface="e\n x=1\u001b" target="#), "{}", entry.message);
    }

    #[test]
    fn windows_read_as_on_the_command_line() {
        for (nanos, text) in [(10_000_000_000, "10s"), (1_500_000_000, "1s500ms"), (300_000_000_000, "5m")] {
            assert_eq!(span(nanos), text);
        }
    }

    #[test]
    fn a_flood_gets_a_burst_then_a_rate_and_one_summary() {
        let start = clock::steady();
        let mut flood = FloodLimit::new(start);
        let mut written = 0;
        // 1000 a second for 5 s, every other one a hit.
        for n in 0..5000 {
            let moment = if n % 2 == 0 { Moment::Hit } else { Moment::Ended };
            let now = start + Duration::from_millis(n);
            written += u64::from(flood.admits(moment, now));
            assert!(flood.summary_due().is_none_or(|due| due > now), "told in the midst of the flood");
        }
        assert!((195..=200).contains(&written), "100 + 5 s × 20, got {written}");
        assert_eq!(flood.summary_due(), Some(start + Duration::from_millis(4999) + CALM));
        let withheld = flood.take().unwrap();
        assert_eq!(withheld.records + written, 5000);
        assert!(withheld.hits.abs_diff(2500) <= written);
        assert_eq!((flood.take(), flood.summary_due()), (None, None));
    }

    #[test]
    fn a_flood_that_goes_on_is_summarised_every_ten_seconds() {
        let start = clock::steady();
        let mut flood = FloodLimit::new(start);
        let (mut written, mut withheld, mut summaries) = (0, 0, 0);
        for n in 0..60_000 {
            let now = start + Duration::from_millis(n);
            written += u64::from(flood.admits(Moment::Hit, now));
            if flood.summary_due().is_some_and(|due| due <= now) {
                withheld += flood.take().unwrap().hits;
                summaries += 1;
            }
        }
        assert_eq!(summaries, 5);
        withheld += flood.take().unwrap().hits;
        assert_eq!(written + withheld, 60_000);
    }

    #[test]
    fn an_idle_limit_saves_no_more_than_a_burst() {
        let start = clock::steady();
        let mut flood = FloodLimit::new(start);
        let later = start + Duration::from_secs(3600);
        let written = (0..1000).filter(|_| flood.admits(Moment::Hit, later)).count();
        assert_eq!(written, BURST as usize);
    }

    #[test]
    fn a_summary_says_how_many_and_how_many_hits() {
        let entry = Entry::of_suppressed(Withheld { records: 900, hits: 450 });
        assert_eq!(entry.message, "portscan records withheld records=900 hits=450 burst=100 rate=20/s");
        assert_eq!(field(&entry, "suppressed"), Some(&Field::Count(900)));
    }

    #[test]
    fn the_notifier_ends_when_its_senders_are_gone_and_the_queue_is_empty() {
        let (sender, notices) = std::sync::mpsc::sync_channel(8);
        let event = ScanEvent { moment: Moment::Hit, scan: scan("198.51.100.7", "192.0.2.10:22") };
        sender.try_send(Notice { interface: "eth0".into(), event }).unwrap();
        drop(sender);
        Notifier::new().run(notices);
    }
}
