//! `gatewarden gateways list`, `show` and `probe`.

use gatewarden_api::gateway_record::{Gateway, GatewayList};
use gatewarden_api::gateways::{AllHealth, HealthBody, HealthResult, OneHealth};
use serde_json::{Value, json};

use super::{ListArgs, ProbeArgs, process};
use crate::cli::daemon::{Answer, Daemon, address_of, now_s};
use crate::cli::error::CliError;
use crate::cli::output::{Cell, Details, Table, Tone, ago, at, plain_lines, print, seconds_of};
use crate::cli::{EXIT_FAILURE, EXIT_OK};

/// Prints all.
pub(super) fn list(daemon: &Daemon, args: &ListArgs) -> Result<u8, CliError> {
    let mut answer: Answer<GatewayList> = daemon.get("/api/gateways")?;
    if let Some(status) = &args.status {
        // As it came but for those that were not asked for.
        let mut list: Value = daemon.read(&Answer::of(answer.text))?;
        if let Some(rows) = list.get_mut("gateways").and_then(Value::as_array_mut) {
            rows.retain(|row| row.get("status").and_then(Value::as_str) == Some(status));
        }
        answer = Answer::of(list.to_string());
    }
    daemon.show(&answer, |list| table(&list.gateways).shown(daemon.output))
}

pub(super) fn table<'a>(gateways: impl IntoIterator<Item = &'a Gateway>) -> Table {
    let heading = ["NAME", "ID", "STATUS", "ADDRESS", "VERSION", "LATENCY", "SESSIONS", "ROLE", "PROBLEM"];
    Table::of(&heading, gateways.into_iter().map(cells), "There is no gateway of this kind.")
}

fn cells(gateway: &Gateway) -> Vec<Cell> {
    let role = match gateway.role() {
        role @ ("" | "primary") => Cell::toned(role, Tone::Strong),
        role => Cell::toned(role, Tone::Warning),
    };
    let problem = gateway.last_error.as_ref().filter(|_| gateway.status != "online");
    vec![
        Cell::new(&gateway.name),
        Cell::new(gateway.id.to_string()),
        Cell::status(&gateway.status),
        Cell::new(address_of(&gateway.host, Some(gateway.port))),
        Cell::maybe(gateway.version.as_ref()),
        Cell::maybe(gateway.latency.map(|ms| format!("{ms} ms"))),
        Cell::new(gateway.sessions_count.to_string()),
        role,
        problem.map_or_else(
            || Cell::new(""),
            |error| match next_attempt(gateway, now_s()) {
                Some(when) => Cell::toned(format!("{}, tried again {when}", error.code), Tone::Bad),
                None => Cell::toned(&error.code, Tone::Bad),
            },
        ),
    ]
}

/// When a gateway that isn't connected is dialled again by itself.
pub(in crate::cli) fn next_attempt(gateway: &Gateway, now_s: i64) -> Option<String> {
    gateway.next_attempt.map(|then| match then.saturating_sub(now_s) {
        ..=0 => "now".to_owned(),
        seconds => format!("in {}", seconds_of(seconds)),
    })
}

/// Prints everything about one.
pub(super) fn one(daemon: &Daemon, named: &str) -> Result<u8, CliError> {
    let gateway = daemon.gateway(named)?;
    if daemon.output.is_json() {
        print(&json!({"gateway": gateway}).to_string());
    } else if daemon.output.is_quiet() {
        print(&gateway.status);
    } else {
        print(&page(&gateway, now_s()));
    }
    Ok(EXIT_OK)
}

fn page(gateway: &Gateway, now_s: i64) -> String {
    let span = ago(now_s, gateway.since);
    let error = gateway.last_error.as_ref();
    let process = gateway.process.as_ref();
    let labels: Vec<String> = gateway.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let dialect = gateway.dialect.as_ref().map(|dialect| match gateway.protocol {
        Some(protocol) => format!("{dialect}, protocol {protocol}"),
        None => dialect.clone(),
    });
    let breaker = &gateway.breaker;
    Details::new(14)
        .put("name", &gateway.name)
        .put("id", gateway.id)
        .put("address", address_of(&gateway.host, Some(gateway.port)))
        .put("status", format!("{} for {span} (by {})", gateway.status, gateway.source))
        .put("phase", &gateway.phase)
        .maybe("problem", error.map(|error| &error.message))
        .maybe("cure", error.map(|error| &error.help))
        .maybe("approve with", gateway.pairing.as_ref().and_then(|pairing| pairing.command.as_deref()))
        .maybe("next attempt", next_attempt(gateway, now_s))
        .maybe("version", gateway.version.as_deref())
        .maybe("speaks", dialect)
        .maybe("latency", gateway.latency.map(|ms| format!("{ms} ms")))
        .maybe("healthy for", gateway.healthy_since.map(|then| ago(now_s, then)))
        .maybe("last failure", gateway.last_failure.map(|then| format!("{} ago", ago(now_s, then))))
        .put(
            "breaker",
            match breaker.failures {
                0 => breaker.state.clone(),
                failures => format!("{}, {failures} failures in a row", breaker.state),
            },
        )
        .put("sessions", format!("{} active", gateway.sessions_count))
        .put("agents", gateway.agents_count)
        .put("role", gateway.roles().join(", "))
        .put("priority", gateway.priority)
        .put("scopes", gateway.scopes.join(", "))
        .put("labels", labels.join(", "))
        .put("token", if gateway.token_set { "is set" } else { "none" })
        .maybe("password", gateway.password_set.then_some("is set"))
        .put("transport", &gateway.transport)
        .put("tls trust", &gateway.tls.trust)
        .maybe("device", gateway.is_control_ui().then_some("none: control-UI mode"))
        .maybe("process", process.map(|process| process::line(process, now_s)))
        .maybe("", process.and_then(process::problem_of))
        .put("registered", at(gateway.created_at))
        .shown()
}

