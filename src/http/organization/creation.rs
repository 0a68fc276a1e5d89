//! The steps of a creation or a check, carried out. It goes on when the client has left: what was begun is brought to an end,
//! as every change is, and a dial that only reads in a task of its own.

use std::sync::Arc;

use actix_web::web;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::{GatewayChange, GatewayRecord, NewGateway};
use gatewarden_actors::machines::provisioning::{MinimumVersion, Named, Provisioning, Step};
use gatewarden_actors::registry::messages::Trial;
use gatewarden_actors::registry::messages::{
    AbandonGateway, CallGateway, ConfirmGateway, GatewayCommitted, ReserveGateway, TryGateway, UpdateGateway,
};
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_actors::store::records::MainAgent;
use gatewarden_protocol::GatewayAddress;
use serde_json::{Value, json};

use super::main_agent::provision_main_agent;
use crate::http::front::Front;
use crate::http::sessions::passing::deadline;

/// Creates a gateway: all of it, or nothing.
pub async fn create(
    front: web::Data<Front>,
    new: NewGateway,
    workspace_root: String,
) -> Result<GatewayCommitted, Failure> {
    let reserve = ReserveGateway { new, workspace_root };
    let trial = front.app.registry.reserve.send(reserve, front.settings.request_deadline).await?;
    let walk = Walk { front: &front, trial: &trial, main: None, committed: None };
    let walked = walk.all_or_nothing(machine(&front, &trial.record, true)).await?;
    walked.committed.ok_or_else(nothing_recorded)
}

/// Changes a gateway. Where address, credentials or trust change, the gateway is dialled and judged as it would be then, and
/// only then changed; a warning where the main agent could not be refreshed.
pub async fn change(
    front: web::Data<Front>,
    view: Arc<GatewayView>,
    change: GatewayChange,
) -> Result<(GatewayCommitted, Option<String>), Failure> {
    let record = &view.record;
    let changed = merged(record, &change);
    if !dials_differently(record, &changed) {
        let id = record.id;
        let committed = update(&front, UpdateGateway { id, change }).await?;
        return Ok(refresh_main_agent(&front, committed).await);
    }
    let trial = front.app.registry.trial.send(TryGateway(as_new(&changed)), front.settings.request_deadline).await?;
    // A gateway that was registered without a workspace root has no main agent of ours.
    let with_main_agent = changed.workspace_root.is_some();
    let known = GatewayRecord { id: trial.record.id, ..changed };
    let trial = Trial { record: Arc::new(known), ..trial };
    let walk = Walk { front: &front, trial: &trial, main: None, committed: None };
    let walked = walk.check(machine(&front, &trial.record, with_main_agent)).await;
    // The connection under trial has served.
    let ended = abandon(&front, &trial).await;
    let main = walked?.main;
    ended?;
    let committed = update(&front, UpdateGateway { id: record.id, change }).await?;
    match main {
        None => Ok((committed, None)),
        Some(main) => confirm(&front, record.id, main).await.map(|committed| (committed, None)),
    }
}

/// What a dial of a gateway that is not stored has found.
pub struct Dialled {
    /// Why it can't be worked with.
    pub failure: Option<Failure>,
    /// Its sessions, in its own words, where it told them.
    pub sessions: Option<Vec<Value>>,
    /// Its release.
    pub version: Option<String>,
}

/// Dials what is not stored.
pub async fn dial(front: web::Data<Front>, new: NewGateway) -> Result<Dialled, Failure> {
    // A read, and so nobody else's task.
    let dialled = actix_rt::spawn(async move {
        let trial = front.app.registry.trial.send(TryGateway(new), front.settings.request_deadline).await?;
        let mut machine = machine(&front, &trial.record, false);
        let walked = Walk { front: &front, trial: &trial, main: None, committed: None }.check_with(&mut machine).await;
        let sessions = match &walked {
            Ok(_) => call(&front, &trial, "sessions.list", json!({"limit": 50})).await.ok(),
            Err(_) => None,
        };
        let version = trial.reports.borrow().version.clone();
        abandon(&front, &trial).await?;
        let rows = sessions.as_ref().and_then(|reply| reply.get("sessions")).and_then(Value::as_array).cloned();
        Ok(Dialled { failure: walked.err(), sessions: rows, version })
    });
    dialled.await.unwrap_or_else(|_panicked| {
        Err(Failure::new(ErrorCode::Internal, "The request ended in a fault of the daemon")
            .with_help("The cause is in the daemon's log; please report it. What was half-made is removed."))
    })
}

fn machine(front: &Front, record: &GatewayRecord, with_main_agent: bool) -> Provisioning {
    let address = GatewayAddress::parse(&record.host, Some(record.port)).ok().map(|parsed| parsed.address);
    let named = Named {
        name: record.name.clone(),
        host: address.map_or_else(|| record.host.clone(), |address| address.host()),
        port: record.port,
        disable_device_pairing: record.disable_device_pairing,
    };
    Provisioning::new(named, MinimumVersion::new(&front.settings.gateway_min_version), with_main_agent)
}

/// One way through the steps.
struct Walk<'a> {
    front: &'a Front,
    trial: &'a Trial,
    main: Option<MainAgent>,
    committed: Option<GatewayCommitted>,
}

