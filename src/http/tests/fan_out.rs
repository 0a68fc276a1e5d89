//! How many events a second reach 1,000 clients, against a bare loop that writes the same bytes to as many sockets. Run by
//! hand: `cargo test --release --lib fan_out -- --ignored --nocapture`. Prints figures; judges nothing.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::HttpServer;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::event::EventKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{CONFIGURED, Harness};

const CLIENTS: usize = 1_000;
/// Events of one burst: one alone, some, and as many as may wait for one client with room to spare.
const BURSTS: [usize; 3] = [1, 10, 100];
const ROUNDS: usize = 11;

/// Clients on a thread of their own; what they got is added up.
struct Crowd {
    ready: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Crowd {
    fn gather(to: SocketAddr) -> Self {
        let crowd = Self { ready: Arc::default(), bytes: Arc::default() };
        let (ready, bytes) = (crowd.ready.clone(), crowd.bytes.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut clients = tokio::task::JoinSet::new();
                for _ in 0..CLIENTS {
                    let (ready, bytes) = (ready.clone(), bytes.clone());
                    let mut socket = TcpStream::connect(to).await.unwrap();
                    let ask = format!("GET /api/events HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {CONFIGURED}\r\n\r\n");
                    socket.write_all(ask.as_bytes()).await.unwrap();
                    clients.spawn(async move {
                        let mut buffer = vec![0; 64 * 1024];
                        let mut head = Vec::new();
                        while !head.ends_with(b"\n\n\r\n") {
                            let count = socket.read(&mut buffer).await.unwrap();
                            head.extend_from_slice(&buffer[..count]);
                        }
                        ready.fetch_add(1, Ordering::SeqCst);
                        while let Ok(count @ 1..) = socket.read(&mut buffer).await {
                            bytes.fetch_add(count, Ordering::SeqCst);
                        }
                    });
                }
                clients.join_all().await;
            });
        });
        crowd
    }

    async fn are_ready(&self) {
        while self.ready.load(Ordering::SeqCst) < CLIENTS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn have(&self, bytes: usize) {
        while self.bytes.load(Ordering::SeqCst) < bytes {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        self.bytes.store(0, Ordering::SeqCst);
    }
}

fn data() -> Value {
    json!({
        "gateway_id": 1, "gateway": "prod", "from": "online", "to": "offline", "phase": "backoff", "source": "heartbeat",
        "latency": null, "error": {"code": "closed", "message": "x".repeat(120), "help": "Check the gateway."}
    })
}

/// One event as it goes over the wire.
fn chunk() -> Vec<u8> {
    let event = gatewarden_actors::event::Event::new(
        1_795_265_517_000_001,
        EventKind::GatewayStatus,
        1_795_265_517_123,
        &data(),
    );
    [format!("{:X}\r\n", event.sse.len()).as_bytes(), &event.sse, b"\r\n"].concat()
}

/// The bare loop: its sockets are opened like ours, and get the same bytes.
fn bare_loop() -> (SocketAddr, std::sync::mpsc::Sender<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, come) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut sockets: Vec<_> = (0..CLIENTS).map(|_| listener.accept().unwrap().0).collect();
        for socket in &mut sockets {
            socket.set_nodelay(true).unwrap();
            socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n\n\n\r\n").unwrap();
        }
        let chunk = chunk();
        while let Ok(burst) = come.recv() {
            for _ in 0..burst {
                for socket in &mut sockets {
                    socket.write_all(&chunk).unwrap();
                }
            }
        }
    });
    (address, go)
}

#[actix_web::test]
#[ignore = "prints figures, to be run by hand"]
async fn figures_of_the_fan_out() {
    let wanted = rustix::process::Rlimit { current: Some(16_384), maximum: Some(16_384) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).unwrap();
    let harness = Harness::start().await;
    let front = harness.front.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = listener.local_addr().unwrap();
    let server = HttpServer::new(move || crate::http::app(front.clone()))
        .workers(2)
        .tcp_nodelay(true)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
    let handle = server.handle();
    actix_rt::spawn(server);
    let (bare, go) = bare_loop();
    let (our_crowd, bare_crowd) = (Crowd::gather(ours), Crowd::gather(bare));
    our_crowd.are_ready().await;
    bare_crowd.are_ready().await;
    let clock = Clock::system();
    println!("fan-out to {CLIENTS} clients, {} bytes an event, deliveries a second (medians)", chunk().len());
    for burst in BURSTS {
        let expected = CLIENTS * burst * chunk().len();
        let rate = |started| (CLIENTS * burst) as f64 / clock.now().duration_since(started).as_secs_f64();
        let (mut our_rates, mut bare_rates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let started = clock.now();
            go.send(burst).unwrap();
            bare_crowd.have(expected).await;
            bare_rates.push(rate(started));
            let started = clock.now();
            for _ in 0..burst {
                harness.events.publish(EventKind::GatewayStatus, data());
            }
            our_crowd.have(expected).await;
            our_rates.push(rate(started));
        }
        our_rates.sort_by(f64::total_cmp);
        bare_rates.sort_by(f64::total_cmp);
        let (ours, bare) = (our_rates[ROUNDS / 2], bare_rates[ROUNDS / 2]);
        println!("  bursts of {burst}: ours {ours:.0}, bare loop {bare:.0}: {:.0} %", 100.0 * ours / bare);
    }
    handle.stop(false).await;
}
