//! Which format a file has, by its first bytes, and what to do about those that are none.

use super::account::{Account, Output};
use super::classic::{self, Pcap};
use super::pcapng::Pcapng;
use super::pieces::Pieces;
use super::{FrameSink, system_words};

/// The format of a file whose beginning was read.
pub(super) enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

impl Format {
    /// Hands over the frames that lie in `bytes` as a whole. How many bytes they took, and how many the next one needs.
    pub(super) fn frames<S: FrameSink>(
        &mut self,
        bytes: &[u8],
        out: &mut Output<'_, S>,
    ) -> Result<(usize, usize), String> {
        match self {
            Format::Pcap(format) => format.frames(bytes, out),
            Format::Pcapng(format) => format.frames(bytes, out),
        }
    }

    /// Whether the file cannot end here, even if no byte is left over.
    pub(super) fn is_within(&self) -> bool {
        match self {
            Format::Pcap(_) => false,
            Format::Pcapng(format) => format.is_skipping(),
        }
    }
}

/// The format, by the file's first bytes.
pub(super) fn recognise(pieces: &mut Pieces, account: &mut Account) -> Result<Format, String> {
    let first = |pieces: &mut Pieces| -> Result<[u8; 12], String> {
        let there = pieces.at_least(12).map_err(|error| system_words(&error))?;
        let mut first = [0; 12];
        let length = there.len().min(12);
        first[..length].copy_from_slice(&there[..length]);
        Ok(first)
    };
    let mut start = first(pieces)?;
    if start.starts_with(&[0x1f, 0x8b]) {
        pieces.gunzip();
        start = first(pieces)?;
    }
    if pieces.bytes().is_empty() {
        return Err(String::from("it is empty"));
    }
    if Pcapng::is_one(&start) {
        return Ok(Format::Pcapng(Pcapng::default()));
    }
    if !Pcap::is_one([start[0], start[1], start[2], start[3]]) {
        return Err(not_a_capture(&start));
    }
    let there = pieces.at_least(classic::HEADER).map_err(|error| system_words(&error))?;
    let header = there.first_chunk().ok_or("it ends within its header")?;
    let format = Pcap::open(header, account)?;
    pieces.consume(classic::HEADER);
    Ok(Format::Pcap(format))
}

/// First bytes of what people have instead of a capture file, and what to do with it.
const OTHERS: &[(&[u8], &str)] = &[
    (&[0x1f, 0x8b], "it is compressed with gzip twice (try: zcat FILE | zcat | portscan_exporter replay -)"),
    (&[0x1f, 0x9d], "it is compressed with compress (try: zcat FILE | portscan_exporter replay -)"),
    (
        &[0x28, 0xb5, 0x2f, 0xfd],
        "it is compressed with zstd (try: zstd -dc FILE | portscan_exporter replay -)",
    ),
    (
        &[0xfd, b'7', b'z', b'X', b'Z'],
        "it is compressed with xz (try: xz -dc FILE | portscan_exporter replay -)",
    ),
    (b"BZh", "it is compressed with bzip2 (try: bzip2 -dc FILE | portscan_exporter replay -)"),
    (&[0x04, 0x22, 0x4d, 0x18], "it is compressed with lz4 (try: lz4 -dc FILE | portscan_exporter replay -)"),
    (b"PK\x03\x04", "it is a zip archive (try: unzip -p FILE | portscan_exporter replay -)"),
    (b"snoop\0", "it is a snoop file (try: editcap -F pcap FILE - | portscan_exporter replay -)"),
];

fn not_a_capture(start: &[u8]) -> String {
    // A skippable frame of zstd, of any kind of sixteen.
    let start = match start {
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => OTHERS[2].0,
        start => start,
    };
    let other = OTHERS.iter().find(|(magic, _)| start.starts_with(magic));
    other.map_or("it is neither a pcap nor a pcapng file", |(_, remedy)| remedy).to_owned()
}
