//! `gatewarden gateway …`: run, status, logs, start, restart, stop, doctor, config validate, install-daemon.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::support::daemon::PATIENCE;
use super::support::http;
use super::support::own_gateway::{GatewayHome, GatewayProcess};
use super::support::page_device;
use super::support::wait;

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

#[test]
fn a_first_start_makes_a_private_token_that_is_printed_nowhere() {
    let home = GatewayHome::quiet();
    let mut gateway = home.start(&[]);
    let token = home.token();
    assert_eq!(token.len(), 43);
    assert_eq!(mode(&home.state()), 0o700);
    for file in ["gateway-token", ".gateway.lock", "logs/gateway.log"] {
        assert_eq!(mode(&home.state().join(file)), 0o600, "{file}");
    }
    let health = gateway.get("/health", None).expect(200).json();
    assert_eq!(health["status"], "ok");
    gateway.get("/sessions", None).expect(401);
    gateway.get("/sessions", Some(&token)).expect(200);

    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
    let said = gateway.stderr();
    assert!(said.contains(r#""msg":"the gateway stops""#), "standard error that is no terminal gets the log: {said}");
    assert!(!said.contains(&token) && !home.log().contains(&token), "the token is in no log");
    drop(home.start(&[]));
    assert_eq!(home.token(), token, "later starts keep it");
}

#[test]
fn at_rest_it_has_the_same_few_threads_whatever_is_switched_off() {
    const OFF: &str = "discovery: {mdns: {mode: 'off'}}, channels: {},";
    for more in ["", OFF] {
        let config = format!("{{{more} gatewarden: {{metrics: {{enabled: false}}}}}}");
        let home = GatewayHome::with("openclaw.json", &config);
        let gateway = home.start(&[]);
        // Two lines go out at the same time: one to the log, one to standard error. Helpers that the start needed end by themselves.
        wait::until_ok("it is at rest", PATIENCE, || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("it runs");
            let name =
                |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
            let mut names: Vec<String> = tasks.filter_map(name).map(|name| name.trim().to_owned()).collect();
            names.sort();
            if names == ["gatewarden", "gateway-files", "line-writer", "line-writer"] {
                Ok(())
            } else {
                Err(format!("{names:?}"))
            }
        });
    }
}

#[test]
fn a_verified_device_and_a_silent_client_are_told_in_the_log_and_on_standard_error() {
    let config = "{gatewarden: {metrics: {enabled: false}, limits: {ping: '200ms'}}}";
    let home = GatewayHome::with("openclaw.json", config);
    let mut gateway = home.start(&[]);
    let (device, request) = ask_from_a_page(&gateway, &home.token(), 1);
    home.run(&["devices", "approve", &request]).expect(0);
    let silent = page_device::ask(&gateway, &home.token(), 1);
    assert_eq!(silent.answer["ok"], true, "{}", silent.answer);
    wait::until("the client has missed a pong", PATIENCE, || home.log().contains("Heartbeat timeout"));
    gateway.signal("TERM");
    gateway.wait();
    drop(silent.socket);
    let (log, stderr) = (home.log(), gateway.stderr());
    let verified = json!({"device_id": device, "client_id": "gateway-client", "valid": true});
    let missed = json!({"device_id": device, "client_id": "gateway-client", "missed_pongs": 1});
    for (message, level, fields) in
        [("Device signature verified", "info", verified), ("Heartbeat timeout", "warn", missed)]
    {
        let line = |text: &str| -> Value {
            let line = text.lines().rfind(|line| line.contains(message)).unwrap_or_else(|| panic!("{message}: {text}"));
            serde_json::from_str(line).expect("JSON")
        };
        let logged = line(&log);
        assert_eq!((&logged["message"], &logged["2"]), (&json!(message), &fields), "{logged}");
        assert_eq!(logged["_meta"]["logLevelName"], level.to_uppercase());
        let said = line(&stderr);
        assert_eq!((&said["msg"], &said["level"]), (&json!(message), &json!(level)), "{said}");
        for (name, value) in fields.as_object().expect("an object") {
            assert_eq!(&said[name], value, "{said}");
        }
    }
}

#[test]
fn document_004s_spelling_runs_the_gateway() {
    let home = GatewayHome::quiet();
    let gateway = home.start_command(home.command(&["--port", "0", "--verbose"]));
    gateway.get("/health", None).expect(200);
}

#[test]
fn status_is_document_004s_page_and_says_where_the_token_is() {
    let home = GatewayHome::quiet();
    let before = home.run(&["status"]).expect(1);
    assert!(before.stdout.contains("Running: No"), "{}", before.stdout);
    let gateway = home.start(&[]);
    let said = home.run(&["status"]).expect(0);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(&lines[..3], ["Gateway Status", "--------------", "Running: Yes"]);
    for line in [
        format!("PID: {}", gateway.pid()),
        format!("Port: {}", gateway.address.port()),
        "Bind: loopback".to_owned(),
        "Sessions: 0 active, 0 in all".to_owned(),
        format!("Token: in {}", home.state().join("gateway-token").display()),
    ] {
        assert!(lines.contains(&line.as_str()), "{line:?} is not in {}", said.stdout);
    }
    assert!(!said.stdout.contains(&home.token()));
    let json: Value = serde_json::from_str(&home.run(&["status", "--json"]).expect(0).stdout).expect("JSON");
    assert_eq!(json["pid"], gateway.pid());
    assert_eq!(json["url"], gateway.url);
    assert_eq!((json["running"].as_bool(), json["sessions"].as_u64()), (Some(true), Some(0)));
}

/// Asks to be let in from a page, which must be approved first; the id of the request.
fn ask_from_a_page(gateway: &GatewayProcess, token: &str, seed: u8) -> (String, String) {
    let asked = page_device::ask(gateway, token, seed);
    let refused = asked.answer;
    let request = refused["error"]["details"]["requestId"].as_str().unwrap_or_else(|| panic!("{refused}")).to_owned();
    let command = format!("gatewarden gateway devices approve {request}");
    assert!(refused.to_string().contains(&command), "it is told how: {refused}");
    (asked.device, request)
}

#[test]
fn devices_are_listed_approved_rejected_and_removed_by_command() {
    let home = GatewayHome::with(
        "openclaw.json",
        "{gateway: {auth: {deviceAuth: {approveLoopback: false}}}, gatewarden: {metrics: {enabled: false}}}",
    );
    let said = home.run(&["devices", "list"]).expect(1);
    assert!(said.stderr.contains("No gateway runs on"), "{}", said.stderr);
    let gateway = home.start(&[]);
    let said = home.run(&["devices", "list"]).expect(0);
    assert!(said.stdout.starts_with("Nobody waits for an approval."), "{}", said.stdout);

    let (device, request) = ask_from_a_page(&gateway, &home.token(), 1);
    let said = home.run(&["devices", "list"]).expect(0);
    assert!(said.stdout.contains(&format!("gatewarden gateway devices approve {request}")), "{}", said.stdout);
    let said = home.run(&["devices", "approve", &request]).expect(0);
    assert!(said.stdout.contains("with operator.read"), "{}", said.stdout);
    let listed: Value = serde_json::from_str(&home.run(&["devices", "list", "--json"]).expect(0).stdout).expect("JSON");
    assert_eq!((&listed["pending"], &listed["paired"][0]["deviceId"]), (&json!([]), &json!(device)));

    let (_, request) = ask_from_a_page(&gateway, &home.token(), 2);
    home.run(&["devices", "reject", &request]).expect(0);
    let said = home.run(&["devices", "approve", &request]).expect(1);
    assert!(said.stderr.contains("unknown requestId"), "{}", said.stderr);
    home.run(&["devices", "remove", &device]).expect(0);
    let said = home.run(&["devices", "list"]).expect(0);
    assert!(said.stdout.ends_with("Paired (0)\n") && !said.stdout.contains(&home.token()), "{}", said.stdout);
}

#[test]
fn devices_are_managed_over_the_gateways_own_certificate() {
    let home = GatewayHome::with(
        "openclaw.json",
        "{gateway: {tls: {enabled: true, autoGenerate: true}}, gatewarden: {metrics: {enabled: false}}}",
    );
    let _gateway = home.start(&[]);
    let said = home.run(&["devices", "list"]).expect(0);
    assert!(said.stdout.contains("Paired (0)"), "{}", said.stdout);
}

#[test]
fn doctor_says_of_each_channel_what_is_wrong_and_what_helps() {
    let with = |second: &str| {
        let accounts = format!("one: {{botToken: '1:abc'}}, two: {{botToken: '{second}'}}");
        let telegram = format!("{{accounts: {{{accounts}}}, apiRoot: 'http://127.0.0.1:1'}}");
        let config = format!("{{channels: {{telegram: {telegram}}}, gatewarden: {{metrics: {{enabled: false}}}}}}");
        GatewayHome::with("openclaw.json", &config)
    };
    let same = with("1:abc");
    let sentence = "channels.telegram.accounts.two: has the token of the account one, which would take its messages";
    let said = same.run(&["doctor"]).expect(1).stdout;
    assert!(said.contains(sentence), "{said}");
    let said = same.run(&["run", "--port", "0"]).expect(78).stderr;
    assert!(said.contains(sentence) && !said.contains("1:abc"), "{said}");
    let home = with("2:abc");
    let said = home.run(&["doctor"]).expect(1).stdout;
    assert!(said.contains("Telegram two: the service isn't reached"), "{said}");
    assert!(said.contains("cure: Check the network, name resolution") && !said.contains("1:abc"), "{said}");
    let _gateway = home.start(&[]);
    wait::until("the gateway has tried", PATIENCE, || {
        home.run(&["status"]).stdout.matches("the service isn't reached").count() == 2
    });
    let said = home.run(&["doctor"]).expect(1).stdout;
    assert_eq!(said.matches("the service isn't reached").count(), 2, "nothing is said twice: {said}");
}

#[test]
fn a_second_gateway_on_the_same_state_is_refused_and_told_who_has_it() {
    let home = GatewayHome::quiet();
    let mut gateway = home.start(&[]);
    for words in [&["run", "--port", "0"] as &[&str], &["run", "--port", "0", "--force"]] {
        let said = home.run(words).expect(78);
        assert!(said.stderr.contains(&format!("process {}", gateway.pid())), "{}", said.stderr);
    }
    gateway.get("/health", None).expect(200);

    gateway.signal("KILL");
    let _ = gateway.wait();
    let next = home.start(&[]);
    next.get("/health", None).expect(200);
    wait::until_ok("the log says how the former one ended", PATIENCE, || {
        let log = home.log();
        if log.contains("ended without stopping properly") { Ok(()) } else { Err(log) }
    });
}

#[test]
fn a_gateway_is_started_in_the_background_restarted_as_it_was_and_stopped() {
    let home = GatewayHome::quiet();
    let said = home.run(&["start", "--port", "0"]).expect(0);
    assert!(said.stdout.contains("started a gateway in the background"), "{}", said.stdout);
    let status = || -> Value { serde_json::from_str(&home.run(&["status", "--json"]).stdout).expect("JSON") };
    let first = status();
    assert_eq!(first["answers"], true, "{first}");
    let again = home.run(&["start", "--port", "0"]).expect(0);
    assert!(again.stdout.contains("runs already"), "{}", again.stdout);

    home.run(&["restart"]).expect(0);
    let second = status();
    assert_eq!(second["answers"], true, "{second}");
    assert_ne!(first["pid"], second["pid"]);

    let stopped = home.run(&["stop"]).expect(0);
    assert!(stopped.stdout.contains(&second["pid"].to_string()), "{}", stopped.stdout);
    assert_eq!(status()["running"], false);
    assert!(home.run(&["stop"]).expect(0).stdout.contains("no gateway runs"));
}

#[test]
fn a_background_start_that_fails_says_why() {
    let home = GatewayHome::quiet();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let said = home.run(&["start", "--port", &port]).expect(1);
    assert!(said.stderr.contains("did not start") && said.stderr.contains(&port), "{}", said.stderr);
}

#[test]
fn logs_are_shown_filtered_and_followed() {
    let home = GatewayHome::quiet();
    home.run(&["logs"]).expect(1);
    let mut gateway = home.start(&[]);
    wait::until_ok("the log is written", PATIENCE, || {
        let all = home.run(&["logs"]);
        if all.code == Some(0) && all.stdout.contains("the gateway listens") { Ok(()) } else { Err(all.stdout) }
    });
    let json = home.run(&["logs", "--tail", "1", "--json"]).expect(0).stdout;
    assert_eq!(json.lines().count(), 1);
    assert!(serde_json::from_str::<Value>(json.trim()).expect("JSON")["_meta"]["logLevelName"].is_string());
    assert!(!home.run(&["logs", "--level", "error"]).expect(0).stdout.contains("listens"));
    home.run(&["logs", "--level", "loud"]).expect(64);

    let mut follower = home.command(&["logs", "--follow", "--tail", "0"]).spawn().expect("starts");
    let out = follower.stdout.take().expect("piped");
    let lines = std::thread::spawn(move || {
        use std::io::BufRead as _;
        std::io::BufReader::new(out).lines().map_while(Result::ok).find(|line| line.contains("the gateway stops"))
    });
    // The follower begins at the end of what there is when it starts: what it waits for is said until it is seen.
    wait::until("the follower sees a new line", PATIENCE, || {
        if lines.is_finished() {
            return true;
        }
        gateway.signal("TERM");
        let _ = gateway.wait();
        if !lines.is_finished() {
            gateway = home.start(&[]);
        }
        lines.is_finished()
    });
    assert!(lines.join().expect("no panic").is_some());
    let _ = follower.kill();
    let _ = follower.wait();
}

#[test]
fn validate_says_every_mistake_with_its_place_and_no_secret() {
    let home = GatewayHome::with(
        "openclaw.json",
        "{gateway: {prot: 1, bind: 'lan', auth: {mode: 'none', token: 'hush-hush-hush'}, controlUi: {allowedOrigins: ['*']}},
          hooks: {webhooks: [{id: 'a', path: '/webhook/a', message: 'm'}]}}",
    );
    let said = home.run(&["config", "validate"]).expect(78);
    for words in ["openclaw.json", "did you mean gateway.port?", "loopback only", "allowedOrigins[0]", "secret"] {
        assert!(said.stderr.contains(words), "{words} is not in {}", said.stderr);
    }
    assert!(!said.stderr.contains("hush"), "{}", said.stderr);
    home.run(&["run", "--port", "0"]).expect(78);
    assert!(!home.state().exists(), "nothing is made for a configuration that can't be used");
}

