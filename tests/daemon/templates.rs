//! The files of agents: given to each kind of gateway as far as it takes them, and never over somebody else's words.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::http::Answer;
use crate::support::scripted_gateway::{Behaviour, Form, ScriptedGateway};
use crate::support::wait;

fn gateway(form: Form, agents: &[&str]) -> ScriptedGateway {
    ScriptedGateway::start(Behaviour::of(form, "right").agents(agents))
}

fn registered(daemon: &Daemon, name: &str, gateway: &ScriptedGateway) -> (i64, String) {
    let id = daemon.register(name, gateway.port(), "right");
    let uuid = daemon.until_status(id, "online")["uuid"].as_str().expect("a uuid").to_owned();
    (id, uuid)
}

fn sync(daemon: &Daemon, uuid: &str, body: &Value) -> Answer {
    daemon.post(&format!("/api/v1/gateways/{uuid}/templates/sync"), body)
}

#[test]
fn each_release_gets_the_files_that_it_takes_and_its_main_agent_is_recorded() {
    let daemon = Daemon::start();
    for (form, written, skipped) in [(Form::Protocol4, 2, 3), (Form::Protocol3, 5, 0)] {
        let gateway = gateway(form.clone(), &["main", "worker"]);
        let (id, uuid) = registered(&daemon, &format!("{form:?}"), &gateway);
        let done = sync(&daemon, &uuid, &json!({})).expect(200).json();
        assert_eq!((&done["agents_updated"], &done["agents_skipped"]), (&json!(1), &json!(0)), "{done}");
        assert_eq!((&done["main_updated"], daemon.main_agent(&done).as_str()), (&json!(true), "main"), "{done}");
        assert_eq!(
            (&done["files"]["written"], &done["files"]["skipped"]),
            (&json!(written), &json!(skipped)),
            "{done}"
        );
        assert_eq!((&done["errors"], &done["gateway_id"]), (&json!([]), &json!(uuid)), "{done}");
        let text = gateway.agent_file("main", "AGENTS.md").expect("written");
        assert!(text.contains(&format!("main agent of {form:?}")) && !text.contains("{{"), "{text}");
        assert!(gateway.agent_file("worker", "AGENTS.md").expect("written").contains("an agent of"));
        let agents = daemon.get(&format!("/api/agents?gateway_id={id}")).expect(200).json();
        let mains: Vec<&Value> =
            agents["agents"].as_array().expect("a list").iter().filter(|one| one["is_gateway_main"] == true).collect();
        assert_eq!((mains.len(), &mains[0]["config"]["id"]), (1, &json!("main")), "{agents}");

        let again = sync(&daemon, &uuid, &json!({})).expect(200).json();
        assert_eq!((&again["files"]["written"], &again["files"]["unchanged"]), (&json!(0), &json!(written)), "{again}");
    }
    let entries = daemon.get("/api/audit").expect(200).json().to_string();
    assert!(entries.contains("gateway.sync_templates"), "{entries}");
}

#[test]
fn what_somebody_else_wrote_stays_until_overwriting_is_asked_for() {
    let daemon = Daemon::start();
    let gateway = gateway(Form::Protocol3, &["main"]);
    gateway.write_agent_file("main", "AGENTS.md", "my own words\n");
    let (_, uuid) = registered(&daemon, "theirs", &gateway);
    let done = sync(&daemon, &uuid, &json!({})).expect(200).json();
    assert_eq!((&done["files"]["kept"], &done["files"]["written"]), (&json!(1), &json!(2)), "{done}");
    assert_eq!(gateway.agent_file("main", "AGENTS.md").as_deref(), Some("my own words\n"));
    let path = format!("/api/v1/gateways/{uuid}/templates/sync?overwrite=true&reset_sessions=true");
    let done = daemon.call("POST", &path, None).expect(200).json();
    assert_eq!((&done["files"]["written"], &done["sessions_reset"]), (&json!(1), &json!(1)), "{done}");
    assert!(gateway.agent_file("main", "AGENTS.md").expect("written").contains("main agent of theirs"));
    let reset = gateway.record().requests.into_iter().find(|(method, _)| method == "sessions.reset").expect("asked");
    assert_eq!(reset.1["key"], "agent:main:main");
}

#[test]
fn a_gateway_that_restarts_over_its_new_agent_is_waited_for() {
    let daemon = Daemon::start();
    let gateway = gateway(Form::Protocol3, &[]);
    gateway.change(|behaviour| behaviour.restarts_on_create = true);
    let (_, uuid) = registered(&daemon, "restarting", &gateway);
    let done = sync(&daemon, &uuid, &json!({})).expect(200).json();
    assert_eq!(daemon.main_agent(&done), "gateway-agent-restarting", "{done}");
    assert_eq!(gateway.record().asked("agents.create"), 1, "it is made once");
    assert!(gateway.agent_file("gateway-agent-restarting", "AGENTS.md").is_some());
}

