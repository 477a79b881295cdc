//! The distinct hosts of a source, for rules that count them: a short list for each row, and a few long ones for those that
//! outgrow it. Exact as long as the list has room; then the count stops growing, and says so.
//!
//! An attacker who opens many wide sweeps takes all long lists: further ones stop growing at the length of a short list, which is half
//! as long again as the threshold, so nobody's hit comes late.

mod answered;

use crate::detect::memory::{Aligned, OutOfMemory, prefetch, room_for};
use crate::detect::time::quantum::{EXPIRED, Stamp, age, before, counts, falls_below, stamp};
use crate::detect::tuning::{LONG_LIST_PEERS, QUANTA};
use std::hash::BuildHasher;
use std::net::IpAddr;

/// A host in four bytes. IPv4 hosts are their own addresses; of IPv6 hosts 8 bits tell the /64 and 24 bits the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer(u32);

impl Peer {
    /// The host of this address.
    #[inline]
    pub(crate) fn of(host: IpAddr, hasher: &foldhash::quality::FixedState) -> Self {
        match host {
            IpAddr::V4(v4) => Self(v4.to_bits()),
            IpAddr::V6(v6) => {
                let network = hasher.hash_one((v6.to_bits() >> 64) as u64) as u32;
                let host = hasher.hash_one(v6.to_bits()) as u32;
                Self(network << 24 | host & 0xff_ffff)
            }
        }
    }

    /// What the doorkeeper keeps of it, in the place of a port.
    #[inline]
    pub(crate) fn short(self) -> u16 {
        (self.0.wrapping_mul(0x9e37_79b9) >> 16) as u16
    }
}

/// Bits of a host that its neighbours do not share: those of one IPv4 /24, or of one IPv6 /64.
#[inline]
fn own_bits(host: IpAddr) -> u32 {
    if host.is_ipv4() { 8 } else { 24 }
}

/// The stamp of the latest probe, and beside it whether only `Peer::short` is known, and what the host answered.
type Sighting = u16;
const SHORT: Sighting = 1;
const ANSWERED: Sighting = 2;
const REFUSED: Sighting = 4;

#[inline]
fn sighted_at(sighting: Sighting) -> Stamp {
    (sighting >> 8) as Stamp
}

/// Lists of one length.
#[derive(Debug)]
struct Lists {
    len: usize,
    peers: Aligned<u32>,
    sightings: Aligned<Sighting>,
}

impl Lists {
    fn new(lists: usize, len: usize) -> Result<Self, OutOfMemory> {
        let all = lists.saturating_mul(len);
        Ok(Self { len, peers: Aligned::new(all)?, sightings: Aligned::new(all)? })
    }

    fn list(&self, at: usize, len: usize) -> (&[u32], &[Sighting]) {
        let range = at * self.len..at * self.len + len;
        (&self.peers.as_slice()[range.clone()], &self.sightings.as_slice()[range])
    }

    fn list_mut(&mut self, at: usize) -> (&mut [u32], &mut [Sighting]) {
        let range = at * self.len..(at + 1) * self.len;
        (&mut self.peers.as_mut_slice()[range.clone()], &mut self.sightings.as_mut_slice()[range])
    }
}

/// What is kept of one row's hosts besides their list.
#[derive(Debug, Clone, Copy)]
struct Set {
    /// Its long list, if it has one.
    long: Option<u32>,
    /// Hosts that count, as of the latest `expire` or `record`.
    counted: u16,
    /// No host that counts is older than this.
    oldest: Stamp,
    /// Some of the hosts came from the doorkeeper, which knows them by `Peer::short` only.
    has_short: bool,
    /// The greatest count since the run of probes began.
    most: u16,
    /// A host left the window, or found no room, since the run of probes began.
    has_lost: bool,
    /// And another came after it, so that there were more than ever counted at once.
    is_partial: bool,
    /// The count has stopped growing for want of memory.
    is_saturated: bool,
}

impl Set {
    const NONE: Set = Set {
        long: None,
        counted: 0,
        oldest: EXPIRED,
        has_short: false,
        most: 0,
        has_lost: false,
        is_partial: false,
        is_saturated: false,
    };
}

/// The hosts of all rows of a table.
#[derive(Debug)]
pub(crate) struct PeerStore {
    sets: Vec<Set>,
    short: Lists,
    long: Lists,
    /// Long lists that nobody has.
    free: Vec<u32>,
}

/// Bytes of a host in a list.
const PEER_BYTES: usize = size_of::<u32>() + size_of::<Sighting>();

impl PeerStore {
    /// Hosts of a short list, for a threshold: half as many again, and whole lines.
    pub(crate) fn list_peers(threshold: u32) -> usize {
        (threshold.max(2) as usize * 3).div_ceil(2).next_multiple_of(8)
    }

    /// Bytes of a row.
    pub(crate) fn row_bytes(threshold: u32) -> usize {
        size_of::<Set>() + Self::list_peers(threshold) * PEER_BYTES
    }

