//! The OpenAPI document: put together from the handlers that are routed, so that it can't miss one.

use actix_web::{App, HttpResponse, get, web};
use bytes::Bytes;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_actix_web::AppExt as _;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::auth::SESSION_COOKIE;
use super::error::ErrorBody;
use super::front::Front;
use super::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "gatewarden",
        description = "Supervisor daemon for OpenClaw gateways.\n\nEvery error is `{\"error\", \"code\", \"details\"?, \"help\"?}`; \
            `code` is stable. Times are Unix seconds unless a field says otherwise. Unknown fields of a body are ignored.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "Gateways", description = "Register, check and steer gateways"),
        (name = "Devices", description = "Device identity, nodes and pairing on gateways"),
        (name = "Sessions", description = "Sessions of all gateways, and what can be done with one"),
        (name = "Events", description = "What happens, as it happens, and who did what"),
        (name = "Organization", description = "The same gateways by UUID, created step by step; times are RFC 3339, errors also have `detail`"),
        (name = "Keys", description = "API keys and browser logins"),
        (name = "Daemon", description = "The daemon's own state"),
    ),
    modifiers(&Security),
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme(
            "api_key",
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
                "X-API-Key",
                "Roles: viewer < operator < admin",
            ))),
        );
        components.add_security_scheme(
            "bearer",
            SecurityScheme::Http(
                HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The same key")).build(),
            ),
        );
        components.add_security_scheme(
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                SESSION_COOKIE,
                "From POST /api/auth/login; requests that change something must come from our own pages",
            ))),
        );
    }
}

/// The document, for the route, the command `gatewarden openapi` and the check in CI.
pub fn openapi() -> utoipa::openapi::OpenApi {
    App::new()
        .into_utoipa_app()
        .openapi(Document::openapi())
        .configure(|routes| routes::api(routes))
        .split_for_parts()
        .1
}

/// The document as it is served. Made on a thread of its own: it takes megabytes for some milliseconds, which the allocator
/// would keep for a worker's thread for good and gives back with a thread that ends.
pub fn serialized() -> Bytes {
    fn make() -> Vec<u8> {
        serde_json::to_vec(&openapi()).unwrap_or_default()
    }
    let made =
        std::thread::Builder::new().name("openapi".to_owned()).spawn(make).ok().and_then(|made| made.join().ok());
    Bytes::from(made.unwrap_or_else(make))
}

/// Read the OpenAPI document
#[utoipa::path(
    operation_id = "read_openapi",
    tag = "Daemon",
    responses(
        (status = 200, description = "OpenAPI 3.1", body = Object),
        (status = 421, description = "Foreign Host header", body = ErrorBody),
    ),
    security(()),
)]
#[get("/api/openapi.json")]
pub(crate) async fn document(front: web::Data<Front>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(front.openapi())
}

/// The page that shows the document, its assets compiled in.
pub fn pages() -> SwaggerUi {
    SwaggerUi::new("/docs/{_:.*}").config(Config::from("/api/openapi.json"))
}
