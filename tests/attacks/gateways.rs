//! Gateways that make us hold more than is theirs: large values in small texts, rows of long names, messages that never end.

use serde_json::{Value, json};

use crate::costs::MIB;
use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

/// A text frame.
fn frame(text: &str) -> Vec<u8> {
    let mut bytes = announced(text.len());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The header of a text frame of this length.
fn announced(length: usize) -> Vec<u8> {
    let mut bytes = vec![0x81, 127];
    bytes.extend_from_slice(&u64::try_from(length).expect("small").to_be_bytes());
    bytes
}

/// Five bytes of text for each map of 650 bytes: a frame of 4.9 MB that would take 600 MiB.
pub(crate) fn nested_maps() -> Vec<u8> {
    let chain = format!("{}0{}", r#"{"":"#.repeat(100), "}".repeat(100));
    frame(&format!(r#"{{"type":"event","event":"presence","payload":[{chain}{}]}}"#, format!(",{chain}").repeat(9_799)))
}

/// A new session with names of 512 characters of four bytes each, where the gateway says them.
pub(crate) fn long_row(number: usize) -> Vec<u8> {
    let name = |what: char| format!("{what}{}", "\u{10400}".repeat(500));
    let key = format!("agent:{number}:{}", "\u{10400}".repeat(500));
    let row = json!({"key": key, "agentId": name('a'), "model": name('m'), "kind": name('k'), "label": name('l'),
                     "activeRunIds": [name('r')], "hasActiveRun": false, "updatedAt": 1_800_000_000_000_i64});
    let payload = json!({"sessionKey": key, "reason": "create", "ts": 1, "session": row});
    frame(&json!({"type": "event", "event": "sessions.changed", "payload": payload}).to_string())
}

fn gateways(daemon: &Daemon, name: &str, number: usize) -> Vec<(ScriptedGateway, i64)> {
    let made = |number| {
        let gateway = ScriptedGateway::of(Form::Protocol4, "right");
        let id = daemon.register(&format!("{name}-{number}"), gateway.port(), "right");
        (gateway, id)
    };
    let made: Vec<_> = (0..number).map(made).collect();
    for (_, id) in &made {
        daemon.until_status(*id, "online");
    }
    made
}

/// A gateway with many sessions and long answers, none of them out of the ordinary.
fn honest(daemon: &Daemon) -> (ScriptedGateway, i64) {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let row = |number: usize| {
        json!({"key": format!("agent:main:telegram:direct:{number}"), "kind": "direct", "updatedAt": 1_800_000_000_000_i64,
               "status": "done", "hasActiveRun": false, "model": "claude-sonnet-4-5", "modelProvider": "anthropic",
               "totalTokens": 11_000, "contextTokens": 200_000, "label": "Weekly report of the team", "displayName": "Team",
               "sessionId": "11111111-2222-4333-8444-555555555555", "systemSent": true, "inputTokens": 10_000,
               "outputTokens": 1_000, "deliveryContext": {"channel": "telegram", "to": "12345", "accountId": "default"},
               "origin": {"label": "Team", "provider": "telegram", "from": "telegram:12345", "to": "telegram:12345"}})
    };
    let rows: Vec<Value> = (0..1_000).map(row).collect();
    let message = |number: usize| {
        json!({"role": "assistant", "timestamp": 1_800_000_000_000_i64 + i64::try_from(number).expect("small"),
               "content": [{"type": "text", "text": "word ".repeat(5_000)}], "usage": {"input": 10, "output": 20}})
    };
    let messages: Vec<Value> = (0..200).map(message).collect();
    gateway.change(|behaviour| {
        let list = json!({"ts": 1, "count": rows.len(), "totalCount": rows.len(), "hasMore": false, "sessions": rows});
        behaviour.results.insert("sessions.list".to_owned(), list);
        let history = json!({"sessionKey": "agent:main:telegram:direct:7", "messages": messages});
        assert!(history.to_string().len() > 5_000_000);
        behaviour.results.insert("chat.history".to_owned(), history);
    });
    let id = daemon.register("honest", gateway.port(), "right");
    daemon.until_status(id, "online");
    wait::until("its sessions are read", PATIENCE, || {
        daemon.get("/api/sessions?limit=1").text.contains("agent:main:telegram")
    });
    (gateway, id)
}

/// Its connection was never lost, and it is asked as if nothing had happened.
#[track_caller]
fn is_untouched(daemon: &Daemon, (gateway, id): &(ScriptedGateway, i64)) {
    assert_eq!(daemon.gateway(*id)["status"], json!("online"));
    let record = gateway.record();
    assert_eq!((record.ready, record.accepted()), (1, 1), "its connection was lost");
    let history = daemon.get(&format!("/api/sessions/agent:main:telegram:direct:7/history?limit=200&gateway_id={id}"));
    let entries = history.expect(200).json()["history"].as_array().map_or(0, Vec::len);
    assert_eq!(entries, 200, "the whole of an answer of 5 MB");
}

fn refusals(daemon: &Daemon, code: &str) -> u64 {
    let wanted = format!("code=\"{code}\"");
    let metrics = daemon.metrics();
    let lines = metrics.lines().filter(|line| line.starts_with("gatewarden_refusals_total") && line.contains(&wanted));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map(|count| count as u64).sum()
}

fn gauge(daemon: &Daemon, name: &str) -> u64 {
    let metrics = daemon.metrics();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
    value.map(|value| value as u64).expect(name)
}

#[test]
fn a_frame_of_maps_in_maps_costs_its_gateway_the_connection_and_the_others_nothing() {
    let daemon = Daemon::start();
    let honest = honest(&daemon);
    let hostile = gateways(&daemon, "hostile", 4);
    let before = daemon.memory();
    let frame = nested_maps();
    for round in 1..=4 {
        hostile.iter().for_each(|(gateway, _)| gateway.send_raw(&frame));
        for (gateway, id) in &hostile {
            wait::until("the connection is ended", PATIENCE, || gateway.record().accepted() > round);
            daemon.until_status(*id, "online");
        }
        is_untouched(&daemon, &honest);
    }
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown <= 4 * 32 * MIB, "four gateways made us hold {} MiB", grown / MIB);
    assert!(refusals(&daemon, "memory_exceeded") >= 16);
    let goodbyes = hostile[0].0.record().closes;
    assert!(goodbyes.iter().any(|(code, _)| *code == Some(1009)), "{goodbyes:?}");
    let told = daemon.gateway(hostile[0].1);
    assert_eq!(told["status"], json!("online"), "it may come back: {told}");
}

#[test]
fn rows_of_long_names_are_kept_as_far_as_their_bytes_reach() {
    let daemon = Setup::new().env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "3s").start();
    let honest = honest(&daemon);
    let hostile = gateways(&daemon, "hostile", 2);
    let before = daemon.memory();
    for batch in 0..10 {
        let rows: Vec<u8> = (batch * 500..(batch + 1) * 500).flat_map(long_row).collect();
        hostile.iter().for_each(|(gateway, _)| gateway.send_raw(&rows));
        let last = format!("{}", (batch + 1) * 500 - 1);
        // The gateway writes no more than is read, so that a heartbeat's answer comes after what was sent before it.
        for (gateway, _) in &hostile {
            let pings = gateway.record().pings + gateway.record().requests.len();
            wait::until(&format!("row {last} is taken"), PATIENCE, || {
                gateway.record().pings + gateway.record().requests.len() > pings
            });
        }
    }
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown <= 2 * 32 * MIB, "two gateways made us hold {} MiB", grown / MIB);
    is_untouched(&daemon, &honest);
}

#[test]
fn where_all_is_spent_the_greediest_loses_its_connection_whoever_asks() {
    let setup = Setup::new().env("GATEWARDEN_GATEWAY__MEMORY_TOTAL", "64MiB");
    let daemon = setup.start();
    let honest = honest(&daemon);
    let hostile = gateways(&daemon, "hostile", 6);
    let length = 22 * 1024 * 1024;
    let mut never_ends = announced(length);
    never_ends.extend(std::iter::repeat_n(b' ', length - 1));
    for (gateway, _) in &hostile {
        gateway.send_raw(&never_ends);
    }
    wait::until("the greediest are let go", PATIENCE, || refusals(&daemon, "memory_spent") >= 3);
    is_untouched(&daemon, &honest);
    let (held, limit) =
        (gauge(&daemon, "gatewarden_gateway_memory_bytes"), gauge(&daemon, "gatewarden_gateway_memory_limit_bytes"));
    assert_eq!(limit, 64 * MIB);
    assert!(held <= limit + 32 * MIB, "{} MiB", held / MIB);
    let modest = hostile.iter().map(|(gateway, _)| gateway.record().accepted()).max();
    assert!(modest > Some(1), "{modest:?}");
    drop(hostile);
    wait::until("everything is given back", PATIENCE, || gauge(&daemon, "gatewarden_gateway_memory_bytes") < 8 * MIB);
}

#[test]
fn of_two_tenants_behind_one_port_none_is_sent_the_others_token_and_none_stops_the_other() {
    let front = ScriptedGateway::of(Form::Document002, "right");
    let daemon = Daemon::start();
    let host = |tenant: &str| format!("ws://127.0.0.1:{}/{tenant}", front.port());
    let first = daemon.register_with(&json!({"name": "a", "host": host("tenant-a"), "token": "right"}));
    daemon.until_status(first, "online");
    let issued = front.issued()[0].1.clone();
    let shown = |attempt: &Value| attempt.to_string().contains(&issued);
    front.reset();
    wait::until("a comes back with its device token", PATIENCE, || {
        front.record().attempts.last().is_some_and(|attempt| shown(&attempt.params))
    });
    daemon.until_status(first, "online");
    front.forget();
    let created = daemon
        .post("/api/gateways", &json!({"name": "b", "host": host("tenant-b"), "token": "wrong"}))
        .expect(201)
        .json();
    assert_eq!(created["warning"], Value::Null, "another path is another gateway");
    let second = created["gateway"]["id"].as_i64().expect("an id");
    daemon.until_code(second, "token_mismatch");
    wait::until("b has spent its logins", PATIENCE, || {
        daemon.call("POST", &format!("/api/gateways/{second}/reconnect"), Some(&json!({})));
        daemon.gateway(second).to_string().contains("login_budget_spent")
    });
    let attempts = front.record().attempts;
    assert!(!attempts.is_empty() && attempts.iter().all(|attempt| !shown(&attempt.params)), "b was sent a's token");
    front.reset();
    wait::until("a is let in again", PATIENCE, || front.record().accepted() > 0);
    daemon.until_status(first, "online");
}
