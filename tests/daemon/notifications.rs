//! Notifications reach a webhook: signed, at least once, in order, across failures of the receiver and deaths of the daemon,
//! and without a storm.

use std::collections::BTreeSet;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use crate::support::daemon::{Daemon, PATIENCE, Setup};
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::tls_front::TlsFront;
use crate::support::wait;
use crate::support::webhook_receiver::{Received, WebhookReceiver};

const SECRET: &str = "webhook-secret-0123456789abcdef";

/// A daemon with one destination that is told after a second; `more` are further lines of its table.
fn setup(receiver: &WebhookReceiver, more: &str) -> Setup {
    setup_at(&receiver.url(), more)
}

fn setup_at(url: &str, more: &str) -> Setup {
    let setup = Setup::new();
    let file = setup.state().with_file_name("gatewarden.toml");
    let after = if more.contains("after = ") { "" } else { "after = \"1s\"" };
    let text = format!(
        "[[notifications]]\nname = \"ops\"\nurl = \"{}\"\nsecret_file = \"{}\"\n{after}\n{more}\n",
        url,
        secret_file(&setup).display()
    );
    write_private(&file, &text);
    setup.args(&["--config", &file.display().to_string()])
}

fn secret_file(setup: &Setup) -> std::path::PathBuf {
    let file = setup.state().with_file_name("ops.secret");
    write_private(&file, &format!("{SECRET}\n"));
    file
}

fn write_private(file: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(file, text).expect("written");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("private");
}

/// The check of `docs/notifications.md`.
#[track_caller]
fn assert_signed(received: &Received) {
    let timestamp = received.header("x-gatewarden-timestamp");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(&received.raw);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(received.header("x-gatewarden-signature"), format!("v1={hex}"), "{received:?}");
    let now_s = gatewarden_actors::clock::Clock::system().wall_ms() / 1000;
    let age = now_s.abs_diff(timestamp.parse().expect("Unix seconds"));
    assert!(age < 300, "signed {age} s ago");
}

fn registered(daemon: &Daemon, gateway: &ScriptedGateway, name: &str) -> i64 {
    let id = daemon.register(name, gateway.port(), "right");
    daemon.until_status(id, "online");
    id
}

/// What came of one gateway.
fn of(received: &[Received], name: &str) -> Vec<Received> {
    received.iter().filter(|one| one.body["gateway"]["name"] == name).cloned().collect()
}

/// How many notifications these are. A daemon that is killed before it noted a delivery repeats it under the same id.
fn different(received: &[Received]) -> usize {
    received.iter().map(Received::id).collect::<BTreeSet<_>>().len()
}

#[test]
fn a_failure_and_its_end_are_told_signed_and_once() {
    let receiver = WebhookReceiver::start();
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = setup(&receiver, "").start();
    let id = registered(&daemon, &gateway, "watched");
    gateway.kill();
    let down =
        receiver.until("the failure is told", |one| one.kind() == "down" && one.body["gateway"]["name"] == "watched");
    assert_signed(&down);
    assert_eq!(down.path, "/hooks/gatewarden?key=geheim-in-the-url");
    assert_eq!(down.header("content-type"), "application/json");
    assert_eq!(down.body["id"], down.id());
    assert_eq!(down.body["gateway"]["id"], id);
    assert_eq!(down.body["gateway"]["status"], "offline");
    assert!(down.body["text"].as_str().expect("a sentence").contains("watched is down"), "{}", down.body);
    gateway.revive();
    let back =
        receiver.until("its end is told", |one| one.kind() == "recovered" && one.body["gateway"]["name"] == "watched");
    assert_signed(&back);
    assert_eq!(back.body["episode"], down.body["episode"]);
    assert_ne!(back.id(), down.id());
    wait::holds_for("nothing is told twice", Duration::from_secs(3), || of(&receiver.all(), "watched").len() == 2);
    let metrics = daemon.metrics();
    assert!(metrics.contains("gatewarden_notifications_total{destination=\"ops\",outcome=\"delivered\"}"), "{metrics}");
    wait::until("nothing waits to be told", PATIENCE, || {
        daemon.metrics().contains("gatewarden_notifications_pending{destination=\"ops\"} 0")
    });
    let said = daemon.everything_said();
    assert!(!said.contains(SECRET) && !said.contains("geheim"), "the secret or the URL's query was told");
}

