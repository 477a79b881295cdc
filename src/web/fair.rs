//! Which connection gives way when places are short. Clients share them: a client with fewer places takes one from the client
//! that holds most, whatever that one is doing. So a crowd of connections from one address costs that address its own
//! places, and Prometheus always finds one.

use crate::system::clock;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// A place that is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) client: IpAddr,
    /// Whether nothing is done with it.
    pub(super) idle: bool,
    pub(super) since: Instant,
}

/// Which slot gives way to a newcomer; `None` if the newcomer itself must go.
///
/// It is the oldest of the client that holds most, if the newcomer's client holds fewer; idle ones first. A client that
/// holds as many as any other can still exchange one of its own that is idle.
pub(super) fn gives_way(slots: &[Slot], newcomer: IpAddr) -> Option<u64> {
    let mut held: HashMap<IpAddr, usize> = HashMap::new();
    for slot in slots {
        *held.entry(slot.client).or_default() += 1;
    }
    let most = held.values().copied().max()?;
    let own = held.get(&newcomer).copied().unwrap_or(0);
    slots
        .iter()
        .filter(|slot| held[&slot.client] == most)
        .filter(|slot| own < most || (slot.client == newcomer && slot.idle))
        .min_by_key(|slot| (Reverse(slot.idle), slot.since, slot.id))
        .map(|slot| slot.id)
}

/// The answers of one kind that are under way, at most so many at once.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    next: AtomicU64,
    running: Mutex<HashMap<u64, Running>>,
}

#[derive(Debug)]
struct Running {
    client: IpAddr,
    since: Instant,
    cut: Arc<Notify>,
}

/// The place of one answer, free again when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    places: Arc<Places>,
    id: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.places.lock().remove(&self.id);
    }
}

impl Places {
    /// 0 is no limit.
    pub(super) fn at_most(most: usize) -> Arc<Self> {
        let most = if most == 0 { usize::MAX } else { most };
        Arc::new(Self { most, next: AtomicU64::new(0), running: Mutex::default() })
    }

    /// A place for one more answer to a client; whether another was cut for it. `None` if there is none.
    pub(super) fn admit(self: &Arc<Self>, client: IpAddr, cut: &Arc<Notify>) -> Option<(Permit, bool)> {
        let mut running = self.lock();
        let crowded = running.len() >= self.most;
        if crowded {
            let slots: Vec<Slot> = running
                .iter()
                .map(|(&id, held)| Slot { id, client: held.client, idle: false, since: held.since })
                .collect();
            let oldest = running.remove(&gives_way(&slots, client)?)?;
            oldest.cut.notify_one();
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        running.insert(id, Running { client, since: clock::steady(), cut: Arc::clone(cut) });
        Some((Permit { places: Arc::clone(self), id }, crowded))
    }

    // Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// Slots in the order they were taken, `(client, idle)`.
    fn slots(clients: &[(u8, bool)]) -> Vec<Slot> {
        let start = clock::steady();
        let slot = |(n, &(last, idle)): (usize, &(u8, bool))| {
            let since = start + Duration::from_secs(n as u64);
            Slot { id: n as u64, client: address(last), idle, since }
        };
        clients.iter().enumerate().map(slot).collect()
    }

    #[test]
    fn the_oldest_of_the_client_that_holds_most_gives_way() {
        let (idle, sends) = (true, false);
        let all = slots(&[(1, sends), (2, sends), (2, sends), (3, idle)]);
        assert_eq!(gives_way(&all, address(9)), Some(1), "although it is sending");
        assert_eq!(gives_way(&all, address(1)), Some(1), "one place is fewer than two");
        assert_eq!(gives_way(&all, address(2)), None, "not its own running answers, nor the others'");
        let all = slots(&[(1, sends), (2, sends), (2, idle), (2, idle)]);
        assert_eq!(gives_way(&all, address(9)), Some(2), "an idle one goes first");
        assert_eq!(gives_way(&all, address(2)), Some(2), "it exchanges its own");
    }

    #[test]
    fn among_equals_the_oldest_gives_way_to_a_newcomer_and_to_nobody_else() {
        let all = slots(&[(1, false), (2, false), (3, false)]);
        assert_eq!(gives_way(&all, address(9)), Some(0));
        assert_eq!(gives_way(&all, address(3)), None);
        assert_eq!(gives_way(&[], address(1)), None);
    }

    #[test]
    fn a_scrape_of_another_client_takes_the_place_of_the_oldest() {
        let places = Places::at_most(2);
        let cut = Arc::new(Notify::new());
        let first = places.admit(address(1), &cut).unwrap();
        let second = places.admit(address(1), &cut).unwrap();
        assert!(places.admit(address(1), &cut).is_none());
        let (other, crowded) = places.admit(address(2), &cut).unwrap();
        assert!(crowded && !first.1 && !second.1);
        // The one that was cut gives nothing back.
        drop(first);
        assert!(places.admit(address(2), &cut).is_none());
        drop((second, other));
        assert!(places.lock().is_empty());
    }
}
