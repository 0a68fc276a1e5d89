//! Nodes that pass requests on to the one that acts, over connections of their own; and who is not let in there.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use serde_json::{Value, json};

use crate::support::client::{self, fine};
use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::event_socket::EventSocket;
use crate::support::event_stream::EventStream;
use crate::support::http::{self, Answer};
use crate::support::postgres_server::{Server, next_to};
use crate::support::scripted_gateway::{Behaviour, Form, Memory, ScriptedGateway};
use crate::support::tls_front::TlsFront;
use crate::support::wait;

pub(crate) fn node(server: &Server, name: &str) -> Setup {
    server.setup().env("GATEWARDEN_NODE__NAME", name).env("GATEWARDEN_NODE__MESH_LISTEN", "127.0.0.1:0")
}

fn code(answer: &Answer) -> String {
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

/// Until what it passes on is answered: nodes learn of each other within a beat.
pub(crate) fn until_it_passes_on(daemon: &Daemon) {
    wait::until("it passes requests on", PATIENCE, || {
        daemon.try_call(Some(ADMIN_KEY), "GET", "/api/gateways", None).is_ok_and(|answer| answer.status == 200)
    });
}

fn stands_by(daemon: &Daemon) -> bool {
    code(&daemon.get("/ready")) == "standby"
}

fn mesh_of(server: &Server, name: &str) -> SocketAddr {
    let asked =
        server.ask(&format!("SELECT mesh_address FROM cluster_nodes WHERE name = '{name}' AND state = 'active'"));
    asked.parse().expect("an address")
}

fn spawn_at(to: SocketAddr, gateway: i64, task: &str) -> std::io::Result<Answer> {
    let body = json!({"task": task, "gateway_id": gateway}).to_string();
    let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json"), ("Idempotency-Key", task)];
    http::request(to, "POST", "/api/spawn", &headers, Some(body.as_bytes()))
}

/// Requests that it passed on, by what became of them: the series are there from the start on.
fn passed_on(daemon: &Daemon, outcome: &str) -> f64 {
    let series = format!("gatewarden_cluster_forwarded_requests_total{{outcome=\"{outcome}\"}} ");
    let metrics = daemon.metrics();
    let said = metrics.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("{metrics}"));
    said.parse().expect("a number")
}

fn began(gateway: &ScriptedGateway) -> usize {
    gateway.executed().values().sum()
}

