//! The levels of records, each with all its names.

use crate::system::counters::Counter;
use log::Level;

/// What a level is called, and where its records are counted.
#[derive(Debug, Clone, Copy)]
pub struct Severity {
    /// The level in code.
    pub level: Level,
    /// The word in lines and flags.
    pub word: &'static str,
    /// The priority in the journal (syslog(3)).
    pub priority: u8,
    /// Counts the records written.
    pub written: Counter,
}

/// Every level there is here, least urgent first.
pub const LEVELS: [Severity; 4] = [
    Severity { level: Level::Debug, word: "debug", priority: 7, written: Counter::RecordsDebug },
    Severity { level: Level::Info, word: "info", priority: 6, written: Counter::RecordsInfo },
    Severity { level: Level::Warn, word: "warn", priority: 4, written: Counter::RecordsWarning },
    Severity { level: Level::Error, word: "error", priority: 3, written: Counter::RecordsError },
];

impl Severity {
    /// That of a record; `trace` is written as `debug`.
    pub const fn of(level: Level) -> Self {
        match level {
            Level::Trace | Level::Debug => LEVELS[0],
            Level::Info => LEVELS[1],
            Level::Warn => LEVELS[2],
            Level::Error => LEVELS[3],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_its_own() {
        for severity in LEVELS {
            assert_eq!(Severity::of(severity.level).word, severity.word);
        }
        assert_eq!(Severity::of(Level::Trace).word, "debug");
    }
}
