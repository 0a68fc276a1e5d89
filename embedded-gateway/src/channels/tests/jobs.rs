//! Answers of jobs, and alerts of their failures, in chats.

use super::*;

#[test]
fn a_chat_without_its_channel_is_refused_where_there_are_several() {
    let mut house = House::online(known("5"));
    let mut changed = config(known("5"));
    let discord = ChannelAccount { kind: ChannelKind::Discord, ..changed.channels[0].clone() };
    changed.channels.push(discord);
    house.turn(|machine, turn| machine.configure(changed, turn));
    let mut add = |to: &str| {
        let schedule = json!({"kind": "every", "everyMs": 60_000});
        let payload = json!({"kind": "agentTurn", "message": "x"});
        let delivery = json!({"mode": "announce", "to": to});
        house.call("cron.add", json!({"name": "b", "schedule": schedule, "payload": payload, "delivery": delivery}))
    };
    let said = add("5").unwrap_err();
    assert!(said.contains("it may be telegram:default or discord:default"), "{said}");
    assert!(add("discord:user:5").is_ok() && add("telegram:5").is_ok());
}

impl House {
    /// A job whose answer goes to this person. Its id.
    fn job_for(&mut self, to: &str, more: Value) -> String {
        let delivery = json!({"mode": "announce", "channel": "telegram", "to": to});
        let job = json!({
            "name": "brief",
            "schedule": {"kind": "every", "everyMs": 3_600_000},
            "payload": {"kind": "agentTurn", "message": "what is new?"},
            "delivery": crate::payload::joined(delivery, more),
        });
        self.call("cron.add", job).unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// The job runs now, and its agent says this.
    fn job_says(&mut self, id: &str, text: &str) {
        self.call("cron.run", json!({"id": id})).unwrap();
        self.run_says(text, 0);
    }

    /// How the last run of a job went: `deliveryStatus`, `completionStatus`, and why.
    fn told_of(&mut self, id: &str) -> (String, String, String) {
        let row = self.call("cron.runs", json!({"id": id})).unwrap()["entries"][0].clone();
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (text("deliveryStatus"), text("completionStatus"), text("deliveryError"))
    }

    fn status_of(&mut self, id: &str) -> Value {
        self.call("cron.runs", json!({"id": id})).unwrap()["entries"][0]["status"].clone()
    }
}

#[test]
fn the_answer_of_a_job_goes_to_its_chat_once_and_the_run_says_so() {
    let mut house = House::online(known("5"));
    let id = house.job_for("5", json!({}));
    house.job_says(&id, "all is well");
    assert_eq!(house.told_of(&id).1, "unknown");
    assert_eq!(house.status_of(&id), Value::Null, "to clients the run isn't over yet");
    assert_eq!(house.delivered(), "all is well");
    assert!(house.request(RequestKind::Send).is_none());
    let done = ("delivered".to_owned(), "succeeded".to_owned(), String::new());
    assert_eq!((house.told_of(&id), house.status_of(&id)), (done.clone(), json!("ok")));
    let told: Vec<Value> =
        house.events.iter().filter(|(name, _)| name == "cron").map(|(_, told)| told.clone()).collect();
    let finished: Vec<&Value> = told.iter().filter(|told| told["action"] == "finished").collect();
    assert_eq!((finished.len(), &finished[0]["delivered"]), (1, &json!(true)));
    let mut house = house.killed(known("5"));
    assert!(house.request(RequestKind::Send).is_none());
    assert_eq!(house.told_of(&id), done);
}

#[test]
fn the_answer_of_a_job_outlasts_a_kill_before_it_is_sent() {
    // The service isn't reached yet.
    let mut house = House::new(known("5"));
    let id = house.job_for("5", json!({}));
    house.call("cron.run", json!({"id": &id})).unwrap();
    let before = house.jobs.clone();
    house.run_says("all is well", 0);
    assert!(house.jobs.len() > before.len() && house.request(RequestKind::Send).is_none());
    // Killed after everything was written, and between the file of the account and that of the jobs.
    for jobs in [house.jobs.clone(), before] {
        let mut next = House::with_jobs(known("5"), house.disk.clone(), jobs);
        next.identify();
        assert_eq!(next.told_of(&id).0, "unknown");
        assert_eq!(next.delivered(), "all is well");
        assert!(next.request(RequestKind::Send).is_none());
        assert_eq!(next.told_of(&id), ("delivered".to_owned(), "succeeded".to_owned(), String::new()));
        assert!(next.started.is_empty(), "the run isn't repeated");
    }
}

#[test]
fn the_answer_of_a_job_that_may_have_been_sent_is_not_sent_again() {
    let mut house = House::online(known("5"));
    let id = house.job_for("5", json!({}));
    house.job_says(&id, "all is well");
    assert!(house.request(RequestKind::Send).is_some());
    let mut house = house.killed(known("5"));
    assert!(house.request(RequestKind::Send).is_none());
    let (status, completion, why) = house.told_of(&id);
    assert_eq!((status.as_str(), completion.as_str()), ("unknown", "unknown"));
    assert!(why.contains("isn't sent again"), "{why}");
    house.job_says(&id, "once more");
    house.answer(RequestKind::Send, Err(Fault::Unanswered("nothing came".to_owned())));
    assert_eq!(house.told_of(&id).0, "unknown");
    // And so it is after the next start.
    let mut house = house.killed(known("5"));
    assert_eq!(house.told_of(&id).0, "unknown");
}

#[test]
fn why_the_answer_of_a_job_was_not_delivered_is_told() {
    let mut house = House::online(known("5"));
    let id = house.job_for("5", json!({}));
    house.job_says(&id, "all is well");
    house.answer(RequestKind::Send, Err(Fault::Refused("bot was blocked by the user".to_owned())));
    let (status, completion, why) = house.told_of(&id);
    assert_eq!((status.as_str(), completion.as_str()), ("not-delivered", "failed"));
    assert!(why.contains("bot was blocked by the user"), "{why}");
    assert_eq!(house.status_of(&id), "ok", "the run itself went well");
    let lax = house.job_for("5", json!({"bestEffort": true}));
    house.job_says(&lax, "all is well");
    house.answer(RequestKind::Send, Err(Fault::Refused("bot was blocked by the user".to_owned())));
    assert_eq!(house.told_of(&lax).1, "succeeded");
    // What the rules forbid by now, and an account that is out of use.
    let changed = config(known("6"));
    house.turn(|machine, turn| machine.configure(changed, turn));
    house.job_says(&id, "all is well");
    let (status, _, why) = house.told_of(&id);
    assert!(status == "not-delivered" && why.contains("isn't approved"), "{status}: {why}");
    house.turn(|machine, turn| machine.configure(config(known("5")), turn));
    house.call("channels.stop", json!({"channel": "telegram"})).unwrap();
    house.job_says(&id, "all is well");
    let (status, _, why) = house.told_of(&id);
    assert!(status == "not-delivered" && why.contains("channels.start"), "{status}: {why}");
    assert!(house.request(RequestKind::Send).is_none());
}

#[test]
fn the_answer_of_a_job_is_held_to_the_rules_when_it_is_sent_and_that_of_a_message_is_not() {
    let mut house = House::online(known("5"));
    let is_unasked = |house: &House| match house.request(RequestKind::Send) {
        Some(ChannelRequest::Send { unasked, .. }) => unasked.is_some(),
        other => panic!("nothing is sent: {other:?}"),
    };
    house.updates(vec![update(7, "5", "a")]);
    house.run_says("answer", 0);
    assert!(!is_unasked(&house));
    house.delivered();
    let id = house.job_for("5", json!({}));
    house.job_says(&id, "all is well");
    assert!(is_unasked(&house));
    house.answer(RequestKind::Send, Err(Fault::Forbidden("nothing may be written to channel 7".to_owned())));
    let (status, _, why) = house.told_of(&id);
    assert_eq!((status.as_str(), why.as_str()), ("not-delivered", "nothing may be written to channel 7"));
    assert_eq!(house.row()["connected"], true);
}

#[test]
fn a_job_says_nothing_to_the_chat_that_it_does_not_mean_to_say() {
    let mut house = House::online(known("5"));
    let id = house.job_for("5", json!({}));
    house.job_says(&id, "NO_REPLY");
    assert!(house.request(RequestKind::Send).is_none());
    assert_eq!(house.told_of(&id).1, "succeeded");
    house.call("cron.run", json!({"id": &id})).unwrap();
    house.run_says("half of it", 3);
    assert!(house.request(RequestKind::Send).is_none());
    let (status, completion, _) = house.told_of(&id);
    assert_eq!((status.as_str(), completion.as_str()), ("not-delivered", "failed"));
}

#[test]
fn a_job_is_refused_whose_answer_has_nowhere_to_go() {
    let mut house = House::online(known("5"));
    let job = |delivery: Value| {
        let delivery = crate::payload::joined(json!({"mode": "announce"}), delivery);
        json!({
            "name": "brief",
            "schedule": {"kind": "every", "everyMs": 60_000},
            "payload": {"kind": "agentTurn", "message": "x"},
            "delivery": delivery,
        })
    };
    for (delivery, said) in [
        (json!({"channel": "discord", "to": "5"}), "no account discord:default is configured"),
        (
            json!({"channel": "telegram", "to": "5", "accountId": "work"}),
            "no account telegram:work is configured, there are telegram:default",
        ),
        (json!({"channel": "telegram", "to": "6"}), "approve the pairing, or add the id to allowFrom"),
        (json!({"channel": "telegram", "to": "-100"}), "groups doesn't list the group; add it"),
        (json!({"channel": "telegram"}), "/delivery/to: is missing"),
    ] {
        let error = house.call("cron.add", job(delivery)).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let mut in_main = job(json!({"channel": "telegram", "to": "5"}));
    in_main["sessionTarget"] = "main".into();
    assert!(house.call("cron.add", in_main).unwrap_err().contains("sessionTarget isolated"));
    let id = house.call("cron.add", job(json!({"to": "telegram:5"}))).unwrap()["id"].as_str().unwrap().to_owned();
    let update = |delivery: Value| json!({"id": &id, "patch": {"delivery": delivery}});
    assert!(house.call("cron.update", update(json!({"to": "6"}))).is_err());
    // A job whose chat has become unreachable can be changed otherwise.
    house.turn(|machine, turn| machine.configure(config(known("6")), turn));
    house.call("cron.update", json!({"id": &id, "patch": {"name": "other"}})).unwrap();
    let listed = house.call("cron.list", json!({})).unwrap();
    let preview = &listed["deliveryPreviews"][&id];
    assert!(preview["detail"].as_str().unwrap().contains("isn't approved"), "{listed}");
}

#[test]
fn a_job_that_runs_once_is_removed_when_its_answer_has_arrived_and_stays_when_it_has_not() {
    for arrives in [true, false] {
        let mut house = House::online(known("5"));
        let at = gatewarden_protocol::wall_time::of_millis(house.now.wall_ms + 60_000);
        let job = json!({
            "name": "once",
            "schedule": {"kind": "at", "at": at},
            "payload": {"kind": "agentTurn", "message": "x"},
            "delivery": {"mode": "announce", "channel": "telegram", "to": "5"},
        });
        let id = house.call("cron.add", job).unwrap()["id"].as_str().unwrap().to_owned();
        house.pass(61);
        house.run_says("it is time", 0);
        let outcome = if arrives { Ok(Reply::Done) } else { Err(Fault::Refused("blocked".to_owned())) };
        assert!(house.call("cron.get", json!({"id": &id})).is_ok());
        house.answer(RequestKind::Send, outcome);
        let known = house.call("cron.get", json!({"id": &id}));
        assert_eq!(known.is_err(), arrives);
        if let Ok(job) = known {
            assert_eq!(job["enabled"], false);
        }
    }
}

/// Where the answer of a job is sent that is for the last chat; empty where it isn't sent. It arrives.
fn last_place(house: &mut House, id: &str) -> String {
    house.job_says(id, "all is well");
    let Some(ChannelRequest::Send { to, .. }) = house.request(RequestKind::Send) else { return String::new() };
    let to = to.id.clone();
    assert_eq!(house.delivered(), "all is well");
    to
}

#[test]
fn an_answer_for_the_last_chat_goes_to_where_somebody_wrote_last() {
    let both = ChannelAccess { allow_from: vec!["5".to_owned(), "6".to_owned()], ..ChannelAccess::default() };
    let mut house = House::online(both.clone());
    let add = |house: &mut House, target: &str, delivery: Value| {
        let job = json!({
            "name": "brief",
            "schedule": {"kind": "every", "everyMs": 3_600_000},
            "payload": {"kind": "agentTurn", "message": "what is new?"},
            "sessionTarget": target,
            "delivery": delivery,
        });
        house.call("cron.add", job).unwrap()
    };
    let added = add(&mut house, "isolated", json!({"mode": "announce", "channel": "last"}));
    let said = added["deliveryPreview"]["detail"].as_str().unwrap().to_owned();
    assert!(said.contains("nobody has written to the agent"), "{said}");
    let id = added["id"].as_str().unwrap().to_owned();
    assert_eq!(last_place(&mut house, &id), "");
    let row = house.call("cron.runs", json!({"id": &id})).unwrap()["entries"][0].clone();
    assert!(row["deliverySuppressionReason"].as_str().unwrap().contains("nobody has written"), "{row}");
    assert_eq!(row["completionStatus"], "succeeded");

    for (number, person) in [(1, "5"), (2, "6")] {
        house.updates(vec![update(number, person, "hi")]);
        house.run_says("hello", 0);
        assert_eq!(house.delivered(), "hello");
        house.pass(1);
        assert_eq!(last_place(&mut house, &id), person);
    }
    let listed = house.call("cron.list", json!({})).unwrap();
    let preview = json!({"label": "announce -> telegram:6", "detail": "resolved from last"});
    assert_eq!(listed["deliveryPreviews"][&id], preview);
    let own = add(&mut house, "session:agent:main:telegram:default:user5", json!({"mode": "announce"}));
    let own = own["id"].as_str().unwrap().to_owned();
    assert_eq!(last_place(&mut house, &own), "5", "the job's own session goes first");

    let mut house = house.killed(both);
    assert_eq!(last_place(&mut house, &id), "6");
    // Who may not be written to any more isn't, and nobody else instead.
    let changed = config(known("5"));
    house.turn(|machine, turn| machine.configure(changed, turn));
    assert_eq!(last_place(&mut house, &id), "");
    let (status, _, why) = house.told_of(&id);
    assert!(status == "not-delivered" && why.contains("isn't approved"), "{status}: {why}");
}

#[test]
fn an_alert_for_a_chat_is_told_once_wherever_the_gateway_is_killed() {
    // The service isn't reached yet.
    let mut house = House::new(known("5"));
    let id = house.job_for("5", json!({}));
    house.call("cron.update", json!({"id": &id, "patch": {"failureAlert": {"after": 1}}})).unwrap();
    house.call("cron.run", json!({"id": &id})).unwrap();
    let (disk, before) = (house.disk.clone(), house.jobs.clone());
    house.run_says("half of it", 3);
    let row = house.jobs.lines().nth(before.lines().count()).unwrap().to_owned();
    assert!(row.starts_with("{\"run\":"), "{row}");
    for (disk, jobs) in
        [(disk, format!("{before}{row}\n")), (house.disk.clone(), format!("{before}{row}\n")), (house.disk, house.jobs)]
    {
        let mut next = House::with_jobs(known("5"), disk, jobs);
        next.identify();
        let said = next.delivered();
        assert!(said.contains("Automation \"brief\" failed") && next.request(RequestKind::Send).is_none(), "{said}");
        let state = next.call("cron.get", json!({"id": &id})).unwrap()["state"].clone();
        assert_eq!(state["lastFailureNotificationDeliveryStatus"], "delivered", "{state}");
        assert!(state["lastError"].as_str().unwrap().contains("exit code 3"), "{state}");
    }
}

#[test]
fn an_alert_while_the_gateway_stops_is_sent_by_the_next_one() {
    let mut house = House::online(known("5"));
    let id = house.job_for("5", json!({}));
    house.call("cron.update", json!({"id": &id, "patch": {"failureAlert": {"after": 1}}})).unwrap();
    house.call("cron.run", json!({"id": &id})).unwrap();
    house.turn(GatewayMachine::stopping);
    house.run_says("half of it", 3);
    assert!(house.request(RequestKind::Send).is_none());
    let mut house = house.killed(known("5"));
    assert!(house.delivered().contains("failed"));
    let state = house.call("cron.get", json!({"id": &id})).unwrap()["state"].clone();
    assert_eq!(state["lastFailureNotificationDeliveryStatus"], "delivered", "{state}");
}

#[test]
fn people_are_told_of_failures_in_the_chat_of_the_answers_or_in_another_one() {
    let both = ChannelAccess { allow_from: vec!["5".to_owned(), "6".to_owned()], ..ChannelAccess::default() };
    let mut house = House::online(both.clone());
    let fails = |house: &mut House, id: &str| {
        house.call("cron.run", json!({"id": id})).unwrap();
        house.run_says("half of it", 3);
    };
    let id = house.job_for("5", json!({}));
    fails(&mut house, &id);
    assert!(house.request(RequestKind::Send).is_none());
    fails(&mut house, &id);
    let Some(ChannelRequest::Send { to, .. }) = house.request(RequestKind::Send) else { panic!("nobody is told") };
    assert_eq!(to.id, "5");
    let said = house.delivered();
    assert!(said.contains("Automation \"brief\" failed 2 times") && !said.contains("half of it"), "{said}");
    let state = house.call("cron.get", json!({"id": &id})).unwrap()["state"].clone();
    assert_eq!(state["lastFailureNotificationDeliveryStatus"], "delivered", "{state}");

    let id = house.job_for("5", json!({"failureDestination": {"to": "telegram:6"}}));
    fails(&mut house, &id);
    fails(&mut house, &id);
    // On its way at a kill: that it was, and isn't sent again, is said.
    assert!(house.request(RequestKind::Send).is_some());
    let mut house = house.killed(both);
    assert!(house.request(RequestKind::Send).is_none());
    let state = house.call("cron.get", json!({"id": &id})).unwrap()["state"].clone();
    assert_eq!(state["lastFailureNotificationDeliveryStatus"], "unknown", "{state}");
    // An answer that can't be delivered is told in the other chat.
    house.job_says(&id, "all is well");
    house.answer(RequestKind::Send, Err(Fault::Refused("bot was blocked by the user".to_owned())));
    let state = house.call("cron.get", json!({"id": &id})).unwrap()["state"].clone();
    assert!(state["lastDeliveryError"].as_str().unwrap().contains("blocked"), "{state}");
}
