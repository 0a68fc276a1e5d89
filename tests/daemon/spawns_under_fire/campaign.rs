//! Clients that spawn, gateways that die and are nursed back, a daemon that may be killed; then everything comes to rest.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::FINAL;
use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::dice::Dice;
use crate::support::http::{self, Answer};
use crate::support::scripted_gateway::{Behaviour, Fate, Form, Memory, Moment, ScriptedGateway, Strike, Truth};
use crate::support::wait;

/// How much of what.
pub(super) struct Plan {
    pub(super) jobs: usize,
    pub(super) clients: usize,
    /// How many spawns carry an Idempotency-Key; with one a client repeats what got no answer.
    pub(super) keyed_percent: u64,
    pub(super) crashes_of_the_daemon: usize,
}

/// One spawn as its client sees it.
pub(super) struct Job {
    pub(super) fate: Fate,
    requested: Option<i64>,
    key: Option<String>,
    to_be_killed: bool,
    /// The last answer; none where the daemon died and the client could not repeat it.
    pub(super) answer: Option<Answer>,
    /// Whether an earlier request of this job got no answer.
    pub(super) repeated: bool,
}

/// Everything at rest.
pub(super) struct Ended {
    pub(super) jobs: Vec<Job>,
    /// Records as listed, by job.
    pub(super) records: BTreeMap<String, Vec<Value>>,
    pub(super) gateways: Vec<Front>,
    pub(super) deaths: usize,
    pub(super) daemon: Daemon,
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answer = self.answer.as_ref().map(|answer| (answer.status, &answer.text));
        write!(f, "{:?}, key {:?}, repeated {}, answered {answer:?}", self.fate, self.key, self.repeated)
    }
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ended").field("jobs", &self.jobs.len()).field("deaths", &self.deaths).finish_non_exhaustive()
    }
}

/// A gateway of the campaign.
pub(super) struct Front {
    pub(super) id: i64,
    pub(super) form: Form,
    pub(super) memory: Memory,
    gateway: ScriptedGateway,
}

impl Front {
    /// How often each job was begun here, and what became of it.
    pub(super) fn jobs(&self) -> BTreeMap<String, (usize, Truth)> {
        self.gateway.jobs()
    }

    /// How often each run was begun here.
    pub(super) fn executed(&self) -> BTreeMap<String, usize> {
        self.gateway.executed()
    }
}

pub(super) struct Campaign {
    daemon: Daemon,
    fronts: Vec<Front>,
    dice: Dice,
}

impl Campaign {
    pub(super) fn new(setup: Setup, gateways: &[(Form, Memory)]) -> Self {
        let daemon = setup.start();
        let fronts: Vec<Front> = gateways
            .iter()
            .enumerate()
            .map(|(number, (form, memory))| {
                let gateway = ScriptedGateway::start(Behaviour::of(form.clone(), "right").runs(*memory));
                let id = daemon.register(&format!("front-{number}"), gateway.port(), "right");
                Front { id, form: form.clone(), memory: *memory, gateway }
            })
            .collect();
        for front in &fronts {
            daemon.until_status(front.id, "online");
        }
        Self { daemon, fronts, dice: Dice::cast() }
    }

    fn jobs(&mut self, plan: &Plan) -> Vec<Job> {
        let (dice, ids) = (&mut self.dice, self.fronts.iter().map(|front| front.id).collect::<Vec<_>>());
        let job = |number| {
            let to_be_killed = dice.percent(2);
            let strike = match dice.roll(100) {
                0..3 => Some((dice.pick(&[Moment::Read, Moment::Begun, Moment::Accepted]), Strike::Die)),
                3..7 => Some((dice.pick(&[Moment::Read, Moment::Begun, Moment::Accepted]), Strike::Reset)),
                7 => Some((Moment::Begun, Strike::Mute)),
                _ => None,
            };
            let fate = Fate {
                job: format!("job-{number}"),
                accept_after_ms: if dice.percent(10) { dice.roll(200) } else { dice.roll(10) },
                takes_ms: if to_be_killed { 4_000 } else { dice.roll(250) },
                fails: dice.percent(15),
                strike: strike.filter(|_| !to_be_killed),
            };
            Job {
                fate,
                requested: dice.percent(10).then(|| dice.pick(&ids)),
                key: dice.percent(plan.keyed_percent).then(|| format!("key-{number}")),
                to_be_killed,
                answer: None,
                repeated: false,
            }
        };
        (0..plan.jobs).map(job).collect()
    }

