//! How fast events of gateways reach 1,000 and 10,000 clients, of SSE and of WebSockets, against a bare loop that writes the same
//! bytes to as many sockets.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::measured::{load_average, setup};
use crate::support::daemon::{ADMIN_KEY, Daemon};
use crate::support::scripted_gateway::ScriptedGateway;
use crate::support::wait::{self, Stopwatch};
use crate::{fleet, median};

const FEW: usize = 1_000;
const MANY: usize = 10_000;
/// What is open besides clients.
const OTHER_FILES: usize = 500;
/// Gateways that drop at once: one event each. Fewer than may wait for one client.
const EVENTS: usize = 100;
const ROUNDS: usize = 7;
const LIMIT: Duration = Duration::from_secs(180);

/// What clients read events from.
#[derive(Debug, Clone, Copy)]
enum Wire {
    Sse,
    WebSocket,
}

impl Wire {
    fn request(self, to: SocketAddr, key: &str) -> String {
        let (path, upgrade) = match self {
            Self::Sse => ("/api/events", ""),
            Self::WebSocket => (
                "/api/ws",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            ),
        };
        format!("GET {path}?types=gateway.status HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {key}\r\n{upgrade}\r\n")
    }

    /// What an answer begins with, and what this beginning ends with.
    fn opening(self) -> (&'static str, &'static str) {
        match self {
            Self::Sse => ("HTTP/1.1 200 ", "\n\n\r\n"),
            Self::WebSocket => ("HTTP/1.1 101 ", "\r\n\r\n"),
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
            Self::Sse => fill(Vec::new(), END),
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
/// The last bytes of an event's chunk. A heartbeat has others.
const END: &[u8; 5] = b"}\n\n\r\n";

/// Counts the events in what a client reads; what a stream says of itself is none.
enum Counter {
    /// The last bytes, which a number shifts faster than an array.
    Sse(u64),
    /// The head of a frame, and all of a ping; and what is still to come of its payload.
    WebSocket { kept: Vec<u8>, left: usize },
}

impl Counter {
    fn of(wire: Wire) -> Self {
        match wire {
            Wire::Sse => Self::Sse(0),
            Wire::WebSocket => Self::WebSocket { kept: Vec::new(), left: 0 },
        }
    }

    /// How many events end in it; the payloads of pings go to `pings`.
    fn read(&mut self, bytes: &[u8], pings: &mut Vec<Vec<u8>>) -> usize {
        match self {
            Self::Sse(last) => {
                let mut ends = 0;
                let end = END.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
                for byte in bytes {
                    *last = ((*last << 8) | u64::from(*byte)) & 0xff_ffff_ffff;
                    ends += usize::from(*last == end);
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
            // Shorter ones are keepalives, and words of what was lost.
            events += usize::from(frame[0] == TEXT && frame[1] == 126);
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
    /// The events of each.
    each: Arc<[AtomicUsize]>,
}

impl Crowd {
    /// So many clients, who use these keys in turn.
    fn gather(clients: usize, to: SocketAddr, wire: Wire, keys: &[String]) -> Self {
        let each: Arc<[AtomicUsize]> = (0..clients).map(|_| AtomicUsize::new(0)).collect();
        let crowd = Self { ready: Arc::default(), events: Arc::default(), bytes: Arc::default(), each };
        let (ready, events, bytes, each) =
            (crowd.ready.clone(), crowd.events.clone(), crowd.bytes.clone(), crowd.each.clone());
        let requests: Vec<String> = keys.iter().map(|key| wire.request(to, key)).collect();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let mut all = tokio::task::JoinSet::new();
                for at in 0..clients {
                    let mut socket = TcpStream::connect(to).await.expect("connected");
                    socket.write_all(requests[at % requests.len()].as_bytes()).await.expect("sent");
                    let (ready, events, bytes, each) = (ready.clone(), events.clone(), bytes.clone(), each.clone());
                    all.spawn(async move {
                        let mut buffer = vec![0; 64 * 1024];
                        let (mut head, (begins, ends)) = (Vec::new(), wire.opening());
                        let opened = loop {
                            let count = socket.read(&mut buffer).await.expect("an opening");
                            assert!(count > 0, "the stream ended");
                            head.extend_from_slice(&buffer[..count]);
                            if let Some(at) = head.windows(ends.len()).position(|window| window == ends.as_bytes()) {
                                break at + ends.len();
                            }
                        };
                        assert!(head.starts_with(begins.as_bytes()), "{}", String::from_utf8_lossy(&head));
                        let (mut counter, mut pings) = (Counter::of(wire), Vec::new());
                        counter.read(&head[opened..], &mut pings);
                        ready.fetch_add(1, Ordering::SeqCst);
                        while let Ok(count @ 1..) = socket.read(&mut buffer).await {
                            let ends = counter.read(&buffer[..count], &mut pings);
                            for ping in pings.drain(..) {
                                // Masked with nothing.
                                let length = u8::try_from(ping.len()).expect("a short ping");
                                let pong = [&[PONG, 0x80 | length, 0, 0, 0, 0], &ping[..]].concat();
                                socket.write_all(&pong).await.expect("sent");
                            }
                            each[at].fetch_add(ends, Ordering::Relaxed);
                            bytes.fetch_add(count, Ordering::SeqCst);
                            events.fetch_add(ends, Ordering::SeqCst);
                        }
                    });
                }
                all.join_all().await;
            });
        });
        wait::until("the crowd has gathered", LIMIT, || crowd.ready.load(Ordering::SeqCst) == clients);
        crowd
    }

    /// Waits until everybody has so many events, and nobody more; how long that took, and their bytes.
    fn have(&self, events: usize, watch: Stopwatch) -> (f64, usize) {
        while self.events.load(Ordering::SeqCst) < self.each.len() * events {
            assert!(watch.elapsed() < LIMIT, "only {} events came", self.events.load(Ordering::SeqCst));
            std::thread::yield_now();
        }
        let took = watch.elapsed().as_secs_f64();
        let others = self.each.iter().filter(|one| one.load(Ordering::Relaxed) != events).count();
        assert_eq!(others, 0, "clients have another number of events");
        (took, self.bytes.load(Ordering::SeqCst))
    }

    /// Waits until no event has come for half a second, and counts anew.
    fn rest(&self) {
        let (mut last, mut quiet) = (self.events.load(Ordering::SeqCst), Stopwatch::start());
        wait::until("their own news has come through", LIMIT, || {
            let now = self.events.load(Ordering::SeqCst);
            if now != last {
                (last, quiet) = (now, Stopwatch::start());
            }
            quiet.elapsed() > Duration::from_millis(500)
        });
        for one in self.each.iter().chain([&*self.events, &*self.bytes]) {
            one.store(0, Ordering::SeqCst);
        }
    }
}

/// The bare loop: writes an event of so many bytes to all its sockets, again and again.
fn bare_loop(clients: usize, wire: Wire) -> (SocketAddr, std::sync::mpsc::Sender<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (go, come) = std::sync::mpsc::channel::<usize>();
    std::thread::spawn(move || {
        let (begins, ends) = wire.opening();
        let mut sockets: Vec<_> = (0..clients)
            .map(|_| {
                let mut socket = listener.accept().expect("a client").0;
                socket.set_nodelay(true).expect("a plain option");
                socket.write_all(format!("{begins}OK{ends}").as_bytes()).expect("sent");
                socket
            })
            .collect();
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
    for wanted in [FEW, MANY] {
        // Of the benchmark's files each client takes one, and one more and the bare loop's end of that for comparison. The daemon
        // has as many, takes connections for half of them, and gives two thirds of these to events.
        let clients = wanted.min(most_files().saturating_sub(OTHER_FILES) / 3);
        if clients < wanted {
            println!("fan-out: {clients} clients instead of {wanted}: the limit of open files is {}", most_files());
        }
        for wire in [Wire::Sse, Wire::WebSocket] {
            over(clients, wire);
        }
    }
}

/// Keys of admins, each of which may have half of all streams.
fn keys(daemon: &Daemon) -> [String; 2] {
    [ADMIN_KEY.to_owned(), daemon.new_key("second", "admin")]
}

fn over(clients: usize, wire: Wire) {
    let daemon = setup()
        // nobody comes back while a round is counted
        .env("GATEWARDEN_GATEWAY__BACKOFF", "1h")
        .env("GATEWARDEN_HTTP__MAX_CONNECTIONS", "30000")
        .start();
    let gateways: Vec<ScriptedGateway> = fleet(&daemon, EVENTS);
    let ours_alone = |one: &&Value| one["name"] != "seeded";
    let ids: Vec<i64> = daemon.gateways().iter().filter(ours_alone).filter_map(|one| one["id"].as_i64()).collect();
    let (bare, go) = bare_loop(clients, wire);
    let keys = keys(&daemon);
    let ours = Crowd::gather(clients, daemon.address(), wire, &keys);
    let theirs = Crowd::gather(clients, bare, wire, &keys);
    let (mut our_rates, mut bare_rates) = (Vec::new(), Vec::new());
    let (all, mut size) = (clients * EVENTS, 0);
    for round in 0..ROUNDS {
        let listed = |wanted: &str| daemon.gateways().iter().filter(|one| one["status"] == wanted).count();
        if round > 0 {
            // Some at once: each waits for its audit entry, and these share a commit.
            let daemon = &daemon;
            for some in ids.chunks(8) {
                std::thread::scope(|scope| {
                    for id in some {
                        let path = format!("/api/gateways/{id}/reconnect");
                        scope.spawn(move || daemon.post(&path, &json!({})).expect(200));
                    }
                });
            }
        }
        wait::until("all are online", LIMIT, || listed("online") >= EVENTS);
        ours.rest();
        let watch = Stopwatch::start();
        for gateway in &gateways {
            gateway.reset();
        }
        let (took, bytes) = ours.have(EVENTS, watch);
        size = bytes / all;
        our_rates.push(all as f64 / took);
        theirs.rest();
        let watch = Stopwatch::start();
        go.send(size).expect("the loop waits");
        let (took, _) = theirs.have(EVENTS, watch);
        bare_rates.push(all as f64 / took);
    }
    let (ours, bare) = (median(our_rates), median(bare_rates));
    println!(
        "fan-out, {wire:?}: {EVENTS} gateways drop at once, {clients} clients, {size} bytes an event: {ours:.0} deliveries a second, bare \
         loop {bare:.0}: {:.0} % (medians of {ROUNDS}); load {}",
        100.0 * ours / bare,
        load_average()
    );
}

/// How many files may be open in this process, and in the daemon that it starts.
fn most_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}
