//! The organization API as its clients see it: creation step by step, each failure with its status, and nothing left behind.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::ports;
use crate::support::scripted_gateway::{Behaviour, Case, Fault, Form, Replies, ScriptedGateway, Step};
use crate::support::tls_front::TlsFront;
use crate::support::wait;

const PATH: &str = "/api/v1/gateways";

fn setup() -> Setup {
    Setup::new().env("GATEWARDEN_GATEWAY__REQUEST_TIMEOUT", "5s")
}

fn body(name: &str, port: u16) -> Value {
    json!({"name": name, "url": format!("ws://127.0.0.1:{port}"), "workspace_root": "/srv/workspaces", "token": "right"})
}

fn created(daemon: &Daemon, name: &str, port: u16) -> Value {
    daemon.post(PATH, &body(name, port)).expect(200).json()
}

/// The names in both APIs, which must be the same.
fn names(daemon: &Daemon) -> Vec<String> {
    let name = |gateway: &Value| gateway["name"].as_str().unwrap_or_default().to_owned();
    let here: Vec<String> = daemon.gateways().iter().map(name).collect();
    let list = daemon.get(PATH).expect(200).json();
    let there: Vec<String> = list["items"].as_array().expect("a list").iter().map(name).collect();
    assert_eq!(here, there);
    assert_eq!(list["total"], there.len(), "{list}");
    here
}

fn agents(daemon: &Daemon) -> Vec<Value> {
    let list = daemon.get("/api/agents").expect(200).json();
    list["agents"].as_array().expect("a list").clone()
}

/// A refusal has its sentence twice, a code and help.
#[track_caller]
fn refused(daemon: &Daemon, body: &Value, status: u16, code: &str) -> Value {
    let answer = daemon.post(PATH, body).expect(status).json();
    assert_eq!(answer["code"], code, "{answer}");
    assert!(answer["error"].is_string() && answer["error"] == answer["detail"], "{answer}");
    assert!(answer["help"].as_str().is_some_and(|help| help.len() > 20), "{answer}");
    answer
}

#[test]
fn a_gateway_is_created_with_its_main_agent_seen_in_both_apis_and_deleted_with_its_record() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let mut daemon = setup().start();
    let made = created(&daemon, "prod", gateway.port());
    assert_eq!(made["url"], format!("ws://127.0.0.1:{}", gateway.port()));
    assert_eq!((&made["workspace_root"], daemon.main_agent(&made).as_str()), (&json!("/srv/workspaces"), "main"));
    assert_eq!((&made["allow_insecure_tls"], &made["disable_device_pairing"]), (&json!(false), &json!(false)));
    for time in ["created_at", "updated_at"] {
        let text = made[time].as_str().unwrap_or_default();
        assert!(text.len() == 20 && text.ends_with('Z') && text.contains('T'), "{made}");
    }
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!((id.len(), made["organization_id"].as_str().map(str::len)), (36, Some(36)));
    assert!(made.get("token").is_none() && made["token_set"] == true, "{made}");
    assert_eq!(names(&daemon), ["seeded", "prod"]);
    let there = daemon.gateways().into_iter().find(|gateway| gateway["name"] == "prod").expect("prod");
    assert_eq!((&there["uuid"], &there["status"], &there["is_primary"]), (&json!(id), &json!("online"), &json!(false)));
    let mains: Vec<Value> = agents(&daemon).into_iter().filter(|agent| agent["is_gateway_main"] == true).collect();
    assert_eq!(mains.len(), 1, "{mains:?}");
    assert_eq!((&mains[0]["gateway_id"], &mains[0]["name"]), (&there["id"], &json!("main")));
    assert_eq!(gateway.record().accepted(), 1, "the connection that was tried is the one that stays");
    let stored = |mut gateway: Value| {
        for seen in ["status", "version"] {
            gateway.as_object_mut().expect("an object").remove(seen);
        }
        gateway
    };
    // What was acknowledged survives a crash, the organization's id too.
    daemon.crash_and_restart();
    let kept = daemon.get(&format!("{PATH}/{id}")).expect(200).json();
    assert_eq!(stored(kept), stored(made));
    let deleted = daemon.call("DELETE", &format!("{PATH}/{id}"), None).expect(200).json();
    assert_eq!(deleted, json!({"ok": true}));
    daemon.call("DELETE", &format!("{PATH}/{id}"), None).expect(404);
    assert!(agents(&daemon).iter().all(|agent| agent["is_gateway_main"] == false));
    wait::until("the connection is closed", PATIENCE, || gateway.record().open == 0);
    assert!(!daemon.everything_said().contains("right\""), "the token was told");
    created(&daemon, "prod", gateway.port());
}

