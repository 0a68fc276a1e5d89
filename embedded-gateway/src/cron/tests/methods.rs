//! What clients ask for and change.

use super::*;

#[test]
fn a_run_of_a_job_that_is_removed_meanwhile_is_listed_with_its_name_and_session() {
    let mut world = World::new();
    let id = world.add(every(60));
    world.pass(MINUTE);
    world.call("cron.update", json!({"id": id, "patch": {"enabled": false}}));
    world.call("cron.remove", json!({"id": id}));
    world.end(0);
    let runs = world.call("cron.runs", json!({"scope": "all", "query": "a job"}))["entries"].clone();
    assert_eq!((&runs[0]["jobName"], &runs[0]["summary"]), (&json!("a job"), &json!("done")), "{runs}");
    assert_eq!(runs[0]["sessionKey"], format!("agent:main:cron:{id}"));
}

#[test]
fn runs_are_listed_for_the_agent_that_had_them_whatever_became_of_the_job() {
    let mut world = World::new();
    let [moved, removed] = [60, 60].map(|seconds| world.add(every(seconds)));
    world.call("cron.update", json!({"id": removed, "patch": {"agentId": "other"}}));
    world.pass(MINUTE);
    world.end(0);
    world.end(0);
    world.call("cron.update", json!({"id": moved, "patch": {"agentId": "other"}}));
    world.call("cron.remove", json!({"id": removed}));
    for (agent, job) in [("main", &moved), ("other", &removed)] {
        let runs = world.call("cron.runs", json!({"scope": "all", "agentId": agent}));
        assert_eq!((&runs["total"], &runs["entries"][0]["jobId"]), (&json!(1), &json!(job)), "{agent}: {runs}");
    }
}

#[test]
fn by_hand_a_job_runs_at_once_and_its_own_time_still_comes() {
    let mut world = World::new();
    let id = world.add(at(NOON + 60_000));
    let not_due = world.call("cron.run", json!({"id": id, "mode": "due"}));
    assert_eq!(not_due["reason"], "not-due");
    let answer = world.call("cron.run", json!({"jobId": id}));
    assert!(answer["runId"].as_str().unwrap().starts_with(&format!("manual:{id}:")), "{answer}");
    world.end(0);
    assert_eq!(world.job(&id)["nextRunAtMs"], NOON + 60_000);
    world.pass(MINUTE);
    world.end(0);
    assert!(world.try_call("cron.get", json!({"id": id})).is_err());
    assert_eq!(world.runs(&id).len(), 2);
    let one = world.call("cron.runs", json!({"id": id, "runId": answer["runId"]}));
    assert_eq!(one["entries"][0]["runId"], answer["runId"]);
}

#[test]
fn a_page_of_large_jobs_ends_early_and_says_where_the_next_one_begins() {
    let mut world = World::new();
    let text = "x".repeat(60_000);
    for number in 0..40 {
        let payload = json!({"kind": "agentTurn", "message": text});
        world.call("cron.add", json!({"name": format!("j{number:02}"), "schedule": every(3_600), "payload": payload}));
    }
    let (mut names, mut offset) = (Vec::new(), json!(0));
    while !offset.is_null() {
        let page = world.call("cron.list", json!({"limit": 200, "offset": offset, "sortBy": "name"}));
        assert!(page.to_string().len() < 1_200_000 && page["total"] == 40, "{}", page.to_string().len());
        assert_eq!(page["hasMore"], !page["nextOffset"].is_null());
        names.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap().to_owned()));
        offset = page["nextOffset"].clone();
    }
    assert_eq!(names, (0..40).map(|number| format!("j{number:02}")).collect::<Vec<_>>());
}

