//! The front of a node that stands by: it lives, is not ready, and shows all nodes to whoever has a key. Everything else it passes on to
//! the node that acts, where both take part in the mesh ([`forward`]). Where not, it says which node acts; nothing is begun here, so that
//! a client can send anything again there.

mod forward;

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::cookie::Cookie;
use actix_web::dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::{Error, HttpRequest, HttpResponse, web};
use gatewarden_actors::clock::Clock;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::store::member::Member;
use gatewarden_actors::store::records::{ApiKey, WebSession};
use gatewarden_api::cluster::Cluster;
use gatewarden_listener::{AnswerBody, Connections, Place};
use gatewarden_protocol::Secret;
use serde_json::json;
use url::form_urlencoded;

use super::auth::SESSION_COOKIE;
use super::cluster;
use super::daemon::{lives, metrics_of};
use super::dashboard::{Nodes, standby_page};
use super::door::{Door, no_key, presented_key};
use super::error::{ApiError, detailed, has_detail, status_of};
use super::headers;
use super::input::read_small;
use super::keyring::{Keyring, key_hash};
use super::limits::Limits;
use super::peer::{client_address, client_connection, forwarding_node, is_direct_loopback, mark_known};
use super::settings::{HttpSettings, MetricsAccess};
use super::{Carry, MeshDoor, Shape, every_minute, listen, mesh_connections};
use crate::mesh::exchange::Pool;
use crate::mesh::{Mesh, Peer};

/// Stored keys that were read longer ago let nobody in: one of them may be revoked by now.
const KEYS_COUNT_MS: i64 = 6_000;

/// What its handler may reach.
pub(crate) struct Standby {
    settings: HttpSettings,
    member: Member,
    /// The key that isn't stored.
    unstored: Option<Secret>,
    /// The keys that were read last, as they are checked.
    keys: Mutex<(Arc<Vec<ApiKey>>, Arc<Keyring>)>,
    limits: Limits,
    /// Its clients, and for strangers among them what is passed on.
    front: Connections,
    strangers: Connections,
    metrics: Arc<Metrics>,
    clock: Clock,
    started_ms: i64,
    mesh: Option<Arc<Mesh>>,
}

impl Standby {
    /// `unstored`: the key of the configuration, or the admin key that counted at this node's start.
    pub(crate) fn new(
        settings: HttpSettings,
        member: Member,
        unstored: Option<Secret>,
        metrics: Arc<Metrics>,
        clock: Clock,
        mesh: Option<Arc<Mesh>>,
    ) -> Self {
        let keys = Mutex::new((Arc::default(), Arc::new(Keyring::new(&[], unstored.as_ref(), ADMIN))));
        let (limits, started_ms) = (Limits::new(&settings.rate_limits, &clock), clock.uptime_ms());
        let proxies = settings.trusted_proxies.clone();
        let is_shared = move |address| proxies.iter().any(|network| network.contains(address));
        let front = Connections::new(settings.connections, is_shared);
        let strangers = front.on_behalf();
        Self { settings, member, unstored, keys, limits, front, strangers, metrics, clock, started_ms, mesh }
    }

