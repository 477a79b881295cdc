//! The pcapng format: blocks in sections, of any number of interfaces, each with its link type, snap length and clock
//! (draft-ietf-opsawg-pcapng). Every section may have another byte order.
//!
//! Why not a library: libpcap refuses interfaces that differ and sections of another byte order. pcap-parser 0.17 does not
//! know resolutions that are powers of two nor the obsolete Packet Block, reads `if_tsoffset` of big-endian files backwards,
//! refuses a file for a broken block that nobody asks for, and allocates for each packet with options. What remains
//! is the few fields below. tests/corpus.rs and the fuzz target `file` compare every frame with libpcap's own reader.

use super::account::{Account, Output};
use super::classic::{MOST_CAPTURED, number};
use super::{FrameSink, supported_link, unsupported};
use crate::packet::{LinkType, Timestamp};

/// Block types (section 4 and 11.1 of the draft; 2 is the obsolete Packet Block).
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// A section's byte order, as a little-endian writer leaves it.
const BYTE_ORDER: [u8; 4] = [0x4d, 0x3c, 0x2b, 0x1a];

/// Type and length before, length behind.
const FRAME_OF_BLOCK: usize = 12;

/// The most bytes of a block that is kept whole (packets, interfaces, sections): libpcap's own limit. Others are stepped over.
const MOST_BLOCK: u32 = 16 << 20;

/// The most interfaces of a section: a file that is nothing but interfaces must not fill our memory.
const MOST_INTERFACES: usize = 65_536;

/// How a timestamp becomes nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clock {
    /// Units in a second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
}

impl Clock {
    /// From options, or a time that nobody can use.
    #[inline]
    fn time(self, units: u64) -> Timestamp {
        match (self.resolution, self.offset) {
            (1_000_000, 0) => Timestamp(units.saturating_mul(1_000)),
            (1_000_000_000, 0) => Timestamp(units),
            _ => self.any_time(units),
        }
    }

    #[cold]
    fn any_time(self, units: u64) -> Timestamp {
        let (seconds, rest) = (units / self.resolution, units % self.resolution);
        let seconds = i128::from(seconds) + i128::from(self.offset);
        let nanos = i128::from(rest) * 1_000_000_000 / i128::from(self.resolution);
        Timestamp(u64::try_from((seconds * 1_000_000_000 + nanos).max(0)).unwrap_or(u64::MAX))
    }
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    /// `None` if nobody can decode its frames.
    link: Option<LinkType>,
    snap_length: u32,
    clock: Clock,
}

/// A pcapng file, from its first section header on.
#[derive(Debug, Default)]
pub(super) struct Pcapng {
    swapped: bool,
    interfaces: Vec<Interface>,
    /// Bytes of a block that nobody looks at, still to be stepped over.
    skip: u64,
}

impl Pcapng {
    /// Whether these are the first bytes of such a file.
    pub(super) fn is_one(first: &[u8]) -> bool {
        let order = first.get(8..12);
        first.starts_with(&SECTION)
            && (order == Some(&BYTE_ORDER) || order.is_some_and(|order| order.iter().rev().eq(&BYTE_ORDER)))
    }

    /// Whether a block that nobody looks at is still to be stepped over.
    pub(super) fn is_skipping(&self) -> bool {
        self.skip > 0
    }

    /// Hands over the frames of the blocks that lie in `bytes` as a whole. How many bytes the blocks took, and how many the
    /// next one needs.
    pub(super) fn frames<S: FrameSink>(
        &mut self,
        bytes: &[u8],
        out: &mut Output<'_, S>,
    ) -> Result<(usize, usize), String> {
        let mut at = 0;
        loop {
            if self.skip > 0 {
                let step = self.skip.min((bytes.len() - at) as u64);
                self.skip -= step;
                // No more than the bytes that are there.
                at += step as usize;
            }
            let rest = &bytes[at..];
            if rest.len() < FRAME_OF_BLOCK {
                return Ok((at, FRAME_OF_BLOCK));
            }
            if rest.starts_with(&SECTION) {
                self.section(&rest[8..FRAME_OF_BLOCK])?;
            }
            let [kind, length] = [self.number(rest, 0), self.number(rest, 4)];
            if (length as usize) < FRAME_OF_BLOCK {
                return Err(format!("a block claims to be {length} bytes long"));
            }
            let wanted = rest.starts_with(&SECTION)
                || matches!(kind, INTERFACE | PACKET | SIMPLE_PACKET | ENHANCED_PACKET);
            if !wanted {
                self.skip = u64::from(length);
                continue;
            }
            if length > MOST_BLOCK {
                return Err(format!("a block claims to be {length} bytes long"));
            }
            let Some(block) = rest.get(..length as usize) else { return Ok((at, length as usize)) };
            self.block(kind, &block[8..block.len() - 4], out)?;
            at += block.len();
        }
    }

    #[inline]
    fn number(&self, bytes: &[u8], at: usize) -> u32 {
        let mut four = [0; 4];
        four.copy_from_slice(&bytes[at..at + 4]);
        number(self.swapped, four)
    }

