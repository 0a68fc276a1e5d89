//! The HTTP front: REST calls become messages to the registry, the published roster becomes answers.
//!
//! A handler is four steps: parse, authorize, send, map. State lives elsewhere.

pub mod registry_door;
pub mod settings;
pub mod state;

pub use settings::HttpSettings;
pub use state::AppState;

use std::net::TcpListener;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, web};

/// Starts the HTTP front on a socket that is already bound. The caller awaits the server and stops it through its
/// handle (`server.handle().stop(true)`): signals are the daemon's.
///
/// # Errors
/// The socket can't be listened on.
pub fn serve(settings: HttpSettings, state: AppState, listener: TcpListener) -> std::io::Result<Server> {
    let workers = settings.workers;
    let stop = settings.shutdown_timeout.as_secs();
    let state = web::Data::new(state);
    let server = HttpServer::new(move || App::new().app_data(state.clone()))
        .workers(workers)
        .shutdown_timeout(stop)
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(server)
}
