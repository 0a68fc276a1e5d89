//! Two real gateways under three nodes on one PostgreSQL, while the node that acts is killed, stopped and frozen, each node in its
//! turn. Clients spawn and read all the while and know nothing but: a 503, or a connection that broke, is for the next node; and a 503
//! that names a spawn is the end of that one, which began nowhere, so that it needs a key of its own to be sent again.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::mock_model::MockModel;
use crate::peer::{NEWEST, OLDER, Peer};
use crate::scene::RUN_MOVES_WITHIN;
use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::http::{self, Answer};
use crate::support::postgres_server::Server;
use crate::support::wait::{self, Stopwatch};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Where each node listens, while it runs.
type Addresses = Mutex<[Option<SocketAddr>; 3]>;

struct Nodes<'a> {
    setups: Vec<Setup>,
    daemons: Vec<Option<Daemon>>,
    addresses: &'a Addresses,
}

impl<'a> Nodes<'a> {
    fn start(server: &Server, addresses: &'a Addresses) -> Self {
        let setup = |name: &&str| {
            server
                .setup()
                .env("GATEWARDEN_NODE__NAME", name)
                .env("GATEWARDEN_ROUTING__MAX_IN_FLIGHT", "1000")
                .env("GATEWARDEN_ROUTING__LOST_AFTER", "20s")
        };
        let setups: Vec<Setup> = NAMES.iter().map(setup).collect();
        let mut nodes = Self { setups, daemons: vec![None, None, None], addresses };
        nodes.nurse(0);
        let key = "gatewarden.key";
        let first = nodes.setups[0].state().join(key);
        for other in &nodes.setups[1..] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(other.state()).expect("a directory");
            fs::copy(&first, other.state().join(key)).expect("the key");
        }
        (1..NAMES.len()).for_each(|number| nodes.nurse(number));
        nodes
    }

    /// Starts a node that has ended, as its service manager does.
    fn nurse(&mut self, number: usize) {
        if !self.daemons[number].as_mut().is_some_and(Daemon::runs) {
            self.daemons[number] = Some(self.setups[number].start());
        }
        self.addresses.lock().expect("nobody panics with it")[number] =
            self.daemons[number].as_ref().map(Daemon::address);
    }

    fn acts(&self, number: usize) -> bool {
        let answer = self.daemons[number].as_ref().map(|daemon| daemon.try_call(None, "GET", "/ready", None));
        answer.is_some_and(|answer| answer.is_ok_and(|answer| answer.status == 200))
    }

    fn acting(&self) -> usize {
        wait::until_ok("a node acts", PATIENCE, || {
            (0..NAMES.len()).find(|number| self.acts(*number)).ok_or_else(|| "none".to_owned())
        })
    }

    fn daemon(&mut self, number: usize) -> &mut Daemon {
        self.daemons[number].as_mut().expect("it runs")
    }

    /// Strikes the node that acts, and waits until another one acts and has both gateways; which node was struck.
    fn strike(&mut self, fault: &str, gateways: &[i64]) -> usize {
        let struck = self.acting();
        let watch = Stopwatch::start();
        match fault {
            "KILL" => self.daemon(struck).kill(),
            "TERM" => self.daemon(struck).stop(),
            _ => self.daemon(struck).signal("STOP"),
        }
        // It isn't asked itself: a frozen one answers nobody.
        let next = wait::until_ok("another acts", PATIENCE, || {
            (0..NAMES.len()).filter(|other| *other != struck).find(|other| self.acts(*other)).ok_or_else(String::new)
        });
        println!("{fault} of {}: {} acts after {:?}", NAMES[struck], NAMES[next], watch.elapsed());
        for id in gateways {
            let is_online = |gateway: &Value| gateway["status"] == "online";
            self.daemon(next).until(*id, "the next node has the gateway", RUN_MOVES_WITHIN, is_online);
        }
        println!("  with both gateways after {:?}", watch.elapsed());
        if fault == "STOP" {
            self.daemon(struck).signal("CONT");
            assert_eq!(self.daemon(struck).wait().code(), Some(1), "a node that wakes dead ends");
        }
        struck
    }
}

/// A spawn that was taken.
#[derive(Debug, Default)]
struct Job {
    task: String,
    spawn_id: String,
    gateway: i64,
    /// A connection broke before it was answered, so that it may have been recorded by a node that died before it sent it; or its gateway
    /// did not say in time whether it took it.
    unclear: bool,
    /// Records of the same that ended before they began.
    refused: Vec<String>,
}

