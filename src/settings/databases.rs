//! Databases that the operator brings: GeoLite2's and others of their format (countries, autonomous systems), and a list of known
//! scanners. Read whole and checked at the start and at each reload; an address is looked up when it is reported or shown.

use super::file::{self, ConfigError};
use crate::detect::{Country, Databases, Name, Provenance};
use crate::system::files;
use crate::text::quote;
use crate::text::yaml::Syntax as _;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use maxminddb::{LookupResult, Reader, WithinOptions};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The largest database: GeoLite2-City has 60 MiB. It stays in memory, and twice while a reload reads it again.
const MOST_BYTES: u64 = 128 << 20;

/// The most names in a list of scanners: each can be the value of a label.
const MOST_SCANNERS: usize = 64;

/// Records that are looked at when a database is opened: some name no country, hardly a thousand on end.
const LOOKED_AT: usize = 1000;

/// What a database of MaxMind's format is for.
#[derive(Clone, Copy)]
enum Kind {
    Country,
    Asn,
}

impl Kind {
    /// Words of which one is in the type that such a file says it is.
    const fn types(self) -> &'static [&'static str] {
        match self {
            Kind::Country => &["country", "city", "enterprise"],
            Kind::Asn => &["asn", "isp"],
        }
    }

    /// The setting that names such a file.
    const fn setting(self) -> &'static str {
        match self {
            Kind::Country => "databases.country",
            Kind::Asn => "databases.asn",
        }
    }

    /// What its records hold.
    const fn field(self) -> &'static str {
        match self {
            Kind::Country => "a country (country.iso_code)",
            Kind::Asn => "a number (autonomous_system_number)",
        }
    }

    const fn holds(self) -> &'static str {
        match self {
            Kind::Country => "countries",
            Kind::Asn => "autonomous systems",
        }
    }
}

#[derive(serde::Deserialize)]
struct CountryRecord<'a> {
    #[serde(borrow)]
    country: Option<Code<'a>>,
    #[serde(borrow)]
    registered_country: Option<Code<'a>>,
}

#[derive(serde::Deserialize)]
struct Code<'a> {
    iso_code: Option<&'a str>,
}

#[derive(serde::Deserialize)]
struct AsnRecord {
    autonomous_system_number: Option<Number>,
}

/// An unsigned number of any width: some who write databases store small ones in two bytes.
struct Number(u32);

impl<'de> serde::Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Unsigned;

        impl serde::de::Visitor<'_> for Unsigned {
            type Value = Number;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an unsigned number")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
                u32::try_from(number).map(Number).map_err(E::custom)
            }
        }

        from.deserialize_any(Unsigned)
    }
}

/// The databases that a configuration file names, by paths relative to it.
pub(super) fn load(named: &file::Databases, config: Option<&Path>) -> Result<Databases, ConfigError> {
    let open =
        |path: &Option<PathBuf>, kind| path.as_ref().map(|path| open(&at(path, config), kind)).transpose();
    let country = open(&named.country, Kind::Country)?;
    let asn = open(&named.asn, Kind::Asn)?;
    let scanners = named.scanners.as_ref().map(|path| Scanners::load(&at(path, config))).transpose()?;
    if country.is_none() && asn.is_none() && scanners.is_none() {
        return Ok(Databases::default());
    }
    Ok(Databases::new(move |address| Provenance {
        country: country.as_ref().and_then(|reader| country_of(reader, address)),
        asn: asn.as_ref().and_then(|reader| asn_of(reader, address)),
        scanner: scanners.as_ref().and_then(|scanners| scanners.of(address)),
    }))
}

/// The files that the configuration names, each with the setting that names it.
pub(super) fn files(named: &file::Databases, config: &Path) -> Vec<(&'static str, PathBuf)> {
    let all = [
        (Kind::Country.setting(), &named.country),
        (Kind::Asn.setting(), &named.asn),
        (Scanners::SETTING, &named.scanners),
    ];
    all.into_iter().filter_map(|(name, path)| Some((name, at(path.as_ref()?, Some(config))))).collect()
}

/// Whether this process may read them all.
pub(super) fn may_read(named: &file::Databases, config: &Path) -> Result<(), ConfigError> {
    files(named, config).into_iter().try_for_each(|(setting, path)| match files::open(&path) {
        Ok(_) => Ok(()),
        Err(what) => Err(ConfigError { setting: Some(setting), path, line: None, what }),
    })
}

