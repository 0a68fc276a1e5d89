//! Followers of a gateway's log, against gateways that offer it in different ways.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Line, Peer, World, hello};
use crate::error::{ErrorCode, Failure};
use crate::gateway::GatewayCommand;
use crate::gateway_report::Phase;
use crate::log_watch::{LogBegin, LogDelivery, LogRequest, LogSubscription};

/// A gateway's log and how often it was asked for.
#[derive(Clone, Default)]
struct Log {
    lines: Rc<RefCell<Vec<String>>>,
    asked: Rc<Cell<u32>>,
    under_way: Rc<Cell<u32>>,
    silent: Rc<Cell<bool>>,
}

impl Log {
    fn of(lines: &[&str]) -> Self {
        let log = Self::default();
        lines.iter().for_each(|line| log.write(line));
        log
    }

    fn write(&self, text: &str) {
        self.lines.borrow_mut().push(json!({ "0": text, "_meta": { "logLevelName": "INFO" } }).to_string());
    }

    fn answer(&self, params: &Value) -> Value {
        let lines = self.lines.borrow();
        let from = params["cursor"].as_u64().map_or(0, |cursor| usize::try_from(cursor / 10).unwrap());
        let new = &lines[from.min(lines.len())..];
        let limit = usize::try_from(params["limit"].as_u64().unwrap()).unwrap();
        json!({ "file": "openclaw-2026-11-21.log", "cursor": lines.len() * 10, "size": lines.len() * 10,
            "lines": new[new.len().saturating_sub(limit)..], "truncated": false, "reset": from > lines.len() })
    }
}

fn with_tail() -> Value {
    let mut hello = hello();
    hello["payload"]["features"]["methods"].as_array_mut().unwrap().push(json!("logs.tail"));
    hello
}

/// Lets the caller in with this hello and answers everything, questions for the log from `log` after `delay`.
async fn play(mut peer: Peer, hello: Value, log: Log, delay: Duration) {
    peer.challenge().await;
    peer.says(&hello);
    while let Some(request) = peer.hears().await {
        let id = request["id"].clone();
        let reply = match request["method"].as_str().unwrap() {
            "logs.tail" => {
                log.asked.set(log.asked.get() + 1);
                log.under_way.set(log.under_way.get() + 1);
                assert_eq!(log.under_way.get(), 1, "one question at a time");
                if log.silent.get() {
                    log.under_way.set(0);
                    continue;
                }
                tokio::time::sleep(delay).await;
                log.under_way.set(0);
                json!({"type":"res","id":id,"ok":true,"payload":log.answer(&request["params"])})
            }
            "ping" => json!({"type":"res","id":id,"ok":false,"error":{"message":"unknown method: ping"}}),
            "sessions.list" => json!({"type":"res","id":id,"ok":true,"payload":{"sessions":[]}}),
            _ => json!({"type":"res","id":id,"ok":true,"payload":{}}),
        };
        peer.says(&reply);
    }
}

/// A gateway that is online and has this log.
async fn online(log: &Log) -> (World, tokio::task::JoinHandle<()>) {
    let world = World::new([Line::Opens]).await;
    let task = again(&world, log).await;
    (world, task)
}

/// The gateway's next connection.
async fn again(world: &World, log: &Log) -> tokio::task::JoinHandle<()> {
    let peer = world.peer().await;
    let task = actix_rt::spawn(play(peer, with_tail(), log.clone(), Duration::from_millis(30)));
    world.until(|report| report.phase == Phase::Ready).await;
    task
}

async fn watch(world: &World, begin: LogBegin) -> Result<LogSubscription, Failure> {
    world.ask(|reply| GatewayCommand::WatchLogs(LogRequest { begin, level: None }, reply)).await
}

