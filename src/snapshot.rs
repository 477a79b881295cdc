//! What one interface shows of itself at a tick: capture, decoder and detector together.

use crate::capture::CaptureStatus;
use crate::decode::Skipped;
use crate::detect;

/// One interface at a tick: immutable once made, read by the scrape side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSnapshot {
    /// The interface's name, or the file's.
    pub interface: String,
    /// The capture's own account.
    pub capture: CaptureStatus,
    /// Frames handed to the decoder.
    pub packets: u64,
    /// Frames that were no probe, by `Skipped as usize`.
    pub skipped: [u64; Skipped::ALL.len()],
    /// Scan events lost because the queue to the notifier was full.
    pub events_lost: u64,
    /// The detector.
    pub detection: detect::Snapshot,
}
