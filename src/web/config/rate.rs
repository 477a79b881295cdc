//! `rate_limit`: a bucket that holds so many requests and fills by one in each interval, for all clients together.

use super::format::RateLimit;
use super::words::{Burst, Interval};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many requests are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// `None` is no limit.
    pub(super) fn parse(written: &RateLimit) -> Result<Option<Self>, String> {
        let interval = written.interval.as_ref().map_or(Duration::ZERO, |interval| {
            let Interval(interval) = interval.0;
            interval
        });
        let burst = written.burst.as_ref().map_or(0, |burst| {
            let Burst(burst) = burst.0;
            burst
        });
        match (interval.is_zero(), burst) {
            (true, _) => Ok(None),
            (false, 0) => Err(String::from("rate_limit.burst must be at least 1, or nobody is ever let in")),
            (false, burst) => Ok(Some(Self { interval, burst })),
        }
    }
}

/// What is left of the rate now.
#[derive(Debug, Default)]
pub(crate) struct Bucket(Mutex<Option<Level>>);

#[derive(Debug, Clone, Copy)]
struct Level {
    rate: Rate,
    requests: f64,
    at: Instant,
}

impl Bucket {
    /// Whether one more is let in. A rate that has changed begins anew.
    pub(crate) fn takes(&self, rate: Rate, now: Instant) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = f64::from(rate.burst);
        let mut level = match *held {
            Some(level) if level.rate == rate => level,
            _ => Level { rate, requests: full, at: now },
        };
        let filled = now.saturating_duration_since(level.at).as_secs_f64() / rate.interval.as_secs_f64();
        level.requests = (level.requests + filled).min(full);
        level.at = now;
        let takes = level.requests >= 1.0;
        level.requests -= if takes { 1.0 } else { 0.0 };
        *held = Some(level);
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock;

    #[test]
    fn a_burst_and_then_one_in_each_interval() {
        let rate = Rate { interval: Duration::from_secs(1), burst: 2 };
        let (bucket, start) = (Bucket::default(), clock::steady());
        let at = |millis| bucket.takes(rate, start + Duration::from_millis(millis));
        assert_eq!([at(0), at(0), at(0)], [true, true, false]);
        assert_eq!([at(900), at(1_100), at(1_200)], [false, true, false]);
        assert_eq!([at(60_000), at(60_000), at(60_000)], [true, true, false]);
        assert!(bucket.takes(Rate { burst: 1, ..rate }, start), "another rate begins anew");
    }
}
