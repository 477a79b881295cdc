//! `basic_auth_users`: names, and their passwords as bcrypt hashes.

use super::format::Secret;
use crate::text::quote;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

/// The greatest cost that is taken: each step doubles the time of a check, and a request may take 30 s.
const MOST_COST: u32 = 18;

/// Users, and what to compare the passwords of others with.
#[derive(Clone)]
pub(crate) struct Users {
    hashes: BTreeMap<String, Hash>,
    /// Chooses the decoy of a name, the same one each time.
    decoys: Arc<RandomState>,
}

#[derive(Clone)]
struct Hash {
    text: Arc<str>,
    cost: u32,
}

/// What a password is compared with.
#[derive(Clone)]
pub(super) struct Compared {
    pub(super) hash: Arc<str>,
    /// Whether it is that of a user: with a decoy nobody is let in, whatever the password.
    pub(super) is_known: bool,
}

impl Users {
    /// The users, or what is wrong with one.
    pub(super) fn parse(written: BTreeMap<String, Option<Secret>>) -> Result<Self, String> {
        let mut hashes = BTreeMap::new();
        for (name, secret) in written {
            let hash = secret.map_or_else(String::new, |Secret(text)| text);
            let cost =
                cost(&hash).map_err(|why| format!("the password of the user {} {why}", quote(&name)))?;
            hashes.insert(name, Hash { text: hash.into(), cost });
        }
        Ok(Self { hashes, decoys: Arc::default() })
    }

    /// Whether no password is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// What to compare a user's password with. A name that nobody has costs as much time as one that somebody has: it gets a hash
    /// of the same cost as one of the users, and always the same one, so that asking often does not tell either.
    pub(super) fn compared(&self, name: &str) -> Compared {
        if let Some(hash) = self.hashes.get(name) {
            return Compared { hash: Arc::clone(&hash.text), is_known: true };
        }
        let at = self.decoys.hash_one(name) as usize % self.hashes.len().max(1);
        let cost = self.hashes.values().nth(at).map_or(10, |hash| hash.cost);
        Compared { hash: decoy(cost).into(), is_known: false }
    }
}

/// A hash of this cost that no password is known for.
fn decoy(cost: u32) -> String {
    format!("$2y${cost:02}$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi")
}

/// The cost of a hash, or why no password can match it.
fn cost(hash: &str) -> Result<u32, String> {
    const FORM: &str = "is no bcrypt hash (as `htpasswd -nBC 10 NAME` makes them: $2y$10$ and 53 characters)";
    let rest =
        ["$2a$", "$2b$", "$2x$", "$2y$"].iter().find_map(|start| hash.strip_prefix(start)).ok_or(FORM)?;
    let (cost, rest) = rest.split_once('$').ok_or(FORM)?;
    let of_hash = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'/';
    if cost.len() != 2 || rest.len() != 53 || !rest.bytes().all(of_hash) {
        return Err(FORM.to_owned());
    }
    let cost = cost.parse::<u32>().map_err(|_| FORM)?;
    if !(4..=MOST_COST).contains(&cost) {
        return Err(format!(
            "has a bcrypt cost of {cost}: it must be from 4 to {MOST_COST}, and 10 is usual"
        ));
    }
    // Bits beyond its length, as no program writes them: nothing would match.
    if bcrypt::verify("", &format!("$2y$04${rest}")).is_err() {
        return Err(FORM.to_owned());
    }
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nobody_has_costs_as_much_as_one_that_somebody_has() {
        let users = |costs: &[u32]| {
            let written = costs.iter().map(|&cost| (format!("user{cost}"), Some(Secret(decoy(cost)))));
            Users::parse(written.collect()).unwrap()
        };
        let cost_of = |users: &Users, name: &str| users.compared(name).hash[4..6].parse::<u32>().unwrap();
        let one = users(&[12]);
        assert_eq!(cost_of(&one, "nobody"), 12);
        assert!(!one.compared("nobody").is_known && one.compared("user12").is_known);
        let two = users(&[5, 11]);
        let costs: Vec<u32> = (0..64).map(|n| cost_of(&two, &format!("nobody{n}"))).collect();
        assert!(costs.contains(&5) && costs.contains(&11), "{costs:?}");
        assert_eq!(cost_of(&two, "nobody7"), costs[7], "always the same");
    }

    #[test]
    fn a_hash_that_nothing_can_match_is_refused_and_not_repeated() {
        let good = decoy(10);
        for bad in [
            "",
            "secret",
            &good.replace("$2y$", "$1$"),
            &good.replace("$10$", "$03$"),
            &good.replace("$10$", "$19$"),
            &good[..59],
            &format!("{good}x"),
            &good.replace("DUm", "D!m"),
        ] {
            let why = cost(bad).unwrap_err();
            assert!(bad.len() < 6 || !why.contains(bad), "{why}");
        }
        for start in ["$2a$", "$2b$", "$2x$", "$2y$"] {
            assert_eq!(cost(&good.replace("$2y$", start)), Ok(10));
        }
    }
}
