//! Lists of hosts, all of one length: one for each row, or lent to those that need one.

use super::Sighting;
use crate::detect::memory::{Aligned, OutOfMemory, room_for};

/// Lists of one length.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) len: usize,
    pub(super) peers: Aligned<u32>,
    sightings: Aligned<Sighting>,
}

impl Lists {
    pub(super) fn new(lists: usize, len: usize) -> Result<Self, OutOfMemory> {
        let all = lists.saturating_mul(len);
        Ok(Self { len, peers: Aligned::new(all)?, sightings: Aligned::new(all)? })
    }

    pub(super) fn list(&self, at: usize, len: usize) -> (&[u32], &[Sighting]) {
        let range = at * self.len..at * self.len + len;
        (&self.peers.as_slice()[range.clone()], &self.sightings.as_slice()[range])
    }

    pub(super) fn list_mut(&mut self, at: usize) -> (&mut [u32], &mut [Sighting]) {
        let range = at * self.len..(at + 1) * self.len;
        (&mut self.peers.as_mut_slice()[range.clone()], &mut self.sightings.as_mut_slice()[range])
    }
}

/// Lists that are lent.
#[derive(Debug)]
pub(super) struct Pool {
    lists: Lists,
    free: Vec<u32>,
    /// The row that has each.
    owners: Vec<u32>,
}

impl Pool {
    /// Bytes of a list beside its hosts.
    pub(super) const OWNER_BYTES: usize = 2 * size_of::<u32>();

    /// So many, of this length.
    pub(super) fn new(lists: usize, len: usize) -> Result<Self, OutOfMemory> {
        let (mut free, mut owners) = (room_for(lists)?, room_for(lists)?);
        free.extend((0..lists as u32).rev());
        owners.resize(lists, 0);
        Ok(Self { lists: Lists::new(lists, len)?, free, owners })
    }

    pub(super) fn list(&self, at: u32, len: usize) -> (&[u32], &[Sighting]) {
        self.lists.list(at as usize, len)
    }

    pub(super) fn list_mut(&mut self, at: u32) -> (&mut [u32], &mut [Sighting]) {
        self.lists.list_mut(at as usize)
    }

    /// Lends one to a row, if there is one.
    pub(super) fn lend(&mut self, row: u32) -> Option<u32> {
        let at = self.free.pop()?;
        self.owners[at as usize] = row;
        Some(at)
    }

    /// It is not needed any more.
    pub(super) fn give_back(&mut self, at: u32) {
        self.free.push(at);
    }

    /// Who has one, if all are lent: the one of this number, or of what is left of it.
    pub(super) fn owner(&self, number: u64) -> Option<u32> {
        let at = (number % self.owners.len() as u64) as usize;
        self.owners.get(at).copied().filter(|_| self.free.is_empty())
    }
}
