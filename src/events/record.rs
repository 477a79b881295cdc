//! The record of a scan: each of its fields once, with its names and how it is read. The journal, lines of logfmt and JSON, the
//! JSON and the table of `replay` are all written from this list, so they cannot say different things.

use crate::detect::{PortRanges, PortSample, Replies, Scan, ScanId, Source, SourceSample};
use crate::packet::Timestamp;
use crate::text::time::Rfc3339;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

/// A scan, and where it was seen.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The scan as it stands.
    pub scan: &'a Scan,
    /// The interface's name, or the file's.
    pub interface: &'a str,
    /// Steps of the clock so far, of a file.
    pub clock_steps: u64,
}

/// A field of the record. One that a form has no name for is not in it.
pub struct Field {
    /// On lines of the log; in the journal it is `PORTSCAN_…`, in upper case.
    pub log: Option<&'static str>,
    /// In the JSON of `replay`.
    pub json: Option<Named>,
    /// In the table of `replay`.
    pub column: Option<Named>,
    read: for<'a> fn(&Record<'a>) -> Value<'a>,
}

/// A name, and its place among the others: the order is a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// From 1.
    pub place: usize,
    /// The name.
    pub name: &'static str,
}

/// Every field, in the order of the log. A new one takes the next places.
pub static FIELDS: &[Field] = &[
    field(|it| Value::Source(it.scan.source)).log("source").json(1, "source").column(2, "SOURCE"),
    field(|it| Value::Address(it.scan.source_address)).log("source_address").json(16, "source_address"),
    // Of the window at the hit, and of the whole scan later: at the hit both are the same.
    field(|it| it.ports(it.scan.distinct_ports)).log("ports").json(11, "distinct_ports").column(5, "PORTS"),
    field(|it| it.ports(it.scan.peak_distinct_ports))
        .log("peak_ports")
        .json(12, "peak_distinct_ports")
        .column(6, "PEAK"),
    field(|it| Value::Count(it.scan.distinct_hosts.into()))
        .log("hosts")
        .json(13, "distinct_hosts")
        .column(7, "HOSTS"),
    field(|it| Value::Count(it.scan.probes)).log("probes").json(10, "probes").column(8, "PROBES"),
    field(|it| Value::Seconds(it.scan.window_nanos)).log("window_seconds").json(5, "window_seconds"),
    field(|it| Value::Text(it.interface)).log("interface").json(2, "interface").column(1, "FILE"),
    field(|it| Value::Text(it.scan.kind.label())).log("kind").json(3, "kind").column(3, "KIND"),
    field(|it| Value::Text(it.scan.technique.label()))
        .log("technique")
        .json(4, "technique")
        .column(4, "TECHNIQUE"),
    field(|it| Value::Id(it.scan.id)).log("scan").json(17, "scan"),
    field(|it| Value::Target(it.scan.target)).log("target").json(19, "target"),
    field(|it| Value::Sample { lowest: &it.scan.sample_ports, of: it.scan.distinct_ports })
        .log("sample_ports")
        .json(15, "sample_ports"),
    field(|it| Value::Ranges { ranges: &it.scan.asked, of: it.scan.distinct_ports })
        .log("port_ranges")
        .json(22, "ports")
        .column(13, "SAMPLE"),
    field(|it| Value::Rare(left_out(&it.scan.asked, it.scan.distinct_ports).into()))
        .log("ports_left_out")
        .json(23, "ports_left_out"),
    field(|it| Value::Text(it.scan.tool.label())).log("tool").json(31, "tool").column(12, "TOOL"),
    field(|it| it.scan.tool_confidence.map_or(Value::Nothing, |it| Value::Text(it.label())))
        .log("tool_confidence")
        .json(32, "tool_confidence"),
    field(|it| Value::Text(it.scan.evidence.label())).log("evidence").json(33, "evidence"),
    field(|it| it.answers(|of| Value::Ranges { ranges: &of.answered, of: of.answered_count }))
        .log("answered_ports")
        .json(26, "answered_ports")
        .column(14, "ANSWERED"),
    field(|it| it.answers(|of| Value::Ranges { ranges: &of.refused, of: of.refused_count }))
        .log("refused_ports")
        .json(27, "refused_ports"),
    field(|it| it.answers(|of| Value::Ranges { ranges: &of.silent, of: it.silent(of) }))
        .log("silent_ports")
        .json(28, "silent_ports"),
    field(|it| it.answers(|of| Value::Rare(left_out(&of.answered, of.answered_count).into())))
        .log("answered_ports_left_out")
        .json(34, "answered_ports_left_out"),
    field(|it| it.answers(|of| Value::Rare(left_out(&of.refused, of.refused_count).into())))
        .log("refused_ports_left_out")
        .json(35, "refused_ports_left_out"),
    field(|it| it.answers(|of| Value::Rare(left_out(&of.silent, it.silent(of)).into())))
        .log("silent_ports_left_out")
        .json(36, "silent_ports_left_out"),
    field(|it| it.answers(|of| Value::Count(of.answered_count.into()))).log("answered").json(29, "answered"),
    field(|it| it.answers(|of| Value::Count(of.refused_count.into()))).log("refused").json(30, "refused"),
    field(|it| Value::Count(it.scan.busiest_host_ports.into()))
        .log("busiest_host_ports")
        .json(18, "busiest_host_ports"),
    field(|it| Value::Time(Some(it.scan.started)))
        .log("started")
        .json(6, "started")
        .column(9, "STARTED (UTC)"),
    field(|it| Value::Time(Some(it.scan.detected))).log("detected").json(7, "detected"),
    field(|it| Value::Time(Some(it.scan.last_probe))).log("last_probe").json(8, "last_probe"),
    field(|it| it.duration()).log("duration_seconds").column(10, "DURATION"),
    field(|it| it.name()).log("source_name").json(25, "source_name"),
    field(|it| it.country()).log("country").json(37, "country"),
    field(|it| Value::Rare(it.scan.provenance.asn.unwrap_or(0).into())).log("asn").json(38, "asn"),
    field(|it| it.known_scanner()).log("known_scanner").json(39, "known_scanner"),
    field(|it| Value::Mark(it.scan.lower_bound)).log("lower_bound").json(20, "lower_bound"),
    field(|it| Value::Time(it.scan.ended)).log("ended").json(9, "ended"),
    field(|it| Value::Target(it.scan.first_target)).json(14, "first_target").column(11, "FIRST TARGET"),
    field(|it| Value::Rare(it.clock_steps)).json(21, "clock_steps"),
    // One is what everybody expects.
    field(|it| Value::Rare(if it.scan.distinct_sources > 1 { it.scan.distinct_sources.into() } else { 0 }))
        .log("sources")
        .json(24, "distinct_sources"),
    field(|it| Value::Rare(it.scan.signature.ttl.into())).log("ttl").json(40, "ttl"),
    field(|it| Value::Rare(it.scan.signature.window.into())).log("tcp_window").json(41, "tcp_window"),
    field(|it| match it.scan.source {
        Source::MANY => Value::Sources(&it.scan.sample_sources),
        _ => Value::Nothing,
    })
    .log("sample_sources")
    .json(42, "sample_sources"),
];

