//! A daemon whose wall clock jumps by forty days, ahead and back, while everything else goes on.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _};
use serde_json::{Value, json};

use super::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use super::support::event_socket::EventSocket;
use super::support::http::{self, Answer};
use super::support::scripted_gateway::{Behaviour, Fate, Form, Memory, ScriptedGateway};
use super::support::wait;
use super::support::wall_clock::WallClock;

const DAYS: i64 = 40;
const DAY_MS: i64 = 86_400_000;
/// A daemon that has just started makes its first backup after a minute.
const FIRST_BACKUP: Duration = Duration::from_secs(60 + 45);
/// Every ten minutes old records are deleted.
const ROUND: Duration = Duration::from_secs(600 + 45);

fn gateways() -> Vec<ScriptedGateway> {
    [Form::Protocol4, Form::Protocol3, Form::Document002]
        .map(|form| ScriptedGateway::start(Behaviour::of(form, "right").runs(Memory::Keeps)))
        .into()
}

fn register(daemon: &Daemon, gateways: &[ScriptedGateway]) -> Vec<i64> {
    let ids = gateways.iter().enumerate();
    let ids: Vec<i64> = ids.map(|(at, gateway)| daemon.register(&format!("g{at}"), gateway.port(), "right")).collect();
    ids.iter().for_each(|id| drop(daemon.until_status(*id, "online")));
    ids
}

fn spawn(daemon: &Daemon, gateway: i64, task: &str, key: &str) -> Value {
    let body = json!({"task": task, "gateway_id": gateway}).to_string();
    let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json"), ("Idempotency-Key", key)];
    let sent = http::request(daemon.address(), "POST", "/api/spawn", &headers, Some(body.as_bytes()));
    let answer = sent.expect("an answer");
    assert!([200, 202].contains(&answer.status), "{}", answer.text);
    answer.json()
}

/// The spawn of this key once it has ended.
fn ended(daemon: &Daemon, gateway: i64, task: &str, key: &str) -> Value {
    wait::until_ok("it has completed", PATIENCE, || {
        let again = spawn(daemon, gateway, task, key);
        assert_eq!(again["replayed"], true, "{again}");
        if again["status"] == "completed" { Ok(again) } else { Err(again.to_string()) }
    })
}

fn session(daemon: &Daemon, cookie: &str) -> Answer {
    http::request(daemon.address(), "GET", "/api/auth/session", &[("Cookie", cookie)], None).expect("an answer")
}

fn log_in(daemon: &Daemon) -> String {
    let login = daemon.post("/api/auth/login", &json!({"api_key": ADMIN_KEY})).expect(200);
    login.header("set-cookie").expect("a cookie").split(';').next().expect("a value").to_owned()
}

/// What time it is for the daemon, Unix ms.
fn time_ms(daemon: &Daemon) -> i64 {
    daemon.get("/api/auth/session").expect(200).json()["time_ms"].as_i64().expect("a time")
}

fn audit(daemon: &Daemon) -> Vec<Value> {
    daemon.get("/api/audit?limit=200").expect(200).json()["audit"].as_array().cloned().expect("a list")
}

/// By how many seconds the clock jumped each time, newest first.
fn jumps(daemon: &Daemon) -> Vec<i64> {
    let jumps = audit(daemon).into_iter().filter(|entry| entry["action"] == "clock.jump");
    jumps.map(|entry| entry["details"]["seconds"].as_i64().expect("seconds")).collect()
}

/// Waits until it is said that the clock jumped so often since the daemon's start, and `earlier` before.
fn until_said(daemon: &Daemon, ahead: usize, back: usize, earlier: usize) {
    wait::until_ok("the jumps are said", PATIENCE, || {
        let metrics = daemon.metrics();
        let counts = |direction: &str, times: usize| {
            metrics.contains(&format!("gatewarden_clock_jumps_total{{direction=\"{direction}\"}} {times}\n"))
        };
        let logged = daemon.log().matches("the wall clock jumped; nothing is deleted for it").count();
        let audited = jumps(daemon).len() - earlier;
        let is_said = counts("ahead", ahead) && counts("back", back) && [logged, audited] == [ahead + back; 2];
        if is_said { Ok(()) } else { Err(format!("logged {logged}, audited {audited}, {metrics}")) }
    });
}

