//! One interface end to end: frames in, scan events and snapshots out. Owns what it touches, takes no lock.

pub(crate) mod vantage;

use crate::capture::{CaptureStatus, FrameSink};
use crate::detect::{
    Detector, EventKind, Explanation, Limits, Origin, OutOfMemory, Policy, Probe, Scan, ScanEvent,
};

use crate::packet::fragments::{Fragments, Outcome};
use crate::packet::{LinkType, Packet, Skipped, Timestamp, decode, ipv4_piece};
use crate::pipeline::vantage::Vantage;
use crate::publish::sample::Sample;
use crate::publish::snapshot::InterfaceSnapshot;
use crate::system::clock::{Passed, StepWatch};
use ipnet::IpNet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// A key for the tables. What they hold comes from the wire: nobody may know how it hashes.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The way of a packet, for a live capture and for files alike: decode, gather a batch, observe.
#[derive(Debug)]
pub struct Pipeline {
    link: LinkType,
    vantage: Vantage,
    detector: Detector,
    packets: u64,
    skipped: [u64; Skipped::ALL.len()],
    /// Where nobody else puts IPv4 datagrams together.
    fragments: Option<Fragments>,
    /// In a fleet.
    sample: Option<Sample>,
}

impl Pipeline {
    /// A pipeline with a detector of its own. `seed` keys the hashes.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn new(policy: Policy, limits: Limits, seed: u64, origin: Origin) -> Self {
        Self::of(Detector::new(policy, limits, seed, origin))
    }

    /// The same, or an error if there is no memory for it.
    pub(crate) fn try_new(
        policy: Policy,
        limits: Limits,
        seed: u64,
        origin: Origin,
    ) -> Result<Self, OutOfMemory> {
        Detector::try_new(policy, limits, seed, origin).map(Self::of)
    }

    fn of(detector: Detector) -> Self {
        Self {
            link: LinkType::Ethernet,
            vantage: Vantage::default(),
            detector,
            packets: 0,
            skipped: [0; Skipped::ALL.len()],
            fragments: None,
            sample: None,
        }
    }

    /// The same for a capture that stands here; at first it is like a file, which may be from anywhere.
    #[must_use]
    pub fn at(self, vantage: Vantage) -> Self {
        Self { vantage, ..self }
    }

    /// The same, for frames of which nobody has put IPv4 datagrams together.
    pub(crate) fn with_fragments(self) -> Self {
        Self { fragments: Some(Fragments::default()), ..self }
    }

    /// The same for a host of a fleet, which samples sources.
    #[must_use]
    pub fn with_sample(self, sample: Option<Sample>) -> Self {
        Self { sample, ..self }
    }

    /// What follows has this link layer.
    pub fn opened(&mut self, link: LinkType) {
        self.link = link;
    }

    /// The probe in a frame; a frame that is none, and one that says nothing of a scanner, is counted.
    #[inline]
    pub fn probe(&mut self, time: Timestamp, bytes: &[u8]) -> Option<Probe> {
        self.packets += 1;
        match decode(self.link, time, bytes) {
            Ok(packet) => self.judge(&packet, bytes),
            Err(piece @ (Skipped::Fragment | Skipped::TinyFragment)) => self.piece(time, bytes, piece),
            Err(skipped) => {
                self.skipped[skipped as usize] += 1;
                None
            }
        }
    }

    /// The probe that a packet is, if it can be one from where we stand.
    #[inline]
    fn judge(&mut self, packet: &Packet, bytes: &[u8]) -> Option<Probe> {
        let Some(probe) = Probe::of(packet) else {
            self.skipped[Skipped::NotProbe as usize] += 1;
            return None;
        };
        match self.vantage.judge(self.link, bytes, probe.source) {
            None => Some(probe),
            Some(reason) => {
                self.detector.ignore(&probe, reason);
                None
            }
        }
    }

    /// A piece of a datagram: the probe in it, if it makes it whole.
    #[cold]
    fn piece(&mut self, time: Timestamp, bytes: &[u8], reason: Skipped) -> Option<Probe> {
        let whole = self.fragments.as_mut().zip(ipv4_piece(self.link, bytes));
        let whole = whole.map(|(fragments, piece)| fragments.put(time, &piece, reason));
        let Some(Outcome::Whole(packet, pieces, tiny)) = whole else {
            self.skipped[reason as usize] += 1;
            return None;
        };
        // Those before are a packet now.
        self.skipped[Skipped::TinyFragment as usize] -= tiny;
        self.skipped[Skipped::Fragment as usize] -= pieces - tiny;
        self.skipped[Skipped::Reassembled as usize] += pieces;
        match packet {
            Ok(packet) => self.judge(&packet, bytes),
            Err(skipped) => {
                self.skipped[skipped as usize] += 1;
                None
            }
        }
    }

    /// Takes a probe. True once a batch is full: then `flush` it.
    #[inline]
    #[must_use]
    pub fn gather(&mut self, probe: Probe) -> bool {
        if let Some(sample) = &mut self.sample {
            sample.gather(&probe);
        }
        self.detector.gather(probe)
    }

    /// Takes a frame. True once a batch is full: then `flush` it.
    #[inline]
    #[must_use]
    pub fn frame(&mut self, time: Timestamp, bytes: &[u8]) -> bool {
        self.probe(time, bytes).is_some_and(|probe| self.gather(probe))
    }

    /// The clock of the capture stepped by this many nanoseconds. What was gathered before is to be flushed first.
    pub fn clock_stepped(&mut self, nanos: i64) {
        self.detector.clock_stepped(nanos);
        if let Some(sample) = &mut self.sample {
            sample.clock_stepped(nanos);
        }
    }

    /// Takes a new policy; what was gathered before is to be flushed first.
    fn reload(&mut self, policy: Policy, events: &mut dyn FnMut(ScanEvent)) {
        if let Some(sample) = &mut self.sample {
            sample.reload(&policy);
        }
        self.detector.reload(policy, events);
    }

    /// Takes new tables and the policy they were made for.
    fn resize(&mut self, other: Detector, events: &mut dyn FnMut(ScanEvent)) {
        if let Some(sample) = &mut self.sample {
            sample.reload(other.policy());
            sample.set_hold(other.hold_nanos());
        }
        self.detector.resize(other, events);
    }

    /// No probe of the batch is later than this.
    fn cap_batch(&mut self, latest: Timestamp) {
        self.detector.cap_batch(latest);
        if let Some(sample) = &mut self.sample {
            sample.cap(latest);
        }
    }

    /// Observes what was gathered. The batch is never more than `detect::BATCH` probes.
    pub fn flush(&mut self, events: &mut dyn FnMut(ScanEvent)) {
        self.detector.flush(events);
        if let Some(sample) = &mut self.sample {
            sample.flush();
        }
    }

    /// Moves time on; hands out the scans that end by it.
    pub fn advance(&mut self, now: Timestamp, events: &mut dyn FnMut(ScanEvent)) {
        self.detector.advance(now, events);
        if let Some(sample) = &mut self.sample {
            sample.advance(now);
        }
    }

    /// The greatest threshold a reload may set.
    pub fn greatest_threshold(&self) -> u32 {
        self.detector.greatest_threshold()
    }

    /// Tells the open scans, by the time of their hit.
    pub(crate) fn each_open_scan(&self, told: &mut dyn FnMut(Scan)) {
        self.detector.each_open_scan(told);
    }

    /// The detector's time, on the capture's clock.
    pub fn now(&self) -> Timestamp {
        self.detector.now()
    }

    /// What is known of an address, or of an IPv6 network, as of the latest `advance`.
    pub fn explain(&self, asked: IpNet) -> Explanation {
        let told = self.detector.explain(asked);
        Explanation { ignored: self.vantage.explain(asked.addr()).or(told.ignored), ..told }
    }

    /// All of it at this moment.
    pub fn snapshot(&self, interface: &str, capture: CaptureStatus, events_lost: u64) -> InterfaceSnapshot {
        InterfaceSnapshot {
            interface: interface.to_owned(),
            capture,
            packets: self.packets,
            skipped: self.skipped,
            events_lost,
            detection: self.detector.snapshot(),
            sample: self.sample.as_ref().map(Sample::snapshot),
        }
    }
}

