//! `/api/sessions`: history, messages, changes and deletes, passed on to the gateway that holds the session.

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::store::records::Role;
use serde_json::{Value, json};

use super::sessions_api::{publish, row, two_gateways};
use super::support::{Answer, Harness};

async fn ask(harness: &Harness, method: &str, path: &str, body: Value) -> Answer {
    harness.send(harness.ask(Role::Operator, method, path).json(body)).await
}

#[actix_web::test]
async fn history_is_asked_of_the_holder_and_told_in_one_form() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    let messages: Vec<Value> =
        (0..60).map(|at| json!({"role": "user", "content": format!("m{at}"), "timestamp": at})).collect();
    harness.script.reply("chat.history", Ok(json!({"sessionKey": "k", "messages": messages})));
    let path = "/api/sessions/agent:main:main/history";
    let body = harness.send(harness.ask(Role::Viewer, "GET", path)).await.json();
    assert_eq!(body["history"].as_array().unwrap().len(), 50);
    assert_eq!(body["history"][49], json!({"role": "user", "content": "m59", "timestamp": 59}), "the newest are kept");
    assert_eq!(
        (&body["session"], &body["gateway"], &body["gateway_id"]),
        (&json!("agent:main:main"), &json!("backup"), &json!(2))
    );
    let expected = (Some(2), "chat.history".to_owned(), json!({"sessionKey": "agent:main:main", "limit": 50}));
    assert_eq!(harness.script.calls().pop(), Some(expected));
    for (query, limit) in [("limit=2", 2), ("limit=100000", 200)] {
        let body = harness.send(harness.admin("GET", &format!("{path}?{query}"))).await.json();
        assert_eq!(body["history"].as_array().unwrap().len(), limit.min(60));
        assert_eq!(harness.script.calls().pop().unwrap().2["limit"], limit);
    }
    assert_eq!(harness.send(harness.admin("GET", &format!("{path}?limit=0"))).await.status, 400);
    let ambiguous = harness.send(harness.admin("GET", "/api/sessions/shared/history")).await;
    assert_eq!(ambiguous.error_code(), "session_ambiguous");
    let by_uuid = harness.send(harness.admin("GET", "/api/v1/gateways/sessions/shared/history")).await.json();
    let uuid = by_uuid["details"]["gateways"][0]["id"].as_str().unwrap();
    assert!(by_uuid["error"].as_str().unwrap().contains(uuid), "{by_uuid}");
    let taken =
        harness.send(harness.admin("GET", &format!("/api/v1/gateways/sessions/shared/history?gateway_id={uuid}")));
    assert_eq!(taken.await.status, 200, "what the refusal names is what gateway_id takes");
    let named = harness.send(harness.admin("GET", "/api/sessions/shared/history?gateway_id=1")).await;
    assert_eq!(named.json()["gateway"], "prod");
    harness.script.reply("chat.history", Ok(json!({"something": "else"})));
    let body = harness.send(harness.admin("GET", path)).await.json();
    assert_eq!(body["history"], json!([]));
}

