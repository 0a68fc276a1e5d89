//! What a well-behaved gateway of each form says: challenge, hello, replies, web pages.

use serde_json::{Value, json};

use super::agents;
use super::behaviour::{Behaviour, Form};

/// Methods that the imitations list and answer.
const METHODS: [&str; 18] = [
    "health",
    "status",
    "sessions.list",
    "sessions.subscribe",
    "sessions.abort",
    "agents.list",
    "config.get",
    "logs.tail",
    "device.pair.list",
    "device.pair.approve",
    "node.list",
    "agent",
    "agent.wait",
    "chat.send",
    "chat.abort",
    "chat.history",
    "sessions.patch",
    "sessions.delete",
];

/// The page that web servers give to everything.
pub(crate) const PAGE: &str = "<!doctype html><html><head><title>Welcome</title></head><body>It works</body></html>";

/// The challenge event.
pub(crate) fn challenge(behaviour: &Behaviour, nonce: &str, now_ms: i64) -> Value {
    let payload = match behaviour.form {
        Form::Document002 => {
            json!({"nonce": nonce, "protocols": [3], "deviceAuthRequired": behaviour.device_auth_required})
        }
        Form::Protocol4 => json!({"nonce": nonce, "ts": now_ms, "capabilities": ["model-catalog-snapshot"]}),
        _ => json!({"nonce": nonce, "ts": now_ms}),
    };
    json!({"type": "event", "event": "connect.challenge", "payload": payload})
}

/// The reply to a good connect request.
pub(crate) fn hello(
    behaviour: &Behaviour,
    id: &Value,
    params: &Value,
    device_token: Option<&str>,
    now_ms: i64,
) -> Value {
    if behaviour.form == Form::Document002 {
        let mut result =
            json!({"protocol": 3, "sessionId": "gateway-session-1", "features": ["spawn", "cron", "logs"]});
        if let Some(token) = device_token {
            result["deviceToken"] = json!(token);
        }
        return json!({"type": "res", "id": id, "ok": true, "result": result});
    }
    let newest = behaviour.form == Form::Protocol4;
    let version = if behaviour.form == Form::Release219 { "dev" } else { behaviour.version.as_str() };
    let more: &[&str] = if behaviour.agents.is_some() { &agents::METHODS } else { &[] };
    let methods: Vec<&str> = METHODS.iter().chain(more).copied().collect();
    let mut payload = json!({
        "type": "hello-ok",
        "protocol": if newest { 4 } else { 3 },
        "server": {"version": version, "connId": "11111111-2222-3333-4444-555555555555"},
        "features": {"methods": methods, "events": ["connect.challenge", "agent", "chat", "health", "tick", "shutdown",
                     "sessions.changed", "presence"]},
        "snapshot": {"presence": [], "health": {"ok": true, "ts": now_ms, "agents": [{"agentId": "main"}]},
                     "stateVersion": {"presence": 1, "health": 1}, "uptimeMs": 320_220,
                     "sessionDefaults": {"defaultAgentId": "main", "mainKey": "main", "mainSessionKey": "agent:main:main",
                                         "scope": "per-sender"}, "authMode": "token"},
        "policy": {"maxPayload": 26_214_400, "maxBufferedBytes": 52_428_800, "tickIntervalMs": 30_000},
    });
    if newest {
        payload["snapshot"]["suspension"] = json!({"phase": "accepting"});
        payload["auth"] = json!({"method": "token", "role": "operator", "scopes": params["scopes"]});
    }
    if let Some(token) = device_token {
        payload["auth"]["deviceToken"] = json!(token);
        payload["auth"]["role"] = json!("operator");
        payload["auth"]["scopes"] = params["scopes"].clone();
        payload["auth"]["issuedAtMs"] = json!(now_ms);
    }
    if behaviour.form == Form::Release219 {
        payload["snapshot"]["updateAvailable"] =
            json!({"currentVersion": "2026.2.19", "latestVersion": "2026.9.6", "channel": "latest"});
    }
    if behaviour.hello_padding > 0 {
        payload["padding"] = json!("x".repeat(behaviour.hello_padding));
    }
    json!({"type": "res", "id": id, "ok": true, "payload": payload})
}

/// One line of a log, as real releases write them.
pub(crate) fn log_line(text: &str) -> String {
    json!({"0": "{\"subsystem\":\"gateway\"}", "1": text, "_meta": {"logLevelName": "INFO"},
           "time": "2026-11-21T12:00:00.000Z"})
    .to_string()
}

/// The lines after a cursor; a line counts as ten bytes.
fn log_tail(behaviour: &Behaviour, params: &Value) -> Value {
    let size = behaviour.log.len() * 10;
    let cursor = params["cursor"].as_u64().map(|cursor| usize::try_from(cursor).expect("small"));
    let reset = cursor.is_some_and(|cursor| cursor > size);
    let lines = &behaviour.log[cursor.filter(|_| !reset).unwrap_or(0) / 10..];
    let limit = params["limit"].as_u64().map_or(500, |limit| usize::try_from(limit).expect("small"));
    json!({"file": behaviour.log_file, "cursor": size, "size": size, "truncated": false, "reset": reset,
           "lines": lines[lines.len().saturating_sub(limit)..]})
}

