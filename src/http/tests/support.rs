//! What the tests share: a front over a scripted registry, and requests against it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, call_service, init_service, read_body, try_call_service};
use gatewarden_actors::agent_book::AgentBook;
use gatewarden_actors::agent_sync::{AgentSyncActor, AgentSyncParts};
use gatewarden_actors::audit_trail::AuditTrail;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::cluster::RightToAct;
use gatewarden_actors::dialing::Held;
use gatewarden_actors::direct::{DirectConnectionsActor, DirectParts};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::event_hub::{EventHubActor, EventPublisher};
use gatewarden_actors::gateway_record::{GatewayRecord, GatewaySpec};
use gatewarden_actors::gateway_report::{GatewayReport, Phase, ProbeOutcome, Problem, Status};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::log_relay::{LogRelayActor, LogRelayParts};
use gatewarden_actors::log_watch::LogSubscription;
use gatewarden_actors::machines::routing::RouteRequest;
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::processes::{ProcessParts, ProcessesActor};
use gatewarden_actors::registry::SpawnWork;
use gatewarden_actors::registry::messages::{
    CallGateway, ControlSessionAt, ProbeGateways, ReconnectGateway, WatchGatewayLogs,
};
use gatewarden_actors::registry::records::{
    AbandonGateway, ConfirmGateway, CreateGateway, DeleteGateway, ReserveGateway, Trial, TryGateway, UpdateGateway,
};
use gatewarden_actors::registry::roster::{ActingPrimary, GatewayView, RosterWriter};
use gatewarden_actors::settings::RestartSettings;
use gatewarden_actors::spawn::{SpawnRecord, Work};
use gatewarden_actors::store::StoreOptions;
use gatewarden_actors::store::batching::{AuditLogWriter, HealthLogWriter};
use gatewarden_actors::store::handle::StoreHandle;
use gatewarden_actors::store::key_file::SealingKey;
use gatewarden_actors::store::records::{DeleteOutcome, Role};
use gatewarden_protocol::Secret;
use serde_json::Value;

use crate::http::context::{App, AppState, InstallationIdentity, Node, Readiness};
use crate::http::keyring::Keyring;
use crate::http::mutations::Mutations;
use crate::http::senders::{BoundedSender, DirectSender, RegistrySender};
use crate::http::settings::{HttpSettings, RateLimits};

/// The admin key of the configuration.
pub(super) const CONFIGURED: &str = "configured-admin-key-0123456789";

/// A call that was passed on: gateway, method, parameters.
pub(super) type Called = (Option<i64>, String, Value);

/// A control that was passed on: gateway, session, action.
pub(super) type Controlled = (i64, String, &'static str);

/// What the scripted registry does with a call that is passed on to a gateway.
#[derive(Clone, Default)]
pub(super) struct Script {
    replies: Arc<Mutex<HashMap<String, Result<Value, Failure>>>>,
    calls: Arc<Mutex<Vec<Called>>>,
    /// Where work was wished to go.
    pub(super) spawns: Arc<Mutex<Vec<RouteRequest>>>,
    /// The agents that these name to their gateways.
    pub(super) agents: Arc<Mutex<Vec<Option<String>>>>,
    controls: Arc<Mutex<Vec<Controlled>>>,
    probes: Arc<Mutex<HashMap<i64, ProbeOutcome>>>,
    silent: Arc<Mutex<bool>>,
    /// Gateways whose logs were to be followed.
    pub(super) watched: Arc<Mutex<Vec<i64>>>,
}

impl Script {
    /// The reply to a method.
    pub(super) fn reply(&self, method: &str, reply: Result<Value, Failure>) {
        self.replies.lock().unwrap().insert(method.to_owned(), reply);
    }

    /// What was passed on.
    pub(super) fn calls(&self) -> Vec<Called> {
        self.calls.lock().unwrap().clone()
    }

    /// The controls that were passed on.
    pub(super) fn controls(&self) -> Vec<Controlled> {
        self.controls.lock().unwrap().clone()
    }

    /// What a probe of this gateway finds.
    pub(super) fn probe(&self, id: i64, outcome: ProbeOutcome) {
        self.probes.lock().unwrap().insert(id, outcome);
    }

    /// From now on nothing is answered.
    pub(super) fn fall_silent(&self) {
        *self.silent.lock().unwrap() = true;
    }
}

struct ScriptedRegistry {
    roster: Arc<RosterWriter>,
    store: StoreHandle,
    script: Script,
    reports: HashMap<GatewayId, GatewayReport>,
}

impl Actor for ScriptedRegistry {
    type Context = Context<Self>;
}

impl ScriptedRegistry {
    fn publish(&mut self, record: GatewayRecord) -> Arc<GatewayView> {
        let report = self.reports.entry(record.id).or_insert_with(|| GatewayReport::unknown(1_000)).clone();
        self.roster.publish(GatewayView::new(Arc::new(record), report, false))
    }

    fn answer<T: 'static>(&self, outcome: Result<T, Failure>) -> ResponseFuture<Result<T, Failure>> {
        let silent = *self.script.silent.lock().unwrap();
        Box::pin(async move {
            if silent {
                std::future::pending::<()>().await;
            }
            outcome
        })
    }
}