    /// The keys as of a moment ago, and the browser sessions; without these where the stored keys are not known.
    fn keys(&self) -> (Arc<Keyring>, Option<Arc<HashMap<String, WebSession>>>) {
        let seen = self.member.keys();
        let seen = seen.filter(|seen| self.clock.uptime_ms() - seen.seen_ms < KEYS_COUNT_MS);
        let (keys, sessions) = seen.map(|seen| (seen.keys, seen.web_sessions)).unzip();
        let keys = keys.unwrap_or_default();
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known.0, &keys) {
            let ring = Keyring::new(&keys, self.unstored.as_ref(), ADMIN);
            *known = (keys, Arc::new(ring));
        }
        (known.1.clone(), sessions)
    }

    /// Whether this request may see what only whoever has a key may. `presented`: the key of a form instead of that of a header.
    fn admit(&self, request: &HttpRequest, presented: Option<&str>) -> Result<(), ApiError> {
        let (keys, sessions) = self.keys();
        let now_s = self.clock.wall_ms().div_euclid(1000);
        let door = Door { keys: &keys, limits: &self.limits, trusted_proxies: &self.settings.trusted_proxies, now_s };
        let presented = presented.or(presented_key(request.headers())).ok_or_else(no_key)?;
        match door.check(request, presented) {
            Ok(key) => {
                mark_known(request, &key);
                Ok(())
            }
            // Whoever asks often with a good key isn't told that it is wrong.
            Err(_) if sessions.is_none() => {
                let sentence =
                    "This node stands by and can't tell whether the key is good: the database does not answer";
                let help = "Ask the node that acts, or try again when the database is back.";
                Err(Failure::new(ErrorCode::StoreUnavailable, sentence).with_help(help).into())
            }
            Err(error) => Err(error),
        }
    }

    /// A place for a request without a good key or browser session, which goes for the next one like that until all of the request is
    /// passed on: what it changes may have begun then. All nodes together leave half of the acting node's connections to whoever is
    /// known, so that one for which there is no place is not passed on.
    fn place_of_stranger(&self, request: &HttpRequest) -> Result<Option<Place>, Failure> {
        let ((keys, sessions), now_s) = (self.keys(), self.clock.wall_ms().div_euclid(1000));
        let of_session =
            |cookie: Cookie<'_>| keys.holder_of_session(sessions.as_ref()?.get(&key_hash(cookie.value()))?, now_s);
        let holder = match presented_key(request.headers()) {
            Some(key) => keys.verify(key, now_s),
            None => request.cookie(SESSION_COOKIE).and_then(of_session),
        };
        if let Some(key) = holder {
            mark_known(request, &key);
            return Ok(None);
        }
        let others = self.member.view().borrow().nodes.len().saturating_sub(1).max(1);
        let most = (self.settings.connections.connections / 2 / others).max(1);
        let place = client_address(request, &self.settings.trusted_proxies)
            .and_then(|address| self.strangers.enter_for(client_connection(request).cloned(), address, most));
        place.map(Some).ok_or_else(|| {
            let sentence = "As many requests without a good key as may be passed on wait for the node that acts";
            Failure::new(ErrorCode::Unavailable, sentence)
                .with_help("Nothing was begun: send it again in a second.")
                .with_retry_after(Duration::from_secs(1))
        })
    }

    fn nodes(&self) -> Cluster {
        cluster::seen_by(&self.member, self.mesh.as_deref(), self.clock.uptime_ms())
    }
}

/// What the key is called that isn't stored.
const ADMIN: &str = "the admin key";

/// Starts it on a socket that is already bound. The caller stops it when this node begins to act.
/// `mesh`: where nodes connect, and what takes those connections over which gateways are carried.
pub(crate) fn serve(
    standby: Standby,
    listener: TcpListener,
    mesh: Option<(TcpListener, Carry)>,
) -> std::io::Result<Server> {
    let connections = standby.front.clone();
    let shape = Shape::of(&standby.settings);
    let door =
        mesh.zip(standby.mesh.clone()).map(|((listener, carry), mesh)| MeshDoor { listener, mesh, carry: Some(carry) });
    // What is passed on has to go fast; without that there is little to do. Whoever waits for an answer gets it before the end.
    let shape = match &door {
        Some(_) => Shape { stop_s: shape.stop_s.min(LAST_ANSWERS_S), ..shape },
        None => Shape { workers: 1, ..shape },
    };
    let door = door.map(|door| (door, mesh_connections(&standby.settings)));
    let standby = web::Data::new(standby);
    let kept = Arc::downgrade(&standby.clone().into_inner());
    every_minute(move || kept.upgrade(), async |standby: &Arc<Standby>| standby.limits.purge());
    listen(shape, connections, listener, door, move || app(standby.clone()))
}

/// Connections to the node that acts that wait for the next request, of one worker: all workers have an eighth of what is there at most.
const MAX_IDLE: usize = 64;
/// Seconds that requests under way may take once this node acts, or stops: another node answers them, which is most likely gone.
const LAST_ANSWERS_S: u64 = 2;

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
    let idle = standby.settings.connections.connections / 8 / standby.settings.workers.max(1);
    let (pool, clock) = (Pool::of_at_most(idle.clamp(1, MAX_IDLE)), standby.clock.clone());
    every_minute(pool.while_there(), async move |pool: &Pool| pool.sweep(clock.uptime_ms()));
    actix_web::App::new().app_data(standby).app_data(pool).default_service(web::to(answer)).wrap(from_fn(
        async |mut request: ServiceRequest, next: actix_web::middleware::Next<_>| {
            let serving = gatewarden_listener::begin(&mut request);
            let is_page = headers::is_page(request.path());
            let mut response = next.call(request).await?;
            if !response.response().extensions().contains::<forward::PassedOn>() {
                headers::write_security(is_page, response.headers_mut());
            }
            Ok(response.map_body(|_, body| AnswerBody::new(body, serving)))
        },
    ))
}

