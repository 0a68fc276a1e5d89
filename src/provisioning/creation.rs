//! The steps of a creation or a check of a gateway, carried out: what to do when is decided by a machine. It goes on when the
//! client has left: what was begun is brought to an end, as every change is, and a dial that only reads in a task of its own.

use std::sync::Arc;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::{GatewayChange, GatewayRecord, GatewaySpec};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::machines::provisioning::{MinimumVersion, Named, Provisioning, Step};
use gatewarden_actors::registry::records::{
    AbandonGateway, ConfirmGateway, ReserveGateway, Trial, TryGateway, UpdateGateway,
};
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_actors::store::records::MainAgent;
use gatewarden_protocol::AgentRow;
use serde_json::{Value, json};

use super::main_agent::{config_of, provision};
use super::registry_caller::RegistryCaller;
use super::{GatewayFacts, Writing};
use crate::http::context::{App, AppContext};

/// Creates a gateway: all of it, or nothing.
pub(crate) async fn create(app: App, new: GatewaySpec) -> Result<Arc<GatewayView>, Failure> {
    let trial = app.ask(&app.registry.reserve, ReserveGateway(new)).await?;
    let walked = walk(&app, &trial, true, true).await;
    // What fails is undone before it is answered.
    if walked.is_err()
        && let Err(failure) = abandon(&app, &trial).await
    {
        tracing::warn!(gateway.name = %trial.record.name, %failure,
            "a half-made gateway could not be removed: nobody sees it, and it goes at the next start");
    }
    let (_, committed) = walked?;
    committed.ok_or_else(nothing_recorded)
}

/// Changes a gateway. Where address, credentials or trust change, the gateway is dialled and judged as it would be then, and
/// only then changed; a warning where the main agent could not be refreshed.
pub(crate) async fn change(
    app: App,
    view: Arc<GatewayView>,
    change: GatewayChange,
) -> Result<(Arc<GatewayView>, Option<String>), Failure> {
    let record = &view.record;
    let changed = GatewayRecord::clone(record).with(|spec| change.clone().apply(spec));
    if record.dials_like(&changed) {
        let id = record.id;
        let committed = update(&app, UpdateGateway { id, change, from: None }).await?;
        return Ok(refresh_main_agent(&app, committed).await);
    }
    let trial = app.ask(&app.registry.trial, TryGateway(changed.spec.clone())).await?;
    let with_main_agent = GatewayFacts::has_main_agent(&changed);
    let known = GatewayRecord { id: trial.record.id, ..changed };
    let trial = Trial { record: Arc::new(known), ..trial };
    let walked = walk(&app, &trial, with_main_agent, false).await;
    // The connection under trial has served.
    let ended = abandon(&app, &trial).await;
    let (main, _) = walked?;
    ended?;
    let committed = update(&app, UpdateGateway { id: record.id, change, from: None }).await?;
    match main {
        None => Ok((committed, None)),
        Some(main) => confirm(&app, record.id, main).await.map(|committed| (committed, None)),
    }
}

/// What a dial of a gateway that is not stored has found.
pub(crate) struct Dialled {
    /// Why it can't be worked with.
    pub(crate) failure: Option<Failure>,
    /// Its sessions, in its own words, where it told them.
    pub(crate) sessions: Option<Vec<Value>>,
    pub(crate) version: Option<String>,
}

/// Dials what is not stored.
pub(crate) async fn dial(app: App, new: GatewaySpec) -> Result<Dialled, Failure> {
    // A read, and so nobody else's task.
    let dialled = actix_rt::spawn(async move {
        let trial = app.ask(&app.registry.trial, TryGateway(new)).await?;
        let walked = walk(&app, &trial, false, false).await;
        let sessions = match &walked {
            Ok(_) => call(&app, &trial, "sessions.list", json!({"limit": 50})).await.ok(),
            Err(_) => None,
        };
        let version = trial.reports.borrow().version.clone();
        abandon(&app, &trial).await?;
        let rows = sessions.as_ref().and_then(|reply| reply.get("sessions")).and_then(Value::as_array).cloned();
        Ok(Dialled { failure: walked.err(), sessions: rows, version })
    });
    dialled.await.unwrap_or_else(|_panicked| {
        Err(Failure::new(ErrorCode::Internal, "The request ended in a fault of the daemon")
            .with_help("The cause is in the daemon's log; please report it. What was half-made is removed."))
    })
}

