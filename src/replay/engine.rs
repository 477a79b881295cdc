//! The way of packets that are in order: through the pipeline, ticking on their own time, to scans in the order of their ends.

use super::captures::ScanSink;
use super::order::Ordered;
use super::waiting::HORIZON_NANOS;
use crate::detect::{EventKind, Limits, Origin, OutOfMemory, Policy, Scan, ScanEvent};
use crate::packet::Timestamp;
use crate::pipeline::{Pipeline, random_seed};

/// A tick of packet time, in nanoseconds.
const TICK_NANOS: u64 = 1_000_000_000;

/// Ended scans that wait to be put in order. A file that ends more within a tick gets them in
/// order in parts, not our memory.
const WAITING: usize = 4_096;

/// What is in order goes through here.
pub(super) struct Engine {
    pub(super) pipeline: Pipeline,
    window_nanos: u64,
    longest_memory_nanos: u64,
    /// The files of the capture, and when each begins.
    pub(super) files: Vec<(usize, Timestamp)>,
    clock_steps: u64,
    tick_at: Timestamp,
    /// Scans that ended since the latest tick.
    ended: Vec<Scan>,
}

impl Engine {
    /// A pipeline for files. Its seed is random, or the author of a file could choose addresses that hide a scan; the report does not
    /// depend on it.
    pub(super) fn pipeline(policy: Policy, limits: Limits) -> Result<Pipeline, OutOfMemory> {
        Pipeline::try_new(policy, limits, random_seed(), Origin::Sorted).map(Pipeline::with_fragments)
    }

    pub(super) fn new(policy: &Policy, pipeline: Pipeline) -> Self {
        Self {
            window_nanos: policy.window_nanos,
            longest_memory_nanos: policy.longest_memory_nanos(),
            pipeline,
            files: Vec::new(),
            clock_steps: 0,
            tick_at: Timestamp(0),
            ended: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn take(&mut self, next: Ordered, sink: &mut dyn ScanSink) {
        match next {
            Ordered::Probe(probe) => {
                if self.pipeline.gather(probe) {
                    self.flush(sink);
                }
            }
            Ordered::Step { from, to, ran_nanos } => self.step(from, to, ran_nanos, sink),
            Ordered::Undone => self.clock_steps += 1,
        }
    }

    /// The clock steps back. A short step, as a clock is set, is bridged: what counts together over it lies within a window
    /// by its stamps too. Any other may be another capture, behind the one it precedes: whatever came before is over, by every
    /// rule.
    #[cold]
    fn step(&mut self, mut from: Timestamp, to: Timestamp, ran_nanos: Option<u64>, sink: &mut dyn ScanSink) {
        self.flush(sink);
        self.clock_steps += 1;
        let short = from.nanos_since(to).saturating_add(HORIZON_NANOS) <= self.window_nanos;
        if !short || ran_nanos.is_some_and(|ran| ran < self.window_nanos) {
            from = from.saturating_add(self.longest_memory_nanos);
            self.advance(from, sink);
        }
        // Moments of a file have 63 bits.
        let nanos = i128::from(to.nanos()) - i128::from(from.nanos());
        self.pipeline.clock_stepped(i64::try_from(nanos).unwrap_or(i64::MAX));
    }

    fn keep(ended: &mut Vec<Scan>, emit: &mut impl FnMut(&Scan), event: ScanEvent) {
        if event.kind == EventKind::Ended {
            ended.push(event.scan);
            if ended.len() == WAITING {
                Self::hand_out(ended, emit);
            }
        }
    }

    fn hand_out(ended: &mut Vec<Scan>, emit: &mut impl FnMut(&Scan)) {
        ended.sort_by_key(|scan| (scan.ended, scan.source));
        ended.drain(..).for_each(|scan| emit(&scan));
    }

    /// The file in which a scan was detected.
    fn file(files: &[(usize, Timestamp)], scan: &Scan) -> usize {
        let latest = files.iter().rev().find(|(_, begins)| *begins <= scan.detected);
        latest.or(files.first()).map_or(0, |(file, _)| *file)
    }

    pub(super) fn flush(&mut self, sink: &mut dyn ScanSink) {
        let Self { pipeline, ended, files, clock_steps, .. } = self;
        let mut emit = |scan: &Scan| sink.scan(Self::file(files, scan), scan, *clock_steps);
        pipeline.flush(&mut |event| Self::keep(ended, &mut emit, event));
        let now = pipeline.now();
        // After a step back the next tick would be as far away as the step was long.
        if now >= self.tick_at || now.saturating_add(TICK_NANOS) < self.tick_at {
            self.tick_at = now.saturating_add(TICK_NANOS);
            self.advance(now, sink);
        }
    }

    /// Everything that ends by now has ended: hand it out in order.
    fn advance(&mut self, now: Timestamp, sink: &mut dyn ScanSink) {
        let Self { pipeline, ended, files, clock_steps, .. } = self;
        let mut emit = |scan: &Scan| sink.scan(Self::file(files, scan), scan, *clock_steps);
        pipeline.advance(now, &mut |event| Self::keep(ended, &mut emit, event));
        Self::hand_out(ended, &mut emit);
    }

    pub(super) fn finish(&mut self, now: Timestamp, sink: &mut dyn ScanSink) {
        self.flush(sink);
        self.advance(now, sink);
        let Self { pipeline, files, clock_steps, .. } = self;
        pipeline.each_open_scan(&mut |scan| sink.scan(Self::file(files, &scan), &scan, *clock_steps));
    }
}
