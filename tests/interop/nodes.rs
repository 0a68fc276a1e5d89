//! `openclaw node run` and `openclaw nodes`, the real node host and the real command of the newest release, with the embedded gateway
//! between them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::embedded::{Cli, home, json_in};
use crate::peer::NEWEST;
use crate::support::own_gateway::{GatewayHome, GatewayProcess};
use crate::support::wait;

/// A node host loads half of OpenClaw before it connects, which takes a busy machine minutes.
const START: Duration = Duration::from_secs(240);

/// A node host with a home of its own. It ends with its value.
struct NodeHost {
    process: Child,
    log: PathBuf,
}

impl NodeHost {
    fn start(home: &GatewayHome, gateway: &GatewayProcess) -> Self {
        let own_home = home.path().join("node-host");
        std::fs::create_dir_all(&own_home).expect("a directory");
        let log = home.path().join("node-host.log");
        let file = std::fs::File::options().create(true).append(true).open(&log).expect("a file");
        let port = gateway.address.port().to_string();
        let process = Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/openclaw"))
            .args(["cli", NEWEST, "node", "run", "--host", "127.0.0.1", "--port", &port, "--display-name", "Studio"])
            .env("OPENCLAW_CLI_HOME", &own_home)
            .env("OPENCLAW_GATEWAY_TOKEN", home.token())
            .env("OPENCLAW_NO_AUTO_UPDATE", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a handle"))
            .stderr(file)
            .spawn()
            .expect("the node host starts");
        Self { process, log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for NodeHost {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The one node as the command shows it, once its host has said for the n-th time that it is connected.
#[track_caller]
fn node(cli: &Cli<'_>, host: &NodeHost, times: usize) -> Value {
    wait::until_ok("the node host is connected", START, || {
        let said = host.said();
        if said.matches("node host gateway connected").count() >= times { Ok(()) } else { Err(said) }
    });
    asked(cli, &["status", "--json"])["nodes"][0].clone()
}

fn asked(cli: &Cli<'_>, words: &[&str]) -> Value {
    let said = cli.run(&[&["nodes"], words].concat());
    json_in(&said).unwrap_or_else(|| panic!("nodes {words:?} printed no JSON: {said}"))
}

#[test]
fn a_node_host_is_approved_asked_renamed_and_removed_by_the_command() {
    let home = home();
    let gateway = home.start(&[]);
    let cli = Cli { version: NEWEST, home: &home, gateway: &gateway };
    let host = NodeHost::start(&home, &gateway);
    let row = node(&cli, &host, 1);
    assert_eq!((&row["displayName"], &row["approvalState"]), (&json!("Studio"), &json!("pending-approval")), "{row}");
    let id = row["nodeId"].as_str().expect("an id").to_owned();
    let which = ["invoke", "--node", "Studio", "--command", "system.which", "--params", r#"{"bins":["uname"]}"#];
    let refused = cli.refusal(&[&["nodes"], &which[..]].concat());
    assert!(refused.contains("pending approval"), "{refused}");

    let pending = cli.run(&["nodes", "pending", "--json"]);
    let request = row["pendingRequestId"].as_str().expect("a request");
    assert!(pending.contains(request) && pending.contains("operator.admin"), "{pending}");
    let approved = asked(&cli, &["approve", request]);
    assert!(approved["node"]["commands"].to_string().contains("system.run"), "{approved}");
    let answer = asked(&cli, &which);
    assert!(answer["payload"]["bins"]["uname"].to_string().contains("/uname"), "{answer}");
    let unknown = cli.refusal(&["nodes", "invoke", "--node", "Studio", "--command", "camera.snap"]);
    assert!(unknown.contains("node command not allowed"), "{unknown}");
    let described = cli.run(&["nodes", "describe", "--node", &id]);
    assert!(described.contains("approved") && described.contains("- system.which"), "{described}");

    // A program, as an agent of a real gateway would have it run.
    let params = json!({
        "nodeId": id, "command": "system.run", "params": {"command": ["/bin/echo", "hello from the node"]},
        "idempotencyKey": "interop-node-run-1",
    });
    let ran = cli.call("node.invoke", &["--params", &params.to_string()]);
    assert!(ran["payload"]["stdout"].to_string().contains("hello from the node"), "{ran}");

    cli.run(&["nodes", "rename", "--node", "Studio", "--name", "Cellar"]);
    let listed = cli.run(&["nodes", "list"]);
    assert!(listed.contains("Cellar") && listed.contains("Paired: 1"), "{listed}");
    let presence: String = cli.run(&["gateway", "call", "system-presence", "--json"]).split_whitespace().collect();
    assert!(presence.contains(r#""roles":["node"]"#), "{presence}");
    drop(host);
    let refused = cli.refusal(&["nodes", "invoke", "--node", "Cellar", "--command", "system.which"]);
    assert!(refused.contains("node not connected"), "{refused}");

    // It comes again, with its name and what was approved.
    let host = NodeHost::start(&home, &gateway);
    let row = node(&cli, &host, 2);
    assert_eq!((&row["displayName"], &row["approvalState"]), (&json!("Cellar"), &json!("approved")), "{row}");
    cli.run(&["nodes", "remove", "--node", "Cellar"]);
    wait::until_ok("the node is put out", START, || {
        let said = host.said();
        if said.contains("device removed") { Ok(()) } else { Err(said) }
    });
    // It is local and has the shared token: it pairs again by itself, with nothing of what it was.
    let row = node(&cli, &host, 3);
    assert_eq!((&row["displayName"], &row["approvalState"]), (&json!("Studio"), &json!("pending-approval")), "{row}");
    assert_eq!(row["commands"], json!([]));
}
