//! A storm: gateways with faults at random, clients that come and go, and work, for as long as it is told; then everything is well
//! again. What the daemon holds is printed each half minute, and at the end compared with what it held before. Run by hand:
//! `cargo bench --bench storm -- --minutes 60 --seed 7`, or with `--profile dev` for counts without the long build.
//!
//! The seed decides what happens to which gateway and in which order; when exactly, the machine does.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark is run by hand, says what it finds and may end at the first surprise"
)]

#[path = "storm/clients.rs"]
mod clients;
#[path = "storm/faults.rs"]
mod faults;
#[path = "fleet/measured.rs"]
mod measured;
#[path = "storm/readings.rs"]
mod readings;

#[path = "../tests/daemon/support"]
mod support {
    #![expect(
        dead_code,
        unused_imports,
        reason = "the partners are shared with the black-box tests, which use all of them"
    )]
    pub(crate) mod background;
    pub(crate) mod daemon;
    pub(crate) mod dice;
    pub(crate) mod http;
    pub(crate) mod ports;
    pub(crate) mod scripted_gateway;
    pub(crate) mod wait;
}

use std::collections::BTreeMap;
use std::time::Duration;

use clients::Clients;
use faults::Target;
use measured::{load_average, mebibytes, processor_time, setup};
use readings::{Reading, slope};
use support::daemon::Daemon;
use support::dice::Dice;
use support::wait::{self, Stopwatch};

/// The defaults of the daemon.
const HEARTBEAT: Duration = Duration::from_secs(30);
const BETWEEN_READINGS: Duration = Duration::from_secs(30);
/// All connections are lost at once as often as this.
const BETWEEN_DROPS: Duration = Duration::from_secs(240);
/// So many wrong statuses are shown in full.
const SHOWN: usize = 5;

fn main() {
    measured::with_many_files();
    let seed = argument("--seed").unwrap_or_else(|| getrandom::u64().expect("the system has randomness") % 1_000_000);
    let minutes = argument("--minutes").unwrap_or(60);
    let count = argument("--gateways").unwrap_or(1_000);
    println!("storm: --seed {seed} --minutes {minutes} --gateways {count}; load {}", load_average());
    let mut dice = Dice::of(seed);
    // A busy machine is not a slow gateway.
    let patient = setup().env("GATEWARDEN_GATEWAY__DEGRADED_LATENCY", "10s");
    let daemon = patient.env("GATEWARDEN_ROUTING__LOST_AFTER", "60s").start();
    let mut targets: Vec<Target> = (0..count).map(|number| Target::register(&daemon, number)).collect();
    all_right(&daemon, &targets, Duration::from_secs(300));
    wait::holds_for("a minute at rest", Duration::from_secs(60), || true);
    let before = Reading::of(&daemon, Duration::ZERO);
    println!("storm: before: {before}");

    let clients = Clients::come(daemon.address(), targets.iter().map(Target::id).collect(), &mut dice);
    let used = processor_time(daemon.pid());
    let (readings, wrong) = blow(&daemon, &mut targets, Duration::from_secs(60 * minutes), &mut dice);
    let answers = clients.go();
    let used = (processor_time(daemon.pid()) - used) / (60.0 * minutes as f64);
    println!("storm: {:.0} % of one core; answers {answers:?}", 100.0 * used);
    let now = Duration::from_secs(60 * minutes);
    for target in &mut targets {
        target.heal(now);
    }
    let calm = Stopwatch::start();
    all_right(&daemon, &targets, 20 * HEARTBEAT);
    let healed = calm.elapsed();
    wait::until_ok("every spawn has ended", Duration::from_secs(900), || {
        let open = Reading::of(&daemon, now).gauge("gatewarden_spawns_open");
        if open == 0.0 { Ok(()) } else { Err(format!("{open} are open")) }
    });
    wait::holds_for("a minute at rest", Duration::from_secs(60), || true);
    let after = Reading::of(&daemon, now);
    println!("storm: after: {after}");

    let mut complaints = Vec::new();
    let mut check = |holds: bool, complaint: String| {
        if !holds {
            complaints.push(complaint);
        }
    };
    let (grows, error) = slope(&readings[readings.len() / 2..]);
    println!("storm: memory over the second half: {grows:+.1} KiB a minute, standard error {error:.1}");
    println!(
        "storm: {:.1} MiB before, {:.1} MiB after: {:.2} x; every status right {:.0} s after the last fault; load {}",
        mebibytes(before.memory),
        mebibytes(after.memory),
        after.memory as f64 / before.memory as f64,
        healed.as_secs_f64(),
        load_average()
    );
    check(healed <= 3 * HEARTBEAT, format!("statuses were right after {healed:?} only"));
    check(wrong == 0, format!("{wrong} times a status was wrong for more than three heartbeats"));
    check(after.files <= before.files, format!("{} open files, {} before", after.files, before.files));
    check(after.threads <= before.threads, format!("{} threads, {} before", after.threads, before.threads));
    for name in readings::BACK_AT_REST {
        let (was, is) = (before.gauge(name), after.gauge(name));
        check(is <= was, format!("{name} is {is}, was {was}"));
    }
    for name in readings::NEVER {
        check(after.gauge(name) == 0.0, format!("{name} is {}", after.gauge(name)));
    }
    let doubled: usize = targets.iter().map(Target::run_twice).sum();
    check(doubled == 0, format!("{doubled} spawns were run twice"));
    let odd = answers.iter().filter(|(what, _)| clients::is_odd(what)).collect::<Vec<_>>();
    check(odd.is_empty(), format!("answers that the documentation doesn't have: {odd:?}"));
    for complaint in &complaints {
        println!("storm: NOT AS IT SHOULD BE: {complaint}");
    }
    println!("storm: seed {seed}: {}", if complaints.is_empty() { "everything is as before" } else { "see above" });
    // An exit ends nobody else.
    drop(daemon);
    std::process::exit(i32::from(!complaints.is_empty()));
}