#[test]
fn a_file_that_a_variable_names_counts_wherever_it_is_looked_at_from() {
    let home = GatewayHome::quiet();
    let file = home
        .command(&[])
        .get_envs()
        .find(|(name, _)| *name == "OPENCLAW_CONFIG")
        .and_then(|(_, value)| value)
        .expect("it is named")
        .to_owned();
    let file = std::path::PathBuf::from(file);
    let mut start = home.command(&["start", "--port", "0"]);
    start.current_dir(file.parent().expect("a directory")).env("OPENCLAW_CONFIG", file.file_name().expect("a name"));
    let started = start.output().expect("it runs");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let validated = home.command(&["config", "validate"]).env("OPENCLAW_CONFIG", "nofile").output().expect("it runs");
    home.run(&["stop"]).expect(0);
    assert_eq!(validated.status.code(), Some(78), "another one runs, but this one was named");
}

#[test]
fn document_002s_file_is_run_with_a_certificate_of_its_own_and_an_audit_log() {
    let home = GatewayHome::with(
        "openclaw-gateway.yml",
        "gateway:\n  tls:\n    enabled: true\naudit:\n  enabled: true\n  events: [auth.failure]\ngatewarden:\n  metrics:\n    enabled: false\n",
    );
    home.run(&["config", "validate"]).expect(0);
    let gateway = home.start(&[]);
    assert!(gateway.url.starts_with("wss://"), "{}", gateway.url);
    let status: Value = serde_json::from_str(&home.run(&["status", "--json"]).expect(0).stdout).expect("JSON");
    assert_eq!((status["answers"].as_bool(), status["sessions"].as_u64()), (Some(true), Some(0)), "{status}");
    assert_eq!(mode(&home.state().join("audit.log")), 0o600);
}

