//! `/api/keys`: create, list and revoke API keys; `/api/auth`: a browser trades a key for a session cookie that scripts on the
//! page can't read; `/api/audit`: who did what with them.

use std::sync::Arc;
use std::time::Duration;

use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::{HttpRequest, HttpResponse, delete, get, post};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::event_data;
use gatewarden_actors::store::records::{ApiKey, AuditRecord, Role, WebSession};
use gatewarden_api::ErrorBody;
use gatewarden_api::access::{
    AuditPage, AuditQuery, AuditRow, Key, KeyList, LinkAnswer, LinkBody, LoginAnswer, LoginBody, LogoutAnswer,
    NewKeyAnswer, NewKeyBody, Revoked, SessionAnswer,
};
use gatewarden_api::pages::PageQuery;
use gatewarden_api::request::Request as _;
use gatewarden_api::responses::KeyErrors;

use super::audit::context::AuditContext;
use super::auth::{Admin, Authorized, SESSION_COOKIE, Viewer, cross_origin, is_from_elsewhere, is_same_origin};
use super::context::{App, AppContext};
use super::error::{Answer, ApiError, invalid, invalid_field};
use super::input::{JsonBody, KeyPath, OptionalJsonBody, SmallJsonBody, path_id, read_query};
use super::keyring::{KeyHolder, key_hash, new_token};
use super::peer::{client_address, is_direct_loopback, is_https, mark_unknown};

/// How long a login link is good where nothing is said, seconds.
const LINK_SECONDS: u64 = 120;

/// List API keys
#[utoipa::path(
    tag = "Keys",
    params(PageQuery),
    responses((status = 200, description = "Never the keys themselves", body = KeyList)),
)]
#[get("/api/keys")]
pub(crate) async fn list_keys(_by: Authorized<Admin>, app: App, request: HttpRequest) -> Answer {
    let page = read_query::<PageQuery>(&request)?.page();
    let keys = app.store.list_keys().await?;
    let part = page.of(keys.len());
    let keys = keys.into_iter().skip(page.offset).take(page.limit).map(|key| shown(key, &app)).collect();
    Ok(HttpResponse::Ok().json(KeyList {
        keys,
        part,
        configured: app.keys.has_configured(),
        configured_in: app.keys.unstored(),
    }))
}

/// Create an API key
///
/// The key is in the answer and nowhere else.
#[utoipa::path(
    tag = "Keys",
    request_body = NewKeyBody,
    responses((status = 201, description = "The key, this once", body = NewKeyAnswer)),
)]
#[post("/api/keys")]
pub(crate) async fn create_key(by: Authorized<Admin>, app: App, body: JsonBody) -> Answer {
    let mut fields = body.fields();
    let NewKeyBody { name, role, expires_at } = NewKeyBody::read(&mut fields);
    if expires_at.is_some_and(|expires_at| expires_at <= app.clock.expiry_ms() / 1_000) {
        fields.wrong("expires_at", "must lie in the future (Unix seconds)");
    }
    fields.finish()?;
    let role = Role::from_name(&role).ok_or_else(|| invalid("role is no role"))?;
    let (key, text) = app.keys.create(&app.store, &name, role, expires_at).await?;
    by.acts_on(key.id);
    tracing::info!(
        caller.key = by.key().name,
        key.id = key.id,
        key.name = key.name,
        key.role = key.role.as_str(),
        "API key created"
    );
    Ok(HttpResponse::Created().json(NewKeyAnswer { api_key: text.expose().to_owned(), key: shown(key, &app) }))
}

/// Revoke an API key
///
/// It is wrong from now on, and the browser sessions that it opened end.
#[utoipa::path(
    tag = "Keys",
    params(KeyPath),
    responses(
        (status = 200, description = "It is gone", body = Revoked),
        (status = 404, description = "No key has this id", body = ErrorBody),
    ),
)]
#[delete("/api/keys/{id}")]
pub(crate) async fn revoke_key(by: Authorized<Admin>, app: App, request: HttpRequest) -> Answer {
    let id = path_id(&request, "key")?;
    if !app.keys.revoke(&app.store, id).await? {
        return Err(Failure::new(ErrorCode::KeyNotFound, format!("API key {id} not found"))
            .with_help("GET /api/keys lists the keys with their ids.")
            .into());
    }
    tracing::info!(caller.key = by.key().name, key.id = id, "API key revoked");
    Ok(HttpResponse::Ok().json(Revoked { deleted: true }))
}

