//! Which ports answered, how many did not although they had time to, and who proved to be at his address: exact, against oracles that look
//! at every port at the start of every quantum, and at all that ever happened.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

use lab::handshakes::{Handshakes, Happened};
use portscan_exporter::detect::{
    Detector, Grade, Limits, Origin, Policy, PortRanges, Probe, Reply, Rule, Snapshot, Source, Technique,
};
use portscan_exporter::packet::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND;
/// Quanta for which a port counts.
const WINDOW: u64 = 60;
/// Quanta that it has to answer.
const PATIENCE: u64 = 6;
/// A SYN-ACK; with which number does not matter here.
const ANSWERED: Reply = Reply::Answered { sequence: 0, to: 0 };

#[derive(Debug, Clone, Copy)]
enum What {
    Ask,
    Reply(Reply),
    Tick,
}

/// Something that happens to some ports in a row.
#[derive(Debug, Clone)]
struct Step {
    after: u64,
    source: u8,
    first: u16,
    len: u16,
    what: What,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![12 => 0..SECOND / 20, 6 => 0..SECOND, 2 => 0..12 * SECOND];
    let what = prop_oneof![
        10 => Just(What::Ask),
        6 => Just(What::Reply(ANSWERED)),
        4 => Just(What::Reply(Reply::Refused)),
        3 => Just(What::Tick),
    ];
    let len = prop_oneof![8 => 1..12_u16, 3 => 1..60_u16, 1 => 100..260_u16];
    let step = (after, 0..3_u8, 0..40_u16, len, what).prop_map(|(after, source, first, len, what)| Step {
        after,
        source,
        first,
        len,
        what,
    });
    prop::collection::vec(step, 1..80)
}

fn address(source: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, source + 1).into()
}

/// A port: in which quantum it was asked for last, and what came back.
struct Port {
    last: u64,
    reply: Option<Reply>,
}

/// All that is known of one source by one rule.
#[derive(Default)]
struct Known {
    ports: BTreeMap<u16, Port>,
    /// In which quanta those were asked for last that left the window without an answer.
    left: Vec<u64>,
    quantum: u64,
    /// When its scan opened.
    hit: Option<u64>,
    answered: u32,
    unanswered: u32,
    /// Ports without which nothing shows.
    least: u32,
}

impl Known {
    /// Quantum by quantum.
    fn pass(&mut self, to: u64) {
        for next in self.quantum + 1..=to.min(self.quantum + 2 * WINDOW) {
            let of = |port: &Port, at: u64| at - port.last;
            let counted: Vec<_> = self.ports.values().filter(|port| of(port, next - 1) <= WINDOW).collect();
            if counted.len() >= self.least as usize {
                let answered = counted.iter().filter(|port| port.reply == Some(ANSWERED)).count();
                self.answered = self.answered.max(answered as u32);
            }
            let silent = self.ports.values().filter(|port| port.reply != Some(ANSWERED));
            self.left
                .extend(silent.clone().filter(|port| of(port, next) == WINDOW + 1).map(|port| port.last));
            let in_window = silent.filter(|port| (PATIENCE..=WINDOW).contains(&of(port, next))).count();
            let left = self.left.iter().filter(|last| next - *last <= WINDOW + PATIENCE).count();
            self.unanswered = self.unanswered.max((in_window + left) as u32);
            if self.hit.is_none() {
                self.ports.retain(|_, port| next - port.last <= WINDOW);
            }
        }
        self.quantum = to;
    }

    fn counted(&self) -> usize {
        self.ports.values().filter(|port| self.quantum - port.last <= WINDOW).count()
    }

    fn ask(&mut self, port: u16, threshold: u32) {
        let known = self.ports.entry(port).or_insert(Port { last: self.quantum, reply: None });
        known.last = self.quantum;
        if self.hit.is_none() && self.counted() >= threshold as usize {
            self.hit = Some(self.quantum);
        }
    }

    fn reply(&mut self, port: u16, reply: Reply) {
        if let Some(known) = self.ports.get_mut(&port)
            && known.reply != Some(ANSWERED)
        {
            known.reply = Some(reply);
        }
    }

