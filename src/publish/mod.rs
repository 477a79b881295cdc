//! What an interface shows: its snapshot, where the latest is put, the metrics made of it, and the answer for one source.

pub mod store;
pub mod explain;
pub mod metrics;
pub mod sample;
pub mod snapshot;
pub(crate) mod vitals;