#[actix_web::test]
async fn a_message_is_sent_once_with_an_idempotency_key() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    harness.script.reply("chat.send", Ok(json!({"runId": "r-1", "status": "started"})));
    let path = "/api/sessions/researcher:main/message";
    let content = "How far\nare you?";
    let answer = ask(&harness, "POST", path, json!({"content": content})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["success"], &body["runId"], &body["status"]), (&json!(true), &json!("r-1"), &json!("started")));
    let (gateway, method, params) = harness.script.calls().pop().unwrap();
    assert_eq!((gateway, method.as_str()), (Some(1), "chat.send"));
    assert_eq!((&params["sessionKey"], &params["message"]), (&json!("researcher:main"), &json!(content)));
    assert_eq!(params["idempotencyKey"], body["idempotency_key"]);
    assert_eq!(body["idempotency_key"].as_str().unwrap().len(), 36);
    let with_key = |key: &str| harness.admin("POST", path).header("idempotency-key", key).json(json!({"content": "x"}));
    assert_eq!(harness.send(with_key("mine-1")).await.json()["idempotency_key"], "mine-1");
    assert_eq!(harness.script.calls().pop().unwrap().2["idempotencyKey"], "mine-1");
    let calls = harness.script.calls().len();
    for wrong in ["", "a b", &"x".repeat(256)] {
        assert_eq!(harness.send(with_key(wrong)).await.error_code(), "invalid_request", "{wrong}");
    }
    let long = "x".repeat(200_001);
    for wrong in [
        json!({}),
        json!({"content": ""}),
        json!({"content": " \n"}),
        json!({"content": 5}),
        json!({"content": "a\u{0}"}),
        json!({"content": long}),
    ] {
        let answer = ask(&harness, "POST", path, wrong).await;
        assert_eq!(answer.status, 400);
        assert!(answer.json()["error"].as_str().unwrap().contains("content"));
    }
    assert_eq!(harness.script.calls().len(), calls, "nothing of it reached a gateway");
    let missing =
        Failure::new(ErrorCode::NotSupportedByGateway, "Gateway \"prod\" (2026.2.19) does not offer chat.send");
    harness.script.reply("chat.send", Err(missing));
    let answer = ask(&harness, "POST", path, json!({"content": "x"})).await;
    assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (501, "not_supported_by_gateway"));
}

#[actix_web::test]
async fn settings_of_a_session_are_patched_on_its_gateway() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    harness.script.reply(
        "sessions.patch",
        Ok(json!({"ok": true, "key": "agent:main:main", "entry": {"label": "x", "token": "hidden"}})),
    );
    for (action, field, value, sent) in [
        ("set-thinking", "level", json!("high"), json!({"key": "agent:main:main", "thinkingLevel": "high"})),
        ("set-verbose", "level", json!("full"), json!({"key": "agent:main:main", "verboseLevel": "full"})),
        ("set-label", "label", json!("Night shift"), json!({"key": "agent:main:main", "label": "Night shift"})),
        ("set-label", "label", json!(""), json!({"key": "agent:main:main", "label": null})),
        ("set-label", "label", Value::Null, json!({"key": "agent:main:main", "label": null})),
    ] {
        let body = json!({"sessionKey": "agent:main:main", field: value});
        let answer = ask(&harness, "POST", &format!("/api/sessions?action={action}"), body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!((&body["success"], &body["action"], &body["gateway_id"]), (&json!(true), &json!(action), &json!(2)));
        assert_eq!(body["result"]["entry"], json!({"label": "x"}), "no token is ever shown");
        assert_eq!(harness.script.calls().pop().unwrap(), (Some(2), "sessions.patch".to_owned(), sent));
    }
}

#[actix_web::test]
async fn a_thinking_level_of_the_gateways_own_is_taken_and_another_is_not() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    harness
        .script
        .reply("agents.list", Ok(json!({"agents": [{"thinkingLevels": [{"id": "off"}, {"id": "adaptive"}]}]})));
    let set = |level: &str| json!({"sessionKey": "researcher:main", "level": level});
    let path = "/api/sessions?action=set-thinking";
    assert_eq!(ask(&harness, "POST", path, set("adaptive")).await.status, 200);
    assert_eq!(harness.script.calls().pop().unwrap().2["thinkingLevel"], "adaptive");
    let refused = ask(&harness, "POST", path, set("cosmic")).await;
    assert_eq!(refused.status, 400);
    let sentence = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(sentence.contains("thinking level") && sentence.contains("adaptive"), "{sentence}");
    assert_eq!(harness.script.calls().pop().unwrap().1, "agents.list", "and nothing was changed");
}

