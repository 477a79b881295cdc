//! The row of a source that has a place in the table: all that is kept of it, besides its ports.

use crate::detect::distinct::hosts::Hosts;
use crate::detect::distinct::peaks::Peaks;
use crate::detect::distinct::{PortStore, Ports};
use crate::detect::episode::Episode;
use crate::detect::majority::{MainTechnique, MainTool};
use crate::detect::probe::{Class, Probe, Signature};
use crate::detect::table::eviction::Evidence;
use crate::detect::time::present::Present;
use crate::detect::tuning::{COMPARE_EVERY, MOST_RETURNS};
use std::net::IpAddr;

/// A row. The order of fields is that of need: an ordinary probe touches the first cache line, and one epoch's, one
/// scan's and one host's worth of the second. Times are nanoseconds of the detector's time.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Row {
    /// The address that asked first, or that reached the threshold.
    pub address: IpAddr,
    /// Whether anybody has the row.
    pub is_used: bool,
    /// Quanta in which it probed since `since`, after the first; up to `MOST_RETURNS`.
    pub returns: u8,
    /// Its turn to be given up came, and it was moved to the reserve; until it probes.
    pub is_reserved: bool,
    /// The technique of most probes since `since`.
    pub technique: MainTechnique,
    /// Whose marks most of them have.
    pub tool: MainTool,
    /// Quantum up to which `ports` is expired.
    pub quantum: u64,
    /// The latest probe.
    pub last_probe: u64,
    /// Distinct ports.
    pub ports: Ports,
    /// Probes since `since`.
    pub probes: u32,
    /// The greatest count of the run of probes that is going on; 0 if none is.
    pub burst_peak: u32,
    // ---- The second line.
    /// The greatest counts of the hold.
    pub peaks: Peaks,
    /// The open scan, if there is one.
    pub episode: Episode,
    /// The hosts that were asked since `since`.
    pub hosts: Hosts,
    // ---- The rest.
    /// First probe of the unbroken run of probes.
    pub since: u64,
    /// The latest hit.
    pub last_hit: Option<u64>,
    /// Its slot in the directory.
    pub slot: u32,
    /// The most ports of one host, less one, since there was no peak.
    most_of_one_host: u16,
    first_host: IpAddr,
    /// The host with most ports.
    target_host: IpAddr,
    /// Port of the first probe since `since`.
    first_port: u16,
    /// A port that `target_host` was asked for.
    target_port: u16,
    /// The signature of the first probe since `since`.
    pub signature: Signature,
}

const _: () =
    assert!(std::mem::offset_of!(Row, peaks) == 64, "what every probe touches fills the first line");
const _: () = assert!(
    std::mem::offset_of!(Row, hosts) == 120,
    "the second line ends with the first host: most sources ask one"
);
const _: () = assert!(size_of::<Row>() == 256, "four lines");

impl Row {
    /// The row of a source that asks now, with nothing counted yet.
    pub(super) fn new(probe: &Probe, slot: u32, now: u64, quantum: u64) -> Self {
        Self {
            address: probe.source,
            is_used: true,
            returns: 0,
            is_reserved: false,
            technique: MainTechnique::new(probe.technique),
            tool: MainTool::new(probe.tool),
            quantum,
            last_probe: now,
            ports: Ports::NONE,
            probes: 0,
            burst_peak: 0,
            peaks: Peaks::NONE,
            episode: Episode::NONE,
            hosts: Hosts::NONE,
            since: now,
            last_hit: None,
            slot,
            most_of_one_host: 0,
            first_host: probe.host,
            target_host: probe.host,
            first_port: probe.port,
            target_port: probe.port,
            signature: probe.signature,
        }
    }

    /// Which of the source's probes count here: it has a row for each class.
    #[inline]
    pub(super) fn class(&self) -> Class {
        self.technique.winner().class()
    }

    /// Notes a probe, but for its port. Returns the place of its host, which its hash names.
    #[inline]
    pub(super) fn note(
        &mut self,
        probe: &Probe,
        host: u64,
        now: u64,
        present: &Present,
        least_published: u32,
    ) -> usize {
        if self.begins() {
            self.begin(probe, now, present, least_published);
        } else {
            self.technique.vote(probe.technique);
            self.tool.vote(probe.tool);
        }
        if self.returns < MOST_RETURNS && self.last_probe < present.quantum_start() {
            self.returns += 1;
        }
        self.last_probe = now;
        self.is_reserved = false;
        self.probes = self.probes.saturating_add(1);
        self.hosts.find(host).unwrap_or_else(|| self.hosts.note(host))
    }

