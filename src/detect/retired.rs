//! Candidates for a series: who is published, in which order, and whose peak outlives its place.

use crate::detect::distinct::peaks::Peaks;
use crate::detect::memory::{OutOfMemory, room_for};
use crate::detect::probe::Tool;
use crate::detect::scan::{Grade, Source};
use crate::detect::worth::Rank;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A source whose peak is worth a series, or might get one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Who.
    pub source: Source,
    /// The greatest count within the hold, as of the latest sweep.
    pub peak: u32,
    /// The same by epoch.
    pub peaks: Peaks,
    /// Distinct ports within the window; by a rule that counts hosts, hosts.
    pub ports: u32,
    /// Distinct hosts in its latest run of probes.
    pub hosts: u32,
    /// The most ports of one host.
    pub busiest: u32,
    /// Its latest hit, as long as the peak that came with it is within the hold.
    pub last_hit: Option<u64>,
    /// Whether its scan is open, or its peak is that of a scan.
    pub scans: bool,
    /// Its latest probe.
    pub last_probe: u64,
    /// The tool of its latest run of probes.
    pub tool: Tool,
    /// The most ports that answered it within a window, where that is looked for.
    pub answered: Option<u32>,
    /// The most that did not, by epoch, where that is looked for.
    pub unanswered: Option<Peaks>,
    /// Whether it proved to be at its address.
    pub evidence: Grade,
}

impl Candidate {
    /// Publishing order under a threshold, the least first.
    fn rank(&self, threshold: u32) -> Rank {
        let is_answered = self.answered.is_some_and(|ports| ports > 0);
        Rank::of(self.source, (self.peak, threshold), self.evidence, is_answered, self.last_probe)
    }

    /// The greatest first.
    pub(super) fn in_publishing_order(&self, other: &Self, threshold: u32) -> Ordering {
        other.rank(threshold).cmp(&self.rank(threshold))
    }

    /// Takes in another class of the same source: the series show the greatest.
    pub(super) fn beside(&mut self, other: &Candidate, epoch: u64) {
        self.merge(other, epoch);
        self.ports = self.ports.max(other.ports);
        self.hosts = self.hosts.max(other.hosts);
        self.busiest = self.busiest.max(other.busiest);
        self.last_hit = self.last_hit.max(other.last_hit);
        self.last_probe = self.last_probe.max(other.last_probe);
    }

    /// Takes in what was kept of the same source when it lost its row.
    pub(super) fn merge(&mut self, earlier: &Candidate, epoch: u64) {
        self.peaks.merge(earlier.peaks);
        self.peak = self.peaks.peak(epoch);
        self.busiest = self.busiest.max(earlier.busiest);
        self.last_hit = self.last_hit.or(earlier.last_hit);
        if self.tool == Tool::Unknown {
            self.tool = earlier.tool;
        }
        self.answered = self.answered.max(earlier.answered);
        self.evidence = self.evidence.max(earlier.evidence);
        match (&mut self.unanswered, earlier.unanswered) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, theirs) => *mine = mine.or(theirs),
        }
    }
}

/// The greatest peaks of sources that lost their place. The adversary turns the table over with a flood, to take a scanner's series from
/// under an alert; he can push it out of here only with greater peaks, which are published themselves.
#[derive(Debug)]
pub(super) struct Retired {
    candidates: Vec<Candidate>,
    limit: usize,
}

impl Retired {
    /// Room for as many as may be published.
    pub(super) fn new(limit: usize) -> Result<Self, OutOfMemory> {
        Ok(Self { candidates: room_for(limit)?, limit })
    }

    /// Keeps a source that lost its place, if it is among the greatest.
    pub(super) fn keep(&mut self, mut candidate: Candidate, epoch: u64, threshold: u32) {
        candidate.ports = 0;
        if let Some(earlier) = self.candidates.iter_mut().find(|other| other.source == candidate.source) {
            candidate.merge(earlier, epoch);
            *earlier = candidate;
        } else if self.candidates.len() < self.limit {
            self.candidates.push(candidate);
        } else if let Some(least) = self.candidates.iter_mut().min_by_key(|other| other.rank(threshold))
            && least.rank(threshold) < candidate.rank(threshold)
        {
            *least = candidate;
        }
    }

    /// Lets go of peaks that fell out of the hold, or below what earns a series.
    pub(super) fn expire(&mut self, epoch: u64, least: u32) {
        self.candidates.retain_mut(|candidate| {
            candidate.peak = candidate.peaks.peak(epoch);
            candidate.peak >= least
        });
    }

