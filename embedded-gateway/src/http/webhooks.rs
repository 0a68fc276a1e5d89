//! Webhooks (document 004): a POST from outside becomes a message to an agent. Each has a secret of its own; there are none by
//! default.

mod secret;
mod template;

use std::rc::Rc;

use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Data, PayloadConfig, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::answer::{call_error, json_answer, refusal, wrong_method};
use super::entrance::peer_of;
use super::login::{self, stopping, unauthorized};
use crate::config::Webhook;
use crate::connection::GatewayContext;
use crate::core_actor::messages::{CheckWebhook, Trigger};

pub(crate) use secret::Shown;

const MAX_BODY: usize = 256 * 1024;

/// Longest delivery id that is taken as idempotency key, in bytes.
const MAX_DELIVERY: usize = 128;

/// Headers in which senders name a delivery: sent again, it starts no second run.
const DELIVERY_HEADERS: [&str; 3] = ["idempotency-key", "x-github-delivery", "x-delivery-id"];

pub(super) fn routes(service: &mut ServiceConfig, webhooks: &[Webhook]) {
    for webhook in webhooks {
        let webhook = Data::new(webhook.clone());
        service.service(
            web::resource(webhook.path.clone())
                .app_data(PayloadConfig::default().limit(MAX_BODY))
                .app_data(webhook)
                .route(web::post().to(triggered))
                .default_service(web::to(|| async { wrong_method("POST") })),
        );
    }
}

async fn triggered(
    request: HttpRequest,
    context: Data<Rc<GatewayContext>>,
    webhook: Data<Webhook>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let Ok(body) = body else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &format!("at most {MAX_BODY} bytes are read"));
    };
    started(&request, &context, &webhook, &body).await.unwrap_or_else(|refusal| refusal)
}

async fn started(
    request: &HttpRequest,
    context: &Data<Rc<GatewayContext>>,
    webhook: &Webhook,
    body: &[u8],
) -> Result<HttpResponse, HttpResponse> {
    let peer = peer_of(request, context).ok_or_else(login::no_peer)?;
    let shown = secret::shown(request.headers(), login::bearer(request), &webhook.secret, body);
    let (answer, answered) = oneshot::channel();
    let check = CheckWebhook { peer, webhook: webhook.id.clone(), shown, answer };
    context.core.send(check).await.map_err(|_| stopping())?;
    answered.await.map_err(|_| stopping())?.map_err(|error| unauthorized(&error))?;
    let invalid = || refusal(StatusCode::BAD_REQUEST, "invalid_body", "the body must be JSON");
    let body: Value = serde_json::from_slice(body).map_err(|_| invalid())?;
    let message = template::fill(&webhook.message, &body);
    if message.trim().is_empty() {
        let said = "the message of this webhook is empty with this body: look at its template";
        return Err(refusal(StatusCode::BAD_REQUEST, "empty_message", said));
    }
    let (answer, answered) = oneshot::channel();
    let trigger = Trigger {
        webhook: webhook.id.clone(),
        agent_id: webhook.agent_id.clone(),
        text: message,
        delivery: delivery(request),
        answer,
    };
    context.core.send(trigger).await.map_err(|_| stopping())?;
    let payload = answered.await.map_err(|_| stopping())?.map_err(|error| call_error(&error))?;
    context.metrics.webhooks.inc();
    let run = payload.get("runId").cloned().unwrap_or_default();
    Ok(json_answer(StatusCode::ACCEPTED, &json!({"ok": true, "status": "accepted", "runId": run})))
}

fn delivery(request: &HttpRequest) -> Option<String> {
    let named = DELIVERY_HEADERS.iter().find_map(|name| request.headers().get(*name)?.to_str().ok());
    named.filter(|name| !name.is_empty() && name.len() <= MAX_DELIVERY).map(str::to_owned)
}
