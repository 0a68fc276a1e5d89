//! Text of the exposition format 0.0.4, written family by family so that no more than one is held as objects.

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::catalogue::{Family, Kind};
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
    pub(super) fn gauges(&mut self, family: &Family, samples: impl IntoIterator<Item = (Labels, f64)>) {
        self.family(family, Kind::Gauge, samples, |metric, value| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        });
    }

    /// One family of counters; the name ends in `_total`.
    #[expect(clippy::cast_precision_loss, reason = "the format's numbers are doubles; counts stay far below 2^53")]
    pub(super) fn counters(&mut self, family: &Family, samples: impl IntoIterator<Item = (Labels, u64)>) {
        self.seconds(family, samples.into_iter().map(|(labels, count)| (labels, count as f64)));
    }

    /// One family of counters of something that is no whole number, such as seconds.
    pub(super) fn seconds(&mut self, family: &Family, samples: impl IntoIterator<Item = (Labels, f64)>) {
        self.family(family, Kind::Counter, samples, |metric, value| {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        });
    }

    /// One family of histograms.
    pub(super) fn histograms(&mut self, family: &Family, samples: impl IntoIterator<Item = (Labels, Snapshot)>) {
        self.family(family, Kind::Histogram, samples, |metric, snapshot| {
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
        declared: &Family,
        kind: Kind,
        samples: impl IntoIterator<Item = (Labels, V)>,
        fill: impl Fn(&mut Metric, V),
    ) {
        let metrics: Vec<Metric> = samples
            .into_iter()
            .map(|(labels, value)| {
                debug_assert!(
                    labels.iter().map(|(name, _)| *name).eq(declared.labels.iter().map(|label| label.name)),
                    "{} has other labels than declared",
                    declared.name
                );
                let mut metric = Metric::from_label(labels.into_iter().map(label_pair).collect());
                fill(&mut metric, value);
                metric
            })
            .collect();
        if metrics.is_empty() {
            return;
        }
        debug_assert_eq!(kind, declared.kind, "{} is rendered as something else than declared", declared.name);
        let mut family = MetricFamily::default();
        family.set_name(declared.name.to_owned());
        family.set_help(declared.help.to_owned());
        family.set_field_type(match kind {
            Kind::Gauge => MetricType::GAUGE,
            Kind::Counter => MetricType::COUNTER,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(metrics);
        if let Err(error) = TextEncoder::new().encode_utf8(&[family], &mut self.text) {
            tracing::error!(metric = declared.name, %error, "a metric could not be rendered");
        }
    }
}

fn label_pair((name, value): (&'static str, String)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value);
    pair
}
