//! How fast events of gateways reach 1,000 SSE clients, against a bare loop that writes the same bytes to as many sockets.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::measured::{load_average, setup};
use crate::support::daemon::ADMIN_KEY;
use crate::support::scripted_gateway::ScriptedGateway;
use crate::support::wait::{self, Stopwatch};
use crate::{fleet, median};

const CLIENTS: usize = 1_000;
/// Gateways that drop at once: one event each. Fewer than may wait for one client.
const EVENTS: usize = 100;
const ROUNDS: usize = 7;
const LIMIT: Duration = Duration::from_secs(60);

/// Clients on a thread of their own; what they got is added up.
struct Crowd {
    ready: Arc<AtomicUsize>,
    events: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Crowd {
    fn gather(to: SocketAddr) -> Self {
        let crowd = Self { ready: Arc::default(), events: Arc::default(), bytes: Arc::default() };
        let (ready, events, bytes) = (crowd.ready.clone(), crowd.events.clone(), crowd.bytes.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let mut clients = tokio::task::JoinSet::new();
                for _ in 0..CLIENTS {
                    let mut socket = TcpStream::connect(to).await.expect("connected");
                    let ask = format!(
                        "GET /api/events?types=gateway.status HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {ADMIN_KEY}\r\n\r\n"
                    );
                    socket.write_all(ask.as_bytes()).await.expect("sent");
                    let (ready, events, bytes) = (ready.clone(), events.clone(), bytes.clone());
                    clients.spawn(async move {
                        let mut buffer = vec![0; 64 * 1024];
                        let mut head = Vec::new();
                        while !head.ends_with(b"\n\n\r\n") {
                            let count = socket.read(&mut buffer).await.expect("an opening");
                            assert!(count > 0, "the stream ended");
                            head.extend_from_slice(&buffer[..count]);
                        }
                        ready.fetch_add(1, Ordering::SeqCst);
                        // an event ends with an empty line, and its chunk with another line end
                        let mut last = [0_u8; 4];
                        while let Ok(count @ 1..) = socket.read(&mut buffer).await {
                            let mut ends = 0;
                            for byte in &buffer[..count] {
                                last.rotate_left(1);
                                last[3] = *byte;
                                ends += usize::from(&last == b"\n\n\r\n");
                            }
                            bytes.fetch_add(count, Ordering::SeqCst);
                            events.fetch_add(ends, Ordering::SeqCst);
                        }
                    });
                }
                clients.join_all().await;
            });
        });
        wait::until("the crowd has gathered", LIMIT, || crowd.ready.load(Ordering::SeqCst) == CLIENTS);
        crowd
    }

    /// Waits until everybody has so many events; how long that took, and their bytes.
    fn have(&self, events: usize, watch: Stopwatch) -> (f64, usize) {
        while self.events.load(Ordering::SeqCst) < CLIENTS * events {
            assert!(watch.elapsed() < LIMIT, "only {} events came", self.events.load(Ordering::SeqCst));
            std::thread::yield_now();
        }
        let took = watch.elapsed().as_secs_f64();
        (took, self.bytes.load(Ordering::SeqCst))
    }

    fn forget(&self) {
        self.events.store(0, Ordering::SeqCst);
        self.bytes.store(0, Ordering::SeqCst);
    }
}

/// The bare loop: writes an event of so many bytes to all its sockets, again and again.
fn bare_loop() -> (SocketAddr, std::sync::mpsc::Sender<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (go, come) = std::sync::mpsc::channel::<usize>();
    std::thread::spawn(move || {
        let mut sockets: Vec<_> = (0..CLIENTS).map(|_| listener.accept().expect("a client").0).collect();
        for socket in &mut sockets {
            socket.set_nodelay(true).expect("a plain option");
            socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n\n\n\r\n").expect("sent");
        }
        while let Ok(size) = come.recv() {
            let mut chunk = vec![b'x'; size.saturating_sub(4)];
            chunk.extend_from_slice(b"\n\n\r\n");
            for _ in 0..EVENTS {
                for socket in &mut sockets {
                    socket.write_all(&chunk).expect("sent");
                }
            }
        }
    });
    (address, go)
}

pub(crate) fn fan_out() {
    // nobody comes back while a round is counted
    let daemon = setup().env("GATEWARDEN_GATEWAY__BACKOFF", "2s").start();
    let gateways: Vec<ScriptedGateway> = fleet(&daemon, EVENTS);
    let (bare, go) = bare_loop();
    let (ours, theirs) = (Crowd::gather(daemon.address()), Crowd::gather(bare));
    let (mut our_rates, mut bare_rates) = (Vec::new(), Vec::new());
    let mut size = 0;
    for _ in 0..ROUNDS {
        let listed = |wanted: &str| daemon.gateways().iter().filter(|one| one["status"] == wanted).count();
        wait::until("all are online", LIMIT, || listed("online") >= EVENTS);
        // their own news has come through
        wait::holds_for("a moment of rest", Duration::from_millis(500), || true);
        ours.forget();
        let watch = Stopwatch::start();
        for gateway in &gateways {
            gateway.reset();
        }
        let (took, bytes) = ours.have(EVENTS, watch);
        size = bytes / (CLIENTS * EVENTS);
        our_rates.push((CLIENTS * EVENTS) as f64 / took);
        theirs.forget();
        let watch = Stopwatch::start();
        go.send(size).expect("the loop waits");
        let (took, _) = theirs.have(EVENTS, watch);
        bare_rates.push((CLIENTS * EVENTS) as f64 / took);
    }
    let (ours, bare) = (median(our_rates), median(bare_rates));
    println!(
        "fan-out: {EVENTS} gateways drop at once, {CLIENTS} clients, {size} bytes an event: {ours:.0} deliveries a second, bare loop \
         {bare:.0}: {:.0} % (medians of {ROUNDS}); load {}",
        100.0 * ours / bare,
        load_average()
    );
}