/// Where a file is that the configuration names.
fn at(path: &Path, config: Option<&Path>) -> PathBuf {
    config.and_then(Path::parent).map_or_else(|| path.to_owned(), |directory| directory.join(path))
}

fn open(path: &Path, kind: Kind) -> Result<Reader<Vec<u8>>, ConfigError> {
    let setting = Some(kind.setting());
    let wrong = |what: String| ConfigError { setting, path: path.to_owned(), line: None, what };
    let bytes = files::bytes(path, MOST_BYTES).map_err(wrong)?;
    let reader = Reader::from_source(bytes)
        .map_err(|error| wrong(format!("it is no database in MaxMind's format (.mmdb): {error}")))?;
    let says = &reader.metadata().database_type;
    let is_of_kind = kind.types().iter().any(|word| says.to_ascii_lowercase().contains(word));
    if !is_of_kind {
        return Err(wrong(format!("it has no {}: its type is {}", kind.holds(), quote(says))));
    }
    if tells_nothing(&reader, kind) {
        return Err(wrong(format!("none of its first {LOOKED_AT} records holds {}", kind.field())));
    }
    Ok(reader)
}

/// Whether there are records, and the first of them hold nothing that can be read. The type says what a file is for; whoever writes one
/// himself may have put another shape into it, and would wait for countries for ever.
fn tells_nothing(reader: &Reader<Vec<u8>>, kind: Kind) -> bool {
    let Ok(records) = reader.networks(WithinOptions::default()) else { return true };
    let mut looked_at = 0;
    for record in records.take(LOOKED_AT) {
        looked_at += 1;
        let tells = record.is_ok_and(|record| match kind {
            Kind::Country => country_in(&record).is_some(),
            Kind::Asn => asn_in(&record).is_some(),
        });
        if tells {
            return false;
        }
    }
    looked_at > 0
}

// A record that cannot be read says nothing.

fn country_of(reader: &Reader<Vec<u8>>, address: IpAddr) -> Option<Country> {
    country_in(&reader.lookup(address).ok()?)
}

fn country_in(record: &LookupResult<'_, Vec<u8>>) -> Option<Country> {
    let record: CountryRecord<'_> = record.decode().ok()??;
    let code = |of: Option<Code<'_>>| of.and_then(|code| code.iso_code.and_then(Country::new));
    code(record.country).or_else(|| code(record.registered_country))
}

fn asn_of(reader: &Reader<Vec<u8>>, address: IpAddr) -> Option<u32> {
    asn_in(&reader.lookup(address).ok()?)
}

fn asn_in(record: &LookupResult<'_, Vec<u8>>) -> Option<u32> {
    let record: AsnRecord = record.decode().ok()??;
    record.autonomous_system_number.map(|number| number.0)
}

/// Networks from which known scanners scan. The smallest that holds an address says whose it is.
#[derive(Debug, PartialEq, Eq, Default)]
struct Scanners {
    /// By the length of the network, the longest first.
    ipv4: BTreeMap<Reverse<u8>, HashMap<Ipv4Net, Name>>,
    ipv6: BTreeMap<Reverse<u8>, HashMap<Ipv6Net, Name>>,
}

impl Scanners {
    /// The setting that names the list.
    const SETTING: &str = "databases.scanners";

    fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = file::text(path, Self::SETTING)?;
        Self::parse(&text).map_err(|(line, what)| ConfigError {
            setting: Some(Self::SETTING),
            path: path.to_owned(),
            line: Some(line),
            what,
        })
    }

    /// A network and a name on each line, with a comma between; what follows a `#` is a remark.
    fn parse(text: &str) -> Result<Self, (u64, String)> {
        let (mut all, mut names) = (Self::default(), BTreeSet::new());
        // A spreadsheet begins its text with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let wrong = |what: String| (number, what);
            let (network, name) = line.split_once(',').ok_or_else(|| {
                wrong(format!(
                    "expected a network and a name, as in 192.0.2.0/24,name, found {}",
                    quote(line)
                ))
            })?;
            let network = IpNet::parse(network.trim()).map_err(wrong)?;
            let name = Name::parse(name.trim()).map_err(wrong)?;
            names.insert(name);
            if names.len() > MOST_SCANNERS {
                return Err(wrong(format!("more than {MOST_SCANNERS} names")));
            }
            let other = match network {
                IpNet::V4(v4) => all.ipv4.entry(Reverse(v4.prefix_len())).or_default().insert(v4, name),
                IpNet::V6(v6) => all.ipv6.entry(Reverse(v6.prefix_len())).or_default().insert(v6, name),
            };
            if let Some(other) = other.filter(|other| *other != name) {
                let (one, other) = (name.as_str(), other.as_str());
                return Err(wrong(format!("{network} is called {other}, and {one} as well")));
            }
        }
        Ok(all)
    }

    fn of(&self, address: IpAddr) -> Option<Name> {
        match address {
            IpAddr::V4(v4) => self.ipv4.iter().find_map(|(Reverse(length), networks)| {
                networks.get(&Ipv4Net::new(v4, *length).ok()?.trunc()).copied()
            }),
            IpAddr::V6(v6) => self.ipv6.iter().find_map(|(Reverse(length), networks)| {
                networks.get(&Ipv6Net::new(v6, *length).ok()?.trunc()).copied()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lab::mmdb::{self, Value};
    use proptest::prelude::*;
    use std::io::Write as _;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    fn countries(kind: &'static str) -> Vec<u8> {
        let country = |key: &'static str, code: &'static str| {
            Value::Map(vec![(key, Value::Map(vec![("iso_code", Value::Text(code))]))])
        };
        let records = [
            (net("198.51.100.0/24"), country("country", "DE")),
            (net("198.51.100.64/26"), country("registered_country", "FR")),
            (net("203.0.113.0/24"), country("country", "de\u{1b}")),
            (net("2001:db8::/32"), country("country", "JP")),
        ];
        mmdb::write(kind, &records)
    }

    fn systems() -> Vec<u8> {
        let asn = |number| Value::Map(vec![("autonomous_system_number", Value::Number(number))]);
        mmdb::write(
            "GeoLite2-ASN",
            &[
                (net("198.51.100.0/25"), asn(64_500)),
                (net("192.0.2.0/24"), Value::Text("?")),
                // As some write small numbers.
                (net("198.18.0.0/24"), Value::Map(vec![("autonomous_system_number", Value::Short(64_501))])),
            ],
        )
    }

    /// A directory with these files, beside a configuration.
    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).expect("written");
        }
        directory
    }

    fn named(country: &str, asn: &str, scanners: &str) -> file::Databases {
        let path = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
        file::Databases { country: path(country), asn: path(asn), scanners: path(scanners) }
    }

    fn of(databases: &Databases, address: &str) -> (Option<Country>, Option<u32>, Option<Name>) {
        let Provenance { country, asn, scanner } = databases.of(address.parse().expect("an address"));
        (country, asn, scanner)
    }

    #[test]
    fn an_address_is_looked_up_in_each() {
        let scanners = b"\xef\xbb\xbf# who says so himself\r\n198.51.100.0/24, research\n198.51.100.7,survey # one of them\n\n2001:db8::/48,research\n";
        let files: [(&str, &[u8]); 3] =
            [("c.mmdb", &countries("GeoLite2-Country")), ("a.mmdb", &systems()), ("s.csv", scanners)];
        let directory = directory(&files);
        let config = directory.path().join("config.yml");
        let all = load(&named("c.mmdb", "a.mmdb", "s.csv"), Some(&config)).expect("good files");
        assert_eq!(of(&all, "198.18.0.9").1, Some(64_501), "of two bytes");
        let (country, name) = (Country::new, Name::new);
        for (address, expected) in [
            ("198.51.100.7", (country("DE"), Some(64_500), name("survey"))),
            ("198.51.100.70", (country("FR"), Some(64_500), name("research"))),
            ("198.51.100.200", (country("DE"), None, name("research"))),
            ("203.0.113.1", (None, None, None)),
            ("192.0.2.1", (None, None, None)),
            ("2001:db8:0:1::7", (country("JP"), None, name("research"))),
            ("2001:db8:1::7", (country("JP"), None, None)),
            ("2a00::7", (None, None, None)),
        ] {
            assert_eq!(of(&all, address), expected, "{address}");
        }
        let only = load(&named("", "", "s.csv"), Some(&config)).expect("a good file");
        assert_eq!(of(&only, "198.51.100.7"), (None, None, name("survey")));
        assert_eq!(load(&named("", "", ""), Some(&config)), Ok(Databases::default()));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file() {
        let many: String = (0..=MOST_SCANNERS).map(|n| format!("192.0.2.{n},n{n}\n")).collect();
        let shapeless = [(net("192.0.2.0/24"), Value::Map(vec![("country", Value::Text("DE"))]))];
        let files: [(&str, &[u8]); 10] = [
            ("shape.mmdb", &mmdb::write("My-Country", &shapeless)),
            ("empty.mmdb", &mmdb::write("My-ASN", &[])),
            ("asn.mmdb", &systems()),
            ("country.mmdb", &countries("GeoIP2-City")),
            ("text.mmdb", b"country,code\n"),
            ("twice.csv", b"192.0.2.0/24,a\n192.0.2.0/24,b\n"),
            ("bits.csv", b"\n192.0.2.7/24,a\n"),
            ("name.csv", b"192.0.2.0/24,a-b\n"),
            ("bare.csv", b"192.0.2.0/24\n"),
            ("many.csv", many.as_bytes()),
        ];
        let directory = directory(&files);
        let config = directory.path().join("config.yml");
        for (names, expected) in [
            (
                named("asn.mmdb", "", ""),
                "cannot read DIR/asn.mmdb (databases.country): it has no countries: its type is \"GeoLite2-ASN\"",
            ),
            (
                named("", "country.mmdb", ""),
                "cannot read DIR/country.mmdb (databases.asn): it has no autonomous systems: its type is \"GeoIP2-City\"",
            ),
            (
                named("shape.mmdb", "empty.mmdb", ""),
                "cannot read DIR/shape.mmdb (databases.country): none of its first 1000 records holds a country (country.iso_code)",
            ),
            (named("no.mmdb", "", ""), "cannot read DIR/no.mmdb (databases.country): no such file"),
            (named(".", "", ""), "cannot read DIR/. (databases.country): it is a directory"),
            (named("", "", "no.csv"), "cannot read DIR/no.csv (databases.scanners): no such file"),
            (
                named("", "", "twice.csv"),
                "invalid databases.scanners DIR/twice.csv: line 2: 192.0.2.0/24 is called a, and b as well",
            ),
            (
                named("", "", "bits.csv"),
                "invalid databases.scanners DIR/bits.csv: line 2: \"192.0.2.7/24\" has bits set beyond its prefix (did you mean 192.0.2.0/24?)",
            ),
            (
                named("", "", "name.csv"),
                "invalid databases.scanners DIR/name.csv: line 1: expected a name of at most 31 letters, digits and _, found \"a-b\"",
            ),
            (
                named("", "", "bare.csv"),
                "invalid databases.scanners DIR/bare.csv: line 1: expected a network and a name, as in 192.0.2.0/24,name, found \"192.0.2.0/24\"",
            ),
            (
                named("", "", "many.csv"),
                "invalid databases.scanners DIR/many.csv: line 65: more than 64 names",
            ),
        ] {
            let said = load(&names, Some(&config)).expect_err(expected).to_string();
            assert_eq!(said.replace(&*directory.path().to_string_lossy(), "DIR"), expected);
        }
        assert!(load(&named("", "empty.mmdb", ""), Some(&config)).is_ok(), "of nobody it knows anything");
        let said = load(&named("text.mmdb", "", ""), Some(&config)).expect_err("text").to_string();
        assert!(
            said.contains("text.mmdb (databases.country): it is no database in MaxMind's format (.mmdb): "),
            "{said}"
        );
        assert!(!said.contains('\n'), "{said}");
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_before_it_is_kept() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(MOST_BYTES + 1).expect("sparse");
        let named = file::Databases { country: Some(file.path().to_owned()), ..file::Databases::default() };
        let said = load(&named, None).expect_err("too large").to_string();
        assert!(said.ends_with(": it is larger than 131072 KiB"), "{said}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

        /// Whatever stands in such a file, it is an error or an answer, and no panic.
        #[test]
        fn a_broken_database_says_nothing_and_breaks_nothing(
            is_asn in any::<bool>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
            is_cut in any::<bool>(),
            addresses in prop::collection::vec(any::<u32>(), 8),
        ) {
            let mut bytes = if is_asn { systems() } else { countries("City") };
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            file.write_all(&bytes).expect("written");
            let path = Some(file.path().to_owned());
            let named = match is_asn {
                true => file::Databases { asn: path, ..file::Databases::default() },
                false => file::Databases { country: path, ..file::Databases::default() },
            };
            if let Ok(databases) = load(&named, None) {
                for address in addresses {
                    // Near what is in it.
                    let address = 0xc633_6400 ^ (address & address >> 8 & 0xff00_00ff);
                    let _ = databases.of(IpAddr::V4(address.into()));
                    let _ = databases.of(IpAddr::V6((0x2001_0db8 << 96 | u128::from(address)).into()));
                }
            }
        }
    }
}
