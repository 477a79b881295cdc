//! The latest snapshot of every interface: the capture threads publish, the scrape side reads. A lock is
//! held for a pointer copy only, so that no capture thread ever waits for a page being rendered. Threads that share an
//! interface publish each for itself; readers see them as one.

use crate::capture::CaptureStatus;
use crate::detect::Explanation;
use crate::publish::snapshot::InterfaceSnapshot;
use crate::system::clock;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A capture loop that has not ticked for so long is not healthy.
pub(crate) const STALLED: Duration = Duration::from_secs(10);

/// One slot per interface, in the order the interfaces were given; the latest snapshot wins.
#[derive(Debug)]
pub struct SnapshotStore {
    created: Instant,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    interface: String,
    /// One for each of its threads.
    shards: Vec<Mutex<Option<Published>>>,
    answers: Vec<Mutex<VecDeque<Answer>>>,
}

/// Answers that are kept for those who asked; the oldest make room. More than a capture gives at two ticks.
const ANSWERS: usize = 32;

#[derive(Debug, Clone)]
struct Answer {
    question: u64,
    explanation: Arc<Explanation>,
}

#[derive(Debug, Clone)]
struct Published {
    snapshot: Arc<InterfaceSnapshot>,
    ticked: Instant,
}

/// The state of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureState {
    /// It captures and has published.
    Ready,
    /// It has not published yet.
    Starting,
    /// It has published, but it does not capture now.
    Down,
    /// It has published, and its thread has not ticked for long since.
    Stalled,
    /// There is no interface for it: a place that waits for one. Nothing is shown of it.
    Idle,
}

impl SnapshotStore {
    /// An empty slot for each of these interfaces.
    pub fn new(interfaces: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::shared(interfaces, 1)
    }

    /// The same for interfaces that are each captured by so many threads.
    pub fn shared(interfaces: impl IntoIterator<Item = impl Into<String>>, threads: usize) -> Self {
        let shards = || (0..threads).map(|_| Mutex::new(None)).collect();
        let answers = || (0..threads).map(|_| Mutex::new(VecDeque::with_capacity(ANSWERS))).collect();
        let slots = interfaces
            .into_iter()
            .map(|interface| Slot { interface: interface.into(), shards: shards(), answers: answers() })
            .collect();
        Self { created: clock::steady(), slots }
    }

