//! The HTTP front: REST calls become messages to the registry, the published roster becomes answers.
//!
//! A handler is four steps: parse, authorize, send, map. State lives elsewhere. A request passes [`pipeline`] (id, allowed
//! hosts, headers, log), then its route in [`routes`], where the first argument of a handler ([`auth::By`]) settles who asks
//! and whether they may, before a body is read.

pub mod access_log;
pub mod agents;
pub mod allowed_hosts;
pub mod audit;
pub mod auth;
pub mod body;
pub mod body_budget;
pub mod connect;
pub mod cors;
pub mod direct_door;
pub mod error;
pub mod events;
pub mod events_socket;
pub mod fields;
pub mod front;
pub mod gateway_object;
pub mod gateways;
pub mod health;
pub mod housekeeping;
pub mod identity;
pub mod keyring;
pub mod keys;
pub mod login;
pub mod metrics;
pub mod mutations;
pub mod nodes;
pub mod openapi;
pub mod organization;
pub mod peer_address;
pub mod pipeline;
pub mod query;
pub mod rate_limit;
pub mod registry_door;
pub mod request_id;
pub mod route_table;
pub mod routes;
pub mod security_headers;
pub mod serving;
pub mod sessions;
pub mod settings;
pub mod spawn;
pub mod state;
pub mod status;
pub mod tokens;

#[cfg(test)]
mod tests;

use std::net::TcpListener;
use std::time::Duration;

use actix_http::HttpService;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, Error, web};
use gatewarden_listener::{Connections, GuardedStream, WRITE_BUFFER};
use tokio::net::TcpStream;

pub use front::Front;
pub use keyring::{Keyring, new_key};
pub use mutations::Mutations;
pub use openapi::openapi;
pub use settings::HttpSettings;
pub use state::{AppState, InstallationIdentity, Readiness};

/// How long an idle connection is kept, and how long the head of a connection's first request may take.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const FIRST_HEAD: Duration = Duration::from_secs(5);
/// How long a client that still sends a body after its answer may go on, so that it gets to read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Starts the HTTP front on a socket that is already bound. The caller awaits the server and stops it through its
/// handle (`server.handle().stop(true)`): signals are the daemon's.
///
/// To be called inside a running actix system.
///
/// # Errors
/// The socket can't be listened on.
pub fn serve(settings: HttpSettings, state: AppState, listener: TcpListener) -> std::io::Result<Server> {
    let workers = settings.workers.max(1);
    let stop = settings.shutdown_timeout.as_secs();
    let limits = settings.connections;
    let front = web::Data::new(Front::new(settings, state));
    housekeeping::start(&front);
    gatewarden_listener::prepare(&listener);
    let connections = front.connections.clone();
    actix_rt::spawn(connections.look_after());
    let server = actix_server::Server::build()
        .workers(workers)
        .shutdown_timeout(stop)
        .disable_signals()
        // A worker alone must take more than there are places for, so that a newcomer is decided on at all.
        .max_concurrent_connections(limits.connections.saturating_mul(2));
    let stopping = server.graceful_shutdown_signal();
    let server = server
        .listen("http", listener, move || {
            let (stopping, connections) = (stopping.clone(), connections.clone());
            let service = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(FIRST_HEAD)
                .client_disconnect_timeout(LINGER)
                .h1_write_buffer_size(WRITE_BUFFER)
                .on_connect_ext(|stream: &GuardedStream<TcpStream>, data| {
                    data.insert(stream.connection().clone());
                })
                .h1(map_config(
                    app(front.clone()).into_factory().map_err(|error: Error| error.error_response()),
                    |()| AppConfig::default(),
                ));
            fn_service(move |socket: TcpStream| {
                let entered = enter(socket, &connections);
                async move { entered }
            })
            .and_then(service)
        })?
        .run();
    Ok(server)
}

/// Gives a connection its place, where there is one. An error closes it.
fn enter(
    socket: TcpStream,
    connections: &Connections,
) -> Result<(GuardedStream<TcpStream>, Option<std::net::SocketAddr>), actix_http::error::DispatchError> {
    let peer = socket.peer_addr()?;
    // An event must not wait for the client's word on the one before.
    socket.set_nodelay(true)?;
    let place = connections.enter(peer.ip()).ok_or(actix_http::error::DispatchError::DisconnectTimeout)?;
    Ok((GuardedStream::new(socket, place), Some(peer)))
}

/// The application of one worker.
pub fn app(
    front: web::Data<Front>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let wrapped = front.clone();
    App::new()
        .configure(routes::api)
        .configure(routes::besides)
        .app_data(front)
        .wrap(from_fn(move |request, next| pipeline::run(wrapped.clone(), request, next)))
}