#[test]
fn a_client_that_knows_only_a_node_that_stands_by_does_everything_there_and_goes_on_over_a_takeover() {
    let Some(server) = Server::start() else { return };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "tok-secret").runs(Memory::Keeps));
    let mut a = node(&server, "a").start();
    let b = next_to(&a, node(&server, "b")).start();
    let c = next_to(&a, node(&server, "c")).start();
    until_it_passes_on(&c);
    assert!(stands_by(&c) && stands_by(&b), "/ready is of the node that is asked");

    let mut events = EventStream::of(&c, "/api/events");
    let mut socket = EventSocket::open(c.address(), "/api/ws", ADMIN_KEY);
    let lab = c.register("lab", gateway.port(), "tok-secret");
    c.until_status(lab, "online");
    events.until(|event| event.data.to_string().contains("lab"));
    socket.until(|event| event.to_string().contains("lab"));
    let spawned = spawn_at(c.address(), lab, "once").expect("an answer").expect(202).json();
    wait::until("it begins", PATIENCE, || began(&gateway) == 1);

    // The same answers as where it acts, in all forms.
    let key = ("X-API-Key", ADMIN_KEY);
    for (method, path, headers) in [
        ("GET", "/api/identity", vec![key]),
        ("GET", "/api/openapi.json", vec![key, ("Accept-Encoding", "gzip")]),
        ("GET", "/api/gateways/999", vec![key]),
        ("GET", "/api/nothing", vec![key]),
        ("GET", "/api/gateways", vec![]),
        ("GET", "/login", vec![("Accept", "text/html")]),
    ] {
        let ask = |to: SocketAddr| {
            let host = [headers.clone(), vec![("Host", "127.0.0.1")]].concat();
            let mut answer = http::request(to, method, path, &host, None).expect("an answer");
            answer.headers.retain(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
            answer.headers.sort();
            answer
        };
        assert_eq!(ask(c.address()), ask(a.address()), "{method} {path}");
    }
    let head = |to: SocketAddr| {
        let mut stream = connected(to);
        let asked = format!(
            "HEAD /api/identity HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-API-Key: {ADMIN_KEY}\r\n\r\n"
        );
        stream.write_all(asked.as_bytes()).expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let mut lines: Vec<String> = text.lines().map(str::to_ascii_lowercase).collect();
        lines.retain(|line| !line.starts_with("date:") && !line.starts_with("x-request-id:"));
        lines.sort();
        lines
    };
    assert_eq!(head(c.address()), head(a.address()));
    let too_long = vec![b' '; 2 * 1024 * 1024];
    let headers = [key, ("Content-Type", "application/json")];
    let refused = http::request(c.address(), "POST", "/api/gateways", &headers, Some(&too_long)).expect("an answer");
    assert_eq!((refused.status, code(&refused).as_str()), (413, "payload_too_large"));
    assert!(passed_on(&c, "answered") > 0.0, "{}", c.metrics());
    wait::until("all are reached", PATIENCE, || {
        let nodes = c.get("/api/cluster").expect(200).json()["nodes"].clone();
        let others = nodes.as_array().expect("a list").iter().filter(|node| node["this"] == false);
        others.into_iter().all(|node| node["reached"] == true && node["mesh"].is_string())
    });
    assert!(fine(&c, &["cluster"]).contains(&mesh_of(&server, "a").to_string()));

    a.kill();
    let again = wait::until_ok("the same spawn is answered", PATIENCE, || {
        let answer = spawn_at(c.address(), lab, "once").map_err(|error| error.to_string())?;
        if answer.status == 503 { Err(answer.text) } else { Ok(answer.json()) }
    });
    assert_eq!((&again["spawnId"], &again["replayed"]), (&spawned["spawnId"], &json!(true)), "{again}");
    c.until_status(lab, "online");
    assert_eq!(began(&gateway), 1);
    // One of the two acts now; the other passes on to it.
    let acting = if stands_by(&c) { &b } else { &c };
    let other = if stands_by(&c) { &c } else { &b };
    until_it_passes_on(other);
    let mut events = EventStream::of(other, "/api/events");
    other.register("second", 1, "tok-other");
    events.until(|event| event.data.to_string().contains("second"));
    assert_eq!(acting.gateways().len(), other.gateways().len());
    for daemon in [&a, &b, &c] {
        assert!(!daemon.everything_said().contains("tok-secret") && !daemon.everything_said().contains("pw-secret"));
    }
}

