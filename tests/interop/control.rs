//! Sessions and runs of real gateways that have a model: seen, killed, brought to their end, and what no release can do.

use std::time::Duration;

use serde_json::json;

use crate::mock_model::{QUICK_ANSWER, SLOW_TASK, Stream};
use crate::other_operator::OtherOperator;
use crate::peer::{NEWEST, OLDER};
use crate::scene::Scene;
use crate::support::daemon::PATIENCE;
use crate::support::wait::{self, Stopwatch};

/// Sessions are listed within this.
const LISTED_WITHIN: Duration = Duration::from_secs(1);

/// What holds on every release.
fn a_task_is_seen_killed_and_another_one_completes(scene: &Scene, other: &mut OtherOperator) {
    println!("a session made by somebody else is listed in time");
    let took = (0..3).map(|number| {
        let key = format!("agent:main:made-elsewhere-{number}");
        other.call("sessions.create", json!({ "key": key, "label": format!("Made elsewhere {number}") }));
        let watch = Stopwatch::start();
        wait::until("it is listed", PATIENCE, || scene.session(&key).is_some());
        watch.elapsed()
    });
    let took: Vec<Duration> = took.collect();
    println!("{}: listed after {took:?}", scene.peer.version);
    // the machine may be busy with the other gateways' starts once
    assert!(took.iter().any(|took| *took < LISTED_WITHIN), "{took:?}");

    println!("a task that runs is running everywhere");
    let slow = scene.spawn(SLOW_TASK);
    let key = slow["sessionInfo"].as_str().expect("its session is known").to_owned();
    scene.until_slow_streams(&[Stream::Flowing]);
    scene.spawn_until(&slow, "it is running", |spawn| spawn["status"] == "running");
    scene.until_session_is(&key, "active");

    println!("no release can pause");
    for action in ["pause", "resume"] {
        let refused = scene.control(&key, action).expect(501).json();
        println!("{refused}");
        assert_eq!(refused["code"], "not_supported_by_gateway");
        for word in ["real", scene.peer.version, "cannot pause"] {
            assert!(refused["error"].to_string().contains(word), "{word} is not named: {refused}");
        }
    }
    assert_eq!(scene.model.slow_streams(), [Stream::Flowing], "the run goes on");

    println!("a kill reaches it");
    let watch = Stopwatch::start();
    let killed = scene.control(&key, "kill").expect(200).json();
    println!("{killed}");
    assert_eq!((&killed["success"], &killed["gateway_id"]), (&json!(true), &json!(scene.gateway)), "{killed}");
    assert_eq!(killed["result"]["status"], "aborted", "{killed}");
    assert_eq!(killed["result"]["abortedRunId"], slow["runId"], "{killed}");
    scene.until_slow_streams(&[Stream::Cancelled]);
    println!("{}: the model's stream was cancelled after {:?}", scene.peer.version, watch.elapsed());
    let ended = scene.spawn_until(&slow, "it has ended", |spawn| !spawn["completedAt"].is_null());
    println!("{}: recorded after {:?}: {ended}", scene.peer.version, watch.elapsed());
    assert_eq!(ended["status"], "killed", "{ended}");
    other.until_event("the gateway says that it aborted the run", |event| {
        event["event"] == "chat" && event["payload"]["state"] == "aborted" && event["payload"]["runId"] == slow["runId"]
    });
    scene.until_session_is(&key, "completed");
    wait::holds_for("it stays so", Duration::from_secs(3), || {
        scene.session(&key).is_some_and(|row| row["status"] == "completed")
    });

    println!("a second kill finds nothing");
    let nothing = scene.control(&key, "kill").expect(200).json();
    assert_eq!(nothing["result"]["note"], "nothing was running", "{nothing}");
    assert_eq!(scene.spawn_until(&slow, "it is there", |_| true)["status"], "killed");

    println!("a task that the model answers completes with its text");
    let quick = scene.spawn("say hello");
    let ended = scene.spawn_until(&quick, "it has ended", |spawn| !spawn["completedAt"].is_null());
    assert_eq!(ended["status"], "completed", "{ended}");
    assert!(ended["result"].to_string().contains(QUICK_ANSWER), "{ended}");
    scene.until_session_is(quick["sessionInfo"].as_str().expect("its session is known"), "completed");

    println!("a run that somebody else began is killed as well");
    let key = "agent:main:made-elsewhere-0";
    let began = json!({ "sessionKey": key, "message": SLOW_TASK, "idempotencyKey": "began-elsewhere" });
    other.call("chat.send", began);
    scene.until_slow_streams(&[Stream::Cancelled, Stream::Flowing]);
    scene.until_session_is(key, "active");
    let killed = scene.control(key, "kill").expect(200).json();
    assert_eq!(killed["result"]["abortedRunId"], "began-elsewhere", "{killed}");
    scene.until_slow_streams(&[Stream::Cancelled, Stream::Cancelled]);
    scene.until_session_is(key, "completed");
}

#[test]
fn on_protocol_4_what_runs_is_seen_killed_and_brought_to_its_end() {
    let scene = Scene::set(NEWEST);
    let mut other = OtherOperator::connect(&scene.peer);
    a_task_is_seen_killed_and_another_one_completes(&scene, &mut other);
}

#[test]
fn on_protocol_3_what_runs_is_seen_killed_and_brought_to_its_end_but_for_agent_runs_of_others() {
    let scene = Scene::set(OLDER);
    let mut other = OtherOperator::connect(&scene.peer);
    a_task_is_seen_killed_and_another_one_completes(&scene, &mut other);

    println!("a run of the agent method can't be aborted there, and the answer doesn't pretend");
    let key = "agent:main:made-elsewhere-1";
    other.call("agent", json!({ "sessionKey": key, "message": SLOW_TASK, "idempotencyKey": "by-agent" }));
    let streams = [Stream::Cancelled, Stream::Cancelled, Stream::Flowing];
    scene.until_slow_streams(&streams);
    scene.until_session_is(key, "active");
    let answer = scene.control(key, "kill").expect(200).json();
    println!("{answer}");
    assert_eq!(answer["result"]["note"], "nothing was running", "{answer}");
    wait::holds_for("it runs on and is shown so", Duration::from_secs(2), || {
        scene.model.slow_streams() == streams && scene.session(key).is_some_and(|row| row["status"] == "active")
    });
}
