//! The ends of runs, told to webhooks that the test plays.

use super::super::posting::PostFault;
use super::*;

const URL: &str = "https://hooks.example.com/brief?key=of-mine";

impl World {
    /// A job that tells a webhook of its runs. Its id.
    fn telling(&mut self, more: Value) -> String {
        let job = json!({
            "name": "brief",
            "schedule": every(86_400),
            "payload": {"kind": "agentTurn", "message": "what is new?"},
            "delivery": joined(json!({"mode": "webhook", "to": URL}), more),
        });
        self.call("cron.add", job)["id"].as_str().unwrap().to_owned()
    }

    fn run(&mut self, id: &str, code: i32) {
        self.call("cron.run", json!({"id": id}));
        self.end(code);
    }

    /// What the webhook that was asked first says.
    fn webhook_says(&mut self, outcome: Result<(), PostFault>) -> PostOrder {
        assert!(!self.posts.is_empty(), "nothing was sent");
        let order = self.posts.remove(0);
        let run = order.run.clone();
        self.turn(|machine, turn| machine.cron.post_heard(&run, outcome, turn));
        order
    }

    /// How the last run of a job went: `deliveryStatus`, `completionStatus`, and why.
    fn told_of(&mut self, id: &str) -> (String, String, String) {
        let row = self.runs(id)[0].clone();
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (text("deliveryStatus"), text("completionStatus"), text("deliveryError"))
    }
}

fn body(order: &PostOrder) -> Value {
    serde_json::from_str(&order.body).unwrap()
}

fn delivered() -> (String, String, String) {
    ("delivered".to_owned(), "succeeded".to_owned(), String::new())
}

#[test]
fn the_end_of_a_run_is_told_to_its_webhook_once() {
    let mut world = World::new();
    let id = world.telling(json!({}));
    world.run(&id, 0);
    assert_eq!(world.runs(&id)[0]["status"], Value::Null, "to clients the run isn't over yet");
    let order = world.webhook_says(Ok(()));
    assert_eq!((order.url.expose(), &order.token), (URL, &None));
    let told = body(&order);
    assert_eq!(
        (&told["action"], &told["status"], &told["summary"], &told["jobId"], &told["job"]["name"]),
        (&json!("finished"), &json!("ok"), &json!("done"), &json!(id), &json!("brief")),
        "{told}"
    );
    assert!(told["runAtMs"].is_i64() && told["sessionKey"].is_string() && told["delivered"] == true, "{told}");
    assert_eq!((world.told_of(&id), &world.runs(&id)[0]["status"]), (delivered(), &json!("ok")));
    let state = world.job(&id)["state"].clone();
    assert_eq!((&state["lastDeliveryStatus"], &state["lastDelivered"]), (&json!("delivered"), &json!(true)), "{state}");
    let finished = world.events.iter().filter(|event| event["action"] == "finished").count();
    assert_eq!((finished, world.posts.len()), (1, 0));
    let mut next = world.killed(MINUTE, false);
    assert!(next.posts.is_empty() && next.told_of(&id) == delivered());
}

#[test]
fn a_webhook_learns_nothing_of_other_places() {
    let mut world = World::new();
    let other = json!({"mode": "webhook", "to": "https://other.example.com/?key=secret"});
    let id = world.telling(json!({"failureDestination": other}));
    world.call("cron.update", json!({"id": id, "patch": {"failureAlert": joined(other, json!({"after": 5}))}}));
    world.run(&id, 0);
    let order = world.webhook_says(Ok(()));
    assert_eq!(body(&order)["job"]["payload"]["message"], "what is new?");
    assert!(!order.body.contains("other.example.com") && !order.body.contains("of-mine"), "{}", order.body);
}

#[test]
fn a_failure_is_told_without_what_the_agent_said_and_silence_is_not_told() {
    let mut world = World::new();
    let id = world.telling(json!({}));
    world.run(&id, 3);
    let told = body(&world.webhook_says(Ok(())));
    assert_eq!((&told["status"], &told["summary"]), (&json!("error"), &Value::Null), "{told}");
    assert!(told["error"].as_str().unwrap().contains("exit code 3"), "{told}");
    let (status, completion, _) = world.told_of(&id);
    assert_eq!((status.as_str(), completion.as_str()), ("delivered", "failed"));
    world.call("cron.run", json!({"id": id}));
    let order = world.orders.pop().unwrap();
    world.news(&order.run, ProcessNews::Started { pid: 7 });
    let ended = ProcessNews::Exited { code: Some(0), signal: None, duration_ms: 5, strays: 0, timed_out: false };
    world.news(&order.run, ended);
    assert!(world.posts.is_empty());
    assert_eq!(world.runs(&id)[0]["deliverySuppressionReason"], "empty");
}

