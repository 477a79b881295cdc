//! How much a policy leaves out of sight, and when that is most likely not meant.

use crate::detect::{Alerts, Policy, Rule};
use crate::text::units::write_nanos;
use ipnet::{IpNet, Ipv6Net};

/// How much a policy leaves out of sight.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ignored {
    /// The share of all addresses that are ignored as sources.
    pub sources: Share,
    /// The same of those that are muted by a name.
    pub muted: Share,
    /// Ports that are ignored, of 65,536.
    pub ports: u32,
}

/// A share of all addresses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Share {
    /// Of IPv4.
    pub ipv4: f64,
    /// Of the IPv6 addresses that are in use (2000::/3).
    pub ipv6: f64,
}

impl Share {
    /// So many times a network more.
    fn add(&mut self, network: IpNet, times: f64) {
        let in_use: Ipv6Net = "2000::/3".parse().expect("a network");
        let of = |prefix: u8| 0.5_f64.powi(prefix.into()) * times;
        match network {
            IpNet::V4(network) => self.ipv4 += of(network.prefix_len()),
            IpNet::V6(network) if network.contains(&in_use) => self.ipv6 += times,
            IpNet::V6(network) if in_use.contains(&network) => self.ipv6 += of(network.prefix_len() - 3),
            IpNet::V6(_) => {}
        }
    }

    /// By family.
    fn each(self) -> [(f64, &'static str); 2] {
        [(self.ipv4, "IPv4"), (self.ipv6, "IPv6")]
    }
}

impl Ignored {
    /// More than this is no exception any more.
    const MOST: f64 = 0.5;

    /// What this policy ignores.
    pub fn by(policy: &Policy) -> Self {
        let (mut sources, mut muted) = (Share::default(), Share::default());
        // They do not overlap.
        policy.ignored_sources.iter().for_each(|network| sources.add(*network, 1.0));
        // These do, and the smallest that holds an address says.
        let is_muted = |name| policy.names.alerts(name) == Some(Alerts::Muted);
        for (network, name) in policy.names.networks() {
            let around = network.supernet().and_then(|around| policy.names.of(around));
            muted.add(network, f64::from(is_muted(name)) - f64::from(around.is_some_and(is_muted)));
        }
        Self { sources, muted, ports: u32::try_from(policy.ignored_ports.len()).unwrap_or(u32::MAX) }
    }

    /// Warnings for the operator, under this policy: what it says is valid, and most likely not meant.
    pub fn warnings(&self, policy: &Policy) -> Vec<String> {
        // They are one list, whoever gave them.
        const SOURCES: &str = "ignored sources (ignore.sources, --ignore.source)";
        let mut warnings = Vec::new();
        for (share, family) in self.sources.each() {
            if share >= 1.0 {
                warnings.push(format!("{SOURCES} hold every {family} address: no {family} scan is seen"));
            } else if share >= Self::MOST {
                warnings.push(format!(
                    "{SOURCES} hold {:.0} % of all {family} addresses: scans from there are not seen",
                    share * 100.0
                ));
            }
        }
        for (share, family) in self.muted.each().into_iter().filter(|(share, _)| *share >= Self::MOST) {
            warnings.push(format!(
                "muted names hold {:.0} % of all {family} addresses: nobody is woken by a scan from there, and they take no part \
                 in scans by many",
                (share * 100.0).floor()
            ));
        }
        let left = 65_536_u32.saturating_sub(self.ports);
        if left < policy.threshold {
            warnings.push(format!(
                "ignore.ports leaves {left} ports, and the threshold is {}: no scan is seen",
                policy.threshold
            ));
        } else if f64::from(self.ports) > 65_536.0 * Self::MOST {
            warnings.push(format!(
                "ignore.ports holds {} of 65536 ports: scans of these are not seen",
                self.ports
            ));
        }
        for (rule, ports) in policy.behind().filter_map(|rule| by_ports(&rule).map(|ports| (rule, ports))) {
            if left < ports && policy.threshold <= left {
                warnings.push(format!(
                    "ignore.ports leaves {left} ports, and the rule of {} takes {ports}: it finds nothing",
                    write_nanos(rule.window_nanos)
                ));
            }
        }
        warnings
    }
}

/// How many ports a scan by a rule has, if it is by ports that it is one.
pub(super) fn by_ports(rule: &Rule) -> Option<u32> {
    rule.ports.filter(|_| !rule.counts_peers())
}
