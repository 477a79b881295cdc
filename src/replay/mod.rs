//! Files in, report out: the same pipeline, ticking on packet time.
//!
//! Files that continue each other, as `tcpdump -G` and `-C` write them, are one capture: a scan across a rotation is one.

pub mod order;
pub mod remarks;
pub mod report;
pub mod rotation;

use crate::capture::{Account, CaptureStatus, FrameSink, Wake, read_file};
use crate::detect::{Limits, Moment, Origin, Policy, Scan, ScanEvent};
use crate::packet::decode::Skipped;
use crate::packet::{LinkType, Timestamp};
use crate::pipeline::{Pipeline, random_seed};
use crate::publish::metrics;
use crate::publish::sample::{Sample, Sampling};
use crate::publish::snapshot::InterfaceSnapshot;
use crate::replay::order::{Disorder, HORIZON_NANOS, Order, Ordered, has_time};
use crate::settings::Settings;
use crate::settings::flags::{ReplayFlags, ReportFormat};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// A tick of packet time, in nanoseconds.
const TICK_NANOS: u64 = 1_000_000_000;

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
    /// What was out of order.
    pub disorder: Disorder,
    /// Times of the earliest and the latest packet that has one.
    pub span: Option<(Timestamp, Timestamp)>,
}

/// Who hears of what is found.
pub trait Audience {
    /// A scan, as it ended (ties by source), or as it stands at the end of its capture (by the time of the hit); with the
    /// file in which it was detected, and the clock steps until now.
    fn scan(&mut self, file: usize, scan: &Scan, clock_steps: u64);
    /// Nothing may come for a while.
    fn pause(&mut self) {}
}

impl<F: FnMut(&Scan)> Audience for F {
    fn scan(&mut self, _: usize, scan: &Scan, _: u64) {
        self(scan);
    }
}

/// Reads one file; with what went wrong, after what was read before. Ends early when `wake` says stop.
pub fn replay(
    path: &Path,
    policy: Policy,
    limits: Limits,
    wake: &Wake,
    scan: &mut dyn FnMut(&Scan),
) -> (Outcome, Option<String>) {
    let mut told = |found: &Scan| scan(found);
    let mut captures = Captures::new(policy.clone(), limits, &mut told);
    let error = captures.read(path, wake);
    let outcome = captures.finish().pop();
    (outcome.unwrap_or_else(|| Capture::new(policy, limits).outcome(Vec::new())), error)
}

/// What is to be said besides the report, a line each.
#[derive(Debug, Default)]
pub struct Said {
    /// What could not be read.
    pub errors: Vec<String>,
    /// What was odd about what was read.
    pub warnings: Vec<String>,
}

