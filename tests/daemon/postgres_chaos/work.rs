//! Clients that spawn, the gateways that run it, and the truth of both held against the records.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::Addresses;
use super::faults::Fleet;
use crate::support::daemon::{ADMIN_KEY, PATIENCE};
use crate::support::dice::Dice;
use crate::support::http::{self, Answer};
use crate::support::scripted_gateway::{Behaviour, Ended, Fate, Form, Memory, ScriptedGateway, Truth};
use crate::support::wait;

/// A spawn that its client got an answer to.
pub(super) struct Job {
    name: String,
    spawn_id: String,
    status: u16,
    /// The answer tells of a record that was made for the same request before, whose end may not be known by then.
    replayed: bool,
}

/// Begins spawns until it is over, and each until it is answered.
pub(super) fn work(
    client: usize,
    mut dice: Dice,
    addresses: &Addresses,
    gateways: &[i64],
    over: &AtomicBool,
    jobs: &Mutex<Vec<Job>>,
) {
    let mut number = 0;
    let mut at = client;
    while !over.load(Ordering::SeqCst) {
        number += 1;
        let fate = Fate {
            job: format!("job-{client}-{number}"),
            takes_ms: dice.roll(300),
            fails: dice.percent(10),
            ..Fate::default()
        };
        let body = json!({"task": serde_json::to_string(&fate).expect("plain"), "gateway_id": dice.pick(gateways)});
        let answer = wait::until_ok("the spawn is answered", 3 * PATIENCE, || {
            let to = addresses.lock().expect("nobody panics with it")[at % 3];
            let answer = to.ok_or_else(|| "it has ended".to_owned()).and_then(|to| spawn(to, &fate.job, &body));
            answer.inspect_err(|_| at += 1)
        });
        let said = answer.json();
        let spawn_id = [&said["spawnId"], &said["details"]["spawnId"]].into_iter().find_map(Value::as_str);
        let spawn_id = spawn_id.unwrap_or_else(|| panic!("no spawn in {}", answer.text)).to_owned();
        if dice.percent(5) {
            // Sent again to all nodes, it is the same spawn wherever it is answered.
            let all = *addresses.lock().expect("nobody panics with it");
            for again in all.into_iter().flatten().filter_map(|to| spawn(to, &fate.job, &body).ok()) {
                assert!(again.text.contains(&spawn_id), "{} is {spawn_id}: {}", fate.job, again.text);
            }
        }
        let (status, replayed) = (answer.status, said["replayed"] == true);
        jobs.lock().expect("nobody panics with it").push(Job { name: fate.job, spawn_id, status, replayed });
        wait::holds_for("a breath", Duration::from_millis(20), || true);
    }
}

/// The answer, if it settles what became of the request.
fn spawn(to: SocketAddr, key: &str, body: &Value) -> Result<Answer, String> {
    let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json"), ("Idempotency-Key", key)];
    let answer = http::request(to, "POST", "/api/spawn", &headers, Some(body.to_string().as_bytes()));
    let answer = answer.map_err(|error| error.to_string())?;
    let is_settled = answer.status == 202 || answer.json()["details"]["spawnId"].is_string();
    if is_settled { Ok(answer) } else { Err(format!("{} {}", answer.status, answer.text)) }
}

/// The gateways.
pub(super) struct Fronts(Vec<(i64, ScriptedGateway)>);

impl Fronts {
    pub(super) fn register(fleet: &Fleet<'_>) -> Self {
        let daemon = fleet.acting_daemon();
        // The first is held by whichever node acts, the others by one each.
        let front = |(form, node): (Form, Option<&str>)| {
            let gateway = ScriptedGateway::start(Behaviour::of(form, "right").runs(Memory::Keeps));
            let name = format!("front-{}", node.unwrap_or("any"));
            let body = json!({
                "name": name, "host": "127.0.0.1", "port": gateway.port(), "token": "right", "node": node,
            });
            (daemon.register_with(&body), gateway)
        };
        let forms = [(Form::Protocol4, None), (Form::Protocol3, Some("b")), (Form::Protocol4, Some("c"))];
        let fronts = Self(forms.into_iter().map(front).collect());
        fronts.ids().into_iter().for_each(|id| drop(daemon.until_status(id, "online")));
        fronts
    }

