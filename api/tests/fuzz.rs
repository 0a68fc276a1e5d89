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

use gatewarden_api::access::{AuditQuery, EventsQuery, LinkBody, LoginBody, NewKeyBody};
use gatewarden_api::agents::{
    AgentFields, ConnectBody, DisconnectBody, DisconnectQuery, HeartbeatBody, ListAgentsQuery, ListConnectionsQuery,
    NewAgentBody, SyncBody, TokenBody, TokensQuery,
};
use gatewarden_api::daemon::{NodesBody, NodesQuery};
use gatewarden_api::gateway_record::{GatewayCreate, GatewayFields, GatewayUpdate, NewGatewayBody};
use gatewarden_api::gateways::{
    DiscoverBody, GatewayChoiceBody, GatewayChoiceQuery, GatewayIdBody, HealthBody, HistoryQuery, LatencyIdsQuery,
    LatencyQuery, LogsQuery, ProcessBody,
};
use gatewarden_api::organization::{DialQuery, GatewayQuery, HistoryLimitQuery, TemplatesSyncBody};
use gatewarden_api::pages::{PageQuery, PartQuery};
use gatewarden_api::request::{self, Query, Request};
use gatewarden_api::sessions::{
    ChangeBody, ChangeQuery, ControlBody, DeleteBody, ListSessionsQuery, MessageBody, OrganizationMessage,
    SessionHistoryQuery,
};
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
        check::<GatewayIdBody>(&map, in_place);
        check::<GatewayChoiceBody>(&map, in_place);
        check::<NodesBody>(&map, in_place);
        check::<DiscoverBody>(&map, in_place);
        check::<SpawnBody>(&map, in_place);
        check::<ControlBody>(&map, in_place);
        check::<MessageBody>(&map, in_place);
        check::<OrganizationMessage>(&map, in_place);
        check::<ChangeBody>(&map, in_place);
        check::<DeleteBody>(&map, in_place);
        check::<NewAgentBody>(&map, in_place);
        check::<AgentFields>(&map, in_place);
        check::<ConnectBody>(&map, in_place);
        check::<DisconnectBody>(&map, in_place);
        check::<HeartbeatBody>(&map, in_place);
        check::<SyncBody>(&map, in_place);
        check::<TokenBody>(&map, in_place);
        check::<TemplatesSyncBody>(&map, in_place);
        check::<NewKeyBody>(&map, in_place);
        check::<LoginBody>(&map, in_place);
        check::<LinkBody>(&map, in_place);
        check::<HealthBody>(&map, in_place);
        check::<ProcessBody>(&map, in_place);
    });
}

/// Reads a query; what was read is the same when it is sent again.
fn check_query<T: Request + Debug + PartialEq>(text: &str) {
    let Ok(read) = Query::read::<T>(text) else { return };
    let mut sent = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in read.json().as_object().unwrap() {
        sent.append_pair(name, value.as_str().unwrap_or(&value.to_string()));
    }
    let sent = sent.finish();
    assert_eq!(Query::read::<T>(&sent).ok().as_ref(), Some(&read), "{sent}");
}

#[test]
fn any_query_is_refused_or_read_and_sent_alike() {
    let corpus: Vec<Vec<u8>> =
        include_str!("corpus/queries.txt").lines().map(|line| line.as_bytes().to_vec()).collect();
    fuzz("queries", &corpus, |text, _| {
        let text = String::from_utf8_lossy(text);
        check_query::<AuditQuery>(&text);
        check_query::<EventsQuery>(&text);
        check_query::<ListAgentsQuery>(&text);
        check_query::<DisconnectQuery>(&text);
        check_query::<ListConnectionsQuery>(&text);
        check_query::<TokensQuery>(&text);
        check_query::<NodesQuery>(&text);
        check_query::<LatencyQuery>(&text);
        check_query::<LatencyIdsQuery>(&text);
        check_query::<GatewayChoiceQuery>(&text);
        check_query::<HistoryQuery>(&text);
        check_query::<LogsQuery>(&text);
        check_query::<GatewayQuery>(&text);
        check_query::<HistoryLimitQuery>(&text);
        check_query::<DialQuery>(&text);
        check_query::<PageQuery>(&text);
        check_query::<PartQuery>(&text);
        check_query::<ChangeQuery>(&text);
        check_query::<ListSessionsQuery>(&text);
        check_query::<SessionHistoryQuery>(&text);
    });
}

/// A new request is read here, too.
#[test]
fn no_request_is_left_out() {
    let here = include_str!("fuzz.rs");
    // Read within others.
    let parts = ["GatewaySettings", "Tokens", "TokenUsageWords", "TlsBody", "AgentBody"];
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let requests =
            text.split("\nrequest! {\n").skip(1).flat_map(|block| block.split("\n}\n").next().unwrap().lines());
        let names = requests
            .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"))
            .filter(|name| !parts.contains(name));
        names.for_each(|name| assert!(here.contains(&format!("::<{name}>(&")), "{name} is not fuzzed"));
    }
}