#[test]
fn many_gateways_that_fail_at_once_are_told_of_in_one_notification_and_so_is_their_return() {
    let receiver = WebhookReceiver::start();
    let gateways: Vec<ScriptedGateway> = (0..12).map(|_| ScriptedGateway::of(Form::Protocol4, "right")).collect();
    let names: Vec<String> = (0..12).map(|number| format!("gw{number}")).collect();
    let daemon =
        setup(&receiver, &format!("kinds = [\"down\", \"recovered\"]\ngateways = {names:?}\nafter = \"6s\"")).start();
    for (gateway, name) in gateways.iter().zip(&names) {
        registered(&daemon, gateway, name);
    }
    gateways.iter().take(5).for_each(ScriptedGateway::kill);
    let down = receiver.until("the failures are told", |one| one.kind() == "down");
    assert_eq!((&down.body["count"], &down.body["gateway"]), (&json!(5), &json!(null)), "{}", down.body);
    let named = down.body["gateways"].as_array().expect("a list");
    assert_eq!(named.len(), 5, "{}", down.body);
    assert!(named.iter().all(|one| one["status"] == "offline" && one["episode"].is_string()), "{}", down.body);
    assert!(down.body["began_ms"].as_i64().expect("a time") < down.body["at_ms"].as_i64().expect("a time"));
    gateways.iter().take(5).for_each(ScriptedGateway::revive);
    let told = |receiver: &WebhookReceiver| {
        let back = receiver.all().into_iter().filter(|one| one.kind() == "recovered");
        back.map(|one| one.body["count"].as_i64().unwrap_or(1)).sum::<i64>()
    };
    wait::until("their return is told", PATIENCE, || told(&receiver) == 5);
    assert!(receiver.all().len() <= 4, "a message each: {:?}", receiver.all());
}

#[test]
fn a_receiver_that_fails_is_asked_again_with_the_same_notification() {
    let receiver = WebhookReceiver::start();
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = setup(&receiver, "gateways = [\"watched\"]").start();
    registered(&daemon, &gateway, "watched");
    receiver.answer_with(500);
    gateway.kill();
    let refused = receiver.until("it is told", |one| one.kind() == "down");
    assert_eq!(refused.status, 500);
    daemon.until_logged(&["HTTP 500", "receiver's log"]);
    receiver.answer_with(204);
    let taken = receiver.until_taken("down");
    assert_eq!((taken.id(), &taken.body), (refused.id(), &refused.body));
    assert_signed(&taken);
    wait::holds_for("it is not sent again", Duration::from_secs(3), || receiver.taken().len() == 1);
}

#[test]
fn what_was_announced_is_delivered_after_the_daemon_was_killed_and_its_end_too() {
    let receiver = WebhookReceiver::start();
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let mut daemon = setup(&receiver, "gateways = [\"watched\"]").start();
    registered(&daemon, &gateway, "watched");
    receiver.answer_with(503);
    gateway.kill();
    let refused = receiver.until("it is told", |one| one.kind() == "down");
    daemon.kill();
    receiver.answer_with(200);
    let daemon = daemon.setup().clone().start();
    let taken = receiver.until_taken("down");
    assert_eq!(taken.id(), refused.id(), "another notification for the same failure");
    wait::holds_for("it is known to be told", Duration::from_secs(4), || receiver.taken().len() == 1);
    gateway.revive();
    let back = receiver.until_taken("recovered");
    assert_eq!(back.body["episode"], taken.body["episode"]);
    drop(daemon);
    assert_eq!(receiver.taken().len(), 2);
}

#[test]
fn a_gateway_that_fails_or_returns_while_the_daemon_is_away_is_told_at_the_next_start() {
    let receiver = WebhookReceiver::start();
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let mut daemon = setup(&receiver, "gateways = [\"watched\"]").start();
    registered(&daemon, &gateway, "watched");
    daemon.kill();
    gateway.kill();
    let mut daemon = daemon.setup().clone().start();
    receiver.until_taken("down");
    daemon.kill();
    gateway.revive();
    let _daemon = daemon.setup().clone().start();
    receiver.until_taken("recovered");
    wait::holds_for("and nothing else", Duration::from_secs(3), || different(&receiver.all()) == 2);
}

#[test]
fn a_gateway_that_refuses_us_is_told_as_blocked_with_its_cure() {
    let receiver = WebhookReceiver::start();
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = setup(&receiver, "gateways = [\"watched\"]").start();
    let id = daemon.register("watched", gateway.port(), "wrong");
    let blocked = receiver.until_taken("blocked");
    assert!(blocked.body["gateway"]["error"]["help"].as_str().is_some_and(|help| !help.is_empty()), "{}", blocked.body);
    daemon.update(&json!({"id": id, "token": "right"})).expect(200);
    let back = receiver.until_taken("recovered");
    assert_eq!(back.body["condition"], "blocked");
}

