//! `POST /api/sessions/{key}/message`: says something in a session.

use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::holder::Holder;
use super::passing;
use super::session_key;
use crate::http::auth::{By, Caller, GatewayOperator};
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, BodyErrors, ErrorBody, GatewayErrors, KeyErrors};
use crate::http::fields::{Fields, kind_of};
use crate::http::front::Front;
use crate::http::spawn::input as spawn_input;

/// Longest message, in characters.
const LONGEST: usize = 200_000;

/// A message.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct MessageBody {
    /// What to say, up to 200,000 characters.
    #[schema(example = "How far are you?")]
    content: String,
    /// The gateway; needed where several hold a session of this key.
    #[schema(minimum = 1)]
    gateway_id: Option<i64>,
}

/// The gateway took the message.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageTaken {
    /// Always true.
    pub success: bool,
    /// The run that the message starts, where the gateway says.
    #[serde(rename = "runId", skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// In the gateway's words, for instance `started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What the gateway knows the message by: the same again is not said twice.
    pub idempotency_key: String,
    /// The session's key.
    pub session: String,
    /// The gateway's name.
    pub gateway: String,
    /// The gateway's id.
    pub gateway_id: i64,
}

/// Say something in a session
///
/// Answered when the gateway has taken the message; what comes of it is in the history and the events. With the header
/// `Idempotency-Key` a repeat of the same message is not said twice.
#[utoipa::path(
    operation_id = "send_session_message",
    tag = "Sessions",
    params(
        ("key" = String, Path, description = "The session's key, percent-encoded"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters; else one is made"),
    ),
    request_body = MessageBody,
    responses(
        (status = 202, description = "The gateway took it", body = MessageTaken),
        (status = 404, description = "No gateway holds this session, or no gateway has this id", body = ErrorBody),
        (status = 409, description = "Several gateways hold a session of this key; details.gateways names them", body = ErrorBody),
        KeyErrors, BodyErrors, GatewayErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/sessions/{key}/message")]
pub(crate) async fn send(
    by: By<GatewayOperator>,
    front: web::Data<Front>,
    request: HttpRequest,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let key = session_key::of_path(&request)?;
    let idempotency_key = idempotency_key(&request)?;
    let mut fields = Fields::new(&body.0);
    let content = content(&mut fields).unwrap_or_default();
    let only = passing::gateway_id(&mut fields);
    fields.problems.into_result()?;
    let holder = passing::holder(&front, &key, only)?;
    let taken = say(&front, &by.caller, &holder, &key, content, &idempotency_key).await?;
    Ok(HttpResponse::Accepted().json(MessageTaken {
        success: true,
        run_id: taken.run_id,
        status: taken.status,
        idempotency_key,
        session: key,
        gateway: holder.name,
        gateway_id: holder.id.0,
    }))
}

/// What the message is known by at the gateway: the header's, or else one of ours, so that the gateway takes it at most once
/// whatever happens on the way.
pub fn idempotency_key(request: &HttpRequest) -> Result<String, ApiError> {
    Ok(spawn_input::idempotency_key(request.headers())?.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()))
}

/// What a gateway said when it took a message.
pub struct Taken {
    /// The run that the message starts.
    pub run_id: Option<String>,
    /// In the gateway's words.
    pub status: Option<String>,
}

/// Says this in the session that the gateway holds; a failure is the gateway's refusal or silence, see [`passing::call`].
pub async fn say(
    front: &Front,
    caller: &Caller,
    holder: &Holder,
    key: &str,
    content: &str,
    idempotency_key: &str,
) -> Result<Taken, ApiError> {
    let params = json!({"sessionKey": key, "message": content, "idempotencyKey": idempotency_key});
    let reply = passing::call(front, holder, "chat.send", params).await?;
    passing::log(caller, "message sent", key, holder);
    let text = |name: &str| reply.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Taken { run_id: text("runId"), status: text("status") })
}

/// A message may have lines, so it is read by rules of its own.
pub fn content<'a>(fields: &mut Fields<'a>) -> Option<&'a str> {
    let text = match fields.value("content") {
        None => {
            fields.missing("content");
            return None;
        }
        Some(Value::String(text)) => text,
        Some(other) => {
            fields.wrong("content", format_args!("must be a text, not {}", kind_of(other)));
            return None;
        }
    };
    if text.trim().is_empty() {
        fields.wrong("content", "must not be blank");
    } else if text.contains('\0') {
        fields.wrong("content", "must not contain the character NUL");
    } else if text.chars().take(LONGEST + 1).count() > LONGEST {
        fields.wrong("content", format_args!("must have at most {LONGEST} characters"));
    } else {
        return Some(text);
    }
    None
}
