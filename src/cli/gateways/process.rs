//! `gatewarden gateways start`, `stop`, `restart` and `diagnose`: the processes of gateways that run on the daemon's machine.

use std::time::Duration;

use clap::Args;
use gatewarden_api::gateways::{Diagnosis, Member, Process, ProcessAnswer, ProcessBody};

use crate::cli::daemon::{Daemon, now_s};
use crate::cli::error::CliError;
use crate::cli::output::{Output, ago, plain_lines};
use crate::cli::table::{Cell, Table};
use crate::cli::{EXIT_FAILURE, EXIT_OK};

/// Longest wait for an outcome: `processes.verify_within` and `processes.stop_grace` may be 900 and 300 s, and the daemon adds 10 s.
const PATIENCE: Duration = Duration::from_secs(1_220);

#[derive(Debug, Args)]
pub(in crate::cli) struct OrderArgs {
    /// Names or ids
    #[arg(value_name = "GATEWAY", required = true)]
    gateways: Vec<String>,
    /// Return at once instead of waiting for the outcome
    #[arg(long)]
    no_wait: bool,
}

/// What came of `start`, `stop` or `restart`: `before` is the process that ran when it was given, `pid` the one that runs now.
fn outcome(order: &str, before: Option<i32>, pid: Option<i32>, only_begun: bool) -> String {
    match (order, pid) {
        ("start", Some(pid)) if before == Some(pid) => format!("already runs as process {pid}"),
        ("stop", _) if only_begun => "is being stopped".to_owned(),
        (_, _) if only_begun => format!("is being {order}ed"),
        ("stop", _) => "is stopped".to_owned(),
        (_, pid) => {
            let process = pid.map_or_else(String::new, |pid| format!(" as process {pid}"));
            format!("runs{process}, and was connected anew")
        }
    }
}

/// Carries an order out for each in turn; the first that fails ends it.
pub(super) fn order(daemon: &Daemon, order: &str, args: &OrderArgs) -> Result<u8, CliError> {
    for gateway in daemon.all_gateways(&args.gateways)? {
        let body = ProcessBody { action: order.to_owned(), wait: Some(!args.no_wait) };
        let path = format!("/api/gateways/{}/process", gateway.id);
        let answer = daemon.patient(PATIENCE).send("POST", &path, &body).map_err(|error| error.about(&gateway.name))?;
        let before = gateway.process.and_then(|process| process.pid);
        daemon.done(&answer, |said: &ProcessAnswer| {
            format!("{} {}", gateway.name, outcome(order, before, said.process.pid, args.no_wait))
        })?;
    }
    Ok(EXIT_OK)
}

/// A closer look at one; 0 where it runs and its last start came to something. One that is still to be verified has not yet.
pub(super) fn diagnose(daemon: &Daemon, named: &str) -> Result<u8, CliError> {
    let path = format!("/api/gateways/{}/process", daemon.gateway_id(named)?);
    let answer = daemon.send("POST", &path, &ProcessBody { action: "diagnose".to_owned(), wait: None });
    let answer = answer.map_err(|error| error.about(named))?;
    let ProcessAnswer { process } = daemon.read(&answer)?;
    let fine = process.state == "running" && !matches!(process.verified.as_deref(), Some("no" | "pending"));
    daemon.show(&answer, |_| match daemon.output.is_quiet() {
        true => process.state.clone(),
        false => report(daemon.output, &process, now_s()),
    })?;
    Ok(if fine { EXIT_OK } else { EXIT_FAILURE })
}

/// A process in one line: `command local: running as process 77 for 3m, 40 MiB, restarted 2 times`.
pub(super) fn line(process: &Process, now_s: i64) -> String {
    let mut line = format!("{} {}: {}", process.kind, process.name, process.state);
    if let Some(pid) = process.pid {
        line.push_str(&format!(" as process {pid}"));
    }
    line.push_str(&format!(" for {}", ago(now_s, process.since)));
    if let Some(bytes) = process.memory_bytes {
        line.push_str(&format!(", {} MiB", bytes / 1_048_576));
    }
    match process.restarts {
        0 => {}
        1 => line.push_str(", restarted once"),
        times => line.push_str(&format!(", restarted {times} times")),
    }
    line
}

/// What is wrong with it, or how it ended last.
pub(super) fn problem_of(process: &Process) -> Option<String> {
    let before = || process.last_end.as_ref().map(|end| format!("it {} before", end.message));
    process.reason.clone().or_else(before)
}

fn report(output: Output, process: &Process, now_s: i64) -> String {
    let Some(Diagnosis { findings, program, members, output: said, .. }) = &process.diagnosis else {
        return plain_lines(&line(process, now_s));
    };
    let mut lines = vec![line(process, now_s)];
    lines.extend(findings.iter().map(|finding| format!("- {finding}")));
    let program = program.as_ref().filter(|_| process.kind == "command");
    lines.extend(program.map(|program| format!("runs {program}")));
    let mut sections = vec![plain_lines(&lines.join("\n"))];
    if !members.is_empty() {
        let row = |member: &Member| {
            vec![
                Cell::new(member.pid.to_string()),
                Cell::new(member.parent.to_string()),
                Cell::new(&member.state),
                Cell::new(&member.name),
            ]
        };
        sections.push(Table::of(&["PID", "PARENT", "STATE", "NAME"], members.iter().map(row), "").shown(output));
    }
    if !said.is_empty() {
        let said: Vec<&str> = said.iter().map(|line| line.text.as_str()).collect();
        sections.push(plain_lines(&format!("It said last:\n{}", said.join("\n"))));
    }
    sections.join("\n\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_says_what_came_of_it_and_nothing_more() {
        let now = Some(8);
        for (order, before, pid, only_begun, said) in [
            ("start", None, now, false, "runs as process 8, and was connected anew"),
            ("start", now, now, false, "already runs as process 8"),
            ("start", now, now, true, "already runs as process 8"),
            ("start", None, None, true, "is being started"),
            ("start", None, None, false, "runs, and was connected anew"),
            ("restart", Some(7), now, false, "runs as process 8, and was connected anew"),
            ("restart", now, now, true, "is being restarted"),
            ("stop", Some(7), None, false, "is stopped"),
            ("stop", Some(7), now, true, "is being stopped"),
        ] {
            assert_eq!(outcome(order, before, pid, only_begun), said);
        }
    }

    fn process(state: &str, changes: serde_json::Value) -> Process {
        let mut process =
            json!({"kind": "command", "name": "local", "state": state, "since": 820, "restarts": 0, "missing": []});
        process.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(process).unwrap()
    }

    #[test]
    fn a_process_is_one_line_and_its_problem_another() {
        let running = process("running", json!({"pid": 77, "restarts": 2, "memory_bytes": 41_943_040_i64}));
        let said = line(&running, 1_000);
        assert_eq!(said, "command local: running as process 77 for 3m, 40 MiB, restarted 2 times");
        assert_eq!(problem_of(&running), None);
        let end = json!({"at": 0, "message": "exited with code 3"});
        let ended = process("gave_up", json!({"restarts": 1, "reason": "Given up: too often.", "last_end": end}));
        assert_eq!(line(&ended, 1_000), "command local: gave_up for 3m, restarted once");
        assert_eq!(problem_of(&ended).unwrap(), "Given up: too often.");
    }
}
