//! The shell: threads, signals, reload, and the order of start and shutdown.
//!
//! | file | is |
//! |---|---|
//! | `start` | the order in which everything comes, as a contract |
//! | `banner` | what a start says of itself |
//! | `threads` | capture threads, and what they report |
//! | `signals` | the signals that are heeded |
//! | `supervise` | signals, systemd, the watchdog, and whether every thread still runs |
//! | `reload` | the configuration in force, and how another takes its place |
//! | `stop` | the order in which everything ends |

mod banner;
mod reload;
mod signals;
mod start;
mod stop;
mod supervise;
mod threads;

pub use start::{Shell, run, run_with};
pub use threads::ShardPublisher;
