//! How values are written in the configuration file, and networks in flags too.

use crate::detect::{Name, Techniques};
use crate::text::quote;
use crate::text::units::parse_duration;
use crate::text::yaml::{Syntax, expected};
use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// The most networks in `ignore.sources`: each is compared with the source of every probe.
pub const MAX_NETWORKS: usize = 1000;

/// A value and the line it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The line, from 1.
    pub line: u64,
}

/// Decimal digits and nothing else; `parse` alone would take a sign. Not `020` either: YAML 1.1 means 16 by it, and
/// the operator may mean 20.
fn whole_number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() < 2 || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Its bounds are those of the setting.
impl Syntax for u32 {
    const EXPECTED: &'static str = "a whole number like 20";

    fn parse(text: &str) -> Result<Self, String> {
        whole_number(text).ok_or_else(|| match whole_number::<u128>(text) {
            Some(_) => format!("expected a whole number of at most {}, found {}", u32::MAX, quote(text)),
            None => expected::<Self>(text),
        })
    }
}

impl Syntax for Techniques {
    const EXPECTED: &'static str = "techniques like syn,udp, or all";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl Syntax for Name {
    const EXPECTED: &'static str = "a name of at most 31 letters, digits and _";

    fn parse(text: &str) -> Result<Self, String> {
        Name::new(text).ok_or_else(|| expected::<Self>(text))
    }
}

impl Syntax for Duration {
    const EXPECTED: &'static str = "a duration like 10s, 5m or 1m30s";

    fn parse(text: &str) -> Result<Self, String> {
        parse_duration(text).map_err(|_| expected::<Self>(text))
    }
}

/// A network as a flag has it, written as in the file.
pub(super) fn parse_network(text: &str) -> Result<IpNet, String> {
    <IpNet as Syntax>::parse(text)
}

impl Syntax for IpNet {
    const EXPECTED: &'static str = "an address or a network like 192.0.2.0/24";

    fn parse(text: &str) -> Result<Self, String> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| expected::<Self>(text))?,
        };
        if network.addr() != network.network() {
            // One of the two is a slip, and guessing wrong ignores a scanner.
            return Err(format!(
                "{} has bits set beyond its prefix (did you mean {}?)",
                quote(text),
                network.trunc()
            ));
        }
        Ok(canonical(network))
    }
}

/// An IPv4 network written as IPv6 (`::ffff:192.0.2.0/120`) as what it means: a packet's source is never so written, so
/// that nothing would be ignored.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let (IpNet::V6(v6), Some(bits)) = (network, network.prefix_len().checked_sub(MAPPED)) else {
        return network;
    };
    let v4 = v6.addr().to_ipv4_mapped().and_then(|address| Ipv4Net::new(address, bits).ok());
    v4.map_or(network, IpNet::V4)
}

impl Syntax for RangeInclusive<u16> {
    const EXPECTED: &'static str = "a port or a range of ports like 8000-8100";

    fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (whole_number(first.trim()), whole_number(last.trim())) {
            (Some(first), Some(last)) if first <= last => Ok(first..=last),
            _ => Err(expected::<Self>(text)),
        }
    }
}
