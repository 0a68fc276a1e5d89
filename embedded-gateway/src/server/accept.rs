//! Takes connections and serves each in a task of its own, on the gateway's one thread.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::{Extensions, HttpService, Request, h1};
use actix_service::{Service, ServiceFactory as _, fn_service, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::middleware::from_fn;
use gatewarden_listener::{Connections, GuardedStream, Limits, WRITE_BUFFER};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{CONNECTIONS_END_WITHIN, StartError};
use crate::auth::Ingress;
use crate::connection::{Socket, upgrade};
use crate::context::GatewayContext;
use crate::http;

/// Connections beyond the limit of WebSockets: those that ask something over HTTP.
const HTTP_CONNECTIONS: usize = 128;
const METRICS_CONNECTIONS: usize = 16;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Memory for what clients were sent and don't read, for all together.
const UNREAD_BYTES: usize = 32 * 1024 * 1024;
/// Wait after a failure to accept (too many open files), so that it isn't repeated at full speed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

pub(super) async fn gateway(
    listener: TcpListener,
    encryption: Option<TlsAcceptor>,
    ingress: Ingress,
    context: Rc<GatewayContext>,
) -> Result<JoinHandle<()>, StartError> {
    let deadline = context.config().limits.handshake;
    let to_upgrade = Rc::clone(&context);
    let service = HttpService::build()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(deadline)
        .client_disconnect_timeout(Duration::from_secs(1))
        .h1_write_buffer_size(WRITE_BUFFER)
        .on_connect_ext(move |stream: &GuardedStream<Socket>, data: &mut Extensions| {
            introduce(stream, data);
            data.insert(ingress);
        })
        .upgrade(fn_service(move |(request, framed): (Request, Framed<GuardedStream<Socket>, h1::Codec>)| {
            let context = Rc::clone(&to_upgrade);
            async move {
                upgrade(context, request, framed).await;
                Ok::<(), actix_http::Error>(())
            }
        }))
        .h1(map_config(App::new().wrap(from_fn(http::entrance::check)).configure(http::routes(&context)), |()| {
            AppConfig::default()
        }));
    let service = service.new_service(()).await.map_err(|()| not_built())?;
    let most = context.config().limits.connections.saturating_add(HTTP_CONNECTIONS);
    Ok(actix_rt::spawn(serve(listener, encryption, most, service, context)))
}

pub(super) async fn metrics(listener: TcpListener, context: Rc<GatewayContext>) -> Result<JoinHandle<()>, StartError> {
    let service = HttpService::build()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(context.config().limits.handshake)
        .client_disconnect_timeout(Duration::from_secs(1))
        .h1_write_buffer_size(WRITE_BUFFER)
        .on_connect_ext(introduce)
        .h1(map_config(
            App::new().wrap(from_fn(http::entrance::check)).configure(http::metrics_routes(&context)),
            |()| AppConfig::default(),
        ));
    let service = service.new_service(()).await.map_err(|()| not_built())?;
    Ok(actix_rt::spawn(serve(listener, None, METRICS_CONNECTIONS, service, context)))
}

fn introduce(stream: &GuardedStream<Socket>, data: &mut Extensions) {
    data.insert(Arc::clone(stream.connection()));
}

fn not_built() -> StartError {
    StartError::Other("its HTTP service could not be built".to_owned())
}

async fn serve<S>(
    listener: TcpListener,
    encryption: Option<TlsAcceptor>,
    most: usize,
    service: S,
    context: Rc<GatewayContext>,
) where
    S: Service<(GuardedStream<Socket>, Option<SocketAddr>), Response = ()> + 'static,
{
    gatewarden_listener::prepare(&listener);
    let service = Rc::new(service);
    let mut connections = JoinSet::new();
    // Agents, browsers and what answers them come from this machine, too: it has no more than its share of the places.
    let places = Connections::new(Limits::shared_out(most, UNREAD_BYTES), |_| false);
    actix_rt::spawn(places.look_after());
    let mut accepts = true;
    let handshake = context.config().limits.handshake;
    loop {
        let accepted = tokio::select! {
            biased;
            () = context.draining() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                accepts = true;
                let Some(place) = places.enter(peer.ip()) else { continue };
                let (service, encryption) = (Rc::clone(&service), encryption.clone());
                connections.spawn_local(async move {
                    let opening = tokio::time::timeout(handshake, open(tcp, encryption));
                    let Ok(Ok(socket)) = opening.await else { return };
                    // Its end is its own affair: a client that breaks off is no news.
                    let _ = service.call((GuardedStream::new(socket, place), Some(peer))).await;
                });
            }
            Err(error) => {
                if std::mem::replace(&mut accepts, false) {
                    tracing::warn!(%error, "could not accept a connection; trying again until it works");
                }
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    context.stopped().await;
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
