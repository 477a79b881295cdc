//! What a start says of itself.

use crate::capture::{self, Live};
use crate::detect::Limits;
use crate::settings::{Ignored, Settings};
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
    warn_of(&Ignored::by(&settings.policy).warnings(settings.policy.threshold));
    say_how_many_at_once(settings);
    say_who_can_read(listeners, web_config);
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

/// Says which lists most likely hold more than was meant.
pub(super) fn warn_of(warnings: &[String]) {
    for warning in warnings {
        log::warn!("the configuration blinds: {warning}");
    }
}

/// A great threshold is reached in a block of memory: says for how many sources there is one, loudly if they are few.
fn say_how_many_at_once(settings: &Settings) {
    let threads = settings.flags.capture.threads as usize;
    let share = Limits { memory_bytes: settings.limits.memory_bytes / threads, ..settings.limits };
    let Some(sources) = share.sources_at_once(settings.policy.threshold) else { return };
    let sources = sources * threads;
    const FEW: usize = 100;
    let level = if sources < FEW { log::Level::Warn } else { log::Level::Info };
    log::log!(
        level,
        sources, threshold = settings.policy.threshold;
        "at most {sources} sources of an interface can be counted up to this threshold at once; --detection.memory sets how many"
    );
}
