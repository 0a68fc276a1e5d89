//! The nodes, what happens to them, and what the database says of it afterwards.

use std::path::Path;
use std::time::Duration;

use super::Addresses;
use crate::support::chaos_proxy::{ChaosProxy, Link};
use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::dice::Dice;
use crate::support::postgres_server::{Server, next_to};
use crate::support::wait::{self, Stopwatch};

const NAMES: [&str; 3] = ["a", "b", "c"];
const FAULTS: [&str; 8] =
    ["kill", "freeze", "stop", "cut", "silence", "restart of the server", "frozen server", "read-only server"];
/// So long after a fault of the acting node another one acts: 7 s, and what a busy machine adds.
const TAKEOVER: Duration = Duration::from_secs(20);

/// What each writer of spawns and each change of the role left: which epoch, whose session, when.
const WITNESS: &str = "
    CREATE TABLE witness (id BIGINT GENERATED ALWAYS AS IDENTITY, what TEXT, epoch BIGINT, writer TEXT, at TIMESTAMPTZ);
    CREATE FUNCTION witness_spawn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO witness (what, epoch, writer, at)
        SELECT 'spawn', epoch, current_setting('application_name'), clock_timestamp() FROM cluster_roles; RETURN NULL; END $$;
    CREATE FUNCTION witness_role() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO witness (what, epoch, writer, at)
        VALUES ('role', NEW.epoch, current_setting('application_name'), clock_timestamp()); RETURN NULL; END $$;
    CREATE TRIGGER witness AFTER INSERT OR UPDATE ON spawns FOR EACH ROW EXECUTE FUNCTION witness_spawn();
    CREATE TRIGGER witness AFTER UPDATE ON cluster_roles FOR EACH ROW EXECUTE FUNCTION witness_role();";

struct Warden {
    setup: Setup,
    way: ChaosProxy,
    daemon: Option<Daemon>,
    /// The log of those before it.
    said: String,
}

impl Warden {
    /// What it and those before it have logged of something.
    fn words_on(&self, what: &str) -> Vec<String> {
        let last = self.daemon.as_ref().map(Daemon::log).unwrap_or_default();
        let lines = self.said.lines().chain(last.lines()).filter(|line| line.contains(what));
        lines.map(|line| format!("{}: {line}", self.setup.state().display())).collect()
    }

    /// Forgets a daemon that has ended, but not what it said.
    fn bury(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.said.push_str(&daemon.log());
        }
    }

    fn acts(&self) -> bool {
        self.daemon.as_ref().is_some_and(Daemon::is_ready)
    }
}

pub(super) struct Fleet<'a> {
    pub(super) server: Server,
    wardens: Vec<Warden>,
    addresses: &'a Addresses,
    suffered: Vec<&'static str>,
    takeovers: Vec<Duration>,
}

impl<'a> Fleet<'a> {
    pub(super) fn start(server: Server, addresses: &'a Addresses, adjust: impl Fn(Setup) -> Setup) -> Self {
        let warden = |name: &&str| {
            let way = ChaosProxy::before(server.port());
            let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{}/", way.port()));
            let setup = server
                .setup()
                .env("GATEWARDEN_NODE__NAME", name)
                .env("GATEWARDEN_NODE__MESH_LISTEN", "127.0.0.1:0")
                .env("GATEWARDEN_STORE__URL", &format!("{url}?application_name=node-{name}"))
                .env("GATEWARDEN_LOG__LEVEL", "info")
                .env("GATEWARDEN_ROUTING__LOST_AFTER", "10s")
                .env("GATEWARDEN_ROUTING__MAX_IN_FLIGHT", "1000");
            Warden { setup: adjust(setup), way, daemon: None, said: String::new() }
        };
        let wardens: Vec<Warden> = NAMES.iter().map(warden).collect();
        let mut fleet = Self { server, wardens, addresses, suffered: Vec::new(), takeovers: Vec::new() };
        fleet.nurse(0);
        let first = fleet.wardens[0].daemon.as_ref().expect("it starts");
        for other in &fleet.wardens[1..] {
            next_to(first, other.setup.clone());
        }
        fleet.server.ask(WITNESS);
        fleet.nurse_all();
        fleet
    }

