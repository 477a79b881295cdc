//! Laws 1, 2, 3, 4 and 6: what is told is the oracle's, or a lower bound that says so.

use super::told::{canonical, in_order, is_shown_as_it_is, nameless};
use super::traffic::{Case, SECOND, Step};
use crate::oracle::{Oracle, ignores};
use portscan_exporter::detect::{BATCH, Detector, EventKind, Origin, Probe, Scan, ScanEvent, Source};
use portscan_exporter::packet::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Two detectors with different seeds, one of which sees batches, more ticks and new keys; and the oracle.
pub fn holds(case: &Case) {
    let [one, other] = case.seeds;
    let mut run = Run {
        one: Side::new(case, one),
        other: Side::new(case, other),
        oracle: Oracle::new(case.policy.clone(), case.limits),
    };
    let mut batch = Vec::new();
    for (n, step) in case.steps.iter().enumerate() {
        match step {
            Step::Probe(probe) => {
                let before = run.one.events.len();
                run.one.observe(&[*probe]);
                run.oracle.observe(probe);
                batch.push(*probe);
                if case.choice >> (n % 16) & 1 == 1 || batch.len() == BATCH {
                    run.other.observe(&std::mem::take(&mut batch));
                }
                if case.choice >> (n * 7 % 16) & 1 == 1 {
                    run.other.observe(&std::mem::take(&mut batch));
                    run.other.advance(probe.time);
                    run.other.rekey();
                }
                run.is_hit_in_time(case, probe, before);
            }
            Step::Wait(time) => {
                run.other.observe(&std::mem::take(&mut batch));
                run.waits(*time);
            }
            Step::Stepped(_) | Step::Reload(_) => {}
        }
    }
    run.other.observe(&batch);
    run.waits(case.end().saturating_add(1_000 * SECOND));
    run.told_the_same();
    run.told_the_truth();
}

/// A detector, and what it told.
struct Side {
    detector: Detector,
    events: Vec<ScanEvent>,
    /// Sources of whose scans it said that there may have been more.
    doubted: BTreeSet<Source>,
}

impl Side {
    fn new(case: &Case, seed: u64) -> Self {
        let detector = Detector::new(case.policy.clone(), case.limits, seed, Origin::File);
        Self { detector, events: Vec::new(), doubted: BTreeSet::new() }
    }

    fn observe(&mut self, probes: &[Probe]) {
        self.detector.observe(probes, &mut |event| self.events.push(event));
    }

    fn advance(&mut self, time: Timestamp) {
        self.detector.advance(time, &mut |event| self.events.push(event));
        let open = self.detector.open_scans();
        let told = self.events.iter().map(|event| &event.scan).chain(&open);
        self.doubted.extend(told.filter(|scan| scan.lower_bound).map(|scan| scan.source));
    }

    fn rekey(&mut self) {
        self.detector.rekey(&mut |event| self.events.push(event));
    }

    /// Whether everything that it shows is exact, as far as it says.
    fn is_sure(&self) -> bool {
        let snapshot = self.detector.snapshot();
        assert_eq!(snapshot.counters.evicted, [0; 5], "there is a place for every source");
        self.doubted.is_empty() && snapshot.saturated_sources == 0 && snapshot.counters.cut_short == 0
    }

    /// Whether it says that no source without a scan was ever short of room.
    fn hits_are_sure(&self) -> bool {
        self.detector.snapshot().counters.cut_short == 0
    }
}

struct Run {
    one: Side,
    other: Side,
    oracle: Oracle,
}

impl Run {
    /// The definition itself, without quanta: nothing missed within a window, nothing told beyond 1.02 of it.
    fn is_hit_in_time(&self, case: &Case, probe: &Probe, before: usize) {
        let policy = &case.policy;
        if ignores(policy, probe) {
            return;
        }
        let source = Source::by(probe.source, &policy.parties);
        let (asked, threshold) = (self.oracle.probes_of(source), policy.threshold as usize);
        // It looks at every probe there was: of a long history, now and then.
        let looks = asked < 300 || asked.is_multiple_of(997);
        if looks && self.oracle.counted_exactly(source, 1.0) >= threshold {
            assert!(self.oracle.is_open(source), "missed");
        }
        let is_hit = |event: &ScanEvent| event.kind == EventKind::Hit && event.scan.source == source;
        if self.one.events[before..].iter().any(is_hit) {
            assert!(self.oracle.counted_exactly(source, 1.02) >= threshold, "false hit");
        }
    }

