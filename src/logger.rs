//! Where log records go: the journal with native fields, or one line each on stderr.
//!
//! Called from the notifier and the shell, never from a capture thread: a write may wait, though never for
//! longer than [`PATIENCE`]. Whatever a record holds, it stays one record and one line: control characters
//! are escaped here, once, for every format.

use crate::clock;
use log::kv::{self, Key, Value, VisitSource};
use log::{Level, LevelFilter, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// What journald calls the program (`journalctl -t portscan_exporter`).
pub const SYSLOG_IDENTIFIER: &str = "portscan_exporter";

/// Where journald listens for native records.
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// The longest a record waits for a reader that does not read. After one such wait the next records do not
/// wait at all, until one gets through again: a stuck journald must not stop the shell.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// The longest field name journald accepts.
const LONGEST_FIELD_NAME: usize = 64;

/// A pipe that polls as writable takes this many bytes without blocking (PIPE_BUF on Linux).
const UNBLOCKED_BYTES: usize = 4096;

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
    /// A logger is already in place.
    Started,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NoJournal(error) => {
                write!(f, "cannot log to journald at {JOURNAL_SOCKET}: {error} (try --log.format=logfmt)")
            }
            StartError::Started => f.write_str("logging has already started"),
        }
    }
}

impl std::error::Error for StartError {}

/// The levels records are counted by, as metrics name them; `trace` counts as `debug`.
pub const LEVELS: [&str; 4] = ["error", "warning", "info", "debug"];

/// What became of the records, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogCounts {
    /// Records written, by level in the order of `LEVELS`.
    pub written: [u64; LEVELS.len()],
    /// Of these, records that journald did not take and stderr got instead.
    pub redirected: u64,
    /// Records that nobody took.
    pub lost: u64,
    /// Records about scans withheld by the flood limit (`notify`).
    pub suppressed: u64,
}

/// Counters that several threads write and a scrape reads.
#[derive(Debug)]
struct Tally {
    written: [AtomicU64; LEVELS.len()],
    redirected: AtomicU64,
    lost: AtomicU64,
    suppressed: AtomicU64,
}

