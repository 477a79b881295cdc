//! Prometheus' protocol buffers (io/prometheus/client/metrics.proto of client_model), each message after its length. Of the forms
//! that Prometheus reads it is the one that says since when a counter counts without a series for that.

use super::format::Extra;
use prometheus::proto::{self, MetricType};
use prost::Message as _;

/// The message's name, as clients ask for it.
pub(super) const MESSAGE: &str = "io.prometheus.client.MetricFamily";

#[derive(Clone, PartialEq, prost::Message)]
struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    help: Option<String>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

/// `MetricType` there.
const COUNTER: i32 = 0;
const GAUGE: i32 = 1;
const HISTOGRAM: i32 = 4;

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Gauge {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Counter {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
    #[prost(message, optional, tag = "2")]
    exemplar: Option<Exemplar>,
    #[prost(message, optional, tag = "3")]
    created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(message, optional, tag = "15")]
    created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The page.
pub(super) fn encode(families: &[proto::MetricFamily], extra: &Extra<'_>) -> Vec<u8> {
    families.iter().flat_map(|family| message(family, extra).encode_length_delimited_to_vec()).collect()
}

fn message(family: &proto::MetricFamily, extra: &Extra<'_>) -> MetricFamily {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => COUNTER,
        MetricType::HISTOGRAM => HISTOGRAM,
        _ => GAUGE,
    };
    MetricFamily {
        name: Some(family.name().to_owned()),
        help: Some(family.help().to_owned()),
        kind: Some(kind),
        metric: family.get_metric().iter().map(|metric| sample(kind, family, metric, extra)).collect(),
    }
}

fn sample(kind: i32, family: &proto::MetricFamily, metric: &proto::Metric, extra: &Extra<'_>) -> Metric {
    let created_timestamp = extra.since.map(timestamp);
    let mut sample = Metric {
        label: metric.get_label().iter().map(|pair| label(pair.name(), pair.value())).collect(),
        ..Metric::default()
    };
    match kind {
        COUNTER => {
            let exemplar = extra.exemplar(family, metric).map(|exemplar| Exemplar {
                label: vec![label("scan", &exemplar.scan)],
                value: Some(1.0),
                timestamp: Some(timestamp(exemplar.at)),
            });
            let value = Some(metric.get_counter().get_value());
            sample.counter = Some(Counter { value, exemplar, created_timestamp });
        }
        HISTOGRAM => {
            let histogram = metric.get_histogram();
            let bucket = |bucket: &proto::Bucket| Bucket {
                cumulative_count: Some(bucket.cumulative_count()),
                upper_bound: Some(bucket.upper_bound()),
            };
            sample.histogram = Some(Histogram {
                sample_count: Some(histogram.get_sample_count()),
                sample_sum: Some(histogram.get_sample_sum()),
                bucket: histogram.get_bucket().iter().map(bucket).collect(),
                created_timestamp,
            });
        }
        _ => sample.gauge = Some(Gauge { value: Some(metric.get_gauge().get_value()) }),
    }
    sample
}

fn label(name: &str, value: &str) -> LabelPair {
    LabelPair { name: Some(name.to_owned()), value: Some(value.to_owned()) }
}

fn timestamp(seconds: f64) -> Timestamp {
    Timestamp { seconds: seconds.floor() as i64, nanos: (seconds.fract() * 1e9) as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_a_message_that_says_since_when_it_counts() {
        let mut counter = proto::Counter::default();
        counter.set_value(7.0);
        let mut metric = proto::Metric::default();
        metric.set_counter(counter);
        let mut family = proto::MetricFamily::default();
        family.set_name(String::from("x_total"));
        family.set_field_type(MetricType::COUNTER);
        family.set_metric(vec![metric]);
        let page = encode(&[family], &Extra { exemplars: &[], since: Some(1_700_000_000.5) });
        let read = MetricFamily::decode_length_delimited(&*page).unwrap();
        let counter = read.metric[0].counter.as_ref().unwrap();
        assert_eq!((read.name.as_deref(), counter.value), (Some("x_total"), Some(7.0)));
        let since = Timestamp { seconds: 1_700_000_000, nanos: 500_000_000 };
        assert_eq!(counter.created_timestamp, Some(since));
    }
}
