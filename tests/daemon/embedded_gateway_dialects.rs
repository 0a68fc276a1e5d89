//! The daemon against the embedded gateway, both as their users run them: in each dialect it is online, its sessions and agents are
//! counted, and work is spawned, seen, paused, resumed and killed.
//!
//! The daemon speaks `rpc` only to gateways that send no challenge. This one always sends it, so a client of that dialect
//! stands in for the daemon there.

use serde_json::{Value, json};

use super::support::daemon::{Daemon, PATIENCE, Setup};
use super::support::event_stream::EventStream;
use super::support::own_gateway::{GatewayHome, GatewayProcess};
use super::support::ports::free_port;
use super::support::rpc_client::RpcClient;
use super::support::wait;

/// A gateway with the sample agent, a command that says numbers until it is stopped, and one that ends at once.
fn home_with(auth: &str) -> GatewayHome {
    let program = json!(env!("CARGO_BIN_EXE_gatewarden"));
    // Nobody reads the words of one whose gateway is gone: it goes on all the same, for a while.
    let counting = r#""trap '' PIPE; i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo number $i; sleep 0.2; done""#;
    GatewayHome::with(
        "openclaw.json",
        &format!(
            "{{
              gateway: {{ auth: {{ {auth} }} }},
              agents: {{ entries: {{ sample: {{ command: 'sample', default: true }}, idle: {{}} }} }},
              gatewarden: {{
                metrics: {{ enabled: false }},
                limits: {{ killGrace: '1s' }},
                commands: {{
                  sample: {{ program: {program}, args: ['gateway', 'sample-agent'], jsonLines: true }},
                  count: {{ program: '/bin/sh', args: ['-c', {counting}] }},
                  brief: {{ program: '/bin/sh', args: ['-c', 'echo brief words; exit 3'] }},
                }},
              }},
            }}"
        ),
    )
}

/// A gateway and a daemon that is told of it.
struct Scene {
    home: GatewayHome,
    gateway: GatewayProcess,
    daemon: Daemon,
    id: i64,
}

impl Scene {
    fn set(setup: &Setup, transport: &str) -> Self {
        Self::at("0", setup, transport)
    }

    /// With its gateway at this port.
    fn at(port: &str, setup: &Setup, transport: &str) -> Self {
        let home = home_with("");
        let gateway = home.start_command(home.command(&["run", "--port", port]));
        let daemon = setup.start();
        let id = daemon.register_with(&json!({"name": "own", "host": "127.0.0.1", "port": gateway.address.port(),
            "token": home.token(), "transport": transport}));
        Self { home, gateway, daemon, id }
    }

    fn until_online(&self, dialect: &str, protocol: Value) -> Value {
        let what = format!("online in {dialect}, with its agents and sessions counted");
        self.daemon.until(self.id, &what, PATIENCE, |shown| {
            shown["status"] == "online"
                && shown["dialect"] == dialect
                && shown["protocol"] == protocol
                && shown["agents_count"] == 2
        })
    }

    fn spawn(&self, mut body: Value) -> Value {
        body["gateway_id"] = json!(self.id);
        self.daemon.post("/api/spawn", &body).expect(202).json()
    }

    fn until_spawn(&self, spawn: &Value, status: &str) -> Value {
        let path = format!("/api/spawn/{}", spawn["spawnId"].as_str().expect("an id"));
        wait::until_ok(&format!("{path} is {status}"), PATIENCE, || {
            let spawn = self.daemon.get(&path).expect(200).json();
            if spawn["status"] == status { Ok(spawn) } else { Err(spawn.to_string()) }
        })
    }

    fn until_session(&self, key: &str, status: &str) {
        wait::until_ok(&format!("{key} is {status}"), PATIENCE, || {
            let list = self.daemon.get("/api/sessions?limit=200").expect(200).json();
            let row = list["sessions"].as_array().into_iter().flatten().find(|row| row["key"] == key);
            if row.is_some_and(|row| row["status"] == status) { Ok(()) } else { Err(list.to_string()) }
        });
    }