    /// Shows a snapshot of the interface at `index`; its capture loop ticked now.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn publish(&self, index: usize, snapshot: Arc<InterfaceSnapshot>) {
        self.publish_at(index, snapshot, clock::steady());
    }

    /// The same for one of the threads of the interface.
    ///
    /// # Panics
    /// If there is no such slot, or no such thread.
    pub fn publish_shard(&self, index: usize, shard: usize, snapshot: Arc<InterfaceSnapshot>) {
        self.slots[index].put(shard, snapshot, clock::steady());
    }

    /// The same for a loop that ticked at another time.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn publish_at(&self, index: usize, snapshot: Arc<InterfaceSnapshot>, ticked: Instant) {
        self.slots[index].put(0, snapshot, ticked);
    }

    /// What one of the threads of an interface answers to a question.
    ///
    /// # Panics
    /// If there is no such slot, or no such thread.
    pub fn answer_shard(&self, index: usize, shard: usize, question: u64, explanation: Explanation) {
        let answer = Answer { question, explanation: Arc::new(explanation) };
        let mut answers = Slot::lock(&self.slots[index].answers[shard]);
        let oldest = if answers.len() == ANSWERS { answers.pop_front() } else { None };
        answers.push_back(answer);
        drop(answers);
        // Freed here, after the lock is gone.
        drop(oldest);
    }

    /// What each interface answers to a question, with all its threads; `None` until each of them has. In the order of
    /// the slots.
    pub fn answers(&self, question: u64) -> Vec<Option<Explanation>> {
        self.slots.iter().map(|slot| slot.answer(question)).collect()
    }

    /// The latest snapshot of every interface, if it has published (with all its threads), in the order of the slots.
    pub fn each(&self) -> Vec<Option<Arc<InterfaceSnapshot>>> {
        let now = clock::steady();
        let shown = |slot: &Slot| slot.published().filter(Published::has_interface);
        self.slots.iter().map(|slot| shown(slot).map(|published| published.at(now))).collect()
    }

    /// The latest snapshot of every interface that has published (with all its threads), in the order of the slots. One whose
    /// capture has stalled is not up.
    pub fn all(&self) -> Vec<Arc<InterfaceSnapshot>> {
        self.all_at(clock::steady())
    }

    /// The same at another moment.
    pub(crate) fn all_at(&self, now: Instant) -> Vec<Arc<InterfaceSnapshot>> {
        let shown = self.slots.iter().filter_map(Slot::published).filter(Published::has_interface);
        shown.map(|published| published.at(now)).collect()
    }

    /// Every interface, by the name it has now, and its state; in the order of the slots.
    pub(crate) fn states(&self) -> Vec<(String, CaptureState)> {
        let now = clock::steady();
        let state = |slot: &Slot| match slot.published() {
            None => (slot.interface.clone(), CaptureState::Starting),
            Some(published) => {
                if now.saturating_duration_since(published.ticked) > STALLED {
                    return (published.snapshot.interface.clone(), CaptureState::Stalled);
                }
                let snapshot = published.snapshot;
                let state = match snapshot.capture {
                    CaptureStatus { idle: true, .. } => CaptureState::Idle,
                    CaptureStatus { up: true, .. } => CaptureState::Ready,
                    _ => CaptureState::Down,
                };
                (snapshot.interface.clone(), state)
            }
        };
        self.slots.iter().map(state).collect()
    }

    /// Interfaces whose capture loop has not ticked for longer than `limit`, and for how long.
    pub fn stalled(&self, now: Instant, limit: Duration) -> Vec<(&str, Duration)> {
        let silence = |slot: &Slot| {
            let since = slot.published().map_or(self.created, |published| published.ticked);
            now.saturating_duration_since(since)
        };
        self.slots
            .iter()
            .map(|slot| (slot.interface.as_str(), silence(slot)))
            .filter(|&(_, silence)| silence > limit)
            .collect()
    }
}

impl Published {
    fn has_interface(&self) -> bool {
        !self.snapshot.capture.idle
    }

    /// How it stands now: the last words of a loop that has stalled since are not true any more.
    fn at(self, now: Instant) -> Arc<InterfaceSnapshot> {
        let Self { mut snapshot, ticked } = self;
        if snapshot.capture.up && now.saturating_duration_since(ticked) > STALLED {
            Arc::make_mut(&mut snapshot).capture.up = false;
        }
        snapshot
    }
}

impl Slot {
    fn put(&self, shard: usize, snapshot: Arc<InterfaceSnapshot>, ticked: Instant) {
        let published = Some(Published { snapshot, ticked });
        let previous = std::mem::replace(&mut *Self::lock(&self.shards[shard]), published);
        // Freed here, after the lock is gone.
        drop(previous);
    }

    // A capture thread that panicked while it held the lock left a whole value behind: only pointers move.
    fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of all threads as one.
    fn answer(&self, question: u64) -> Option<Explanation> {
        let of_thread = |answers: &Mutex<VecDeque<Answer>>| {
            let answers = Self::lock(answers);
            answers.iter().find(|answer| answer.question == question).map(|answer| answer.explanation.clone())
        };
        let all: Vec<Arc<Explanation>> = self.answers.iter().map(of_thread).collect::<Option<_>>()?;
        let (first, others) = all.split_first()?;
        let mut all = Explanation::clone(first);
        others.iter().for_each(|other| all.merge(other));
        Some(all)
    }

