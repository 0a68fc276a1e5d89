//! A notification as it is sent: JSON with one sentence for people, and the facts for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::observing::{Fleet, NOBODY};
use crate::ids::GatewayId;
use crate::machines::notification::{Change, Condition, Step, Subject};
use crate::registry::roster::GatewayView;

/// Where a notification comes from, and what it is about.
pub(super) struct Story<'a> {
    /// The destination's name.
    pub(super) destination: &'a str,
    /// The id of this installation.
    pub(super) installation: &'a str,
    /// What the subject was called when it was announced; for a failover, the configured primary.
    pub(super) subject_name: &'a str,
    /// The fleet now.
    pub(super) fleet: &'a Fleet<'a>,
    /// Why the daemon doubts its network, while it does.
    pub(super) doubt: Option<&'a str>,
}

/// What is sent. Never longer than a few KB: names and sentences are bounded where they come in.
pub(super) fn render(step: &Step, story: &Story<'_>) -> Value {
    let kind = match step.change {
        Change::Closed { .. } => "recovered",
        Change::Opened { .. } | Change::Moved { .. } | Change::Reminded => step.topic.condition.as_str(),
    };
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("id", json!(step.episode.notification_id()));
    put("kind", json!(kind));
    put("condition", json!(step.topic.condition.as_str()));
    put("text", json!(sentence(step, story)));
    put("at_ms", json!(step.episode.announced_ms));
    put("began_ms", json!(step.episode.began_ms));
    put("episode", json!(step.episode.id));
    put("sequence", json!(step.episode.sequence));
    put("reminder", json!(step.change == Change::Reminded));
    put("flapping", json!(step.change == Change::Opened { flapping: true }));
    put("removed", json!(step.change == Change::Closed { removed: true }));
    put("destination", json!(story.destination));
    put("installation", json!(story.installation));
    match (step.topic.subject, step.topic.condition) {
        (Subject::Gateway(id), _) => {
            put("gateway", gateway(id, story));
        }
        (Subject::Fleet, Condition::Failover) => {
            let acting = story.fleet.acting;
            put(
                "configured",
                json!({ "id": configured(story).map(|view| view.record.id), "name": story.subject_name }),
            );
            put("acting", acting.map_or(Value::Null, |acting| json!({ "id": acting.id, "name": acting.name })));
            put("reason", acting.map_or(Value::Null, |acting| json!(acting.reason)));
        }
        (Subject::Fleet, _) => {
            put("reason", json!(story.doubt));
        }
    }
    Value::Object(body)
}

fn find<'a>(id: GatewayId, story: &'a Story<'_>) -> Option<&'a GatewayView> {
    story.fleet.views.iter().find(|view| view.record.id == id).map(AsRef::as_ref)
}

fn configured<'a>(story: &'a Story<'_>) -> Option<&'a GatewayView> {
    story.fleet.views.iter().find(|view| view.record.is_primary).map(AsRef::as_ref)
}

fn gateway(id: GatewayId, story: &Story<'_>) -> Value {
    match find(id, story) {
        Some(view) => json!({
            "id": id,
            "name": view.record.name,
            "labels": view.record.labels,
            "status": view.report.status,
            "phase": view.report.phase,
            "since_ms": view.report.since_ms,
            "last_seen_ms": view.report.last_seen_ms,
            "error": view.report.last_error,
            "process": view.process.as_ref().map(|process| json!({
                "state": process.state.as_str(),
                "restarts": process.restarts,
                "reason": process.reason,
            })),
        }),
        None => json!({ "id": id, "name": story.subject_name }),
    }
}

fn sentence(step: &Step, story: &Story<'_>) -> String {
    let name = match step.topic.subject {
        Subject::Gateway(id) => find(id, story).map_or(story.subject_name, |view| &view.record.name),
        Subject::Fleet => story.subject_name,
    };
    let lasted = Duration::from_millis(
        u64::try_from(step.episode.announced_ms.saturating_sub(step.episode.began_ms)).unwrap_or_default(),
    );
    let lasted = spell(lasted);
    match &step.change {
        Change::Closed { removed: true } => format!("Gateway {name} is no longer watched (it was deleted or renamed)."),
        Change::Closed { removed: false } => over(step.topic.condition, name, &lasted, story),
        Change::Opened { flapping } => {
            let bounces =
                if *flapping { " It comes and goes: its recovery will be told once it has calmed down." } else { "" };
            format!("{}{bounces}", holds(step, story, name))
        }
        Change::Moved { .. } => holds(step, story, name),
        Change::Reminded => format!("Still, after {lasted}: {}", holds(step, story, name)),
    }
}

fn holds(step: &Step, story: &Story<'_>, name: &str) -> String {
    let problem = match step.topic.subject {
        Subject::Gateway(id) => find(id, story).and_then(|view| view.report.last_error.as_ref()),
        Subject::Fleet => None,
    };
    // The problem's sentence names the gateway again; its code is short and can be looked up.
    let why = problem.map(|problem| format!(" {} {}", problem.message, problem.help)).unwrap_or_default();
    match step.topic.condition {
        Condition::Down => format!("Gateway {name} is down.{why}"),
        Condition::Blocked => format!("Gateway {name} refuses gatewarden until somebody changes something.{why}"),
        Condition::CrashLoop => match given_up(step.topic.subject, story) {
            Some(reason) => {
                format!("The process of gateway {name} is not started again. {}.", reason.trim_end_matches('.'))
            }
            None => format!("The process of gateway {name} ended too often and is not started again."),
        },
        Condition::NetworkDoubt => match story.doubt {
            Some(reason) => format!("Most gateways failed at once: {reason}."),
            None => "Most gateways failed at once: this machine's own network may be at fault.".to_owned(),
        },
        Condition::Failover if step.episode.detail == NOBODY => {
            format!(
                "No gateway acts as primary: {name}, the configured one, can't, and no other can. Work that names no gateway is refused."
            )
        }
        Condition::Failover => match story.fleet.acting {
            Some(acting) => format!(
                "Gateway {} acts as primary in place of {name}: {}.",
                acting.name,
                acting.reason.trim_end_matches('.')
            ),
            None => format!("Another gateway acts as primary in place of {name}."),
        },
    }
}

/// Why the gateway's process isn't started again, in its supervision's words.
fn given_up<'a>(subject: Subject, story: &'a Story<'_>) -> Option<&'a str> {
    let Subject::Gateway(id) = subject else { return None };
    find(id, story)?.process.as_ref()?.reason.as_deref()
}

fn over(condition: Condition, name: &str, lasted: &str, story: &Story<'_>) -> String {
    match condition {
        Condition::Down => format!("Gateway {name} is back, after {lasted}."),
        Condition::Blocked => format!("Gateway {name} accepts gatewarden again, after {lasted}."),
        Condition::CrashLoop => format!("The process of gateway {name} is no longer given up, after {lasted}."),
        Condition::Failover => match story.fleet.acting {
            Some(acting) => {
                format!("The failover from {name} is over, after {lasted}: {} acts as primary.", acting.name)
            }
            None => format!("The failover from {name} is over, after {lasted}."),
        },
        Condition::NetworkDoubt => {
            format!(
                "The daemon trusts its own network again, after {lasted}; gateways that are still down are told one by one."
            )
        }
    }
}

/// A duration for people: two units at most.
fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests;
