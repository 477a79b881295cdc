//! What the operator calls networks: `monitoring`, `internal_scanner`. A name changes nothing of what is found, and is shown with it;
//! what it asks of alerts is published, and the alerts heed it.

use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A name of the operator for some networks: short, so that it is copied with a scan; of letters, digits and `_`, so that it is safe
/// wherever it is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    bytes: [u8; Name::MOST],
    length: u8,
}

impl Name {
    /// The most bytes of a name.
    pub const MOST: usize = 31;

    /// The name that a text is, if it can be one.
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let fits = (1..=Self::MOST).contains(&text.len()) && text.bytes().all(is_plain);
        let mut bytes = [0; Self::MOST];
        bytes.get_mut(..text.len()).filter(|_| fits)?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: text.len() as u8 })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// When alerts are for sources of a name, and not only for people who look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alerts {
    /// From so many ports on, by whichever rule; at least the threshold.
    From(u32),
    /// Never.
    Muted,
}

impl Alerts {
    /// The ports from which on alerts are for a source; muted, more than there are.
    pub const fn least_ports(self) -> u32 {
        match self {
            Alerts::From(ports) => ports,
            Alerts::Muted => (1 << 16) + 1,
        }
    }
}

/// Named networks. A source is called by the smallest of them that holds all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    named: Arc<Vec<(IpNet, Name)>>,
    /// Of names that ask for something else than the rules.
    alerts: Arc<BTreeMap<Name, Alerts>>,
    /// What those are that nobody named.
    marked: Arc<Vec<(IpNet, Name)>>,
}

impl Names {
    /// The most names: each can be the value of a label.
    pub const MOST: usize = 32;

    /// These, in any order; of the same network the first counts.
    pub fn new(mut networks: Vec<(IpNet, Name)>) -> Self {
        networks.sort_by_key(|(network, _)| Reverse(network.prefix_len()));
        Self { named: Arc::new(networks), ..Self::default() }
    }

    /// The same, with what some names ask of alerts.
    #[must_use]
    pub fn with_alerts(self, alerts: BTreeMap<Name, Alerts>) -> Self {
        Self { alerts: Arc::new(alerts), ..self }
    }

    /// What sources of this name ask of alerts; `None` is what all do.
    pub fn alerts(&self, name: Name) -> Option<Alerts> {
        self.alerts.get(&name).copied()
    }

    /// The named networks, the smallest first.
    pub fn networks(&self) -> impl Iterator<Item = (IpNet, Name)> {
        self.named.iter().copied()
    }

    /// The same, with what some addresses are that have no name; of the same address the first counts.
    #[must_use]
    pub fn with_marks(self, marks: impl Iterator<Item = (IpAddr, &'static str)>) -> Self {
        let marked = marks.filter_map(|(address, mark)| Some((IpNet::from(address), Name::new(mark)?)));
        Self { marked: Arc::new(marked.collect()), ..self }
    }

    /// What a source is called, whose network this is. A walk through all of them: for what is reported and shown, not for packets.
    pub fn of(&self, network: IpNet) -> Option<Name> {
        let mut all = self.named.iter().chain(&*self.marked);
        all.find(|(named, _)| named.contains(&network)).map(|(_, name)| *name)
    }
}

/// A count for each name that there is; they never go down, as long as there is the name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByName(BTreeMap<Name, u64>);

impl ByName {
    /// These.
    pub fn new(counts: impl IntoIterator<Item = (Name, u64)>) -> Self {
        Self(counts.into_iter().collect())
    }

    /// All at 0.
    pub(super) fn of(names: &Names) -> Self {
        Self::new(names.named.iter().map(|(_, name)| (*name, 0)))
    }

    /// There are other names: what was counted of those that stay is kept.
    pub(super) fn rename(&mut self, names: &Names) {
        let before = std::mem::replace(self, Self::of(names));
        for (name, count) in &mut self.0 {
            *count = before.0.get(name).copied().unwrap_or(0);
        }
    }

    /// One more.
    pub(super) fn count(&mut self, name: Option<Name>) {
        if let Some(count) = name.and_then(|name| self.0.get_mut(&name)) {
            *count += 1;
        }
    }

    /// Takes in what another counted.
    pub(super) fn merge(&mut self, other: &Self) {
        for (name, more) in &other.0 {
            *self.0.entry(*name).or_default() += more;
        }
    }

    /// Each name and its count.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        for good in ["a", "internal_scanner", "Prometheus2", &"x".repeat(31)] {
            assert_eq!(Name::new(good).expect(good).as_str(), good);
        }
        for bad in ["", "a b", "a-b", "a\"", "ä", "a\n", &"x".repeat(32)] {
            assert_eq!(Name::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_counted_of_a_name_stays_as_long_as_it_is_there() {
        let (a, b) = (Name::new("a"), Name::new("b"));
        let named = |name: Option<Name>| {
            Names::new(vec![("10.0.0.0/8".parse().expect("a network"), name.expect("a name"))])
        };
        let mut counts = ByName::of(&named(a));
        [a, b, None, a].into_iter().for_each(|name| counts.count(name));
        assert_eq!(counts.iter().collect::<Vec<_>>(), [("a", 2)]);
        counts.merge(&counts.clone());
        counts.rename(&named(a));
        assert_eq!(counts.iter().collect::<Vec<_>>(), [("a", 4)]);
        counts.rename(&named(b));
        assert_eq!(counts.iter().collect::<Vec<_>>(), [("b", 0)]);
    }

    #[test]
    fn who_has_no_name_is_called_by_what_it_is() {
        let inside = ("10.0.0.0/8".parse().expect("a network"), Name::new("inside").expect("a name"));
        let marks =
            [("10.0.0.1", "gateway"), ("192.0.2.1", "own"), ("192.0.2.1", "gateway"), ("2001:db8::1", "own")];
        let names = Names::new(vec![inside]).with_marks(
            marks.map(|(address, mark)| (address.parse().expect("an address"), mark)).into_iter(),
        );
        for (network, called) in [
            ("10.0.0.1/32", Some("inside")),
            ("192.0.2.1/32", Some("own")),
            ("192.0.2.2/32", None),
            // Of its network it is one address only.
            ("2001:db8::/64", None),
        ] {
            let name = names.of(network.parse().expect("a network"));
            assert_eq!(name.as_ref().map(Name::as_str), called, "{network}");
        }
    }

    #[test]
    fn the_smallest_network_that_holds_all_of_a_source_names_it() {
        let name = |text| Name::new(text).expect("a name");
        let named = [
            ("10.0.0.0/8", "inside"),
            ("10.0.0.7/32", "monitoring"),
            ("2001:db8::/32", "inside"),
            ("2001:db8::1/128", "one"),
        ];
        let names = Names::new(
            named.iter().map(|(network, of)| (network.parse().expect("a network"), name(of))).collect(),
        );
        let called =
            |source: &str| names.of(source.parse().expect("a network")).map(|name| name.as_str().to_owned());
        assert_eq!(called("10.0.0.7/32").as_deref(), Some("monitoring"));
        assert_eq!(called("10.0.0.8/32").as_deref(), Some("inside"));
        assert_eq!(called("192.0.2.7/32"), None);
        assert_eq!(called("2001:db8::/64").as_deref(), Some("inside"), "its /64 is not all that one");
        assert_eq!(called("2001:db8::1/128").as_deref(), Some("one"));
    }
}
