//! A notification as it is sent: JSON with one sentence for people, and the facts for programs.

use std::time::Duration;

use gatewarden_api::events::GatewayOrNone;
use gatewarden_api::notifications::{DigestGateway, Notification, NotifiedGateway, NotifiedProcess, NotifiedState};
use gatewarden_api::spawn::GatewayName;

use super::LOOK_EVERY;
use super::observing::Fleet;
use crate::event_data;
use crate::gateway_report::{Phase, Status};
use crate::ids::GatewayId;
use crate::machines::notification::{Change, Condition, StandIn, Step, Subject, Topic};
use crate::registry::roster::{ActingPrimary, GatewayView};

/// Of a gateway that can't be reached.
const DOWN: &str = "is down";
/// Of one that leaves what it is sent unanswered.
const NO_ANSWER: &str = "does not answer";

/// So many gateways are named where one notification is about many.
const MAX_NAMED: usize = 20;

/// Where a notification comes from, and what it is about.
pub(super) struct Story<'a> {
    /// The destination's name.
    pub(super) destination: &'a str,
    /// The id of this installation.
    pub(super) installation: &'a str,
    /// What the subject was called when it was announced.
    pub(super) subject_name: &'a str,
    /// The fleet now.
    pub(super) fleet: &'a Fleet<'a>,
    /// Why the daemon doubts its network, while it does.
    pub(super) doubt: Option<&'a str>,
}

/// What is sent. Never longer than a few KB: names and sentences are bounded where they come in.
pub(super) fn render(step: &Step, story: &Story<'_>) -> Notification {
    let kind = match step.change {
        Change::Closed { .. } => "recovered",
        Change::Opened | Change::Moved { .. } | Change::Reminded => step.topic.condition.as_str(),
    };
    let mut body = Notification {
        id: step.episode.notification_id(),
        kind: kind.to_owned(),
        condition: step.topic.condition.as_str().to_owned(),
        text: sentence(step, story),
        at_ms: step.episode.announced_ms,
        began_ms: step.episode.began_ms,
        ended_ms: ended_ms(step, story),
        episode: step.episode.id.clone(),
        sequence: step.episode.sequence,
        reminder: step.change == Change::Reminded,
        flapping: is_flapping(step),
        removed: step.change == Change::Closed { removed: true },
        destination: story.destination.to_owned(),
        installation: story.installation.to_owned(),
        gateway: None,
        configured: None,
        former: None,
        acting: None,
        reason: None,
        count: None,
        gateways: None,
    };
    match (step.topic.subject, step.topic.condition) {
        (Subject::Gateway(id), Condition::Failover) => {
            let acting = acting(story);
            let former = match step.change {
                Change::Moved { from } => from,
                Change::Closed { .. } => step.episode.stand_in,
                Change::Opened | Change::Reminded => None,
            };
            let former = former.and_then(|stand_in| match stand_in {
                StandIn::Gateway(id) => find(id, story),
                StandIn::Nobody => None,
            });
            body.former =
                Some(former.map(|view| GatewayName { id: view.record.id.0, name: Some(view.record.name.clone()) }));
            body.configured = Some(GatewayOrNone { id: Some(id.0), name: Some(name_of(id, story).to_owned()) });
            body.acting = Some(acting.map(|acting| GatewayName { id: acting.id.0, name: Some(acting.name.clone()) }));
            body.reason = Some(acting.map(|acting| acting.reason.clone()));
        }
        (Subject::Gateway(id), _) => body.gateway = Some(gateway(id, story)),
        (Subject::Fleet, _) => body.reason = Some(story.doubt.map(str::to_owned)),
    }
    body
}

/// When a condition that is over ended: when the gateway got ready, if that was right before it was first looked at and found well.
fn ended_ms(step: &Step, story: &Story<'_>) -> Option<i64> {
    let held = i64::try_from(step.held.as_millis()).unwrap_or(i64::MAX);
    let found_well = step.episode.announced_ms.saturating_sub(held);
    let ready = match step.topic {
        Topic { subject: Subject::Gateway(id), condition: Condition::Down | Condition::Blocked } => {
            find(id, story).and_then(|view| view.report.ready_since_ms)
        }
        _ => None,
    };
    // A look may be late.
    let apart = i64::try_from((LOOK_EVERY * 2).as_millis()).unwrap_or_default();
    let since_the_last = found_well.saturating_sub(apart)..found_well;
    let ended = ready.filter(|ready| since_the_last.contains(ready)).unwrap_or(found_well);
    matches!(step.change, Change::Closed { .. }).then_some(ended)
}

