//! The rules behind the first: one for sweeps, and a slow one.

use super::bounds::{Bound, SLOW_THRESHOLD, SLOW_WINDOW, SWEEP_THRESHOLD, SWEEP_WINDOW};
use super::checks::{choose, nanos};
use super::error::{SettingsError, invalid};
use super::file::{Detection, Located};
use crate::detect::Rule;
use crate::text::printable;
use crate::text::units::write_nanos;
use std::path::Path;
use std::time::Duration;

/// A sweep that asks for more ports than this is a block whatever the threshold is: they fit a short list.
const MOST_BLOCK_PORTS: u32 = 128;

/// The rules that the file asks for behind the first one, the faster before the slower.
pub(super) fn rules(
    window_nanos: u64,
    threshold: u32,
    file: &Detection,
    path: Option<&Path>,
) -> Result<Vec<Rule>, SettingsError> {
    let mut rules = Vec::new();
    let hosts = number(&SWEEP_THRESHOLD, file.sweep_threshold, path)?;
    let window = window(&SWEEP_WINDOW, file.sweep_window, window_nanos, path)?;
    if let Some((hosts, sweep_nanos)) = hosts.zip(window) {
        rules.push(Rule {
            window_nanos: sweep_nanos,
            ports: Some(threshold.min(MOST_BLOCK_PORTS)),
            peers: Some(hosts),
            ..Rule::SWEEP
        });
    }
    // Who has raised the first threshold does not want to hear of fewer ports by another rule.
    let ports = match (number(&SLOW_THRESHOLD, file.slow_threshold, path)?, file.slow_threshold) {
        (Some(ports), None) => Some(ports.max(3 * threshold).min(SLOW_THRESHOLD.greatest)),
        (ports, _) => ports,
    };
    let window = self::window(&SLOW_WINDOW, file.slow_window, window_nanos, path)?;
    if let Some((ports, slow_nanos)) = ports.zip(window) {
        // A scanner that asks once a minute falls below the threshold now and then.
        rules.push(Rule::of_ports(ports, slow_nanos, slow_nanos / 6));
    }
    rules.sort_by_key(|rule| rule.window_nanos);
    if let [one, other] = rules[..]
        && one.window_nanos == other.window_nanos
    {
        let window = write_nanos(one.window_nanos);
        return invalid(format!(
            "detection.slow_window and detection.sweep_window must differ, and are {window}"
        ));
    }
    Ok(rules)
}

/// A threshold, or `None` if it is 0. (One port or one host is no scan.)
fn number(
    bound: &Bound<u32>,
    file: Option<Located<u32>>,
    path: Option<&Path>,
) -> Result<Option<u32>, SettingsError> {
    match (choose(bound, None, file, path)?, file, path) {
        (1, Some(Located { line, .. }), Some(path)) => {
            let path = printable(&path.to_string_lossy());
            invalid(format!(
                "invalid configuration {path}: line {line}: {} must be 0, or 2 or more, not 1",
                bound.name
            ))
        }
        (value, ..) => Ok((value > 0).then_some(value)),
    }
}

/// A window, in nanoseconds; `None` if nobody asked for it and that of the first rule is as long.
fn window(
    bound: &Bound<Duration>,
    file: Option<Located<Duration>>,
    first_nanos: u64,
    path: Option<&Path>,
) -> Result<Option<u64>, SettingsError> {
    let nanos = nanos(choose(bound, None, file, path)?);
    match (file, path) {
        (Some(Located { line, .. }), Some(path)) if nanos <= first_nanos => {
            let (path, window) = (printable(&path.to_string_lossy()), write_nanos(first_nanos));
            invalid(format!(
                "invalid configuration {path}: line {line}: {} must be longer than the detection window ({window})",
                bound.name
            ))
        }
        _ => Ok((nanos > first_nanos).then_some(nanos)),
    }
}