    /// Bytes of all long lists, out of so many for all tables.
    pub(crate) fn long_bytes(memory_bytes: usize) -> usize {
        memory_bytes / 8
    }

    /// Room for so many rows under a threshold, and for long lists.
    pub(crate) fn new(rows: usize, threshold: u32, memory_bytes: usize) -> Result<Self, OutOfMemory> {
        let long = (Self::long_bytes(memory_bytes) / (LONG_LIST_PEERS * PEER_BYTES)).max(1);
        let mut sets = room_for(rows)?;
        sets.resize(rows, Set::NONE);
        let mut free = room_for(long)?;
        free.extend((0..long as u32).rev());
        Ok(Self {
            sets,
            short: Lists::new(rows, Self::list_peers(threshold))?,
            long: Lists::new(long, LONG_LIST_PEERS)?,
            free,
        })
    }

    /// Has a row's hosts brought into the cache.
    #[inline]
    pub(crate) fn prefetch(&self, row: u32) {
        prefetch(&self.sets[row as usize]);
        prefetch(&self.short.peers.as_slice()[row as usize * self.short.len]);
    }

    /// Hosts that count, as of the latest `expire` or `record`.
    #[inline]
    pub(crate) fn count(&self, row: u32) -> u32 {
        self.sets[row as usize].counted.into()
    }

    /// Hosts since the run of probes began, and whether these are all of them.
    pub(crate) fn since_begin(&self, row: u32) -> (u32, bool) {
        let set = &self.sets[row as usize];
        (set.most.into(), !set.is_partial)
    }

    /// Whether the count has stopped growing for want of memory.
    pub(crate) fn is_saturated(&self, row: u32) -> bool {
        self.sets[row as usize].is_saturated
    }

    fn list(&self, row: u32) -> (&[u32], &[Sighting]) {
        let set = &self.sets[row as usize];
        match set.long {
            None => self.short.list(row as usize, set.counted.into()),
            Some(at) => self.long.list(at as usize, set.counted.into()),
        }
    }

    fn list_mut(&mut self, row: u32) -> (&mut Set, &mut [u32], &mut [Sighting]) {
        let set = &mut self.sets[row as usize];
        let (peers, sightings) = match set.long {
            None => self.short.list_mut(row as usize),
            Some(at) => self.long.list_mut(at as usize),
        };
        (set, peers, sightings)
    }

    // ---- Time passes.

    /// Whether no host leaves the window between these quanta, as one look says.
    #[inline]
    pub(crate) fn none_leaves(&self, row: u32, from: u64, to: u64) -> bool {
        let set = &self.sets[row as usize];
        to - from <= QUANTA && counts(stamp(to), set.oldest) && set.counted > 0
    }

    /// Lets hosts leave the window as time goes from one quantum to another. Returns how many count.
    pub(crate) fn expire(&mut self, row: u32, from: u64, to: u64) -> u32 {
        let set = &self.sets[row as usize];
        if from == to || set.counted == 0 || self.none_leaves(row, from, to) {
            return set.counted.into();
        }
        let (now, all) = (stamp(to), to - from > QUANTA);
        let (set, peers, sightings) = self.list_mut(row);
        let (mut kept, mut greatest_age) = (0, 0);
        for at in 0..usize::from(set.counted) {
            let then = sighted_at(sightings[at]);
            if !all && counts(now, then) {
                (peers[kept], sightings[kept]) = (peers[at], sightings[at]);
                kept += 1;
                greatest_age = greatest_age.max(age(now, then));
            }
        }
        set.has_lost |= kept < usize::from(set.counted);
        set.is_saturated &= kept == usize::from(set.counted);
        (set.counted, set.oldest) = (kept as u16, before(now, greatest_age));
        if kept == 0 {
            self.release(row);
        }
        kept as u32
    }

    /// How many of the hosts that count at quantum `from` still do at `to`, if no probe comes.
    pub(crate) fn count_at(&self, row: u32, from: u64, to: u64) -> u32 {
        if to - from > QUANTA {
            return 0;
        }
        self.list(row).1.iter().map(|&sighting| u32::from(counts(stamp(to), sighted_at(sighting)))).sum()
    }

    /// The quantum in which the count falls (fell) below `threshold` if no probe comes after quantum `latest`.
    pub(crate) fn falls_below(&self, row: u32, threshold: u32, latest: u64) -> u64 {
        let mut by_age = [0; QUANTA as usize + 1];
        for &sighting in self.list(row).1 {
            by_age[usize::from(age(stamp(latest), sighted_at(sighting))).min(QUANTA as usize)] += 1;
        }
        falls_below(&by_age, threshold, latest)
    }

    // ---- A host is asked.

    /// Counts a host now (quantum `to`, to which the set was expired). Returns how many count.
    #[inline]
    pub(crate) fn record(&mut self, row: u32, peer: Peer, to: u64) -> u32 {
        let now = Sighting::from(stamp(to)) << 8;
        let (set, peers, sightings) = self.list_mut(row);
        let counted = usize::from(set.counted);
        if let Some(at) = position(&peers[..counted], peer.0)
            && sightings[at] & SHORT == 0
        {
            sightings[at] = now | sightings[at] & (ANSWERED | REFUSED);
            return counted as u32;
        }
        self.record_new(row, peer, to)
    }

