//! Threads that write, at the end of bounded queues. What they write to may block for ever: a terminal that nobody
//! reads, a pipe that is full, a network file system that is gone. Then their thread waits there, alone, and ends
//! with the process.

use rustix::event::{PollFd, PollFlags, poll};
use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What may wait in one queue. More than the notifier's burst, and at the longest record some megabytes.
const QUEUE: usize = 256;

/// How many items wait to be written, in all queues together.
#[derive(Debug)]
pub(super) struct Waiting {
    count: Mutex<u64>,
    written: Condvar,
}

impl Waiting {
    pub(super) const fn new() -> Self {
        Self { count: Mutex::new(0), written: Condvar::new() }
    }

    pub(super) fn count(&self) -> u64 {
        *self.lock()
    }

    /// Waits until nothing waits; whether it came to that.
    pub(super) fn is_over_within(&self, timeout: Duration) -> bool {
        let waited = self.written.wait_timeout_while(self.lock(), timeout, |count| *count > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }

    fn more(&self) {
        *self.lock() += 1;
    }

    fn less(&self) {
        *self.lock() -= 1;
        self.written.notify_all();
    }

    // A number is whole whatever panicked beside it.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Begin = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A queue, and the thread at its end once it has begun.
pub(super) struct Writer<T> {
    queue: SyncSender<T>,
    waiting: &'static Waiting,
    begin: Mutex<Option<Begin>>,
}

impl<T> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Writer<T> {
    /// A queue that keeps what it is given until `begin`.
    pub(super) fn new(
        name: &'static str,
        waiting: &'static Waiting,
        mut write: impl FnMut(T) + Send + 'static,
    ) -> Self {
        let (queue, items) = sync_channel(QUEUE);
        let begin = move || {
            let work = move || {
                for item in items {
                    write(item);
                    waiting.less();
                }
            };
            // Never joined: it may be stuck.
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
        };
        Self { queue, waiting, begin: Mutex::new(Some(Box::new(begin))) }
    }

    /// Starts the thread, the first time.
    pub(super) fn begin(&self) -> io::Result<()> {
        let begin = self.begin.lock().unwrap_or_else(PoisonError::into_inner).take();
        begin.map_or(Ok(()), |begin| begin())
    }

    /// Queues an item and returns at once; false if there is no room, and the item is lost.
    pub(super) fn offer(&self, item: T) -> bool {
        self.waiting.more();
        match self.queue.try_send(item) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.waiting.less();
                false
            }
        }
    }
}

/// Writes lines, each whole or not at all as far as a reader can see: after one that broke off, the next begins anew.
#[derive(Debug)]
pub(super) struct Lines<W> {
    sink: W,
    in_line: bool,
}

impl<W: Write + AsFd> Lines<W> {
    pub(super) fn new(sink: W) -> Self {
        Self { sink, in_line: false }
    }

    /// Writes a line, or as much of it as can be. Waits for as long as the reader makes it.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        if self.in_line {
            self.put("\n")?;
        }
        self.put(line)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.in_line = rest[written - 1] != b'\n';
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process that shares the descriptor may have made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(&self.sink, PollFlags::OUT)];
                    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{BorrowedFd, OwnedFd};

    /// Takes as much as there is room for, then fails once.
    struct Failing {
        room: usize,
        text: Vec<u8>,
        fd: OwnedFd,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                self.room = usize::MAX;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let written = bytes.len().min(self.room);
            self.room -= written;
            self.text.extend(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AsFd for Failing {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }
    }

    #[test]
    fn after_a_line_that_broke_off_the_next_begins_anew() {
        for (room, text) in [(9, "one\ntwo t\nthree\n"), (4, "one\nthree\n"), (12, "one\ntwo two\nthree\n")] {
            let fd = std::fs::File::open("/dev/null").unwrap().into();
            let mut lines = Lines::new(Failing { room, text: Vec::new(), fd });
            let written = ["one\n", "two two\n", "three\n"].map(|line| lines.write(line).is_ok());
            assert_eq!(written, [true, room == 12, room != 12]);
            if room == 12 {
                lines.write("three\n").unwrap();
            }
            assert_eq!(String::from_utf8(lines.sink.text).unwrap(), text);
        }
    }

    #[test]
    fn a_writer_that_is_stuck_takes_a_queue_full_and_refuses_the_rest_at_once() {
        static WAITING: Waiting = Waiting::new();
        let (release, stuck) = sync_channel::<()>(0);
        let writer = Writer::new("stuck", &WAITING, move |_: usize| {
            let _ = stuck.recv();
        });
        let taken = (0..QUEUE + 10).filter(|&n| writer.offer(n)).count();
        assert_eq!((taken, WAITING.count()), (QUEUE, QUEUE as u64), "before it begins");
        writer.begin().unwrap();
        writer.begin().unwrap();
        assert!(!WAITING.is_over_within(Duration::from_millis(20)));
        drop(release);
        assert!(WAITING.is_over_within(Duration::from_secs(20)));
        assert!(writer.offer(0));
    }
}