#[test]
fn a_failover_names_both_gateways_and_its_end_is_told() {
    let receiver = WebhookReceiver::start();
    let (first, second) =
        (ScriptedGateway::of(Form::Protocol4, "right"), ScriptedGateway::of(Form::Protocol4, "right"));
    let daemon = setup(&receiver, "kinds = [\"failover\", \"recovered\"]\ngateways = [\"home\", \"spare\"]")
        .env("GATEWARDEN_ELECTION__FAILBACK_AFTER", "1s")
        .env("GATEWARDEN_ELECTION__STARTUP_HOLD", "1s")
        .start();
    let home = registered(&daemon, &first, "home");
    daemon.update(&json!({"id": home, "is_primary": true})).expect(200);
    registered(&daemon, &second, "spare");
    wait::until("home acts", PATIENCE, || daemon.gateway(home)["acting_primary"] == true);
    let before = receiver.all().len();
    first.kill();
    let failover = wait::until_ok("the failover is told", PATIENCE, || {
        let all = receiver.all();
        all.iter().skip(before).find(|one| one.kind() == "failover").cloned().ok_or_else(|| format!("{all:#?}"))
    });
    assert_eq!(failover.body["configured"]["name"], "home");
    assert_eq!(failover.body["acting"]["name"], "spare");
    first.revive();
    let back = receiver
        .until("its end is told", |one| one.kind() == "recovered" && one.body["episode"] == failover.body["episode"]);
    assert_eq!(back.body["condition"], "failover");
    assert!(
        receiver.all().iter().all(|one| ["failover", "recovered"].contains(&one.kind())),
        "only what was asked for"
    );
}

#[test]
fn another_configured_primary_in_a_failover_ends_that_and_begins_one_of_its_own() {
    let receiver = WebhookReceiver::start();
    let gateways = [(); 3].map(|()| ScriptedGateway::of(Form::Protocol4, "right"));
    let daemon = setup(&receiver, "kinds = [\"failover\", \"recovered\"]\nafter = \"0s\"")
        .env("GATEWARDEN_ELECTION__FAILBACK_AFTER", "1s")
        .start();
    let [first, second, third] = &gateways;
    let home = registered(&daemon, first, "home");
    let spare = registered(&daemon, second, "spare");
    let other = registered(&daemon, third, "other");
    let acts = |id: i64| wait::until("it acts", PATIENCE, || daemon.gateway(id)["acting_primary"] == true);
    daemon.update(&json!({"id": home, "is_primary": true, "priority": 5})).expect(200);
    acts(home);
    first.kill();
    let of_home = receiver.until("the failover is told", |one| one.kind() == "failover");
    let configured = |told: &Received| told.body["configured"]["name"].clone();
    assert_eq!(configured(&of_home), "home");
    let (next, of_next) = if of_home.body["acting"]["name"] == "spare" { (other, third) } else { (spare, second) };
    of_next.kill();
    daemon.until_status(next, "offline");
    daemon.update(&json!({"id": next, "is_primary": true})).expect(200);
    let another = receiver.until("the other failover is told", |one| {
        one.kind() == "failover" && one.body["episode"] != of_home.body["episode"]
    });
    assert_eq!(another.body["configured"]["id"], next, "{}", another.body);
    assert!(another.body["began_ms"].as_i64() > of_home.body["began_ms"].as_i64(), "{}", another.body);
    let over = receiver.until("the first is over", |one| one.kind() == "recovered");
    assert_eq!((configured(&over), &over.body["episode"]), (json!("home"), &of_home.body["episode"]));
    // The former primary has the highest priority: it may act in place of the other one.
    first.revive();
    acts(home);
    of_next.revive();
    receiver
        .until("the other is over", |one| one.kind() == "recovered" && one.body["episode"] == another.body["episode"]);
    let told = receiver.all();
    assert_eq!(told.iter().filter(|one| one.kind() == "failover" && one.body["sequence"] == 0).count(), 2, "{told:#?}");
    for one in told.iter().filter(|one| one.kind() == "failover") {
        assert_ne!(one.body["configured"]["name"], one.body["acting"]["name"], "{}", one.body);
    }
}

