//! Interfaces by pattern (`eth*`, `!docker*`): which of those that are there are captured, and by whom.
//!
//! The adversary makes interfaces: on a container host each container brings one, and a user who may start containers starts as many
//! as he likes, again and again. So the captures for patterns are a fixed number of places, with their memory from the start on. A
//! place stays with its interface while that is there, so those that come later push none out, and `KEPT` longer, so that a place shows
//! at most two names a minute. What matches and has no place is counted. An interface that is named has a capture of its own.
//! Where none is named and nothing matches, nothing at all is captured: the first place says so, under the patterns' own name.

use super::group::LOOPBACK;
use super::interfaces::names;
use crate::system::clock;
use crate::system::counters::{Counter, Counters};
use crate::text::printable;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a place is kept for an interface that went: it may only be set up anew. Less than the minute after which an alert
/// says that an interface is down.
const KEPT: Duration = Duration::from_secs(30);

/// Names without a place that are remembered, so that each is counted once.
const REMEMBERED: usize = 256;

/// Which interfaces are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns {
    included: Vec<String>,
    excluded: Vec<String>,
    /// They have captures of their own.
    named: Vec<String>,
}

impl Patterns {
    /// Whether this is a pattern, and no name.
    pub fn is_one(given: &str) -> bool {
        given.starts_with('!') || given.contains(['*', '?'])
    }

    /// The patterns of what was given; `None` if there are only names. Exclusions alone are of all interfaces.
    pub fn of(given: &[String]) -> Option<Self> {
        let patterns: Vec<&String> = given.iter().filter(|one| Self::is_one(one)).collect();
        let mut all = Self::default();
        for pattern in &patterns {
            match pattern.strip_prefix('!') {
                Some(excluded) => all.excluded.push(excluded.to_owned()),
                None => all.included.push(String::clone(pattern)),
            }
        }
        if all.included.is_empty() {
            all.included.push(String::from("*"));
        }
        (!patterns.is_empty()).then_some(all)
    }

    /// The same, but for interfaces that have captures of their own.
    #[must_use]
    pub(crate) fn except(self, named: impl IntoIterator<Item = String>) -> Self {
        Self { named: named.into_iter().collect(), ..self }
    }

    /// Whether an interface of this name is meant. Never `lo`: who wants it names it.
    fn take(&self, name: &str) -> bool {
        let one_of = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        name != LOOPBACK
            && !self.named.iter().any(|named| named == name)
            && one_of(&self.included)
            && !one_of(&self.excluded)
    }

    /// As they were given.
    pub(super) fn write(&self) -> String {
        let excluded = self.excluded.iter().map(|pattern| format!("!{pattern}"));
        // Exclusions alone are of all, which nobody wrote.
        let is_meant = self.excluded.is_empty() || self.included != ["*"];
        let included = self.included.iter().filter(|_| is_meant).cloned();
        included.chain(excluded).collect::<Vec<_>>().join(" ")
    }
}

/// Whether a name is as the pattern says: `*` is any characters, `?` one.
fn matches(pattern: &str, name: &str) -> bool {
    // The first n characters of the name may be matched by what was read of the pattern: all such n, however many stars.
    let name: Vec<char> = name.chars().collect();
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for sign in pattern.chars() {
        let mut next = vec![false; name.len() + 1];
        let mut before = false;
        for (at, is_reached) in reached.iter().enumerate() {
            before |= is_reached;
            match sign {
                '*' => next[at] = before,
                _ if at < name.len() && (sign == '?' || sign == name[at]) => next[at + 1] = *is_reached,
                _ => {}
            }
        }
        reached = next;
    }
    reached[name.len()]
}

/// The places for interfaces that patterns mean.
pub(super) struct Places {
    patterns: Patterns,
    places: Mutex<Vec<Place>>,
    refused: Mutex<BTreeSet<String>>,
}

#[derive(Debug, Clone, Default)]
struct Place {
    interface: Option<Arc<str>>,
    /// Since when it is not there.
    missing: Option<Instant>,
}

/// How many interfaces had no place.
static COUNTERS: Counters = Counters::new();

