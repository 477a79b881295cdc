//! One family of metrics: its name, type, help and labels, and how its samples become what the encoder takes.

use super::families::View;
use crate::detect::BURST_BOUNDS;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::BTreeMap;

/// One family.
#[derive(Clone, Copy)]
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
    family: Family,
    by_labels: BTreeMap<Vec<String>, Value>,
}

impl Samples {
    /// The name of the family they are of.
    pub(super) fn family(&self) -> &'static str {
        self.family.name
    }

    pub(super) fn number(&mut self, labels: &[&str], value: f64) {
        self.put(labels, Value::Number(value));
    }

    pub(super) fn count(&mut self, labels: &[&str], value: u64) {
        self.number(labels, value as f64);
    }

    pub(super) fn bursts(&mut self, labels: &[&str], buckets: [u64; BURST_BOUNDS.len() + 1], sum: f64) {
        self.put(labels, Value::Bursts { buckets, sum });
    }

    // Prometheus refuses a page that has a series twice. Two files of the same name, or one threshold shown by
    // every interface, are one series: totals add up, of gauges the greatest counts.
    fn put(&mut self, labels: &[&str], value: Value) {
        assert_eq!(
            labels.len(),
            self.family.labels.len(),
            "a sample has a value for each label of its family"
        );
        let key = labels.iter().map(|&label| label.to_owned()).collect();
        let shape = self.family.shape;
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

    pub(super) const fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// The family as it stands, or `None` if it has no sample.
    pub(super) fn collect(&self, view: &View) -> Option<MetricFamily> {
        let mut samples = Samples { family: *self, by_labels: BTreeMap::new() };
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

pub(super) const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&View, &mut Samples),
) -> Family {
    Family { name, shape: Shape::Counter, help, labels, read }
}

pub(super) const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&View, &mut Samples),
) -> Family {
    Family { name, shape: Shape::Gauge, help, labels, read }
}

/// Of each finished burst of probes.
pub(super) const fn histogram_of_bursts(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&View, &mut Samples),
) -> Family {
    Family { name, shape: Shape::Histogram, help, labels, read }
}