const fn field(read: for<'a> fn(&Record<'a>) -> Value<'a>) -> Field {
    Field { log: None, json: None, column: None, read }
}

impl Field {
    const fn log(self, name: &'static str) -> Self {
        Self { log: Some(name), ..self }
    }

    const fn json(self, place: usize, name: &'static str) -> Self {
        Self { json: Some(Named { place, name }), ..self }
    }

    const fn column(self, place: usize, name: &'static str) -> Self {
        Self { column: Some(Named { place, name }), ..self }
    }

    /// What a record says here.
    pub fn of<'a>(&self, record: &Record<'a>) -> Value<'a> {
        (self.read)(record)
    }
}

/// The fields that have a name here, by their places.
fn by_place(name: fn(&Field) -> Option<Named>) -> Vec<(&'static str, &'static Field)> {
    let mut named: Vec<_> = FIELDS.iter().filter_map(|field| Some((name(field)?, field))).collect();
    named.sort_by_key(|(named, _)| named.place);
    named.into_iter().map(|(named, field)| (named.name, field)).collect()
}

/// The fields of the JSON of `replay`, in its order.
pub static JSON: LazyLock<Vec<(&'static str, &'static Field)>> =
    LazyLock::new(|| by_place(|field| field.json));

/// The columns of the table of `replay`, from the left.
pub static COLUMNS: LazyLock<Vec<(&'static str, &'static Field)>> =
    LazyLock::new(|| by_place(|field| field.column));

