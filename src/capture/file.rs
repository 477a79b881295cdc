//! Capture files: pcap and pcapng, from a path or from standard input.

use super::{CaptureError, FrameSink, SUPPORTED_LINKS, said, supported_link, timestamp};
use pcap::{Capture, Offline, Precision};
use std::fs::File;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames between two looks at the stop flag and two reports of progress: some milliseconds.
const STRIDE: usize = 65_536;

/// How far a file has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the file so far, 0 if nobody can know (standard input).
    pub bytes: u64,
    /// The file's length, if it has one.
    pub total: Option<u64>,
    /// Frames handed over so far.
    pub frames: u64,
}

/// Hands every frame of a capture file to `sink` (`-` is standard input), until its end or until `stop` is set.
///
/// Returns the number of frames. A broken file is an error after everything before the break was handed over.
pub fn read_file(
    path: &Path,
    sink: &mut impl FrameSink,
    stop: &AtomicBool,
    mut progress: impl FnMut(Progress),
) -> Result<u64, CaptureError> {
    let fail = |reason: String| CaptureError::File { path: path.to_owned(), reason };
    let mut source = open(path).map_err(fail)?;
    let link = supported_link(source.capture.get_datalink())
        .map_err(|name| fail(format!("link type {name} is not supported (supported: {SUPPORTED_LINKS})")))?;
    sink.opened(link);
    let mut frames = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let read = source.capture.dispatch(Some(STRIDE), |packet| {
            frames += 1;
            sink.frame(timestamp(packet.header), packet.data);
        });
        sink.batch_end();
        progress(Progress { bytes: source.position(), total: source.length, frames });
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(fail(format!("{} (after {frames} frames)", said(&error)))),
        }
    }
    Ok(frames)
}

/// An open capture file, and where it is being read.
struct Source {
    capture: Capture<Offline>,
    /// Shares its offset with libpcap's descriptor, so that asking for the position costs nothing per frame.
    position: Option<File>,
    length: Option<u64>,
}

impl Source {
    fn position(&self) -> u64 {
        // A pipe has no position.
        self.position.as_ref().and_then(|file| rustix::fs::tell(file).ok()).unwrap_or(0)
    }
}

fn open(path: &Path) -> Result<Source, String> {
    if path.as_os_str() == "-" {
        let capture = Capture::from_file_with_precision("-", Precision::Nano)
            .map_err(|error| explain_header(&said(&error)))?;
        return Ok(Source { capture, position: None, length: None });
    }
    // Opened here and not by libpcap: any file name will do, not only UTF-8, and the system's own words say why not.
    let file = File::open(path).map_err(|error| reason(&error))?;
    let metadata = file.metadata().map_err(|error| reason(&error))?;
    if metadata.is_dir() {
        return Err(String::from("it is a directory"));
    }
    let length = metadata.is_file().then_some(metadata.len());
    if length == Some(0) {
        return Err(String::from("it is empty"));
    }
    let position = file.try_clone().map_err(|error| reason(&error))?;
    // SAFETY: the descriptor was just given up by its only owner; the clone is another descriptor.
    #[allow(unsafe_code, reason = "libpcap takes the descriptor over")]
    let capture = unsafe { Capture::from_raw_fd_with_precision(file.into_raw_fd(), Precision::Nano) };
    let capture = capture.map_err(|error| explain_header(&said(&error)))?;
    Ok(Source { capture, position: Some(position), length })
}

/// The system's words without "(os error 2)".
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// What libpcap says about a file's first bytes, in the words of somebody who only gave a file name.
fn explain_header(said: &str) -> String {
    if said.contains("only got 0") {
        String::from("it is empty")
    } else if said.contains("unknown file format") {
        String::from("it is neither a pcap nor a pcapng file")
    } else {
        said.to_owned()
    }
}
