//! The daemon is killed again and again, at random moments, while clients change gateways and keys and give work. What it
//! acknowledged is there after each start, and every spawn comes to an end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::{Value, json};

use crate::spawns_under_fire::FINAL;
use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::dice::Dice;
use crate::support::http::{self, Answer};
use crate::support::scripted_gateway::{Behaviour, Fate, Form, Memory, ScriptedGateway};
use crate::support::wait::{self, Stopwatch};

/// Rounds, unless `GATEWARDEN_KILL_ROUNDS` says how many. The goal (1,000) is reached by hand: `benches/README.md`.
const ROUNDS: u64 = 12;
/// Clients of each kind.
const WRITERS: usize = 2;
/// Records that a client keeps of its kind, so that the fleet stays small.
const KEPT: usize = 6;
/// A gateway tells all runs that it ever had with each list: another one takes its place after so many rounds.
const ROUNDS_OF_A_GATEWAY: u64 = 20;

#[derive(QueryableByName)]
struct Integrity {
    #[diesel(sql_type = Text)]
    integrity_check: String,
}

fn integrity(setup: &Setup) -> String {
    let mut connection = SqliteConnection::establish(&setup.database().to_string_lossy()).expect("the database opens");
    let rows: Vec<Integrity> = diesel::sql_query("PRAGMA integrity_check").load(&mut connection).expect("it answers");
    rows.into_iter().map(|row| row.integrity_check).collect()
}

fn send(to: SocketAddr, method: &str, path: &str, body: &Value, key: Option<&str>) -> std::io::Result<Answer> {
    let mut headers = vec![("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json")];
    headers.extend(key.map(|key| ("Idempotency-Key", key)));
    let text = body.to_string();
    loop {
        let answer = http::request(to, method, path, &headers, Some(text.as_bytes()))?;
        match answer.json()["code"].as_str() {
            // A disk that stalls for seconds: it was not done, the daemon says.
            Some("store_unavailable") => {}
            // It may be done yet: as if the answer had not come.
            Some("outcome_unknown") => return Err(std::io::ErrorKind::TimedOut.into()),
            _ => return Ok(answer),
        }
    }
}

/// What one client knows of its own records, as acknowledged: by name, or by id for keys.
#[derive(Debug, Default)]
struct Known {
    /// Gateways: id and priority.
    gateways: BTreeMap<String, (i64, i64)>,
    /// Keys: their text.
    keys: BTreeMap<i64, String>,
    revoked: BTreeSet<i64>,
    /// Spawns: what was asked under which idempotency key, and the spawn's id.
    spawns: BTreeMap<String, (Value, String)>,
    /// What was under way when the daemon died: it may or may not show.
    uncertain: Option<String>,
    /// Acknowledged changes.
    count: usize,
}

/// What clients of a round are told.
struct Round<'a> {
    to: SocketAddr,
    name: &'a str,
    /// Clients with an acknowledgement.
    begun: &'a AtomicUsize,
}