#[test]
fn gateways_stay_online_and_work_goes_on_once_while_the_clock_jumps_and_each_jump_is_said() {
    let Some(clock) = WallClock::new() else { return };
    let gateways = gateways();
    let setup = clock
        .of(Setup::new())
        .env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "3s")
        .env("GATEWARDEN_RATE_LIMIT__ENABLED", "true")
        .env("GATEWARDEN_RATE_LIMIT__GATEWAY_PER_MINUTE", "100000")
        .env("GATEWARDEN_RATE_LIMIT__SPAWN_PER_MINUTE", "100000");
    let mut daemon = setup.start();
    let ids = register(&daemon, &gateways);
    let mut events = EventSocket::open(daemon.address(), "/api/ws?types=audit", ADMIN_KEY);
    let cookie = log_in(&daemon);
    let began_ms = time_ms(&daemon);
    let body = json!({"name": "soon", "role": "viewer", "expires_at": began_ms / 1_000 + 10 * 86_400});
    let expiring = daemon.post("/api/keys", &body).expect(201).json()["api_key"].as_str().expect("a key").to_owned();
    let lets_in =
        |daemon: &Daemon| daemon.try_call(Some(&expiring), "GET", "/api/fleet", None).expect("an answer").status;
    let firsts: Vec<Value> = ids.iter().map(|id| spawn(&daemon, *id, "first", &format!("first-{id}"))).collect();
    // Under way while the clock jumps.
    let long = serde_json::to_string(&Fate { job: "long".into(), takes_ms: 8_000, ..Fate::default() }).expect("JSON");
    ids.iter().for_each(|id| drop(spawn(&daemon, *id, &long, &format!("long-{id}"))));

    let heartbeats =
        || gateways.iter().map(|gateway| gateway.record().pings + gateway.record().asked("ping")).collect::<Vec<_>>();
    for (days, ahead, back) in [(DAYS, 1, 0), (0, 1, 1), (-DAYS, 1, 2), (0, 2, 2)] {
        let before = heartbeats();
        clock.set_days_ahead(days);
        let moved_ms = time_ms(&daemon) - began_ms - days * DAY_MS;
        assert!((0..DAY_MS).contains(&moved_ms), "the clock reaches the daemon: {moved_ms}");
        until_said(&daemon, ahead, back, 0);
        wait::until_ok("each gateway is asked whether it lives", PATIENCE, || {
            let now = heartbeats();
            let all = before.iter().zip(&now).all(|(before, now)| *now >= before + 2);
            if all { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
        });
        for (id, first) in ids.iter().zip(&firsts) {
            assert_eq!(daemon.gateway(*id)["status"], "online");
            let again = ended(&daemon, *id, "first", &format!("first-{id}"));
            assert_eq!(again["spawnId"], first["spawnId"], "its key is good for a day of running time");
            let task = format!("{ahead}-{back}");
            let key = format!("{task}-{id}");
            spawn(&daemon, *id, &task, &key);
            ended(&daemon, *id, &task, &key);
        }
        // A browser's session ends at its time, and doesn't begin before it; put right, it is good again.
        let is_right = days == 0;
        assert_eq!(session(&daemon, &cookie).status, if is_right { 200 } else { 401 }, "{days}");
        assert_eq!(lets_in(&daemon), if days > 0 { 401 } else { 200 }, "{days}");
        session(&daemon, &log_in(&daemon)).expect(200);
        let told = events.until(|event| event["data"]["action"] == "clock.jump");
        assert_eq!(told["data"]["details"]["seconds"], jumps(&daemon)[0], "{told}");
    }
    for (gateway, id) in gateways.iter().zip(&ids) {
        assert_eq!(ended(&daemon, *id, &long, &format!("long-{id}"))["status"], "completed");
        let record = gateway.record();
        assert_eq!((record.attempts.len(), record.ready), (1, 1), "its connection is the first one");
        assert!(gateway.executed().values().all(|times| *times == 1), "{:?}", gateway.executed());
        assert_eq!(gateway.executed().len(), 6);
    }
    let lost = |line: &Value| line["message"] == "gateway status changed" && line["from"] == "online";
    assert!(!daemon.log_lines().iter().any(lost), "{}", daemon.log());
    assert_eq!(daemon.get("/api/spawn").expect(200).json()["total"], 18);

    // So it is between two runs. One that signs with its own time is let in once that is right.
    daemon.stop();
    clock.set_days_ahead(DAYS);
    let daemon = setup.start();
    until_said(&daemon, 1, 0, 4);
    ids[..2].iter().for_each(|id| drop(daemon.until_status(*id, "online")));
    daemon.until_code(ids[2], "device_signature_expired");
    for (id, first) in ids.iter().zip(&firsts) {
        assert_eq!(ended(&daemon, *id, "first", &format!("first-{id}"))["spawnId"], first["spawnId"]);
    }
    clock.set_days_ahead(0);
    daemon.until_status(ids[2], "online");
    assert!(gateways.iter().all(|gateway| gateway.executed().len() == 6));
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The daemon's database beside it.
struct Database(SqliteConnection);

impl Database {
    fn of(daemon: &Daemon) -> Self {
        let file = daemon.setup().database().display().to_string();
        let mut connection = SqliteConnection::establish(&file).expect("it opens");
        connection.batch_execute("PRAGMA busy_timeout = 10000").expect("set");
        Self(connection)
    }

    fn run(&mut self, sql: &str) {
        self.0.batch_execute(sql).expect("run");
    }

    fn number(&mut self, sql: &str) -> i64 {
        let rows: Vec<Number> = diesel::sql_query(format!("SELECT ({sql}) AS number")).load(&mut self.0).expect("rows");
        rows[0].number
    }

    fn count(&mut self, table: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {table}"))
    }
}

/// The backups of a daemon, oldest name first.
fn backups(daemon: &Daemon) -> Vec<PathBuf> {
    let listed = fs::read_dir(daemon.setup().state().join("backups")).into_iter().flatten();
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "db"));
    files.sort();
    files
}

