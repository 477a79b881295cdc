//! Times in which nothing is seen on an interface. They are reported as they come, five at once and one a minute after that:
//! who has the other end of a cable can take it out and put it in all day.

use super::losses::{AGAIN, seconds};
use crate::capture::NOTHING_MATCHES;
use crate::logger;
use crate::publish::store::CaptureState;
use std::time::{Duration, Instant};

/// `MESSAGE_ID` of a capture that sees nothing any more.
pub(crate) const DOWN_ID: &str = "8b4ffbfd62304b708bae4941f2840fcf";
/// `MESSAGE_ID` of a capture that sees again.
pub(crate) const UP_ID: &str = "6f87ddce5d4a4ba8b7aceb1e53b65699";

/// Why nothing arrives though the capture stands: nothing need be done to get it back.
const LINK_DOWN: &str = "link down";

/// Outages that are reported at once; then one every `AGAIN`.
const OUTAGES: f64 = 5.0;

/// After so long a capture that is up is back, even if the message that said so was lost.
const SETTLED: Duration = Duration::from_secs(3);

/// The outages of an interface.
#[derive(Debug)]
pub(super) struct Outages {
    pub(super) interface: String,
    /// The one that goes on.
    current: Option<Outage>,
    state: CaptureState,
    allowance: Allowance,
    withheld: Withheld,
}

/// A time in which nothing is seen.
#[derive(Debug)]
struct Outage {
    /// The interface, by the name it had then.
    of: String,
    why: String,
    since: Instant,
    is_reported: bool,
}

/// Outages that came too fast to report each.
#[derive(Debug, Default)]
struct Withheld {
    outages: u64,
    blind: Duration,
}

/// How many outages may be reported now.
#[derive(Debug)]
struct Allowance {
    left: f64,
    refilled: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.refilled);
        self.left = (self.left + since.as_secs_f64() / AGAIN.as_secs_f64()).min(OUTAGES);
        self.refilled = now;
        let may = self.left >= 1.0;
        self.left -= f64::from(u8::from(may));
        may
    }
}

impl Outages {
    pub(super) fn none(interface: &str, now: Instant) -> Self {
        Self {
            interface: interface.to_owned(),
            current: None,
            state: CaptureState::Starting,
            allowance: Allowance { left: OUTAGES, refilled: now },
            withheld: Withheld::default(),
        }
    }

    /// A capture that follows the default route may be on another interface now.
    pub(super) fn is_called(&mut self, interface: &str) {
        if self.interface != interface {
            interface.clone_into(&mut self.interface);
        }
    }

    pub(super) fn begin(&mut self, why: &str, now: Instant) {
        match &mut self.current {
            Some(outage) => why.clone_into(&mut outage.why),
            None => {
                self.current = Some(Outage {
                    of: self.interface.clone(),
                    why: why.to_owned(),
                    since: now,
                    is_reported: false,
                })
            }
        }
        self.report(now);
    }

    pub(super) fn end(&mut self, now: Instant) {
        let Some(Outage { of, why, since, is_reported }) = self.current.take() else { return };
        let blind = now.saturating_duration_since(since);
        if !is_reported {
            self.withheld.outages += 1;
            self.withheld.blind += blind;
            logger::count_suppressed(2);
            return;
        }
        let (interface, reason, seconds) = (self.interface.as_str(), why.as_str(), seconds(blind));
        let words = if of == interface {
            format!("capture on {interface} is back after {seconds} s ({reason})")
        } else {
            // It was never captured before: nothing is back.
            format!(
                "capturing on {interface} now: the default route leads there (after {seconds} s; {of}: {reason})"
            )
        };
        log::warn!(
            message_id = UP_ID, event = "capture_back", interface, reason, blind_seconds = seconds;
            "{words}"
        );
    }

    /// Why nothing is seen, if nothing is.
    pub(super) fn blind_by(&self) -> Option<&str> {
        match (&self.current, self.state) {
            (Some(outage), _) => Some(&outage.why),
            (None, CaptureState::Starting) => Some("starting"),
            (None, CaptureState::Stalled) => Some("stalled"),
            // What the capture itself reported is newer than how it stood at the latest look.
            (None, CaptureState::Ready | CaptureState::Down | CaptureState::Idle) => None,
        }
    }

