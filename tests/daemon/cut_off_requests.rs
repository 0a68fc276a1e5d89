//! Requests whose connection is reset at any moment: whatever was begun ends, and what is shown, what is stored and what the
//! audit log tells agree.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use serde_json::{Value, json};

use crate::spawns_under_fire::FINAL;
use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::http::{self, Answer};
use crate::support::scripted_gateway::{Behaviour, Form, Memory, ScriptedGateway};
use crate::support::wait::{self, Stopwatch};

/// How long after it is sent a request's connection is reset; none: when its answer comes, however busy the machine is.
const MOMENTS: [Option<Duration>; 6] = [
    Some(Duration::ZERO),
    Some(Duration::from_micros(100)),
    Some(Duration::from_micros(300)),
    Some(Duration::from_micros(700)),
    Some(Duration::from_millis(2)),
    None,
];

/// Sends a request over a connection that is reset where it is dropped.
fn sent(to: SocketAddr, method: &str, path: &str, request_id: &str, body: Option<&Value>) -> TcpStream {
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {ADMIN_KEY}\r\nX-Request-Id: {request_id}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_nodelay(true).expect("an option");
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option");
    stream.write_all(request.as_bytes()).expect("it is sent");
    stream
}

/// Sends a request and resets its connection at this moment.
fn cut_off(to: SocketAddr, method: &str, path: &str, request_id: &str, body: Option<&Value>, after: Option<Duration>) {
    let stream = sent(to, method, path, request_id, body);
    let sent = Stopwatch::start();
    match after {
        Some(after) => {
            while sent.elapsed() < after {
                std::hint::spin_loop();
            }
        }
        None => {
            stream.set_read_timeout(Some(PATIENCE)).expect("an option");
            while stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::Interrupted) {}
        }
    }
}

fn database(setup: &Setup) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(&setup.database().to_string_lossy()).expect("the database opens");
    diesel::sql_query("PRAGMA busy_timeout = 10000").execute(&mut connection).expect("a setting");
    connection
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

fn stored_keys(connection: &mut SqliteConnection) -> BTreeSet<i64> {
    let rows: Vec<Id> = diesel::sql_query("SELECT id FROM api_keys").load(connection).expect("rows");
    rows.into_iter().map(|row| row.id).collect()
}

/// The audit entries of these requests, by request id.
fn audited(daemon: &Daemon) -> BTreeMap<String, Value> {
    let mut entries = BTreeMap::new();
    let mut path = "/api/audit?limit=200".to_owned();
    loop {
        let page = daemon.get(&path).expect(200).json();
        for entry in page["audit"].as_array().into_iter().flatten() {
            let id = entry["request_id"].as_str().unwrap_or_default().to_owned();
            assert!(entries.insert(id, entry.clone()).is_none() || entry["request_id"].is_null(), "twice: {entry}");
        }
        match page["next_before"].as_i64() {
            Some(before) => path = format!("/api/audit?limit=200&before={before}"),
            None => return entries,
        }
    }
}

#[test]
fn no_key_that_is_gone_still_works_and_none_that_is_there_does_not() {
    let daemon = Daemon::start();
    let mut database = database(daemon.setup());
    let keys: BTreeMap<i64, String> = (0..40)
        .map(|number| {
            let made = daemon.post("/api/keys", &json!({"name": format!("key-{number}"), "role": "viewer"}));
            let made = made.expect(201).json();
            let id = made["key"]["id"].as_i64().expect("an id");
            (id, made["api_key"].as_str().expect("the key").to_owned())
        })
        .collect();
    for (number, id) in keys.keys().enumerate() {
        let after = Duration::from_micros(100 * u64::try_from(number).expect("small"));
        let after = (number > 0).then_some(after);
        cut_off(daemon.address(), "DELETE", &format!("/api/keys/{id}"), &format!("cut-{id}"), None, after);
    }
    wait::until_ok("keys that work and keys that are stored are the same", PATIENCE, || {
        let stored = stored_keys(&mut database);
        let works =
            |key: &str| daemon.try_call(Some(key), "GET", "/api/gateways", None).is_ok_and(|one| one.status == 200);
        let wrong: Vec<i64> =
            keys.iter().filter(|(id, key)| works(key) != stored.contains(id)).map(|(id, _)| *id).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{} of {}: {wrong:?}", wrong.len(), keys.len())) }
    });
    let stored = stored_keys(&mut database);
    let gone = keys.keys().filter(|id| !stored.contains(id)).count();
    assert!(gone > 0, "no request got through, which shows nothing");
    wait::until_ok("the audit log tells of each that is gone", PATIENCE, || {
        let entries = audited(&daemon);
        for id in keys.keys() {
            let told = entries.get(&format!("cut-{id}")).map(|entry| entry["result"].clone());
            let expected = (!stored.contains(id)).then(|| json!("ok"));
            if told != expected {
                return Err(format!("key {id}: {told:?} instead of {expected:?}"));
            }
        }
        Ok(())
    });
}

