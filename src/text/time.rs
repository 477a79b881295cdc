//! A moment as people and programs read it: RFC 3339 in UTC.

use crate::packet::Timestamp;
use crate::text::units::parse_duration;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

/// RFC 3339 in UTC with microseconds (what is finer is cut): `2026-11-23T10:00:00.123456Z`.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    Rfc3339(time).to_string()
}

/// A moment as it is written so, with or without a fraction.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let since = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok().map(Timestamp)
}

/// Since when: so long ago, or from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// `24h`.
    Ago(Duration),
    /// `2026-01-01T00:00:00Z`, or its first moment, `2026-01-01`.
    At(Timestamp),
}

impl Since {
    /// The moment, seen from now.
    pub(crate) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Since::Ago(ago) => {
                Timestamp(now.nanos().saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)))
            }
            Since::At(moment) => moment,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse_duration(text) {
            Ok(ago) if ago.is_zero() => Err(String::from("nothing has happened since 0 ago: give a duration like 24h")),
            Ok(ago) if ago > LONGEST => Err(format!("at most {} days ago", LONGEST.as_secs() / 86_400)),
            Ok(ago) => Ok(Since::Ago(ago)),
            Err(_) => parse_rfc3339(text)
                .or_else(|| parse_rfc3339(&format!("{text}T00:00:00Z")))
                .map(Since::At)
                .ok_or_else(|| {
                    String::from(
                        "expected a duration like 24h or 7d, a date like 2026-01-01, or a time like 2026-01-01T00:00:00Z (UTC)",
                    )
                }),
        }
    }
}

/// Nobody has a journal of more than ten years.
const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);

/// The same without a string of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rfc3339(pub Timestamp);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_nanos(self.0.nanos())).fmt(f)
    }
}

/// RFC 3339 in UTC with milliseconds, as lines of a log begin: `2026-11-23T10:00:00.123Z`.
pub(crate) fn rfc3339_millis(time: Timestamp) -> impl fmt::Display {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(time.nanos()))
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_a_packet_can_carry_has_a_date() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(Timestamp(u64::MAX)), "2554-07-21T23:34:33.709551Z");
    }

    #[test]
    fn since_is_a_duration_a_date_or_a_time() {
        let moment = |text: &str| {
            text.parse::<Since>()
                .map(|since| rfc3339(since.before(parse_rfc3339("2026-01-03T00:00:00Z").unwrap())))
        };
        for (text, then) in [
            ("24h", "2026-01-02T00:00:00.000000Z"),
            ("2d", "2026-01-01T00:00:00.000000Z"),
            ("2026-01-01", "2026-01-01T00:00:00.000000Z"),
            ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000000Z"),
        ] {
            assert_eq!(moment(text).as_deref(), Ok(then), "{text}");
        }
        for (text, why) in [
            ("0", "nothing has happened since 0 ago"),
            ("0s", "nothing has happened since 0 ago"),
            ("99999999d", "at most 3650 days ago"),
            ("2026-13-01", "a date like 2026-01-01"),
            ("2026-01-01T12:00:00", "2026-01-01T00:00:00Z (UTC)"),
            ("yesterday", "expected a duration like 24h or 7d"),
        ] {
            assert!(moment(text).is_err_and(|said| said.contains(why)), "{text}");
        }
    }
}
