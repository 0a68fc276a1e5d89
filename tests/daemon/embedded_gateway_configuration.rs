//! The embedded gateway's configuration, changed while it runs: over the protocol, and by SIGHUP from its file.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::support::daemon::PATIENCE;
use super::support::http;
use super::support::own_gateway::{GatewayHome, GatewayProcess};
use super::support::rpc_client::RpcClient;
use super::support::wait;

const TEXT: &str =
    "// mine\n{gateway: {auth: {token: 'a-token-of-this-very-file'}}, gatewarden: {metrics: {enabled: false}}}";

fn open(gateway: &GatewayProcess) -> RpcClient {
    RpcClient::open(gateway.address, "a-token-of-this-very-file").0
}

fn file(home: &GatewayHome) -> PathBuf {
    home.path().join("openclaw.json")
}

fn text(home: &GatewayHome) -> String {
    std::fs::read_to_string(file(home)).expect("a file")
}

fn patch(client: &mut RpcClient, patch: Value) -> Value {
    let hash = client.call("config.get", json!({}))["hash"].clone();
    client.ask("config.patch", json!({"raw": patch.to_string(), "baseHash": hash}))
}

fn is_known_by(gateway: &GatewayProcess, host: &str) -> bool {
    let answer = http::request(gateway.address, "GET", "/health", &[("Host", host)], None).expect("an answer");
    answer.status == 200
}

#[test]
fn a_change_over_the_protocol_counts_at_once_as_far_as_it_can() {
    let home = GatewayHome::with("openclaw.json", TEXT);
    let text_that_trusts = TEXT.replace("gatewarden: {", "gatewarden: {remotePrograms: true, ");
    std::fs::write(file(&home), &text_that_trusts).expect("written");
    let gateway = home.start(&[]);
    let mut client = open(&gateway);
    assert!(!is_known_by(&gateway, "gateway.example"));
    let answer = patch(
        &mut client,
        json!({"gatewarden": {"allowedHosts": ["gateway.example"], "limits": {"connections": 9}},
               "hooks": {"webhooks": [{"id": "new", "path": "/webhook/new", "message": "{{body}}", "secret": "a-secret-of-this-webhook"}]},
               "logging": {"level": "debug"}}),
    );
    let result = &answer["result"];
    assert_eq!(result["applied"], json!(["gatewarden.allowedHosts", "hooks.webhooks", "logging.level"]), "{answer}");
    assert_eq!(result["restartRequired"], json!(["gatewarden.limits.connections"]), "{answer}");
    assert_eq!(result["sentinel"]["payload"]["stats"]["requiresRestart"], true);
    assert!(result["warnings"].to_string().contains("comments"), "{answer}");
    assert!(
        !answer.to_string().contains("a-token-of-this") && !answer.to_string().contains("a-secret-of-this"),
        "{answer}"
    );
    let event = client.event("config.changed", |event| !event["hash"].is_null());
    assert_eq!(event["hash"], result["hash"]);
    assert!(is_known_by(&gateway, "gateway.example"));
    let post = |path: &str| {
        http::request(gateway.address, "POST", path, &[("Content-Type", "application/json")], Some(b"{}"))
            .expect("an answer")
            .status
    };
    assert_eq!((post("/webhook/new"), post("/webhook/other")), (401, 404), "its secret is asked for");
    assert_eq!(
        std::fs::read_to_string(home.path().join("openclaw.json.bak")).expect("the former file"),
        text_that_trusts
    );
    assert!(text(&home).contains("a-token-of-this-very-file"));
    let status = home.run(&["status"]).expect(0).stdout;
    assert!(status.contains("changed, and waits for a restart: gatewarden.limits.connections"), "{status}");

    // What was shown is sent back whole: nothing changes, and no mark takes a secret's place.
    let shown = client.call("config.get", json!({}));
    let before = text(&home);
    let back = client.ask("config.set", json!({"raw": shown["raw"], "baseHash": shown["hash"]}));
    assert_eq!((&back["result"]["ok"], &back["result"]["noop"]), (&json!(true), &json!(true)), "{back}");
    assert_eq!(text(&home), before);
    // So is what counts, with all defaults.
    let back = client.ask("config.apply", json!({"raw": shown["config"].to_string(), "baseHash": shown["hash"]}));
    assert_eq!(back["result"]["ok"], true, "{back}");
    assert_eq!(
        back["result"]["applied"],
        json!(["agents", "agents.default"]),
        "the built-in agent is written out: {back}"
    );
    assert!(text(&home).contains("a-token-of-this-very-file") && !text(&home).contains("REDACTED"), "{}", text(&home));
}

