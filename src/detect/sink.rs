//! Where events go, and by which clock their times are written.

use crate::detect::scan::{EventKind, Scan, ScanEvent};
use crate::detect::time::timeline::Timeline;
use crate::detect::wanted::Wanted;
use crate::packet::Timestamp;

/// Where a tracker reports scans.
pub(super) struct EventSink<'a> {
    /// The detector's time.
    pub timeline: &'a mut Timeline,
    /// What it is for the tracker, in nanoseconds: a slower rule looks at a batch when the timeline has gone through it.
    pub now: u64,
    /// Takes the events.
    pub events: &'a mut dyn FnMut(ScanEvent),
    /// Which ports scans ask for.
    pub wanted: &'a mut Wanted,
}

impl<'a> EventSink<'a> {
    /// With the present of the timeline.
    #[inline]
    pub(super) fn new(
        timeline: &'a mut Timeline,
        events: &'a mut dyn FnMut(ScanEvent),
        wanted: &'a mut Wanted,
    ) -> Self {
        Self { now: timeline.now(), timeline, events, wanted }
    }

    /// Moves to a packet's timestamp.
    #[inline(always)]
    pub(super) fn packet(&mut self, at: Timestamp) {
        self.timeline.packet(at);
        self.now = self.timeline.now();
    }

    /// The detector's time, in nanoseconds.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// A moment of it on the capture's clock.
    pub(super) fn to_capture(&self, at: u64) -> Timestamp {
        self.timeline.to_capture(at)
    }

    /// A scan asked for a port that is new to it.
    #[inline]
    pub(super) fn asked(&mut self, port: u16) {
        self.wanted.count(port, self.now);
    }

    /// Reports a scan.
    pub(super) fn report(&mut self, kind: EventKind, scan: Scan) {
        (self.events)(ScanEvent { kind, scan });
    }
}
