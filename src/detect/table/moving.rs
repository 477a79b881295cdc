//! A slot on its way from where its source belonged by the old key to where it belongs by the new.

use crate::detect::table::keys::Spot;
use crate::detect::table::probation::{Fingerprint, Probation};
use crate::detect::table::set::{HAS_ROW, Head, TAG, TAG_SHIFT};
use crate::detect::time::quantum::Stamp;

/// A slot that was taken out for a new key, and where its source belongs by that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moving {
    pub(super) set: u32,
    pub(super) head: Head,
    pub(super) tail: u32,
}

impl Moving {
    /// Where its source belongs.
    pub(crate) fn spot(&self) -> Spot {
        Spot { set: self.set, tag: (self.head & TAG) >> TAG_SHIFT, fingerprint: self.tail as Fingerprint }
    }

    /// Sources with rows first, for they must find a slot; then those on probation, the oldest first: the last to come stays.
    pub(super) fn turn(&self, now: Stamp) -> (bool, u8) {
        let is_on_probation = self.head & HAS_ROW == 0;
        (
            is_on_probation,
            if is_on_probation { u8::MAX - Probation::of(self.head, self.tail).age(now) } else { 0 },
        )
    }
}
