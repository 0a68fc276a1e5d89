//! `health`, `status`, `gateway.info`, `models.list`, `system-presence`, `logs.tail`: what the gateway says of
//! itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Method;
use crate::COMPATIBLE_VERSION;
use crate::call::{Answer, Call, Outcome};
use crate::caller::{Caller, Scope};
use crate::effect::{DiskQuery, Effect};
use crate::files::{DEFAULT_BYTES, MOST_BYTES, MOST_LINES};
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::processes::Orphan;
use crate::sessions::{Session, transcript};
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[
    Method { name: "health", scope: Scope::Connected, run: health },
    Method { name: "status", scope: Scope::Read, run: status },
    Method { name: "gateway.info", scope: Scope::Read, run: gateway_info },
    Method { name: "models.list", scope: Scope::Read, run: models_list },
    Method { name: "system-presence", scope: Scope::Read, run: system_presence },
    Method { name: "logs.tail", scope: Scope::Read, run: logs_tail },
    // The heartbeat of document 002.
    Method { name: "ping", scope: Scope::Connected, run: ping },
];

const RECENT: usize = 5;

fn health(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    Params::read(call, &["probe", "includeSensitive"])?;
    Ok(health_payload(machine, &call.caller, turn).into())
}

/// The health document. Who may not read sessions learns only how many there are.
pub(crate) fn health_payload(machine: &GatewayMachine, caller: &Caller, turn: &Turn<'_>) -> Value {
    let now = turn.now.wall_ms;
    let default = machine.agents.default_id();
    let agents: Vec<Value> = machine
        .agents
        .list()
        .iter()
        .map(|agent| {
            json!({
                "agentId": agent.id,
                "name": agent.name,
                "isDefault": agent.id == default,
                "heartbeat": {"enabled": false, "every": "disabled", "everyMs": null},
                "sessions": kept(machine, caller, now, |session| session.agent_id == agent.id),
            })
        })
        .collect();
    let reasons = degraded(machine);
    let mut payload = json!({
        "ok": true,
        "status": if reasons.is_empty() { "ok" } else { "degraded" },
        "ts": now,
        "durationMs": 0,
        "version": COMPATIBLE_VERSION,
        "uptimeMs": machine.uptime_ms(turn.now),
        "channels": channels_health(machine),
        "channelOrder": [],
        "channelLabels": {},
        "heartbeatSeconds": 0,
        "defaultAgentId": default,
        "agents": agents,
        "sessions": kept(machine, caller, now, |_| true),
        // Processes that a gateway which crashed left running: `status` names them.
        "orphans": machine.orphans.len(),
    });
    put_event_loop(&mut payload, reasons);
    payload
}

/// Where clients of protocol 4 look for a gateway that isn't well. There is none while it is: they would show its measurements,
/// of which there are none.
fn put_event_loop(payload: &mut Value, reasons: Vec<String>) {
    if let (false, Some(fields)) = (reasons.is_empty(), payload.as_object_mut()) {
        fields.insert("eventLoop".into(), json!({"degraded": true, "degradedSinceMs": null, "reasons": reasons}));
    }
}

/// Why the gateway isn't as well as it should be; sentences.
pub(crate) fn degraded(machine: &GatewayMachine) -> Vec<String> {
    machine.files.degraded().into_iter().collect()
}

fn kept(machine: &GatewayMachine, caller: &Caller, now: i64, wanted: impl Fn(&Session) -> bool) -> Value {
    let mut sessions = machine.sessions.newest_first();
    sessions.retain(|session| wanted(session));
    let recent: Vec<Value> = sessions
        .iter()
        .take(if caller.holds(Scope::Read) { RECENT } else { 0 })
        .map(|session| {
            json!({"key": session.key, "updatedAt": session.updated_at, "age": now.saturating_sub(session.updated_at)})
        })
        .collect();
    json!({"path": sessions_path(machine, caller), "count": sessions.len(), "recent": recent})
}

fn sessions_path(machine: &GatewayMachine, caller: &Caller) -> String {
    if caller.holds(Scope::Admin) {
        machine.config.state_dir.join(transcript::FOLDER).display().to_string()
    } else {
        transcript::FOLDER.to_owned()
    }
}

