//! The C stream that libpcap reads a file through: ours, because nobody else sets its buffer.
//!
//! libpcap takes two `fread`s a packet from a stream of 4 KiB, each with a lock. A stream of our own reads in
//! larger pieces and, as one thread has it, without locks. And it can be closed when libpcap refuses the file.

#![allow(unsafe_code, reason = "C streams, and the two calls of libpcap that the pcap crate keeps to itself")]

use pcap::{Capture, Offline, Precision};
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::ptr::NonNull;

/// Bytes of one read: the copy still fits the second-level cache.
const BUFFER: usize = 256 << 10;

/// `FSETLOCKING_BYCALLER` of __fsetlocking(3).
const LOCKING_BY_CALLER: c_int = 2;

/// `PCAP_ERRBUF_SIZE` of pcap(3PCAP).
const ERROR_BYTES: usize = 256;

/// libpcap's handle; only ever a pointer.
enum Handle {}

unsafe extern "C" {
    fn __fsetlocking(stream: *mut libc::FILE, kind: c_int) -> c_int;
    fn pcap_fopen_offline_with_tstamp_precision(
        stream: *mut libc::FILE,
        precision: c_uint,
        error: *mut c_char,
    ) -> *mut Handle;
}

/// An open capture file.
pub struct Stream {
    /// libpcap's handle; it owns the C stream, and so the descriptor.
    pub capture: Capture<Offline>,
    /// Where the C stream reads into: freed after the handle (fields are dropped in this order), never moved or touched.
    _buffer: Vec<u8>,
}

/// Opens a capture file with nanosecond times, or says in libpcap's words why it is none.
pub fn open(file: OwnedFd) -> Result<Stream, String> {
    let descriptor = file.into_raw_fd();
    let mut buffer = vec![0_u8; BUFFER];
    let mut error: [c_char; ERROR_BYTES] = [0; ERROR_BYTES];
    // SAFETY: the stream is the only owner of the descriptor, and this thread of the stream until libpcap has it: it
    // then closes it with the handle (pcap_close(3PCAP)), and we do if it refuses (no handle). The buffer outlives the
    // stream on either way (setvbuf(3)).
    let handle = unsafe {
        let stream = libc::fdopen(descriptor, c"r".as_ptr());
        if stream.is_null() {
            let why = std::io::Error::last_os_error().to_string();
            libc::close(descriptor);
            return Err(why);
        }
        // Both are only about speed: a refusal changes nothing.
        libc::setvbuf(stream, buffer.as_mut_ptr().cast(), libc::_IOFBF, buffer.len());
        __fsetlocking(stream, LOCKING_BY_CALLER);
        let handle =
            pcap_fopen_offline_with_tstamp_precision(stream, Precision::Nano as c_uint, error.as_mut_ptr());
        if handle.is_null() {
            libc::fclose(stream);
        }
        handle
    };
    match NonNull::new(handle) {
        // The crate names its handle by a private type, which the cast infers.
        Some(handle) => Ok(Stream { capture: Capture::from(handle.cast()), _buffer: buffer }),
        // SAFETY: libpcap ends what it writes there with a NUL, and it was all NUL before.
        None => Err(unsafe { CStr::from_ptr(error.as_ptr()) }.to_string_lossy().trim().to_owned()),
    }
}
