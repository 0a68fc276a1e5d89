//! The embedded gateway and the real `openclaw` command of both releases: it gets its answers, as far as the methods exist.
//!
//! Each call starts a whole Node program, which takes seconds of processor time: one call a thing to know.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::peer::{NEWEST, OLDER, Peer};
use crate::support::daemon::PATIENCE;
use crate::support::own_gateway::{GatewayHome, GatewayProcess};
use crate::support::screen::Screen;
use crate::support::{page_device, wait};

/// Its own limit of 10 s runs while it still loads itself, which is too short on a busy machine.
const PATIENT: [&str; 2] = ["--timeout", "60000"];

pub(crate) fn home() -> GatewayHome {
    home_with("")
}

/// The same with more in its configuration.
pub(crate) fn home_with(more: &str) -> GatewayHome {
    let program = json!(env!("CARGO_BIN_EXE_gatewarden"));
    GatewayHome::with(
        "openclaw.json",
        &format!(
            "{{{more}
              agents: {{ entries: {{ sample: {{ name: 'Sample', command: 'sample', default: true }} }} }},
              gatewarden: {{
                metrics: {{ enabled: false }},
                commands: {{ sample: {{ program: {program}, args: ['gateway', 'sample-agent'], jsonLines: true }} }},
              }},
            }}"
        ),
    )
}

/// The command of a release, pointed at our gateway, with a home of its own.
pub(crate) struct Cli<'a> {
    pub(crate) version: &'static str,
    pub(crate) home: &'a GatewayHome,
    pub(crate) gateway: &'a GatewayProcess,
}

impl Cli<'_> {
    /// Runs it, told of the gateway on its command line; what it prints when it succeeds.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> String {
        self.run_plain(&[words, &["--url", &self.gateway.url, "--token", &self.home.token()], &PATIENT].concat())
    }

    /// Tells it of the gateway in its own configuration: some commands have no flags for that.
    pub(crate) fn configure(&self) {
        let state = self.own_home().join("state");
        std::fs::create_dir_all(&state).expect("a directory");
        let remote = json!({"url": self.gateway.url, "token": self.home.token()});
        let config = json!({"gateway": {"mode": "remote", "remote": remote}, "agents": {"list": [{"id": "sample"}]}});
        std::fs::write(state.join("openclaw.json"), config.to_string()).expect("written");
    }

    fn own_home(&self) -> PathBuf {
        self.home.path().join(format!("cli-{}", self.version))
    }

    #[track_caller]
    pub(crate) fn run_plain(&self, words: &[&str]) -> String {
        self.run_with(words, &[])
    }

    /// What it says where it fails.
    #[track_caller]
    pub(crate) fn refusal(&self, words: &[&str]) -> String {
        let where_to = ["--url", &self.gateway.url, "--token", &self.home.token()];
        let output = self.output(&[words, &where_to, &PATIENT].concat(), &[]);
        assert!(!output.status.success(), "openclaw {words:?} succeeded");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/openclaw"));
        command.args(["cli", self.version]).args(words).env("OPENCLAW_CLI_HOME", self.own_home());
        command
    }

    fn output(&self, words: &[&str], environment: &[(&str, &PathBuf)]) -> Output {
        self.command(words).envs(environment.iter().copied()).output().expect("the tool runs")
    }

    #[track_caller]
    fn run_with(&self, words: &[&str], environment: &[(&str, &PathBuf)]) -> String {
        let output = self.output(words, environment);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openclaw {words:?} of {}: {stdout}\n{stderr}", self.version);
        stdout
    }

    /// `openclaw gateway call METHOD --json`.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, more: &[&str]) -> Value {
        let said = self.run(&[&["gateway", "call", method, "--json"], more].concat());
        json_in(&said).unwrap_or_else(|| panic!("{method} of {} printed no JSON: {said}", self.version))
    }
}

/// What it prints may begin with lines for people.
pub(crate) fn json_in(said: &str) -> Option<Value> {
    said.match_indices('{').find_map(|(at, _)| serde_json::from_str(said.get(at..)?.trim()).ok())
}

