//! Agents as their users see them: kept across a crash, synced from gateways, by hand and by themselves.

use serde_json::json;

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

#[test]
fn an_acknowledged_agent_survives_kill_dash_nine_and_a_deleted_one_stays_deleted() {
    let mut daemon = Daemon::start();
    let body =
        json!({"name": "researcher", "role": "research", "config": {"gateway_config": {"preferred_gateway": "b"}}});
    let made = daemon.post("/api/agents", &body).expect(201).json();
    assert!(made["warning"].as_str().is_some_and(|warning| warning.contains("\"b\"")), "{made}");
    daemon.post("/api/agents", &json!({"name": "gone"})).expect(201);
    daemon.call("DELETE", "/api/agents/gone", None).expect(200);
    daemon.call("PUT", "/api/agents/researcher", Some(&json!({"status": "busy"}))).expect(200);
    daemon.crash_and_restart();
    let kept = daemon.get("/api/agents/researcher").expect(200).json();
    assert_eq!((&kept["agent"]["config"], &kept["agent"]["role"]), (&body["config"], &body["role"]), "{kept}");
    daemon.get("/api/agents/gone").expect(404);
    assert_eq!(daemon.get("/api/agents").expect(200).json()["total"], 1);
}

fn agents_of(daemon: &Daemon, gateway: i64) -> Vec<String> {
    let list = daemon.get(&format!("/api/agents?gateway_id={gateway}")).expect(200).json();
    let names = list["agents"].as_array().expect("a list").iter().map(|one| one["name"].to_string());
    names.map(|name| name.trim_matches('"').to_owned()).collect()
}

#[test]
fn a_sync_reads_each_kind_of_gateway_in_its_own_way() {
    let daemon = Setup::new().without_challenge().start();
    for (form, expected, status) in [
        (Form::Protocol4, vec!["four", "four-b"], 200),
        (Form::Protocol3, vec!["three"], 200),
        (Form::Http, vec!["researcher"], 200),
        (Form::Rpc, vec!["main", "worker-one"], 200),
        (Form::Document002, vec![], 501),
    ] {
        let gateway = ScriptedGateway::of(form.clone(), "right");
        gateway.change(|behaviour| match form {
            Form::Protocol4 => {
                let list = json!({"defaultId": "four", "agents": [{"id": "four"}, {"id": "four-b", "name": "Four B"}]});
                behaviour.results.insert("agents.list".to_owned(), list);
            }
            Form::Protocol3 => {
                let unknown = json!({"code": "INVALID_REQUEST", "message": "unknown method: agents.list"});
                behaviour.errors.insert("agents.list".to_owned(), unknown);
                let config = json!({"parsed": {"agents": {"list": [{"id": "three", "model": "m"}]}}});
                behaviour.results.insert("config.get".to_owned(), config);
            }
            _ => {}
        });
        let id = daemon.register(&format!("{form:?}"), gateway.port(), "right");
        daemon.until_status(id, "online");
        let answer = daemon.post("/api/agents/sync", &json!({"gateway_id": id})).expect(status).json();
        assert_eq!(agents_of(&daemon, id), expected, "{form:?}: {answer}");
        if status == 200 {
            // The daemon reads them by itself, too.
            let is_known = [expected.len(), 0].iter().any(|created| answer["created"] == *created);
            assert!(is_known && answer["gateway_id"] == id, "{answer}");
            let again = daemon.post("/api/agents/sync", &json!({"gateway_id": id})).expect(200).json();
            assert_eq!((&again["created"], &again["updated"]), (&json!(0), &json!(0)), "{again}");
        } else {
            assert_eq!(answer["code"], "not_supported_by_gateway", "{answer}");
        }
    }
}

#[test]
fn a_gateway_that_cannot_be_reached_is_a_502_and_changes_nothing() {
    let daemon = Daemon::start();
    let id = daemon.register("nobody", 1, "");
    daemon.until_status(id, "offline");
    for body in [json!({"gateway_id": id}), json!({})] {
        let answer = daemon.post("/api/agents/sync", &body).expect(502).json();
        assert!(["gateway_unavailable", "no_usable_gateway"].contains(&answer["code"].as_str().unwrap_or_default()));
    }
    daemon.post("/api/agents/sync", &json!({"gateway_id": 999_999})).expect(404);
    assert_eq!(daemon.get("/api/agents").expect(200).json()["total"], 0);
}

#[test]
fn agents_come_by_themselves_and_a_gateway_that_refuses_stops_nobody() {
    let refusing = ScriptedGateway::of(Form::Protocol4, "right");
    refusing.change(|behaviour| {
        let refusal = json!({"code": "UNAVAILABLE", "message": "not now"});
        behaviour.errors.insert("agents.list".to_owned(), refusal);
    });
    let good = ScriptedGateway::of(Form::Protocol3, "right");
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__AGENT_SYNC_INTERVAL", "1s").start();
    daemon.register("refusing", refusing.port(), "right");
    let id = daemon.register("good", good.port(), "right");
    let known = |wanted: &[&str]| {
        wait::until_ok("the agents are known", PATIENCE, || {
            let known = agents_of(&daemon, id);
            if known == wanted { Ok(()) } else { Err(format!("{known:?}")) }
        });
    };
    known(&["main", "worker-one"]);
    good.change(|behaviour| {
        let list = json!({"agents": [{"id": "main"}, {"id": "zoe"}]});
        behaviour.results.insert("agents.list".to_owned(), list);
    });
    known(&["main", "worker-one", "zoe"]);
    wait::until_ok("its agent is online", PATIENCE, || {
        let agent = daemon.get("/api/agents/zoe").expect(200).json();
        let there = agent["agent"]["status"] == "online" && agent["agent"]["source"] == "sync";
        if there { Ok(()) } else { Err(agent.to_string()) }
    });
    daemon.until_logged(&["the agents of gateway refusing were not updated"]);
    // Whoever reads the list must not believe in agents of a dead gateway.
    good.kill();
    daemon.until_status(id, "offline");
    wait::until("its agents are offline seconds later", PATIENCE, || {
        daemon.get(&format!("/api/agents?gateway_id={id}&status=online")).expect(200).json()["total"] == 0
    });
}
