//! Time passes for a host: ports leave the window, a scan ends.

use super::concerns::Concerns;
use super::{FREE, Targets};
use crate::detect::rule::Policy;
use crate::detect::scan::{EventKind, Scan};
use crate::detect::sink::EventSink;
use crate::detect::snapshot::Evicted;
use crate::detect::time::quantum::falls_below;

impl Targets {
    /// Brings a row to the present.
    #[inline]
    pub(super) fn settle(&mut self, at: usize, sink: &mut EventSink<'_>) {
        let row = &self.rows[at];
        if row.quantum != self.present.quantum || row.episode.is_below() {
            self.settle_late(at, sink);
        }
    }

    #[cold]
    fn settle_late(&mut self, at: usize, sink: &mut EventSink<'_>) {
        if let Some(ended) = self.ended(at, sink.now()) {
            let row = &self.rows[at];
            // The record says how things stood when the scan ended, whenever that is noticed.
            let then = (ended / self.present.quantum_nanos).max(row.quantum);
            let ports = row.slots.left_at(row.quantum, then);
            let scan = self.scan(at, sink.timeline);
            let ended = sink.to_capture(ended).max(scan.last_probe);
            self.close(at, Scan { ports, ended: Some(ended), ..scan }, sink);
        }
        let row = &mut self.rows[at];
        if row.quantum != self.present.quantum {
            row.slots.expire(row.quantum, self.present.quantum, self.port_key);
            row.quantum = self.present.quantum;
        }
    }

    /// Notes whether an open scan has fallen below a threshold by now. When it ended, if it has.
    fn ended(&mut self, at: usize, now: u64) -> Option<u64> {
        let row = &mut self.rows[at];
        let (from, to) = (row.quantum, self.present.quantum);
        if row.episode.is_above() && from != to {
            let fell = match (self.rule.ports, self.rule.peers) {
                (Some(least), Some(fewest)) => {
                    let [ports, owners] = row.slots.by_age(from);
                    falls_below(&ports, least, from).min(falls_below(&owners, fewest, from))
                }
                _ => from,
            };
            if fell <= to {
                row.episode.fall(fell);
            }
        }
        let ended = row.episode.ends_at(self.present.quantum_nanos, self.rule.quiet_nanos)?;
        (ended <= now).then_some(ended)
    }

    fn close(&mut self, at: usize, scan: Scan, sink: &mut EventSink<'_>) {
        sink.report(EventKind::Ended, scan);
        let row = &mut self.rows[at];
        row.episode.end();
        row.start_over();
        if let Some(place) = row.wide.take() {
            self.wide.give_back(place);
        }
        self.open -= 1;
    }

    /// Frees a row: an open scan is reported as ended now.
    pub(super) fn vacate(&mut self, at: usize, sink: &mut EventSink<'_>) {
        if self.rows[at].episode.is_open() {
            let ended = Some(sink.to_capture(sink.now()));
            let scan = Scan { ended, ..self.scan(at, sink.timeline) };
            self.close(at, scan, sink);
        }
        self.tags[at] = FREE;
    }

    /// A tick: scans end, and hosts that are not asked any more give up their rows.
    pub(crate) fn tick(&mut self, sink: &mut EventSink<'_>) {
        if self.present.quantum == self.swept && self.open == 0 {
            return;
        }
        self.swept = self.present.quantum;
        let mut ending = Vec::new();
        for at in 0..self.rows.len() {
            if self.tags[at] == FREE {
                continue;
            }
            match self.ended(at, sink.now()) {
                Some(ended) => ending.push((ended, self.rows[at].host, self.rows[at].class, at)),
                None => self.settle(at, sink),
            }
        }
        ending.sort_unstable();
        for (.., at) in ending {
            self.settle(at, sink);
        }
        for at in 0..self.rows.len() {
            if self.tags[at] == FREE {
                continue;
            }
            let row = &self.rows[at];
            if row.slots.len() == 0 && !row.episode.is_open() {
                self.vacate(at, sink);
            }
        }
    }

    /// Its rule is gone, or another: open scans are reported as ended.
    pub(crate) fn empty(&mut self, sink: &mut EventSink<'_>) {
        let mut used: Vec<_> = self.used().collect();
        used.sort_unstable_by_key(|&at| (self.rows[at].host, self.rows[at].class));
        for at in used {
            self.counters.evicted[Evicted::Reload as usize] += 1;
            self.vacate(at, sink);
        }
    }

    /// It counts from now on.
    pub(crate) fn begin(&mut self, now: u64) {
        self.present.set_window(self.rule.window_nanos, now);
        self.swept = self.present.quantum;
    }

    /// Takes a policy with the same rule. Where other sources, hosts or networks count, what was counted says nothing any more.
    pub(crate) fn reload(&mut self, old: &Policy, policy: &Policy, sink: &mut EventSink<'_>) {
        let what = |policy: &Policy| {
            (policy.parties.clone(), policy.ignored_ports.clone(), policy.ignored_pairs.clone())
        };
        let is_same = old.home == policy.home
            && old.ignored_sources == policy.ignored_sources
            && old.ignored_destinations == policy.ignored_destinations
            && what(old) == what(policy);
        if !is_same {
            self.empty(sink);
        }
        let old = std::mem::replace(&mut self.concerns, Concerns::of(policy));
        let concerns = &self.concerns;
        let [ipv6, ipv4] = [false, true].map(|is_ipv4| concerns.mutes_more_than(&old, is_ipv4));
        // Who is muted from now on is out of what was counted. Of IPv6 it is not known whose a port is: where anybody is, all of it is.
        let used = self.rows.iter_mut().zip(&self.tags).filter(|(_, tag)| **tag != FREE);
        for (row, _) in used {
            if row.host.is_ipv4() && ipv4 {
                row.slots.retain(self.port_key, |slot| !concerns.mutes_owner(slot.owner));
            } else if row.host.is_ipv6() && ipv6 {
                row.slots.clear();
            }
        }
    }
}
