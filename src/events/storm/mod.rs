//! Storms: scans of many sources that hit at about the same time and look alike have one record together, not hundreds.
//!
//! Who forges addresses (decoys of `nmap -D`, noise to hide in) has one machine that sends: its packets go to the same target, with the
//! same hops left, TCP window and order of ports, or several of these. The more of them hits share, the fewer it takes to call them a
//! storm; those before had records of their own. Three are enough if they asked a host for the same ports, the same first (`few`).
//! Scanners of one network ask in an order of their own each; of three who begin at port 1 within 10 s, nobody can tell that they are not
//! one, and a record names them together.
//!
//! Three adversaries. Who forges a storm to hide a real scanner in it cannot fold away a scan whose source completed a handshake: it
//! always has a record of its own. Nor one that does more than those around it (`outstanding`). Who only asks, and does what the storm
//! around it does, can be one of its decoys and can be the one who
//! reads the answers, and nobody can tell: it is folded, and its address is found as before by its series, among the recent scans, and
//! in the sample of the storm. Three forged addresses hide him no better: a storm of few names each source, and takes in
//! nobody who did not ask for the ports that they asked for. Who varies what the packets have in common has more storms, or none; the
//! flood limit takes those.

mod few;
mod life;
mod look;
mod outstanding;

use self::few::Few;
use self::life::Life;
pub(super) use self::life::Report;
pub(super) use self::look::Feature;
use self::look::{Features, Look, Sighting};
use self::outstanding::{Outstanding, Settled};
use crate::detect::{
    Class, EventKind, Grade, Kind, PortRanges, Scan, ScanEvent, ScanId, Source, Technique, Tool,
};
use crate::events::flood::Withheld;
use crate::packet::Timestamp;
use std::collections::VecDeque;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A hit that comes later than this after the latest is of another storm. As long as the quiet that ends a scan.
const QUIET_NANOS: u64 = 60_000_000_000;
/// Hits with records of their own that the next is compared with. More than it takes for any storm.
const COMPARED: usize = 64;
/// Storms that are kept, also those that are over: their scans may end later. A hit that would begin one more has its own record.
const STORMS: usize = 16;
/// Of these, storms of few that go on: who forges them has to leave room for those of many.
const OF_FEW: usize = STORMS / 2;
/// A storm whose scans have all ended is over when no source came for this long.
const CALM: Duration = Duration::from_secs(10);
/// And in any case after as long without an event: ends can be lost. A slow scan may have none for hours.
const FORGOTTEN: Duration = Duration::from_secs(86_400);
/// One without an event for as long is given up where there is no place for another.
const IDLE: Duration = Duration::from_secs(3_600);

/// One storm.
#[derive(Debug)]
pub(super) struct Storm {
    /// That of the scan by which it was recognised.
    pub(super) id: ScanId,
    pub(super) interface: Arc<str>,
    class: Class,
    /// The window of the rule.
    pub(super) window_nanos: u64,
    /// If it is that of all.
    pub(super) kind: Option<Kind>,
    pub(super) technique: Technique,
    pub(super) tool: Tool,
    /// The ports that the same scan asked for up to its hit.
    pub(super) asked: PortRanges,
    /// Its look, of which `common` is what they have in common.
    pub(super) look: Look,
    pub(super) common: Features,
    first_ports: Option<PortRanges>,
    few: Few,
    /// The first hit, the first that is folded (or that made it a storm of many), and the latest.
    pub(super) began: Timestamp,
    since: Timestamp,
    pub(super) latest: Timestamp,
    /// Hits: a source whose scan ended and began again is two.
    pub(super) sources: u64,
    /// How many of them have each feature as `look` has it.
    pub(super) same: [u64; Feature::ALL.len()],
    outstanding: Outstanding,
    /// Scans that stood out and have no records of their own, since its latest record.
    pub(super) left_out: u64,
    /// Since its latest record.
    withheld: Withheld,
    /// Folded scans that are open.
    open: u64,
    reported: u64,
    life: Life,
    /// When its latest hit came, and its latest event.
    hit_at: Instant,
    touched: Instant,
    /// Whether its place is needed.
    is_given_up: bool,
}

impl Storm {
    /// The storm that a hit makes, of nobody yet.
    fn new(scan: &Scan, hit: &Sighting, common: Features, outstanding: Outstanding, now: Instant) -> Self {
        Self {
            id: scan.id,
            interface: Arc::clone(&hit.interface),
            class: hit.class,
            window_nanos: hit.window_nanos,
            kind: Some(scan.kind),
            technique: scan.technique,
            tool: scan.tool,
            asked: scan.asked,
            look: hit.look,
            common,
            first_ports: hit.first_ports,
            few: Few::new(common.has(Feature::FirstPorts)),
            began: hit.detected,
            since: hit.detected,
            latest: hit.detected,
            sources: 0,
            same: [0; Feature::ALL.len()],
            outstanding,
            left_out: 0,
            withheld: Withheld::default(),
            open: 0,
            reported: 0,
            life: Life::Begins,
            hit_at: now,
            touched: now,
            is_given_up: false,
        }
    }

    /// Counts a source.
    fn count(&mut self, hit: &Sighting) {
        let shared = self.shared(hit);
        for (same, feature) in self.same.iter_mut().zip(Feature::ALL) {
            *same += u64::from(shared.has(feature));
        }
        self.sources += 1;
        self.began = self.began.min(hit.detected);
        self.latest = self.latest.max(hit.detected);
        self.kind = self.kind.filter(|kind| *kind == hit.kind);
        self.outstanding.draw(hit.source, hit.worth);
    }

