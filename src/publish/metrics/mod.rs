//! Every number the exporter shows: one table of families, read from snapshots at each scrape.
//! Nothing is kept between scrapes, so several Prometheus servers read the same numbers.

mod families;
mod process;

#[cfg(test)]
pub(crate) mod fixture;

pub use process::Usage;

use crate::packet::Timestamp;
use crate::publish::snapshot::InterfaceSnapshot;
use families::{FAMILIES, Family, View};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// The Content-Type of the page; Prometheus 3 refuses a scrape without it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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

/// How much a log record matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Someone should know: every hit is one.
    Warning,
    /// What the exporter does.
    Info,
    /// Why it does it.
    Debug,
}

impl Level {
    /// Every level, most urgent first.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warning, Level::Info, Level::Debug];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

/// Why the web server cut a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Its client held most of the places, or of the scrapes, and another needed one.
    Crowded,
    /// It came when there was no place, and its client already held as many as any other.
    Full,
    /// Its client took too long over the header of a request.
    Header,
    /// It was idle for too long.
    Idle,
    /// Its client took too long to take the answer.
    Request,
}

impl Cut {
    /// Every reason, in label order.
    pub const ALL: [Cut; 5] = [Cut::Crowded, Cut::Full, Cut::Header, Cut::Idle, Cut::Request];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Cut::Crowded => "crowded",
            Cut::Full => "full",
            Cut::Header => "header",
            Cut::Idle => "idle",
            Cut::Request => "request",
        }
    }
}

/// What the web server gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WebCounts {
    /// Connections cut, by `Cut as usize`.
    pub cut: [u64; Cut::ALL.len()],
    /// Scrapes answered 503 because of `--web.max-requests`.
    pub scrapes_refused: u64,
    /// Questions for a source answered 503.
    pub questions_refused: u64,
    /// Connections that could not be accepted, mostly for want of a file descriptor.
    pub accept_failures: u64,
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
    /// Log records written, by `Level as usize`.
    pub log_records: [u64; Level::ALL.len()],
    /// Log records withheld by the flood limit.
    pub log_records_suppressed: u64,
    /// Log records that journald did not take and standard error got instead.
    pub log_records_redirected: u64,
    /// Log records that nobody took.
    pub log_records_lost: u64,
    /// Log records that wait to be written now.
    pub log_records_waiting: u64,
    /// What the web server gave up; it fills this in itself.
    pub web: WebCounts,
}

/// The page: the interfaces, and, for a live exporter, the state of its process. A replay has none, so that the
/// same file gives the same page.
pub fn render(interfaces: &[Arc<InterfaceSnapshot>], process: Option<&ProcessState>) -> Vec<u8> {
    match process {
        Some(state) => render_with(interfaces, Some((state, &Usage::of_this_process()))),
        None => render_with(interfaces, None),
    }
}

/// The page with the resources the process uses given: the same input gives the same bytes.
pub fn render_with(
    interfaces: &[Arc<InterfaceSnapshot>],
    process: Option<(&ProcessState, &Usage)>,
) -> Vec<u8> {
    let view = View { interfaces, process };
    let mut families: Vec<MetricFamily> =
        FAMILIES.iter().filter_map(|family| family.collect(&view)).collect();
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut page = Vec::new();
    TextEncoder::new()
        .encode(&families, &mut page)
        .expect("every family has a name and a sample, and writing to memory does not fail");
    page
}

/// The name of every family there is, sorted; documentation, alerts and dashboards may name no other.
pub fn family_names() -> Vec<&'static str> {
    let mut names: Vec<_> = FAMILIES.iter().map(Family::name).collect();
    names.sort_unstable();
    names
}

/// The text of the `window` label: a duration as operators write it (`10s`, `1m30s`).
pub fn window_label(nanos: u64) -> String {
    humantime::format_duration(Duration::from_nanos(nanos)).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests;
