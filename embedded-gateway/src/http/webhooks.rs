//! Webhooks (document 004): a POST from outside becomes a message to an agent. Each has a secret of its own, or takes requests
//! of programs on this machine alone; there are none by default.

use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, PayloadConfig, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::{
    SharedContext, bearer, call_error, json_answer, no_peer, not_found, peer_of, refusal, stopping, unauthorized,
    wrong_method,
};
use crate::auth::webhook_secret;
use crate::config::Webhook;

/// Longest body, in bytes.
const MAX_BODY: usize = 256 * 1024;
/// Longest delivery id that is taken as idempotency key, in bytes.
const MAX_DELIVERY: usize = 128;
/// Headers in which senders name a delivery: sent again, it starts no second run.
const DELIVERY_HEADERS: [&str; 3] = ["idempotency-key", "x-github-delivery", "x-delivery-id"];

/// All of them together: which there are may change while the gateway runs.
pub(super) fn routes(service: &mut ServiceConfig) {
    service.service(
        web::resource("/webhook/{path:.*}")
            .app_data(PayloadConfig::default().limit(MAX_BODY))
            .route(web::post().to(triggered))
            .default_service(web::to(|request: HttpRequest, context: SharedContext| async move {
                if webhook_of(&request, &context).is_some() { wrong_method("POST") } else { not_found().await }
            })),
    );
}

fn webhook_of(request: &HttpRequest, context: &SharedContext) -> Option<Webhook> {
    context.config().webhooks.iter().find(|webhook| webhook.path == request.path()).cloned()
}

async fn triggered(
    request: HttpRequest,
    context: SharedContext,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let Some(webhook) = webhook_of(&request, &context) else { return not_found().await };
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
    let peer = peer_of(request, context).ok_or_else(|| no_peer(request))?;
    let shown = webhook_secret::shown(request.headers(), bearer(request), webhook.secret.as_ref(), body);
    let id = webhook.id.clone();
    let checked = context.in_turn(move |machine, turn| machine.webhook(&peer, &id, shown, turn)).await;
    checked.map_err(|_| stopping())?.map_err(|error| unauthorized(&error))?;
    let invalid = || refusal(StatusCode::BAD_REQUEST, "invalid_body", "the body must be JSON");
    let body: Value = serde_json::from_slice(body).map_err(|_| invalid())?;
    let text = fill(&webhook.message, &body);
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

/// Longest message, in bytes; what exceeds it is cut.
const MAX_MESSAGE: usize = 128 * 1024;

/// Fills the places in, once: what the body says is never read as a template. Text goes in as it is, other values as JSON; what
/// the body lacks is left empty. A place that isn't closed, or names something other than `body`, stays as it is written.
fn fill(template: &str, body: &Value) -> String {
    let mut message = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        message.push_str(before);
        let Some((place, following)) = after.split_once("}}") else {
            message.push_str("{{");
            rest = after;
            continue;
        };
        match path(place.trim()) {
            Some(path) => message.push_str(&text(look_up(body, path))),
            None => message.extend(["{{", place, "}}"]),
        }
        rest = following;
    }
    message.push_str(rest);
    let end = message.floor_char_boundary(MAX_MESSAGE);
    message.truncate(end);
    message
}

/// `body` and `body.a.b`, without the `body`.
fn path(place: &str) -> Option<&str> {
    let rest = place.strip_prefix("body")?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.').filter(|path| !path.is_empty()) }
}

fn look_up<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|name| !name.is_empty()).try_fold(body, |value, name| match value {
        Value::Array(values) => values.get(name.parse::<usize>().ok()?),
        _ => value.get(name),
    })
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_filled_in_from_the_body() {
        let body = json!({"message": "Hello", "a": {"b": [10, {"c": true}]}, "n": null, "x.y": 1});
        for (template, message) in [
            ("Webhook triggered: {{body.message}}", "Webhook triggered: Hello"),
            ("{{ body.a.b.0 }} and {{body.a.b.1.c}}", "10 and true"),
            ("{{body.a}}", r#"{"b":[10,{"c":true}]}"#),
            ("[{{body.n}}{{body.missing}}{{body.a.b.7}}]", "[]"),
            ("{{env.HOME}} {{bodyguard}} {{body.}}", "{{env.HOME}} {{bodyguard}} {{body.}}"),
            ("open {{body.message", "open {{body.message"),
            ("no places", "no places"),
        ] {
            assert_eq!(fill(template, &body), message, "{template}");
        }
        assert_eq!(fill("{{body}}", &json!([1])), "[1]");
    }

    #[test]
    fn what_the_body_says_is_not_a_template() {
        let body = json!({"one": "{{body.two}}", "two": "secret"});
        assert_eq!(fill("{{body.one}}", &body), "{{body.two}}");
    }

    #[test]
    fn a_long_message_is_cut() {
        let body = json!({"text": "ä".repeat(100_000)});
        assert_eq!(fill("{{body.text}}{{body.text}}", &body).len(), MAX_MESSAGE);
    }
}
