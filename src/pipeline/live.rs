//! The live end of a pipeline: what a capture reports to the rest of the process, and what it takes from there, each at a tick.

use crate::capture::{CaptureStatus, FrameSink};
use crate::detect::{Detector, EventKind, Explanation, Policy, Scan, ScanEvent, Withdrawn};
use crate::packet::{LinkType, Timestamp};
use crate::pipeline::Pipeline;
use crate::publish::snapshot::InterfaceSnapshot;
use crate::system::clock::{Passed, StepWatch};
use crate::system::memory;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// What a reload changes in a running capture.
#[derive(Debug)]
pub enum Reload {
    /// What counts as a scan from now on.
    Policy(Box<Policy>),
    /// The same, and tables that were sized for it.
    Tables(Box<Detector>),
}

/// A question from outside: what is known of an address, or of an IPv6 network?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The name of the question.
    pub id: u64,
    /// Whom it is about.
    pub asked: IpNet,
}

/// Questions that are answered at a tick. Others wait for the next one: a client of the web port can ask as fast as it
/// likes, and the capture answers no more than these in a second. Nor does a question wake it.
pub const QUESTIONS: usize = 8;

/// Publishes what a live capture finds. It is called from the capture thread and must not block.
pub trait Publisher {
    /// A scan event; false if it was lost because the queue is full.
    fn scan(&mut self, event: ScanEvent) -> bool;
    /// The capture broke, and why; or is back.
    fn capture_changed(&mut self, lost: Option<&str>);
    /// What follows is of this interface.
    fn moved(&mut self, _interface: &str) {}
    /// The same, and it has nothing to do with the one before; none if it is empty.
    fn replaced(&mut self, interface: &str) {
        self.moved(interface);
    }
    /// A reload ignores sources that were known.
    fn withdrawn(&mut self, _withdrawn: Withdrawn) {}
    /// The capture did not run for so long; what came meanwhile was read late, or is lost.
    fn paused(&mut self, _pause: Duration) {}
    /// The state of the interface, about once a second.
    fn publish(&mut self, snapshot: InterfaceSnapshot);
    /// The answer to a question, after the state that it goes with.
    fn answer(&mut self, _question: u64, _explanation: Explanation) {}
}

/// By how much ticks trail the clock: what the kernel has captured by then has been handed over, so a tick does not
/// make packets look late. More than the block timeout of the capture.
const LAG_NANOS: u64 = 250_000_000;

/// A batch stamped this much later than the latest look at the clock asks for another look.
const LOOK_AGAIN_NANOS: u64 = 1_500_000_000;

/// How often the host's own addresses are asked for: a system call or two, however many they are.
const ADDRESSES_EVERY: Duration = Duration::from_secs(10);

/// Returns the host's own addresses; `None` if it cannot.
type Addresses = Box<dyn FnMut() -> Option<Vec<IpAddr>> + Send>;

/// The sink of a live capture.
pub struct LiveSink<P> {
    interface: String,
    pipeline: Pipeline,
    publisher: P,
    reloads: Receiver<Reload>,
    questions: Option<Receiver<Question>>,
    clock: StepWatch,
    addresses: Option<Addresses>,
    /// Ticks until they are asked for again.
    addresses_due: u64,
    pauses: u64,
    events_lost: u64,
    away: bool,
}

impl<P: Publisher> LiveSink<P> {
    /// Everything for one interface. Reloads arrive through `reloads` and are taken at the next tick.
    pub fn new(interface: &str, pipeline: Pipeline, publisher: P, reloads: Receiver<Reload>) -> Self {
        Self::with_clock(interface, pipeline, publisher, reloads, StepWatch::new())
    }

    /// The same by another clock.
    pub fn with_clock(
        interface: &str,
        pipeline: Pipeline,
        publisher: P,
        reloads: Receiver<Reload>,
        clock: StepWatch,
    ) -> Self {
        Self {
            interface: interface.to_owned(),
            pipeline,
            publisher,
            reloads,
            questions: None,
            clock,
            addresses: None,
            addresses_due: 0,
            pauses: 0,
            events_lost: 0,
            away: false,
        }
    }

    /// The same for a host whose own addresses these are; they may change.
    #[must_use]
    pub(crate) fn with_addresses(
        mut self,
        mut addresses: impl FnMut() -> Option<Vec<IpAddr>> + Send + 'static,
    ) -> Self {
        if self.pipeline.vantage.needs_addresses() {
            self.pipeline.vantage.set_addresses(&addresses().unwrap_or_default());
            self.addresses_due = ADDRESSES_EVERY.as_secs();
            self.addresses = Some(Box::new(addresses));
        }
        self
    }

    /// The same with questions, which are answered at ticks.
    #[must_use]
    pub fn with_questions(self, questions: Receiver<Question>) -> Self {
        Self { questions: Some(questions), ..self }
    }

    fn answer(&mut self) {
        let Some(questions) = &self.questions else { return };
        for Question { id, asked } in questions.try_iter().take(QUESTIONS) {
            self.publisher.answer(id, self.pipeline.explain(asked));
        }
    }

