//! `/api/ws`: the stream of [`super`] over a WebSocket.
//!
//! The only module that uses `actix-web-actors`, which is deprecated upstream. What it can't do by itself is done here:
//! its outgoing queue has no bound, so that deliveries are taken from the subscription in batches, the next one only once
//! the connection has taken the last; and it neither pings nor watches for pongs.
//!
//! Close codes: 1001 the daemon stops, 1002 what came was no proper WebSocket frame, or no pong came, 1008 the key or
//! browser session is no longer good, 1009 a frame was too large, 1013 the client reads too slowly.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, StreamHandler, WrapFuture};
use actix_web::{HttpRequest, get, web};
use actix_web_actors::ws::{self, CloseCode, CloseReason, ProtocolError, WebsocketContext};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::Stream;
use futures_util::stream::unfold;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::event_hub::subscriber::Delivery;
use gatewarden_api::access::EventsQuery;
use tokio::time::{MissedTickBehavior, interval};

use super::{Place, Wanted, join};
use crate::http::auth::{Authorized, Caller, StreamViewer};
use crate::http::context::App;
use crate::http::error::{Answer, ApiError, invalid};

/// Between two messages that scripts see, as they don't see pings: the first comes at once.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Between two pings, at each of which the key behind the stream is looked at again.
const PING: Duration = Duration::from_secs(15);
/// A client that answers no ping for so long is gone.
const PATIENCE: Duration = Duration::from_secs(45);
/// Largest frame that a client may send.
const MAX_FRAME: usize = 64 * 1024;
/// Bytes handed to the connection at one time, but for the last message.
const BATCH: usize = 32 * 1024;
/// A client may fall behind so often within [`LAG_SPAN`]; then it is closed.
const LAGS: usize = 3;
const LAG_SPAN: Duration = Duration::from_secs(60);

/// Follow what happens (WebSocket)
///
/// The same stream as `GET /api/events`, as text messages: `{"id","type","ts","data"}` for an event,
/// `{"type":"keepalive","last_id","ts"}` at once and every 15 s without other news, `{"type":"reset","last_id"}` where missed events can't be replayed, `{"type":"lagged","dropped"}` where the client read
/// too slowly. Browsers come with the session cookie; a key in the URL is not read. What clients send is ignored.
#[utoipa::path(
    tag = "Events",
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this number; comes before the query's"),
    ),
    responses((status = 101, description = "The connection is a WebSocket from here on")),
)]
#[get("/api/ws")]
pub(crate) async fn follow_events_over_websocket(
    by: Authorized<StreamViewer>,
    app: App,
    request: HttpRequest,
    incoming: web::Payload,
) -> Answer {
    if let Err(fault) = ws::handshake(&request) {
        let mut error = invalid(format!("This is for WebSockets only: {fault}"));
        error.0.help = Some("GET /api/events gives the same events over plain HTTP.".to_owned());
        return Err(error);
    }
    let wanted = Wanted::read(&request)?;
    let subscription = join(&app, &by.caller, &wanted).await?;
    let socket = EventsSocket::new(subscription, app, by.caller);
    ws::WsResponseBuilder::new(socket, &request, incoming).frame_size(MAX_FRAME).start().map_err(|fault| {
        tracing::warn!(error = %fault, "a WebSocket could not be opened after its handshake had been checked");
        ApiError(Failure::new(ErrorCode::Internal, "The WebSocket could not be opened"))
    })
}

/// One client. It runs inside the connection's own polling: while the client takes nothing, nothing happens here.
struct EventsSocket {
    subscription: Option<Place>,
    app: App,
    caller: Caller,
    last_pong: Instant,
    lags: VecDeque<(Instant, u64)>,
    is_closing: bool,
}

impl EventsSocket {
    fn new(subscription: Place, app: App, caller: Caller) -> Self {
        let now = app.clock.now();
        Self { subscription: Some(subscription), app, caller, last_pong: now, lags: VecDeque::new(), is_closing: false }
    }

    fn now(&self) -> Instant {
        self.app.clock.now()
    }

    fn close(&mut self, context: &mut WebsocketContext<Self>, code: CloseCode, why: &str) {
        if !self.is_closing {
            self.is_closing = true;
            context.close(Some(CloseReason { code, description: Some(why.to_owned()) }));
            context.stop();
        }
    }

    fn close_for_key(&mut self, context: &mut WebsocketContext<Self>) {
        self.close(context, CloseCode::Policy, "the API key or browser session is no longer good");
    }

    fn ping(&mut self, context: &mut WebsocketContext<Self>) {
        if self.now().saturating_duration_since(self.last_pong) >= PATIENCE {
            self.close(context, CloseCode::Protocol, &format!("no pong for {} s", PATIENCE.as_secs()));
            return;
        }
        let (caller, app) = (self.caller.clone(), self.app.clone());
        let look = async move { caller.is_still_good(&app).await };
        context.spawn(look.into_actor(self).map(|is_good, socket, context| {
            if is_good {
                context.ping(b"");
            } else {
                socket.close_for_key(context);
            }
        }));
    }

