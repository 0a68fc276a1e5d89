//! Telegram as a channel of the embedded gateway, with a server of the Bot API that nobody here wrote (`telegram-test-api`).

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::acp;
use crate::embedded::{Cli, json_in};
use crate::peer::NEWEST;
use crate::scene::RUN_MOVES_WITHIN;
use crate::support::daemon::PATIENCE;
use crate::support::own_gateway::GatewayHome;
use crate::support::{http, ports, wait};

const TOKEN: &str = "4711:interop-token";

/// The server, and its users.
struct BotApi {
    child: Child,
    address: SocketAddr,
}

impl BotApi {
    fn start() -> Self {
        Self::at(ports::free_port())
    }

    fn at(port: u16) -> Self {
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/telegram-api");
        let mut child =
            Command::new(program).arg(port.to_string()).stdout(Stdio::piped()).spawn().expect("the tool runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), "listening");
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let headers = [("Content-Type", "application/json")];
        let body = body.to_string();
        http::request(self.address, "POST", path, &headers, Some(body.as_bytes()))
            .expect("an answer")
            .expect(200)
            .json()
    }

    /// A person writes to the bot.
    fn says(&self, person: u64, text: &str) {
        let message = json!({
            "botToken": TOKEN,
            "date": 1,
            "text": text,
            "from": {"id": person, "first_name": "Person", "is_bot": false},
            "chat": {"id": person, "type": "private"},
        });
        self.post("/sendMessage", &message);
    }

    /// What the bot has written to a person since the last look.
    fn heard(&self, person: u64) -> Vec<String> {
        let found = self.post("/getUpdates", &json!({"token": TOKEN, "chatId": person}));
        let texts = found["result"].as_array().expect("a list").iter().map(|update| update["message"]["text"].clone());
        texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    fn until_heard(&self, person: u64) -> String {
        wait::until_ok("the bot answers", PATIENCE, || {
            let heard = self.heard(person);
            if heard.is_empty() { Err("nothing".to_owned()) } else { Ok(heard.join("|")) }
        })
    }
}

impl Drop for BotApi {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn home(service: &BotApi, access: &Value) -> GatewayHome {
    home_of(service.address.port(), access)
}

/// With its service at a port of this machine.
fn home_of(port: u16, access: &Value) -> GatewayHome {
    let sample =
        json!({"program": env!("CARGO_BIN_EXE_gatewarden"), "args": ["gateway", "sample-agent"], "jsonLines": true});
    let mut telegram = json!({"botToken": TOKEN, "apiRoot": format!("http://127.0.0.1:{port}")});
    telegram.as_object_mut().expect("an object").extend(access.as_object().expect("an object").clone());
    let config = json!({
        "agents": {"entries": {"sample": {"command": "sample", "default": true}}},
        "channels": {"telegram": telegram},
        "gatewarden": {"metrics": {"enabled": false}, "commands": {"sample": sample}},
    });
    GatewayHome::with("openclaw.json", &config.to_string())
}

#[test]
fn a_stranger_is_paired_and_then_answered_by_the_agent() {
    let service = BotApi::start();
    let home = home(&service, &json!({}));
    let gateway = home.start(&[]);
    service.says(5, "hello");
    let said = service.until_heard(5);
    let code = said.split("Pairing code: ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a code");
    assert!(!home.log().contains("hello"), "{}", home.log());
    let listed = home.run(&["pairing", "list"]).expect(0).stdout;
    assert!(listed.contains(&format!("pairing approve telegram {code}")), "{listed}");
    // The real command sees the same.
    let cli = Cli { version: NEWEST, home: &home, gateway: &gateway };
    let seen = cli.call("channels.pairing.list", &[]);
    assert_eq!(seen["requests"][0]["senderId"], "5", "{seen}");
    cli.configure();
    let shown = cli.run_plain(&["channels", "status", "--timeout", "60000"]);
    let account =
        shown.lines().find(|line| line.starts_with("- Telegram default: enabled, configured, running, connected, "));
    assert!(account.is_some_and(|line| line.contains("mode:polling, bot:@TestNameBot")), "{shown}");
    home.run(&["pairing", "approve", "telegram", code, "--notify"]).expect(0);
    assert_eq!(service.until_heard(5), "You were approved. Send a message to begin.");
    service.says(5, "hello there");
    assert_eq!(service.until_heard(5), "You said: hello there");
    let status = cli.call("channels.status", &[]);
    let row = &status["channelAccounts"]["telegram"][0];
    assert_eq!((&row["connected"], &row["bot"]["username"]), (&json!(true), &json!("TestNameBot")), "{status}");
    let page = home.run(&["status"]).expect(0).stdout;
    assert!(page.contains("Channels: 1 connected"), "{page}");
    let report = home.run(&["doctor"]).stdout;
    assert!(report.contains("its token is accepted, the bot is @TestNameBot"), "{report}");
}

/// The real command asks for `operator.pairing` alone, which isn't enough here, but where it is to make an owner, too.
#[test]
fn the_real_command_approves_a_stranger_where_it_asks_for_enough() {
    let service = BotApi::start();
    let home = home(&service, &json!({}));
    let gateway = home.start(&[]);
    service.says(5, "hello");
    service.until_heard(5);
    let cli = Cli { version: NEWEST, home: &home, gateway: &gateway };
    let seen = cli.call("channels.pairing.list", &[]);
    let params = |owner: bool| {
        let request = &seen["requests"][0];
        json!({"channel": "telegram", "accountId": "default", "requestId": request["requestId"], "notify": true,
            "bootstrapCommandOwner": owner})
        .to_string()
    };
    let refused = cli.refusal(&["gateway", "call", "channels.pairing.approve", "--json", "--params", &params(false)]);
    assert!(refused.contains("missing scope: operator.write"), "{refused}");
    let approved = cli.call("channels.pairing.approve", &["--params", &params(true)]);
    let said = (&approved["senderId"], &approved["notification"], &approved["commandOwnerBootstrap"]);
    assert_eq!(said, (&json!("5"), &json!("sent"), &json!("unavailable")), "{approved}");
    assert_eq!(service.until_heard(5), "You were approved. Send a message to begin.");
    service.says(5, "hello there");
    assert_eq!(service.until_heard(5), "You said: hello there");
}

#[test]
fn a_message_is_answered_by_an_agent_that_speaks_acp_and_that_nobody_here_wrote() {
    acp::fetch();
    let service = BotApi::start();
    let agent = json!({"acp": {"program": acp::program(), "env": acp::env(), "permissions": "allow"}, "default": true});
    let telegram = json!({
        "botToken": TOKEN, "apiRoot": format!("http://{}", service.address), "dmPolicy": "open", "allowFrom": ["*"],
    });
    let config = json!({
        "agents": {"entries": {"helper": agent}},
        "channels": {"telegram": telegram},
        "gatewarden": {"metrics": {"enabled": false}},
    });
    let home = GatewayHome::with("openclaw.json", &config.to_string());
    let _gateway = home.start(&[]);
    service.says(5, "improve my project");
    let mut heard = String::new();
    wait::until_ok("the agent has answered", RUN_MOVES_WITHIN, || {
        heard.push_str(&service.heard(5).join("|"));
        let is_whole = heard.contains("Perfect! I've successfully updated the configuration.");
        if is_whole { Ok(()) } else { Err(heard.clone()) }
    });
    assert!(heard.contains("Now I understand the project structure"), "{heard}");
}

#[test]
fn a_kill_between_a_message_and_its_run_loses_nothing_and_runs_nothing_twice() {
    let service = BotApi::start();
    let home = home(&service, &json!({"dmPolicy": "allowlist", "allowFrom": [5]}));
    let mut gateway = home.start(&[]);
    service.says(5, "count to 100");
    let file = home.state().join("channels/telegram-default.json");
    let kept = || std::fs::read_to_string(&file).unwrap_or_default();
    wait::until("it counts", PATIENCE, || kept().contains("\"begun\":true"));
    service.says(5, "and then");
    wait::until("the second message is kept", PATIENCE, || kept().contains("and then"));
    gateway.signal("KILL");
    gateway.wait();
    let _gateway = home.start(&[]);
    let mut said = String::new();
    wait::until("both are answered", PATIENCE, || {
        said.push_str(&service.heard(5).join("|"));
        said.contains("You said: and then")
    });
    assert!(said.contains("restarted while it worked on your message \"count to 100\""), "{said}");
    assert_eq!(said.matches("You said").count(), 1, "{said}");
    let state = kept();
    assert!(state.contains("\"waiting\":[]"), "{state}");
}

/// The real command makes the job, and this gateway's own another one.
#[test]
fn a_jobs_answer_goes_to_a_chat_and_one_for_nobody_is_refused() {
    let service = BotApi::start();
    let home = home(&service, &json!({"dmPolicy": "allowlist", "allowFrom": [5]}));
    let gateway = home.start(&[]);
    let cli = Cli { version: NEWEST, home: &home, gateway: &gateway };
    let words = ["cron", "add", "--name", "Brief", "--every", "1h", "--message", "good morning", "--announce"];
    let to = |person: &'static str| [&words[..], &["--channel", "telegram", "--to", person]].concat();
    let refused = cli.refusal(&to("6"));
    assert!(refused.contains("add the id to allowFrom"), "{refused}");
    let refused = cli.refusal(&[&to("5")[..], &["--account", "work"]].concat());
    assert!(refused.contains("no account telegram:work is configured"), "{refused}");
    let job = json_in(&cli.run(&to("5"))).expect("a job");
    assert_eq!(job["delivery"]["to"], "5", "{job}");
    let id = job["id"].as_str().expect("an id");
    let ran = json_in(&cli.run(&["cron", "run", id, "--wait", "--poll-interval", "200ms"])).expect("a run");
    assert_eq!(
        (&ran["run"]["deliveryStatus"], &ran["completionStatus"]),
        (&json!("delivered"), &json!("succeeded")),
        "{ran}"
    );
    assert_eq!(service.until_heard(5), "You said: good morning");
    let added = ["cron", "add", "--name", "Own", "--at", "2035-01-01", "--message", "own", "--to", "5"];
    let added = home.run(&added).expect(0).stdout;
    let own = added.split_whitespace().nth(1).expect("an id");
    home.run(&["cron", "run", own]).expect(0);
    assert_eq!(service.until_heard(5), "You said: own");
    wait::until("it says so", PATIENCE, || home.run(&["cron", "runs", own]).expect(0).stdout.contains("    delivered"));
    assert!(service.heard(5).is_empty());
}

#[test]
fn a_jobs_answer_outlasts_a_kill_while_the_service_is_away() {
    let port = ports::free_port();
    let home = home_of(port, &json!({"dmPolicy": "allowlist", "allowFrom": [5]}));
    let mut gateway = home.start(&[]);
    let added = ["cron", "add", "--name", "Own", "--at", "2035-01-01", "--message", "own", "--to", "5"];
    let added = home.run(&added).expect(0).stdout;
    let id = added.split_whitespace().nth(1).expect("an id").to_owned();
    home.run(&["cron", "run", &id]).expect(0);
    let runs = || home.run(&["cron", "runs", &id]).expect(0).stdout;
    wait::until("it waits to be sent", PATIENCE, || runs().contains("delivery unknown"));
    gateway.signal("KILL");
    gateway.wait();
    let _gateway = home.start(&[]);
    let service = BotApi::at(port);
    assert_eq!(service.until_heard(5), "You said: own");
    wait::until("it says so", PATIENCE, || runs().contains("    delivered"));
}