    fn control(&self, key: &str, action: &str) {
        let path = format!("/api/sessions/{key}/control");
        let done = self.daemon.post(&path, &json!({"action": action, "gateway_id": self.id})).expect(200).json();
        assert_eq!((&done["success"], &done["gateway"]), (&json!(true), &json!("own")), "{done}");
    }

    /// The one process that the gateway runs.
    fn child(&self) -> u32 {
        wait::until_ok("the gateway runs one process", PATIENCE, || {
            let children = children_of(self.gateway.pid());
            if let [child] = children[..] { Ok(child) } else { Err(format!("{children:?}")) }
        })
    }

    /// Pauses, resumes and kills the session's process; after each step its session says so.
    fn steer(&self, key: &str, child: u32) {
        self.until_session(key, "active");
        self.pause(key, child);
        self.until_session(key, "paused");
        self.resume(key, child);
        self.until_session(key, "active");
        self.kill(key, child);
        self.until_session(key, "completed");
    }

    /// The same, looking at the process alone.
    fn steer_process(&self, key: &str, child: u32) {
        self.pause(key, child);
        self.resume(key, child);
        self.kill(key, child);
    }

    fn pause(&self, key: &str, child: u32) {
        self.control(key, "pause");
        wait::until("its process is stopped", PATIENCE, || is_stopped(child));
    }

    fn resume(&self, key: &str, child: u32) {
        self.control(key, "resume");
        wait::until("its process goes on", PATIENCE, || goes_on(child));
    }

    fn kill(&self, key: &str, child: u32) {
        self.control(key, "kill");
        wait::until("its process is gone", PATIENCE, || state(child).is_none());
    }

    /// A command is spawned, its lines are followed, it is steered; another one ends by itself.
    fn commands_run(&self) {
        let path = format!("/api/gateways/{}/logs?follow=true", self.id);
        let mut log = EventStream::of(&self.daemon, &path);
        self.command_is_steered(|| {
            for number in ["number 1", "number 3"] {
                log.until(|block| block.data["data"]["message"] == number && block.data["data"]["source"] == "count");
            }
        });
    }

    fn command_is_steered(&self, seen: impl FnOnce()) {
        let spawn = self.spawn(json!({"command": "count"}));
        let key = self.until_spawn(&spawn, "running")["sessionKey"].as_str().expect("a session").to_owned();
        seen();
        self.steer(&key, self.child());
        self.until_spawn(&spawn, "killed");
        self.until_spawn(&self.spawn(json!({"command": "brief"})), "failed");
        let refused = self.daemon.post("/api/spawn", &json!({"command": "/bin/rm", "gateway_id": self.id}));
        let refused = refused.expect(502).json();
        assert!(refused["error"].as_str().is_some_and(|error| error.contains("/bin/rm")), "{refused}");
    }

    /// A task is given to the default agent and steered; another one completes.
    fn tasks_run(&self) {
        let key = "agent:sample:steered";
        let spawn = self.spawn(json!({"task": "count to 500", "agent": "sample", "sessionKey": key}));
        let child = self.child();
        self.steer(key, child);
        self.until_spawn(&spawn, "killed");
        let spawn = self.spawn(json!({"task": "hello", "agent": "sample", "sessionKey": key}));
        self.until_spawn(&spawn, "completed");
        let spawn = self.spawn(json!({"task": "fail because of the test", "agent": "sample"}));
        let failed = self.until_spawn(&spawn, "failed");
        assert!(failed.to_string().contains("of the test"), "{failed}");
    }
}

/// The state of a process (`T` is stopped); none where it is gone.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next().filter(|state| *state != 'Z')
}

/// A shell that was stopped between the fork and the execution of a command waits for its child (`D`), which is stopped.
fn is_stopped(pid: u32) -> bool {
    match state(pid) {
        Some('T') => true,
        Some('D') => children_of(pid).into_iter().any(|child| state(child) == Some('T')),
        _ => false,
    }
}

fn goes_on(pid: u32) -> bool {
    state(pid).is_some() && !is_stopped(pid)
}