#[test]
fn the_revision_is_of_the_definition_as_it_is_now() {
    let mut world = World::new();
    let id = world.call(
        "cron.add",
        json!({"name": "once", "schedule": at(NOON + 60_000), "deleteAfterRun": false,
        "payload": {"kind": "agentTurn", "message": "x"}}),
    )["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let added = world.job(&id)["configRevision"].clone();
    world.pass(MINUTE);
    world.end(0);
    let switched_off = world.job(&id);
    assert_eq!(switched_off["enabled"], false);
    assert_ne!(switched_off["configRevision"], added);
    let same = World::at(world.now, world.file.clone(), false).job(&id)["configRevision"].clone();
    assert_eq!(switched_off["configRevision"], same);
    let on = world.call(
        "cron.update",
        json!({"id": id, "patch": {"enabled": true},
        "expectedConfigRevision": switched_off["configRevision"]}),
    );
    assert_eq!(on["configRevision"], added);
}

#[test]
fn what_only_real_gateways_can_do_is_refused_by_its_name() {
    let mut world = World::new();
    let job = json!({"name": "a", "schedule": every(60), "payload": {"kind": "agentTurn", "message": "x"}});
    for (place, value, named) in [
        ("/schedule", json!({"kind": "stream", "command": ["x"]}), "stream is not supported"),
        ("/schedule", json!({"kind": "on-exit", "command": "x"}), "on-exit is not supported"),
        ("/payload", json!({"kind": "command", "argv": ["x"]}), "command is not supported"),
        ("/payload", json!({"kind": "script", "script": "x"}), "script is not supported"),
        ("/payload", json!({"kind": "agentTurn", "message": "x", "toolsAllow": ["*"]}), "`toolsAllow`"),
        ("/delivery", json!({"mode": "pigeon"}), "must be none, announce or webhook"),
        ("/delivery", json!({"mode": "announce", "channel": "telegram"}), "/delivery/to: is missing"),
        ("/delivery", json!({"mode": "announce", "to": "1"}), "no channel is configured"),
        ("/trigger", json!({"script": "x"}), "`trigger`"),
        ("/pacing", json!({"min": "1m"}), "`pacing`"),
        ("/failureAlert", json!({"afterwards": 1}), "at /failureAlert: unknown field `afterwards`"),
        ("/failureAlert", json!({"after": 0}), "at /failureAlert/after: must be at least 1"),
        ("/failureAlert", json!({"mode": "webhook"}), "at /failureAlert/to: must be an http or https URL"),
        ("/failureAlert", json!({"channel": "telegram"}), "at /failureAlert/to: is missing"),
        ("/failureAlert", json!(true), "at /failureAlert: invalid type"),
        ("/failureAlert", json!({"to": "1"}), "no channel is configured"),
        (
            "/delivery",
            json!({"mode": "none", "failureDestination": {"mode": "webhook", "to": "http://127.0.0.1/"}}),
            "allowedHostnames",
        ),
        (
            "/delivery",
            json!({"mode": "none", "failureDestination": {"to": "x"}}),
            "at /delivery/failureDestination/to: must be",
        ),
        (
            "/delivery",
            json!({"mode": "announce", "completionDestination": {"mode": "webhook"}}),
            "`completionDestination`",
        ),
        ("/sessionKey", json!("agent:main:main"), "sessionTarget current"),
        ("/wakeMode", json!("next-heartbeat"), "no heartbeats"),
        ("/sessionTarget", json!("elsewhere"), "must be main, isolated"),
        ("/agentId", json!("nobody"), "Unknown agent id \"nobody\""),
        ("/name", json!(" "), "at /name"),
    ] {
        let mut job = job.clone();
        job[place.trim_start_matches('/')] = value;
        let error = world.try_call("cron.add", job).unwrap_err();
        assert!(error.message.contains(named), "{place}: {error}");
    }
    assert_eq!(world.call("cron.status", json!({}))["jobs"], 0);
    let writer = Arc::new(caller_with(&["operator.write"]));
    world.caller = writer;
    assert_eq!(world.try_call("cron.add", job).unwrap_err().message, "missing scope: operator.admin");
}

#[test]
fn a_job_is_changed_by_what_its_patch_names() {
    let mut world = World::new();
    let id = world.add(every(60));
    let revision = world.job(&id)["configRevision"].clone();
    let patch = json!({"name": "b", "payload": {"kind": "agentTurn", "model": "m"}, "schedule": at(NOON + 5_000)});
    let job = world.call("cron.update", json!({"id": id, "patch": patch, "expectedConfigRevision": revision}));
    assert_eq!(
        (&job["name"], &job["payload"]["message"], &job["payload"]["model"]),
        (&json!("b"), &json!("do it"), &json!("m"))
    );
    assert_eq!((&job["nextRunAtMs"], &job["deleteAfterRun"]), (&json!(NOON + 5_000), &json!(true)));
    let late = world.try_call("cron.update", json!({"id": id, "patch": {}, "expectedConfigRevision": revision}));
    assert_eq!(late.unwrap_err().details["code"], "CRON_JOB_CHANGED");
    let job = world.call("cron.update", json!({"id": id, "patch": {"payload": {"kind": "agentTurn", "model": null}}}));
    assert!(job["payload"]["model"].is_null());
    let off = world.call("cron.update", json!({"id": id, "patch": {"enabled": false}}));
    assert!(off["nextRunAtMs"].is_null());
    world.pass(MINUTE);
    assert!(world.orders.is_empty());
    assert_eq!(world.call("cron.remove", json!({"id": id})), json!({"ok": true, "removed": true}));
    let unknown = world.try_call("cron.get", json!({"id": "a job"})).unwrap_err();
    assert_eq!(unknown.message, "cron job not found: a job", "the command looks for a name then");
    let gone = world.try_call("cron.remove", json!({"id": id})).unwrap_err();
    assert_eq!(gone.details["code"], "CRON_JOB_NOT_FOUND");
}

#[test]
fn lists_are_filtered_sorted_and_paged() {
    let mut world = World::new();
    for (name, seconds) in [("slow", 600), ("fast", 60), ("other", 300)] {
        let id = world.add(every(seconds));
        world.call("cron.update", json!({"id": id, "patch": {"name": name, "enabled": name != "other"}}));
    }
    let names = |list: &Value| -> Vec<String> {
        list["jobs"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap().to_owned()).collect()
    };
    let list = world.call("cron.list", json!({"limit": 1}));
    assert_eq!((names(&list), &list["total"], &list["nextOffset"]), (vec!["fast".into()], &json!(2), &json!(1)));
    let second = world.call("cron.list", json!({"limit": 1, "offset": 1}));
    assert_eq!((names(&second), &second["snapshotRevision"]), (vec!["slow".into()], &list["snapshotRevision"]));
    let all = world.call("cron.list", json!({"includeDisabled": true, "sortBy": "name", "sortDir": "desc"}));
    assert_eq!(names(&all), ["slow", "other", "fast"]);
    assert_eq!(names(&world.call("cron.list", json!({"query": "SLO"}))), ["slow"]);
    assert_eq!(names(&world.call("cron.list", json!({"enabled": "disabled"}))), ["other"]);
}
