//! A batch of probes in, events out: time passes, what is ignored is only counted, and each rule's tracker observes the rest.

use crate::detect::batch::Batch;
use crate::detect::explain::{Explanation, explain};
use crate::detect::memory::OutOfMemory;
use crate::detect::probe::Probe;
use crate::detect::rule::{Limits, Policy, RULES};
use crate::detect::scan::{Scan, ScanEvent};
use crate::detect::sink::EventSink;
use crate::detect::snapshot::{Counters, Ignored, Snapshot};
use crate::detect::time::timeline::{Origin, Timeline};
use crate::detect::tracker::Tracker;
use crate::packet::Timestamp;
use ipnet::IpNet;

/// Counts the distinct ports of every source and reports scans. All memory is reserved by `new`.
#[derive(Debug)]
pub struct Detector {
    policy: Policy,
    limits: Limits,
    timeline: Timeline,
    /// Probes that were not looked at yet.
    batch: Batch,
    /// One for each rule of the policy. An array: while there is one rule, the loops over it cost a probe nothing.
    trackers: [Tracker; RULES],
    /// What is counted before any rule.
    counters: Counters,
}

impl Detector {
    /// The same as `try_new`, where there is memory.
    ///
    /// # Panics
    /// If there is not.
    pub fn new(policy: Policy, limits: Limits, seed: u64, origin: Origin) -> Self {
        Self::try_new(policy, limits, seed, origin).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A detector with all its memory, or an error if the system refuses any of it. `seed` keys the hash of what comes from the
    /// wire; `origin` says whose clock wrote the timestamps.
    pub fn try_new(
        mut policy: Policy,
        limits: Limits,
        seed: u64,
        origin: Origin,
    ) -> Result<Self, OutOfMemory> {
        policy.ignored_ports.sort_unstable();
        let tracker = |rule| Tracker::new(rule, policy.ipv6_prefix, limits, seed, origin);
        let trackers = policy.rules().into_iter().map(tracker).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            trackers: trackers.try_into().unwrap_or_else(|_| unreachable!("a tracker for each rule")),
            timeline: Timeline::new(origin),
            batch: Batch::new()?,
            counters: Counters::default(),
            policy,
            limits,
        })
    }

    /// What counts as a scan, as of the latest reload.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How long a peak is kept, in nanoseconds.
    pub fn hold_nanos(&self) -> u64 {
        self.limits.hold_nanos
    }

    /// The greatest threshold that `reload` may set: the memory was cut for it. A greater one takes `resize`.
    pub fn greatest_threshold(&self) -> u32 {
        self.trackers.iter().map(Tracker::greatest_threshold).min().unwrap_or(u32::MAX)
    }

    // ---- Probes.

    /// Takes a probe, in the order of capture. True once a batch is full: then `flush` it.
    ///
    /// It is not looked at before: until the batch is full, the cache fetches what it will need.
    #[inline]
    #[must_use]
    pub fn gather(&mut self, probe: Probe) -> bool {
        // A scan is often a burst of one source.
        let is_again = self.batch.last().is_some_and(|last| {
            last.source == probe.source && last.technique.class() == probe.technique.class()
        });
        for tracker in &mut self.trackers {
            tracker.look_ahead(&probe, is_again);
        }
        self.batch.push(probe)
    }

    /// Counts a probe that says nothing of a scanner, wherever its source is.
    pub fn ignore(&mut self, probe: &Probe, reason: Ignored) {
        self.counters.count(probe);
        self.counters.ignored[reason as usize] += 1;
    }

    /// The latest time in the batch, on the capture's clock.
    pub fn batch_time(&self) -> Option<Timestamp> {
        self.batch.time()
    }

    /// No probe of the batch is later than this.
    pub fn cap_batch(&mut self, latest: Timestamp) {
        self.batch.cap(latest);
    }

    /// Observes what was gathered.
    pub fn flush(&mut self, events: &mut dyn FnMut(ScanEvent)) {
        let Self { policy, timeline, batch, trackers, counters, .. } = self;
        trackers.iter_mut().for_each(Tracker::look_up_rest);
        for (at, probe) in batch.iter().enumerate() {
            timeline.packet(probe.time);
            let mut sink = EventSink { timeline, events };
            for tracker in &mut *trackers {
                tracker.pass(&mut sink);
            }
            counters.count(probe);
            if let Some(reason) = policy.ignores(probe) {
                counters.ignored[reason as usize] += 1;
                continue;
            }
            for tracker in &mut *trackers {
                tracker.observe(at, probe, &mut sink);
            }
        }
        trackers.iter_mut().for_each(Tracker::end_batch);
        batch.clear();
    }

    /// Takes probes in the order of their capture and observes them.
    pub fn observe(&mut self, probes: &[Probe], events: &mut dyn FnMut(ScanEvent)) {
        for probe in probes {
            if self.gather(*probe) {
                self.flush(events);
            }
        }
        self.flush(events);
    }

    // ---- Time, and what the operator wants.

    /// Moves time on without a packet; reports the scans that end by it.
    pub fn advance(&mut self, now: Timestamp, events: &mut dyn FnMut(ScanEvent)) {
        self.flush(events);
        self.timeline.advance(now);
        let mut sink = EventSink { timeline: &self.timeline, events };
        for tracker in &mut self.trackers {
            tracker.pass(&mut sink);
            tracker.tick(&mut sink);
        }
    }

    /// Replaces a key of each table's directory before its time; `advance` does it in time. Nothing that is reported changes by it.
    pub fn rekey(&mut self, events: &mut dyn FnMut(ScanEvent)) {
        self.flush(events);
        let mut sink = EventSink { timeline: &self.timeline, events };
        self.trackers.iter_mut().for_each(|tracker| tracker.rekey(&mut sink));
    }

    /// The shell saw the capture's clock step by this many nanoseconds; what comes is stamped by the new clock.
    pub fn clock_stepped(&mut self, nanos: i64) {
        self.timeline.step(nanos);
    }

    /// Takes a new policy. A new window or aggregation empties the tables: open scans are reported as ended.
    pub fn reload(&mut self, policy: Policy, events: &mut dyn FnMut(ScanEvent)) {
        self.flush(events);
        let mut sink = EventSink { timeline: &self.timeline, events };
        for (tracker, rule) in self.trackers.iter_mut().zip(policy.rules()) {
            tracker.reload(rule, policy.ipv6_prefix, &mut sink);
        }
        self.set_policy(policy);
    }

    /// Takes the policy of another detector, and its tables in place of its own, which are emptied: open scans are reported as
    /// ended. `other` has seen nothing yet, and may have another hold.
    pub fn resize(&mut self, other: Self, events: &mut dyn FnMut(ScanEvent)) {
        self.flush(events);
        let mut sink = EventSink { timeline: &self.timeline, events };
        for (tracker, other) in self.trackers.iter_mut().zip(other.trackers) {
            tracker.resize(other, &mut sink);
        }
        self.limits = other.limits;
        self.set_policy(other.policy);
    }

    fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.policy.ignored_ports.sort_unstable();
    }

    // ---- What it shows.

    /// The detector's time, on the capture's clock; the epoch's start before the first packet.
    pub fn now(&self) -> Timestamp {
        self.timeline.to_capture(self.timeline.now())
    }

    /// The open scans, by the time of their hit, ties by source.
    pub fn open_scans(&self) -> Vec<Scan> {
        let mut scans = Vec::new();
        self.each_open_scan(&mut |scan| scans.push(scan));
        scans
    }

    /// The same one by one, rule by rule: there can be as many as the tables hold.
    pub fn each_open_scan(&self, take: &mut dyn FnMut(Scan)) {
        for tracker in &self.trackers {
            tracker.each_open_scan(&self.timeline, take);
        }
    }

    /// What it shows of itself, as of the latest `advance`.
    pub fn snapshot(&self) -> Snapshot {
        let each = self.trackers.iter().map(|tracker| tracker.snapshot(&self.timeline));
        let mut snapshot = each
            .reduce(|mut all, more| {
                all.merge(&more);
                all
            })
            .expect("a policy has at least one rule");
        snapshot.counters.merge(&Counters { clock_steps: self.timeline.steps(), ..self.counters });
        snapshot
    }

    /// The tracker of the first rule.
    #[cfg(test)]
    pub(super) fn tracker(&self) -> &Tracker {
        &self.trackers[0]
    }

    /// What it knows of an address, or of an IPv6 network, as of the latest `advance`: by the first rule.
    pub fn explain(&self, asked: IpNet) -> Explanation {
        explain(asked, &self.policy, &self.limits, &self.trackers[0], &self.timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::probe::Technique;
    use crate::detect::scan::{EventKind, Kind};
    use crate::detect::world::{World, syn};

    const SCANNER: &str = "198.51.100.7";

    #[test]
    fn nineteen_ports_are_no_hit() {
        let world = World::new().scan(SCANNER, 1..=19).over("1s").wait("10m");
        assert!(world.reported().is_empty(), "{:?}", world.reported());
    }

    #[test]
    fn twenty_are_a_hit_at_the_twentieth_packet() {
        let mut world = World::new().scan(SCANNER, 1..=19).over("1.8s");
        world.see(syn(SCANNER, "192.0.2.10:20").at(1.9));
        let hit = world.scans(EventKind::Hit)[0];
        assert_eq!((hit.kind, hit.technique, hit.ports), (Kind::Vertical, Technique::Syn, 20));
        assert_eq!(hit.detected, world.detector.now(), "not at the end of a window");
        assert_eq!(hit.detected.nanos() - hit.started.nanos(), 1_900_000_000);
        assert_eq!((hit.first_target.1, hit.sample_ports.as_slice()[15]), (1, 16));
    }

    #[test]
    fn no_boundary_cuts_a_window_in_two() {
        for before in ["0s", "1s", "3.3s", "5s", "7.77s", "9.9s"] {
            let world = World::new().wait(before).scan(SCANNER, 1..=20).over("9.9s");
            assert_eq!(world.reported(), ["hit 20"], "a scan that begins after {before}");
        }
    }

    #[test]
    fn twenty_ports_over_more_than_a_window_are_no_hit() {
        let world = World::new().scan(SCANNER, 1..=20).over("10.7s").wait("10m");
        assert!(world.reported().is_empty());
        assert_eq!(world.snapshot().counters.bursts.iter().sum::<u64>(), 1, "it was one burst");
    }

    #[test]
    fn a_port_counts_once_however_often_it_is_asked_for() {
        let world = World::new().scan(SCANNER, (1..=19).cycle().take(1_000)).over("9s");
        assert!(world.reported().is_empty());
        assert_eq!(world.explain(SCANNER).distinct_ports, 19);
    }

    #[test]
    fn ports_count_and_hosts_do_not() {
        let hosts = |port: fn(u16) -> u16| (1..=20).map(move |n| format!("192.0.2.{n}:{}", port(n)));
        assert!(World::new().ask(SCANNER, hosts(|_| 22)).over("1s").reported().is_empty());
        let world = World::new().ask(SCANNER, hosts(|n| n)).over("1s");
        assert_eq!(world.reported(), ["hit 20"]);
    }

    #[test]
    fn what_two_sources_do_does_not_add_up() {
        let world = World::new().scan(SCANNER, 1..=10).over("1s").scan("198.51.100.8", 11..=20).over("1s");
        assert!(world.reported().is_empty());
    }

    #[test]
    fn the_addresses_of_one_network_are_one_source() {
        let mut world = World::new();
        for n in 1..=20_u16 {
            world.see(
                syn(&format!("2001:db8::{n}"), &format!("[2001:db8:1::10]:{n}")).at(f64::from(n) / 10.0),
            );
        }
        assert_eq!(world.reported(), ["hit 20"]);
        assert_eq!(world.scans(EventKind::Hit)[0].source.to_string(), "2001:db8::/64");
    }

    #[test]
    fn a_scan_has_one_hit_and_one_end() {
        let world = World::new().scan(SCANNER, 1..=60).over("25s");
        assert_eq!(world.reported(), ["hit 20"]);
        let world = world.wait("10m").wait("10m");
        assert_eq!(world.reported(), ["hit 20", "ended 60"]);
        let ended = world.scans(EventKind::Ended)[0];
        assert_eq!((ended.id, ended.probes), (world.scans(EventKind::Hit)[0].id, 60));
        assert!((22..=25).contains(&ended.peak_distinct_ports), "about 24 of them in one window");
    }

    #[test]
    fn a_scan_is_reported_again_at_tenfold() {
        let world = World::new().scan(SCANNER, 1..=2_500).over("5s");
        assert_eq!(world.reported(), ["hit 20", "grown 200", "grown 2000"]);
    }

    #[test]
    fn quiet_ends_a_scan_and_what_comes_next_is_another() {
        let world = World::new().scan(SCANNER, 1..=20).over("1s").wait("60s");
        assert_eq!(
            world.reported(),
            ["hit 20"],
            "a window until the count falls, and less than a minute since"
        );
        let world = world.scan(SCANNER, 21..=40).over("1s");
        assert_eq!(world.reported(), ["hit 20"], "the same scan goes on");
        let world = world.wait("72s").scan(SCANNER, 1..=20).over("1s");
        assert_eq!(world.reported(), ["hit 20", "ended 40", "hit 20"]);
    }

    #[test]
    fn an_older_packet_counts_as_now() {
        let mut world = World::new().wait("30s").scan(SCANNER, 1..=19).over("1s");
        world.see(syn(SCANNER, "192.0.2.10:20").at(30.5));
        assert_eq!(world.reported(), ["hit 20"]);
    }

    #[test]
    fn a_clock_that_is_set_back_neither_hits_nor_blinds() {
        let mut world = World::new().wait("5m").scan(SCANNER, 1..=19).over("1s");
        world.see(syn(SCANNER, "192.0.2.10:19").at(10.0));
        assert!(world.reported().is_empty(), "no port was added");
        world.see(syn(SCANNER, "192.0.2.10:20").at(10.1));
        assert_eq!((world.reported(), world.snapshot().counters.clock_steps), (vec!["hit 20".into()], 1));
    }

    #[test]
    fn ignored_ports_and_sources_are_only_counted() {
        let policy = Policy {
            ignored_sources: vec!["198.51.100.0/24".parse().expect("a network")],
            ignored_ports: vec![443, 22],
            ..Policy::default()
        };
        let world = World::by(policy).scan(SCANNER, 1..=100).over("1s");
        let world = world.scan("203.0.113.7", (1..=19).chain([22, 443])).over("1s");
        assert!(world.reported().is_empty());
        let counters = world.snapshot().counters;
        assert_eq!(counters.ignored, [99, 3, 0, 0], "by source, and by port wherever they come from");
        assert_eq!(counters.probes[0][Technique::Syn as usize], 121);
    }

    #[test]
    fn a_peak_stays_for_the_hold() {
        let world = World::new().scan(SCANNER, 1..=30).over("1s").wait("295s");
        let shown = world.snapshot().sources[0];
        assert_eq!((shown.distinct_ports, shown.peak_distinct_ports), (0, 30));
        let world = world.wait("30s");
        assert_eq!((world.snapshot().sources.len(), world.snapshot().peak_distinct_ports), (0, 0));
    }
}
