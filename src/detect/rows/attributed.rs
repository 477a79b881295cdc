//! What scans that are open were called when a reload gave their sources other names, or read other databases.

use super::Rows;
use crate::detect::names::{Name, Names};
use crate::detect::provenance::{Databases, Provenance};
use crate::detect::row::Row;
use crate::detect::tuning::ATTRIBUTED;
use std::collections::BTreeMap;

/// By row.
#[derive(Debug, Default)]
pub(super) struct Attributed(BTreeMap<u32, (Option<Name>, Provenance)>);

impl Rows {
    /// What the source of a row is called, and what else is known of its address: of an open scan, as it was when that began.
    pub(super) fn attribution(&self, at: u32, row: &Row) -> (Option<Name>, Provenance) {
        let kept = self.attributed.0.get(&at).copied();
        kept.unwrap_or_else(|| (self.names.of(self.source(row).network()), self.databases.of(row.address)))
    }

    /// The scan of a row is over.
    pub(super) fn forget_attribution(&mut self, at: u32) {
        self.attributed.0.remove(&at);
    }

    /// From now on other names and databases are in force, for scans that begin now. Those that are open keep theirs, `ATTRIBUTED` of
    /// them: the adversary can have as many open as there are rows.
    pub(crate) fn call_by(&mut self, names: &Names, databases: &Databases) {
        let open = self.used().filter(|(_, row)| row.episode.is_open()).take(ATTRIBUTED);
        let before: Vec<_> = open.map(|(at, row)| (at, self.attribution(at, row))).collect();
        self.attributed.0.clear();
        self.names = names.clone();
        self.named_hits.rename(names);
        self.databases = databases.clone();
        for (at, earlier) in before {
            if self.attribution(at, self.row(at)) != earlier {
                self.attributed.0.insert(at, earlier);
            }
        }
    }
}
