//! `gatewarden gateways list` and `show`.

use clap::Args;
use gatewarden_actors::clock::Clock;
use serde_json::Value;

use super::process;
use crate::cli::client::{
    Cell, Daemon, Table, Tone, Trouble, address_of, ago, at, number, seconds_of, status_tone, text,
};
use crate::cli::{EXIT_OK, terminal};

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those with this status
    #[arg(long, value_name = "STATUS", value_parser = ["online", "degraded", "timeout", "offline", "unknown"])]
    status: Option<String>,
}

/// Prints all.
pub(super) fn list(daemon: &Daemon, args: &ListArgs) -> Result<u8, Trouble> {
    let answer = daemon.get("/api/gateways")?;
    match &args.status {
        None => daemon.show(&answer, |list| table(list, None).shown(daemon.output)),
        Some(status) if daemon.output.is_json() => {
            let rows: Vec<Value> = rows(&answer.json()).filter(|row| has_status(row, status)).cloned().collect();
            terminal::print(&serde_json::json!({"gateways": rows}).to_string());
        }
        Some(status) => daemon.show(&answer, |list| table(list, Some(status)).shown(daemon.output)),
    }
    Ok(EXIT_OK)
}

/// The gateways of a list.
pub(super) fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.get("gateways").and_then(Value::as_array).into_iter().flatten()
}

fn has_status(row: &Value, status: &str) -> bool {
    text(row, "/status").as_deref() == Some(status)
}

pub(super) fn table(list: &Value, status: Option<&str>) -> Table {
    let mut table = Table::new(
        &["NAME", "ID", "STATUS", "ADDRESS", "VERSION", "LATENCY", "SESSIONS", "ROLE", "PROBLEM"],
        "There is no gateway of this kind.",
    );
    for row in rows(list).filter(|row| status.is_none_or(|status| has_status(row, status))) {
        table.row(cells(row));
    }
    table
}

pub(super) fn cells(gateway: &Value) -> Vec<Cell> {
    let status = text(gateway, "/status").unwrap_or_default();
    let flag = |name: &str| gateway.get(name) == Some(&Value::Bool(true));
    let role = match (flag("is_primary"), flag("acting_primary"), flag("drained")) {
        (_, _, true) => Cell::toned("drained", Tone::Warning),
        (_, true, _) => Cell::toned("primary", Tone::Strong),
        (true, false, _) => Cell::toned("primary (not acting)", Tone::Warning),
        _ => Cell::new(""),
    };
    let problem = text(gateway, "/last_error/code").filter(|_| status != "online");
    vec![
        Cell::new(text(gateway, "/name").unwrap_or_default()),
        Cell::maybe(number(gateway, "/id")),
        Cell::toned(&status, status_tone(&status)),
        Cell::new(address_of(gateway)),
        Cell::maybe(text(gateway, "/version")),
        Cell::maybe(number(gateway, "/latency").map(|ms| format!("{ms} ms"))),
        Cell::maybe(number(gateway, "/sessions_count")),
        role,
        problem.map_or_else(|| Cell::new(""), |code| Cell::toned(code, Tone::Bad)),
    ]
}

/// Prints everything about one.
pub(super) fn show(daemon: &Daemon, named: &str) -> Result<u8, Trouble> {
    let gateway = daemon.gateway(named)?;
    let now_s = Clock::system().wall_ms() / 1000;
    if daemon.output.is_json() {
        terminal::print(&serde_json::json!({"gateway": gateway}).to_string());
    } else if daemon.output.is_quiet() {
        terminal::print(&text(&gateway, "/status").unwrap_or_default());
    } else {
        terminal::print(&terminal::plain_lines(&page(&gateway, now_s)));
    }
    Ok(EXIT_OK)
}

