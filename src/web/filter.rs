//! Which scans are asked for: the query of `/api/v1/scans` and `/api/v1/events`.

use super::limits::SCANS_PAGE;
use crate::detect::{Grade, Kind, Source, Technique};
use crate::events::record::{JSON, Record};
use crate::packet::Timestamp;
use crate::system::clock;
use crate::text::quote;
use crate::text::time::Since;
use crate::text::units::{Sources, parse_sources};
use ipnet::IpNet;
use std::borrow::Cow;

/// A query that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    source: Option<Sources>,
    since: Option<Timestamp>,
    open: Option<bool>,
    /// Fields of the record, and the text that they have.
    texts: Vec<(&'static str, String)>,
    /// The most scans of an answer.
    pub(super) limit: usize,
    /// Only scans that were last changed before this one.
    pub(super) cursor: Option<u64>,
}

impl Filter {
    /// What a query asks for; an error says what is wrong with it.
    pub(super) fn of(query: Option<&str>) -> Result<Self, String> {
        let mut filter = Self {
            source: None,
            since: None,
            open: None,
            texts: Vec::new(),
            limit: SCANS_PAGE,
            cursor: None,
        };
        let mut given: Vec<Cow<'_, str>> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            // One of them would be ignored, and nobody could tell which.
            if given.contains(&name) {
                return Err(format!("{name}: given twice"));
            }
            filter.take(&name, &value)?;
            given.push(name);
        }
        Ok(filter)
    }

    /// The same for events: what comes has no past, and no pages.
    pub(super) fn of_events(query: Option<&str>) -> Result<Self, String> {
        let filter = Self::of(query)?;
        let names = form_urlencoded::parse(query.unwrap_or("").as_bytes()).map(|(name, _)| name);
        match names.into_iter().find(|name| ["cursor", "limit", "since"].contains(&&**name)) {
            Some(name) => Err(format!(
                "{name}: of scans, not of events: they come from now on, or from after Last-Event-ID"
            )),
            None => Ok(filter),
        }
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let expected = |what: &str| format!("{name}: expected {what}, found {}", quote(value));
        match name {
            "source" => self.source = Some(parse_sources(value).map_err(|_| expected(SOURCES))?),
            "since" => {
                let since: Since = value.parse().map_err(|_| expected(SINCE))?;
                self.since = Some(since.before(clock::wall()));
            }
            "open" => self.open = Some(value.parse().map_err(|_| expected("true or false"))?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=SCANS_PAGE).contains(limit));
                self.limit = limit.ok_or_else(|| expected(&format!("a number from 1 to {SCANS_PAGE}")))?;
            }
            "cursor" => self.cursor = Some(value.parse().map_err(|_| expected("a cursor of an answer"))?),
            _ => match JSON.iter().find(|(field, _)| *field == name) {
                Some((field, _)) => {
                    let known = words(field);
                    if !known.is_empty() && !known.contains(&value) {
                        return Err(expected(&known.join(", ")));
                    }
                    self.texts.push((field, value.to_owned()));
                }
                None => return Err(format!("unknown parameter {} (known: {})", quote(name), known())),
            },
        }
        Ok(())
    }

    /// Whether it asks for this scan.
    pub(super) fn takes(&self, record: &Record<'_>) -> bool {
        let scan = record.scan;
        let is_of = |asked: &Sources| {
            let Sources::Within(asked) = asked else { return scan.source == Source::MANY };
            // An address of an IPv6 source stands for all of it.
            if scan.source == Source::MANY {
                return scan.sample_sources.as_slice().iter().any(|address| asked.contains(address));
            }
            let source = IpNet::new(scan.source.address, scan.source.prefix);
            asked.contains(&scan.source_address)
                || source.is_ok_and(|source| asked.contains(&source) || source.contains(asked))
        };
        self.source.as_ref().is_none_or(is_of)
            && self.since.is_none_or(|since| scan.last_probe >= since)
            && self.open.is_none_or(|open| scan.ended.is_none() == open)
            && self.texts.iter().all(|(name, text)| {
                let field = JSON.iter().find(|(field, _)| field == name);
                field.is_some_and(|(_, field)| field.of(record).to_string() == *text)
            })
    }
}

