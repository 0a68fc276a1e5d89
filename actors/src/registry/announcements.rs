//! What the registry tells subscribers: changes of status, refusals that only a change can cure, the acting primary.

use serde_json::{Value, json};

use super::RegistryActor;
use super::entry::Entry;
use crate::event::EventKind;
use crate::gateway_report::{GatewayReport, Phase};
use crate::machines::election::PrimaryChange;

impl RegistryActor {
    /// Publishes what is news between two reports of a gateway.
    pub(super) fn announce_report(&self, entry: &Entry, before: &GatewayReport) {
        let after = &entry.report;
        if after.status != before.status {
            self.events.publish(EventKind::GatewayStatus, status_change(entry, before));
        }
        let refusal = |report: &GatewayReport| {
            (report.phase == Phase::Blocked)
                .then(|| report.last_error.as_ref().map(|problem| problem.code.clone()))
                .flatten()
        };
        if let Some(code) = refusal(after)
            && refusal(before).as_ref() != Some(&code)
        {
            self.events.publish(EventKind::GatewayBlocked, blocked(entry));
        }
    }

    /// Publishes a change of the acting primary.
    pub(super) fn announce_primary(&self, change: &PrimaryChange) {
        let named = |id: Option<crate::ids::GatewayId>| match id {
            Some(id) => json!({ "id": id, "name": self.entries.get(&id).map(|entry| entry.record.name.clone()) }),
            None => Value::Null,
        };
        self.events.publish(
            EventKind::GatewayPrimary,
            json!({ "from": named(change.from), "to": named(change.to), "reason": change.reason }),
        );
    }
}

fn status_change(entry: &Entry, before: &GatewayReport) -> Value {
    let after = &entry.report;
    json!({
        "gateway_id": entry.record.id,
        "gateway": entry.record.name,
        "from": before.status,
        "to": after.status,
        "phase": after.phase,
        "source": after.source,
        "latency": after.latency_ms,
        "error": after.last_error,
    })
}

fn blocked(entry: &Entry) -> Value {
    json!({
        "gateway_id": entry.record.id,
        "gateway": entry.record.name,
        "status": entry.report.status,
        "error": entry.report.last_error,
        "pairing": entry.report.pairing,
    })
}
