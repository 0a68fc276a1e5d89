//! Several nodes on one PostgreSQL: one acts, the others stand by and take over.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::chaos_proxy::{ChaosProxy, Link};
use crate::support::client::fine;
use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::http::{self, Answer};
use crate::support::notify_socket::NotifySocket;
use crate::support::postgres_server::{Server, next_to};
use crate::support::scripted_gateway::{Behaviour, Form, Memory, ScriptedGateway};
use crate::support::wait;

pub(crate) fn node(server: &Server, name: &str) -> Setup {
    server.setup().env("GATEWARDEN_NODE__NAME", name)
}

fn pair(server: &Server) -> (Daemon, Daemon) {
    // Room for those who ask until a new key is known.
    let limited = |setup: Setup| setup.env("GATEWARDEN_RATE_LIMIT__WRONG_KEYS_PER_MINUTE", "100");
    let first = limited(node(server, "a")).start();
    let second = next_to(&first, limited(node(server, "b"))).start();
    assert_eq!(code(&second.get("/ready")), "standby");
    (first, second)
}

pub(crate) fn code(answer: &Answer) -> String {
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn until_ready(daemon: &Daemon) {
    wait::until("it acts", PATIENCE, || daemon.is_ready());
}

fn cluster(daemon: &Daemon) -> Value {
    daemon.get("/api/cluster").expect(200).json()
}

pub(crate) fn spawn(daemon: &Daemon, gateway: i64, task: &str) -> std::io::Result<Answer> {
    spawn_at(daemon.address(), gateway, task)
}

pub(crate) fn spawn_at(to: SocketAddr, gateway: i64, task: &str) -> std::io::Result<Answer> {
    let body = json!({"task": task, "gateway_id": gateway}).to_string();
    let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json"), ("Idempotency-Key", task)];
    http::request(to, "POST", "/api/spawn", &headers, Some(body.as_bytes()))
}

pub(crate) fn began(gateway: &ScriptedGateway) -> usize {
    gateway.executed().values().sum()
}

#[test]
fn a_node_that_is_killed_is_followed_by_one_that_stood_by_and_nothing_runs_twice() {
    let Some(server) = Server::start() else { return };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "tok-secret").runs(Memory::Keeps));
    let (mut a, b) = pair(&server);
    let lab = a.register("lab", gateway.port(), "tok-secret");
    a.until_status(lab, "online");
    let identity = a.get("/api/identity").expect(200).json();
    let spawned = spawn(&a, lab, "once").expect("an answer").expect(202).json();

    let refused = spawn(&b, lab, "once").expect("an answer");
    assert_eq!((refused.status, code(&refused).as_str(), refused.header("retry-after")), (503, "standby", Some("1")));
    let acting = refused.json()["details"]["acting"].clone();
    assert_eq!(acting, json!({"name": "a", "url": format!("http://{}", a.address())}));
    assert_eq!(b.try_call(None, "GET", "/health", None).expect("an answer").status, 200);
    let page = http::request(b.address(), "GET", "/login", &[("Accept", "text/html")], None).expect("an answer");
    assert!(page.status == 503 && page.text.contains(&format!("href=\"http://{}\"", a.address())), "{}", page.text);
    let metrics = b.metrics();
    assert!(metrics.contains("gatewarden_cluster_acting 0") && !metrics.contains("gateway_id"), "{metrics}");
    let shown = fine(&a, &["cluster"]);
    assert!(shown.contains("standby") && shown.contains("a acts since"), "{shown}");

    let shown = fine(&b, &["cluster"]);
    assert!(shown.contains("a acts since") && shown.contains("0.") && shown.contains("standby"), "{shown}");

    // It is killed as soon as a second spawn reached the gateway, perhaps before it knows of that.
    let address = a.address();
    std::thread::scope(|scope| {
        scope.spawn(|| spawn_at(address, lab, "on-its-way"));
        wait::until("it begins", PATIENCE, || began(&gateway) == 2);
        a.kill();
    });
    until_ready(&b);
    b.until_status(lab, "online");
    assert_eq!(b.get("/api/identity").expect(200).json(), identity, "the gateway need not be paired again");
    let again = spawn(&b, lab, "once").expect("an answer").json();
    assert_eq!((&again["spawnId"], &again["replayed"]), (&spawned["spawnId"], &json!(true)), "{again}");
    let again = spawn(&b, lab, "on-its-way").expect("an answer").json();
    assert_eq!(again["replayed"], true, "{again}");
    assert_eq!(began(&gateway), 2);
    let seen = cluster(&b);
    assert_eq!((&seen["epoch"], &seen["acting"]), (&json!(2), &json!(true)), "{seen}");

    // It comes back and stands by; told to stop, the other one hands over.
    let a = a.setup().start();
    assert_eq!(code(&a.get("/api/gateways")), "standby");
    let mut b = b;
    b.stop();
    until_ready(&a);
    a.until_status(lab, "online");
    assert_eq!(spawn(&a, lab, "once").expect("an answer").json()["spawnId"], spawned["spawnId"]);
    assert_eq!(began(&gateway), 2);
    for daemon in [&a, &b] {
        assert!(!daemon.everything_said().contains("tok-secret") && !daemon.everything_said().contains("pw-secret"));
    }
}