#[test]
fn limits_the_audit_log_and_the_rights_of_this_machine_go_by_the_client_and_not_by_the_node_that_passes_on() {
    let Some(server) = Server::start() else { return };
    let a = node(&server, "a").start();
    let b = next_to(&a, node(&server, "b")).start();
    until_it_passes_on(&b);
    let ask = |to: &Daemon, headers: &[(&str, &str)], method: &str, path: &str, body: &str| {
        let headers = [headers, &[("Content-Type", "application/json")]].concat();
        http::request(to.address(), method, path, &headers, Some(body.as_bytes())).expect("an answer")
    };
    let register = |to: &Daemon, name: &str, from: &[(&str, &str)]| {
        let body = json!({"name": name, "host": "127.0.0.1", "port": 1, "token": "tok"}).to_string();
        let headers = [from, &[("X-API-Key", ADMIN_KEY)]].concat();
        ask(to, &headers, "POST", "/api/gateways", &body).expect(201);
    };
    // Loopback is a trusted proxy; what a client says in the header of nodes is not believed, whoever it is.
    register(&b, "far", &[("X-Forwarded-For", "198.51.100.7")]);
    register(&b, "near", &[("X-Gatewarden-Client", "203.0.113.5")]);
    register(&a, "straight", &[("X-Gatewarden-Client", "203.0.113.5")]);
    let addresses = wait::until_ok("all are in the audit log", PATIENCE, || {
        let audit = a.get("/api/audit").expect(200).json();
        let of = |name: &str| {
            let rows = audit["audit"].as_array().expect("entries");
            rows.iter()
                .find(|row| row["action"] == "gateway.create" && row.to_string().contains(name))
                .map(|row| row["address"].clone())
        };
        match (of("far"), of("near"), of("straight")) {
            (Some(far), Some(near), Some(straight)) => Ok([far, near, straight]),
            _ => Err(audit.to_string()),
        }
    });
    assert_eq!(addresses, [json!("198.51.100.7"), json!("127.0.0.1"), json!("127.0.0.1")]);

    let tries = |to: &Daemon, from: &str| {
        ask(to, &[("X-Forwarded-For", from), ("X-API-Key", "wrong")], "GET", "/api/gateways", "").status
    };
    let statuses: Vec<u16> = (0..6).map(|_| tries(&b, "198.51.100.8")).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    assert_eq!(tries(&a, "198.51.100.8"), 429, "one count, whichever node is asked");
    assert_eq!(tries(&b, "198.51.100.9"), 401, "another client has its own");

    // A link that logs in is for the machine of the node that acts alone.
    assert_eq!(ask(&a, &[("X-API-Key", ADMIN_KEY)], "POST", "/api/auth/link", "{}").status / 100, 2);
    assert_eq!(ask(&b, &[("X-API-Key", ADMIN_KEY)], "POST", "/api/auth/link", "{}").status, 403);
    // A stranger's name in Host is refused by the node that is asked.
    let misdirected = http::request(b.address(), "GET", "/api/gateways", &[("Host", "evil.example")], None);
    assert_eq!(misdirected.expect("an answer").status, 421);
}

/// Takes every certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn connected(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

const REQUEST: &[u8] =
    b"GET /api/gateways HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: admin-key-for-tests-0123456789abcdef\r\n\r\n";

