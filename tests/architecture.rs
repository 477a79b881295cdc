//! Who may use whom: arrows point one way, each outside crate has one owner, no file is long, and documents name only what
//! exists.

use portscan_exporter::events::record::FIELDS;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the crate and those it may use. A room (the first word) may hold several that differ in what they may use;
/// a file belongs to the longest name that fits it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("packet", &[]),
    ("packet::skipped", &[]),
    ("packet::technique", &["packet"]),
    ("packet::link", &["packet"]),
    ("packet::tcp", &["packet"]),
    ("packet::ip", &["packet", "packet::link", "packet::tcp"]),
    ("packet::signature", &["packet", "packet::ip", "packet::link", "packet::tcp"]),
    ("packet::tool", &["packet", "packet::ip", "packet::link", "packet::tcp"]),
    ("packet::decode", &["packet", "packet::ip", "packet::link", "packet::tcp"]),
    (
        "packet::datagram",
        &["packet", "packet::decode", "packet::ip", "packet::link", "packet::tcp", "packet::tunnel"],
    ),
    ("packet::tunnel", &["packet", "packet::decode", "packet::ip", "packet::link", "packet::tcp"]),
    ("packet::fragments", &["packet", "packet::decode", "packet::ip", "packet::tcp"]),
    ("packet::bpf", &[]),
    (
        "packet::filter",
        &[
            "packet",
            "packet::bpf",
            "packet::datagram",
            "packet::ip",
            "packet::link",
            "packet::tcp",
            "packet::technique",
            "packet::tunnel",
        ],
    ),
    ("packet::frames", &["packet"]),
    ("text", &[]),
    ("text::units", &[]),
    ("text::time", &["packet", "text::units"]),
    ("text::yaml", &["text"]),
    ("system", &[]),
    ("system::version", &[]),
    ("system::systemd", &["text"]),
    ("system::privilege", &["text"]),
    ("system::memory", &["text::units"]),
    ("system::clock", &["packet"]),
    ("system::counters", &[]),
    ("system::files", &[]),
    (
        "capture",
        &[
            "packet",
            "packet::bpf",
            "packet::filter",
            "packet::link",
            "packet::tunnel",
            "system::clock",
            "system::counters",
            "system::privilege",
            "text",
        ],
    ),
    ("detect", &[]),
    ("detect::tuning", &[]),
    ("detect::memory", &[]),
    ("detect::names", &[]),
    ("detect::networks", &[]),
    ("detect::probe", &["packet"]),
    ("detect::time", &["detect::tuning", "packet"]),
    ("detect::ranges", &["detect::tuning"]),
    ("detect::majority", &["detect::probe"]),
    (
        "detect::scan",
        &[
            "detect::majority",
            "detect::names",
            "detect::party",
            "detect::probe",
            "detect::provenance",
            "detect::ranges",
            "detect::tuning",
            "packet",
        ],
    ),
    ("detect::party", &[]),
    ("detect::worth", &["detect::scan"]),
    ("detect::provenance", &["detect::names"]),
    ("detect::subject", &[]),
    (
        "detect::snapshot",
        &[
            "detect::names",
            "detect::probe",
            "detect::scan",
            "detect::subject",
            "detect::tuning",
            "detect::wanted",
            "packet",
            "detect::party",
            "detect::provenance",
            "detect::worth",
        ],
    ),
    ("detect::merge", &["detect::probe", "detect::snapshot"]),
    ("detect::wanted", &["detect::memory", "detect::ranges", "detect::tuning"]),
    (
        "detect::distinct",
        &["detect::memory", "detect::ranges", "detect::scan", "detect::time", "detect::tuning"],
    ),
    ("detect::table", &["detect::memory", "detect::time", "detect::tuning"]),
    ("detect::ignore", &["detect::networks", "detect::probe", "detect::snapshot"]),
    (
        "detect::rule",
        &[
            "detect::names",
            "detect::distinct",
            "detect::ignore",
            "detect::networks",
            "detect::probe",
            "detect::snapshot",
            "detect::subject",
            "detect::party",
            "detect::provenance",
            "detect::time",
            "detect::tuning",
        ],
    ),
    ("detect::ground", &["detect::rule", "detect::time"]),
    ("detect::verdict", &["detect::rule", "detect::scan"]),
    ("detect::episode", &["detect::scan", "detect::tuning"]),
    (
        "detect::retired",
        &["detect::distinct", "detect::memory", "detect::probe", "detect::scan", "detect::worth"],
    ),
    ("detect::sink", &["detect::scan", "detect::time", "detect::wanted", "packet"]),
    (
        "detect::row",
        &[
            "detect::distinct",
            "detect::episode",
            "detect::majority",
            "detect::probe",
            "detect::table",
            "detect::time",
            "detect::tuning",
        ],
    ),
    (
        "detect::rows",
        &[
            "detect::names",
            "detect::distinct",
            "detect::memory",
            "detect::networks",
            "detect::probe",
            "detect::retired",
            "detect::row",
            "detect::rule",
            "detect::scan",
            "detect::sink",
            "detect::snapshot",
            "detect::table",
            "detect::time",
            "detect::tuning",
            "detect::verdict",
            "packet",
            "detect::party",
            "detect::provenance",
        ],
    ),
    ("detect::batch", &["detect::memory", "detect::probe", "detect::table", "detect::tuning", "packet"]),
    (
        "detect::tracker",
        &[
            "detect::batch",
            "detect::distinct",
            "detect::memory",
            "detect::probe",
            "detect::retired",
            "detect::row",
            "detect::rows",
            "detect::ground",
            "detect::rule",
            "detect::scan",
            "detect::sink",
            "detect::snapshot",
            "detect::table",
            "detect::time",
            "detect::tuning",
            "detect::verdict",
            "detect::wanted",
            "detect::party",
        ],
    ),
    (
        "detect::targets",
        &[
            "detect::batch",
            "detect::provenance",
            "detect::distinct",
            "detect::episode",
            "detect::majority",
            "detect::memory",
            "detect::names",
            "detect::networks",
            "detect::party",
            "detect::probe",
            "detect::ranges",
            "detect::ground",
            "detect::rule",
            "detect::scan",
            "detect::sink",
            "detect::snapshot",
            "detect::time",
            "detect::tracker",
            "detect::tuning",
            "detect::verdict",
            "detect::wanted",
        ],
    ),
    (
        "detect::explain",
        &[
            "detect::ignore",
            "detect::names",
            "detect::rule",
            "detect::scan",
            "detect::snapshot",
            "detect::table",
            "detect::time",
            "detect::tracker",
            "detect::tuning",
            "packet",
        ],
    ),
    (
        "detect::detector",
        &[
            "detect::batch",
            "detect::explain",
            "detect::memory",
            "detect::probe",
            "detect::ground",
            "detect::rule",
            "detect::scan",
            "detect::sink",
            "detect::snapshot",
            "detect::targets",
            "detect::time",
            "detect::tracker",
            "detect::tuning",
            "packet",
            "detect::wanted",
        ],
    ),
    // Only tests use it, and it may use all.
    (
        "detect::world",
        &[
            "detect::detector",
            "detect::explain",
            "detect::probe",
            "detect::rule",
            "detect::scan",
            "detect::snapshot",
            "detect::time",
            "packet",
        ],
    ),
    ("publish", &[]),
    ("publish::sample", &["detect", "packet"]),
    ("publish::snapshot", &["capture", "detect", "packet", "publish::sample"]),
    ("publish::store", &["capture", "detect", "publish::snapshot", "system::clock"]),
    ("publish::recent", &["detect"]),
    ("publish::vitals", &["publish::store"]),
    (
        "publish::metrics",
        &[
            "capture",
            "detect",
            "packet",
            "publish::recent",
            "publish::sample",
            "publish::snapshot",
            "system::clock",
            "system::counters",
            "text::units",
        ],
    ),
    ("publish::explain", &["detect", "text", "text::time", "text::units"]),
    (
        "pipeline",
        &[
            "capture",
            "detect",
            "packet",
            "packet::datagram",
            "packet::decode",
            "packet::filter",
            "packet::fragments",
            "packet::tunnel",
            "pipeline::vantage",
            "publish::sample",
            "publish::snapshot",
            "system::clock",
            "system::memory",
        ],
    ),
    ("pipeline::vantage", &["detect", "packet"]),
    ("logger", &["system::clock", "system::counters", "text", "text::time"]),
    ("events", &[]),
    ("events::record", &["detect", "packet", "text::time"]),
    ("events::flood", &["detect"]),
    (
        "events::storm",
        &[
            "detect",
            "events::flood",
            "events::storm::few",
            "events::storm::life",
            "events::storm::look",
            "events::storm::outstanding",
            "packet",
        ],
    ),
    ("events::storm::few", &["detect", "events::storm::look"]),
    ("events::storm::life", &[]),
    ("events::storm::look", &["detect", "events::storm::outstanding", "packet"]),
    ("events::storm::outstanding", &["detect"]),
    (
        "events::notify",
        &[
            "detect",
            "events::flood",
            "events::record",
            "events::storm",
            "logger",
            "publish::recent",
            "system::clock",
            "text::units",
        ],
    ),
    ("events::losses", &["detect", "publish::snapshot"]),
    ("events::outages", &["capture", "events::losses", "logger", "publish::store"]),
    (
        "events::blindness",
        &["events::losses", "events::outages", "publish::store", "publish::snapshot", "system::counters"],
    ),
    (
        "web",
        &[
            "detect",
            "events::record",
            "packet",
            "pipeline",
            "publish::explain",
            "publish::metrics",
            "publish::recent",
            "publish::snapshot",
            "publish::store",
            "system::clock",
            "system::counters",
            "system::files",
            "system::systemd",
            "system::version",
            "text",
            "text::time",
            "text::units",
            "text::yaml",
            "web::config",
            "web::fair",
            "web::limits",
        ],
    ),
    // A crate of its own one day: of the rest of the room it knows who may wait, and how long.
    (
        "web::config",
        &[
            "system::clock",
            "system::counters",
            "system::files",
            "text",
            "text::yaml",
            "web::fair",
            "web::limits",
        ],
    ),
    ("web::fair", &["system::clock"]),
    ("web::limits", &[]),
    (
        "settings::flags",
        &["capture", "detect", "logger", "settings::syntax", "system::version", "text::time", "text::units"],
    ),
    ("settings::syntax", &["detect", "text", "text::units", "text::yaml"]),
    ("settings::named", &["detect", "settings::syntax", "text::yaml"]),
    ("settings::several", &["settings::syntax", "text::yaml"]),
    (
        "settings::file",
        &[
            "detect",
            "settings::named",
            "settings::several",
            "settings::syntax",
            "system::files",
            "text",
            "text::yaml",
        ],
    ),
    ("settings::databases", &["detect", "settings::file", "system::files", "text", "text::yaml"]),
    (
        "settings",
        &[
            "capture",
            "detect",
            "pipeline",
            "publish::sample",
            "settings::databases",
            "settings::file",
            "settings::flags",
            "settings::named",
            "settings::syntax",
            "system::memory",
            "text",
            "text::units",
            "web",
        ],
    ),
    (
        "history",
        &[
            "events::notify",
            "events::record",
            "packet",
            "settings::flags",
            "system::clock",
            "text",
            "text::time",
            "text::units",
            "web",
        ],
    ),
    ("replay::waiting", &["detect"]),
    ("replay::order", &["detect", "packet", "replay::waiting"]),
    ("replay::remarks", &["capture", "detect", "packet", "publish::snapshot", "replay::order"]),
    ("replay::table", &["detect", "events::record", "packet", "text"]),
    ("replay::progress", &["system::clock", "text"]),
    ("replay::rotation", &["capture", "packet", "replay::order", "replay::waiting"]),
    (
        "replay",
        &[
            "capture",
            "detect",
            "events::record",
            "packet",
            "pipeline",
            "publish::metrics",
            "publish::sample",
            "publish::snapshot",
            "replay::order",
            "replay::remarks",
            "replay::progress",
            "replay::rotation",
            "replay::table",
            "replay::waiting",
            "settings",
            "settings::flags",
        ],
    ),
    (
        "app",
        &[
            "capture",
            "detect",
            "events::blindness",
            "events::notify",
            "logger",
            "pipeline",
            "pipeline::vantage",
            "publish::store",
            "publish::metrics",
            "publish::recent",
            "publish::sample",
            "publish::snapshot",
            "publish::vitals",
            "settings",
            "settings::flags",
            "system::clock",
            "system::memory",
            "system::privilege",
            "system::systemd",
            "system::version",
            "text",
            "text::units",
            "web",
        ],
    ),
];

