//! Who scans my hosts? A passive detector that tells it in Prometheus' own terms. It listens, and sends nothing but answers to HTTP requests.
//!
//! # The way of a packet
//!
//! ```text
//! plain threads, one per interface or more: each owns what it touches         threads: shell, notify, log, web
//!  libpcap ─frame─▶ decode ─Packet─▶ Detector::observe ─▶ table of sources
//!    ▲                │ Skipped           │ ScanEvent          │ Snapshot, at each tick (1 s)
//!    │                ▼ (counted)         ▼                    ▼
//!    │             counters     bounded queue, try_send     store: the latest wins
//!    │                          (full: counted)                │
//!    │                                ▼                        ▼
//!    │                           notify ─▶ logger        metrics (at each scrape) ─▶ web ─▶ Prometheus
//!    └── poll(fd, wake) ── tick: take a new policy · advance time · publish
//! ```
//!
//! With `--capture.threads` the kernel hands each source's packets to one of the interface's threads, and the store shows
//! them as one interface.
//!
//! Four ways across threads and no others: state (the store, also with the answers to questions; the recent scans), events (the queue), stop,
//! reload and questions (a wake and channels), ownership (moved in at spawn). `replay` is the same way, with a file at its start and a report at its end.
//!
//! # Words
//!
//! *Source*: the address a packet came from; IPv6 by /64. *Target*: the address and port it asked for. *Probe*: a packet that
//! asks "is something there?". *Window*: the sliding span in which distinct ports are counted. *Threshold*: the count at
//! which a source scans. *Rule*: a window and a threshold, of ports or of hosts; there is a list of them. *Sweep*: many hosts, by few ports. *Class*:
//! techniques that are counted together. *Hit*: the moment it gets there. *Scan*: the episode a hit opens, and quiet closes; *distributed*, if many sources share it. *Storm*: scans of many sources that look alike. *Hold*: how long
//! a peak stays published. *Backscatter*: replies to someone else's packets, never a probe.
//!
//! # Rooms, in the order of the flow
//!
//! | room | is |
//! |---|---|
//! | [`packet`] | the vocabulary of the wire; the kernel filter; bytes → `Packet`, or why not; fragments put together |
//! | [`capture`] | frames of an interface (libpcap) or of a file; the only trait, `FrameSink` |
//! | [`detect`] | the core: pure, deterministic, bounded |
//! | [`pipeline`] | one interface end to end, the fragments that the kernel leaves to it, and which sources it cannot see where it stands |
//! | [`publish`] | what an interface shows, where the latest is put, the metrics, the recent scans, the fleet's sample, why there is no alert |
//! | [`events`] | records of scans, one for a storm of them, and of what is not seen |
//! | [`logger`] | where records go |
//! | [`web`] | the pages and the API, who may ask (TLS, passwords), and the client of one |
//! | [`settings`] | flags, file, and what they mean together |
//! | [`replay`] | files in, by their stamps, report out |
//! | [`history`] | who scanned lately: the journal's records, or a running exporter's, as a table |
//! | [`system`] | the only reader of the clocks; what there is of memory; what the process may do; what it is |
//! | [`text`] | what others wrote, safe to print; numbers with units |
//! | [`app`] | the shell: threads, signals, reload, shutdown |
//!
//! Arrows point one way, and `tests/architecture.rs` holds them.

// What the program, the tests, the benches and the fuzz targets use is public, and nothing else: so the compiler says what is dead.
#![warn(unreachable_pub)]
// A longer function (than .clippy.toml says) has two subjects. A test may be a list of cases.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

// What tests are made of, in the crate and outside of it.
#[cfg(test)]
extern crate self as portscan_exporter;
#[cfg(test)]
#[path = "../tests/support"]
mod fixture {
    pub(crate) mod scan;
    pub(crate) mod snapshot;
}

// The way of a packet.
pub mod packet;
pub mod capture;
pub mod detect;
pub mod pipeline;

// What comes of it.
pub mod publish;
pub mod events;
pub mod logger;
pub mod web;

// The same with files.
pub mod replay;

// What came of it, afterwards.
pub mod history;

// What is asked for, and the machine beneath.
pub mod settings;
pub mod system;
pub mod text;

// All of it, started and stopped.
pub mod app;
