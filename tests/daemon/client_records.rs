//! Records by commands: agents, connections, keys; gateways exported and imported.

use std::os::unix::fs::PermissionsExt as _;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use serde_json::{Value, json};

use super::support::client::{fine, run};
use super::support::daemon::{Daemon, Setup};
use super::support::scripted_gateway::{Form, ScriptedGateway};
use super::support::tls_front::TlsFront;

#[test]
fn agents_are_made_changed_synced_and_forgotten() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    gateway.change(|behaviour| {
        let list = json!({"defaultId": "four", "agents": [{"id": "four"}, {"id": "four-b"}]});
        behaviour.results.insert("agents.list".to_owned(), list);
    });
    let daemon = Daemon::start();
    let id = daemon.register("lab", gateway.port(), "right");
    daemon.until_status(id, "online");
    let added = run(&daemon, &["agents", "add", "a b/c", "--role", "research", "--prefer", "nowhere"]);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    assert!(added.stderr.contains("nowhere"), "a warning is passed on: {}", added.stderr);
    fine(&daemon, &["agents", "update", "a b/c", "--gateway", "lab", "--status", "busy", "--quiet"]);
    let shown = fine(&daemon, &["agents", "show", "a b/c"]);
    for part in ["role          research", "status        busy", "preferred_gateway", "gateway       lab"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    // The daemon reads them by itself, too: how many are new is chance.
    assert!(fine(&daemon, &["agents", "sync", "--gateway", "lab"]).starts_with("2 agents read: "));
    let list = fine(&daemon, &["agents", "list"]);
    assert!(list.lines().skip(1).all(|row| row.contains("  lab  ")), "the gateway's name, not its id: {list}");
    let names = fine(&daemon, &["agents", "list", "--quiet"]);
    assert_eq!(names.lines().collect::<Vec<_>>(), ["a b/c", "four", "four-b"]);
    assert_eq!(fine(&daemon, &["agents", "list", "--search", "nobody"]), "No agent was found.\n");
    fine(&daemon, &["agents", "rm", "a b/c"]);
    assert_eq!(run(&daemon, &["agents", "show", "a b/c"]).code, Some(1));
    assert_eq!(run(&daemon, &["agents", "update", "four"]).code, Some(64));
}

#[test]
fn connections_of_tools_are_seen_and_closed() {
    let daemon = Daemon::start();
    assert_eq!(fine(&daemon, &["connections", "list"]), "No tool is connected.\n");
    let body = json!({"agent_name": "codex-1", "tool_name": "codex", "tool_version": "1.2"});
    let made = daemon.post("/api/connect", &body).expect(200).json();
    let id = made["connection_id"].as_str().expect("an id");
    let list = fine(&daemon, &["connections", "list"]);
    assert!(list.contains("codex 1.2") && list.contains("codex-1") && list.contains(id), "{list}");
    assert!(fine(&daemon, &["connections", "close", id]).contains("closed"));
    assert_eq!(fine(&daemon, &["connections", "list", "--quiet"]), "");
    assert!(fine(&daemon, &["connections", "list", "--all"]).contains("closed"));
    assert_eq!(run(&daemon, &["connections", "close", "conn-x"]).code, Some(1));
}

