//! Where to listen, as operators write it: `:10220`, `127.0.0.1:10220`, `[::1]:10220`, `localhost:10220`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// An address as the Prometheus exporters write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// `None`: all addresses, IPv6 and IPv4.
    host: Option<String>,
    port: u16,
}

impl ListenAddress {
    /// The host, if one is named.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why} in {text:?} (write :10220, 127.0.0.1:10220 or [::1]:10220)");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
        let port = match port.parse::<u16>() {
            Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => number,
            _ => return Err(wrong("no valid port")),
        };
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or_else(|| wrong("no closing bracket"))?;
                // Of a link-local address, the interface: fe80::1%eth0.
                let (address, zone) = inner.split_once('%').unwrap_or((inner, "0"));
                let is_name = |zone: &str| {
                    !zone.is_empty() && !zone.contains(|c: char| c.is_whitespace() || "%/".contains(c))
                };
                address
                    .parse::<Ipv6Addr>()
                    .ok()
                    .filter(|_| is_name(zone))
                    .ok_or_else(|| wrong("no valid IPv6 address"))?;
                Some(inner.to_owned())
            }
            None if host.is_empty() => None,
            None if host.contains(':') => return Err(wrong("an IPv6 address without brackets")),
            None if host.contains(|c: char| c.is_whitespace() || c == '/') => {
                return Err(wrong("no valid host"));
            }
            None => Some(host.to_owned()),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, ":{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_operators_write() {
        for text in [
            ":10220",
            "127.0.0.1:10220",
            "[::1]:10220",
            "[fe80::1%eth0]:10220",
            "node7.example.org:10220",
            "0.0.0.0:0",
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let hint = "(write :10220, 127.0.0.1:10220 or [::1]:10220)";
        for (text, why) in [
            ("10220", "no port"),
            (":", "no valid port"),
            (":+1", "no valid port"),
            ("host:65536", "no valid port"),
            ("::1:10220", "an IPv6 address without brackets"),
            ("[::1:10220", "no closing bracket"),
            ("[host]:10220", "no valid IPv6 address"),
            ("[fe80::1%]:10220", "no valid IPv6 address"),
            ("[fe80::1%a b]:10220", "no valid IPv6 address"),
            ("a b:10220", "no valid host"),
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap_err(), format!("{why} in {text:?} {hint}"));
        }
    }
}
