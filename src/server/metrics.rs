//! The metrics of this process, in the `OpenMetrics` text format.

use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;

use crate::api::names::LEADER_LEASE;
use crate::leader::Leadership;
use crate::lock::lock;

/// The content type of `/metrics`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry of all metrics. Cheap to clone; all clones share one registry.
#[derive(Clone, Debug, Default)]
pub struct MetricsRegistry {
    registry: Arc<Mutex<Registry>>,
}

impl MetricsRegistry {
    /// A registry with the metrics of the process: leadership, memory and CPU.
    #[must_use]
    pub fn new(leadership: watch::Receiver<Leadership>) -> Self {
        let metrics = Self::default();
        metrics
            .with_registry(|registry| registry.register_collector(Box::new(ProcessCollector { leadership })));
        metrics
    }

    /// Lets `change` register further metrics. Names must not have the suffix `_total`, which is added to counters when they are
    /// written.
    pub fn with_registry<T>(&self, change: impl FnOnce(&mut Registry) -> T) -> T {
        change(&mut lock(&self.registry))
    }

    /// All metrics as text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        self.with_registry(|registry| encode(&mut text, registry))?;
        Ok(text)
    }
}

/// Reads its values during a scrape, so that nothing has to keep them current.
#[derive(Debug)]
struct ProcessCollector {
    leadership: watch::Receiver<Leadership>,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let leads = ConstGauge::new(i64::from(self.leadership.borrow().is_leading()));
        let help = "Whether this process holds the Lease (1) or stands by (0)";
        encoder
            .encode_descriptor("leader_election_master_status", help, None, MetricType::Gauge)?
            .encode_family(&[("name", LEADER_LEASE)])
            .and_then(|family| leads.encode(family))?;
        if let Some(bytes) = resident_memory() {
            let help = "Memory of this process that is in RAM";
            let (name, unit) = ("process_resident_memory", Some(&Unit::Bytes));
            let memory = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            ConstGauge::new(bytes).encode(memory)?;
        }
        if let Some(seconds) = processor_time() {
            let (name, help) = ("process_cpu", "Processor time that this process has used");
            let time = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
            ConstCounter::new(seconds).encode(time)?;
        }
        Ok(())
    }
}

/// From `utime` and `stime` in proc(5), in hundredths of a second on Linux; `None` without that file.
fn processor_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, can contain spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let hundredths: Result<Vec<u32>, _> =
        fields.split_whitespace().skip(11).take(2).map(str::parse).collect();
    Some(hundredths.ok()?.into_iter().map(f64::from).sum::<f64>() / 100.0)
}

/// From `VmRSS` in proc(5), in kibibytes there; `None` without that file.
fn resident_memory() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kibibytes.trim().strip_suffix(" kB")?.parse::<i64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn the_text_has_leadership_and_registered_metrics() {
        let (publish, leadership) = watch::channel(Leadership::Standby { holder: None });
        let metrics = MetricsRegistry::new(leadership);
        let gauge: Gauge = Gauge::default();
        metrics.with_registry(|registry| registry.register("istio_things", "Things", gauge.clone()));
        gauge.set(3);
        let text = metrics.text().unwrap();
        assert!(
            text.contains("leader_election_master_status{name=\"76223278.kyma-project.io\"} 0\n"),
            "{text}"
        );
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(text.contains("process_cpu_seconds_total "), "{text}");
        assert!(text.contains("istio_things 3\n"), "{text}");
        publish.send_replace(Leadership::Leading { until: None });
        let text = metrics.text().unwrap();
        assert!(
            text.contains("leader_election_master_status{name=\"76223278.kyma-project.io\"} 1\n"),
            "{text}"
        );
    }
}
