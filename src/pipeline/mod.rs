//! One interface end to end: frames in, scan events and snapshots out. Owns what it touches, takes no lock.

mod connections;
mod conversations;
mod datagrams;
mod known;
mod live;
mod pieces;
pub(crate) mod vantage;

pub(crate) use known::BYTES as KNOWN_BYTES;
pub use live::{LiveSink, Publisher, QUESTIONS, Question, Reload};

use crate::capture::CaptureStatus;
use crate::detect::{
    Class, Detector, Explanation, Ipv4Probe, Limits, Origin, OutOfMemory, Policy, Probe, Scan, ScanEvent,
    Withdrawn,
};

use crate::packet::fragments::Fragments;
use crate::packet::tunnel::Tunnels;
use crate::packet::{
    LinkType, Packet, Signature, Skipped, Techniques, Timestamp, Tool, decode, decode_plain,
};
use crate::pipeline::connections::Connections;
use crate::pipeline::datagrams::Datagrams;
use crate::pipeline::vantage::Vantage;
use crate::publish::sample::Sample;
use crate::publish::snapshot::InterfaceSnapshot;
use ipnet::IpNet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;

/// A key for the tables. What they hold comes from the wire: nobody may know how it hashes.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// What the first look at a frame says.
#[derive(Debug)]
pub(crate) enum Plain {
    /// It is a probe.
    Probe(Ipv4Probe),
    /// It is none, and was counted.
    Nothing,
    /// It takes a closer look.
    Otherwise,
}