impl Handler<CreateGateway> for ScriptedRegistry {
    type Result = ResponseActFuture<Self, Result<(Arc<GatewayView>, usize), Failure>>;

    fn handle(&mut self, message: CreateGateway, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        let write = async move { store.create_gateway(message.0).await };
        Box::pin(write.into_actor(self).map(|created, registry, _| {
            let created = created?;
            if let Some(demoted) = created.demoted {
                registry.publish(demoted);
            }
            Ok((registry.publish(created.record), created.agents_registered))
        }))
    }
}

impl Handler<UpdateGateway> for ScriptedRegistry {
    type Result = ResponseActFuture<Self, Result<Arc<GatewayView>, Failure>>;

    fn handle(&mut self, message: UpdateGateway, _: &mut Self::Context) -> Self::Result {
        let (store, id) = (self.store.clone(), message.id);
        let write = async move { store.update_gateway_from(id, message.change, message.from).await };
        Box::pin(write.into_actor(self).map(move |updated, registry, _| {
            let view = updated?.into_iter().fold(None, |_, record| Some(registry.publish(record)));
            view.ok_or_else(|| Failure::gateway_not_found(id))
        }))
    }
}

impl Handler<ConfirmGateway> for ScriptedRegistry {
    type Result = ResponseActFuture<Self, Result<Arc<GatewayView>, Failure>>;

    fn handle(&mut self, message: ConfirmGateway, _: &mut Self::Context) -> Self::Result {
        let (store, id) = (self.store.clone(), message.id);
        let write = async move { store.record_main_agent(id, message.main).await };
        Box::pin(write.into_actor(self).map(move |recorded, registry, _| {
            let recorded = recorded?.ok_or_else(|| Failure::gateway_not_found(id))?;
            Ok(registry.publish(recorded.record))
        }))
    }
}

impl Handler<DeleteGateway> for ScriptedRegistry {
    type Result = ResponseActFuture<Self, Result<bool, Failure>>;

    fn handle(&mut self, message: DeleteGateway, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        let write = async move { store.delete_gateway(message.0).await };
        Box::pin(write.into_actor(self).map(move |outcome, registry, _| {
            match outcome? {
                DeleteOutcome::NotFound => Ok(false),
                DeleteOutcome::IsPrimary => {
                    Err(Failure::new(ErrorCode::PrimaryUndeletable, "Cannot delete the primary gateway")
                        .with_help("Assign another gateway as primary first."))
                }
                DeleteOutcome::Deleted => {
                    registry.roster.remove(message.0);
                    Ok(true)
                }
            }
        }))
    }
}

impl Handler<ReconnectGateway> for ScriptedRegistry {
    type Result = ResponseFuture<Result<Arc<GatewayView>, Failure>>;

