//! The webhook of WhatsApp's service: the one path that strangers may reach without a credential of the gateway. What comes there is
//! signed with the app's secret; it is acknowledged when it is on disk, and the service calls again for days until it is.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use gatewarden_protocol::Secret;
use tokio::sync::oneshot;

use super::{SharedContext, no_peer, not_found, peer_of, refusal, stopping, unauthorized, wrong_method};
use crate::auth::same_secret;
use crate::auth::webhook_secret::{Shown, signed};
use crate::channels::whatsapp::webhook;
use crate::config::{ChannelAccount, ChannelKind, GatewayConfig};
use crate::core_actor::Received;
use crate::effect::{ChannelKey, LogLevel};
use crate::webhook_bodies::{Bodies, Body, Unread};

const PATH: &str = "/channels/whatsapp";
/// Longest body, in bytes: what the service sends at most.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// Longest challenge that is repeated.
const MAX_CHALLENGE: usize = 256;
/// How long a call waits until what it brought is on disk. The service gives up later.
const STORED_WITHIN: Duration = Duration::from_secs(15);
const SIGNATURE: &str = "x-hub-signature-256";
/// Faults of one call that are logged.
const MOST_FAULTS: usize = 20;
/// How a refused caller is named in the log.
const CALLER: &str = "webhook:whatsapp";

pub(super) fn routes(service: &mut ServiceConfig) {
    service.service(
        web::resource(PATH)
            .route(web::get().to(registered))
            .route(web::post().to(called))
            .default_service(web::to(|| async { wrong_method("GET, POST") })),
    );
}

fn accounts(config: &GatewayConfig) -> impl Iterator<Item = &ChannelAccount> {
    let accounts = config.channels.iter();
    accounts.filter(|account| account.kind == ChannelKind::WhatsApp && account.enabled && account.token.is_some())
}

/// The service asks once, when the webhook is registered, whether it is the one that is meant.
async fn registered(request: HttpRequest, context: SharedContext) -> HttpResponse {
    let config = context.config();
    if accounts(&config).next().is_none() {
        return not_found().await;
    }
    let Some(peer) = peer_of(&request, &context) else { return no_peer(&request) };
    let found = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let token = found("hub.verify_token").filter(|token| !token.is_empty()).map(Secret::new);
    let shown = match &token {
        None => Shown::Nothing,
        // Each is compared: how long it takes tells nothing.
        Some(token) if accounts(&config).filter(|account| is_token_of(account, token)).count() > 0 => Shown::Right,
        Some(_) => Shown::Wrong,
    };
    let checked = context.in_turn(move |machine, turn| machine.judge_webhook(&peer, CALLER, shown, false, turn)).await;
    match checked {
        Err(_) => return stopping(),
        Ok(Err(error)) => return unauthorized(&error),
        Ok(Ok(())) => {}
    }
    let challenge = found("hub.challenge").filter(|challenge| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !challenge.is_empty() && challenge.len() <= MAX_CHALLENGE && challenge.bytes().all(plain)
    });
    match (found("hub.mode").as_deref(), challenge) {
        (Some("subscribe"), Some(challenge)) => {
            tracing::info!("the webhook of WhatsApp was registered");
            HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(challenge)
        }
        _ => refusal(StatusCode::BAD_REQUEST, "invalid_query", "hub.mode must be subscribe, and hub.challenge a word"),
    }
}

fn is_token_of(account: &ChannelAccount, token: &Secret) -> bool {
    account.cloud.verify_token.as_ref().is_some_and(|expected| same_secret(token, expected))
}

async fn called(request: HttpRequest, context: SharedContext, payload: Payload) -> HttpResponse {
    taken(&request, &context, payload).await.unwrap_or_else(|refusal| refusal)
}