#[test]
fn who_has_only_the_token_learns_no_secret_and_widens_nothing() {
    let secret_file = "{gateway: {auth: {token: '${OPENCLAW_TEST_TOKEN}'}}, agents: {entries: {main: {name: 'Main'}}}, \
        gatewarden: {metrics: {enabled: false}, commands: {c: {program: '/bin/true', args: ['-pS3cret'], env: {PGPW: 'S4cret'}}}}}";
    let home =
        GatewayHome::with("openclaw.json", &secret_file.replace("${OPENCLAW_TEST_TOKEN}", "a-token-of-this-very-file"));
    let gateway = home.start(&[]);
    let mut client = open(&gateway);
    let before = text(&home);
    let shown = client.call("config.get", json!({})).to_string();
    assert!(!shown.contains("S3cret") && !shown.contains("S4cret"), "{shown}");
    for refused in [
        json!({"agents": {"entries": {"main": {"name": "${HOME}"}}}}),
        json!({"hooks": {"webhooks": [{"id": "a", "path": "/webhook/a", "message": "x", "secretFile": "/etc/shadow"}]}}),
        json!({"hooks": {"webhooks": [{"id": "a", "path": "/webhook/a", "message": "x", "secret": "a-secret-of-this-webhook"}]}}),
        json!({"agents": {"entries": {"main": {"acp": {"program": "/bin/true"}}}}}),
        json!({"gateway": {"bind": "lan"}}),
        json!({"gateway": {"auth": {"mode": "none", "token": null}}}),
        json!({"gateway": {"trustedProxies": ["0.0.0.0/0"], "auth": {"deviceAuth": {"enabled": false}}}}),
        json!({"gateway": {"controlUi": {"allowedOrigins": ["https://evil.example"]}}}),
        json!({"gatewarden": {"remotePrograms": true}}),
        json!({"gatewarden": {"limits": {"authFailures": 100}}}),
    ] {
        let answer = patch(&mut client, refused.clone());
        assert_eq!(answer["error"]["details"]["code"], "DECIDED_ON_THE_MACHINE", "{refused}: {answer}");
    }
    assert_eq!(text(&home), before);
    let renamed =
        patch(&mut client, json!({"agents": {"entries": {"main": {"name": "Anna"}}}, "logging": {"level": "debug"}}));
    assert_eq!(renamed["result"]["applied"], json!(["logging.level", "agents"]), "{renamed}");
}

#[test]
fn requests_about_the_configuration_are_bounded_for_all_together() {
    let home = GatewayHome::with("openclaw.json", TEXT);
    let gateway = home.start(&[]);
    let mut client = open(&gateway);
    let long = json!({"channels": {"x": "y".repeat(300_000)}});
    let refused = patch(&mut client, long);
    assert!(refused["error"]["message"].as_str().is_some_and(|said| said.contains("262144 bytes")), "{refused}");
}