async fn heard(subscription: &LogSubscription) -> String {
    match subscription.next().await.expect("the actor lives") {
        LogDelivery::Entry { entry, .. } => entry.message.clone(),
        other => format!("{other:?}"),
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[actix::test]
async fn a_follower_gets_the_newest_lines_and_then_what_is_written() {
    let log = Log::of(&["one", "two", "three"]);
    let (world, _task) = online(&log).await;
    let subscription = watch(&world, LogBegin::Newest(2)).await.unwrap();
    assert_eq!([heard(&subscription).await, heard(&subscription).await], ["two", "three"]);
    log.write("four");
    let before = world.seconds();
    assert_eq!(heard(&subscription).await, "four");
    assert!(world.seconds() - before < 1.2, "within a second and an answer");
}

#[actix::test]
async fn nothing_is_asked_before_somebody_follows_nor_after_the_last_one_left() {
    let log = Log::of(&["one"]);
    let (world, _task) = online(&log).await;
    pass(60).await;
    assert_eq!(log.asked.get(), 0);
    let first = watch(&world, LogBegin::Newest(5)).await.unwrap();
    let second = watch(&world, LogBegin::Now).await.unwrap();
    pass(10).await;
    let asked = log.asked.get();
    assert!((9..=12).contains(&asked), "once a second for both together: {asked}");
    drop(first);
    pass(5).await;
    assert!(log.asked.get() >= asked + 4, "one is left");
    drop(second);
    let asked = log.asked.get();
    pass(60).await;
    assert!(log.asked.get() <= asked + 1, "nobody is left");
}

#[actix::test]
async fn followers_go_on_after_the_gateway_was_away_and_miss_nothing() {
    let log = Log::of(&["one"]);
    let (world, task) = online(&log).await;
    let subscription = watch(&world, LogBegin::Newest(1)).await.unwrap();
    assert_eq!(heard(&subscription).await, "one");
    task.abort();
    assert_eq!(heard(&subscription).await, "Interrupted");
    assert_eq!(watch(&world, LogBegin::Now).await.unwrap_err().code, ErrorCode::GatewayUnavailable);
    log.write("two");
    let _task = again(&world, &log).await;
    assert_eq!([heard(&subscription).await, heard(&subscription).await], ["Resumed", "two"]);
}

#[actix::test]
async fn a_follower_that_left_while_the_gateway_was_away_is_not_asked_for() {
    let log = Log::of(&["one"]);
    let (world, task) = online(&log).await;
    let subscription = watch(&world, LogBegin::Newest(1)).await.unwrap();
    task.abort();
    world.until(|report| report.phase == Phase::Backoff).await;
    drop(subscription);
    pass(1).await;
    let asked = log.asked.get();
    let _task = again(&world, &log).await;
    pass(30).await;
    assert!(log.asked.get() <= asked + 1, "{}", log.asked.get() - asked);
}

#[actix::test]
async fn a_gateway_that_stops_answering_for_its_log_is_told_and_asked_less_often() {
    let log = Log::of(&["one"]);
    let (world, _task) = online(&log).await;
    let subscription = watch(&world, LogBegin::Newest(1)).await.unwrap();
    assert_eq!(heard(&subscription).await, "one");
    log.silent.set(true);
    assert_eq!(heard(&subscription).await, "Interrupted");
    let asked = log.asked.get();
    pass(60).await;
    assert!(log.asked.get() - asked <= 6, "{}", log.asked.get() - asked);
    log.silent.set(false);
    log.write("two");
    assert_eq!([heard(&subscription).await, heard(&subscription).await], ["Resumed", "two"]);
}

#[actix::test]
async fn a_gateway_without_a_log_is_refused_by_name_version_and_method() {
    let world = World::new([Line::Opens]).await;
    let _task = actix_rt::spawn(world.peer().await.play());
    world.until(|report| report.phase == Phase::Ready).await;
    let failure = watch(&world, LogBegin::Newest(5)).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NotSupportedByGateway);
    assert_eq!(failure.message, "Gateway \"prod\" (2026.9.6) does not offer logs.tail");
    assert_eq!(failure.details.unwrap()["method"], "logs.tail");
}

#[actix::test]
async fn a_release_that_lost_its_log_ends_the_following() {
    let log = Log::of(&["one"]);
    let (world, task) = online(&log).await;
    let subscription = watch(&world, LogBegin::Newest(1)).await.unwrap();
    assert_eq!(heard(&subscription).await, "one");
    task.abort();
    let _task = actix_rt::spawn(world.peer().await.play());
    assert_eq!(heard(&subscription).await, "Interrupted");
    assert!(heard(&subscription).await.contains("does not offer logs.tail"));
    assert_eq!(subscription.next().await, None);
}

#[actix::test]
async fn entries_that_a_gateway_pushes_are_passed_on_while_somebody_follows() {
    let world = World::new([Line::Opens]).await;
    let mut peer = world.peer().await;
    peer.challenge().await;
    peer.says(
        &json!({"type":"res","id":"connect","ok":true,"result":{"protocol":3,"sessionId":"s","features":["logs"]}}),
    );
    world.until(|report| report.phase == Phase::Ready).await;
    let push = |text: &str| {
        peer.says(
            &json!({"type":"event","event":"log","payload":{"id":"l","timestamp":1709582400000_i64,"level":"warn",
            "source":"agent1","session":"agent1:chat","message":text,"extra":{"n":1}}}),
        );
    };
    push("before");
    pass(1).await;
    let subscription = watch(&world, LogBegin::Newest(5)).await.unwrap();
    push("while");
    let Some(LogDelivery::Entry { entry, cursor }) = subscription.next().await else { panic!("an entry") };
    assert_eq!((entry.message.as_str(), entry.session.as_deref(), cursor), ("while", Some("agent1:chat"), None));
    peer.says(&json!({"type":"event","event":"log","payload":{"no":"message"}}));
    push("after");
    assert_eq!(heard(&subscription).await, "after");
}

#[actix::test]
async fn the_end_of_the_actor_ends_the_following() {
    let log = Log::of(&["one"]);
    let (world, _task) = online(&log).await;
    let subscription = watch(&world, LogBegin::Now).await.unwrap();
    world.ask(GatewayCommand::ShutDown).await;
    while let Some(last) = subscription.next().await {
        assert_eq!(last, LogDelivery::Interrupted);
    }
}
