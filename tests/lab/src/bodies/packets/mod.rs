//! The laws of the core under any traffic: exactly the oracle's answers while there is room, and no lie when there is none.
//! Proptest and the fuzzer draw bytes, `Case` makes traffic of them, and each law is a function that panics if the traffic breaks it.

mod account;
mod crowded;
mod exact;
mod filled;
mod shell;
mod told;
pub mod traffic;

use traffic::Case;

/// What holds whatever arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// Counts, peaks, hits and scans equal the oracle's, whatever the seed, the batches, the ticks and the keys; where blocks
    /// are spent, what is told is a lower bound and says so.
    Exact,
    /// The same hits and ports in a table that others fill to any part, or what was given up is counted.
    Filled,
    /// With far more sources than places each hit is true, and all the numbers fit.
    Crowded,
    /// Whatever the shell says of clocks and policies, the numbers fit.
    Shell,
}

impl Law {
    /// Panics if these bytes break it.
    pub fn holds_for(self, bytes: &[u8]) {
        match self {
            Law::Exact => exact::holds(&Case::of(bytes, traffic::FEW)),
            Law::Filled => filled::holds(&Case::of(bytes, traffic::SOME)),
            Law::Crowded => crowded::holds(&Case::of(bytes, traffic::MANY)),
            Law::Shell => shell::holds(&Case::of(bytes, traffic::OF_THE_SHELL)),
        }
    }
}

/// The target of the fuzzer: the first byte chooses the law.
pub fn detector(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let law = match first % 8 {
        2 => Law::Crowded,
        3 => Law::Shell,
        5..8 => Law::Filled,
        _ => Law::Exact,
    };
    law.holds_for(rest);
}
