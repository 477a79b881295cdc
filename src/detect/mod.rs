//! The core: probes in, scan events and snapshots out. Pure and deterministic: no clock, no I/O, no
//! logging, no allocation per packet. What every number means is in the README, section "What counts as a scan".

mod detector;
mod distinct;
mod memory;
mod merge;
mod policy;
mod probe;
mod scan;
mod snapshot;
mod table;
mod time;

pub use detector::{BATCH, Detector, Explanation, NAMED_RANGES, Tracked};
pub use memory::OutOfMemory;
pub use policy::{Limits, Policy};
pub use probe::{Family, Probe, Technique};
pub use scan::{Kind, Moment, PortSample, SAMPLE_PORTS, Scan, ScanEvent, ScanId, Source};
pub use snapshot::{BURST_BOUNDS, Evicted, Ignored, PublishedSource, Snapshot, Tally};
pub use time::timeline::Origin;
