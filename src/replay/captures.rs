//! Files become captures: one each, or several that continue each other.

use super::engine::Engine;
use super::order::{Disorder, Order, has_time};
use super::progress::Progress;
use super::rotation;
use crate::capture::{Account, CaptureStatus, FrameSink, Tunnels, Wake, read_file};
use crate::detect::{Limits, OutOfMemory, Policy, Probe, Scan};
use crate::packet::Skipped;
use crate::packet::{LinkType, Timestamp};
use crate::pipeline::{Pipeline, Plain};
use crate::publish::sample::{Sample, Sampling};
use crate::publish::snapshot::InterfaceSnapshot;
use std::path::{Path, PathBuf};

/// A file is judged by its first stamps; they are waited for no longer than for so many frames.
const FIRST_FRAMES: usize = 32;

/// What a capture held: one file, or several that continue each other.
#[derive(Debug)]
pub struct Outcome {
    /// Which of the files, by their index.
    pub files: Vec<usize>,
    /// Everything that is counted, at the end.
    pub snapshot: InterfaceSnapshot,
    /// What the reader says of it.
    pub account: Account,
    /// What is out of order in it.
    pub disorder: Disorder,
    /// Times of the earliest and the latest packet that has one.
    pub span: Option<(Timestamp, Timestamp)>,
}

/// Takes the scans that are found.
pub trait ScanSink {
    /// A scan, as it ended (ties by source), or as it stands at the end of its capture (by the time of the hit); with the
    /// file in which it was detected, and the clock steps until now.
    fn scan(&mut self, file: usize, scan: &Scan, clock_steps: u64);
    /// Nothing may come for a while.
    fn pause(&mut self) {}
}

impl<F: FnMut(&Scan)> ScanSink for F {
    fn scan(&mut self, _: usize, scan: &Scan, _: u64) {
        self(scan);
    }
}

/// Reads one file, as far as it goes; with the error that ended it, if one did. Ends early when `wake` says stop.
///
/// # Panics
/// If there is no memory for it.
pub fn replay(
    path: &Path,
    policy: Policy,
    limits: Limits,
    wake: &Wake,
    scan: &mut dyn FnMut(&Scan),
) -> (Outcome, Option<String>) {
    let mut sink = |found: &Scan| scan(found);
    let mut captures = Captures::new(policy, limits, &mut sink).unwrap_or_else(|error| panic!("{error}"));
    let error = captures.read(path, wake);
    let none = captures.current.is_none() && captures.outcomes.is_empty();
    let none = none.then(|| captures.fresh().outcome(Vec::new()));
    let outcome = captures.finish().pop();
    (outcome.or(none).expect("a capture, or one of nothing"), error)
}

/// How long after the end of a file another one may begin, and a scan still go on.
pub(super) fn reach_nanos(policy: &Policy) -> u64 {
    policy.rules().map(|rule| rule.window_nanos.max(rule.quiet_nanos)).max().unwrap_or(0)
}

/// Reads files one after the other, and makes captures of them.
pub(super) struct Captures<'a> {
    policy: Policy,
    limits: Limits,
    pub(super) sampling: Option<Sampling>,
    pub(super) tunnels: Tunnels,
    sink: &'a mut dyn ScanSink,
    /// Files so far.
    files: usize,
    /// The file being read, and whether it is the one before once more.
    path: PathBuf,
    repeats: bool,
    /// For the first capture.
    first: Option<Pipeline>,
    /// What the next file may continue.
    current: Option<Capture>,
    outcomes: Vec<Outcome>,
}

impl<'a> Captures<'a> {
    /// With the memory of the first capture, or an error if the system refuses any of it.
    pub(super) fn new(
        policy: Policy,
        limits: Limits,
        sink: &'a mut dyn ScanSink,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            first: Some(Engine::pipeline(policy.clone(), limits)?),
            policy,
            limits,
            sampling: None,
            tunnels: Tunnels::Count,
            sink,
            files: 0,
            path: PathBuf::new(),
            repeats: false,
            current: None,
            outcomes: Vec::new(),
        })
    }

    /// Reads the next file; what went wrong.
    pub(super) fn read(&mut self, path: &Path, wake: &Wake) -> Option<String> {
        let mut progress = None;
        let name = path.to_string_lossy();
        self.repeats = self.path == path;
        self.path = path.to_owned();
        let mut reader =
            Reader { captures: self, link: LinkType::Ethernet, first: Vec::new(), capture: None };
        let (account, read) = read_file(path, &mut reader, wake, |at| {
            progress.get_or_insert_with(|| Progress::of(&name, at.total)).reached(at.bytes);
        });
        let capture = reader.capture;
        match capture {
            Some(mut capture) => {
                capture.account.add(account);
                self.current = Some(capture);
            }
            // A file without frames is a result of its own, if it could be read and was.
            None if read.is_ok() && !wake.is_stopped() => {
                let mut empty = self.fresh();
                empty.account.add(account);
                self.outcomes.push(empty.outcome(vec![self.files]));
            }
            None => {}
        }
        self.files += 1;
        read.err().map(|error| error.to_string())
    }

    fn fresh(&mut self) -> Capture {
        let another = || Engine::pipeline(self.policy.clone(), self.limits);
        let pipeline = self.first.take().map_or_else(another, Ok).unwrap_or_else(|error| panic!("{error}"));
        let sample = self.sampling.map(|sampling| Sample::new(sampling, self.policy.clone()));
        let pipeline = pipeline.with_sample(sample).with_tunnels(self.tunnels);
        Capture {
            order: Order::default(),
            engine: Engine::new(&self.policy, pipeline),
            account: Account::default(),
        }
    }

    /// The capture that the next file belongs to, which has these first stamps.
    fn capture(&mut self, stamps: &[Timestamp]) -> Capture {
        let current = self.current.take();
        let goes_on = current.as_ref().and_then(|current| current.goes_on(stamps, &self.policy));
        match (current, goes_on) {
            (Some(mut current), Some(begins)) if !self.repeats => {
                current.engine.files.push((self.files, begins));
                current
            }
            (current, _) => {
                self.end(current);
                let mut capture = self.fresh();
                let begins = rotation::begins(stamps).unwrap_or_default();
                capture.engine.files.push((self.files, begins));
                capture
            }
        }
    }

    fn end(&mut self, capture: Option<Capture>) {
        if let Some(mut capture) = capture {
            capture.finish(self.sink);
            let files = capture.engine.files.iter().map(|(file, _)| *file).collect();
            self.outcomes.push(capture.outcome(files));
        }
    }

    /// No file follows. The captures, in the order of their first files.
    pub(super) fn finish(mut self) -> Vec<Outcome> {
        let current = self.current.take();
        self.end(current);
        self.outcomes.sort_by_key(|outcome| outcome.files.first().copied());
        self.outcomes
    }
}