/// What a method gives: its result, or an error.
pub(crate) fn answer(behaviour: &Behaviour, method: &str, params: &Value, now_ms: i64) -> Result<Value, Value> {
    if let Some(result) = behaviour.results.get(method) {
        return Ok(result.clone());
    }
    if let Some(error) = behaviour.errors.get(method) {
        return Err(error.clone());
    }
    let row = json!({"key": "agent:main:main", "kind": "direct", "sessionId": "s-1", "updatedAt": now_ms, "status": "running",
                     "hasActiveRun": true, "totalTokens": 1100, "model": "m1", "modelProvider": "mock"});
    match (&behaviour.form, method) {
        (Form::Document002, "ping") => Ok(Value::Null),
        (Form::Rpc, "gateway.info") => {
            Ok(json!({"version": behaviour.version, "uptime": 3600, "channels": 3, "sessions": 1}))
        }
        (Form::Document002, _) => Err(json!({"message": format!("unknown method: {method}")})),
        (_, "health") => Ok(json!({"ok": true, "ts": now_ms, "durationMs": 0, "channels": {},
                                   "agents": [{"agentId": "main", "isDefault": true}]})),
        (_, "status") => Ok(json!({"runtimeVersion": behaviour.version, "channelSummary": [],
                                   "sessions": {"count": 1, "recent": []}})),
        (_, "sessions.list") => Ok(json!({"ts": now_ms, "path": "(multiple)", "count": 1, "totalCount": 1,
                                          "nextOffset": null, "hasMore": false, "defaults": {}, "sessions": [row]})),
        (_, "sessions.subscribe") => Ok(json!({"subscribed": true})),
        (_, "agents.list") => Ok(json!({"defaultId": "main", "mainKey": "main", "scope": "per-sender",
                                        "agents": [{"id": "main"}, {"id": "worker-one", "name": "Worker One"}]})),
        (_, "config.get") => Ok(json!({"exists": true, "raw": "{}", "parsed": {}, "valid": true, "config": {}})),
        (_, "logs.tail") => Ok(log_tail(behaviour, params)),
        (_, "device.pair.list") => Ok(json!({"pending": [], "paired": []})),
        (_, "chat.history") => Ok(json!({"sessionKey": "agent:main:main", "sessionId": "s-1", "messages": []})),
        (_, "sessions.patch") => Ok(json!({"ok": true, "path": "(multiple)", "key": "agent:main:main", "entry": {}})),
        (_, "sessions.delete") => Ok(json!({"ok": true, "key": "agent:main:main", "deleted": true, "archived": []})),
        (_, "node.list") => Ok(json!({"ts": now_ms, "nodes": []})),
        _ => Err(json!({"code": "INVALID_REQUEST", "message": format!("unknown method: {method}")})),
    }
}

/// The frame around an answer.
pub(crate) fn reply(form: &Form, id: &Value, answer: Result<Value, Value>) -> Value {
    match (form, answer) {
        (Form::Rpc, Ok(result)) => json!({"id": id, "result": result}),
        (Form::Rpc, Err(error)) => json!({"id": id, "error": error}),
        (Form::Document002, Ok(Value::Null)) => json!({"type": "res", "id": id, "ok": true}),
        (Form::Document002, Ok(result)) => json!({"type": "res", "id": id, "ok": true, "result": result}),
        (_, Ok(payload)) => json!({"type": "res", "id": id, "ok": true, "payload": payload}),
        (_, Err(error)) => json!({"type": "res", "id": id, "ok": false, "error": error}),
    }
}

/// Status, content type, further headers and body of a plain HTTP request.
pub(crate) fn http(
    behaviour: &Behaviour,
    method: &str,
    path: &str,
    bearer: Option<&str>,
) -> (u16, &'static str, String) {
    let json = "application/json; charset=utf-8";
    let path = path.split('?').next().unwrap_or_default();
    let allowed = behaviour.token.as_deref().is_none_or(|token| bearer == Some(token));
    match (&behaviour.form, method, path) {
        (Form::Protocol4 | Form::Protocol3, "GET", "/health" | "/healthz") => {
            (200, json, json!({"ok": true, "status": "live"}).to_string())
        }
        (Form::Protocol4 | Form::Protocol3, "GET", "/ready" | "/readyz") => {
            (200, json, json!({"ready": true, "failing": [], "uptimeMs": 119}).to_string())
        }
        (Form::Rpc | Form::Http | Form::Document002, "GET", "/health") => {
            (200, json, json!({"status": "ok", "version": behaviour.version, "uptime": 3600}).to_string())
        }
        (Form::Http, _, _) if !allowed => (401, json, json!({"error": "unauthorized"}).to_string()),
        (Form::Http, "GET", "/sessions") => {
            let row = json!({"key": "researcher:main", "agent": "researcher", "model": "claude-sonnet-4",
                             "status": "active", "totalTokens": 12, "updatedAt": 1_709_582_400_000_i64});
            let list = behaviour.results.get("sessions.list").cloned();
            (200, json, list.unwrap_or_else(|| json!({"sessions": [row]})).to_string())
        }
        (Form::Http, "GET", "/config") => {
            (200, json, json!({"agents": {"list": [{"id": "researcher", "name": "Researcher"}]}}).to_string())
        }
        (Form::Http, "POST", "/spawn") => (200, json, json!({"status": "running", "id": "spawn-1"}).to_string()),
        (Form::Http, "POST", "/control") => (200, json, json!({"ok": true}).to_string()),
        (Form::Http, _, _) => (404, json, json!({"error": "not found"}).to_string()),
        _ => (200, "text/html; charset=utf-8", PAGE.to_owned()),
    }
}
