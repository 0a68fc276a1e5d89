use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use gatewarden_actors::settings::{
    ElectionSettings, GatewaySettings, ProcessSettings, RestartSettings, RetentionSettings,
};
use tempfile::TempDir;

use super::*;

/// Inputs with a home, the given variables and nothing of this process.
fn with(variables: &[(&str, &str)]) -> Inputs {
    let mut inputs = Inputs::default();
    inputs.environment.insert("HOME".into(), "/home/someone".into());
    for (name, value) in variables {
        inputs.environment.insert((*name).into(), value.into());
    }
    inputs
}

/// The same with a file of this text.
fn with_file(text: &str, variables: &[(&str, &str)]) -> (TempDir, Inputs) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("gatewarden.toml");
    write(&path, text, 0o600);
    let mut inputs = with(variables);
    inputs.config_file = Some(path);
    (dir, inputs)
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn refusal(inputs: &Inputs) -> String {
    Config::load(inputs).unwrap_err().to_string()
}

fn effective<'a>(config: &'a Config, path: &str) -> &'a EffectiveValue {
    config.effective.iter().find(|key| key.path == path).unwrap()
}

#[test]
fn defaults_are_those_of_the_types_that_use_them() {
    let config = Config::load(&with(&[])).unwrap();
    assert_eq!(config.gateway, GatewaySettings::default());
    assert_eq!(config.election, ElectionSettings::default());
    assert_eq!(config.restarts, RestartSettings::default());
    assert_eq!(*config.processes, ProcessSettings::default());
    assert_eq!(config.retention, RetentionSettings::default());
    assert_eq!(format!("{:?}", config.http), format!("{:?}", crate::http::settings::HttpSettings::default()));
    assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.state_dir, Path::new("/home/someone/.local/state/gatewarden"));
    assert_eq!(config.store.database.place(), Path::new("/home/someone/.local/state/gatewarden/gatewarden.db"));
    assert_eq!(
        (config.seed.name.as_str(), config.seed.host.as_str(), config.seed.port),
        ("primary", "127.0.0.1", 18789)
    );
    assert!(config.seed.is_primary && config.seed.token.is_none() && config.api_key.is_none());
}

