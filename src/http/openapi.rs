//! The OpenAPI document: put together from the handlers that are routed, so that it can't miss one. What every operation behind
//! a key has in common is added here.

mod examples;
mod sent;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read as _;

use actix_web::body::{BodyStream, BoxBody, MessageBody, to_bytes};
use actix_web::dev::{HttpServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpResponse, get, web};
use bytes::Bytes;
use flate2::read::GzDecoder;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_report::{BreakerState, Phase, Status};
use gatewarden_actors::machines::notification::Condition;
use gatewarden_actors::machines::routing::RouteReason;
use gatewarden_actors::processes::view::ProcessState;
use gatewarden_actors::spawn::{SpawnKind, SpawnState};
use gatewarden_actors::store::records::{AgentSource, AgentStatus, AuditResult, EndReason, Role};
use gatewarden_api::responses::{BodyErrors, KeyErrors};
use gatewarden_api::{ErrorBody, names};
use gatewarden_protocol::{Dialect, LogLevel, SessionStatus};
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, Schema, SchemaType, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Object, Ref, RefOr, Required, Response};
use utoipa::{IntoResponses as _, Modify, OpenApi, ToSchema};
use utoipa_actix_web::AppExt as _;
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_swagger_ui::{Config, SwaggerUi};

use self::examples::Examples;
use super::auth::SESSION_COOKIE;
use super::compression::takes_gzip;
use super::context::App;
use super::error::ApiError;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "gatewarden",
        description = "Supervisor daemon for OpenClaw gateways.\n\nEvery error is `{\"error\", \"code\", \"details\"?, \"help\"?}`; \
            `code` is stable. Times are Unix seconds unless a field says otherwise. Unknown fields of a body and \
            parameters of a query have no effect, and the header `X-Ignored-Fields` of the answer names them.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "Gateways", description = "Register, check and steer gateways"),
        (name = "Devices", description = "Device identity, nodes and pairing on gateways"),
        (name = "Spawns", description = "Work that is given to a gateway, and what became of it"),
        (name = "Sessions", description = "Sessions of all gateways, and what can be done with one"),
        (name = "Agents", description = "Agents that gateways report or that were registered here"),
        (name = "Tokens", description = "What agents report of the tokens that they used"),
        (name = "Direct connections", description = "Command line tools that work beside the gateways and report in"),
        (name = "Events", description = "What happens, as it happens, and who did what"),
        (name = "Organization", description = "The same gateways by UUID, created step by step; times are RFC 3339, errors also have `detail`"),
        (name = "Keys", description = "API keys and browser logins"),
        (name = "Daemon", description = "The daemon's own state"),
    ),
    modifiers(&Security, &Headers),
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

/// Headers of answers, declared once; operations refer to them.
struct Headers;

const REQUEST_ID: &str = "X-Request-Id";
const RETRY_AFTER: &str = "Retry-After";
const AUTHENTICATE: &str = "WWW-Authenticate";
const IGNORED_FIELDS: &str = "X-Ignored-Fields";
const RATE_LIMITS: [&str; 3] = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"];

impl Modify for Headers {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let headers = &mut openapi.components.get_or_insert_default().headers;
        let mut declare = |name: &str, kind: Type, description: &str| {
            headers.insert(name.to_owned(), header(kind, description).into());
        };
        declare(REQUEST_ID, Type::String, "The request's id: the one that it was sent with, or one of the daemon's");
        declare(RETRY_AFTER, Type::Integer, "Seconds after which the request may be repeated");
        declare(AUTHENTICATE, Type::String, "How to authenticate");
        declare(
            IGNORED_FIELDS,
            Type::String,
            "Fields of the body, and parameters of the query (`?name`), that had no effect, since the route knows none of these names",
        );
        let [limit, remaining, reset] = RATE_LIMITS;
        declare(
            limit,
            Type::Integer,
            "Requests of this kind in a window; only where the request counts against a limit",
        );
        declare(remaining, Type::Integer, "How many of them are left");
        declare(reset, Type::Integer, "Seconds until all of them are there again");
    }
}

fn header(kind: Type, description: &str) -> Header {
    HeaderBuilder::new().schema(Some(Object::with_type(SchemaType::Type(kind)))).description(Some(description)).build()
}

