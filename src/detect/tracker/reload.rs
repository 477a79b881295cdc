//! Another rule, or other tables, for a tracker that is at work.

use super::Tracker;
use super::admission::{pace, patience};
use crate::detect::party::Parties;
use crate::detect::rule::{Policy, Rule};
use crate::detect::scan::Source;
use crate::detect::sink::EventSink;
use crate::detect::snapshot::{Evicted, Withdrawn};

impl Tracker {
    /// Takes a new rule. A new window or aggregation empties the table: open scans are reported as ended.
    pub(crate) fn reload(&mut self, rule: Rule, policy: &Policy, sink: &mut EventSink<'_>) {
        let is_other = rule.window_nanos != self.rows.rule.window_nanos || policy.parties != self.rows.parts;
        if is_other {
            self.empty(sink);
        }
        self.take_rule(rule, &policy.parties);
        self.rows.home = policy.home.clone();
        self.rows.call_by(&policy.names, &policy.databases);
        if is_other {
            self.start_over(sink.now());
        }
    }

    /// Takes the rule of another tracker, and its tables in place of its own, which are emptied: open scans are reported as
    /// ended. `other` has seen nothing yet, and may have another hold.
    pub(crate) fn resize(&mut self, other: Self, sink: &mut EventSink<'_>) {
        self.empty(sink);
        if self.limits.hold_nanos != other.limits.hold_nanos {
            self.rows.set_hold(other.limits.hold_nanos);
        }
        self.limits = other.limits;
        self.rows.min_ports = self.limits.min_ports;
        self.take_rule(other.rows.rule, &other.rows.parts);
        self.rows.home = other.rows.home.clone();
        self.rows.call_by(&other.rows.names, &other.rows.databases);
        // Places follow from the hash, so its keys come with them.
        (self.hasher, self.directory) = (other.hasher, other.directory);
        (self.free, self.capacity, self.queue) = (other.free, other.capacity, other.queue);
        self.plan = other.plan;
        self.rows.take_memory(other.rows);
        self.start_over(sink.now());
    }

    /// Its rule is gone: open scans are reported as ended.
    pub(crate) fn close(&mut self, sink: &mut EventSink<'_>) {
        self.empty(sink);
    }

    /// Its rule is new: counts from now on, what it gets with the hashes of another.
    pub(crate) fn open(&mut self, other: &Self, sink: &mut EventSink<'_>) {
        self.hasher = other.hasher.clone();
        self.start_over(sink.now());
    }

    fn take_rule(&mut self, rule: Rule, parties: &Parties) {
        (self.pace, self.patience) = (pace(&rule), patience(&rule));
        self.rows.rule = rule;
        (self.rows.parties, self.rows.parts) =
            (parties.by(rule.prefix(parties.ipv6_prefix())), parties.clone());
        // By another threshold others have nothing left to report.
        self.swept_epoch = None;
    }

    /// Gives up every source.
    fn empty(&mut self, sink: &mut EventSink<'_>) {
        for row in 0..self.rows.len() as u32 {
            if self.rows.row(row).is_used {
                self.count_evicted(Evicted::Reload);
                self.vacate(row, sink);
                self.free.push(row);
            }
        }
        self.rows.counters.evicted[Evicted::Reload as usize] += self.directory.on_probation();
        self.directory.sweep(self.rows.present.stamp, true, |_| {});
        self.retired.clear();
    }

    /// Gives up the sources that the policy ignores from now on, with their peaks: an open scan is reported as ended.
    pub(crate) fn withdraw(&mut self, policy: &Policy, gone: &mut Withdrawn, sink: &mut EventSink<'_>) {
        let is_ignored = |source: Source| policy.ignored_sources.holding(source.network()).is_some();
        let mut rows = Vec::new();
        for at in 0..self.rows.len() as u32 {
            let row = self.rows.row(at);
            if row.is_used && is_ignored(self.rows.source(row)) {
                rows.push((self.rows.source(row), row.class(), at));
            }
        }
        // By source, whatever the hash: so are the events.
        rows.sort_unstable();
        for (source, _, row) in rows {
            gone.scans += u64::from(self.rows.row(row).episode.is_open());
            gone.sources.push(source);
            self.count_evicted(Evicted::Reload);
            self.rows.end(row, sink);
            self.directory.clear(self.rows.row(row).slot as usize);
            self.rows.free(row);
            self.free.push(row);
        }
        self.retired.withdraw(is_ignored, |source| gone.sources.push(source));
        if let Some(few_hosts) = &mut self.few_hosts {
            few_hosts.withdraw(|address| policy.ignores_source(address));
        }
    }

    /// Nothing is kept any more: counts in the units of the rule from now on.
    pub(super) fn start_over(&mut self, now: u64) {
        self.rows.present.set_window(self.rows.rule.window_nanos, now);
        (self.swept, self.swept_epoch) = (self.rows.present.quantum, None);
        self.queue.suspend();
    }
}
