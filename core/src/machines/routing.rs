//! Which gateway takes a piece of work.
//!
//! In order (`docs/architecture.md`, "Election and routing"): the agent's preferred gateway if it can take work; a gateway
//! that the request names, and no other; the acting primary; with the policy `least_loaded` the gateway with the smallest
//! load instead. A label selector restricts all of these. A drained gateway takes nothing, nor does one that
//! is at its bound of spawns in flight.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gateway_record::GatewayRecord;
use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;

/// Where work goes that names no gateway (`routing.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoutingPolicy {
    /// To the acting primary.
    #[default]
    Primary,
    /// To the usable gateway with the smallest load.
    LeastLoaded,
}

/// What a request says about its gateway.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteRequest {
    /// The agent's preferred gateway, by id or name.
    pub preferred: Option<String>,
    /// A gateway that the request names.
    pub requested: Option<GatewayId>,
    /// Labels that the gateway must have.
    pub selector: BTreeMap<String, String>,
    /// Gateways that have certainly refused this work already.
    pub excluded: Vec<GatewayId>,
}

/// What routing needs to know of one gateway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RouteCandidate<'a> {
    pub(crate) id: GatewayId,
    pub(crate) name: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Whether it is the configured primary.
    pub(crate) configured: bool,
    /// Ready, breaker closed.
    pub(crate) usable: bool,
    pub(crate) drained: bool,
    /// At its bound of spawns in flight.
    pub(crate) full: bool,
    /// Active sessions and spawns in flight.
    pub(crate) load: u32,
    /// Higher is preferred among equally loaded.
    pub(crate) priority: i32,
}

impl<'a> RouteCandidate<'a> {
    /// A gateway as an operator set it and as it reports itself, with so many spawns in flight.
    pub(crate) fn of(record: &'a GatewayRecord, report: &GatewayReport, in_flight: usize) -> Self {
        Self {
            id: record.id,
            name: &record.name,
            labels: &record.labels,
            configured: record.is_primary,
            usable: report.is_usable(),
            drained: record.drained,
            full: false,
            load: report.sessions_count.unwrap_or(0).max(u32::try_from(in_flight).unwrap_or(u32::MAX)),
            priority: record.priority,
        }
    }
}

gatewarden_protocol::named! {
    /// Why a gateway was chosen.
    pub enum RouteReason {
        /// The agent prefers it.
        Preferred = "preferred",
        /// The request names it.
        Requested = "requested",
        /// It is the configured primary and acts.
        Primary = "primary",
        /// It stands in for the configured primary.
        ActingPrimary = "acting_primary",
        /// It has the smallest load.
        LeastLoaded = "least_loaded",
    }
}

/// What is said of a gateway that an operator keeps work from.
pub(crate) const TAKES_NO_WORK: &str = "is drained: it takes no new work";

/// What is said, with its cure, where none is usable but those that an operator keeps work from.
pub(crate) fn none_usable(drained: &[String]) -> (String, String) {
    const SHOWS: &str = "GET /api/gateways shows each gateway's state and what to do about it.";
    if drained.is_empty() {
        return ("No gateway can take the work: none is usable".to_owned(), SHOWS.to_owned());
    }
    let (names, verb) = (drained.join("\", \""), if drained.len() == 1 { "is" } else { "are" });
    (
        format!("No gateway can take the work: \"{names}\" {verb} drained, and no other is usable"),
        format!("POST /api/gateways/{{id}}/undrain gives a drained one work again. {SHOWS}"),
    )
}

/// Why nobody takes the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// The request names a gateway that doesn't exist.
    UnknownGateway(GatewayId),
    /// The request names a gateway that isn't usable.
    NotUsable(GatewayId),
    /// The request names a gateway that takes no new work.
    Drained(GatewayId),
    /// The request names a gateway that is at its bound.
    Full(GatewayId),
    /// The request names a gateway that doesn't match its own selector.
    NotSelected(GatewayId),
    /// No gateway matches the selector.
    NothingSelected,
    /// Gateways match, but none can take work now; these could, and are drained.
    NoneUsable(Vec<GatewayId>),
    /// All usable ones are at their bound.
    AllFull,
}

