//! What is counted in the rows of one rule, and judged: a probe is counted for its row, ports leave the window, scans open and
//! end. Who gets a row is the tracker's business.

mod attributed;
mod life;
mod proof;
mod replies;
mod show;
mod sweep;

use self::replies::RowReplies;
use crate::detect::distinct::block::Header;
use crate::detect::distinct::hosts::{Hosts, UNTRACKED};
use crate::detect::distinct::peaks::OverallPeak;
use crate::detect::distinct::peers::{Peer, PeerStore};
use crate::detect::distinct::{PortStore, Ports};
use crate::detect::memory::{OutOfMemory, prefetch, room_for, vec_of};
use crate::detect::names::{ByName, Names};
use crate::detect::networks::Networks;
use crate::detect::party::Parties;
use crate::detect::probe::{Class, Probe};
use crate::detect::provenance::Databases;
use crate::detect::row::Row;
use crate::detect::rule::{Limits, Policy, Rule, Subject};
use crate::detect::scan::{EventKind, Kind, Source};
use crate::detect::sink::EventSink;
use crate::detect::snapshot::Counters;
use crate::detect::time::present::Present;
use crate::detect::verdict::{self, Counts};
use attributed::Attributed;
use std::hash::BuildHasher;
use std::net::IpAddr;

/// What a probe was to a rule: which of it slower rules have to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It opened a scan of its source.
    Hit,
    /// A scan of its source is open.
    Scanning,
    /// No scan of its source is open, which has a row.
    Below,
    /// Its source has no row.
    AtDoor,
}

/// The rows of one rule, and the ports of each.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Vec<Row>,
    store: PortStore,
    /// The hosts of each row, if the rule counts them.
    peers: Option<PeerStore>,
    /// What came back, by row; empty if that is not looked for.
    replies: Vec<RowReplies>,
    /// Whether there was ever a source for whose ports or hosts there was no room where those before them are.
    pub has_outgrown: bool,
    /// What is inside, for a rule that counts hosts; empty if nobody said.
    pub home: Networks,
    /// What some sources are called.
    pub names: Names,
    /// Hits by those.
    pub named_hits: ByName,
    /// What else is known of their addresses.
    pub databases: Databases,
    /// What that was of scans that are open, where a reload says otherwise since.
    attributed: Attributed,
    /// The rule by which they are judged.
    pub rule: Rule,
    /// Which addresses of IPv6 have a row together.
    pub parties: Parties,
    /// Which are told apart within a row of a network.
    pub parts: Parties,
    /// The least peak that earns a series, where the threshold is no less.
    pub min_ports: u32,
    /// Whether it is a rule behind the first.
    pub is_behind: bool,
    /// Now, in the rule's units.
    pub present: Present,
    /// Hosts are told apart by their hashes, and the report on a file must not depend on the seed. (The author of a file can
    /// make the estimate of its own hosts wrong, and no other.)
    host_hasher: foldhash::quality::FixedState,
    overall: OverallPeak,
    /// What happened so far.
    pub counters: Counters,
    open_scans: [u64; Kind::ALL.len()],
}

