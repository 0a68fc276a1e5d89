//! What the registry tells subscribers: changes of status, refusals that only a change can cure, the acting primary.

use serde_json::{Value, json};
use tracing::{info, warn};

use super::RegistryActor;
use super::entry::Entry;
use crate::event::EventKind;
use crate::gateway_report::{GatewayReport, Phase, Status};
use crate::machines::election::PrimaryChange;
use crate::store::records::{AuditActor, AuditEntry, AuditResult};

impl RegistryActor {
    /// Publishes what is news between two reports of a gateway.
    pub(super) fn announce_report(&self, entry: &Entry, before: &GatewayReport) {
        let after = &entry.report;
        if after.status != before.status {
            log_status_change(entry, before);
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
            // The reason is kept while a blocked gateway is re-checked: finding it again is no news.
            let known = before.last_error.as_ref().is_some_and(|problem| problem.code == code);
            if known {
                return;
            }
            if after.status == before.status {
                log_status_change(entry, before);
            }
            self.events.publish(EventKind::GatewayBlocked, blocked(entry));
        }
    }

    /// Publishes a change of the acting primary and records it.
    pub(super) fn announce_primary(&self, change: &PrimaryChange) {
        let named = |id: Option<crate::ids::GatewayId>| match id {
            Some(id) => json!({ "id": id, "name": self.entries.get(&id).map(|entry| entry.record.name.clone()) }),
            None => Value::Null,
        };
        let details = json!({ "from": named(change.from), "to": named(change.to), "reason": change.reason });
        self.events.publish(EventKind::GatewayPrimary, details.clone());
        self.audit.note(AuditEntry {
            at_ms: self.clock.wall_ms(),
            actor: AuditActor::system(),
            address: None,
            request_id: None,
            action: "gateway.primary".to_owned(),
            target: change.to.map(|id| format!("gateway {id}")),
            result: AuditResult::Ok,
            details,
        });
    }
}

/// One line per change of status: what the API, the metrics and the events show at the same time.
fn log_status_change(entry: &Entry, before: &GatewayReport) {
    let after = &entry.report;
    let (id, name) = (entry.record.id.0, &entry.record.name);
    let (from, to) = (before.status.as_str(), after.status.as_str());
    match &after.last_error {
        Some(problem) if after.status != Status::Online => {
            let (reason, words) = (&problem.code, &problem.message);
            warn!(gateway.id = id, gateway.name = %name, from, to, reason, words, "gateway status changed");
        }
        _ => {
            let reason = after.phase.as_str();
            info!(gateway.id = id, gateway.name = %name, from, to, reason, "gateway status changed");
        }
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
