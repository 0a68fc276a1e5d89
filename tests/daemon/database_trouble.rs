//! A database that fails while the daemon runs: writes are 503, reads and supervision go on, and it recovers by itself.

use diesel::Connection;
use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use serde_json::json;

use crate::support::daemon::{Daemon, PATIENCE};
use crate::support::scripted_gateway::{Form, ScriptedGateway};
use crate::support::wait;

#[test]
fn a_database_locked_by_another_process_is_503_for_writes_while_supervision_goes_on() {
    let gateway = ScriptedGateway::of(Form::Protocol4, "right");
    let daemon = Daemon::start();
    let id = daemon.register("one", gateway.port(), "right");
    daemon.until_status(id, "online");
    let path = daemon.setup().database().to_string_lossy().into_owned();
    let mut other = SqliteConnection::establish(&path).expect("the database opens");
    wait::until_ok("the lock is ours", PATIENCE, || {
        other.batch_execute("BEGIN IMMEDIATE").map_err(|error| error.to_string())
    });
    let refused = daemon.post("/api/gateways", &json!({"name": "late", "host": "127.0.0.1", "port": 1})).expect(503);
    assert_eq!(refused.json()["code"], "store_unavailable");
    assert!(refused.header("retry-after").is_some());
    let status = daemon.get("/api/status").expect(200).json();
    assert_eq!((&status["status"], &status["store"]["ok"]), (&json!("degraded"), &json!(false)), "{status}");
    assert!(status["store"]["error"].as_str().is_some_and(|words| words.contains("locked")), "{status}");
    assert_eq!(daemon.gateway(id)["status"], "online");
    daemon.get("/health").expect(200);
    gateway.kill();
    daemon.until_status(id, "offline");
    gateway.revive();
    daemon.until_status(id, "online");
    other.batch_execute("ROLLBACK").expect("released");
    wait::until_ok("the daemon finds out by itself that it can write again", PATIENCE, || {
        let status = daemon.get("/api/status").expect(200).json();
        if status["store"]["ok"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    wait::until_ok("writes are taken again", PATIENCE, || {
        let answer = daemon.post("/api/gateways", &json!({"name": "late", "host": "127.0.0.1", "port": 1}));
        if answer.status == 201 { Ok(()) } else { Err(answer.text) }
    });
    assert_eq!(daemon.gateways().iter().filter(|one| one["name"] == "late").count(), 1);
}
