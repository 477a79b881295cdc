//! Where few hosts are asked, nobody can sweep: a rule that counts hosts costs next to nothing there. It keeps the latest probes in
//! a ring until there are more hosts, and counts them then: so that what it says of a quiet network is as exact as if it had
//! looked at every probe.

use super::handed::Handed;
use crate::detect::batch::Batch;
use crate::detect::memory::{OutOfMemory, room_for};
use crate::detect::probe::Probe;
use crate::detect::tuning::{FEW_HOSTS, KEPT_PROBES};
use std::net::IpAddr;

/// The hosts that were asked within a window, as long as they are few.
#[derive(Debug)]
pub(super) struct FewHosts {
    /// Each with the time of its latest probe.
    hosts: [(IpAddr, u64); FEW_HOSTS],
    len: usize,
    /// There were more.
    are_many: bool,
    kept: Kept,
}

impl FewHosts {
    /// None so far.
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let hosts = [(IpAddr::from([0, 0, 0, 0]), 0); FEW_HOSTS];
        Ok(Self { hosts, len: 0, are_many: false, kept: Kept::new()? })
    }

    /// Whether there are more than a few.
    #[inline]
    pub(super) fn are_many(&self) -> bool {
        self.are_many
    }

    /// Keeps what was handed down of a batch, to be looked at when there are more hosts. False if there are now: then of this batch nothing
    /// is kept.
    pub(super) fn keep(&mut self, batch: &Batch, list: &[Handed], window_nanos: u64) -> bool {
        let (latest, _) = self.hosts[0];
        let only = batch.only_target().filter(|(host, _)| self.len > 0 && *host == latest);
        // Of a batch to the latest host alone only the last need be looked at.
        let looked_at = if only.is_some() { list.last().map_or(&[][..], std::slice::from_ref) } else { list };
        for handed in looked_at {
            let Some(probe) = batch.at(handed.at()) else { continue };
            if self.hosts[0].0 == probe.host && self.len > 0 {
                self.hosts[0].1 = handed.now;
            } else if !self.note(probe.host, handed.now, window_nanos) {
                return false;
            }
        }
        self.kept.put_all(batch, list);
        true
    }

    /// Another host than the latest was asked. Whether there are few all the same.
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

    /// Lends what was kept, in order.
    pub(super) fn lend(&mut self) -> Kept {
        self.len = 0;
        self.kept.put_in_order();
        std::mem::take(&mut self.kept)
    }

    /// It was lent, and is over.
    pub(super) fn take_back(&mut self, mut kept: Kept) {
        kept.clear();
        self.kept = kept;
    }

    /// Lets go of the probes of sources that do not count any more.
    pub(super) fn withdraw(&mut self, is_ignored: impl Fn(IpAddr) -> bool) {
        self.kept.put_in_order();
        self.kept.retain(|probe| !is_ignored(probe.source));
    }

    /// However many there are, from here on each probe is looked at.
    pub(super) fn take_for_many(&mut self) {
        self.are_many = true;
    }

    /// Only a few again.
    pub(super) fn are_few(&mut self) {
        self.are_many = false;
    }
}

/// The latest probes that were handed down, in a ring.
#[derive(Debug, Default)]
pub(super) struct Kept {
    probes: Vec<Probe>,
    handed: Vec<Handed>,
    /// Where the next one goes.
    next: usize,
}

impl Kept {
    fn new() -> Result<Self, OutOfMemory> {
        Ok(Self { probes: room_for(KEPT_PROBES)?, handed: room_for(KEPT_PROBES)?, next: 0 })
    }

