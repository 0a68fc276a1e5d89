//! Takes connections and serves each in a task of its own, on the gateway's one thread.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::{HttpService, Request, h1};
use actix_service::{Service, ServiceFactory as _, fn_service, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::middleware::from_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{CONNECTIONS_END_WITHIN, StartError};
use crate::connection::{Crowd, Premises, Socket, upgrade};
use crate::http;

/// Connections beyond the limit of WebSockets: those that ask something over HTTP.
const HTTP_CONNECTIONS: usize = 128;

/// Connections to the metrics at a time.
const METRICS_CONNECTIONS: usize = 16;

/// An idle HTTP connection is kept for this long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Wait after a failure to accept (too many open files), so that it isn't repeated at full speed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves WebSocket and HTTP until the gateway stops.
pub(super) async fn gateway(
    listener: TcpListener,
    encryption: Option<TlsAcceptor>,
    premises: Rc<Premises>,
) -> Result<JoinHandle<()>, StartError> {
    let deadline = premises.config.limits.handshake;
    let to_upgrade = Rc::clone(&premises);
    let service = HttpService::build()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(deadline)
        .client_disconnect_timeout(Duration::from_secs(1))
        .upgrade(fn_service(move |(request, framed): (Request, Framed<Socket, h1::Codec>)| {
            let premises = Rc::clone(&to_upgrade);
            async move {
                upgrade(premises, request, framed).await;
                Ok::<(), actix_http::Error>(())
            }
        }))
        .h1(map_config(App::new().wrap(from_fn(http::entrance::check)).configure(http::routes(&premises)), |()| {
            AppConfig::default()
        }));
    let service = service.new_service(()).await.map_err(|()| not_built())?;
    let most = premises.config.limits.connections.saturating_add(HTTP_CONNECTIONS);
    Ok(actix_rt::spawn(serve(listener, encryption, most, service, premises)))
}

/// Serves the metrics until the gateway stops.
pub(super) async fn metrics(listener: TcpListener, premises: Rc<Premises>) -> Result<JoinHandle<()>, StartError> {
    let service = HttpService::build()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(premises.config.limits.handshake)
        .client_disconnect_timeout(Duration::from_secs(1))
        .h1(map_config(
            App::new().wrap(from_fn(http::entrance::check)).configure(http::metrics_routes(&premises)),
            |()| AppConfig::default(),
        ));
    let service = service.new_service(()).await.map_err(|()| not_built())?;
    Ok(actix_rt::spawn(serve(listener, None, METRICS_CONNECTIONS, service, premises)))
}

fn not_built() -> StartError {
    StartError::Other("its HTTP service could not be built".to_owned())
}

async fn serve<S>(
    listener: TcpListener,
    encryption: Option<TlsAcceptor>,
    most: usize,
    service: S,
    premises: Rc<Premises>,
) where
    S: Service<(Socket, Option<SocketAddr>), Response = ()> + 'static,
{
    let service = Rc::new(service);
    let mut connections = JoinSet::new();
    let handshake = premises.config.limits.handshake;
    let crowd = Crowd::new(most);
    loop {
        let accepted = tokio::select! {
            biased;
            () = premises.draining() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) if connections.len() < most => {
                let Some(presence) = crowd.enter(peer.ip()) else {
                    tracing::debug!(%peer, "turned a connection away: there are too many from this address");
                    continue;
                };
                let (service, encryption) = (Rc::clone(&service), encryption.clone());
                connections.spawn_local(async move {
                    let _presence = presence;
                    let opening = tokio::time::timeout(handshake, open(tcp, encryption));
                    let Ok(Ok(socket)) = opening.await else { return };
                    // Its end is its own affair: a client that breaks off is no news.
                    let _ = service.call((socket, Some(peer))).await;
                });
            }
            Ok((_, peer)) => tracing::warn!(%peer, most, "turned a connection away: there are too many"),
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    premises.stopped().await;
    let ending = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(CONNECTIONS_END_WITHIN, ending).await.is_err() {
        tracing::debug!(left = connections.len(), "some connections did not end in time");
    }
    connections.shutdown().await;
}

async fn open(tcp: TcpStream, encryption: Option<TlsAcceptor>) -> io::Result<Socket> {
    tcp.set_nodelay(true)?;
    Ok(match encryption {
        Some(acceptor) => Socket::Encrypted(Box::new(acceptor.accept(tcp).await?)),
        None => Socket::Plain(tcp),
    })
}