/// What is answered of the node that is asked, whichever acts.
const OWN: [&str; 5] = ["/health", "/api/health", "/ready", "/metrics", "/api/cluster"];

async fn answer(standby: web::Data<Standby>, request: HttpRequest, body: web::Payload) -> HttpResponse {
    if forwarding_node(&request).is_some() {
        // The other node takes this one for the one that acts, for a moment: nothing is passed on twice.
        return refused(&request, &refusal(&standby.member).0);
    }
    if let Err(failure) = headers::check_host(request.path(), request.headers(), &standby.settings.allowed_hosts) {
        return HttpResponse::from_error(ApiError(failure));
    }
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    match request.path() {
        "/health" | "/api/health" if is_read => {
            let up_ms = standby.clock.uptime_ms().saturating_sub(standby.started_ms);
            lives(u64::try_from(up_ms / 1000).unwrap_or(0))
        }
        "/metrics" if is_read && gives_metrics(&standby, &request) => metrics_of(&standby.metrics, &standby.front),
        "/api/cluster" if is_read => match standby.admit(&request, None) {
            Ok(()) => HttpResponse::Ok().json(standby.nodes()),
            Err(error) => HttpResponse::from_error(error),
        },
        path => {
            let acting = standby.mesh.as_ref().filter(|_| !(is_read && OWN.contains(&path)));
            let acting = acting.and_then(|mesh| Some((mesh, mesh.acting()?)));
            if acting.is_none() && path == NODES && request.method() == Method::POST {
                return show_nodes(&standby, &request, body).await;
            }
            let (mut failure, url) = refusal(&standby.member);
            if let Some((mesh, acting)) = acting {
                match pass_on(&standby, mesh, &acting, &request, body).await {
                    Ok(response) => return response,
                    Err(why) => failure = why,
                }
            }
            let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
            if is_read && !path.starts_with("/api/") && accepted.is_some_and(|accepted| accepted.contains("text/html"))
            {
                return standby_page(StatusCode::SERVICE_UNAVAILABLE, &failure, url.as_deref(), &Nodes::Asks(None));
            }
            refused(&request, &failure)
        }
    }
}

fn refused(request: &HttpRequest, failure: &Failure) -> HttpResponse {
    let refused = HttpResponse::from_error(ApiError(failure.clone()));
    if has_detail(request.path()) { detailed(refused, failure) } else { refused }
}

async fn pass_on(
    standby: &Standby,
    mesh: &Mesh,
    acting: &Peer,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Failure> {
    let pool = request.app_data::<Pool>().cloned().unwrap_or_default();
    forward::pass_on(standby, &pool, mesh, acting, request, body).await
}

/// The page of the dashboard that shows the nodes; here it is asked for with a key, and stores nothing in the browser.
const NODES: &str = "/nodes";

async fn show_nodes(standby: &Standby, request: &HttpRequest, body: web::Payload) -> HttpResponse {
    let (failure, url) = refusal(&standby.member);
    let admitted = match read_small(request, body.into_inner()).await {
        Ok(bytes) => {
            let key = form_urlencoded::parse(&bytes).find(|(name, _)| name == "api_key");
            let key = Secret::new(key.map(|(_, key)| key).unwrap_or_default());
            standby.admit(request, Some(key.expose().trim()))
        }
        Err(error) => Err(error),
    };
    match admitted {
        Ok(()) => standby_page(StatusCode::OK, &failure, url.as_deref(), &Nodes::Shown(standby.nodes())),
        Err(ApiError(refused)) => {
            let status = status_of(refused.code);
            standby_page(status, &failure, url.as_deref(), &Nodes::Asks(Some(refused)))
        }
    }
}

fn gives_metrics(standby: &Standby, request: &HttpRequest) -> bool {
    match standby.settings.metrics_access {
        MetricsAccess::Public => true,
        MetricsAccess::Loopback => is_direct_loopback(request),
        MetricsAccess::Key => standby.admit(request, None).is_ok(),
        MetricsAccess::Off => false,
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
