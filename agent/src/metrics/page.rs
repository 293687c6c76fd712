//! Metrics whose values are read when they are asked for.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet},
    metrics::MetricType,
};

/// Writes one family after the other; one without samples is left out.
pub(super) struct Page<'a>(pub DescriptorEncoder<'a>);

impl Page<'_> {
    pub fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue + Copy) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue + Copy) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    pub fn counters<L: EncodeLabelSet>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (L, u64)>) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        samples.try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None))
    }

    pub fn gauges<L: EncodeLabelSet>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (L, u64)>) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        samples.try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }
}
