//! A host that is asked, and the scan of it by many, if one is open.

use super::slots::Slots;
use crate::detect::episode::Episode;
use crate::detect::majority::{MainTechnique, MainTool};
use crate::detect::probe::{Class, Probe, Signature, Technique, Tool};
use crate::detect::scan::SourceSample;
use std::net::{IpAddr, Ipv4Addr};

/// One host in one class.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Whether it is one at all.
    pub is_used: bool,
    /// The host.
    pub host: IpAddr,
    /// How it is asked.
    pub class: Class,
    /// The ports within the window.
    pub slots: Slots,
    /// The quantum to which they were brought.
    pub quantum: u64,
    /// Since when something is within the window, in nanoseconds.
    pub since: u64,
    /// The port of the first probe since.
    pub first_port: u16,
    /// Its signature.
    pub signature: Signature,
    /// Probes since.
    pub probes: u64,
    /// The latest, in nanoseconds.
    pub last_probe: u64,
    /// When the open scan was detected, in nanoseconds, and the full address that did it.
    pub detected: (u64, IpAddr),
    /// The open scan.
    pub episode: Episode,
    /// Its ports and sources, if there was a place.
    pub wide: Option<u16>,
    /// Whether there were more ports than could be kept since.
    pub is_cut: bool,
    /// How most probes asked since.
    pub technique: MainTechnique,
    /// By which tool most were sent since.
    pub tool: MainTool,
    /// The latest owners of ports.
    pub sources: SourceSample,
}

impl Target {
    /// None.
    pub(super) const NONE: Target = Target {
        is_used: false,
        host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        class: Class::Syn,
        slots: Slots::NONE,
        quantum: 0,
        since: 0,
        first_port: 0,
        signature: Signature { window: 0, ttl: 0 },
        probes: 0,
        last_probe: 0,
        detected: (0, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        episode: Episode::NONE,
        wide: None,
        is_cut: false,
        technique: MainTechnique::new(Technique::Syn),
        tool: MainTool::new(Tool::Unknown),
        sources: SourceSample::NONE,
    };

    /// A run of probes begins with this one.
    pub(super) fn begin(&mut self, probe: &Probe, now: u64) {
        (self.since, self.first_port, self.probes) = (now, probe.port, 0);
        self.signature = probe.signature;
        self.technique = MainTechnique::new(probe.technique);
        self.tool = MainTool::new(probe.tool);
        (self.is_cut, self.sources) = (false, SourceSample::NONE);
    }

    /// It is another host now, of which nothing is known.
    pub(super) fn take(&mut self, probe: &Probe, quantum: u64) {
        self.slots.clear();
        (self.is_used, self.host, self.class) = (true, probe.host, probe.technique.class());
        (self.quantum, self.episode, self.probes) = (quantum, Episode::NONE, 0);
    }
}