    /// Lets go of those that are no source any more; `gone` is called with each.
    pub(super) fn withdraw(&mut self, is_ignored: impl Fn(Source) -> bool, mut gone: impl FnMut(Source)) {
        self.candidates.retain(|candidate| {
            let stays = !is_ignored(candidate.source);
            if !stays {
                gone(candidate.source);
            }
            stays
        });
    }

    /// Lets go of all.
    pub(super) fn clear(&mut self) {
        self.candidates.clear();
    }

    /// What was kept of a source.
    pub(super) fn find(&self, source: Source) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.source == source)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter()
    }
}

/// The greatest of the candidates that it is offered.
pub(super) struct Top {
    /// The least of them on top.
    heap: BinaryHeap<Reverse<ByRank>>,
    limit: usize,
    threshold: u32,
    offered: u64,
}

impl Top {
    /// At most so many, under a threshold.
    pub(super) fn new(limit: usize, threshold: u32) -> Self {
        Self { heap: BinaryHeap::with_capacity(limit + 1), limit, threshold, offered: 0 }
    }

    /// One more.
    pub(super) fn offer(&mut self, candidate: Candidate) {
        self.offered += 1;
        self.heap.push(Reverse(ByRank(candidate.rank(self.threshold), candidate)));
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
    }

    /// How many there were.
    pub(super) fn offered(&self) -> u64 {
        self.offered
    }

    /// The greatest, in publishing order.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = Candidate> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(ByRank(_, candidate))| candidate)
    }
}

/// A candidate in publishing order.
struct ByRank(Rank, Candidate);

impl PartialEq for ByRank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByRank {}

impl PartialOrd for ByRank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByRank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 100;

    /// A source `198.51.100.n` whose peak was reached in this epoch.
    fn peaked(n: u8, peak: u32, epoch: u64) -> Candidate {
        let mut peaks = Peaks::NONE;
        peaks.reach(epoch, peak);
        let source = Source::of([198, 51, 100, n].into(), 64);
        Candidate {
            source,
            peak,
            peaks,
            ports: peak,
            hosts: 1,
            busiest: peak,
            last_hit: None,
            scans: false,
            last_probe: epoch,
            tool: Tool::Unknown,
            answered: None,
            unanswered: None,
            evidence: Grade::Spoofable,
        }
    }

    fn kept(retired: &Retired) -> Vec<(String, u32)> {
        retired.iter().map(|candidate| (candidate.source.to_string(), candidate.peak)).collect()
    }

    fn source(n: u8) -> String {
        format!("198.51.100.{n}")
    }

    #[test]
    fn the_greatest_peaks_stay_and_the_least_makes_room() {
        let mut retired = Retired::new(2).expect("room");
        for (n, peak) in [(1, 30), (2, 50), (3, 20), (4, 40)] {
            retired.keep(peaked(n, peak, NOW), NOW, 20);
        }
        assert_eq!(kept(&retired), [(source(4), 40), (source(2), 50)]);
    }

    #[test]
    fn a_source_is_there_once_with_the_greater_of_its_peaks() {
        let mut retired = Retired::new(2).expect("room");
        retired.keep(Candidate { last_hit: Some(7), ..peaked(1, 30, NOW) }, NOW, 20);
        retired.keep(peaked(1, 10, NOW + 1), NOW + 1, 20);
        assert_eq!(kept(&retired), [(source(1), 30)]);
        let of_1 = retired.find(Source::of([198, 51, 100, 1].into(), 64)).expect("kept");
        assert_eq!((of_1.last_hit, of_1.last_probe, of_1.ports), (Some(7), NOW + 1, 0));
    }

    #[test]
    fn a_peak_goes_with_the_hold() {
        let mut retired = Retired::new(2).expect("room");
        retired.keep(peaked(1, 30, NOW), NOW, 20);
        retired.keep(peaked(2, 30, NOW + 10), NOW + 10, 20);
        retired.expire(NOW + 16, 5);
        assert_eq!(retired.iter().count(), 2);
        retired.expire(NOW + 17, 5);
        assert_eq!(kept(&retired), [(source(2), 30)]);
        retired.expire(NOW + 17, 31);
        assert_eq!(retired.iter().count(), 0, "it no longer earns a series");
    }

    #[test]
    fn publishing_order_is_by_peak_then_recency_then_address() {
        let mut greatest = Top::new(4, 20);
        for (n, peak, epoch) in [(1, 20, NOW), (5, 30, NOW), (4, 30, NOW + 1), (3, 30, NOW), (2, 40, NOW)] {
            greatest.offer(peaked(n, peak, epoch));
        }
        assert_eq!(greatest.offered(), 5);
        let order: Vec<_> = greatest.into_sorted().map(|candidate| candidate.source.to_string()).collect();
        assert_eq!(order, [2, 4, 3, 5].map(source));
    }
}