#[test]
fn wherever_the_gateway_is_killed_a_webhook_is_told_at_most_once_and_always_before_it_was_asked() {
    let mut world = World::new();
    let id = world.telling(json!({}));
    world.call("cron.run", json!({"id": id}));
    let before = world.file.lines().count();
    world.end(3);
    let lines: Vec<String> = world.file.lines().map(str::to_owned).collect();
    for kept in before + 1..=lines.len() {
        let file: String = lines.iter().take(kept).map(|line| format!("{line}\n")).collect();
        let was_asked = file.contains("\"attempted\":true");
        let mut next = World::at(world.later(MINUTE), file, false);
        assert_eq!(next.posts.len(), usize::from(!was_asked), "after {kept} of {} lines", lines.len());
        if was_asked {
            let (status, _, why) = next.told_of(&id);
            assert!(status == "unknown" && why.contains("isn't sent again"), "{status}: {why}");
        } else {
            assert_eq!(body(&next.webhook_says(Ok(())))["status"], "error");
            assert_eq!(next.told_of(&id).0, "delivered");
        }
        let rows = next.runs(&id);
        assert!(rows.len() == 1 && rows[0]["error"].as_str().unwrap().contains("exit code 3"), "{rows:?}");
        assert!(next.orders.is_empty(), "the run isn't repeated");
        assert!(next.killed(MINUTE, false).posts.is_empty());
    }
    assert!(world.file.contains("\"attempted\":true"));
}

#[test]
fn what_certainly_was_not_taken_is_sent_again_three_times() {
    let mut world = World::new();
    let id = world.telling(json!({}));
    world.run(&id, 0);
    for pause in [5, 10, 20] {
        world.webhook_says(Err(PostFault::Unreached("connection refused".to_owned())));
        world.pass(Duration::from_millis(pause * 1_000 - 1));
        assert!(world.posts.is_empty(), "{pause}");
        // A gateway that starts meanwhile tries at once.
        assert_eq!(world.killed(Duration::ZERO, false).posts.len(), 1);
        world.pass(Duration::from_millis(1));
        assert_eq!(world.posts.len(), 1, "{pause}");
    }
    world.webhook_says(Err(PostFault::Unreached("connection refused".to_owned())));
    world.pass(MINUTE);
    let (status, completion, why) = world.told_of(&id);
    assert_eq!((status.as_str(), completion.as_str()), ("not-delivered", "failed"));
    assert!(why.contains("given up after 4 tries: connection refused") && world.posts.is_empty(), "{why}");
}

#[test]
fn what_was_refused_or_may_have_been_taken_is_not_sent_again() {
    let mut world = World::new();
    let (strict, lax) = (world.telling(json!({})), world.telling(json!({"bestEffort": true})));
    for (id, fault, wanted) in [
        (&strict, PostFault::Refused("HTTP 500".to_owned()), ("not-delivered", "failed")),
        (&strict, PostFault::Unanswered("nothing came".to_owned()), ("unknown", "unknown")),
        (&lax, PostFault::Refused("HTTP 500".to_owned()), ("not-delivered", "succeeded")),
    ] {
        world.run(id, 0);
        world.webhook_says(Err(fault));
        world.pass(MINUTE);
        let (status, completion, why) = world.told_of(id);
        assert_eq!((status.as_str(), completion.as_str()), wanted);
        assert!(world.posts.is_empty() && !why.is_empty());
    }
    let state = world.job(&lax)["state"].clone();
    assert_eq!((&state["lastDeliveryStatus"], &state["lastDelivered"]), (&json!("not-delivered"), &json!(false)));
    assert_eq!(state["lastDeliveryError"], "HTTP 500", "{state}");
}

#[test]
fn nothing_is_sent_that_is_not_on_disk_before() {
    let mut world = World::new();
    let id = world.telling(json!({}));
    world.call("cron.run", json!({"id": id}));
    world.disk_is_full = true;
    world.end(0);
    assert!(world.posts.is_empty());
    world.disk_is_full = false;
    world.pass(Duration::from_secs(5));
    assert_eq!(world.posts.len(), 1);
}

