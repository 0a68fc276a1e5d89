//! How fast events of gateways reach 1,000 clients, of SSE and of WebSockets, against a bare loop that writes the same bytes to as many
//! sockets.

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

/// What clients read events from.
#[derive(Debug, Clone, Copy)]
enum Wire {
    Sse,
    WebSocket,
}

impl Wire {
    fn request(self, to: SocketAddr) -> String {
        let (path, upgrade) = match self {
            Self::Sse => ("/api/events", ""),
            Self::WebSocket => (
                "/api/ws",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            ),
        };
        format!("GET {path}?types=gateway.status HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {ADMIN_KEY}\r\n{upgrade}\r\n")
    }

    /// What an answer's beginning ends with.
    fn opening(self) -> &'static [u8] {
        match self {
            Self::Sse => b"\n\n\r\n",
            Self::WebSocket => b"\r\n\r\n",
        }
    }

    /// An event of so many bytes on the wire.
    fn event(self, size: usize) -> Vec<u8> {
        let fill = |mut head: Vec<u8>, end: &[u8]| {
            head.resize(size.saturating_sub(end.len()), b'x');
            head.extend_from_slice(end);
            head
        };
        match self {
            Self::Sse => fill(Vec::new(), b"\n\n\r\n"),
            Self::WebSocket => {
                let [high, low] = u16::try_from(size - 4).expect("a short event").to_be_bytes();
                assert!(size >= 130, "a frame of so many bytes has another head");
                fill(vec![TEXT, 126, high, low], b"")
            }
        }
    }
}

/// The first bytes of whole frames.
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Counts the events in what a client reads.
enum Counter {
    /// The last bytes: an event ends with an empty line, and its chunk with another line end.
    Sse([u8; 4]),
    /// The head of a frame, and all of a ping; and what is still to come of its payload.
    WebSocket { kept: Vec<u8>, left: usize },
}

impl Counter {
    fn of(wire: Wire) -> Self {
        match wire {
            Wire::Sse => Self::Sse([0; 4]),
            Wire::WebSocket => Self::WebSocket { kept: Vec::new(), left: 0 },
        }
    }

    /// How many events end in it; the payloads of pings go to `pings`.
    fn read(&mut self, bytes: &[u8], pings: &mut Vec<Vec<u8>>) -> usize {
        match self {
            Self::Sse(last) => {
                let mut ends = 0;
                for byte in bytes {
                    last.rotate_left(1);
                    last[3] = *byte;
                    ends += usize::from(last == b"\n\n\r\n");
                }
                ends
            }
            Self::WebSocket { kept, left } => frames(kept, left, bytes, pings),
        }
    }
}

fn frames(kept: &mut Vec<u8>, left: &mut usize, mut bytes: &[u8], pings: &mut Vec<Vec<u8>>) -> usize {
    let mut events = 0;
    while let Some((first, rest)) = bytes.split_first() {
        if *left > 0 {
            let (here, after) = bytes.split_at((*left).min(bytes.len()));
            if kept[0] == PING {
                kept.extend_from_slice(here);
            }
            (*left, bytes) = (*left - here.len(), after);
        } else {
            kept.push(*first);
            bytes = rest;
            *left = match kept[..] {
                [_, 126, high, low] => usize::from(u16::from_be_bytes([high, low])),
                [_, length @ 1..=125] => usize::from(length),
                [_, 127, ..] => panic!("an event of more than 64 KiB"),
                // An empty one has ended.
                [_, 0] => 0,
                _ => continue,
            };
        }
        if *left == 0 {
            let frame = std::mem::take(kept);
            events += usize::from(frame[0] == TEXT);
            if frame[0] == PING {
                pings.push(frame[2..].to_vec());
            }
        }
    }
    events
}

/// Clients on a thread of their own; what they got is added up.
struct Crowd {
    ready: Arc<AtomicUsize>,
    events: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Crowd {
    fn gather(to: SocketAddr, wire: Wire) -> Self {
        let crowd = Self { ready: Arc::default(), events: Arc::default(), bytes: Arc::default() };
        let (ready, events, bytes) = (crowd.ready.clone(), crowd.events.clone(), crowd.bytes.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let mut clients = tokio::task::JoinSet::new();
                for _ in 0..CLIENTS {
                    let mut socket = TcpStream::connect(to).await.expect("connected");
                    socket.write_all(wire.request(to).as_bytes()).await.expect("sent");
                    let (ready, events, bytes) = (ready.clone(), events.clone(), bytes.clone());
                    clients.spawn(async move {
                        let mut buffer = vec![0; 64 * 1024];
                        let (mut head, opening) = (Vec::new(), wire.opening());
                        let begins = loop {
                            let count = socket.read(&mut buffer).await.expect("an opening");
                            assert!(count > 0, "the stream ended");
                            head.extend_from_slice(&buffer[..count]);
                            if let Some(at) = head.windows(opening.len()).position(|window| window == opening) {
                                break at + opening.len();
                            }
                        };
                        let (mut counter, mut pings) = (Counter::of(wire), Vec::new());
                        counter.read(&head[begins..], &mut pings);
                        ready.fetch_add(1, Ordering::SeqCst);
                        while let Ok(count @ 1..) = socket.read(&mut buffer).await {
                            let ends = counter.read(&buffer[..count], &mut pings);
                            for ping in pings.drain(..) {
                                // Masked with nothing.
                                let length = u8::try_from(ping.len()).expect("a short ping");
                                let pong = [&[PONG, 0x80 | length, 0, 0, 0, 0], &ping[..]].concat();
                                socket.write_all(&pong).await.expect("sent");
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
fn bare_loop(wire: Wire) -> (SocketAddr, std::sync::mpsc::Sender<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (go, come) = std::sync::mpsc::channel::<usize>();
    std::thread::spawn(move || {
        let mut sockets: Vec<_> = (0..CLIENTS).map(|_| listener.accept().expect("a client").0).collect();
        for socket in &mut sockets {
            socket.set_nodelay(true).expect("a plain option");
            socket.write_all(wire.opening()).expect("sent");
        }
        while let Ok(size) = come.recv() {
            let chunk = wire.event(size);
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
    for wire in [Wire::Sse, Wire::WebSocket] {
        over(wire);
    }
}

fn over(wire: Wire) {
    // nobody comes back while a round is counted
    let daemon = setup().env("GATEWARDEN_GATEWAY__BACKOFF", "2s").start();
    let gateways: Vec<ScriptedGateway> = fleet(&daemon, EVENTS);
    let (bare, go) = bare_loop(wire);
    let (ours, theirs) = (Crowd::gather(daemon.address(), wire), Crowd::gather(bare, wire));
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
        "fan-out, {wire:?}: {EVENTS} gateways drop at once, {CLIENTS} clients, {size} bytes an event: {ours:.0} deliveries a second, bare loop \
         {bare:.0}: {:.0} % (medians of {ROUNDS}); load {}",
        100.0 * ours / bare,
        load_average()
    );
}
