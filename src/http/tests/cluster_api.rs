//! A node of a cluster that may act, and that may not.

use gatewarden_actors::store::records::Role;
use serde_json::json;

use super::support::{Ask, Harness};

#[actix_web::test]
async fn without_a_cluster_there_is_one_node_which_acts() {
    let harness = Harness::start().await;
    let seen = harness.send(harness.ask(Role::Viewer, "GET", "/api/cluster")).await.json();
    assert_eq!((&seen["clustered"], &seen["acting"]), (&json!(false), &json!(true)));
    assert_eq!((&seen["nodes"][0]["name"], &seen["nodes"][0]["role"]), (&json!("host-a"), &json!("acting")));
}

#[actix_web::test]
async fn a_node_without_the_right_to_act_answers_reads_and_refuses_changes() {
    let harness = Harness::start().await;
    harness.right.set(i64::MIN);
    for (method, path, body) in [
        ("POST", "/api/spawn", json!({"task": "t"})),
        ("POST", "/api/gateways", json!({"name": "new", "host": "127.0.0.1", "port": 1})),
        ("POST", "/api/gateways/1/reconnect", json!({})),
        ("DELETE", "/api/gateways/1", json!({})),
    ] {
        let answer = harness.send(harness.admin(method, path).json(body)).await;
        assert_eq!((answer.status.as_u16(), answer.error_code().as_str()), (503, "not_acting"), "{path}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(harness.send(Ask::new("GET", "/ready")).await.error_code(), "not_acting");
    for read in ["/api/gateways", "/api/status", "/api/cluster", "/health"] {
        assert_eq!(harness.send(harness.admin("GET", read)).await.status, 200, "{read}");
    }
    harness.right.set(i64::MAX);
    assert_eq!(harness.send(Ask::new("GET", "/ready")).await.status, 200);
}
