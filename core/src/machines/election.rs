//! Who acts as primary.
//!
//! Rules, in order (`docs/architecture.md`, "Election and routing"):
//! 1. *Usable* is ready with a closed breaker; *eligible* is usable, not drained and not held down for flapping. Where
//!    nobody is eligible, the held-down usable ones are.
//! 2. After the daemon's start nobody acts until the configured primary's first outcome is known, or the hold is over.
//! 3. The configured primary acts while it is eligible. After it failed it waits until it has been ready for
//!    `failback_after`, unless nobody else is eligible; and it doesn't come back while the supervisor doubts itself.
//! 4. Otherwise the best of the eligible stands in: highest priority, fewest active sessions, lowest latency, lowest id.
//!    A stand-in keeps the role while it is eligible, so that counts and latencies moving about don't move work; only
//!    the configured primary, or a gateway of higher priority that was ready for `failback_after`, takes over.
//! 5. An acting primary that an operator reconnects keeps the role until the outcome, for ten seconds at most.
//! 6. With `auto_failover = false` the configured primary is the only one that may act.

use std::time::Instant;

use crate::gateway_record::GatewayRecord;
use crate::gateway_report::GatewayReport;
use crate::ids::GatewayId;
use crate::settings::ElectionSettings;

/// What the election needs to know of one gateway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) id: GatewayId,
    /// Whether it is the configured primary.
    pub(crate) configured: bool,
    /// Ready, breaker closed.
    pub(crate) usable: bool,
    pub(crate) drained: bool,
    /// Until when it is held down for flapping, while it is.
    pub(crate) held_until: Option<Instant>,
    /// Higher is preferred.
    pub(crate) priority: i32,
    /// 0 while unknown.
    pub(crate) active_sessions: u32,
    /// `u64::MAX` while unknown.
    pub(crate) latency_us: u64,
    pub(crate) ready_since: Option<Instant>,
    /// An operator has it dialled anew: until then that is no reason to take the role from it.
    pub(crate) reconnect_until: Option<Instant>,
    /// Whether its first attempt has ended, either way.
    pub(crate) outcome_known: bool,
}

impl Candidate {
    /// A gateway as an operator set it and as it reports itself, without a past.
    pub(crate) fn of(record: &GatewayRecord, report: &GatewayReport) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a latency is positive and far below the bound"
        )]
        let micros = |latency_ms: f64| (latency_ms.max(0.0) * 1_000.0) as u64;
        Self {
            id: record.id,
            configured: record.is_primary,
            usable: report.is_usable(),
            drained: record.drained,
            held_until: None,
            priority: record.priority,
            active_sessions: report.sessions_count.unwrap_or(0),
            latency_us: report.latency_ms.map_or(u64::MAX, micros),
            ready_since: None,
            reconnect_until: None,
            outcome_known: false,
        }
    }
}

/// The acting primary changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryChange {
    /// Who acted before.
    pub from: Option<GatewayId>,
    /// Who acts now; nobody where none is usable.
    pub to: Option<GatewayId>,
    /// Why, in a few words without names.
    pub reason: &'static str,
}

/// Why the configured primary doesn't act yet though it is usable.
#[derive(Debug, Clone)]
struct Delay {
    reason: &'static str,
    until: Option<Instant>,
}

/// Remembers who acts and since when; everything else is told to it.
#[derive(Debug, Clone)]
pub(crate) struct Election {
    settings: ElectionSettings,
    hold_until: Instant,
    held: bool,
    /// Whether that is for the configured primary's first outcome.
    awaits_primary: bool,
    acting: Option<GatewayId>,
    /// Why whoever acts does.
    reason: &'static str,
    /// What the configured primary waits for though it is usable.
    waiting: Option<Delay>,
    /// The configured primary as of the last decision.
    configured: Option<GatewayId>,
    /// Whether another gateway stands in for it: then it must prove itself before it takes the role back. An operator
    /// who names a new configured primary needn't wait.
    failed_over: bool,
    /// Whether the configured primary was drained as of the last decision.
    was_drained: bool,
    deadline: Option<Instant>,
}

impl Election {
    /// Starts with nobody acting; `now` is the daemon's start.
    pub(crate) fn new(settings: ElectionSettings, now: Instant) -> Self {
        let hold_until = now + settings.startup_hold;
        Self {
            settings,
            hold_until,
            held: true,
            awaits_primary: true,
            acting: None,
            reason: "no gateway is usable",
            waiting: None,
            configured: None,
            failed_over: false,
            was_drained: false,
            deadline: Some(hold_until),
        }
    }

