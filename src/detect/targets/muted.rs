//! Sources that are muted (`names`) take no part in scans by many. Such a scan has no source by which its alert could be kept quiet, so it
//! must be one without them.
//!
//! The adversary forges the addresses that are muted, and each of his packets is looked up here. So the networks are made into a list in
//! which a step halves what is left.

use crate::detect::names::{Alerts, Names};
use crate::detect::party::Parties;
use crate::detect::scan::Source;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which sources are muted.
#[derive(Debug, Clone, Default)]
pub(super) struct Muted {
    /// From each address on, up to the next, whether they are. Ascending; empty where nobody is.
    from: Vec<(IpAddr, bool)>,
}

/// The address behind the last one of a network, if there is any.
fn behind(last: IpAddr) -> Option<IpAddr> {
    match last {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

impl Muted {
    /// Those by these names.
    pub(super) fn of(names: &Names, parties: &Parties) -> Self {
        let is_muted = |name| names.alerts(name) == Some(Alerts::Muted);
        if !names.networks().any(|(_, name)| is_muted(name)) {
            return Self::default();
        }
        let edges = names.networks().flat_map(|(network, _)| {
            [Some(network.network()), behind(network.broadcast())].into_iter().flatten()
        });
        let mut edges: Vec<IpAddr> = edges.collect();
        edges.sort_unstable();
        edges.dedup();
        let of = |address| names.of(Source::by(address, parties).network()).is_some_and(is_muted);
        Self { from: edges.into_iter().map(|edge| (edge, of(edge))).collect() }
    }

    /// Whether nobody is.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    /// Whether somebody of a family is who was not by another list. Between the edges of both nothing changes.
    pub(super) fn adds_to(&self, old: &Self, is_ipv4: bool) -> bool {
        let edges = self.from.iter().chain(&old.from).map(|(edge, _)| *edge);
        edges.filter(|edge| edge.is_ipv4() == is_ipv4).any(|edge| self.contains(edge) && !old.contains(edge))
    }

    /// Whether a source is, by its address.
    #[inline]
    pub(super) fn contains(&self, source: IpAddr) -> bool {
        let at = self.from.partition_point(|(edge, _)| *edge <= source);
        let before = at.checked_sub(1).and_then(|at| self.from.get(at));
        before.is_some_and(|&(edge, is_muted)| is_muted && edge.is_ipv4() == source.is_ipv4())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::names::Name;
    use std::collections::BTreeMap;

    #[test]
    fn the_smallest_network_that_holds_all_of_a_source_says() {
        let name = |text| Name::new(text).unwrap();
        let named = [
            ("10.0.0.0/8", "muted"),
            ("10.1.0.0/16", "office"),
            ("10.1.2.0/24", "muted"),
            ("255.255.255.0/24", "muted"),
            ("2001:db8::/32", "muted"),
            ("2001:db8:1::/48", "office"),
            ("2001:db8:2::7/128", "office"),
        ];
        let networks = named.map(|(network, text)| (network.parse().unwrap(), name(text))).to_vec();
        let names = Names::new(networks).with_alerts(BTreeMap::from([(name("muted"), Alerts::Muted)]));
        let parties = Parties::new(64, Default::default());
        let muted = Muted::of(&names, &parties);
        for (address, is_muted) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.1.0.0", false),
            ("10.1.1.255", false),
            ("10.1.2.3", true),
            ("10.1.3.0", false),
            ("10.2.0.0", true),
            ("11.0.0.0", false),
            ("255.255.255.255", true),
            ("::", false),
            ("2001:db8::", true),
            ("2001:db8:1:7::", false),
            ("2001:db8:2::", true),
            ("2001:db8:2:1::", true),
            ("2001:db9::", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(muted.contains(address), is_muted, "{address}");
            let of = names.of(Source::by(address, &parties).network()).and_then(|name| names.alerts(name));
            assert_eq!(of == Some(Alerts::Muted), is_muted, "{address}");
        }
        assert!(!Muted::of(&Names::default(), &parties).contains(Ipv4Addr::LOCALHOST.into()));
    }
}
