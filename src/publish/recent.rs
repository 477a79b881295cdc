//! Scans that are open or ended lately, bounded: for the API and the page. The journal has all of them.
//!
//! The adversary forges scanners by the hundred, so that a real one is pushed out. Scans are therefore grouped by interface and by
//! worth (whether the source read an answer, how wide they are, whether a port answered, by which tool), and the largest group gives
//! way: a flood of small scans costs small scans. Within a group chance decides, so nobody
//! knows which one goes, and older ones fade.

use crate::detect::{EventKind, Grade, Scan, ScanEvent, ScanId, Tool};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Scans that are kept.
pub const SCANS: usize = 1024;

/// Events that are kept for those who follow them.
const EVENTS: usize = 256;

/// Minutes for which hits are counted.
pub const MINUTES: usize = 60;

/// Scans, and what happened lately.
#[derive(Debug)]
pub struct Recent(Mutex<Held>);

/// Which scan, and where.
type Key = (Arc<str>, ScanId);

#[derive(Debug)]
struct Held {
    /// Of the latest change; each has its own.
    number: u64,
    scans: HashMap<Key, Kept>,
    events: VecDeque<Event>,
    /// Hits by the minute since the epoch.
    hits: BTreeMap<u64, u64>,
    evicted: u64,
    random: u64,
}

/// A scan that is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Of its latest change: greater is later.
    pub number: u64,
    /// Where it was seen.
    pub interface: Arc<str>,
    /// As it was when it was last reported.
    pub scan: Scan,
}

/// Something that happened to a scan.
#[derive(Debug, Clone)]
pub struct Event {
    /// One more than that of the event before.
    pub number: u64,
    /// Where.
    pub interface: Arc<str>,
    /// What.
    pub event: ScanEvent,
}

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fill {
    /// Scans that are kept now.
    pub scans: u64,
    /// Scans that were given up for others.
    pub evicted: u64,
}

/// What a scan is worth keeping: whether its source proved to be at its address, which a flood cannot forge; in steps of twice as many
/// ports; whether a port answered; and the tool, by which a flood is told from what comes among it.
fn worth(scan: &Scan) -> (Grade, u32, bool, Tool) {
    let is_answered = scan.replies.is_some_and(|replies| replies.answered_count > 0);
    (scan.evidence, scan.distinct_ports.max(1).ilog2(), is_answered, scan.tool)
}

