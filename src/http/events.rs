//! `GET /api/events`: what happens, as server-sent events. The same stream over WebSocket is in [`socket`].

pub(crate) mod socket;

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, get};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::event::{EventFilter, EventKind};
use gatewarden_actors::event_hub::messages::Subscribe;
use gatewarden_actors::event_hub::subscriber::{Delivery, Subscription};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::log_relay::{LogLease, MAX_GATEWAYS, RelayLogs};
use gatewarden_actors::machines::event_places::{Holder, NoPlace};
use gatewarden_actors::store::records::Role;
use gatewarden_api::access::EventsQuery;
use gatewarden_api::request::{Fields, Request as _};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::auth::{Authorized, Caller, StreamViewer};
use super::context::{App, AppContext};
use super::error::{Answer, ApiError};
use super::input::query;

/// Proxies that gather answers before they pass them on are told not to.
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// Follow what happens (server-sent events)
///
/// Each event has a type, a number that grows by one, and JSON: `{"type","ts","data"}` with `ts` in milliseconds, in the form of the schema `Event`. A client
/// that comes back with the last number that it saw gets what it missed, or an event `reset` where that is not possible:
/// then it should read the state anew. One that reads too slowly loses its oldest waiting events and is told how many
/// with an event `lagged`. A comment line comes every 15 s, every 3 s where log entries were asked for. Events of the type
/// `audit` go to admins only, those of the type `log` to operators and admins who name it in `types`: gateways' logs are
/// read while somebody does. Whoever names a type that the key's role may not follow is refused. The stream ends when the daemon stops, and when the key or browser session behind it is no
/// longer good.
#[utoipa::path(
    tag = "Events",
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this number; comes before the query's"),
    ),
    responses((status = 200, description = "A stream without an end", body = String, content_type = "text/event-stream")),
)]
#[get("/api/events")]
pub(crate) async fn follow_events(by: Authorized<StreamViewer>, app: App, request: HttpRequest) -> Answer {
    let wanted = Wanted::read(&request)?;
    let subscription = join(&app, &by.caller, &wanted).await?;
    Ok(event_stream(stream(subscription, app, by.caller)))
}

/// The answer that is a stream of events.
pub(crate) fn event_stream(events: impl Stream<Item = Result<Bytes, Infallible>> + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(UNBUFFERED)
        // The end of the stream is the end of the connection: nobody has to wait for an idle one when the daemon stops.
        .force_close()
        .streaming(events)
}

/// A client's wishes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Types to be sent; empty for all but those that come on request.
    pub(crate) kinds: Vec<EventKind>,
    /// The last event that the client saw, where it returns.
    pub(crate) last_seen: Option<u64>,
    /// Gateways whose log entries are wanted; none for all.
    pub(crate) logs_of: Option<Arc<[GatewayId]>>,
}

impl Wanted {
    /// Reads `types`, `gateway_id`, `last_event_id` and the header `Last-Event-ID`.
    pub(crate) fn read(request: &HttpRequest) -> Result<Self, ApiError> {
        let query = query(request);
        let mut fields = query.fields();
        let asked = EventsQuery::read(&mut fields);
        let kinds = kinds(&mut fields, asked.types.as_deref());
        let logs_of = gateways(&mut fields, asked.gateway_id.as_deref());
        let by_query = asked.last_event_id.and_then(|id| u64::try_from(id).ok());
        fields.finish()?;
        // A browser that reconnects repeats the query of its first request, so the header is the newer one.
        Ok(Self { kinds, last_seen: last_event_id(request).or(by_query), logs_of })
    }
}

fn kinds(fields: &mut Fields<'_>, names: Option<&str>) -> Vec<EventKind> {
    let mut kinds = Vec::new();
    for name in names.into_iter().flat_map(|names| names.split(',')).map(str::trim) {
        let Some(kind) = EventKind::from_name(name) else {
            let shown: String = name.chars().filter(|character| !character.is_control()).take(60).collect();
            let known = EventKind::ALL.map(EventKind::as_str).join(", ");
            fields.wrong("types", format_args!("names \"{shown}\", which is no type of event; there are {known}"));
            break;
        };
        kinds.push(kind);
    }
    kinds
}