    /// Starts a node that has ended, as its service manager does. It may fail and is tried again the next time.
    fn nurse(&mut self, number: usize) {
        let warden = &mut self.wardens[number];
        if warden.daemon.as_mut().is_some_and(Daemon::runs) {
            return;
        }
        warden.bury();
        warden.daemon = warden.setup.try_to_start().ok();
        self.addresses.lock().expect("nobody panics with it")[number] = warden.daemon.as_ref().map(Daemon::address);
    }

    fn nurse_all(&mut self) {
        (0..NAMES.len()).for_each(|number| self.nurse(number));
    }

    /// The node that is ready to act.
    fn acting(&self) -> Option<usize> {
        self.wardens.iter().position(Warden::acts)
    }

    /// The node that acts.
    pub(super) fn acting_daemon(&self) -> &Daemon {
        // Its right may just be renewed, after a fault that was the same for all.
        let number = wait::until_ok("a node acts", PATIENCE, || self.acting().ok_or_else(|| "none".to_owned()));
        self.wardens[number].daemon.as_ref().expect("it runs")
    }

    fn until_acting(&mut self, limit: Duration) -> usize {
        let watch = Stopwatch::start();
        loop {
            self.nurse_all();
            if let Some(acting) = self.acting() {
                return acting;
            }
            assert!(watch.elapsed() < limit, "no node acts for {:?} after {:?}", watch.elapsed(), self.suffered.last());
            pause(50);
        }
    }

    /// What the nodes have logged of something.
    pub(super) fn words_on(&self, what: &str) -> String {
        self.wardens.iter().flat_map(|warden| warden.words_on(what)).collect::<Vec<_>>().join("\n")
    }

    /// Whether all that happened was done in order, so that nothing may be lost.
    pub(super) fn was_spared(&self) -> bool {
        self.suffered.iter().all(|fault| *fault == "stop")
    }

    fn epoch(&self) -> i64 {
        self.server.ask("SELECT epoch FROM cluster_roles").parse().expect("a number")
    }

    /// One fault from its beginning to its end.
    pub(super) fn suffer(&mut self, dice: &mut Dice) {
        let acting = self.until_acting(PATIENCE);
        self.nurse_all();
        let (lasts, number) = (500 + dice.roll(8_500), usize::try_from(dice.roll(3)).expect("small"));
        // As often the acting one as all others.
        let number = if dice.percent(50) { acting } else { number };
        let fault = dice.pick(&FAULTS);
        println!("{fault} of {} ({} acts), {lasts} ms", NAMES[number], NAMES[acting]);
        self.suffered.push(fault);
        match fault {
            "restart of the server" | "frozen server" | "read-only server" => self.outage(fault, lasts),
            _ => self.fault_of_a_node(fault, number, number == acting, lasts),
        }
    }

    fn outage(&mut self, fault: &str, lasts: u64) {
        let before = self.epoch();
        if fault == "frozen server" {
            self.server.signal_all("-STOP");
            pause(lasts);
            self.server.signal_all("-CONT");
        } else if fault == "read-only server" {
            self.server.set_read_only(true);
            pause(lasts);
            self.server.set_read_only(false);
        } else {
            self.server.stop();
            pause(lasts / 4);
            self.server.resume();
        }
        self.until_acting(PATIENCE);
        assert_eq!(self.epoch(), before, "an outage of the server moves nothing");
    }

