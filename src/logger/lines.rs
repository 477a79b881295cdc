//! How a record becomes one line, or one datagram: whatever it holds, it stays one record. Control characters are
//! escaped here, once, for every format, and no text is longer than `LONGEST_TEXT`.

use super::SYSLOG_IDENTIFIER;
use super::level::Severity;
use crate::system::clock;
use crate::text::time::rfc3339_millis;
use log::Record;
use log::kv::{self, Key, Value, VisitSource};
use std::fmt::Write as _;

/// The longest field name journald accepts.
const LONGEST_FIELD_NAME: usize = 64;

/// The longest message or value, in bytes. An error may quote what an attacker or an editor made a megabyte long.
const LONGEST_TEXT: usize = 4096;

/// The key-value that becomes the journal's `MESSAGE_ID`; lines on stderr do without.
pub(crate) const MESSAGE_ID_KEY: &str = "message_id";

/// The key-value that is the `msg` of a line, for records whose message repeats their fields: a line has them anyway.
pub(crate) const TITLE_KEY: &str = "title";

/// A key-value that is one more `PORTSCAN_SOURCE` in the journal, where a field can have many values: so a record of many sources is
/// found by each of them. A line has no such.
pub(crate) const MEMBER_KEY: &str = "member";

/// How a record becomes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Logfmt,
    Json,
}

impl Layout {
    /// The record as one line, with its line feed: `ts`, `level`, `msg`, then its key-values.
    pub(super) fn line(self, record: &Record<'_>) -> String {
        let level = Severity::of(record.level()).word;
        let time = rfc3339_millis(clock::wall());
        let message = title(record);
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

/// A record in the journal's fields: `MESSAGE`, `PRIORITY`, `SYSLOG_IDENTIFIER`, and each key-value as
/// `PORTSCAN_…`. Values hold no line feed once escaped, so the protocol's simple form is always right.
pub(super) fn datagram(record: &Record<'_>) -> String {
    let priority = Severity::of(record.level()).priority;
    let mut out = String::with_capacity(1024);
    out.push_str("MESSAGE=");
    push_escaped(&mut out, &record.args().to_string());
    let _ = write!(out, "\nPRIORITY={priority}\nSYSLOG_IDENTIFIER={SYSLOG_IDENTIFIER}\n");
    each_pair(record, |key, value| {
        if key == TITLE_KEY {
            return;
        }
        push_field_name(&mut out, key);
        out.push('=');
        push_escaped(&mut out, &value.to_string());
        out.push('\n');
    });
    out
}

/// `window_seconds` → `PORTSCAN_WINDOW_SECONDS`; `message_id` is the journal's own.
fn push_field_name(out: &mut String, key: &str) {
    const PREFIX: &str = "PORTSCAN_";
    let key = match key {
        MESSAGE_ID_KEY => return out.push_str("MESSAGE_ID"),
        MEMBER_KEY => "source",
        key => key,
    };
    out.push_str(PREFIX);
    out.extend(
        key.chars()
            .take(LONGEST_FIELD_NAME - PREFIX.len())
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }),
    );
}

/// What a line says first: the title if there is one, else the message.
fn title(record: &Record<'_>) -> String {
    let mut title = None;
    each_pair(record, |key, value| {
        if key == TITLE_KEY {
            title = Some(value.to_string());
        }
    });
    title.unwrap_or_else(|| record.args().to_string())
}

/// The key-values of a record, in the order they were given.
fn each_pair(record: &Record<'_>, each: impl FnMut(&str, &Value<'_>)) {
    struct Visit<T>(T);
    impl<'kvs, T: FnMut(&str, &Value<'_>)> VisitSource<'kvs> for Visit<T> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
            self.0(key.as_str(), &value);
            Ok(())
        }
    }
    // Only a source can fail, and ours cannot; the pairs before are kept in any case.
    let _ = record.key_values().visit(&mut Visit(each));
}

