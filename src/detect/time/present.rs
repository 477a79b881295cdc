//! The present in the units of one rule: quanta of its window, epochs of the hold.

use crate::detect::time::quantum::{Stamp, quantum_nanos, stamp};
use crate::detect::tuning::EPOCHS;

/// Length of an epoch for a hold, in nanoseconds.
fn epoch_nanos(hold_nanos: u64) -> u64 {
    hold_nanos.div_ceil(EPOCHS).max(1)
}

/// The present. Most packets need no division: they come before the next quantum and epoch begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present {
    /// Length of a quantum, in nanoseconds.
    pub quantum_nanos: u64,
    epoch_nanos: u64,
    /// The quantum that is now.
    pub quantum: u64,
    /// Its stamp.
    pub stamp: Stamp,
    /// The epoch that is now.
    pub epoch: u64,
    /// When the next quantum or epoch begins.
    next_at: u64,
}

impl Present {
    /// The start of the epoch, until time passes.
    pub(crate) fn new(window_nanos: u64, hold_nanos: u64) -> Self {
        Self {
            quantum_nanos: quantum_nanos(window_nanos),
            epoch_nanos: epoch_nanos(hold_nanos),
            quantum: 0,
            stamp: stamp(0),
            epoch: 0,
            next_at: 0,
        }
    }

    /// Another hold from now on. Epochs of the old one mean nothing then; `set_window` or `set` follows.
    pub(crate) fn set_hold(&mut self, hold_nanos: u64) {
        self.epoch_nanos = epoch_nanos(hold_nanos);
    }

    /// Another window from now on. Quanta of the old one mean nothing then.
    pub(crate) fn set_window(&mut self, window_nanos: u64, now: u64) {
        self.quantum_nanos = quantum_nanos(window_nanos);
        self.set(now);
    }

    /// Whether another quantum or epoch has begun.
    #[inline]
    pub(crate) fn is_over(&self, now: u64) -> bool {
        now >= self.next_at
    }

    /// Moves to a moment.
    pub(crate) fn set(&mut self, now: u64) {
        self.quantum = now / self.quantum_nanos;
        self.stamp = stamp(self.quantum);
        self.epoch = self.epoch_of(now);
        let (quantum, epoch) = (self.quantum + 1, self.epoch + 1);
        self.next_at = quantum.saturating_mul(self.quantum_nanos).min(epoch.saturating_mul(self.epoch_nanos));
    }

    /// When the quantum that is now began.
    #[inline]
    pub(crate) fn quantum_start(&self) -> u64 {
        self.quantum * self.quantum_nanos
    }

    /// The epoch of a moment.
    pub(crate) fn epoch_of(&self, at: u64) -> u64 {
        at / self.epoch_nanos
    }

    /// Quanta since a moment.
    pub(crate) fn quanta_since(&self, at: u64) -> u64 {
        self.quantum - (at / self.quantum_nanos).min(self.quantum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_a_quantum_or_an_epoch_begins() {
        // Quanta of 10, epochs of 25.
        let mut present = Present::new(600, 400);
        assert!(present.is_over(0), "nothing is known before the first packet");
        present.set(1_000);
        assert_eq!((present.quantum, present.epoch, present.quantum_start()), (100, 40, 1_000));
        assert!(!present.is_over(1_009) && present.is_over(1_010));
        present.set(1_020);
        assert!(!present.is_over(1_024) && present.is_over(1_025), "an epoch begins within a quantum");
        assert_eq!(
            (present.quanta_since(1_000), present.quanta_since(1_019), present.quanta_since(2_000)),
            (2, 1, 0)
        );
    }
}
