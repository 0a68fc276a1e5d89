//! Health of gateways: checks of one or of all at the same time, and the health log.

use std::collections::HashMap;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, get, post};
use gatewarden_actors::error::Failure;
use gatewarden_actors::gateway_report::{GatewayReport, HealthPoint, Phase, ProbeOutcome, Status};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::messages::ProbeGateways;
use gatewarden_actors::registry::roster::GatewayView;
use gatewarden_api::gateways::{
    AllHealth, GatewayHistory, HealthAnswer, HealthBody, HealthDetails, HealthHistory, HealthHistoryEntry,
    HealthResult, HistoryQuery, NotObserved, OneHealth,
};
use gatewarden_api::responses::NoGateway;
use gatewarden_protocol::steady_time::Gap;

use crate::http::auth::{Authorized, GatewayViewer, Viewer};
use crate::http::context::{App, AppContext};
use crate::http::error::Answer;
use crate::http::gateways::record::whole_ms;
use crate::http::input::{OptionalJsonBody, read_query};
use crate::http::process_view::seconds;

/// Check gateways now
///
/// All gateways are checked at the same time; the answer takes one check's timeout at most, however many there are.
/// One check in 10 s and key.
#[utoipa::path(
    tag = "Gateways",
    request_body(content = Option<HealthBody>, description = "May be left out: then all are checked"),
    responses((status = 200, description = "What was found", body = HealthAnswer), NoGateway),
)]
#[post("/api/gateways/health")]
pub(crate) async fn check_gateways(
    by: Authorized<Viewer>,
    app: App,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Answer {
    let only = body.read::<HealthBody>()?.gateway_id.map(GatewayId);
    if let Some(id) = only {
        app.gateway(id)?;
    }
    // Counted last: a request that is refused for its content costs nobody a check.
    if let Some(counted) = app.limits.health_check(by.key().limit_key()) {
        counted.settle(&request)?;
    }
    let timeout = app.settings.probe_timeout;
    let deadline = timeout.saturating_add(Duration::from_secs(1));
    let outcomes = app.registry.probe.send(ProbeGateways { only, timeout }, deadline).await?;
    let answer = match only {
        Some(id) => match outcomes.into_iter().find(|(probed, _)| *probed == id) {
            Some((_, outcome)) => HealthAnswer::One(one(&outcome)),
            // Deleted meanwhile.
            None => return Err(Failure::gateway_not_found(id).into()),
        },
        None => HealthAnswer::All(all(&app, outcomes)),
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

fn all(app: &AppContext, outcomes: Vec<(GatewayId, ProbeOutcome)>) -> AllHealth {
    let latest = outcomes.iter().map(|(_, outcome)| outcome.probed_at_ms).max();
    let probed_at = latest.filter(|at| *at > 0).unwrap_or_else(|| app.clock.wall_ms());
    let mut outcomes: std::collections::HashMap<_, _> = outcomes.into_iter().collect();
    let views = app.roster.list();
    let results = views.iter().filter_map(|view| Some(result(view, &outcomes.remove(&view.record.id)?))).collect();
    AllHealth { results, probed_at, probed_at_ms: probed_at }
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

/// Read the health log
#[utoipa::path(
    tag = "Gateways",
    params(HistoryQuery),
    responses((status = 200, description = "Newest first", body = HealthHistory), NoGateway),
)]
#[get("/api/gateways/health/history")]
pub(crate) async fn read_health_history(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    let HistoryQuery { gateway_id, hours, limit } = read_query(&request)?;
    let only = gateway_id.map(GatewayId);
    let views = match only {
        Some(id) => vec![app.gateway(id)?],
        None => app.roster.list(),
    };
    app.store_observations().await;
    let since_ms = app.clock.wall_ms().saturating_sub(i64::from(hours.unwrap_or(24)).saturating_mul(3_600_000));
    let mut by_gateway: HashMap<GatewayId, Vec<HealthHistoryEntry>> = HashMap::new();
    for entry in
        app.store.health_history(only.as_ref().map(std::slice::from_ref), since_ms, limit.unwrap_or(300)).await?
    {
        by_gateway.entry(entry.gateway_id).or_default().push(point(&entry.point));
    }
    let of_gateway = |view: &std::sync::Arc<GatewayView>| GatewayHistory {
        gateway_id: view.record.id.0,
        name: view.record.name.clone(),
        entries: by_gateway.remove(&view.record.id).unwrap_or_default(),
    };
    let not_observed = not_observed(&app.gaps_since(since_ms));
    Ok(HttpResponse::Ok().json(HealthHistory { history: views.iter().map(of_gateway).collect(), not_observed }))
}

/// As answers show it.
pub(super) fn not_observed(gaps: &[Gap]) -> Vec<NotObserved> {
    let shown = |gap: &Gap| NotObserved {
        from: seconds(gap.from_ms),
        to: seconds(gap.to_ms),
        reason: gap.reason.as_str().to_owned(),
    };
    gaps.iter().map(shown).collect()
}

fn point(point: &HealthPoint) -> HealthHistoryEntry {
    // A degraded gateway that answers with a latency is slow, one without is refused.
    let status = match point.status {
        Status::Online => "online",
        Status::Degraded if point.latency_ms.is_some() => "online",
        Status::Degraded => "error",
        Status::Timeout | Status::Offline | Status::Unknown => "offline",
    };
    HealthHistoryEntry {
        status: status.to_owned(),
        state: point.status.as_str().to_owned(),
        latency: point.latency_ms.and_then(whole_ms),
        probed_at: seconds(point.at_ms),
        probed_at_ms: point.at_ms,
        error: point.error.clone(),
        latency_min: point.latency_min_ms,
        latency_avg: point.latency_avg_ms,
        latency_max: point.latency_max_ms,
        misses: point.misses,
    }
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
