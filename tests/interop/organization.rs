//! The organization API in front of real gateways: what it says it has done is looked up on the gateway by somebody else.

use serde_json::{Value, json};

use crate::other_operator::OtherOperator;
use crate::peer::{NEWEST, OLDER, OLDEST, Peer};
use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::wait;

const PATH: &str = "/api/v1/gateways";

fn body(name: &str, peer: &Peer) -> Value {
    json!({
        "name": name, "url": format!("{}://127.0.0.1:{}", peer.scheme(), peer.port), "workspace_root": "/srv/workspaces",
        "token": peer.token,
    })
}

fn created(daemon: &Daemon, body: &Value) -> Value {
    let made = daemon.post(PATH, body).expect(200).json();
    println!("{made}");
    made
}

/// Refused, with nothing left behind.
#[track_caller]
fn refused(daemon: &Daemon, body: &Value, status: u16, code: &str) -> Value {
    let answer = daemon.post(PATH, body).expect(status).json();
    println!("{answer}");
    assert_eq!(answer["code"], code, "{answer}");
    assert!(answer["detail"] == answer["error"] && answer["help"].is_string(), "{answer}");
    assert!(daemon.gateways().iter().all(|gateway| gateway["name"] != body["name"]), "it was recorded");
    answer
}

/// The ids of the gateway's agents, as it tells somebody else.
fn agents_there(there: &mut OtherOperator) -> Vec<String> {
    let list = there.call("agents.list", json!({}));
    let agents = list["agents"].as_array().expect("a list of agents");
    agents.iter().filter_map(|agent| agent["id"].as_str()).map(str::to_owned).collect()
}

