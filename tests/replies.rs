//! Which ports answered, and how many did not although they had time to: exact, against an oracle that looks at every port at the start
//! of every quantum.
#![allow(clippy::unwrap_used, reason = "a test says why it failed by failing")]

use portscan_exporter::detect::{
    Detector, Limits, Origin, Policy, PortRanges, Probe, Reply, Rule, Snapshot, Source, Technique,
};
use portscan_exporter::packet::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND;
/// Of a window of 10 s: a sixtieth, rounded up.
const QUANTUM: u64 = (10 * SECOND).div_ceil(60);
/// Quanta for which a port counts.
const WINDOW: u64 = 60;
/// Quanta that it has to answer.
const PATIENCE: u64 = 6;

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
        6 => Just(What::Reply(Reply::Answered)),
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

/// All that is known of one source.
#[derive(Default)]
struct Known {
    ports: BTreeMap<u16, Port>,
    quantum: u64,
    is_open: bool,
    answered: u32,
    unanswered: u32,
}

impl Known {
    /// Quantum by quantum.
    fn pass(&mut self, to: u64) {
        for next in self.quantum + 1..=to.min(self.quantum + 2 * WINDOW) {
            let of = |port: &Port, at: u64| at - port.last;
            let counted: Vec<_> = self.ports.values().filter(|port| of(port, next - 1) <= WINDOW).collect();
            if counted.len() >= 2 {
                let answered = counted.iter().filter(|port| port.reply == Some(Reply::Answered)).count();
                self.answered = self.answered.max(answered as u32);
            }
            let is_due = |port: &&Port| {
                (PATIENCE..=WINDOW).contains(&of(port, next)) && port.reply != Some(Reply::Answered)
            };
            self.unanswered = self.unanswered.max(self.ports.values().filter(is_due).count() as u32);
            if !self.is_open {
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
        self.is_open |= self.counted() >= threshold as usize;
    }

    fn reply(&mut self, port: u16, reply: Reply) {
        if let Some(known) = self.ports.get_mut(&port)
            && known.reply != Some(Reply::Answered)
        {
            known.reply = Some(reply);
        }
    }

    fn ranges(&self, reply: Option<Reply>) -> PortRanges {
        PortRanges::of(self.ports.iter().filter(|(_, port)| port.reply == reply).map(|(port, _)| *port))
    }

    /// As it is shown: what is below 2 is nothing.
    fn shown(&self) -> (Option<u32>, Option<u32>) {
        let now = self
            .ports
            .values()
            .filter(|port| self.quantum - port.last <= WINDOW && port.reply == Some(Reply::Answered));
        let now = if self.counted() >= 2 { now.count() as u32 } else { 0 };
        (Some(self.answered.max(now)), Some(if self.unanswered < 2 { 0 } else { self.unanswered }))
    }
}

fn shown(rule: &Snapshot) -> BTreeMap<Source, (Option<u32>, Option<u32>)> {
    rule.sources.iter().map(|it| (it.source, (it.answered_ports, it.peak_unanswered_ports))).collect()
}

/// Lets a detector see all of it, and compares what it shows at each tick and at the end.
fn is_exact(steps: &[Step], policy: &Policy) {
    let limits =
        Limits { memory_bytes: 12 << 20, hold_nanos: 3_600 * SECOND, min_ports: 2, ..Limits::default() };
    let mut detector = Detector::new(policy.clone(), limits, 7, Origin::Live);
    let mut known: BTreeMap<u8, Known> = BTreeMap::new();
    let mut now = START;
    let mut events = Vec::new();
    let end = Step { after: 0, source: 0, first: 0, len: 0, what: What::Tick };
    for step in steps.iter().chain([&end]) {
        now += step.after;
        let quantum = now / QUANTUM;
        let of = known.entry(step.source).or_default();
        if of.quantum == 0 {
            of.quantum = quantum;
        }
        of.pass(quantum);
        let probe = |port, reply| Probe {
            time: Timestamp(now),
            source: address(step.source),
            host: Ipv4Addr::new(192, 0, 2, 10).into(),
            port,
            technique: Technique::Syn,
            tool: Default::default(),
            reply,
        };
        for port in step.first..step.first + step.len {
            match step.what {
                What::Ask => {
                    of.ask(port, policy.threshold);
                    detector.observe(&[probe(port, None)], &mut |event| events.push(event));
                }
                What::Reply(reply) => {
                    of.reply(port, reply);
                    detector.observe(&[probe(port, Some(reply))], &mut |event| events.push(event));
                }
                What::Tick => {}
            }
        }
        if matches!(step.what, What::Tick) {
            detector.advance(Timestamp(now), &mut |event| events.push(event));
            known.values_mut().for_each(|of| of.pass(quantum));
            for (source, told) in shown(&detector.snapshot()) {
                let of = known.iter().find(|(n, _)| address(**n) == source.address).unwrap().1;
                assert_eq!(told, of.shown(), "{source}");
            }
            for scan in detector.open_scans() {
                let of = known.iter().find(|(n, _)| address(**n) == scan.source.address).unwrap().1;
                let replies = scan.replies.expect("replies are looked for");
                assert_eq!(replies.answered, of.ranges(Some(Reply::Answered)));
                assert_eq!(replies.refused, of.ranges(Some(Reply::Refused)));
                assert_eq!(replies.silent, of.ranges(None));
                let count = |reply| of.ports.values().filter(|port| port.reply == Some(reply)).count() as u32;
                let told = (replies.answered_count, replies.refused_count);
                assert_eq!(told, (count(Reply::Answered), count(Reply::Refused)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Ports leave the window and are forgotten.
    #[test]
    fn without_a_scan(steps in steps()) {
        is_exact(&steps, &Policy { threshold: 1_000, replies: true, ..Policy::default() });
        // With short lists as the default rule has them.
        is_exact(&steps, &Policy { threshold: 300, replies: true, ..Policy::default() });
    }

    /// Ports are kept as long as the scan is open, and answers with them.
    #[test]
    fn while_a_scan_is_open(steps in steps(), threshold in 2..40_u32) {
        let quiet_nanos = 86_400 * SECOND;
        is_exact(&steps, &Policy { threshold, quiet_nanos, replies: true, ..Policy::default() });
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
                    let probe = Probe { time: Timestamp(now), source, host, port, technique, tool: Default::default(), reply };
                    detector.observe(&[probe], &mut |event| events.push(event));
                }
                detector.advance(Timestamp(now), &mut |event| events.push(event));
            }
            let plain = |mut rule: Snapshot| {
                for source in &mut rule.sources {
                    (source.answered_ports, source.peak_unanswered_ports) = (None, None);
                }
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
