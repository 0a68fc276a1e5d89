//! `gatewarden gateways …` and `watch` in front of a running daemon.

use serde_json::{Value, json};

use super::support::client::{fine, run};
use super::support::daemon::{Daemon, Ended, PATIENCE, Setup};
use super::support::ports::free_port;
use super::support::screen::Screen;
use super::support::scripted_gateway::{Form, ScriptedGateway};
use super::support::wait;

/// A file with a secret in it.
fn secret(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{text}\n")).expect("written");
    let named = file.display().to_string();
    (dir, named)
}

#[test]
fn a_gateway_lives_its_life_by_commands() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let address = format!("127.0.0.1:{}", gateway.port());
    let (_dir, token) = secret("right");
    let added = fine(
        &daemon,
        &[
            "gateways",
            "add",
            "lab",
            &address,
            "--token-file",
            &token,
            "--label",
            "site=a",
            "--priority",
            "-3",
            "--wait",
        ],
    );
    assert!(added.contains("lab is online"), "{added}");
    let list = fine(&daemon, &["gateways", "list"]);
    let row = list.lines().find(|line| line.starts_with("lab")).expect("a row");
    for part in ["online", &address, "2026.9.6"] {
        assert!(row.contains(part), "{part} is not in {row}");
    }
    assert_eq!(fine(&daemon, &["gateways", "list", "--quiet", "--status", "online"]), "lab\n");
    let shown = fine(&daemon, &["gateways", "show", "lab"]);
    for line in ["name          lab", "labels        site=a", "priority      -3", "token         is set"] {
        assert!(shown.lines().any(|found| found == line), "{line} is not in {shown}");
    }
    let object: Value = serde_json::from_str(&fine(&daemon, &["gateways", "show", "lab", "--json"])).expect("JSON");
    let id = object["gateway"]["id"].to_string();
    assert_eq!(object["gateway"]["token"], "--------");

    let probed = fine(&daemon, &["gateways", "probe", "lab"]);
    assert!(probed.starts_with("NAME") && probed.contains("\nlab   online"), "{probed}");
    assert_eq!(fine(&daemon, &["gateways", "ls", "-q", "-l", "site=a"]), "lab\n");
    assert_eq!(fine(&daemon, &["gateways", "ls", "-l", "site=b"]), "No gateway is like this.\n");
    let line: Value =
        serde_json::from_str(&fine(&daemon, &["gateways", "ls", "-o", "jsonl", "-l", "site=a"])).expect("a line");
    assert_eq!(line["name"], "lab");
    assert!(fine(&daemon, &["gateways", "drain", &id]).contains("lab gets no new work"));
    assert!(fine(&daemon, &["gateways", "list"]).contains("drained"));
    fine(&daemon, &["gateways", "undrain", "lab"]);
    let attempts = gateway.record().attempts.len();
    assert!(fine(&daemon, &["gateways", "reconnect", "lab", "--wait"]).contains("lab is online"));
    assert!(gateway.record().attempts.len() > attempts, "it was dialled again");

    assert_eq!(
        fine(&daemon, &["gateways", "update", "lab", "--name", "prod", "--no-labels", "--primary", "--quiet"]),
        ""
    );
    let shown = fine(&daemon, &["gateways", "show", "prod"]);
    assert!(shown.contains("configured primary") && !shown.contains("site=a"), "{shown}");
    fine(&daemon, &["gateways", "update", "prod", "--node", "warden-b"]);
    let node =
        |shown: &str| shown.lines().find_map(|line| line.strip_prefix("node ").map(|name| name.trim().to_owned()));
    assert_eq!(node(&fine(&daemon, &["gateways", "show", "prod"])).as_deref(), Some("warden-b"));
    fine(&daemon, &["gateways", "update", "prod", "--no-node"]);
    assert_eq!(node(&fine(&daemon, &["gateways", "show", "prod"])), None);
    let refused = run(&daemon, &["gateways", "rm", "nobody", "prod", "seeded"]);
    assert_eq!(refused.code, Some(1));
    for part in ["No gateway is called nobody", "prod: Cannot delete", "gatewarden gateways update NAME --primary"] {
        assert!(refused.stderr.contains(part), "{part} is not in {}", refused.stderr);
    }
    assert_eq!(refused.stdout, "removed seeded\n", "the others go all the same");
}

