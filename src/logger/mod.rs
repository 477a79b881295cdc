//! Where log records go: the journal with native fields, or one line each on stderr.
//!
//! Logging never blocks: a record is put into a bounded queue, and a thread of its own writes it. A journald that
//! hangs, a terminal that nobody reads or a full pipe costs records, which are counted, and nothing else.
//!
//! `start` only opens what is written to and keeps records; `begin` starts the threads. Between the two the shell
//! drops its privileges, which belong to threads.

mod journal;
pub(crate) mod level;
mod lines;
mod writer;

use crate::system::counters::{Counter, Counters, Counts};
use crate::text::printable;
use journal::Journal;
use level::Severity;
use lines::{Layout, datagram};
use log::{Level, LevelFilter, Record};
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use writer::{Lines, Waiting, Writer};

pub(crate) use lines::push_logfmt;
pub(crate) use lines::{MEMBER_KEY, MESSAGE_ID_KEY, TITLE_KEY};

/// What journald calls the program (`journalctl -t portscan_exporter`).
pub const SYSLOG_IDENTIFIER: &str = "portscan_exporter";

/// Where journald listens for native records.
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// The longest a record waits for a journald that does not read. After one such wait the next records do not
/// wait at all, until one gets through again.
const JOURNAL_TIMEOUT: Duration = Duration::from_millis(250);

/// How long the end of the process waits for records that are still to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(250);

/// How long a thread that has a line to write is waited for until it has its turn. More than any machine that is only busy takes.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The journal if stderr is connected to it, else logfmt.
    #[default]
    Auto,
    /// The journal's native protocol; logfmt on stderr while journald does not answer.
    Journald,
    /// `key=value` pairs on stderr.
    Logfmt,
    /// One JSON object a line on stderr.
    Json,
}

impl Format {
    /// Every format, in the order of the help text.
    pub const ALL: [Format; 4] = [Format::Auto, Format::Journald, Format::Logfmt, Format::Json];

    /// The word on the command line.
    pub const fn label(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Journald => "journald",
            Format::Logfmt => "logfmt",
            Format::Json => "json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Format::ALL.into_iter().find(|format| format.label() == word).ok_or(UnknownFormat)
    }
}

/// Not one of the formats' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownFormat;

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected one of: auto, journald, logfmt, json")
    }
}

impl std::error::Error for UnknownFormat {}

/// What to log and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The least severe level that is written.
    pub level: LevelFilter,
    /// How.
    pub format: Format,
}

impl Default for Options {
    fn default() -> Self {
        Self { level: LevelFilter::Info, format: Format::Auto }
    }
}

/// Why logging could not start.
#[derive(Debug)]
pub enum StartError {
    /// `journald` was asked for and does not answer.
    NoJournal(io::Error),
    /// Standard error cannot be written to.
    NoStandardError(io::Error),
    /// A logger is already in place.
    Started,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NoJournal(error) => {
                write!(f, "cannot log to journald at {JOURNAL_SOCKET}: {error} (try --log.format=logfmt)")
            }
            StartError::NoStandardError(error) => write!(f, "cannot log to standard error: {error}"),
            StartError::Started => f.write_str("logging has already started"),
        }
    }
}

impl std::error::Error for StartError {}

/// What becomes of the records, counted.
#[derive(Debug)]
struct Account {
    counters: Counters,
    waiting: Waiting,
}

impl Account {
    const fn new() -> Self {
        Self { counters: Counters::new(), waiting: Waiting::new() }
    }

    fn wrote(&self, line: &Line, written: bool) {
        if line.kind == LineKind::Copy {
            return;
        }
        let counter = if written { Severity::of(line.level).written } else { Counter::RecordsLost };
        self.counters.count(counter);
        if written && line.kind == LineKind::Redirected {
            self.counters.count(Counter::RecordsRedirected);
        }
    }
}

/// The process has one log, hence one account of it.
static ACCOUNT: Account = Account::new();

/// What became of the records so far.
pub fn counts() -> Counts {
    ACCOUNT.counters.counts()
}

