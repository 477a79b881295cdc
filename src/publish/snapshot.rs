//! What one interface shows of itself at a tick: capture, decoder and detector together.

use crate::capture::CaptureStatus;
use crate::detect;
use crate::packet::Skipped;
use crate::publish::sample::SampleSnapshot;

/// One interface at a tick: immutable once made, read by the scrape side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSnapshot {
    /// The interface's name, or the file's.
    pub interface: String,
    /// The capture's own account.
    pub capture: CaptureStatus,
    /// Frames handed to the decoder.
    pub packets: u64,
    /// Frames that were no probe, by `Skipped as usize`.
    pub skipped: [u64; Skipped::ALL.len()],
    /// Scan events lost because the queue to the notifier was full.
    pub events_lost: u64,
    /// The detector.
    pub detection: detect::Snapshot,
    /// What is sampled for the fleet, if there is one.
    pub sample: Option<SampleSnapshot>,
}

impl InterfaceSnapshot {
    /// The interface as one, from what each of its captures shows; `None` of none. Where another interface has taken a place, that is the
    /// first capture's: what the others still show of the one before is none of its.
    pub(crate) fn merged<'a>(shards: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut shards = shards.into_iter();
        let mut all = shards.next()?.clone();
        let name = all.interface.clone();
        for shard in shards.filter(|shard| shard.interface == name) {
            let Self { interface: _, capture, packets, skipped, events_lost, detection, sample } = &mut all;
            let CaptureStatus { up, idle, received, dropped, interface_dropped, restarts, pauses, last_tick } =
                capture;
            *up &= shard.capture.up;
            *idle |= shard.capture.idle;
            *received += shard.capture.received;
            *dropped += shard.capture.dropped;
            // The interface's own number, which every socket gets; and all are reopened together.
            *interface_dropped = shard.capture.interface_dropped.max(*interface_dropped);
            *restarts = shard.capture.restarts.max(*restarts);
            // Most often all of them paused together.
            *pauses = shard.capture.pauses.max(*pauses);
            *last_tick = (*last_tick).min(shard.capture.last_tick);
            *packets += shard.packets;
            for (sum, more) in skipped.iter_mut().zip(&shard.skipped) {
                *sum += more;
            }
            *events_lost += shard.events_lost;
            detection.merge(&shard.detection);
            if let (Some(sample), Some(more)) = (sample, &shard.sample) {
                sample.merge(more);
            }
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{PublishedSource, Source};
    use crate::fixture::snapshot as fixture;
    use crate::packet::Timestamp;

    fn source(last: u8, peak: u32, last_probe: u64) -> PublishedSource {
        PublishedSource {
            source: Source::of([192, 0, 2, last].into(), 64),
            name: None,
            distinct_ports: peak / 2,
            peak_distinct_ports: peak,
            distinct_hosts: 1,
            ports_of_busiest_host: 5,
            last_hit: (peak >= 20).then(|| Timestamp::new(last_probe, 0)),
            last_probe: Timestamp::new(last_probe, 0),
            tool: Default::default(),
            provenance: Default::default(),
            answered_ports: None,
            peak_unanswered_ports: None,
            evidence: Default::default(),
        }
    }

    /// A shard whose numbers are all different from one another, and those of other shards.
    fn shard(n: u64, sources: Vec<PublishedSource>) -> InterfaceSnapshot {
        let mut shard = fixture::quiet("eth0");
        shard.capture = CaptureStatus {
            up: true,
            idle: false,
            received: 100 * n,
            dropped: 10 * n,
            interface_dropped: 7,
            restarts: 2,
            pauses: n,
            last_tick: Some(Timestamp::new(n, 0)),
        };
        shard.packets = 90 * n;
        shard.skipped = std::array::from_fn(|reason| reason as u64 + n);
        shard.events_lost = n;
        let detection = &mut shard.detection;
        detection.time = Timestamp::new(1_700_000_000 - n, 0);
        detection.counters.probes[1][0] = 50 * n;
        detection.counters.ignored = [1, 2, 3, 4, 5, 6, 7].map(|part| part * n);
        detection.counters.hits[0] = 3 * n;
        detection.counters.evicted[3] = 4 * n;
        detection.counters.clock_steps = 5;
        detection.counters.bursts[9] = 6 * n;
        detection.counters.burst_ports = 8 * n;
        detection.counters.cut_short = 9 * n;
        detection.counters.muted = 10 * n;
        detection.open_scans[0] = n;
        detection.peak_distinct_ports = sources.iter().map(|s| s.peak_distinct_ports).max().unwrap_or(0);
        detection.tracked_sources = 11 * n;
        detection.saturated_sources = 12 * n;
        detection.published_sources_limit = 3;
        detection.suppressed_sources = if sources.len() == 3 { n } else { 0 };
        detection.sources = sources;
        shard
    }

    #[test]
    fn shards_add_up_and_what_all_saw_counts_once() {
        let one = shard(1, vec![source(1, 90, 5), source(2, 50, 9), source(3, 7, 1)]);
        let two = shard(2, vec![source(9, 50, 9), source(4, 50, 10)]);
        let all = InterfaceSnapshot::merged([&one, &two]).unwrap();
        assert_eq!(InterfaceSnapshot::merged([&two, &one]).unwrap(), all, "in whichever order");

        let expected = CaptureStatus {
            up: true,
            idle: false,
            received: 300,
            dropped: 30,
            interface_dropped: 7,
            restarts: 2,
            pauses: 2,
            last_tick: Some(Timestamp::new(1, 0)),
        };
        assert_eq!(all.capture, expected);
        assert_eq!((all.packets, all.events_lost, all.skipped[1]), (270, 3, 5));
        let seen = &all.detection;
        assert_eq!(seen.time, two.detection.time, "the oldest");
        let counters = &seen.counters;
        assert_eq!(
            (counters.probes[1][0], counters.ignored, counters.hits[0]),
            (150, [3, 6, 9, 12, 15, 18, 21], 9)
        );
        assert_eq!((counters.evicted[3], counters.bursts[9], counters.burst_ports), (12, 18, 24));
        assert_eq!(counters.cut_short, 27);
        assert_eq!(counters.muted, 30);
        assert_eq!(counters.clock_steps, 5, "one clock");
        assert_eq!((seen.open_scans[0], seen.peak_distinct_ports), (3, 90));
        assert_eq!((seen.tracked_sources, seen.tracked_sources_limit), (33, 200_000));
        assert_eq!(seen.saturated_sources, 36);
        // By peak, then recency, then address; and 1 that was left out before.
        assert_eq!(seen.sources, [source(1, 90, 5), source(4, 50, 10), source(2, 50, 9)]);
        assert_eq!((seen.published_sources_limit, seen.suppressed_sources), (3, 3));
    }

    #[test]
    fn a_source_that_two_know_is_one() {
        let (one, two) = (shard(1, vec![source(1, 30, 5)]), shard(2, vec![source(1, 6, 9), source(2, 5, 1)]));
        let all = InterfaceSnapshot::merged([&one, &two]).unwrap().detection;
        let both = PublishedSource { last_probe: Timestamp::new(9, 0), ..source(1, 30, 5) };
        assert_eq!((all.sources, all.suppressed_sources), (vec![both, source(2, 5, 1)], 0));
    }

    #[test]
    fn it_is_up_if_all_are_and_one_alone_stays_as_it_is() {
        let (one, mut two) = (shard(1, Vec::new()), shard(2, Vec::new()));
        two.capture.up = false;
        assert!(!InterfaceSnapshot::merged([&one, &two]).unwrap().capture.up);
        assert_eq!(InterfaceSnapshot::merged([&one]), Some(one));
        assert_eq!(InterfaceSnapshot::merged([]), None);
    }
}
