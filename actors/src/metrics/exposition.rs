//! Text of the exposition format 0.0.4, written family by family so that no more than one is held as objects.

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::histogram::Snapshot;

/// Names and values of one sample's labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    /// One family of gauges; nothing is written for a family without samples.
    pub(super) fn gauges(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        self.family(name, help, MetricType::GAUGE, samples, |metric, value| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        });
    }

    /// One family of counters; the name ends in `_total`.
    #[expect(clippy::cast_precision_loss, reason = "the format's numbers are doubles; counts stay far below 2^53")]
    pub(super) fn counters(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) {
        self.family(name, help, MetricType::COUNTER, samples, |metric, value| {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            metric.set_counter(counter);
        });
    }

    /// One family of histograms.
    pub(super) fn histograms(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, Snapshot)>) {
        self.family(name, help, MetricType::HISTOGRAM, samples, |metric, snapshot| {
            let mut histogram = Histogram::default();
            histogram.set_sample_count(snapshot.count);
            histogram.set_sample_sum(snapshot.sum_seconds);
            histogram.set_bucket(
                snapshot
                    .cumulative
                    .into_iter()
                    .map(|(bound, count)| {
                        let mut bucket = Bucket::default();
                        bucket.set_upper_bound(bound);
                        bucket.set_cumulative_count(count);
                        bucket
                    })
                    .collect(),
            );
            metric.set_histogram(histogram);
        });
    }

    /// All of it.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn family<V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels, V)>,
        fill: impl Fn(&mut Metric, V),
    ) {
        let metrics: Vec<Metric> = samples
            .into_iter()
            .map(|(labels, value)| {
                let mut metric = Metric::from_label(labels.into_iter().map(label_pair).collect());
                fill(&mut metric, value);
                metric
            })
            .collect();
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        if let Err(error) = TextEncoder::new().encode_utf8(&[family], &mut self.text) {
            tracing::error!(metric = name, %error, "a metric could not be rendered");
        }
    }
}

fn label_pair((name, value): (&'static str, String)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value);
    pair
}
