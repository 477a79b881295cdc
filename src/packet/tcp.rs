//! The TCP header, as far as its flags.

use crate::packet::{Packet, Skipped, TcpFlags, Timestamp};
use std::net::IpAddr;

/// A TCP header without options.
pub(super) const MIN: usize = 20;

/// The longest TCP header.
pub(super) const MAX: usize = 60;

/// Where its flags are, and how much of it must have been captured: up to them.
pub(super) const FLAGS: usize = 13;
pub(super) const TO_FLAGS: usize = FLAGS + 1;

/// A TCP segment, or the beginning of one; or what another protocol of IP carries.
pub(super) struct Segment<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// The number of the protocol.
    pub(super) protocol: u8,
    /// What was captured of it.
    pub(super) bytes: &'a [u8],
    /// How long it is (or its first piece), by the IP header.
    pub(super) length: usize,
    /// It is the first piece of a fragmented datagram.
    pub(super) more_follows: bool,
    /// It stands behind IPv6 extension headers.
    pub(super) is_extended: bool,
}

impl Segment<'_> {
    /// The packet that it is, being TCP. What the IP header promises must hold a TCP header; what was captured of it must reach the flags.
    pub(super) fn packet(&self, time: Timestamp) -> Result<Packet, Skipped> {
        if self.length < MIN {
            return Err(if self.more_follows { Skipped::TinyFragment } else { Skipped::Malformed });
        }
        let Some(tcp) = self.bytes.first_chunk::<TO_FLAGS>() else {
            return Err(if self.is_extended { Skipped::ExtensionHeaders } else { Skipped::Truncated });
        };
        let data_offset = usize::from(tcp[12] >> 4) * 4;
        if data_offset < MIN || data_offset > self.length && !self.more_follows {
            return Err(Skipped::Malformed);
        }
        Ok(Packet {
            time,
            source: self.source,
            destination: self.destination,
            source_port: u16::from_be_bytes([tcp[0], tcp[1]]),
            destination_port: u16::from_be_bytes([tcp[2], tcp[3]]),
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            acknowledgement: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            flags: TcpFlags(tcp[FLAGS]),
        })
    }
}
