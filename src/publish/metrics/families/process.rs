//! What the exporter says of itself: what it was built from, its configuration, its log, its web server, its resources. Most of its
//! counters are in `system::counters`.

use super::super::family::{Family, counter, gauge};
use crate::detect::Family as AddressFamily;
use crate::publish::recent::SCANS;

pub(super) static FAMILIES: &[Family] = &[
    // The exporter and its configuration.
    gauge(
        "portscan_exporter_build_info",
        &["libpcap", "revision", "rustversion", "version"],
        "A metric with a constant '1' value labeled by what portscan_exporter was built from.",
        |view, samples| {
            view.state(|state| {
                let build = &state.build;
                let labels = [&*build.libpcap, &*build.revision, &*build.rustversion, &*build.version];
                samples.count(&labels, 1);
            });
        },
    ),
    gauge(
        "portscan_threshold_ports",
        &["window"],
        "Distinct ports within the window at which a source counts as scanning.",
        |view, samples| {
            view.each_rule(|_, window, rule| {
                if rule.counts_ports() {
                    samples.count(&[window], rule.threshold.into());
                }
            });
        },
    ),
    gauge(
        "portscan_threshold_hosts",
        &["window"],
        "Distinct hosts within the window at which a source counts as sweeping them.",
        |view, samples| {
            view.each_rule(|_, window, rule| {
                if rule.counts_hosts() {
                    samples.count(&[window], rule.threshold.into());
                }
            });
        },
    ),
    gauge(
        "portscan_threshold_block_ports",
        &["window"],
        "Distinct ports within the window with which a sweep is a block.",
        |view, samples| {
            view.each_rule(|_, window, rule| {
                if let Some(ports) = rule.block_ports {
                    samples.count(&[window], ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_hold_seconds",
        &[],
        "How long the peak of a source stays published after it was reached.",
        |view, samples| view.each(|_, s| samples.number(&[], s.detection.hold_nanos as f64 / 1e9)),
    ),
    gauge(
        "portscan_config_last_reload_successful",
        &[],
        "Whether the last attempt to load the configuration succeeded.",
        |view, samples| {
            view.state(|state| samples.count(&[], state.config_last_reload_successful.into()));
        },
    ),
    gauge(
        "portscan_config_last_reload_success_timestamp_seconds",
        &[],
        "When a configuration was last loaded, in seconds since the Unix epoch.",
        |view, samples| {
            view.state(|state| {
                if let Some(time) = state.config_last_reload_success {
                    samples.number(&[], time.as_secs_f64());
                }
            });
        },
    ),
    gauge(
        "portscan_ignored_addresses_ratio",
        &["family"],
        "Share of all addresses (of IPv6, of those in use) that the configuration ignores as sources; at 1 nothing is detected.",
        |view, samples| {
            view.state(|state| {
                for family in AddressFamily::ALL {
                    samples.number(&[family.label()], state.ignored_addresses[family as usize]);
                }
            });
        },
    ),
    gauge(
        "portscan_ignored_ports",
        &[],
        "Ports that the configuration ignores, of 65536.",
        |view, samples| view.state(|state| samples.count(&[], state.ignored_ports)),
    ),
    gauge(
        "portscan_capture_places",
        &[],
        "Interfaces that match a pattern of --capture.interface and have a place.",
        |view, samples| view.state(|state| samples.count(&[], state.places.taken)),
    ),
    gauge(
        "portscan_capture_places_limit",
        &[],
        "The most of them that may have one (--capture.max-interfaces); 0 without a pattern.",
        |view, samples| view.state(|state| samples.count(&[], state.places.limit)),
    ),
    gauge(
        "portscan_capture_unplaced_interfaces",
        &[],
        "Interfaces that match a pattern and have no place: what comes there is not seen.",
        |view, samples| view.state(|state| samples.count(&[], state.places.unplaced)),
    ),
    gauge(
        "portscan_log_records_waiting",
        &[],
        "Log records waiting to be written; many when nobody reads the terminal or the pipe.",
        |view, samples| view.state(|state| samples.count(&[], state.log_records_waiting)),
    ),
    gauge(
        "portscan_recent_scans",
        &[],
        "Open and recent scans that are kept for the API and the page.",
        |view, samples| view.state(|state| samples.count(&[], state.recent.scans)),
    ),
    gauge(
        "portscan_recent_scans_limit",
        &[],
        "The most scans that are kept for the API and the page.",
        |view, samples| view.state(|_| samples.count(&[], SCANS as u64)),
    ),
    counter(
        "portscan_recent_scans_evicted_total",
        &[],
        "Scans that the API and the page show no more, since others took their place; the journal has them.",
        |view, samples| view.state(|state| samples.count(&[], state.recent.evicted)),
    ),
    // The process.
    counter(
        "process_cpu_seconds_total",
        &[],
        "Total user and system CPU time spent in seconds.",
        |view, samples| view.usage(samples, |usage| usage.cpu_seconds),
    ),
    gauge(
        "process_start_time_seconds",
        &[],
        "Start time of the process since unix epoch in seconds.",
        |view, samples| view.usage(samples, |usage| usage.start_time_seconds),
    ),
    gauge("process_resident_memory_bytes", &[], "Resident memory size in bytes.", |view, samples| {
        view.usage(samples, |usage| usage.resident_memory_bytes)
    }),
    gauge("process_virtual_memory_bytes", &[], "Virtual memory size in bytes.", |view, samples| {
        view.usage(samples, |usage| usage.virtual_memory_bytes)
    }),
    gauge("process_open_fds", &[], "Number of open file descriptors.", |view, samples| {
        view.usage(samples, |usage| usage.open_fds)
    }),
    gauge("process_max_fds", &[], "Maximum number of open file descriptors.", |view, samples| {
        view.usage(samples, |usage| usage.max_fds)
    }),
    gauge("process_threads", &[], "Number of OS threads in the process.", |view, samples| {
        view.usage(samples, |usage| usage.threads)
    }),
];
