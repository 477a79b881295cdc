//! Which probes count for a rule about scans by many, and whose they are.

use super::muted::Muted;
use crate::detect::networks::Networks;
use crate::detect::party::Parties;
use crate::detect::probe::Probe;
use crate::detect::rule::Policy;
use crate::detect::scan::Source;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};

/// What an operator said of hosts and sources.
#[derive(Debug)]
pub(super) struct Concerns {
    parties: Parties,
    /// What is inside; empty if nobody said. Other hosts do not count.
    home: Networks,
    /// Who takes no part.
    muted: Muted,
}

impl Concerns {
    /// That of a policy.
    pub(super) fn of(policy: &Policy) -> Self {
        Self {
            parties: policy.parties.clone(),
            home: policy.home.clone(),
            muted: Muted::of(&policy.names, &policy.parties),
        }
    }

    /// Which addresses are one party.
    pub(super) fn parties(&self) -> &Parties {
        &self.parties
    }

    /// Whether every probe counts.
    #[inline(always)]
    pub(super) fn include_all(&self) -> bool {
        self.home.is_empty() && self.muted.is_empty()
    }

    /// Whether a probe counts: what it asks is inside, and who asks takes part.
    #[inline(always)]
    pub(super) fn includes(&self, probe: &Probe) -> bool {
        self.include_all() || self.includes_by_lists(probe)
    }

    /// Whether what it asks is inside: then it counts, or who asks is muted.
    pub(super) fn is_inside(&self, probe: &Probe) -> bool {
        self.home.is_empty() || self.home.contains(probe.host)
    }

    fn includes_by_lists(&self, probe: &Probe) -> bool {
        self.is_inside(probe)
            && (self.muted.is_empty()
                || !self.muted.contains(Source::by(probe.source, &self.parties).address))
    }

    /// Whether it mutes sources of a family that another did not.
    pub(super) fn mutes_more_than(&self, old: &Self, is_ipv4: bool) -> bool {
        self.muted.adds_to(&old.muted, is_ipv4)
    }

    /// Whether it mutes an owner that is an IPv4 address.
    pub(super) fn mutes_owner(&self, owner: u32) -> bool {
        self.muted.contains(Ipv4Addr::from_bits(owner).into())
    }

    /// What a source is told apart by: an IPv4 address is its own 32 bits.
    #[inline]
    pub(super) fn owner(&self, source: IpAddr, hasher: &impl BuildHasher) -> u32 {
        match source {
            IpAddr::V4(v4) => v4.to_bits(),
            IpAddr::V6(v6) => hasher.hash_one(v6.to_bits() & self.parties.party(v6).mask) as u32,
        }
    }
}
