//! Eight slots of eight bytes that share a hash: one cache line, compared and ranked at once.
//!
//! A slot is a *head* (whose it is) and a *tail* (its row, or its ports on probation). A set holds eight heads,
//! then eight tails, so that a question about all of them takes a few instructions and no branch that could be
//! mispredicted: a flood of new sources asks two of them with every packet.

use crate::detect::time::quantum::Stamp;
use crate::detect::tuning::APART;

/// Slots in a set.
pub(crate) const WAYS: usize = 8;

/// Eight heads, then eight tails. (An array and no structure: zeroed ones come from the kernel untouched.)
pub(crate) type Set = [u32; 2 * WAYS];

/// The first half of a slot; 0 is free.
pub(crate) type Head = u32;

/// Set in every head that is not free.
pub(crate) const OCCUPIED: Head = 1 << 31;
/// It has a row; else it is on probation.
pub(crate) const HAS_ROW: Head = 1 << 30;
/// Its own set was full of rows, so its slot is in the neighbouring one.
pub(crate) const AWAY: Head = 1 << 29;
/// Bits of the hash in a tag.
pub(crate) const TAG_BITS: u32 = 18;
/// Where the tag begins.
pub(crate) const TAG_SHIFT: u32 = 11;
/// The tag.
pub(crate) const TAG: Head = ((1 << TAG_BITS) - 1) << TAG_SHIFT;
/// What is compared to find a source.
const SOUGHT: Head = OCCUPIED | AWAY | TAG;
/// Where the quanta between the two ports of probation begin.
pub(crate) const GAP_SHIFT: u32 = 8;
/// The quanta between the two ports of probation, and one more; 0 for a port alone.
pub(crate) const GAP: Head = 7 << GAP_SHIFT;
/// Two ports in one quantum.
const TOGETHER: Head = 1 << GAP_SHIFT;
/// The stamp of the older port of probation.
pub(crate) const STAMP: Head = 0xff;

/// Ranks: a free slot goes first, then sources on probation by what is left to them, then rows.
const FREE: i32 = 0;
const FRESH: i32 = 512;
const NEVER: i32 = 4095;

/// What the most expendable slot of a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    /// It is free.
    Free,
    /// A source on probation has it.
    Probation,
    /// A source with a row has it, as all the others.
    Row,
}

/// The ways that hold a source of this tag, one bit each. `wanted` is `OCCUPIED`, the tag, and `AWAY` if it would be.
#[inline]
pub(crate) fn holding(set: &Set, wanted: Head) -> u32 {
    // SAFETY: SSE2 is part of x86-64.
    #[cfg(target_arch = "x86_64")]
    #[allow(
        unsafe_code,
        reason = "vector instructions, for which the compiler asks whether they are there"
    )]
    return unsafe { x86::holding(set, wanted) };
    #[cfg(not(target_arch = "x86_64"))]
    holding_one_by_one(set, wanted)
}

/// The most expendable way: a free one, or that of the oldest source on probation, or any if all have rows.
#[inline]
pub(crate) fn expendable(set: &Set, now: Stamp) -> (usize, SlotKind) {
    // SAFETY: SSE2 is part of x86-64.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "vector instructions, for which the compiler asks whether they are there")]
    let least = unsafe { x86::least(set, now) };
    #[cfg(not(target_arch = "x86_64"))]
    let least = least_one_by_one(set, now);
    let kind = match least >> 3 {
        FREE => SlotKind::Free,
        NEVER => SlotKind::Row,
        _ => SlotKind::Probation,
    };
    ((least.cast_unsigned() & 7) as usize, kind)
}

/// Whether a source on probation may have been there for more than so many quanta: since its older port. Sweeps ask every set, and find
/// next to none in a flood. (Compared all at once.)
#[inline]
pub(crate) fn holds_one_longer_than(quanta: Stamp, set: &Set, now: Stamp) -> bool {
    set[..WAYS].iter().fold(false, |holds, &head| {
        let ahead = i32::from(now) - (head & STAMP).cast_signed();
        let age = ahead + (ahead >> 31 & 255);
        holds | (head & (OCCUPIED | HAS_ROW) == OCCUPIED) & (age > i32::from(quanta))
    })
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn holding_one_by_one(set: &Set, wanted: Head) -> u32 {
    let is = |way: usize| u32::from(set[way] & SOUGHT == wanted);
    (0..WAYS).fold(0, |ways, way| ways | is(way) << way)
}

/// The least of rank × 8 + way.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn least_one_by_one(set: &Set, now: Stamp) -> i32 {
    let rank = |way: usize| {
        let head = set[way];
        if head == 0 {
            FREE
        } else if head & HAS_ROW != 0 {
            NEVER
        } else {
            let age = i32::from(crate::detect::time::quantum::age(now, (head & STAMP) as Stamp));
            FRESH - age + if head & GAP > TOGETHER { APART } else { 0 }
        }
    };
    (0..WAYS).map(|way| rank(way) * 8 + way as i32).min().unwrap_or(0)
}

