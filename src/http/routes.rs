//! The whole URL table. A handler gets in only together with its description, so the OpenAPI document holds every route;
//! the exceptions are the document's own pages.

use actix_web::dev::HttpServiceFactory;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use utoipa_actix_web::OpenApiFactory;
use utoipa_actix_web::service_config::ServiceConfig;

use super::agents::{self, by_key as agents_by_key, heartbeat, sync as agent_sync};
use super::connect as direct;
use super::error::ApiError;
use super::front::Front;
use super::gateways::{actions, by_id, connect, health as gateway_health, history, logs, process};
use super::organization::{
    commands as organization_commands, gateways as organization, session as organization_session,
    sessions as organization_sessions, status as organization_status, templates_sync,
};
use super::sessions::{
    change as session_change, control as session_control, history as session_history, message as session_message,
};
use super::{
    audit, events, events_socket, gateways, health, identity, keys, login, metrics, nodes, openapi, sessions, spawn,
    status, tokens,
};

/// What can be made of the table: a server that answers, or a document that describes. Descriptions take megabytes for a
/// moment, so that nobody gets them who doesn't want them.
pub trait Routes {
    /// Takes one route.
    fn service<F: HttpServiceFactory + OpenApiFactory + 'static>(&mut self, route: F) -> &mut Self;
}

/// Answers, and describes nothing.
impl Routes for web::ServiceConfig {
    fn service<F: HttpServiceFactory + OpenApiFactory + 'static>(&mut self, route: F) -> &mut Self {
        Self::service(self, route)
    }
}

/// Describes.
impl Routes for ServiceConfig<'_> {
    fn service<F: HttpServiceFactory + OpenApiFactory + 'static>(&mut self, route: F) -> &mut Self {
        Self::service(self, route)
    }
}

/// Every route of the API. Order matters: a fixed path comes before one with a parameter.
pub fn api(routes: &mut impl Routes) {
    routes
        // The most asked one first.
        .service(gateways::list) //           GET    /api/gateways
        .service(gateways::create) //         POST   /api/gateways
        .service(gateways::update) //         PUT    /api/gateways
        .service(gateways::delete) //         DELETE /api/gateways
        .service(gateway_health::check) //    POST   /api/gateways/health
        .service(history::history) //         GET    /api/gateways/health/history
        .service(connect::connect) //         POST   /api/gateways/connect
        .service(actions::reconnect) //       POST   /api/gateways/{id}/reconnect
        .service(actions::drain) //           POST   /api/gateways/{id}/drain
        .service(actions::undrain) //         POST   /api/gateways/{id}/undrain
        .service(logs::logs) //               GET    /api/gateways/{id}/logs
        .service(process::order) //           POST   /api/gateways/{id}/process
        .service(by_id::read) //              GET    /api/gateways/{id}
        .service(by_id::update) //            PUT    /api/gateways/{id}
        .service(by_id::delete) //            DELETE /api/gateways/{id}
        .service(spawn::spawn) //             POST   /api/spawn
        .service(spawn::list) //              GET    /api/spawn
        .service(spawn::read) //              GET    /api/spawn/{id}
        .service(events::follow) //           GET    /api/events
        .service(audit::list::list) //        GET    /api/audit
        .service(events_socket::follow) //    GET    /api/ws
        .service(agents::list) //             GET    /api/agents
        .service(agents::create) //           POST   /api/agents
        .service(agent_sync::sync) //         POST   /api/agents/sync
        .service(agents_by_key::read) //      GET    /api/agents/{id}
        .service(agents_by_key::update) //    PUT    /api/agents/{id}
        .service(agents_by_key::delete) //    DELETE /api/agents/{id}
        .service(heartbeat::heartbeat) //     POST   /api/agents/{id}/heartbeat
        .service(direct::open) //             POST   /api/connect
        .service(direct::list) //             GET    /api/connect
        .service(direct::close) //            DELETE /api/connect
        .service(tokens::read) //             GET    /api/tokens
        .service(tokens::report) //           POST   /api/tokens
        .service(sessions::list) //           GET    /api/sessions
        .service(session_change::change) //   POST   /api/sessions
        .service(session_change::delete) //   DELETE /api/sessions
        .service(session_control::control) // POST   /api/sessions/{key}/control
        .service(session_history::read) //    GET    /api/sessions/{key}/history
        .service(session_message::send) //    POST   /api/sessions/{key}/message
        .service(nodes::read) //              GET    /api/nodes
        .service(nodes::decide) //            POST   /api/nodes
        .service(identity::identity) //       GET    /api/identity
        .service(organization::list) //               GET    /api/v1/gateways
        .service(organization::create) //             POST   /api/v1/gateways
        .service(organization_status::status) //      GET    /api/v1/gateways/status
        .service(organization_commands::list) //      GET    /api/v1/gateways/commands
        .service(organization_sessions::list) //      GET    /api/v1/gateways/sessions
        .service(organization_session::read) //       GET    /api/v1/gateways/sessions/{key}
        .service(organization_session::read_history) // GET  /api/v1/gateways/sessions/{key}/history
        .service(organization_session::send) //       POST   /api/v1/gateways/sessions/{key}/message
        .service(organization::read) //               GET    /api/v1/gateways/{id}
        .service(organization::update) //             PATCH  /api/v1/gateways/{id}
        .service(organization::delete) //             DELETE /api/v1/gateways/{id}
        .service(templates_sync::sync_templates) //   POST   /api/v1/gateways/{id}/templates/sync
        .service(keys::list) //               GET    /api/keys
        .service(keys::create) //             POST   /api/keys
        .service(keys::revoke) //             DELETE /api/keys/{id}
        .service(login::login) //             POST   /api/auth/login
        .service(login::logout) //            POST   /api/auth/logout
        .service(status::status) //           GET    /api/status
        .service(health::health) //           GET    /health
        .service(health::api_health) //       GET    /api/health
        .service(health::ready) //            GET    /ready
        .service(metrics::metrics) //         GET    /metrics
        .service(openapi::document); //       GET    /api/openapi.json
}

/// What is routed besides: the pages that show the document, and the answer to everything else.
pub fn besides(config: &mut web::ServiceConfig) {
    config.service(web::redirect("/docs", "/docs/")).service(openapi::pages()).default_service(web::to(no_such_route));
}

async fn no_such_route(front: web::Data<Front>, request: HttpRequest) -> HttpResponse {
    not_routed(&front, &request)
}

/// The answer where path and method don't fit: 404, or 405 with what is allowed.
pub(super) fn not_routed(front: &Front, request: &HttpRequest) -> HttpResponse {
    let path: String = request.path().chars().filter(|character| !character.is_control()).take(200).collect();
    let methods = front.table.methods_of(request.path());
    if methods.is_empty() {
        let failure = Failure::new(ErrorCode::NotFound, format!("There is nothing at {path}"))
            .with_help("The page /docs and the document /api/openapi.json list all routes.");
        return HttpResponse::from_error(ApiError(failure));
    }
    let allowed = methods.iter().map(actix_web::http::Method::as_str).collect::<Vec<_>>().join(", ");
    let failure = Failure::new(
        ErrorCode::MethodNotAllowed,
        format!("{path} does not take the method {}; it takes {allowed}", request.method()),
    );
    let mut response = HttpResponse::from_error(ApiError(failure));
    if let Ok(value) = header::HeaderValue::try_from(allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}
