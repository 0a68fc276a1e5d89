//! `gatewarden gateways list`, `show` and `probe`.

use gatewarden_api::gateway_record::{Gateway, GatewayList};
use gatewarden_api::gateways::{AllHealth, HealthBody, HealthDetails, HealthResult, OneHealth};
use serde_json::{Value, json};

use super::{ListArgs, ProbeArgs, process};
use crate::cli::daemon::{Answer, Daemon, address_of, now_s};
use crate::cli::error::CliError;
use crate::cli::output::{Details, Tone, ago, at, print, seconds_of};
use crate::cli::table::{Cell, Table};
use crate::cli::{EXIT_FAILURE, EXIT_OK, wording};

/// Prints all.
pub(super) fn list(daemon: &Daemon, args: &ListArgs) -> Result<u8, CliError> {
    let mut answer: Answer<GatewayList> = daemon.get("/api/gateways")?;
    let mut none = NONE;
    if args.status.is_some() || !args.labels.is_empty() {
        none = "No gateway is like this.";
        let is = |row: &Value, pointer: &[&str], wanted: &str| {
            pointer.iter().try_fold(row, |value, part| value.get(part)).and_then(Value::as_str) == Some(wanted)
        };
        answer = of_some(daemon, answer, "gateways", |row| {
            args.status.as_ref().is_none_or(|status| is(row, &["status"], status))
                && args.labels.iter().all(|(name, value)| is(row, &["labels", name], value))
        })?;
    }
    daemon.list(&answer, "gateways", |list| table(list.gateways.iter().collect(), none))
}

/// An answer as it came, but for the elements of a list in it that were not asked for.
fn of_some<T>(
    daemon: &Daemon,
    answer: Answer<T>,
    field: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Answer<T>, CliError> {
    let mut said: Value = daemon.read(&Answer::of(answer.text))?;
    if let Some(rows) = said.get_mut(field).and_then(Value::as_array_mut) {
        rows.retain(wanted);
    }
    Ok(Answer::of(said.to_string()))
}

/// What stands in place of a list without gateways.
pub(super) const NONE: &str = "No gateway is registered yet: `gatewarden gateways add NAME ADDRESS` registers one.";

/// Those that need somebody's attention come first.
pub(super) fn table(mut gateways: Vec<&Gateway>, none: &'static str) -> Table {
    gateways.sort_by_key(|gateway| urgency(&gateway.status));
    let heading = ["NAME", "ID", "STATUS", "ADDRESS", "VERSION", "LATENCY", "SESSIONS", "ROLE", "PROBLEM"];
    Table::of(&heading, gateways.into_iter().map(cells), none)
        .cutting(&[("NAME", 16), ("ADDRESS", 21)])
        .leaving_out(&["VERSION", "ID", "SESSIONS", "LATENCY", "ADDRESS"])
        .below("PROBLEM")
}

pub(in crate::cli) fn urgency(status: &str) -> usize {
    ["offline", "timeout", "degraded", "unknown"].iter().position(|known| *known == status).unwrap_or(4)
}

fn cells(gateway: &Gateway) -> Vec<Cell> {
    let role = match (gateway.role(), held_for(gateway, now_s())) {
        ("", Some(held)) => Cell::toned(format!("held down {held}"), Tone::Warning),
        (role, Some(held)) if gateway.takes_work() => Cell::toned(format!("{role}, held down {held}"), Tone::Warning),
        (role @ ("" | "primary"), _) => Cell::toned(role, Tone::Strong),
        (role, _) => Cell::toned(role, Tone::Warning),
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
        Cell::problem(problem.map(|error| match next_attempt(gateway, now_s()) {
            Some(when) => format!("{}, tried again {when}", error.code),
            None => error.code.clone(),
        })),
    ]
}

/// When a gateway that isn't connected is dialled again by itself.
pub(in crate::cli) fn next_attempt(gateway: &Gateway, now_s: i64) -> Option<String> {
    gateway.next_attempt.map(|then| match then.saturating_sub(now_s) {
        ..=0 => "now".to_owned(),
        seconds => format!("in {}", seconds_of(seconds)),
    })
}

/// For how long a gateway can't act as primary any more because it came and went too often.
fn held_for(gateway: &Gateway, now_s: i64) -> Option<String> {
    gateway.held_down_until.map(|until| until.saturating_sub(now_s)).filter(|left| *left > 0).map(seconds_of)
}

/// The same in full.
fn held_down(gateway: &Gateway, now_s: i64) -> Option<String> {
    let (left, until) = (held_for(gateway, now_s)?, gateway.held_down_until?);
    Some(format!("for another {left}, until {}: it came and went too often to act as primary", at(until)))
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
        .maybe("cure", error.map(|error| wording::of_gateway(&error.help, &gateway.name)))
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
                1 => format!("{}, 1 failure", breaker.state),
                failures => format!("{}, {failures} failures in a row", breaker.state),
            },
        )
        .put("sessions", format!("{} active", gateway.sessions_count))
        .put("agents", gateway.agents_count)
        .put("role", gateway.roles().join(", "))
        .maybe("held down", held_down(gateway, now_s))
        .put("priority", gateway.priority)
        .put("scopes", gateway.scopes.join(", "))
        .put("labels", labels.join(", "))
        .put("token", if gateway.token_set { "is set" } else { "none" })
        .maybe("password", gateway.password_set.then_some("is set"))
        .put("transport", &gateway.transport)
        .put("tls trust", &gateway.tls.trust)
        .maybe("device", gateway.is_control_ui().then_some("none: control-UI mode"))
        .maybe("node", gateway.node.as_deref())
        .maybe("held by", gateway.held_by.as_deref())
        .maybe("process", process.map(|process| process::line(process, now_s)))
        .maybe("", process.and_then(process::problem_of))
        .put("registered", at(gateway.created_at))
        .shown()
}