impl Known {
    fn acknowledged(&mut self, round: &Round<'_>, first: &mut bool) {
        self.uncertain = None;
        self.count += 1;
        if std::mem::take(first) {
            round.begun.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn write_gateways(&mut self, round: &Round<'_>) -> std::io::Result<()> {
        let mut first = true;
        for step in 0.. {
            let name = format!("{}-{step}", round.name);
            self.uncertain = Some(name.clone());
            let body = json!({"name": name, "host": "127.0.0.1", "port": 1, "token": "tok"});
            let made = send(round.to, "POST", "/api/gateways", &body, None)?.expect(201).json();
            let id = made["gateway"]["id"].as_i64().expect("an id");
            self.gateways.insert(name.clone(), (id, 0));
            self.acknowledged(round, &mut first);
            self.uncertain = Some(name.clone());
            send(round.to, "PUT", "/api/gateways", &json!({"id": id, "priority": step + 1}), None)?.expect(200);
            self.gateways.insert(name, (id, step + 1));
            self.acknowledged(round, &mut first);
            while self.gateways.len() > KEPT {
                let oldest = self.gateways.iter().min_by_key(|(_, (id, _))| *id).expect("there is one");
                let (name, id) = (oldest.0.clone(), oldest.1.0);
                self.uncertain = Some(name.clone());
                send(round.to, "DELETE", "/api/gateways", &json!({"id": id}), None)?.expect(200);
                self.gateways.remove(&name);
                self.acknowledged(round, &mut first);
            }
        }
        Ok(())
    }

    fn write_keys(&mut self, round: &Round<'_>) -> std::io::Result<()> {
        let mut first = true;
        for step in 0.. {
            let body = json!({"name": format!("{}-{step}", round.name), "role": "viewer"});
            let made = send(round.to, "POST", "/api/keys", &body, None)?.expect(201).json();
            let id = made["key"]["id"].as_i64().expect("an id");
            self.keys.insert(id, made["api_key"].as_str().expect("a key").to_owned());
            self.acknowledged(round, &mut first);
            if self.keys.len() > KEPT {
                let (id, _) = self.keys.pop_first().expect("there is one");
                send(round.to, "DELETE", &format!("/api/keys/{id}"), &Value::Null, None)?.expect(200);
                self.revoked.insert(id);
                self.acknowledged(round, &mut first);
            }
        }
        Ok(())
    }

    fn spawn(&mut self, round: &Round<'_>, gateway: i64) -> std::io::Result<()> {
        let mut first = true;
        for step in 0.. {
            let key = format!("{}-{step}", round.name);
            let fate = Fate { job: key.clone(), takes_ms: step % 50, ..Fate::default() };
            let body = json!({"task": serde_json::to_string(&fate).expect("plain"), "gateway_id": gateway});
            let answer = send(round.to, "POST", "/api/spawn", &body, Some(&key))?;
            if answer.status == 202 {
                let id = answer.json()["spawnId"].as_str().expect("an id").to_owned();
                self.spawns.insert(key, (body, id));
                self.acknowledged(round, &mut first);
            }
        }
        Ok(())
    }

    /// Everything acknowledged is as it was. What was uncertain is from here on as the daemon says.
    fn check(
        &mut self,
        daemon: &Daemon,
        own: &str,
        gateways: &BTreeMap<String, (i64, i64)>,
        keys: &BTreeMap<i64, String>,
    ) {
        let uncertain = self.uncertain.take();
        for (name, row) in self.gateways.iter().filter(|(name, _)| uncertain.as_ref() != Some(name)) {
            assert_eq!(gateways.get(name), Some(row), "{name}");
        }
        let is_own = |(name, _): &(&String, &(i64, i64))| name.starts_with(own);
        self.gateways = gateways.iter().filter(is_own).map(|(name, row)| (name.clone(), *row)).collect();
        for (id, text) in &self.keys {
            assert!(keys.contains_key(id), "key {id} is not there");
            assert_eq!(
                daemon.try_call(Some(text), "GET", "/api/status", None).expect("an answer").status,
                200,
                "key {id}"
            );
        }
        let back: Vec<_> = self.revoked.iter().filter(|id| keys.contains_key(id)).collect();
        assert!(back.is_empty(), "revoked keys are there: {back:?}");
        // Made without an answer, or revoked without one.
        for (id, _) in keys.iter().filter(|(id, name)| name.starts_with(own) && !self.keys.contains_key(id)) {
            daemon.call("DELETE", &format!("/api/keys/{id}"), None).expect(200);
            self.revoked.insert(*id);
        }
        for (key, (body, id)) in std::mem::take(&mut self.spawns) {
            let again = send(daemon.address(), "POST", "/api/spawn", &body, Some(&key)).expect("an answer");
            let said = again.json();
            assert_eq!(
                (said["replayed"].as_bool(), said["spawnId"].as_str()),
                (Some(true), Some(id.as_str())),
                "{said}"
            );
        }
    }
}

/// Those of the newest spawns that have no end.
fn open_spawns(daemon: &Daemon, newest: usize) -> Vec<Value> {
    let page = daemon.get(&format!("/api/spawn?limit={newest}")).expect(200).json();
    let all = page["history"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|one| !FINAL.contains(&one["status"].as_str().unwrap_or_default())).collect()
}

fn kill_at_start(setup: &Setup, dice: &mut Dice) {
    let mut child = setup.prepared().spawn().expect("the binary starts");
    pass(Duration::from_micros(dice.roll(400_000)));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

/// Short moments, not in steps.
fn pass(span: Duration) {
    let watch = Stopwatch::start();
    while watch.elapsed() < span {
        std::thread::yield_now();
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_daemon_is_killed_under_concurrent_writers() {
    let rounds = std::env::var("GATEWARDEN_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let mut dice = Dice::cast();
    let setup = Setup::new().env("GATEWARDEN_LOG__LEVEL", "warn").env("GATEWARDEN_ROUTING__LOST_AFTER", "2s");
    let mut daemon = setup.start();
    let identity = daemon.get("/api/identity").expect(200).json();
    let behaviour = || Behaviour::of(Form::Protocol4, "right").runs(Memory::Keeps);
    let mut worker = ScriptedGateway::start(behaviour());
    let worker_id = daemon.register("worker", worker.port(), "right");
    let mut known: Vec<Known> = std::iter::repeat_with(Known::default).take(3 * WRITERS).collect();
    let (mut starts_cut_off, mut spawns) = (0, 0);
    for number in 0..rounds {
        if number % ROUNDS_OF_A_GATEWAY == ROUNDS_OF_A_GATEWAY - 1 {
            worker = ScriptedGateway::start(behaviour());
            daemon.update(&json!({"id": worker_id, "port": worker.port()})).expect(200);
        }
        daemon.until_status(worker_id, "online");
        let (to, begun) = (daemon.address(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for (writer, known) in known.iter_mut().enumerate() {
                let begun = &begun;
                scope.spawn(move || {
                    let round = Round { to, name: &format!("w{writer}-r{number}"), begun };
                    // It ends with the daemon's death, or with an answer that says nothing.
                    let _ = match writer % 3 {
                        0 => known.write_gateways(&round),
                        1 => known.write_keys(&round),
                        _ => known.spawn(&round, worker_id),
                    };
                    begun.fetch_add(1, Ordering::SeqCst);
                });
            }
            wait::until("every client has an acknowledgement", PATIENCE, || {
                begun.load(Ordering::SeqCst) >= 3 * WRITERS
            });
            pass(Duration::from_micros(dice.roll(250_000)));
            daemon.kill();
        });
        while dice.percent(20) {
            starts_cut_off += 1;
            kill_at_start(&setup, &mut dice);
        }
        assert_eq!(integrity(&setup), "ok", "round {number}");
        daemon = setup.start();
        let number_of = |row: &Value, field: &str| row[field].as_i64().expect("a number");
        let listed = daemon.gateways();
        let gateways = listed
            .iter()
            .map(|one| {
                (one["name"].as_str().expect("a name").to_owned(), (number_of(one, "id"), number_of(one, "priority")))
            })
            .collect();
        let keys = daemon.get("/api/keys").expect(200).json();
        let keys = keys["keys"].as_array().expect("a list").iter();
        let keys = keys.map(|one| (number_of(one, "id"), one["name"].as_str().expect("a name").to_owned())).collect();
        spawns += known.iter().map(|known| known.spawns.len()).sum::<usize>();
        for (writer, known) in known.iter_mut().enumerate() {
            known.check(&daemon, &format!("w{writer}-"), &gateways, &keys);
        }
        assert_eq!(daemon.get("/api/identity").expect(200).json(), identity, "round {number}");
        wait::until_ok("every spawn has ended", PATIENCE, || {
            let open = open_spawns(&daemon, 200);
            if open.is_empty() { Ok(()) } else { Err(format!("round {number}: {open:?}")) }
        });
        let doubled: Vec<_> = worker.executed().into_iter().filter(|(_, times)| *times > 1).collect();
        assert!(doubled.is_empty(), "round {number}: run twice: {doubled:?}");
        let devices: BTreeSet<_> =
            worker.record().attempts.iter().filter_map(|one| one.device_id().map(str::to_owned)).collect();
        assert_eq!(devices.len(), 1, "round {number}: another device identity: {devices:?}");
        if number % 50 == 49 || number + 1 == rounds {
            let count: usize = known.iter().map(|known| known.count).sum();
            println!(
                "{} rounds, {starts_cut_off} starts cut off, {count} acknowledged changes, {spawns} spawns among them",
                number + 1
            );
        }
    }
    assert_eq!(open_spawns(&daemon, 200), Vec::<Value>::new());
}
