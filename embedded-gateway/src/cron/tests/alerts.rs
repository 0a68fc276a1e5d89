//! Failures of jobs, told to webhooks that the test plays. How they reach chats: `channels::tests::jobs`.

use super::super::posting::PostFault;
use super::*;

const URL: &str = "https://hooks.example.com/alerts";

impl World {
    /// A job with rules for alerts. Its id.
    fn watched(&mut self, more: Value) -> String {
        let job = json!({
            "name": "brief",
            "schedule": every(3_600),
            "payload": {"kind": "agentTurn", "message": "what is new?"},
        });
        self.call("cron.add", joined(job, more))["id"].as_str().unwrap().to_owned()
    }

    /// Runs the job now; how its agent ends, and what it says of it.
    fn run_ends(&mut self, id: &str, code: i32) {
        self.call("cron.run", json!({"id": id}));
        self.end(code);
    }

    /// What is sent, which is then taken; none where nothing is.
    fn alert(&mut self) -> Option<Value> {
        let order = self.posts.pop()?;
        assert!(self.posts.is_empty());
        let told = serde_json::from_str(&order.body).unwrap();
        self.turn(|machine, turn| machine.cron.post_heard(&order.run, Ok(()), turn));
        Some(told)
    }

    fn state(&mut self, id: &str) -> Value {
        self.job(id)["state"].clone()
    }
}

fn to_webhook(more: Value) -> Value {
    json!({"failureAlert": joined(json!({"mode": "webhook", "to": URL}), more)})
}

#[test]
fn after_two_failures_somebody_is_told_once_until_the_job_has_worked_again() {
    let mut world = World::new();
    let id = world.watched(to_webhook(json!({})));
    world.run_ends(&id, 3);
    assert_eq!(world.alert(), None);
    world.run_ends(&id, 3);
    let told = world.alert().expect("an alert");
    assert_eq!((&told["jobId"], &told["jobName"]), (&json!(id), &json!("brief")));
    assert!(told["runAtMs"].is_i64());
    let message = told["message"].as_str().unwrap();
    assert!(
        message.starts_with("Automation \"brief\" failed 2 times\nLast error: ") && message.contains("exit code 3"),
        "{message}"
    );
    let state = world.state(&id);
    assert_eq!(
        (&state["lastFailureNotificationDeliveryStatus"], &state["lastFailureAlertAtMs"]),
        (&json!("delivered"), &json!(world.now.wall_ms)),
        "{state}"
    );
    // The same again, however long it lasts.
    for _ in 0..3 {
        world.pass(Duration::from_secs(4_000));
        while !world.orders.is_empty() {
            world.end(3);
        }
        assert_eq!(world.alert(), None);
    }
    world.run_ends(&id, 0);
    let told = world.alert().expect("the end of it");
    assert_eq!(told["message"], "Automation \"brief\" recovered\nThe latest run completed successfully.");
    assert_eq!(world.state(&id)["lastFailureAlertAtMs"], Value::Null);
    world.run_ends(&id, 0);
    assert_eq!(world.alert(), None);
    world.run_ends(&id, 3);
    world.run_ends(&id, 3);
    assert!(world.alert().is_some(), "the next incident");
}

#[test]
fn another_cause_is_told_when_the_pause_is_over_also_after_a_restart() {
    let mut world = World::new();
    let id = world.watched(to_webhook(json!({"after": 1, "cooldownMs": 60_000})));
    world.run_ends(&id, 3);
    assert!(world.alert().is_some());
    world.run_ends(&id, 4);
    assert_eq!(world.alert(), None, "within the pause");
    let mut world = world.killed(Duration::from_secs(59), false);
    world.run_ends(&id, 4);
    assert_eq!(world.alert(), None, "within the pause");
    world.pass(Duration::from_secs(1));
    world.run_ends(&id, 4);
    assert!(world.alert().unwrap()["message"].as_str().unwrap().contains("exit code 4"));
}

#[test]
fn a_job_that_runs_once_and_one_that_is_switched_off_are_told_of_in_any_case() {
    let mut world = World::new();
    let once = world.watched(joined(to_webhook(json!({})), json!({"schedule": at(NOON + 1_000)})));
    world.pass(Duration::from_secs(1));
    world.end(3);
    let message = world.alert().expect("an alert")["message"].clone();
    assert!(message.as_str().unwrap().contains("\"brief\" failed, and is switched off\n"), "{message}");
    world.call("cron.remove", json!({"id": once}));
    let id = world.watched(to_webhook(json!({"after": 1})));
    let mut told = Vec::new();
    while world.job(&id)["enabled"] == true {
        world.pass(Duration::from_secs(3_600));
        world.end(3);
        told.extend(world.alert());
    }
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1]["message"].as_str().unwrap().contains("failed 10 times, and is switched off"), "{told:?}");
}

