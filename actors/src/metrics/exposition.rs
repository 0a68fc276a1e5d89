//! Text of the exposition format 0.0.4, written family by family so that no more than one is held as objects.

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::catalogue::{BOUNDS, Family, Kind};

/// A histogram of seconds: a quarter of the library's size, as each gateway has one.
#[derive(Debug, Clone, Default)]
pub(super) struct Durations {
    /// How many were within each bound and not within the one before.
    within: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Durations {
    pub(super) fn observe(&mut self, seconds: f64) {
        if let Some((_, count)) = BOUNDS.iter().zip(&mut self.within).find(|(bound, _)| seconds <= **bound) {
            *count += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn histogram(&self) -> Histogram {
        let buckets = BOUNDS.iter().zip(&self.within).scan(0, |sum, (bound, count)| {
            *sum += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*sum);
            Some(bucket)
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.count);
        histogram.set_sample_sum(self.sum);
        histogram
    }
}

fn label(name: &str, value: String) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value);
    pair
}

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    /// One family of gauges or counters: the values of each sample's labels, and its own. Nothing is written for a family without
    /// samples.
    pub(super) fn samples<const LABELS: usize>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = ([String; LABELS], f64)>,
    ) {
        debug_assert_eq!(LABELS, family.labels.len(), "{} has other labels than declared", family.name);
        let metric = |(labels, value): ([String; LABELS], f64)| {
            let pairs = family.labels.iter().zip(labels).map(|((name, _), value)| label(name, value));
            let mut metric = Metric::from_label(pairs.collect());
            if family.kind == Kind::Counter {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            } else {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            metric
        };
        self.metrics(family, samples.into_iter().map(metric).collect());
    }

    /// One family without labels; nothing is written where there is no value.
    pub(super) fn value(&mut self, family: &Family, value: impl Into<Option<f64>>) {
        self.samples(family, value.into().map(|value| ([], value)));
    }

    /// One family of histograms with one label.
    pub(super) fn durations<'a>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = (String, &'a Durations)>,
    ) {
        let metrics = samples.into_iter().map(|(value, durations)| {
            let mut metric =
                Metric::from_label(family.labels.iter().map(|(name, _)| label(name, value.clone())).collect());
            metric.set_histogram(durations.histogram());
            metric
        });
        self.metrics(family, metrics.collect());
    }

    fn metrics(&mut self, declared: &Family, metrics: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(declared.name.to_owned());
        family.set_help(declared.help.to_owned());
        family.set_field_type(match declared.kind {
            Kind::Gauge => MetricType::GAUGE,
            Kind::Counter => MetricType::COUNTER,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(metrics);
        self.families(&[family]);
    }

    /// Families that are complete.
    pub(super) fn families(&mut self, families: &[MetricFamily]) {
        for family in families.iter().filter(|family| !family.get_metric().is_empty()) {
            if let Err(error) = TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut self.text) {
                tracing::error!(metric = family.name(), %error, "a metric could not be rendered");
            }
        }
    }

    /// All of it.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

#[expect(clippy::cast_precision_loss, reason = "the format's numbers are doubles; counts stay far below 2^53")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

pub(super) fn count(count: usize) -> f64 {
    as_f64(u64::try_from(count).unwrap_or(u64::MAX))
}

pub(super) fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double exactly")]
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
