//! Which files are one capture: a writer that rotates (`tcpdump -G`, `-C`, `-W`) leaves several, and a shell gives them in
//! another order than they were written.

use crate::capture::{CaptureStatus, FrameSink, Wake, read_file};
use crate::packet::{LinkType, Timestamp};
use crate::replay::order::has_time;
use crate::replay::waiting::HORIZON_NANOS;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// By so many stamps the beginning of a file is judged: one of them may be stray.
pub(crate) const STAMPS: usize = 3;

/// When a file begins, by its first stamps: the earliest that is near the one in the middle.
pub(crate) fn begins(stamps: &[Timestamp]) -> Option<Timestamp> {
    let mut sorted = stamps.to_vec();
    sorted.sort_unstable();
    let middle = sorted.get(sorted.len().checked_sub(1)? / 2)?.nanos();
    sorted.into_iter().find(|stamp| stamp.nanos().abs_diff(middle) <= HORIZON_NANOS)
}

/// When a file with these first stamps goes on with what began at `first` and came to `now`, if it does: not before its end,
/// but for disorder, nor so much later (`reach_nanos`) that no scan could go on.
pub(crate) fn goes_on(
    stamps: &[Timestamp],
    first: Timestamp,
    now: Timestamp,
    reach_nanos: u64,
) -> Option<Timestamp> {
    let fits = |at: &Timestamp| {
        *at >= first && at.saturating_add(HORIZON_NANOS) >= now && *at <= now.saturating_add(reach_nanos)
    };
    [stamps.first().copied(), begins(stamps)].into_iter().flatten().find(fits)
}

/// Neighbours whose names differ only in their number at the end, oldest first: a shell puts `cap.pcap10` before
/// `cap.pcap2`, and a ring of files begins anywhere.
pub(crate) fn oldest_first(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = files.to_vec();
    for run in files.chunk_by_mut(|a, b| stem(a) == stem(b)).filter(|run| run.len() > 1) {
        let begin: Option<Vec<Timestamp>> = run.iter().map(|path| first_stamp(path)).collect();
        let Some(begin) = begin else { continue };
        let mut sorted: Vec<_> = begin.into_iter().zip(run.to_vec()).collect();
        sorted.sort_by_key(|(begins, _)| *begins);
        run.iter_mut().zip(sorted).for_each(|(file, (_, path))| *file = path);
    }
    files
}

/// A file's name without the number at its end.
fn stem(path: &Path) -> &[u8] {
    let name = path.as_os_str().as_bytes();
    let name = name.strip_suffix(b".gz").unwrap_or(name);
    let end = name.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |last| last + 1);
    &name[..end]
}

/// When a file begins; `None` if it cannot be read twice, or has no times.
fn first_stamp(path: &Path) -> Option<Timestamp> {
    if path.as_os_str() == "-" || !path.metadata().ok()?.is_file() {
        return None;
    }
    let wake = Wake::new().ok()?;
    let mut first = First::default();
    // The first piece is enough; what is wrong with the file is reported when it is read.
    let _ = read_file(path, &mut first, &wake, |_| wake.stop());
    begins(&first.stamps)
}

/// The first stamps of a file.
#[derive(Default)]
struct First {
    stamps: Vec<Timestamp>,
}

impl FrameSink for First {
    fn opened(&mut self, _: LinkType) {}
    fn frame(&mut self, time: Timestamp, _: &[u8]) {
        if self.stamps.len() < STAMPS && has_time(time.nanos()) {
            self.stamps.push(time);
        }
    }
    fn batch_end(&mut self) {}
    fn tick(&mut self, _: &CaptureStatus) {}
}

/// What to say of captures that may be one, for each of them: its last file's name and its span are given.
pub(crate) fn remarks(
    captures: &[(&str, Option<(Timestamp, Timestamp)>)],
    reach_nanos: u64,
) -> Vec<Option<String>> {
    let mut remarks = vec![None; captures.len()];
    let mut spans: Vec<(Timestamp, Timestamp, usize)> = Vec::new();
    for (at, (_, span)) in captures.iter().enumerate() {
        spans.extend(span.map(|(from, to)| (from, to, at)));
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        let [(_, ends, before), (begins, _, at)] = [pair[0], pair[1]];
        let name = captures[before].0;
        let apart = begins.nanos_since(ends);
        if begins <= ends {
            let by = ends.nanos_since(begins) as f64 / 1e9;
            remarks[at] = Some(format!(
                "begins {by:.3} s before {name} ends, and was read apart from it: if they are one capture, merge \
                 them (mergecap -w MERGED FILE...)"
            ));
        } else if apart <= reach_nanos {
            let by = apart as f64 / 1e9;
            remarks[at] = Some(format!(
                "begins {by:.3} s after {name} ends, and was not given behind it: a scan from one to the other is \
                 seen if files come in the order of time (ls -v)"
            ));
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_700_000_000_000_000_000 + seconds * SECOND)
    }

    #[test]
    fn one_stray_stamp_of_three_says_nothing_of_the_beginning() {
        let [day, hour] = [86_400, 3_600];
        for stamps in [[day, hour, hour + 1], [0, hour + 1, hour], [hour + 1, hour, hour + 2]] {
            assert_eq!(begins(&stamps.map(at)), Some(at(hour)), "{stamps:?}");
            assert!(goes_on(&stamps.map(at), at(0), at(hour), 60 * SECOND).is_some(), "{stamps:?}");
        }
        assert_eq!(begins(&[]), None);
    }

    #[test]
    fn files_overlap_by_disorder_only() {
        let goes_on = |first: u64| goes_on(&[at(first)], at(100), at(200), 60 * SECOND).is_some();
        assert_eq!([194, 195, 200, 260, 261].map(goes_on), [false, true, true, true, false]);
    }

    #[test]
    fn a_number_at_the_end_is_no_part_of_the_name() {
        let same = |a: &str, b: &str| stem(Path::new(a)) == stem(Path::new(b));
        assert!(same("cap.pcap10", "cap.pcap") && same("a/cap7.gz", "a/cap12.gz") && same("1", "2"));
        assert!(!same("a1.pcap", "a2.pcap") && !same("a/cap1", "b/cap1"));
    }

    #[test]
    fn captures_that_may_be_one_are_told() {
        let span = |from, to| Some((at(from), at(to)));
        let said =
            remarks(&[("c", span(25, 40)), ("a", span(0, 10)), ("b", span(9, 20)), ("d", None)], 10 * SECOND);
        assert!(
            said[0].as_deref().is_some_and(|text| text.starts_with("begins 5.000 s after b ends")),
            "{said:?}"
        );
        assert!(
            said[2].as_deref().is_some_and(|text| text.starts_with("begins 1.000 s before a ends")),
            "{said:?}"
        );
        assert_eq!((&said[1], &said[3]), (&None, &None));
    }
}