#[test]
fn a_gateway_that_was_only_seeded_is_told_once_somebody_touched_it() {
    let receiver = WebhookReceiver::start();
    let mut daemon = setup(&receiver, "after = \"0s\"").env("GATEWARDEN_ELECTION__STARTUP_HOLD", "1s").start();
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    registered(&daemon, &gateway, "added");
    let seeded = daemon.gateways()[0]["id"].as_i64().expect("an id");
    daemon.until_status(seeded, "offline");
    wait::holds_for("nobody is told", Duration::from_secs(5), || receiver.all().is_empty());
    daemon.crash_and_restart();
    daemon.until_status(seeded, "offline");
    wait::holds_for("nor after a restart", Duration::from_secs(4), || receiver.all().is_empty());
    daemon.update(&json!({"id": seeded, "name": "mine"})).expect(200);
    let down = receiver.until_taken("down");
    assert_eq!(down.body["gateway"]["name"], "mine");
    let began = down.body["began_ms"].as_i64();
    assert_eq!(began, down.body["gateway"]["since_ms"].as_i64(), "it begins when it went down");
}

#[test]
fn a_web_server_that_is_no_gateway_refuses_nobody() {
    let receiver = WebhookReceiver::start();
    let web = WebhookReceiver::start();
    let daemon = setup(&receiver, "gateways = [\"watched\"]").start();
    daemon.register("watched", web.port(), "right");
    let text = receiver.until_taken("blocked").body["text"].as_str().expect("a sentence").to_owned();
    assert!(text.starts_with("Gateway watched can't be used until somebody changes something. "), "{text}");
    assert!(!text.contains("refuses gatewarden"), "{text}");
}

#[test]
fn a_hold_down_outlives_the_death_of_the_daemon() {
    let receiver = WebhookReceiver::start();
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let mut daemon = setup(&receiver, "gateways = [\"watched\"]").start();
    let id = registered(&daemon, &gateway, "watched");
    for _ in 0..3 {
        gateway.kill();
        daemon.until_status(id, "offline");
        gateway.revive();
        daemon.until_status(id, "online");
    }
    let held = daemon.until(id, "it is held down", PATIENCE, |gateway| gateway["held_down_until"].is_i64());
    let row = |daemon: &Daemon| {
        let fleet = daemon.get("/api/fleet").expect(200).json();
        let rows = fleet["gateways"].as_array().expect("rows").clone();
        rows.into_iter().find(|row| row["id"] == id).expect("its row")["held_down_until"].clone()
    };
    assert_eq!(row(&daemon), held["held_down_until"]);
    daemon.crash_and_restart();
    let after = row(&daemon).as_i64().expect("still held down");
    assert!(after.abs_diff(held["held_down_until"].as_i64().expect("seconds")) <= 1, "{after} {held}");
}

#[test]
fn a_gateway_that_bounces_makes_no_storm() {
    let receiver = WebhookReceiver::start();
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = setup(&receiver, "gateways = [\"watched\"]\nafter = \"0s\"").start();
    let id = registered(&daemon, &gateway, "watched");
    for _ in 0..7 {
        gateway.kill();
        daemon.until_status(id, "offline");
        wait::holds_for("long enough to be told", Duration::from_millis(1_300), || true);
        gateway.revive();
        daemon.until_status(id, "online");
        wait::holds_for("long enough to be told", Duration::from_millis(1_300), || true);
    }
    let told = receiver.all();
    assert!((3..=6).contains(&told.len()), "{} notifications of 14 changes: {told:#?}", told.len());
    assert_eq!(told.last().map(|last| last.body["flapping"].clone()), Some(json!(true)), "{told:#?}");
}

#[test]
fn a_deleted_gateway_is_taken_back() {
    let receiver = WebhookReceiver::start();
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = setup(&receiver, "gateways = [\"watched\"]").start();
    let id = registered(&daemon, &gateway, "watched");
    gateway.kill();
    let down = receiver.until_taken("down");
    daemon.delete(id).expect(200);
    let gone = receiver.until_taken("recovered");
    assert_eq!((&gone.body["removed"], &gone.body["episode"]), (&json!(true), &down.body["episode"]));
    assert_eq!(gone.body["gateway"]["name"], "watched");
}

