//! Bytes of a frame → the TCP segment in it, or why there is none.

use crate::packet::{LinkType, Packet, Timestamp};

/// Why a frame did not become a packet. A malformed packet is a fact to count, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Neither IPv4 nor IPv6 (ARP, LLDP, …).
    NotIp,
    /// IP, but not TCP.
    NotTcp,
    /// TCP, but no probe: established traffic and backscatter.
    NotProbe,
    /// A piece of a fragmented datagram: its ports and flags cannot be trusted.
    Fragment,
    /// The capture cut it before the end of the TCP header.
    Truncated,
    /// Its headers contradict themselves.
    Malformed,
}

impl Skipped {
    /// Every reason, in label order.
    pub const ALL: [Skipped; 6] = [
        Skipped::NotIp,
        Skipped::NotTcp,
        Skipped::NotProbe,
        Skipped::Fragment,
        Skipped::Truncated,
        Skipped::Malformed,
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Skipped::NotIp => "not_ip",
            Skipped::NotTcp => "not_tcp",
            Skipped::NotProbe => "not_probe",
            Skipped::Fragment => "fragment",
            Skipped::Truncated => "truncated",
            Skipped::Malformed => "malformed",
        }
    }
}

/// The probe-like TCP segment in a frame captured at `time`; anything else says why it is skipped.
pub fn decode(_link: LinkType, _time: Timestamp, _frame: &[u8]) -> Result<Packet, Skipped> {
    Err(Skipped::NotIp)
}