/// Makes a notification of the first of many steps of a kind that of all: how many there are, and the first of them.
pub(super) fn widen(body: &mut Notification, steps: &[&Step], stories: &[Story<'_>]) {
    let Some(first) = steps.first() else { return };
    let mut named = Vec::new();
    let mut names = Vec::new();
    for (step, story) in steps.iter().zip(stories).take(MAX_NAMED) {
        let Subject::Gateway(id) = step.topic.subject else { continue };
        let (view, name) = (find(id, story), name_of(id, story));
        named.push(DigestGateway {
            id: id.0,
            name: name.to_owned(),
            episode: step.episode.id.clone(),
            status: view.map(|view| view.report.status.as_str().to_owned()),
            flapping: is_flapping(step),
            error: view.and_then(|view| view.report.last_error.as_ref()).map(|problem| problem.code.clone()),
        });
        names.push(name);
    }
    let count = steps.len();
    let happened = match (&first.change, first.topic.condition) {
        (Change::Closed { .. }, Condition::Blocked) => "can be used again",
        (Change::Closed { .. }, Condition::CrashLoop) => "have a process that is no longer given up",
        (Change::Closed { .. }, _) => "are back",
        (_, Condition::Blocked) => "can't be used until somebody changes something",
        (_, Condition::CrashLoop) => "have a process that ended too often and is not started again",
        _ if steps.iter().zip(stories).all(|(step, story)| trouble(step.topic.subject, story) == NO_ANSWER) => {
            "do not answer"
        }
        _ => "are down or do not answer",
    };
    let still = if first.change == Change::Reminded { "Still: " } else { "" };
    let more = match count.saturating_sub(names.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    body.text = format!("{still}{count} gateways {happened}: {}{more}.", names.join(", "));
    body.began_ms = steps.iter().map(|step| step.episode.began_ms).min().unwrap_or(body.began_ms);
    body.flapping = steps.iter().copied().any(is_flapping);
    body.gateway = None;
    body.count = Some(count);
    body.gateways = Some(named);
}

fn is_flapping(step: &Step) -> bool {
    step.change == Change::Opened && !step.episode.hold.is_zero()
}

fn find<'a>(id: GatewayId, story: &'a Story<'_>) -> Option<&'a GatewayView> {
    story.fleet.views.iter().find(|view| view.record.id == id).map(AsRef::as_ref)
}

/// A gateway's name; where it is gone, that under which it was announced.
fn name_of<'a>(id: GatewayId, story: &'a Story<'_>) -> &'a str {
    find(id, story).map_or(story.subject_name, |view| &view.record.name)
}

fn acting<'a>(story: &Story<'a>) -> Option<&'a ActingPrimary> {
    story.fleet.primary.acting.as_deref()
}

fn gateway(id: GatewayId, story: &Story<'_>) -> NotifiedGateway {
    let view = find(id, story);
    let state = view.map(|view| NotifiedState {
        labels: view.record.labels.clone(),
        status: view.report.status.as_str().to_owned(),
        phase: view.report.phase.as_str().to_owned(),
        since_ms: view.report.since_ms,
        last_seen_ms: view.report.last_seen_ms,
        next_attempt_ms: view.report.next_attempt_ms,
        error: view.report.last_error.as_ref().map(event_data::last_error),
        process: view.process.as_ref().map(|process| NotifiedProcess {
            state: process.state.as_str().to_owned(),
            restarts: process.restarts,
            reason: process.reason.clone(),
        }),
    });
    NotifiedGateway { id: id.0, name: name_of(id, story).to_owned(), state }
}

fn sentence(step: &Step, story: &Story<'_>) -> String {
    let name = match step.topic.subject {
        Subject::Gateway(id) => name_of(id, story),
        Subject::Fleet => story.subject_name,
    };
    let until_ms = ended_ms(step, story).unwrap_or(step.episode.announced_ms);
    let lasted =
        spell(Duration::from_millis(u64::try_from(until_ms.saturating_sub(step.episode.began_ms)).unwrap_or(0)));
    match &step.change {
        Change::Closed { removed: true } => format!("Gateway {name} is no longer watched (it was deleted or renamed)."),
        Change::Closed { removed: false } => over(step, name, &lasted, story),
        Change::Opened => {
            let bounces = match is_flapping(step) {
                true => {
                    let hold = spell(step.episode.hold);
                    format!(" It comes and goes: its recovery will be told once it has been well for {hold}.")
                }
                false => String::new(),
            };
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
        Condition::Down => format!("Gateway {name} {}.{why}", trouble(step.topic.subject, story)),
        Condition::Blocked => {
            format!("Gateway {name} {} until somebody changes something.{why}", trouble(step.topic.subject, story))
        }
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
        Condition::Failover if step.episode.stand_in == Some(StandIn::Nobody) => {
            format!(
                "No gateway acts as primary: {name}, the configured one, can't, and no other can. Work that names no gateway is refused."
            )
        }
        Condition::Failover => match acting(story) {
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

/// What is wrong with a gateway that is down or blocked, by what is seen of it.
fn trouble(subject: Subject, story: &Story<'_>) -> &'static str {
    let Subject::Gateway(id) = subject else { return DOWN };
    match find(id, story).map(|view| (view.report.phase, view.report.status)) {
        // What is there is no gateway, or none to be trusted or understood.
        Some((Phase::Blocked, Status::Offline)) => "can't be used",
        Some((Phase::Blocked, _)) => "refuses gatewarden",
        Some((Phase::Parked, _)) => "is no longer supervised",
        Some((_, Status::Timeout)) => NO_ANSWER,
        Some((_, Status::Unknown)) => "has told nothing of itself for minutes",
        _ => DOWN,
    }
}

fn over(step: &Step, name: &str, lasted: &str, story: &Story<'_>) -> String {
    match step.topic.condition {
        Condition::Down => format!("Gateway {name} is back, after {lasted}."),
        Condition::Blocked => format!("Gateway {name} can be used again, after {lasted}."),
        Condition::CrashLoop => format!("The process of gateway {name} is no longer given up, after {lasted}."),
        Condition::Failover => {
            let configured = story.fleet.views.iter().find(|view| view.record.is_primary);
            let why = match (configured, step.topic.subject) {
                (Some(view), Subject::Gateway(id)) if view.record.id == id => match acting(story) {
                    Some(acting) => format!("{} acts as primary", acting.name),
                    None => "there is no other gateway any more".to_owned(),
                },
                (Some(view), _) => format!("{} is the configured primary now", view.record.name),
                (None, _) => "no gateway is the configured primary any more".to_owned(),
            };
            format!("The failover from {name} is over, after {lasted}: {why}.")
        }
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
