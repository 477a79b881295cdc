//! Who stands out of a storm, and so has records of his own.
//!
//! The adversary forges scanners that look like him, to be one of many. What he forges them for he does himself: he asks for more ports
//! than they do, or more hosts, for longer, has answers, or scans in another way. Those of whom no other of the storm does half as much
//! in all of this are told apart from it. The others are a sample of all, drawn by chance: to cover a scan it takes as much as it sent
//! from one of twenty in the storm. Who has decoys do all that he does (`nmap -D`) is one of them, and nobody can tell.
//!
//! Who forges a thousand scanners, each unlike all others, has no more records by it than `TOLD` every `WAIT`; chance decides whose.

use crate::detect::{EventKind, Kind, Scan, ScanEvent, ScanId, Source, Technique, Tool};
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// Sources of a storm that are drawn: it names them, and others are compared with them.
pub(super) const DRAWN: usize = 64;
/// Scans that wait for how others do. More than are told by far; a scan takes a kilobyte.
const WAITING: usize = 64;
/// How long they wait: scans of one moment end at about the same time.
const WAIT: Duration = Duration::from_secs(30);
/// Scans that are told apart at once.
pub(super) const TOLD: usize = 8;
/// Scans whose further records are their own as well. A scan that goes on when as many came after it is one of the storm again.
const FOLLOWED: usize = 64;
/// Scans that last no longer than this are short, whether they take a millisecond or ten.
const SHORT_NANOS: u64 = 10_000_000_000;

/// What a scan comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Worth {
    kind: Kind,
    technique: Technique,
    tool: Tool,
    ports: u32,
    hosts: u32,
    answered: u32,
    lasted_nanos: u64,
}

impl Worth {
    pub(super) fn of(scan: &Scan) -> Self {
        Self {
            kind: scan.kind,
            technique: scan.technique,
            tool: scan.tool,
            ports: scan.distinct_ports,
            hosts: scan.distinct_hosts,
            answered: scan.replies.map_or(0, |replies| replies.answered_count),
            lasted_nanos: scan.last_probe.nanos_since(scan.started),
        }
    }

    /// Whether it is of another's kind, and comes to half as much or more in all.
    fn covers(&self, other: &Self) -> bool {
        let half = |own: u32, its: u32| u64::from(own) * 2 >= its.into();
        (self.kind, self.technique, self.tool) == (other.kind, other.technique, other.tool)
            && half(self.ports, other.ports)
            && half(self.hosts, other.hosts)
            && half(self.answered, other.answered)
            && self.lasted_nanos.max(SHORT_NANOS).saturating_mul(2) >= other.lasted_nanos
    }
}

/// A scan that waits for how others do.
#[derive(Debug)]
struct Waiting {
    /// Chance.
    order: u64,
    event: ScanEvent,
}

/// Some sources of a storm, each once, drawn by chance (nobody knows whom another takes the place of), and those that stand out.
#[derive(Debug)]
pub(super) struct Outstanding {
    hasher: RandomState,
    /// Those whose hashes are smallest, by these, and what they came to by their latest records.
    drawn: Vec<(u64, Source, Worth)>,
    waiting: Vec<Waiting>,
    /// When the first of them came.
    since: Option<Instant>,
    told: VecDeque<ScanId>,
}

/// What became of those that waited.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// They have records of their own.
    pub(super) told: Vec<ScanEvent>,
    /// The storm's record stands for them.
    pub(super) folded: Vec<ScanEvent>,
    /// How many of these stood out, too.
    pub(super) left_out: u64,
}

impl Outstanding {
    pub(super) fn new(hasher: &RandomState) -> Self {
        Self {
            hasher: hasher.clone(),
            drawn: Vec::with_capacity(DRAWN + 1),
            waiting: Vec::new(),
            since: None,
            told: VecDeque::new(),
        }
    }

    /// One more source.
    pub(super) fn draw(&mut self, source: Source, worth: Worth) {
        let hash = self.hasher.hash_one(source);
        match self.place(hash, source) {
            Ok(at) => self.drawn[at].2 = worth,
            Err(at) if at < DRAWN => {
                self.drawn.insert(at, (hash, source, worth));
                self.drawn.truncate(DRAWN);
            }
            Err(_) => {}
        }
    }