/// Checks one or all; 0 where everything that was checked is online.
pub(super) fn probe(daemon: &Daemon, args: &ProbeArgs) -> Result<u8, CliError> {
    let code = |fine| if fine { EXIT_OK } else { EXIT_FAILURE };
    let Some(named) = &args.gateway else {
        let answer = daemon.send("POST", "/api/gateways/health", &HealthBody { gateway_id: None })?;
        daemon.show(&answer, |seen: &AllHealth| results(seen).shown(daemon.output))?;
        let fine = daemon.read(&answer)?.results.iter().all(|result| result.status == "online");
        return Ok(code(fine));
    };
    let gateway = daemon.gateway(named)?;
    let answer = daemon.send("POST", "/api/gateways/health", &HealthBody { gateway_id: Some(gateway.id) })?;
    daemon.show(&answer, |OneHealth { details, latency_ms, .. }| {
        if daemon.output.is_quiet() {
            return details.status.clone();
        }
        let latency = latency_ms.map(|ms| format!(", {ms:.1} ms")).unwrap_or_default();
        let mut lines = vec![format!("{}: {}{latency}", gateway.name, details.status)];
        lines.extend(details.error.as_ref().map(|error| match &details.failed_step {
            Some(step) => format!("  failed at {step}: {error}"),
            None => format!("  {error}"),
        }));
        lines.extend(details.help.as_ref().map(|help| format!("  {help}")));
        plain_lines(&lines.join("\n"))
    })?;
    Ok(code(daemon.read(&answer)?.healthy))
}

fn results(seen: &AllHealth) -> Table {
    let row = |result: &HealthResult| {
        let problem = result.error.as_ref().or(result.compatibility_warning.as_ref());
        vec![
            Cell::new(&result.name),
            Cell::new(result.id.to_string()),
            Cell::status(&result.status),
            Cell::maybe(result.latency.map(|ms| format!("{ms} ms"))),
            Cell::maybe(result.gateway_version.as_ref()),
            problem.map_or_else(|| Cell::new(""), |words| Cell::toned(words, Tone::Bad)),
        ]
    };
    let heading = ["NAME", "ID", "RESULT", "LATENCY", "VERSION", "PROBLEM"];
    Table::of(&heading, seen.results.iter().map(row), "There is no gateway to check.")
}

/// A gateway as the API shows one, with these fields changed.
#[cfg(test)]
pub(in crate::cli) fn example(changes: Value) -> Gateway {
    let mut gateway = json!({"id": 3, "uuid": "u", "name": "lab", "host": "192.0.2.7", "port": 18789, "token": "",
        "token_set": false, "is_primary": false, "acting_primary": false, "priority": 0, "status": "online", "since": 940,
        "as_of": 940, "source": "event", "sessions_count": 0, "agents_count": 0, "phase": "ready",
        "breaker": {"state": "closed", "failures": 0}, "reconnect_attempts": 0, "scopes": [], "drained": false, "labels": {},
        "transport": "auto", "tls": {"trust": "system"}, "disable_device_pairing": false, "created_at": 0, "updated_at": 0});
    gateway.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(gateway).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Output;

    #[test]
    fn the_table_says_when_a_gateway_is_tried_again() {
        let error = json!({"code": "connection_refused", "message": "m", "help": "h"});
        let waits = json!({"status": "offline", "last_error": error, "next_attempt": now_s() + 3_600});
        let table = table(&[example(waits)]).shown(Output::of_process(false, false));
        assert!(table.contains("connection_refused, tried again in "), "{table}");
        assert_eq!(next_attempt(&example(json!({"next_attempt": 5})), 9).as_deref(), Some("now"));
        assert_eq!(next_attempt(&example(json!({})), 9), None);
    }

    #[test]
    fn a_page_says_what_is_wrong_and_its_cure_and_leaves_out_what_is_unknown() {
        let gateway = example(
            json!({"status": "degraded", "phase": "blocked", "version": null, "labels": {"site": "a"},
            "is_primary": true, "last_error": {"code": "pairing_required", "message": "It waits.", "help": "Approve it."},
            "pairing": {"device_id": "d", "command": "openclaw devices approve r-1"}, "next_attempt": 1010}),
        );
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