const SOURCES: &str = "an address, a network like 192.0.2.0/24, or many";
const SINCE: &str = "a duration like 24h or a time like 2026-01-01T00:00:00Z";

/// The words that a field can have, if they are few: any other finds nothing, for ever.
fn words(field: &str) -> Vec<&'static str> {
    match field {
        "kind" => Kind::ALL.map(Kind::label).to_vec(),
        "technique" => Technique::ALL.map(Technique::label).to_vec(),
        "evidence" => Grade::ALL.map(Grade::label).to_vec(),
        _ => Vec::new(),
    }
}

/// The parameters that there are. Any field of a record is one; those are named that have few values.
fn known() -> String {
    format!("source, since, open, limit, cursor, and the fields of a scan, such as {}", WORDS.join(", "))
}

/// Fields of few values.
const WORDS: [&str; 4] = ["evidence", "interface", "kind", "technique"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::scan::{after, scan};

    fn takes(query: &str) -> bool {
        let scan = scan("198.51.100.7", "192.0.2.10:22");
        let record = Record { scan: &scan, interface: "eth0", clock_steps: 0 };
        Filter::of(Some(query)).unwrap_or_else(|why| panic!("{query}: {why}")).takes(&record)
    }

    #[test]
    fn each_parameter_leaves_out_what_it_does_not_mean() {
        for query in [
            "",
            "source=198.51.100.7",
            "source=198.51.100.0%2F24",
            "kind=vertical&technique=syn&interface=eth0",
            "evidence=spoofable",
            "open=true&since=2026-11-23T09:00:00Z",
            "scan=000000000000001f",
        ] {
            assert!(takes(query), "{query}");
        }
        for query in [
            "source=198.51.100.8",
            "source=2001:db8::/32",
            "kind=block",
            "interface=eth1",
            "evidence=handshake",
            "open=false",
            "since=2126-01-01T00:00:00Z",
        ] {
            assert!(!takes(query), "{query}");
        }
        let network = scan("2001:db8::7", "[2001:db8:1::10]:443");
        let record = Record { scan: &network, interface: "eth0", clock_steps: 0 };
        for query in [
            "source=2001:db8::7",
            "source=2001:db8::1234",
            "source=2001:db8::/64",
            "source=2001%3Adb8%3A%3A%2F32",
        ] {
            assert!(Filter::of(Some(query)).unwrap().takes(&record), "{query}");
        }
        let is_by_many = |record| Filter::of(Some("source=many")).unwrap().takes(record);
        assert!(!is_by_many(&record));
        let many = crate::detect::Scan { source: Source::MANY, ..*record.scan };
        assert!(is_by_many(&Record { scan: &many, ..record }));
        assert!(after(0) < after(1));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (query, why) in [
            ("sauce=1", "unknown parameter \"sauce\" (known: source, since"),
            (
                "source=host",
                "source: expected an address, a network like 192.0.2.0/24, or many, found \"host\"",
            ),
            ("since=yesterday", "since: expected a duration like 24h"),
            ("open=1", "open: expected true or false"),
            ("limit=0", "limit: expected a number from 1 to"),
            ("limit=100000", "limit: expected a number from 1 to"),
            ("cursor=x", "cursor: expected a cursor"),
            ("kind=block&kind=vertical", "kind: given twice"),
            ("source=192.0.2.1&source=192.0.2.2", "source: given twice"),
            ("limit=1&limit=1", "limit: given twice"),
            ("kind=Vertical", "kind: expected vertical, horizontal, block"),
            ("technique=sin", "technique: expected "),
            ("evidence=proof", "evidence: expected spoofable, handshake, found \"proof\""),
            ("source=%ff%fe", "source: expected an address"),
        ] {
            let said = Filter::of(Some(query)).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
        for name in ["limit=1", "cursor=1", "since=1h"] {
            let said = Filter::of_events(Some(name)).unwrap_err();
            assert!(said.contains("of scans, not of events"), "{said}");
        }
        assert!(Filter::of_events(Some("kind=block&open=true")).is_ok());
    }
}
