//! Telling the service manager how we are: ready, reloading, stopping, alive. Without one, each call does
//! nothing.

use sd_notify::NotifyState;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

/// Up and capturing; `status` is what `systemctl status` shows.
pub fn ready(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
}

/// A reload begins; `ready` ends it. The time tells systemd (253 and newer) which reload is meant.
pub fn reloading() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// What `systemctl status` shows from now on.
pub fn status(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Status(&one_line(status))])
}

/// The end begins.
pub fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])
}

/// Alive: to be sent once each `watchdog_interval`, and only while healthy, or the watchdog watches nothing.
pub fn alive() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Watchdog])
}

/// How often to say `alive`: half of what systemd allows (sd_watchdog_enabled(3)); `None` if it does not ask.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|interval| !interval.is_zero())
}

/// The protocol has one assignment a line: a line feed in a status would start another.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// The sockets of a `.socket` unit (sd_listen_fds(3)). Call it once.
pub fn sockets() -> io::Result<Vec<OwnedFd>> {
    let descriptors = sd_notify::listen_fds()?;
    // SAFETY: systemd passed these descriptors to this process, and nobody else takes them over.
    #[allow(unsafe_code, reason = "systemd passes numbers, not owned descriptors")]
    Ok(descriptors.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_forge_an_assignment() {
        assert_eq!(one_line("capturing on e\nMAINPID=1"), "capturing on e MAINPID=1");
    }
}
