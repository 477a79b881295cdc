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
pub(crate) fn since_boot() -> Duration {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(since.tv_sec.try_into().unwrap_or(0), since.tv_nsec.try_into().unwrap_or(0))
}

/// The least difference between the clocks that is a step, not an adjustment.
const STEP_NANOS: i128 = 1_000_000_000;

/// The least time between two comparisons that is a pause: they are made about once a second.
const PAUSE: Duration = Duration::from_secs(3);

/// Both clocks, read as one: the wall clock, and the time since boot, which nobody steps and sleep does not stop.
pub type Reading = (Timestamp, Duration);

/// A reading may take so long; one that was interrupted for longer says nothing of a step.
const READ_WITHIN: Duration = Duration::from_millis(100);

/// Reads both clocks at once, or nearly: a process that is stopped between the two must not see a step.
pub fn both() -> Reading {
    let mut before = since_boot();
    for _ in 0..8 {
        let wall = wall();
        let after = since_boot();
        if after.saturating_sub(before) < READ_WITHIN {
            return (wall, after);
        }
        before = after;
    }
    (wall(), since_boot())
}

/// What happened between two comparisons of the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// By how many nanoseconds the wall clock has stepped, if by more than a second.
    pub step: Option<i64>,
    /// How long nobody compared them, if for longer than anybody who runs would let pass: the process was stopped, the
    /// machine asleep, or this thread stuck.
    pub pause: Option<Duration>,
}

/// Compares the wall clock, which stamps packets, with the time since boot.
pub struct StepWatch {
    read: Box<dyn FnMut() -> Reading + Send>,
    wall: Timestamp,
    boot: Duration,
}

impl StepWatch {
    /// Both clocks agree now.
    pub fn new() -> Self {
        Self::over(both)
    }

    /// The same over other clocks: a test must not step the machine's.
    pub fn over(mut read: impl FnMut() -> Reading + Send + 'static) -> Self {
        let (wall, boot) = read();
        Self { read: Box::new(read), wall, boot }
    }

    /// When they were last compared, by the wall clock.
    pub fn looked(&self) -> Timestamp {
        self.wall
    }

    /// What happened since they were last compared.
    pub fn look(&mut self) -> Passed {
        let (wall, boot) = (self.read)();
        self.compare(wall, boot)
    }

    fn compare(&mut self, wall: Timestamp, boot: Duration) -> Passed {
        let by_wall = i128::from(wall.nanos()) - i128::from(self.wall.nanos());
        let passed = boot.saturating_sub(self.boot);
        (self.wall, self.boot) = (wall, boot);
        let step = by_wall - i128::try_from(passed.as_nanos()).unwrap_or(i128::MAX);
        Passed {
            step: (step.abs() > STEP_NANOS).then(|| i64::try_from(step).unwrap_or(i64::MAX)),
            pause: (passed > PAUSE).then_some(passed),
        }
    }
}

impl fmt::Debug for StepWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepWatch").field("wall", &self.wall).field("boot", &self.boot).finish()
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
        let mut watch = StepWatch::new();
        let (wall, boot) = (watch.wall, watch.boot);
        let second = Duration::from_secs(1);
        let at = |seconds: f64| {
            wall.saturating_add(Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap())
        };
        let seconds = |passed: Passed| passed.step.map(|nanos| nanos / 1_000_000_000);
        assert_eq!(watch.compare(at(1.9), boot + second), Passed::default());
        assert_eq!(seconds(watch.compare(at(86_402.9), boot + 2 * second)), Some(86_400));
        assert_eq!(seconds(watch.compare(at(3.9), boot + 3 * second)), Some(-86_400));
    }

    #[test]
    fn a_sleep_is_a_pause_and_no_step() {
        let mut watch = StepWatch::new();
        let (wall, boot) = (watch.wall, watch.boot);
        let hour = Duration::from_secs(3_600);
        let later = wall.saturating_add(hour.as_nanos().try_into().unwrap());
        assert_eq!(watch.compare(later, boot + hour), Passed { step: None, pause: Some(hour) });
        assert_eq!(watch.compare(later, boot + hour), Passed::default());
        let stepped = Passed { step: Some(3_600_000_000_000), pause: None };
        let later = later.saturating_add(hour.as_nanos().try_into().unwrap());
        assert_eq!(watch.compare(later, boot + hour), stepped, "no pause, but a step");
    }
}
