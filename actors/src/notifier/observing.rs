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
use crate::machines::notification::{Condition, Sight, Subject, Topic};
use crate::processes::view::ProcessState;
use crate::registry::roster::{ActingPrimary, GatewayView};

/// A gateway of which nothing has been known for so long counts as down.
pub(super) const UNKNOWN_IS_DOWN: Duration = Duration::from_secs(300);
/// Who acts, where nobody does.
pub(super) const NOBODY: &str = "none";

/// The fleet at one time.
pub(super) struct Fleet<'a> {
    /// All gateways.
    pub(super) views: &'a [Arc<GatewayView>],
    /// Who acts as primary.
    pub(super) acting: Option<&'a ActingPrimary>,
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
            let withheld = doubts && condition == Condition::Down && matches!(sight, Sight::Holds { .. });
            let sight = if withheld { Sight::Withheld } else { sight };
            if wants(condition) {
                seen.sights.insert(Topic { subject: Subject::Gateway(id), condition }, sight);
            }
        }
    }
    if doubts {
        let topic = Topic { subject: Subject::Fleet, condition: Condition::NetworkDoubt };
        seen.sights.insert(topic, Sight::Holds { detail: String::new(), at_once: true });
    }
    if wants(Condition::Failover)
        && let Some(sight) = failover(destination, fleet)
    {
        seen.sights.insert(Topic { subject: Subject::Fleet, condition: Condition::Failover }, sight);
    }
    seen
}

/// The conditions of one gateway that hold or of which nothing can be said; those left out are over.
fn look_at(view: &GatewayView, now_ms: i64) -> Vec<(Condition, Sight)> {
    use Condition::{Blocked, CrashLoop, Down};
    let holds = |at_once| Sight::Holds { detail: String::new(), at_once };
    // Somebody is at work on it, or it is only being created: nothing new is said, and nothing is taken back.
    if view.record.is_worked_on() {
        return vec![(Down, Sight::Unclear), (Blocked, Sight::Unclear), (CrashLoop, Sight::Unclear)];
    }
    let mut seen = match gateway_is(&view.report, now_ms) {
        GatewayIs::Well => Vec::new(),
        GatewayIs::Down => vec![(Down, holds(false)), (Blocked, Sight::Unclear)],
        GatewayIs::Blocked => vec![(Blocked, holds(false)), (Down, Sight::Unclear)],
        GatewayIs::Unclear => vec![(Down, Sight::Unclear), (Blocked, Sight::Unclear)],
    };
    match view.process.as_ref().map(|process| process.state) {
        Some(ProcessState::GaveUp) => seen.push((CrashLoop, holds(true))),
        // It isn't over before it runs: a start that is under way may end like the ones before.
        Some(ProcessState::Unknown | ProcessState::Starting | ProcessState::Waiting) => {
            seen.push((CrashLoop, Sight::Unclear));
        }
        Some(ProcessState::Running | ProcessState::Stopping | ProcessState::Stopped) | None => {}
    }
    seen
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GatewayIs {
    Well,
    Down,
    Blocked,
    Unclear,
}

fn gateway_is(report: &GatewayReport, now_ms: i64) -> GatewayIs {
    let unknown_for = Duration::from_millis(u64::try_from(now_ms.saturating_sub(report.since_ms)).unwrap_or(0));
    match (report.phase, report.status) {
        (Phase::Blocked, _) => GatewayIs::Blocked,
        (Phase::Stopping, _) => GatewayIs::Unclear,
        (_, Status::Unknown) if unknown_for >= UNKNOWN_IS_DOWN => GatewayIs::Down,
        (_, Status::Unknown) => GatewayIs::Unclear,
        (Phase::Ready, Status::Online | Status::Degraded) => GatewayIs::Well,
        (Phase::Ready | Phase::Backoff | Phase::Parked, Status::Offline | Status::Timeout) => GatewayIs::Down,
        // An attempt is under way, or a start is within its grace: what comes of it tells.
        _ => GatewayIs::Unclear,
    }
}

/// Whether somebody else than the configured primary acts. Needs a configured primary that matters here, and another
/// gateway that could act. Who acts has no say in whether it matters: that would change in the midst of a failover.
fn failover(destination: &Destination, fleet: &Fleet<'_>) -> Option<Sight> {
    let configured = fleet.views.iter().find(|view| view.record.is_primary)?;
    if !destination.is_for(&configured.record) || fleet.views.len() < 2 {
        return None;
    }
    match fleet.acting {
        Some(acting) if acting.id == configured.record.id => None,
        Some(acting) => Some(Sight::Holds { detail: acting.id.to_string(), at_once: true }),
        None if !fleet.elected => Some(Sight::Unclear),
        None => Some(Sight::Holds { detail: NOBODY.to_owned(), at_once: false }),
    }
}

#[cfg(test)]
mod tests;
