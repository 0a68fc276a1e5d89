//! What the way through the daemon costs: a session's history and a spawn, each against the same straight over one
//! WebSocket to the same gateway (a spawn's baseline with one durable commit on top). By `.ci/postgres` also a spawn that is
//! recorded in PostgreSQL, against SQLite.

use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use serde_json::json;

use crate::clients::{Rest, Straight};
use crate::measured::{load_average, setup};
use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::postgres_server::Server;
use crate::support::scripted_gateway::{Behaviour, Fate, Form, Memory, ScriptedGateway};
use crate::support::wait::{self, Stopwatch};

/// Both ways in turn, in blocks, so that a noisy moment hits both.
const BLOCKS: usize = 10;

/// Round trips in microseconds.
pub(crate) struct Times(Vec<f64>);

impl Times {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e6);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn measure(&mut self, what: impl FnOnce()) {
        let watch = Stopwatch::start();
        what();
        self.add(watch.elapsed());
    }

    /// The time that this share of all stayed below.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
        let index = (sorted.len() as f64 * share) as usize;
        sorted[index.min(sorted.len() - 1)]
    }
}

fn compare(what: &str, bare: &Times, ours: &Times) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let (bare, ours) = (bare.at(share), ours.at(share));
        println!("{what}: {name} {ours:.0} us, baseline {bare:.0} us: {:+.0} us", ours - bare);
    }
    println!("{what}: load {}", load_average());
}

/// A daemon with its limiter on, and one gateway that lets everybody in.
pub(crate) fn house(setup: Setup) -> (Daemon, ScriptedGateway) {
    let daemon = setup
        .env("GATEWARDEN_RATE_LIMIT__ENABLED", "true")
        .env("GATEWARDEN_RATE_LIMIT__GATEWAY_PER_MINUTE", "10000000")
        .env("GATEWARDEN_RATE_LIMIT__SPAWN_PER_MINUTE", "10000000")
        .env("GATEWARDEN_ROUTING__MAX_IN_FLIGHT", "100000")
        .start();
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, ""));
    let id = daemon.register("gateway", gateway.port(), "");
    daemon.until_status(id, "online");
    (daemon, gateway)
}

pub(crate) fn history() {
    let (daemon, gateway) = house(setup());
    let messages: Vec<_> = (0..20)
        .map(|at| json!({"role": "user", "content": [{"type": "text", "text": "word ".repeat(20)}], "timestamp": at}))
        .collect();
    gateway.change(|behaviour| {
        let history = json!({"sessionKey": "agent:main:main", "messages": messages});
        behaviour.results.insert("chat.history".to_owned(), history);
    });
    let path = "/api/sessions/agent:main:main/history?limit=20";
    wait::until("the session is known", PATIENCE, || daemon.get(path).status == 200);
    let (mut rest, mut straight) = (Rest::connect(daemon.address()), Straight::connect(gateway.port()));
    let params = json!({"sessionKey": "agent:main:main", "limit": 20});
    let (mut ours, mut bare) = (Times::new(), Times::new());
    for _ in 0..BLOCKS {
        for _ in 0..300 {
            bare.measure(|| assert_eq!(straight.ask("chat.history", &params)["ok"], true));
        }
        for _ in 0..300 {
            ours.measure(|| assert_eq!(rest.ask("GET", path, "").0, 200));
        }
    }
    compare("history", &bare, &ours);
}

diesel::table! {
    rows (a) {
        a -> Text,
        b -> Text,
    }
}

/// Rows in a database like the daemon's, on the same disk.
pub(crate) struct Commits(SqliteConnection);

impl Commits {
    pub(crate) fn open(file: &Path) -> Self {
        let mut connection = SqliteConnection::establish(&file.to_string_lossy()).expect("a database");
        connection
            .batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE rows (a TEXT, b TEXT)")
            .expect("a table");
        Self(connection)
    }

    /// One durable commit of so many rows, each of about a spawn's size.
    pub(crate) fn commit(&mut self, count: usize) {
        let row = (rows::a.eq("a".repeat(36)), rows::b.eq("b".repeat(400)));
        let write = |connection: &mut SqliteConnection| {
            (0..count).try_for_each(|_| diesel::insert_into(rows::table).values(&row).execute(connection).map(drop))
        };
        self.0.immediate_transaction(write).expect("committed");
    }
}

/// A house with a client that spawns in it.
struct Spawner {
    gateway: ScriptedGateway,
    daemon: Daemon,
    rest: Rest,
    body: String,
    times: Times,
}

impl Spawner {
    fn over(setup: Setup, task: &str) -> Self {
        let (daemon, gateway) = house(setup);
        gateway.change(|behaviour| behaviour.runs = Some(Memory::Keeps));
        let rest = Rest::connect(daemon.address());
        Self { gateway, daemon, rest, body: json!({"task": task}).to_string(), times: Times::new() }
    }

    fn spawn(&mut self, count: usize) {
        for _ in 0..count {
            self.times.measure(|| assert_eq!(self.rest.ask("POST", "/api/spawn", &self.body).0, 202));
        }
    }

    fn say_what_ran(&self, where_to: &str) {
        let doubled = self.gateway.executed().values().filter(|times| **times != 1).count();
        println!("spawn: {} runs begun{where_to}, {doubled} more than once", self.gateway.executed().len());
    }
}

pub(crate) fn spawn() {
    let task = serde_json::to_string(&Fate { takes_ms: 1, ..Fate::default() }).expect("plain");
    let server = Server::start();
    let mut ours = Spawner::over(setup(), &task);
    let mut remote =
        server.as_ref().map(|server| Spawner::over(setup().env("GATEWARDEN_STORE__URL", &server.url()), &task));
    let mut commits = Commits::open(&ours.daemon.setup().state().join("baseline.db"));
    let mut straight = Straight::connect(ours.gateway.port());
    let (mut bare, mut commit) = (Times::new(), Times::new());
    let mut run = 0;
    for _ in 0..BLOCKS {
        for _ in 0..50 {
            run += 1;
            let key = format!("agent:main:bare-{run}");
            let params = json!({"message": task, "sessionKey": key, "idempotencyKey": key, "deliver": false});
            bare.measure(|| {
                commits.commit(1);
                assert_eq!(straight.ask("agent", &params)["payload"]["status"], "accepted");
            });
            commit.measure(|| commits.commit(1));
        }
        ours.spawn(50);
        if let Some(remote) = &mut remote {
            remote.spawn(50);
        }
    }
    compare("spawn", &bare, &ours.times);
    println!("spawn: one durable commit alone: p50 {:.0} us, p99 {:.0} us", commit.at(0.5), commit.at(0.99));
    ours.say_what_ran("");
    if let (Some(remote), Some(server)) = (&remote, &server) {
        assert_eq!(server.ask("SHOW fsync") + &server.ask("SHOW synchronous_commit"), "onon", "commits are durable");
        compare("spawn on PostgreSQL, against SQLite", &ours.times, &remote.times);
        remote.say_what_ran(" on PostgreSQL");
        assert_eq!(server.ask("SELECT count(*) FROM spawns"), remote.times.count().to_string(), "recorded there");
    }
}
