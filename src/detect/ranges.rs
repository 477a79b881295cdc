//! The ports of a scan as ranges: all of them where they fit a record, else those that say most.

use crate::detect::tuning::MOST_RANGES;
use std::cmp::Reverse;
use std::fmt;

/// Services that scanners want, by their ports, and the more telling the lower the number beside it: remote shells and
/// desktops, then what holds data, then the rest. In ascending order of ports.
const TELLING: [(u16, u8); 24] = [
    (21, 12),
    (22, 0),
    (23, 1),
    (25, 13),
    (53, 20),
    (80, 4),
    (110, 22),
    (111, 19),
    (135, 17),
    (139, 18),
    (143, 21),
    (389, 16),
    (443, 5),
    (445, 3),
    (1433, 8),
    (2375, 11),
    (3306, 6),
    (3389, 2),
    (5432, 7),
    (5900, 14),
    (6379, 9),
    (8080, 15),
    (9200, 23),
    (27017, 10),
];

/// How telling a port is: the lower the more.
pub(super) fn telling(port: u16) -> u8 {
    TELLING.binary_search_by_key(&port, |&(port, _)| port).map_or(u8::MAX, |at| TELLING[at].1)
}

/// Ports from the first to the last.
type Range = (u16, u16);

/// Some of the ports of a scan, or all, as ascending ranges that do not touch. Where there are more ranges than fit, those with a
/// telling port stay first, then the widest, then the lowest. The adversary asks for every other port of all, so that the one
/// that he wants is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRanges {
    ranges: [Range; MOST_RANGES],
    len: u8,
}

impl Default for PortRanges {
    fn default() -> Self {
        Self { ranges: [(0, 0); MOST_RANGES], len: 0 }
    }
}

/// What a range is worth: the greater stays.
fn worth((first, last): Range, telling: u8) -> (Reverse<u8>, u16, Reverse<u16>) {
    (Reverse(telling), last - first, Reverse(first))
}

impl PortRanges {
    /// The ranges of ports in ascending order.
    pub fn of(ports: impl IntoIterator<Item = u16>) -> Self {
        let mut writer = RangeWriter::default();
        ports.into_iter().for_each(|port| writer.push(port));
        writer.finish()
    }

    /// Of these, at most so many ranges: those that say most.
    #[must_use]
    pub fn at_most(&self, ranges: usize) -> Self {
        let mut writer = RangeWriter { most: ranges.min(MOST_RANGES), ..RangeWriter::default() };
        self.as_slice().iter().for_each(|&range| writer.keep(range));
        writer.finish()
    }

    /// Each range, from its first port to its last, ascending.
    pub fn iter(&self) -> impl Iterator<Item = std::ops::RangeInclusive<u16>> {
        self.as_slice().iter().map(|&(first, last)| first..=last)
    }

    /// How many ports they are.
    pub fn count(&self) -> u32 {
        self.as_slice().iter().map(|&(first, last)| u32::from(last - first) + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn as_slice(&self) -> &[Range] {
        &self.ranges[..usize::from(self.len)]
    }
}

/// `1-1024,3306,5432`.
impl fmt::Display for PortRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, &(first, last)) in self.as_slice().iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// Takes ports in ascending order, and keeps the ranges that say most.
pub(super) struct RangeWriter {
    kept: PortRanges,
    /// How many may be kept.
    most: usize,
    /// How telling each of the kept is.
    telling: [u8; MOST_RANGES],
    /// The range that goes on.
    open: Option<Range>,
    /// Of `TELLING`, those that were passed.
    passed: usize,
    /// Where the range is that goes first, once all places are taken.
    least: Option<usize>,
}

impl Default for RangeWriter {
    fn default() -> Self {
        let kept = PortRanges::default();
        Self { kept, most: MOST_RANGES, telling: [0; MOST_RANGES], open: None, passed: 0, least: None }
    }
}

impl RangeWriter {
    /// One port more; it is above all before.
    #[inline]
    pub(super) fn push(&mut self, port: u16) {
        match &mut self.open {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => {
                let over = self.open.replace((port, port));
                over.into_iter().for_each(|range| self.keep(range));
            }
        }
    }

    /// The ranges.
    pub(super) fn finish(mut self) -> PortRanges {
        self.open.take().into_iter().for_each(|range| self.keep(range));
        self.kept.ranges[..usize::from(self.kept.len)].sort_unstable();
        self.kept
    }

