//! `openclaw cron`, the real command of the newest release, and the scheduled jobs of the embedded gateway.

use serde_json::{Value, json};

use crate::embedded::{Cli, home, json_in};
use crate::peer::NEWEST;

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