#[test]
fn what_is_wrong_with_a_gateway_is_said_with_its_cure_and_an_exit_code() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let address = format!("127.0.0.1:{}", gateway.port());
    let (_dir, token) = secret("wrong");
    let added = run(&daemon, &["gateways", "add", "lab", &address, "--token-file", &token, "--wait=20"]);
    assert_eq!(added.code, Some(1), "{} {}", added.stdout, added.stderr);
    assert!(added.stdout.contains("refused the token") && !added.stdout.contains("wrong"), "{}", added.stdout);
    assert!(added.stderr.contains("lab: degraded, blocked (token_mismatch)"), "it says why: {}", added.stderr);
    assert!(fine(&daemon, &["gateways", "list"]).contains("token_mismatch"));
    let row = |probed: &Ended| {
        let row = probed.stdout.lines().find(|line| line.starts_with("lab ")).map(str::to_owned);
        row.unwrap_or_else(|| panic!("lab is not in {} {}", probed.stdout, probed.stderr))
    };
    let all = run(&daemon, &["gateways", "probe"]);
    let one = run(&daemon, &["gateways", "probe", "lab"]);
    assert_eq!((all.code, one.code), (Some(1), Some(1)), "{} {}", all.stdout, one.stdout);
    let some = run(&daemon, &["gateways", "probe", "lab", "seeded", "--json"]);
    let checked: Value = serde_json::from_str(&some.stdout).expect("JSON");
    assert_eq!(checked["results"].as_array().map(Vec::len), Some(2), "{checked}");
    assert_eq!(run(&daemon, &["gateways", "probe", "lab", "nobody"]).code, Some(1));
    for probed in [&all, &one] {
        let row = row(probed);
        assert!(row.contains("degraded") && row.contains("gatewarden gateways update"), "{row}");
    }
    let narrow = Setup::client_of(&daemon, &["gateways", "probe"]).env("COLUMNS", "80").run();
    assert!(narrow.stdout.lines().all(|line| line.chars().count() <= 80), "{}", narrow.stdout);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&narrow.stdout).contains("refused the token"), "{}", narrow.stdout);

    let nothing = run(&daemon, &["gateways", "update", "lab"]);
    assert_eq!(nothing.code, Some(64), "{}", nothing.stderr);
    let forbidden = run(&daemon, &["gateways", "add", "meta", "169.254.169.254"]);
    assert_eq!(forbidden.code, Some(1), "{}", forbidden.stderr);
    let port = run(&daemon, &["gateways", "add", "x", "127.0.0.1:0"]);
    assert_eq!(port.code, Some(64), "{}", port.stderr);
}

#[test]
fn the_outcome_of_a_change_is_that_of_the_change_and_not_what_was_before() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    let changed = daemon.update(&json!({"id": id, "token": "wrong"})).expect(200).json();
    assert_eq!(changed["gateway"]["status"], "unknown", "nothing is known of the new token: {changed}");
    daemon.until_code(id, "token_mismatch");
    let (_dir, right) = secret("right");
    assert_eq!(run(&daemon, &["gateways", "update", "lab", "--token-file", &right, "--wait"]).code, Some(0));
    let again = daemon.post(&format!("/api/gateways/{id}/reconnect"), &json!({})).expect(200).json();
    assert_ne!(again["gateway"]["phase"], "ready", "{again}");
    daemon.until_status(id, "online");
    let (_dir, wrong) = secret("wrong");
    let waited = run(&daemon, &["gateways", "update", "lab", "--token-file", &wrong, "--wait"]);
    assert_eq!(waited.code, Some(1), "{} {}", waited.stdout, waited.stderr);
    assert!(!waited.stderr.contains("online"), "{}", waited.stderr);
}

#[test]
fn a_list_fits_a_narrow_terminal_and_shows_what_is_wrong_first() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    for name in ["a-gateway-with-quite-a-long-name", "\u{6771}\u{4eac}\u{306e}\u{30b2}\u{30fc}\u{30c8}"] {
        let id = daemon.register(name, gateway.port(), "right");
        daemon.until_status(id, "online");
    }
    let id = daemon.register("zz-refused", gateway.port(), "wrong");
    daemon.until_status(id, "degraded");
    let list = |columns: &str, more: &[&str]| {
        let ended = Setup::client_of(&daemon, &[&["gateways", "list"], more].concat()).env("COLUMNS", columns).run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    let narrow = list("80", &[]);
    let width = |line: &str| {
        line.chars().map(|character| if character.is_ascii() || character == '\u{2026}' { 1 } else { 2 }).sum::<usize>()
    };
    assert!(narrow.lines().all(|line| width(line) <= 80), "{narrow}");
    let row = |list: &str, start: &str| {
        list.lines().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {list}"))
    };
    assert!(row(&narrow, "zz-refused") < row(&narrow, "a-gateway"), "{narrow}");
    assert!(narrow.contains("token_mismatch") && narrow.contains('\u{6771}'), "{narrow}");
    let wide = list("80", &["-o", "wide"]);
    assert!(wide.contains("VERSION") && wide.contains("a-gateway-with-quite-a-long-name"), "{wide}");
}

