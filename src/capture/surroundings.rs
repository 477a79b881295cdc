//! Whom this host needs: its gateways and resolvers. Their addresses are the first that somebody forges who wants them banned.

use super::interfaces::{gateways, own_addresses};
use std::io::Read as _;
use std::net::IpAddr;

/// The most addresses of each kind: a router can have very many.
const MOST: usize = 256;

/// The most that is read of a list of resolvers.
const MOST_BYTES: u64 = 64 << 10;

/// Where the resolvers are listed; by systemd-resolved behind the first, which then names only itself.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Addresses around this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Surroundings {
    own: Vec<IpAddr>,
    gateways: Vec<IpAddr>,
    resolvers: Vec<IpAddr>,
}

impl Surroundings {
    /// What is to be read for it later.
    pub(crate) const READ: [&str; 2] = RESOLVERS;

    /// Looks about, at the start and at each reload. What cannot be read any more stays as it was.
    pub(crate) fn look(&mut self) {
        if let Some(own) = own_addresses() {
            self.own = own;
        }
        self.gateways = gateways();
        let read = RESOLVERS.into_iter().filter_map(|path| Some(resolvers(&read(path)?)));
        if let Some(resolvers) = read.reduce(|first, behind| if are_remote(&first) { first } else { behind })
        {
            self.resolvers = resolvers;
        }
        for addresses in [&mut self.own, &mut self.gateways, &mut self.resolvers] {
            addresses.truncate(MOST);
        }
    }

    /// Each address with what it is. One that is several things comes first as what it is first of all.
    pub(crate) fn each(&self) -> impl Iterator<Item = (IpAddr, &'static str)> {
        let kinds = [(&self.own, "own"), (&self.gateways, "gateway"), (&self.resolvers, "resolver")];
        kinds.into_iter().flat_map(|(addresses, kind)| addresses.iter().map(move |&address| (address, kind)))
    }
}

fn read(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn are_remote(resolvers: &[IpAddr]) -> bool {
    resolvers.iter().any(|resolver| !resolver.is_loopback())
}

/// The addresses in a resolv.conf(5): `nameserver 192.0.2.53`, of IPv6 also `fe80::1%eth0`.
fn resolvers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.split('%').next()?.parse().ok()
    });
    servers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_found_among_other_lines() {
        let text = "# nameserver 203.0.113.1\nsearch example.org\nnameserver 192.0.2.53\n nameserver\tfe80::1%eth0 # x\n\
                    nameserver nowhere\nnameserver\noptions edns0\n";
        let found = resolvers(text);
        assert_eq!(found, ["192.0.2.53", "fe80::1"].map(|address| address.parse::<IpAddr>().unwrap()));
        assert!(are_remote(&found) && !are_remote(&resolvers("nameserver 127.0.0.53\nnameserver ::1\n")));
    }

    #[test]
    fn what_is_several_things_is_first_of_all_itself() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let around = Surroundings { own: vec![address], gateways: vec![address], resolvers: vec![address] };
        assert_eq!(around.each().next(), Some((address, "own")));
    }
}
