//! What a gateway keeps and tells: sessions, agents, their files, its configuration and its log.

use std::path::PathBuf;

use gatewarden_embedded_gateway::config::{CommandTemplate, ConfiguredAgent};
use serde_json::{Value, json};

use crate::support::{Client, Connect, Gateway, TOKEN, within};

async fn protocol_3(gateway: &Gateway) -> Client {
    Client::connect_as(gateway, Connect { protocols: (3, 3), ..Connect::default() }).await.unwrap()
}

#[actix::test]
async fn sessions_are_made_listed_renamed_and_deleted() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let made = client.call("sessions.create", json!({"key": "agent:main:probe", "label": "Probe"})).await;
    assert_eq!((&made["ok"], &made["runStarted"]), (&json!(true), &json!(false)));
    let again = client.call("sessions.create", json!({"key": "agent:main:probe"})).await;
    assert_eq!(again["sessionId"], made["sessionId"]);
    let taken = client.try_call("sessions.create", json!({"key": "agent:main:other", "label": "Probe"})).await;
    assert_eq!(taken.unwrap_err()["message"], "label already in use: Probe");
    let unknown = client.try_call("sessions.create", json!({"agentId": "nope"})).await;
    assert_eq!(unknown.unwrap_err()["message"], "Unknown agent id \"nope\"; known: main");

    client.call("sessions.patch", json!({"key": "agent:main:probe", "thinkingLevel": "high", "label": null})).await;
    let listed = client.call("sessions.list", json!({"limit": 1})).await;
    assert_eq!((&listed["count"], &listed["totalCount"], &listed["hasMore"]), (&json!(1), &json!(1), &json!(false)));
    let row = &listed["sessions"][0];
    assert_eq!((&row["key"], &row["thinkingLevel"]), (&json!("agent:main:probe"), &json!("high")));
    assert!(row.get("label").is_none());

    let main = client.try_call("sessions.delete", json!({"key": "main"})).await.unwrap_err();
    assert_eq!(main["message"], "Cannot delete the main session (agent:main:main).");
    assert_eq!(client.call("sessions.delete", json!({"key": "agent:main:probe"})).await["deleted"], true);
    assert_eq!(client.call("sessions.delete", json!({"key": "agent:main:probe"})).await["deleted"], false);
    let strange = client.try_call("sessions.list", json!({"nope": 1})).await.unwrap_err();
    assert_eq!(strange["message"], "invalid sessions.list params: at root: unexpected property 'nope'");
    gateway.stop().await;
}

#[actix::test]
async fn followers_of_both_protocols_hear_of_changes_in_their_own_words() {
    let gateway = Gateway::start(|_| {}).await;
    let (mut four, mut three) = (Client::connect(&gateway).await, protocol_3(&gateway).await);
    assert_eq!(four.call("sessions.subscribe", json!({})).await["subscribed"], true);
    assert_eq!(three.call("sessions.subscribe", json!({})).await["subscribed"], true);
    four.call("sessions.create", json!({"key": "agent:main:a"})).await;
    let told = four.event("sessions.changed").await;
    assert_eq!((&told["reason"], &told["session"]["key"]), (&json!("create"), &json!("agent:main:a")));
    let told = three.event("sessions.changed").await;
    assert_eq!((&told["reason"], &told["kind"]), (&json!("create"), &json!("direct")));
    assert!(told.get("session").is_none());
    gateway.stop().await;
}

#[actix::test]
async fn a_gateway_that_starts_again_knows_its_sessions_and_agents() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let made = client.call("sessions.create", json!({"key": "agent:main:kept", "label": "Kept"})).await;
    client.call("sessions.create", json!({"key": "agent:main:gone"})).await;
    client.call("sessions.delete", json!({"key": "agent:main:gone"})).await;
    let created = client.call("agents.create", json!({"name": "Worker One"})).await;
    assert_eq!(created["agentId"], "worker-one");
    let state = gateway.stop().await;

    let gateway = Gateway::start_in(state, |_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let listed = client.call("sessions.list", json!({})).await;
    assert_eq!(listed["totalCount"], 1);
    assert_eq!(listed["sessions"][0]["sessionId"], made["sessionId"]);
    assert_eq!(listed["sessions"][0]["label"], "Kept");
    let agents = client.call("agents.list", json!({})).await;
    let ids: Vec<&str> = agents["agents"].as_array().unwrap().iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, ["main", "worker-one"]);
    gateway.stop().await;
}

