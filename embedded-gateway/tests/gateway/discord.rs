//! Discord over the network: a scripted server of its API and its gateway.

use std::time::Duration;

use gatewarden_embedded_gateway::channels::try_credentials;
use gatewarden_embedded_gateway::config::{
    ChannelAccess, ChannelAccount, ChannelKind, GatewayConfig, GuildRule, MemberRule,
};
use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use crate::discord_server::{Answer, BOT_TOKEN, Server, State, Talk, as_the_bot, direct, in_guild};
use crate::runs::with_agent;
use crate::support::{Client, Gateway, cost_at_rest, within};

fn account(server: &Server) -> ChannelAccount {
    let guilds = [("900".to_owned(), GuildRule::default())].into();
    ChannelAccount {
        kind: ChannelKind::Discord,
        id: "default".to_owned(),
        name: None,
        enabled: true,
        token: Some(Secret::new(BOT_TOKEN)),
        token_source: "config",
        api_root: server.root.clone(),
        message_content: true,
        cloud: Default::default(),
        text_limit: None,
        access: ChannelAccess { allow_from: vec!["5".to_owned()], guilds, ..ChannelAccess::default() },
    }
}

fn configure(server: &Server, config: &mut GatewayConfig) {
    with_agent(config, "main", false, "echo said: $(cat)");
    config.default_agent = Some("main".to_owned());
    config.channels.push(account(server));
}