/// Chooses. O(candidates).
///
/// # Errors
/// Why nobody takes the work.
pub(crate) fn choose(
    request: &RouteRequest,
    policy: RoutingPolicy,
    acting: Option<GatewayId>,
    candidates: &[RouteCandidate<'_>],
) -> Result<(GatewayId, RouteReason), NoRoute> {
    let selected: Vec<&RouteCandidate<'_>> =
        candidates.iter().filter(|candidate| matches_selector(candidate, &request.selector)).collect();
    let open = |candidate: &RouteCandidate<'_>| {
        candidate.usable && !candidate.drained && !candidate.full && !request.excluded.contains(&candidate.id)
    };
    if let Some(preferred) = &request.preferred
        && let Some(candidate) = find_named(&selected, preferred).filter(|candidate| open(candidate))
    {
        return Ok((candidate.id, RouteReason::Preferred));
    }
    if let Some(id) = request.requested {
        return requested(id, request, candidates, &selected).map(|()| (id, RouteReason::Requested));
    }
    if selected.is_empty() && !request.selector.is_empty() {
        return Err(NoRoute::NothingSelected);
    }
    let primary = acting.and_then(|id| selected.iter().find(|candidate| candidate.id == id && open(candidate)));
    if policy == RoutingPolicy::Primary
        && let Some(primary) = primary
    {
        let reason = if primary.configured { RouteReason::Primary } else { RouteReason::ActingPrimary };
        return Ok((primary.id, reason));
    }
    // A selector or an exclusion asks for a choice among the rest; without either the acting primary is the only one.
    // So does an acting primary that is being reconnected on request.
    let is_away = acting.is_some_and(|id| candidates.iter().any(|candidate| candidate.id == id && !candidate.usable));
    let may_choose =
        policy == RoutingPolicy::LeastLoaded || !request.selector.is_empty() || !request.excluded.is_empty() || is_away;
    let least_loaded = selected
        .iter()
        .filter(|candidate| open(candidate))
        .min_by_key(|candidate| (candidate.load, std::cmp::Reverse(candidate.priority), candidate.id));
    match least_loaded.filter(|_| may_choose) {
        Some(candidate) => Ok((candidate.id, RouteReason::LeastLoaded)),
        None if selected.iter().any(|candidate| candidate.usable && !candidate.drained && candidate.full) => {
            Err(NoRoute::AllFull)
        }
        None => {
            let kept = selected.iter().filter(|candidate| candidate.usable && candidate.drained);
            Err(NoRoute::NoneUsable(kept.map(|candidate| candidate.id).collect()))
        }
    }
}

fn requested(
    id: GatewayId,
    request: &RouteRequest,
    candidates: &[RouteCandidate<'_>],
    selected: &[&RouteCandidate<'_>],
) -> Result<(), NoRoute> {
    let candidate = candidates.iter().find(|candidate| candidate.id == id).ok_or(NoRoute::UnknownGateway(id))?;
    if !selected.iter().any(|selected| selected.id == id) {
        return Err(NoRoute::NotSelected(id));
    }
    if candidate.drained {
        return Err(NoRoute::Drained(id));
    }
    if !candidate.usable || request.excluded.contains(&id) {
        return Err(NoRoute::NotUsable(id));
    }
    if candidate.full {
        return Err(NoRoute::Full(id));
    }
    Ok(())
}

fn matches_selector(candidate: &RouteCandidate<'_>, selector: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(label, value)| candidate.labels.get(label) == Some(value))
}

/// By id if the text is a number and a gateway has it, else by name.
fn find_named<'a, 'b>(candidates: &[&'a RouteCandidate<'b>], text: &str) -> Option<&'a RouteCandidate<'b>> {
    let by_id = text.parse().ok().and_then(|id| candidates.iter().find(|candidate| candidate.id == GatewayId(id)));
    by_id.or_else(|| candidates.iter().find(|candidate| candidate.name == text)).copied()
}

#[cfg(test)]
mod tests;
