//! Files in, report out: the same pipeline, ticking on packet time.
//!
//! Files that continue each other, as `tcpdump -G` and `-C` write them, are one capture: a scan across a rotation is one.

mod captures;
mod engine;
mod waiting;
pub(crate) mod order;
mod progress;
pub(crate) mod remarks;
pub(crate) mod rotation;
pub(crate) mod table;

pub use captures::{Outcome, ScanSink, replay};

use crate::capture::Wake;
use crate::detect::Scan;
use crate::events::record::Record;
use crate::publish::metrics;
use crate::publish::snapshot::InterfaceSnapshot;
use crate::settings::Settings;
use crate::settings::flags::{ReplayFlags, ReportFormat};
use captures::{Captures, reach_nanos};
use std::io::{self, Write};
use std::sync::Arc;
use table::{Table, Totals};
use tokio::signal::unix::{SignalKind, signal};

/// What there is to know besides the report, a line each.
#[derive(Debug, Default)]
pub struct Notes {
    /// What could not be read.
    pub errors: Vec<String>,
    /// What is odd about the files.
    pub warnings: Vec<String>,
}

/// The command: reads every file and prints the report.
pub fn run(settings: &Settings, flags: &ReplayFlags) -> io::Result<Notes> {
    let wake = Wake::new()?;
    stop_on_signals(wake.clone())?;
    let files = rotation::oldest_first(&flags.files);
    let names: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let mut printer = Printer {
        format: flags.format,
        names: &names,
        out: io::BufWriter::new(io::stdout().lock()),
        table: Table::new(&names),
        failed: None,
        wake: wake.clone(),
    };
    let mut notes = Notes::default();
    // Taken before the first file: refused memory is an error, and not the end in the middle of a report.
    let mut captures = match Captures::new(settings.policy.clone(), settings.limits, &mut printer) {
        Ok(captures) => captures,
        Err(error) => {
            notes.errors.push(format!("{error} (--detection.memory)"));
            return Ok(notes);
        }
    };
    (captures.sampling, captures.tunnels) = (settings.sampling, settings.tunnels());
    for path in files.iter().take_while(|_| !wake.is_stopped()) {
        notes.errors.extend(captures.read(path, &wake));
    }
    let outcomes = captures.finish();
    let snapshots = printer.captures(outcomes, reach_nanos(&settings.policy), &mut notes);
    if let Some(error) = printer.failed.take() {
        return Err(error);
    }
    if wake.is_stopped() {
        let read =
            if snapshots.is_empty() { "nothing had been read" } else { "this is what was read until then" };
        notes.warnings.push(format!("stopped by a signal: {read}"));
    }
    printer.end(&snapshots)?;
    Ok(notes)
}

/// The last of a capture's files; each has one.
fn last(files: &[usize]) -> usize {
    files.last().copied().unwrap_or(0)
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
    table: Table,
    failed: Option<io::Error>,
    wake: Wake,
}

impl<W: Write> Printer<'_, W> {
    /// The reader of the report has gone: there is no use in reading on.
    fn check(&mut self, printed: io::Result<()>) {
        if let Err(error) = printed {
            self.failed.get_or_insert(error);
            self.wake.stop();
        }
    }
}

impl<W: Write> Printer<'_, W> {
    /// Takes what was read, with what is odd about it; gives what is counted in each capture.
    fn captures(
        &mut self,
        outcomes: Vec<Outcome>,
        reach_nanos: u64,
        notes: &mut Notes,
    ) -> Vec<Arc<InterfaceSnapshot>> {
        let spans: Vec<_> = outcomes
            .iter()
            .map(|outcome| (self.names[last(&outcome.files)].as_str(), outcome.span))
            .collect();
        let apart = rotation::remarks(&spans, reach_nanos);
        let mut snapshots = Vec::new();
        for (outcome, apart) in outcomes.into_iter().zip(apart) {
            let mut remarks = remarks::of(&outcome.account, &outcome.disorder, &outcome.snapshot);
            remarks.extend(apart.map(|text| remarks::Remark { text, is_grave: false }));
            let name = &self.names[outcome.files[0]];
            let loud = remarks.iter().filter(|remark| remark.is_grave || self.format != ReportFormat::Text);
            notes.warnings.extend(loud.map(|remark| format!("{name}: {}", remark.text)));
            self.table.capture(Totals {
                files: outcome.files,
                packets: outcome.snapshot.packets,
                probes: outcome.snapshot.detection.counters.probes.iter().flatten().sum(),
                span: outcome.span,
                remarks: remarks.into_iter().map(|remark| remark.text).collect(),
            });
            snapshots.push(Arc::new(InterfaceSnapshot { interface: name.clone(), ..outcome.snapshot }));
        }
        snapshots
    }

    /// Prints what comes after the last scan.
    fn end(&mut self, snapshots: &[Arc<InterfaceSnapshot>]) -> io::Result<()> {
        match self.format {
            ReportFormat::Text => write!(self.out, "{}", self.table)?,
            ReportFormat::Json => {}
            ReportFormat::Metrics => self.out.write_all(&metrics::render(snapshots, None))?,
        }
        self.out.flush()
    }
}

impl<W: Write> ScanSink for Printer<'_, W> {
    fn scan(&mut self, file: usize, scan: &Scan, clock_steps: u64) {
        match self.format {
            ReportFormat::Text => self.table.scan(file, scan),
            ReportFormat::Json if self.failed.is_none() => {
                let line = Record { scan, interface: &self.names[file], clock_steps }.json();
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
