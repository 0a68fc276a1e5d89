//! `GET /api/events`: what happens, as server-sent events. The same stream over WebSocket is in [`super::events_socket`].
//!
//! | file | decides |
//! | --- | --- |
//! | `wanted` | what a client asks for: types, and where to go on |
//! | `joining` | whether it gets a place at the event hub |
//! | `server_sent` | what goes over the wire, and when a stream ends |

pub(crate) mod joining;
pub(crate) mod server_sent;
pub(crate) mod wanted;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, get, web};

use self::wanted::Wanted;
use super::auth::{By, StreamViewer};
use super::error::{ApiError, KeyErrors};
use super::front::Front;

/// Proxies that gather answers before they pass them on are told not to.
pub(crate) const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// Follow what happens (server-sent events)
///
/// Each event has a type, a number that grows by one, and JSON: `{"type","ts","data"}` with `ts` in milliseconds. A client
/// that comes back with the last number that it saw gets what it missed, or an event `reset` where that is not possible:
/// then it should read the state anew. One that reads too slowly loses its oldest waiting events and is told how many
/// with an event `lagged`. A comment line comes every 15 s, every 3 s where log entries were asked for. Events of the type
/// `audit` go to admins only, those of the type `log` to operators and admins who name it in `types`: gateways' logs are
/// read while somebody does. The stream ends when the daemon stops, and when the key or browser session behind it is no
/// longer good.
#[utoipa::path(
    operation_id = "follow_events",
    tag = "Events",
    params(
        ("types" = Option<String>, Query, description = "Types to be sent, separated by commas; all but log by default", example = "gateway.status,gateway.primary"),
        ("gateway_id" = Option<String>, Query, description = "Log entries of these gateways only, separated by commas; other types are not affected", example = "1,2"),
        ("last_event_id" = Option<u64>, Query, description = "Go on after this number, for clients that cannot set headers"),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this number; comes before the query's"),
    ),
    responses(
        (status = 200, description = "A stream without an end", body = String, content_type = "text/event-stream"),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/events")]
pub(crate) async fn follow(
    by: By<StreamViewer>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let wanted = Wanted::read(&request)?;
    let subscription = joining::join(&front, &by.caller, &wanted).await?;
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(UNBUFFERED)
        // The end of the stream is the end of the connection: nobody has to wait for an idle one when the daemon stops.
        .force_close()
        .streaming(server_sent::stream(subscription, front, by.caller)))
}
