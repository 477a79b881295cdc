//! Who scanned me, and which ports: the command `scans`. It reads the journal, which has all scans and outlives a restart, or asks a
//! running exporter for those that it remembers; and prints the fields of the record, whichever there are.

mod ask;
mod journal;
mod print;

use crate::packet::Timestamp;
use crate::settings::flags::{AnswerFormat, ScansFlags};
use crate::system::clock;
use crate::text::units::Sources;
use crate::web::{Credentials, ListenAddress};
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The most scans that are shown: a journal can have a year of them.
const MOST: usize = 10_000;

/// A scan as it was last reported, by the names of the JSON of `replay`.
type Told = Map<String, Value>;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    since: Timestamp,
    source: Option<Sources>,
}

/// What was found, the latest change first.
#[derive(Debug, Default)]
struct Found {
    scans: Vec<Told>,
    /// Whether there are more.
    is_cut: bool,
    /// Hits of which no record was written, since they came in a flood or a storm.
    withheld: u64,
    /// Storms in which a source was that is asked for, as far as they name it.
    storms: BTreeSet<String>,
}

/// What to print; or why there is nothing. Without an exporter it reads the journal.
pub fn run(flags: &ScansFlags, exporter: Option<(ListenAddress, Credentials)>) -> Result<String, String> {
    let asked = Asked { since: flags.since.before(clock::wall()), source: flags.source };
    let (mut found, teller) = match exporter {
        Some((address, credentials)) => {
            (ask::exporter(&asked, &address, &credentials)?, format!("the exporter at {address}"))
        }
        None => (journal::read(&asked, &flags.unit)?, journal::name(&flags.unit)),
    };
    // As a journal reads: what came last is at the end.
    found.scans.reverse();
    Ok(match flags.format {
        AnswerFormat::Json => print::json(&found.scans),
        AnswerFormat::Text => print::text(&found, asked.since, &teller, &flags.unit),
    })
}

impl Asked {
    /// The same of a storm, by the sources that its record names: one, or a list.
    fn is_in(&self, named: Option<&Value>) -> bool {
        let named = named.map(|named| named.as_array().map_or(std::slice::from_ref(named), Vec::as_slice));
        let is = |source: &Value| self.is_of(&Told::from_iter([(String::from("source"), source.clone())]));
        named.unwrap_or_default().iter().any(is)
    }

    /// Whether the scan is of the source that is asked for: an address of it, or all of a network.
    fn is_of(&self, scan: &Told) -> bool {
        let asked = match self.source {
            None => return true,
            Some(Sources::Many) => {
                return scan.get("source").and_then(Value::as_str) == Some(&Sources::Many.to_string());
            }
            Some(Sources::Within(asked)) => asked,
        };
        let network = |name: &str| {
            let text = scan.get(name)?.as_str()?;
            text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        };
        let sampled = |address: &Value| address.as_str().and_then(|it| it.parse::<IpAddr>().ok());
        let sample = scan.get("sample_sources").and_then(Value::as_array).into_iter().flatten();
        ["source", "source_address"]
            .into_iter()
            .filter_map(network)
            .chain(sample.filter_map(sampled).map(IpNet::from))
            .any(|network| asked.contains(&network) || network.contains(&asked))
    }
}