/// What a check found.
struct Checked {
    name: String,
    status: String,
    latency_ms: Option<f64>,
    version: Option<String>,
    problem: Option<String>,
    help: Option<String>,
}

/// Checks one or all; 0 where everything that was asked for is online.
pub(super) fn probe(daemon: &Daemon, args: &ProbeArgs) -> Result<u8, CliError> {
    let named = daemon.all_gateways(&args.gateways)?;
    let only = if let [gateway] = named.as_slice() { Some(gateway) } else { None };
    let body = HealthBody { gateway_id: only.map(|gateway| gateway.id) };
    let mut answer = daemon.send("POST", "/api/gateways/health", &body)?;
    if named.len() > 1 {
        // The daemon lets few checks of one key pass, and one of all takes no longer than one of some.
        answer = of_some(daemon, answer, "results", |row| {
            named.iter().any(|gateway| row.get("id").and_then(Value::as_i64) == Some(gateway.id))
        })?;
    }
    let (fine, checked) = match only {
        Some(gateway) => {
            let OneHealth { healthy, latency_ms, details } = daemon.read(&Answer::of(answer.text.clone()))?;
            let HealthDetails { status, version, failed_step, error, help, .. } = details;
            let problem = error.map(|error| match &failed_step {
                Some(step) => format!("failed at {step}: {error}"),
                None => error,
            });
            (healthy, vec![Checked { name: gateway.name.clone(), status, latency_ms, version, problem, help }])
        }
        None => {
            let seen: AllHealth = daemon.read(&Answer::of(answer.text.clone()))?;
            // The check of all has its own three words for states, of which a degraded gateway's is online, and no cures; the list
            // has both.
            let gateways = daemon.gateways()?;
            let of = |result: HealthResult| {
                let gateway = gateways.iter().find(|gateway| gateway.id == result.id);
                let problem = result.error.or(result.compatibility_warning);
                let error = gateway.and_then(|gateway| gateway.last_error.as_ref()).filter(|_| problem.is_some());
                Checked {
                    name: result.name,
                    status: gateway.map_or(result.status, |gateway| gateway.status.clone()),
                    latency_ms: result.latency.map(|ms| ms as f64),
                    version: result.gateway_version,
                    problem,
                    help: error.map(|error| error.help.clone()),
                }
            };
            let fine = seen.results.iter().all(|result| result.status == "online");
            let checked: Vec<Checked> = seen.results.into_iter().map(of).collect();
            (fine && checked.iter().all(|checked| checked.status == "online"), checked)
        }
    };
    daemon.list::<Value>(&answer, "results", |_| results(checked))?;
    Ok(if fine { EXIT_OK } else { EXIT_FAILURE })
}

