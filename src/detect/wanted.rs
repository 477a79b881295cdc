//! Which ports scans asked for lately, and how many scans each: what scanners want of these hosts.
//!
//! A scan counts for a port once: at its hit for the ports that it had asked for by then, later when it asks for a port that is new to
//! it. So the numbers follow from packets and their times, whenever a tick comes; and a flood of forged sources that never reach a
//! threshold costs nothing here.

use crate::detect::memory::{OutOfMemory, zeros};
use crate::detect::ranges::telling;
use crate::detect::tuning::WANTED_EPOCHS;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

const PORTS: usize = 1 << 16;

/// Ports of a group: those that a bit of `Groups` stands for.
const GROUP: usize = 64;

/// Epochs that are kept: those of a hold, and the one that goes on.
const SLOTS: usize = WANTED_EPOCHS as usize + 1;

/// Groups of ports in which something was counted. Most scans ask for few of them, and a pass over all ports for each would let an
/// attacker who makes time jump keep the capture waiting.
#[derive(Debug, Clone, Copy, Default)]
struct Groups([u64; PORTS / GROUP / 64]);

impl Groups {
    #[inline]
    fn insert(&mut self, port: u16) {
        let group = usize::from(port) / GROUP;
        self.0[group / 64] |= 1 << (group % 64);
    }

    /// The first port of each.
    fn each(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(at, bits)| {
            let is_in = move |bit: &usize| bits >> bit & 1 == 1;
            (0..64).filter(is_in).map(move |bit| (at * 64 + bit) * GROUP)
        })
    }
}

/// Counts of scans by port, for a hold. It is cut into epochs; a count stays for the hold and at most a quarter of it longer.
#[derive(Debug)]
pub(super) struct Wanted {
    epoch_nanos: u64,
    /// The latest that was counted in.
    epoch: u64,
    /// By epoch and port.
    counts: Vec<u32>,
    groups: [Groups; SLOTS],
    /// By port.
    sums: Vec<u32>,
    is_changed: bool,
    shown: PortSources,
}

impl Wanted {
    /// With all its memory, or an error if the system refuses it.
    pub(super) fn new(hold_nanos: u64) -> Result<Self, OutOfMemory> {
        Ok(Self {
            epoch_nanos: epoch_nanos(hold_nanos),
            epoch: 0,
            counts: zeros(SLOTS * PORTS)?,
            groups: [Groups::default(); SLOTS],
            sums: zeros(PORTS)?,
            is_changed: false,
            shown: PortSources::default(),
        })
    }

    /// A scan asked for a port that is new to it. A slower rule says so later, of a time that is past.
    #[inline]
    pub(super) fn count(&mut self, port: u16, now: u64) {
        let epoch = now / self.epoch_nanos;
        if epoch > self.epoch {
            self.roll(epoch);
        }
        if epoch + WANTED_EPOCHS < self.epoch {
            return;
        }
        let slot = slot(epoch);
        self.counts[slot * PORTS + usize::from(port)] += 1;
        self.groups[slot].insert(port);
        self.sums[usize::from(port)] += 1;
        self.is_changed = true;
    }

    /// Time has passed; what is shown is brought to the present.
    pub(super) fn advance(&mut self, now: u64) {
        self.roll(now / self.epoch_nanos);
        if std::mem::take(&mut self.is_changed) {
            let all = self.groups.iter().fold(Groups::default(), |mut all, groups| {
                all.0.iter_mut().zip(groups.0).for_each(|(all, more)| *all |= more);
                all
            });
            let ports = all.each().flat_map(|first| first..first + GROUP);
            let counted = ports.filter(|&port| self.sums[port] > 0);
            self.shown = PortSources(counted.map(|port| (port as u16, self.sums[port])).collect());
        }
    }

    /// What is shown, as of the latest `advance`.
    pub(super) fn shown(&self) -> PortSources {
        self.shown.clone()
    }

    /// Another hold from now on: what was counted in epochs of the old one means nothing then.
    pub(super) fn set_hold(&mut self, hold_nanos: u64) {
        if epoch_nanos(hold_nanos) != self.epoch_nanos {
            self.roll(u64::MAX);
            (self.epoch_nanos, self.epoch) = (epoch_nanos(hold_nanos), 0);
        }
    }

