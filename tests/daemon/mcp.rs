//! AI assistants: the tools and pages over standard input and output and over HTTP, each with what its key allows.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};

use serde_json::{Value, json};

use crate::support::daemon::{ADMIN_KEY, Daemon, PATIENCE, Setup};
use crate::support::http::{self, Answer};
use crate::support::scripted_gateway::{Behaviour, Form, Memory, ScriptedGateway};
use crate::support::wait;

/// A way in.
trait Assistant {
    fn send(&mut self, message: &Value) -> Value;

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let answer = self.send(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}));
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }

    fn initialize(&mut self) -> Value {
        let client = json!({"name": "test", "version": "1"});
        let wanted = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        self.ask("initialize", wanted)["result"].clone()
    }

    /// The text of a tool's result, and whether it is an error.
    fn call(&mut self, tool: &str, arguments: Value) -> (String, bool) {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        let text = answer["result"]["content"][0]["text"].as_str();
        (text.unwrap_or_else(|| panic!("{answer}")).to_owned(), answer["result"]["isError"] == true)
    }

    /// What a tool says that must work.
    fn fine(&mut self, tool: &str, arguments: Value) -> Value {
        let (text, is_error) = self.call(tool, arguments);
        assert!(!is_error, "{tool}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{tool}: {error}: {text}"))
    }
}

