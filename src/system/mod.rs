//! The machine beneath: its clocks, its memory, its init, what the process may do, and what it is.

pub mod clock;
pub mod memory;
pub mod privilege;
pub mod systemd;
pub mod version;
