//! Webhooks (document 004): a POST from outside becomes a message to an agent. Each has a secret of its own; there are none by
//! default.

use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Data, PayloadConfig, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::{
    SharedContext, bearer, call_error, json_answer, no_peer, peer_of, refusal, stopping, unauthorized,
    webhook_template, wrong_method,
};
use crate::auth::webhook_secret;
use crate::config::Webhook;

/// Longest body, in bytes.
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
    context: SharedContext,
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
    context: &SharedContext,
    webhook: &Webhook,
    body: &[u8],
) -> Result<HttpResponse, HttpResponse> {
    let peer = peer_of(request, context).ok_or_else(no_peer)?;
    let shown = webhook_secret::shown(request.headers(), bearer(request), &webhook.secret, body);
    let id = webhook.id.clone();
    let checked = context.in_turn(move |machine, turn| machine.webhook(&peer, &id, shown, turn)).await;
    checked.map_err(|_| stopping())?.map_err(|error| unauthorized(&error))?;
    let invalid = || refusal(StatusCode::BAD_REQUEST, "invalid_body", "the body must be JSON");
    let body: Value = serde_json::from_slice(body).map_err(|_| invalid())?;
    let text = webhook_template::fill(&webhook.message, &body);
    if text.trim().is_empty() {
        let said = "the message of this webhook is empty with this body: look at its template";
        return Err(refusal(StatusCode::BAD_REQUEST, "empty_message", said));
    }
    let (id, agent, delivery) = (webhook.id.clone(), webhook.agent_id.clone(), delivery(request));
    let begun = context.in_turn(move |machine, turn| machine.triggered(&id, &agent, text, delivery, turn)).await;
    let payload = begun.map_err(|_| stopping())?.map_err(|error| call_error(&error))?;
    context.metrics.webhooks.inc();
    let run = payload.get("runId").cloned().unwrap_or_default();
    Ok(json_answer(StatusCode::ACCEPTED, &json!({"ok": true, "status": "accepted", "runId": run})))
}

fn delivery(request: &HttpRequest) -> Option<String> {
    let named = DELIVERY_HEADERS.iter().find_map(|name| request.headers().get(*name)?.to_str().ok());
    named.filter(|name| !name.is_empty() && name.len() <= MAX_DELIVERY).map(str::to_owned)
}
