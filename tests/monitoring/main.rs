//! What an operator sees: real Prometheus, Alertmanager and VictoriaMetrics with the rules, routes and dashboards of the
//! project. One binary, so that these tests, which mostly wait, wait together.
//!
//! - `notifications`: how many messages come of a scan, of a storm, of a restart
//! - `fleet`: a source that stays below the threshold on each of three hosts
//! - `demo`: what `make demo` shows
//! - `response`: the examples for those who act on scans
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]
#![allow(clippy::print_stdout, reason = "what was measured")]

mod demo;
mod fleet;
mod notifications;
mod response;