/// What the routes are tried on.
struct Subjects {
    gateway: i64,
    uuid: String,
}

/// A request that the route takes: its path and its body. `name` is new each time. A new route needs an example here.
fn example(method: &str, route: &str, subjects: &Subjects, name: &str) -> Option<(String, Option<Value>)> {
    let Subjects { gateway, uuid } = subjects;
    let nowhere = json!({"name": name, "host": "127.0.0.1", "port": 1});
    let (path, body) = match (method, route) {
        ("POST", "/api/gateways") => (route.to_owned(), Some(nowhere)),
        ("PUT", "/api/gateways") => (route.to_owned(), Some(json!({"id": gateway, "labels": {"last": name}}))),
        ("DELETE", "/api/gateways") => (route.to_owned(), Some(json!({"id": 2}))),
        ("POST", "/api/gateways/health") => (route.to_owned(), Some(json!({"gateway_id": gateway}))),
        ("POST", "/api/gateways/check") => (route.to_owned(), Some(nowhere)),
        // It changes nothing, and is refused before it sends anything into the network.
        ("POST", "/api/gateways/discover") => (route.to_owned(), Some(json!({"timeout_ms": 1}))),
        ("POST", "/api/gateways/connect") => (route.to_owned(), Some(json!({"id": gateway}))),
        ("POST", "/api/gateways/{id}/reconnect" | "/api/gateways/{id}/drain" | "/api/gateways/{id}/undrain") => {
            (route.replace("{id}", &gateway.to_string()), None)
        }
        ("POST", "/api/gateways/{id}/process") => {
            (route.replace("{id}", &gateway.to_string()), Some(json!({"action": "status"})))
        }
        ("PUT", "/api/gateways/{id}") => {
            (route.replace("{id}", &gateway.to_string()), Some(json!({"labels": {"last": name}})))
        }
        ("DELETE", "/api/gateways/{id}") => (route.replace("{id}", "3"), None),
        ("POST", "/api/spawn") => (route.to_owned(), Some(json!({"task": name, "gateway_id": gateway}))),
        ("POST", "/api/agents") => (route.to_owned(), Some(json!({"name": name, "status": "online"}))),
        ("POST", "/api/agents/sync") => (route.to_owned(), Some(json!({"gateway_id": gateway}))),
        ("PUT", "/api/agents/{id}") => (route.replace("{id}", "worker"), Some(json!({"role": name}))),
        ("DELETE", "/api/agents/{id}") => (route.replace("{id}", "leaver"), None),
        ("POST", "/api/agents/{id}/heartbeat") => (route.replace("{id}", "worker"), None),
        ("POST", "/api/connect") => (route.to_owned(), Some(json!({"tool_name": "codex", "agent_name": name}))),
        ("DELETE", "/api/connect") => (route.to_owned(), Some(json!({"connection_id": "conn-none"}))),
        ("POST", "/mcp") => {
            let call = json!({"name": "spawn", "arguments": {"task": name, "gateway_id": gateway}});
            (route.to_owned(), Some(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})))
        }
        ("POST", "/api/tokens") => {
            (route.to_owned(), Some(json!({"model": "m", "agent": name, "input_tokens": 1, "output_tokens": 1})))
        }
        ("POST", "/api/sessions") => {
            let path = format!("{route}?action=set-label");
            (path, Some(json!({"sessionKey": "agent:main:main", "label": name, "gateway_id": gateway})))
        }
        ("DELETE", "/api/sessions") => {
            (route.to_owned(), Some(json!({"sessionKey": "agent:main:none", "gateway_id": gateway})))
        }
        ("POST", "/api/sessions/{key}/control") => {
            (route.replace("{key}", "agent:main:main"), Some(json!({"action": "kill", "gateway_id": gateway})))
        }
        ("POST", "/api/sessions/{key}/message") => {
            (route.replace("{key}", "agent:main:main"), Some(json!({"content": name, "gateway_id": gateway})))
        }
        ("POST", "/api/nodes") => {
            (route.to_owned(), Some(json!({"action": "approve", "requestId": name, "gateway_id": gateway})))
        }
        ("POST", "/api/v1/gateways") => (
            route.to_owned(),
            Some(json!({"name": name, "url": "ws://127.0.0.1:1", "workspace_root": "/srv/workspace"})),
        ),
        ("PATCH", "/api/v1/gateways/{id}") => (route.replace("{id}", uuid), Some(json!({"name": name}))),
        ("DELETE", "/api/v1/gateways/{id}") => (route.replace("{id}", "00000000-0000-4000-8000-000000000000"), None),
        ("POST", "/api/v1/gateways/sessions/{key}/message") => {
            (route.replace("{key}", "agent:main:main"), Some(json!({"content": name})))
        }
        ("POST", "/api/v1/gateways/{id}/templates/sync") => (route.replace("{id}", uuid), None),
        ("POST", "/api/keys") => (route.to_owned(), Some(json!({"name": name, "role": "viewer"}))),
        ("DELETE", "/api/keys/{id}") => (route.replace("{id}", "1"), None),
        ("POST", "/api/auth/login") => (route.to_owned(), Some(json!({"api_key": ADMIN_KEY}))),
        ("POST", "/api/auth/link") => (route.to_owned(), None),
        ("POST", "/api/auth/logout") => (route.to_owned(), None),
        _ => return None,
    };
    Some((path, body))
}

