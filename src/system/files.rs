//! Files that operators write: read whole, within bounds, and never waited for.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The largest file that is read, in bytes.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// The open(2) flag by which a FIFO does not wait for its other end.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// Why a file has no text: the line at fault if it could be read, and what is wrong.
pub(crate) type Fault = (Option<u64>, String);

/// What stat(2) says of a file, as far as another content makes another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file that a path leads to now; none if there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let data = fs::metadata(path).ok()?;
        Some(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }

    /// When it last changed, in nanoseconds since the epoch.
    pub(crate) fn changed_nanos(&self) -> u64 {
        let (seconds, nanos) = self.changed;
        let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
    }
}

/// The file's text, or why there is none.
pub(crate) fn text(path: &Path) -> Result<String, Fault> {
    let bytes = bytes(path, MAX_BYTES).map_err(|what| (None, what))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count() as u64;
        (Some(line), "it is not UTF-8 text".to_owned())
    })
}

/// What is in a file of at most so many bytes, or why it cannot be read.
pub(crate) fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells what is too large (or endless) from what just fits.
    open(path)?.take(most + 1).read_to_end(&mut bytes).map_err(|error| cause(path, &error))?;
    if bytes.len() as u64 > most {
        return Err(format!("it is larger than {} KiB", most >> 10));
    }
    Ok(bytes)
}

/// The file, opened to be read, or why it cannot be.
pub(crate) fn open(path: &Path) -> Result<fs::File, String> {
    let cause = |error: io::Error| cause(path, &error);
    // A FIFO would keep the reload waiting for its writer, and everything else with it.
    let file = fs::File::options().read(true).custom_flags(NONBLOCK).open(path).map_err(cause)?;
    let kind = file.metadata().map_err(cause)?.file_type();
    if !kind.is_file() {
        let what = if kind.is_dir() { "it is a directory" } else { "it is not a regular file" };
        return Err(what.to_owned());
    }
    Ok(file)
}

fn cause(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("no such file{}", link_of(path)),
        io::ErrorKind::PermissionDenied => format!("permission denied{}", link_of(path)),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}

/// Where a link leads that could not be followed: the name alone is there for all to see.
fn link_of(path: &Path) -> String {
    fs::read_link(path).map_or_else(
        |_| String::new(),
        |to| format!(" (it is a link to {})", to.to_string_lossy().escape_debug()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_says_where() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/no/such/file", &link).unwrap();
        assert_eq!(bytes(&link, 1).unwrap_err(), "no such file (it is a link to /no/such/file)");
        assert_eq!(bytes(&directory.path().join("none"), 1).unwrap_err(), "no such file");
    }
}
