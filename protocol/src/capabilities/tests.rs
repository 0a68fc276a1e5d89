use serde_json::{Value, json};

use super::*;
use crate::names::KnownName;

fn release(protocol: u32, version: &str, methods: &[&str], scopes: &[&str]) -> Capabilities {
    Capabilities::from_hello(&Hello::read_connect(&json!({"type": "hello-ok", "protocol": protocol,
        "server": {"version": version}, "features": {"methods": methods, "events": ["tick"]},
        "auth": {"scopes": scopes}})))
}

const USUAL: [&str; 7] =
    ["health", "sessions.list", "sessions.subscribe", "sessions.abort", "agent", "chat.send", "chat.abort"];

fn newest() -> Capabilities {
    release(4, "2026.9.6", &USUAL, &["operator.admin"])
}

fn older() -> Capabilities {
    release(3, "2026.3.24", &USUAL, &["operator.admin"])
}

fn oldest() -> Capabilities {
    release(3, "dev", &["health", "sessions.list", "agent", "chat.send", "chat.abort", "logs.tail"], &[])
}

fn documented() -> Capabilities {
    Capabilities::from_hello(&Hello::read_connect(&json!({"protocol": 3, "features": ["spawn", "cron", "logs"]})))
}

fn rpc() -> Capabilities {
    Capabilities::from_hello(&Hello::read_rpc(&Value::Null))
}

fn error(message: &str) -> WireError {
    WireError { message: message.to_owned(), ..WireError::default() }
}

#[test]
fn names_are_few_enough_for_a_bit_each_and_all_different() {
    fn check<N: KnownName + std::fmt::Debug>() {
        assert!(N::ALL.len() <= 64);
        let mut seen = NameSet::<N>::default();
        for name in N::ALL {
            assert!(!seen.contains(*name), "{name:?} twice");
            seen.insert(*name);
            assert_eq!(N::from_name(name.as_str()).map(KnownName::as_str), Some(name.as_str()));
        }
        assert_eq!(seen.iter().count(), N::ALL.len());
    }
    check::<Method>();
    check::<Event>();
    assert!(size_of::<Capabilities>() <= 72, "one for each of ten thousand gateways");
}

#[test]
fn a_ping_request_is_tried_first_and_given_up_at_the_first_unknown_method() {
    for mut capabilities in [newest(), older(), documented()] {
        assert_eq!(capabilities.heartbeat(), Heartbeat::PingRequest);
        assert!(capabilities.learn("ping", &error("unknown method: ping")));
        assert_eq!(capabilities.heartbeat(), Heartbeat::WebSocketPing);
    }
    let mut rpc = rpc();
    assert_eq!(rpc.heartbeat(), Heartbeat::GatewayInfo);
    assert!(rpc.learn("gateway.info", &error("Method not found")));
    assert_eq!(rpc.heartbeat(), Heartbeat::WebSocketPing);
    assert_eq!(Capabilities::http(None).heartbeat(), Heartbeat::HttpHealth);
}

#[test]
fn without_the_admin_scope_a_missing_scope_for_an_unlisted_method_means_unknown() {
    let mut reader = release(4, "2026.9.6", &USUAL, &["operator.read"]);
    assert!(reader.learn("ping", &error("missing scope: operator.admin")));
    assert_eq!(reader.heartbeat(), Heartbeat::WebSocketPing);
    assert!(!reader.learn("sessions.list", &error("missing scope: operator.admin")), "it lists this one");
    assert!(reader.may_have(Method::SessionsList));
    assert!(!reader.learn("ping", &error("gateway is busy")));
}

#[test]
fn support_is_yes_where_listed_no_where_a_list_lacks_it_and_untried_without_a_list() {
    assert_eq!(newest().support(Method::SessionsList), Support::Yes);
    assert_eq!(newest().support(Method::LogsTail), Support::No);
    assert_eq!(newest().support(Method::ChatInject), Support::Untried, "works although no release lists it");
    assert_eq!(documented().support(Method::SessionsList), Support::Untried);
    assert_eq!(documented().support(Method::Spawn), Support::Yes);
}

#[test]
fn sessions_are_paged_only_where_the_release_can_page() {
    assert_eq!(newest().sessions_list(), SessionsList::Paged);
    assert_eq!(older().sessions_list(), SessionsList::AtOnce);
    assert_eq!(Capabilities::http(None).sessions_list(), SessionsList::Http);
    let mut documented = documented();
    assert_eq!(documented.sessions_list(), SessionsList::AtOnce);
    documented.learn("sessions.list", &error("unknown method: sessions.list"));
    assert_eq!(documented.sessions_list(), SessionsList::Events);
}

