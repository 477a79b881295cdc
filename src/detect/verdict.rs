//! The verdict: what the counts of a source come to, by a rule.

use crate::detect::rule::Rule;
use crate::detect::scan::Kind;

/// What was counted for one source within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Distinct ports.
    pub ports: u32,
}

/// The kind of scan that the counts are, or `None` if they are below the threshold.
#[inline]
pub(super) fn kind(rule: &Rule, counts: Counts) -> Option<Kind> {
    (counts.ports >= rule.threshold).then_some(Kind::Vertical)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ports: u32) -> Option<Kind> {
        let rule = Rule { window_nanos: 10_000_000_000, threshold: 20, quiet_nanos: 60_000_000_000 };
        kind(&rule, Counts { ports })
    }

    #[test]
    fn nineteen_ports_are_no_scan_and_twenty_are() {
        assert_eq!((of(0), of(19)), (None, None));
        assert_eq!((of(20), of(65_536)), (Some(Kind::Vertical), Some(Kind::Vertical)));
    }
}
