//! journald's native protocol: one datagram a record. Our own few lines instead of systemd-journal-logger,
//! which drops what it could not send without a word and writes Info as PRIORITY 5 (notice).

use super::JOURNAL_TIMEOUT;
use rustix::fs::fstat;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// The way to journald.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    /// Sent to by name each time, so that a restarted journald is found without a reconnect.
    path: PathBuf,
    stalled: bool,
}

impl Journal {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(JOURNAL_TIMEOUT))?;
        Ok(Self { socket, path: path.to_owned(), stalled: false })
    }

    /// Sends a record. After one that waited in vain, the next do not wait at all until one gets through.
    pub(super) fn send(&mut self, datagram: &str) -> io::Result<()> {
        let sent = self.socket.send_to(datagram.as_bytes(), &self.path).map(drop);
        let stalled = matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        if std::mem::replace(&mut self.stalled, stalled) != stalled {
            self.socket.set_nonblocking(stalled)?;
        }
        sent
    }
}

/// Whether standard error is a stream that journald reads (systemd.exec(5), `$JOURNAL_STREAM`): then a line may
/// begin with its priority.
pub(super) fn reads_standard_error() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Ok(stat) = fstat(io::stderr()) else { return false };
    named == format!("{}:{}", stat.st_dev, stat.st_ino)
}
