//! The core: probes in, scan events and snapshots out. Pure and deterministic: no clock, no I/O, no
//! logging, no allocation per packet. Every number it tells is defined in the README, section "Meaning".

mod policy;
mod probe;
mod scan;
mod snapshot;

pub use policy::{Limits, Policy};
pub use probe::{Family, Probe, Technique};
pub use scan::{Kind, Moment, PortSample, SAMPLE_PORTS, Scan, ScanEvent, ScanId, Source};
pub use snapshot::{BURST_BOUNDS, Evicted, Ignored, PublishedSource, Snapshot, Tally};
