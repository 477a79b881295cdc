//! When a capture does what: its tick, its next attempt to open, its next look at where it belongs.

use std::time::{Duration, Instant};

/// Wait before the first attempt to reopen; doubles up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How often a capture of the default route looks where that leads now.
pub(super) const ROUTE_LOOK: Duration = Duration::from_secs(5);

/// When what is due.
pub(super) struct Due {
    pub(super) tick: Instant,
    pub(super) retry: Retry,
    pub(super) route_look: Instant,
    /// Waits in a row that ended with a descriptor that was ready and yielded nothing.
    pub(super) empty_waits: u32,
}

impl Due {
    pub(super) fn from(now: Instant) -> Self {
        Self { tick: now, retry: Retry::after_loss(now), route_look: now + ROUTE_LOOK, empty_waits: 0 }
    }
}

/// When to try again, and how long to wait after that.
pub(super) struct Retry {
    pub(super) at: Instant,
    wait: Duration,
}

impl Retry {
    pub(super) fn after_loss(now: Instant) -> Self {
        Self { at: now + RETRY_MIN, wait: RETRY_MIN }
    }

    pub(super) fn later(&mut self, now: Instant) {
        self.wait = (self.wait * 2).min(RETRY_MAX);
        self.at = now + self.wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock;

    #[test]
    fn retries_back_off_to_five_seconds() {
        let now = clock::steady();
        let mut retry = Retry::after_loss(now);
        let mut waits = vec![retry.at - now];
        for _ in 0..6 {
            retry.later(now);
            waits.push(retry.at - now);
        }
        assert_eq!(
            waits.iter().map(Duration::as_millis).collect::<Vec<_>>(),
            [200, 400, 800, 1600, 3200, 5000, 5000]
        );
    }
}
