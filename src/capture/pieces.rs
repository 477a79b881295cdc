//! The bytes of a capture file or a pipe, decompressed if need be, in large pieces.
//!
//! A piece fits the second-level cache and is parsed where it lies; only the frame that a piece's end cuts is moved.

use super::Wake;
use flate2::bufread::GzDecoder;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

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

impl Input {
    /// Waits until a read does not block, or the wish to stop comes.
    fn wait(&self) -> io::Result<()> {
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
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait()?;
            if self.wake.is_stopped() {
                return Ok(0);
            }
            match self.file.read(into) {
                // Another reader of the same pipe was faster.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    self.taken += *read.as_ref().unwrap_or(&0) as u64;
                    return read;
                }
            }
        }
    }
}

/// What is in a gzip file: its members one behind the other (RFC 1952, 2.2). Zeros may follow the last, as tapes leave them.
struct Gunzip<R> {
    /// There is one, but for the moment between two.
    member: Option<GzDecoder<BufReader<R>>>,
    is_first: bool,
    is_over: bool,
}

impl<R: Read> Gunzip<R> {
    fn new(input: R) -> Self {
        Self { member: Some(GzDecoder::new(BufReader::new(input))), is_first: true, is_over: false }
    }

    fn input(&self) -> Option<&R> {
        self.member.as_ref().map(|member| member.get_ref().get_ref())
    }

    /// Goes on behind the end of a member.
    fn next(&mut self) -> io::Result<()> {
        let Some(mut input) = self.member.take().map(GzDecoder::into_inner) else { return Ok(()) };
        loop {
            let there = input.fill_buf()?;
            if there.is_empty() {
                self.is_over = true;
                break;
            }
            let zeros = there.iter().take_while(|byte| **byte == 0).count();
            input.consume(zeros);
            match input.buffer().first() {
                Some(0x1f) => break,
                Some(_) => return Err(not_gzip()),
                None => {}
            }
        }
        self.is_first = false;
        self.member = Some(GzDecoder::new(input));
        Ok(())
    }

    fn explain(&self, error: io::Error) -> io::Error {
        let begun = self.member.as_ref().is_some_and(|member| member.header().is_some());
        match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it is cut short"),
            io::ErrorKind::InvalidInput if !begun && !self.is_first => not_gzip(),
            _ => error,
        }
    }
}

fn not_gzip() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "behind its compressed end is something that is not gzip")
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = self.member.as_mut().filter(|_| !self.is_over) {
            match member.read(into) {
                Ok(0) => self.next()?,
                Ok(read) => return Ok(read),
                Err(error) => return Err(self.explain(error)),
            }
        }
        Ok(0)
    }
}

enum Source {
    Plain(Input),
    Gzip(Box<Gunzip<io::Chain<io::Cursor<Vec<u8>>, Input>>>),
    /// Between the two.
    Gone,
}

/// Reads ahead of the parser.
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

    fn input(&self) -> Option<&Input> {
        match &self.source {
            Source::Plain(input) => Some(input),
            Source::Gzip(gunzip) => gunzip.input().map(|input| input.get_ref().1),
            Source::Gone => None,
        }
    }

    /// Bytes of the file taken so far, as they lie there.
    pub(super) fn taken(&self) -> u64 {
        self.input().map_or(0, |input| input.taken)
    }

    /// Whether a read can block, so that progress should be shown before it.
    pub(super) fn waits(&self) -> bool {
        self.input().is_some_and(|input| input.waits)
    }

    /// Reads another piece behind what is there, with room for a stretch of `needed` bytes. False at the end.
    pub(super) fn refill(&mut self, needed: usize) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // One frame or block at most: the parser refuses larger ones.
        if self.buffer.len() < needed.max(self.end + PIECE / 2) {
            self.buffer.resize(needed.max(self.end + PIECE / 2), 0);
        }
        let until = self.buffer.len().min(self.end + PIECE);
        let room = &mut self.buffer[self.end..until];
        loop {
            let read = match &mut self.source {
                Source::Plain(input) => input.read(room),
                Source::Gzip(gunzip) => gunzip.read(room),
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
            self.source = Source::Gzip(Box::new(Gunzip::new(read.chain(input))));
        }
    }
}