/// How many of so many ports are not among these.
pub(crate) fn left_out(ranges: &PortRanges, of: u32) -> u32 {
    of.saturating_sub(ranges.count())
}

impl<'a> Record<'a> {
    fn ports(&self, count: u32) -> Value<'a> {
        Value::Ports { count, is_least: self.scan.lower_bound }
    }

    fn name(&self) -> Value<'a> {
        self.scan.name.as_ref().map_or(Value::Nothing, |name| Value::Text(name.as_str()))
    }

    fn country(&self) -> Value<'a> {
        self.scan.provenance.country.as_ref().map_or(Value::Nothing, |country| Value::Text(country.as_str()))
    }

    fn known_scanner(&self) -> Value<'a> {
        self.scan.provenance.scanner.as_ref().map_or(Value::Nothing, |name| Value::Text(name.as_str()))
    }

    /// What became of the ports, where that is looked for.
    fn answers(&self, read: impl FnOnce(&'a Replies) -> Value<'a>) -> Value<'a> {
        self.scan.replies.as_ref().map_or(Value::Nothing, read)
    }

    /// How many ports said nothing.
    fn silent(&self, of: &Replies) -> u32 {
        self.scan.distinct_ports.saturating_sub(of.answered_count + of.refused_count)
    }

    fn duration(&self) -> Value<'a> {
        let Scan { started, last_probe, ended, .. } = self.scan;
        Value::Duration { nanos: last_probe.nanos_since(*started), is_over: ended.is_some() }
    }

    /// The fields on a line of the log, each with its name.
    pub fn logged(&self) -> impl Iterator<Item = (&'static str, Value<'a>)> {
        let fields = FIELDS.iter().filter_map(|field| Some((field.log?, field.of(self))));
        fields.filter(|(_, value)| !value.is_nothing())
    }

    /// One JSON object on one line, without the line's end.
    pub fn json(&self) -> String {
        // A flood of scans is a flood of lines: one allocation each.
        let mut json = Vec::with_capacity(768);
        serde_json::to_writer(&mut json, self).expect("text, numbers and lists are always JSON");
        String::from_utf8(json).expect("JSON is UTF-8")
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, field) in JSON.iter() {
            match field.of(self) {
                Value::Rare(0) | Value::Nothing => {}
                value => map.serialize_entry(name, &value)?,
            }
        }
        map.end()
    }
}

