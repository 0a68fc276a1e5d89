//! `/api/auth`: a browser trades an API key for a session cookie that scripts on the page can't read.

use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::{HttpRequest, HttpResponse, post, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::store::records::WebSession;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::notes::Notes;
use super::auth::{SESSION_COOKIE, cross_origin, is_from_elsewhere, is_same_origin, wrong_key};
use super::body::SmallJsonBody;
use super::error::{ApiError, BodyErrors, KeyErrors, invalid};
use super::fields::Fields;
use super::front::Front;
use super::keyring::hash_hex;
use super::peer_address::is_https;

/// A key to log in with.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct LoginBody {
    /// The key.
    api_key: String,
}

/// Who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoginAnswer {
    /// Name of the key.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    #[schema(example = "viewer")]
    pub role: String,
    /// Unix seconds at which the session ends.
    pub expires_at: i64,
}

/// The session is over.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogoutAnswer {
    /// Always true.
    pub logged_out: bool,
}

/// Log a browser in
///
/// Sets an HttpOnly, SameSite=Strict cookie. The body has 2 KiB at most.
#[utoipa::path(
    operation_id = "log_in",
    tag = "Keys",
    request_body = LoginBody,
    responses((status = 200, description = "The cookie is set", body = LoginAnswer), KeyErrors, BodyErrors),
    security(()),
)]
#[post("/api/auth/login")]
pub(crate) async fn login(
    front: web::Data<Front>,
    request: HttpRequest,
    body: SmallJsonBody,
) -> Result<HttpResponse, ApiError> {
    // Nobody may log somebody else's browser in.
    if is_from_elsewhere(&request) {
        return Err(cross_origin());
    }
    let mut fields = Fields::new(&body.0);
    if fields.value("api_key").is_none() {
        fields.missing("api_key");
    }
    let presented = fields.text("api_key", 1..=1000);
    fields.problems.into_result()?;
    let Some(presented) = presented else {
        return Err(invalid("api_key is missing"));
    };
    let now_s = front.now_s();
    let Some(key) = front.app.keys.verify(presented.trim(), now_s) else {
        return Err(wrong_key(&request, &front));
    };
    if let Some(notes) = Notes::of(&request) {
        notes.see_caller(&key);
    }
    let token = new_token()?;
    let lifetime = i64::try_from(front.settings.session_lifetime.as_secs()).unwrap_or(i64::MAX);
    let expires_at = now_s.saturating_add(lifetime);
    let session = WebSession {
        token_sha256: hash_hex(&token),
        key_id: key.id,
        key_sha256: key.sha256_hex(),
        created_at: now_s,
        expires_at,
    };
    front.app.store.insert_web_session(session).await?;
    tracing::info!(key.name = key.name, key.role = key.role.as_str(), "browser session opened");
    let cookie = cookie(&request, &front, token, CookieDuration::seconds(lifetime));
    let answer = LoginAnswer { name: key.name.clone(), role: key.role.as_str().to_owned(), expires_at };
    Ok(HttpResponse::Ok().cookie(cookie).json(answer))
}

/// Log a browser out
///
/// Also answers where nobody is logged in.
#[utoipa::path(
    operation_id = "log_out",
    tag = "Keys",
    responses((status = 200, description = "The cookie is gone", body = LogoutAnswer), KeyErrors),
    security((), ("session" = [])),
)]
#[post("/api/auth/logout")]
pub(crate) async fn logout(front: web::Data<Front>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    if let Some(cookie) = request.cookie(SESSION_COOKIE) {
        if !is_same_origin(&request) {
            return Err(cross_origin());
        }
        front.app.store.delete_web_session(hash_hex(cookie.value())).await?;
    }
    let gone = cookie(&request, &front, String::new(), CookieDuration::ZERO);
    Ok(HttpResponse::Ok().cookie(gone).json(LogoutAnswer { logged_out: true }))
}

fn cookie(request: &HttpRequest, front: &Front, token: String, max_age: CookieDuration) -> Cookie<'static> {
    Cookie::build(SESSION_COOKIE, token)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(is_https(request, &front.settings.trusted_proxies))
        .max_age(max_age)
        .finish()
}

fn new_token() -> Result<String, Failure> {
    let mut token = [0_u8; 32];
    getrandom::fill(&mut token)
        .map_err(|_| Failure::new(ErrorCode::Internal, "The operating system gave no randomness for a session"))?;
    Ok(URL_SAFE_NO_PAD.encode(token))
}
