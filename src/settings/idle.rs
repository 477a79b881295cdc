//! Settings that are valid and have no effect, because of another: they are left over, or something else was meant, and a warning says so.
//! (Who asks that something be found that cannot be found is refused.)

use super::flags::Flags;
use super::slow;
use crate::capture::Patterns;
use crate::detect::{Policy, Subject, Technique, Techniques};
use crate::settings::bounds::MAX_INTERFACES;
use crate::settings::ignored::by_ports;

/// Numbers of IP protocols.
const PROTOCOLS: u32 = 256;

/// What has no effect, of these flags and of this policy.
pub(super) fn warnings(flags: &Flags, policy: &Policy) -> Vec<String> {
    let of_flags = flags.command.is_none().then(|| live(flags)).into_iter().flatten();
    of_flags.chain(by_policy(flags, policy)).map(String::from).chain(slow::in_vain(policy)).collect()
}

/// Of the flags that a live capture has.
fn live(flags: &Flags) -> Vec<&'static str> {
    let capture = &flags.capture;
    let has_pattern = capture.interfaces.iter().any(|given| Patterns::is_one(given));
    let is_all_seen = |interface: &String| ["any", "lo"].contains(&interface.as_str());
    let sees_all = !capture.interfaces.is_empty() && capture.interfaces.iter().all(is_all_seen);
    let idle = [
        (
            capture.max_interfaces != MAX_INTERFACES.default && !has_pattern,
            "--capture.max-interfaces has no effect: no --capture.interface is a pattern",
        ),
        (capture.promiscuous && sees_all, "--capture.promiscuous has no effect on any and lo"),
        (
            flags.web.enable_lifecycle && flags.config.file.is_none(),
            "--web.enable-lifecycle has no effect without --config.file: there is nothing to reload",
        ),
    ];
    idle.into_iter().filter_map(|(is_idle, warning)| is_idle.then_some(warning)).collect()
}

/// Of what flags and file say together of detection.
fn by_policy(flags: &Flags, policy: &Policy) -> Vec<&'static str> {
    let is_sweep = |rule: &crate::detect::Rule| rule.subject == Subject::Source && rule.counts_peers();
    let (has_sweep, has_many) = (policy.behind().any(|rule| is_sweep(&rule)), policy.distributed.is_some());
    // `all` means what can be found.
    let is_all = policy.techniques.and(Techniques::of(&[Technique::Ack])) == Techniques::ALL;
    let alerts = policy.names.networks().any(|(_, name)| policy.names.alerts(name).is_some());
    // Of a protocol the number counts as a port.
    let least = policy.behind().filter_map(|rule| by_ports(&rule)).chain([policy.threshold]).min();
    let idle = [
        (
            policy.techniques.contains(Technique::Protocol)
                && !is_all
                && !has_sweep
                && least > Some(PROTOCOLS),
            "protocol in detection.techniques is only counted: there are 256 protocols, and no rule is content with so few",
        ),
        (
            policy.techniques.contains(Technique::Icmp) && !is_all && !has_sweep,
            "icmp in detection.techniques is only counted: it asks for no port, so only the rule for sweeps finds it, and there is none",
        ),
        (
            !policy.home.is_empty() && !has_sweep && !has_many,
            "detection.home has no effect: it is for the rules for sweeps and for scans by many sources, and there is neither",
        ),
        (
            alerts && flags.publish.max_sources == 0,
            "threshold and mute of names have no effect on alerts: --publish.max-sources=0 publishes no source",
        ),
    ];
    idle.into_iter().filter_map(|(is_idle, warning)| is_idle.then_some(warning)).collect()
}

#[cfg(test)]
mod tests {
    use crate::settings::{Settings, flags};
    use std::ffi::OsString;
    use std::io::Write as _;

    /// What a check warns of, with this file.
    fn warnings(words: &str, text: &str) -> Vec<String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let config =
            if text.is_empty() { String::new() } else { format!("--config.file={}", file.path().display()) };
        let words = format!("portscan_exporter {words} {config}");
        let flags = flags::parse(words.split_whitespace().map(OsString::from)).expect("flags that parse");
        let settings = Settings::of(flags).expect("they are valid");
        settings.idle(&settings.policy)
    }

    #[test]
    fn what_has_no_effect_is_warned_of_and_what_has_is_not() {
        const NAMES: &str = "names: {scanner: {networks: [192.0.2.54], mute: true}}";
        const HOME: &str = "detection: {home: [192.0.2.0/24]}";
        const ICMP: &str = "detection: {techniques: [syn, icmp]}";
        const PROTOCOL: &str = "detection: {techniques: [syn, protocol]}";
        for (words, text, idle) in [
            ("", "", ""),
            ("-i eth* --capture.max-interfaces=9", "", ""),
            ("-i eth0 --capture.max-interfaces=9", "", "--capture.max-interfaces has"),
            ("-i any -i eth0 --capture.promiscuous", "", ""),
            ("-i any --capture.promiscuous", "", "--capture.promiscuous has"),
            ("--web.enable-lifecycle", NAMES, ""),
            ("--web.enable-lifecycle", "", "--web.enable-lifecycle has"),
            ("", ICMP, ""),
            ("", PROTOCOL, ""),
            ("--detection.threshold=300", PROTOCOL, ""),
            ("--detection.threshold=256 --detection.sweep-threshold=0", PROTOCOL, ""),
            ("--detection.threshold=300 --detection.sweep-threshold=0", PROTOCOL, ""),
            (
                "--detection.threshold=300 --detection.sweep-threshold=0 --detection.distributed-threshold=0",
                PROTOCOL,
                "protocol in detection.techniques is",
            ),
            ("--detection.sweep-threshold=0", ICMP, "icmp in detection.techniques is"),
            ("--detection.sweep-threshold=0 --detection.techniques=all", "", ""),
            ("--detection.sweep-threshold=0 --detection.techniques=all --detection.replies", "", ""),
            ("--detection.sweep-threshold=0", HOME, ""),
            ("--detection.sweep-threshold=0 --detection.distributed-threshold=0", HOME, "detection.home has"),
            ("--detection.sweep-threshold=0 --capture.threads=2", HOME, "detection.home has"),
            ("", NAMES, ""),
            ("--publish.max-sources=0", NAMES, "threshold and mute of names have"),
            ("--publish.max-sources=0", "names: {office: [192.0.2.0/24]}", ""),
        ] {
            let told = warnings(words, text);
            assert_eq!(told.len(), usize::from(!idle.is_empty()), "{words} {text}: {told:?}");
            assert!(
                told.iter().all(|warning| warning.starts_with(&format!("{idle} no effect"))
                    || warning.starts_with(&format!("{idle} only"))),
                "{told:?}"
            );
        }
    }
}
