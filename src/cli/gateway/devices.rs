//! `gatewarden gateway devices`: who may come in, asked of the running gateway.

use gatewarden_embedded_gateway::clock::Now;
use serde_json::{Value, json};

use super::super::EXIT_OK;
use super::super::error::CliError;
use super::super::output::print;
use super::running::{call, text, words_of};
use super::{DevicesCommand, RequestArgs, ShowArgs};

/// Carries out one of the commands.
pub(super) fn run(command: &DevicesCommand) -> Result<u8, CliError> {
    print(&match command {
        DevicesCommand::List(args) => list(args)?,
        DevicesCommand::Approve(args) => approve(args)?,
        DevicesCommand::Reject(args) => {
            let answer = call(&args.place, "device.pair.reject", &json!({"requestId": args.request}))?;
            format!("Rejected: the device {}. It may ask again.", text(&answer, "deviceId"))
        }
        DevicesCommand::Remove(args) => {
            let answer = call(&args.place, "device.pair.remove", &json!({"deviceId": args.device}))?;
            let device = text(&answer, "deviceId");
            format!("Removed: the device {device}. Its tokens are worth nothing, its connections are closed.")
        }
    });
    Ok(EXIT_OK)
}

fn list(args: &ShowArgs) -> Result<String, CliError> {
    let listed = call(&args.place, "device.pair.list", &json!({}))?;
    Ok(if args.json { listed.to_string() } else { for_people(&listed, Now::read().wall_ms) })
}

fn approve(args: &RequestArgs) -> Result<String, CliError> {
    let answer = call(&args.place, "device.pair.approve", &json!({"requestId": args.request}))?;
    let device = answer.get("device").unwrap_or(&Value::Null);
    let may = may(device);
    let how = if may.starts_with("as ") { may } else { format!("with {may}") };
    Ok(format!("Approved: {}, {how}.", name(device)))
}

fn for_people(listed: &Value, now_ms: i64) -> String {
    let rows = |kind: &str| listed.get(kind).and_then(Value::as_array).cloned().unwrap_or_default();
    let (pending, paired) = (rows("pending"), rows("paired"));
    let mut lines = Vec::new();
    if !pending.is_empty() {
        lines.push(format!("Waiting for an approval ({})", pending.len()));
    }
    for row in &pending {
        let why = match text(row, "reason").as_str() {
            "scope-upgrade" => "asks for more than it was approved for",
            "role-upgrade" => "wants to be something else than it was approved for",
            "metadata-upgrade" => "is another machine than was approved",
            _ => "is new",
        };
        lines.push(format!("  {} {why}", name(row)));
        lines.push(format!("    asked for {}, {}, from {}", may(row), ago(row, "ts", now_ms), text(row, "remoteIp")));
        lines.push(format!("    gatewarden gateway devices approve {}", text(row, "requestId")));
    }
    if pending.is_empty() {
        lines.push("Nobody waits for an approval.".to_owned());
    }
    lines.push(String::new());
    lines.push(format!("Paired ({})", paired.len()));
    for row in &paired {
        lines.push(format!("  {}", name(row)));
        lines.push(format!("    {}, last seen {}", may(row), ago(row, "lastSeenAtMs", now_ms)));
        lines.push(format!("    {}", text(row, "deviceId")));
    }
    lines.join("\n")
}

/// Its name for people, else its client's; what it runs on. All of it was chosen by a stranger.
pub(super) fn name(row: &Value) -> String {
    let called = text(row, "displayName");
    let client = text(row, "clientId");
    let platform = text(row, "platform");
    if called.is_empty() { format!("{client} on {platform}") } else { format!("\"{called}\" ({client} on {platform})") }
}

/// What it may do: as a node, as an operator with these scopes, or both.
fn may(row: &Value) -> String {
    let roles: Vec<&str> =
        row.get("roles").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let is = |role: &str| roles.contains(&role);
    let scopes = || words_of(row, "scopes", "no scopes");
    match (is("node"), is("operator")) {
        (true, false) => "as a node".to_owned(),
        (true, true) => format!("as a node and with {}", scopes()),
        (false, _) => scopes(),
    }
}

pub(super) fn ago(row: &Value, field: &str, now_ms: i64) -> String {
    let Some(then) = row.get(field).and_then(Value::as_i64).filter(|then| *then > 0) else { return "never".to_owned() };
    let minutes = now_ms.saturating_sub(then).max(0) / 60_000;
    match (minutes / 1_440, minutes / 60, minutes) {
        (0, 0, 0) => "just now".to_owned(),
        (0, 0, minutes) => format!("{minutes} min ago"),
        (0, hours, _) => format!("{hours} h ago"),
        (days, _, _) => format!("{days} days ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_first_with_the_command_that_lets_it_in() {
        let now = 1_000_000_000_000;
        let listed = json!({
            "pending": [{"requestId": "req-1", "deviceId": "d1", "clientId": "openclaw-ios", "platform": "ios",
                "displayName": "Phone\u{1b}[31m", "scopes": ["operator.read"], "remoteIp": "192.0.2.7",
                "reason": "not-paired", "ts": now - 120_000}],
            "paired": [{"deviceId": "d2", "clientId": "cli", "platform": "linux", "scopes": [], "lastSeenAtMs": 0}],
        });
        let page = for_people(&listed, now);
        assert!(page.starts_with("Waiting for an approval (1)\n  \"Phone"), "{page}");
        assert!(page.contains("\n    gatewarden gateway devices approve req-1\n"), "{page}");
        assert!(page.contains("operator.read, 2 min ago, from 192.0.2.7"), "{page}");
        assert!(page.contains("cli on linux\n    no scopes, last seen never\n    d2"), "{page}");
        assert!(!page.contains('\u{1b}'), "a stranger's name must not steer the terminal");
        let empty = for_people(&json!({"pending": [], "paired": []}), now);
        assert_eq!(empty, "Nobody waits for an approval.\n\nPaired (0)");
    }
}
