//! The embedded gateway while its wall clock jumps by forty days, ahead and back.

use std::time::Duration;

use serde_json::json;

use super::embedded_gateway_cron::{home, id_of, job, open};
use super::support::daemon::PATIENCE;
use super::support::own_gateway::{GatewayHome, GatewayProcess};
use super::support::rpc_client::RpcClient;
use super::support::wait;
use super::support::wall_clock::WallClock;

const DAYS: i64 = 40;
const DAY_MS: i64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;
/// A clock that was set is noticed within a minute.
const A_MINUTE: Duration = Duration::from_secs(60 + 45);

struct Scene {
    home: GatewayHome,
    client: RpcClient,
    clock: WallClock,
    /// A job of every other second.
    tick: String,
    /// One of each hour.
    hourly: String,
    _gateway: GatewayProcess,
}

impl Scene {
    fn start(clock: WallClock) -> Self {
        let home = home();
        let mut command = home.command(&["run", "--port", "0"]);
        command.envs(clock.environment());
        let gateway = home.start_command(command);
        let mut client = open(&home, &gateway);
        let mut add = |every_ms: u64| {
            let mut job = job("tick");
            job["schedule"]["everyMs"] = json!(every_ms);
            id_of(&client.call("cron.add", job))
        };
        let (tick, hourly) = (add(2_000), add(HOUR_MS));
        Self { home, client, clock, tick, hourly, _gateway: gateway }
    }

    /// What time it is for the gateway, Unix ms.
    fn time_ms(&mut self) -> i64 {
        self.client.call("ping", json!({}))["ts"].as_i64().expect("a time")
    }

    fn runs(&mut self, job: &str) -> u64 {
        self.client.call("cron.runs", json!({"id": job}))["total"].as_u64().expect("a number")
    }

    /// The short job goes on, and the long one is due within its hour.
    fn jobs_go_on(&mut self) {
        let (tick, hourly) = (self.tick.clone(), self.hourly.clone());
        let before = self.runs(&tick);
        wait::until_ok("jobs go on", A_MINUTE, || {
            let now = self.runs(&tick);
            if now >= before + 3 { Ok(()) } else { Err(format!("{before} {now}")) }
        });
        let due = self.client.call("cron.get", json!({"id": hourly}))["nextRunAtMs"].as_i64().expect("a time");
        let in_ms = due - self.time_ms();
        assert!((0..=i64::try_from(HOUR_MS).expect("small")).contains(&in_ms), "{in_ms}");
    }

    /// The long job has run so often: once for each time that was skipped.
    fn hourly_ran(&mut self, times: u64) {
        let hourly = self.hourly.clone();
        wait::until("what was skipped runs", A_MINUTE, || self.runs(&hourly) >= times);
        assert_eq!(self.runs(&hourly), times);
    }

    /// How often it was said that the clock jumped, ahead and back.
    fn said(&self) -> [usize; 2] {
        let log = self.home.log();
        ["", "-"].map(|sign| {
            let words = format!("the wall clock jumped by {sign}34");
            log.lines().filter(|line| line.contains(&words)).count()
        })
    }

    fn until_said(&mut self, wanted: impl Fn([usize; 2]) -> bool) {
        wait::until_ok("the jump is said", A_MINUTE, || {
            // Whoever reads nothing for long is taken for gone.
            self.time_ms();
            let said = self.said();
            if wanted(said) { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }
}

#[test]
#[ignore = "waits for minutes: the step `clocks` of .ci/run runs it"]
fn sessions_stay_connections_go_on_and_no_job_is_lost_or_runs_twice_while_the_clock_jumps() {
    let Some(clock) = WallClock::new() else { return };
    let mut scene = Scene::start(clock);
    let began_ms = scene.time_ms();
    let mut far = job("far");
    far["schedule"] = json!({"kind": "at", "at": (began_ms + 2 * DAYS * DAY_MS).to_string()});
    let far = id_of(&scene.client.call("cron.add", far));
    let said = json!({"sessionKey": "agent:sample:kept", "message": "hello", "idempotencyKey": "kept"});
    scene.client.call("chat.send", said);
    let kept = |scene: &mut Scene| {
        let history = scene.client.call("chat.history", json!({"sessionKey": "agent:sample:kept"}));
        history.to_string().contains("You said: hello")
    };
    wait::until("the agent answers", PATIENCE, || kept(&mut scene));
    scene.jobs_go_on();

    // Put right before anybody looks at it, but for the jobs that it made due.
    scene.clock.set_days_ahead(DAYS);
    assert!((0..DAY_MS).contains(&(scene.time_ms() - began_ms - DAYS * DAY_MS)), "the clock reaches the gateway");
    scene.hourly_ran(1);
    scene.clock.set_days_ahead(0);
    scene.jobs_go_on();
    // Of both or of none.
    scene.until_said(|[ahead, back]| ahead == back);

    // For longer.
    let [ahead, back] = scene.said();
    scene.clock.set_days_ahead(DAYS);
    scene.until_said(|said| said == [ahead + 1, back]);
    scene.hourly_ran(2);
    scene.jobs_go_on();
    assert!(kept(&mut scene), "a session that seems to be too old");
    scene.clock.set_days_ahead(0);
    scene.until_said(|said| said == [ahead + 1, back + 1]);
    scene.jobs_go_on();

    // Behind, and put right.
    scene.clock.set_days_ahead(-DAYS);
    scene.jobs_go_on();
    scene.hourly_ran(2);
    scene.clock.set_days_ahead(0);
    scene.hourly_ran(3);
    scene.jobs_go_on();
    assert!(kept(&mut scene));
    assert_eq!(scene.runs(&far), 0);
}
