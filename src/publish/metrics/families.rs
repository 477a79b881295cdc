//! The one list of families: name, type, help, labels, and how to read the samples from the snapshots.
//! A new metric is one entry here, and its lines in the golden page.

use super::{Cut, Level, ProcessState, Usage, window_label};
use crate::capture::CaptureStatus;
use crate::detect::{BURST_BOUNDS, Evicted, Family as AddressFamily, Ignored, Kind, Technique};
use crate::packet::decode::Skipped;
use crate::publish::sample::{SampleSnapshot, Suppressed};
use crate::publish::snapshot::InterfaceSnapshot;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a scrape can see.
pub(super) struct View<'a> {
    pub(super) interfaces: &'a [Arc<InterfaceSnapshot>],
    pub(super) process: Option<(&'a ProcessState, &'a Usage)>,
}

/// One family.
pub(super) struct Family {
    name: &'static str,
    shape: Shape,
    help: &'static str,
    /// Label names, sorted; a sample gives its values in this order.
    labels: &'static [&'static str],
    read: fn(&View, &mut Samples),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, PartialEq)]
enum Value {
    Number(f64),
    /// Not cumulative; the last bucket is above all of `BURST_BOUNDS`.
    Bursts {
        buckets: [u64; BURST_BOUNDS.len() + 1],
        sum: f64,
    },
}

/// The samples of one family by label values: sorted, and no two alike whatever the interfaces are called.
pub(super) struct Samples {
    shape: Shape,
    labels: usize,
    by_labels: BTreeMap<Vec<String>, Value>,
}

impl Samples {
    fn number(&mut self, labels: &[&str], value: f64) {
        self.put(labels, Value::Number(value));
    }

    fn count(&mut self, labels: &[&str], value: u64) {
        self.number(labels, value as f64);
    }

    // Prometheus refuses a page that has a series twice. Two files of the same name, or one threshold told by
    // every interface, are one series: totals add up, of gauges the greatest counts.
    fn put(&mut self, labels: &[&str], value: Value) {
        assert_eq!(labels.len(), self.labels, "a sample has a value for each label of its family");
        let key = labels.iter().map(|&label| label.to_owned()).collect();
        let shape = self.shape;
        self.by_labels.entry(key).and_modify(|held| held.merge(shape, &value)).or_insert(value);
    }
}

impl Value {
    fn merge(&mut self, shape: Shape, other: &Value) {
        match (self, other) {
            (Value::Number(held), Value::Number(more)) if shape == Shape::Gauge => *held = held.max(*more),
            (Value::Number(held), Value::Number(more)) => *held += more,
            (Value::Bursts { buckets, sum }, Value::Bursts { buckets: more, sum: more_sum }) => {
                for (held, more) in buckets.iter_mut().zip(more) {
                    *held += more;
                }
                *sum += more_sum;
            }
            _ => unreachable!("a family has one shape"),
        }
    }

