//! `/api/nodes`.

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::store::records::Role;
use serde_json::{Value, json};

use super::support::Harness;

#[actix_web::test]
async fn nodes_and_devices_are_listed_without_tokens() {
    let harness = Harness::start().await;
    harness.script.reply("node.list", Ok(json!({"ts": 1, "nodes": [{"nodeId": "n1", "token": "secret"}]})));
    let devices = json!({
        "pending": [{"requestId": "r1"}],
        "paired": [{"deviceId": "d1", "tokens": [{"role": "operator", "token": "secret"}]}]
    });
    harness.script.reply("device.pair.list", Ok(devices));
    for path in ["/api/nodes", "/api/nodes?action=list"] {
        let body = harness.send(harness.ask(Role::Viewer, "GET", path)).await.json();
        assert_eq!(body, json!({"nodes": [{"nodeId": "n1"}], "gateway_id": 1, "available": true}));
    }
    let body = harness.send(harness.ask(Role::Viewer, "GET", "/api/nodes?action=devices&gateway_id=1")).await.json();
    assert_eq!(
        body,
        json!({
            "devices": [{"deviceId": "d1", "tokens": [{"role": "operator"}]}],
            "pending": [{"requestId": "r1"}], "gateway_id": 1, "available": true
        })
    );
    assert_eq!(harness.script.calls().last().unwrap().0, Some(1));
}

#[actix_web::test]
async fn an_unusable_gateway_is_an_empty_list_for_reads_and_a_503_for_writes() {
    let harness = Harness::start().await;
    for code in [ErrorCode::GatewayUnavailable, ErrorCode::NoUsableGateway] {
        for method in ["node.list", "device.pair.list", "device.pair.approve"] {
            harness.script.reply(method, Err(Failure::new(code, "The gateway prod is not connected")));
        }
        let list = harness.send(harness.admin("GET", "/api/nodes")).await;
        assert_eq!(list.status, 200);
        assert_eq!((&list.json()["nodes"], &list.json()["available"]), (&json!([]), &json!(false)));
        let devices = harness.send(harness.admin("GET", "/api/nodes?action=devices")).await.json();
        assert_eq!((&devices["devices"], &devices["pending"]), (&json!([]), &json!([])));
        let write = harness.admin("POST", "/api/nodes").json(json!({"action": "approve", "requestId": "r1"}));
        let write = harness.send(write).await;
        assert_eq!((write.status.as_u16(), write.error_code().as_str()), (503, code.as_str()));
    }
    let unknown = harness.send(harness.admin("GET", "/api/nodes?gateway_id=9")).await;
    assert_eq!(unknown.error_code(), "gateway_not_found");
}

#[actix_web::test]
async fn decisions_are_passed_on_with_the_gateways_own_names() {
    let harness = Harness::start().await;
    for (body, method, params) in [
        (json!({"action": "approve", "requestId": "r1"}), "device.pair.approve", json!({"requestId": "r1"})),
        (json!({"action": "reject", "requestId": "r1"}), "device.pair.reject", json!({"requestId": "r1"})),
        (
            json!({"action": "rotate-token", "deviceId": "d1"}),
            "device.token.rotate",
            json!({"deviceId": "d1", "role": "operator"}),
        ),
        (
            json!({"action": "revoke-token", "deviceId": "d1", "role": "node", "gateway_id": 1}),
            "device.token.revoke",
            json!({"deviceId": "d1", "role": "node"}),
        ),
    ] {
        let answer = harness.send(harness.admin("POST", "/api/nodes").json(body.clone())).await;
        assert_eq!(answer.status, 200, "{body}");
        assert_eq!(answer.json()["success"], true);
        let (target, called, sent) = harness.script.calls().pop().unwrap();
        assert_eq!((called.as_str(), sent), (method, params));
        assert_eq!(target, body.get("gateway_id").and_then(Value::as_i64));
    }
}

#[actix_web::test]
async fn a_wrong_action_or_a_missing_id_is_named() {
    let harness = Harness::start().await;
    for (body, word) in [
        (json!({}), "Invalid action"),
        (json!({"action": "dance"}), "Invalid action"),
        (json!({"action": 5}), "Invalid action"),
        (json!({"action": "approve"}), "requestId"),
        (json!({"action": "reject", "requestId": 5}), "requestId"),
        (json!({"action": "rotate-token", "requestId": "r"}), "deviceId"),
        (json!({"action": "revoke-token", "deviceId": ""}), "deviceId"),
    ] {
        let answer = harness.send(harness.admin("POST", "/api/nodes").json(body.clone())).await;
        assert_eq!(answer.error_code(), "invalid_request");
        assert!(answer.json()["error"].as_str().unwrap().contains(word), "{body}");
    }
    assert_eq!(harness.script.calls(), vec![]);
}