    /// Who acts.
    pub(crate) fn acting(&self) -> Option<GatewayId> {
        self.acting
    }

    /// Whether nobody can be elected before the configured primary's first outcome, or the end of the start's hold.
    pub(crate) fn awaits_primary(&self, now: Instant) -> bool {
        self.awaits_primary && now < self.hold_until
    }

    /// The configured primary, where it doesn't act although there was time for an election.
    pub(crate) fn stood_in_for(&self) -> Option<GatewayId> {
        self.configured.filter(|id| !self.held && self.acting != Some(*id))
    }

    /// Why whoever acts does. It may change while they go on acting: when an operator names another configured primary.
    pub(crate) fn reason(&self) -> &'static str {
        self.waiting.as_ref().map_or(self.reason, |waiting| waiting.reason)
    }

    /// When that reason ends by itself, where it does.
    pub(crate) fn reason_ends(&self) -> Option<Instant> {
        self.waiting.as_ref().and_then(|waiting| waiting.until)
    }

    /// When to decide again though nothing changed: the end of the start's hold, or a failback that falls due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Decides anew. `doubts` says that the supervisor doubts its own network. O(candidates).
    pub(crate) fn decide(&mut self, now: Instant, candidates: &[Candidate], doubts: bool) -> Option<PrimaryChange> {
        self.deadline = None;
        let configured = candidates.iter().find(|candidate| candidate.configured);
        let configured_id = configured.map(|primary| primary.id);
        let is_other_configured = configured_id != self.configured;
        if is_other_configured {
            self.configured = configured_id;
            self.failed_over = false;
        }
        if self.held {
            // One that an earlier run held down acts only where nobody else can, which is to be seen yet.
            let is_settled = |primary: &Candidate| {
                primary.outcome_known
                    && (primary.held_until.is_none() || candidates.iter().any(|it| is_eligible(it, false)))
            };
            if now < self.hold_until && !configured.is_some_and(is_settled) {
                self.deadline = Some(self.hold_until);
                self.awaits_primary = !configured.is_some_and(|primary| primary.outcome_known);
                return None;
            }
            (self.held, self.awaits_primary) = (false, false);
        }
        let relaxed = !candidates.iter().any(|candidate| is_eligible(candidate, false));
        let (to, reason) = self.choose(now, candidates, configured, doubts, relaxed);
        self.was_drained = configured.is_some_and(|primary| primary.drained);
        let stood_in_for = configured.filter(|primary| to.is_some_and(|id| id != primary.id));
        self.waiting = stood_in_for.and_then(|primary| self.waiting(primary, doubts));
        if to == self.acting {
            if is_other_configured {
                self.reason = if to == configured_id {
                    "it was made the configured primary"
                } else {
                    why_not_configured(configured, relaxed)
                };
            }
            return None;
        }
        self.reason = reason;
        let from = std::mem::replace(&mut self.acting, to);
        self.failed_over = to != configured_id;
        Some(PrimaryChange { from, to, reason })
    }

    fn choose(
        &mut self,
        now: Instant,
        candidates: &[Candidate],
        configured: Option<&Candidate>,
        doubts: bool,
        relaxed: bool,
    ) -> (Option<GatewayId>, &'static str) {
        let former = self.acting.and_then(|id| candidates.iter().find(|candidate| candidate.id == id));
        let acting = former.filter(|candidate| is_eligible(candidate, relaxed) || self.waits_for(now, candidate));
        let primary = configured.filter(|candidate| {
            is_eligible(candidate, relaxed) || acting.is_some_and(|acting| acting.id == candidate.id)
        });
        if !self.settings.auto_failover {
            return match primary {
                Some(primary) => (Some(primary.id), "the configured primary is usable"),
                None if configured.is_some_and(|primary| primary.drained) => {
                    (None, "the configured primary is drained and automatic failover is off")
                }
                None => (None, "the configured primary is not usable and automatic failover is off"),
            };
        }
        if let Some(primary) = primary {
            if acting.is_some_and(|acting| acting.id == primary.id) {
                return (Some(primary.id), "unchanged");
            }
            let Some(standing_in) = acting else {
                return (Some(primary.id), "the configured primary is usable");
            };
            if !self.failed_over {
                return (Some(primary.id), "it was made the configured primary");
            }
            if !doubts && self.has_proved_itself(now, primary) {
                let reason = if self.was_drained {
                    "the configured primary is no longer drained"
                } else {
                    "the configured primary has been ready long enough"
                };
                return (Some(primary.id), reason);
            }
            return (Some(standing_in.id), "unchanged");
        }
        let best = candidates
            .iter()
            .filter(|candidate| is_eligible(candidate, relaxed))
            .min_by_key(|candidate| preference(candidate));
        match (acting, best) {
            (Some(acting), Some(best)) if best.priority > acting.priority && !doubts => {
                if self.has_proved_itself(now, best) {
                    (Some(best.id), "a gateway of higher priority has been ready long enough")
                } else {
                    (Some(acting.id), "unchanged")
                }
            }
            (Some(acting), _) => (Some(acting.id), "unchanged"),
            (None, Some(best)) => (Some(best.id), self.why_another(candidates, configured, relaxed)),
            (None, None) if candidates.iter().any(|candidate| candidate.usable) => {
                (None, "every gateway that is usable is drained")
            }
            (None, None) => (None, "no gateway is usable"),
        }
    }

    /// Why whoever acted, or should act, doesn't.
    fn why_another(&self, candidates: &[Candidate], configured: Option<&Candidate>, relaxed: bool) -> &'static str {
        let is_stand_in = |id: &GatewayId| configured.is_none_or(|primary| primary.id != *id);
        if let Some(id) = self.acting.filter(is_stand_in) {
            return match candidates.iter().find(|candidate| candidate.id == id) {
                None => "the gateway that acted was deleted",
                Some(former) if former.drained && configured.is_some_and(|primary| primary.drained) => {
                    "the configured primary and the gateway that acted are drained"
                }
                Some(former) if former.drained => "the gateway that acted was drained",
                Some(former) if former.usable && !relaxed => "the gateway that acted comes and goes",
                Some(_) => "the gateway that acted is not usable any more",
            };
        }
        why_not_configured(configured, relaxed)
    }

    /// What a configured primary that another gateway stands in for waits for; none where it is not usable.
    fn waiting(&self, primary: &Candidate, doubts: bool) -> Option<Delay> {
        if !primary.usable || primary.drained {
            return None;
        }
        let (reason, until) = if primary.held_until.is_some() {
            (
                "the configured primary is usable again, and held down since it came and went too often",
                primary.held_until,
            )
        } else if doubts {
            ("the configured primary is usable again and waits until this host's own network is trusted", None)
        } else {
            let due = primary.ready_since.map(|since| since + self.settings.failback_after);
            ("the configured primary is usable again and takes over once it has stayed so for long enough", due)
        };
        Some(Delay { reason, until })
    }

    /// Whether a gateway is being reconnected on request; notes when that has taken too long.
    fn waits_for(&mut self, now: Instant, candidate: &Candidate) -> bool {
        let Some(until) = candidate.reconnect_until.filter(|until| *until > now && !candidate.drained) else {
            return false;
        };
        self.deadline = Some(self.deadline.map_or(until, |deadline| deadline.min(until)));
        true
    }

    /// Whether a gateway has been ready for `failback_after`; else notes when it will have been.
    fn has_proved_itself(&mut self, now: Instant, candidate: &Candidate) -> bool {
        let Some(since) = candidate.ready_since else { return false };
        let due = since + self.settings.failback_after;
        if now >= due {
            return true;
        }
        self.deadline = Some(self.deadline.map_or(due, |deadline| deadline.min(due)));
        false
    }
}

/// Why the configured primary doesn't act.
fn why_not_configured(configured: Option<&Candidate>, relaxed: bool) -> &'static str {
    match configured {
        None => "no gateway is configured as primary",
        Some(primary) if primary.drained => "the configured primary is drained",
        Some(primary) if primary.usable && !relaxed => "the configured primary comes and goes",
        Some(_) => "the configured primary is not usable",
    }
}

fn is_eligible(candidate: &Candidate, relaxed: bool) -> bool {
    candidate.usable && !candidate.drained && (relaxed || candidate.held_until.is_none())
}

/// The total order of stand-ins: no two gateways compare equal, as ids differ.
fn preference(candidate: &Candidate) -> (std::cmp::Reverse<i32>, u32, u64, GatewayId) {
    (std::cmp::Reverse(candidate.priority), candidate.active_sessions, candidate.latency_us, candidate.id)
}

#[cfg(test)]
mod tests;