    fn fault_of_a_node(&mut self, fault: &str, number: usize, acts: bool, lasts: u64) {
        let watch = Stopwatch::start();
        let warden = &mut self.wardens[number];
        let daemon = warden.daemon.as_mut().expect("it was nursed");
        match fault {
            "kill" => daemon.kill(),
            "stop" => {
                daemon.signal("TERM");
                // One that has just woken up ends by itself when it finds that it was declared dead.
                daemon.ends_well_or_says(&["acts no longer"]);
            }
            "freeze" => daemon.signal("STOP"),
            "cut" => warden.way.set(Link::Cut),
            _ => warden.way.set(Link::BlackHole),
        }
        if acts {
            // It isn't asked itself: a frozen one answers nobody.
            let follows =
                |fleet: &Self| fleet.wardens.iter().enumerate().any(|(other, warden)| other != number && warden.acts());
            while watch.elapsed() < Duration::from_millis(lasts) || ["kill", "stop"].contains(&fault) {
                if follows(self) {
                    println!("  another acts after {:?}", watch.elapsed());
                    self.takeovers.push(watch.elapsed());
                    break;
                }
                assert!(watch.elapsed() < TAKEOVER, "nobody took over after a {fault}");
                pause(50);
            }
        } else {
            pause(lasts);
        }
        let warden = &mut self.wardens[number];
        match fault {
            "freeze" => warden.daemon.as_ref().expect("it is there").signal("CONT"),
            "cut" => warden.way.set(Link::Clear),
            "silence" => {
                // What was swallowed is lost to both ends.
                warden.way.set(Link::Cut);
                pause(100);
                warden.way.set(Link::Clear);
            }
            _ => {}
        }
        self.nurse_all();
    }

    /// Stops a node and starts it as another release, as an upgrade does.
    pub(super) fn replace(&mut self, number: usize, binary: &Path) {
        let acting = self.until_acting(PATIENCE);
        println!("{} runs {} from now on ({} acts)", NAMES[number], binary.display(), NAMES[acting]);
        let warden = &mut self.wardens[number];
        warden.daemon.as_mut().expect("it runs").stop();
        warden.bury();
        warden.setup = warden.setup.clone().binary(binary);
        self.nurse(number);
        assert!(self.wardens[number].daemon.is_some(), "it starts beside the others");
        self.until_acting(PATIENCE);
        // Work goes on for a while before the next one.
        pause(1_000);
    }

    /// All nodes run, and one acts.
    pub(super) fn heal(&mut self) {
        wait::until_ok("all nodes live, and one acts", PATIENCE, || {
            self.nurse_all();
            let living =
                self.server.ask("SELECT string_agg(name, '' ORDER BY name) FROM cluster_nodes WHERE state = 'active'");
            if living == "abc" && self.acting().is_some() { Ok(()) } else { Err(living) }
        });
    }

    /// What the database says.
    pub(super) fn judge(&self) {
        let none = |what: &str, query: &str| {
            let found = self.server.ask(query);
            assert!(found.is_empty(), "{what}: {found}");
        };
        none(
            "a spawn was written under an epoch after the next one had begun",
            "SELECT s.epoch, s.writer, s.at, r.at FROM witness s JOIN witness r ON r.what = 'role' AND r.epoch > s.epoch AND r.at < s.at \
             WHERE s.what = 'spawn' LIMIT 5",
        );
        none(
            "two nodes wrote under one epoch",
            "SELECT epoch, string_agg(DISTINCT writer, ',') FROM witness WHERE what = 'spawn' GROUP BY epoch HAVING count(DISTINCT writer) > 1",
        );
        none(
            "an epoch did not grow",
            "SELECT * FROM (SELECT epoch, lag(epoch) OVER (ORDER BY id) AS before FROM witness WHERE what = 'role') e \
             WHERE epoch < before LIMIT 5",
        );
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'node-%'";
        // 4 of the node that acts once it needed them all, 1 of each other; a start has 2 more for a moment.
        wait::until_ok("no session stays behind", PATIENCE, || match self.server.ask(sessions) {
            count if ["3", "4", "5", "6"].contains(&count.as_str()) => Ok(()),
            other => Err(other),
        });
        let mut counts = std::collections::BTreeMap::<_, usize>::new();
        self.suffered.iter().for_each(|fault| *counts.entry(*fault).or_default() += 1);
        println!("{counts:?}; epochs {}; takeovers {:?}", self.epoch(), self.takeovers);
    }
}

/// A fault lasts.
fn pause(ms: u64) {
    wait::holds_for("it lasts", Duration::from_millis(ms), || true);
}
