//! Capture files: pcap and pcapng, from a path or from standard input.

use super::{
    CaptureError, FrameSink, SUPPORTED_LINKS, said, stream, stream::Stream, supported_link, timestamp,
};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames between two looks at the stop flag and two reports of progress: some milliseconds.
const STRIDE: usize = 65_536;

/// How far a file has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the file so far, 0 if nobody can know (standard input).
    pub bytes: u64,
    /// The file's length, if it has one.
    pub total: Option<u64>,
    /// Frames handed over so far.
    pub frames: u64,
}

/// Hands every frame of a capture file to `sink` (`-` is standard input), until its end or until `stop` is set.
///
/// Returns the number of frames. A broken file is an error after everything before the break was handed over.
pub fn read_file(
    path: &Path,
    sink: &mut impl FrameSink,
    stop: &AtomicBool,
    mut progress: impl FnMut(Progress),
) -> Result<u64, CaptureError> {
    let fail = |reason: String| CaptureError::File { path: path.to_owned(), reason };
    let mut source = open(path).map_err(fail)?;
    let link = supported_link(source.stream.capture.get_datalink())
        .map_err(|name| fail(format!("link type {name} is not supported (supported: {SUPPORTED_LINKS})")))?;
    sink.opened(link);
    let mut frames = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let read = source.stream.capture.dispatch(Some(STRIDE), |packet| {
            frames += 1;
            sink.frame(timestamp(packet.header), packet.data);
        });
        sink.batch_end();
        progress(Progress { bytes: source.position(), total: source.length, frames });
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(fail(format!("{} (after {frames} frames)", said(&error)))),
        }
    }
    Ok(frames)
}

/// An open capture file, and where it is being read.
struct Source {
    stream: Stream,
    /// Shares its offset with libpcap's descriptor, so that asking for the position costs nothing per frame.
    position: File,
    length: Option<u64>,
}

impl Source {
    fn position(&self) -> u64 {
        // A pipe has no position.
        rustix::fs::tell(&self.position).unwrap_or(0)
    }
}

fn open(path: &Path) -> Result<Source, String> {
    // Opened here and not by libpcap: any file name will do, not only UTF-8, and the system's own words say why not.
    let file = if path.as_os_str() == "-" {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::open(path)
    };
    let file = file.map_err(|error| reason(&error))?;
    let metadata = file.metadata().map_err(|error| reason(&error))?;
    if metadata.is_dir() {
        return Err(String::from("it is a directory"));
    }
    let length = metadata.is_file().then_some(metadata.len());
    if length == Some(0) {
        return Err(String::from("it is empty"));
    }
    let position = file.try_clone().map_err(|error| reason(&error))?;
    let stream = stream::open(file.into()).map_err(|said| explain_header(&said))?;
    Ok(Source { stream, position, length })
}

