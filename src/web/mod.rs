//! The HTTP side. `pages` has the table of paths, and what each answers.
//!
//! | file | is |
//! |---|---|
//! | `address`, `options`, `listen` | where to listen, and the sockets |
//! | `limits` | how much a client may hold, and for how long |
//! | `server` | accepting, bounding and ending connections, on a thread of its own; over any kind of stream |
//! | `connection`, `fair` | what one connection is doing; which gives way when places are short |
//! | `guard` | requests that are not what they seem |
//! | `routes`, `pages`, `landing`, `question`, `exposition` | the answers; a page of metrics is made once for many scrapes |
//! | `reply`, `encoding` | how answers are written |
//! | `client` | one question to an exporter, for `explain` |
//!
//! A client may be slow or hostile: no request body is read, and every wait and every queue has its limit.

mod address;
mod client;
mod connection;
mod encoding;
mod exposition;
mod fair;
mod guard;
mod landing;
mod limits;
mod listen;
mod options;
mod pages;
mod question;
mod reply;
mod routes;
mod server;

pub use address::ListenAddress;
pub use client::get;
pub use connection::Stream;
pub use limits::ClientLimits;
pub use listen::{BindError, Listeners, bind};
pub use options::Options;
pub use pages::{App, paths};
pub use server::{Accept, Server, serve, serve_on, serve_within};