/// The key-values that belong on a line.
fn each_line_pair(record: &Record<'_>, mut each: impl FnMut(&str, &Value<'_>)) {
    each_pair(record, |key, value| {
        if ![MESSAGE_ID_KEY, TITLE_KEY, MEMBER_KEY].contains(&key) {
            each(key, value);
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

/// The characters of a text, of which no more than `LONGEST_TEXT` bytes; an ellipsis stands for the rest.
fn shortened(text: &str) -> impl Iterator<Item = char> {
    let (start, rest) = text.split_at(text.floor_char_boundary(LONGEST_TEXT));
    start.chars().chain((!rest.is_empty()).then_some('…'))
}

/// Text for a person, on one line.
fn push_escaped(out: &mut String, text: &str) {
    for c in shortened(text) {
        if is_treacherous(c) { push_escape(out, c) } else { out.push(c) }
    }
}

/// A string as JSON and logfmt readers want it.
fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in shortened(text) {
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
    let plain = !text.is_empty() && text.len() <= LONGEST_TEXT && text.chars().all(bare);
    if plain { out.push_str(text) } else { push_quoted(out, text) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    const PAIRS: [(&str, &str); 2] = [("source", "198.51.100.7"), (MESSAGE_ID_KEY, "abc")];

    /// Lets `look` see a record with this message and these key-values.
    fn with_record(level: Level, message: &str, pairs: &dyn kv::Source, look: impl FnOnce(&Record<'_>)) {
        look(&Record::builder().level(level).key_values(pairs).args(format_args!("{message}")).build());
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
    fn each_member_is_a_source_in_the_journal_and_lines_do_without() {
        let pairs = [("sources", "2"), (MEMBER_KEY, "198.51.100.7"), (MEMBER_KEY, "198.51.100.8")];
        with_record(Level::Warn, "storm", &pairs, |record| {
            let datagram = datagram(record);
            assert!(
                datagram.ends_with("\nPORTSCAN_SOURCE=198.51.100.7\nPORTSCAN_SOURCE=198.51.100.8\n"),
                "{datagram}"
            );
        });
        assert_eq!(line(Layout::Logfmt, "storm", &pairs), "level=warn msg=\"storm\" sources=2\n");
    }

    #[test]
    fn journal_field_names_are_what_journald_accepts() {
        let mut name = String::new();
        push_field_name(&mut name, &"é=\n-a".repeat(40));
        assert_eq!(name.len(), LONGEST_FIELD_NAME);
        assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'), "{name}");
    }

    #[test]
    fn a_line_has_each_field_once_and_the_journal_has_the_sentence() {
        let pairs = [(TITLE_KEY, "portscan hit"), ("source", "198.51.100.7")];
        let sentence = "portscan hit source=198.51.100.7";
        let written = line(Layout::Logfmt, sentence, &pairs);
        assert_eq!(written, "level=warn msg=\"portscan hit\" source=198.51.100.7\n");
        let written = line(Layout::Json, sentence, &pairs);
        assert_eq!(written, "\"level\":\"warn\",\"msg\":\"portscan hit\",\"source\":\"198.51.100.7\"}\n");
        with_record(Level::Warn, sentence, &pairs, |record| {
            let datagram = datagram(record);
            assert!(datagram.starts_with("MESSAGE=portscan hit source=198.51.100.7\n"), "{datagram}");
            assert!(!datagram.contains("TITLE"), "{datagram}");
        });
    }

    #[test]
    fn a_megabyte_of_text_becomes_a_line_that_can_be_read() {
        let long = "é=".repeat(1 << 20);
        let pairs = [("path", long.as_str())];
        for layout in [Layout::Logfmt, Layout::Json] {
            let line = line(layout, &long, &pairs);
            assert!(line.len() < 2 * LONGEST_TEXT + 200 && line.contains("…\""), "{} bytes", line.len());
        }
        with_record(Level::Warn, &long, &pairs, |record| {
            assert!(datagram(record).len() < 2 * LONGEST_TEXT + 200);
        });
    }
}