/// The command: reads every file and prints the report.
pub fn run(settings: &Settings, flags: &ReplayFlags) -> io::Result<Said> {
    let wake = Wake::new()?;
    stop_on_signals(wake.clone())?;
    let files = rotation::oldest_first(&flags.files);
    let names: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let mut printer = Printer {
        format: flags.format,
        names: &names,
        out: io::BufWriter::new(io::stdout().lock()),
        table: report::Table::new(&names),
        failed: None,
        wake: wake.clone(),
    };
    let mut said = Said::default();
    // Asked once before the first file: refused memory is an error, and not the end in the middle of a report.
    if let Err(error) = Pipeline::try_new(settings.policy.clone(), settings.limits, 1, Origin::Live) {
        said.errors.push(format!("{error} (--detection.memory)"));
        return Ok(said);
    }
    let mut captures = Captures::new(settings.policy.clone(), settings.limits, &mut printer);
    captures.sampling = settings.sampling;
    for path in files.iter().take_while(|_| !wake.is_stopped()) {
        said.errors.extend(captures.read(path, &wake));
    }
    let outcomes = captures.finish();
    let spans: Vec<_> =
        outcomes.iter().map(|outcome| (names[last(&outcome.files)].as_str(), outcome.span)).collect();
    let apart = rotation::remarks(&spans, reach_nanos(&settings.policy));
    let mut snapshots = Vec::new();
    for (outcome, apart) in outcomes.into_iter().zip(apart) {
        let mut remarks = remarks::of(&outcome.account, &outcome.disorder, &outcome.snapshot);
        remarks.extend(apart.map(|text| remarks::Remark { text, is_grave: false }));
        let name = &names[outcome.files[0]];
        let loud = remarks.iter().filter(|remark| remark.is_grave || flags.format != ReportFormat::Text);
        said.warnings.extend(loud.map(|remark| format!("{name}: {}", remark.text)));
        let probes = outcome.snapshot.detection.tally.probes.iter().flatten().sum();
        printer.table.capture(report::Totals {
            files: outcome.files,
            packets: outcome.snapshot.packets,
            probes,
            span: outcome.span,
            remarks: remarks.into_iter().map(|remark| remark.text).collect(),
        });
        snapshots.push(Arc::new(InterfaceSnapshot { interface: name.clone(), ..outcome.snapshot }));
    }
    if let Some(error) = printer.failed {
        return Err(error);
    }
    if wake.is_stopped() {
        let read =
            if snapshots.is_empty() { "nothing had been read" } else { "this is what was read until then" };
        said.warnings.push(format!("stopped by a signal: {read}"));
    }
    match flags.format {
        ReportFormat::Text => write!(printer.out, "{}", printer.table)?,
        ReportFormat::Json => {}
        ReportFormat::Metrics => printer.out.write_all(&metrics::render(&snapshots, None))?,
    }
    printer.out.flush()?;
    Ok(said)
}

/// The last of a capture's files; each has one.
fn last(files: &[usize]) -> usize {
    files.last().copied().unwrap_or(0)
}

/// How long after the end of a file another one may begin, and a scan still go on.
fn reach_nanos(policy: &Policy) -> u64 {
    policy.window_nanos.max(policy.quiet_nanos)
}

/// SIGINT and SIGTERM end the reading, and the report follows; a second one ends everything.
fn stop_on_signals(wake: Wake) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name(String::from("signals")).spawn(move || {
        runtime.block_on(async {
            let mut either =
                async || tokio::select! { _ = interrupt.recv() => 130, _ = terminate.recv() => 143 };
            either().await;
            wake.stop();
            std::process::exit(either().await);
        })
    })?;
    Ok(())
}

/// Prints what is found, as `--format` says.
struct Printer<'a, W: Write> {
    format: ReportFormat,
    names: &'a [String],
    out: W,
    table: report::Table,
    failed: Option<io::Error>,
    wake: Wake,
}

impl<W: Write> Printer<'_, W> {
    /// Who listened has gone: there is no use in reading on.
    fn check(&mut self, printed: io::Result<()>) {
        if let Err(error) = printed {
            self.failed.get_or_insert(error);
            self.wake.stop();
        }
    }
}

impl<W: Write> Audience for Printer<'_, W> {
    fn scan(&mut self, file: usize, scan: &Scan, clock_steps: u64) {
        match self.format {
            ReportFormat::Text => self.table.scan(file, scan),
            ReportFormat::Json if self.failed.is_none() => {
                let line = report::json_line(scan, &self.names[file], clock_steps);
                let printed = writeln!(self.out, "{line}");
                self.check(printed);
            }
            ReportFormat::Json | ReportFormat::Metrics => {}
        }
    }

    fn pause(&mut self) {
        if self.failed.is_none() {
            let printed = self.out.flush();
            self.check(printed);
        }
    }
}

/// Ended scans that wait to be put in order. Whoever ends more within a tick of a file gets them in order in parts, not
/// our memory.
const WAITING: usize = 4_096;

/// Reads files one after the other, and makes captures of them.
struct Captures<'a> {
    policy: Policy,
    limits: Limits,
    sampling: Option<Sampling>,
    audience: &'a mut dyn Audience,
    /// Files so far.
    files: usize,
    /// The file being read, and whether it is the one before once more.
    path: PathBuf,
    repeats: bool,
    /// What the next file may continue.
    current: Option<Capture>,
    outcomes: Vec<Outcome>,
}