async fn until(what: impl Fn() -> bool) {
    within(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn row(client: &mut Client) -> Value {
    client.call("channels.status", json!({})).await["channelAccounts"]["discord"][0].clone()
}

async fn until_row(client: &mut Client, wanted: impl Fn(&Value) -> bool) -> Value {
    within(async {
        loop {
            let row = row(client).await;
            if wanted(&row) {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// A gateway whose account is connected, and a client of it.
async fn online(server: &Server) -> (Gateway, Client) {
    let gateway = Gateway::start(|config| configure(server, config)).await;
    let mut client = Client::connect(&gateway).await;
    until_row(&mut client, |row| row["connected"] == true).await;
    (gateway, client)
}

#[actix::test]
async fn people_are_answered_in_direct_messages_and_where_they_mention_the_bot() {
    let server = Server::start().await;
    server.state().answers.extend([
        ("users/@me", Answer::Bytes("garbage\r\n\r\n")),
        ("gateway/bot", Answer::Json(429, json!({"retry_after": 0.2, "global": false}))),
        ("messages", Answer::Json(429, json!({"retry_after": 0.1, "global": false}))),
        ("messages", Answer::Lost),
        ("messages", Answer::Json(502, json!({}))),
    ]);
    let gateway = Gateway::start(|config| configure(&server, config)).await;
    let mut client = Client::connect(&gateway).await;
    let online = until_row(&mut client, |row| row["connected"] == true).await;
    assert_eq!((&online["bot"]["username"], &online["mode"]), (&json!("TestBot"), &json!("gateway")));
    let identify = server.heard(2);
    assert_eq!((identify.len(), &identify[0]["d"]["intents"]), (1, &json!(37_376)));
    server.says(direct(1_001, "5", "one"));
    let message = client.event("message").await;
    assert_eq!((&message["channel"], &message["from"]), (&json!("discord"), &json!("discord:5")));
    assert_eq!(message["sessionKey"], "agent:main:discord:default:user5");
    until(|| !server.written_to("77").is_empty()).await;
    server.says(in_guild(1_002, "710", "8", "nobody is asked"));
    server.says(in_guild(1_003, "710", "8", "<@666> two"));
    let message = client.event("message").await;
    assert_eq!(message["sessionKey"], "agent:main:discord:channel:710");
    until(|| !server.written_to("710").is_empty()).await;
    assert_eq!(
        (server.written_to("77"), server.written_to("710")),
        (vec!["said: one".to_owned()], vec!["said: two".to_owned()])
    );
    let typed = server.state().asked.iter().any(|(path, _)| path == "POST /channels/77/typing");
    assert!(typed, "it shows that it works");
    let kept = std::fs::read_to_string(gateway.state_dir().join("channels/discord-default.json")).unwrap();
    let log = client.call("logs.tail", json!({})).await.to_string();
    for shown in [row(&mut client).await.to_string(), log, kept] {
        assert!(!shown.contains("may-see"), "{shown}");
    }
    gateway.stop().await;
}

#[actix::test]
async fn a_stranger_gets_a_code_and_no_agent_hears_of_it() {
    let server = Server::start().await;
    let (gateway, mut client) = online(&server).await;
    server.says(direct(1, "9", "let me in"));
    until(|| !server.written_to("77").is_empty()).await;
    let said = server.written_to("77").remove(0);
    assert!(
        said.contains("Your Discord user id: 9") && said.contains("gatewarden gateway pairing approve discord "),
        "{said}"
    );
    let code = said.split("Pairing code: ").nth(1).unwrap().split_whitespace().next().unwrap();
    client.call("channels.pairing.approve", json!({"channel": "discord", "code": code, "notify": true})).await;
    server.says(direct(2, "9", "now"));
    until(|| server.written_to("77").iter().any(|text| text == "said: now")).await;
    assert!(!server.written_to("77").iter().any(|text| text.contains("let me in")));
    gateway.stop().await;
}

#[actix::test]
async fn a_refused_token_and_a_missing_intent_are_said_and_not_tried_again() {
    for (code, cure) in [(4004, "Reset Token"), (4014, "Message Content Intent"), (4011, "sharding")] {
        let server = Server::start().await;
        server.state().talks.push_back(Talk::Close(code));
        let gateway = Gateway::start(|config| configure(&server, config)).await;
        let mut client = Client::connect(&gateway).await;
        let row = until_row(&mut client, |row| row["healthState"] == "blocked").await;
        assert!(row["fix"].as_str().unwrap().contains(cure), "{row}");
        assert!(row["lastError"].as_str().unwrap().contains(&code.to_string()), "{row}");
        assert_eq!(server.heard(2).len(), 1);
        // As soon as somebody has seen to it, it goes on.
        client.call("channels.start", json!({"channel": "discord"})).await;
        until_row(&mut client, |row| row["connected"] == true).await;
        gateway.stop().await;
    }
}

#[actix::test]
async fn another_gateway_with_the_same_token_is_noticed_and_said_with_a_cure() {
    let server = Server::start().await;
    let (gateway, mut client) = online(&server).await;
    // What this gateway sends, and what may be of its own former life, are no other's.
    server.says(direct(1, "5", "one"));
    until(|| server.written_to("77").len() == 1).await;
    server.cut();
    server.says(as_the_bot("8000001", "77", json!("of-a-former-life")));
    server.says(direct(2, "5", "two"));
    until(|| server.written_to("77").len() == 2).await;
    server.says(direct(3, "5", "three"));
    until(|| server.written_to("77").len() == 3).await;
    assert!(row(&mut client).await["lastError"].is_null(), "{}", row(&mut client).await);
    server.says(as_the_bot("8000002", "77", json!("not-ours")));
    let said = until_row(&mut client, |row| row["lastError"].is_string()).await;
    assert!(said["lastError"].as_str().unwrap().starts_with("another program uses the same bot"), "{said}");
    assert!(said["fix"].as_str().unwrap().starts_with("Stop the other program that uses this token"), "{said}");
    // It goes on, and says so as long as it may still be there.
    server.says(direct(4, "5", "four"));
    until(|| server.written_to("77").len() == 4).await;
    let after = row(&mut client).await;
    assert_eq!((&after["connected"], &after["lastError"]), (&json!(true), &said["lastError"]), "{after}");
    gateway.stop().await;
}

#[actix::test]
async fn what_this_gateway_sent_before_it_connected_anew_is_no_other_program_s() {
    let server = Server::start().await;
    let (gateway, mut client) = online(&server).await;
    server.says(direct(1, "5", "one"));
    until(|| server.written_to("77").len() == 1).await;
    let sent = server.state().asked.iter().rfind(|(path, _)| path == "POST /channels/77/messages").unwrap().1.clone();
    client.call("channels.start", json!({"channel": "discord"})).await;
    until_row(&mut client, |row| row["connected"] == true).await;
    // Discord was slow to tell of it.
    server.says(as_the_bot("8000001", "77", sent["nonce"].clone()));
    server.says(direct(2, "5", "two"));
    until(|| server.written_to("77").len() == 2).await;
    assert!(row(&mut client).await["lastError"].is_null(), "{}", row(&mut client).await);
    gateway.stop().await;
}

#[actix::test]
async fn a_session_goes_on_after_garbage_a_deaf_gateway_and_a_cut_and_loses_and_doubles_nothing() {
    let server = Server::start().await;
    let (gateway, _client) = online(&server).await;
    server.state().talks.extend([Talk::Says("garbage"), Talk::Says(r#"{"op":7,"d":null}"#), Talk::Deaf]);
    server.says(direct(1, "5", "one"));
    until(|| server.written_to("77").len() == 1).await;
    server.cut();
    // Nobody is connected: it comes when the session goes on, by the deaf connection, which is then left.
    server.says(direct(2, "5", "two"));
    until(|| server.written_to("77").len() == 2).await;
    until(|| server.heard(6).len() >= 4).await;
    server.says(direct(3, "5", "three"));
    until(|| server.written_to("77").len() == 3).await;
    assert_eq!(server.written_to("77"), ["said: one", "said: two", "said: three"]);
    assert_eq!(server.heard(2).len(), 1, "one session");
    assert!(server.heard(6).iter().all(|said| said["d"]["session_id"] == "session-1"));
    gateway.stop().await;
}

#[actix::test]
async fn what_was_missed_by_an_ended_session_is_fetched_of_direct_messages() {
    let server = Server::start().await;
    let (gateway, _client) = online(&server).await;
    server.says(direct(10, "5", "one"));
    until(|| server.written_to("77").len() == 1).await;
    {
        let mut state = server.state();
        state.talks.push_back(Talk::Says(r#"{"op":9,"d":false}"#));
        state.history =
            vec![direct(9, "5", "old"), direct(10, "5", "one"), direct(11, "5", "two"), direct(12, "5", "three")];
    }
    server.cut();
    until(|| server.written_to("77").len() == 3).await;
    assert_eq!(server.written_to("77"), ["said: one", "said: two", "said: three"]);
    assert_eq!(server.heard(2).len(), 2, "a new session");
    gateway.stop().await;
}

#[actix::test]
async fn what_was_missed_is_fetched_after_the_wait_that_discord_wants_and_after_its_failures() {
    for (answers, order) in [
        // It is waited for, before anything else is heard.
        (vec![Answer::Json(429, json!({"retry_after": 0.2, "global": false}))], ["one", "two", "three"]),
        // Nobody is kept from talking for long.
        (vec![Answer::Json(502, json!({})), Answer::Lost], ["one", "three", "two"]),
        (vec![Answer::Json(429, json!({"retry_after": 20.5, "global": false}))], ["one", "three", "two"]),
    ] {
        let server = Server::start().await;
        let gateway = Gateway::start(|config| configure(&server, config)).await;
        let mut client = Client::connect(&gateway).await;
        until_row(&mut client, |row| row["connected"] == true).await;
        server.says(direct(10, "5", "one"));
        until(|| server.written_to("77").len() == 1).await;
        {
            let mut state = server.state();
            state.talks.push_back(Talk::Says(r#"{"op":9,"d":false}"#));
            state.history = vec![direct(10, "5", "one"), direct(11, "5", "two")];
            state.answers.extend(answers.into_iter().map(|answer| ("messages?after", answer)));
        }
        server.cut();
        until(|| server.heard(2).len() == 2).await;
        if order[1] == "three" {
            // They were used up.
            until(|| !server.state().answers.iter().any(|(path, _)| *path == "messages?after")).await;
        }
        server.says(direct(12, "5", "three"));
        until(|| server.written_to("77").len() == 3).await;
        assert_eq!(server.written_to("77"), order.map(|text| format!("said: {text}")));
        gateway.stop().await;
    }
}

#[actix::test]
async fn a_session_that_was_not_let_in_is_not_begun_again_at_once() {
    let server = Server::start().await;
    // It ends the connection in a way after which a session goes on, of which there is none.
    server.state().talks.push_back(Talk::Close(4000));
    let gateway = Gateway::start(|config| configure(&server, config)).await;
    until(|| server.heard(2).len() == 1).await;
    let again = until(|| server.heard(2).len() == 2);
    let mut again = std::pin::pin!(again);
    assert!(tokio::time::timeout(Duration::from_secs(4), &mut again).await.is_err(), "Discord wants 5 s");
    again.await;
    gateway.stop().await;
}

#[actix::test]
async fn a_message_that_may_have_arrived_is_not_sent_again_into_a_long_limit() {
    let server = Server::start().await;
    server.state().answers.extend([
        ("POST /channels/77/messages", Answer::Json(502, json!({}))),
        ("POST /channels/77/messages", Answer::Json(429, json!({"retry_after": 600.0, "global": false}))),
    ]);
    let (gateway, _client) = online(&server).await;
    server.says(direct(1, "5", "one"));
    until(|| server.state().answers.is_empty()).await;
    server.says(direct(2, "5", "two"));
    until(|| !server.written_to("77").is_empty()).await;
    assert_eq!(server.written_to("77"), ["said: two"], "of the first one nobody knows");
    gateway.stop().await;
}

#[actix::test]
async fn a_restarted_gateway_goes_on_with_its_session() {
    let server = Server::start().await;
    let (gateway, _client) = online(&server).await;
    server.says(direct(1, "5", "one"));
    until(|| server.written_to("77").len() == 1).await;
    let state = gateway.stop().await;
    server.says(direct(2, "5", "two"));
    let gateway = Gateway::start_in(state, |config| configure(&server, config)).await;
    until(|| server.written_to("77").len() == 2).await;
    assert_eq!(server.written_to("77"), ["said: one", "said: two"]);
    assert_eq!((server.heard(2).len(), server.heard(6).len()), (1, 1));
    gateway.stop().await;
}

#[actix::test]
async fn a_thread_is_heard_where_its_channel_is() {
    let server = Server::start().await;
    let gateway = Gateway::start(|config| {
        configure(&server, config);
        let guild = config.channels[0].access.guilds.get_mut("900").unwrap();
        guild.channels = Some([("710".to_owned(), Default::default())].into());
    })
    .await;
    let mut client = Client::connect(&gateway).await;
    until_row(&mut client, |row| row["connected"] == true).await;
    server.says(in_guild(1, "720", "5", "<@666> elsewhere"));
    server.says(in_guild(2, "711", "5", "<@666> in a thread"));
    until(|| !server.written_to("711").is_empty()).await;
    assert_eq!((server.written_to("711"), server.written_to("720")), (vec!["said: in a thread".to_owned()], vec![]));
    gateway.stop().await;
}

#[actix::test]
async fn nobody_is_heard_in_a_thread_until_it_is_known_of_which_channel_it_is() {
    let server = Server::start().await;
    let gateway = Gateway::start(|config| {
        configure(&server, config);
        let off = MemberRule { enabled: Some(false), ..MemberRule::default() };
        let guild = config.channels[0].access.guilds.get_mut("900").unwrap();
        guild.channels = Some([("710".to_owned(), off), ("*".to_owned(), MemberRule::default())].into());
    })
    .await;
    let mut client = Client::connect(&gateway).await;
    until_row(&mut client, |row| row["connected"] == true).await;
    server.state().answers.extend([
        ("GET /channels/711", Answer::Json(404, json!({"message": "Unknown Channel", "code": 10_003}))),
        ("GET /channels/730", Answer::Json(502, json!({}))),
    ]);
    let ask = |id: u64, channel: &str, text: &str| {
        let mut message = in_guild(id, channel, "5", &format!("<@666> {text}"));
        // Where Discord says that it is no thread, nothing has to be found out.
        message["channel_type"] = if channel == "731" { json!(0) } else { json!(null) };
        server.says(message);
    };
    ask(1, "711", "unknown");
    ask(2, "731", "a channel");
    until(|| !server.written_to("731").is_empty()).await;
    assert_eq!(server.written_to("711"), Vec::<String>::new());
    // After a while it is asked again, and again where that fails.
    within(async {
        for id in 3.. {
            ask(id, "730", "try again");
            tokio::time::sleep(Duration::from_millis(500)).await;
            if !server.written_to("730").is_empty() {
                return;
            }
        }
    })
    .await;
    ask(1_000, "711", "known");
    ask(1_001, "731", "last");
    until(|| server.written_to("731").len() == 2).await;
    assert_eq!(server.written_to("711"), Vec::<String>::new());
    gateway.stop().await;
}

#[actix::test]
async fn what_a_stranger_writes_costs_no_request_and_no_known_person_a_place() {
    let server = Server::start().await;
    let (gateway, mut client) = online(&server).await;
    server.says(direct(1, "9", "let me in"));
    until(|| !server.written_to("77").is_empty()).await;
    let said = server.written_to("77").remove(0);
    let code = said.split("Pairing code: ").nth(1).unwrap().split_whitespace().next().unwrap();
    client.call("channels.pairing.approve", json!({"channel": "discord", "code": code})).await;
    server.says(direct(2, "9", "one"));
    until(|| server.written_to("77").len() == 2).await;
    for id in 100..160_u64 {
        let mut message = direct(id, &id.to_string(), "hello");
        message["channel_id"] = json!(format!("6{id}"));
        server.says(message);
    }
    for (id, guild, text) in [(200, "901", "<@666> hello"), (201, "900", "hello")] {
        let mut message = in_guild(id, &format!("8{id}"), "100", text);
        message["guild_id"] = json!(guild);
        server.says(message);
    }
    server.says(in_guild(202, "711", "100", "<@666> hello"));
    until(|| server.written_to("711").len() == 1).await;
    let looked_up = |state: &State| -> Vec<String> {
        let paths = state.asked.iter().map(|(path, _)| path.clone());
        paths.filter(|path| path.starts_with("GET /channels/") && !path.contains("messages")).collect()
    };
    assert_eq!(looked_up(&server.state()), ["GET /channels/711"]);
    {
        let mut state = server.state();
        state.talks.push_back(Talk::Says(r#"{"op":9,"d":false}"#));
        state.history = vec![direct(2, "9", "one"), direct(300, "9", "two")];
    }
    server.cut();
    until(|| server.written_to("77").iter().any(|text| text == "said: two")).await;
    let asked = server.state().asked.clone();
    let mut fetched = asked.iter().filter(|(path, _)| path.contains("messages?after"));
    assert!(fetched.next().is_some_and(|(path, _)| path.starts_with("GET /channels/77/")), "before strangers");
    gateway.stop().await;
}

#[actix::test]
async fn a_job_writes_to_channels_of_listed_servers_alone() {
    let server = Server::start().await;
    let (gateway, mut client) = online(&server).await;
    let mut ended = async |to: &str| {
        let job = json!({
            "name": "brief",
            "schedule": {"kind": "every", "everyMs": 3_600_000},
            "payload": {"kind": "agentTurn", "message": format!("to {to}")},
            "delivery": {"mode": "announce", "channel": "discord", "to": to},
        });
        let id = client.call("cron.add", job).await["id"].as_str().unwrap().to_owned();
        client.call("cron.run", json!({"id": &id})).await;
        within(async {
            loop {
                let runs = client.call("cron.runs", json!({"id": &id})).await;
                let status = runs["entries"][0]["deliveryStatus"].as_str().unwrap_or_default();
                if status == "delivered" || status == "not-delivered" {
                    return (status == "delivered", runs["entries"][0]["deliveryError"].to_string());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    };
    assert!(ended("channel:730").await.0);
    assert!(ended("channel:711").await.0, "a thread of a server's channel");
    let (is_delivered, why) = ended("channel:810").await;
    assert!(!is_delivered && why.contains("guilds doesn't list the server") && why.contains("901"), "{why}");
    assert_eq!(server.written_to("730"), ["said: to channel:730"]);
    assert_eq!(server.written_to("810"), Vec::<String>::new());
    gateway.stop().await;
}

#[actix::test]
async fn credentials_are_tried_and_no_fault_says_the_token() {
    let server = Server::start().await;
    let said = format!("bad header Bot {BOT_TOKEN}");
    server.state().answers.extend([
        ("users/@me", Answer::Json(401, json!({"message": "401: Unauthorized", "code": 0}))),
        ("users/@me", Answer::Json(400, json!({"message": said}))),
        (
            "users/@me",
            Answer::Bytes("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        ),
    ]);
    let account = account(&server);
    for said in ["401", "[token]", "HTTP 302"] {
        let (error, cure) = try_credentials(&account).await.unwrap_err();
        assert!(error.contains(said) && !error.contains("may-see"), "{error}");
        assert!(!cure.contains("BotFather"), "{cure}");
    }
    assert_eq!(try_credentials(&account).await, Ok("TestBot".to_owned()));
    assert!(server.heard(2).is_empty(), "no session is begun for it");
}

#[actix::test]
#[ignore = "measures the whole process: run it alone, with --nocapture"]
async fn ten_accounts_at_rest_cost_little() {
    let server = Server::start().await;
    cost_at_rest("discord", |id| ChannelAccount { id, ..account(&server) }).await;
}