/// The lists of names that answers take their words from, each from the enum that the daemon decides by. They are put in once the routes have brought the schemas.
fn put_names_in(document: &mut utoipa::openapi::OpenApi) {
    let schemas = &mut document.components.get_or_insert_default().schemas;
    for (list, names) in names() {
        if let Some(RefOr::T(Schema::Object(schema))) = schemas.get_mut(&*list) {
            schema.enum_values = Some(names.into_iter().map(Into::into).collect());
        }
    }
}

/// Each list of `gatewarden_api::names` with its names.
fn names() -> Vec<(Cow<'static, str>, Vec<&'static str>)> {
    fn list<L: ToSchema, N, const COUNT: usize>(
        all: [N; COUNT],
        name: fn(N) -> &'static str,
    ) -> (Cow<'static, str>, Vec<&'static str>) {
        (L::name(), all.into_iter().map(name).collect())
    }
    vec![
        list::<names::ErrorCode, _, _>(ErrorCode::ALL, ErrorCode::as_str),
        list::<names::HealthStatus, _, _>(Status::ALL, Status::as_str),
        list::<names::ConnectionPhase, _, _>(Phase::ALL, Phase::as_str),
        list::<names::BreakerState, _, _>(BreakerState::ALL, BreakerState::as_str),
        list::<names::Dialect, _, _>(Dialect::ALL, Dialect::as_str),
        list::<names::SpawnState, _, _>(SpawnState::ALL, SpawnState::as_str),
        list::<names::SpawnKind, _, _>(SpawnKind::ALL, SpawnKind::as_str),
        list::<names::RouteReason, _, _>(RouteReason::ALL, RouteReason::as_str),
        list::<names::SessionState, _, _>(SessionStatus::ALL, SessionStatus::as_str),
        list::<names::ProcessState, _, _>(ProcessState::ALL, ProcessState::as_str),
        list::<names::AgentState, _, _>(AgentStatus::ALL, AgentStatus::as_str),
        list::<names::AgentSource, _, _>(AgentSource::ALL, AgentSource::as_str),
        list::<names::EndReason, _, _>(EndReason::ALL, EndReason::as_str),
        list::<names::Role, _, _>(Role::ALL, Role::as_str),
        list::<names::AuditResult, _, _>(AuditResult::ALL, AuditResult::as_str),
        list::<names::LogLevel, _, _>(LogLevel::ALL, LogLevel::as_str),
        list::<names::Condition, _, _>(Condition::ALL, Condition::as_str),
    ]
}

/// The document, for the route, the command `gatewarden openapi` and the check in CI. `routes` takes all routes.
pub(crate) fn document(routes: impl FnOnce(&mut ServiceConfig<'_>)) -> utoipa::openapi::OpenApi {
    let app = actix_web::App::new().into_utoipa_app().openapi(Document::openapi()).configure(routes);
    let mut document = app.split_for_parts().1;
    sent::put_in(&mut document);
    put_names_in(&mut document);
    document.components.iter_mut().flat_map(|all| all.schemas.values_mut()).for_each(open_free_objects);
    let examples = Examples::of(&document);
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            complete(operation);
            examples.put_into(operation);
        }
    }
    for item in document.webhooks.iter_mut().flat_map(|webhooks| webhooks.paths.values_mut()) {
        item.post.iter_mut().for_each(|operation| examples.put_into_webhook(operation));
    }
    document
}

/// Says of an object without declared fields that it may have any: generators take it for one that has none.
fn open_free_objects(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            let is_object = match &object.schema_type {
                SchemaType::Type(kind) => *kind == Type::Object,
                SchemaType::Array(kinds) => kinds.contains(&Type::Object),
                SchemaType::AnyValue => false,
            };
            if is_object && object.properties.is_empty() && object.additional_properties.is_none() {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(true)));
            }
            object.properties.values_mut().for_each(open_free_objects);
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                open_free_objects(items);
            }
        }
        Schema::OneOf(either) => either.items.iter_mut().for_each(open_free_objects),
        Schema::AllOf(all) => all.items.iter_mut().for_each(open_free_objects),
        Schema::AnyOf(any) => any.items.iter_mut().for_each(open_free_objects),
        _ => {}
    }
}