    fn handle(&mut self, message: ReconnectGateway, _: &mut Self::Context) -> Self::Result {
        let view = self.roster.reader().get(message.0);
        self.answer(view.ok_or_else(|| Failure::gateway_not_found(message.0)))
    }
}

impl Handler<ProbeGateways> for ScriptedRegistry {
    type Result = ResponseFuture<Result<Vec<(GatewayId, ProbeOutcome)>, Failure>>;

    fn handle(&mut self, message: ProbeGateways, _: &mut Self::Context) -> Self::Result {
        let probes = self.script.probes.lock().unwrap().clone();
        let ids: Vec<GatewayId> = match message.only {
            Some(id) => vec![id],
            None => self.roster.reader().list().iter().map(|view| view.record.id).collect(),
        };
        let outcomes =
            ids.into_iter().map(|id| (id, probes.get(&id.0).cloned().unwrap_or_else(|| online(4.4)))).collect();
        self.answer(Ok(outcomes))
    }
}

impl Handler<CallGateway> for ScriptedRegistry {
    type Result = ResponseFuture<Result<(GatewayId, Held<Value>), Failure>>;

    fn handle(&mut self, message: CallGateway, _: &mut Self::Context) -> Self::Result {
        let target = message.target.map(|id| id.0);
        self.script.calls.lock().unwrap().push((target, message.method.clone(), message.params));
        let reply = self.script.replies.lock().unwrap().get(&message.method).cloned();
        let reply = reply.unwrap_or_else(|| Ok(Value::Object(serde_json::Map::new())));
        self.answer(reply.map(|payload| (message.target.unwrap_or(GatewayId(1)), payload.into())))
    }
}

/// Records and accepts: the registry's own tests cover the rest.
impl Handler<SpawnWork> for ScriptedRegistry {
    type Result = ResponseFuture<Result<SpawnRecord, Failure>>;

    fn handle(&mut self, message: SpawnWork, _: &mut Self::Context) -> Self::Result {
        self.script.spawns.lock().unwrap().push(message.request.route.clone());
        if let Work::Task { agent, .. } = &message.request.work {
            self.script.agents.lock().unwrap().push(agent.clone());
        }
        let store = self.store.clone();
        Box::pin(async move {
            let new_id = message.request.record.spawn_id.clone();
            let recorded = store.record_spawn(message.request.record, message.text, message.idempotency_key).await?;
            let mismatch = || Failure::new(ErrorCode::IdempotencyMismatch, "another request");
            let mut record = recorded.ok_or_else(mismatch)?;
            record.result = (record.spawn_id == new_id).then(|| serde_json::json!({"status": "accepted"}));
            Ok(record)
        })
    }
}

impl Handler<ControlSessionAt> for ScriptedRegistry {
    type Result = ResponseFuture<Result<Held<Value>, Failure>>;

    fn handle(&mut self, message: ControlSessionAt, _: &mut Self::Context) -> Self::Result {
        let action = message.action.as_str();
        self.script.controls.lock().unwrap().push((message.gateway.0, message.session_key, action));
        let reply = self.script.replies.lock().unwrap().get(action).cloned();
        self.answer(reply.unwrap_or_else(|| Ok(Value::Object(serde_json::Map::new()))).map(Held::from))
    }
}

/// Nothing is dialled here: trials are tested with real registries and gateways.
macro_rules! refuses {
    ($($message:ty => $answer:ty),*) => {
        $(impl Handler<$message> for ScriptedRegistry {
            type Result = Result<$answer, Failure>;

            fn handle(&mut self, _: $message, _: &mut Self::Context) -> Self::Result {
                Err(Failure::unavailable("scripted registry"))
            }
        })*
    };
}

refuses!(ReserveGateway => Trial, TryGateway => Trial, AbandonGateway => ());

/// Followers need a gateway's actor: the daemon's own tests have one.
impl Handler<WatchGatewayLogs> for ScriptedRegistry {
    type Result = ResponseFuture<Result<LogSubscription, Failure>>;