    /// Whether there is nothing to see, and nothing wrong with that.
    pub(super) fn is_idle(&self) -> bool {
        self.state == CaptureState::Idle
    }

    /// Reports what may be reported by now: that it is away, or that it was.
    fn report(&mut self, now: Instant) {
        let interface = self.interface.as_str();
        let is_due = match &self.current {
            Some(outage) => !outage.is_reported,
            None => self.withheld.outages > 0,
        };
        if !is_due || !self.allowance.take(now) {
            return;
        }
        let Withheld { outages, blind } = std::mem::take(&mut self.withheld);
        let seconds = seconds(blind);
        let Some(outage) = &mut self.current else {
            log::warn!(
                message_id = UP_ID, event = "capture_back", interface, blind_seconds = seconds, untold = outages;
                "capture on {interface} is back; {outages} outages of {seconds} s in all were not reported one by one"
            );
            return;
        };
        outage.is_reported = true;
        let reason = outage.why.as_str();
        let words = lost(interface, reason, outages, seconds);
        log::error!(
            message_id = DOWN_ID, event = "capture_lost", interface, reason, untold = outages;
            "{words}"
        );
    }

    pub(super) fn stands(&mut self, state: CaptureState, now: Instant) {
        self.state = state;
        match (state, &self.current) {
            (CaptureState::Down, None) => self.begin(LINK_DOWN, now),
            (CaptureState::Ready, Some(outage))
                if outage.why == LINK_DOWN || now.saturating_duration_since(outage.since) > SETTLED =>
            {
                self.end(now);
            }
            _ => {}
        }
        self.report(now);
    }
}

/// The sentence on an outage that begins, with those before it that were not reported.
fn lost(interface: &str, reason: &str, before: u64, seconds: u64) -> String {
    let (what, then) = match reason {
        // Nothing was there to be lost.
        NOTHING_MATCHES => ("waits", "it begins as soon as one does"),
        LINK_DOWN => ("stopped", "it goes on when the link is back"),
        // Where the default route has moved away it does not come back: it goes on elsewhere.
        _ => ("lost", "trying to capture again"),
    };
    let before = match before {
        0 => String::new(),
        some => format!(" ({some} outages of {seconds} s in all before it were not reported)"),
    };
    format!("capture on {interface} {what}: {reason}; {then}{before}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock;

    /// Somebody pulls the cable and puts it back, every two seconds for ten minutes.
    #[test]
    fn a_link_that_flaps_does_not_fill_the_journal_and_no_outage_is_forgotten() {
        let start = clock::steady();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut outages = Outages::none("eth7", start);
        let (mut reported, mut before_it) = (0, 0);
        for n in 0..300 {
            let before = outages.withheld.outages;
            outages.stands(CaptureState::Down, at(2 * n));
            if outages.current.as_ref().is_some_and(|outage| outage.is_reported) {
                reported += 1;
                before_it += before;
                assert_eq!(outages.withheld.outages, 0, "the record has them");
            }
            outages.stands(CaptureState::Ready, at(2 * n + 1));
            assert!(outages.current.is_none());
            if before > 0 && outages.withheld.outages == 0 && outages.withheld.blind.is_zero() {
                assert!(outages.allowance.left < 1.0);
            }
        }
        assert!((5..=15).contains(&reported), "{reported}");
        let left = outages.withheld.outages;
        assert!(reported + before_it + left <= 300 && outages.withheld.blind == Duration::from_secs(left));
        // It stays away: reported when its time has come, with those before.
        outages.stands(CaptureState::Down, at(600));
        outages.stands(CaptureState::Down, at(700));
        assert!(outages.current.as_ref().unwrap().is_reported && outages.withheld.outages == 0);
        outages.stands(CaptureState::Ready, at(701));
        assert!(outages.current.is_none());
    }

    #[test]
    fn a_lost_capture_promises_nothing_that_a_moved_route_would_break() {
        assert_eq!(
            lost("eth0", "the default route leads through eth1 now", 0, 0),
            "capture on eth0 lost: the default route leads through eth1 now; trying to capture again"
        );
        assert_eq!(
            lost("eth0", LINK_DOWN, 3, 7),
            "capture on eth0 stopped: link down; it goes on when the link is back (3 outages of 7 s in all before it were \
             not reported)"
        );
    }
}
