//! `/api/keys`: create, list and revoke API keys.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::store::records::{ApiKey, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{Admin, By};
use super::body::JsonBody;
use super::error::{ApiError, BodyErrors, ErrorBody, KeyErrors, invalid};
use super::fields::Fields;
use super::front::Front;
use super::query::{Page, Query};

/// A new key.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct NewKeyBody {
    /// What it is for; 1 to 200 characters.
    #[schema(example = "dashboard", min_length = 1, max_length = 200)]
    name: String,
    /// `viewer`, `operator` or `admin`.
    #[schema(example = "viewer")]
    role: String,
    /// Unix seconds after which it is no longer good; never by default.
    #[schema(minimum = 0)]
    expires_at: Option<i64>,
}

/// A key as it is listed. The key itself is nowhere.
#[derive(Debug, Serialize, ToSchema)]
pub struct Key {
    /// Never used again after a revocation.
    pub id: i64,
    /// What it is for.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    #[schema(example = "viewer")]
    pub role: String,
    /// Its first characters.
    #[schema(example = "gw_1a2b3c4d")]
    pub prefix: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; none for never.
    pub expires_at: Option<i64>,
    /// Unix seconds; none for never.
    pub last_used_at: Option<i64>,
}

/// All keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// By id.
    pub keys: Vec<Key>,
    /// How many there are.
    pub total: usize,
}

/// A new key, shown once.
#[derive(Serialize, ToSchema)]
pub struct NewKeyAnswer {
    /// The key itself: it can't be read again.
    pub api_key: String,
    /// How it will be listed.
    pub key: Key,
}

/// Whether there was something to revoke.
#[derive(Debug, Serialize, ToSchema)]
pub struct Revoked {
    /// Always true; an unknown id is a 404.
    pub deleted: bool,
}

/// List API keys
#[utoipa::path(
    operation_id = "list_keys",
    tag = "Keys",
    params(
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 200 (more is capped); 50 by default", minimum = 1),
        ("offset" = Option<u64>, Query, description = "After so many; not together with page"),
        ("page" = Option<u64>, Query, description = "From 1", minimum = 1),
    ),
    responses((status = 200, description = "Never the keys themselves", body = KeyList), KeyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[get("/api/keys")]
pub(crate) async fn list(
    _by: By<Admin>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::parse(request.query_string());
    let page = Page::read(&mut query).unwrap_or(Page { limit: 50, offset: 0 });
    query.problems.into_result()?;
    let keys = front.app.store.list_keys().await?;
    let total = keys.len();
    let keys = keys.iter().skip(page.offset).take(page.limit).map(|key| Key::of(key, &front)).collect();
    Ok(HttpResponse::Ok().json(KeyList { keys, total }))
}

/// Create an API key
///
/// The key is in the answer and nowhere else.
#[utoipa::path(
    operation_id = "create_key",
    tag = "Keys",
    request_body = NewKeyBody,
    responses((status = 201, description = "The key, this once", body = NewKeyAnswer), KeyErrors, BodyErrors),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[post("/api/keys")]
pub(crate) async fn create(by: By<Admin>, front: web::Data<Front>, body: JsonBody) -> Result<HttpResponse, ApiError> {
    let mut fields = Fields::new(&body.0);
    for name in ["name", "role"] {
        if fields.value(name).is_none() {
            fields.missing(name);
        }
    }
    let name = fields.text("name", 1..=200);
    let role = fields.word("role", &["viewer", "operator", "admin"]).and_then(Role::from_name);
    let expires_at = fields.integer("expires_at", 0..=253_402_300_799);
    if expires_at.is_some_and(|expires_at| expires_at <= front.app.clock.expiry_ms() / 1_000) {
        fields.wrong("expires_at", "must lie in the future (Unix seconds)");
    }
    fields.problems.into_result()?;
    let (Some(name), Some(role)) = (name, role) else {
        return Err(invalid("name and role are needed"));
    };
    let (key, text) = front.app.keys.create(&front.app.store, name, role, expires_at).await?;
    tracing::info!(
        caller.key = by.caller.key.name,
        key.id = key.id,
        key.name = key.name,
        key.role = key.role.as_str(),
        "API key created"
    );
    let answer = NewKeyAnswer { api_key: text.expose().to_owned(), key: Key::of(&key, &front) };
    Ok(HttpResponse::Created().json(answer))
}

/// Revoke an API key
///
/// It is wrong from now on, and the browser sessions that it opened end.
#[utoipa::path(
    operation_id = "revoke_key",
    tag = "Keys",
    params(("id" = i64, Path, description = "The key", minimum = 1)),
    responses(
        (status = 200, description = "It is gone", body = Revoked),
        (status = 404, description = "No key has this id", body = ErrorBody),
        KeyErrors,
    ),
    security(("api_key" = []), ("bearer" = []), ("session" = [])),
)]
#[delete("/api/keys/{id}")]
pub(crate) async fn revoke(
    by: By<Admin>,
    front: web::Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let id = request.match_info().get("id").and_then(|text| text.parse::<i64>().ok()).filter(|id| *id > 0);
    let id = id.ok_or_else(|| invalid("The key id in the path must be a positive integer"))?;
    if !front.app.keys.revoke(&front.app.store, id).await? {
        return Err(ApiError(
            Failure::new(ErrorCode::KeyNotFound, format!("API key {id} not found"))
                .with_help("GET /api/keys lists the keys with their ids."),
        ));
    }
    tracing::info!(caller.key = by.caller.key.name, key.id = id, "API key revoked");
    Ok(HttpResponse::Ok().json(Revoked { deleted: true }))
}

impl Key {
    fn of(key: &ApiKey, front: &Front) -> Self {
        Self {
            id: key.id,
            name: key.name.clone(),
            role: key.role.as_str().to_owned(),
            prefix: key.prefix.clone(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: front.app.keys.last_used(key.id).or(key.last_used_at),
        }
    }
}
