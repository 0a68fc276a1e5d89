//! What becomes of messages and of their answers.

use super::*;

#[test]
fn a_message_becomes_a_run_and_its_answer_goes_back() {
    let mut house = House::online(known("123"));
    house.updates(vec![update(7, "123", "hello")]);
    assert_eq!(house.started, [RunId("telegram:666:7".to_owned())]);
    assert_eq!(house.cursor(), Some(8));
    let (_, message) = house.events.iter().find(|(event, _)| event == "message").unwrap();
    assert_eq!((&message["channel"], &message["from"]), (&json!("telegram"), &json!("telegram:123")));
    assert_eq!(message["sessionKey"], "agent:main:telegram:default:user123");
    house.pass(0);
    assert!(matches!(house.request(RequestKind::Typing), Some(ChannelRequest::Typing { .. })));
    house.run_says("hi there", 0);
    assert_eq!(house.delivered(), "hi there");
    assert!(house.request(RequestKind::Send).is_none());
    assert!(house.row()["lastOutboundAt"].is_i64());
}

#[test]
fn a_limit_of_the_service_keeps_typing_waiting_and_no_answer() {
    let mut house = House::online(known("123"));
    house.updates(vec![update(7, "123", "hello")]);
    house.pass(0);
    house.answer(RequestKind::Typing, Err(Fault::Slow(60)));
    house.pass(59);
    assert!(house.request(RequestKind::Typing).is_none());
    house.pass(1);
    assert!(house.request(RequestKind::Typing).is_some());
    house.run_says("hi there", 0);
    assert_eq!(house.delivered(), "hi there");
}

fn place(house: &House) -> Option<String> {
    match house.request(RequestKind::Poll) {
        Some(ChannelRequest::Poll { place, .. }) => place.clone(),
        other => panic!("it doesn't poll: {other:?}"),
    }
}

#[test]
fn a_service_that_sends_by_itself_goes_on_where_it_was_after_a_kill() {
    let access = ChannelAccess { dm_policy: DmPolicy::Allowlist, ..known("123") };
    let mut house = House::online(access.clone());
    assert_eq!(place(&house), None);
    let came = |updates: Vec<Update>, place: &str| Ok(Reply::Received { updates, place: place.to_owned() });
    house.answer(RequestKind::Poll, came(Vec::new(), "begun"));
    house.pass(1);
    assert_eq!((place(&house).as_deref(), house.writes), (Some("begun"), 2));
    house.answer(RequestKind::Poll, came(vec![update(9, "5", "hi"), update(4, "6", "hi")], "on"));
    assert_eq!((place(&house).as_deref(), house.writes), (Some("on"), 2), "what isn't heard costs no write");
    house.answer(RequestKind::Poll, came(vec![update(7, "123", "hello")], "taken"));
    assert_eq!(place(&house).as_deref(), Some("taken"), "asked on only when it is on disk");
    assert_eq!(house.started.len(), 1);
    let mut house = house.killed(access);
    assert_eq!(place(&house).as_deref(), Some("taken"));
    house.answer(RequestKind::Poll, came(vec![update(7, "123", "hello")], "taken"));
    assert!(house.started.is_empty(), "what comes again is known");
}

#[test]
fn an_update_that_comes_twice_is_run_once() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a"), update(7, "1", "a")]);
    house.updates(vec![update(7, "1", "a")]);
    house.run_says("x", 0);
    house.pass(2);
    assert_eq!(house.started.len(), 1);
    let mut house = house.killed(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    assert_eq!(house.started.len(), 0);
}

#[test]
fn a_message_is_acknowledged_only_when_it_is_on_disk() {
    let mut house = House::online(known("1"));
    house.disk_works = false;
    house.updates(vec![update(7, "1", "a")]);
    assert!(house.request(RequestKind::Poll).is_none() && house.started.is_empty());
    let row = house.row();
    assert!(row["lastError"].as_str().unwrap().contains("No space left") && row["connected"] == false, "{row}");
    house.disk_works = true;
    house.turn(GatewayMachine::upkeep);
    house.turn(|machine, turn| machine.files_news(FilesNews::Restored { file: Record::file(&key()) }, turn));
    assert_eq!((house.cursor(), house.started.len()), (Some(8), 1));
}

#[test]
fn a_kill_between_update_and_run_loses_nothing_and_one_within_the_run_is_told() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "first"), update(8, "1", "second")]);
    assert_eq!(house.started, [RunId("telegram:666:7".to_owned())], "one at a time");
    let mut house = house.killed(known("1"));
    assert_eq!(house.started, [RunId("telegram:666:8".to_owned())]);
    assert_eq!(house.cursor(), Some(9));
    let said = house.delivered();
    assert!(said.contains("restarted while it worked on your message \"first\""), "{said}");
    house.run_says("done", 0);
    assert_eq!(house.delivered(), "done");
}

#[test]
fn an_answer_that_may_have_been_sent_is_not_sent_again() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    house.run_says(&"word ".repeat(1_500), 0);
    assert!(house.request(RequestKind::Send).is_some());
    // Killed while the first part was under way.
    let mut house = house.killed(known("1"));
    let rest = house.delivered();
    assert!(rest.len() < 4_000 && rest.starts_with("word"), "{rest}");
    assert!(house.request(RequestKind::Send).is_none() && house.started.is_empty());
    house.updates(vec![update(8, "1", "b")]);
    house.run_says("answer", 0);
    house.answer(RequestKind::Send, Err(Fault::Unanswered("nothing came".to_owned())));
    assert!(house.request(RequestKind::Send).is_none());
    assert!(house.lines.iter().any(|line| line.contains("isn't sent again")), "{:?}", house.lines);
}

