use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::gateway_report::{GatewayReport, Phase, Problem, Status};
use crate::machines::notification::Episode;
use crate::notifier::tests_support::record;
use crate::registry::roster::{ActingPrimary, Primary};

fn step(subject: Subject, condition: Condition, change: Change) -> Step {
    let sequence = u32::from(!matches!(change, Change::Opened));
    Step {
        topic: Topic { subject, condition },
        change,
        episode: Episode {
            id: "e1".to_owned(),
            began_ms: 1_000,
            announced_ms: 1_000 + 7_500_000,
            sequence,
            stand_in: Some(StandIn::Gateway(GatewayId(2))),
            hold: Duration::ZERO,
        },
        told: true,
        held: Duration::from_millis(0),
        in_digest: false,
    }
}

fn down(change: Change) -> Step {
    step(Subject::Gateway(GatewayId(1)), Condition::Down, change)
}

fn bouncing(step: Step) -> Step {
    let hold = Duration::from_secs(300);
    Step { episode: Episode { hold, ..step.episode }, ..step }
}

fn rendered(step: &Step, acting: Option<&ActingPrimary>) -> Value {
    rendered_as(Phase::Backoff, Status::Offline, step, acting)
}

fn rendered_as(phase: Phase, status: Status, step: &Step, acting: Option<&ActingPrimary>) -> Value {
    let mut report = GatewayReport { phase, status, ..GatewayReport::unknown(5) };
    report.last_error = Some(Problem {
        code: "connection_refused".to_owned(),
        message: "Gateway gw1 at 127.0.0.1:18789: the connection was refused.".to_owned(),
        help: "Start the gateway.".to_owned(),
    });
    let primary = record(1).with(|spec| spec.is_primary = true);
    let views = [Arc::new(GatewayView::new(Arc::new(primary), report, false))];
    let primary = Primary { acting: acting.cloned().map(Arc::new), failover: None };
    let fleet = Fleet { views: &views, primary: &primary, elected: true, doubts: false, now_ms: 9 };
    let story = Story {
        destination: "ops",
        installation: "inst",
        subject_name: "gw1",
        fleet: &fleet,
        doubt: Some("3 of 4 failed"),
    };
    serde_json::to_value(render(step, &story)).unwrap()
}

#[test]
fn a_notification_says_what_happened_to_whom_and_what_to_do() {
    let body = rendered(&down(Change::Opened), None);
    assert_eq!(body["id"], "e1-0");
    assert_eq!((&body["kind"], &body["condition"]), (&json!("down"), &json!("down")));
    assert_eq!(
        body["text"],
        "Gateway gw1 is down. Gateway gw1 at 127.0.0.1:18789: the connection was refused. Start the gateway."
    );
    assert_eq!(body["gateway"]["id"], 1);
    assert_eq!(body["gateway"]["status"], "offline");
    assert_eq!(body["gateway"]["error"]["code"], "connection_refused");
    assert_eq!((&body["destination"], &body["installation"]), (&json!("ops"), &json!("inst")));
    assert_eq!((&body["at_ms"], &body["began_ms"]), (&json!(7_501_000), &json!(1_000)));
}

#[test]
fn an_outage_ends_when_the_gateway_got_ready_and_not_when_somebody_looked() {
    let ended = |ready_since_ms| {
        let report = GatewayReport { ready_since_ms, ..GatewayReport::unknown(5) };
        let views = [Arc::new(GatewayView::new(Arc::new(record(1)), report, false))];
        let fleet = Fleet { views: &views, primary: &Primary::default(), elected: true, doubts: false, now_ms: 9 };
        let story = Story { destination: "ops", installation: "inst", subject_name: "", fleet: &fleet, doubt: None };
        // Found well 60 s before that is told.
        let over = Step { held: Duration::from_secs(60), ..down(Change::Closed { removed: false }) };
        render(&over, &story).ended_ms
    };
    let found_well = 7_501_000 - 60_000;
    assert_eq!(ended(Some(found_well - 700)), Some(found_well - 700));
    for unrelated in [None, Some(found_well - 60_000), Some(found_well + 5_000)] {
        assert_eq!(ended(unrelated), Some(found_well), "{unrelated:?}");
    }
}

#[test]
fn a_digest_says_how_many_and_names_the_first_twenty() {
    let views: Vec<Arc<GatewayView>> =
        (1..=30).map(|id| Arc::new(GatewayView::new(Arc::new(record(id)), GatewayReport::unknown(5), false))).collect();
    let fleet = Fleet { views: &views, primary: &Primary::default(), elected: true, doubts: false, now_ms: 9 };
    let steps: Vec<Step> = (1..=30)
        .map(|id| {
            let step = step(Subject::Gateway(GatewayId(id)), Condition::Down, Change::Opened);
            if id == 2 { bouncing(step) } else { step }
        })
        .collect();
    let story = || Story { destination: "ops", installation: "inst", subject_name: "", fleet: &fleet, doubt: None };
    let stories: Vec<Story<'_>> = steps.iter().map(|_| story()).collect();
    let mut body = render(&steps[0], &story());
    widen(&mut body, &steps.iter().collect::<Vec<_>>(), &stories);
    let body = serde_json::to_value(body).unwrap();
    assert_eq!((&body["flapping"], &body["gateways"][0]["flapping"]), (&json!(true), &json!(false)));
    assert_eq!(body["gateways"][1]["flapping"], true);
    let text = body["text"].as_str().unwrap();
    assert!(
        text.starts_with("30 gateways are down or do not answer: gw1, gw2, ") && text.ends_with(" and 10 more."),
        "{text}"
    );
    assert_eq!((&body["count"], body["gateways"].as_array().unwrap().len()), (&json!(30), 20));
    assert_eq!(body.get("gateway"), None);
    assert!(body.to_string().len() < 8 * 1024);
}

