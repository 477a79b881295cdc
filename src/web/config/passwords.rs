//! Whether a password is right. A bcrypt check takes as long as a hundred pages, so what was found out is kept, and only one check
//! runs at a time, on a thread beside the server's and with less claim to a processor.
//!
//! The adversary tries passwords as fast as he can. He gets one processor at most, and his own places in the queue:
//! clients share them, as they share those of scrapes. A password that was right before is not looked up anew, and his
//! failures do not push it out.

use super::users::Users;
use crate::system::counters::{Counter, Counters};
use crate::web::fair::Places;
use crate::web::limits::{CHECKS_WAITING, PASSWORDS_KEPT};
use ring::hmac;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, Semaphore};

/// What is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// Too many checks wait already.
    Busy,
}

/// Next to a capture on one processor a check gets a quarter of it; much less, and a busy host lets nobody in.
const NICE: i32 = 5;

/// A password that was tried by a user, as nobody can read it.
type Digest = [u8; 32];

/// What was found out, and who waits for more.
#[derive(Debug)]
pub(crate) struct Passwords {
    /// Of this process only.
    key: hmac::Key,
    found: Mutex<Found>,
    places: Arc<Places>,
    one: Arc<Semaphore>,
}

/// The latest of each kind.
#[derive(Debug, Default)]
struct Found {
    right: VecDeque<Digest>,
    wrong: VecDeque<Digest>,
}

impl Passwords {
    /// With nothing found out yet.
    pub(crate) fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).expect("the kernel gives random numbers");
        let places = Places::at_most(CHECKS_WAITING);
        Self { key, found: Mutex::default(), places, one: Arc::new(Semaphore::new(1)) }
    }

    /// Whether it is the password of this user. A client that holds more places may have to give way to the one that asks, and
    /// that is counted.
    pub(crate) async fn check(
        &self,
        users: &Users,
        name: &str,
        password: &[u8],
        (client, cut): (IpAddr, &Arc<Notify>),
        counters: &Counters,
    ) -> Verdict {
        let compared = users.compared(name);
        let digest = self.digest(&[name.as_bytes(), compared.hash.as_bytes(), password]);
        if let Some(verdict) = self.found().verdict(&digest) {
            return verdict;
        }
        let Some((_place, crowded)) = self.places.admit(client, cut) else { return Verdict::Busy };
        if crowded {
            counters.count(Counter::CutCrowded);
        }
        let Ok(turn) = Arc::clone(&self.one).acquire_owned().await else { return Verdict::Busy };
        // Another may have asked the same meanwhile.
        if let Some(verdict) = self.found().verdict(&digest) {
            return verdict;
        }
        let (hash, password) = (Arc::clone(&compared.hash), password.to_owned());
        let matches = tokio::task::spawn_blocking(move || {
            // Held to the end, also when nobody waits for it any more.
            let _turn = turn;
            // Refused in some sandboxes; it is a courtesy to the captures.
            let _ = rustix::process::setpriority_process(None, NICE);
            bcrypt::verify(password, &hash).unwrap_or(false)
        });
        let is_right = matches.await.unwrap_or(false) && compared.is_known;
        self.found().put(digest, is_right)
    }

    /// Each part with its length before it: no two attempts are the same text.
    fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn verdict(&self, digest: &Digest) -> Option<Verdict> {
        // A digest is worthless without the key, so comparing it in the usual way tells nothing.
        if self.right.contains(digest) {
            return Some(Verdict::Right);
        }
        self.wrong.contains(digest).then_some(Verdict::Wrong)
    }

    /// Keeps it; the oldest of its kind makes room.
    fn put(&mut self, digest: Digest, is_right: bool) -> Verdict {
        let kept = if is_right { &mut self.right } else { &mut self.wrong };
        if kept.len() == PASSWORDS_KEPT {
            kept.pop_front();
        }
        kept.push_back(digest);
        if is_right { Verdict::Right } else { Verdict::Wrong }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_do_not_push_out_what_was_right() {
        let mut found = Found::default();
        found.put([1; 32], true);
        for n in 0..10 * PASSWORDS_KEPT {
            let mut digest = [2; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            found.put(digest, false);
        }
        assert_eq!(found.verdict(&[1; 32]), Some(Verdict::Right));
        assert_eq!(found.verdict(&[3; 32]), None);
        assert_eq!(found.wrong.len(), PASSWORDS_KEPT);
    }

    #[test]
    fn parts_do_not_run_together() {
        let passwords = Passwords::new();
        assert_ne!(passwords.digest(&[b"ab", b"c"]), passwords.digest(&[b"a", b"bc"]));
        assert_ne!(passwords.digest(&[b"a"]), Passwords::new().digest(&[b"a"]));
    }
}
