//! The stream of one follower of a gateway's log. It outlives the gateway's connection and the actor that holds it: what
//! happens to them is told, and the stream goes on after the last entry that was sent.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::web;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::event_hub::subscriber::Subscription;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::log_relay::event_data;
use gatewarden_actors::log_watch::{LogBegin, LogCursor, LogDelivery, LogGap, LogSubscription, LogWish};
use gatewarden_actors::registry::messages::WatchGatewayLogs;
use gatewarden_protocol::{LogEntry, LogLevel};
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::http::auth::Caller;
use crate::http::events::server_sent::{COMMENT, PULSE, RETRY_MS};
use crate::http::front::Front;

/// Between two attempts to go on with a gateway whose actor is gone.
const REJOIN_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Following {
    front: web::Data<Front>,
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

/// What comes next.
enum Next {
    Heartbeat,
    DaemonStops,
    Delivery(LogDelivery),
    /// The gateway's actor is gone.
    Gone,
    Rejoined(Result<LogSubscription, Failure>),
}

impl Following {
    pub(super) fn new(
        front: web::Data<Front>,
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
            front,
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

    /// The body.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
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
                Next::Heartbeat if self.caller.is_still_good(&self.front).await => return Some(COMMENT),
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
        let Self { front, gateway, level, subscription, end, heartbeat, last, .. } = self;
        let delivery = async {
            match subscription {
                Some(subscription) => subscription.next().await.map_or(Next::Gone, Next::Delivery),
                None => {
                    sleep(REJOIN_EVERY).await;
                    let begin = last.map_or(LogBegin::Now, LogBegin::After);
                    let wish = LogWish { begin, level: *level };
                    let watch = WatchGatewayLogs { gateway: *gateway, wish, timeout: front.settings.gateway_timeout };
                    Next::Rejoined(front.app.registry.watch_logs.send(watch, super::patience(front)).await)
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
                let status = self.front.app.roster.get(self.gateway).map(|view| view.report.status.as_str());
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
        let ts = self.front.app.clock.wall_ms();
        let data = event_data(self.gateway, &self.name(), entry);
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
        self.front.app.roster.get(self.gateway).map(|view| view.record.name.clone()).unwrap_or_default()
    }
}

fn event(kind: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}