#[test]
fn each_failure_has_its_status_and_leaves_nothing_behind() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = setup().start();
    let good = body("prod", gateway.port());
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let missing = refused(&daemon, &json!({"name": "prod"}), 400, "invalid_request");
    assert!(missing["error"].as_str().is_some_and(|text| text.contains("url") && text.contains("workspace_root")));
    for url in ["http://127.0.0.1:1", "127.0.0.1:1", "ws://", "ws://a:b@127.0.0.1"] {
        refused(&daemon, &with("url", json!(url)), 400, "invalid_request");
    }
    refused(&daemon, &with("url", json!("ws://169.254.169.254")), 400, "address_forbidden");
    for root in ["", "  ", "relative/path"] {
        refused(&daemon, &with("workspace_root", json!(root)), 422, "validation_failed");
    }
    refused(&daemon, &with("name", json!("seeded")), 409, "name_taken");
    let nobody = with("url", json!(format!("ws://127.0.0.1:{}", ports::free_port())));
    let help = refused(&daemon, &nobody, 502, "gateway_unreachable")["help"].to_string();
    assert!(help.contains("nc -zv 127.0.0.1") && help.contains("ps aux | grep openclaw"), "{help}");
    refused(&daemon, &with("token", json!("wrong")), 502, "gateway_refused");
    let page = ScriptedGateway::of(Form::WebServer, "");
    refused(&daemon, &body("prod", page.port()), 502, "gateway_unreachable");
    for (key, status) in [(None, 401), (Some(daemon.new_key("op", "operator")), 403)] {
        let answer =
            daemon.try_call(key.as_deref(), "POST", PATH, Some(&good)).expect("an answer").expect(status).json();
        assert_eq!(answer["detail"], answer["error"], "{answer}");
    }
    let unknown = daemon.get(&format!("{PATH}/00000000-0000-4000-8000-000000000000")).expect(404).json();
    assert_eq!((&unknown["code"], &unknown["detail"]), (&json!("gateway_not_found"), &unknown["error"]));
    assert_eq!(daemon.get("/api/v1/nothing").expect(404).json()["detail"], "There is nothing at /api/v1/nothing");
    assert!(daemon.get("/api/nothing").expect(404).json().get("detail").is_none());
    assert_eq!(names(&daemon), ["seeded"]);
    assert_eq!(agents(&daemon), Vec::<Value>::new());
    created(&daemon, "prod", gateway.port());
}

#[test]
fn wrong_tokens_one_after_another_do_not_lock_this_machine_out() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = setup().start();
    let mut wrong = body("prod", gateway.port());
    wrong["token"] = json!("wrong");
    let reasons: Vec<String> = (0..8)
        .map(|_| {
            let answer = refused(&daemon, &wrong, 502, "gateway_refused");
            assert!(answer["help"].as_str().is_some_and(|help| help.contains("gateway.auth.token")), "{answer}");
            answer["details"]["reason"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!((reasons[0].as_str(), reasons[7].as_str()), ("token_mismatch", "login_budget_spent"), "{reasons:?}");
    assert!(gateway.record().attempts.len() <= 5, "the gateway would have locked us out");
}

#[test]
fn the_minimum_release_is_held_against_what_the_gateway_tells() {
    let newest = ScriptedGateway::of(Form::Protocol4, "right");
    let old = ScriptedGateway::of(Form::Release219, "right");
    let untold = ScriptedGateway::of(Form::Protocol4, "right");
    untold.change(|behaviour| behaviour.version = "dev".to_owned());
    let daemon = setup().env("GATEWAY_MIN_VERSION", "2026.03.1").start();
    created(&daemon, "newest", newest.port());
    let answer = refused(&daemon, &body("old", old.port()), 503, "gateway_too_old");
    assert!(
        answer["error"].as_str().is_some_and(|text| text.contains("2026.2.19") && text.contains("2026.3.1")),
        "{answer}"
    );
    assert!(answer["help"].as_str().is_some_and(|help| help.contains("openclaw --version")), "{answer}");
    let answer = refused(&daemon, &body("untold", untold.port()), 503, "gateway_too_old");
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("does not tell its release")), "{answer}");
    untold.change(|behaviour| {
        let config = json!({"parsed": {}, "config": {"meta": {"lastTouchedVersion": "2026.9.1"}}});
        behaviour.results.insert("config.get".to_owned(), config);
    });
    created(&daemon, "untold", untold.port());
    assert_eq!(names(&daemon), ["seeded", "newest", "untold"]);
    let lower = setup().env("GATEWAY_MIN_VERSION", "2026.02.9").start();
    created(&lower, "old", old.port());
}