/// Records that wait to be written now, and copies for a terminal.
pub fn waiting() -> u64 {
    ACCOUNT.waiting.count()
}

/// Counts records that a flood limit withheld.
pub(crate) fn count_suppressed(records: u64) {
    ACCOUNT.counters.add(Counter::RecordsSuppressed, records);
}

/// Counts records that a storm's record stands for.
pub(crate) fn count_folded(records: u64) {
    ACCOUNT.counters.add(Counter::RecordsFolded, records);
}

/// Counts a storm.
pub(crate) fn count_storm() {
    ACCOUNT.counters.count(Counter::Storms);
}

/// Sends the process's log records where `options` says, once `begin` is called.
pub fn start(options: Options) -> Result<(), StartError> {
    let journal = match options.format {
        Format::Journald => Some(Journal::at(Path::new(JOURNAL_SOCKET)).map_err(StartError::NoJournal)?),
        // Native fields wherever journald listens, so that `journalctl PORTSCAN_SOURCE=…` works however we were started.
        Format::Auto => Journal::at(Path::new(JOURNAL_SOCKET)).ok(),
        Format::Logfmt | Format::Json => None,
    };
    let layout = if options.format == Format::Json { Layout::Json } else { Layout::Logfmt };
    let stderr = io::stderr();
    // On a terminal its user also sees the records.
    let echo = options.format == Format::Auto && io::IsTerminal::is_terminal(&stderr);
    // A descriptor of its own, so that a thread that is stuck in a write holds no lock of the standard library's.
    let sink = stderr.as_fd().try_clone_to_owned().map_err(StartError::NoStandardError)?;
    let logger = Logger::new(options.level, layout, journal, echo, File::from(sink), &ACCOUNT);
    log::set_boxed_logger(Box::new(logger)).map_err(|_| StartError::Started)?;
    log::set_max_level(options.level);
    // A panic is reported like any other error: as one record, counted, and without waiting for a terminal.
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    Ok(())
}

/// Starts the threads that write. Records from before come first.
pub fn begin() {
    // Writing begins with the first flush.
    log::logger().flush();
}

