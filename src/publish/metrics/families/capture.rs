//! What each interface says of its capture, from frames to probes.

use super::super::family::{Family, counter, gauge};
use crate::detect::{Family as AddressFamily, Ignored, Technique};
use crate::packet::Skipped;

pub(super) static FAMILIES: &[Family] = &[
    // The capture.
    gauge(
        "portscan_capture_up",
        &["interface"],
        "Whether frames are being captured on the interface now.",
        |view, samples| view.each_capture(|name, capture| samples.count(&[name], capture.up.into())),
    ),
    counter(
        "portscan_capture_received_packets_total",
        &["interface"],
        "Frames that passed the kernel filter.",
        |view, samples| view.each_capture(|name, capture| samples.count(&[name], capture.received)),
    ),
    counter(
        "portscan_capture_dropped_packets_total",
        &["interface"],
        "Frames lost because the capture buffer was full.",
        |view, samples| view.each_capture(|name, capture| samples.count(&[name], capture.dropped)),
    ),
    counter(
        "portscan_capture_interface_dropped_packets_total",
        &["interface"],
        "Frames dropped by the network interface or its driver.",
        |view, samples| view.each_capture(|name, capture| samples.count(&[name], capture.interface_dropped)),
    ),
    counter(
        "portscan_capture_restarts_total",
        &["interface"],
        "Times the capture was reopened after a failure.",
        |view, samples| view.each_capture(|name, capture| samples.count(&[name], capture.restarts)),
    ),
    counter(
        "portscan_capture_pauses_total",
        &["interface"],
        "Times the capture did not run for more than three seconds: stopped, suspended or stuck.",
        |view, samples| view.each_capture(|name, capture| samples.count(&[name], capture.pauses)),
    ),
    gauge(
        "portscan_capture_last_tick_timestamp_seconds",
        &["interface"],
        "When the capture loop last ticked (about once a second), in seconds since the Unix epoch.",
        |view, samples| {
            view.each_capture(|name, capture| {
                if let Some(time) = capture.last_tick {
                    samples.number(&[name], time.as_secs_f64());
                }
            });
        },
    ),
    // From frames to probes.
    counter("portscan_packets_total", &["interface"], "Frames handed to the decoder.", |view, samples| {
        view.each(|name, s| samples.count(&[name], s.packets))
    }),
    counter(
        "portscan_packets_skipped_total",
        &["interface", "reason"],
        "Frames that were no probe, by the reason.",
        |view, samples| {
            view.each(|name, s| {
                for reason in Skipped::ALL {
                    samples.count(&[name, reason.label()], s.skipped[reason as usize]);
                }
            });
        },
    ),
    counter(
        "portscan_probes_total",
        &["family", "interface", "technique"],
        "Packets that asked whether something listens on a port.",
        |view, samples| {
            view.each(|name, s| {
                for family in AddressFamily::ALL {
                    for technique in Technique::ALL {
                        let probes = s.detection.counters.probes[family as usize][technique as usize];
                        samples.count(&[family.label(), name, technique.label()], probes);
                    }
                }
            });
        },
    ),
    counter(
        "portscan_probes_ignored_total",
        &["interface", "reason"],
        "Probes that did not count: the configuration ignores them, or the source is the host itself or a martian.",
        |view, samples| {
            view.each(|name, s| {
                for reason in Ignored::ALL {
                    samples.count(&[name, reason.label()], s.detection.counters.ignored[reason as usize]);
                }
            });
        },
    ),
    counter(
        "portscan_muted_probes_total",
        &["interface"],
        "Probes of sources that the configuration mutes, which would have counted for a scan by many.",
        |view, samples| {
            view.each(|name, s| {
                let muted = s.detection.slower.iter().map(|rule| rule.counters.muted).sum();
                samples.count(&[name], muted);
            });
        },
    ),
    counter(
        "portscan_clock_steps_total",
        &["interface"],
        "Steps of the clock by more than a second that were bridged.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.counters.clock_steps)),
    ),
];
