//! `GET /api/gateways/{id}/logs`: the gateway's own log entries, as far as it gives them out: read once (`logs.tail`), or
//! followed.
//!
//! | file | does |
//! | --- | --- |
//! | `following` | the stream of a follower |

mod following;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::error::Failure;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::log_watch::{LogBegin, LogCursor, LogWish};
use gatewarden_actors::registry::messages::{CallGateway, WatchGatewayLogs};
use gatewarden_protocol::{LogLevel, LogTail, read_log_line, read_log_tail};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::by_id::path_id;
use crate::http::auth::{By, Caller, GatewayOperator, check_own_page};
use crate::http::error::{ApiError, ErrorBody, GatewayErrors, KeyErrors};
use crate::http::events::{UNBUFFERED, joining};
use crate::http::front::Front;
use crate::http::query::Query;

/// Gateways give out no more at once.
const LIMIT: usize = gatewarden_protocol::limits::MAX_LOG_LINES;

/// Entries of a gateway's log.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayLogs {
    /// Oldest first.
    pub logs: Vec<LogEntry>,
    /// The gateway.
    pub gateway_id: i64,
    /// Place in the gateway's log after the last entry.
    pub cursor: Option<u64>,
    /// Whether the gateway left older entries out.
    pub truncated: bool,
}

/// One entry.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct LogEntry {
    /// When the gateway wrote it, Unix ms.
    pub timestamp: Option<i64>,
    /// `fatal`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Option<String>,
    /// Part of the gateway, or an agent.
    pub source: Option<String>,
    /// The session that it is about, where the gateway says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The text, cut to 4,000 characters.
    pub message: String,
    /// Values that the gateway attached; `{"left_out_bytes": n}` where they are larger than 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
}

impl From<gatewarden_protocol::LogEntry> for LogEntry {
    fn from(entry: gatewarden_protocol::LogEntry) -> Self {
        Self {
            timestamp: entry.timestamp,
            level: entry.level.map(|level| level.as_str().to_owned()),
            source: entry.source,
            session: entry.session,
            message: entry.message,
            extra: entry.extra,
        }
    }
}

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    limit: usize,
    level: Option<LogLevel>,
}

/// Read or follow a gateway's log
///
/// With `follow=true` the answer is a stream of server-sent events that begins with the same entries and goes on with those
/// that the gateway writes. Each is an event `log` with `data` `{"type","ts","data"}`, as in `GET /api/events`. The last of
/// those that came together has an `id`: a client that comes back with it in `Last-Event-ID` goes on after it. Other
/// events: `reset` (entries may be missing here), `lagged` (the client read too slowly), `interrupted` and `resumed` (the
/// gateway is away, and back), `end` (it will not go on), each with a `reason` or a number and a sentence. A comment line
/// comes every 3 s. The gateway is asked for new entries only while somebody follows.
#[utoipa::path(
    operation_id = "read_gateway_logs",
    tag = "Gateways",
    params(
        ("id" = i64, Path, description = "The gateway", minimum = 1),
        ("limit" = Option<u32>, Query, description = "Newest entries; 200 by default, more than 5000 is capped", minimum = 1),
        ("level" = Option<String>, Query, description = "This level and graver ones: fatal, error, warn, info, debug or trace"),
        ("follow" = Option<bool>, Query, description = "Whether the answer goes on with what the gateway writes"),
        ("last_event_id" = Option<String>, Query, description = "With follow: go on after this id, for clients that cannot set headers"),
        ("Last-Event-ID" = Option<String>, Header, description = "With follow: go on after this id; comes before the query's"),
    ),
    responses(
        (status = 200, description = "Oldest first; with follow a stream (text/event-stream) without an end", body = GatewayLogs),
        (status = 404, description = "No gateway has this id", body = ErrorBody),
        KeyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/gateways/{id}/logs")]
pub(crate) async fn logs(
    by: By<GatewayOperator>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let id = path_id(&request)?;
    let mut query = Query::parse(request.query_string());
    let limit = query.capped("limit", LIMIT).unwrap_or(200);
    let level = query.text("level", 1..=10).map(|name| LogLevel::from_name(&name));
    if level == Some(None) {
        let known = LogLevel::ALL.map(LogLevel::as_str).join(", ");
        query.problems.add("level", format!("level must be one of {known}"));
    }
    let follow = query.flag("follow") == Some(true);
    let last = last_event_id(&request).or_else(|| query.value("last_event_id").map(str::to_owned));
    query.problems.into_result()?;
    if front.app.roster.get(id).is_none() {
        return Err(Failure::gateway_not_found(id).into());
    }
    let asked = Asked { limit, level: level.flatten() };
    if follow {
        check_own_page(&request, &by.caller)?;
        follow_logs(front, by.caller, id, asked, last).await
    } else {
        read_logs(&front, id, asked).await
    }
}

async fn read_logs(front: &Front, id: GatewayId, asked: Asked) -> Result<HttpResponse, ApiError> {
    let Asked { limit, level } = asked;
    // The gateway counts lines of all levels, so a filtered read asks for more.
    let lines = if level.is_some() { LIMIT } else { limit };
    let call = CallGateway {
        target: Some(id),
        method: "logs.tail".to_owned(),
        params: json!({ "limit": lines }),
        timeout: front.settings.gateway_timeout,
    };
    let (answered, payload) = front.app.registry.call.send(call, patience(front)).await?;
    let tail = read_log_tail(payload);
    let cursor = tail.as_ref().map(|tail| tail.cursor);
    let LogTail { lines, truncated, .. } =
        tail.unwrap_or(LogTail { file: None, cursor: 0, lines: Vec::new(), truncated: false, reset: false });
    let mut entries: Vec<_> = lines.iter().map(|line| read_log_line(line)).collect();
    entries.retain(|entry| level.is_none_or(|level| entry.is_at_least(level)));
    let surplus = entries.len().saturating_sub(limit);
    entries.drain(..surplus);
    Ok(HttpResponse::Ok().json(GatewayLogs {
        logs: entries.into_iter().map(LogEntry::from).collect(),
        gateway_id: answered.0,
        cursor,
        truncated: truncated || surplus > 0,
    }))
}

async fn follow_logs(
    front: web::Data<Front>,
    caller: Caller,
    id: GatewayId,
    asked: Asked,
    last: Option<String>,
) -> Result<HttpResponse, ApiError> {
    let cursor = last.as_deref().map(LogCursor::parse);
    let begin = cursor.flatten().map_or(LogBegin::Newest(asked.limit), LogBegin::After);
    let wish = LogWish { begin, level: asked.level };
    let end = joining::join_for_the_end(&front, &caller).await?;
    let watch = WatchGatewayLogs { gateway: id, wish, timeout: front.settings.gateway_timeout };
    let subscription = front.app.registry.watch_logs.send(watch, patience(&front)).await?;
    let id_was_unknown = cursor == Some(None);
    let following = following::Following::new(front, caller, id, asked.level, subscription, end, id_was_unknown);
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(UNBUFFERED)
        // As with events: the end of the stream is the end of the connection.
        .force_close()
        .streaming(following.into_stream()))
}

/// A little more than the gateway is given.
fn patience(front: &Front) -> Duration {
    front.settings.gateway_timeout.saturating_add(Duration::from_secs(1))
}

/// An id that isn't ours is answered like one that is too old, because a browser takes an error for final.
fn last_event_id(request: &HttpRequest) -> Option<String> {
    let text = request.headers().get("last-event-id")?.to_str().unwrap_or("?").trim().to_owned();
    (!text.is_empty()).then_some(text)
}
