//! `GET /api/gateways/{id}/logs`: the gateway's own log entries, as far as it gives them out: read once (`logs.tail`), or
//! followed.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, get};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::event_data;
use gatewarden_actors::event_hub::subscriber::Subscription;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::log_watch::{LogBegin, LogCursor, LogDelivery, LogGap, LogRequest, LogSubscription};
use gatewarden_actors::registry::messages::WatchGatewayLogs;
use gatewarden_api::gateways::{GatewayLogs, LogsQuery};
use gatewarden_api::responses::{GatewayErrors, NoGateway};
use gatewarden_protocol::{LogEntry, LogLevel, LogTail, read_log_line, read_log_tail};
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::gateway_id;
use crate::http::auth::{Authorized, Caller, GatewayOperator, check_own_page};
use crate::http::context::{App, AppContext};
use crate::http::error::Answer;
use crate::http::events::{COMMENT, PULSE, RETRY_MS, event_stream, join_for_the_end};
use crate::http::input::{GatewayPath, read_query};

/// Gateways give out no more at once.
const LIMIT: usize = gatewarden_protocol::limits::MAX_LOG_LINES;

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
    tag = "Gateways",
    params(
        GatewayPath, LogsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "With follow: go on after this id; comes before the query's"),
    ),
    responses(
        (status = 200, description = "Oldest first; with follow a stream (text/event-stream) without an end", body = GatewayLogs),
        NoGateway, GatewayErrors,
    ),
)]
#[get("/api/gateways/{id}/logs")]
pub(crate) async fn read_gateway_logs(by: Authorized<GatewayOperator>, app: App, request: HttpRequest) -> Answer {
    let id = gateway_id(&request)?;
    let query: LogsQuery = read_query(&request)?;
    app.gateway(id)?;
    let asked =
        Asked { limit: query.limit.unwrap_or(200), level: query.level.as_deref().and_then(LogLevel::from_name) };
    if query.follow == Some(true) {
        check_own_page(&request, &by.caller)?;
        let last = last_event_id(&request).or(query.last_event_id);
        follow_logs(app, by.caller, id, asked, last).await
    } else {
        read_logs(&app, id, asked).await
    }
}

async fn read_logs(app: &AppContext, id: GatewayId, asked: Asked) -> Answer {
    let Asked { limit, level } = asked;
    // The gateway counts lines of all levels, so a filtered read asks for more.
    let lines = if level.is_some() { LIMIT } else { limit };
    let (answered, payload) = app.call_gateway(Some(id), "logs.tail", json!({ "limit": lines })).await?;
    let (payload, _cover) = payload.into_parts();
    let tail = read_log_tail(payload);
    let cursor = tail.as_ref().map(|tail| tail.cursor);
    let LogTail { lines, truncated, .. } =
        tail.unwrap_or(LogTail { file: None, cursor: 0, lines: Vec::new(), truncated: false, reset: false });
    let mut entries: Vec<_> = lines.iter().map(|line| read_log_line(line)).collect();
    entries.retain(|entry| level.is_none_or(|level| entry.is_at_least(level)));
    let surplus = entries.len().saturating_sub(limit);
    entries.drain(..surplus);
    Ok(HttpResponse::Ok().json(GatewayLogs {
        logs: entries.into_iter().map(Into::into).collect(),
        gateway_id: answered.0,
        cursor,
        truncated: truncated || surplus > 0,
    }))
}

async fn follow_logs(app: App, caller: Caller, id: GatewayId, asked: Asked, last: Option<String>) -> Answer {
    let cursor = last.as_deref().map(LogCursor::parse);
    let begin = cursor.flatten().map_or(LogBegin::Newest(asked.limit), LogBegin::After);
    let wanted = LogRequest { begin, level: asked.level };
    let end = join_for_the_end(&app, &caller).await?;
    let watch = WatchGatewayLogs { gateway: id, request: wanted, timeout: app.settings.gateway_timeout };
    let subscription = app.registry.watch_logs.send(watch, app.gateway_patience()).await?;
    let id_was_unknown = cursor == Some(None);
    let following = Following::new(app, caller, id, asked.level, subscription, end, id_was_unknown);
    Ok(event_stream(following.into_stream()))
}