    fn into_metric(self, shape: Shape, labels: Vec<LabelPair>) -> Metric {
        let mut metric = Metric::from_label(labels);
        match (self, shape) {
            (Value::Bursts { buckets, sum }, _) => metric.set_histogram(histogram(&buckets, sum)),
            (Value::Number(value), Shape::Counter) => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            (Value::Number(value), _) => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        metric
    }
}

fn histogram(buckets: &[u64; BURST_BOUNDS.len() + 1], sum: f64) -> Histogram {
    let mut below = 0;
    let cumulative = BURST_BOUNDS.iter().zip(buckets).map(|(&bound, &count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(cumulative.collect());
    histogram.set_sample_count(buckets.iter().sum());
    histogram.set_sample_sum(sum);
    histogram
}

impl Family {
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    #[cfg(test)]
    pub(super) const fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// The family as it stands, or `None` if it has no sample.
    pub(super) fn collect(&self, view: &View) -> Option<MetricFamily> {
        let mut samples =
            Samples { shape: self.shape, labels: self.labels.len(), by_labels: BTreeMap::new() };
        (self.read)(view, &mut samples);
        if samples.by_labels.is_empty() {
            return None;
        }
        let metrics = samples.by_labels.into_iter().map(|(values, value)| {
            let pairs = self.labels.iter().zip(values).map(|(&name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name(name.to_owned());
                pair.set_value(value);
                pair
            });
            value.into_metric(self.shape, pairs.collect())
        });
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.shape {
            Shape::Counter => MetricType::COUNTER,
            Shape::Gauge => MetricType::GAUGE,
            Shape::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(metrics.collect());
        Some(family)
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&View, &mut Samples),
) -> Family {
    Family { name, shape: Shape::Counter, help, labels, read }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&View, &mut Samples),
) -> Family {
    Family { name, shape: Shape::Gauge, help, labels, read }
}

impl View<'_> {
    fn each(&self, mut read: impl FnMut(&str, &InterfaceSnapshot)) {
        for snapshot in self.interfaces {
            read(&snapshot.interface, snapshot);
        }
    }

    fn each_capture(&self, mut read: impl FnMut(&str, &CaptureStatus)) {
        self.each(|interface, snapshot| read(interface, &snapshot.capture));
    }

    fn each_sample(&self, mut read: impl FnMut(&str, &SampleSnapshot)) {
        self.each(|interface, snapshot| {
            if let Some(sample) = &snapshot.sample {
                read(interface, sample);
            }
        });
    }

    fn state(&self, read: impl FnOnce(&ProcessState)) {
        if let Some((state, _)) = self.process {
            read(state);
        }
    }

    // A number the system would not tell is left out: a zero would be a lie.
    fn usage(&self, samples: &mut Samples, read: impl FnOnce(&Usage) -> Option<f64>) {
        if let Some(value) = self.process.and_then(|(_, usage)| read(usage)) {
            samples.number(&[], value);
        }
    }
}

/// Every family there is.
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
            view.each(|_, s| {
                samples.count(&[&window_label(s.detection.window_nanos)], s.detection.threshold.into());
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
        "Share of all addresses (of IPv6, of those in use) that the configuration ignores as sources; 1 sees nothing.",
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
    counter("portscan_log_records_total", &["level"], "Log records written.", |view, samples| {
        view.state(|state| {
            for level in Level::ALL {
                samples.count(&[level.label()], state.log_records[level as usize]);
            }
        });
    }),
    counter(
        "portscan_log_records_suppressed_total",
        &[],
        "Log records withheld by the flood limit.",
        |view, samples| view.state(|state| samples.count(&[], state.log_records_suppressed)),
    ),
    counter(
        "portscan_log_records_redirected_total",
        &[],
        "Log records written to standard error because journald did not take them.",
        |view, samples| view.state(|state| samples.count(&[], state.log_records_redirected)),
    ),
    counter("portscan_log_records_lost_total", &[], "Log records that nobody took.", |view, samples| {
        view.state(|state| samples.count(&[], state.log_records_lost))
    }),
    gauge(
        "portscan_log_records_waiting",
        &[],
        "Log records that wait to be written: many where nobody reads the terminal or the pipe.",
        |view, samples| view.state(|state| samples.count(&[], state.log_records_waiting)),
    ),
    // The web server, whose clients may be hostile.
    counter(
        "portscan_web_connections_cut_total",
        &["reason"],
        "HTTP connections that were cut, by the reason.",
        |view, samples| {
            view.state(|state| {
                for reason in Cut::ALL {
                    samples.count(&[reason.label()], state.web.cut[reason as usize]);
                }
            });
        },
    ),
    counter(
        "portscan_web_scrapes_refused_total",
        &[],
        "Scrapes refused because as many as allowed were being answered.",
        |view, samples| view.state(|state| samples.count(&[], state.web.scrapes_refused)),
    ),
    counter(
        "portscan_web_questions_refused_total",
        &[],
        "Questions for a source (explain) that got no answer: too many at once, or no capture answered in time.",
        |view, samples| view.state(|state| samples.count(&[], state.web.questions_refused)),
    ),
    counter(
        "portscan_web_accept_failures_total",
        &[],
        "Times a connection could not be accepted, mostly for want of a file descriptor.",
        |view, samples| view.state(|state| samples.count(&[], state.web.accept_failures)),
    ),
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
                        let probes = s.detection.tally.probes[family as usize][technique as usize];
                        samples.count(&[family.label(), name, technique.label()], probes);
                    }
                }
            });
        },
    ),
    counter(
        "portscan_probes_ignored_total",
        &["interface", "reason"],
        "Probes that did not count: their source or port is ignored, is the host itself, or cannot be.",
        |view, samples| {
            view.each(|name, s| {
                for reason in Ignored::ALL {
                    samples.count(&[name, reason.label()], s.detection.tally.ignored[reason as usize]);
                }
            });
        },
    ),
    counter(
        "portscan_clock_steps_total",
        &["interface"],
        "Steps of the clock by more than a second that were bridged.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.tally.clock_steps)),
    ),
    // Scans.
    counter(
        "portscan_hits_total",
        &["interface", "kind", "window"],
        "Scans found: times a source without an open scan reached the threshold.",
        |view, samples| {
            view.each(|name, s| {
                let window = window_label(s.detection.window_nanos);
                for kind in Kind::ALL {
                    samples.count(&[name, kind.label(), &window], s.detection.tally.hits[kind as usize]);
                }
            });
        },
    ),
    gauge("portscan_open_scans", &["interface", "kind"], "Scans that have not ended.", |view, samples| {
        view.each(|name, s| {
            for kind in Kind::ALL {
                samples.count(&[name, kind.label()], s.detection.open_scans[kind as usize]);
            }
        });
    }),
    gauge(
        "portscan_peak_distinct_ports",
        &["interface", "window"],
        "The most distinct ports any source probed within the window, at any time within the hold.",
        |view, samples| {
            view.each(|name, s| {
                let window = window_label(s.detection.window_nanos);
                samples.count(&[name, &window], s.detection.peak_distinct_ports.into());
            });
        },
    ),
    Family {
        name: "portscan_burst_distinct_ports",
        shape: Shape::Histogram,
        help: "The most distinct ports within the window, for each finished burst of probes from one source.",
        labels: &["interface"],
        read: |view, samples| {
            view.each(|name, s| {
                let tally = &s.detection.tally;
                let value = Value::Bursts { buckets: tally.bursts, sum: tally.burst_ports as f64 };
                samples.put(&[name], value);
            });
        },
    },
    counter(
        "portscan_events_lost_total",
        &["interface"],
        "Scan events that were not logged because the queue to the log was full.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.events_lost)),
    ),
    // Sources: at most `portscan_published_sources_limit` of them per interface, whatever arrives.
    gauge(
        "portscan_source_distinct_ports",
        &["interface", "source", "window"],
        "Distinct ports the source probed within the window, now.",
        |view, samples| {
            view.each(|name, s| {
                let window = window_label(s.detection.window_nanos);
                for source in &s.detection.sources {
                    let labels = [name, &source.source.to_string(), &window];
                    samples.count(&labels, source.distinct_ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_source_peak_distinct_ports",
        &["interface", "source", "window"],
        "The most distinct ports the source probed within the window, at any time within the hold.",
        |view, samples| {
            view.each(|name, s| {
                let window = window_label(s.detection.window_nanos);
                for source in &s.detection.sources {
                    let labels = [name, &source.source.to_string(), &window];
                    samples.count(&labels, source.peak_distinct_ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_source_distinct_hosts",
        &["interface", "source"],
        "Distinct hosts the source probed in its latest run of probes.",
        |view, samples| {
            view.each(|name, s| {
                for source in &s.detection.sources {
                    samples.count(&[name, &source.source.to_string()], source.distinct_hosts.into());
                }
            });
        },
    ),
    gauge(
        "portscan_source_last_hit_timestamp_seconds",
        &["interface", "source"],
        "When the source last reached the threshold, in seconds since the Unix epoch.",
        |view, samples| {
            view.each(|name, s| {
                for source in &s.detection.sources {
                    if let Some(time) = source.last_hit {
                        samples.number(&[name, &source.source.to_string()], time.as_secs_f64());
                    }
                }
            });
        },
    ),
    gauge(
        "portscan_published_sources",
        &["interface"],
        "Sources that have series of their own.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.sources.len() as u64)),
    ),
    gauge(
        "portscan_published_sources_limit",
        &["interface"],
        "The most sources that get series of their own.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.published_sources_limit)),
    ),
    gauge(
        "portscan_suppressed_sources",
        &["interface"],
        "Sources with ports enough for series of their own that got none because of the limit; 0 if none are wanted.",
        |view, samples| {
            view.each(|name, s| {
                // A limit of 0 is a choice, not a shortage that someone must be woken for.
                let wanted = s.detection.published_sources_limit > 0;
                samples.count(&[name], if wanted { s.detection.suppressed_sources } else { 0 });
            });
        },
    ),
    // The sample of a fleet: at most `portscan_fleet_sample_sources_limit` sources per interface, whatever arrives.
    gauge(
        "portscan_fleet_sample_source",
        &["interface", "source"],
        "Distinct ports (8: so many or more) of a source that every host of the fleet shows from its first probe on.",
        |view, samples| {
            view.each_sample(|name, sample| {
                for shown in &sample.sources {
                    samples.count(&[name, &shown.source.to_string()], shown.ports.into());
                }
            });
        },
    ),
    gauge(
        "portscan_fleet_sample_sources",
        &["interface"],
        "Sources of the fleet's sample that have a series.",
        |view, samples| {
            view.each_sample(|name, sample| samples.count(&[name], sample.sources.len() as u64));
        },
    ),
    gauge(
        "portscan_fleet_sample_sources_limit",
        &["interface"],
        "The most sources of the fleet's sample that get a series.",
        |view, samples| view.each_sample(|name, sample| samples.count(&[name], sample.limit)),
    ),
    counter(
        "portscan_fleet_sample_suppressed_total",
        &["interface", "reason"],
        "Sources of the fleet's sample that lost their series (replaced), and probes of those that got none (refused).",
        |view, samples| {
            view.each_sample(|name, sample| {
                for reason in Suppressed::ALL {
                    samples.count(&[name, reason.label()], sample.suppressed[reason as usize]);
                }
            });
        },
    ),
    gauge(
        "portscan_fleet_sample_share_ratio",
        &["key"],
        "Share of all sources that is in the fleet's sample; the label is alike where the keys are.",
        |view, samples| {
            view.each_sample(|_, sample| {
                samples.number(&[&sample.fingerprint], 1.0 / f64::from(sample.one_in));
            });
        },
    ),
    // Memory.
    gauge(
        "portscan_tracked_sources",
        &["interface"],
        "Sources that hold a place in memory.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.tracked_sources)),
    ),
    gauge(
        "portscan_tracked_sources_limit",
        &["interface"],
        "The most sources that can hold a place in memory.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.tracked_sources_limit)),
    ),
    gauge(
        "portscan_saturated_sources",
        &["interface"],
        "Sources whose count has stopped growing because the memory for wide sources is spent.",
        |view, samples| view.each(|name, s| samples.count(&[name], s.detection.saturated_sources)),
    ),
    counter(
        "portscan_sources_evicted_total",
        &["interface", "reason"],
        "Sources given up before their time, by the reason.",
        |view, samples| {
            view.each(|name, s| {
                for reason in Evicted::ALL {
                    samples.count(&[name, reason.label()], s.detection.tally.evicted[reason as usize]);
                }
            });
        },
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