    /// What a source came to by now, if it is one of those that are drawn.
    pub(super) fn update(&mut self, source: Source, worth: Worth) {
        if let Ok(at) = self.place(self.hasher.hash_one(source), source) {
            self.drawn[at].2 = worth;
        }
    }

    fn place(&self, hash: u64, source: Source) -> Result<usize, usize> {
        self.drawn.binary_search_by_key(&(hash, source), |&(hash, source, _)| (hash, source))
    }

    /// How many are drawn: each source, as long as they are few.
    pub(super) fn count(&self) -> usize {
        self.drawn.len()
    }

    /// Those that are drawn, in order.
    pub(super) fn drawn(&self) -> Vec<Source> {
        let mut drawn: Vec<Source> = self.drawn.iter().map(|&(_, source, _)| source).collect();
        drawn.sort_unstable();
        drawn
    }

    /// Whether no other that is drawn comes to half as much.
    fn stands_out(&self, scan: &Scan) -> bool {
        let worth = Worth::of(scan);
        !self.drawn.iter().any(|(_, source, other)| *source != scan.source && other.covers(&worth))
    }

    /// Whether it has records of its own by now.
    pub(super) fn is_told(&mut self, event: &ScanEvent) -> bool {
        let at = self.told.iter().position(|told| *told == event.scan.id);
        if let (Some(at), EventKind::Ended) = (at, event.kind) {
            self.told.remove(at);
        }
        at.is_some()
    }

    /// Takes in what happened to a scan. Of one that stands out it waits for how the others do; returned is what the storm's record
    /// stands for: this, or what waited for longer or by less chance.
    pub(super) fn put(&mut self, event: &ScanEvent, now: Instant) -> Option<ScanEvent> {
        if !self.stands_out(&event.scan) {
            return Some(*event);
        }
        if let Some(before) = self.waiting.iter_mut().find(|it| it.event.scan.id == event.scan.id) {
            return Some(std::mem::replace(&mut before.event, *event));
        }
        self.since.get_or_insert(now);
        self.waiting.push(Waiting { order: self.hasher.hash_one(event.scan.id), event: *event });
        (self.waiting.len() > WAITING).then(|| self.give_up())
    }

    /// Gives up one that does not stand out any more, or whom chance decides on.
    fn give_up(&mut self) -> ScanEvent {
        let orders = self.waiting.iter().map(|it| (self.stands_out(&it.event.scan), it.order));
        let last = orders.enumerate().max_by_key(|(_, (stands_out, order))| (!stands_out, *order));
        self.waiting.swap_remove(last.map_or(0, |(at, _)| at)).event
    }