    /// How many events were dropped lately, where the client has fallen behind too often.
    fn too_slow(&mut self, dropped: u64) -> Option<u64> {
        let now = self.now();
        self.lags.push_back((now, dropped));
        self.lags.retain(|(at, _)| now.saturating_duration_since(*at) < LAG_SPAN);
        (self.lags.len() > LAGS).then(|| self.lags.iter().map(|(_, dropped)| dropped).sum())
    }
}

impl Actor for EventsSocket {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if let Some(subscription) = self.subscription.take() {
            context.add_stream(batched(subscription));
        }
        context.run_interval(PING, |socket, context| socket.ping(context));
    }
}

/// What a client is sent.
enum Message {
    Delivery(Delivery),
    /// It has got everything up to this number that it wants.
    Keepalive {
        last_id: u64,
    },
}

/// Deliveries, with a pause after each batch: the connection polls again once it has room. A keepalive comes where nothing waits.
fn batched(subscription: Place) -> impl Stream<Item = Message> {
    let mut beat = interval(KEEPALIVE);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    unfold((subscription, 0_usize, beat), |(subscription, mut handed, mut beat)| async move {
        if handed >= BATCH {
            tokio::task::yield_now().await;
            handed = 0;
        }
        let delivery = tokio::select! {
            biased;
            delivery = subscription.next() => Some(delivery?),
            _ = beat.tick() => None,
        };
        // The number first: what it stands for was queued before.
        let last_id = subscription.newest();
        let message = match delivery.or_else(|| subscription.try_next().inspect(|_| beat.reset_immediately())) {
            None => Message::Keepalive { last_id },
            Some(delivery) => {
                if let Delivery::Event(event) = &delivery {
                    handed += event.json.len();
                }
                Message::Delivery(delivery)
            }
        };
        Some((message, (subscription, handed, beat)))
    })
}

impl StreamHandler<Message> for EventsSocket {
    fn handle(&mut self, message: Message, context: &mut Self::Context) {
        if self.is_closing {
            return;
        }
        // Nothing is told any more from the moment that a key is revoked.
        if !self.app.keys.still_lets_in(&self.caller.key, self.app.now_s()) {
            self.close_for_key(context);
            return;
        }
        match message {
            Message::Keepalive { last_id } => {
                let ts = self.app.clock.wall_ms();
                context.text(format!("{{\"type\":\"keepalive\",\"last_id\":{last_id},\"ts\":{ts}}}"));
            }
            // It was rendered from text.
            Message::Delivery(Delivery::Event(event)) => context.text(text_of(event.socket_text())),
            Message::Delivery(Delivery::Reset { last_id }) => {
                context.text(format!("{{\"type\":\"reset\",\"last_id\":{last_id}}}"));
            }
            Message::Delivery(Delivery::Lagged { dropped }) => {
                context.text(format!("{{\"type\":\"lagged\",\"dropped\":{dropped}}}"));
                if let Some(lately) = self.too_slow(dropped) {
                    let why = format!("reads too slowly: {lately} events were dropped within a minute");
                    self.close(context, CloseCode::Again, &why);
                }
            }
        }
    }

    fn finished(&mut self, context: &mut Self::Context) {
        self.close(context, CloseCode::Away, "the daemon stops");
    }
}

/// Text again after its time as bytes; nothing else was ever in there.
fn text_of(bytes: Bytes) -> ByteString {
    ByteString::try_from(bytes).unwrap_or_default()
}

impl StreamHandler<Result<ws::Message, ProtocolError>> for EventsSocket {
    fn handle(&mut self, message: Result<ws::Message, ProtocolError>, context: &mut Self::Context) {
        match message {
            Ok(ws::Message::Ping(payload)) => context.pong(&payload),
            Ok(ws::Message::Pong(_)) => self.last_pong = self.now(),
            Ok(ws::Message::Close(reason)) => {
                if !self.is_closing {
                    self.is_closing = true;
                    context.close(reason.map(|reason| CloseReason { description: None, ..reason }));
                    context.stop();
                }
            }
            // A later release may understand something.
            Ok(ws::Message::Text(_) | ws::Message::Binary(_) | ws::Message::Continuation(_) | ws::Message::Nop) => {}
            Err(ProtocolError::Overflow) => {
                let why = format!("a frame may have {MAX_FRAME} bytes at most");
                self.close(context, CloseCode::Size, &why);
            }
            Err(fault) => {
                tracing::debug!(error = %fault, "a WebSocket client sent what is no proper frame");
                self.close(context, CloseCode::Protocol, "that was no proper WebSocket frame");
            }
        }
    }
}
