//! The journal's records of scans, as `journalctl` gives them: the latest first, of each scan its latest.
//!
//! The adversary is a local user, who can write any field into the journal, but not the name of the unit: journald writes that.

use super::{Asked, Found, MOST, Told};
use crate::events::notify::{
    ENDED_ID, GROWN_ID, HIT_ID, STORM_ENDED_ID, STORM_GROWN_ID, STORM_ID, SUPPRESSED_ID,
};
use crate::events::record::FIELDS;
use crate::text::printable;
use crate::web::SCANS_SCHEMA;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

/// The records, as one says where they come from.
pub(super) fn name(unit: &str) -> String {
    match unit {
        "" => String::from("the journal"),
        unit => format!("the journal of {}", printable(&whole(unit))),
    }
}

/// `portscan_exporter` is `portscan_exporter.service`.
fn whole(unit: &str) -> String {
    if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") }
}

/// What to do where the journal does not help.
const REMEDY: &str = "ask a running exporter instead: --web.listen-address=:10220";

/// `journalctl` with these words, of a unit's records if one is named.
fn journalctl(unit: &str) -> Command {
    let mut command = Command::new("journalctl");
    // Without --all a field beyond 4096 bytes is left out: a line has a bound.
    command
        .args(["--output=json", "--no-pager", "--reverse"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if !unit.is_empty() {
        command.arg(format!("_SYSTEMD_UNIT={}", whole(unit)));
    }
    command
}

/// Why nothing may be there to find: no record of the unit, or of anybody, that this user may read; and what journalctl says to that.
fn blind(unit: &str, said: &str) -> Option<String> {
    let has_any = |unit: &str| {
        let output = journalctl(unit).arg("--lines=1").output();
        output.is_ok_and(|output| output.stdout.first() == Some(&b'{'))
    };
    if has_any(unit) {
        return None;
    }
    // It says who may read the journal, and how not to be told.
    let hint =
        said.split("Pass -q").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let hint = if hint.is_empty() { hint } else { format!(" ({})", printable(&hint)) };
    Some(match unit {
        "" => format!("the journal has no record that this user may read{hint}; {REMEDY}"),
        unit if has_any("") => format!(
            "the journal has no record of {} that this user may read{hint}: another unit (--unit)? or {REMEDY}",
            printable(&whole(unit))
        ),
        _ => format!("there is no journal that this user may read{hint}; {REMEDY}"),
    })
}

pub(super) fn read(asked: &Asked, unit: &str) -> Result<Found, String> {
    let mut command = journalctl(unit);
    command.arg(format!("--since=@{}", asked.since.nanos() / 1_000_000_000)).args(
        [HIT_ID, GROWN_ID, ENDED_ID, SUPPRESSED_ID, STORM_ID, STORM_GROWN_ID, STORM_ENDED_ID]
            .map(|id| format!("MESSAGE_ID={id}")),
    );
    let mut journalctl =
        command.spawn().map_err(|error| format!("cannot run journalctl: {error}; {REMEDY}"))?;
    let found = match journalctl.stdout.take() {
        Some(records) => of_records(BufReader::new(records), asked),
        None => Ok(Found::default()),
    };
    let (ended, said) = end(journalctl);
    let found = found.map_err(|error| format!("cannot read what journalctl prints: {error}"))?;
    // It was stopped when there was enough.
    if found.is_cut || !found.scans.is_empty() {
        return Ok(found);
    }
    if !ended {
        return Err(format!("journalctl failed: {}; {REMEDY}", printable(said.trim())));
    }
    // Nothing found is no scan only where one would have been found.
    blind(unit, &said).map_or(Ok(found), Err)
}

/// Whether it ended well, and what it said.
fn end(mut journalctl: Child) -> (bool, String) {
    let mut said = Vec::new();
    // It may still be printing what nobody reads any more: then it ends with its pipe, which is closed by now.
    if let Some(stderr) = journalctl.stderr.take() {
        let _ = stderr.take(4096).read_to_end(&mut said);
    }
    let ended = journalctl.wait().is_ok_and(|status| status.success());
    (ended, String::from_utf8_lossy(&said).into_owned())
}

/// Of each scan the first record that comes, which is its latest.
fn of_records(records: impl BufRead, asked: &Asked) -> std::io::Result<Found> {
    let types = types();
    let (mut found, mut seen) = (Found::default(), HashSet::new());
    for line in records.split(b'\n') {
        let Ok(record) = serde_json::from_slice::<Map<String, Value>>(&line?) else { continue };
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        if let Some(storm) = text("PORTSCAN_STORM")
            && found.storms.len() < MOST
            && asked.is_in(record.get("PORTSCAN_SOURCE"))
        {
            found.storms.insert(storm.to_owned());
        }
        if let Some(hits) = text("PORTSCAN_SUPPRESSED_HITS") {
            found.withheld += hits.parse::<u64>().unwrap_or(0);
            continue;
        }
        let names = ["PORTSCAN_SCAN", "PORTSCAN_INTERFACE", "PORTSCAN_SOURCE"].map(text);
        if names.contains(&None) {
            continue;
        }
        let told = told(&record, &types);
        if !asked.is_of(&told) || !seen.insert(names.map(|name| name.map(str::to_owned))) {
            continue;
        }
        if found.scans.len() == MOST {
            found.is_cut = true;
            break;
        }
        found.scans.push(told);
    }
    Ok(found)
}

/// What the schema says of each field.
fn types() -> Map<String, Value> {
    let schema: Value = serde_json::from_str(SCANS_SCHEMA).unwrap_or_default();
    schema["$defs"]["scan"]["properties"].as_object().cloned().unwrap_or_default()
}

/// A record, by the names and types of JSON: all in a journal is text.
fn told(record: &Map<String, Value>, types: &Map<String, Value>) -> Told {
    let mut told = Told::new();
    let mut fields: Vec<_> = FIELDS.iter().filter_map(|field| Some((field.json?, field.log?))).collect();
    fields.sort_by_key(|(json, _)| json.place);
    for (json, log) in fields {
        let text = record.get(&format!("PORTSCAN_{}", log.to_uppercase())).and_then(Value::as_str);
        let written = &types.get(json.name).unwrap_or(&Value::Null)["type"];
        if let Some(value) = typed(text, written) {
            told.insert(json.name.to_owned(), value);
        }
    }
    told
}

/// A value of a type of the schema. A record leaves out what is nothing.
fn typed(text: Option<&str>, written: &Value) -> Option<Value> {
    let is =
        |name: &str| *written == name || written.as_array().is_some_and(|all| all.contains(&name.into()));
    let text = match text {
        Some(text) => text,
        None if is("boolean") => return Some(Value::Bool(false)),
        None if is("null") => return Some(Value::Null),
        None => return None,
    };
    let number = || serde_json::from_str::<Value>(text).ok().filter(Value::is_number);
    if is("integer") || is("number") {
        return number();
    }
    if is("boolean") {
        return Some(Value::Bool(text == "true"));
    }
    if is("array") {
        let value = |part: &str| part.parse::<u64>().map_or_else(|_| Value::from(part), Value::from);
        return Some(text.split(',').filter(|part| !part.is_empty()).map(value).collect::<Vec<_>>().into());
    }
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{EventKind, Scan};
    use crate::events::record::Record;
    use crate::fixture::scan::{after, scan};
    use crate::packet::Timestamp;

    /// A line as journalctl prints it.
    fn line(kind: EventKind, scan: &Scan, interface: &str) -> String {
        let record = Record { scan, interface, clock_steps: 0 };
        let mut fields: Map<String, Value> = record
            .logged()
            .map(|(name, value)| {
                (format!("PORTSCAN_{}", name.to_uppercase()), value.as_log().to_string().into())
            })
            .collect();
        fields.insert(String::from("PORTSCAN_EVENT"), kind.label().into());
        fields.insert(String::from("_BOOT_ID"), vec![1, 2].into());
        Value::from(fields).to_string()
    }

    fn read(lines: &[String], source: Option<&str>) -> Found {
        let source = source.map(|source| crate::text::units::parse_sources(source).unwrap());
        of_records(lines.join("\n").as_bytes(), &Asked { since: Timestamp(0), source }).unwrap()
    }

    #[test]
    fn scans_by_many_can_be_asked_for() {
        let one = scan("198.51.100.7", "192.0.2.10:22");
        let mut many = scan("198.51.100.8", "192.0.2.10:22");
        many.source = crate::detect::Source::MANY;
        let lines = [line(EventKind::Hit, &one, "eth0"), line(EventKind::Hit, &many, "eth0")];
        let sources = |asked| {
            let scans = read(&lines, asked).scans;
            scans.iter().map(|scan| scan["source"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(sources(None), ["198.51.100.7", "many"]);
        assert_eq!(sources(Some("many")), ["many"]);
        assert_eq!(
            sources(Some("198.51.100.0/24")),
            ["198.51.100.7", "many"],
            "by the address that it names"
        );
    }

    #[test]
    fn a_scan_of_the_journal_is_the_object_that_the_api_gives() {
        let mut it = scan("198.51.100.7", "192.0.2.10:22");
        (it.distinct_ports, it.ended, it.probes) = (1000, Some(after(65_000)), 1200);
        let mut lines = vec![line(EventKind::Ended, &it, "eth0")];
        let hit = scan("198.51.100.7", "192.0.2.10:22");
        lines.push(line(EventKind::Hit, &hit, "eth0"));
        lines.push(String::from("{\"MESSAGE\":null}"));
        lines.push(String::from("not JSON"));
        let found = read(&lines, None);
        assert_eq!(found.scans.len(), 1, "the latest record of one scan");
        let record = Record { scan: &it, interface: "eth0", clock_steps: 0 };
        let mut expected: Told = serde_json::from_str(&record.json()).unwrap();
        // What no record of the journal has.
        expected.remove("first_target");
        assert_eq!(found.scans[0], expected);
        assert!(read(&lines[1..], None).scans[0]["ended"].is_null(), "it is open");
    }

    #[test]
    fn a_source_is_an_address_or_a_network_and_another_interface_another_scan() {
        let (v4, v6) = (scan("198.51.100.7", "192.0.2.10:22"), scan("2001:db8::7", "[2001:db8:1::10]:443"));
        let lines = ["eth0", "eth1"].map(|interface| line(EventKind::Hit, &v4, interface));
        let lines = [&lines[..], &[line(EventKind::Hit, &v6, "eth0")]].concat();
        for (source, scans) in [
            (None, 3),
            (Some("198.51.100.7"), 2),
            (Some("198.51.0.0/16"), 2),
            (Some("198.51.100.8"), 0),
            (Some("2001:db8::/64"), 1),
            // Another address of the same party.
            (Some("2001:db8::1234"), 1),
            (Some("2001:db8:1::/64"), 0),
        ] {
            assert_eq!(read(&lines, source).scans.len(), scans, "{source:?}");
        }
    }

    /// A year of scans, and what a flood withheld.
    #[test]
    fn no_more_are_kept_than_are_shown() {
        let it = scan("198.51.100.7", "192.0.2.10:22");
        let lines: Vec<String> = (0..=MOST).map(|n| line(EventKind::Hit, &it, &format!("eth{n}"))).collect();
        let found = read(&lines, None);
        assert!(found.scans.len() == MOST && found.is_cut);
        let found = read(&lines[1..], None);
        assert!(found.scans.len() == MOST && !found.is_cut);
        let withheld = String::from("{\"PORTSCAN_SUPPRESSED_HITS\":\"12\",\"PORTSCAN_SUPPRESSED\":\"30\"}");
        assert_eq!(read(&[withheld.clone(), withheld], None).withheld, 24);
    }
}