#[actix::test]
async fn files_of_an_agent_have_names_from_a_list() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    client.call("agents.create", json!({"name": "w"})).await;
    let file = json!({"agentId": "w", "name": "TOOLS.md", "content": "# tools\n"});
    assert_eq!(client.call("agents.files.set", file).await["file"]["size"], 8);
    let read = client.call("agents.files.get", json!({"agentId": "w", "name": "TOOLS.md"})).await;
    assert_eq!(read["file"]["content"], "# tools\n");
    for name in ["../TOOLS.md", "tools.md", "/etc/passwd", "agents.json"] {
        let refused = client.try_call("agents.files.get", json!({"agentId": "w", "name": name})).await.unwrap_err();
        assert_eq!(refused["message"], format!("unsupported file \"{name}\""));
    }
    let unknown = client.try_call("agents.files.list", json!({"agentId": "nope"})).await.unwrap_err();
    assert_eq!(unknown["message"], "agent \"nope\" not found");
    gateway.stop().await;
}

#[actix::test]
async fn the_configuration_is_shown_without_its_secrets() {
    let gateway = Gateway::start(|config| {
        let template = CommandTemplate {
            program: PathBuf::from("/bin/true"),
            args: vec!["--api-key=sk-argument-secret".into()],
            allowed_args: Vec::new(),
            env: [("API_KEY".to_owned(), "env-secret-value".to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())]
                .into(),
            allowed_env: Default::default(),
            working_dirs: Vec::new(),
            json_lines: false,
            timeout: None,
        };
        config.commands.insert("probe".into(), template);
        let agent = ConfiguredAgent {
            name: "Coder".into(),
            command: Some("probe".into()),
            acp: None,
            workspace: config.state_dir.join("workspaces/coder"),
            model: Some("mock/m1".into()),
        };
        config.agents.insert("coder".into(), agent);
        config.default_agent = Some("coder".into());
    })
    .await;
    let mut four = Client::connect(&gateway).await;
    let shown = four.call("config.get", json!({})).await;
    let text = shown.to_string();
    for secret in [TOKEN, "env-secret-value", "sk-argument-secret"] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert_eq!(shown["config"]["gateway"]["auth"]["token"], "__OPENCLAW_REDACTED__");
    assert_eq!(shown["config"]["gatewarden"]["commands"]["probe"]["env"]["LANG"], "__OPENCLAW_REDACTED__");
    assert_eq!(shown["config"]["agents"]["entries"]["coder"]["name"], "Coder");
    assert_eq!(shown["hash"].as_str().map(str::len), Some(64));
    let mut three = protocol_3(&gateway).await;
    let shown = three.call("config.get", json!({})).await;
    assert_eq!(shown["config"]["agents"]["list"][0]["id"], "coder");
    assert_eq!(four.call("models.list", json!({})).await["models"][0]["provider"], "mock");
    gateway.stop().await;
}

#[actix::test]
async fn a_gateway_tells_of_itself() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let health = client.call("health", json!({})).await;
    assert_eq!(
        (&health["ok"], &health["status"], &health["defaultAgentId"]),
        (&json!(true), &json!("ok"), &json!("main"))
    );
    let status = client.call("status", json!({})).await;
    assert_eq!((&status["sessions"]["count"], &status["pid"]), (&json!(0), &json!(std::process::id())));
    assert!(status["processMemory"]["rssBytes"].as_u64().is_some_and(|bytes| bytes > 0));
    let info = client.call("gateway.info", json!({})).await;
    assert_eq!(info["port"], gateway.running().address.port());
    assert_eq!((&info["bind"], &info["channels"]), (&json!("loopback"), &json!([])));
    assert_eq!(client.call("channels.status", json!({})).await["channels"], json!({}));
    let presence = client.call("system-presence", json!({})).await;
    assert_eq!((&presence[0]["reason"], presence.as_array().map(Vec::len)), (&json!("self"), Some(1)));
    let log = client.call("logs.tail", json!({"limit": 5})).await;
    assert!(log["lines"].is_array() && log["cursor"].is_u64());
    gateway.stop().await;
}

#[actix::test]
async fn a_state_directory_that_cannot_be_written_is_said_and_the_gateway_goes_on() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    // A file where the folder of the transcripts belongs: every one of them fails, as on a full disk.
    std::fs::write(gateway.state_dir().join("sessions"), "in the way").unwrap();
    client.call("sessions.create", json!({"key": "agent:main:a"})).await;
    let degraded = within(async {
        loop {
            let health = client.call("health", json!({})).await;
            if health["status"] == "degraded" {
                return health;
            }
        }
    })
    .await;
    let reasons: &Value = &degraded["eventLoop"]["reasons"];
    assert!(reasons[0].as_str().is_some_and(|reason| reason.contains("could not be written")), "{reasons}");
    assert_eq!(client.call("sessions.list", json!({})).await["totalCount"], 1);
    gateway.stop().await;
}