    fn half(&self, bytes: &[u8], at: usize) -> u16 {
        let two = [bytes[at], bytes[at + 1]];
        if self.swapped { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) }
    }

    /// A section begins: from here on its byte order and its own interfaces are in force.
    fn section(&mut self, order: &[u8]) -> Result<(), String> {
        self.swapped = match order {
            order if order == BYTE_ORDER => false,
            order if order.iter().rev().eq(&BYTE_ORDER) => true,
            _ => return Err(String::from("a section header has no byte order")),
        };
        Ok(())
    }

    #[inline]
    fn block<S: FrameSink>(&mut self, kind: u32, body: &[u8], out: &mut Output<'_, S>) -> Result<(), String> {
        let short = || String::from("a block is shorter than its fields");
        match kind {
            ENHANCED_PACKET | PACKET => {
                let fields = body.get(..20).ok_or_else(short)?;
                let interface = match kind {
                    PACKET => u32::from(self.half(fields, 0)),
                    _ => self.number(fields, 0),
                };
                let units = u64::from(self.number(fields, 4)) << 32 | u64::from(self.number(fields, 8));
                let [captured, original] = [self.number(fields, 12), self.number(fields, 16)];
                let frame = body[20..].get(..captured as usize).ok_or_else(short)?;
                self.frame(interface, |clock| clock.time(units), original, frame, out)
            }
            SIMPLE_PACKET => {
                let original = self.number(body.get(..4).ok_or_else(short)?, 0);
                let limit = self.interfaces.first().map_or(0, |first| first.snap_length);
                let captured = if limit == 0 { original } else { original.min(limit) };
                let frame = body[4..].get(..captured as usize).ok_or_else(short)?;
                // It has no time.
                self.frame(0, |_| Timestamp(0), original, frame, out)
            }
            INTERFACE => self.interface(body, out.account),
            _ => self.section_fields(body),
        }
    }

    /// The rest of a section header, after its byte order.
    fn section_fields(&mut self, body: &[u8]) -> Result<(), String> {
        let fields = body.get(..16).ok_or("a section header is shorter than its fields")?;
        match (self.half(fields, 4), self.half(fields, 6)) {
            (1, _) => {
                self.interfaces.clear();
                Ok(())
            }
            (major, minor) => Err(format!("version {major}.{minor} of pcapng is not supported")),
        }
    }

    #[inline]
    fn frame<S: FrameSink>(
        &self,
        interface: u32,
        time: impl FnOnce(Clock) -> Timestamp,
        original: u32,
        frame: &[u8],
        out: &mut Output<'_, S>,
    ) -> Result<(), String> {
        let Some(of) = self.interfaces.get(interface as usize) else {
            return Err(format!("a frame is of interface {interface}, which the file does not describe"));
        };
        if frame.len() > MOST_CAPTURED as usize {
            return Err(format!("a frame claims to be {} bytes long", frame.len()));
        }
        let Some(link) = of.link else {
            out.account.unread += 1;
            return Ok(());
        };
        out.link(link);
        out.limit(of.snap_length);
        out.frame(time(of.clock), original, frame);
        Ok(())
    }

    fn interface(&mut self, body: &[u8], account: &mut Account) -> Result<(), String> {
        let fields = body.get(..8).ok_or("an interface description is shorter than its fields")?;
        if self.interfaces.len() == MOST_INTERFACES {
            return Err(format!("a section describes more than {MOST_INTERFACES} interfaces"));
        }
        let link = match supported_link(pcap::Linktype(self.half(fields, 0).into())) {
            Ok(link) => Some(link),
            Err(name) => {
                account.unread_link.get_or_insert_with(|| unsupported(&name));
                None
            }
        };
        let snap_length = self.number(fields, 4);
        account.limit(snap_length);
        self.interfaces.push(Interface { link, snap_length, clock: self.clock(&body[8..])? });
        Ok(())
    }

    /// An interface's clock from its options `if_tsresol` (9) and `if_tsoffset` (14).
    fn clock(&self, mut options: &[u8]) -> Result<Clock, String> {
        let mut clock = Clock { resolution: 1_000_000, offset: 0 };
        while options.len() >= 4 {
            let (code, length) = (self.half(options, 0), usize::from(self.half(options, 2)));
            let value = options.get(4..4 + length).ok_or("an option is longer than its block")?;
            match (code, value) {
                (0, _) => break,
                (9, &[exponent]) => {
                    let power = u32::from(exponent & 0x7f);
                    let base: u64 = if exponent & 0x80 == 0 { 10 } else { 2 };
                    clock.resolution = base.checked_pow(power).ok_or_else(|| {
                        format!("a clock that counts in {base}^-{power} s is not supported")
                    })?;
                }
                (14, value) if value.len() == 8 => {
                    let [first, second] = [self.number(value, 0), self.number(value, 4)].map(u64::from);
                    let offset = if self.swapped { first << 32 | second } else { second << 32 | first };
                    clock.offset = offset.cast_signed();
                }
                _ => {}
            }
            options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(clock)
    }
}
