//! `openclaw cron`, the real command of the newest release, and the scheduled jobs of the embedded gateway.

use serde_json::{Value, json};

use crate::embedded::{Cli, home, home_with, json_in};
use crate::peer::NEWEST;
use crate::support::webhook_receiver::WebhookReceiver;

fn asked(cli: &Cli<'_>, words: &[&str]) -> Value {
    let said = cli.run(&[&["cron"], words].concat());
    json_in(&said).unwrap_or_else(|| panic!("cron {words:?} printed no JSON: {said}"))
}

/// What the command makes by itself of few words: an isolated turn whose answer is to be announced.
#[test]
fn the_command_makes_runs_changes_and_removes_jobs() {
    let home = home();
    let gateway = home.start(&[]);
    let cli = Cli { version: NEWEST, home: &home, gateway: &gateway };
    let job = asked(
        &cli,
        &["add", "--name", "Brief", "--cron", "0 7 * * 1-5", "--tz", "Europe/Berlin", "--message", "good morning"],
    );
    let id = job["id"].as_str().unwrap_or_else(|| panic!("no id: {job}")).to_owned();
    assert_eq!(
        (&job["schedule"]["tz"], &job["delivery"]["mode"]),
        (&json!("Europe/Berlin"), &json!("announce")),
        "{job}"
    );
    let list = cli.run(&["cron", "list"]);
    assert!(list.contains(&id) && list.contains("Brief") && list.contains("cron 0 7 * * 1-5"), "{list}");
    let ran = asked(&cli, &["run", &id, "--wait", "--poll-interval", "200ms"]);
    assert!(ran.to_string().contains("You said: good morning"), "{ran}");
    let runs = asked(&cli, &["runs", &id]);
    assert_eq!((&runs["total"], &runs["entries"][0]["status"]), (&json!(1), &json!("ok")), "{runs}");
    let edited = asked(&cli, &["edit", &id, "--message", "good evening", "--cron", "0 18 * * *"]);
    assert_eq!(
        (&edited["payload"]["message"], &edited["schedule"]["expr"], &edited["schedule"]["tz"]),
        (&json!("good evening"), &json!("0 18 * * *"), &json!("Europe/Berlin")),
        "{edited}"
    );
    assert_eq!(asked(&cli, &["disable", &id])["enabled"], false);
    assert_eq!(asked(&cli, &["enable", &id])["enabled"], true);
    let shown = cli.run(&["cron", "show", "Brief"]);
    assert!(shown.contains(&id), "{shown}");
    let status = asked(&cli, &["status"]);
    assert_eq!((&status["enabled"], &status["jobs"]), (&json!(true), &json!(1)), "{status}");
    assert_eq!(asked(&cli, &["rm", &id])["removed"], true);
    let refused = cli.refusal(&["cron", "add", "--name", "x", "--every", "1h", "--command", "ls"]);
    assert!(refused.contains("command is not supported by this gateway"), "{refused}");
}

/// Where the end of a run and failures are told, as the command writes it.
#[test]
fn the_command_has_a_webhook_told_of_runs_and_of_failures() {
    let receiver = WebhookReceiver::start();
    let home =
        home_with("cron: {webhookToken: 'tok-of-webhooks', webhookSsrfPolicy: {allowedHostnames: ['127.0.0.1']}},");
    let gateway = home.start(&[]);
    let cli = Cli { version: NEWEST, home: &home, gateway: &gateway };
    let job = asked(
        &cli,
        &["add", "--name", "Brief", "--every", "1d", "--message", "good morning", "--webhook", &receiver.url()],
    );
    assert_eq!(job["delivery"], json!({"mode": "webhook", "to": receiver.url()}), "{job}");
    let id = job["id"].as_str().unwrap_or_else(|| panic!("no id: {job}")).to_owned();
    asked(&cli, &["run", &id, "--wait", "--poll-interval", "200ms"]);
    let [told] = receiver.all().try_into().expect("one message");
    assert_eq!(told.header("authorization"), "Bearer tok-of-webhooks");
    assert_eq!((&told.body["action"], &told.body["summary"]), (&json!("finished"), &json!("You said: good morning")));
    let runs = asked(&cli, &["runs", &id]);
    assert_eq!(runs["entries"][0]["deliveryStatus"], "delivered", "{runs}");
    let shown = cli.run(&["cron", "show", &id]);
    let place = format!("delivery: webhook:http://127.0.0.1:{}/hooks/gatewarden", receiver.port());
    assert!(shown.contains(&place) && shown.contains("last delivery: delivered"), "{shown}");

    let to = receiver.url();
    let how = ["--failure-alert-after", "1", "--failure-alert-cooldown", "6h", "--failure-alert-mode", "webhook"];
    let edited = asked(
        &cli,
        &[&["edit", &id, "--no-deliver", "--message", "fail now"], &how[..], &["--failure-alert-to", &to]].concat(),
    );
    assert_eq!(
        (&edited["failureAlert"]["after"], &edited["failureAlert"]["cooldownMs"], &edited["delivery"]["mode"]),
        (&json!(1), &json!(21_600_000), &json!("none")),
        "{edited}"
    );
    let edited = asked(&cli, &["edit", &id, "--no-failure-alert"]);
    assert_eq!(edited["failureAlert"], false, "{edited}");
    let edited = asked(&cli, &["edit", &id, "--announce", "--channel", "last"]);
    assert_eq!(edited["delivery"], json!({"mode": "announce", "channel": "last"}), "{edited}");
}
