//! The HTTP side. `pages` has the table of paths, and what each answers.
//!
//! | file | is |
//! |---|---|
//! | `address`, `options`, `listen` | where to listen, and the sockets |
//! | `limits` | how much a client may hold, and for how long |
//! | `server` | accepting, bounding and ending connections, on a thread of its own; over any kind of stream |
//! | `connection`, `fair` | what one connection is doing; which gives way when places are short |
//! | `config`, `secure`, `gate` | `--web.config.file`; TLS under the connections; what is asked before a request is answered |
//! | `guard` | requests that are not what they seem |
//! | `routes`, `pages`, `page`, `question`, `exposition` | the answers; a page of metrics is made once for many scrapes |
//! | `api`, `scans`, `filter`, `follow`, `status` | recent scans, which of them, and as they come; how the exporter fares |
//! | `body`, `reply`, `encoding` | how answers are written |
//! | `client`, `credentials`, `pinned` | one question to an exporter, for `explain`, `health` and `scans`, and how it shows who it is; whom it believes |
//!
//! A client may be slow or hostile: no request body is kept, and every wait and every queue has its limit.

mod address;
mod api;
mod body;
mod client;
mod config;
mod connection;
mod credentials;
mod encoding;
mod exposition;
mod fair;
mod filter;
mod follow;
mod gate;
mod guard;
mod limits;
mod listen;
mod options;
mod page;
mod pages;
mod pinned;
mod question;
mod reply;
mod routes;
mod scans;
mod secure;
mod server;
mod status;

pub use address::ListenAddress;
pub use client::{ASKS_PASSWORD, get};
pub use config::ConfigFile;
pub use connection::{Accept, Protocol, Stream};
pub use credentials::Credentials;
pub use limits::ClientLimits;
pub use listen::{BindError, Listeners, bind};
pub use options::Options;
pub use pages::{App, paths};
pub use scans::SCHEMA as SCANS_SCHEMA;
pub use server::{Server, serve, serve_on, serve_within};