#[test]
fn only_so_many_are_sent_at_a_time_and_only_so_many_wait() {
    let mut world = World::new();
    let host = |number: usize| json!({"to": format!("https://h{}.example.com/", number % 10)});
    let jobs: Vec<String> = (0..300).map(|number| world.telling(host(number))).collect();
    for id in &jobs {
        world.run(id, 0);
    }
    assert_eq!(world.posts.len(), 8);
    let refused = jobs.iter().filter(|id| world.told_of(id).2.starts_with("256 webhooks wait already")).count();
    assert_eq!(refused, 300 - 256);
    let mut runs = BTreeSet::new();
    while !world.posts.is_empty() {
        assert!(world.posts.len() <= 8);
        runs.insert(world.webhook_says(Ok(())).run);
    }
    assert_eq!(runs.len(), 256);
    assert_eq!(jobs.iter().filter(|id| world.told_of(id).0 == "delivered").count(), 256);
}

#[test]
fn a_job_and_a_host_have_their_share_of_what_waits_and_of_what_is_sent() {
    let mut world = World::new();
    let busy = world.telling(json!({}));
    (0..40).for_each(|_| world.run(&busy, 0));
    assert_eq!(world.posts.len(), 4);
    let runs = world.runs(&busy);
    let refused =
        |row: &&Value| row["deliveryError"].as_str().unwrap().starts_with("32 webhooks of this job wait already");
    assert_eq!(runs.iter().filter(refused).count(), 8, "{}", runs[0]);
    let others: Vec<String> = (0..100).map(|_| world.telling(json!({}))).collect();
    others.iter().for_each(|id| world.run(id, 0));
    assert!(world.told_of(&others[95]).2.starts_with("it waits"), "{:?}", world.told_of(&others[95]));
    assert!(world.told_of(&others[96]).2.starts_with("128 webhooks for this host wait already"));
    assert_eq!(world.posts.len(), 4, "the host is slow");
    let elsewhere = world.telling(json!({"to": "https://elsewhere.example.com/"}));
    world.run(&elsewhere, 0);
    assert_eq!(world.posts.len(), 5);
    assert_eq!(world.posts[4].url.expose(), "https://elsewhere.example.com/");
}

#[test]
fn what_waits_longest_is_sent_first_also_after_a_kill() {
    let mut world = World::new();
    let mut jobs: Vec<String> = (0..20).map(|_| world.telling(json!({}))).collect();
    // Against the order of their ids.
    jobs.sort();
    jobs.reverse();
    jobs.iter().for_each(|id| world.run(id, 0));
    let of = |order: PostOrder| body(&order)["jobId"].as_str().unwrap().to_owned();
    let mut sent: Vec<String> = (0..3).map(|_| of(world.webhook_says(Ok(())))).collect();
    world.machine.cron.lines = usize::MAX / 2;
    world.call("cron.update", json!({"id": jobs[0], "patch": {"name": "b"}}));
    assert!(world.file.lines().count() < 60, "written anew");
    sent.extend(std::mem::take(&mut world.posts).into_iter().map(of));
    let mut world = world.killed(MINUTE, false);
    while !world.posts.is_empty() {
        sent.push(of(world.webhook_says(Ok(()))));
    }
    assert_eq!(sent, jobs);
}

#[test]
fn a_gateway_that_stops_sends_nothing_more_and_the_next_one_does() {
    let mut world = World::new();
    let id = world.telling(json!({}));
    world.call("cron.run", json!({"id": id}));
    world.machine.stopping(&mut Turn::new(world.now, &mut world.chance));
    world.end(0);
    assert!(world.posts.is_empty());
    assert!(
        world.machine.next_deadline().is_none_or(|at| at > world.now.at),
        "what waits wakes nobody again and again"
    );
    // Where it was about to be sent.
    let mut world = World::new();
    let id = world.telling(json!({}));
    world.call("cron.run", json!({"id": id}));
    world.stops_before_it_is_sent = true;
    world.end(0);
    assert!(world.posts.is_empty() && world.file.contains("\"attempted\":true"));
    let mut next = world.killed(MINUTE, false);
    next.webhook_says(Ok(()));
    assert_eq!(next.told_of(&id), delivered());
}