    /// At a tick all that is shown is compared.
    fn waits(&mut self, time: Timestamp) {
        self.one.advance(time);
        self.other.advance(time);
        self.oracle.advance(time);
        if !self.one.is_sure() || !self.other.is_sure() {
            return;
        }
        let snapshot = self.one.detector.snapshot();
        assert_eq!(snapshot, self.other.detector.snapshot(), "another seed, other batches, new keys");
        is_shown_as_it_is(&snapshot, &self.oracle);
        let open: Vec<_> = self.one.detector.open_scans().into_iter().map(nameless).collect();
        assert_eq!(open, self.oracle.open());
    }

    /// Both tell the same, but of sources of which one says that it does not know all.
    fn told_the_same(&self) {
        let is_sure = |event: &ScanEvent| {
            !self.one.doubted.contains(&event.scan.source) && !self.other.doubted.contains(&event.scan.source)
        };
        if self.one.hits_are_sure() && self.other.hits_are_sure() {
            let [one, other] = [&self.one, &self.other]
                .map(|side| in_order(&side.events).into_iter().filter(is_sure).collect::<Vec<_>>());
            assert_eq!(one, other, "another seed, other batches, more ticks, new keys");
        }
    }

    /// What one tells is the oracle's, or no more than that.
    fn told_the_truth(&self) {
        for side in [&self.one, &self.other] {
            let is_sure = |event: &ScanEvent| !side.doubted.contains(&event.scan.source);
            if side.hits_are_sure() {
                let [told, truth] = [&side.events, &self.oracle.events]
                    .map(|events| canonical(events).into_iter().filter(is_sure).collect::<Vec<_>>());
                assert_eq!(told, truth);
                assert_eq!(first_hits(&side.events), first_hits(&self.oracle.events));
            }
            self.is_no_more_than_true(side);
        }
    }

    fn is_no_more_than_true(&self, side: &Side) {
        let key = |event: &ScanEvent| {
            let Scan { source, detected, probes, .. } = event.scan;
            (source, detected, probes, event.kind.label())
        };
        let truth: BTreeMap<_, _> =
            canonical(&self.oracle.events).into_iter().map(|event| (key(&event), event.scan)).collect();
        for event in canonical(&side.events) {
            let told = event.scan;
            assert!(
                told.ports <= told.peak_distinct_ports && told.peak_distinct_ports <= told.distinct_ports,
                "{told:?}"
            );
            assert!(told.busiest_host_ports <= told.distinct_ports, "{told:?}");
            assert!(told.distinct_ports as usize <= self.oracle.ports_of(told.source), "{told:?}");
            match truth.get(&key(&event)) {
                Some(scan) if told.lower_bound => {
                    assert!(told.distinct_ports <= scan.distinct_ports, "{told:?}, and not {scan:?}");
                    assert!(told.busiest_host_ports <= scan.busiest_host_ports, "{told:?}, and not {scan:?}");
                }
                Some(scan) => assert_eq!(told, *scan),
                // A scan of which ports were forgotten grows later and may end sooner, and then the next one begins later.
                None => assert!(side.doubted.contains(&told.source) || !side.hits_are_sure(), "{told:?}"),
            }
        }
    }
}

/// When each source was hit first, and with how many ports.
fn first_hits(events: &[ScanEvent]) -> BTreeMap<Source, (Timestamp, u32)> {
    let hits = events.iter().rev().filter(|event| event.kind == EventKind::Hit);
    hits.map(|event| (event.scan.source, (event.scan.detected, event.scan.ports))).collect()
}
