//! The only reader of the clocks.
#![allow(clippy::disallowed_methods, reason = "this is the one place that may ask")]

use crate::packet::Timestamp;
use std::fmt;
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

/// The least difference between the clocks that is a step, not an adjustment.
const STEP_NANOS: i128 = 1_000_000_000;

/// Both clocks, read as one: the wall clock and the steady one.
pub type Reading = (Timestamp, Instant);

/// A reading may take so long; one that was interrupted for longer says nothing of a step.
const READ_WITHIN: Duration = Duration::from_millis(100);

/// Reads both clocks at once, or nearly: a process that is stopped between the two must not see a step.
pub fn both() -> Reading {
    let mut before = steady();
    for _ in 0..8 {
        let wall = wall();
        let after = steady();
        if after.duration_since(before) < READ_WITHIN {
            return (wall, after);
        }
        before = after;
    }
    (wall(), steady())
}

/// Compares the wall clock, which stamps packets, with the steady one.
pub struct StepWatch {
    read: Box<dyn FnMut() -> Reading + Send>,
    wall: Timestamp,
    steady: Instant,
}

impl StepWatch {
    /// Both clocks agree now.
    pub fn new() -> Self {
        Self::over(both)
    }

    /// The same over other clocks: a test must not step the machine's.
    pub fn over(mut read: impl FnMut() -> Reading + Send + 'static) -> Self {
        let (wall, steady) = read();
        Self { read: Box::new(read), wall, steady }
    }

    /// When they were last compared, by the wall clock.
    pub fn looked(&self) -> Timestamp {
        self.wall
    }

    /// By how many nanoseconds the wall clock has stepped since they were last compared, if by more than a second.
    pub fn step(&mut self) -> Option<i64> {
        let (wall, steady) = (self.read)();
        self.compare(wall, steady)
    }

    fn compare(&mut self, wall: Timestamp, steady: Instant) -> Option<i64> {
        let by_wall = i128::from(wall.nanos()) - i128::from(self.wall.nanos());
        let passed = i128::try_from(steady.duration_since(self.steady).as_nanos()).unwrap_or(i128::MAX);
        (self.wall, self.steady) = (wall, steady);
        let step = by_wall - passed;
        (step.abs() > STEP_NANOS).then(|| i64::try_from(step).unwrap_or(i64::MAX))
    }
}

impl fmt::Debug for StepWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepWatch").field("wall", &self.wall).field("steady", &self.steady).finish()
    }
}

impl Default for StepWatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_second_of_disagreement_is_a_step() {
        let start = StepWatch::new();
        let (wall, steady) = (start.wall, start.steady);
        let mut watch = start;
        let second = Duration::from_secs(1);
        let at = |seconds: f64| {
            wall.saturating_add(Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap())
        };
        assert_eq!(watch.compare(at(1.9), steady + second), None);
        assert_eq!(watch.compare(at(86_402.9), steady + 2 * second).map(|n| n / 1_000_000_000), Some(86_400));
        assert_eq!(watch.compare(at(3.9), steady + 3 * second).map(|n| n / 1_000_000_000), Some(-86_400));
    }
}
