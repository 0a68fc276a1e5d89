//! What stored gateways cost of which nothing is heard: the list that a client has already, and the start.
//!
//! Nobody listens at their addresses, and after the first refusal the daemon leaves them alone for an hour: so nothing changes, no
//! heartbeat is measured with it, and no gateways of the benchmark's own take its processor.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::Rest;
use crate::load::{Asked, load};
use crate::measured::{load_average, mebibytes, setup};
use crate::median;
use crate::support::daemon::{Daemon, Setup};
use crate::support::wait::{self, Stopwatch};

const FEW: usize = 10;
const MANY: usize = 10_000;
const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(300);

/// Registers so many gateways one after another, each with its address (and node); how long that took.
pub(crate) fn register(daemon: &Daemon, count: usize, at: impl Fn(usize) -> Value) -> Duration {
    let (watch, mut rest) = (Stopwatch::start(), Rest::connect(daemon.address()));
    for index in 0..count {
        let mut body = at(index);
        body["name"] = json!(format!("gateway-{index:05}"));
        body["token"] = json!("right");
        let (status, answer) = rest.ask("POST", "/api/gateways", &body.to_string());
        assert_eq!(status, 201, "{answer}");
    }
    watch.elapsed()
}

/// A daemon with so many gateways that it has tried and leaves alone, and the tag of its list.
fn at_rest(count: usize) -> (Daemon, String) {
    let daemon = setup().env("GATEWARDEN_GATEWAY__BACKOFF", "1h").start();
    // Each at a host of its own, as in a real fleet: addresses share budgets.
    let took = register(
        &daemon,
        count,
        |index| json!({"host": format!("127.1.{}.{}", index / 250, 1 + index % 250), "port": 1}),
    );
    println!("stored: {count} gateways registered one after another in {:.1} s", took.as_secs_f64());
    let tag = || daemon.get("/api/gateways?limit=1").expect(200).header("etag").expect("a tag").to_owned();
    let (mut last, mut same) = (tag(), Stopwatch::start());
    wait::until("nothing has changed for 5 s", PATIENCE, || {
        let now = tag();
        if now != last {
            (last, same) = (now, Stopwatch::start());
        }
        same.elapsed() > Duration::from_secs(5)
    });
    (daemon, last)
}

pub(crate) fn list() {
    let fleets = [FEW, MANY].map(|count| (count, at_rest(count)));
    let known = fleets.each_ref().map(|(_, (_, tag))| {
        Asked::get("/api/gateways", &format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n"), 304)
    });
    let mut rates = [Vec::new(), Vec::new()];
    let mut sent = [0; 2];
    for _ in 0..ROUNDS {
        for (at, (_, (daemon, _))) in fleets.iter().enumerate() {
            let served = load(daemon.address(), 32, SPAN, &known[at]);
            rates[at].push(served.a_second());
            sent[at] = served.bytes_each();
        }
    }
    println!(
        "list: unchanged, 32 connections: with {FEW} gateways {:.0?} a second, {} bytes each; with {MANY} {:.0?}, {} bytes each; \
         load {}",
        rates[0],
        sent[0],
        rates[1],
        sent[1],
        load_average()
    );
    let [few, many] = rates.map(median);
    println!("list: unchanged, with {MANY} gateways {:.2} x the time of {FEW} (medians)", few / many);
    for (count, (daemon, tag)) in &fleets {
        assert_eq!(daemon.get("/api/gateways?limit=1").header("etag"), Some(tag.as_str()), "it has changed meanwhile");
        let whole = load(daemon.address(), 1, SPAN, &Asked::get("/api/gateways", "", 200));
        let packed = load(daemon.address(), 1, SPAN, &Asked::get("/api/gateways", "Accept-Encoding: gzip\r\n", 200));
        println!(
            "list: the whole of {count}: {} bytes in p50 {:.2} ms, compressed {} bytes in p50 {:.2} ms",
            whole.bytes_each(),
            whole.times.at(0.5) / 1e3,
            packed.bytes_each(),
            packed.times.at(0.5) / 1e3
        );
    }
}

pub(crate) fn start() {
    for count in [1_000, MANY] {
        let (mut daemon, _) = at_rest(count);
        daemon.stop();
        let setup = daemon.setup().clone();
        report(count, "of which nothing is heard", &setup);
        let daemon = setup.start();
        assert_eq!(daemon.get("/api/gateways?limit=1").json()["total"], count + 1, "with the seeded one");
        println!("start: {:.1} MiB resident with {count} stored", mebibytes(daemon.memory()));
    }
}

/// Starts the daemon on what is stored there some times, and prints how long each took.
pub(crate) fn report(count: usize, which: &str, setup: &Setup) {
    let times: Vec<f64> = (0..ROUNDS).map(|_| exec_to_first_200(setup).as_secs_f64() * 1e3).collect();
    println!(
        "start: {count} gateways stored {which}, exec to first 200 on /health: median {:.0} ms of {times:.0?}; load {}",
        median(times.clone()),
        load_average()
    );
}

/// Waits for the line that says where it listens without looking at a clock, so that the time is exact; stops it afterwards.
fn exec_to_first_200(setup: &Setup) -> Duration {
    let watch = Stopwatch::start();
    let mut child = setup.prepared().stderr(Stdio::null()).spawn().expect("the binary starts");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address = said.find_map(|line| Some(line.ok()?.strip_prefix("listening on http://")?.trim().to_owned()));
    let mut rest = Rest::connect(address.and_then(|address| address.parse().ok()).expect("it listens"));
    let (status, answer) = rest.ask("GET", "/health", "");
    let took = watch.elapsed();
    assert_eq!(status, 200, "{answer}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let ended = child.wait().expect("it ends");
    assert!(ended.success(), "{ended}");
    took
}
