//! The signals that the process heeds.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A stream of signals of this kind.
pub(super) fn listen(kind: SignalKind, name: &str) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen for {name}: {error}"))
}
