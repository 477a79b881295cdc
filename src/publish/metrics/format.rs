//! The forms of the page, and which of them a client takes (RFC 9110, section 12.5.1).

use super::{openmetrics, protobuf};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, TextEncoder};

/// A form of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' text, version 0.0.4.
    Text,
    /// OpenMetrics 1.0, with exemplars; with a `_created` series for each counter if the client asks for those.
    OpenMetrics {
        /// Whether it does.
        created: bool,
    },
    /// Prometheus' messages, each after its length, with exemplars and start times.
    Protobuf,
}

/// The scan that a counter of hits was last raised by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exemplar {
    /// The labels of the series, by name.
    pub(crate) labels: [(&'static str, String); 3],
    /// The scan's id.
    pub(crate) scan: String,
    /// When, in seconds since the epoch.
    pub(crate) at: f64,
}

/// The family that has exemplars.
pub(super) const WITH_EXEMPLARS: &str = "portscan_hits_total";

/// What the forms show besides the families.
pub(super) struct Extra<'a> {
    pub(super) exemplars: &'a [Exemplar],
    /// Since when counters count, in seconds since the epoch.
    pub(super) since: Option<f64>,
}

impl Extra<'_> {
    /// The exemplar of a series.
    pub(super) fn exemplar(
        &self,
        family: &MetricFamily,
        metric: &prometheus::proto::Metric,
    ) -> Option<&Exemplar> {
        if family.name() != WITH_EXEMPLARS {
            return None;
        }
        let has = |(name, value): &(&'static str, String)| {
            metric.get_label().iter().any(|pair| pair.name() == *name && pair.value() == value)
        };
        self.exemplars.iter().find(|exemplar| exemplar.labels.iter().all(has))
    }
}

impl Format {
    /// Every form, in an order of its own.
    pub(crate) const ALL: [Format; 4] = [
        Format::Text,
        Format::OpenMetrics { created: false },
        Format::OpenMetrics { created: true },
        Format::Protobuf,
    ];

    /// The form that these `Accept` headers like best; text if they like none. With `created` OpenMetrics has `_created` series.
    pub(crate) fn accepted<'a>(headers: impl Iterator<Item = &'a str>, created: bool) -> Self {
        let mut best = (0.0, Format::Text);
        for range in headers.flat_map(|header| header.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or("").to_ascii_lowercase();
            let parameters: Vec<(String, String)> = parts
                .filter_map(|part| part.split_once('='))
                .map(|(name, value)| {
                    (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned())
                })
                .collect();
            let given =
                |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
            let quality = given("q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
            let version = given("version");
            let format = match &*media {
                "application/openmetrics-text" if version.is_none_or(|it| it == "1.0.0") => {
                    Format::OpenMetrics { created }
                }
                "application/vnd.google.protobuf"
                    if given("proto") == Some(protobuf::MESSAGE)
                        && given("encoding") == Some("delimited") =>
                {
                    Format::Protobuf
                }
                "text/plain" | "text/*" | "*/*" if version.is_none_or(|it| it == "0.0.4") => Format::Text,
                _ => continue,
            };
            if quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }

    /// Its Content-Type; Prometheus 3 refuses a scrape without one.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics { .. } => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    pub(super) fn encode(self, families: &[MetricFamily], extra: &Extra<'_>) -> Vec<u8> {
        match self {
            Format::Text => {
                let mut page = Vec::new();
                TextEncoder::new()
                    .encode(families, &mut page)
                    .expect("every family has a name and a sample, and writing to memory does not fail");
                page
            }
            Format::OpenMetrics { created } => openmetrics::encode(families, extra, created).into_bytes(),
            Format::Protobuf => protobuf::encode(families, extra),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_that_a_client_likes_best() {
        let of = |accept: &str| Format::accepted([accept].into_iter(), false);
        let open = Format::OpenMetrics { created: false };
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("application/openmetrics-text", open),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", open),
            // Prometheus 2.42, and with native histograms; Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                open,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::Protobuf,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                open,
            ),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.1", Format::Text),
            ("application/openmetrics-text;q=0, text/plain;q=0.1", Format::Text),
            ("application/vnd.google.protobuf;proto=other;encoding=delimited", Format::Text),
            ("nonsense;;q=x,,", Format::Text),
        ] {
            assert_eq!(of(accept), format, "{accept}");
        }
    }
}