#[test]
fn whoever_sits_at_a_terminal_is_asked_before_a_gateway_is_removed() {
    let daemon = Daemon::start();
    daemon.register("spare", free_port(), "right");
    let remove = |more: &[&str]| {
        Screen::conversing(Setup::client_of(&daemon, &[&["gateways", "rm", "spare"], more].concat()).prepared())
    };
    let left = || fine(&daemon, &["gateways", "ls", "-q"]).contains("spare");
    let screen = remove(&[]);
    screen.until("it asks", |picture| picture.contains("Remove the gateway spare (id ") && picture.contains("[y/N]"));
    screen.types("n");
    screen.until("it does nothing", |picture| picture.contains("Nothing was done"));
    assert!(left());
    let screen = remove(&[]);
    screen.until("it asks again", |picture| picture.contains("[y/N]"));
    screen.types("y");
    screen.until("it is removed", |picture| picture.contains("removed spare"));
    assert!(!left());
    daemon.register("spare", free_port(), "right");
    let screen = remove(&["--yes"]);
    screen.until("it is removed unasked", |picture| picture.contains("removed spare"));
    assert!(!screen.drawn().contains("[y/N]"), "{}", screen.drawn());
}

#[test]
fn watching_without_a_terminal_prints_a_line_for_each_change() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    let watch = Setup::client_of(&daemon, &["gateways", "watch"]).spawn();
    watch.until_said("lab online");
    gateway.kill();
    watch.until_said("lab: online -> offline");
    gateway.revive();
    watch.until_said("lab: offline -> online");
    fine(&daemon, &["gateways", "add", "passing", &format!("127.0.0.1:{}", free_port())]);
    watch.until_said("passing: added, ");
    fine(&daemon, &["gateways", "rm", "passing", "--yes"]);
    watch.until_said("passing: removed");
    assert!(!watch.said().contains('\u{1b}'), "{}", watch.said());

    let json = Setup::client_of(&daemon, &["gateways", "watch", "--json"]).spawn();
    json.until_said("\"lab\"");
    gateway.kill();
    wait::until("a list with the change", PATIENCE, || {
        let lists = json.said();
        let last = lists.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        let rows = last.and_then(|list| list["gateways"].as_array().cloned()).unwrap_or_default();
        rows.iter().any(|row| row["name"] == "lab" && row["status"] == "offline")
    });
}

#[test]
fn watching_on_a_terminal_draws_the_table_again_in_place() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    let screen = Screen::start(Setup::client_of(&daemon, &["gateways", "watch"]).prepared(), 24);
    let row = |picture: &str| picture.lines().find(|line| line.starts_with("lab")).unwrap_or_default().to_owned();
    let first = screen.until("lab is shown as online", |picture| row(picture).contains("online"));
    assert!(first.contains("1 online") && first.contains("NAME"), "{first}");
    assert!(screen.drawn().contains("\u{1b}[32monline\u{1b}[0m"), "a terminal has colours");
    gateway.kill();
    let second = screen.until("lab is shown as offline", |picture| row(picture).contains("offline"));
    assert_eq!(second.matches("lab ").count(), 1, "the table stands there once: {second}");
    gateway.revive();
    screen.until("lab is back", |picture| row(picture).contains("online"));

    let bare = Screen::start(Setup::client_of(&daemon, &["gateways", "watch"]).env("NO_COLOR", "1").prepared(), 24);
    bare.until("lab is shown without colours", |picture| row(picture).contains("online"));
    assert!(!bare.drawn().contains("\u{1b}[32m"), "{}", bare.drawn());
}

#[test]
fn on_a_small_terminal_those_that_need_attention_are_seen() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    for number in 0..9 {
        let id = daemon.register(&format!("fine-{number}"), gateway.port(), "right");
        daemon.until_status(id, "online");
    }
    let nobody = json!({"name": "zz-away", "host": "127.0.0.1", "port": free_port()});
    let id = daemon.register_with(&nobody);
    daemon.until_status(id, "offline");
    let screen = Screen::start(Setup::client_of(&daemon, &["gateways", "watch"]).prepared(), 8);
    let picture = screen.until("the rest is counted", |picture| picture.contains("more"));
    assert!(picture.contains("zz-away") && picture.contains("seeded"), "{picture}");
    assert!(picture.lines().count() <= 8, "{picture}");
}

#[test]
fn what_is_the_id_of_one_gateway_and_the_name_of_another_removes_neither() {
    let daemon = Daemon::start();
    let id = |name: &str| {
        let gateways = daemon.gateways();
        gateways.iter().find(|gateway| gateway["name"] == name).expect("it is there")["id"].to_string()
    };
    let number = id("seeded");
    let added = run(&daemon, &["gateways", "add", &number, "127.0.0.1:9"]);
    assert!(added.code == Some(0) && added.stderr.contains("looks like an id"), "{}", added.stderr);
    let refused = run(&daemon, &["gateways", "rm", &number, "--yes"]);
    let both = format!("{number} is the id of seeded and the name of gateway {}", id(&number));
    assert!(refused.code == Some(1) && refused.stderr.contains(&both), "{}", refused.stderr);
    assert_eq!(daemon.gateways().len(), 2);
    assert_eq!(fine(&daemon, &["gateways", "rm", &id(&number)]), format!("removed {number}\n"));
}
