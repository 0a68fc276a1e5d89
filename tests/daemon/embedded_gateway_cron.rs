//! Scheduled jobs of the embedded gateway, across the ends that it may meet.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use serde_json::{Value, json};

use super::support::daemon::PATIENCE;
use super::support::own_gateway::{GatewayHome, GatewayProcess};
use super::support::rpc_client::RpcClient;
use super::support::webhook_receiver::WebhookReceiver;
use super::support::{ports, wait};

pub(crate) fn home() -> GatewayHome {
    home_with("")
}

/// The same with more in its configuration.
fn home_with(more: &str) -> GatewayHome {
    let program = json!(env!("CARGO_BIN_EXE_gatewarden"));
    let agent = format!("{{program: {program}, args: ['gateway', 'sample-agent'], jsonLines: true}}");
    let text = format!(
        "{{{more} agents: {{entries: {{sample: {{command: 'sample', default: true}}}}}},
           gatewarden: {{metrics: {{enabled: false}}, commands: {{sample: {agent}}}}}}}"
    );
    GatewayHome::with("openclaw.json", &text)
}

pub(crate) fn open(home: &GatewayHome, gateway: &GatewayProcess) -> RpcClient {
    RpcClient::open(gateway.address, &home.token()).0
}

pub(crate) fn job(message: &str) -> Value {
    let payload = json!({"kind": "agentTurn", "message": message});
    json!({"name": "a job", "schedule": {"kind": "every", "everyMs": 1_000}, "payload": payload})
}

pub(crate) fn id_of(job: &Value) -> String {
    job["id"].as_str().unwrap_or_else(|| panic!("no id: {job}")).to_owned()
}

#[test]
fn a_job_runs_by_itself_and_is_told_and_goes_on_after_a_restart() {
    let home = home();
    let gateway = home.start(&[]);
    let mut client = open(&home, &gateway);
    let id = id_of(&client.call("cron.add", job("tick")));
    let finished = client.event("cron", |event| event["action"] == "finished");
    assert_eq!((&finished["jobId"], &finished["summary"]), (&json!(id), &json!("You said: tick")), "{finished}");
    home.run(&["stop"]).expect(0);
    let next = home.start(&[]);
    let mut client = open(&home, &next);
    client.event("cron", |event| event["action"] == "finished" && event["jobId"] == id.as_str());
    let runs = client.call("cron.runs", json!({"id": id, "sortDir": "asc"}));
    assert_eq!(runs["entries"][0]["runId"], finished["runId"], "what ran before is still known: {runs}");
}

#[test]
fn a_run_that_a_kill_cuts_off_is_told_as_failed_and_not_repeated() {
    let home = home();
    let mut gateway = home.start(&[]);
    let mut client = open(&home, &gateway);
    let mut once = job("count to 600");
    once["schedule"] = json!({"kind": "at", "at": "2000000000000"});
    let id = id_of(&client.call("cron.add", once));
    client.call("cron.run", json!({"id": id}));
    let started = client.event("cron", |event| event["action"] == "started");
    gateway.signal("KILL");
    gateway.wait();
    let next = home.start(&[]);
    let mut client = open(&home, &next);
    let runs = client.call("cron.runs", json!({"id": id}));
    assert_eq!((&runs["total"], &runs["entries"][0]["runAtMs"]), (&json!(1), &started["runAtMs"]), "{runs}");
    assert_eq!(runs["entries"][0]["error"], "cron: job interrupted by gateway restart", "{runs}");
    let shown = client.call("cron.get", json!({"id": id}));
    assert_eq!(shown["nextRunAtMs"], 2_000_000_000_000_i64, "its own time still comes: {shown}");
    wait::until("it is said", PATIENCE, || home.log().contains("it is not repeated"));
}