fn gateways(fields: &mut Fields<'_>, ids: Option<&str>) -> Option<Arc<[GatewayId]>> {
    let ids: Option<Vec<GatewayId>> =
        ids?.split(',').map(|id| id.trim().parse().ok().filter(|id| *id > 0).map(GatewayId)).collect();
    let ids = ids.filter(|ids| ids.len() <= MAX_GATEWAYS);
    if ids.is_none() {
        fields.wrong("gateway_id", format_args!("must be up to {MAX_GATEWAYS} ids, separated by commas"));
    }
    ids.map(Arc::from)
}

/// What a browser keeps may be of another server; an id that isn't ours is answered like one that is too old, because a
/// browser takes an error for final.
fn last_event_id(request: &HttpRequest) -> Option<u64> {
    let value = request.headers().get("last-event-id")?;
    let text = value.to_str().unwrap_or("?").trim();
    (!text.is_empty()).then(|| text.parse().unwrap_or(u64::MAX))
}

/// Wishes for log entries under way at one time.
pub(crate) const RELAYS: usize = 64;
/// Events that may wait for one client; beyond that it loses the oldest.
const QUEUE: usize = 256;
/// When to try again where all places are taken.
const WAIT: Duration = Duration::from_secs(10);

/// A client's place at the hub; where it asked for log entries, they come as long as it holds this.
pub(crate) struct Place {
    subscription: Subscription,
    logs: Option<LogLease>,
}

impl Place {
    /// Whether gateways are asked for their logs on this client's behalf.
    pub(crate) fn has_logs(&self) -> bool {
        self.logs.is_some()
    }
}

impl Deref for Place {
    type Target = Subscription;

    fn deref(&self) -> &Subscription {
        &self.subscription
    }
}

/// Subscribes a client to what it wants and may see.
pub(crate) async fn join(app: &AppContext, caller: &Caller, wanted: &Wanted) -> Result<Place, ApiError> {
    let kinds = kinds_for(caller.key.role, &wanted.kinds)?;
    let filter = EventFilter::new(&kinds, caller.is_at_least(Role::Admin)).with_logs_of(wanted.logs_of.clone());
    for id in wanted.logs_of.iter().flat_map(|ids| ids.iter()) {
        app.gateway(*id)?;
    }
    let subscribe_to = Subscribe { holder: holder(caller), filter, last_seen: wanted.last_seen, queue: QUEUE };
    let subscription = subscribe(app, subscribe_to).await?;
    if kinds.contains(&EventKind::GatewayVitals) {
        app.vitals.begin(&app.roster);
    }
    // Only whoever names them: a stream of everything must not make the daemon read the logs of a whole fleet.
    let logs = if kinds.contains(&EventKind::Log) {
        let relay = RelayLogs { gateways: wanted.logs_of.clone() };
        Some(app.ask(&app.log_relay, relay).await?)
    } else {
        None
    };
    Ok(Place { subscription, logs })
}

/// A place that tells only when streams end because the daemon stops.
pub(crate) async fn join_for_the_end(app: &AppContext, caller: &Caller) -> Result<Subscription, ApiError> {
    let (holder, filter) = (holder(caller), EventFilter::nothing());
    subscribe(app, Subscribe { holder, filter, last_seen: None, queue: 1 }).await
}

/// Places are counted by key: browser sessions count as the key that they were opened with.
fn holder(caller: &Caller) -> Holder {
    Holder { key: caller.key.limit_key(), is_admin: caller.is_at_least(Role::Admin) }
}

