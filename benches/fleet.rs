//! Figures of the whole daemon: start with 1,000 gateways, memory with 10 and 1,000, requests a second of the gateway list
//! against a bare handler, a sweep with half of 100 gateways black-holed, what the way through the daemon costs a session's
//! history and a spawn, failover, events to 1,000 clients, ten thousand
//! gateways. Run by hand: `cargo bench --bench fleet`, or `cargo bench --bench
//! fleet -- start memory requests sweep history spawn failover fan_out crowd` for some of them. Prints figures and ratios; judges
//! nothing.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark is run by hand, says what it finds and may end at the first surprise"
)]

#[path = "fleet/clients.rs"]
mod clients;
#[path = "fleet/crowd.rs"]
mod crowd;
#[path = "fleet/failover.rs"]
mod failover;
#[path = "fleet/fan_out.rs"]
mod fan_out;
#[path = "fleet/measured.rs"]
mod measured;
#[path = "fleet/round_trips.rs"]
mod round_trips;

#[path = "../tests/daemon/support"]
mod support {
    #![expect(
        dead_code,
        unused_imports,
        reason = "the partners are shared with the black-box tests, which use all of them"
    )]
    pub(crate) mod background;
    pub(crate) mod daemon;
    pub(crate) mod http;
    pub(crate) mod ports;
    pub(crate) mod scripted_gateway;
    pub(crate) mod wait;
}

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use measured::{mebibytes, setup};
use serde_json::json;
use support::daemon::{ADMIN_KEY, Daemon};
use support::scripted_gateway::{Behaviour, Fault, Form, ScriptedGateway, Step};
use support::wait::{self, Stopwatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn main() {
    measured::with_many_files();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    if runs("requests") {
        requests();
    }
    if runs("sweep") {
        sweep();
    }
    if runs("history") {
        round_trips::history();
    }
    if runs("spawn") {
        round_trips::spawn();
    }
    if runs("failover") {
        failover::failover();
    }
    if runs("fan_out") {
        fan_out::fan_out();
    }
    if runs("crowd") {
        crowd::crowd();
    }
    if runs("memory") {
        memory(10);
    }
    if runs("memory") || runs("start") {
        memory(1_000);
    }
}

fn fleet(daemon: &Daemon, count: usize) -> Vec<ScriptedGateway> {
    let gateways: Vec<_> = (0..count).map(|_| ScriptedGateway::of(Form::Protocol4, "right")).collect();
    for (index, gateway) in gateways.iter().enumerate() {
        daemon.register(&format!("gateway-{index:04}"), gateway.port(), "right");
    }
    until_ready(&gateways);
    gateways
}

fn until_ready(gateways: &[ScriptedGateway]) {
    wait::until_ok("every gateway is connected", Duration::from_secs(180), || {
        let ready = gateways.iter().filter(|one| one.record().ready > 0).count();
        if ready == gateways.len() { Ok(()) } else { Err(format!("{ready} of {} are", gateways.len())) }
    });
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn memory(count: usize) {
    let setup = setup();
    let mut daemon = setup.start();
    let empty = daemon.memory();
    let gateways = fleet(&daemon, count);
    wait::holds_for("a minute of living together", Duration::from_secs(60), || true);
    let full = daemon.memory();
    println!(
        "memory: {count} live gateways after 1 min: {:.1} MiB resident, {:.1} MiB before them, {:.1} KiB a gateway",
        mebibytes(full),
        mebibytes(empty),
        full.saturating_sub(empty) as f64 / 1024.0 / count as f64
    );
    if count < 1_000 {
        return;
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        daemon.stop();
        let watch = Stopwatch::start();
        daemon = setup.start();
        daemon.get("/health").expect(200);
        times.push(watch.elapsed().as_secs_f64() * 1_000.0);
    }
    println!(
        "start: {count} gateways stored, exec to first 200 on /health: median {:.0} ms of {times:.0?}",
        median(times.clone())
    );
    let watch = Stopwatch::start();
    until_ready(&gateways);
    println!("start: all {count} connected again {:.1} s after that", watch.elapsed().as_secs_f64());
}

fn sweep() {
    let daemon = setup().start();
    let hole = Behaviour::of(Form::Protocol4, "right").fails(Step::Accept, Fault::Silence);
    let gateways = fleet(&daemon, 50);
    let holes: Vec<_> = (0..50).map(|_| ScriptedGateway::start(hole.clone())).collect();
    for (index, gateway) in holes.iter().enumerate() {
        daemon.register(&format!("hole-{index}"), gateway.port(), "");
    }
    for _ in 0..3 {
        let watch = Stopwatch::start();
        daemon.post("/api/gateways/health", &json!({})).expect(200);
        let took = watch.elapsed().as_secs_f64();
        println!(
            "sweep: {} live, {} black-holed: {took:.2} s, {:.2} x one probe's timeout",
            gateways.len(),
            holes.len(),
            took / 5.0
        );
    }
}

fn requests() {
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
        theirs.push(load(bare, "/"));
        ours.push(load(daemon.address(), "/api/gateways"));
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

/// Requests a second over 32 connections during five seconds.
fn load(to: SocketAddr, path: &str) -> f64 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {ADMIN_KEY}\r\n\r\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let watch = Stopwatch::start();
        let span = Duration::from_secs(5);
        let clients = (0..32).map(|_| {
            let request = request.clone();
            async move {
                let mut stream = tokio::net::TcpStream::connect(to).await.expect("connected");
                stream.set_nodelay(true).expect("a plain option");
                let mut buffer = vec![0; 64 * 1024];
                let mut served = 0_u32;
                while watch.elapsed() < span {
                    stream.write_all(request.as_bytes()).await.expect("sent");
                    answer(&mut stream, &mut buffer).await;
                    served += 1;
                }
                served
            }
        });
        let served: u32 = futures_util::future::join_all(clients).await.into_iter().sum();
        f64::from(served) / watch.elapsed().as_secs_f64()
    })
}

/// Reads one answer, which must be a 200 with a length.
async fn answer(stream: &mut tokio::net::TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await.expect("an answer");
        assert!(count > 0, "the server closed the connection");
        filled += count;
        let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|value| value.trim().parse().ok())
            .expect("a length");
        if filled >= end + 4 + length {
            return;
        }
    }
}