/// All that a stranger gets to read under encryption, with a certificate of their own or none; and what it ends with.
fn read_encrypted(to: SocketAddr, with_certificate: bool) -> (Vec<u8>, ErrorKind) {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let config = if with_certificate {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(Vec::new()).expect("names").self_signed(&key).expect("signed");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        config.with_client_auth_cert(vec![certificate.der().clone()], key.into()).expect("they fit")
    } else {
        config.with_no_client_auth()
    };
    let name = ServerName::try_from("node.invalid").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let mut stream = StreamOwned::new(connection, connected(to));
    let mut got = Vec::new();
    let ended = stream.write_all(REQUEST).and_then(|()| stream.read_to_end(&mut got));
    (got, ended.expect_err("it is refused").kind())
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a plain option");
    stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_stranger_at_the_port_of_nodes_learns_nothing_and_keeps_nobody_out() {
    let Some(server) = Server::start() else { return };
    // With so few connections of nodes there is room for 160 of which nobody knows yet whose they are.
    let a = small_node(&server, "a").start();
    let b = next_to(&a, node(&server, "b")).start();
    let port = mesh_of(&server, "a");
    let mut plain = connected(port);
    plain.write_all(REQUEST).expect("sent");
    let mut got = Vec::new();
    let _ = plain.read_to_end(&mut got);
    assert!(!String::from_utf8_lossy(&got).contains("HTTP"), "{got:?}");
    for with_certificate in [false, true] {
        let (got, end) = read_encrypted(port, with_certificate);
        assert_eq!(got, b"", "with a certificate that no node has: {with_certificate}");
        assert!(![ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&end), "it is told at once: {end}");
    }
    // However many come and say nothing, few of them are kept, and nobody else is kept out.
    let mut silent: Vec<TcpStream> = (0..300).map(|_| connected(port)).collect();
    wait::until("those have gone for whom there is no room", PATIENCE, || {
        silent.extend([connected(port), connected(port)]);
        a.get("/health").expect(200);
        silent.retain(is_open);
        silent.len() <= 170
    });
    until_it_passes_on(&b);
    wait::until("who says nothing is not waited for without an end", PATIENCE, || {
        silent.retain(is_open);
        silent.is_empty()
    });
}

/// Clients have few connections: half of them are for strangers, together over all nodes that stand by.
fn small_node(server: &Server, name: &str) -> Setup {
    node(server, name).env("GATEWARDEN_HTTP__MAX_CONNECTIONS", "64").env("GATEWARDEN_HTTP__WORKERS", "1")
}

fn log_in(at: &Daemon) -> String {
    let login = at.post("/api/auth/login", &json!({"api_key": ADMIN_KEY})).expect(200);
    login.header("set-cookie").expect("a cookie").split(';').next().expect("a value").to_owned()
}

fn says_that_it_logs_in(at: &Daemon) -> TcpStream {
    let mut stream = connected(at.address());
    let head = "POST /api/auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

#[test]
fn strangers_at_one_node_take_no_place_from_whoever_is_known_at_any() {
    let Some(server) = Server::start() else { return };
    let a = small_node(&server, "a").start();
    let (b, c) = (next_to(&a, small_node(&server, "b")).start(), next_to(&a, small_node(&server, "c")).start());
    until_it_passes_on(&b);
    until_it_passes_on(&c);
    let cookie = log_in(&b);
    let browser = [("Cookie", cookie.as_str()), ("Sec-Fetch-Site", "same-origin")];
    let mut watched = EventStream::open(b.address(), "/api/events", &browser);
    // More than the node that acts takes of all nodes say that they log in, and then nothing.
    let mut silent: Vec<TcpStream> =
        (0..80).map(|number| says_that_it_logs_in(if number % 2 == 0 { &b } else { &c })).collect();
    let key = [("X-API-Key", ADMIN_KEY)];
    wait::until("few of them are left", PATIENCE, || {
        // More than the connections that waited for a request.
        let _followed = [&b, &c, &b, &c].map(|node| EventStream::open(node.address(), "/api/events", &key));
        silent.retain(is_open);
        silent.len() <= 32
    });
    assert!(silent.len() > 16, "some may stay: {}", silent.len());
    let series = "gatewarden_http_connections_ended_total{reason=\"replaced\"} ";
    let metrics = b.metrics();
    let ended = metrics.lines().find_map(|line| line.strip_prefix(series)).expect("counted where the clients are");
    assert!(ended.parse::<f64>().expect("a number") > 0.0, "{ended}");
    c.register("lab", 1, "tok-secret");
    watched.until(|event| event.data.to_string().contains("lab"));
}

#[test]
fn a_browser_that_is_logged_in_is_no_stranger_in_the_middle_of_its_request() {
    let Some(server) = Server::start() else { return };
    let a = small_node(&server, "a").start();
    let b = next_to(&a, small_node(&server, "b")).start();
    until_it_passes_on(&b);
    let cookie = log_in(&b);
    let body = json!({"name": "lab", "host": "127.0.0.1", "port": 1, "token": "tok-secret"}).to_string();
    let (first, rest) = body.split_at(10);
    // The node that is asked knows the login once it has read the database again.
    wait::until_ok("it is answered", PATIENCE, || {
        let mut browser = connected(b.address());
        let begun = format!(
            "POST /api/gateways HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nCookie: {cookie}\r\nSec-Fetch-Site: same-origin\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{first}",
            b.address(),
            body.len()
        );
        browser.write_all(begun.as_bytes()).expect("sent");
        // It is the oldest: the one worker answers this after it has begun to pass that on.
        (0..5).for_each(|_| drop(b.get("/health").expect(200)));
        let mut silent: Vec<TcpStream> = (0..40).map(|_| says_that_it_logs_in(&b)).collect();
        wait::until("the strangers have their places and no more", PATIENCE, || {
            silent.retain(is_open);
            silent.len() <= 32
        });
        let mut answer = String::new();
        let answered = browser.write_all(rest.as_bytes()).and_then(|()| browser.read_to_string(&mut answer));
        if answer.starts_with("HTTP/1.1 201 ") { Ok(()) } else { Err(format!("{answered:?} {answer}")) }
    });
}

#[test]
fn strangers_that_wait_for_a_silent_node_are_answered_and_more_than_have_a_place_are_told_so() {
    let Some(server) = Server::start() else { return };
    let a = small_node(&server, "a").start();
    let b = next_to(&a, small_node(&server, "b")).start();
    until_it_passes_on(&b);
    a.signal("STOP");
    let asks = |method: &str, path: &str, body: &str| {
        let mut stream = connected(b.address());
        let (to, length) = (b.address(), body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        stream
    };
    let mut asked = vec![asks("POST", "/api/auth/login", &json!({"api_key": ADMIN_KEY}).to_string())];
    // Its one worker answers these after it has taken in the other's body, over the connection that waited for a request.
    (0..5).for_each(|_| drop(b.get("/health").expect(200)));
    asked.extend((0..40).map(|_| asks("GET", "/login", "")));
    wait::until("somebody is answered", PATIENCE, || !asked.iter().all(is_open));
    a.signal("CONT");
    let answers = asked.iter_mut().map(|stream| {
        stream.set_nonblocking(false).expect("a plain option");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 "), "{read:?}: it was cut before its answer");
        answer
    });
    let answers: Vec<String> = answers.collect();
    let told = answers.iter().filter(|answer| answer.contains("\"unavailable\"")).count();
    assert!(told > 0, "{answers:?}");
    assert!(answers.iter().all(|answer| !answer.contains("\"unavailable\"") || answer.contains("etry-after: 1")));
}

#[test]
fn a_port_for_other_nodes_that_is_taken_is_said_with_its_setting() {
    let Some(server) = Server::start() else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let ended = node(&server, "a").env("GATEWARDEN_NODE__MESH_LISTEN", &address).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains(&address) && ended.stderr.contains("node.mesh_listen"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("http.listen"), "{}", ended.stderr);
}

#[test]
fn an_assistants_tools_work_at_any_node_by_the_names_of_that_one_and_as_their_client() {
    let Some(server) = Server::start() else { return };
    let a = node(&server, "a").start();
    let b = next_to(&a, node(&server, "b").env("GATEWARDEN_HTTP__ALLOWED_HOSTS", "b.example")).start();
    until_it_passes_on(&b);
    let lab = a.register("lab", 1, "tok-secret");
    let call = |tool: &str, arguments: &Value| {
        let asked = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let from = [("Host", "b.example"), ("X-Forwarded-For", "198.51.100.7"), ("X-API-Key", ADMIN_KEY)];
        let headers = [&from[..], &[("Content-Type", "application/json")]].concat();
        let answer = http::request(b.address(), "POST", "/mcp", &headers, Some(asked.to_string().as_bytes()));
        answer.expect("an answer").expect(200).json()["result"].clone()
    };
    let gateways = call("list_gateways", &json!({}));
    assert!(gateways["isError"] != true && gateways.to_string().contains("lab"), "{gateways}");
    call("spawn", &json!({"task": "x", "gateway_id": lab}));
    let address = wait::until_ok("it is in the audit log", PATIENCE, || {
        let audit = a.get("/api/audit").expect(200).json();
        let rows = audit["audit"].as_array().expect("entries");
        let spawned = rows.iter().find(|row| row["action"] == "spawn.create");
        spawned.map(|row| row["address"].clone()).ok_or_else(|| audit.to_string())
    });
    assert_eq!(address, "198.51.100.7");
}

#[test]
fn nobody_gets_between_nodes_with_write_access_to_the_database_or_with_the_address_of_one() {
    let Some(server) = Server::start() else { return };
    let a = node(&server, "a").start();
    let b = next_to(&a, node(&server, "b")).start();
    until_it_passes_on(&b);
    let doctor = |daemon: &Daemon| {
        let state = daemon.setup().state().to_string_lossy().into_owned();
        daemon.setup().clone().only_args(&["doctor", "--state-dir", &state]).run().stdout
    };
    let said = doctor(&b);
    assert!(said.contains("reached from here: a at 127.0.0.1:"), "{said}");

    // A true proof under another address, and another certificate under a true address.
    let of_a = |column: &str| server.ask(&format!("SELECT {column} FROM cluster_nodes WHERE name = 'a'"));
    let change = |column: &str, value: &str| {
        server.ask(&format!("UPDATE cluster_nodes SET {column} = '{value}' WHERE name = 'a'"));
    };
    const UNPROVEN: &str = "node a has another encryption key, or its entry";
    let nothing_is_passed_on = || {
        wait::until("nothing is passed on", PATIENCE, || code(&b.get("/api/gateways")) == "standby");
    };
    let others = [("mesh_address", "127.0.0.1:9".to_owned()), ("mesh_certificate", "ab".repeat(32))];
    for (times, (column, other)) in (1..).zip(others) {
        let right = of_a(column);
        change(column, &other);
        nothing_is_passed_on();
        let said = doctor(&b);
        assert!(said.contains(UNPROVEN), "{said}");
        wait::until("its log says it each time", PATIENCE, || b.log().matches(UNPROVEN).count() == times);
        change(column, &right);
        until_it_passes_on(&b);
    }
    // A node that an older release has entered, which says nothing of all this.
    server.ask(
        "UPDATE cluster_nodes SET mesh_address = NULL, mesh_certificate = NULL, mesh_proof = NULL WHERE name = 'a'",
    );
    nothing_is_passed_on();
    let nodes = b.get("/api/cluster").expect(200).json();
    assert_eq!((&nodes["nodes"][0]["name"], &nodes["nodes"][0]["mesh"]), (&json!("a"), &Value::Null), "{nodes}");
    let said = doctor(&b);
    assert!(said.contains("a take no connections of other nodes") && !said.contains(UNPROVEN), "{said}");
}

#[test]
fn whoever_answers_at_a_nodes_address_with_another_certificate_is_told_nothing() {
    let Some(server) = Server::start() else { return };
    let target = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let front = TlsFront::before(target.local_addr().expect("bound").port(), &["node.invalid"]);
    // It welcomes whoever comes, as a node does.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in target.incoming().flatten() {
            let mut bytes = [0; 4096];
            let _ = stream.write_all(b"gatewarden-mesh/1\n");
            let count = stream.read(&mut bytes).unwrap_or(0);
            let _ = tell.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
    });
    let a = node(&server, "a").env("GATEWARDEN_NODE__MESH_ADDRESS", &format!("127.0.0.1:{}", front.port())).start();
    let b = next_to(&a, node(&server, "b")).start();
    let answer = wait::until_ok("it is tried", PATIENCE, || {
        let answer = b.post("/api/gateways", &json!({"name": "x", "host": "127.0.0.1", "port": 1}));
        if code(&answer) == "node_unreachable" { Ok(answer) } else { Err(answer.text) }
    });
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    let details = &answer.json()["details"];
    assert_eq!((&details["node"], &details["acting"]["name"]), (&json!("b"), &json!("a")), "{details}");
    assert!(!answer.text.contains(&front.port().to_string()), "{}", answer.text);
    assert!(client::until(&b, &["cluster"], "not reached").contains("a"));
    assert!(passed_on(&b, "unreachable") > 0.0, "{}", b.metrics());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), Vec::<String>::new(), "no connection gets through");
}

