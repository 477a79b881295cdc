//! The YAML file: the detection policy, and what is a list. Strict, so that a slip of the pen is an error
//! with its line and not a rule that never applies; bounded, so that no file can exhaust the process.

use super::named::Named;
use super::several::several;
pub use super::syntax::{Located, MAX_NETWORKS};
use crate::detect::{Pair, PairTo, Pairs, Prefixes, Techniques};
use crate::system::files;
use crate::text::printable;
use crate::text::yaml::{self, Scalar, Spanned, Syntax, or_default};
use ipnet::IpNet;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A configuration file, as written: what it does not say is `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// `detection:`, what counts as a scan.
    #[serde(default, deserialize_with = "or_default")]
    pub detection: Detection,
    /// `names:`, what networks are called.
    #[serde(default, deserialize_with = "or_default")]
    pub names: Named,
    /// `databases:`, what else is known of addresses.
    #[serde(default, deserialize_with = "or_default")]
    pub databases: Databases,
    /// `ignore:`, what does not count.
    #[serde(default, deserialize_with = "or_default")]
    pub ignore: Ignore,
}

/// `databases:`, files by their paths, which are relative to the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Databases {
    /// Countries, in MaxMind's format.
    #[serde(default, deserialize_with = "path")]
    pub country: Option<PathBuf>,
    /// Autonomous systems, in MaxMind's format.
    #[serde(default, deserialize_with = "path")]
    pub asn: Option<PathBuf>,
    /// Known scanners: a network and a name on each line.
    #[serde(default, deserialize_with = "path")]
    pub scanners: Option<PathBuf>,
}

/// `detection:`; each value with its line, for `settings` to judge.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// The sliding span in which distinct ports are counted.
    #[serde(default, deserialize_with = "located")]
    pub window: Option<Located<Duration>>,
    /// Distinct ports at which a source counts as scanning.
    #[serde(default, deserialize_with = "located")]
    pub threshold: Option<Located<u32>>,
    /// The spans of the slow rules.
    #[serde(default, deserialize_with = "several")]
    pub slow_window: Vec<Located<Duration>>,
    /// Distinct ports within each; one 0 alone is none.
    #[serde(default, deserialize_with = "several")]
    pub slow_threshold: Vec<Located<u32>>,
    /// The span of the rule for sweeps.
    #[serde(default, deserialize_with = "located")]
    pub sweep_window: Option<Located<Duration>>,
    /// Distinct hosts within it; 0 is none.
    #[serde(default, deserialize_with = "located")]
    pub sweep_threshold: Option<Located<u32>>,
    /// Distinct ports with which a sweep is a block.
    #[serde(default, deserialize_with = "located")]
    pub block_threshold: Option<Located<u32>>,
    /// The span of the rule for networks in which a source hops.
    #[serde(default, deserialize_with = "located")]
    pub hop_window: Option<Located<Duration>>,
    /// Distinct ports within it; 0 is none.
    #[serde(default, deserialize_with = "located")]
    pub hop_threshold: Option<Located<u32>>,
    /// Bits of such a network.
    #[serde(default, deserialize_with = "located")]
    pub hop_prefix: Option<Located<u32>>,
    /// The span of the rule for scans of one host by many.
    #[serde(default, deserialize_with = "located")]
    pub distributed_window: Option<Located<Duration>>,
    /// Distinct ports within it; 0 is none.
    #[serde(default, deserialize_with = "located")]
    pub distributed_threshold: Option<Located<u32>>,
    /// Distinct sources for which they count.
    #[serde(default, deserialize_with = "located")]
    pub distributed_sources: Option<Located<u32>>,
    /// What is inside, for the rule for sweeps.
    #[serde(default, deserialize_with = "networks")]
    pub home: Vec<IpNet>,
    /// How long the count must stay below the threshold for a scan to end.
    #[serde(default, deserialize_with = "located")]
    pub quiet: Option<Located<Duration>>,
    /// Techniques to look for, written as in the flag or as a list.
    #[serde(default, deserialize_with = "techniques")]
    pub techniques: Option<Techniques>,
    /// IPv6 sources are aggregated to networks of this many bits.
    #[serde(default, deserialize_with = "located")]
    pub ipv6_prefix: Option<Located<u32>>,
    /// IPv6 networks in which a source has another number of bits.
    #[serde(default, deserialize_with = "prefixes")]
    pub ipv6_prefixes: Prefixes,
}

/// `ignore:`; checked, sorted and without repetitions.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ignore {
    /// Networks whose probes do not count; adjacent and nested ones joined.
    #[serde(default, deserialize_with = "networks")]
    pub sources: Vec<IpNet>,
    /// Ports whose probes do not count, ascending.
    #[serde(default, deserialize_with = "ports")]
    pub ports: Vec<u16>,
    /// Hosts, probes to which do not count.
    #[serde(default, deserialize_with = "networks")]
    pub destinations: Vec<IpNet>,
    /// Probes of some sources to some ports or hosts.
    #[serde(default, deserialize_with = "pairs")]
    pub pairs: Pairs,
}

/// An entry of `ignore.pairs`: a source, and what it may ask for.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPair {
    source: Scalar<IpNet>,
    #[serde(default)]
    ports: Option<Scalar<RangeInclusive<u16>>>,
    #[serde(default)]
    destination: Option<Scalar<IpNet>>,
}

/// Why a configuration file, or another file that a setting names, cannot be used; shows as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting that names the file, `databases.asn`; without one it is the configuration file itself.
    pub setting: Option<&'static str>,
    /// The file.
    pub path: PathBuf,
    /// The line at fault; without one the file could not be read at all.
    pub line: Option<u64>,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable(&self.path.to_string_lossy());
        let what = printable(&self.what);
        match (self.setting, self.line) {
            (None, Some(line)) => write!(f, "invalid configuration {path}: line {line}: {what}"),
            (None, None) => write!(f, "cannot read {path}: {what}"),
            (Some(setting), Some(line)) => write!(f, "invalid {setting} {path}: line {line}: {what}"),
            (Some(setting), None) => write!(f, "cannot read {path} ({setting}): {what}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The configuration in a file.
pub fn load(path: &Path) -> Result<File, ConfigError> {
    let wrong = |line, what: String| ConfigError { setting: None, path: path.to_owned(), line, what };
    let text = files::text(path).map_err(|(line, what)| wrong(line, what))?;
    parse(&text).map_err(|(line, what)| wrong(line, what))
}

/// The text of another file, which this setting names, under the same bounds.
pub fn text(path: &Path, setting: &'static str) -> Result<String, ConfigError> {
    let setting = Some(setting);
    files::text(path).map_err(|(line, what)| ConfigError { setting, path: path.to_owned(), line, what })
}

/// A value that only the whole configuration can judge is no good.
pub(super) fn wrong(path: Option<&Path>, line: u64, what: String) -> ConfigError {
    ConfigError { setting: None, path: path.unwrap_or(Path::new("")).to_owned(), line: Some(line), what }
}

/// The configuration in a text, or the line that is wrong and why.
fn parse(text: &str) -> Result<File, (Option<u64>, String)> {
    let document: Option<File> = yaml::parse(text)?;
    Ok(document.unwrap_or_default())
}

fn located<'de, T: Syntax, D: Deserializer<'de>>(from: D) -> Result<Option<Located<T>>, D::Error> {
    let spanned = Option::<Spanned<Scalar<T>>>::deserialize(from)?;
    Ok(spanned.map(|s| Located { line: s.referenced.line(), value: s.value.0 }))
}

fn path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    match Option::<String>::deserialize(from)? {
        Some(path) if path.is_empty() => Err(de::Error::custom("expected a path, found nothing")),
        path => Ok(path.map(PathBuf::from)),
    }
}

/// One value as the flag has it, or a list of them.
fn techniques<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Techniques>, D::Error> {
    struct Written;

    impl<'de> Visitor<'de> for Written {
        type Value = Techniques;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(<Techniques as Syntax>::EXPECTED)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Techniques, E> {
            <Techniques as Syntax>::parse(text).map_err(E::custom)
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Techniques, A::Error> {
            let mut words: Vec<Scalar<Techniques>> = Vec::new();
            while let Some(word) = list.next_element()? {
                words.push(word);
            }
            if words.is_empty() {
                return Err(de::Error::custom(format!(
                    "expected {}, found an empty list",
                    <Techniques as Syntax>::EXPECTED
                )));
            }
            Ok(words.into_iter().map(|word| word.0).fold(Techniques::of(&[]), Techniques::and))
        }
    }

    struct Seed(Techniques);

    impl<'de> Deserialize<'de> for Seed {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(Written).map(Self)
        }
    }

    Ok(Option::<Seed>::deserialize(from)?.map(|seed| seed.0))
}

fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let written = Option::<Vec<Scalar<IpNet>>>::deserialize(from)?.unwrap_or_default();
    // Aggregated, sorted: the same networks written in another way are the same policy.
    let mut joined = IpNet::aggregate(&written.into_iter().map(|scalar| scalar.0).collect());
    joined.sort();
    if joined.len() > MAX_NETWORKS {
        return Err(de::Error::custom(format!(
            "{} networks; at most {MAX_NETWORKS}, after joining adjacent ones",
            joined.len()
        )));
    }
    Ok(joined)
}

/// A number of bits for each network, as they stand in the file: of two spellings of one network a map would keep the last.
#[derive(Default)]
struct BitsByNetwork(Vec<(Scalar<IpNet>, Scalar<u32>)>);

impl<'de> Deserialize<'de> for BitsByNetwork {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = BitsByNetwork;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bits for each network")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                let mut known = BTreeMap::new();
                while let Some((network, bits)) = map.next_entry::<Spanned<Scalar<IpNet>>, Scalar<u32>>()? {
                    let (line, network) = (network.referenced.line(), network.value);
                    if let Some(first) = known.insert(network.0, line) {
                        let what = format!("{} is given twice (first on line {first})", network.0);
                        return Err(de::Error::custom(what));
                    }
                    entries.push((network, bits));
                }
                Ok(BitsByNetwork(entries))
            }
        }

        from.deserialize_map(Entries)
    }
}

fn prefixes<'de, D: Deserializer<'de>>(from: D) -> Result<Prefixes, D::Error> {
    let written = Option::<BitsByNetwork>::deserialize(from)?.unwrap_or_default().0;
    if written.len() > Prefixes::MOST {
        return Err(de::Error::custom(format!("{} networks; at most {}", written.len(), Prefixes::MOST)));
    }
    let prefix = |(network, bits): (Scalar<IpNet>, Scalar<u32>)| {
        let IpNet::V6(v6) = network.0 else {
            let what = format!("{} is IPv4, where each address is a source", network.0);
            return Err(de::Error::custom(what));
        };
        let (least, most) = (v6.prefix_len().max(*Prefixes::BITS.start()), *Prefixes::BITS.end());
        match u8::try_from(bits.0).ok().filter(|bits| (least..=most).contains(bits)) {
            Some(bits) => Ok((v6, bits)),
            None => Err(de::Error::custom(format!(
                "a source in {v6} has from {least} to {most} bits, not {}",
                bits.0
            ))),
        }
    };
    Ok(Prefixes::new(written.into_iter().map(prefix).collect::<Result<Vec<_>, _>>()?))
}

fn pairs<'de, D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
    let written = Option::<Vec<WrittenPair>>::deserialize(from)?.unwrap_or_default();
    if written.len() > Pairs::MOST {
        return Err(de::Error::custom(format!("{} pairs; at most {}", written.len(), Pairs::MOST)));
    }
    let is_v4 = |network: &IpNet| matches!(network, IpNet::V4(_));
    let pair = |WrittenPair { source, ports, destination }| {
        let to = match (ports, destination) {
            (Some(Scalar(ports)), None) => PairTo::Ports(*ports.start(), *ports.end()),
            (None, Some(Scalar(hosts))) if is_v4(&hosts) != is_v4(&source.0) => {
                let what = format!("{} asks nothing of {hosts}: one is IPv4 and the other IPv6", source.0);
                return Err(de::Error::custom(what));
            }
            (None, Some(Scalar(hosts))) => PairTo::Hosts(hosts),
            _ => return Err(de::Error::custom("a pair is a source, and either ports or a destination")),
        };
        Ok(Pair { source: source.0, to })
    };
    Ok(Pairs::new(written.into_iter().map(pair).collect::<Result<_, _>>()?))
}

fn ports<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u16>, D::Error> {
    let written = Option::<Vec<Scalar<RangeInclusive<u16>>>>::deserialize(from)?.unwrap_or_default();
    let mut given = vec![false; 1 << 16];
    for Scalar(range) in written {
        given[usize::from(*range.start())..=usize::from(*range.end())].fill(true);
    }
    Ok((0..=u16::MAX).filter(|&port| given[usize::from(port)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Subject;

    fn error(text: &str) -> String {
        let (line, what) = parse(text).expect_err(text);
        line.map_or(what.clone(), |line| format!("line {line}: {what}"))
    }

    #[test]
    fn a_whole_file_is_read() {
        let file = parse(
            "detection:\n  window: 5s\n  threshold: 7\n  quiet: 1m30s\n  ipv6_prefix: 48\n\
             ignore:\n  sources:\n    - 192.0.2.7\n    - 198.51.100.0/24\n    - 2001:db8::/32\n  ports: [22, 8000-8002, \"80\"]\n",
        )
        .unwrap();
        assert_eq!(file.detection.window, Some(Located { value: Duration::from_secs(5), line: 2 }));
        assert_eq!(file.detection.threshold, Some(Located { value: 7, line: 3 }));
        assert_eq!(file.detection.quiet, Some(Located { value: Duration::from_secs(90), line: 4 }));
        assert_eq!(file.detection.ipv6_prefix, Some(Located { value: 48, line: 5 }));
        let sources: Vec<String> = file.ignore.sources.iter().map(IpNet::to_string).collect();
        assert_eq!(sources, ["192.0.2.7/32", "198.51.100.0/24", "2001:db8::/32"]);
        assert_eq!(file.ignore.ports, [22, 80, 8000, 8001, 8002]);
    }

    #[test]
    fn techniques_are_a_list_in_either_way_of_writing() {
        let told = |text| parse(text).unwrap().detection.techniques.unwrap().to_string();
        assert_eq!(told("detection: {techniques: 'syn, udp'}"), "syn,udp");
        assert_eq!(told("detection:\n  techniques: [syn, udp]\n"), "syn,udp");
        assert_eq!(told("detection:\n  techniques:\n    - udp\n    - syn\n"), "syn,udp");
        // Not nothing, which is what YAML means by the bare word.
        assert_eq!(told("detection:\n  techniques: [syn, 'null']\n"), "null,syn");
        assert_eq!(told("detection: {techniques: [all]}"), Techniques::ALL.to_string());
    }

    #[test]
    fn what_says_nothing_is_the_default() {
        for text in [
            "",
            "\n",
            "# nothing\n",
            "---\n",
            "~\n",
            "{}\n",
            "detection:\nignore:\n",
            "ignore:\n  sources:\n  ports: []\n",
            "detection:\n  window:\n",
        ] {
            assert_eq!(parse(text), Ok(File::default()), "{text:?}");
        }
    }

    #[test]
    fn networks_are_joined_and_sorted() {
        let file =
            parse("ignore: {sources: [198.51.100.128/25, 192.0.2.1, 198.51.100.0/25, 192.0.2.1]}").unwrap();
        let sources: Vec<String> = file.ignore.sources.iter().map(IpNet::to_string).collect();
        assert_eq!(sources, ["192.0.2.1/32", "198.51.100.0/24"]);
    }

    /// Packets never come from such an address: as written, the entry would never apply.
    #[test]
    fn an_ipv4_address_in_ipv6_is_ipv4() {
        let file = parse(
            "ignore: {sources: ['::ffff:198.51.100.7', '::ffff:192.0.2.0/120', '::/95', '::ffff:0:0/96']}",
        );
        let sources: Vec<String> = file.unwrap().ignore.sources.iter().map(IpNet::to_string).collect();
        assert_eq!(sources, ["0.0.0.0/0", "::/95"]);
        let file = parse("ignore: {sources: ['::ffff:198.51.100.7', '::ffff:192.0.2.0/120']}").unwrap();
        let sources: Vec<String> = file.ignore.sources.iter().map(IpNet::to_string).collect();
        assert_eq!(sources, ["192.0.2.0/24", "198.51.100.7/32"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, message) in [
            (
                "detection:\n  window: 5s\n  treshold: 20\n",
                "line 3: unknown key \"treshold\" (known: window, threshold, slow_window, slow_threshold, sweep_window, sweep_threshold, block_threshold, hop_window, hop_threshold, hop_prefix, distributed_window, distributed_threshold, distributed_sources, home, quiet, techniques, ipv6_prefix, ipv6_prefixes)",
            ),
            ("detekt: 1\n", "line 1: unknown key \"detekt\" (known: detection, names, databases, ignore)"),
            ("detection:\n  threshold: 20\n  threshold: 21\n", "line 3: key \"threshold\" is given twice"),
            (
                "detection:\n  threshold: twenty\n",
                "line 2: expected a whole number like 20, found \"twenty\"",
            ),
            ("detection:\n  threshold: -1\n", "line 2: expected a whole number like 20, found \"-1\""),
            ("detection:\n  threshold: 20.5\n", "line 2: expected a whole number like 20, found \"20.5\""),
            (
                "detection:\n  techniques: syn,tcp\n",
                "line 2: unknown technique \"tcp\" (known: all, or some of ack, fin, icmp, null, odd, protocol, sctp, syn, udp, \
                 xmas)",
            ),
            (
                "detection:\n  techniques: [syn, tcp]\n",
                "line 2: unknown technique \"tcp\" (known: all, or some of ack, fin, icmp, null, odd, protocol, sctp, syn, udp, \
                 xmas)",
            ),
            (
                "detection:\n  techniques: []\n",
                "line 2: expected techniques like syn,udp, or all, found an empty list",
            ),
            (
                "detection:\n  techniques: {syn: 1}\n",
                "line 2: expected techniques like syn,udp, or all, found map",
            ),
            ("detection:\n  ipv6_prefix: 1e2\n", "line 2: expected a whole number like 20, found \"1e2\""),
            (
                "detection:\n  threshold: 4294967296\n",
                "line 2: expected a whole number of at most 4294967295, found \"4294967296\"",
            ),
            ("names:\n  ~: [192.0.2.1]\n", "line 2: expected one value, found nothing"),
            ("databases:\n  asn: ''\n", "line 2: expected a path, found nothing"),
            (
                "ignore:\n  pairs:\n    - {source: 192.0.2.7, destination: '2001:db8::1'}\n",
                "line 3: 192.0.2.7/32 asks nothing of 2001:db8::1/128: one is IPv4 and the other IPv6",
            ),
            (
                "detection:\n  ipv6_prefixes: {192.0.2.0/24: 32}\n",
                "line 2: 192.0.2.0/24 is IPv4, where each address is a source",
            ),
            (
                "detection:\n  ipv6_prefixes: {'2001:db8::/32': 31}\n",
                "line 2: a source in 2001:db8::/32 has from 32 to 128 bits, not 31",
            ),
            (
                "detection:\n  ipv6_prefixes: {'2001:db8::/32': 128, '2001:db8:0::/32': 48}\n",
                "line 2: 2001:db8::/32 is given twice (first on line 2)",
            ),
            (
                "detection:\n  ipv6_prefixes: {'2001::/3': 64}\n",
                "line 2: \"2001::/3\" has bits set beyond its prefix (did you mean 2000::/3?)",
            ),
            (
                "detection:\n  ipv6_prefixes: {'2000::/3': 8}\n",
                "line 2: a source in 2000::/3 has from 16 to 128 bits, not 8",
            ),
            ("detection:\n  window: 10\n", "line 2: expected a duration like 10s, 5m or 1m30s, found \"10\""),
            (
                "detection:\n  window: soon\n",
                "line 2: expected a duration like 10s, 5m or 1m30s, found \"soon\"",
            ),
            ("detection:\n  window: [10s]\n", "line 2: expected one value, found a list or a mapping"),
            (
                "ignore:\n  sources:\n    - 192.0.2.0/24\n    - 192.0.2.0/33\n",
                "line 4: expected an address or a network like 192.0.2.0/24, found \"192.0.2.0/33\"",
            ),
            (
                "ignore:\n  sources:\n    - 192.0.2.1/24\n",
                "line 3: \"192.0.2.1/24\" has bits set beyond its prefix (did you mean 192.0.2.0/24?)",
            ),
            ("ignore:\n  sources: 192.0.2.0/24\n", "line 2: expected a list"),
            (
                "ignore:\n  ports: [22, 65536]\n",
                "line 2: expected a port or a range of ports like 8000-8100, found \"65536\"",
            ),
            (
                "ignore:\n  ports: [90-80]\n",
                "line 2: expected a port or a range of ports like 8000-8100, found \"90-80\"",
            ),
            (
                "ignore:\n  ports: [true]\n",
                "line 2: expected a port or a range of ports like 8000-8100, found \"true\"",
            ),
            ("detection: 5\n", "line 1: expected a mapping (key: value)"),
            ("- detection\n", "line 1: expected a mapping (key: value)"),
            ("detection: {\n", "line 1: unclosed bracket '{'"),
            ("a\n---\nb\n", "line 1: expected a mapping (key: value)"),
            ("{}\n---\n{}\n", "line 3: a second document; one file holds one"),
            ("detection: *a\n", "line 1: alias references unknown anchor"),
            ("detection: &a {threshold: 7}\nignore: {<<: *a}\n", "line 2: merge keys (<<) are not allowed"),
            ("\tdetection: 1\n", "line 1: expected a mapping (key: value)"),
        ] {
            assert_eq!(error(text), message, "{text:?}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let refused = "line 1: too much nesting or repetition for a configuration file";
        let repeated = format!("ignore: {{sources: [&a 192.0.2.1{}]}}", ", *a".repeat(1001));
        assert_eq!(error(&repeated), refused);
        let few = format!("ignore: {{sources: [&a 192.0.2.1{}]}}", ", *a".repeat(50));
        assert_eq!(parse(&few).unwrap().ignore.sources.len(), 1);
        let mut nested = String::from("ignore: {sources: [&a0 [192.0.2.1]");
        for n in 1..9 {
            nested.push_str(&format!(", &a{n} [{}]", vec![format!("*a{}", n - 1); 10].join(",")));
        }
        assert_eq!(error(&format!("{nested}]}}")), "line 1: expected one value, found a list or a mapping");
        let deep = format!("ignore: {{ports: {}{}}}", "[".repeat(2000), "]".repeat(2000));
        assert_eq!(error(&deep), "line 1: recursion limit exceeded");
    }

    #[test]
    fn more_networks_than_a_probe_can_be_compared_with_are_refused() {
        let list =
            |n: usize| (0..n).map(|i| format!("198.18.{}.{}", i / 128, i % 128 * 2)).collect::<Vec<_>>();
        let file = |n: usize| format!("ignore:\n  sources: [{}]\n", list(n).join(", "));
        assert_eq!(parse(&file(MAX_NETWORKS)).unwrap().ignore.sources.len(), MAX_NETWORKS);
        assert_eq!(
            error(&file(MAX_NETWORKS + 1)),
            "line 2: 1001 networks; at most 1000, after joining adjacent ones"
        );
    }

    #[test]
    fn the_example_is_valid_and_says_what_is_so_anyway_apart_from_its_lists() {
        let file =
            load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/config.example.yml"))).unwrap();
        let policy = crate::detect::Policy::default();
        let nanos = |located: Option<Located<Duration>>| located.unwrap().value.as_nanos();
        assert_eq!(nanos(file.detection.window), u128::from(policy.window_nanos));
        assert_eq!(nanos(file.detection.quiet), u128::from(policy.quiet_nanos));
        assert_eq!(file.detection.threshold.unwrap().value, policy.threshold);
        assert_eq!(file.detection.ipv6_prefix.unwrap().value, u32::from(policy.parties.ipv6_prefix()));
        let standard = crate::detect::Policy::standard();
        let [sweep, hop, slow] = standard.slower[..] else { panic!("three rules") };
        let distributed = standard.distributed.unwrap();
        assert_eq!(nanos(file.detection.distributed_window), u128::from(distributed.window_nanos));
        assert_eq!(file.detection.distributed_threshold.map(|t| t.value), distributed.ports);
        assert_eq!(file.detection.distributed_sources.map(|t| t.value), distributed.peers);
        assert_eq!(nanos(file.detection.hop_window), u128::from(hop.window_nanos));
        assert_eq!(file.detection.hop_threshold.map(|t| t.value), hop.ports);
        assert_eq!(file.detection.hop_prefix.map(|t| Subject::Network(t.value as u8)), Some(hop.subject));
        assert_eq!(nanos(file.detection.sweep_window), u128::from(sweep.window_nanos));
        assert_eq!(file.detection.sweep_threshold.map(|t| t.value), sweep.peers);
        assert_eq!(nanos(file.detection.slow_window.first().copied()), u128::from(slow.window_nanos));
        assert_eq!(file.detection.slow_threshold.first().map(|t| t.value), slow.ports);
        assert_eq!(file.detection.block_threshold.map(|t| t.value), sweep.ports);
        assert_eq!(file.detection.ipv6_prefixes.iter().count(), 2);
        assert!(!file.ignore.sources.is_empty() && !file.ignore.ports.is_empty());
    }

    proptest::proptest! {
        /// A reload reads whatever is there, so no text may do more harm than an error with a line in the text.
        #[test]
        fn no_text_does_more_than_be_refused(
            words in proptest::collection::vec(proptest::sample::select(vec![
                "detection", "ignore", "window", "threshold", "sources", "ports", "10s", "20", "192.0.2.0/24", "22-80",
                ": ", ":", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}", ", ", "&a ", "*a", "<<", "---\n", "|", ">",
                "\"", "'", "#", "!", "!!binary ", "~", "\t", "\u{feff}", "\u{0}", "é", "-1", "1e99", ".nan",
            ]), 0..40),
        ) {
            let text = words.concat();
            if let Err((line, what)) = parse(&text) {
                proptest::prop_assert!(!what.is_empty() && !what.contains('\n'), "{what:?}");
                proptest::prop_assert!(line.is_none_or(|line| line <= 1 + text.lines().count() as u64), "{line:?}");
            }
        }
    }
}
