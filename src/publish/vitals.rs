//! Whether the capture threads live: one that stalls or panics is reported, and cannot keep the others from their end.

use crate::publish::store::{STALLED, SnapshotStore};
use std::collections::BTreeMap;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Looks in a row at which a capture must be silent before it is reported: a process that was stopped as a whole finds itself
/// late when it wakes up, and has ticked by the next look.
const LOOKS: u32 = 2;

/// How often an end is looked for.
const POLL: Duration = Duration::from_millis(5);

/// Which captures were silent at the latest look.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    silent: BTreeMap<String, u32>,
}

/// What there is to report of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It has not ticked for so long.
    Stalled(String, Duration),
    /// It ticks again.
    Recovered(String),
}

impl Vitals {
    /// Looks once. Whether every capture lives, so that the watchdog may be fed; and what is new.
    pub(crate) fn look(&mut self, store: &SnapshotStore, now: Instant) -> (bool, Vec<Sign>) {
        let stalled = store.stalled(now, STALLED);
        let mut signs = Vec::new();
        let mut silent = BTreeMap::new();
        for &(interface, silence) in &stalled {
            let looks = self.silent.remove(interface).unwrap_or(0).saturating_add(1);
            if looks == LOOKS {
                signs.push(Sign::Stalled(interface.to_owned(), silence));
            }
            silent.insert(interface.to_owned(), looks);
        }
        let recovered = std::mem::replace(&mut self.silent, silent);
        signs.extend(
            recovered.into_iter().filter(|(_, looks)| *looks >= LOOKS).map(|(name, _)| Sign::Recovered(name)),
        );
        (stalled.is_empty(), signs)
    }
}

/// Waits for threads that were told to stop; what is wrong with those that did not end well. A thread that hangs is left
/// behind: the process ends without it.
pub(crate) fn gather(threads: Vec<(String, JoinHandle<()>)>, timeout: Duration) -> Vec<String> {
    let mut faults = Vec::new();
    let mut waited = Duration::ZERO;
    for (name, thread) in threads {
        while !thread.is_finished() && waited < timeout {
            thread::sleep(POLL);
            waited += POLL;
        }
        if !thread.is_finished() {
            faults.push(format!("{name} does not end"));
        } else if thread.join().is_err() {
            faults.push(format!("{name} panicked"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{CaptureStatus, FrameSink as _};
    use crate::detect::{Limits, Origin, Policy, ScanEvent};
    use crate::pipeline::{LiveSink, Pipeline, Publisher};
    use crate::publish::snapshot::InterfaceSnapshot;
    use crate::system::clock;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};

    /// Publishes to a store and stalls its thread on demand.
    struct Staller {
        store: Arc<SnapshotStore>,
        stalls: Receiver<Receiver<()>>,
    }

    impl Publisher for Staller {
        fn scan(&mut self, _: ScanEvent) -> bool {
            true
        }
        fn capture_changed(&mut self, _: Option<&str>) {}
        fn publish(&mut self, snapshot: InterfaceSnapshot) {
            self.store.publish(0, Arc::new(snapshot));
            if let Ok(until) = self.stalls.try_recv() {
                let _ = until.recv();
            }
        }
    }

    #[test]
    fn a_capture_thread_that_stalls_is_not_up_and_is_reported_once() {
        let store = Arc::new(SnapshotStore::new(["eth0"]));
        let ((ticks, ticked), (stall, stalls)) = (channel(), channel());
        let (publishes, shown) = (Arc::clone(&store), channel::<()>());
        let thread = thread::spawn(move || {
            let pipeline = Pipeline::new(Policy::default(), Limits::default(), 1, Origin::Live);
            let staller = Staller { store: publishes, stalls };
            let mut sink = LiveSink::new("eth0", pipeline, staller, channel().1);
            for () in &ticked {
                sink.tick(&CaptureStatus { up: true, ..CaptureStatus::default() });
                let _ = shown.0.send(());
            }
        });
        let up = |now| store.all_at(now)[0].capture.up;
        let mut vitals = Vitals::default();
        ticks.send(()).unwrap();
        shown.1.recv().unwrap();
        let start = clock::steady();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(vitals.look(&store, at(5)), (true, vec![]));

        let (release, until) = channel::<()>();
        stall.send(until).unwrap();
        ticks.send(()).unwrap();
        // It is in the sink now and does not come out; time is the test's own.
        assert!(up(at(9)));
        assert_eq!(vitals.look(&store, at(30)), (false, vec![]), "it may only have been asleep");
        let (alive, signs) = vitals.look(&store, at(31));
        let [Sign::Stalled(name, silence)] = &signs[..] else { panic!("{signs:?}") };
        assert!(!alive && name == "eth0" && silence.as_secs() >= 29, "{signs:?}");
        assert_eq!(vitals.look(&store, at(32)), (false, vec![]), "reported once");
        assert!(!up(at(32)));

        release.send(()).unwrap();
        ticks.send(()).unwrap();
        for _ in 0..2 {
            shown.1.recv().unwrap();
        }
        assert_eq!(vitals.look(&store, at(5)), (true, vec![Sign::Recovered(String::from("eth0"))]));
        assert!(up(at(5)));
        drop(ticks);
        assert_eq!(gather(vec![(String::from("it"), thread)], Duration::from_secs(60)), Vec::<String>::new());
    }

    #[test]
    fn a_panic_and_a_hang_are_reported_and_hold_nobody_up() {
        let (release, held) = channel::<()>();
        let hangs = thread::spawn(move || {
            let _ = held.recv();
        });
        let panics = thread::spawn(|| panic!("on purpose"));
        let ends = thread::spawn(|| {});
        while !(panics.is_finished() && ends.is_finished()) {
            thread::sleep(POLL);
        }
        let threads = [("the first", hangs), ("the second", panics), ("the third", ends)];
        let threads = threads.map(|(name, thread)| (name.to_owned(), thread)).into();
        let faults = gather(threads, Duration::from_millis(300));
        assert_eq!(faults, ["the first does not end", "the second panicked"]);
        drop(release);
    }
}
