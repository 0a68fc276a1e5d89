//! `device.pair.*` and `device.token.*`: who may come in from now on.

use serde_json::{Value, json};

use super::Method;
use crate::auth::report;
use crate::call::{Answer, Call, CallError, Outcome};
use crate::caller::{Caller, Role, Scope, covers};
use crate::devices::{Unapprovable, device_row, pending_row};
use crate::effect::Effect;
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::turn::Turn;

/// Code of the close that a device gets which may not come in any more. Clients don't try again after it.
const DEVICE_GONE: u16 = 4001;

pub(super) const METHODS: &[Method] = &[
    Method { name: "device.pair.list", scope: Scope::Pairing, run: list },
    Method { name: "device.pair.approve", scope: Scope::Pairing, run: approve },
    Method { name: "device.pair.reject", scope: Scope::Pairing, run: reject },
    Method { name: "device.pair.remove", scope: Scope::Pairing, run: remove },
    Method { name: "device.token.rotate", scope: Scope::Pairing, run: rotate },
    Method { name: "device.token.revoke", scope: Scope::Pairing, run: revoke },
];

fn list(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    let pending: Vec<Value> = machine.devices.pending(turn.now.wall_ms).map(pending_row).collect();
    let paired: Vec<Value> = machine.devices.iter().map(device_row).collect();
    Ok(json!({"pending": pending, "paired": paired}).into())
}

fn approve(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["requestId"])?;
    let request_id = params.required("requestId")?;
    let now_ms = turn.now.wall_ms;
    let device = machine.devices.approve(request_id, &call.caller.scopes, now_ms).map_err(|why| match why {
        Unapprovable::Unknown => unknown("requestId"),
        // Nobody gives what he doesn't have.
        Unapprovable::MissingScope(scope) => CallError::missing_scope_named(&scope),
        Unapprovable::NoRoom(no_room) => no_room.error(),
    })?;
    report::registered(&device, &name_of(&call.caller), turn);
    machine.devices.save(turn);
    machine.tell_resolved(request_id, &device.id, "approved", turn);
    Ok(json!({"requestId": request_id, "device": device_row(&device)}).into())
}

fn reject(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["requestId"])?;
    let request_id = params.required("requestId")?;
    let Some(request) = machine.devices.reject(request_id, turn.now.wall_ms) else { return Err(unknown("requestId")) };
    turn.audit(
        "device.pairing_rejected",
        json!({"deviceId": request.device_id, "requestId": request_id, "by": name_of(&call.caller)}),
    );
    machine.tell_resolved(request_id, &request.device_id, "rejected", turn);
    Ok(json!({"requestId": request_id, "deviceId": request.device_id}).into())
}

fn remove(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["deviceId"])?;
    let id = params.required("deviceId")?;
    check_own(&call.caller, id, "device pairing removal denied")?;
    let device = machine.devices.remove(id).ok_or_else(|| unknown("deviceId"))?;
    machine.devices.save(turn);
    report::revoked(&device.id, &name_of(&call.caller), "device removed", turn);
    if device.node.is_some() {
        machine.tell_surface_resolved("", &device.id, "removed", turn);
    }
    turn.respond(&call.reply_to(), Ok(json!({"deviceId": device.id})));
    close_all(machine, &device.id, None, "device removed", turn);
    Ok(Answer::Later)
}

fn rotate(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["deviceId", "role", "scopes"])?;
    let id = params.required("deviceId")?;
    let role = role(&params)?;
    check_own(&call.caller, id, "device token rotation denied")?;
    let wanted = params.texts("scopes", 256)?;
    let device = machine.devices.get(id).filter(|device| device.is(role)).ok_or_else(|| unknown("deviceId/role"))?;
    let wanted: Vec<String> = match role {
        Role::Operator => {
            wanted.map_or_else(|| device.scopes.clone(), |scopes| scopes.into_iter().map(str::to_owned).collect())
        }
        Role::Node => Vec::new(),
    };
    if let Some(scope) = wanted.iter().find(|scope| !covers(&device.scopes, scope)) {
        return Err(CallError::invalid(format!(
            "the device is not approved for {scope}; let it connect with that scope and approve its request"
        )));
    }
    if let Some(scope) = wanted.iter().find(|scope| !covers(&call.caller.scopes, scope)) {
        return Err(CallError::missing_scope_named(scope));
    }
    let fresh = turn.secret();
    let token = machine.devices.rotate(id, role, wanted, turn.now.wall_ms, fresh.clone());
    let token = token.ok_or_else(|| unknown("deviceId/role"))?;
    machine.devices.save(turn);
    turn.audit("device.token_rotated", json!({"deviceId": id, "by": name_of(&call.caller)}));
    let answer = json!({
        "deviceId": id,
        "role": role,
        "token": fresh.expose(),
        "scopes": token.scopes,
        "rotatedAtMs": token.issued_at_ms,
        "expiresAtMs": token.expires_at_ms,
    });
    Ok(answer.into())
}

fn revoke(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["deviceId", "role"])?;
    let id = params.required("deviceId")?;
    let role = role(&params)?;
    check_own(&call.caller, id, "device token revocation denied")?;
    machine.devices.revoke(id, role).ok_or_else(|| unknown("deviceId/role"))?;
    machine.devices.save(turn);
    report::revoked(id, &name_of(&call.caller), "device token revoked", turn);
    let answer = json!({"deviceId": id, "role": role, "revokedAtMs": turn.now.wall_ms});
    turn.respond(&call.reply_to(), Ok(answer));
    close_all(machine, id, Some(role), "device token revoked", turn);
    Ok(Answer::Later)
}

/// Closes the connections of a device, or those of one of its roles: after the answer, since the caller's own may be among them.
pub(super) fn close_all(
    machine: &GatewayMachine,
    device_id: &str,
    role: Option<Role>,
    reason: &str,
    turn: &mut Turn<'_>,
) {
    let of_device = |caller: &&std::sync::Arc<Caller>| {
        caller.device_id.as_deref() == Some(device_id) && role.is_none_or(|role| caller.role == role)
    };
    for caller in machine.subscribers.callers().filter(of_device) {
        turn.push(Effect::Close { connection: caller.connection, code: DEVICE_GONE, reason: reason.to_owned() });
    }
}

/// A device that isn't an administrator's has a say about itself alone: else one that may pair others could shut them all
/// out, or get a token in another one's name. Who is no device holds the shared credential, and could be anybody.
pub(super) fn check_own(caller: &Caller, device_id: &str, denied: &str) -> Result<(), CallError> {
    if caller.holds(Scope::Admin) || caller.device_id.as_deref().is_none_or(|own| own == device_id) {
        return Ok(());
    }
    Err(CallError::forbidden(denied).with_details(json!({"code": "MISSING_SCOPE", "missingScope": "operator.admin"})))
}

fn role(params: &Params<'_>) -> Result<Role, CallError> {
    params.name("role")?.map_or(Some(Role::Operator), Role::from_name).ok_or_else(|| unknown("deviceId/role"))
}

pub(super) fn unknown(what: &str) -> CallError {
    CallError::invalid(format!("unknown {what}"))
}

pub(super) fn name_of(caller: &Caller) -> String {
    match (&caller.device_id, &caller.display_name) {
        (Some(device), _) => format!("{} {device}", caller.client_id),
        (None, Some(name)) => format!("{} {name}", caller.client_id),
        (None, None) => caller.client_id.clone(),
    }
}

#[cfg(test)]
mod tests;