fn shown(key: ApiKey, app: &AppContext) -> Key {
    Key {
        id: key.id,
        name: key.name,
        role: key.role.as_str().to_owned(),
        prefix: key.prefix,
        created_at: key.created_at,
        expires_at: key.expires_at,
        last_used_at: app.keys.last_used(key.id).or(key.last_used_at),
    }
}

/// Log a browser in
///
/// Sets an HttpOnly, SameSite=Strict cookie, for an API key or the secret of a login link. The body has 2 KiB at most.
#[utoipa::path(
    tag = "Keys",
    request_body = LoginBody,
    responses(
        (
            status = 200, description = "The cookie is set", body = LoginAnswer,
            headers(("Set-Cookie" = String, description = "The session")),
        ),
        KeyErrors,
    ),
    security(()),
)]
#[post("/api/auth/login")]
pub(crate) async fn log_in(app: App, request: HttpRequest, body: SmallJsonBody) -> Answer {
    // Nobody may log somebody else's browser in.
    if is_from_elsewhere(&request) {
        return Err(cross_origin());
    }
    let (cookie, answer) = match body.0.read()? {
        LoginBody { api_key: Some(key), once: None } => open_session(&app, &request, key.expose().trim()).await?,
        LoginBody { api_key: None, once: Some(secret) } => open_session_once(&app, &request, secret.expose()).await?,
        LoginBody { api_key: None, once: None } => return Err(invalid_field("api_key", "is missing")),
        LoginBody { .. } => return Err(invalid_field("api_key", "and once exclude each other")),
    };
    Ok(HttpResponse::Ok().cookie(cookie).json(answer))
}

/// Opens a browser session for whoever has this key.
pub(crate) async fn open_session(
    app: &App,
    request: &HttpRequest,
    api_key: &str,
) -> Result<(Cookie<'static>, LoginAnswer), ApiError> {
    let key = app.door().check(request, api_key)?;
    open_session_of(app, request, &key).await
}

/// Opens a browser session for whoever has the secret of a login link, on the daemon's own machine. The link is used up.
pub(crate) async fn open_session_once(
    app: &App,
    request: &HttpRequest,
    secret: &str,
) -> Result<(Cookie<'static>, LoginAnswer), ApiError> {
    check_own_machine(request)?;
    let key = app.links.take(secret, app.clock.now()).filter(|key| app.keys.still_lets_in(key, app.now_s()));
    if let Some(key) = key {
        return open_session_of(app, request, &key).await;
    }
    mark_unknown(request);
    app.limits.wrong_key(client_address(request, &app.settings.trusted_proxies)).settle(request)?;
    let used = "This link has logged somebody in already, is too old, or was made before the daemon's last start";
    Err(Failure::new(ErrorCode::Unauthorized, used).with_help("`gatewarden dashboard` prints a new one.").into())
}

/// What travels in a link is for this machine alone.
fn check_own_machine(request: &HttpRequest) -> Result<(), ApiError> {
    if is_direct_loopback(request) {
        return Ok(());
    }
    let sentence = "Login links are made and used on the daemon's own machine only, and not through a proxy";
    Err(Failure::new(ErrorCode::Forbidden, sentence).with_help("Log in with an API key.").into())
}

async fn open_session_of(
    app: &App,
    request: &HttpRequest,
    key: &Arc<KeyHolder>,
) -> Result<(Cookie<'static>, LoginAnswer), ApiError> {
    let now_s = app.now_s();
    if let Some(audit) = AuditContext::of(request) {
        audit.see_caller(key);
    }
    let token = new_token()?;
    let lifetime = i64::try_from(app.settings.session_lifetime.as_secs()).unwrap_or(i64::MAX);
    let expires_at = now_s.saturating_add(lifetime);
    let session = WebSession {
        token_sha256: key_hash(&token),
        key_id: key.id,
        key_sha256: key.sha256_hex(),
        created_at: now_s,
        expires_at,
    };
    app.store.insert_web_session(session).await?;
    tracing::info!(key.name = key.name, key.role = key.role.as_str(), "browser session opened");
    let cookie = cookie(request, app, token, CookieDuration::seconds(lifetime));
    Ok((cookie, LoginAnswer { name: key.name.clone(), role: key.role.as_str().to_owned(), expires_at }))
}