fn children_of(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let all = std::fs::read_dir("/proc").expect("the kernel lists processes").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|child| parent(*child) == Some(pid) && state(*child).is_some())
        .collect()
}

#[test]
fn protocol_4_spawns_follows_pauses_resumes_and_kills() {
    let scene = Scene::set(&Setup::new(), "auto");
    let shown = scene.until_online("openclaw", json!(4));
    assert!(shown["version"].as_str().is_some_and(|version| version.contains("+gatewarden")), "{shown}");
    scene.commands_run();
    scene.tasks_run();
    scene.daemon.until(scene.id, "sessions are counted", PATIENCE, |shown| shown["sessions_count"].is_i64());
    let history = scene.daemon.get("/api/sessions/agent:sample:steered/history").expect(200).json();
    assert!(history.to_string().contains("You said: hello"), "{history}");
}

#[test]
fn protocol_3_spawns_follows_pauses_resumes_and_kills() {
    let setup = Setup::new().env("GATEWARDEN_GATEWAY__MAX_PROTOCOL", "3");
    let scene = Scene::set(&setup, "auto");
    scene.until_online("openclaw", json!(3));
    scene.commands_run();
    scene.tasks_run();
}

/// Over HTTP only the list of sessions tells how runs go on, and that is read every 15 s: all is begun before anything is awaited.
#[test]
fn plain_http_spawns_pauses_resumes_and_kills() {
    let scene = Scene::set(&Setup::new(), "http");
    scene.until_online("http", Value::Null);
    let command = scene.spawn(json!({"command": "count"}));
    let command_child = scene.child();
    let key = "agent:sample:steered";
    let task = scene.spawn(json!({"task": "count to 500", "agent": "sample", "sessionKey": key}));
    let task_child = wait::until_ok("the task runs, too", PATIENCE, || {
        let others: Vec<u32> =
            children_of(scene.gateway.pid()).into_iter().filter(|child| *child != command_child).collect();
        if let [child] = others[..] { Ok(child) } else { Err(format!("{others:?}")) }
    });
    let command_key = scene.until_spawn(&command, "running")["sessionKey"].as_str().expect("a session").to_owned();
    for (key, child) in [(command_key.as_str(), command_child), (key, task_child)] {
        scene.until_session(key, "active");
        scene.steer_process(key, child);
    }
    let ended = scene.spawn(json!({"command": "brief"}));
    let done = scene.spawn(json!({"task": "hello", "agent": "sample", "sessionKey": "agent:sample:other"}));
    let failed = scene.spawn(json!({"task": "fail because of the test", "agent": "sample"}));
    for (spawn, status) in
        [(&command, "killed"), (&task, "killed"), (&ended, "failed"), (&done, "completed"), (&failed, "failed")]
    {
        scene.until_spawn(spawn, status);
    }
}

#[test]
fn rpc_clients_spawn_follow_pause_resume_and_kill() {
    let home = home_with("");
    let gateway = home.start(&[]);
    let (_, refused) = RpcClient::open(gateway.address, "wrong");
    assert!(!refused["error"].is_null(), "{refused}");
    let (mut client, answer) = RpcClient::open(gateway.address, &home.token());
    assert!(answer["error"].is_null(), "{answer}");
    client.call("health", json!({}));
    assert!(client.call("gateway.info", json!({})).to_string().contains("+gatewarden"));
    let agents = client.call("agents.list", json!({}));
    assert_eq!(agents["agents"].as_array().map(Vec::len), Some(2), "{agents}");

    let running = client.call("spawn", json!({"command": "count"}));
    let pid = running["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process");
    client.event("log", |line| line["message"] == "number 2");
    let key = running["sessionKey"].as_str().expect("a session").to_owned();
    client.call("control", json!({"sessionKey": key, "action": "pause"}));
    wait::until("its process is stopped", PATIENCE, || is_stopped(pid));
    client.call("control", json!({"sessionKey": key, "action": "resume"}));
    wait::until("its process goes on", PATIENCE, || goes_on(pid));
    client.call("control", json!({"sessionKey": key, "action": "kill"}));
    wait::until("its process is gone", PATIENCE, || state(pid).is_none());
    let ended = client.event("spawn_result", |result| result["status"] != "running");
    assert_eq!(ended["status"], "killed", "{ended}");
}