impl Tally {
    const fn new() -> Self {
        Self {
            written: [const { AtomicU64::new(0) }; LEVELS.len()],
            redirected: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    fn counts(&self) -> LogCounts {
        LogCounts {
            written: self.written.each_ref().map(|count| count.load(Ordering::Relaxed)),
            redirected: self.redirected.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            suppressed: self.suppressed.load(Ordering::Relaxed),
        }
    }
}

/// The process has one log, hence one tally of it.
static TALLY: Tally = Tally::new();

/// What became of the records so far.
pub fn counts() -> LogCounts {
    TALLY.counts()
}

/// Count records that the flood limit withheld.
pub fn count_suppressed(records: u64) {
    TALLY.suppressed.fetch_add(records, Ordering::Relaxed);
}

/// Send the process's log records where `options` says, from now on.
pub fn start(options: Options) -> Result<(), StartError> {
    let journal = match options.format {
        Format::Journald => Some(Journal::at(Path::new(JOURNAL_SOCKET)).map_err(StartError::NoJournal)?),
        // Native fields wherever journald listens, so that `journalctl PORTSCAN_SOURCE=…` works however we were started.
        Format::Auto => Journal::at(Path::new(JOURNAL_SOCKET)).ok(),
        Format::Logfmt | Format::Json => None,
    };
    let layout = if options.format == Format::Json { Layout::Json } else { Layout::Logfmt };
    // Whoever starts it by hand also sees what it says.
    let echo = options.format == Format::Auto && std::io::IsTerminal::is_terminal(&io::stderr());
    let logger = Logger {
        level: options.level,
        journal,
        echo,
        lines: Lines::new(io::stderr()),
        layout,
        tally: &TALLY,
    };
    log::set_boxed_logger(Box::new(logger)).map_err(|_| StartError::Started)?;
    log::set_max_level(options.level);
    Ok(())
}

/// Writes records, and counts them.
#[derive(Debug)]
struct Logger<F> {
    level: LevelFilter,
    journal: Option<Journal>,
    /// Whether stderr gets a copy of what the journal takes.
    echo: bool,
    lines: Lines<F>,
    layout: Layout,
    tally: &'static Tally,
}

impl<F: AsFd + Send + Sync> log::Log for Logger<F> {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let written = match &self.journal {
            Some(journal) => journal.send(record).or_else(|_| {
                let written = self.lines.write(&Layout::Logfmt.line(record));
                if written.is_ok() {
                    self.tally.redirected.fetch_add(1, Ordering::Relaxed);
                }
                written
            }),
            None => self.lines.write(&self.layout.line(record)),
        };
        if self.echo && self.journal.is_some() && written.is_ok() {
            // Only a copy: a terminal that went away loses nothing that is not in the journal.
            let _ = self.lines.write(&self.layout.line(record));
        }
        let count =
            if written.is_ok() { &self.tally.written[slot(record.level())] } else { &self.tally.lost };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

/// Where a level is counted in `LEVELS`.
const fn slot(level: Level) -> usize {
    match level {
        Level::Error => 0,
        Level::Warn => 1,
        Level::Info => 2,
        Level::Debug | Level::Trace => 3,
    }
}

/// journald's native protocol: one datagram a record. Our own few lines instead of systemd-journal-logger,
/// which drops what it could not send without a word and writes Info as PRIORITY 5 (notice).
#[derive(Debug)]
struct Journal {
    socket: UnixDatagram,
    /// Sent to by name each time, so that a restarted journald is found without a reconnect.
    path: PathBuf,
    stalled: AtomicBool,
}

impl Journal {
    fn at(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, path: path.to_owned(), stalled: AtomicBool::new(false) })
    }

    fn send(&self, record: &Record<'_>) -> io::Result<()> {
        let sent = self.socket.send_to(datagram(record).as_bytes(), &self.path).map(drop);
        let stalled = matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        if self.stalled.swap(stalled, Ordering::Relaxed) != stalled {
            self.socket.set_nonblocking(stalled)?;
        }
        sent
    }
}

/// A record in the journal's fields: `MESSAGE`, `PRIORITY`, `SYSLOG_IDENTIFIER`, and each key-value as
/// `PORTSCAN_…`. Values hold no line feed once escaped, so the protocol's simple form is always right.
fn datagram(record: &Record<'_>) -> String {
    let priority = match record.level() {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let mut out = String::with_capacity(1024);
    out.push_str("MESSAGE=");
    push_escaped(&mut out, &record.args().to_string());
    let _ = write!(out, "\nPRIORITY={priority}\nSYSLOG_IDENTIFIER={SYSLOG_IDENTIFIER}\n");
    each_pair(record, |key, value| {
        push_field_name(&mut out, key);
        out.push('=');
        push_escaped(&mut out, &value.to_string());
        out.push('\n');
    });
    out
}

/// `window_seconds` → `PORTSCAN_WINDOW_SECONDS`; `message_id` is the journal's own.
fn push_field_name(out: &mut String, key: &str) {
    if key == MESSAGE_ID_KEY {
        out.push_str("MESSAGE_ID");
        return;
    }
    const PREFIX: &str = "PORTSCAN_";
    out.push_str(PREFIX);
    out.extend(
        key.chars()
            .take(LONGEST_FIELD_NAME - PREFIX.len())
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }),
    );
}

/// The key-value that becomes the journal's `MESSAGE_ID`; lines on stderr do without.
pub const MESSAGE_ID_KEY: &str = "message_id";

/// How a record becomes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Logfmt,
    Json,
}

impl Layout {
    /// The record as one line, with its line feed: `ts`, `level`, `msg`, then its key-values.
    fn line(self, record: &Record<'_>) -> String {
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        };
        let time = UNIX_EPOCH + Duration::from_nanos(clock::wall().nanos());
        let time = humantime::format_rfc3339_millis(time);
        let message = record.args().to_string();
        let mut out = String::with_capacity(1024);
        match self {
            Layout::Logfmt => {
                let _ = write!(out, "ts={time} level={level} msg=");
                push_quoted(&mut out, &message);
                each_line_pair(record, |key, value| {
                    let _ = write!(out, " {key}=");
                    push_logfmt(&mut out, &value.to_string());
                });
                out.push('\n');
            }
            Layout::Json => {
                let _ = write!(out, r#"{{"ts":"{time}","level":"{level}","msg":"#);
                push_quoted(&mut out, &message);
                each_line_pair(record, |key, value| {
                    out.push(',');
                    push_quoted(&mut out, key);
                    out.push(':');
                    push_json(&mut out, value);
                });
                out.push_str("}\n");
            }
        }
        out
    }
}

