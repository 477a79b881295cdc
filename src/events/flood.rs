//! The flood limit of records: a burst, then a rate, and an account of what it withheld.

use crate::detect::EventKind;
use std::time::{Duration, Instant};

/// Records that may come at once.
pub const BURST: u32 = 100;
/// Records a second after that.
pub const RATE: u32 = 20;
/// A flood is over when nothing was withheld for this long.
const CALM: Duration = Duration::from_secs(1);
/// A flood that goes on is summarised this often.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Records withheld since the last summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Withheld {
    pub(super) records: u64,
    /// Of these, hits: with the hit records they add up to `portscan_hits_total`.
    pub(super) hits: u64,
}

/// A token bucket, and an account of what it withheld. Anyone on the wire can make a scan event with twenty
/// packets and a forged address: without a limit the journal would be theirs to fill.
#[derive(Debug)]
pub(super) struct FloodLimit {
    tokens: f64,
    refilled: Instant,
    withheld: Withheld,
    /// When the first and the latest of `withheld` came.
    span: Option<(Instant, Instant)>,
}

impl FloodLimit {
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: f64::from(BURST), refilled: now, withheld: Withheld::default(), span: None }
    }

    /// Whether a record may be written now; if not, it is on the account.
    pub(super) fn admits(&mut self, moment: EventKind, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.refilled).as_secs_f64() * f64::from(RATE);
        self.tokens = (self.tokens + refill).min(f64::from(BURST));
        self.refilled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return true;
        }
        self.withheld.records += 1;
        self.withheld.hits += u64::from(moment == EventKind::Hit);
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        false
    }

    /// When the summary is due: once the flood is over, or has gone on for long enough.
    pub(super) fn summary_due(&self) -> Option<Instant> {
        self.span.map(|(first, latest)| (latest + CALM).min(first + SUMMARY_INTERVAL))
    }

    /// Settle the account: `None` if nothing was withheld.
    pub(super) fn take(&mut self) -> Option<Withheld> {
        self.span.take().map(|_| std::mem::take(&mut self.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock;

    #[test]
    fn a_flood_gets_a_burst_then_a_rate_and_one_summary() {
        let start = clock::steady();
        let mut flood = FloodLimit::new(start);
        let mut written = 0;
        // 1000 a second for 5 s, every other one a hit.
        for n in 0..5000 {
            let moment = if n % 2 == 0 { EventKind::Hit } else { EventKind::Ended };
            let now = start + Duration::from_millis(n);
            written += u64::from(flood.admits(moment, now));
            assert!(flood.summary_due().is_none_or(|due| due > now), "a summary in the midst of the flood");
        }
        assert!((195..=200).contains(&written), "100 + 5 s × 20, got {written}");
        assert_eq!(flood.summary_due(), Some(start + Duration::from_millis(4999) + CALM));
        let withheld = flood.take().unwrap();
        assert_eq!(withheld.records + written, 5000);
        assert!(withheld.hits.abs_diff(2500) <= written);
        assert_eq!((flood.take(), flood.summary_due()), (None, None));
    }

    #[test]
    fn a_flood_that_goes_on_is_summarised_every_ten_seconds() {
        let start = clock::steady();
        let mut flood = FloodLimit::new(start);
        let (mut written, mut withheld, mut summaries) = (0, 0, 0);
        for n in 0..60_000 {
            let now = start + Duration::from_millis(n);
            written += u64::from(flood.admits(EventKind::Hit, now));
            if flood.summary_due().is_some_and(|due| due <= now) {
                withheld += flood.take().unwrap().hits;
                summaries += 1;
            }
        }
        assert_eq!(summaries, 5);
        withheld += flood.take().unwrap().hits;
        assert_eq!(written + withheld, 60_000);
    }

    #[test]
    fn an_idle_limit_saves_no_more_than_a_burst() {
        let start = clock::steady();
        let mut flood = FloodLimit::new(start);
        let later = start + Duration::from_secs(3600);
        let written = (0..1000).filter(|_| flood.admits(EventKind::Hit, later)).count();
        assert_eq!(written, BURST as usize);
    }
}