/// How full the places are, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlaceCounts {
    /// Places that have an interface.
    pub taken: u64,
    /// All of them; 0 without patterns.
    pub limit: u64,
    /// Interfaces that match now and have no place.
    pub unplaced: u64,
}

static TAKEN: AtomicU64 = AtomicU64::new(0);
static LIMIT: AtomicU64 = AtomicU64::new(0);
static UNPLACED: AtomicU64 = AtomicU64::new(0);

/// How full the places are now.
pub(crate) fn place_counts() -> PlaceCounts {
    let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
    PlaceCounts { taken: now(&TAKEN), limit: now(&LIMIT), unplaced: now(&UNPLACED) }
}

/// What is counted here.
pub(crate) fn counts() -> crate::system::counters::Counts {
    COUNTERS.counts()
}

impl Places {
    pub(super) fn new(patterns: Patterns, places: usize) -> Self {
        LIMIT.store(places as u64, Ordering::Relaxed);
        Self {
            patterns,
            places: Mutex::new(vec![Place::default(); places]),
            refused: Mutex::new(BTreeSet::new()),
        }
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        // Nothing panics while it holds the lock.
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interface that this place is for now, if there is one for it; a look at what is there.
    pub(super) fn look(&self, place: usize) -> Option<Arc<str>> {
        let present = names();
        let interface = self.assign(place, &present, clock::steady());
        // One of them counts for all.
        if place == 0 {
            self.count_refused(&present);
        }
        interface
    }

    /// What the first place is called while nothing is captured anywhere: the patterns. `None` as long as something is, or could be
    /// by its name.
    pub(super) fn awaited(&self, place: usize) -> Option<Arc<str>> {
        let is_first_of_none = place == 0
            && self.patterns.named.is_empty()
            && Self::lock(&self.places).iter().all(|place| place.interface.is_none());
        is_first_of_none.then(|| Arc::from(self.patterns.write()))
    }

    fn assign(&self, index: usize, present: &[String], now: Instant) -> Option<Arc<str>> {
        let mut places = Self::lock(&self.places);
        if let Place { interface: Some(interface), missing } = &mut places[index] {
            if present.iter().any(|name| **name == **interface) {
                *missing = None;
                return Some(Arc::clone(interface));
            }
            let since = *missing.get_or_insert(now);
            if now.saturating_duration_since(since) < KEPT {
                return Some(Arc::clone(interface));
            }
        }
        let is_free = |name: &String| {
            let has_it = |place: &Place| place.interface.as_deref() == Some(name.as_str());
            self.patterns.take(name) && !places.iter().any(has_it)
        };
        // In the kernel's order: who is there for longest comes first.
        let interface = present.iter().find(|name| is_free(name)).map(|name| Arc::from(name.as_str()));
        places[index] = Place { interface: interface.clone(), missing: None };
        interface
    }

    /// Counts interfaces that have no place, each when it is first seen without.
    fn count_refused(&self, present: &[String]) {
        let places = Self::lock(&self.places);
        let taken = places.iter().filter(|place| place.interface.is_some()).count();
        TAKEN.store(taken as u64, Ordering::Relaxed);
        if taken < places.len() {
            drop(places);
            UNPLACED.store(0, Ordering::Relaxed);
            Self::lock(&self.refused).clear();
            return;
        }
        let has_place =
            |name: &String| places.iter().any(|place| place.interface.as_deref() == Some(name.as_str()));
        let is_without = |name: &&String| self.patterns.take(name) && !has_place(name);
        UNPLACED.store(present.iter().filter(is_without).count() as u64, Ordering::Relaxed);
        let without: BTreeSet<String> = present.iter().filter(is_without).take(REMEMBERED).cloned().collect();
        drop(places);
        let mut refused = Self::lock(&self.refused);
        let new = without.difference(&refused).count() as u64;
        let first = without.first().filter(|_| refused.is_empty());
        if let Some(interface) = first {
            log::warn!(
                interface = interface.as_str(), interfaces = without.len();
                "{} has no place (with {} others): --capture.max-interfaces says how many that match {} are captured",
                printable(interface),
                without.len() - 1,
                printable(&self.patterns.write())
            );
        }
        COUNTERS.add(Counter::InterfacesRefused, new);
        *refused = without;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(given: &[&str]) -> Patterns {
        Patterns::of(&given.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("patterns")
    }

    fn present(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_star_is_any_characters_and_a_question_mark_is_one() {
        for (pattern, good, bad) in [
            ("eth*", &["eth", "eth0", "eth10"][..], &["veth0", "et", ""][..]),
            ("eth?", &["eth0", "eth1"], &["eth", "eth10"]),
            ("*", &["", "eth0"], &[]),
            ("e*0", &["e0", "eth0", "e00"], &["eth1", "e", "0"]),
            ("*th*0*", &["eth0", "veth10x"], &["et0"]),
            ("eth0", &["eth0"], &["eth", "eth00"]),
            ("", &[""], &["e"]),
        ] {
            assert!(good.iter().all(|name| matches(pattern, name)), "{pattern}");
            assert!(!bad.iter().any(|name| matches(pattern, name)), "{pattern}");
        }
        assert!(!matches(&"*a".repeat(1000), &"a".repeat(15)), "however many stars, it ends");
    }

    #[test]
    fn exclusions_are_of_what_is_meant_and_names_stand_apart() {
        assert_eq!(Patterns::of(&present(&["eth0", "eth1"])), None);
        let meant = |given: &[&str], name: &str| patterns(given).take(name);
        assert!(meant(&["eth*"], "eth0") && !meant(&["eth*"], "wlan0"));
        assert!(meant(&["!docker*", "!veth*"], "eth0") && !meant(&["!docker*", "!veth*"], "veth1"));
        assert!(!meant(&["eth*", "!eth1"], "eth1") && meant(&["eth*", "!eth1"], "eth10"));
        let others = patterns(&["eth*", "eth0"]).except([String::from("eth0")]);
        assert!(others.take("eth1") && !others.take("eth0"), "it has a capture of its own");
        assert!(!meant(&["*"], "lo"));
        for given in [&["eth*"][..], &["!eth*"], &["eth*", "!eth1", "!eth2"], &["*"]] {
            assert_eq!(patterns(given).write(), given.join(" "), "as it was given");
        }
    }

    #[test]
    fn a_place_stays_with_its_interface_and_those_that_come_later_push_none_out() {
        let places = Places::new(patterns(&["eth*"]), 2);
        let start = clock::steady();
        let at = |seconds| start + Duration::from_secs(seconds);
        let assign = |place, there: &[&str], seconds| {
            places.assign(place, &present(there), at(seconds)).map(|name| name.to_string())
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(assign(0, &["lo", "eth0"], 0), named("eth0"));
        assert_eq!(assign(1, &["lo", "eth0"], 0), None, "a place that waits");
        assert_eq!(assign(1, &["lo", "eth0", "eth1", "eth2"], 1), named("eth1"), "the oldest");
        // A hundred more, and eth0 is set up anew meanwhile.
        let many: Vec<String> = (2..100).map(|n| format!("eth{n}")).collect();
        let mut there: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(assign(0, &there, 2), named("eth0"));
        assert_eq!(assign(0, &there, 31), named("eth0"), "kept for half a minute");
        there.push("eth0");
        assert_eq!(assign(0, &there, 31), named("eth0"));
        there.pop();
        assert_eq!(assign(0, &there, 40), named("eth0"), "it went again: another half a minute");
        assert_eq!(assign(0, &there, 70), named("eth2"));
        assert_eq!(assign(1, &there, 70), named("eth1"), "missed only now");
    }

    #[test]
    fn what_has_no_place_is_counted_once() {
        let places = Places::new(patterns(&["net*"]), 1);
        let refused = || counts().of(Counter::InterfacesRefused);
        let before = refused();
        let look = |there: &[&str]| {
            places.assign(0, &present(there), clock::steady());
            places.count_refused(&present(there));
            refused() - before
        };
        assert_eq!(look(&["net0"]), 0);
        assert_eq!(look(&["net0", "net1", "net2"]), 2);
        assert_eq!(look(&["net0", "net1", "net2"]), 2);
        assert_eq!(look(&["net0", "net2", "net3"]), 3);
        assert_eq!(look(&["net0", "net1", "net3"]), 4, "it went and came again");
    }
}