impl Rows {
    /// Room for so many rows, whose ports and hosts the stores keep.
    pub(crate) fn new(
        rule: Rule,
        policy: &Policy,
        limits: &Limits,
        (capacity, store, peers): (usize, PortStore, Option<PeerStore>),
        host_hasher: foldhash::quality::FixedState,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            rows: room_for(capacity)?,
            replies: if policy.replies { vec_of(capacity, RowReplies::NONE)? } else { Vec::new() },
            has_outgrown: false,
            store,
            peers,
            home: policy.home.clone(),
            names: policy.names.clone(),
            named_hits: ByName::of(&policy.names),
            databases: policy.databases.clone(),
            attributed: Attributed::default(),
            rule,
            parties: policy.parties.by(rule.prefix(policy.parties.ipv6_prefix())),
            parts: policy.parties.clone(),
            min_ports: limits.min_ports,
            is_behind: false,
            present: Present::new(rule.window_nanos, limits.hold_nanos),
            host_hasher,
            overall: OverallPeak::NONE,
            counters: Counters::default(),
            open_scans: [0; Kind::ALL.len()],
        })
    }

    /// The least peak that earns a series: under a threshold below it, the threshold.
    #[inline]
    pub(crate) fn least_published(&self) -> u32 {
        self.min_ports.min(self.rule.threshold())
    }

    /// Whether a scan is open in any of them.
    pub(crate) fn has_open_scan(&self) -> bool {
        self.open_scans.iter().any(|&open| open > 0)
    }

    /// How many rows there are, used or not.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A row that is there.
    #[inline]
    pub(super) fn row(&self, at: u32) -> &Row {
        &self.rows[at as usize]
    }

    /// The same, to change it.
    #[inline]
    pub(super) fn row_mut(&mut self, at: u32) -> &mut Row {
        &mut self.rows[at as usize]
    }

    /// Whether a row is that of an address and a class. A quick look: of a network it knows the address that asked last only.
    #[inline]
    pub(super) fn is_of(&self, at: u32, address: IpAddr, class: Class) -> bool {
        let is = |row: &Row| row.address == address && row.class() == class && row.is_used;
        self.rows.get(at as usize).is_some_and(is)
    }

    /// Whether a row is that of the source of an address, for a class.
    #[inline]
    pub(super) fn is_of_source(&self, at: u32, address: IpAddr, class: Class) -> bool {
        let row = &self.rows[at as usize];
        row.class() == class && Source::is_one(row.address, address, &self.parties)
    }

    /// The rows that somebody has.
    pub(super) fn used(&self) -> impl Iterator<Item = (u32, &Row)> {
        (0..).zip(&self.rows).filter(|(_, row)| row.is_used)
    }

    /// Has a row brought into the cache, if there is one.
    #[inline]
    pub(super) fn prefetch_row(&self, at: u32) {
        if let Some(row) = self.rows.get(at as usize) {
            prefetch(row);
            prefetch(&row.peaks);
        }
    }

    /// Has a row and its ports brought into the cache.
    #[inline]
    pub(super) fn prefetch(&self, at: u32) {
        if let Some(row) = self.rows.get(at as usize) {
            prefetch(row);
            prefetch(&row.peaks);
            self.store.prefetch(at);
            if let Some(peers) = &self.peers {
                peers.prefetch(at);
            }
        }
    }

    /// How many ports, or hosts, of a row count: what the rule counts.
    #[inline]
    pub(crate) fn size(&self, at: u32) -> u32 {
        match &self.peers {
            None => self.rows[at as usize].ports.count(),
            Some(peers) => peers.count(at),
        }
    }

    /// Whether the count of a row has stopped growing for want of memory.
    pub(crate) fn is_saturated(&self, at: u32) -> bool {
        self.rows[at as usize].ports.is_saturated()
            || self.peers.as_ref().is_some_and(|peers| peers.is_saturated(at))
    }

    /// What the doorkeeper keeps of a probe: its port, or in two bytes its host.
    #[inline]
    pub(crate) fn door_mark(&self, probe: &Probe) -> u16 {
        match &self.peers {
            None => probe.port,
            Some(_) => Peer::of(probe.host, &self.host_hasher).short(),
        }
    }

    /// Whether the rule is about networks, and not about the sources in them.
    #[inline]
    pub(crate) fn are_networks(&self) -> bool {
        matches!(self.rule.subject, Subject::Network(_))
    }

    /// Whether the rule has to do with every probe.
    #[inline]
    pub(crate) fn concerns_all(&self) -> bool {
        !self.are_networks() && (self.peers.is_none() || self.home.is_empty())
    }

    /// Whether the rule has to do with a probe. A sweep from outside is one of hosts that are inside.
    #[inline]
    pub(crate) fn concerns(&self, probe: &Probe) -> bool {
        if let Subject::Network(_) = self.rule.subject {
            return Source::may_hop(probe.source, &self.parties);
        }
        self.concerns_all() || self.home.contains(probe.host) || self.home.contains(probe.source)
    }

    /// Writes a new row: over one that is free, or behind the last.
    pub(super) fn put(&mut self, at: u32, row: Row) {
        match self.rows.get_mut(at as usize) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
        if let Some(replies) = self.replies.get_mut(at as usize) {
            *replies = RowReplies::NONE;
        }
    }

    /// Counts a probe for an expired row.
    #[inline]
    pub(crate) fn count(&mut self, at: u32, probe: &Probe, sink: &mut EventSink<'_>) -> Seen {
        // Of a network it is the sources in it that are told apart.
        let part = match self.rule.subject {
            Subject::Source | Subject::Target => probe.host,
            Subject::Network(_) => Source::by(probe.source, &self.parts).address,
        };
        let host = match part {
            IpAddr::V4(v4) => self.host_hasher.hash_one(v4.to_bits()),
            IpAddr::V6(v6) => self.host_hasher.hash_one(v6.to_bits()),
        };
        let quantum = self.present.quantum;
        let least_published = self.least_published();
        if !self.replies.is_empty() {
            self.begin_replies(at);
        }
        let mut row = &mut self.rows[at as usize];
        let was_open = row.episode.is_open();
        if let Some(peers) = &mut self.peers
            && row.burst_peak == 0
            && !was_open
        {
            peers.begin(at);
        }
        let place = row.note(probe, host, sink.now(), &self.present, least_published);
        let (bit, before, asked_before) = (Hosts::bit(place), row.ports.count(), row.ports.union());
        if !self.store.record(&mut row.ports, at, probe.port, bit, quantum) {
            self.record_outgrown(at, probe.port, bit, sink);
            row = &mut self.rows[at as usize];
        }
        let count = row.ports.count();
        let is_fresh = count > before;
        if was_open && row.ports.union() > asked_before && row.class() == Class::Syn {
            sink.asked(probe.port);
        }
        if place == UNTRACKED {
            if is_fresh {
                row.adopt_host(host, probe.port, quantum, &mut self.store, at);
            }
        } else if place != row.hosts.busiest() && row.may_be_busiest(is_fresh) {
            row.compare_with_busiest(place, probe, &self.store, at);
        }
        let (size, verdict) = match self.peers {
            None => {
                let verdict = verdict::kind(&self.rule, Counts { ports: count, peers: 0 });
                (count, verdict.filter(|_| was_open || self.are_of_many(at)))
            }
            Some(_) => self.count_peer(at, probe),
        };
        let row = &mut self.rows[at as usize];
        row.burst_peak = row.burst_peak.max(size);
        row.peaks.reach(self.present.epoch, size);
        self.overall.reach(self.present.epoch, size);
        let growing = if self.peers.is_none() { row.ports.union() } else { size };
        let Some(kind) = row.episode.observe(verdict, count, growing) else {
            return if was_open { Seen::Scanning } else { Seen::Below };
        };
        self.report(at, kind, probe, sink);
        if was_open { Seen::Scanning } else { Seen::Hit }
    }

    /// Whether the ports of a row are not mostly those of one source, where it is about a network.
    fn are_of_many(&self, at: u32) -> bool {
        let ports = &self.rows[at as usize].ports;
        let most = || self.store.most_of_one_host(ports, at, self.present.quantum);
        !self.are_networks() || most() * 2 <= ports.count()
    }

    /// A probe opened the scan of a row, or made it grow.
    fn report(&mut self, at: u32, kind: EventKind, probe: &Probe, sink: &mut EventSink<'_>) {
        if kind == EventKind::Hit {
            let row = &mut self.rows[at as usize];
            row.address = probe.source;
            row.last_hit = Some(sink.now());
            self.store.begin_union(&mut row.ports, self.present.quantum);
            let kind = row.episode.kind() as usize;
            self.counters.hits[kind] += 1;
            self.open_scans[kind] += 1;
            if row.class() == Class::Syn {
                self.store.each(&row.ports, at, |port| sink.asked(port));
            }
        }
        let scan = self.scan(at, sink.timeline);
        if kind == EventKind::Hit {
            self.named_hits.count(scan.name);
        }
        sink.report(kind, scan);
    }

    /// Counts a port for which a source has no room where its ports are: in a larger block, which may be one that another can
    /// do without. If there is none, another port is forgotten for it.
    #[cold]
    fn record_outgrown(&mut self, at: u32, port: u16, bit: u8, sink: &mut EventSink<'_>) {
        self.has_outgrown = true;
        let quantum = self.present.quantum;
        let mut ports = self.rows[at as usize].ports;
        let grows = !self.store.is_spent(&ports, quantum)
            && (self.store.grow(&mut ports, at, quantum)
                || self.take_block(at, &ports, sink) && self.store.grow(&mut ports, at, quantum));
        let row = &mut self.rows[at as usize];
        if !(grows && self.store.record(&mut ports, at, port, bit, quantum)) {
            let was_saturated = ports.is_saturated();
            self.store.replace(&mut ports, at, port, bit, quantum);
            let is_cut_short = !row.episode.is_open() && !was_saturated && ports.is_saturated();
            self.counters.cut_short += u64::from(is_cut_short);
        }
        row.ports = ports;
    }

    /// Frees a block that would be larger than what a source has. A scan that fell silent can do without: what still
    /// counts of it goes into its short list, only the union can then not grow on. Where hits depend on blocks, a source
    /// without an open scan must give way too, and who was silent longest goes first: a scanner comes back, a burst of
    /// spoofed probes does not.
    fn take_block(&mut self, at: u32, ports: &Ports, sink: &mut EventSink<'_>) -> bool {
        let (rows, now, listed) = (&self.rows, self.present.quantum, self.store.list_ports() as u32);
        let hits_need_blocks = !self.rule.counts_peers() && self.rule.threshold() > listed;
        let worth = |header: &Header| {
            let row = &rows[header.owner as usize];
            let fits = header.left_at(row.quantum, now) <= listed;
            let may_go = fits || hits_need_blocks && !row.episode.is_open();
            (may_go && header.owner != at).then_some((!fits, row.last_probe, header.owner))
        };
        let Some(owner) = self.store.least_worth(ports, now, worth) else { return false };
        self.expire(owner, sink);
        let row = &mut self.rows[owner as usize];
        self.store.shrink(&mut row.ports, owner, now);
        self.counters.cut_short += u64::from(!row.episode.is_open() && row.ports.is_saturated());
        true
    }
}
