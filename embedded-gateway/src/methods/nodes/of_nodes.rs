//! What nodes themselves call: the answers to what they were asked for, and news of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::Method;
use super::super::devices::unknown;
use crate::call::{Call, CallError, Outcome};
use crate::caller::Scope;
use crate::machine::GatewayMachine;
use crate::nodes::error_of_node;
use crate::params::Params;
use crate::payload::{MOST_VALUES, most_values_of};
use crate::turn::Turn;

pub(in super::super) const METHODS: &[Method] = &[
    Method { name: "node.invoke.result", scope: Scope::Node, run: result },
    Method { name: "node.invoke.progress", scope: Scope::Node, run: progress },
    Method { name: "node.event", scope: Scope::Node, run: event },
];

/// Longest answer of a node, in bytes of JSON.
const MOST_RESULT: usize = 8 * 1024 * 1024;
/// Up to here an answer is passed on as the node's own text, too.
const MOST_TEXT: usize = 1024 * 1024;
const MOST_PROGRESS: usize = 16_384;
/// How a machine is, is told to operators this often at most, in ms.
const STATS_TOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// When a node was last alive, is written this often at most, in ms.
const ALIVE_WRITTEN_MS: i64 = 60_000;
const ALIVE: [&str; 6] = ["background", "silent_push", "bg_app_refresh", "significant_location", "manual", "connect"];

fn own_id<'a>(call: &'a Call, params: &Params<'a>) -> Result<&'a str, CallError> {
    let (own, said) = (call.caller.device_id.as_deref(), params.required("nodeId")?);
    own.filter(|own| *own == said).ok_or_else(|| CallError::invalid("nodeId mismatch"))
}

fn result(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["id", "nodeId", "ok", "payload", "payloadJSON", "error"])?;
    let id = params.required("id")?;
    let node_id = own_id(call, &params)?;
    let is_ok = params.flag("ok")?.ok_or_else(|| params.missing("ok"))?;
    let connection = call.caller.connection;
    let Some(command) = machine.nodes.invokes.command(id, connection).map(str::to_owned) else {
        return Ok(json!({"ok": true, "ignored": true}).into());
    };
    let outcome = if is_ok { answer(&params) } else { Err(failure(&params)) };
    let outcome = outcome.map(|(payload, text)| {
        json!({"ok": true, "nodeId": node_id, "command": command, "payload": payload, "payloadJSON": text})
    });
    machine.end_invoke(id, connection, &outcome, turn);
    Ok(json!({"ok": true}).into())
}

/// What a node answers: as JSON, and as the text that it sent.
fn answer(params: &Params<'_>) -> Result<(Value, Option<String>), CallError> {
    let too_large = |what: String| {
        Err(error_of_node(
            Some("RESULT_TOO_LARGE"),
            Some(&format!("the node carried the command out, and answered with {what}: ask it for less")),
        ))
    };
    // Older nodes send the payload itself under the name of its text.
    let (text, value) = match (params.value("payloadJSON"), params.value("payload")) {
        (Some(Value::String(text)), _) => (Some(text), None),
        (Some(value), None) => (None, Some(value)),
        (_, value) => (None, value),
    };
    let Some(text) = text else {
        let payload = value.cloned().unwrap_or_default();
        let bytes = payload.to_string().len();
        return if bytes > MOST_RESULT { too_large(format!("{bytes} bytes")) } else { Ok((payload, None)) };
    };
    if text.len() > MOST_RESULT {
        return too_large(format!("{} bytes", text.len()));
    }
    if most_values_of(text.as_bytes()) > MOST_VALUES {
        return too_large(format!("more than {MOST_VALUES} values"));
    }
    // What isn't JSON is passed on as it is, as real releases do.
    let payload = serde_json::from_str(text).unwrap_or_else(|_| json!({"payloadJSON": text}));
    Ok((payload, Some(text.clone()).filter(|text| text.len() <= MOST_TEXT)))
}

fn failure(params: &Params<'_>) -> CallError {
    let of = |name: &str| params.value("error").and_then(|error| error.get(name)).and_then(Value::as_str);
    error_of_node(of("code").filter(|code| !code.is_empty()), of("message"))
}