#[test]
fn a_process_that_is_given_up_is_told_until_somebody_sees_to_it() {
    let receiver = WebhookReceiver::start();
    let home = tempfile::Builder::new().prefix("gatewarden-test-").tempdir().expect("a temporary directory");
    let command = format!(
        "kinds = [\"crash_loop\", \"recovered\"]\n[commands.local]\nprogram = \"/bin/sh\"\nargs = [\"-c\", \"exit 3\"]\ndirectory = {:?}",
        home.path().display().to_string()
    );
    let daemon = setup(&receiver, &command)
        .env("GATEWARDEN_PROCESSES__BACKOFF", "10ms")
        .env("GATEWARDEN_PROCESSES__MAX_RESTARTS", "3")
        .env("GATEWARDEN_PROCESSES__STOP_GRACE", "1s")
        .start();
    let id = daemon.register_with(
        &json!({"name": "local", "host": "127.0.0.1", "port": 1, "token": "local-token-0123456789", "command": "local"}),
    );
    let told = receiver.until_taken("crash_loop");
    assert_eq!(
        (&told.body["gateway"]["id"], &told.body["gateway"]["process"]["state"]),
        (&json!(id), &json!("gave_up"))
    );
    assert!(
        told.body["text"].as_str().is_some_and(|text| text.contains("local is not started again")),
        "{}",
        told.body
    );
    // Whoever stops it has seen to it.
    let _ = daemon.post(&format!("/api/gateways/{id}/process"), &json!({"action": "stop"}));
    let back = receiver.until_taken("recovered");
    assert_eq!((&back.body["condition"], &back.body["episode"]), (&json!("crash_loop"), &told.body["episode"]));
}

#[test]
fn a_stop_and_a_start_of_the_daemon_are_no_failure_of_anybody() {
    let receiver = WebhookReceiver::start();
    let (first, second) =
        (ScriptedGateway::of(Form::Protocol4, "right"), ScriptedGateway::of(Form::Protocol4, "right"));
    let named = "gateways = [\"home\", \"spare\"]\nafter = \"0s\"";
    let mut daemon = setup(&receiver, named).env("GATEWARDEN_ELECTION__STARTUP_HOLD", "20s").start();
    let home = registered(&daemon, &first, "home");
    daemon.update(&json!({"id": home, "is_primary": true})).expect(200);
    let spare = registered(&daemon, &second, "spare");
    wait::until("home acts", PATIENCE, || daemon.gateway(home)["acting_primary"] == true);
    // What ended before may be told a little later.
    let failures = || receiver.all().iter().filter(|one| one.kind() != "recovered").count();
    let before = failures();
    for _ in 0..2 {
        daemon.stop();
        daemon = daemon.setup().clone().start();
        daemon.until_status(home, "online");
        daemon.until_status(spare, "online");
        wait::holds_for("nobody is told anything", Duration::from_secs(4), || failures() == before);
    }
}

#[test]
fn what_happens_while_the_database_cannot_be_written_is_told_afterwards_and_once() {
    let receiver = WebhookReceiver::start();
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = setup(&receiver, "gateways = [\"watched\"]").start();
    registered(&daemon, &gateway, "watched");
    let mut other = SqliteConnection::establish(&daemon.setup().database().to_string_lossy()).expect("it opens");
    wait::until_ok("the write lock", PATIENCE, || {
        other.batch_execute("BEGIN IMMEDIATE").map_err(|error| error.to_string())
    });
    gateway.kill();
    daemon.until_logged(&["notifications could not be stored"]);
    assert_eq!(receiver.all().len(), 0, "nothing is said that is not on disk");
    other.batch_execute("ROLLBACK").expect("released");
    receiver.until_taken("down");
    wait::holds_for("it is told once", Duration::from_secs(5), || receiver.all().len() == 1);
    gateway.revive();
    receiver.until_taken("recovered");
}

#[test]
fn a_receiver_behind_tls_needs_a_certificate_that_is_trusted() {
    let receiver = WebhookReceiver::start();
    let front = TlsFront::before(receiver.port(), &["127.0.0.1"]);
    let url = format!("https://127.0.0.1:{}/hooks?key=geheim-in-the-url", front.port());
    let daemon = setup_at(&url, "").start();
    daemon.register("nobody-runs-it", 1, "right");
    daemon.until_logged(&["not trusted", "ca_file"]);
    assert!(!daemon.everything_said().contains("geheim"));
    assert_eq!(receiver.all().len(), 0, "nothing may be said before the certificate is trusted");
    let authority = daemon.setup().state().with_file_name("authority.pem");
    std::fs::write(&authority, front.pem()).expect("written");
    let trusting = setup_at(&url, &format!("ca_file = \"{}\"", authority.display())).start();
    trusting.register("nobody-runs-it", 1, "right");
    assert_signed(&receiver.until_taken("down"));
}

#[test]
fn a_destination_that_is_wrong_stops_the_start_with_all_its_mistakes() {
    let receiver = WebhookReceiver::start();
    let ended = setup(&receiver, "kinds = [\"sideways\"]\nremind_every = \"often\"\nurll = \"x\"").run();
    assert_eq!(ended.code, Some(78));
    for part in ["notifications.ops.kinds", "notifications.ops.remind_every", "did you mean url?"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("geheim") && !ended.stderr.contains(SECRET), "{}", ended.stderr);
}
