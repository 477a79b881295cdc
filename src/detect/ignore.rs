//! What does not count by the operator's word: pairs of a source with a port or with a host. (Lists of sources, ports and hosts are
//! in the policy itself.)
//!
//! The adversary forges the source of a pair: such a probe costs a look at each pair, hence few of them. Any other costs a search
//! among their sources.

use crate::detect::networks::Networks;
use crate::detect::probe::Probe;
use crate::detect::snapshot::Ignored;
use ipnet::IpNet;
use std::fmt;

/// Probes of a source that do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// Whose.
    pub source: IpNet,
    /// Which of them.
    pub to: PairTo,
}

/// What a source may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PairTo {
    /// Ports from the first to the last, of any host.
    Ports(u16, u16),
    /// Any port of these hosts.
    Hosts(IpNet),
}

impl Pair {
    /// Why this pair leaves a probe out, if it does.
    fn ignores(&self, probe: &Probe) -> Option<Ignored> {
        let to = match self.to {
            PairTo::Ports(first, last) => (first..=last).contains(&probe.port).then_some(Ignored::SourcePort),
            PairTo::Hosts(hosts) => hosts.contains(&probe.host).then_some(Ignored::SourceDestination),
        };
        to.filter(|_| self.source.contains(&probe.source))
    }
}

/// `198.51.100.7 to ports 9100-9110`.
impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            PairTo::Ports(first, last) if first == last => write!(f, "{} to port {first}", bare(self.source)),
            PairTo::Ports(first, last) => write!(f, "{} to ports {first}-{last}", bare(self.source)),
            PairTo::Hosts(hosts) => write!(f, "{} to {}", bare(self.source), bare(hosts)),
        }
    }
}

/// An address without the prefix that it need not have.
fn bare(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

/// Some pairs, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pairs {
    all: Vec<Pair>,
    sources: Networks,
}

impl Pairs {
    /// The most of them that a configuration may have.
    pub const MOST: usize = 100;

    /// These, in any order.
    pub fn new(mut all: Vec<Pair>) -> Self {
        all.sort_unstable();
        all.dedup();
        let sources: Vec<IpNet> = all.iter().map(|pair| pair.source).collect();
        Self { sources: Networks::new(&sources), all }
    }

    /// Why they leave a probe out, if they do.
    #[inline]
    pub fn ignores(&self, probe: &Probe) -> Option<Ignored> {
        if self.sources.is_empty() || !self.sources.contains(probe.source) {
            return None;
        }
        self.all.iter().find_map(|pair| pair.ignores(probe))
    }

    /// Each of them.
    pub fn all(&self) -> &[Pair] {
        &self.all
    }

    /// Those of a source, or of a part of it.
    pub fn of(&self, source: IpNet) -> impl Iterator<Item = &Pair> {
        let is_of_it = move |pair: &&Pair| pair.source.contains(&source) || source.contains(&pair.source);
        self.all.iter().filter(is_of_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::world::syn;

    fn network(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    #[test]
    fn a_pair_leaves_out_what_both_of_it_say_and_nothing_else() {
        let ports = |source, first, last| Pair { source: network(source), to: PairTo::Ports(first, last) };
        let hosts = |source, to| Pair { source: network(source), to: PairTo::Hosts(network(to)) };
        let pairs = Pairs::new(vec![
            ports("198.51.100.7/32", 9100, 9110),
            hosts("198.51.100.0/28", "192.0.2.10/32"),
            hosts("2001:db8::/32", "2001:db8:1::/48"),
        ]);
        let why = |source, target| pairs.ignores(&syn(source, target).at(0.0));
        assert_eq!(why("198.51.100.7", "192.0.2.11:9100"), Some(Ignored::SourcePort));
        assert_eq!(why("198.51.100.7", "192.0.2.11:9110"), Some(Ignored::SourcePort));
        assert_eq!(why("198.51.100.7", "192.0.2.11:9111"), None);
        assert_eq!(why("198.51.100.8", "192.0.2.11:9100"), None);
        assert_eq!(why("198.51.100.8", "192.0.2.10:9100"), Some(Ignored::SourceDestination));
        assert_eq!(why("198.51.100.16", "192.0.2.10:9100"), None);
        assert_eq!(why("2001:db8:9::1", "[2001:db8:1::2]:22"), Some(Ignored::SourceDestination));
        assert_eq!(why("2001:db8:9::1", "[2001:db8:2::2]:22"), None);
        assert_eq!(Pairs::default().ignores(&syn("198.51.100.7", "192.0.2.10:9100").at(0.0)), None);
        let told = |text| pairs.of(network(text)).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            told("198.51.100.7/32"),
            ["198.51.100.0/28 to 192.0.2.10", "198.51.100.7 to ports 9100-9110"]
        );
        assert_eq!(told("2001:db8:9::/64"), ["2001:db8::/32 to 2001:db8:1::/48"]);
        assert!(told("203.0.113.1/32").is_empty());
    }
}
