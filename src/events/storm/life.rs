//! When a storm is reported: at once, then ever less often, and when it is over.

use std::time::{Duration, Instant};

/// A storm that grows is reported again after this, then after twice that, and so on,
const FIRST_REPORT: Duration = Duration::from_secs(10);
/// but no later than this after its last record: what nobody told yet is lost if the program ends.
const LATEST_REPORT: Duration = Duration::from_secs(300);

/// When a storm is to be reported next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Life {
    /// At once.
    Begins,
    /// If it grew by then; and over what time it may grow then.
    GoesOn { report: Instant, after: Duration },
    /// Never again: it is kept for the ends of its scans.
    Over,
}

/// Why a storm is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    Began,
    Grew,
    Ended,
}

impl Life {
    /// What follows a report.
    pub(super) fn after(self, report: Report, now: Instant) -> Self {
        match (report, self) {
            (Report::Ended, _) => Life::Over,
            (_, Life::GoesOn { after, .. }) => {
                let after = LATEST_REPORT.min(after * 2);
                Life::GoesOn { report: now + after, after }
            }
            _ => Life::GoesOn { report: now + FIRST_REPORT, after: FIRST_REPORT },
        }
    }
}
