//! What a row keeps of its source's ports: how many, and where they are.

use crate::detect::distinct::block::Block;
use crate::detect::time::quantum::{EXPIRED, Stamp};

/// The distinct ports of one source. Their numbers are in `PortStore`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Where they are: in the source's own short list, or in a block.
    pub(super) block: Option<Block>,
    /// Ports that count, as of the latest `expire` or `record`.
    pub(super) counted: u32,
    /// While a scan is open: distinct ports since it began. Else 0.
    pub(super) union: u32,
    /// Ports of the short list: those that count, and behind them those that are kept for the union.
    pub(super) listed: u8,
    /// The count has stopped growing for want of memory.
    pub(super) saturated: bool,
    /// A port was forgotten that counted or was kept.
    pub(super) lower_bound: bool,
    /// In line: no port that counts is older than this, so most quanta have nothing to let go.
    pub(super) oldest: Stamp,
}

impl Ports {
    /// No ports.
    pub(crate) const NONE: Ports = Ports {
        block: None,
        counted: 0,
        union: 0,
        listed: 0,
        saturated: false,
        lower_bound: false,
        oldest: EXPIRED,
    };

    /// Ports that count, as of the latest `expire` or `record`.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.counted
    }

    /// Distinct ports since the scan began; never more than were asked for.
    #[inline]
    pub(crate) fn union(&self) -> u32 {
        self.union.max(self.counted)
    }

    /// Whether a scan is open, and ports are kept when they no longer count.
    #[inline]
    pub(super) fn keeps_all(&self) -> bool {
        self.union > 0
    }

    /// Whether there may have been more ports than are counted, in the window or since the scan began.
    pub(crate) fn is_lower_bound(&self) -> bool {
        self.lower_bound
    }

    /// Whether the count has stopped growing for want of memory.
    pub(crate) fn is_saturated(&self) -> bool {
        self.saturated
    }

    /// Nothing is left that was in doubt.
    pub(super) fn clear_doubts(&mut self) {
        self.saturated = false;
        self.lower_bound = false;
    }
}
