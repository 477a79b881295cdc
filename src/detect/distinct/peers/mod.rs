//! The distinct hosts of a source, for rules that count them: a short list for each row, and longer ones for those that outgrow it, some
//! as long as a source that is inside needs to reach its threshold, and a few for the count of wide sweeps. Exact as long as the list has
//! room; then the count stops growing, and says so.
//!
//! An attacker who asks many hosts from many addresses takes all longer lists, and so do the clients of a large network. Who finds none is
//! counted in his short list, which is half as long again as the threshold: a source that is outside needs no more. A full
//! list keeps the hosts of those networks of which most are asked (`room.rs`). And who needs more, because he is inside, takes
//! the list of another, of one of those with the fewest hosts: a sweep grows, and soon is none of them.

mod answered;
mod lists;
mod room;

use self::lists::{Lists, Pool};
use crate::detect::memory::{OutOfMemory, prefetch, room_for};
use crate::detect::time::quantum::{EXPIRED, Stamp, age, before, counts, falls_below, stamp};
use crate::detect::tuning::{INSIDE_FACTOR, LONG_LIST_PEERS, QUANTA};
use std::hash::BuildHasher;
use std::net::IpAddr;

/// A host in four bytes. IPv4 hosts are their own addresses; of IPv6 hosts 12 bits tell the /64 and 20 bits the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    bits: u32,
    /// Of these the last ones that its neighbours, those of one IPv4 /24 or of one IPv6 /64, do not share.
    own_bits: u8,
}

/// Own bits of an IPv6 host. One more, and two hosts of a /64 are half as often taken for one; one less, and so are two /64s.
const IPV6_OWN_BITS: u8 = 20;

impl Peer {
    /// The host of this address.
    #[inline]
    pub(crate) fn of(host: IpAddr, hasher: &foldhash::quality::FixedState) -> Self {
        match host {
            IpAddr::V4(v4) => Self { bits: v4.to_bits(), own_bits: 8 },
            IpAddr::V6(v6) => {
                let network = hasher.hash_one((v6.to_bits() >> 64) as u64) as u32;
                let host = hasher.hash_one(v6.to_bits()) as u32;
                let bits = network << IPV6_OWN_BITS | host & ((1 << IPV6_OWN_BITS) - 1);
                Self { bits, own_bits: IPV6_OWN_BITS }
            }
        }
    }

    /// What the doorkeeper keeps of it, in the place of a port.
    #[inline]
    pub(crate) fn short(self) -> u16 {
        (self.bits.wrapping_mul(0x9e37_79b9) >> 16) as u16
    }

    /// Whether two hosts of a source that asks this one are neighbours.
    #[inline]
    fn are_neighbours(self, one: u32, other: u32) -> bool {
        (one ^ other) >> self.own_bits == 0
    }
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

/// What is kept of one row's hosts besides their list.
#[derive(Debug, Clone, Copy)]
struct Set {
    /// Its longer list, if it has one: of which pool, and which.
    long: Option<(u8, u32)>,
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
    /// Those that one who is inside needs to reach his threshold, and those for wide sweeps.
    long: [Pool; 2],
    /// The latest number drawn by chance (`room.rs`).
    drawn: u64,
    /// Lists that were taken from others, since somebody asked.
    taken: u64,
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

    /// Bytes of all longer lists, out of so many for all tables.
    pub(crate) fn long_bytes(memory_bytes: usize) -> usize {
        memory_bytes / 4
    }

