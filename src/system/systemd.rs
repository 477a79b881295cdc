//! Telling the service manager how we are: ready, reloading, stopping, alive. Without one, each call does
//! nothing.

use rustix::io::{FdFlags, fcntl_setfd};
use sd_notify::NotifyState;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Up and capturing; `status` is what `systemctl status` shows.
pub(crate) fn ready(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
}

/// A reload begins; `ready` ends it. By the time systemd (253 and newer) knows which reload is meant.
pub(crate) fn reloading() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// What `systemctl status` shows from now on.
pub(crate) fn status(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Status(&one_line(status))])
}

/// The end begins.
pub(crate) fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])
}

/// Alive: to be sent once each `watchdog_interval`, and only while healthy, or the watchdog watches nothing.
pub(crate) fn alive() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Watchdog])
}

/// How often to say `alive`: half of what systemd allows (sd_watchdog_enabled(3)); `None` if it does not ask.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|interval| !interval.is_zero())
}

/// The protocol has one assignment a line: a line feed in a status would start another.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// The first descriptor that is passed (sd_listen_fds(3)).
const FIRST_PASSED: RawFd = 3;

/// The descriptors that a `.socket` unit passed (sd_listen_fds(3)). They are known by number only: call it once, before
/// this process opens anything, or what it opened is taken for one of them.
pub(crate) fn sockets() -> io::Result<Vec<OwnedFd>> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable("LISTEN_PID") != std::process::id().to_string() {
        return Ok(Vec::new());
    }
    let count = variable("LISTEN_FDS");
    let wrong = || {
        io::Error::other(format!("LISTEN_FDS is no number of descriptors: {}", crate::text::quote(&count)))
    };
    let end =
        count.parse::<RawFd>().ok().filter(|count| *count >= 0).and_then(|n| FIRST_PASSED.checked_add(n));
    let numbers = FIRST_PASSED..end.ok_or_else(wrong)?;
    // All of them, before one is taken: dropping an `OwnedFd` closes it.
    for number in numbers.clone() {
        // SAFETY: only asked whether it is open, and told to stay in this process.
        #[allow(unsafe_code, reason = "systemd passes numbers, not descriptors")]
        let asked = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(asked, FdFlags::CLOEXEC).map_err(|_| {
            io::Error::other(format!("LISTEN_FDS announces {count}, and descriptor {number} is not open"))
        })?;
    }
    // SAFETY: they are open, they were before this process opened anything, and nobody else takes them over.
    #[allow(unsafe_code, reason = "systemd passes numbers, not owned descriptors")]
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_forge_an_assignment() {
        assert_eq!(one_line("capturing on e\nMAINPID=1"), "capturing on e MAINPID=1");
    }
}