/// The system's words without "(os error 2)".
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// What libpcap says about a file's first bytes, in the words of somebody who only gave a file name.
fn explain_header(said: &str) -> String {
    if said.contains("only got 0") {
        String::from("it is empty")
    } else if said.contains("unknown file format") {
        String::from("it is neither a pcap nor a pcapng file")
    } else {
        said.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::CaptureStatus;
    use crate::packet::{LinkType, Timestamp};
    use std::path::PathBuf;

    #[derive(Default)]
    struct Frames {
        link: Option<LinkType>,
        frames: Vec<(Timestamp, Vec<u8>)>,
        batches: usize,
    }

    impl FrameSink for Frames {
        fn opened(&mut self, link: LinkType) {
            self.link = Some(link);
        }
        fn frame(&mut self, time: Timestamp, bytes: &[u8]) {
            self.frames.push((time, bytes.to_vec()));
        }
        fn batch_end(&mut self) {
            self.batches += 1;
        }
        fn tick(&mut self, _: &CaptureStatus) {
            panic!("files have no ticks");
        }
    }

    const MICRO: u32 = 0xa1b2_c3d4;
    const NANO: u32 = 0xa1b2_3c4d;

    /// A pcap file with one frame per (seconds, fraction), in this machine's byte order or the other.
    fn pcap(magic: u32, link: u32, swapped: bool, times: &[(u32, u32)]) -> Vec<u8> {
        let put = |number: u32| if swapped { number.to_be_bytes() } else { number.to_le_bytes() };
        let version = if swapped { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        let mut file = [put(magic), version, put(0), put(0), put(262_144), put(link)].concat();
        for &(seconds, fraction) in times {
            file.extend([put(seconds), put(fraction), put(60), put(60)].concat());
            file.extend([0x42; 60]);
        }
        file
    }

    /// A pcapng file with nanosecond times on its only interface.
    fn pcapng(times: &[u64]) -> Vec<u8> {
        let block = |kind: u32, body: &[u8]| {
            let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
            [&kind.to_le_bytes(), &length, body, &length].concat()
        };
        let section = [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
        // Ethernet, no limit, if_tsresol = 9.
        let interface = [1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        let mut file = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
        for time in times {
            let [low, high] = [*time as u32, (time >> 32) as u32];
            let head: Vec<u8> =
                [0, high, low, 60, 60].iter().flat_map(|number| number.to_le_bytes()).collect();
            file.extend(block(6, &[&head[..], &[0x42; 60]].concat()));
        }
        file
    }

    fn read(bytes: &[u8]) -> (Frames, Result<u64, CaptureError>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pcap");
        std::fs::write(&path, bytes).unwrap();
        let mut frames = Frames::default();
        let result = read_file(&path, &mut frames, &AtomicBool::new(false), |_| {});
        (frames, result)
    }

    /// The error without the name of the temporary directory.
    fn complaint(bytes: &[u8]) -> String {
        let message = read(bytes).1.unwrap_err().to_string();
        let name = message.find("/x.pcap").expect("the file is named");
        format!("cannot read x.pcap{}", &message[name + "/x.pcap".len()..])
    }

    #[test]
    fn times_are_exact_in_every_format_and_byte_order() {
        let times = |frames: Frames| frames.frames.iter().map(|(time, _)| time.nanos()).collect::<Vec<_>>();
        let given = [(1_700_000_000, 123_456), (1_700_000_001, 0)];
        for swapped in [false, true] {
            let (frames, result) = read(&pcap(MICRO, 1, swapped, &given));
            assert_eq!((result, frames.link), (Ok(2), Some(LinkType::Ethernet)));
            assert_eq!(frames.frames[0].1, [0x42; 60]);
            assert!(frames.batches > 0);
            assert_eq!(times(frames), [1_700_000_000_123_456_000, 1_700_000_001_000_000_000]);
            let (frames, _) = read(&pcap(NANO, 1, swapped, &given));
            assert_eq!(times(frames), [1_700_000_000_000_123_456, 1_700_000_001_000_000_000]);
        }
        let (frames, result) = read(&pcapng(&[1_700_000_000_123_456_789]));
        assert_eq!(result, Ok(1));
        assert_eq!(times(frames), [1_700_000_000_123_456_789]);
    }

    #[test]
    fn a_time_that_no_clock_shows_stays_within_its_second() {
        let (frames, result) = read(&pcap(NANO, 1, false, &[(5, 2_000_000_000), (u32::MAX, 7)]));
        assert_eq!(result, Ok(2));
        assert_eq!(frames.frames[0].0, Timestamp::new(5, 999_999_999));
        assert_eq!(frames.frames[1].0, Timestamp::new(u64::from(u32::MAX), 7), "2106, not 1901");
    }

    #[test]
    fn a_cut_file_is_an_error_after_all_that_came_before() {
        let whole = pcap(MICRO, 1, false, &[(1, 0), (2, 0), (3, 0)]);
        let (frames, result) = read(&whole[..whole.len() - 10]);
        assert_eq!(frames.frames.len(), 2);
        assert!(frames.batches > 0);
        let message = result.unwrap_err().to_string();
        assert!(message.contains("truncated dump file"), "{message}");
        assert!(message.ends_with("(after 2 frames)"), "{message}");
        let whole = pcapng(&[1, 2, 3]);
        let (frames, result) = read(&whole[..whole.len() - 10]);
        assert_eq!((frames.frames.len(), result.is_err()), (2, true));
    }

    #[test]
    fn an_absurd_length_is_an_error_after_all_that_came_before() {
        let mut broken = pcap(MICRO, 1, false, &[(1, 0), (2, 0)]);
        let at = 24 + 76 + 8;
        broken[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let (frames, result) = read(&broken);
        assert_eq!(frames.frames.len(), 1);
        assert!(result.unwrap_err().to_string().ends_with("(after 1 frames)"));
    }

    #[test]
    fn files_that_are_no_captures_say_so() {
        assert_eq!(complaint(b""), "cannot read x.pcap: it is empty");
        assert_eq!(complaint(&[0x20; 400]), "cannot read x.pcap: it is neither a pcap nor a pcapng file");
        assert!(complaint(b"ab").starts_with("cannot read x.pcap: truncated dump file"));
        assert_eq!(
            complaint(&pcap(MICRO, 127, false, &[])),
            "cannot read x.pcap: link type IEEE802_11_RADIO (127) is not supported \
             (supported: Ethernet, Linux cooked, raw IP, BSD loopback)"
        );
        let message = |path: &str| {
            read_file(Path::new(path), &mut Frames::default(), &AtomicBool::new(false), |_| {})
                .unwrap_err()
                .to_string()
        };
        assert_eq!(message("/nowhere/x.pcap"), "cannot read /nowhere/x.pcap: no such file or directory");
        assert_eq!(message("/tmp"), "cannot read /tmp: it is a directory");
    }

    #[test]
    fn every_supported_link_type_of_files_is_known() {
        let known = [
            (1, LinkType::Ethernet),
            (113, LinkType::LinuxSll),
            (276, LinkType::LinuxSll2),
            (101, LinkType::RawIp),
            (228, LinkType::RawIp),
            (229, LinkType::RawIp),
            (0, LinkType::Null),
            (108, LinkType::Loop),
        ];
        for (number, link) in known {
            let (frames, result) = read(&pcap(MICRO, number, false, &[(1, 0)]));
            assert_eq!((result, frames.link), (Ok(1), Some(link)), "{number}");
        }
    }

    #[test]
    fn names_need_not_be_utf8() {
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join(std::ffi::OsStr::from_bytes(b"\xff.pcap"));
        std::fs::write(&path, pcap(MICRO, 1, false, &[(1, 0)])).unwrap();
        assert_eq!(read_file(&path, &mut Frames::default(), &AtomicBool::new(false), |_| {}), Ok(1));
    }

    #[test]
    fn progress_is_told_and_a_stop_is_heard() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pcap");
        let times: Vec<(u32, u32)> = (0..150_000).map(|second| (second, 0)).collect();
        let bytes = pcap(MICRO, 1, false, &times);
        std::fs::write(&path, &bytes).unwrap();
        let stop = AtomicBool::new(false);
        let mut told = Vec::new();
        let result = read_file(&path, &mut Frames::default(), &stop, |progress| told.push(progress));
        assert_eq!(result, Ok(150_000));
        let length = bytes.len() as u64;
        assert!(told.len() >= 3 && told.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes), "{told:?}");
        assert!(told[0].bytes < length * 6 / 10 && told[0].total == Some(length), "{told:?}");
        assert_eq!(told.last(), Some(&Progress { bytes: length, total: Some(length), frames: 150_000 }));
        let halfway =
            read_file(&path, &mut Frames::default(), &stop, |_| stop.store(true, Ordering::Relaxed));
        assert_eq!(halfway, Ok(STRIDE as u64));
    }
}
