//! Nodes as clients are shown them: rows of `node.list` and of `node.pair.list`.

use serde_json::{Value, json};

use super::NodeSession;
use super::policy::approval_scope;
use crate::caller::{Caller, Scope};
use crate::devices::{Device, NodeRecord, PendingSurface, Surface};
use crate::machine::GatewayMachine;
use crate::payload::{joined, joined_if, without_nulls};

impl GatewayMachine {
    /// The nodes that `node.list` shows, the connected ones first.
    pub(crate) fn node_rows(&self, viewer: &Caller) -> Vec<Value> {
        let mut nodes: Vec<_> = self
            .devices
            .nodes()
            .map(|(device, node)| {
                let session = self.nodes.get(&device.id);
                let name = node.shown_name().unwrap_or(&device.id).to_lowercase();
                ((session.is_none(), name, device.id.as_str()), self.node_row(device, node, viewer))
            })
            .collect();
        nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
        nodes.into_iter().map(|(_, row)| row).collect()
    }

    pub(crate) fn node_row(&self, device: &Device, node: &NodeRecord, viewer: &Caller) -> Value {
        let session = self.nodes.get(&device.id);
        let surface = self.surface_of(node, session);
        let state = match (&node.approved, &node.pending) {
            (None, None) => "unapproved",
            (None, Some(_)) => "pending-approval",
            (Some(_), Some(_)) => "pending-reapproval",
            (Some(_), None) => "approved",
        };
        let (said, last) = (&node.introduction, &node.last);
        let connected_at = session.map(|session| session.connected_at_ms);
        let last_connected = connected_at.or(Some(last.connected_at_ms)).filter(|at| *at > 0);
        let alive = last.alive_at_ms.filter(|alive| last_connected.is_none_or(|connected| *alive > connected));
        let seen =
            alive.map(|alive| (alive, last.alive_reason.as_deref())).or(last_connected.map(|at| (at, Some("connect"))));
        let row = json!({
            "nodeId": device.id,
            "displayName": node.name.as_ref().or(session.and_then(|session| session.display_name.as_ref())).or(said.display_name.as_ref()),
            "platform": session.map_or(&said.platform, |session| &session.platform),
            "version": session.map_or(&last.version, |session| &session.version),
            "clientId": session.map_or(&said.client_id, |session| &session.client_id),
            "clientMode": session.map_or(&said.client_mode, |session| &session.client_mode),
            "deviceFamily": session.map_or(&said.device_family, |session| &session.device_family),
            "modelIdentifier": session.map_or(&last.model, |session| &session.model),
            "remoteIp": session.map_or(&last.remote, |session| &session.remote),
            "pathEnv": session.map(|session| &session.path_env),
            "hostStats": session.map(|session| &session.host_stats),
            "approvalState": state,
            "connectedAtMs": connected_at,
            "lastConnectedAtMs": last_connected,
            "lastDisconnectedAtMs": if session.is_some() { None } else { last.disconnected_at_ms },
            "lastSeenAtMs": seen.map(|(at, _)| at),
            "lastSeenReason": seen.and_then(|(_, reason)| reason),
            "approvedAtMs": node.approved.as_ref().map_or(device.approved_at_ms, |approved| approved.approved_at_ms),
            "paired": true,
            "connected": session.is_some(),
        });
        let row = joined(row, shown(&surface));
        // What waits is for those who may approve it.
        let row = match node.pending.as_ref().filter(|_| viewer.holds(Scope::Pairing)) {
            Some(pending) => joined(
                row,
                json!({
                    "pendingRequestId": pending.request_id,
                    "pendingDeclaredCaps": pending.surface.caps,
                    "pendingDeclaredCommands": pending.surface.commands,
                    "pendingDeclaredPermissions": permissions(&pending.surface),
                }),
            ),
            None => row,
        };
        without_nulls(row)
    }
}

/// A row of `node.pair.list` that waits, and what `node.pair.requested` tells.
pub(crate) fn pending_row(device: &Device, node: &NodeRecord, pending: &PendingSurface) -> Value {
    let scopes: Vec<&str> = std::iter::once("operator.pairing").chain(approval_scope(&pending.surface)).collect();
    let more = json!({
        "requestId": pending.request_id,
        "requiredApproveScopes": scopes,
        "silent": device.silent && node.approved.is_none(),
        "ts": pending.asked_at_ms,
    });
    joined(identity(device, node), joined(shown(&pending.surface), more))
}

/// A row of `node.pair.list` that is approved.
pub(crate) fn paired_row(device: &Device, node: &NodeRecord, session: Option<&NodeSession>) -> Option<Value> {
    let approved = node.approved.as_ref()?;
    let last = session.map_or(node.last.connected_at_ms, |session| session.connected_at_ms);
    let more = json!({
        "createdAtMs": approved.created_at_ms,
        "approvedAtMs": approved.approved_at_ms,
        "lastConnectedAtMs": Some(last).filter(|at| *at > 0),
        "lastDisconnectedAtMs": node.last.disconnected_at_ms.filter(|_| session.is_none()),
    });
    Some(without_nulls(joined(identity(device, node), joined(shown(&approved.surface), more))))
}

fn identity(device: &Device, node: &NodeRecord) -> Value {
    let (said, last) = (&node.introduction, &node.last);
    without_nulls(json!({
        "nodeId": device.id,
        "clientId": said.client_id,
        "clientMode": said.client_mode,
        "displayName": node.shown_name(),
        "platform": said.platform,
        "version": Some(&last.version).filter(|version| !version.is_empty()),
        "deviceFamily": said.device_family,
        "modelIdentifier": last.model,
        "remoteIp": Some(&last.remote).filter(|remote| !remote.is_empty()),
    }))
}

fn shown(surface: &Surface) -> Value {
    let row = json!({"caps": surface.caps, "commands": surface.commands});
    joined_if(row, !surface.permissions.is_empty(), || json!({"permissions": surface.permissions}))
}

fn permissions(surface: &Surface) -> Option<&std::collections::BTreeMap<String, bool>> {
    Some(&surface.permissions).filter(|permissions| !permissions.is_empty())
}