#[test]
fn a_key_is_shown_once_or_put_into_a_private_file_and_revoked() {
    let daemon = Daemon::start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key").display().to_string();
    let made = run(&daemon, &["keys", "create", "dashboard", "--role", "viewer", "--days", "30"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let key = made.stdout.trim();
    assert!(key.starts_with("gw_") && made.stdout.lines().count() == 1, "{}", made.stdout);
    let seen = Setup::client_of(&daemon, &["status", "--quiet"]).env("GATEWARDEN_API_KEY", key).run();
    assert_eq!(seen.code, Some(0), "{}", seen.stderr);

    let quietly = fine(&daemon, &["keys", "create", "ci", "--role", "operator", "--output", &file]);
    let written = std::fs::read_to_string(&file).expect("the file");
    assert!(!quietly.contains(written.trim()), "{quietly}");
    assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    assert_eq!(Setup::client_of(&daemon, &["status", "--key-file", &file, "-q"]).run().code, Some(0));
    assert_eq!(run(&daemon, &["keys", "create", "x", "--role", "viewer", "--output", &file]).code, Some(64));
    let nameless = dir.path().join("other").display().to_string();
    assert_eq!(run(&daemon, &["keys", "create", "", "--role", "viewer", "--output", &nameless]).code, Some(1));
    assert!(!std::path::Path::new(&nameless).exists(), "no empty file is left behind");

    let list: Value = serde_json::from_str(&fine(&daemon, &["keys", "list", "--json"])).expect("JSON");
    let rows = list["keys"].as_array().expect("a list");
    let id = rows.iter().find(|row| row["name"] == "dashboard").expect("the key")["id"].to_string();
    assert!(!fine(&daemon, &["keys", "list"]).contains(key));
    fine(&daemon, &["keys", "revoke", &id]);
    let refused = Setup::client_of(&daemon, &["status"]).env("GATEWARDEN_API_KEY", key).run();
    assert_eq!(refused.code, Some(77), "{}", refused.stderr);

    let twins = [daemon.new_key("twin", "viewer"), daemon.new_key("twin", "viewer")];
    let ambiguous = run(&daemon, &["keys", "revoke", "ci", "twin"]);
    assert_eq!(ambiguous.code, Some(1), "{}", ambiguous.stderr);
    assert!(ambiguous.stderr.contains("Several keys are called twin") && ambiguous.stderr.contains("by its id: "));
    let works = |key: &str| Setup::client_of(&daemon, &["status", "-q"]).env("GATEWARDEN_API_KEY", key).run().code;
    assert_eq!(twins.map(|twin| works(&twin)), [Some(0), Some(0)]);
    assert_eq!(works(written.trim()), Some(0), "a name that is wrong leaves none of them done");
    assert_eq!(fine(&daemon, &["keys", "revoke", "ci"]), "revoked ci\n");
    assert_eq!(works(written.trim()), Some(77));
}

/// A daemon with two gateways beside the seeded one.
fn furnished() -> Daemon {
    let daemon = Daemon::start();
    daemon
        .register_with(&json!({"name": "lab", "host": "192.0.2.7", "port": 18790, "token": "hush-lab", "priority": 3,
        "labels": {"site": "a \"b\""}, "transport": "ws"}));
    let pins = json!({"trust": "pins", "pins": ["ab".repeat(32)]});
    let far = daemon.register_with(&json!({"name": "far", "host": "wss://far.example/x?token=hush-far", "tls": pins}));
    daemon.post(&format!("/api/gateways/{far}/drain"), &json!({})).expect(200);
    daemon
}

/// What makes a gateway, without observations.
fn settings(daemon: &Daemon, name: &str) -> Value {
    let row =
        daemon.gateways().into_iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} is not there"));
    let fields = ["host", "port", "priority", "labels", "transport", "tls", "drained", "is_primary", "token_set"];
    fields.iter().map(|field| ((*field).to_owned(), row[*field].clone())).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn what_is_exported_is_imported_elsewhere_in_both_forms_with_and_without_tokens() {
    let daemon = furnished();
    let dir = tempfile::tempdir().expect("a directory");
    for format in ["toml", "json"] {
        let bare = fine(&daemon, &["export", "--format", format]);
        assert!(bare.contains("192.0.2.7") && !bare.contains("hush"), "{bare}");
        let file = dir.path().join(format).display().to_string();
        fine(&daemon, &["export", "--format", format, "--with-tokens", "--output", &file]);
        let written = std::fs::read_to_string(&file).expect("the file");
        assert!(written.contains("hush-lab") && written.contains("hush-far"), "{written}");
        assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(run(&daemon, &["export", "--output", &file]).code, Some(1), "an existing file stays");

        let other = Daemon::start();
        let dry = fine(&other, &["import", &file, "--dry-run"]);
        assert!(dry.contains("would add") && dry.contains("is registered already"), "{dry}");
        assert_eq!(other.gateways().len(), 1, "nothing was done");
        let done: Value = serde_json::from_str(&fine(&other, &["import", &file, "--json"])).expect("JSON");
        let results: Vec<_> =
            done["results"].as_array().expect("results").iter().map(|one| one["result"].clone()).collect();
        assert_eq!(results.iter().filter(|result| **result == "added").count(), 2, "{done}");
        for name in ["lab", "far"] {
            assert_eq!(settings(&other, name), settings(&daemon, name), "{format} {name}");
        }
        let again = fine(&other, &["import", &file, "--quiet"]);
        assert_eq!(again, "", "a second time nothing is to be done");
    }
}

/// Of a list in TOML, without the comment that says which daemon it is from.
fn list_of(daemon: &Daemon) -> String {
    let text = fine(daemon, &["export"]);
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_setting_survives_an_export_and_an_import_and_a_saved_answer_of_the_api_is_a_list() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("gatewarden.toml");
    std::fs::write(&config, "[commands.late]\nprogram = \"/bin/false\"\n").expect("written");
    let private = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    std::fs::set_permissions(&config, private).expect("ours");
    let config = config.display().to_string();
    let setup = || {
        let nowhere = "unix:path=/nowhere/bus";
        Setup::new().env("DBUS_SYSTEM_BUS_ADDRESS", nowhere).args(&["--config", &config])
    };
    let daemon = setup().start();
    let front = TlsFront::before(1, &["localhost"]);
    for body in [
        json!({"name": "of a unit", "host": "127.0.0.1", "port": 3, "unit": "gatewarden-gateway@main.service", "priority": -7,
               "labels": {"site": "a \"b\""}, "transport": "http", "drained": true, "node": "warden-b"}),
        json!({"name": "of a command", "host": "127.0.0.1", "port": 4, "command": "late", "disable_device_pairing": true}),
        json!({"name": "by authority", "host": "wss://localhost:5/path", "tls": {"trust": "ca", "ca_pem": front.pem()}}),
        json!({"name": "by pin", "host": "wss://localhost:6", "tls": {"trust": "pins", "pins": [front.pin(), "ab".repeat(32)]}}),
    ] {
        daemon.register_with(&body);
    }
    let (list, saved) = (dir.path().join("list.toml"), dir.path().join("saved.json"));
    std::fs::write(&list, fine(&daemon, &["export"])).expect("written");
    std::fs::write(&saved, daemon.get("/api/gateways").expect(200).text).expect("written");
    for file in [&list, &saved] {
        let other = setup().start();
        let done: Value =
            serde_json::from_str(&fine(&other, &["import", &file.display().to_string(), "--json"])).expect("JSON");
        for one in done["results"].as_array().expect("results") {
            let skipped = one["name"] == "seeded" || one["name"] == "primary";
            assert!(skipped || (one["result"] == "added" && one["reason"] == ""), "{}: {one}", file.display());
        }
        assert_eq!(list_of(&other), list_of(&daemon), "{}", file.display());
    }
}

#[test]
fn mission_controls_database_is_read_and_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mission-control.db");
    let mut connection = SqliteConnection::establish(path.to_str().expect("text")).expect("a database");
    for sql in [
        "CREATE TABLE gateways (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, host TEXT NOT NULL DEFAULT \
         '127.0.0.1', port INTEGER NOT NULL DEFAULT 18789, token TEXT NOT NULL DEFAULT '', is_primary INTEGER NOT NULL DEFAULT 0, \
         status TEXT NOT NULL DEFAULT 'unknown', last_seen INTEGER, latency INTEGER, sessions_count INTEGER NOT NULL DEFAULT 0, \
         agents_count INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL DEFAULT 0, updated_at INTEGER NOT NULL DEFAULT 0)",
        "INSERT INTO gateways (name, host, port, token, is_primary) VALUES ('prod', '192.0.2.8', 18789, 'hush-prod', 1)",
        "INSERT INTO gateways (name, host, port) VALUES ('seeded', '192.0.2.9', 18789)",
        "INSERT INTO gateways (name, host, port) VALUES ('same place', '192.0.2.8', 18789)",
        "INSERT INTO gateways (name, host, port) VALUES ('meta', '169.254.169.254', 80)",
    ] {
        connection.batch_execute(sql).expect("sql");
    }
    drop(connection);
    let before = std::fs::read(&path).expect("the file");
    let daemon = Daemon::start();
    let file = path.display().to_string();
    let ended = run(&daemon, &["import", &file]);
    assert_eq!(ended.code, Some(1), "one of them can't be taken: {} {}", ended.stdout, ended.stderr);
    let line = |name: &str| {
        let found = ended.stdout.lines().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("{name} is not in {}", ended.stdout)).to_owned()
    };
    for (name, parts) in [
        ("prod", ["added", "--primary"]),
        ("seeded", ["skipped", "another gateway has this name"]),
        ("same place", ["skipped", "registered as prod"]),
        ("meta", ["failed", "must not be used"]),
    ] {
        for part in parts {
            assert!(line(name).contains(part), "{part} is not in {}", line(name));
        }
    }
    assert!(!ended.stdout.contains("hush"), "{}", ended.stdout);
    let prod = settings(&daemon, "prod");
    assert_eq!((&prod["token_set"], &prod["is_primary"]), (&json!(true), &json!(false)));
    assert_eq!(std::fs::read(&path).expect("the file"), before, "nothing was written to it");

    let changed = run(&daemon, &["import", &file, "--update", "--primary", "--from", "mission-control", "--json"]);
    assert_eq!(changed.code, Some(1), "{}", changed.stderr);
    assert_eq!(settings(&daemon, "prod")["is_primary"], true);
    assert_eq!(settings(&daemon, "seeded")["host"], "192.0.2.9");
    let again = run(&daemon, &["import", &file, "--update", "--dry-run"]).stdout;
    let row = |name: &str| again.lines().find(|line| line.starts_with(name)).expect("a row");
    assert!(row("seeded").contains("nothing differs"), "{again}");
    assert!(row("prod").contains("would update") && !row("prod").contains("--primary"), "it is the primary: {again}");
}

