//! What the tables of a rule are built from. All rules of a detector stand on the same policy, and hash alike.

use crate::detect::rule::{Limits, Policy, Rule};
use crate::detect::time::timeline::Origin;
use foldhash::quality::FixedState;

/// What all rules of a detector have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// What counts.
    pub(super) policy: &'a Policy,
    /// What the rule may take: the first all, and one behind it what `of_slower` leaves it.
    pub(super) limits: Limits,
    /// Keys the hashes of what comes from the wire.
    pub(super) seed: u64,
    /// Whose clock wrote the timestamps.
    pub(super) origin: Origin,
}

impl Ground<'_> {
    /// The same for a rule behind the first: with its own part of the memory.
    pub(super) fn of_slower(self, rule: &Rule) -> Self {
        Self { limits: self.limits.of_slower(rule, self.policy), ..self }
    }

    /// Finds what comes from the wire.
    pub(super) fn hasher(&self) -> FixedState {
        FixedState::with_seed(self.seed)
    }

    /// Tells apart what is counted by estimate: the report on a file must not depend on the seed.
    pub(super) fn counting_hasher(&self) -> FixedState {
        match self.origin {
            Origin::Live => self.hasher(),
            Origin::File | Origin::Sorted => FixedState::with_seed(0),
        }
    }
}
