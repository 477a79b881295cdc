//! What is counted while a file is read, on the way of its frames to the sink.

use super::FrameSink;
use crate::packet::{LinkType, Timestamp};

/// What was read of a file, and what was odd about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Frames handed over.
    pub frames: u64,
    /// Frames of which the capture kept only the beginning.
    pub cut: u64,
    /// Frames longer than the snap length that the file claims; they are handed over as they are.
    pub oversize: u64,
    /// The smallest snap length that the file claims.
    pub snap_length: Option<u32>,
    /// Frames that were not handed over, because nobody can decode their link type.
    pub unread: u64,
    /// The first such link type, in words.
    pub unread_link: Option<String>,
}

impl Account {
    /// Adds what was read of another file of the same capture.
    pub fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.cut += other.cut;
        self.oversize += other.oversize;
        self.unread += other.unread;
        self.unread_link = self.unread_link.take().or(other.unread_link);
        self.limit(other.snap_length.unwrap_or(0));
    }

    /// The file claims this snap length; 0 is none.
    pub(super) fn limit(&mut self, snap_length: u32) {
        if snap_length > 0 {
            self.snap_length = Some(self.snap_length.map_or(snap_length, |least| least.min(snap_length)));
        }
    }
}

/// Where the formats put their frames.
pub(super) struct Output<'a, S> {
    pub(super) sink: &'a mut S,
    pub(super) account: &'a mut Account,
    link: Option<LinkType>,
    limit: usize,
}

impl<'a, S: FrameSink> Output<'a, S> {
    pub(super) fn new(sink: &'a mut S, account: &'a mut Account) -> Self {
        Self { sink, account, link: None, limit: usize::MAX }
    }

    /// The frames that follow have this link layer.
    #[inline]
    pub(super) fn link(&mut self, link: LinkType) {
        if self.link != Some(link) {
            self.link = Some(link);
            self.sink.opened(link);
        }
    }

    /// The frames that follow should be no longer; 0 is no limit.
    #[inline]
    pub(super) fn limit(&mut self, snap_length: u32) {
        self.limit = if snap_length == 0 { usize::MAX } else { snap_length as usize };
    }

    #[inline]
    pub(super) fn frame(&mut self, time: Timestamp, original: u32, bytes: &[u8]) {
        self.account.frames += 1;
        self.account.cut += u64::from(bytes.len() < original as usize);
        self.account.oversize += u64::from(bytes.len() > self.limit);
        self.sink.frame(time, bytes);
    }
}
