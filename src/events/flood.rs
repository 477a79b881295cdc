//! The flood limit of records: a burst, then a rate, and an account of what it withheld.

use crate::detect::{EventKind, Grade, Scan, ScanEvent};
use std::time::{Duration, Instant};

/// Records that may come at once.
pub const BURST: u32 = 100;
/// Records a second after that.
pub const RATE: u32 = 20;
/// Records of scans that stand out, which may come at once beside those: a flood of small forged scans takes none of them.
const OUTSTANDING_BURST: u32 = 20;
/// Such records a second after that.
const OUTSTANDING_RATE: u32 = 5;
/// Ports of a scan that stands out by them. To forge one takes five times the packets of one that just reaches the default threshold.
const WIDE: u32 = 100;
/// And beside those as many of scans whose source read an answer: to forge hundreds of wide scans at ports that answer is easy, and takes
/// none of these.
const PROVEN_BURST: u32 = 20;
/// Such records a second after that.
const PROVEN_RATE: u32 = 5;
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
    /// And scans that grew, or ended.
    pub(super) grown: u64,
    pub(super) ended: u64,
    /// Of all of them, those of scans that a port answered.
    pub(super) answered: u64,
    /// And of scans whose source completed a handshake.
    pub(super) handshake: u64,
}

impl Withheld {
    pub(super) fn add(&mut self, event: &ScanEvent) {
        self.records += 1;
        let of_kind = match event.kind {
            EventKind::Hit => &mut self.hits,
            EventKind::Grown => &mut self.grown,
            EventKind::Ended => &mut self.ended,
        };
        *of_kind += 1;
        self.answered += u64::from(is_answered(&event.scan));
        self.handshake += u64::from(is_proven(&event.scan));
    }
}

fn is_answered(scan: &Scan) -> bool {
    scan.replies.is_some_and(|replies| replies.answered_count > 0)
}

/// Whether its source is known to be at its address.
fn is_proven(scan: &Scan) -> bool {
    scan.evidence == Grade::Handshake
}

/// Whether a scan stands out of a flood of forged ones, each as small as the rule allows.
fn stands_out(scan: &Scan) -> bool {
    scan.distinct_ports >= WIDE || is_answered(scan)
}

/// So many at once, and then so many a second.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    burst: u32,
    rate: u32,
}

impl Bucket {
    fn full(burst: u32, rate: u32) -> Self {
        Self { tokens: f64::from(burst), burst, rate }
    }

    fn refill(&mut self, seconds: f64) {
        self.tokens = (self.tokens + seconds * f64::from(self.rate)).min(f64::from(self.burst));
    }

    fn take(&mut self) -> bool {
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }
}

/// Token buckets, and an account of what they withheld. Anyone on the wire can make a scan event with twenty
/// packets and a forged address: without a limit the journal would be theirs to fill.
#[derive(Debug)]
pub(super) struct FloodLimit {
    all: Bucket,
    outstanding: Bucket,
    proven: Bucket,
    refilled: Instant,
    withheld: Withheld,
    /// When the first and the latest of `withheld` came.
    span: Option<(Instant, Instant)>,
}

impl FloodLimit {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            all: Bucket::full(BURST, RATE),
            outstanding: Bucket::full(OUTSTANDING_BURST, OUTSTANDING_RATE),
            proven: Bucket::full(PROVEN_BURST, PROVEN_RATE),
            refilled: now,
            withheld: Withheld::default(),
            span: None,
        }
    }

    /// Whether a record may be written now; if not, it is on the account.
    pub(super) fn admits(&mut self, event: &ScanEvent, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.all.refill(seconds);
        self.outstanding.refill(seconds);
        self.proven.refill(seconds);
        self.refilled = now;
        let scan = &event.scan;
        if self.all.take()
            || stands_out(scan) && self.outstanding.take()
            || is_proven(scan) && self.proven.take()
        {
            return true;
        }
        self.withheld.add(event);
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
    use crate::fixture::scan::scan;
    use crate::system::clock;

    fn event(kind: EventKind, ports: u32) -> ScanEvent {
        let scan = Scan { distinct_ports: ports, ..scan("203.0.113.9", "192.0.2.10:22") };
        ScanEvent { kind, scan }
    }

    /// The adversary forges five hundred scanners a second; one scan among them grows. Its record is written, and the account says of the
    /// others what they were.
    #[test]
    fn a_scan_that_stands_out_is_written_in_the_midst_of_a_flood() {
        let start = clock::steady();
        let mut flood = FloodLimit::new(start);
        let mut written = 0;
        for n in 0..5_000 {
            let now = start + Duration::from_millis(2 * n);
            written += u64::from(flood.admits(&event(EventKind::Hit, 20), now));
            if n % 1_000 == 999 {
                assert!(flood.admits(&event(EventKind::Grown, 200), now));
                assert!(flood.admits(&event(EventKind::Ended, 1_000), now));
            }
        }
        let withheld = flood.take().unwrap();
        let told = (withheld.hits + written, withheld.grown, withheld.ended, withheld.records);
        assert_eq!(told, (5_000, 0, 0, withheld.hits));
        // Who forges wide scans as well takes what is for them, and no more.
        let wide = (0..1_000).filter(|_| flood.admits(&event(EventKind::Grown, 200), start)).count();
        assert!(wide <= (BURST + OUTSTANDING_BURST) as usize, "{wide}");
        assert_eq!(flood.take().unwrap().grown, 1_000 - wide as u64);
    }

    /// The adversary forges wide scans at ports that answer, five hundred a second: a scan whose source read an answer is written all the
    /// same.
    #[test]
    fn what_cannot_be_forged_is_written_in_any_flood() {
        let start = clock::steady();
        let mut flood = FloodLimit::new(start);
        let replies = crate::detect::Replies { answered_count: 3, ..crate::detect::Replies::default() };
        let forged = event(EventKind::Grown, 1_000);
        let forged = ScanEvent { scan: Scan { replies: Some(replies), ..forged.scan }, ..forged };
        let proven = event(EventKind::Ended, 20);
        let proven = ScanEvent { scan: Scan { evidence: Grade::Handshake, ..proven.scan }, ..proven };
        for n in 0..5_000 {
            let now = start + Duration::from_millis(2 * n);
            let _ = flood.admits(&forged, now);
            assert!(n % 500 != 499 || flood.admits(&proven, now));
        }
        let withheld = flood.take().unwrap();
        assert_eq!((withheld.handshake, withheld.answered), (0, withheld.records));
        while flood.admits(&proven, start) {}
        assert_eq!(flood.take().unwrap().handshake, 1);
    }

    #[test]
    fn a_flood_gets_a_burst_then_a_rate_and_one_summary() {
        let start = clock::steady();
        let mut flood = FloodLimit::new(start);
        let mut written = 0;
        // 1000 a second for 5 s, every other one a hit.
        for n in 0..5000 {
            let moment = if n % 2 == 0 { EventKind::Hit } else { EventKind::Ended };
            let now = start + Duration::from_millis(n);
            written += u64::from(flood.admits(&event(moment, 20), now));
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
            written += u64::from(flood.admits(&event(EventKind::Hit, 20), now));
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
        let written = (0..1000).filter(|_| flood.admits(&event(EventKind::Hit, 20), later)).count();
        assert_eq!(written, BURST as usize);
    }
}
