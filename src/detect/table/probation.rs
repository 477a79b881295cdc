//! Probation: what eight bytes hold of a source without a row: one or two ports, and when it asked for them.

use crate::detect::table::set::{GAP, GAP_SHIFT, Head, STAMP};
use crate::detect::time::quantum::{self, Stamp};
use crate::detect::tuning::QUANTA;

/// A source on probation: one or two ports, and when it asked for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probation {
    /// The ports, the older probe's first; the same twice if there is only one.
    pub ports: [u16; 2],
    /// Quantum of the older probe.
    pub stamp: Stamp,
    /// Quanta from the older probe to the younger, at most `MOST_GAP`.
    pub gap: u8,
}

/// Quanta between the two ports, as far as three bits go. A source that comes back with another port after more than that gets a
/// row: probation keeps no more than it can keep exactly.
const MOST_GAP: u8 = 7;

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
    pub(crate) fn new(port: u16, now: Stamp) -> Self {
        Self { ports: [port; 2], stamp: now, gap: 0 }
    }

    pub(super) fn of(head: Head, tail: u32) -> Self {
        Self {
            ports: [(tail >> 16) as u16, tail as u16],
            stamp: (head & STAMP) as Stamp,
            gap: ((head & GAP) >> GAP_SHIFT) as u8,
        }
    }

    pub(super) fn tail(self) -> u32 {
        u32::from(self.ports[0]) << 16 | u32::from(self.ports[1])
    }

    pub(super) fn times(self) -> Head {
        Head::from(self.stamp) | Head::from(self.gap) << GAP_SHIFT
    }

    /// Quanta since its latest probe.
    pub(crate) fn age(&self, now: Stamp) -> u8 {
        quantum::age(now, self.stamp).saturating_sub(self.gap)
    }

    /// How many distinct ports it showed.
    pub(crate) fn count(&self) -> u32 {
        1 + u32::from(self.ports[0] != self.ports[1])
    }

    /// Whether its older port is longer ago than a scan at the pace of the rule waits.
    pub(crate) fn is_slow(&self, now: Stamp) -> bool {
        quantum::age(now, self.stamp) > MOST_GAP
    }

    /// What is left of it when it asks for another port and cannot have a row: the younger port and this one.
    pub(crate) fn without_oldest(&self, port: u16, now: Stamp) -> Self {
        let gap = self.age(now);
        if self.count() == 2 && gap <= MOST_GAP {
            return Self { ports: [self.ports[1], port], stamp: quantum::before(now, gap), gap };
        }
        Self::new(port, now)
    }

    pub(super) fn is_over(&self, now: Stamp) -> bool {
        u64::from(self.age(now)) > QUANTA
    }

    /// Its older port no longer counts, its younger does.
    fn outlive(&mut self, now: Stamp) {
        if self.count() == 2 && !quantum::counts(now, self.stamp) {
            *self = Self::new(self.ports[1], quantum::before(now, self.age(now)));
        }
    }

    /// The same after another probe; `None` if eight bytes cannot keep that.
    pub(super) fn with(mut self, port: u16, now: Stamp) -> Option<Self> {
        self.outlive(now);
        let [older, younger] = self.ports;
        let (since_older, since_younger) = (quantum::age(now, self.stamp), self.age(now));
        if older == younger && port == older {
            return Some(Self::new(port, now));
        }
        // Which port stays beside this one, and for how long it was there.
        let (kept, gap) = match port {
            _ if port == older => (younger, since_younger),
            _ if port == younger || older == younger => (older, since_older),
            _ => return None,
        };
        (gap <= MOST_GAP).then(|| Self { ports: [kept, port], stamp: quantum::before(now, gap), gap })
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
            directory.put_on_probation(0, Spot::at(0, 0), Probation::new(1, quantum::stamp(quantum)));
            loop {
                let span = 1 << next(7);
                quantum += next(span);
                let port = 1 + next(3) as u16;
                latest.retain(|_, &mut at| quantum - at <= QUANTA);
                let alone = latest.is_empty();
                let now = quantum::stamp(quantum);
                let has_room = next(2) == 0;
                match directory.ask_again(0, port, now, has_room) {
                    Ruling::Passed(mut source) => {
                        source.outlive(now);
                        let age = |at: &u64| (quantum - at) as u8;
                        let ages = [quantum::age(now, source.stamp), source.age(now)];
                        let told: Vec<_> =
                            source.ports.into_iter().zip(ages).take(source.count() as usize).collect();
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