    /// Fights it out and waits for peace.
    pub(super) fn fight(mut self, plan: &Plan) -> Ended {
        let jobs: Vec<Mutex<Job>> = self.jobs(plan).into_iter().map(Mutex::new).collect();
        let next = AtomicUsize::new(0);
        let done = AtomicUsize::new(0);
        let address = Mutex::new(self.daemon.address());
        let may_die = plan.crashes_of_the_daemon > 0;
        let deaths = std::thread::scope(|scope| {
            for _ in 0..plan.clients {
                scope.spawn(|| {
                    while let Some(job) = jobs.get(next.fetch_add(1, Ordering::SeqCst)) {
                        spawn(&address, &mut job.lock().expect("one client a job"), may_die);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let mut crashes = 0;
            let mut deaths = 0;
            while done.load(Ordering::SeqCst) < jobs.len() && !clients_gave_up(&jobs) {
                deaths += self.strike_somebody();
                let due = jobs.len() * (crashes + 1) / (plan.crashes_of_the_daemon + 1);
                if crashes < plan.crashes_of_the_daemon && done.load(Ordering::SeqCst) >= due {
                    crashes += 1;
                    self.daemon.crash_and_restart();
                    *address.lock().expect("nobody panics with it") = self.daemon.address();
                }
            }
            deaths
        });
        let jobs: Vec<Job> = jobs.into_iter().map(|job| job.into_inner().expect("no client panicked")).collect();
        let records = self.at_rest();
        Ended { jobs, records, gateways: self.fronts, deaths, daemon: self.daemon }
    }

    /// Kills a gateway now and then, and nurses dead ones back. Says how many it found or made dead.
    fn strike_somebody(&mut self) -> usize {
        let mut deaths = 0;
        wait::holds_for("a moment of peace", Duration::from_millis(self.dice.roll(100)), || true);
        for front in &self.fronts {
            if !front.gateway.is_alive() {
                if self.dice.percent(40) {
                    deaths += 1;
                    front.gateway.revive();
                }
            } else if self.dice.percent(4) {
                front.gateway.kill();
            }
        }
        deaths
    }

    /// Waits until every record is final, and gives them all. The last strikes fall after the last answers: whoever
    /// dies of them is still nursed back.
    fn at_rest(&self) -> BTreeMap<String, Vec<Value>> {
        wait::until_ok("every spawn has ended", PATIENCE, || {
            for front in self.fronts.iter().filter(|front| !front.gateway.is_alive()) {
                front.gateway.revive();
            }
            let records = self.records();
            let open = |record: &&Value| !FINAL.contains(&record["status"].as_str().unwrap_or_default());
            match records.iter().find(open) {
                None => Ok(()),
                Some(record) => Err(format!("{record} of {}", records.iter().filter(open).count())),
            }
        });
        let mut by_job: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for record in self.records() {
            let fate: Fate =
                serde_json::from_str(record["task"].as_str().unwrap_or_default()).expect("the task is short");
            by_job.entry(fate.job).or_default().push(record);
        }
        by_job
    }

    fn records(&self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let page = self.daemon.get(&format!("/api/spawn?limit=200&offset={}", all.len())).expect(200).json();
            let page = page["history"].as_array().cloned().unwrap_or_default();
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }
}

/// A client that panicked leaves its job's lock poisoned: nobody waits for it.
fn clients_gave_up(jobs: &[Mutex<Job>]) -> bool {
    jobs.iter().any(Mutex::is_poisoned)
}

/// Spawns a job until there is an answer that settles it.
fn spawn(address: &Mutex<SocketAddr>, job: &mut Job, may_die: bool) {
    let mut body = json!({"task": serde_json::to_string(&job.fate).expect("plain")});
    if let Some(gateway) = job.requested {
        body["gateway_id"] = json!(gateway);
    }
    let body = body.to_string();
    let mut headers = vec![("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json")];
    if let Some(key) = &job.key {
        headers.push(("Idempotency-Key", key));
    }
    wait::until_ok("the spawn is answered", PATIENCE, || {
        let to = *address.lock().expect("nobody panics with it");
        match http::request(to, "POST", "/api/spawn", &headers, Some(body.as_bytes())) {
            Ok(answer) if answer.status == 503 && answer.json()["details"]["spawnId"].is_null() => {
                assert!(job.key.is_none() || may_die, "with a key every answer has a record: {}", answer.text);
                Err(answer.text)
            }
            Ok(answer) => {
                job.answer = Some(answer);
                Ok(())
            }
            Err(error) if may_die => {
                job.repeated = true;
                Err(error.to_string())
            }
            Err(error) => panic!("{} got no answer: {error}", job.fate.job),
        }
    });
    if job.answer.as_ref().is_some_and(|answer| answer.status == 503) {
        until_one_is_usable(address);
    }
    let answer = job.answer.as_ref().map(Answer::json).unwrap_or_default();
    if let (true, Some(key)) = (job.to_be_killed, answer["sessionInfo"].as_str()) {
        let kill = json!({"action": "kill", "gateway_id": answer["gateway"]["id"]}).to_string();
        let to = *address.lock().expect("nobody panics with it");
        // it may be too early or too late for it: the gateway's word tells what it did
        let _ = http::request(to, "POST", &format!("/api/sessions/{key}/control"), &headers, Some(kill.as_bytes()));
    }
}

/// A refusal comes at once: clients that went on while no gateway is usable would use up their jobs within a moment of
/// them all being dead, and whether anything ran would be chance.
fn until_one_is_usable(address: &Mutex<SocketAddr>) {
    wait::until_ok("a gateway is usable again", PATIENCE, || {
        let to = *address.lock().expect("nobody panics with it");
        match http::request(to, "GET", "/api/fleet", &[("X-API-Key", ADMIN_KEY)], None) {
            Ok(answer) if !answer.json()["acting_primary"]["id"].is_null() => Ok(()),
            Ok(answer) => Err(answer.text),
            Err(error) => Err(error.to_string()),
        }
    });
}
