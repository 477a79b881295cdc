//! How many hosts a source asked: the first seven exactly, more by estimate, in 64 bytes.
//!
//! On a host the answer is one; on a gateway it tells a scan from a busy client. An attacker can ask any number of
//! hosts, so beyond seven a HyperLogLog of 32 registers counts on (Flajolet et al. 2007; standard error
//! 1.04/√32 = 18 %).

/// Hosts that are told apart exactly.
pub const KNOWN: usize = 7;
const REGISTERS: usize = 32;

/// The hosts one source asked.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Hosts {
    len: u8,
    more: bool,
    /// The first is the likeliest, so it lies near the start.
    known: [u32; KNOWN],
    registers: [u8; REGISTERS],
}

impl Hosts {
    /// No hosts.
    pub const NONE: Hosts = Hosts { known: [0; KNOWN], len: 0, more: false, registers: [0; REGISTERS] };

    /// Notes a host by its keyed hash. Returns its bit among the known ones, 0 if it is not one of them.
    #[inline]
    pub fn note(&mut self, hash: u64) -> u8 {
        let short = (hash >> 32) as u32;
        let len = usize::from(self.len);
        if let Some(at) = self.known[..len].iter().position(|&k| k == short) {
            return 1 << at;
        }
        let register = &mut self.registers[(hash % REGISTERS as u64) as usize];
        *register = (*register).max((hash >> 5).trailing_zeros().min(58) as u8 + 1);
        if len == KNOWN {
            self.more = true;
            return 0;
        }
        self.known[len] = short;
        self.len += 1;
        1 << len
    }

    /// How many.
    pub fn count(&self) -> u32 {
        if !self.more {
            return u32::from(self.len);
        }
        let m = REGISTERS as f64;
        let raw = 0.697 * m * m / self.registers.iter().map(|&r| (-f64::from(r)).exp2()).sum::<f64>();
        let empty = self.registers.iter().filter(|&&r| r == 0).count();
        let estimate = if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
        #[allow(clippy::cast_sign_loss, reason = "an estimate is positive")]
        (estimate.round() as u32).max(KNOWN as u32 + 1)
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
                hosts.note(state.hash_one(host));
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