/// The way of a packet, for a live capture and for files alike: decode, gather a batch, observe.
#[derive(Debug)]
pub struct Pipeline {
    link: LinkType,
    vantage: Vantage,
    /// What is looked for besides TCP.
    datagrams: Datagrams,
    /// Which packets are probes, by the policy.
    techniques: Techniques,
    /// Whether answers to them are looked for.
    replies: bool,
    /// Where segments of no connection are looked for.
    connections: Option<Connections>,
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
        let mut pipeline = Self {
            link: LinkType::Ethernet,
            vantage: Vantage::default(),
            datagrams: Datagrams::new(detector.policy().techniques),
            techniques: detector.policy().techniques,
            replies: detector.policy().replies,
            connections: None,
            detector,
            packets: 0,
            skipped: [0; Skipped::ALL.len()],
            fragments: None,
            sample: None,
        };
        pipeline.look_for(pipeline.techniques);
        pipeline
    }

    /// The same for a capture that stands here; at first it is like a file, which may be from anywhere.
    #[must_use]
    pub fn at(self, vantage: Vantage) -> Self {
        Self { vantage, ..self }
    }

    /// The same for a host of a fleet, which samples sources.
    #[must_use]
    pub fn with_sample(self, sample: Option<Sample>) -> Self {
        Self { sample, ..self }
    }

    /// The same with a look into tunnels.
    #[must_use]
    pub fn with_tunnels(mut self, tunnels: Tunnels) -> Self {
        self.datagrams.tunnels = tunnels;
        self
    }

    /// What follows has this link layer.
    pub fn opened(&mut self, link: LinkType) {
        self.link = link;
        self.filtered();
    }

    /// The probe in a plain frame; a frame that is none, and one that says nothing of a scanner, is counted. Of a frame that takes a
    /// closer look nothing is said yet: then `probe_otherwise`.
    ///
    /// Written out where it is asked: so the probe of a plain frame goes from the frame to its batch without a stop.
    #[inline(always)]
    pub(crate) fn probe(&mut self, time: Timestamp, bytes: &[u8]) -> Plain {
        let Some(Ok(segment)) = decode_plain(self.link, bytes) else { return Plain::Otherwise };
        let asked = Ipv4Probe::of(time, segment).filter(|probe| self.techniques.contains(probe.technique));
        if self.replies && asked.is_none() {
            return Plain::Otherwise;
        }
        self.packets += 1;
        let Some(probe) = asked else {
            self.skipped[Skipped::NotProbe as usize] += 1;
            return Plain::Nothing;
        };
        if let Some(reason) = self.vantage.judge(self.link, bytes, IpAddr::V4(probe.source)) {
            self.detector.ignore(probe.into(), reason);
            return Plain::Nothing;
        }
        Plain::Probe(Ipv4Probe {
            tool: Tool::of_plain(bytes),
            signature: Signature::of_plain(bytes),
            ..probe
        })
    }

    /// The same of all other frames.
    #[inline(never)]
    pub(crate) fn probe_otherwise(&mut self, time: Timestamp, bytes: &[u8]) -> Option<Probe> {
        self.packets += 1;
        match decode(self.link, time, bytes) {
            Ok(packet) => self.judge(&packet, bytes),
            Err(reason) => self.skip(time, bytes, reason),
        }
    }

    /// A frame without a TCP packet: the probe in it all the same, if it makes one.
    #[inline(never)]
    fn skip(&mut self, time: Timestamp, bytes: &[u8], reason: Skipped) -> Option<Probe> {
        match reason {
            Skipped::NotTcp => self.not_tcp(time, bytes),
            Skipped::Fragment | Skipped::TinyFragment => self.piece(time, bytes, reason),
            Skipped::Tunnel => {
                self.skipped[reason as usize] += self.stands_for(bytes);
                None
            }
            _ => {
                self.skipped[reason as usize] += 1;
                None
            }
        }
    }

    /// The probe that a TCP packet is, if it can be one from where we stand.
    #[inline]
    fn judge(&mut self, packet: &Packet, bytes: &[u8]) -> Option<Probe> {
        self.judge_in(self.link, packet, bytes)
    }

    /// The same of a packet in a frame of its own, as in a tunnel.
    #[inline]
    fn judge_in(&mut self, link: LinkType, packet: &Packet, bytes: &[u8]) -> Option<Probe> {
        let asked = Probe::of(packet).filter(|probe| self.techniques.contains(probe.technique));
        let Some(probe) = asked else {
            return self.reply(link, packet, bytes);
        };
        self.place(
            link,
            bytes,
            Probe { tool: Tool::of(link, bytes), signature: Signature::of(link, bytes), ..probe },
        )
    }

    /// What a packet that asks nothing itself says of those that did.
    #[inline]
    fn reply(&mut self, link: LinkType, packet: &Packet, bytes: &[u8]) -> Option<Probe> {
        let refused = self.connections.as_mut().and_then(|connections| connections.refused(packet));
        // What others refused this host is nobody's probe.
        let asked = refused.filter(|asked| self.vantage.judge(link, bytes, asked.source).is_none());
        if asked.is_some() {
            return asked;
        }
        self.skipped[Skipped::NotProbe as usize] += 1;
        if self.replies { Probe::of_reply(packet) } else { None }
    }

    /// A probe, if it can be one from where we stand.
    #[inline]
    fn place(&mut self, link: LinkType, bytes: &[u8], probe: Probe) -> Option<Probe> {
        match self.vantage.judge(link, bytes, probe.source) {
            None => Some(probe),
            Some(reason) => {
                self.detector.ignore(probe, reason);
                None
            }
        }
    }

    /// Takes a probe. True once a batch is full: then `flush` it.
    #[inline]
    #[must_use]
    pub fn gather(&mut self, probe: Probe) -> bool {
        if self.sample.is_some() {
            self.gather_sample(probe);
        }
        self.detector.gather(probe)
    }

    /// The same over IPv4.
    #[inline(always)]
    #[must_use]
    pub(crate) fn gather_ipv4(&mut self, probe: Ipv4Probe) -> bool {
        if self.sample.is_some() {
            self.gather_sample(probe.into());
        }
        self.detector.gather_ipv4(probe)
    }

    #[cold]
    fn gather_sample(&mut self, probe: Probe) {
        if let Some(sample) = &mut self.sample
            && probe.technique.class() == Class::Syn
            && probe.reply.is_none()
        {
            sample.gather(&probe);
        }
    }

    /// Takes a frame. True once a batch is full: then `flush` it.
    #[inline(always)]
    #[must_use]
    pub fn frame(&mut self, time: Timestamp, bytes: &[u8]) -> bool {
        match self.probe(time, bytes) {
            Plain::Probe(probe) => self.gather_ipv4(probe),
            Plain::Nothing => false,
            Plain::Otherwise => self.frame_otherwise(time, bytes),
        }
    }

    #[inline(never)]
    fn frame_otherwise(&mut self, time: Timestamp, bytes: &[u8]) -> bool {
        self.probe_otherwise(time, bytes).is_some_and(|probe| self.gather(probe))
    }

    /// The clock of the capture stepped by this many nanoseconds. What was gathered before is to be flushed first.
    pub fn clock_stepped(&mut self, nanos: i64) {
        self.detector.clock_stepped(nanos);
        if let Some(sample) = &mut self.sample {
            sample.clock_stepped(nanos);
        }
    }

    /// Takes a new policy; what was gathered before is to be flushed first.
    fn reload(&mut self, policy: Policy, events: &mut dyn FnMut(ScanEvent)) -> Withdrawn {
        if let Some(sample) = &mut self.sample {
            sample.reload(&policy);
        }
        self.look_for(policy.techniques);
        self.detector.reload(policy, events)
    }

    /// Takes new tables and the policy they were made for.
    fn resize(&mut self, other: Detector, events: &mut dyn FnMut(ScanEvent)) -> Withdrawn {
        if let Some(sample) = &mut self.sample {
            sample.reload(other.policy());
            sample.set_hold(other.hold_nanos());
        }
        self.look_for(other.policy().techniques);
        self.detector.resize(other, events)
    }

    /// As if nothing had been seen yet; an error if there is no memory for it.
    fn begin_anew(&mut self) -> Result<(), OutOfMemory> {
        self.detector = self.detector.renewed(random_seed())?;
        self.packets = 0;
        self.skipped = [0; Skipped::ALL.len()];
        if let Some(sample) = &mut self.sample {
            *sample = sample.renewed();
        }
        Ok(())
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
    pub(crate) fn each_open_scan(&self, take: &mut dyn FnMut(Scan)) {
        self.detector.each_open_scan(take);
    }

    /// The detector's time, on the capture's clock.
    pub fn now(&self) -> Timestamp {
        self.detector.now()
    }

    /// What is known of an address, or of an IPv6 network, as of the latest `advance`.
    pub fn explain(&self, asked: IpNet) -> Explanation {
        let explanation = self.detector.explain(asked);
        Explanation { ignored: self.vantage.explain(asked.addr()).or(explanation.ignored), ..explanation }
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