    /// All threads as one: as old as the oldest. `None` until each of them has published.
    fn published(&self) -> Option<Published> {
        if let [only] = &self.shards[..] {
            return Self::lock(only).clone();
        }
        let all: Vec<Published> =
            self.shards.iter().map(|shard| Self::lock(shard).clone()).collect::<Option<_>>()?;
        let snapshot = InterfaceSnapshot::merged(all.iter().map(|published| &*published.snapshot))?;
        let ticked = all.iter().map(|published| published.ticked).min()?;
        Some(Published { snapshot: Arc::new(snapshot), ticked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::snapshot as fixture;

    fn named((interface, state): (&str, CaptureState)) -> (String, CaptureState) {
        (interface.to_owned(), state)
    }

    #[test]
    fn an_interface_is_called_what_it_is_called_now() {
        let store = SnapshotStore::new(["eth0"]);
        store.publish(0, Arc::new(fixture::quiet("wlan0")));
        assert_eq!(store.states(), [named(("wlan0", CaptureState::Ready))]);
    }

    #[test]
    fn the_latest_snapshot_wins_and_order_is_that_of_the_slots() {
        let store = SnapshotStore::new(["eth0", "eth1"]);
        assert!(store.all().is_empty());
        store.publish(1, Arc::new(fixture::quiet("eth1")));
        store.publish(0, Arc::new(fixture::quiet("eth0")));
        let mut newer = fixture::quiet("eth1");
        newer.packets = 7;
        store.publish(1, Arc::new(newer));
        let shown: Vec<_> = store.all().iter().map(|s| (s.interface.clone(), s.packets)).collect();
        assert_eq!(shown, [("eth0".to_owned(), 0), ("eth1".to_owned(), 7)]);
    }

    #[test]
    fn ready_is_up_and_published() {
        let store = SnapshotStore::new(["eth0", "eth1", "eth2"]);
        store.publish(0, Arc::new(fixture::quiet("eth0")));
        let mut down = fixture::quiet("eth1");
        down.capture.up = false;
        store.publish(1, Arc::new(down));
        assert_eq!(
            store.states(),
            [("eth0", CaptureState::Ready), ("eth1", CaptureState::Down), ("eth2", CaptureState::Starting)]
                .map(named)
        );
    }

    #[test]
    fn a_loop_that_never_ticked_stalls_too() {
        let store = SnapshotStore::new(["eth0", "eth1"]);
        let limit = Duration::from_secs(10);
        let later = store.created + Duration::from_secs(11);
        store.publish_at(0, Arc::new(fixture::quiet("eth0")), later - limit);
        assert_eq!(store.stalled(later, limit), [("eth1", Duration::from_secs(11))]);
        assert!(store.stalled(store.created, limit).is_empty());
    }

    #[test]
    fn threads_of_an_interface_are_one_when_all_have_published() {
        let store = SnapshotStore::shared(["eth0", "eth1"], 2);
        let mut one = fixture::quiet("eth0");
        one.packets = 7;
        let limit = Duration::from_secs(10);
        store.publish_shard(0, 1, Arc::new(one.clone()));
        assert!(store.all().is_empty());
        assert_eq!(store.states()[0], named(("eth0", CaptureState::Starting)));
        store.slots[0].put(0, Arc::new(one), store.created);
        assert_eq!(store.all()[0].packets, 14);
        assert_eq!(
            store.states(),
            [("eth0", CaptureState::Ready), ("eth1", CaptureState::Starting)].map(named)
        );
        store.publish_shard(0, 0, Arc::new(fixture::quiet("eth7")));
        assert_eq!(store.all()[0].packets, 0, "what one thread saw of another interface is not of this one");
        store.slots[0].put(0, Arc::new(fixture::quiet("eth0")), store.created);
        let later = store.created + Duration::from_secs(11);
        let silent = Duration::from_secs(11);
        assert_eq!(store.stalled(later, limit), [("eth0", silent), ("eth1", silent)], "the slowest counts");
    }
}
