//! OpenMetrics 1.0 text.

use super::format::Extra;
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use std::fmt::Write as _;

/// The page; with `created` each counter and histogram says since when it counts.
pub(super) fn encode(families: &[MetricFamily], extra: &Extra<'_>, created: bool) -> String {
    let mut page = String::new();
    for family in families {
        let (base, kind) = match family.get_field_type() {
            // The family goes by the name without what its samples end in.
            MetricType::COUNTER => (family.name().trim_end_matches("_total"), "counter"),
            MetricType::HISTOGRAM => (family.name(), "histogram"),
            _ => (family.name(), "gauge"),
        };
        let _ = writeln!(page, "# TYPE {base} {kind}\n# HELP {base} {}", escaped(family.help()));
        for metric in family.get_metric() {
            write_metric(&mut page, base, family, metric, extra);
            if let (true, "counter" | "histogram", Some(since)) = (created, kind, extra.since) {
                write_sample(&mut page, base, "_created", metric.get_label(), None, since);
                page.push('\n');
            }
        }
    }
    page.push_str("# EOF\n");
    page
}

fn write_metric(page: &mut String, base: &str, family: &MetricFamily, metric: &Metric, extra: &Extra<'_>) {
    let labels = metric.get_label();
    match family.get_field_type() {
        MetricType::COUNTER => {
            write_sample(page, base, "_total", labels, None, metric.get_counter().get_value());
            if let Some(exemplar) = extra.exemplar(family, metric) {
                let _ = write!(page, " # {{scan=\"{}\"}} 1.0 {}", escaped(&exemplar.scan), exemplar.at);
            }
            page.push('\n');
        }
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            let count = histogram.get_sample_count();
            for bucket in histogram.get_bucket() {
                let bound = number(bucket.upper_bound());
                write_sample(page, base, "_bucket", labels, Some(&bound), bucket.cumulative_count() as f64);
                page.push('\n');
            }
            write_sample(page, base, "_bucket", labels, Some("+Inf"), count as f64);
            page.push('\n');
            write_sample(page, base, "_count", labels, None, count as f64);
            page.push('\n');
            write_sample(page, base, "_sum", labels, None, histogram.get_sample_sum());
            page.push('\n');
        }
        _ => {
            write_sample(page, base, "", labels, None, metric.get_gauge().get_value());
            page.push('\n');
        }
    }
}

/// One sample, without the end of its line.
fn write_sample(
    page: &mut String,
    base: &str,
    end: &str,
    labels: &[LabelPair],
    bound: Option<&str>,
    value: f64,
) {
    page.push_str(base);
    page.push_str(end);
    let pairs = labels.iter().map(|pair| (pair.name(), pair.value()));
    for (at, (name, value)) in pairs.chain(bound.map(|bound| ("le", bound))).enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        let _ = write!(page, "{before}{name}=\"{}\"", escaped(value));
    }
    if !labels.is_empty() || bound.is_some() {
        page.push('}');
    }
    let _ = write!(page, " {}", number(value));
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => String::from("+Inf"),
        f64::NEG_INFINITY => String::from("-Inf"),
        _ if value.is_nan() => String::from("NaN"),
        // With a point, as numbers that are no integers are written there.
        _ if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.1}"),
        _ => value.to_string(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}
