//! A batch of probes in, events out: time passes, what is ignored is only counted, and each rule's tracker observes the rest.

use crate::detect::batch::Batch;
use crate::detect::explain::{ByRule, Explanation, explain};
use crate::detect::ground::Ground;
use crate::detect::memory::{OutOfMemory, room_for};
use crate::detect::probe::{Ipv4Probe, Probe};
use crate::detect::rule::{Limits, Policy, Rule, Subject};
use crate::detect::scan::{Scan, ScanEvent};
use crate::detect::sink::EventSink;
use crate::detect::snapshot::{Counters, Ignored, Snapshot, Withdrawn};
use crate::detect::targets::Targets;
use crate::detect::time::timeline::{Origin, Timeline};
use crate::detect::tracker::{Handed, Replied, Tracker, What};
use crate::detect::tuning::{BATCH, NAMED_RANGES};
use crate::detect::wanted::Wanted;
use crate::packet::Timestamp;
use ipnet::IpNet;
use std::net::IpAddr;

/// Counts the distinct ports of every source and reports scans. All memory is reserved by `new`.
#[derive(Debug)]
pub struct Detector {
    policy: Policy,
    limits: Limits,
    timeline: Timeline,
    /// Probes that were not looked at yet.
    batch: Batch,
    /// Of the first rule.
    first: Tracker,
    /// One for each other rule, the faster before the slower.
    slower: Vec<Tracker>,
    /// Of the rule for scans by many, which gets what is left.
    targets: Option<Targets>,
    /// What of the batch is handed down from one to the next.
    handed: Vec<Handed>,
    /// What of the batch is a reply.
    replied: Vec<Replied>,
    /// What is counted before any rule.
    counters: Counters,
    /// Which ports scans ask for, by any rule.
    wanted: Wanted,
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
        let ground = Ground { policy: &policy, limits, seed, origin };
        let tracker = |rule: &Rule| Tracker::behind(*rule, &ground.of_slower(rule));
        let targets = |rule: Rule| Targets::new(rule, &ground.of_slower(&rule));
        Ok(Self {
            targets: policy.distributed.map(targets).transpose()?,
            first: Tracker::new(policy.first_rule(), &ground)?,
            slower: policy.slower.iter().map(tracker).collect::<Result<_, _>>()?,
            handed: room_for(BATCH)?,
            replied: room_for(BATCH)?,
            timeline: Timeline::new(origin),
            batch: Batch::new()?,
            counters: Counters::default(),
            wanted: Wanted::new(limits.hold_nanos)?,
            policy,
            limits,
        })
    }

    /// The same that has seen nothing yet, and takes the same reloads; an error if there is no memory for both.
    pub(crate) fn renewed(&self, seed: u64) -> Result<Self, OutOfMemory> {
        // As large as for the greatest threshold: a reload counts on that.
        let policy = self.policy.clone();
        let greatest =
            Policy { threshold: self.greatest_threshold().max(policy.threshold), ..policy.clone() };
        let mut renewed = Self::try_new(greatest, self.limits, seed, self.timeline.origin())?;
        renewed.reload(policy, &mut |_| {});
        Ok(renewed)
    }

    /// What counts as a scan, as of the latest reload.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How long a peak is kept, in nanoseconds.
    pub fn hold_nanos(&self) -> u64 {
        self.limits.hold_nanos
    }

    /// The greatest threshold of the first rule that `reload` may set: the memory was cut for it. A greater one takes `resize`.
    pub fn greatest_threshold(&self) -> u32 {
        self.first.greatest_threshold()
    }

    // ---- Probes.

    /// Takes a probe, in the order of capture. True once a batch is full: then `flush` it.
    ///
    /// It is not looked at before: until the batch is full, the cache fetches what it will need.
    #[inline]
    #[must_use]
    pub fn gather(&mut self, probe: Probe) -> bool {
        // A scan is often a burst of one source.
        let class = probe.technique.class();
        let again = self.batch.hash_of_again(probe.source, class);
        let hash = again.unwrap_or_else(|| self.first.hash(probe.source, class));
        self.first.look_ahead(hash, again.is_some());
        self.batch.push(probe, hash)
    }

    /// The same over IPv4.
    #[inline(always)]
    #[must_use]
    pub(crate) fn gather_ipv4(&mut self, probe: Ipv4Probe) -> bool {
        let class = probe.technique.class();
        let again = self.batch.hash_of_again(IpAddr::V4(probe.source), class);
        let hash = again.unwrap_or_else(|| self.first.hash_ipv4(probe.source, class));
        self.first.look_ahead(hash, again.is_some());
        self.batch.push(probe.into(), hash)
    }

    /// Counts a probe that says nothing of a scanner, wherever its source is.
    #[inline(never)]
    pub fn ignore(&mut self, probe: Probe, reason: Ignored) {
        self.counters.count(&probe);
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
        let Self {
            policy, timeline, batch, first, slower, targets, handed, replied, counters, wanted, ..
        } = self;
        let hands_down = !slower.is_empty() || targets.is_some();
        if hands_down {
            batch.note_only_target();
            slower.iter_mut().for_each(|tracker| tracker.await_batch(batch));
        }
        first.look_up_rest();
        let mut sink = EventSink::new(timeline, events, wanted);
        for (at, probe) in batch.iter().enumerate() {
            sink.packet(probe.time);
            first.pass(&mut sink);
            if let Some(reply) = probe.reply {
                first.answer(at, probe, reply, &mut sink);
                replied.push(Replied { at, now: sink.now() });
                continue;
            }
            counters.count(probe);
            if let Some(reason) = policy.ignores(probe) {
                counters.ignored[reason as usize] += 1;
                continue;
            }
            let seen = first.observe(at, probe, true, &mut sink);
            if hands_down && let Some(what) = What::after(seen) {
                handed.push(Handed::new(at, sink.now(), what));
            }
        }
        first.end_batch();
        // Networks come last: what is left is what no source was found for.
        for are_networks in [false, true] {
            for tracker in slower.iter_mut().filter(|tracker| tracker.are_networks() == are_networks) {
                tracker.observe_handed(batch, handed, replied, &mut sink);
            }
        }
        if let Some(targets) = targets {
            targets.observe_handed(batch, handed, &mut sink);
        }
        handed.clear();
        replied.clear();
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
        self.each_tracker(events, |tracker, sink| {
            tracker.pass(sink);
            tracker.tick(sink);
        });
        let mut sink = EventSink::new(&mut self.timeline, events, &mut self.wanted);
        if let Some(targets) = &mut self.targets {
            targets.pass(&sink);
            targets.tick(&mut sink);
        }
        self.wanted.advance(self.timeline.now());
    }

    fn each_tracker(
        &mut self,
        events: &mut dyn FnMut(ScanEvent),
        mut act: impl FnMut(&mut Tracker, &mut EventSink<'_>),
    ) {
        let mut sink = EventSink::new(&mut self.timeline, events, &mut self.wanted);
        for tracker in std::iter::once(&mut self.first).chain(&mut self.slower) {
            act(tracker, &mut sink);
        }
    }

    /// Replaces a key of each table's directory before its time; `advance` does it in time. Nothing that is reported changes by it.
    pub fn rekey(&mut self, events: &mut dyn FnMut(ScanEvent)) {
        self.flush(events);
        self.each_tracker(events, Tracker::rekey);
    }

    /// The shell saw the capture's clock step by this many nanoseconds; what comes is stamped by the new clock.
    pub fn clock_stepped(&mut self, nanos: i64) {
        self.timeline.step(nanos);
    }

    /// Takes a new policy with the same rules behind the first. A new window or aggregation empties the tables: open scans are reported as
    /// ended. Other slower rules take `resize`.
    /// Sources that it ignores lose their scans and peaks at once.
    pub fn reload(&mut self, policy: Policy, events: &mut dyn FnMut(ScanEvent)) -> Withdrawn {
        debug_assert!(policy.behind().eq(self.policy.behind()), "other rules take other tables");
        self.flush(events);
        let mut sink = EventSink::new(&mut self.timeline, events, &mut self.wanted);
        self.first.reload(policy.first_rule(), &policy, &mut sink);
        for (tracker, rule) in self.slower.iter_mut().zip(&policy.slower) {
            tracker.reload(*rule, &policy, &mut sink);
        }
        if let Some(targets) = &mut self.targets {
            targets.reload(&self.policy, &policy, &mut sink);
        }
        self.set_policy(policy, events)
    }

    /// Takes the policy of another detector, and its tables in place of its own, which are emptied: open scans are reported as
    /// ended. `other` has seen nothing yet, and may have another hold. Where only slower rules are others, the first keeps its own.
    pub fn resize(&mut self, other: Self, events: &mut dyn FnMut(ScanEvent)) -> Withdrawn {
        self.flush(events);
        let mut sink = EventSink::new(&mut self.timeline, events, &mut self.wanted);
        if other.limits == self.limits && other.policy.threshold <= self.first.greatest_threshold() {
            self.first.reload(other.policy.first_rule(), &other.policy, &mut sink);
        } else {
            self.first.resize(other.first, &mut sink);
        }
        self.slower.iter_mut().for_each(|tracker| tracker.close(&mut sink));
        self.slower = other.slower;
        self.slower.iter_mut().for_each(|tracker| tracker.open(&self.first, &mut sink));
        self.targets.iter_mut().for_each(|targets| targets.empty(&mut sink));
        self.targets = other.targets;
        self.targets.iter_mut().for_each(|targets| targets.begin(sink.now()));
        self.limits = other.limits;
        self.wanted.set_hold(self.limits.hold_nanos);
        self.set_policy(other.policy, events)
    }

    fn set_policy(&mut self, mut policy: Policy, events: &mut dyn FnMut(ScanEvent)) -> Withdrawn {
        policy.ignored_ports.sort_unstable();
        let mut gone = Withdrawn::default();
        if policy.ignored_sources != self.policy.ignored_sources {
            self.each_tracker(events, |tracker, sink| tracker.withdraw(&policy, &mut gone, sink));
            gone.sources.sort_unstable();
            gone.sources.dedup();
        }
        self.policy = policy;
        gone
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
        for tracker in std::iter::once(&self.first).chain(&self.slower) {
            tracker.each_open_scan(&self.timeline, take);
        }
        if let Some(targets) = &self.targets {
            targets.each_open_scan(&self.timeline, take);
        }
    }

    /// What it shows of itself, as of the latest `advance`.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.first.snapshot(&self.timeline);
        snapshot.slower = self.slower.iter().map(|tracker| tracker.snapshot(&self.timeline)).collect();
        snapshot.slower.extend(self.targets.iter().map(|targets| targets.snapshot(&self.timeline)));
        snapshot.counters.merge(&Counters { clock_steps: self.timeline.steps(), ..self.counters });
        snapshot.port_sources = self.wanted.shown();
        snapshot.share_series();
        snapshot
    }

    /// The tracker of the first rule.
    #[cfg(test)]
    pub(super) fn tracker(&self) -> &Tracker {
        &self.first
    }

    /// What it knows of an address, or of an IPv6 network, as of the latest `advance`.
    pub fn explain(&self, asked: IpNet) -> Explanation {
        let explain = |tracker| explain(asked, &self.policy, &self.limits, tracker, &self.timeline);
        // A network that a rule judges is known to that rule alone.
        let hops = Subject::Network(asked.prefix_len());
        let network = self.slower.iter().find(|tracker| tracker.rule().subject == hops);
        if let Some(network) = network.filter(|network| network.judges(asked.addr())) {
            return explain(network);
        }
        let first = explain(&self.first);
        let judging = self.slower.iter().filter(|tracker| tracker.judges(asked.addr()));
        let slower = judging.map(|tracker| ByRule::of(first.source, tracker, &self.timeline)).collect();
        let with = |targets: &Targets| targets.scans_with(first.source, &self.timeline, NAMED_RANGES);
        let by_many = self.targets.as_ref().map(with).unwrap_or_default();
        Explanation { slower, by_many, ..first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::explain::Tracked;
    use crate::detect::names::{Name, Names};
    use crate::detect::networks::Networks;
    use crate::detect::probe::Technique;
    use crate::detect::scan::{EventKind, Kind, Scan};
    use crate::detect::snapshot::Evicted;
    use crate::detect::tuning::SCANS_SHOWN;
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

    /// A scan has a record at its hit and one when it has grown tenfold; what it is in between a snapshot has, for so many scans.
    #[test]
    fn a_snapshot_has_open_scans_as_they_stand() {
        let world = World::new().scan(SCANNER, 1..=150).over("2s").wait("1s");
        let shown = world.snapshot().scans;
        assert_eq!((shown.len(), shown[0].distinct_ports, shown[0].probes), (1, 150, 150));
        world.detector.each_open_scan(&mut |scan| assert_eq!(scan, shown[0]));
        assert!(world.wait("10m").snapshot().scans.is_empty());
        let mut world = World::new();
        for n in 1..=SCANS_SHOWN + 9 {
            world = world.scan(&format!("198.51.100.{n}"), 1..=20 + n as u16).at_once();
        }
        let shown = world.wait("1s").snapshot().scans;
        assert_eq!(shown.len(), SCANS_SHOWN);
        assert!(shown.iter().all(|scan| scan.distinct_ports > 29), "those of the greatest peaks");
    }

    #[test]
    fn a_renewed_one_has_seen_nothing_and_takes_the_same_reloads() {
        for threshold in [20, 21, 129, 1000] {
            let policy = Policy { threshold, ..Policy::default() };
            let lower = Policy { threshold: 5, ..policy.clone() };
            let world = World::by(policy).scan(SCANNER, 1..=30).over("3s").reload(lower.clone());
            let renewed = world.detector.renewed(7).unwrap();
            assert_eq!(renewed.greatest_threshold(), world.detector.greatest_threshold(), "{threshold}");
            let fresh = Detector::new(lower, renewed.limits, 7, Origin::Live);
            assert_eq!(renewed.policy(), fresh.policy());
            assert_eq!(renewed.snapshot().counters, fresh.snapshot().counters);
            assert_eq!((renewed.snapshot().tracked_sources, renewed.open_scans().len()), (0, 0));
        }
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
            ignored_sources: Networks::new(&["198.51.100.0/24".parse().expect("a network")]),
            ignored_ports: vec![443, 22],
            ..Policy::default()
        };
        let world = World::by(policy).scan(SCANNER, 1..=100).over("1s");
        let world = world.scan("203.0.113.7", (1..=19).chain([22, 443])).over("1s");
        assert!(world.reported().is_empty());
        let counters = world.snapshot().counters;
        assert_eq!(
            counters.ignored,
            [99, 3, 0, 0, 0, 0, 0],
            "by source, and by port wherever they come from"
        );
        assert_eq!(counters.probes[0][Technique::Syn as usize], 121);
    }

    /// A reload that names a network anew says so of scans that begin then.
    #[test]
    fn a_scan_keeps_what_was_in_force_when_it_began() {
        let named = |name: &str, policy: Policy| {
            let names =
                vec![("198.51.100.0/24".parse().expect("a network"), Name::new(name).expect("a name"))];
            Policy { names: Names::new(names), ..policy }
        };
        let called = |scan: Scan| scan.name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default();
        let world = World::by(named("before", Policy::default())).scan(SCANNER, 1..=30).over("1s").wait("1s");
        let world = world.reload(named("between", Policy::default()));
        let world =
            world.reload(named("after", Policy::default())).scan(SCANNER, 31..=60).over("1s").wait("1s");
        assert_eq!(world.snapshot().scans.into_iter().map(called).collect::<Vec<_>>(), ["before"]);
        let shown = world.snapshot().sources[0].name;
        assert_eq!(shown.as_ref().map(Name::as_str), Some("after"), "its series are of now");
        // It ends by itself; it is ignored; the tables are emptied: all under its own name.
        let ignored_sources = Networks::new(&["198.51.100.7/32".parse().expect("a network")]);
        let ignored = named("new", Policy { ignored_sources, ..Policy::default() });
        let emptied = named("new", Policy { window_nanos: 5_000_000_000, ..Policy::default() });
        for (policy, next) in [(named("new", Policy::default()), "new"), (emptied, "new"), (ignored, "")] {
            let world = World::by(named("before", Policy::default())).scan(SCANNER, 1..=30).over("1s");
            let world = world.reload(policy).wait("10m");
            assert_eq!(world.scans(EventKind::Ended).into_iter().map(called).collect::<Vec<_>>(), ["before"]);
            let world = world.scan(SCANNER, 1..=30).over("1s");
            let hits: Vec<_> = world.scans(EventKind::Hit).into_iter().map(called).collect();
            assert_eq!(hits.get(1).map_or("", String::as_str), next);
        }
    }

    /// Today's monitoring host is ignored as soon as somebody thinks of it; its neighbour goes on.
    #[test]
    fn what_a_reload_ignores_is_withdrawn_at_once() {
        let sources = ["198.51.100.7", "198.51.100.8", "2001:db8:1::1"];
        let world = sources.iter().fold(World::new(), |world, source| world.scan(source, 1..=30).over("1s"));
        assert_eq!((world.reported().len(), world.snapshot().sources.len()), (3, 3));
        // Part of a /64 is not the source.
        let networks =
            ["198.51.100.7/32", "2001:db8:1::/80"].map(|network| network.parse().expect("a network"));
        let policy = Policy { ignored_sources: Networks::new(&networks), ..Policy::default() };
        let world = world.reload(policy);
        assert_eq!(world.reported(), ["hit 20", "hit 20", "hit 20", "ended 30"]);
        let shown: Vec<String> =
            world.snapshot().sources.iter().map(|shown| shown.source.to_string()).collect();
        assert_eq!(shown, ["2001:db8:1::/64", "198.51.100.8"]);
        assert_eq!(world.snapshot().counters.evicted[Evicted::Reload as usize], 1);
        assert_eq!(world.tracked("198.51.100.7"), Tracked::No);
        // Nor is its peak kept, and what it asks does not count.
        let world = world.scan("198.51.100.7", 1..=30).over("1s").wait("10m");
        assert_eq!(world.snapshot().sources.len(), 0);
        assert_eq!(world.scans(EventKind::Hit).len(), 3);
    }

    #[test]
    fn a_peak_stays_for_the_hold() {
        let world = World::new().scan(SCANNER, 1..=30).over("1s").wait("295s");
        let shown = world.snapshot().sources[0];
        assert_eq!((shown.distinct_ports, shown.peak_distinct_ports), (0, 30));
        let world = world.wait("30s");
        assert_eq!((world.snapshot().sources.len(), world.snapshot().peak_distinct_ports), (0, 0));
    }

    /// A port every forty seconds for four hours: its only hit is long past the hold, and it goes on.
    #[test]
    fn a_slow_scan_has_its_series_for_as_long_as_it_goes_on_and_for_the_hold() {
        let policy = Policy { slower: vec![Rule::SLOW], ..Policy::default() };
        let world = World::by(policy).scan(SCANNER, 1..=400).over("15960s").wait("1s");
        let by_rule = |world: &World| world.snapshot().slower.swap_remove(0).sources;
        let shown = by_rule(&world);
        assert_eq!(shown.iter().map(|shown| shown.source.to_string()).collect::<Vec<_>>(), [SCANNER]);
        assert!(shown[0].distinct_ports >= 60, "{}", shown[0].distinct_ports);
        let world = world.wait("7200s");
        assert_eq!(by_rule(&world).len(), 0);
    }
}
