//! What an interface shows: its snapshot, where the latest is put, the metrics made of it, the scans of late, and the answer for one
//! source.

pub mod store;
pub mod explain;
pub mod metrics;
pub mod recent;
pub mod sample;
pub mod snapshot;
pub(crate) mod vitals;
