//! Direct connections over a real store. The store's threads want real time, so silence is short here; when it begins and
//! ends is tested with [`crate::machines::silence`].

use std::sync::Arc;

use serde_json::{Value, json};

use super::messages::*;
use super::reports::Fate;
use super::*;
use crate::agent_book::AgentKey;
use crate::error::ErrorCode;
use crate::event::EventFilter;
use crate::event_hub::EventHubActor;
use crate::event_hub::messages::Subscribe;
use crate::event_hub::subscriber::{Delivery, Subscription};
use crate::gateway_record::GatewaySpec;
use crate::machines::event_places::Holder;
use crate::machines::silence::Overdue;
use crate::metrics::Metrics;
use crate::store::StoreOptions;
use crate::store::key_file::SealingKey;
use crate::store::records::{AgentHeartbeat, AgentSource, ConnectionStatus, NewAgent, NewConnection, Opened};

const SHORT: Duration = Duration::from_millis(300);
const NEVER: Duration = Duration::from_secs(86_400);

struct House {
    direct: Addr<DirectConnectionsActor>,
    store: StoreHandle,
    agents: AgentBook,
    publisher: EventPublisher,
    events: Subscription,
    _dir: tempfile::TempDir,
}

impl House {
    async fn open(heartbeat_timeout: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let key = SealingKey::load_or_create(None, dir.path()).unwrap();
        let options = StoreOptions::at(dir.path().join("gatewarden.db"));
        let store = StoreHandle::open(options, key, clock.clone(), Arc::new(Metrics::new())).unwrap();
        let (hub, publisher) = EventHubActor::start(100, clock, Arc::default());
        let filter = EventFilter::new(&[], false);
        let events =
            hub.send(Subscribe { holder: Holder::ADMIN, filter, last_seen: None, queue: 100 }).await.unwrap().unwrap();
        let agents = AgentBook::new(store.clone(), publisher.clone());
        let direct = start(&store, &agents, &publisher, heartbeat_timeout).await;
        Self { direct, store, agents, publisher, events, _dir: dir }
    }

    async fn connect(&self, agent: &str, metadata: Option<Value>) -> Opened {
        let new = NewConnection {
            agent_name: agent.to_owned(),
            agent_role: None,
            tool_name: "codex".to_owned(),
            tool_version: None,
            metadata,
        };
        self.direct.send(OpenConnection(new)).await.unwrap().unwrap()
    }

    async fn beat(&self, agent: &str, connection: Option<&str>) -> Result<Heard, Failure> {
        let beat = AgentHeartbeat { connection_id: connection.map(str::to_owned), status: None };
        let tokens = Some(TokensUsed { model: "m1".to_owned(), input: 10, output: 2 });
        self.direct.send(Heartbeat { agent: AgentKey::Name(agent.to_owned()), beat, tokens }).await.unwrap()
    }

    async fn close(&self, connection: &str) -> Result<ConnectionRecord, Failure> {
        self.direct.send(CloseConnection(connection.to_owned())).await.unwrap()
    }

    /// The next event: its type, and what it says of reason or new status.
    async fn event(&self) -> (String, String) {
        let next = tokio::time::timeout(Duration::from_secs(60), self.events.next()).await.expect("an event");
        let Some(Delivery::Event(event)) = next else { panic!("{next:?}") };
        let told: Value = serde_json::from_slice(&event.json).unwrap();
        let data = &told["data"];
        let word =
            data["reason"].as_str().or(data["to"].as_str()).map_or_else(|| data["revived"].to_string(), str::to_owned);
        (told["type"].as_str().unwrap().to_owned(), word)
    }

    async fn expect(&self, events: &[(&str, &str)]) {
        for (kind, word) in events {
            assert_eq!(self.event().await, ((*kind).to_owned(), (*word).to_owned()));
        }
    }

    async fn status(&self, agent: &str) -> AgentStatus {
        self.agents.find(&AgentKey::Name(agent.to_owned())).await.unwrap().status
    }

    async fn used(&self, agent: &str) -> i64 {
        self.store.agent_costs(0).await.unwrap().get(agent).map_or(0, |stats| stats.total_tokens)
    }
}

