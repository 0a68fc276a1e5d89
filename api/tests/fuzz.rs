//! Bodies of requests, changed by chance: each is read or refused with reasons that tell no secret, and what was read is the same
//! when it is sent again.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it saw"
)]

#[path = "../../protocol/tests/fuzz/fuzzing.rs"]
mod fuzzing;

use std::fmt::Debug;

use gatewarden_api::access::{EventsQuery, LinkBody, LoginBody, NewKeyBody};
use gatewarden_api::agents::{
    AgentFields, ConnectBody, DisconnectBody, HeartbeatBody, NewAgentBody, SyncBody, TokenBody,
};
use gatewarden_api::gateway_record::{GatewayCreate, GatewayFields, GatewayUpdate, NewGatewayBody};
use gatewarden_api::gateways::{HealthBody, LogsQuery, ProcessBody};
use gatewarden_api::request::{self, Query, Request};
use gatewarden_api::sessions::{ChangeBody, ControlBody, MessageBody};
use gatewarden_api::spawn::SpawnBody;
use gatewarden_protocol::strict_json::StrictJson;
use serde_json::{Map, Value};

use crate::fuzzing::fuzz;

const SECRET: &str = "sh4red-s3cret";

/// Reads a body as this request; what comes out is sent, and read again.
fn check<T: Request + Debug + PartialEq>(map: &Map<String, Value>, has_secrets_in_place: bool) {
    match request::read::<T>(map) {
        Ok(read) => {
            let sent = read.json();
            assert_eq!(request::read::<T>(sent.as_object().unwrap()).as_ref(), Ok(&read), "{sent}");
            assert!(!has_secrets_in_place || !format!("{read:?}").contains(SECRET), "{read:?}");
        }
        Err(problems) => {
            let words = format!("{} {}", problems.sentence(), problems.details());
            assert!(!has_secrets_in_place || !words.contains(SECRET), "{words}");
        }
    }
}

/// Whether a secret stands only where one may stand.
fn keeps_secrets(map: &Map<String, Value>) -> bool {
    map.iter().all(|(key, value)| {
        let is_secret = matches!(key.as_str(), "token" | "password" | "api_key" | "once") && value.is_string();
        let is_environment =
            key == "env" && value.as_object().is_some_and(|env| env.keys().all(|name| !name.contains(SECRET)));
        is_secret || is_environment || !(key.contains(SECRET) || value.to_string().contains(SECRET))
    })
}

#[test]
fn any_body_is_refused_without_its_secrets_or_read_and_sent_alike() {
    let corpus: Vec<Vec<u8>> = include_str!("corpus/bodies.txt").lines().map(|line| line.as_bytes().to_vec()).collect();
    fuzz("bodies", &corpus, |text, _| {
        let Ok(StrictJson(Value::Object(map))) = serde_json::from_slice(text) else { return };
        let in_place = keeps_secrets(&map);
        check::<NewGatewayBody>(&map, in_place);
        check::<GatewayFields>(&map, in_place);
        check::<GatewayCreate>(&map, in_place);
        check::<GatewayUpdate>(&map, in_place);
        check::<SpawnBody>(&map, in_place);
        check::<ControlBody>(&map, in_place);
        check::<MessageBody>(&map, in_place);
        check::<ChangeBody>(&map, in_place);
        check::<NewAgentBody>(&map, in_place);
        check::<AgentFields>(&map, in_place);
        check::<ConnectBody>(&map, in_place);
        check::<DisconnectBody>(&map, in_place);
        check::<HeartbeatBody>(&map, in_place);
        check::<SyncBody>(&map, in_place);
        check::<TokenBody>(&map, in_place);
        check::<NewKeyBody>(&map, in_place);
        check::<LoginBody>(&map, in_place);
        check::<LinkBody>(&map, in_place);
        check::<HealthBody>(&map, in_place);
        check::<ProcessBody>(&map, in_place);
    });
}

#[test]
fn any_query_is_read_or_refused() {
    let corpus = [
        "limit=20&offset=3&q=a%20b",
        "types=gateway.status,spawn_result&gateway=7&last_event_id=12",
        "level=warn&follow=true&x=%ff%",
    ];
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|text| text.as_bytes().to_vec()).collect();
    fuzz("queries", &corpus, |text, _| {
        let text = String::from_utf8_lossy(text);
        let _ = (Query::read::<EventsQuery>(&text).is_ok(), Query::read::<LogsQuery>(&text).is_ok());
    });
}
