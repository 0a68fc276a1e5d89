use serde_json::json;

use super::*;

#[test]
fn a_hello_of_protocol_4_tells_nearly_everything() {
    let hello = Hello::read_connect(&json!({
        "type": "hello-ok", "protocol": 4,
        "server": {"version": "2026.9.6", "buildId": "2026.9.6-release-x", "bootId": "b-1", "connId": "c-1"},
        "features": {"methods": ["health", "sessions.list", "a.method.of.tomorrow"], "events": ["tick", "health", "x.y"]},
        "snapshot": {
            "suspension": {"phase": "accepting"}, "uptimeMs": 320_220,
            "health": {"ok": true, "ts": 1_795_253_692_460_i64, "defaultAgentId": "main", "agents": [{"agentId": "main",
                "isDefault": true}, "…1 more"], "sessions": {"count": 16}, "eventLoop": {"degraded": true, "reasons": ["delay"]}},
            "sessionDefaults": {"defaultAgentId": "main"},
        },
        "auth": {"method": "token", "role": "operator", "scopes": ["operator.read"], "deviceToken": "tok", "issuedAtMs": 1_795_252_582_059_i64},
        "policy": {"maxPayload": 26_214_400, "tickIntervalMs": 30_000},
    }));
    assert_eq!((hello.dialect, hello.form, hello.protocol), (Dialect::Openclaw, HelloForm::Release, Some(4)));
    assert_eq!(hello.version.as_deref(), Some("2026.9.6"));
    assert!(hello.lists_methods && hello.methods.contains(Method::SessionsList));
    assert!(!hello.methods.contains(Method::Ping));
    assert!(hello.events.contains(Event::Tick) && !hello.events.contains(Event::Log));
    assert_eq!(hello.uptime_ms, Some(320_220));
    assert_eq!(hello.scopes, Some(vec!["operator.read".to_owned()]));
    assert!(hello.scopes_are_effective);
    let token = hello.device_token.unwrap();
    assert_eq!((token.token.expose(), token.issued_at_ms), ("tok", Some(1_795_252_582_059)));
    let health = hello.health.unwrap();
    assert!(health.degraded && health.degraded_reasons == ["delay"]);
    assert_eq!(health.sessions_count, Some(16));
    assert_eq!(health.agents.unwrap().len(), 1, "a text among the rows is no agent");
}

#[test]
fn scopes_of_protocol_3_are_not_taken_for_those_of_the_connection() {
    let hello = Hello::read_connect(&json!({"type": "hello-ok", "protocol": 3, "server": {"version": "2026.3.24"},
        "auth": {"deviceToken": "t", "role": "operator", "scopes": ["operator.admin"]}}));
    assert!(!hello.scopes_are_effective);
    let stripped = Hello::read_connect(&json!({"type": "hello-ok", "protocol": 3, "server": {"version": "2026.3.24"}}));
    assert_eq!((stripped.scopes, stripped.device_token), (None, None));
}

#[test]
fn a_server_that_calls_itself_dev_has_the_version_of_its_update_notice_or_none() {
    let of = |update: Value| {
        Hello::read_connect(&json!({"type": "hello-ok", "protocol": 3, "server": {"version": "dev"},
            "snapshot": {"updateAvailable": update}}))
    };
    let known = of(json!({"currentVersion": "2026.2.19", "latestVersion": "2026.9.6"}));
    assert_eq!(known.version.as_deref(), Some("2026.2.19"));
    assert_eq!(known.calendar_version(), CalendarVersion::known("2026.2.19"));
    assert_eq!(of(Value::Null).version, None);
    assert_eq!(of(json!({"currentVersion": "unknown"})).version, None);
}

#[test]
fn the_hello_of_document_002_has_flat_features_and_a_token_beside_them() {
    let hello = Hello::read_connect(&json!({"protocol": 3, "sessionId": "gateway-session-123",
        "deviceToken": "new_token", "features": ["spawn", "cron", "logs"]}));
    assert_eq!((hello.form, hello.protocol), (HelloForm::Documented, Some(3)));
    assert!(hello.methods.contains(Method::Spawn) && !hello.lists_methods);
    let token = hello.device_token.unwrap();
    assert_eq!((token.token.expose(), token.role.as_str(), token.issued_at_ms), ("new_token", "operator", None));
    assert_eq!(hello.version, None);
}

#[test]
fn an_rpc_reply_of_any_kind_is_a_hello() {
    let full = Hello::read_rpc(&json!({"version": "2026.2.19", "uptime": 3600}));
    assert_eq!((full.dialect, full.form), (Dialect::Rpc, HelloForm::Rpc));
    assert_eq!((full.version.as_deref(), full.uptime_ms), (Some("2026.2.19"), Some(3_600_000)));
    for bare in [json!(null), json!(true), json!("ok"), json!({"ok": true})] {
        assert_eq!(Hello::read_rpc(&bare).version, None);
    }
}

#[test]
fn a_device_token_is_never_printed() {
    let hello = Hello::read_connect(&json!({"protocol": 3, "deviceToken": "geheim", "features": []}));
    assert!(!format!("{hello:?}").contains("geheim"));
}

#[test]
fn a_health_document_without_anything_is_none() {
    assert_eq!(HealthSnapshot::read(&json!({})), None);
    assert_eq!(HealthSnapshot::read(&json!([])), None);
    let old = HealthSnapshot::read(&json!({"ok": true})).unwrap();
    assert!(old.agents.is_none() && !old.degraded);
}
