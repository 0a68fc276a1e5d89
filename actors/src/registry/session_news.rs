//! What changed between two lists of a gateway's sessions, as `session.update` events.

use std::collections::HashMap;
use std::sync::Arc;

use gatewarden_api::events::{SessionChanged, SessionUpdateData, SessionsLeftOut};
use gatewarden_protocol::sessions::{SessionRow, SessionStatus};

use super::RegistryActor;
use crate::gateway_report::{SessionSnapshot, SharedSessions};
use crate::ids::GatewayId;

/// Sessions that are told of singly in one go, newest first; of more only the number is told.
const MAX_TOLD: usize = 100;

impl RegistryActor {
    /// Readers see these sessions from now on, and subscribers hear what is different.
    pub(super) fn publish_sessions(&self, id: GatewayId, sessions: &SharedSessions) {
        let Some(view) = self.roster.reader().get(id) else { return };
        let Some(before) = self.roster.publish_sessions(id, Arc::clone(sessions)) else { return };
        for news in news(&before, sessions, id, &view.record.name) {
            self.events.tell(&news);
        }
    }
}

/// The events' data. The first list of a gateway is no news: its sessions were there before.
fn news(before: &SessionSnapshot, now: &SessionSnapshot, id: GatewayId, gateway: &str) -> Vec<SessionUpdateData> {
    if before.as_of_ms == 0 {
        return Vec::new();
    }
    let mut gone: HashMap<&str, &Arc<SessionRow>> = before.rows.iter().map(|row| (row.key.as_str(), row)).collect();
    let changed = now.rows.iter().filter_map(|row| match gone.remove(row.key.as_str()) {
        None => Some((row, "created")),
        Some(known) if Arc::ptr_eq(known, row) || known == row => None,
        Some(known) if ended(row) && !ended(known) => Some((row, "ended")),
        Some(_) => Some((row, "changed")),
    });
    let mut changes: Vec<(&Arc<SessionRow>, &str)> = changed.collect();
    let mut deleted: Vec<_> = gone.into_values().collect();
    deleted.sort_by(|a, b| a.key.cmp(&b.key));
    changes.extend(deleted.into_iter().map(|row| (row, "deleted")));
    let left_out = changes.len().saturating_sub(MAX_TOLD);
    let told = changes.iter().take(MAX_TOLD).map(|(row, change)| shown(row, change, id, gateway));
    let rest = || SessionsLeftOut {
        gateway_id: id.0,
        gateway: gateway.to_owned(),
        change: "more".to_owned(),
        sessions: left_out,
    };
    let more = (left_out > 0).then(|| SessionUpdateData::Rest(rest()));
    told.chain(more).collect()
}

fn ended(row: &SessionRow) -> bool {
    row.status == Some(SessionStatus::Completed)
}

fn shown(row: &SessionRow, change: &str, id: GatewayId, gateway: &str) -> SessionUpdateData {
    SessionUpdateData::One(SessionChanged {
        gateway_id: id.0,
        gateway: gateway.to_owned(),
        change: change.to_owned(),
        key: row.key.clone(),
        agent: row.agent.clone(),
        status: row.status.map(|status| status.as_str().to_owned()),
        model: row.model.clone(),
        kind: row.kind.clone(),
        label: row.label.clone(),
        total_tokens: row.total_tokens,
        updated_at: row.updated_at_ms,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn row(key: &str, status: SessionStatus) -> SessionRow {
        SessionRow { key: key.to_owned(), status: Some(status), ..SessionRow::default() }
    }

    fn told(before: Option<Vec<SessionRow>>, now: Vec<SessionRow>) -> Vec<(String, String)> {
        let snapshot = |rows: Vec<SessionRow>| SessionSnapshot {
            rows: rows.into_iter().map(Arc::new).collect(),
            as_of_ms: 1,
            complete: true,
        };
        let before = before.map(snapshot).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = news(&before, &snapshot(now), GatewayId(1), "prod");
        let events: Vec<Value> = events.into_iter().map(|event| serde_json::to_value(event).unwrap()).collect();
        assert!(events.iter().all(|event| event["gateway"] == "prod"), "{events:?}");
        events.iter().map(|event| (text(&event["change"]), text(&event["key"]))).collect()
    }

    #[test]
    fn creation_change_end_and_deletion_are_told_and_nothing_that_stayed_the_same() {
        use SessionStatus::{Active, Completed};
        let before = vec![row("stays", Active), row("ends", Active), row("goes", Completed), row("wakes", Completed)];
        let now = vec![row("new", Active), row("stays", Active), row("ends", Completed), row("wakes", Active)];
        let pair = |change: &str, key: &str| (change.to_owned(), key.to_owned());
        let expected =
            [pair("created", "new"), pair("ended", "ends"), pair("changed", "wakes"), pair("deleted", "goes")];
        assert_eq!(told(Some(before), now), expected);
    }

    #[test]
    fn the_first_list_of_a_gateway_is_no_news() {
        assert_eq!(told(None, vec![row("a", SessionStatus::Active)]), []);
    }

    #[test]
    fn of_very_many_changes_at_once_the_rest_is_a_number() {
        let many = (0..MAX_TOLD + 7).map(|n| row(&n.to_string(), SessionStatus::Active)).collect();
        let told = told(Some(Vec::new()), many);
        assert_eq!((told.len(), told.last().map(|(change, _)| change.as_str())), (MAX_TOLD + 1, Some("more")));
    }
}
