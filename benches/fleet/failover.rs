//! How soon a spawn is taken elsewhere after the acting primary's socket died.

use serde_json::{Value, json};

use crate::clients::Rest;
use crate::measured::{load_average, setup};
use crate::round_trips::{Commits, Times};
use crate::support::daemon::PATIENCE;
use crate::support::scripted_gateway::{Behaviour, Fate, Form, Memory, ScriptedGateway};
use crate::support::wait::{self, Stopwatch};

const ROUNDS: usize = 100;

pub(crate) fn failover() {
    let daemon =
        setup().env("GATEWARDEN_GATEWAY__BACKOFF", "200ms").env("GATEWARDEN_ROUTING__MAX_IN_FLIGHT", "100000").start();
    let gateways: Vec<(i64, ScriptedGateway)> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").runs(Memory::Keeps));
            (daemon.register(name, gateway.port(), "right"), gateway)
        })
        .collect();
    let mut commits = Commits::open(&daemon.setup().state().join("baseline.db"));
    let mut rest = Rest::connect(daemon.address());
    let (mut times, mut commit) = (Times::new(), Times::new());
    let (mut unknown, mut refused, mut jobs) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let acting = wait::until_ok("both are there and one acts", PATIENCE, || {
            let listed = daemon.gateways();
            let ours = |one: &&Value| gateways.iter().any(|(id, _)| one["id"] == *id);
            let online = listed.iter().filter(ours).filter(|one| one["status"] == "online").count();
            let acting = listed.iter().find(|one| one["acting_primary"] == true).and_then(|one| one["id"].as_i64());
            acting.filter(|_| online == 2).ok_or(format!("{online} online"))
        });
        let (_, gateway) = gateways.iter().find(|(id, _)| *id == acting).expect("one of ours acts");
        let watch = Stopwatch::start();
        gateway.reset();
        loop {
            jobs += 1;
            let fate = Fate { job: format!("job-{jobs}"), takes_ms: 1, ..Fate::default() };
            let body = json!({"task": serde_json::to_string(&fate).expect("plain")}).to_string();
            let (status, answer) = rest.ask("POST", "/api/spawn", &body);
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            match status {
                202 if answer["gateway"]["id"] != acting => break,
                202 => {}
                504 => unknown += 1,
                _ => refused += 1,
            }
        }
        times.add(watch.elapsed());
        let watch = Stopwatch::start();
        commits.commit(1);
        commit.add(watch.elapsed());
    }
    let doubled = gateways
        .iter()
        .flat_map(|(_, gateway)| gateway.jobs())
        .fold(std::collections::BTreeMap::<String, usize>::new(), |mut all, (job, (times, _))| {
            *all.entry(job).or_default() += times;
            all
        })
        .into_values()
        .filter(|times| *times > 1)
        .count();
    println!(
        "failover: {ROUNDS} deaths of the acting primary, next spawn accepted elsewhere: p50 {:.1} ms, p99 {:.1} ms, with a durable \
         commit of p50 {:.1} ms, p99 {:.1} ms; load {}",
        times.at(0.5) / 1e3,
        times.at(0.99) / 1e3,
        commit.at(0.5) / 1e3,
        commit.at(0.99) / 1e3,
        load_average()
    );
    println!("failover: on the way {unknown} spawns with a lost answer, {refused} refused, {doubled} run twice");
}
