//! Who asks over HTTP: `Authorization: Bearer` with the shared token or password, checked by the core actor.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use gatewarden_protocol::Secret;
use tokio::sync::oneshot;

use super::answer::{json_answer, refusal};
use super::entrance::peer_of;
use crate::caller::Caller;
use crate::connection::GatewayContext;
use crate::core_actor::messages::CheckBearer;
use crate::reply::CallError;

/// Longest credential that is looked at, in bytes.
const MAX_TOKEN: usize = 4_096;

pub(super) async fn caller(
    request: &HttpRequest,
    context: &Data<Rc<GatewayContext>>,
) -> Result<Arc<Caller>, HttpResponse> {
    let peer = peer_of(request, context).ok_or_else(no_peer)?;
    let (answer, answered) = oneshot::channel();
    let check = CheckBearer { connection: context.next_connection(), peer, token: bearer(request), answer };
    context.core.send(check).await.map_err(|_| stopping())?;
    answered.await.map_err(|_| stopping())?.map_err(|error| unauthorized(&error))
}

pub(super) fn no_peer() -> HttpResponse {
    refusal(StatusCode::BAD_REQUEST, "no_peer", "the connection has no address")
}

pub(super) fn bearer(request: &HttpRequest) -> Option<Secret> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let fits = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= MAX_TOKEN;
    fits.then(|| Secret::new(token))
}

/// A refused credential: 429 while the address is locked out, else 401.
pub(super) fn unauthorized(error: &CallError) -> HttpResponse {
    let locked = error.details.get("code").and_then(|code| code.as_str()) == Some("AUTH_RATE_LIMITED");
    let status = if locked { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::UNAUTHORIZED };
    let mut answer = json_answer(status, &serde_json::json!({"error": error.to_value()}));
    if locked {
        let seconds = error.retry_after_ms.unwrap_or(60_000).div_ceil(1_000).max(1);
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    } else {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

pub(super) fn stopping() -> HttpResponse {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the gateway is stopping")
}
