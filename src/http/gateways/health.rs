//! `POST /api/gateways/health`: check one gateway now, or all at the same time.

use actix_web::{HttpRequest, HttpResponse, post, web};
use gatewarden_actors::error::Failure;
use gatewarden_actors::gateway_report::ProbeOutcome;
use gatewarden_actors::gateway_report::{GatewayReport, Phase, Status};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::messages::ProbeGateways;
use gatewarden_actors::registry::roster::GatewayView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::auth::{By, Viewer};
use crate::http::body::OptionalJsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, KeyErrors};
use crate::http::fields::Fields;
use crate::http::front::Front;
use crate::http::gateway_object::whole_ms;

/// Which gateway to check; without one all are checked.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct HealthBody {
    /// Which.
    #[schema(example = 1, minimum = 1)]
    gateway_id: Option<i64>,
}

/// What a check of one gateway found, or of all.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum HealthAnswer {
    /// One gateway was named.
    One(OneHealth),
    /// None was named.
    All(AllHealth),
}

/// What a check of one gateway found.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneHealth {
    /// Whether it is authenticated and answering.
    pub healthy: bool,
    /// Round trip, where it answered.
    pub latency_ms: Option<f64>,
    /// What is known of it.
    pub details: HealthDetails,
}

/// What is known of a checked gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthDetails {
    /// `online`, `degraded`, `timeout`, `offline` or `unknown`.
    pub status: String,
    /// Release.
    pub version: Option<String>,
    /// Protocol.
    pub protocol: Option<u32>,
    /// Seconds since its start.
    pub uptime: Option<u64>,
    /// Active sessions.
    pub sessions: Option<u32>,
    /// Agents.
    pub agents: Option<u32>,
    /// The step that failed, for instance `connect` or `authenticate`.
    pub failed_step: Option<String>,
    /// What it said.
    pub error: Option<String>,
    /// Stable code of what is wrong.
    pub code: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

/// What a check of all gateways found.
#[derive(Debug, Serialize, ToSchema)]
pub struct AllHealth {
    /// In the order of the list of gateways.
    pub results: Vec<HealthResult>,
    /// Wall milliseconds at the end of the check.
    pub probed_at: i64,
}

/// One gateway of a check of all.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthResult {
    /// Which.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `online`, `offline` (no answer) or `error` (reachable, but refused or not a gateway).
    #[schema(example = "online")]
    pub status: String,
    /// Milliseconds.
    pub latency: Option<i64>,
    /// Names.
    pub agents: Vec<String>,
    /// Active sessions.
    pub sessions_count: u32,
    /// Release.
    pub gateway_version: Option<String>,
    /// Where its protocol is not ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_warning: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Check gateways now
