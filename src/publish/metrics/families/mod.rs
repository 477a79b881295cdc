//! The list of families: name, type, help, labels, and how to read the samples from the snapshots. A new metric is one entry
//! here, and its lines in the golden page; a new counter of the process is a line in `system::counters`.

mod capture;
mod process;
mod scans;

use super::family::{Family, Samples, counter};
use super::{ProcessState, Usage};
use crate::capture::CaptureStatus;
use crate::detect::{self, PublishedSource};
use crate::publish::sample::SampleSnapshot;
use crate::publish::snapshot::InterfaceSnapshot;
use crate::system::counters::Counter;
use crate::text::units::write_nanos;
use std::sync::Arc;

/// Every family there is, by name.
pub(super) fn all() -> Vec<Family> {
    let mut all = [process::FAMILIES, capture::FAMILIES, scans::FAMILIES].concat();
    let mut series: Vec<_> = Counter::ALL.map(Counter::series).into();
    series.dedup_by_key(|series| series.family);
    all.extend(
        series
            .iter()
            .map(|of| counter(of.family, of.labels, of.help, |view, samples| view.counters(samples))),
    );
    all.sort_unstable_by_key(Family::name);
    all
}

/// What a scrape can see.
pub(super) struct View<'a> {
    pub(super) interfaces: &'a [Arc<InterfaceSnapshot>],
    pub(super) process: Option<(&'a ProcessState, &'a Usage)>,
}

impl View<'_> {
    fn each(&self, mut read: impl FnMut(&str, &InterfaceSnapshot)) {
        for snapshot in self.interfaces {
            read(&snapshot.interface, snapshot);
        }
    }

    /// Each rule of each interface, with its label.
    fn each_rule(&self, mut read: impl FnMut(&str, &str, &detect::Snapshot)) {
        self.each(|interface, snapshot| {
            for rule in snapshot.detection.rules() {
                read(interface, &write_nanos(rule.window_nanos), rule);
            }
        });
    }

    /// Each rule behind the first, with its label.
    fn each_slower(&self, mut read: impl FnMut(&str, &str, &detect::Snapshot)) {
        self.each(|interface, snapshot| {
            for rule in &snapshot.detection.slower {
                read(interface, &write_nanos(rule.window_nanos), rule);
            }
        });
    }

    /// Each source that has series, by each rule that gives it some.
    fn each_source(&self, mut read: impl FnMut(&str, &str, &detect::Snapshot, &PublishedSource)) {
        self.each_rule(|interface, window, rule| {
            rule.sources.iter().for_each(|source| read(interface, window, rule, source));
        });
    }

    fn each_capture(&self, mut read: impl FnMut(&str, &CaptureStatus)) {
        self.each(|interface, snapshot| read(interface, &snapshot.capture));
    }

    fn each_sample(&self, mut read: impl FnMut(&str, &SampleSnapshot)) {
        self.each(|interface, snapshot| {
            if let Some(sample) = &snapshot.sample {
                read(interface, sample);
            }
        });
    }

    fn state(&self, read: impl FnOnce(&ProcessState)) {
        if let Some((state, _)) = self.process {
            read(state);
        }
    }

    /// What the process has counted, as far as it belongs to this family.
    fn counters(&self, samples: &mut Samples) {
        let family = samples.family();
        self.state(|state| {
            for counter in Counter::ALL.into_iter().filter(|counter| counter.series().family == family) {
                samples.count(counter.series().values, state.counts.of(counter));
            }
        });
    }

    // A number that the system does not give is left out: a zero would be a lie.
    fn usage(&self, samples: &mut Samples, read: impl FnOnce(&Usage) -> Option<f64>) {
        if let Some(value) = self.process.and_then(|(_, usage)| read(usage)) {
            samples.number(&[], value);
        }
    }
}