#[test]
fn a_node_that_takes_over_goes_on_counting_failed_logins() {
    let Some(server) = Server::start() else { return };
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let eager = |setup: Setup| setup.env("GATEWARDEN_GATEWAY__BLOCKED_RECHECK", "300ms");
    let mut a = eager(node(&server, "a")).start();
    let b = next_to(&a, eager(node(&server, "b"))).start();
    let lab = a.register("lab", gateway.port(), "wrong");
    wait::until("five are stored", PATIENCE, || server.ask("SELECT count(*) FROM failed_logins") == "5");
    a.kill();
    until_ready(&b);
    b.until(lab, "it may not try, or was refused", PATIENCE, |shown| {
        ["login_budget_spent", "token_mismatch"].iter().any(|code| shown["last_error"]["code"] == *code)
    });
    let record = gateway.record();
    assert!(record.most_refusals_within(Duration::from_secs(60)) <= 5, "{:?}", record.attempts);
    assert!(record.attempts.len() >= 5);
}

#[test]
fn a_node_that_stands_by_shows_all_nodes_to_whoever_has_a_key_and_nobody_else() {
    let Some(server) = Server::start() else { return };
    let (a, b) = pair(&server);
    let seen = |key: Option<&str>| b.try_call(key, "GET", "/api/cluster", None).expect("an answer");
    let nodes = seen(Some(ADMIN_KEY)).expect(200).json();
    let roles: Vec<_> =
        nodes["nodes"].as_array().expect("a list").iter().map(|node| (&node["name"], &node["role"])).collect();
    assert_eq!(roles, [(&json!("a"), &json!("acting")), (&json!("b"), &json!("standby"))], "{nodes}");
    assert_eq!(
        (&nodes["acting"], &nodes["nodes"][0]["url"]),
        (&json!(false), &json!(format!("http://{}", a.address())))
    );
    assert!(nodes["nodes"][1]["since"].is_i64() && nodes["nodes"][1]["version"].is_string(), "{nodes}");

    // Nobody is let in without one, not from this machine either; keys count there soon after they are made, and no more soon after
    // they are revoked.
    assert_eq!(seen(None).status, 401);
    let viewer = a.new_key("of a viewer", "viewer");
    wait::until("the new key is good", PATIENCE, || seen(Some(&viewer)).status == 200);
    let id = a.get("/api/keys").expect(200).json()["keys"][0]["id"].clone();
    a.call("DELETE", &format!("/api/keys/{id}"), None).expect(200);
    wait::until("it is revoked", PATIENCE, || seen(Some(&viewer)).status == 401);
    for (method, path) in [("GET", "/api/gateways"), ("POST", "/api/cluster"), ("GET", "/api/nodes"), ("GET", "/ready")]
    {
        let answer = b.call(method, path, None);
        assert_eq!((answer.status, code(&answer).as_str()), (503, "standby"), "{method} {path}");
    }

    // In a browser, with the key in a form; nothing is stored.
    let page = |key: &str| {
        let body = format!("api_key={key}");
        let form = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "text/html")];
        http::request(b.address(), "POST", "/nodes", &form, Some(body.as_bytes())).expect("an answer")
    };
    let shown = page(ADMIN_KEY).expect(200);
    assert!(
        shown.text.contains("<table>") && shown.text.contains(&format!("href=\"http://{}\"", a.address())),
        "{}",
        shown.text
    );
    assert_eq!(shown.header("set-cookie"), None);
    let asks = page("wrong").expect(401);
    assert!(asks.text.contains("The API key is wrong") && !asks.text.contains("<table>"), "{}", asks.text);
    wait::until("too many wrong keys are one too many", PATIENCE, || seen(Some("wrong")).status == 429);
    assert_eq!(seen(Some(ADMIN_KEY)).status, 200);
}

