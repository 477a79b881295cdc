//! The core: probes in, scan events and snapshots out. Pure and deterministic: no clock, no I/O, no
//! logging, no allocation per packet. What every number means is in the README, section "What counts as a scan".

mod activity;
mod block;
mod cache;
mod detector;
mod eviction;
mod hosts;
mod merge;
mod peaks;
mod policy;
mod probe;
mod quantum;
mod scan;
mod set;
mod snapshot;
mod table;
mod timeline;

pub use cache::OutOfMemory;
pub use detector::{BATCH, Detector, Explanation, NAMED_RANGES, Tracked};
pub use policy::{Limits, Policy};
pub use probe::{Family, Probe, Technique};
pub use scan::{Kind, Moment, PortSample, SAMPLE_PORTS, Scan, ScanEvent, ScanId, Source};
pub use snapshot::{BURST_BOUNDS, Evicted, Ignored, PublishedSource, Snapshot, Tally};
pub use timeline::Origin;
