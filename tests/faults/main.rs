//! What breaks around it while it captures. After each fault it captures again by itself, its counters tell what happened, and it
//! holds the memory, threads and descriptors it held before. What is broken, file by file:
//!
//! | file | what breaks |
//! |---|---|
//! | `interface` | interfaces that go away, come late, have other names, or lose the default route |
//! | `sources` | sources that cannot be, or that are the host itself |
//! | `log`, `terminal` | journald dies, hangs, fills up; standard error is closed, gone, full, or a terminal that nobody reads |
//! | `blindness` | link down, frames dropped, sources given up: the journal and the status tell it |
//! | `clients` | slow, greedy and hostile clients, ones that pipeline or never read, all together beside a flood |
//! | `descriptors` | no file descriptor is left |
//! | `reload` | storms of reloads, reloads during the start, and to what the tables were not made for |
//! | `privilege` | root, users, file capabilities, containers: who it is then, and what it may do |
//! | `memory` | more memory is promised than there is |
//! | `threads` | a thread hangs or panics, the process is stopped |
//!
//! What they share: `support` (a scan, and what the exporter holds), `http` (a client), `attack` (what goes on and on),
//! `service_manager` (the other end of systemd's socket). Beside this binary stand `tests/clock.rs` (steps of the clock, without
//! root) and `tests/panics.rs` (panics that no input causes).
//!
//! Each test runs in a room of its own, with the lab of `tests/lab`. Needs root, systemd's journald and curl, and fails
//! without them.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]
#![allow(clippy::print_stdout, reason = "what was measured")]

mod attack;
mod http;
mod service_manager;
mod support;

mod blindness;
mod clients;
mod descriptors;
mod interface;
mod log;
mod memory;
mod privilege;
mod reload;
mod sources;
mod terminal;
mod threads;