    pub(super) fn ids(&self) -> Vec<i64> {
        self.0.iter().map(|(id, _)| *id).collect()
    }

    /// Records against answers and against what the gateways did.
    pub(super) fn judge(&self, fleet: &Fleet<'_>, jobs: &[Job]) {
        let daemon = fleet.acting_daemon();
        for (id, gateway) in &self.0 {
            daemon.until_status(*id, "online");
            wait::until_ok("it has one socket", PATIENCE, || match gateway.record().ready {
                1 => Ok(()),
                other => Err(format!("gateway {id} has {other}")),
            });
        }
        let open = "SELECT count(*) FROM spawns WHERE completed_at_ms IS NULL";
        wait::until_ok("every spawn has ended", PATIENCE, || match fleet.server.ask(open).as_str() {
            "0" => Ok(()),
            other => Err(format!("{other} are open")),
        });
        // Requests that reached a gateway, whether it began them or knew them already.
        let mut reached = BTreeMap::<String, usize>::new();
        for (_, gateway) in &self.0 {
            for (method, params) in gateway.record().requests {
                if let (true, Some(id)) =
                    (["agent", "chat.send"].contains(&method.as_str()), params["idempotencyKey"].as_str())
                {
                    *reached.entry(id.to_owned()).or_default() += 1;
                }
            }
        }
        let twice: Vec<_> = reached.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "sent twice: {twice:?}");

        let done: BTreeMap<String, (usize, Truth)> = self.0.iter().flat_map(|(_, gateway)| gateway.jobs()).collect();
        let rows = fleet.server.ask("SELECT spawn_id || ' ' || state FROM spawns");
        let records: BTreeMap<&str, &str> = rows.lines().filter_map(|line| line.split_once(' ')).collect();
        let known: BTreeSet<&str> = jobs.iter().map(|job| job.spawn_id.as_str()).collect();
        assert_eq!(known.len(), jobs.len(), "two jobs have one record");
        let strangers: Vec<_> = records.keys().filter(|id| !known.contains(*id)).collect();
        assert!(strangers.is_empty(), "recorded beside what was answered: {strangers:?}");
        let mut counts = BTreeMap::<(u16, &str, &str), usize>::new();
        for job in jobs {
            let state = records.get(job.spawn_id.as_str()).unwrap_or_else(|| panic!("{} has no record", job.name));
            let (times, what) = match done.get(&job.name) {
                None => (0, "never ran"),
                Some((times, Truth::Ended(Ended::Well(_)))) => (*times, "ran well"),
                Some((times, _)) => (*times, "ran badly"),
            };
            assert!(times <= 1, "{} ran {times} times", job.name);
            let expected: &[&str] = match what {
                "ran well" => &["completed"],
                "ran badly" => &["failed"],
                _ if fleet.was_spared() => &["failed"],
                _ => &["failed", "lost"],
            };
            assert!(
                expected.contains(state),
                "{} of {} was answered {}, {what} and is {state}:\n{}",
                job.spawn_id,
                job.name,
                job.status,
                fleet.words_on(&job.spawn_id)
            );
            // The node that passed it on may have died together with the gateway's connection that it held.
            let is_explained = *state == "lost" || job.replayed && *state == "failed";
            assert!(
                job.status != 202 || what != "never ran" || is_explained,
                "{} was taken, and {what}:\n{}",
                job.name,
                fleet.words_on(&job.spawn_id)
            );
            *counts.entry((job.status, state, what)).or_default() += 1;
        }
        println!("{} spawns: {counts:?}", jobs.len());
        let well = counts.iter().filter(|((.., what), _)| *what == "ran well").map(|(_, count)| count).sum::<usize>();
        assert!(well > 5, "too little came through to mean anything");
    }
}