    /// When those that wait are settled, if the storm goes on.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.since.map(|since| since + WAIT)
    }

    /// Settles what becomes of those that wait.
    pub(super) fn settle(&mut self) -> Settled {
        self.since = None;
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_unstable_by_key(|it| it.order);
        let mut settled = Settled::default();
        for Waiting { event, .. } in waiting {
            let stands_out = self.stands_out(&event.scan);
            if stands_out && settled.told.len() < TOLD {
                if event.kind != EventKind::Ended {
                    self.follow(event.scan.id);
                }
                settled.told.push(event);
            } else {
                settled.left_out += u64::from(stands_out);
                settled.folded.push(event);
            }
        }
        settled
    }

    /// What further happens to a scan has records of its own.
    fn follow(&mut self, id: ScanId) {
        if self.told.len() == FOLLOWED {
            self.told.pop_front();
        }
        self.told.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Replies;
    use crate::fixture::scan::{after, scan};
    use crate::system::clock;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A scan by the source of this number, which ended: sixty ports, none of which answered.
    fn ended(number: u32) -> ScanEvent {
        let source = std::net::Ipv4Addr::from_bits(0xc633_6400 + number).to_string();
        let scan = scan(&source, "192.0.2.10:22");
        let ended = Some(after(70_000));
        ScanEvent {
            kind: EventKind::Ended,
            scan: Scan { id: ScanId(number.into()), distinct_ports: 60, ended, ..scan },
        }
    }

    fn by(number: u32, change: impl FnOnce(&mut Scan)) -> ScanEvent {
        let mut event = ended(number);
        change(&mut event.scan);
        event
    }

    fn answered(count: u32) -> Option<Replies> {
        Some(Replies { answered_count: count, ..Replies::default() })
    }

    /// The scans of a storm, and how many records it stands for.
    struct World {
        outstanding: Outstanding,
        folded: Vec<ScanEvent>,
    }

    impl World {
        fn of(number: u32) -> Self {
            let mut world = Self { outstanding: Outstanding::new(&RandomState::new()), folded: Vec::new() };
            (0..number).for_each(|number| world.put(&ended(number)));
            world
        }

        fn put(&mut self, event: &ScanEvent) {
            self.outstanding.draw(event.scan.source, Worth::of(&event.scan));
            self.folded.extend(self.outstanding.put(event, clock::steady()));
        }

        /// The numbers of those that are told apart, in order, and how many were left out.
        fn settle(&mut self) -> (Vec<u64>, u64) {
            let settled = self.outstanding.settle();
            self.folded.extend(settled.folded);
            let mut told: Vec<u64> = settled.told.iter().map(|event| event.scan.id.0).collect();
            told.sort_unstable();
            (told, settled.left_out)
        }
    }

    /// The adversary hides among fifteen hundred scanners that he forges: whatever he does more than they do, it tells him apart.
    #[test]
    fn who_does_more_than_the_storm_stands_out() {
        type Change = (&'static str, fn(&mut Scan));
        let more: [Change; 8] = [
            ("ports", |scan| scan.distinct_ports = 121),
            ("an answer", |scan| scan.replies = answered(1)),
            ("hosts", |scan| scan.distinct_hosts = 3),
            ("time", |scan| scan.last_probe = after(20_001)),
            ("tool", |scan| scan.tool = Tool::Nmap),
            ("technique", |scan| scan.technique = Technique::Udp),
            ("kind", |scan| scan.kind = Kind::Block),
            ("ports, and less time", |scan| (scan.distinct_ports, scan.last_probe) = (121, after(1))),
        ];
        for (what, change) in more {
            for at in [0, 700, 1_500] {
                let mut world = World::of(at);
                world.put(&by(9_999, change));
                (at..1_500).for_each(|number| world.put(&ended(number)));
                assert_eq!(world.settle(), (vec![9_999], 0), "{what} at {at}");
                assert_eq!(world.folded.len(), 1_500);
            }
        }
        // No more than chance may bring about.
        let like: [Change; 4] = [
            ("ports", |scan| scan.distinct_ports = 120),
            ("less", |scan| scan.distinct_ports = 20),
            ("time", |scan| scan.last_probe = after(20_000)),
            ("hosts", |scan| scan.distinct_hosts = 2),
        ];
        for (what, change) in like {
            let mut world = World::of(1_500);
            world.put(&by(9_999, change));
            assert_eq!(world.settle(), (vec![], 0), "{what}");
        }
    }

    /// What he does more than some, and in another way more than others, he does more than anybody.
    #[test]
    fn it_takes_all_of_it_from_one_to_cover_a_scan() {
        let mut world = World::of(0);
        for number in 0..1_500 {
            world.put(&by(number, |scan| match number % 2 {
                0 => scan.distinct_ports = 1_000,
                _ => scan.replies = answered(3),
            }));
        }
        world.put(&by(9_999, |scan| (scan.distinct_ports, scan.replies) = (1_000, answered(3))));
        assert_eq!(world.settle(), (vec![9_999], 0));
    }

    /// Its records are its own from then on, up to its end.
    #[test]
    fn what_further_happens_to_one_that_is_told_apart_is_told() {
        let mut world = World::of(100);
        let grown = ScanEvent { kind: EventKind::Grown, ..by(9_999, |scan| scan.distinct_ports = 200) };
        world.put(&grown);
        assert!(!world.outstanding.is_told(&grown));
        assert_eq!(world.settle(), (vec![9_999], 0));
        let end = by(9_999, |_| {});
        let told = [&grown, &end, &end].map(|event| world.outstanding.is_told(event));
        assert_eq!(told, [true, true, false]);
    }

    /// The adversary forges a thousand scanners, each of which does more than any other in one way and less in another: every one of them
    /// stands out, and each has the same chance of few records. Nothing grows, nothing is lost from the account.
    #[test]
    fn who_forges_many_that_stand_out_has_no_more_records_and_chance_decides_whose() {
        let unlike = |number: u32| {
            by(number, |scan| {
                let [ports, hosts] = [number % 8, number / 8 % 8];
                // The more of two the less of the third: nobody does half as much as another in all.
                scan.distinct_ports = 20 << (2 * ports);
                scan.distinct_hosts = 1 << (2 * hosts);
                scan.replies = answered(1 << (2 * (14 - ports - hosts)));
                scan.tool = Tool::ALL[number as usize / 64 % 4];
                scan.kind = Kind::ALL[number as usize / 256];
            })
        };
        let mut early = 0;
        for _ in 0..100 {
            let mut world = World::of(0);
            (0..1_000).for_each(|number| world.put(&unlike(number)));
            assert!(world.outstanding.waiting.len() <= WAITING);
            let (told, left_out) = world.settle();
            assert_eq!((told.len(), left_out), (TOLD, (WAITING - TOLD) as u64));
            assert_eq!(told.len() + world.folded.len(), 1_000);
            early += told.iter().filter(|number| **number < 500).count();
        }
        // Half of 800, within six standard deviations.
        assert!((315..=485).contains(&early), "{early}");
        for number in 0..10_000 {
            let mut outstanding = Outstanding::new(&RandomState::new());
            outstanding.follow(ScanId(number));
            assert!(outstanding.told.len() <= FOLLOWED);
        }
    }

    #[derive(Debug, Clone)]
    struct Did {
        ports: u32,
        hosts: u32,
        answered: u32,
        seconds: u64,
        tool: usize,
        /// Whether it has a record when it has grown, too.
        grew: bool,
    }

    fn did() -> impl Strategy<Value = Did> {
        let ports = prop_oneof![4 => Just(60_u32), 1 => 20..2_000_u32];
        let hosts = prop_oneof![4 => Just(1_u32), 1 => 1..9_u32];
        let answered = prop_oneof![4 => Just(0_u32), 1 => 0..9_u32];
        let seconds = prop_oneof![4 => Just(1_u64), 1 => 0..90_u64];
        let tool = prop_oneof![9 => Just(0_usize), 1 => 0..3_usize];
        (ports, hosts, answered, seconds, tool, any::<bool>()).prop_map(
            |(ports, hosts, answered, seconds, tool, grew)| Did {
                ports,
                hosts,
                answered,
                seconds,
                tool,
                grew,
            },
        )
    }

    /// Slow and obvious: those of whom no other did half as much.
    fn oracle(storm: &[Did]) -> BTreeSet<u64> {
        let half = |own: u64, its: u64| own as f64 >= its as f64 / 2.0;
        let is_covered = |at: usize| {
            let it = &storm[at];
            storm.iter().enumerate().any(|(other, by)| {
                other != at
                    && by.tool == it.tool
                    && half(by.ports.into(), it.ports.into())
                    && half(by.hosts.into(), it.hosts.into())
                    && half(by.answered.into(), it.answered.into())
                    && (it.seconds <= 20 || half(by.seconds, it.seconds))
            })
        };
        (0..storm.len()).filter(|at| !is_covered(*at)).map(|at| at as u64).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// Of a storm all of which are drawn, those are told apart that the oracle tells apart, in whichever order they end.
        #[test]
        fn those_stand_out_that_the_oracle_names(
            storm in proptest::collection::vec(did(), 2..=DRAWN),
            order in proptest::collection::vec(any::<u32>(), DRAWN),
        ) {
            let mut ends: Vec<usize> = (0..storm.len()).collect();
            ends.sort_by_key(|at| order[*at]);
            let mut world = World::of(0);
            let mut records = 0;
            for at in ends {
                let Did { ports, hosts, answered: count, seconds, tool, grew } = storm[at];
                let end = by(at as u32, |scan| {
                    (scan.distinct_ports, scan.distinct_hosts) = (ports, hosts);
                    (scan.replies, scan.tool) = (answered(count), Tool::ALL[tool]);
                    scan.last_probe = after(seconds * 1_000);
                });
                if grew {
                    let before = Scan { distinct_ports: ports.div_ceil(10).max(20), ended: None, ..end.scan };
                    world.put(&ScanEvent { kind: EventKind::Grown, scan: before });
                    records += 1;
                }
                world.put(&end);
                records += 1;
            }
            let (expected, (told, left_out)) = (oracle(&storm), world.settle());
            prop_assert_eq!(told.len() as u64 + left_out, expected.len() as u64);
            prop_assert_eq!(told.len(), expected.len().min(TOLD));
            prop_assert!(told.iter().all(|at| expected.contains(at)), "{:?} of {:?}", told, expected);
            prop_assert_eq!(told.len() + world.folded.len(), records, "each is on an account");
        }
    }
}