    /// Asks for the host's own addresses, now and then.
    fn refresh_addresses(&mut self) {
        let Some(addresses) = &mut self.addresses else { return };
        self.addresses_due = self.addresses_due.saturating_sub(1);
        if self.addresses_due == 0 {
            self.addresses_due = ADDRESSES_EVERY.as_secs();
            if let Some(addresses) = addresses() {
                self.pipeline.vantage.set_addresses(&addresses);
            }
        }
    }

    fn hand_over(publisher: &mut P, events_lost: &mut u64, event: ScanEvent) {
        *events_lost += u64::from(!publisher.scan(event));
    }

    /// Asks both clocks whether the one that stamps packets has stepped, and whether we ran.
    fn look_at_clock(&mut self) {
        let Passed { step, pause } = self.clock.look();
        if let Some(step) = step {
            self.pipeline.clock_stepped(step);
        }
        if let Some(pause) = pause {
            self.pauses += 1;
            self.publisher.paused(pause);
        }
    }

    fn flush(&mut self) {
        if let Some(latest) = self.pipeline.detector.batch_time()
            && latest.nanos_since(self.clock.looked()) > LOOK_AGAIN_NANOS
        {
            self.look_at_clock();
            // Nothing was captured later than now. What says so was stamped before the clock was set back, or by a
            // broken driver: one such frame must not stop the detector's time until then.
            self.pipeline.cap_batch(self.clock.looked());
        }
        let Self { pipeline, publisher, events_lost, .. } = self;
        pipeline.flush(&mut |event| Self::hand_over(publisher, events_lost, event));
    }

    /// Ends: scans that are still open are reported as ended now.
    pub fn finish(mut self) {
        self.flush();
        let Self { pipeline, mut publisher, mut events_lost, .. } = self;
        let now = pipeline.now();
        pipeline.each_open_scan(&mut |scan| {
            let scan = Scan { ended: Some(now), ..scan };
            let event = ScanEvent { kind: EventKind::Ended, scan };
            Self::hand_over(&mut publisher, &mut events_lost, event);
        });
    }
}

impl<P: Publisher> FrameSink for LiveSink<P> {
    fn opened(&mut self, link: LinkType) {
        self.pipeline.opened(link);
        if std::mem::take(&mut self.away) {
            self.publisher.capture_changed(None);
        }
    }

    #[inline]
    fn frame(&mut self, time: Timestamp, bytes: &[u8]) {
        if self.pipeline.frame(time, bytes) {
            self.flush();
        }
    }

    fn sent(&mut self, time: Timestamp, bytes: &[u8]) {
        self.pipeline.sent(time, bytes);
    }

    fn batch_end(&mut self) {
        self.flush();
    }

    fn tick(&mut self, status: &CaptureStatus) {
        self.flush();
        self.look_at_clock();
        self.refresh_addresses();
        let Self { pipeline, publisher, events_lost, reloads, clock, .. } = self;
        let mut events = |event| Self::hand_over(publisher, events_lost, event);
        let take = |reload| match reload {
            Reload::Policy(policy) => pipeline.reload(*policy, &mut events),
            Reload::Tables(other) => {
                let withdrawn = pipeline.resize(*other, &mut events);
                memory::give_back();
                withdrawn
            }
        };
        let withdrawn: Vec<Withdrawn> = reloads.try_iter().map(take).collect();
        // The very reading that was compared: a step after it is for the next tick.
        let now = clock.looked();
        pipeline.advance(Timestamp(now.nanos().saturating_sub(LAG_NANOS)), &mut events);
        withdrawn.into_iter().for_each(|withdrawn| publisher.withdrawn(withdrawn));
        let status = CaptureStatus { pauses: self.pauses, last_tick: Some(now), ..*status };
        let snapshot = pipeline.snapshot(&self.interface, status, self.events_lost);
        self.publisher.publish(snapshot);
        self.answer();
    }

    // The tables stay, and so do the counters: a scanner goes on scanning, and an open scan is not reported twice.
    fn moved(&mut self, interface: &str) {
        interface.clone_into(&mut self.interface);
        self.publisher.moved(interface);
    }

    // The tables are empty again, and so are the counters: what was seen elsewhere is nobody's business here. Open scans end with
    // the interface that they came by.
    fn replaced(&mut self, interface: &str) {
        self.flush();
        let Self { pipeline, publisher, events_lost, .. } = self;
        let now = pipeline.now();
        pipeline.each_open_scan(&mut |scan| {
            let scan = Scan { ended: Some(now), ..scan };
            Self::hand_over(publisher, events_lost, ScanEvent { kind: EventKind::Ended, scan });
        });
        if let Err(error) = pipeline.begin_anew() {
            log::error!("{error}: what was seen on {} is shown as of {interface}, too", self.interface);
        }
        (self.pauses, self.events_lost, self.away) = (0, 0, false);
        interface.clone_into(&mut self.interface);
        self.publisher.replaced(interface);
    }

    fn lost(&mut self, reason: &str) {
        self.away = true;
        self.publisher.capture_changed(Some(reason));
    }
}
