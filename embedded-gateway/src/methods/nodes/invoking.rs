//! `node.invoke`: an operator has a node carry out a command.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::Method;
use super::super::devices::unknown;
use crate::call::{Answer, Call, CallError, Outcome};
use crate::caller::{Caller, Scope};
use crate::devices::NodeRecord;
use crate::machine::GatewayMachine;
use crate::nodes::{Barrier, NewInvoke, NodeSession, Started, error_of_node, is_for_admins};
use crate::params::Params;
use crate::payload::digest;
use crate::turn::Turn;

pub(in super::super) const METHODS: &[Method] = &[Method { name: "node.invoke", scope: Scope::Write, run: invoke }];

const TIMEOUT: Duration = Duration::from_secs(30);
/// Also where a caller wants to wait for longer, or for ever (0, as real releases have it).
const LONGEST_MS: u64 = 3_600_000;
/// Longest id, command and key, in characters.
const MOST_NAME: usize = 256;
/// Longest parameters of a command, in bytes of JSON: a part of what may wait for a node that doesn't read.
const MOST_PARAMS: usize = 1024 * 1024;
const BUFFER_PARTS: usize = 8;
/// What `system.run` is passed on with. Whether it was approved is not the caller's to say.
const OF_SYSTEM_RUN: [&str; 11] = [
    "command",
    "rawCommand",
    "systemRunPlan",
    "cwd",
    "env",
    "timeoutMs",
    "needsScreenRecording",
    "agentId",
    "sessionKey",
    "runId",
    "suppressNotifyOnExit",
];
const APPROVED_ELSEWHERE: [&str; 3] = ["approved", "approvalDecision", "approvalSource"];

fn invoke(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(
        call,
        &[
            "nodeId",
            "command",
            "params",
            "timeoutMs",
            "idempotencyKey",
            "sessionKey",
            // Where an agent's turn came from: for approvals, which are the node's own here.
            "turnSourceChannel",
            "turnSourceTo",
            "turnSourceAccountId",
            "turnSourceThreadId",
        ],
    )?;
    let (node_id, command) = (params.short_name("nodeId", MOST_NAME)?, params.short_name("command", MOST_NAME)?);
    let (node_id, command) = (node_id.trim(), command.trim());
    let key = params.short_name("idempotencyKey", MOST_NAME)?;
    let session_key = params.name("sessionKey")?;
    let timeout = match params.whole("timeoutMs", 0, u64::MAX)? {
        None => TIMEOUT,
        Some(0) => Duration::from_millis(LONGEST_MS),
        Some(ms) => Duration::from_millis(ms.min(LONGEST_MS)),
    };
    check_command(command, &call.caller)?;
    let node = machine.devices.node(node_id).ok_or_else(|| unknown("nodeId"))?;
    let session = machine.nodes.get(node_id).ok_or_else(not_connected)?;
    check_offer(machine, node, session, command)?;
    let (params_json, connection) = (params_json(&params, command, machine, turn)?, session.connection);
    let id = turn.uuid();
    let wanted = NewInvoke {
        node: node_id.to_owned(),
        connection,
        command: command.to_owned(),
        key: (whose(&call.caller), key.clone()),
        digest: digest(format!("{command}\n{}", params.value("params").map(Value::to_string).unwrap_or_default())),
        timeout,
        reply_to: call.reply_to(),
    };
    match machine.nodes.invokes.start(&id, wanted, turn.now.at)? {
        Started::Send => {}
        Started::Waits => return Ok(Answer::Later),
        Started::Ended(outcome) => return outcome.map(Into::into),
    }
    let Caller { client_id, device_id, remote, .. } = &*call.caller;
    turn.audit(
        "node.invoke",
        json!({
            "invokeId": id,
            "nodeId": node_id,
            "command": command,
            "clientId": client_id,
            "deviceId": device_id,
            "remote": remote,
        }),
    );
    let request = json!({
        "id": id,
        "nodeId": node_id,
        "command": command,
        "paramsJSON": params_json,
        "timeoutMs": u64::try_from(timeout.as_millis()).unwrap_or(LONGEST_MS),
        "idempotencyKey": key,
    });
    let request = crate::payload::joined_if(request, session_key.is_some(), || json!({"sessionKey": session_key}));
    turn.tell(vec![connection], "node.invoke.request", request);
    Ok(Answer::Later)
}

/// Among whose keys a key is: one client's must not be told the answers of another one's.
fn whose(caller: &Caller) -> String {
    caller.device_id.clone().unwrap_or_else(|| "shared".to_owned())
}