#[test]
fn a_node_that_cannot_ask_the_database_shows_the_nodes_to_the_admin_key_alone() {
    let Some(mut server) = Server::start() else { return };
    let (a, b) = pair(&server);
    let viewer = a.new_key("of a viewer", "viewer");
    let seen = |key: &str| b.try_call(Some(key), "GET", "/api/cluster", None).expect("an answer");
    wait::until("the new key is good", PATIENCE, || seen(&viewer).status == 200);
    server.stop();
    wait::until("it can't be told whether a key is good", PATIENCE, || code(&seen(&viewer)) == "store_unavailable");
    seen(ADMIN_KEY).expect(200);
    server.resume();
    wait::until("the key is good again", PATIENCE, || seen(&viewer).status == 200);
}

#[test]
fn nodes_older_than_the_database_allows_do_not_act_and_say_so() {
    let Some(server) = Server::start() else { return };
    let (mut a, mut b) = pair(&server);
    a.register("lab", 1, "tok-secret");
    let oldest = |release: &str| server.ask(&format!("UPDATE meta SET value = '{release}' WHERE name = 'min_release'"));
    assert_eq!(server.ask("SELECT value FROM meta WHERE name = 'min_release'"), "0.1.0");
    oldest("99.0.0");
    assert_eq!(b.wait().code(), Some(78));
    assert_eq!(a.wait().code(), Some(1));
    assert!(a.log().contains("the database is one for gatewarden 99.0.0 and later"), "{}", a.log());
    let refused = a.setup().run();
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    for said in [&refused.stderr, &b.log()] {
        assert!(
            said.contains("is one for gatewarden 99.0.0 and later, and this is") && said.contains("Upgrade"),
            "{said}"
        );
    }
    assert_eq!(server.ask("SELECT count(*) FROM cluster_nodes WHERE state = 'active'"), "0");

    // A newer release that only added something lets this one go on.
    oldest("0.1.0");
    server.ask("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')");
    let a = a.setup().start();
    assert_eq!(a.get("/ready").status, 200);
    assert!(a.gateways().iter().any(|gateway| gateway["name"] == "lab"));
}

