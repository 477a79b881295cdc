//! Who may use whom: arrows point one way, each outside crate has one owner, and documents name only what exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the crate and those it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("packet", &[]),
    ("text", &[]),
    ("units", &[]),
    ("version", &[]),
    ("privilege", &["text"]),
    ("memory", &["units"]),
    ("clock", &["packet"]),
    ("filter", &["packet"]),
    ("frames", &["packet"]),
    ("decode", &["packet", "frames"]),
    ("fragments", &["decode", "frames", "packet"]),
    ("detect", &["packet"]),
    ("capture", &["packet", "clock", "filter", "privilege", "frames", "text"]),
    ("sample", &["detect", "packet"]),
    ("snapshot", &["capture", "decode", "detect", "packet", "sample"]),
    ("vantage", &["detect", "packet"]),
    (
        "pipeline",
        &["capture", "clock", "decode", "detect", "fragments", "packet", "sample", "snapshot", "vantage"],
    ),
    ("board", &["clock", "detect", "snapshot"]),
    ("vitals", &["board"]),
    ("metrics", &["capture", "clock", "decode", "detect", "packet", "sample", "snapshot"]),
    ("explain", &["detect", "report", "text", "units"]),
    ("web", &["board", "clock", "explain", "metrics", "pipeline", "systemd", "units", "version"]),
    ("logger", &["clock", "text"]),
    ("notify", &["clock", "detect", "logger", "packet"]),
    ("blindness", &["board", "detect", "logger", "snapshot"]),
    ("systemd", &["text"]),
    ("cli", &["capture", "detect", "units", "version"]),
    ("config", &["detect", "text", "units"]),
    ("settings", &["capture", "cli", "config", "detect", "memory", "sample", "text", "units", "web"]),
    ("order", &["detect", "packet"]),
    ("remarks", &["capture", "decode", "detect", "order", "snapshot"]),
    ("report", &["clock", "detect", "packet"]),
    ("rotation", &["capture", "order", "packet"]),
    (
        "replay",
        &[
            "capture", "cli", "decode", "detect", "metrics", "order", "packet", "pipeline", "remarks",
            "report", "rotation", "sample", "settings", "snapshot",
        ],
    ),
    (
        "app",
        &[
            "blindness",
            "board",
            "capture",
            "cli",
            "clock",
            "detect",
            "logger",
            "memory",
            "metrics",
            "notify",
            "pipeline",
            "privilege",
            "sample",
            "settings",
            "snapshot",
            "systemd",
            "text",
            "units",
            "vantage",
            "version",
            "vitals",
            "web",
        ],
    ),
];

/// Outside crates and the module each belongs to; one that packs two unlike things has two rows.
const OWNERS: &[(&str, &str)] = &[
    ("pcap", "capture"),
    ("libc", "capture"),
    // Its list of system calls, by number.
    ("libc", "privilege"),
    ("libc", "memory"),
    ("landlock", "privilege"),
    ("seccompiler", "privilege"),
    ("nix", "privilege"),
    ("etherparse", "decode"),
    ("prometheus", "metrics"),
    ("hyper", "web"),
    ("clap", "cli"),
    ("serde_saphyr", "config"),
    ("sd_notify", "systemd"),
    ("indicatif", "report"),
    ("flate2", "capture"),
    ("flate2", "web"),
    ("foldhash", "detect"),
    ("siphasher", "sample"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of each module.
fn modules() -> Vec<(String, Vec<PathBuf>)> {
    let mut modules = Vec::new();
    for entry in fs::read_dir(root().join("src")).expect("src is there") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if ["build", "lib", "main"].contains(&name.as_str()) {
            continue;
        }
        let files = if path.is_dir() {
            fs::read_dir(&path).expect("readable").map(|file| file.expect("readable").path()).collect()
        } else {
            vec![path]
        };
        modules.push((name, files));
    }
    modules.sort();
    modules
}

/// Code without its comments and its tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("readable");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The words that follow `crate::`, in paths and in braces.
fn used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let word =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split("};").next().unwrap_or("");
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars().chain([',']) {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            used.insert(word(item.trim()));
                            item.clear();
                            continue;
                        }
                        _ => {}
                    }
                    item.push(c);
                }
            }
            None => {
                used.insert(word(rest));
            }
        }
    }
    used.remove("");
    used
}

#[test]
fn arrows_point_one_way() {
    let mut wrong = Vec::new();
    for (module, files) in modules() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            panic!("{module} has no place in the architecture: add it to MAY_USE");
        };
        for file in files {
            for other in used(&code(&file)) {
                if other != module && !allowed.contains(&other.as_str()) {
                    wrong.push(format!("{module} uses {other} in {}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_list_itself_has_no_circle() {
    for (module, allowed) in MAY_USE {
        for other in *allowed {
            let back = MAY_USE.iter().find(|(name, _)| name == other).expect("a module of the list").1;
            assert!(!back.contains(module), "{module} and {other} use each other");
        }
    }
}

#[test]
fn each_outside_crate_has_one_owner() {
    let mut wrong = Vec::new();
    for (module, files) in modules() {
        for file in files {
            let code = code(&file);
            for (outside, owner) in OWNERS {
                let named = [format!("use {outside}::"), format!(" {outside}::"), format!("({outside}::")];
                if !OWNERS.contains(&(*outside, module.as_str()))
                    && named.iter().any(|text| code.contains(text.as_str()))
                {
                    wrong.push(format!("{module} uses {outside}, which belongs to {owner}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn documents_name_only_metrics_that_exist() {
    let known: BTreeSet<&str> = portscan_exporter::metrics::family_names().into_iter().collect();
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
    let mut missing: Vec<String> = portscan_exporter::metrics::family_names()
        .into_iter()
        .filter(|name| name.starts_with("portscan_") && !readme.contains(&format!("`{name}`")))
        .map(str::to_owned)
        .collect();
    let json = fs::read_to_string(root().join("tests/goldens/syn-scan.pcap.jsonl")).expect("readable");
    let scan: serde_json::Value = serde_json::from_str(json.lines().next().expect("a scan")).expect("JSON");
    let fields = scan.as_object().expect("an object").keys();
    missing.extend(fields.filter(|field| !readme.contains(&format!("`{field}`"))).cloned());
    let notify = fs::read_to_string(root().join("src/notify.rs")).expect("readable");
    let code = notify.split("mod tests {").next().expect("code");
    let fields = code.split("(\"").skip(1).filter_map(|rest| rest.split_once("\", ")).map(|(field, _)| field);
    let fields: Vec<_> =
        fields.filter(|field| field.chars().all(|c| c.is_ascii_lowercase() || c == '_')).collect();
    assert!(fields.len() > 20, "does this test still read the fields of records? {fields:?}");
    missing.extend(
        fields
            .iter()
            .map(|field| format!("PORTSCAN_{}", field.to_uppercase()))
            .filter(|name| !readme.contains(&**name)),
    );
    assert!(missing.is_empty(), "the README does not name {missing:?}");
}
