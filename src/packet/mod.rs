//! Vocabulary of the wire: what every later module needs to speak of a packet.

pub(crate) mod bpf;
pub mod datagram;
pub mod decode;
pub mod filter;
pub(crate) mod fragments;
#[cfg(test)]
pub(crate) mod frames;
mod ip;
pub(crate) mod link;
mod signature;
mod skipped;
mod tcp;
mod technique;
mod tool;
pub mod tunnel;

pub(crate) use datagram::sctp_piece;
pub use decode::decode;
pub(crate) use decode::{Ipv4Segment, decode_plain};
pub(crate) use ip::ipv4_piece;
pub use signature::Signature;
pub use skipped::Skipped;
pub use technique::{Class, Technique, Techniques};
pub use tool::Tool;

use std::net::IpAddr;

/// A moment, in nanoseconds since the Unix epoch; it comes with the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// From whole seconds and nanoseconds.
    pub const fn new(seconds: u64, nanoseconds: u32) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds as u64))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the Unix epoch, as Prometheus writes times.
    pub fn as_secs_f64(self) -> f64 {
        // In two parts: nanoseconds since the epoch do not fit a double, and a quarter second would come out ragged.
        (self.0 / 1_000_000_000) as f64 + (self.0 % 1_000_000_000) as f64 / 1e9
    }

    /// This moment `nanos` later; stays at the end of time rather than wrapping.
    pub const fn saturating_add(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to this moment, 0 if `earlier` is later.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The link-layer headers that `decode` understands; others are refused before a frame is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// Ethernet, with any 802.1Q or QinQ tags (DLT_EN10MB, 1).
    Ethernet,
    /// Linux cooked v1: 16 bytes, protocol in the last two (DLT_LINUX_SLL, 113).
    LinuxSll,
    /// Linux cooked v2: 20 bytes, protocol in the first two (DLT_LINUX_SLL2, 276).
    LinuxSll2,
    /// Bare IPv4 or IPv6 (DLT_RAW, 12 or 14 and 101; DLT_IPV4, 228; DLT_IPV6, 229).
    RawIp,
    /// BSD loopback: 4 bytes of address family in the writer's byte order (DLT_NULL, 0).
    Null,
    /// OpenBSD loopback: the same in network byte order (DLT_LOOP, 108).
    Loop,
}

impl LinkType {
    /// From the number libpcap gives a link type (its DLT_ value, or the LINKTYPE_ value of a file); `None` if unsupported.
    pub const fn from_dlt(number: i32) -> Option<Self> {
        match number {
            1 => Some(LinkType::Ethernet),
            113 => Some(LinkType::LinuxSll),
            276 => Some(LinkType::LinuxSll2),
            12 | 14 | 101 | 228 | 229 => Some(LinkType::RawIp),
            0 => Some(LinkType::Null),
            108 => Some(LinkType::Loop),
            _ => None,
        }
    }
}

/// The flag byte of a TCP header (RFC 9293, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub(crate) const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub(crate) const RST: u8 = 0x04;
    /// The sender has no more to say for now.
    pub(crate) const PSH: u8 = 0x08;
    /// The acknowledgement field is meant.
    pub const ACK: u8 = 0x10;
}

/// One TCP segment as the detector sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// When it was captured.
    pub time: Timestamp,
    /// Who sent it.
    pub source: IpAddr,
    /// The host that was asked.
    pub destination: IpAddr,
    /// The sender's TCP port.
    pub source_port: u16,
    /// The TCP port that was asked for.
    pub destination_port: u16,
    /// The sequence number.
    pub sequence: u32,
    /// What it acknowledges, if it has the flag.
    pub acknowledgement: u32,
    /// The TCP flags.
    pub flags: TcpFlags,
}
