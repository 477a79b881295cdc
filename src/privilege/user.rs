//! Who the process is: root becomes an unprivileged user.

use super::ConfineError;
use rustix::io;
use rustix::process::{Gid, Uid, geteuid, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Whom root becomes, unless `--user` says otherwise.
pub const DEFAULT_USER: &str = "nobody";

/// The kernel's own "nobody", where no file names the users (an image from scratch).
const OVERFLOW: u32 = 65_534;

/// A user, and the group that is his.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// His name, or his number where he has none.
    pub name: String,
    uid: u32,
    gid: u32,
}

/// Whether the process is root, or could be again.
pub(super) fn is_root() -> bool {
    geteuid().is_root() || getuid().is_root()
}

/// Whom the process is to become; `None` if it stays who it is.
pub(super) fn to_become(named: Option<&str>) -> Result<Option<User>, ConfineError> {
    let user = match named {
        Some(name) => User::named(name)?,
        None if is_root() => default_user(),
        None => return Ok(None),
    };
    if user.uid == geteuid().as_raw() && user.uid == getuid().as_raw() {
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
        let asked = |error: nix::Error| ConfineError(format!("cannot look up the user {name}: {error}"));
        if let Some(user) = nix::unistd::User::from_name(name).map_err(asked)? {
            return Ok(of(user));
        }
        let Ok(number) = name.parse() else {
            return Err(ConfineError(format!("there is no user {} (--user)", name.escape_debug())));
        };
        let known = nix::unistd::User::from_uid(number_of(number)).map_err(asked)?;
        Ok(known.map_or(Self { name: name.to_owned(), uid: number, gid: number }, of))
    }

    /// Becomes him, and nobody's friend: without supplementary groups.
    pub(super) fn become_it(&self) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
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
            "cannot give up privileges: there is no user no such\\u{1b} (--user)"
        );
    }
}
