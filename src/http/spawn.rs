//! `/api/spawn`: start work on a gateway; history and single spawns from the store.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse, get, post};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_report::Status;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::machines::routing::RouteRequest;
use gatewarden_actors::registry::SpawnWork;
use gatewarden_actors::registry::roster::RosterReader;
use gatewarden_actors::spawn::{SpawnKind, SpawnRecord, SpawnRequest, SpawnState, Work};
use gatewarden_api::ErrorBody;
use gatewarden_api::pages::PageQuery;
use gatewarden_api::responses::GatewayErrors;
use gatewarden_api::spawn::{GatewayName, Spawn, SpawnAccepted, SpawnBody, SpawnDoubt, SpawnHistory};
use gatewarden_protocol::Secret;
use uuid::Uuid;

use super::auth::{Authorized, GatewayViewer, Operator};
use super::context::App;
use super::error::{Answer, ApiError, invalid};
use super::input::{JsonBody, SpawnPath, read_query};

/// What the registry may take beyond the gateway's deadline: two more gateways may be tried.
const ATTEMPTS: u32 = 3;
const SLACK: Duration = Duration::from_secs(5);
/// What is kept of the request in the clear, characters.
const SUMMARY: usize = 200;

/// Start work on a gateway
///
/// A `task` for an agent or a `command`. It goes to the agent's preferred gateway if that can take work, else to the one
/// that `gateway_id` names (and no other), else to the acting primary (or, by configuration, the least loaded gateway); a
/// `selector` restricts all of these. It is recorded before it is sent and never run twice.
#[utoipa::path(
    tag = "Spawns",
    request_body = SpawnBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters, kept for 24 h per API key: the same key with the same body is answered from the record")),
    responses(
        (
            status = 202, description = "A gateway took it", body = SpawnAccepted,
            headers(("Location" = String, description = "Path of the spawn: `/api/spawn/{spawnId}`")),
        ),
        (status = 404, description = "No gateway has this gateway_id", body = ErrorBody),
        (status = 409, description = "The Idempotency-Key was used for another request", body = ErrorBody),
        GatewayErrors,
    ),
)]
#[post("/api/spawn")]
pub(crate) async fn spawn(by: Authorized<Operator>, app: App, request: HttpRequest, body: JsonBody) -> Answer {
    if let Some(counted) = app.limits.spawn(by.key().limit_key()) {
        counted.settle(&request)?;
    }
    let idempotency_key = idempotency_key(request.headers())?;
    let mut message = work(&body, idempotency_key, by.key().limit_key(), app.settings.gateway_timeout)?;
    if let Some(agent) = &message.request.record.agent
        && let Some(agent) = app.store.find_agent_by_name(agent.clone()).await?
    {
        let route = &mut message.request.route;
        route.preferred = agent.preferred_gateway();
        // Only its own gateway knows it, and by this id.
        if let (Some((gateway, id)), Work::Task { agent, .. }) = (agent.other_name(), &mut message.request.work)
            && *route.requested.get_or_insert(gateway) == gateway
        {
            *agent = Some(id.to_owned());
        }
    }
    let (deadline, new_id) = (message.request.timeout * ATTEMPTS + SLACK, message.request.record.spawn_id.clone());
    let record = app.registry.spawn.send(message, deadline).await?;
    let replayed = record.spawn_id != new_id;
    by.acts_on(&record.spawn_id);
    if let Some(audit) = by.audit() {
        // The record names the key that asked, and is stored before anything is sent.
        audit.is_recorded();
    }
    tracing::info!(
        caller.key = by.key().name,
        caller.role = by.key().role.as_str(),
        spawn.id = record.spawn_id,
        gateway.id = record.gateway_id.map(|id| id.0),
        replayed,
        "spawn"
    );
    let location = format!("/api/spawn/{}", record.spawn_id);
    Ok(HttpResponse::Accepted().insert_header(("Location", location)).json(SpawnAccepted {
        success: true,
        status: record.state.as_str().to_owned(),
        gateway: gateway_name(&record),
        route: record.route,
        session_key: record.session_key.clone(),
        session_info: record.session_key,
        run_id: record.run_id,
        pid: record.pid,
        result: record.result.unwrap_or_default(),
        replayed,
        spawn_id: record.spawn_id,
    }))
}

/// List spawns
#[utoipa::path(
    tag = "Spawns",
    params(PageQuery),
    responses((status = 200, description = "Newest first", body = SpawnHistory)),
)]
#[get("/api/spawn")]
pub(crate) async fn list_spawns(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let page = read_query::<PageQuery>(&request)?.page();
    let (spawns, total) = app.store.list_spawns(page.limit, page.offset).await?;
    Ok(HttpResponse::Ok().json(SpawnHistory {
        history: spawns.into_iter().map(|record| shown(record, &app.roster)).collect(),
        part: page.of(total),
    }))
}

