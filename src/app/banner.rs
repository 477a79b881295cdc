//! What a start says of itself.

use crate::capture::{self, Live};
use crate::detect::{Limits, Policy, Rule, Subject};
use crate::settings::{Ignored, Settings};
use crate::system::memory::about;
use crate::system::version;
use crate::text::units::write_nanos;
use crate::web;

/// Says what is about to happen: version, interfaces with their addresses, window, threshold, listen address.
pub(super) fn banner(
    settings: &Settings,
    lives: &[Vec<Live>],
    listeners: &web::Listeners,
    web_config: Option<&web::ConfigFile>,
) {
    log::info!(
        version = version::VERSION,
        revision = version::REVISION,
        libpcap = capture::libpcap_version().as_str();
        "starting portscan_exporter"
    );
    let all = capture::interfaces();
    for live in lives.iter().filter_map(|shards| shards.first()).filter(|live| live.link().is_some()) {
        let addresses = all.iter().find(|interface| interface.name == live.interface());
        let addresses: Vec<String> = addresses
            .into_iter()
            .flat_map(|interface| &interface.addresses)
            .map(ToString::to_string)
            .collect();
        let addresses = if addresses.is_empty() { String::from("none") } else { addresses.join(",") };
        let threads = settings.flags.capture.threads;
        let interface = live.interface();
        log::info!(interface, addresses = addresses.as_str(), threads; "capturing on {interface} ({addresses})");
    }
    log::info!(
        threshold = settings.policy.threshold,
        window = write_nanos(settings.policy.window_nanos).as_str(),
        hold = write_nanos(settings.limits.hold_nanos).as_str();
        "a source that probes {} distinct ports within {} is a hit",
        settings.policy.threshold,
        write_nanos(settings.policy.window_nanos)
    );
    say_other_rules(settings, &settings.policy);
    warn_of(settings, &settings.policy);
    say_how_many_at_once(settings);
    say_who_can_read(listeners, web_config);
}

/// Says by which rules behind the first it judges, and which there are none of.
pub(super) fn say_other_rules(settings: &Settings, policy: &Policy) {
    let (rules, none) = other_rules(policy);
    let first = settings.limits.memory_bytes;
    let [first, others] =
        [first, settings.limits.total_bytes(policy) - first].map(|bytes| about(bytes as u64));
    log::info!(
        rules = rules.as_str(), none = none.as_str(), memory = others.as_str();
        "other rules: {rules}; they share {others} of tables beside the {first} of the first rule"
    );
    if !none.is_empty() {
        log::info!(
            "no rule for {none}: its threshold is 0, its window is not longer than that of the first rule, or (many sources) \
             --capture.threads splits them"
        );
    }
}

/// The same in words.
fn other_rules(policy: &Policy) -> (String, String) {
    let words = |rule: Rule| {
        let (threshold, window) = (rule.threshold(), write_nanos(rule.window_nanos));
        match (rule.subject, rule.peers) {
            (Subject::Network(prefix), _) => {
                format!("{threshold} ports by an IPv6 /{prefix} within {window}")
            }
            (Subject::Target, peers) => {
                format!("{threshold} ports of one host by {} sources within {window}", peers.unwrap_or(0))
            }
            (Subject::Source, Some(_)) => match rule.ports {
                Some(ports) => format!("{threshold} hosts within {window} (a block with {ports} ports)"),
                None => format!("{threshold} hosts within {window}"),
            },
            (Subject::Source, None) => format!("{threshold} ports within {window}"),
        }
    };
    let has = |is: fn(&Rule) -> bool| policy.behind().any(|rule| is(&rule));
    let none = [
        ("sweeps", has(|rule| rule.counts_peers())),
        ("hopping", has(|rule| matches!(rule.subject, Subject::Network(_)))),
        ("slow scans", has(Rule::counts_ports)),
        ("many sources", has(|rule| rule.subject == Subject::Target)),
    ];
    let none: Vec<_> = none.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
    let rules: Vec<_> = policy.behind().map(words).collect();
    (if rules.is_empty() { String::from("none") } else { rules.join(", ") }, none.join(", "))
}

/// Says where it listens, and who can read what there.
fn say_who_can_read(listeners: &web::Listeners, config: Option<&web::ConfigFile>) {
    let (tls, authentication) =
        config.map_or((false, false), |config| (config.is_tls(), config.authenticates()));
    for address in listeners.addresses() {
        log::info!(
            address = address.to_string().as_str(), tls, authentication;
            "listening on {address}"
        );
    }
    for warning in config.iter().flat_map(|config| config.warnings()) {
        log::warn!("--web.config.file: {warning}");
    }
    if !authentication && listeners.addresses().any(|address| address.ip().is_unspecified()) {
        log::warn!(
            "anyone who reaches this port can read who scans, and a scanner its own count and the threshold: listen on \
             127.0.0.1 or a management address (--web.listen-address), or ask for passwords or certificates \
             (--web.config.file)"
        );
    }
}

/// Says which lists of a policy most likely hold more than was meant, and what has no effect.
pub(super) fn warn_of(settings: &Settings, policy: &Policy) {
    for warning in Ignored::by(policy).warnings(policy) {
        log::warn!("the configuration blinds: {warning}");
    }
    for warning in settings.idle(policy) {
        log::warn!("{warning}");
    }
}

/// A great threshold is reached in a block of memory: says for how many sources there is one, loudly if they are few.
fn say_how_many_at_once(settings: &Settings) {
    let threads = settings.flags.capture.threads as usize;
    let share = Limits { memory_bytes: settings.limits.memory_bytes / threads, ..settings.limits };
    let policy = &settings.policy;
    let slow = policy.slower.iter().filter(|rule| rule.counts_ports());
    let slow = slow.map(|rule| (*rule, share.of_slower(rule, policy)));
    for (rule, limits) in std::iter::once((policy.first_rule(), share)).chain(slow) {
        let (threshold, window) = (rule.threshold(), write_nanos(rule.window_nanos));
        let Some(sources) = limits.sources_at_once(threshold) else { continue };
        let sources = sources * threads;
        const FEW: usize = 100;
        let level = if sources < FEW { log::Level::Warn } else { log::Level::Info };
        log::log!(
            level,
            sources, threshold, window = window.as_str();
            "at most {sources} sources of an interface can be counted up to this threshold at once ({threshold} ports within {window}); \
             --detection.memory sets how many"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_names_every_rule_and_what_there_is_none_for() {
        let all = "25 hosts within 5m (a block with 20 ports), 60 ports by an IPv6 /48 within 10m, 60 ports within 1h, 100 ports of one host by 25 sources within 3m";
        assert_eq!(other_rules(&Policy::standard()), (all.into(), String::new()));
        // As with a first window of 10 minutes.
        let policy = Policy { slower: vec![Rule::SLOW], distributed: None, ..Policy::standard() };
        assert_eq!(
            other_rules(&policy),
            ("60 ports within 1h".into(), "sweeps, hopping, many sources".into())
        );
        assert_eq!(other_rules(&Policy::default()).0, "none");
    }
}
