//! Whether an account is connected, what changes that, and who may talk by it.

use super::*;

#[test]
fn what_only_a_person_can_change_is_waited_for() {
    let mut house = House::online(known("123"));
    let fault = Fault::Setup("it isn't allowed".to_owned(), "allow it");
    house.answer(RequestKind::Poll, Err(fault));
    house.pass(3_600);
    assert!(house.asked.is_empty());
    let row = house.row();
    assert_eq!((&row["healthState"], &row["fix"]), (&json!("blocked"), &json!("allow it")));
    house.call("channels.start", json!({"channel": "telegram"})).unwrap();
    assert!(house.request(RequestKind::Identify).is_some());
}

#[test]
fn a_token_that_is_not_accepted_is_said_and_not_tried_again() {
    let mut house = House::new(known("1"));
    house.answer(RequestKind::Identify, Err(Fault::Credentials("HTTP 401 Unauthorized".to_owned())));
    house.pass(3_600);
    assert!(house.asked.is_empty());
    let row = house.row();
    assert_eq!((&row["healthState"], &row["running"]), (&json!("blocked"), &json!(false)));
    assert!(
        row["lastError"].as_str().unwrap().contains("401") && row["fix"].as_str().unwrap().contains("@BotFather"),
        "{row}"
    );
    house.call("channels.start", json!({"channel": "telegram"})).unwrap();
    house.identify();
    assert_eq!(house.row()["connected"], true);
}

#[test]
fn two_pollers_and_silence_and_failures_are_said_and_tried_rarely() {
    let mut house = House::online(known("1"));
    for fault in [
        Fault::Conflict("HTTP 409".to_owned()),
        Fault::Unanswered("nothing came".to_owned()),
        Fault::Trouble("HTTP 500".to_owned()),
        Fault::Unreached("refused".to_owned()),
    ] {
        let said = fault.to_string();
        house.answer(RequestKind::Poll, Err(fault));
        assert!(house.request(RequestKind::Poll).is_none(), "not at once: {said}");
        let row = house.row();
        assert_eq!((row["lastError"].as_str(), &row["connected"]), (Some(said.as_str()), &json!(false)));
        assert!(row["fix"].is_string());
        house.pass(60);
    }
    house.updates(Vec::new());
    assert_eq!(house.row()["connected"], true);
    assert!(house.row()["lastError"].is_null());
    let mut tries = 0;
    for _ in 0..600 {
        if house.request(RequestKind::Poll).is_some() {
            tries += 1;
            house.answer(RequestKind::Poll, Err(Fault::Trouble("HTTP 500".to_owned())));
        }
        house.pass(1);
    }
    assert!(tries < 20, "{tries} tries in ten minutes");
}

#[test]
fn an_empty_answer_at_once_is_not_asked_for_in_a_loop() {
    let mut house = House::online(known("1"));
    house.updates(Vec::new());
    assert!(house.request(RequestKind::Poll).is_none());
    assert_eq!(house.machine.channels.deadline(), Some(house.now.at + Duration::from_secs(1)));
    house.pass(1);
    assert!(house.request(RequestKind::Poll).is_some());
}

#[test]
fn a_logout_outlasts_a_restart_and_a_start_ends_it() {
    let mut house = House::online(known("1"));
    assert_eq!(house.call("channels.logout", json!({"channel": "telegram"})).unwrap()["loggedOut"], true);
    assert!(house.asked.is_empty());
    let mut house = House::on(known("1"), house.disk);
    assert!(house.asked.is_empty());
    assert_eq!(house.row()["running"], false);
    house.call("channels.start", json!({"channel": "telegram"})).unwrap();
    house.identify();
    assert_eq!(house.row()["connected"], true);
}

#[test]
fn another_bot_begins_with_its_own_numbers() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(7, "1", "a")]);
    house.run_says("x", 0);
    house.delivered();
    let mut house = House::on(known("1"), house.disk);
    let other = ChannelIdentity { id: "667".to_owned(), name: "Other".to_owned() };
    house.answer(RequestKind::Identify, Ok(Reply::Identity(other)));
    assert_eq!(house.cursor(), None);
    house.updates(vec![update(7, "1", "b")]);
    assert_eq!(house.started.len(), 1);
}

#[test]
fn a_changed_policy_counts_at_once_and_a_changed_token_connects_anew() {
    let mut house = House::online(known("1"));
    let mut changed = config(ChannelAccess { dm_policy: DmPolicy::Disabled, ..known("1") });
    house.turn(|machine, turn| machine.configure(changed.clone(), turn));
    assert!(house.request(RequestKind::Poll).is_some(), "it goes on");
    changed.channels[0].token = Some(Secret::new("2:def"));
    house.turn(|machine, turn| machine.configure(changed.clone(), turn));
    assert!(house.request(RequestKind::Poll).is_none() && house.request(RequestKind::Identify).is_some());
    changed.channels.clear();
    house.turn(|machine, turn| machine.configure(changed, turn));
    assert!(house.asked.is_empty() && house.machine.channels.is_empty());
}

#[test]
fn channels_that_come_and_go_are_told_as_presence() {
    let mut house = House::online(known("1"));
    let online = |house: &House| {
        let rows = house.machine.presence_rows(house.now);
        rows.iter().find(|row| row["mode"] == "channel").map(|row| row["online"].clone())
    };
    assert_eq!(online(&house), Some(json!(true)));
    house.answer(RequestKind::Poll, Err(Fault::Unreached("refused".to_owned())));
    assert_eq!(online(&house), Some(json!(false)));
}