/// What is nobody's to ask for this way, and what is an administrator's.
fn check_command(command: &str, caller: &Caller) -> Result<(), CallError> {
    let refuse = |said: &str| Err(CallError::invalid(said).with_details(json!({"command": command})));
    match command {
        "system.execApprovals.get" | "system.execApprovals.set" => refuse(
            "node.invoke does not allow system.execApprovals.*; change them on the node, with openclaw approvals",
        ),
        "agent.cli.claude.run.v1" => refuse("node.invoke does not run agents; this gateway runs none on nodes"),
        _ if is_for_admins(command) && !caller.holds(Scope::Admin) => Err(CallError::missing_scope(Scope::Admin)),
        _ => Ok(()),
    }
}

/// Offered, approved, and allowed: in the words of real releases, where one is missing.
fn check_offer(
    machine: &GatewayMachine,
    node: &NodeRecord,
    session: &NodeSession,
    command: &str,
) -> Result<(), CallError> {
    if machine.surface_of(node, Some(session)).commands.contains(command) {
        return Ok(());
    }
    let refuse = |reason: &str, said: String| {
        let details = json!({"reason": reason, "command": command});
        Err(CallError::invalid(format!("node command not allowed: {said}")).with_details(details))
    };
    let platform = &session.platform;
    let barrier = machine.policy_of(session).check(command);
    match barrier {
        Err(Barrier::Private) => refuse("command not allowlisted", "private node controls are no operator's".to_owned()),
        Err(Barrier::Denied) => {
            refuse("command not allowlisted", format!("\"{command}\" is blocked by gateway.nodes.commands.deny"))
        }
        _ if !session.offered.commands.contains(command) => refuse(
            "command not declared by node",
            format!("the node (platform: {platform}) does not support \"{command}\""),
        ),
        Err(Barrier::NeedsOptIn) => refuse(
            "command not allowlisted",
            format!("\"{command}\" requires explicit gateway.nodes.commands.allow opt-in"),
        ),
        Err(Barrier::Foreign) => refuse(
            "command not allowlisted",
            format!(
                "\"{command}\" is not in the allowlist for platform \"{platform}\"; gateway.nodes.commands.allow can name it"
            ),
        ),
        Ok(()) => refuse(
            "node did not declare commands",
            "the node's declared command surface is pending approval; run `gatewarden gateway nodes list`, then `gatewarden \
            gateway nodes approve <requestId>` (or `openclaw nodes approve <requestId>`)"
                .to_owned(),
        ),
    }
}

/// The parameters as the node gets them.
fn params_json(
    params: &Params<'_>,
    command: &str,
    machine: &GatewayMachine,
    turn: &mut Turn<'_>,
) -> Result<Option<String>, CallError> {
    let Some(given) = params.value("params") else { return Ok(None) };
    let text = if command == "system.run" { for_system_run(given, turn)?.to_string() } else { given.to_string() };
    let most = MOST_PARAMS.min(machine.config.limits.max_buffered / BUFFER_PARTS);
    if text.len() > most {
        return Err(CallError::invalid(format!(
            "the parameters of the command have {} bytes, and at most {most} are sent to a node",
            text.len()
        ))
        .with_details(json!({"code": "PARAMS_TOO_LARGE", "bytes": text.len(), "limit": most})));
    }
    Ok(Some(text))
}

/// Who may invoke must not get round the node's own approvals by saying that somebody has approved.
fn for_system_run(given: &Value, turn: &mut Turn<'_>) -> Result<Value, CallError> {
    let Some(fields) = given.as_object() else { return Ok(given.clone()) };
    if APPROVED_ELSEWHERE.iter().any(|name| !matches!(fields.get(*name), None | Some(Value::Null | Value::Bool(false))))
    {
        return Err(CallError::invalid(
            "exec approvals unavailable: this gateway asks nobody for a node; allow the program on the node, with openclaw approvals",
        )
        .with_details(json!({"code": "APPROVALS_UNAVAILABLE"})));
    }
    let mut passed: serde_json::Map<String, Value> =
        OF_SYSTEM_RUN.iter().filter_map(|name| Some(((*name).to_owned(), fields.get(*name)?.clone()))).collect();
    passed.entry("runId").or_insert_with(|| turn.uuid().into());
    Ok(passed.into())
}

fn not_connected() -> CallError {
    let error = error_of_node(Some("NOT_CONNECTED"), Some("node not connected"));
    CallError::unavailable("node not connected").with_details(crate::payload::joined(
        error.details,
        json!({"code": "NOT_CONNECTED", "nodeCommandDispatched": false}),
    ))
}
