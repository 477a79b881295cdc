//! One time that never runs back, made of capture timestamps that may.

use crate::detect::tuning::{HALF_TIME, REMEMBERED_STEPS, SILENCE_NANOS, STEP_NANOS};
use crate::packet::Timestamp;
use std::collections::VecDeque;

/// Whose clock wrote the timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The kernel, now: only the shell, which sees two clocks, can tell a step from silence or a late packet.
    Live,
    /// The author of the file: a jump back is a step, a jump forward is silence.
    File,
    /// The author of the file, but the shell has put the stamps in order and reports the steps.
    Sorted,
}

/// The detector's time: capture time plus the sum of the steps bridged so far, less the silences left out.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    origin: Origin,
    offset: i128,
    now: u64,
    started: bool,
    steps: u64,
    /// The first moment after a step or a jump and the offset before it, oldest first.
    earlier_offsets: VecDeque<(u64, i128)>,
}

impl Timeline {
    /// A timeline that starts with its first timestamp.
    pub(crate) fn new(origin: Origin) -> Self {
        let earlier_offsets = VecDeque::with_capacity(REMEMBERED_STEPS);
        Self { origin, offset: 0, now: 0, started: false, steps: 0, earlier_offsets }
    }

    /// Whose clock it follows.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// The detector's time, in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Steps bridged so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves to a packet's timestamp. An older packet counts as now; a step is bridged, so that it neither
    /// empties the window nor fills it.
    #[inline(always)]
    pub(crate) fn packet(&mut self, at: Timestamp) {
        // Nearly always: no step yet, and no older packet.
        if self.offset == 0 && self.started && at.nanos() >= self.now && at.nanos() <= HALF_TIME {
            self.now = at.nanos();
        } else {
            self.packet_otherwise(at);
        }
    }

    #[inline(never)]
    fn packet_otherwise(&mut self, at: Timestamp) {
        let core = i128::from(at.nanos()) + self.offset;
        let behind = i128::from(self.now) - core;
        if !self.started || core > i128::from(HALF_TIME) && behind < -SILENCE_NANOS {
            self.jump(at);
        } else if behind <= 0 {
            self.now = clamp(core);
        } else if behind > STEP_NANOS && self.origin == Origin::File {
            self.absorb_step(behind);
        }
    }

    /// Moves to a far moment, or to the first.
    #[cold]
    fn jump(&mut self, at: Timestamp) {
        let now = if self.started {
            self.now.saturating_add(clamp(SILENCE_NANOS))
        } else {
            clamp(i128::from(at.nanos()) + self.offset).min(HALF_TIME)
        };
        if self.started {
            self.remember(now);
        }
        self.started = true;
        self.now = now;
        self.offset = i128::from(now) - i128::from(at.nanos());
    }

    /// From this moment on another offset is in force.
    fn remember(&mut self, from: u64) {
        if self.earlier_offsets.len() == REMEMBERED_STEPS {
            self.earlier_offsets.pop_front();
        }
        self.earlier_offsets.push_back((from, self.offset));
    }

    /// Moves to a moment that no packet sightings.
    pub(crate) fn advance(&mut self, at: Timestamp) {
        if self.started {
            self.now = self.now.max(clamp(i128::from(at.nanos()) + self.offset));
        } else {
            self.packet(at);
        }
    }

    /// The shell saw the clock step by this many nanoseconds.
    pub(crate) fn step(&mut self, nanos: i64) {
        self.absorb_step(-i128::from(nanos));
    }

    /// What comes is stamped by a new clock: it begins a nanosecond after all that was.
    fn absorb_step(&mut self, offset: i128) {
        self.steps += 1;
        self.now = self.now.saturating_add(1);
        self.remember(self.now);
        self.offset += offset + i128::from(self.origin == Origin::File);
    }

    /// A moment of this timeline, on the capture's clock as it went then.
    pub(crate) fn to_capture(&self, core: u64) -> Timestamp {
        let then = self
            .earlier_offsets
            .iter()
            .find(|(step, _)| core < *step)
            .map_or(self.offset, |(_, offset)| *offset);
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
    fn late_in_time_a_leap_is_two_days_and_time_does_not_run_out() {
        let day = 86_400;
        let mut line = Timeline::new(Origin::File);
        line.packet(Timestamp::new(100 * day, 0));
        line.packet(Timestamp::new(9_000 * day, 0));
        assert_eq!(line.now(), 9_000 * day * 1_000_000_000);
        line.packet(Timestamp::new(200_000 * day, 0));
        assert_eq!((line.now(), line.steps()), (9_002 * day * 1_000_000_000, 0));
        assert_eq!(line.to_capture(line.now()), Timestamp::new(200_000 * day, 0));
        assert_eq!(line.to_capture(line.now() - 1_000_000_000), Timestamp::new(9_002 * day - 1, 0));
        let mut line = Timeline::new(Origin::File);
        for _ in 0..1_000 {
            line.packet(Timestamp(u64::MAX));
            line.packet(Timestamp(0));
        }
        assert_eq!((line.to_capture(line.now()), line.steps()), (Timestamp(0), 1_000));
        line.packet(Timestamp::new(1, 0));
        assert_eq!(line.to_capture(line.now()), Timestamp::new(1, 0));
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