#[actix_web::test]
async fn what_is_wrong_with_a_change_is_named() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    let key = "researcher:main";
    for (action, body, word) in [
        ("", json!({"sessionKey": key}), "Invalid action"),
        ("?action=dance", json!({"sessionKey": key}), "Invalid action"),
        ("?action=set-thinking", json!({"level": "high"}), "session key"),
        ("?action=set-thinking", json!({"sessionKey": 5, "level": "high"}), "session key"),
        ("?action=set-thinking", json!({"sessionKey": "a/b", "level": "high"}), "session key"),
        ("?action=set-thinking", json!({"sessionKey": "..", "level": "high"}), "session key"),
        ("?action=set-thinking", json!({"sessionKey": key}), "thinking level"),
        ("?action=set-thinking", json!({"sessionKey": key, "level": 5}), "thinking level"),
        ("?action=set-thinking", json!({"sessionKey": key, "level": "very high"}), "thinking level"),
        ("?action=set-verbose", json!({"sessionKey": key}), "verbose level"),
        ("?action=set-verbose", json!({"sessionKey": key, "level": "high"}), "verbose level"),
        ("?action=set-label", json!({"sessionKey": key}), "Label"),
        ("?action=set-label", json!({"sessionKey": key, "label": 5}), "Label"),
        ("?action=set-label", json!({"sessionKey": key, "label": "x".repeat(101)}), "Label"),
        ("?action=set-label", json!({"sessionKey": key, "label": "a\u{7}"}), "Label"),
    ] {
        let answer = ask(&harness, "POST", &format!("/api/sessions{action}"), body.clone()).await;
        assert_eq!(answer.error_code(), "invalid_request", "{body}");
        assert!(answer.json()["error"].as_str().unwrap().contains(word), "{body}: {answer:?}");
    }
    for body in [json!({}), json!({"sessionKey": ""}), json!({"sessionKey": "a\nb"})] {
        let answer = ask(&harness, "DELETE", "/api/sessions", body).await;
        assert!(answer.json()["error"].as_str().unwrap().contains("session key"), "{answer:?}");
    }
    assert_eq!(harness.script.calls(), vec![]);
}

#[actix_web::test]
async fn a_delete_reports_what_the_gateway_did() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    let body = json!({"sessionKey": "researcher:main"});
    for deleted in [true, false] {
        harness.script.reply("sessions.delete", Ok(json!({"ok": true, "key": "researcher:main", "deleted": deleted})));
        let answer = ask(&harness, "DELETE", "/api/sessions", body.clone()).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["deleted"]), (200, &json!(deleted)));
        assert_eq!(answer.json()["result"]["key"], "researcher:main");
    }
    let expected = (Some(1), "sessions.delete".to_owned(), json!({"key": "researcher:main"}));
    assert_eq!(harness.script.calls().pop(), Some(expected));
    let main = "Gateway \"prod\" refused sessions.delete: Cannot delete the main session";
    harness.script.reply("sessions.delete", Err(Failure::new(ErrorCode::GatewayRefused, main)));
    assert_eq!(ask(&harness, "DELETE", "/api/sessions", body.clone()).await.status, 502);
    harness.script.reply("sessions.delete", Ok(json!({"ok": false, "reason": "it is\nbusy"})));
    let refused = ask(&harness, "DELETE", "/api/sessions", body).await;
    assert_eq!((refused.status.as_u16(), refused.error_code().as_str()), (502, "gateway_refused"));
    assert!(refused.json()["error"].as_str().unwrap().contains("it is busy"), "{refused:?}");
}

#[actix_web::test]
async fn a_session_that_nobody_holds_is_never_made_by_a_change_or_a_message() {
    let harness = Harness::start().await;
    two_gateways(&harness).await;
    for (method, path, body) in [
        ("POST", "/api/sessions?action=set-label", json!({"sessionKey": "nobody", "label": "x"})),
        ("POST", "/api/sessions?action=set-label", json!({"sessionKey": "nobody", "label": "x", "gateway_id": 1})),
        ("DELETE", "/api/sessions", json!({"sessionKey": "nobody"})),
        ("POST", "/api/sessions/nobody/message", json!({"content": "x"})),
    ] {
        let answer = ask(&harness, method, path, body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.error_code().as_str()),
            (404, "session_not_found"),
            "{method} {path}"
        );
    }
    assert_eq!(harness.script.calls(), vec![]);
    publish(&harness, 1, vec![row("known", 1)], false);
    let body = json!({"sessionKey": "unlisted", "gateway_id": 1, "label": "x"});
    let taken = ask(&harness, "POST", "/api/sessions?action=set-label", body).await;
    assert_eq!(taken.status, 200, "a named gateway that has not told its list judges for itself");
}
