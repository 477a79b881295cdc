//! `names` of the configuration file: what networks are called, and from how many ports on alerts are for them.

use super::syntax::{Located, MAX_NETWORKS};
use crate::detect::{Alerts, Name, Names};
use crate::text::yaml::{Scalar, Spanned};
use ipnet::IpNet;
use serde::de::{
    self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};
use std::collections::BTreeMap;
use std::fmt;

/// There are no more ports.
const MOST_PORTS: u32 = 1 << 16;

/// As written, but for a threshold that only the whole configuration can judge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// In the order of the file.
    networks: Vec<(Located<IpNet>, Name)>,
    thresholds: BTreeMap<Name, Located<u32>>,
    muted: Vec<Name>,
}

impl Named {
    /// The names, under this threshold, or the line that is wrong and why: nothing less is a scan, so an alert for less would have
    /// neither a hit nor a record.
    pub(super) fn judged(self, least: u32) -> Result<Names, (u64, String)> {
        let mut alerts: BTreeMap<Name, Alerts> =
            self.muted.into_iter().map(|name| (name, Alerts::Muted)).collect();
        for (name, Located { value, line }) in self.thresholds {
            if !(least..=MOST_PORTS).contains(&value) {
                let why = format!(
                    "the threshold of {} must be from detection.threshold ({least}) to {MOST_PORTS}, not {value}",
                    name.as_str()
                );
                return Err((line, why));
            }
            alerts.insert(name, Alerts::From(value));
        }
        let mut known = BTreeMap::new();
        for (network, name) in &self.networks {
            if let Some((line, other)) = known.insert(network.value, (network.line, *name)) {
                return Err((network.line, twice(network.value, (line, other), *name)));
            }
        }
        let networks = self.networks.into_iter().map(|(network, name)| (network.value, name)).collect();
        Ok(Names::new(networks).with_alerts(alerts))
    }
}

/// What is wrong with a network that has a name already, from another line.
fn twice(network: IpNet, (line, known): (u64, Name), name: Name) -> String {
    if known == name {
        format!("{network} is given twice (first on line {line})")
    } else {
        format!("{network} is called {} (line {line}), and {} as well", known.as_str(), name.as_str())
    }
}

/// What stands behind a name: a list of networks, or a mapping with them.
#[derive(Default)]
struct Called {
    networks: Vec<Spanned<Scalar<IpNet>>>,
    threshold: Option<Located<u32>>,
    mute: bool,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapping {
    networks: Vec<Spanned<Scalar<IpNet>>>,
    #[serde(default)]
    threshold: Option<Spanned<Scalar<u32>>>,
    #[serde(default)]
    mute: bool,
}

impl<'de> Deserialize<'de> for Called {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Called;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a list of networks, or {networks: […], threshold: PORTS} or {networks: […], mute: true}",
                )
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Called, A::Error> {
                let mut called = Called::default();
                while let Some(network) = list.next_element()? {
                    called.networks.push(network);
                }
                Ok(called)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Called, A::Error> {
                let Mapping { networks, threshold, mute } =
                    Mapping::deserialize(MapAccessDeserializer::new(map))?;
                if mute && threshold.is_some() {
                    return Err(de::Error::custom("a name is muted, or it has a threshold"));
                }
                if networks.is_empty() && (mute || threshold.is_some()) {
                    return Err(de::Error::custom(
                        "a name without networks is nobody's: there is no alert to change",
                    ));
                }
                let threshold = threshold.map(|at| Located { line: at.referenced.line(), value: at.value.0 });
                Ok(Called { networks, threshold, mute })
            }
        }

        from.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = BTreeMap::<Scalar<Name>, Called>::deserialize(from)?;
        let mut named = Self::default();
        let names = written.len();
        for (Scalar(name), called) in written {
            let networks = called.networks.into_iter();
            named
                .networks
                .extend(networks.map(|it| (Located { line: it.referenced.line(), value: it.value.0 }, name)));
            named.thresholds.extend(called.threshold.map(|threshold| (name, threshold)));
            named.muted.extend(called.mute.then_some(name));
        }
        named.networks.sort_by_key(|(network, _)| network.line);
        let networks = named.networks.len();
        if names > Names::MOST || networks > MAX_NETWORKS {
            return Err(de::Error::custom(format!(
                "{names} names for {networks} networks; at most {} for {MAX_NETWORKS}",
                Names::MOST
            )));
        }
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Result<Names, String> {
        let named: Option<Named> = crate::text::yaml::parse(text).map_err(|(_, what)| what)?;
        named.unwrap_or_default().judged(20).map_err(|(line, what)| format!("line {line}: {what}"))
    }

    #[test]
    fn a_name_has_networks_and_may_have_a_threshold_or_none() {
        let all = named(
            "plain: [192.0.2.0/24]\noffice: {networks: [198.51.100.0/24], threshold: 100}\n\
             scanner:\n  networks: [192.0.2.7]\n  mute: true\nloud: {networks: [192.0.2.8], mute: false}\n",
        )
        .expect("names");
        for (source, called, alerts) in [
            ("192.0.2.1/32", "plain", None),
            ("198.51.100.1/32", "office", Some(Alerts::From(100))),
            ("192.0.2.7/32", "scanner", Some(Alerts::Muted)),
            ("192.0.2.8/32", "loud", None),
        ] {
            let name = all.of(source.parse().expect("a network")).expect(source);
            assert_eq!((name.as_str(), all.alerts(name)), (called, alerts), "{source}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, why) in [
            (
                "a: {networks: [192.0.2.0/24], threshold: 19}",
                "line 1: the threshold of a must be from detection.threshold (20) to 65536, not 19",
            ),
            ("a:\n  networks: [192.0.2.0/24]\n  threshold: 65537\n", "line 3: the threshold of a must be"),
            (
                "a: {networks: [192.0.2.0/24], threshold: 30, mute: true}",
                "a name is muted, or it has a threshold",
            ),
            (
                "a: {networks: [192.0.2.0/24], thresholds: 30}",
                "unknown key \"thresholds\" (known: networks, threshold, mute)",
            ),
            ("a: {threshold: 30}", "missing field `networks`"),
            ("a: 192.0.2.0/24", "expected a list of networks, or {networks"),
            (
                "b: {networks: [192.0.2.0/24]}\na:\n  - 192.0.2.0/24\n",
                "line 3: 192.0.2.0/24 is called b (line 1), and a as well",
            ),
            ("a: [192.0.2.1,\n  192.0.2.1]", "line 2: 192.0.2.1/32 is given twice (first on line 1)"),
            ("a: {networks: [], mute: true}", "a name without networks is nobody's"),
            ("a: {networks: [], threshold: 30}", "a name without networks is nobody's"),
        ] {
            let said = named(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
        for most in [
            named("a: {networks: [192.0.2.0/24], threshold: 20}"),
            named("a: {networks: [192.0.2.0/24], threshold: 65536}"),
        ] {
            assert!(most.is_ok(), "{most:?}");
        }
    }
}
