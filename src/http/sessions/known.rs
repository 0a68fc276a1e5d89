//! What gateways have told of their sessions, as published: taken without a message and without asking a gateway.

use std::sync::Arc;

use gatewarden_actors::gateway_report::Phase;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::roster::{GatewayView, RosterReader};
use gatewarden_actors::run::{SessionSnapshot, SharedSessions};

/// The sessions of all gateways at one moment.
pub struct KnownSessions(Vec<(Arc<GatewayView>, SharedSessions)>);

/// One gateway and its sessions.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Which gateway.
    pub id: GatewayId,
    /// Its name.
    pub name: &'a str,
    /// Whether its connection is up.
    pub reachable: bool,
    /// What it told.
    pub sessions: &'a SessionSnapshot,
}

impl KnownSessions {
    /// What is published now.
    pub fn read(roster: &RosterReader) -> Self {
        Self(roster.slots().iter().map(|slot| (slot.view(), slot.sessions())).collect())
    }

    /// All gateways, in the order of `GET /api/gateways`.
    pub fn sources(&self) -> Vec<Source<'_>> {
        self.0
            .iter()
            .map(|(view, sessions)| Source {
                id: view.record.id,
                name: &view.record.name,
                reachable: view.report.phase == Phase::Ready,
                sessions,
            })
            .collect()
    }
}

impl Source<'_> {
    /// Unix seconds of the last news; none where nothing was ever told.
    pub fn as_of(&self) -> Option<i64> {
        (self.sessions.as_of_ms > 0).then(|| self.sessions.as_of_ms.div_euclid(1000))
    }
}

/// The gateway that a text names: by its id where one has it, else by its name.
pub fn named<'s, 'a>(sources: &'s [Source<'a>], text: &str) -> Option<&'s Source<'a>> {
    let id = text.parse().ok().map(GatewayId);
    let by_id = id.and_then(|id| sources.iter().find(|source| source.id == id));
    by_id.or_else(|| sources.iter().find(|source| source.name == text))
}
