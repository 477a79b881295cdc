//! Who is one party: which addresses of IPv6 count together.

use ipnet::Ipv6Net;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Networks in which a source is not one of the ordinary prefix: what the operator knows beyond the standards, such as his provider's
/// NAT64.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefixes(Arc<[(Ipv6Net, u8)]>);

impl Prefixes {
    /// The most of them: each is compared with the source of every IPv6 probe.
    pub const MOST: usize = 32;

    /// Bits that a party can have; never fewer than its network.
    pub const BITS: RangeInclusive<u8> = 16..=128;

    /// Networks, and how many bits of an address there are one party's: at least as many as the network has. In any order; of the
    /// same network the first counts.
    pub fn new(networks: impl IntoIterator<Item = (Ipv6Net, u8)>) -> Self {
        let mut networks: Vec<_> = networks
            .into_iter()
            .map(|(network, bits)| (network.trunc(), bits.clamp(network.prefix_len(), *Self::BITS.end())))
            .collect();
        // The smallest network that holds an address comes first.
        networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Self(networks.into())
    }

    /// The networks and their bits, the smallest network first.
    pub fn iter(&self) -> impl Iterator<Item = &(Ipv6Net, u8)> {
        self.0.iter()
    }

    /// The smallest that holds an address: its length, and the bits of a party there.
    fn holding(&self, address: Ipv6Addr) -> Option<(u8, u8)> {
        let holds = |(network, _): &&(Ipv6Net, u8)| network.contains(&address);
        self.0.iter().find(holds).map(|(network, bits)| (network.prefix_len(), *bits))
    }
}

/// What is one party: an IPv6 network of so many bits, but for the exceptions of `party` and of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parties {
    ipv6_prefix: u8,
    prefixes: Prefixes,
}

/// The bits of an address that say whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Party {
    pub mask: u128,
    /// How long a prefix they are.
    pub prefix: u8,
    /// Whether it is an exception.
    pub is_exception: bool,
}

impl Party {
    #[inline]
    fn of_prefix(prefix: u8, is_exception: bool) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
        Self { mask, prefix: prefix.min(128), is_exception }
    }
}

/// Networks where a /64 is many parties, or a party has many of them: how long a prefix the network is, and who is one party.
///
/// | network | one party is |
/// |---|---|
/// | `::/64`: loopback, SIIT's `::ffff:0:0:0/96` (RFC 4291, 2765) | an address: an IPv4 host behind a translator |
/// | `64:ff9b::/48` and `64:ff9b:1::/48`, NAT64 (RFC 6052, 8215) | the same |
/// | `fe80::/10`, link-local (RFC 4291) | an address: a neighbour |
/// | `2002::/16`, 6to4 (RFC 3056) | a /48: the IPv4 host whose address is in it |
/// | `2001::/32`, Teredo (RFC 4380) | the client, whose IPv4 address is in the last 32 bits; it can choose those between |
///
/// The split among capture threads (`capture::fanout`) must never be finer.
#[inline]
fn by_standard(address: Ipv6Addr) -> Option<(u8, Party)> {
    let (length, prefix) = match (address.to_bits() >> 96) as u32 {
        // The address contains its client, which counts; the server and the client's ports do not.
        0x2001_0000 => {
            return Some((32, Party { mask: !0 << 96 | 0xffff_ffff, prefix: 128, is_exception: true }));
        }
        0x2002_0000..=0x2002_ffff => (16, 48),
        0x0064_ff9b if matches!(address.segments()[2], 0 | 1) => (48, 128),
        0xfe80_0000..=0xfebf_ffff => (10, 128),
        0 if address.to_bits() >> 64 == 0 => (64, 128),
        _ => return None,
    };
    Some((length, Party::of_prefix(prefix, true)))
}

impl Parties {
    /// Of so many bits, but for these.
    pub fn new(ipv6_prefix: u8, prefixes: Prefixes) -> Self {
        Self { ipv6_prefix, prefixes }
    }

    /// Of so many bits.
    pub fn of(ipv6_prefix: u8) -> Self {
        Self::new(ipv6_prefix, Prefixes::default())
    }

    /// The exceptions of the operator.
    pub fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// The same with another ordinary prefix.
    #[must_use]
    pub(super) fn by(&self, ipv6_prefix: u8) -> Self {
        Self { ipv6_prefix, prefixes: self.prefixes.clone() }
    }

    /// The ordinary prefix.
    #[inline]
    pub fn ipv6_prefix(&self) -> u8 {
        self.ipv6_prefix
    }

    /// The fewest bits of an address that one party can have.
    pub fn least_prefix(&self) -> u8 {
        self.prefixes.iter().map(|(_, bits)| *bits).fold(self.ipv6_prefix, u8::min)
    }

    /// Who has an address.
    #[inline]
    pub(super) fn party(&self, address: Ipv6Addr) -> Party {
        let by_standard = by_standard(address);
        if self.prefixes.0.is_empty() {
            return by_standard.map_or_else(|| self.ordinary(), |(_, party)| party);
        }
        self.among_prefixes(address, by_standard)
    }

    #[inline]
    fn ordinary(&self) -> Party {
        Party::of_prefix(self.ipv6_prefix, false)
    }

    #[inline(never)]
    fn among_prefixes(&self, address: Ipv6Addr, by_standard: Option<(u8, Party)>) -> Party {
        match (by_standard, self.prefixes.holding(address)) {
            // What the operator says of a network, or of a part of it, goes before the standard.
            (Some((length, _)), Some((given, bits))) if given >= length => Party::of_prefix(bits, true),
            (Some((_, party)), _) => party,
            (None, Some((_, bits))) => Party::of_prefix(bits, true),
            (None, None) => self.ordinary(),
        }
    }