    /// What a hit has in common with the one by which it was recognised.
    fn shared(&self, hit: &Sighting) -> Features {
        hit.look.shared(&self.look).and_ports(hit.first_ports.as_ref(), self.first_ports.as_ref())
    }

    /// Whether a scan looks like those of the storm: it may lack one of the things that they have in common, if two are left and the
    /// target is one of them, or if three are. (On the way some packets take another hop, or are lost.)
    fn is_like(&self, look: &Look) -> bool {
        let common = self.common.of_look();
        let shared = look.shared(&self.look).and(common);
        let may_lack_one = shared.count() >= if shared.has(Feature::Target) { 2 } else { 3 };
        shared == common || may_lack_one && shared.count() + 1 == common.count()
    }

    /// Whether an event is one of the storm's: a hit that comes while it goes on, or what becomes of a scan that did.
    fn holds(&self, it: &Sighting, event: &ScanEvent) -> bool {
        let until = match (event.kind, self.life) {
            (EventKind::Hit, Life::Over) => return false,
            (EventKind::Hit, _) => self.latest.saturating_add(QUIET_NANOS),
            _ => self.latest,
        };
        let is_in_time = (self.since..=until).contains(&it.detected);
        let is_here =
            self.interface == it.interface && (self.class, self.window_nanos) == (it.class, it.window_nanos);
        is_here
            && match event.kind {
                EventKind::Hit if self.few.goes_on() => {
                    is_in_time && event.scan.evidence != Grade::Handshake && self.shared(it).have(self.common)
                }
                EventKind::Hit => is_in_time && self.is_like(&it.look),
                _ if self.few.has(event.scan.id) => true,
                _ => is_in_time && !self.few.goes_on() && self.is_like(&it.look),
            }
    }

    /// Takes in an event that it holds.
    fn fold(&mut self, event: &ScanEvent, it: &Sighting, now: Instant) -> Fate {
        let is_proven = event.scan.evidence == Grade::Handshake;
        if matches!(self.life, Life::Over) {
            // No record of the storm comes that could stand for it.
            return Fate::Own;
        }
        match event.kind {
            // It has its own records, and its end is one of those that are waited for.
            EventKind::Hit if is_proven => {
                self.open += 1;
                self.latest = self.latest.max(it.detected);
                return Fate::Own;
            }
            EventKind::Hit => {
                self.count(it);
                if self.few.take(it.source, event.scan.id, self.outstanding.count()) {
                    self.since = it.detected;
                }
                self.open += 1;
                self.hit_at = now;
            }
            EventKind::Grown => {}
            EventKind::Ended => self.open = self.open.saturating_sub(1),
        }
        self.touched = now;
        self.outstanding.update(it.source, it.worth);
        if self.outstanding.is_told(event) || is_proven {
            return Fate::Own;
        }
        match self.outstanding.put(event, now) {
            Some(folded) => {
                self.withheld.add(&folded);
                Fate::Folded
            }
            None => Fate::Waits,
        }
    }

    /// When those that stand out are to be told.
    fn settles_at(&self) -> Option<Instant> {
        self.outstanding.due_at().map(|due| due.min(self.ends_at()))
    }

    /// Tells those that stand out, by its account. How many have no record of their own.
    fn settle(&mut self, tell: &mut impl FnMut(&Arc<str>, ScanEvent)) -> u64 {
        let Settled { told, folded, left_out } = self.outstanding.settle();
        told.into_iter().for_each(|event| tell(&self.interface, event));
        folded.iter().for_each(|event| self.withheld.add(event));
        self.left_out += left_out;
        folded.len() as u64
    }

    /// When it is over, if nothing more comes.
    fn ends_at(&self) -> Instant {
        match self.open {
            _ if self.is_given_up => self.touched,
            0 => self.hit_at + CALM,
            _ => self.touched + FORGOTTEN,
        }
    }

    /// When there is something to report of it, if nothing more comes.
    fn due_at(&self) -> Option<Instant> {
        match self.life {
            Life::Begins => Some(self.hit_at),
            Life::GoesOn { report, .. } if self.sources > self.reported => Some(report.min(self.ends_at())),
            Life::GoesOn { .. } => Some(self.ends_at()),
            Life::Over => None,
        }
    }

    /// Reports it: its life goes on, and its account begins anew.
    fn report(&mut self, now: Instant, is_last: bool) -> Report {
        let report = match self.life {
            Life::Begins if !is_last => Report::Began,
            Life::GoesOn { .. } if !is_last && now < self.ends_at() => Report::Grew,
            _ => Report::Ended,
        };
        self.life = self.life.after(report, now);
        self.reported = self.sources;
        report
    }

    /// Its account begins anew.
    fn clear_account(&mut self) {
        (self.withheld, self.left_out) = (Withheld::default(), 0);
    }

    /// Some of its sources, in order: all of them, if they are few.
    pub(super) fn named(&self) -> Vec<Source> {
        self.outstanding.drawn()
    }
}

/// What becomes of the record of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written.
    Own,
    /// It may be written later.
    Waits,
    /// The record of a storm stands for it, or for one that waited before.
    Folded,
}

