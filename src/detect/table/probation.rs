//! Probation: what eight bytes hold of a source without a row: one or two ports, and when it asked for them.

use crate::detect::table::set::{GAP, GAP_SHIFT, Head, STAMP};
use crate::detect::time::quantum::{self, Stamp};
use crate::detect::tuning::QUANTA;

/// A source on probation: one or two ports, and when it asked for them. As it lies in its slot: two whole words, for what is
/// written in pieces and read at once makes the processor wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probation {
    /// The quantum of the older probe, and of two ports the quanta between them and one more; 0 for a port alone.
    times: Head,
    /// The older port, then the younger. A port alone leaves room for the fingerprint of its source.
    ports: u32,
}

/// Further bits of the hash of a source. A forged source that has the set and the tag of another by chance would add its port to it:
/// of 200,000 sources with 19 ports each among millions, a few were reported with 20.
pub(crate) type Fingerprint = u16;

/// Quanta between the two ports, as far as three bits go. A source that comes back with another port after more than that gets a
/// row: probation keeps no more than it can keep exactly.
const MOST_GAP: u8 = (GAP >> GAP_SHIFT) as u8 - 1;

/// What becomes of a source on probation that asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It stays on probation. Its earlier burst is finished if it was gone for a window.
    Stays(Option<Probation>),
    /// It gets a row: for a third port, or for a second so late that eight bytes cannot keep both times.
    Passed(Probation),
}

impl Probation {
    /// One port, now.
    pub(crate) fn new(port: u16, fingerprint: Fingerprint, now: Stamp) -> Self {
        Self { times: Head::from(now), ports: u32::from(port) << 16 | u32::from(fingerprint) }
    }

    /// Two ports, the older probe's first: when it came, and so many quanta to the other.
    pub(super) fn of_two([older, younger]: [u16; 2], stamp: Stamp, gap: u8) -> Self {
        Self {
            times: Head::from(stamp) | Head::from(gap + 1) << GAP_SHIFT,
            ports: u32::from(older) << 16 | u32::from(younger),
        }
    }

    #[inline]
    pub(super) fn of(head: Head, tail: u32) -> Self {
        Self { times: head & (GAP | STAMP), ports: tail }
    }

    pub(super) fn tail(self) -> u32 {
        self.ports
    }

    pub(super) fn times(self) -> Head {
        self.times
    }

    fn is_alone(self) -> bool {
        self.times & GAP == 0
    }

    /// Whether it may be that of a source with this fingerprint. Of two ports the tag alone must say it.
    #[inline]
    pub(super) fn may_be(self, fingerprint: Fingerprint) -> bool {
        !self.is_alone() || self.ports as Fingerprint == fingerprint
    }

    /// The ports, the older probe's first; the same twice if there is only one.
    pub(crate) fn ports(self) -> [u16; 2] {
        let older = (self.ports >> 16) as u16;
        [older, if self.is_alone() { older } else { self.ports as u16 }]
    }

    /// Quantum of the older probe.
    pub(crate) fn stamp(self) -> Stamp {
        (self.times & STAMP) as Stamp
    }

    /// Quanta from the older probe to the younger, at most `MOST_GAP`.
    pub(crate) fn gap(self) -> u8 {
        (self.times >> GAP_SHIFT).saturating_sub(1) as u8
    }

    /// Quanta since its latest probe.
    #[inline]
    pub(crate) fn age(self, now: Stamp) -> u8 {
        quantum::age(now, self.stamp()).saturating_sub(self.gap())
    }

    /// How many distinct ports it showed.
    pub(crate) fn count(self) -> u32 {
        if self.is_alone() { 1 } else { 2 }
    }

    /// Quanta since its older port.
    pub(crate) fn since_older(self, now: Stamp) -> u8 {
        quantum::age(now, self.stamp())
    }

    /// What is left of it when it asks for another port and cannot have a row: the younger port and this one.
    pub(crate) fn without_oldest(self, port: u16, fingerprint: Fingerprint, now: Stamp) -> Self {
        let gap = self.age(now);
        if self.count() == 2 && gap <= MOST_GAP {
            return Self::of_two([self.ports()[1], port], quantum::before(now, gap), gap);
        }
        Self::new(port, fingerprint, now)
    }

    #[inline]
    pub(super) fn is_over(self, now: Stamp) -> bool {
        u64::from(self.age(now)) > QUANTA
    }

    /// Its older port no longer counts, its younger does.
    fn outlive(&mut self, fingerprint: Fingerprint, now: Stamp) {
        if self.count() == 2 && !quantum::counts(now, self.stamp()) {
            *self = Self::new(self.ports()[1], fingerprint, quantum::before(now, self.age(now)));
        }
    }

    /// The same after another probe; `None` if eight bytes cannot keep that.
    pub(super) fn with(mut self, port: u16, fingerprint: Fingerprint, now: Stamp) -> Option<Self> {
        self.outlive(fingerprint, now);
        let [older, younger] = self.ports();
        let (since_older, since_younger) = (quantum::age(now, self.stamp()), self.age(now));
        if self.is_alone() && port == older {
            return Some(Self::new(port, fingerprint, now));
        }
        // Which port stays beside this one, and for how long it was there.
        let (kept, gap) = match port {
            _ if port == older => (younger, since_younger),
            _ if port == younger || self.is_alone() => (older, since_older),
            _ => return None,
        };
        (gap <= MOST_GAP).then(|| Self::of_two([kept, port], quantum::before(now, gap), gap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::table::{Directory, Spot};

    /// What is kept on probation is what the probes say: ports within a window with their latest times, or more than fits.
    #[test]
    fn probation_is_exact_or_passed() {
        let mut draw = 1_u64;
        let mut next = |bound: u64| {
            draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (draw >> 33) % bound
        };
        for _ in 0..20_000 {
            let mut quantum = next(1_000);
            let mut latest = std::collections::BTreeMap::from([(1, quantum)]);
            let mut directory = Directory::new(64 * 16, 1).unwrap();
            let spot = Spot::at(0, 0);
            directory.put_on_probation(0, spot, Probation::new(1, spot.fingerprint, quantum::stamp(quantum)));
            loop {
                let span = 1 << next(7);
                quantum += next(span);
                let port = 1 + next(3) as u16;
                latest.retain(|_, &mut at| quantum - at <= QUANTA);
                let alone = latest.is_empty();
                let now = quantum::stamp(quantum);
                let has_room = next(2) == 0;
                match directory.ask_again(0, spot, port, now, has_room) {
                    Ruling::Passed(mut source) => {
                        source.outlive(spot.fingerprint, now);
                        let age = |at: &u64| (quantum - at) as u8;
                        let ages = [quantum::age(now, source.stamp()), source.age(now)];
                        let told: Vec<_> =
                            source.ports().into_iter().zip(ages).take(source.count() as usize).collect();
                        let mut kept: Vec<_> = latest.iter().map(|(&port, at)| (port, age(at))).collect();
                        kept.sort_by_key(|&(port, age)| {
                            (std::cmp::Reverse(age), told.iter().position(|t| t.0 == port))
                        });
                        assert_eq!(told, kept);
                        assert!(has_room || latest.len() == 2 || age(&latest[&told[0].0]) > MOST_GAP);
                        break;
                    }
                    Ruling::Stays(finished) => {
                        assert_eq!(finished.is_some(), alone);
                        latest.insert(port, quantum);
                    }
                }
            }
        }
    }
}