/// What stands in a file of an agent, as the gateway tells somebody else.
fn file_there(there: &mut OtherOperator, agent: &str, name: &str) -> String {
    let reply = there.call("agents.files.get", json!({"agentId": agent, "name": name}));
    reply["file"]["content"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn real_gateways_are_created_with_main_agents_that_they_list_and_with_files_that_a_sync_changes() {
    let daemon = Daemon::start();
    for version in [NEWEST, OLDER] {
        let peer = Peer::start(version);
        let mut there = OtherOperator::connect(&peer);
        let before = agents_there(&mut there);
        let name = format!("first {version}");
        let made = created(&daemon, &body(&name, &peer));
        let main = daemon.main_agent(&made);
        assert_eq!(agents_there(&mut there), before, "the agent that was there is the main one");
        assert!(before.contains(&main), "{main} is not in {before:?}");
        assert!(file_there(&mut there, &main, "AGENTS.md").contains(&format!("main agent of {name}")));
        let shown = daemon.get("/api/agents").expect(200).json();
        let agents = shown["agents"].as_array().expect("a list");
        assert_eq!(agents.iter().filter(|agent| agent["is_gateway_main"] == true).count(), 1, "{shown}");
        let id = made["id"].as_str().expect("an id").to_owned();
        assert!(
            daemon.gateways().iter().any(|gateway| gateway["uuid"] == made["id"]),
            "the other API does not have it"
        );
        // A busy machine makes real gateways call themselves degraded: they can be worked with all the same.
        let connected =
            || daemon.get(&format!("{PATH}/status?gateway_id={id}")).expect(200).json()["connected"] == true;
        assert!(connected());

        let path = format!("{PATH}/{}", made["id"].as_str().expect("an id"));
        let sync = |options: Value| {
            let done = daemon.post(&format!("{path}/templates/sync"), &options).expect(200).json();
            println!("{version}: {done}");
            assert_eq!((&done["errors"], daemon.main_agent(&done)), (&json!([]), main.clone()), "{done}");
            done
        };
        assert_eq!(sync(json!({}))["files"]["written"], 0, "all was written with the creation");
        // A new name comes into the file by itself.
        let renamed = format!("renamed {version}");
        let answer = daemon.call("PATCH", &path, Some(&json!({"name": renamed}))).expect(200).json();
        assert!(answer["name"] == json!(renamed) && answer.get("warning").is_none(), "{answer}");
        assert!(file_there(&mut there, &main, "AGENTS.md").contains(&format!("main agent of {renamed}")));
        there.call("agents.files.set", json!({"agentId": main, "name": "AGENTS.md", "content": "their words\n"}));
        assert_eq!(sync(json!({}))["files"]["kept"], 1);
        assert_eq!(file_there(&mut there, &main, "AGENTS.md"), "their words\n");
        assert_eq!(sync(json!({"overwrite": true, "reset_sessions": true}))["main_updated"], true);
        assert!(file_there(&mut there, &main, "AGENTS.md").contains(&format!("main agent of {renamed}")));

        // Values that do not work change nothing.
        let wrong = daemon.call("PATCH", &path, Some(&json!({"token": "wrong"}))).expect(502).json();
        println!("{version}: {wrong}");
        assert!(connected());

        assert_eq!(daemon.call("DELETE", &path, None).expect(200).json(), json!({"ok": true}));
        daemon.get(&path).expect(404);
        let left = daemon.get("/api/agents").expect(200).json();
        assert_eq!(left["total"], 0, "{left}");
        let again = created(&daemon, &body(&name, &peer));
        assert_eq!((daemon.main_agent(&again), again["id"] == made["id"]), (main.clone(), false));
        assert_eq!(agents_there(&mut there), before, "no agent was made twice");
        let path = format!("{PATH}/{}", again["id"].as_str().expect("an id"));
        daemon.call("DELETE", &path, None).expect(200);

        peer.kill();
        refused(&daemon, &body("dead", &peer), 502, "gateway_unreachable");
    }
}

#[test]
fn the_release_of_real_gateways_is_held_against_the_minimum() {
    let (newest, older) = (Peer::start(NEWEST), Peer::start(OLDER));
    let strict = Setup::new().env("GATEWAY_MIN_VERSION", "2026.3.25").start();
    created(&strict, &body("newest", &newest));
    let answer = refused(&strict, &body("older", &older), 503, "gateway_too_old");
    assert!(
        answer["error"].as_str().is_some_and(|text| text.contains(OLDER) && text.contains("2026.3.25")),
        "{answer}"
    );
    let exact = Setup::new().env("GATEWAY_MIN_VERSION", OLDER).start();
    created(&exact, &body("older", &older));
}

#[test]
fn a_real_release_that_calls_itself_dev_is_judged_by_the_configuration_that_it_wrote_else_refused() {
    // Asking the registry for updates would tell its release too.
    let quiet = json!({"update": {"checkOnStart": false}});
    let mut wrote = quiet.clone();
    wrote["meta"] = json!({"lastTouchedVersion": OLDEST});
    let (untold, told) = (Peer::start_with(OLDEST, &quiet), Peer::start_with(OLDEST, &wrote));
    let below = Setup::new().env("GATEWAY_MIN_VERSION", "2026.02.9").start();
    let answer = refused(&below, &body("untold", &untold), 503, "gateway_too_old");
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("does not tell its release")), "{answer}");
    let made = created(&below, &body("told", &told));
    let main = below.main_agent(&made);
    assert!(agents_there(&mut OtherOperator::connect(&told)).iter().any(|agent| *agent == main), "{made}");
    let above = Setup::new().env("GATEWAY_MIN_VERSION", "2026.3.1").start();
    let answer = refused(&above, &body("told", &told), 503, "gateway_too_old");
    assert!(
        answer["error"].as_str().is_some_and(|text| text.contains(OLDEST) && text.contains("2026.3.1")),
        "{answer}"
    );
}