///
/// All gateways are checked at the same time; the answer takes one check's timeout at most, however many there are.
/// One check in 10 s and key.
#[utoipa::path(
    operation_id = "check_gateways",
    tag = "Gateways",
    request_body(content = Option<HealthBody>, description = "May be left out: then all are checked"),
    responses(
        (status = 200, description = "What was found", body = HealthAnswer),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors, BodyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/gateways/health")]
pub(crate) async fn check(
    by: By<Viewer>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Result<HttpResponse, ApiError> {
    let body = body.0.unwrap_or_default();
    let mut fields = Fields::new(&body);
    let only = fields.integer("gateway_id", 1..=i64::MAX).map(GatewayId);
    fields.problems.into_result()?;
    if let Some(id) = only
        && front.app.roster.get(id).is_none()
    {
        return Err(Failure::gateway_not_found(id).into());
    }
    // Counted last: a request that is refused for its content costs nobody a check.
    if let Some(counted) = front.limits.health_check(by.caller.key.limit_key()) {
        counted.settle(&request)?;
    }
    let timeout = front.settings.probe_timeout;
    let message = ProbeGateways { only, timeout };
    let deadline = timeout.saturating_add(std::time::Duration::from_secs(1));
    let outcomes = front.app.registry.probe.send(message, deadline).await?;
    let answer = match only {
        Some(id) => match outcomes.into_iter().find(|(probed, _)| *probed == id) {
            Some((_, outcome)) => HealthAnswer::One(one(&outcome)),
            // Deleted meanwhile.
            None => return Err(Failure::gateway_not_found(id).into()),
        },
        None => HealthAnswer::All(all(&front, outcomes)),
    };
    Ok(HttpResponse::Ok().json(answer))
}

fn one(outcome: &ProbeOutcome) -> OneHealth {
    let report = &outcome.report;
    let problem = report.last_error.as_ref();
    OneHealth {
        healthy: documented_status(outcome) == "online",
        latency_ms: outcome.latency_ms,
        details: HealthDetails {
            status: report.status.as_str().to_owned(),
            version: report.version.clone(),
            protocol: report.protocol,
            uptime: report.uptime_ms.map(|uptime| uptime / 1000),
            sessions: report.sessions_count,
            agents: report.agents_count,
            failed_step: outcome.failed_step.as_ref().map(|(step, _)| step.clone()),
            error: error_of(outcome),
            code: problem.map(|problem| problem.code.clone()),
            help: problem.map(|problem| problem.help.clone()),
        },
    }
}

fn all(front: &Front, outcomes: Vec<(GatewayId, ProbeOutcome)>) -> AllHealth {
    let latest = outcomes.iter().map(|(_, outcome)| outcome.probed_at_ms).max();
    let probed_at = latest.filter(|at| *at > 0).unwrap_or_else(|| front.app.clock.wall_ms());
    let mut outcomes: std::collections::HashMap<_, _> = outcomes.into_iter().collect();
    let views = front.app.roster.list();
    let results = views.iter().filter_map(|view| Some(result(view, &outcomes.remove(&view.record.id)?))).collect();
    AllHealth { results, probed_at }
}

fn result(view: &GatewayView, outcome: &ProbeOutcome) -> HealthResult {
    let report = &outcome.report;
    let problem = report.last_error.as_ref();
    HealthResult {
        id: view.record.id.0,
        name: view.record.name.clone(),
        status: documented_status(outcome).to_owned(),
        latency: outcome.latency_ms.and_then(whole_ms),
        agents: report.agent_names.to_vec(),
        sessions_count: report.sessions_count.unwrap_or_default(),
        gateway_version: report.version.clone(),
        compatibility_warning: problem
            .filter(|problem| problem.code.contains("protocol") || problem.code.contains("version"))
            .map(|problem| problem.message.clone()),
        error: error_of(outcome),
    }
}

fn error_of(outcome: &ProbeOutcome) -> Option<String> {
    let words = outcome.failed_step.as_ref().map(|(_, words)| words.clone());
    words.or_else(|| outcome.report.last_error.as_ref().map(|problem| problem.message.clone()))
}

/// The documented contract's three statuses: `online` is authenticated and answering, slow too; `error` is reachable but
/// refused, blocked or not a gateway; `offline` is no answer.
fn documented_status(outcome: &ProbeOutcome) -> &'static str {
    let report = &outcome.report;
    let failed_step = outcome.failed_step.as_ref().map(|(step, _)| step.as_str());
    match (report.status, failed_step) {
        (Status::Online, None) => "online",
        (Status::Degraded, None) if report.phase == Phase::Ready => "online",
        (Status::Timeout, _) => "offline",
        // At whatever step: a connection that is taken and then left alone is no answer either.
        _ if went_unanswered(report) => "offline",
        _ if is_refused(report) => "error",
        // Somebody answered, but not as a gateway does.
        (_, Some("tls" | "upgrade" | "challenge" | "authenticate" | "health_document")) => "error",
        _ => "offline",
    }
}

fn went_unanswered(report: &GatewayReport) -> bool {
    let codes = ["dial_timeout", "challenge_timeout", "connect_timeout", "heartbeat_lost"];
    report.last_error.as_ref().is_some_and(|problem| codes.contains(&problem.code.as_str()))
}

fn is_refused(report: &GatewayReport) -> bool {
    matches!(report.phase, Phase::Blocked | Phase::Starting)
}

#[cfg(test)]
mod tests {
    use gatewarden_actors::gateway_report::Problem;

    use super::*;

    fn outcome(status: Status, phase: Phase, step: Option<&str>) -> ProbeOutcome {
        let report = GatewayReport { status, phase, ..GatewayReport::unknown(0) };
        ProbeOutcome {
            probed_at_ms: 0,
            report,
            latency_ms: step.is_none().then_some(3.0),
            failed_step: step.map(|step| (step.to_owned(), "words".to_owned())),
        }
    }

    #[test]
    fn five_statuses_become_the_documented_three() {
        for (status, phase, step, expected) in [
            (Status::Online, Phase::Ready, None, "online"),
            (Status::Degraded, Phase::Ready, None, "online"),
            (Status::Degraded, Phase::Ready, Some("request"), "offline"),
            (Status::Degraded, Phase::Blocked, Some("authenticate"), "error"),
            (Status::Degraded, Phase::Starting, Some("authenticate"), "error"),
            (Status::Degraded, Phase::Restarting, Some("connect"), "offline"),
            (Status::Offline, Phase::Blocked, Some("health_document"), "error"),
            (Status::Offline, Phase::Backoff, Some("connect"), "offline"),
            (Status::Offline, Phase::Backoff, Some("resolve"), "offline"),
            (Status::Offline, Phase::Backoff, Some("upgrade"), "error"),
            (Status::Timeout, Phase::Backoff, Some("challenge"), "offline"),
            (Status::Offline, Phase::Parked, None, "offline"),
            (Status::Unknown, Phase::Idle, None, "offline"),
        ] {
            let outcome = outcome(status, phase, step);
            assert_eq!(documented_status(&outcome), expected, "{status:?} {phase:?} {step:?}");
        }
    }

    #[test]
    fn a_black_hole_is_no_answer_also_while_its_breaker_is_open() {
        let mut outcome = outcome(Status::Offline, Phase::Backoff, Some("upgrade"));
        let (code, message) = ("dial_timeout".to_owned(), "words".to_owned());
        outcome.report.last_error = Some(Problem { code, message, help: String::new() });
        assert_eq!(documented_status(&outcome), "offline");
    }
}