#[test]
fn that_a_job_was_switched_off_is_told_also_within_the_pause() {
    let mut world = World::new();
    let id = world.watched(to_webhook(json!({"after": 1, "cooldownMs": 86_400_000})));
    let mut told = Vec::new();
    while world.job(&id)["enabled"] == true {
        world.run_ends(&id, 3);
        told.extend(world.alert());
    }
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1]["message"].as_str().unwrap().contains("failed 10 times, and is switched off"), "{told:?}");
    world.run_ends(&id, 3);
    assert_eq!(world.alert(), None, "that is known");
}

#[test]
fn the_rules_of_the_job_go_before_its_destination_and_that_before_the_configuration() {
    let mut world = World::new();
    let mut changed = configuration(false);
    let rules = json!({"after": 1, "mode": "webhook", "to": "https://all.example.com/"});
    changed.cron.failure_alert = Some(serde_json::from_value(rules).unwrap());
    world.turn(|machine, turn| machine.configure(changed, turn));
    let to = json!({"mode": "webhook", "to": "https://own.example.com/"});
    let destination = json!({"mode": "none", "failureDestination": to});
    for (more, wanted) in [
        (json!({}), Some("https://all.example.com/")),
        (json!({"delivery": destination}), Some("https://own.example.com/")),
        (json!({"delivery": destination, "failureAlert": {"mode": "webhook", "to": URL}}), Some(URL)),
        (json!({"delivery": destination, "failureAlert": {"cooldownMs": 0}}), Some("https://own.example.com/")),
        (json!({"delivery": destination, "failureAlert": false}), None),
        (json!({"delivery": joined(destination.clone(), json!({"bestEffort": true, "mode": "announce"}))}), None),
    ] {
        let id = world.watched(more.clone());
        world.run_ends(&id, 3);
        let sent = world.posts.first().map(|order| order.url.expose().to_owned());
        assert_eq!(sent.as_deref(), wanted, "{more}");
        world.alert();
    }
}

#[test]
fn a_webhook_that_is_told_of_the_runs_is_not_told_twice_and_another_one_hears_of_its_failures() {
    let mut world = World::new();
    let same = json!({"mode": "webhook", "to": URL, "failureDestination": {"mode": "webhook", "to": URL}});
    let id = world.watched(json!({"delivery": same}));
    for _ in 0..3 {
        world.run_ends(&id, 3);
        assert_eq!(world.alert().unwrap()["status"], "error");
    }
    let other = json!({"mode": "webhook", "to": "https://b.example.com/"});
    world.call("cron.update", json!({"id": id, "patch": {"delivery": {"failureDestination": other}}}));
    world.run_ends(&id, 0);
    let run = world.posts.pop().unwrap().run;
    world.turn(|machine, turn| machine.cron.post_heard(&run, Err(PostFault::Refused("HTTP 500".to_owned())), turn));
    let message = world.alert().expect("an alert")["message"].clone();
    assert_eq!(message, "Automation \"brief\" delivery failed\nLast error: HTTP 500");
    world.run_ends(&id, 0);
    assert_eq!(world.alert().unwrap()["summary"], "done");
    assert!(world.alert().unwrap()["message"].as_str().unwrap().contains("recovered"));
    assert_eq!(world.state(&id)["lastFailureAlertAtMs"], Value::Null);
    let patch = json!({"delivery": {"failureDestination": null}, "failureAlert": {"after": 3}});
    let job = world.call("cron.update", json!({"id": id, "patch": patch}));
    assert_eq!((&job["delivery"]["failureDestination"], &job["failureAlert"]["after"]), (&Value::Null, &json!(3)));
    let patch = json!({"failureAlert": {"cooldownMs": 5}});
    let job = world.call("cron.update", json!({"id": id, "patch": patch}));
    assert_eq!(job["failureAlert"], json!({"after": 3, "cooldownMs": 5}));
}

#[test]
fn an_alert_that_was_on_its_way_at_a_kill_is_not_sent_again_and_one_that_waited_is() {
    let mut world = World::new();
    let id = world.watched(to_webhook(json!({"after": 1})));
    world.run_ends(&id, 3);
    let mut next = world.killed(MINUTE, false);
    assert!(next.posts.is_empty());
    assert_eq!(next.state(&id)["lastFailureNotificationDeliveryStatus"], "unknown");
    let run = world.posts.pop().unwrap().run;
    let unreached = PostFault::Unreached("connection refused".to_owned());
    world.turn(|machine, turn| machine.cron.post_heard(&run, Err(unreached), turn));
    let mut next = world.killed(MINUTE, false);
    assert!(next.alert().is_some());
    assert_eq!(next.state(&id)["lastFailureNotificationDeliveryStatus"], "delivered");
}

