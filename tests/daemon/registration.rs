//! Registering, listing, changing and deleting gateways over REST: shapes and rules of the documented API.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

/// Every field of the documented gateway object and those beyond it.
const FIELDS: [&str; 26] = [
    "id",
    "name",
    "host",
    "port",
    "token",
    "token_set",
    "is_primary",
    "status",
    "last_seen",
    "latency",
    "sessions_count",
    "agents_count",
    "created_at",
    "updated_at",
    "acting_primary",
    "priority",
    "version",
    "protocol",
    "dialect",
    "phase",
    "breaker",
    "last_error",
    "reconnect_attempts",
    "labels",
    "password_set",
    "node",
];

fn has_every_field(gateway: &Value) {
    for field in FIELDS {
        assert!(gateway.get(field).is_some(), "no field {field} in {gateway}");
    }
    for field in ["is_primary", "token_set", "acting_primary"] {
        assert!(gateway[field].is_boolean(), "{field} in {gateway}");
    }
    for field in ["state", "failures", "opened_at"] {
        assert!(gateway["breaker"].get(field).is_some(), "no breaker.{field} in {gateway}");
    }
}

#[test]
fn a_created_gateway_has_every_documented_field_and_hides_its_token() {
    let daemon = Daemon::start();
    let body = json!({"name": "production", "host": "127.0.0.1", "port": 1, "token": "tok-1", "labels": {"zone": "a"}, "priority": 7});
    let created = daemon.post("/api/gateways", &body).expect(201).json();
    let gateway = &created["gateway"];
    has_every_field(gateway);
    assert_eq!(gateway["token"], "--------");
    assert_eq!(gateway["token_set"], true);
    assert_eq!((&gateway["priority"], &gateway["labels"]["zone"]), (&json!(7), &json!("a")));
    assert!(gateway["created_at"].as_i64().is_some_and(|at| (1_700_000_000..4_000_000_000).contains(&at)), "{gateway}");
    let without =
        daemon.post("/api/gateways", &json!({"name": "bare", "host": "127.0.0.1", "port": 1})).expect(201).json();
    assert_eq!((&without["gateway"]["token"], &without["gateway"]["token_set"]), (&json!(""), &json!(false)));
    let id = gateway["id"].as_i64().expect("an id");
    let by_path = daemon.get(&format!("/api/gateways/{id}")).expect(200).json();
    assert_eq!(by_path["gateway"]["name"], "production");
    daemon.gateways().iter().for_each(has_every_field);
}

#[test]
fn with_no_gateway_one_is_seeded_from_the_documented_variables_and_again_when_the_last_is_gone() {
    let setup = Setup::new()
        .without("OPENCLAW_GATEWAY_PORT")
        .env("MC_DEFAULT_GATEWAY_NAME", "first")
        .env("OPENCLAW_GATEWAY_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", "1")
        .env("GATEWAY_TOKEN", "tok-seed");
    let daemon = setup.start();
    let the_only = |what: &str, old: i64| {
        wait::until_ok(what, PATIENCE, || match daemon.gateways().as_slice() {
            [one] if one["id"] != old => Ok(one.clone()),
            other => Err(format!("{other:?}")),
        })
    };
    let seeded = the_only("the first one is seeded", 0);
    assert_eq!((&seeded["name"], &seeded["port"], &seeded["is_primary"]), (&json!("first"), &json!(1), &json!(true)));
    assert_eq!(seeded["token_set"], true);
    let id = seeded["id"].as_i64().expect("an id");
    daemon.update(&json!({"id": id, "is_primary": false})).expect(200);
    assert_eq!(daemon.delete(id).expect(200).json()["deleted"], true);
    let again = the_only("another is seeded", id);
    assert_eq!((&again["name"], &again["is_primary"]), (&json!("first"), &json!(true)));
}

#[test]
fn the_list_has_the_primary_first_and_then_goes_by_name() {
    let daemon = Daemon::start();
    for name in ["zeta", "alpha", "mid"] {
        daemon.register(name, 1, "");
    }
    let names: Vec<String> =
        daemon.gateways().iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(names, ["seeded", "alpha", "mid", "zeta"]);
}

#[test]
fn a_name_is_unique_and_offending_fields_are_all_named() {
    let daemon = Daemon::start();
    daemon.register("taken", 1, "");
    let again =
        daemon.post("/api/gateways", &json!({"name": "taken", "host": "127.0.0.1", "port": 2})).expect(409).json();
    assert_eq!(again["code"], "name_taken");
    let nothing = daemon.post("/api/gateways", &json!({"port": 70000})).expect(400);
    for field in ["name", "host", "port"] {
        assert!(nothing.text.contains(field), "{field} is not named: {}", nothing.text);
    }
}