/// Writes why the process ends, as a line on standard error: as an error also where journald reads that. Waits for
/// records that are still to be written, but for no terminal that nobody reads.
pub fn last_words(text: &str) {
    log::logger().flush();
    let priority = if journal::reads_standard_error() { "<3>" } else { "" };
    let words = format!("{priority}portscan_exporter: {}\n", printable(text));
    let (writer, written) = sync_channel::<()>(1);
    let say = move || {
        let _ = writer.send(());
        // If standard error is gone there is nowhere else to write.
        let _ = io::stderr().write_all(words.as_bytes());
        drop(writer);
    };
    // On a busy machine it may take long until the thread has its turn; only what it waits for then is a terminal.
    if std::thread::Builder::new().spawn(say).is_ok() && written.recv_timeout(TURN_TIMEOUT).is_ok() {
        let _ = written.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// A line for standard error, and what it is to the account.
struct Line {
    text: String,
    level: Level,
    kind: LineKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineKind {
    /// The record.
    Record,
    /// The record, which journald did not take.
    Redirected,
    /// For a terminal; the journal has the record.
    Copy,
}

/// A record for the journal, and the line that stderr gets if journald does not take it.
struct Native {
    datagram: String,
    line: Line,
}

/// Puts records into the queues, and counts what becomes of them.
#[derive(Debug)]
struct Logger {
    level: LevelFilter,
    layout: Layout,
    journal: Option<Writer<Native>>,
    /// Whether stderr gets a copy of what the journal takes.
    echo: bool,
    lines: Arc<Writer<Line>>,
    account: &'static Account,
}

impl Logger {
    fn new(
        level: LevelFilter,
        layout: Layout,
        journal: Option<Journal>,
        echo: bool,
        sink: File,
        account: &'static Account,
    ) -> Self {
        let mut lines = Lines::new(sink);
        let lines = Arc::new(Writer::new("log-stderr", &account.waiting, move |line: Line| {
            let written = lines.write(&line.text).is_ok();
            account.wrote(&line, written);
        }));
        let journal = journal.map(|mut journal| {
            let instead = Arc::clone(&lines);
            Writer::new("log-journal", &account.waiting, move |Native { datagram, line }: Native| {
                let level = line.level;
                if journal.send(&datagram).is_ok() {
                    account.counters.count(Severity::of(level).written);
                } else if !instead.offer(Line { kind: LineKind::Redirected, ..line }) {
                    account.counters.count(Counter::RecordsLost);
                }
            })
        });
        Self { level, layout, journal, echo, lines, account }
    }

    /// Starts the threads that do not run yet.
    fn begin(&self) -> io::Result<()> {
        self.journal.as_ref().map_or(Ok(()), Writer::begin)?;
        self.lines.begin()
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = |kind| Line { text: self.layout.line(record), level: record.level(), kind };
        let taken = match &self.journal {
            None => self.lines.offer(line(LineKind::Record)),
            Some(journal) => {
                if self.echo {
                    // Only a copy: a terminal that went away loses nothing that is not in the journal.
                    let _ = self.lines.offer(line(LineKind::Copy));
                }
                journal.offer(Native { datagram: datagram(record), line: line(LineKind::Record) })
            }
        };
        if !taken {
            self.account.counters.count(Counter::RecordsLost);
        }
    }

    /// Waits for a moment until everything is written.
    fn flush(&self) {
        if self.begin().is_ok() {
            self.account.waiting.is_over_within(FLUSH_TIMEOUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock;
    use log::Log as _;
    use log::kv;
    use std::io::Read as _;
    use std::os::unix::net::UnixDatagram;

    const PAIRS: [(&str, &str); 2] = [("source", "198.51.100.7"), (MESSAGE_ID_KEY, "abc")];
    const LONG: Duration = Duration::from_secs(20);

    /// Lets `look` see a record with this message and these key-values.
    fn with_record(level: Level, message: &str, pairs: &dyn kv::Source, look: impl FnOnce(&Record<'_>)) {
        look(&Record::builder().level(level).key_values(pairs).args(format_args!("{message}")).build());
    }

    fn logger(journal: Option<Journal>, echo: bool, sink: File) -> Logger {
        let account = Box::leak(Box::new(Account::new()));
        Logger::new(LevelFilter::Info, Layout::Logfmt, journal, echo, sink, account)
    }

    impl Logger {
        fn write(&self, level: Level, message: &str) {
            with_record(level, message, &PAIRS, |record| self.log(record));
        }

        /// What became of the records, once all are written.
        fn done(&self) -> Counts {
            self.begin().unwrap();
            assert!(self.account.waiting.is_over_within(LONG), "a record is stuck");
            self.account.counters.counts()
        }
    }

    fn pipe() -> (File, File) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (reader.into(), writer.into())
    }

    /// Everything that was written; the loggers must be gone.
    fn read(mut reader: File) -> String {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_dead_journald_sends_records_to_stderr_until_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listen = || {
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_read_timeout(Some(LONG)).unwrap();
            socket
        };
        let heard = |socket: &UnixDatagram| {
            let mut bytes = [0; 4096];
            let length = socket.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        let journald = listen();
        let (reader, writer) = pipe();
        let logger = logger(Some(Journal::at(&path).unwrap()), false, writer);
        let log = |message: &str| {
            logger.write(Level::Warn, message);
            logger.done()
        };

        log("one");
        assert!(heard(&journald).contains("MESSAGE=one\n"));
        drop(journald);
        log("two"); // ECONNREFUSED: the socket is there, nobody listens
        std::fs::remove_file(&path).unwrap();
        log("three"); // ENOENT
        let journald = listen();
        let counts = log("four");
        assert!(heard(&journald).contains("MESSAGE=four\n"));

        let expected = [(Counter::RecordsWarning, 4), (Counter::RecordsRedirected, 2)];
        assert_eq!(counts, Counts::default().with(expected));
        drop(logger);
        let text = read(reader);
        assert!(text.contains("msg=\"two\"") && text.contains("msg=\"three\""), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_stuck_journald_costs_one_wait_and_then_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let (reader, writer) = pipe();
        let logger = logger(Some(Journal::at(&path).unwrap()), false, writer);
        let started = clock::steady();
        // Far more than the queue of a datagram socket (net.unix.max_dgram_qlen, 10 to 512) or its buffer.
        loop {
            logger.write(Level::Warn, "hit");
            if logger.done().of(Counter::RecordsRedirected) == 100 {
                break;
            }
        }
        // 100 waits would be 25 s.
        assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
        // Once journald reads again, records go there.
        journald.set_nonblocking(true).unwrap();
        while journald.recv(&mut [0; 4096]).is_ok() {}
        logger.write(Level::Warn, "hit");
        assert_eq!(logger.done().of(Counter::RecordsRedirected), 100);
        drop(logger);
        assert_eq!(read(reader).lines().count(), 100);
    }

    #[test]
    fn a_reader_that_is_gone_loses_records_and_nothing_else() {
        let (reader, writer) = pipe();
        drop(reader);
        let gone = logger(None, false, writer);
        gone.write(Level::Error, "nobody hears");
        assert_eq!(gone.done(), Counts::default().with([(Counter::RecordsLost, 1)]));
    }

    /// A dead ssh session leaves a terminal that takes a few kilobytes and then blocks its writers for ever.
    #[test]
    fn a_reader_that_does_not_read_blocks_nobody_and_breaks_no_line() {
        const RECORDS: u64 = 1_000;
        let (reader, writer) = pipe();
        let stuck = logger(None, false, writer);
        stuck.begin().unwrap();
        for _ in 0..RECORDS {
            stuck.write(Level::Info, &"x".repeat(1000));
        }
        // Had a record waited for the reader, the test would not have come here.
        let lost = stuck.account.counters.counts().of(Counter::RecordsLost);
        assert!(lost >= RECORDS - 400 && stuck.account.waiting.count() > 0, "{lost}");
        let text = std::thread::spawn(move || read(reader));
        let counts = stuck.done();
        let written = counts.of(Counter::RecordsInfo);
        let waiting = stuck.account.waiting.count();
        assert_eq!((written + counts.of(Counter::RecordsLost), waiting), (RECORDS, 0), "{counts:?}");
        drop(stuck);
        let text = text.join().unwrap();
        assert_eq!(text.lines().count() as u64, written);
        assert!(text.lines().all(|line| line.starts_with("ts=") && line.ends_with("source=198.51.100.7")));
    }

    #[test]
    fn a_terminal_that_nobody_reads_keeps_nothing_from_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let heard = std::thread::spawn(move || {
            (0..1_000).all(|_| journald.recv(&mut [0; 4096]).is_ok_and(|length| length > 0))
        });
        let (reader, writer) = pipe();
        let stuck = logger(Some(Journal::at(&path).unwrap()), true, writer);
        stuck.begin().unwrap();
        for round in 1..=1_000 {
            stuck.write(Level::Warn, &"x".repeat(1000));
            let start = clock::steady();
            while stuck.account.counters.counts().of(Counter::RecordsWarning) < round {
                assert!(start.elapsed() < LONG, "the journal waits for the terminal");
                std::thread::yield_now();
            }
        }
        assert!(heard.join().unwrap());
        assert_eq!(stuck.account.counters.counts().of(Counter::RecordsLost), 0);
        drop(reader);
    }

    #[test]
    fn records_below_the_level_are_neither_written_nor_counted() {
        let (reader, writer) = pipe();
        let logger = logger(None, false, writer);
        logger.write(Level::Debug, "detail");
        assert_eq!(logger.done(), Counts::default());
        drop(logger);
        assert_eq!(read(reader), "");
    }

    #[test]
    fn formats_are_named_as_on_the_command_line() {
        for format in Format::ALL {
            assert_eq!(format.label().parse(), Ok(format));
        }
        assert_eq!("syslog".parse::<Format>(), Err(UnknownFormat));
    }
}
