//! The HTTP front: REST calls become messages to the registry, the published roster becomes answers.
//!
//! A handler is four steps: parse, authorize, send, map. State lives elsewhere. A request passes [`pipeline`] (id, allowed
//! hosts, headers, log), then its route in [`routes`], where the first argument of a handler ([`auth::Authorized`]) settles who asks
//! and whether they may, before a body is read.

pub(crate) mod access;
pub(crate) mod agents;
pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod cluster;
pub(crate) mod compression;
pub(crate) mod context;
pub(crate) mod daemon;
pub(crate) mod dashboard;
pub(crate) mod devices;
pub(crate) mod direct;
pub(crate) mod door;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod fleet;
pub(crate) mod gateway_calls;
pub(crate) mod gateways;
pub(crate) mod headers;
pub(crate) mod input;
pub(crate) mod keyring;
pub(crate) mod limits;
pub(crate) mod login_links;
pub(crate) mod mcp;
pub(crate) mod mutations;
pub(crate) mod openapi;
pub(crate) mod organization;
pub(crate) mod peer;
pub(crate) mod pipeline;
pub(crate) mod process_view;
pub(crate) mod route_table;
pub(crate) mod routes;
pub(crate) mod senders;
pub(crate) mod sessions;
pub mod settings;
pub(crate) mod spawn;
pub(crate) mod standby;
pub(crate) mod vitals;

#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{Extensions, HttpService};
use actix_server::GracefulShutdownSignal;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{Error, web};
use gatewarden_actors::store::records::{AuditEntry, AuditResult};
use gatewarden_listener::{ClientSocket, Connections, GuardedStream, Limits, Place, WRITE_BUFFER};
use serde_json::json;
use tokio::net::TcpStream;

use self::context::{App, AppContext, AppState, ServedDocument};
use self::peer::ForwardingNode;
use self::route_table::{Noted, RouteTable};
use self::settings::HttpSettings;
use crate::mesh::Mesh;
use crate::mesh::socket::MeshSocket;

/// How long an idle connection is kept, and how long the head of a connection's first request may take.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const FIRST_HEAD: Duration = Duration::from_secs(5);
/// The same of a connection of another node, which keeps it for its next request.
const KEEP_ALIVE_OF_NODES: Duration = Duration::from_secs(75);
/// How long a client that still sends a body after its answer may go on, so that it gets to read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Between two rounds of what the front does by itself.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// The OpenAPI document.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    openapi::document(|routes| routes::api(routes))
}

/// What all workers share.
pub(crate) fn context(settings: HttpSettings, state: AppState) -> App {
    let mut noted = Noted::default();
    routes::api(&mut noted);
    web::Data::new(AppContext::new(settings, state, RouteTable::of(noted), ServedDocument::new(openapi)))
}

/// Starts the HTTP front on a socket that is already bound. The caller awaits the server and stops it through its
/// handle (`server.handle().stop(true)`): signals are the daemon's. To be called inside a running actix system.
pub(crate) fn serve(
    settings: HttpSettings,
    state: AppState,
    listener: TcpListener,
    mesh: Option<MeshDoor>,
) -> std::io::Result<Server> {
    let shape = Shape::of(&settings);
    let mesh = mesh.map(|door| (door, mesh_connections(&settings)));
    let context = context(settings, state);
    start_housekeeping(&context);
    fleet::start_vitals(&context);
    listen(shape, context.connections.clone(), listener, mesh, move || app(context.clone()))
}

/// Where other nodes of the cluster pass requests on.
pub(crate) struct MeshDoor {
    pub(crate) listener: TcpListener,
    pub(crate) mesh: Arc<Mesh>,
    /// Takes a connection over which another node has gateways carried; none where this node carries none.
    pub(crate) carry: Option<Carry>,
}

/// Takes a connection of another node that speaks no HTTP.
pub(crate) type Carry = Arc<dyn Fn(MeshSocket) + Send + Sync>;

/// Connections to the port for nodes of which nobody knows yet whose they are, at one time: half as many as there may be of nodes, between
/// these. The oldest goes for a newcomer; one address has a quarter, which is more than a node makes at one time.
const FEWEST_STRANGERS: usize = 160;
const MOST_STRANGERS: usize = 256;

