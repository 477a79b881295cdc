//! Capture files: pcap and pcapng, plain or compressed with gzip, from a path or from standard input.
//!
//! Live capture is libpcap's; files are read here, because libpcap copies every frame twice, cuts those that are longer than
//! the header says, and gives up where the interfaces of a pcapng file differ.

use super::account::{Account, Output};
use super::format::{Format, recognise};
use super::pieces::Pieces;
use super::{CaptureError, FrameSink, Wake, system_words};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How far a file has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the file so far.
    pub bytes: u64,
    /// The file's length, if it has one.
    pub total: Option<u64>,
    /// Whether the next bytes may be long in coming.
    pub waits: bool,
}

/// Hands every frame of a capture file to `sink` (`-` is standard input), until its end or until `wake` says stop.
///
/// A frame without a time (pcapng's Simple Packet Block) has the time 0. The account covers what was read either way: a broken
/// file is an error after everything before the break was handed over.
pub fn read_file(
    path: &Path,
    sink: &mut impl FrameSink,
    wake: &Wake,
    progress: impl FnMut(Progress),
) -> (Account, Result<(), CaptureError>) {
    let mut account = Account::default();
    let read = read(path, sink, wake, progress, &mut account).map_err(|reason| {
        let reason = match account.frames {
            0 => reason,
            1 => format!("{reason} (after 1 frame)"),
            frames => format!("{reason} (after {frames} frames)"),
        };
        CaptureError::File { path: path.to_owned(), reason }
    });
    (account, read)
}

fn read<S: FrameSink>(
    path: &Path,
    sink: &mut S,
    wake: &Wake,
    mut progress: impl FnMut(Progress),
    account: &mut Account,
) -> Result<(), String> {
    let (mut pieces, total) = open(path, wake)?;
    let mut format = match recognise(&mut pieces, account) {
        _ if wake.is_stopped() => return Ok(()),
        format => format?,
    };
    let mut out = Output::new(sink, account);
    if let Format::Pcap(_) = format {
        out.limit(out.account.snap_length.unwrap_or(0));
    }
    loop {
        let (taken, needed) = match format.frames(pieces.bytes(), &mut out) {
            Ok(read) => read,
            Err(reason) => {
                out.sink.batch_end();
                return Err(reason);
            }
        };
        pieces.consume(taken);
        out.sink.batch_end();
        progress(Progress { bytes: pieces.taken(), total, waits: pieces.waits() });
        let more = pieces.refill(needed);
        if wake.is_stopped() {
            return Ok(());
        }
        if !more.map_err(|error| system_words(&error))? {
            break;
        }
    }
    if !pieces.bytes().is_empty() || format.is_within() {
        return Err(String::from("it is cut short"));
    }
    match &out.account.unread_link {
        Some(why) if out.account.frames == 0 => Err(why.clone()),
        _ => Ok(()),
    }
}

