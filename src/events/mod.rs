//! Records: of scans, and of what is not seen.

pub mod blindness;
pub mod notify;
