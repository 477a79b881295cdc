//! Who the process is: root becomes an unprivileged user.

use super::error::ConfineError;
use crate::text::quote;
use rustix::io;
use rustix::process::{Gid, Uid, getgroups};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Whom root becomes, unless `--user` says otherwise.
pub(crate) const DEFAULT_USER: &str = "nobody";

/// The kernel's own "nobody", where no file names the users (an image from scratch).
const OVERFLOW: u32 = 65_534;

/// What setresuid(2) and setresgid(2) take for "leave it as it is": a process that is to become this number stays root.
const UNCHANGED: u32 = u32::MAX;

/// A user, and the group that is his.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// His name, or his number where he has none.
    pub name: String,
    uid: u32,
    gid: u32,
}

/// The real, effective and saved numbers of this thread's user.
fn uids() -> [u32; 3] {
    let ids = nix::unistd::getresuid().expect("the kernel writes three numbers where it is told to");
    [ids.real, ids.effective, ids.saved].map(nix::unistd::Uid::as_raw)
}

/// The same of its group.
fn gids() -> [u32; 3] {
    let ids = nix::unistd::getresgid().expect("the kernel writes three numbers where it is told to");
    [ids.real, ids.effective, ids.saved].map(nix::unistd::Gid::as_raw)
}

/// Whether the process is root, or could be again.
pub(super) fn is_root() -> bool {
    uids().contains(&0)
}

/// Whom the process is to become; `None` if it stays who it is.
pub(super) fn to_become(named: Option<&str>) -> Result<Option<User>, ConfineError> {
    let user = match named {
        Some(name) => User::named(name)?,
        None if is_root() => default_user(),
        None => return Ok(None),
    };
    if uids() == [user.uid; 3] {
        return Ok(None);
    }
    if !is_root() {
        return Err(ConfineError(format!("only root can become {} (--user)", user.name)));
    }
    Ok(Some(user))
}

fn default_user() -> User {
    User::named(DEFAULT_USER).unwrap_or(User { name: DEFAULT_USER.to_owned(), uid: OVERFLOW, gid: OVERFLOW })
}

impl User {
    /// The user of this name or number, as the system knows him.
    fn named(name: &str) -> Result<Self, ConfineError> {
        let of = |user: nix::unistd::User| Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        };
        let asked =
            |error: nix::Error| ConfineError(format!("cannot look up the user {}: {error}", quote(name)));
        let user = match nix::unistd::User::from_name(name).map_err(asked)? {
            Some(user) => of(user),
            None => {
                // `parse` alone would take a sign.
                let digits = if name.bytes().all(|byte| byte.is_ascii_digit()) { name } else { "" };
                let Ok(number) = digits.parse() else {
                    return Err(ConfineError(format!("there is no user {} (--user)", quote(name))));
                };
                let known = nix::unistd::User::from_uid(number_of(number)).map_err(asked)?;
                known.map_or(Self { name: name.to_owned(), uid: number, gid: number }, of)
            }
        };
        user.can_be_become()
    }

    /// An error for a number that the kernel takes for none: the process would stay root and say that it is not.
    fn can_be_become(self) -> Result<Self, ConfineError> {
        if [self.uid, self.gid].contains(&UNCHANGED) {
            return Err(ConfineError(format!(
                "nobody can become {} (--user): the number {UNCHANGED} means no change",
                quote(&self.name)
            )));
        }
        Ok(self)
    }

    /// Becomes him, and nobody's friend: without supplementary groups.
    pub(super) fn become_it(&self) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    }

    /// Looks again: an error if the thread is anyone but him, in any way that it could go back to.
    pub(super) fn expect_it(&self) -> Result<(), ConfineError> {
        let groups = getgroups().map_or(usize::MAX, |groups| groups.len());
        if uids() == [self.uid; 3] && gids() == [self.gid; 3] && groups == 0 {
            return Ok(());
        }
        Err(ConfineError(format!(
            "it should be {} and is still user {:?}, group {:?} (real, effective, saved)",
            self.name,
            uids(),
            gids()
        )))
    }
}

fn number_of(uid: u32) -> nix::unistd::Uid {
    nix::unistd::Uid::from_raw(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_or_numbers() {
        let root = User::named("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(User::named("0").unwrap(), root);
        let stranger = User::named("4242424").unwrap();
        assert_eq!((stranger.uid, stranger.gid, stranger.name.as_str()), (4_242_424, 4_242_424, "4242424"));
        assert_eq!(
            User::named("no such\u{1b}").unwrap_err().to_string(),
            "cannot give up privileges: there is no user \"no such\\u{1b}\" (--user)"
        );
        for name in ["", "+1", "-1", "4294967296"] {
            let said = User::named(name).unwrap_err().to_string();
            assert!(said.ends_with(&format!("there is no user \"{name}\" (--user)")), "{said}");
        }
    }

    #[test]
    fn the_number_that_means_no_change_is_no_user() {
        assert_eq!(
            User::named("4294967295").unwrap_err().to_string(),
            "cannot give up privileges: nobody can become \"4294967295\" (--user): the number 4294967295 means no change"
        );
        // By name, and by the group alone.
        for (uid, gid) in [(UNCHANGED, 7), (7, UNCHANGED)] {
            assert!(User { name: "odd".into(), uid, gid }.can_be_become().is_err());
        }
        assert_eq!(User::named("4294967294").unwrap().uid, UNCHANGED - 1);
    }

    #[test]
    fn who_it_is_not_is_noticed() {
        let another = User { name: "another".into(), uid: 4_242_424, gid: 4_242_424 };
        assert!(
            another.expect_it().unwrap_err().to_string().contains("it should be another and is still user [")
        );
    }
}
