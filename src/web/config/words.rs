//! What may stand behind a key: words, numbers and times, each with its line if it is wrong.

use crate::text::quote;
use crate::text::yaml::Syntax;
use std::time::Duration;
use tokio_rustls::rustls::{CipherSuite, NamedGroup};

/// A version of TLS that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

impl Syntax for Version {
    const EXPECTED: &'static str = "TLS12 or TLS13";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "TLS12" => Ok(Self::Tls12),
            "TLS13" => Ok(Self::Tls13),
            "TLS10" | "TLS11" => {
                Err(format!("{text} is not offered: it is broken (RFC 8996); write TLS12 or TLS13"))
            }
            _ => Err(format!("unknown TLS version {} (known: TLS12, TLS13)", quote(text))),
        }
    }
}

/// A cipher suite that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suite(pub(super) CipherSuite);

const SUITES: &[(&str, CipherSuite)] = &[
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

impl Syntax for Suite {
    const EXPECTED: &'static str = "a cipher suite";

    fn parse(text: &str) -> Result<Self, String> {
        if let Some((_, suite)) = SUITES.iter().find(|(name, _)| *name == text) {
            return Ok(Self(*suite));
        }
        let known: Vec<_> = SUITES.iter().map(|(name, _)| *name).collect();
        let weak = text.starts_with("TLS_RSA_")
            || text.contains("_CBC_")
            || text.contains("RC4")
            || text.contains("3DES");
        match weak {
            true => Err(format!("the cipher suite {} is not offered: it is weak; leave it out", quote(text))),
            false => Err(format!("unknown cipher suite {} (known: {})", quote(text), known.join(", "))),
        }
    }
}

/// A curve that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Curve(pub(super) NamedGroup);

impl Syntax for Curve {
    const EXPECTED: &'static str = "a curve";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "CurveP256" => Ok(Self(NamedGroup::secp256r1)),
            "CurveP384" => Ok(Self(NamedGroup::secp384r1)),
            "X25519" => Ok(Self(NamedGroup::X25519)),
            "CurveP521" => Err(String::from("CurveP521 is not offered; leave it out")),
            _ => Err(format!("unknown curve {} (known: CurveP256, CurveP384, X25519)", quote(text))),
        }
    }
}

/// `client_auth_type`: whether a client shows a certificate, and whether it must be signed by a known authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ClientAuth {
    #[default]
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

const TYPES: &[(&str, ClientAuth)] = &[
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    // The name it had.
    ("RequireClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
];

impl Syntax for ClientAuth {
    const EXPECTED: &'static str = "a type of client authentication";

    fn parse(text: &str) -> Result<Self, String> {
        // Given, and empty: the default.
        if text.is_empty() {
            return Ok(Self::None);
        }
        let known = TYPES.iter().find(|(name, _)| *name == text);
        known.map(|(_, auth)| *auth).ok_or_else(|| {
            let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
            format!("unknown client_auth_type {} (known: {})", quote(text), names.join(", "))
        })
    }
}

impl ClientAuth {
    /// Whether a client without a certificate is sent away.
    pub(super) fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }

    /// Whether a certificate must be signed by a known authority.
    pub(super) fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

/// True or false, also in the words of YAML 1.1, which the format's other readers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switch(pub(super) bool);

impl Syntax for Switch {
    const EXPECTED: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, String> {
        const YES: [&str; 11] = ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
        const NO: [&str; 11] = ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];
        if YES.contains(&text) || NO.contains(&text) {
            return Ok(Self(YES.contains(&text)));
        }
        Err(format!("expected {}, found {}", Self::EXPECTED, quote(text)))
    }
}

/// The time in which one more request is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval(pub(super) Duration);

impl Syntax for Interval {
    const EXPECTED: &'static str = "a duration like 1s, 500ms or 0";

    /// As Go writes durations: numbers with units, a fraction each if they like; a number alone is nanoseconds.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected {}, found {}", Self::EXPECTED, quote(text));
        if let Ok(nanos) = text.parse() {
            return Ok(Self(Duration::from_nanos(nanos)));
        }
        let mut seconds = 0.0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
            let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
            let (unit, after) = rest[digits..].split_at(unit);
            seconds += number
                * match unit {
                    "ns" => 1e-9,
                    "us" | "µs" => 1e-6,
                    "ms" => 1e-3,
                    "s" => 1.0,
                    "m" => 60.0,
                    "h" => 3600.0,
                    _ => return Err(wrong()),
                };
            rest = after;
        }
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| wrong())
    }
}

/// So many requests at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Burst(pub(super) u32);

impl Syntax for Burst {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("expected {}, found {}", Self::EXPECTED, quote(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, millis) in [
            ("1s", 1_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("0", 0),
            ("1000000000", 1_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(Interval::parse(text), Ok(Interval(Duration::from_millis(millis))), "{text}");
        }
        for text in ["-1s", "1", "s", "1d", "1s1", "1..s", "ten"] {
            assert!(text == "1" || Interval::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_of_yaml_1_1() {
        assert_eq!((Switch::parse("off"), Switch::parse("Yes")), (Ok(Switch(false)), Ok(Switch(true))));
        assert!(Switch::parse("1").is_err());
    }
}
