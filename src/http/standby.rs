//! The front of a node that stands by: it lives, is not ready, and says which node acts. Nothing is begun here, so that a client
//! can send anything again at the node that acts.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::{Error, HttpRequest, HttpResponse, web};
use gatewarden_actors::clock::Clock;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::store::member::Member;
use gatewarden_listener::{AnswerBody, Connections};
use serde_json::json;

use super::cluster;
use super::daemon::{lives, metrics_of};
use super::dashboard::standby_page;
use super::error::{ApiError, detailed, has_detail};
use super::headers;
use super::peer::is_direct_loopback;
use super::settings::{HttpSettings, MetricsAccess};
use super::{Shape, listen};

/// What its handler may reach.
struct Standby {
    settings: HttpSettings,
    member: Member,
    metrics: Arc<Metrics>,
    clock: Clock,
    started_ms: i64,
}

/// Starts it on a socket that is already bound. The caller stops it when this node begins to act.
pub(crate) fn serve(
    settings: HttpSettings,
    member: Member,
    metrics: Arc<Metrics>,
    clock: Clock,
    listener: TcpListener,
) -> std::io::Result<Server> {
    let proxies = settings.trusted_proxies.clone();
    let is_shared = move |address| proxies.iter().any(|network| network.contains(address));
    let connections = Connections::new(settings.connections, is_shared);
    let started_ms = clock.uptime_ms();
    let shape = Shape { workers: 1, ..Shape::of(&settings) };
    let standby = web::Data::new(Standby { settings, member, metrics, clock, started_ms });
    listen(shape, connections, listener, move || app(standby.clone()))
}

fn app(
    standby: web::Data<Standby>,
) -> actix_web::App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    actix_web::App::new().app_data(standby).default_service(web::to(answer)).wrap(from_fn(
        async |mut request: ServiceRequest, next: actix_web::middleware::Next<_>| {
            let serving = gatewarden_listener::begin(&mut request);
            let is_page = headers::is_page(request.path());
            let mut response = next.call(request).await?;
            headers::write_security(is_page, response.headers_mut());
            Ok(response.map_body(|_, body| AnswerBody::new(body, serving)))
        },
    ))
}

async fn answer(standby: web::Data<Standby>, request: HttpRequest) -> HttpResponse {
    if let Err(failure) = headers::check_host(request.path(), request.headers(), &standby.settings.allowed_hosts) {
        return HttpResponse::from_error(ApiError(failure));
    }
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    match request.path() {
        "/health" | "/api/health" if is_read => {
            let up_ms = standby.clock.uptime_ms().saturating_sub(standby.started_ms);
            lives(u64::try_from(up_ms / 1000).unwrap_or(0))
        }
        "/metrics" if is_read && gives_metrics(&standby, &request) => metrics_of(&standby.metrics),
        // Keys are the acting node's to check; whoever has a shell here may know who acts.
        "/api/cluster" if is_read && is_direct_loopback(&request) => {
            HttpResponse::Ok().json(cluster::seen_by(&standby.member, standby.clock.uptime_ms()))
        }
        path => {
            let (failure, url) = refusal(&standby.member);
            let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
            if is_read && !path.starts_with("/api/") && accepted.is_some_and(|accepted| accepted.contains("text/html"))
            {
                return standby_page(StatusCode::SERVICE_UNAVAILABLE, &failure, url.as_deref());
            }
            let refused = HttpResponse::from_error(ApiError(failure.clone()));
            if has_detail(path) { detailed(refused, &failure) } else { refused }
        }
    }
}

/// Keys are the acting node's to check.
fn gives_metrics(standby: &Standby, request: &HttpRequest) -> bool {
    match standby.settings.metrics_access {
        MetricsAccess::Public => true,
        MetricsAccess::Loopback => is_direct_loopback(request),
        MetricsAccess::Off | MetricsAccess::Key => false,
    }
}

/// What everybody is told, and where the node that acts is.
fn refusal(member: &Member) -> (Failure, Option<String>) {
    let view = member.view().borrow().clone();
    let name = &member.facts().name;
    let (sentence, acting) = match view.acting() {
        Some(acting) => (
            format!("Node {name} stands by: node {} at {} acts", acting.name, acting.url),
            json!({ "name": acting.name, "url": acting.url }),
        ),
        None => (format!("Node {name} stands by, and no node acts at the moment"), serde_json::Value::Null),
    };
    let failure = Failure::new(ErrorCode::Standby, sentence)
        .with_help("Nothing was begun: send it to the node that acts. This node takes over when that one is gone.")
        .with_details(json!({ "node": name, "acting": acting }))
        .with_retry_after(Duration::from_secs(1));
    (failure, view.acting().map(|acting| acting.url.clone()))
}