impl Recent {
    /// Empty; `seed` is chance.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Held {
            number: 0,
            scans: HashMap::new(),
            events: VecDeque::with_capacity(EVENTS),
            hits: BTreeMap::new(),
            evicted: 0,
            random: seed | 1,
        }))
    }

    /// Takes in what happened.
    pub fn put(&self, interface: &Arc<str>, event: ScanEvent) {
        let mut held = self.lock();
        held.number += 1;
        let number = held.number;
        if event.kind == EventKind::Hit {
            held.count(event.scan.detected.nanos() / 60_000_000_000);
        }
        if held.events.len() == EVENTS {
            held.events.pop_front();
        }
        held.events.push_back(Event { number, interface: Arc::clone(interface), event });
        let kept = Kept { number, interface: Arc::clone(interface), scan: event.scan };
        let known = held.scans.insert((Arc::clone(interface), event.scan.id), kept);
        if known.is_none() && held.scans.len() > SCANS {
            held.evict();
        }
    }

    /// Every scan, the latest change first.
    pub fn scans(&self) -> Vec<Kept> {
        let mut scans: Vec<Kept> = self.lock().scans.values().cloned().collect();
        scans.sort_unstable_by_key(|kept| Reverse(kept.number));
        scans
    }

    /// The number of the latest change.
    pub fn number(&self) -> u64 {
        self.lock().number
    }

    /// What happened after a change, in order: at most so many.
    pub fn after(&self, number: u64, most: usize) -> Vec<Event> {
        self.lock().events.iter().filter(|event| event.number > number).take(most).cloned().collect()
    }

    /// Hits in each of the last minutes up to that of this moment, the oldest first.
    pub fn hits(&self, now_nanos: u64) -> [u64; MINUTES] {
        let held = self.lock();
        let last = now_nanos / 60_000_000_000;
        std::array::from_fn(|at| {
            let minute = (last + 1 + at as u64).checked_sub(MINUTES as u64);
            minute.and_then(|minute| held.hits.get(&minute).copied()).unwrap_or(0)
        })
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        let held = self.lock();
        Fill { scans: held.scans.len() as u64, evicted: held.evicted }
    }

    // Whole values move; a thread that panicked meanwhile left nothing half done that matters.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn count(&mut self, minute: u64) {
        *self.hits.entry(minute).or_default() += 1;
        if self.hits.len() > MINUTES {
            self.hits.pop_first();
        }
    }

    /// Gives up one scan of the largest group; of equally large ones that of the least worth.
    fn evict(&mut self) {
        let mut groups: BTreeMap<_, Vec<Key>> = BTreeMap::new();
        for (key, kept) in &self.scans {
            groups.entry((worth(&kept.scan), Arc::clone(&kept.interface))).or_default().push(key.clone());
        }
        let largest = groups.into_iter().min_by_key(|(group, scans)| (Reverse(scans.len()), group.clone()));
        let Some((_, mut scans)) = largest else { return };
        scans.sort_unstable();
        let at = (self.random() % scans.len() as u64) as usize;
        self.scans.remove(&scans[at]);
        self.evicted += 1;
    }

    /// Xorshift64 (Marsaglia 2003): nobody outside sees it.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::scan::{after, scan};

    fn event(kind: EventKind, n: u32, ports: u32) -> ScanEvent {
        let address = std::net::Ipv4Addr::from(0xc633_6400 + n).to_string();
        let mut scan = scan(&address, "192.0.2.10:22");
        (scan.id, scan.distinct_ports) = (ScanId(n.into()), ports);
        scan.ended = (kind == EventKind::Ended).then(|| after(60_000));
        ScanEvent { kind, scan }
    }

    #[test]
    fn the_latest_change_of_a_scan_is_kept_and_comes_first() {
        let (recent, eth0) = (Recent::new(7), Arc::from("eth0"));
        recent.put(&eth0, event(EventKind::Hit, 1, 20));
        recent.put(&eth0, event(EventKind::Hit, 2, 20));
        recent.put(&eth0, event(EventKind::Ended, 1, 1000));
        let scans: Vec<_> =
            recent.scans().iter().map(|kept| (kept.scan.id.0, kept.scan.distinct_ports)).collect();
        assert_eq!(scans, [(1, 1000), (2, 20)]);
        assert_eq!(recent.fill(), Fill { scans: 2, evicted: 0 });
        let kinds: Vec<_> = recent.after(1, 9).iter().map(|it| (it.number, it.event.kind.label())).collect();
        assert_eq!(kinds, [(2, "hit"), (3, "ended")]);
        let hits = recent.hits(event(EventKind::Hit, 1, 20).scan.detected.nanos());
        assert_eq!((hits[MINUTES - 1], hits.iter().sum::<u64>()), (2, 2));
    }

    /// The adversary forges scans in every way that he can: of all widths, by all tools, some at ports that answer. One whose source read
    /// an answer stays.
    #[test]
    fn whose_source_is_known_stays_in_any_flood() {
        let (recent, eth0) = (Recent::new(7), Arc::from("eth0"));
        let mut proved = event(EventKind::Hit, 1, 20);
        proved.scan.evidence = Grade::Handshake;
        recent.put(&eth0, proved);
        for n in 10..20_010 {
            let mut forged = event(EventKind::Hit, n, 20 << (n % 11));
            forged.scan.tool = Tool::ALL[n as usize / 11 % Tool::ALL.len()];
            let answered_count = n / 7 % 2;
            forged.scan.replies = Some(crate::detect::Replies { answered_count, ..Default::default() });
            recent.put(&eth0, forged);
        }
        assert!(recent.scans().iter().any(|kept| kept.scan.id.0 == 1));
    }

    /// A flood of scans that look all alike costs none that does not: a port of it answered, or another tool made it.
    #[test]
    fn what_is_not_like_the_flood_stays() {
        let (recent, eth0) = (Recent::new(7), Arc::from("eth0"));
        let mut answered = event(EventKind::Hit, 1, 20);
        let replies = crate::detect::Replies { answered_count: 1, ..crate::detect::Replies::default() };
        answered.scan.replies = Some(replies);
        let mut by_nmap = event(EventKind::Hit, 2, 20);
        by_nmap.scan.tool = Tool::Nmap;
        recent.put(&eth0, answered);
        recent.put(&eth0, by_nmap);
        (10..10_010).for_each(|n| recent.put(&eth0, event(EventKind::Hit, n, 20)));
        let ids: Vec<u64> = recent.scans().iter().map(|kept| kept.scan.id.0).collect();
        assert!(ids.contains(&1) && ids.contains(&2) && ids.len() == SCANS);
    }

    /// The attacker: five hundred forged scanners a second for a minute, each as wide as the rule asks. The wide scan before them
    /// stays, one among them that is wider stays, and nothing grows.
    #[test]
    fn a_flood_of_small_scans_costs_small_scans() {
        let (recent, eth0, eth1) = (Recent::new(7), Arc::from("eth0"), Arc::from("eth1"));
        recent.put(&eth0, event(EventKind::Ended, 1, 1000));
        recent.put(&eth1, event(EventKind::Ended, 2, 20));
        for n in 10..30_010 {
            recent.put(&eth0, event(EventKind::Hit, n, 20 + n % 3));
            if n == 20_000 {
                recent.put(&eth0, event(EventKind::Grown, 3, 200));
            }
        }
        let ids: Vec<u64> = recent.scans().iter().map(|kept| kept.scan.id.0).collect();
        assert!([1, 2, 3].iter().all(|id| ids.contains(id)));
        assert_eq!(ids.len(), SCANS);
        assert_eq!(recent.fill().evicted, 30_003 - SCANS as u64);
        assert_eq!(recent.after(0, usize::MAX).len(), EVENTS);
        // A sample of the flood, with more of what came lately.
        let late = ids.iter().filter(|id| **id > 29_000).count();
        assert!((300..900).contains(&late), "{late}");
    }
}