fn the_methods_answer(cli: &Cli<'_>) {
    let health = cli.call("health", &[]);
    assert_eq!(health["ok"], true, "{health}");
    let status = cli.call("status", &[]);
    assert!(status.to_string().contains("+gatewarden"), "{status}");
    let agents = cli.call("agents.list", &[]);
    assert_eq!((&agents["defaultId"], &agents["agents"][0]["id"]), (&json!("sample"), &json!("sample")), "{agents}");
    assert_eq!(cli.call("sessions.list", &[])["count"], 0);
    let channels = cli.call("channels.status", &[]);
    assert!(channels["channels"].is_object(), "{channels}");
    let config = cli.call("config.get", &[]).to_string();
    assert!(config.contains("sample") && !config.contains(&cli.home.token()), "{config}");
    let log = cli.call("logs.tail", &[]);
    assert!(log["lines"].as_array().is_some_and(|lines| !lines.is_empty()), "{log}");
}

fn an_agent_answers(cli: &Cli<'_>, key: &str) {
    let params = json!({"agentId": "sample", "message": "hello there", "idempotencyKey": key}).to_string();
    let done = cli.call("agent", &["--params", &params, "--expect-final"]);
    assert_eq!(done["status"], "ok", "{done}");
    assert_eq!(done["result"]["payloads"][0]["text"], "You said: hello there", "{done}");
    let sessions = cli.call("sessions.list", &[]);
    assert_eq!(sessions["sessions"][0]["key"], "agent:sample:main", "{sessions}");
}

/// What people type, as far as it reaches a gateway at all.
fn people_get_their_answers(cli: &Cli<'_>) {
    assert!(cli.run(&["gateway", "health"]).contains("OK"));
    let status = cli.run(&["gateway", "status"]);
    assert!(status.contains("probe: ok"), "{status}");
    let log = cli.run(&["logs", "--limit", "20"]);
    assert!(log.contains("WebSocket connection established"), "{log}");
    cli.configure();
    let health = cli.run_plain(&[&["health"], &PATIENT[..]].concat());
    assert!(health.contains("sample (default)") && !health.contains("NaN"), "{health}");
    let presence = cli.run_plain(&[&["system", "presence"], &PATIENT[..]].concat());
    assert!(presence.contains("+gatewarden"), "{presence}");
    let answer = cli.run_plain(&["agent", "--agent", "sample", "--message", "hello again", "--json"]);
    assert!(answer.contains("You said: hello again"), "{answer}");
}

fn a_device_is_approved(cli: &Cli<'_>) {
    let page_device::Asked { device, answer, .. } = page_device::ask(cli.gateway, &cli.home.token(), 9);
    assert_eq!(answer["error"]["details"]["code"], "PAIRING_REQUIRED", "{answer}");
    let listed = json_in(&cli.run(&["devices", "list", "--json"])).expect("JSON");
    let request = listed["pending"][0]["requestId"].as_str().unwrap_or_else(|| panic!("nobody waits: {listed}"));
    assert_eq!(listed["pending"][0]["deviceId"], device.as_str());
    cli.run(&["devices", "approve", request, "--json"]);
    let listed = json_in(&cli.run(&["devices", "list", "--json"])).expect("JSON");
    assert!(listed["paired"].to_string().contains(&device), "{listed}");
    assert!(listed["pending"].as_array().is_none_or(Vec::is_empty), "{listed}");
}

