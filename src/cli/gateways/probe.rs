//! `gatewarden gateways probe`

use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::{Cell, Daemon, Table, Tone, Trouble, number, status_tone, text};
use crate::cli::{EXIT_FAILURE, EXIT_OK, terminal};

#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// Name or id; without one all are checked
    #[arg(value_name = "GATEWAY")]
    gateway: Option<String>,
}

/// Checks one or all; 0 where everything that was checked is online.
pub(super) fn run(daemon: &Daemon, args: &ProbeArgs) -> Result<u8, Trouble> {
    match &args.gateway {
        Some(named) => one(daemon, named),
        None => all(daemon),
    }
}

fn one(daemon: &Daemon, named: &str) -> Result<u8, Trouble> {
    let gateway = daemon.gateway(named)?;
    let body = json!({"gateway_id": number(&gateway, "/id")});
    let answer = daemon.call("POST", "/api/gateways/health", Some(&body))?;
    let seen = answer.json();
    let healthy = seen.get("healthy") == Some(&Value::Bool(true));
    daemon.show(&answer, |seen| {
        if daemon.output.is_quiet() {
            return text(seen, "/details/status").unwrap_or_default();
        }
        let name = text(&gateway, "/name").unwrap_or_default();
        let latency = seen.get("latency_ms").and_then(Value::as_f64).map(|ms| format!(", {ms:.1} ms"));
        let mut lines = vec![format!(
            "{name}: {}{}",
            text(seen, "/details/status").unwrap_or_default(),
            latency.unwrap_or_default()
        )];
        let problem = text(seen, "/details/error").map(|error| match text(seen, "/details/failed_step") {
            Some(step) => format!("  failed at {step}: {error}"),
            None => format!("  {error}"),
        });
        lines.extend(problem);
        lines.extend(text(seen, "/details/help").map(|help| format!("  {help}")));
        terminal::plain_lines(&lines.join("\n"))
    });
    Ok(if healthy { EXIT_OK } else { EXIT_FAILURE })
}

fn all(daemon: &Daemon) -> Result<u8, Trouble> {
    let answer = daemon.call("POST", "/api/gateways/health", Some(&json!({})))?;
    let seen = answer.json();
    let results = || seen.get("results").and_then(Value::as_array).into_iter().flatten();
    let fine = results().all(|result| text(result, "/status").as_deref() == Some("online"));
    daemon.show(&answer, |_| {
        let heading = ["NAME", "ID", "RESULT", "LATENCY", "VERSION", "PROBLEM"];
        let mut table = Table::new(&heading, "There is no gateway to check.");
        for result in results() {
            let status = text(result, "/status").unwrap_or_default();
            let problem = text(result, "/error").or_else(|| text(result, "/compatibility_warning"));
            table.row(vec![
                Cell::new(text(result, "/name").unwrap_or_default()),
                Cell::maybe(number(result, "/id")),
                Cell::toned(&status, status_tone(&status)),
                Cell::maybe(number(result, "/latency").map(|ms| format!("{ms} ms"))),
                Cell::maybe(text(result, "/gateway_version")),
                problem.map_or_else(|| Cell::new(""), |words| Cell::toned(words, Tone::Bad)),
            ]);
        }
        table.shown(daemon.output)
    });
    Ok(if fine { EXIT_OK } else { EXIT_FAILURE })
}