async fn taken(request: &HttpRequest, context: &SharedContext, payload: Payload) -> Result<HttpResponse, HttpResponse> {
    let config = context.config();
    if accounts(&config).next().is_none() {
        return Err(not_found().await);
    }
    let peer = peer_of(request, context).ok_or_else(|| no_peer(request))?;
    let signature = request.headers().get(SIGNATURE).and_then(|value| value.to_str().ok());
    // Who shows nothing has no body read.
    let body = match signature {
        Some(_) => Some(read(request, peer.remote, payload, &context.webhook_bodies).await?),
        None => None,
    };
    // One app may have several phone numbers, and one gateway the numbers of several apps.
    let signs = |account: &&ChannelAccount| {
        let secret = account.cloud.app_secret.as_ref();
        let shown = signature.zip(body.as_deref());
        shown.is_some_and(|(signature, body)| secret.is_some_and(|secret| signed(signature, secret, body)))
    };
    let signers: Vec<&ChannelAccount> = accounts(&config).filter(signs).collect();
    let shown = match signature {
        None => Shown::Nothing,
        Some(_) if signers.is_empty() => Shown::Wrong,
        Some(_) => Shown::Right,
    };
    let is_right = shown == Shown::Right;
    let checked =
        context.in_turn(move |machine, turn| machine.judge_webhook(&peer, CALLER, shown, is_right, turn)).await;
    checked.map_err(|_| stopping())?.map_err(|error| unauthorized(&error))?;
    context.metrics.webhooks.inc();
    let said = "the body must be JSON with an object";
    let found = body.as_deref().and_then(webhook::read);
    let found = found.ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "invalid_body", said))?;
    let mut waiting = Vec::new();
    for (number, delivery) in found {
        let of_number = |account: &&&ChannelAccount| account.cloud.phone_number_id.as_deref() == Some(number.as_str());
        // A number of the app that isn't configured here is somebody else's.
        let Some(account) = signers.iter().find(of_number) else { continue };
        let key = ChannelKey { kind: ChannelKind::WhatsApp, id: account.id.clone() };
        if !delivery.faults.is_empty() {
            let (source, faults) = (key.to_string(), delivery.faults);
            let told = context.in_turn(move |_, turn| {
                faults.into_iter().take(MOST_FAULTS).for_each(|fault| turn.log(LogLevel::Warn, &source, None, fault));
            });
            told.await.map_err(|_| stopping())?;
        }
        if !delivery.updates.is_empty() {
            let (stored, is_stored) = oneshot::channel();
            let received = Received { account: key, updates: delivery.updates, stored };
            context.core.send(received).await.map_err(|_| stopping())?;
            waiting.push(is_stored);
        }
    }
    // What it brought has its place with the account now.
    drop(body);
    let all = futures_util::future::try_join_all(waiting);
    match tokio::time::timeout(STORED_WITHIN, all).await {
        Ok(Ok(_)) => Ok(HttpResponse::Ok().finish()),
        Ok(Err(_)) | Err(_) => {
            let said = "messages can't be kept now (channels.status says why); call again";
            let mut answer = refusal(StatusCode::SERVICE_UNAVAILABLE, "not_stored", said);
            answer.headers_mut().insert(RETRY_AFTER, 10.into());
            Err(answer)
        }
    }
}

async fn read(request: &HttpRequest, sender: IpAddr, payload: Payload, bodies: &Bodies) -> Result<Body, HttpResponse> {
    let refused = |unread| match unread {
        Unread::TooLong => {
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &format!("at most {MAX_BODY} bytes are read"))
        }
        Unread::Broken => refusal(StatusCode::BAD_REQUEST, "invalid_body", "the body breaks off"),
        Unread::Late => refusal(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long to arrive"),
        Unread::Crowded => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many bodies are read at the moment; call again")
        }
    };
    let most = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    if gatewarden_listener::announced_length(request).is_some_and(|length| length > most) {
        return Err(refused(Unread::TooLong));
    }
    bodies.read(sender, payload, MAX_BODY).await.map_err(refused)
}
