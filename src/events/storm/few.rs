//! A storm of few: from three sources on, as long as there are no six, which are a storm whatever ports they ask for.
//!
//! Its records stand for those who asked for the same ports up to their hits, and for nobody else who looks like them: the adversary
//! forges three addresses, and a scan of the same host from another machine begins at the same port. At an end nothing tells any more
//! what was asked for up to the hit, so it remembers whom it took in.

use crate::detect::{ScanId, Source};
use crate::events::storm::look::MANY;

/// Whom a storm took in while it was one of few.
#[derive(Debug)]
pub(super) struct Few {
    goes_on: bool,
    /// Fewer than `MANY`, each source with its latest scan.
    taken: Vec<(Source, ScanId)>,
}

impl Few {
    /// Nobody yet.
    pub(super) fn new(goes_on: bool) -> Self {
        Self { goes_on, taken: Vec::new() }
    }

    /// Whether it takes in those of the same ports alone.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Takes in a hit, with which the storm has so many sources, each once. Whether it is a storm of many by it.
    pub(super) fn take(&mut self, source: Source, id: ScanId, sources: usize) -> bool {
        let was_few = self.goes_on;
        self.goes_on &= sources < MANY as usize;
        if self.goes_on {
            self.taken.retain(|(taken, _)| *taken != source);
            self.taken.push((source, id));
        }
        was_few && !self.goes_on
    }

    /// Whether it took in the hit of a scan.
    pub(super) fn has(&self, id: ScanId) -> bool {
        self.taken.iter().any(|(_, taken)| *taken == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::scan::scan;

    /// The adversary ends his scans and begins again, for ever.
    #[test]
    fn who_comes_again_takes_no_further_place() {
        let mut few = Few::new(true);
        let source = |number: u64| scan(&format!("198.51.100.{}", number % 5), "192.0.2.10:443").source;
        for number in 0..1_000 {
            assert!(!few.take(source(number), ScanId(number), 5));
        }
        assert_eq!((few.taken.len(), few.has(ScanId(999)), few.has(ScanId(994))), (5, true, false));
        assert!(few.take(source(1_000), ScanId(1_000), 6) && !few.take(source(1_001), ScanId(1_001), 7));
        assert!(few.has(ScanId(999)) && !few.has(ScanId(1_000)), "those of many are known by their looks");
    }
}
