use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::gateway_report::{GatewayReport, Phase, Problem, Status};
use crate::machines::notification::{Episode, Topic};
use crate::notifier::tests_support::record;
use crate::registry::roster::ActingPrimary;

fn step(subject: Subject, condition: Condition, change: Change) -> Step {
    let sequence = u32::from(!matches!(change, Change::Opened { .. }));
    Step {
        topic: Topic { subject, condition },
        change,
        episode: Episode {
            id: "e1".to_owned(),
            began_ms: 1_000,
            announced_ms: 1_000 + 7_500_000,
            sequence,
            detail: "2".to_owned(),
        },
        told: true,
        held: Duration::from_millis(0),
        in_digest: false,
    }
}

fn down(change: Change) -> Step {
    step(Subject::Gateway(GatewayId(1)), Condition::Down, change)
}

fn rendered(step: &Step, acting: Option<&ActingPrimary>) -> Value {
    let mut report = GatewayReport::unknown(5);
    report.status = Status::Offline;
    report.phase = Phase::Backoff;
    report.last_error = Some(Problem {
        code: "connection_refused".to_owned(),
        message: "Gateway gw1 at 127.0.0.1:18789: the connection was refused.".to_owned(),
        help: "Start the gateway.".to_owned(),
    });
    let primary = record(1).with(|spec| spec.is_primary = true);
    let views = [Arc::new(GatewayView::new(Arc::new(primary), report, false))];
    let fleet = Fleet { views: &views, acting, elected: true, doubts: false, now_ms: 9 };
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
    let body = rendered(&down(Change::Opened { flapping: false }), None);
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
fn a_digest_says_how_many_and_names_the_first_twenty() {
    let views: Vec<Arc<GatewayView>> =
        (1..=30).map(|id| Arc::new(GatewayView::new(Arc::new(record(id)), GatewayReport::unknown(5), false))).collect();
    let fleet = Fleet { views: &views, acting: None, elected: true, doubts: false, now_ms: 9 };
    let steps: Vec<Step> = (1..=30)
        .map(|id| step(Subject::Gateway(GatewayId(id)), Condition::Down, Change::Opened { flapping: false }))
        .collect();
    let story = || Story { destination: "ops", installation: "inst", subject_name: "", fleet: &fleet, doubt: None };
    let stories: Vec<Story<'_>> = steps.iter().map(|_| story()).collect();
    let mut body = render(&steps[0], &story());
    widen(&mut body, &steps.iter().collect::<Vec<_>>(), &stories);
    let body = serde_json::to_value(body).unwrap();
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("30 gateways are down: gw1, gw2, ") && text.ends_with(" and 10 more."), "{text}");
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
    let bouncing = rendered(&down(Change::Opened { flapping: true }), None);
    assert_eq!(bouncing["flapping"], true);
    assert!(bouncing["text"].as_str().unwrap().contains("comes and goes"));
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
    let acting =
        ActingPrimary { id: GatewayId(2), name: "gw2".to_owned(), reason: "It has the highest priority".to_owned() };
    let body = rendered(&step(Subject::Fleet, Condition::Failover, Change::Opened { flapping: false }), Some(&acting));
    assert_eq!(body["text"], "Gateway gw2 acts as primary in place of gw1: It has the highest priority.");
    assert_eq!(body["configured"], json!({ "id": 1, "name": "gw1" }));
    assert_eq!(body["acting"], json!({ "id": 2, "name": "gw2" }));
    let mut nobody = step(Subject::Fleet, Condition::Failover, Change::Opened { flapping: false });
    nobody.episode.detail = NOBODY.to_owned();
    let body = rendered(&nobody, None);
    assert!(body["text"].as_str().unwrap().starts_with("No gateway acts as primary: gw1"));
    assert_eq!(body["acting"], Value::Null);
}

#[test]
fn every_condition_and_change_has_a_sentence() {
    for condition in Condition::ALL {
        let subject = match condition {
            Condition::Failover | Condition::NetworkDoubt => Subject::Fleet,
            _ => Subject::Gateway(GatewayId(1)),
        };
        for change in [
            Change::Opened { flapping: false },
            Change::Moved { from: "1".to_owned() },
            Change::Reminded,
            Change::Closed { removed: false },
        ] {
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
