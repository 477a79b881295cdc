//! Laws 1, 4 and 5 with far more sources than places: whoever is evicted, every hit is true, and all the numbers fit.

use super::account::Account;
use super::traffic::{Case, Step};
use crate::oracle::Oracle;
use portscan_exporter::detect::{Detector, EventKind, Origin, ScanEvent};

pub fn holds(case: &Case) {
    let Case { policy, limits, steps, .. } = case;
    let mut detector = Detector::new(policy.clone(), *limits, case.seeds[0], Origin::File);
    let mut oracle = Oracle::new(policy.clone(), *limits);
    let mut events = Vec::new();
    let mut account = Account::default();
    for step in steps {
        let before = events.len();
        match step {
            Step::Probe(probe) => {
                detector.observe(&[*probe], &mut |event| events.push(event));
                oracle.observe(probe);
                for event in events[before..].iter().filter(|event| event.kind == EventKind::Hit) {
                    assert!(
                        oracle.counted_exactly(event.scan.source, 1.02) >= policy.threshold as usize,
                        "false hit"
                    );
                }
            }
            Step::Wait(time) => {
                detector.advance(*time, &mut |event| events.push(event));
                oracle.advance(*time);
            }
            Step::Stepped(_) | Step::Reload(_) => {}
        }
        for ScanEvent { scan, .. } in &events[before..] {
            let asked = oracle.ports_of(scan.source);
            assert!(scan.distinct_ports as usize <= asked, "{asked} ports were asked for: {scan:?}");
            assert!(scan.busiest_host_ports <= scan.distinct_ports, "{scan:?}");
        }
        events[before..].iter().for_each(|event| account.enter(event));
        if !matches!(step, Step::Probe(_)) {
            account.check(&detector, limits);
        }
    }
    account.check(&detector, limits);

    // All at once, by batches: the same.
    let (mut again, mut batch) = (Vec::new(), Vec::new());
    let mut detector = Detector::new(policy.clone(), *limits, case.seeds[0], Origin::File);
    for step in steps {
        match step {
            Step::Probe(probe) => batch.push(*probe),
            Step::Wait(time) => {
                detector.observe(&batch, &mut |event| again.push(event));
                batch.clear();
                detector.advance(*time, &mut |event| again.push(event));
            }
            Step::Stepped(_) | Step::Reload(_) => {}
        }
    }
    detector.observe(&batch, &mut |event| again.push(event));
    assert_eq!(events, again, "in batches");
}