#[test]
fn another_root_begins_without_a_cursor() {
    let mut house = House::online(known("1"));
    house.updates(vec![update(9_007_199_254_740_990, "1", "a")]);
    let mut changed = config(known("1"));
    changed.channels[0].api_root = "https://elsewhere".to_owned();
    house.turn(|machine, turn| machine.configure(changed, turn));
    house.identify();
    assert_eq!(house.cursor(), None);
}

#[test]
fn nothing_of_a_stranger_reaches_an_agent_until_the_code_is_approved() {
    let mut house = House::online(ChannelAccess::default());
    house.updates(vec![update(1, "5", "let me in"), update(2, "5", "please")]);
    let said = house.delivered();
    assert!(said.contains("user id: 5") && said.contains("gatewarden gateway pairing approve telegram "), "{said}");
    assert!(house.request(RequestKind::Send).is_none(), "a code is told once");
    assert!(house.started.is_empty() && house.machine.sessions.len() == 0);
    let listed = house.call("channels.pairing.list", json!({})).unwrap();
    let code = listed["requests"][0]["code"].as_str().unwrap().to_owned();
    assert!(said.contains(&code) && listed["requests"][0]["senderId"] == "5", "{listed}");
    let wrong = house.call("channels.pairing.approve", json!({"channel": "telegram", "code": "WRONG"}));
    let said = wrong.unwrap_err();
    assert!(
        said.starts_with("pending DM access request no longer exists: none like this waits at telegram:default."),
        "{said}"
    );
    assert!(
        said.contains("Waiting: 1 at telegram:default.") && said.contains("pairing list") && !said.contains(&code),
        "{said}"
    );
    let approved =
        house.call("channels.pairing.approve", json!({"channel": "telegram", "code": code.to_lowercase()})).unwrap();
    assert_eq!(approved["senderId"], "5");
    house.updates(vec![update(3, "5", "now?")]);
    assert_eq!(house.started.len(), 1);
    // And so it stays.
    let mut house = house.killed(ChannelAccess::default());
    house.updates(vec![update(4, "5", "still?")]);
    assert_eq!(house.started.len(), 1);
}

#[test]
fn who_cannot_talk_to_agents_lets_nobody_talk_to_them() {
    let mut house = House::online(ChannelAccess::default());
    house.updates(vec![update(1, "5", "hi")]);
    let params = json!({"channel": "telegram", "code": house.code_of("5")});
    let refused = house.call_with(&["operator.pairing"], "channels.pairing.approve", params.clone());
    assert_eq!(refused, Err("missing scope: operator.write".to_owned()));
    let scopes = ["operator.pairing", "operator.write"];
    assert_eq!(house.call_with(&scopes, "channels.pairing.approve", params).unwrap()["senderId"], "5");
}

#[test]
fn an_approval_is_listed_and_can_be_taken_back() {
    let mut house = House::online(ChannelAccess::default());
    house.updates(vec![update(1, "5", "hi")]);
    let code = house.code_of("5");
    house.call("channels.pairing.approve", json!({"channel": "telegram", "code": code})).unwrap();
    let approved = |house: &mut House| house.call("channels.pairing.list", json!({})).unwrap()["approved"].clone();
    assert_eq!(approved(&mut house), json!([{"channel": "telegram", "accountId": "default", "senderId": "5"}]));
    let revoke = json!({"channel": "telegram", "senderId": "5"});
    assert_eq!(house.call("channels.pairing.revoke", revoke.clone()).unwrap()["senderId"], "5");
    assert!(house.call("channels.pairing.revoke", revoke).unwrap_err().contains("isn't approved"));
    assert_eq!(approved(&mut house), json!([]));
    let mut house = house.killed(ChannelAccess::default());
    house.updates(vec![update(2, "5", "again")]);
    assert!(house.started.is_empty());
}

#[test]
fn another_bot_inherits_no_approvals() {
    let mut house = House::online(ChannelAccess::default());
    house.updates(vec![update(1, "5", "hi")]);
    let code = house.code_of("5");
    house.call("channels.pairing.approve", json!({"channel": "telegram", "code": code})).unwrap();
    let mut house = House::on(ChannelAccess::default(), house.disk);
    let other = ChannelIdentity { id: "667".to_owned(), name: "Other".to_owned() };
    house.answer(RequestKind::Identify, Ok(Reply::Identity(other)));
    house.updates(vec![update(1, "5", "hi")]);
    assert!(house.started.is_empty());
    assert!(house.lines.iter().any(|line| line.contains("1 approval")), "{:?}", house.lines);
}

#[test]
fn a_dismissed_stranger_is_unheard_for_an_hour_and_holds_no_place() {
    let mut house = House::online(ChannelAccess::default());
    house.updates((1..=4).map(|id| update(id, &id.to_string(), "hi")).collect());
    assert_eq!(house.strangers(), ["1", "2", "3"]);
    let code = house.code_of("1");
    house.call("channels.pairing.dismiss", json!({"channel": "telegram", "code": code})).unwrap();
    house.updates(vec![update(5, "1", "again"), update(6, "4", "again")]);
    assert_eq!(house.strangers(), ["2", "3", "4"]);
    house.pass(3_601);
    house.updates(vec![update(7, "1", "again")]);
    assert_eq!(house.strangers(), ["1"]);
}
