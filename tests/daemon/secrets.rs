//! Tokens and keys appear nowhere: not in an answer, a log line, a metric or a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::daemon::{ADMIN_KEY, PATIENCE, Setup};
use crate::support::http;
use crate::support::scripted_gateway::{Behaviour, Form, ScriptedGateway};
use crate::support::wait;

#[test]
fn no_secret_is_in_any_answer_log_line_metric_or_file() {
    let right = "shared-token-4f1c9a";
    let issues = |form: Form| Behaviour { issues_device_tokens: true, ..Behaviour::of(form, right) };
    let gateways = [Form::Protocol4, Form::Protocol3, Form::Document002, Form::Rpc, Form::Http]
        .map(|form| ScriptedGateway::start(issues(form)));
    let setup = Setup::new().without_challenge().env("GATEWARDEN_LOG__LEVEL", "trace");
    let mut daemon = setup.start();
    let mut ids = Vec::new();
    for (index, gateway) in gateways.iter().enumerate() {
        ids.push(daemon.register(&format!("good-{index}"), gateway.port(), right));
    }
    let wrong = daemon.register("wrong", gateways[0].port(), "wrong-token-77aa01");
    let in_url =
        json!({"name": "url", "host": format!("ws://127.0.0.1:{}/path?token=url-token-99cc02", gateways[1].port())});
    let with_url = daemon.register_with(&in_url);
    for id in &ids {
        daemon.until_status(*id, "online");
    }
    daemon.until_code(wrong, "token_mismatch");
    // the one answer that shows a new key is asked for outside the record
    let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json")];
    let body = json!({"name": "k", "role": "viewer"}).to_string();
    let made = http::request(daemon.address(), "POST", "/api/keys", &headers, Some(body.as_bytes()))
        .expect("an answer")
        .expect(201);
    let made = made.json();
    let new_key = made["api_key"].as_str().expect("a key").to_owned();
    let paths = [
        "/api/gateways",
        "/api/gateways/health/history",
        "/api/keys",
        "/api/status",
        "/api/identity",
        "/metrics",
        "/health",
        "/ready",
        "/api/nodes?action=list",
        "/api/openapi.json",
    ];
    for path in paths {
        for key in [Some(ADMIN_KEY), Some(new_key.as_str()), Some("wrong-key-that-someone-tried"), None] {
            let _ = daemon.try_call(key, "GET", path, None);
        }
    }
    for id in ids.iter().chain([&wrong, &with_url]) {
        let _ = daemon.get(&format!("/api/gateways/{id}"));
        let _ = daemon.post("/api/gateways/health", &json!({"gateway_id": id}));
        let _ = daemon.update(&json!({"id": id, "token": "replaced-token-5be203"}));
    }
    let _ = daemon.post(
        "/api/gateways",
        &json!({"name": "bad", "host": "ws://user:host-password-31@h", "port": 0, "token": right}),
    );
    let _ = daemon.try_call(Some(&new_key), "POST", "/api/gateways/connect", Some(&json!({"id": ids[0]})));
    wait::until("the changed tokens were used", PATIENCE, || {
        gateways[1].record().attempts.iter().any(|one| one.token() == Some("replaced-token-5be203"))
    });
    daemon.stop();
    let mut secrets: Vec<String> = [
        right,
        "wrong-token-77aa01",
        "url-token-99cc02",
        "replaced-token-5be203",
        "host-password-31",
        ADMIN_KEY,
        "wrong-key-that-someone-tried",
    ]
    .map(str::to_owned)
    .to_vec();
    secrets.push(new_key);
    secrets.extend(gateways.iter().flat_map(ScriptedGateway::issued).map(|(_, token)| token));
    assert!(secrets.len() > 9, "no device token was issued");
    let said = daemon.everything_said();
    for secret in &secrets {
        if let Some(at) = said.find(secret.as_str()) {
            let from = said[..at].rfind('\n').map_or(0, |line| line + 1);
            panic!("{secret} was said: {}", said[from..].lines().next().unwrap_or_default());
        }
    }
    for file in fs::read_dir(setup.state()).expect("the state directory") {
        let file = file.expect("an entry");
        let bytes = fs::read(file.path()).unwrap_or_default();
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {:?} unsealed", file.path());
        }
        let mode = file.metadata().expect("its mode").permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", file.path());
    }
    let mode = fs::metadata(setup.state()).expect("its mode").permissions().mode() & 0o777;
    assert_eq!(mode & 0o077, 0, "the state directory has mode {mode:o}");
}

#[test]
fn the_first_start_makes_an_admin_key_that_only_its_owner_reads() {
    let setup = Setup::new().without("API_KEY");
    let daemon = setup.start();
    let file = setup.state().join("admin.key");
    let key = fs::read_to_string(&file).expect("an admin key").trim().to_owned();
    assert!(key.len() >= 32, "{key}");
    assert_eq!(fs::metadata(&file).expect("its mode").permissions().mode() & 0o777, 0o600);
    let listed = daemon.try_call(Some(&key), "GET", "/api/keys", None).expect("an answer").expect(200);
    assert!(!listed.text.contains(&key));
    // standard output is no terminal here, so it must not have been printed
    assert!(!daemon.everything_said().contains(&key));
}
