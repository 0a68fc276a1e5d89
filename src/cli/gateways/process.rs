//! `gatewarden gateways start`, `stop`, `restart` and `diagnose`: the processes of gateways that run on the daemon's machine.

use std::time::Duration;

use clap::Args;
use gatewarden_actors::clock::Clock;
use serde_json::{Value, json};

use crate::cli::client::{Cell, Daemon, Table, Trouble, ago, number, text};
use crate::cli::{EXIT_FAILURE, EXIT_OK, terminal};

/// Longest wait for an outcome: `processes.verify_within` and `processes.stop_grace` may be 900 and 300 s, and the daemon adds 10 s.
const PATIENCE: Duration = Duration::from_secs(1_220);

#[derive(Debug, Args)]
pub(super) struct OrderArgs {
    /// Names or ids
    #[arg(value_name = "GATEWAY", required = true)]
    gateways: Vec<String>,
    /// Return at once instead of waiting for the outcome
    #[arg(long)]
    no_wait: bool,
}

/// What is asked of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Start,
    Stop,
    Restart,
}

impl Order {
    fn action(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    /// What came of it: `before` is the process that ran when it was given.
    fn outcome(self, before: Option<i64>, answer: &Value, only_begun: bool) -> String {
        let pid = number(answer, "/process/pid");
        match self {
            Self::Start if before.is_some() && before == pid => {
                format!("already runs as process {}", pid.unwrap_or_default())
            }
            Self::Start if only_begun => "is being started".to_owned(),
            Self::Stop if only_begun => "is being stopped".to_owned(),
            Self::Restart if only_begun => "is being restarted".to_owned(),
            Self::Stop => "is stopped".to_owned(),
            Self::Start | Self::Restart => {
                let process = pid.map_or_else(String::new, |pid| format!(" as process {pid}"));
                format!("runs{process}, and was connected anew")
            }
        }
    }
}

/// Carries an order out for each in turn; the first that fails ends it.
pub(super) fn order(daemon: &Daemon, order: Order, args: &OrderArgs) -> Result<u8, Trouble> {
    // A name that is wrong must not leave half of them done.
    let gateways = args.gateways.iter().map(|named| daemon.gateway(named)).collect::<Result<Vec<_>, _>>()?;
    for gateway in gateways {
        let id = number(&gateway, "/id").unwrap_or_default();
        let name = terminal::plain(&text(&gateway, "/name").unwrap_or_default());
        let body = json!({"action": order.action(), "wait": !args.no_wait});
        let answer = daemon.call_patiently("POST", &format!("/api/gateways/{id}/process"), &body, PATIENCE)?;
        let words = order.outcome(number(&gateway, "/process/pid"), &answer.json(), args.no_wait);
        daemon.done(&answer, |_| format!("{name} {words}"));
    }
    Ok(EXIT_OK)
}

/// A closer look at one; 0 where it runs and its last start came to something.
pub(super) fn diagnose(daemon: &Daemon, named: &str) -> Result<u8, Trouble> {
    let id = daemon.gateway_id(named)?;
    let answer = daemon.call("POST", &format!("/api/gateways/{id}/process"), Some(&json!({"action": "diagnose"})))?;
    let seen = answer.json();
    let process = seen.get("process").cloned().unwrap_or_default();
    let state = text(&process, "/state").unwrap_or_default();
    let fine = state == "running" && text(&process, "/verified").as_deref() != Some("no");
    let now_s = Clock::system().wall_ms() / 1000;
    daemon.show(&answer, |_| if daemon.output.is_quiet() { state } else { report(daemon, &process, now_s) });
    Ok(if fine { EXIT_OK } else { EXIT_FAILURE })
}

/// A process in one line: `command local: running as process 77 for 3m, 40 MiB, restarted 2 times`.
pub(super) fn line(process: &Value, now_s: i64) -> Option<String> {
    let state = text(process, "/state")?;
    let mut line = format!("{} {}: {state}", text(process, "/kind")?, text(process, "/name")?);
    if let Some(pid) = number(process, "/pid") {
        line.push_str(&format!(" as process {pid}"));
    }
    if let Some(since) = number(process, "/since") {
        line.push_str(&format!(" for {}", ago(now_s, since)));
    }
    if let Some(bytes) = number(process, "/memory_bytes") {
        line.push_str(&format!(", {} MiB", bytes / 1_048_576));
    }
    match number(process, "/restarts") {
        None | Some(0) => {}
        Some(1) => line.push_str(", restarted once"),
        Some(times) => line.push_str(&format!(", restarted {times} times")),
    }
    Some(line)
}

/// What is wrong with it, or how it ended last.
pub(super) fn trouble_of(process: &Value) -> Option<String> {
    text(process, "/reason").or_else(|| text(process, "/last_end/message").map(|words| format!("it {words} before")))
}

fn report(daemon: &Daemon, process: &Value, now_s: i64) -> String {
    let list = |pointer: &str| process.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines: Vec<String> = line(process, now_s).into_iter().collect();
    lines.extend(list("/diagnosis/findings").iter().filter_map(|finding| Some(format!("- {}", finding.as_str()?))));
    let program = text(process, "/diagnosis/program").filter(|_| text(process, "/kind").as_deref() == Some("command"));
    lines.extend(program.map(|program| format!("runs {program}")));
    let mut sections = vec![terminal::plain_lines(&lines.join("\n"))];
    let members = list("/diagnosis/members");
    if !members.is_empty() {
        let mut table = Table::new(&["PID", "PARENT", "STATE", "NAME"], "");
        for member in &members {
            table.row(vec![
                Cell::maybe(number(member, "/pid")),
                Cell::maybe(number(member, "/parent")),
                Cell::maybe(text(member, "/state")),
                Cell::maybe(text(member, "/name")),
            ]);
        }
        sections.push(table.shown(daemon.output));
    }
    let output = list("/diagnosis/output");
    if !output.is_empty() {
        let said: Vec<String> = output.iter().filter_map(|line| text(line, "/text")).collect();
        sections.push(terminal::plain_lines(&format!("It said last:\n{}", said.join("\n"))));
    }
    sections.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_says_what_came_of_it_and_nothing_more() {
        let now = json!({"process": {"pid": 8}});
        let none = json!({"process": {"pid": null}});
        for (order, before, answer, only_begun, said) in [
            (Order::Start, None, &now, false, "runs as process 8, and was connected anew"),
            (Order::Start, Some(8), &now, false, "already runs as process 8"),
            (Order::Start, Some(8), &now, true, "already runs as process 8"),
            (Order::Start, None, &none, true, "is being started"),
            (Order::Start, None, &none, false, "runs, and was connected anew"),
            (Order::Restart, Some(7), &now, false, "runs as process 8, and was connected anew"),
            (Order::Restart, Some(8), &now, true, "is being restarted"),
            (Order::Stop, Some(7), &none, false, "is stopped"),
            (Order::Stop, Some(7), &now, true, "is being stopped"),
        ] {
            assert_eq!(order.outcome(before, answer, only_begun), said);
        }
    }

    #[test]
    fn a_process_is_one_line_and_its_trouble_another() {
        let process = json!({"kind": "command", "name": "local", "state": "running", "pid": 77, "since": 820, "restarts": 2,
            "memory_bytes": 41_943_040_i64});
        let said = line(&process, 1_000).unwrap();
        assert_eq!(said, "command local: running as process 77 for 3m, 40 MiB, restarted 2 times");
        assert_eq!(trouble_of(&process), None);
        let ended = json!({"kind": "unit", "name": "a.service", "state": "gave_up", "restarts": 1, "reason": "Given up: too often.",
            "last_end": {"message": "exited with code 3"}});
        assert_eq!(line(&ended, 0).unwrap(), "unit a.service: gave_up, restarted once");
        assert_eq!(trouble_of(&ended).unwrap(), "Given up: too often.");
        assert_eq!(line(&Value::Null, 0), None);
    }
}
