//! `node.list`, `node.describe`, `node.rename` and `node.pair.*`: which nodes there are, and what of their offers is approved.

pub(super) mod invoking;
pub(super) mod of_nodes;

use serde_json::{Value, json};

use super::Method;
use super::devices::{check_own, close_all, name_of, unknown};
use crate::auth::report;
use crate::call::{Answer, Call, CallError, Outcome};
use crate::caller::{Role, Scope, covers};
use crate::devices::Unsurfaced;
use crate::machine::GatewayMachine;
use crate::nodes::{approval_scope, paired_row, pending_row};
use crate::params::Params;
use crate::payload::joined;
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[
    Method { name: "node.list", scope: Scope::Read, run: list },
    Method { name: "node.describe", scope: Scope::Read, run: describe },
    Method { name: "node.rename", scope: Scope::Pairing, run: rename },
    Method { name: "node.pair.list", scope: Scope::Pairing, run: list_pairing },
    Method { name: "node.pair.approve", scope: Scope::Pairing, run: approve },
    Method { name: "node.pair.reject", scope: Scope::Pairing, run: reject },
    Method { name: "node.pair.remove", scope: Scope::Pairing, run: remove },
];

/// Longest name of a node, in characters.
const MOST_NAME: usize = 128;

fn list(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    Ok(json!({"ts": turn.now.wall_ms, "nodes": machine.node_rows(&call.caller)}).into())
}

fn describe(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["nodeId"])?;
    let device = machine.devices.get(params.required("nodeId")?).ok_or_else(|| unknown("nodeId"))?;
    let node = device.node.as_deref().ok_or_else(|| unknown("nodeId"))?;
    Ok(joined(json!({"ts": turn.now.wall_ms}), machine.node_row(device, node, &call.caller)).into())
}

fn rename(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["nodeId", "displayName"])?;
    let id = params.required("nodeId")?;
    let name = params.short_name("displayName", MOST_NAME)?;
    let name = name.trim();
    if name.is_empty() {
        return Err(CallError::invalid("displayName required"));
    }
    check_own(&call.caller, id, "node rename denied")?;
    if !machine.devices.rename_node(id, name) {
        return Err(unknown("nodeId"));
    }
    machine.devices.save(turn);
    Ok(json!({"nodeId": id, "displayName": name}).into())
}

fn list_pairing(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    let mut pending: Vec<(i64, Value)> = machine
        .devices
        .nodes()
        .filter_map(|(device, node)| {
            let pending = node.pending.as_ref()?;
            Some((pending.asked_at_ms, pending_row(device, node, pending)))
        })
        .collect();
    // The newest first, as real releases.
    pending.sort_by_key(|(asked, _)| std::cmp::Reverse(*asked));
    let pending: Vec<Value> = pending.into_iter().map(|(_, row)| row).collect();
    let paired: Vec<Value> = machine
        .devices
        .nodes()
        .filter_map(|(device, node)| paired_row(device, node, machine.nodes.get(&device.id)))
        .collect();
    Ok(json!({"pending": pending, "paired": paired}).into())
}

fn approve(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["requestId"])?;
    let request_id = params.required("requestId")?;
    // Nobody gives what he doesn't have.
    let scopes = &call.caller.scopes;
    let id = machine
        .devices
        .approve_surface(
            request_id,
            |offered| approval_scope(offered).filter(|scope| !covers(scopes, scope)),
            turn.now.wall_ms,
        )
        .map_err(|why| match why {
            Unsurfaced::Unknown => unknown("requestId"),
            Unsurfaced::MissingScope(scope) => CallError::missing_scope_named(scope),
        })?;
    machine.devices.save(turn);
    let row =
        machine.devices.get(&id).and_then(|device| paired_row(device, device.node.as_deref()?, machine.nodes.get(&id)));
    let commands = row.as_ref().and_then(|row| row.get("commands"));
    turn.audit(
        "node.pairing_approved",
        json!({"nodeId": id, "requestId": request_id, "commands": commands, "by": name_of(&call.caller)}),
    );
    machine.tell_surface_resolved(request_id, &id, "approved", turn);
    Ok(json!({"requestId": request_id, "node": row}).into())
}

fn reject(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["requestId"])?;
    let request_id = params.required("requestId")?;
    let id = machine.devices.reject_surface(request_id).ok_or_else(|| unknown("requestId"))?;
    machine.devices.save(turn);
    turn.audit("node.pairing_rejected", json!({"nodeId": id, "requestId": request_id, "by": name_of(&call.caller)}));
    machine.tell_surface_resolved(request_id, &id, "rejected", turn);
    Ok(json!({"requestId": request_id, "nodeId": id}).into())
}

/// The device is no node any more; where it is an operator's, too, it stays that.
fn remove(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["nodeId"])?;
    let id = params.required("nodeId")?;
    check_own(&call.caller, id, "node pairing removal denied")?;
    if !machine.devices.remove_node(id) {
        return Err(unknown("nodeId"));
    }
    machine.devices.save(turn);
    report::revoked(id, &name_of(&call.caller), "node removed", turn);
    machine.tell_surface_resolved("", id, "removed", turn);
    turn.respond(&call.reply_to(), Ok(json!({"nodeId": id})));
    close_all(machine, id, Some(Role::Node), "device removed", turn);
    Ok(Answer::Later)
}

#[cfg(test)]
mod tests;
