//! Files in, report out: the same pipeline, ticking on packet time.

use crate::capture::{Account, CaptureStatus, FrameSink, Wake, read_file};
use crate::cli::{ReplayFlags, ReportFormat};
use crate::detect::{Limits, Moment, Origin, Policy, Scan, ScanEvent};
use crate::metrics;
use crate::packet::{LinkType, Timestamp};
use crate::pipeline::Pipeline;
use crate::remarks;
use crate::report;
use crate::settings::Settings;
use crate::snapshot::InterfaceSnapshot;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// A tick of packet time, in nanoseconds.
const TICK_NANOS: u64 = 1_000_000_000;

/// What one file held.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that is counted, at the end of the file.
    pub snapshot: InterfaceSnapshot,
    /// What the reader says of it.
    pub account: Account,
    /// Times of the earliest and the latest packet.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What went wrong, after what was read before.
    pub error: Option<String>,
}

/// Reads one file. `scan` gets each scan as it ends (ties by source), and at the end those still open, by the time of
/// their hit. Ends early when `wake` says stop.
pub fn replay(
    path: &Path,
    policy: Policy,
    limits: Limits,
    wake: &Wake,
    scan: &mut dyn FnMut(&Scan),
) -> Outcome {
    let name = path.to_string_lossy().into_owned();
    let mut progress = None;
    let mut reader = Reader {
        // A fixed seed: whoever writes a file cannot ask what it hashes to, and a report reads the same twice.
        pipeline: Pipeline::new(policy, limits, 1, Origin::File),
        span: None,
        last: Timestamp(0),
        tick_at: Timestamp(0),
        ended: Vec::new(),
        scan,
    };
    let (account, read) = read_file(path, &mut reader, wake, |at| {
        progress.get_or_insert_with(|| report::Progress::of(&name, at.total)).reached(at.bytes);
    });
    drop(progress);
    reader.finish();
    Outcome {
        snapshot: reader.pipeline.snapshot(&name, CaptureStatus::default(), 0),
        account,
        span: reader.span,
        error: read.err().map(|error| error.to_string()),
    }
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
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut table = report::Table::default();
    let mut snapshots = Vec::new();
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for path in &flags.files {
        let name = path.to_string_lossy();
        let mut printed = Ok(());
        table.file(&name);
        let outcome =
            replay(path, settings.policy.clone(), settings.limits, &wake, &mut |scan| match flags.format {
                ReportFormat::Text => table.scan(scan),
                ReportFormat::Json if printed.is_ok() => {
                    printed = writeln!(out, "{}", report::json_line(scan, &name))
                }
                ReportFormat::Json | ReportFormat::Metrics => {}
            });
        printed?;
        let unread = outcome.error.is_some() && outcome.account.frames == 0;
        errors.extend(outcome.error);
        if unread {
            // There is no result of what was not read.
            table.forget();
            continue;
        }
        let remarks = remarks::of(&outcome.account, &outcome.snapshot);
        if flags.format != ReportFormat::Text {
            warnings.extend(remarks.iter().map(|remark| format!("{name}: {remark}")));
        }
        let probes = outcome.snapshot.detection.tally.probes.iter().flatten().sum();
        table.totals(outcome.snapshot.packets, probes, outcome.span, remarks);
        snapshots.push(Arc::new(outcome.snapshot));
    }
    match flags.format {
        ReportFormat::Text => write!(out, "{table}")?,
        ReportFormat::Json => {}
        ReportFormat::Metrics => out.write_all(&metrics::render(&snapshots, None))?,
    }
    out.flush()?;
    Ok(Said { errors, warnings })
}

/// Ended scans that wait to be put in order. Whoever ends more within a tick of a file gets them in order in parts, not
/// our memory.
const WAITING: usize = 4_096;

/// The sink of a file.
struct Reader<'a> {
    pipeline: Pipeline,
    span: Option<(Timestamp, Timestamp)>,
    /// Time of the last packet, which after a step of the clock is not the latest.
    last: Timestamp,
    tick_at: Timestamp,
    /// Scans that ended since the latest tick.
    ended: Vec<Scan>,
    scan: &'a mut dyn FnMut(&Scan),
}

impl Reader<'_> {
    fn keep(ended: &mut Vec<Scan>, told: &mut dyn FnMut(&Scan), event: ScanEvent) {
        if event.moment == Moment::Ended {
            ended.push(event.scan);
            if ended.len() == WAITING {
                Self::hand_out(ended, told);
            }
        }
    }

    fn hand_out(ended: &mut Vec<Scan>, told: &mut dyn FnMut(&Scan)) {
        ended.sort_by_key(|scan| (scan.ended, scan.source));
        ended.drain(..).for_each(|scan| told(&scan));
    }

    fn flush(&mut self) {
        let Self { pipeline, ended, scan, .. } = self;
        pipeline.flush(&mut |event| Self::keep(ended, scan, event));
        let now = pipeline.now();
        // After a step back the next tick would be as far away as the step was long.
        if now >= self.tick_at || now.saturating_add(TICK_NANOS) < self.tick_at {
            self.tick_at = pipeline.now().saturating_add(TICK_NANOS);
            self.advance(self.pipeline.now());
        }
    }

    /// Everything that ends by now has ended: hand it out in order.
    fn advance(&mut self, now: Timestamp) {
        let Self { pipeline, ended, scan, .. } = self;
        pipeline.advance(now, &mut |event| Self::keep(ended, scan, event));
        Self::hand_out(ended, scan);
    }

    fn finish(&mut self) {
        self.flush();
        self.advance(self.last);
        self.pipeline.each_open_scan(&mut |scan| (self.scan)(&scan));
    }
}

impl FrameSink for Reader<'_> {
    fn opened(&mut self, link: LinkType) {
        self.pipeline.opened(link);
    }

    #[inline]
    fn frame(&mut self, time: Timestamp, bytes: &[u8]) {
        self.last = time;
        match &mut self.span {
            Some((first, last)) => {
                *first = time.min(*first);
                *last = time.max(*last);
            }
            None => self.span = Some((time, time)),
        }
        if self.pipeline.frame(time, bytes) {
            self.flush();
        }
    }

    fn batch_end(&mut self) {
        self.flush();
    }

    fn tick(&mut self, _: &CaptureStatus) {}
}