#[test]
fn a_gateway_that_dies_in_the_middle_leaves_neither_record_nor_agent() {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right"));
    gateway.change(|behaviour| behaviour.replies = Replies::Never);
    let daemon = setup().start();
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| daemon.post(PATH, &body("prod", gateway.port())));
        wait::until("the gateway is asked for its agents", PATIENCE, || gateway.record().asked("agents.list") > 0);
        assert_eq!(names(&daemon), ["seeded"], "nobody sees it yet");
        daemon.post("/api/gateways", &json!({"name": "prod", "host": "127.0.0.1", "port": 1})).expect(409);
        gateway.kill();
        asking.join().expect("an answer")
    });
    let answer = answer.expect(502).json();
    assert_eq!(answer["code"], "gateway_unreachable", "{answer}");
    assert_eq!(names(&daemon), ["seeded"]);
    assert_eq!(agents(&daemon), Vec::<Value>::new());
    assert!(!daemon.metrics().contains("\"prod\""), "it is measured");
    gateway.change(|behaviour| behaviour.replies = Replies::Normal);
    gateway.revive();
    created(&daemon, "prod", gateway.port());

    // And one that breaks off at each place where something is asked.
    for fault in [Fault::Reset, Fault::End, Fault::Close(1011, "died".to_owned())] {
        let dying = ScriptedGateway::start(Behaviour::of(Form::Protocol3, "right").fails(Step::Request, fault.clone()));
        let answer = daemon.post(PATH, &body("dying", dying.port())).expect(502).json();
        assert_eq!(answer["code"], "gateway_unreachable", "{fault:?}: {answer}");
        assert_eq!(names(&daemon), ["seeded", "prod"]);
    }
}

#[test]
fn a_gateway_that_dies_while_its_main_agent_gets_its_files_leaves_nothing_behind_either() {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol3, "right").agents(&["main"]));
    gateway.change(|behaviour| behaviour.replies = Replies::Late(Duration::from_millis(200)));
    let daemon = setup().env("GATEWARDEN_GATEWAY__RESTARTING_GRACE", "1s").start();
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| daemon.post(PATH, &body("prod", gateway.port())));
        wait::until("a file is asked for", PATIENCE, || gateway.record().asked("agents.files.get") > 0);
        gateway.kill();
        asking.join().expect("an answer")
    });
    let answer = answer.expect(502).json();
    assert_eq!((&answer["code"], &answer["details"]["step"]), (&json!("gateway_unreachable"), &json!("write_files")));
    assert_eq!(names(&daemon), ["seeded"]);
    assert_eq!(agents(&daemon), Vec::<Value>::new());
    // Back again, it is found as it was left.
    gateway.change(|behaviour| behaviour.replies = Replies::Normal);
    gateway.revive();
    assert_eq!(daemon.main_agent(&created(&daemon, "prod", gateway.port())), "main");
    assert!(gateway.agent_file("main", "AGENTS.md").is_some_and(|text| text.contains("main agent of prod")));
}

#[test]
fn of_two_creations_of_one_gateway_at_once_one_wins_and_the_other_is_a_409() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    gateway.change(|behaviour| behaviour.replies = Replies::Late(Duration::from_millis(300)));
    let daemon = setup().start();
    for (first, second) in [("same", "same"), ("one", "other")] {
        let mut answers = std::thread::scope(|scope| {
            let asking = [first, second].map(|name| {
                let (daemon, gateway) = (&daemon, &gateway);
                scope.spawn(move || daemon.post(PATH, &body(name, gateway.port())))
            });
            asking.map(|asking| asking.join().expect("an answer"))
        });
        answers.sort_by_key(|answer| answer.status);
        assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 409], "{answers:?}");
        let code = answers[1].json()["code"].as_str().unwrap_or_default().to_owned();
        assert!(["name_taken", "address_taken"].contains(&code.as_str()), "{answers:?}");
    }
    assert_eq!(names(&daemon).len(), 3);
}

