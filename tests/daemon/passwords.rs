//! Gateways whose `gateway.auth.mode` is `password`.

use serde_json::{Value, json};

use super::support::client::{fine, run};
use super::support::daemon::Daemon;
use super::support::own_gateway::{GatewayHome, GatewayProcess};

const PASSWORD: &str = "a long pass phrase of 2026";

fn gateway(home: &GatewayHome) -> GatewayProcess {
    home.start(&[])
}

fn home() -> GatewayHome {
    GatewayHome::with(
        "openclaw.json",
        &format!(
            "{{gateway: {{auth: {{mode: 'password', password: '{PASSWORD}'}}}}, gatewarden: {{metrics: {{enabled: false}}}}}}"
        ),
    )
}

#[test]
fn a_gateway_lets_the_daemon_in_with_its_password_and_the_daemon_never_shows_it() {
    let home = home();
    let gateway = gateway(&home);
    let daemon = Daemon::start();
    let port = gateway.address.port();
    let id = daemon.register("locked", port, "a token that is not asked for");
    let refused = daemon.until_code(id, "password_required");
    assert_eq!(refused["password_set"], false);
    daemon.update(&json!({"id": id, "password": "a wrong pass phrase"})).expect(200);
    let refused = daemon.until_code(id, "password_mismatch");
    let help = refused["last_error"]["help"].as_str().unwrap_or_default();
    assert!(help.contains("gateway.auth.password"), "{help}");
    let updated = daemon.update(&json!({"id": id, "password": PASSWORD, "token": null})).expect(200);
    assert_eq!(updated.json()["gateway"]["password_set"], true);
    daemon.until_status(id, "online");
    // What reads show in its place leaves it as it is.
    daemon.update(&json!({"id": id, "password": "--------", "priority": 1})).expect(200);
    assert_eq!(daemon.gateway(id)["password_set"], true);
    let exported = run(&daemon, &["export", "--with-tokens"]);
    assert!(exported.stderr.contains("locked"), "who has a password is said: {}", exported.stderr);
    let details = daemon.post("/api/gateways/connect", &json!({"id": id})).expect(200);
    let everything = [exported.stdout, details.text, updated.text, daemon.get("/api/gateways").text, daemon.log()];
    assert!(everything.iter().all(|text| !text.contains(PASSWORD)), "{everything:?}");
    let sealed = std::fs::read(daemon.setup().database()).expect("the database");
    assert!(!sealed.windows(PASSWORD.len()).any(|bytes| bytes == PASSWORD.as_bytes()), "it is stored in the clear");
}

#[test]
fn a_password_comes_from_a_file_or_from_an_openclaw_json_and_can_be_taken_away() {
    let home = home();
    let gateway = gateway(&home);
    let daemon = Daemon::start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (secret, address) = (file("password", PASSWORD), gateway.address.to_string());
    fine(&daemon, &["gateways", "add", "by file", &address, "--password-file", &secret, "--wait"]);
    assert!(fine(&daemon, &["gateways", "show", "by file"]).contains("password      is set"));
    fine(&daemon, &["gateways", "update", "by file", "--no-password"]);
    let shown: Value = serde_json::from_str(&fine(&daemon, &["gateways", "show", "by file", "--json"])).expect("JSON");
    assert_eq!(shown["gateway"]["password_set"], false);
    fine(&daemon, &["gateways", "rm", "by file"]);

    let port = gateway.address.port();
    let text = format!("{{gateway: {{port: {port}, auth: {{mode: 'password', password: '{PASSWORD}'}}}}}}");
    let imported = run(&daemon, &["import", &file("openclaw.json", &text)]);
    assert_eq!(imported.code, Some(0), "{} {}", imported.stdout, imported.stderr);
    let rows = daemon.gateways();
    let local = rows.iter().find(|row| row["name"] == "local").and_then(|row| row["id"].as_i64());
    daemon.until_status(local.expect("it was imported"), "online");
}
