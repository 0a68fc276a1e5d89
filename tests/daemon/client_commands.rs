//! Commands that talk to a daemon: which daemon, with which key, and how failures are said.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::support::client::{fine, run};
use super::support::daemon::{ADMIN_KEY, Daemon, Setup};
use super::support::ports::free_port;
use super::support::tls_front::TlsFront;

#[test]
fn status_is_said_in_words_in_json_and_in_one_word() {
    let daemon = Daemon::start();
    let words = run(&daemon, &["status"]);
    assert_eq!(words.code, Some(0), "{}", words.stderr);
    for part in ["daemon    ok, gatewarden ", &daemon.address().to_string(), "gateways  1", "sessions  0 active"] {
        assert!(words.stdout.contains(part), "{part} is not in {}", words.stdout);
    }
    assert!(!words.stdout.contains('\u{1b}'), "no colours where nobody sees them");
    let json = run(&daemon, &["status", "--json"]);
    let said: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(said["status"], "ok");
    assert_eq!(run(&daemon, &["status", "--quiet"]).stdout, "ok\n");
}

#[test]
fn the_daemon_is_found_by_flag_variable_or_this_machines_configuration() {
    let daemon = Daemon::start();
    let url = format!("http://{}", daemon.address());
    let by_flag = Setup::client_of(&daemon, &["--url", &url, "status", "--quiet"]).run();
    assert_eq!(by_flag.code, Some(64), "the flag belongs to the command: {}", by_flag.stderr);
    let by_flag = Setup::client_of(&daemon, &["status", "--quiet", "--url", &url])
        .env("GATEWARDEN_URL", "http://127.0.0.1:1")
        .run();
    assert_eq!((by_flag.code, by_flag.stdout.as_str()), (Some(0), "ok\n"), "{}", by_flag.stderr);
    // The daemon's own variable and its own key file, as on its own machine.
    let owned = Setup::new().without("API_KEY").start();
    let state = owned.setup().state().display().to_string();
    let by_configuration = Setup::new()
        .without("API_KEY")
        .env("GATEWARDEN_HTTP__LISTEN", &owned.address().to_string())
        .env("GATEWARDEN_STATE_DIR", &state)
        .only_args(&["status", "--quiet"])
        .run();
    assert_eq!(by_configuration.code, Some(0), "{}", by_configuration.stderr);
}

