//! Probes are observed a batch at a time: while it fills, the cache fetches what each will need, first its set of the
//! directory and later the row that the set points at.

use crate::detect::memory::{OutOfMemory, room_for};
use crate::detect::probe::{Class, Probe};
use crate::detect::table::Spot;
use crate::detect::tuning::{AHEAD, BATCH};
use crate::packet::Timestamp;
use std::net::IpAddr;
use std::ops::Range;

/// Probes that wait for their batch to be full, each with the hash of its source and class.
#[derive(Debug)]
pub(super) struct Batch {
    probes: Vec<Probe>,
    hashes: [u64; BATCH],
    has_ipv6: bool,
    only_target: Option<(IpAddr, Class)>,
}

impl Batch {
    /// An empty one.
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        Ok(Self { probes: room_for(BATCH)?, hashes: [0; BATCH], has_ipv6: false, only_target: None })
    }

    /// One more. True once it is full.
    #[inline(always)]
    pub(super) fn push(&mut self, probe: Probe, hash: u64) -> bool {
        self.hashes[self.probes.len() % BATCH] = hash;
        self.has_ipv6 |= probe.source.is_ipv6();
        self.probes.push(probe);
        self.probes.len() == BATCH
    }

    /// The hash of the latest, if that is of this source and class.
    #[inline(always)]
    pub(super) fn hash_of_again(&self, source: IpAddr, class: Class) -> Option<u64> {
        let last = self.probes.last()?;
        let is_again = last.source == source && last.technique.class() == class;
        is_again.then(|| self.hashes[(self.probes.len() - 1) % BATCH])
    }

    /// All of them.
    #[inline]
    pub(super) fn as_slice(&self) -> &[Probe] {
        &self.probes
    }

    /// The one of this number.
    #[inline]
    pub(super) fn at(&self, at: usize) -> Option<&Probe> {
        self.probes.get(at)
    }

    /// Its hash.
    #[inline]
    pub(super) fn hash(&self, at: usize) -> u64 {
        self.hashes[at % BATCH]
    }

    /// In the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Probe> {
        self.probes.iter()
    }

    /// Whether a source in it has an IPv6 address.
    pub(super) fn has_ipv6(&self) -> bool {
        self.has_ipv6
    }

    /// Notes whether all of it ask one host by one class: then nobody else need look at it for each.
    pub(super) fn note_only_target(&mut self) {
        let target = |probe: &Probe| (probe.host, probe.technique.class());
        let first = self.probes.first().map(target);
        self.only_target = first.filter(|first| self.probes.iter().all(|probe| target(probe) == *first));
    }

    /// The host and the class that all of it ask by what was noted, if there is only one. In a flood there mostly is.
    #[inline]
    pub(super) fn only_target(&self) -> Option<(IpAddr, Class)> {
        self.only_target
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.only_target = None;
        self.has_ipv6 = false;
        self.probes.clear();
    }

    /// The latest time in it, on the capture's clock.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.probes.iter().map(|probe| probe.time).max()
    }

    /// No probe of it is later than this.
    pub(super) fn cap(&mut self, latest: Timestamp) {
        for probe in &mut self.probes {
            probe.time = probe.time.min(latest);
        }
    }
}

/// No row.
pub(super) const NO_ROW: u32 = u32::MAX;

/// Where a tracker has the source of a probe, as far as it was looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookup {
    /// Where it belongs in the directory.
    pub spot: Spot,
    /// The row that it had when that was looked up, or `NO_ROW`.
    pub row: u32,
}

/// One tracker's lookups of the probes of a batch. An array, whose places are counted by `len`: a probe costs neither a look at
/// the room that is left nor one at the bounds.
#[derive(Debug)]
pub(super) struct Lookups {
    lookups: [Lookup; BATCH],
    len: usize,
}

const _: () = assert!(BATCH.is_power_of_two(), "places are found by a mask");

impl Lookups {
    /// None.
    pub(super) const NONE: Lookups =
        Lookups { lookups: [Lookup { spot: Spot::FIRST, row: NO_ROW }; BATCH], len: 0 };

    /// One more, whose row was not looked up yet. Returns the number of the one whose row can be looked up now.
    #[inline]
    pub(super) fn push(&mut self, spot: Spot) -> Option<usize> {
        self.lookups[self.len % BATCH] = Lookup { spot, row: NO_ROW };
        self.len += 1;
        self.len.checked_sub(AHEAD)
    }

    /// The numbers of those whose rows were not looked up yet, once there come no more.
    pub(super) fn rest(&self) -> Range<usize> {
        self.len.saturating_sub(AHEAD - 1)..self.len
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The latest; if there is none yet, any.
    #[inline]
    pub(super) fn latest(&self) -> Lookup {
        self.at(self.len.wrapping_sub(1))
    }

    /// The one of this number.
    #[inline]
    pub(super) fn at(&self, at: usize) -> Lookup {
        self.lookups[at % BATCH]
    }

    /// The row of the one before, if that is of the same source.
    #[inline]
    pub(super) fn before(&self, at: usize) -> Option<u32> {
        let before = self.at(at.wrapping_sub(1));
        (at > 0 && before.spot == self.at(at).spot).then_some(before.row)
    }

    /// The row of one was looked up.
    #[inline]
    pub(super) fn found(&mut self, at: usize, row: u32) {
        self.lookups[at % BATCH].row = row;
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}