#[test]
fn later_layers_win_and_say_so() {
    let text = "[gateway]\nheartbeat_interval = \"9s\"\nmissed_heartbeats = 4\n[http]\nlisten = \"127.0.0.1:1\"";
    let (dir, mut inputs) = with_file(text, &[("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "6s")]);
    inputs.listen = Some("127.0.0.1:0".into());
    let config = Config::load(&inputs).unwrap();
    assert_eq!(config.gateway.heartbeat_interval, Duration::from_secs(6));
    assert_eq!(
        config.gateway.heartbeat_timeout,
        Duration::from_secs(2),
        "a reply is due within a third of the interval"
    );
    assert_eq!(config.gateway.missed_heartbeats, 4);
    assert_eq!(config.listen.port(), 0);
    assert_eq!(effective(&config, "gateway.heartbeat_interval").origin, "$GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL");
    assert_eq!(
        effective(&config, "gateway.missed_heartbeats").origin,
        dir.path().join("gatewarden.toml").display().to_string()
    );
    assert_eq!(effective(&config, "http.listen").origin, "--listen");
    assert_eq!(effective(&config, "gateway.breaker_failures").origin, "default");
}

#[test]
fn a_state_directory_that_is_no_text_is_refused() {
    for wrong in ["5", "true", "[\"/a\"]"] {
        let (_dir, inputs) = with_file(&format!("state_dir = {wrong}\n"), &[]);
        let said = refusal(&inputs);
        assert!(said.contains("state_dir") && said.contains("must be a directory, as a text"), "{wrong}: {said}");
    }
}

#[test]
fn the_state_directory_is_found_in_order() {
    let all =
        [("STATE_DIRECTORY", "/var/lib/gatewarden:/x"), ("XDG_STATE_HOME", "/xdg"), ("GATEWARDEN_STATE_DIR", "/env")];
    let mut inputs = with(&all);
    inputs.state_dir = Some("/flag".into());
    let dir = |inputs: &Inputs| Config::load(inputs).unwrap().state_dir;
    assert_eq!(dir(&inputs), Path::new("/flag"));
    assert_eq!(dir(&with(&all)), Path::new("/env"));
    assert_eq!(dir(&with(&all[..2])), Path::new("/var/lib/gatewarden"));
    assert_eq!(dir(&with(&all[1..2])), Path::new("/xdg/gatewarden"));
    assert!(refusal(&Inputs::default()).contains("--state-dir"));
}

#[test]
fn tokens_that_look_like_numbers_stay_as_they_are() {
    let config = Config::load(&with(&[
        ("GATEWARDEN_SEED__TOKEN", "0123"),
        ("GATEWARDEN_SEED__NAME", "1e5"),
        ("GATEWARDEN_AUTH__API_KEY", "000true"),
    ]))
    .unwrap();
    assert_eq!(config.seed.token.unwrap().expose(), "0123");
    assert_eq!(config.seed.name, "1e5");
    assert_eq!(config.api_key.unwrap().expose(), "000true");
}

#[test]
fn an_unknown_key_names_file_key_and_the_likely_meaning() {
    let (dir, inputs) = with_file("[gateway]\nheartbeat_intervall = \"5s\"\n", &[]);
    let said = refusal(&inputs);
    assert!(said.contains(&dir.path().join("gatewarden.toml").display().to_string()), "{said}");
    assert!(
        said.contains("gateway.heartbeat_intervall: unknown key; did you mean gateway.heartbeat_interval?"),
        "{said}"
    );
}

#[test]
fn an_unknown_variable_names_the_likely_meaning() {
    let said = refusal(&with(&[("GATEWARDEN_GATEWAY_HEARTBEAT_INTERVAL", "5s")]));
    assert!(
        said.contains(
            "$GATEWARDEN_GATEWAY_HEARTBEAT_INTERVAL: unknown setting; did you mean GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL?"
        ),
        "{said}"
    );
    assert!(refusal(&with(&[("GATEWARDEN_NONSENSE", "1")])).contains("config check"));
    assert!(refusal(&with(&[("GATEWARDEN_CONFIG", "/x")])).contains("--config"));
}

#[test]
fn commands_run_within_a_local_gateway_and_by_its_agents() {
    let inherited = [
        ("GATEWARDEN_LOCAL_PROCESS", "0d2f:9a41"),
        ("GATEWARDEN_GATEWAY_RUN", "0d2f:run-1"),
        ("GATEWARDEN_RUN_ID", "run-1"),
        ("GATEWARDEN_SESSION_KEY", "agent:main:main"),
        ("GATEWARDEN_SESSION_ID", "s"),
        ("GATEWARDEN_AGENT_ID", "main"),
        ("GATEWARDEN_HTTP__WORKERS", "3"),
    ];
    let config = Config::load(&with(&inherited)).unwrap();
    assert_eq!(effective(&config, "http.workers").origin, "$GATEWARDEN_HTTP__WORKERS", "settings beside them count");
}

#[test]
fn a_key_in_no_section_or_a_section_as_key_is_explained() {
    let (_dir, inputs) = with_file("listen = \"127.0.0.1:1\"\ngateway = 5\n", &[]);
    let said = refusal(&inputs);
    assert!(said.contains("listen: unknown key; did you mean http.listen?"), "{said}");
    assert!(said.contains("gateway: this is a section"), "{said}");
}

#[test]
fn all_mistakes_are_said_at_once() {
    let (_dir, inputs) = with_file(
        "[gateway]\nheartbeat_interval = 5\nbackoff = [\"1s\", \"soon\"]\n[metrics]\naccess = \"everyone\"\n",
        &[("GATEWARDEN_HTTP__LISTEN", "3000"), ("LOG_LEVEL", "loud"), ("GATEWAY_PORT", "70000")],
    );
    let error = Config::load(&inputs).unwrap_err();
    let keys: Vec<_> = error.problems.iter().filter_map(|problem| problem.key.as_deref()).collect();
    assert_eq!(
        keys,
        ["http.listen", "metrics.access", "log.level", "gateway.heartbeat_interval", "gateway.backoff", "seed.port"]
    );
    let said = error.to_string();
    for part in [
        "= \"5\": must be a duration with a unit",
        "$GATEWAY_PORT: seed.port = \"70000\"",
        "$LOG_LEVEL: log.level = \"loud\"",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

#[test]
fn a_named_file_must_exist_and_be_toml() {
    let mut inputs = with(&[]);
    inputs.config_file = Some("/nonexistent/gatewarden.toml".into());
    assert!(refusal(&inputs).contains("/nonexistent/gatewarden.toml: the configuration file cannot be read"));
    let (_dir, inputs) = with_file("[gateway\n", &[]);
    assert!(refusal(&inputs).contains("not a valid TOML file"));
    let (_dir, inputs) = with_file("[auth]\napi_key = \"s3cret\n", &[]);
    let said = refusal(&inputs);
    assert!(said.contains("line 2") && !said.contains("s3cret"), "{said}");
}

#[test]
fn older_names_work_and_our_own_win() {
    let config = Config::load(&with(&[
        ("MC_DEFAULT_GATEWAY_NAME", "main"),
        ("OPENCLAW_GATEWAY_HOST", "10.0.0.5"),
        ("GATEWAY_PORT", "1111"),
        ("OPENCLAW_GATEWAY_PORT", "2222"),
        ("NEXT_PUBLIC_GATEWAY_PORT", "3333"),
        ("GATEWAY_TOKEN", "tok-a"),
        ("API_KEY", "adm"),
        ("GATEWAY_MIN_VERSION", "2026.3.1-2"),
        ("MC_DISABLE_RATE_LIMIT", "1"),
        ("LOG_LEVEL", "WARNING"),
        ("GATEWARDEN_SEED__NAME", "ours"),
    ]))
    .unwrap();
    assert_eq!((config.seed.name.as_str(), config.seed.host.as_str(), config.seed.port), ("ours", "10.0.0.5", 2222));
    assert_eq!(config.seed.token.unwrap().expose(), "tok-a");
    assert_eq!(config.api_key.unwrap().expose(), "adm");
    assert_eq!(config.work.min_version, "2026.3.1-2");
    assert!(!config.http.rate_limits.enabled);
    assert_eq!(config.log.filter, "warn");
}

#[test]
fn empty_older_names_count_as_not_set() {
    let config = Config::load(&with(&[("API_KEY", ""), ("GATEWAY_PORT", ""), ("MC_DISABLE_RATE_LIMIT", "0")])).unwrap();
    assert!(config.api_key.is_none());
    assert_eq!(config.seed.port, 18789);
    assert!(config.http.rate_limits.enabled);
}

#[test]
fn a_gateway_url_wins_over_host_and_port() {
    let seed = |url: &str| {
        let variables = [("GATEWAY_URL", url), ("OPENCLAW_GATEWAY_HOST", "other"), ("GATEWAY_PORT", "1")];
        let seed = Config::load(&with(&variables)).unwrap().seed;
        (seed.host, seed.port, seed.url_token.map(|token| token.expose().to_owned()))
    };
    assert_eq!(seed("wss://localhost:8080"), ("wss://localhost:8080".into(), 8080, None));
    assert_eq!(seed("wss://gw.example.com"), ("wss://gw.example.com".into(), 443, None));
    assert_eq!(
        seed("ws://gw.example.com/x?token=abc&a=b"),
        ("ws://gw.example.com/x".into(), 18789, Some("abc".into()))
    );
    assert_eq!(seed("http://gw.example.com:80").1, 80);
    assert_eq!(seed("ws://[::1]").1, 18789);
    for wrong in ["ftp://x", "localhost:8080", "wss://", "wss://user:pass@host"] {
        assert!(Config::load(&with(&[("GATEWAY_URL", wrong)])).is_err(), "{wrong}");
    }
}

#[test]
fn a_local_gateways_own_configuration_fills_gaps_but_never_leaves_the_machine() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("openclaw.json");
    write(&path, r#"{"gateway":{"port":19001,"auth":{"mode":"token","token":"local"}}}"#, 0o600);
    let file = path.to_str().unwrap();
    let seed = Config::load(&with(&[("OPENCLAW_CONFIG", file)])).unwrap().seed;
    assert_eq!((seed.port, seed.token.unwrap().expose()), (19001, "local"));
    let seed =
        Config::load(&with(&[("OPENCLAW_CONFIG", file), ("GATEWAY_PORT", "5"), ("GATEWAY_TOKEN", "t")])).unwrap().seed;
    assert_eq!((seed.port, seed.token.unwrap().expose()), (5, "t"));
    let seed =
        Config::load(&with(&[("OPENCLAW_CONFIG", file), ("OPENCLAW_GATEWAY_HOST", "far.example")])).unwrap().seed;
    assert!(seed.token.is_none() && seed.port == 18789);
    for (name, text) in [
        ("five.json", "// mine\n{gateway: {port: 19002, auth: {token: 'five',},},}"),
        ("openclaw-gateway.yml", "gateway:\n  port: 19002 # mine\n  auth:\n    token: five\n"),
    ] {
        let path = dir.path().join(name);
        write(&path, text, 0o600);
        let seed = Config::load(&with(&[("OPENCLAW_CONFIG", path.to_str().unwrap())])).unwrap().seed;
        assert_eq!((seed.port, seed.token.unwrap().expose()), (19002, "five"), "{name}");
    }
    let config = Config::load(&with(&[("OPENCLAW_CONFIG", "/nonexistent/gateway.yml")])).unwrap();
    assert_eq!(config.seed.port, 18789, "somebody else's broken file is no reason not to start");
    assert!(config.warnings[0].contains("/nonexistent/gateway.yml (from $OPENCLAW_CONFIG)"));
}

#[test]
fn a_credential_wins_over_a_file_and_that_over_the_environment() {
    let credentials = TempDir::new().unwrap();
    let (dir, mut inputs) = with_file("", &[("API_KEY", "from-environment")]);
    let key = |inputs: &Inputs| Config::load(inputs).unwrap().api_key.unwrap().expose().to_owned();
    assert_eq!(key(&inputs), "from-environment");
    write(&dir.path().join("gatewarden.toml"), "[auth]\napi_key = \"from-toml\"", 0o600);
    assert_eq!(key(&inputs), "from-toml");
    let secret = dir.path().join("key");
    write(&secret, "from-file\n", 0o600);
    inputs.environment.insert("GATEWARDEN_AUTH__API_KEY_FILE".into(), secret.clone().into());
    assert_eq!(key(&inputs), "from-file");
    write(&credentials.path().join("api_key"), "from-credential\n", 0o440);
    inputs.environment.insert("CREDENTIALS_DIRECTORY".into(), credentials.path().into());
    assert_eq!(key(&inputs), "from-credential");
    let config = Config::load(&inputs).unwrap();
    assert_eq!(effective(&config, "auth.api_key").origin, "systemd credential api_key");
}

#[test]
fn a_secret_that_others_may_read_is_refused_without_being_shown() {
    let (dir, inputs) = with_file("", &[]);
    write(&dir.path().join("gatewarden.toml"), "[seed]\ntoken = \"hush-hush\"", 0o644);
    let said = refusal(&inputs);
    assert!(said.contains("chmod 600") && said.contains("0644"), "{said}");
    assert!(!said.contains("hush"), "{said}");
    write(&dir.path().join("gatewarden.toml"), "[gateway]\n", 0o644);
    assert!(Config::load(&inputs).is_ok(), "a file without secrets may be read by all");
}

#[test]
fn secrets_are_never_printed() {
    let inputs = with(&[("API_KEY", "hush-1"), ("GATEWAY_TOKEN", "hush-2"), ("GATEWAY_URL", "ws://h?token=hush-3")]);
    let config = Config::load(&inputs).unwrap();
    let check = config.describe();
    assert!(check.contains("(redacted)"), "{check}");
    for shown in [check, format!("{config:?}"), refusal(&with(&[("API_KEY", "hush hush")]))] {
        assert!(!shown.contains("hush"), "{shown}");
    }
}

#[test]
fn a_reload_tells_live_changes_from_those_that_need_a_restart() {
    let before = Config::load(&with(&[("API_KEY", "one")])).unwrap();
    let after =
        Config::load(&with(&[("API_KEY", "two"), ("LOG_LEVEL", "debug"), ("GATEWARDEN_HTTP__WORKERS", "3")])).unwrap();
    let changes = before.changes_to(&after);
    let named: Vec<_> = changes.iter().map(|change| (change.path, change.effect)).collect();
    assert_eq!(
        named,
        [("http.workers", Effect::AtRestart), ("auth.api_key", Effect::AtRestart), ("log.level", Effect::Live)]
    );
    assert_eq!((changes[1].before.as_str(), changes[1].after.as_str()), ("(redacted)", "(redacted)"));
    assert_eq!((changes[0].before.as_str(), changes[0].after.as_str()), ("2", "3"));
    assert_eq!(before.changes_to(&before.clone()), []);
    let mut running = before.clone();
    running.take_live(after.clone());
    let waiting: Vec<_> = running.changes_to(&after).iter().map(|change| change.path).collect();
    assert_eq!(waiting, ["http.workers", "auth.api_key"], "what needs a restart is named until there was one");
}

#[test]
fn log_filters_are_levels_and_targets_and_nothing_else() {
    let filter = |text: &str| Config::load(&with(&[("GATEWARDEN_LOG__LEVEL", text)])).map(|config| config.log.filter);
    assert_eq!(filter("info, gatewarden_actors::gateway=DEBUG").unwrap(), "info,gatewarden_actors::gateway=debug");
    for wrong in ["verbose", "", "gatewarden=loud", "[span]=info", "=info"] {
        assert!(filter(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn backups_are_made_by_itself_only_where_an_interval_is_set() {
    let interval = |text: &str| {
        Config::load(&with(&[("GATEWARDEN_STORE__BACKUP_INTERVAL", text)])).map(|config| config.backups.interval)
    };
    assert_eq!(Config::load(&with(&[])).unwrap().backups, crate::config::BackupSettings { interval: None, keep: 7 });
    assert_eq!(interval("off").unwrap(), None);
    assert_eq!(interval("24h").unwrap(), Some(Duration::from_secs(86_400)));
    for wrong in ["never", "1s", "10000d"] {
        assert!(interval(wrong).unwrap_err().to_string().contains("24h"), "{wrong}");
    }
}

/// The example with its defaults uncommented: lines of the form `# key = value`.
fn uncommented_example() -> String {
    include_str!("../../gatewarden.example.toml")
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting)
                if setting.split(" = ").next().is_some_and(|name| !name.contains(' ')) && setting.contains(" = ") =>
            {
                setting
            }
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_example_file_holds_every_key_with_its_default() {
    let (_dir, inputs) = with_file(&uncommented_example(), &[]);
    let config = Config::load(&inputs).unwrap();
    let defaults = Config::load(&with(&[])).unwrap();
    let file = inputs.config_file.unwrap().display().to_string();
    for key in &defaults.effective {
        if ["notifications", "commands"].contains(&key.path) {
            continue;
        }
        let shown = effective(&config, key.path);
        assert_eq!(shown.origin, file, "{} is not in the example", key.path);
        if key.origin == "default" && !["(not set)"].contains(&key.value.as_str()) && key.path != "store.url" {
            assert_eq!(shown.value, key.value, "{}", key.path);
        }
    }
}

#[test]
fn the_example_file_as_shipped_changes_nothing() {
    let (_dir, inputs) = with_file(include_str!("../../gatewarden.example.toml"), &[]);
    let config = Config::load(&inputs).unwrap();
    assert_eq!(config.effective, Config::load(&with(&[])).unwrap().effective);
}

/// A file with this list of notifications, and a private file with a secret beside it.
fn with_notifications(text: &str) -> (TempDir, Inputs) {
    let (dir, inputs) = with_file("", &[]);
    write(&dir.path().join("ops.secret"), "hush-hush-0123456789\n", 0o600);
    let text = text.replace("SECRET_FILE", &dir.path().join("ops.secret").display().to_string());
    write(&dir.path().join("gatewarden.toml"), &text, 0o600);
    (dir, inputs)
}

#[test]
fn the_example_of_notifications_is_read_with_its_defaults() {
    let example: String = include_str!("../../gatewarden.example.toml")
        .lines()
        .filter_map(|line| line.strip_prefix("#:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let example = example.replace("/etc/gatewarden/ops.secret", "SECRET_FILE");
    let (_dir, inputs) = with_notifications(&example);
    let config = Config::load(&inputs).unwrap();
    let least = "[[notifications]]\nname = \"ops\"\nurl = \"https://hooks.example.com/gatewarden\"\nsecret_file = \"SECRET_FILE\"";
    let (_other, inputs) = with_notifications(least);
    let defaults = Config::load(&inputs).unwrap();
    assert_eq!(format!("{:?}", config.notifications), format!("{:?}", defaults.notifications));
    let [ops] = config.notifications.as_slice() else { panic!("one destination") };
    assert_eq!(ops.secret.as_ref().map(gatewarden_protocol::Secret::expose), Some("hush-hush-0123456789"));
    assert_eq!(
        (ops.timing.after, ops.timing.remind_every),
        (Duration::from_secs(30), Some(Duration::from_secs(4 * 3600)))
    );
    assert!(ops.timing.recovered && ops.conditions.len() == 5);
    assert_eq!(effective(&config, "notifications").value, "ops");
    let (_wrong, inputs) = with_notifications(&format!("{least}\nzzzzzzzzzz = 1"));
    let said = refusal(&inputs);
    let keys: Vec<&str> = said.split("a destination has ").nth(1).unwrap().split(", ").map(str::trim).collect();
    assert_eq!(keys.len(), 14);
    for key in keys {
        assert!(
            example.contains(&format!("{key} = "))
                || include_str!("../../gatewarden.example.toml").contains(&format!("{key} = ")),
            "{key} is not in the example"
        );
        assert!(
            include_str!("../../docs/notifications.md").contains(&format!("| `{key}` |")),
            "docs/notifications.md lacks {key}"
        );
    }
}

#[test]
fn names_of_labels_keep_their_capitals() {
    let (_dir, inputs) = with_notifications(
        "[[notifications]]\nname = \"ops\"\nurl = \"http://127.0.0.1:9\"\nlabels = { Team = \"A b\", tier = \"1\" }\nsecret_file = \"SECRET_FILE\"",
    );
    let config = Config::load(&inputs).unwrap();
    let labels: Vec<_> =
        config.notifications[0].labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("Team", "A b"), ("tier", "1")]);
}

#[test]
fn all_mistakes_of_destinations_are_said_and_no_secret() {
    let (_dir, inputs) = with_notifications(
        "[[notifications]]\nname = \"Ops\"\nurl = \"https://u:hush-url@h/\"\nsecret = \"hush\"\n\
         [[notifications]]\nname = \"chat\"\nkinds = [\"recovered\"]\nafter = \"5\"\nurl = \"https://h/hush-url\"\n\
         [[notifications]]\nname = \"twice\"\nurl = \"https://h/\"\nsecret_file = \"SECRET_FILE\"\n\
         [[notifications]]\nname = \"twice\"\nurl = \"https://h/\"\nsecret_file = \"SECRET_FILE\"\nsecretfile = \"x\"",
    );
    let said = refusal(&inputs);
    for part in [
        "notifications[0].name",
        "notifications[0].url",
        "at least 16 characters",
        "notifications.chat.kinds",
        "notifications.chat.after",
        "did you mean secret_file?",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("hush"), "{said}");
    let (_dir, inputs) = with_notifications("[notifications]\nname = \"ops\"");
    assert!(refusal(&inputs).contains("[[notifications]]"));
}

#[test]
fn a_destinations_secret_comes_from_credential_file_environment_or_the_configuration() {
    let secret = |inputs: &Inputs| {
        let config = Config::load(inputs).unwrap();
        assert!(!format!("{config:?}{}", config.describe()).contains("hush"));
        config.notifications[0].secret.as_ref().unwrap().expose().to_owned()
    };
    let list = |more: &str| format!("[[notifications]]\nname = \"on-call\"\nurl = \"https://h/hush-url\"\n{more}");
    let (_dir, inputs) = with_notifications(&list("secret = \"hush-from-the-list\""));
    assert_eq!(secret(&inputs), "hush-from-the-list");
    let (dir, mut inputs) = with_notifications(&list(""));
    inputs.environment.insert("GATEWARDEN_NOTIFICATION_ON_CALL_SECRET".into(), "hush-from-environment".into());
    assert_eq!(secret(&inputs), "hush-from-environment");
    inputs.environment.insert("GATEWARDEN_NOTIFICATION_ONCALL_SECRET".into(), "hush-from-environment".into());
    assert!(refusal(&inputs).contains("$GATEWARDEN_NOTIFICATION_ONCALL_SECRET: no destination of that name"));
    inputs.environment.remove("GATEWARDEN_NOTIFICATION_ONCALL_SECRET");
    let file = dir.path().join("ops.secret").display().to_string();
    write(&dir.path().join("gatewarden.toml"), &list(&format!("secret_file = \"{file}\"")), 0o644);
    assert_eq!(secret(&inputs), "hush-hush-0123456789", "the file comes before the environment");
    let credentials = TempDir::new().unwrap();
    write(&credentials.path().join("notification_on-call"), "hush-from-credential\n", 0o440);
    inputs.environment.insert("CREDENTIALS_DIRECTORY".into(), credentials.path().into());
    assert_eq!(secret(&inputs), "hush-from-credential");
    let (dir, inputs) = with_notifications(&list("secret = \"hush-from-the-list\""));
    let text = std::fs::read_to_string(dir.path().join("gatewarden.toml")).unwrap();
    write(&dir.path().join("gatewarden.toml"), &text, 0o644);
    assert!(refusal(&inputs).contains("chmod 600"), "others may read the secret");
}

#[test]
fn a_reload_says_that_destinations_changed_even_where_only_a_secret_did() {
    let list = |url: &str| {
        format!("[[notifications]]\nname = \"ops\"\nurl = \"https://h/{url}\"\nsecret_file = \"SECRET_FILE\"")
    };
    let (_one, before) = with_notifications(&list("a"));
    let (_two, after) = with_notifications(&list("b"));
    let (before, after) = (Config::load(&before).unwrap(), Config::load(&after).unwrap());
    let changed: Vec<_> = before.changes_to(&after).iter().map(|change| change.path).collect();
    assert_eq!(changed, ["notifications"]);
}

#[test]
fn commands_are_defined_by_the_file_alone_and_their_values_are_not_shown() {
    let text = "[commands.openclaw]\nprogram = \"/usr/bin/openclaw\"\nargs = [\"gateway\", \"run\", 7]\ndirectory = \"/srv\"\n\
                [commands.openclaw.env]\nNODE_ENV = \"production\"\nMyToken = \"s3cret-value\"\n[commands.two]\nprogram = \"/bin/two\"";
    let (dir, inputs) = with_file(text, &[]);
    let config = Config::load(&inputs).unwrap();
    let command = &config.processes.commands["openclaw"];
    assert_eq!(command.program, Path::new("/usr/bin/openclaw"));
    assert_eq!(command.args, ["gateway", "run", "7"]);
    assert_eq!(command.directory.as_deref(), Some(Path::new("/srv")));
    assert_eq!(command.env["MyToken"].expose(), "s3cret-value", "names keep their case");
    assert_eq!(effective(&config, "commands").value, "openclaw,two");
    assert!(!format!("{config:?} {}", config.describe()).contains("s3cret"));
    write(&dir.path().join("gatewarden.toml"), &text.replace("s3cret", "other"), 0o600);
    let changes = config.changes_to(&Config::load(&inputs).unwrap());
    let named: Vec<_> = changes.iter().map(|change| (change.path, change.effect)).collect();
    assert_eq!(named, [("commands", Effect::AtRestart)]);
    assert!(refusal(&with(&[("GATEWARDEN_COMMANDS__X__PROGRAM", "/bin/sh")])).contains("unknown setting"));
}

#[test]
fn a_wrong_command_says_what_would_be_right() {
    for (text, says) in [
        ("commands = 3", "must be a section"),
        ("[commands.X]\nprogram = \"/a\"", "lowercase letters"),
        ("[commands.x]\n", "commands.x.program: is missing"),
        ("[commands.x]\nprogram = \"openclaw\"", "commands.x.program: must be an absolute path"),
        ("[commands.x]\nprogram = \"/a\"\nargs = \"b c\"", "commands.x.args: must be a list"),
        ("[commands.x]\nprogram = \"/a\"\nshell = true", "commands.x.shell: unknown key; a command has program"),
        ("[commands.x]\nprogram = \"/a\"\ndirectory = \"b\"", "commands.x.directory: must be an absolute path"),
        ("[commands.x]\nprogram = \"/a\"\n[commands.x.env]\n\"A B\" = \"c\"", "commands.x.env.A B: must be the name"),
        ("[processes]\nunits = [\"openclaw\"]", "processes.units"),
    ] {
        let (_dir, inputs) = with_file(text, &[]);
        let said = refusal(&inputs);
        assert!(said.contains(says), "{said}");
    }
    let (dir, inputs) = with_file("[commands.x]\nprogram = \"/a\"", &[]);
    write(&dir.path().join("gatewarden.toml"), "[commands.x]\nprogram = \"/a\"", 0o662);
    assert!(refusal(&inputs).contains("chmod go-w"));
}

/// The time of a distance grows with the product of both lengths.
#[test]
fn nobody_looks_for_what_was_meant_by_a_giant_name() {
    assert_eq!(super::reader::slips("heartbeat_intervall", "heartbeat_interval", 2), Some(1));
    assert_eq!(super::reader::slips("heartbeat", "hearts", 2), None);
    // An hour if it were compared.
    assert_eq!(super::reader::slips(&"x".repeat(1 << 20), &"x".repeat((1 << 20) + 3), 2), None);
}
