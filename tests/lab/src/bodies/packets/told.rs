//! What a detector told, in the one form in which it is compared.

use crate::oracle::{Oracle, Published};
use portscan_exporter::detect::{BURST_BOUNDS, EventKind, Scan, ScanEvent, ScanId, Snapshot};

/// Events in an order that does not depend on when they were handed out.
pub fn in_order(events: &[ScanEvent]) -> Vec<ScanEvent> {
    let mut events = events.to_vec();
    let rank =
        |moment| [EventKind::Hit, EventKind::Grown, EventKind::Ended].iter().position(|&m| m == moment);
    events.sort_by_key(|e| {
        (e.scan.source, e.scan.probes, rank(e.kind), e.scan.detected, e.scan.distinct_ports)
    });
    events
}

/// The same without what the oracle does not know.
pub fn canonical(events: &[ScanEvent]) -> Vec<ScanEvent> {
    let nameless = |event: ScanEvent| ScanEvent { scan: nameless(event.scan), ..event };
    in_order(events).into_iter().map(nameless).collect()
}

/// A scan without the episode's name, and without the host that became the busiest first: ties are the detector's business.
pub fn nameless(scan: Scan) -> Scan {
    Scan { id: ScanId(0), target: scan.first_target, ..scan }
}

/// Each number that is shown is the oracle's.
pub fn is_shown_as_it_is(snapshot: &Snapshot, oracle: &Oracle) {
    let told: Vec<Published> = snapshot
        .sources
        .iter()
        .map(|s| Published {
            source: s.source,
            count: s.distinct_ports,
            peak: s.peak_distinct_ports,
            hosts: 0,
            last_hit: s.last_hit,
            last_probe: s.last_probe,
        })
        .collect();
    assert_eq!(told, oracle.published());
    assert_eq!(snapshot.port_sources, oracle.port_sources());
    let mut bursts = [0; BURST_BOUNDS.len() + 1];
    for &peak in &oracle.bursts {
        bursts[BURST_BOUNDS.iter().filter(|&&bound| f64::from(peak) > bound).count()] += 1;
    }
    assert_eq!(snapshot.counters.bursts, bursts);
    assert_eq!(snapshot.counters.clock_steps, oracle.steps);
    assert_eq!(snapshot.counters.probes.map(|probes| probes.iter().sum::<u64>()), oracle.probes);
    let hits = oracle.events.iter().filter(|event| event.kind == EventKind::Hit).count() as u64;
    assert_eq!(snapshot.counters.hits.iter().sum::<u64>(), hits);
}
