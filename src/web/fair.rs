//! Who gives way when places are short. Clients share them: whoever comes with fewer places takes one from the client
//! who holds most, whatever that one is doing. So a crowd of connections from one address costs that address its own
//! places, and Prometheus always finds one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// One who holds a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    pub(super) id: u64,
    pub(super) client: IpAddr,
    /// Whether it does nothing with it.
    pub(super) waits: bool,
    pub(super) since: Instant,
}

/// Which of the holders gives way to a newcomer; `None` if the newcomer itself must go.
///
/// It is the oldest of the client who holds most, if the newcomer's client holds fewer; those who only wait first. A
/// client who holds as many as any other can still exchange one of its own that waits.
pub(super) fn gives_way(holders: &[Holder], newcomer: IpAddr) -> Option<u64> {
    let mut held: HashMap<IpAddr, usize> = HashMap::new();
    for holder in holders {
        *held.entry(holder.client).or_default() += 1;
    }
    let most = held.values().copied().max()?;
    let own = held.get(&newcomer).copied().unwrap_or(0);
    holders
        .iter()
        .filter(|holder| held[&holder.client] == most)
        .filter(|holder| own < most || (holder.client == newcomer && holder.waits))
        .min_by_key(|holder| (Reverse(holder.waits), holder.since, holder.id))
        .map(|holder| holder.id)
}

/// The scrapes under way, at most so many at once.
#[derive(Debug)]
pub(super) struct Scrapes {
    most: usize,
    running: Mutex<HashMap<u64, Running>>,
}

#[derive(Debug)]
struct Running {
    client: IpAddr,
    since: Instant,
    cut: Arc<Notify>,
}

/// The place of one scrape, free again when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    scrapes: Arc<Scrapes>,
    id: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.scrapes.lock().remove(&self.id);
    }
}

impl Scrapes {
    /// 0 is no limit.
    pub(super) fn at_most(most: usize) -> Arc<Self> {
        let most = if most == 0 { usize::MAX } else { most };
        Arc::new(Self { most, running: Mutex::default() })
    }

    /// A place for the scrape on a connection that has none yet; whether somebody was cut for it. `None` if there is none.
    pub(super) fn admit(
        self: &Arc<Self>,
        id: u64,
        client: IpAddr,
        cut: &Arc<Notify>,
        now: Instant,
    ) -> Option<(Permit, bool)> {
        let mut running = self.lock();
        let crowded = running.len() >= self.most;
        if crowded {
            let holders: Vec<Holder> = running
                .iter()
                .map(|(&id, held)| Holder { id, client: held.client, waits: false, since: held.since })
                .collect();
            let oldest = running.remove(&gives_way(&holders, client)?)?;
            oldest.cut.notify_one();
        }
        running.insert(id, Running { client, since: now, cut: Arc::clone(cut) });
        Some((Permit { scrapes: Arc::clone(self), id }, crowded))
    }

    // Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock;
    use std::time::Duration;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// Holders in the order they came, `(client, waits)`.
    fn holders(clients: &[(u8, bool)]) -> Vec<Holder> {
        let start = clock::steady();
        let holder = |(n, &(last, waits)): (usize, &(u8, bool))| {
            let since = start + Duration::from_secs(n as u64);
            Holder { id: n as u64, client: address(last), waits, since }
        };
        clients.iter().enumerate().map(holder).collect()
    }

    #[test]
    fn the_oldest_of_the_greatest_holder_gives_way() {
        let (waits, sends) = (true, false);
        let all = holders(&[(1, sends), (2, sends), (2, sends), (3, waits)]);
        assert_eq!(gives_way(&all, address(9)), Some(1), "although it is sending");
        assert_eq!(gives_way(&all, address(1)), Some(1), "one place is fewer than two");
        assert_eq!(gives_way(&all, address(2)), None, "not its own running answers, nor the others'");
        let all = holders(&[(1, sends), (2, sends), (2, waits), (2, waits)]);
        assert_eq!(gives_way(&all, address(9)), Some(2), "whoever waits goes first");
        assert_eq!(gives_way(&all, address(2)), Some(2), "it exchanges its own");
    }

    #[test]
    fn among_equals_the_oldest_gives_way_to_a_newcomer_and_to_nobody_else() {
        let all = holders(&[(1, false), (2, false), (3, false)]);
        assert_eq!(gives_way(&all, address(9)), Some(0));
        assert_eq!(gives_way(&all, address(3)), None);
        assert_eq!(gives_way(&[], address(1)), None);
    }

    #[test]
    fn a_scrape_of_another_client_takes_the_place_of_the_oldest() {
        let scrapes = Scrapes::at_most(2);
        let now = clock::steady();
        let cut = Arc::new(Notify::new());
        let first = scrapes.admit(1, address(1), &cut, now).unwrap();
        let second = scrapes.admit(2, address(1), &cut, now).unwrap();
        assert!(scrapes.admit(3, address(1), &cut, now).is_none());
        let (other, crowded) = scrapes.admit(4, address(2), &cut, now).unwrap();
        assert!(crowded && !first.1 && !second.1);
        // The one that was cut gives nothing back.
        drop(first);
        assert!(scrapes.admit(5, address(2), &cut, now).is_none());
        drop((second, other));
        assert!(scrapes.lock().is_empty());
    }
}