async fn start(
    store: &StoreHandle,
    agents: &AgentBook,
    events: &EventPublisher,
    heartbeat_timeout: Duration,
) -> Addr<DirectConnectionsActor> {
    let parts = DirectParts {
        store: store.clone(),
        agents: agents.clone(),
        events: events.clone(),
        heartbeat_timeout,
        clock: Clock::system(),
    };
    DirectConnectionsActor::start(parts).await.unwrap()
}

const CREATED: (&str, &str) = ("connection.created", "false");
const REVIVED: (&str, &str) = ("connection.created", "true");
const SILENT: (&str, &str) = ("connection.disconnected", "silent");
const ONLINE: (&str, &str) = ("agent.status", "online");
const OFFLINE: (&str, &str) = ("agent.status", "offline");

#[actix::test]
async fn a_silent_tool_is_given_up_and_a_late_heartbeat_brings_it_back() {
    let house = House::open(SHORT).await;
    let opened = house.connect("a", None).await;
    assert!(opened.agent_is_new);
    house.expect(&[CREATED, ONLINE, SILENT, OFFLINE]).await;
    assert_eq!(house.status("a").await, AgentStatus::Offline);
    let id = opened.connection.connection_id;
    let heard = house.beat("a", Some(&id)).await.unwrap();
    assert!(heard.revived && heard.agent.status == AgentStatus::Online, "{heard:?}");
    house.expect(&[REVIVED, ONLINE, SILENT, OFFLINE]).await;
}

#[actix::test]
async fn a_tool_that_announces_longer_intervals_is_given_more_time() {
    let house = House::open(SHORT).await;
    house.connect("slow", Some(json!({"heartbeat_interval_s": 3600}))).await;
    house.expect(&[CREATED, ONLINE]).await;
    house.connect("quick", None).await;
    house.expect(&[CREATED, ONLINE, SILENT, OFFLINE]).await;
    assert_eq!(house.status("slow").await, AgentStatus::Online);
}

#[actix::test]
async fn a_second_tool_of_an_agent_takes_the_place_of_the_first() {
    let house = House::open(NEVER).await;
    let first = house.connect("a", None).await.connection.connection_id;
    let second = house.connect("a", None).await;
    assert_eq!(second.replaced.unwrap().connection_id, first);
    house.expect(&[CREATED, ONLINE, ("connection.disconnected", "replaced"), CREATED]).await;
    let refusal = house.beat("a", Some(&first)).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ConnectionEnded);
    assert!(refusal.message.contains("replaced"), "{refusal}");
    assert_eq!(house.used("a").await, 0, "a refused heartbeat leaves nothing");
    assert!(house.beat("a", Some(&second.connection.connection_id)).await.unwrap().tokens_recorded);
    assert_eq!(house.used("a").await, 12);
}

#[actix::test]
async fn a_goodbye_is_final_and_may_be_said_twice() {
    let house = House::open(NEVER).await;
    let id = house.connect("a", None).await.connection.connection_id;
    for _ in 0..2 {
        assert_eq!(house.close(&id).await.unwrap().status, ConnectionStatus::Disconnected);
    }
    house.expect(&[CREATED, ONLINE, ("connection.disconnected", "closed"), OFFLINE]).await;
    assert_eq!(house.beat("a", Some(&id)).await.unwrap_err().code, ErrorCode::ConnectionEnded);
    assert_eq!(house.close("conn-unknown").await.unwrap_err().code, ErrorCode::ConnectionNotFound);
    assert_eq!(house.beat("a", Some("conn-unknown")).await.unwrap_err().code, ErrorCode::ConnectionNotFound);
    assert_eq!(house.beat("nobody", None).await.unwrap_err().code, ErrorCode::AgentNotFound);
}

#[actix::test]
async fn an_agent_that_its_gateway_names_stays_online_without_its_tool() {
    let house = House::open(NEVER).await;
    let gateway = house.store.create_gateway(GatewaySpec::at("prod", "127.0.0.1", 1)).await.unwrap().record.id;
    let new = NewAgent { gateway_id: Some(gateway), source: AgentSource::Sync, ..NewAgent::manual("a") };
    house.store.create_agent(new).await.unwrap();
    house.agents.note_present(gateway, &["a".to_owned()], 7).await.unwrap();
    let opened = house.connect("a", None).await;
    house.close(&opened.connection.connection_id).await.unwrap();
    assert_eq!(house.status("a").await, AgentStatus::Online);
    let opened = house.connect("a", None).await;
    house.agents.note_lost(gateway).await.unwrap();
    house.close(&opened.connection.connection_id).await.unwrap();
    assert_eq!(house.status("a").await, AgentStatus::Offline);
}