fn page(gateway: &Value, now_s: i64) -> String {
    let mut lines = Vec::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push(format!("{name:<14}{value}"));
        }
    };
    let flag = |name: &str| gateway.get(name) == Some(&Value::Bool(true));
    let since = |pointer: &str| number(gateway, pointer).map(|then| ago(now_s, then));
    put("name", text(gateway, "/name"));
    put("id", number(gateway, "/id").map(|id| id.to_string()));
    put("address", Some(address_of(gateway)));
    let status = text(gateway, "/status").unwrap_or_default();
    put(
        "status",
        Some(match since("/since") {
            Some(span) => format!("{status} for {span} (by {})", text(gateway, "/source").unwrap_or_default()),
            None => status.clone(),
        }),
    );
    put("phase", text(gateway, "/phase"));
    put("problem", text(gateway, "/last_error/message"));
    put("cure", text(gateway, "/last_error/help"));
    put("approve with", text(gateway, "/pairing/command"));
    put("next attempt", number(gateway, "/next_attempt").map(|then| format!("in {}", seconds_of(then - now_s))));
    put("version", text(gateway, "/version"));
    put(
        "speaks",
        text(gateway, "/dialect").map(|dialect| match number(gateway, "/protocol") {
            Some(protocol) => format!("{dialect}, protocol {protocol}"),
            None => dialect,
        }),
    );
    put("latency", number(gateway, "/latency").map(|ms| format!("{ms} ms")));
    put("healthy for", since("/healthy_since"));
    put("last failure", since("/last_failure").map(|span| format!("{span} ago")));
    put(
        "breaker",
        text(gateway, "/breaker/state").map(|state| match number(gateway, "/breaker/failures") {
            Some(failures) if failures > 0 => format!("{state}, {failures} failures in a row"),
            _ => state,
        }),
    );
    put("sessions", number(gateway, "/sessions_count").map(|count| format!("{count} active")));
    put("agents", number(gateway, "/agents_count").map(|count| count.to_string()));
    let roles = [
        ("configured primary", flag("is_primary")),
        ("acts as primary", flag("acting_primary")),
        ("drained: no new work", flag("drained")),
    ];
    put("role", Some(roles.iter().filter(|(_, is)| *is).map(|(role, _)| *role).collect::<Vec<_>>().join(", ")));
    put("priority", number(gateway, "/priority").map(|priority| priority.to_string()));
    let list = |name: &str| -> String {
        let items = gateway.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    put("scopes", Some(list("scopes")));
    let labels = gateway.get("labels").and_then(Value::as_object).into_iter().flatten();
    put(
        "labels",
        Some(
            labels
                .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(", "),
        ),
    );
    put("token", Some(if flag("token_set") { "is set" } else { "none" }.to_owned()));
    put("transport", text(gateway, "/transport"));
    put("tls trust", text(gateway, "/tls/trust"));
    put("device", flag("disable_device_pairing").then(|| "none: control-UI mode".to_owned()));
    let process = gateway.get("process").filter(|process| !process.is_null());
    put("process", process.and_then(|process| process::line(process, now_s)));
    put("", process.and_then(process::trouble_of));
    put("registered", number(gateway, "/created_at").map(at));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_says_what_is_wrong_and_its_cure_and_leaves_out_what_is_unknown() {
        let gateway = json!({"id": 3, "name": "lab", "host": "192.0.2.7", "port": 18789, "status": "degraded", "since": 940,
            "source": "event", "phase": "blocked", "version": null, "labels": {"site": "a"}, "is_primary": true,
            "last_error": {"code": "pairing_required", "message": "It waits.", "help": "Approve it."},
            "pairing": {"command": "openclaw devices approve r-1"}, "next_attempt": 1010});
        let page = page(&gateway, 1_000);
        for line in [
            "status        degraded for 1m (by event)",
            "problem       It waits.",
            "cure          Approve it.",
            "approve with  openclaw devices approve r-1",
            "next attempt  in 10s",
            "labels        site=a",
            "role          configured primary",
        ] {
            assert!(page.lines().any(|found| found == line), "{line:?} is not in\n{page}");
        }
        assert!(!page.contains("version"));
    }
}