    /// In the order in which they came, once they were put in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Probe, &Handed)> {
        self.probes.iter().zip(&self.handed)
    }

    /// In a flood all of a batch is handed down, and put there at once.
    fn put_all(&mut self, batch: &Batch, list: &[Handed]) {
        let whole = batch.as_slice();
        if list.len() == whole.len() {
            return self.put(whole, list);
        }
        for handed in list {
            if let Some(probe) = whole.get(handed.at()) {
                self.put(std::slice::from_ref(probe), std::slice::from_ref(handed));
            }
        }
    }

    fn put(&mut self, probes: &[Probe], handed: &[Handed]) {
        let here = probes.len().min(KEPT_PROBES - self.next);
        overwrite(&mut self.probes, self.next, &probes[..here]);
        overwrite(&mut self.handed, self.next, &handed[..here]);
        self.next = (self.next + here) % KEPT_PROBES;
        if here < probes.len() {
            self.put(&probes[here..], &handed[here..]);
        }
    }

    fn put_in_order(&mut self) {
        if self.probes.len() == KEPT_PROBES {
            self.probes.rotate_left(self.next);
            self.handed.rotate_left(self.next);
            self.next = 0;
        }
    }

    fn retain(&mut self, keep: impl Fn(&Probe) -> bool) {
        let mut probes = self.probes.iter();
        self.handed.retain(|_| probes.next().is_some_and(&keep));
        self.probes.retain(keep);
        self.next = self.probes.len() % KEPT_PROBES;
    }

    fn clear(&mut self) {
        self.probes.clear();
        self.handed.clear();
        self.next = 0;
    }
}

/// Puts these from here on in a ring that is full or ends here. They fit.
fn overwrite<T: Copy>(ring: &mut Vec<T>, at: usize, items: &[T]) {
    match ring.get_mut(at..at + items.len()) {
        Some(old) => old.copy_from_slice(items),
        None => ring.extend_from_slice(items),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tracker::What;
    use crate::detect::world::syn;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// The latest are kept, whatever of each batch is handed down, and who is withdrawn is gone.
        #[test]
        fn the_latest_are_kept(
            batches in prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.9), 1..=32), 1..120),
            ignored in 0..9_u64,
        ) {
            let (mut few, mut kept, mut now) = (FewHosts::new().unwrap(), VecDeque::new(), 0);
            for handed_down in batches {
                let (mut batch, mut list) = (Batch::new().unwrap(), Vec::new());
                for (at, is_handed) in handed_down.into_iter().enumerate() {
                    now += 1;
                    let source = format!("198.51.100.{}", now % 7);
                    let _ = batch.push(syn(&source, "192.0.2.10:80").at(now as f64), 0);
                    if is_handed {
                        list.push(Handed::new(at, now, What::CountNew));
                        kept.push_back(now);
                    }
                }
                prop_assert!(few.keep(&batch, &list, u64::MAX / 4));
                kept.drain(..kept.len().saturating_sub(KEPT_PROBES));
            }
            if ignored < 7 {
                let address: IpAddr = format!("198.51.100.{ignored}").parse().unwrap();
                few.withdraw(|source| source == address);
                kept.retain(|now| now % 7 != ignored);
            }
            let lent = few.lend();
            prop_assert_eq!(lent.iter().map(|(_, handed)| handed.now).collect::<VecDeque<_>>(), kept);
            for (probe, handed) in lent.iter() {
                prop_assert_eq!(probe.source.to_string(), format!("198.51.100.{}", handed.now % 7));
            }
        }
    }

    #[test]
    fn more_hosts_than_a_few_are_many_and_of_their_batch_nothing_is_kept() {
        let mut few = FewHosts::new().unwrap();
        let ask = |few: &mut FewHosts, host: usize| {
            let mut batch = Batch::new().unwrap();
            let _ = batch.push(syn("198.51.100.7", &format!("192.0.2.{host}:80")).at(1.0), 0);
            few.keep(&batch, &[Handed::new(0, 1, What::Count)], 10)
        };
        assert!((0..FEW_HOSTS).all(|host| ask(&mut few, host) && ask(&mut few, 0)));
        assert!(!ask(&mut few, FEW_HOSTS) && few.are_many());
        let lent = few.lend();
        assert_eq!(lent.iter().count(), 2 * FEW_HOSTS);
        few.take_back(lent);
        few.are_few();
        assert!(ask(&mut few, FEW_HOSTS) && few.lend().iter().count() == 1);
    }
}