    fn handle(&mut self, message: WatchGatewayLogs, _: &mut Self::Context) -> Self::Result {
        self.script.watched.lock().unwrap().push(message.gateway.0);
        let missing = Failure::new(
            ErrorCode::NotSupportedByGateway,
            "Gateway \"prod\" (2026.9.6) does not offer logs.tail".to_owned(),
        );
        self.answer(Err(missing))
    }
}

/// A probe that found a gateway in good health.
pub(super) fn online(latency_ms: f64) -> ProbeOutcome {
    let report = GatewayReport {
        status: Status::Online,
        phase: Phase::Ready,
        version: Some("2026.9.6".to_owned()),
        protocol: Some(4),
        uptime_ms: Some(61_500),
        sessions_count: Some(3),
        agents_count: Some(2),
        agent_names: ["main".to_owned(), "researcher".to_owned()].into(),
        ..GatewayReport::unknown(5_000)
    };
    ProbeOutcome { probed_at_ms: 5_000, report, latency_ms: Some(latency_ms), failed_step: None }
}

/// A probe that found a gateway that refuses our token.
pub(super) fn refused() -> ProbeOutcome {
    let problem = Problem {
        code: "token_mismatch".to_owned(),
        message: "The gateway says that the token is wrong".to_owned(),
        help: "Set the gateway's token.".to_owned(),
    };
    let report = GatewayReport {
        status: Status::Degraded,
        phase: Phase::Blocked,
        last_error: Some(problem),
        ..GatewayReport::unknown(5_000)
    };
    let failed_step = Some(("authenticate".to_owned(), "unauthorized: gateway token mismatch".to_owned()));
    ProbeOutcome { probed_at_ms: 5_000, report, latency_ms: None, failed_step }
}

/// A front with everything around it.
pub(super) struct Harness {
    pub(super) app: App,
    pub(super) roster: Arc<RosterWriter>,
    pub(super) script: Script,
    pub(super) events: EventPublisher,
    pub(super) audit: AuditTrail,
    pub(super) readiness: Readiness,
    pub(super) right: RightToAct,
    pub(super) store: StoreHandle,
    keys: HashMap<Role, Secret>,
    _directory: tempfile::TempDir,
}

/// Settings for tests: no limit on requests unless a test sets one.
pub(super) fn settings() -> HttpSettings {
    HttpSettings {
        rate_limits: RateLimits { enabled: false, ..RateLimits::default() },
        request_deadline: Duration::from_secs(30),
        ..HttpSettings::default()
    }
}

impl Harness {
    /// Settings of the tests, one gateway with a token.
    pub(super) async fn start() -> Self {
        Self::with(settings()).await
    }

    /// Other settings.
    pub(super) async fn with(settings: HttpSettings) -> Self {
        Self::with_store(settings, |_| {}).await
    }