#[test]
fn the_self_made_certificate_of_a_real_gateway_is_refused_without_and_taken_with_allow_insecure_tls() {
    let daemon = Daemon::start();
    for version in [NEWEST, OLDER] {
        let peer = Peer::start_with_tls(version);
        let mut body = body(&format!("secure {version}"), &peer);
        let answer = refused(&daemon, &body, 502, "gateway_unreachable");
        assert_eq!(answer["details"]["reason"], "tls_not_trusted", "{answer}");
        body["allow_insecure_tls"] = json!(true);
        let made = created(&daemon, &body);
        assert_eq!((&made["url"], &made["allow_insecure_tls"]), (&body["url"], &json!(true)));
        let path = format!("{PATH}/{}", made["id"].as_str().expect("an id"));
        let done = daemon.post(&format!("{path}/templates/sync"), &json!({})).expect(200).json();
        assert_eq!(done["errors"], json!([]), "{done}");
        daemon.call("PATCH", &path, Some(&json!({"allow_insecure_tls": false}))).expect(502);
        daemon.call("DELETE", &path, None).expect(200);
    }
}

#[test]
fn control_ui_mode_needs_a_real_gateway_that_allows_it() {
    let daemon = Daemon::start();
    let allowing = json!({"gateway": {"controlUi": {"allowInsecureAuth": true, "dangerouslyDisableDeviceAuth": true}}});
    for (name, peer) in [
        ("newest", Peer::start_with(NEWEST, &allowing)), // calls the setting retired
        ("plain", Peer::start(OLDER)),
    ] {
        let mut body = body(name, &peer);
        body["disable_device_pairing"] = json!(true);
        let answer = refused(&daemon, &body, 502, "gateway_refused");
        let help = answer["help"].as_str().unwrap_or_default();
        assert!(help.contains("dangerouslyDisableDeviceAuth: true"), "{answer}");
    }
    let peer = Peer::start_with(OLDER, &allowing);
    let mut body = body("allowing", &peer);
    body["disable_device_pairing"] = json!(true);
    assert_eq!(created(&daemon, &body)["disable_device_pairing"], true);
}

#[test]
fn status_sessions_and_commands_of_real_gateways_are_told() {
    let daemon = Daemon::start();
    for version in [NEWEST, OLDER] {
        let peer = Peer::start(version);
        let dial = format!("{PATH}/status?gateway_url=ws://127.0.0.1:{}", peer.port);
        let dialled = daemon.get(&dial).expect(200).json();
        println!("{version}: {dialled}");
        assert_eq!((&dialled["connected"], dialled["error"].is_string()), (&json!(false), true), "no token was given");
        let made = created(&daemon, &body(version, &peer));
        let id = made["id"].as_str().expect("an id");
        let status = daemon.get(&format!("{PATH}/status?gateway_id={id}")).expect(200).json();
        assert_eq!((&status["connected"], &status["version"]), (&json!(true), &json!(version)), "{status}");
        let mut there = OtherOperator::connect(&peer);
        there.call("sessions.reset", json!({"key": "agent:main:main", "reason": "new"}));
        let of = format!("gateway_id={id}");
        let row = wait::until_ok("the session is known", PATIENCE, || {
            let list = daemon.get(&format!("{PATH}/sessions?{of}")).expect(200).json();
            list["sessions"].get(0).cloned().ok_or(list.to_string())
        });
        println!("{version}: {row}");
        assert_eq!((&row["gateway_id"], &row["key"]), (&json!(id), &json!("agent:main:main")), "{row}");
        let one = daemon.get(&format!("{PATH}/sessions/agent:main:main?{of}")).expect(200).json();
        assert_eq!(one["session"]["key"], "agent:main:main");
        // On a busy machine a real gateway may lose a connection meanwhile, which comes back by itself.
        let settled = |path: &str| {
            wait::until_ok("the gateway answers", PATIENCE, || {
                let answer = daemon.get(path);
                if answer.status == 503 { Err(answer.text) } else { Ok(answer) }
            })
        };
        settled(&format!("{PATH}/sessions/agent:main:main/history?{of}")).expect(200);
        let commands = settled(&format!("{PATH}/commands?{of}"));
        println!("{version}: {} {}", commands.status, commands.text.chars().take(300).collect::<String>());
        assert!([200, 501].contains(&commands.status), "{}", commands.text);
    }
}
