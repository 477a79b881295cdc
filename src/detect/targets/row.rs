//! A host that is asked, and the scan of it by many, if one is open.

use super::lately::{Lately, Run};
use super::slots::Slots;
use crate::detect::episode::Episode;
use crate::detect::probe::{Class, Probe};
use crate::detect::scan::SourceSample;
use std::net::{IpAddr, Ipv4Addr};

/// One host in one class.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The host.
    pub host: IpAddr,
    /// How it is asked.
    pub class: Class,
    /// The ports within the window.
    pub slots: Slots,
    /// The quantum to which they were brought.
    pub quantum: u64,
    /// What was new lately, as long as no scan is open.
    pub lately: Lately,
    /// The latest probe, in nanoseconds.
    pub last_probe: u64,
    /// The quantum in which there was last no room for a port.
    pub full: Option<u64>,
    /// When the open scan was detected, in nanoseconds, and the full address that did it.
    pub detected: (u64, IpAddr),
    /// The open scan.
    pub episode: Episode,
    /// Its probes: those for new ports, and those of who asked for one first. Visitors' are not among them.
    pub run: Run,
    /// How many.
    pub probes: u64,
    /// The latest of them, in nanoseconds.
    pub last_of_scan: u64,
    /// Its ports and sources, if there was a place.
    pub wide: Option<u16>,
    /// Whether it had more ports than could be kept.
    pub is_cut: bool,
    /// The latest owners of ports.
    pub sources: SourceSample,
}

impl Target {
    /// None.
    pub(super) const NONE: Target = Target {
        host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        class: Class::Syn,
        slots: Slots::NONE,
        quantum: 0,
        lately: Lately::NONE,
        last_probe: 0,
        full: None,
        detected: (0, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        episode: Episode::NONE,
        run: Run::NONE,
        probes: 0,
        last_of_scan: 0,
        wide: None,
        is_cut: false,
        sources: SourceSample::NONE,
    };

    /// What was asked is over, or told: what comes next begins anew.
    pub(super) fn start_over(&mut self) {
        (self.lately, self.sources, self.full) = (Lately::NONE, SourceSample::NONE, None);
    }

    /// It is another host now, of which nothing is known.
    pub(super) fn take(&mut self, probe: &Probe, quantum: u64) {
        self.slots.clear();
        (self.host, self.class) = (probe.host, probe.technique.class());
        (self.quantum, self.episode) = (quantum, Episode::NONE);
        self.start_over();
    }
}