    /// Whether two addresses are one party's.
    #[inline]
    pub(super) fn is_one(&self, one: Ipv6Addr, other: Ipv6Addr) -> bool {
        if one == other {
            return true;
        }
        // A network can lie in another one whose parties are larger, or that counts other bits of an address.
        let [(this, one), (that, other)] = [one, other].map(|it| (self.party(it), it.to_bits()));
        this.prefix == that.prefix && one & this.mask == other & that.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::scan::Source;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn net(text: &str) -> Ipv6Net {
        text.parse().expect("a network")
    }

    /// The slow way: all networks of the standards and of the operator; of those that hold the address the smallest, of two alike the
    /// operator's.
    fn oracle(address: Ipv6Addr, ipv6_prefix: u8, prefixes: &[(Ipv6Net, u8)]) -> (u128, u8) {
        let standard = [
            ("::/64", 128),
            ("64:ff9b::/48", 128),
            ("64:ff9b:1::/48", 128),
            ("fe80::/10", 128),
            ("2002::/16", 48),
            ("2001::/32", 0),
        ];
        let given = prefixes.iter().rev().map(|&(network, bits)| (network, bits, true));
        let all = standard.map(|(network, bits)| (net(network), bits, false)).into_iter().chain(given);
        let holding = all.filter(|(network, ..)| network.contains(&address));
        let bits = match holding.max_by_key(|(network, _, is_given)| (network.prefix_len(), *is_given)) {
            Some((_, 0, false)) => return (address.to_bits() & (0xffff_ffff << 96 | 0xffff_ffff), 128),
            Some((_, bits, _)) => bits,
            None => ipv6_prefix,
        };
        (Ipv6Net::new(address, bits).expect("bits").network().to_bits(), bits)
    }

    /// Addresses in and around the networks of the standards, and near one another.
    fn address() -> impl Strategy<Value = Ipv6Addr> {
        let begins = prop::sample::select(vec![
            "::",
            "0:0:1::",
            "64:ff9b::",
            "64:ff9b:1::",
            "64:ff9b:2::",
            "fe80::",
            "fec0::",
            "2002:c633:6407::",
            "2001::",
            "2001:1::",
            "2001:db8::",
            "2001:db8:0:8000::",
            "2001:db8:8000::",
            "2a00::",
            "ffff::",
        ]);
        (begins, any::<u128>(), 0..128_u32).prop_map(|(begin, noise, flip)| {
            let begin: Ipv6Addr = begin.parse().expect("an address");
            // Few bits differ, so that many are of one party.
            let noise = noise & (noise >> 1).rotate_left(flip) & 0x1_0001_0003_0003_0001_0003_0001_0003;
            Ipv6Addr::from_bits(begin.to_bits() ^ noise ^ ((noise & 1) << flip))
        })
    }

    fn prefixes() -> impl Strategy<Value = Vec<(Ipv6Net, u8)>> {
        let one = (address(), 0..=128_u8, any::<u8>()).prop_map(|(address, length, bits)| {
            let bits = length.max(16) + bits % (129 - length.max(16));
            (Ipv6Net::new(address, length).expect("a length").trunc(), bits)
        });
        prop::collection::vec(one, 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Whatever networks there are, also one in another: a source is that of the smallest; two addresses are one source exactly if
        /// they have one; and they agree in the bits by which threads share.
        #[test]
        fn a_source_is_what_the_smallest_network_says(
            ipv6_prefix in 16..=128_u8,
            prefixes in prefixes(),
            addresses in prop::collection::vec(address(), 2..12),
        ) {
            let parties = Parties::new(ipv6_prefix, Prefixes::new(prefixes.clone()));
            let source = |address: Ipv6Addr| Source::by(IpAddr::V6(address), &parties);
            let is_by_standard = |address| by_standard(address).is_some();
            for &one in &addresses {
                let (bits, prefix) = oracle(one, ipv6_prefix, &prefixes);
                prop_assert_eq!(source(one), Source { address: Ipv6Addr::from_bits(bits).into(), prefix });
                for &other in &addresses {
                    let is_one = source(one) == source(other);
                    prop_assert_eq!(Source::is_one(one.into(), other.into(), &parties), is_one, "{} {}", one, other);
                    if is_one && !is_by_standard(one) {
                        let shared = Party::of_prefix(parties.least_prefix(), false).mask;
                        prop_assert_eq!((one.to_bits() ^ other.to_bits()) & shared, 0);
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_operator_says_goes_before_the_standard_in_that_network_only() {
        let given = [("2001:db8:64::/96", 128), ("2002::/16", 64), ("2000::/3", 56), ("fe80::1:0/112", 120)];
        let parties = Parties::new(64, Prefixes::new(given.map(|(network, bits)| (net(network), bits))));
        for (address, expected) in [
            ("2001:db8:64::198.51.100.7", "2001:db8:64::c633:6407"),
            ("2001:db8:64:0:1::7", "2001:db8:64::/56"),
            ("2002:c633:6407:1::7", "2002:c633:6407:1::/64"),
            ("2001:0:cb00:7107:8000:63bf:39cc:9bf8", "2001::39cc:9bf8"),
            ("fe80::1:7", "fe80::1:0/120"),
            ("fe80::7", "fe80::7"),
            ("fd00::7", "fd00::/64"),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(Source::by(address, &parties).to_string(), expected);
        }
        assert_eq!(parties.least_prefix(), 56);
    }
}
