//! Requests a second of the list of ten gateways, against a bare handler that returns the same bytes.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};

use crate::load::{Asked, load};
use crate::measured::setup;
use crate::{fleet, median};

const CONNECTIONS: usize = 32;
const SPAN: Duration = Duration::from_secs(5);

pub(crate) fn requests() {
    let daemon = setup()
        .env("GATEWARDEN_RATE_LIMIT__ENABLED", "true")
        .env("GATEWARDEN_RATE_LIMIT__GATEWAY_PER_MINUTE", "10000000")
        .start();
    let _gateways = fleet(&daemon, 10);
    let body = daemon.get("/api/gateways").expect(200).text;
    println!("requests: the list of 10 gateways has {} bytes", body.len());
    let bare = bare_server(body);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        theirs.push(load(bare, CONNECTIONS, SPAN, &Asked::get("/", "", 200)).a_second());
        ours.push(load(daemon.address(), CONNECTIONS, SPAN, &Asked::get("/api/gateways", "", 200)).a_second());
    }
    println!("requests: bare handler {theirs:.0?} a second, ours {ours:.0?}");
    println!("requests: {:.0} % of the bare handler (medians)", 100.0 * median(ours) / median(theirs));
}

/// An actix-web server with as many workers as the daemon's default that returns these bytes.
fn bare_server(body: String) -> SocketAddr {
    let (give, take) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let body = web::Bytes::from(body);
            let server = HttpServer::new(move || {
                let body = body.clone();
                App::new().route(
                    "/",
                    web::get().to(move || {
                        let body = body.clone();
                        async move { HttpResponse::Ok().content_type("application/json").body(body) }
                    }),
                )
            })
            .workers(2)
            .bind(("127.0.0.1", 0))
            .expect("a port");
            give.send(server.addrs()[0]).expect("the benchmark waits");
            let _ = server.run().await;
        });
    });
    take.recv().expect("the server listens")
}