#[test]
fn what_a_crash_leaves_half_made_is_gone_at_the_next_start() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    gateway.change(|behaviour| behaviour.replies = Replies::Never);
    let mut daemon = setup().start();
    let address = daemon.address();
    let asking = std::thread::spawn({
        let text = body("prod", gateway.port()).to_string();
        move || {
            let headers = [("X-API-Key", crate::support::daemon::ADMIN_KEY), ("Content-Type", "application/json")];
            crate::support::http::request(address, "POST", PATH, &headers, Some(text.as_bytes()))
        }
    });
    wait::until("the gateway is asked for its agents", PATIENCE, || gateway.record().asked("agents.list") > 0);
    daemon.crash_and_restart();
    assert!(asking.join().expect("it ends").is_err(), "a crash answers nobody");
    daemon.until_logged(&["half-made"]);
    assert_eq!(names(&daemon), ["seeded"]);
    assert_eq!(agents(&daemon), Vec::<Value>::new());
    gateway.change(|behaviour| behaviour.replies = Replies::Normal);
    created(&daemon, "prod", gateway.port());
}

#[test]
fn a_self_made_certificate_is_refused_without_and_taken_with_allow_insecure_tls() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let front = TlsFront::before(gateway.port(), &["127.0.0.1"]);
    let daemon = setup().start();
    let mut body = body("secure", gateway.port());
    body["url"] = json!(format!("wss://127.0.0.1:{}", front.port()));
    let answer = refused(&daemon, &body, 502, "gateway_unreachable");
    assert_eq!(answer["details"]["reason"], "tls_not_trusted", "{answer}");
    assert!(gateway.record().attempts.is_empty(), "a login was sent over a connection that is not trusted");
    body["allow_insecure_tls"] = json!(true);
    let made = daemon.post(PATH, &body).expect(200).json();
    assert_eq!((&made["allow_insecure_tls"], &made["url"]), (&json!(true), &body["url"]));
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap_or_default());
    let strict = daemon.call("PATCH", &path, Some(&json!({"allow_insecure_tls": false}))).expect(502).json();
    assert_eq!(strict["details"]["reason"], "tls_not_trusted", "{strict}");
    assert_eq!(daemon.get(&path).expect(200).json()["allow_insecure_tls"], true, "nothing changed");
}

#[test]
fn a_gateway_that_does_not_allow_control_ui_mode_is_a_502_with_the_setting_to_change() {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol3, "right").refuses(Case::ControlUiNeedsDevice));
    let daemon = setup().start();
    let mut body = body("ui", gateway.port());
    body["disable_device_pairing"] = json!(true);
    let answer = refused(&daemon, &body, 502, "gateway_refused");
    let help = answer["help"].as_str().unwrap_or_default();
    assert!(help.contains("dangerouslyDisableDeviceAuth: true"), "{answer}");
    assert_eq!(names(&daemon), ["seeded"]);
}

#[test]
fn a_change_of_the_connection_is_tried_before_it_is_stored() {
    let (first, second) =
        (ScriptedGateway::of(Form::Protocol4, "right"), ScriptedGateway::of(Form::Protocol3, "right"));
    let daemon = setup().start();
    let made = created(&daemon, "prod", first.port());
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap_or_default());
    let patch = |body: Value, status: u16| daemon.call("PATCH", &path, Some(&body)).expect(status).json();
    for (body, status) in [
        (json!({}), 400),
        (json!({"unknown": 1}), 400),
        (json!({"url": "http://x"}), 400),
        (json!({"workspace_root": "relative"}), 422),
        (json!({"name": "seeded"}), 409),
        (json!({"token": "wrong"}), 502),
        (json!({"url": format!("ws://127.0.0.1:{}", ports::free_port())}), 502),
    ] {
        let answer = patch(body.clone(), status);
        assert_eq!(answer["detail"], answer["error"], "{body}: {answer}");
        assert_eq!(daemon.get(&path).expect(200).json()["url"], made["url"], "{body}");
    }
    assert_eq!(patch(json!({"name": "renamed", "workspace_root": "/other"}), 200)["workspace_root"], "/other");
    let moved = format!("ws://127.0.0.1:{}", second.port());
    let answer = patch(json!({"url": moved}), 200);
    assert_eq!((&answer["url"], &answer["name"]), (&json!(moved), &json!("renamed")));
    let id = daemon.gateways().iter().find(|gateway| gateway["name"] == "renamed").and_then(|one| one["id"].as_i64());
    daemon.until_status(id.expect("an id"), "online");
    wait::until("the former connection is closed", PATIENCE, || first.record().open == 0);
    wait::until("one connection to the new place", PATIENCE, || second.record().open == 1);
}

