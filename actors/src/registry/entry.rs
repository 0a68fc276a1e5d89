//! What the registry knows of one gateway, and the way to its actor.

use std::sync::Arc;
use std::time::Instant;

use gatewarden_protocol::address::GatewayAddress;
use tokio::sync::watch;

use crate::gateway::messages::GatewayHandle;
use crate::gateway_record::{GatewayRecord, SharedRecord};
use crate::gateway_report::GatewayReport;
use crate::machines::election::Candidate;
use crate::machines::flap::FlapDamper;
use crate::machines::restart_intensity::RestartIntensity;
use crate::processes::view::ProcessView;
use crate::run::SharedSessions;
use crate::settings::RestartSettings;

/// One gateway of the roster.
pub(super) struct Entry {
    /// As stored.
    pub(super) record: SharedRecord,
    /// The address in its canonical form, as [`GatewayAddress::key`] gives it.
    pub(super) address: String,
    /// As last reported.
    pub(super) report: GatewayReport,
    /// The living actor; none while parked.
    pub(super) handle: Option<GatewayHandle>,
    /// Which start of the actor this is; late words of an earlier one are ignored.
    pub(super) incarnation: u64,
    /// How often it died lately.
    pub(super) intensity: RestartIntensity,
    /// Whether it bounces.
    pub(super) flaps: FlapDamper,
    /// Since when it is ready.
    pub(super) ready_since: Option<Instant>,
    /// Whether it was ever usable: the first time is no transition.
    pub(super) was_usable: bool,
    /// Whether its first attempt has ended, either way.
    pub(super) outcome_known: bool,
    /// Whether observations changed since they were last stored.
    pub(super) unsaved: bool,
    /// Who waits for the outcome of a trial, while this is one.
    pub(super) trial: Option<watch::Sender<GatewayReport>>,
    /// The sessions that it told while nobody saw it.
    pub(super) unseen_sessions: Option<SharedSessions>,
    /// Its process on this machine.
    pub(super) process: Option<Arc<ProcessView>>,
}

impl Entry {
    pub(super) fn new(record: SharedRecord, restarts: &RestartSettings, wall_ms: i64) -> Self {
        let mut report = GatewayReport::unknown(wall_ms);
        report.last_seen_ms = record.observed.last_seen.map(|seconds| seconds.saturating_mul(1_000));
        report.dialect = record.dialect;
        Self {
            address: canonical_address(&record),
            record,
            report,
            handle: None,
            incarnation: 0,
            intensity: RestartIntensity::new(restarts.max_restarts, restarts.window),
            flaps: FlapDamper::default(),
            ready_since: None,
            was_usable: false,
            outcome_known: false,
            unsaved: false,
            trial: None,
            unseen_sessions: None,
            process: None,
        }
    }

    /// Dialled, but nobody sees it: it is being created, or only tried.
    pub(super) fn is_hidden(&self) -> bool {
        self.record.provisioning
    }

    /// Since when it can be trusted with work; none while it can't.
    pub(super) fn usable_since(&self) -> Option<Instant> {
        self.ready_since.filter(|_| self.report.is_usable())
    }

    /// What the election needs to know.
    pub(super) fn candidate(&self, now: Instant) -> Candidate {
        Candidate {
            id: self.record.id,
            configured: self.record.is_primary,
            usable: self.report.is_usable(),
            drained: self.record.drained,
            held_down: self.flaps.is_held(now),
            priority: self.record.priority,
            active_sessions: self.report.sessions_count.unwrap_or(0),
            latency_us: self.report.latency_ms.map_or(u64::MAX, micros),
            ready_since: self.ready_since,
            outcome_known: self.outcome_known,
        }
    }
}

/// The canonical address of a record. A stored host always parses; should it not, its own text serves as the key.
pub(super) fn canonical_address(record: &GatewayRecord) -> String {
    GatewayAddress::parse(&record.host, Some(record.port))
        .map_or_else(|_| format!("ws://{}:{}", record.host, record.port), |parsed| parsed.address.key())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a latency is positive and far below the bound"
)]
fn micros(latency_ms: f64) -> u64 {
    (latency_ms.max(0.0) * 1_000.0) as u64
}