/// Read a spawn
#[utoipa::path(
    tag = "Spawns",
    params(SpawnPath),
    responses(
        (status = 200, description = "The spawn", body = Spawn),
        (status = 404, description = "No spawn has this id", body = ErrorBody),
    ),
)]
#[get("/api/spawn/{id}")]
pub(crate) async fn read_spawn(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let id: String = request.match_info().load().unwrap_or_default();
    let known = Uuid::parse_str(&id).is_ok();
    let found = if known { app.store.find_spawn(id).await? } else { None };
    let record = found.ok_or_else(|| {
        Failure::new(ErrorCode::SpawnNotFound, "There is no spawn with this id")
            .with_help("GET /api/spawn lists the spawns of the last 30 days.")
    })?;
    Ok(HttpResponse::Ok().json(shown(record, &app.roster)))
}

/// The `Idempotency-Key` header.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > 255 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid("The header Idempotency-Key must have 1 to 255 printable ASCII characters without spaces"));
    }
    Ok(Some(text.to_owned()))
}

/// Reads what is asked for. The same body always has the same text, whatever the order of its fields.
fn work(
    body: &JsonBody,
    idempotency_key: Option<String>,
    key_id: i64,
    timeout: Duration,
) -> Result<SpawnWork, ApiError> {
    let asked: SpawnBody = body.read()?;
    let (agent, label) = (asked.agent.clone(), asked.label.clone());
    // A program is given none.
    let model = asked.model.clone().filter(|_| asked.task.is_some());
    let (kind, summary, work) = match (asked.task, asked.command) {
        (Some(task), _) => {
            let summary = task.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUMMARY).collect();
            let (agent, model, label) = (asked.agent, asked.model, asked.label);
            let (session_key, timeout_seconds) = (asked.session_key, asked.timeout_seconds);
            (SpawnKind::Task, summary, Work::Task { task, agent, session_key, model, label, timeout_seconds })
        }
        (None, command) => {
            let command = command.unwrap_or_default();
            let summary = command.chars().take(SUMMARY).collect();
            let env: BTreeMap<_, _> = asked.env.unwrap_or_default();
            let args = asked.args.unwrap_or_default();
            (SpawnKind::Command, summary, Work::Command { command, args, env, cwd: asked.cwd })
        }
    };
    let requested = asked.gateway_id.map(GatewayId);
    let selector = asked.selector.unwrap_or_default();
    let route = RouteRequest { preferred: None, requested, selector, excluded: Vec::new() };
    let record = SpawnRecord {
        spawn_id: Uuid::new_v4().to_string(),
        kind,
        summary,
        model,
        agent,
        label,
        key_id: (key_id > 0).then_some(key_id),
        ..SpawnRecord::default()
    };
    let text = Secret::new(body.text());
    Ok(SpawnWork { request: SpawnRequest { record, route, work, timeout }, text, idempotency_key })
}

fn gateway_name(record: &SpawnRecord) -> Option<GatewayName> {
    record.gateway_id.map(|id| GatewayName { id: id.0, name: record.gateway_name.clone() })
}

/// What speaks against what the record says, as far as its gateway is known to be.
fn doubt(record: &SpawnRecord, roster: &RosterReader) -> Option<SpawnDoubt> {
    let gateway = record.gateway_id.filter(|_| !record.state.is_final()).and_then(|id| roster.get(id))?;
    let (name, report) = (&gateway.record.name, &gateway.report);
    let known = roster.spawn_doubt(&record.spawn_id);
    let asked_again_at = known.and_then(|doubt| doubt.ask_at_ms).filter(|_| report.is_usable());
    let message = match report.status {
        status if !report.is_usable() => {
            format!("Gateway \"{name}\" is {}: it is asked what became of this as soon as it is back", status.as_str())
        }
        Status::Timeout => format!("Gateway \"{name}\" gives no sign of life"),
        _ if asked_again_at.is_some() || record.state == SpawnState::Unknown => {
            format!("Gateway \"{name}\" has not said what became of this")
        }
        _ => return None,
    };
    Some(SpawnDoubt { message, since: known.map_or(report.since_ms, |doubt| doubt.since_ms), asked_again_at })
}