/// Outside crates and the module each belongs to; one that packs two unlike things has two rows.
const OWNERS: &[(&str, &str)] = &[
    ("pcap", "capture"),
    ("libc", "capture"),
    // Its list of system calls, by number.
    ("libc", "system::privilege"),
    ("libc", "system::memory"),
    ("landlock", "system::privilege"),
    ("seccompiler", "system::privilege"),
    ("nix", "system::privilege"),
    ("etherparse", "packet::ip"),
    ("prometheus", "publish::metrics"),
    ("hyper", "web"),
    ("hyper", "web::config"),
    ("tokio_rustls", "web"),
    ("tokio_rustls", "web::config"),
    ("x509_parser", "web::config"),
    // Dates of a server's certificate, for our own client.
    ("x509_parser", "web"),
    ("bcrypt", "web::config"),
    ("ring", "web::config"),
    // The hashes in the page's policy.
    ("ring", "web"),
    ("prost", "publish::metrics"),
    ("clap", "settings::flags"),
    ("serde_saphyr", "text::yaml"),
    ("sd_notify", "system::systemd"),
    ("indicatif", "replay::progress"),
    ("flate2", "capture"),
    ("flate2", "web"),
    ("foldhash", "detect::ground"),
    ("foldhash", "detect::rows"),
    ("foldhash", "detect::tracker"),
    ("foldhash", "detect::targets"),
    ("maxminddb", "settings::databases"),
    ("siphasher", "publish::sample"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of `MAY_USE` that a path begins with: the longest.
fn row(path: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    let begins =
        |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    MAY_USE.iter().filter(|(name, _)| begins(name)).max_by_key(|(name, _)| name.len())
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The files of the crate, each with its path in it: `packet::decode`.
fn modules() -> Vec<(String, PathBuf)> {
    let source = root().join("src");
    let module = |file: &Path| {
        let path = file.strip_prefix(&source).expect("below src").with_extension("");
        let words: Vec<_> =
            path.iter().map(|word| word.to_string_lossy()).filter(|word| word != "mod").collect();
        words.join("::")
    };
    let named = files(&source).into_iter().map(|file| (module(&file), file));
    let is_code = |name: &str| !["build", "lib", "main"].contains(&name) && !name.ends_with("::tests");
    named.filter(|(name, _)| is_code(name)).collect()
}

/// Code without its comments and its tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("readable");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The paths that follow `crate::`, those in braces one by one.
fn used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        branches("", &code[at + "crate::".len()..], &mut used);
    }
    used
}

/// Gathers the paths of a tree of uses (`a::{b, c::d}`) and says what follows it.
fn branches<'a>(stem: &str, tree: &'a str, used: &mut BTreeSet<String>) -> &'a str {
    let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(tree.len());
    let (path, mut rest) = tree.split_at(end);
    let path = format!("{stem}{path}");
    if !path.ends_with("::") || !rest.starts_with('{') {
        used.insert(path);
        return rest;
    }
    loop {
        rest = branches(&path, rest[1..].trim_start(), used).trim_start();
        rest = rest.find([',', '}']).map_or("", |at| &rest[at..]);
        if !rest.starts_with(',') {
            return rest.get(1..).unwrap_or("");
        }
        if let Some(after) = rest[1..].trim_start().strip_prefix('}') {
            return after;
        }
    }
}