impl Walk<'_> {
    /// A creation: what fails is undone before it is answered.
    async fn all_or_nothing(self, mut machine: Provisioning) -> Result<Self, Failure> {
        let (front, trial) = (self.front, self.trial);
        let walked = self.walk(&mut machine, true).await;
        if walked.is_err()
            && let Err(failure) = abandon(front, trial).await
        {
            tracing::warn!(gateway.name = %trial.record.name, %failure,
                "a half-made gateway could not be removed: nobody sees it, and it goes at the next start");
        }
        walked
    }

    /// A check, which records nothing.
    async fn check(self, mut machine: Provisioning) -> Result<Self, Failure> {
        self.check_with(&mut machine).await
    }

    async fn check_with(self, machine: &mut Provisioning) -> Result<Self, Failure> {
        self.walk(machine, false).await
    }

    async fn walk(mut self, machine: &mut Provisioning, records: bool) -> Result<Self, Failure> {
        let mut reports = self.trial.reports.clone();
        let patience = tokio::time::sleep(self.front.settings.gateway_timeout);
        tokio::pin!(patience);
        let mut step = {
            let report = reports.borrow_and_update().clone();
            machine.on_report(&report)
        };
        loop {
            step = match step {
                Step::Wait => {
                    let told = tokio::select! {
                        changed = reports.changed() => changed.is_ok(),
                        () = &mut patience => false,
                    };
                    let report = reports.borrow_and_update().clone();
                    let next = if told { machine.on_report(&report) } else { machine.on_silence(&report) };
                    if !told && next == Step::Wait {
                        return Err(nothing_recorded());
                    }
                    next
                }
                Step::ReadConfiguration => {
                    machine.on_configuration(call(self.front, self.trial, "config.get", json!({})).await)
                }
                Step::ProvisionMainAgent => {
                    let made = provision_main_agent(self.front, &self.trial.record).await;
                    machine.on_main_agent(made.map(|main| self.main = Some(main)))
                }
                Step::Record if !records => return Ok(self),
                Step::Record => {
                    let recorded = match self.main.clone() {
                        Some(main) => confirm(self.front, self.trial.record.id, main).await,
                        None => Err(nothing_recorded()),
                    };
                    machine.on_recorded(recorded.map(|committed| self.committed = Some(committed)))
                }
                Step::Done => return Ok(self),
                Step::Undo(failure) => return Err(failure),
            };
        }
    }
}

fn nothing_recorded() -> Failure {
    Failure::new(ErrorCode::Internal, "The gateway was not recorded: a fault of the daemon")
        .with_help("The daemon's log has more; please report it.")
}

async fn call(front: &Front, trial: &Trial, method: &str, params: Value) -> Result<Value, Failure> {
    let timeout = front.settings.gateway_timeout;
    let message = CallGateway { target: Some(trial.record.id), method: method.to_owned(), params, timeout };
    front.app.registry.call.send(message, deadline(timeout)).await.map(|(_, reply)| reply.into_inner())
}

async fn update(front: &Front, message: UpdateGateway) -> Result<GatewayCommitted, Failure> {
    front.app.registry.update.send(message, front.settings.request_deadline).await
}

async fn confirm(
    front: &Front,
    id: gatewarden_actors::ids::GatewayId,
    main: MainAgent,
) -> Result<GatewayCommitted, Failure> {
    front.app.registry.confirm.send(ConfirmGateway { id, main }, front.settings.request_deadline).await
}

async fn abandon(front: &Front, trial: &Trial) -> Result<(), Failure> {
    front.app.registry.abandon.send(AbandonGateway(trial.record.id), front.settings.request_deadline).await
}

/// After a change that leaves the connection alone: the main agent is refreshed where the gateway can be asked.
async fn refresh_main_agent(front: &Front, committed: GatewayCommitted) -> (GatewayCommitted, Option<String>) {
    let record = &committed.view.record;
    if record.workspace_root.is_none() {
        return (committed, None);
    }
    let refreshed = match provision_main_agent(front, record).await {
        Ok(main) => confirm(front, record.id, main).await,
        Err(failure) => Err(failure),
    };
    match refreshed {
        Ok(committed) => (committed, None),
        Err(failure) => {
            tracing::warn!(gateway.id = record.id.0, gateway.name = %record.name, %failure,
                "the main agent was not refreshed after a change of its gateway");
            let warning = format!("The change is stored; the main agent was not refreshed: {}", failure.message);
            (committed, Some(warning))
        }
    }
}

fn merged(record: &GatewayRecord, change: &GatewayChange) -> GatewayRecord {
    let mut merged = record.clone();
    if let Some(name) = &change.name {
        merged.name.clone_from(name);
    }
    if let Some(host) = &change.host {
        merged.host.clone_from(host);
    }
    if let Some(token) = &change.token {
        merged.token.clone_from(token);
    }
    if let Some(url_token) = &change.url_token {
        merged.url_token.clone_from(url_token);
    }
    if let Some(tls) = &change.tls {
        merged.tls.clone_from(tls);
    }
    if change.workspace_root.is_some() {
        merged.workspace_root.clone_from(&change.workspace_root);
    }
    merged.port = change.port.unwrap_or(merged.port);
    merged.disable_device_pairing = change.disable_device_pairing.unwrap_or(merged.disable_device_pairing);
    merged
}

fn dials_differently(before: &GatewayRecord, after: &GatewayRecord) -> bool {
    before.host != after.host
        || before.port != after.port
        || before.token != after.token
        || before.url_token != after.url_token
        || before.tls != after.tls
        || before.disable_device_pairing != after.disable_device_pairing
}

fn as_new(record: &GatewayRecord) -> NewGateway {
    NewGateway {
        token: record.token.clone(),
        url_token: record.url_token.clone(),
        priority: record.priority,
        transport: record.transport,
        tls: record.tls.clone(),
        disable_device_pairing: record.disable_device_pairing,
        ..NewGateway::at(&record.name, &record.host, record.port)
    }
}