#[test]
fn the_end_of_a_run_reaches_its_webhook_once_also_over_a_kill() {
    let port = ports::free_port();
    let home =
        home_with("cron: {webhookToken: 'tok-of-webhooks', webhookSsrfPolicy: {allowedHostnames: ['127.0.0.1']}},");
    let mut gateway = home.start(&[]);
    let mut client = open(&home, &gateway);
    let url = format!("http://127.0.0.1:{port}/brief?key=geheim");
    let mut telling = job("all is well?");
    telling["schedule"] = json!({"kind": "at", "at": "2000000000000"});
    telling["delivery"] = json!({"mode": "webhook", "to": url});
    let id = id_of(&client.call("cron.add", telling));
    client.call("cron.run", json!({"id": id}));
    // Nobody listens there yet: the message waits for its next try.
    wait::until("it was tried", PATIENCE, || home.log().contains("is sent again"));
    gateway.signal("KILL");
    gateway.wait();
    let receiver = WebhookReceiver::at(port, "");
    let mut next = home.start(&[]);
    let mut client = open(&home, &next);
    let told = receiver.until("the end of the run is told", |_| true);
    assert_eq!((told.path.as_str(), told.header("authorization")), ("/brief?key=geheim", "Bearer tok-of-webhooks"));
    assert_eq!(
        (&told.body["jobId"], &told.body["summary"]),
        (&json!(id), &json!("You said: all is well?")),
        "{}",
        told.body
    );
    let mut row = Value::Null;
    wait::until("the row says so", PATIENCE, || {
        row = client.call("cron.runs", json!({"id": id}))["entries"][0].clone();
        row["deliveryStatus"] == "delivered"
    });
    assert_eq!((&row["status"], &row["delivered"]), (&json!("ok"), &json!(true)), "{row}");
    // One that is refused is told once as well, and says why.
    receiver.answer_with(500);
    client.call("cron.run", json!({"id": id}));
    wait::until("the row says why not", PATIENCE, || {
        row = client.call("cron.runs", json!({"id": id}))["entries"][0].clone();
        row["deliveryStatus"] == "not-delivered"
    });
    assert!(row["deliveryError"].as_str().is_some_and(|why| why.contains("HTTP 500")), "{row}");
    next.signal("KILL");
    next.wait();
    let third = home.start(&[]);
    let mut client = open(&home, &third);
    assert_eq!(client.call("cron.runs", json!({"id": id}))["total"], 2);
    assert_eq!(receiver.all().len(), 2);
    for secret in ["tok-of-webhooks", "geheim"] {
        assert!(!home.log().contains(secret), "{secret}");
    }
}