#[test]
fn doctor_finds_what_is_wrong_and_says_what_helps() {
    let home = GatewayHome::quiet();
    let fine = home.run(&["doctor"]).stdout;
    assert!(fine.contains("ok       configuration"), "{fine}");
    drop(home.start(&[]));
    let sessions = home.state().join("sessions");
    std::fs::create_dir_all(&sessions).expect("made");
    std::fs::write(sessions.join("broken.jsonl"), "{\"type\":\n{}\n").expect("written");
    std::fs::set_permissions(home.state().join("gateway-token"), std::fs::Permissions::from_mode(0o644)).expect("ours");
    let said = home.run(&["doctor"]).expect(1).stdout;
    for words in ["problem  credential", "chmod 600", "broken.jsonl: line 1 is no JSON", "cure: "] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
}

#[test]
fn doctor_reads_the_files_of_the_state_as_the_next_start_does() {
    let home = GatewayHome::quiet();
    drop(home.start(&[]));
    let file = |name: &str, text: &str| {
        let path = home.state().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("ours");
    };
    let listed: [(&str, &[&str]); 4] = [
        ("devices.json", &[r#"{"version":1,"devices":[]}"#, r#"{"version":2,"devices":[]}"#]),
        ("agents.json", &["{}", r#"{"a":{"createdAt":"x"}}"#]),
        ("cron.jsonl", &["", "{\"job\":1}\n"]),
        ("channels/telegram-default.json", &["{}", r#"{"waiting":3}"#]),
    ];
    let write = |which: usize| listed.iter().for_each(|(name, texts)| file(name, texts[which]));
    write(0);
    let said = home.run(&["doctor"]).stdout;
    assert!(said.contains("state: 4 files, current, nothing to migrate"), "{said}");
    write(1);
    let said = home.run(&["doctor"]).expect(1).stdout;
    for words in [
        "problem  state: devices.json is of version 2, and this release knows version 1 only\n         cure: run the newer release, or remove",
        "agents.json makes no sense (",
        "cron.jsonl has lines that make no sense: 1",
        "telegram-default.json makes no sense (",
    ] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    assert!(!home.state().join("agents.json.damaged").exists(), "doctor changes nothing");
    let said = home.run(&["run", "--port", "0"]);
    assert!(said.code != Some(0) && said.stderr.contains("devices.json is of version 2"), "{}", said.stderr);
}

#[test]
fn what_a_killed_gateway_left_running_is_named_and_ends_when_the_next_one_stops() {
    let config = "{agents: {entries: {main: {command: 'slow'}}}, gatewarden: {metrics: {enabled: false},
                   commands: {slow: {program: '/bin/sleep', args: ['600']}}}}";
    let home = GatewayHome::with("openclaw.json", config);
    let mut gateway = home.start(&[]);
    let bearer = format!("Bearer {}", home.token());
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = json!({"agent": "main", "task": "sleep"}).to_string();
    let answer = http::request(gateway.address, "POST", "/spawn", &headers, Some(body.as_bytes()));
    assert_eq!(answer.expect("an answer").expect(200).json()["status"], "running");
    gateway.signal("KILL");
    gateway.wait();
    let named = |said: &str| said.contains("(sleep) of run") && said.contains("kill -TERM -- -");
    let (doctor, status) = (home.run(&["doctor"]).expect(1).stdout, home.run(&["status"]).expect(1).stdout);
    assert!(named(&doctor) && named(&status), "{doctor}{status}");
    let next = home.start(&[]);
    let (doctor, status) = (home.run(&["doctor"]).expect(1).stdout, home.run(&["status"]).expect(0).stdout);
    assert!(named(&doctor) && named(&status), "{doctor}{status}");
    home.run(&["stop"]).expect(0);
    drop(next);
    // Another program may have the port that a gateway takes by default: that is told, too.
    let doctor = home.run(&["doctor"]).stdout;
    assert!(!named(&doctor), "{doctor}");
}

#[test]
fn the_user_unit_is_printed_without_being_installed() {
    let home = GatewayHome::quiet();
    let unit = home.run(&["install-daemon", "--print"]).expect(0).stdout;
    for words in ["[Service]", "gateway run --config", "RestartPreventExitStatus=64 78", "NoNewPrivileges=yes"] {
        assert!(unit.contains(words), "{words} is not in {unit}");
    }
    // By the words of `openclaw`; alone they say nothing of what is to be done.
    assert_eq!(home.run(&["onboard", "--install-daemon", "--print"]).expect(0).stdout, unit);
    home.run(&["onboard"]).expect(64);
    assert!(!home.path().join(".config").exists());
}

#[test]
fn the_user_unit_is_installed_and_enabled_and_what_fails_is_said() {
    let home = GatewayHome::quiet();
    let (tools, asked) = (home.path().join("tools"), home.path().join("asked"));
    std::fs::create_dir(&tools).expect("made");
    let systemctl = tools.join("systemctl");
    let script = "#!/bin/sh\necho \"$*\" >>\"$ASKED\"\n[ \"$2\" != \"$FAILS\" ] || { echo 'no bus' >&2; exit 1; }\n";
    std::fs::write(&systemctl, script).expect("written");
    std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let install = |home: &GatewayHome, path: &str, fails: &str| {
        let mut command = home.command(&["install-daemon"]);
        command.env("PATH", path).env("ASKED", &asked).env("FAILS", fails);
        let said = command.output().expect("the binary starts");
        (said.status.code(), String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned())
    };
    let path = format!("{}:/usr/bin:/bin", tools.display());
    let unit = home.path().join(".config/systemd/user/gatewarden-gateway.service");

    let (code, said) = install(&home, &path, "");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("installed {}", unit.display())), "{said}");
    assert_eq!(mode(&unit), 0o644);
    let printed = home.run(&["install-daemon", "--print"]).expect(0).stdout;
    assert_eq!(std::fs::read_to_string(&unit).expect("installed").trim_end(), printed.trim_end());
    let calls = ["--user daemon-reload", "--user enable gatewarden-gateway.service"];
    assert_eq!(std::fs::read_to_string(&asked).expect("asked").lines().collect::<Vec<_>>(), calls);

    for (path, fails, what) in [
        (path.as_str(), "daemon-reload", "`systemctl --user daemon-reload` failed: no bus."),
        (&path, "enable", "`systemctl --user enable gatewarden-gateway.service` failed: no bus."),
        ("/nowhere", "", "`systemctl --user daemon-reload` cannot be run: "),
    ] {
        let (code, said) = install(&home, path, fails);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(what) && said.contains("The unit is in place; enable it in a session that has"),
            "{said}"
        );
    }
    let blocked = GatewayHome::quiet();
    std::fs::write(blocked.path().join(".config"), "").expect("written");
    let (code, said) = install(&blocked, &path, "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("The unit cannot be written to "), "{said}");
}

#[test]
fn a_running_gateway_is_looked_at_with_the_configuration_that_it_was_started_with() {
    let home = GatewayHome::quiet();
    let log = home.path().join("elsewhere.log");
    let own = home.path().join("own.json");
    let text = format!("{{logging: {{file: '{}'}}, gatewarden: {{metrics: {{enabled: false}}}}}}", log.display());
    std::fs::write(&own, text).expect("written");
    let _gateway = home.start(&["--config", &own.display().to_string()]);
    let file = own.display().to_string();
    let page = home.run(&["status"]).expect(0).stdout;
    assert!(page.contains(&format!("Configuration: {file}")) && page.contains("elsewhere.log"), "{page}");
    let fine = home.run(&["config", "validate"]).expect(0).stdout;
    assert!(fine.contains(&format!("{file} (of the running gateway) is fine")), "{fine}");
    let report = home.run(&["doctor"]).expect(0).stdout;
    assert!(report.contains(&file) && report.contains("the running gateway listens on 127.0.0.1:"), "{report}");
    home.run(&["logs"]).expect(0);

    let other = home.path().join("other.json");
    std::fs::write(&other, "{gateway: {prot: 1}}").expect("written");
    home.run(&["config", "validate", "--config", &other.display().to_string()]).expect(78);
}

#[test]
fn status_counts_the_sessions_in_which_an_agent_is_at_work() {
    let program = env!("CARGO_BIN_EXE_gatewarden");
    let home = GatewayHome::with(
        "openclaw.json",
        &format!(
            "{{agents: {{entries: {{main: {{command: 'sample', default: true}}}}}},
               gatewarden: {{metrics: {{enabled: false}}, commands: {{sample:
                 {{program: '{program}', args: ['gateway', 'sample-agent'], jsonLines: true}}}}}}}}"
        ),
    );
    let gateway = home.start(&[]);
    let bearer = format!("Bearer {}", home.token());
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    for (session, task) in [("one", "say this"), ("two", "count to 1000")] {
        let body = json!({"agent": "main", "task": task, "sessionKey": format!("agent:main:{session}")}).to_string();
        let answer = http::request(gateway.address, "POST", "/spawn", &headers, Some(body.as_bytes()));
        answer.expect("an answer").expect(200);
    }
    wait::until_ok("the first run has ended, the second goes on", PATIENCE, || {
        let page = home.run(&["status"]).stdout;
        if page.contains("Sessions: 1 active, 2 in all") { Ok(()) } else { Err(page) }
    });
}
