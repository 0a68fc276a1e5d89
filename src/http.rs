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
pub mod sessions;
pub mod settings;
pub mod spawn;
pub mod stalled_clients;
pub mod state;
pub mod status;
pub mod tokens;

#[cfg(test)]
mod tests;

use std::net::TcpListener;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, Error, HttpServer, web};

pub use front::Front;
pub use keyring::{Keyring, new_key};
pub use mutations::Mutations;
pub use openapi::openapi;
pub use settings::HttpSettings;
pub use state::{AppState, InstallationIdentity, Readiness};

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
    let front = web::Data::new(Front::new(settings, state));
    housekeeping::start(&front);
    stalled_clients::cut_off(&listener);
    let server = HttpServer::new(move || app(front.clone()))
        .workers(workers)
        .shutdown_timeout(stop)
        // An event must not wait for the client's word on the one before.
        .tcp_nodelay(true)
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(server)
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