#[test]
fn setting_a_primary_unsets_the_other_and_the_primary_cannot_be_deleted() {
    let daemon = Daemon::start();
    let id = daemon.register("second", 1, "");
    for on in [json!(1), json!(true)] {
        let updated = daemon.update(&json!({"id": id, "is_primary": on})).expect(200).json();
        assert_eq!(updated["gateway"]["is_primary"], true);
    }
    let primaries = daemon.gateways().iter().filter(|one| one["is_primary"] == true).count();
    assert_eq!(primaries, 1);
    let refused = daemon.delete(id).expect(400).json();
    assert!(
        refused["error"].as_str().is_some_and(|text| text.contains("Cannot delete the primary gateway")),
        "{refused}"
    );
    let other = daemon.gateways().iter().find(|one| one["name"] == "seeded").and_then(|one| one["id"].as_i64());
    let other = other.expect("the seeded gateway is listed");
    assert_eq!(daemon.delete(other).expect(200).json()["deleted"], true);
    assert_ne!(daemon.delete(other).json()["deleted"], true);
}

#[test]
fn an_update_changes_what_it_names_and_nothing_else() {
    let daemon = Daemon::start();
    let id = daemon.register("one", 1, "tok-1");
    let updated = daemon.update(&json!({"id": id, "priority": 3, "unknown_field": 1})).expect(200).json();
    assert_eq!((&updated["gateway"]["priority"], &updated["gateway"]["token_set"]), (&json!(3), &json!(true)));
    let cleared = daemon.update(&json!({"id": id, "token": ""})).expect(200).json();
    assert_eq!(cleared["gateway"]["token_set"], false);
    daemon.update(&json!({"id": id})).expect(400);
    daemon.update(&json!({"id": id, "unknown_field": 1})).expect(400);
    daemon.update(&json!({"priority": 1})).expect(400);
    daemon.update(&json!({"id": 999_999, "priority": 1})).expect(404);
}

#[test]
fn what_an_external_checker_says_is_taken_and_not_shown_over_what_the_daemon_sees() {
    let web_server = ScriptedGateway::of(Form::WebServer, "t");
    let daemon = Daemon::start();
    let id = daemon.register("web", web_server.port(), "t");
    let seen = daemon.until_code(id, "not_a_gateway");
    let told =
        json!({"status": "online", "last_seen": 1_700_000_000, "latency": 4, "sessions_count": 3, "agents_count": 2});
    let updated = daemon.call("PUT", &format!("/api/gateways/{id}"), Some(&told)).expect(200).json();
    let warning = updated["warning"].as_str().expect("a warning");
    assert!(warning.contains("supervises this gateway") && warning.contains("status, last_seen"), "{warning}");
    for field in ["status", "since", "source", "phase"] {
        assert_eq!(updated["gateway"][field], seen[field], "{field}");
    }
    // It never told this itself; and what is offline has no latency.
    assert_eq!((&updated["gateway"]["sessions_count"], &updated["gateway"]["latency"]), (&json!(3), &Value::Null));
    let plain = daemon.update(&json!({"id": id, "priority": 2})).expect(200).json();
    assert_eq!(plain.get("warning"), None, "{plain}");
}

#[test]
fn a_changed_port_moves_the_connection_and_a_deleted_gateway_is_left_alone() {
    let (first, second) = (ScriptedGateway::of(Form::Protocol4, "t"), ScriptedGateway::of(Form::Protocol4, "t"));
    let daemon = Daemon::start();
    let id = daemon.register("moving", first.port(), "t");
    daemon.until_status(id, "online");
    daemon.update(&json!({"id": id, "port": second.port()})).expect(200);
    wait::until("the connection moved", PATIENCE, || first.record().open == 0 && second.record().ready == 1);
    daemon.until_status(id, "online");
    daemon.delete(id).expect(200);
    wait::until("the connection is closed", PATIENCE, || second.record().open == 0);
    assert!(!second.record().closes.is_empty(), "closed without a close frame");
    second.forget();
    wait::holds_for("nobody dials a deleted gateway", std::time::Duration::from_secs(2), || {
        second.record().accepts.is_empty()
    });
}

#[test]
fn the_browser_gets_a_url_and_only_operators_get_the_token() {
    let daemon = Daemon::start();
    let id = daemon.register("one", 1, "tok-browser");
    let admin = daemon.post("/api/gateways/connect", &json!({"id": id})).expect(200);
    assert_eq!(admin.json()["ws_url"], "ws://127.0.0.1:1");
    assert_eq!((&admin.json()["token"], &admin.json()["token_set"]), (&json!("tok-browser"), &json!(true)));
    assert!(admin.header("cache-control").is_some_and(|value| value.contains("no-store")));
    let viewer = daemon.new_key("viewer", "viewer");
    let seen = daemon.try_call(Some(&viewer), "POST", "/api/gateways/connect", Some(&json!({"id": id})));
    let seen = seen.expect("an answer").expect(200).json();
    assert_eq!((&seen["token"], &seen["token_set"]), (&json!(""), &json!(false)));
}