/// The key-values of a record, in the order they were given.
fn each_pair(record: &Record<'_>, tell: impl FnMut(&str, &Value<'_>)) {
    struct Visit<T>(T);
    impl<'kvs, T: FnMut(&str, &Value<'_>)> VisitSource<'kvs> for Visit<T> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
            self.0(key.as_str(), &value);
            Ok(())
        }
    }
    // Only a source can fail, and ours cannot; what it told before is kept in any case.
    let _ = record.key_values().visit(&mut Visit(tell));
}

/// The key-values that belong on a line.
fn each_line_pair(record: &Record<'_>, mut tell: impl FnMut(&str, &Value<'_>)) {
    each_pair(record, |key, value| {
        if key != MESSAGE_ID_KEY {
            tell(key, value);
        }
    });
}

/// Whether a character could end a line, move a terminal's cursor or turn the reading direction around.
fn is_treacherous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_escape(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // All treacherous characters lie in the basic plane: four digits, as JSON and logfmt readers expect.
        c => _ = write!(out, "\\u{:04x}", u32::from(c)),
    }
}

/// Text for a person, on one line.
fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        if is_treacherous(c) { push_escape(out, c) } else { out.push(c) }
    }
}

/// A string as JSON and logfmt readers want it.
fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_treacherous(c) => push_escape(out, c),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A logfmt value: bare if it cannot be misread, else quoted.
pub(crate) fn push_logfmt(out: &mut String, text: &str) {
    let bare = |c: char| !(c.is_whitespace() || is_treacherous(c) || matches!(c, '"' | '\\' | '='));
    if !text.is_empty() && text.chars().all(bare) { out.push_str(text) } else { push_quoted(out, text) }
}

/// Numbers and truth values stay what they are; everything else is a string.
fn push_json(out: &mut String, value: &Value<'_>) {
    let bare = value.to_u64().is_some()
        || value.to_i64().is_some()
        || value.to_bool().is_some()
        || value.to_f64().is_some_and(f64::is_finite);
    let text = value.to_string();
    if bare { out.push_str(&text) } else { push_quoted(out, &text) }
}

/// Lines into a descriptor whose reader may be slow, stuck or gone.
#[derive(Debug)]
struct Lines<F> {
    sink: F,
    stalled: AtomicBool,
    /// Two threads' lines must not interleave.
    turn: std::sync::Mutex<()>,
}

impl<F: AsFd> Lines<F> {
    fn new(sink: F) -> Self {
        Self { sink, stalled: AtomicBool::new(false), turn: std::sync::Mutex::new(()) }
    }

    /// The whole line, or an error; never blocks for longer than `PATIENCE`, never panics.
    fn write(&self, line: &str) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let patience = if self.stalled.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
        let fd = self.sink.as_fd();
        let written = line.as_bytes().chunks(UNBLOCKED_BYTES).try_for_each(|chunk| {
            wait_writable(fd, patience)?;
            write_all(fd, chunk)
        });
        let stalled = matches!(&written, Err(error) if error.kind() == io::ErrorKind::TimedOut);
        self.stalled.store(stalled, Ordering::Relaxed);
        written
    }
}