#[test]
fn daemons_have_names_and_one_of_them_is_in_use() {
    let (first, second) = (Daemon::start(), Setup::new().env("API_KEY", "another-key-of-a-daemon").start());
    let home = tempfile::tempdir().expect("a directory");
    let key = home.path().join("first.key");
    std::fs::write(&key, format!("{ADMIN_KEY}\n")).expect("written");
    let key = key.display().to_string();
    let setup = Setup::new().without("API_KEY").env("XDG_CONFIG_HOME", &home.path().display().to_string());
    let run = |args: &[&str]| setup.clone().only_args(args).run();
    let url = |daemon: &Daemon| format!("http://{}", daemon.address());
    let added = run(&["context", "add", "first", &url(&first), "--key-file", &key]);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    assert!(added.stdout.contains("in use"), "{}", added.stdout);
    let typed = home.path().join("typed");
    std::fs::write(&typed, "another-key-of-a-daemon\n").expect("written");
    let add = ["context", "add", "second", &url(&second), "--key-file", "-"];
    let mut add = setup.clone().only_args(&add).prepared();
    let added = add.stdin(std::fs::File::open(&typed).expect("the file")).output().expect("it runs");
    assert!(added.status.success(), "{added:?}");
    let shown = |args: &[&str]| run(args).stdout;
    assert!(shown(&["status"]).contains(&url(&first)));
    assert!(shown(&["status", "--context", "second"]).contains(&url(&second)));
    assert_eq!(run(&["context", "use", "second"]).code, Some(0));
    assert!(shown(&["status"]).contains(&url(&second)));
    assert_eq!(shown(&["context", "ls", "--quiet"]), "first\nsecond\n");
    assert_eq!(shown(&["context", "ls", "-o", "jsonl"]).lines().count(), 2);
    let offered = setup.clone().only_args(&["--", "gatewarden", "context", "use", "s"]);
    let offered = offered.env("_GATEWARDEN_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "3").run();
    assert_eq!(offered.stdout, "second");
    for file in ["contexts.toml", "second.key"] {
        let file = home.path().join("gatewarden").join(file);
        assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(run(&["context", "rm", "second"]).code, Some(0));
    assert!(!home.path().join("gatewarden/second.key").exists());
    let unknown = run(&["status", "--context", "second"]);
    assert_eq!(unknown.code, Some(64), "{}", unknown.stderr);
}

#[test]
fn contexts_that_cannot_be_read_stop_only_what_they_decide() {
    let daemon = Daemon::start();
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join("gatewarden")).expect("made");
    std::fs::write(home.path().join("gatewarden/contexts.toml"), "current = [").expect("written");
    let key = home.path().join("key");
    std::fs::write(&key, ADMIN_KEY).expect("written");
    let (key, here) = (key.display().to_string(), daemon.address().to_string());
    let setup = Setup::new()
        .without("API_KEY")
        .env("XDG_CONFIG_HOME", &home.path().display().to_string())
        .env("GATEWARDEN_HTTP__LISTEN", &here);
    let run = |args: &[&str]| setup.clone().only_args(args).run();
    let named = run(&["status", "--quiet", "--url", &here, "--key-file", &key]);
    assert_eq!((named.code, named.stderr.as_str()), (Some(0), ""), "HOST:PORT is enough: {}", named.stderr);
    let with_key = run(&["status", "--quiet", "--key-file", &key]);
    assert_eq!(with_key.code, Some(0), "{}", with_key.stderr);
    assert!(with_key.stderr.contains("contexts.toml"), "{}", with_key.stderr);
    for args in [vec!["status"], vec!["status", "--context", "a", "--key-file", &key]] {
        let ended = run(&args);
        assert_eq!(ended.code, Some(64), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn the_state_directory_of_a_daemon_has_its_key() {
    let daemon = Setup::new().without("API_KEY").start();
    let state = daemon.setup().state().display().to_string();
    let url = format!("http://{}", daemon.address());
    let client = |args: &[&str]| Setup::new().without("API_KEY").only_args(args).run();
    let ended = client(&["keys", "list", "--url", &url, "--state-dir", &state]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("(admin.key in the state directory)"), "{}", ended.stdout);
    let elsewhere = client(&["status", "--url", &url, "--state-dir", "/nowhere"]);
    assert_eq!(elsewhere.code, Some(77), "{}", elsewhere.stderr);
    assert!(elsewhere.stderr.contains("/nowhere"), "{}", elsewhere.stderr);
    // It also has the daemon's address, whatever the configuration of this machine says.
    let found = client(&["status", "--state-dir", &state]);
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(found.stdout.contains(&url), "{}", found.stdout);
    let args = ["status", "--quiet", "--state-dir", &state];
    let elsewhere = Setup::new().without("API_KEY").env("GATEWARDEN_URL", "http://127.0.0.1:9").only_args(&args).run();
    assert_eq!(elsewhere.code, Some(0), "what is typed goes before a variable: {}", elsewhere.stderr);
}

#[test]
fn a_daemon_that_is_gone_is_named_with_the_context_that_leads_to_it() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let setup = Setup::new().without("API_KEY").env("XDG_CONFIG_HOME", &home.path().display().to_string());
    let run = |args: &[&str]| setup.clone().only_args(args).run();
    let gone = format!("http://127.0.0.1:{}", free_port());
    assert_eq!(run(&["context", "add", "old", &gone]).code, Some(0));
    let ended = run(&["status"]);
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    for words in [&*gone, "The context old names it", "gatewarden context add old URL", "gatewarden context use"] {
        assert!(ended.stderr.contains(words), "{words} is not in {}", ended.stderr);
    }
    let named = run(&["status", "--url", &gone]);
    assert!(!named.stderr.contains("context"), "{}", named.stderr);
}

#[test]
fn the_key_comes_from_a_file_or_the_variable_and_shows_in_no_message() {
    let daemon = Daemon::start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    let named = file.display().to_string();
    std::fs::write(&file, format!("{ADMIN_KEY}\n")).expect("written");
    let by_file =
        Setup::client_of(&daemon, &["status", "--key-file", &named]).env("GATEWARDEN_API_KEY", "wrong-key").run();
    assert_eq!(by_file.code, Some(0), "{}", by_file.stderr);
    let wrong = Setup::client_of(&daemon, &["status"]).env("GATEWARDEN_API_KEY", "wrong-key").run();
    assert_eq!(wrong.code, Some(77), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains("wrong-key") && wrong.stderr.contains("--key-file"), "{}", wrong.stderr);
    let none = Setup::client_of(&daemon, &["status"]).without("GATEWARDEN_API_KEY").run();
    assert_eq!(none.code, Some(77), "{}", none.stderr);
    assert!(none.stderr.contains("No API key"), "{}", none.stderr);
    let missing = Setup::client_of(&daemon, &["status", "--key-file", "/nowhere/key"]).run();
    assert_eq!(missing.code, Some(64), "{}", missing.stderr);
    let viewer = daemon.new_key("looker", "viewer");
    let small = Setup::client_of(&daemon, &["gateways", "rm", "seeded"]).env("GATEWARDEN_API_KEY", &viewer).run();
    assert_eq!(small.code, Some(77), "{}", small.stderr);
    assert!(small.stderr.contains("gatewarden keys create"), "{}", small.stderr);
}

#[test]
fn a_daemon_that_is_not_there_and_one_that_is_none_are_told_apart() {
    let daemon = Daemon::start();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let away = Setup::client_of(&daemon, &["status"]).env("GATEWARDEN_URL", &nobody).run();
    assert_eq!(away.code, Some(69), "{}", away.stderr);
    assert!(away.stderr.contains(&nobody) && away.stderr.contains("gatewarden serve"), "{}", away.stderr);
    let keyless =
        Setup::client_of(&daemon, &["status"]).env("GATEWARDEN_URL", &nobody).without("GATEWARDEN_API_KEY").run();
    assert_eq!(keyless.code, Some(69), "a key is of no use where no daemon runs: {}", keyless.stderr);
    assert!(keyless.stderr.contains("No daemon listens at"), "{}", keyless.stderr);
    let below = format!("http://{}/elsewhere", daemon.address());
    let elsewhere = Setup::client_of(&daemon, &["status"]).env("GATEWARDEN_URL", &below).run();
    assert_ne!(elsewhere.code, Some(0));
    let nonsense = Setup::client_of(&daemon, &["status"]).env("GATEWARDEN_URL", "somewhere").run();
    assert_eq!(nonsense.code, Some(64), "{}", nonsense.stderr);
    assert!(nonsense.stderr.contains("$GATEWARDEN_URL must be"), "{}", nonsense.stderr);
}

#[test]
fn with_json_an_error_is_the_apis_own_on_standard_error() {
    let daemon = Daemon::start();
    let ended = run(&daemon, &["gateways", "add", "seeded", "192.0.2.7", "--json"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let error: Value = serde_json::from_str(&ended.stderr).expect("JSON");
    assert_eq!(error["code"], "name_taken");
}

#[test]
fn the_daemon_passes_over_variables_that_are_for_its_clients() {
    let daemon = Setup::new().env("GATEWARDEN_URL", "http://127.0.0.1:9").env("GATEWARDEN_API_KEY", "x").start();
    daemon.get("/health").expect(200);
}

#[test]
fn completions_and_manual_pages_know_the_commands_and_the_gateways() {
    let daemon = Daemon::start();
    for shell in ["bash", "zsh", "fish"] {
        let ended = Setup::new().only_args(&["completions", shell]).run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("_GATEWARDEN_COMPLETE"), "{shell}");
    }
    let offered = |words: &[&str]| {
        let index = (words.len() - 1).to_string();
        let ended = Setup::client_of(&daemon, &[&["--"], words].concat())
            .env("_GATEWARDEN_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", &index)
            .env("_CLAP_IFS", "\n")
            .run();
        ended.stdout
    };
    assert!(offered(&["gatewarden", "gateways", "und"]).contains("undrain"));
    assert_eq!(offered(&["gatewarden", "gateways", "show", "se"]), "seeded");
    assert_eq!(offered(&["gatewarden", "events", "--types", "log,gateway.pri"]), "log,gateway.primary");
    assert_eq!(offered(&["gatewarden", "logs", "--url", "http://127.0.0.1:1", "se"]), "", "nobody answers there");
    let page = Setup::new().only_args(&["man"]).run();
    assert!(page.stdout.contains(".TH gatewarden 1") && page.stdout.contains("gateways"), "{}", page.stdout);
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("new/man1");
    let written = Setup::new().only_args(&["man", "--dir", dir.to_str().expect("text")]).run();
    assert_eq!(written.code, Some(0), "a missing directory is made: {}", written.stderr);
    for page in ["gatewarden.1", "gatewarden-gateways-list.1", "gatewarden-serve.1"] {
        assert!(dir.join(page).is_file(), "{page}");
    }
    let page = std::fs::read_to_string(dir.join("gatewarden-gateways-list.1")).expect("the page");
    for section in [".SH \"EXAMPLES\"", ".SH \"EXIT STATUS\"", ".SH \"ENVIRONMENT\""] {
        assert!(page.contains(section), "{section} is not in {page}");
    }
}

#[test]
fn bash_completes_words_with_colons_equals_signs_and_blanks() {
    let daemon = Daemon::start();
    for name in ["my lab", "b:c:d"] {
        fine(&daemon, &["gateways", "add", name, "127.0.0.1:9"]);
    }
    fine(&daemon, &["keys", "create", "of-ci", "--role", "viewer"]);
    // What bash hands over: the line, split at blanks, : and =.
    let offered = |line: &str, words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "source <(\"$0\" completions bash); gatewarden() {{ \"$BINARY\" \"$@\"; }}; COMP_LINE='{line}' COMP_POINT=${{#COMP_LINE}} \
             COMP_WORDS=({}) COMP_TYPE=9; COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _gatewarden; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" ")
        );
        let mut bash = Setup::client_of(&daemon, &[]).env("BINARY", env!("CARGO_BIN_EXE_gatewarden")).prepared();
        let environment: Vec<_> =
            bash.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        bash = std::process::Command::new("bash");
        bash.args(["--norc", "-c", &script, env!("CARGO_BIN_EXE_gatewarden")]);
        bash.envs(environment.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let said = bash.output().expect("bash runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).expect("text").trim().to_owned()
    };
    let show = "gatewarden gateways show";
    assert_eq!(offered(&format!("{show} b:c:"), &["gatewarden", "gateways", "show", "b", ":", "c", ":"]), "d");
    assert_eq!(offered(&format!("{show} my"), &["gatewarden", "gateways", "show", "my"]), "my\\ lab");
    let spawn = ["gatewarden", "spawn", "x", "--gateway", "=", "se"];
    assert_eq!(offered("gatewarden spawn x --gateway=se", &spawn), "seeded");
    let keys = offered("gatewarden keys revoke ", &["gatewarden", "keys", "revoke", ""]);
    assert_eq!(keys.lines().next(), Some("of-ci"), "{keys}");
}

#[test]
fn a_daemon_behind_https_is_reached_past_any_proxy_and_only_where_its_certificate_is_trusted() {
    let daemon = Daemon::start();
    let front = TlsFront::before(daemon.address().port(), &["localhost", "127.0.0.1"]);
    let dir = tempfile::tempdir().expect("a directory");
    let (roots, others) = (dir.path().join("roots.pem"), dir.path().join("others.pem"));
    std::fs::write(&roots, front.pem()).expect("written");
    std::fs::write(&others, TlsFront::before(1, &["localhost"]).pem()).expect("written");
    let status = |host: &str, roots: &std::path::Path| {
        let url = format!("https://{host}:{}", front.port());
        Setup::client_of(&daemon, &["status", "--quiet", "--url", &url])
            .env("SSL_CERT_FILE", &roots.display().to_string())
            .env("https_proxy", "http://127.0.0.1:1")
            .env("ALL_PROXY", "http://127.0.0.1:1")
            .run()
    };
    for host in ["localhost", "127.0.0.1"] {
        let trusted = status(host, &roots);
        assert_eq!((trusted.code, trusted.stdout.as_str()), (Some(0), "ok\n"), "{}", trusted.stderr);
    }
    let untrusted = status("localhost", &others);
    assert_eq!(untrusted.code, Some(69), "{}", untrusted.stderr);
    assert!(untrusted.stderr.contains("invalid peer certificate"), "{}", untrusted.stderr);
    assert!(!untrusted.stderr.contains(ADMIN_KEY));
}