#[test]
fn a_frozen_node_wakes_dead_sends_nothing_and_ends() {
    let Some(server) = Server::start() else { return };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "tok-secret").runs(Memory::Keeps));
    let (mut a, b) = pair(&server);
    let lab = a.register("lab", gateway.port(), "tok-secret");
    a.until_status(lab, "online");
    a.signal("STOP");
    let (woken, ()) = std::thread::scope(|scope| {
        // It waits in the socket's queue of the frozen one.
        let late = scope.spawn(|| spawn(&a, lab, "late"));
        until_ready(&b);
        a.signal("CONT");
        (late.join().expect("no panic"), ())
    });
    if let Ok(answer) = woken {
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
    assert_eq!(a.wait().code(), Some(1));
    assert!(a.log().contains("This node acts no longer"), "{}", a.log());
    b.until_status(lab, "online");
    assert_eq!(began(&gateway), 0);
    spawn(&b, lab, "early").expect("an answer").expect(202);
    wait::until("it begins", PATIENCE, || began(&gateway) == 1);
    let a = a.setup().start();
    assert_eq!(code(&a.get("/ready")), "standby");
}

#[test]
fn an_outage_of_the_server_moves_nothing() {
    let Some(mut server) = Server::start() else { return };
    let (a, b) = pair(&server);
    let changes = |daemon: &Daemon, name: &str| {
        let body = json!({"name": name, "host": "127.0.0.1", "port": 1, "token": "tok"});
        wait::until("changes go on", PATIENCE, || {
            [201, 409].contains(&daemon.call("POST", "/api/gateways", Some(&body)).status)
        });
    };
    server.stop();
    assert_eq!(a.get("/api/gateways").status, 200);
    server.resume();
    changes(&a, "restarted");
    assert_eq!(cluster(&a)["epoch"], 1);

    server.signal_all("-STOP");
    wait::until("the right to act has run out", PATIENCE, || code(&a.get("/ready")) == "not_acting");
    assert_eq!(code(&a.post("/api/gateways", &json!({"name": "x", "host": "127.0.0.1", "port": 1}))), "not_acting");
    assert_eq!(a.get("/api/gateways").status, 200);
    wait::holds_for("nobody takes over", Duration::from_secs(4), || code(&b.get("/ready")) == "standby");
    server.signal_all("-CONT");
    changes(&a, "thawed");
    until_ready(&a);
    assert_eq!(cluster(&a)["epoch"], 1);
    assert_eq!(code(&b.get("/ready")), "standby");
}

#[test]
fn a_node_that_is_cut_off_from_the_server_reads_on_and_another_takes_over() {
    let Some(server) = Server::start() else { return };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "tok-secret").runs(Memory::Keeps));
    let way = ChaosProxy::before(server.port());
    let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{}/", way.port()));
    let mut a = node(&server, "a").env("GATEWARDEN_STORE__URL", &url).start();
    let b = next_to(&a, node(&server, "b")).start();
    let lab = a.register("lab", gateway.port(), "tok-secret");
    a.until_status(lab, "online");
    way.set(Link::BlackHole);
    wait::until("changes are refused", PATIENCE, || code(&spawn(&a, lab, "cut").expect("an answer")) == "not_acting");
    assert_eq!(a.gateway(lab)["status"], "online");
    until_ready(&b);
    assert_eq!(spawn(&a, lab, "cut").expect("an answer").status, 503);
    b.until_status(lab, "online");
    way.set(Link::Cut);
    way.set(Link::Clear);
    assert_eq!(a.wait().code(), Some(1));
    assert_eq!(began(&gateway), 0);
}

#[test]
fn a_name_that_lives_and_a_key_that_does_not_open_are_refused() {
    let Some(server) = Server::start() else { return };
    let mut a = node(&server, "a").start();
    let same = next_to(&a, node(&server, "a")).run();
    assert_eq!(same.code, Some(78), "{}", same.stderr);
    assert!(same.stderr.contains("Another node named \"a\"") && same.stderr.contains("node.name"), "{}", same.stderr);
    let other = next_to(&a, node(&server, "b"));
    fs::write(other.state().join("gatewarden.key"), [1_u8; 32]).expect("a file");
    let other = other.run();
    assert_eq!(other.code, Some(78), "{}", other.stderr);
    assert!(other.stderr.contains("sealed with another key"), "{}", other.stderr);
    // Its own predecessor in this state directory is gone for certain, and waited for by nobody.
    a.crash_and_restart();
    assert_eq!(a.get("/ready").status, 200);
    assert!(!same.stderr.contains("pw-secret"));
}