    fn record_new(&mut self, row: u32, peer: Peer, to: u64) -> u32 {
        let now = Sighting::from(stamp(to)) << 8;
        let (set, peers, sightings) = self.list_mut(row);
        let counted = usize::from(set.counted);
        if set.has_short {
            // It may be one of those that the doorkeeper knew.
            let is_it = |&at: &usize| sightings[at] & SHORT != 0 && peers[at] == u32::from(peer.short());
            let real = (0..counted).find(|&at| sightings[at] & SHORT == 0 && peers[at] == peer.0);
            if let Some(at) = real.or_else(|| (0..counted).find(is_it)) {
                (peers[at], sightings[at]) = (peer.0, now | sightings[at] & (ANSWERED | REFUSED));
                return counted as u32;
            }
        }
        if counted == peers.len() && !self.grow(row) {
            return self.replace(row, peer, to);
        }
        let (set, peers, sightings) = self.list_mut(row);
        (peers[counted], sightings[counted]) = (peer.0, now);
        if counted == 0 {
            set.oldest = stamp(to);
        }
        set.counted += 1;
        set.most = set.most.max(set.counted);
        set.is_partial |= set.has_lost;
        set.counted.into()
    }

    /// Counts a host of which the doorkeeper kept `Peer::short`, at a quantum that is gone. (It keeps two, and one twice.)
    pub(crate) fn record_short(&mut self, row: u32, short: u16, then: u64) {
        let (set, peers, sightings) = self.list_mut(row);
        let counted = usize::from(set.counted);
        if peers[..counted].contains(&short.into()) {
            return;
        }
        (peers[counted], sightings[counted]) = (short.into(), Sighting::from(stamp(then)) << 8 | SHORT);
        if counted == 0 {
            set.oldest = stamp(then);
        }
        set.counted += 1;
        set.most = set.counted;
        set.has_short = true;
    }

    /// Moves a full short list to a long one. False if there is none left.
    #[cold]
    fn grow(&mut self, row: u32) -> bool {
        let set = &mut self.sets[row as usize];
        if set.long.is_some() {
            return false;
        }
        let Some(at) = self.free.pop() else { return false };
        let counted = usize::from(set.counted);
        let (peers, sightings) = self.short.list(row as usize, counted);
        let (long, sighted) = self.long.list_mut(at as usize);
        long[..counted].copy_from_slice(peers);
        sighted[..counted].copy_from_slice(sightings);
        set.long = Some(at);
        true
    }

    /// Counts a host for which there is no room, in the place of the one that would leave first.
    #[cold]
    fn replace(&mut self, row: u32, peer: Peer, to: u64) -> u32 {
        let now = stamp(to);
        let (set, peers, sightings) = self.list_mut(row);
        let counted = usize::from(set.counted);
        let by_age = (0..counted).max_by_key(|&at| age(now, sighted_at(sightings[at])));
        let at = by_age.unwrap_or(0);
        (peers[at], sightings[at]) = (peer.0, Sighting::from(now) << 8);
        (set.is_saturated, set.has_lost, set.is_partial) = (true, true, true);
        set.counted.into()
    }

    /// How many of the hosts that count are of the same network as this one: an IPv4 /24, or an IPv6 /64.
    pub(crate) fn neighbours(&self, row: u32, host: IpAddr, peer: Peer) -> u32 {
        let (peers, sightings) = self.list(row);
        let is_near = |(&other, &sighting): (&u32, &Sighting)| {
            u32::from((other ^ peer.0) >> own_bits(host) == 0 && sighting & SHORT == 0)
        };
        peers.iter().zip(sightings).map(is_near).sum()
    }

    // ---- Runs of probes.

    /// A run of probes begins: what left the window before is not of it.
    pub(crate) fn begin(&mut self, row: u32) {
        let set = &mut self.sets[row as usize];
        (set.most, set.has_lost, set.is_partial) = (set.counted, false, false);
    }

    /// Forgets all hosts of a row.
    pub(crate) fn release(&mut self, row: u32) {
        let set = &mut self.sets[row as usize];
        self.free.extend(set.long);
        let Set { most, has_lost, is_partial, .. } = *set;
        *set = Set { most, has_lost, is_partial, ..Set::NONE };
    }
}

/// Where a host is in a list.
#[inline]
fn position(peers: &[u32], peer: u32) -> Option<usize> {
    const AT_ONCE: usize = 8;
    let (lines, rest) = peers.as_chunks::<AT_ONCE>();
    for (n, line) in lines.iter().enumerate() {
        if line.iter().fold(false, |found, &listed| found | (listed == peer)) {
            return line.iter().position(|&listed| listed == peer).map(|at| n * AT_ONCE + at);
        }
    }
    rest.iter().position(|&listed| listed == peer).map(|at| lines.len() * AT_ONCE + at)
}
