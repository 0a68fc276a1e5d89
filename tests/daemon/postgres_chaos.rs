//! Three nodes on one PostgreSQL, faults drawn from a seed, and clients that send a spawn again until it is answered. Whatever happens:
//! a spawn reaches a gateway once, ends, and is written by the node that acts; outages of the server move nothing; nothing is left behind.
//!
//! Forty seconds with a fixed seed; `GATEWARDEN_CHAOS_MINUTES=60` for longer with a seed of its own, which is printed.
//! `GATEWARDEN_TEST_SEED` repeats the faults of a run.

mod faults;
mod work;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::faults::Fleet;
use self::work::{Fronts, Job, work};
use crate::support::dice::Dice;
use crate::support::postgres_server::Server;
use crate::support::wait::Stopwatch;

/// A client's view of who there is: where each node listens.
type Addresses = Mutex<[Option<std::net::SocketAddr>; 3]>;

const CLIENTS: usize = 3;

#[test]
fn three_nodes_under_faults_run_each_spawn_once_and_leave_nothing_behind() {
    let Some(server) = Server::start() else { return };
    let minutes: Option<f64> = std::env::var("GATEWARDEN_CHAOS_MINUTES").ok().and_then(|text| text.parse().ok());
    let span = minutes.map_or(Duration::from_secs(40), |minutes| Duration::from_secs_f64(60.0 * minutes));
    let mut dice = if minutes.is_some() { Dice::cast() } else { Dice::cast_from(148_478) };
    let addresses = Addresses::default();
    let fleet = Fleet::start(server, &addresses, |setup| setup);
    let clients = dice.clone();
    under_work(fleet, &addresses, &clients, |fleet| {
        let watch = Stopwatch::start();
        while watch.elapsed() < span {
            fleet.suffer(&mut dice);
        }
    });
}

/// `GATEWARDEN_OTHER_BINARY` names the daemon of another release, which `.ci/run` has not.
#[test]
fn nodes_of_two_releases_change_places_on_one_database_while_spawns_go_on() {
    let Some(other) = std::env::var_os("GATEWARDEN_OTHER_BINARY").map(PathBuf::from) else {
        eprintln!("SKIPPED: no binary of another release");
        return;
    };
    let Some(server) = Server::start() else { return };
    let this = PathBuf::from(env!("CARGO_BIN_EXE_gatewarden"));
    let addresses = Addresses::default();
    let fleet = Fleet::start(server, &addresses, |setup| setup.binary(&other));
    under_work(fleet, &addresses, &Dice::of(7), |fleet| {
        for binary in [&this, &other, &this] {
            // Those that stand by first.
            [1, 2, 0].into_iter().for_each(|number| fleet.replace(number, binary));
        }
    });
}

/// Lets something happen while clients work, and judges what came of it.
fn under_work(mut fleet: Fleet<'_>, addresses: &Addresses, dice: &Dice, happens: impl FnOnce(&mut Fleet<'_>)) {
    let fronts = Fronts::register(&fleet);
    let (over, jobs) = (AtomicBool::new(false), Mutex::new(Vec::<Job>::new()));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (over, jobs, fronts) = (&over, &jobs, &fronts);
            let dice = dice.other(client as u64);
            scope.spawn(move || work(client, dice, addresses, &fronts.ids(), over, jobs));
        }
        // A panic here must let the clients go, too.
        let happened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            happens(&mut fleet);
            fleet.heal();
        }));
        over.store(true, Ordering::SeqCst);
        if let Err(panic) = happened {
            std::panic::resume_unwind(panic);
        }
    });
    let jobs = jobs.into_inner().expect("no client panicked");
    fronts.judge(&fleet, &jobs);
    fleet.judge();
}