/// Without a choice: all that the role may follow, but those that come on request. A choice of more than it may is refused: a stream on which
/// what was asked for never comes looks like one on which it doesn't happen.
fn kinds_for(role: Role, wanted: &[EventKind]) -> Result<Vec<EventKind>, ApiError> {
    let needed = |kind: &EventKind| match kind {
        EventKind::Audit => Role::Admin,
        EventKind::Log => Role::Operator,
        _ => Role::Viewer,
    };
    if wanted.is_empty() {
        let unasked = |kind: &EventKind| !kind.is_on_request() && needed(kind) <= role;
        return Ok(EventKind::ALL.into_iter().filter(unasked).collect());
    }
    let beyond: Vec<String> = wanted
        .iter()
        .filter(|kind| needed(kind) > role)
        .map(|kind| format!("{} (needs the role {})", kind.as_str(), needed(kind).as_str()))
        .collect();
    if beyond.is_empty() {
        return Ok(wanted.to_vec());
    }
    let (types, role) = (beyond.join(", "), role.as_str());
    let sentence = format!("A key with the role {role} can't follow events of these types: {types}");
    Err(Failure::new(ErrorCode::Forbidden, sentence)
        .with_help("Leave them out of types, or use a key of a larger role.")
        .into())
}

async fn subscribe(app: &AppContext, subscribe: Subscribe) -> Result<Subscription, ApiError> {
    let joining = tokio::time::timeout(app.settings.request_deadline, app.event_hub.send(subscribe));
    match joining.await {
        Ok(Ok(Ok(subscription))) => Ok(subscription),
        Ok(Ok(Err(none))) => Err(ApiError(refusal(none))),
        Ok(Err(_)) | Err(_) => Err(Failure::unavailable("event hub").into()),
    }
}

fn refusal(none: NoPlace) -> Failure {
    let (code, message, help) = match none {
        NoPlace::Ended => (
            ErrorCode::Unavailable,
            "The daemon is stopping".to_owned(),
            "Wait as long as the Retry-After header says.",
        ),
        NoPlace::Full { places } => (
            ErrorCode::Unavailable,
            format!("All {places} places for clients that follow events are taken"),
            "Close streams that nobody reads, or raise http.max_connections, of which two thirds may follow events.",
        ),
        NoPlace::Share { share } => (
            ErrorCode::RateLimited,
            format!("This key follows events {share} times already, which is its share of the places"),
            "Close streams that nobody reads, use other keys for other clients, or raise http.max_connections.",
        ),
    };
    Failure::new(code, message).with_help(help).with_retry_after(WAIT)
}

/// Between two comment lines, which keep proxies from closing an idle connection and find out who is gone.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// The same on streams for which gateways are asked: a client that closed its end is noticed at the second write only, and
/// should not be asked for much longer than it is there.
pub(crate) const PULSE: Duration = Duration::from_secs(3);
pub(crate) const COMMENT: Bytes = Bytes::from_static(b": heartbeat\n\n");
/// How long a browser waits before it reconnects.
pub(crate) const RETRY_MS: u64 = 3_000;

struct Open {
    subscription: Place,
    heartbeat: Interval,
    app: App,
    caller: Caller,
    is_opened: bool,
}

/// The body. Ends with the subscription, or at the first heartbeat at which the caller may no longer read.
fn stream(subscription: Place, app: App, caller: Caller) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let mut heartbeat = interval(if subscription.has_logs() { PULSE } else { HEARTBEAT });
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let open = Open { subscription, heartbeat, app, caller, is_opened: false };
    unfold(open, |mut open| async move { open.next().await.map(|bytes| (Ok(bytes), open)) })
}

impl Open {
    async fn next(&mut self) -> Option<Bytes> {
        if !self.is_opened {
            self.is_opened = true;
            // An id without data is no event, but a browser that comes back before the first event names it.
            return Some(Bytes::from(format!("retry: {RETRY_MS}\nid: {}\n\n", self.subscription.starts_after())));
        }
        tokio::select! {
            // First the heartbeat: a client that was stuck for long gets nothing more before its key is looked at again.
            biased;
            _ = self.heartbeat.tick() => self.caller.is_still_good(&self.app).await.then_some(COMMENT),
            // Nothing is told any more from the moment that a key is revoked.
            delivery = self.subscription.next() => delivery
                .filter(|_| self.app.keys.still_lets_in(&self.caller.key, self.app.now_s()))
                .map(|delivery| rendered(&delivery)),
        }
    }
}

