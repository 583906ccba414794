//! Prometheus families made by hand, for values that are kept elsewhere, and what Python's client writes besides.
//!
//! Invariant: the text is as vLLM's server writes it where the two libraries differ: bounds of buckets are floats
//! (`le="1.0"`), and every counter, histogram and summary has a gauge `_created` beside it. Called by the other
//! files of the metrics.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary};
use prometheus::{Encoder, TextEncoder};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A value with its labels.
pub(super) enum Sample {
    Counter(f64),
    Gauge(f64),
    /// Observations up to each bound, and of all; their sum.
    Histogram {
        cumulative: Vec<(f64, u64)>,
        count: u64,
        sum: f64,
    },
    Summary {
        count: u64,
        sum: f64,
    },
}

/// A family of at least one metric, all of one kind.
pub(super) fn family<'a>(
    name: &str,
    help: &str,
    metrics: impl IntoIterator<Item = (Vec<(&'a str, String)>, Sample)>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    for (labels, sample) in metrics {
        let mut metric = Metric::from_label(pairs(labels));
        family.set_field_type(match sample {
            Sample::Counter(value) => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
                MetricType::COUNTER
            }
            Sample::Gauge(value) => {
                metric.set_gauge(gauge(value));
                MetricType::GAUGE
            }
            Sample::Histogram { cumulative, count, sum } => {
                let mut histogram = Histogram::default();
                let bucket = |(bound, count)| {
                    let mut bucket = Bucket::default();
                    bucket.set_upper_bound(bound);
                    bucket.set_cumulative_count(count);
                    bucket
                };
                histogram.set_bucket(cumulative.into_iter().map(bucket).collect());
                histogram.set_sample_count(count);
                histogram.set_sample_sum(sum);
                metric.set_histogram(histogram);
                MetricType::HISTOGRAM
            }
            Sample::Summary { count, sum } => {
                let mut summary = Summary::default();
                summary.set_sample_count(count);
                summary.set_sample_sum(sum);
                metric.set_summary(summary);
                MetricType::SUMMARY
            }
        });
        family.mut_metric().push(metric);
    }
    family
}

/// Whether a series of `family` may be called `name`.
pub(super) fn has(family: &MetricFamily, name: &str) -> bool {
    let of = name.strip_prefix(family.name());
    of.is_some_and(|end| ["", "_bucket", "_count", "_sum"].contains(&end))
}

/// `family` with more labels on every metric.
pub(super) fn labelled<'a>(mut family: MetricFamily, more: impl Iterator<Item = (&'a str, String)>) -> MetricFamily {
    let more = pairs(more.collect());
    for metric in family.mut_metric() {
        let mut labels = metric.take_label();
        labels.extend(more.iter().cloned());
        labels.sort();
        metric.set_label(labels);
    }
    family
}

/// One family of each name, with the metrics of all.
pub(super) fn joined(families: impl Iterator<Item = MetricFamily>) -> impl Iterator<Item = MetricFamily> {
    let mut all: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for mut family in families {
        match all.entry(family.name().to_owned()) {
            Entry::Vacant(place) => _ = place.insert(family),
            Entry::Occupied(mut first) => first.get_mut().mut_metric().extend(family.take_metric()),
        }
    }
    all.into_values()
}

/// All `families` as text, with the time since which vLLM's and the HTTP ones count.
pub(super) fn text(families: Vec<MetricFamily>, created: f64) -> prometheus::Result<Vec<u8>> {
    let mut all = Vec::with_capacity(2 * families.len());
    for family in families {
        let beside = created_beside(&family, created);
        all.push(family);
        all.extend(beside);
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&all, &mut text)?;
    Ok(with_float_bounds(&String::from_utf8_lossy(&text)).into_bytes())
}

/// The gauge that says since when a family counts; `None` for gauges, and for those that vLLM has none for.
fn created_beside(family: &MetricFamily, created: f64) -> Option<MetricFamily> {
    let name = match family.get_field_type() {
        _ if !family.name().starts_with("vllm:") && !family.name().starts_with("http_") => return None,
        MetricType::COUNTER => family.name().strip_suffix("_total")?,
        MetricType::HISTOGRAM | MetricType::SUMMARY => family.name(),
        _ => return None,
    };
    let mut beside = MetricFamily::default();
    beside.set_name(format!("{name}_created"));
    beside.set_help(family.help().to_owned());
    beside.set_field_type(MetricType::GAUGE);
    for metric in family.get_metric() {
        let mut at = Metric::from_label(metric.get_label().to_vec());
        at.set_gauge(gauge(created));
        beside.mut_metric().push(at);
    }
    Some(beside)
}

/// Whole bounds as `1.0`: the label is a text, and other versions of Prometheus than the newest compare it as one.
fn with_float_bounds(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("le=\"") {
        let (bound, after) = after.split_once('"').unwrap_or((after, ""));
        let whole = !bound.is_empty() && bound.bytes().all(|c| c.is_ascii_digit());
        for part in [before, "le=\"", bound, if whole { ".0" } else { "" }, "\""] {
            out.push_str(part);
        }
        rest = after;
    }
    out + rest
}

fn gauge(value: f64) -> Gauge {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    gauge
}

fn pairs(mut labels: Vec<(&str, String)>) -> Vec<LabelPair> {
    labels.sort();
    let pair = |(name, value): (&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    };
    labels.into_iter().map(pair).collect()
}