    fn ranges(&self, reply: Option<Reply>) -> PortRanges {
        PortRanges::of(self.ports.iter().filter(|(_, port)| port.reply == reply).map(|(port, _)| *port))
    }

    /// As it is shown: what is below the least is nothing. Until the ports of a hit had time to answer, each that has not yet counts.
    fn shown(&self) -> (Option<u32>, Option<u32>) {
        let counted = self.ports.values().filter(|port| self.quantum - port.last <= WINDOW);
        let now = counted.filter(|port| port.reply == Some(ANSWERED)).count() as u32;
        let (mut answered, mut unanswered) = (self.answered, self.unanswered);
        if self.counted() >= self.least as usize {
            answered = answered.max(now);
            if self.hit.is_some_and(|hit| self.quantum - hit < PATIENCE) {
                unanswered = unanswered.max(self.counted() as u32 - now);
            }
        }
        (Some(answered), Some(if unanswered < self.least { 0 } else { unanswered }))
    }
}

fn shown(rule: &Snapshot) -> BTreeMap<Source, (Option<u32>, Option<u32>)> {
    rule.sources.iter().map(|it| (it.source, (it.answered_ports, it.peak_unanswered_ports))).collect()
}

/// Lets a detector see all of it, in batches, and compares what it shows by one of its rules at each tick and at the end.
fn is_exact(steps: &[Step], policy: &Policy, rule: usize) {
    let limits = Limits { memory_bytes: 12 << 20, hold_nanos: 1 << 50, min_ports: 2, ..Limits::default() };
    let mut detector = Detector::new(policy.clone(), limits, 7, Origin::Live);
    let judged = if rule == 0 { policy.first_rule() } else { policy.slower[rule - 1] };
    let threshold = judged.threshold();
    let least = if rule == 0 { 2.min(threshold) } else { threshold };
    let mut known: BTreeMap<u8, Known> = BTreeMap::new();
    let mut now = START;
    let mut batch = Vec::new();
    let end = Step { after: 0, source: 0, first: 0, len: 0, what: What::Tick };
    for step in steps.iter().chain([&end]) {
        now += step.after * (judged.window_nanos / (10 * SECOND));
        let quantum = now / judged.window_nanos.div_ceil(WINDOW);
        let of = known.entry(step.source).or_insert_with(|| Known { quantum, least, ..Known::default() });
        of.pass(quantum);
        let probe = |port, reply| Probe {
            time: Timestamp(now),
            source: address(step.source),
            host: Ipv4Addr::new(192, 0, 2, 10).into(),
            port,
            technique: Technique::Syn,
            tool: Default::default(),
            signature: Default::default(),
            reply,
        };
        for port in step.first..step.first + step.len {
            match step.what {
                What::Ask => {
                    of.ask(port, threshold);
                    batch.push(probe(port, None));
                }
                What::Reply(reply) => {
                    of.reply(port, reply);
                    batch.push(probe(port, Some(reply)));
                }
                What::Tick => {}
            }
        }
        if matches!(step.what, What::Tick) {
            detector.observe(&batch, &mut |_| {});
            batch.clear();
            detector.advance(Timestamp(now), &mut |_| {});
            known.values_mut().for_each(|of| of.pass(quantum));
            for (source, (answered, unanswered)) in shown(detector.snapshot().rules().nth(rule).unwrap()) {
                let of = known.iter().find(|(n, _)| address(**n) == source.address).unwrap().1;
                let unanswered = unanswered.map(|ports| if ports < least { 0 } else { ports });
                assert_eq!((answered, unanswered), of.shown(), "{source}");
            }
            for scan in detector.open_scans() {
                assert_eq!(scan.window_nanos, judged.window_nanos);
                let of = known.iter().find(|(n, _)| address(**n) == scan.source.address).unwrap().1;
                let replies = scan.replies.expect("replies are looked for");
                assert_eq!(replies.answered, of.ranges(Some(ANSWERED)));
                assert_eq!(replies.refused, of.ranges(Some(Reply::Refused)));
                assert_eq!(replies.silent, of.ranges(None));
                let count = |reply| of.ports.values().filter(|port| port.reply == Some(reply)).count() as u32;
                let told = (replies.answered_count, replies.refused_count);
                assert_eq!(told, (count(ANSWERED), count(Reply::Refused)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Ports leave the window and are forgotten.
    #[test]
    fn without_a_scan(steps in steps()) {
        is_exact(&steps, &Policy { threshold: 1_000, replies: true, ..Policy::default() }, 0);
        // With short lists as the default rule has them.
        is_exact(&steps, &Policy { threshold: 300, replies: true, ..Policy::default() }, 0);
    }

    /// Ports are kept as long as the scan is open, and answers with them.
    #[test]
    fn while_a_scan_is_open(steps in steps(), threshold in 2..40_u32) {
        let quiet_nanos = 86_400 * SECOND;
        is_exact(&steps, &Policy { threshold, quiet_nanos, replies: true, ..Policy::default() }, 0);
    }

    /// A slower rule looks at a batch when the first has gone through it; what came of a probe comes all the same before the next.
    #[test]
    fn by_a_slower_rule(steps in steps(), threshold in 2..40_u32) {
        let slower = vec![Rule::of_ports(threshold, 600 * SECOND, 86_400 * SECOND)];
        is_exact(&steps, &Policy { threshold: 1_000, replies: true, slower, ..Policy::default() }, 1);
    }

    /// A firewall that drops hides no scan: where nothing answers, each port is unanswered, however they are paced.
    #[test]
    fn where_nothing_answers_each_port_is_unanswered(after in prop::collection::vec(0..SECOND, 2..80)) {
        let policy = Policy { threshold: 20, replies: true, ..Policy::default() };
        let mut detector = Detector::new(policy, Limits { memory_bytes: 12 << 20, ..Limits::default() }, 7, Origin::Live);
        let mut now = START;
        for (port, after) in (1..).zip(after) {
            now += after;
            let probe = Probe {
                time: Timestamp(now),
                source: address(1),
                host: Ipv4Addr::new(192, 0, 2, 10).into(),
                port,
                technique: Technique::Syn,
                tool: Default::default(),
                signature: Default::default(),
                reply: None,
            };
            detector.observe(&[probe], &mut |_| {});
            detector.advance(Timestamp(now), &mut |_| {});
            if let Some(shown) = detector.snapshot().sources.first().filter(|shown| shown.last_hit == Some(Timestamp(now))) {
                assert!(shown.peak_unanswered_ports >= Some(20), "the alert of a hit is no less severe at first");
            }
        }
        detector.advance(Timestamp(now + 2 * SECOND), &mut |_| {});
        for shown in &detector.snapshot().sources {
            assert_eq!(shown.peak_unanswered_ports, Some(shown.peak_distinct_ports));
        }
    }

    /// What came back changes no count, no peak and no event.
    #[test]
    fn the_plain_count_does_not_depend_on_it(steps in steps()) {
        let told = |replies: bool| {
            let slower = vec![Rule::of_ports(30, 60 * SECOND, 60 * SECOND)];
            let policy = Policy { threshold: 8, replies, slower, ..Policy::default() };
            let limits = Limits { memory_bytes: 12 << 20, ..Limits::default() };
            let mut detector = Detector::new(policy, limits, 7, Origin::Live);
            let (mut now, mut events) = (START, Vec::new());
            for step in &steps {
                now += step.after;
                for port in step.first..step.first + step.len {
                    let reply = match step.what {
                        What::Reply(_) if !replies => continue,
                        What::Reply(reply) => Some(reply),
                        What::Ask => None,
                        What::Tick => continue,
                    };
                    let (source, technique) = (address(step.source), Technique::Syn);
                    let host = Ipv4Addr::new(192, 0, 2, 10).into();
                    let probe = Probe { time: Timestamp(now), source, host, port, technique, tool: Default::default(), signature: Default::default(), reply };
                    detector.observe(&[probe], &mut |event| events.push(event));
                }
                detector.advance(Timestamp(now), &mut |event| events.push(event));
            }
            let plain = |mut rule: Snapshot| {
                for source in &mut rule.sources {
                    (source.answered_ports, source.peak_unanswered_ports) = (None, None);
                }
                // Who completed a handshake comes first among those that are published.
                rule.sources.sort_by_key(|source| source.source);
                (rule.counters, rule.open_scans, rule.sources)
            };
            let mut snapshot = detector.snapshot();
            let slower = std::mem::take(&mut snapshot.slower).into_iter().map(plain).collect::<Vec<_>>();
            events.iter_mut().for_each(|event| event.scan.replies = None);
            (events, plain(snapshot), slower)
        };
        prop_assert_eq!(told(true), told(false));
    }
}

/// Numbers with which answers begin, and how far behind them acknowledgements are: right, just wrong, and far off.
const SEQUENCES: [u32; 6] = [0, 1, 0x7fff_ffff, 0xc0de_0000, u32::MAX - 3, u32::MAX];
const BEHIND: [u32; 8] = [0, 1, 2, 1_024, 1_025, 1_026, 0x8000_0000, u32::MAX];

/// One thing that happens to one of two sources after a while, and whether a tick comes then.
fn happenings() -> impl Strategy<Value = Vec<(u64, u8, Happened, bool)>> {
    let after =
        prop_oneof![40 => 0..SECOND / 20, 4 => 0..SECOND, 1 => 0..12 * SECOND, 1 => 50 * SECOND..80 * SECOND];
    let ports = (0..3_u16, 0..2_u16);
    let sequence = prop::sample::select(&SEQUENCES[..]);
    let number =
        (sequence.clone(), prop::sample::select(&BEHIND[..])).prop_map(|(n, behind)| n.wrapping_add(behind));
    let happened = prop_oneof![
        6 => (0..6_u16).prop_map(Happened::Asked),
        4 => (sequence, ports.clone()).prop_map(|(sequence, ports)| Happened::Answered(sequence, ports)),
        6 => (number, ports).prop_map(|(number, ports)| Happened::Acknowledged(number, ports)),
    ];
    prop::collection::vec((after, 0..2_u8, happened, prop::bool::weighted(0.3)), 1..200)
}

/// Lets a detector see all of it, and compares the grades of its scans and of its sources by each rule.
fn grades_are_exact(happenings: &[(u64, u8, Happened, bool)], policy: &Policy) {
    let limits =
        Limits { memory_bytes: 12 << 20, hold_nanos: 3_600 * SECOND, min_ports: 2, ..Limits::default() };
    let mut detector = Detector::new(policy.clone(), limits, 7, Origin::Live);
    let rules: Vec<Rule> = [policy.first_rule()].into_iter().chain(policy.slower.iter().copied()).collect();
    // By a slower rule only a scan shows.
    let known = |rule: &Rule| {
        let least = if rule.window_nanos == policy.window_nanos { 2 } else { rule.threshold() };
        Handshakes::new(WINDOW, rule.threshold() as usize, least as usize)
    };
    let mut oracles: Vec<[Handshakes; 2]> = rules.iter().map(|rule| [known(rule), known(rule)]).collect();
    let mut now = START;
    for &(after, of, happened, ticks) in happenings {
        now += after;
        let probe = |port, reply| Probe {
            time: Timestamp(now),
            source: address(of),
            host: Ipv4Addr::new(192, 0, 2, 10).into(),
            port,
            technique: Technique::Syn,
            tool: Default::default(),
            signature: Default::default(),
            reply,
        };
        let probe = match happened {
            Happened::Asked(port) => probe(port, None),
            Happened::Answered(sequence, (port, to)) => probe(port, Some(Reply::Answered { sequence, to })),
            Happened::Acknowledged(number, (port, from)) => {
                probe(port, Some(Reply::Acknowledged { number, from }))
            }
        };
        for (rule, oracles) in rules.iter().zip(&mut oracles) {
            oracles[usize::from(of)].happens(now / rule.window_nanos.div_ceil(WINDOW), happened);
        }
        detector.observe(&[probe], &mut |_| {});
        if ticks {
            detector.advance(Timestamp(now), &mut |_| {});
        }
        let asked = |source: Source| usize::from(source.address == address(1));
        let snapshot = detector.snapshot();
        for (shown, oracles) in snapshot.rules().zip(&oracles) {
            for source in &shown.sources {
                assert_eq!(source.evidence, oracles[asked(source.source)].grades().1, "{}", source.source);
            }
        }
        for scan in detector.open_scans() {
            let rule = rules.iter().position(|rule| rule.window_nanos == scan.window_nanos).unwrap();
            assert_eq!(scan.evidence, oracles[rule][asked(scan.source)].grades().0, "{}", scan.source);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Sources without a scan, whose runs of probes end; and scans that do not end.
    #[test]
    fn who_acknowledges_our_number_is_there_and_nobody_else(happenings in happenings()) {
        let policy = |threshold, slower| Policy {
            threshold,
            quiet_nanos: 86_400 * SECOND,
            replies: true,
            slower,
            ..Policy::default()
        };
        grades_are_exact(&happenings, &policy(1_000, Vec::new()));
        grades_are_exact(&happenings, &policy(2, Vec::new()));
        grades_are_exact(&happenings, &policy(1_000, vec![Rule::of_ports(3, 60 * SECOND, 86_400 * SECOND)]));
    }

    /// Without replies nothing is proved.
    #[test]
    fn without_replies_everybody_can_be_forged(happenings in happenings()) {
        let mut detector = Detector::new(Policy { threshold: 2, ..Policy::default() }, Limits { memory_bytes: 12 << 20, ..Limits::default() }, 7, Origin::Live);
        for (n, (_, of, happened, _)) in happenings.into_iter().enumerate() {
            if let Happened::Asked(port) = happened {
                let probe = Probe {
                    time: Timestamp(START + n as u64),
                    source: address(of),
                    host: Ipv4Addr::new(192, 0, 2, 10).into(),
                    port,
                    technique: Technique::Syn,
                    tool: Default::default(),
                    signature: Default::default(),
                    reply: None,
                };
                detector.observe(&[probe], &mut |event| assert_eq!(event.scan.evidence, Grade::Spoofable));
            }
        }
    }
}

/// A sweep tells of its source whether that is at its address, a network that hops whether one of its own is, and which ports answered.
#[test]
fn a_sweep_and_a_network_that_hops_can_prove_themselves() {
    let rules = [Rule::SWEEP, Rule::HOP];
    for (rule, proves) in rules.into_iter().flat_map(|rule| [(rule, true), (rule, false)]) {
        let policy = Policy { replies: true, slower: vec![rule], ..Policy::default() };
        let mut detector =
            Detector::new(policy, Limits { memory_bytes: 12 << 20, ..Limits::default() }, 7, Origin::Live);
        let mut scans = Vec::new();
        for n in 1..=80_u16 {
            let (source, host, port): (IpAddr, IpAddr, u16) = match rule.counts_peers() {
                true => (address(1), Ipv4Addr::new(192, 0, 2, n as u8).into(), 443),
                false => {
                    (format!("2001:db8:51:{n:x}::7").parse().unwrap(), "2001:db8::10".parse().unwrap(), n)
                }
            };
            let wrong = if proves { 0 } else { 5_000 };
            for reply in [
                None,
                Some(Reply::Answered { sequence: u32::from(n), to: 40_000 }),
                Some(Reply::Acknowledged { number: u32::from(n) + 1 + wrong, from: 40_000 }),
            ] {
                let (time, technique) = (Timestamp(START + u64::from(n) * SECOND), Technique::Syn);
                let probe = Probe {
                    time,
                    source,
                    host,
                    port,
                    technique,
                    tool: Default::default(),
                    signature: Default::default(),
                    reply,
                };
                detector.observe(&[probe], &mut |event| scans.push(event.scan));
            }
        }
        let [hit] = scans[..] else { panic!("{scans:?}") };
        assert_eq!(hit.evidence == Grade::Handshake, proves, "{hit:?}");
        let answered = hit.replies.map(|replies| replies.answered_count);
        assert_eq!(answered, (!rule.counts_peers()).then_some(59), "all but the one of the hit");
    }
}
