//! The HTTP side: who may ask what, and how long they may take. It sees the board and the metrics, never a
//! detector.
//!
//! | endpoint | methods | |
//! |---|---|---|
//! | `/` | GET, HEAD | landing page |
//! | `/metrics` (`telemetry_path`) | GET, HEAD | the exposition, gzip when asked for |
//! | `/-/healthy` | GET, HEAD | 200, or 503 while a capture loop has not ticked for 10 s |
//! | `/-/ready` | GET, HEAD | 200, or 503 until every interface captures and has published |
//! | `/-/reload` | POST | reads the configuration again; 403 unless `enable_lifecycle` |

mod connection;
mod listen;
mod pages;
mod server;

pub use listen::{ListenAddress, from_systemd};
pub use server::{Limits, serve};

use crate::board::Board;
use crate::metrics::ProcessState;
use std::fmt;
use std::future::Future;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;

/// What of the server an operator chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to listen, unless systemd hands over the sockets.
    pub listen: Vec<ListenAddress>,
    /// The path of the exposition.
    pub telemetry_path: String,
    /// The most scrapes at a time; 0 is no limit.
    pub max_requests: usize,
    /// Whether `POST /-/reload` is allowed.
    pub enable_lifecycle: bool,
    /// Whether systemd hands over the sockets.
    pub systemd_socket: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::default()],
            telemetry_path: "/metrics".to_owned(),
            max_requests: 40,
            enable_lifecycle: false,
            systemd_socket: false,
        }
    }
}

impl Options {
    /// Whether they can be served, without starting anything.
    pub fn check(&self) -> Result<(), String> {
        let path = &self.telemetry_path;
        let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte));
        if !path.starts_with('/') || !plain {
            return Err(format!("telemetry path \"{}\" is not a path like /metrics", path.escape_debug()));
        }
        if path.starts_with("/-/") {
            return Err(format!(
                "telemetry path \"{path}\" is taken: /-/ holds health, readiness and reload"
            ));
        }
        if self.listen.is_empty() && !self.systemd_socket {
            return Err("there is no address to listen on".to_owned());
        }
        Ok(())
    }

    /// Listens on every address. Done before the captures start, so that a taken port is an error of start.
    pub fn bind(&self) -> Result<Vec<TcpListener>, String> {
        self.check()?;
        if self.systemd_socket {
            return from_systemd();
        }
        let mut listeners = Vec::new();
        for address in &self.listen {
            listeners.extend(address.bind()?);
        }
        Ok(listeners)
    }
}

/// A reload under way: `Err` says what is wrong with the configuration.
pub type Reloading = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What the server shows and can set off.
#[derive(Clone)]
pub struct App {
    /// What an operator chose.
    pub options: Options,
    /// The interfaces.
    pub board: Arc<Board>,
    /// The process, asked at each scrape.
    pub state: Arc<dyn Fn() -> ProcessState + Send + Sync>,
    /// Reads the configuration again.
    pub reload: Arc<dyn Fn() -> Reloading + Send + Sync>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("options", &self.options)
            .field("board", &self.board)
            .finish_non_exhaustive()
    }
}
