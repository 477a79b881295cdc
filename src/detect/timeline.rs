//! One time that never runs back, made of capture timestamps that may.

use crate::packet::Timestamp;
use std::collections::VecDeque;

/// A jump back by more than this is a step of the clock, not disorder: one second.
const STEP_NANOS: i128 = 1_000_000_000;

/// Whose clock wrote the timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The kernel, now: only the shell, which sees two clocks, can tell a step from silence or a late packet.
    Live,
    /// Whoever wrote the file: a jump back is a step, a jump forward is silence.
    File,
}

/// Steps whose times are told exactly; of more within the life of a scan, the oldest are forgotten.
const REMEMBERED: usize = 32;

/// The detector's time: capture time plus the sum of the steps bridged so far.
#[derive(Debug, Clone)]
pub struct Timeline {
    origin: Origin,
    offset: i128,
    now: u64,
    started: bool,
    steps: u64,
    /// The first moment after a step and the offset before it, oldest first.
    before: VecDeque<(u64, i128)>,
}

impl Timeline {
    /// A timeline that starts with its first timestamp.
    pub fn new(origin: Origin) -> Self {
        let before = VecDeque::with_capacity(REMEMBERED);
        Self { origin, offset: 0, now: 0, started: false, steps: 0, before }
    }

    /// The detector's time, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Steps bridged so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves to a packet's timestamp. An older packet counts as now; a step is bridged, so that it neither
    /// empties the window nor fills it.
    #[inline]
    pub fn packet(&mut self, at: Timestamp) {
        let core = i128::from(at.nanos()) + self.offset;
        let behind = i128::from(self.now) - core;
        if behind <= 0 || !self.started {
            self.started = true;
            self.now = clamp(core);
        } else if behind > STEP_NANOS && self.origin == Origin::File {
            self.bridge(behind);
        }
    }

    /// Moves to a moment that no packet marks.
    pub fn advance(&mut self, at: Timestamp) {
        if self.started {
            self.now = self.now.max(clamp(i128::from(at.nanos()) + self.offset));
        } else {
            self.packet(at);
        }
    }

    /// The shell saw the clock step by this many nanoseconds.
    pub fn step(&mut self, nanos: i64) {
        self.bridge(-i128::from(nanos));
    }

    /// What comes is stamped by a new clock: it begins a nanosecond after all that was.
    fn bridge(&mut self, offset: i128) {
        self.steps += 1;
        self.now = self.now.saturating_add(1);
        if self.before.len() == REMEMBERED {
            self.before.pop_front();
        }
        self.before.push_back((self.now, self.offset));
        self.offset += offset + i128::from(self.origin == Origin::File);
    }

    /// A moment of this timeline, on the capture's clock as it went then.
    pub fn to_capture(&self, core: u64) -> Timestamp {
        let then =
            self.before.iter().find(|(step, _)| core < *step).map_or(self.offset, |(_, offset)| *offset);
        Timestamp(clamp(i128::from(core) - then))
    }
}

fn clamp(nanos: i128) -> u64 {
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_packet_counts_as_now() {
        let mut line = Timeline::new(Origin::File);
        line.packet(Timestamp::new(10, 0));
        line.packet(Timestamp::new(9, 500_000_000));
        assert_eq!((line.now(), line.steps()), (10_000_000_000, 0));
    }

    #[test]
    fn a_jump_back_in_a_file_is_a_step_and_time_goes_on_from_there() {
        let mut line = Timeline::new(Origin::File);
        line.packet(Timestamp::new(100_000, 0));
        line.packet(Timestamp::new(10, 0));
        assert_eq!((line.now(), line.steps()), (100_000_000_000_001, 1));
        assert_eq!(line.to_capture(100_000_000_000_000), Timestamp::new(100_000, 0));
        line.packet(Timestamp::new(11, 0));
        assert_eq!((line.now(), line.steps()), (100_001_000_000_001, 1));
        assert_eq!(line.to_capture(line.now()), Timestamp::new(11, 0));
    }

    #[test]
    fn live_only_the_shell_tells_a_step() {
        let mut line = Timeline::new(Origin::Live);
        line.packet(Timestamp::new(100, 0));
        line.packet(Timestamp::new(10, 0));
        assert_eq!((line.now(), line.steps()), (100_000_000_000, 0));
        line.step(86_400_000_000_000);
        line.packet(Timestamp::new(86_501, 0));
        assert_eq!((line.now(), line.steps()), (101_000_000_000, 1));
    }
}