impl<'a> Captures<'a> {
    fn new(policy: Policy, limits: Limits, audience: &'a mut dyn Audience) -> Self {
        Self {
            policy,
            limits,
            sampling: None,
            audience,
            files: 0,
            path: PathBuf::new(),
            repeats: false,
            current: None,
            outcomes: Vec::new(),
        }
    }

    /// Reads the next file; what went wrong.
    fn read(&mut self, path: &Path, wake: &Wake) -> Option<String> {
        let mut progress = None;
        let name = path.to_string_lossy();
        self.repeats = self.path == path;
        self.path = path.to_owned();
        let mut reader =
            Reader { captures: self, link: LinkType::Ethernet, first: Vec::new(), capture: None };
        let (account, read) = read_file(path, &mut reader, wake, |at| {
            progress.get_or_insert_with(|| report::Progress::of(&name, at.total)).reached(at.bytes);
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

    fn fresh(&self) -> Capture {
        let mut capture = Capture::new(self.policy.clone(), self.limits);
        let sample = self.sampling.map(|sampling| Sample::new(sampling, self.policy.clone()));
        capture.engine.pipeline = capture.engine.pipeline.with_sample(sample);
        capture
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
            capture.finish(self.audience);
            let files = capture.engine.files.iter().map(|(file, _)| *file).collect();
            self.outcomes.push(capture.outcome(files));
        }
    }

    /// No file follows. The captures, in the order of their first files.
    fn finish(mut self) -> Vec<Outcome> {
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
            capture.frame(time, &bytes, self.captures.audience);
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
            Some(capture) => capture.frame(time, bytes, self.captures.audience),
            None => self.first(time, bytes),
        }
    }

    fn batch_end(&mut self) {
        if !self.first.is_empty() {
            self.begin();
        }
        if let Some(capture) = &mut self.capture {
            capture.engine.flush(self.captures.audience);
        }
        self.captures.audience.pause();
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
    fn new(policy: Policy, limits: Limits) -> Self {
        Self { order: Order::default(), engine: Engine::new(policy, limits), account: Account::default() }
    }

    /// When a file with these first stamps goes on with this capture, if it does.
    fn goes_on(&self, stamps: &[Timestamp], policy: &Policy) -> Option<Timestamp> {
        let (_, first) = self.engine.files.last()?;
        rotation::goes_on(stamps, *first, self.order.now()?, reach_nanos(policy))
    }

    #[inline]
    fn frame(&mut self, time: Timestamp, bytes: &[u8], audience: &mut dyn Audience) {
        let probe = self.engine.pipeline.probe(time, bytes);
        self.order.frame(time, probe, &mut |next| self.engine.take(next, audience));
    }

    fn finish(&mut self, audience: &mut dyn Audience) {
        self.order.finish(&mut |next| self.engine.take(next, audience));
        self.engine.finish(self.order.now().unwrap_or_default(), audience);
    }

    fn outcome(self, files: Vec<usize>) -> Outcome {
        let disorder = self.order.disorder();
        let mut snapshot = self.engine.pipeline.snapshot("", CaptureStatus::default(), 0);
        snapshot.skipped[Skipped::NoTime as usize] += disorder.untimed;
        snapshot.detection.tally.clock_steps = disorder.steps;
        Outcome { files, snapshot, account: self.account, disorder, span: self.order.span() }
    }
}

/// What is in order goes through here.
struct Engine {
    pipeline: Pipeline,
    window_nanos: u64,
    quiet_nanos: u64,
    /// The files of the capture, and when each begins.
    files: Vec<(usize, Timestamp)>,
    clock_steps: u64,
    tick_at: Timestamp,
    /// Scans that ended since the latest tick.
    ended: Vec<Scan>,
}

impl Engine {
    fn new(policy: Policy, limits: Limits) -> Self {
        Self {
            window_nanos: policy.window_nanos,
            quiet_nanos: policy.quiet_nanos,
            // A random seed, or whoever writes a file could choose addresses that hide a scan. The report does not depend
            // on it.
            pipeline: Pipeline::new(policy, limits, random_seed(), Origin::Sorted).with_fragments(),
            files: Vec::new(),
            clock_steps: 0,
            tick_at: Timestamp(0),
            ended: Vec::new(),
        }
    }

    #[inline]
    fn take(&mut self, next: Ordered, audience: &mut dyn Audience) {
        match next {
            Ordered::Probe(probe) => {
                if self.pipeline.gather(probe) {
                    self.flush(audience);
                }
            }
            Ordered::Step { from, to, ran_nanos } => self.step(from, to, ran_nanos, audience),
            Ordered::Undone => self.clock_steps += 1,
        }
    }

    /// The clock steps back. A short step, as a clock is set, is bridged: what counts together over it lies within a window
    /// by its stamps too. Any other may be another capture, behind the one it precedes: what was before is over.
    #[cold]
    fn step(
        &mut self,
        mut from: Timestamp,
        to: Timestamp,
        ran_nanos: Option<u64>,
        audience: &mut dyn Audience,
    ) {
        self.flush(audience);
        self.clock_steps += 1;
        let short = from.nanos_since(to).saturating_add(HORIZON_NANOS) <= self.window_nanos;
        if !short || ran_nanos.is_some_and(|ran| ran < self.window_nanos) {
            from = from.saturating_add(2 * self.window_nanos + self.quiet_nanos);
            self.advance(from, audience);
        }
        // Moments of a file have 63 bits.
        let nanos = i128::from(to.nanos()) - i128::from(from.nanos());
        self.pipeline.clock_stepped(i64::try_from(nanos).unwrap_or(i64::MAX));
    }

    fn keep(ended: &mut Vec<Scan>, tell: &mut impl FnMut(&Scan), event: ScanEvent) {
        if event.moment == Moment::Ended {
            ended.push(event.scan);
            if ended.len() == WAITING {
                Self::hand_out(ended, tell);
            }
        }
    }

    fn hand_out(ended: &mut Vec<Scan>, tell: &mut impl FnMut(&Scan)) {
        ended.sort_by_key(|scan| (scan.ended, scan.source));
        ended.drain(..).for_each(|scan| tell(&scan));
    }

    /// The file in which a scan was detected.
    fn file(files: &[(usize, Timestamp)], scan: &Scan) -> usize {
        let latest = files.iter().rev().find(|(_, begins)| *begins <= scan.detected);
        latest.or(files.first()).map_or(0, |(file, _)| *file)
    }

    fn flush(&mut self, audience: &mut dyn Audience) {
        let Self { pipeline, ended, files, clock_steps, .. } = self;
        let mut tell = |scan: &Scan| audience.scan(Self::file(files, scan), scan, *clock_steps);
        pipeline.flush(&mut |event| Self::keep(ended, &mut tell, event));
        let now = pipeline.now();
        // After a step back the next tick would be as far away as the step was long.
        if now >= self.tick_at || now.saturating_add(TICK_NANOS) < self.tick_at {
            self.tick_at = now.saturating_add(TICK_NANOS);
            self.advance(now, audience);
        }
    }

    /// Everything that ends by now has ended: hand it out in order.
    fn advance(&mut self, now: Timestamp, audience: &mut dyn Audience) {
        let Self { pipeline, ended, files, clock_steps, .. } = self;
        let mut tell = |scan: &Scan| audience.scan(Self::file(files, scan), scan, *clock_steps);
        pipeline.advance(now, &mut |event| Self::keep(ended, &mut tell, event));
        Self::hand_out(ended, &mut tell);
    }

    fn finish(&mut self, now: Timestamp, audience: &mut dyn Audience) {
        self.flush(audience);
        self.advance(now, audience);
        let Self { pipeline, files, clock_steps, .. } = self;
        pipeline.each_open_scan(&mut |scan| audience.scan(Self::file(files, &scan), &scan, *clock_steps));
    }
}