/// What a field says, by its type: each form writes it in its own way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A label, or a name.
    Text(&'a str),
    /// Who scans.
    Source(Source),
    /// An address.
    Address(IpAddr),
    /// A port of a host.
    Target((IpAddr, u16)),
    /// Which scan.
    Id(ScanId),
    /// A number.
    Count(u64),
    /// A number of ports, at least where memory was short.
    Ports {
        /// How many.
        count: u32,
        /// Whether there may have been more.
        is_least: bool,
    },
    /// A span of time, in nanoseconds.
    Seconds(u64),
    /// How long the scan lasted until now.
    Duration {
        /// In nanoseconds.
        nanos: u64,
        /// Whether it has ended.
        is_over: bool,
    },
    /// A moment, if it has come.
    Time(Option<Timestamp>),
    /// The lowest of so many ports.
    Sample {
        /// Some of them, or all.
        lowest: &'a PortSample,
        /// How many there are.
        of: u32,
    },
    /// Ports as ranges, out of so many.
    Ranges {
        /// All of them, or those that say most.
        ranges: &'a PortRanges,
        /// How many ports there are.
        of: u32,
    },
    /// Some addresses of many.
    Sources(&'a SourceSample),
    /// Something to mind; lines of the log have it only then.
    Mark(bool),
    /// A number that is left out if it is 0.
    Rare(u64),
    /// Nothing: it is left out.
    Nothing,
}

/// Seconds to the microsecond, as lines of the log have them.
fn seconds(nanos: u64) -> f64 {
    (nanos / 1_000) as f64 / 1e6
}

impl Value<'_> {
    /// Whether there is nothing to say.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Value::Time(None) | Value::Mark(false) | Value::Rare(0) | Value::Nothing)
    }

    /// Whether it reads best from the right.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Value::Count(_) | Value::Ports { .. } | Value::Duration { .. })
    }

    /// For a line of the log: numbers stay numbers.
    pub(crate) fn as_log(&self) -> log::kv::Value<'_> {
        match *self {
            Value::Count(count) | Value::Rare(count) => count.into(),
            Value::Ports { count, .. } => count.into(),
            Value::Seconds(nanos) | Value::Duration { nanos, .. } => seconds(nanos).into(),
            _ => log::kv::Value::from_display(self),
        }
    }
}

/// As text in a line of the log.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Text(text) => f.write_str(text),
            Value::Source(source) => source.fmt(f),
            Value::Address(address) => address.fmt(f),
            Value::Target(target) => SocketAddr::from(target).fmt(f),
            Value::Id(id) => id.fmt(f),
            Value::Count(count) | Value::Rare(count) => count.fmt(f),
            Value::Ports { count, .. } => count.fmt(f),
            Value::Seconds(nanos) | Value::Duration { nanos, .. } => seconds(nanos).fmt(f),
            Value::Time(Some(time)) => Rfc3339(time).fmt(f),
            Value::Time(None) | Value::Nothing => Ok(()),
            Value::Sample { lowest, .. } => write_list(f, lowest.as_slice()),
            Value::Ranges { ranges, .. } => ranges.fmt(f),
            Value::Sources(sample) => write_list(f, sample.as_slice()),
            Value::Mark(mark) => mark.fmt(f),
        }
    }
}

/// `21,22,23`.
fn write_list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(f, "{comma}{item}")?;
    }
    Ok(())
}

