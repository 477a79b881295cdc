//! `--web.config.file`: TLS, passwords, headers and a rate, in the format that Prometheus and its exporters share
//! (exporter-toolkit's `web-configuration.md`).
//!
//! | file | is |
//! |---|---|
//! | `live` | the file as it is now: read again when it or what it names has changed |
//! | `format`, `words` | its keys, and what may stand behind them |
//! | `tls`, `clients` | `tls_server_config`; which client certificates are taken |
//! | `headers` | `http_server_config.headers` |
//! | `users`, `passwords` | `basic_auth_users`; whether a password is right |
//! | `rate` | `rate_limit` |
//!
//! A file that gets broken later lets nobody in, nor does one that protects less than it did at the start: an editor that is
//! halfway through saving must not open the door. tests/web/matrix.rs holds it against `promtool check web-config`, and lists every
//! difference.

mod clients;
mod format;
mod headers;
mod live;
mod passwords;
mod rate;
mod tls;
mod users;
mod words;

pub use live::ConfigFile;
pub(super) use passwords::{Passwords, Verdict};
pub(super) use rate::Bucket;
pub(super) use users::Users;