/// Sends a request to one node after the other until one answers something else than 503, or one that names a spawn; whether a
/// connection broke.
fn ask(
    addresses: &Addresses,
    at: &mut usize,
    method: &str,
    path: &str,
    key: &str,
    body: Option<&Value>,
) -> (Answer, bool) {
    let mut broke = false;
    let body = body.map(Value::to_string);
    let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json"), ("Idempotency-Key", key)];
    let answer = wait::until_ok(&format!("{method} {path} is answered"), 2 * RUN_MOVES_WITHIN, || {
        let to = addresses.lock().expect("nobody panics with it")[*at % NAMES.len()];
        let answer = to.map(|to| http::request(to, method, path, &headers, body.as_deref().map(str::as_bytes)));
        match answer {
            Some(Ok(answer)) if answer.status != 503 || refused(&answer).is_some() => return Ok(answer),
            Some(Err(_)) => broke = true,
            _ => {}
        }
        *at += 1;
        Err("503, or no answer".to_owned())
    });
    (answer, broke)
}

/// The spawn that an answer says was not taken.
fn refused(answer: &Answer) -> Option<String> {
    let said = answer.json();
    (answer.status == 503).then(|| said["details"]["spawnId"].as_str().map(str::to_owned)).flatten()
}

/// Spawns and reads until it is over. Whatever is answered must be true.
fn work(client: usize, gateway: i64, addresses: &Addresses, over: &AtomicBool, jobs: &Mutex<Vec<Job>>) {
    let (mut at, mut number) = (client, 0);
    while !over.load(Ordering::SeqCst) {
        number += 1;
        let task = format!("job-{client}-{number}-of-the-cluster");
        let body = json!({"task": task, "gateway_id": gateway});
        let mut job = Job { task, gateway, ..Job::default() };
        let answer = loop {
            let key = format!("{}-{}", job.task, job.refused.len());
            let (answer, broke) = ask(addresses, &mut at, "POST", "/api/spawn", &key, Some(&body));
            job.unclear |= broke;
            match refused(&answer) {
                Some(spawn_id) => job.refused.push(spawn_id),
                None => break answer,
            }
        };
        let mut said = answer.json();
        if answer.status == 504 {
            (job.unclear, said) = (true, said["details"].take());
        } else {
            assert_eq!(answer.status, 202, "{}", answer.text);
        }
        job.spawn_id = said["spawnId"].as_str().unwrap_or_else(|| panic!("no id in {}", answer.text)).to_owned();

        let (answer, _) = ask(addresses, &mut at, "GET", &format!("/api/spawn/{}", job.spawn_id), "", None);
        let read = answer.expect(200).json();
        assert_eq!((&read["spawnId"], &read["task"]), (&json!(job.spawn_id), &json!(job.task)), "{read}");
        let (answer, _) = ask(addresses, &mut at, "GET", "/api/gateways", "", None);
        let listed = answer.expect(200).json();
        let names: Vec<_> = listed["gateways"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
        assert!(names.contains(&&json!("four")) && names.contains(&&json!("three")), "{names:?}");
        jobs.lock().expect("nobody panics with it").push(job);
        wait::holds_for("a breath", Duration::from_millis(300), || true);
    }
}

#[test]
fn nodes_that_are_killed_in_turn_lose_no_spawn_on_real_gateways_and_double_none() {
    let Some(server) = Server::start() else { return };
    let model = MockModel::start();
    let peers = [Peer::start_with_model(NEWEST, &model), Peer::start_with_model(OLDER, &model)];
    let addresses = Addresses::default();
    let mut nodes = Nodes::start(&server, &addresses);
    let first = nodes.acting();
    let gateways: Vec<i64> = ["four", "three"]
        .iter()
        .zip(&peers)
        .map(|(name, peer)| nodes.daemon(first).register(name, peer.port, &peer.token))
        .collect();
    for id in &gateways {
        nodes.daemon(first).until_status(*id, "online");
    }
    let identity = nodes.daemon(first).get("/api/identity").expect(200).json();

    let (over, jobs) = (AtomicBool::new(false), Mutex::new(Vec::<Job>::new()));
    std::thread::scope(|scope| {
        for (client, gateway) in gateways.iter().copied().enumerate() {
            let (over, jobs, addresses) = (&over, &jobs, &addresses);
            scope.spawn(move || work(client, gateway, addresses, over, jobs));
        }
        // A panic here must let the clients go, too.
        let struck = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let a = nodes.strike("KILL", &gateways);
            let b = nodes.strike("TERM", &gateways);
            nodes.nurse(a);
            let c = nodes.strike("STOP", &gateways);
            nodes.nurse(b);
            nodes.nurse(c);
            let mut struck = [a, b, c];
            struck.sort_unstable();
            assert_eq!(struck, [0, 1, 2], "each node was struck while it acted");
            wait::until("enough came through to mean something", RUN_MOVES_WITHIN, || {
                let jobs = jobs.lock().expect("nobody panics with it");
                gateways.iter().all(|id| jobs.iter().filter(|job| job.gateway == *id).count() > 5)
            });
        }));
        over.store(true, Ordering::SeqCst);
        if let Err(panic) = struck {
            std::panic::resume_unwind(panic);
        }
    });

    let acting = nodes.acting();
    let daemon = nodes.daemon(acting);
    assert_eq!(daemon.get("/api/identity").expect(200).json(), identity, "no gateway was paired again");
    let jobs = jobs.into_inner().expect("no client panicked");
    let mut counts = BTreeMap::<(i64, String), usize>::new();
    for job in &jobs {
        let ended = wait::until_ok(&format!("{} ends", job.task), RUN_MOVES_WITHIN, || {
            let spawn = daemon.get(&format!("/api/spawn/{}", job.spawn_id)).expect(200).json();
            let status = spawn["status"].as_str().unwrap_or_default();
            if ["completed", "failed", "killed", "lost"].contains(&status) { Ok(spawn) } else { Err(spawn.to_string()) }
        });
        let ran = model.tasks().iter().filter(|task| task.contains(&job.task)).count();
        // A model that was asked twice would be a run that was doubled.
        assert!(ran <= 1, "{job:?} ran {ran} times: {ended}");
        // One that never reached its gateway never ran, and is said to be lost; one whose gateway could not reach its model, to have
        // failed. None of them is said to be completed.
        let is_lost = job.unclear && ended["status"] == "lost" && ran == 0;
        let is_unheard = ended["status"] == "failed" && ended["errorCode"] == "run_failed" && ran == 0;
        let is_completed = ended["status"] == "completed" && ran == 1;
        assert!(is_lost || is_unheard || is_completed, "{job:?} ran {ran} times: {ended}");
        let status = ended["status"].as_str().expect("a status").to_owned();
        *counts.entry((job.gateway, status)).or_default() += 1;
    }
    let refused: Vec<&String> = jobs.iter().flat_map(|job| &job.refused).collect();
    let unclear = jobs.iter().filter(|job| job.unclear).count();
    println!(
        "{} spawns by gateway and end: {counts:?}; refused before: {}, unclear at first: {unclear}",
        jobs.len(),
        refused.len()
    );
    for spawn_id in &refused {
        let spawn = daemon.get(&format!("/api/spawn/{spawn_id}")).expect(200).json();
        assert_eq!(spawn["status"], "failed", "{spawn}");
    }
    let recorded = server.ask("SELECT count(*) FROM spawns");
    assert_eq!(recorded, (jobs.len() + refused.len()).to_string(), "each spawn was recorded once");
    assert_eq!(server.ask("SELECT epoch FROM cluster_roles"), "4", "three took over, and nobody else");
    for id in &gateways {
        let completed = counts.get(&(*id, "completed".to_owned())).copied().unwrap_or(0);
        assert!(completed > 0, "nothing came through: {counts:?}");
    }
}