/// What a running capture is told by a reload.
#[derive(Debug)]
pub enum Reload {
    /// What counts as a scan from now on.
    Policy(Policy),
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

/// Questions that are answered at a tick. Others wait for the next one: whoever reaches the web port can ask as fast as he
/// likes, and the capture answers no more than these in a second. Nor does a question wake it.
pub const QUESTIONS: usize = 8;

/// What a live capture tells the rest of the process. Both are called from the capture thread and must not block.
pub trait EventSink {
    /// A scan event; false if it was lost because the queue is full.
    fn scan(&mut self, event: ScanEvent) -> bool;
    /// The capture broke, and why; or is back.
    fn capture_changed(&mut self, lost: Option<&str>);
    /// What follows is of this interface.
    fn moved(&mut self, _interface: &str) {}
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

/// Tells the host's own addresses; `None` if it cannot.
type Addresses = Box<dyn FnMut() -> Option<Vec<IpAddr>> + Send>;

/// The sink of a live capture.
pub struct LiveSink<O> {
    interface: String,
    pipeline: Pipeline,
    sink: O,
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

impl<O: EventSink> LiveSink<O> {
    /// Everything for one interface. Reloads arrive through `reloads` and are taken at the next tick.
    pub fn new(interface: &str, pipeline: Pipeline, sink: O, reloads: Receiver<Reload>) -> Self {
        Self::with_clock(interface, pipeline, sink, reloads, StepWatch::new())
    }

