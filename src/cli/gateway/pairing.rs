//! `gatewarden gateway pairing`: who may talk to agents by channels, asked of the running gateway.

use gatewarden_protocol::words;
use serde_json::{Map, Value, json};

use super::super::EXIT_OK;
use super::super::error::CliError;
use super::super::output::print;
use super::running::{call, text};
use super::{CodeArgs, PairingCommand};

/// Carries out one of the commands.
pub(super) fn run(command: &PairingCommand) -> Result<u8, CliError> {
    print(&match command {
        PairingCommand::List(args) => {
            let listed = call(&args.place, "channels.pairing.list", &json!({}))?;
            if args.json { listed.to_string() } else { for_people(&listed) }
        }
        PairingCommand::Approve { request: args, notify } => {
            let answer = resolve(args, "channels.pairing.approve", *notify)?;
            format!(
                "Approved: {} user {} may talk to the agents.",
                words::shown(&args.channel),
                text(&answer, "senderId")
            )
        }
        PairingCommand::Dismiss(args) => {
            let answer = resolve(args, "channels.pairing.dismiss", false)?;
            let (channel, sender) = (words::shown(&args.channel), text(&answer, "senderId"));
            format!("Forgotten: the request of {channel} user {sender}, who isn't heard for an hour.")
        }
        PairingCommand::Revoke(args) => {
            let params = params([("channel", &args.channel), ("senderId", &args.person)], args.account.as_ref());
            let answer = call(&args.place, "channels.pairing.revoke", &Value::Object(params))?;
            format!(
                "Revoked: {} user {} is a stranger to the bot again, unless allowFrom lists the id.",
                words::shown(&args.channel),
                text(&answer, "senderId")
            )
        }
    });
    Ok(EXIT_OK)
}

fn resolve(args: &CodeArgs, method: &str, notify: bool) -> Result<Value, CliError> {
    let mut params = params([("channel", &args.channel), ("code", &args.code)], args.account.as_ref());
    params.extend(notify.then(|| ("notify".to_owned(), Value::Bool(true))));
    call(&args.place, method, &Value::Object(params))
}

fn params(texts: [(&str, &String); 2], account: Option<&String>) -> Map<String, Value> {
    let texts = texts.into_iter().chain(account.map(|account| ("accountId", account)));
    texts.map(|(name, text)| (name.to_owned(), Value::from(text.as_str()))).collect()
}

fn for_people(listed: &Value) -> String {
    let rows = |kind: &str| listed.get(kind).and_then(Value::as_array).cloned().unwrap_or_default();
    let requests = rows("requests");
    let approved = rows("approved");
    if requests.is_empty() && approved.is_empty() && rows("accounts").is_empty() {
        return "No channel lets people in by pairing.".to_owned();
    }
    let mut lines = vec![match requests.len() {
        0 => "Nobody waits for an approval.".to_owned(),
        waiting => format!("Waiting for an approval ({waiting})"),
    }];
    for row in &requests {
        let name = row.get("metadata").map(|metadata| text(metadata, "name")).unwrap_or_default();
        let (channel, account) = (text(row, "channel"), text(row, "accountId"));
        lines.push(format!("  {channel} user {} \"{name}\", until {}", text(row, "senderId"), text(row, "expiresAt")));
        let which = if account == "default" { String::new() } else { format!(" --account {account}") };
        lines.push(format!("    gatewarden gateway pairing approve {channel} {}{which}", text(row, "code")));
    }
    if !approved.is_empty() {
        lines.push(format!("Approved ({})", approved.len()));
    }
    for row in &approved {
        let (channel, account) = (text(row, "channel"), text(row, "accountId"));
        lines.push(format!("  {channel} user {}, account {account}", text(row, "senderId")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_shown_with_the_command_that_lets_them_in() {
        let row = json!({"channel": "telegram", "accountId": "work", "senderId": "5", "code": "ABCD2345",
            "expiresAt": "2026-01-01T00:00:00.000Z", "metadata": {"name": "Eve\u{1b}[31m"}});
        let page = for_people(&json!({"accounts": [{}], "requests": [row]}));
        assert!(page.contains("telegram user 5 \"Eve"), "{page}");
        assert!(page.ends_with("gatewarden gateway pairing approve telegram ABCD2345 --account work"), "{page}");
        assert!(!page.contains('\u{1b}'), "a stranger's name must not steer the terminal");
        assert_eq!(for_people(&json!({"accounts": [{}], "requests": []})), "Nobody waits for an approval.");
        assert!(for_people(&json!({})).starts_with("No channel"));
        let approved = json!([{"channel": "telegram", "accountId": "work", "senderId": "6"}]);
        let page = for_people(&json!({"accounts": [], "requests": [], "approved": approved}));
        assert!(page.ends_with("Approved (1)\n  telegram user 6, account work"), "{page}");
    }
}
