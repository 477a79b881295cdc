//! Who scans my hosts? A passive detector that tells it in Prometheus' own terms. It listens, it never sends a packet.
//!
//! # The way of a packet
//!
//! ```text
//! plain threads, one per interface or more: each owns what it touches         threads: shell, notify, log, web
//!  libpcap ─frame─▶ decode ─Packet─▶ Detector::observe ─▶ table of sources
//!    ▲                │ Skipped           │ ScanEvent          │ Snapshot, at each tick (1 s)
//!    │                ▼ (counted)         ▼                    ▼
//!    │             counters     bounded queue, try_send     board: the latest wins
//!    │                          (full: counted)                │
//!    │                                ▼                        ▼
//!    │                           notify ─▶ logger        metrics (at each scrape) ─▶ web ─▶ Prometheus
//!    └── poll(fd, wake) ── tick: take a new policy · advance time · publish
//! ```
//!
//! With `--capture.threads` the kernel hands each source's packets to one of the interface's threads, and the board shows
//! them as one interface.
//!
//! Four ways across threads and no others: state (the board, also with the answers to questions), events (the queue), stop,
//! reload and questions (a wake and channels), ownership (moved in at spawn). `replay` is the same way, with a file at its start and a report at its end.
//!
//! # Words
//!
//! *Source*: the address a packet came from; IPv6 by /64. *Target*: the address and port it asked for. *Probe*: a packet that
//! asks "is something there?". *Window*: the sliding span in which distinct ports are counted. *Threshold*: the count at
//! which a source scans. *Hit*: the moment it gets there. *Scan*: the episode a hit opens, and quiet closes. *Hold*: how long
//! a peak stays published. *Backscatter*: replies to someone else's packets, never a probe.
//!
//! # Modules, in the order of the flow
//!
//! | module | is |
//! |---|---|
//! | [`packet`] | the vocabulary of the wire |
//! | [`capture`] | frames of an interface (libpcap) or of a file; the only trait, `FrameSink` |
//! | [`filter`] | the kernel filter |
//! | [`decode`] | bytes → `Packet`, or why not |
//! | [`vantage`] | which sources a capture cannot see where it stands |
//! | [`fragments`] | IPv4 datagrams of files, put together within bounds |
//! | [`detect`] | the core: pure, deterministic, bounded |
//! | [`sample`] | a share of all sources that every host of a fleet shows |
//! | [`pipeline`] | one interface end to end |
//! | [`snapshot`], [`board`], [`vitals`] | what an interface shows, where it is put, and whether its threads live |
//! | [`metrics`] | the one list of families |
//! | [`explain`] | why there is, or is no, alert for an address |
//! | [`web`] | the pages, and the client of one |
//! | [`notify`], [`blindness`] | records of scans, and of what is not seen |
//! | [`logger`], [`systemd`] | where records go, and manners |
//! | [`cli`], [`config`], [`settings`], [`units`] | flags, file, and what they mean together |
//! | [`text`] | what others wrote, safe to print |
//! | [`replay`], [`rotation`], [`order`], [`remarks`], [`report`] | files in, by their stamps, report out |
//! | [`clock`], [`memory`], [`privilege`], [`version`] | the only reader of the clocks; what there is of memory; what the process may do; what it is |
//! | [`app`] | the shell: threads, signals, reload, shutdown |
//!
//! Arrows point one way, and `tests/architecture.rs` holds them.

pub mod app;
pub mod blindness;
pub mod board;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decode;
pub mod detect;
pub mod explain;
pub mod filter;
pub mod fragments;
#[cfg(test)]
mod frames;
pub mod logger;
pub mod memory;
pub mod metrics;
pub mod notify;
pub mod order;
pub mod packet;
pub mod pipeline;
pub mod privilege;
pub mod remarks;
pub mod replay;
pub mod report;
pub mod rotation;
pub mod sample;
pub mod settings;
pub mod snapshot;
pub mod systemd;
pub mod text;
pub mod units;
pub mod vantage;
pub mod version;
pub mod vitals;
pub mod web;