/// The same with SSE2, which every x86-64 processor has.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    #[inline]
    #[target_feature(enable = "sse2")]
    fn four(set: &Set, from: usize) -> __m128i {
        let [a, b, c, d] = [0, 1, 2, 3].map(|lane| set[from + lane].cast_signed());
        _mm_set_epi32(d, c, b, a)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn all(value: i32) -> __m128i {
        _mm_set1_epi32(value)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn holding(set: &Set, wanted: Head) -> u32 {
        let (mask, wanted) = (all(SOUGHT.cast_signed()), all(wanted.cast_signed()));
        let is = |heads| _mm_cmpeq_epi32(_mm_and_si128(heads, mask), wanted);
        let words = _mm_packs_epi32(is(four(set, 0)), is(four(set, 4)));
        let bytes = _mm_packs_epi16(words, _mm_setzero_si128());
        _mm_movemask_epi8(bytes).cast_unsigned()
    }

    /// All eight at once: what of a head decides its rank is in its lowest and its highest bits, which are sixteen each.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn least(set: &Set, now: Stamp) -> i32 {
        let (first, last) = (four(set, 0), four(set, WAYS / 2));
        let times = _mm_packs_epi32(
            _mm_srai_epi32(_mm_slli_epi32(first, 16), 16),
            _mm_srai_epi32(_mm_slli_epi32(last, 16), 16),
        );
        let kinds = _mm_packs_epi32(_mm_srai_epi32(first, 16), _mm_srai_epi32(last, 16));
        let ahead = _mm_sub_epi16(short(u32::from(now)), _mm_and_si128(times, short(STAMP)));
        let age = _mm_add_epi16(ahead, _mm_and_si128(_mm_srai_epi16(ahead, 15), short(255)));
        let apart = _mm_cmpgt_epi16(_mm_and_si128(times, short(GAP)), short(TOGETHER));
        let apart = _mm_and_si128(apart, short(APART.cast_unsigned()));
        let on_probation = _mm_add_epi16(_mm_sub_epi16(short(FRESH.cast_unsigned()), age), apart);
        // The bit of a row is the second: once shifted it is the sign.
        let has_row = _mm_srai_epi16(_mm_slli_epi16(kinds, 1), 15);
        let occupied = _mm_max_epi16(on_probation, _mm_and_si128(has_row, short(NEVER.cast_unsigned())));
        // And that of who has one at all the first.
        let ranks = _mm_slli_epi16(_mm_and_si128(occupied, _mm_srai_epi16(kinds, 15)), 3);
        let least = _mm_or_si128(ranks, _mm_set_epi16(7, 6, 5, 4, 3, 2, 1, 0));
        let least = _mm_min_epi16(least, _mm_srli_si128(least, 8));
        let least = _mm_min_epi16(least, _mm_srli_si128(least, 4));
        let least = _mm_min_epi16(least, _mm_srli_si128(least, 2));
        _mm_cvtsi128_si32(least) & 0xffff
    }

    /// The same number, of up to fifteen bits, in all eight places.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn short(value: u32) -> __m128i {
        _mm_set1_epi16(value as i16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> impl Strategy<Value = Head> {
        // Few tags, so that some are the same; every other one away.
        let tag =
            (0..3_u32, any::<bool>()).prop_map(|(tag, away)| tag | if away { AWAY >> TAG_SHIFT } else { 0 });
        prop_oneof![
            Just(0),
            (tag.clone(), 0..2048_u32).prop_map(|(tag, times)| OCCUPIED | tag << TAG_SHIFT | times),
            tag.prop_map(|tag| OCCUPIED | HAS_ROW | tag << TAG_SHIFT),
        ]
    }

    proptest! {
        #[test]
        fn at_once_is_one_by_one(
            heads in prop::array::uniform8(head()),
            tails in prop::array::uniform8(any::<u32>()),
            tag in 0..3_u32,
            now in 1..=255_u8,
        ) {
            let mut set = [0; 2 * WAYS];
            set[..WAYS].copy_from_slice(&heads);
            set[WAYS..].copy_from_slice(&tails);
            let wanted = OCCUPIED | tag << TAG_SHIFT;
            prop_assert_eq!(holding(&set, wanted), holding_one_by_one(&set, wanted));
            let least = least_one_by_one(&set, now);
            let (way, kind) = expendable(&set, now);
            prop_assert_eq!(way, (least.cast_unsigned() & 7) as usize);
            prop_assert_eq!(kind == SlotKind::Free, set[way] == 0);
            prop_assert_eq!(kind == SlotKind::Row, heads.iter().all(|head| head & HAS_ROW != 0));
            let is_long_there = |head: &Head| {
                let age = crate::detect::time::quantum::age(now, (head & STAMP) as Stamp);
                head & (OCCUPIED | HAS_ROW) == OCCUPIED && age > 60
            };
            prop_assert_eq!(holds_one_longer_than(60, &set, now), heads.iter().any(is_long_there));
        }
    }
}