#[test]
fn a_gateway_that_refuses_or_is_away_is_a_502_and_records_nothing() {
    let daemon = Daemon::start();
    let gateway = gateway(Form::Protocol4, &["main"]);
    let (id, uuid) = registered(&daemon, "refusing", &gateway);
    let refusal = json!({"code": "UNAVAILABLE", "message": "not today"});
    gateway.change(|behaviour| drop(behaviour.errors.insert("agents.list".to_owned(), refusal.clone())));
    let said = sync(&daemon, &uuid, &json!({})).expect(502).json();
    assert_eq!(said["details"]["step"], "list_agents", "{said}");
    assert!(said["error"].as_str().is_some_and(|words| words.contains("refusing") && words.contains("not today")));

    gateway.change(|behaviour| {
        behaviour.errors.clear();
        behaviour.errors.insert("agents.files.set".to_owned(), refusal.clone());
    });
    let said = sync(&daemon, &uuid, &json!({})).expect(200).json();
    assert_eq!((&said["main_updated"], &said["errors"][0]["agent_name"]), (&json!(false), &json!("main")), "{said}");

    gateway.kill();
    daemon.until_status(id, "offline");
    let said = sync(&daemon, &uuid, &json!({})).expect(502).json();
    assert_eq!((&said["code"], &said["detail"]), (&json!("gateway_unreachable"), &said["error"]), "{said}");
    sync(&daemon, "55cc268a-4b45-400f-accf-201e025232ac", &json!({})).expect(404);
    let said = sync(&daemon, &uuid, &json!({"overwrite": "maybe"})).expect(400).json();
    assert!(said["error"].as_str().is_some_and(|words| words.contains("overwrite")), "{said}");
}

#[test]
fn the_device_token_is_rotated_only_where_there_is_one_and_a_way_back_in() {
    let daemon = Daemon::start();
    let without = gateway(Form::Protocol4, &["main"]);
    let (_, uuid) = registered(&daemon, "without", &without);
    let said = sync(&daemon, &uuid, &json!({"rotate_tokens": true})).expect(501).json();
    assert!(said["error"].as_str().is_some_and(|words| words.contains("without") && words.contains("device token")));
    assert!(without.agent_file("main", "AGENTS.md").is_none(), "nothing was changed");
    assert_eq!(without.record().asked("device.token.rotate"), 0);

    let with = gateway(Form::Protocol3, &["main"]);
    with.change(|behaviour| behaviour.issues_device_tokens = true);
    let (id, uuid) = registered(&daemon, "with", &with);
    // The token is stored right after the login.
    let done = wait::until_ok("the token can be rotated", PATIENCE, || {
        let answer = sync(&daemon, &uuid, &json!({"rotate_tokens": true}));
        if answer.status == 501 { Err(answer.text) } else { Ok(answer.expect(200).json()) }
    });
    assert_eq!((&done["tokens_rotated"], &done["main_updated"]), (&json!(true), &json!(true)), "{done}");
    assert!(with.record().accepted() >= 2, "it came back");
    daemon.until_status(id, "online");
}

#[test]
fn a_folder_of_ones_own_is_used_and_a_wrong_word_in_it_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let at = |path: &Path| path.display().to_string();
    write("agent/SOUL.md", "soul of {{agent_id}} at {{gateway_url}}\n");
    let daemon = Setup::new().env("GATEWARDEN_ORGANIZATION__TEMPLATES_DIR", &at(folder.path())).start();
    let gateway = gateway(Form::Protocol4, &["main"]);
    let (_, uuid) = registered(&daemon, "own", &gateway);
    sync(&daemon, &uuid, &json!({})).expect(200);
    let soul = gateway.agent_file("main", "SOUL.md").expect("written");
    assert!(soul.starts_with(&format!("soul of main at ws://127.0.0.1:{}\n", gateway.port())), "{soul}");
    assert!(gateway.agent_file("main", "AGENTS.md").is_none());
    assert!(gateway.record().most_refusals_within(Duration::from_secs(60)) == 0);

    write("main/AGENTS.md", "first\nthe {{agent_nick}}\n");
    let ended = Setup::new().env("GATEWARDEN_ORGANIZATION__TEMPLATES_DIR", &at(folder.path())).run();
    assert_eq!(ended.code, Some(78), "{}", ended.stderr);
    for words in ["organization.templates_dir", "main/AGENTS.md", "line 2", "{{agent_nick}}"] {
        assert!(ended.stderr.contains(words), "{words:?} is not in: {}", ended.stderr);
    }
}
