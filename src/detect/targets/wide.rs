//! What an open scan by many has had in all: which ports, exactly, and how many sources, by estimate. A host that is scanned takes a
//! place of a few; where none is left, its numbers are lower bounds.

use crate::detect::memory::{OutOfMemory, room_for, zeros};
use crate::detect::tuning::SOURCE_REGISTERS;

/// Words of the bits of all ports.
const PORT_WORDS: usize = 65_536 / 64;

/// Places for scans that are open.
#[derive(Debug)]
pub(super) struct WidePool {
    /// A bit for each port, place by place.
    ports: Vec<u64>,
    /// How many bits of a place are set.
    counts: Vec<u32>,
    /// A HyperLogLog for each place (Flajolet et al. 2007; standard error 1.04/√1024 = 3 %).
    registers: Vec<u8>,
    free: Vec<u16>,
}

impl WidePool {
    /// Bytes of a place.
    pub(super) const BYTES: usize = 8 * PORT_WORDS + SOURCE_REGISTERS + 4 + 2;

    /// So many places, all free.
    pub(super) fn new(places: usize) -> Result<Self, OutOfMemory> {
        let places = places.min(usize::from(u16::MAX));
        let mut free = room_for(places)?;
        free.extend((0..places as u16).rev());
        Ok(Self {
            ports: zeros(places * PORT_WORDS)?,
            counts: zeros(places)?,
            registers: zeros(places * SOURCE_REGISTERS)?,
            free,
        })
    }

    /// A place in which there is nothing, if one is free.
    pub(super) fn take(&mut self) -> Option<u16> {
        let place = self.free.pop()?;
        let at = usize::from(place);
        self.ports[at * PORT_WORDS..][..PORT_WORDS].fill(0);
        self.registers[at * SOURCE_REGISTERS..][..SOURCE_REGISTERS].fill(0);
        self.counts[at] = 0;
        Some(place)
    }

    /// It is free again.
    pub(super) fn give_back(&mut self, place: u16) {
        self.free.push(place);
    }

    /// A source, by its hash, asked for a port. Says whether that is a new one.
    #[inline]
    pub(super) fn add(&mut self, place: u16, port: u16, source: u64) -> bool {
        let mut wide = self.at(place);
        wide.add_source(source);
        let is_new = wide.add_port(port);
        self.counts[usize::from(place)] += u32::from(is_new);
        is_new
    }

    /// The place of this number.
    #[inline]
    pub(super) fn at(&mut self, place: u16) -> Wide<'_> {
        let at = usize::from(place);
        Wide {
            ports: &mut self.ports[at * PORT_WORDS..][..PORT_WORDS],
            registers: &mut self.registers[at * SOURCE_REGISTERS..][..SOURCE_REGISTERS],
        }
    }

    /// How many ports.
    #[inline]
    pub(super) fn ports(&self, place: u16) -> u32 {
        self.counts[usize::from(place)]
    }

    /// Which, ascending.
    pub(super) fn each_port(&self, place: u16) -> impl Iterator<Item = u16> {
        let words = &self.ports[usize::from(place) * PORT_WORDS..][..PORT_WORDS];
        (0_u16..=u16::MAX).filter(|&port| words[usize::from(port) / 64] >> (port % 64) & 1 == 1)
    }

    /// How many sources, about.
    pub(super) fn sources(&self, place: u16) -> u32 {
        let registers = &self.registers[usize::from(place) * SOURCE_REGISTERS..][..SOURCE_REGISTERS];
        let m = SOURCE_REGISTERS as f64;
        let (mut sum, mut empty) = (0.0, 0.0);
        for &register in registers {
            sum += (-f64::from(register)).exp2();
            empty += f64::from(u8::from(register == 0));
        }
        let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let estimate = if raw <= 2.5 * m && empty > 0.0 { m * (m / empty).ln() } else { raw };
        #[allow(clippy::cast_sign_loss, reason = "an estimate is positive")]
        let sources = estimate.round() as u32;
        sources
    }
}

/// What a place has, but for how many ports those are.
pub(super) struct Wide<'a> {
    ports: &'a mut [u64],
    registers: &'a mut [u8],
}

impl Wide<'_> {
    /// Whether a port was asked for.
    #[inline]
    pub(super) fn has(&self, port: u16) -> bool {
        self.ports[usize::from(port) / 64] >> (port % 64) & 1 == 1
    }

    /// A port was asked for. Says whether it is a new one.
    #[inline]
    fn add_port(&mut self, port: u16) -> bool {
        let is_new = !self.has(port);
        self.ports[usize::from(port) / 64] |= 1 << (port % 64);
        is_new
    }

    /// A source, by its hash, asked for a port.
    #[inline]
    pub(super) fn add_source(&mut self, source: u64) {
        let register = &mut self.registers[(source % SOURCE_REGISTERS as u64) as usize];
        let rank = (source >> 16).trailing_zeros().min(47) as u8 + 1;
        if *register < rank {
            *register = rank;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    #[test]
    fn ports_are_exact_and_sources_within_a_tenth() {
        let hasher = foldhash::quality::FixedState::with_seed(7);
        for (ports, sources) in [(1, 1), (100, 25), (2_000, 500), (65_536, 100_000)] {
            let mut pool = WidePool::new(2).unwrap();
            let (place, other) = (pool.take().unwrap(), pool.take().unwrap());
            assert_eq!(pool.take(), None, "two there are");
            for n in 0..ports.max(sources) * 2_u32 {
                pool.add(place, (n % ports) as u16, hasher.hash_one(n % sources));
            }
            assert_eq!(pool.ports(place), ports);
            assert_eq!(pool.each_port(place).count(), ports as usize);
            let estimate = f64::from(pool.sources(place)) / f64::from(sources);
            assert!((0.9..1.1).contains(&estimate), "{estimate} of {sources}");
            assert_eq!((pool.ports(other), pool.sources(other)), (0, 0), "nothing of it is elsewhere");
            pool.give_back(place);
            assert_eq!(pool.take(), Some(place));
            assert_eq!((pool.ports(place), pool.sources(place)), (0, 0), "it is empty again");
        }
    }
}
