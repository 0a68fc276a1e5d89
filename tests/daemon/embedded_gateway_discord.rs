//! Discord as a channel of the embedded gateway: the real binary, with a scripted server of Discord's API and gateway.

use serde_json::{Value, json};

use crate::discord_server::{Answer, BOT_TOKEN, Server, Talk, direct, in_guild};
use crate::support::background::runtime;
use crate::support::daemon::PATIENCE;
use crate::support::own_gateway::GatewayHome;
use crate::support::wait;

fn home(server: &Server, more: &Value) -> GatewayHome {
    let sample =
        json!({"program": env!("CARGO_BIN_EXE_gatewarden"), "args": ["gateway", "sample-agent"], "jsonLines": true});
    let mut discord = json!({"token": BOT_TOKEN, "apiRoot": server.root});
    discord.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let config = json!({
        "agents": {"entries": {"sample": {"command": "sample", "default": true}}},
        "channels": {"discord": discord},
        "gatewarden": {"metrics": {"enabled": false}, "commands": {"sample": sample}},
    });
    GatewayHome::with("openclaw.json", &config.to_string())
}

fn server() -> Server {
    runtime().block_on(Server::start())
}

fn until_written(server: &Server, channel: &str, wanted: &str) {
    wait::until_ok("the bot answers", PATIENCE, || {
        let written = server.written_to(channel);
        if written.iter().any(|text| text.contains(wanted)) { Ok(()) } else { Err(format!("{written:?}")) }
    });
}

#[test]
fn a_stranger_is_paired_by_the_command_and_then_answered_by_the_agent() {
    let server = server();
    let home = home(&server, &json!({"guilds": {"900": {}}}));
    let _gateway = home.start(&[]);
    wait::until("it listens", PATIENCE, || !server.heard(2).is_empty());
    server.says(direct(1, "5", "let me in"));
    until_written(&server, "77", "Pairing code: ");
    let said = server.written_to("77").remove(0);
    let code = said.split("Pairing code: ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a code");
    assert!(!home.log().contains("let me in"), "{}", home.log());
    let listed = home.run(&["pairing", "list"]).expect(0).stdout;
    assert!(listed.contains(&format!("pairing approve discord {code}")), "{listed}");
    home.run(&["pairing", "approve", "discord", code, "--notify"]).expect(0);
    until_written(&server, "77", "You were approved");
    server.says(direct(2, "5", "hello there"));
    until_written(&server, "77", "You said: hello there");
    server.says(in_guild(3, "710", "8", "<@666> hello all"));
    until_written(&server, "710", "You said: hello all");
    let page = home.run(&["status"]).expect(0).stdout;
    assert!(page.contains("Channels: 1 connected"), "{page}");
    let report = home.run(&["doctor"]).stdout;
    assert!(report.contains("its token is accepted, the bot is @TestBot"), "{report}");
    assert!(!home.log().contains(BOT_TOKEN) && !report.contains(BOT_TOKEN));
}

#[test]
fn a_kill_while_an_agent_works_loses_no_message_and_runs_none_twice() {
    let server = server();
    let home = home(&server, &json!({"dmPolicy": "allowlist", "allowFrom": ["5"]}));
    let mut gateway = home.start(&[]);
    wait::until("it listens", PATIENCE, || !server.heard(2).is_empty());
    server.says(direct(1, "5", "count to 100"));
    let file = home.state().join("channels/discord-default.json");
    let kept = || std::fs::read_to_string(&file).unwrap_or_default();
    wait::until("it counts", PATIENCE, || kept().contains("\"begun\":true"));
    server.says(direct(2, "5", "and then"));
    wait::until("the second message is kept", PATIENCE, || kept().contains("and then"));
    gateway.signal("KILL");
    gateway.wait();
    // This one comes while nobody is there: the session goes on with it.
    server.says(direct(3, "5", "meanwhile"));
    let _gateway = home.start(&[]);
    until_written(&server, "77", "You said: and then");
    until_written(&server, "77", "You said: meanwhile");
    until_written(&server, "77", "restarted while it worked on your message \"count to 100\"");
    let said = server.written_to("77");
    assert_eq!(said.iter().filter(|text| text.contains("You said")).count(), 2, "{said:?}");
    assert_eq!((server.heard(2).len(), server.heard(6).len()), (1, 1), "one session, gone on with");
}

#[test]
fn a_kill_between_an_answer_and_its_delivery_delivers_it_once() {
    let server = server();
    let limited =
        Answer::Json(429, json!({"message": "You are being rate limited.", "retry_after": 600.0, "global": true}));
    server.state().answers.push_back(("/messages", limited));
    let home = home(&server, &json!({"dmPolicy": "allowlist", "allowFrom": ["5"]}));
    let mut gateway = home.start(&[]);
    wait::until("it listens", PATIENCE, || !server.heard(2).is_empty());
    server.says(direct(1, "5", "hello"));
    let file = home.state().join("channels/discord-default.json");
    let kept = || std::fs::read_to_string(&file).unwrap_or_default();
    let waits = || kept().contains("You said: hello") && kept().contains("\"attempted\":false");
    wait::until("the answer waits", PATIENCE, || waits() && server.state().answers.is_empty());
    gateway.signal("KILL");
    gateway.wait();
    let _gateway = home.start(&[]);
    until_written(&server, "77", "You said: hello");
    wait::until("nothing waits any more", PATIENCE, || kept().contains("\"replies\":[]"));
    assert_eq!(server.written_to("77"), ["You said: hello"]);
}

#[test]
fn a_missing_intent_is_said_where_people_look() {
    let server = server();
    server.state().talks.push_back(Talk::Close(4014));
    let home = home(&server, &json!({}));
    let _gateway = home.start(&[]);
    wait::until_ok("the status says so", PATIENCE, || {
        let page = home.run(&["status"]).stdout;
        if page.contains("Message Content Intent") { Ok(()) } else { Err(page) }
    });
    assert_eq!(server.heard(2).len(), 1, "it isn't tried again");
}
