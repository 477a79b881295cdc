//! libpcap: an interface or a file through one loop, into a `FrameSink`.

use crate::packet::{LinkType, Timestamp};

/// Where frames go. The capture knows nothing of what becomes of them.
pub trait FrameSink {
    /// A source of frames was opened (again); what follows has this link layer.
    fn opened(&mut self, link: LinkType);
    /// One frame, as captured. The hot path: called for every frame.
    fn frame(&mut self, time: Timestamp, bytes: &[u8]);
    /// What was waiting has been handed over; whoever keeps a batch should finish it now.
    fn batch_end(&mut self);
    /// About once a second while live, however quiet the interface; never for files.
    fn tick(&mut self, status: &CaptureStatus);
}

/// A capture's own account of itself. Totals are since the start of the process, across reopenings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptureStatus {
    /// Whether frames are being captured now.
    pub up: bool,
    /// Frames that passed the kernel filter (`ps_recv`).
    pub received: u64,
    /// Frames lost because the buffer was full (`ps_drop`).
    pub dropped: u64,
    /// Frames the interface or its driver dropped (`ps_ifdrop`).
    pub interface_dropped: u64,
    /// Times the capture was reopened after a failure.
    pub restarts: u64,
}

/// Which packets of an interface are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Only what arrives: the host's own connections never count.
    #[default]
    In,
    /// Only what leaves.
    Out,
    /// Both, for mirror ports.
    InOut,
}

/// How to capture on one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveOptions {
    /// The interface's name.
    pub interface: String,
    /// Which packets.
    pub direction: Direction,
    /// Whether to ask the card for packets that are not for this host.
    pub promiscuous: bool,
    /// The kernel's ring, in bytes.
    pub buffer_bytes: usize,
}
