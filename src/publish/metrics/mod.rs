//! Every number the exporter shows: one table of families, read from snapshots at each scrape.
//! Nothing is kept between scrapes, so several Prometheus servers read the same numbers.

mod families;
mod family;
mod format;
mod openmetrics;
mod process;
mod protobuf;

pub(crate) use format::{Exemplar, Format};
pub use process::Usage;

use crate::capture::PlaceCounts;
use crate::packet::Timestamp;
use crate::publish::recent::Fill;
use crate::publish::snapshot::InterfaceSnapshot;
use crate::system::counters::Counts;
use families::View;
use family::Family;
use format::Extra;
use prometheus::proto::MetricFamily;
use std::borrow::Cow;
use std::sync::Arc;

/// What the program was built from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Build {
    /// The version of the exporter.
    pub version: Cow<'static, str>,
    /// The commit it was built from; empty if unknown.
    pub revision: Cow<'static, str>,
    /// The compiler's version.
    pub rustversion: Cow<'static, str>,
    /// The version of the libpcap in use.
    pub libpcap: Cow<'static, str>,
}

/// What the shell knows of itself, besides the interfaces.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProcessState {
    /// What it was built from.
    pub build: Build,
    /// Whether the configuration file was taken at the last attempt (true without a file).
    pub config_last_reload_successful: bool,
    /// When a configuration was last taken.
    pub config_last_reload_success: Option<Timestamp>,
    /// The share of addresses that the configuration ignores as sources, by `detect::Family as usize`.
    pub ignored_addresses: [f64; 2],
    /// Ports that the configuration ignores.
    pub ignored_ports: u64,
    /// How full the places for interfaces are that patterns mean.
    pub places: PlaceCounts,
    /// Log records that wait to be written now.
    pub log_records_waiting: u64,
    /// What it has counted; the web server adds its own part.
    pub counts: Counts,
    /// Recent scans that are kept for the API.
    pub recent: Fill,
}

/// The page: the interfaces, and, for a live exporter, the state of its process. A replay has none, so that the
/// same file gives the same page.
pub fn render(interfaces: &[Arc<InterfaceSnapshot>], process: Option<&ProcessState>) -> Vec<u8> {
    match process {
        Some(state) => render_with(interfaces, Some((state, &Usage::of_this_process()))),
        None => render_with(interfaces, None),
    }
}

/// The page of a live exporter in any form, with exemplars.
pub(crate) fn render_as(
    format: Format,
    interfaces: &[Arc<InterfaceSnapshot>],
    state: &ProcessState,
    exemplars: &[Exemplar],
) -> Vec<u8> {
    let usage = Usage::of_this_process();
    let view = View { interfaces, process: Some((state, &usage)) };
    // What is captured is counted from a little later on; nothing was counted before.
    format.encode(&families_of(&view), &Extra { exemplars, since: usage.start_time_seconds })
}

/// The page with the resources the process uses given: the same input gives the same bytes.
pub fn render_with(
    interfaces: &[Arc<InterfaceSnapshot>],
    process: Option<(&ProcessState, &Usage)>,
) -> Vec<u8> {
    let view = View { interfaces, process };
    Format::Text.encode(&families_of(&view), &Extra { exemplars: &[], since: None })
}

fn families_of(view: &View<'_>) -> Vec<MetricFamily> {
    families::all().iter().filter_map(|family| family.collect(view)).collect()
}

/// The name of every family there is, sorted; documentation, alerts and dashboards may name no other.
pub fn family_names() -> Vec<&'static str> {
    families::all().iter().map(Family::name).collect()
}

/// Every family by name, with its labels.
pub fn family_labels() -> Vec<(&'static str, &'static [&'static str])> {
    families::all().iter().map(|family| (family.name(), family.labels())).collect()
}

#[cfg(test)]
mod tests;