/// In JSON.
impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Count(count) | Value::Rare(count) => serializer.serialize_u64(count),
            Value::Ports { count, .. } => serializer.serialize_u32(count),
            // Without a fraction where there is none: `10`, `0.5`.
            Value::Seconds(nanos) | Value::Duration { nanos, .. } => match nanos % 1_000_000_000 {
                0 => serializer.serialize_u64(nanos / 1_000_000_000),
                _ => serializer.serialize_f64(nanos as f64 / 1e9),
            },
            Value::Time(None) | Value::Nothing => serializer.serialize_none(),
            Value::Sample { lowest, .. } => lowest.as_slice().serialize(serializer),
            Value::Sources(sample) => sample.as_slice().serialize(serializer),
            Value::Mark(mark) => serializer.serialize_bool(mark),
            Value::Source(_)
            | Value::Address(_)
            | Value::Target(_)
            | Value::Id(_)
            | Value::Time(Some(_))
            | Value::Ranges { .. } => serializer.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::scan::{after, scan};
    use std::collections::BTreeSet;

    fn record<'a>(scan: &'a Scan, interface: &'a str) -> Record<'a> {
        Record { scan, interface, clock_steps: 0 }
    }

    #[test]
    fn no_name_and_no_place_is_taken_twice_or_left_out() {
        for name in [|field: &Field| field.json, |field: &Field| field.column] {
            let named: Vec<Named> = FIELDS.iter().filter_map(name).collect();
            let places: BTreeSet<usize> = named.iter().map(|named| named.place).collect();
            assert_eq!(places, (1..=named.len()).collect(), "the next place is the one after these");
            let names: BTreeSet<&str> = named.iter().map(|named| named.name).collect();
            assert_eq!(names.len(), named.len());
        }
        let names: Vec<&str> = FIELDS.iter().filter_map(|field| field.log).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn a_scan_is_one_json_object_with_its_keys_in_the_order_of_the_contract() {
        let scan = Scan {
            started: Timestamp(1_795_428_000_123_456_789),
            detected: after(1_000),
            last_probe: after(5_000),
            ended: Some(after(65_000)),
            probes: 1200,
            ports: 0,
            distinct_ports: 1000,
            peak_distinct_ports: 990,
            busiest_host_ports: 999,
            target: ([192, 0, 2, 11].into(), 23),
            ..scan("198.51.100.7", "192.0.2.10:22")
        };
        assert_eq!(
            record(&scan, "a \"b\".pcap").json(),
            concat!(
                r#"{"source":"198.51.100.7","interface":"a \"b\".pcap","kind":"vertical","technique":"syn","#,
                r#""window_seconds":10,"started":"2026-11-23T10:00:00.123456Z","#,
                r#""detected":"2026-11-23T10:00:01.000000Z","last_probe":"2026-11-23T10:00:05.000000Z","#,
                r#""ended":"2026-11-23T10:01:05.000000Z","probes":1200,"distinct_ports":1000,"#,
                r#""peak_distinct_ports":990,"distinct_hosts":1,"first_target":"192.0.2.10:22","#,
                r#""sample_ports":[21,22,23,25,80,110,443],"source_address":"198.51.100.7","#,
                r#""scan":"000000000000001f","busiest_host_ports":999,"target":"192.0.2.11:23","lower_bound":false,"#,
                r#""ports":"21-23,25,80,110,443","ports_left_out":993,"tool":"unknown","evidence":"spoofable"}"#
            )
        );
    }

    #[test]
    fn an_open_scan_of_an_ipv6_network_comes_with_the_address_that_was_seen() {
        let scan = Scan { window_nanos: 500_000_000, ..scan("2001:db8::7", "[2001:db8:1::10]:443") };
        let record = Record { clock_steps: 3, ..record(&scan, "-") };
        let value: serde_json::Value = serde_json::from_str(&record.json()).unwrap();
        assert_eq!(value["source"], "2001:db8::/64");
        assert_eq!(value["clock_steps"], 3);
        assert_eq!(value["source_address"], "2001:db8::7");
        assert_eq!(value["ended"], serde_json::Value::Null);
        assert_eq!(value["window_seconds"], 0.5);
        assert_eq!(value["first_target"], "[2001:db8:1::10]:443");
    }

    #[test]
    fn a_line_of_the_log_has_the_fields_in_their_order_and_leaves_out_what_is_nothing() {
        let logged = |scan: &Scan| -> Vec<String> {
            record(scan, "eth0").logged().map(|(name, value)| format!("{name}={}", value.as_log())).collect()
        };
        let mut scan = scan("198.51.100.7", "192.0.2.10:22");
        let mut expected = vec![
            "source=198.51.100.7",
            "source_address=198.51.100.7",
            "ports=20",
            "peak_ports=20",
            "hosts=1",
            "probes=21",
            "window_seconds=10",
            "interface=eth0",
            "kind=vertical",
            "technique=syn",
            "scan=000000000000001f",
            "target=192.0.2.10:22",
            "sample_ports=21,22,23,25,80,110,443",
            "port_ranges=21-23,25,80,110,443",
            "ports_left_out=13",
            "tool=unknown",
            "evidence=spoofable",
            "busiest_host_ports=20",
            "started=2026-11-23T10:00:00.000000Z",
            "detected=2026-11-23T10:00:00.210000Z",
            "last_probe=2026-11-23T10:00:00.210000Z",
            "duration_seconds=0.21",
        ];
        assert_eq!(logged(&scan), expected);
        (scan.lower_bound, scan.ended) = (true, Some(after(143_000)));
        expected.extend(["lower_bound=true", "ended=2026-11-23T10:02:23.000000Z"]);
        assert_eq!(logged(&scan), expected);
    }
}
