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
    /// `SATURATED` and `HAS_ANSWERS`, each if it is so.
    marks: u8,
    /// A port was forgotten that counted or was kept.
    pub(super) lower_bound: bool,
    /// In line: no port that counts is older than this, so most quanta have nothing to let go.
    pub(super) oldest: Stamp,
}

/// The count has stopped growing for want of memory.
const SATURATED: u8 = 1;

/// Some of the ports may have been answered.
const HAS_ANSWERS: u8 = 2;

impl Ports {
    /// No ports.
    pub(crate) const NONE: Ports =
        Ports { block: None, counted: 0, union: 0, listed: 0, marks: 0, lower_bound: false, oldest: EXPIRED };

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
        self.marks & SATURATED != 0
    }

    /// Says whether it has.
    #[inline]
    pub(super) fn set_saturated(&mut self, is_saturated: bool) {
        self.marks = self.marks & !SATURATED | if is_saturated { SATURATED } else { 0 };
    }

    /// Whether some of the ports may have been answered.
    #[inline]
    pub(super) fn has_answers(&self) -> bool {
        self.marks & HAS_ANSWERS != 0
    }

    /// Says whether they may.
    pub(super) fn set_has_answers(&mut self, has_answers: bool) {
        self.marks = self.marks & !HAS_ANSWERS | if has_answers { HAS_ANSWERS } else { 0 };
    }

    /// Nothing is left that was in doubt.
    pub(super) fn clear_doubts(&mut self) {
        self.set_saturated(false);
        self.lower_bound = false;
    }
}
