//! What the gateway counts, in the names of document 002.

use prometheus::{Encoder as _, IntCounter, IntGauge, Registry, TextEncoder};

#[derive(Debug, Clone)]
pub(crate) struct GatewayMetrics {
    registry: Registry,
    /// WebSocket connections accepted. (Document 002 calls it "active connections"; a name in `_total` is a counter, so the
    /// connections of this moment are `connections` below.)
    pub connections_total: IntCounter,
    pub connections: IntGauge,
    /// Messages sent to clients, without control frames.
    pub messages_sent: IntCounter,
    /// Messages received from clients, without control frames.
    pub messages_received: IntCounter,
    pub spawn_requests: IntCounter,
    pub auth_failures: IntCounter,
    /// HTTP requests answered, without upgrades and metrics.
    pub http_requests: IntCounter,
    pub webhooks: IntCounter,
    /// Clients closed because they left too much unread.
    pub slow_consumers: IntCounter,
    pub processes_started: IntCounter,
    pub processes: IntGauge,
    /// Since when the gateway runs, in seconds since the Unix epoch.
    pub start_time: IntGauge,
}

impl GatewayMetrics {
    /// Everything at zero.
    ///
    /// # Errors
    /// Never with the names below; the crate checks them at run time.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(format!("openclaw_gateway_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(format!("openclaw_gateway_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            connections_total: counter("connections_total", "WebSocket connections accepted.")?,
            connections: gauge("connections", "WebSocket connections at this moment.")?,
            messages_sent: counter("messages_sent_total", "Messages sent to clients.")?,
            messages_received: counter("messages_received_total", "Messages received from clients.")?,
            spawn_requests: counter("spawn_requests_total", "Agent spawn requests.")?,
            auth_failures: counter("auth_failures_total", "Failed authentications.")?,
            http_requests: counter("http_requests_total", "HTTP requests answered, without upgrades.")?,
            webhooks: counter("webhooks_total", "Webhooks accepted.")?,
            slow_consumers: counter("slow_consumers_total", "Clients closed because they left too much unread.")?,
            processes_started: counter("processes_started_total", "Agent processes started.")?,
            processes: gauge("processes", "Agent processes running at this moment.")?,
            start_time: gauge("start_time_seconds", "When the gateway started, in seconds since the Unix epoch.")?,
            registry,
        })
    }

    pub(crate) fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics could not be written");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_document_002_are_there_from_the_start() {
        let text = GatewayMetrics::new().unwrap().text();
        for name in [
            "connections_total",
            "messages_sent_total",
            "messages_received_total",
            "spawn_requests_total",
            "auth_failures_total",
        ] {
            assert!(text.contains(&format!("\nopenclaw_gateway_{name} 0\n")), "{name} is missing in:\n{text}");
        }
    }

    #[test]
    fn counters_end_in_total_and_gauges_do_not() {
        let metrics = GatewayMetrics::new().unwrap();
        for line in metrics.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        }
    }
}