/// Every route that may change something, as the document has it.
fn mutating_routes() -> Vec<(String, String)> {
    let ended = Setup::new().only_args(&["openapi"]).run();
    let document: Value = serde_json::from_str(&ended.stdout).expect("the document is JSON");
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys().filter(|one| *one != "get" && *one != "parameters") {
            routes.push((method.to_uppercase(), path.clone()));
        }
    }
    routes
}

#[derive(QueryableByName, Debug, PartialEq)]
struct GatewayRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    labels: String,
    #[diesel(sql_type = Bool)]
    drained: bool,
    #[diesel(sql_type = Bool)]
    is_primary: bool,
}

/// Whether what is shown of gateways is what is stored, with nothing half-made left.
fn gateways_agree(daemon: &Daemon, database: &mut SqliteConnection) -> Result<(), String> {
    let query = "SELECT id, name, labels, drained, is_primary FROM gateways ORDER BY id";
    let stored: Vec<GatewayRow> = diesel::sql_query(query).load(database).expect("rows");
    let mut shown: Vec<GatewayRow> = daemon
        .gateways()
        .iter()
        .map(|one| GatewayRow {
            id: one["id"].as_i64().expect("an id"),
            name: one["name"].as_str().expect("a name").to_owned(),
            labels: one["labels"].to_string(),
            drained: one["drained"].as_bool().expect("a flag"),
            is_primary: one["is_primary"].as_i64() == Some(1) || one["is_primary"] == true,
        })
        .collect();
    shown.sort_by_key(|row| row.id);
    if shown == stored { Ok(()) } else { Err(format!("shown {shown:?}, stored {stored:?}")) }
}

/// Names of what the requests created, wherever it is stored.
fn created(database: &mut SqliteConnection) -> BTreeSet<String> {
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let query = "SELECT name FROM gateways UNION SELECT name FROM agents UNION SELECT name FROM api_keys";
    let rows: Vec<Name> = diesel::sql_query(query).load(database).expect("rows");
    rows.into_iter().map(|row| row.name).collect()
}