#[test]
fn a_change_whose_node_freezes_is_answered_as_unknown_and_a_read_may_be_sent_again() {
    let Some(server) = Server::start() else { return };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "tok-secret").runs(Memory::Keeps));
    let mut a = node(&server, "a").start();
    // One worker: its connection waits for the next request.
    let b = next_to(&a, node(&server, "b").env("GATEWARDEN_HTTP__WORKERS", "1")).start();
    until_it_passes_on(&b);
    let lab = b.register("lab", gateway.port(), "tok-secret");
    b.until_status(lab, "online");
    // Two that wait: one for the change, one for the read.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| b.get("/api/openapi.json"));
        }
    });
    a.signal("STOP");
    let (changed, read) = std::thread::scope(|scope| {
        let change = scope.spawn(|| spawn_at(b.address(), lab, "frozen").expect("an answer"));
        let read = scope.spawn(|| b.get("/api/gateways"));
        (change.join().expect("no panic"), read.join().expect("no panic"))
    });
    // Either the connection stood, or it could not be made: then nothing was sent.
    assert!(["outcome_unknown", "node_unreachable"].contains(&code(&changed).as_str()), "{}", changed.text);
    assert_eq!(code(&read), "node_unreachable", "{}", read.text);
    let (cure, code) = (changed.json()["help"].to_string(), code(&changed));
    assert!(changed.header("retry-after").is_some(), "{code}");
    let words = if code == "outcome_unknown" { "Idempotency-Key" } else { "Nothing was begun" };
    assert!(cure.contains(words), "{code}: {cure}");
    let answered = wait::until_ok("the same spawn is answered", PATIENCE, || {
        let answer = spawn_at(b.address(), lab, "frozen").map_err(|error| error.to_string())?;
        if answer.status == 202 { Ok(answer) } else { Err(answer.text) }
    });
    wait::until("it ran", PATIENCE, || began(&gateway) == 1);
    a.signal("CONT");
    assert_eq!(a.wait().code(), Some(1));
    assert!(answered.json()["spawnId"].is_string());
    wait::holds_for("it runs once", Duration::from_secs(1), || began(&gateway) == 1);
}

