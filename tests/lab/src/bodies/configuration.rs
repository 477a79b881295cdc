//! The YAML file, from its bytes to the settings.

use super::{assert_one_line, in_memory};
use portscan_exporter::settings::Settings;
use portscan_exporter::settings::file::{self, File, Located, MAX_NETWORKS};
use portscan_exporter::settings::flags;
use portscan_exporter::text::units::write_duration;
use std::ffi::OsString;
use std::fmt::Write;

/// The bytes of a configuration file.
pub fn config(bytes: &[u8]) {
    let path = in_memory(bytes);
    let read = file::load(&path);
    assert_eq!(read, file::load(&path), "the same file reads the same twice");
    let flags = [
        OsString::from("portscan_exporter"),
        "--publish.hold=24h".into(),
        "--config.file".into(),
        path.clone().into(),
    ];
    let settings = Settings::of(flags::parse(flags).expect("flags that parse"));
    match read {
        Err(error) => {
            assert_one_line(&error.to_string());
            assert_eq!(
                settings.map(|_| ()).expect_err("no settings from a broken file").to_string(),
                error.to_string()
            );
            let lines = 1 + bytes.iter().filter(|byte| b"\n\r".contains(byte)).count() as u64;
            assert!(error.line.is_none_or(|line| (1..=lines + 1).contains(&line)), "{error} of {lines}");
        }
        Ok(file) => {
            let networks = &file.ignore.sources;
            assert!(networks.len() <= MAX_NETWORKS);
            assert!(networks.is_sorted() && networks.windows(2).all(|two| !two[0].contains(&two[1])));
            assert!(networks.iter().all(|network| *network == network.trunc()));
            assert!(file.ignore.ports.windows(2).all(|two| two[0] < two[1]));
            match settings {
                Ok(settings) => {
                    let policy = settings.policy;
                    assert!((1_000_000_000..=3_600_000_000_000).contains(&policy.window_nanos));
                    assert!((2..=65_536).contains(&policy.threshold));
                    assert!((1_000_000_000..=86_400_000_000_000).contains(&policy.quiet_nanos));
                    assert!((16..=128).contains(&policy.parties.ipv6_prefix()));
                }
                Err(error) => assert_one_line(&error.to_string()),
            }
            // Written out in the plainest way, it reads the same.
            let written = write(&file);
            let again =
                file::load(&in_memory(written.as_bytes())).unwrap_or_else(|e| panic!("{e}\n{written}"));
            assert_eq!(without_lines(again), without_lines(file), "{written}");
        }
    }
}

fn write(file: &File) -> String {
    let mut text = String::from("detection:\n");
    let detection = &file.detection;
    let mut key = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "  {name}: {value}");
        }
    };
    key("window", detection.window.map(|at| write_duration(at.value)));
    key("threshold", detection.threshold.map(|at| at.value.to_string()));
    key("quiet", detection.quiet.map(|at| write_duration(at.value)));
    key("ipv6_prefix", detection.ipv6_prefix.map(|at| at.value.to_string()));
    text.push_str("  ipv6_prefixes:\n");
    for (network, bits) in detection.ipv6_prefixes.iter() {
        let _ = writeln!(text, "    \"{network}\": {bits}");
    }
    text.push_str("ignore:\n  sources:\n");
    for network in &file.ignore.sources {
        let _ = writeln!(text, "    - \"{network}\"");
    }
    // Runs of ports as ranges: 65,536 lines would not be plain.
    text.push_str("  ports:\n");
    for run in file.ignore.ports.chunk_by(|one, next| one + 1 == *next) {
        let _ = writeln!(text, "    - {}-{}", run[0], run[run.len() - 1]);
    }
    text
}

fn without_lines(mut file: File) -> File {
    fn forget<T>(at: &mut Option<Located<T>>) {
        if let Some(located) = at {
            located.line = 0;
        }
    }
    forget(&mut file.detection.window);
    forget(&mut file.detection.threshold);
    forget(&mut file.detection.quiet);
    forget(&mut file.detection.ipv6_prefix);
    file
}
