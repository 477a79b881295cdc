//! The levels of records, each with all its names.

use crate::system::counters::Counter;
use log::Level;

/// What a level is called, and where its records are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Severity {
    /// The word in lines and flags.
    pub word: &'static str,
    /// The priority in the journal (syslog(3)).
    pub priority: u8,
    /// Counts the records written.
    pub written: Counter,
}

/// Every level there is here, least urgent first.
pub(crate) const LEVELS: [Severity; 4] = [
    Severity { word: "debug", priority: 7, written: Counter::RecordsDebug },
    Severity { word: "info", priority: 6, written: Counter::RecordsInfo },
    Severity { word: "warn", priority: 4, written: Counter::RecordsWarning },
    Severity { word: "error", priority: 3, written: Counter::RecordsError },
];

impl Severity {
    /// That of a record; `trace` is written as `debug`.
    pub(crate) const fn of(level: Level) -> Self {
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
        for (severity, level) in LEVELS.iter().zip([Level::Debug, Level::Info, Level::Warn, Level::Error]) {
            assert_eq!(Severity::of(level).word, severity.word);
        }
        assert_eq!(Severity::of(Level::Trace).word, "debug");
    }
}
