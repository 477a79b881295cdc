//! The machine beneath: its clocks, its memory, its init, what the process may do, what it is, and what it counts of itself.

pub mod clock;
pub mod counters;
pub mod memory;
pub mod privilege;
pub mod systemd;
pub mod version;