fn machine(app: &AppContext, record: &GatewayRecord, with_main_agent: bool) -> Provisioning {
    let named = Named {
        name: record.name.clone(),
        host: record.address().map_or_else(|| record.host.clone(), |address| address.host()),
        port: record.port,
        is_control_ui: record.is_control_ui(),
    };
    Provisioning::new(named, MinimumVersion::new(&app.settings.gateway_min_version), with_main_agent)
}

/// One way through the steps: the main agent, where there is to be one, and the record, where it is to be made.
async fn walk(
    app: &AppContext,
    trial: &Trial,
    with_main_agent: bool,
    records: bool,
) -> Result<(Option<MainAgent>, Option<Arc<GatewayView>>), Failure> {
    let mut machine = machine(app, &trial.record, with_main_agent);
    let (mut main, mut committed) = (None, None);
    let mut reports = trial.reports.clone();
    let patience = tokio::time::sleep(app.settings.gateway_timeout);
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
            Step::ReadConfiguration => machine.on_configuration(call(app, trial, "config.get", json!({})).await),
            Step::ProvisionMainAgent => {
                let made = provision_main_agent(app, &trial.record).await;
                machine.on_main_agent(made.map(|made| main = Some(made)))
            }
            Step::Record if !records => return Ok((main, committed)),
            Step::Record => {
                let recorded = match main.clone() {
                    Some(main) => confirm(app, trial.record.id, main).await,
                    None => Err(nothing_recorded()),
                };
                machine.on_recorded(recorded.map(|recorded| committed = Some(recorded)))
            }
            Step::Done => return Ok((main, committed)),
            Step::Undo(failure) => return Err(failure),
        };
    }
}

fn nothing_recorded() -> Failure {
    Failure::new(ErrorCode::Internal, "The gateway was not recorded: a fault of the daemon")
        .with_help("The daemon's log has more; please report it.")
}

async fn call(app: &AppContext, trial: &Trial, method: &str, params: Value) -> Result<Value, Failure> {
    app.call_gateway(Some(trial.record.id), method, params).await.map(|(_, reply)| reply.into_inner())
}

async fn update(app: &AppContext, message: UpdateGateway) -> Result<Arc<GatewayView>, Failure> {
    app.ask(&app.registry.update, message).await
}

async fn confirm(app: &AppContext, id: GatewayId, main: MainAgent) -> Result<Arc<GatewayView>, Failure> {
    app.ask(&app.registry.confirm, ConfirmGateway { id, main }).await
}

async fn abandon(app: &AppContext, trial: &Trial) -> Result<(), Failure> {
    app.ask(&app.registry.abandon, AbandonGateway(trial.record.id)).await
}

/// After a change that leaves the connection alone: the main agent is refreshed where the gateway can be asked.
async fn refresh_main_agent(app: &AppContext, committed: Arc<GatewayView>) -> (Arc<GatewayView>, Option<String>) {
    let record = &committed.record;
    if !GatewayFacts::has_main_agent(record) {
        return (committed, None);
    }
    let refreshed = match provision_main_agent(app, record).await {
        Ok(main) => confirm(app, record.id, main).await,
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

/// The main agent as the gateway has it now. Files that somebody else has written stay as they are.
pub(crate) async fn provision_main_agent(app: &AppContext, record: &GatewayRecord) -> Result<MainAgent, Failure> {
    let gateway = RegistryCaller::new(app, record.id);
    let writing = Writing { templates: &app.settings.templates, overwrite: false };
    let recorded = record.gateway_agent_id.as_deref();
    let facts = GatewayFacts::of(record, app.store.organization_id());
    let (found, files) = provision(&gateway, &facts, recorded, writing).await?;
    tracing::info!(
        gateway.id = record.id.0,
        gateway.name = record.name,
        agent.id = found.agent.id,
        created = found.created,
        files.written = files.written.len(),
        files.kept = files.kept.len(),
        files.skipped = files.skipped.len(),
        "main agent provisioned"
    );
    Ok(to_record(&found.agent))
}

/// What is recorded of a main agent.
pub(crate) fn to_record(agent: &AgentRow) -> MainAgent {
    MainAgent { agent_id: agent.id.clone(), role: agent.role.clone(), config: config_of(agent) }
}