/// An id that isn't ours is answered like one that is too old, because a browser takes an error for final.
fn last_event_id(request: &HttpRequest) -> Option<String> {
    let text = request.headers().get("last-event-id")?.to_str().unwrap_or("?").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Between two attempts to go on with a gateway whose actor is gone.
const REJOIN_EVERY: Duration = Duration::from_secs(1);

/// The stream of one follower of a gateway's log. It outlives the gateway's connection and the actor that holds it: what happens to
/// them is told, and the stream goes on after the last entry that was sent.
struct Following {
    app: App,
    caller: Caller,
    gateway: GatewayId,
    level: Option<LogLevel>,
    /// None while the gateway's actor is gone.
    subscription: Option<LogSubscription>,
    /// Its end is the daemon's stop.
    end: Subscription,
    heartbeat: Interval,
    /// After the last entry that was sent.
    last: Option<LogCursor>,
    stage: Stage,
    is_interrupted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening { id_was_unknown: bool },
    IdUnknown,
    Open,
    Over,
}

enum Next {
    Heartbeat,
    DaemonStops,
    Delivery(LogDelivery),
    /// The gateway's actor is gone.
    Gone,
    Rejoined(Result<LogSubscription, Failure>),
}

impl Following {
    fn new(
        app: App,
        caller: Caller,
        gateway: GatewayId,
        level: Option<LogLevel>,
        subscription: LogSubscription,
        end: Subscription,
        id_was_unknown: bool,
    ) -> Self {
        let mut heartbeat = interval(PULSE);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        Self {
            app,
            caller,
            gateway,
            level,
            last: None,
            subscription: Some(subscription),
            end,
            heartbeat,
            stage: Stage::Opening { id_was_unknown },
            is_interrupted: false,
        }
    }

    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        unfold(self, |mut following| async move { following.next().await.map(|bytes| (Ok(bytes), following)) })
    }

    async fn next(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Opening { id_was_unknown } => {
                self.stage = if id_was_unknown { Stage::IdUnknown } else { Stage::Open };
                return Some(self.opening());
            }
            Stage::IdUnknown => {
                self.stage = Stage::Open;
                return Some(self.gap(LogGap::NotThere));
            }
            Stage::Over => return None,
            Stage::Open => {}
        }
        loop {
            match self.happens().await {
                Next::Heartbeat if self.caller.is_still_good(&self.app).await => return Some(COMMENT),
                Next::Heartbeat => {
                    return Some(self.over("unauthorized", "The API key or browser session is no longer good", None));
                }
                Next::DaemonStops => return Some(self.over("daemon_stops", "The daemon stops: reconnect", None)),
                Next::Delivery(delivery) => {
                    if let Some(bytes) = self.delivered(delivery) {
                        return Some(bytes);
                    }
                }
                Next::Gone => {
                    self.subscription = None;
                    if let Some(bytes) = self.delivered(LogDelivery::Interrupted) {
                        return Some(bytes);
                    }
                }
                Next::Rejoined(Ok(subscription)) => {
                    self.subscription = Some(subscription);
                    if let Some(bytes) = self.delivered(LogDelivery::Resumed) {
                        return Some(bytes);
                    }
                }
                Next::Rejoined(Err(failure)) => {
                    let is_final =
                        matches!(failure.code, ErrorCode::GatewayNotFound | ErrorCode::NotSupportedByGateway);
                    if is_final {
                        return Some(self.over(failure.code.as_str(), &failure.message, failure.help.as_deref()));
                    }
                }
            }
        }
    }

    /// The id is that of an empty beginning: a browser that comes back before the first entry names it.
    fn opening(&mut self) -> Bytes {
        let begins_at = self.subscription.as_ref().and_then(LogSubscription::begins_at);
        self.last = begins_at;
        let id = begins_at.map(|cursor| format!("id: {cursor}\n")).unwrap_or_default();
        Bytes::from(format!("retry: {RETRY_MS}\n{id}\n"))
    }

    async fn happens(&mut self) -> Next {
        let Self { app, gateway, level, subscription, end, heartbeat, last, .. } = self;
        let delivery = async {
            match subscription {
                Some(subscription) => subscription.next().await.map_or(Next::Gone, Next::Delivery),
                None => {
                    sleep(REJOIN_EVERY).await;
                    let begin = last.map_or(LogBegin::Now, LogBegin::After);
                    let wanted = LogRequest { begin, level: *level };
                    let watch =
                        WatchGatewayLogs { gateway: *gateway, request: wanted, timeout: app.settings.gateway_timeout };
                    Next::Rejoined(app.registry.watch_logs.send(watch, app.gateway_patience()).await)
                }
            }
        };
        tokio::select! {
            // First the heartbeat: a client that was stuck for long gets nothing more before its key is looked at again.
            biased;
            _ = heartbeat.tick() => Next::Heartbeat,
            () = async { while end.next().await.is_some() {} } => Next::DaemonStops,
            next = delivery => next,
        }
    }

    /// What is sent of a delivery; nothing where it says what was said already.
    fn delivered(&mut self, delivery: LogDelivery) -> Option<Bytes> {
        match &delivery {
            LogDelivery::Entry { entry, cursor } => {
                self.last = cursor.or(self.last);
                Some(self.entry(entry, *cursor))
            }
            LogDelivery::Lagged { dropped } => Some(event("lagged", &json!({ "dropped": dropped }))),
            LogDelivery::Gap(gap) => Some(self.gap(*gap)),
            LogDelivery::Interrupted if std::mem::replace(&mut self.is_interrupted, true) => None,
            LogDelivery::Interrupted => {
                let words = delivery.sentence(&self.name());
                let status = self.app.roster.get(self.gateway).map(|view| view.report.status.as_str());
                Some(event(
                    "interrupted",
                    &json!({ "reason": "gateway_unavailable", "status": status, "message": words }),
                ))
            }
            LogDelivery::Resumed if !std::mem::replace(&mut self.is_interrupted, false) => None,
            LogDelivery::Resumed => Some(event("resumed", &json!({ "message": delivery.sentence(&self.name()) }))),
            LogDelivery::Over(failure) => {
                Some(self.over(failure.code.as_str(), &failure.message, failure.help.as_deref()))
            }
        }
    }

    fn entry(&self, entry: &LogEntry, cursor: Option<LogCursor>) -> Bytes {
        let ts = self.app.clock.wall_ms();
        let data = event_data::log(self.gateway, &self.name(), entry.clone());
        let data = serde_json::to_string(&data).unwrap_or_default();
        let id = cursor.map(|cursor| format!("id: {cursor}\n")).unwrap_or_default();
        // In the order of the other streams.
        Bytes::from(format!("event: log\n{id}data: {{\"type\":\"log\",\"ts\":{ts},\"data\":{data}}}\n\n"))
    }

    fn gap(&self, gap: LogGap) -> Bytes {
        event("reset", &json!({ "reason": gap.as_str(), "message": gap.sentence(&self.name()) }))
    }

    fn over(&mut self, reason: &str, message: &str, help: Option<&str>) -> Bytes {
        self.stage = Stage::Over;
        self.subscription = None;
        event("end", &json!({ "reason": reason, "message": message, "help": help }))
    }

    fn name(&self) -> String {
        self.app.roster.get(self.gateway).map(|view| view.record.name.clone()).unwrap_or_default()
    }
}

fn event(kind: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}
