//! The only reader of the clocks.
#![allow(clippy::disallowed_methods, reason = "this is the one place that may ask")]

use crate::packet::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock now.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::new(since.as_secs(), since.subsec_nanos())
}

/// A steady clock, for spans only.
pub fn steady() -> Instant {
    Instant::now()
}

/// How long ago the system booted, sleep included.
pub fn since_boot() -> Duration {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(since.tv_sec.try_into().unwrap_or(0), since.tv_nsec.try_into().unwrap_or(0))
}
