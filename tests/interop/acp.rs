//! Agents that speak ACP and that nobody here wrote, behind the embedded gateway and the daemon: the example of the protocol's own
//! TypeScript package, and the bridge of a real release of OpenClaw.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::embedded::Cli;
use crate::peer::NEWEST;
use crate::scene::RUN_MOVES_WITHIN;
use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::own_gateway::{GatewayHome, GatewayProcess};
use crate::support::wait;

pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/acp-agent")
}

/// Has the agent there before a test waits for what it says.
pub(crate) fn fetch() {
    let fetched = Command::new(program()).arg("install").status().expect("the tool runs");
    assert!(fetched.success(), "the example agent can't be had");
}

/// Three agents: one may do what it asks for, one may not, and of one an operator decides.
fn home() -> GatewayHome {
    fetch();
    let agent = |permissions: &str| json!({"acp": {"program": program(), "env": env(), "permissions": permissions}});
    let config = json!({
        "agents": {"entries": {"trusted": agent("allow"), "watched": agent("deny"), "asked": agent("ask")}},
        "gatewarden": {"metrics": {"enabled": false}},
    });
    GatewayHome::with("openclaw.json", &config.to_string())
}

/// What the tools find their packages by.
pub(crate) fn env() -> Value {
    let named = ["HOME", "OPENCLAW_HOME", "XDG_CACHE_HOME"];
    let env = named.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?.into())));
    Value::Object(env.collect())
}

struct Scene {
    home: GatewayHome,
    gateway: GatewayProcess,
    daemon: Daemon,
    id: i64,
}

impl Scene {
    fn set() -> Self {
        Self::with(home())
    }

    fn with(home: GatewayHome) -> Self {
        let gateway = home.start(&[]);
        let daemon = Setup::new().start();
        let id = daemon.register("own", gateway.address.port(), &home.token());
        daemon.until_status(id, "online");
        Self { home, gateway, daemon, id }
    }

    /// Gives an agent a task in a session; where it is told.
    fn spawn(&self, agent: &str, key: &str) -> String {
        let body =
            json!({"task": "improve my project", "sessionKey": format!("agent:{agent}:{key}"), "gateway_id": self.id});
        let spawn = self.daemon.post("/api/spawn", &body).expect(202).json();
        format!("/api/spawn/{}", spawn["spawnId"].as_str().expect("an id"))
    }

    fn until_ended(&self, path: &str) -> Value {
        wait::until_ok(&format!("{path} has ended"), RUN_MOVES_WITHIN, || {
            let spawn = self.daemon.get(path).expect(200).json();
            let status = spawn["status"].as_str().unwrap_or_default();
            if matches!(status, "completed" | "failed" | "killed" | "lost") {
                Ok(spawn)
            } else {
                Err(spawn.to_string())
            }
        })
    }

    fn said_in(&self, key: &str) -> String {
        let folder = self.home.state().join("sessions");
        let transcripts = std::fs::read_dir(folder).expect("sessions").flatten();
        let texts = transcripts.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default());
        texts.filter(|text| text.contains(&format!("\"{key}\""))).collect()
    }
}

#[test]
fn an_agent_that_speaks_acp_completes_a_spawn_with_its_text_and_does_only_what_it_may() {
    let scene = Scene::set();
    let (trusted, watched) = (scene.spawn("trusted", "one"), scene.spawn("watched", "two"));
    for (path, key, says) in [
        (&trusted, "agent:trusted:one", "Perfect! I've successfully updated the configuration."),
        (&watched, "agent:watched:two", "I understand you prefer not to make that change."),
    ] {
        let spawn = scene.until_ended(path);
        assert_eq!(spawn["status"], "completed", "{spawn}");
        let said = scene.said_in(key);
        assert!(said.contains("Now I understand the project structure") && said.contains(says), "{said}");
    }
    let log = scene.home.log();
    assert!(log.contains("was denied: agents.entries.watched.acp.permissions is deny"), "{log}");
}

