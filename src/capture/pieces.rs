//! The bytes of a capture file or a pipe, decompressed if need be, in large pieces.
//!
//! A piece fits the second-level cache and is parsed where it lies; only the frame that a piece's end cuts is moved.

use super::Wake;
use flate2::read::MultiGzDecoder;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::{self, Read};

/// Bytes of one read.
const PIECE: usize = 256 << 10;

/// Where bytes come from. A pipe may stay silent for hours, so it is waited for together with the wish to stop.
struct Input {
    file: File,
    wake: Wake,
    /// Whether a read can block.
    waits: bool,
    taken: u64,
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.waits && !self.wake.is_stopped() {
            let mut ways = [PollFd::new(&self.file, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
            match poll(&mut ways, None) {
                Ok(_) if ways[0].revents().is_empty() => {
                    self.wake.take();
                }
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.wake.is_stopped() {
            return Ok(0);
        }
        let read = self.file.read(into)?;
        self.taken += read as u64;
        Ok(read)
    }
}

enum Source {
    Plain(Input),
    Gzip(Box<MultiGzDecoder<io::Chain<io::Cursor<Vec<u8>>, Input>>>),
    /// Between the two.
    Gone,
}

/// Reads ahead of whoever parses.
pub(super) struct Pieces {
    source: Source,
    buffer: Vec<u8>,
    /// What is read and not yet consumed.
    start: usize,
    end: usize,
}

impl Pieces {
    /// Of an open file. `waits` says that a read can block.
    pub(super) fn new(file: File, waits: bool, wake: &Wake) -> Self {
        let input = Input { file, wake: wake.clone(), waits, taken: 0 };
        Self { source: Source::Plain(input), buffer: vec![0; PIECE], start: 0, end: 0 }
    }

    /// What is read and not yet consumed, in one stretch.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The first of `bytes` are done with.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = self.end.min(self.start + bytes);
    }

    /// Bytes of the file taken so far, as they lie there.
    pub(super) fn taken(&self) -> u64 {
        match &self.source {
            Source::Plain(input) => input.taken,
            Source::Gzip(decoder) => decoder.get_ref().get_ref().1.taken,
            Source::Gone => 0,
        }
    }

    /// Whether a read can block, so that what is known should be told before it.
    pub(super) fn waits(&self) -> bool {
        match &self.source {
            Source::Plain(input) => input.waits,
            Source::Gzip(decoder) => decoder.get_ref().get_ref().1.waits,
            Source::Gone => false,
        }
    }

    /// Reads another piece behind what is there, with room for a stretch of `needed` bytes. False at the end.
    pub(super) fn refill(&mut self, needed: usize) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // One frame or block at most: whoever parses refuses larger ones.
        if self.buffer.len() < needed.max(self.end + PIECE / 2) {
            self.buffer.resize(needed.max(self.end + PIECE / 2), 0);
        }
        let until = self.buffer.len().min(self.end + PIECE);
        let room = &mut self.buffer[self.end..until];
        loop {
            let read = match &mut self.source {
                Source::Plain(input) => input.read(room),
                Source::Gzip(decoder) => decoder.read(room),
                Source::Gone => Ok(0),
            };
            match read {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads until `wanted` bytes are there, or the end has come.
    pub(super) fn at_least(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.bytes().len() < wanted && self.refill(wanted)? {}
        Ok(self.bytes())
    }

    /// What comes is compressed with gzip.
    pub(super) fn gunzip(&mut self) {
        if let Source::Plain(input) = std::mem::replace(&mut self.source, Source::Gone) {
            let read = io::Cursor::new(self.bytes().to_vec());
            (self.start, self.end) = (0, 0);
            self.source = Source::Gzip(Box::new(MultiGzDecoder::new(read.chain(input))));
        }
    }
}
