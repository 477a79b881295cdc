//! Capture files: pcap, with Ethernet frames and nanosecond stamps.

use std::path::Path;

const SECOND: u64 = 1_000_000_000;

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// What such a file begins with.
pub fn header() -> Vec<u8> {
    numbers(&[0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 1])
}

/// A frame in it, with its time since 1970 in nanoseconds.
pub fn record(nanos: u64, frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).expect("a frame is short");
    let seconds = u32::try_from(nanos / SECOND).expect("before 2106");
    [numbers(&[seconds, (nanos % SECOND) as u32, length, length]), frame.to_vec()].concat()
}

/// A whole file.
pub fn pcap(frames: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Vec<u8> {
    let mut file = header();
    frames.into_iter().for_each(|(nanos, frame)| file.extend(record(nanos, &frame)));
    file
}

/// Writes one.
pub fn write(path: &Path, frames: impl IntoIterator<Item = (u64, Vec<u8>)>) {
    std::fs::write(path, pcap(frames)).expect("a folder for such files");
}
