//! What counts as a scan (a rule, and a policy of rules: both reload), and how much may be kept (limits, fixed at start).

use crate::detect::distinct::Plan;
use crate::detect::ignore::Pairs;
use crate::detect::names::Names;
use crate::detect::networks::Networks;
use crate::detect::party::Parties;
use crate::detect::probe::{Probe, Techniques};
use crate::detect::provenance::Databases;
use crate::detect::snapshot::Ignored;
pub use crate::detect::subject::Subject;
use crate::detect::time::quantum::quantum_nanos;
use crate::detect::tuning::QUANTA;
use std::net::IpAddr;

/// One rule by which sources are judged: so many distinct ports, or so many distinct hosts, within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whose counts.
    pub subject: Subject,
    /// The sliding span in which is counted, in nanoseconds.
    pub window_nanos: u64,
    /// Distinct ports at which a source counts as scanning; where hosts are counted, those at which a sweep is a block.
    pub ports: Option<u32>,
    /// Distinct hosts at which a source counts as scanning, if the rule counts hosts. Of a target, distinct sources.
    pub peers: Option<u32>,
    /// How long the count must stay below the threshold for a scan to end, in nanoseconds.
    pub quiet_nanos: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Rule {
    /// The slow rule that the exporter starts with: 60 ports within an hour.
    pub const SLOW: Self = Self::of_ports(60, 3_600 * SECOND, 600 * SECOND);

    /// The rule for sweeps that the exporter starts with: 25 hosts within 5 minutes, and a block with 20 ports.
    pub const SWEEP: Self = Self {
        subject: Subject::Source,
        window_nanos: 300 * SECOND,
        ports: Some(20),
        peers: Some(25),
        quiet_nanos: 60 * SECOND,
    };

    /// The rule for who changes his /64 that the exporter starts with: 60 ports by one /48 within 10 minutes.
    pub const HOP: Self =
        Self { subject: Subject::Network(48), ..Self::of_ports(60, 600 * SECOND, 100 * SECOND) };

    /// The rule for scans by many that the exporter starts with: 100 ports of one host within 3 minutes, each counted for one source, by
    /// 25 sources.
    pub const DISTRIBUTED: Self = Self {
        subject: Subject::Target,
        window_nanos: 180 * SECOND,
        ports: Some(100),
        peers: Some(25),
        quiet_nanos: 60 * SECOND,
    };

    /// So many ports within a window.
    pub const fn of_ports(ports: u32, window_nanos: u64, quiet_nanos: u64) -> Self {
        Self { subject: Subject::Source, window_nanos, ports: Some(ports), peers: None, quiet_nanos }
    }

    /// The count at which it is a scan, of what the rule counts.
    #[inline]
    pub fn threshold(&self) -> u32 {
        self.peers.filter(|_| self.counts_peers()).or(self.ports).unwrap_or(u32::MAX)
    }

    /// How many bits of an IPv6 address say whose count it is, where a source has so many.
    pub(super) fn prefix(&self, ipv6_prefix: u8) -> u8 {
        match self.subject {
            Subject::Network(prefix) => prefix,
            Subject::Source | Subject::Target => ipv6_prefix,
        }
    }

    /// Whether it counts the ports of a source: the first rule does, and those for slow scans.
    pub fn counts_ports(&self) -> bool {
        self.subject == Subject::Source && !self.counts_peers()
    }

    /// Whether it finds nothing beside a faster one, if both count the ports of a source: so many within its window are, however they are
    /// spread, enough within some window of the faster one, which is there first.
    pub fn is_in_vain_beside(&self, faster: &Self) -> bool {
        // What counts is at most so old, and in each of these spans the faster one counts all.
        let oldest = quantum_nanos(self.window_nanos).saturating_mul(QUANTA + 1);
        let spans = oldest.div_ceil(faster.window_nanos.max(1));
        let unseen = u64::from(faster.threshold().saturating_sub(1));
        u64::from(self.threshold()) > spans.saturating_mul(unseen)
    }

    /// Whether it counts the hosts of a source, not ports.
    #[inline]
    pub fn counts_peers(&self) -> bool {
        self.peers.is_some() && self.subject != Subject::Target
    }
}

