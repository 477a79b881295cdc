//! What the process counts of itself besides its captures. A counter is one line of the list below: the enum, its place in
//! memory and its family on the page all come from it.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a counter is shown: one series of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// The name of its family.
    pub family: &'static str,
    /// The family's label, if it has one.
    pub labels: &'static [&'static str],
    /// The value that this counter has there; the values of a family are a closed set.
    pub values: &'static [&'static str],
    /// What the family counts.
    pub help: &'static str,
}

macro_rules! counters {
    ($($name:ident = $family:literal $($label:ident=$value:literal)?: $help:literal;)*) => {
        /// Something the process counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter {
            $(#[doc = $help] $name,)*
        }

        impl Counter {
            /// Every counter, those of one family side by side.
            pub const ALL: [Counter; [$(Counter::$name),*].len()] = [$(Counter::$name),*];

            /// How it is shown.
            pub const fn series(self) -> Series {
                match self {
                    $(Counter::$name => Series {
                        family: $family,
                        labels: &[$(stringify!($label))?],
                        values: &[$($value)?],
                        help: $help,
                    },)*
                }
            }
        }
    };
}

counters! {
    RecordsError = "portscan_log_records_total" level="error": "Log records written.";
    RecordsWarning = "portscan_log_records_total" level="warning": "Log records written.";
    RecordsInfo = "portscan_log_records_total" level="info": "Log records written.";
    RecordsDebug = "portscan_log_records_total" level="debug": "Log records written.";
    RecordsSuppressed = "portscan_log_records_suppressed_total": "Log records withheld by the flood limit.";
    RecordsFolded = "portscan_log_records_folded_total": "Log records of scans that a storm's record stands for.";
    Storms = "portscan_storms_total": "Storms of scans that look alike, each told by records of its own.";
    RecordsRedirected = "portscan_log_records_redirected_total":
        "Log records written to standard error because journald did not take them.";
    RecordsLost = "portscan_log_records_lost_total": "Log records that neither the journal nor standard error took.";
    // Connections that the web server cut: their client held most of the places and another needed one …
    CutCrowded = "portscan_web_connections_cut_total" reason="crowded": "HTTP connections that were cut, by the reason.";
    // … there was no place, and the client already held as many as any other …
    CutFull = "portscan_web_connections_cut_total" reason="full": "HTTP connections that were cut, by the reason.";
    // … the client took too long over the header of a request …
    CutHeader = "portscan_web_connections_cut_total" reason="header": "HTTP connections that were cut, by the reason.";
    // … asked nothing for too long …
    CutIdle = "portscan_web_connections_cut_total" reason="idle": "HTTP connections that were cut, by the reason.";
    // … or took too long to take the answer.
    CutRequest = "portscan_web_connections_cut_total" reason="request": "HTTP connections that were cut, by the reason.";
    InterfacesRefused = "portscan_capture_interfaces_refused_total":
        "Interfaces that match a pattern of --capture.interface and found no place among --capture.max-interfaces.";
    // Requests that `--web.config.file` sent away: it is broken, or asks for less than at the start …
    RefusedConfig = "portscan_web_requests_refused_total" reason="config": "Requests refused, by the reason.";
    // … the password was missing or wrong, or too many were being checked …
    RefusedCredentials = "portscan_web_requests_refused_total" reason="credentials": "Requests refused, by the reason.";
    // … events were followed by as many clients as allowed …
    RefusedFollowers = "portscan_web_requests_refused_total" reason="followers": "Requests refused, by the reason.";
    // … or they came faster than the rate that it allows.
    RefusedRate = "portscan_web_requests_refused_total" reason="rate": "Requests refused, by the reason.";
    HandshakesFailed = "portscan_web_tls_handshakes_failed_total":
        "TLS handshakes that failed: no TLS at all, no common version, no valid client certificate, or a broken configuration.";
    ScrapesRefused = "portscan_web_scrapes_refused_total":
        "Scrapes refused because as many as allowed were being answered.";
    QuestionsRefused = "portscan_web_questions_refused_total":
        "Questions for a source (explain) that got no answer: too many at once, or no capture answered in time.";
    AcceptFailures = "portscan_web_accept_failures_total":
        "Times a connection could not be accepted, mostly for want of a file descriptor.";
}

/// How many counters there are.
const COUNTERS: usize = Counter::ALL.len();

/// Counters that several threads write and a scrape reads.
#[derive(Debug)]
pub struct Counters([AtomicU64; COUNTERS]);

impl Counters {
    /// All at 0.
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; COUNTERS])
    }

    /// One more.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// So many more.
    pub fn add(&self, counter: Counter, more: u64) {
        self.0[counter as usize].fetch_add(more, Ordering::Relaxed);
    }

    /// As they stand.
    pub fn counts(&self) -> Counts {
        Counts(array::from_fn(|at| self.0[at].load(Ordering::Relaxed)))
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

/// What every counter says at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts([u64; COUNTERS]);

impl Counts {
    /// What one counter says.
    pub const fn of(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// The same with these counted.
    #[must_use]
    pub fn with(mut self, counted: impl IntoIterator<Item = (Counter, u64)>) -> Self {
        for (counter, more) in counted {
            self.0[counter as usize] += more;
        }
        self
    }

    /// What two parts of the process have counted.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(array::from_fn(|at| self.0[at] + other.0[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_one_help_one_label_and_no_value_twice() {
        for (at, one) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(one as usize, at);
            for other in &Counter::ALL[at + 1..] {
                let (one, other) = (one.series(), other.series());
                if one.family == other.family {
                    assert_eq!((one.help, one.labels), (other.help, other.labels));
                    assert_ne!(one.values, other.values, "{one:?} twice");
                }
            }
        }
    }

    #[test]
    fn what_is_counted_here_and_there_adds_up() {
        let (log, web) = (Counters::new(), Counters::default());
        log.count(Counter::RecordsLost);
        log.add(Counter::RecordsLost, 2);
        web.count(Counter::CutIdle);
        let all = log.counts().and(&web.counts());
        assert_eq!(all, Counts::default().with([(Counter::RecordsLost, 3), (Counter::CutIdle, 1)]));
        assert_eq!(all.of(Counter::RecordsLost), 3);
    }
}
