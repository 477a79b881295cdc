//! Law 6 and reloads: whatever the shell says of clocks and policies, the numbers fit.

use super::account::Account;
use super::traffic::{Case, Step};
use portscan_exporter::detect::{Detector, Origin, Policy, ScanEvent};

pub fn holds(case: &Case) {
    let origin = if case.choice & 1 == 0 { Origin::Live } else { Origin::File };
    let mut detector = Detector::new(case.policy.clone(), case.limits, case.seeds[0], origin);
    let greatest = detector.greatest_threshold();
    let mut account = Account::default();
    for step in &case.steps {
        let mut enter = |event: ScanEvent| account.enter(&event);
        match step {
            Step::Probe(probe) => detector.observe(&[*probe], &mut enter),
            Step::Wait(time) => detector.advance(*time, &mut enter),
            Step::Stepped(nanos) => detector.clock_stepped(*nanos),
            Step::Reload(policy) => {
                let threshold = policy.threshold.min(greatest);
                detector.reload(Policy { threshold, ..policy.clone() }, &mut enter);
            }
        }
        account.check(&detector, &case.limits);
    }
}
