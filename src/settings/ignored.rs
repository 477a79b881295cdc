//! How much a policy leaves out of sight, and when that is most likely not meant.

use crate::detect::Policy;
use ipnet::{IpNet, Ipv6Net};

/// How much a policy leaves out of sight.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ignored {
    /// The share of all IPv4 addresses that are ignored as sources.
    pub ipv4: f64,
    /// The same of the IPv6 addresses that are in use (2000::/3).
    pub ipv6: f64,
    /// Ports that are ignored, of 65,536.
    pub ports: u32,
}

impl Ignored {
    /// More than this is no exception any more.
    const MOST: f64 = 0.5;

    /// What this policy ignores.
    pub fn by(policy: &Policy) -> Self {
        let in_use: Ipv6Net = "2000::/3".parse().expect("a network");
        let (mut ipv4, mut ipv6) = (0.0, 0.0);
        // They do not overlap.
        for network in policy.ignored_sources.iter() {
            let share = |prefix: u8| 0.5_f64.powi(prefix.into());
            match network {
                IpNet::V4(network) => ipv4 += share(network.prefix_len()),
                IpNet::V6(network) if network.contains(&in_use) => ipv6 = 1.0,
                IpNet::V6(network) if in_use.contains(network) => ipv6 += share(network.prefix_len() - 3),
                IpNet::V6(_) => {}
            }
        }
        Self { ipv4, ipv6, ports: u32::try_from(policy.ignored_ports.len()).unwrap_or(u32::MAX) }
    }

    /// Warnings for the operator, under this threshold: the lists are valid, and most likely not meant.
    pub fn warnings(&self, threshold: u32) -> Vec<String> {
        // They are one list, whoever gave them.
        const SOURCES: &str = "ignored sources (ignore.sources, --ignore.source)";
        let mut warnings = Vec::new();
        for (share, family) in [(self.ipv4, "IPv4"), (self.ipv6, "IPv6")] {
            if share >= 1.0 {
                warnings.push(format!("{SOURCES} hold every {family} address: no {family} scan is seen"));
            } else if share >= Self::MOST {
                warnings.push(format!(
                    "{SOURCES} hold {:.0} % of all {family} addresses: scans from there are not seen",
                    share * 100.0
                ));
            }
        }
        let left = 65_536_u32.saturating_sub(self.ports);
        if left < threshold {
            warnings.push(format!(
                "ignore.ports leaves {left} ports, and the threshold is {threshold}: no scan is seen"
            ));
        } else if f64::from(self.ports) > 65_536.0 * Self::MOST {
            warnings.push(format!(
                "ignore.ports holds {} of 65536 ports: scans of these are not seen",
                self.ports
            ));
        }
        warnings
    }
}