    /// One range more; it is above all before.
    fn keep(&mut self, range: Range) {
        let telling = self.telling(range);
        let len = usize::from(self.kept.len);
        if len < self.most {
            (self.kept.ranges[len], self.telling[len]) = (range, telling);
            self.kept.len += 1;
            return;
        }
        let of = |kept: &Self, at: usize| worth(kept.kept.ranges[at], kept.telling[at]);
        if self.most == 0 {
            return;
        }
        let least = self.least.or_else(|| (0..self.most).min_by_key(|&at| of(self, at))).unwrap_or(0);
        self.least = Some(least);
        if of(self, least) < worth(range, telling) {
            (self.kept.ranges[least], self.telling[least]) = (range, telling);
            self.least = None;
        }
    }

    /// How telling the most telling port of a range is. Ranges come in ascending order.
    fn telling(&mut self, (first, last): Range) -> u8 {
        let mut most = u8::MAX;
        while let Some(&(port, telling)) = TELLING.get(self.passed).filter(|(port, _)| *port <= last) {
            self.passed += 1;
            if port >= first {
                most = most.min(telling);
            }
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_fits_is_there_as_ranges() {
        for (ports, expected) in [
            (&[][..], ""),
            (&[22], "22"),
            (&[0, 1, 2, 4, 5, 7], "0-2,4-5,7"),
            (&[65_534, 65_535], "65534-65535"),
        ] {
            assert_eq!(PortRanges::of(ports.iter().copied()).to_string(), expected);
        }
        let all = PortRanges::of(0..=u16::MAX);
        assert_eq!((all.to_string().as_str(), all.count()), ("0-65535", 65_536));
    }

    #[test]
    fn telling_ports_are_in_order_and_told_apart() {
        assert!(TELLING.is_sorted_by(|(one, _), (next, _)| one < next));
        let ranks: BTreeSet<u8> = TELLING.iter().map(|(_, telling)| *telling).collect();
        assert_eq!(ranks, (0..TELLING.len() as u8).collect());
        const { assert!(TELLING.len() < MOST_RANGES, "others have room, too") };
    }

    /// The adversary asks for every other port, and for the one that he wants.
    #[test]
    fn telling_ports_stay_then_the_widest_then_the_lowest() {
        let even = (0..=u16::MAX).filter(|port| port % 2 == 0);
        let asked: BTreeSet<u16> = even.chain([23, 445, 50_001, 50_003]).collect();
        let ranges = PortRanges::of(asked);
        let told: Vec<_> = ranges.iter().collect();
        assert_eq!(told.len(), MOST_RANGES);
        assert!(
            told.iter().any(|range| range.contains(&23)) && told.iter().any(|range| range.contains(&445))
        );
        assert!(told.contains(&(3_306..=3_306)), "telling, though alone");
        assert!(told.contains(&(50_000..=50_004)), "the widest that is not telling");
        assert!(told.contains(&(0..=0)) && told.contains(&(2..=2)), "the first");
        assert!(!told.contains(&(60_000..=60_000)));
    }

    proptest! {
        /// Against all ranges, sorted by what they are worth.
        #[test]
        fn those_that_say_most_stay(ports in prop::collection::btree_set(0..700_u16, 0..400)) {
            let mut all: Vec<Range> = Vec::new();
            for &port in &ports {
                match all.last_mut() {
                    Some((_, last)) if *last + 1 == port => *last = port,
                    _ => all.push((port, port)),
                }
            }
            let telling = |(first, last): Range| {
                TELLING.iter().filter(|(port, _)| (first..=last).contains(port)).map(|it| it.1).min().unwrap_or(u8::MAX)
            };
            all.sort_by_key(|&range| Reverse(worth(range, telling(range))));
            all.truncate(MOST_RANGES);
            all.sort_unstable();
            let told = PortRanges::of(ports.iter().copied());
            prop_assert_eq!(told.as_slice(), &all[..]);
            prop_assert!(told.count() <= ports.len() as u32);
            let few = told.at_most(3);
            prop_assert!(few.iter().count() <= 3 && few.iter().all(|range| told.iter().any(|it| it == range)));
            prop_assert!(told.to_string().len() <= 12 * MOST_RANGES);
        }
    }
}