    /// Other settings, and another store.
    pub(super) async fn with_store(settings: HttpSettings, adjust: impl FnOnce(&mut StoreOptions)) -> Self {
        // In memory where that can be: deadlines of milliseconds are not about the disk.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let clock = Clock::system();
        let metrics = Arc::new(Metrics::new());
        let key = SealingKey::load_or_create(None, directory.path()).unwrap();
        let mut options = StoreOptions::at(directory.path().join("gatewarden.db"));
        adjust(&mut options);
        let store = StoreHandle::open(options, key, clock.clone(), metrics.clone()).unwrap();
        let keys = Keyring::open(&store, Some(&Secret::new(CONFIGURED)), "configuration").await.unwrap();
        let mut made = HashMap::new();
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            let (_, text) = keys.create(&store, role.as_str(), role, None).await.unwrap();
            made.insert(role, text);
        }
        let script = Script::default();
        let roster = Arc::new(RosterWriter::default());
        let reader = roster.reader();
        let mut registry = ScriptedRegistry {
            roster: roster.clone(),
            store: store.clone(),
            script: script.clone(),
            reports: HashMap::new(),
        };
        let first = store.create_gateway(first_gateway()).await.unwrap().record;
        let (id, name) = (first.id, first.name.clone());
        registry.reports.insert(id, online(4.4).report);
        registry.publish(first);
        registry.roster.publish_acting(
            Some(ActingPrimary { id, name, reason: "It is the configured primary".to_owned(), until_ms: None }),
            None,
        );
        let registry = registry.start();
        let (event_hub, events) = EventHubActor::start(2_730, clock.clone(), metrics.clone());
        let audit = AuditTrail::new(AuditLogWriter::start(store.clone()), events.clone());
        let (readiness, right) = (Readiness::default(), RightToAct::always());
        readiness.set_ready();
        let agents = AgentBook::new(store.clone(), events.clone());
        let agent_sync = AgentSyncActor::start(AgentSyncParts {
            registry: registry.clone().recipient(),
            roster: reader.clone(),
            store: store.clone(),
            agents: agents.clone(),
            interval: None,
            request_timeout: Duration::from_secs(5),
            clock: clock.clone(),
        });
        let log_relay = LogRelayActor::start(LogRelayParts {
            registry: registry.clone().recipient(),
            roster: reader.clone(),
            events: events.clone(),
            timeout: Duration::from_secs(5),
            clock: clock.clone(),
        });
        let heartbeat_timeout = Duration::from_secs(60);
        let direct = DirectConnectionsActor::start(DirectParts {
            store: store.clone(),
            agents: agents.clone(),
            events: events.clone(),
            heartbeat_timeout,
            clock: clock.clone(),
        })
        .await
        .unwrap();
        let processes = ProcessesActor::start(ProcessParts {
            settings: Arc::default(),
            restarts: RestartSettings::default(),
            store: store.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
        })
        .await
        .unwrap();
        let state = AppState {
            roster: reader,
            registry: RegistrySender::new(&registry),
            log_relay: BoundedSender::new("relay of log entries", log_relay.recipient(), 4),
            event_hub,
            events: events.clone(),
            agents,
            agent_sync: BoundedSender::new("sync of agents", agent_sync.recipient(), 4),
            audit: audit.clone(),
            processes: BoundedSender::new("processes", processes.recipient(), 4),
            process_settings: Arc::default(),
            direct: DirectSender::new(&direct, heartbeat_timeout),
            store: store.clone(),
            health_log: HealthLogWriter::start(store.clone()),
            keys,
            metrics,
            identity: InstallationIdentity { device_id: "ab".repeat(32), public_key: "PUBLIC".to_owned() },
            clock,
            readiness: readiness.clone(),
            node: Node {
                mesh: None,
                name: "host-a".to_owned(),
                url: "http://127.0.0.1:3000".to_owned(),
                member: None,
                right: right.clone(),
            },
            mutations: Mutations::default(),
        };
        let app = crate::http::context(settings, state);
        Self { app, roster, script, events, audit, readiness, right, store, keys: made, _directory: directory }
    }

    /// The database's file.
    pub(super) fn database(&self) -> std::path::PathBuf {
        self._directory.path().join("gatewarden.db")
    }

    /// Waits until every change that began has ended.
    pub(super) async fn settled(&self) {
        tokio::time::timeout(Duration::from_secs(60), async {
            while self.app.mutations.running() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("every change ends");
    }

    /// The key of a role.
    pub(super) fn key(&self, role: Role) -> String {
        self.keys[&role].expose().to_owned()
    }

    /// A request with the key of a role.
    pub(super) fn ask(&self, role: Role, method: &str, path: &str) -> Ask {
        Ask::new(method, path).header("x-api-key", &self.key(role))
    }

    /// A request by an admin.
    pub(super) fn admin(&self, method: &str, path: &str) -> Ask {
        self.ask(Role::Admin, method, path)
    }

    /// Sends it and leaves the body to be read piece by piece.
    pub(super) async fn open(&self, ask: Ask) -> Stream {
        self.exchange(ask, futures_util::stream::empty()).await
    }

    /// The same with a body that is sent piece by piece.
    pub(super) async fn exchange(
        &self,
        ask: Ask,
        sent: impl futures_util::Stream<Item = Result<bytes::Bytes, PayloadError>> + 'static,
    ) -> Stream {
        let service = init_service(crate::http::app(self.app.clone())).await;
        let (request, _) = ask.0.to_request().replace_payload(Payload::Stream { payload: Box::pin(sent) as _ });
        let response = call_service(&service, request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        Stream { status, headers, body: Box::pin(response.into_body().boxed()) }
    }

    /// Sends it.
    pub(super) async fn send(&self, ask: Ask) -> Answer {
        let service = init_service(crate::http::app(self.app.clone())).await;
        let headers_of = |headers: &HeaderMap| {
            let texts = headers.iter().map(|(name, value)| (name, value.to_str().unwrap_or_default()));
            texts.map(|(name, text)| (name.as_str().to_owned(), text.to_owned())).collect::<Vec<_>>()
        };
        let response = match try_call_service(&service, ask.0.to_request()).await {
            Ok(response) => response,
            // As the server answers it.
            Err(error) => {
                let response = error.error_response();
                let (status, headers) = (response.status(), headers_of(response.headers()));
                let body = actix_web::body::to_bytes(response.into_body()).await.unwrap().to_vec();
                return Answer { status, headers, body };
            }
        };
        let (status, headers) = (response.status(), headers_of(response.headers()));
        // A stream has no end: its first piece stands for it.
        let body = if response.response().body().size() == BodySize::Stream {
            let mut body = pin!(response.into_body());
            poll_fn(|cx| body.as_mut().poll_next(cx)).await.unwrap().map_err(Into::into).unwrap().to_vec()
        } else {
            read_body(response).await.to_vec()
        };
        Answer { status, headers, body }
    }
}

fn first_gateway() -> GatewaySpec {
    GatewaySpec {
        token: Some(Secret::new("tok-18789")),
        is_primary: true,
        ..GatewaySpec::at("prod", "127.0.0.1", 18789)
    }
}

/// A request being put together.
pub(super) struct Ask(TestRequest);

impl Ask {
    /// Without a key, from this machine.
    pub(super) fn new(method: &str, path: &str) -> Self {
        let peer: SocketAddr = "127.0.0.1:50000".parse().unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        Self(TestRequest::default().method(method).uri(path).peer_addr(peer).insert_header(("host", "127.0.0.1:3000")))
    }

    pub(super) fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.insert_header((name, value)))
    }

    pub(super) fn peer(self, peer: &str) -> Self {
        Self(self.0.peer_addr(peer.parse().unwrap()))
    }

    pub(super) fn json(self, body: Value) -> Self {
        self.header("content-type", "application/json").bytes(body.to_string().as_bytes())
    }

    pub(super) fn bytes(self, body: &[u8]) -> Self {
        Self(self.0.set_payload(body.to_vec()))
    }
}

