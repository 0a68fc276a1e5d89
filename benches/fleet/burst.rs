//! Spawns of 64 clients at once, against durable commits of one row for as many clients through one writer: each row in a commit of
//! its own, and all that wait in one.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use crate::load::{Asked, load};
use crate::measured::load_average;
use crate::median;
use crate::round_trips::{Commits, house};
use crate::support::scripted_gateway::{Fate, Memory};
use crate::support::wait::{self, Stopwatch};

const CLIENTS: usize = 64;
const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(2);

pub(crate) fn burst() {
    let (mut single, mut grouped, mut spawns) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // A house of its own for each round: the gateway lists every run that it has had.
        let (daemon, gateway) = house(crate::measured::setup());
        gateway.change(|behaviour| behaviour.runs = Some(Memory::Keeps));
        let file = |name: &str| daemon.setup().state().join(name);
        let (rate, _) = commits(file("single.db"), false);
        single.push(rate);
        let (rate, rows) = commits(file("grouped.db"), true);
        grouped.push(rate);
        let task = serde_json::to_string(&Fate { takes_ms: 1, ..Fate::default() }).expect("plain");
        let asked = Asked::post("/api/spawn", &json!({"task": task}).to_string(), 202);
        let served = load(daemon.address(), CLIENTS, SPAN, &asked);
        spawns.push(served.a_second());
        let (times, accepted) = (served.times, gateway.executed());
        println!(
            "burst: {:.0} spawns a second, p50 {:.1} ms, p99 {:.1} ms; {:.0} rows a second in commits of one, {:.0} in commits of {rows:.0}; \
             load {}",
            spawns[spawns.len() - 1],
            times.at(0.5) / 1e3,
            times.at(0.99) / 1e3,
            single[single.len() - 1],
            grouped[grouped.len() - 1],
            load_average()
        );
        assert_eq!(accepted.len(), times.count(), "each accepted spawn was begun");
        assert!(accepted.values().all(|times| *times == 1), "one was run twice");
        wait::until("every run has ended", crate::support::daemon::PATIENCE, || {
            let history = daemon.get("/api/spawn?limit=1000").expect(200).json();
            assert_eq!(history["total"], times.count(), "every spawn is recorded");
            history["history"].as_array().is_some_and(|all| all.iter().all(|one| one["status"] == "completed"))
        });
    }
    let [single, grouped, spawns] = [single, grouped, spawns].map(median);
    println!(
        "burst: spawns of {CLIENTS} clients {spawns:.0} a second: {:.0} % of {single:.0} rows a second in commits of one, {:.0} % of \
         {grouped:.0} in group commits (medians of {ROUNDS})",
        100.0 * spawns / single,
        100.0 * spawns / grouped
    );
}

/// Rows a second that so many clients get committed by one thread, each of which waits for its answer before it asks again; and rows
/// a commit.
fn commits(file: PathBuf, grouped: bool) -> (f64, f64) {
    let (ask, asked) = mpsc::channel::<oneshot::Sender<()>>();
    let writer = std::thread::spawn(move || {
        let mut commits = Commits::open(&file);
        let mut done = 0_usize;
        while let Ok(first) = asked.recv() {
            let others = asked.try_iter().take(if grouped { CLIENTS } else { 0 });
            let waiting: Vec<_> = std::iter::once(first).chain(others).collect();
            commits.commit(waiting.len());
            done += 1;
            waiting.into_iter().for_each(|client| client.send(()).expect("it waits"));
        }
        done
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (rows, took) = runtime.block_on(async {
        let watch = Stopwatch::start();
        let clients = (0..CLIENTS).map(|_| async {
            let mut rows = 0_usize;
            while watch.elapsed() < SPAN {
                let (done, is_done) = oneshot::channel();
                ask.send(done).expect("the writer waits");
                is_done.await.expect("committed");
                rows += 1;
            }
            rows
        });
        let rows: usize = futures_util::future::join_all(clients).await.into_iter().sum();
        (rows as f64, watch.elapsed().as_secs_f64())
    });
    drop(ask);
    let commits = writer.join().expect("the writer ends");
    (rows / took, rows / commits as f64)
}
