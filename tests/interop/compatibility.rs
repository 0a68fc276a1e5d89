//! What one release of OpenClaw can do under the daemon, step by step. `tests/peers/compatibility` asks this of every stable release
//! and makes the table of `docs/compatibility.md` of the answers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

use crate::mock_model::{QUICK_ANSWER, SLOW_TASK, Stream};
use crate::scene::{RUN_MOVES_WITHIN, Scene};
use crate::support::wait;

/// What is asked of every release.
struct Asked(Scene);

impl Asked {
    fn record(&self) -> Value {
        let Scene { daemon, gateway, .. } = &self.0;
        daemon.get(&format!("/api/gateways/{gateway}")).expect(200).json()["gateway"].clone()
    }

    fn until_status(&self, wanted: &str) {
        wait::until_ok(&format!("the gateway is {wanted}"), RUN_MOVES_WITHIN, || {
            let record = self.record();
            if record["status"] == wanted { Ok(()) } else { Err(record.to_string()) }
        });
    }

    fn connect(&self) -> String {
        self.until_status("online");
        "yes".to_owned()
    }

    fn until_ended(&self, spawn: &Value) -> Value {
        self.0.spawn_until(spawn, "the spawn has ended", |spawn| !spawn["completedAt"].is_null())
    }

    fn health(&self) -> String {
        let before = self.record()["last_seen"].as_f64().expect("it was seen");
        wait::until_ok("it was seen again, with a latency", RUN_MOVES_WITHIN, || {
            let record = self.record();
            let is_seen = record["last_seen"].as_f64().is_some_and(|now| now > before) && record["latency"].is_number();
            if is_seen { Ok("yes".to_owned()) } else { Err(record.to_string()) }
        })
    }

    fn agents(&self) -> String {
        let synced = self.0.daemon.post("/api/agents/sync", &json!({"gateway_id": self.0.gateway})).expect(200).json();
        assert_eq!(synced["synced"], 1, "{synced}");
        "yes".to_owned()
    }

    /// Its own word, and the session in which it ran.
    fn task(&self) -> (String, String) {
        let spawn = self.until_ended(&self.0.spawn("say hello"));
        assert_eq!(spawn["status"], "completed", "{spawn}");
        assert!(spawn["result"].to_string().contains(QUICK_ANSWER), "{spawn}");
        ("yes".to_owned(), spawn["sessionKey"].as_str().expect("its session is known").to_owned())
    }

    fn session(&self, key: &str) -> String {
        wait::until("the session is listed", RUN_MOVES_WITHIN, || self.0.session(key).is_some());
        "yes".to_owned()
    }

    fn kill(&self) -> String {
        let slow = self.0.spawn(SLOW_TASK);
        let key = slow["sessionInfo"].as_str().expect("its session is known");
        let is = |wanted: Stream| self.0.model.slow_streams().contains(&wanted);
        wait::until("the model is asked", RUN_MOVES_WITHIN, || is(Stream::Flowing));
        self.0.control(key, "kill").expect(200);
        wait::until("the model's stream is cancelled", RUN_MOVES_WITHIN, || is(Stream::Cancelled));
        let ended = self.until_ended(&slow);
        assert_eq!(ended["status"], "killed", "{ended}");
        "yes".to_owned()
    }

    /// SIGKILL, a start, and work again, without anybody's hand.
    fn restart(&self) -> String {
        self.0.peer.kill();
        self.until_status("offline");
        self.0.peer.start_again();
        self.until_status("online");
        self.task().0
    }
}

/// What the step gave, or "no"; why is printed.
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
    let scene = Asked(Scene::begin(release));
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