#[test]
fn a_new_node_lets_in_the_same_admin_key_and_tells_the_service_manager_that_it_stands_by() {
    let Some(server) = Server::start() else { return };
    let mut a = node(&server, "a").without("API_KEY").start();
    let key = fs::read_to_string(a.setup().state().join("admin.key")).expect("a key");
    let setup = next_to(&a, node(&server, "b").without("API_KEY"));
    let notified = NotifySocket::at(&setup.state().join("notify"));
    let b = setup.env("NOTIFY_SOCKET", &notified.address()).start();
    wait::until("it is told", PATIENCE, || {
        notified.has_heard(|line| line == "READY=1")
            && notified.has_heard(|line| line == "STATUS=standing by; node a acts")
    });
    a.stop();
    until_ready(&b);
    assert_eq!(b.try_call(Some(key.trim()), "GET", "/api/gateways", None).expect("an answer").status, 200);
}

#[test]
fn an_admin_key_that_is_retired_at_one_node_comes_back_with_none() {
    let Some(server) = Server::start() else { return };
    let mut a = node(&server, "a").without("API_KEY").start();
    let file = |daemon: &Daemon| daemon.setup().state().join("admin.key");
    let first = fs::read_to_string(file(&a)).expect("a key");
    // It never acted when the key is retired.
    let mut b = next_to(&a, node(&server, "b").without("API_KEY")).start();
    assert_eq!(fs::read_to_string(file(&b)).expect("the same key"), first);
    let body = json!({"name": "mine", "role": "admin"});
    let made = a.try_call(Some(first.trim()), "POST", "/api/keys", Some(&body)).expect("an answer").expect(201).json();
    let mine = made["api_key"].as_str().expect("a key").to_owned();
    let lets_in = |daemon: &Daemon, key: &str| {
        daemon.try_call(Some(key.trim()), "GET", "/api/gateways", None).expect("an answer").status
    };

    fs::remove_file(file(&a)).expect("it was there");
    a.stop();
    until_ready(&b);
    assert_eq!(lets_in(&b, &first), 200, "as of its start");
    let mut a = a.setup().start();
    b.stop();
    until_ready(&a);
    assert_eq!((lets_in(&a, &first), lets_in(&a, &mine)), (401, 200));
    let said = a.everything_said();
    assert_eq!(said.matches("the admin key is being retired on all nodes").count(), 1, "{said}");
    let b = b.setup().start();
    assert!(!file(&b).exists());
    let audit = a.try_call(Some(&mine), "GET", "/api/audit", None).expect("an answer").expect(200).json();
    let retired =
        audit["audit"].as_array().expect("entries").iter().find(|entry| entry["action"] == "admin_key.retire");
    let retired = retired.unwrap_or_else(|| panic!("{audit}"));
    assert_eq!(
        (&retired["actor"]["name"], &retired["target"], &retired["details"]),
        (&json!("system"), &json!("key admin.key"), &json!({"node": "a", "replaced": false}))
    );
    a.stop();
    until_ready(&b);
    assert_eq!((lets_in(&b, &first), lets_in(&b, &mine)), (401, 200));

    // Another key in the file of one takes the place of none, at all of them.
    let mut a = a.setup().start();
    fs::write(file(&a), "adm-other-0123456789abcdef\n").expect("a file");
    a.stop();
    let a = a.setup().start();
    let mut b = b;
    b.stop();
    until_ready(&a);
    assert_eq!(lets_in(&a, "adm-other-0123456789abcdef"), 200);
    let b = b.setup().start();
    assert_eq!(fs::read_to_string(file(&b)).expect("the new key"), "adm-other-0123456789abcdef\n");
    for daemon in [&a, &b] {
        assert!(!daemon.everything_said().contains("adm-other"));
    }
}