/// As many as there may be clients: behind each stands one, at another node. All of them may be of one node.
fn mesh_connections(settings: &HttpSettings) -> Connections {
    let limits = Limits { per_shared_address: settings.connections.connections, ..settings.connections };
    Connections::new(limits, |_| true)
}

/// What a server is like, whatever it answers.
#[derive(Debug, Clone, Copy)]
struct Shape {
    workers: usize,
    stop_s: u64,
    places: usize,
}

impl Shape {
    fn of(settings: &HttpSettings) -> Self {
        Self {
            workers: settings.workers.max(1),
            stop_s: settings.shutdown_timeout.as_secs(),
            places: settings.connections.connections,
        }
    }
}

/// Serves an application on a socket that is already bound, within the bounds of `connections`.
fn listen<T, B>(
    shape: Shape,
    connections: Connections,
    listener: TcpListener,
    mesh: Option<(MeshDoor, Connections)>,
    make: impl Fn() -> actix_web::App<T> + Clone + Send + 'static,
) -> std::io::Result<Server>
where
    T: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<B>, Error = Error, InitError = ()>
        + 'static,
    T::Future: 'static,
    B: MessageBody + 'static,
{
    gatewarden_listener::prepare(&listener);
    actix_rt::spawn(connections.look_after());
    let strangers = (shape.places / 2).clamp(FEWEST_STRANGERS, MOST_STRANGERS);
    let most = if mesh.is_some() { 2 * shape.places + strangers } else { shape.places };
    let server = actix_server::Server::build()
        .workers(shape.workers)
        .shutdown_timeout(shape.stop_s)
        .disable_signals()
        // A worker alone must take more than there are places for, so that a newcomer is decided on at all.
        .max_concurrent_connections(most.saturating_mul(2));
    let stopping = server.graceful_shutdown_signal();
    let (made, signal) = (make.clone(), stopping.clone());
    let server = server.listen("http", listener, move || {
        let connections = connections.clone();
        let service = service(made(), signal.clone(), KEEP_ALIVE, |stream: &GuardedStream<TcpStream>, data| {
            data.insert(stream.connection().clone());
        });
        fn_service(move |socket: TcpStream| {
            let entered =
                enter(&socket, &connections).map(|(place, peer)| (GuardedStream::new(socket, place), Some(peer)));
            async move { entered }
        })
        .and_then(service)
    })?;
    let Some((MeshDoor { listener, mesh, carry }, connections)) = mesh else { return Ok(server.run()) };
    gatewarden_listener::prepare(&listener);
    actix_rt::spawn(connections.look_after());
    // Strangers take no place of a node's connection.
    let strangers = Connections::new(Limits::shared_out(strangers, usize::MAX), |_| false);
    let numbers = Arc::new(AtomicU64::new(0));
    let server = server.listen("mesh", listener, move || {
        let (connections, strangers) = (connections.clone(), strangers.clone());
        let (mesh, numbers, signal, carry) = (mesh.clone(), numbers.clone(), stopping.clone(), carry.clone());
        let introduce = |stream: &GuardedStream<MeshSocket>, data: &mut Extensions| {
            data.insert(stream.connection().clone());
            data.insert(ForwardingNode { certificate: stream.socket().certificate().clone() });
        };
        let service = service(make(), stopping.clone(), KEEP_ALIVE_OF_NODES, introduce);
        fn_service(move |socket: TcpStream| {
            let entered = enter(&socket, &strangers);
            let (mesh, number) = (mesh.clone(), numbers.fetch_add(1, Ordering::Relaxed));
            let (connections, stopping, carry) = (connections.clone(), signal.clone(), carry.clone());
            async move {
                let (stranger, peer) = entered?;
                let take_place = || connections.enter(peer.ip());
                let welcomed = mesh.welcome(socket, stranger.connection(), stopping.notified(), take_place).await;
                let (socket, place) = welcomed.map_err(|error| {
                    tracing::debug!(client.address = %peer.ip(), %error, "turned a connection to the port for nodes away");
                    DispatchError::Io(error)
                })?;
                drop(stranger);
                if socket.carries() {
                    // There is one for each node that acts. From here on it is none of this server's.
                    if let Some(carry) = carry {
                        carry(socket);
                    }
                    return Err(DispatchError::Io(std::io::ErrorKind::ConnectionAborted.into()));
                }
                // No node's connection is ended for a newcomer: each of them counts for itself.
                place.connection().mark_known(NonZeroU64::MIN.saturating_add(number));
                Ok((GuardedStream::new(socket, place), Some(peer)))
            }
        })
        .and_then(service)
    })?;
    Ok(server.run())
}