/// Requests over one connection; how long each took.
fn times(to: SocketAddr, count: usize) -> Vec<Duration> {
    let mut stream = connected(to);
    stream.set_nodelay(true).expect("a plain option");
    let request = format!("GET /api/identity HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {ADMIN_KEY}\r\n\r\n");
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let watch = wait::Stopwatch::start();
            stream.write_all(request.as_bytes()).expect("sent");
            read_one(&mut stream);
            watch.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

/// Reads an answer of a known length.
fn read_one(stream: &mut TcpStream) {
    let mut got = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let read = stream.read(&mut bytes).expect("an answer");
        assert!(read > 0, "{}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&bytes[..read]);
        let text = String::from_utf8_lossy(&got).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        if body.len() >= length.parse::<usize>().expect("a number") {
            return;
        }
    }
}

/// `GATEWARDEN_MESH_REQUESTS=2000` measures it: see benches/README.md.
#[test]
fn what_is_passed_on_goes_over_connections_that_are_used_again() {
    let Some(server) = Server::start() else { return };
    let a = node(&server, "a").start();
    let b = next_to(&a, node(&server, "b").env("GATEWARDEN_HTTP__WORKERS", "1")).start();
    until_it_passes_on(&b);
    let count = std::env::var("GATEWARDEN_MESH_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let rounds: Vec<(Vec<Duration>, Vec<Duration>)> =
        (0..4).map(|_| (times(a.address(), count), times(b.address(), count))).collect();
    for (direct, passed_on) in &rounds {
        let at = |times: &[Duration], part: usize| times[(times.len() - 1) * part / 100];
        println!(
            "direct p50 {:?} p99 {:?}; passed on p50 {:?} p99 {:?}",
            at(direct, 50),
            at(direct, 99),
            at(passed_on, 50),
            at(passed_on, 99)
        );
    }
    let port = mesh_of(&server, "a").port();
    let before = sockets_of(port);
    let asked = times(b.address(), count.min(200)).len();
    let after = sockets_of(port);
    assert!(after <= before + asked / 2, "{before} sockets before {asked} requests, {after} after");
}

/// How many sockets of this machine have this port at either end, with those that were closed within the last minute.
fn sockets_of(port: u16) -> usize {
    let named = format!(":{port:04X}");
    let sockets = fs::read_to_string("/proc/net/tcp").expect("the kernel's list");
    sockets.lines().filter(|line| line.split_whitespace().skip(1).take(2).any(|end| end.ends_with(&named))).count()
}
