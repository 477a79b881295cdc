//! What events come to, against what a detector says of itself.

use portscan_exporter::detect::{Detector, EventKind, Limits, ScanEvent, Snapshot, Source};
use std::collections::{BTreeMap, BTreeSet};

/// What the events came to so far.
#[derive(Default)]
pub struct Account {
    hits: u64,
    ended: u64,
    open: BTreeMap<Source, u32>,
    before: Option<Snapshot>,
}

impl Account {
    /// One more.
    pub fn enter(&mut self, event: &ScanEvent) {
        let scan = &event.scan;
        assert!(scan.probes > 0 && scan.distinct_hosts > 0, "{scan:?}");
        assert!(
            scan.ports <= scan.peak_distinct_ports && scan.peak_distinct_ports <= scan.distinct_ports,
            "{scan:?}"
        );
        match event.kind {
            EventKind::Hit => {
                self.hits += 1;
                assert_eq!(
                    self.open.insert(scan.source, scan.distinct_ports),
                    None,
                    "an open scan is hit again"
                );
            }
            EventKind::Grown => {
                let before = self.open.insert(scan.source, scan.distinct_ports).expect("grown, but not open");
                assert!(scan.distinct_ports >= before * 10, "grown from {before}: {scan:?}");
            }
            EventKind::Ended => {
                self.ended += 1;
                let before = self.open.remove(&scan.source).expect("ended, but not open");
                assert!(scan.ended.is_some() && scan.distinct_ports >= before, "{scan:?}");
            }
        }
    }

    /// Every number fits every other, and none goes down.
    pub fn check(&mut self, detector: &Detector, limits: &Limits) {
        let snapshot = detector.snapshot();
        let open: BTreeSet<Source> = detector.open_scans().iter().map(|scan| scan.source).collect();
        assert_eq!(open, self.open.keys().copied().collect(), "open scans");
        assert_eq!(snapshot.counters.hits.iter().sum::<u64>(), self.hits);
        assert_eq!(snapshot.open_scans.iter().sum::<u64>(), self.hits - self.ended);
        assert!(snapshot.sources.len() <= limits.max_sources);
        assert!(snapshot.tracked_sources <= snapshot.tracked_sources_limit);
        assert!(snapshot.sources.is_sorted_by(|a, b| a.peak_distinct_ports >= b.peak_distinct_ports));
        assert_eq!(
            snapshot.sources.iter().map(|s| s.source).collect::<BTreeSet<_>>().len(),
            snapshot.sources.len()
        );
        for source in &snapshot.sources {
            assert!(
                source.peak_distinct_ports >= limits.min_ports.min(snapshot.threshold)
                    && source.peak_distinct_ports <= snapshot.peak_distinct_ports,
                "{source:?}"
            );
        }
        if let Some(before) = self.before.replace(snapshot) {
            let now = self.before.as_ref().expect("just put there");
            let grows =
                |before: &[u64], now: &[u64]| before.iter().zip(now).all(|(before, now)| before <= now);
            assert!(grows(&before.counters.hits, &now.counters.hits));
            assert!(
                grows(&before.counters.evicted, &now.counters.evicted)
                    && grows(&before.counters.bursts, &now.counters.bursts)
            );
            assert!(
                grows(&before.counters.ignored, &now.counters.ignored)
                    && before.counters.clock_steps <= now.counters.clock_steps
            );
        }
    }
}