#[test]
fn a_wrong_token_is_told_as_such_in_each_dialect_and_the_right_one_cures_it() {
    let home = home_with("");
    let gateway = home.start(&[]);
    let daemon = Daemon::start();
    for transport in ["auto", "http"] {
        let id = daemon.register_with(&json!({"name": transport, "host": "127.0.0.1", "port": gateway.address.port(),
            "token": "wrong-token-0123456789", "transport": transport}));
        daemon.until_code(id, "token_mismatch");
        let _ = daemon.update(&json!({"id": id, "token": home.token()})).expect(200);
        daemon.until_status(id, "online");
        daemon.delete(id);
    }
}

#[test]
fn a_device_that_must_be_approved_is_told_how_and_is_let_in_afterwards() {
    let home = home_with("deviceAuth: { approveLoopback: false }");
    let gateway = home.start(&[]);
    // The first one is approved by whoever has the gateway's token, the second by the first.
    let first = Daemon::start();
    let body = json!({"name": "own", "host": "127.0.0.1", "port": gateway.address.port(), "token": home.token()});
    let waits = |daemon: &Daemon, id: i64| {
        let shown = daemon.until_code(id, "pairing_required");
        let request = shown["pairing"]["request_id"].as_str().expect("a request").to_owned();
        let sentence = format!("gatewarden gateway devices approve {request}");
        assert_eq!(shown["status"], "degraded");
        assert_eq!(shown["pairing"]["command"], sentence.as_str());
        assert!(shown["last_error"].to_string().contains(&sentence), "{shown}");
        request
    };
    let id = first.register_with(&body);
    let request = waits(&first, id);
    let (mut owner, _) = RpcClient::open(gateway.address, &home.token());
    owner.call("device.pair.approve", json!({ "requestId": request }));
    first.until_status(id, "online");

    let second = Daemon::start();
    let second_id = second.register_with(&body);
    let request = waits(&second, second_id);
    let listed = first.get(&format!("/api/nodes?action=devices&gateway_id={id}")).expect(200).json();
    assert!(listed["available"] == true && listed.to_string().contains(&request), "{listed}");
    let approve = json!({"action": "approve", "requestId": request, "gateway_id": id});
    first.post("/api/nodes", &approve).expect(200);
    // It would look again by itself, as the first one did, only later.
    second.post(&format!("/api/gateways/{second_id}/reconnect"), &json!({})).expect(200);
    second.until_status(second_id, "online");
}

#[test]
fn a_killed_gateway_comes_back_online_and_reports_what_it_left_running() {
    // Not one that the system gives to somebody else meanwhile.
    let port = free_port().to_string();
    let mut scene = Scene::at(&port, &Setup::new(), "auto");
    scene.until_online("openclaw", json!(4));
    let spawn = scene.spawn(json!({"command": "count"}));
    scene.until_spawn(&spawn, "running");
    let child = scene.child();
    scene.gateway.signal("KILL");
    let _ = scene.gateway.wait();
    scene.daemon.until(scene.id, "it is not online", PATIENCE, |shown| shown["status"] != "online");
    assert!(state(child).is_some(), "nobody has ended its process");

    scene.gateway = scene.home.start_command(scene.home.command(&["run", "--port", &port]));
    scene.until_online("openclaw", json!(4));
    let report = format!("process {child} ");
    wait::until_ok("the orphan is in the gateway's log, as the daemon shows it", PATIENCE, || {
        let log = scene.daemon.get(&format!("/api/gateways/{}/logs", scene.id)).expect(200).text;
        if log.contains(&report) && log.contains("left running") { Ok(()) } else { Err(log) }
    });
    let status = std::process::Command::new("kill").arg("-KILL").arg(child.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()));
    wait::until("the orphan is gone", PATIENCE, || state(child).is_none());
}
