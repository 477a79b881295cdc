//! What the process may do: it needs CAP_NET_RAW to capture, and nothing else.
//!
//! Attackers write packets and requests. One that gets code to run in this process should find an unprivileged user
//! that can read the configuration, /proc and nothing else, connect nowhere and start no program.

mod error;
mod sandbox;
mod user;

pub use error::ConfineError;
pub use user::User;

use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
};
use std::path::PathBuf;

/// Whether packet sockets can be opened. If the kernel does not say, opening one will show it.
pub(crate) fn may_capture() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_RAW))
}

/// What the process shall be from now on.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The user named by `--user`; without a name root becomes `nobody`, and anyone else stays who he is.
    pub user: Option<String>,
    /// What is still read: files, and directories with all that is in them.
    pub readable: Vec<PathBuf>,
}

/// What the process is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confined {
    /// The user that root became, if it was root.
    pub became: Option<String>,
    /// Whether that is an account which others use: nobody named one.
    pub shared: bool,
    /// Why it is still root, if it is.
    pub still_root: Option<String>,
    /// Whether the kernel holds it to the files it may read (Landlock), and how far.
    pub files: sandbox::Files,
    /// Whether the kernel refuses the system calls it has no use for.
    pub calls: bool,
}

pub use sandbox::Files;

/// Gives up every privilege but CAP_NET_RAW, for good.
///
/// Call it when everything is open that needs more (a web port below 1024, the configuration of another user), and before the
/// first thread is started: all of this belongs to the calling thread, and is inherited by those that it starts. The
/// order is a contract:
///
/// 1. No new privileges: a set-user-ID program gives none back. Landlock and seccomp ask for this from those without
///    CAP_SYS_ADMIN.
/// 2. The bounding set is emptied, while there is CAP_SETPCAP to do so.
/// 3. The supplementary groups, the group, the user, in this order: only root may change the first two. The kernel would
///    take all capabilities away with the user, were it not asked to keep them.
/// 4. All capabilities but CAP_NET_RAW: after the user is changed, since that takes CAP_SETUID and clears those in effect.
///    Then a look at what came of 3 and 4: what the kernel was asked for is not always what it did.
/// 5. Landlock, after the user's name was looked up in files.
/// 6. The list of system calls, last: it refuses some of the above.
pub(crate) fn confine(options: &Options) -> Result<Confined, ConfineError> {
    expect_one_thread()?;
    confine_thread(options)
}

/// The same for this thread alone, whatever others there are.
pub fn confine_thread(options: &Options) -> Result<Confined, ConfineError> {
    let failed = |what: &'static str| move |error: io::Errno| ConfineError(format!("{what}: {error}"));
    let user = user::to_become(options.user.as_deref())?;
    set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    empty_bounding_set();
    let (became, still_root) = match user {
        Some(user) => {
            set_keep_capabilities(true).map_err(failed("the capabilities are not kept"))?;
            let outcome = user.become_it();
            // Should someone become root again, the kernel gives him nothing.
            let _ = set_keep_capabilities(false);
            match outcome {
                Ok(()) => {
                    user.expect_it()?;
                    (Some(user.name), None)
                }
                Err(error) if options.user.is_some() => {
                    return Err(ConfineError(format!("cannot become {}: {error}", user.name)));
                }
                Err(error) => (None, Some(format!("cannot become {}: {error}", user.name))),
            }
        }
        None if user::is_root() => (None, Some(String::from("--user=root asks for it"))),
        None => (None, None),
    };
    keep_only_net_raw().map_err(failed("capabilities"))?;
    expect_only_net_raw(capabilities(None).map_err(failed("capabilities"))?)?;
    let files = sandbox::restrict_files(&options.readable).map_err(ConfineError)?;
    let calls = sandbox::restrict_calls().map_err(ConfineError)?;
    let shared = became.is_some() && options.user.is_none();
    Ok(Confined { became, shared, still_root, files, calls })
}

/// Becomes the user that a start by root would become, for good; `None` if it stays who it is. For a look at what he may read.
pub fn become_as_at_start(named: Option<&str>) -> Result<Option<String>, ConfineError> {
    if !user::is_root() {
        return Ok(None);
    }
    let user = user::to_become(named)?;
    // Root that may not become another stays root at the start, too, and reads all.
    Ok(user.filter(|user| user.become_it().is_ok()).map(|user| user.name))
}

/// Another thread would stay what it is, root with all its privileges.
fn expect_one_thread() -> Result<(), ConfineError> {
    // Without /proc nobody knows.
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    match threads {
        0 | 1 => Ok(()),
        more => Err(ConfineError(format!("{more} threads run already, and each would keep its own"))),
    }
}

/// Nothing that is executed from here on gets a capability by its file. Without CAP_SETPCAP there is no need: step 1.
fn empty_bounding_set() {
    for capability in CapabilitySet::all() {
        let _ = remove_capability_from_bounding_set(capability);
    }
}

fn keep_only_net_raw() -> io::Result<()> {
    // An old kernel has no ambient set; then there is nothing in it.
    let _ = clear_ambient_capability_set();
    let kept = capabilities(None)?.permitted & CapabilitySet::NET_RAW;
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}

/// An error if there is more left than should be.
fn expect_only_net_raw(left: CapabilitySets) -> Result<(), ConfineError> {
    let beyond = (left.permitted | left.effective | left.inheritable) - CapabilitySet::NET_RAW;
    if beyond.is_empty() && left.inheritable.is_empty() {
        return Ok(());
    }
    Err(ConfineError(format!("these capabilities are left: {left:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_beyond_net_raw_is_noticed() {
        let none = CapabilitySet::empty();
        let raw = CapabilitySet::NET_RAW;
        let left = |effective, permitted, inheritable| CapabilitySets { effective, permitted, inheritable };
        assert_eq!(expect_only_net_raw(left(raw, raw, none)), Ok(()));
        assert_eq!(expect_only_net_raw(left(none, none, none)), Ok(()));
        for more in [
            left(raw, raw | CapabilitySet::SETUID, none),
            left(raw | CapabilitySet::SYS_ADMIN, raw, none),
            left(raw, raw, raw),
        ] {
            assert!(expect_only_net_raw(more).is_err(), "{more:?}");
        }
    }
}
