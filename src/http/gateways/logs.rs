//! `GET /api/gateways/{id}/logs`: the gateway's own log entries, as far as it gives them out (`logs.tail`).

use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::registry::messages::CallGateway;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::by_id::path_id;
use crate::http::auth::{By, GatewayOperator};
use crate::http::error::{ApiError, ErrorBody, GatewayErrors, KeyErrors};
use crate::http::front::Front;
use crate::http::query::Query;

/// From quiet to loud, as gateways name them.
const LEVELS: [&str; 6] = ["fatal", "error", "warn", "info", "debug", "trace"];
/// Gateways give out no more at once.
const LIMIT: usize = 5000;

/// Entries of a gateway's log.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayLogs {
    /// Oldest first.
    pub logs: Vec<LogEntry>,
    /// The gateway.
    pub gateway_id: i64,
    /// Place in the gateway's log after the last entry.
    pub cursor: Option<i64>,
    /// Whether the gateway left older entries out.
    pub truncated: bool,
}

/// One entry.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LogEntry {
    /// As the gateway wrote it, RFC 3339.
    pub time: Option<String>,
    /// `fatal`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Option<String>,
    /// Part of the gateway.
    pub subsystem: Option<String>,
    /// The text.
    pub message: String,
}

/// Read a gateway's log
#[utoipa::path(
    operation_id = "read_gateway_logs",
    tag = "Gateways",
    params(
        ("id" = i64, Path, description = "The gateway", minimum = 1),
        ("limit" = Option<u32>, Query, description = "Newest entries; 200 by default, more than 5000 is capped", minimum = 1),
        ("level" = Option<String>, Query, description = "This level and graver ones: fatal, error, warn, info, debug or trace"),
        ("follow" = Option<bool>, Query, description = "Following is not offered yet: true is answered with 501"),
    ),
    responses(
        (status = 200, description = "Oldest first", body = GatewayLogs),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/gateways/{id}/logs")]
pub(crate) async fn logs(
    _by: By<GatewayOperator>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let id = path_id(&request)?;
    let mut query = Query::parse(request.query_string());
    let limit = query.capped("limit", LIMIT).unwrap_or(200);
    let level = query.text("level", 1..=10);
    let loudest = level.as_deref().map(|level| LEVELS.iter().position(|known| known.eq_ignore_ascii_case(level)));
    if loudest == Some(None) {
        query.problems.add("level", format!("level must be one of {}", LEVELS.join(", ")));
    }
    let follow = query.flag("follow");
    query.problems.into_result()?;
    if front.app.roster.get(id).is_none() {
        return Err(Failure::gateway_not_found(id).into());
    }
    if follow == Some(true) {
        return Err(ApiError(
            Failure::new(
                ErrorCode::NotSupportedByGateway,
                "Following a gateway's log is not supported by this release",
            )
            .with_help("Leave follow out and ask again for newer entries."),
        ));
    }
    let loudest = loudest.flatten();
    // The gateway counts lines of all levels, so a filtered read asks for more.
    let asked = if loudest.is_some() { LIMIT } else { limit };
    let call = CallGateway {
        target: Some(id),
        method: "logs.tail".to_owned(),
        params: json!({ "limit": asked }),
        timeout: front.settings.gateway_timeout,
    };
    let deadline = front.settings.gateway_timeout.saturating_add(std::time::Duration::from_secs(1));
    let (answered, payload) = front.app.registry.call.send(call, deadline).await?;
    let mut logs = entries(&payload);
    if let Some(loudest) = loudest {
        logs.retain(|entry| is_at_least(entry, loudest));
    }
    let surplus = logs.len().saturating_sub(limit);
    logs.drain(..surplus);
    Ok(HttpResponse::Ok().json(GatewayLogs {
        logs,
        gateway_id: answered.0,
        cursor: payload.get("cursor").and_then(Value::as_i64),
        truncated: payload.get("truncated").and_then(Value::as_bool).unwrap_or(false) || surplus > 0,
    }))
}

fn is_at_least(entry: &LogEntry, loudest: usize) -> bool {
    let place = entry.level.as_deref().and_then(|level| LEVELS.iter().position(|known| *known == level));
    // An entry that doesn't say its level is worth seeing.
    place.is_none_or(|place| place <= loudest)
}

fn entries(payload: &Value) -> Vec<LogEntry> {
    let lines = payload.get("lines").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    lines.iter().filter_map(Value::as_str).filter(|line| !line.trim().is_empty()).map(entry).collect()
}

/// A line is a JSON record whose first text may be a JSON object with the subsystem; anything else is shown as it is.
fn entry(line: &str) -> LogEntry {
    let plain = || LogEntry { time: None, level: None, subsystem: None, message: line.to_owned() };
    let Ok(Value::Object(record)) = serde_json::from_str::<Value>(line) else {
        return plain();
    };
    let meta = record.get("_meta");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let level = text(meta.and_then(|meta| meta.get("logLevelName"))).or_else(|| text(record.get("level")));
    let time = text(record.get("time")).or_else(|| text(meta.and_then(|meta| meta.get("date"))));
    let context = record.get("0").and_then(Value::as_str).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let subsystem = text(context.as_ref().and_then(|context| context.get("subsystem")));
    // Without a subsystem the first text is part of the message.
    let first = if context.is_some() { 1 } else { 0 };
    let parts: Vec<String> = (first..10)
        .map_while(|place: usize| record.get(&place.to_string()))
        .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        .collect();
    let message = if parts.is_empty() { text(record.get("message")) } else { Some(parts.join(" ")) };
    match message {
        Some(message) => LogEntry { time, level: level.map(|level| level.to_ascii_lowercase()), subsystem, message },
        None => plain(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_taken_apart() {
        let line = r#"{"0":"{\"subsystem\":\"gateway/ws\"}","1":"closed","2":{"code":1000},"_meta":{"logLevelName":"WARN","date":"2026-11-21T10:00:00Z"},"time":"2026-11-21T11:00:00+01:00"}"#;
        assert_eq!(
            entry(line),
            LogEntry {
                time: Some("2026-11-21T11:00:00+01:00".to_owned()),
                level: Some("warn".to_owned()),
                subsystem: Some("gateway/ws".to_owned()),
                message: r#"closed {"code":1000}"#.to_owned(),
            }
        );
        assert_eq!(entry(r#"{"0":"plain text","_meta":{"logLevelName":"INFO"}}"#).message, "plain text");
    }

    #[test]
    fn a_line_that_is_no_record_is_shown_as_it_is() {
        for line in ["starting up", "[1]", "{\"a\":", "{\"other\":1}"] {
            assert_eq!(entry(line).message, line);
        }
    }

    #[test]
    fn graver_levels_pass_and_quieter_ones_do_not() {
        let with = |level: Option<&str>| LogEntry {
            time: None,
            level: level.map(str::to_owned),
            subsystem: None,
            message: String::new(),
        };
        let warn = 2;
        assert!(is_at_least(&with(Some("error")), warn));
        assert!(is_at_least(&with(Some("warn")), warn));
        assert!(!is_at_least(&with(Some("info")), warn));
        assert!(is_at_least(&with(None), warn));
    }
}