    /// Lets go of the epochs that fall out of the hold when this one begins.
    fn roll(&mut self, epoch: u64) {
        let gone = epoch.saturating_sub(self.epoch).min(SLOTS as u64);
        for step in 0..gone {
            let slot = slot(epoch - step);
            for first in std::mem::take(&mut self.groups[slot]).each() {
                self.is_changed = true;
                let counts = &mut self.counts[slot * PORTS + first..][..GROUP];
                for (sum, count) in self.sums[first..][..GROUP].iter_mut().zip(counts) {
                    *sum -= std::mem::take(count);
                }
            }
        }
        self.epoch = self.epoch.max(epoch);
    }
}

fn epoch_nanos(hold_nanos: u64) -> u64 {
    hold_nanos.div_ceil(WANTED_EPOCHS).max(1)
}

fn slot(epoch: u64) -> usize {
    (epoch % SLOTS as u64) as usize
}

/// How many sources asked for each port in their scans: ports in ascending order, none of which nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortSources(Arc<[(u16, u32)]>);

impl PortSources {
    /// Counts by port, in any order.
    pub fn of(counts: impl IntoIterator<Item = (u16, u32)>) -> Self {
        let mut by_port: BTreeMap<u16, u32> = BTreeMap::new();
        for (port, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
            *by_port.entry(port).or_default() += count;
        }
        Self(by_port.into_iter().collect())
    }

    /// How many ports there are.
    pub fn ports(&self) -> u64 {
        self.0.len() as u64
    }

    /// Of so many ports, those that most sources asked for: the greatest count first, then the ports of services that scanners want,
    /// then the lowest port.
    pub fn most(&self, ports: usize) -> Vec<(u16, u32)> {
        let mut all = self.0.to_vec();
        let rank = |&(port, count): &(u16, u32)| (Reverse(count), telling(port), port);
        if all.len() > ports {
            all.select_nth_unstable_by_key(ports, rank);
            all.truncate(ports);
        }
        all.sort_unstable_by_key(rank);
        all
    }

    /// Takes in what another detector of the same capture counted, of other sources.
    pub fn merge(&mut self, other: &Self) {
        if !other.0.is_empty() {
            *self = Self::of(self.0.iter().chain(&*other.0).copied());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list of all that was counted, of random ports and times with jumps of many holds; some are told late, as slower
        /// rules do.
        #[test]
        fn each_port_has_what_was_counted_within_the_hold(
            hold in 1..2_000_u64,
            steps in prop::collection::vec((0..4_u16, 0..3_000_u64, 0..5_000_u64), 1..200),
        ) {
            let epoch = hold.div_ceil(WANTED_EPOCHS);
            let mut wanted = Wanted::new(hold).expect("room");
            let (mut all, mut latest) = (Vec::new(), 0);
            for (port, ahead, late) in steps {
                let port = port * 21_845;
                latest += ahead / 10 * (ahead % 10 / 5);
                let now = if late % 3 == 0 { latest.saturating_sub(late) } else { latest };
                wanted.count(port, now);
                all.push((port, now));
                if late % 2 == 0 {
                    wanted.advance(latest);
                    let is_held = |&&(_, at): &&(u16, u64)| at / epoch + WANTED_EPOCHS >= latest / epoch;
                    let expected = PortSources::of(all.iter().filter(is_held).map(|&(port, _)| (port, 1)));
                    prop_assert_eq!(wanted.shown(), expected);
                }
            }
        }
    }

    #[test]
    fn those_that_most_asked_for_come_first_and_then_services_and_the_lowest() {
        let sources =
            PortSources::of([(443, 2), (22, 5), (7, 5), (80, 2), (8, 1), (443, 1), (23, 5), (9, 0)]);
        assert_eq!((sources.ports(), sources.most(4)), (6, vec![(22, 5), (23, 5), (7, 5), (443, 3)]));
        assert_eq!(sources.most(9).len(), 6);
        let scan = PortSources::of((1..=1_000).map(|port| (port, 1)));
        assert_eq!(scan.most(3), [(22, 1), (23, 1), (445, 1)]);
    }

    #[test]
    fn what_two_counted_adds_up() {
        let mut one = PortSources::of([(22, 5), (80, 2)]);
        one.merge(&PortSources::of([(22, 1), (23, 1)]));
        assert_eq!(one, PortSources::of([(22, 6), (23, 1), (80, 2)]));
    }

    #[test]
    fn another_hold_begins_anew() {
        let mut wanted = Wanted::new(1_000).expect("room");
        wanted.count(22, 5_000);
        wanted.set_hold(1_000);
        wanted.advance(5_000);
        assert_eq!(wanted.shown().ports(), 1);
        wanted.set_hold(2_000);
        wanted.count(23, 5_500);
        wanted.advance(6_000);
        assert_eq!(wanted.shown(), PortSources::of([(23, 1)]));
    }
}