/// An answer whose body is read piece by piece.
pub(super) struct Stream {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Pin<Box<BoxBody>>,
}

impl Stream {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<String> {
        Some(String::from_utf8(self.next_bytes().await?).unwrap())
    }

    /// The next piece as bytes.
    pub(super) async fn next_bytes(&mut self) -> Option<Vec<u8>> {
        Some(poll_fn(|cx| self.body.as_mut().poll_next(cx)).await?.unwrap().to_vec())
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The code of an error, after a look at its shape: a sentence, a code, nothing unknown, no Rust words.
    pub(super) fn error_code(&self) -> String {
        let body = self.json();
        let map = body.as_object().unwrap();
        for name in map.keys() {
            assert!(["error", "code", "details", "help", "detail"].contains(&name.as_str()), "{body}");
        }
        assert!(map.get("detail").is_none_or(|detail| *detail == map["error"]), "{body}");
        let sentence = map["error"].as_str().unwrap();
        assert!(sentence.len() > 10, "{body}");
        for word in ["serde", "Value", "i64", "u16", "::", "Some(", "None", "panicked", "invalid type"] {
            assert!(!sentence.contains(word), "{sentence}");
        }
        let code = map["code"].as_str().unwrap().to_owned();
        assert!(ErrorCode::ALL.iter().any(|known| known.as_str() == code), "{code}");
        code
    }
}
