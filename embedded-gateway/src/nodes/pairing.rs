//! What happens when a node comes: what it offers is compared with what was approved. And what its operators are told of that.

use serde_json::{Value, json};

use super::NodeSession;
use super::policy::CommandPolicy;
use super::rows::pending_row;
use crate::caller::{Caller, Scope};
use crate::devices::{ApprovedSurface, Introduction, NodeRecord, Offered, Surface};
use crate::effect::LogLevel;
use crate::machine::GatewayMachine;
use crate::turn::Turn;

/// The time of a connection is written when it is so much newer than what was written, in ms.
const WRITTEN_AGAIN_AFTER_MS: i64 = 60_000;
/// Most commands that are named in a line of the log.
const MOST_NAMED: usize = 20;

impl GatewayMachine {
    /// A node was let in.
    pub(crate) fn node_has_come(&mut self, caller: &Caller, session: NodeSession, turn: &mut Turn<'_>) {
        let Some(id) = caller.device_id.clone() else { return };
        let admitted = self.policy_of(&session).admitted(&session.offered);
        self.report_withheld(&id, &session.offered, &admitted, turn);
        let request_id = turn.uuid();
        let offered = self.devices.offer(&id, &admitted, turn.now.wall_ms, || request_id);
        let mut is_changed = offered.asked.is_some() || offered.withdrawn.is_some();
        self.devices.note_node(&id, |last| {
            is_changed |= last.version != session.version
                || turn.now.wall_ms.saturating_sub(last.connected_at_ms) >= WRITTEN_AGAIN_AFTER_MS;
            last.version.clone_from(&session.version);
            last.model.clone_from(&session.model);
            last.remote.clone_from(&session.remote);
            last.connected_at_ms = turn.now.wall_ms;
            last.disconnected_at_ms = None;
        });
        if is_changed {
            self.devices.save(turn);
        }
        self.nodes.join(&id, session, turn.now);
        self.tell_offered(&id, offered, turn);
    }

    /// What is allowed has changed while nodes are connected: what they offered becomes more, or less.
    pub(crate) fn offer_again(&mut self, turn: &mut Turn<'_>) {
        for id in self.nodes.ids() {
            let Some(session) = self.nodes.get(&id) else { continue };
            let admitted = self.policy_of(session).admitted(&session.offered);
            let request_id = turn.uuid();
            let offered = self.devices.offer(&id, &admitted, turn.now.wall_ms, || request_id);
            if offered.asked.is_some() || offered.withdrawn.is_some() {
                self.devices.save(turn);
            }
            self.tell_offered(&id, offered, turn);
        }
    }

    fn tell_offered(&mut self, id: &str, offered: Offered, turn: &mut Turn<'_>) {
        if let Some(withdrawn) = offered.withdrawn {
            self.tell_surface_resolved(&withdrawn, id, "rejected", turn);
        }
        let asked = offered.asked.and_then(|asked| self.pending_row_of(&asked));
        if let Some(row) = asked {
            turn.audit(
                "node.pairing_requested",
                json!({"nodeId": id, "requestId": row.get("requestId"), "commands": row.get("commands")}),
            );
            turn.tell(self.subscribers.holding(Scope::Pairing), "node.pair.requested", row);
        }
    }

    /// Says which commands nobody will ever ask a node for, and why.
    fn report_withheld(&self, id: &str, offered: &Surface, admitted: &Surface, turn: &mut Turn<'_>) {
        let withheld: Vec<&str> = offered.commands.difference(&admitted.commands).map(String::as_str).collect();
        if withheld.is_empty() {
            return;
        }
        let named = withheld.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
        turn.log_with(
            LogLevel::Info,
            "nodes",
            None,
            format!(
                "a node offers {} commands that gateway.nodes.commands and its platform don't allow: {named}",
                withheld.len()
            ),
            json!({"node_id": id}),
        );
    }

    pub(crate) fn pending_row_of(&self, request_id: &str) -> Option<Value> {
        let (device, node, pending) = self.devices.surface_request(request_id)?;
        Some(pending_row(device, node, pending))
    }

    pub(crate) fn tell_surface_resolved(&self, request_id: &str, id: &str, decision: &str, turn: &mut Turn<'_>) {
        let payload = json!({"requestId": request_id, "nodeId": id, "decision": decision, "ts": turn.now.wall_ms});
        let mut to = self.subscribers.holding(Scope::Pairing);
        // The node waits for it, too: it offers more once it was approved.
        to.extend(self.nodes.get(id).map(|session| session.connection));
        turn.tell(to, "node.pair.resolved", payload);
    }

    pub(crate) fn policy_of(&self, session: &NodeSession) -> CommandPolicy<'_> {
        CommandPolicy::new(
            &self.config.node_commands,
            &session.platform,
            session.device_family.as_deref(),
            &session.offered,
        )
    }

    /// What a node may be asked for now: what it offers, was approved, and is allowed. Of one that isn't connected, what it may be
    /// asked for when it comes as it was.
    pub(crate) fn surface_of(&self, node: &NodeRecord, session: Option<&NodeSession>) -> Surface {
        match session {
            Some(session) => {
                let policy = self.policy_of(session);
                node.approved_of(&policy.admitted(&session.offered))
            }
            None => node.approved.as_ref().map_or_else(Surface::default, |ApprovedSurface { surface, .. }| {
                let Introduction { platform, device_family, .. } = &node.introduction;
                let commands = &self.config.node_commands;
                CommandPolicy::new(commands, platform, device_family.as_deref(), surface).admitted(surface)
            }),
        }
    }
}
