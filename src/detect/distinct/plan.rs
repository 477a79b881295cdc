//! How the memory for ports is cut: the length of short lists, and how many blocks of which size.

use crate::detect::distinct::block::{Pool, block_bytes};
use crate::detect::distinct::list::AT_ONCE;
use crate::detect::tuning::{
    BLOCK_CELLS, BLOCK_EIGHTHS, BLOCK_SHARE, BLOCK_SHARE_FOR_HITS, LIST_PORTS, LIST_THRESHOLD,
};

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
                block_bytes: memory_bytes / BLOCK_SHARE.1 * BLOCK_SHARE.0,
                shares: BLOCK_EIGHTHS[0],
                greatest_threshold: list_ports as u32 * 2 / 3,
            };
        }
        // Most for the blocks in which a source reaches the threshold.
        let has_room = |&cells: &usize| Pool::most_ports(cells) >= threshold as usize;
        let size = BLOCK_CELLS.iter().position(has_room).unwrap_or(BLOCK_CELLS.len() - 1);
        Self {
            list_ports: LIST_PORTS,
            block_bytes: memory_bytes / BLOCK_SHARE_FOR_HITS.1 * BLOCK_SHARE_FOR_HITS.0,
            shares: BLOCK_EIGHTHS[size],
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
