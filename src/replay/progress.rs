//! How far the reading of a file has come.

use crate::system::clock;
use crate::text::printable;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How far the reading has come, shown on standard error once it has taken a second; on a terminal only.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    name: String,
    since: Instant,
    shown: bool,
    calls: u32,
}

impl Progress {
    /// Begins reading `file` of `total_bytes`, if that is known.
    pub(super) fn of(file: &str, total_bytes: Option<u64>) -> Self {
        let bar = match total_bytes {
            Some(bytes) => ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden()),
            None => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
        };
        let known = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
        let unknown = "{msg} {spinner} {bytes} {bytes_per_sec}";
        let template = if total_bytes.is_some() { known } else { unknown };
        bar.set_style(ProgressStyle::with_template(template).expect("a template of known keys"));
        Self { bar, name: printable(file), since: clock::steady(), shown: false, calls: 0 }
    }

    /// `bytes` of the file have been read by now. Cheap enough to be called for every batch of packets.
    pub(super) fn reached(&mut self, bytes: u64) {
        self.calls = self.calls.wrapping_add(1);
        // The clock is worth asking once in a while only.
        if !self.shown
            && self.calls.is_multiple_of(64)
            && clock::steady() - self.since >= Duration::from_secs(1)
        {
            self.shown = true;
            if std::io::stderr().is_terminal() {
                self.bar.set_message(self.name.clone());
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
        }
        if self.shown {
            self.bar.set_position(bytes);
        }
    }
}

/// The bar leaves no trace.
impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_that_is_never_shown_costs_nothing_and_says_nothing() {
        let mut progress = Progress::of("a.pcap", Some(100));
        for bytes in 0..100 {
            progress.reached(bytes);
        }
        assert!(!progress.shown);
    }
}
