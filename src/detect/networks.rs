//! Networks, sorted and searched: to ask whether an address is in one of a thousand takes ten looks.

use ipnet::IpNet;
use std::net::IpAddr;

/// Some networks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// These, in any order; they may overlap.
    pub fn new(networks: &[IpNet]) -> Self {
        let mut joined = IpNet::aggregate(&networks.to_vec());
        joined.sort();
        Self(joined)
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in order; none holds another.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }

    /// The one that holds all of a network.
    pub fn holding(&self, network: IpNet) -> Option<IpNet> {
        let behind = self.0.partition_point(|one| one.network() <= network.network());
        let nearest = self.0[..behind].last().copied();
        nearest.filter(|nearest| nearest.contains(&network))
    }

    /// Whether an address is in one of them.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        let behind = self.0.partition_point(|network| network.network() <= address);
        behind > 0 && self.0[behind - 1].contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_what_a_walk_finds() {
        let networks = ["192.0.2.0/25", "192.0.2.64/26", "198.51.100.7/32", "2001:db8::/32", "10.0.0.0/8"]
            .map(|network| network.parse::<IpNet>().expect("a network"));
        let searched = Networks::new(&networks);
        for address in [
            "9.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "11.0.0.0",
            "192.0.1.255",
            "192.0.2.0",
            "192.0.2.127",
            "192.0.2.128",
            "198.51.100.6",
            "198.51.100.7",
            "198.51.100.8",
            "255.255.255.255",
            "::",
            "2001:db7::",
            "2001:db8::",
            "2001:db8:ffff::1",
            "2001:db9::",
        ]
        .map(|address| address.parse::<IpAddr>().expect("an address"))
        {
            let walked = networks.iter().any(|network| network.contains(&address));
            assert_eq!(searched.contains(address), walked, "{address}");
        }
        assert!(Networks::default().is_empty() && !Networks::default().contains([10, 0, 0, 1].into()));
    }
}
