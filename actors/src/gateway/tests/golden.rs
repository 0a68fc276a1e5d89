//! The frames of real gateways, replayed: protocol 3 (2026.3.24) and protocol 4 (2026.9.6).

use serde_json::{Value, json};

use super::world::{Line, World};
use crate::gateway_report::Status;
use gatewarden_protocol::Dialect;

fn frames(text: &str) -> Vec<(String, Value)> {
    text.lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            (line["dir"].as_str().unwrap().to_owned(), line["frame"].take())
        })
        .collect()
}

/// What the recorded gateway answered to a method, by the ids of the record.
fn recorded(frames: &[(String, Value)], method: &str) -> Option<Value> {
    let id = frames.iter().find(|(dir, frame)| dir == "out" && frame["method"] == method)?.1["id"].clone();
    frames
        .iter()
        .find(|(dir, frame)| dir == "in" && frame["type"] == "res" && frame["id"] == id)
        .map(|(_, frame)| frame.clone())
}

async fn replay(text: &str, version: &str, protocol: u32) {
    let frames = frames(text);
    let world = World::new([Line::Opens]).await;
    let mut peer = world.peer().await;
    peer.says(&frames[0].1);
    let connect = peer.hears().await.unwrap();
    assert_eq!(connect["params"]["client"]["id"], "gateway-client");
    let mut hello = recorded(&frames, "connect").unwrap();
    hello["id"] = connect["id"].clone();
    // The record names only the first few of the methods.
    let methods = hello["payload"]["features"]["methods"].as_array_mut().unwrap();
    methods.extend(["agents.list", "config.get", "sessions.list", "sessions.subscribe"].map(Value::from));
    peer.says(&hello);
    for (dir, frame) in &frames {
        if dir == "in"
            && frame["type"] == "event"
            && frame["event"] != "connect.challenge"
            && frame["event"] != "shutdown"
        {
            peer.says(frame);
        }
    }
    actix_rt::spawn(async move {
        while let Some(request) = peer.hears().await {
            let mut reply = recorded(&frames, request["method"].as_str().unwrap()).unwrap_or_else(
                || json!({"type":"res","ok":false,"error":{"code":"INVALID_REQUEST","message":"unknown method: x"}}),
            );
            reply["id"] = request["id"].clone();
            // The record holds one page of several.
            if let Some(payload) = reply.get_mut("payload").filter(|payload| payload.get("hasMore").is_some()) {
                payload["hasMore"] = json!(false);
            }
            peer.says(&reply);
        }
    });
    let report = world
        .until(|report| report.sessions_count.is_some() && report.agents_count.is_some() && report.latency_ms.is_some())
        .await;
    assert_eq!((report.status, report.last_error.clone()), (Status::Online, None));
    assert_eq!((report.version.as_deref(), report.protocol), (Some(version), Some(protocol)));
    assert_eq!(report.dialect, Some(Dialect::Openclaw));
    assert!(report.agent_names.contains(&"main".to_owned()));
    assert!(report.uptime_ms.is_some());
    tokio::time::sleep(std::time::Duration::from_secs(200)).await;
    assert_eq!(world.heard.borrow().last().status, Status::Online);
}

#[actix::test]
async fn a_real_protocol_3_gateway_comes_online_and_stays_so() {
    replay(include_str!("../../../../protocol/tests/golden/frames-p3.jsonl"), "2026.3.24", 3).await;
}

#[actix::test]
async fn a_real_protocol_4_gateway_comes_online_and_stays_so() {
    replay(include_str!("../../../../protocol/tests/golden/frames-p4.jsonl"), "2026.9.6", 4).await;
}
