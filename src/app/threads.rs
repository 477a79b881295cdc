//! The capture threads: how they are started and reached, and what they report.

use crate::capture::{self, Direction, Fanout, Live, Wake};
use crate::detect::{Explanation, ScanEvent, Withdrawn};
use crate::events::notify::Notice;
use crate::pipeline::vantage::{Place, Vantage};
use crate::pipeline::{LiveSink, Pipeline, Publisher, QUESTIONS, Question, Reload};
use crate::publish::snapshot::InterfaceSnapshot;
use crate::publish::store::SnapshotStore;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// Scan events that may wait for the notifier; beyond it they are counted as lost.
pub(super) const QUEUE: usize = 4096;

/// Where one capture thread puts what it finds: state in the store, events to the notifier, and what happens to it to the
/// supervisor. None of the three makes it wait.
pub struct ShardPublisher {
    index: usize,
    shard: usize,
    interface: Arc<str>,
    store: Arc<SnapshotStore>,
    notices: SyncSender<Notice>,
    reports: mpsc::Sender<Report>,
}

/// What a capture thread reports to the supervisor.
pub(super) struct Report {
    /// Which of the interfaces, in the order they were given: its name may have changed with it.
    pub(super) index: usize,
    pub(super) interface: Arc<str>,
    pub(super) change: Change,
}

/// What happened to a capture.
pub(super) enum Change {
    /// It captures no more, and why.
    Lost(String),
    /// It captures again.
    Back,
    /// It is for another interface from now on, or for none.
    Replaced,
    /// It did not run for so long.
    Paused(Duration),
    /// A reload ignores sources that it knew.
    Withdrawn(Withdrawn),
}

impl ShardPublisher {
    /// The publisher of one thread of the `index`-th interface.
    pub(super) fn new(
        live: &Live,
        index: usize,
        store: Arc<SnapshotStore>,
        notices: SyncSender<Notice>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        Self { index, shard: live.shard(), interface: Arc::from(live.interface()), store, notices, reports }
    }

    fn report(&self, change: Change) {
        // An interface that flaps faster than the log takes it loses lines, not packets; `restarts` counts on.
        let (index, interface) = (self.index, Arc::clone(&self.interface));
        let _ = self.reports.try_send(Report { index, interface, change });
    }
}

impl Publisher for ShardPublisher {
    fn scan(&mut self, event: ScanEvent) -> bool {
        self.notices.try_send(Notice { interface: Arc::clone(&self.interface), event }).is_ok()
    }

    fn capture_changed(&mut self, lost: Option<&str>) {
        self.report(lost.map_or(Change::Back, |why| Change::Lost(why.to_owned())));
    }

    fn withdrawn(&mut self, withdrawn: Withdrawn) {
        if !withdrawn.sources.is_empty() {
            self.report(Change::Withdrawn(withdrawn));
        }
    }

    fn paused(&mut self, pause: Duration) {
        // All threads of an interface pause together: one reports it.
        if self.shard == 0 {
            self.report(Change::Paused(pause));
        }
    }

    fn moved(&mut self, interface: &str) {
        self.interface = Arc::from(interface);
    }

    fn replaced(&mut self, interface: &str) {
        self.moved(interface);
        if self.shard == 0 {
            self.report(Change::Replaced);
        }
    }

    fn publish(&mut self, snapshot: InterfaceSnapshot) {
        self.store.publish_shard(self.index, self.shard, Arc::new(snapshot));
    }

    fn answer(&mut self, question: u64, explanation: Explanation) {
        self.store.answer_shard(self.index, self.shard, question, explanation);
    }
}

/// A capture thread and the ways to reach it.
pub(super) struct CaptureThread {
    pub(super) interface: String,
    pub(super) wake: Wake,
    pub(super) reloads: Sender<Reload>,
    pub(super) questions: SyncSender<Question>,
    pub(super) fanout: Fanout,
    pub(super) thread: JoinHandle<()>,
}

impl CaptureThread {
    pub(super) fn start<P: Publisher + Send + 'static>(
        live: Live,
        pipeline: Pipeline,
        publisher: P,
    ) -> Result<Self, String> {
        let wake = Wake::new().map_err(|error| format!("cannot make a wake descriptor: {error}"))?;
        let (reloads, new_reloads) = channel();
        let (questions, asked) = sync_channel(QUESTIONS);
        let interface = live.interface().to_owned();
        let (name, called) = (interface.clone(), wake.clone());
        let fanout = live.fanout();
        let thread = std::thread::Builder::new()
            .name(format!("capture-{name}"))
            .spawn(move || capture(live, &name, pipeline, publisher, (new_reloads, asked), &called))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { interface, wake, reloads, questions, fanout, thread })
    }

    /// As messages call it.
    pub(super) fn name(&self) -> String {
        format!("the capture on {}", self.interface)
    }
}

fn capture(
    mut live: Live,
    interface: &str,
    pipeline: Pipeline,
    publisher: impl Publisher,
    (reloads, questions): (Receiver<Reload>, Receiver<Question>),
    wake: &Wake,
) {
    let pipeline = pipeline.at(Vantage::of(place(&live))).sampled(live.direction() == Direction::In);
    let pipeline = if live.puts_together() { pipeline.with_few_fragments() } else { pipeline };
    let sink = LiveSink::new(interface, pipeline, publisher, reloads).with_questions(questions);
    let mut sink = sink.with_addresses(capture::own_addresses);
    live.run(&mut sink, wake);
    sink.finish();
}

/// Where a capture stands. Both directions include the host's own connections, so nothing is taken out there.
fn place(live: &Live) -> Place {
    match live.direction() {
        Direction::Out | Direction::InOut => Place::Anywhere,
        Direction::In if live.is_any() => Place::Any,
        Direction::In if live.is_loopback() => Place::Loopback,
        Direction::In => Place::Link,
    }
}
