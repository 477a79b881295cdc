//! Durations, amounts of memory and sources, as people write them in flags and in the configuration file.

use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// An amount of memory: `1048576`, `48MiB` (binary units) or `16MB` (decimal units).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The units of a size, largest first; those that are printed come before their decimal cousins.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a size like 48MiB, 16MB or 1048576".to_owned();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| expected())?;
        let unit = match text[digits..].trim_start_matches(' ') {
            "" => 1,
            name => {
                let known = UNITS.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(name));
                known.ok_or_else(expected)?.1
            }
        };
        number.checked_mul(unit).map(Self).ok_or_else(|| "larger than any memory".to_owned())
    }
}

/// As people write it: in the largest binary unit that leaves no remainder.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = &UNITS[..3];
        match binary.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// One in so many, written `1/N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OneIn(pub u32);

impl FromStr for OneIn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `parse` alone would take a sign.
        let parts = text.strip_prefix("1/").filter(|parts| parts.bytes().all(|byte| byte.is_ascii_digit()));
        let parts = parts.and_then(|parts| parts.parse().ok());
        parts.map(Self).ok_or_else(|| "expected a share like 1/64".to_owned())
    }
}

impl fmt::Display for OneIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1/{}", self.0)
    }
}

/// A duration like `10s`, `5m`, `1m30s` or `500ms`, as flags and the configuration file write it.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration like 10s, 5m or 1m30s".to_owned())
}

/// A source as `explain` takes it: an address, or an IPv6 network as the labels write it. An address is a network of its full
/// length.
pub(crate) fn parse_source(text: &str) -> Result<IpNet, String> {
    if text == MANY {
        return Err(String::from(
            "many is no address: it stands for all sources of a scan by many. `scans --source many` lists such scans with some of their \
             sources; ask for one of these",
        ));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    match text.parse::<IpNet>() {
        Ok(network @ IpNet::V6(_)) => Ok(network.trunc()),
        Ok(network) => Err(format!("{network} is a network: ask for one address of it")),
        Err(_) => Err(String::from(
            "expected an address like 198.51.100.7 or 2001:db8::7, or an IPv6 source like 2001:db8::/64 (host names are \
             not looked up)",
        )),
    }
}

/// The word for the source of a scan by many.
const MANY: &str = "many";

/// Sources as they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// An address, or all of a network.
    Within(IpNet),
    /// Those of scans by many, together.
    Many,
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sources::Within(network) => network.fmt(f),
            Sources::Many => f.write_str(MANY),
        }
    }
}

/// Sources in a text: an address, a network, or `many`.
pub(crate) fn parse_sources(text: &str) -> Result<Sources, String> {
    if text == MANY {
        return Ok(Sources::Many);
    }
    let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    network
        .map(|network| Sources::Within(network.trunc()))
        .map_err(|_| String::from("expected an address, a network like 192.0.2.0/24, or many"))
}

/// A duration as flags write it, and everything else does: messages, labels, pages. `1m30s`, `500ms`, `24h`.
pub fn write_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        if rest >= nanos {
            text.push_str(&format!("{}{unit}", rest / nanos));
            rest %= nanos;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The same for a number of nanoseconds.
pub(crate) fn write_nanos(nanos: u64) -> String {
    write_duration(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units_and_written_as_people_do() {
        for (text, bytes, written) in [
            ("1048576", 1 << 20, "1MiB"),
            ("48MiB", 48 << 20, "48MiB"),
            ("48mib", 48 << 20, "48MiB"),
            ("16MB", 16_000_000, "15625KiB"),
            ("3 GiB", 3 << 30, "3GiB"),
            ("7kB", 7_000, "7000B"),
            ("1B", 1, "1B"),
            ("0", 0, "0B"),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
            assert_eq!(ByteSize(bytes).to_string(), written);
        }
        for text in [
            "",
            "MiB",
            "16M",
            "-1",
            "1.5MiB",
            "16 parsecs",
            "99999999999999999999",
            "18446744073709551615GiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_one_in_so_many() {
        for (text, share) in [("1/64", 64), ("1/1", 1), ("1/0", 0), ("1/4294967295", u32::MAX)] {
            assert_eq!(text.parse(), Ok(OneIn(share)), "{text}");
            assert_eq!(OneIn(share).to_string(), text);
        }
        for text in ["", "64", "0.1", "1/", "1/+4", "2/64", "1/ 64", "1/4294967296"] {
            assert!(text.parse::<OneIn>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["10s", "5m", "1m30s", "500ms", "24h", "1h1ms", "0s"] {
            assert_eq!(parse_duration(text).map(write_duration), Ok(text.to_owned()));
        }
        for (nanos, text) in [
            (1_500_000_000, "1s500ms"),
            (90_000_000_000, "1m30s"),
            (u64::MAX, "5124095h34m33s709ms551us615ns"),
        ] {
            assert_eq!(write_nanos(nanos), text);
        }
        for text in ["", "10", "10 parsecs", "-5s", "s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