    /// The same by another clock.
    pub fn with_clock(
        interface: &str,
        pipeline: Pipeline,
        sink: O,
        reloads: Receiver<Reload>,
        clock: StepWatch,
    ) -> Self {
        Self {
            interface: interface.to_owned(),
            pipeline,
            sink,
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
            self.sink.answer(id, self.pipeline.explain(asked));
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

    fn hand_over(sink: &mut O, events_lost: &mut u64, event: ScanEvent) {
        *events_lost += u64::from(!sink.scan(event));
    }

    /// Asks both clocks whether the one that stamps packets has stepped, and whether we ran.
    fn look_at_clock(&mut self) {
        let Passed { step, pause } = self.clock.look();
        if let Some(step) = step {
            self.pipeline.clock_stepped(step);
        }
        if let Some(pause) = pause {
            self.pauses += 1;
            self.sink.paused(pause);
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
        let Self { pipeline, sink, events_lost, .. } = self;
        pipeline.flush(&mut |event| Self::hand_over(sink, events_lost, event));
    }

    /// Ends: scans that are still open are told as ended now.
    pub fn finish(mut self) {
        self.flush();
        let Self { pipeline, mut sink, mut events_lost, .. } = self;
        let now = pipeline.now();
        pipeline.each_open_scan(&mut |scan| {
            let scan = Scan { ended: Some(now), ..scan };
            let event = ScanEvent { kind: EventKind::Ended, scan };
            Self::hand_over(&mut sink, &mut events_lost, event);
        });
    }
}

impl<O: EventSink> FrameSink for LiveSink<O> {
    fn opened(&mut self, link: LinkType) {
        self.pipeline.opened(link);
        if std::mem::take(&mut self.away) {
            self.sink.capture_changed(None);
        }
    }

    #[inline]
    fn frame(&mut self, time: Timestamp, bytes: &[u8]) {
        if self.pipeline.frame(time, bytes) {
            self.flush();
        }
    }

    fn batch_end(&mut self) {
        self.flush();
    }

    fn tick(&mut self, status: &CaptureStatus) {
        self.flush();
        self.look_at_clock();
        self.refresh_addresses();
        let Self { pipeline, sink, events_lost, reloads, clock, .. } = self;
        let mut events = |event| Self::hand_over(sink, events_lost, event);
        for reload in reloads.try_iter() {
            match reload {
                Reload::Policy(policy) => pipeline.reload(policy, &mut events),
                Reload::Tables(other) => pipeline.resize(*other, &mut events),
            }
        }
        // The very reading that was compared: a step after it is for the next tick.
        let now = clock.looked();
        pipeline.advance(Timestamp(now.nanos().saturating_sub(LAG_NANOS)), &mut events);
        let status = CaptureStatus { pauses: self.pauses, last_tick: Some(now), ..*status };
        let snapshot = pipeline.snapshot(&self.interface, status, self.events_lost);
        self.sink.publish(snapshot);
        self.answer();
    }

    // The tables stay, and so do the counters: whoever scans goes on to, and an open scan is not told twice.
    fn moved(&mut self, interface: &str) {
        interface.clone_into(&mut self.interface);
        self.sink.moved(interface);
    }

    fn lost(&mut self, reason: &str) {
        self.away = true;
        self.sink.capture_changed(Some(reason));
    }
}
