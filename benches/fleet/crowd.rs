//! Ten thousand live gateways: what each costs in memory and processor time, and how they come back after all were lost at once,
//! while clients go on asking.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::Rest;
use crate::measured::{load_average, mebibytes, processor_time, setup};
use crate::round_trips::Times;
use crate::stored::register;
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait::{self, Stopwatch};

pub(crate) const RECORDS: usize = 10_000;
/// So many records name the same address, which spares the machine's ports and files.
pub(crate) const EACH: usize = 5;
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn crowd() {
    let daemon = setup().start();
    let empty = daemon.memory();
    let gateways: Vec<_> = (0..RECORDS / EACH).map(|_| ScriptedGateway::of(Form::Protocol4, "right")).collect();
    let watch = Stopwatch::start();
    let took = register(&daemon, RECORDS, |index| json!({"host": "127.0.0.1", "port": gateways[index / EACH].port()}));
    println!("crowd: {RECORDS} gateways registered one after another in {:.0} s", took.as_secs_f64());
    let mut rest = Rest::connect(daemon.address());
    until_online(&mut rest, RECORDS, |_, _| {});
    println!("crowd: all online {:.1} s after the first was registered", watch.elapsed().as_secs_f64());

    for minute in 1..=2 {
        let (before, watch) = (processor_time(daemon.pid()), Stopwatch::start());
        wait::holds_for("a minute at rest", Duration::from_secs(60), || true);
        let used = (processor_time(daemon.pid()) - before) / watch.elapsed().as_secs_f64();
        let full = daemon.memory();
        println!(
            "crowd: minute {minute} at rest: {:.1} MiB resident, {:.1} KiB a gateway, {:.0} % of one core; load {}",
            mebibytes(full),
            full.saturating_sub(empty) as f64 / 1024.0 / RECORDS as f64,
            100.0 * used,
            load_average()
        );
    }

    // The daemon has closed the idle connection meanwhile.
    rest = Rest::connect(daemon.address());
    for (what, by_close_frame) in [("closed", true), ("reset", false)] {
        let watch = Stopwatch::start();
        for gateway in &gateways {
            if by_close_frame { gateway.close(1012, "service restart") } else { gateway.reset() }
        }
        wait::until("the daemon has seen it", PATIENCE, || online(&mut rest) < RECORDS / 2);
        let mut times = Times::new();
        until_online(&mut rest, RECORDS, |rest, round| {
            let path =
                [format!("/api/gateways/{}", 2 + round % RECORDS), "/health".to_owned(), "/api/status".to_owned()];
            let asked = Stopwatch::start();
            let (status, answer) = rest.ask("GET", &path[round % path.len()], "");
            times.add(asked.elapsed());
            assert_eq!(status, 200, "{answer}");
        });
        println!(
            "crowd: all {what} at once: all online again after {:.1} s; REST meanwhile p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms; load {}",
            watch.elapsed().as_secs_f64(),
            times.at(0.5) / 1e3,
            times.at(0.99) / 1e3,
            times.at(1.0) / 1e3,
            load_average()
        );
    }
    println!("crowd: {:.1} MiB resident after both", mebibytes(daemon.memory()));
    let watch = Stopwatch::start();
    let (_, list) = rest.ask("GET", "/api/gateways", "");
    println!(
        "crowd: the list of all, {:.1} MiB, in {:.0} ms",
        mebibytes(list.len() as u64),
        watch.elapsed().as_secs_f64() * 1e3
    );
    println!("crowd: {:.1} MiB resident after all that", mebibytes(daemon.memory()));
    wait::holds_for("a minute at rest", Duration::from_secs(60), || true);
    println!("crowd: {:.1} MiB resident a minute later", mebibytes(daemon.memory()));
}

fn online(rest: &mut Rest) -> usize {
    let (status, answer) = rest.ask("GET", "/api/status", "");
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["gateways"]["by_status"]["online"].as_u64().and_then(|count| usize::try_from(count).ok()).expect("a count")
}

/// Until so many are online; `meanwhile` is done again and again, with the number of the round.
pub(crate) fn until_online(rest: &mut Rest, count: usize, mut meanwhile: impl FnMut(&mut Rest, usize)) {
    let mut round = 0;
    wait::until_ok("all gateways that can be are online", PATIENCE, || {
        meanwhile(rest, round);
        round += 1;
        let online = online(rest);
        if online == count { Ok(()) } else { Err(format!("{online} are")) }
    });
}