/// Make a link that logs a browser in once
///
/// For who has a key (a browser session is none), over loopback and without a proxy. The link is a path of the daemon's pages with a
/// secret in it. It works once, on the same machine, until `expires_at`, and the session has the role of the key.
#[utoipa::path(
    tag = "Keys",
    request_body = Option<LinkBody>,
    responses((status = 201, description = "The link, this once", body = LinkAnswer)),
)]
#[post("/api/auth/link")]
pub(crate) async fn make_login_link(
    by: Authorized<Viewer>,
    app: App,
    request: HttpRequest,
    body: OptionalJsonBody,
) -> Answer {
    let LinkBody { seconds } = body.read()?;
    check_own_machine(&request)?;
    if by.caller.session.is_some() {
        let sentence = "A browser session makes no login links: they outlive it";
        return Err(Failure::new(ErrorCode::Forbidden, sentence).with_help("Send an API key in a header.").into());
    }
    let valid = Duration::from_secs(seconds.map_or(LINK_SECONDS, u64::from));
    let secret = app.links.make(&by.caller.key, app.clock.now(), valid)?;
    tracing::info!(caller.key = by.key().name, valid_s = valid.as_secs(), "login link made");
    let expires_at = app.now_s().saturating_add_unsigned(valid.as_secs());
    Ok(HttpResponse::Created().json(LinkAnswer { path: format!("/login?once={}", secret.expose()), expires_at }))
}

/// Read who you are
///
/// The name and role of the key behind the request, and what a page should know of the daemon that it talks to.
#[utoipa::path(tag = "Keys", responses((status = 200, description = "Who asks whom", body = SessionAnswer)))]
#[get("/api/auth/session")]
pub(crate) async fn read_session(by: Authorized<Viewer>, app: App) -> HttpResponse {
    let session = by.caller.session.as_ref().map(|session| session.expires_at);
    HttpResponse::Ok().json(SessionAnswer {
        key_id: by.key().id,
        name: by.key().name.clone(),
        role: by.key().role.as_str().to_owned(),
        browser: session.is_some(),
        expires_at: session.into_iter().chain(by.key().expires_at).min(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time_ms: app.clock.wall_ms(),
    })
}

/// Log a browser out
///
/// Also answers where nobody is logged in.
#[utoipa::path(
    tag = "Keys",
    responses(
        (
            status = 200, description = "The cookie is gone", body = LogoutAnswer,
            headers(("Set-Cookie" = String, description = "An empty session")),
        ),
        KeyErrors,
    ),
    security((), ("session" = [])),
)]
#[post("/api/auth/logout")]
pub(crate) async fn log_out(app: App, request: HttpRequest) -> Answer {
    if let Some(cookie) = request.cookie(SESSION_COOKIE) {
        if !is_same_origin(&request) {
            return Err(cross_origin());
        }
        app.store.delete_web_session(key_hash(cookie.value())).await?;
    }
    let gone = cookie(&request, &app, String::new(), CookieDuration::ZERO);
    Ok(HttpResponse::Ok().cookie(gone).json(LogoutAnswer { logged_out: true }))
}

fn cookie(request: &HttpRequest, app: &AppContext, token: String, max_age: CookieDuration) -> Cookie<'static> {
    Cookie::build(SESSION_COOKIE, token)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(is_https(request, &app.settings.trusted_proxies))
        .max_age(max_age)
        .finish()
}

/// Read the audit log
///
/// Every change and every refusal of one: who, from where, what, to what, with what result.
#[utoipa::path(
    tag = "Events",
    params(AuditQuery),
    responses((status = 200, description = "Newest first", body = AuditPage)),
)]
#[get("/api/audit")]
pub(crate) async fn read_audit_log(_by: Authorized<Admin>, app: App, request: HttpRequest) -> Answer {
    let AuditQuery { limit, since, before } = read_query(&request)?;
    let limit = limit.unwrap_or(50);
    let records = app.store.list_audit(limit, since.map(|since| since.saturating_mul(1000)), before).await?;
    let next_before = records.last().map(|record| record.id).filter(|_| records.len() == limit);
    Ok(HttpResponse::Ok().json(AuditPage { audit: records.into_iter().map(audit_row).collect(), next_before }))
}

fn audit_row(AuditRecord { id, entry }: AuditRecord) -> AuditRow {
    AuditRow { id, at: entry.at_ms.div_euclid(1000), entry: event_data::audit(entry) }
}