/// What counts as a scan. A reload replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The first rule's sliding span in which distinct ports are counted, in nanoseconds.
    pub window_nanos: u64,
    /// Distinct ports at which a source counts as scanning by the first rule.
    pub threshold: u32,
    /// How long the count must stay below the threshold for a scan of the first rule to end, in nanoseconds.
    pub quiet_nanos: u64,
    /// The other rules about sources, each with a longer window than those before it; at most `MOST_RULES` less two.
    pub slower: Vec<Rule>,
    /// The rule for scans by many, which comes last.
    pub distributed: Option<Rule>,
    /// What is inside, for rules that count hosts; empty if nobody said.
    pub home: Networks,
    /// Which addresses of IPv6 are one source.
    pub parties: Parties,
    /// Which packets are probes.
    pub techniques: Techniques,
    /// What some sources are called.
    pub names: Names,
    /// What else is known of their addresses.
    pub databases: Databases,
    /// Whether to look for what was answered. A reload does not change it.
    pub replies: bool,
    /// Sources whose probes do not count.
    pub ignored_sources: Networks,
    /// Ports whose probes do not count.
    pub ignored_ports: Vec<u16>,
    /// Hosts, probes to which do not count.
    pub ignored_destinations: Networks,
    /// Probes of some sources that do not count.
    pub ignored_pairs: Pairs,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            window_nanos: 10_000_000_000,
            threshold: 20,
            quiet_nanos: 60_000_000_000,
            slower: Vec::new(),
            distributed: None,
            home: Networks::default(),
            parties: Parties::of(64),
            techniques: Techniques::DEFAULT,
            names: Names::default(),
            databases: Databases::default(),
            replies: false,
            ignored_sources: Networks::default(),
            ignored_ports: Vec::new(),
            ignored_destinations: Networks::default(),
            ignored_pairs: Pairs::default(),
        }
    }
}

/// The most rules for slow scans.
pub const MOST_SLOW_RULES: usize = 3;

/// The most rules of a policy: the first, those for slow scans, and one each for sweeps, for hopping and for scans by many.
pub const MOST_RULES: usize = MOST_SLOW_RULES + 4;

impl Policy {
    /// What the exporter starts with: the default, and behind it rules for sweeps and for hopping, a slow one, and one for scans by many.
    pub fn standard() -> Self {
        Self {
            slower: vec![Rule::SWEEP, Rule::HOP, Rule::SLOW],
            distributed: Some(Rule::DISTRIBUTED),
            ..Self::default()
        }
    }

    /// The rule that comes first, and that no other changes anything of.
    pub fn first_rule(&self) -> Rule {
        Rule::of_ports(self.threshold, self.window_nanos, self.quiet_nanos)
    }

    /// All of them, the first one first.
    pub fn rules(&self) -> impl Iterator<Item = Rule> {
        std::iter::once(self.first_rule()).chain(self.behind())
    }

    /// All but the first.
    pub fn behind(&self) -> impl Iterator<Item = Rule> {
        self.slower.iter().copied().chain(self.distributed)
    }

    /// Bits of an IPv6 address that all that counts together by some rule has in common: threads share sources by these.
    pub fn shared_prefix(&self) -> u8 {
        let least = self.parties.least_prefix();
        self.rules().map(|rule| rule.prefix(least)).fold(least, u8::min)
    }

    /// Whether a rule of it keeps which ports answered: a count of ports can be told from it, one of hosts not.
    pub(super) fn keeps_answers(&self, rule: &Rule) -> bool {
        self.replies && !rule.counts_peers()
    }

    /// How long it takes until nothing counts any more by any rule and every scan is over.
    pub fn longest_memory_nanos(&self) -> u64 {
        let memory = |rule: Rule| (2 * rule.window_nanos).saturating_add(rule.quiet_nanos);
        self.rules().map(memory).max().unwrap_or(0)
    }

    /// Why a probe does not count, if it does not. The ports must be sorted.
    #[inline]
    pub fn ignores(&self, probe: &Probe) -> Option<Ignored> {
        let ignores_any = !(self.ignored_ports.is_empty()
            && self.ignored_sources.is_empty()
            && self.ignored_destinations.is_empty()
            && self.ignored_pairs.all().is_empty());
        if ignores_any { self.look_for_ignored(probe) } else { None }
    }