/// Output of a command that runs. Nobody is told: callers get the answer, whole.
fn progress(_: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["invokeId", "nodeId", "seq", "chunk"])?;
    params.required("invokeId")?;
    own_id(call, &params)?;
    params.short("chunk", MOST_PROGRESS)?;
    Ok(json!({"ok": true, "ignored": true}).into())
}

fn event(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["event", "payload", "payloadJSON"])?;
    let event = params.required("event")?;
    let payload = match (params.text("payloadJSON")?, params.value("payload")) {
        (Some(text), _) if most_values_of(text.as_bytes()) > MOST_VALUES => Value::Null,
        (Some(text), _) => serde_json::from_str(text).unwrap_or_default(),
        (None, payload) => payload.cloned().unwrap_or_default(),
    };
    let id = call.caller.device_id.as_deref().ok_or_else(|| unknown("nodeId"))?;
    let (handled, reason) = match event {
        _ if machine.nodes.of_connection(id, call.caller.connection).is_none() => (false, "stale_connection"),
        "node.host.stats" => host_stats(machine, call, id, payload, turn),
        "node.presence.alive" => alive(machine, id, &payload, turn),
        _ => (false, "unsupported_event"),
    };
    let event: String = event.chars().take(128).collect();
    Ok(json!({"ok": true, "event": event, "handled": handled, "reason": reason}).into())
}

/// How a node's machine is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HostStats {
    cpu_count: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_average: Option<[f64; 3]>,
    memory_total_bytes: u64,
    memory_free_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_available_bytes: Option<u64>,
}

impl HostStats {
    fn is_plausible(&self) -> bool {
        let disk = match (self.disk_total_bytes, self.disk_available_bytes) {
            (Some(total), Some(available)) => available <= total,
            (None, None) => true,
            _ => false,
        };
        let load = self.load_average.is_none_or(|load| load.iter().all(|load| (0.0..=100_000.0).contains(load)));
        (1..=4_096).contains(&self.cpu_count) && self.memory_free_bytes <= self.memory_total_bytes && disk && load
    }
}

fn host_stats(
    machine: &mut GatewayMachine,
    call: &Call,
    id: &str,
    payload: Value,
    turn: &mut Turn<'_>,
) -> (bool, &'static str) {
    let stats = serde_json::from_value::<HostStats>(payload).ok().filter(HostStats::is_plausible);
    let Some(stats) = stats else { return (false, "invalid_payload") };
    let Some(session) = machine.nodes.of_connection(id, call.caller.connection) else {
        return (false, "stale_connection");
    };
    let since = |told| turn.now.at.saturating_duration_since(told);
    let is_told = session.stats_told_at.is_none_or(|told| since(told) >= STATS_TOLD_AGAIN_AFTER);
    let stats = crate::payload::joined(json!(stats), json!({"updatedAtMs": turn.now.wall_ms}));
    session.host_stats = Some(stats.clone());
    if is_told {
        session.stats_told_at = Some(turn.now.at);
        let payload = json!({"nodeId": id, "hostStats": stats});
        turn.tell(machine.subscribers.holding(Scope::Read), "node.hostStats", payload);
    }
    (true, "updated")
}

/// A node was woken, and says so without being there for commands.
fn alive(machine: &mut GatewayMachine, id: &str, payload: &Value, turn: &mut Turn<'_>) -> (bool, &'static str) {
    let trigger = payload.get("trigger").and_then(Value::as_str);
    let Some(reason) = ALIVE.into_iter().find(|known| Some(*known) == trigger) else {
        return (false, "invalid_payload");
    };
    let now_ms = turn.now.wall_ms;
    let mut is_throttled = false;
    machine.devices.note_node(id, |last| {
        is_throttled = last.alive_at_ms.is_some_and(|alive| now_ms.saturating_sub(alive) < ALIVE_WRITTEN_MS);
        if !is_throttled {
            last.alive_at_ms = Some(now_ms);
            last.alive_reason = Some(reason.to_owned());
        }
    });
    if is_throttled {
        return (true, "throttled");
    }
    machine.devices.save(turn);
    (true, "persisted")
}