#[test]
fn whatever_route_and_moment_a_request_is_cut_off_at_memory_database_and_audit_log_agree() {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").runs(Memory::Keeps));
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__REQUEST_TIMEOUT", "2s").start();
    for name in ["leaves-2", "leaves-3"] {
        daemon.register(name, 1, "right");
    }
    let id = daemon.register("lives", gateway.port(), "right");
    daemon.until_status(id, "online");
    for name in ["worker", "leaver"] {
        daemon.post("/api/agents", &json!({"name": name})).expect(201);
    }
    daemon.new_key("leaves-1", "viewer");
    let uuid = daemon.gateway(id)["uuid"].as_str().expect("a uuid").to_owned();
    let subjects = Subjects { gateway: id, uuid };
    let mut database = database(daemon.setup());

    let routes = mutating_routes();
    assert!(routes.len() > 30, "{routes:?}");
    let mut creations = BTreeSet::new();
    let mut sent = BTreeSet::new();
    for (number, (method, route)) in routes.iter().enumerate() {
        for (turn, after) in MOMENTS.into_iter().enumerate() {
            let name = format!("cut-{number}-{turn}");
            let Some((path, body)) = example(method, route, &subjects, &name) else {
                panic!("{method} {route} may change something and has no example in this test: give it one");
            };
            cut_off(daemon.address(), method, &path, &name, body.as_ref(), after);
            if method == "POST" && ["/api/gateways", "/api/agents", "/api/keys"].contains(&route.as_str()) {
                creations.insert(name.clone());
            }
            sent.insert(name);
        }
    }

    wait::until_ok("what is shown is what is stored", PATIENCE, || gateways_agree(&daemon, &mut database));
    wait::until_ok("every spawn that was recorded was sent and has ended", PATIENCE, || {
        let page = daemon.get("/api/spawn?limit=200").expect(200).json();
        let open = |one: &&Value| !FINAL.contains(&one["status"].as_str().unwrap_or(""));
        match page["history"].as_array().into_iter().flatten().find(open) {
            None => Ok(()),
            Some(open) => Err(open.to_string()),
        }
    });
    wait::until_ok("the audit log tells what came of each request", PATIENCE, || {
        let entries = audited(&daemon);
        let there = created(&mut database);
        for name in &sent {
            let entry = entries.get(name);
            if let Some(entry) =
                entry.filter(|entry| entry["details"]["answered"] == false || entry["result"] == "unknown")
            {
                return Err(format!("nobody knows: {entry}"));
            }
            let told = entry.is_some_and(|entry| entry["result"] == "ok");
            if creations.contains(name) && told != there.contains(name) {
                return Err(format!("{name}: stored {}, told {entry:?}", there.contains(name)));
            }
        }
        Ok(())
    });
    let told = audited(&daemon).keys().filter(|id| sent.contains(*id)).count();
    assert!(told > routes.len() / 2, "too few requests got through to mean anything: {told}");
    wait::until_ok("what is shown is what is stored, still", PATIENCE, || gateways_agree(&daemon, &mut database));
}