    /// Room for so many rows under a threshold, and for longer lists.
    pub(crate) fn new(
        rows: usize,
        threshold: u32,
        memory_bytes: usize,
        seed: u64,
    ) -> Result<Self, OutOfMemory> {
        let pool = |peers: usize| {
            let peers = peers.next_multiple_of(8).min(LONG_LIST_PEERS);
            let bytes = Self::long_bytes(memory_bytes) / 2;
            Pool::new((bytes / (peers * PEER_BYTES + Pool::OWNER_BYTES)).max(1), peers)
        };
        let mut sets = room_for(rows)?;
        sets.resize(rows, Set::NONE);
        Ok(Self {
            sets,
            short: Lists::new(rows, Self::list_peers(threshold))?,
            long: [pool((threshold * INSIDE_FACTOR) as usize)?, pool(LONG_LIST_PEERS)?],
            drawn: seed | 1,
            taken: 0,
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

    /// Whether that is so although it has not the longest list that there is.
    pub(crate) fn lacks_room(&self, row: u32) -> bool {
        let set = &self.sets[row as usize];
        set.is_saturated && set.long.is_none_or(|(pool, _)| usize::from(pool) + 1 < self.long.len())
    }

    /// How many sources lost a longer list to others, since it was asked.
    pub(crate) fn taken(&mut self) -> u64 {
        std::mem::take(&mut self.taken)
    }

    fn list(&self, row: u32) -> (&[u32], &[Sighting]) {
        let set = &self.sets[row as usize];
        match set.long {
            None => self.short.list(row as usize, set.counted.into()),
            Some((pool, at)) => self.long[usize::from(pool)].list(at, set.counted.into()),
        }
    }

    fn list_mut(&mut self, row: u32) -> (&mut Set, &mut [u32], &mut [Sighting]) {
        let set = &mut self.sets[row as usize];
        let (peers, sightings) = match set.long {
            None => self.short.list_mut(row as usize),
            Some((pool, at)) => self.long[usize::from(pool)].list_mut(at),
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

    /// Counts a host now (quantum `to`, to which the set was expired). Where there is no room it asks whether the source
    /// needs so much that it may take that of another. Returns how many count.
    #[inline]
    pub(crate) fn record(&mut self, row: u32, peer: Peer, to: u64, may_take: impl FnOnce() -> bool) -> u32 {
        let now = Sighting::from(stamp(to)) << 8;
        let (set, peers, sightings) = self.list_mut(row);
        let counted = usize::from(set.counted);
        if let Some(at) = position(&peers[..counted], peer.bits)
            && sightings[at] & SHORT == 0
        {
            sightings[at] = now | sightings[at] & (ANSWERED | REFUSED);
            return counted as u32;
        }
        self.record_new(row, peer, to, may_take)
    }

    fn record_new(&mut self, row: u32, peer: Peer, to: u64, may_take: impl FnOnce() -> bool) -> u32 {
        let now = Sighting::from(stamp(to)) << 8;
        let (set, peers, sightings) = self.list_mut(row);
        let counted = usize::from(set.counted);
        if set.has_short {
            // It may be one of those that the doorkeeper knew.
            let is_it = |&at: &usize| sightings[at] & SHORT != 0 && peers[at] == u32::from(peer.short());
            let real = (0..counted).find(|&at| sightings[at] & SHORT == 0 && peers[at] == peer.bits);
            if let Some(at) = real.or_else(|| (0..counted).find(is_it)) {
                (peers[at], sightings[at]) = (peer.bits, now | sightings[at] & (ANSWERED | REFUSED));
                return counted as u32;
            }
        }
        if counted == peers.len() && !self.grow(row, to, may_take) {
            return self.replace(row, peer, to);
        }
        let (set, peers, sightings) = self.list_mut(row);
        (peers[counted], sightings[counted]) = (peer.bits, now);
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

    /// How many of the hosts that count are of the same network as this one: an IPv4 /24, or an IPv6 /64.
    pub(crate) fn neighbours(&self, row: u32, peer: Peer) -> u32 {
        let (peers, sightings) = self.list(row);
        let is_near = |(&other, &sighting): (&u32, &Sighting)| {
            u32::from(peer.are_neighbours(other, peer.bits) && sighting & SHORT == 0)
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
        if let Some((pool, at)) = set.long {
            self.long[usize::from(pool)].give_back(at);
        }
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
