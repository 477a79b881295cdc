//! The verdict: what the counts of a source or of a host come to, by a rule.

use crate::detect::rule::{Rule, Subject};
use crate::detect::scan::Kind;

/// What was counted for one source or host within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Distinct ports.
    pub ports: u32,
    /// Distinct hosts, as far as they speak for a sweep, or distinct sources of a host; 0 where the rule does not count them.
    pub peers: u32,
}

/// The kind of scan that the counts are, or `None` if they are below the threshold.
#[inline]
pub(super) fn kind(rule: &Rule, counts: Counts) -> Option<Kind> {
    if rule.subject == Subject::Target {
        let least = rule.ports.zip(rule.peers);
        let is_scan = least.is_some_and(|(ports, peers)| counts.ports >= ports && counts.peers >= peers);
        return is_scan.then_some(Kind::Distributed);
    }
    let Some(peers) = rule.peers else {
        return rule.ports.is_some_and(|ports| counts.ports >= ports).then_some(Kind::Vertical);
    };
    let kind = match rule.ports {
        Some(ports) if counts.ports >= ports => Kind::Block,
        _ => Kind::Horizontal,
    };
    (counts.peers >= peers).then_some(kind)
}

/// The kinds that a rule can find.
pub(super) fn kinds(rule: &Rule) -> &'static [Kind] {
    match (rule.peers, rule.ports) {
        _ if rule.subject == Subject::Target => &[Kind::Distributed],
        (None, _) => &[Kind::Vertical],
        (Some(_), None) => &[Kind::Horizontal],
        (Some(_), Some(_)) => &[Kind::Horizontal, Kind::Block],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn nineteen_ports_are_no_scan_and_twenty_are() {
        let of = |ports| kind(&Rule::of_ports(20, 10 * SECOND, 60 * SECOND), Counts { ports, peers: 0 });
        assert_eq!((of(0), of(19)), (None, None));
        assert_eq!((of(20), of(65_536)), (Some(Kind::Vertical), Some(Kind::Vertical)));
    }

    #[test]
    fn many_hosts_are_a_sweep_and_with_many_ports_a_block() {
        let rule = Rule::SWEEP;
        let of = |peers, ports| kind(&rule, Counts { ports, peers });
        assert_eq!((of(24, 1), of(24, 65_536)), (None, None), "ports alone are not its business");
        assert_eq!((of(25, 1), of(25, 19)), (Some(Kind::Horizontal), Some(Kind::Horizontal)));
        assert_eq!(of(25, 20), Some(Kind::Block));
        let without = Rule { ports: None, ..rule };
        assert_eq!(kind(&without, Counts { ports: 20, peers: 25 }), Some(Kind::Horizontal));
        assert_eq!(kinds(&rule), [Kind::Horizontal, Kind::Block]);
    }
}