#[test]
fn a_gateway_that_is_stopped_waits_for_what_a_webhook_answers() {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    receiver.set_nonblocking(true).expect("a socket");
    let home = home_with("cron: {webhookSsrfPolicy: {allowedHostnames: ['127.0.0.1']}},");
    let mut gateway = home.start(&[]);
    let mut client = open(&home, &gateway);
    let mut telling = job("all is well?");
    telling["schedule"] = json!({"kind": "at", "at": "2000000000000"});
    telling["delivery"] =
        json!({"mode": "webhook", "to": format!("http://{}/", receiver.local_addr().expect("bound"))});
    let id = id_of(&client.call("cron.add", telling));
    client.call("cron.run", json!({"id": id}));
    let mut asked = None;
    wait::until("it is asked", PATIENCE, || {
        asked = receiver.accept().ok();
        asked.is_some()
    });
    let (mut asked, _) = asked.expect("a connection");
    gateway.signal("TERM");
    asked.set_nonblocking(false).and_then(|()| asked.set_read_timeout(Some(PATIENCE))).expect("a socket");
    // The whole of it: what is answered before is no answer.
    let (mut request, mut bytes) = (String::new(), [0; 4_096]);
    while !(request.contains("\r\n\r\n") && request.ends_with('}')) {
        let count = asked.read(&mut bytes).expect("the rest of it");
        assert!(count > 0, "the end after {request}");
        request.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("it is still there");
    gateway.wait();
    let next = home.start(&[]);
    let row = open(&home, &next).call("cron.runs", json!({"id": id}))["entries"][0].clone();
    assert_eq!(row["deliveryStatus"], "delivered", "{row}");
}

#[test]
fn jobs_are_made_shown_run_and_removed_by_command() {
    let home = home();
    let _gateway = home.start(&[]);
    let add = |more: &[&str]| home.run(&[&["cron", "add", "--name", "Brief", "--message", "tick"], more].concat());
    let said = add(&["--cron", "61 7 * * *"]).expect(1);
    assert!(said.stderr.contains("minute is 61; 0 to 59"), "{}", said.stderr);
    let said = add(&["--every", "1h", "--agent", "main"]).expect(1);
    assert!(said.stderr.contains("Unknown agent id \"main\"; known: sample"), "{}", said.stderr);
    add(&["--every", "often"]).expect(64);
    add(&[]).expect(64);
    assert_eq!(home.run(&["cron", "list"]).expect(0).stdout, "There are no jobs.\n");

    add(&["--every", "1h", "--webhook", "https://hooks.example.com/", "--to", "1"]).expect(64);
    let said = add(&["--every", "1h", "--webhook", "http://127.0.0.1:9/"]).expect(1);
    assert!(said.stderr.contains("cron.webhookSsrfPolicy.allowedHostnames"), "{}", said.stderr);
    let said = add(&["--every", "1h", "--webhook", "https://hooks.example.com/"]).expect(0).stdout;
    home.run(&["cron", "rm", said.trim_start_matches("Added: ").split("  ").next().expect("an id")]).expect(0);

    let said = add(&["--cron", "0 7 * * 1-5", "--tz", "Europe/Berlin"]).expect(0).stdout;
    let id = said.trim_start_matches("Added: ").split("  ").next().expect("an id").to_owned();
    assert!(said.contains("\"Brief\"\n    0 7 * * 1-5 Europe/Berlin; due 20"), "{said}");
    let said = home.run(&["cron", "disable", &id]).expect(0).stdout;
    assert!(said.contains("Europe/Berlin; disabled"), "{said}");
    let said = home.run(&["cron", "run", &id]).expect(0).stdout;
    assert!(said.contains(&format!("`cron runs {id}`")), "{said}");
    wait::until("the run has ended", PATIENCE, || {
        home.run(&["cron", "runs", &id]).expect(0).stdout.contains("  ok  \"Brief\"")
    });
    let said = home.run(&["cron", "enable", &id]).expect(0).stdout;
    assert!(said.contains("; due 20") && said.contains(" ok\n"), "{said}");
    let listed: Value = serde_json::from_str(&home.run(&["cron", "list", "--json"]).expect(0).stdout).expect("JSON");
    assert_eq!((&listed["total"], &listed["jobs"][0]["id"]), (&json!(1), &json!(id)));
    home.run(&["cron", "rm", &id]).expect(0);
    let said = home.run(&["cron", "rm", &id]).expect(1);
    assert!(said.stderr.contains(&id), "{}", said.stderr);
}

#[test]
fn a_file_of_jobs_beyond_all_bounds_is_not_read() {
    let home = home();
    std::fs::create_dir_all(home.state()).expect("a directory");
    let file = std::fs::File::create(home.state().join("cron.jsonl")).expect("a file");
    file.set_len(257 * 1024 * 1024).expect("nothing but zeroes");
    let said = home.run(&["run", "--port", "0"]);
    assert!(
        said.code != Some(0) && said.stderr.contains("cron.jsonl") && said.stderr.contains("larger than"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_damaged_file_costs_no_start_and_what_was_in_it_is_set_aside() {
    let home = home();
    let gateway = home.start(&[]);
    let mut client = open(&home, &gateway);
    let mut off = job("x");
    off["enabled"] = json!(false);
    let id = id_of(&client.call("cron.add", off));
    home.run(&["stop"]).expect(0);
    let file = home.state().join("cron.jsonl");
    let whole = std::fs::read_to_string(&file).expect("kept");
    std::fs::write(&file, format!("nonsense\n{whole}{{\"job\":")).expect("written");
    let next = home.start(&[]);
    assert_eq!(open(&home, &next).call("cron.get", json!({"id": id}))["id"], id.as_str());
    wait::until("the file is in order", PATIENCE, || {
        std::fs::read_to_string(&file).is_ok_and(|text| !text.contains("nonsense") && text.ends_with("}\n"))
    });
    assert!(home.state().join("cron.jsonl.damaged").exists());
}
