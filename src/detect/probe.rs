//! What a probe is: a packet that asks "is something there?", and in which way. The ways are rows of `packet::technique`.

pub use crate::packet::{Class, Signature, Technique, Techniques, Tool};
use crate::packet::{Ipv4Segment, Packet, TcpFlags, Timestamp};
use std::net::{IpAddr, Ipv4Addr};

/// The address family of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both families, in label order.
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::Ipv4,
            IpAddr::V6(_) => Family::Ipv6,
        }
    }

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        }
    }
}

/// What a host answered to a probe, and what the source did with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// SYN-ACK: somebody listens.
    Answered {
        /// The number with which the host begins.
        sequence: u32,
        /// To which port of the source.
        to: u16,
    },
    /// RST: nobody does, or a firewall says so.
    Refused,
    /// The source ends a connection.
    Acknowledged {
        /// Up to which number it has read what the host sent.
        number: u32,
        /// From which port.
        from: u16,
    },
}

/// The flags that a reply is known by: all but those that a router may set (RFC 3168).
const REPLY_FLAGS: u8 = 0x3f;

/// A packet that asks "is something there?", or the answer to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// When it was captured, on the capture's own clock.
    pub time: Timestamp,
    /// The full address it came from; the detector aggregates IPv6.
    pub source: IpAddr,
    /// The host it asked.
    pub host: IpAddr,
    /// The port it asked for.
    pub port: u16,
    /// How it asked.
    pub technique: Technique,
    /// Whose mark it has.
    pub tool: Tool,
    /// What its headers tell of the stack that sent it.
    pub signature: Signature,
    /// What came of a probe, if this is what came of it: then time is that of the reply, and the rest as of the probe.
    pub reply: Option<Reply>,
}

/// A probe over IPv4, on its way to a batch: see `packet::Ipv4Segment`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ipv4Probe {
    /// When it was captured.
    pub time: Timestamp,
    /// Where it came from.
    pub source: Ipv4Addr,
    /// The host it asked.
    pub host: Ipv4Addr,
    /// The port it asked for.
    pub port: u16,
    /// How it asked.
    pub technique: Technique,
    /// Whose mark it has.
    pub tool: Tool,
    /// What its headers tell of the stack that sent it.
    pub signature: Signature,
}

impl Ipv4Probe {
    /// The probe in a segment, or `None`. The mark and the signature are for who has the frame.
    #[inline(always)]
    pub(crate) fn of(time: Timestamp, segment: Ipv4Segment) -> Option<Self> {
        Some(Self {
            tool: Tool::Unknown,
            signature: Signature::default(),
            time,
            source: segment.source,
            host: segment.destination,
            port: segment.ports.1,
            technique: Technique::of(segment.flags)?,
        })
    }
}

impl From<Ipv4Probe> for Probe {
    #[inline(always)]
    fn from(probe: Ipv4Probe) -> Self {
        Self {
            time: probe.time,
            source: IpAddr::V4(probe.source),
            host: IpAddr::V4(probe.host),
            port: probe.port,
            technique: probe.technique,
            tool: probe.tool,
            signature: probe.signature,
            reply: None,
        }
    }
}

impl Probe {
    /// The probe in a packet, or `None`: backscatter and established traffic ask nothing.
    #[inline]
    pub fn of(packet: &Packet) -> Option<Self> {
        Some(Self {
            technique: Technique::of(packet.flags)?,
            time: packet.time,
            source: packet.source,
            host: packet.destination,
            port: packet.destination_port,
            tool: Tool::Unknown,
            signature: Signature::default(),
            reply: None,
        })
    }

    /// What came of a probe, as a packet says; or `None` if it is neither an answer to a SYN nor the end of a connection.
    ///
    /// A RST that refuses a SYN has no number of its own to send (RFC 9293, section 3.10.7.1); one that has is the end of a connection.
    #[inline]
    pub fn of_reply(packet: &Packet) -> Option<Self> {
        const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
        const RST_ACK: u8 = TcpFlags::RST | TcpFlags::ACK;
        const FIN_ACK: u8 = TcpFlags::FIN | TcpFlags::ACK;
        let answer = |reply| Self {
            reply: Some(reply),
            technique: Technique::Syn,
            tool: Tool::Unknown,
            signature: Signature::default(),
            time: packet.time,
            source: packet.destination,
            host: packet.source,
            port: packet.source_port,
        };
        match packet.flags.0 & REPLY_FLAGS {
            SYN_ACK => {
                Some(answer(Reply::Answered { sequence: packet.sequence, to: packet.destination_port }))
            }
            RST_ACK if packet.sequence == 0 => Some(answer(Reply::Refused)),
            RST_ACK | FIN_ACK => Some(Self {
                source: packet.source,
                host: packet.destination,
                port: packet.destination_port,
                ..answer(Reply::Acknowledged { number: packet.acknowledgement, from: packet.source_port })
            }),
            _ => None,
        }
    }
}
