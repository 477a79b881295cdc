//! How the memory for ports is cut: the length of short lists, and how many blocks of which size.

use crate::detect::distinct::block::{Pool, block_bytes};
use crate::detect::distinct::list::AT_ONCE;
use crate::detect::tuning::{BLOCK_CELLS, LIST_PORTS, LIST_THRESHOLD};

const _: () = assert!(
    LIST_THRESHOLD as usize * 3 / 2 <= u8::MAX as usize && LIST_PORTS <= u8::MAX as usize,
    "`Ports::listed` holds it"
);

/// How the memory for ports is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Ports of each short list; whole lines.
    pub list_ports: usize,
    /// Bytes of all blocks together.
    pub block_bytes: usize,
    /// Eighths of `block_bytes` for each size of blocks.
    shares: [usize; BLOCK_CELLS.len()],
    /// The greatest threshold that may be set later on.
    pub greatest_threshold: u32,
}

impl Plan {
    /// For a threshold, out of so many bytes for all tables.
    pub(crate) fn new(threshold: u32, memory_bytes: usize) -> Self {
        if threshold <= LIST_THRESHOLD {
            let list_ports = (threshold as usize).max(2) * 3;
            let list_ports = list_ports.div_ceil(2).next_multiple_of(AT_ONCE);
            return Self {
                list_ports,
                block_bytes: memory_bytes / 8,
                // Half for ordinary scans, a quarter each for nmap's 1,000 ports and for all ports.
                shares: [4, 2, 2],
                greatest_threshold: list_ports as u32 * 2 / 3,
            };
        }
        // Most for the blocks in which a source reaches the threshold.
        let shares = match BLOCK_CELLS.iter().position(|&cells| Pool::most_ports(cells) >= threshold as usize)
        {
            Some(0) => [4, 2, 2],
            Some(1) => [2, 4, 2],
            _ => [1, 1, 6],
        };
        Self {
            list_ports: LIST_PORTS,
            block_bytes: memory_bytes / 2,
            shares,
            greatest_threshold: u32::from(u16::MAX) + 1,
        }
    }

    /// How many sources can reach the threshold at once, if each needs a block for it.
    pub(crate) fn sources_at_once(threshold: u32, memory_bytes: usize) -> Option<usize> {
        let plan = Self::new(threshold, memory_bytes);
        let large_enough = |&size: &usize| Pool::most_ports(BLOCK_CELLS[size]) >= threshold as usize;
        let blocks = || (0..BLOCK_CELLS.len()).filter(large_enough).map(|size| plan.blocks(size)).sum();
        (threshold > LIST_THRESHOLD).then(blocks)
    }

    /// Blocks of a size.
    pub(crate) fn blocks(&self, size: usize) -> usize {
        (self.block_bytes / 8 * self.shares[size] / block_bytes(BLOCK_CELLS[size])).max(1)
    }
}