fn until_backups(daemon: &Daemon, wanted: usize) -> Vec<PathBuf> {
    wait::until_ok("a backup is made", FIRST_BACKUP, || {
        let files = backups(daemon);
        if files.len() == wanted { Ok(files) } else { Err(format!("{files:?}; {}", daemon.log())) }
    })
}

#[test]
#[ignore = "waits for minutes: the step `clocks` of .ci/run runs it"]
fn backups_go_on_and_no_login_is_deleted_while_the_clock_is_wrong() {
    let Some(clock) = WallClock::new() else { return };
    let setup = clock
        .of(Setup::new())
        .env("GATEWARDEN_STORE__BACKUP_INTERVAL", "1h")
        .env("GATEWARDEN_STORE__BACKUP_KEEP", "1")
        .env("GATEWARDEN_GATEWAY__BACKOFF", "60s");
    let mut daemon = setup.start();
    let cookie = log_in(&daemon);
    let mut database = Database::of(&daemon);
    // Older than any clock says.
    database.run("INSERT INTO web_sessions SELECT 'old', key_id, key_sha256, 1, 2 FROM web_sessions");
    clock.set_days_ahead(DAYS);
    let files = until_backups(&daemon, 1);
    wait::until("ended sessions are deleted", FIRST_BACKUP, || {
        database.count("web_sessions WHERE expires_at = 2") == 0
    });
    assert_eq!(database.count("web_sessions"), 1);
    assert_eq!(session(&daemon, &cookie).status, 401);
    // The file's time is the machine's: that of the daemon's clock is put there.
    let file = fs::File::options().write(true).open(&files[0]).expect("a file");
    let made = file.metadata().and_then(|metadata| metadata.modified()).expect("a time");
    file.set_modified(made + Duration::from_secs(DAYS.unsigned_abs() * 86_400)).expect("set");

    // Put back, all that there is is dated in the future: one more is made at once, and takes no other's place.
    daemon.stop();
    clock.set_days_ahead(0);
    let daemon = setup.start();
    let both = until_backups(&daemon, 2);
    assert_eq!(both[1], files[0], "named by the time at which it was made, as the clock said");
    assert_eq!(session(&daemon, &cookie).status, 200);
    clock.set_days_ahead(-DAYS);
    assert_eq!(session(&daemon, &cookie).status, 401);
    clock.set_days_ahead(0);
    assert_eq!(session(&daemon, &cookie).status, 200);
}

#[test]
#[ignore = "waits for minutes: the step `clocks` of .ci/run runs it"]
fn nothing_is_deleted_for_a_jump_but_what_is_old_is() {
    let Some(clock) = WallClock::new() else { return };
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").runs(Memory::Keeps));
    let setup = clock
        .of(Setup::new())
        .env("GATEWARDEN_STORE__AUDIT_RETENTION", "1d")
        .env("GATEWARDEN_STORE__SPAWN_RETENTION", "1d")
        .env("GATEWARDEN_LOG__LEVEL", "warn");
    let daemon = setup.start();
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    let spawned = spawn(&daemon, id, "once", "once");
    ended(&daemon, id, "once", "once");
    let mut database = Database::of(&daemon);
    wait::until("a point is logged", PATIENCE, || database.count("health_log") > 0);
    let old_ms = time_ms(&daemon) - 200 * DAY_MS;
    database.run(&format!(
        "INSERT INTO audit_log (at_ms, actor_name, action, result) VALUES ({old_ms}, 'nobody', 'long.ago', 'ok');
         INSERT INTO token_usage (at_ms, agent, model, input_tokens, output_tokens, source) VALUES ({old_ms}, 'a', 'm', 1, 1, 'api')"
    ));
    let kept = ["health_log", "audit_log", "spawns", "idempotency_keys"];
    let before = kept.map(|table| database.count(table));
    for (days, ahead, back) in [(DAYS, 1, 0), (0, 1, 1), (-DAYS, 1, 2), (0, 2, 2), (DAYS, 3, 2)] {
        clock.set_days_ahead(days);
        until_said(&daemon, ahead, back, 0);
    }
    // Deleted in this order.
    wait::until("the round is over", ROUND, || database.count("token_usage") == 0);
    assert_eq!(database.count("audit_log WHERE action = 'long.ago'"), 0);
    for (table, before) in kept.iter().zip(before) {
        let lacking = i64::from(*table == "audit_log");
        assert!(database.count(table) >= before - lacking, "{table}");
    }
    assert_eq!(spawn(&daemon, id, "once", "once")["spawnId"], spawned["spawnId"]);
    assert_eq!(gateway.executed().values().sum::<usize>(), 1);
}
