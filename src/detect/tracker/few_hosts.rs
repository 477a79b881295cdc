//! Where few hosts are asked, nobody can sweep: a rule that counts hosts costs next to nothing there. It keeps the latest probes in
//! a ring until there are more hosts, and counts them then: so that what it says of a quiet network is as exact as if it had
//! looked at every probe.

use super::handed::What;
use crate::detect::memory::{OutOfMemory, room_for};
use crate::detect::probe::Probe;
use crate::detect::tuning::{FEW_HOSTS, KEPT_PROBES};
use std::net::IpAddr;

/// A probe that was not looked at yet, when it came, and what to do with it.
pub(super) type Kept = (Probe, u64, What);

/// The hosts that were asked within a window, as long as they are few.
#[derive(Debug)]
pub(super) struct FewHosts {
    /// Each with the time of its latest probe.
    hosts: [(IpAddr, u64); FEW_HOSTS],
    len: usize,
    /// There were more.
    are_many: bool,
    ring: Vec<Kept>,
    /// Where the next one goes.
    next: usize,
}

impl FewHosts {
    /// None so far.
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let hosts = [(IpAddr::from([0, 0, 0, 0]), 0); FEW_HOSTS];
        Ok(Self { hosts, len: 0, are_many: false, ring: room_for(KEPT_PROBES)?, next: 0 })
    }

    /// Whether there are more than a few.
    #[inline]
    pub(super) fn are_many(&self) -> bool {
        self.are_many
    }

    /// Takes a probe, to be looked at when there are more hosts. False if there are now: then `kept` has all of them, and this one.
    #[inline]
    pub(super) fn take(&mut self, probe: &Probe, now: u64, what: What, window_nanos: u64) -> bool {
        let kept = (*probe, now, what);
        match self.ring.get_mut(self.next) {
            Some(old) => *old = kept,
            None => self.ring.push(kept),
        }
        self.next = (self.next + 1) % KEPT_PROBES;
        if self.hosts[0].0 == probe.host && self.len > 0 {
            self.hosts[0].1 = now;
            return true;
        }
        self.note(probe.host, now, window_nanos)
    }

    #[cold]
    fn note(&mut self, host: IpAddr, now: u64, window_nanos: u64) -> bool {
        let known = &mut self.hosts[..self.len];
        if let Some(at) = known.iter().position(|(known, _)| *known == host) {
            known[at].1 = now;
            known.swap(0, at);
        } else if let Some(old) =
            known.iter_mut().find(|(_, last)| now.saturating_sub(*last) > 2 * window_nanos)
        {
            *old = (host, now);
        } else if self.len < FEW_HOSTS {
            self.hosts[self.len] = (host, now);
            self.len += 1;
        } else {
            self.are_many = true;
        }
        !self.are_many
    }

    /// The probes that were kept, in order; they are gone from here.
    pub(super) fn kept(&mut self) -> Vec<Kept> {
        let mut ring = std::mem::take(&mut self.ring);
        if ring.len() == KEPT_PROBES {
            ring.rotate_left(self.next);
        }
        (self.next, self.len) = (0, 0);
        ring
    }

    /// Lets go of the probes of sources that do not count any more.
    pub(super) fn withdraw(&mut self, is_ignored: impl Fn(IpAddr) -> bool) {
        if self.ring.len() == KEPT_PROBES {
            self.ring.rotate_left(self.next);
        }
        self.ring.retain(|(probe, ..)| !is_ignored(probe.source));
        self.next = self.ring.len() % KEPT_PROBES;
    }

    /// Nobody is tracked any more: from here on it is as at the start. The ring is given back.
    pub(super) fn begin(&mut self, mut ring: Vec<Kept>) {
        ring.clear();
        self.ring = ring;
    }

    /// Only a few again.
    pub(super) fn are_few(&mut self) {
        self.are_many = false;
    }
}