#[test]
fn what_certainly_was_not_sent_is_sent_again_when_the_service_wants_it() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    house.run_says("answer", 0);
    house.answer(RequestKind::Send, Err(Fault::Slow(7)));
    house.pass(6);
    assert!(house.request(RequestKind::Send).is_none());
    house.pass(1);
    for fault in [Fault::Trouble("HTTP 502".to_owned()), Fault::Unreached("refused".to_owned())] {
        house.answer(RequestKind::Send, Err(fault));
        assert!(house.request(RequestKind::Send).is_none(), "not at once");
        house.pass(2);
    }
    assert_eq!(house.delivered(), "answer");
    house.updates(vec![update(8, "1", "b")]);
    house.run_says("another", 0);
    house.answer(RequestKind::Send, Err(Fault::Refused("bot was blocked by the user".to_owned())));
    house.pass(60);
    assert!(house.request(RequestKind::Send).is_none());
}

#[test]
fn a_long_answer_comes_in_parts_in_order() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    let text: Vec<String> = (0..900).map(|number| format!("line {number}")).collect();
    house.run_says(&text.join("\n"), 0);
    let parts: Vec<String> = (0..2).map(|_| house.delivered()).collect();
    assert_eq!(parts.join("\n"), text.join("\n"));
    assert!(house.request(RequestKind::Send).is_none());
}

#[test]
fn an_agents_failure_is_told_without_its_insides() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    let run = house.started[0].clone();
    let line = ProcessNews::Line { stream: OutputStream::Stderr, text: "password=hunter2".to_owned(), cut: false };
    let exited = ProcessNews::Exited { code: Some(3), signal: None, duration_ms: 1, strays: 0, timed_out: false };
    for news in [ProcessNews::Started { pid: 1 }, line, exited] {
        house.turn(|machine, turn| machine.process_news(&run, news, turn));
    }
    let said = house.delivered();
    assert!(said.contains("failed") && !said.contains("hunter2") && !said.contains("exit code"), "{said}");
}

#[test]
fn a_flood_runs_no_more_than_its_share_and_is_told_once() {
    let mut house = House::online(known("1"));
    for batch in 0..5_u64 {
        house.updates((0..20).map(|number| update(batch * 20 + number, "1", "spam")).collect());
        if house.request(RequestKind::Poll).is_none() {
            house.pass(1);
        }
    }
    let mut ended = 0;
    while house.started.len() > ended {
        ended = house.started.len();
        house.run_says("x", 0);
    }
    assert_eq!(ended, 20);
    let said: Vec<String> = (0..21).map(|_| house.delivered()).collect();
    assert_eq!(said.iter().filter(|said| said.contains("messages a minute")).count(), 1, "{said:?}");
    assert!(house.request(RequestKind::Send).is_none());
}

#[test]
fn more_updates_than_were_asked_for_are_not_taken() {
    let mut house = House::online(known("*"));
    house.updates((0..25_000).map(|number| update(number, &number.to_string(), "x")).collect());
    assert!(house.started.is_empty() && house.request(RequestKind::Poll).is_none());
    let row = house.row();
    assert!(row["lastError"].as_str().unwrap().contains("more than it was asked for"), "{row}");
    house.pass(1);
    assert_eq!(house.cursor(), None);
}

#[test]
fn without_room_for_a_run_messages_wait_as_not_begun_and_nothing_is_written() {
    let mut house = House::with_room_for(1);
    for batch in 0..3_u64 {
        house.updates((batch * 20..batch * 20 + 20).map(|id| update(id, &id.to_string(), "x")).collect());
    }
    assert_eq!(house.started.len(), 1);
    let kept: Value = serde_json::from_str(house.disk.as_ref().unwrap()).unwrap();
    let begun = kept["waiting"].as_array().unwrap().iter().filter(|work| work["begun"] == true).count();
    assert_eq!(begun, 1, "a crash now must not tell the others to send again");
    house.writes = 0;
    for _ in 0..60 {
        house.pass(1);
    }
    assert_eq!(house.writes, 0);
    house.run_says("x", 0);
    assert_eq!(house.started.len(), 2);
}

#[test]
fn a_turn_writes_an_account_once() {
    let mut house = House::online(known("*"));
    house.writes = 0;
    let mut turn = Turn::new(house.now, &mut house.chance);
    let news = ChannelNews {
        account: key(),
        life: house.asked[0].0,
        kind: RequestKind::Poll,
        outcome: Ok(Reply::Updates(vec![update(7, "1", "a"), update(8, "2", "b")])),
    };
    house.machine.channels.hear(news, &mut turn);
    house.machine.attend_channels(&mut turn);
    let writes = turn.into_effects().into_iter().filter(|effect| matches!(effect, Effect::Write(_))).count();
    assert_eq!(writes, 1);
}

#[test]
fn a_request_that_finds_no_room_waits_on() {
    let mut house = House::online(ChannelAccess::default());
    house.updates(vec![update(1, "5", "hi")]);
    let account = house.machine.channels.accounts.get_mut(&key()).unwrap();
    for sender in 1_000..2_000 {
        assert!(account.record.pairing.approve(&sender.to_string()));
    }
    let params = json!({"channel": "telegram", "code": house.code_of("5")});
    let refused = house.call("channels.pairing.approve", params.clone()).unwrap_err();
    assert!(refused.contains("allowFrom"), "{refused}");
    assert_eq!(house.strangers(), ["5"]);
    house.call("channels.pairing.revoke", json!({"channel": "telegram", "senderId": "1000"})).unwrap();
    assert_eq!(house.call("channels.pairing.approve", params).unwrap()["senderId"], "5");
}