/// Its own editor changes the file as far as it knows the keys; the methods change it whole.
#[test]
fn the_command_changes_the_configuration() {
    let home = GatewayHome::with("openclaw.json", "{ gateway: { port: 18789, controlUi: { enabled: true } } }");
    let gateway = home.start(&[]);
    let cli = Cli { version: NEWEST, home: &home, gateway: &gateway };
    let file = home.path().join("openclaw.json");
    let edit = |words: &[&str]| cli.run_with(&[&["config"], words].concat(), &[("OPENCLAW_CONFIG_PATH", &file)]);
    assert_eq!(edit(&["get", "gateway.port"]).trim(), "18789");
    edit(&["set", "gateway.controlUi.allowedOrigins", r#"["https://mc.example"]"#]);
    let shown = cli.call("config.get", &[]);
    assert_eq!(shown["unapplied"]["reload"], json!(["gateway.controlUi.allowedOrigins"]), "{shown}");
    gateway.signal("HUP");
    wait::until_ok("the file counts", PATIENCE, || {
        let log = home.log();
        if log.contains("counts at once: gateway.controlUi.allowedOrigins") { Ok(()) } else { Err(log) }
    });

    let hash = shown["hash"].as_str().expect("a hash").to_owned();
    let raw = r#"{ logging: { level: "debug" } }"#;
    let params = json!({"raw": raw, "baseHash": hash}).to_string();
    let changed = cli.call("config.patch", &["--params", &params]);
    assert_eq!((&changed["applied"], &changed["restartRequired"]), (&json!(["logging.level"]), &json!([])));
    assert_eq!(edit(&["get", "logging.level"]).trim(), "debug");
    let refused = cli.refusal(&["gateway", "call", "config.patch", "--params", &params]);
    assert!(refused.contains("config changed since last load; re-run config.get and retry"), "{refused}");
    let schema = cli.call("config.schema", &[]);
    assert!(schema["schema"]["properties"]["gatewarden"].is_object(), "{schema}");
}

#[test]
fn the_command_of_the_newest_release_gets_its_answers() {
    let home = home();
    let gateway = home.start(&[]);
    let cli = Cli { version: NEWEST, home: &home, gateway: &gateway };
    the_methods_answer(&cli);
    an_agent_answers(&cli, "interop-key-0123456789");
    people_get_their_answers(&cli);
    a_device_is_approved(&cli);
    the_rest_is_refused_or_said(&cli);
    a_terminal_chats(&cli);
}

/// Of the table in docs/embedded-gateway.md what nothing else here does.
fn the_rest_is_refused_or_said(cli: &Cli<'_>) {
    let page_device::Asked { device, .. } = page_device::ask(cli.gateway, &cli.home.token(), 10);
    let listed = json_in(&cli.run(&["devices", "list", "--json"])).expect("JSON");
    let request = listed["pending"][0]["requestId"].as_str().unwrap_or_else(|| panic!("nobody waits: {listed}"));
    cli.run(&["devices", "reject", request, "--json"]);
    assert!(!cli.run(&["devices", "list", "--json"]).contains(&device));
    for (words, unknown) in [
        (&["gateway", "stability"][..], "diagnostics.stability"),
        (&["gateway", "usage-cost"], "usage.cost"),
        (&["devices", "join-code"], "device.pair.setupCode"),
    ] {
        let said = cli.refusal(words);
        assert!(said.contains(&format!("unknown method: {unknown}")), "{words:?}: {said}");
    }
    assert!(cli.run_plain(&["status"]).contains("reachable"));
}

/// `openclaw tui`, as somebody at a keyboard has it.
fn a_terminal_chats(cli: &Cli<'_>) {
    let where_to = ["--url", &cli.gateway.url, "--token", &cli.home.token()];
    let terminal = Screen::conversing(cli.command(&[&["tui"], &where_to[..]].concat()));
    terminal.until("it is connected", |drawn| drawn.contains("connected | idle"));
    terminal.presses("hello from a terminal\r");
    terminal.until("the agent answers", |drawn| drawn.contains("said: hello from a terminal"));
    // It draws over what it said of its start, unless the machine is slow.
    for failure in ["unknown method", "refresh failed"] {
        assert!(!terminal.drawn().contains(failure), "{}", terminal.drawn());
    }
}

/// What `openclaw gateway probe` says of a gateway, but for how long it took.
fn probed(cli: &Cli<'_>, url: &str, token: &str) -> Vec<String> {
    let said = cli.run_plain(&[&["gateway", "probe", "--url", url, "--token", token], &PATIENT[..]].concat());
    let is_told = |line: &&str| ["Reachable", "Capability", "Read probe"].iter().any(|word| line.contains(word));
    // Another gateway of this machine may be told of after the one that is asked about.
    let lines = said.lines().take_while(|line| !line.starts_with("Local loopback")).filter(is_told);
    let without_time = |line: &str| match (line.find(" ("), line.find("ms)")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to + 3..]),
        _ => line.to_owned(),
    };
    lines.map(without_time).collect()
}

/// The command asks for no scopes, so that neither lets it read.
#[test]
fn a_probe_says_the_same_of_it_and_of_a_real_gateway() {
    let home = home();
    let gateway = home.start(&[]);
    let cli = Cli { version: NEWEST, home: &home, gateway: &gateway };
    let ours = probed(&cli, &gateway.url, &home.token());
    let peer = Peer::start(NEWEST);
    let real = probed(&cli, &format!("ws://127.0.0.1:{}", peer.port), &peer.token);
    assert_eq!(ours, real);
    let target = "Capability: connect-only · Read probe: limited - missing scope: operator.read";
    assert!(ours[0] == "Reachable: yes" && ours.iter().any(|line| line.ends_with(target)), "{ours:?}");
}

#[test]
fn the_command_of_the_older_release_gets_its_answers() {
    let home = home();
    let gateway = home.start(&[]);
    let cli = Cli { version: OLDER, home: &home, gateway: &gateway };
    the_methods_answer(&cli);
    an_agent_answers(&cli, "interop-key-0123456789");
    people_get_their_answers(&cli);
    a_device_is_approved(&cli);
}
