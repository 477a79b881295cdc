//! The machine beneath: its clocks, its files, its memory, its init, what the process may do, what it is, and what it counts of itself.

pub mod clock;
pub mod counters;
pub(crate) mod files;
pub(crate) mod memory;
pub mod privilege;
pub(crate) mod systemd;
pub mod version;