#[test]
fn sessions_are_subscribed_to_where_that_is_offered() {
    assert_eq!(newest().sessions_feed(), SessionsFeed::Subscribe);
    assert_eq!(oldest().sessions_feed(), SessionsFeed::Unasked);
    assert_eq!(documented().sessions_feed(), SessionsFeed::Unasked);
    assert_eq!(Capabilities::http(None).sessions_feed(), SessionsFeed::Nothing);
}

#[test]
fn a_run_is_killed_only_where_the_release_can_kill_it() {
    assert_eq!(newest().kill(RunKind::Agent), Kill::SessionsAbort);
    assert_eq!(older().kill(RunKind::Agent), Kill::Impossible, "listed, but it would say that nothing ran");
    assert_eq!(older().kill(RunKind::Chat), Kill::SessionsAbort);
    assert_eq!(older().kill(RunKind::Unknown), Kill::SessionsAbort);
    assert_eq!(oldest().kill(RunKind::Chat), Kill::ChatAbort);
    assert_eq!(documented().kill(RunKind::Unknown), Kill::Control);
    assert_eq!(Capabilities::http(None).kill(RunKind::Unknown), Kill::Http);
}

#[test]
fn no_real_release_pauses_or_spawns_commands() {
    for capabilities in [newest(), older(), oldest()] {
        assert_eq!(capabilities.pause_resume(), PauseResume::Impossible);
        assert_eq!(capabilities.spawn_command(), None);
    }
    let mut documented = documented();
    assert_eq!(documented.pause_resume(), PauseResume::Control);
    assert_eq!(documented.spawn_command(), Some(SpawnForm::Spawn));
    documented.learn("control", &error("unknown method: control"));
    assert_eq!(
        (documented.pause_resume(), documented.kill(RunKind::Unknown)),
        (PauseResume::Impossible, Kill::Impossible)
    );
    assert_eq!(Capabilities::http(None).spawn_command(), Some(SpawnForm::Http));
}

#[test]
fn a_task_is_given_in_the_way_that_leaves_a_kill_possible() {
    assert_eq!(newest().spawn_task(), Some(SpawnForm::AgentTwoReplies));
    assert_eq!(older().spawn_task(), Some(SpawnForm::ChatSend));
    assert_eq!(oldest().spawn_task(), Some(SpawnForm::ChatSend));
    assert_eq!(documented().spawn_task(), Some(SpawnForm::Spawn));
    assert_eq!(rpc().spawn_task(), Some(SpawnForm::AgentOneReply));
    assert_eq!(Capabilities::http(None).spawn_task(), Some(SpawnForm::Http));
}

#[test]
fn logs_come_by_tail_or_by_events_or_not() {
    assert_eq!(oldest().logs(), LogSource::Tail);
    assert_eq!(newest().logs(), LogSource::Nowhere, "this one doesn't list logs.tail");
    assert_eq!(documented().logs(), LogSource::Events);
    assert_eq!(Capabilities::http(None).logs(), LogSource::Nowhere);
}

#[test]
fn quirks_concern_real_releases_only() {
    assert!(older().has(Quirk::RunningStaysAfterAbort));
    assert!(!newest().has(Quirk::RunningStaysAfterAbort));
    assert!(!documented().has(Quirk::RunningStaysAfterAbort) && !rpc().has(Quirk::RunningStaysAfterAbort));
}

#[test]
fn a_gateway_that_names_spawn_and_control_can_do_both_however_it_words_its_hello() {
    let able =
        release(4, "2026.9.6+gatewarden.0.1.0", &["sessions.abort", "agent", "spawn", "control"], &["operator.admin"]);
    assert_eq!((able.pause_resume(), able.spawn_command()), (PauseResume::Control, Some(SpawnForm::Spawn)));
    assert_eq!(
        (able.kill(RunKind::Unknown), able.spawn_task()),
        (Kill::SessionsAbort, Some(SpawnForm::AgentTwoReplies))
    );
    for unable in [newest(), older(), oldest()] {
        assert_eq!((unable.pause_resume(), unable.spawn_command()), (PauseResume::Impossible, None));
    }
}