#[test]
fn a_real_gateway_that_another_node_holds_does_its_work_and_moves_to_the_one_that_acts() {
    let Some(server) = Server::start() else { return };
    let model = MockModel::start();
    let peer = Peer::start_with_model(NEWEST, &model);
    let node = |name: &str| {
        server.setup().env("GATEWARDEN_NODE__NAME", name).env("GATEWARDEN_NODE__MESH_LISTEN", "127.0.0.1:0")
    };
    let a = node("a").start();
    let other = node("b");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(other.state()).expect("a directory");
    fs::copy(a.setup().state().join("gatewarden.key"), other.state().join("gatewarden.key")).expect("the key");
    let _b = other.start();
    let body = json!({"name": "edge", "host": "127.0.0.1", "port": peer.port, "token": peer.token, "node": "b"});
    let edge = a.register_with(&body);
    let held_by = |node: Value| move |gateway: &Value| gateway["status"] == "online" && gateway["held_by"] == node;
    a.until(edge, "b holds it", RUN_MOVES_WITHIN, held_by(json!("b")));
    let work = |task: &str| {
        let spawned = a.post("/api/spawn", &json!({"task": task, "gateway_id": edge})).expect(202).json();
        let path = format!("/api/spawn/{}", spawned["spawnId"].as_str().expect("an id"));
        wait::until_ok("it completes", RUN_MOVES_WITHIN, || {
            let spawn = a.get(&path).expect(200).json();
            if spawn["status"] == "completed" { Ok(()) } else { Err(spawn.to_string()) }
        });
        assert_eq!(model.tasks().iter().filter(|asked| asked.contains(task)).count(), 1, "it ran once");
    };
    work("over-the-other-node");
    let sessions = a.get(&format!("/api/sessions?gateway={edge}")).expect(200).json();
    assert_ne!(sessions["sessions"], json!([]), "its sessions are known: {sessions}");
    let logs = a.get(&format!("/api/gateways/{edge}/logs?limit=5")).expect(200).text;
    assert!(logs.contains("message"), "{logs}");
    a.update(&json!({"id": edge, "node": null})).expect(200);
    a.until(edge, "a holds it", RUN_MOVES_WITHIN, held_by(Value::Null));
    work("at-the-node-that-acts");
}
