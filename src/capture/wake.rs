//! How other threads reach a capture that waits in `poll`: look now, or stop.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes one capture out of its wait; cloneable, and callable from any thread or signal task.
/// Each capture needs its own, because the one that wakes up also empties it.
#[derive(Debug, Clone)]
pub struct Wake {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    event: OwnedFd,
    stop: AtomicBool,
}

impl Wake {
    /// A wake that nobody has called yet.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { shared: Arc::new(Shared { event, stop: AtomicBool::new(false) }) })
    }

    /// Ask for a tick now rather than within a second.
    pub fn wake(&self) {
        // The only possible failure is a full counter, and then the capture is awake anyway.
        let _ = rustix::io::write(&self.shared.event, &1u64.to_ne_bytes());
    }

    /// Ask the capture to end.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the capture was asked to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Empties the counter; whether somebody had called.
    pub(super) fn take(&self) -> bool {
        let mut counter = [0u8; 8];
        rustix::io::read(&self.shared.event, &mut counter).is_ok()
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up_to_one_and_are_taken_once() {
        let wake = Wake::new().unwrap();
        assert!(!wake.take());
        wake.wake();
        wake.clone().wake();
        assert!(wake.take());
        assert!(!wake.take());
        assert!(!wake.is_stopped());
    }

    #[test]
    fn stop_also_wakes() {
        let wake = Wake::new().unwrap();
        let other = wake.clone();
        std::thread::spawn(move || other.stop()).join().unwrap();
        assert!(wake.is_stopped());
        assert!(wake.take());
    }
}
