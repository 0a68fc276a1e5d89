//! What a destination's machine is shown of the fleet: which conditions hold, which are over, of which nothing can be said.
//!
//! One pure function over the roster. It looks at every gateway, once a second and destination: that is the price of
//! missing nothing that happened while the daemon was away or couldn't write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::destination::Destination;
use crate::gateway_report::{GatewayReport, Phase, Status};
use crate::ids::GatewayId;
use crate::machines::notification::{Condition, Sight, StandIn, Subject, Topic};
use crate::processes::view::ProcessState;
use crate::registry::roster::{GatewayView, Primary};

/// A gateway of which nothing has been known for so long counts as down.
pub(super) const UNKNOWN_IS_DOWN: Duration = Duration::from_secs(300);

/// The fleet at one time.
pub(super) struct Fleet<'a> {
    /// All gateways.
    pub(super) views: &'a [Arc<GatewayView>],
    /// Who acts as primary, and in whose place.
    pub(super) primary: &'a Primary,
    /// Whether there has been time for an election since the daemon's start.
    pub(super) elected: bool,
    /// Whether the daemon doubts its own network.
    pub(super) doubts: bool,
    /// Wall ms.
    pub(super) now_ms: i64,
}

/// What a destination's machine is shown.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// See [`crate::machines::notification::Look::sights`].
    pub(super) sights: BTreeMap<Topic, Sight>,
    /// The gateways that exist and matter here.
    pub(super) present: BTreeSet<GatewayId>,
}

/// Looks at the fleet for one destination.
pub(super) fn observe(destination: &Destination, fleet: &Fleet<'_>) -> Seen {
    let mut seen = Seen::default();
    let wants = |condition| destination.conditions.contains(&condition);
    // Who hears of the doubt need not hear of each gateway until it is over.
    let doubts = fleet.doubts && wants(Condition::NetworkDoubt);
    for view in fleet.views.iter().filter(|view| destination.is_for(&view.record)) {
        let id = view.record.id;
        seen.present.insert(id);
        for (condition, sight) in look_at(view, fleet.now_ms) {
            let sight = match sight {
                Sight::Holds { since_ms, .. } if doubts && condition == Condition::Down => Sight::Withheld { since_ms },
                sight => sight,
            };
            if wants(condition) {
                seen.sights.insert(Topic { subject: Subject::Gateway(id), condition }, sight);
            }
        }
    }
    if doubts {
        let topic = Topic { subject: Subject::Fleet, condition: Condition::NetworkDoubt };
        seen.sights.insert(topic, Sight::Holds { since_ms: fleet.now_ms, stand_in: None, at_once: true });
    }
    if wants(Condition::Failover)
        && let Some((configured, sight)) = failover(fleet)
        && seen.present.contains(&configured)
    {
        let topic = Topic { subject: Subject::Gateway(configured), condition: Condition::Failover };
        seen.sights.insert(topic, sight);
    }
    seen
}

/// The conditions of one gateway that hold or of which nothing can be said; those left out are over.
fn look_at(view: &GatewayView, now_ms: i64) -> Vec<(Condition, Sight)> {
    use Condition::{Blocked, CrashLoop, Down};
    let holds = |since_ms, at_once| Sight::Holds { since_ms, stand_in: None, at_once };
    // Somebody is at work on it, or it is only being created: nothing new is said, and nothing is taken back.
    if view.record.is_worked_on() {
        return vec![(Down, Sight::Aside), (Blocked, Sight::Aside), (CrashLoop, Sight::Aside)];
    }
    let mut seen = match gateway_is(&view.report, now_ms) {
        GatewayIs::Well => Vec::new(),
        // Nobody added it, and nobody ever ran it.
        GatewayIs::Down { .. } if view.record.seeded && view.report.last_seen_ms.is_none() => {
            vec![(Down, Sight::Aside), (Blocked, Sight::Aside)]
        }
        GatewayIs::Down { since_ms } => vec![(Down, holds(since_ms, false)), (Blocked, Sight::Aside)],
        GatewayIs::Blocked { since_ms } => vec![(Blocked, holds(since_ms, false)), (Down, Sight::Aside)],
        GatewayIs::Unclear => vec![(Down, Sight::Unclear), (Blocked, Sight::Unclear)],
    };
    match view.process.as_ref().map(|process| (process.state, process.since_ms)) {
        Some((ProcessState::GaveUp, since_ms)) => seen.push((CrashLoop, holds(since_ms, true))),
        // It isn't over before it runs: a start that is under way may end like the ones before.
        Some((ProcessState::Unknown | ProcessState::Starting | ProcessState::Waiting, _)) => {
            seen.push((CrashLoop, Sight::Unclear));
        }
        Some((ProcessState::Running | ProcessState::Stopping | ProcessState::Stopped, _)) | None => {}
    }
    seen
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GatewayIs {
    Well,
    Down { since_ms: i64 },
    Blocked { since_ms: i64 },
    Unclear,
}

fn gateway_is(report: &GatewayReport, now_ms: i64) -> GatewayIs {
    let unknown_for = Duration::from_millis(u64::try_from(now_ms.saturating_sub(report.since_ms)).unwrap_or(0));
    let since_ms = report.since_ms;
    match (report.phase, report.status) {
        // It may have had the same status before, for another reason.
        (Phase::Blocked, _) => {
            GatewayIs::Blocked { since_ms: report.last_failure_ms.unwrap_or(since_ms).max(since_ms) }
        }
        (Phase::Stopping, _) => GatewayIs::Unclear,
        (_, Status::Unknown) if unknown_for >= UNKNOWN_IS_DOWN => GatewayIs::Down { since_ms },
        (_, Status::Unknown) => GatewayIs::Unclear,
        (Phase::Ready, Status::Online | Status::Degraded) => GatewayIs::Well,
        (Phase::Ready | Phase::Backoff | Phase::Parked, Status::Offline | Status::Timeout) => {
            GatewayIs::Down { since_ms }
        }
        // An attempt is under way, or a start is within its grace: what comes of it tells.
        _ => GatewayIs::Unclear,
    }
}

/// In whose place another acts, or nobody does. Needs another gateway that could act. Who acts has no say in whether it matters:
/// that would change in the midst of a failover.
fn failover(fleet: &Fleet<'_>) -> Option<(GatewayId, Sight)> {
    let Primary { acting, failover } = fleet.primary;
    if acting.is_none() && !fleet.elected {
        let configured = fleet.views.iter().find(|view| view.record.is_primary)?;
        return Some((configured.record.id, Sight::Unclear));
    }
    let failover = (*failover)?;
    let configured = fleet.views.iter().find(|view| view.record.id == failover.configured)?;
    if fleet.views.len() < 2 {
        return None;
    }
    let stand_in = acting.as_ref().map_or(StandIn::Nobody, |acting| StandIn::Gateway(acting.id));
    let at_once = stand_in != StandIn::Nobody;
    let sight = match configured.record.seeded && configured.report.last_seen_ms.is_none() {
        true => Sight::Aside,
        false => Sight::Holds { since_ms: failover.since_ms, stand_in: Some(stand_in), at_once },
    };
    Some((failover.configured, sight))
}

#[cfg(test)]
mod tests;