#[test]
fn a_kill_cancels_its_turn_and_its_next_one_is_in_the_same_process() {
    let scene = Scene::set();
    let path = scene.spawn("trusted", "main");
    let control = "/api/sessions/agent:trusted:main/control";
    let prompted = || scene.said_in("agent:trusted:main").contains("\"conversation\"");
    wait::until("it is at work", PATIENCE, || {
        let list = scene.daemon.get("/api/sessions?limit=200").expect(200).json();
        let mut rows = list["sessions"].as_array().into_iter().flatten();
        prompted() && rows.any(|row| row["key"] == "agent:trusted:main" && row["status"] == "active")
    });
    let killed = scene.daemon.post(control, &json!({"action": "kill", "gateway_id": scene.id})).expect(200).json();
    assert_eq!(killed["success"], true, "{killed}");
    let spawn = scene.until_ended(&path);
    assert_eq!(spawn["status"], "killed", "{spawn}");
    let spawn = scene.until_ended(&scene.spawn("trusted", "main"));
    assert_eq!(spawn["status"], "completed", "{spawn}");
    let log = scene.home.log();
    let mut processes: Vec<&str> =
        log.split("runs as process ").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    processes.dedup();
    assert_eq!(processes.len(), 1, "{log}");
}

#[test]
fn the_real_command_sees_what_an_agent_asks_for_and_allows_it() {
    let scene = Scene::set();
    let path = scene.spawn("asked", "three");
    wait::until("it asks", PATIENCE, || scene.home.log().contains("asks for"));
    let log = scene.home.log();
    let id = log.split("(exec.approval ").nth(1).and_then(|rest| rest.split(')').next()).expect("an id");
    let cli = Cli { version: NEWEST, home: &scene.home, gateway: &scene.gateway };
    let shown = cli.call("exec.approval.get", &["--params", &json!({"id": id}).to_string()]);
    assert_eq!(shown["commandText"], "Modifying critical configuration file", "{shown}");
    let decision = json!({"id": id, "decision": "allow-once"}).to_string();
    assert_eq!(cli.call("exec.approval.resolve", &["--params", &decision])["ok"], true);
    let spawn = scene.until_ended(&path);
    assert_eq!(spawn["status"], "completed", "{spawn}");
    assert!(scene.said_in("agent:asked:three").contains("Perfect! I've successfully updated"));
}

/// The bridge speaks ACP on one side and to a gateway on the other: here to another one of ours, with the sample agent.
#[test]
fn the_bridge_of_a_real_release_takes_a_thinking_level_and_goes_on_with_its_conversation_in_another_process() {
    let program = env!("CARGO_BIN_EXE_gatewarden");
    let sample = json!({"program": program, "args": ["gateway", "sample-agent"], "jsonLines": true});
    let far = json!({
        "agents": {"entries": {"sample": {"command": "sample", "default": true}}},
        "gatewarden": {"metrics": {"enabled": false}, "commands": {"sample": sample}},
    });
    let far_home = GatewayHome::with("openclaw.json", &far.to_string());
    let far = far_home.start(&[]);
    let mut env = env();
    env["OPENCLAW_CLI_HOME"] = json!(far_home.path().join("cli"));
    let tool = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/openclaw");
    let words =
        ["cli", NEWEST, "acp", "--url", &far.url, "--token", &far_home.token(), "--session", "agent:sample:far"];
    let bridge = json!({"program": tool, "args": words, "env": env, "idleTimeout": "1s"});
    let config = json!({
        "agents": {"entries": {"bridge": {"acp": bridge}}},
        "gatewarden": {"metrics": {"enabled": false}},
    });
    let scene = Scene::with(GatewayHome::with("openclaw.json", &config.to_string()));
    let far_sessions = || {
        let folder = std::fs::read_dir(far_home.state().join("sessions")).expect("sessions").flatten();
        folder.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect::<String>()
    };
    for level in ["high", "low"] {
        let cli = Cli { version: NEWEST, home: &scene.home, gateway: &scene.gateway };
        let patch = json!({"key": "agent:bridge:main", "thinkingLevel": level}).to_string();
        cli.call("sessions.patch", &["--params", &patch]);
        let spawn = scene.until_ended(&scene.spawn("bridge", "main"));
        assert_eq!(spawn["status"], "completed", "{spawn} {}", scene.home.log());
        let far = far_sessions();
        assert!(far.contains(&format!("\"thinkingLevel\":\"{level}\"")), "{far} {}", scene.home.log());
        assert!(scene.said_in("agent:bridge:main").contains("You said:"));
        let log = scene.home.log();
        let process = log.rsplit("runs as process ").next().and_then(|rest| rest.split('"').next());
        let process = PathBuf::from("/proc").join(process.expect("a process"));
        wait::until("its process ends when it rests", RUN_MOVES_WITHIN, || !process.exists());
    }
    assert!(!scene.home.log().contains("begins a new one"), "{}", scene.home.log());
}
