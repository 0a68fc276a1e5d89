//! The sync with a registry that says what the test tells it to, and a real store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::agent_book::AgentKey;
use crate::event::{EventFilter, EventKind};
use crate::event_hub::EventHubActor;
use crate::event_hub::messages::Subscribe;
use crate::event_hub::subscriber::{Delivery, Subscription};
use crate::gateway_record::GatewaySpec;
use crate::gateway_report::{GatewayReport, Phase};
use crate::machines::connection::AgentNews;
use crate::machines::event_places::Holder;
use crate::metrics::Metrics;
use crate::registry::roster::{ActingPrimary, GatewayView, RosterWriter};
use crate::store::StoreOptions;
use crate::store::key_file::SealingKey;
use crate::store::records::{
    AgentChange, AgentFilter, AgentRecord, AgentSource, AgentStatus, DeleteOutcome, NewAgent, SyncStats,
};

type Replies = Arc<Mutex<HashMap<(GatewayId, &'static str), Result<Value, Failure>>>>;

struct ScriptedRegistry(Replies);

impl Actor for ScriptedRegistry {
    type Context = Context<Self>;
}

impl Handler<CallGateway> for ScriptedRegistry {
    type Result = Result<(GatewayId, crate::dialing::Held<Value>), Failure>;

    fn handle(&mut self, message: CallGateway, _: &mut Self::Context) -> Self::Result {
        let id = message.target.expect("the sync names its gateway");
        let replies = self.0.lock().unwrap();
        let reply = replies.iter().find(|((of, method), _)| *of == id && *method == message.method);
        reply
            .map_or_else(|| Err(lacks(&message.method)), |(_, reply)| reply.clone())
            .map(|payload| (id, payload.into()))
    }
}

fn lacks(method: &str) -> Failure {
    Failure::new(ErrorCode::NotSupportedByGateway, format!("the gateway does not offer {method}"))
}

struct House {
    replies: Replies,
    roster: RosterWriter,
    store: StoreHandle,
    book: AgentBook,
    sync: Addr<AgentSyncActor>,
    events: Subscription,
    _dir: tempfile::TempDir,
}

impl House {
    async fn open(interval: Option<Duration>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let key = SealingKey::load_or_create(None, dir.path()).unwrap();
        let options = StoreOptions::at(dir.path().join("gatewarden.db"));
        let store = StoreHandle::open(options, key, clock.clone(), Arc::new(Metrics::new())).unwrap();
        let (hub, publisher) = EventHubActor::start(100, clock.clone(), Arc::default());
        let filter = EventFilter::new(&[EventKind::AgentStatus], false);
        let events =
            hub.send(Subscribe { holder: Holder::ADMIN, filter, last_seen: None, queue: 100 }).await.unwrap().unwrap();
        let (roster, replies) = (RosterWriter::default(), Replies::default());
        let book = AgentBook::new(store.clone(), publisher);
        let sync = AgentSyncActor::start(AgentSyncParts {
            registry: ScriptedRegistry(replies.clone()).start().recipient(),
            roster: roster.reader(),
            store: store.clone(),
            agents: book.clone(),
            interval,
            request_timeout: Duration::from_secs(5),
            clock,
        });
        Self { replies, roster, store, book, sync, events, _dir: dir }
    }

    /// A usable gateway with these replies.
    async fn gateway(&self, name: &str, replies: &[(&'static str, Result<Value, Failure>)]) -> GatewayId {
        let new = GatewaySpec::at(name, "127.0.0.1", 1);
        let record = self.store.create_gateway(new).await.unwrap().record;
        let id = record.id;
        for (method, reply) in replies {
            self.replies.lock().unwrap().insert((id, *method), reply.clone());
        }
        let mut report = GatewayReport::unknown(1);
        report.phase = Phase::Ready;
        self.roster.publish(GatewayView::new(Arc::new(record), report, false));
        id
    }

    async fn sync(&self, target: Option<GatewayId>) -> Result<SyncedGateway, Failure> {
        self.sync.send(SyncAgents { target, timeout: Duration::from_secs(5) }).await.unwrap()
    }

    async fn agent(&self, name: &str) -> Option<AgentRecord> {
        self.store.find_agent_by_name(name.to_owned()).await.unwrap()
    }

    async fn event(&mut self) -> Value {
        match self.events.next().await.unwrap() {
            Delivery::Event(event) => serde_json::from_slice::<Value>(&event.json).unwrap()["data"].clone(),
            other => panic!("{other:?}"),
        }
    }
}

const A_DAY: Duration = Duration::from_secs(86_400);

fn list(ids: &[&str]) -> Result<Value, Failure> {
    let rows: Vec<Value> = ids.iter().map(|id| json!({"id": id, "model": "m1", "workspace": "/srv/w"})).collect();
    Ok(json!({"defaultId": ids[0], "agents": rows}))
}

fn stats(synced: usize, created: usize, updated: usize) -> SyncStats {
    SyncStats { synced, created, updated, skipped: 0 }
}

#[actix::test]
async fn a_sync_creates_the_unknown_updates_the_changed_and_says_who_is_there() {
    let mut house = House::open(None).await;
    let id = house.gateway("prod", &[("agents.list", list(&["main", "researcher"]))]).await;
    let synced = house.sync(Some(id)).await.unwrap();
    assert_eq!((synced.id, synced.name.as_str(), synced.stats), (id, "prod", stats(2, 2, 0)));
    let agent = house.agent("main").await.unwrap();
    assert_eq!((agent.source, agent.gateway_id, agent.status), (AgentSource::Sync, Some(id), AgentStatus::Online));
    assert_eq!(agent.config, json!({"id": "main", "model": "m1", "workspace": "/srv/w", "default": true}));
    assert!(agent.last_seen.is_some());
    for name in ["main", "researcher"] {
        let event = house.event().await;
        assert_eq!(
            (&event["agent"], &event["from"], &event["to"]),
            (&json!(name), &json!("offline"), &json!("online"))
        );
    }
    assert_eq!(house.sync(Some(id)).await.unwrap().stats, stats(2, 0, 0));
    house.replies.lock().unwrap().insert((id, "agents.list"), list(&["main", "writer"]));
    assert_eq!(house.sync(Some(id)).await.unwrap().stats, stats(2, 1, 0), "researcher is left alone");
    assert_eq!(house.event().await["agent"], "writer");
    assert!(house.agent("researcher").await.is_some());
    let renamed = json!({"agents": [{"id": "main", "model": "m2"}]});
    house.replies.lock().unwrap().insert((id, "agents.list"), Ok(renamed));
    assert_eq!(house.sync(Some(id)).await.unwrap().stats, stats(1, 0, 1));
}

#[actix::test]
async fn without_agents_list_the_configuration_is_read_in_either_form() {
    let house = House::open(None).await;
    for (name, config, agent) in [
        ("three", json!({"config": {"agents": {"list": [{"id": "a", "name": "A"}]}}}), "a"),
        ("four", json!({"parsed": {"agents": {"entries": {"b": {"model": {"primary": "m"}}}}}}), "b"),
        ("http", json!({"agents": {"list": [{"id": "c"}]}}), "c"),
    ] {
        let id = house.gateway(name, &[("config.get", Ok(config))]).await;
        assert_eq!(house.sync(Some(id)).await.unwrap().stats, stats(1, 1, 0), "{name}");
        assert_eq!(house.agent(agent).await.unwrap().gateway_id, Some(id));
    }
}

#[actix::test]
async fn a_gateway_that_fails_changes_nothing() {
    let house = House::open(None).await;
    let gone = Failure::new(ErrorCode::GatewayUnavailable, "The connection is gone");
    for (name, replies, code) in [
        ("gone", vec![("agents.list", Err(gone.clone())), ("config.get", list(&["a"]))], ErrorCode::GatewayUnavailable),
        ("half", vec![("config.get", Err(gone))], ErrorCode::GatewayUnavailable),
        ("old", vec![], ErrorCode::NotSupportedByGateway),
        ("odd", vec![("agents.list", Ok(json!("hello"))), ("config.get", Ok(json!([1])))], ErrorCode::GatewayRefused),
    ] {
        let id = house.gateway(name, &replies).await;
        let failure = house.sync(Some(id)).await.unwrap_err();
        assert_eq!(failure.code, code, "{name}: {failure}");
        assert!(failure.help.is_some() || name == "gone" || name == "half", "{failure:?}");
    }
    assert_eq!(house.store.list_agents_after(AgentFilter::default(), 0, 10).await.unwrap().1, 0);
    let unknown = house.sync(Some(GatewayId(99))).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::GatewayNotFound);
}

#[actix::test]
async fn without_a_named_gateway_the_acting_primary_is_asked() {
    let house = House::open(None).await;
    assert_eq!(house.sync(None).await.unwrap_err().code, ErrorCode::NoUsableGateway);
    house.gateway("a", &[("agents.list", list(&["of-a"]))]).await;
    let b = house.gateway("b", &[("agents.list", list(&["of-b"]))]).await;
    house.roster.publish_acting(
        Some(ActingPrimary { id: b, name: "b".to_owned(), reason: "elected".to_owned(), until_ms: None }),
        None,
    );
    assert_eq!(house.sync(None).await.unwrap().name, "b");
    assert!(house.agent("of-b").await.is_some() && house.agent("of-a").await.is_none());
}

#[actix::test]
async fn by_itself_it_reads_every_usable_gateway_again_and_again_and_a_failing_one_stops_nobody() {
    let house = House::open(Some(Duration::from_millis(80))).await;
    let refusal = Failure::new(ErrorCode::GatewayRefused, "no");
    house.gateway("bad", &[("agents.list", Err(refusal))]).await;
    let id = house.gateway("good", &[("agents.list", list(&["first"]))]).await;
    let patience = async {
        while house.agent("first").await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        house.replies.lock().unwrap().insert((id, "agents.list"), list(&["second"]));
        while house.agent("second").await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), patience).await.unwrap();
}

#[actix::test]
async fn a_gateway_means_by_an_id_the_agent_that_has_another_name_here() {
    let house = House::open(None).await;
    let id = house.gateway("prod", &[("agents.list", list(&["sample"]))]).await;
    let other = house.gateway("other", &[("agents.list", list(&["sample"]))]).await;
    house.sync(Some(other)).await.unwrap();
    let config = json!({"id": "sample"});
    let renamed =
        NewAgent { gateway_id: Some(id), config, source: AgentSource::Gateway, ..NewAgent::manual("sample-2") };
    house.store.create_agent(renamed).await.unwrap();
    house.sync(Some(id)).await.unwrap();
    assert_eq!(house.agent("sample-2").await.unwrap().status, AgentStatus::Online);
    let news = AgentNews { name: "sample".to_owned(), status: "busy".to_owned(), last_seen: None, last_activity: None };
    house.book.note_said(id, vec![news]).await.unwrap();
    assert_eq!(house.agent("sample-2").await.unwrap().status, AgentStatus::Busy);
    assert_eq!(house.agent("sample").await.unwrap().status, AgentStatus::Online);
}

#[actix::test]
async fn while_its_gateway_is_lost_an_agent_is_offline_whatever_it_is_said_to_be() {
    let house = House::open(None).await;
    let id = house.gateway("prod", &[]).await;
    house.book.note_lost(id).await.unwrap();
    let new = NewAgent { status: AgentStatus::Online, gateway_id: Some(id), ..NewAgent::manual("a") };
    assert_eq!(house.book.create(new).await.unwrap().status, AgentStatus::Offline);
    let busy = AgentChange { status: Some(AgentStatus::Busy), ..AgentChange::default() };
    let key = AgentKey::Name("a".to_owned());
    assert_eq!(house.book.change(&key, busy.clone()).await.unwrap().status, AgentStatus::Offline);
    house.book.note_present(id, &[], 7).await.unwrap();
    assert_eq!(house.book.change(&key, busy).await.unwrap().status, AgentStatus::Busy);
}

#[actix::test]
async fn agents_that_end_with_their_gateway_are_told_of() {
    let mut house = House::open(None).await;
    let id = house.gateway("prod", &[]).await;
    for (name, status, is_gateway_main) in [
        ("main", AgentStatus::Online, true),
        ("worker", AgentStatus::Busy, false),
        ("away", AgentStatus::Offline, false),
    ] {
        let new = NewAgent { status, is_gateway_main, gateway_id: Some(id), ..NewAgent::manual(name) };
        house.store.create_agent(new).await.unwrap();
    }
    let store = house.store.clone();
    let deletion = async { store.delete_gateway(id).await.map(|outcome| outcome == DeleteOutcome::Deleted) };
    assert!(house.book.deleting(id, deletion).await.unwrap());
    for (name, from) in [("main", "online"), ("worker", "busy")] {
        let event = house.event().await;
        assert_eq!((&event["agent"], &event["from"], &event["to"]), (&json!(name), &json!(from), &json!("offline")));
    }
    assert_eq!(house.agent("worker").await.unwrap().status, AgentStatus::Offline);
}

#[actix::test]
async fn agents_of_a_lost_gateway_are_offline_and_those_that_it_names_are_back_with_it() {
    let mut house = House::open(Some(A_DAY)).await;
    let id = house.gateway("prod", &[]).await;
    let other = house.gateway("other", &[]).await;
    for (name, gateway, status) in [
        ("busy", id, AgentStatus::Busy),
        ("shown", id, AgentStatus::Online),
        ("unnamed", id, AgentStatus::Idle),
        ("elsewhere", other, AgentStatus::Online),
    ] {
        let config = if name == "shown" { json!({"name": "Shown One"}) } else { json!({}) };
        let new = NewAgent { status, gateway_id: Some(gateway), config, ..NewAgent::manual(name) };
        house.store.create_agent(new).await.unwrap();
    }
    house.book.note_lost(id).await.unwrap();
    for name in ["busy", "shown", "unnamed"] {
        assert_eq!(house.agent(name).await.unwrap().status, AgentStatus::Offline, "{name}");
        assert_eq!(house.event().await["agent"], name);
    }
    assert_eq!(house.agent("elsewhere").await.unwrap().status, AgentStatus::Online);
    let named = ["busy".to_owned(), "Shown One".to_owned(), "elsewhere".to_owned()];
    house.book.note_present(id, &named, 7).await.unwrap();
    for (name, status) in
        [("busy", AgentStatus::Online), ("shown", AgentStatus::Online), ("unnamed", AgentStatus::Offline)]
    {
        assert_eq!(house.agent(name).await.unwrap().status, status, "{name}");
    }
    assert_eq!(house.agent("elsewhere").await.unwrap().last_seen, None, "a gateway speaks for its own agents alone");
    let change = AgentChange { status: Some(AgentStatus::Busy), ..AgentChange::default() };
    house.book.change(&AgentKey::Name("busy".to_owned()), change).await.unwrap();
    house.book.note_present(id, &named, 8).await.unwrap();
    let agent = house.agent("busy").await.unwrap();
    assert_eq!((agent.status, agent.last_seen), (AgentStatus::Busy, Some(8)), "what it was said to be doing stays");
}