fn open(path: &Path, wake: &Wake) -> Result<(Pieces, Option<u64>), String> {
    let file = if path.as_os_str() == "-" {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else {
        // A FIFO that nobody writes to yet is waited for like one that says nothing: where Ctrl-C is heard.
        File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)
    };
    let file = file.map_err(|error| system_words(&error))?;
    let metadata = file.metadata().map_err(|error| system_words(&error))?;
    if metadata.is_dir() {
        return Err(String::from("it is a directory"));
    }
    let length = metadata.is_file().then_some(metadata.len());
    Ok((Pieces::new(file, length.is_none(), wake), length))
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

    /// Reads a file to its end: how many frames, or what is wrong.
    fn read_path(path: &Path, frames: &mut Frames) -> Result<u64, CaptureError> {
        let (account, read) = read_file(path, frames, &Wake::new().unwrap(), |_| {});
        read.map(|()| account.frames)
    }

    fn read(bytes: &[u8]) -> (Frames, Result<u64, CaptureError>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pcap");
        std::fs::write(&path, bytes).unwrap();
        let mut frames = Frames::default();
        let result = read_path(&path, &mut frames);
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
        assert!(message.ends_with("x.pcap: it is cut short (after 2 frames)"), "{message}");
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
        assert!(result.unwrap_err().to_string().ends_with("(after 1 frame)"));
    }

    #[test]
    fn files_that_are_no_captures_say_so() {
        assert_eq!(complaint(b""), "cannot read x.pcap: it is empty");
        assert_eq!(complaint(&[0x20; 400]), "cannot read x.pcap: it is neither a pcap nor a pcapng file");
        assert_eq!(complaint(b"ab"), "cannot read x.pcap: it is neither a pcap nor a pcapng file");
        let header = &pcap(MICRO, 1, false, &[])[..20];
        assert_eq!(complaint(header), "cannot read x.pcap: it ends within its header");
        assert!(
            complaint(&[0x28, 0xb5, 0x2f, 0xfd, 4, 0]).contains("zstd -dc FILE | portscan_exporter replay -")
        );
        assert_eq!(
            complaint(&pcap(MICRO, 127, false, &[])),
            "cannot read x.pcap: link type IEEE802_11_RADIO (127) is not supported \
             (supported: Ethernet, Linux cooked, raw IP, BSD loopback)"
        );
        let message =
            |path: &str| read_path(Path::new(path), &mut Frames::default()).unwrap_err().to_string();
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
        assert_eq!(read_path(&path, &mut Frames::default()), Ok(1));
    }

    #[test]
    fn progress_is_reported_and_a_stop_is_heard() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pcap");
        let times: Vec<(u32, u32)> = (0..150_000).map(|second| (second, 0)).collect();
        let bytes = pcap(MICRO, 1, false, &times);
        std::fs::write(&path, &bytes).unwrap();
        let wake = Wake::new().unwrap();
        let mut seen = Vec::new();
        let (account, result) = read_file(&path, &mut Frames::default(), &wake, |at| seen.push(at));
        assert_eq!((account.frames, result), (150_000, Ok(())));
        let length = bytes.len() as u64;
        assert!(seen.len() >= 3 && seen.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes), "{seen:?}");
        assert!(seen[0].bytes < length / 10 && seen[0].total == Some(length), "{seen:?}");
        assert_eq!(seen.last(), Some(&Progress { bytes: length, total: Some(length), waits: false }));
        let (account, halfway) = read_file(&path, &mut Frames::default(), &wake, |_| wake.stop());
        assert!(halfway.is_ok() && account.frames < 10_000, "{account:?}");
    }

    /// Blocks of a pcapng section in either byte order.
    struct Section {
        big: bool,
    }

    impl Section {
        fn put(&self, number: u32) -> [u8; 4] {
            if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
        }

        fn halves(&self, first: u16, second: u16) -> [u8; 4] {
            let [a, b] =
                [first, second].map(|half| if self.big { half.to_be_bytes() } else { half.to_le_bytes() });
            [a[0], a[1], b[0], b[1]]
        }

        fn block(&self, kind: u32, body: &[u8]) -> Vec<u8> {
            let length = self.put(u32::try_from(body.len().next_multiple_of(4) + 12).unwrap());
            let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
            [&self.put(kind), &length, body, &padding, &length].concat()
        }

        fn header(&self) -> Vec<u8> {
            self.block(0x0a0d_0d0a, &[&self.put(0x1a2b_3c4d)[..], &self.halves(1, 0), &[0xff; 8]].concat())
        }

        /// An interface with an `if_tsresol` and an `if_tsoffset`.
        fn interface(&self, link: u16, snap: u32, resolution: u8, offset: u64) -> Vec<u8> {
            let [high, low] = [(offset >> 32) as u32, offset as u32].map(|half| self.put(half));
            let offset = if self.big { [high, low] } else { [low, high] }.concat();
            let options =
                [&self.halves(9, 1)[..], &[resolution, 0, 0, 0], &self.halves(14, 8), &offset].concat();
            self.block(1, &[&self.halves(link, 0)[..], &self.put(snap), &options, &[0; 4]].concat())
        }

        fn frame(&self, interface: u32, units: u64, bytes: &[u8]) -> Vec<u8> {
            let length = u32::try_from(bytes.len()).unwrap();
            let head = [interface, (units >> 32) as u32, units as u32, length, length].map(|n| self.put(n));
            self.block(6, &[&head.concat()[..], bytes].concat())
        }
    }

    #[test]
    fn each_interface_has_its_own_link_type_clock_and_snap_length_and_each_section_its_byte_order() {
        let seconds = 1_700_000_000_u64;
        let mut file = Vec::new();
        for big in [false, true] {
            let section = Section { big };
            file.extend(section.header());
            file.extend(section.interface(1, 100, 9, 0));
            file.extend(section.interface(101, 0, 0x80 | 10, 500));
            file.extend(section.block(0x0bad, &[7; 300_000]));
            file.extend(section.frame(0, seconds * 1_000_000_000 + 5, &[1; 60]));
            file.extend(section.frame(1, (seconds - 500) << 10 | 512, &[2; 41]));
            // An obsolete packet block, and one that has no time.
            let head = [0, 0, 9, 3, 3].map(|number| section.put(number)).concat();
            file.extend(section.block(2, &[&head[..], &[3; 3]].concat()));
            file.extend(section.block(3, &[&section.put(4)[..], &[4; 4]].concat()));
        }
        let (frames, result) = read(&file);
        assert_eq!(result, Ok(8));
        let wanted = [
            (Timestamp::new(seconds, 5), vec![1; 60]),
            (Timestamp::new(seconds, 500_000_000), vec![2; 41]),
            (Timestamp(9), vec![3; 3]),
            (Timestamp(0), vec![4; 4]),
        ];
        assert_eq!(frames.frames[..4], wanted);
        assert_eq!(frames.frames[4..], wanted);
        assert_eq!(frames.link, Some(LinkType::Ethernet));
    }

    #[test]
    fn frames_of_a_link_type_that_nobody_decodes_are_counted_and_named() {
        let section = Section { big: false };
        let unknown =
            [section.header(), section.interface(127, 0, 6, 0), section.frame(0, 1, &[1; 60])].concat();
        assert!(complaint(&unknown).contains("link type IEEE802_11_RADIO (127) is not supported"));
        let file = [unknown, section.interface(1, 0, 6, 0), section.frame(1, 2, &[2; 60])].concat();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pcapng");
        std::fs::write(&path, file).unwrap();
        let (account, result) = read_file(&path, &mut Frames::default(), &Wake::new().unwrap(), |_| {});
        assert_eq!((account.frames, account.unread, result), (1, 1, Ok(())));
        assert!(account.unread_link.is_some_and(|why| why.contains("IEEE802_11_RADIO")));
    }

    #[test]
    fn what_a_pcapng_file_claims_is_not_believed() {
        let section = Section { big: false };
        let complaint_about = |blocks: &[Vec<u8>]| {
            let message = complaint(&[section.header(), blocks.concat()].concat());
            message.strip_prefix("cannot read x.pcap: ").unwrap().to_owned()
        };
        let ethernet = || section.interface(1, 0, 6, 0);
        assert_eq!(
            complaint_about(&[section.frame(0, 1, &[1; 60])]),
            "a frame is of interface 0, which the file does not describe"
        );
        assert_eq!(
            complaint_about(&[[1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0].to_vec()]),
            "a block claims to be 8 bytes long"
        );
        assert_eq!(
            complaint_about(&[section.block(1, &[1, 0, 0, 0])]),
            "an interface description is shorter than its fields"
        );
        assert_eq!(
            complaint_about(&[section.interface(1, 0, 20, 0)]),
            "a clock that counts in 10^-20 s is not supported"
        );
        let head = [0, 0, 1, 61, 61].map(|number| section.put(number)).concat();
        assert_eq!(
            complaint_about(&[ethernet(), section.block(6, &[&head[..], &[1; 60]].concat())]),
            "a block is shorter than its fields"
        );
        assert_eq!(
            complaint_about(&vec![section.block(1, &[1, 0, 0, 0, 0, 0, 0, 0]); 65_537]),
            "a section describes more than 65536 interfaces"
        );
        // A block of a kind that nobody reads may be of any length, but the file must hold it.
        let long = [0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0].to_vec();
        assert_eq!(complaint_about(&[ethernet(), long]), "it is cut short");
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_read_as_if_it_were_not_there() {
        let plain = pcap(MICRO, 1, false, &(0..20_000).map(|second| (second, 0)).collect::<Vec<_>>());
        let mut packed = Vec::new();
        // In two members, as `cat a.gz b.gz` makes it.
        for half in [&plain[..300_000], &plain[300_000..]] {
            packed.extend(gzip(half));
        }
        let (frames, result) = read(&packed);
        assert_eq!((frames.frames.len(), result), (20_000, Ok(20_000)));
        let (frames, result) = read(&packed[..packed.len() / 2]);
        assert!(frames.frames.len() > 1_000 && result.is_err(), "{result:?}");
        assert!(
            complaint(&packed[..12]).starts_with("cannot read x.pcap: "),
            "only the beginning of its header"
        );
    }

    /// Tapes and copying by blocks leave zeros, as gzip itself knows.
    #[test]
    fn zeros_behind_gzip_are_padding_and_anything_else_is_named() {
        let packed = gzip(&pcap(MICRO, 1, false, &[(1, 0), (2, 0)]));
        let padded = |zeros| [&packed[..], &vec![0; zeros]].concat();
        for zeros in [1, 7, 512, 600_000] {
            assert_eq!(read(&padded(zeros)).1, Ok(2), "{zeros} zeros");
        }
        // A member behind zeros is read on, as if it stood there unpacked.
        let plain = pcap(MICRO, 1, false, &[(1, 0), (2, 0)]);
        let (behind, twice) =
            (read(&[padded(512), packed.clone()].concat()), read(&[plain.clone(), plain].concat()));
        assert_eq!((behind.0.frames, behind.1.is_ok()), (twice.0.frames, twice.1.is_ok()));
        for junk in [&b"\n"[..], b"-----END-----", &[0x1f; 20]] {
            for zeros in [0, 512] {
                let complaint = complaint(&[&padded(zeros), junk].concat());
                assert_eq!(
                    complaint,
                    "cannot read x.pcap: behind its compressed end is something that is not gzip (after 2 frames)",
                    "{junk:?} behind {zeros} zeros"
                );
            }
        }
        let cut = complaint(&packed[..packed.len() - 4]);
        assert_eq!(
            cut, "cannot read x.pcap: it is cut short (after 2 frames)",
            "without the end of its checksum"
        );
    }

    #[test]
    fn lengths_that_changed_places_are_told_by_the_version() {
        let mut file = pcap(MICRO, 1, false, &[(1, 0)]);
        // A frame of 60 bytes of 90: captured first since version 2.4, original first up to 2.2, either way in 2.3.
        for (minor, lengths) in [(4, [60, 90]), (2, [90, 60]), (3, [60, 90]), (3, [90, 60])] {
            file[6] = minor;
            file[32..36].copy_from_slice(&u32::to_le_bytes(lengths[0]));
            file[36..40].copy_from_slice(&u32::to_le_bytes(lengths[1]));
            let (frames, result) = read(&file);
            assert_eq!((frames.frames[0].1.len(), result), (60, Ok(1)), "2.{minor}");
        }
    }
}
