//! How many hosts a source asked: up to seven exactly, more by estimate, in 64 bytes. And which of them it asked for most
//! ports.
//!
//! On a host the answer is one; on a gateway it tells a scan from a busy client. An attacker can ask any number of
//! hosts, so beyond seven a HyperLogLog of 32 registers counts on (Flajolet et al. 2007; standard error
//! 1.04/√32 = 18 %), and of the seven that are told apart a new host takes the place of the one with fewest ports: who
//! asks decoys first hides nothing of what comes after them.

use crate::detect::tuning::{REGISTERS, TRACKED_HOSTS};

/// The place of a host that has none; it has no bit.
pub(crate) const UNTRACKED: usize = TRACKED_HOSTS;

/// The hosts one source asked.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Hosts {
    len: u8,
    more: bool,
    /// The tracked host with most ports.
    busiest: u8,
    /// The first is the likeliest, so it lies near the start.
    tracked: [u32; TRACKED_HOSTS],
    registers: [u8; REGISTERS],
}

impl Hosts {
    /// No hosts.
    pub(crate) const NONE: Hosts =
        Hosts { tracked: [0; TRACKED_HOSTS], len: 0, more: false, busiest: 0, registers: [0; REGISTERS] };

    /// The place of a tracked host, by its keyed hash.
    #[inline]
    pub(crate) fn find(&self, hash: u64) -> Option<usize> {
        let short = (hash >> 32) as u32;
        self.tracked[..usize::from(self.len)].iter().position(|&tracked| tracked == short)
    }

    /// Counts a host that is not tracked. Returns its place if there is one left, or `UNTRACKED`.
    #[inline]
    pub(crate) fn note(&mut self, hash: u64) -> usize {
        let register = &mut self.registers[(hash % REGISTERS as u64) as usize];
        *register = (*register).max((hash >> 5).trailing_zeros().min(58) as u8 + 1);
        let len = usize::from(self.len);
        if len == TRACKED_HOSTS {
            self.more = true;
            return UNTRACKED;
        }
        self.put(len, hash);
        self.len += 1;
        len
    }

    /// The bit of a place.
    #[inline]
    pub(crate) fn bit(place: usize) -> u8 {
        1_u8 << place & 0x7f
    }

    /// Gives a place to a host.
    pub(crate) fn put(&mut self, place: usize, hash: u64) {
        self.tracked[place] = (hash >> 32) as u32;
    }

    /// Who must make room, by the ports of each: the one with fewest, and never the busiest. Among equals `turn` decides.
    pub(crate) fn least(&self, ports: &[u32; TRACKED_HOSTS], turn: u32) -> usize {
        let in_turn = (0..TRACKED_HOSTS).map(|n| (turn as usize + n) % TRACKED_HOSTS);
        let others = in_turn.filter(|&place| place != usize::from(self.busiest));
        others.min_by_key(|&place| ports[place]).unwrap_or(0)
    }

    /// The place of the tracked host with most ports.
    #[inline]
    pub(crate) fn busiest(&self) -> usize {
        usize::from(self.busiest)
    }

    /// Another has most ports now.
    pub(crate) fn set_busiest(&mut self, place: usize) {
        self.busiest = place as u8;
    }

    /// Whether there is one only.
    #[inline]
    pub(crate) fn is_one(&self) -> bool {
        self.len == 1
    }

    /// How many.
    pub(crate) fn count(&self) -> u32 {
        if !self.more {
            return u32::from(self.len);
        }
        let m = REGISTERS as f64;
        let raw = 0.697 * m * m / self.registers.iter().map(|&r| (-f64::from(r)).exp2()).sum::<f64>();
        let empty = self.registers.iter().filter(|&&r| r == 0).count();
        let estimate = if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
        #[allow(clippy::cast_sign_loss, reason = "an estimate is positive")]
        (estimate.round() as u32).max(TRACKED_HOSTS as u32 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    fn hosts(n: u32) -> Hosts {
        let state = foldhash::quality::FixedState::with_seed(7);
        let mut hosts = Hosts::NONE;
        for _ in 0..2 {
            for host in 0..n {
                let hash = state.hash_one(host);
                if hosts.find(hash).is_none() {
                    hosts.note(hash);
                }
            }
        }
        hosts
    }

    #[test]
    fn up_to_seven_hosts_are_exact() {
        for n in 0..=7 {
            assert_eq!(hosts(n).count(), n);
        }
    }

    #[test]
    fn more_hosts_are_estimated_within_three_standard_errors() {
        for n in [8, 20, 50, 100, 1_000, 65_536, 1_000_000] {
            let told = f64::from(hosts(n).count());
            assert!((told / f64::from(n) - 1.0).abs() < 0.55, "{n} hosts told as {told}");
        }
    }
}
