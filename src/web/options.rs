//! How to serve, as `settings` fills it.

use super::address::ListenAddress;
use std::path::PathBuf;

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// Listen on the sockets systemd passed instead.
    pub systemd_socket: bool,
    /// Path of the exposition.
    pub telemetry_path: String,
    /// Scrapes that may be answered at once; 0 is no limit.
    pub max_requests: usize,
    /// Whether `POST /-/reload` works.
    pub enable_lifecycle: bool,
    /// What TLS and passwords there are.
    pub config_file: Option<PathBuf>,
}