fn wait_writable(fd: BorrowedFd<'_>, patience: Duration) -> io::Result<()> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?;
        bytes = &bytes[written..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Log as _;
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    const PAIRS: [(&str, &str); 2] = [("source", "198.51.100.7"), (MESSAGE_ID_KEY, "abc")];

    /// Let `tell` see a record with this message and these key-values.
    fn with_record(level: Level, message: &str, pairs: &dyn kv::Source, tell: impl FnOnce(&Record<'_>)) {
        tell(&Record::builder().level(level).key_values(pairs).args(format_args!("{message}")).build());
    }

    fn logger<F: AsFd + Send + Sync>(journal: Option<Journal>, sink: F, layout: Layout) -> Logger<F> {
        let tally = Box::leak(Box::new(Tally::new()));
        Logger { level: LevelFilter::Info, journal, echo: false, lines: Lines::new(sink), layout, tally }
    }

    fn pipe() -> (std::fs::File, OwnedFd) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (reader.into(), writer)
    }

    fn read(mut reader: std::fs::File, writer: OwnedFd) -> String {
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    /// The line without its time.
    fn line(layout: Layout, message: &str, pairs: &dyn kv::Source) -> String {
        let mut line = String::new();
        with_record(Level::Warn, message, pairs, |record| line = layout.line(record));
        let time = line.find("level").unwrap() - if layout == Layout::Json { 1 } else { 0 };
        line.split_off(time)
    }

    #[test]
    fn a_logfmt_line_has_time_level_message_and_fields() {
        let mut line = String::new();
        with_record(Level::Warn, "portscan hit", &PAIRS, |record| line = Layout::Logfmt.line(record));
        let (time, rest) = line.strip_prefix("ts=").unwrap().split_once(' ').unwrap();
        assert_eq!(rest, "level=warn msg=\"portscan hit\" source=198.51.100.7\n");
        assert!(humantime::parse_rfc3339(time).is_ok() && time.len() == 24, "{time}");
    }

    #[test]
    fn a_json_line_keeps_numbers_as_numbers() {
        let pairs: [(&str, Value<'_>); 4] =
            [("ports", 20u64.into()), ("seconds", 1.5.into()), ("nan", f64::NAN.into()), ("up", true.into())];
        let line = line(Layout::Json, "hit", &pairs);
        assert_eq!(
            line,
            "\"level\":\"warn\",\"msg\":\"hit\",\"ports\":20,\"seconds\":1.5,\"nan\":\"NaN\",\"up\":true}\n"
        );
    }

    #[test]
    fn nothing_in_a_value_ends_the_line_or_the_string() {
        let evil = "a\"b\\c\nts=forged\r\x1b[2J\u{9b}\u{202e}\0";
        let pairs = [("interface", evil)];
        let escaped = r#"a\"b\\c\nts=forged\r\u001b[2J\u009b\u202e\u0000"#;
        assert_eq!(
            line(Layout::Logfmt, evil, &pairs),
            format!("level=warn msg=\"{escaped}\" interface=\"{escaped}\"\n")
        );
        let json = line(Layout::Json, evil, &pairs);
        let parsed: serde_json::Value = serde_json::from_str(&format!("{{{}", json.trim_end())).unwrap();
        assert_eq!(parsed["interface"], evil);
        with_record(Level::Warn, evil, &pairs, |record| {
            let datagram = datagram(record);
            assert_eq!(datagram.lines().count(), 4, "{datagram}");
            assert!(!datagram.contains(|c| c != '\n' && is_treacherous(c)), "{datagram}");
        });
    }

    #[test]
    fn logfmt_values_are_quoted_only_when_they_must_be() {
        for (value, written) in
            [("21,22", "21,22"), ("", "\"\""), ("a b", "\"a b\""), ("a=b", "\"a=b\""), ("[::1]:1", "[::1]:1")]
        {
            let mut out = String::new();
            push_logfmt(&mut out, value);
            assert_eq!(out, written);
        }
    }

    #[test]
    fn journal_fields_are_named_for_us_and_priorities_are_syslogs() {
        for (level, priority) in
            [(Level::Error, 3), (Level::Warn, 4), (Level::Info, 6), (Level::Debug, 7), (Level::Trace, 7)]
        {
            with_record(level, "hit", &PAIRS, |record| {
                assert_eq!(
                    datagram(record),
                    format!(
                        "MESSAGE=hit\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=portscan_exporter\n\
                         PORTSCAN_SOURCE=198.51.100.7\nMESSAGE_ID=abc\n"
                    )
                );
            });
        }
    }

    #[test]
    fn journal_field_names_are_what_journald_accepts() {
        let mut name = String::new();
        push_field_name(&mut name, &"é=\n-a".repeat(40));
        assert_eq!(name.len(), LONGEST_FIELD_NAME);
        assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'), "{name}");
    }

    #[test]
    fn a_dead_journald_sends_records_to_stderr_until_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listen = || {
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        };
        let heard = |socket: &UnixDatagram| {
            let mut bytes = [0; 4096];
            let length = socket.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        let journald = listen();
        let (reader, writer) = pipe();
        let logger = logger(Some(Journal::at(&path).unwrap()), writer, Layout::Logfmt);
        let log = |message: &str| with_record(Level::Warn, message, &PAIRS, |record| logger.log(record));

        log("one");
        assert!(heard(&journald).contains("MESSAGE=one\n"));
        drop(journald);
        log("two"); // ECONNREFUSED: the socket is there, nobody listens
        std::fs::remove_file(&path).unwrap();
        log("three"); // ENOENT
        let journald = listen();
        log("four");
        assert!(heard(&journald).contains("MESSAGE=four\n"));

        let counts = logger.tally.counts();
        assert_eq!(counts, LogCounts { written: [0, 4, 0, 0], redirected: 2, ..LogCounts::default() });
        let text = read(reader, logger.lines.sink);
        assert!(text.contains("msg=\"two\"") && text.contains("msg=\"three\""), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_stuck_journald_costs_one_wait_and_then_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let (reader, writer) = pipe();
        let logger = logger(Some(Journal::at(&path).unwrap()), writer, Layout::Logfmt);
        let log = || with_record(Level::Warn, "hit", &PAIRS, |record| logger.log(record));
        let started = clock::steady();
        // Far more than the queue of a datagram socket (net.unix.max_dgram_qlen, 10 to 512) or its buffer.
        while logger.tally.counts().redirected < 100 {
            log();
        }
        // 100 waits would be 25 s.
        assert!(started.elapsed() < PATIENCE * 20, "{:?}", started.elapsed());
        // Once journald reads again, records go there, and the next stall is waited for again.
        journald.set_nonblocking(true).unwrap();
        while journald.recv(&mut [0; 4096]).is_ok() {}
        log();
        assert_eq!(logger.tally.counts().redirected, 100);
        assert!(!logger.journal.as_ref().unwrap().stalled.load(Ordering::Relaxed));
        let text = read(reader, logger.lines.sink);
        assert_eq!(text.lines().count(), 100);
    }

    #[test]
    fn a_reader_that_is_gone_or_stuck_loses_records_and_nothing_else() {
        let (reader, writer) = pipe();
        drop(reader);
        let gone = logger(None, writer, Layout::Logfmt);
        with_record(Level::Error, "nobody hears", &PAIRS, |record| gone.log(record));
        assert_eq!(gone.tally.counts(), LogCounts { lost: 1, ..LogCounts::default() });

        let (reader, writer) = pipe();
        let stuck = logger(None, writer, Layout::Logfmt);
        let long = "x".repeat(1000);
        let started = clock::steady();
        while stuck.tally.counts().lost < 100 {
            with_record(Level::Info, &long, &PAIRS, |record| stuck.log(record));
        }
        assert!(started.elapsed() < PATIENCE * 20, "{:?}", started.elapsed());
        let text = read(reader, stuck.lines.sink);
        assert_eq!(text.lines().count() as u64, stuck.tally.counts().written[slot(Level::Info)]);
        assert!(text.lines().all(|line| line.ends_with("source=198.51.100.7")));
    }

    #[test]
    fn records_below_the_level_are_neither_written_nor_counted() {
        let (reader, writer) = pipe();
        let logger = logger(None, writer, Layout::Logfmt);
        with_record(Level::Debug, "detail", &PAIRS, |record| logger.log(record));
        assert_eq!(logger.tally.counts(), LogCounts::default());
        assert_eq!(read(reader, logger.lines.sink), "");
    }

    #[test]
    fn formats_are_named_as_on_the_command_line() {
        for format in Format::ALL {
            assert_eq!(format.label().parse(), Ok(format));
        }
        assert_eq!("syslog".parse::<Format>(), Err(UnknownFormat));
    }
}
