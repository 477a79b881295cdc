//! Who proved to be at his address, slow and obvious: keeps all that ever happened to one source, and reads it from the start at each
//! question.

use portscan_exporter::detect::Grade;
use std::collections::{BTreeMap, BTreeSet};

/// What can happen to a source.
#[derive(Debug, Clone, Copy)]
pub enum Happened {
    /// It asked for a port.
    Asked(u16),
    /// A host answered with this number, from its port to that of the source.
    Answered(u32, (u16, u16)),
    /// It ended a connection between these ports, and has read up to this number.
    Acknowledged(u32, (u16, u16)),
}

/// Numbers behind that of an answer that can have been read, and wrong ones that are looked at.
const READ: u64 = 1_024;
const GUESSES: usize = 16;

/// One source.
pub struct Handshakes {
    happened: Vec<(u64, Happened)>,
    /// Quanta for which a port counts.
    window: u64,
    /// Ports of an open scan, which does not end.
    threshold: usize,
    /// Ports without which nothing shows.
    least: usize,
}

impl Handshakes {
    pub fn new(window: u64, threshold: usize, least: usize) -> Self {
        Self { happened: Vec::new(), window, threshold, least }
    }

    pub fn happens(&mut self, quantum: u64, what: Happened) {
        self.happened.push((quantum, what));
    }

    /// Ports that count at a quantum, of what happened before the one of this number.
    fn counted(&self, before: usize, quantum: u64) -> usize {
        let asked = self.happened[..before].iter().filter(|(at, _)| quantum - at <= self.window);
        let ports =
            asked.filter_map(|(_, what)| if let Happened::Asked(port) = what { Some(port) } else { None });
        ports.collect::<BTreeSet<_>>().len()
    }

    /// Where each run of probes begins, and whether nothing before it shows any more.
    fn runs(&self) -> BTreeMap<usize, bool> {
        let (mut runs, mut peak, mut is_open) = (BTreeMap::new(), 0, false);
        for (n, &(at, what)) in self.happened.iter().enumerate() {
            if matches!(what, Happened::Asked(_)) {
                if self.counted(n, at) == 0 && !is_open {
                    runs.insert(n, peak < self.least);
                }
                peak = peak.max(self.counted(n + 1, at));
                is_open |= peak >= self.threshold;
            }
        }
        runs
    }

    /// Whether it proved itself in the run that goes on, and in any that shows.
    pub fn grades(&self) -> (Grade, Grade) {
        let runs = self.runs();
        let (mut wrong, mut proved) = (0, BTreeSet::new());
        for (n, &(_, what)) in self.happened.iter().enumerate() {
            if runs.get(&n) == Some(&true) {
                (wrong, proved) = (0, BTreeSet::new());
            }
            let Happened::Acknowledged(number, ports) = what else { continue };
            let Some((&run, _)) = runs.range(..=n).next_back() else { continue };
            let latest = self.happened[run..n].iter().rev().find_map(|(_, what)| match what {
                Happened::Answered(sequence, answered) => Some((*sequence, *answered)),
                _ => None,
            });
            let Some((sequence, answered)) = latest else { continue };
            if answered != ports || proved.contains(&run) || wrong == GUESSES {
                continue;
            }
            let is_right = (1..=READ).any(|read| (u64::from(sequence) + read) as u32 == number);
            if is_right {
                proved.insert(run);
            } else {
                wrong += 1;
            }
        }
        let of = |is_proved| if is_proved { Grade::Handshake } else { Grade::Spoofable };
        let run = runs.keys().next_back();
        (of(run.is_some_and(|run| proved.contains(run))), of(!proved.is_empty()))
    }
}