/// `gatewarden mcp`.
struct Stdio {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Stdio {
    fn start(daemon: &Daemon, key: &str) -> Self {
        let mut command = Setup::client_of(daemon, &["mcp"]).env("GATEWARDEN_API_KEY", key).prepared();
        command.stdin(std::process::Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        Self { child, input, output: BufReader::new(output) }
    }

    fn write(&mut self, message: &Value) {
        writeln!(self.input.as_mut().expect("open"), "{message}").expect("it reads");
    }
}

impl Assistant for Stdio {
    fn send(&mut self, message: &Value) -> Value {
        self.write(message);
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn initialize(&mut self) -> Value {
        let client = json!({"name": "test", "version": "1"});
        let wanted = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        let said = self.ask("initialize", wanted)["result"].clone();
        self.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        said
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `POST /mcp`.
struct Http<'a> {
    daemon: &'a Daemon,
    key: String,
}

impl Http<'_> {
    fn post(&self, message: &Value) -> Answer {
        self.daemon.try_call(Some(&self.key), "POST", "/mcp", Some(message)).expect("an answer")
    }
}

impl Assistant for Http<'_> {
    fn send(&mut self, message: &Value) -> Value {
        self.post(message).expect(200).json()
    }
}

/// What both ways in have to do.
fn look_after_a_gateway(assistant: &mut dyn Assistant, id: i64) {
    let said = assistant.initialize();
    assert_eq!((&said["protocolVersion"], &said["serverInfo"]["name"]), (&json!("2025-06-18"), &json!("gatewarden")));

    let tools = assistant.ask("tools/list", json!({}))["result"]["tools"].clone();
    let spawn = tools.as_array().unwrap().iter().find(|tool| tool["name"] == "spawn").unwrap();
    assert_eq!(spawn["inputSchema"]["properties"]["timeoutSeconds"]["maximum"], 604_800, "{spawn}");

    assert!(assistant.fine("fleet_status", json!({})).is_object());
    assert_eq!(assistant.fine("gateway_details", json!({"id": id}))["gateway"]["status"], "online");
    assert!(assistant.fine("check_gateways", json!({"gateway_id": id})).is_object());
    let since = assistant.fine("events_since", json!({}))["last_event_id"].clone();
    let spawned = assistant.fine("spawn", json!({"task": "look around", "gateway_id": id, "idempotency_key": "once"}));
    let again = assistant.fine("spawn", json!({"task": "look around", "gateway_id": id, "idempotency_key": "once"}));
    assert_eq!((&again["spawnId"], &again["replayed"]), (&spawned["spawnId"], &json!(true)));
    assert_eq!(assistant.fine("spawn_status", json!({"id": spawned["spawnId"]}))["spawnId"], spawned["spawnId"]);
    let seen = assistant.fine("events_since", json!({"last_event_id": since, "wait_seconds": 10}));
    let kinds: Vec<&str> =
        seen["events"].as_array().unwrap().iter().filter_map(|event| event["type"].as_str()).collect();
    assert!(kinds.contains(&"spawn_result"), "{seen}");
    assert!(assistant.fine("list_sessions", json!({})).is_object());

    for (tool, arguments, words) in [
        ("gateway_details", json!({"id": 999_999}), "not found"),
        ("gateway_details", json!({"id": 999_999}), "list_gateways lists"),
        ("list_spawns", json!({"limit": 0}), "limit must"),
        ("spawn", json!({"task": "x", "gateway_id": 0}), "gateway_id must"),
        ("gateway_details", json!({}), "needs the argument id"),
        ("spawn", json!({"task": "x", "timeoutSeconds": 0}), "timeoutSeconds"),
        ("gateway_logs", json!({"id": id, "follow": true}), "nothing else"),
        ("control_session", json!({"key": "agent:nobody:x", "action": "kill"}), "agent:nobody:x"),
        ("reboot", json!({}), "fleet_status"),
    ] {
        let (text, is_error) = assistant.call(tool, arguments);
        assert!(is_error && text.contains(words) && !text.contains("--"), "{tool}: {text}");
    }

    let pages = assistant.ask("resources/list", json!({}))["result"]["resources"].clone();
    assert!(pages.as_array().unwrap().iter().any(|page| page["uri"] == "gatewarden://docs/operations.md"), "{pages}");
    let page = assistant.ask("resources/read", json!({"uri": "gatewarden://docs/mcp.md"}));
    assert!(page["result"]["contents"][0]["text"].as_str().unwrap().starts_with("# AI assistants"), "{page}");
    assert!(assistant.ask("resources/read", json!({"uri": "gatewarden://docs/nothing.md"}))["error"].is_object());
}

fn fleet() -> (ScriptedGateway, Daemon, i64) {
    let gateway = ScriptedGateway::start(Behaviour::of(Form::Protocol4, "right").runs(Memory::Keeps));
    let daemon = Daemon::start();
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    (gateway, daemon, id)
}

/// The names of actions that the audit log has of a key, refused ones with their result.
fn audited(daemon: &Daemon, key: &str) -> Vec<String> {
    let entries = daemon.get("/api/audit?limit=200").expect(200).json();
    let of_key = |entry: &&Value| entry["actor"]["name"] == key;
    let entries = entries["audit"].as_array().unwrap_or_else(|| panic!("{entries}")).iter().filter(of_key);
    entries
        .map(|entry| format!("{} {}", entry["action"].as_str().unwrap(), entry["result"].as_str().unwrap()))
        .collect()
}

#[test]
fn an_assistant_looks_after_gateways_over_standard_input_and_output() {
    let (_gateway, daemon, id) = fleet();
    let mut assistant = Stdio::start(&daemon, ADMIN_KEY);
    look_after_a_gateway(&mut assistant, id);
    drop(assistant.input.take());
    let status = wait::until_ok("it ends with its input", PATIENCE, || match assistant.child.try_wait() {
        Ok(Some(status)) => Ok(status),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_assistant_looks_after_gateways_over_http() {
    let (_gateway, daemon, id) = fleet();
    look_after_a_gateway(&mut Http { daemon: &daemon, key: ADMIN_KEY.to_owned() }, id);
}

#[test]
fn a_tool_may_do_what_its_key_may_and_the_audit_log_has_it_under_that_key() {
    let (gateway, daemon, id) = fleet();
    let (viewer, operator) = (daemon.new_key("looker", "viewer"), daemon.new_key("worker", "operator"));
    let over_http = |key: &str| -> Box<dyn Assistant + '_> { Box::new(Http { daemon: &daemon, key: key.to_owned() }) };
    let over_stdio = |key: &str| -> Box<dyn Assistant + '_> { Box::new(Stdio::start(&daemon, key)) };
    for is_http in [true, false] {
        let way = |key: &str| if is_http { over_http(key) } else { over_stdio(key) };
        let mut looker = way(&viewer);
        looker.initialize();
        assert_eq!(looker.fine("gateway_details", json!({"id": id}))["gateway"]["name"], "lab");
        let (text, is_error) = looker.call("spawn", json!({"task": "no"}));
        assert!(is_error && text.contains("role operator"), "{text}");
        let mut worker = way(&operator);
        worker.initialize();
        worker.fine("spawn", json!({"task": "yes", "gateway_id": id}));
    }
    assert_eq!(gateway.executed().values().sum::<usize>(), 2);
    wait::until_ok("the audit log has both of each", PATIENCE, || {
        let (looker, worker) = (audited(&daemon, "looker"), audited(&daemon, "worker"));
        let expected = looker == ["spawn.create refused"; 2] && worker == ["spawn.create ok"; 2];
        if expected { Ok(()) } else { Err(format!("{looker:?} {worker:?}")) }
    });
}

#[test]
fn over_http_what_is_no_request_with_a_key_is_refused() {
    let daemon = Daemon::start();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let as_admin = Http { daemon: &daemon, key: ADMIN_KEY.to_owned() };
    let answer = as_admin.post(&ping).expect(200);
    assert_eq!(answer.json(), json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-ignored-fields"), None, "each field of a message counts");
    as_admin.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).expect(202);
    let nonsense = as_admin.post(&json!({"hello": "world"})).expect(400).json();
    assert_eq!((&nonsense["error"]["code"], nonsense.get("id")), (&json!(-32600), Some(&Value::Null)), "{nonsense}");
    let headers = [("X-API-Key", ADMIN_KEY), ("Content-Type", "application/json")];
    let garbage = http::request(daemon.address(), "POST", "/mcp", &headers, Some(b"no json")).unwrap().expect(400);
    assert_eq!(garbage.json()["error"]["code"], -32700, "{}", garbage.text);
    let batch = as_admin.post(&json!([])).expect(400);
    assert_eq!(batch.json()["error"]["code"], -32600, "{}", batch.text);
    for method in ["tools/burn", "prompts/list"] {
        let unknown = as_admin.post(&json!({"jsonrpc": "2.0", "id": 1, "method": method})).expect(200);
        assert_eq!(unknown.json()["error"]["code"], -32601, "{}", unknown.text);
        assert!(unknown.text.contains(&format!("There is no method {method}; there are")), "{}", unknown.text);
    }
    for (method, status) in [("GET", 405), ("DELETE", 405)] {
        daemon.call(method, "/mcp", None).expect(status);
    }
    let text = ping.to_string();
    for headers in [vec![], vec![("X-API-Key", "wrong")]] {
        let refused = http::request(daemon.address(), "POST", "/mcp", &headers, Some(text.as_bytes())).unwrap();
        assert_eq!(refused.status, 401, "{}", refused.text);
    }
    let foreign = [("X-API-Key", ADMIN_KEY), ("Host", "evil.example")];
    let refused = http::request(daemon.address(), "POST", "/mcp", &foreign, Some(text.as_bytes())).unwrap();
    assert_eq!(refused.status, 421, "{}", refused.text);
}

#[test]
fn over_standard_input_what_is_no_message_and_what_is_unknown_is_answered() {
    let daemon = Daemon::start();
    let mut assistant = Stdio::start(&daemon, ADMIN_KEY);
    assistant.initialize();
    assert_eq!(assistant.send(&json!({"hello": "world"}))["error"]["code"], -32600);
    let unknown = assistant.ask("tools/burn", json!({}));
    assert!(
        unknown["error"]["message"].as_str().unwrap().contains("There is no method tools/burn; there are"),
        "{unknown}"
    );
}

#[test]
fn over_standard_input_initialize_comes_first_and_once_and_what_is_out_of_order_ends_nothing() {
    let daemon = Daemon::start();
    let mut assistant = Stdio::start(&daemon, ADMIN_KEY);
    // Nobody asked, and nobody is answered.
    let unasked = [
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 77, "result": {}}),
        json!({"jsonrpc": "2.0", "error": {"code": -32600, "message": "x"}}),
    ];
    unasked.iter().for_each(|message| assistant.write(message));
    assert_eq!(assistant.ask("ping", json!({}))["result"], json!({}), "before everything else, too");
    let code_and_words = |answer: Value| {
        let words = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        (answer["error"]["code"].clone(), words)
    };
    for method in ["tools/list", "tools/burn"] {
        let (code, words) = code_and_words(assistant.ask(method, json!({})));
        assert!(code == -32600 && words.contains("must be initialize"), "{method}: {code} {words}");
    }
    let (code, words) = code_and_words(assistant.ask("initialize", json!({"capabilities": {}})));
    assert!(code == -32602 && words.contains("protocolVersion"), "{code} {words}");
    assert_eq!(assistant.initialize()["serverInfo"]["name"], "gatewarden");
    let wanted =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let (code, words) = code_and_words(assistant.ask("initialize", wanted));
    assert!(code == -32600 && words.contains("comes once"), "{code} {words}");
    unasked.iter().for_each(|message| assistant.write(message));
    assert!(assistant.fine("fleet_status", json!({})).is_object());
}

#[test]
fn the_key_does_not_come_from_the_input_that_the_assistant_speaks_over() {
    let daemon = Daemon::start();
    let ended = Setup::client_of(&daemon, &["mcp", "--key-file", "-"]).run();
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    assert!(ended.stderr.contains("--key-file"), "{}", ended.stderr);
}