/// The storms, and the hits that may become one. Both have room for so many; an event costs a look at each.
#[derive(Debug)]
pub(super) struct Storms {
    storms: Vec<Storm>,
    /// The latest hits that have records of their own, each source once.
    lately: VecDeque<Sighting>,
    hasher: RandomState,
}

impl Storms {
    pub(super) fn new() -> Self {
        let (storms, lately) = (Vec::with_capacity(STORMS), VecDeque::with_capacity(COMPARED));
        Self { storms, lately, hasher: RandomState::new() }
    }

    /// Takes in an event.
    pub(super) fn fold(&mut self, interface: &Arc<str>, event: &ScanEvent, now: Instant) -> Fate {
        let scan = &event.scan;
        // What is found by many sources together is one record already.
        if scan.distinct_sources > 1 {
            return Fate::Own;
        }
        let it = Sighting::of(interface, scan);
        if let Some(storm) = self.storms.iter_mut().find(|storm| storm.holds(&it, event)) {
            return storm.fold(event, &it, now);
        }
        if event.kind != EventKind::Hit || scan.evidence == Grade::Handshake {
            // Of those whose hits came before the storm was recognised it stands for nothing, but others are compared with them.
            self.storms.iter_mut().for_each(|storm| storm.outstanding.update(it.source, it.worth));
            return Fate::Own;
        }
        if let Some(mut storm) = self.recognise(scan, &it, now) {
            let folded = storm.fold(event, &it, now);
            self.storms.push(storm);
            return folded;
        }
        self.lately.retain(|lately| lately.source != it.source);
        if self.lately.len() == COMPARED {
            self.lately.pop_front();
        }
        self.lately.push_back(it);
        Fate::Own
    }

    /// The storm that a hit makes with those before it, if it does and there is a place for it.
    fn recognise(&mut self, scan: &Scan, hit: &Sighting, now: Instant) -> Option<Storm> {
        let near = |it: &&Sighting| it.source != hit.source && it.is_near(hit);
        let near: Vec<(Features, &Sighting)> =
            self.lately.iter().filter(near).map(|it| (it.shared(hit), it)).collect();
        let alike = |common: Features| near.iter().filter(move |(shared, _)| shared.have(common));
        let is_of_few = |storm: &&Storm| storm.few.goes_on() && !matches!(storm.life, Life::Over);
        let may_be_few = self.storms.iter().filter(is_of_few).count() < OF_FEW;
        let mut each = Features::each().filter(|it| may_be_few || !it.has(Feature::FirstPorts));
        let common = each.find(|it| alike(*it).count() as u32 + 1 >= it.needed())?;
        let mut storm = Storm::new(scan, hit, common, Outstanding::new(&self.hasher), now);
        alike(common).for_each(|(_, it)| storm.count(it));
        self.make_room(now).then_some(storm)
    }

