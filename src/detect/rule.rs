//! What counts as a scan (a rule, and a policy of rules: both reload), and how much may be kept (limits, fixed at start).

use crate::detect::distinct::Plan;
use crate::detect::probe::{Probe, Techniques};
use crate::detect::snapshot::Ignored;
use ipnet::IpNet;
use std::net::IpAddr;

/// One rule by which sources are judged: the threshold's distinct ports within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The sliding span in which distinct ports are counted, in nanoseconds.
    pub window_nanos: u64,
    /// Distinct ports at which a source counts as scanning.
    pub threshold: u32,
    /// How long the count must stay below the threshold for a scan to end, in nanoseconds.
    pub quiet_nanos: u64,
}

/// What counts as a scan. A reload replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The sliding span in which distinct ports are counted, in nanoseconds.
    pub window_nanos: u64,
    /// Distinct ports at which a source counts as scanning.
    pub threshold: u32,
    /// How long the count must stay below the threshold for a scan to end, in nanoseconds.
    pub quiet_nanos: u64,
    /// IPv6 sources are aggregated to a network of this many bits.
    pub ipv6_prefix: u8,
    /// Which packets are probes.
    pub techniques: Techniques,
    /// Sources whose probes do not count.
    pub ignored_sources: Vec<IpNet>,
    /// Ports whose probes do not count.
    pub ignored_ports: Vec<u16>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            window_nanos: 10_000_000_000,
            threshold: 20,
            quiet_nanos: 60_000_000_000,
            ipv6_prefix: 64,
            techniques: Techniques::DEFAULT,
            ignored_sources: Vec::new(),
            ignored_ports: Vec::new(),
        }
    }
}

/// How many rules a policy has.
pub(super) const RULES: usize = 1;

impl Policy {
    /// The rules of the policy, each of which gets a tracker of its own.
    pub fn rules(&self) -> [Rule; RULES] {
        let &Self { window_nanos, threshold, quiet_nanos, .. } = self;
        [Rule { window_nanos, threshold, quiet_nanos }]
    }

    /// Why a probe does not count, if it does not. The ports must be sorted.
    #[inline]
    pub fn ignores(&self, probe: &Probe) -> Option<Ignored> {
        if !self.ignored_ports.is_empty() && self.ignored_ports.binary_search(&probe.port).is_ok() {
            return Some(Ignored::Port);
        }
        let is_ignored = !self.ignored_sources.is_empty() && self.ignores_source(probe.source);
        is_ignored.then_some(Ignored::Source)
    }

    /// Whether probes from this address do not count.
    pub fn ignores_source(&self, address: IpAddr) -> bool {
        self.ignored_sources.iter().any(|network| network.contains(&address))
    }
}

/// How much a detector may keep. Fixed at start, whatever arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes for every table together.
    pub memory_bytes: usize,
    /// The most sources that get a series.
    pub max_sources: usize,
    /// The least peak that earns a series; at least 2.
    pub min_ports: u32,
    /// How long a peak stays published after it was reached, in nanoseconds.
    pub hold_nanos: u64,
}

impl Limits {
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