fn shown(record: SpawnRecord, roster: &RosterReader) -> Spawn {
    Spawn {
        doubt: doubt(&record, roster),
        gateway: gateway_name(&record),
        spawn_id: record.spawn_id,
        status: record.state.as_str().to_owned(),
        kind: record.kind.as_str().to_owned(),
        task: record.summary,
        agent: record.agent,
        model: record.model,
        label: record.label,
        route: record.route,
        session_key: record.session_key,
        run_id: record.run_id,
        pid: record.pid,
        result: record.result,
        error: record.error,
        error_code: record.error_code,
        reason: record.reason,
        created_at: record.created_at_ms,
        updated_at: record.updated_at_ms,
        completed_at: record.completed_at_ms,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatewarden_actors::gateway_record::GatewaySpec;
    use gatewarden_actors::gateway_report::{GatewayReport, Phase};
    use gatewarden_actors::registry::roster::{GatewayView, RosterWriter};
    use gatewarden_actors::spawn::SpawnDoubt as Doubt;
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<SpawnWork, ApiError> {
        work(&body.into(), Some("k".into()), 7, Duration::from_secs(1))
    }

    fn sentence(body: Value) -> String {
        read(body).unwrap_err().0.message
    }

    #[test]
    fn a_spawn_whose_gateway_is_away_is_in_doubt_and_says_when_it_is_asked_about() {
        let record = |state| SpawnRecord {
            spawn_id: "s".to_owned(),
            gateway_id: Some(GatewayId(1)),
            state,
            ..SpawnRecord::default()
        };
        let roster = RosterWriter::default();
        let publish = |status, phase| {
            let gateway = GatewaySpec::at("prod", "127.0.0.1", 18_789).into_record(GatewayId(1), "", 0);
            let report = GatewayReport { status, phase, ..GatewayReport::unknown(5_000) };
            roster.publish(GatewayView::new(Arc::new(gateway), report, false));
        };
        let seen = |state| doubt(&record(state), &roster.reader());
        publish(Status::Offline, Phase::Backoff);
        let away = seen(SpawnState::Running).unwrap();
        assert!(away.message.starts_with("Gateway \"prod\" is offline: "), "{away:?}");
        assert_eq!((away.since, away.asked_again_at), (5_000, None));
        assert_eq!(seen(SpawnState::Completed), None);
        publish(Status::Online, Phase::Ready);
        assert_eq!(seen(SpawnState::Running), None);
        let asked = |ask_at_ms| [("s".to_owned(), Doubt { since_ms: 3_000, ask_at_ms })].into();
        roster.publish_spawn_doubts(asked(Some(7_000)));
        assert_eq!(seen(SpawnState::Unknown).and_then(|doubt| doubt.asked_again_at), Some(7_000));
        // The gateway is in another way not well: the doubt is as old as it was.
        publish(Status::Offline, Phase::Backoff);
        roster.publish_spawn_doubts(asked(None));
        assert_eq!(seen(SpawnState::Unknown).map(|doubt| (doubt.since, doubt.asked_again_at)), Some((3_000, None)));
    }

    #[test]
    fn a_task_may_have_several_lines_and_is_shown_in_one() {
        let work = read(json!({"task": "first\nsecond", "agent": "researcher", "gateway_id": 2})).unwrap();
        assert_eq!(work.request.record.summary, "first second");
        assert_eq!(work.request.route.requested, Some(GatewayId(2)));
        assert!(
            matches!(work.request.work, Work::Task { task, agent: Some(agent), .. } if task == "first\nsecond" && agent == "researcher")
        );
    }

    #[test]
    fn a_commands_environment_is_a_secret_everywhere() {
        let work =
            read(json!({"command": "python", "args": ["a.py"], "env": {"TOKEN": "hush"}, "cwd": "/opt"})).unwrap();
        assert!(!format!("{work:?}").contains("hush"));
        assert_eq!(work.request.record.summary, "python");
        assert_eq!(
            read(json!({"command": "python", "model": "m"})).unwrap().request.record.model,
            None,
            "a program sees none"
        );
        assert!(work.text.expose().contains("hush"), "sealed with the record");
    }

    #[test]
    fn neither_both_or_malformed_work_is_refused_by_field() {
        assert!(sentence(json!({})).contains("task is missing"));
        assert!(sentence(json!({"task": "a", "command": "b"})).contains("exclude each other"));
        for (field, body) in [
            ("task", json!({"task": 5})),
            ("task", json!({"task": "  "})),
            ("task", json!({"task": "a\u{0}b"})),
            ("args", json!({"command": "x", "args": ["a", 1]})),
            ("env", json!({"command": "x", "env": {"A=B": "c"}})),
            ("env", json!({"command": "x", "env": {"A": 1}})),
            ("selector", json!({"task": "x", "selector": {"region": 1}})),
            ("timeoutSeconds", json!({"task": "x", "timeoutSeconds": 0})),
            ("gateway_id", json!({"task": "x", "gateway_id": "1"})),
        ] {
            assert!(sentence(body.clone()).starts_with(field), "{body}");
        }
    }

    #[test]
    fn the_same_body_has_the_same_text_whatever_its_order() {
        let text_of = |text: &str| {
            let body: Value = serde_json::from_str(text).unwrap();
            work(&body.into(), Some("k".into()), 7, Duration::ZERO).unwrap().text.expose().to_owned()
        };
        assert_eq!(text_of(r#"{"task":"a","label":"b"}"#), text_of(r#"{"label":"b", "task":"a"}"#));
        assert_ne!(text_of(r#"{"task":"a"}"#), text_of(r#"{"task":"b"}"#));
    }
}