#[test]
fn the_configuration_says_what_is_sent_with_it_and_which_private_addresses_there_may_be() {
    let mut world = World::new();
    let job = |to: &str| {
        json!({
            "name": "a",
            "schedule": every(3_600),
            "payload": {"kind": "agentTurn", "message": "x"},
            "delivery": {"mode": "webhook", "to": to},
        })
    };
    for (to, said) in [
        (
            "http://127.0.0.1:9/x",
            "127.0.0.1 is an address of the gateway's own machine; if it is meant, add it to cron.",
        ),
        ("http://printer.local/x", "printer.local is a name of this machine or of a private network"),
        ("hooks.example.com", "at /delivery/to: must be an http or https URL"),
        ("", "at /delivery/to: must be an http or https URL"),
    ] {
        let error = world.try_call("cron.add", job(to)).unwrap_err();
        assert!(error.message.contains(said), "{error}");
    }
    let id = world.telling(json!({}));
    let mut changed = configuration(false);
    changed.cron.webhook_token = Some(gatewarden_protocol::Secret::new("tok-of-webhooks"));
    changed.cron.webhook_reach.hostnames.insert("127.0.0.1".to_owned());
    world.turn(|machine, turn| machine.configure(changed, turn));
    world.call("cron.add", job("http://127.0.0.1:9/x"));
    world.run(&id, 0);
    let order = world.webhook_says(Ok(()));
    assert_eq!(order.token.as_ref().unwrap().expose(), "tok-of-webhooks");
    assert!(order.reach.hostnames.contains("127.0.0.1"));
    assert!(!format!("{order:?}").contains("tok-of-webhooks") && !world.file.contains("tok-of-webhooks"));
}

#[test]
fn a_job_of_the_main_session_can_tell_a_webhook_and_a_patch_changes_where_it_tells() {
    let mut world = World::new();
    let job = json!({
        "name": "a",
        "schedule": every(3_600),
        "payload": {"kind": "systemEvent", "text": "wake up"},
        "delivery": {"mode": "webhook", "to": URL},
    });
    let id = world.call("cron.add", job)["id"].as_str().unwrap().to_owned();
    world.run(&id, 0);
    assert_eq!(body(&world.webhook_says(Ok(())))["summary"], "done");
    let mut patch = |delivery: Value| {
        let patch = json!({"id": id, "patch": {"delivery": delivery}});
        world.try_call("cron.update", patch).map(|job| job["delivery"].clone()).map_err(|error| error.message)
    };
    assert_eq!(patch(json!({"to": "https://b.example.com/"})).unwrap()["to"], "https://b.example.com/");
    assert_eq!(patch(json!({"mode": "none"})), Ok(json!({"mode": "none"})), "an address is no chat");
    assert!(patch(json!({"mode": "webhook"})).unwrap_err().contains("/delivery/to"));
    let listed = world.call("cron.list", json!({}));
    assert_eq!(listed["deliveryPreviews"][&id]["label"], "not requested", "{listed}");
    let id = world.telling(json!({}));
    let listed = world.call("cron.list", json!({}));
    let preview = json!({"label": format!("webhook:{URL}"), "detail": "webhook"});
    assert_eq!(listed["deliveryPreviews"][&id], preview);
}

#[test]
fn nothing_is_missing_in_the_file_when_it_is_written_anew_meanwhile() {
    let mut world = World::new();
    let id = world.telling(json!({}));
    let newest = |history: &History| history.iter().next_back().map(|entry| entry.run_id.clone());
    // At each of the lines that the end of a run adds.
    let mut was_written_anew = 0;
    for more in 0..16 {
        world.call("cron.run", json!({"id": id}));
        let cron = &mut world.machine.cron;
        cron.lines = (cron.jobs.len() + cron.history.len()) * 2 + 262 - more;
        let before = cron.lines;
        world.end(0);
        let cron = &world.machine.cron;
        was_written_anew += u32::from(cron.lines < before);
        let stored = Stored::read(world.file.as_bytes());
        assert_eq!(newest(&stored.history), newest(&cron.history), "{more}");
        assert_eq!((stored.outbox.len(), stored.damaged), (1, 0), "{more}");
        world.webhook_says(Ok(()));
        assert_eq!(Stored::read(world.file.as_bytes()).outbox.len(), 0, "{more}");
    }
    assert!((4..16).contains(&was_written_anew), "{was_written_anew}");
}