fn results(mut checked: Vec<Checked>) -> Table {
    checked.sort_by_key(|checked| urgency(&checked.status));
    let row = |Checked { name, status, latency_ms, version, problem, help }: Checked| {
        let cure = help.map(|help| wording::of_gateway(&help, &name)).filter(|cure| !cure.is_empty());
        vec![
            Cell::new(name),
            Cell::status(&status),
            Cell::maybe(latency_ms.map(|ms| format!("{ms:.0} ms"))),
            Cell::maybe(version),
            Cell::problem(problem.map(|problem| match cure {
                Some(cure) => format!("{}. {cure}", problem.trim_end_matches('.')),
                None => problem,
            })),
        ]
    };
    let heading = ["NAME", "STATUS", "LATENCY", "VERSION", "PROBLEM"];
    Table::of(&heading, checked.into_iter().map(row), NONE)
        .cutting(&[("NAME", 20)])
        .leaving_out(&["VERSION", "LATENCY"])
        .below("PROBLEM")
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use crate::cli::output::Output;

    /// A gateway as the API shows one, with these fields changed.
    pub(in crate::cli) fn example(changes: Value) -> Gateway {
        let mut gateway = json!({"id": 3, "uuid": "u", "name": "lab", "host": "192.0.2.7", "port": 18789, "token": "",
            "token_set": false, "is_primary": false, "acting_primary": false, "priority": 0, "status": "online", "since": 940,
            "as_of": 940, "source": "event", "sessions_count": 0, "agents_count": 0, "phase": "ready",
            "breaker": {"state": "closed", "failures": 0}, "reconnect_attempts": 0, "scopes": [], "drained": false, "labels": {},
            "transport": "auto", "tls": {"trust": "system"}, "disable_device_pairing": false, "created_at": 0, "updated_at": 0});
        gateway.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(gateway).unwrap()
    }

    #[test]
    fn the_table_says_when_a_gateway_is_tried_again() {
        let error = json!({"code": "connection_refused", "message": "m", "help": "h"});
        let waits = json!({"status": "offline", "last_error": error, "next_attempt": now_s() + 3_600});
        let table = table(vec![&example(waits)], NONE).shown(Output::of_process(false, false));
        assert!(table.contains("connection_refused, tried again in "), "{table}");
        assert_eq!(next_attempt(&example(json!({"next_attempt": 5})), 9).as_deref(), Some("now"));
        assert_eq!(next_attempt(&example(json!({})), 9), None);
    }

    #[test]
    fn the_table_marks_who_acts_who_is_drained_and_who_is_held_down() {
        let (held, now) = (json!(now_s() + 299), Tone::Strong);
        for (changes, expected, tone) in [
            (json!({}), "-", now),
            (json!({"is_primary": true, "acting_primary": true}), "primary", now),
            (json!({"acting_primary": true}), "acting primary", Tone::Warning),
            (json!({"is_primary": true}), "configured primary", Tone::Warning),
            (json!({"is_primary": true, "drained": true}), "drained", Tone::Warning),
            (json!({"held_down_until": held}), "held down 4m", Tone::Warning),
            (json!({"is_primary": true, "held_down_until": held}), "configured primary, held down 4m", Tone::Warning),
            (
                json!({"is_primary": true, "acting_primary": true, "held_down_until": held}),
                "primary, held down 4m",
                Tone::Warning,
            ),
            (json!({"drained": true, "held_down_until": held}), "drained", Tone::Warning),
            (json!({"held_down_until": now_s() - 1}), "-", now),
        ] {
            let words = changes.to_string();
            assert_eq!(cells(&example(changes)).get(7), Some(&Cell::toned(expected.replace('-', ""), tone)), "{words}");
        }
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

    #[test]
    fn a_problem_and_its_cure_are_two_sentences() {
        for problem in ["no answer in time", "no answer in time."] {
            let checked = Checked {
                name: "lab".to_owned(),
                status: "timeout".to_owned(),
                latency_ms: None,
                version: None,
                problem: Some(problem.to_owned()),
                help: Some("It may be busy.".to_owned()),
            };
            let shown = results(vec![checked]).shown(Output::of_process(false, false));
            assert!(shown.contains("no answer in time. It may be busy."), "{shown}");
        }
    }
}
