//! Every metric of the daemon, declared once. The tree and the HTTP front count here; the daemon only renders it.

use std::time::Duration;

use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;

/// All metrics. Labels are bounded: `gateway` is the record's id, never a name, a URL or an error text.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Self {
        Self::default()
    }

    /// Publishes what a report says: state, breaker, sessions, agents, version, acting primary. By the registry.
    pub fn publish_gateway(&self, _id: GatewayId, _name: &str, _report: &GatewayReport, _acting_primary: bool) {}

    /// Removes every series of a deleted gateway. By the registry.
    pub fn forget_gateway(&self, _id: GatewayId) {}

    /// One heartbeat's or probe's round trip.
    pub fn observe_latency(&self, _id: GatewayId, _round_trip: Duration) {}

    /// One attempt to connect after the first.
    pub fn count_reconnect(&self, _id: GatewayId) {}

    /// One refusal, by its stable code.
    pub fn count_refusal(&self, _id: GatewayId, _code: &str) {}

    /// One request to a gateway: its method (unknown ones count as `other`) and `ok`, `refused`, `timeout`, `lost`.
    pub fn count_rpc(&self, _id: GatewayId, _method: &str, _outcome: &'static str) {}

    /// One frame that was dropped, by reason: `garbage`, `unmatched_reply`, `too_large`, `unknown_event`.
    pub fn count_dropped_frame(&self, _id: GatewayId, _reason: &'static str) {}

    /// Jobs admitted to the store and not finished: `writer` or `reader`.
    pub fn set_store_queue(&self, _which: &'static str, _depth: usize) {}

    /// Messages waiting for the registry.
    pub fn set_registry_mailbox(&self, _depth: usize) {}

    /// Whether the daemon doubts its own network.
    pub fn set_self_doubt(&self, _doubts: bool) {}

    /// One `Gateway` actor was started again after its death.
    pub fn count_actor_restart(&self, _id: GatewayId) {}

    /// One HTTP request, by route pattern.
    pub fn observe_http(&self, _method: &str, _route: &str, _status: u16, _took: Duration) {}

    /// The text exposition, format 0.0.4.
    pub fn render(&self) -> String {
        String::new()
    }
}