fn argument(name: &str) -> Option<u64> {
    let value = std::env::args().skip_while(|one| one != name).nth(1)?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}

/// The storm itself: its readings, and how often a status was wrong.
fn blow(daemon: &Daemon, targets: &mut [Target], span: Duration, dice: &mut Dice) -> (Vec<Reading>, usize) {
    let watch = Stopwatch::start();
    let (mut readings, mut all_wrong) = (Vec::new(), 0);
    let mut drops = 0;
    for target in targets.iter_mut() {
        target.wait_for_fault(Duration::ZERO, dice);
    }
    while watch.elapsed() < span {
        for target in targets.iter_mut() {
            let now = watch.elapsed();
            if target.is_due(now) {
                target.turn(now, dice);
            }
        }
        let now = watch.elapsed();
        if now > BETWEEN_DROPS * (drops + 1) {
            drops += 1;
            let by_close_frame = dice.percent(50);
            targets.iter_mut().for_each(|target| target.drop_connection(now, by_close_frame));
            println!("storm: {:5.0} s: all connections lost at once", now.as_secs_f64());
        }
        let due = BETWEEN_READINGS * (1 + u32::try_from(readings.len()).expect("few"));
        if now > due {
            let wrong = wrong(daemon, targets, now);
            let reading = Reading::of(daemon, now);
            let ill = targets.iter().filter(|target| target.is_ill()).count();
            println!("storm: {:5.0} s: {reading}, {ill} with a fault, {} wrong", now.as_secs_f64(), wrong.len());
            wrong.iter().take(SHOWN).for_each(|one| println!("storm:     {one}"));
            all_wrong += wrong.len();
            readings.push(reading);
        }
        wait::holds_for("a moment", Duration::from_millis(100), || true);
    }
    (readings, all_wrong)
}

/// Statuses that are not what they should be, of gateways that nothing has happened to for three heartbeats.
fn wrong(daemon: &Daemon, targets: &[Target], now: Duration) -> Vec<String> {
    let listed = daemon.gateways();
    let by_id: BTreeMap<_, _> = listed.iter().filter_map(|one| Some((one["id"].as_i64()?, one))).collect();
    let judge = |target: &Target| {
        let shown = by_id[&target.id()];
        let may_be_online = target.expected(now, 3 * HEARTBEAT)?;
        let is_online = shown["status"] == "online";
        (is_online != may_be_online).then(|| {
            format!("{} is {} ({}), {}", shown["name"], shown["status"], shown["last_error"]["code"], target.story(now))
        })
    };
    targets.iter().filter_map(judge).collect()
}

fn all_right(daemon: &Daemon, targets: &[Target], limit: Duration) {
    wait::until_ok("every gateway is online", limit, || {
        let answer = daemon.get("/api/status").expect(200).json();
        let online = answer["gateways"]["by_status"]["online"].as_u64().unwrap_or(0);
        if online == targets.len() as u64 {
            return Ok(());
        }
        let listed = daemon.gateways();
        let others = listed.iter().filter(|one| one["status"] != "online" && one["name"] != "seeded");
        let shown: Vec<_> = others
            .take(SHOWN)
            .map(|one| {
                let story = targets.iter().find(|target| one["id"] == target.id()).map(Target::last_fault);
                format!("{} {} {} {story:?}", one["name"], one["status"], one["last_error"])
            })
            .collect();
        Err(format!("{online} are; {shown:?}"))
    });
}
