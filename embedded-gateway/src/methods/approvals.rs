//! `exec.approval.*`: what agents want to do, decided by operators.
//!
//! No agent here asks a question and no plugin asks for anything; but `openclaw tui` asks what waits of either each time that it
//! connects, and shows a failure where it isn't answered.

use serde_json::{Value, json};

use super::Method;
use crate::call::{Call, CallError, Outcome};
use crate::caller::{Caller, Scope};
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[
    Method { name: "exec.approval.list", scope: Scope::Approvals, run: list },
    Method { name: "exec.approval.get", scope: Scope::Approvals, run: get },
    Method { name: "exec.approval.resolve", scope: Scope::Approvals, run: resolve },
    Method { name: "plugin.approval.list", scope: Scope::Approvals, run: no_approvals_of_plugins },
    Method { name: "question.list", scope: Scope::Questions, run: no_questions },
];

fn list(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    Ok(Value::from_iter(machine.runs.approvals().into_iter().cloned()).into())
}

fn no_approvals_of_plugins(_: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    Ok(json!([]).into())
}

fn no_questions(_: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    Ok(json!({"questions": []}).into())
}

fn get(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["id"])?;
    let row = machine.runs.approval(params.required("id")?).ok_or_else(unknown)?;
    let request = row.get("request");
    let of = |name: &str| request.and_then(|request| request.get(name)).cloned().unwrap_or_default();
    Ok(json!({
        "id": row.get("id"),
        "commandText": of("command"),
        "commandPreview": of("commandPreview"),
        "allowedDecisions": of("allowedDecisions"),
        "host": of("host"),
        "nodeId": null,
        "agentId": of("agentId"),
        "expiresAtMs": row.get("expiresAtMs"),
    })
    .into())
}

fn resolve(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["id", "decision"])?;
    let id = params.required("id")?.to_owned();
    let allow = match params.required("decision")? {
        "allow-once" => true,
        "deny" => false,
        "allow-always" => {
            return Err(CallError::invalid(
                "allow-always is unavailable for this command: to allow all, set the agent's acp.permissions to allow",
            )
            .with_details(json!({"reason": "APPROVAL_ALLOW_ALWAYS_UNAVAILABLE"})));
        }
        _ => return Err(CallError::invalid("invalid decision")),
    };
    let Caller { client_id, device_id, remote, .. } = &*call.caller;
    let (runs, parts) = machine.runs();
    if !runs.decide(&id, allow, client_id, &parts, turn) {
        return Err(unknown());
    }
    let decision = params.required("decision")?;
    turn.audit(
        "exec.approval.resolved",
        json!({"id": id, "decision": decision, "clientId": client_id, "deviceId": device_id, "remote": remote}),
    );
    Ok(json!({"ok": true}).into())
}

fn unknown() -> CallError {
    CallError::invalid("unknown or expired approval id").with_details(json!({"reason": "APPROVAL_NOT_FOUND"}))
}
