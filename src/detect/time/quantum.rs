//! Time as the tables keep it: the window is cut into 60 quanta, and a port remembers the quantum of its
//! latest probe in one byte. A port counts while its age is at most 60 quanta, so two probes less than a window
//! apart always count together, and two probes more than 61/60 of a window apart never do.

use crate::detect::tuning::QUANTA;

/// The quantum of a latest probe, modulo 255, plus one; 0 says that the port no longer counts.
pub(crate) type Stamp = u8;

/// The stamp of a port that no longer counts, kept for the union of an open scan.
pub(crate) const EXPIRED: Stamp = 0;

/// Length of a quantum for a window, in nanoseconds; rounded up, so that 60 of them never fall short of it.
pub(crate) fn quantum_nanos(window_nanos: u64) -> u64 {
    window_nanos.div_ceil(QUANTA).max(1)
}

/// The stamp of a quantum.
#[inline]
pub(crate) fn stamp(quantum: u64) -> Stamp {
    (quantum % 255) as u8 + 1
}

/// Quanta since `then`, if that is less than 255 quanta ago. Stamps of expired ports must be cleared before
/// they could come round again: every window, which leaves a margin of two.
#[inline]
pub(crate) fn age(now: Stamp, then: Stamp) -> u8 {
    // 255 less what it falls short of zero, without a branch: sixteen at a time where there are many.
    now.wrapping_sub(then).wrapping_sub(u8::from(now < then))
}

/// The stamp of `age` quanta before another.
#[inline]
pub(crate) fn before(now: Stamp, age: u8) -> Stamp {
    if now > age { now - age } else { now.wrapping_sub(age).wrapping_sub(1) }
}

/// The quantum in which a count falls (fell) below `threshold` if nothing comes after quantum `latest`: `by_age` says how many were last
/// seen so many quanta before it.
pub(crate) fn falls_below(by_age: &[u32; QUANTA as usize + 1], threshold: u32, latest: u64) -> u64 {
    let mut counted = 0;
    for (age, count) in by_age.iter().enumerate() {
        counted += count;
        if counted >= threshold {
            return latest - (age as u64).min(latest) + QUANTA + 1;
        }
    }
    latest
}

/// Whether a port with this stamp counts.
#[inline]
pub(crate) fn counts(now: Stamp, then: Stamp) -> bool {
    then != EXPIRED && u64::from(age(now, then)) <= QUANTA
}