#[test]
fn a_delivery_of_an_older_run_neither_ends_an_incident_nor_counts_as_that_of_the_last_run() {
    let mut world = World::new();
    let delivery = json!({"delivery": {"mode": "webhook", "to": "https://b.example.com/"}});
    let id = world.watched(joined(to_webhook(json!({"after": 1})), delivery));
    world.run_ends(&id, 0);
    let old = world.posts.pop().unwrap().run;
    world.pass(MINUTE);
    world.run_ends(&id, 3);
    let of_run = world.posts.iter().position(|order| order.url.expose() != URL).unwrap();
    let newest = world.posts.remove(of_run).run;
    assert!(world.alert().unwrap()["message"].as_str().unwrap().contains("failed"));
    let refused = Err(PostFault::Refused("HTTP 500".to_owned()));
    world.turn(|machine, turn| machine.cron.post_heard(&newest, refused, turn));
    world.turn(|machine, turn| machine.cron.post_heard(&old, Ok(()), turn));
    assert_eq!(world.alert(), None, "it still fails");
    let state = world.state(&id);
    assert_eq!(
        (&state["lastDeliveryStatus"], &state["lastFailureAlertAtMs"]),
        (&json!("not-delivered"), &json!(world.now.wall_ms)),
        "{state}"
    );
    assert_eq!(world.runs(&id)[1]["deliveryStatus"], "delivered");
}

#[test]
fn an_alert_that_was_not_delivered_is_told_again_when_the_pause_is_over() {
    let mut world = World::new();
    let id = world.watched(to_webhook(json!({"after": 1, "cooldownMs": 60_000})));
    world.run_ends(&id, 3);
    let run = world.posts.pop().unwrap().run;
    let refused = Err(PostFault::Refused("HTTP 500".to_owned()));
    world.turn(|machine, turn| machine.cron.post_heard(&run, refused, turn));
    world.run_ends(&id, 3);
    assert_eq!(world.alert(), None, "within the pause");
    let mut world = world.killed(MINUTE, false);
    world.run_ends(&id, 3);
    assert!(world.alert().is_some());
    world.pass(MINUTE);
    world.run_ends(&id, 3);
    assert_eq!(world.alert(), None, "told once");
}

#[test]
fn an_alert_without_a_place_says_which_one_to_name() {
    let mut world = World::new();
    let id = world.watched(json!({"failureAlert": {"after": 1}}));
    world.run_ends(&id, 3);
    let why = world.state(&id)["lastFailureNotificationDeliveryError"].clone();
    assert!(why.as_str().unwrap().contains("failureAlert.channel and failureAlert.to"), "{why}");
}

#[test]
fn wherever_the_gateway_is_killed_a_failure_is_told_once_and_noted_as_what_it_was() {
    let mut world = World::new();
    let id = world.watched(to_webhook(json!({"after": 1})));
    world.call("cron.run", json!({"id": id}));
    let before = world.file.lines().count();
    world.end(3);
    let lines: Vec<String> = world.file.lines().map(str::to_owned).collect();
    for kept in before..=lines.len() {
        let file: String = lines.iter().take(kept).map(|line| format!("{line}\n")).collect();
        let was_asked = file.contains("\"attempted\":true");
        let wanted = if kept == before { INTERRUPTED } else { "exit code 3" };
        let mut next = World::at(world.later(MINUTE), file, false);
        let told = next.alert().map(|told| told["message"].as_str().unwrap().to_owned());
        assert_eq!(told.is_some(), !was_asked, "after {kept} of {} lines", lines.len());
        assert!(told.is_none_or(|told| told.contains(wanted)));
        let (rows, state) = (next.runs(&id), next.state(&id));
        assert!(rows.len() == 1 && rows[0]["error"].as_str().unwrap().contains(wanted), "{rows:?}");
        let status = if was_asked { "unknown" } else { "delivered" };
        assert_eq!(state["lastFailureNotificationDeliveryStatus"], status, "after {kept} lines: {state}");
        assert!(state["lastFailureAlertAtMs"].is_i64() && state["consecutiveErrors"] == 1, "{state}");
        let mut next = next.killed(MINUTE, false);
        next.run_ends(&id, 3);
        assert_eq!(next.alert(), None, "it is told once");
    }
}

