//! The commands beside `serve`, and what signals other than a stop do.

use std::os::unix::fs::PermissionsExt as _;

use super::support::daemon::{PATIENCE, Setup};
use super::support::wait;

#[test]
fn config_check_shows_values_with_their_source_and_no_secret() {
    let ended = Setup::new()
        .env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "7s")
        .env("OPENCLAW_GATEWAY_TOKEN", "hush-hush")
        .only_args(&["config", "check"])
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let line = |key: &str| {
        let found = ended.stdout.lines().find(|line| line.starts_with(key));
        found.unwrap_or_else(|| panic!("{key} is not in {}", ended.stdout)).to_owned()
    };
    let interval = line("gateway.heartbeat_interval");
    assert!(interval.contains("= 7s") && interval.contains("# $GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL"), "{interval}");
    assert!(line("gateway.breaker_failures").contains("# default"));
    assert!(line("seed.token").contains("(redacted)"));
    assert!(!ended.stdout.contains("hush"), "{}", ended.stdout);
}

#[test]
fn config_check_says_every_mistake_and_ends_with_78() {
    let ended = Setup::new()
        .env("GATEWARDEN_HTTP__LISTENS", "127.0.0.1:1")
        .env("GATEWARDEN_GATEWAY__BACKOFF", "soon")
        .only_args(&["config", "check"])
        .run();
    assert_eq!(ended.code, Some(78));
    for words in ["did you mean GATEWARDEN_HTTP__LISTEN?", "gateway.backoff = \"soon\"", "1s,2s,4s"] {
        assert!(ended.stderr.contains(words), "{words} is not in {}", ended.stderr);
    }
}

#[test]
fn the_identity_moves_to_another_installation_and_is_the_daemons_own() {
    let daemon = Setup::new().start();
    let state = daemon.setup().state().display().to_string();
    let device = daemon.get("/api/identity").expect(200).json();
    let device_id = device["device_id"].as_str().expect("a device id").to_owned();

    // Beside a running daemon.
    let shown = Setup::new().only_args(&["identity", "--state-dir", &state]).run();
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains(&device_id), "{}", shown.stdout);

    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let pem = elsewhere.path().join("device.pem").display().to_string();
    let export = || Setup::new().only_args(&["identity", "--state-dir", &state, "--export", &pem]).run();
    let exported = export();
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    assert_eq!(std::fs::metadata(&pem).expect("the file").permissions().mode() & 0o777, 0o600);
    let private = std::fs::read_to_string(&pem).expect("the file");
    assert!(private.starts_with("-----BEGIN PRIVATE KEY-----"));
    let secret_line = private.lines().nth(1).expect("a key").to_owned();
    assert!(!exported.stdout.contains(&secret_line));
    assert_eq!(export().code, Some(1), "an existing file is not overwritten");
    assert_eq!(std::fs::read_to_string(&pem).expect("the file"), private);

    let other = elsewhere.path().join("state").display().to_string();
    let imported = Setup::new().only_args(&["identity", "--state-dir", &other, "--import", &pem]).run();
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    let moved = Setup::new().only_args(&["identity", "--state-dir", &other]).run();
    assert!(moved.stdout.contains(&device_id), "{}", moved.stdout);

    let unasked = Setup::new().only_args(&["identity", "reset", "--state-dir", &other]).run();
    assert_eq!(unasked.code, Some(64), "there is nobody to ask: {}", unasked.stdout);
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    let reset = Setup::new().only_args(&["identity", "reset", "--yes", "--state-dir", &other]).run();
    assert_eq!(reset.code, Some(0), "{}", reset.stderr);
    let (new, former) = reset.stdout.split_once("\nnew: ").expect("both");
    assert!(former.contains(&device_id) && !new.contains(&device_id), "{}", reset.stdout);
    assert!(former.ends_with("no gateway had given the former one a token\n"), "{former}");
    let after = Setup::new().only_args(&["identity", "--state-dir", &other]).run();
    assert_eq!(after.stdout.trim(), new, "it stays");

    for words in [
        &["identity", "--state-dir", &state, "--import", &pem] as &[&str],
        &["identity", "reset", "--yes", "--state-dir", &state],
    ] {
        let refused = Setup::new().only_args(words).run();
        assert_eq!(refused.code, Some(1), "not under a running daemon");
        assert!(refused.stderr.contains("in use by another gatewarden"), "{}", refused.stderr);
    }
    let unchanged = Setup::new().only_args(&["identity", "--state-dir", &state]).run();
    assert!(unchanged.stdout.contains(&device_id), "{}", unchanged.stdout);
}

#[test]
fn what_is_no_key_is_not_imported() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("no-key.pem");
    std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n").expect("written");
    let state = dir.path().join("state");
    let ended = Setup::new()
        .only_args(&[
            "identity",
            "--state-dir",
            state.to_str().expect("text"),
            "--import",
            file.to_str().expect("text"),
        ])
        .run();
    assert_eq!(ended.code, Some(78), "{}", ended.stderr);
    assert!(ended.stderr.contains("no-key.pem") && !ended.stderr.contains("hush"), "{}", ended.stderr);
    assert!(!state.exists(), "nothing is made for a key that is none");
}

#[test]
fn the_printed_openapi_document_is_the_served_one() {
    let daemon = Setup::new().start();
    let printed = Setup::new().only_args(&["openapi"]).run();
    assert_eq!(printed.code, Some(0));
    let printed: serde_json::Value = serde_json::from_str(&printed.stdout).expect("JSON");
    assert_eq!(printed, daemon.get("/api/openapi.json").expect(200).json());
}

#[test]
fn a_hang_up_reloads_what_can_change_live_and_names_what_needs_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("gatewarden.toml");
    std::fs::write(&file, "[log]\nlevel = \"warn\"\n").expect("written");
    let daemon =
        Setup::new().without("GATEWARDEN_LOG__LEVEL").args(&["--config", file.to_str().expect("text")]).start();
    let hang_up = || {
        let status = std::process::Command::new("kill").args(["-HUP", &daemon.pid().to_string()]).status();
        assert!(status.expect("kill runs").success());
    };
    assert!(!daemon.log().contains("\"listening\""), "only warnings are logged: {}", daemon.log());

    std::fs::write(&file, "[log]\nlevel = \"info\"\n[gateway]\nbreaker_failures = 9\n").expect("written");
    hang_up();
    wait::until_ok("the reload is logged at the new level", PATIENCE, || {
        let log = daemon.log();
        let said = [
            "log.level is info from now on",
            "gateway.breaker_failures was changed to 9, which takes effect at the next start",
            "reloaded the configuration",
        ];
        if said.iter().all(|words| log.contains(words)) { Ok(()) } else { Err(log) }
    });

    std::fs::write(&file, "[log]\nlevel = \"loud\"\n").expect("written");
    hang_up();
    wait::until_ok("a bad file is refused and nothing changes", PATIENCE, || {
        let log = daemon.log();
        if log.contains("was not reloaded") && log.contains("loud") { Ok(()) } else { Err(log) }
    });
    daemon.get("/health").expect(200);
}