fn rendered(delivery: &Delivery) -> Bytes {
    match delivery {
        Delivery::Event(event) => event.sse.clone(),
        Delivery::Lagged { dropped } => Bytes::from(format!("event: lagged\ndata: {{\"dropped\":{dropped}}}\n\n")),
        Delivery::Reset { last_id } => {
            Bytes::from(format!("event: reset\nid: {last_id}\ndata: {{\"last_id\":{last_id}}}\n\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn log_entries_come_to_operators_who_name_them() {
        let log = [EventKind::Log, EventKind::GatewayStatus];
        assert_eq!(kinds_for(Role::Operator, &log).unwrap(), log);
        assert_eq!(kinds_for(Role::Admin, &log).unwrap(), log);
        let everything = kinds_for(Role::Admin, &[]).unwrap();
        assert_eq!(everything.len(), EventKind::ALL.len() - 2);
        assert!(!everything.contains(&EventKind::Log) && !everything.contains(&EventKind::GatewayVitals));
    }

    #[test]
    fn types_above_the_role_are_left_out_unasked_and_refused_by_name() {
        let of_viewer = kinds_for(Role::Viewer, &[]).unwrap();
        assert_eq!(of_viewer.len(), EventKind::ALL.len() - 3);
        assert!(!of_viewer.contains(&EventKind::Audit));
        let refused = |role, wanted: &[EventKind]| kinds_for(role, wanted).unwrap_err().0;
        let failure = refused(Role::Viewer, &[EventKind::Log, EventKind::GatewayStatus, EventKind::Audit]);
        assert_eq!(failure.code, ErrorCode::Forbidden);
        assert!(failure.message.ends_with("log (needs the role operator), audit (needs the role admin)"), "{failure}");
        assert!(refused(Role::Operator, &[EventKind::Audit]).message.contains("audit"));
    }

    fn wanted(query: &str, header: Option<&str>) -> Result<Wanted, String> {
        let mut request = TestRequest::default().uri(&format!("/api/events?{query}"));
        if let Some(header) = header {
            request = request.insert_header(("last-event-id", header));
        }
        Wanted::read(&request.to_http_request()).map_err(|error| error.0.message)
    }

    #[test]
    fn types_and_the_last_id_are_read() {
        assert_eq!(wanted("", None), Ok(Wanted { kinds: Vec::new(), last_seen: None, logs_of: None }));
        let some = wanted("types=log,gateway.status&last_event_id=17&gateway_id=3,5", None).unwrap();
        let logs_of: Option<Arc<[GatewayId]>> = Some(Arc::from([GatewayId(3), GatewayId(5)]));
        assert_eq!(
            some,
            Wanted { kinds: vec![EventKind::Log, EventKind::GatewayStatus], last_seen: Some(17), logs_of }
        );
    }

    #[test]
    fn the_header_comes_before_the_query_and_nonsense_in_it_is_an_id_that_nobody_has() {
        assert_eq!(wanted("last_event_id=1", Some("5")).unwrap().last_seen, Some(5));
        assert_eq!(wanted("last_event_id=1", Some("")).unwrap().last_seen, Some(1));
        assert_eq!(wanted("", Some("abc")).unwrap().last_seen, Some(u64::MAX));
        assert_eq!(wanted("", Some("-1")).unwrap().last_seen, Some(u64::MAX));
    }

    #[test]
    fn what_is_wrong_in_the_query_is_named() {
        assert!(wanted("types=log,gateway.statuss", None).unwrap_err().contains("\"gateway.statuss\""));
        assert!(wanted("types=log,", None).unwrap_err().contains("\"\""));
        assert!(wanted("last_event_id=undefined", None).unwrap_err().contains("last_event_id"));
        for ids in ["x", "0", "1,,2", "-1", &"1,".repeat(64)] {
            assert!(wanted(&format!("gateway_id={ids}"), None).unwrap_err().contains("gateway_id"), "{ids}");
        }
        assert!(wanted("last_event_id=-1", None).unwrap_err().contains("last_event_id"));
    }
}