fn status(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    Params::read(call, &["includeChannelSummary", "probe"])?;
    let now = turn.now.wall_ms;
    let newest = machine.sessions.newest_first();
    let recent: Vec<Value> = newest.iter().take(RECENT * 2).map(|session| recent_row(session, now)).collect();
    let by_agent: Vec<Value> = machine
        .agents
        .list()
        .iter()
        .map(|agent| {
            let count = newest.iter().filter(|session| session.agent_id == agent.id).count();
            json!({"agentId": agent.id, "path": sessions_path(machine, &call.caller), "count": count})
        })
        .collect();
    let reasons = degraded(machine);
    let mut payload = json!({
        "runtimeVersion": COMPATIBLE_VERSION,
        "version": COMPATIBLE_VERSION,
        "ts": now,
        "pid": std::process::id(),
        "uptimeMs": machine.uptime_ms(turn.now),
        "bootId": machine.boot_id,
        "connections": machine.subscribers.len(),
        "activeSessions": machine.sessions.busy(),
        "heartbeat": {"defaultAgentId": machine.agents.default_id(), "agents": []},
        "channelSummary": [],
        "queuedSystemEvents": [],
        "sessions": {
            "paths": [sessions_path(machine, &call.caller)],
            "count": newest.len(),
            "defaults": {"model": null, "contextTokens": null},
            "recent": recent,
            "byAgent": by_agent,
        },
        "failedFileChanges": machine.files.failures(),
        "runs": {"processes": machine.runs.processes(), "queued": machine.runs.queued()},
        "orphans": machine.orphans.iter().map(Orphan::to_value).collect::<Vec<_>>(),
        "configuration": {"fault": machine.configuration.fault, "waitsForRestart": machine.configuration.waiting},
    });
    put_event_loop(&mut payload, reasons);
    if let (Some(bytes), Some(fields)) = (machine.resident_bytes, payload.as_object_mut()) {
        fields.insert("processMemory".into(), json!({"rssBytes": bytes}));
    }
    Ok(payload.into())
}

fn recent_row(session: &Session, now: i64) -> Value {
    let used = session.total_tokens.zip(session.context_tokens.filter(|window| *window > 0));
    json!({
        "agentId": session.agent_id,
        "key": session.key,
        "kind": session.kind,
        "sessionId": session.session_id,
        "updatedAt": session.updated_at,
        "age": now.saturating_sub(session.updated_at),
        "inputTokens": session.input_tokens,
        "outputTokens": session.output_tokens,
        "totalTokens": session.total_tokens,
        "totalTokensFresh": session.total_tokens.is_some(),
        "remainingTokens": used.map(|(total, window)| window.saturating_sub(total)),
        "percentUsed": used.map(|(total, window)| total.saturating_mul(100) / window),
        "contextTokens": session.context_tokens,
        "model": session.model_parts().1,
        "flags": [format!("id:{}", session.session_id)],
    })
}

fn gateway_info(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    let uptime_ms = machine.uptime_ms(turn.now);
    let limits = &machine.config.limits;
    let channels = machine.channels.presence();
    let channels: Vec<Value> = channels
        .map(|(key, is_online)| json!({"channel": key.kind.id(), "accountId": key.id, "connected": is_online}))
        .collect();
    Ok(json!({
        "version": COMPATIBLE_VERSION,
        "uptime": uptime_ms / 1_000,
        "uptimeMs": uptime_ms,
        "startedAt": machine.started.wall_ms,
        "pid": std::process::id(),
        "port": machine.config.port,
        "bind": machine.config.bind.describe(),
        "mode": "local",
        "tls": machine.config.tls.is_some(),
        "tailscale": machine.route.as_ref().map(|route| route.to_value(machine.config.tailscale.mode)),
        "connections": machine.subscribers.len(),
        "agents": machine.agents.list().len(),
        "sessions": machine.sessions.len(),
        "activeSessions": machine.sessions.busy(),
        // Those that count, also while others wait in the file for a restart.
        "limits": {"connections": limits.connections, "processes": limits.processes, "sessions": limits.sessions},
        "channels": channels,
        "degraded": degraded(machine),
    })
    .into())
}

/// Which accounts of which channel are connected.
fn channels_health(machine: &GatewayMachine) -> Value {
    let mut channels = Map::new();
    for (key, is_online) in machine.channels.presence() {
        let accounts = channels.entry(key.kind.id()).or_insert_with(|| json!({"configured": true, "accounts": {}}));
        if let Some(accounts) = accounts.get_mut("accounts").and_then(Value::as_object_mut) {
            accounts.insert(key.id.clone(), json!({"connected": is_online}));
        }
    }
    Value::Object(channels)
}

/// The models that agents are configured with: this gateway calls none itself.
fn models_list(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &["view"])?;
    let names: BTreeSet<String> = machine.agents.list().into_iter().filter_map(|agent| agent.model).collect();
    let models: Vec<Value> = names
        .iter()
        .map(|name| match name.split_once('/') {
            Some((provider, id)) => json!({"id": id, "name": id, "provider": provider}),
            None => json!({"id": name, "name": name}),
        })
        .collect();
    Ok(json!({"models": models}).into())
}

fn system_presence(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    Ok(Value::from(machine.presence_rows(turn.now)).into())
}

fn logs_tail(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["cursor", "limit", "maxBytes"])?;
    let most_lines = u64::try_from(MOST_LINES).unwrap_or(u64::MAX);
    let limit = params.whole("limit", 1, most_lines)?.unwrap_or(500);
    let query = DiskQuery::LogTail {
        file: machine.config.log.file.clone(),
        cursor: params.whole("cursor", 0, u64::MAX)?,
        limit: usize::try_from(limit).unwrap_or(MOST_LINES),
        bytes: params.whole("maxBytes", 1, MOST_BYTES)?.unwrap_or(DEFAULT_BYTES),
    };
    turn.push(Effect::Disk { to: call.reply_to(), query });
    Ok(Answer::Later)
}

fn ping(_: &mut GatewayMachine, _: &Call, turn: &mut Turn<'_>) -> Outcome {
    Ok(json!({"ts": turn.now.wall_ms}).into())
}