#[test]
fn a_change_whose_body_never_arrives_has_not_begun() {
    let daemon = Daemon::start();
    let to = daemon.address();
    let mut stream = TcpStream::connect(to).expect("it listens");
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option");
    let head = format!(
        "POST /api/gateways HTTP/1.1\r\nHost: {to}\r\nX-API-Key: {ADMIN_KEY}\r\nX-Request-Id: half\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it is sent");
    // The daemon waits for the body from here on. A reset before would throw away what it hasn't read yet.
    let mut said = [0; 25];
    stream.read_exact(&mut said).expect("an interim answer");
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{").expect("it is sent");
    drop(stream);
    wait::until_ok("it is refused as what it is", PATIENCE, || match audited(&daemon).get("half") {
        Some(entry) if entry["result"] == "refused" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(daemon.gateways().len(), 1, "the seeded one");
}

#[test]
fn a_change_without_a_client_still_ends_when_the_daemon_is_stopped() {
    #[derive(QueryableByName)]
    struct Told {
        #[diesel(sql_type = Text)]
        result: String,
    }
    let mut daemon = Daemon::start();
    let key = daemon.new_key("leaves", "viewer");
    let mut database = database(daemon.setup());
    let id = *stored_keys(&mut database).first().expect("a key");
    diesel::sql_query("BEGIN IMMEDIATE").execute(&mut database).expect("the lock is ours");
    let stream = sent(daemon.address(), "DELETE", &format!("/api/keys/{id}"), "cut", None);
    wait::until("it has begun", PATIENCE, || {
        daemon.try_call(Some(&key), "GET", "/api/gateways", None).is_ok_and(|answer| answer.status == 401)
    });
    drop(stream);
    daemon.signal("TERM");
    wait::holds_for("the daemon waits for it", Duration::from_millis(500), || true);
    diesel::sql_query("COMMIT").execute(&mut database).expect("the lock is free");
    daemon.ends_well();
    assert!(!stored_keys(&mut database).contains(&id));
    let query = "SELECT result FROM audit_log WHERE request_id = 'cut'";
    let told: Vec<Told> = diesel::sql_query(query).load(&mut database).expect("rows");
    assert_eq!(told.iter().map(|told| told.result.as_str()).collect::<Vec<_>>(), ["ok"]);
}

/// The answer to a request that is sent in a thread of its own.
type Asked = std::thread::JoinHandle<std::io::Result<Answer>>;

fn ask(
    daemon: &Daemon,
    method: &'static str,
    path: &str,
    headers: &'static [(&'static str, &'static str)],
    body: Option<Value>,
) -> Asked {
    let (to, path) = (daemon.address(), path.to_owned());
    std::thread::spawn(move || {
        let mut all = vec![("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        http::request(to, method, &path, &all, body.map(|body| body.to_string()).as_deref().map(str::as_bytes))
    })
}

#[test]
fn a_daemon_that_stands_still_in_the_middle_of_writes_agrees_with_its_database_afterwards() {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").runs(Memory::Keeps));
    let daemon = Daemon::start();
    let id = daemon.register("lives", gateway.port(), "right");
    let leaves = daemon.register("leaves", 1, "right");
    daemon.until_status(id, "online");
    let key = daemon.new_key("leaves", "viewer");
    let key_id = {
        let listed = daemon.get("/api/keys").expect(200).json();
        let keys = listed["keys"].as_array().expect("a list").clone();
        keys.iter().find(|one| one["name"] == "leaves").expect("listed")["id"].as_i64().expect("an id")
    };
    let mut database = database(daemon.setup());
    let spawn = || {
        ask(
            &daemon,
            "POST",
            "/api/spawn",
            &[("Idempotency-Key", "k-1")],
            Some(json!({"task": "say hello", "gateway_id": id})),
        )
    };

    diesel::sql_query("BEGIN IMMEDIATE").execute(&mut database).expect("the lock is ours");
    let asked = [
        ask(&daemon, "DELETE", "/api/gateways", &[], Some(json!({"id": leaves}))),
        ask(&daemon, "POST", "/api/gateways", &[], Some(json!({"name": "comes", "host": "127.0.0.1", "port": 1}))),
        ask(&daemon, "PUT", "/api/gateways", &[], Some(json!({"id": id, "is_primary": true}))),
        ask(&daemon, "DELETE", &format!("/api/keys/{key_id}"), &[], None),
        ask(&daemon, "POST", "/api/agents", &[], Some(json!({"name": "comes"}))),
        spawn(),
    ];
    wait::holds_for("the requests are under way", Duration::from_millis(500), || true);
    daemon.signal("STOP");
    wait::holds_for("longer than every deadline of the store", Duration::from_millis(11_500), || true);
    diesel::sql_query("COMMIT").execute(&mut database).expect("the lock is free");
    daemon.signal("CONT");
    for asked in asked {
        let answer = asked.join().expect("no panic").expect("an answer");
        let known = [200, 201, 202].contains(&answer.status) || answer.json()["code"] == "outcome_unknown";
        assert!(known, "{} {}", answer.status, answer.text);
    }

    wait::until_ok("what is shown is what is stored", PATIENCE, || gateways_agree(&daemon, &mut database));
    let names: Vec<String> = daemon.gateways().iter().map(|one| one["name"].to_string()).collect();
    assert!(names.contains(&"\"comes\"".to_owned()) && !names.contains(&"\"leaves\"".to_owned()), "{names:?}");
    assert!(!stored_keys(&mut database).contains(&key_id));
    daemon.try_call(Some(&key), "GET", "/api/gateways", None).expect("an answer").expect(401);
    wait::until_ok("the spawn was sent once and has ended", PATIENCE, || {
        let again = spawn().join().expect("no panic").expect("an answer").json();
        let executed: Vec<usize> = gateway.executed().into_values().collect();
        if again["status"] == "completed" && again["replayed"] == true && executed == [1] {
            return Ok(());
        }
        Err(format!("{again}, executed {executed:?}"))
    });
}