#[test]
fn an_openclaw_json_is_read_with_its_comments_and_variables() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("openclaw.json");
    let text = "{\n // mine\n gateway: { port: 18791, auth: { token: '${MY_TOKEN}' }, remote: { url: 'wss://far.example' } },\n}";
    std::fs::write(&path, text).expect("written");
    let daemon = Daemon::start();
    let file = path.display().to_string();
    let ended = Setup::client_of(&daemon, &["import", &file]).env("MY_TOKEN", "hush").run();
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    let local = settings(&daemon, "local");
    assert_eq!(
        (&local["host"], &local["port"], &local["token_set"]),
        (&json!("127.0.0.1"), &json!(18791), &json!(true))
    );
    assert_eq!(settings(&daemon, "remote")["token_set"], false);
    for (text, said) in [("{ gateway: ", "JSON"), ("[1, 2]", "gateway 1"), ("x = 1", "no list of gateways")] {
        std::fs::write(&path, text).expect("written");
        let ended = run(&daemon, &["import", &file]);
        assert_eq!(ended.code, Some(64), "{text}: {}", ended.stdout);
        assert!(ended.stderr.contains(said), "{said} is not in {}", ended.stderr);
    }
    assert_eq!(run(&daemon, &["import", "/nowhere/list"]).code, Some(64));
}