#[actix::test]
async fn a_connection_of_another_agent_is_not_found() {
    let house = House::open(NEVER).await;
    let id = house.connect("a", None).await.connection.connection_id;
    house.connect("b", None).await;
    assert_eq!(house.beat("b", Some(&id)).await.unwrap_err().code, ErrorCode::ConnectionNotFound);
}

#[actix::test]
async fn an_agent_that_reports_in_without_a_connection_is_offline_when_it_stops() {
    let house = House::open(SHORT).await;
    house.store.create_agent(NewAgent::manual("a")).await.unwrap();
    let heard = house.beat("a", None).await.unwrap();
    assert_eq!((heard.connection, heard.agent.status), (None, AgentStatus::Online));
    house.expect(&[ONLINE, OFFLINE]).await;
}

#[actix::test]
async fn who_was_connected_before_a_restart_has_a_whole_deadline_again_and_not_more() {
    let house = House::open(NEVER).await;
    house.connect("tool", None).await;
    house.store.create_agent(NewAgent::manual("loose")).await.unwrap();
    house.beat("loose", None).await.unwrap();
    let by_hand = NewAgent { status: AgentStatus::Busy, ..NewAgent::manual("by-hand") };
    house.agents.create(by_hand).await.unwrap();
    house.expect(&[CREATED, ONLINE, ONLINE, ("agent.status", "busy")]).await;
    let _restarted = start(&house.store, &house.agents, &house.publisher, SHORT).await;
    let mut told = vec![house.event().await, house.event().await, house.event().await];
    told.sort();
    let expected = [OFFLINE, OFFLINE, SILENT].map(|(kind, word)| (kind.to_owned(), word.to_owned()));
    assert_eq!(told, expected);
    assert_eq!(
        house.status("by-hand").await,
        AgentStatus::Busy,
        "what a person said of an agent that never reported in stays"
    );
}

#[actix::test]
async fn with_an_agent_its_connections_go() {
    let house = House::open(NEVER).await;
    let id = house.connect("a", None).await.connection.connection_id;
    house.connect("other", None).await;
    let deleted = house.direct.send(DeleteAgent(AgentKey::Name("a".to_owned()))).await.unwrap().unwrap();
    assert_eq!(deleted.name, "a");
    house.expect(&[CREATED, ONLINE, CREATED, ONLINE, OFFLINE, ("connection.disconnected", "agent_deleted")]).await;
    assert_eq!(house.close(&id).await.unwrap_err().code, ErrorCode::ConnectionNotFound);
    assert_eq!(house.status("other").await, AgentStatus::Online);
    let again = house.direct.send(DeleteAgent(AgentKey::Name("a".to_owned()))).await.unwrap().unwrap_err();
    assert_eq!(again.code, ErrorCode::AgentNotFound);
}

#[actix::test]
async fn a_deadline_that_is_out_of_date_costs_a_look_and_no_connection() {
    let house = House::open(NEVER).await;
    let connection = house.connect("a", None).await.connection;
    let work = Work {
        store: house.store.clone(),
        agents: house.agents.clone(),
        events: house.publisher.clone(),
        clock: Clock::system(),
    };
    let late = |last_heard_s: i64| Overdue { who: Watched::Connection(connection.connection_id.clone()), last_heard_s };
    let alive = work.decide(late(connection.last_heartbeat - 1)).await;
    assert!(matches!(alive, Fate::Alive(_)), "it was heard since");
    assert_eq!(house.status("a").await, AgentStatus::Online);
    assert!(matches!(work.decide(late(connection.last_heartbeat)).await, Fate::Ended));
    assert_eq!(house.status("a").await, AgentStatus::Offline);
    assert!(matches!(work.decide(late(connection.last_heartbeat)).await, Fate::Ended), "once is enough");
    house.expect(&[CREATED, ONLINE, SILENT, OFFLINE]).await;
}