    #[inline(never)]
    fn look_for_ignored(&self, probe: &Probe) -> Option<Ignored> {
        if !self.ignored_ports.is_empty() && self.ignored_ports.binary_search(&probe.port).is_ok() {
            return Some(Ignored::Port);
        }
        if !self.ignored_sources.is_empty() && self.ignores_source(probe.source) {
            return Some(Ignored::Source);
        }
        if !self.ignored_destinations.is_empty() && self.ignored_destinations.contains(probe.host) {
            return Some(Ignored::Destination);
        }
        self.ignored_pairs.ignores(probe)
    }

    /// Whether probes from this address do not count.
    pub fn ignores_source(&self, address: IpAddr) -> bool {
        self.ignored_sources.contains(address)
    }
}

/// How much a detector may keep. Fixed at start, whatever arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes for the tables of the first rule. All others together have a third as much, beside it.
    pub memory_bytes: usize,
    /// The most sources that get a series.
    pub max_sources: usize,
    /// The least peak that earns a series; at least 2.
    pub min_ports: u32,
    /// How long a peak stays published after it was reached, in nanoseconds.
    pub hold_nanos: u64,
}

impl Limits {
    /// The limits of each rule behind the first of a policy. Peaks of a long window are kept for as long, and only sources that scanned
    /// get a series.
    pub fn of_slower(&self, rule: &Rule, policy: &Policy) -> Self {
        let all: usize = policy.behind().map(|rule| rule.subject.weight()).sum();
        Self {
            memory_bytes: self.memory_bytes / 3 / all.max(1) * rule.subject.weight(),
            hold_nanos: self.hold_nanos.max(rule.window_nanos),
            min_ports: u32::MAX,
            ..*self
        }
    }

    /// Bytes for the tables of all rules of a policy.
    pub fn total_bytes(&self, policy: &Policy) -> usize {
        let behind = if policy.behind().next().is_none() { 0 } else { self.memory_bytes / 3 };
        self.memory_bytes.saturating_add(behind)
    }

    /// How many sources can be counted up to a threshold at once, where that needs more than the short list that each source
    /// has: `None` if all can.
    pub fn sources_at_once(&self, threshold: u32) -> Option<usize> {
        Plan::sources_at_once(threshold, self.memory_bytes)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 48 << 20, max_sources: 100, min_ports: 5, hold_nanos: 300_000_000_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::scan::EventKind;
    use crate::detect::world::{World, syn};

    /// Two ports every 10.2 s escape a rule of three within 10 s; six of them fit a window of 25 s, and no seven.
    #[test]
    fn a_slower_rule_is_in_vain_from_the_first_port_on_that_a_faster_one_leaves_none() {
        let first = Rule::of_ports(3, 10 * SECOND, SECOND);
        let slow = |ports| Rule::of_ports(ports, 25 * SECOND, SECOND);
        for (ports, is_found) in [(6, true), (7, false)] {
            let policy = Policy { threshold: 3, slower: vec![slow(ports)], ..Policy::default() };
            let mut world = World::by(policy);
            for n in 0..20 {
                world.see(syn("198.51.100.7", &format!("192.0.2.10:{}", 1 + n)).at(10.2 * f64::from(n / 2)));
            }
            let hits = world.scans(EventKind::Hit);
            assert_eq!(!hits.is_empty(), is_found, "{ports} ports: {:?}", world.reported());
            assert_eq!(slow(ports).is_in_vain_beside(&first), !is_found, "{ports} ports");
        }
    }

    /// However many slow rules there are, they share what one has, and each has room for its sources.
    #[test]
    fn more_slow_rules_take_no_more_memory() {
        for slow in 1..=MOST_SLOW_RULES {
            let slower =
                (1..=slow as u64).map(|n| Rule { window_nanos: n * Rule::SLOW.window_nanos, ..Rule::SLOW });
            let slower = [Rule::SWEEP, Rule::HOP].into_iter().chain(slower).collect();
            let policy = Policy { slower, ..Policy::standard() };
            for memory_bytes in [4 << 20, 48 << 20] {
                let limits = Limits { memory_bytes, ..Limits::default() };
                let each = policy.behind().map(|rule| limits.of_slower(&rule, &policy).memory_bytes);
                let all = memory_bytes + each.sum::<usize>();
                assert!(
                    all <= limits.total_bytes(&policy) && all + 1_000 > limits.total_bytes(&policy),
                    "{all}"
                );
            }
            assert_eq!(Limits::default().total_bytes(&policy), 64 << 20);
            assert!(policy.rules().count() <= MOST_RULES);
        }
    }
}
