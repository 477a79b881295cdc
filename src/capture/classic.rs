//! The pcap format: a header for the file, then frames (draft-ietf-opsawg-pcap, and libpcap's `sf-pcap.c` for the variants).

use super::account::{Account, Output};
use super::{FrameSink, supported_link, unsupported};
use crate::packet::{LinkType, Timestamp};

/// Length of the file's header.
pub(super) const HEADER: usize = 24;

/// The most bytes of one frame that libpcap believes (MAXIMUM_SNAPLEN); anything above is a broken file.
pub(super) const MOST_CAPTURED: u32 = 262_144;

/// Which of a frame's two lengths comes first: they changed places with version 2.3, and some writers missed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    OriginalFirst,
    /// The captured length is the smaller one.
    Either,
}

/// A pcap file whose header was read.
#[derive(Debug)]
pub(super) struct Pcap {
    swapped: bool,
    /// Nanoseconds in a unit of the fraction.
    unit: u32,
    lengths: Lengths,
    /// Bytes before a frame.
    head: usize,
    link: LinkType,
}

impl Pcap {
    /// Whether these are the first bytes of such a file: whether its byte order is the other one, and its magic number.
    fn magic(first: [u8; 4]) -> Option<(bool, u32)> {
        let known = |magic: &u32| [MICRO, NANO, PATCHED].contains(magic);
        let magic = u32::from_le_bytes(first);
        [(false, magic), (true, magic.swap_bytes())].into_iter().find(|(_, magic)| known(magic))
    }

    pub(super) fn is_one(first: [u8; 4]) -> bool {
        Self::magic(first).is_some()
    }

    /// From the file's header.
    pub(super) fn open(header: &[u8; HEADER], account: &mut Account) -> Result<Self, String> {
        let (swapped, magic) = Self::magic([header[0], header[1], header[2], header[3]])
            .ok_or_else(|| String::from("it is no pcap file"))?;
        let number =
            |at: usize| number(swapped, [header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| {
            let bytes = [header[at], header[at + 1]];
            if swapped { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
        };
        let lengths = match (half(4), half(6)) {
            (2, 4) => Lengths::CapturedFirst,
            (2, 3) => Lengths::Either,
            // 543.0 is that of DG/UX.
            (2, 0..=2) | (543, 0) => Lengths::OriginalFirst,
            (major, minor) => return Err(format!("version {major}.{minor} of pcap is not supported")),
        };
        // Above the link type: whether frames end with a checksum, and how long that is.
        let link = (number(20) & 0x03ff_ffff).cast_signed();
        let link = supported_link(pcap::Linktype(link)).map_err(|name| unsupported(&name))?;
        account.limit(number(16));
        Ok(Self {
            swapped,
            unit: if magic == NANO { 1 } else { 1_000 },
            lengths,
            head: if magic == PATCHED { 24 } else { 16 },
            link,
        })
    }

    /// Hands over the frames that lie in `bytes` as a whole. How many bytes they took, and how many the next one needs.
    #[inline]
    pub(super) fn frames<S: FrameSink>(
        &self,
        bytes: &[u8],
        out: &mut Output<'_, S>,
    ) -> Result<(usize, usize), String> {
        out.link(self.link);
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let Some(head) = rest.first_chunk::<16>() else { return Ok((at, self.head)) };
            let number =
                |at: usize| number(self.swapped, [head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (mut captured, mut original) = (number(8), number(12));
            if self.lengths == Lengths::OriginalFirst
                || self.lengths == Lengths::Either && captured > original
            {
                std::mem::swap(&mut captured, &mut original);
            }
            if captured > MOST_CAPTURED {
                return Err(format!("a frame claims to be {captured} bytes long"));
            }
            let size = self.head + captured as usize;
            let Some(frame) = rest.get(self.head..size) else { return Ok((at, size)) };
            // A file may say anything; a second has fewer than 1e9 nanoseconds.
            let fraction = (u64::from(number(4)) * u64::from(self.unit)).min(999_999_999);
            out.frame(Timestamp(u64::from(number(0)) * 1_000_000_000 + fraction), original, frame);
            at += size;
        }
    }
}

/// The magic number, as its writer's machine reads it. The third is of a patch of 1999, with more bytes before each frame.
const MICRO: u32 = 0xa1b2_c3d4;
const NANO: u32 = 0xa1b2_3c4d;
const PATCHED: u32 = 0xa1b2_cd34;

/// A number in the byte order of a file.
#[inline]
pub(super) fn number(swapped: bool, bytes: [u8; 4]) -> u32 {
    if swapped { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}