    /// Whether the next probe begins a run.
    #[inline]
    pub(super) fn begins(&self) -> bool {
        self.burst_peak == 0 && !self.episode.is_open()
    }

    /// Whether it does, and nothing of the runs before shows any more.
    pub(super) fn begins_without_peak(&self, present: &Present, least_published: u32) -> bool {
        // A tick between would have freed the row: whether there was one must not show.
        self.begins() && self.peaks.peak(present.epoch) < least_published
    }

    /// A run of probes begins.
    fn begin(&mut self, probe: &Probe, now: u64, present: &Present, least_published: u32) {
        if self.begins_without_peak(present, least_published) {
            self.most_of_one_host = 0;
        }
        self.since = now;
        self.address = probe.source;
        self.technique = MainTechnique::new(probe.technique);
        self.tool = MainTool::new(probe.tool);
        (self.first_host, self.first_port) = (probe.host, probe.port);
        (self.target_host, self.target_port) = (probe.host, probe.port);
        self.signature = probe.signature;
        self.probes = 0;
        self.returns = 0;
        self.last_probe = now;
        self.hosts = Hosts::NONE;
    }

    /// Whether to compare the tracked host of a probe with the busiest one. Of repeats few are compared.
    #[inline]
    pub(super) fn may_be_busiest(&self, is_fresh: bool) -> bool {
        is_fresh || self.probes.is_multiple_of(COMPARE_EVERY)
    }

    /// A host was asked: has it most ports now?
    pub(super) fn compare_with_busiest(&mut self, place: usize, probe: &Probe, store: &PortStore, at: u32) {
        let ports = store.ports_by_host(&self.ports, at);
        if ports[place] > ports[self.hosts.busiest()] {
            self.hosts.set_busiest(place);
            (self.target_host, self.target_port) = (probe.host, probe.port);
        }
    }

    /// A host without a place was asked for a port that did not count: it takes the place of the one with fewest ports.
    #[cold]
    pub(super) fn adopt_host(&mut self, hash: u64, port: u16, quantum: u64, store: &mut PortStore, at: u32) {
        if !store.may_forget_host(&self.ports) {
            return;
        }
        let place = self.hosts.least(&store.ports_by_host(&self.ports, at), self.probes);
        store.forget_host(&self.ports, at, place);
        self.hosts.put(place, hash);
        // It was counted just now: this only notes its host.
        let _ = store.record(&mut self.ports, at, port, Hosts::bit(place), quantum);
    }

    /// The most ports of one host within a window.
    pub(super) fn busiest(&self, store: &PortStore, at: u32) -> u32 {
        let now = if self.hosts.is_one() {
            self.ports.count()
        } else {
            store.ports_by_host(&self.ports, at).into_iter().max().unwrap_or(0)
        };
        now.max(u32::from(self.most_of_one_host) + 1)
    }

    /// Ports are about to leave the window: notes how many one host was asked for.
    pub(super) fn note_busiest(&mut self, store: &PortStore, at: u32) {
        if self.ports.count() > u32::from(self.most_of_one_host) + 1 {
            self.most_of_one_host = self.busiest(store, at).saturating_sub(1).min(0xffff) as u16;
        }
    }

    /// What decides when it is given up, where so many ports or hosts of it count.
    pub(super) fn evidence(&self, size: u32, unit_nanos: u64) -> Evidence {
        Evidence {
            last_probe: self.last_probe / unit_nanos,
            ports: size,
            returns: self.returns,
            is_reserved: self.is_reserved,
        }
    }

    /// When the open scan was detected, if one is open.
    pub(super) fn detected(&self) -> u64 {
        self.last_hit.unwrap_or(self.since)
    }

    /// Target of the first probe since `since`.
    pub(super) fn first_target(&self) -> (IpAddr, u16) {
        (self.first_host, self.first_port)
    }

    /// The host with most ports, and a port that it was asked for.
    pub(super) fn target(&self) -> (IpAddr, u16) {
        (self.target_host, self.target_port)
    }
}