#[test]
fn reminders_recoveries_and_bouncing_are_told_apart() {
    let reminder = rendered(&down(Change::Reminded), None);
    assert!(reminder["text"].as_str().unwrap().starts_with("Still, after 2 h 5 min: Gateway gw1 is down."));
    assert_eq!((&reminder["kind"], &reminder["reminder"]), (&json!("down"), &json!(true)));
    let recovery = rendered(&down(Change::Closed { removed: false }), None);
    assert_eq!(recovery["text"], "Gateway gw1 is back, after 2 h 5 min.");
    assert_eq!(recovery["ended_ms"], 7_501_000);
    assert_eq!((&recovery["kind"], &recovery["condition"]), (&json!("recovered"), &json!("down")));
    let told = rendered(&bouncing(down(Change::Opened)), None);
    assert_eq!(told["flapping"], true);
    assert!(
        told["text"]
            .as_str()
            .unwrap()
            .ends_with("comes and goes: its recovery will be told once it has been well for 5 min.")
    );
}

#[test]
fn a_deleted_gateway_is_still_called_by_its_name() {
    let gone = step(Subject::Gateway(GatewayId(9)), Condition::Blocked, Change::Closed { removed: true });
    let body = rendered(&gone, None);
    assert_eq!(body["gateway"], json!({ "id": 9, "name": "gw1" }));
    assert_eq!((&body["kind"], &body["removed"]), (&json!("recovered"), &json!(true)));
}

#[test]
fn a_failover_names_both_gateways_and_the_reason() {
    let acting = ActingPrimary {
        id: GatewayId(2),
        name: "gw2".to_owned(),
        reason: "It has the highest priority".to_owned(),
        until_ms: None,
    };
    let body = rendered(&step(Subject::Gateway(GatewayId(1)), Condition::Failover, Change::Opened), Some(&acting));
    assert_eq!(body["text"], "Gateway gw2 acts as primary in place of gw1: It has the highest priority.");
    assert_eq!(body["configured"], json!({ "id": 1, "name": "gw1" }));
    assert_eq!(body["acting"], json!({ "id": 2, "name": "gw2" }));
    let mut nobody = step(Subject::Gateway(GatewayId(1)), Condition::Failover, Change::Opened);
    nobody.episode.stand_in = Some(StandIn::Nobody);
    let body = rendered(&nobody, None);
    assert!(body["text"].as_str().unwrap().starts_with("No gateway acts as primary: gw1"));
    assert_eq!(body["acting"], Value::Null);
}

#[test]
fn the_end_of_a_failover_says_why_it_is_over() {
    let over = |configured: i64| {
        let ended =
            step(Subject::Gateway(GatewayId(configured)), Condition::Failover, Change::Closed { removed: false });
        let (name, reason) = ("gw2".to_owned(), "It has the highest priority".to_owned());
        let acting = ActingPrimary { id: GatewayId(2), name, reason, until_ms: None };
        rendered(&ended, Some(&acting))["text"].as_str().unwrap().to_owned()
    };
    assert!(over(1).ends_with("over, after 2 h 5 min: gw2 acts as primary."), "{}", over(1));
    assert!(over(7).ends_with("over, after 2 h 5 min: gw1 is the configured primary now."), "{}", over(7));
}

#[test]
fn the_words_follow_what_is_seen_of_a_gateway() {
    for (condition, phase, status, words) in [
        (Condition::Down, Phase::Backoff, Status::Offline, "Gateway gw1 is down. "),
        (Condition::Down, Phase::Ready, Status::Timeout, "Gateway gw1 does not answer. "),
        (Condition::Down, Phase::Backoff, Status::Timeout, "Gateway gw1 does not answer. "),
        (Condition::Down, Phase::Parked, Status::Offline, "Gateway gw1 is no longer supervised. "),
        (Condition::Down, Phase::Idle, Status::Unknown, "Gateway gw1 has told nothing of itself for minutes. "),
        (
            Condition::Blocked,
            Phase::Blocked,
            Status::Degraded,
            "Gateway gw1 refuses gatewarden until somebody changes ",
        ),
        (Condition::Blocked, Phase::Blocked, Status::Offline, "Gateway gw1 can't be used until somebody changes "),
    ] {
        let step = step(Subject::Gateway(GatewayId(1)), condition, Change::Opened);
        let body = rendered_as(phase, status, &step, None);
        assert!(body["text"].as_str().unwrap().starts_with(words), "{}", body["text"]);
    }
}

#[test]
fn every_condition_and_change_has_a_sentence() {
    for condition in Condition::ALL {
        let subject = match condition {
            Condition::NetworkDoubt => Subject::Fleet,
            _ => Subject::Gateway(GatewayId(1)),
        };
        for change in
            [Change::Opened, Change::Moved { from: None }, Change::Reminded, Change::Closed { removed: false }]
        {
            let body = rendered(&step(subject, condition, change), None);
            let text = body["text"].as_str().unwrap();
            assert!(text.ends_with('.') && text.len() > 20 && !text.contains("  "), "{text}");
        }
    }
}

#[test]
fn durations_are_said_in_two_units_at_most() {
    for (seconds, said) in [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86_400, "1 d"),
        (90_000, "1 d 1 h"),
    ] {
        assert_eq!(spell(Duration::from_secs(seconds)), said);
    }
}
