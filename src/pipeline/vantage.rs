//! Where a capture stands, and so which sources it cannot see: the host's connections to itself are nobody's scan, and a source
//! that no packet can come from (RFC 1812, 5.3.7: a martian) names nobody.

use crate::detect::Ignored;
use crate::packet::LinkType;
use std::net::{IpAddr, Ipv4Addr};

/// Where packets were captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// Anywhere: a file names neither the place nor the host's addresses, and a capture of both directions is meant to have the
    /// host's own connections.
    #[default]
    Anywhere,
    /// On a link to other hosts, only what arrives.
    Link,
    /// On `lo`, where only this host can put packets.
    Loopback,
    /// On `any`, only what arrives: links to other hosts and `lo`.
    Any,
}

/// The most own addresses that are kept; packets that forge one beyond are seen as anybody's.
const MOST_ADDRESSES: usize = 4_096;

/// `ARPHRD_LOOPBACK` of linux/if_arp.h: what a cooked header calls `lo`.
const LOOPBACK: [u8; 2] = 772_u16.to_be_bytes();

/// A place, and the addresses that are this host's own there.
#[derive(Debug, Clone, Default)]
pub struct Vantage {
    place: Place,
    /// Sorted.
    own_ipv4: Vec<Ipv4Addr>,
    own_ipv6: Vec<u128>,
}

impl Vantage {
    /// A place whose own addresses are not known yet.
    pub fn of(place: Place) -> Self {
        Self { place, ..Self::default() }
    }

    /// Whether it makes a difference what the host's own addresses are.
    pub(crate) fn needs_addresses(&self) -> bool {
        matches!(self.place, Place::Link | Place::Any)
    }

    /// These are the host's own addresses now; broadcast addresses of its networks are as impossible as a source.
    pub(crate) fn set_addresses(&mut self, addresses: &[IpAddr]) {
        self.own_ipv4.clear();
        self.own_ipv6.clear();
        for address in addresses.iter().take(MOST_ADDRESSES) {
            match address {
                IpAddr::V4(address) => self.own_ipv4.push(*address),
                IpAddr::V6(address) => self.own_ipv6.push(address.to_bits()),
            }
        }
        self.own_ipv4.sort_unstable();
        self.own_ipv6.sort_unstable();
    }

    /// Why a probe from this source says nothing of a scanner, if it does not.
    #[inline]
    pub fn judge(&self, link: LinkType, frame: &[u8], source: IpAddr) -> Option<Ignored> {
        // Nearly every source of a file.
        if self.place == Place::Anywhere && !is_impossible(source) {
            return None;
        }
        self.look(link, frame, source)
    }

    #[inline(never)]
    fn look(&self, link: LinkType, frame: &[u8], source: IpAddr) -> Option<Ignored> {
        let on_loopback = match self.place {
            Place::Loopback => true,
            Place::Any => came_over_loopback(link, frame),
            Place::Anywhere | Place::Link => false,
        };
        if on_loopback {
            return Some(Ignored::Own);
        }
        let forged = self.place != Place::Anywhere && (is_loopback(source) || self.is_own(source));
        (forged || is_impossible(source)).then_some(Ignored::Martian)
    }

    /// Why probes from this source say nothing of a scanner, wherever their frames came in. On `any` what has this host's own
    /// address came over `lo`, or is forged.
    pub fn explain(&self, source: IpAddr) -> Option<Ignored> {
        let own = self.place != Place::Anywhere && (is_loopback(source) || self.is_own(source));
        match self.place {
            Place::Loopback => Some(Ignored::Own),
            Place::Any if own => Some(Ignored::Own),
            _ => (own || is_impossible(source)).then_some(Ignored::Martian),
        }
    }

    fn is_own(&self, source: IpAddr) -> bool {
        match source {
            IpAddr::V4(address) => self.own_ipv4.binary_search(&address).is_ok(),
            IpAddr::V6(address) => self.own_ipv6.binary_search(&address.to_bits()).is_ok(),
        }
    }
}

/// On `any`, the kind of the interface that a frame came in by is in its cooked header.
fn came_over_loopback(link: LinkType, frame: &[u8]) -> bool {
    let kind = match link {
        LinkType::LinuxSll => frame.get(2..4),
        LinkType::LinuxSll2 => frame.get(8..10),
        _ => None,
    };
    kind.is_some_and(|kind| kind == LOOPBACK)
}

