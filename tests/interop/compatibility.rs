//! What one release of OpenClaw can do under the daemon, step by step. `tests/peers/compatibility` asks this of every stable release
//! and makes the table of `docs/compatibility.md` of the answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::{Value, json};

use crate::mock_model::{MockModel, QUICK_ANSWER, SLOW_TASK, Stream};
use crate::peer::Peer;
use crate::support::daemon::Daemon;
use crate::support::wait;

/// The first run of a fresh gateway prepares its workspace.
const WITHIN: Duration = Duration::from_secs(90);

/// The release under test, its model, and the daemon.
struct Scene {
    model: MockModel,
    peer: Peer,
    daemon: Daemon,
    gateway: i64,
}

impl Scene {
    fn record(&self) -> Value {
        self.daemon.get(&format!("/api/gateways/{}", self.gateway)).expect(200).json()["gateway"].clone()
    }

    fn until_status(&self, wanted: &str) {
        wait::until_ok(&format!("the gateway is {wanted}"), WITHIN, || {
            let record = self.record();
            if record["status"] == wanted { Ok(()) } else { Err(record.to_string()) }
        });
    }

    fn connect(&self) -> String {
        self.until_status("online");
        "yes".to_owned()
    }

    fn spawn(&self, task: &str) -> Value {
        self.daemon.post("/api/spawn", &json!({ "task": task, "gateway_id": self.gateway })).expect(202).json()
    }

    fn until_ended(&self, spawn: &Value) -> Value {
        let path = format!("/api/spawn/{}", spawn["spawnId"].as_str().expect("a spawn has an id"));
        wait::until_ok("the spawn has ended", WITHIN, || {
            let spawn = self.daemon.get(&path).expect(200).json();
            if spawn["completedAt"].is_null() { Err(spawn.to_string()) } else { Ok(spawn) }
        })
    }

    fn health(&self) -> String {
        let sight = || self.record()["last_seen"].as_f64();
        let before = sight().expect("it was seen");
        wait::until("it was seen again", WITHIN, || sight().is_some_and(|now| now > before));
        assert!(self.record()["latency"].is_number(), "{}", self.record());
        "yes".to_owned()
    }

    fn agents(&self) -> String {
        let synced = self.daemon.post("/api/agents/sync", &json!({"gateway_id": self.gateway})).expect(200).json();
        assert_eq!(synced["synced"], 1, "{synced}");
        "yes".to_owned()
    }

    /// Its own word, and the session in which it ran.
    fn task(&self) -> (String, String) {
        let spawn = self.until_ended(&self.spawn("say hello"));
        assert_eq!(spawn["status"], "completed", "{spawn}");
        assert!(spawn["result"].to_string().contains(QUICK_ANSWER), "{spawn}");
        ("yes".to_owned(), spawn["sessionKey"].as_str().expect("its session is known").to_owned())
    }

    fn session(&self, key: &str) -> String {
        wait::until_ok("the session is listed", WITHIN, || {
            let listed = self.daemon.get("/api/sessions?limit=200").expect(200).json();
            let is_there = listed["sessions"].as_array().is_some_and(|all| all.iter().any(|row| row["key"] == key));
            if is_there { Ok("yes".to_owned()) } else { Err(listed.to_string()) }
        })
    }

    fn kill(&self) -> String {
        let slow = self.spawn(SLOW_TASK);
        let key = slow["sessionInfo"].as_str().expect("its session is known");
        let is = |wanted: Stream| self.model.slow_streams().contains(&wanted);
        wait::until("the model is asked", WITHIN, || is(Stream::Flowing));
        self.daemon.post(&format!("/api/sessions/{key}/control"), &json!({ "action": "kill" })).expect(200);
        wait::until("the model's stream is cancelled", WITHIN, || is(Stream::Cancelled));
        let ended = self.until_ended(&slow);
        assert_eq!(ended["status"], "killed", "{ended}");
        "yes".to_owned()
    }

    /// SIGKILL, a start, and work again, without anybody's hand.
    fn restart(&self) -> String {
        self.peer.kill();
        self.until_status("offline");
        self.peer.start_again();
        self.until_status("online");
        self.task().0
    }
}

/// What the step gave, or why it failed: its first line.
fn tried<T>(what: &str, step: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap_or_default();
        println!("{what} failed: {words}");
        "no".to_owned()
    })
}

fn word(outcome: Result<String, String>) -> String {
    outcome.unwrap_or_else(|no| no)
}

#[test]
#[ignore = "of one release, named by GATEWARDEN_RELEASE: tests/peers/compatibility asks it of all"]
fn one_release_connects_lists_runs_kills_and_comes_back() {
    let release: &str = std::env::var("GATEWARDEN_RELEASE").expect("GATEWARDEN_RELEASE names it").leak();
    let model = MockModel::start();
    let peer = Peer::start_with_model(release, &model);
    let daemon = Daemon::start();
    let gateway = daemon.register("real", peer.port, &peer.token);
    let scene = Scene { model, peer, daemon, gateway };
    let connect = word(tried("connect", || scene.connect()));
    let record = scene.record();
    let health = word(tried("health", || scene.health()));
    let agents = word(tried("agents", || scene.agents()));
    let (task, session) = match tried("task", || scene.task()) {
        Ok((task, key)) => (task, word(tried("session", || scene.session(&key)))),
        Err(no) => (no, "-".to_owned()),
    };
    let kill = word(tried("kill", || scene.kill()));
    let restart = word(tried("restart", || scene.restart()));
    let row = json!({
        "release": release, "protocol": record["protocol"], "version": record["version"], "connect": connect, "health": health,
        "agents": agents, "task": task, "session": session, "kill": kill, "restart": restart,
    });
    println!("COMPATIBILITY {row}");
}