/// HTTP/1.1 over one kind of connection.
fn service<T, B, S>(
    app: actix_web::App<T>,
    stopping: GracefulShutdownSignal,
    keep_alive: Duration,
    introduce: impl Fn(&GuardedStream<S>, &mut Extensions) + 'static,
) -> impl ServiceFactory<
    (GuardedStream<S>, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = DispatchError,
    InitError = (),
>
where
    T: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<B>, Error = Error, InitError = ()>
        + 'static,
    T::Future: 'static,
    B: MessageBody + 'static,
    S: ClientSocket + 'static,
{
    HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .keep_alive(keep_alive)
        .client_request_timeout(FIRST_HEAD)
        .client_disconnect_timeout(LINGER)
        .h1_write_buffer_size(WRITE_BUFFER)
        .on_connect_ext(introduce)
        .h1(map_config(app.into_factory().map_err(|error: Error| error.error_response()), |()| AppConfig::default()))
}

/// Gives a connection its place, where there is one. An error closes it.
fn enter(socket: &TcpStream, connections: &Connections) -> Result<(Place, SocketAddr), DispatchError> {
    let peer = socket.peer_addr()?;
    // An event must not wait for the client's word on the one before.
    socket.set_nodelay(true)?;
    let place = connections.enter(peer.ip()).ok_or(DispatchError::DisconnectTimeout)?;
    Ok((place, peer))
}

/// Calls it every minute, for as long as what is kept up is there. On the current arbiter.
fn every_minute<T: 'static>(kept: impl Fn() -> Option<T> + 'static, keep: impl AsyncFn(&T) + 'static) {
    actix_rt::spawn(async move {
        loop {
            tokio::time::sleep(HOUSEKEEPING).await;
            let Some(kept) = kept() else { return };
            keep(&kept).await;
        }
    });
}

/// The application of one worker.
pub(crate) fn app(
    context: App,
) -> actix_web::App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let wrapped = context.clone();
    actix_web::App::new()
        .configure(routes::api)
        .configure(routes::besides)
        .app_data(context)
        .app_data(mcp::Doorway::default())
        .wrap(from_fn(move |request, next| pipeline::run(wrapped.clone(), request, next)))
}

/// Every minute: forget idle rate limits and ended sessions, tell the store which keys were used, and the audit log which
/// refusals it lacks. Runs on the current arbiter and ends with the front.
fn start_housekeeping(app: &App) {
    // Before the first request.
    app.keys.reach(app.clock.expiry_ms().div_euclid(1_000));
    let kept = Arc::downgrade(&app.clone().into_inner());
    let while_there = move || kept.upgrade();
    every_minute(while_there, async |app: &Arc<AppContext>| {
        app.keys.reach(app.clock.expiry_ms().div_euclid(1_000));
        app.limits.purge();
        note_refusals(app);
        let used = app.keys.take_used();
        if !used.is_empty()
            && let Err(failure) = app.store.touch_keys(used).await
        {
            // The next use is noted again; nothing that matters is lost.
            tracing::debug!(error = %failure, "the last use of API keys was not stored");
        }
        let judged_s = app.clock.judged_ms(app.settings.session_lifetime).div_euclid(1_000);
        if let Err(failure) = app.store.purge_web_sessions(judged_s).await {
            tracing::debug!(error = %failure, "ended browser sessions were not removed");
        }
    });
}

/// Tells the audit log how many refusals it lacks.
fn note_refusals(app: &AppContext) {
    let left_out = app.refusals.take_left_out();
    if left_out == 0 {
        return;
    }
    tracing::warn!(refusals.left_out = left_out, "the audit log lacks refusals: too many came within a minute");
    let (at_ms, details) = (app.clock.wall_ms(), json!({ "refusals": left_out }));
    app.audit.note(AuditEntry::by_system(at_ms, "audit.refusals_left_out", None, AuditResult::Refused, details));
}