/// The sink of a file: its frames go to the capture that the file belongs to.
struct Reader<'a, 'b> {
    captures: &'a mut Captures<'b>,
    link: LinkType,
    /// The first frames, until there are stamps enough to say which capture that is.
    first: Vec<(LinkType, Timestamp, Vec<u8>)>,
    /// From then on.
    capture: Option<Capture>,
}

impl Reader<'_, '_> {
    #[cold]
    fn first(&mut self, time: Timestamp, bytes: &[u8]) {
        self.first.push((self.link, time, bytes.to_vec()));
        let stamps = self.first.iter().filter(|(_, time, _)| has_time(time.nanos())).count();
        if stamps == rotation::STAMPS || self.first.len() == FIRST_FRAMES {
            self.begin();
        }
    }

    #[cold]
    fn begin(&mut self) {
        let first = std::mem::take(&mut self.first);
        let stamps = first.iter().map(|(_, time, _)| *time).filter(|time| has_time(time.nanos()));
        let mut capture = self.captures.capture(&stamps.collect::<Vec<_>>());
        for (link, time, bytes) in first {
            capture.engine.pipeline.opened(link);
            capture.frame(time, &bytes, self.captures.sink);
        }
        capture.engine.pipeline.opened(self.link);
        self.capture = Some(capture);
    }
}

impl FrameSink for Reader<'_, '_> {
    fn opened(&mut self, link: LinkType) {
        self.link = link;
        if let Some(capture) = &mut self.capture {
            capture.engine.pipeline.opened(link);
        }
    }

    #[inline]
    fn frame(&mut self, time: Timestamp, bytes: &[u8]) {
        match &mut self.capture {
            Some(capture) => capture.frame(time, bytes, self.captures.sink),
            None => self.first(time, bytes),
        }
    }

    fn batch_end(&mut self) {
        if !self.first.is_empty() {
            self.begin();
        }
        if let Some(capture) = &mut self.capture {
            capture.engine.flush(self.captures.sink);
        }
        self.captures.sink.pause();
    }

    fn tick(&mut self, _: &CaptureStatus) {}
}

/// One capture, in one file or several.
struct Capture {
    order: Order,
    engine: Engine,
    account: Account,
}

impl Capture {
    /// When a file with these first stamps goes on with this capture, if it does.
    fn goes_on(&self, stamps: &[Timestamp], policy: &Policy) -> Option<Timestamp> {
        let (_, first) = self.engine.files.last()?;
        rotation::goes_on(stamps, *first, self.order.now()?, reach_nanos(policy))
    }

    #[inline(always)]
    fn frame(&mut self, time: Timestamp, bytes: &[u8], sink: &mut dyn ScanSink) {
        match self.engine.pipeline.probe(time, bytes) {
            Plain::Otherwise => self.frame_otherwise(time, bytes, sink),
            Plain::Nothing => {
                if !self.order.simply_next(time, None) {
                    self.put_in_order(time, None, sink);
                }
            }
            Plain::Probe(probe) => {
                if !self.order.simply_next(time, Some(probe.time)) {
                    self.put_in_order(time, Some(probe.into()), sink);
                } else if self.engine.pipeline.gather_ipv4(probe) {
                    self.engine.flush(sink);
                }
            }
        }
    }

    #[inline(never)]
    fn frame_otherwise(&mut self, time: Timestamp, bytes: &[u8], sink: &mut dyn ScanSink) {
        let probe = self.engine.pipeline.probe_otherwise(time, bytes);
        self.order.frame(time, probe, &mut |next| self.engine.take(next, sink));
    }

    #[cold]
    #[inline(never)]
    fn put_in_order(&mut self, time: Timestamp, probe: Option<Probe>, sink: &mut dyn ScanSink) {
        self.order.frame(time, probe, &mut |next| self.engine.take(next, sink));
    }

    fn finish(&mut self, sink: &mut dyn ScanSink) {
        self.order.finish(&mut |next| self.engine.take(next, sink));
        self.engine.finish(self.order.now().unwrap_or_default(), sink);
    }

    fn outcome(self, files: Vec<usize>) -> Outcome {
        let disorder = self.order.disorder();
        let mut snapshot = self.engine.pipeline.snapshot("", CaptureStatus::default(), 0);
        snapshot.skipped[Skipped::NoTime as usize] += disorder.untimed;
        snapshot.detection.counters.clock_steps = disorder.steps;
        Outcome { files, snapshot, account: self.account, disorder, span: self.order.span() }
    }
}