    /// Gives up the storm that has been over for longest, where there is no place for another. If none is over, the one without an event
    /// for longest is to end, so that there is a place for the next.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.storms.len() < STORMS {
            return true;
        }
        let over = self.storms.iter().enumerate().filter(|(_, storm)| matches!(storm.life, Life::Over));
        let oldest = over.min_by_key(|(_, storm)| storm.touched).map(|(at, _)| at);
        if let Some(at) = oldest {
            // In their order: a scan that two storms would hold ends in the one that took its hit.
            self.storms.remove(at);
        } else if let Some(idle) = self.storms.iter_mut().min_by_key(|storm| storm.touched) {
            idle.is_given_up = idle.touched + IDLE <= now;
        }
        oldest.is_some()
    }

    /// When there is something to tell, if nothing more comes.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.storms.iter().flat_map(|storm| [storm.due_at(), storm.settles_at()]).flatten().min()
    }

    /// Tells those that stand out by now, or in any case if no more events come. How many turn out to have no record of their own.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        is_last: bool,
        mut tell: impl FnMut(&Arc<str>, ScanEvent),
    ) -> u64 {
        let is_due = |storm: &&mut Storm| is_last || storm.settles_at().is_some_and(|due| due <= now);
        self.storms.iter_mut().filter(is_due).map(|storm| storm.settle(&mut tell)).sum()
    }

    /// Writes what is to be reported by now.
    pub(super) fn report(&mut self, now: Instant, mut write: impl FnMut(Report, &Storm, Withheld)) {
        for storm in self.storms.iter_mut().filter(|storm| storm.due_at().is_some_and(|due| due <= now)) {
            let report = storm.report(now, false);
            write(report, storm, storm.withheld);
            storm.clear_account();
        }
    }

    /// No more events come: writes how each stood then.
    pub(super) fn end(&mut self, now: Instant, mut write: impl FnMut(Report, &Storm, Withheld)) {
        for storm in self.storms.iter_mut().filter(|storm| !matches!(storm.life, Life::Over)) {
            let report = storm.report(now, true);
            write(report, storm, storm.withheld);
            storm.clear_account();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::outstanding::{DRAWN, TOLD};
    use super::*;
    use crate::fixture::scan::{after, scan};
    use crate::packet::Signature;
    use crate::system::clock;
    use proptest::prelude::*;

    const ETH0: &str = "eth0";

    /// A hit of the source of this number, so many milliseconds after the start.
    fn hit(number: u32, millis: u64, target: &str, (ttl, window): (u8, u16)) -> ScanEvent {
        let source = std::net::Ipv4Addr::from_bits(0xc633_6400 + number).to_string();
        let detected = after(millis);
        let signature = Signature { ttl, window };
        let id = ScanId(number.into());
        ScanEvent {
            kind: EventKind::Hit,
            scan: Scan { id, detected, last_probe: detected, signature, ..scan(&source, target) },
        }
    }

    /// The same, as `nmap -D` sends: hops as they come, all else in common.
    fn decoy(number: u32) -> ScanEvent {
        hit(number, number.into(), "192.0.2.10:443", (37 + (number % 23) as u8, 1024))
    }

    /// The same, who asked for these ports up to the hit.
    fn asking(event: ScanEvent, ports: impl IntoIterator<Item = u16>) -> ScanEvent {
        let asked = PortRanges::of(ports);
        ScanEvent { scan: Scan { asked, distinct_ports: asked.count(), ..event.scan }, ..event }
    }

    /// One of few: decoys who ask for the same ports.
    fn one_of_few(number: u32) -> ScanEvent {
        asking(decoy(number), 440..460)
    }

    fn ended(event: ScanEvent) -> ScanEvent {
        ScanEvent { kind: EventKind::Ended, ..event }
    }

    fn proven(event: ScanEvent) -> ScanEvent {
        ScanEvent { scan: Scan { evidence: Grade::Handshake, ..event.scan }, ..event }
    }

    /// Storms, and what they reported: why, how many sources, and how many hits and ends it stands for.
    struct World {
        storms: Storms,
        now: Instant,
        told: Vec<(Report, u64, u64, u64)>,
        /// Those that stood out.
        apart: Vec<ScanEvent>,
    }

    impl World {
        fn new() -> Self {
            Self { storms: Storms::new(), now: clock::steady(), told: Vec::new(), apart: Vec::new() }
        }

        /// Whether it has no record of its own.
        fn fold(&mut self, event: &ScanEvent) -> bool {
            let fate = self.storms.fold(&ETH0.into(), event, self.now);
            self.report();
            fate != Fate::Own
        }

        fn report(&mut self) {
            self.storms.settle(self.now, false, |_, event| self.apart.push(event));
            let told = &mut self.told;
            self.storms.report(self.now, |report, storm, withheld| {
                told.push((report, storm.sources, withheld.hits, withheld.ended));
            });
            assert!(self.storms.due_at().is_none_or(|due| due > self.now));
        }

        /// Time passes; what is due is reported when it is.
        fn wait(&mut self, time: Duration) {
            let until = self.now + time;
            while let Some(due) = self.storms.due_at().filter(|due| *due <= until) {
                self.now = due;
                self.report();
            }
            self.now = until;
        }
    }

    #[test]
    fn a_scan_with_forty_decoys_is_one_storm_and_the_five_hits_before_it() {
        let mut world = World::new();
        let decoys: Vec<ScanEvent> = (0..41).map(decoy).collect();
        let own = decoys.iter().filter(|hit| !world.fold(hit)).count();
        assert_eq!((own, &*world.told), (5, &[(Report::Began, 6, 1, 0)][..]));
        world.wait(Duration::from_secs(60));
        assert_eq!(world.told[1..], [(Report::Grew, 41, 35, 0)]);
        let ends = decoys.iter().filter(|hit| !world.fold(&ended(**hit))).count();
        assert_eq!(ends, 5, "of those whose hits were told");
        world.wait(Duration::from_secs(1));
        assert_eq!(world.told[2..], [(Report::Ended, 41, 0, 36)]);
        let storm = &world.storms.storms[0];
        let common: Vec<&str> =
            Feature::ALL.into_iter().filter(|it| storm.common.has(*it)).map(Feature::label).collect();
        assert_eq!(
            (common, storm.same[0], storm.same[3]),
            (vec!["target_address", "tcp_window", "first_port"], 41, 41)
        );
        assert_eq!(storm.named().len(), 41, "all of them");
        assert_eq!(world.apart, [], "each did as much");
        // What comes later is another.
        world.wait(Duration::from_secs(3_600));
        assert_eq!(
            (world.told.len(), world.fold(&hit(7, 200_000, "192.0.2.10:443", (50, 1024)))),
            (3, false)
        );
    }

    /// Whose ends are not the storm's do not end it: each of its own is in one of its records.
    #[test]
    fn who_proved_himself_does_not_end_the_storm_of_others() {
        let mut world = World::new();
        assert_eq!((0..16).filter(|n| world.fold(&decoy(*n))).count(), 11);
        assert!((16..25).all(|n| !world.fold(&proven(decoy(n)))));
        world.wait(Duration::from_secs(60));
        assert!((16..25).all(|n| !world.fold(&ended(proven(decoy(n))))));
        for n in 5..16 {
            world.wait(Duration::from_secs(60));
            assert!(world.fold(&ended(decoy(n))), "{n}");
        }
        world.wait(Duration::from_secs(60));
        let ends: u64 = world.told.iter().map(|told| told.3).sum();
        assert_eq!((world.told.last().map(|told| told.0), ends), (Some(Report::Ended), 11));
    }

    #[test]
    fn a_scan_with_two_decoys_or_more_is_one_storm_and_the_two_hits_before_it() {
        for sources in 3..=8 {
            let mut world = World::new();
            assert_eq!((0..sources).filter(|n| !world.fold(&one_of_few(*n))).count(), 2);
            assert_eq!(world.told, [(Report::Began, 3, 1, 0)]);
            world.wait(Duration::from_secs(60));
            // By the end they asked for more.
            let end = |n| ended(asking(decoy(n), 400..500));
            assert_eq!((0..sources).filter(|n| !world.fold(&end(*n))).count(), 2);
            world.wait(Duration::from_secs(1));
            let all = u64::from(sources);
            assert_eq!(world.told.last(), Some(&(Report::Ended, all, 0, all - 2)));
            let storm = &world.storms.storms[0];
            let common: Vec<&str> =
                Feature::ALL.into_iter().filter(|it| storm.common.has(*it)).map(Feature::label).collect();
            assert_eq!(common, ["target_address", "tcp_window", "first_port", "first_ports"]);
            assert_eq!(storm.same[Feature::FirstPorts as usize], all);
            assert_eq!(storm.named().len() as u64, all, "all of them");
        }
    }

    /// Scanners of one network look alike, but for the order in which they ask.
    #[test]
    fn few_who_have_not_all_of_it_in_common_have_their_records() {
        let one = |n: u32| one_of_few(n);
        let own = |of: &dyn Fn(u32) -> ScanEvent| {
            let mut world = World::new();
            (0..5).filter(|n| !world.fold(&of(*n))).count()
        };
        assert_eq!(own(&one), 2);
        assert_eq!(own(&|n| one(n % 2)), 5, "two");
        assert_eq!(own(&|n| asking(decoy(n), (440..459).chain([1_000 + n as u16]))), 5, "other ports");
        assert_eq!(
            own(&|n| asking(hit(n, n.into(), "192.0.2.10:443", (1 + n as u8, 1 + n as u16)), 440..460)),
            5,
            "machines"
        );
        let first = |n| hit(n, n.into(), &format!("192.0.2.10:{}", 440 + n), (50, 1024));
        assert_eq!(own(&|n| asking(first(n), 440..460)), 5, "first ports");
        let target = |n| hit(n, n.into(), &format!("192.0.2.{n}:443"), (50, 1024));
        assert_eq!(own(&|n| asking(target(n), 440..460)), 5, "targets");
        assert_eq!(own(&|n| asking(decoy(n), 443..447)), 5, "too few ports for an order");
        assert_eq!(own(&|n| asking(decoy(n), 443..448)), 2);
        // Of 40 ports 32 fit.
        let wide = |n| {
            let event = asking(decoy(n), (0..40).map(|port| 443 + 2 * port));
            ScanEvent { scan: Scan { distinct_ports: 40, ..event.scan }, ..event }
        };
        assert_eq!(own(&wide), 5, "not all of them are known");
        assert_eq!(
            own(&|n| asking(hit(n, 6_000 * u64::from(n), "192.0.2.10:443", (50, 1024)), 440..460)),
            5,
            "times"
        );
    }

    /// The adversary forges three addresses, so that those who scan the same host are in his storm.
    #[test]
    fn a_storm_of_few_stands_for_nobody_else() {
        let mut world = World::new();
        (0..4).for_each(|n| _ = world.fold(&one_of_few(n)));
        let other = |n| asking(decoy(n), 443..463);
        assert!(!world.fold(&other(4)) && !world.fold(&proven(one_of_few(5))));
        assert_eq!(world.storms.storms[0].sources, 4);
        // Their ends are their own, and do not end it.
        world.wait(Duration::from_secs(60));
        assert!(!world.fold(&ended(other(4))) && !world.fold(&ended(proven(one_of_few(5)))));
        assert!(world.fold(&ended(one_of_few(2))));
        world.wait(Duration::from_secs(60));
        assert_eq!(world.told.last().map(|told| (told.0, told.1)), Some((Report::Grew, 4)));
        assert!(world.fold(&ended(one_of_few(3))));
        world.wait(CALM);
        assert_eq!(world.told.last(), Some(&(Report::Ended, 4, 0, 2)));
    }

    /// Six are a storm whatever they ask for: from then on it takes in who looks like them.
    #[test]
    fn a_storm_of_few_becomes_one_of_many() {
        let mut world = World::new();
        let other = |n| asking(decoy(n), 443..463);
        (0..5).for_each(|n| _ = world.fold(&one_of_few(n)));
        // Who comes again is no other.
        assert!(world.fold(&one_of_few(4)) && world.fold(&one_of_few(3)) && !world.fold(&other(6)));
        assert!(world.fold(&one_of_few(7)) && world.fold(&other(8)));
        assert!(!world.fold(&proven(other(9))), "it has its own record");
        let folded: Vec<u32> = (0..=8)
            .filter(|n| *n != 5)
            .filter(|n| world.fold(&ended(if [6, 8].contains(n) { other(*n) } else { one_of_few(*n) })))
            .collect();
        assert_eq!(folded, [2, 3, 4, 7, 8]);
    }

    /// The adversary forges threes, one after another, so that there is no place for what his next flood would be: each of many.
    #[test]
    fn storms_of_few_leave_room_for_those_of_many() {
        let mut world = World::new();
        let of = |n: u32, size: u32| {
            let target = format!("192.0.2.{}:443", 1 + n / size);
            asking(hit(n, 10, &target, (1 + (n / size) as u8, 1 + (n / size) as u16)), 440..460)
        };
        assert_eq!((0..90).filter(|n| world.fold(&of(*n, 3))).count(), OF_FEW);
        assert_eq!(world.storms.storms.len(), OF_FEW);
        // They are of many, and have five records first.
        let many = 600..600 + 6 * (STORMS - OF_FEW) as u32;
        assert_eq!(many.filter(|n| world.fold(&of(*n, 6))).count(), STORMS - OF_FEW);
        assert_eq!(world.storms.storms.len(), STORMS);
    }

    /// The adversary hides his own connections among scanners that he forges to look like them.
    #[test]
    fn who_completed_a_handshake_is_never_folded() {
        let mut world = World::new();
        for number in 0..500 {
            let event = decoy(number);
            if number % 50 == 49 {
                assert!(!world.fold(&proven(event)) && !world.fold(&ended(proven(event))));
            } else {
                assert_eq!(world.fold(&event), number >= 5);
            }
        }
        // Who completes one later has a record from then on.
        assert!(world.fold(&ended(decoy(7))) && !world.fold(&ended(proven(decoy(8)))));
    }

    /// The adversary varies all else, so that each scan of that host would be one of his.
    #[test]
    fn those_who_share_the_target_alone_are_none() {
        let mut world = World::new();
        let of = |number: u32| {
            hit(
                number,
                10,
                &format!("192.0.2.10:{}", 1 + number),
                ((number % 200) as u8 + 1, number as u16 + 1),
            )
        };
        assert_eq!((0..100).filter(|n| !world.fold(&of(*n))).count(), 100);
        // On a gateway: each another host, and nothing in common.
        let mut world = World::new();
        let of = |number: u32| {
            hit(
                number,
                10,
                &format!("192.0.2.{number}:{}", 1 + number),
                (number as u8 + 1, number as u16 + 1),
            )
        };
        assert_eq!((0..100).filter(|n| world.fold(&of(*n))).count(), 0);
    }

    #[test]
    fn those_who_come_one_by_one_are_none() {
        let mut world = World::new();
        for number in 0..100 {
            assert!(
                !world.fold(&hit(number, u64::from(number) * 2_001, "192.0.2.10:443", (50, 1024))),
                "{number}"
            );
        }
    }

    #[test]
    fn a_scan_by_many_and_another_interface_class_or_rule_are_apart() {
        let mut world = World::new();
        (0..6).for_each(|n| _ = world.fold(&decoy(n)));
        let event = decoy(9);
        let many = ScanEvent { scan: Scan { distinct_sources: 7, ..event.scan }, ..event };
        let udp = ScanEvent { scan: Scan { technique: Technique::Udp, ..event.scan }, ..event };
        let slow = ScanEvent { scan: Scan { window_nanos: 3_600_000_000_000, ..event.scan }, ..event };
        assert!(!world.fold(&many) && !world.fold(&udp) && !world.fold(&slow));
        assert_eq!(world.storms.fold(&"eth1".into(), &event, world.now), Fate::Own);
        assert!(world.fold(&event));
    }

    /// The adversary changes what his packets have in common each time a storm is recognised, and keeps all of them going: there are no
    /// more than so many, the rest is for the flood limit, and what is reported has a bound.
    #[test]
    fn storms_have_a_bound_and_so_has_what_they_report() {
        let mut world = World::new();
        for n in 0..20_000 {
            world.wait(Duration::from_millis(1));
            let of = n / 10;
            let target = format!("192.0.{}.{}:{}", of / 256, of % 256, 1 + of % 1_000);
            world.fold(&hit(n, u64::from(n), &target, ((of % 200) as u8 + 1, 1 + of as u16)));
        }
        assert_eq!(world.storms.storms.len(), STORMS);
        assert!(world.storms.lately.len() <= COMPARED && world.storms.lately.capacity() < 2 * COMPARED);
        assert!(world.told.len() <= 3 * STORMS, "{}", world.told.len());
        // Once they are over there is room for others.
        world.wait(FORGOTTEN + CALM);
        (30_000..30_006).for_each(|n| _ = world.fold(&hit(n, 80_000, "192.0.2.10:443", (50, 1024))));
        assert_eq!(
            (world.storms.storms.len(), world.told.last().map(|told| told.0)),
            (STORMS, Some(Report::Began))
        );
    }

    /// Each source is one of so many by chance, whoever comes first.
    #[test]
    fn of_many_sources_a_sample_by_chance_is_named() {
        let mut late = 0;
        for _ in 0..20 {
            let mut world = World::new();
            (0..1_000).for_each(|n| _ = world.fold(&decoy(n)));
            let named = world.storms.storms[0].named();
            assert_eq!(named.len(), DRAWN);
            let middle = decoy(500).scan.source;
            late += named.iter().filter(|source| **source >= middle).count();
        }
        assert!((400..=880).contains(&late), "half of 1,280: {late}");
    }

    /// Decoys of a slow scan: it asks for a port every quarter of a minute, for hours, and there is nothing to report until it ends.
    #[test]
    fn slow_scans_end_in_the_storm_that_took_their_hits() {
        let mut world = World::new();
        assert_eq!((0..40).filter(|n| world.fold(&decoy(*n))).count(), 35);
        world.wait(Duration::from_secs(5 * 3_600));
        assert_eq!((5..40).filter(|n| world.fold(&ended(decoy(*n)))).count(), 35);
        world.wait(CALM);
        assert_eq!(world.told.last(), Some(&(Report::Ended, 40, 0, 35)));
    }

    /// As many storms as there are places, none of which ends. One without an event for an hour makes room for another.
    #[test]
    fn a_storm_without_an_event_for_an_hour_makes_room() {
        let mut world = World::new();
        let of = |number: u32| {
            let of = number / 6;
            hit(
                number,
                10 * u64::from(number),
                &format!("192.0.2.{of}:{}", 1 + of),
                (1 + of as u8, 1 + of as u16),
            )
        };
        let storms = STORMS as u32;
        (0..6 * storms).for_each(|n| _ = world.fold(&of(n)));
        world.wait(Duration::from_secs(60));
        assert_eq!((world.storms.storms.len(), world.told.len()), (STORMS, STORMS));
        // Too early: those have records of their own.
        assert_eq!((6 * storms..6 * storms + 6).filter(|n| world.fold(&of(*n))).count(), 0);
        world.wait(IDLE);
        let late = 6 * storms + 6..6 * storms + 18;
        assert_eq!(late.clone().filter(|n| world.fold(&of(*n))).count(), 1);
        let told: Vec<Report> = world.told[STORMS..].iter().map(|told| told.0).collect();
        assert_eq!((world.storms.storms.len(), told), (STORMS, vec![Report::Ended, Report::Began]));
    }

    /// The adversary's own scan is one of the storm that he forges, and does more than they do: its record comes once the others have
    /// shown what they do, or ended, and what happens to it from then on has records, too.
    #[test]
    fn who_stands_out_has_records_of_his_own() {
        let ended_with = |event: ScanEvent, ports| {
            ended(ScanEvent { scan: Scan { distinct_ports: ports, ..event.scan }, ..event })
        };
        for is_long in [false, true] {
            let mut world = World::new();
            assert_eq!((0..500).filter(|n| world.fold(&decoy(*n))).count(), 495);
            let grown = decoy(250).scan;
            let grown = ScanEvent { kind: EventKind::Grown, scan: Scan { distinct_ports: 200, ..grown } };
            assert!(world.fold(&grown), "it waits");
            if is_long {
                world.wait(Duration::from_secs(29));
                assert_eq!(world.apart, []);
                world.wait(Duration::from_secs(1));
                assert_eq!(world.apart, [grown]);
            }
            for n in 5..500 {
                let end = ended_with(decoy(n), if n == 250 { 1_000 } else { 60 });
                assert_eq!(world.fold(&end), n != 250 || !is_long, "{n}");
            }
            world.wait(Duration::from_secs(60));
            assert_eq!(world.told.last().map(|told| told.0), Some(Report::Ended));
            let apart: Vec<_> = world.apart.iter().map(|it| (it.kind, it.scan.id)).collect();
            let kind = if is_long { EventKind::Grown } else { EventKind::Ended };
            assert_eq!(apart, [(kind, ScanId(250))]);
            // Hits, and ends but for his, of which one record is on the account before he had one of his own.
            let (hits, ends) =
                world.told.iter().fold((0, 0), |(hits, ends), told| (hits + told.2, ends + told.3));
            assert_eq!((hits, ends), (495, 494));
        }
    }

    /// The adversary's forged scans all stand out, storm after storm: there are no more records than that.
    #[test]
    fn many_who_stand_out_have_few_records() {
        let mut world = World::new();
        for n in 0..3_000_u32 {
            let hit = decoy(n % 1_500);
            let scan = Scan {
                id: ScanId(n.into()),
                distinct_ports: 20 << (n % 12),
                distinct_hosts: 1 << (2 * (11 - n % 12)),
                tool: Tool::ALL[n as usize / 12 % Tool::ALL.len()],
                ..hit.scan
            };
            world.fold(&ScanEvent { scan, ..hit });
            world.wait(Duration::from_millis(20));
        }
        world.wait(Duration::from_secs(3_700));
        // Within 60 s they are settled thrice at most.
        assert!((1..=3 * TOLD).contains(&world.apart.len()), "{}", world.apart.len());
    }

    #[test]
    fn one_that_goes_on_is_reported_ever_less_often() {
        let mut world = World::new();
        for n in 0..3_600 {
            world.wait(Duration::from_secs(1));
            world.fold(&hit(n, u64::from(n) * 1_000, "192.0.2.10:443", (50, 1024)));
        }
        // After 10, 30, 70, 150, 310 seconds, and then every 300.
        assert_eq!(world.told.iter().filter(|told| told.0 == Report::Grew).count(), 15);
        world
            .storms
            .end(world.now, |report, storm, _| assert_eq!((report, storm.sources), (Report::Ended, 3_600)));
        assert_eq!(world.storms.due_at(), None);
    }

    /// What a hit of the oracle has: target, hops, window, first port and ports by a letter each, or nothing of the hops or the ports.
    type Letters = [u8; 5];

    /// A storm as the oracle sees it.
    #[derive(Debug)]
    struct Seen {
        common: Vec<(usize, u8)>,
        since: u64,
        latest: u64,
        sources: u64,
        /// It takes in those alone who have all of it.
        is_few: bool,
    }

    fn have(letters: &Letters, common: &[(usize, u8)]) -> usize {
        common.iter().filter(|&&(at, letter)| letters[at] == letter && letter != b'-').count()
    }

    /// Slow and obvious: keeps every hit for ever. Which are folded, and the storms.
    fn oracle(hits: &[(u64, Letters, bool)]) -> (Vec<bool>, Vec<Seen>) {
        let sets = [
            "tlwpa", "tlwp", "tlpa", "twpa", "tlw", "tlp", "twp", "lwp", "tl", "tw", "tp", "lw", "lp", "wp",
            "t",
        ];
        let (mut folded, mut storms) = (Vec::new(), Vec::<Seen>::new());
        for (at, (time, letters, is_proven)) in hits.iter().enumerate() {
            let of = storms.iter_mut().find(|storm| {
                let in_time = *time <= storm.latest + 60_000;
                if storm.is_few {
                    return in_time && !is_proven && have(letters, &storm.common) == storm.common.len();
                }
                let common: Vec<_> = storm.common.iter().copied().filter(|(at, _)| *at < 4).collect();
                let (have, all) = (have(letters, &common), common.len());
                let has_target = storm.common.iter().any(|&(at, letter)| at == 0 && letters[0] == letter);
                let is_like = have == all || have + 1 == all && have >= if has_target { 2 } else { 3 };
                in_time && is_like
            });
            if let Some(storm) = of {
                folded.push(!is_proven);
                storm.latest = *time;
                if !is_proven {
                    storm.sources += 1;
                    if storm.is_few && storm.sources == 6 {
                        (storm.since, storm.is_few) = (*time, false);
                    }
                }
                continue;
            }
            let alike = |set: &str| {
                let common: Vec<(usize, u8)> =
                    set.chars().map(|it| "tlwpa".find(it).unwrap()).map(|at| (at, letters[at])).collect();
                let before = hits[..at].iter().zip(&folded);
                let own = before.filter(|((then, of, is_proven), folded)| {
                    !*folded && !is_proven && then + 10_000 >= *time && have(of, &common) == common.len()
                });
                (own.count() as u64 + 1, common)
            };
            let has_room = storms.iter().filter(|storm| storm.is_few).count() < OF_FEW;
            let sets = sets.iter().filter(|set| has_room || !set.ends_with('a'));
            let found =
                sets.map(|set| (alike(set), set.ends_with('a'))).find(|((sources, common), is_few)| {
                    *sources
                        >= match common.len() {
                            _ if *is_few => 3,
                            1 => 24,
                            2 => 12,
                            _ => 6,
                        }
                });
            folded.push(found.is_some() && !is_proven);
            if let (Some(((sources, common), is_few)), false) = (found, is_proven) {
                let is_few = is_few && sources < 6;
                storms.push(Seen { common, since: *time, latest: *time, sources, is_few });
            }
        }
        (folded, storms)
    }

    fn letters() -> impl Strategy<Value = Letters> {
        ["[ab]", "[ab-]", "[abc]", "[abcdef]", "[ab-]"]
            .map(|it| proptest::string::string_regex(it).unwrap())
            .prop_map(|it| it.map(|it| it.as_bytes()[0]))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// What is folded is what the oracle folds; and so is what comes of it, in whichever order it ends.
        #[test]
        fn storms_are_those_of_the_oracle(
            steps in proptest::collection::vec((prop_oneof![9 => 1..1_500_u64, 1 => 20_000..70_000_u64], letters(), prop::bool::weighted(0.1)), 1..60),
            order in proptest::collection::vec(any::<u32>(), 60),
        ) {
            let mut time = 0;
            let hits: Vec<_> = steps.into_iter().map(|(pause, letters, is_proven)| {
                time += pause;
                (time, letters, is_proven)
            }).collect();
            let (expected, seen) = oracle(&hits);
            let mut world = World::new();
            let event = |number: usize| {
                let (time, [t, l, w, p, a], is_proven) = hits[number];
                let ttl = if l == b'-' { 0 } else { l };
                let event = hit(number as u32, time, &format!("192.0.2.{t}:{p}"), (ttl, w.into()));
                let event = if is_proven { proven(event) } else { event };
                if a == b'-' { event } else { asking(event, u16::from(a)..u16::from(a) + 20) }
            };
            let folded: Vec<bool> = (0..hits.len()).map(|number| world.fold(&event(number))).collect();
            prop_assert_eq!(&folded, &expected);
            let storms = &world.storms.storms;
            prop_assert_eq!(storms.iter().map(|it| it.sources).collect::<Vec<_>>(), seen.iter().map(|it| it.sources).collect::<Vec<_>>());
            for (storm, seen) in storms.iter().zip(&seen) {
                prop_assert_eq!(storm.common.count() as usize, seen.common.len(), "{:?}", seen);
                prop_assert_eq!(storm.since, after(seen.since));
                prop_assert!(seen.common.iter().all(|(at, _)| storm.same[*at] >= u64::from(storm.common.needed())));
            }
            let mut ends: Vec<usize> = (0..hits.len()).collect();
            ends.sort_by_key(|at| order[*at]);
            for at in ends {
                prop_assert_eq!(world.fold(&ended(event(at))), folded[at], "the end of {}", at);
            }
            let hits_told: u64 = world.told.iter().map(|told| told.2).sum();
            let mut rest = (0, 0);
            world.storms.settle(world.now, true, |_, event| panic!("{event:?} stands out"));
            world.storms.end(world.now, |_, _, withheld| rest = (rest.0 + withheld.hits, rest.1 + withheld.ended));
            let all = folded.iter().filter(|folded| **folded).count() as u64;
            prop_assert_eq!((hits_told + rest.0, rest.1), (all, all), "each is on an account");
        }
    }
}