#[test]
fn uses_are_read_as_the_compiler_reads_them() {
    let code = "use crate::a::{self, b::C,\n    d::{E, F},\n};\nlet x = crate::g::h(1, 2);";
    let used: Vec<_> = used(code).into_iter().collect();
    assert_eq!(used, ["a::b::C", "a::d::E", "a::d::F", "a::self", "g::h"]);
}

#[test]
fn arrows_point_one_way() {
    let mut wrong = Vec::new();
    for (module, file) in modules() {
        let Some((name, allowed)) = row(&module) else {
            panic!("{module} has no place in the architecture: add it to MAY_USE");
        };
        for path in used(&code(&file)) {
            match row(path.trim_end_matches("::self")) {
                Some((other, _)) if other == name || allowed.contains(other) => {}
                other => wrong.push(format!("{module} uses {path} ({:?})", other.map(|row| row.0))),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lines of a file without its tests, beyond which it has two subjects. (The compiler watches the length of functions.)
const MOST_LINES: usize = 400;

/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

#[test]
fn no_file_is_long() {
    let length = |file: &Path| {
        let text = fs::read_to_string(file).expect("readable");
        text.lines().take_while(|line| *line != "mod tests {").count()
    };
    let modules = modules();
    let long = modules.iter().filter(|(_, file)| length(file) > MOST_LINES).map(|(name, _)| name.as_str());
    let excepted: Vec<_> = LONGER.iter().map(|(name, _)| *name).collect();
    assert_eq!(long.collect::<Vec<_>>(), excepted, "split it by subject, or give a reason in LONGER");
}

/// Whether one can come back to where one began.
fn circle<'a>(from: &'a str, arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>, path: &mut Vec<&'a str>) -> bool {
    if path.contains(&from) {
        path.push(from);
        return true;
    }
    path.push(from);
    for to in arrows.get(from).into_iter().flatten() {
        if circle(to, arrows, path) {
            return true;
        }
    }
    path.pop();
    false
}

#[test]
fn the_list_itself_has_no_circle_between_modules_or_rooms() {
    let room = |name: &'static str| name.split("::").next().expect("a word");
    let (mut modules, mut rooms) = (BTreeMap::new(), BTreeMap::<_, BTreeSet<_>>::new());
    for (name, allowed) in MAY_USE {
        modules.insert(*name, allowed.iter().copied().collect::<BTreeSet<_>>());
        let others = allowed.iter().map(|other| room(other)).filter(|other| *other != room(name));
        rooms.entry(room(name)).or_default().extend(others);
    }
    for arrows in [&modules, &rooms] {
        for from in arrows.keys() {
            let mut path = Vec::new();
            assert!(!circle(from, arrows, &mut path), "a circle: {}", path.join(" → "));
        }
    }
}

/// Rooms whose files may not use one another in a circle, that of the room itself (`mod.rs`) included.
const WITHOUT_CIRCLES: &[&str] = &["app", "settings", "system", "text", "web"];

#[test]
fn no_circle_between_the_files_of_a_room() {
    let modules = modules();
    let names: BTreeSet<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
    // The file in which a path ends: the longest that it begins with.
    let file_of = |path: &str| {
        let ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]);
        ends.filter_map(|end| names.get(&path[..end]).copied()).last()
    };
    for room in WITHOUT_CIRCLES {
        let mut arrows = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (module, file) in modules.iter().filter(|(name, _)| name.split("::").next() == Some(room)) {
            let code = code(file);
            let mut paths = used(&code);
            // `super` is the room of a file in it.
            let above = module.rsplit_once("::").map_or("", |(above, _)| above);
            paths.extend(used(&code.replace("super::", &format!("crate::{above}::"))));
            // A module's own children, by their names alone.
            if file.ends_with("mod.rs") {
                let children = names.iter().filter_map(|name| name.strip_prefix(&format!("{module}::")));
                for child in children.filter(|child| code.contains(&format!("{child}::"))) {
                    paths.insert(format!("{module}::{child}"));
                }
            }
            let others = paths.iter().filter_map(|path| file_of(path)).filter(|other| other != module);
            arrows.entry(module).or_default().extend(others.filter(|other| other.starts_with(room)));
        }
        for from in arrows.keys() {
            let mut path = Vec::new();
            assert!(!circle(from, &arrows, &mut path), "a circle: {}", path.join(" → "));
        }
    }
}

#[test]
fn each_outside_crate_has_one_owner() {
    let mut wrong = Vec::new();
    for (module, file) in modules() {
        let module = row(&module).expect("a place in the architecture").0;
        let code = code(&file);
        for (outside, owner) in OWNERS {
            let named = [format!("use {outside}::"), format!(" {outside}::"), format!("({outside}::")];
            if !OWNERS.contains(&(*outside, module)) && named.iter().any(|text| code.contains(text.as_str()))
            {
                wrong.push(format!("{module} uses {outside}, which belongs to {owner}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn documents_name_only_metrics_that_exist() {
    let known: BTreeSet<&str> = portscan_exporter::publish::metrics::family_names().into_iter().collect();
    let mut files = vec![root().join("README.md")];
    let mut folders = vec![root().join("alerts"), root().join("grafana"), root().join("deploy")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).expect("it is there") {
            let path = file.expect("readable").path();
            let is_picture = path.extension().is_some_and(|extension| extension == "png");
            if path.is_dir() {
                folders.push(path)
            } else if !is_picture {
                files.push(path)
            }
        }
    }
    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        for (at, _) in text.match_indices("portscan_") {
            if text[..at].ends_with(|c: char| c.is_alphanumeric() || "_:/".contains(c)) {
                continue;
            }
            let name: String =
                text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .fold(name.as_str(), |name, end| name.strip_suffix(end).unwrap_or(name));
            let recorded = text[at + name.len()..].starts_with(':');
            let other = ["portscan_exporter", "portscan_"].contains(&name.as_str());
            if known.contains(name.as_str()) || known.contains(base) {
                named.insert(base.to_owned());
            } else if !recorded && !other {
                wrong.push(format!("{name} in {}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "no such metric: {}", wrong.join(", "));
    assert!(named.len() > 10, "the documents name hardly any metric: does this test still read them?");
}

#[test]
fn the_readme_names_every_metric_and_every_field() {
    let readme = fs::read_to_string(root().join("README.md")).expect("readable");
    let mut missing: Vec<String> = portscan_exporter::publish::metrics::family_names()
        .into_iter()
        .filter(|name| name.starts_with("portscan_") && !readme.contains(&format!("`{name}`")))
        .map(str::to_owned)
        .collect();
    let json = FIELDS.iter().filter_map(|field| field.json).map(|json| json.name);
    missing.extend(json.filter(|name| !readme.contains(&format!("`{name}`"))).map(str::to_owned));
    let logged = FIELDS.iter().filter_map(|field| field.log);
    missing.extend(
        logged
            .chain(["event", "suppressed", "suppressed_hits"])
            .map(|field| format!("PORTSCAN_{}", field.to_uppercase()))
            .filter(|name| !readme.contains(&**name)),
    );
    assert!(missing.is_empty(), "the README does not name {missing:?}");
}

/// Who looks for a test begins at tests/README.md.
#[test]
fn every_test_is_in_the_table_of_tests() {
    let tests = root().join("tests");
    let table = fs::read_to_string(tests.join("README.md")).expect("readable");
    let programs = fs::read_dir(&tests).expect("it is there").map(|entry| entry.expect("readable").path());
    let is_program =
        |path: &PathBuf| path.extension().is_some_and(|is| is == "rs") || path.join("main.rs").exists();
    let name = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let missing: Vec<_> =
        programs.filter(is_program).map(name).filter(|name| !table.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "tests/README.md has no row for {missing:?}: add the name to one");
}

/// The laws of the core are listed where the core begins, and each is held by tests that are there.
#[test]
fn the_laws_name_tests_that_exist() {
    let laws = fs::read_to_string(root().join("src/detect/mod.rs")).expect("readable");
    let mut named = 0;
    for law in laws.lines().filter(|line| line.starts_with("//! | ") && line.contains("::")) {
        for test in law.split('`').filter(|word| word.contains(".rs::")) {
            let (file, name) = test.split_once("::").expect("just seen");
            let code = fs::read_to_string(root().join(file)).expect("a file that a law names");
            assert!(code.contains(&format!("fn {name}(")), "no test {test}");
            named += 1;
        }
    }
    assert!(named > 10, "does this test still read the laws?");
}