#[test]
fn a_change_that_cannot_be_used_changes_nothing() {
    let home = GatewayHome::with("openclaw.json", TEXT);
    let gateway = home.start(&[]);
    let mut client = open(&gateway);
    let refused = patch(&mut client, json!({"gateway": {"prot": 1, "bind": "everywhere"}}));
    let issues = &refused["error"]["details"]["issues"];
    assert_eq!(issues.as_array().map(Vec::len), Some(2), "{refused}");
    assert!(
        refused["error"]["message"].as_str().is_some_and(|said| said.contains("did you mean gateway.port?")),
        "{refused}"
    );
    assert_eq!(text(&home), TEXT);
    let refused = client.ask("config.set", json!({"raw": "{}", "baseHash": "old"}));
    assert_eq!(refused["error"]["message"], "config changed since last load; re-run config.get and retry");
}

#[test]
fn at_a_sighup_the_file_counts_and_a_broken_one_does_not() {
    let home = GatewayHome::with("openclaw.json", TEXT);
    let gateway = home.start(&[]);
    let changed = TEXT.replace("gatewarden: {", "gatewarden: {allowedHosts: ['gateway.example'], ");
    std::fs::write(file(&home), &changed).expect("written");
    assert!(home.run(&["status"]).expect(0).stdout.contains("waits for SIGHUP, or a restart: gatewarden.allowedHosts"));
    gateway.signal("HUP");
    wait::until("the name is known", PATIENCE, || is_known_by(&gateway, "gateway.example"));

    // Half of it.
    std::fs::write(file(&home), &changed[..changed.len() / 2]).expect("written");
    gateway.signal("HUP");
    wait::until_ok("the log says so", PATIENCE, || {
        let log = home.log();
        if log.contains("the gateway goes on with the configuration that it has") { Ok(()) } else { Err(log) }
    });
    assert!(is_known_by(&gateway, "gateway.example"), "it goes on as it was");
    assert!(!home.log().contains("a-token-of-this-very-file"));
    let mut client = open(&gateway);
    let status = client.call("status", json!({}));
    assert!(status["configuration"]["fault"].as_str().is_some_and(|fault| fault.contains("JSON5")), "{status}");
    let shown = client.call("config.get", json!({}));
    assert_eq!((&shown["valid"], &shown["raw"]), (&json!(false), &Value::Null), "{shown}");
    let said = home.run(&["status"]);
    assert!(said.stdout.contains("openclaw.json") && said.stderr.contains("JSON5"), "{} {}", said.stdout, said.stderr);

    // Who isn't on the machine can't replace it; whole again, and not empty, it counts.
    let hash = shown["hash"].clone();
    let refused = client.ask("config.apply", json!({"raw": TEXT, "baseHash": hash}));
    assert!(
        refused["error"]["message"].as_str().is_some_and(|said| said.contains("on the gateway's machine")),
        "{refused}"
    );
    std::fs::write(file(&home), "").expect("written");
    gateway.signal("HUP");
    wait::until("the empty one is a fault", PATIENCE, || {
        client.call("status", json!({}))["configuration"]["fault"].to_string().contains("is empty")
    });
    assert!(is_known_by(&gateway, "gateway.example"), "it goes on as it was");
    std::fs::write(file(&home), TEXT).expect("written");
    gateway.signal("HUP");
    wait::until("the whole one counts", PATIENCE, || !is_known_by(&gateway, "gateway.example"));
    assert_eq!(client.call("status", json!({}))["configuration"]["fault"], Value::Null);
}

#[test]
fn the_schema_names_every_key_and_who_may_only_read_changes_nothing() {
    let home = GatewayHome::with("openclaw.json", TEXT);
    let gateway = home.start(&[]);
    let mut client = open(&gateway);
    let schema = client.call("config.schema", json!({}));
    assert_eq!(schema["schema"]["properties"]["gateway"]["properties"]["port"]["type"], "integer");
    assert_eq!(schema["uiHints"]["gateway.auth.token"]["sensitive"], true);
    let documented = include_str!("../../docs/embedded-gateway.md");
    for key in ["connections", "maxPayload", "finishedRuns"] {
        let limits = &schema["schema"]["properties"]["gatewarden"]["properties"]["limits"]["properties"];
        assert!(limits[key].is_object() && documented.contains(&format!("`{key}`")), "{key}");
    }
}