#[test]
fn gateways_of_the_other_api_are_here_with_values_that_make_sense() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = setup().start();
    let id = daemon.register("plain", gateway.port(), "right");
    daemon.until_status(id, "online");
    let list = daemon.get(PATH).expect(200).json();
    let plain =
        list["items"].as_array().expect("a list").iter().find(|one| one["name"] == "plain").expect("plain").clone();
    assert_eq!(plain["url"], format!("ws://127.0.0.1:{}", gateway.port()));
    assert_eq!((&plain["workspace_root"], &plain["gateway_agent_id"]), (&json!(""), &Value::Null));
    let path = format!("{PATH}/{}", plain["id"].as_str().unwrap_or_default());
    // Told where the workspaces are, it gets its main agent.
    let changed = daemon.call("PATCH", &path, Some(&json!({"workspace_root": "/srv/w"}))).expect(200).json();
    assert_eq!((daemon.main_agent(&changed).as_str(), &changed["warning"]), ("main", &Value::Null), "{changed}");
    let seeded = list["items"][0]["id"].as_str().unwrap_or_default();
    let answer = daemon.call("DELETE", &format!("{PATH}/{seeded}"), None).expect(400).json();
    assert_eq!(answer["code"], "primary_undeletable", "{answer}");
    // Deleted there, it is gone here, its main agent's record too.
    daemon.delete(id).expect(200);
    daemon.get(&path).expect(404);
    assert!(agents(&daemon).iter().all(|agent| agent["is_gateway_main"] == false));
}

#[test]
fn status_sessions_and_commands_are_told_of_stored_gateways_and_a_dial_is_for_admins() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = setup().start();
    let made = created(&daemon, "prod", gateway.port());
    let id = made["id"].as_str().unwrap_or_default().to_owned();
    let status = daemon.get(&format!("{PATH}/status?gateway_id={id}")).expect(200).json();
    assert_eq!((&status["connected"], &status["gateway_url"]), (&json!(true), &made["url"]), "{status}");
    let other = ScriptedGateway::of(Form::Protocol4, "");
    let dial = format!("{PATH}/status?gateway_url=ws://127.0.0.1:{}", other.port());
    let dialled = daemon.get(&dial).expect(200).json();
    assert_eq!((&dialled["connected"], &dialled["version"]), (&json!(true), &json!("2026.9.6")), "{dialled}");
    wait::until("the dialled connection is closed", PATIENCE, || other.record().open == 0);
    let closed = format!("{PATH}/status?gateway_url=ws://127.0.0.1:{}", ports::free_port());
    let dead = daemon.get(&closed).expect(200).json();
    assert_eq!((&dead["connected"], &dead["code"]), (&json!(false), &json!("gateway_unreachable")), "{dead}");
    let viewer = daemon.new_key("v", "viewer");
    let as_viewer = |path: &str| daemon.try_call(Some(&viewer), "GET", path, None).expect("an answer");
    as_viewer(&dial).expect(403);
    as_viewer(&format!("{PATH}/status?gateway_id={id}")).expect(200);
    daemon.get(&format!("{dial}&gateway_token=x")).expect(400);
    daemon.get(&format!("{dial}/?token=x")).expect(400);
    assert_eq!(names(&daemon), ["seeded", "prod"], "a dial registers nothing");

    let first = wait::until_ok("the sessions are known", PATIENCE, || {
        let list = as_viewer(&format!("{PATH}/sessions?gateway_id={id}")).expect(200).json();
        list["sessions"].get(0).cloned().ok_or(list.to_string())
    });
    assert_eq!(first["gateway_id"], json!(id), "{first}");
    let key = first["key"].as_str().unwrap_or_default();
    let one = as_viewer(&format!("{PATH}/sessions/{key}?gateway_id={id}")).expect(200).json();
    assert_eq!(one["session"]["key"], first["key"]);
    as_viewer(&format!("{PATH}/sessions/{key}/history")).expect(200);
    as_viewer(&format!("{PATH}/sessions/nobody?gateway_id={id}")).expect(404);
    daemon.post(&format!("{PATH}/sessions/{key}/message"), &json!({})).expect(400);

    let unknown = daemon.get(&format!("{PATH}/commands?gateway_id={id}")).expect(501).json();
    assert!(unknown["error"].as_str().is_some_and(|text| text.contains("commands.list")), "{unknown}");
    let speaking = ScriptedGateway::of(Form::Protocol4, "right");
    speaking.change(|behaviour| {
        behaviour.results.insert("commands.list".to_owned(), json!({"commands": [{"name": "help"}]}));
    });
    let id = created(&daemon, "speaking", speaking.port())["id"].as_str().unwrap_or_default().to_owned();
    let commands = daemon.get(&format!("{PATH}/commands?gateway_id={id}")).expect(200).json();
    assert_eq!((&commands["commands"][0]["name"], &commands["protocol_version"]), (&json!("help"), &json!(4)));
}