/// What no packet comes from, wherever it is seen, and what Linux drops: 0.0.0.0/8, multicast, the broadcast address; `::`,
/// multicast, and IPv4 addresses in IPv6's clothes (::ffff:0:0/96).
#[inline]
fn is_impossible(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            first == 0 || first >= 224 && (first < 240 || address.is_broadcast())
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            bits >> 120 == 0xff || bits == 0 || bits >> 32 == 0xffff
        }
    }
}

/// What is only on `lo`. In a file it may be all there is: `lo` looks like any other link there.
fn is_loopback(source: IpAddr) -> bool {
    source.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(vantage: &Vantage, source: &str) -> Option<Ignored> {
        vantage.judge(LinkType::Ethernet, &[], source.parse().unwrap())
    }

    /// An address each that is the host's own, of `lo`, somebody's, and nobody's; and twice in IPv6.
    const ADDRESSES: [&str; 4] = ["192.0.2.10", "127.0.0.1", "198.51.100.7", "0.1.2.3"];
    const ADDRESSES_V6: [&str; 4] = ["2001:db8::10", "::1", "2001:db8:7::1", "ff02::1"];

    fn here(place: Place) -> Vantage {
        let mut vantage = Vantage::of(place);
        vantage.set_addresses(&["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()]);
        vantage
    }

    #[test]
    fn what_cannot_be_depends_on_where_one_stands() {
        let (own, martian) = (Some(Ignored::Own), Some(Ignored::Martian));
        for addresses in [ADDRESSES, ADDRESSES_V6] {
            let seen = |place| addresses.map(|source| judge(&here(place), source));
            assert_eq!(seen(Place::Anywhere), [None, None, None, martian]);
            assert_eq!(seen(Place::Link), [martian, martian, None, martian]);
            assert_eq!(seen(Place::Loopback), [own; 4]);
        }
    }

    #[test]
    fn on_any_the_cooked_header_tells_what_came_over_loopback() {
        let any = here(Place::Any);
        for (link, kind_at, length) in [(LinkType::LinuxSll, 2, 16), (LinkType::LinuxSll2, 8, 20)] {
            let mut frame = vec![0; length];
            let judge = |frame: &[u8], source: &str| any.judge(link, frame, source.parse().unwrap());
            frame[kind_at + 1] = 1;
            for addresses in [ADDRESSES, ADDRESSES_V6] {
                let seen = addresses.map(|source| judge(&frame, source));
                let martian = Some(Ignored::Martian);
                assert_eq!(seen, [martian, martian, None, martian], "over Ethernet");
            }
            frame[kind_at..kind_at + 2].copy_from_slice(&[3, 4]);
            assert_eq!(judge(&frame, "192.0.2.10"), Some(Ignored::Own), "over lo");
            assert_eq!(judge(&[], "198.51.100.7"), None, "however short");
        }
    }

    #[test]
    fn what_is_explained_is_what_is_judged() {
        for addresses in [ADDRESSES, ADDRESSES_V6] {
            for place in [Place::Anywhere, Place::Link, Place::Loopback] {
                let vantage = here(place);
                let told = addresses.map(|source| vantage.explain(source.parse().unwrap()));
                assert_eq!(told, addresses.map(|source| judge(&vantage, source)), "{place:?}");
            }
            let told = addresses.map(|source| here(Place::Any).explain(source.parse().unwrap()));
            let (own, martian) = (Some(Ignored::Own), Some(Ignored::Martian));
            assert_eq!(told, [own, own, None, martian], "without a frame whose interface is known");
        }
    }

    #[test]
    fn nobodys_addresses_are_impossible_everywhere() {
        let file = Vantage::default();
        for source in [
            "0.0.0.0",
            "0.255.255.255",
            "224.0.0.1",
            "239.9.9.9",
            "255.255.255.255",
            "::",
            "ff05::2",
            "::ffff:192.0.2.1",
        ] {
            assert_eq!(judge(&file, source), Some(Ignored::Martian), "{source}");
        }
        // Old rules call 240.0.0.0/4 impossible; Linux takes it, and networks use it.
        for source in
            ["1.0.0.0", "127.0.0.1", "223.255.255.255", "240.0.0.1", "255.255.255.254", "::1", "fe80::1"]
        {
            assert_eq!(judge(&file, source), None, "{source}");
        }
    }

    #[test]
    fn addresses_may_change() {
        let mut link = here(Place::Link);
        link.set_addresses(&["192.0.2.11".parse().unwrap()]);
        assert_eq!(judge(&link, "192.0.2.10"), None);
        assert_eq!(judge(&link, "192.0.2.11"), Some(Ignored::Martian));
    }
}