/// An operation that doesn't say who may do it is for those with a key, and may be answered as all of these may.
fn complete(operation: &mut Operation) {
    let mut common = BTreeMap::new();
    if operation.security.is_none() {
        let with = |scheme: &str| SecurityRequirement::new(scheme, [""; 0]);
        operation.security = Some(vec![with("api_key"), with("bearer"), with("session")]);
        common.extend(KeyErrors::responses());
    }
    if let Some(body) = &mut operation.request_body {
        if let RefOr::T(body) = body {
            declare_optional(body);
        }
        common.extend(BodyErrors::responses());
    }
    let is_for_anyone =
        operation.security.as_ref().is_some_and(|wanted| wanted.contains(&SecurityRequirement::default()));
    for (status, response) in common {
        operation.responses.responses.entry(status).or_insert(response);
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            add_headers(status, is_for_anyone, response);
            add_header(IGNORED_FIELDS, response);
        }
    }
}

/// A body of `Option<T>` may be left out, and is a `T` where it is there: as "`T` or null" generated clients send it always.
fn declare_optional(body: &mut RequestBody) {
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        let Some(RefOr::T(Schema::OneOf(either))) = &content.schema else { continue };
        if let Some(named) = either.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned() {
            content.schema = Some(named);
            body.required = Some(Required::False);
        }
    }
}

/// What an answer of this status carries besides its body.
fn add_headers(status: &str, is_for_anyone: bool, response: &mut Response) {
    let by_status: &[&str] = match status {
        "401" => &[AUTHENTICATE],
        "429" | "503" => &[RETRY_AFTER],
        _ => &[],
    };
    // Wrong keys are counted at a login, too.
    let is_counted = !is_for_anyone || matches!(status, "401" | "429");
    let limits: &[&str] = if is_counted { &RATE_LIMITS } else { &[] };
    for name in [REQUEST_ID].iter().chain(by_status).chain(limits) {
        add_header(name, response);
    }
}

/// One that is declared with the components.
fn add_header(name: &str, response: &mut Response) {
    let reference = Ref::new(format!("#/components/headers/{name}"));
    response.headers.insert(name.to_owned(), RefOr::Ref(reference));
}

/// Read the OpenAPI document
#[utoipa::path(
    tag = "Daemon",
    responses(
        (status = 200, description = "OpenAPI 3.1", body = Object),
        (status = 421, description = "Foreign Host header", body = ErrorBody),
    ),
    security(()),
)]
#[get("/api/openapi.json")]
pub(crate) async fn read_openapi(app: App) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(app.document.serialized())
}

/// The page that shows the document, its assets compiled in, compressed.
pub(crate) fn pages() -> impl HttpServiceFactory {
    let pages = SwaggerUi::new("/{_:.*}").config(Config::from("/api/openapi.json"));
    web::scope("/docs").wrap(from_fn(as_the_client_takes_it)).service(pages)
}

/// Bytes of a page that are handed over at a time.
const PIECE: usize = 16 * 1024;

/// Decompresses what is for a client that doesn't say that it takes gzip.
pub(crate) async fn as_the_client_takes_it(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let takes_gzip = takes_gzip(&request);
    let (request, response) = next.call(request).await?.into_parts();
    let (mut head, body) = response.into_parts();
    head.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if takes_gzip || head.headers_mut().remove(header::CONTENT_ENCODING).next().is_none() {
        return Ok(ServiceResponse::new(request, head.set_body(BoxBody::new(body))));
    }
    let compressed = to_bytes(body).await.map_err(|_| ApiError(Failure::unavailable("page")))?;
    let reader = GzDecoder::new(std::io::Cursor::new(compressed));
    let pieces = futures_util::stream::unfold(reader, async |mut reader| {
        let mut piece = vec![0; PIECE];
        let read = reader.read(&mut piece);
        match read {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                Some((Ok(Bytes::from(piece)), reader))
            }
            Err(error) => Some((Err(error), reader)),
        }
    });
    Ok(ServiceResponse::new(request, head.set_body(BoxBody::new(BodyStream::new(Box::pin(pieces))))))
}