#[test]
fn wherever_the_gateway_is_killed_an_answer_that_was_not_delivered_is_told_once() {
    let mut world = World::new();
    let delivery = json!({"delivery": {"mode": "webhook", "to": "https://b.example.com/"}});
    let id = world.watched(joined(to_webhook(json!({"after": 1})), delivery));
    world.run_ends(&id, 0);
    let before = world.file.lines().count();
    let run = world.posts.pop().unwrap().run;
    let refused = Err(PostFault::Refused("HTTP 500".to_owned()));
    world.turn(|machine, turn| machine.cron.post_heard(&run, refused, turn));
    let lines: Vec<String> = world.file.lines().map(str::to_owned).collect();
    // From when it is noted of the run.
    for kept in before + 1..=lines.len() {
        let file: String = lines.iter().take(kept).map(|line| format!("{line}\n")).collect();
        let was_asked = lines[before..kept].iter().any(|line| line.contains("\"attempted\":true"));
        let mut next = World::at(world.later(MINUTE), file, false);
        assert_eq!(next.alert().is_some(), !was_asked, "after {kept} of {} lines", lines.len());
        let state = next.state(&id);
        assert_eq!(
            (&state["lastDeliveryStatus"], &state["lastDeliveryError"]),
            (&json!("not-delivered"), &json!("HTTP 500"))
        );
        assert!(state["lastFailureAlertAtMs"].is_i64(), "{state}");
    }
}

#[test]
fn a_run_that_a_kill_cut_off_is_told_as_any_failure() {
    let mut world = World::new();
    let (first, second) = (world.watched(to_webhook(json!({"after": 1}))), world.watched(to_webhook(json!({}))));
    let once = world.watched(joined(to_webhook(json!({})), json!({"schedule": at(NOON + 1_000)})));
    let telling = world.watched(json!({"delivery": {"mode": "webhook", "to": "https://b.example.com/"}}));
    for id in [&first, &second, &telling] {
        world.call("cron.run", json!({"id": id}));
    }
    world.pass(Duration::from_secs(1));
    let mut world = world.killed(MINUTE, false);
    let told = |world: &mut World| {
        let posts = std::mem::take(&mut world.posts);
        let told = posts.iter().map(|order| serde_json::from_str(&order.body).unwrap()).collect::<Vec<Value>>();
        for order in posts {
            world.turn(|machine, turn| machine.cron.post_heard(&order.run, Ok(()), turn));
        }
        told
    };
    let all = told(&mut world);
    let of = |id: &str| all.iter().filter(|told| told["jobId"] == id).collect::<Vec<_>>();
    assert!(all.len() == 3 && of(&second).is_empty(), "{all:?}");
    assert!(of(&first)[0]["message"].as_str().unwrap().contains(INTERRUPTED));
    assert!(of(&once)[0]["message"].as_str().unwrap().contains("failed, and is switched off"));
    let end = of(&telling)[0];
    assert_eq!((&end["status"], &end["error"]), (&json!("error"), &json!(INTERRUPTED)));
    world.call("cron.run", json!({"id": second}));
    let mut world = world.killed(MINUTE, false);
    let all = told(&mut world);
    assert!(all.len() == 1 && all[0]["message"].as_str().unwrap().contains("failed 2 times"), "{all:?}");
    assert!(told(&mut world.killed(MINUTE, false)).is_empty());
}

#[test]
fn two_alerts_of_one_moment_are_two() {
    let mut world = World::new();
    let delivery = json!({"delivery": {"mode": "webhook", "to": "https://b.example.com/"}});
    let id = world.watched(joined(to_webhook(json!({"after": 1, "cooldownMs": 0})), delivery));
    world.run_ends(&id, 0);
    let run = world.posts.pop().unwrap().run;
    let refused = Err(PostFault::Refused("HTTP 500".to_owned()));
    world.turn(|machine, turn| machine.cron.post_heard(&run, refused, turn));
    world.run_ends(&id, 3);
    let alerts: BTreeSet<&str> =
        world.posts.iter().filter(|order| order.url.expose() == URL).map(|order| order.run.0.as_str()).collect();
    assert_eq!(alerts.len(), 2, "{alerts:?}");
}

#[test]
fn a_job_that_is_switched_on_again_or_rescheduled_is_told_of_again() {
    let mut world = World::new();
    let id = world.watched(joined(to_webhook(json!({})), json!({"schedule": at(NOON + 1_000)})));
    for _ in 0..2 {
        world.pass(Duration::from_secs(1));
        world.end(3);
        assert!(world.alert().unwrap()["message"].as_str().unwrap().contains("failed, and is switched off"));
        let later = at(world.now.wall_ms + 1_000);
        world.call("cron.update", json!({"id": id, "patch": {"enabled": true, "schedule": later}}));
    }
}
